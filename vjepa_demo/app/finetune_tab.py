"""The Fine-tune tab: labels and videos in, what will be used of them, live curves, metrics, the checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gradio as gr

from vjepa_demo.app import html as render
from vjepa_demo.app.charts import label_histograms, prediction_scatter, training_curves
from vjepa_demo.app.checkpoint_panel import LOADING, add_loader, add_push, add_sign_in, choose_mine
from vjepa_demo.app.data_inputs import (
    RANGES,
    SAMPLE,
    SAMPLE_TABLE,
    Range,
    add_label_range,
    add_table_file,
    add_video_files,
    emptied,
)
from vjepa_demo.app.events import AT_ONCE, shown_errors
from vjepa_demo.app.session import Session
from vjepa_demo.app.turns import TRAININGS
from vjepa_demo.config import Scope, TrainConfig, model_presets
from vjepa_demo.schema import RecordError

if TYPE_CHECKING:
    from vjepa_demo.data.records import OnProgress, RecordSet
    from vjepa_demo.tasks.train import EpochReport, Report, TrainingData, TrainingResult

Point = tuple[int, float | None, float | None, float | None]  # epoch, loss, validation loss, VQualA score
SCOPES: list[tuple[str, Scope]] = [
    ("head: fast, an epoch takes seconds", "head"),
    ("top: the encoder's upper layers too, slower and often better", "top"),
]
EXTRACTED = "videos"  # in the session's folder: what came out of a zip, of the last check alone
WAITING = "Waiting for its turn: one visitor's model learns at a time"
TRAINING: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "training", "api_visibility": "private"}


@dataclass(frozen=True)
class _Inputs:
    labels: gr.File
    videos: gr.File
    hub_name: gr.Textbox
    hub_load: gr.Button
    sample: gr.Button
    model: gr.Dropdown
    scope: gr.Radio
    epochs: gr.Slider
    learning_rate: gr.Number
    validation: gr.Slider
    seed: gr.Number
    label_range: gr.Dropdown
    start: gr.Button
    stop: gr.Button
    hint: gr.HTML

    @property
    def settings(self) -> list[Any]:
        return [self.model, self.scope, self.epochs, self.learning_rate, self.validation, self.seed]


@dataclass(frozen=True)
class _Results:
    check: gr.HTML
    histograms: gr.Plot
    status: gr.HTML
    curves: gr.Plot
    panel: gr.Column
    metrics: gr.HTML
    scatter: gr.Plot
    download: gr.DownloadButton
    use: gr.Button
    pushed: gr.HTML

    @property
    def of_training(self) -> list[Any]:
        return [self.status, self.curves, self.panel, self.metrics, self.scatter, self.download]


def add_finetune_tab(session: gr.State, default_model: str, model: gr.Dropdown, tabs: gr.Tabs) -> None:
    """Fill the current tab; `model` and `tabs` are the Score tab's choice and what brings that tab to the front."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            add_sign_in()
            inputs = _add_inputs(default_model)
            add_loader(session, model, tabs)
        with gr.Column(scale=3, min_width=320):
            results = _add_results(session)
    _wire_check(session, inputs, results)
    _wire_training(session, inputs, results)
    results.use.click(choose_mine, [session], [model, tabs], **LOADING)


def _add_inputs(default_model: str) -> _Inputs:
    defaults = TrainConfig()
    labels = add_table_file("Labels (CSV or TSV)", "labels")
    videos = add_video_files("label-videos")
    with gr.Row(equal_height=True):
        hub_name = gr.Textbox(
            label="or a Hub data set", placeholder="owner/name", max_length=200, scale=3, elem_id="hub-dataset"
        )
        hub_load = gr.Button("Load", size="sm", min_width=80, elem_id="hub-load")
    sample = gr.Button("Use the sample data set", size="sm", elem_id="sample-button")
    with gr.Accordion("Settings", open=False):
        presets = [preset.name for preset in model_presets().values()]
        model = gr.Dropdown(presets, value=default_model, label="Start from")
        scope = gr.Radio(SCOPES, value=defaults.scope, label="What learns", elem_id="scope")
        epochs = gr.Slider(1, 100, value=defaults.epochs, step=1, label="Epochs")
        rate = gr.Number(defaults.learning_rate, label="Base learning rate", minimum=1e-7, maximum=0.1)
        validation = gr.Slider(0, 0.5, value=defaults.validation_fraction, step=0.05, label="Share for validation")
        seed = gr.Number(defaults.seed, label="Seed", precision=0, minimum=0)
        label_range = add_label_range("label-range")
    with gr.Row():
        start = gr.Button("Start training", variant="primary", interactive=False, elem_id="start-button")
        stop = gr.Button("Stop, keep the best", interactive=False, elem_id="stop-button")
    hint = gr.HTML(render.hint("Add labels and videos, or use the sample data set."), elem_id="train-hint")
    return _Inputs(
        *(labels, videos, hub_name, hub_load, sample, model, scope, epochs, rate, validation, seed),
        *(label_range, start, stop, hint),
    )


def _add_results(session: gr.State) -> _Results:
    check = gr.HTML(render.EMPTY_TRAINING, elem_id="check")
    histograms = gr.Plot(visible=False, container=False, elem_id="histograms")
    status = gr.HTML(elem_id="train-status")
    curves = gr.Plot(visible=False, container=False, elem_id="curves")
    with gr.Column(visible=False, elem_id="train-results") as panel:
        metrics = gr.HTML(elem_id="metrics")
        scatter = gr.Plot(container=False, elem_id="scatter")
        with gr.Row():
            use = gr.Button("Score with it", variant="primary", elem_id="use-button")
            download = gr.DownloadButton("Download the checkpoint", elem_id="download-button")
        pushed = add_push(session)
    return _Results(check, histograms, status, curves, panel, metrics, scatter, download, use, pushed)


# ---- what will be used -----------------------------------------------------------------------------------------------


def _wire_check(session: gr.State, inputs: _Inputs, results: _Results) -> None:
    shown = [results.check, results.histograms, inputs.start, inputs.hint]
    gr.on(
        [inputs.labels.change, inputs.videos.change, inputs.label_range.change],
        _check_uploads,
        [session, inputs.labels, inputs.videos, inputs.label_range],
        shown,
        concurrency_limit=2,
        trigger_mode="always_last",
        api_visibility="private",
    )
    inputs.sample.click(_check_sample, [session], shown, concurrency_limit=2, api_visibility="private")
    gr.on(
        [inputs.hub_load.click, inputs.hub_name.submit],
        _check_hub,
        [session, inputs.hub_name, inputs.label_range],
        shown,
        concurrency_limit=2,
        api_visibility="private",
    )


def _check_uploads(
    session: Session,
    labels: str | None,
    videos: list[str] | None,
    label_range: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio asks for it)
) -> tuple[Any, ...]:
    """What was added is what will be trained on; nothing happens where it is what was checked last: an event that comes
    twice must not take the records from a training that begins meanwhile."""
    given = (labels, tuple(videos or ()), label_range)
    if session.records is not None and session.checked == given:
        return (gr.skip(),) * 4
    if not labels or not videos:
        with shown_errors(), session.checks.turn():
            _forget(session)
        missing = "the labels" if videos else "the videos" if labels else "labels and videos"
        return _unchecked(f"Add {missing}, or use the sample data set.")
    read = partial(_read_files, session, labels, videos, RANGES[label_range])
    shown = _check(session, lambda _: read(), progress, description=Path(labels).name)
    session.checked = given
    return shown


def _check_sample(
    session: Session,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio asks for it)
) -> tuple[Any, ...]:
    read = partial(_read_files, session, str(SAMPLE_TABLE), [str(SAMPLE)], None)
    return _check(session, lambda _: read(), progress, description="the sample data set", kind="procedural")


def _check_hub(
    session: Session,
    name: str,
    label_range: str,
    progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio asks for it)
) -> tuple[Any, ...]:
    name = (name or "").strip()
    return _check(session, partial(_read_hub, session, name, RANGES[label_range]), progress, description=name)


def _read_files(session: Session, labels: str, videos: list[str], label_range: Range) -> RecordSet:
    from vjepa_demo.data.records import read_records

    return read_records(labels, videos, label_range=label_range, extract_to=session.folder / EXTRACTED)


def _read_hub(session: Session, name: str, label_range: Range, on_progress: OnProgress) -> RecordSet:
    """Only what everybody may read: this machine's account is not the visitor's."""
    from vjepa_demo.data.records import read_hub_records

    return read_hub_records(name, session.folder, token=False, label_range=label_range, on_progress=on_progress)


def _forget(session: Session) -> None:
    """Nothing is checked any more, and nothing extracted.

    Raises:
        RecordError: while training runs on it.
    """
    if session.is_training:
        raise RecordError("training runs on the data that was there: change them when it has ended")
    session.records = session.checked = None
    shutil.rmtree(session.folder / EXTRACTED, ignore_errors=True)


def _check(
    session: Session,
    read: Callable[[OnProgress], RecordSet],
    progress: gr.Progress,
    *,
    description: str,
    kind: Literal["human", "procedural"] = "human",
) -> tuple[Any, ...]:
    """Read, match and open all of it, and show what will be used and what will not."""
    from vjepa_demo.data.records import check_videos, summarise

    with shown_errors(), session.checks.turn():
        _forget(session)
        emptied(session.folder / EXTRACTED)
        progress(0.0, desc="Reading the labels")
        records = read(lambda done, total: progress((done, total), desc="Fetching the videos"))
        records = check_videos(
            records, on_progress=lambda done, total: progress((done, total), desc="Opening the videos")
        )
    session.records, session.description, session.kind = records, description, kind
    summary = summarise(records)
    if not records.records:
        session.records = None
        return (render.check_report(summary, records), gr.Plot(visible=False), *_button(False, "No row can be used."))
    figure = label_histograms([(each.dimension, each.histogram) for each in summary.dimensions])
    return (
        render.check_report(summary, records),
        gr.Plot(figure, visible=True),
        *_button(True, f"{summary.num_used} clips will be used."),
    )


def _unchecked(hint: str) -> tuple[Any, ...]:
    return render.EMPTY_TRAINING, gr.Plot(visible=False), *_button(False, hint)


def _button(ready: bool, hint: str) -> tuple[Any, Any]:
    return gr.Button(interactive=ready), gr.HTML(render.hint(hint))


# ---- training --------------------------------------------------------------------------------------------------------


def _wire_training(session: gr.State, inputs: _Inputs, results: _Results) -> None:
    started = inputs.start.click(
        _start,
        [session],
        [inputs.start, inputs.stop, results.pushed, results.status],
        **AT_ONCE,
    )
    training = started.then(
        _train, [session, *inputs.settings], results.of_training, show_progress="hidden", **TRAINING
    )
    failed = training.failure(lambda: "", outputs=results.status, **AT_ONCE)
    for event in (training.success, failed.then):
        event(_ended, [session], [inputs.start, inputs.stop], **AT_ONCE)
    inputs.stop.click(_stop, [session], [inputs.stop], **AT_ONCE)


def _start(session: Session) -> tuple[Any, ...]:
    session.stop.clear()
    session.is_training = True
    waiting = render.status(WAITING, None, None)
    return gr.Button(interactive=False), gr.Button(interactive=True), "", waiting


def _ended(session: Session) -> tuple[Any, Any]:
    session.is_training = False
    return gr.Button(interactive=session.records is not None), gr.Button(interactive=False)


def _stop(session: Session) -> Any:
    session.stop.set()
    return gr.Button(interactive=False)


def _train(
    session: Session, model: str, scope: Scope, epochs: int, rate: float, validation: float, seed: int
) -> Iterator[tuple[Any, ...]]:
    """Live status and curves while it learns, then the results."""
    history: list[Point] = []
    with shown_errors(), session.deleted_if_closed(), TRAININGS.turn():
        config = train_config(scope, epochs, rate, validation, seed)
        yield render.status("Loading the model", None, None), gr.Plot(visible=False), gr.Column(visible=False), *_SKIP
        for report in _reports(session, model, config):
            yield _shown(session, report, history)


_SKIP = (gr.skip(), gr.skip(), gr.skip())


def train_config(scope: Scope, epochs: float, rate: float, validation: float, seed: float) -> TrainConfig:
    """The settings of a run as a person gave them.

    Raises:
        RecordError: for a value out of its range.
    """
    try:
        return TrainConfig(
            scope=scope,
            epochs=int(epochs),
            learning_rate=float(rate or 0),
            validation_fraction=float(validation),
            seed=int(seed or 0),
        )
    except ValueError as error:
        raise RecordError(str(error)) from error


def _reports(session: Session, model: str, config: TrainConfig) -> Iterator[Report]:
    from vjepa_demo.tasks.train import fine_tune

    if session.should_stop():
        raise RecordError("stopped before it began: nothing was learned, nothing was saved")
    if session.records is None:
        raise RecordError("nothing to train on: add labels and videos, or use the sample data set")
    data, warnings = training_data(session.records, config, description=session.description, kind=session.kind)
    for warning in warnings:
        gr.Warning(escape(warning))
    folder = session.new_run()
    yield from fine_tune(model, data, config, folder, should_stop=session.should_stop)


def training_data(
    records: RecordSet, config: TrainConfig, *, description: str, kind: Literal["human", "procedural"]
) -> tuple[TrainingData, tuple[str, ...]]:
    """`records` split as `config` says, and sentences for the person who decides whether to train on it."""
    from vjepa_demo.data.records import split_records
    from vjepa_demo.tasks.train import TrainingData

    split = split_records(records.records, validation_fraction=config.validation_fraction, seed=config.seed)
    label_range = (records.label_range.low, records.label_range.high)
    data = TrainingData(split.train, split.validation, description=description, kind=kind, label_range=label_range)
    return data, split.warnings


def _shown(session: Session, report: Report, history: list[Point]) -> tuple[Any, ...]:
    from vjepa_demo.tasks.train import EncodingReport, EpochReport, StartReport

    if isinstance(report, EncodingReport):
        text = f"Reading clip {report.done} of {report.total}"
        return render.status(text, report.done / report.total, report.seconds_left), gr.skip(), gr.skip(), *_SKIP
    if isinstance(report, StartReport):
        history.append((0, None, report.validation_loss, report.validation.vquala_score.value))
        return gr.skip(), gr.skip(), gr.skip(), *_SKIP
    if isinstance(report, EpochReport):
        history.append(_point(report))
        text = f"Epoch {report.epoch} of {report.epochs}, loss {report.loss:.3f}"
        curves = gr.Plot(training_curves(history), visible=True)
        return render.status(text, report.epoch / report.epochs, report.seconds_left), curves, gr.skip(), *_SKIP
    return _finished(session, report)


def _point(report: EpochReport) -> Point:
    score = None if report.validation is None else report.validation.vquala_score.value
    return report.epoch, report.loss, report.validation_loss, score


def _finished(session: Session, result: TrainingResult) -> tuple[Any, ...]:
    from vjepa_demo.model.checkpoint import zip_checkpoint

    archive = session.end_run(result.folder)
    zip_checkpoint(result.folder, archive)
    text = f"Done: the best of {result.epochs} epochs was number {result.best_epoch}."
    return (
        render.status(text, 1.0, None),
        gr.skip(),
        gr.Column(visible=True),
        render.metrics_table(result.evaluation, meaning(result)),
        _scatter(result),
        gr.DownloadButton(value=str(archive)),
    )


def meaning(result: TrainingResult) -> str:
    """What the metrics of a run say, in plain sentences."""
    from vjepa_demo.model.metrics import verdict
    from vjepa_demo.tasks.train import gain

    if result.evaluation is None:
        return "There was no validation set, so nothing can be said about how good it is."
    return f"{verdict(result.evaluation)} {gain(result)}"


def _scatter(result: TrainingResult) -> Any:
    """Predicted against labelled, for the dimensions that have labels; nothing without a validation set."""
    from vjepa_demo.config import DIMENSIONS

    points = []
    for index, name in enumerate(DIMENSIONS):
        pairs = [
            (labels[index], predictions[index])
            for labels, predictions in zip(result.labels, result.predictions, strict=True)
            if labels[index] == labels[index]  # NaN: not labelled
        ]
        if pairs:
            points.append((name, [label for label, _ in pairs], [prediction for _, prediction in pairs]))
    return gr.Plot(prediction_scatter(points), visible=True) if points else gr.Plot(visible=False)
