"""Whole tables of videos scored into one CSV, which is written row by row and resumed where it stopped.

A batch never stops at a bad row: what cannot be scored gets an `error` in its row of the output. The output keeps the
input's columns and adds five scores, `unknown_words`, `error` and `scored_by`; a row of it is whole on the disk before
it is reported.
"""

from __future__ import annotations

import csv
import io
import math
import os
import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.data.cells import as_cell, as_written, plain
from vjepa_demo.data.match import find_videos
from vjepa_demo.data.table import added_columns, read_table, row_labels, row_problems
from vjepa_demo.files import replacing
from vjepa_demo.schema import (
    BatchReport,
    BatchRow,
    BatchSummary,
    BatchTable,
    DemoError,
    Evaluation,
    GroupScores,
    RecordError,
    RowResult,
    TrainedOn,
    VideoRecord,
    VideoScores,
    check_prompt,
)
from vjepa_demo.tasks.evaluate import judge
from vjepa_demo.tasks.launch import from_main_process, num_processes, process_index
from vjepa_demo.tasks.score import Scorer

GENERATOR_NAMES = ("generator", "generatorname", "model", "modelname", "method")  # of a column, see `records.plain`
PROMPT_COLUMN = "Prompt"  # what a prompt for all rows is called in the output
POLL_SECONDS = 0.2  # between looks at what other processes have written


# ---- what is to be scored --------------------------------------------------------------------------------------------


def read_batch(
    table: str | Path,
    videos: str | Path | Sequence[str | Path] | None,
    *,
    prompt: str | None = None,
    label_range: tuple[float, float] | None = None,
    extract_to: str | Path | None = None,
) -> BatchTable:
    """Every row of the CSV or TSV `table` with its file in `videos`; no video is opened.

    `videos`, `extract_to` are as for `records.match_videos`, `label_range` as for `records.read_labels`. Without
    `videos` they are in the table's folder, and absolute paths in it lead anywhere: not for a stranger's table.
    Labels may be missing; one that cannot be used is left out with a note. `prompt` is for a table that has no column
    of prompts, and becomes one.

    Raises:
        RecordError: if the table, or what should hold the videos, cannot be used at all.
    """
    prompt = check_prompt(prompt) if prompt else None
    read = read_table(table, required=("video",) if prompt else ("video", "prompt"))
    if prompt and "prompt" in read.fields:
        raise RecordError(f"{read.path.name} has prompts of its own (“{read.shown['prompt']}”): give no other prompt")
    columns, notes = _unique(read.header)
    labels, label_notes = row_labels(read, label_range=label_range)
    problems = row_problems(read)
    named = {line: _cell(cells, read.fields["video"]) for line, cells in read.rows if line not in problems}
    if videos is None:
        found = _find_beside(read.path, named.values())
    else:
        found = find_videos(named.values(), videos, extract_to=extract_to)
    generator = _generator_column(columns)
    rows = []
    for line, cells in read.rows:
        by_column = {column: _cell(cells, index) for index, column in enumerate(columns)}
        video = found[named[line]] if line in named else RecordError(problems[line])
        rows.append(
            BatchRow(
                line=line,
                cells=by_column | ({PROMPT_COLUMN: prompt} if prompt else {}),
                name=_cell(cells, read.fields["video"]),
                prompt=prompt or _cell(cells, read.fields["prompt"]),
                video=video if isinstance(video, Path) else None,
                labels=labels.get(line, {}),
                generator=by_column[generator] or None if generator else None,
                problem=None if isinstance(video, Path) else str(video),
            )
        )
    return BatchTable(
        name=read.path.name,
        columns=(*columns, PROMPT_COLUMN) if prompt else columns,
        rows=tuple(rows),
        generator_column=generator,
        notes=(*read.notes, *notes, *label_notes),
    )


def _find_beside(table: Path, names: Iterable[str]) -> dict[str, Path | RecordError]:
    """As `find_videos` in the folder of `table`; a path that leads to a file from there, or from anywhere, is that."""
    folder = table.absolute().parent
    names = list(names)
    direct: dict[str, Path | RecordError] = {name: folder / name for name in names if (folder / name).is_file()}
    others = [name for name in names if name not in direct]
    return direct | (find_videos(others, folder) if others else {})


def batch_of_files(videos: Sequence[str | Path], prompt: str) -> BatchTable:
    """Several videos with one prompt, as a table of the columns video_name and Prompt; no video is opened.

    They are called by their file names, or where two share one, by their paths below the folder that holds all.

    Raises:
        RecordError: if the prompt is empty or too long.
    """
    prompt = check_prompt(prompt)
    files = [Path(video) for video in videos]
    names = _distinct_names(files)
    rows = tuple(
        BatchRow(line, {"video_name": name, PROMPT_COLUMN: prompt}, name, prompt, file, {})
        for line, (name, file) in enumerate(zip(names, files, strict=True), start=2)
    )
    return BatchTable(f"{len(rows)} video{'s' * (len(rows) != 1)}", ("video_name", PROMPT_COLUMN), rows)


def _distinct_names(files: Sequence[Path]) -> list[str]:
    if len({file.name for file in files}) == len(set(files)):
        return [file.name for file in files]
    absolute = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 - resolve() would follow links
    folder = os.path.commonpath([file.parent for file in absolute])
    return [file.relative_to(folder).as_posix() for file in absolute]


def _unique(header: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The columns' names, each once, and notes on those that had to be renamed."""
    names: list[str] = []
    notes = []
    for column in header:
        numbered = (f"{column}.{number}" for number in range(1, len(header) + 1))
        name = column if column not in names else next(each for each in numbered if each not in {*names, *header})
        if name != column:
            notes.append(f"Two columns are called “{column}”; one is “{name}” in the output.")
        names.append(name)
    return tuple(names), notes


def _generator_column(columns: Sequence[str]) -> str | None:
    return next((column for name in GENERATOR_NAMES for column in columns if plain(column) == name), None)


def _cell(cells: Sequence[str], index: int) -> str:
    """The cell at `index`, empty where the row is too short."""
    return cells[index] if index < len(cells) else ""


# ---- the run ---------------------------------------------------------------------------------------------------------


def output_columns(table: BatchTable) -> tuple[str, ...]:
    """The columns of the CSV that `run_batch` writes: the table's, then what `records.added_columns` names."""
    return (*table.columns, *added_columns(table.columns))


def run_batch(
    scorer: Scorer,
    table: BatchTable,
    out: str | Path,
    *,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[BatchReport]:
    """Score every row of `table` into the CSV `out`, which must be new; a report a row, once it is on the disk.

    `out` is a valid CSV at any moment, of whole rows in the table's order; only a kill can leave a torn row at its end.
    With `resume`, the rows that an earlier run scored are kept and reported first; what was torn, never reached, or had
    an error is done now (what fills a gap stands behind until the end). The end is byte for byte what one run would
    have written. `should_stop` is asked before each row; once it says yes the run ends, and `out` can be resumed. Under
    `accelerate launch` every process calls this alike: they share the disk of `out`, process 0 writes and reports the
    rows of all, the others report their own.

    Raises:
        RecordError: if `out` exists and `resume` is not set, is the output of another table or model, or cannot be
            written.
    """

    out = Path(out)
    kept = from_main_process(lambda: _begin(table, out, scorer.model_id, resume=resume))
    rows = [row for row in table.rows if row.line not in kept]
    if num_processes() == 1:
        results = _score_rows(scorer, rows, should_stop)
    else:
        mine = _share(rows, process_index(), num_processes())
        parts = _Parts(out, table, _Found(table, rows, scorer.model_id))
        own = parts.write(_score_rows(scorer, mine, should_stop))
        if process_index():
            yield from _reports(mine, {}, own)
            return
        results = parts.merge(own)
    with _ScoreFile(out, table, kept.values()) as file:
        yield from _reports(table.rows, kept, file.written(results, rows))
    if num_processes() > 1:
        parts.remove()


def _reports(
    rows: Sequence[BatchRow], kept: Mapping[int, RowResult], results: Iterable[RowResult]
) -> Iterator[BatchReport]:
    """A report of each row that was `kept`, then of each of `results` as it comes."""
    done = errors = scored = 0
    for row in rows:
        if row.line in kept:
            done += 1
            yield BatchReport(kept[row.line], done, len(rows), errors, None, resumed=True)
    left = sum(row.problem is None for row in rows if row.line not in kept)
    begin = time.perf_counter()
    for result in results:
        done += 1
        errors += result.error is not None
        scored += result.row.problem is None
        left -= result.row.problem is None
        seconds_left = (time.perf_counter() - begin) / scored * left if scored else None
        yield BatchReport(result, done, len(rows), errors, seconds_left)


def _score_rows(scorer: Scorer, rows: Sequence[BatchRow], should_stop: Callable[[], bool]) -> Iterator[RowResult]:
    """A result a row, in their order."""
    requests = ((row.video, row.prompt) for row in rows if row.video is not None)
    with closing(scorer.score_all(requests)) as answers:
        for row in rows:
            if should_stop():
                return
            yield _failed(scorer, row, row.problem or "") if row.video is None else _result(scorer, row, next(answers))


def _result(scorer: Scorer, row: BatchRow, answer: VideoScores | DemoError) -> RowResult:
    if isinstance(answer, DemoError):
        return _failed(scorer, row, str(answer))
    return RowResult(row, answer.scores, None, scorer.model_id, answer.unknown_words, answer.doubts, answer.sha256)


def _failed(scorer: Scorer, row: BatchRow, error: str) -> RowResult:
    return RowResult(row, None, " ".join(error.split()), scorer.model_id)


def _share(rows: Sequence[BatchRow], index: int, count: int) -> list[BatchRow]:
    """What process `index` of `count` scores: all rows of every count-th video, so that a video is read once."""
    places: dict[Path | None, int] = {}
    return [row for row in rows if places.setdefault(row.video, len(places)) % count == index]


# ---- the file --------------------------------------------------------------------------------------------------------


def check_out(out: Path, *, resume: bool) -> None:
    """
    Raises:
        RecordError: if `out` is there already and is not to be resumed.
    """
    if out.exists() and not resume:
        raise RecordError(f"{out} exists already: go on with it (--resume), delete it, or write to another file")


def _begin(table: BatchTable, out: Path, model: str, *, resume: bool) -> dict[int, RowResult]:
    """Make `out`, with the rows that earlier runs scored; returns those by line."""
    check_out(out, resume=resume)
    with _writable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        parts = [path for path in out.parent.iterdir() if path.name.startswith(_part_name(out, ""))]
        kept = _kept(table, model, [*([out] if out.exists() else []), *parts]) if resume else {}
        _write_all(out, table, kept)
        for path in parts:
            path.unlink()
    return kept


def _kept(table: BatchTable, model: str, paths: Iterable[Path]) -> dict[int, RowResult]:
    """The scored rows in the output and the parts of earlier runs, by line; a row can be in both."""
    results = (each for path in paths for each in _Found(table, table.rows, model).results(path, path.read_bytes()))
    return {result.row.line: result for result in results if result.scores is not None}


def _write_all(out: Path, table: BatchTable, results: Mapping[int, RowResult]) -> None:
    """`out` anew, with `results` (by line) in the table's order: whole or not at all."""
    rows = (_as_row(results[row.line]) for row in table.rows if row.line in results)
    with replacing(out) as partial:
        partial.write_text(_as_lines([output_columns(table), *rows]), encoding="utf-8", newline="")


class _ScoreFile:
    """The output while rows are added to it."""

    def __init__(self, out: Path, table: BatchTable, kept: Iterable[RowResult]) -> None:
        self._out, self._table = out, table
        self._results = {result.row.line: result for result in kept}
        self._file: IO[bytes]

    def __enter__(self) -> _ScoreFile:
        with _writable(self._out):
            self._file = self._out.open("ab", buffering=0)
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
            with _writable(self._out):
                _write_all(self._out, self._table, self._results)

    def _append(self, result: RowResult) -> None:
        with _writable(self._out):
            _append(self._file, result)
        self._results[result.row.line] = result


def _append(file: IO[bytes], result: RowResult) -> None:
    """One whole line, on the disk."""
    line = _as_lines([_as_row(result)]).encode()
    while line:
        line = line[file.write(line) :]
    os.fsync(file.fileno())


def _as_row(result: RowResult) -> tuple[str, ...]:
    scores = [repr(result.scores[name]) for name in DIMENSIONS] if result.scores else [""] * len(DIMENSIONS)
    return (*result.row.cells.values(), *scores, " ".join(result.unknown_words), result.error or "", result.model)


def _as_lines(rows: Iterable[Sequence[str]]) -> str:
    """CSV as RFC 4180 has it, without formulas."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(map(as_cell, row) for row in rows)
    return text.getvalue()


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"{path} cannot be written ({error.strerror or error}); mend that, and go on with --resume"
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


class _Found:
    """Finds the rows of a table in what was written of it, each once."""

    def __init__(self, table: BatchTable, rows: Iterable[BatchRow], model: str) -> None:
        self._table, self._model = table, model
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
        torn_header = not whole and _as_lines([columns]).encode().startswith(data)
        if header[1] != columns or not (whole or torn_header):
            raise RecordError(
                f"{path.name} does not hold scores of {self._table.name}: its columns are others; write to another file"
            )
        for line, cells in rows:
            if cells:
                yield self.result(f"{path.name}, line {line}", cells)

    def result(self, where: str, cells: Sequence[str]) -> RowResult:
        """The result that is written as `cells`; `where` is what messages call its place.

        Raises:
            RecordError: if it is of another table or model.
        """
        width = len(self._table.columns)
        own, scores, last = tuple(cells[:width]), cells[width:-3], cells[-3:]
        if len(scores) != len(DIMENSIONS) or not self._rows[own]:
            raise RecordError(
                f"{where} is no row of {self._table.name}, or stands there once more than in the table, which has "
                "changed: write to another file"
            )
        unknown, error, model = last
        if model != self._model:
            raise RecordError(
                f"{where} was scored by {model}, {_difference(model, self._model)}: write to another file"
            )
        row = self._rows[own].popleft()
        if error:
            return RowResult(row, None, error, model)
        try:
            values = [float(score) for score in scores]
        except ValueError as problem:
            raise RecordError(f"{where}: {problem}; write to another file") from problem
        if not all(SCORE_MIN <= value <= SCORE_MAX for value in values):
            raise RecordError(f"{where} holds {', '.join(scores)}, which are no scores; write to another file")
        return RowResult(row, dict(zip(DIMENSIONS, values, strict=True)), None, model, tuple(unknown.split()))


def _difference(written: str, now: str) -> str:
    """How the id of the model that has `written` a row differs from that of the model `now`, in words."""
    name = now.rpartition("@")[0]
    if name and written.rpartition("@")[0] == name:
        return f"and the weights of {name} have changed since: it is {now} now"
    return f"not {now}"


# ---- several processes -----------------------------------------------------------------------------------------------


def _part_name(out: Path, index: int | str) -> str:
    return f".{out.name}.part-{index}"


class _Parts:
    """What each process of an `accelerate launch` has scored, in a file of its own until it is in the output."""

    def __init__(self, out: Path, table: BatchTable, found: _Found) -> None:
        """`found` finds the rows that are scored now."""

        self._table, self._found = table, found
        self._paths = [out.with_name(_part_name(out, index)) for index in range(num_processes())]
        self._own = self._paths[process_index()]
        self._offsets = dict.fromkeys(self._paths, 0)
        self._open = set(self._paths)

    def write(self, results: Iterable[RowResult]) -> Iterator[RowResult]:
        """Each of `results` once it is on the disk; an empty line at the end says that no more will come."""
        with _writable(self._own), self._own.open("wb", buffering=0) as file:
            file.write(_as_lines([output_columns(self._table)]).encode())
            for result in results:
                _append(file, result)
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
            data = _whole(_read_from(path, self._offsets[path]))
            for _, cells in _read_lines(path, data):
                if not cells:
                    self._open.remove(path)
                elif cells != output_columns(self._table):
                    yield self._found.result(path.name, cells)
            self._offsets[path] += len(data)

    def remove(self) -> None:
        """Take the files away, once all is in the output."""
        for path in self._paths:
            path.unlink(missing_ok=True)


def _read_from(path: Path, offset: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


# ---- what it says ----------------------------------------------------------------------------------------------------


def summarise_batch(results: Sequence[RowResult], trained_on: TrainedOn) -> BatchSummary:
    """What the scores of the model, which learned from `trained_on`, say together, per generator, and against the
    labels where there are any: of the clips that the model did not learn from (see `judge`)."""
    groups: dict[str, list[RowResult]] = defaultdict(list)
    for result in results:
        if result.row.generator is not None:
            groups[result.row.generator].append(result)
    generators = [_group(name, members) for name, members in groups.items()]
    generators.sort(key=lambda group: (-group.means.get("Overall", -math.inf), group.name))
    doubtful = Counter(name for result in results for name in result.doubts)
    return BatchSummary(
        all=_group("all", results),
        generators=tuple(generators),
        evaluation=_evaluate(results, trained_on),
        num_doubtful={name: doubtful[name] for name in DIMENSIONS if name in doubtful},
    )


def _group(name: str, results: Sequence[RowResult]) -> GroupScores:
    scored = [result.scores for result in results if result.scores is not None]
    columns = {dimension: [scores[dimension] for scores in scored] for dimension in DIMENSIONS} if scored else {}
    return GroupScores(
        name=name,
        num_scored=len(scored),
        num_errors=len(results) - len(scored),
        means={dimension: statistics.fmean(values) for dimension, values in columns.items()},
        standard_errors={dimension: _standard_error(values) for dimension, values in columns.items()},
    )


def _standard_error(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def _evaluate(results: Sequence[RowResult], trained_on: TrainedOn) -> Evaluation | None:
    """The metrics of the rows that have scores and labels, beside the no-video baseline."""
    judged = [result for result in results if result.scores is not None and result.row.labels]
    if not judged:
        return None
    rows = [result.row for result in judged]
    records = [VideoRecord(row.name, row.video or Path(), row.prompt, row.labels, row.line) for row in rows]
    scores = [result.scores or {} for result in judged]
    return judge(scores, records, trained_on, sha256s=[result.sha256 for result in judged])
