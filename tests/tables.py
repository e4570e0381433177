"""Tables of labels for tests, and what was found in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vjepa_demo.schema import VideoRecord

HEADER = "video_name,Prompt,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,Overall_MOS"


def overall(*labels: object, header: str = "video,prompt,overall") -> list[str]:
    """A table of one dimension: the labels of videos 0, 1, ..."""
    return [header, *(f"{index},prompt {index},{label}" for index, label in enumerate(labels))]


def messages(found) -> dict[int, list[str]]:
    """The problems of a table or a record set, by line."""
    by_line = defaultdict(list)
    for problem in found.problems:
        by_line[problem.line].append(problem.message)
    return dict(by_line)


def record(index: int, prompt: str, *, split=None, **labels: float) -> VideoRecord:
    return VideoRecord(f"{index}.mp4", Path(f"{index}.mp4"), prompt, labels or {"Overall": 3.0}, index + 2, split)


def last(reports: Iterable[Any]) -> Any:
    """What a generator of reports ends with."""
    *_, found = reports
    return found
