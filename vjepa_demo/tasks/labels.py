"""Labelled clips for training and evaluation: read, matched with their videos, and each video opened once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vjepa_demo.config import DATASET_MAX_BYTES
from vjepa_demo.data.hub import Token
from vjepa_demo.data.match import check_videos
from vjepa_demo.data.records import read_hub_records, read_records
from vjepa_demo.schema import FetchingReport, OpeningReport, RecordSet


def check_labels(
    labels: str | Path,
    videos: str | Path | Sequence[str | Path] | None,
    *,
    extract_to: str | Path,
    label_range: tuple[float, float] | None = None,
    token: Token = False,
    max_bytes: int = DATASET_MAX_BYTES,
) -> Iterator[FetchingReport | OpeningReport | RecordSet]:
    """What can be used of the table `labels` and its `videos`; a report a video, and last the `RecordSet`.

    `videos` are a folder, a zip, or video files; None where `labels` is `owner/name` of a data set on the Hub, which
    `token` may read. What comes out of a zip, or of at most `max_bytes` from the Hub, lies in `extract_to`. Closing the
    iterator ends the check.

    Raises:
        RecordError: if the table, the data set, or what should hold the videos cannot be used at all.
    """
    if videos is not None:
        records = read_records(labels, videos, label_range=label_range, extract_to=extract_to)
        yield from check_videos(records)
        return
    for report in read_hub_records(str(labels), extract_to, token=token, label_range=label_range, max_bytes=max_bytes):
        if isinstance(report, RecordSet):
            yield from check_videos(report)
        else:
            yield report
