"""The Compare tab: two to four clips side by side, played as one, scored by one model, exported and opened again.

What is on the page is drawn from the board, which Gradio holds for the visitor alone. A clip keeps its scores when it
is moved, so that the results follow it, and a run that ends later finds its clips by their keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import compare_html as fragments
from vjepa_demo.app import html as render
from vjepa_demo.app.charts import comparison_chart
from vjepa_demo.app.compare_board import Board, Clip, Outcome, board_of
from vjepa_demo.app.events import AT_ONCE, TOLD, add_running, keep_in_step, shown_errors
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.score_tab import SCORING, STEPS, example_rows
from vjepa_demo.config import COMPARED_LETTERS, MAX_COMPARED, MAX_COMPARISON_BYTES, MIN_COMPARED, VIDEO_SUFFIXES
from vjepa_demo.schema import Comparison, DemoError, RecordError

if TYPE_CHECKING:
    from vjepa_demo.tasks.score import Scorer

JS = Path(__file__).with_name("compare.js")
CSS = Path(__file__).with_name("compare.css")
# On a phone the scores come below what was pressed: go there.
SHOW_RESULTS = "() => { if (innerWidth < 700) document.querySelector('#compare-results-column').scrollIntoView() }"

# The next click on a card waits for this: what it asks for is done to what the one before it left.
TELL_DRAWN = "() => { document.dispatchEvent(new Event('compare-drawn')) }"


@dataclass(frozen=True)
class CompareTab:
    """The tab, for those who send a clip to it.

    `event(lambda video, prompt, *rest: compare.add_clip(video, prompt, *rest), [video, prompt, *compare.inputs],
    compare.outputs, **TOLD)` puts a clip into the next free place and brings the tab to the front.
    """

    model: gr.Dropdown
    inputs: list[Any]
    outputs: list[Any]

    def add_clip(self, video: str | Path, prompt: str, *values: Any) -> tuple[Any, ...]:
        """What `outputs` become with the file `video` and its prompt; `values` are those of `inputs`."""
        board = _board(*values[: len(self.inputs) - 2])
        if board.is_full:
            gr.Warning(f"Compare holds {MAX_COMPARED} clips: remove one there first.")
            return *_drawn(board, board, *values[-2:]), gr.Tabs(selected="compare")
        return *_drawn(board, board.with_clip(Path(video), prompt), *values[-2:]), gr.Tabs(selected="compare")


@dataclass(frozen=True)
class _Inputs:
    clips: gr.State
    stage: gr.HTML
    drop: gr.File
    drop_column: gr.Column
    shared: gr.Textbox
    each: gr.Checkbox
    own: list[gr.Textbox]
    model: gr.Dropdown
    button: gr.Button
    hint: gr.HTML
    examples: gr.Button
    saved: gr.UploadButton
    running: gr.Checkbox

    @property
    def board(self) -> list[Any]:
        """What `_board` takes."""
        return [self.clips, self.shared, self.each, *self.own]

    @property
    def values(self) -> list[Any]:
        """What a handler takes that draws the page anew."""
        return [*self.board, self.model, self.running]


@dataclass(frozen=True)
class _Run:
    """What became of each clip, by its key, with the choice `model`."""

    model: str
    outcomes: dict[str, Outcome]


@dataclass(frozen=True)
class _Results:
    empty: gr.HTML
    panel: gr.Column
    heading: gr.HTML
    radar: gr.Plot
    table: gr.HTML
    exports: gr.HTML
    about: gr.HTML

    @property
    def all(self) -> list[Any]:
        return [self.empty, self.panel, self.heading, self.radar, self.table, self.exports, self.about]


def add_compare_tab(
    load_scorer: Callable[[str], Scorer], default_model: str, session: gr.State, *, tabs: gr.Tabs
) -> CompareTab:
    """Fill the current tab, one of `tabs` with the id "compare"."""
    inputs, results = _add_page(default_model)
    outputs = [*inputs.board, inputs.stage, inputs.drop_column, inputs.button, inputs.hint, *results.all]

    def score_clips(
        clips: tuple[Clip, ...],
        shared: str,
        each: bool,
        *values: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio asks for it)
    ) -> _Run:
        *own, model, visitor = values  # the last a Session
        load = visitor.or_else(load_scorer)
        with shown_errors():
            return _score(load, _board(clips, shared, each, *own), model, progress)

    _wire_editing(inputs, outputs)
    _wire_scoring(inputs, results, outputs, score_clips, session)
    return CompareTab(inputs.model, inputs.values, [*outputs, tabs])


# ---- the page --------------------------------------------------------------------------------------------------------


def _add_page(default_model: str) -> tuple[_Inputs, _Results]:
    clips, running = gr.State(()), add_running()
    with gr.Row(elem_id="compare-row"):
        stage = gr.HTML(
            fragments.stage(Board()), js_on_load=JS.read_text("utf-8"), apply_default_css=False, elem_id="compare-stage"
        )
        with gr.Column(min_width=130, elem_id="compare-drop-column") as drop_column:
            drop = gr.File(
                label="Clips",
                file_count="multiple",
                file_types=["video", *VIDEO_SUFFIXES],
                height=170,
                elem_id="compare-drop",
            )
    gr.HTML(fragments.PLAYER, apply_default_css=False, elem_id="compare-player")
    with gr.Row(equal_height=False, elem_id="compare-columns"):
        with gr.Column(scale=2, min_width=320, elem_id="compare-inputs-column"):
            shared = gr.Textbox(
                label="Prompt", placeholder="The text the clips were made from", lines=2, elem_id="compare-prompt"
            )
            own = [
                gr.Textbox(label=f"Prompt of {letter}", lines=2, visible=False, elem_id=f"compare-prompt-{letter}")
                for letter in COMPARED_LETTERS
            ]
            each = gr.Checkbox(label="Each clip has its own prompt", container=False, elem_id="compare-each")
            model = add_model_choice(default_model, "compare-model")
            button = gr.Button("Compare", variant="primary", interactive=False, elem_id="compare-button")
            hint = gr.HTML(render.hint(_missing(Board(), default_model) or ""), elem_id="compare-hint")
            with gr.Row():
                examples = gr.Button("Compare the example clips", size="sm", elem_id="compare-examples")
                saved = gr.UploadButton(
                    "Open a saved comparison", size="sm", file_types=[".json"], elem_id="compare-open"
                )
        with gr.Column(scale=3, min_width=320, elem_id="compare-results-column"):
            results = _add_results()
    inputs = _Inputs(
        *(clips, stage, drop, drop_column, shared, each, own, model, button, hint, examples, saved, running)
    )
    return inputs, results


def _add_results() -> _Results:
    empty = gr.HTML(fragments.empty(Board()), elem_id="compare-empty")
    with gr.Column(visible=False, elem_id="compare-results") as panel:
        heading = gr.HTML(elem_id="compare-heading")
        radar = gr.Plot(label="Scores", show_label=False, container=False, elem_id="compare-radar")
        table = gr.HTML(elem_id="compare-table")
        exports = gr.HTML(apply_default_css=False, elem_id="compare-exports")
        about = gr.HTML(elem_id="compare-about")
    return _Results(empty, panel, heading, radar, table, exports, about)


def _board(clips: tuple[Clip, ...], shared: str, each: bool, *own: str) -> Board:
    return Board(tuple(clips), shared or "", each, tuple(text or "" for text in own))


def _drawn(before: Board, board: Board, model: str, running: bool) -> tuple[Any, ...]:
    """All that shows `board` on a page that shows `before`, in the order of the outputs.

    A prompt that is the same is left alone: it may be being typed.
    """
    return (
        board.clips,
        _prompt(before.shared, board.shared, visible=not board.each),
        gr.skip() if board.each == before.each else board.each,
        *(_own_prompt(before, board, index) for index in range(MAX_COMPARED)),
        fragments.stage(board),
        gr.Column(visible=bool(board.absent) or not board.is_full),
        *_readiness(board, model, running),
        *_shown(board),
    )


def _prompt(before: str, text: str, **look: Any) -> Any:
    return gr.Textbox(**look) if text == before else gr.Textbox(text, **look)


def _own_prompt(before: Board, board: Board, index: int) -> Any:
    is_there = index < len(board.clips)
    label = f"Prompt of {COMPARED_LETTERS[index]}" + (f" · {board.clips[index].name}" if is_there else "")
    return _prompt(before.own[index], board.own[index], label=label, visible=board.each and is_there)


def _readiness(board: Board, model: str, running: bool) -> tuple[Any, Any]:
    missing = _missing(board, model)
    told = missing or " ".join(filter(None, (fragments.failure(board), _again(board, model))))
    return gr.Button(interactive=missing is None and not running), gr.HTML(render.hint(told))


def _again(board: Board, model: str) -> str:
    return "Press Compare for the scores of what is here now." if board.scored and board.is_stale(model) else ""


def _missing(board: Board, model: str) -> str | None:
    """Why this cannot be compared; None where it can."""
    if (reason := refusal(model)) is not None:
        return reason
    if len(board.clips) < MIN_COMPARED:
        return "Add one more clip." if board.clips else "Add two to four clips and type their prompt."
    if board.absent:
        names = fragments.listed([clip.name for clip in board.absent])
        return f"Opened from a file, without its videos: drop in {names} to play and to score again."
    unsaid = [COMPARED_LETTERS[index] for index, prompt in enumerate(board.prompts) if not prompt.strip()]
    if unsaid and board.each:
        return f"Type the prompt of {fragments.listed(unsaid)}."
    return "Type the prompt that the clips were made from." if unsaid else None


def _shown(board: Board) -> tuple[Any, ...]:
    comparison = board.comparison
    if comparison is None:
        return gr.HTML(fragments.empty(board), visible=True), gr.Column(visible=False), "", None, "", "", ""
    return (
        gr.HTML(visible=False),
        gr.Column(visible=True),
        fragments.heading(comparison),
        comparison_chart(comparison.results, places=board.scored),
        fragments.table(board, comparison),
        fragments.exports(comparison),
        fragments.about(board, comparison),
    )


# ---- the clips -------------------------------------------------------------------------------------------------------


def _wire_editing(inputs: _Inputs, outputs: list[Any]) -> None:
    inputs.drop.upload(_add_files, [inputs.drop, *inputs.values], [inputs.drop, *outputs], **TOLD)
    acted = inputs.stage.click(_act, inputs.values, outputs, trigger_mode="multiple", **AT_ONCE)
    acted.then(None, js=TELL_DRAWN, api_visibility="private")
    inputs.each.input(_switch, inputs.values, outputs, trigger_mode="always_last", **AT_ONCE)
    opened = gr.State(None)
    read = inputs.saved.upload(_read, inputs.saved, opened, **TOLD)
    read.success(_take_opened, [opened, *inputs.values], outputs, **AT_ONCE)
    fields: list[Any] = [inputs.shared, *inputs.own, inputs.model, inputs.running]
    keep_in_step(
        [field.change for field in fields],
        lambda *values: _readiness(_board(*values[:-2]), *values[-2:]),
        inputs.values,
        [inputs.button, inputs.hint],
    )


def _add_files(files: list[str] | None, *values: Any) -> tuple[Any, ...]:
    """The dropped files in the free places; a file that a saved comparison was made from goes to its scores."""
    board = before = _board(*values[:-2])
    left_out = []
    for path in map(Path, files or []):
        known = board.found(path, _sha256(path)) if board.absent else None
        if known is None and board.is_full:
            left_out.append(path.name)
        else:
            board = known or board.with_clip(path)
    if left_out:
        gr.Warning(f"Compare holds {MAX_COMPARED} clips: {render.escape(fragments.listed(left_out))} left out.")
    return None, *_drawn(before, board, *values[-2:])


def _sha256(path: Path) -> str:
    from vjepa_demo.model.features import content_sha256  # loads torch: not for the first paint

    return content_sha256(path)


def _act(event: gr.EventData, *values: Any) -> tuple[Any, ...]:
    """What a button on a clip's card asks for."""
    before = _board(*values[:-2])
    if event.action == "remove":
        return _drawn(before, before.removed(event.key), *values[-2:])
    return _drawn(before, before.moved(event.key, -1 if event.action == "left" else 1), *values[-2:])


def _switch(*values: Any) -> tuple[Any, ...]:
    before = _board(*values[:-2])
    return _drawn(before, before.switched(each=before.each), *values[-2:])


def _read(saved: str) -> Board:
    with shown_errors():
        return board_of(_read_comparison(Path(saved)))


def _take_opened(opened: Board, *values: Any) -> tuple[Any, ...]:
    """A comparison that was exported as JSON, in the place of what is on the page."""
    return _drawn(_board(*values[:-2]), opened, *values[-2:])


def _read_comparison(path: Path) -> Comparison:
    if path.stat().st_size > MAX_COMPARISON_BYTES:
        raise RecordError(f"{path.name} has {path.stat().st_size:,} bytes: that is no comparison")
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} is no JSON: open a file that Compare saved as JSON") from error
    try:
        return Comparison.from_dict(value)
    except RecordError as error:
        raise RecordError(f"{path.name}: {error}") from error


# ---- the scores ------------------------------------------------------------------------------------------------------


def _wire_scoring(
    inputs: _Inputs,
    results: _Results,
    outputs: list[Any],
    score_clips: Callable[..., _Run],
    session: gr.State,
) -> None:
    """Both buttons: switch themselves off, score, show what there is, and switch on again."""
    run = gr.State(None)
    off = [inputs.button, inputs.examples, inputs.running]
    loaded = inputs.examples.click(_load_examples, inputs.values, outputs, **AT_ONCE)
    for trigger in (inputs.button.click, loaded.then):
        started = trigger(
            lambda: (gr.Button(interactive=False), gr.Button(interactive=False), True), outputs=off, **AT_ONCE
        )
        scoring = started.then(
            score_clips,
            [*inputs.board, inputs.model, session],
            run,
            show_progress_on=[inputs.hint],
            api_visibility="private",
            **SCORING,
        )
        failed = scoring.failure(lambda: None, outputs=run, **AT_ONCE)
        for event in (scoring.success, failed.then):
            shown = event(_take_outcomes, [run, *inputs.values], [*outputs, *off[1:]], **AT_ONCE)
            shown.then(None, js=SHOW_RESULTS, api_visibility="private")


def _load_examples(*values: Any) -> tuple[Any, ...]:
    """The clips that ship with the program, each with its prompt, in the place of what is on the page."""
    board = Board(each=True)
    for path, prompt, _ in example_rows():
        board = board.with_clip(Path(path), prompt)
    return _drawn(_board(*values[:-2]), board, *values[-2:])


def _score(load_scorer: Callable[[str], Scorer], board: Board, model: str, progress: Callable[..., Any]) -> _Run:
    """Of each clip whose video is here the scores, or the words that say why it has none."""
    progress(0.0, desc=f"Loading {model}")
    scorer = load_scorer(model)
    outcomes: dict[str, Outcome] = {}
    # Without its video is a clip of a comparison that was opened between the click and this.
    clips = [clip for clip in board.clips if clip.path]
    requests = [(clip.path, prompt) for clip, prompt in zip(board.clips, board.prompts, strict=True) if clip.path]
    told = _Progress(progress, [clip.name for clip in clips])
    with closing(scorer.score_all(requests, on_step=told.step)) as results:
        told.clip(0)
        for index, (clip, result) in enumerate(zip(clips, results, strict=True)):
            outcomes[clip.key] = str(result) if isinstance(result, DemoError) else replace(result, video=clip.name)
            told.clip(index + 1)
    return _Run(model, outcomes)


class _Progress:
    """Tells "Clip 2 of 3, a.mp4: encoding the video" with the share of the whole that is done."""

    def __init__(self, progress: Callable[..., Any], names: list[str]) -> None:
        self._progress = progress
        self._names = names
        self._index = 0

    def clip(self, index: int) -> None:
        """The clip at `index` is begun; after the last there is nothing to tell."""
        self._index = index
        if index < len(self._names):
            self.step("decode")

    def step(self, step: str) -> None:
        """A step of this clip is begun."""
        share, what = STEPS[step]
        of = f"Clip {self._index + 1} of {len(self._names)}, {self._names[self._index]}"
        self._progress((self._index + share) / len(self._names), desc=f"{of}: {what[0].lower()}{what[1:]}")


def _take_outcomes(run: _Run | None, *values: Any) -> tuple[Any, ...]:
    """The page with the scores, no longer running. Clips moved, added or removed meanwhile stay as they are."""
    *values, model, _ = values
    before = _board(*values)
    board = before if run is None else before.with_outcomes(run.outcomes, model=run.model)
    return *_drawn(before, board, model, running=False), gr.Button(interactive=True), False
