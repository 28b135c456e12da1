"""The format of a data set is found out, and what is no data set is refused."""

from pathlib import Path

import numpy as np
import pytest
from recordings import WriteTone

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import find_format, open_recordings
from querysep.data.manifest import Clip, write_manifest
from querysep.errors import DataError

RATE = 32_000


def test_our_own_manifest_with_a_file_missing(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("set/a.wav", seconds=1.0)
    clip = Clip(path="a.wav", labels=("Dog",), duration_s=1.0, licence="CC0", source="s", origin="o", split="test")
    part = clip.model_copy(update={"start_s": 0.25, "duration_s": 0.5})
    write_manifest([clip, part, clip.model_copy(update={"path": "gone.wav"})], tmp_path / "set" / "manifest.jsonl")
    opened = open_recordings(tmp_path / "set", RATE)
    assert opened.data_format is DataFormat.MANIFEST
    assert list(opened.clips) == [clip, part]
    assert [(one.path, one.kind) for one in opened.problems] == [("gone.wav", "missing")]
    np.testing.assert_array_equal(opened.read(1), opened.read(0)[8_000:24_000])


def test_nothing_and_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set at"):
        open_recordings(tmp_path / "nowhere", RATE)
    with pytest.raises(DataError, match="no data set that we know"):
        find_format(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(DataError, match="holds no clips"):
        open_recordings(tmp_path, RATE)
