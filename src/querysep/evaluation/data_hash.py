"""Which recordings a figure was measured on, in a few characters."""

import hashlib
from collections.abc import Iterable

from querysep.data.manifest import Clip


def hash_clips(clips: Iterable[Clip], more: Iterable[str] = ()) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over a list of clips.

    It tells other lists, labels, lengths and splits apart, not other sound in files of the same names and lengths.

    Args:
        clips: in any order.
        more: other lines that decide what is measured.
    """
    digest = hashlib.sha256()
    for line in sorted([*(clip.model_dump_json() for clip in clips), *more]):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]
