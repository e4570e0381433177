"""What the Fine-tune tab shows as fragments of HTML: what training changed, and the clips predicted worst. Whatever a
person typed or named is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vjepa_demo.app.html import metrics_table, screen
from vjepa_demo.schema import Estimate, Evaluation, Gain, PredictedClip
from vjepa_demo.wording import counted

WORST_CLIPS = 5
# The event `play` tells the server which clip's button was pressed. Pressed again, the button closes its player.
WORST_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-clip]');
  if (button) trigger('play', { clip: Number(button.dataset.clip), open: button.ariaExpanded !== 'true' });
});
element.addEventListener('error', (event) => event.target.closest('.screen')?.classList.add('broken'), true);
"""


def refusal(message: str) -> str:
    """Why a table cannot be used, in the place of what would be used of it."""
    return f'<div class="about-scores refused" role="alert"><p><b>{escape(message)}</b></p></div>'


# ---- what training changed -------------------------------------------------------------------------------------------


def results(evaluation: Evaluation | None, sentence: str) -> str:
    """SROCC before and after training where there was a before, what that means, and all metrics one click away; else
    the metrics themselves."""
    if evaluation is None or evaluation.gain is None or not evaluation.dimensions:
        return metrics_table(evaluation, sentence)
    changed = _change_table(evaluation, evaluation.gain)
    said = f'<div class="about-scores"><p>{escape(sentence)}</p></div>'
    folded = f"<details><summary>All metrics</summary>{metrics_table(evaluation, '')}</details>"
    return f"{changed}{said}{folded}"


def _change_table(evaluation: Evaluation, gain: Gain) -> str:
    """A row a dimension: its SROCC before and after training, the gain with its standard error, and both as marks on a
    line that ends at 1 and begins at 0, or at -1 where any is below 0."""
    head = "".join(f"<th>{name}</th>" for name in ("", "before", "after", "gain", ""))
    rows = ""
    numbers = [each.srocc.value for one in (evaluation, gain.before) for each in one.dimensions.values()]
    low = -1.0 if min(value for value in (*numbers, 0.0) if value is not None) < 0 else 0.0
    for name, metrics in evaluation.dimensions.items():
        before, after = gain.before.dimensions[name].srocc, metrics.srocc
        values = (Estimate(before.value), Estimate(after.value), _signed(gain.srocc[name]))
        cells = "".join(f"<td>{value}</td>" for value in (name, *values))
        rows += f'<tr data-gain="{name}">{cells}<td class="change">{_change(before.value, after.value, low)}</td></tr>'
    clips = counted(evaluation.n, "validation clip")
    return (
        f'<p class="strip-title">Rank correlation (SROCC) with the labels of {clips} (± standard error)</p>'
        f'<table class="scores metrics changes"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _signed(gain: Estimate) -> str:
    """Such as "+0.120 ± 0.050"."""
    return str(gain) if gain.value is None else f"{'+' * (gain.value >= 0)}{gain}"


def _change(before: float | None, after: float | None, low: float) -> str:
    """A line from `low` to 1 with a ring for `before`, a dot for `after`, and the way between them."""
    if before is None or after is None:
        return ""
    start, end = (100 * (value - low) / (1 - low) for value in (before, after))
    way = f"left:{min(start, end):.1f}%;width:{abs(end - start):.1f}%"
    return (
        f'<div><span class="{"rose" if end >= start else "fell"}" style="{way}"></span>'
        f'<i class="before" style="left:{start:.1f}%"></i><i class="after" style="left:{end:.1f}%"></i></div>'
    )


# ---- the clips predicted worst ---------------------------------------------------------------------------------------


def worst(clips: Sequence[PredictedClip], *, opened: int | None = None, player: str = "") -> str:
    """The clips with the largest errors: name, prompt, error, each label with its prediction, and a button that plays
    the clip. Below the one at `opened` stands its `player`."""
    if not clips:
        return ""
    cards = "".join(_worst_card(clip, index, player if index == opened else "") for index, clip in enumerate(clips))
    title = "Validation clips predicted worst: label → prediction"
    return f'<p class="strip-title">{title}</p><ol class="worst">{cards}</ol>'


def _worst_card(clip: PredictedClip, index: int, player: str) -> str:
    name = escape(clip.record.name)
    scores = "".join(
        f"<span><small>{dimension}</small>{label:.2f} → <b>{clip.scores[dimension]:.2f}</b></span>"
        for dimension, label in ((each, clip.record.labels[each]) for each in clip.scores)
    )
    is_open, sign = ("true", "×") if player else ("false", "▶")
    return (
        f'<li><div class="said"><button type="button" data-clip="{index}" aria-expanded="{is_open}">'
        f'<span class="sign" aria-hidden="true">{sign}</span>{name}</button>'
        f"<small>{escape(clip.record.prompt)}</small></div>"
        f'<div class="off"><small>error</small><b>{clip.error:.2f}</b></div>'
        f'<div class="given">{scores}</div>{player}</li>'
    )


def player(path: str, name: str) -> str:
    """The player of a clip below its row."""
    return f'<div class="screen">{screen(path, name, "controls loop autoplay muted", is_scorable=False)}</div>'
