"""What was done, with what, how long it took, and what the user should know."""

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from querysep.io.files import json_bytes
from querysep.queries.query import QueryKind

FileText = Annotated[str, SkipValidation]
"""Text with the name of a file, whose bytes may be no UTF-8; Python holds them as lone surrogates."""


class MixtureFacts(BaseModel):
    """The recording that was separated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: FileText | None = Field(description="the file, or '-'; null for samples in memory")
    duration_s: float
    sample_rate: int = Field(description="Hz")
    channels: int


class ExampleFacts(BaseModel):
    """One of a query's examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: FileText = Field(description="file, span, or class of the label bank")
    used: bool = Field(description="whether it counts")
    reason: FileText | None = Field(description="why it does not; null where it does")
    weight: float = Field(
        description="how much it counts beside the query's others; for words, how surely they mean it"
    )
    seconds_used: float = Field(description="of it that is neither silent nor unlike the rest of it; 0 for a class")


class QueryFacts(BaseModel):
    """A query, as it was understood."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: QueryKind
    text: FileText = Field(description="as the user wrote it")
    examples_used: int = Field(description="files, spans, sounds or classes that went into the condition")
    seconds_used: float = Field(description="length of what counts in them")
    presence: float = Field(ge=0, le=1, description="how surely the mixture holds this query's sound")
    examples: list[ExampleFacts] = Field(description="all of them, also those that do not count")


class SeparationReport(BaseModel):
    """The report beside the target and the residual."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    querysep_version: str
    model: str
    model_hash: str
    device: str
    seconds: float = Field(description="time taken, queries included")
    real_time_factor: float = Field(description="time taken over the mixture's duration")
    mixture: MixtureFacts
    queries: list[QueryFacts]
    not_queries: list[QueryFacts] = Field(description="what was to stay out of the target")
    combine: str = Field(description="how several queries became one target: mean, max or each")
    per_channel: bool
    keep_absent: bool = Field(description="whether a target that is not there was left as it is")
    presence: float = Field(ge=0, le=1, description="how surely the mixture holds the sound asked for")
    presence_calibrated: bool = Field(description="whether presences are probabilities, or the detector's bare opinion")
    warnings: list[FileText]

    def to_json(self) -> bytes:
        """Return what the report file holds."""
        return json_bytes(self.model_dump(mode="json"))


def querysep_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("querysep")
    except PackageNotFoundError:
        return "unknown"
