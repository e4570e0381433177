"""A CSV or TSV becomes rows with labels: columns found, ranges detected, problems told by line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
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
from vjepa_demo.wording import counted, shortened


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
        problems=by_line(problems),
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
    problems = by_line(_label_problems(frame, numbers, chosen, table.shown))
    usable = numbers.where((numbers >= chosen.low) & (numbers <= chosen.high))
    labels = dict(zip(map(int, frame.index), _scores(usable, chosen), strict=True))
    return labels, (*_range_notes(usable, chosen), *_left_out_note(problems))


def _left_out_note(problems: Sequence[RecordProblem]) -> list[str]:
    if not problems:
        return []
    shown = "; ".join(map(str, problems[:3])) + ("; ..." if len(problems) > 3 else "")
    return [f"{counted(len(problems), 'label')} left out: {shown}."]


def added_columns(header: Iterable[str]) -> tuple[str, ...]:
    """The columns that scoring adds to a table with the columns `header`: five scores, then `unknown_words`,
    `not_meaningful`, `error` and `scored_by`; a name that is taken gets a number."""
    taken = {name.casefold() for name in header}
    endings = ("", "_score", *(f"_score_{number}" for number in range(2, len(taken) + 3)))
    scores = ([f"{name}{ending}" for name in DIMENSIONS] for ending in endings)
    free = next(names for names in scores if not taken & {name.casefold() for name in names})
    return *free, *(_free_name(name, taken) for name in ("unknown_words", "not_meaningful", "error", "scored_by"))


def _free_name(name: str, taken: Collection[str]) -> str:
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _score_columns(header: Sequence[str]) -> set[int]:
    """Where scores stand that `added_columns` named: what a model said is no label."""
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
                    f"{counted(len(cells), 'cell')}, but the header has {width}; "
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
            message = f"{shown[name]} is “{shortened(text)}”, not a number; leave it empty if there is no label"
            problems.append(RecordProblem(int(line), message))
        for line, text in frame.loc[outside[name], name].items():
            message = f"{shown[name]} is {shortened(text)}, outside {label_range}; mend it, or declare the label range"
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
            messages.append(f"{shown['split']} is “{shortened(split)}”; train or validation was expected")
        first = seen.setdefault((path_parts(name), prompt_key(prompt)), line)
        if first != line and not messages:
            messages.append(f"the same video and prompt as line {first}; keep one of them")
        problems += [RecordProblem(int(line), message) for message in messages]
    return problems


def _row_messages(name: str, prompt: str | None, shown: Mapping[str, str]) -> list[str]:
    """What is wrong with the name of a video and with its prompt; None where the table has no prompts."""
    messages = []
    if not path_parts(name):
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


def by_line(problems: Iterable[RecordProblem]) -> tuple[RecordProblem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line))


def _quoted(text: str) -> str:
    return f"“{shortened(text.replace(chr(0), '?'))}”" if text.strip() else "empty"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
