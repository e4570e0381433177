"""A table becomes rows with labels: its columns found, the range of its labels detected, its problems by line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from vjepa_demo.config import DIMENSIONS, MAX_PROMPT_CHARACTERS, SCORE_MAX, SCORE_MIN
from vjepa_demo.data.cells import NUMBER, path_parts, plain
from vjepa_demo.data.columns import NO_DIMENSION, columns_shown, find_columns, named_columns
from vjepa_demo.data.sheet import read_sheet
from vjepa_demo.schema import LabelRange, RecordError, RecordProblem, SplitName
from vjepa_demo.wording import counted, shortened

SPLIT_NAMES: Mapping[str, SplitName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "eval", "test", "testing"), "validation"),
}
NO_LABEL = ("", "nan", "na", "n/a", "#n/a", "null", "none", "-")

# The first range that holds nearly all labels is taken: one typing error must not turn 1 to 5 into 0 to 100. Labels
# outside it are reported by line.
DETECTED_RANGES = ((1.0, 5.0), (0.0, 1.0), (0.0, 5.0), (1.0, 10.0), (0.0, 10.0), (0.0, 100.0))
DETECTED_SHARE = 0.95
ENOUGH_LABELS = 20  # for the highest of them to say something about the range

Comma = Literal["decimal", "thousands"]  # what a comma in a label means
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")
MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")


@dataclass(frozen=True)
class Table:
    """A table as text: `rows` are (line, stripped cells), and may be longer or shorter than the header.

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
    """A row that can be used once its video is found. Labels are scores from 1 to 5, in the order of `DIMENSIONS`.

    `rater` is who gave them, as a column of raters says.
    """

    line: int
    name: str
    prompt: str
    labels: dict[str, float]
    split: SplitName | None = None
    rater: str = ""


@dataclass(frozen=True)
class LabelTable:
    """A labelled table of `num_rows` rows: the rows that can be used, and the problems of the others.

    Rows of one video and prompt are ratings of one clip. `notes` are sentences for the person: what was guessed and
    what was ignored.
    """

    rows: tuple[LabelRow, ...]
    problems: tuple[RecordProblem, ...]
    label_range: LabelRange
    num_rows: int
    notes: tuple[str, ...] = ()


def read_labels(path: str | Path, *, label_range: tuple[float, float] | None = None) -> LabelTable:
    """The rows of a table with a video, a prompt and at least one label each, and the problems of the others.

    `label_range` declares the (lowest, highest) possible label; without it, one of `DETECTED_RANGES` is detected.
    Labels are mapped linearly from it to 1..5. An empty label is no label.

    Raises:
        RecordError: if `read_table` does, if the labels fit no known range, or if nothing says what a comma in them is.
    """
    table = read_table(path, required=("video", "prompt", "labels"))
    frame, problems = _as_frame(table)
    numbers, chosen, number_notes = _read_numbers(table.path, frame, _declared(label_range))
    problems += _label_problems(frame, numbers, chosen, table.shown)
    columns = ", ".join(table.shown[name] for name in numbers)
    unlabelled = frame.index[_is_empty(frame, numbers).all(axis=1)]
    problems += [RecordProblem(int(line), f"no label in {columns}") for line in unlabelled]
    splits, raters = (frame[field] if field in frame else [""] * len(frame) for field in ("split", "rater"))
    for line, name, prompt, split in zip(frame.index, frame["video"], frame["prompt"], splits, strict=True):
        messages = row_messages(name, prompt, table.shown)
        if split and split.casefold() not in SPLIT_NAMES:
            messages.append(f"{table.shown['split']} is “{shortened(split)}”; train or validation was expected")
        problems += [RecordProblem(int(line), message) for message in messages]
    unusable = {problem.line for problem in problems}
    rows = zip(frame.index, frame["video"], frame["prompt"], _scores(numbers, chosen), splits, raters, strict=True)
    others = [name for index, name in enumerate(table.header) if index not in table.fields.values()]
    ignored = [name or "(no name)" for name in others if plain(name) not in NO_DIMENSION]  # those have their note
    return LabelTable(
        rows=tuple(
            LabelRow(int(line), name, prompt, scores, SPLIT_NAMES.get(split.casefold()), rater)
            for line, name, prompt, scores, split, rater in rows
            if line not in unusable
        ),
        problems=by_line(problems),
        label_range=chosen,
        num_rows=len(table.rows),
        notes=(
            *table.notes,
            *([f"Ignored columns: {columns_shown(ignored)}."] if ignored else []),
            *number_notes,
            *_range_notes(numbers, chosen),
        ),
    )


def read_table(path: str | Path, *, required: Collection[str]) -> Table:
    """The text of a table (a CSV, TSV, JSON, JSONL, Parquet file or XLSX) and the columns it has.

    `required` names columns that it must have: "video", "prompt", "labels" (of at least one dimension). Two columns
    that could each be the video or the prompt are refused; so are those of a dimension where labels are required.

    Raises:
        RecordError: if the file cannot be read (see `read_sheet`), holds no rows, or lacks a required column.
    """
    path = Path(path)
    sheet = read_sheet(path)
    header, rows, notes = sheet.rows[0][1], sheet.rows[1:], sheet.notes
    if not sheet.is_named:
        header, rows, told = named_columns(path.name, sheet.rows, required)
        notes = (*notes, *told)
    fields, found = find_columns(path.name, header, required)
    return Table(path, header, rows, fields, (*notes, *found))


def row_problems(table: Table) -> dict[int, str]:
    """By line, why a row cannot be scored: a wrong number of cells, no video, no usable prompt. Labels do not count."""
    frame, problems = _as_frame(table)
    found = {problem.line: problem.message for problem in problems}
    prompts = frame["prompt"] if "prompt" in frame else [None] * len(frame)
    for line, name, prompt in zip(frame.index, frame["video"], prompts, strict=True):
        if messages := row_messages(name, prompt, table.shown):
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
    try:
        numbers, chosen, number_notes = _read_numbers(table.path, frame, declared)
    except RecordError as error:
        return {}, (f"Labels are left out: {error}.",)
    usable = numbers.where((numbers >= chosen.low) & (numbers <= chosen.high))
    labels = dict(zip(map(int, frame.index), _scores(usable, chosen), strict=True))
    notes = [*number_notes, *_range_notes(usable, chosen)]
    if problems := by_line(_label_problems(frame, numbers, chosen, table.shown)):
        shown = "; ".join(map(str, problems[:3])) + ("; ..." if len(problems) > 3 else "")
        notes.append(f"{counted(len(problems), 'label')} left out: {shown}.")
    return labels, tuple(notes)


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


def _as_frame(table: Table) -> tuple[pd.DataFrame, list[RecordProblem]]:
    """The known columns as text, indexed by line, and the problems of rows with another width than the header's."""
    kept, problems = {}, []
    width = len(table.header)
    for line, cells in table.rows:
        if len(cells) >= width and not any(cells[width:]):
            kept[line] = [cells[index] for index in table.fields.values()]
            continue
        problems.append(RecordProblem(line, wrong_width(len(cells), width)))
    frame = pd.DataFrame(list(kept.values()), index=list(kept), columns=list(table.fields), dtype=object)
    return frame, problems


def _read_numbers(
    path: Path, frame: pd.DataFrame, declared: LabelRange | None
) -> tuple[pd.DataFrame, LabelRange, list[str]]:
    """The labels of each dimension that has a column (float64, NaN where there is no label or no number), their range,
    and notes. Where all commas stand before three digits, only a declared range can say whether “1,200” is 1.2.

    Raises:
        RecordError: if nothing says so, or if the labels fit no known range.
    """
    text = frame[[name for name in DIMENSIONS if name in frame]].astype(str)
    commas = [cell for cell in text.to_numpy().ravel() if "," in cell]
    decimal = any(DECIMAL_COMMA.fullmatch(cell) and not MAYBE_THOUSANDS.fullmatch(cell) for cell in commas)
    thousands = any(THOUSANDS.fullmatch(cell) and not MAYBE_THOUSANDS.fullmatch(cell) for cell in commas)
    unclear = next(filter(MAYBE_THOUSANDS.fullmatch, commas), None)
    if decimal or thousands or unclear is None:
        numbers = _label_numbers(text, "thousands" if thousands and not decimal else "decimal")
        return numbers, declared or _detect_range(path, numbers), []
    readings: dict[Comma, pd.DataFrame] = {comma: _label_numbers(text, comma) for comma in ("decimal", "thousands")}
    values = [_label_numbers(pd.DataFrame([unclear]), comma).iat[0, 0] for comma in readings]
    inside = [0, 0]
    if declared:
        each_inside = ((numbers >= declared.low) & (numbers <= declared.high) for numbers in readings.values())
        inside = [int(each.sum().sum()) for each in each_inside]
    if declared is None or inside[0] == inside[1]:
        doubt = f", and the label range {declared} does not say which" if declared else ""
        raise RecordError(
            f"{path.name}: “{unclear}” can be {values[0]:g} or {values[1]:g}{doubt}; declare the label range, such as "
            "1 to 5, or write the labels without commas"
        )
    comma: Comma = "decimal" if inside[0] > inside[1] else "thousands"
    note = f"“{unclear}” is read as {values[comma == 'thousands']:g}: the label range {declared} says so."
    return readings[comma], declared, [note]


def _label_numbers(text: pd.DataFrame, comma: Comma) -> pd.DataFrame:
    """`text` as float64; NaN where there is no number."""
    if comma == "decimal":
        text = text.replace(rf"^{DECIMAL_COMMA.pattern}$", r"\1.\2", regex=True)  # 3,5 is three and a half
    else:
        text = text.map(lambda cell: cell.replace(",", "") if THOUSANDS.fullmatch(cell) else cell)
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
        notes.append(
            f"Labels run from {low:g} to {high:g}: read as {label_range}, mapped linearly to 1 to 5. If the scale was "
            "another, such as 1 to 7, declare the label range."
        )
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


def wrong_width(num_cells: int, width: int) -> str:
    """The problem of a row with another number of cells than the header's `width`."""
    return f"{counted(num_cells, 'cell')}, but the header has {width}; put a prompt with separators in quotes"


def row_messages(name: str, prompt: str | None, shown: Mapping[str, str]) -> list[str]:
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
