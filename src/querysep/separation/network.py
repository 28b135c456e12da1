"""What every separator offers: a mask for a mixture and a condition."""

from abc import ABC, abstractmethod

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from querysep.dsp.stft import istft, stft
from querysep.separation.config import SeparatorConfig


class SeparatorNetwork(nn.Module, ABC):
    """A query-conditioned mask estimator on the mixture's magnitude spectrogram."""

    config: SeparatorConfig

    @abstractmethod
    def mask_of_magnitude(
        self, magnitude: Float[Tensor, "batch freq frame"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch freq frame"]:
        """Return the mask, 0..1, for magnitude spectrograms of any number of frames."""

    def listen(self, magnitude: Float[Tensor, "batch freq frame"]) -> list[Tensor]:
        """Return what a mixture is to every query: computed once, however many there are.

        Args:
            magnitude: shape (batch, freq, frame).

        Returns:
            Tensors whose first dimension is the batch.
        """
        return [magnitude]

    def answer(
        self, heard: list[Tensor], condition: Float[Tensor, "batch condition_dim"], frames: int
    ) -> Float[Tensor, "batch freq frame"]:
        """Return the mask, 0..1, of what ``listen`` gave.

        Args:
            heard: an entry of the batch for each condition.
            condition: shape (batch, condition_dim).
            frames: of the mixture.
        """
        return self.mask_of_magnitude(heard[0], condition)

    def presence_logits(
        self, heard: list[Tensor], condition: Float[Tensor, "query condition_dim"]
    ) -> Float[Tensor, "batch query"] | None:
        """Return the log-odds that what each condition means is in each mixture; None where the network has no say.

        Args:
            heard: what ``listen`` gave.
            condition: shape (query, condition_dim); every one is asked of every mixture.
        """
        return None

    def mask(
        self, mixture: Float[Tensor, "batch time"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch freq frame"]:
        """Estimate which share of each bin belongs to the target.

        Args:
            mixture: shape (batch, time), at config.sample_rate, more than n_fft // 2 samples.
            condition: shape (batch, condition_dim).

        Returns:
            Mask in 0..1, freq = n_fft // 2 + 1, frame = time // hop + 1.
        """
        return self.mask_of_magnitude(stft(mixture, self.config.n_fft, self.config.hop).abs(), condition)

    def forward(
        self, mixture: Float[Tensor, "batch channel time"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch channel time"]:
        """Separate each channel on its own.

        Args:
            mixture: shape (batch, channel, time), at config.sample_rate, more than n_fft // 2 samples.
            condition: shape (batch, condition_dim), one vector per clip.

        Returns:
            The target, same shape as the mixture: masked magnitude with the mixture's phase.
        """
        batch, channel, time = mixture.shape
        flat = rearrange(mixture, "b c t -> (b c) t")
        spectrogram = stft(flat, self.config.n_fft, self.config.hop)
        mask = self.mask_of_magnitude(spectrogram.abs(), condition.repeat_interleave(channel, dim=0))
        target = istft(spectrogram * mask, self.config.n_fft, self.config.hop, time)
        return rearrange(target, "(b c) t -> b c t", b=batch)
