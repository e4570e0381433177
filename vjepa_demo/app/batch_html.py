"""A batch as fragments of HTML: what will be scored, the rows that are done, means and leaderboard.

A gr.Dataframe would cut off the last columns without a sign, and knows neither an error across all scores nor a layout
for phones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from heapq import nlargest, nsmallest
from html import escape
from operator import itemgetter
from statistics import fmean
from typing import TYPE_CHECKING

from vjepa_demo.app import html as render
from vjepa_demo.app.session import BatchOrder
from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import BatchReport, BatchSummary, BatchTable, GroupScores, RowResult, TrainedOn
from vjepa_demo.wording import batch_notes, counted, interval_note

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

EMPTY = (
    '<div class="empty">Score many clips at once.<br>'
    "Add their videos, and either one prompt for all of them or a table with the columns video_name and Prompt."
    "<br>If it has a column generator, the generators are ranked; if it has labels, the scores are compared with them."
    "</div>"
)
METRICS_TITLE = '<p class="strip-title">Scores compared with the labels</p>'
ORDERS: list[tuple[str, BatchOrder]] = [
    ("Latest", "latest"),
    ("Errors", "errors"),
    ("Best Overall", "best"),
    ("Worst Overall", "worst"),
]
RANKED = ("Overall", *(name for name in DIMENSIONS if name != "Overall"))  # of the leaderboard: by the first
SHOWN_ROWS = 50  # a page that fills must stay light; the download has all rows


# ---- what will be scored ---------------------------------------------------------------------------------------------


def table_report(table: BatchTable, *, is_open: bool, is_next: bool = False) -> str:
    """How many rows will be scored, with what labels and generators, and by line why the others cannot be.

    `is_next` where the scores below are those of another table.
    """
    usable = [row for row in table.rows if row.problem is None]
    parts = [
        f"{len(usable):,} of {counted(len(table.rows), 'row')} will be scored",
        counted(len({row.video for row in usable}), "video"),
    ]
    if table.generator_column is not None:
        generators = len({row.generator for row in usable if row.generator})
        parts.append(f"{counted(generators, 'generator')} (column {table.generator_column})")
    if labelled := sum(bool(row.labels) for row in usable):
        parts.append(f"{labelled:,} with labels")
    sentence = f"{'Next: ' if is_next else ''}{table.name}: {', '.join(parts)}."
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    problems = [(row.line, row.problem) for row in table.rows if row.problem is not None]
    folded = ""
    if problems:
        title = f"{counted(len(problems), 'row')} cannot be scored and will have an error (line, reason)"
        opened = " open" if is_open else ""
        folded = f"<details{opened}><summary>{title}</summary>{render.problem_table(problems)}</details>"
    return f'<div class="about-scores"><p><b>{escape(sentence)}</b></p>{notes}{folded}</div>'


# ---- while it runs ---------------------------------------------------------------------------------------------------


def progress(report: BatchReport) -> str:
    """How far the run is, how long it will take, and how many rows could not be scored."""
    text = f"{report.done:,} of {counted(report.total, 'row')}{_errors(report.errors)}"
    return render.status(text, report.done / report.total, report.seconds_left)


def ended(num_scored: int, num_left: int, errors: int) -> str:
    """That the run is done or was stopped, and with what."""
    total = num_scored + errors + num_left
    text = f"{num_scored:,} of {counted(total, 'row')} scored{_errors(errors)}"
    if num_left:
        return render.status(f"Stopped: {text}, {num_left:,} left", 1 - num_left / total, None)
    return render.status(f"Done: {text}", 1.0, None)


def _errors(errors: int) -> str:
    return f" · {counted(errors, 'error')}" if errors else ""


def means(results: Sequence[RowResult], scorer: Scorer, errors: Mapping[str, float | None] | None = None) -> str:
    """The mean of each dimension over the rows with scores, with its standard error where one is given; the model, how
    far to trust it, and for which content the intervals of the rows hold."""
    scores = [result.scores for result in results if result.scores is not None]
    doubtful = Counter(name for result in results for name in result.doubts)
    num_doubtful = {name: doubtful[name] for name in DIMENSIONS if name in doubtful}
    trained_on = scorer.trained_on
    num_unknown = sum(bool(result.unknown_words) for result in results)
    heading = render.heading("", scorer.name, trained_on, batch_notes(num_doubtful, len(scores), num_unknown))
    if not scores:
        return heading
    tiles = ""
    for name in DIMENSIONS:
        mean, error = fmean(each[name] for each in scores), (errors or {}).get(name)
        percent = 100 * (mean - SCORE_MIN) / (SCORE_MAX - SCORE_MIN)
        kind, beside = "tile", "" if error is None else f"± {error:.2f}"
        if name in doubtful:
            kind, beside = "tile doubtful", "says little"
        tiles += (
            f'<div class="{kind}" data-dimension="{name}"><small>{name}</small>'
            f"<b>{mean:.2f}</b> <small>{beside}</small>"
            f'<div class="bar-line"><span style="width:{percent:.1f}%"></span></div></div>'
        )
    intervals = f'<p class="strip-title">{escape(interval_note(trained_on))}</p>' if trained_on.margins else ""
    title = f'<p class="strip-title">Mean of {counted(len(scores), "clip")}</p>'
    return f'{title}<div class="tiles">{tiles}</div>{heading}{intervals}'


def rows(results: Sequence[RowResult], order: BatchOrder) -> str:
    """At most `SHOWN_ROWS` of the rows that are done, and how many there are."""
    if order in ("best", "worst"):
        scored = [(result.scores["Overall"], result) for result in results if result.scores is not None]
        pick = nlargest if order == "best" else nsmallest
        chosen, of = [result for _, result in pick(SHOWN_ROWS, scored, key=itemgetter(0))], len(scored)
    elif order == "latest":
        chosen, of = list(results[: -SHOWN_ROWS - 1 : -1]), len(results)
    else:
        errors = [result for result in results if result.error is not None]
        chosen, of = errors[:SHOWN_ROWS], len(errors)
    if not chosen:
        return f'<p class="strip-title">{"No errors." if order == "errors" else "No row is done yet."}</p>'
    head = "".join(f"<th>{name}</th>" for name in ("line", "clip", *DIMENSIONS))
    few = f"{len(chosen)} of {counted(of, 'row')} shown; the download has all of them." if of > len(chosen) else ""
    return (
        f'<table class="scores batch-rows"><thead><tr>{head}</tr></thead><tbody>{"".join(map(_row, chosen))}</tbody>'
        f'</table><p class="strip-title">{few}</p>'
    )


def _row(result: RowResult) -> str:
    row = result.row
    prompt = render.marked(row.prompt, result.unknown_words, "the model")
    said = "".join(f'<small class="said">{escape(note)}</small>' for note in result.notes)
    clip = f'<td class="row-clip">{escape(row.name)}<small title="{escape(row.prompt)}">{prompt}</small>{said}</td>'
    if result.scores is None:
        cells = f'<td class="row-failed" colspan="{len(DIMENSIONS)}">{escape(result.error or "")}</td>'
    else:
        cells = "".join(
            f'<td class="value{" doubtful" if name in result.doubts else ""}" data-dimension="{name}"'
            f"{render.interval_title(result.intervals.get(name))}>{result.scores[name]:.2f}</td>"
            for name in DIMENSIONS
        )
    return f'<tr data-line="{row.line}"><td class="row-line">{row.line}</td>{clip}{cells}</tr>'


# ---- when it has ended -----------------------------------------------------------------------------------------------


def leaderboard(summary: BatchSummary, results: Sequence[RowResult], trained_on: TrainedOn) -> str:
    """A row a generator, best Overall first: means with standard errors, the best of each dimension in bold. Doubtful
    dimensions have no best, nor has any dimension of a model that does not beat its baseline. Rows of `results` that do
    not name a generator are counted below."""
    ranking, num_unnamed = "", sum(result.row.generator is None for result in results)
    if summary.generators:
        best = {
            name: max((group.means[name] for group in summary.generators if group.means), default=None)
            for name in DIMENSIONS
            if name not in summary.num_doubtful and trained_on.beats_baseline is not False
        }
        head = "".join(f"<th>{name}</th>" for name in ("", "generator", "clips", *RANKED))
        body = "".join(
            _generator(rank, group, best, summary.num_doubtful)
            for rank, group in enumerate(summary.generators, start=1)
        )
        ranking = (
            '<p class="strip-title">Generators, best Overall first: mean ± standard error</p>'
            '<div class="wide"><table class="scores metrics leaderboard">'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )
    if num_unnamed:
        ranking += f'<p class="strip-title">Not ranked: {counted(num_unnamed, "row")} without a generator.</p>'
    return ranking


def _generator(rank: int, group: GroupScores, best: Mapping[str, float | None], doubtful: Container[str]) -> str:
    """`best` holds the dimensions that may have a best, `doubtful` those whose mean says little."""
    failed = f"<small>{counted(group.num_errors, 'error')}</small>" if group.num_errors else ""
    cells = ""
    for name in RANKED:
        mean, error = group.means.get(name), group.standard_errors.get(name)
        text = "–" if mean is None else f"<b>{mean:.2f}</b>" if mean == best.get(name) else f"{mean:.2f}"
        beside = "" if error is None else f"<small>± {error:.2f}</small>"
        kind = ' class="doubtful"' if name in doubtful else ""
        cells += f'<td data-dimension="{name}"{kind}>{text}{beside}</td>'
    name = escape(group.name)
    return (
        f'<tr data-generator="{name}"><td>{rank}</td><td class="name" title="{name}">{name}</td>'
        f"<td>{group.num_scored:,}{failed}</td>{cells}</tr>"
    )
