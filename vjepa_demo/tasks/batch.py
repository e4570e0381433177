"""Whole tables of videos scored into one CSV, which is written row by row and resumed where it stopped.

A batch never stops at a bad row: what cannot be scored gets an `error` in its row of the output. The output keeps the
input's columns and adds those that `columns.added_columns` names; a row is whole on the disk before it is reported.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import (
    BatchReport,
    BatchRow,
    BatchSummary,
    BatchTable,
    DemoError,
    Evaluation,
    GroupScores,
    RowResult,
    StoppedError,
    TrainedOn,
    VideoRecord,
    intervals,
    rated,
)
from vjepa_demo.tasks.evaluate import judge
from vjepa_demo.tasks.launch import from_main_process, num_processes, process_index
from vjepa_demo.tasks.score import Scorer
from vjepa_demo.tasks.score_file import Output, Parts, ScoreFile, WrittenRows, begin, claimed

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
    have written. `should_stop` is asked before each row, and while one is scored (see `Scorer.score`); once it says yes
    the run ends, and `out` can be resumed. Under `accelerate launch` every process calls this alike: they share the
    disk of `out`, process 0 writes and reports the rows of all, the others report their own.

    Raises:
        RecordError: if `out` exists and `resume` is not set, is the output of another table or model, or cannot be
            written.
        BusyError: if another run writes `out` now.
    """
    out = Path(out)
    with ExitStack() as stack:
        from_main_process(lambda: stack.enter_context(claimed(out)))
        yield from _claimed_batch(scorer, table, out, resume, should_stop)


def _claimed_batch(
    scorer: Scorer, table: BatchTable, out: Path, resume: bool, should_stop: Callable[[], bool]
) -> Iterator[BatchReport]:
    """`run_batch`, while no other run writes `out`."""
    output = Output(out, table, scorer.model_id, scorer.trained_on.margins)
    kept = from_main_process(lambda: begin(output, resume=resume))
    rows = [row for row in table.rows if row.line not in kept]
    if num_processes() == 1:
        results = _score_rows(scorer, rows, should_stop)
    else:
        places: dict[Path | None, int] = {}  # of each video, all of whose rows one process scores: it is read once
        for row in rows:
            places.setdefault(row.video, len(places))
        mine = [row for row in rows if places[row.video] % num_processes() == process_index()]
        parts = Parts(output, WrittenRows(output, rows))
        own = parts.write(_score_rows(scorer, mine, should_stop))
        if process_index():
            yield from _reports(mine, {}, own)
            return
        results = parts.merge(own)
    with ScoreFile(output, kept.values()) as file:
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
    with closing(scorer.score_all(requests, should_stop=should_stop)) as answers:
        for row in rows:
            if should_stop():
                return
            try:
                answer = row.problem or "" if row.video is None else next(answers)
            except StoppedError:
                should_stop()  # raises where the person has left: that is no end which leaves a result
                return
            if isinstance(answer, DemoError | str):
                yield RowResult(row, None, " ".join(str(answer).split()), scorer.model_id)
            else:
                margins = scorer.trained_on.margins
                yield RowResult(
                    row=row,
                    scores=answer.scores,
                    error=None,
                    model=scorer.model_id,
                    unknown_words=answer.unknown_words,
                    doubts=answer.doubts,
                    notes=answer.notes,
                    sha256=answer.sha256,
                    intervals=intervals(answer.scores, answer.doubts, margins) if margins else {},
                )


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
        num_unknown=sum(bool(result.unknown_words) for result in results),
    )


def _group(name: str, results: Sequence[RowResult]) -> GroupScores:
    scored = [result.scores for result in results if result.scores is not None]
    columns = {dimension: [scores[dimension] for scores in scored] for dimension in DIMENSIONS} if scored else {}
    return GroupScores(
        name=name,
        num_scored=len(scored),
        num_errors=len(results) - len(scored),
        means={dimension: statistics.fmean(values) for dimension, values in columns.items()},
        standard_errors={
            dimension: statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
            for dimension, values in columns.items()
        },
    )


def _evaluate(results: Sequence[RowResult], trained_on: TrainedOn) -> Evaluation | None:
    """The metrics of the clips that have scores and labels, beside the no-video baseline; of several rows of one clip,
    which then are ratings, the labels are averaged."""
    judged = {result.row.line: result for result in results if result.scores is not None and result.row.labels}
    if not judged:
        return None
    rows = [result.row for result in judged.values()]
    records = rated((VideoRecord(row.name, row.video or Path(), row.prompt, row.labels, row.line), "") for row in rows)
    scored = [judged[record.line] for record in records]
    return judge(
        [result.scores or {} for result in scored],
        records,
        trained_on,
        sha256s=[result.sha256 for result in scored],
        doubts=[result.doubts for result in scored],
    )
