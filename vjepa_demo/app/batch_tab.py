"""The Batch tab: many videos with a table or one prompt in, rows that fill as they are scored, means and a CSV out."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from vjepa_demo.app import batch_html as batch_render
from vjepa_demo.app import data_inputs
from vjepa_demo.app import html as render
from vjepa_demo.app.charts import leaderboard_chart
from vjepa_demo.app.events import AT_ONCE, TOLD, keep_in_step, shown_errors
from vjepa_demo.app.model_choice import add_model_choice, refusal
from vjepa_demo.app.session import Batch, Session, Staged
from vjepa_demo.app.turns import BATCHING, in_turn, others_run
from vjepa_demo.config import VIDEO_SUFFIXES
from vjepa_demo.schema import DemoError, RecordError

if TYPE_CHECKING:
    from vjepa_demo.tasks.batch import BatchReport, BatchSummary, BatchTable
    from vjepa_demo.tasks.score import Scorer

EXTRACTED = "batch-videos"  # in the session's folder: what came out of zips
UPDATE_SECONDS = 0.4  # rows that finish faster are shown together
STOPPING = "Stopping after this row."
REPLACES = "Score all replaces these scores."
WAITING = "Waiting for its turn: other visitors' batches run"
# On a phone the rows come below what was pressed: go there.
SHOW_RESULTS = "() => { if (innerWidth < 700) document.querySelector('#batch-status').scrollIntoView() }"


@dataclass(frozen=True)
class _Inputs:
    videos: gr.File
    folder: gr.UploadButton
    table: gr.File
    prompt: gr.Textbox
    model: gr.Dropdown
    label_range: gr.Dropdown

    @property
    def all(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]

    @property
    def readiness(self) -> list[Any]:
        """What decides whether there is anything to score, and with what."""
        return [self.videos, self.table, self.prompt, self.label_range, self.model]


@dataclass(frozen=True)
class _Results:
    """What a batch changes on the page; `_shown` makes the values for it."""

    sample: gr.Button
    start: gr.Button
    go_on: gr.Button
    stop: gr.Button
    hint: gr.HTML
    check: gr.HTML
    status: gr.HTML
    download: gr.DownloadButton
    means: gr.HTML
    leaderboard: gr.HTML
    chart: gr.Plot
    metrics: gr.HTML
    order: gr.Radio
    rows: gr.HTML

    @property
    def all(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]


def _shown(**values: Any) -> tuple[Any, ...]:
    """A value for each of `_Results`: those that are given, the others stay as they are."""
    return tuple(values.get(field.name, gr.skip()) for field in fields(_Results))


def add_batch_tab(load_scorer: Callable[[str], Scorer], default_model: str, session: gr.State) -> gr.Dropdown:
    """Fill the current tab; returns the choice of the model."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            inputs, sample = _add_inputs(default_model)
            buttons = _add_buttons()
        with gr.Column(scale=3, min_width=320):
            results = _Results(sample, *buttons, *_add_results())
    _wire_check(session, inputs, results)
    for button, begin in ((results.start, _begin), (results.go_on, _begin_again), (results.sample, _begin_sample)):
        score = partial(_score, load_scorer, resume=begin is _begin_again)
        _wire_run(button.click, begin, score, session, inputs, results)
    results.stop.click(_stop, [session], [results.stop, results.hint], **AT_ONCE)
    results.order.input(_reorder, [session, results.order], results.rows, trigger_mode="always_last", **AT_ONCE)
    return inputs.model


def _add_inputs(default_model: str) -> tuple[_Inputs, gr.Button]:
    videos = data_inputs.add_video_files("batch-videos")
    folder = gr.UploadButton("Add a folder", file_count="directory", size="sm", elem_id="batch-folder")
    table = data_inputs.add_table_file("Table of videos (CSV or TSV)", "batch-table")
    prompt = gr.Textbox(
        label="or one prompt for all of them",
        placeholder="The text the videos were made from",
        lines=2,
        elem_id="batch-prompt",
    )
    sample = gr.Button("Score the sample data set", size="sm", elem_id="batch-sample")
    model = add_model_choice(default_model, "batch-model")
    with gr.Accordion("Settings", open=False):
        label_range = data_inputs.add_label_range("batch-label-range")
    return _Inputs(videos, folder, table, prompt, model, label_range), sample


def _add_buttons() -> tuple[Any, ...]:
    with gr.Row():
        start = gr.Button("Score all", variant="primary", interactive=False, min_width=100, elem_id="batch-start")
        go_on = gr.Button("Go on", variant="primary", visible=False, min_width=100, elem_id="batch-go-on")
        stop = gr.Button("Stop", interactive=False, min_width=100, elem_id="batch-stop")
    hint = gr.HTML(render.hint(_missing(None, None, "") or ""), elem_id="batch-hint")
    return start, go_on, stop, hint


def _add_results() -> tuple[Any, ...]:
    check = gr.HTML(batch_render.EMPTY, elem_id="batch-check")
    status = gr.HTML(elem_id="batch-status")
    download = gr.DownloadButton("Download CSV", visible=False, size="sm", elem_id="batch-download")
    means = gr.HTML(elem_id="batch-means")
    leaderboard = gr.HTML(visible=False, elem_id="leaderboard")
    chart = gr.Plot(visible=False, container=False, elem_id="leaderboard-chart")
    metrics = gr.HTML(visible=False, elem_id="batch-metrics")
    order = gr.Radio(
        list(batch_render.ORDERS), value="Latest", show_label=False, container=False, visible=False, elem_id="row-order"
    )
    rows = gr.HTML(elem_id="batch-rows")
    return check, status, download, means, leaderboard, chart, metrics, order, rows


# ---- what will be scored ---------------------------------------------------------------------------------------------


def _wire_check(session: gr.State, inputs: _Inputs, results: _Results) -> None:
    """Whatever is added is checked, a prompt once it is typed."""
    inputs.folder.upload(_split_folder, [inputs.folder, inputs.table], [inputs.videos, inputs.table], **TOLD)
    readiness = [session, *inputs.readiness]
    events = [each.change for each in (inputs.videos, inputs.table, inputs.label_range)]
    checked = gr.on(
        [*events, inputs.prompt.blur, inputs.prompt.submit],
        _check_files,
        readiness,
        results.all,
        concurrency_limit=2,
        trigger_mode="always_last",
        show_progress="minimal",
        show_progress_on=results.check,
        api_visibility="private",
    )
    for event in (checked.success, checked.failure):  # the prompt may have been typed on meanwhile
        event(_settled, readiness, results.all, trigger_mode="multiple", **AT_ONCE)
    keep_in_step([inputs.prompt.input, inputs.model.change], _settled, readiness, results.all)


def _split_folder(files: list[str] | None, table: str | None) -> tuple[Any, Any]:
    """The videos of a folder, and its table where it has just one and none was added."""
    files = files or []
    videos = [file for file in files if file.lower().endswith(VIDEO_SUFFIXES)]
    tables = [file for file in files if file.lower().endswith(data_inputs.TABLE_SUFFIXES)]
    with shown_errors():
        if not videos:
            raise RecordError("the folder holds no videos")
    return videos, tables[0] if table is None and len(tables) == 1 else gr.skip()


def _check_files(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    with shown_errors():
        _stage(session, videos, table, prompt, label_range)
    return _settled(session, videos, table, prompt, label_range, model)


def _settled(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    """What is staged, and what can be pressed; the scores of the batch before stay as they are."""
    return _shown(check=_report(session), **_buttons(session, videos, table, prompt, label_range, model))


def _report(session: Session) -> str:
    """What will be scored, or else what was."""
    batch, table = session.batch, session.staged.table
    if batch is not None and (table is None or table is batch.table or session.is_scoring):
        return batch_render.table_report(batch.table, is_open=False)
    if table is None:
        return batch_render.EMPTY
    return batch_render.table_report(table, is_open=True, is_next=batch is not None)


def _stage(session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str) -> None:
    """What was added is what Score all scores; nothing happens where it is what was checked last.

    Raises:
        DemoError: if it cannot be read.
    """
    with session.checks.turn():
        added = _added(videos, table, prompt, label_range)
        if added == session.staged.inputs:
            return
        session.staged = Staged(added)
        if _missing(videos, table, prompt) is None:
            files = tuple(dict.fromkeys(videos or []))  # the same file may be added twice
            try:
                read = _read(session, files, table, prompt.strip(), data_inputs.RANGES[label_range])
            except DemoError as error:
                session.staged = Staged(added, problem=str(error))
                raise
            session.staged = Staged(added, read)


def _added(videos: list[str] | None, table: str | None, prompt: str, label_range: str) -> tuple[Any, ...]:
    """What a check depends on, to be compared: nothing is the same however the page says it."""
    return tuple(videos or ()), table, prompt.strip(), label_range if table else None


def _read(
    session: Session, videos: tuple[str, ...], table: str | None, prompt: str, label_range: data_inputs.Range
) -> BatchTable:
    from vjepa_demo.data.records import list_videos
    from vjepa_demo.tasks.batch import batch_of_files, read_batch

    unpacked = _unpacked(session, videos)
    if table is None:
        return batch_of_files(list_videos(unpacked), prompt)
    return read_batch(table, unpacked, prompt=prompt or None, label_range=label_range)


def _unpacked(session: Session, videos: tuple[str, ...]) -> list[Path]:
    """`videos` with a folder in place of each zip; zips are not opened anew as the table and the prompt change."""
    from vjepa_demo.data.records import extract_videos

    if session.unpacked is None or session.unpacked[0] != videos:
        session.unpacked = None
        _clear_extracted(session)
        paths = []
        for path in map(Path, videos):
            if path.suffix.lower() == ".zip":
                folder = Path(tempfile.mkdtemp(dir=session.folder / EXTRACTED), path.stem)
                extract_videos(path, folder, wanted=None)
                path = folder
            paths.append(path)
        session.unpacked = videos, paths
    return session.unpacked[1]


def _clear_extracted(session: Session) -> None:
    """Of what came out of zips only that is left which a batch has still to score."""
    (session.folder / EXTRACTED).mkdir(exist_ok=True)
    batch = session.batch
    rows = batch.table.rows if batch is not None and (session.is_scoring or batch.is_stopped) else ()
    for folder in (session.folder / EXTRACTED).iterdir():
        if not any(row.video is not None and row.video.is_relative_to(folder) for row in rows):
            shutil.rmtree(folder)


_CLEARED: dict[str, Any] = {
    "status": "",
    "download": gr.DownloadButton(visible=False),
    "means": "",
    "leaderboard": gr.HTML(visible=False),
    "chart": gr.Plot(visible=False),
    "metrics": gr.HTML(visible=False),
    "order": gr.Radio(value="Latest", visible=False),
    "rows": "",
}


def _missing(videos: list[str] | None, table: str | None, prompt: str) -> str | None:
    has_words = table is not None or bool(prompt.strip())
    if not videos:
        return "Add the videos." if has_words else "Add videos, and a table or a prompt; or score the sample data set."
    return None if has_words else "Add a table, or type the prompt that all the videos were made from."


def _buttons(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> dict[str, Any]:
    """What can be pressed, and why the rest cannot."""
    batch, staged, is_idle, reason = session.batch, session.staged, not session.is_scoring, refusal(model)
    has_stopped = batch is not None and batch.is_stopped
    is_checked = staged.inputs == _added(videos, table, prompt, label_range)
    is_other = not is_checked or batch is None or staged.table is not batch.table  # than what was scored
    missing = _missing(videos, table, prompt)
    is_ready = staged.num_usable > 0 if is_checked else missing is None  # what was not checked yet is, once pressed
    if not is_idle:
        hint = STOPPING if session.stop_batch.is_set() else "Stop keeps what is done."
    else:
        problem = (staged.problem or (staged.table and "No row can be scored.") or missing) if is_checked else missing
        hint = " ".join(_hints(session, reason or ("" if is_ready else problem or ""), is_other=is_other))
    return {
        "sample": gr.Button(interactive=is_idle and reason is None),
        "start": gr.Button(
            "Start over" if has_stopped and not is_other else "Score all",
            variant="secondary" if has_stopped else "primary",
            interactive=is_ready and is_idle and reason is None,
        ),
        "go_on": gr.Button(visible=has_stopped, interactive=is_idle),
        "stop": gr.Button(interactive=not is_idle and not session.stop_batch.is_set()),
        "hint": render.hint(hint),
    }


def _hints(session: Session, problem: str, *, is_other: bool) -> Iterator[str]:
    """What the buttons will do where nothing runs; `problem` is what is against Score all, which scores other rows than
    those that are shown (`is_other`)."""
    batch = session.batch
    if batch is not None and batch.is_stopped:
        yield f"Go on scores the {render.counted(batch.num_left, 'row')} that are left, with {batch.model}."
    if problem:
        yield problem
    elif batch is not None and batch.results and is_other:
        yield REPLACES


# ---- the run ---------------------------------------------------------------------------------------------------------


def _wire_run(
    trigger: Callable[..., Any],
    begin: Callable[..., Any],
    score: Callable[..., Any],
    session: gr.State,
    inputs: _Inputs,
    results: _Results,
) -> None:
    """`trigger` locks the inputs, scores, shows what came of it, and unlocks them."""
    readiness = [session, *inputs.readiness]
    locked = [*results.all, *inputs.all]
    started = trigger(begin, readiness, locked, **TOLD)
    started.failure(_settled, readiness, results.all, **AT_ONCE)
    started.then(None, js=SHOW_RESULTS, api_visibility="private")
    scoring = started.success(
        score, [session, inputs.model], results.all, show_progress="hidden", api_visibility="private", **BATCHING
    )
    failed = scoring.failure(_failed, [session], results.all, **AT_ONCE)
    for event in (scoring.success, failed.then):
        event(_ended, readiness, locked, **AT_ONCE)


def _begin(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    """What was added is scored, checked or not: the button may be pressed while the prompt is still being typed."""
    with shown_errors():
        _check_idle(session)
        _stage(session, videos, table, prompt, label_range)
        return _begun(session, videos, table, prompt, label_range, model)


def _begin_sample(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    from vjepa_demo.tasks.batch import read_batch

    with shown_errors():
        _check_idle(session)
        sample = read_batch(data_inputs.SAMPLE_TABLE, [data_inputs.SAMPLE])
        with session.checks.turn():
            session.staged = replace(session.staged, table=replace(sample, name="The sample data set"), problem="")
        return _begun(session, videos, table, prompt, label_range, model)


def _begun(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    """The staged table is the batch now; the scores there were go."""
    staged = session.staged
    if staged.table is None or not staged.num_usable:
        raise RecordError(staged.problem or "nothing to score: add videos and a table or a prompt")
    session.is_scoring = True
    session.new_batch(staged.table)
    return _running(session, videos, table, prompt, label_range, model)


def _begin_again(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    """The stopped batch goes on, whatever is staged."""
    with shown_errors():
        _check_idle(session)
        if session.batch is None or not session.batch.is_stopped:
            raise RecordError("no batch was stopped: there is nothing to go on with")
    session.is_scoring = True
    return _running(session, videos, table, prompt, label_range, model)


def _check_idle(session: Session) -> None:
    if session.is_scoring:
        raise RecordError("a batch runs: wait until it has ended, or stop it")


def _running(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    session.stop_batch.clear()
    shown = {"check": _report(session), "status": render.status("Starting", None, None)}
    return *_shown(**shown, **_buttons(session, videos, table, prompt, label_range, model)), *_locked(True)


def _ended(
    session: Session, videos: list[str] | None, table: str | None, prompt: str, label_range: str, model: str
) -> tuple[Any, ...]:
    session.is_scoring = False  # a run that never had its turn did not say so
    return *_settled(session, videos, table, prompt, label_range, model), *_locked(False)


def _locked(is_locked: bool) -> tuple[Any, ...]:
    """For each of `_Inputs`: whether it can be changed."""
    kinds = (gr.File, gr.UploadButton, gr.File, gr.Textbox, gr.Dropdown, gr.Dropdown)
    return tuple(kind(interactive=not is_locked) for kind in kinds)


def _stop(session: Session) -> tuple[Any, ...]:
    session.stop_batch.set()
    return gr.Button(interactive=False), render.hint(STOPPING)


def _failed(session: Session) -> tuple[Any, ...]:
    """What an error left: the rows that were done before it, or nothing."""
    if session.batch is not None and session.batch.results:
        return _outcome(session, session.batch)
    return _shown(**_CLEARED)


def _score(
    load_scorer: Callable[[str], Scorer], session: Session, model: str, *, resume: bool
) -> Iterator[tuple[Any, ...]]:
    """Status, means and rows while it runs, then all there is to see."""
    try:
        with shown_errors(), session.deleted_if_closed():
            batch = session.batch
            if batch is None:
                raise RecordError("nothing to score: add videos and a table or a prompt")
            buttons = _buttons(session, None, None, "", "", model)  # a check that ended late may have freed them
            shown = buttons | ({} if resume else _CLEARED)
            yield _shown(**shown | {"status": render.status("Loading the model", None, None)})
            if batch.scorer is None:
                batch.scorer = session.or_else(load_scorer)(model)
            yield _shown(status=render.status(WAITING if others_run() else "Starting", None, None))
            yield from _filling(session, batch, batch.scorer, resume=resume)
            yield _shown(status=render.status("Summing up", 1.0, None))
            yield _outcome(session, batch)
    finally:
        session.is_scoring = False


def _filling(session: Session, batch: Batch, scorer: Scorer, *, resume: bool) -> Iterator[tuple[Any, ...]]:
    """What is new on the page as rows finish."""
    from vjepa_demo.tasks.batch import run_batch

    batch.results.clear()  # those of a stopped run are reported once more
    shown_at = -UPDATE_SECONDS
    run = run_batch(scorer, batch.table, batch.out, resume=resume, should_stop=session.should_stop_batch)
    with closing(in_turn(run)) as reports:
        for report in reports:
            batch.results.append(report.result)
            if not report.resumed and time.monotonic() - shown_at >= UPDATE_SECONDS:
                yield _so_far(batch, scorer, report)
                shown_at = time.monotonic()


def _so_far(batch: Batch, scorer: Scorer, report: BatchReport) -> tuple[Any, ...]:
    return _shown(
        status=batch_render.progress(report),
        means=batch_render.means(_scores(batch)) + batch_render.scored_by(scorer),
        order=gr.Radio(visible=True),
        rows=batch_render.rows(batch.results, batch.order),
    )


def _scores(batch: Batch) -> list[dict[str, float]]:
    return [result.scores for result in batch.results if result.scores is not None]


def _outcome(session: Session, batch: Batch) -> tuple[Any, ...]:
    """Everything about the rows that are done, and the CSV with them."""
    from vjepa_demo.tasks.batch import summarise_batch

    if batch.scorer is None or not batch.results:
        return _shown(status=batch_render.ended(0, batch.num_left, 0))
    summary = summarise_batch(batch.results, batch.scorer.trained_on)
    board = _leaderboard(batch, summary)
    source = Path(batch.table.name)
    name = f"{source.stem}-scores.csv" if source.suffix.lower() in data_inputs.TABLE_SUFFIXES else "scores.csv"
    served = shutil.copyfile(batch.out, session.download_path(name))
    return _shown(
        status=batch_render.ended(summary.all.num_scored, batch.num_left, summary.all.num_errors),
        download=gr.DownloadButton(f"Download {name}", value=str(served), visible=True),
        means=batch_render.means(_scores(batch), summary.all.standard_errors)
        + batch_render.scored_by(batch.scorer, num_doubtful=summary.num_doubtful),
        leaderboard=gr.HTML(board, visible=bool(board)),
        chart=_chart(summary),
        metrics=_metrics(summary),
        order=gr.Radio(visible=True),
        rows=batch_render.rows(batch.results, batch.order),
    )


def _leaderboard(batch: Batch, summary: BatchSummary) -> str:
    if batch.table.generator_column is None:
        return ""
    num_unnamed = sum(result.row.generator is None for result in batch.results)
    doubtful = {"Alignment"} if summary.num_doubtful else set()
    return batch_render.leaderboard(summary.generators, num_unnamed=num_unnamed, doubtful=doubtful)


def _chart(summary: BatchSummary) -> gr.Plot:
    groups = [(group.name, group.means, group.standard_errors) for group in summary.generators if group.means]
    return gr.Plot(leaderboard_chart(groups), visible=True) if groups else gr.Plot(visible=False)


def _metrics(summary: BatchSummary) -> gr.HTML:
    from vjepa_demo.model.metrics import verdict

    if summary.evaluation is None:
        return gr.HTML(visible=False)
    table = render.metrics_table(summary.evaluation, verdict(summary.evaluation))
    return gr.HTML(batch_render.METRICS_TITLE + table, visible=True)


def _reorder(session: Session, label: str) -> str:
    if session.batch is None:
        return ""
    session.batch.order = batch_render.ORDERS[label]
    return batch_render.rows(session.batch.results, session.batch.order)
