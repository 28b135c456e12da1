"""What a split found and wrote."""

from pydantic import BaseModel, ConfigDict, Field

from querysep.io.files import json_bytes
from querysep.pipeline.report import FileText, MixtureFacts


class EventFacts(BaseModel):
    """A stretch in which something is present."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    onset_s: float
    offset_s: float
    label: str
    score: float = Field(ge=0, le=1, description="largest presence within")


class StemFacts(BaseModel):
    """One of the stems."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="class of the model, or group of the ontology")
    classes: list[str] = Field(description="the model's classes that were found in it, the most present first")
    presence: float = Field(ge=0, le=1, description="the largest, on the scale of the threshold")
    present_s: float = Field(description="seconds in which it is present")
    energy_share: float = Field(description="of the mixture's energy")
    span_s: tuple[float, float] | None = Field(
        description="of the mixture, seconds, that it was asked for by; null where the label bank has it"
    )
    path: FileText | None = Field(description="the file; null in memory")


class SplitReport(BaseModel):
    """The report beside the stems."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    querysep_version: str
    model: str
    model_hash: str
    device: str
    seconds: float = Field(description="time taken")
    real_time_factor: float = Field(description="time taken over the mixture's duration")
    mixture: MixtureFacts
    level: int = Field(description="1: widest groups, 2: families, 3: the model's classes")
    threshold: float
    max_stems: int
    per_channel: bool
    stems: list[StemFacts] = Field(
        description="the most surely present first: where masks claim the same, it goes before"
    )
    rest: FileText | None = Field(description="the file with everything else; null in memory")
    events: list[EventFacts] = Field(description="by onset; also of what was found and stays in the rest")
    warnings: list[FileText]

    def to_json(self) -> bytes:
        """Return what the report file holds."""
        return json_bytes(self.model_dump(mode="json"))
