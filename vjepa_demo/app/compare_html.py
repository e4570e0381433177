"""What the Compare tab shows as fragments of HTML, and a comparison as CSV. Whatever a person typed or named is
escaped."""

from __future__ import annotations

import csv
import io
import json
import re
from html import escape
from pathlib import Path
from urllib.parse import quote

from vjepa_demo.app.charts import CLIP_COLOURS, without_tags
from vjepa_demo.app.compare_board import Board, Clip
from vjepa_demo.app.html import STEP_NAMES, heading, in_words, marked_prompt
from vjepa_demo.config import COMPARED_LETTERS, DIMENSIONS
from vjepa_demo.data.cells import as_text
from vjepa_demo.schema import Comparison, VideoScores
from vjepa_demo.wording import comparison_notes, listed, notes, trust

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


def stage(board: Board) -> str:
    """A card for each clip of the board, with its player."""
    cards = "".join(_card(board, index) for index in range(len(board.clips)))
    return f'<div class="clips" data-count="{len(board.clips)}">{cards}</div>'


def _card(board: Board, index: int) -> str:
    clip, letter, key = board.clips[index], COMPARED_LETTERS[index], escape(board.clips[index].key, quote=True)
    name = escape(clip.name, quote=True)
    last = len(board.clips) - 1
    return (
        f'<figure class="clip" data-letter="{letter}" data-key="{key}" style="--clip:{CLIP_COLOURS[index]}">'
        f'<figcaption><span class="letter">{letter}</span><span class="name" title="{name}">{name}</span>'
        f"{_action('left', f'Move {letter} to the left', '←', off=index == 0)}"
        f"{_action('right', f'Move {letter} to the right', '→', off=index == last)}"
        f"{_action('remove', f'Remove {letter}, {name}', '×', off=False)}</figcaption>"
        f'<div class="screen">{_screen(clip, letter)}</div>{_state(clip)}</figure>'
    )


def _action(name: str, label: str, sign: str, *, off: bool) -> str:
    return (
        f'<button type="button" data-action="{name}" aria-label="{label}" title="{label}"'
        f"{' disabled' if off else ''}>{sign}</button>"
    )


def _screen(clip: Clip, letter: str) -> str:
    if clip.path is None:
        return '<p class="note">The video is not in the saved file.<br>Drop it in to play it.</p>'
    name = escape(clip.name, quote=True)
    scorable = "" if clip.error else "<br>It can still be scored."
    return (
        f'<video src="{file_url(clip.path)}" preload="auto" muted playsinline aria-label="{letter}: {name}"></video>'
        f'<p class="note unplayable">Your browser cannot play this file.{scorable}</p>'
    )


def _state(clip: Clip) -> str:
    if clip.error is not None:
        return f'<p class="state error" role="alert">{escape(clip.error)}</p>'
    if clip.result is None:
        return '<p class="state">not scored yet</p>'
    overall, doubt = clip.result.scores["Overall"], " doubtful" if "Overall" in clip.result.doubts else ""
    return f'<p class="state{doubt}" title="{in_words(clip.result)}">Overall {overall:.2f}</p>'


def file_url(path: Path) -> str:
    """Where Gradio serves `path`, relative to the page."""
    return f"gradio_api/file={quote(str(path))}"


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
    first = COMPARED_LETTERS[board.scored[0]]
    heads = "".join(
        _column_head(index, result, of_its_own=len({each.prompt for each in comparison.results}) > 1)
        for index, result in zip(board.scored, comparison.results, strict=True)
    )
    rows = "".join(_row(name, comparison) for name in DIMENSIONS)
    return (
        '<table class="scores compared"><caption>Scores from 1 (Bad) to 5 (Excellent), and below each its difference '
        f'to {first}. <span aria-hidden="true">★</span> marks the best of a row, after rounding.</caption>'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _column_head(index: int, result: VideoScores, *, of_its_own: bool) -> str:
    name, prompt = escape(Path(result.video).name, quote=True), escape(result.prompt, quote=True)
    own = f'<small class="own" title="{prompt}">“{marked_prompt(result)}”</small>' if of_its_own else ""
    return (
        f'<th scope="col" style="--clip:{CLIP_COLOURS[index]}"><span class="letter">{COMPARED_LETTERS[index]}</span>'
        f'<span class="name" title="{name}">{name}</span>{own}</th>'
    )


def _row(name: str, comparison: Comparison) -> str:
    cells = []
    for index, (result, differences) in enumerate(zip(comparison.results, comparison.shown_differences, strict=True)):
        is_best = index in comparison.best[name]
        star = '<span class="star" title="best"><span aria-hidden="true">★</span><i>best</i></span>' if is_best else ""
        difference = signed(differences[name]) if index else ""
        cells.append(
            f'<td class="{"best" if is_best else ""}" data-dimension="{name}"><span class="value">'
            f'{result.scores[name]:.2f}</span>{star}<small class="difference">{difference}</small></td>'
        )
    kind, doubt = ("doubtful", "<small>not meaningful</small>") if name in comparison.doubts else ("sure", "")
    return f'<tr class="{kind}"><th scope="row">{name}{doubt}</th>{"".join(cells)}</tr>'


def signed(difference: float) -> str:
    """A difference of scores with its sign, such as +0.42, −0.42 or ±0.00."""
    text = f"{abs(difference):.2f}"
    sign = "±" if float(text) == 0 else "+" if difference > 0 else "−"
    return sign + text


def about(board: Board, comparison: Comparison) -> str:
    """What the model learned from, and the time that each clip took; a video seen before is not encoded again."""
    letters = [COMPARED_LETTERS[index] for index in board.scored]
    timed = list(zip(letters, comparison.results, strict=True))
    spent = " · ".join(f"{letter} {_spent(result)}" for letter, result in timed)
    remembered = [letter for letter, result in timed if result.seconds.get("video") == 0]
    again = f" (video remembered, not encoded again: {listed(remembered)})" if remembered else ""
    return (
        f'<div class="about-scores"><p>{escape(trust(comparison.model, comparison.trained_on))}</p>'
        f'<p class="times">{spent}{again}</p></div>'
    )


def _spent(result: VideoScores) -> str:
    steps = ", ".join(f"{STEP_NAMES.get(step, step)} {1e3 * each:,.0f} ms" for step, each in result.seconds.items())
    return f'<span title="{escape(steps, quote=True)}">{1e3 * sum(result.seconds.values()):,.0f} ms</span>'


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
    data = {
        "name": file_name(comparison),
        "title": _title(comparison),
        "csv": as_csv(comparison),
        "json": as_json(comparison),
    }
    attributes = " ".join(f'data-{name}="{escape(text, quote=True)}"' for name, text in data.items())
    return f'<div class="exports" {attributes}><span>Save as</span>{buttons}</div>'


def file_name(comparison: Comparison) -> str:
    """A name without suffix for a file of this comparison, of the clips' names, safe on every system."""
    names = [Path(result.video).stem for result in comparison.results]
    words = re.sub(r"[^\w]+", "-", "-".join(["comparison", *names])).strip("-_")
    return words[:FILE_NAME_CHARACTERS].rstrip("-_")


def _title(comparison: Comparison) -> str:
    """What the picture says above the chart: a score is never shown without the model that gave it.

    It is plain text for plotly, as the names in the chart are.
    """
    prompts = {result.prompt for result in comparison.results}
    of = f" · “{comparison.results[0].prompt}”" if len(prompts) == 1 else ""
    loses = ", which does not beat the no-video baseline" if comparison.trained_on.beats_baseline is False else ""
    return without_tags(f"Scored by {comparison.model}{loses}{of}")


def as_json(comparison: Comparison) -> str:
    return json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A row a clip: video, prompt, model, its scores, their differences to the first clip, and the dimensions whose
    score means nothing. No cell is a formula."""
    columns = ["video", "prompt", "model", *DIMENSIONS, *(f"{name}_difference" for name in DIMENSIONS)]
    written = io.StringIO()
    rows = csv.writer(written)  # RFC 4180
    rows.writerow([*columns, "not_meaningful"])
    for result, differences in zip(comparison.results, comparison.differences, strict=True):
        texts = map(as_text, (Path(result.video).name, result.prompt, result.model))
        rows.writerow([*texts, *result.scores.values(), *differences.values(), ", ".join(result.doubts)])
    return written.getvalue()
