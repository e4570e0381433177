"""A procedural data set as a folder: drawn clips and a labels.csv that fine-tuning reads."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path

from vjepa_demo.data.records import LABELS_FILE, write_labels
from vjepa_demo.files import exists, why_not_written
from vjepa_demo.procedural.clips import make_records
from vjepa_demo.schema import DrawingReport, RecordError, VideoRecord


def make_dataset(folder: str | Path, *, count: int, seed: int) -> Iterator[DrawingReport]:
    """Draw `count` clips into `folder`, which is made if need be, and last write their labels.csv; a report a clip.

    Equal seeds draw equal clips.

    Raises:
        RecordError: if `count` is below 1, or `folder` holds labels already or cannot be written.
    """
    if count < 1:
        raise RecordError(f"--count is {count}; a whole number from 1 up was expected")
    folder = Path(folder)
    if exists(folder / LABELS_FILE):
        raise RecordError(f"{folder / LABELS_FILE} exists already: draw into another folder, or move it away first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        records = yield from draw_clips(folder, count=count, seed=seed)
        write_labels(folder / LABELS_FILE, records)
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {why_not_written(error)}") from error


def draw_clips(
    folder: Path, *, count: int, seed: int, size: tuple[int, int] | None = None, seconds_after: float = 0.0
) -> Generator[DrawingReport, None, list[VideoRecord]]:
    """Draw `count` clips of `size` (height, width) into `folder`: yields a report a clip, and returns their records.

    `seconds_after` is how long what follows takes: the reports count it among what is left.
    """
    begin, records = time.perf_counter(), []
    for record in make_records(folder, count=count, seed=seed, size=size):
        records.append(record)
        left = (time.perf_counter() - begin) / len(records) * (count - len(records)) + seconds_after
        yield DrawingReport(len(records), count, left)
    return records
