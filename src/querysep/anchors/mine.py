"""Mining: the detector over all clips, once; for each clip the stretches in which its classes are most present."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from querysep.anchors.catalog import clip_key
from querysep.anchors.catalog_writer import CatalogWriter
from querysep.anchors.miner import Mined, Miner, mine_batch
from querysep.data.manifest import Split
from querysep.data.recordings import Recordings
from querysep.data.store.places import Options
from querysep.errors import DataError
from querysep.progress import Progress, silent

_BATCH_CLIPS, _BATCH_S = 32, 320.0  # of one call of the work; a longer clip goes alone
_COMMIT_CLIPS = 256  # between two commits: what a killed run does again

MINED_SPLITS: tuple[Split, ...] = ("train", "validation")


class Engine(Protocol):
    """Where the work is done."""

    def __call__(self, miner: Miner, recordings: Recordings, batches: Sequence[Sequence[int]]) -> Iterator[Mined]:
        """Give ``mine_batch`` of each batch, in the order of the batches."""
        ...


@dataclass
class MiningReport:
    """What a call of ``mine`` did.

    Attributes:
        clips: clips of the data set that are to be mined.
        mined: clips mined now; the others were mined before.
        anchors: mined now.
        left_out: how many anchors or clips were left out now, for each reason.
        unreadable: keys of clips that could not be read, and why.
        started_over: another catalog lay there, of another detector or other settings, and was put aside.
    """

    clips: int = 0
    mined: int = 0
    anchors: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    started_over: bool = False


def mine_here(miner: Miner, recordings: Recordings, batches: Sequence[Sequence[int]]) -> Iterator[Mined]:
    """Mine in this process."""
    return (mine_batch(miner, recordings, batch) for batch in batches)


def mine(
    recordings: Recordings,
    miner: Miner,
    detector_hash: str,
    location: Path | str,
    *,
    splits: Sequence[Split] = MINED_SPLITS,
    engine: Engine = mine_here,
    options: Options | None = None,
    progress: Progress = silent,
) -> MiningReport:
    """Mine the anchors of a data set into a catalog; goes on where an earlier call stopped, and does nothing twice.

    Args:
        recordings: clips and their sound, at the detector's rate. Held-out clips are not mined.
        miner: the detector and what to look for.
        detector_hash: of the detector. A catalog of another one, or of other settings, is put aside.
        location: of the catalog: a store, see ``CatalogWriter``.
        splits: whose clips are mined.
        engine: where the work is done.
        options: of S3.
        progress: told after each batch.

    Returns:
        What was done.

    Raises:
        DataError: nothing can be mined, the rates differ, or the catalog cannot be written.
    """
    if recordings.sample_rate != miner.sample_rate:
        raise DataError(f"The recordings come at {recordings.sample_rate} Hz; the detector hears {miner.sample_rate}.")
    report = MiningReport()
    with CatalogWriter(
        location,
        sample_rate=miner.sample_rate,
        segment_time=miner.segment_time,
        latent_dim=miner.network.config.latent_dim,
        detector=detector_hash,
        settings=miner.settings.model_dump(mode="json"),
        options=options,
    ) as writer:
        report.started_over = writer.put_aside is not None
        batches = _batches(recordings, splits, writer.done, report)
        before = report.clips - sum(len(batch) for batch in batches)
        waiting = Mined()
        for mined in engine(miner, recordings, batches):
            waiting.add(mined)
            report.mined += len(mined.keys)
            report.unreadable.update(mined.unreadable)
            progress(before + report.mined + len(report.unreadable), report.clips, "mining anchors")
            if len(waiting.keys) >= _COMMIT_CLIPS:
                waiting = _commit(writer, miner, waiting, report)
        _commit(writer, miner, waiting, report)
        if not writer.complete:
            writer.finish()
    return report


def _commit(writer: CatalogWriter, miner: Miner, waiting: Mined, report: MiningReport) -> Mined:
    """Write what waits, and return an empty one."""
    audio = np.stack(waiting.audio) if waiting.rows else np.zeros((0, miner.segment_time), np.int16)
    latents = np.stack(waiting.latents) if waiting.rows else np.zeros((0, miner.network.config.latent_dim), np.float32)
    writer.append(waiting.rows, audio, latents, waiting.keys)
    report.anchors += len(waiting.rows)
    report.left_out += waiting.left_out
    return Mined()


def _batches(
    recordings: Recordings, splits: Sequence[Split], done: set[str], report: MiningReport
) -> list[tuple[int, ...]]:
    """Return the clips that are left to mine, some at a time."""
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    held_out, batch_s = 0, 0.0
    for index, clip in enumerate(recordings.clips):
        if clip.split not in splits:
            continue
        if clip.held_out:
            held_out += 1
            continue
        report.clips += 1
        if clip_key(clip) in done:
            continue
        if batch and (len(batch) == _BATCH_CLIPS or batch_s + clip.duration_s > _BATCH_S):
            batches.append(tuple(batch))
            batch, batch_s = [], 0.0
        batch.append(index)
        batch_s += clip.duration_s
    if batch:
        batches.append(tuple(batch))
    if not report.clips:
        raise DataError(f"There are no clips to mine: none of the splits {', '.join(splits)} that is not held out.")
    if held_out:
        report.left_out["clips that are held out"] = held_out
    return batches
