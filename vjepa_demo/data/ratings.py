"""The files of a study: what is rated (study.json), what was answered (ratings.jsonl), and tables made of them."""

from __future__ import annotations

import csv
import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.data.cells import as_cell
from vjepa_demo.data.records import write_labels
from vjepa_demo.files import exists, file_lock, reading, replacing, write_whole, writing
from vjepa_demo.schema import BusyError, FolderError, RecordError, VideoRecord
from vjepa_demo.schema.rating import ClipScore, Rating, Study, StudyClip
from vjepa_demo.wording import shortened

STUDY_FILE, RATINGS_FILE, LOCK_FILE = "study.json", "ratings.jsonl", "ratings.lock"
CLIPS_FOLDER, PREVIEWS_FOLDER = "clips", "previews"
LOCK_SECONDS = 10.0  # a write takes milliseconds
MAX_STUDY_BYTES = 64 * 2**20
MAX_RATINGS_BYTES = 64 * 2**20  # some 300,000 answers
VOID = b'{"kind":"void"}'  # a line that cancels the one before it


def preview_path(key: str) -> str:
    """Where, in the folder of a study, a copy of the clip `key` is that browsers play; only where they need one."""
    return f"{PREVIEWS_FOLDER}/{key}.mp4"


def write_study(folder: Path, study: Study) -> None:
    """Write study.json into `folder`, whole or not at all."""
    write_whole(folder / STUDY_FILE, json.dumps(study.to_dict(), ensure_ascii=False, indent=1))


def read_study(folder: str | Path) -> Study:
    """The study in `folder`.

    Raises:
        RecordError: if there is none, or its study.json was not written by this program.
    """
    path = Path(folder) / STUDY_FILE
    try:
        if path.stat().st_size > MAX_STUDY_BYTES:
            raise RecordError(f"{path} is too large for a study; give a folder that `rate new` made")
        return Study.from_dict(json.loads(path.read_bytes()))
    except FileNotFoundError as error:
        raise RecordError(f"{folder} holds no study: give a folder that `rate new` made") from error
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordError(f"{path} is no study of this program: {shortened(str(error), 120)}") from error


class RatingLog:
    """The lines of ratings.jsonl: each a JSON object, in the order in which they were acknowledged.

    Several processes may read and write at once, and several threads, each with a log of its own or one at a time. A
    line is on the disk before `append` returns. What a killed process left of a line is no line: readers ignore it and
    the next writer cuts it off. A line that may not be on the disk is followed by a `VOID` line, which cancels it.
    """

    def __init__(self, folder: Path) -> None:
        self._path, self._lock_path = folder / RATINGS_FILE, folder / LOCK_FILE
        self._read_bytes = self._num_lines = 0

    @property
    def is_full(self) -> bool:
        """Whether the lines that were read are as many as a study may have."""
        return self._read_bytes >= MAX_RATINGS_BYTES

    def new_lines(self) -> Iterator[dict[str, Any] | None]:
        """The lines that were added. A line counts as read once the next one is asked for, so that who cannot use it
        gets it again. None says that a line which was read is not true any more: all lines come again from the first.

        Raises:
            RecordError: if the file cannot be read, or holds a line that is no JSON object.
        """
        size, lines = self._lines_from(self._read_bytes)
        if self._read_bytes and (size < self._read_bytes or lines[:1] == [VOID]):
            self._read_bytes = self._num_lines = 0
            yield None
            _, lines = self._lines_from(0)
        for line, following in zip_longest(lines, lines[1:]):
            if VOID not in (line, following):
                yield self._parsed(line)
            self._read_bytes += len(line) + 1
            self._num_lines += 1

    def _lines_from(self, start: int) -> tuple[int, list[bytes]]:
        """The size of the file, 0 before anybody has answered, and its whole lines from the byte `start` on."""
        if not exists(self._path):
            return 0, []
        with reading(self._path), self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(start)
            return size, file.read().split(b"\n")[:-1]

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(
                f"{self._path}, line {self._num_lines + 1} is not JSON: mend or delete that line"
            ) from error
        if not isinstance(found, dict):
            raise RecordError(f"{self._path}, line {self._num_lines + 1} is no JSON object: mend or delete that line")
        return found

    @contextmanager
    def exclusive(self) -> Iterator[LineWriter]:
        """Alone among all threads and processes: for a decision on all lines so far, and lines that follow from it.

        Raises:
            BusyError: if another process holds the file for longer than `LOCK_SECONDS`.
            FolderError: if the line cannot be written.
        """
        with writing(self._path, advice="nothing was recorded; free the disk, then answer again"):
            try:
                held = file_lock(self._lock_path, wait_seconds=LOCK_SECONDS)
            except TimeoutError as error:
                raise BusyError("the study is busy; answer again in a moment") from error
            with held, LineWriter(self._path) as writer:
                yield writer


class LineWriter:
    """Appends lines to a file that nobody else writes meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> LineWriter:
        is_new = not self._path.exists()
        self._file = self._path.open("ab", buffering=0)
        if is_new:  # the name of the file must be on the disk too
            _sync_folder(self._path.parent)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, line: Mapping[str, Any]) -> None:
        """Write `line`; it is on the disk when this returns. If it cannot be written, it is as if it had not been.

        Raises:
            OSError: if it cannot be written.
            FolderError: if it was, but perhaps not to the disk, and cannot be cancelled.
        """
        _cut_torn_line(self._path)
        self._write(json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode())
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            # Others may have read the line: were it cut off, their place in the file would be wrong.
            try:
                self._write(VOID)
            except OSError:
                raise FolderError(
                    f"{self._path} cannot be written ({error.strerror or error}): whether this was recorded is not "
                    "known; free the disk, then reload the page"
                ) from error
            with suppress(OSError):
                os.fsync(self._file.fileno())
            raise

    def _write(self, line: bytes) -> None:
        """Raises OSError if not all of `line` can be written; then nothing of it is left."""
        data = line + b"\n"
        try:
            if os.write(self._file.fileno(), data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            _cut_torn_line(self._path)
            raise


def _cut_torn_line(path: Path) -> None:
    """Cut what follows the last line break of a file."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if end == 0 or _ends_line(file, end):
            return
        while end and not _ends_line(file, end):
            end -= 1  # a line is some hundred bytes long
        file.truncate(end)


def _ends_line(file: BinaryIO, end: int) -> bool:
    file.seek(end - 1)
    return file.read(1) == b"\n"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- tables ----------------------------------------------------------------------------------------------------------


def write_ratings(path: Path, study: Study, ratings: Iterable[Rating]) -> None:
    """A CSV with a row a rating: video_name, Prompt, generator, rater, a column a dimension, and when it was given.

    Warm-ups are left out. An empty cell says that the rater could not judge. `read_labels` reads it, and `rated`
    averages what one rater gave to a clip before it averages raters.
    """
    clips = {clip.key: clip for clip in study.clips}
    header = ("video_name", "Prompt", "generator", "rater", *study.dimensions, "repeat", "rated_at", "seconds")
    rows = []
    for rating in ratings:
        if rating.round == "warm_up":
            continue
        clip = clips[rating.clips[0]]
        given = [rating.given[name] for name in study.dimensions]
        repeat = "yes" if rating.round == "repeat" else ""
        rows.append([clip.name, clip.prompt, clip.generator, rating.rater, *given, repeat, *_when(rating)])
    _write_csv(path, header, rows)


def write_answers(path: Path, study: Study, ratings: Iterable[Rating]) -> None:
    """A CSV with a row an answer: video_a, video_b (as they were shown, left and right), prompt, rater, and a column a
    dimension with a, b or same. Warm-ups are left out, and repeats: a rater's judgement of a pair is one label."""
    clips = {clip.key: clip for clip in study.clips}
    header = ("video_a", "video_b", "prompt", "rater", *study.dimensions, "rated_at", "seconds")
    rows = []
    for rating in ratings:
        if rating.round != "first":
            continue
        left, right = (clips[key] for key in rating.clips)
        given = [rating.given[name] for name in study.dimensions]
        rows.append([left.name, right.name, left.prompt, rating.rater, *given, *_when(rating)])
    _write_csv(path, header, rows)


def _when(rating: Rating) -> tuple[str, str]:
    """The cells of `rated_at` (ISO 8601, UTC) and `seconds`."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(rating.at))
    return at, "" if rating.seconds is None else f"{rating.seconds:.1f}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # RFC 4180: "\r\n", quotes where they are needed
        writer.writerow(header)
        writer.writerows([as_cell("" if cell is None else str(cell)) for cell in row] for row in rows)


def write_mean_scores(
    path: Path, clips: Iterable[StudyClip], scores: Mapping[str, Mapping[str, ClipScore]], *, plain: bool
) -> int:
    """A CSV with a row a clip in the columns of TaobaoVD-GC; returns how many rows it has.

    `scores` maps a dimension to the scores by key of clip. The labels are those without the raters' biases, or the
    `plain` means. A clip that nobody rated is left out.
    """
    records = []
    for clip in clips:
        labels = {}
        for name in DIMENSIONS:
            if score := scores.get(name, {}).get(clip.key):
                label = score.plain if plain else score.mos
                labels[name] = round(min(max(label, SCORE_MIN), SCORE_MAX), 4)
        if labels:
            records.append(VideoRecord(clip.name, Path(clip.video), clip.prompt, labels, line=0))
    write_labels(path, records)
    return len(records)


def write_scores(path: Path, study: Study, scores: Mapping[str, Mapping[str, ClipScore]]) -> None:
    """A CSV with a row a clip that was rated: video_name, Prompt, generator, and for each dimension the score without
    the raters' biases, the ends of its 95 % interval, the number of raters and the plain mean.

    `scores` is as in `write_mean_scores`. The ends are within 1 to 5, and empty where they are undefined.
    """
    columns = ("mos", "low", "high", "num_raters", "plain")
    header = ["video_name", "Prompt", "generator"]
    header += [f"{name}_{column}" for name in study.dimensions for column in columns]
    rows = []
    for clip in study.clips:
        cells: list[object] = []
        for name in study.dimensions:
            if (score := scores.get(name, {}).get(clip.key)) is None:
                cells += [None] * len(columns)
                continue
            half = score.half_width.value
            ends = [] if half is None else [max(score.mos - half, SCORE_MIN), min(score.mos + half, SCORE_MAX)]
            low, high = (f"{end:.4f}" for end in ends) if ends else ("", "")
            cells += [f"{score.mos:.4f}", low, high, score.num_raters, f"{score.plain:.4f}"]
        if any(cell is not None for cell in cells):
            rows.append([clip.name, clip.prompt, clip.generator, *cells])
    _write_csv(path, header, rows)
