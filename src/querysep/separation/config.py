"""Shape of the separator."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SeparatorConfig(BaseModel):
    """Shape of the separator and how a long file is cut for it; saved beside its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Literal["unet", "compact"] = Field("compact", description="the paper's network, or our small one")
    sample_rate: int = Field(32_000, gt=0, description="Hz")
    n_fft: int = Field(2048, gt=0, description="samples in a window")
    hop: int = Field(320, gt=0, description="samples between frames")
    condition_dim: int = Field(2048, gt=0, description="size of the condition")
    channels: tuple[int, ...] = Field((32, 64, 128, 256, 512, 1024, 2048), description="of each level, bottom last")
    bins_per_band: int = Field(8, gt=0, description="compact only: neighbouring bins that share a row as channels")
    frames_per_patch: int = Field(2, gt=0, description="compact only: neighbouring frames that share a column")
    bottom_blocks: int = Field(3, gt=0, description="compact only: blocks at the lowest resolution")
    condition_hidden: int = Field(256, gt=0, description="compact only: width of the condition's hidden layer")
    presence_dim: int = Field(0, ge=0, description="compact only: size of what tells presence; 0: nothing does")
    chunk_s: float = Field(2.0, gt=0, description="length of a chunk of a long file, seconds")
    overlap_s: float = Field(0.5, ge=0, description="overlap of two chunks, seconds")
