"""A procedural data set as a folder: drawn clips and a labels.csv that fine-tuning reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from vjepa_demo.data.records import LABELS_FILE, write_labels
from vjepa_demo.procedural.clips import make_records
from vjepa_demo.schema import DrawingReport, RecordError


def make_dataset(folder: str | Path, *, count: int, seed: int) -> Iterator[DrawingReport]:
    """Draw `count` clips into `folder`, which is made if need be, and last write their labels.csv; a report a clip.

    Equal seeds draw equal clips.

    Raises:
        RecordError: if `count` is below 1, or `folder` cannot be written.
    """
    if count < 1:
        raise RecordError(f"--count is {count}; a whole number from 1 up was expected")
    folder, begin, records = Path(folder), time.perf_counter(), []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for record in make_records(folder, count=count, seed=seed):
            records.append(record)
            left = (time.perf_counter() - begin) / len(records) * (count - len(records))
            yield DrawingReport(len(records), count, left)
        write_labels(folder / LABELS_FILE, records)
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {error.strerror or error}") from error
