"""Clips that cannot be read: skipped and counted, as long as they are few."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from querysep.data.clips import ClipBank, ReplacingRecordings, hold
from querysep.data.manifest import Clip
from querysep.errors import DataError


class Recordings:
    """Clips of one second, whose samples are their number; some are broken. Every fourth is a bell."""

    sample_rate = 100

    def __init__(self, count: int, broken: Sequence[int]) -> None:
        self.broken = broken
        self.clips = [
            Clip(
                path=f"{number}.wav",
                labels=("bell",) if number % 4 == 3 else ("dog",),
                duration_s=1.0,
                licence="",
                source="",
                origin=str(number),
                split="train",
            )
            for number in range(count)
        ]

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        if index in self.broken:
            raise DataError(f"{index} is broken")
        return np.full(100, index, np.int16)[start : None if count is None else start + count]


def test_unreadable_clips_are_left_out_and_counted() -> None:
    bank = hold(Recordings(40, [3, 7]), lambda clip: True)
    assert isinstance(bank, ClipBank) and len(bank.clips) == len(bank.samples) == 38
    assert bank.unreadable == (("3.wav", "3 is broken"), ("7.wav", "7 is broken"))
    assert [int(bank.read(index)[0]) for index in range(4)] == [0, 1, 2, 4]
    assert len(hold(Recordings(4, [3]), lambda clip: True).clips) == 3  # a single one is never too many


def test_more_than_five_percent_stops_with_a_list() -> None:
    with pytest.raises(DataError, match=r"3 of 40 clips.*3.wav: 3 is broken; 7.wav.*; 8.wav"):
        hold(Recordings(40, [3, 7, 8]), lambda clip: True)
    with pytest.raises(DataError, match=r"3 of 41 clips.*x.wav: no header"):
        hold(Recordings(40, [3, 7]), lambda clip: True, unreadable=[("x.wav", "no header")])
    with pytest.raises(DataError, match=r"20 of 40 clips.*; and 10 more"):
        hold(Recordings(40, range(20)), lambda clip: True)


def test_where_memory_is_short_a_clip_like_it_is_read() -> None:
    recordings = hold(Recordings(40, [3, 7]), lambda clip: True, most_bytes=100)
    assert isinstance(recordings, ReplacingRecordings)
    for _ in range(2):
        assert set(recordings.read(3, 90, 50).tolist()) == {11}  # the next bell that is whole, from its beginning
        assert recordings.read(3, 90, 50).shape == (50,)
    assert recordings.read(5, 90, 50).tolist() == [5] * 10


def test_where_memory_is_short_too_many_stop_as_well() -> None:
    recordings = hold(Recordings(40, [3, 7, 8]), lambda clip: True, most_bytes=100)
    recordings.read(3)
    with pytest.raises(DataError, match=r"3 of 40 clips.*8 is broken"):
        recordings.read(8)
    few = hold(Recordings(4, [3]), lambda clip: True, most_bytes=100)
    with pytest.raises(DataError, match="nor any other clip of 'bell'"):
        few.read(3)
