"""What sounds when, as a table."""

import csv
import io
from collections.abc import Iterable

from querysep.detection.events import Event


def events_csv(events: Iterable[Event]) -> str:
    """Return events as CSV: onset_s, offset_s, label, score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("onset_s", "offset_s", "label", "score"))
    writer.writerows((f"{e.onset_s:.3f}", f"{e.offset_s:.3f}", e.label, f"{e.score:.4f}") for e in events)
    return text.getvalue()
