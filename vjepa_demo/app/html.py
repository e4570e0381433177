"""What the page shows as fragments of HTML. Whatever a person typed or named is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from vjepa_demo.config import DIMENSION_MEANINGS, INTERVAL_LEVEL, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import (
    Estimate,
    Evaluation,
    Interval,
    PairEvaluation,
    RecordSet,
    RecordSummary,
    TrainedOn,
    VideoScores,
    words_of,
)
from vjepa_demo.wording import (
    WHY_DOUBTFUL,
    card_verdict,
    caution,
    counted,
    coverage_line,
    interval_note,
    interval_text,
    known_words,
    margins_line,
    notes,
    summary_line,
    time_left,
    trust,
    verdict_word,
)

THUMBNAIL_PIXELS = 176  # twice the size it is shown at, for sharp screens
STEP_NAMES = {"decode": "decoding", "video": "video encoder", "text": "text encoder", "head": "head"}
EMPTY = '<div class="empty">The scores appear here.<br>Add a video and its prompt, or click an example.</div>'
EMPTY_TRAINING = (
    '<div class="empty">Fine-tune a model on your own labels.<br>'
    "Add a CSV with the columns video_name, Prompt and at least one of Traditional_MOS, Alignment_MOS, Aesthetic_MOS, "
    "Temporal_MOS, Overall_MOS, or a table of pairs: it is checked at once. Then add the videos, as files or one zip."
    "<br>You see what will be used before you start.</div>"
)
SHOWN_PROBLEMS = 50
INTERVAL_MEANING = f"{100 * INTERVAL_LEVEL:.0f} % interval: it holds the label of nine clips in ten"


def hint(text: str) -> str:
    """A line under a button: why it cannot be pressed, or what it will do."""
    return f"<p>{escape(text)}</p>"


def header(title: str, model: str, state: str) -> str:
    """Title, what the page does, links, and the model with its state."""
    ready = "ready" if state.endswith("ready") else ""
    return (
        f'<div class="bar"><h1>{escape(title)}</h1>'
        "<p>Five mean opinion scores for a generated video · "
        '<a href="https://arxiv.org/abs/2506.09985" target="_blank">V-JEPA 2 paper</a> · '
        '<a href="https://huggingface.co/facebook/vjepa2-vitg-fpc64-384-ssv2" target="_blank">encoder</a></p>'
        f'<span class="badge {ready}" id="model-state">{escape(model)} · {escape(state)}</span></div>'
    )


def screen(path: str | Path, label: str, attributes: str, *, is_scorable: bool = True) -> str:
    """A player. A parent with the class "broken" hides it and says instead that this browser cannot play the file."""
    unplayable = f"Your browser cannot play this file.{'<br>It can still be scored.' * is_scorable}"
    return (
        f'<video src="gradio_api/file={quote(str(path))}" preload="auto" playsinline {attributes} '
        f'aria-label="{escape(label)}"></video><p class="note unplayable" role="status">{unplayable}</p>'
    )


def score_table(result: VideoScores) -> str:
    """A row a dimension: its score, the ACR word, and what it looks at, or why it means nothing here."""
    rows = ""
    for name, score in result.scores.items():
        percent, doubt = _percent(score), result.doubts.get(name)
        meaning = f"not meaningful here: {WHY_DOUBTFUL[doubt]}" if doubt else DIMENSION_MEANINGS[name]
        word = verdict_word(score, name, result.doubts, result.trained_on)
        whisker = reach = ""
        if interval := result.intervals[name]:
            low, high = map(_percent, interval)
            whisker = f'<i class="whisker" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
            reach = f'<small class="reach" title="{INTERVAL_MEANING}">{interval_text(interval)}</small>'
        rows += (
            f"<tr class='{'doubtful' if doubt else 'sure'}'>"
            f"<td>{name}<small>{meaning}</small></td>"
            f'<td class="meter"><div><span style="width:{percent:.1f}%"></span>{whisker}</div></td>'
            f'<td class="value" data-dimension="{name}">{score:.2f}</td><td>{word}{reach}</td></tr>'
        )
    return f'<table class="scores"><tbody>{rows}</tbody></table>'


def interval_title(interval: Interval | None) -> str:
    """The attribute that shows the interval of a score when the mouse is on it; nothing where there is none."""
    return f' title="{INTERVAL_MEANING}: {interval_text(interval)}"' if interval else ""


def _percent(score: float) -> float:
    """Where `score` is on the scale, from 0 at its start to 100 at its end."""
    return 100 * (score - SCORE_MIN) / (SCORE_MAX - SCORE_MIN)


def in_words(result: VideoScores) -> str:
    """All scores on one line."""
    return " · ".join(
        f"{name} {score:.2f}{' (not meaningful)' if name in result.doubts else ''}"
        for name, score in result.scores.items()
    )


def frame_strip(result: VideoScores) -> str:
    """The frames that the model saw, each with its time in the video, and those of its other views, folded up; nothing
    where they were not kept."""
    if result.frames is None:
        return ""
    what = result.views[0] if len(result.views) > 1 else "frame by frame"
    shown = _strip(_figure(*one) for one in zip(result.frames, result.frame_seconds, strict=True))
    others = "".join(
        f'<details class="more-views"><summary>{title}</summary>{_strip(_figure(one) for one in frames)}</details>'
        for title, frames in zip(result.views[1:], result.more_frames, strict=True)
    )
    also = f'<p class="strip-title">It also saw:</p>{others}' if others else ""
    return f'<p class="strip-title">What the model saw: {what} →</p>{shown}{also}'


def _strip(figures: Iterable[str]) -> str:
    return f'<div class="strip">{"".join(figures)}</div>'


def _figure(frame: np.ndarray, seconds: float | None = None) -> str:
    """A frame that the model saw, and when, if that is known."""
    time = "" if seconds is None else f"{seconds:.2f} s"
    return f'<figure><img src="{jpeg_url(frame)}" alt="frame{" at " * bool(time)}{time}">{time}</figure>'


def jpeg_url(frame: np.ndarray) -> str:
    """A frame (H, W, 3) uint8 as a data URL of a small JPEG."""
    image = Image.fromarray(frame)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def heading(what: str, model: str, trained_on: TrainedOn, must_know: Iterable[str] = ()) -> str:
    """What scores are of (HTML), which model gave them, how far to trust it, and what else a reader must know."""
    sentences = [f"Scored by <b>{escape(model)}</b>.", *map(escape, (caution(trained_on), *must_know))]
    title = f'<p class="what">{what}</p>' if what else ""
    return f'<div class="heading">{title}<p>{" ".join(filter(None, sentences))}</p></div>'


def score_heading(result: VideoScores) -> str:
    """The `heading` of one clip's scores."""
    what = f"<b>{escape(Path(result.video).name)}</b> · “{marked_prompt(result)}”"
    return heading(what, result.model, result.trained_on, notes([result]))


def marked_prompt(result: VideoScores) -> str:
    """The prompt, with each word marked that the model does not know."""
    return marked(result.prompt, result.unknown_words, result.model)


def marked(prompt: str, unknown_words: Collection[str], model: str) -> str:
    """`prompt` with each of `unknown_words` marked."""
    parts, end = [], 0
    for match in words_of(prompt):
        if match.group().lower() in unknown_words:
            parts += [
                escape(prompt[end : match.start()]),
                f'<mark title="{escape(model)} does not know this word">{escape(match.group())}</mark>',
            ]
            end = match.end()
    return "".join([*parts, escape(prompt[end:])])


def about_scores(result: VideoScores) -> str:
    """How much of the clip was seen, what the model learned from and how well, and the milliseconds of each step; a
    video seen before costs none for decoding and encoding."""
    seen = counted(len(set(result.frame_seconds)), "frame")
    looks = f", and {counted(len(result.views) - 1, 'other view')}" if len(result.views) > 1 else ""
    steps = " · ".join(f"{STEP_NAMES[step]} {1e3 * seconds:,.0f} ms" for step, seconds in result.seconds.items())
    remembered = " (video remembered)" if result.seconds["video"] == 0 else ""
    return (
        '<div class="about-scores">'
        f"<p>The model saw {seen} of {result.duration_seconds:.1f} s{looks}. "
        f"{escape(trust(result.model, result.trained_on))} {escape(interval_note(result.trained_on))}</p>"
        f"<p>{1e3 * sum(result.seconds.values()):,.0f} ms: {steps}{remembered}</p></div>"
    )


def about_model(name: str, trained_on: TrainedOn) -> str:
    """What a model learned from, how well it did on clips it had not seen, and which words it knows."""
    said = [
        f"<b>{escape(name)}</b> learned from {escape(str(trained_on))}.",
        "" if trained_on.vquala_score is None else escape(card_verdict(trained_on)),
        escape(caution(trained_on, after_verdict=True)),
        escape(margins_line(trained_on)),
        f"Rank correlation with the labels of {counted(trained_on.num_held_out, 'clip')} it had not seen:",
    ]
    ranks = {f"SROCC, {dimension}": f"{value:.2f}" for dimension, value in trained_on.srocc.items()}
    folded = {
        "What else was measured": _pairs(trained_on.measured),
        f"The {counted(len(trained_on.known_words), 'word')} it knows": escape(known_words(trained_on)),
        "How it was made": escape(trained_on.recipe),
    }
    details = "".join(f"<details><summary>{title}</summary>{text}</details>" for title, text in folded.items() if text)
    paragraphs = "".join(f"<p>{each}</p>" for each in (said if ranks else said[:-1]) if each)
    return f'<div class="about-scores">{paragraphs}{_pairs(ranks)}{details}</div>'


def _pairs(values: Mapping[str, str]) -> str:
    """A table of names and values; nothing where there are none."""
    rows = "".join(f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>" for what, value in values.items())
    return f'<table class="scores"><tbody>{rows}</tbody></table>' if rows else ""


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


def check_report(summary: RecordSummary, records: RecordSet, *, are_videos_there: bool = True) -> str:
    """What will be used of a labelled table, what was guessed, and each row that will not be used."""
    sentence = summary_line(summary, are_videos_there=are_videos_there)
    notes = "".join(f"<p>{escape(note)}</p>" for note in records.notes)
    unused = ""
    if records.problems:
        title = f"<p><b>{counted(len(records.problems), 'row')} will not be used</b> (line, reason)</p>"
        unused = title + problem_table([(problem.line, problem.message) for problem in records.problems])
    return f'<div class="about-scores"><p><b>{escape(sentence)}</b></p>{notes}{unused}</div>'


def problem_table(problems: Sequence[tuple[int, str]]) -> str:
    """The first `SHOWN_PROBLEMS` rows (line, reason) that cannot be used, and how many more there are."""
    rows = "".join(f"<tr><td>{line}</td><td>{escape(why)}</td></tr>" for line, why in problems[:SHOWN_PROBLEMS])
    more = len(problems) - SHOWN_PROBLEMS
    rest = f"<p>... and {more:,} more</p>" if more > 0 else ""
    return f'<div class="problems"><table class="scores"><tbody>{rows}</tbody></table></div>{rest}'


def status(text: str, share: float | None, seconds_left: float | None) -> str:
    """What runs, how far it is (0 to 1) and how long it will still take."""
    left = f" · {time_left(seconds_left)}" if seconds_left else ""
    bar = "" if share is None else f'<div class="bar-line"><span style="width:{100 * share:.1f}%"></span></div>'
    return f'<div class="train-status"><p>{escape(text)}{left}</p>{bar}</div>'


def metrics_table(evaluation: Evaluation | None, sentence: str) -> str:
    """Metrics with standard errors and the no-video baseline's SROCC, a row a dimension; those of pairs; and what that
    means."""
    covered = "" if evaluation is None else coverage_line(evaluation)
    paragraphs = "".join(f"<p>{escape(each)}</p>" for each in (sentence, covered) if each)
    said = f'<div class="about-scores">{paragraphs}</div>'
    if evaluation is None:
        return said
    head = "".join(f"<th>{name}</th>" for name in ("", "clips", "SROCC", "PLCC", "KROCC", "RMSE", "no-video SROCC"))
    rows, baseline = "", evaluation.no_video_baseline
    for name, metrics in evaluation.dimensions.items():
        without = "" if baseline is None else baseline.dimensions[name].srocc
        values = (name, metrics.n, metrics.srocc, metrics.plcc, metrics.krocc, metrics.rmse, without)
        rows += f'<tr data-dimension="{name}">{"".join(f"<td>{value}</td>" for value in values)}</tr>'
    tables = [(head, rows)] if rows else []
    if evaluation.pairs is not None:
        tables.append(_pair_rows(evaluation.pairs))
    shown = "".join(
        f'<div class="wide"><table class="scores metrics"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
        for heads, body in tables
    )
    return f"{shown}{said}"


def _pair_rows(pairs: PairEvaluation) -> tuple[str, str]:
    """The head and the rows of a table of pair accuracies, beside those of always guessing the commonest answer."""
    names = ("", "pairs", "same", "better clip told", "by a guess", "with ties", "by a guess")
    rows = ""
    for name, each in pairs.dimensions.items():
        told = (each.without_ties, Estimate(each.guess_without_ties.value))
        with_ties = (each.with_ties, Estimate(each.guess_with_ties.value))
        values = (name, each.n, each.num_same, *told, *with_ties)
        rows += f'<tr data-pairs="{name}">{"".join(f"<td>{value}</td>" for value in values)}</tr>'
    return "".join(f"<th>{name}</th>" for name in names), rows
