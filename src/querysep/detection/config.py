"""Shapes of the detectors."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class HtsatConfig(BaseModel):
    """Shape of the token-semantic audio transformer (ST-SED); saved beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(32_000, gt=0, description="Hz")
    n_fft: int = Field(1024, gt=0, description="samples in a window")
    hop: int = Field(320, gt=0, description="samples between frames")
    n_mels: int = Field(64, gt=0, description="mel bands")
    fmin_hz: float = Field(50.0, ge=0, description="lowest mel edge")
    fmax_hz: float = Field(14_000.0, gt=0, description="highest mel edge")
    image_size: int = Field(256, gt=0, description="side of the square that the spectrogram is folded into")
    patch_size: int = Field(4, gt=0, description="side of a patch, pixels")
    embed_dim: int = Field(96, gt=0, description="channels after the patch embedding; doubles at each stage")
    depths: tuple[int, ...] = Field((2, 2, 6, 2), description="transformer blocks of each stage")
    heads: tuple[int, ...] = Field((4, 8, 16, 32), description="attention heads of each stage")
    window_size: int = Field(8, gt=0, description="side of an attention window, tokens")
    mlp_ratio: float = Field(4.0, gt=0, description="width of the hidden layer over that of the block")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in attention output and hidden layers")
    drop_path: float = Field(0.0, ge=0, lt=1, description="largest rate of skipped residual branches, training only")
    classes: int = Field(527, gt=0, description="number of classes")

    @model_validator(mode="after")
    def _fits(self) -> "HtsatConfig":
        if len(self.depths) != len(self.heads):
            raise ValueError(f"depths and heads must be equally long; got {self.depths} and {self.heads}")
        if self.image_size % self.n_mels:
            raise ValueError(f"image_size must be a multiple of n_mels; got {self.image_size} and {self.n_mels}")
        side = self.image_size // self.patch_size // 2 ** (len(self.depths) - 1)
        if side * self.patch_size * 2 ** (len(self.depths) - 1) != self.image_size or side % self.fold:
            raise ValueError(f"image_size {self.image_size} cannot be halved {len(self.depths) - 1} times and unfolded")
        return self

    @property
    def fold(self) -> int:
        """Pieces of time that are stacked above each other to make the image square."""
        return self.image_size // self.n_mels

    @property
    def frames(self) -> int:
        """Spectrogram frames that one image holds."""
        return self.image_size * self.fold

    @property
    def window_s(self) -> float:
        """Longest input of one forward pass, seconds."""
        return self.frames * self.hop / self.sample_rate

    @property
    def latent_dim(self) -> int:
        """Size of the latent embedding."""
        return int(self.embed_dim * 2 ** (len(self.depths) - 1))

    @property
    def map_frames(self) -> int:
        """Frames of the presence map for one full image."""
        return int(self.frames // (self.patch_size * 2 ** (len(self.depths) - 1)))

    @property
    def window_time(self) -> int:
        """Longest input of one forward pass, samples."""
        return (self.frames - 1) * self.hop

    @property
    def frame_time(self) -> int:
        """Samples between two frames of the presence map of a full image."""
        return self.frames // self.map_frames * self.hop


class MobileConfig(BaseModel):
    """Shape of a MobileNet with a transformer over its frames; saved beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Literal["mobile"] = "mobile"
    sample_rate: int = Field(32_000, gt=0, description="Hz")
    n_fft: int = Field(1024, gt=0, description="samples in a transform")
    hop: int = Field(320, gt=0, description="samples between frames of the spectrogram")
    map_frames: int = Field(64, gt=0, description="frames of the presence map that one forward pass takes at most")
    trunk_classes: int = Field(521, ge=0, description="classes, the first ones, that the trunk's own layer knows")
    embed_dim: int = Field(256, gt=0, description="channels of the transformer")
    depth: int = Field(3, gt=0, description="transformer layers")
    heads: int = Field(4, gt=0, description="attention heads of each layer")
    mlp_ratio: float = Field(3.0, gt=0, description="width of the hidden layer over that of the layer")
    dropout: float = Field(0.1, ge=0, lt=1, description="in the transformer's layers")
    latent_dim: int = Field(256, gt=0, description="size of the latent embedding")
    classes: int = Field(521, gt=0, description="number of classes")

    @model_validator(mode="after")
    def _fits(self) -> "MobileConfig":
        if self.embed_dim % self.heads:
            raise ValueError(f"embed_dim must be a multiple of heads; got {self.embed_dim} and {self.heads}")
        if self.classes < self.trunk_classes:
            raise ValueError(f"classes ({self.classes}) are at least the trunk's {self.trunk_classes}")
        return self

    @property
    def frame_time(self) -> int:
        """Samples between two frames of the presence map."""
        return 8 * self.hop

    @property
    def window_time(self) -> int:
        """Longest input of one forward pass, samples."""
        return self.map_frames * self.frame_time

    @property
    def window_s(self) -> float:
        """Longest input of one forward pass, seconds."""
        return self.window_time / self.sample_rate


def _architecture(given: Any) -> str:
    """Return which of the shapes is meant; the transformer of the paper where a file does not say."""
    name = given.get("architecture", "htsat") if isinstance(given, dict) else getattr(given, "architecture", "htsat")
    return str(name)


DetectorConfig = Annotated[
    Annotated[HtsatConfig, Tag("htsat")] | Annotated[MobileConfig, Tag("mobile")], Discriminator(_architecture)
]
"""Shape of a detector; ``architecture`` says which."""
