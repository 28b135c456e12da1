"""What the ``open`` protocol asks: every part of a mixture in every way, and for what is not there."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from querysep.evaluation.open_bank import PassingBank
from querysep.evaluation.open_mixtures import SAMPLE_RATE, Kind, OpenMixture, OpenMixtures, Part
from querysep.evaluation.questions import Question
from querysep.queries.query import Query
from querysep.types import Audio, FloatArray

Way = Literal["example", "label", "span", "text", "bank"]
_IN_THE_BANK = 5  # recordings of an entry


def audio_query(mixtures: OpenMixtures, indices: Sequence[int]) -> Query:
    """Return a query by recordings of the test side."""
    return Query.audio(*(Audio(mixtures.read(index)[None], SAMPLE_RATE) for index in indices))


def open_questions(
    mixtures: OpenMixtures, kind: Kind, index: int, ways: Sequence[Way], bank: PassingBank | None = None
) -> list[Question]:
    """Return what is asked about a mixture.

    Args:
        mixtures: draws them.
        kind: of the mixture.
        index: of the mixture.
        ways: kinds of query; what is not there is asked for by example only, and so is a sound alone.
        bank: where the sounds are kept that are asked for by bank; without it, none is.
    """
    mixture = mixtures.draw(kind, index)
    asked = ways if kind != "clean" else [way for way in ways if way == "example"]
    questions = []
    whole = mixture.wave[None]
    for way in asked:
        for number, part in enumerate(mixture.parts):
            example = mixtures.examples(part)
            if not example:
                continue
            facts = {
                "part": str(number),
                "way": way,
                "clip": part.clip,
                "beside": "; ".join(other.label for other in mixture.parts if other is not part),
            }
            facts |= {"example": mixtures.clips[example[0]].path} if way == "example" else {}
            if way != "bank":
                questions.append(_question(mixtures, kind, mixture, part, way, example, whole, facts))
            elif bank is not None:
                query = _kept(mixtures, part, f"{kind} {index} {number}", bank)
                group = f"{part.group}, by {way}"
                questions.append(Question(group, part.label, query, whole, SAMPLE_RATE, part.wave[None], facts=facts))
    if mixture.absent is not None and "example" in ways:
        questions.append(_absent(mixtures, mixture, whole))
    return questions


def _question(
    mixtures: OpenMixtures,
    kind: Kind,
    mixture: OpenMixture,
    part: Part,
    way: Literal["example", "label", "span", "text"],
    example: Sequence[int],
    whole: FloatArray,
    facts: dict[str, str],
) -> Question:
    group = part.group if way == "example" else f"{part.group}, by {way}"
    target = part.wave[None]
    match way:
        case "example":
            query = audio_query(mixtures, example)
            return Question(group, part.label, query, whole, SAMPLE_RATE, target, alone=kind == "clean", facts=facts)
        case "span":
            lead = part.lead
            query = Query.span(0.0, len(lead) / SAMPLE_RATE)
            later, wanted = (np.concatenate((lead, wave))[None] for wave in (mixture.wave, part.wave))
            return Question(
                group,
                part.label,
                query,
                later,
                SAMPLE_RATE,
                wanted,
                measured_from=len(lead),
                may_fail=True,
                facts=facts,
            )
        case "label":
            query = Query.label(part.label)
        case "text":
            query = Query.words(part.label.lower())
    return Question(group, part.label, query, whole, SAMPLE_RATE, target, may_fail=True, facts=facts)


def _kept(mixtures: OpenMixtures, part: Part, name: str, bank: PassingBank) -> Query:
    """Keep up to five other recordings of a part's class under a name."""
    indices = mixtures.examples(part, _IN_THE_BANK)
    return bank.keep(name, {mixtures.clips[one].path: Audio(mixtures.read(one)[None], SAMPLE_RATE) for one in indices})


def _absent(mixtures: OpenMixtures, mixture: OpenMixture, whole: FloatArray) -> Question:
    assert mixture.absent is not None
    clip = mixtures.clips[mixture.absent]
    facts = {
        "part": "absent",
        "way": "example",
        "example": clip.path,
        "beside": "; ".join(part.label for part in mixture.parts),
    }
    return Question("absent", clip.labels[0], audio_query(mixtures, [mixture.absent]), whole, SAMPLE_RATE, facts=facts)
