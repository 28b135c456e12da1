"""From checkpoints of the authors' code to a weights folder."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from querysep.detection.build import build_detector
from querysep.errors import OutputError, WeightsError
from querysep.io.official import OfficialTensors, read_official
from querysep.io.weights import Mismatch, compare
from querysep.model import ModelConfig, ModelShape, load_preset, save_model
from querysep.progress import Progress, silent
from querysep.separation.build import build_separator

_CARD = """# Imported weights

Written by `querysep import-official` from checkpoints in the layout of the authors' code of "Zero-shot Audio Source
Separation through Query-based Learning from Weakly-labeled Data" (Chen et al., AAAI 2022, arXiv 2112.07891).
The licence of the weights is that of the files they were read from; querysep does not know it.
"""


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        folder: the weights folder that was written.
        detector_from: the file that the detector's tensors came from.
        computed: stored tensors that we compute ourselves, ignored.
        extra: stored tensors that the published networks do not have, ignored.
    """

    folder: Path
    detector_from: Path
    computed: tuple[str, ...]
    extra: tuple[str, ...]


def import_official(
    detector: Path | None,
    separator: Path,
    output: Path,
    labels: Sequence[str] | None = None,
    shape: ModelShape | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Read checkpoints in the authors' layout and write a weights folder.

    Args:
        detector: checkpoint of the detector; None where the separator's holds a detector too.
        separator: checkpoint of the separator. A detector inside it wins over the detector's own file, since the
            separator was trained with that one.
        output: the folder to write; must not exist, or be empty.
        labels: names of the detector's classes; None numbers them.
        shape: of the networks; None is the published one.
        progress: told after each step.

    Returns:
        What was read, ignored and written.

    Raises:
        WeightsError: a file cannot be read safely, or tensors are missing or misshapen (all are named).
        OutputError: the folder holds something or cannot be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"'{output}' exists already. Choose a new folder, or remove this one first.")
    shape = shape or load_preset("paper")
    progress(0, 3, "reading checkpoints")
    from_separator = read_official(separator)
    detector_tensors, detector_path, computed = _detector_tensors(detector, separator, from_separator)
    progress(1, 3, "comparing tensors")
    networks = build_detector(shape.detector), build_separator(shape.separator)
    found = {
        f"detector in '{detector_path}'": compare(networks[0], detector_tensors),
        f"separator in '{separator}'": compare(networks[1], from_separator.separator),
    }
    _refuse(found)
    for network, tensors in zip(networks, (detector_tensors, from_separator.separator), strict=True):
        wanted = network.state_dict()
        network.load_state_dict({name: tensors[name] for name in wanted}, strict=True)
    progress(2, 3, "writing weights")
    names = tuple(labels) if labels is not None else tuple(f"class {i}" for i in range(shape.detector.classes))
    if len(names) != shape.detector.classes:
        raise WeightsError(f"The detector has {shape.detector.classes} classes; got {len(names)} labels.")
    config = ModelConfig(
        name=output.name or "imported",
        licence="that of the imported checkpoints",
        trained_on=f"imported from {detector_path.name} and {separator.name}",
        labels=names,
        shape=shape,
    )
    save_model(output, config, networks[0], networks[1], card=_CARD)
    progress(3, 3, "writing weights")
    extra = tuple(name for mismatch in found.values() for name in mismatch.extra)
    return ImportReport(output, detector_path, computed, extra)


def _detector_tensors(
    detector: Path | None, separator: Path, from_separator: OfficialTensors
) -> tuple[dict[str, Tensor], Path, tuple[str, ...]]:
    if from_separator.detector:
        return from_separator.detector, separator, from_separator.computed
    if detector is None:
        raise WeightsError(f"'{separator}' holds no detector. Give the detector's checkpoint with --detector.")
    read = read_official(detector)
    return read.detector, detector, from_separator.computed + read.computed


def _refuse(found: Mapping[str, Mismatch]) -> None:
    wrong = [f"{where}: {m.describe()}" for where, m in found.items() if m.missing or m.misshapen]
    if wrong:
        raise WeightsError(f"The checkpoints do not hold the published networks. {'. '.join(wrong)}.")


def read_label_csv(path: Path) -> list[str]:
    """Return the class names of AudioSet's ``class_labels_indices.csv`` (column ``display_name``), in order.

    Raises:
        WeightsError: no such file or column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [row["display_name"] for row in sorted(rows, key=lambda row: int(row["index"]))]
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"'{path}' is not a label list with the columns index and display_name ({error}). "
            "Give AudioSet's class_labels_indices.csv."
        ) from error
