"""The mixer: sounds are played at a speed, in a color, at a place and in a room, brought to levels, and added.

What is played how is decided before, on the CPU, as a ``Play`` for each sound. Rendering draws nothing: it is one
batched function of sounds and plays, the same on any device.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

KNOTS = 6
_OCTAVES = 6.0  # the knots of a color lie evenly over so many octaves below Nyquist
_FRACTION = 24  # bits behind the point of a position: exact, and the same on every device
_NOISE = _LONGEST = 1 << 20  # places in the noise that rooms and beds are cut from, and samples of a cut
_ROWS = 8  # rows are transformed by 1, 2, 4, or multiples of it: a GPU prepares each size of batch anew
_TAPER = 0.05
_HARMONICS = 30  # of mains hum
_FRAME_S, _SOUNDING_DB = 0.02, 20.0  # a frame this far below the loudest is silence
_ALONE = 0.05  # root mean square of a bed with nothing over it
Level = tuple[float, ...]

FLAT: Level = (0.0,) * KNOTS


@dataclass(frozen=True)
class Room:
    """A made-up room: noise that dies away after the direct sound, darker where walls and air take the treble.

    Attributes:
        decay_s: until the reverberation has fallen by 60 dB.
        level_db: energy of the reverberation over that of the direct sound.
        smoothing: samples of the running mean that takes the treble away; 1: none does.
        seed: where the noise is taken from, 0 to 2^20 - 1.
    """

    decay_s: float
    level_db: float
    smoothing: int
    seed: int


@dataclass(frozen=True)
class Play:
    """How one sound is played.

    Attributes:
        length: samples that it takes as it is played.
        first: where in the sound it begins, in samples; backwards, the last sample of the stretch.
        speed: times as fast; negative: backwards.
        start: sample at which it begins; negative: its beginning is cut off.
        period: samples after which it is played again, and again; 0: once. Shorter than the sound: see ``parts``.
        times: how often it is played again and again, from ``start`` on; 0: without end, and before ``start`` too.
        fade: samples in which it swells at its beginning and dies away at its end; 1: at once.
        color_db: gain at six frequencies, evenly spaced over the six octaves below Nyquist.
        room: that it sounds in; None: none.
    """

    length: int
    first: float = 0.0
    speed: float = 1.0
    start: int = 0
    period: int = 0
    times: int = 0
    fade: int = 1
    color_db: Level = FLAT
    room: Room | None = None

    def faster(self, factor: float) -> "Play":
        """Return the same, ``factor`` times as fast."""
        return replace(self, length=max(1, round(self.length / factor)), speed=self.speed * factor)

    def cut(self, start: int, length: int, fade: int) -> "Play":
        """Return a stretch of the same, from a sample of it as it is played."""
        return replace(self, first=self.first + start * self.speed, length=length, fade=fade)

    def colored(self, color_db: Iterable[float]) -> "Play":
        """Return the same with a further color."""
        summed = tuple(float(one + other) for one, other in zip(self.color_db, color_db, strict=True))
        return replace(self, color_db=summed)

    def placed(self, time: int, rng: np.random.Generator, repeat_share: float) -> "Play":
        """Return the same somewhere in ``time`` samples: cut where it is longer, else repeated or alone.

        Args:
            time: samples.
            rng: draws.
            repeat_share: how often a short sound is repeated, with a gap of up to its own length.
        """
        if self.length >= time:
            return replace(self, start=-int(rng.integers(0, self.length - time + 1)), period=0)
        if rng.random() < repeat_share:
            period = self.length + int(rng.integers(0, max(1, self.length)))
            return replace(self, start=int(rng.integers(0, period)), period=period)
        return replace(self, start=int(rng.integers(0, time - self.length + 1)), period=0)

    def looped(self, rng: np.random.Generator) -> "Play":
        """Return the same without beginning or end: the end of each round is crossfaded with the next one's start."""
        fade = max(1, int(self.length * rng.uniform(0.1, 0.4)))
        period = max(1, self.length - fade)
        return replace(self, start=int(rng.integers(0, 2 * period)), period=period, times=0, fade=fade)

    def parts(self) -> tuple["Play", ...]:
        """Return what is to be rendered and added: a sound that begins again before its end takes two turns."""
        if self.times or not 0 < self.period < self.length:
            return (self,)
        return tuple(replace(self, start=self.start + later, period=2 * self.period) for later in (0, self.period))


class Playback(NamedTuple):
    """Plays as tensors, for a row each; made on the CPU by ``of``, and moved to where the sounds are.

    Rows that need a treatment are listed, some twice, so that there are 1, 2, 4, or a multiple of 8 of them.

    Attributes:
        position: first sample and step, shape (2, row), in 2^-24 of a sample.
        placement: length, start, period, fade, in samples, and times, shape (5, row).
        repeated: which rows are played again and again, shape (repeated,).
        still: which are the samples as they were recorded, shape (still,).
        moved: which lie between them or go another way, shape (moved,).
        cutoff: of these, shape (moved,): the highest frequency that is left, over Nyquist's.
        filtered: which have a color or a room, shape (filtered,).
        color_db: of these, shape (filtered, 6).
        in_room: which of the filtered have a room, shape (room,).
        rooms: of these, shape (3, room): decay in s, energy over that of the direct sound, samples of the running mean.
        seeds: of these, shape (room,).
        longest_s: of the rooms' decays; 0 where there is no room.
    """

    position: Int[Tensor, "2 row"]
    placement: Int[Tensor, "5 row"]
    repeated: Int[Tensor, " repeated"]
    still: Int[Tensor, " still"]
    moved: Int[Tensor, " moved"]
    cutoff: Float[Tensor, " moved"]
    filtered: Int[Tensor, " filtered"]
    color_db: Float[Tensor, "filtered 6"]
    in_room: Int[Tensor, " room"]
    rooms: Float[Tensor, "3 room"]
    seeds: Int[Tensor, " room"]
    longest_s: float

    @classmethod
    def of(cls, plays: Sequence[Play]) -> "Playback":
        """Put plays together, one for each row."""
        is_moved = [play.speed != 1.0 or play.first % 1.0 != 0.0 for play in plays]
        moved = _padded([row for row, moves in enumerate(is_moved) if moves])
        filtered = _padded([row for row, play in enumerate(plays) if play.room is not None or any(play.color_db)])
        in_room = _padded([number for number, row in enumerate(filtered) if plays[row].room is not None])
        rooms = [room for number in in_room if (room := plays[filtered[number]].room) is not None]
        return cls(
            torch.tensor([[round(one * 2**_FRACTION) for one in (p.first, p.speed)] for p in plays], dtype=torch.int64)
            .reshape(-1, 2)
            .T,
            torch.tensor([[p.length, p.start, p.period, p.fade, p.times] for p in plays], dtype=torch.int32)
            .reshape(-1, 5)
            .T,
            torch.tensor(_padded([row for row, play in enumerate(plays) if play.period]), dtype=torch.int64),
            torch.tensor(_padded([row for row, moves in enumerate(is_moved) if not moves]), dtype=torch.int64),
            torch.tensor(moved, dtype=torch.int64),
            torch.tensor([min(1.0, 1.0 / abs(plays[row].speed)) for row in moved]),
            torch.tensor(filtered, dtype=torch.int64),
            torch.tensor([plays[row].color_db for row in filtered]).reshape(-1, KNOTS),
            torch.tensor(in_room, dtype=torch.int64),
            torch.tensor([[r.decay_s, 10.0 ** (r.level_db / 10.0), float(r.smoothing)] for r in rooms])
            .reshape(-1, 3)
            .T,
            torch.tensor([room.seed for room in rooms], dtype=torch.int64),
            max((room.decay_s for room in rooms), default=0.0),
        )


def _padded(rows: list[int]) -> list[int]:
    count = len(rows)
    wanted = 1 << (count - 1).bit_length() if 0 < count < _ROWS else -(-count // _ROWS) * _ROWS
    return rows + rows[-1:] * (wanted - count)


def render(
    sounds: Shaped[Tensor, "row time"], playback: Playback, time: int, sample_rate: int
) -> Float[Tensor, "row time2"]:
    """Play sounds.

    Args:
        sounds: shape (row, time), float32, or int16, which is scaled to -1..1.
        playback: on the same device.
        time: samples to return.
        sample_rate: Hz.

    Returns:
        Shape (row, time), float32. What rings on after the end is cut off.
    """
    waves = sounds.float() / 32768.0 if sounds.dtype == torch.int16 else sounds
    length, start, _, fade, _ = playback.placement[:, :, None]
    played = torch.arange(time, dtype=torch.int32, device=waves.device)[None] - start
    if len(playback.repeated):
        played[playback.repeated] = _repeated(played[playback.repeated], playback)
    left = length - played
    there = torch.minimum(left, played + 1).clamp_(min=0).minimum(fade) / fade
    if len(playback.repeated):
        # what overlaps itself keeps its power
        there[playback.repeated] = there[playback.repeated].sqrt_()
    placed = waves.new_empty(len(waves), time)
    if len(playback.still):
        rows = playback.still
        at = played[rows] + (playback.position[0, rows, None] >> _FRACTION)
        placed[rows] = waves[rows].gather(1, at.clamp_(0, waves.shape[1] - 1))
    if len(playback.moved):
        placed[playback.moved] = _moved(waves, playback, played)
    placed *= there
    if len(playback.filtered):
        placed[playback.filtered] = _filtered(placed[playback.filtered], playback, sample_rate)
    return placed


def _repeated(played: Tensor, playback: Playback) -> Tensor:
    """Return samples of repeated rows since the last start of the sound; its length where there is no further one."""
    length, _, period, _, times = playback.placement[:, playback.repeated, None]
    turn = played.div(period, rounding_mode="floor")
    is_over = (times > 0) & ((turn < 0) | (turn >= times))
    return torch.where(is_over, length, played - turn * period)


def _moved(waves: Tensor, playback: Playback, played: Tensor) -> Tensor:
    """Return rows at other speeds: without what would alias, and interpolated between samples twice as dense."""
    rows = playback.moved
    size = fast_size(waves.shape[1] + 256)
    spectrum = torch.fft.rfft(waves[rows], size)
    frequency = torch.linspace(0.0, 1.0, spectrum.shape[1], device=waves.device)
    cutoff = playback.cutoff[:, None]
    spectrum *= torch.where(cutoff < 1.0, ((cutoff - frequency) / (_TAPER * cutoff)).clamp(0.0, 1.0), 1.0) * 2.0
    dense = torch.fft.irfft(spectrum, 2 * size)
    first, step = 2 * playback.position[:, rows, None]
    at = played[rows].clamp_(min=0).minimum(playback.placement[0, rows, None] - 1).long().mul_(step).add_(first)
    low = (at >> _FRACTION).clamp_(0, dense.shape[1] - 2)
    share = at.sub_(low << _FRACTION).float().mul_(2.0**-_FRACTION)
    return torch.lerp(dense.gather(1, low), dense.gather(1, low.add_(1)), share)


def _filtered(waves: Tensor, playback: Playback, sample_rate: int) -> Tensor:
    """Return rows in their colors and rooms."""
    tail = math.ceil(playback.longest_s * sample_rate)
    size = fast_size(waves.shape[1] + tail)
    spectrum = torch.fft.rfft(waves, size) * _gains(playback.color_db, size // 2 + 1)
    if tail:
        spectrum[playback.in_room] *= 1.0 + _reverberation(playback, tail, size, sample_rate)
    filtered: Tensor = torch.fft.irfft(spectrum, size)[:, : waves.shape[1]]
    return filtered


def _gains(color_db: Tensor, bins: int) -> Tensor:
    """Return gains by bin: linear in dB between the knots, over the octave."""
    position = torch.log2(torch.linspace(1.0, 2.0**_OCTAVES, bins, device=color_db.device)) / _OCTAVES * (KNOTS - 1)
    near = (1.0 - (position[None] - torch.arange(KNOTS, device=color_db.device)[:, None]).abs()).clamp(min=0.0)
    gains: Tensor = torch.exp(color_db @ near * (math.log(10.0) / 20.0))
    return gains


def _reverberation(playback: Playback, time: int, size: int, sample_rate: int) -> Tensor:
    """Return the spectra of what rooms add to the direct sound."""
    decay_s, energy, width = playback.rooms[:, :, None]
    seconds = torch.arange(time, device=decay_s.device)[None] / sample_rate
    tail = noise(playback.seeds, time) * torch.exp(-3.0 * math.log(10.0) * seconds / decay_s) * (seconds < decay_s)
    spectrum = torch.fft.rfft(tail, size)
    angle = torch.linspace(1e-6, math.pi / 2.0, size // 2 + 1, device=decay_s.device)[None]
    spectrum *= torch.sin(angle * width) / (width * torch.sin(angle))  # the response of a running mean
    present = torch.view_as_real(spectrum).square().sum(dim=(1, 2))[:, None] * (2.0 / size)
    scaled: Tensor = spectrum * (energy / present.clamp(min=1e-12)).sqrt()
    return scaled


@lru_cache(maxsize=4)
def _noise_of(device: torch.device) -> Tensor:
    return torch.randn(_NOISE + _LONGEST, generator=torch.Generator().manual_seed(0)).to(device)


def noise(seeds: Int[Tensor, " row"], time: int) -> Float[Tensor, "row time"]:
    """Return white noise of variance 1, for each seed (0 to 2^20 - 1) its own stretch of one fixed noise.

    Args:
        seeds: shape (row,).
        time: samples, at most 2^20.
    """
    stretches: Tensor = _noise_of(seeds.device).unfold(0, time, 1)[seeds]
    return stretches


@dataclass(frozen=True)
class Bed:
    """Steady noise under a mixture, with or without mains hum.

    Attributes:
        snr_db: energy of the mixture over that of its bed.
        slope: 0 for white noise, 1 for brown.
        band: lowest and highest frequency over Nyquist's.
        seed: see ``noise``.
        hum: frequency of the mains over Nyquist's; 0: no hum.
        hum_db: energy of the hum over that of the noise.
    """

    snr_db: float
    slope: float
    band: tuple[float, float]
    seed: int
    hum: float = 0.0
    hum_db: float = 0.0


class Beds(NamedTuple):
    """Beds as tensors, one for each of some mixtures; see ``Bed``.

    Attributes:
        rows: of the mixtures, shape (bed,).
        snr_db: shape (bed,).
        slope: shape (bed,).
        band: shape (bed, 2).
        seeds: shape (bed,).
        humming: which of the beds hum, shape (humming,).
        hum: of these, shape (humming, 2): frequency over Nyquist's, and energy over that of the noise in dB.
    """

    rows: Int[Tensor, " bed"]
    snr_db: Float[Tensor, " bed"]
    slope: Float[Tensor, " bed"]
    band: Float[Tensor, "bed 2"]
    seeds: Int[Tensor, " bed"]
    humming: Int[Tensor, " humming"]
    hum: Float[Tensor, "humming 2"]

    @classmethod
    def of(cls, beds: Sequence[Bed | None]) -> "Beds":
        """Put the beds of mixtures together; None: that mixture has none."""
        some = [bed for bed in beds if bed is not None]
        return cls(
            torch.tensor([row for row, bed in enumerate(beds) if bed is not None], dtype=torch.int64),
            torch.tensor([bed.snr_db for bed in some]),
            torch.tensor([bed.slope for bed in some]),
            torch.tensor([bed.band for bed in some]).reshape(-1, 2),
            torch.tensor([bed.seed for bed in some], dtype=torch.int64),
            torch.tensor([number for number, bed in enumerate(some) if bed.hum], dtype=torch.int64),
            torch.tensor([(bed.hum, bed.hum_db) for bed in some if bed.hum]).reshape(-1, 2),
        )

    def under(
        self, mixtures: Float[Tensor, "batch time"], sounding_frame: int | None = None
    ) -> Float[Tensor, "batch time"]:
        """Return the bed of each mixture; silence for those that have none.

        Args:
            mixtures: shape (batch, time); a bed under silence is of the level of soft speech.
            sounding_frame: take the mixtures' levels while they sound, see ``sounding_power``; None: over their length.
        """
        beds = torch.zeros_like(mixtures)
        if len(self.rows):
            colored = _colored_noise(self.seeds, self.slope, self.band, mixtures.shape[1])
            if len(self.humming):
                hum = _hum(self.seeds[self.humming], self.hum[:, 0], self.slope[self.humming], mixtures.shape[1])
                ratio = rms(colored[self.humming]) / rms(hum).clamp(min=1e-10) * _amplitude(self.hum[:, 1])
                colored[self.humming] += hum * ratio[:, None]
            over = _power(mixtures[self.rows], sounding_frame).sqrt()
            over = torch.where(over > 0.0, over, _ALONE)
            level = over / rms(colored).clamp(min=1e-10) * _amplitude(-self.snr_db)
            beds[self.rows] = colored * level[:, None]
        return beds


def _colored_noise(seeds: Tensor, slope: Tensor, band: Tensor, time: int) -> Tensor:
    """Return noise whose amplitude falls with the frequency to the power of the slope, within a band."""
    size = fast_size(time)
    spectrum = torch.fft.rfft(noise(seeds, size))
    frequency = torch.linspace(0.0, 1.0, spectrum.shape[1], device=seeds.device)[None]
    falling = frequency.clamp(min=1.0 / size) ** -slope[:, None]
    low, high = band[:, :1], band[:, 1:]
    inside = ((frequency - 0.9 * low) / (0.1 * low).clamp(min=1e-6)).clamp(0.0, 1.0)
    inside = inside * ((1.1 * high - frequency) / (0.1 * high)).clamp(0.0, 1.0)
    colored: Tensor = torch.fft.irfft(spectrum * falling * inside, size)[:, :time]
    return colored


def _hum(seeds: Tensor, pitch: Tensor, slope: Tensor, time: int) -> Tensor:
    """Return tones at the multiples of a frequency, of chance strengths that fall with the power of the slope."""
    size = fast_size(time)
    number = torch.arange(1, _HARMONICS + 1, device=seeds.device)
    chance = torch.view_as_complex(noise(seeds, 2 * _HARMONICS).reshape(-1, _HARMONICS, 2).contiguous())
    bins = (pitch[:, None] * number * (size // 2)).round().long().clamp_(max=size // 2 - 1)
    spectrum = torch.zeros(len(seeds), size // 2 + 1, dtype=chance.dtype, device=seeds.device)
    spectrum.scatter_(1, bins, chance * number ** -slope[:, None])
    tones: Tensor = torch.fft.irfft(spectrum, size)[:, :time]
    return tones


@dataclass(frozen=True)
class Recorder:
    """What a mixture is recorded with.

    Attributes:
        clamp: highest level that it takes, over the mixture's peak; 1: all of it.
        band_limit: highest frequency that it keeps, over Nyquist's; 1: all of it.
    """

    clamp: float = 1.0
    band_limit: float = 1.0


IDEAL = Recorder()


class Recorders(NamedTuple):
    """Recorders as tensors, one for each of some mixtures; see ``Recorder``.

    Attributes:
        clamped: rows of the mixtures, shape (clamped,).
        clamp: of these, shape (clamped,).
        limited: rows of the mixtures, shape (limited,).
        band_limit: of these, shape (limited,).
    """

    clamped: Int[Tensor, " clamped"]
    clamp: Float[Tensor, " clamped"]
    limited: Int[Tensor, " limited"]
    band_limit: Float[Tensor, " limited"]

    @classmethod
    def of(cls, recorders: Sequence[Recorder]) -> "Recorders":
        """Put recorders together, one for each mixture."""
        clamped = [row for row, one in enumerate(recorders) if one.clamp < 1.0]
        limited = [row for row, one in enumerate(recorders) if one.band_limit < 1.0]
        return cls(
            torch.tensor(clamped, dtype=torch.int64),
            torch.tensor([recorders[row].clamp for row in clamped]),
            torch.tensor(limited, dtype=torch.int64),
            torch.tensor([recorders[row].band_limit for row in limited]),
        )

    def record(self, segments: Float[Tensor, "batch source time"]) -> Float[Tensor, "batch source time"]:
        """Return the sounds of mixtures as they are in the recordings; their sums are the recordings.

        What clipping adds to a mixture goes into its last source; the others stay what they were. A band limit
        takes the same from all of them.

        Args:
            segments: shape (batch, source, time); the last source is never asked for.
        """
        recorded = segments.clone() if len(self.clamped) or len(self.limited) else segments
        if len(self.clamped):
            mixtures = recorded[self.clamped].sum(dim=1)
            most = mixtures.abs().amax(dim=1, keepdim=True) * self.clamp[:, None]
            recorded[self.clamped, -1] += mixtures.clamp(-most, most) - mixtures
        if len(self.limited):
            size = fast_size(segments.shape[-1] + 256)
            spectrum = torch.fft.rfft(recorded[self.limited], size)
            frequency = torch.linspace(0.0, 1.0, spectrum.shape[-1], device=segments.device)
            limit = self.band_limit[:, None, None]
            spectrum *= ((limit - frequency) / (_TAPER * limit)).clamp(0.0, 1.0)
            recorded[self.limited] = torch.fft.irfft(spectrum, size)[..., : segments.shape[-1]]
        return recorded


def add_noise(
    waves: Float[Tensor, "row time"],
    snr_db: Float[Tensor, " row"],
    slope: Float[Tensor, " row"],
    seeds: Int[Tensor, " row"],
) -> Float[Tensor, "row time"]:
    """Add steady noise to sounds.

    Args:
        waves: shape (row, time).
        snr_db: energy of the sound over that of the noise, both in the whole row.
        slope: 0 for white noise, 1 for brown; between them the spectrum falls less.
        seeds: of the noise, see ``noise``.
    """
    whole = torch.tensor([[0.0, 1.0]], device=waves.device).expand(len(waves), 2)
    colored = _colored_noise(seeds, slope, whole, waves.shape[1])
    level = rms(waves) / rms(colored).clamp(min=1e-10) * _amplitude(-snr_db)
    noisy: Tensor = waves + colored * level[:, None]
    return noisy


def rms(waves: Float[Tensor, "*row time"]) -> Float[Tensor, "*row"]:
    """Return the root mean squares."""
    return waves.square().mean(dim=-1).sqrt()


def _amplitude(level_db: Tensor) -> Tensor:
    return torch.pow(10.0, level_db / 20.0)


def sounding_power(waves: Float[Tensor, "*row time"], frame: int) -> Float[Tensor, "*row"]:
    """Return the mean square of sounds while they sound: over the frames that are less than 20 dB below the loudest.

    Args:
        waves: shape (..., time).
        frame: samples.
    """
    frame = min(frame, waves.shape[-1])
    powers = waves[..., : waves.shape[-1] // frame * frame].unflatten(-1, (-1, frame)).square().mean(dim=-1)
    sounds = powers > powers.amax(dim=-1, keepdim=True) * 10.0 ** (-_SOUNDING_DB / 10.0)
    mean: Tensor = (powers * sounds).sum(dim=-1) / sounds.sum(dim=-1).clamp(min=1)
    return mean


def sounding_frame(sample_rate: int) -> int:
    """Return the samples of a frame in which a sound is there or is not: 20 ms."""
    return max(1, round(_FRAME_S * sample_rate))


def _power(waves: Tensor, frame: int | None) -> Tensor:
    """Return mean squares over the whole length, or while sounds are there."""
    return waves.square().mean(dim=-1) if frame is None else sounding_power(waves, frame)


@lru_cache
def fast_size(time: int) -> int:
    """Return the next multiple of 4,096 without prime factors above 5; others take a transform much longer."""
    blocks = -(-time // 4_096)
    while _without_factors(blocks, (2, 3, 5)) > 1:
        blocks += 1
    return blocks * 4_096


def _without_factors(number: int, factors: Sequence[int]) -> int:
    for factor in factors:
        while number % factor == 0:
            number //= factor
    return number


def equal_energy_gain(
    first: Float[Tensor, "*#batch time"], other: Float[Tensor, "*#batch time"]
) -> Float[Tensor, "*#batch 1"]:
    """Return the gain that brings ``other`` to the energy of ``first``, limited to 0.02..50 (-34..34 dB)."""
    return _equal_gain(_power(first, None), _power(other, None))[..., None]


def _equal_gain(wanted: Tensor, present: Tensor) -> Tensor:
    return torch.sqrt(wanted / present.clamp(min=1e-8)).clamp(0.02, 50.0)


def balance(
    waves: Float[Tensor, "row time"],
    slots: Int[Tensor, " row"],
    levels_db: Float[Tensor, "batch source"],
    sounding_frame: int | None = None,
) -> Float[Tensor, "batch source time"]:
    """Bring the sounds of mixtures to equal energy, then each to its level (Chen et al., 2022, Section 3.2).

    Args:
        waves: rendered, shape (row, time).
        slots: which sound of which mixture each row is, mixture times sources plus source, shape (row,); rows of one
            sound are added.
        levels_db: of each sound against the first, which is left as it is, shape (batch, source).
        sounding_frame: take the levels while the sounds are there, see ``sounding_power``; None: over their length.

    Returns:
        Shape (batch, source, time), zero where a mixture has fewer sounds; their sums are the mixtures.
    """
    segments = waves.new_zeros(levels_db.numel(), waves.shape[1])
    segments.index_add_(0, slots, waves)
    segments = segments.reshape(*levels_db.shape, -1)
    powers = _power(segments, sounding_frame)
    gains = _equal_gain(powers[:, :1], powers) * _amplitude(levels_db)
    gains[:, 0] = 1.0
    balanced: Tensor = segments * gains[..., None]
    return balanced


def place(wave: NDArray[np.float32], time: int, rng: np.random.Generator, repeat_share: float) -> NDArray[np.float32]:
    """Return exactly ``time`` samples of a recording, see ``Play.placed``.

    Args:
        wave: shape (time,), at least one sample.
        time: wanted samples.
        rng: draws.
        repeat_share: how often a short recording is repeated.
    """
    playback = Playback.of([Play(len(wave)).placed(time, rng, repeat_share)])
    placed: NDArray[np.float32] = render(torch.from_numpy(np.ascontiguousarray(wave))[None], playback, time, 1)[
        0
    ].numpy()
    return placed
