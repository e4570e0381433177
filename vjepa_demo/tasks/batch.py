"""Whole tables of videos scored into one CSV, which is written row by row and resumed where it stopped.

A batch never stops at a bad row: what cannot be scored gets an `error` in its row of the output. The output keeps the
input's columns and adds those that `data.table.added_columns` names; a row is whole on the disk before it is reported.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data.cells import plain
from vjepa_demo.data.match import find_videos, list_videos
from vjepa_demo.data.table import read_table, row_labels, row_problems
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
from vjepa_demo.tasks.score_file import Parts, ScoreFile, WrittenRows, begin

GENERATOR_NAMES = ("generator", "generatorname", "model", "modelname", "method")  # of a column, see `cells.plain`
PROMPT_COLUMN = "Prompt"  # what a prompt for all rows is called in the output


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

    `videos`, `extract_to` are as for `match.match_videos`, `label_range` as for `table.read_labels`. Without
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

    In place of a folder come the videos in it. Videos are called by their file names, or where two share one, by their
    paths below the folder that holds all. A file that is missing is an error of its row.

    Raises:
        RecordError: if the prompt is empty or too long, or a folder holds no videos.
    """
    prompt, files = check_prompt(prompt), []
    for video in map(Path, videos):
        found = list_videos([video]) if video.is_dir() else [video]
        if not found:
            raise RecordError(f"the folder {video} holds no videos")
        files += found
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
    kept = from_main_process(lambda: begin(table, out, scorer.model_id, resume=resume))
    rows = [row for row in table.rows if row.line not in kept]
    if num_processes() == 1:
        results = _score_rows(scorer, rows, should_stop)
    else:
        mine = _share(rows, process_index(), num_processes())
        parts = Parts(out, table, WrittenRows(table, rows, scorer.model_id))
        own = parts.write(_score_rows(scorer, mine, should_stop))
        if process_index():
            yield from _reports(mine, {}, own)
            return
        results = parts.merge(own)
    with ScoreFile(out, table, kept.values()) as file:
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
