"""The command line: `python -m vjepa_demo score VIDEO... --prompt TEXT`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vjepa_demo.config import DIMENSIONS, acr_word, model_presets
from vjepa_demo.schema import DemoError, VideoScores

if TYPE_CHECKING:
    from vjepa_demo.scorer import Scorer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if anything could not be scored, 2 for a wrong call."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vjepa_demo", description="Mean opinion scores of AI-generated videos."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    score = commands.add_parser("score", help="score videos that were made from one prompt")
    score.add_argument("videos", nargs="+", metavar="VIDEO", help="a video file, anything FFmpeg decodes")
    score.add_argument("--prompt", required=True, metavar="TEXT", help="the text the videos were made from")
    score.add_argument(
        "--model",
        metavar="NAME_OR_PATH",
        help=f"{', '.join(model_presets())}, or a checkpoint folder (default: the best this machine can run)",
    )
    score.add_argument("--device", choices=("cpu", "cuda"), help="where to run (default: a GPU where there is one)")
    score.add_argument("--json", action="store_true", help="print a JSON list, one object a video")
    score.set_defaults(run=_score)
    return parser


def _score(options: argparse.Namespace) -> int:
    from vjepa_demo.scorer import check_prompt, get_scorer  # loads torch: not for --help

    prompt = check_prompt(options.prompt)
    scorer = get_scorer(options.model, options.device)
    results = [_score_one(scorer, video, prompt) for video in options.videos]
    if options.json:
        print(json.dumps([_as_dict(result) for result in results], indent=2))
    else:
        print(_as_table(scorer, results))
    return 0 if all(isinstance(result, VideoScores) for result in results) else 1


def _score_one(scorer: Scorer, video: str, prompt: str) -> VideoScores | dict[str, Any]:
    """The scores, or the object that says why there are none; the next video is scored all the same."""
    try:
        return scorer.score(video, prompt)
    except DemoError as error:
        return {
            "video": video,
            "prompt": prompt,
            "model": scorer.name,
            "trained_on": str(scorer.trained_on),
            "error": str(error),
        }


def _as_dict(result: VideoScores | dict[str, Any]) -> dict[str, Any]:
    return result.to_dict() if isinstance(result, VideoScores) else result


def _as_table(scorer: Scorer, results: Sequence[VideoScores | dict[str, Any]]) -> str:
    """A block a video, and once what the scores rest on."""
    blocks = [_as_block(result) for result in results]
    return "\n\n".join([*blocks, f"model {scorer.name} ({scorer.hardware}), trained on {scorer.trained_on}"])


def _as_block(result: VideoScores | dict[str, Any]) -> str:
    if not isinstance(result, VideoScores):
        return f"{result['video']}\n  error: {result['error']}"
    rows = [f"  {name:<12}{result.scores[name]:.2f}  {acr_word(result.scores[name])}" for name in DIMENSIONS]
    return "\n".join([result.video, *rows])
