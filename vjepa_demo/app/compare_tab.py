"""The Compare tab: two to four clips side by side, played as one, scored by one model, exported and opened again.

What is on the page is drawn from the board, which Gradio holds for the visitor alone. A clip keeps its scores when it
is moved, so that the results follow it, and a run that ends later finds its clips by their keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import compare_html as fragments
from vjepa_demo.app import html as render
from vjepa_demo.app.charts import comparison_chart
from vjepa_demo.app.compare_board import Board, Outcome, board_of
from vjepa_demo.app.events import (
    AT_ONCE,
    PREVIEWING,
    PROGRESS,
    TOLD,
    Values,
    add_running,
    keep_in_step,
    shown_errors,
)
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.scoring import SCORING, STEPS, STOPPING, add_stop, example_rows, scroll_to, watched
from vjepa_demo.config import COMPARED_LETTERS, MAX_COMPARED, MAX_COMPARISON_BYTES, MIN_COMPARED, VIDEO_SUFFIXES
from vjepa_demo.files import content_sha256
from vjepa_demo.schema import Comparison, DemoError, RecordError, StoppedError, well_formed
from vjepa_demo.wording import listed

if TYPE_CHECKING:
    from vjepa_demo.app.session import Session
    from vjepa_demo.tasks import Scorer

JS = "".join(Path(__file__).with_name(name).read_text("utf-8") for name in ("together.js", "compare.js"))
# The next click on a card waits for this event: it then acts on what the click before it left.
TELL_DRAWN = "() => { document.dispatchEvent(new Event('compare-drawn')) }"


class CompareTab:
    """The components of the Compare tab, and what happens when they are used.

    To send it a clip, an event takes `inputs`, a set, and gives `outputs` what `add_clip` returns.
    """

    def __init__(
        self, load_scorer: Callable[[str], Scorer], default_model: str, session: gr.State, *, tabs: gr.Tabs
    ) -> None:
        """Fill the current tab, one of `tabs` with the id "compare"."""
        self._load_scorer, self.session, self._tabs = load_scorer, session, tabs
        self.clips, self.running = gr.State(()), add_running()
        with gr.Row(elem_id="compare-row"):
            self.stage = gr.HTML(
                fragments.stage(Board()),
                js_on_load=JS,
                apply_default_css=False,
                elem_id="compare-stage",
            )
            with gr.Column(min_width=130, elem_id="compare-drop-column") as self.drop_column:
                self.drop = gr.File(
                    label="Clips",
                    file_count="multiple",
                    file_types=["video", *VIDEO_SUFFIXES],
                    height=170,
                    elem_id="compare-drop",
                )
        gr.HTML(fragments.PLAYER, apply_default_css=False, elem_id="compare-player")
        with gr.Row(equal_height=False, elem_id="compare-columns"):
            with gr.Column(scale=2, min_width=320, elem_id="compare-inputs-column"):
                self.shared = gr.Textbox(
                    label="Prompt", placeholder="The text the clips were made from", lines=2, elem_id="compare-prompt"
                )
                self.own = [
                    gr.Textbox(label=f"Prompt of {letter}", lines=2, visible=False, elem_id=f"compare-prompt-{letter}")
                    for letter in COMPARED_LETTERS
                ]
                self.each = gr.Checkbox(label="Each clip has its own prompt", container=False, elem_id="compare-each")
                self.model = add_model_choice(default_model, "compare-model")
                with gr.Row():
                    self.button = gr.Button("Compare", variant="primary", interactive=False, elem_id="compare-button")
                    self.stop = add_stop("compare")
                self.hint = gr.HTML(render.hint(missing(Board(), default_model) or ""), elem_id="compare-hint")
                with gr.Row():
                    self.examples = gr.Button("Compare the example clips", size="sm", elem_id="compare-examples")
                    self.saved = gr.UploadButton(
                        "Open a saved comparison", size="sm", file_types=[".json"], elem_id="compare-open"
                    )
            with gr.Column(scale=3, min_width=320, elem_id="compare-results-column"):
                self.empty = gr.HTML(fragments.empty(Board()), elem_id="compare-empty")
                with gr.Column(visible=False, elem_id="compare-results") as self.panel:
                    self.heading = gr.HTML(elem_id="compare-heading")
                    self.radar = gr.Plot(label="Scores", show_label=False, container=False, elem_id="compare-radar")
                    self.table = gr.HTML(elem_id="compare-table")
                    self.exports = gr.HTML(apply_default_css=False, elem_id="compare-exports")
                    self.about = gr.HTML(elem_id="compare-about")
                self._texts = [self.heading, self.table, self.exports, self.about]
        board: set[Any] = {self.clips, self.shared, self.each, *self.own}
        self.inputs = {*board, self.model, self.running, self.session}
        drawn = [self.stage, self.drop_column, self.button, self.hint, self.empty, self.panel, self.radar]
        self._drawn = [*board, *drawn, *self._texts]
        self.outputs = [*self._drawn, tabs]
        self._wire_editing()
        self._wire_scoring()

    # ---- what is drawn -----------------------------------------------------------------------------------------------

    def _board(self, values: Values) -> Board:
        shared, *own = (well_formed(values[field] or "") for field in (self.shared, *self.own))
        return Board(tuple(values[self.clips]), shared, values[self.each], tuple(own))

    def draw(self, values: Values, board: Board) -> Values:
        """All that shows `board`, on a page that has `values`.

        A prompt that is the same is left alone: it may be being typed.
        """
        before = self._board(values)
        drawn: Values = {
            self.clips: board.clips,
            self.shared: _prompt(before.shared, board.shared, visible=not board.each),
            self.stage: fragments.stage(board, values[self.session].played),
            self.drop_column: gr.Column(visible=bool(board.absent) or not board.is_full),
        }
        if board.each != before.each:
            drawn[self.each] = board.each
        for index, field in enumerate(self.own):
            is_there = index < len(board.clips)
            label = f"Prompt of {COMPARED_LETTERS[index]}" + (f" · {board.clips[index].name}" if is_there else "")
            drawn[field] = _prompt(before.own[index], board.own[index], label=label, visible=board.each and is_there)
        drawn |= self.readiness(values, board)
        comparison = board.comparison
        if comparison is None:
            told = gr.HTML(fragments.empty(board), visible=True)
            nothing: Values = dict.fromkeys(self._texts, "")
            return drawn | nothing | {self.empty: told, self.panel: gr.Column(visible=False), self.radar: None}
        return drawn | {
            self.empty: gr.HTML(visible=False),
            self.panel: gr.Column(visible=True),
            self.heading: fragments.comparison_heading(comparison),
            self.radar: comparison_chart(comparison.results, places=board.scored),
            self.table: fragments.table(board, comparison),
            self.exports: fragments.exports(comparison),
            self.about: fragments.about(board, comparison),
        }

    def readiness(self, values: Values, board: Board | None = None) -> Values:
        """The button can be pressed when the clips can be compared; the line under it says what is missing, or that
        the scores shown are of something else. `board` is what will be on the page, where that is another."""
        board, model = board or self._board(values), values[self.model]
        reason = missing(board, model)
        is_stale = bool(board.scored) and board.is_stale(model)
        again = "Press Compare for the scores of what is here now." if is_stale else ""
        told = reason or " ".join(filter(None, (fragments.failure(board), again)))
        return {
            self.button: gr.Button(interactive=reason is None and not values[self.running]),
            self.hint: render.hint(told),
        }

    # ---- the clips ---------------------------------------------------------------------------------------------------

    def _wire_editing(self) -> None:
        dropped = self.drop.upload(
            self.add_files, {self.drop, *self.inputs}, [self.drop, *self._drawn], trigger_mode="multiple", **TOLD
        )
        previewed = dropped.then(self._make_previews, {self.clips, self.session}, **PREVIEWING)
        previewed.success(self._show_previews, self.inputs, [self.stage], **AT_ONCE)
        acted = self.stage.click(self._act, self.inputs, self._drawn, trigger_mode="multiple", **AT_ONCE)
        acted.then(None, js=TELL_DRAWN, api_visibility="private")
        self.each.input(
            lambda values: self.draw(values, self._board(values).switched(each=values[self.each])),
            self.inputs,
            self._drawn,
            trigger_mode="always_last",
            **AT_ONCE,
        )
        opened = gr.State(None)
        read = self.saved.upload(self._read, self.saved, opened, **TOLD)
        read.success(lambda values: self.draw(values, values[opened]), {opened, *self.inputs}, self._drawn, **AT_ONCE)
        keep_in_step(
            [self.shared.change, *(field.change for field in self.own), self.model.change, self.running.change],
            self.readiness,
            self.inputs,
            [self.button, self.hint],
        )

    def add_clip(self, values: Values, video: Path, prompt: str) -> Values:
        """The page with `video` in the next free place, and the tab in front."""
        board = self._board(values)
        if board.is_full:
            gr.Warning(f"Compare holds {MAX_COMPARED} clips: remove one there first.")
        else:
            board = board.with_clip(video, prompt)
        return self.draw(values, board) | {self._tabs: gr.Tabs(selected="compare")}

    def add_files(self, values: Values) -> Values:
        """The dropped files in the free places; a file that a saved comparison was made from goes to its scores."""
        board = self._board(values)
        left_out = []
        for path in map(Path, values[self.drop] or []):
            known = board.found(path, content_sha256(path)) if board.absent else None
            if known is None and board.is_full:
                left_out.append(path.name)
            else:
                board = known or board.with_clip(path)
        if left_out:
            gr.Warning(f"Compare holds {MAX_COMPARED} clips: {render.escape(listed(left_out))} left out.")
        return self.draw(values, board) | {self.drop: None}

    def _make_previews(self, values: Values) -> None:
        with shown_errors():
            for clip in values[self.clips]:
                if clip.path is not None:
                    values[self.session].make_preview(str(clip.path))

    def _show_previews(self, values: Values) -> Values:
        """The clips that are there now: some may have been moved or removed while their previews were made."""
        board, visitor = self._board(values), values[self.session]
        paths = [str(clip.path) for clip in board.clips]
        if all(visitor.played(path) == path for path in paths):
            return {self.stage: gr.skip()}
        return {self.stage: fragments.stage(board, visitor.played)}

    def _act(self, event: gr.EventData, values: Values) -> Values:
        """What a button on a clip's card asks for."""
        board = self._board(values)
        if event.action == "remove":
            return self.draw(values, board.removed(event.key))
        return self.draw(values, board.moved(event.key, -1 if event.action == "left" else 1))

    def _read(self, saved: str) -> Board:
        with shown_errors():
            return board_of(read_comparison(Path(saved)))

    # ---- the scores --------------------------------------------------------------------------------------------------

    def _wire_scoring(self) -> None:
        """Both buttons: switch themselves off, score, show what there is, and switch on again."""
        outcomes = gr.State(None)
        switches = [self.examples, self.stop, self.running]
        loaded = self.examples.click(self._load_examples, self.inputs, self._drawn, **AT_ONCE)

        def show_outcomes(values: Values) -> Values:
            """The page, no longer running. Clips moved, added or removed meanwhile stay as they are."""
            board = self._board(values)
            if values[outcomes] is not None:
                model, of_clips = values[outcomes]
                board = board.with_outcomes(of_clips, model=model)
            drawn = self.draw({**values, self.running: False}, board)
            idle = {self.examples: gr.Button(interactive=True), self.stop: gr.Button(visible=False)}
            return drawn | idle | {self.running: False}

        for trigger in (self.button.click, loaded.then):
            started = trigger(self.begin, self.session, [self.button, *switches], **AT_ONCE)
            scoring = started.then(
                self.score,
                self.inputs,
                outcomes,
                show_progress_on=[self.hint],
                api_visibility="private",
                **SCORING,
            )
            failed = scoring.failure(lambda: None, outputs=outcomes, **AT_ONCE)
            for event in (scoring.success, failed.then):
                shown = event(show_outcomes, {outcomes, *self.inputs}, [*self._drawn, *switches], **AT_ONCE)
                shown.then(None, js=scroll_to("#compare-results-column"), api_visibility="private")
        self.stop.click(self.stop_scoring, self.session, [self.stop, self.hint], **AT_ONCE)

    def begin(self, visitor: Session) -> Values:
        """A comparison waits for its turn."""
        visitor.comparing.stop.clear()
        off, on = gr.update(interactive=False), gr.Button(visible=True, interactive=True)
        return {self.button: off, self.examples: off, self.stop: on, self.running: True}

    def stop_scoring(self, visitor: Session) -> Values:
        """The clip that is being scored is given up; those before it keep their scores."""
        visitor.comparing.stop.set()
        return {self.stop: gr.Button(interactive=False), self.hint: render.hint(STOPPING)}

    def _load_examples(self, values: Values) -> Values:
        """The clips that ship with the program, each with its prompt, in the place of what is on the page."""
        board = Board(each=True)
        for path, prompt, _ in example_rows():
            board = board.with_clip(Path(path), prompt)
        return self.draw(values, board)

    def score(self, values: Values, progress: gr.Progress = PROGRESS) -> tuple[str, dict[str, Outcome]]:
        """The model choice, and by the key of each clip whose video is here its scores, or why it has none. Of clips
        that the visitor's Stop left nothing is said.

        `progress` is told such as "Clip 2 of 3, a.mp4: encoding the video" with the share of the whole that is done.
        """
        visitor, board, model = values[self.session], self._board(values), values[self.model]
        # A clip has no video if a comparison was opened between the click and this.
        here = [(clip, clip.path, prompt) for clip, prompt in zip(board.clips, board.prompts, strict=True) if clip.path]
        outcomes: dict[str, Outcome] = {}

        def tell(share: float, what: str) -> None:
            index = len(outcomes)
            if index < len(here):
                of = f"Clip {index + 1} of {len(here)}, {here[index][0].name}"
                progress((index + share) / len(here), desc=f"{of}: {what[0].lower()}{what[1:]}")

        progress(0.0, desc=f"Loading {model}")
        with shown_errors():
            scorer = visitor.scorer(model, self._load_scorer)
            requests = [(path, prompt) for _, path, prompt in here]
            try:
                with closing(scorer.score_all(requests, **watched(visitor.comparing, tell))) as results:
                    tell(*STEPS["decode"])
                    for (clip, _, _), result in zip(here, results, strict=True):
                        is_error = isinstance(result, DemoError)
                        outcomes[clip.key] = str(result) if is_error else replace(result, video=clip.name)
                        tell(*STEPS["decode"])
            except StoppedError:
                visitor.check_open()
        return model, outcomes


def _prompt(before: str, text: str, **look: Any) -> gr.Textbox:
    return gr.Textbox(**look) if text == before else gr.Textbox(text, **look)


def missing(board: Board, model: str) -> str | None:
    """Why this cannot be compared; None where it can."""
    if (reason := refusal(model)) is not None:
        return reason
    if len(board.clips) < MIN_COMPARED:
        return "Add one more clip." if board.clips else "Add two to four clips and type their prompt."
    if board.absent:
        names = listed([clip.name for clip in board.absent])
        return f"A saved comparison has no videos: drop in {names} to play them and to score them again."
    unsaid = [COMPARED_LETTERS[index] for index, prompt in enumerate(board.prompts) if not prompt.strip()]
    if unsaid and board.each:
        return f"Type the prompt of {listed(unsaid)}."
    return "Type the prompt that the clips were made from." if unsaid else None


def read_comparison(path: Path) -> Comparison:
    """The comparison that Compare saved as JSON.

    Raises:
        RecordError: if it is no such file, or too large for one.
    """
    if path.stat().st_size > MAX_COMPARISON_BYTES:
        raise RecordError(
            f"{path.name} has {path.stat().st_size:,} bytes, more than a saved comparison: "
            "open a file that Compare saved as JSON"
        )
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path.name} is not JSON: open a file that Compare saved as JSON") from error
    try:
        return Comparison.from_dict(value)
    except RecordError as error:
        raise RecordError(f"{path.name}: {error}") from error
