"""The options of each command of the command line, and the help texts that explain them."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from vjepa_demo.app.cli_rate import add_rate
from vjepa_demo.config import (
    BOOTSTRAP_CLIPS,
    MAX_COMPARED,
    MIN_COMPARED,
    Scope,
    TrainConfig,
    feature_cache_folder,
    model_presets,
)

TRAIN_HELP = {
    "epochs": "how often each clip is learned from, at most",
    "batch_size": "how many clips are learned from at a time; fewer take less memory",
    "learning_rate": "base learning rate; a smaller one is slower and steadier",
    "accumulate": "how many batches make up one step, as if they were one larger batch",
    "patience": "stop after N epochs without improvement",
    "validation_fraction": "share of the clips to validate with, which are not learned from; 0 for none",
    "seed": "random seed for split and order",
}


def parser() -> argparse.ArgumentParser:
    """What `python -m vjepa_demo` takes; the name of the command is in `command`."""
    whole = argparse.ArgumentParser(
        prog="python -m vjepa_demo", description="Mean opinion scores of AI-generated videos."
    )
    commands = whole.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")

    score = commands.add_parser("score", help="score videos that were made from one prompt")
    score.add_argument("videos", nargs="+", metavar="VIDEO", help="a video file in any format that FFmpeg decodes")
    score.add_argument("--prompt", required=True, metavar="TEXT", help="the text that the videos were made from")
    _add_model(score)
    score.add_argument("--json", action="store_true", help="print a JSON list with one object a video")

    compare = commands.add_parser("compare", help="score two to four videos side by side")
    videos_help = f"{MIN_COMPARED} to {MAX_COMPARED} video files; the others are compared with the first"
    compare.add_argument("videos", nargs="+", metavar="VIDEO", help=videos_help)
    compare.add_argument(
        "--prompt",
        action="append",
        required=True,
        metavar="TEXT",
        help="the text that the videos were made from; may be repeated: once for all videos, or once for each of them",
    )
    _add_model(compare)
    compare.add_argument("--json", action="store_true", help="print one JSON object, which the Compare tab also opens")

    _add_batch(commands)
    _add_train(commands)

    evaluate = commands.add_parser("evaluate", help="measure how well a model agrees with labels")
    _add_labels(evaluate, optional=False)
    _add_model(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")

    add_rate(commands)

    make = commands.add_parser("make-dataset", help="draw procedural clips and write their labels.csv")
    make.add_argument("folder", metavar="DIR", help="folder for the clips and labels.csv; created if it is missing")
    make.add_argument("--count", type=int, required=True, metavar="N", help="how many clips to draw")
    make.add_argument(
        "--seed", type=int, default=0, metavar="S", help="random seed: the same seed draws the same clips (default: 0)"
    )

    cache = commands.add_parser("cache", help="show where the feature cache is and how large it is, or clear it")
    _add_cache_flags(cache)
    cache.add_argument("--clear", action="store_true", help="delete all cached features")
    cache.add_argument("--json", action="store_true", help="print one JSON object: folder, files and bytes")
    return whole


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        metavar="NAME_OR_PATH",
        help=f"{', '.join(model_presets())}, a checkpoint folder, or OWNER/NAME of a checkpoint on the Hub "
        "(default: the best that this machine can run)",
    )
    command.add_argument("--device", choices=("cpu", "cuda"), help="where to run (default: a GPU where there is one)")
    _add_cache_flags(command)


def _add_cache_flags(command: argparse.ArgumentParser) -> None:
    folder = feature_cache_folder() or "none, as this user has no home folder"
    folder = str(folder).replace("%", "%%")  # argparse formats a help text with %
    command.add_argument("--cache", metavar="DIR", help=f"folder of the feature cache (default: {folder})")
    command.add_argument(
        "--cache-gb", metavar="N", help="size limit of the feature cache, 0 for no cache (default: 20, or a fifth)"
    )


def _add_labels(command: argparse.ArgumentParser, *, optional: bool) -> None:
    command.add_argument(
        "labels",
        metavar="LABELS",
        nargs="*" if optional else "+",
        help="table of labels or of pairs (CSV, TSV, XLSX, JSON, JSONL, Parquet), or one of each; or, without "
        "--videos, OWNER/NAME of a data set on the Hub",
    )
    command.add_argument("--videos", metavar="DIR_OR_ZIP", help="where the videos of the table are")
    _add_label_range(command)


def _add_label_range(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--label-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="range of the labels (default: detected)"
    )


def _add_batch(commands: Any) -> None:
    batch = commands.add_parser("batch", help="score all videos of a table, or of one prompt, into one CSV")
    batch.add_argument(
        "inputs",
        nargs="+",
        metavar="TABLE_OR_VIDEO",
        help="a table (CSV, TSV, XLSX, JSON, JSONL, Parquet) with a column of videos and a column of prompts, whose "
        "other columns are kept; or videos, or folders of videos",
    )
    batch.add_argument(
        "--videos",
        metavar="DIR_OR_ZIP",
        help="where the videos of the table are (default: the folder of the table, and absolute paths in the table)",
    )
    batch.add_argument("--prompt", metavar="TEXT", help="the prompt of all videos, where no column holds prompts")
    batch.add_argument("--out", required=True, metavar="SCORES.csv", help="a new file, which is written row by row")
    batch.add_argument(
        "--resume", action="store_true", help="resume SCORES.csv: score the rows that have no scores yet"
    )
    _add_model(batch)
    _add_label_range(batch)
    batch.add_argument("--json", action="store_true", help="print the summary as one JSON object, the rest to stderr")


def _add_train(commands: Any) -> None:
    defaults = TrainConfig()
    train = commands.add_parser("train", help="fine-tune a model on labelled videos")
    _add_labels(train, optional=True)
    _add_model(train)
    train.add_argument(
        "--out", metavar="DIR", help="folder of the checkpoint (default with --bootstrap: where the model looks for it)"
    )
    train.add_argument(
        "--scope",
        choices=get_args(Scope),
        default=defaults.scope,
        help="what learns: the head alone, or the head and the top layers of the video encoder, which takes longer "
        f"(default: {defaults.scope})",
    )
    train.add_argument("--train-text", action="store_true", help="train the text encoder too, which takes longer")
    for name, meaning in TRAIN_HELP.items():
        default = getattr(defaults, name)
        flag, text = f"--{name.replace('_', '-')}", f"{meaning} (default: {default})"
        train.add_argument(flag, type=type(default), default=default, metavar="N", help=text)
    source = train.add_mutually_exclusive_group()
    source.add_argument("--human", action="store_true", help="the labels were given by people; the model card says so")
    source.add_argument("--procedural", action="store_true", help="the labels were computed; the model card says so")
    train.add_argument(
        "--push", metavar="OWNER/NAME", help="push the checkpoint to this private repository on the Hub when it is done"
    )
    train.add_argument("--check", action="store_true", help="only show which rows would be used, and which would not")
    train.add_argument("--resume", action="store_true", help="resume the run in DIR that was killed")
    train.add_argument("--bootstrap", action="store_true", help="train the first head of vitl or vitg without labels")
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
        help="what --bootstrap shows the encoder of a video: one or more names between commas. centre: the centre of "
        "the shrunken frame, over the whole clip; whole: the whole frame, 16 frames of the clip; dense: 16 frames in a "
        "row; native: pieces at full resolution. Each view takes time of its own (default: centre)",
    )
