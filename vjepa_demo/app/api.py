"""Every public endpoint of the page, for `gradio_client`, curl and MCP; everything else is private.

Gradio itself checks that a file is one that the caller uploaded: a path on the server is refused. `api_fields` checks
all other values against the documented types and ranges. The API page and MCP show the docstrings. An answer is one
JSON object. `gradio_client` downloads a file in it by itself; other callers fetch it from its `url`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import parse_qs, urlsplit

import gradio as gr
from gradio.components.api_component import Api

from vjepa_demo import tasks
from vjepa_demo.app.api_answers import (
    BATCHED,
    CHECKED,
    COMPARED,
    EVALUATED,
    EXPORTED,
    RESULT,
    STATISTICS,
    TRAINED,
    records_json,
    row_json,
    training_json,
    with_caution,
)
from vjepa_demo.app.api_call import Call, Given, Json, cancellable, given_list
from vjepa_demo.app.api_fields import (
    COUNT,
    NUMBER,
    TEXT,
    YES_OR_NO,
    a_list,
    an_object,
    answer_field,
    choice_field,
    file_field,
    value_field,
)
from vjepa_demo.app.data_inputs import RANGES, train_config
from vjepa_demo.app.events import PROGRESS
from vjepa_demo.app.guard import GuardedBlocks
from vjepa_demo.app.model_choice import base_of, model_names
from vjepa_demo.app.scoring import watched
from vjepa_demo.app.session import MINE
from vjepa_demo.app.turns import PROGRAMS, PROGRAMS_BATCHING, PROGRAMS_TRAINING, TRAININGS, in_turn
from vjepa_demo.app.visitors import Visitors
from vjepa_demo.config import Part, Scope, TrainConfig
from vjepa_demo.schema import (
    Evaluation,
    LabelSource,
    ModelError,
    RecordError,
    RecordSet,
    SplitReport,
    TrainingResult,
    to_compare,
)
from vjepa_demo.wording import listed, verdict

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

DEFAULT = "default"  # on a page with a model of its own: that, and until it is loaded what answers in its place
LoadScorer = Callable[[str], "Scorer"]


def add_api(load_scorer: LoadScorer, default_model: str, app: GuardedBlocks) -> None:
    """Name all public endpoints of `app`, the Blocks that are being built; none of a part that is switched off."""
    with gr.Column(visible=False):
        endpoints = _Endpoints(load_scorer, default_model)
        app.unload(endpoints.visitors.leave)
        endpoints.publish(app)


class _Endpoints:
    """The endpoints: methods whose names, parameters and docstrings Gradio publishes, and the fields that they read."""

    def __init__(self, load_scorer: LoadScorer, default_model: str) -> None:
        self.load_scorer, self.visitors, self._default = load_scorer, Visitors(), default_model
        self.video, self.videos = file_field("video"), file_field("videos", several=True)
        self.table, self.labels = file_field("table"), file_field("labels", or_several=True)
        self.batched, self.trained, self.exported = map(answer_field, (BATCHED, TRAINED, EXPORTED))

    def publish(self, app: GuardedBlocks) -> None:
        """Give each endpoint its name, its fields and its queue; one of a `part` only where `app` has that."""

        def publish(
            run: Callable[..., Any], inputs: list[Api], answer: Api, turn: dict[str, Any], part: Part | None = None
        ) -> None:
            if part is not None and not app.has(part):
                return
            button = gr.Button(visible=False)
            with nullcontext() if part is None else app.part(part):
                button.click(run, inputs, answer, api_name=run.__name__, show_progress="hidden", **turn)

        hosted = tasks.hosted_model()
        of_page = [] if hosted is None else [DEFAULT]
        default = self._default if hosted is None else DEFAULT
        model = choice_field("model", [*of_page, *model_names(), MINE], default)
        base = choice_field("model", [*of_page, *model_names()], default)
        label_range = choice_field("label_range", list(RANGES), next(iter(RANGES)))
        prompts = value_field("prompts", {"anyOf": [a_list(TEXT), TEXT]})
        prompt, optional_prompt = value_field("prompt", TEXT), value_field("prompt", TEXT, "")
        labelled, defaults = [self.labels, self.videos], TrainConfig()
        settings = [
            choice_field("scope", get_args(Scope), defaults.scope),
            value_field("epochs", {**COUNT, "minimum": 1, "maximum": 100}, defaults.epochs),
            value_field("learning_rate", {**NUMBER, "minimum": 1e-7, "maximum": 0.1}, defaults.learning_rate),
            value_field("validation_share", {**NUMBER, "minimum": 0, "maximum": 0.5}, defaults.validation_fraction),
            value_field("seed", {**COUNT, "minimum": 0}, defaults.seed),
        ]
        kinds = [value_field("procedural", YES_OR_NO, False), value_field("human", YES_OR_NO, False)]
        publish(cancellable(self.score), [self.video, prompt, model], answer_field(an_object(**RESULT)), PROGRAMS)
        publish(cancellable(self.compare), [self.videos, prompts, model], answer_field(COMPARED), PROGRAMS)
        batch = [self.videos, optional_prompt, model, label_range, self.table]
        publish(self.batch, batch, self.batched, PROGRAMS_BATCHING, "batch")
        publish(self.check_labels, [*labelled, label_range], answer_field(CHECKED), PROGRAMS, "training")
        fine_tune = [*labelled, base, *settings, label_range, *kinds]
        publish(self.fine_tune, fine_tune, self.trained, PROGRAMS_TRAINING, "training")
        judge = [*labelled, model, label_range]
        publish(self.evaluate, judge, answer_field(EVALUATED), PROGRAMS_BATCHING, "batch")
        owned = [value_field("study", TEXT), value_field("owner", TEXT)]
        publish(self.rate_stats, owned, answer_field(STATISTICS), PROGRAMS, "rating")
        publish(self.rate_export, owned, self.exported, PROGRAMS, "rating")

    def _named(self, model: str) -> str:
        """The name of `model`; of `DEFAULT` this page's own, or while that cannot be used what answers in its place.
        Who names this page's own gets no other."""
        hosted = tasks.hosted_model()
        if hosted is None or model != DEFAULT:
            return model
        return hosted.shown if hosted.is_ready else self._default

    def _scorer(self, model: str, call: Call) -> Scorer:
        """The scorer of `model`; the client's own is loaded now if need be."""
        if model != MINE:
            return self.load_scorer(self._named(model))
        scorer = call.session.own_scorer(MINE)
        if scorer is None:
            raise ModelError(
                f'there is no model "{MINE}": it is what this client trained with /fine_tune, until it closes its '
                "connection (over MCP and curl it is not kept); train one, or choose another model"
            )
        return scorer

    def _check(self, call: Call, labels: Given, videos: Given, label_range: str) -> tuple[str, RecordSet]:
        """The names of the tables, and their usable rows; each video is opened. Ends when the client leaves."""
        tables, files = call.files(self.labels, labels), call.files(self.videos, videos)
        folder = tempfile.mkdtemp(dir=call.folder)
        gone = call.session.closed.is_set
        for report in tasks.check_labels(
            tables, files, extract_to=folder, label_range=RANGES[label_range], should_stop=gone
        ):
            call.session.check_open()
            if isinstance(report, RecordSet):
                records = report
        return listed([Path(table).name for table in tables]), records

    def score(
        self, video: Given, prompt: str, model: str, request: gr.Request, progress: gr.Progress = PROGRESS
    ) -> Json | str:
        """Score a video, and the prompt it was generated from, on five mean opinion scores from 1 (Bad) to 5
        (Excellent): Traditional (blur, noise, compression), Alignment (does it show what the prompt says), Aesthetic,
        Temporal (smooth, consistent motion) and Overall. "trained_on" and "caution" say how far to trust them.

        Args:
            video: The video, in any format that FFmpeg decodes, at most 2 GiB.
            prompt: The text the video was made from, 1 to 2,000 characters.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).

        Returns:
            {"video", "prompt", "model", "trained_on", "beats_baseline", "caution"
            "scores": {"Traditional", "Alignment", "Aesthetic", "Temporal", "Overall"}
            "not_meaningful": {dimension: why its score means nothing}
            "unknown_words": words of the prompt that the model never met: if any, Alignment means nothing
            "neutral_prompt": what all scores but Alignment were made with then, instead of the prompt
            "unread": the end of a prompt that is longer than the model reads
            "notes": what of the video was not scored as a player shows it
            "seconds": {"decode", "video", "text", "head"}}
            or an error that says what is wrong with the video, the prompt or the model
        """
        with Call.of(self.visitors, request, keep=False) as call:
            scorer = self._scorer(model, call)
            path = call.file(self.video, video)
            watching = watched(call.stoppable, lambda share, what: progress(share, desc=what))
            result = scorer.score(path, prompt, with_frames=False, **watching)
            return call.answer(
                with_caution(replace(result, video=Path(result.video).name).to_dict(), result.trained_on)
            )

    def compare(self, videos: Given, prompts: Given, model: str, request: gr.Request) -> Json | str:
        """Score two to four videos with one model; the others are compared with the first. The page's Compare tab also
        opens the answer, saved as a JSON file.

        Args:
            videos: Two to four videos, in any format that FFmpeg decodes.
            prompts: The text the videos were made from, one for all or one for each.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).

        Returns:
            {"model", "trained_on", "beats_baseline", "caution"
            "results": [as score gives them, each with "differences": score minus the first's]
            "best": {dimension: indices of the videos with the highest score, equal at two decimals; none where the
            score means nothing, or in Overall where only some have a neutral_prompt}}
            or an error that says which video or prompt cannot be used
        """
        with Call.of(self.visitors, request, keep=False) as call:
            texts = [prompts] if isinstance(prompts, str) else prompts
            clips = to_compare(given_list(videos), texts)  # counted before any is fetched
            scorer = self._scorer(model, call)
            here = [(call.file(self.videos, video), text) for video, text in clips]
            comparison = scorer.compare(here, should_stop=call.stoppable.should_stop)
            named = (replace(result, video=Path(result.video).name) for result in comparison.results)
            answer = replace(comparison, results=tuple(named)).to_dict()
            return call.answer(with_caution(answer, comparison.trained_on))

    def batch(
        self, videos: Given, prompt: str, model: str, label_range: str, request: gr.Request, table: Given = None
    ) -> Iterator[Json | str]:
        """Score many videos: those that a table names (CSV, TSV, XLSX, JSON, JSONL or Parquet), or all with one prompt.
        Streams each row as it is scored; a row that cannot be scored has an error and the others go on. Ends with
        means, a ranking of generators where a column "generator" or "model" names them, agreement with labels where
        there are some, and a CSV of all. Cancelling the call ends the run.

        Args:
            videos: The videos, as files or as one zip.
            prompt: The text all videos were made from; empty where the table has a column of prompts.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).
            label_range: The range of the table's labels, if it has some, such as 0 to 100; mapped to 1..5.
            table: A table with a column video_name, and Prompt if prompt is empty; none for videos alone.

        Returns:
            a row at a time {"done", "total", "errors", "seconds_left"
            "row": {"line", "video", "prompt", "scores": {dimension: score} or null
            "not_meaningful": {dimension: why its score means nothing}, "notes", "error"}}
            last {"done", "total", "errors", "model", "trained_on", "beats_baseline", "caution", "notes"
            "all": {"num_scored", "num_errors", "means", "standard_errors"}, "generators": the same of each
            "evaluation": metrics or null, "num_doubtful": {dimension: in how many rows its score means nothing}
            "num_unknown": in how many rows all but Alignment used a neutral prompt
            "scores": a CSV file, there for a day or until the client leaves}
            or an error if nothing can be scored at all
        """
        with Call.of(self.visitors, request) as call:
            files = call.files(self.videos, videos)
            if table:
                rows = tasks.read_batch(
                    call.file(self.table, table),
                    files,
                    prompt=prompt or None,
                    label_range=RANGES[label_range],
                    extract_to=call.folder,
                )
            else:
                rows = tasks.batch_of_files(files, prompt, extract_to=call.folder)
            scorer, out, results = self._scorer(model, call), call.folder / "scores.csv", []
            run = tasks.run_batch(scorer, rows, out, should_stop=call.stoppable.should_stop)
            with closing(in_turn(run)) as reports:
                for report in reports:
                    results.append(report.result)
                    yield call.answer(row_json(report))
            summary = tasks.summarise_batch(results, scorer.trained_on)
            kept = Path(shutil.move(out, call.session.download_path(out.name)))
            last = {
                "done": len(results),
                "total": len(rows.rows),
                "errors": summary.all.num_errors,
                "model": scorer.name,
                "trained_on": str(scorer.trained_on),
                "notes": list(rows.notes),
                **summary.to_dict(),
                "scores": call.download(self.batched, kept),
            }
            yield call.answer(with_caution(last, scorer.trained_on))

    def check_labels(self, labels: Given, videos: Given, label_range: str, request: gr.Request) -> Json | str:
        """Say which rows of a table of labels or pairs (CSV, TSV, XLSX, JSON, JSONL or Parquet) fine_tune or evaluate
        would use, and which not and why; each video is opened, nothing is learned. Rows of one video and prompt are
        ratings of one clip, and averaged. A table of labels has video_name, Prompt, and some of Traditional_MOS ..
        Overall_MOS. A table of pairs has video_a, video_b, prompt, and some of Traditional .. Overall with a, b or
        same.

        Args:
            labels: A table of labels, or of pairs, or both; at most 64 MiB each.
            videos: The videos that the table names, as files or as one zip.
            label_range: The range the labels were given in, such as 0 to 100; mapped to 1..5.

        Returns:
            {"summary", "num_rows", "num_used", "num_clips", "num_pairs", "label_range"
            "num_labels": {dimension: count}, "num_answers": {dimension: {"a", "b", "same"}}, "notes"
            "problems": [{"line", "message"}]}
            or an error if the table or the zip cannot be used at all
        """
        with Call.of(self.visitors, request) as call:
            _, records = self._check(call, labels, videos, label_range)
            return call.answer(records_json(records))

    def fine_tune(
        self,
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
        human: bool,
        request: gr.Request,
    ) -> Iterator[Json | str]:
        """Fine-tune a model on labelled clips: streams how far it is, and ends with how good the model became on
        clips it did not learn from, beside what the prompts alone would give, and the checkpoint as a zip file. Rows
        that cannot be used are left out (check_labels lists them). Cancelling the call ends the run. Where a connection
        is kept (gradio_client), score then takes the model "mine".

        Args:
            labels: A table of labels, or of pairs, or both, as for check_labels; at most 64 MiB each.
            videos: The videos that the table names, as files or as one zip.
            model: The model to start from.
            scope: What learns: head (seconds an epoch), or top (also the encoder's upper layers; often better).
            epochs: How many times each clip is learned from, 1 to 100; the best epoch is kept.
            learning_rate: Base learning rate, 1e-7 to 0.1.
            validation_share: Share of the clips to validate with, 0 to 0.5, all of a prompt or none.
            seed: Random seed for split and order; equal seeds give equal models on one machine.
            label_range: The range the labels were given in, such as 0 to 100; mapped to 1..5.
            procedural: True if the labels were computed and not given by people; the model then says so.
            human: True if the labels were given by people; the model then says so.

        Returns:
            while it runs {"phase": "reading", "done", "total", "seconds_left", "problems": [{"line", "message"}]}
            {"phase": "start", "validation_loss", "vquala_score"}
            {"phase": "epoch", "epoch", "epochs", "loss", "validation_loss", "vquala_score", "best", "seconds_left"}
            last {"phase": "done", "epochs", "best_epoch"
            "evaluation": {"n", "dimensions": {dimension: {"srocc", "plcc", "krocc", "rmse"}}, "vquala_score"
            "no_video_baseline", "beats_baseline"
            "gain": if the model could score before {"dimensions": {dimension: {"srocc_before", "srocc_gain"
            "standard_error"}}, "vquala_score_before", "vquala_score_gain", "standard_error"}
            "pairs": where there are some {"dimensions": {dimension: {"without_ties", "guess_without_ties", "with_ties"
            "guess_with_ties"}}, "lead"}} or null without validation clips
            "meaning": what that says in plain words, "warnings", "problems": [{"line", "message"}]
            "checkpoint": a zip file, there for a day or until the client leaves}
            or an error
        """
        kind: LabelSource = "procedural" if procedural else "human" if human else "undeclared"
        with Call.of(self.visitors, request) as call:
            if procedural and human:
                raise RecordError("procedural and human are both true; at most one of them was expected")
            config = train_config(scope, epochs, learning_rate, validation_share, seed)
            table, records = self._check(call, labels, videos, label_range)
            with TRAININGS.turn():
                base, token = base_of(self._named(model))
                for report in tasks.fine_tune(
                    base,
                    records,
                    config,
                    call.session.new_run(),
                    description=table,
                    kind=kind,
                    should_stop=call.stoppable.should_stop,
                    token=token,
                ):
                    if isinstance(report, SplitReport):
                        warnings = report.warnings
                        continue
                    told = training_json(report)
                    if isinstance(report, TrainingResult):
                        archive = call.session.end_run(report.folder)
                        tasks.zip_checkpoint(report.folder, archive)
                        told |= {"warnings": list(warnings), "problems": list(map(asdict, records.problems))}
                        told |= {"checkpoint": call.download(self.trained, archive)}
                    yield call.answer(told)

    def evaluate(
        self, labels: Given, videos: Given, model: str, label_range: str, request: gr.Request
    ) -> Iterator[Json | str]:
        """Say how well a model's scores agree with labels, beside what the prompts alone would give: correlations of
        ranks (SROCC, KROCC) and of values (PLCC) from -1 to 1, and the root mean squared error (RMSE) in scores.
        Streams how far it is. Rows that cannot be used are left out (check_labels lists them).

        Args:
            labels: A table of labels, or of pairs, or both, as for check_labels; at most 64 MiB each.
            videos: The videos that the table names, as files or as one zip.
            model: demo, vitl, vitg, or mine: what this client trained with fine_tune (not over MCP or curl).
            label_range: The range the labels were given in, such as 0 to 100; mapped to 1..5.

        Returns:
            while it runs {"done", "total", "seconds_left"}, last {"done", "total"
            "evaluation": {"n", "dimensions": {dimension: {"srocc", "plcc", "krocc", "rmse"}}, "vquala_score"
            "no_video_baseline", "beats_baseline", "num_learned", "num_left_out", "num_unknown"
            "pairs": where there are some, how often the better clip of a pair has the higher score, with and without
            ties, beside always guessing the commonest answer}
            "meaning": what that says in plain words}
            A model that fine_tune made is judged by the clips that it did not learn from, if there are enough.
            or an error
        """
        with Call.of(self.visitors, request) as call:
            scorer = self._scorer(model, call)
            _, records = self._check(call, labels, videos, label_range)
            total = len(records.records)
            # As a batch it scores many clips, so it takes turns with the batches.
            with closing(
                in_turn(tasks.evaluate_model(scorer, records, should_stop=call.stoppable.should_stop))
            ) as reports:
                for report in reports:
                    call.session.check_open()
                    if isinstance(report, Evaluation):
                        judged = {"evaluation": report.to_dict(), "meaning": verdict(report)}
                        yield call.answer({"done": total, "total": total, **judged})
                    elif report.done < total:
                        yield call.answer(asdict(report))

    def rate_stats(self, study: str, owner: str, request: gr.Request) -> Json | str:
        """Say what the raters of a study answered: the score of each clip with its 95 % interval, each rater's bias and
        consistency, and how well raters agree with themselves and with each other. For the owner of the study.

        Args:
            study: The study's link, or what follows "study=" in it.
            owner: The owner's key, which the Rate tab shows under "For programs".

        Returns:
            {"title", "num_clips", "num_raters", "num_answers", "ended", "notes"
            "dimensions": {dimension: {"clips", "raters", "self_correlation", "reliability", "ceiling"}}
            of a study of scores
            "pairs": {dimension: {"num_answers", "raters", "self_agreement", "agreement"}} of a study of pairs
            "skipped": {clip: why it is shown to nobody}}
            where a number is {"value", "why": why it is undefined}
            or an error
        """
        with Call.of(self.visitors, request, keep=False) as call:
            return call.answer(tasks.owned_study(_study_id(study), owner).statistics().to_dict())

    def rate_export(self, study: str, owner: str, request: gr.Request) -> Json | str:
        """Give the ratings of a study as tables that fine_tune and check_labels take: labels.csv (a row a clip) and
        ratings.csv (a row a rating), or pairs.csv, in one zip. For the owner of the study.

        Args:
            study: The study's link, or what follows "study=" in it.
            owner: The owner's key, which the Rate tab shows under "For programs".

        Returns:
            {"tables": names of the files, "ratings": a zip file, there for a day or until the client leaves}
            or an error, also where nobody has rated anything yet
        """
        with Call.of(self.visitors, request) as call:
            found = tasks.owned_study(_study_id(study), owner)
            archive = call.session.download_path("ratings.zip")
            tables = found.export_zip(archive)
            return call.answer({"tables": list(tables), "ratings": call.download(self.exported, archive)})


def _study_id(link: str) -> str:
    """The id of a study in its link."""
    return parse_qs(urlsplit(link).query).get("study", [link])[0]
