from pathlib import Path

import numpy as np
import pytest
import soundfile

from querysep.data.formats.multitrack import (
    MULTITRACK,
    Multitrack,
    Stem,
    is_stem,
    read_multitracks,
    read_stems,
    write_multitracks,
)
from querysep.data.manifest import Clip
from querysep.errors import DataError


def _piece(*lengths: int, folder: Path) -> Multitrack:
    """A piece whose stems hold 0.5, with gains 1, 2 and so on."""
    stems = []
    for number, length in enumerate(lengths, start=1):
        soundfile.write(folder / f"{number}.flac", np.full(length, 0.5), 32_000)
        stems.append(Stem(path=f"{number}.flac", label="Piano", gain=number))
    return Multitrack(
        name="a",
        piece="bach/a.mxl",
        terms="",
        start_quarter=0,
        quarter_s=0.5,
        duration_s=1,
        split="test",
        stems=tuple(stems),
    )


def test_stems_are_read_as_they_sound_in_the_mixture(tmp_path: Path) -> None:
    piece = _piece(100, 100, folder=tmp_path)
    write_multitracks([piece], tmp_path / MULTITRACK)
    assert read_multitracks(tmp_path / MULTITRACK) == [piece]
    one, two = read_stems(piece, tmp_path)
    assert one.shape == two.shape == (100,)
    np.testing.assert_allclose((one, two), (np.full(100, 0.5), np.full(100, 1.0)), atol=1e-4)


def test_stems_that_are_missing_or_differ_in_length_are_named(tmp_path: Path) -> None:
    piece = _piece(100, 90, folder=tmp_path)
    with pytest.raises(DataError, match="stems of 'a' differ in length"):
        read_stems(piece, tmp_path)
    (tmp_path / "2.flac").unlink()
    with pytest.raises(DataError, match=r"Cannot read '.*2\.flac'"):
        read_stems(piece, tmp_path)


def test_stems_are_told_from_phrases_by_their_folder() -> None:
    clip = Clip(
        path="music/test/a/1-piano.flac",
        labels=("Piano",),
        duration_s=1,
        licence="MIT",
        source="rendered:a",
        origin="soundfont:a",
        split="test",
    )
    assert is_stem(clip)
    assert not is_stem(clip.model_copy(update={"path": "audio/test/piano/rendered-a.flac"}))


def test_a_broken_list_of_pieces_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="openset render"):
        read_multitracks(tmp_path / MULTITRACK)
    (tmp_path / MULTITRACK).write_text('{"name": "a"}\n')
    with pytest.raises(DataError, match=r"Line 1 of .* is not a piece: piece: Field required"):
        read_multitracks(tmp_path / MULTITRACK)
