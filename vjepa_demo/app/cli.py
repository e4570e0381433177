"""The command line: `python -m vjepa_demo score | compare | batch | train | evaluate | make-dataset`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vjepa_demo.config import (
    BOOTSTRAP_CLIPS,
    CACHE_GB_VARIABLE,
    CACHE_VARIABLE,
    COMPARED_LETTERS,
    DIMENSIONS,
    MAX_COMPARED,
    MIN_COMPARED,
    TABLE_SUFFIXES,
    Scope,
    TrainConfig,
    acr_word,
    dataset_folder,
    feature_cache_bytes,
    feature_cache_folder,
    model_presets,
    named_views,
    wait_passively,
)
from vjepa_demo.schema import (
    OVERALL_MEANS_LESS,
    DemoError,
    ModelError,
    RecordError,
    RecordProblem,
    check_prompt,
    to_compare,
)

if TYPE_CHECKING:
    from vjepa_demo.data.records import RecordSet
    from vjepa_demo.model.metrics import Evaluation
    from vjepa_demo.schema import Comparison, VideoScores
    from vjepa_demo.tasks.batch import BatchReport, BatchSummary, BatchTable, GroupScores
    from vjepa_demo.tasks.bootstrap import DrawingReport
    from vjepa_demo.tasks.score import Scorer
    from vjepa_demo.tasks.train import EncodingReport, Report

TELL_SECONDS = 2.0
TRAIN_OPTIONS = (
    "scope",
    "epochs",
    "batch_size",
    "learning_rate",
    "accumulate",
    "patience",
    "validation_fraction",
    "train_text",
    "seed",
)


TRAIN_HELP = {
    "epochs": "how often each clip is learned from, at most",
    "batch_size": "how many clips are learned from at a time; fewer take less memory",
    "learning_rate": "how large the steps are that the head learns in; smaller is slower and steadier",
    "accumulate": "how many batches make up one step, as if they were one larger batch",
    "patience": "end early after so many epochs that made nothing better",
    "validation_fraction": "share of the clips to judge by, which are not learned from; 0 for none",
    "seed": "another number shuffles and splits the clips in another way, the same in the same",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if anything could not be scored, 2 for a wrong call."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    wait_passively()
    options = _parser().parse_args(arguments)
    try:
        _set_cache(options)
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # as shells say it of Ctrl-C
    except BrokenPipeError:  # who reads what is printed, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as shells say it of SIGPIPE


def _set_cache(options: argparse.Namespace) -> None:
    """The flags of the feature cache are its environment variables, for this process and those it starts."""
    if getattr(options, "cache", None) is not None:
        os.environ[CACHE_VARIABLE] = options.cache
    if getattr(options, "cache_gb", None) is not None:
        os.environ[CACHE_GB_VARIABLE] = options.cache_gb


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vjepa_demo", description="Mean opinion scores of AI-generated videos."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_score, _add_compare, _add_batch, _add_train, _add_evaluate, _add_make_dataset, _add_cache):
        add(commands)
    return parser


def _add_score(commands: Any) -> None:
    score = commands.add_parser("score", help="score videos that were made from one prompt")
    score.add_argument("videos", nargs="+", metavar="VIDEO", help="a video file, anything FFmpeg decodes")
    score.add_argument("--prompt", required=True, metavar="TEXT", help="the text the videos were made from")
    _add_model(score)
    score.add_argument("--json", action="store_true", help="print a JSON list, one object a video")
    score.set_defaults(run=_score)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="score two to four videos side by side")
    compare.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help=f"{MIN_COMPARED} to {MAX_COMPARED} video files; the others are compared with the first",
    )
    compare.add_argument(
        "--prompt",
        action="append",
        required=True,
        metavar="TEXT",
        help="the text the videos were made from; may be repeated: once for all videos, or once for each of them",
    )
    _add_model(compare)
    compare.add_argument("--json", action="store_true", help="print one JSON object; the page opens it too")
    compare.set_defaults(run=_compare)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="NAME_OR_PATH",
        help=f"{', '.join(model_presets())}, a checkpoint folder, or OWNER/NAME of one on the Hub "
        "(default: the best this machine can run)",
    )
    command.add_argument("--device", choices=("cpu", "cuda"), help="where to run (default: a GPU where there is one)")
    _add_cache_flags(command)


def _add_cache_flags(command: argparse.ArgumentParser) -> None:
    folder = str(feature_cache_folder()).replace("%", "%%")  # argparse formats a help text with %
    command.add_argument("--cache", metavar="DIR", help=f"where features of videos are kept (default: {folder})")
    command.add_argument(
        "--cache-gb", metavar="N", help="how much of the disk they may take, 0 for nothing (default: 20, or a fifth)"
    )


def _add_labels(command: argparse.ArgumentParser, *, optional: bool) -> None:
    command.add_argument(
        "labels",
        metavar="LABELS",
        nargs="?" if optional else None,
        help="CSV or TSV of labels; or, without --videos, OWNER/NAME of a data set on the Hub",
    )
    command.add_argument("--videos", metavar="DIR_OR_ZIP", help="where the videos of a CSV or TSV are")
    _add_label_range(command)


def _add_label_range(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--label-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="range of the labels (default: detected)"
    )


def _add_batch(commands: Any) -> None:
    batch = commands.add_parser("batch", help="score all videos of a table, or of a prompt, into one CSV")
    batch.add_argument(
        "inputs",
        nargs="+",
        metavar="TABLE_OR_VIDEO",
        help="a CSV or TSV with columns for video and prompt, whose others are kept; or videos, or folders of them",
    )
    batch.add_argument(
        "--videos",
        metavar="DIR_OR_ZIP",
        help="where the videos of the table are (default: the table's own folder, and where absolute paths in it lead)",
    )
    batch.add_argument("--prompt", metavar="TEXT", help="the text that all were made from, where no column says it")
    batch.add_argument("--out", required=True, metavar="SCORES.csv", help="written row by row; must be new")
    batch.add_argument(
        "--resume", action="store_true", help="go on with SCORES.csv: score the rows it has no scores of"
    )
    _add_model(batch)
    _add_label_range(batch)
    batch.add_argument("--json", action="store_true", help="print the summary as one JSON object, the rest to stderr")
    batch.set_defaults(run=_batch)


def _add_train(commands: Any) -> None:
    defaults = TrainConfig()
    train = commands.add_parser("train", help="fine-tune a model on labelled videos")
    _add_labels(train, optional=True)
    _add_model(train)
    train.add_argument(
        "--out", metavar="DIR", help="folder of the checkpoint (default with --bootstrap: where the model finds it)"
    )
    train.add_argument(
        "--scope",
        choices=get_args(Scope),
        default=defaults.scope,
        help="what learns: the head alone, or also the top layers of the video encoder, which takes longer "
        f"(default: {defaults.scope})",
    )
    train.add_argument("--train-text", action="store_true", help="let the text encoder learn too, which takes longer")
    for name in TRAIN_OPTIONS:
        default = getattr(defaults, name)
        if isinstance(default, int | float) and not isinstance(default, bool):
            flag = f"--{name.replace('_', '-')}"
            meaning = f"{TRAIN_HELP[name]} (default: {default})"
            train.add_argument(flag, type=type(default), default=default, metavar="N", help=meaning)
    train.add_argument("--procedural", action="store_true", help="the labels were computed, not given by people")
    train.add_argument("--check", action="store_true", help="only show what would be used, and what would not")
    train.add_argument("--resume", action="store_true", help="go on with the run that was killed in DIR")
    train.add_argument("--bootstrap", action="store_true", help="train the first head of vitl or vitg, no labels")
    train.add_argument(
        "--count",
        type=int,
        default=BOOTSTRAP_CLIPS,
        metavar="N",
        help=f"how many procedural clips --bootstrap draws to learn from (default: {BOOTSTRAP_CLIPS})",
    )
    train.add_argument(
        "--views",
        metavar="NAMES",
        help="what --bootstrap shows the encoder of a video: one or more of centre (of the shrunken frame, over the "
        "whole clip), whole (16 frames of the clip, the whole picture), dense (16 frames in a row), native (pieces at "
        "full resolution), between commas; each costs its own time (default: centre)",
    )
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="how well a model agrees with labels")
    _add_labels(evaluate, optional=False)
    _add_model(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(run=_evaluate)


def _add_make_dataset(commands: Any) -> None:
    make = commands.add_parser("make-dataset", help="write procedural clips and their labels.csv")
    make.add_argument("folder", metavar="DIR", help="where the clips and labels.csv go; it is made if need be")
    make.add_argument("--count", type=int, required=True, metavar="N", help="how many clips to draw")
    make.add_argument(
        "--seed", type=int, default=0, metavar="S", help="the same number draws the same clips again (default: 0)"
    )
    make.set_defaults(run=_make_dataset)


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser("cache", help="where features of videos are kept, and how large that is")
    _add_cache_flags(cache)
    cache.add_argument("--clear", action="store_true", help="delete them: what is scored again is computed again")
    cache.add_argument("--json", action="store_true", help="print one JSON object: folder, files and bytes")
    cache.set_defaults(run=_cache)


def _score(options: argparse.Namespace) -> int:
    prompt = check_prompt(options.prompt)
    scorer = _load_scorer(options)
    answers = []
    for result, video in zip(
        scorer.score_all((video, prompt) for video in options.videos), options.videos, strict=True
    ):
        answers.append(_answer(scorer, video, prompt, result))
        if not options.json:
            print(_as_block(video, result), end="\n\n", flush=True)
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        print(_scored_by(scorer))
    return 1 if any("error" in answer for answer in answers) else 0


def _load_scorer(options: argparse.Namespace) -> Scorer:
    """The scorer that was asked for, after saying that this takes seconds. Loads torch: not for --help, nor before
    what is wrong with a call has been told."""
    _say_loading(options)
    from vjepa_demo.tasks.score import get_scorer

    _check_device(options)
    device = _device(options) if _num_launched() > 1 else options.device
    return get_scorer(options.model, device, token=None)


def _say_loading(options: argparse.Namespace) -> None:
    if _is_first() and not getattr(options, "json", False):
        _to_stderr("loading the model ...")


def _is_first() -> bool:
    """Whether this process speaks for all of a launch; `train.is_main_process` without torch."""
    return os.environ.get("RANK", "0") == "0"


def _num_launched() -> int:
    """How many processes `accelerate launch` or `torchrun` started; `train.num_processes` without torch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _check_device(options: argparse.Namespace) -> None:
    """
    Raises:
        ModelError: if a GPU was asked for and there is none.
    """
    from vjepa_demo.model.vjepa import default_device

    if options.device == "cuda" and default_device() != "cuda":
        raise ModelError("--device cuda: no GPU that CUDA can use was found here; leave it out, or give --device cpu")


def _answer(scorer: Scorer, video: str, prompt: str, result: VideoScores | DemoError) -> dict[str, Any]:
    """The scores, or the object that says why there are none."""
    if not isinstance(result, DemoError):
        return result.to_dict()
    return {
        "video": video,
        "prompt": prompt,
        "model": scorer.name,
        "trained_on": str(scorer.trained_on),
        "error": str(result),
    }


def _as_block(video: str, result: VideoScores | DemoError) -> str:
    """A video and its scores, or why it has none."""
    if isinstance(result, DemoError):
        return f"{video}\n  error: {result}"
    rows = [f"  {name:<12}{score:.2f}  {acr_word(score)}" for name, score in result.scores.items()]
    return "\n".join([video, *rows, *(f"  {note}" for note in _doubts([result]))])


def _scored_by(scorer: Scorer) -> str:
    """The model, what it learned from, and how far to trust it."""
    caution = f"\nnote: {scorer.trained_on.caution}" if scorer.trained_on.caution else ""
    return f"model {scorer.name} ({scorer.hardware}), trained on {scorer.trained_on}{caution}"


# ---- comparing -------------------------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> int:
    clips = to_compare(options.videos, options.prompt)
    scorer = _load_scorer(options)
    comparison = scorer.compare(clips)
    if options.json:
        print(json.dumps(comparison.to_dict(), indent=2))
    else:
        print(*_as_comparison(comparison), sep="\n")
        print(_scored_by(scorer))
    return 0


def _as_comparison(comparison: Comparison) -> list[str]:
    """What each letter stands for, and a table: a line a dimension, a column a video."""
    letters = COMPARED_LETTERS[: len(comparison.results)]
    lines = [f"{letter}  {result.video}" for letter, result in zip(letters, comparison.results, strict=True)]
    lines += ["", f"{'':<12}" + "".join(f"{letter:<16}" for letter in letters).rstrip()]
    for name in DIMENSIONS:
        cells = (_as_cell(comparison, name, index) for index in range(len(letters)))
        lines.append(f"{name:<12}{''.join(f'{cell:<16}' for cell in cells)}".rstrip())
    return [*lines, "", "in brackets the difference to A; * the best", *_doubts(comparison.results)]


def _doubts(results: Sequence[VideoScores]) -> list[str]:
    """What to make of scores where the model does not know some words of the prompt, or did not come to all of them."""
    notes = []
    if unknown := sorted({word for result in results for word in result.unknown_words}):
        words = ", ".join(unknown)
        notes.append(f"note: Alignment means nothing here, and {OVERALL_MEANS_LESS}; the model does not know: {words}")
    return notes + [f"note: {text}" for text in dict.fromkeys(result.too_long for result in results) if text]


def _as_cell(comparison: Comparison, name: str, index: int) -> str:
    difference = f" ({comparison.shown_differences[index][name]:+.2f})" if index else ""
    best = " *" if index in comparison.best[name] else ""
    return f"{comparison.results[index].scores[name]:.2f}{difference}{best}"


# ---- batches ---------------------------------------------------------------------------------------------------------


def _batch(options: argparse.Namespace) -> int:
    from vjepa_demo.tasks.batch import run_batch, summarise_batch

    tell = (_to_stderr if options.json else _now) if _is_first() else _say_nothing
    with _batch_table(options) as table:
        for note in table.notes:
            tell(f"note: {note}")
        scorer = _load_scorer(options)
        told = _RowTeller(tell)
        results = []
        try:
            for report in run_batch(scorer, table, options.out, resume=options.resume):
                results.append(report.result)
                told.row(report)
        except KeyboardInterrupt:
            tell(f"what is done is in {options.out}: go on with --resume")
            raise
        if not _is_first():
            return 0
        summary = summarise_batch(results, scorer.trained_on)
    if options.json:
        run = {"out": options.out, "model": scorer.name, "trained_on": str(scorer.trained_on)}
        print(json.dumps(run | summary.to_dict(), indent=2))
    else:
        print("", *_as_means(summary), "", sep="\n")
        print(f"{_scored_by(scorer)}\nwrote {options.out}")
    return 1 if summary.all.num_errors else 0


@contextmanager
def _batch_table(options: argparse.Namespace) -> Iterator[BatchTable]:
    """What is to be scored, the same in each process; what is extracted from a zip is gone afterwards."""
    if _num_launched() == 1:
        with tempfile.TemporaryDirectory() as folder:
            yield _read_batch(options, Path(folder))
        return
    from vjepa_demo.tasks.train import from_main_process

    # Several processes, of several machines perhaps, share the disk of the output, not this one's /tmp.
    shared = Path(options.out).absolute().with_name(f".{Path(options.out).name}.videos")
    try:
        yield from_main_process(lambda: _read_batch(options, shared))
    finally:
        if _is_first():
            shutil.rmtree(shared, ignore_errors=True)


def _read_batch(options: argparse.Namespace, folder: Path) -> BatchTable:
    from vjepa_demo.tasks.batch import batch_of_files, check_out, read_batch

    check_out(Path(options.out), resume=options.resume)
    inputs, label_range = options.inputs, tuple(options.label_range) if options.label_range else None
    if not any(name.lower().endswith(TABLE_SUFFIXES) for name in inputs):
        if options.videos is not None or options.prompt is None or label_range:
            raise RecordError(
                "videos alone need --prompt TEXT, and neither --videos nor --label-range; a table ends in .csv or .tsv"
            )
        return batch_of_files(_video_files(inputs), options.prompt)
    if len(inputs) > 1:
        raise RecordError("batch needs one TABLE.csv, and its --videos DIR_OR_ZIP; or videos and --prompt TEXT")
    return read_batch(inputs[0], options.videos, prompt=options.prompt, label_range=label_range, extract_to=folder)


def _video_files(inputs: Sequence[str]) -> list[Path]:
    """`inputs`, and in place of a folder the videos in it; a file that is missing is an error of its row."""
    from vjepa_demo.data.records import list_videos

    files: list[Path] = []
    for name in inputs:
        found = list_videos([name]) if Path(name).is_dir() else [Path(name)]
        if not found:
            raise RecordError(f"{name} holds no videos")
        files += found
    return files


def _device(options: argparse.Namespace) -> str | None:
    """The device that was asked for; of several processes, each has its own GPU."""
    from vjepa_demo.tasks.train import num_processes, training_device

    return training_device() if num_processes() > 1 and options.device != "cpu" else options.device


def _now(*words: object) -> None:
    print(*words, flush=True)


class _RowTeller:
    """Tells every tenth row of a batch, or one after two seconds, and each error by its line."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._told_at = time.monotonic()
        self._resumed = 0

    def row(self, report: BatchReport) -> None:
        """Say what is new."""
        if report.resumed:
            self._resumed = report.done
        if self._resumed and (not report.resumed or report.done == report.total):
            self._tell(f"{self._resumed} of {report.total} rows were scored before")
            self._resumed = 0
        if report.resumed:
            return
        if report.result.error is not None:
            self._tell(f"line {report.result.row.line}: {report.result.error}")
        late = time.monotonic() - self._told_at > TELL_SECONDS
        if late or report.done % 10 == 0 or report.done == report.total:
            errors = f", {report.errors} error{'s' * (report.errors > 1)}" if report.errors else ""
            left = f", {report.seconds_left:.0f} s left" if report.seconds_left and report.done < report.total else ""
            self._tell(f"scored {report.done - report.errors}/{report.total} rows{errors}{left}")
            self._told_at = time.monotonic()


def _as_means(summary: BatchSummary) -> list[str]:
    """Means with standard errors as a table, a generator a line; and metrics where there are labels."""
    groups = [*summary.generators, summary.all]
    width = max(9, *(len(group.name) for group in groups)) + 2
    lines = [f"{'':<{width}}{'rows':>6}{'errors':>8}  " + "".join(f"{name:<15}" for name in DIMENSIONS)]
    for group in groups:
        cells = "".join(f"{_mean(group, name):<15}" for name in DIMENSIONS)
        lines.append(f"{group.name:<{width}}{group.num_scored:>6}{group.num_errors:>8}  {cells}")
    lines = [line.rstrip() for line in lines]
    if summary.num_doubtful:
        rows = f"{summary.num_doubtful} of {summary.all.num_scored} rows"
        note = f"note: Alignment means nothing in {rows}, and {OVERALL_MEANS_LESS}"
        lines += ["", f"{note}: the model does not know every word of their prompts"]
    return [*lines, *(["", *_as_metrics(summary.evaluation)] if summary.evaluation else [])]


def _mean(group: GroupScores, dimension: str) -> str:
    if not group.means:
        return "-"
    error = group.standard_errors[dimension]
    return f"{group.means[dimension]:.2f}" + ("" if error is None else f" ± {error:.2f}")


# ---- training --------------------------------------------------------------------------------------------------------


def _train(options: argparse.Namespace) -> int:
    from vjepa_demo.tasks.train import is_main_process

    tell = print if is_main_process() else _say_nothing  # one voice under accelerate launch
    for report in _training_reports(options, tell):
        for line in _told(report):
            tell(line, flush=True)
    return 0


def _say_nothing(*_: object, **__: object) -> None:
    """What the other processes of `accelerate launch` print."""


def _training_reports(options: argparse.Namespace, tell: Callable[..., None]) -> Iterator[DrawingReport | Report]:
    from vjepa_demo.data.records import split_records
    from vjepa_demo.tasks.score import default_model
    from vjepa_demo.tasks.train import TrainingData, fine_tune

    _check_device(options)
    if options.bootstrap:
        yield from _bootstrap_reports(options, tell)
        return
    if options.views is not None:
        raise RecordError("--views belongs to --bootstrap: what a trained head is shown is part of its model")
    if options.labels is None or (options.videos is None and not _is_hub_name(options.labels)):
        raise RecordError(
            "train needs LABELS.csv and --videos DIR_OR_ZIP (or --bootstrap, which needs no labels), "
            "or OWNER/NAME of a data set on the Hub"
        )
    if options.out is None and not options.check:
        raise RecordError("train needs --out DIR, the folder of the checkpoint")
    name, config = options.model or default_model(), _train_config(options)
    with _read(options, tell) as records:
        split = split_records(records.records, validation_fraction=config.validation_fraction, seed=config.seed)
        for warning in split.warnings:
            tell(f"note: {warning}")
        tell(f"{len(split.train)} clips to train on, {len(split.validation)} to validate with")
        if options.check:
            return
        data = TrainingData(
            split.train,
            split.validation,
            description=Path(options.labels).name if options.videos else options.labels,
            kind="procedural" if options.procedural else "human",
            label_range=(records.label_range.low, records.label_range.high),
        )
        _say_loading(options)
        yield from fine_tune(name, data, config, options.out, device=options.device, resume=options.resume, token=None)


def _bootstrap_reports(options: argparse.Namespace, tell: Callable[..., None]) -> Iterator[DrawingReport | Report]:
    from vjepa_demo.tasks.bootstrap import bootstrap

    if options.model is None:
        raise RecordError("--bootstrap needs --model vitl or --model vitg: whose first head?")
    if options.labels or options.videos or options.resume or options.scope != "head" or options.train_text:
        raise RecordError("--bootstrap draws its own clips and trains a new head, from the beginning, and nothing else")
    if options.count < 2:
        raise RecordError(f"--count is {options.count}; some hundred clips are needed to learn from")
    try:
        views = named_views(options.views) if options.views is not None else None
    except ValueError as error:
        raise RecordError(f"--{error}") from error
    config = _train_config(options)
    tell(
        f"{options.model}: a first head, from {options.count} procedural clips. 1. draw them, 2. read them with the "
        f"encoder, which takes long without a GPU, 3. learn from them for {config.epochs} epochs",
        flush=True,
    )
    settings = {"count": options.count, "device": options.device, "views": views}
    yield from bootstrap(options.model, options.out, config, **settings)


def _train_config(options: argparse.Namespace) -> TrainConfig:
    try:
        return TrainConfig(**{field: getattr(options, field) for field in TRAIN_OPTIONS})
    except ValueError as error:
        raise RecordError(str(error)) from error


@contextmanager
def _read(options: argparse.Namespace, tell: Callable[..., None]) -> Iterator[RecordSet]:
    """The usable rows of LABELS, each video opened, after telling what they are and what is wrong with the others.

    What is extracted from a zip is gone afterwards, what came from the Hub is kept.
    """
    from vjepa_demo.data.records import check_videos, read_hub_records, read_records, summarise

    label_range = tuple(options.label_range) if options.label_range else None
    with tempfile.TemporaryDirectory() as folder:
        if options.videos is not None:
            records = read_records(options.labels, options.videos, label_range=label_range, extract_to=folder)
        elif _is_hub_name(options.labels):
            records = read_hub_records(
                options.labels,
                dataset_folder(),
                token=None,
                label_range=label_range,
                on_progress=lambda done, total: tell(f"fetched {done}/{total} videos") if done == total else None,
            )
        else:
            raise RecordError(
                f"{options.labels} needs --videos DIR_OR_ZIP; only OWNER/NAME, a data set on the Hub, brings its own"
            )
        records = check_videos(records)
        tell(str(summarise(records)))
        for line in (*records.notes, *map(_as_line, records.problems)):
            tell(f"note: {line}")
        yield records


def _is_hub_name(labels: str) -> bool:
    from vjepa_demo.data.records import is_hub_name

    return is_hub_name(labels)


def _as_line(problem: RecordProblem) -> str:
    return f"line {problem.line}: {problem.message}" if problem.line else problem.message


def _told(report: DrawingReport | Report) -> list[str]:
    """What a person reads of a report: every tenth clip, each epoch, the result."""
    from vjepa_demo.tasks.bootstrap import DrawingReport
    from vjepa_demo.tasks.train import EncodingReport, EpochReport, StartReport, gain

    if isinstance(report, DrawingReport):
        return _every_tenth("drawn", report.done, report.total, report.seconds_left)
    if isinstance(report, EncodingReport):
        return _told_encoding(report)
    if isinstance(report, EpochReport):
        judged = "" if report.validation is None else f"  validation {report.validation_loss:.4f}"
        score = "" if report.validation is None else f"  VQualA {report.validation.vquala_score}"
        best = "  best" if report.is_best else ""
        left = f"  {report.seconds_left:.0f} s left"
        return [f"epoch {report.epoch}/{report.epochs}  loss {report.loss:.4f}{judged}{score}{best}{left}"]
    if isinstance(report, StartReport):
        return [f"before training: validation {report.validation_loss:.4f}  VQualA {report.validation.vquala_score}"]
    lines = [] if report.evaluation is None else [*_as_metrics(report.evaluation), gain(report)]
    return [*filter(None, lines), f"best of epoch {report.best_epoch}, saved in {report.folder}"]


def _every_tenth(verb: str, done: int, total: int, seconds_left: float) -> list[str]:
    if done % 10 and done != total:
        return []
    left = f", {seconds_left:.0f} s left" if done < total else ""
    return [f"{verb} {done}/{total} clips{left}"]


def _told_encoding(report: EncodingReport) -> list[str]:
    lines = _every_tenth("read", report.done, report.total, report.seconds_left)
    if report.done == report.total:
        lines += [f"note: {_as_line(problem)}: left out" for problem in report.problems]
        if report.recomputed:
            lines.append(f"note: {report.recomputed} clips do not fit into the cache on disk: read anew each epoch")
    return lines


def _as_metrics(evaluation: Evaluation) -> list[str]:
    """A table of metrics with standard errors, the baseline's beside them, and what that means."""
    from vjepa_demo.model.metrics import verdict

    baseline = evaluation.no_video_baseline
    lines = [f"{'':<12}{'n':>6}  {'SROCC':<16}{'PLCC':<16}{'KROCC':<16}{'RMSE':<16}no-video SROCC"]
    for name, metrics in evaluation.dimensions.items():
        numbers = "".join(f"{value!s:<16}" for value in (metrics.srocc, metrics.plcc, metrics.krocc, metrics.rmse))
        without = "" if baseline is None else str(baseline.dimensions[name].srocc)
        lines.append(f"{name:<12}{metrics.n:>6}  {numbers}{without}")
    return [*lines, verdict(evaluation)]


def _evaluate(options: argparse.Namespace) -> int:
    tell = _to_stderr if options.json else _now
    with _read(options, tell) as records:
        if not records.records:
            raise RecordError(f"{options.labels}: no row can be evaluated")
        scorer = _load_scorer(options)
        scores = list(_scores(scorer, records, tell))
        evaluation = _judge(scores, records, scorer)
    print(json.dumps(evaluation.to_dict(), indent=2) if options.json else "\n".join(_as_metrics(evaluation)))
    return 0


def _scores(scorer: Scorer, records: RecordSet, tell: Callable[..., None]) -> Iterator[dict[str, float]]:
    """The scores of each clip; every tenth clip is told."""
    begin, total = time.monotonic(), len(records.records)
    results = scorer.score_all((record.video, record.prompt) for record in records.records)
    for done, result in enumerate(results, start=1):
        if isinstance(result, DemoError):
            raise result
        for line in _every_tenth("scored", done, total, (time.monotonic() - begin) / done * (total - done)):
            tell(line)
        yield result.scores


def _judge(scores: Sequence[dict[str, float]], records: RecordSet, scorer: Scorer) -> Evaluation:
    from vjepa_demo.tasks.train import judge

    return judge(scores, records.records, scorer.trained_on)


def _to_stderr(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def _make_dataset(options: argparse.Namespace) -> int:
    from vjepa_demo.data.records import write_labels
    from vjepa_demo.procedural.clips import make_records

    if options.count < 1:
        raise RecordError(f"--count is {options.count}; a whole number from 1 up was expected")
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for record in make_records(folder, count=options.count, seed=options.seed):
        records.append(record)
        if len(records) % 10 == 0 or len(records) == options.count:
            print(f"drawn {len(records)}/{options.count} clips", flush=True)
    write_labels(folder / "labels.csv", records)
    print(f"wrote {folder / 'labels.csv'}; train on it with --procedural, so that the model says so")
    return 0


def _cache(options: argparse.Namespace) -> int:
    folder, budget_bytes = feature_cache_folder(), _cache_bytes()
    from vjepa_demo.model.features import FeatureStore, StoreSize, about_store, is_store

    store = FeatureStore(folder, budget_bytes=budget_bytes) if is_store(folder) else None  # which makes its folder
    deleted = store.clear() if store and options.clear else None
    if options.json:
        size = store.size() if store else StoreSize(0, 0)
        print(json.dumps({"folder": str(folder), **asdict(size), "budget_bytes": budget_bytes}, indent=2))
        return 0
    if deleted:
        print(f"deleted {deleted}")
    if store is None:
        print(f"no cache here: {folder} keeps nothing yet")
    else:
        print(about_store(store if budget_bytes else None).replace("`", ""))  # which marks what is typed on the page
    return 0


def _cache_bytes() -> int:
    try:
        return feature_cache_bytes()
    except ValueError as error:
        raise RecordError(str(error)) from error
