"""The command line's `rate`: make a study, export its ratings, see what its raters say."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vjepa_demo import tasks, wording
from vjepa_demo.app.cli_text import noted, report_lines
from vjepa_demo.config import DIMENSIONS, STUDIES_VARIABLE, TABLE_SUFFIXES
from vjepa_demo.schema import BatchTable, RecordError
from vjepa_demo.schema.rating import DimensionRatings, PairRatings, Statistic, StudyMade, StudyStatistics


def add_rate(commands: Any) -> None:
    """Add `rate new | export | stats` to the commands of the command line."""
    rate = commands.add_parser("rate", help="make a study that people rate, and use what they answered")
    meaning = "make a study, export its tables, or show what they say"
    steps = rate.add_subparsers(title="steps", dest="step", required=True, metavar="STEP", help=meaning)

    new = steps.add_parser("new", help="make a study: a folder with the clips and what is asked about them")
    new.add_argument(
        "inputs",
        nargs="+",
        metavar="CLIPS",
        help="a table (CSV, TSV, XLSX, JSON, JSONL, Parquet) with a column of videos and a column of prompts; or "
        "videos, folders of videos, or zips",
    )
    new.add_argument("--videos", metavar="DIR_OR_ZIP", help="where the videos of the table are (default: its folder)")
    new.add_argument("--prompt", metavar="TEXT", help="the prompt of all videos, where no column holds prompts")
    new.add_argument("--out", required=True, metavar="STUDY", help="folder of the study, new or empty")
    new.add_argument("--title", default="", metavar="TEXT", help="what raters and owner call the study")
    new.add_argument("--overall", action="store_true", help="ask for Overall alone, not for all five dimensions")
    new.add_argument("--pairs", action="store_true", help="ask which of two clips of one prompt is better")
    new.add_argument("--seed", type=int, default=0, metavar="S", help="random seed of the raters' orders (default: 0)")

    export = steps.add_parser("export", help="write what was answered as tables that `train` reads")
    export.add_argument("study", metavar="STUDY", help="folder of the study")
    export.add_argument("--out", required=True, metavar="DIR", help="folder for the tables, new or empty")
    export.add_argument("--plain", action="store_true", help="labels are plain means, with the biases of the raters")
    export.add_argument("--with-videos", action="store_true", help="copy the clips too: the folder is a data set then")

    stats = steps.add_parser("stats", help="show the scores of the clips, and how far the raters agree")
    stats.add_argument("study", metavar="STUDY", help="folder of the study")
    stats.add_argument("--json", action="store_true", help="print one JSON object, with the score of each clip")


def rate(options: argparse.Namespace) -> int:
    """Run a step of `rate`; returns the exit status."""
    steps: dict[str, Callable[[argparse.Namespace], None]] = {"new": _new, "export": _export, "stats": _stats}
    steps[options.step](options)
    return 0


def read_clips(
    options: argparse.Namespace, extract_to: Path, *, label_range: tuple[float, float] | None = None
) -> BatchTable:
    """The table of `options.inputs` with its videos, or videos with `options.prompt`.

    Raises:
        RecordError: if they are neither, or cannot be used.
    """
    if any(name.lower().endswith(TABLE_SUFFIXES) for name in options.inputs):
        if len(options.inputs) > 1:
            raise RecordError(
                f"{options.command} needs one TABLE.csv, and its --videos DIR_OR_ZIP; or videos and --prompt TEXT"
            )
        return tasks.read_batch(
            options.inputs[0], options.videos, prompt=options.prompt, label_range=label_range, extract_to=extract_to
        )
    if options.videos is not None or options.prompt is None or label_range:
        raise RecordError(
            "videos alone need --prompt TEXT, and neither --videos nor --label-range; "
            f"a table ends in {', '.join(TABLE_SUFFIXES)}"
        )
    return tasks.batch_of_files(options.inputs, options.prompt, extract_to=extract_to)


def _new(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for report in tasks.make_study(
            read_clips(options, Path(folder)),
            options.out,
            title=options.title,
            kind="pairs" if options.pairs else "clips",
            dimensions=("Overall",) if options.overall else DIMENSIONS,
            seed=options.seed,
        ):
            if isinstance(report, StudyMade):
                study = report.study
                pairs = f", {wording.counted(len(study.pairs), 'pair')} to compare" if study.pairs else ""
                print(*noted(report.notes), sep="\n", end="\n" if report.notes else "")
                print(f"“{study.title}”: {wording.counted(len(study.clips), 'clip')}{pairs}, in {report.folder}")
                setting = f"{STUDIES_VARIABLE}={Path(report.folder).absolute().parent}"
                print(f"To rate it, start the page with {setting} and add /?study={study.id} to its address.")
            else:
                print(*report_lines(report), sep="\n", end="\n" if report_lines(report) else "", flush=True)


def _export(options: argparse.Namespace) -> None:
    study = tasks.open_study(options.study)
    for file in study.export(options.out, plain=options.plain, videos=options.with_videos):
        print(f"wrote {file}")


def _stats(options: argparse.Namespace) -> None:
    found = tasks.open_study(options.study).statistics()
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        print(*statistics_lines(found), sep="\n")


def statistics_lines(found: StudyStatistics) -> Iterator[str]:
    """What a study's raters say: a paragraph a dimension with a line a rater, then what the owner must know."""
    answers = wording.counted(found.num_answers, "answer")
    yield (
        f"“{found.title}”: {wording.counted(found.num_clips, 'clip')}, {wording.counted(found.num_raters, 'rater')}, "
        f"{answers}{', ended' if found.ended else ''}"
    )
    for name, of_clips in found.dimensions.items():
        yield from _clip_lines(name, of_clips)
    for name, of_pairs in found.pairs.items():
        yield from _pair_lines(name, of_pairs)
    yield from noted(found.notes)


def _clip_lines(name: str, found: DimensionRatings) -> Iterator[str]:
    rated = len(found.clips)
    widths = [clip.half_width.value for clip in found.clips if clip.half_width.value is not None]
    sure = f", each ± {sum(widths) / len(widths):.2f} (95 %, on average)" if widths else ""
    yield ""
    yield f"{name}: {wording.counted(rated, 'clip')} with a score{sure}"
    yield f"  a rater's agreement with themselves {found.self_correlation}; of the mean scores {found.reliability}"
    yield f"  the highest correlation that a perfect model would reach with these scores {found.ceiling}"
    yield f"  {'rater':<20}{'ratings':>8}{'bias':>7}{'inconsistency':>15}{'self':>7}{'difference':>12}"
    for each in found.raters:
        numbers = (each.bias, each.inconsistency, each.self_correlation, each.self_difference)
        yield _rater_line(each.rater, each.num_ratings, numbers, widths=(7, 15, 7, 12))
    whys = {number.why for each in found.raters for number in (each.bias, each.inconsistency, each.self_correlation)}
    yield from (f"  -: {why}" for why in sorted(whys - {""}))


def _pair_lines(name: str, found: PairRatings) -> Iterator[str]:
    yield ""
    yield f"{name}: {wording.counted(found.num_answers, 'answer')}"
    yield f"  a rater's agreement with themselves {found.self_agreement}; between raters {found.agreement}"
    yield f"  {'rater':<20}{'answers':>8}{'same':>7}{'left':>7}{'self':>7}{'others':>8}"
    for each in found.raters:
        numbers = (each.same_share, each.left_share, each.self_agreement, each.agreement)
        yield _rater_line(each.rater, each.num_answers, numbers, widths=(7, 7, 7, 8))


def _rater_line(rater: str, num_answers: int, numbers: Sequence[Statistic], *, widths: Sequence[int]) -> str:
    """A row of the table of raters; a dash stands for a number that is undefined."""
    texts = ("-" if number.value is None else f"{number.value:.2f}" for number in numbers)
    cells = "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
    return f"  {wording.shortened(rater, 19):<20}{num_answers:>8}{cells}"
