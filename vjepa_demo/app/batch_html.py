"""A batch as fragments of HTML: what will be scored, the rows that are done, means and leaderboard."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import nlargest, nsmallest
from html import escape
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from vjepa_demo.app import html as render
from vjepa_demo.app.session import BatchOrder
from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import OVERALL_MEANS_LESS

if TYPE_CHECKING:
    from vjepa_demo.tasks.batch import BatchReport, BatchRow, BatchTable, GroupScores, RowResult
    from vjepa_demo.tasks.score import Scorer

EMPTY = (
    '<div class="empty">Score many clips at once.<br>'
    "Their videos, and either one prompt for all of them or a table with the columns video_name and Prompt."
    "<br>With a column generator the generators are ranked; with labels the scores are compared with them.</div>"
)
METRICS_TITLE = '<p class="strip-title">Scores compared with the labels</p>'
ORDERS: dict[str, BatchOrder] = {
    "Latest": "latest",
    "Errors": "errors",
    "Best Overall": "best",
    "Worst Overall": "worst",
}
RANKED = ("Overall", *(name for name in DIMENSIONS if name != "Overall"))  # of the leaderboard: by the first
SHOWN_ROWS = 50  # a page that fills must stay light; the download has all rows


# ---- what will be scored ---------------------------------------------------------------------------------------------


def table_report(table: BatchTable, *, is_open: bool, is_next: bool = False) -> str:
    """How many rows will be scored, with what labels and generators, and by line why the others cannot be.

    `is_next` where the scores below are those of another table.
    """
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    problems = [row for row in table.rows if row.problem is not None]
    return (
        f'<div class="about-scores"><p><b>{"Next: " if is_next else ""}{escape(_sentence(table))}</b></p>{notes}'
        f"{_problems(problems, is_open=is_open) if problems else ''}</div>"
    )


def _sentence(table: BatchTable) -> str:
    usable = [row for row in table.rows if row.problem is None]
    videos = len({row.video for row in usable})
    parts = [
        f"{len(usable):,} of {render.counted(len(table.rows), 'row')} will be scored",
        render.counted(videos, "video"),
    ]
    if table.generator_column is not None:
        generators = len({row.generator for row in usable if row.generator})
        parts.append(f"{render.counted(generators, 'generator')} (column {table.generator_column})")
    if labelled := sum(bool(row.labels) for row in usable):
        parts.append(f"{labelled:,} with labels")
    return f"{table.name}: {', '.join(parts)}."


def _problems(rows: Sequence[BatchRow], *, is_open: bool) -> str:
    shown = "".join(
        f"<tr><td>{row.line}</td><td>{escape(row.problem or '')}</td></tr>" for row in rows[: render.SHOWN_PROBLEMS]
    )
    more = len(rows) - render.SHOWN_PROBLEMS
    rest = f"<p>... and {more:,} more</p>" if more > 0 else ""
    return (
        f"<details{' open' if is_open else ''}><summary>{render.counted(len(rows), 'row')} cannot be scored and "
        'will have an error (line, reason)</summary><div class="problems"><table class="scores">'
        f"<tbody>{shown}</tbody></table></div>{rest}</details>"
    )


# ---- while it runs ---------------------------------------------------------------------------------------------------


def progress(report: BatchReport) -> str:
    """How far the run is, how long it will take, and how many rows could not be scored."""
    text = f"{report.done:,} of {render.counted(report.total, 'row')}{_errors(report.errors)}"
    return render.status(text, report.done / report.total, report.seconds_left)


def ended(num_scored: int, num_left: int, errors: int) -> str:
    """That the run is done or was stopped, and with what."""
    total = num_scored + errors + num_left
    text = f"{num_scored:,} of {render.counted(total, 'row')} scored{_errors(errors)}"
    if num_left:
        return render.status(f"Stopped: {text}, {num_left:,} left", 1 - num_left / total, None)
    return render.status(f"Done: {text}", 1.0, None)


def _errors(errors: int) -> str:
    return f" · {render.counted(errors, 'error')}" if errors else ""


def scored_by(scorer: Scorer, *, num_doubtful: int = 0) -> str:
    """The model, and how far to trust it; in `num_doubtful` rows its Alignment means nothing."""
    rows = render.counted(num_doubtful, "row")
    why = "it does not know every word of the prompt"
    doubt = f"In {rows} its Alignment means nothing, and its {OVERALL_MEANS_LESS}: {why}." if num_doubtful else ""
    return (
        f'<div class="heading"><p>Scored by <b>{escape(scorer.name)}</b>. {scorer.trained_on.caution} {doubt}</p></div>'
    )


def means(scores: Sequence[Mapping[str, float]], errors: Mapping[str, float | None] | None = None) -> str:
    """The mean of each dimension over `scores`, one mapping a clip, with its standard error where one is given."""
    if not scores:
        return ""
    tiles = "".join(
        _tile(name, fmean(each[name] for each in scores), None if errors is None else errors[name])
        for name in DIMENSIONS
    )
    return f'<p class="strip-title">Mean of {render.counted(len(scores), "clip")}</p><div class="tiles">{tiles}</div>'


def _tile(name: str, mean: float, error: float | None) -> str:
    percent = 100 * (mean - SCORE_MIN) / (SCORE_MAX - SCORE_MIN)
    return (
        f'<div class="tile" data-dimension="{name}"><small>{name}</small><b>{mean:.2f}</b> '
        f"<small>{'' if error is None else f'± {error:.2f}'}</small>"
        f'<div class="bar-line"><span style="width:{percent:.1f}%"></span></div></div>'
    )


def rows(results: Sequence[RowResult], order: BatchOrder) -> str:
    """At most `SHOWN_ROWS` of the rows that are done, and how many there are."""
    chosen = _chosen(results, order)
    num_errors = sum(result.error is not None for result in results)
    of = {"latest": len(results), "errors": num_errors}.get(order, len(results) - num_errors)
    if not chosen:
        return f'<p class="strip-title">{"No errors." if order == "errors" else "No row is done yet."}</p>'
    head = "".join(f"<th>{name}</th>" for name in ("line", "clip", *DIMENSIONS))
    body = "".join(map(_row, chosen))
    few = (
        f"{len(chosen)} of {render.counted(of, 'row')} shown; the download has all of them." if of > len(chosen) else ""
    )
    return (
        f'<table class="scores batch-rows"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f'<p class="strip-title">{few}</p>'
    )


def _chosen(results: Sequence[RowResult], order: BatchOrder) -> list[RowResult]:
    if order == "errors":
        return list(islice((result for result in results if result.error is not None), SHOWN_ROWS))
    if order == "latest":
        return list(islice(reversed(results), SHOWN_ROWS))
    scored = [(result.scores["Overall"], result) for result in results if result.scores is not None]
    pick = nlargest if order == "best" else nsmallest
    return [result for _, result in pick(SHOWN_ROWS, scored, key=lambda pair: pair[0])]


def _row(result: RowResult) -> str:
    row = result.row
    prompt = render.marked(row.prompt, result.unknown_words, "the model")
    clip = f'<td class="row-clip">{escape(row.name)}<small title="{escape(row.prompt)}">{prompt}</small></td>'
    if result.scores is None:
        cells = f'<td class="row-failed" colspan="{len(DIMENSIONS)}">{escape(result.error or "")}</td>'
    else:
        doubtful = {"Alignment"} if result.unknown_words else set()
        cells = "".join(
            f'<td class="value{" doubtful" if name in doubtful else ""}" data-dimension="{name}">'
            f"{result.scores[name]:.2f}</td>"
            for name in DIMENSIONS
        )
    return f'<tr data-line="{row.line}"><td class="row-line">{row.line}</td>{clip}{cells}</tr>'


# ---- when it has ended -----------------------------------------------------------------------------------------------


def leaderboard(groups: Sequence[GroupScores], *, num_unnamed: int = 0, doubtful: Collection[str] = ()) -> str:
    """A row a generator, in the order of `groups`; means with standard errors, the best of each dimension in bold but
    for the `doubtful` ones, in which a score means nothing.

    `num_unnamed` rows do not say what made their clip, and so count for nobody.
    """
    unnamed = f'<p class="strip-title">Not ranked: {render.counted(num_unnamed, "row")} without a generator.</p>'
    return (_generators(groups, doubtful) if groups else "") + (unnamed if num_unnamed else "")


def _generators(groups: Sequence[GroupScores], doubtful: Collection[str]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", "generator", "clips", *RANKED))
    best = {
        name: max((group.means[name] for group in groups if group.means and name not in doubtful), default=None)
        for name in DIMENSIONS
    }
    body = "".join(_generator(rank, group, best) for rank, group in enumerate(groups, start=1))
    return (
        '<p class="strip-title">Generators, best Overall first: mean ± its standard error</p>'
        '<div class="wide"><table class="scores metrics leaderboard">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _generator(rank: int, group: GroupScores, best: Mapping[str, float | None]) -> str:
    failed = f"<small>{render.counted(group.num_errors, 'error')}</small>" if group.num_errors else ""
    cells = "".join(f'<td data-dimension="{name}">{_mean(group, name, best[name])}</td>' for name in RANKED)
    name = escape(group.name)
    return (
        f'<tr data-generator="{name}"><td>{rank}</td><td class="name" title="{name}">{name}</td>'
        f"<td>{group.num_scored:,}{failed}</td>{cells}</tr>"
    )


def _mean(group: GroupScores, name: str, best: float | None) -> str:
    if not group.means:
        return "–"
    is_best = group.means[name] == best
    error = group.standard_errors[name]
    text = f"{group.means[name]:.2f}"
    return (f"<b>{text}</b>" if is_best else text) + ("" if error is None else f"<small>± {error:.2f}</small>")
