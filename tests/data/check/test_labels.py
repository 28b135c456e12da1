"""Labels that the sound does not bear out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from querysep.data.check.labels import doubtful_labels

RATE = 32_000


def labelled(swapped: int) -> tuple[NDArray[np.float32], list[tuple[str, ...]]]:
    random = np.random.default_rng(0)
    centres = random.standard_normal((3, 16)) * 3
    vectors = np.concatenate([centre + random.standard_normal((20, 16)) for centre in centres]).astype(np.float32)
    labels: list[tuple[str, ...]] = [(name,) for name in ("Dog", "Rain", "Harp") for _ in range(20)]
    labels[swapped] = ("Harp",)
    return vectors, labels


def test_a_clip_among_clips_of_another_class_is_doubted() -> None:
    vectors, labels = labelled(swapped=5)
    doubts = doubtful_labels(vectors, labels, range(60))
    assert [(doubt.index, doubt.nearest) for doubt in doubts] == [(5, "Dog")]


def test_parents_copies_and_thin_classes_do_not_count() -> None:
    vectors, labels = labelled(swapped=5)
    with_parent = [(*label, "Dog") if index == 5 else label for index, label in enumerate(labels)]
    assert doubtful_labels(vectors, with_parent, range(60)) == []
    kin = [("Bark",) if label == ("Harp",) else label for label in labels]
    assert doubtful_labels(vectors, kin, range(60)) == []
    thin = [("Owl",) if index == 7 else label for index, label in enumerate(labels)]
    assert [doubt.index for doubt in doubtful_labels(vectors, thin, range(60))] == [5]
    copied = np.concatenate([vectors, vectors[5:6], vectors[5:6], vectors[5:6]])
    groups = [*range(60), 5, 5, 5]
    assert 5 in [doubt.index for doubt in doubtful_labels(copied, [*labels, *[("Harp",)] * 3], groups)]


@pytest.mark.parametrize("clips", [1, 2, 5])
def test_a_set_too_small_to_compare_raises_no_doubts(clips: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((clips, 8)).astype(np.float32)
    assert doubtful_labels(vectors, [("a" if index % 2 else "b",) for index in range(clips)], range(clips)) == []
