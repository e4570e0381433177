"""What the command line prints of scores, of agreement with labels and of a run: lists of lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from vjepa_demo import wording
from vjepa_demo.config import COMPARED_LETTERS, DIMENSIONS
from vjepa_demo.schema import (
    BatchReport,
    BatchSummary,
    Comparison,
    CountingReport,
    EncodingReport,
    EpochReport,
    Estimate,
    Evaluation,
    PairEvaluation,
    PlanReport,
    RecordSet,
    SplitReport,
    TimedReport,
    TrainedOn,
    TrainingReport,
    TrainingResult,
    VideoScores,
    summarise,
)

TOLD_EVERY = 10  # clips or rows
TELL_SECONDS = 2.0  # a row of a batch is told at least this often


def noted(sentences: Iterable[str]) -> list[str]:
    """Each of `sentences` as a line of its own that begins with "note: "."""
    return [f"note: {sentence}" for sentence in sentences if sentence]


def score_lines(video: str, result: VideoScores) -> list[str]:
    """A video and its scores, with ACR words where the scores have a meaning, and intervals where they have some."""
    words = {
        name: wording.verdict_word(score, name, result.doubts, result.trained_on)
        for name, score in result.scores.items()
    }
    reaches = {name: wording.interval_text(each) if each else "" for name, each in result.intervals.items()}
    rows = [f"  {name:<12}{score:.2f}  {words[name]:<11}{reaches[name]}" for name, score in result.scores.items()]
    rows = [row.rstrip() for row in rows]
    return [video, *rows, *(f"  {note}" for note in noted(wording.notes([result])))]


def model_lines(name: str, hardware: str, trained_on: TrainedOn) -> list[str]:
    """The model, where it runs, what it learned from, and how far to trust its scores and their intervals."""
    said = [wording.caution(trained_on), wording.interval_note(trained_on)]
    return [f"model {name} ({hardware}), trained on {trained_on}", *noted(said)]


def comparison_lines(comparison: Comparison) -> list[str]:
    """What each letter stands for, and a table: a line a dimension, a column a video."""
    letters = COMPARED_LETTERS[: len(comparison.results)]
    lines = [f"{letter}  {result.video}" for letter, result in zip(letters, comparison.results, strict=True)]
    lines += ["", f"{'':<12}" + "".join(f"{letter:<16}" for letter in letters).rstrip()]
    for name in DIMENSIONS:
        cells = []
        for index, result in enumerate(comparison.results):
            difference = f" ({comparison.shown_differences[index][name]:+.2f})" if index else ""
            best = " *" if index in comparison.best[name] else ""
            cells.append(f"{result.scores[name]:.2f}{difference}{best}")
        lines.append(f"{name:<12}{''.join(f'{cell:<16}' for cell in cells)}".rstrip())
    lines += ["", "In brackets: the difference from A. *: the best score of a line."]
    return [*lines, *noted(wording.comparison_notes(comparison))]


def summary_lines(summary: BatchSummary) -> list[str]:
    """Means with standard errors as a table, a line a generator; and metrics where there are labels."""
    groups = [*summary.generators, summary.all]
    width = max(9, *(len(group.name) for group in groups)) + 2
    lines = [f"{'':<{width}}{'rows':>6}{'errors':>8}  " + "".join(f"{name:<15}" for name in DIMENSIONS)]
    for group in groups:
        cells = ""
        for name in DIMENSIONS:
            error = group.standard_errors.get(name)
            mean = f"{group.means[name]:.2f}" if name in group.means else "-"
            cells += f"{mean if error is None else f'{mean} ± {error:.2f}':<15}"
        lines.append(f"{group.name:<{width}}{group.num_scored:>6}{group.num_errors:>8}  {cells}")
    lines = [line.rstrip() for line in lines]
    if notes := noted(wording.batch_notes(summary.num_doubtful, summary.all.num_scored, summary.num_unknown)):
        lines += ["", *notes]
    return [*lines, *(["", *metric_lines(summary.evaluation)] if summary.evaluation else [])]


def metric_lines(evaluation: Evaluation) -> list[str]:
    """A table of metrics with standard errors, the baseline's beside them, another of pairs, and a verdict; after a
    training also the SROCC before it, and the gain."""
    if evaluation.pairs is not None and not evaluation.n:
        return [*pair_lines(evaluation.pairs), wording.verdict(evaluation)]
    baseline, gain = evaluation.no_video_baseline, evaluation.gain
    changed = "" if gain is None else f"{'before':<11}{'gain':<16}"
    lines = [f"{'':<12}{'n':>6}  {'SROCC':<16}{changed}{'PLCC':<16}{'KROCC':<16}{'RMSE':<16}no-video SROCC"]
    for name, metrics in evaluation.dimensions.items():
        numbers = f"{metrics.srocc!s:<16}"
        if gain is not None:
            before = Estimate(gain.before.dimensions[name].srocc.value)
            numbers += f"{before!s:<11}{gain.srocc[name]!s:<16}"
        numbers += "".join(f"{value!s:<16}" for value in (metrics.plcc, metrics.krocc, metrics.rmse))
        without = "" if baseline is None else str(baseline.dimensions[name].srocc)
        lines.append(f"{name:<12}{metrics.n:>6}  {numbers}{without}")
    pairs = [] if evaluation.pairs is None else ["", *pair_lines(evaluation.pairs)]
    return [*lines, *pairs, *filter(None, (wording.coverage_line(evaluation), wording.verdict(evaluation)))]


def pair_lines(pairs: PairEvaluation) -> list[str]:
    """A table of pair accuracies with standard errors, beside those of always guessing the commonest answer."""
    lines = [
        f"{'pairs':<12}{'n':>6}{'same':>6}  {'without ties':<16}{'guess':<8}{'with ties':<16}{'guess':<8}same up to"
    ]
    for name, each in pairs.dimensions.items():
        guesses = (each.guess_without_ties.value, each.guess_with_ties.value)
        without, both = ("-" if guess is None else f"{guess:.3f}" for guess in guesses)
        limit = "-" if each.tie_threshold is None else f"{each.tie_threshold:.2f}"
        numbers = f"{each.without_ties!s:<16}{without:<8}{each.with_ties!s:<16}{both:<8}"
        lines.append(f"{name:<12}{each.n:>6}{each.num_same:>6}  {numbers}{limit}")
    return [*lines, wording.tie_protocol(pairs)]


def report_lines(report: PlanReport | CountingReport | RecordSet | TrainingReport) -> list[str]:
    """How far a run is: every tenth clip, what can be used of a table and what not, each epoch, and the result."""
    if isinstance(report, RecordSet):
        return [wording.summary_line(summarise(report)), *noted([*report.notes, *map(str, report.problems)])]
    if isinstance(report, TrainingResult):
        judged = [] if report.evaluation is None else [*metric_lines(report.evaluation), wording.gain(report)]
        return [*filter(None, judged), f"The best epoch, {report.best_epoch}, is saved in {report.folder}"]
    if isinstance(report, CountingReport) and report.done % TOLD_EVERY and report.done < report.total:
        return []
    left = ""
    if isinstance(report, TimedReport | EpochReport):
        left = wording.time_left(report.seconds_left)
    notes: Sequence[str] = report.warnings if isinstance(report, SplitReport) else ()
    if isinstance(report, PlanReport):
        notes = wording.plan_notes(report)
    if isinstance(report, EncodingReport) and report.done == report.total:
        notes = wording.encoding_notes(report)
    return [", ".join(filter(None, (wording.progress_line(report), left))), *noted(notes)]


def told_rows(reports: Iterable[BatchReport], tell: Callable[[str], None]) -> Iterator[BatchReport]:
    """`reports`, each after what is new was told: each error by its line, and every tenth row or the first after two
    seconds. Of the rows that an earlier run scored only the number is told."""
    told_at, num_resumed = time.monotonic(), 0
    for report in reports:
        is_last = report.done == report.total
        if report.resumed:
            num_resumed = report.done
        if num_resumed and (is_last or not report.resumed):
            tell(f"{num_resumed:,} of {wording.counted(report.total, 'row')} were scored before")
            num_resumed = 0
        if not report.resumed:
            if report.result.error is not None:
                tell(f"line {report.result.row.line}: {report.result.error}")
            if is_last or report.done % TOLD_EVERY == 0 or time.monotonic() - told_at > TELL_SECONDS:
                scored = f"Scored {report.done - report.errors:,} of {wording.counted(report.total, 'row')}"
                errors = wording.counted(report.errors, "error") if report.errors else ""
                left = "" if is_last else wording.time_left(report.seconds_left)
                tell(", ".join(filter(None, (scored, errors, left))))
                told_at = time.monotonic()
        yield report
