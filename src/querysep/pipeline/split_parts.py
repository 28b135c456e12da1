"""What each found group is asked for with, and when its mask counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from querysep.detection.windows import PresenceMap
from querysep.errors import QueryError
from querysep.io.label_bank import LabelBank
from querysep.pipeline.found_classes import FoundGroup
from querysep.queries.examples import Ear, hear_span
from querysep.queries.query import Query
from querysep.queries.segments import SEGMENT_S
from querysep.separation.mask_rule import MaskRule

MOST_CLASSES = 4  # of one group that are asked for, the most present ones
_SHORTEST_SPAN_S = 0.5


@dataclass(frozen=True)
class Part:
    """A group that will be separated.

    Attributes:
        group: what was found.
        vectors: alternatives, of which the largest mask counts.
        span_s: of the mixture, where the vector comes from it; None where the label bank has the classes.
    """

    group: FoundGroup
    vectors: Float[Tensor, "condition condition_dim"]
    span_s: tuple[float, float] | None


def make_part(
    group: FoundGroup,
    others: Sequence[FoundGroup],
    presence: PresenceMap,
    labels: Sequence[str],
    bank: LabelBank | None,
    ear: Ear,
) -> Part | None:
    """Make the conditions of a group: the bank's for each class found; else the span where it is most alone.

    Where the bank has the class, its condition separates as well as the span's, or both averaged (benchmarks/split.py).

    Args:
        group: what is wanted.
        others: found in the same mixture.
        presence: of the mixture.
        labels: of the model's classes.
        bank: of the model.
        ear: hears spans of the mixture.

    Returns:
        None where neither the bank knows its classes nor anything is heard in its span.
    """
    named = named_vectors(group, labels, bank)
    if named is not None:
        return Part(group, named.to(ear.device), None)
    span_s = clearest_span(group, others, presence)
    heard = hear_clearest(span_s, ear)
    return None if heard is None else Part(group, heard[None], span_s)


def named_vectors(group: FoundGroup, labels: Sequence[str], bank: LabelBank | None) -> Tensor | None:
    """Return what the bank has for the most present classes of a group, shape (condition, condition_dim), or None."""
    rows = {} if bank is None else {row.label: place for place, row in enumerate(bank.rows)}
    named = [rows[labels[index]] for index in group.classes[:MOST_CLASSES] if labels[index] in rows]
    return bank.conditions[named] if bank is not None and named else None


def clearest_span(
    group: FoundGroup, others: Sequence[FoundGroup], presence: PresenceMap, most_s: float = SEGMENT_S
) -> tuple[float, float]:
    """Return where a group is most present and the others least, in seconds; at most ``most_s`` long."""
    clear = np.where(group.active, group.track, 0.0)
    if others:
        clear = clear * (1.0 - np.max([np.where(other.active, other.track, 0.0) for other in others], axis=0))
    frames = min(len(clear), max(1, round(most_s / presence.frame_s)))
    sums = np.convolve(clear + 1e-6 * group.active, np.ones(frames), mode="valid")
    first = int(sums.argmax())
    there = np.flatnonzero(group.active[first : first + frames])
    onset_s = (first + int(there[0])) * presence.frame_s
    offset_s = (first + int(there[-1]) + 1) * presence.frame_s
    offset_s = min(max(offset_s, onset_s + _SHORTEST_SPAN_S), presence.duration_s)
    return max(0.0, min(onset_s, offset_s - _SHORTEST_SPAN_S)), offset_s


def hear_clearest(span_s: tuple[float, float], ear: Ear) -> Tensor | None:
    """Return the embedding of a span, shape (condition_dim,), or None where it is silent."""
    try:
        return hear_span(Query.span(*span_s), ear).vector
    except QueryError:  # silent
        return None


def arranged(parts: Sequence[Part]) -> tuple[Float[Tensor, "condition condition_dim"], MaskRule]:
    """Give the conditions of all parts and the rule by which their masks share the mixture."""
    places, start = [], 0
    for part in parts:
        places.append(tuple(range(start, start + len(part.vectors))))
        start += len(part.vectors)
    return torch.cat([part.vectors for part in parts]), MaskRule(tuple(places), shared=True)


class TimeGate:
    """Opens each part's masks around the stretches in which it is present; elsewhere the rest has it all.

    Args:
        parts: what is separated.
        frame_s: length of a frame of the presence map, seconds.
        hop: of the masks, seconds.
        sample_rate: of the model, in Hz.
    """

    def __init__(self, parts: Sequence[Part], frame_s: float, hop: int, sample_rate: int) -> None:
        self._frame_s, self._hop, self._rate = frame_s, hop, sample_rate
        self._open = []
        for part in parts:
            padded = np.pad(part.group.active, 1)  # one frame more on both sides, through which it fades
            wide = padded[:-2] | padded[1:-1] | padded[2:]
            self._open += [wide.astype(np.float32)] * len(part.vectors)

    def __call__(self, start: int, wave: Tensor, masks: Tensor, matches: Tensor) -> Tensor:
        """Give the gains of a chunk, shape (condition, frame)."""
        at_s = (start + np.arange(masks.shape[-1]) * self._hop) / self._rate
        centres_s = (np.arange(len(self._open[0])) + 0.5) * self._frame_s
        gains = np.stack([np.interp(at_s, centres_s, track) for track in self._open])
        return torch.from_numpy(gains.astype(np.float32)).to(masks.device)
