"""The last clips of this session with their scores: one click brings one back, nothing is computed again.

What is kept of a clip is what the page shows, not the frames: those of twelve clips would be hundreds of megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.events import TOLD, shown_errors
from vjepa_demo.app.session import ScoredClip, Session
from vjepa_demo.schema import RecordError, VideoScores

if TYPE_CHECKING:
    from vjepa_demo.app.compare_tab import CompareTab

# Tells the server which clip's button was pressed, by the clip's key: by its place it might be another one by then.
JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-key]');
  if (!button) return;
  const clip = { key: button.dataset.key };
  if (button.dataset.action === 'send') trigger('send', clip);
  else trigger('show', clip);
});
"""


def scored_clip(video: str, model: str, result: VideoScores) -> ScoredClip:
    """What is kept of `result`, which the model's choice `model` gave for the file `video`."""
    frames = result.frames
    picture = "" if frames is None else render.jpeg_url(frames[len(frames) // 2])
    return ScoredClip(
        Path(video), model, replace(result, frames=None, more_frames=()), render.frame_strip(result), picture
    )


def add_history() -> gr.HTML:
    """The panel, empty; `panel` fills it."""
    return gr.HTML(js_on_load=JS, apply_default_css=False, elem_id="history")


def panel(session: Session) -> str:
    """The clips of this session, newest first; nothing where there are none."""
    if not session.history.clips:
        return ""
    cards = "".join(map(_card, session.history.clips))
    title = "Scored in this session, with Overall: click one to bring it back"
    return f'<p class="strip-title">{title}</p><ul class="history">{cards}</ul>'


def _card(clip: ScoredClip) -> str:
    result, name = clip.result, escape(clip.result.video)
    numbers = " · ".join(f"{dimension} {score:.2f}" for dimension, score in result.scores.items())
    picture = f'<img src="{clip.picture}" alt="">' if clip.picture else ""
    overall = f"<b>{result.scores['Overall']:.2f}</b><small>{escape(result.model)}</small>"
    return (
        f'<li><button type="button" class="back" data-action="show" data-key="{clip.key}" title="{numbers}">'
        f'{picture}<span class="said"><b>{name}</b><small>{escape(result.prompt)}</small></span>'
        f'<span class="overall">{overall}</span></button>'
        f'<button type="button" class="send" data-action="send" data-key="{clip.key}" '
        f'aria-label="Compare {name}">Compare</button></li>'
    )


def file_of(clip: ScoredClip) -> str | None:
    """The clip's file; None, and the person is told, where it has been deleted meanwhile: uploads last a day."""
    if clip.video.is_file():
        return str(clip.video)
    gr.Warning(
        f"{escape(clip.result.video)} was deleted from this server meanwhile: its scores are here, not the video."
    )
    return None


def wire_compare(history: gr.HTML, button: gr.Button, compare: CompareTab, session: gr.State) -> None:
    """Send a clip of the `history`, or with the `button` the one whose scores are shown, to the Compare tab."""

    def send_found(event: gr.EventData, visitor: Session, *values: Any) -> tuple[Any, ...]:
        return _sent(lambda: visitor.history.find(event.key), compare, values)

    def send_shown(visitor: Session, *values: Any) -> tuple[Any, ...]:
        return _sent(lambda: _shown(visitor), compare, values)

    history.send(send_found, [session, *compare.inputs], compare.outputs, **TOLD)
    button.click(send_shown, [session, *compare.inputs], compare.outputs, **TOLD)


def _shown(session: Session) -> ScoredClip:
    if session.history.shown is None:
        raise RecordError("the server was started anew: load this page again")
    return session.history.shown


def _sent(find: Callable[[], ScoredClip], compare: CompareTab, values: tuple[Any, ...]) -> tuple[Any, ...]:
    with shown_errors():
        clip = find()
        if not clip.video.is_file():
            raise RecordError(f"{clip.result.video} was deleted from this server meanwhile: drop it into Compare again")
    return compare.add_clip(clip.video, clip.result.prompt, *values)
