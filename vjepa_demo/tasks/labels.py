"""Labelled clips for training and evaluation: read, matched with their videos, and each video opened once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vjepa_demo.config import DATASET_MAX_BYTES, ClipConfig
from vjepa_demo.data.hub import Token
from vjepa_demo.data.records import read_hub_records, read_records, read_rows, write_predictions
from vjepa_demo.data.table import by_line
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.schema import (
    FetchingReport,
    OpeningReport,
    RecordError,
    RecordProblem,
    RecordSet,
    StoppedError,
    VideoError,
)

__all__ = ["check_labels", "check_videos", "read_rows", "write_predictions"]

CHECKED_FRAMES = ClipConfig(num_frames=2, crop_size=32)  # decoded of each video, once the whole file is scanned
CHECK_THREADS = 4


def check_labels(
    labels: str | Path | Sequence[str | Path],
    videos: str | Path | Sequence[str | Path] | None,
    *,
    extract_to: str | Path,
    label_range: tuple[float, float] | None = None,
    token: Token = False,
    max_bytes: int = DATASET_MAX_BYTES,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[FetchingReport | OpeningReport | RecordSet]:
    """What can be used of the table `labels` and its `videos`; a report a video, and last the `RecordSet`.

    `labels` may also be a table of pairs, or two tables, one of labels and one of pairs, which are used together.
    `videos` are a folder, a zip, or video files; None where `labels` is `owner/name` of a data set on the Hub, which
    `token` may read. What comes out of a zip, or of at most `max_bytes` from the Hub, lies in `extract_to`. Closing the
    iterator ends the check. `should_stop` is asked, by other threads, while videos are opened.

    Raises:
        RecordError: if a table, the data set, or what should hold the videos cannot be used at all, or if two tables
            are of one kind.
        StoppedError: once `should_stop` said yes.
    """
    tables = [labels] if isinstance(labels, str | Path) else list(labels)
    if videos is not None:
        records = read_records(tables, videos, label_range=label_range, extract_to=extract_to)
        yield from check_videos(records, should_stop=should_stop)
        return
    if len(tables) != 1:
        raise RecordError(f"got {len(tables)} data sets on the Hub; one was expected, or tables with their videos")
    for report in read_hub_records(
        str(tables[0]), extract_to, token=token, label_range=label_range, max_bytes=max_bytes
    ):
        if isinstance(report, RecordSet):
            yield from check_videos(report, should_stop=should_stop)
        else:
            yield report


def check_videos(
    records: RecordSet, *, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[OpeningReport | RecordSet]:
    """An `OpeningReport` for each video of `records`, and last the `RecordSet` without videos that cannot be read.

    Each file is scanned, and two of its frames are decoded. Closing the iterator ends the check, and what is being
    decoded. `should_stop` is asked, by other threads, while that is.

    Raises:
        StoppedError: once `should_stop` said yes.
    """
    files = list(dict.fromkeys(clip.video for clip in records.clips))
    errors: dict[Path, str] = {}
    closed = threading.Event()

    def is_over() -> bool:
        return closed.is_set() or should_stop()

    def error_of(path: Path) -> str | None:
        if is_over():
            raise StoppedError("stopped: the videos were not checked")
        return _video_error(path, is_over)

    pool = ThreadPoolExecutor(CHECK_THREADS)
    try:
        for done, (file, error) in enumerate(zip(files, pool.map(error_of, files), strict=True), start=1):
            if error is not None:
                errors[file] = error
            yield OpeningReport(done, len(files))
    finally:
        closed.set()
        pool.shutdown(cancel_futures=True)
    rows = [(clip.line, clip.video) for clip in records.records]
    rows += dict.fromkeys((pair.line, side.video) for pair in records.pairs for side in (pair.a, pair.b))
    unreadable = [RecordProblem(line, errors[video]) for line, video in rows if video in errors]
    yield dataclasses.replace(
        records,
        records=tuple(record for record in records.records if record.video not in errors),
        pairs=tuple(pair for pair in records.pairs if not {pair.a.video, pair.b.video} & errors.keys()),
        problems=by_line([*records.problems, *unreadable]),
    )


def _video_error(path: Path, should_stop: Callable[[], bool]) -> str | None:
    try:
        load_clip(path, CHECKED_FRAMES, should_stop=should_stop)
    except VideoError as error:
        return str(error)
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"
    return None
