"""What the Rate tab shows as fragments of HTML. Whatever a person typed or named is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from vjepa_demo.app.html import SHOWN_PROBLEMS
from vjepa_demo.config import ACR_WORDS, DIMENSION_MEANINGS, DIMENSIONS, SCORE_MIN
from vjepa_demo.schema.learning import MIN_RATED_CLIPS, Learned
from vjepa_demo.schema.rating import RatingProgress, Statistic, Study, StudyKind, StudyStatistics
from vjepa_demo.wording import counted, listed, time_left

HOW_TO = (
    '<div class="empty"><div><b>Your own eyes in the model, in ten minutes.</b><br><ol class="steps">'
    "<li>Add clips and their prompts.</li><li>Watch and rate, by keyboard.</li>"
    f"<li>From {MIN_RATED_CLIPS} rated clips on, see how well a model that learns from you agrees with you.</li>"
    "<li>Use it in Score.</li></ol></div></div>"
)
KEYS = (
    ("back", "Undo", "⌫"),
    ("replay", "Replay", "R"),
    ("none", "Cannot judge", "0"),
    ("pause", "Pause", "P"),
    ("next", "Next", "⏎"),
)
ENDED = "This study has ended: its owner takes no more answers. Those you gave are kept."
LEAVE = '<button type="button" class="quiet" data-do="leave">Rate clips of your own</button>'
SIDES = (("a", "Left", "1 ←"), ("same", "Same", "2 ↓"), ("b", "Right", "3 →"))


# ---- the stage -------------------------------------------------------------------------------------------------------


def stage(study_id: str = "", *, name: str = "", secret: str = "", owner: str = "", turn: str = "") -> str:
    """The stage, for rate.js to fill; with a study that has just been made, and the secrets of who made it. Another
    `turn` puts the same study on the stage anew."""
    mine = {"study": study_id, "name": name, "secret": secret, "owner": owner, "turn": turn}
    data = "".join(f' data-{key}="{escape(value)}"' for key, value in mine.items() if value)
    buttons = "".join(
        f'<button type="button" data-do="{what}">{label} <kbd>{key}</kbd></button>' for what, label, key in KEYS
    )
    return (
        f'<div class="rating"{data}><p class="say" role="status" aria-live="polite"></p>'
        '<form class="join" hidden><div class="about"></div><label>Your name<input name="name" maxlength="60" '
        'autocomplete="nickname" required></label><button>Start rating</button>'
        f"{LEAVE}</form>"
        '<div class="bench" hidden><div class="screens"></div><div class="desk">'
        '<p class="practice" hidden>Practice: this answer does not count.</p><p class="prompt"></p>'
        f'<div class="rows"></div><div class="actions">{buttons}</div>'
        '<div class="progress"><div class="bar-line"><span></span></div><p></p></div></div></div>'
        '<div class="done" hidden><p></p><button type="button" data-do="back" hidden>Undo the last answer</button>'
        f"{LEAVE}</div></div>"
    )


def rows(study: Study) -> str:
    """A row of buttons for each dimension that is asked about."""
    pairs = study.kind == "pairs"
    scores = [(f"{SCORE_MIN + at:g}", word, f"{SCORE_MIN + at:g}") for at, word in enumerate(ACR_WORDS)]
    choices = SIDES if pairs else scores
    lines = ""
    for name in study.dimensions:
        buttons = "".join(
            f'<button type="button" data-value="{value}" aria-pressed="false" aria-label="{name}: {word}">'
            f"<kbd>{key}</kbd>{word}</button>"
            for value, word, key in choices
        )
        none = (
            f'<button type="button" class="cannot" data-value="null" aria-pressed="false" '
            f'aria-label="{name}: cannot judge" title="Cannot judge">–</button>'
        )
        lines += (
            f'<div class="question" role="group" aria-label="{name}"><p><b>{name}</b> <small>{DIMENSION_MEANINGS[name]}'
            f'</small></p><div class="choices">{buttons}{none}</div></div>'
        )
    return lines


def invitation(study: Study) -> str:
    """What a rater is asked to do, before they begin."""
    what = counted(len(study.units), "pair" if study.kind == "pairs" else "clip")
    how = (
        "Two clips of one prompt play side by side. Say which is better: 1 left, 2 the same, 3 right."
        if study.kind == "pairs"
        else "Rate each from 1 (bad) to 5 (excellent) with the keys 1 to 5."
    )
    more = "" if len(study.dimensions) == 1 else " Press Enter for the next."
    return (
        f"<h3>{escape(study.title)}</h3><p>{what} to judge. {how}{more} Press 0 if you cannot judge, Backspace to "
        "undo, R to see it again. You can stop at any time and go on later in this browser.</p>"
    )


def progress_text(progress: RatingProgress) -> str:
    """How far a rater is, and how long the rest will take."""
    left = f" · {time_left(progress.seconds_left)}" if progress.seconds_left else ""
    return f"{progress.done} of {progress.total}{left}"


def thanks(progress: RatingProgress, kind: StudyKind = "clips") -> str:
    """What a rater of a study of this `kind` is told at the end."""
    return (
        f"That was all: {counted(progress.num_judged, kind.removesuffix('s'))} judged. Thank you."
        if progress.done
        else ("This study has no clip that can be shown: tell its owner.")
    )


def sentence(text: str) -> str:
    """An error as the page shows it."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


# ---- for the owner ---------------------------------------------------------------------------------------------------


def link(study: Study, owner: str, *, ended: bool) -> str:
    """The study's title and link, which the browser makes whole when it is copied, and its owner's key."""
    address = f"?study={quote(study.id)}"
    state = "The study has ended: nobody can answer." if ended else "Whoever opens this link rates the same clips."
    return (
        f'<div class="study-link"><h3>{escape(study.title)}</h3><p>{state}</p><p>'
        f'<a href="{address}" target="_blank" rel="noopener">Link for raters</a> '
        '<button type="button" data-copy>Copy</button></p><details class="about-scores"><summary>For programs</summary>'
        f"<p>The API's rate_stats and rate_export take the study <code>{escape(study.id)}</code> and the owner's key "
        f"<code>{escape(owner)}</code>. Give the key to nobody else.</p></details></div>"
    )


def left_out(notes: Sequence[str]) -> str:
    """What of the table and the videos is not in a study that was just made."""
    lines = "".join(f"<p>{escape(note)}</p>" for note in notes[:SHOWN_PROBLEMS])
    more = f"<p>... and {len(notes) - SHOWN_PROBLEMS:,} more</p>" if len(notes) > SHOWN_PROBLEMS else ""
    title = f"<summary>{counted(len(notes), 'note')} on what was added</summary>"
    return f'<details class="about-scores">{title}{lines}{more}</details>' if notes else ""


def agreement(points: tuple[Learned, ...], num_rated: int) -> str:
    """How well the model that learned agrees with the raters, a row a dimension, and what the numbers are."""
    if not points:
        missing = MIN_RATED_CLIPS - num_rated
        if missing > 0:
            return f'<p class="note">The model learns from {MIN_RATED_CLIPS} rated clips on: {missing} to go.</p>'
        return '<p class="note">Nothing was learned yet: clips are still being read, or the scores hardly differ.</p>'
    last = points[-1].to_dict()
    lines = ""
    for name in DIMENSIONS:
        if (found := last["dimensions"].get(name)) is None:
            continue
        after = f"{_number(found['after'])}{_error(found['after_standard_error'])}"
        cells = (found["n"], f"<b>{after}</b>", *(_number(found[key]) for key in ("before", "no_video", "ceiling")))
        lines += f'<tr data-dimension="{name}"><td>{name}</td>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    heads = "".join(
        f'<th title="{title}">{head}</th>'
        for head, title in (
            ("", ""),
            ("clips", "Clips with a score of yours"),
            ("learned", "The model that learned from the other clips, ± its standard error"),
            ("before", "The model as it was"),
            ("no video", "What the prompts alone would have told; nothing where all clips are of one prompt"),
            ("ceiling", "The highest correlation that a perfect model would reach with such ratings, estimated"),
        )
    )
    names = points[-1].not_gained
    kept = f" No gain in {listed(names)}: there only the level is learned, the order stays." if names else ""
    others = "clips of other prompts" if last["by_prompt"] else "the other clips"
    return (
        f'<div class="wide"><table class="scores metrics"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>'
        f"</div><p class='note'>Rank correlation (SROCC) with the ratings, of {counted(last['num_clips'], 'clip')}. "
        f"Each clip is judged by a model that learned from {others} alone.{_learned_before(points[-1])}{kept}</p>"
    )


def _learned_before(point: Learned) -> str:
    """A sentence on the clips that the model as it was had learned from, where there are any."""
    found = point.after
    if not found.num_learned:
        return ""
    rest = "they do not judge" if found.num_left_out else "too few others are there, so both numbers are too high"
    return f" The model as it was had learned from {found.num_learned:,} of the clips: {rest}."


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _error(value: float | None) -> str:
    return "" if value is None else f" ± {value:.2f}"


def statistics(found: StudyStatistics) -> str:
    """Who rated how much, how far the raters agree with themselves and each other, what the owner must know."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in found.notes)
    answers, raters = counted(found.num_answers, "answer"), counted(found.num_raters, "rater")
    body = ""
    for name, of_clips in found.dimensions.items():
        lines: list[tuple[object, ...]] = [
            (
                each.rater,
                each.num_ratings,
                *map(_statistic, (each.bias, each.inconsistency, each.self_correlation, each.self_difference)),
            )
            for each in of_clips.raters
        ]
        agree = (("with themselves", of_clips.self_correlation), ("with each other", of_clips.reliability))
        body += _raters(name, ("ratings", "bias", "inconsistency", "self", "difference"), lines, dict(agree))
    for name, of_pairs in found.pairs.items():
        answers_of: list[tuple[object, ...]] = [
            (each.rater, each.num_answers, *map(_statistic, (each.same_share, each.self_agreement, each.agreement)))
            for each in of_pairs.raters
        ]
        agree = (("with themselves", of_pairs.self_agreement), ("with each other", of_pairs.agreement))
        body += _raters(name, ("answers", "same", "self", "others"), answers_of, dict(agree))
    folded = f"<details><summary>Raters and agreement</summary>{body}</details>" if found.num_answers else ""
    return f'<div class="about-scores"><p><b>{answers} by {raters}</b></p>{notes}{folded}</div>'


def _raters(name: str, heads: tuple[str, ...], lines: list[tuple[object, ...]], agree: Mapping[str, Statistic]) -> str:
    head = "".join(f"<th>{each}</th>" for each in (escape(name), *heads))
    rows = ""
    for rater, *numbers in lines:
        rows += f"<tr><td>{escape(str(rater))}</td>{''.join(f'<td>{each}</td>' for each in numbers)}</tr>"
    told = " · ".join(f"{what} {_statistic(number)}" for what, number in agree.items())
    return (
        f'<div class="wide"><table class="scores metrics"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f"</div><p>Raters agree {told}</p>"
    )


def _statistic(number: Statistic) -> str:
    return _number(number.value) if number.value is not None else f'<span title="{escape(number.why)}">–</span>'
