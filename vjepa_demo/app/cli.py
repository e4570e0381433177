"""The command line: `python -m vjepa_demo score | compare | batch | train | evaluate | rate | make-dataset | cache`."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa_demo import tasks, wording
from vjepa_demo.app import cli_text
from vjepa_demo.app.cli_options import TRAIN_HELP, parser
from vjepa_demo.app.cli_rate import rate, read_clips
from vjepa_demo.config import (
    CACHE_GB_VARIABLE,
    CACHE_VARIABLE,
    DATASETS_VARIABLE,
    TABLE_SUFFIXES,
    TrainConfig,
    check_settings,
    dataset_folder,
    named_views,
    no_folder,
    wait_passively,
)
from vjepa_demo.files import exists
from vjepa_demo.schema import (
    BatchTable,
    DemoError,
    EpochReport,
    Evaluation,
    LabelSource,
    ModelError,
    RecordError,
    RecordSet,
    SplitReport,
    TrainingResult,
    check_prompt,
    to_compare,
    well_formed,
)

if TYPE_CHECKING:
    from vjepa_demo.tasks import Scorer

REPLACED = "vjepa_demo replaced"  # the name of an error handler, see `codecs.register_error`
Tell = Callable[..., None]  # takes lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if anything could not be scored, 2 for a wrong call."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    _never_fail_to_print()
    wait_passively()
    options = parser().parse_args(arguments)
    for name, variable in (("cache", CACHE_VARIABLE), ("cache_gb", CACHE_GB_VARIABLE)):
        if getattr(options, name, None) is not None:
            os.environ[variable] = getattr(options, name)  # for this process and those that it starts
    try:
        check_settings()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        status = COMMANDS[options.command](options)
        sys.stdout.flush()
        return status
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # the status that shells use for Ctrl-C
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # the status that shells use for SIGPIPE
    except OSError as error:  # a full disk, a folder of others: nothing that a traceback would help with
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def _never_fail_to_print() -> None:
    """Print U+FFFD, or a question mark, for what the terminal or the file behind it cannot hold: parts of file names
    that are no UTF-8, and most signs in an old encoding."""

    def replacement(error: UnicodeError) -> tuple[str | bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        signs = error.end - error.start
        try:
            return ("\ufffd" * signs).encode(error.encoding), error.end
        except UnicodeEncodeError:
            return "?" * signs, error.end

    codecs.register_error(REPLACED, replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=REPLACED)


# ---- what commands share ---------------------------------------------------------------------------------------------


def _is_first() -> bool:
    """Whether this process speaks for all that `accelerate launch` or `torchrun` started; known without torch."""
    return os.environ.get("RANK", "0") == "0"


def _num_launched() -> int:
    """How many processes `accelerate launch` or `torchrun` started; known without torch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _teller(*, to_stderr: bool = False) -> Tell:
    """Prints lines at once, in the first process of a launch alone."""

    def tell(*lines: str) -> None:
        if lines and _is_first():
            print(*lines, sep="\n", file=sys.stderr if to_stderr else sys.stdout, flush=True)

    return tell


def _load_scorer(options: argparse.Namespace) -> Scorer:
    """The scorer that `options` ask for. This loads torch: call it once nothing else is wrong with the call."""
    tasks.prepare_decoding()
    _say_loading(options)
    _check_device(options)
    device = options.device
    if _num_launched() > 1 and device != "cpu":
        device = tasks.training_device()  # each process has a GPU of its own
    return tasks.get_scorer(options.model, device, token=None)


def _say_loading(options: argparse.Namespace) -> None:
    if not getattr(options, "json", False):
        _teller(to_stderr=True)("loading the model ...")


def _encoding_told(options: argparse.Namespace, scorer: Scorer, num_clips: int) -> Callable[[str], None]:
    """Called with each step of scoring `num_clips` clips: as the first is encoded, it says how long that takes here,
    where it is long. Clips that are known from the cache are not encoded."""
    is_told = bool(options.json)

    def on_step(step: str) -> None:
        nonlocal is_told
        if step == "video" and not is_told:
            is_told = True
            _teller(to_stderr=True)(
                *filter(None, [wording.encoding_time(scorer.expected_seconds(num_clips), num_clips)])
            )

    return on_step


def _check_device(options: argparse.Namespace) -> None:
    """
    Raises:
        ModelError: if `options` ask for a GPU and there is none.
    """
    if options.device == "cuda" and tasks.default_device() != "cuda":
        raise ModelError("--device cuda: no GPU that CUDA can use was found here; leave it out, or give --device cpu")


@contextmanager
def _checked_labels(options: argparse.Namespace, tell: Tell) -> Iterator[RecordSet]:
    """The usable rows of LABELS, each video opened, after telling what is used and what is wrong with the others.

    What comes out of a zip is deleted afterwards; what comes from the Hub is kept.
    """
    if options.videos is None and any(name.lower().endswith(TABLE_SUFFIXES) or exists(name) for name in options.labels):
        raise RecordError(
            f"{wording.listed(options.labels)} needs --videos DIR_OR_ZIP; only OWNER/NAME, a data set on the Hub, "
            "brings its own videos"
        )
    fetched = dataset_folder()
    if options.videos is None and fetched is None:
        raise RecordError(f"data sets from the Hub have no place to go: {no_folder(DATASETS_VARIABLE)}")
    tasks.prepare_decoding()
    with tempfile.TemporaryDirectory() as folder:
        for report in tasks.check_labels(
            options.labels,
            options.videos,
            extract_to=fetched if options.videos is None and fetched else folder,
            label_range=options.label_range,
            token=None,
        ):
            tell(*cli_text.report_lines(report))
            if isinstance(report, RecordSet):
                yield report


# ---- commands --------------------------------------------------------------------------------------------------------


def _score(options: argparse.Namespace) -> int:
    prompt = check_prompt(options.prompt)
    scorer = _load_scorer(options)
    answers, status = [], 0
    origin = {"model": scorer.name, "trained_on": str(scorer.trained_on)}
    requests = ((video, prompt) for video in options.videos)
    results = scorer.score_all(requests, on_step=_encoding_told(options, scorer, len(options.videos)))
    for video, result in zip(options.videos, results, strict=True):
        if isinstance(result, DemoError):
            status = 1
            answers.append({"video": well_formed(video), "prompt": prompt, **origin, "error": str(result)})
            lines = [video, f"  error: {result}"]
        else:
            answers.append(result.to_dict())
            lines = cli_text.score_lines(video, result)
        if not options.json:
            print(*lines, "", sep="\n", flush=True)
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        _print_model(scorer)
    return status


def _print_model(scorer: Scorer) -> None:
    print(*cli_text.model_lines(scorer.name, scorer.hardware, scorer.trained_on), sep="\n")


def _compare(options: argparse.Namespace) -> int:
    clips = to_compare(options.videos, options.prompt)
    scorer = _load_scorer(options)
    comparison = scorer.compare(clips, on_step=_encoding_told(options, scorer, len(clips)))
    if options.json:
        print(json.dumps(comparison.to_dict(), indent=2))
    else:
        print(*cli_text.comparison_lines(comparison), sep="\n")
        _print_model(scorer)
    return 0


def _batch(options: argparse.Namespace) -> int:
    tell = _teller(to_stderr=options.json)
    with _batch_table(options) as table:
        tell(*cli_text.noted(table.notes))
        scorer = _load_scorer(options)
        num_rows = 1 if options.resume else sum(row.problem is None for row in table.rows)
        tell(*filter(None, [wording.encoding_time(scorer.expected_seconds(num_rows), num_rows)]))
        try:
            reports = tasks.run_batch(scorer, table, options.out, resume=options.resume)
            results = [report.result for report in cli_text.told_rows(reports, tell)]
        except KeyboardInterrupt:
            tell(f"the rows scored so far are in {options.out}: resume with --resume")
            raise
        if not _is_first():
            return 0
        summary = tasks.summarise_batch(results, scorer.trained_on)
    if options.json:
        model = {"model": scorer.name, "trained_on": str(scorer.trained_on)}
        run = {"out": well_formed(options.out), **model, "beats_baseline": scorer.trained_on.beats_baseline}
        print(json.dumps(run | summary.to_dict(), indent=2))
    else:
        print("", *cli_text.summary_lines(summary), "", sep="\n")
        _print_model(scorer)
        print(f"wrote {options.out}")
    return 1 if summary.all.num_errors else 0


@contextmanager
def _batch_table(options: argparse.Namespace) -> Iterator[BatchTable]:
    """What is to be scored, the same in each process; what comes out of a zip is deleted afterwards."""
    if _num_launched() == 1:
        with tempfile.TemporaryDirectory() as folder:
            yield _read_batch(options, Path(folder))
        return
    # Several processes, perhaps of several machines, share the disk of the output, not this machine's /tmp.
    shared = Path(options.out).absolute().with_name(f".{Path(options.out).name}.videos")
    try:
        yield tasks.from_main_process(lambda: _read_batch(options, shared))
    finally:
        if _is_first():
            shutil.rmtree(shared, ignore_errors=True)


def _read_batch(options: argparse.Namespace, folder: Path) -> BatchTable:
    tasks.check_out(Path(options.out), resume=options.resume)
    return read_clips(options, folder, label_range=options.label_range)


def _train(options: argparse.Namespace) -> int:
    tell = _teller()
    _check_device(options)
    try:
        config = TrainConfig(**{name: getattr(options, name) for name in (*TRAIN_HELP, "scope", "train_text")})
    except ValueError as error:
        raise RecordError(str(error)) from error
    if options.bootstrap:
        _bootstrap(options, config, tell)
        return 0
    if options.views is not None:
        raise RecordError("--views belongs to --bootstrap: the views of a trained model are part of the model")
    if not options.labels:
        raise RecordError(
            "train needs LABELS.csv and --videos DIR_OR_ZIP (or --bootstrap, which needs no labels), "
            "or OWNER/NAME of a data set on the Hub"
        )
    if options.out is None and not options.check:
        raise RecordError("train needs --out DIR, the folder of the checkpoint")
    kind: LabelSource = "human" if options.human else "procedural" if options.procedural else "undeclared"
    _reserve(options)
    with _checked_labels(options, tell) as records:
        reports = tasks.fine_tune(
            options.model or tasks.default_model(),
            records,
            config,
            options.out or "",  # not used by --check
            description=wording.listed(
                [name if options.videos is None else Path(name).name for name in options.labels]
            ),
            kind=kind,
            device=options.device,
            resume=options.resume,
            token=None,
        )
        has_epoch = options.resume
        try:
            for report in reports:
                has_epoch |= isinstance(report, EpochReport)
                tell(*cli_text.report_lines(report))
                if isinstance(report, SplitReport):
                    if options.check:
                        break
                    _say_loading(options)
        except KeyboardInterrupt:
            if has_epoch:
                tell(f"the epochs so far are in {options.out}: resume with --resume")
            raise
    if not options.check:
        _push(options, options.out, tell)
    return 0


def _reserve(options: argparse.Namespace) -> None:
    """Of a repository that cannot be written, a person hears before the training."""
    if options.push is not None and not options.check and _is_first():
        tasks.reserve_checkpoint(options.push, token=None)


def _push(options: argparse.Namespace, folder: str | Path, tell: Tell) -> None:
    if options.push is not None and _is_first():
        tell(f"pushed to {tasks.push_checkpoint(folder, options.push, token=None, private=True)}")


def _bootstrap(options: argparse.Namespace, config: TrainConfig, tell: Tell) -> None:
    if options.model is None:
        raise RecordError("--bootstrap needs --model vitl or --model vitg, the model whose first head it trains")
    if options.labels or options.videos or options.resume or options.scope != "head" or options.train_text:
        raise RecordError(
            "--bootstrap draws its own clips and trains a new head: leave out LABELS, --videos, --resume, --scope and "
            "--train-text"
        )
    if options.count < 2:
        raise RecordError(f"--count is {options.count}; some hundred clips are needed to learn from")
    try:
        views = named_views(options.views) if options.views is not None else None
    except ValueError as error:
        raise RecordError(f"--{error}") from error
    _reserve(options)
    tell(
        f"{options.model}: a first head from {options.count} procedural clips. 1. draw the clips, 2. encode them, "
        f"3. learn from them for {config.epochs} epochs"
    )
    for report in tasks.bootstrap_head(
        options.model, options.out, config, count=options.count, device=options.device, views=views
    ):
        tell(*cli_text.report_lines(report))
        if isinstance(report, TrainingResult):
            _push(options, report.folder, tell)


def _evaluate(options: argparse.Namespace) -> int:
    tell = _teller(to_stderr=options.json)
    with _checked_labels(options, tell) as records:
        scorer, num_clips = _load_scorer(options), len(records.clips)
        tell(*filter(None, [wording.encoding_time(scorer.expected_seconds(num_clips), num_clips)]))
        for report in tasks.evaluate_model(scorer, records):
            if not isinstance(report, Evaluation):
                tell(*cli_text.report_lines(report))
            elif options.json:
                print(json.dumps(report.to_dict(), indent=2))
            else:
                print(*cli_text.metric_lines(report), sep="\n")
                _print_model(scorer)
    return 0


def _make_dataset(options: argparse.Namespace) -> int:
    tell = _teller()
    for report in tasks.make_dataset(options.folder, count=options.count, seed=options.seed):
        tell(*cli_text.report_lines(report))
    print(f"wrote {Path(options.folder) / 'labels.csv'}; train on it with --procedural, so that the model card says so")
    return 0


def _cache(options: argparse.Namespace) -> int:
    held = tasks.cache_size(clear=options.clear)
    cache = replace(held, num_files=0, num_bytes=0) if options.clear else held
    if options.json:
        print(json.dumps(asdict(cache) | {"folder": cache.folder and well_formed(str(cache.folder))}, indent=2))
        return 0
    if options.clear:
        print(f"deleted {wording.counted(held.num_files, 'file')}, {wording.bytes_text(held.num_bytes)}")
    about = wording.about_cache(cache.folder, cache.num_files, cache.num_bytes, cache.budget_bytes)
    print(about.replace("`", ""))  # the page shows it as Markdown
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "score": _score,
    "compare": _compare,
    "batch": _batch,
    "train": _train,
    "evaluate": _evaluate,
    "rate": rate,
    "make-dataset": _make_dataset,
    "cache": _cache,
}
