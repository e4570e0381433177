"""The command line: `python -m vjepa_demo score VIDEO... --prompt TEXT`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vjepa_demo.config import acr_word, model_presets, wait_passively
from vjepa_demo.schema import DemoError

if TYPE_CHECKING:
    from vjepa_demo.scorer import Scorer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if anything could not be scored, 2 for a wrong call."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    wait_passively()
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
    answers = []
    for video in options.videos:
        answers.append(_score_one(scorer, video, prompt))
        if not options.json:
            print(_as_block(answers[-1]), end="\n\n", flush=True)
    if options.json:
        print(json.dumps(answers, indent=2))
    else:
        print(f"model {scorer.name} ({scorer.hardware}), trained on {scorer.trained_on}")
    return 1 if any("error" in answer for answer in answers) else 0


def _score_one(scorer: Scorer, video: str, prompt: str) -> dict[str, Any]:
    """The scores, or the object that says why there are none; the next video is scored all the same."""
    try:
        return scorer.score(video, prompt).to_dict()
    except DemoError as error:
        return {
            "video": video,
            "prompt": prompt,
            "model": scorer.name,
            "trained_on": str(scorer.trained_on),
            "error": str(error),
        }


def _as_block(answer: dict[str, Any]) -> str:
    """A video and its scores, or why it has none."""
    if "error" in answer:
        return f"{answer['video']}\n  error: {answer['error']}"
    rows = [f"  {name:<12}{score:.2f}  {acr_word(score)}" for name, score in answer["scores"].items()]
    return "\n".join([answer["video"], *rows])
