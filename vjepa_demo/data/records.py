"""Labelled tables and their videos become `VideoRecord`s: reading, matching, checking, splitting, writing.

`read_records` is the whole way: `labels.csv + videos -> LabelTable -> RecordSet`. A row that cannot be used becomes a
`RecordProblem` with its line, all of them together; a file of which nothing can be used is a `RecordError`.
A table has the columns of TaobaoVD-GC: video_name, Prompt, Traditional_MOS, ..., Overall_MOS.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
import shutil
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count, pairwise
from pathlib import Path, PurePosixPath
from typing import IO, Generic, TypeVar

import pandas as pd

from vjepa_demo.config import (
    DATASET_MAX_BYTES,
    DIMENSIONS,
    MAX_CELL_CHARACTERS,
    MAX_PROMPT_CHARACTERS,
    MAX_TABLE_BYTES,
    MIN_VALIDATION_CLIPS,
    SCORE_MAX,
    SCORE_MIN,
    TABLE_SUFFIXES,
    VIDEO_SUFFIXES,
    VIDEO_ZIP_LIMITS,
    ClipConfig,
    ZipLimits,
)
from vjepa_demo.data.hub import DatasetListing, Token, fetch_files, list_dataset, parse_repo
from vjepa_demo.media.archive import ArchiveError, extract_zip, is_hidden, new_folder
from vjepa_demo.schema import (
    LabelRange,
    RecordError,
    RecordProblem,
    Split,
    SplitName,
    VideoError,
    VideoRecord,
    prompt_key,
)

OnProgress = Callable[[int, int], None]
File = TypeVar("File")


def _label_column_names(dimension: str) -> tuple[str, ...]:
    name = dimension.lower()
    names = (f"{name}mos", name, f"{name}score", f"{name}label", f"{name}rating", f"{name}quality", f"mos{name}")
    return (*names, "mos") if dimension == "Overall" else names


# How a table may call its columns, in any case and with any punctuation. The first name wins where several are there.
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "video": (
        *("videoname", "video", "videopath", "videofile", "videofilename"),
        *("path", "filepath", "filename", "file", "clip", "name"),
    ),
    "prompt": ("prompt", "text", "caption", "textprompt", "description"),
    "split": ("split", "subset", "partition"),
    **{name: _label_column_names(name) for name in DIMENSIONS},
}
SPLIT_NAMES: Mapping[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "eval", "test", "testing"), "validation"),
}
NO_LABEL = ("", "nan", "na", "n/a", "null", "none", "-")
SEPARATORS = (",", ";", "\t")

# Scales that are recognised, in this order: the first that holds nearly all labels. One typing error among thousands
# must not turn 1 to 5 into 0 to 100; what lies outside is reported row by row.
LABEL_RANGES = ((1.0, 5.0), (0.0, 1.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0))
DETECTED_SHARE = 0.95
ENOUGH_LABELS = 20  # for their highest to say something about the scale

# A cell that begins so is run as a formula by spreadsheets (OWASP, CSV Injection); an apostrophe makes it text.
FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)

HISTOGRAM_BINS = 8  # of half a score each, from 1 to 5
CHECKED_FRAMES = ClipConfig(num_frames=2, crop_size=32)  # the scan before them reads the whole file
CHECK_THREADS = 4
COPY_BYTES = 2**20
HUB_TABLE_SUFFIXES = (".csv", ".tsv")  # in a data set, where a .txt is seldom a table
LABELS_FILE = "labels.csv"
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass(frozen=True)
class Table:
    """A CSV or TSV as text: `rows` are (line, cells), cells stripped, not always as many as the header has.

    `fields` maps keys of `COLUMN_NAMES` to the index of the column that holds them.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    fields: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, str]:
        """What the columns of `fields` are called in the file."""
        return {field: self.header[index] for field, index in self.fields.items()}


@dataclass(frozen=True)
class LabelRow:
    """A row that can be used once its video is found; labels are scores from 1 to 5, in the order of `DIMENSIONS`."""

    line: int
    name: str
    prompt: str
    labels: dict[str, float]
    split: SplitName | None = None


@dataclass(frozen=True)
class LabelTable:
    """What a labelled CSV or TSV holds: `num_rows` rows, those that can be used and the problems of the others.

    `notes` are sentences for the person: what was guessed, what was ignored.
    """

    path: Path
    rows: tuple[LabelRow, ...]
    problems: tuple[RecordProblem, ...]
    label_range: LabelRange
    num_rows: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordSet:
    """The clips that can be used, and by line why the other rows of the table's `num_rows` cannot."""

    records: tuple[VideoRecord, ...]
    problems: tuple[RecordProblem, ...]
    label_range: LabelRange
    num_rows: int
    notes: tuple[str, ...] = ()

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions for which at least one clip has a label."""
        return tuple(name for name in DIMENSIONS if any(name in record.labels for record in self.records))


@dataclass(frozen=True)
class DimensionSummary:
    """The labels of one dimension: how many, their mean, and how many in each half score from 1 to 5."""

    dimension: str
    num_labels: int
    mean: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class RecordSummary:
    """What will be used, in numbers; only labelled dimensions are in `dimensions`. `str()` says it in a sentence."""

    num_rows: int
    num_used: int
    num_videos: int
    num_prompts: int
    num_train: int
    num_validation: int
    num_unassigned: int
    label_range: LabelRange
    dimensions: tuple[DimensionSummary, ...]

    def __str__(self) -> str:
        labels = ", ".join(f"{each.dimension} {each.num_labels:,}" for each in self.dimensions) or "none"
        return (
            f"{self.num_used:,} of {_count(self.num_rows, 'row')} will be used: {_count(self.num_videos, 'video')}, "
            f"{_count(self.num_prompts, 'prompt')}; labels from {self.label_range}: {labels}."
        )


def read_records(
    labels: str | Path,
    videos: str | Path | Sequence[str | Path],
    *,
    label_range: tuple[float, float] | None = None,
    extract_to: str | Path | None = None,
) -> RecordSet:
    """The labelled clips of the table `labels` whose files are found in `videos`; no video is opened.

    See `read_labels` and `match_videos` for the arguments, `check_videos` for what opens the videos.

    Raises:
        RecordError: if the table, or what should hold the videos, cannot be used at all.
    """
    return match_videos(read_labels(labels, label_range=label_range), videos, extract_to=extract_to)


def read_hub_records(
    name: str,
    folder: str | Path,
    *,
    token: Token,
    label_range: tuple[float, float] | None = None,
    on_progress: OnProgress | None = None,
) -> RecordSet:
    """The labelled clips of the data set `owner/name` or `owner/name@revision` on the Hub; no video is opened.

    Its table is `labels.csv`, or the only .csv or .tsv it has. Of the rest, only the videos that the table names are
    fetched (`DATASET_MAX_BYTES` or half the free disk at most), into a folder in `folder` named after the data set and
    its commit: what is there already is not fetched again. `token` says who may read it (see `hub`). `on_progress` is
    called with (videos done, videos in all); what it raises ends the download.

    Raises:
        RecordError: if the data set cannot be had, is too large, or holds no table or no videos.
    """
    repo = parse_repo(name, "dataset")
    if repo is None:
        raise RecordError(f"“{_shorten(name)}” is no data set on the Hub; owner/name was expected, such as me/my-clips")
    listing = list_dataset(repo, token=token)
    folder = Path(folder) / f"{repo.repo_id.replace('/', '--')}-{listing.commit[:12]}"
    labels = _labels_file(listing)
    (path,) = fetch_files(listing, [labels], folder, token=token, max_bytes=MAX_TABLE_BYTES)
    table = read_labels(path, label_range=label_range)
    videos = {folder / video: video for video in _hub_videos(listing)}
    records = _match(table, ((video, file) for file, video in videos.items()), str(repo))
    named = dict.fromkeys(videos[record.video] for record in records.records)
    most = min(DATASET_MAX_BYTES, shutil.disk_usage(folder).free // 2)
    fetch_files(listing, named, folder, token=token, max_bytes=most, on_progress=on_progress)
    return records


def is_hub_name(name: str) -> bool:
    """Whether `name` can be a data set on the Hub, rather than a file of labels."""
    is_file = name.lower().endswith(TABLE_SUFFIXES) or Path(name).exists()
    return not is_file and parse_repo(name, "dataset") is not None


def _labels_file(listing: DatasetListing) -> str:
    tables = sorted(path for path in _visible(listing) if path.lower().endswith(HUB_TABLE_SUFFIXES))
    if LABELS_FILE in tables:
        return LABELS_FILE
    if len(tables) == 1:
        return tables[0]
    if not tables:
        raise RecordError(f"{listing.repo} has no table of labels: a {LABELS_FILE}, or one .csv or .tsv, was expected")
    shown = ", ".join(tables[:5]) + (", ..." if len(tables) > 5 else "")
    raise RecordError(f"{listing.repo} has {len(tables):,} tables ({shown}); call the one with labels {LABELS_FILE}")


def _hub_videos(listing: DatasetListing) -> list[str]:
    videos = [path for path in _visible(listing) if path.lower().endswith(VIDEO_SUFFIXES)]
    if not videos:
        packed = any(path.lower().endswith((*ARCHIVE_SUFFIXES, ".parquet")) for path in listing.files)
        hint = "; archives in it are not opened: download it, and give labels and videos as files" if packed else ""
        raise RecordError(f"{listing.repo} holds no videos{hint}")
    return videos


def _visible(listing: DatasetListing) -> list[str]:
    return [path for path in listing.files if not is_hidden(path)]


# ---- the table -------------------------------------------------------------------------------------------------------


def read_labels(csv_path: str | Path, *, label_range: tuple[float, float] | None = None) -> LabelTable:
    """The rows of a CSV or TSV with a video, a prompt and at least one label each, and the problems of the others.

    `label_range` declares the (lowest, highest) label there can be; without it, one of `LABEL_RANGES` is detected.
    Labels are mapped linearly from it to 1..5. An empty label is no label.

    Raises:
        RecordError: if the file is not UTF-8 text, lacks a column, or holds labels of a scale that is not recognised.
    """
    _check_label_range(label_range)
    table = read_table(csv_path, required=("video", "prompt", "labels"))
    frame, problems = _as_frame(table)
    numbers = _label_numbers(frame)
    chosen = _choose_range(table, numbers, label_range)
    problems += _label_problems(frame, numbers, chosen, table.shown) + _unlabelled(frame, numbers, table.shown)
    problems += _row_problems(frame, table.shown)
    return LabelTable(
        path=table.path,
        rows=tuple(_usable_rows(frame, numbers, chosen, {problem.line for problem in problems})),
        problems=_by_line(problems),
        label_range=chosen,
        num_rows=len(table.rows),
        notes=tuple(_ignored_note(table) + _range_notes(numbers, chosen)),
    )


def read_table(csv_path: str | Path, *, required: Collection[str]) -> Table:
    """The text of a CSV or TSV and the columns it has: `required` are "video", "prompt", "labels" (one dimension).

    Two columns that could each hold the same are refused, labels only where they are required.

    Raises:
        RecordError: if the file is not UTF-8 text, holds no rows, or lacks a required column.
    """
    path = Path(csv_path)
    text = _read_text(path)
    header, rows = _read_rows(path, text, _find_separator(text))
    fields, notes = _find_columns(path, header, required)
    return Table(path, tuple(header), tuple((line, tuple(cells)) for line, cells in rows), fields, tuple(notes))


def row_problems(table: Table) -> dict[int, str]:
    """By line why a row cannot be scored, whatever its labels: a wrong number of cells, no video, no usable prompt."""
    frame, problems = _as_frame(table)
    found = {problem.line: problem.message for problem in problems}
    prompts = frame["prompt"] if "prompt" in frame else [None] * len(frame)
    for line, name, prompt in zip(frame.index, frame["video"], prompts, strict=True):
        if messages := _row_messages(name, prompt, table.shown):
            found[int(line)] = "; ".join(messages)
    return found


def row_labels(
    table: Table, *, label_range: tuple[float, float] | None = None
) -> tuple[dict[int, dict[str, float]], tuple[str, ...]]:
    """By line the labels that can be used, as scores from 1 to 5; and notes on those that cannot, and on the range."""
    _check_label_range(label_range)
    frame, _ = _as_frame(table)
    numbers = _label_numbers(frame)
    try:
        chosen = _choose_range(table, numbers, label_range)
    except RecordError as error:
        return {}, (f"Labels are left out: {error}.",)
    problems = _by_line(_label_problems(frame, numbers, chosen, table.shown))
    usable = numbers.where((numbers >= chosen.low) & (numbers <= chosen.high))
    labels = dict(zip(map(int, frame.index), _scores(usable, chosen), strict=True))
    return labels, (*_range_notes(usable, chosen), *_left_out_note(problems))


def _left_out_note(problems: Sequence[RecordProblem]) -> list[str]:
    if not problems:
        return []
    shown = "; ".join(map(str, problems[:3])) + ("; ..." if len(problems) > 3 else "")
    return [f"{_count(len(problems), 'label')} left out: {shown}."]


def added_columns(header: Iterable[str]) -> tuple[str, ...]:
    """What scoring adds to a table with the columns `header`: five scores and `unknown_words`, `error` and `scored_by`,
    or free names."""
    taken = {name.casefold() for name in header}
    endings = ("", "_score", *(f"_score_{number}" for number in range(2, len(taken) + 3)))
    scores = ([f"{name}{ending}" for name in DIMENSIONS] for ending in endings)
    free = next(names for names in scores if not taken & {name.casefold() for name in names})
    return *free, *(_free_name(name, taken) for name in ("unknown_words", "error", "scored_by"))


def _free_name(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _score_columns(header: Sequence[str]) -> set[int]:
    """Where scores stand that `added_columns` named: what a model said is no label."""
    found: set[int] = set()
    for end, name in enumerate(header):
        if not re.fullmatch(r"scored_by(_\d+)?", name):
            continue
        for others in (2, 1):  # between the scores and this one; an older version of this program wrote `error` alone
            start = end - len(DIMENSIONS) - others
            names = [re.sub(r"_score(_\d+)?$", "", each) for each in header[max(start, 0) : end - others]]
            if names == list(DIMENSIONS):
                found.update(range(start, end - others))
    return found


def _check_label_range(label_range: tuple[float, float] | None) -> None:
    if label_range is None:
        return
    low, high = label_range
    if not (-float("inf") < low < high < float("inf")):
        raise RecordError(f"the label range is {low:g} to {high:g}; the lowest label comes first, such as 0 to 100")


def _read_text(path: Path) -> str:
    """The file's text. UTF-8, or UTF-16 as Excel's "Unicode text" has it: no encoding is guessed."""
    if not path.is_file():
        raise RecordError(f"{path}: no such file; a CSV or TSV of labels was expected")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise RecordError(f"{path.name} is larger than {MAX_TABLE_BYTES / 2**20:.0f} MiB; is it a table of labels?")
    data = path.read_bytes()
    if data.startswith(b"PK\3\4"):
        raise RecordError(f"{path.name} is a workbook or an archive, not text; save the sheet as “CSV UTF-8”")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecordError(
            f"{path.name}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; "
            "save the table as “CSV UTF-8” and upload it again"
        ) from error
    if "\0" in text:
        raise RecordError(f"{path.name} holds binary data; a CSV or TSV of labels was expected")
    return text


def _find_separator(text: str) -> str:
    """The separator under which most of the header's columns are known."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def columns(separator: str) -> tuple[int, int]:
        header = next(csv.reader([first], delimiter=separator), [])
        known = {plain(name) for name in header} & {name for names in COLUMN_NAMES.values() for name in names}
        return len(known), len(header)

    return max(SEPARATORS, key=columns)


def _read_rows(path: Path, text: str, separator: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with the line on which it begins; cells are stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((line, [as_written(cell).strip() for cell in cells]))
                _check_cells(path, *rows[-1])
            line = reader.line_num + 1
    except csv.Error as error:
        raise RecordError(
            f"{path.name}: the row that begins on line {line} cannot be read ({error}); "
            "a cell that begins with a quote must end with one, and quotes inside are doubled"
        ) from error
    if len(rows) < 2:
        raise RecordError(f"{path.name} holds no rows; a header and at least one row were expected")
    return rows[0][1], rows[1:]


def _check_cells(path: Path, line: int, cells: Sequence[str]) -> None:
    longest = max(map(len, cells))
    if longest > MAX_CELL_CHARACTERS:
        raise RecordError(
            f"{path.name}: the row that begins on line {line} has a cell of {longest:,} characters; "
            f"{MAX_CELL_CHARACTERS:,} at most: shorten it, or look for a quote that is not closed"
        )


def plain(column: str) -> str:
    """What two names of a column that differ only in case and punctuation have in common."""
    return re.sub(r"[\W_]+", "", column.casefold())


def _find_columns(path: Path, header: Sequence[str], required: Collection[str]) -> tuple[dict[str, int], list[str]]:
    """Which column holds what, a key of `COLUMN_NAMES` to an index; and notes on labels that several could be."""
    found: dict[str, int] = {}
    problems: list[str] = []
    notes: list[str] = []
    scores = _score_columns(header)
    for field, names in COLUMN_NAMES.items():
        candidates = [index for index, column in enumerate(header) if plain(column) in names and index not in scores]
        first = [index for index in candidates if plain(header[index]) == names[0]]
        chosen = first or candidates
        if len(chosen) > 1:
            columns = " and ".join(f"“{header[index]}”" for index in chosen)
            needed = field in ("video", "prompt") or "labels" in required
            (problems if needed else notes).append(f"the columns {columns} could each be the {field}: keep one")
        elif chosen:
            found[field] = chosen[0]
        elif field in required:
            problems.append(f"no column for the {field}: call it {'video_name' if field == 'video' else 'Prompt'}")
    if not problems and "labels" in required and not found.keys() & set(DIMENSIONS):
        wanted = ", ".join(f"{name}_MOS" for name in DIMENSIONS)
        problems.append(f"no column of labels: at least one of {wanted} was expected")
    if problems:
        raise RecordError(f"{path.name} has the columns {', '.join(header)}. " + ". ".join(map(_capital, problems)))
    return found, [f"{_capital(note)}." for note in notes]


def _as_frame(table: Table) -> tuple[pd.DataFrame, list[RecordProblem]]:
    """The known columns as text, indexed by line, of the rows that have as many cells as the header."""
    lines, kept, problems = [], [], []
    width = len(table.header)
    for line, cells in table.rows:
        if len(cells) < width or any(cells[width:]):
            problems.append(
                RecordProblem(
                    line,
                    f"{_count(len(cells), 'cell')}, but the header has {width}; "
                    "a prompt that holds the separator must be in quotes",
                )
            )
            continue
        lines.append(line)
        kept.append([cells[index] for index in table.fields.values()])
    return pd.DataFrame(kept, index=lines, columns=list(table.fields), dtype=object), problems


def _label_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The labels of each dimension that has a column, NaN where there is no number."""
    return frame[[name for name in DIMENSIONS if name in frame]].apply(_as_numbers)


def _choose_range(table: Table, numbers: pd.DataFrame, declared: tuple[float, float] | None) -> LabelRange:
    return LabelRange(*declared, declared=True) if declared else _detect_range(table.path, numbers)


def _as_numbers(column: pd.Series) -> pd.Series:
    """Float64; NaN where there is no label or no number. 3,5 is three and a half."""
    text = column.astype(str).str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
    number = text.str.fullmatch(NUMBER)
    return pd.to_numeric(text.where(number.astype(bool)), errors="coerce").astype("float64")


def _detect_range(path: Path, numbers: pd.DataFrame) -> LabelRange:
    labels = pd.Series(numbers.to_numpy().ravel()).dropna()
    if labels.empty:
        return LabelRange()
    for low, high in LABEL_RANGES:
        if labels.between(low, high).mean() >= DETECTED_SHARE:
            return LabelRange(low, high)
    known = ", ".join(str(LabelRange(*each)) for each in LABEL_RANGES)
    raise RecordError(
        f"{path.name}: the labels run from {labels.min():g} to {labels.max():g}, "
        f"which fits none of the scales {known}; declare the label range"
    )


def _range_notes(numbers: pd.DataFrame, label_range: LabelRange) -> list[str]:
    """What a person should know before they trust a detected range."""
    low, high = numbers.min().min(), numbers.max().max()
    if label_range.declared or pd.isna(low):
        return []
    notes = []
    if (label_range.low, label_range.high) != (SCORE_MIN, SCORE_MAX):
        notes.append(f"Labels run from {low:g} to {high:g}: read as {label_range}, mapped linearly to 1 to 5.")
        if label_range.low == 0 and low == 0:
            notes.append("Labels of 0 count as the lowest score; if 0 means “no label”, leave those cells empty.")
    elif high <= SCORE_MAX - 1 and numbers.count().sum() >= ENOUGH_LABELS:
        notes.append(f"No label is above {high:g}; if the scale was not 1 to 5, declare the label range.")
    return notes


def _ignored_note(table: Table) -> list[str]:
    ignored = [name or "(no name)" for index, name in enumerate(table.header) if index not in table.fields.values()]
    return [f"Ignored columns: {', '.join(ignored)}."] if ignored else []


def _label_problems(
    frame: pd.DataFrame, numbers: pd.DataFrame, label_range: LabelRange, shown: Mapping[str, str]
) -> list[RecordProblem]:
    """Labels that are no number or lie outside the range."""
    empty = _empty_labels(frame, numbers)
    outside = numbers.notna() & ~((numbers >= label_range.low) & (numbers <= label_range.high))
    problems = []
    for name in numbers:
        for line, text in frame.loc[numbers[name].isna() & ~empty[name], name].items():
            message = f"{shown[name]} is “{_shorten(text)}”, not a number; leave it empty if there is no label"
            problems.append(RecordProblem(int(line), message))
        for line, text in frame.loc[outside[name], name].items():
            message = f"{shown[name]} is {_shorten(text)}, outside {label_range}; mend it, or declare the label range"
            problems.append(RecordProblem(int(line), message))
    return problems


def _unlabelled(frame: pd.DataFrame, numbers: pd.DataFrame, shown: Mapping[str, str]) -> list[RecordProblem]:
    """Rows without any label."""
    columns = ", ".join(shown[name] for name in numbers)
    lines = frame.index[_empty_labels(frame, numbers).all(axis=1)]
    return [RecordProblem(int(line), f"no label in {columns}") for line in lines]


def _empty_labels(frame: pd.DataFrame, numbers: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: frame[name].astype(str).str.casefold().isin(NO_LABEL) for name in numbers})


def _row_problems(frame: pd.DataFrame, shown: Mapping[str, str]) -> list[RecordProblem]:
    """Rows without a video or a prompt, with too long a prompt, an unknown split, or like an earlier row."""
    problems = []
    seen: dict[tuple[tuple[str, ...], str], int] = {}
    splits = frame["split"] if "split" in frame else [""] * len(frame)
    for line, name, prompt, split in zip(frame.index, frame["video"], frame["prompt"], splits, strict=True):
        messages = _row_messages(name, prompt, shown)
        if split and split.casefold() not in SPLIT_NAMES:
            messages.append(f"{shown['split']} is “{_shorten(split)}”; train or validation was expected")
        first = seen.setdefault((_parts(name), prompt_key(prompt)), line)
        if first != line and not messages:
            messages.append(f"the same video and prompt as line {first}; keep one of them")
        problems += [RecordProblem(int(line), message) for message in messages]
    return problems


def _row_messages(name: str, prompt: str | None, shown: Mapping[str, str]) -> list[str]:
    """What is wrong with the name of a video and with its prompt; None where the table has no prompts."""
    messages = []
    if not _parts(name):
        messages.append(f"{shown['video']} is {_quoted(name)}; the name of a video file was expected")
    if prompt == "":
        messages.append(f"{shown['prompt']} is empty; the text the video was made from was expected")
    if prompt and len(prompt) > MAX_PROMPT_CHARACTERS:
        messages.append(f"{shown['prompt']} has {len(prompt):,} characters; {MAX_PROMPT_CHARACTERS:,} at most")
    return messages


def _usable_rows(
    frame: pd.DataFrame, numbers: pd.DataFrame, label_range: LabelRange, problem_lines: Collection[int]
) -> Iterator[LabelRow]:
    splits = frame["split"] if "split" in frame else [""] * len(frame)
    labels = _scores(numbers, label_range)
    for line, name, prompt, split, scores in zip(
        frame.index, frame["video"], frame["prompt"], splits, labels, strict=True
    ):
        if line not in problem_lines:
            yield LabelRow(int(line), name, prompt, scores, SPLIT_NAMES.get(split.casefold()))


def _scores(numbers: pd.DataFrame, label_range: LabelRange) -> Iterator[dict[str, float]]:
    """The labels of each row as scores from 1 to 5, those there are."""
    rows = numbers.itertuples(index=False, name=None) if len(numbers.columns) else [()] * len(numbers)
    for row in rows:
        yield {
            dimension: label_range.to_score(value)
            for dimension, value in zip(numbers, row, strict=True)
            if value == value  # NaN is no label
        }


# ---- videos ----------------------------------------------------------------------------------------------------------


def match_videos(
    table: LabelTable, videos: str | Path | Sequence[str | Path], *, extract_to: str | Path | None = None
) -> RecordSet:
    """The rows of `table` whose video is in `videos`: a folder, a zip, a video file, or several of them.

    A row names a file with or without its folders and its extension; letter case decides only between several.
    From a zip, the files that the table names are extracted into a new folder in `extract_to`.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    files, where = _list_sources(videos, [row.name for row in table.rows], extract_to)
    return _match(table, files, where)


def find_videos(
    names: Iterable[str], videos: str | Path | Sequence[str | Path], *, extract_to: str | Path | None = None
) -> dict[str, Path | RecordError]:
    """For each of `names`, as a table may write it, its one file in `videos` (see `match_videos`) or why there is none.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    names = list(dict.fromkeys(names))
    files, where = _list_sources(videos, names, extract_to)
    listing = _Listing(files)
    answers: dict[str, Path | RecordError] = {}
    for name in names:
        found = listing.find(name)
        answers[name] = found[0] if len(found) == 1 else RecordError(_match_problem(name, found, where))
    named = {name: file for name, file in answers.items() if isinstance(file, Path)}
    return answers | {name: RecordError(message) for name, message in _clashes(named.items()).items()}


def list_videos(videos: Sequence[str | Path], *, extract_to: str | Path | None = None) -> list[Path]:
    """Each of the files `videos`; in place of a folder or a zip the videos in it (see `match_videos`).

    Raises:
        RecordError: if one is missing, or a zip is damaged, hostile or too large.
    """
    found = [(Path(source), _list_source(Path(source), None, extract_to)) for source in videos]
    return [
        file
        for source, files in found
        for _, file in files
        if file == source or file.name.lower().endswith(VIDEO_SUFFIXES)
    ]


def _list_sources(
    videos: str | Path | Sequence[str | Path], names: Sequence[str], extract_to: str | Path | None
) -> tuple[list[tuple[str, Path]], str]:
    """(path within its source, file) of all sources, and what to call them."""
    sources = [Path(videos)] if isinstance(videos, str | Path) else [Path(each) for each in videos]
    files = [file for source in sources for file in _list_source(source, names, extract_to)]
    return files, ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")


def _match(table: LabelTable, files: Iterable[tuple[str, Path]], where: str) -> RecordSet:
    """The rows of `table` with the one file of `files` (path in the source, file) that each names; none is opened."""
    listing = _Listing(files)
    records: list[VideoRecord] = []
    problems = list(table.problems)
    for row in table.rows:
        found = listing.find(row.name)
        if len(found) == 1:
            records.append(VideoRecord(row.name, found[0], row.prompt, row.labels, row.line, row.split))
        else:
            problems.append(RecordProblem(row.line, _match_problem(row.name, found, where)))
    clashes = _clashes((record.name, record.video) for record in records)
    doubtful = [RecordProblem(each.line, clashes[each.name]) for each in records if each.name in clashes]
    doubtful += _same_file_twice(records)
    lines = {problem.line for problem in doubtful}
    return RecordSet(
        records=tuple(record for record in records if record.line not in lines),
        problems=_by_line(problems + doubtful),
        label_range=table.label_range,
        num_rows=table.num_rows,
        notes=table.notes,
    )


def check_videos(records: RecordSet, *, on_progress: OnProgress | None = None) -> RecordSet:
    """`records` without those whose file cannot be read as a video; each file is scanned and two frames decoded.

    `on_progress` is called with (files done, files in all); what it raises ends the check.
    """
    files = list(dict.fromkeys(record.video for record in records.records))
    errors: dict[Path, str] = {}
    pool = ThreadPoolExecutor(CHECK_THREADS)
    try:
        for done, (file, error) in enumerate(zip(files, pool.map(_video_error, files), strict=True), start=1):
            if error is not None:
                errors[file] = error
            if on_progress is not None:
                on_progress(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    unreadable = [RecordProblem(each.line, errors[each.video]) for each in records.records if each.video in errors]
    return dataclasses.replace(
        records,
        records=tuple(record for record in records.records if record.video not in errors),
        problems=_by_line([*records.problems, *unreadable]),
    )


def _video_error(path: Path) -> str | None:
    from vjepa_demo.media.video import load_clip  # loads torch: not for a page that shows a table

    try:
        load_clip(path, CHECKED_FRAMES)
    except VideoError as error:
        return str(error)
    return None


class _Listing(Generic[File]):
    """Files by the names that a table may give them."""

    def __init__(self, files: Iterable[tuple[str, File]]) -> None:
        """`files` are (path with /, what stands for the file)."""
        self._found: dict[tuple[bool, bool, str], list[tuple[tuple[str, ...], File]]] = defaultdict(list)
        for path, file in files:
            for ignore_case in (False, True):
                parts = _parts(path, ignore_case)
                self._found[ignore_case, False, parts[-1]].append((parts, file))
                if path.casefold().endswith(VIDEO_SUFFIXES):
                    stem = (*parts[:-1], PurePosixPath(parts[-1]).stem)
                    self._found[ignore_case, True, stem[-1]].append((stem, file))

    def find(self, name: str) -> list[File]:
        """The files that `name` can mean: one, none, or too many."""
        for ignore_case in (False, True):
            wanted = _parts(name, ignore_case)
            if not wanted:
                return []
            for without_extension in (False, True):
                found = [
                    (parts, file)
                    for parts, file in self._found.get((ignore_case, without_extension, wanted[-1]), ())
                    if _same_tail(parts, wanted)
                ]
                exact = [pair for pair in found if pair[0] == wanted]
                if found:
                    return [file for _, file in exact or found]
        return []


def _parts(path: str, ignore_case: bool = False) -> tuple[str, ...]:
    """Folders and name of a path as somebody wrote it, on whatever system; `.` and `..` left out."""
    path = unicodedata.normalize("NFC", path).replace("\\", "/")  # macOS takes letters and accents apart
    path = path.casefold() if ignore_case else path
    return tuple(part for part in path.split("/") if part not in ("", ".", ".."))


def _same_tail(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the shorter path is the end of the longer one."""
    return all(left == right for left, right in zip(reversed(one), reversed(other), strict=False))


def _list_source(
    source: Path, names: Sequence[str] | None, extract_to: str | Path | None
) -> Iterator[tuple[str, Path]]:
    """(path within the source, file) of what `source` holds; of a zip, the videos `names` (None: all) are extracted."""
    if source.is_file() and source.suffix.lower() == ".zip":
        if extract_to is None:
            raise ValueError("videos in a zip need a folder to extract them to: pass extract_to")
        Path(extract_to).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{source.stem}-", dir=extract_to))
        extract_videos(source, folder, wanted=names)
        source = folder
    elif source.suffix.lower() in ARCHIVE_SUFFIXES:
        raise RecordError(f"{source.name} is an archive that is not opened; pack the videos as a zip")
    elif source.is_file():
        yield source.name, source
        return
    elif not source.is_dir():
        raise RecordError(f"{source}: no such file or folder; a folder, a zip or video files were expected")
    for folder_name, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            if not is_hidden(name):
                file = Path(folder_name, name)
                yield file.relative_to(source).as_posix(), file


def _match_problem(name: str, found: Sequence[Path], where: str) -> str:
    if not found:
        return f"no video “{_shorten(name)}” in {where}"
    shown = ", ".join("/".join(file.parts[-2:]) for file in found[:3]) + (", ..." if len(found) > 3 else "")
    return f"“{_shorten(name)}” can mean {len(found)} videos ({shown}); write the folder and the extension too"


def _clashes(named: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """By name what is wrong with (name, file) where names in different folders have one file between them, as when
    folders were lost."""
    by_file: dict[Path, set[str]] = defaultdict(set)
    for name, file in named:
        by_file[file].add(name)
    problems: dict[str, str] = {}
    for file, sharing in by_file.items():
        folders = sorted({_parts(name, ignore_case=True)[:-1] for name in sharing}, key=len)
        if not all(_same_tail(shorter, longer) for shorter, longer in pairwise(folders)):
            names = ", ".join(sorted(sharing)[:3])
            message = f"{names} are different videos, but only {file.name} was found for them; keep their folders"
            problems |= dict.fromkeys(sharing, message)
    return problems


def _same_file_twice(records: Sequence[VideoRecord]) -> list[RecordProblem]:
    """Rows that name the file of an earlier row differently, with the same prompt."""
    seen: dict[tuple[Path, str], int] = {}
    problems = []
    for record in records:
        first = seen.setdefault((record.video, record.prompt_key), record.line)
        if first != record.line:
            problems.append(RecordProblem(record.line, f"the same video and prompt as line {first}; keep one of them"))
    return problems


# ---- zips ------------------------------------------------------------------------------------------------------------


def _limits_for(folder: Path) -> ZipLimits:
    """The limits of a zip of videos, and at most half of the disk that is free."""
    room = shutil.disk_usage(folder).free // 2
    return dataclasses.replace(VIDEO_ZIP_LIMITS, total_bytes=min(VIDEO_ZIP_LIMITS.total_bytes, room))


def extract_videos(zip_path: str | Path, folder: str | Path, *, wanted: Iterable[str] | None) -> tuple[Path, ...]:
    """Extract the videos that `wanted` names, as a table may name them, or all (None), into the new or empty `folder`.

    Returns the files. All of them or none: nothing half-written is left. Nothing else of the zip is read, archives
    inside it are never opened, and the limits of config.py hold for the bytes that come out, whatever the zip declares.

    Raises:
        RecordError: if the zip is damaged, encrypted or too large, or holds links or paths that lead out of it.
    """
    folder = Path(folder)
    try:
        with new_folder(folder) as partial:
            files = extract_zip(
                zip_path, partial, lambda paths: _wanted_files(paths, wanted), limits=_limits_for(partial)
            )
    except ArchiveError as error:
        raise RecordError(str(error)) from error
    return tuple(folder / file.relative_to(partial) for file in files)


def _wanted_files(paths: Sequence[str], wanted: Iterable[str] | None) -> dict[str, str]:
    """Those of a zip's `paths` that `wanted` names (None: all videos); a zip is extracted with the paths it has."""
    videos = [(path, path) for path in paths if path.lower().endswith(VIDEO_SUFFIXES) and not is_hidden(path)]
    if not videos:
        nested = any(path.lower().endswith(ARCHIVE_SUFFIXES) for path in paths)
        raise ArchiveError(" holds no videos" + ("; archives inside it are not opened: unpack them" if nested else ""))
    if wanted is None:
        return dict(videos)
    listing = _Listing(videos)
    return {path: path for name in wanted for path in listing.find(name)}


# ---- splits ----------------------------------------------------------------------------------------------------------


def split_records(records: Iterable[VideoRecord], *, validation_fraction: float, seed: int) -> Split:
    """Clips to train on and to validate on, in the order they came in; no prompt is on both sides.

    About `validation_fraction` of the clips are for validation, whole prompts at a time. Which ones depends on the
    prompts and `seed` alone, not on the order of the rows. A `split` column, where there is one, is honoured instead.

    Raises:
        RecordError: if nothing is left to train on.
    """
    records = tuple(records)
    if not 0 <= validation_fraction < 1:
        raise RecordError(f"the validation fraction is {validation_fraction:g}; 0 to below 1 was expected, such as 0.2")
    if any(record.split for record in records):
        split = _given_split(records)
    else:
        split = _split_by_prompt(records, validation_fraction, seed)
    if not split.train:
        raise RecordError(
            "no clip is left to train on: " + ("all are marked validation" if records else "no row can be used")
        )
    return split


def _given_split(records: Sequence[VideoRecord]) -> Split:
    """As the `split` column says; rows without an entry are for training."""
    validation = tuple(record for record in records if record.split == "validation")
    train = tuple(record for record in records if record.split != "validation")
    warnings = []
    if unassigned := sum(record.split is None for record in records):
        warnings.append(f"{_count(unassigned, 'row')} with an empty split column: used for training.")
    if shared := {record.prompt_key for record in train} & {record.prompt_key for record in validation}:
        leaked = sum(record.prompt_key in shared for record in validation)
        warnings.append(
            f"{_count(leaked, 'validation clip')} of {len(validation):,} have a prompt that is also in training, such "
            f"as “{_shorten(min(shared))}”: the metrics will look better than they are on new prompts."
        )
    if len(validation) < MIN_VALIDATION_CLIPS:
        warnings.append(
            f"The split column marks {_count(len(validation), 'clip')} for validation; at least "
            f"{MIN_VALIDATION_CLIPS} are needed for metrics, so none are reported. Mark more, or remove the column."
        )
        validation = ()
    return Split(train, validation, tuple(warnings))


def _split_by_prompt(records: Sequence[VideoRecord], fraction: float, seed: int) -> Split:
    if fraction == 0:
        return Split(tuple(records), (), ("No clips are kept for validation, so no metrics are reported.",))
    chosen = _validation_prompts(records, fraction, seed)
    validation = tuple(record for record in records if record.prompt_key in chosen)
    if len(validation) < MIN_VALIDATION_CLIPS:
        prompts = len({record.prompt_key for record in records})
        return Split(
            tuple(records),
            (),
            (
                f"Too few rows for a validation set: {_count(len(records), 'clip')} with {_count(prompts, 'prompt')} "
                f"leave {len(validation)} of the {MIN_VALIDATION_CLIPS} that are needed. "
                "All are used for training, and no metrics are reported.",
            ),
        )
    return Split(tuple(record for record in records if record.prompt_key not in chosen), validation)


def _validation_prompts(records: Sequence[VideoRecord], fraction: float, seed: int) -> set[str]:
    """Prompts, drawn by a hash of seed and prompt, whose clips come nearest to `fraction` of all; never all of them."""
    sizes: dict[str, int] = defaultdict(int)
    for record in records:
        sizes[record.prompt_key] += 1
    target, count = fraction * len(records), 0
    chosen: set[str] = set()
    for key in sorted(sizes, key=lambda key: sha256(f"{seed}\n{key}".encode()).digest()):
        nearer = abs(count + sizes[key] - target) < abs(count - target)
        if nearer and len(chosen) + 1 < len(sizes):
            chosen.add(key)
            count += sizes[key]
    return chosen


# ---- what goes out ---------------------------------------------------------------------------------------------------


def summarise(records: RecordSet) -> RecordSummary:
    """Counts and label histograms of what will be used, for the person who decides."""
    used = records.records
    return RecordSummary(
        num_rows=records.num_rows,
        num_used=len(used),
        num_videos=len({record.video for record in used}),
        num_prompts=len({record.prompt_key for record in used}),
        num_train=sum(record.split == "train" for record in used),
        num_validation=sum(record.split == "validation" for record in used),
        num_unassigned=sum(record.split is None for record in used),
        label_range=records.label_range,
        dimensions=tuple(_summarise_labels(name, used) for name in records.dimensions),
    )


def _summarise_labels(dimension: str, records: Sequence[VideoRecord]) -> DimensionSummary:
    labels = [record.labels[dimension] for record in records if dimension in record.labels]
    width = (SCORE_MAX - SCORE_MIN) / HISTOGRAM_BINS
    histogram = [0] * HISTOGRAM_BINS
    for label in labels:
        histogram[min(int((label - SCORE_MIN) / width), HISTOGRAM_BINS - 1)] += 1  # 5 belongs to the last bin
    return DimensionSummary(dimension, len(labels), sum(labels) / len(labels), tuple(histogram))


def write_labels(path: str | Path, records: Iterable[VideoRecord]) -> None:
    """Write `records` as a CSV with the columns of TaobaoVD-GC, whole or not at all; scores are from 1 to 5.

    A `split` column is added where a record has a split. Cells that a spreadsheet would run as a formula get an
    apostrophe, which `read_labels` takes away again.
    """
    path, records = Path(path), list(records)
    table = pd.DataFrame(
        {
            "video_name": [as_text(record.name) for record in records],
            "Prompt": [as_text(record.prompt) for record in records],
            **{f"{name}_MOS": [record.labels.get(name) for record in records] for name in DIMENSIONS},
        }
    )
    if any(record.split for record in records):
        table["split"] = [record.split for record in records]
    with replacing(path) as file:
        table.to_csv(file, index=False, lineterminator="\r\n")  # RFC 4180; with "\n" a "\r" is not quoted


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that becomes `path` at the end of the block, on disk and whole; or not at all, on an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def as_text(cell: str) -> str:
    """`cell` with an apostrophe where a spreadsheet would not show it as it is: a formula, and a text such as +1."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def as_cell(cell: str) -> str:
    """`as_text` of a cell that may be a number, as it comes: -3.5 stays one, and so does a dash for no value."""
    return cell if NUMBER.fullmatch(cell) or cell == "-" else as_text(cell)


def as_written(cell: str) -> str:
    """`cell` before `as_text`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _by_line(problems: Iterable[RecordProblem]) -> tuple[RecordProblem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _shorten(text: str, characters: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def _quoted(text: str) -> str:
    return f"“{_shorten(text.replace(chr(0), '?'))}”" if text.strip() else "empty"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
