"""How sounds are varied in training, so that their class stays: plain functions of a play and chance.

An augmentation is chosen by its name in the settings (``augmentation``), or handed to ``train_separator`` or
``train_detector`` as a function. It decides on the CPU; the mixer renders what it decided.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from querysep.dsp.mixing import KNOTS, Play, Room
from querysep.training.config import TrainingConfig

_CUT = (0.15, 0.6)
_FADE = 160  # samples
_GAP_S = (0.05, 3.0)
_TIMES = (0, 0, 0, 2, 3, 4, 6)  # 0: to the end
_LOUDEST_OF = 4  # stretches

Augmentation = Callable[[Play, int, np.random.Generator, TrainingConfig], Play]
"""Takes a play, the samples it has to fill, chance and the settings; returns how it is played now."""


def vary(play: Play, time: int, rng: np.random.Generator, training: TrainingConfig) -> Play:
    """Change speed, length, color and place, and put the sound into a room, each as often as the settings say."""
    if rng.random() < training.speed_share:
        play = play.faster(float(2.0 ** rng.uniform(-training.speed_octaves, training.speed_octaves)))
    if rng.random() < training.cut_share:
        length = max(1, round(play.length * rng.uniform(*_CUT)))
        play = play.cut(int(rng.integers(0, play.length - length + 1)), length, _FADE)
    if rng.random() < training.color_share:
        play = play.colored(rng.uniform(-training.color_db, training.color_db, size=KNOTS))
    play = play.placed(time, rng, training.repeat_share)
    return replace(play, room=draw_room(rng)) if rng.random() < training.room_share else play


def only_place(play: Play, time: int, rng: np.random.Generator, training: TrainingConfig) -> Play:
    """Leave the sound as it was recorded."""
    return play.placed(time, rng, training.repeat_share)


def shorten(play: Play, sound: NDArray[np.int16], shortest: int, rng: np.random.Generator) -> Play:
    """Cut a stretch of any length out of a sound, short ones as often as long ones: the loudest of a few.

    Args:
        play: of the whole sound.
        sound: as it was recorded, shape (time,).
        shortest: samples.
        rng: draws.
    """
    if play.length <= shortest:
        return play
    length = int(np.exp(rng.uniform(np.log(shortest), np.log(play.length))))
    starts = rng.integers(0, play.length - length + 1, size=_LOUDEST_OF)
    energy = np.concatenate(([0.0], np.cumsum(np.square(sound.astype(np.float64)))))
    ends = play.first + np.stack((starts, starts + length)) * play.speed
    first, last = energy[ends.round().astype(int).clip(0, len(sound))]
    return play.cut(int(starts[np.abs(last - first).argmax()]), length, play.fade)


def as_event(play: Play, time: int, sample_rate: int, rng: np.random.Generator) -> Play:
    """Let a sound that has its place in a scene swell and die away; repeated, with gaps, and often only a few times."""
    play = replace(play, fade=max(1, min(_FADE * int(rng.integers(1, 11)), play.length // 4)))
    if not play.period:
        return play
    gap, times = sample_rate * np.exp(rng.uniform(*np.log(_GAP_S))), int(rng.choice(_TIMES))
    period = play.length + max(1, round(gap))
    last = max(1, time - play.length)
    start = int(rng.integers(0, last if times else min(period, last)))
    return replace(play, start=start, period=period, times=times)


def draw_room(rng: np.random.Generator) -> Room:
    """Return a room that dies away in 0.1 to 0.8 s, with reverberation 18 to 0 dB below the direct sound."""
    return Room(
        decay_s=float(rng.uniform(0.1, 0.8)),
        level_db=float(rng.uniform(-18.0, 0.0)),
        smoothing=int(rng.integers(1, 6)),
        seed=int(rng.integers(1 << 20)),
    )


AUGMENTATIONS: Mapping[str, Augmentation] = {"vary": vary, "none": only_place}
