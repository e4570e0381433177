"""The Score tab: a video and its prompt in, five scores out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.charts import radar_chart
from vjepa_demo.app.events import (
    AT_ONCE,
    PREVIEWING,
    PROGRESS,
    TOLD,
    Values,
    add_running,
    keep_in_step,
    said,
    shown_errors,
)
from vjepa_demo.app.history import HISTORY_JS, file_of, panel, scored_clip
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.scoring import SCORING, STOPPING, add_stop, example_rows, scroll_to, watched
from vjepa_demo.app.session import ScoredClip, Session
from vjepa_demo.config import VIDEO_SUFFIXES
from vjepa_demo.schema import DemoError, StoppedError, VideoError

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

PREVIEWED = "Browsers do not play this format: a small copy of its first minute is shown. Your own file is scored."
PLAYER_JS = """
element.addEventListener('error', (event) => event.target.closest('.screen')?.classList.add('broken'), true);
"""
SHOW_RESULTS = scroll_to("#results-column")


class ScoreTab:
    """The components of the Score tab, and what happens when they are used.

    Other tabs are wired to `model`, the choice of the model, to the `history`, and to `compare`, the button that sends
    the clip whose scores are shown to the Compare tab.
    """

    def __init__(
        self,
        load_scorer: Callable[[str], Scorer],
        default_model: str,
        session: gr.State,
        *,
        recheck: gr.HTML | None = None,
    ) -> None:
        """Fill the current tab. When `recheck` changes, the tab checks again whether the chosen model can score."""
        self._load_scorer, self.session = load_scorer, session
        with gr.Row(equal_height=False, elem_id="score-row"):
            with gr.Column(scale=2, min_width=320, elem_id="inputs-column"):
                self.video = gr.File(label="Video", file_types=["video", *VIDEO_SUFFIXES], height=170, elem_id="video")
                self.player = gr.HTML(js_on_load=PLAYER_JS, apply_default_css=False, elem_id="player")
                self.prompt = gr.Textbox(
                    label="Prompt", placeholder="The text the video was made from", lines=2, elem_id="prompt"
                )
                self.model = add_model_choice(default_model, "model")
                with gr.Row(elem_id="press"):
                    self.button = gr.Button("Score", variant="primary", interactive=False, elem_id="score-button")
                    self.stop = add_stop("score")
                self.hint = gr.HTML(render.hint("Add a video and type its prompt."), elem_id="hint")
                self.running = add_running()
                self.examples = gr.Dataset(
                    components=["video", "textbox", "textbox"],
                    headers=["Video", "Prompt", "Shows"],
                    samples=example_rows(),
                    type="index",
                    label="Examples: click one to score it",
                    elem_id="examples",
                )
                self.history = gr.HTML(js_on_load=HISTORY_JS, apply_default_css=False, elem_id="history")
            with gr.Column(scale=3, min_width=320, elem_id="results-column"):
                self.empty = gr.HTML(render.EMPTY, elem_id="empty")
                with gr.Column(visible=False, elem_id="results") as self.panel:
                    self.heading = gr.HTML(elem_id="heading")
                    self.radar = gr.Plot(
                        label="Mean opinion scores", show_label=False, container=False, elem_id="radar"
                    )
                    self.table = gr.HTML(elem_id="score-table")
                    self.strip = gr.HTML(elem_id="strip")
                    self.about = gr.HTML(elem_id="about-scores")
                    self.compare = gr.Button("Compare with other clips", size="sm", elem_id="to-compare")
                    with gr.Accordion("About this model", open=False, elem_id="about-model"):
                        self.about_model = gr.HTML()
                    with gr.Accordion("JSON", open=False):
                        self.json = gr.Code(
                            language="json", show_label=False, interactive=False, buttons=["copy"], elem_id="json"
                        )
        self._texts = [self.heading, self.table, self.strip, self.about, self.about_model, self.json]
        self._results = [self.empty, self.panel, self.radar, *self._texts]
        self._wire(recheck)

    def _wire(self, recheck: gr.HTML | None) -> None:
        inputs: set[Any] = {self.video, self.prompt, self.model, self.running}
        changed = [each.change for each in (*inputs, recheck) if each is not None]
        keep_in_step(changed, self.readiness, inputs, [self.button, self.hint])
        self.video.change(_player, [self.video, self.session], self.player, trigger_mode="always_last", **PREVIEWING)
        example = self.examples.click(
            lambda index: tuple(example_rows()[index][:2]), self.examples, [self.video, self.prompt], **AT_ONCE
        )
        for trigger in (self.button.click, example.then):
            started = trigger(self.begin, self.session, [self.button, self.stop, self.running], **AT_ONCE)
            scoring = started.then(
                self.score,
                inputs | {self.session},
                [self.history, *self._results],
                show_progress_on=[self.empty, self.heading],
                api_visibility="private",
                **SCORING,
            )
            failed = scoring.failure(self._cleared, self.session, [self.history, *self._results], **AT_ONCE)
            started.then(None, js=scroll_to("#press"), api_visibility="private")  # Stop, and below it how far it is
            scoring.success(None, js=SHOW_RESULTS, api_visibility="private")
            for event in (scoring.success, failed.then):
                event(self.ended, inputs, [self.button, self.stop, self.hint, self.running], **AT_ONCE)
        self.stop.click(self.stop_scoring, self.session, [self.stop, self.hint], **AT_ONCE)
        restored = self.history.show(
            self.restore, self.session, [self.video, self.prompt, self.model, *self._results], **TOLD
        )
        restored.success(None, js=SHOW_RESULTS, api_visibility="private")

    def readiness(self, values: Values) -> Values:
        """The button can be pressed when a score can be had; else the line under it says what is missing."""
        video, prompt = values[self.video], values[self.prompt].strip()
        missing = refusal(values[self.model])
        if missing is None and not video:
            missing = "Add a video." if prompt else "Add a video and type its prompt."
        if missing is None and not prompt:
            missing = "Type the prompt that the video was made from."
        return {
            self.button: gr.Button(interactive=missing is None and not values[self.running]),
            self.hint: render.hint(missing or ""),
        }

    def begin(self, visitor: Session) -> Values:
        """A score waits for its turn."""
        visitor.scoring.stop.clear()
        return {
            self.button: gr.Button(interactive=False),
            self.stop: gr.Button(visible=True, interactive=True),
            self.running: True,
        }

    def ended(self, values: Values) -> Values:
        """The score is there, or there is none: the next can be had."""
        shown = {self.stop: gr.Button(visible=False), self.running: False}
        return self.readiness({**values, self.running: False}) | shown

    def stop_scoring(self, visitor: Session) -> Values:
        """The score that is computed is given up."""
        visitor.scoring.stop.set()
        return {self.stop: gr.Button(interactive=False), self.hint: render.hint(STOPPING)}

    def score(self, values: Values, progress: gr.Progress = PROGRESS) -> Values:
        """The scores of the clip, which the history then remembers; what was shown before, if the visitor stops it."""
        visitor: Session = values[self.session]
        video, model = values[self.video], values[self.model]
        watching = watched(visitor.scoring, lambda share, what: progress(share, desc=what))
        with shown_errors():
            try:
                if not video:
                    raise VideoError("no video: add one first")
                progress(0.0, desc=f"Loading {model}")
                scorer = visitor.scorer(model, self._load_scorer)
                result = scorer.score(video, values[self.prompt], **watching)
            except StoppedError:
                visitor.check_open()
                return {self.history: gr.skip()}
            except DemoError as error:
                visitor.history.problem = said(error)
                raise
        # Named as the person named the file, not by where the server keeps it.
        clip = scored_clip(video, model, replace(result, video=Path(video).name))
        visitor.history.remember(clip)
        return self._shown(clip) | {self.history: panel(visitor.history)}

    def restore(self, event: gr.EventData, visitor: Session) -> Values:
        """A clip of the history as it was when it was scored: its video, prompt, model and results."""
        with shown_errors():
            clip = visitor.history.find(event.key)
        visitor.history.shown = clip
        return self._shown(clip) | {
            self.video: file_of(clip),
            self.prompt: clip.result.prompt,
            self.model: clip.model,
        }

    def _shown(self, clip: ScoredClip) -> Values:
        result = clip.result
        return {
            self.empty: gr.HTML(visible=False),
            self.panel: gr.Column(visible=True),
            self.heading: render.score_heading(result),
            self.radar: radar_chart(result),
            self.table: render.score_table(result),
            self.strip: clip.strip,
            self.about: render.about_scores(result),
            self.about_model: render.about_model(result.model, result.trained_on),
            self.json: json.dumps(result.to_dict(), indent=2, ensure_ascii=False),
        }

    def _cleared(self, visitor: Session) -> Values:
        """No scores, and the reason; without a reason, how to get scores."""
        why, visitor.history.problem = visitor.history.problem, ""
        told = f'<div class="empty">No scores: {render.escape(why)}</div>' if why else render.EMPTY
        # The history keeps its value. It is an output so that Gradio takes the mark of an error off it.
        return dict.fromkeys(self._texts, "") | {
            self.panel: gr.Column(visible=False),
            self.radar: None,
            self.empty: gr.HTML(told, visible=True),
            self.history: gr.skip(),
        }


def _player(video: str | None, visitor: Session) -> Iterator[str]:
    """The video, or what browsers can play in its place."""
    if video is None:
        yield ""
        return
    yield '<div class="screen"><p class="note" role="status">Opening the video</p></div>'
    with shown_errors():
        visitor.make_preview(video)
    shown = visitor.played(video)
    note = "" if shown == video else f'<p role="status">{PREVIEWED}</p>'
    yield f'<div class="screen">{render.screen(shown, Path(video).name, "controls loop")}</div>{note}'
