"""From an anchor catalog to a label bank: the condition of a class is the mean of its training anchors.

A detector may know classes that no recording is labeled with, as one that begins from YAMNet does. Such a class is in
the bank where the detector hears it in enough recordings of other classes.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.anchors.catalog import Catalog
from querysep.anchors.relations import Hierarchy, Relations
from querysep.data.ontology import audioset
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed_and_profile
from querysep.errors import DataError
from querysep.io.label_bank import BankRow, LabelBank
from querysep.progress import Progress, silent

_HEARD_ANCHORS = 16  # of each class, for its profile
_FEWEST_HEARD, _HEARD_SCORE, _MOST_HEARD = 3, 0.3, 16  # recordings of a class without labels, and their probability
_BATCH = 32
_NO_SOUNDS = ("Silence", "Acoustic environment")  # AudioSet's classes, with their kinds, that nobody can take out
_SAME_DETECTOR = 0.9  # cosine


def label_bank(
    catalog: Catalog,
    network: DetectorNetwork,
    labels: Sequence[str] = (),
    hierarchy: Hierarchy | None = None,
    progress: Progress = silent,
) -> LabelBank:
    """Average the training anchors of every class.

    Each recording counts once, however many anchors it has. The profile of a class comes from up to 16 of its anchors.
    Of a class that no recording is labeled with, and that is no parent of a labeled one, the 16 recordings count that
    the detector hears it in most surely, if it is at least three with a probability of 0.3 or more.

    Args:
        catalog: from ``querysep mine``.
        network: the detector that mined it, in eval mode.
        labels: of the detector; those that no recording is labeled with are looked for. By default none is.
        hierarchy: an ontology, for the ancestors of the classes; those that the clips' labels tell are found anyway.
        progress: told after each class.

    Raises:
        DataError: the catalog's sound cannot be read.
    """
    relations = Relations((anchor.labels for anchor in catalog.anchors), hierarchy)
    members = _training_anchors(catalog)
    rows, conditions, profiles = [], [], []
    for done, (label, indices) in enumerate(sorted(members.items())):
        progress(done, len(members), "averaging classes")
        clips = [catalog.anchors[index].clip for index in indices]
        rows.append(BankRow(label=label, examples=len(set(clips)), ancestors=_ordered(label, relations)))
        conditions.append(_mean_over_clips(catalog.latents[indices], clips))
        profiles.append(_hear(catalog, indices, network)[1].mean(dim=0))
    taken = {name for row in rows for name in (row.label, *row.ancestors, *_above(row.label))}
    unlabeled = {label: place for place, label in enumerate(labels) if label not in taken and _is_sound(label)}
    if rows and unlabeled:
        for row, condition, profile in _unlabeled_rows(catalog, network, unlabeled, relations, progress):
            rows.append(row)
            conditions.append(condition)
            profiles.append(profile)
    order = sorted(range(len(rows)), key=lambda place: rows[place].label)
    shapes = (0, network.config.latent_dim), (0, network.config.classes)
    return LabelBank(
        tuple(rows[place] for place in order),
        torch.from_numpy(np.stack(conditions))[order] if rows else torch.zeros(shapes[0]),
        torch.stack(profiles)[order] if rows else torch.zeros(shapes[1]),
    )


def _unlabeled_rows(
    catalog: Catalog, network: DetectorNetwork, unlabeled: Mapping[str, int], relations: Relations, progress: Progress
) -> Iterator[tuple[BankRow, NDArray[np.float32], Tensor]]:
    """Give row, condition and profile of each class that the detector hears in enough training anchors."""
    indices = [index for index, anchor in enumerate(catalog.anchors) if anchor.split == "train"]
    profiles = []
    for first in range(0, len(indices), _BATCH):
        progress(first, len(indices), "looking for classes without labels")
        profiles.append(_hear_all(catalog, indices[first : first + _BATCH], network)[1])
    scores = torch.cat(profiles)
    clips = np.array([catalog.anchors[index].clip for index in indices])
    for label, place in sorted(unlabeled.items()):
        surest: dict[str, int] = {}
        for one in torch.argsort(scores[:, place], descending=True, stable=True).tolist():
            if scores[one, place] < _HEARD_SCORE or len(surest) == _MOST_HEARD:
                break
            surest.setdefault(str(clips[one]), one)
        if len(surest) >= _FEWEST_HEARD:
            found = list(surest.values())
            row = BankRow(label=label, examples=len(found), ancestors=_ordered(label, relations), is_labeled=False)
            condition = catalog.latents[[indices[one] for one in found]].mean(axis=0).astype(np.float32)
            yield row, condition, scores[found].mean(dim=0)


def _is_sound(label: str) -> bool:
    return _above(label).isdisjoint(_NO_SOUNDS)


def _above(label: str) -> frozenset[str]:
    """Return a class and, where AudioSet has it, its ancestors."""
    return frozenset(audioset().ancestors(label) if label in audioset() else ()) | {label}


def joined(bank: LabelBank, labels: Sequence[str], other: LabelBank, other_labels: Sequence[str]) -> LabelBank:
    """Return a bank with the classes of another one added, for those that it has not.

    Args:
        bank: its rows win.
        labels: of the detector behind it; the profiles are in their order.
        other: of a detector with the same latent embeddings.
        other_labels: of that detector. Classes that it has not score 0 in the added profiles.
    """
    known = {row.label for row in bank.rows}
    added = [place for place, row in enumerate(other.rows) if row.label not in known]
    profiles = torch.zeros(len(added), len(labels))
    for column, label in enumerate(other_labels):
        if label in labels:
            profiles[:, labels.index(label)] = other.profiles[added, column]
    rows = (*bank.rows, *(other.rows[place] for place in added))
    order = sorted(range(len(rows)), key=lambda place: rows[place].label)
    return LabelBank(
        tuple(rows[place] for place in order),
        torch.cat((bank.conditions, other.conditions[added]))[order],
        torch.cat((bank.profiles, profiles))[order],
    )


def check_mined_by(catalog: Catalog, network: DetectorNetwork) -> None:
    """Make sure that a detector is the one that mined a catalog, by what it hears in some of the anchors.

    Raises:
        DataError: it is another one, or the catalog is empty or cannot be read.
    """
    if not catalog.anchors:
        raise DataError("The anchor catalog is empty.")
    if catalog.latents.shape[1] == network.config.latent_dim and catalog.sample_rate == network.config.sample_rate:
        indices = list(range(len(catalog.anchors)))
        heard = _hear(catalog, indices, network)[0].numpy()
        mined = catalog.latents[_spread(indices)]
        cosine = (heard * mined).sum(axis=1) / np.linalg.norm(heard, axis=1) / np.linalg.norm(mined, axis=1)
        if np.median(cosine) > _SAME_DETECTOR:
            return
    raise DataError(
        "The anchor catalog was mined by another detector than this model's. Mine again with --detector MODEL."
    )


def _training_anchors(catalog: Catalog) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for index, anchor in enumerate(catalog.anchors):
        if anchor.split == "train" and (not anchor.heard or anchor.label in anchor.heard):
            members.setdefault(anchor.label, []).append(index)
    return members


def _ordered(label: str, relations: Relations) -> tuple[str, ...]:
    """Return the ancestors, nearest first: those with more ancestors of their own."""
    found = relations.ancestors(label) - {label}
    return tuple(sorted(found, key=lambda other: (-len(relations.ancestors(other)), other)))


def _mean_over_clips(latents: NDArray[np.float32], clips: list[str]) -> NDArray[np.float32]:
    _, clip_of = np.unique(clips, return_inverse=True)
    weights = 1.0 / np.bincount(clip_of)[clip_of]
    mean: NDArray[np.float32] = np.average(latents, axis=0, weights=weights).astype(np.float32)
    return mean


def _spread(indices: list[int]) -> list[int]:
    """Return at most 16 of them, evenly spread."""
    places = np.linspace(0, len(indices) - 1, min(len(indices), _HEARD_ANCHORS)).round().astype(int)
    return [indices[place] for place in places]


def _hear(catalog: Catalog, indices: list[int], network: DetectorNetwork) -> tuple[Tensor, Tensor]:
    """Return latent embeddings and profiles of up to 16 of the anchors."""
    return _hear_all(catalog, _spread(indices), network)


def _hear_all(catalog: Catalog, chosen: list[int], network: DetectorNetwork) -> tuple[Tensor, Tensor]:
    """Return latent embeddings and profiles of anchors."""
    device = next(network.parameters()).device
    latents, profiles = [], []
    for index, segment in zip(chosen, catalog.audio(chosen), strict=True):
        wave = torch.from_numpy(segment[: catalog.anchors[index].sounding].astype(np.float32) / 32768.0)
        latent, profile = embed_and_profile(network, wave[None].to(device))
        latents.append(latent[0])
        profiles.append(profile[0])
    return torch.stack(latents).float().cpu(), torch.stack(profiles).float().cpu()
