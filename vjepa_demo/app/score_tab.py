"""The Score tab: a video and its prompt in, five scores out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.charts import radar_chart
from vjepa_demo.app.events import AT_ONCE, TOLD, add_running, keep_in_step, shown_errors
from vjepa_demo.app.history import add_history, file_of, panel, scored_clip
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.session import ScoredClip, Session
from vjepa_demo.config import ASSETS
from vjepa_demo.schema import DemoError, VideoError, VideoScores

if TYPE_CHECKING:
    from vjepa_demo.tasks.score import Scorer

STEPS = {
    "decode": (0.1, "Decoding the frames"),
    "video": (0.35, "Encoding the video"),
    "text": (0.8, "Encoding the prompt"),
    "head": (0.95, "Scoring"),
}
NOT_IN_BROWSERS = {".avi", ".flv", ".mkv", ".mpg", ".mpeg", ".wmv", ".ts", ".vob"}
UNPLAYABLE = "Your browser may not play this format; it can be scored all the same."
# On a phone the scores come below what was pressed: go there.
SHOW_RESULTS = "() => { if (innerWidth < 700) document.querySelector('#results-column').scrollIntoView() }"
SCORING: dict[str, Any] = {
    "concurrency_limit": 2,
    "concurrency_id": "scoring",
}  # decoding of one runs beside encoding of another


@dataclass(frozen=True)
class _Inputs:
    video: gr.Video
    prompt: gr.Textbox
    model: gr.Dropdown
    button: gr.Button
    hint: gr.HTML
    running: gr.Checkbox

    @property
    def values(self) -> list[Any]:
        return [self.video, self.prompt, self.model]


@dataclass(frozen=True)
class _Results:
    empty: gr.HTML
    panel: gr.Column
    heading: gr.HTML
    radar: gr.Plot
    table: gr.HTML
    strip: gr.HTML
    about: gr.HTML
    model: gr.HTML
    json: gr.Code
    compare: gr.Button

    @property
    def all(self) -> list[Any]:
        return [
            self.empty,
            self.panel,
            self.heading,
            self.radar,
            self.table,
            self.strip,
            self.about,
            self.model,
            self.json,
        ]


@dataclass(frozen=True)
class ScoreTab:
    """What other tabs are wired to: the choice of the model, the history, and the button that sends the clip whose
    scores are shown to the Compare tab."""

    model: gr.Dropdown
    history: gr.HTML
    compare: gr.Button


def add_score_tab(
    load_scorer: Callable[[str], Scorer], default_model: str, session: gr.State, *, recheck: gr.HTML | None = None
) -> ScoreTab:
    """Fill the current tab.

    When `recheck` changes, it is looked again whether the chosen model can score.
    """

    def score_on_page(
        video: str | None,
        prompt: str,
        model: str,
        visitor: Session,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio asks for it)
    ) -> Iterator[tuple[Any, ...]]:
        yield gr.Button(interactive=False), *[gr.skip()] * (len(results.all) + 1)
        with shown_errors():
            try:
                result = _score(visitor.or_else(load_scorer), video, prompt, model, progress)
            except DemoError as error:
                visitor.history.problem = str(error)
                raise
        clip = scored_clip(video or "", model, result)
        visitor.history.remember(clip)
        yield gr.skip(), *_shown(clip), panel(visitor)

    with gr.Row(equal_height=False, elem_id="score-row"):
        with gr.Column(scale=2, min_width=320, elem_id="inputs-column"):
            inputs = _add_inputs(default_model)
            example_loaded = _add_examples(inputs)
            history = add_history()
        with gr.Column(scale=3, min_width=320, elem_id="results-column"):
            results = _add_results()
    _keep_ready(inputs, recheck)
    for trigger in (inputs.button.click, example_loaded.then):
        _wire(trigger, score_on_page, inputs, results, session, history)
    restored = history.show(_restored, [session], [inputs.video, inputs.prompt, inputs.model, *results.all], **TOLD)
    restored.success(None, js=SHOW_RESULTS, api_visibility="private")
    return ScoreTab(inputs.model, history, results.compare)


def _add_inputs(default_model: str) -> _Inputs:
    video = gr.Video(label="Video", sources=["upload"], height=260, elem_id="video")
    prompt = gr.Textbox(
        label="Prompt",
        placeholder="The text the video was made from",
        lines=2,
        elem_id="prompt",
    )
    model = add_model_choice(default_model, "model")
    button = gr.Button("Score", variant="primary", interactive=False, elem_id="score-button")
    hint = gr.HTML(render.hint("Add a video and type its prompt."), elem_id="hint")
    return _Inputs(video, prompt, model, button, hint, add_running())


def _add_examples(inputs: _Inputs) -> Any:
    """The event of an example that was clicked and put into the inputs."""
    examples = gr.Examples(
        examples=example_rows(),
        inputs=[inputs.video, inputs.prompt, gr.Textbox(label="Shows", visible=False)],
        label="Examples: click one to score it",
        elem_id="examples",
        api_visibility="private",
    )
    return examples.load_input_event


def _add_results() -> _Results:
    empty = gr.HTML(render.EMPTY, elem_id="empty")
    with gr.Column(visible=False, elem_id="results") as panel:
        heading = gr.HTML(elem_id="heading")
        radar = gr.Plot(label="Mean opinion scores", show_label=False, container=False, elem_id="radar")
        table = gr.HTML(elem_id="score-table")
        strip = gr.HTML(elem_id="strip")
        about = gr.HTML(elem_id="about-scores")
        compare = gr.Button("Compare with other clips", size="sm", elem_id="to-compare")
        with gr.Accordion("About this model", open=False, elem_id="about-model"):
            model = gr.HTML()
        with gr.Accordion("JSON", open=False):
            code = gr.Code(language="json", show_label=False, interactive=False, buttons=["copy"], elem_id="json")
    return _Results(empty, panel, heading, radar, table, strip, about, model, code, compare)


def _keep_ready(inputs: _Inputs, recheck: gr.HTML | None) -> None:
    """The button can be pressed when a score can be had; else the line under it says what is missing."""
    events = [each.change for each in (*inputs.values, inputs.running, recheck) if each is not None]
    keep_in_step(events, _readiness, [*inputs.values, inputs.running], [inputs.button, inputs.hint])


def _readiness(video: str | None, prompt: str, model: str, running: bool) -> tuple[Any, Any]:
    missing = _missing(video, prompt, model)
    hint = missing or (UNPLAYABLE if Path(video or "").suffix.lower() in NOT_IN_BROWSERS else "")
    return gr.Button(interactive=missing is None and not running), gr.HTML(render.hint(hint))


def _finished(video: str | None, prompt: str, model: str) -> tuple[Any, Any, bool]:
    return *_readiness(video, prompt, model, running=False), False


def _missing(video: str | None, prompt: str, model: str) -> str | None:
    if (reason := refusal(model)) is not None:
        return reason
    if not video:
        return "Add a video." if prompt.strip() else "Add a video and type its prompt."
    return None if prompt.strip() else "Type the prompt that the video was made from."


def _wire(
    trigger: Callable[..., Any],
    score: Callable[..., Any],
    inputs: _Inputs,
    results: _Results,
    session: gr.State,
    history: gr.HTML,
) -> None:
    """`trigger` switches the button off, scores, shows or, on an error, clears the results, and switches it on."""
    started = trigger(lambda: (gr.Button(interactive=False), True), outputs=[inputs.button, inputs.running], **AT_ONCE)
    outputs = [inputs.button, *results.all, history]
    scoring = started.then(score, [*inputs.values, session], outputs, api_visibility="private", **SCORING)
    for event in (started.then, scoring.success):
        event(None, js=SHOW_RESULTS, api_visibility="private")
    # The history stays, but Gradio takes its mark of an error off what an event gives.
    failed = scoring.failure(
        lambda visitor: (*_cleared(visitor), gr.skip()), session, [*results.all, history], **AT_ONCE
    )
    for event in (scoring.success, failed.then):
        event(
            _finished,
            inputs.values,
            [inputs.button, inputs.hint, inputs.running],
            **AT_ONCE,
        )


def _score(
    load_scorer: Callable[[str], Scorer],
    video: str | None,
    prompt: str,
    model: str,
    progress: Callable[..., Any] | None = None,
) -> VideoScores:
    """Scores, with the file named as the person named it and not by where the server keeps it."""

    def tell(share: float, what: str) -> None:
        if progress is not None:
            progress(share, desc=what)

    if not video:
        raise VideoError("no video: add one first")
    tell(0.0, f"Loading {model}")
    result = load_scorer(model).score(video, prompt, on_step=lambda step: tell(*STEPS[step]))
    return replace(result, video=Path(video).name)


def _restored(event: gr.EventData, visitor: Session) -> tuple[Any, ...]:
    """A clip of the history as it was when it was scored: its video, prompt, model and results."""
    with shown_errors():
        clip = visitor.history.find(event.key)
    visitor.history.shown = clip
    return file_of(clip), clip.result.prompt, clip.model, *_shown(clip)


def _shown(clip: ScoredClip) -> tuple[Any, ...]:
    result = clip.result
    return (
        gr.HTML(visible=False),
        gr.Column(visible=True),
        render.heading(result),
        radar_chart(result),
        render.score_table(result),
        clip.strip,
        render.about_scores(result),
        render.about_model(result.model, result.trained_on),
        json.dumps(result.to_dict(), indent=2, ensure_ascii=False),
    )


def _cleared(visitor: Session) -> tuple[Any, ...]:
    """No scores, and why; where nothing is known of that, what to do."""
    why, visitor.history.problem = visitor.history.problem, ""
    told = gr.HTML(render.problem(why) if why else render.EMPTY, visible=True)
    return told, gr.Column(visible=False), "", None, "", "", "", "", ""


def example_rows() -> list[list[str]]:
    """[path of the clip, prompt, what it shows] of each example that ships with the program."""
    folder = ASSETS / "examples"
    with (folder / "examples.csv").open(encoding="utf-8", newline="") as file:
        return [[str(folder / row["video_name"]), row["Prompt"], row["Shows"]] for row in csv.DictReader(file)]
