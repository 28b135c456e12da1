"""What is computed once for all conditions changes no answer."""

import torch

from querysep.separation.compact import CompactUnet, ResidualBlock, UpBlock
from querysep.separation.config import CompactConfig


def test_a_prepared_half_gives_what_both_images_together_give() -> None:
    torch.manual_seed(0)
    block = UpBlock(6, 4).eval()
    assert block.bn1.running_mean is not None
    block.bn1.running_mean.normal_()
    image, left, condition = torch.randn(3, 6, 8, 10), torch.randn(3, 6, 8, 10), torch.randn(3, 4)
    whole = ResidualBlock.forward(block, torch.cat((image, left), dim=1), condition)
    torch.testing.assert_close(block.join(image, block.prepare(left), condition), whole)


def test_several_conditions_of_one_mixture_are_answered_as_each_alone() -> None:
    torch.manual_seed(0)
    network = CompactUnet(CompactConfig(channels=(8, 16), condition_dim=4)).eval()
    magnitude, conditions = torch.rand(1, 1025, 9), torch.randn(3, 4)
    heard = [image.repeat_interleave(3, dim=0) for image in network.listen(magnitude)]
    together = network.answer(heard, conditions, 9)
    for condition, mask in zip(conditions, together, strict=True):
        torch.testing.assert_close(network.mask_of_magnitude(magnitude, condition[None])[0], mask)
    assert not torch.allclose(together[0], together[1])
