"""The CSV that a batch writes: valid at any moment, resumed after a kill, shared by several processes."""

from __future__ import annotations

import csv
import io
import os
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast, get_args

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.data.cells import as_cell, as_written
from vjepa_demo.data.columns import added_columns
from vjepa_demo.files import delete_partials, exists, only_process, replacing, why_not_written
from vjepa_demo.schema import BatchRow, BatchTable, Doubt, RecordError, RowResult, doubts_text, intervals, well_formed
from vjepa_demo.tasks.batch_table import check_out
from vjepa_demo.tasks.launch import num_processes, process_index

POLL_SECONDS = 0.2  # between looks at what other processes have written


def output_columns(table: BatchTable, *, intervals: bool = False) -> tuple[str, ...]:
    """The columns of the CSV that `run_batch` writes: the table's, then what `columns.added_columns` names."""
    return (*table.columns, *added_columns(table.columns, intervals=intervals))


@dataclass(frozen=True)
class Output:
    """The CSV at `path` with the rows of `table`, scored by the model whose id is `model`; where it has `margins` (see
    `TrainedOn`), columns of intervals come last."""

    path: Path
    table: BatchTable
    model: str
    margins: Mapping[str, float]

    @property
    def columns(self) -> tuple[str, ...]:
        """The header."""
        return output_columns(self.table, intervals=bool(self.margins))

    def cells(self, result: RowResult) -> tuple[str, ...]:
        """The row of `result`."""
        scores = [repr(result.scores[name]) for name in DIMENSIONS] if result.scores else [""] * len(DIMENSIONS)
        said = (" ".join(result.unknown_words), doubts_text(result.doubts), " ".join(result.notes), result.error or "")
        ends = [result.intervals.get(name) or ("", "") for name in DIMENSIONS] if self.margins else []
        numbers = (str(end) for interval in ends for end in interval)
        return (*result.row.cells.values(), *scores, *said, result.model, *numbers)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other runs out of `out`, whose folder is made if need be.

    Raises:
        BusyError: if another run writes it now.
        RecordError: if it cannot be written.
    """
    busy = f"another run writes {out} now: wait until it ends, stop it, or write to another file"
    with ExitStack() as stack:
        with _writable(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_process(out.with_name(f".{out.name}.lock"), busy=busy))
            delete_partials(out)
        yield


def begin(output: Output, *, resume: bool) -> dict[int, RowResult]:
    """Make the file of `output`, with the rows that earlier runs scored; returns those by line."""
    out = output.path
    check_out(out, resume=resume)
    with _writable(out):
        parts = [path for path in out.parent.iterdir() if path.name.startswith(_part_name(out, ""))]
        written = [*([out] if exists(out) else []), *parts] if resume else []
        results = (
            each for path in written for each in WrittenRows(output, output.table.rows).results(path, path.read_bytes())
        )
        kept = {result.row.line: result for result in results if result.scores is not None}  # a row can be in both
        _write_all(output, kept)
        for path in parts:
            path.unlink()
    return kept


def _write_all(output: Output, results: Mapping[int, RowResult]) -> None:
    """The file anew, with `results` (by line) in the table's order: whole or not at all."""
    rows = (output.cells(results[row.line]) for row in output.table.rows if row.line in results)
    with replacing(output.path) as partial:
        partial.write_text(_as_lines([output.columns, *rows]), encoding="utf-8", newline="")


class ScoreFile:
    """The output while rows are added to it."""

    def __init__(self, output: Output, kept: Iterable[RowResult]) -> None:
        self._output = output
        self._results = {result.row.line: result for result in kept}
        self._file: IO[bytes]

    def __enter__(self) -> ScoreFile:
        with _writable(self._output.path):
            self._file = self._output.path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def written(self, results: Iterable[RowResult], rows: Sequence[BatchRow]) -> Iterator[RowResult]:
        """Each of `results` once it is on the disk; those that come before an earlier one of `rows` wait for it."""
        waiting: dict[int, RowResult] = {}
        expected = deque(row.line for row in rows)
        for result in results:
            waiting[result.row.line] = result
            while expected and expected[0] in waiting:
                ready = waiting.pop(expected.popleft())
                self._append(ready)
                yield ready
        for result in waiting.values():  # the run was stopped
            self._append(result)
            yield result
        lines = list(self._results)
        if lines != sorted(lines):
            with _writable(self._output.path):
                _write_all(self._output, self._results)

    def _append(self, result: RowResult) -> None:
        with _writable(self._output.path):
            _append(self._file, self._output.cells(result))
        self._results[result.row.line] = result


def _append(file: IO[bytes], cells: Sequence[str]) -> None:
    """One whole line, on the disk."""
    line = _as_lines([cells]).encode()
    while line:
        line = line[file.write(line) :]
    os.fsync(file.fileno())


def _as_lines(rows: Iterable[Sequence[str]]) -> str:
    """CSV as RFC 4180 has it, without formulas."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(map(as_cell, row) for row in rows)
    return well_formed(text.getvalue())


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written ({why_not_written(error)}); solve that, then resume with --resume"
        ) from error


# ---- killed and resumed ----------------------------------------------------------------------------------------------


def _whole(data: bytes) -> bytes:
    """`data` up to the end of its last whole row; what a kill tore off after it is left out."""
    end = position = quotes = 0
    for line in data.splitlines(keepends=True):
        position += len(line)
        quotes += line.count(b'"')
        if line.endswith(b"\n") and quotes % 2 == 0:  # else the row goes on: a cell has several lines
            end = position
    return data[:end]


def _read_lines(path: Path, data: bytes) -> list[tuple[int, tuple[str, ...]]]:
    """The line and the cells of each row in `data`, of the file `path`; cells are as they were before `as_cell`."""
    rows, line = [], 1
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        for cells in reader:
            rows.append((line, tuple(as_written(cell) for cell in cells)))
            line = reader.line_num + 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise RecordError(f"{path.name}, line {line} cannot be read ({error}); write to another file") from error
    return rows


class WrittenRows:
    """Finds the rows of a table in what was written of it, each once."""

    def __init__(self, output: Output, rows: Iterable[BatchRow]) -> None:
        self._output, self._table, self._model = output, output.table, output.model
        self._rows: dict[tuple[str, ...], deque[BatchRow]] = defaultdict(deque)
        for row in rows:
            self._rows[tuple(row.cells.values())].append(row)

    def results(self, path: Path, data: bytes) -> Iterator[RowResult]:
        """The results in `data`, the content of the file `path`, a header and rows; one that was torn is left out.

        Raises:
            RecordError: if they are of another table or model.
        """
        whole, columns = _whole(data), output_columns(self._table)
        header, *rows = _read_lines(path, whole) if whole else [(1, columns)]
        possible = [output_columns(self._table, intervals=each) for each in (False, True)]
        torn_header = not whole and any(_as_lines([each]).encode().startswith(data) for each in possible)
        if header[1] == possible[True]:
            header = (1, columns)
            rows = [(line, self.without_intervals(cells)) for line, cells in rows]
        no_notes = (*columns[:-3], *columns[-2:])  # what older versions wrote, the first without `not_meaningful` too
        if header[1] == (*no_notes[:-3], *no_notes[-2:]):
            header = (1, no_notes)
            rows = [(line, _with_doubts(cells)) for line, cells in rows]
        if header[1] == no_notes:
            header = (1, columns)
            rows = [(line, (*cells[:-2], "", *cells[-2:]) if cells else cells) for line, cells in rows]
        if header[1] != columns or not (whole or torn_header):
            raise RecordError(
                f"{path.name} does not hold scores of {self._table.name}: its columns are others; write to another file"
            )
        for line, cells in rows:
            if cells:
                yield self.result(f"{path.name}, line {line}", cells)

    def without_intervals(self, cells: tuple[str, ...]) -> tuple[str, ...]:
        """A row without the cells of intervals at its end, where there are any: they follow from the scores."""
        return cells[: len(output_columns(self._table))]

    def result(self, where: str, cells: Sequence[str]) -> RowResult:
        """The result that is written as `cells`; `where` is what messages call its place.

        Raises:
            RecordError: if it is of another table or model.
        """
        width = len(self._table.columns)
        own, scores, last = tuple(cells[:width]), cells[width:-5], cells[-5:]
        if len(scores) != len(DIMENSIONS) or not self._rows[own]:
            raise RecordError(
                f"{where} is no row of {self._table.name}, or stands there once more than in the table, which has "
                "changed: write to another file"
            )
        unknown, doubtful, notes, error, model = last
        if model != self._model:
            name = self._model.rpartition("@")[0]
            difference = f"not {self._model}"
            if name and model.rpartition("@")[0] == name:
                difference = f"and the weights of {name} have changed since: it is {self._model} now"
            raise RecordError(f"{where} was scored by {model}, {difference}: write to another file")
        row = self._rows[own].popleft()
        if error:
            return RowResult(row, None, error, model)
        try:
            values = [float(score) for score in scores]
        except ValueError as problem:
            raise RecordError(f"{where}: {problem}; write to another file") from problem
        if not all(SCORE_MIN <= value <= SCORE_MAX for value in values):
            raise RecordError(f"{where} holds {', '.join(scores)}, which are no scores; write to another file")
        by_name = dict(zip(DIMENSIONS, values, strict=True))
        pairs = (each.partition(": ") for each in doubtful.split("; "))  # as `_as_row` wrote them; else it is no doubt
        doubts = {name: cast(Doubt, why) for name, _, why in pairs if name in DIMENSIONS and why in get_args(Doubt)}
        said = (notes,) if notes else ()
        found = intervals(by_name, doubts, self._output.margins) if self._output.margins else {}
        return RowResult(row, by_name, None, model, tuple(unknown.split()), doubts, said, intervals=found)


def _with_doubts(cells: tuple[str, ...]) -> tuple[str, ...]:
    """A row of an older version, whose last columns were `unknown_words`, `error`, `scored_by`, as this one has it."""
    if not cells:
        return cells
    return (*cells[:-2], doubts_text({"Alignment": "unknown_words"}) if cells[-3] else "", *cells[-2:])


# ---- several processes -----------------------------------------------------------------------------------------------


def _part_name(out: Path, index: int | str) -> str:
    return f".{out.name}.part-{index}"


class Parts:
    """What each process of an `accelerate launch` has scored, in a file of its own until it is in the output."""

    def __init__(self, output: Output, found: WrittenRows) -> None:
        """`found` finds the rows that are scored now."""

        self._output, self._found = output, found
        out = output.path
        self._paths = [out.with_name(_part_name(out, index)) for index in range(num_processes())]
        self._own = self._paths[process_index()]
        self._offsets = dict.fromkeys(self._paths, 0)
        self._open = set(self._paths)

    def write(self, results: Iterable[RowResult]) -> Iterator[RowResult]:
        """Each of `results` once it is on the disk; an empty line at the end says that no more will come."""
        with _writable(self._own), self._own.open("wb", buffering=0) as file:
            file.write(_as_lines([self._output.columns]).encode())
            for result in results:
                _append(file, self._output.cells(result))
                yield result
            file.write(b"\r\n")

    def merge(self, own: Iterable[RowResult]) -> Iterator[RowResult]:
        """The results of all processes as they come; `own` are those that this process writes meanwhile."""
        for _ in own:
            yield from self._new()
        while self._open:
            yield from self._new()
            time.sleep(POLL_SECONDS)

    def _new(self) -> Iterator[RowResult]:
        """What was written since the last call."""
        for path in sorted(self._open):
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._offsets[path])
                data = _whole(file.read())
            for _, cells in _read_lines(path, data):
                if not cells:
                    self._open.remove(path)
                elif cells != self._output.columns:
                    yield self._found.result(path.name, self._found.without_intervals(cells))
            self._offsets[path] += len(data)

    def remove(self) -> None:
        """Take the files away, once all is in the output."""
        for path in self._paths:
            path.unlink(missing_ok=True)
