"""The Batch tab: many videos with a table or one prompt in, rows that fill as they are scored, means and a CSV out."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import batch_html as fragments
from vjepa_demo.app import html as render
from vjepa_demo.app.charts import leaderboard_chart
from vjepa_demo.app.data_inputs import (
    RANGES,
    SAMPLE,
    SAMPLE_TABLE,
    add_label_range,
    add_prompts,
    add_video_files,
    without_repeats,
)
from vjepa_demo.app.events import AT_ONCE, TOLD, Values, add_running, keep_in_step, said, shown_errors
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.scoring import STOPPING, scroll_to
from vjepa_demo.app.session import NOTHING, Added, Batch, BatchState, Session, Staged
from vjepa_demo.app.turns import BATCHING, in_turn, others_run
from vjepa_demo.config import TABLE_SUFFIXES, VIDEO_SUFFIXES
from vjepa_demo.media.archive import is_hidden
from vjepa_demo.schema import BatchTable, DemoError, RecordError
from vjepa_demo.wording import counted, left_out_notes, no_videos_but, verdict

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

EXTRACTED = "batch-videos"  # in the session's folder: what came out of zips
UPDATE_SECONDS = 0.4  # rows that finish faster are shown together
REPLACES = "Score all replaces these scores."
WAITING = "Waiting for its turn: other visitors' batches are running"


class BatchTab:
    """The components of the tab, and what its events do. A handler returns new values of what it changes."""

    def __init__(self, load_scorer: Callable[[str], Scorer], default_model: str, session: gr.State) -> None:
        self._load_scorer, self.session = load_scorer, session
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self.videos = add_video_files("batch-videos")
                self.folder = gr.UploadButton("Add a folder", file_count="directory", size="sm", elem_id="batch-folder")
                self.table, self.prompt = add_prompts("batch")
                self.sample = gr.Button("Score the sample data set", size="sm", elem_id="batch-sample")
                self.model = add_model_choice(default_model, "batch-model")
                with gr.Accordion("Settings", open=False):
                    self.label_range = add_label_range("batch-label-range")
                with gr.Row():
                    look: dict[str, Any] = {"variant": "primary", "min_width": 100}
                    self.start = gr.Button("Score all", interactive=False, elem_id="batch-start", **look)
                    self.resume = gr.Button("Resume", visible=False, elem_id="batch-resume", **look)
                    self.stop = gr.Button("Stop", interactive=False, min_width=100, elem_id="batch-stop")
                self.hint = gr.HTML(render.hint(_missing(Added()) or ""), elem_id="batch-hint")
            with gr.Column(scale=3, min_width=320):
                self.check = gr.HTML(fragments.EMPTY, elem_id="batch-check")
                self.status = gr.HTML(elem_id="batch-status")
                self.download = gr.DownloadButton("Download CSV", visible=False, size="sm", elem_id="batch-download")
                self.means = gr.HTML(elem_id="batch-means")
                self.leaderboard = gr.HTML(visible=False, elem_id="leaderboard")
                self.chart = gr.Plot(visible=False, container=False, elem_id="leaderboard-chart")
                self.metrics = gr.HTML(visible=False, elem_id="batch-metrics")
                self.order = gr.Radio(
                    fragments.ORDERS,
                    value="latest",
                    show_label=False,
                    container=False,
                    visible=False,
                    elem_id="row-order",
                )
                self.rows = gr.HTML(elem_id="batch-rows")
        self.running = add_running()
        inputs = [self.videos, self.table, self.prompt, self.label_range, self.model]
        self._added: set[Any] = {session, self.running, *inputs}
        self._locked = [*inputs, self.folder]
        self._shown = [
            *(self.sample, self.start, self.resume, self.stop, self.hint, self.check, self.status, self.download),
            *(self.means, self.leaderboard, self.chart, self.metrics, self.order, self.rows),
        ]
        self._wire_check()
        self._wire_run()

    # ---- what will be scored -----------------------------------------------------------------------------------------

    def _wire_check(self) -> None:
        """Whatever is added is checked, a prompt once it is typed."""
        self.folder.upload(self.split_folder, {self.folder, self.table}, [self.videos, self.table], **TOLD)
        fields = (self.videos, self.table, self.label_range)
        checked = gr.on(
            [*(field.change for field in fields), self.prompt.blur, self.prompt.submit],
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
        changes = [self.prompt.input, self.model.change, self.running.change]
        keep_in_step(changes, self.settled, self._added, self._shown)

    def split_folder(self, values: Values) -> Values:
        """The videos of a folder, and its table where it has just one and none was added."""
        files = [file for file in values[self.folder] or [] if not is_hidden(Path(file).name)]
        videos = [file for file in files if file.lower().endswith(VIDEO_SUFFIXES)]
        tables = tuple(suffix for suffix in TABLE_SUFFIXES if suffix != ".json")  # which may belong to a video
        found = [file for file in files if file.lower().endswith(tables)]
        skipped = [Path(file).name for file in files if file not in (*videos, *found)]
        with shown_errors():
            if not videos:
                raise RecordError(f"the folder holds no videos{no_videos_but(skipped)}: add one that does")
        several = [f"The folder holds {counted(len(found), 'table')}: add the one that is meant."] if found[1:] else []
        for note in (*several, *left_out_notes(skipped)):
            gr.Info(escape(note))
        return {self.videos: videos} | ({self.table: found[0]} if not values[self.table] and len(found) == 1 else {})

    def _what_was_added(self, values: Values) -> Added:
        """Gradio gives None for each component of a tab that was never opened."""
        table = values[self.table]
        return Added(
            videos=without_repeats(values[self.videos]),
            table=table,
            prompt=(values[self.prompt] or "").strip(),
            label_range=values[self.label_range] if table else None,
        )

    def check_added(self, values: Values) -> Values:
        """Read what was added, and show what would be scored."""
        with shown_errors():
            _stage(values[self.session], self._what_was_added(values))
        return self.settled(values)

    def settled(self, values: Values) -> Values:
        """What is staged, and what can be pressed; the scores of the last batch stay as they are."""
        batches: BatchState = values[self.session].batch
        batch, table = batches.last, batches.staged.table
        if batch is not None and (table is None or table is batch.table or batches.run.is_running):
            report = fragments.table_report(batch.table, is_open=False)
        elif table is None:
            report = fragments.EMPTY
        else:
            report = fragments.table_report(table, is_open=True, is_next=batch is not None)
        return {self.check: report, **self._buttons(values)}

    def _buttons(self, values: Values) -> Values:
        """What can be pressed, and why the rest cannot."""
        batches: BatchState = values[self.session].batch
        added, model = self._what_was_added(values), values[self.model]
        batch, staged, is_idle = batches.last, batches.staged, not batches.run.is_running
        reason = refusal(model) if model else None
        is_stopping = batches.run.stop.is_set()
        has_stopped = batch is not None and batch.is_stopped
        is_checked = staged.added == added
        is_other = not is_checked or batch is None or staged.table is not batch.table  # than what was scored
        missing = _missing(added)
        is_ready = staged.num_usable > 0 if is_checked else missing is None  # Score all checks first
        if not is_idle:
            hints = [STOPPING if is_stopping else "Stop keeps the rows that are done."]
        else:
            hints = []
            if batch is not None and batch.is_stopped and batch.scorer is not None:
                rows = counted(batch.num_left, "row")
                hints.append(f"Resume scores the remaining {rows} with {batch.scorer.name}.")
            if reason:
                hints.append(reason)
            elif not is_ready:
                found = staged.problem or (staged.table and "No row can be scored.")
                hints.append((found if is_checked else None) or missing or "")
            elif batch is not None and batch.results and is_other:
                hints.append(REPLACES)
        return {
            self.sample: gr.Button(interactive=is_idle and reason is None),
            self.start: gr.Button(
                "Start over" if has_stopped and not is_other else "Score all",
                variant="secondary" if has_stopped else "primary",
                interactive=is_ready and is_idle and reason is None,
            ),
            self.resume: gr.Button(visible=has_stopped, interactive=is_idle),
            self.stop: gr.Button(interactive=not is_idle and not is_stopping),
            self.hint: render.hint(" ".join(hints)),
        }

    # ---- the run -----------------------------------------------------------------------------------------------------

    def _wire_run(self) -> None:
        """Three buttons lock the inputs, score, show what came of it, and unlock them."""
        every = [*self._shown, *self._locked, self.running]
        for button, begin in (
            (self.start, self.begin),
            (self.resume, self.begin_again),
            (self.sample, self.begin_sample),
        ):
            started = button.click(begin, self._added, every, **TOLD)
            started.failure(self.settled, self._added, self._shown, **AT_ONCE)
            started.then(None, js=scroll_to("#batch-status"), api_visibility="private")
            scoring = started.success(
                self.score, self._added, self._shown, show_progress="hidden", api_visibility="private", **BATCHING
            )
            failed = scoring.failure(self.failed, {self.session}, self._shown, **AT_ONCE)
            for event in (scoring.success, failed.then):
                event(self.ended, self._added, every, **AT_ONCE)
        self.stop.click(self.stop_run, {self.session}, [self.stop, self.hint], **AT_ONCE)
        self.order.input(self.reorder, {self.session, self.order}, self.rows, trigger_mode="always_last", **AT_ONCE)

    def begin(self, values: Values) -> Values:
        """What was added is scored, checked or not: the button may be pressed while the prompt is still being typed."""
        visitor = values[self.session]
        with shown_errors(), visitor.batch.run.claimed():
            visitor.new_batch(_stage(visitor, self._what_was_added(values)))
            return self._running(values)

    def begin_sample(self, values: Values) -> Values:
        """The sample data set is scored, whatever was added."""
        visitor = values[self.session]
        batches = visitor.batch
        with shown_errors(), batches.run.claimed():
            table = replace(tasks.read_batch(SAMPLE_TABLE, [SAMPLE]), name="The sample data set")
            with visitor.checks.turn():
                batches.staged = replace(batches.staged, table=table, problem="")
            visitor.new_batch(batches.staged)
            return self._running(values)

    def begin_again(self, values: Values) -> Values:
        """The stopped batch is resumed, whatever was added since."""
        batches = values[self.session].batch
        with shown_errors(), batches.run.claimed():
            if batches.last is None or not batches.last.is_stopped:
                raise RecordError("no batch was stopped, so there is nothing to resume: press Score all")
            return self._running(values)

    def _running(self, values: Values) -> Values:
        locked: Values = dict.fromkeys(self._locked, gr.update(interactive=False))
        return self.settled(values) | locked | {self.status: render.status("Starting", None, None), self.running: True}

    def ended(self, values: Values) -> Values:
        """The run is over, whatever came of it: another may begin."""
        batches: BatchState = values[self.session].batch
        batch = batches.last
        if batch is not None:
            batch.is_stopped = batch.scorer is not None and batch.num_left > 0
        batches.run.release()
        unlocked: Values = dict.fromkeys(self._locked, gr.update(interactive=True))
        return self.settled(values) | unlocked | {self.running: False}

    def stop_run(self, values: Values) -> Values:
        """The run ends; the row that is being scored is left to the next."""
        values[self.session].batch.run.stop.set()
        return {self.stop: gr.Button(interactive=False), self.hint: render.hint(STOPPING)}

    def score(self, values: Values) -> Iterator[Values]:
        """Status, means and rows while it runs, then all there is to see."""
        visitor: Session = values[self.session]
        batch = visitor.batch.last
        with shown_errors(), visitor.deleted_if_closed():
            if batch is None:
                raise RecordError(NOTHING)
            resume = batch.scorer is not None
            shown = self._buttons(values) | (
                {} if resume else self._cleared()
            )  # a check may have switched the buttons on
            yield shown | {self.status: render.status("Loading the model", None, None)}
            if batch.scorer is None:
                batch.scorer = visitor.scorer(values[self.model] or "", self._load_scorer)
            seconds_left = batch.scorer.expected_seconds(batch.num_left)
            yield {self.status: render.status(WAITING if others_run() else "Starting", None, seconds_left)}
            # A resumed run reports its earlier rows again, from the CSV. The results in memory know more of them.
            earlier = {result.row.line: result for result in batch.results}
            batch.results.clear()
            shown_at = -UPDATE_SECONDS
            run = tasks.run_batch(
                batch.scorer, batch.table, batch.out, resume=resume, should_stop=visitor.batch.run.should_stop
            )
            with closing(in_turn(run)) as reports:
                for report in reports:
                    kept = earlier.get(report.result.row.line) if report.resumed else None
                    batch.results.append(kept or report.result)
                    if not report.resumed and time.monotonic() - shown_at >= UPDATE_SECONDS:
                        yield {self.status: fragments.progress(report), **self._rows_so_far(batch, batch.scorer)}
                        shown_at = time.monotonic()
            yield {self.status: render.status("Summing up", 1.0, None)}
            yield self._outcome(visitor, batch)

    def _rows_so_far(self, batch: Batch, scorer: Scorer, errors: Mapping[str, float | None] | None = None) -> Values:
        return {
            self.means: fragments.means(batch.results, scorer, errors),
            self.order: gr.Radio(visible=True),
            self.rows: fragments.rows(batch.results, batch.order),
        }

    def _outcome(self, visitor: Session, batch: Batch) -> Values:
        """Everything about the rows that are done, and the CSV with them."""
        if batch.scorer is None or not batch.results:
            return {self.status: fragments.ended(0, batch.num_left, 0)}
        trained_on = batch.scorer.trained_on
        summary = tasks.summarise_batch(batch.results, trained_on)
        named = batch.table.generator_column is not None
        board = fragments.leaderboard(summary, batch.results, trained_on) if named else ""
        ranked = [group for group in summary.generators if group.means]
        judged = summary.evaluation
        metrics = "" if judged is None else fragments.METRICS_TITLE + render.metrics_table(judged, verdict(judged))
        source = Path(batch.table.name)
        name = f"{source.stem}-scores.csv" if source.suffix.lower() in TABLE_SUFFIXES else "scores.csv"
        served = shutil.copyfile(batch.out, visitor.download_path(name))
        return self._rows_so_far(batch, batch.scorer, summary.all.standard_errors) | {
            self.status: fragments.ended(summary.all.num_scored, batch.num_left, summary.all.num_errors),
            self.download: gr.DownloadButton(f"Download {name}", value=str(served), visible=True),
            self.leaderboard: gr.HTML(board, visible=bool(board)),
            self.chart: gr.Plot(leaderboard_chart(ranked), visible=True) if ranked else gr.Plot(visible=False),
            self.metrics: gr.HTML(metrics, visible=bool(metrics)),
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
            self.order: gr.Radio(value="latest", visible=False),
            self.rows: "",
        }

    def reorder(self, values: Values) -> str:
        """The rows in another order."""
        batch = values[self.session].batch.last
        if batch is None:
            return ""
        batch.order = values[self.order]
        return fragments.rows(batch.results, batch.order)


# ---- of one visitor --------------------------------------------------------------------------------------------------


def _missing(added: Added) -> str | None:
    has_words = added.table is not None or added.prompt
    if not added.videos:
        return "Add the videos." if has_words else "Add videos, and a table or a prompt; or score the sample data set."
    return None if has_words else "Add a table, or type the prompt that all the videos were made from."


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
                    batches.staged = Staged(added, problem=said(error))
                    raise
        return batches.staged


def _read(visitor: Session, added: Added) -> BatchTable:
    """The rows that were added. A new table or prompt does not open the same zips again."""
    batches, extracted = visitor.batch, visitor.folder / EXTRACTED
    if batches.unpacked is None or batches.unpacked[0] != added.videos:
        batches.unpacked = None
        visitor.check_room()
        extracted.mkdir(exist_ok=True)
        still = batches.last.table.rows if batches.last is not None and batches.last.num_left else ()
        for folder in extracted.iterdir():  # of earlier zips, only what a batch has still to score is kept
            if not any(row.video is not None and row.video.is_relative_to(folder) for row in still):
                shutil.rmtree(folder)
        paths: list[Path] = []
        skipped: list[str] = []
        for path in map(Path, added.videos):
            if path.suffix.lower() == ".zip":
                folder = Path(tempfile.mkdtemp(dir=extracted), path.stem)
                skipped += tasks.extract_videos(path, folder, wanted=None).skipped
                path = folder
            paths.append(path)
        batches.unpacked = added.videos, paths, skipped
    _, videos, skipped = batches.unpacked
    if added.table is None:
        table = tasks.batch_of_files(videos, added.prompt)
        return replace(table, notes=(*table.notes, *left_out_notes(skipped)))
    label_range = RANGES[added.label_range] if added.label_range else None
    return tasks.read_batch(added.table, videos, prompt=added.prompt or None, label_range=label_range)
