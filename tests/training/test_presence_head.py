"""The separator tells whether what is asked for is there, in mixtures of any length."""

import numpy as np
import pytest
import torch
from toy_catalog import toy_catalog

from querysep.separation.build import build_separator
from querysep.separation.compact import CompactUnet
from querysep.separation.config import CompactConfig
from querysep.separation.presence_head import PresenceHead
from querysep.training.config import SeparatorTraining
from querysep.training.mixtures import Mixtures, queries_present
from querysep.training.sampler import MixtureSampler
from querysep.training.separator import SeparatorModule, presence_loss, validation_figures

SHAPE = CompactConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16, presence_dim=16)


def test_a_batch_tells_which_query_is_in_which_mixture() -> None:
    catalog = toy_catalog()
    sampler = MixtureSampler(catalog, SeparatorTraining(absent_share=0.2, alone_share=0.3))
    batch = Mixtures(sampler).batch(range(40))
    known = queries_present(batch.anchors, batch.wanted, sampler.relations)
    assert known.shape == (40, 80)
    for row in range(40):
        plan = sampler.plan(row)
        heard = {label for one in plan.anchors for label in catalog.anchors[one].heard}
        assert known[row, 2 * row : 2 * row + 2].tolist() == plan.wanted.tolist()
        for column, asked in enumerate(batch.anchors[:, :2].flatten().tolist()):
            if known[row, column] == 0:
                assert heard.isdisjoint(catalog.anchors[asked].heard)
            if column // 2 != row and heard & set(catalog.anchors[asked].heard):
                assert known[row, column].isnan()
    assert float((known == 0).float().mean()) > 0.3 and known.isnan().any()


def test_the_table_of_anchors_is_what_two_by_two_gives() -> None:
    catalog = toy_catalog()
    relations = MixtureSampler(catalog, SeparatorTraining()).relations
    indices = torch.arange(len(catalog.anchors))
    table = relations.table(indices, indices[::3])
    with torch.autocast("cpu", torch.bfloat16):  # as in a training
        assert torch.equal(relations.table(indices, indices[::3]), table)
    for one in indices.tolist():
        assert table[one].tolist() == [relations.unrelated(one, other) for other in indices[::3].tolist()]
    assert 0.2 < float(table.float().mean()) < 0.9


def test_present_and_absent_count_alike_and_the_unknown_not_at_all() -> None:
    known = torch.tensor([[1.0, 0.0, 0.0, torch.nan]])
    logits = torch.tensor([[0.0, 2.0, -2.0, 99.0]])
    absent = 0.5 * (np.log1p(np.exp(2.0)) + np.log1p(np.exp(-2.0)))
    assert float(presence_loss(logits, known)) == pytest.approx(0.5 * (np.log(2.0) + absent), rel=1e-5)


def test_presence_is_learnt_beside_the_mask() -> None:
    torch.manual_seed(0)
    sampler = MixtureSampler(toy_catalog(), SeparatorTraining(queries=1))
    network = build_separator(SHAPE)
    module = SeparatorModule(network, SeparatorTraining(), relations=sampler.relations)
    batch = Mixtures(sampler).batch(range(12))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        module.batch_loss(batch).backward()
        optimizer.step()
    network.eval()
    assert validation_figures(network, [batch], sampler.relations)["validation_presence_auc"] > 0.9
    plain = build_separator(SHAPE.model_copy(update={"presence_dim": 0})).eval()
    assert set(validation_figures(plain, [batch], sampler.relations)) == {"validation_sdri_db"}


@pytest.mark.parametrize("frames", [5, 126, 257, 700])
def test_a_long_mixture_is_judged_by_its_likeliest_stretch(frames: int) -> None:
    torch.manual_seed(0)
    network = build_separator(SHAPE).eval()
    assert isinstance(network, CompactUnet)
    magnitude, conditions = torch.rand(2, 1025, frames), torch.randn(3, 8)
    with torch.no_grad():
        logits = network.presence_logits(network.listen(magnitude), conditions)
        assert logits is not None
        one = network.presence_logits(network.listen(magnitude[1:]), conditions[2:])
    assert logits.shape == (2, 3) and torch.isfinite(logits).all()
    torch.testing.assert_close(one, logits[1:, 2:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [1, 8, 11, 12, 13, 33])
def test_every_column_counts(width: int) -> None:
    torch.manual_seed(0)
    head = PresenceHead(channels=4, height=6, condition_dim=8, size=16)
    image, conditions = torch.rand(1, 4, 6, width), torch.randn(16, 8)
    for column in range(width):
        loud = torch.zeros(1, 4, 6, width)
        loud[..., column] = 50.0
        with torch.no_grad():
            assert (head(image + loud, conditions) > head(image, conditions)).any()
