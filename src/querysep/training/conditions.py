"""What asks for a sound in training: the latent embeddings of examples, as unsure as in use."""

import numpy as np
from numpy.typing import NDArray

from querysep.anchors.catalog import Catalog
from querysep.training.askers import Askers
from querysep.training.config import SeparatorTraining


class Conditions:
    """Draws conditions.

    Args:
        catalog: anchors.
        training: settings.
        askers: of the anchors.
    """

    def __init__(self, catalog: Catalog, training: SeparatorTraining, askers: Askers) -> None:
        self._catalog, self._training, self._askers = catalog, training, askers
        self._spread = training.query_noise * catalog.latents[: catalog.plain].std(axis=0)

    def draw(self, index: int, members: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
        """Average the latent embeddings of examples: the segment itself, or others of its class.

        Args:
            index: the anchor that is asked for.
            members: the anchors of its class.
            rng: draws.

        Returns:
            A condition, shape (condition_dim,).
        """
        others = self._askers.of(index, members)
        if not len(others) or rng.random() < self._training.own_query_share:
            others = np.array([index])
        else:
            others = rng.choice(others, size=int(rng.integers(1, self._training.queries + 1)))
        examples = self._catalog.latents[others]
        if self._catalog.noisy is not None and self._training.noisy_query_share:
            noisy = rng.random(len(others)) < self._training.noisy_query_share
            plain = others < self._catalog.plain
            examples[noisy & plain] = self._catalog.noisy[others[noisy & plain]]
        mean: NDArray[np.float32] = examples.mean(axis=0)
        if self._training.query_noise:
            mean = mean + (self._spread * rng.standard_normal(mean.shape)).astype(np.float32)
        return mean
