"""The Fine-tune tab: labels and videos in, what will be used of them, live curves, metrics, the checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo import tasks
from vjepa_demo.app import finetune_html as fragments
from vjepa_demo.app import html as render
from vjepa_demo.app.charts import label_histograms, prediction_scatter, training_curves
from vjepa_demo.app.checkpoint_panel import add_loader, add_push_checkpoint, add_sign_in, add_use
from vjepa_demo.app.data_inputs import (
    OTHER_TASTE,
    RANGES,
    SAMPLE,
    add_label_range,
    add_table_file,
    add_templates,
    add_video_files,
    train_config,
    without_repeats,
)
from vjepa_demo.app.events import AT_ONCE, PREVIEWING, PROGRESS, TOLD, Values, said, shown_errors
from vjepa_demo.app.jobs_panel import JobsPanel
from vjepa_demo.app.model_choice import base_names, base_of
from vjepa_demo.app.session import Checked, Session
from vjepa_demo.app.turns import TRAININGS
from vjepa_demo.config import VISITOR_DATASET_BYTES, Scope, TrainConfig, limits
from vjepa_demo.schema import (
    EncodingReport,
    EpochReport,
    LabelSource,
    RecordError,
    RecordSet,
    RecordSummary,
    SplitReport,
    StartReport,
    StoppedError,
    TrainingResult,
    summarise,
)
from vjepa_demo.wording import (
    caution,
    clips_and_pairs,
    counted,
    encoding_notes,
    meaning,
    progress_line,
    shortened,
    some_of,
)

if TYPE_CHECKING:
    from vjepa_demo.tasks import JobOrder

Point = tuple[int, float | None, float | None, float | None]  # epoch, loss, validation loss, VQualA score
SCOPES: list[tuple[str, Scope]] = [
    ("head: fast, an epoch takes seconds", "head"),
    ("top: also the encoder's upper layers; slower and often better", "top"),
]
LABELLERS: list[tuple[str, LabelSource]] = [
    ("not said", "undeclared"),
    ("people", "human"),
    ("a program", "procedural"),
]
EXTRACTED, FETCHED = "videos", "hub"  # in the session's folder: what came out of a zip, and from the Hub
SAMPLE_NOTE = (
    "A program computed these labels, as if for somebody to whom the opposite of what demo learned is beautiful: see "
    "how far training follows."
)
MEND = "Correct the table and add it again, or use the sample data set."
WAITING = "Waiting for its turn: one model learns at a time"
TRAINING: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "training", "api_visibility": "private"}
CHECKING: dict[str, Any] = {"concurrency_limit": 2, "api_visibility": "private"}


class FinetuneTab:
    """The components of the tab, and what its events do. A handler returns new values of what it changes."""

    def __init__(
        self, session: gr.State, default_model: str, model: gr.Dropdown, tabs: gr.Tabs, app: gr.Blocks
    ) -> None:
        """Fill the current tab; `model` and `tabs` are the Score tab's choice and what brings that tab to the front."""
        self.session, self._default_model = session, default_model
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                add_sign_in()
                self.labels = add_table_file("Labels (CSV, Excel, JSON, Parquet)", "labels")
                add_templates()
                self.videos = add_video_files("label-videos")
                with gr.Row(equal_height=True):
                    self.hub_name = gr.Textbox(
                        label="or a data set on the Hub",
                        placeholder="owner/name",
                        max_length=200,
                        scale=3,
                        elem_id="hub-dataset",
                    )
                    self.hub_load = gr.Button("Load", size="sm", min_width=80, elem_id="hub-load")
                self.sample = gr.Button("Use the sample data set", size="sm", elem_id="sample-button")
                self.labeller = gr.Radio(
                    LABELLERS, value="undeclared", label="Who gave these labels?", elem_id="labeller"
                )
                defaults = TrainConfig()
                with gr.Accordion("Settings", open=False):
                    self.base = gr.Dropdown(base_names(), value=self._default_model, label="Start from")
                    self.scope = gr.Radio(SCOPES, value=defaults.scope, label="What learns", elem_id="scope")
                    self.epochs = gr.Slider(1, 100, value=defaults.epochs, step=1, label="Epochs")
                    self.rate = gr.Number(defaults.learning_rate, label="Base learning rate", minimum=1e-7, maximum=0.1)
                    self.validation = gr.Slider(
                        0, 0.5, value=defaults.validation_fraction, step=0.05, label="Share for validation"
                    )
                    self.seed = gr.Number(
                        defaults.seed, label="Random seed for split and order", precision=0, minimum=0
                    )
                    self.label_range = add_label_range("label-range")
                with gr.Row():
                    self.start = gr.Button(
                        "Start training", variant="primary", interactive=False, elem_id="start-button"
                    )
                    self.stop = gr.Button("Stop, keep the best", interactive=False, elem_id="stop-button")
                self.hint = gr.HTML(
                    render.hint("Add labels and videos, or use the sample data set."), elem_id="train-hint"
                )
                self.settings = (self.epochs, self.rate, self.validation, self.seed)
                ordered = {self.hub_name, self.labeller, self.label_range, self.scope, *self.settings}
                JobsPanel(session, app, self.job_order, ordered, model, tabs)
                add_loader(session, model, tabs)
            with gr.Column(scale=3, min_width=320):
                self.check = gr.HTML(render.EMPTY_TRAINING, elem_id="check")
                self.histograms = gr.Plot(visible=False, container=False, elem_id="histograms")
                self.status = gr.HTML(elem_id="train-status")
                self.curves = gr.Plot(visible=False, container=False, elem_id="curves")
                with gr.Column(visible=False, elem_id="train-results") as self.panel:
                    self.metrics = gr.HTML(elem_id="metrics")
                    with gr.Row():
                        self.use = gr.Button("Score with it", variant="primary", elem_id="use-button")
                        self.download = gr.DownloadButton("Download the checkpoint", elem_id="download-button")
                    self.scatter = gr.Plot(container=False, elem_id="scatter")
                    self.worst = gr.HTML(js_on_load=fragments.WORST_JS, apply_default_css=False, elem_id="worst")
                    self.predictions = gr.DownloadButton(
                        "Validation predictions (CSV)", size="sm", elem_id="predictions-button"
                    )
                    self.pushed = add_push_checkpoint(self.session)
        self._wire_check()
        self._wire_training()
        add_use(session, self.use.click, model, tabs)

    # ---- what will be used -------------------------------------------------------------------------------------------

    def _wire_check(self) -> None:
        shown = [self.check, self.histograms, self.start, self.hint, self.labeller]
        uploads = (self.labels, self.videos, self.label_range)
        changes = [each.change for each in uploads]
        given = {self.session, *uploads}
        gr.on(changes, self.check_uploads, given, shown, trigger_mode="always_last", **CHECKING)
        self.sample.click(self.check_sample, {self.session}, shown, **CHECKING)
        named = {self.session, self.hub_name, self.label_range}
        gr.on([self.hub_load.click, self.hub_name.submit], self.check_hub, named, shown, **CHECKING)

    def check_uploads(self, values: Values, progress: gr.Progress = PROGRESS) -> Values:
        """Check what was added. What was checked last is not checked again: a second event must not take the records
        from a training that begins meanwhile."""
        visitor, label_range = values[self.session], values[self.label_range]
        labels, videos = values[self.labels], without_repeats(values[self.videos])
        checked = Checked(labels or "", tuple(videos), label_range)
        if visitor.training.records is not None and visitor.training.checked == checked:
            return gr.skip()
        if labels and videos:
            return self._checked(visitor, checked, Path(labels).name, progress)
        with shown_errors(), visitor.checks.turn():
            _forget(visitor)
        shown = self._labeller(visitor, "undeclared")
        if labels:
            return shown | self._table_checked(labels, RANGES[label_range] if label_range else None)
        missing = "the labels" if videos else "labels and videos"
        ready = self._ready(False, f"Add {missing}, or use the sample data set.")
        return shown | {self.check: render.EMPTY_TRAINING, self.histograms: gr.Plot(visible=False)} | ready

    def _table_checked(self, labels: str, label_range: tuple[float, float] | None) -> Values:
        """What can be used of a table before its videos are there, or why nothing can."""
        hidden = {self.histograms: gr.Plot(visible=False)}
        try:
            records = tasks.read_rows(labels, label_range=label_range)
        except RecordError as error:
            return hidden | {self.check: fragments.refusal(said(error)), **self._ready(False, MEND)}
        report = {self.check: render.check_report(summarise(records), records, are_videos_there=False)}
        if not records.clips:
            return hidden | report | self._ready(False, MEND)
        names = dict.fromkeys(clip.name for clip in records.clips)
        needed = some_of([shortened(name) for name in names])
        return hidden | report | self._histograms(summarise(records)) | self._ready(False, f"Add the videos: {needed}.")

    def _histograms(self, summary: RecordSummary) -> Values:
        """How the labels are spread; pairs have none."""
        plot = gr.Plot(label_histograms(summary), visible=True) if summary.dimensions else gr.Plot(visible=False)
        return {self.histograms: plot}

    def check_sample(self, values: Values, progress: gr.Progress = PROGRESS) -> Values:
        """The sample data set is what will be trained on; a program gave its labels."""
        sample = Checked(str(OTHER_TASTE), (str(SAMPLE),))
        name = "the sample data set, with labels of another taste"
        return self._checked(values[self.session], sample, name, progress, kind="procedural", notes=(SAMPLE_NOTE,))

    def check_hub(self, values: Values, progress: gr.Progress = PROGRESS) -> Values:
        """A public data set of the Hub is what will be trained on."""
        name = (values[self.hub_name] or "").strip()
        return self._checked(values[self.session], Checked(name, None, values[self.label_range]), name, progress)

    def _checked(
        self,
        visitor: Session,
        checked: Checked,
        description: str,
        progress: gr.Progress,
        *,
        kind: LabelSource = "undeclared",
        notes: tuple[str, ...] = (),
    ) -> Values:
        """Read, match and open all of it, and show what will be used and what will not."""
        training = visitor.training
        with shown_errors(), visitor.checks.turn(), visitor.deleted_if_closed():
            _forget(visitor, keep=checked)
            progress(0.0, desc="Reading the labels")
            records = _read(visitor, checked, progress)
            training.records, training.checked = records if records.clips else None, checked
            training.description, labeller = description, self._labeller(visitor, kind)
        summary = summarise(records)
        told = replace(records, notes=(*notes, *records.notes))
        shown = {self.check: render.check_report(summary, told)} | labeller
        if not records.clips:
            return shown | {self.histograms: gr.Plot(visible=False), **self._ready(False, "No row can be used.")}
        ready = self._ready(True, f"{clips_and_pairs(summary.num_clips, summary.num_pairs)} will be used.")
        return shown | self._histograms(summary) | ready

    def _labeller(self, visitor: Session, kind: LabelSource) -> Values:
        """The sample data set says by itself who gave its labels; of other data the visitor says so."""
        before, visitor.training.kind = visitor.training.kind, kind
        return {} if kind == before else {self.labeller: gr.Radio(value=kind, interactive=kind == "undeclared")}

    def _ready(self, ready: bool, hint: str) -> Values:
        return {self.start: gr.Button(interactive=ready), self.hint: render.hint(hint)}

    # ---- training ----------------------------------------------------------------------------------------------------

    def _wire_training(self) -> None:
        session = self.session
        started = self.start.click(self.begin, {session}, [self.start, self.stop, self.pushed, self.status], **TOLD)
        settings = {self.base, self.scope, self.epochs, self.rate, self.validation, self.seed, self.labeller}
        training = started.success(
            self.train,
            {session, *settings},
            [
                *(self.status, self.curves, self.panel, self.metrics, self.scatter),
                *(self.download, self.worst, self.predictions),
            ],
            show_progress="hidden",
            **TRAINING,
        )
        failed = training.failure(lambda: "", outputs=self.status, **AT_ONCE)
        for event in (training.success, failed.then):
            event(self.ended, {session}, [self.start, self.stop, self.curves], **AT_ONCE)
        self.stop.click(self.stop_run, {session}, self.stop, **AT_ONCE)
        self.worst.play(self.play_worst, session, self.worst, **PREVIEWING)

    def begin(self, values: Values) -> Values:
        """A run on what was checked waits for its turn."""
        training = values[self.session].training
        with shown_errors(), training.run.claimed():
            if training.records is None:
                raise RecordError("nothing was checked yet: add labels and videos, and wait until they are checked")
        return {
            self.start: gr.Button(interactive=False),
            self.stop: gr.Button(interactive=True),
            self.pushed: "",
            self.status: render.status(WAITING, None, None),
        }

    def ended(self, values: Values) -> Values:
        """The run is over, whatever came of it: another may begin."""
        training = values[self.session].training
        training.run.release()
        shown: Values = {
            self.start: gr.Button(interactive=training.records is not None),
            self.stop: gr.Button(interactive=False),
        }
        if training.points:  # once more: of updates that come while the first chart loads, Gradio draws some never
            shown[self.curves] = gr.Plot(training_curves(training.points), visible=True)
        return shown

    def stop_run(self, values: Values) -> gr.Button:
        """The run ends with the best weights so far."""
        values[self.session].training.run.stop.set()
        return gr.Button(interactive=False)

    def train(self, values: Values) -> Iterator[Values]:
        """Live status and curves while it learns, then the results."""
        visitor: Session = values[self.session]
        training = visitor.training
        points: list[Point] = []
        training.points = points
        with shown_errors(), visitor.deleted_if_closed(), TRAININGS.turn():
            config = self._config(values)
            loading = render.status("Loading the model", None, None)
            yield {self.status: loading, self.curves: gr.Plot(visible=False), self.panel: gr.Column(visible=False)}
            if training.run.should_stop():
                raise StoppedError("stopped before it began: nothing was learned, nothing was saved")
            if training.records is None:
                raise RecordError("nothing to train on: add labels and videos, or use the sample data set")
            base, token = base_of(values[self.base] or self._default_model)
            for report in tasks.fine_tune(
                base,
                training.records,
                config,
                visitor.new_run(),
                description=training.description,
                kind=self._kind(values),
                should_stop=training.run.should_stop,
                token=token,
            ):
                if isinstance(report, TrainingResult):
                    yield self._finished(visitor, report)
                else:
                    yield self._told(report, points)

    def job_order(self, values: Values, *, model: str, checkpoint: str, hardware: str, hours: float) -> JobOrder:
        """An order for a job on what was checked, else on the data set of the Hub that is named.

        Raises:
            RecordError: if there is neither.
        """
        training = values[self.session].training
        data: RecordSet | str = (values[self.hub_name] or "").strip()
        if training.checked is not None and training.checked.videos is None:
            data = training.checked.labels
        elif training.records is not None:
            data = training.records
        if not data:
            raise RecordError("nothing to train on: add labels and videos, or name a data set on the Hub")
        return tasks.JobOrder(
            model,
            data,
            checkpoint,
            hardware,
            hours,
            config=self._config(values),
            kind=self._kind(values),
            label_range=RANGES[values[self.label_range]] if values[self.label_range] else None,
        )

    def _config(self, values: Values) -> TrainConfig:
        """The settings of a run as the visitor gave them."""
        return train_config(values[self.scope] or "head", *(values[each] for each in self.settings))

    def _kind(self, values: Values) -> LabelSource:
        """Who gave the labels: as the data says by itself, else as the visitor says."""
        known: LabelSource = values[self.session].training.kind
        return (values[self.labeller] or "undeclared") if known == "undeclared" else known

    def _told(self, report: SplitReport | EncodingReport | StartReport | EpochReport, points: list[Point]) -> Values:
        """How far the run is. `points` gets what the curves show."""
        share, seconds_left, shown = None, None, {}
        warnings: Sequence[str] = ()
        if isinstance(report, SplitReport):
            warnings = report.warnings
        elif isinstance(report, EncodingReport):
            share, seconds_left = report.done / report.total, report.seconds_left
            warnings = encoding_notes(report) if report.done == report.total else ()
        elif isinstance(report, StartReport):
            points.append((0, None, report.validation_loss, report.validation.vquala_score.value))
        elif isinstance(report, EpochReport):
            share, seconds_left = report.epoch / report.epochs, report.seconds_left
            score = None if report.validation is None else report.validation.vquala_score.value
            points.append((report.epoch, report.loss, report.validation_loss, score))
            shown = {self.curves: gr.Plot(training_curves(points), visible=True)}
        for sentence in warnings:
            gr.Warning(escape(sentence))
        return {self.status: render.status(progress_line(report), share, seconds_left), **shown}

    def _finished(self, visitor: Session, result: TrainingResult) -> Values:
        archive = visitor.end_run(result.folder)
        tasks.zip_checkpoint(result.folder, archive)
        predictions = archive.with_name("validation-predictions.csv")  # goes where the archive goes
        tasks.write_predictions(predictions, result)
        visitor.training.worst = result.worst_clips(fragments.WORST_CLIPS)
        text = f"Done: the best of {counted(result.epochs, 'epoch')} was number {result.best_epoch}."
        trained_on = tasks.find_checkpoint(str(result.folder)).trained_on
        said = [meaning(result)]
        if trained_on.beats_baseline is False:
            said.append(caution(trained_on, after_verdict=True))
        scatter = prediction_scatter(result)
        return {
            self.status: render.status(text, 1.0, None),
            self.panel: gr.Column(visible=True),
            self.metrics: fragments.results(result.evaluation, " ".join(said)),
            self.scatter: gr.Plot(visible=False) if scatter is None else gr.Plot(scatter, visible=True),
            self.download: gr.DownloadButton(value=str(archive)),
            self.worst: fragments.worst(visitor.training.worst),
            self.predictions: gr.DownloadButton(value=str(predictions), visible=bool(result.validation)),
        }

    def play_worst(self, event: gr.EventData, visitor: Session) -> str:
        """The clips predicted worst, with the player of the one whose button was pressed, or with none."""
        clips = visitor.training.worst
        if not event.open or not 0 <= event.clip < len(clips):
            return fragments.worst(clips)
        record = clips[event.clip].record
        with shown_errors():
            player = fragments.player(visitor.served(str(record.video)), record.name)
        return fragments.worst(clips, opened=event.clip, player=player)


# ---- of one visitor --------------------------------------------------------------------------------------------------


def _forget(visitor: Session, *, keep: Checked | None = None) -> None:
    """Forget what was checked, and delete what earlier checks extracted and fetched, except the Hub's files of `keep`.

    Raises:
        RecordError: while a training runs on it, or it is uploaded for a job.
    """
    training = visitor.training
    if training.run.is_running:
        raise RecordError("a training runs on the data that is there: change the data when it has ended")
    if visitor.renting.starting.is_running:
        raise RecordError("the data that is there is being uploaded for a job: change it when the job has started")
    training.records = training.checked = None
    shutil.rmtree(visitor.folder / EXTRACTED, ignore_errors=True)
    if keep is None or training.fetched is None or training.fetched.labels != keep.labels:
        shutil.rmtree(visitor.folder / FETCHED, ignore_errors=True)
        training.fetched = None


def _read(visitor: Session, checked: Checked, progress: gr.Progress) -> RecordSet:
    """The labelled clips that can be used. From the Hub only public data: the account of this machine is not the
    visitor's."""
    fetched = visitor.folder / FETCHED
    folder = visitor.folder / EXTRACTED if checked.videos else fetched
    visitor.check_room()
    folder.mkdir(exist_ok=True)
    visitor.training.fetched = None if checked.videos else checked
    records = None
    try:
        for report in tasks.check_labels(
            checked.labels,
            checked.videos,
            extract_to=folder,
            label_range=RANGES[checked.label_range] if checked.label_range else None,
            token=False,
            max_bytes=int(min(VISITOR_DATASET_BYTES, limits().visitor_bytes)),
            should_stop=visitor.closed.is_set,
        ):
            if isinstance(report, RecordSet):
                records = report
            else:
                visitor.check_open()
                progress((report.done, report.total), desc=progress_line(report))
    finally:  # of several commits of a data set only the last stays; of a refused one nothing stays
        used = records.clips[0].video.parents if records is not None and records.clips else ()
        for each in fetched.glob("*"):
            if each not in used:
                shutil.rmtree(each, ignore_errors=True)
    assert records is not None  # a check ends with its records
    return records
