"""The Batch tab: many videos with a table or one prompt in, rows that fill as they are scored, means and a CSV out."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import batch_html as fragments
from vjepa_demo.app import data_inputs
from vjepa_demo.app import html as render
from vjepa_demo.app.charts import leaderboard_chart
from vjepa_demo.app.data_inputs import RANGES, SAMPLE, SAMPLE_TABLE
from vjepa_demo.app.events import AT_ONCE, TOLD, Values, add_running, keep_in_step, shown_errors
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.scoring import scroll_to
from vjepa_demo.app.session import Added, Batch, Session, Staged
from vjepa_demo.app.turns import BATCHING, in_turn, others_run
from vjepa_demo.config import TABLE_SUFFIXES, VIDEO_SUFFIXES
from vjepa_demo.schema import BatchSummary, BatchTable, DemoError, RecordError
from vjepa_demo.wording import counted, verdict

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

EXTRACTED = "batch-videos"  # in the session's folder: what came out of zips
UPDATE_SECONDS = 0.4  # rows that finish faster are shown together
STOPPING = "Stopping after this row."
REPLACES = "Score all replaces these scores."
WAITING = "Waiting for its turn: other visitors' batches are running"
NOTHING = "nothing to score: add videos, and a table or a prompt"


@dataclass(frozen=True)
class _Given:
    """What a handler was given: the visitor, what they added, and the model they chose."""

    visitor: Session
    added: Added
    model: str | None


class BatchTab:
    """The components of the tab, and what its events do. A handler returns new values of what it changes."""

    def __init__(self, load_scorer: Callable[[str], Scorer], default_model: str, session: gr.State) -> None:
        self._load_scorer, self.session = load_scorer, session
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self._add_inputs(default_model)
                self._add_buttons()
            with gr.Column(scale=3, min_width=320):
                self._add_results()
        self._added: set[Any] = {session, self.videos, self.table, self.prompt, self.label_range, self.model}
        self._added.add(self.running)
        self._locked = [self.videos, self.folder, self.table, self.prompt, self.model, self.label_range]
        self._shown = [
            *(self.sample, self.start, self.resume, self.stop, self.hint, self.check, self.status, self.download),
            *(self.means, self.leaderboard, self.chart, self.metrics, self.order, self.rows),
        ]
        self._wire_check()
        for button, begin in (
            (self.start, self.begin),
            (self.resume, self.begin_again),
            (self.sample, self.begin_sample),
        ):
            self._wire_run(button, begin)
        self.stop.click(self.stop_run, {session}, [self.stop, self.hint], **AT_ONCE)
        self.order.input(self.reorder, {session, self.order}, self.rows, trigger_mode="always_last", **AT_ONCE)

    def _add_inputs(self, default_model: str) -> None:
        self.videos = data_inputs.add_video_files("batch-videos")
        self.folder = gr.UploadButton("Add a folder", file_count="directory", size="sm", elem_id="batch-folder")
        self.table = data_inputs.add_table_file("Table of videos (CSV or TSV)", "batch-table")
        self.prompt = gr.Textbox(
            label="or one prompt for all videos",
            placeholder="The text the videos were made from",
            lines=2,
            elem_id="batch-prompt",
        )
        self.sample = gr.Button("Score the sample data set", size="sm", elem_id="batch-sample")
        self.model = add_model_choice(default_model, "batch-model")
        with gr.Accordion("Settings", open=False):
            self.label_range = data_inputs.add_label_range("batch-label-range")

    def _add_buttons(self) -> None:
        with gr.Row():
            self.start = gr.Button(
                "Score all", variant="primary", interactive=False, min_width=100, elem_id="batch-start"
            )
            self.resume = gr.Button("Resume", variant="primary", visible=False, min_width=100, elem_id="batch-resume")
            self.stop = gr.Button("Stop", interactive=False, min_width=100, elem_id="batch-stop")
        self.hint = gr.HTML(render.hint(_missing(Added()) or ""), elem_id="batch-hint")
        self.running = add_running()

    def _add_results(self) -> None:
        self.check = gr.HTML(fragments.EMPTY, elem_id="batch-check")
        self.status = gr.HTML(elem_id="batch-status")
        self.download = gr.DownloadButton("Download CSV", visible=False, size="sm", elem_id="batch-download")
        self.means = gr.HTML(elem_id="batch-means")
        self.leaderboard = gr.HTML(visible=False, elem_id="leaderboard")
        self.chart = gr.Plot(visible=False, container=False, elem_id="leaderboard-chart")
        self.metrics = gr.HTML(visible=False, elem_id="batch-metrics")
        self.order = gr.Radio(
            list(fragments.ORDERS),
            value="Latest",
            show_label=False,
            container=False,
            visible=False,
            elem_id="row-order",
        )
        self.rows = gr.HTML(elem_id="batch-rows")

    def _given(self, values: Values) -> _Given:
        """Gradio gives None for each component of a tab that was never opened."""
        table, label_range = values[self.table], values[self.label_range]
        added = Added(
            videos=tuple(dict.fromkeys(values[self.videos] or ())),  # the same file may be added twice
            table=table,
            prompt=(values[self.prompt] or "").strip(),
            label_range=label_range if table else None,
        )
        return _Given(values[self.session], added, values[self.model])

    # ---- what will be scored -----------------------------------------------------------------------------------------

    def _wire_check(self) -> None:
        """Whatever is added is checked, a prompt once it is typed."""
        self.folder.upload(self.split_folder, {self.folder, self.table}, [self.videos, self.table], **TOLD)
        checked = gr.on(
            [
                *(each.change for each in (self.videos, self.table, self.label_range)),
                *(self.prompt.blur, self.prompt.submit),
            ],
            self.check_added,
            self._added,
            self._shown,
            concurrency_limit=2,
            trigger_mode="always_last",
            show_progress="minimal",
            show_progress_on=self.check,
            api_visibility="private",
        )
        for event in (checked.success, checked.failure):  # the prompt may have been typed on meanwhile
            event(self.settled, self._added, self._shown, trigger_mode="multiple", **AT_ONCE)
        events = [self.prompt.input, self.model.change, self.running.change]
        keep_in_step(events, self.settled, self._added, self._shown)

    def split_folder(self, values: Values) -> Values:
        """The videos of a folder, and its table where it has just one and none was added."""
        files = values[self.folder] or []
        videos = [file for file in files if file.lower().endswith(VIDEO_SUFFIXES)]
        found = [file for file in files if file.lower().endswith(TABLE_SUFFIXES)]
        with shown_errors():
            if not videos:
                raise RecordError("the folder holds no videos: add one that does")
        return {self.videos: videos} | ({self.table: found[0]} if not values[self.table] and len(found) == 1 else {})

    def check_added(self, values: Values) -> Values:
        """Read what was added, and show what would be scored."""
        given = self._given(values)
        with shown_errors():
            _stage(given.visitor, given.added)
        return self.settled(values)

    def settled(self, values: Values) -> Values:
        """What is staged, and what can be pressed; the scores of the last batch stay as they are."""
        given = self._given(values)
        return {self.check: _report(given.visitor), **self._buttons(given)}

    def _buttons(self, given: _Given) -> Values:
        """What can be pressed, and why the rest cannot."""
        batches, added = given.visitor.batch, given.added
        batch, staged, is_idle = batches.last, batches.staged, not batches.run.is_running
        reason = refusal(given.model) if given.model else None
        is_stopping = batches.run.stop.is_set()
        has_stopped = batch is not None and batch.is_stopped
        is_checked = staged.added == added
        is_other = not is_checked or batch is None or staged.table is not batch.table  # than what was scored
        missing = _missing(added)
        is_ready = staged.num_usable > 0 if is_checked else missing is None  # the button checks what was not checked
        if not is_idle:
            hint = STOPPING if is_stopping else "Stop keeps the rows that are done."
        else:
            problem = (
                (staged.problem or (staged.table and "No row can be scored.") or missing) if is_checked else missing
            )
            hint = _hint(batch, reason or ("" if is_ready else problem or ""), is_other=is_other)
        return {
            self.sample: gr.Button(interactive=is_idle and reason is None),
            self.start: gr.Button(
                "Start over" if has_stopped and not is_other else "Score all",
                variant="secondary" if has_stopped else "primary",
                interactive=is_ready and is_idle and reason is None,
            ),
            self.resume: gr.Button(visible=has_stopped, interactive=is_idle),
            self.stop: gr.Button(interactive=not is_idle and not is_stopping),
            self.hint: render.hint(hint),
        }

    # ---- the run -----------------------------------------------------------------------------------------------------

    def _wire_run(self, button: gr.Button, begin: Callable[[Values], Values]) -> None:
        """`button` locks the inputs, scores, shows what came of it, and unlocks them."""
        every = [*self._shown, *self._locked, self.running]
        started = button.click(begin, self._added, every, **TOLD)
        started.failure(self.settled, self._added, self._shown, **AT_ONCE)
        started.then(None, js=scroll_to("#batch-status"), api_visibility="private")
        scoring = started.success(
            self.score, self._added, self._shown, show_progress="hidden", api_visibility="private", **BATCHING
        )
        failed = scoring.failure(self.failed, {self.session}, self._shown, **AT_ONCE)
        for event in (scoring.success, failed.then):
            event(self.ended, self._added, every, **AT_ONCE)

    def begin(self, values: Values) -> Values:
        """What was added is scored, checked or not: the button may be pressed while the prompt is still being typed."""
        given = self._given(values)
        with shown_errors(), given.visitor.batch.run.claimed():
            _new_batch(given.visitor, _stage(given.visitor, given.added))
            return self._running(given)

    def begin_sample(self, values: Values) -> Values:
        """The sample data set is scored, whatever was added."""
        given = self._given(values)
        batches = given.visitor.batch
        with shown_errors(), batches.run.claimed():
            table = replace(tasks.read_batch(SAMPLE_TABLE, [SAMPLE]), name="The sample data set")
            with given.visitor.checks.turn():
                batches.staged = replace(batches.staged, table=table, problem="")
            _new_batch(given.visitor, batches.staged)
            return self._running(given)

    def begin_again(self, values: Values) -> Values:
        """The stopped batch is resumed, whatever was added since."""
        given = self._given(values)
        batches = given.visitor.batch
        with shown_errors(), batches.run.claimed():
            if batches.last is None or not batches.last.is_stopped:
                raise RecordError("no batch was stopped, so there is nothing to resume: press Score all")
            return self._running(given)

    def _running(self, given: _Given) -> Values:
        return {
            self.check: _report(given.visitor),
            self.status: render.status("Starting", None, None),
            **self._buttons(given),
            **dict.fromkeys(self._locked, gr.update(interactive=False)),
            self.running: True,
        }

    def ended(self, values: Values) -> Values:
        """The run is over, whatever came of it: another may begin."""
        values[self.session].batch.run.release()
        unlocked: Values = dict.fromkeys(self._locked, gr.update(interactive=True))
        return self.settled(values) | unlocked | {self.running: False}

    def stop_run(self, values: Values) -> Values:
        """The run ends after the row that is being scored."""
        values[self.session].batch.run.stop.set()
        return {self.stop: gr.Button(interactive=False), self.hint: render.hint(STOPPING)}

    def score(self, values: Values) -> Iterator[Values]:
        """Status, means and rows while it runs, then all there is to see."""
        given = self._given(values)
        visitor, batch = given.visitor, given.visitor.batch.last
        with shown_errors(), visitor.deleted_if_closed():
            if batch is None:
                raise RecordError(NOTHING)
            resume = batch.scorer is not None
            shown = self._buttons(given) | ({} if resume else self._cleared())  # a check may have freed the buttons
            yield shown | {self.status: render.status("Loading the model", None, None)}
            if batch.scorer is None:
                batch.scorer = visitor.or_else(self._load_scorer)(given.model or "")
            yield {self.status: render.status(WAITING if others_run() else "Starting", None, None)}
            yield from self._filling(visitor, batch, batch.scorer, resume=resume)
            yield {self.status: render.status("Summing up", 1.0, None)}
            yield self._outcome(visitor, batch)

    def _filling(self, visitor: Session, batch: Batch, scorer: Scorer, *, resume: bool) -> Iterator[Values]:
        """What is new on the page as rows finish."""
        # A stopped run's rows are reported once more, as read from the CSV; what was known of them then is more.
        earlier = {result.row.line: result for result in batch.results}
        batch.results.clear()
        shown_at = -UPDATE_SECONDS
        should_stop = visitor.batch.run.should_stop
        run = tasks.run_batch(scorer, batch.table, batch.out, resume=resume, should_stop=should_stop)
        with closing(in_turn(run)) as reports:
            for report in reports:
                kept = earlier.get(report.result.row.line) if report.resumed else None
                batch.results.append(kept or report.result)
                if not report.resumed and time.monotonic() - shown_at >= UPDATE_SECONDS:
                    yield {
                        self.status: fragments.progress(report),
                        self.means: fragments.means(batch.results, scorer),
                        self.order: gr.Radio(visible=True),
                        self.rows: fragments.rows(batch.results, batch.order),
                    }
                    shown_at = time.monotonic()

    def _outcome(self, visitor: Session, batch: Batch) -> Values:
        """Everything about the rows that are done, and the CSV with them."""
        if batch.scorer is None or not batch.results:
            return {self.status: fragments.ended(0, batch.num_left, 0)}
        summary = tasks.summarise_batch(batch.results, batch.scorer.trained_on)
        board = "" if batch.table.generator_column is None else fragments.leaderboard(summary, batch.results)
        source = Path(batch.table.name)
        name = f"{source.stem}-scores.csv" if source.suffix.lower() in TABLE_SUFFIXES else "scores.csv"
        served = shutil.copyfile(batch.out, visitor.download_path(name))
        return {
            self.status: fragments.ended(summary.all.num_scored, batch.num_left, summary.all.num_errors),
            self.download: gr.DownloadButton(f"Download {name}", value=str(served), visible=True),
            self.means: fragments.means(batch.results, batch.scorer, summary.all.standard_errors),
            self.leaderboard: gr.HTML(board, visible=bool(board)),
            self.chart: _chart(summary),
            self.metrics: _metrics(summary),
            self.order: gr.Radio(visible=True),
            self.rows: fragments.rows(batch.results, batch.order),
        }

    def failed(self, values: Values) -> Values:
        """What an error left: the rows that were done before it, or nothing."""
        visitor = values[self.session]
        batch = visitor.batch.last
        return self._outcome(visitor, batch) if batch is not None and batch.results else self._cleared()

    def _cleared(self) -> Values:
        return {
            self.status: "",
            self.download: gr.DownloadButton(visible=False),
            self.means: "",
            self.leaderboard: gr.HTML(visible=False),
            self.chart: gr.Plot(visible=False),
            self.metrics: gr.HTML(visible=False),
            self.order: gr.Radio(value="Latest", visible=False),
            self.rows: "",
        }

    def reorder(self, values: Values) -> str:
        """The rows in another order."""
        batch = values[self.session].batch.last
        if batch is None:
            return ""
        batch.order = fragments.ORDERS[values[self.order]]
        return fragments.rows(batch.results, batch.order)


# ---- of one visitor --------------------------------------------------------------------------------------------------


def _report(visitor: Session) -> str:
    """What will be scored, or else what was."""
    batch, table = visitor.batch.last, visitor.batch.staged.table
    if batch is not None and (table is None or table is batch.table or visitor.batch.run.is_running):
        return fragments.table_report(batch.table, is_open=False)
    if table is None:
        return fragments.EMPTY
    return fragments.table_report(table, is_open=True, is_next=batch is not None)


def _missing(added: Added) -> str | None:
    has_words = added.table is not None or added.prompt
    if not added.videos:
        return "Add the videos." if has_words else "Add videos, and a table or a prompt; or score the sample data set."
    return None if has_words else "Add a table, or type the prompt that all the videos were made from."


def _hint(batch: Batch | None, problem: str, *, is_other: bool) -> str:
    """What the buttons will do where nothing runs; `problem` is what is against Score all, which scores other rows than
    those that are shown (`is_other`)."""
    hints = []
    if batch is not None and batch.scorer is not None and batch.num_left:
        hints.append(f"Resume scores the remaining {counted(batch.num_left, 'row')} with {batch.scorer.name}.")
    if problem:
        hints.append(problem)
    elif batch is not None and batch.results and is_other:
        hints.append(REPLACES)
    return " ".join(hints)


def _stage(visitor: Session, added: Added) -> Staged:
    """What was added is what Score all scores; nothing is read again where it is what was checked last.

    Raises:
        DemoError: if it cannot be read.
    """
    batches = visitor.batch
    with visitor.checks.turn():
        if added != batches.staged.added:
            batches.staged = Staged(added)
            if _missing(added) is None:
                try:
                    batches.staged = Staged(added, _read(visitor, added))
                except DemoError as error:
                    batches.staged = Staged(added, problem=str(error))
                    raise
        return batches.staged


def _new_batch(visitor: Session, staged: Staged) -> None:
    """The staged table is the batch now; the scores there were go."""
    if staged.table is None or not staged.num_usable:
        raise RecordError(staged.problem or NOTHING)
    visitor.new_batch(staged.table)


def _read(visitor: Session, added: Added) -> BatchTable:
    videos = _unpacked(visitor, added.videos)
    if added.table is None:
        return tasks.batch_of_files(videos, added.prompt)
    label_range = RANGES[added.label_range] if added.label_range else None
    return tasks.read_batch(added.table, videos, prompt=added.prompt or None, label_range=label_range)


def _unpacked(visitor: Session, videos: tuple[str, ...]) -> list[Path]:
    """`videos` with a folder in place of each zip; zips are not opened anew as the table and the prompt change."""
    batches = visitor.batch
    if batches.unpacked is None or batches.unpacked[0] != videos:
        batches.unpacked = None
        _clear_extracted(visitor)
        paths = []
        for path in map(Path, videos):
            if path.suffix.lower() == ".zip":
                folder = Path(tempfile.mkdtemp(dir=visitor.folder / EXTRACTED), path.stem)
                tasks.extract_videos(path, folder, wanted=None)
                path = folder
            paths.append(path)
        batches.unpacked = videos, paths
    return batches.unpacked[1]


def _clear_extracted(visitor: Session) -> None:
    """Of what came out of zips, keep only what a batch has still to score."""
    (visitor.folder / EXTRACTED).mkdir(exist_ok=True)
    batch = visitor.batch.last
    rows = batch.table.rows if batch is not None and batch.num_left else ()
    for folder in (visitor.folder / EXTRACTED).iterdir():
        if not any(row.video is not None and row.video.is_relative_to(folder) for row in rows):
            shutil.rmtree(folder)


def _chart(summary: BatchSummary) -> gr.Plot:
    groups = [(group.name, group.means, group.standard_errors) for group in summary.generators if group.means]
    return gr.Plot(leaderboard_chart(groups), visible=True) if groups else gr.Plot(visible=False)


def _metrics(summary: BatchSummary) -> gr.HTML:
    if summary.evaluation is None:
        return gr.HTML(visible=False)
    table = render.metrics_table(summary.evaluation, verdict(summary.evaluation))
    return gr.HTML(fragments.METRICS_TITLE + table, visible=True)
