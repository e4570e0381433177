"""The panel of the clips scored in this session: one click brings one back, nothing is computed again.

The session keeps of a clip what the page shows, not the frames: those of twelve clips would be hundreds of megabytes.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from pathlib import Path

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.session import ScoredClip, ScoreHistory
from vjepa_demo.schema import RecordError, VideoScores

# The events `show` and `send` tell the server whose button was pressed, by the clip's key: its place may be another
# clip's by then.
HISTORY_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-key]');
  if (!button) return;
  const clip = { key: button.dataset.key };
  if (button.dataset.action === 'send') trigger('send', clip);
  else trigger('show', clip);
});
"""


def scored_clip(video: str, model: str, result: VideoScores) -> ScoredClip:
    """What is kept of `result`, which the model choice `model` gave for the file `video`."""
    frames = result.frames
    picture = "" if frames is None else render.jpeg_url(frames[len(frames) // 2])
    return ScoredClip(
        Path(video), model, replace(result, frames=None, more_frames=()), render.frame_strip(result), picture
    )


def panel(history: ScoreHistory) -> str:
    """The clips of this session, newest first; nothing where there are none."""
    if not history.clips:
        return ""
    cards = "".join(map(_card, history.clips))
    title = "Scored in this session, with the Overall score. Click a clip to bring it back."
    return f'<p class="strip-title">{title}</p><ul class="history">{cards}</ul>'


def _card(clip: ScoredClip) -> str:
    result, name = clip.result, escape(clip.result.video)
    picture = f'<img src="{clip.picture}" alt="">' if clip.picture else ""
    doubt = ' class="doubtful"' if "Overall" in result.doubts else ""
    overall = f"<b{doubt}>{result.scores['Overall']:.2f}</b><small>{escape(result.model)}</small>"
    back = (
        f'{picture}<span class="said"><b>{name}</b><small>{escape(result.prompt)}</small></span>'
        f'<span class="overall">{overall}</span>'
    )
    key, scores = f'data-key="{clip.key}"', render.in_words(result)
    return (
        f'<li><button type="button" class="back" data-action="show" {key} title="{scores}">{back}</button>'
        f'<button type="button" class="send" data-action="send" {key} aria-label="Compare {name}">Compare</button></li>'
    )


def file_of(clip: ScoredClip) -> str | None:
    """The clip's file; None, and the person is told, where it has been deleted meanwhile: uploads last a day."""
    if clip.video.is_file():
        return str(clip.video)
    gr.Warning(f"The upload {escape(clip.result.video)} was deleted from this server; its scores are still here.")
    return None


def to_compare(history: ScoreHistory, key: str | None) -> ScoredClip:
    """The clip with this key, or the one whose scores are shown, for the Compare tab.

    Raises:
        RecordError: if there is no such clip any more, or its file has been deleted.
    """
    clip = history.shown if key is None else history.find(key)
    if clip is None:
        raise RecordError("the server has restarted since: load this page again")
    if not clip.video.is_file():
        raise RecordError(f"the upload {clip.result.video} was deleted from this server: drop it into Compare again")
    return clip
