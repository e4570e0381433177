"""A file becomes rows of text cells, whatever its format: CSV, TSV, JSON, JSONL, Parquet or XLSX."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from vjepa_demo.config import MAX_CELL_CHARACTERS, MAX_TABLE_BYTES, MAX_TABLE_CELLS, limits
from vjepa_demo.data.cells import as_written, plain
from vjepa_demo.data.columns import COLUMN_NAMES, Row, is_video, num_known
from vjepa_demo.schema import RecordError, well_formed
from vjepa_demo.wording import shortened

SEPARATORS = (",", ";", "\t", "|")
# Excel's own first line, which tells Excel how to read the rest.
SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?[,;|]*\r?\n', re.IGNORECASE)
JSON_SUFFIXES, JSON_LINES_SUFFIXES = (".json", ".jsonl", ".ndjson"), (".jsonl", ".ndjson")
JSON_START = re.compile(r'\s*(\[\s*)?\{\s*"')  # of a JSON file, whatever its name
MAX_SHEET_ROWS = 2**20  # of a sheet in Excel
MAX_LINES_ABOVE = 10  # lines in which the names of the columns are looked for
PARQUET_BATCH_BYTES = 2**28
BINARY = "holds binary data; a table was expected, such as a CSV"
LONG_CELL = (
    f"has a cell of more than {MAX_CELL_CHARACTERS:,} characters: shorten it, or look for a quote that is not closed"
)
# What parsers of strangers' files raise where a file is damaged, besides errors of their own.
DAMAGED: tuple[type[Exception], ...] = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError),
    *(ValueError, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Sheet:
    """The rows of a file that are not blank; `is_named` where the first surely names the columns."""

    rows: tuple[Row, ...]
    is_named: bool
    notes: tuple[str, ...] = ()


def read_sheet(path: Path) -> Sheet:
    """The rows of the table `path`, at least two. Text is UTF-8, or UTF-16 as in Excel's "Unicode text".

    A row's line is that of a text, the number of the row in a workbook; in JSON and Parquet, whose columns have names,
    the first row is on line 1 like the names.

    Raises:
        RecordError: if the file cannot be read, is of another format, needs a library that is not installed, or is too
            large: in bytes, or in what comes out of it.
    """
    try:
        if not path.is_file():
            raise RecordError(f"{path}: no such file; a table was expected, such as a CSV")
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise RecordError(f"{path.name} is larger than {MAX_TABLE_BYTES / 2**20:.0f} MiB; is it a table of labels?")
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror or error}); copy it to where it can be") from error
    if data.startswith(b"PK\3\4"):
        sheet = _workbook(path, data)
    elif data.startswith(b"PAR1"):
        sheet = _parquet(path, data)
    elif data.startswith(b"\xd0\xcf\x11\xe0"):
        raise RecordError(f"{path.name} is an old or encrypted workbook; save it as .xlsx without a password")
    else:
        text = _decoded(path, data)
        is_json = path.suffix.lower() in JSON_SUFFIXES or JSON_START.match(text)
        sheet = _json(path, text) if is_json else Sheet(_text_rows(path, text), is_named=False)
    if not sheet.is_named:
        sheet = _from_header(sheet)
    if len(sheet.rows) < 2:
        raise RecordError(f"{path.name} holds no rows; a header and at least one row were expected")
    return sheet


def _from_header(sheet: Sheet) -> Sheet:
    """`sheet` without the title or comments that stand above the names of its columns."""
    known = [num_known(cells) for _, cells in sheet.rows[:MAX_LINES_ABOVE]]
    header = next((index for index, number in enumerate(known) if number > 1), 0)
    if header == 0 or known[0]:
        return sheet
    rows, width = sheet.rows[header:], len(sheet.rows[header][1])
    if any(len(cells) > width for _, cells in rows):
        return sheet
    rows = tuple((line, (*cells, *[""] * (width - len(cells)))) for line, cells in rows)
    above = f"The names of the columns are on line {rows[0][0]}; what stands above is left out."
    return replace(sheet, rows=rows, notes=(*sheet.notes, above))


class _Collector:
    """Takes the rows of one file, within the limits of a table."""

    def __init__(self, path: Path) -> None:
        self._name, self._cells, self._characters = path.name, 0, 0

    def rows(self, rows: Iterable[tuple[int, Iterable[str]]]) -> tuple[Row, ...]:
        """Those of `rows` (line, cells) that are not blank, their cells stripped and as `cells.as_text` found them.

        Raises:
            RecordError: for a cell that is too long, and for more cells or letters than a table may have.
        """
        kept, most = [], limits().table_rows
        for line, row in rows:
            cells = tuple(as_written(cell).strip() for cell in row)
            longest = max(map(len, cells), default=0)
            if longest > MAX_CELL_CHARACTERS:
                raise RecordError(f"{self._name}: the row that begins on line {line} {LONG_CELL}")
            self._cells += max(len(cells), 1)
            self._characters += sum(map(len, cells))
            if self._cells > MAX_TABLE_CELLS or self._characters > MAX_TABLE_BYTES:
                raise RecordError(
                    f"{self._name} holds more than {MAX_TABLE_CELLS:,} cells or {MAX_TABLE_BYTES:,} characters; "
                    "split it"
                )
            if longest:
                kept.append((line, cells))
                if len(kept) > 1 + most:  # with the header
                    raise RecordError(
                        f"{self._name} has more than {most:,.6g} rows, the limit of this machine: split it"
                    )
        return tuple(kept)


# ---- text ------------------------------------------------------------------------------------------------------------


def _decoded(path: Path, data: bytes) -> str:
    """The file's text; no encoding but UTF-8 and UTF-16 is guessed."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    if encoding != "utf-16" and b"\0" in data:
        raise RecordError(f"{path.name} {BINARY}")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise RecordError(
            f"{path.name}, line {line}: the byte 0x{data[error.start]:02x} is not UTF-8; "
            "save the table as “CSV UTF-8” and upload it again"
        ) from error
    if "\0" in text:
        raise RecordError(f"{path.name} {BINARY}")
    return text


def _text_rows(path: Path, text: str) -> tuple[Row, ...]:
    """The rows of a CSV, or of a table with another separator.

    Blanks around a quoted cell belong to no cell. What cannot be read so is read as the writer may have meant it: with
    quotes in the middle of a cell, with backslashes before them (R), or, between bars and tabs, without quoting.
    """
    first, hint = 1, SEPARATOR_LINE.match(text)
    if hint:
        first, text = 2, text[hint.end() :]
    separator = hint[1] if hint else _find_separator(text)
    trimmed = re.sub(rf'(?<!")((?:"")*") +(?=[{re.escape(separator)}\r\n]|$)', r"\1", text)
    skipping = {"skipinitialspace": separator != " "}
    attempts: list[tuple[str, dict[str, Any]]] = [(text, skipping), (trimmed, skipping), (text, {})]
    if '\\"' in text:
        attempts.append((text, {"doublequote": False, "escapechar": "\\"}))
    failures: list[tuple[int, csv.Error]] = []
    for given, dialect in attempts:
        reader = _Lines(given, first, delimiter=separator, strict=True, **dialect)
        try:
            return _Collector(path).rows(reader)
        except csv.Error as error:
            failures.append((reader.line, error))
    if separator in "|\t":
        with suppress(csv.Error):
            rows = _Collector(path).rows(_Lines(text, first, delimiter=separator, quoting=csv.QUOTE_NONE))
            if len({len(cells) for _, cells in rows}) == 1:
                return rows
    line, failure = failures[0]
    if "field limit" in str(failure):
        raise RecordError(f"{path.name}: the row that begins on line {line} {LONG_CELL}") from failure
    raise RecordError(
        f"{path.name}: the row that begins on line {line} cannot be read ({failure}); "
        "a cell that begins with a quote must end with one, and quotes inside are doubled"
    ) from failure


class _Lines:
    """The rows that csv reads in a text, each with the line on which it begins; `line` is that of the next one."""

    def __init__(self, text: str, first: int, **dialect: Any) -> None:
        self.line = self._first = first
        self._reader = csv.reader(io.StringIO(text, newline=""), **dialect)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for cells in self._reader:
            yield self.line, cells
            self.line = self._reader.line_num + self._first


def _find_separator(text: str) -> str:
    """The separator that finds the most known columns in the header, and then the most columns.

    A blank separates where nothing else does, as R's `write.table` has it. Without a known column the one is taken
    that cuts the most of the first lines into equally many cells, then the one that cuts out the most video names.
    """
    lines = [line for line in text[:MAX_CELL_CHARACTERS].splitlines() if line.strip()][:100] or [""]

    def known(separator: str, line: str = lines[0]) -> tuple[int, int]:
        header = next(csv.reader([line], delimiter=separator), [])
        return num_known(header), len(header)

    def even(separator: str) -> tuple[int, int, int]:
        rows = [cells for cells in csv.reader(lines, delimiter=separator, skipinitialspace=True) if len(cells) > 1]
        most = max(Counter(map(len, rows)).values(), default=0)
        return most, sum(is_video(cell.strip()) for cells in rows for cell in cells), known(separator)[1]

    best = max(SEPARATORS, key=known)
    if known(best)[0]:
        return best
    below = [(known(separator, line)[0], separator) for line in lines[1:MAX_LINES_ABOVE] for separator in SEPARATORS]
    if below and max(below)[0] > 1:  # the names stand below a title
        return max(below)[1]
    return " " if known(" ")[0] > 1 else max(SEPARATORS, key=even)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _json(path: Path, text: str) -> Sheet:
    """The objects of a JSON list, or one a line; or the columns of one object, as pandas writes them."""
    if sum(map(text.count, "{[,")) > 2 * MAX_TABLE_CELLS:  # a parsed value takes far more memory than its text
        raise RecordError(f"{path.name} holds more than {MAX_TABLE_CELLS:,} values; split it")
    try:
        whole = json.loads(text)
    except RecursionError as error:
        raise RecordError(f"{path.name} is nested too deeply; a list of objects, one a row, was expected") from error
    except ValueError as error:
        is_lines = path.suffix.lower() in JSON_LINES_SUFFIXES or str(error).startswith("Extra data")
        if not is_lines:
            raise RecordError(f"{path.name} is no JSON ({error}); write the file anew") from error
        objects = list(_json_lines(path, text))
    else:
        is_row = isinstance(whole, dict) and path.suffix.lower() in JSON_LINES_SUFFIXES
        objects = list(enumerate([whole] if is_row else _objects(path, whole), start=1))
    header = list(dict.fromkeys(key for _, each in objects for key in each))
    if len(header) * len(objects) > MAX_TABLE_CELLS:  # told before so many empty cells are made
        raise RecordError(f"{path.name} holds more than {MAX_TABLE_CELLS:,} cells; split it")
    rows = ((line, map(_as_cell, map(each.get, header))) for line, each in objects)
    return Sheet(_Collector(path).rows(chain([(1, map(_as_cell, header))], rows)), is_named=True)


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would also part at what a string may hold
        if not line.strip():
            continue
        try:
            each = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = f"{path.name}, line {number} is no JSON ({error}); one object a line was expected"
            raise RecordError(problem) from error
        if not isinstance(each, dict):
            raise RecordError(f"{path.name}, line {number} is no JSON object; one object a line was expected")
        yield number, each


def _objects(path: Path, whole: Any) -> Sequence[dict[str, Any]]:
    """The rows that a JSON file holds: its list of objects, also where that is the only list of an object; its columns
    (lists, or values by the row's name), names and rows apart, or objects by the video's name; or itself, as a row."""
    if isinstance(whole, dict):
        columns = list(whole.values())
        lists = [each for each in columns if isinstance(each, list) and each and isinstance(each[0], dict)]
        objects = [each for each in columns if isinstance(each, dict)]
        if len(lists) == 1:
            whole = lists[0]
        elif isinstance(names := whole.get("columns"), list) and isinstance(rows := whole.get("data"), list):
            is_even = all(isinstance(row, list) and len(row) == len(names) for row in rows)
            whole = [dict(zip(map(str, names), row, strict=True)) for row in rows] if is_even else whole
        elif objects and len(objects) == len(columns) and num_known(objects[0]) > num_known(whole):
            names_video = any(plain(key) in COLUMN_NAMES["video"] for key in objects[0])
            whole = [{"" if names_video else "video_name": key, **each} for key, each in whole.items()]
        elif columns and all(isinstance(each, list) and len(each) == len(columns[0]) for each in columns):
            whole = [dict(zip(whole, row, strict=True)) for row in zip(*columns, strict=True)]
        elif objects and len(objects) == len(columns):
            names = dict.fromkeys(name for each in columns for name in each)
            if len(names) * len(columns) <= MAX_TABLE_CELLS:
                whole = [{key: column.get(name) for key, column in whole.items()} for name in names]
        elif not any(isinstance(each, dict | list) for each in columns):
            whole = [whole]
    if not isinstance(whole, list) or not all(isinstance(each, dict) for each in whole):
        raise RecordError(f"{path.name} is JSON of another form; a list of objects, one a row, was expected")
    return whole


def _as_cell(value: Any) -> str:
    """`value` as a CSV would have it; nothing for None and for what is not a number."""
    if value is None or value != value:
        return ""
    if isinstance(value, dict) and isinstance(value.get("path"), str):  # as data sets of the Hub name a video
        value = value["path"]
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)
    return well_formed(text.replace("\0", "\ufffd"))


# ---- workbooks and Parquet -------------------------------------------------------------------------------------------


def _workbook(path: Path, data: bytes) -> Sheet:
    """The first visible sheet of an XLSX whose first row names columns; where none does, the first that holds rows.

    A formula is the value that was saved with it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename: entry.file_size for entry in archive.infolist()}
    except DAMAGED:
        entries = {}
    if "xl/workbook.xml" not in entries:
        raise RecordError(f"{path.name} is a workbook or an archive, not text; save the sheet as “CSV UTF-8”")
    # No more comes out than the zip declares: zipfile reads no further. Pictures are not read at all.
    if sum(size for name, size in entries.items() if not name.startswith("xl/media/")) > MAX_TABLE_BYTES:
        raise RecordError(
            f"{path.name} unpacks to more than {MAX_TABLE_BYTES / 2**20:.0f} MiB; save the sheet as “CSV UTF-8”"
        )
    try:
        import openpyxl
    except ImportError as error:
        raise _missing(path, "openpyxl") from error
    collector = _Collector(path)
    found: dict[str, tuple[Row, ...]] = {}
    with _whole(path):
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                sheet.reset_dimensions()  # which a file may declare wrongly
                lines = enumerate(_real_rows(path, sheet), start=1)
                found[sheet.title] = collector.rows((line, map(_as_cell, cells)) for line, cells in lines)
    filled = {title: rows for title, rows in found.items() if rows}
    if not filled:
        return Sheet((), is_named=False)
    title = next((title for title, rows in filled.items() if num_known(rows[0][1])), next(iter(filled)))
    notes = (f"Of {len(filled)} sheets only “{shortened(title)}” is read.",) if len(filled) > 1 else ()
    (line, header), *rows = filled[title]
    while header[-1:] == ("",):  # a format without a value
        header = header[:-1]
    if len(header) * len(rows) > MAX_TABLE_CELLS:
        raise RecordError(f"{path.name} holds more than {MAX_TABLE_CELLS:,} cells; split it")
    padded = ((line, (*cells, *[""] * (len(header) - len(cells)))) for line, cells in rows)  # empty ends are not saved
    return Sheet(((line, header), *padded), is_named=False, notes=notes)


def _real_rows(path: Path, sheet: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of `sheet`. openpyxl makes those that are not there too, up to any number that the next one claims."""
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > MAX_SHEET_ROWS:
            raise RecordError(
                f"{path.name} has a row below line {MAX_SHEET_ROWS:,}, the last of a workbook; save it anew"
            )
        yield cells


def _parquet(path: Path, data: bytes) -> Sheet:
    """The columns of a Parquet file that hold texts, numbers, dates, or the paths of videos; others are left out.

    Raises:
        RecordError: for one that is left out although its name says that it is needed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise _missing(path, "pyarrow") from error
    with _whole(path, pyarrow.ArrowException):
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        types = {field.name: field.type for field in file.schema_arrow}
        is_left_out = (pyarrow.types.is_nested, pyarrow.types.is_binary, pyarrow.types.is_large_binary)
        has_path = {
            name
            for name, kind in types.items()
            if pyarrow.types.is_struct(kind) and "path" in {kind.field(index).name for index in range(kind.num_fields)}
        }
        left_out = [
            name for name, kind in types.items() if name not in has_path and any(holds(kind) for holds in is_left_out)
        ]
        if needed := next((name for name in left_out if num_known([name])), None):
            raise RecordError(
                f"{path.name}: the column “{needed}” holds {types[needed]}; text or numbers were expected"
            )
        kept = [name for name in types if name not in left_out]
        if file.metadata.num_rows * len(kept) > MAX_TABLE_CELLS:
            raise RecordError(f"{path.name} holds more than {MAX_TABLE_CELLS:,} cells; split it")
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        unpacked = max((group.total_byte_size for group in groups), default=0)
        # A value that is stored once may stand in each row: no row is larger than all that its group stores.
        batches = file.iter_batches(
            max(1, min(1024, PARQUET_BATCH_BYTES // max(unpacked, 1))),
            columns=[f"{name}.path" if name in has_path else name for name in kept],
        )
        rows = (row for batch in batches for row in zip(*(each.to_pylist() for each in batch.columns), strict=True))
        lines = enumerate((map(_as_cell, row) for row in rows), start=1)
        found = _Collector(path).rows(chain([(1, map(_as_cell, kept))], lines))
    notes = (f"Columns that hold no text are left out: {', '.join(left_out)}.",) if left_out else ()
    return Sheet(found, is_named=True, notes=notes)


@contextmanager
def _whole(path: Path, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (*DAMAGED, *errors) as error:
        raise RecordError(f"{path.name} is damaged ({shortened(str(error))}); save it anew, or as CSV") from error


def _missing(path: Path, package: str) -> RecordError:
    return RecordError(f"{path.name} needs a library that is not installed: pip install {package}; or save it as a CSV")
