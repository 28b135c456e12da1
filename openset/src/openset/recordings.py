"""What the open sound set is made of: recordings in Debian packages, and which of them to take."""

import csv
import gzip
import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath

from querysep.data.manifest import Split
from querysep.data.ontology import audioset
from querysep.data.splitting import rank

SPEECH = frozenset({"Speech", "Female speech, woman speaking", "Male speech, man speaking"})
MUSIC = "Music"
SPEECH_S = 13_000.0
MUSIC_FILES = 240
MUSIC_EXCERPT_S = 36.0
EXCERPT_S = 30.0

HELD_OUT = frozenset(
    {
        "Helicopter",
        "Laughter",
        "Cattle, bovinae",
        "Tambourine",
        "Splash, splatter",
        "Bee, wasp, etc.",
        "Vehicle horn, car horn, honking",
        "Door",
    }
)
"""Classes that are never trained on."""

RESERVED = frozenset(
    {
        "Tabla",
        "Hubbub, speech noise, speech babble",
        "Waterfall",
        "Race car, auto racing",
        "Strum",
        "Ringtone",
    }
)
"""Classes kept for other people's evaluation: they appear nowhere in the set."""

RESERVED_IN_PACKAGES = RESERVED | {"Whistle", "Telephone bell ringing", "Computer keyboard"}
"""Those that are not taken out of Debian packages: of the last three the evaluation has these very files."""

MEANT_PARENTS: dict[str, tuple[str, ...]] = {
    "Cowbell": ("Percussion",),
    "Choir": ("Musical instrument",),
    "Clapping": ("Hands",),
    "Clip-clop": ("Horse",),
    "Crackle": ("Fire",),
    "Police car (siren)": ("Siren",),
    "Bicycle bell": ("Bell",),
}
"""AudioSet puts some classes under several others, as Cowbell under cattle too: what is meant in this set."""

VOICE_DEPTH = {
    "klettres-data": 4,
    "ktuberling-data": 5,
    "hedgewars-data": 8,
    "asterisk-prompt-it-menardi-wav": 5,
    "tuxpaint-stamps-default": 0,
    "codec2-examples": 99,
    "flare-game": 99,
    "0ad-data": 8,
    "warzone2100-data": 4,
}


_SIDES: dict[str, Split | None] = {"": None, "train": "train", "test": "test"}


@dataclass(frozen=True)
class Recording:
    """A file in a package."""

    package: str
    path: str
    label: str
    seconds: float
    licence: str
    side: Split | None = None
    """Where it lay in the first edition of the set; None where it was not in it."""
    author: str = ""
    """As ``debian/copyright`` names them, where it does."""

    @property
    def key(self) -> str:
        """A name that no other recording has."""
        return f"{self.package}:{self.path}"


def read_recordings() -> list[Recording]:
    """Read the list that is bundled with this package.

    Returns:
        All usable recordings: one of each group of duplicates, none of a reserved class.
    """
    packed = files("openset").joinpath("assets", "recordings.csv.gz").read_bytes()
    rows = csv.DictReader(gzip.decompress(packed).decode().splitlines())
    return [
        Recording(
            package=row["package"],
            path=row["path"],
            label=row["label"],
            seconds=float(row["seconds"]),
            licence=row["licence"],
            side=_SIDES[row["side"]],
            author=row["author"],
        )
        for row in rows
    ]


def labels_of(label: str) -> tuple[str, ...]:
    """Add the classes that a class is a kind of, as AudioSet's ontology has it.

    Only those are added that AudioSet itself labels, so not abstract ones such as "Human sounds"; and of a
    class with several parents only what holds by each of them, unless ``MEANT_PARENTS`` says which is meant.

    Args:
        label: a class of the set.

    Returns:
        The class itself first, the nearest ancestors next.
    """
    ontology = audioset()
    found = [label]
    for name in found:
        if name not in ontology:
            continue
        parents = MEANT_PARENTS.get(name) or ontology.parents(name)
        if len(parents) > 1:
            reached = [{parent, *ontology.ancestors(parent)} for parent in parents]
            shared = set.intersection(*reached)
            parents = tuple(one for one in sorted(shared) if not shared & ontology.descendants(one))
        found += [parent for parent in parents if parent not in found]
    return (label, *(name for name in found[1:] if ontology[name].index is not None))


def select(recordings: Iterable[Recording]) -> list[Recording]:
    """Cap speech and music, which would drown everything else.

    Args:
        recordings: as ``read_recordings`` gives them.

    Returns:
        All other sounds; speech from as many voices as there are, each of about the same
        length; and music from all packages in turn. What was in the first edition is taken first.
    """
    all_of_them = list(recordings)
    speech = [one for one in all_of_them if one.label in SPEECH]
    music = [one for one in all_of_them if one.label == MUSIC and one.seconds >= 20]
    others = [one for one in all_of_them if one.label not in SPEECH and one.label != MUSIC]
    chosen_speech = _in_turn(speech, origin_of, lambda one: one.seconds, SPEECH_S)
    chosen_music = _in_turn(music, lambda one: one.package, lambda _: 1.0, float(MUSIC_FILES))
    return sorted([*others, *chosen_speech, *chosen_music], key=lambda one: one.key)


def origin_of(recording: Recording) -> str:
    """Name the group of recordings that must not be split apart.

    Args:
        recording: a file of the set.

    Returns:
        A voice or language for speech, a kit for drums, a piece for music; else the package, the
        folder and the file's name without its number.
    """
    path = PurePosixPath(recording.path)
    if recording.label == MUSIC:
        return recording.key
    if recording.package == "hydrogen-drumkits":
        return f"{recording.package}:{path.parent.name}"
    if recording.label in SPEECH:
        return f"{recording.package}:{_voice(recording.package, path)}"
    stem = re.sub(r"(?:[-_. ]*\d+[a-z]?)+$", "", path.stem)
    return f"{recording.package}:{path.parent}/{stem or path.stem}"


def _voice(package: str, path: PurePosixPath) -> str:
    if package == "tuxpaint-stamps-default":
        language = re.search(r"_desc_([a-z]{2,3}(?:_[A-Za-z]{2})?)$", path.stem)
        return language.group(1) if language else "en"
    depth = VOICE_DEPTH.get(package, 98)
    if depth == 99:
        return re.sub(r"[-_]*\d+$", "", path.stem)
    if depth == 98:
        shared = path.parent.parent.name == "commondata"
        return f"{path.parent}/{path.stem.split('_')[0]}" if shared else str(path.parent)
    return "/".join(path.parts[:depth])


def _in_turn(
    recordings: Sequence[Recording],
    group_of: Callable[[Recording], str],
    weight_of: Callable[[Recording], float],
    enough: float,
) -> list[Recording]:
    """Take from the group that has given the least so far, until there is enough."""
    taken = [one for one in recordings if one.side is not None]
    total = sum(weight_of(one) for one in taken)
    weights: dict[str, float] = defaultdict(float)
    for one in taken:
        weights[group_of(one)] += weight_of(one)
    groups: dict[str, list[Recording]] = defaultdict(list)
    for one in sorted(recordings, key=lambda one: rank(one.key), reverse=True):
        if one.side is None:
            groups[group_of(one)].append(one)
    given = [(weights[name], name) for name in sorted(groups)]
    heapq.heapify(given)
    while given and total < enough:
        weight, name = heapq.heappop(given)
        one = groups[name].pop()
        taken.append(one)
        total += weight_of(one)
        if groups[name]:
            heapq.heappush(given, (weight + weight_of(one), name))
    return taken
