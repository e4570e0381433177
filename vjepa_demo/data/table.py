"""A CSV or TSV becomes rows with labels: its columns found, the range of its labels detected, its problems by line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import pandas as pd

from vjepa_demo.config import (
    DIMENSIONS,
    MAX_CELL_CHARACTERS,
    MAX_PROMPT_CHARACTERS,
    MAX_TABLE_BYTES,
    SCORE_MAX,
    SCORE_MIN,
)
from vjepa_demo.data.cells import NUMBER, as_written, path_parts, plain
from vjepa_demo.schema import LabelRange, RecordError, RecordProblem, SplitName, prompt_key
from vjepa_demo.wording import counted, listed, shortened


def _label_column_names(dimension: str) -> tuple[str, ...]:
    name = dimension.lower()
    names = (f"{name}mos", name, f"{name}score", f"{name}label", f"{name}rating", f"{name}quality", f"mos{name}")
    return (*names, "mos") if dimension == "Overall" else names


# How a table may call its columns, in any case and with any punctuation. Of several columns the first name wins.
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

# The first range that holds nearly all labels is taken: one typing error must not turn 1 to 5 into 0 to 100. Labels
# outside it are reported by line.
DETECTED_RANGES = ((1.0, 5.0), (0.0, 1.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0))
DETECTED_SHARE = 0.95
ENOUGH_LABELS = 20  # for the highest of them to say something about the range


@dataclass(frozen=True)
class Table:
    """A CSV or TSV as text: `rows` are (line, stripped cells), and may be longer or shorter than the header.

    `fields` maps the keys of `COLUMN_NAMES` that the table has to the indices of their columns.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    fields: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, str]:
        """How the table calls the columns of `fields`."""
        return {field: self.header[index] for field, index in self.fields.items()}


@dataclass(frozen=True)
class LabelRow:
    """A row that can be used once its video is found. Labels are scores from 1 to 5, in the order of `DIMENSIONS`."""

    line: int
    name: str
    prompt: str
    labels: dict[str, float]
    split: SplitName | None = None


@dataclass(frozen=True)
class LabelTable:
    """A labelled CSV or TSV of `num_rows` rows: the rows that can be used, and the problems of the others.

    `notes` are sentences for the person: what was guessed and what was ignored.
    """

    rows: tuple[LabelRow, ...]
    problems: tuple[RecordProblem, ...]
    label_range: LabelRange
    num_rows: int
    notes: tuple[str, ...] = ()


def read_labels(csv_path: str | Path, *, label_range: tuple[float, float] | None = None) -> LabelTable:
    """The rows of a CSV or TSV with a video, a prompt and at least one label each, and the problems of the others.

    `label_range` declares the (lowest, highest) possible label; without it, one of `DETECTED_RANGES` is detected.
    Labels are mapped linearly from it to 1..5. An empty label is no label.

    Raises:
        RecordError: if the file is not UTF-8 text or lacks a column, or if its labels fit no known range.
    """
    declared = _declared(label_range)
    table = read_table(csv_path, required=("video", "prompt", "labels"))
    frame, problems = _as_frame(table)
    numbers = _label_numbers(frame)
    chosen = declared or _detect_range(table.path, numbers)
    problems += _label_problems(frame, numbers, chosen, table.shown)
    columns = ", ".join(table.shown[name] for name in numbers)
    unlabelled = frame.index[_is_empty(frame, numbers).all(axis=1)]
    problems += [RecordProblem(int(line), f"no label in {columns}") for line in unlabelled]
    splits = frame["split"] if "split" in frame else [""] * len(frame)
    seen: dict[tuple[tuple[str, ...], str], int] = {}
    for line, name, prompt, split in zip(frame.index, frame["video"], frame["prompt"], splits, strict=True):
        messages = _row_messages(name, prompt, table.shown)
        if split and split.casefold() not in SPLIT_NAMES:
            messages.append(f"{table.shown['split']} is “{shortened(split)}”; train or validation was expected")
        first = seen.setdefault((path_parts(name), prompt_key(prompt)), line)
        if first != line and not messages:
            messages.append(f"the same video and prompt as line {first}; keep one of them")
        problems += [RecordProblem(int(line), message) for message in messages]
    unusable = {problem.line for problem in problems}
    rows = zip(frame.index, frame["video"], frame["prompt"], _scores(numbers, chosen), splits, strict=True)
    ignored = [name or "(no name)" for index, name in enumerate(table.header) if index not in table.fields.values()]
    return LabelTable(
        rows=tuple(
            LabelRow(int(line), name, prompt, scores, SPLIT_NAMES.get(split.casefold()))
            for line, name, prompt, scores, split in rows
            if line not in unusable
        ),
        problems=by_line(problems),
        label_range=chosen,
        num_rows=len(table.rows),
        notes=(*([f"Ignored columns: {', '.join(ignored)}."] if ignored else []), *_range_notes(numbers, chosen)),
    )


def read_table(csv_path: str | Path, *, required: Collection[str]) -> Table:
    """The text of a CSV or TSV and the columns it has.

    `required` names columns that it must have: "video", "prompt", "labels" (of at least one dimension). Two columns
    that could each be the video or the prompt are refused; so are those of a dimension where labels are required.

    Raises:
        RecordError: if the file is not UTF-8 text, holds no rows, or lacks a required column.
    """
    path = Path(csv_path)
    text = _read_text(path)
    header, rows = _read_rows(path, text, _find_separator(text))
    fields, notes = _find_columns(path, header, required)
    return Table(path, tuple(header), tuple((line, tuple(cells)) for line, cells in rows), fields, tuple(notes))


def row_problems(table: Table) -> dict[int, str]:
    """By line, why a row cannot be scored: a wrong number of cells, no video, no usable prompt. Labels do not count."""
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
    """By line the labels that can be used, as scores from 1 to 5; and notes on the others and on the range.

    Raises:
        RecordError: if `label_range` is no range.
    """
    declared = _declared(label_range)
    frame, _ = _as_frame(table)
    numbers = _label_numbers(frame)
    try:
        chosen = declared or _detect_range(table.path, numbers)
    except RecordError as error:
        return {}, (f"Labels are left out: {error}.",)
    usable = numbers.where((numbers >= chosen.low) & (numbers <= chosen.high))
    labels = dict(zip(map(int, frame.index), _scores(usable, chosen), strict=True))
    notes = _range_notes(usable, chosen)
    if problems := by_line(_label_problems(frame, numbers, chosen, table.shown)):
        shown = "; ".join(map(str, problems[:3])) + ("; ..." if len(problems) > 3 else "")
        notes.append(f"{counted(len(problems), 'label')} left out: {shown}.")
    return labels, tuple(notes)


def added_columns(header: Iterable[str]) -> tuple[str, ...]:
    """The columns that scoring adds to a table with the columns `header`: five scores, then `unknown_words`,
    `not_meaningful`, `error` and `scored_by`; a name that is taken gets a number."""
    taken = {name.casefold() for name in header}
    endings = ("", "_score", *(f"_score_{number}" for number in range(2, len(taken) + 3)))
    scores = ([f"{name}{ending}" for name in DIMENSIONS] for ending in endings)
    free = next(names for names in scores if not taken & {name.casefold() for name in names})
    for name in ("unknown_words", "not_meaningful", "error", "scored_by"):
        numbered = (f"{name}_{number}" for number in count(2))
        free.append(next(each for each in chain([name], numbered) if each not in taken))
    return tuple(free)


def _score_columns(header: Sequence[str]) -> set[int]:
    """The indices of columns that `added_columns` named for scores: what a model predicted is no label."""
    found: set[int] = set()
    for end, name in enumerate(header):
        if not re.fullmatch(r"scored_by(_\d+)?", name):
            continue
        for others in (3, 2, 1):  # columns between the scores and this one: older versions of this program wrote fewer
            start = end - len(DIMENSIONS) - others
            names = [re.sub(r"_score(_\d+)?$", "", each) for each in header[max(start, 0) : end - others]]
            if names == list(DIMENSIONS):
                found.update(range(start, end - others))
    return found


def _declared(label_range: tuple[float, float] | None) -> LabelRange | None:
    """The range that was declared, if one was.

    Raises:
        RecordError: if it does not go from a lower number to a higher one.
    """
    if label_range is None:
        return None
    low, high = label_range
    if not (-float("inf") < low < high < float("inf")):
        raise RecordError(f"the label range is {low:g} to {high:g}; the lowest label comes first, such as 0 to 100")
    return LabelRange(low, high, declared=True)


def _read_text(path: Path) -> str:
    """The file's text, from UTF-8, or from UTF-16 as in Excel's "Unicode text"; no other encoding is guessed."""
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
    """The separator that finds the most known columns in the header, and then the most columns."""
    first = next((line for line in text.splitlines() if line.strip()), "")

    def columns(separator: str) -> tuple[int, int]:
        header = next(csv.reader([first], delimiter=separator), [])
        known = {plain(name) for name in header} & {name for names in COLUMN_NAMES.values() for name in names}
        return len(known), len(header)

    return max(SEPARATORS, key=columns)


def _read_rows(path: Path, text: str, separator: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with the line on which it begins. Cells are stripped."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            cells = [as_written(cell).strip() for cell in cells]
            longest = max(map(len, cells), default=0)
            if longest > MAX_CELL_CHARACTERS:
                raise RecordError(
                    f"{path.name}: the row that begins on line {line} has a cell of {longest:,} characters; "
                    f"{MAX_CELL_CHARACTERS:,} at most: shorten it, or look for a quote that is not closed"
                )
            if longest:
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise RecordError(
            f"{path.name}: the row that begins on line {line} cannot be read ({error}); "
            "a cell that begins with a quote must end with one, and quotes inside are doubled"
        ) from error
    if len(rows) < 2:
        raise RecordError(f"{path.name} holds no rows; a header and at least one row were expected")
    return rows[0][1], rows[1:]


def _find_columns(path: Path, header: Sequence[str], required: Collection[str]) -> tuple[dict[str, int], list[str]]:
    """The index of the column for each key of `COLUMN_NAMES` that has one; and notes on labels in several columns."""
    found: dict[str, int] = {}
    problems: list[str] = []
    notes: list[str] = []
    scores = _score_columns(header)
    for field, names in COLUMN_NAMES.items():
        candidates = [index for index, column in enumerate(header) if plain(column) in names and index not in scores]
        first = [index for index in candidates if plain(header[index]) == names[0]]
        chosen = first or candidates
        if len(chosen) > 1:
            columns = listed([f"“{header[index]}”" for index in chosen])
            needed = field in ("video", "prompt") or "labels" in required
            (problems if needed else notes).append(f"The columns {columns} could each be the {field}: keep one")
        elif chosen:
            found[field] = chosen[0]
        elif field in required:
            problems.append(f"No column for the {field}: call it {'video_name' if field == 'video' else 'Prompt'}")
    if not problems and "labels" in required and not found.keys() & set(DIMENSIONS):
        wanted = ", ".join(f"{name}_MOS" for name in DIMENSIONS)
        problems.append(f"No column of labels: at least one of {wanted} was expected")
    if problems:
        raise RecordError(f"{path.name} has the columns {', '.join(header)}. " + ". ".join(problems))
    return found, [f"{note}." for note in notes]


def _as_frame(table: Table) -> tuple[pd.DataFrame, list[RecordProblem]]:
    """The known columns as text, indexed by line, and the problems of rows with another width than the header's."""
    kept, problems = {}, []
    width = len(table.header)
    for line, cells in table.rows:
        if len(cells) >= width and not any(cells[width:]):
            kept[line] = [cells[index] for index in table.fields.values()]
            continue
        message = f"{counted(len(cells), 'cell')}, but the header has {width}; put a prompt with separators in quotes"
        problems.append(RecordProblem(line, message))
    frame = pd.DataFrame(list(kept.values()), index=list(kept), columns=list(table.fields), dtype=object)
    return frame, problems


def _label_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The labels of each dimension that has a column, float64; NaN where there is no label or no number."""
    text = frame[[name for name in DIMENSIONS if name in frame]].astype(str)
    text = text.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)  # 3,5 is three and a half
    is_number = text.apply(lambda column: column.str.fullmatch(NUMBER).astype(bool))
    return text.where(is_number).apply(pd.to_numeric, errors="coerce").astype("float64")


def _detect_range(path: Path, numbers: pd.DataFrame) -> LabelRange:
    labels = pd.Series(numbers.to_numpy().ravel()).dropna()
    if labels.empty:
        return LabelRange()
    for low, high in DETECTED_RANGES:
        if labels.between(low, high).mean() >= DETECTED_SHARE:
            return LabelRange(low, high)
    known = ", ".join(str(LabelRange(*each)) for each in DETECTED_RANGES)
    raise RecordError(
        f"{path.name}: the labels run from {labels.min():g} to {labels.max():g}, "
        f"which fits none of the ranges {known}; declare the label range"
    )


def _range_notes(numbers: pd.DataFrame, label_range: LabelRange) -> list[str]:
    """What a person must know before they trust a range that was detected."""
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


def _label_problems(
    frame: pd.DataFrame, numbers: pd.DataFrame, label_range: LabelRange, shown: Mapping[str, str]
) -> list[RecordProblem]:
    """Labels that are no number or lie outside the range."""
    empty = _is_empty(frame, numbers)
    outside = numbers.notna() & ~((numbers >= label_range.low) & (numbers <= label_range.high))
    problems = []
    for name in numbers:
        for line, text in frame.loc[numbers[name].isna() & ~empty[name], name].items():
            message = f"{shown[name]} is “{shortened(text)}”, not a number; leave it empty if there is no label"
            problems.append(RecordProblem(int(line), message))
        for line, text in frame.loc[outside[name], name].items():
            message = (
                f"{shown[name]} is {shortened(text)}, outside {label_range}; correct it, or declare the label range"
            )
            problems.append(RecordProblem(int(line), message))
    return problems


def _is_empty(frame: pd.DataFrame, numbers: pd.DataFrame) -> pd.DataFrame:
    """Whether each cell of `numbers` says that there is no label."""
    return pd.DataFrame({name: frame[name].astype(str).str.casefold().isin(NO_LABEL) for name in numbers})


def _row_messages(name: str, prompt: str | None, shown: Mapping[str, str]) -> list[str]:
    """What is wrong with the name of a video and with its prompt (None where the table has no prompts)."""
    messages = []
    if not path_parts(name):
        given = f"“{shortened(name.replace(chr(0), '?'))}”" if name.strip() else "empty"
        messages.append(f"{shown['video']} is {given}; the name of a video file was expected")
    if prompt == "":
        messages.append(f"{shown['prompt']} is empty; the text the video was made from was expected")
    if prompt and len(prompt) > MAX_PROMPT_CHARACTERS:
        messages.append(f"{shown['prompt']} has {len(prompt):,} characters; {MAX_PROMPT_CHARACTERS:,} at most")
    return messages


def _scores(numbers: pd.DataFrame, label_range: LabelRange) -> Iterator[dict[str, float]]:
    """The labels that each row has, as scores from 1 to 5."""
    rows = numbers.itertuples(index=False, name=None) if len(numbers.columns) else [()] * len(numbers)
    for row in rows:
        yield {
            dimension: label_range.to_score(value)
            for dimension, value in zip(numbers, row, strict=True)
            if value == value  # NaN is no label
        }


def by_line(problems: Iterable[RecordProblem]) -> tuple[RecordProblem, ...]:
    """`problems` in the order of their lines."""
    return tuple(sorted(problems, key=lambda problem: problem.line))
