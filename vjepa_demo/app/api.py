"""Every public endpoint of the page, for `gradio_client`, curl and MCP; whatever is not here is private.

Gradio itself checks that a file is one that the caller uploaded: a path on the server is refused. All other values are
checked by `api_fields` against the types and ranges that are documented. A docstring is what the API page and MCP show.
An answer is one JSON object; a file in it is one that `gradio_client` downloads by itself, and that the others fetch
from its `url`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import gradio as gr
from gradio.components.api_component import Api

from vjepa_demo.app.api_fields import (
    COUNT,
    DOWNLOAD,
    NUMBER,
    SCORES,
    TEXT,
    YES_OR_NO,
    a_list,
    an_object,
    answer_field,
    choice_field,
    download,
    file_field,
    files_field,
    given_file,
    given_files,
    given_list,
    said,
    value_field,
)
from vjepa_demo.app.data_inputs import RANGES
from vjepa_demo.app.events import shown_errors
from vjepa_demo.app.finetune_tab import meaning, train_config, training_data
from vjepa_demo.app.session import MINE, Session
from vjepa_demo.app.turns import PROGRAMS, PROGRAMS_BATCHING, PROGRAMS_TRAINING, TRAININGS, in_turn
from vjepa_demo.app.visitors import Visitors, is_mcp
from vjepa_demo.config import Scope, TrainConfig, model_presets
from vjepa_demo.schema import DemoError, ModelError, RecordError, to_compare

if TYPE_CHECKING:
    from vjepa_demo.data.records import RecordSet
    from vjepa_demo.model.metrics import Evaluation
    from vjepa_demo.tasks.batch import BatchReport, BatchTable
    from vjepa_demo.tasks.score import Scorer
    from vjepa_demo.tasks.train import Report, TrainingData

Json = dict[str, Any]
Given = Any  # a file, or files, as a caller gives them

RESULT = {
    "video": said(TEXT, "its file name"),
    "prompt": TEXT,
    "model": TEXT,
    "trained_on": said(TEXT, "what the model learned from"),
    "scores": SCORES,
    "unknown_words": said(a_list(TEXT), "of the prompt: if there are any, Alignment means nothing, Overall less"),
    "unread": said(TEXT, "the end of a prompt that is longer than the model reads; mostly nothing"),
    "seconds": an_object(decode=NUMBER, video=NUMBER, text=NUMBER, head=NUMBER),
}
COMPARED = an_object(
    model=TEXT,
    trained_on=TEXT,
    results=a_list(an_object(**RESULT, differences=said(SCORES, "minus the first's"))),
    best=said(an_object(), "dimension: indices of results"),
)
ROW = an_object(line=COUNT, video=TEXT, prompt=TEXT, scores=SCORES, error=TEXT)
BATCHED = an_object(
    done=COUNT,
    total=COUNT,
    errors=COUNT,
    row=said(ROW, "in all but the last"),
    all=an_object(),
    generators=a_list(an_object()),
    evaluation=an_object(),
    num_doubtful=said(COUNT, "rows whose prompt has words that the model does not know: Alignment means nothing there"),
    scores=DOWNLOAD,
)
PROBLEM = an_object(line=said(COUNT, "of the table; its header is 1"), message=TEXT)
CHECKED = an_object(
    summary=TEXT,
    num_rows=COUNT,
    num_used=COUNT,
    label_range=an_object(low=NUMBER, high=NUMBER, declared=YES_OR_NO),
    num_labels=said(an_object(), "dimension: number of labels"),
    notes=said(a_list(TEXT), "what was guessed"),
    problems=said(a_list(PROBLEM), "each row that would not be used"),
)
EVALUATION = {
    "n": said(COUNT, "clips"),
    "dimensions": said(an_object(), "dimension: srocc, plcc, krocc, rmse"),
    "vquala_score": NUMBER,
    "no_video_baseline": said(NUMBER, "the VQualA score without a look at the video"),
    "num_learned": said(COUNT, "clips of those that were given, which the model learned from"),
    "num_left_out": said(COUNT, "all of them, or 0 where too few others were there to judge by"),
}
EVALUATED = an_object(
    done=COUNT, total=COUNT, evaluation=said(an_object(**EVALUATION), "only in the last"), meaning=TEXT
)
TRAINED = an_object(
    phase=said({"type": "string", "enum": ["reading", "start", "epoch", "done"]}, "the other fields depend on it"),
    evaluation=an_object(**EVALUATION),
    meaning=TEXT,
    checkpoint=DOWNLOAD,
)


def add_api(load_scorer: Callable[[str], Scorer], default_model: str, app: gr.Blocks) -> None:
    """Name all public endpoints of `app`, the Blocks that are being built."""
    visitors = Visitors()
    app.unload(visitors.leave)
    with gr.Column(visible=False):
        _add_score(load_scorer, default_model, visitors)
        _add_compare(load_scorer, default_model, visitors)
        _add_batch(load_scorer, default_model, visitors)
        _add_check_labels(visitors)
        _add_fine_tune(default_model, visitors)
        _add_evaluate(load_scorer, default_model, visitors)


@contextmanager
def _call(visitors: Visitors, request: gr.Request, *, keep: bool = True) -> Iterator[tuple[Session, Path]]:
    """Around a call: the caller's session, and a folder for what is needed until the call ends."""
    with (
        shown_errors(str),
        visitors.session(request, keep=keep) as session,
        tempfile.TemporaryDirectory(dir=session.folder, ignore_cleanup_errors=True) as folder,
    ):
        yield session, Path(folder)


def _endpoint(run: Callable[..., Any], inputs: list[Any], answer: Api, **turn: Any) -> None:
    """Publish `run` under its own name."""
    gr.Button(visible=False).click(run, inputs, answer, api_name=run.__name__, show_progress="hidden", **turn)


def for_caller(answer: Json, request: gr.Request) -> Json | str:
    """`answer` as it will arrive as JSON: Gradio's MCP server would write a dict in Python's way."""
    return json.dumps(answer, ensure_ascii=False) if is_mcp(request) else answer


# ---- scoring ---------------------------------------------------------------------------------------------------------


def _add_score(load_scorer: Callable[[str], Scorer], default_model: str, visitors: Visitors) -> None:
    def score(video: Given, prompt: str, model: str, request: gr.Request) -> Json | str:
        """Score a video, and the prompt it was generated from, on five mean opinion scores from 1 (Bad) to 5
        (Excellent): Traditional (blur, noise, compression), Alignment (does it show what the prompt says), Aesthetic,
        Temporal (smooth, consistent motion) and Overall. "trained_on" says how far to trust them.

        Args:
            video: The video, in any format that FFmpeg decodes, at most 2 GiB.
            prompt: The text the video was made from, 1 to 2,000 characters.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).

        Returns:
            {"video", "prompt", "model", "trained_on"
            "scores": {"Traditional", "Alignment", "Aesthetic", "Temporal", "Overall"}
            "unknown_words": words of the prompt that the model never met: if any, Alignment means nothing
            "unread": the end of a prompt that is longer than the model reads
            "seconds": {"decode", "video", "text", "head"}}
            or an error that says what is wrong with the video, the prompt or the model
        """
        with _call(visitors, request, keep=False) as (session, folder):
            scorer = _scorer(load_scorer, model, session)
            path = given_file(field, video, folder)
            result = scorer.score(path, prompt, with_frames=False)
            return for_caller(replace(result, video=Path(path).name).to_dict(), request)

    field = file_field("video")
    inputs = [field, value_field("prompt", TEXT), _model_field(default_model, MINE)]
    _endpoint(score, inputs, answer_field(an_object(**RESULT)), **PROGRAMS)


def _model_field(default_model: str, *others: str) -> Api:
    return choice_field("model", [*model_presets(), *others], default_model)


def _range_field() -> Api:
    return choice_field("label_range", list(RANGES), next(iter(RANGES)))


def _scorer(load_scorer: Callable[[str], Scorer], model: str, session: Session) -> Scorer:
    """The scorer of `model`; of the client's own, loaded now if need be."""
    if model != MINE:
        return load_scorer(model)
    scorer = session.own_scorer(MINE)
    if scorer is None:
        raise ModelError(
            f'there is no model "{MINE}": it is what this client trained with /fine_tune, until it closes its '
            "connection (over MCP and curl it is not kept); train one, or choose another model"
        )
    return scorer


# ---- several videos --------------------------------------------------------------------------------------------------


def _add_compare(load_scorer: Callable[[str], Scorer], default_model: str, visitors: Visitors) -> None:
    def compare(videos: Given, prompts: Given, model: str, request: gr.Request) -> Json | str:
        """Score two to four videos with one model; the others are compared with the first. The page's Compare tab opens
        the answer too, saved as a JSON file.

        Args:
            videos: Two to four videos, in any format that FFmpeg decodes.
            prompts: The text the videos were made from, one for all or one for each.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).

        Returns:
            {"model", "trained_on", "results": [as score gives them, each with "differences": score minus the first's]
            "best": {dimension: indices of the videos with the highest score, equal at two decimals; none where it means
            nothing}}
            or an error that says which video or prompt cannot be used
        """
        with _call(visitors, request, keep=False) as (session, folder):
            texts = [prompts] if isinstance(prompts, str) else prompts
            clips = to_compare(given_list(videos), texts)  # counted before any is fetched
            scorer = _scorer(load_scorer, model, session)
            comparison = scorer.compare([(given_file(field, video, folder), text) for video, text in clips])
            named = (replace(result, video=Path(result.video).name) for result in comparison.results)
            return for_caller(replace(comparison, results=tuple(named)).to_dict(), request)

    field = files_field("videos")
    inputs = [field, value_field("prompts", {"anyOf": [a_list(TEXT), TEXT]}), _model_field(default_model, MINE)]
    _endpoint(compare, inputs, answer_field(COMPARED), **PROGRAMS)


def _add_batch(load_scorer: Callable[[str], Scorer], default_model: str, visitors: Visitors) -> None:
    def batch(
        videos: Given, prompt: str, model: str, label_range: str, request: gr.Request, table: Given = None
    ) -> Iterator[Json | str]:
        """Score many videos: those that a table names, or all with one prompt. Streams each row as it is scored; a row
        that cannot be scored has an error and the others go on. Ends with means, a ranking of generators where a
        column "generator" or "model" names them, agreement with labels where there are some, and a CSV of all.
        Cancelling the call ends the run.

        Args:
            videos: The videos, as files; or one zip of those that the table names.
            prompt: The text all videos were made from; empty where the table has a column of prompts.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).
            label_range: The range of the table's labels, if it has some, such as 0 to 100; mapped to 1..5.
            table: CSV or TSV with a column video_name, and Prompt if prompt is empty; none for videos alone.

        Returns:
            a row at a time {"done", "total", "errors", "seconds_left"
            "row": {"line", "video", "prompt", "scores": {dimension: score} or null, "error"}}
            last {"done", "total", "errors", "model", "trained_on", "notes"
            "all": {"num_scored", "num_errors", "means", "standard_errors"}, "generators": the same of each
            "evaluation": metrics or null, "num_doubtful": rows where Alignment means nothing, as the model does not
            know every word of the prompt, "scores": a CSV file, there for a day or until the client leaves}
            or an error if nothing can be scored at all
        """
        from vjepa_demo.tasks.batch import batch_of_files, read_batch

        with _call(visitors, request) as (session, folder):
            files = given_files(field, videos, folder)
            labelled = given_file(table_field, table, folder) if table else None
            if labelled is None:
                rows = batch_of_files(files, prompt)
            else:
                declared = RANGES[label_range]
                rows = read_batch(labelled, files, prompt=prompt or None, label_range=declared, extract_to=folder)
            scorer = _scorer(load_scorer, model, session)
            for told in _scored(scorer, rows, session, folder, lambda path: download(answer, path, request)):
                yield for_caller(told, request)

    field, table_field, answer = files_field("videos"), file_field("table"), answer_field(BATCHED)
    inputs = [
        field,
        value_field("prompt", TEXT, ""),
        _model_field(default_model, MINE),
        _range_field(),
        table_field,
    ]
    _endpoint(batch, inputs, answer, **PROGRAMS_BATCHING)


def _scored(
    scorer: Scorer, table: BatchTable, session: Session, folder: Path, offer: Callable[[Path], Json]
) -> Iterator[Json]:
    """Each row as it is scored, and last the summary, as the command `batch --json` has it, with the file that was
    written into `folder` until then."""
    from vjepa_demo.tasks.batch import run_batch, summarise_batch

    out, results = folder / "scores.csv", []
    run = run_batch(scorer, table, out, should_stop=session.batch.run.should_stop)
    with closing(in_turn(run)) as reports:
        for report in reports:
            results.append(report.result)
            yield _row(report)
    summary = summarise_batch(results, scorer.trained_on)
    yield {
        "done": len(results),
        "total": len(table.rows),
        "errors": summary.all.num_errors,
        "model": scorer.name,
        "trained_on": str(scorer.trained_on),
        "notes": list(table.notes),
        **summary.to_dict(),
        "scores": offer(Path(shutil.move(out, session.download_path(out.name)))),
    }


def _row(report: BatchReport) -> Json:
    row = report.result.row
    return {
        "done": report.done,
        "total": report.total,
        "errors": report.errors,
        "seconds_left": report.seconds_left,
        "row": {
            "line": row.line,
            "video": row.name,
            "prompt": row.prompt,
            "scores": report.result.scores,
            "error": report.result.error,
        },
    }


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


class _Data:
    """The fields for labelled clips, of every call that takes them."""

    def __init__(self) -> None:
        self.labels, self.videos = file_field("labels"), files_field("videos")
        self.label_range = _range_field()

    def files(self, labels: Given, videos: Given, folder: Path) -> tuple[str, list[str]]:
        """The table and the videos; those that are fetched are in `folder`."""
        return given_file(self.labels, labels, folder), given_files(self.videos, videos, folder)


def _records(session: Session, files: tuple[str, list[str]], label_range: str, folder: Path) -> RecordSet:
    """The usable rows of a table and its videos, each video opened; what comes out of a zip is in `folder`."""
    from vjepa_demo.data.records import check_videos, read_records

    found = read_records(*files, label_range=RANGES[label_range], extract_to=tempfile.mkdtemp(dir=folder))
    return check_videos(found, on_progress=lambda *_: _go_on(session))


def _go_on(session: Session) -> None:
    """Raises RecordError if the client has gone."""
    session.check_open()


def _add_check_labels(visitors: Visitors) -> None:
    def check_labels(labels: Given, videos: Given, label_range: str, request: gr.Request) -> Json | str:
        """Say what fine_tune or evaluate would use of a table of labels and its videos, and what not and why; each
        video is opened, nothing is learned.

        Args:
            labels: A CSV or TSV: video_name, Prompt, and some of Traditional_MOS .. Overall_MOS; at most 64 MiB.
            videos: The videos that the table names, as files or as one zip.
            label_range: The range the labels were given in, such as 0 to 100; mapped to 1..5.

        Returns:
            {"summary", "num_rows", "num_used", "label_range", "num_labels": {dimension: count}, "notes"
            "problems": [{"line", "message"}]}
            or an error if the table or the zip cannot be used at all
        """
        with _call(visitors, request) as (session, folder):
            records = _records(session, fields.files(labels, videos, folder), label_range, folder)
            return for_caller(_checked(records), request)

    fields = _Data()
    _endpoint(
        check_labels,
        [fields.labels, fields.videos, fields.label_range],
        answer_field(CHECKED),
        **PROGRAMS,
    )


def _checked(records: RecordSet) -> Json:
    from vjepa_demo.data.records import summarise

    summary = summarise(records)
    return {
        "summary": str(summary),
        "num_rows": summary.num_rows,
        "num_used": summary.num_used,
        "label_range": asdict(records.label_range),
        "num_labels": {each.dimension: each.num_labels for each in summary.dimensions},
        "notes": list(records.notes),
        "problems": [asdict(problem) for problem in records.problems],
    }


def _add_fine_tune(default_model: str, visitors: Visitors) -> None:
    answer = answer_field(TRAINED)

    def fine_tune(
        labels: Given,
        videos: Given,
        model: str,
        scope: Scope,
        epochs: int,
        learning_rate: float,
        validation_share: float,
        seed: int,
        label_range: str,
        procedural: bool,
        request: gr.Request,
    ) -> Iterator[Json | str]:
        """Fine-tune a model on labelled clips: streams how far it is, and ends with how good the model became on
        clips it did not learn from, beside what the prompts alone would give, and the checkpoint as a zip file. Rows
        that cannot be used are left out (check_labels lists them). Cancelling the call ends the run. Where a connection
        is kept (gradio_client), score then takes the model "mine".

        Args:
            labels: A CSV or TSV: video_name, Prompt, and some of Traditional_MOS .. Overall_MOS; at most 64 MiB.
            videos: The videos that the table names, as files or as one zip.
            model: The model to start from.
            scope: What learns: head (seconds an epoch), or top (the encoder's upper layers too; often better).
            epochs: How many times each clip is learned from, 1 to 100; the best epoch is kept.
            learning_rate: Base learning rate, 1e-7 to 0.1.
            validation_share: Share of the clips to judge by, 0 to 0.5, all of a prompt or none.
            seed: Of the split and of the order; equal seeds give equal models on one machine.
            label_range: The range the labels were given in, such as 0 to 100; mapped to 1..5.
            procedural: True if the labels were computed and not given by people; the model then says so.

        Returns:
            while it runs {"phase": "reading", "done", "total", "seconds_left", "problems": [{"line", "message"}]}
            {"phase": "start", "validation_loss", "vquala_score"}
            {"phase": "epoch", "epoch", "epochs", "loss", "validation_loss", "vquala_score", "best", "seconds_left"}
            last {"phase": "done", "epochs", "best_epoch"
            "evaluation": {"n", "dimensions": {dimension: {"srocc", "plcc", "krocc", "rmse"}}, "vquala_score"
            "no_video_baseline"} or null without validation clips
            "meaning": what that says in plain words, "warnings", "problems": [{"line", "message"}]
            "checkpoint": a zip file, there for a day or until the client leaves}
            or an error
        """
        kind: Literal["human", "procedural"] = "procedural" if procedural else "human"
        with _call(visitors, request) as (session, folder):
            config = train_config(scope, epochs, learning_rate, validation_share, seed)
            files = fields.files(labels, videos, folder)
            records = _records(session, files, label_range, folder)
            data, warnings = training_data(records, config, description=Path(files[0]).name, kind=kind)
            for report in _train(session, model, data, config):
                told = _told(report)
                if session.model.archive is not None and told["phase"] == "done":
                    told |= {"warnings": list(warnings), "problems": list(map(asdict, records.problems))}
                    told |= {"checkpoint": download(answer, session.model.archive, request)}
                yield for_caller(told, request)

    defaults = TrainConfig()
    fields = _Data()
    inputs = [
        fields.labels,
        fields.videos,
        _model_field(default_model),
        choice_field("scope", get_args(Scope), defaults.scope),
        value_field("epochs", {**COUNT, "minimum": 1, "maximum": 100}, defaults.epochs),
        value_field("learning_rate", {**NUMBER, "minimum": 1e-7, "maximum": 0.1}, defaults.learning_rate),
        value_field("validation_share", {**NUMBER, "minimum": 0, "maximum": 0.5}, defaults.validation_fraction),
        value_field("seed", {**COUNT, "minimum": 0}, defaults.seed),
        fields.label_range,
        value_field("procedural", YES_OR_NO, False),
    ]
    _endpoint(fine_tune, inputs, answer, **PROGRAMS_TRAINING)


def _train(session: Session, model: str, data: TrainingData, config: TrainConfig) -> Iterator[Report]:
    """A run of its own, in its turn, whose checkpoint the session has once it is done."""
    from vjepa_demo.model.checkpoint import zip_checkpoint
    from vjepa_demo.tasks.train import TrainingResult, fine_tune

    with TRAININGS.turn():
        for report in fine_tune(model, data, config, session.new_run(), should_stop=session.training.run.should_stop):
            if isinstance(report, TrainingResult):
                zip_checkpoint(report.folder, session.end_run(report.folder))
            yield report


def _told(report: Report) -> Json:
    """A report of a run as JSON."""
    from vjepa_demo.tasks.train import EncodingReport, EpochReport, StartReport

    if isinstance(report, EncodingReport):
        return {
            "phase": "reading",
            "done": report.done,
            "total": report.total,
            "seconds_left": report.seconds_left,
            "problems": list(map(asdict, report.problems)),
        }
    if isinstance(report, StartReport):
        return {"phase": "start", **_validated(report.validation_loss, report.validation)}
    if isinstance(report, EpochReport):
        return {
            "phase": "epoch",
            "epoch": report.epoch,
            "epochs": report.epochs,
            "loss": report.loss,
            **_validated(report.validation_loss, report.validation),
            "best": report.is_best,
            "seconds_left": report.seconds_left,
        }
    return {
        "phase": "done",
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "evaluation": report.evaluation and report.evaluation.to_dict(),
        "meaning": meaning(report),
    }


def _validated(loss: float | None, evaluation: Evaluation | None) -> Json:
    return {"validation_loss": loss, "vquala_score": evaluation and evaluation.vquala_score.value}


def _add_evaluate(load_scorer: Callable[[str], Scorer], default_model: str, visitors: Visitors) -> None:
    def evaluate(
        labels: Given, videos: Given, model: str, label_range: str, request: gr.Request
    ) -> Iterator[Json | str]:
        """Say how well a model's scores agree with labels, beside what the prompts alone would give: correlations of
        ranks (SROCC, KROCC) and of values (PLCC) from -1 to 1, and the root mean squared error (RMSE) in scores.
        Streams how far it is. Rows that cannot be used are left out (check_labels lists them).

        Args:
            labels: A CSV or TSV: video_name, Prompt, and some of Traditional_MOS .. Overall_MOS; at most 64 MiB.
            videos: The videos that the table names, as files or as one zip.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).
            label_range: The range the labels were given in, such as 0 to 100; mapped to 1..5.

        Returns:
            while it runs {"done", "total"}, last also
            {"evaluation": {"n", "dimensions": {dimension: {"srocc", "plcc", "krocc", "rmse"}}, "vquala_score"
            "no_video_baseline", "num_learned", "num_left_out"}, "meaning": what that says in plain words}
            A model that fine_tune made is judged by the clips that it did not learn from, if there are enough.
            or an error
        """
        with _call(visitors, request) as (session, folder):
            scorer = _scorer(load_scorer, model, session)
            records = _records(session, fields.files(labels, videos, folder), label_range, folder)
            for told in _evaluated(scorer, records, session):
                yield for_caller(told, request)

    fields = _Data()
    inputs = [fields.labels, fields.videos, _model_field(default_model, MINE), fields.label_range]
    _endpoint(evaluate, inputs, answer_field(EVALUATED), **PROGRAMS_BATCHING)


def _evaluated(scorer: Scorer, records: RecordSet, session: Session) -> Iterator[Json]:
    """How many clips are scored, and last the metrics, as the command `evaluate --json` has them."""
    from vjepa_demo.model.metrics import verdict
    from vjepa_demo.tasks.train import judge

    total = len(records.records)
    if not total:
        raise RecordError("no row can be evaluated: check_labels says why")
    scores = []
    requests = [(record.video, record.prompt) for record in records.records]
    with closing(in_turn(scorer.score_all(requests))) as outcomes:
        for outcome in outcomes:
            _go_on(session)
            if isinstance(outcome, DemoError):
                raise outcome
            scores.append(outcome.scores)
            if len(scores) < total:
                yield {"done": len(scores), "total": total}
    evaluation = judge(scores, records.records, scorer.trained_on)
    yield {"done": total, "total": total, "evaluation": evaluation.to_dict(), "meaning": verdict(evaluation)}
