"""What the Compare tab shows as fragments of HTML, and a comparison as CSV. Whatever a person typed or named is
escaped."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from vjepa_demo.app.charts import CLIP_COLOURS, without_tags
from vjepa_demo.app.compare_board import Board, Clip
from vjepa_demo.app.html import STEP_NAMES, heading, in_words, interval_title, marked_prompt, screen
from vjepa_demo.config import COMPARED_LETTERS, DIMENSIONS
from vjepa_demo.data.cells import as_text
from vjepa_demo.schema import Comparison
from vjepa_demo.wording import comparison_notes, interval_note, listed, notes, trust

HOW_TO = (
    '<b>Which version is better, and in what?</b><br><ol class="steps"><li>Drop in two to four clips.</li>'
    "<li>Type the prompt they were made from.</li><li>Press Compare.</li></ol>"
)
PLAYER = """
<div class="player" hidden>
  <button type="button" class="play" data-control="play" aria-label="Play all clips" title="Play or pause all clips">
    <svg viewBox="0 0 24 24" aria-hidden="true"><path class="to-play" d="M7 4l13 8-13 8z"/>
    <path class="to-pause" d="M6 4h4v16H6zM14 4h4v16h-4z"/></svg></button>
  <input type="range" min="0" max="1" step="0.04" value="0" data-control="seek" aria-label="Time in all clips">
  <output class="time">0:00.0 / 0:00.0</output>
  <button type="button" data-control="loop" aria-pressed="false" title="Start again at the end">Loop</button>
  <button type="button" data-control="sound" title="Choose the clip whose sound plays">Muted</button>
</div>
"""
FILE_NAME_CHARACTERS = 60


# ---- the clips -------------------------------------------------------------------------------------------------------


def stage(board: Board, played: Callable[[str], str] = str) -> str:
    """A card for each clip of the board, with its player. `played` gives the file to play for a clip's file."""
    last = len(board.clips) - 1
    cards = "".join(_card(clip, index, played, is_last=index == last) for index, clip in enumerate(board.clips))
    return f'<div class="clips" data-count="{len(board.clips)}">{cards}</div>'


def _card(clip: Clip, index: int, played: Callable[[str], str], *, is_last: bool) -> str:
    letter, name = COMPARED_LETTERS[index], escape(clip.name)
    buttons = "".join(
        f'<button type="button" data-action="{action}" aria-label="{label}" title="{label}"{" disabled" * is_off}>'
        f"{sign}</button>"
        for action, label, sign, is_off in (
            ("left", f"Move {letter} to the left", "←", index == 0),
            ("right", f"Move {letter} to the right", "→", is_last),
            ("remove", f"Remove {letter}, {name}", "×", False),
        )
    )
    if clip.path is None:
        shown = '<p class="note">The video is not in the saved file.<br>Drop it in to play it.</p>'
    else:
        shown = screen(played(str(clip.path)), f"{letter}: {clip.name}", "muted", is_scorable=clip.error is None)
    if clip.error is not None:
        state = f'<p class="state error" role="alert">{escape(clip.error)}</p>'
    elif clip.result is None:
        state = '<p class="state">not scored yet</p>'
    else:
        doubt = " doubtful" if "Overall" in clip.result.doubts else ""
        overall = f"Overall {clip.result.scores['Overall']:.2f}"
        state = f'<p class="state{doubt}" title="{in_words(clip.result)}">{overall}</p>'
    return (
        f'<figure class="clip" data-letter="{letter}" data-key="{escape(clip.key)}" '
        f'style="--clip:{CLIP_COLOURS[index]}"><figcaption><span class="letter">{letter}</span>'
        f'<span class="name" title="{name}">{name}</span>{buttons}</figcaption>'
        f'<div class="screen">{shown}</div>{state}</figure>'
    )


# ---- the scores ------------------------------------------------------------------------------------------------------


def empty(board: Board) -> str:
    """What stands in the place of a comparison while there is none: how to get one, or why there is none, with the
    scores of the clip that has some."""
    if not board.failed:
        return f'<div class="empty"><div>{HOW_TO}</div></div>'
    kept = "".join(
        f"<p><b>{escape(clip.name)}</b><br>{in_words(result)}</p>"
        + heading("", result.model, result.trained_on, notes([result]))
        for clip in board.clips
        if (result := clip.result) is not None
    )
    return f'<div class="empty"><div><p><b>{escape(failure(board))}</b></p>{kept}</div></div>'


def failure(board: Board) -> str:
    """Which clips could not be scored, and what to do; "" if there are none."""
    if not board.failed:
        return ""
    one = "has no scores: put another clip in its place."
    several = "have no scores: put other clips in their places."
    return f"{listed([clip.name for clip in board.failed])} {one if len(board.failed) == 1 else several}"


def comparison_heading(comparison: Comparison) -> str:
    """The `heading` of a comparison: how many clips, and their prompt where all have the same."""
    prompts = {result.prompt for result in comparison.results}
    of = f"“{marked_prompt(comparison.results[0])}”" if len(prompts) == 1 else "each with its own prompt"
    what = f"<b>{len(comparison.results)} clips</b> · {of}"
    return heading(what, comparison.model, comparison.trained_on, comparison_notes(comparison))


def table(board: Board, comparison: Comparison) -> str:
    """A row a dimension, a column a clip: the score, its difference to the first clip, and a star at the best."""
    of_their_own = len({result.prompt for result in comparison.results}) > 1
    heads = ""
    for index, result in zip(board.scored, comparison.results, strict=True):
        name, prompt = escape(Path(result.video).name), escape(result.prompt)
        own = f'<small class="own" title="{prompt}">“{marked_prompt(result)}”</small>' if of_their_own else ""
        heads += (
            f'<th scope="col" style="--clip:{CLIP_COLOURS[index]}"><span class="letter">{COMPARED_LETTERS[index]}'
            f'</span><span class="name" title="{name}">{name}</span>{own}</th>'
        )
    star = '<span class="star" title="best"><span aria-hidden="true">★</span><i>best</i></span>'
    rows, shown = "", list(zip(comparison.results, comparison.shown_differences, strict=True))
    for name in DIMENSIONS:
        kind, doubt = ("doubtful", "<small>not meaningful</small>") if name in comparison.doubts else ("sure", "")
        if name == "Overall" and comparison.prompts_differ:
            doubt += "<small>prompts differ</small>"
        rows += f'<tr class="{kind}"><th scope="row">{name}{doubt}</th>'
        for index, (result, differences) in enumerate(shown):
            is_best = index in comparison.best[name]
            rows += (
                f'<td class="{"best" * is_best}" data-dimension="{name}"'
                f'{interval_title(result.intervals[name])}><span class="value">'
                f"{result.scores[name]:.2f}</span>{star * is_best}"
                f'<small class="difference">{signed(differences[name]) if index else ""}</small></td>'
            )
        rows += "</tr>"
    return (
        '<table class="scores compared"><caption>Scores from 1 (Bad) to 5 (Excellent), and below each its difference '
        f'to {COMPARED_LETTERS[board.scored[0]]}. <span aria-hidden="true">★</span> marks the best of a row, after '
        f"rounding.</caption><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def signed(difference: float) -> str:
    """A difference of scores with its sign, such as +0.42, −0.42 or ±0.00."""
    text = f"{abs(difference):.2f}"
    sign = "±" if float(text) == 0 else "+" if difference > 0 else "−"
    return sign + text


def about(board: Board, comparison: Comparison) -> str:
    """What the model learned from, and the time that each clip took; a video seen before is not encoded again."""
    spent, remembered = [], []
    for index, result in zip(board.scored, comparison.results, strict=True):
        steps = [f"{STEP_NAMES.get(step, step)} {1e3 * each:,.0f} ms" for step, each in result.seconds.items()]
        total = f"{1e3 * sum(result.seconds.values()):,.0f} ms"
        spent.append(f'{COMPARED_LETTERS[index]} <span title="{escape(", ".join(steps))}">{total}</span>')
        if result.seconds.get("video") == 0:
            remembered.append(COMPARED_LETTERS[index])
    again = f" (video remembered, not encoded again: {listed(remembered)})" if remembered else ""
    return (
        f'<div class="about-scores"><p>{escape(trust(comparison.model, comparison.trained_on))} '
        f"{escape(interval_note(comparison.trained_on))}</p>"
        f'<p class="times">{" · ".join(spent)}{again}</p></div>'
    )


# ---- exports ---------------------------------------------------------------------------------------------------------


def exports(comparison: Comparison) -> str:
    """Buttons that save what is shown: the browser makes the files, nothing is kept on the server for them."""
    buttons = "".join(
        f'<button type="button" data-export="{kind}" title="{title}">{kind.upper()}</button>'
        for kind, title in (
            ("png", "The chart as a picture"),
            ("csv", "The scores for a spreadsheet, a row for each clip"),
            ("json", "The scores for programs; this tab can open the file again"),
        )
    )
    prompts = {result.prompt for result in comparison.results}
    of = f" · “{comparison.results[0].prompt}”" if len(prompts) == 1 else ""
    loses = ", which does not beat the no-video baseline" if comparison.trained_on.beats_baseline is False else ""
    data = {
        "name": file_name(comparison),
        # Above the chart: a score is never shown without the model that gave it.
        "title": without_tags(f"Scored by {comparison.model}{loses}{of}"),
        "csv": as_csv(comparison),
        "json": json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n",
    }
    attributes = " ".join(f'data-{name}="{escape(text)}"' for name, text in data.items())
    return f'<div class="exports" {attributes}><span>Save as</span>{buttons}</div>'


def file_name(comparison: Comparison) -> str:
    """A name without suffix for a file of this comparison, of the clips' names, safe on every system."""
    names = [Path(result.video).stem for result in comparison.results]
    words = re.sub(r"[^\w]+", "-", "-".join(["comparison", *names])).strip("-_")
    return words[:FILE_NAME_CHARACTERS].rstrip("-_")


def as_csv(comparison: Comparison) -> str:
    """A row a clip: video, prompt, model, its scores, their differences to the first clip, the dimensions whose score
    means nothing, the neutral prompt that the others were made with, and, where the model has intervals, their two
    ends, named as in a batch. No cell is a formula."""
    columns = ["video", "prompt", "model", *DIMENSIONS, *(f"{name}_difference" for name in DIMENSIONS)]
    has_intervals = bool(comparison.trained_on.margins)
    ends = [f"{name}_{end}" for name in DIMENSIONS for end in ("low", "high")] if has_intervals else []
    written = io.StringIO()
    rows = csv.writer(written)  # RFC 4180
    rows.writerow([*columns, "not_meaningful", "neutral_prompt", *ends])
    for result, differences in zip(comparison.results, comparison.differences, strict=True):
        texts = map(as_text, (Path(result.video).name, result.prompt, result.model))
        reaches = [end for each in result.intervals.values() for end in each or ("", "")] if has_intervals else []
        told = (", ".join(result.doubts), as_text(result.neutral_prompt))
        rows.writerow([*texts, *result.scores.values(), *differences.values(), *told, *reaches])
    return written.getvalue()
