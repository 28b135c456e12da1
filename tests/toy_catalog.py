"""A small anchor catalog of made-up sounds, some of whose classes are kinds of each other."""

import numpy as np

from querysep.anchors.catalog import Anchor, Catalog, CatalogFacts
from querysep.data.manifest import Split

TIME, DIM = 4_000, 8
# Class (label of the anchor), labels of its clip, how many anchors.
CLIPS = (
    ("Dog", ("Dog", "Animal"), 12),
    ("Animal", ("Animal",), 3),
    ("Cat", ("Cat", "Animal"), 2),
    ("Dog", ("Dog", "Speech", "Animal"), 2),
    ("Speech", ("Dog", "Speech", "Animal"), 2),
    ("Speech", ("Speech",), 30),
    ("Car", ("Car", "Speech"), 3),
    ("Bell", ("Bell",), 4),
    ("Rain", ("Rain",), 4),
    ("Bark", ("Bark",), 3),  # its ancestors are not among its labels, but in AudioSet's ontology
)


def toy_catalog(split: Split = "train", score: float = 1.0) -> Catalog:
    """Return the catalog, all of it on one side; the first clip of a class scores 0.9."""
    rng = np.random.default_rng(0)
    anchors = []
    for label, labels, count in CLIPS:
        for number in range(count):
            heard = tuple(one for one in labels if one != "Animal" or labels == ("Animal",))
            clip = f"{'-'.join(labels)}-{number}"
            anchors.append(
                Anchor(
                    label=label,
                    labels=labels,
                    heard=heard,
                    clip=clip,
                    origin=clip,
                    split=split,
                    start_s=0,
                    sounding=TIME,
                    score=score if number else 0.9,
                    purity=0.5,
                )
            )
    audio = (rng.standard_normal((len(anchors), TIME)) * rng.uniform(100, 6_000, (len(anchors), 1))).astype(np.int16)
    centres = {label: rng.standard_normal(DIM) for label, _, _ in CLIPS}
    latents = np.stack([centres[anchor.label] + 0.01 * rng.standard_normal(DIM) for anchor in anchors])
    facts = CatalogFacts(sample_rate=32_000, segment_time=TIME, latent_dim=DIM, detector="d", settings="{}")
    return Catalog(anchors, latents.astype(np.float32), audio, facts)
