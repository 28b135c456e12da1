"""Shapes of the separators."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator


class SeparatorShape(BaseModel):
    """What all separators have, and how a long file is cut for them; saved beside the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(32_000, gt=0, description="Hz")
    n_fft: int = Field(2048, gt=0, description="samples in a window")
    hop: int = Field(320, gt=0, description="samples between frames")
    condition_dim: int = Field(2048, gt=0, description="size of the condition")
    channels: tuple[int, ...] = Field((32, 64, 128, 256, 512, 1024, 2048), description="of each level, bottom last")
    chunk_s: float = Field(2.0, gt=0, description="length of a chunk of a long file, seconds")
    overlap_s: float = Field(0.5, ge=0, description="overlap of two chunks, seconds")


class PaperConfig(SeparatorShape):
    """The published U-Net (Chen et al., 2022, Section 3.2)."""

    architecture: Literal["paper", "unet"] = Field("paper", description="unet: the same, in older files")

    @field_validator("architecture")
    @classmethod
    def _renamed(cls, given: str) -> str:
        return "paper"


class CompactConfig(SeparatorShape):
    """Our small U-Net over patches of bins and frames."""

    architecture: Literal["compact"] = "compact"
    bins_per_band: int = Field(8, gt=0, description="neighboring bins that share a row as channels")
    frames_per_patch: int = Field(2, gt=0, description="neighboring frames that share a column")
    bottom_blocks: int = Field(3, gt=0, description="blocks at the lowest resolution")
    condition_hidden: int = Field(256, gt=0, description="width of the condition's hidden layer")
    presence_dim: int = Field(0, ge=0, description="size of what tells presence; 0: nothing does")


def _architecture(given: Any) -> str:
    """Return which of the shapes is meant; ours where a file does not say."""
    name = given.get("architecture", "compact") if isinstance(given, dict) else getattr(given, "architecture", "")
    return "paper" if name == "unet" else str(name)


SeparatorConfig = Annotated[
    Annotated[PaperConfig, Tag("paper")] | Annotated[CompactConfig, Tag("compact")], Discriminator(_architecture)
]
"""Shape of a separator; ``architecture`` says which."""
