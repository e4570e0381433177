"""Scores as fragments of HTML. Whatever a person typed or named is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vjepa_demo.config import DIMENSION_MEANINGS, SCORE_MAX, SCORE_MIN, acr_word
from vjepa_demo.schema import OVERALL_MEANS_LESS, TrainedOn, VideoScores, words_of

if TYPE_CHECKING:
    from vjepa_demo.data.records import RecordSet, RecordSummary
    from vjepa_demo.model.metrics import Evaluation

THUMBNAIL_PIXELS = 176  # twice the size it is shown at, for sharp screens
UNKNOWN_WORDS = "the model does not know every word of the prompt"
STEP_NAMES = {"decode": "decoding", "video": "video encoder", "text": "text encoder", "head": "head"}
EMPTY = '<div class="empty">The scores appear here.<br>Add a video and its prompt, or click an example.</div>'
EMPTY_TRAINING = (
    '<div class="empty">Fine-tune a model on your own labels.<br>'
    "A CSV with the columns video_name, Prompt and at least one of Traditional_MOS, Alignment_MOS, Aesthetic_MOS, "
    "Temporal_MOS, Overall_MOS; and the videos, as files or one zip.<br>What will be used is shown before it begins."
    "</div>"
)
SHOWN_PROBLEMS = 50


def problem(text: str) -> str:
    """Why there are no scores."""
    return f'<div class="empty">No scores: {escape(text)}</div>'


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


def score_table(result: VideoScores) -> str:
    """A row a dimension: its score, the ACR word, and what it looks at."""
    rows = "".join(_score_row(name, score, result) for name, score in result.scores.items())
    return f'<table class="scores"><tbody>{rows}</tbody></table>'


def _score_row(name: str, score: float, result: VideoScores) -> str:
    percent = 100 * (score - SCORE_MIN) / (SCORE_MAX - SCORE_MIN)
    doubt = name in result.doubtful
    meaning = f"not meaningful here: {UNKNOWN_WORDS}" if doubt else DIMENSION_MEANINGS[name]
    if name == "Overall" and result.doubtful:
        meaning += "; the prompt moves it too"
    return (
        f"<tr class='{'doubtful' if doubt else 'sure'}'>"
        f"<td>{name}<small>{meaning}</small></td>"
        f'<td class="meter"><div><span style="width:{percent:.1f}%"></span></div></td>'
        f'<td class="value" data-dimension="{name}">{score:.2f}</td><td>{"–" if doubt else acr_word(score)}</td></tr>'
    )


def frame_strip(result: VideoScores) -> str:
    """The frames that the model saw, each with its time in the video, and those of its other views, folded up; nothing
    where they were not kept."""
    if result.frames is None:
        return ""
    what = result.views[0] if len(result.views) > 1 else "frame by frame"
    shown = _strip([_figure(*one) for one in zip(result.frames, result.frame_seconds, strict=True)])
    others = [
        f'<details class="more-views"><summary>{title}</summary>{_strip([_figure(one) for one in frames])}</details>'
        for title, frames in zip(result.views[1:], result.more_frames, strict=True)
    ]
    also = f'<p class="strip-title">It also saw, each by itself:</p>{"".join(others)}' if others else ""
    return f'<p class="strip-title">What the model saw of it: {what} →</p>{shown}{also}'


def _strip(figures: Sequence[str]) -> str:
    return f'<div class="strip">{"".join(figures)}</div>'


def _figure(frame: np.ndarray, seconds: float | None = None) -> str:
    """A frame that the model saw, and when, if that is known."""
    time = "" if seconds is None else f"{seconds:.2f} s"
    name = f"frame at {time}" if time else "frame"
    return f'<figure><img src="{jpeg_url(frame)}" alt="{name}">{time}</figure>'


def counted(number: int, noun: str) -> str:
    """`3 rows`, `1 row`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def jpeg_url(frame: np.ndarray) -> str:
    """A frame (H, W, 3) uint8 as a data URL of a small JPEG."""
    image = Image.fromarray(frame)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def heading(result: VideoScores) -> str:
    """What the scores below are of: the clip, its prompt and the model; and how far to trust them."""
    sentences = [f"Scored by <b>{escape(result.model)}</b>.", result.trained_on.caution, *_doubts(result)]
    return (
        '<div class="heading">'
        f'<p class="what"><b>{escape(Path(result.video).name)}</b> · “{marked_prompt(result)}”</p>'
        f"<p>{' '.join(filter(None, sentences))}</p></div>"
    )


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


def _doubts(result: VideoScores) -> list[str]:
    doubts, so = [], f"so its Alignment means nothing here, and its {OVERALL_MEANS_LESS}"
    if result.unknown_words:
        doubts.append(f"It does not know the words that are marked, {so}.")
    if result.too_long:
        doubts.append(escape(result.too_long))
    taught = result.trained_on.dimensions
    if len(taught) < len(DIMENSION_MEANINGS):
        doubts.append(f"Its labels were for {', '.join(taught)} only: the other scores are not theirs.")
    if len(set(result.frame_seconds)) == 1:
        doubts.append("This video has a single frame: Temporal says nothing.")
    return doubts


def about_scores(result: VideoScores) -> str:
    """How much of the clip was seen, what the model learned from and how well, and the seconds it took."""
    seen = counted(len(set(result.frame_seconds)), "frame")
    looks = f", and {counted(len(result.views) - 1, 'other view')}" if len(result.views) > 1 else ""
    return (
        '<div class="about-scores">'
        f"<p>{seen} of {result.duration_seconds:.1f} s seen{looks}. "
        f"{escape(trust(result))}</p><p>{times(result)}</p></div>"
    )


def trust(result: VideoScores) -> str:
    """What the head of this model learned from, and how well it did on clips it had not seen."""
    trained_on = result.trained_on
    sentences = [f"The head of {result.model} learned from {trained_on}."]
    if trained_on.srocc:
        pairs = ", ".join(f"{name} {value:.2f}" for name, value in trained_on.srocc.items())
        sentences.append(
            f"On {trained_on.num_held_out:,} clips it had not seen, scores and labels rank alike by SROCC {pairs}."
        )
    return " ".join(sentences)


def about_model(name: str, trained_on: TrainedOn) -> str:
    """What a model learned from, how well it did on what it had not seen, and which words it knows."""
    rows = [(f"SROCC, {dimension}", f"{value:.2f}") for dimension, value in trained_on.srocc.items()]
    cells = "".join(
        f"<tr><td>{escape(what)}</td><td>{escape(value)}</td></tr>"
        for what, value in (*rows, *trained_on.measured.items())
    )
    held_out = f"<p>On {trained_on.num_held_out:,} clips it had not seen, and what else was measured:</p>"
    words, recipe = trained_on.known_words_in_short, trained_on.recipe
    made = f"<details><summary>How it was made</summary><p>{escape(recipe)}</p></details>" if recipe else ""
    return (
        f'<div class="about-scores"><p><b>{escape(name)}</b> learned from {escape(str(trained_on))}.</p>'
        f"{f'{held_out}<table class=scores><tbody>{cells}</tbody></table>' if cells else ''}"
        f"{f'<p>The words it knows: {escape(words)}.</p>' if words else ''}{made}</div>"
    )


def times(result: VideoScores) -> str:
    """Seconds by step; a video seen before costs none for decoding and encoding."""
    total = sum(result.seconds.values())
    parts = " · ".join(f"{STEP_NAMES[step]} {1e3 * seconds:,.0f} ms" for step, seconds in result.seconds.items())
    remembered = " (video remembered)" if result.seconds["video"] == 0 else ""
    return f"{1e3 * total:,.0f} ms: {parts}{remembered}"


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


def check_report(summary: RecordSummary, records: RecordSet) -> str:
    """What will be used of a labelled table, what was guessed, and each row that will not be used."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in records.notes)
    problems = "".join(
        f"<tr><td>{problem.line}</td><td>{escape(problem.message)}</td></tr>"
        for problem in records.problems[:SHOWN_PROBLEMS]
    )
    more = len(records.problems) - SHOWN_PROBLEMS
    if problems:
        rest = f"<p>... and {more:,} more</p>" if more > 0 else ""
        problems = (
            f"<p><b>{len(records.problems):,} rows will not be used</b></p>"
            f'<div class="problems"><table class="scores"><tbody>{problems}</tbody></table></div>{rest}'
        )
    return f'<div class="about-scores"><p><b>{escape(str(summary))}</b></p>{notes}{problems}</div>'


def status(text: str, share: float | None, seconds_left: float | None) -> str:
    """What runs, how far it is (0 to 1) and how long it will still take."""
    left = "" if not seconds_left else f" · {_duration(seconds_left)} left"
    bar = "" if share is None else f'<div class="bar-line"><span style="width:{100 * share:.1f}%"></span></div>'
    return f'<div class="train-status"><p>{escape(text)}{left}</p>{bar}</div>'


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def metrics_table(evaluation: Evaluation | None, sentence: str) -> str:
    """Metrics with standard errors and the no-video baseline's SROCC, a row a dimension; and what that means."""
    if evaluation is None:
        return f'<div class="about-scores"><p>{escape(sentence)}</p></div>'
    head = "".join(f"<th>{name}</th>" for name in ("", "clips", "SROCC", "PLCC", "KROCC", "RMSE", "no-video SROCC"))
    rows = "".join(_metrics_row(evaluation, name) for name in evaluation.dimensions)
    return (
        f'<div class="wide"><table class="scores metrics"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        f'</div><div class="about-scores"><p>{escape(sentence)}</p></div>'
    )


def _metrics_row(evaluation: Evaluation, name: str) -> str:
    metrics, baseline = evaluation.dimensions[name], evaluation.no_video_baseline
    without = "" if baseline is None else str(baseline.dimensions[name].srocc)
    values = (str(metrics.n), *map(str, (metrics.srocc, metrics.plcc, metrics.krocc, metrics.rmse)), without)
    cells = "".join(f"<td>{value}</td>" for value in values)
    return f'<tr data-dimension="{name}"><td>{name}</td>{cells}</tr>'
