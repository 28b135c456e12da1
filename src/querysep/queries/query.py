"""What a user may ask for, and the one place that knows how it is written."""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from querysep.errors import QueryError
from querysep.io.files import cut_name
from querysep.types import Audio

QueryKind = Literal["audio", "span", "label", "text", "bank"]
_SCHEMES = ("span", "label", "text", "bank")
_SPAN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*-\s*(\d+(?:\.\d*)?|\.\d+)\s*")
_SCHEME = re.compile(r"([A-Za-z]{2,}):(.*)", re.DOTALL)


@dataclass(frozen=True)
class Query:
    """One wish. Make it with `parse` or one of the constructors named after the kinds.

    Attributes:
        kind: audio, span, label, text or bank.
        text: how the user wrote it, for reports.
        paths: audio only: files and folders of examples.
        sounds: audio only: examples in memory.
        span_s: span only: start and end in the mixture, seconds.
    """

    kind: QueryKind
    text: str
    paths: tuple[Path, ...] = ()
    sounds: tuple[Audio, ...] = ()
    span_s: tuple[float, float] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a query as it is written on the command line.

        Args:
            text: a path, or ``span:START-END``, ``label:NAME``, ``text:WORDS``, ``bank:NAME``. A file whose name looks
                like one of these is written as ``./label:x``.

        Raises:
            QueryError: empty, an unknown prefix, or a span that cannot be read.
        """
        if not text.strip():
            raise QueryError(
                "The query is empty. Give a file, a folder, span:START-END, or label:, text: or bank: and a name."
            )
        match = _SCHEME.fullmatch(text)
        if match is None or (match[1] not in _SCHEMES and Path(text).exists()):
            return cls("audio", text, paths=(Path(text),))
        scheme, rest = match[1], match[2]
        if scheme not in _SCHEMES:
            close = difflib.get_close_matches(scheme.lower(), _SCHEMES, 1)
            hint = f" Did you mean '{close[0]}:'?" if close else ""
            raise QueryError(f"'{text}' is neither a file nor a known kind of query ({', '.join(_SCHEMES)}).{hint}")
        if not rest.strip():
            raise QueryError(f"'{text}' lacks what follows '{scheme}:'.")
        match scheme:
            case "span":
                return cls._parse_span(text, rest)
            case "label":
                return cls("label", text)
            case "text":
                return cls("text", text)
        return cls("bank", text)

    @classmethod
    def _parse_span(cls, text: str, rest: str) -> Self:
        match = _SPAN.fullmatch(rest)
        if match is None:
            raise QueryError(f"'{text}' is not a span. Write seconds as in span:3.2-4.7.")
        return cls._checked_span(float(match[1]), float(match[2]), text)

    @classmethod
    def _checked_span(cls, onset_s: float, offset_s: float, text: str) -> Self:
        if not (0 <= onset_s < offset_s < float("inf")):
            raise QueryError(
                f"'{text}' must start at 0 or later and end after its start; got {onset_s} to {offset_s} s."
            )
        return cls("span", text, span_s=(onset_s, offset_s))

    @classmethod
    def audio(cls, *examples: str | Path | Audio) -> Self:
        """Ask for what the examples sound like: files, folders of files, or audio in memory; any number.

        Raises:
            QueryError: no example.
        """
        if not examples:
            raise QueryError("An audio query needs at least one example.")
        paths = tuple(Path(example) for example in examples if not isinstance(example, Audio))
        sounds = tuple(example for example in examples if isinstance(example, Audio))
        words = [str(path) for path in paths] + [f"{sound.duration_s:.2f} s of audio" for sound in sounds]
        return cls("audio", ", ".join(words), paths=paths, sounds=sounds)

    @classmethod
    def span(cls, onset_s: float, offset_s: float) -> Self:
        """Ask for what sounds in a span of the mixture, in seconds.

        Raises:
            QueryError: the span is empty, runs backwards or starts before 0.
        """
        return cls._checked_span(float(onset_s), float(offset_s), f"span:{onset_s:g}-{offset_s:g}")

    @classmethod
    def label(cls, name: str) -> Self:
        """Ask for a class of the model's bank."""
        return cls("label", f"label:{name}")

    @classmethod
    def words(cls, text: str) -> Self:
        """Ask in free text."""
        return cls("text", f"text:{text}")

    @classmethod
    def bank(cls, name: str) -> Self:
        """Ask for a saved query."""
        return cls("bank", f"bank:{name}")

    @classmethod
    def of(cls, wish: Any, sample_rate: int | None = None) -> Self:
        """Turn whatever a caller may give into a query.

        Args:
            wish: a query, a string in the grammar of `parse`, a path, Audio, or an array or tensor of samples.
            sample_rate: of an array or tensor, in Hz.

        Raises:
            QueryError: something else, or an array without a rate.
            AudioError: samples that cannot be used.
        """
        if isinstance(wish, cls):
            return wish
        if isinstance(wish, str):
            return cls.parse(wish)
        if isinstance(wish, Path | Audio):
            return cls.audio(wish)
        if isinstance(wish, np.ndarray) or hasattr(wish, "detach"):
            if sample_rate is None:
                raise QueryError("An array as a query needs its rate: use Audio.of(samples, sample_rate).")
            return cls.audio(Audio.of(wish, sample_rate))
        raise QueryError(f"A query is a string, path, Query, Audio or array; got {type(wish).__name__}.")

    @property
    def argument(self) -> str:
        """What follows the prefix of a label, text or bank query."""
        return self.text.partition(":")[2].strip()

    @property
    def name(self) -> str:
        """A name of at most 60 bytes that is safe in a file name: letters, digits, dot, dash and underscore."""
        example = self.paths[0].stem if self.paths else "audio"
        raw = example if self.kind == "audio" else self.text.replace(":", "-")
        return cut_name(re.sub(r"[^\w.-]+", "-", raw).strip("-."), 60) or self.kind
