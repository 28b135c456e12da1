"""The work of mining: a detector over some clips gives their anchors. Every engine maps this one function."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, clip_key
from querysep.anchors.choice import MiningSettings, Stretch, choose, purity
from querysep.anchors.relations import Relations
from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.detection.config import DetectorConfig, HtsatConfig
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import Heard, PresenceMap, detect_together, embed_together, hear
from querysep.errors import ConfigError, DataError

_BATCH = 8
_PUBLISHED_S, _PUBLISHED_FRAMES, _PUBLISHED_RATE = 10, 1024, 32_000


@dataclass
class Mined:
    """What was mined from some clips.

    Attributes:
        keys: of the clips that are done, also of those without anchors.
        rows: the anchors, clip by clip.
        audio: of each anchor, shape (time,), int16.
        latents: of each anchor, shape (latent_dim,).
        left_out: how many anchors or clips were left out or changed, for each reason.
        unreadable: keys of the clips that could not be read, and why; they do not count as done.
    """

    keys: list[str] = field(default_factory=list)
    rows: list[Anchor] = field(default_factory=list)
    audio: list[NDArray[np.int16]] = field(default_factory=list)
    latents: list[NDArray[np.float32]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Mined") -> None:
        """Append what was mined from the clips that follow."""
        self.keys += other.keys
        self.rows += other.rows
        self.audio += other.audio
        self.latents += other.latents
        self.left_out += other.left_out
        self.unreadable.update(other.unreadable)


def mine_batch(miner: "Miner", recordings: Recordings, indices: Sequence[int]) -> Mined:
    """Read some clips and mine them: what each engine does, here or on another machine.

    Args:
        miner: the detector and what to look for.
        recordings: a data set.
        indices: of its clips.
    """
    clips, sounds, unreadable = [], [], {}
    for index in indices:
        clip = recordings.clips[index]
        try:
            sounds.append(recordings.read(index))
            clips.append(clip)
        except DataError as error:
            unreadable[clip_key(clip)] = str(error)
    mined = miner.mine(clips, sounds)
    mined.unreadable = unreadable
    return mined


class Miner:
    """A detector and what to look for; it may be sent to other processes.

    Args:
        network: the detector.
        labels: its classes, in order.
        relations: of the classes.
        settings: what is mined.
        device: where the network shall run.

    Raises:
        ConfigError: the published choice was asked for, and the detector is not of the published kind.
    """

    def __init__(
        self,
        network: DetectorNetwork,
        labels: Sequence[str],
        relations: Relations,
        settings: MiningSettings,
        device: torch.device | str = "cpu",
    ) -> None:
        if settings.choice == "published":
            _check_published(network.config)
        self.settings = settings
        self.network = network.to(device).eval()
        self.sample_rate = network.config.sample_rate
        self.segment_time = round(settings.segment_s * self.sample_rate)
        self._device = device
        self._relations = relations
        self._class_ids = {label: index for index, label in enumerate(labels)}
        self._unrelated: dict[str, NDArray[np.bool_]] = {}

    def on(self, device: torch.device | str) -> "Miner":
        """Move to a device, and return the miner itself."""
        self.network.to(device)
        self._device = device
        return self

    def mine(self, clips: Sequence[Clip], sounds: Sequence[NDArray[np.int16]]) -> Mined:
        """Mine some clips.

        Args:
            clips: in any order.
            sounds: of each clip, shape (time,), at the detector's rate.

        Returns:
            Their anchors, in the order of the clips, of their labels and of time.
        """
        mined = Mined()
        times = [sound.shape[0] for sound in sounds]
        if self.settings.choice == "published":
            sounds = [self._ten_seconds(sound, mined.left_out) for sound in sounds]
        known = [index for index, time in enumerate(times) if time]
        mined.left_out["clips without sound"] += len(sounds) - len(known)
        heard = self._hear([sounds[index].astype(np.float32) / 32768.0 for index in known])
        cuts: list[NDArray[np.int16] | NDArray[np.float32]] = []
        for index, one in zip(known, heard, strict=True):
            self._mine_clip(clips[index], sounds[index], times[index], one, mined, cuts)
        mined.keys = [clip_key(clip) for clip in clips]
        mined.latents = self._latents(cuts)
        return mined

    def _mine_clip(
        self,
        clip: Clip,
        sound: NDArray[np.int16],
        time: int,
        heard: Heard,
        mined: Mined,
        cuts: list[NDArray[np.int16] | NDArray[np.float32]],
    ) -> None:
        """Append the anchors of a clip; ``cuts`` gets the sound of each, or its latent embedding if that is known.

        ``time`` is the length of the clip before it was lengthened, if it was.
        """
        classes = self._relations.heard(clip.labels)
        for label in classes:
            if label not in self._class_ids:
                mined.left_out[f"labels that the detector does not know: {label}"] += 1
                continue
            for stretch in choose(heard.presence, self._class_ids[label], self.sample_rate, self.settings):
                row = self._row(clip, label, classes, stretch, heard.presence, time)
                if row is None or row.score < self.settings.min_score:
                    mined.left_out["anchors below the score" if row else "anchors in the padding"] += 1
                elif row.purity < self.settings.min_purity:
                    mined.left_out["anchors below the purity"] += 1
                else:
                    cut = sound[stretch.first : stretch.end]
                    mined.rows.append(row)
                    mined.audio.append(np.pad(cut, (0, self.segment_time - cut.shape[0])))
                    whole = heard.latent is not None and cut.shape[0] == sound.shape[0]
                    cuts.append(heard.latent if whole and heard.latent is not None else cut)

    def _row(
        self,
        clip: Clip,
        label: str,
        classes: tuple[str, ...],
        stretch: Stretch,
        presence: PresenceMap,
        time: int,
    ) -> Anchor | None:
        sounding = min(stretch.end, time) - stretch.first
        if sounding <= 0:
            return None
        return Anchor(
            label=label,
            labels=clip.labels,
            heard=classes,
            clip=clip_key(clip),
            origin=clip.origin,
            split=clip.split,
            start_s=stretch.first / self.sample_rate,
            sounding=sounding,
            score=min(1.0, max(0.0, stretch.score)),
            purity=purity(presence, stretch, self.sample_rate, self._unrelated_to(label)),
        )

    def _unrelated_to(self, label: str) -> NDArray[np.bool_]:
        if label not in self._unrelated:
            related = [self._relations.related(label, other) for other in self._class_ids]
            self._unrelated[label] = ~np.array(related)
        return self._unrelated[label]

    def _hear(self, waves: list[NDArray[np.float32]]) -> list[Heard]:
        if self.settings.choice == "most_present":
            return hear(self.network, waves, self._device, _BATCH)
        found = []
        for first in range(0, len(waves), _BATCH):
            with torch.inference_mode():
                detection = detect_together(self.network, waves[first : first + _BATCH], self._device)
            maps = (
                detection.framewise.float()
                .cpu()
                .numpy()
                .repeat(_PUBLISHED_FRAMES // self.network.config.map_frames, axis=-1)
            )
            clipwises = detection.clipwise.float().cpu().numpy()
            for framewise, clipwise in zip(maps, clipwises, strict=True):
                presence = PresenceMap(framewise, _PUBLISHED_S / _PUBLISHED_FRAMES, float(_PUBLISHED_S), clipwise)
                found.append(Heard(presence, None))
        return found

    def _latents(self, cuts: list[NDArray[np.int16] | NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the latent embeddings; those that are known already stand among the cuts as floats."""
        waiting = [index for index, cut in enumerate(cuts) if cut.dtype == np.int16]
        waves = [cuts[index].astype(np.float32) / 32768.0 for index in waiting]
        latents = dict(zip(waiting, embed_together(self.network, waves, self._device, _BATCH), strict=True))
        return [latents.get(index, cut.astype(np.float32)) for index, cut in enumerate(cuts)]

    def _ten_seconds(self, sound: NDArray[np.int16], told: Counter[str]) -> NDArray[np.int16]:
        """Cut or lengthen a clip to 10 seconds, as the authors' packs hold it."""
        wanted = _PUBLISHED_S * self.sample_rate
        if sound.shape[0] > wanted:
            told["clips of which only the first 10 seconds were taken"] += 1
        return np.pad(sound[:wanted], (0, max(0, wanted - sound.shape[0])))


def _check_published(config: DetectorConfig) -> HtsatConfig:
    if isinstance(config, HtsatConfig):
        fits = config.window_time >= _PUBLISHED_S * _PUBLISHED_RATE and _PUBLISHED_FRAMES % config.map_frames == 0
        if config.sample_rate == _PUBLISHED_RATE and fits:
            return config
    raise ConfigError(
        f"The published choice needs an HTS-AT of 10 seconds at 32000 Hz; this detector hears {config.window_s:.2f} s "
        f"at {config.sample_rate} Hz. Mine without it, or with a detector of the preset 'paper'."
    )
