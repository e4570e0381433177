"""What decoding ahead of encoding gains: `python benchmarks/throughput.py [FOLDER] [MODEL]`.

Scores 40 videos of FOLDER (default: the sample data set) with MODEL (default: `demo`), one after the other and with
decoding ahead, in turns, nothing remembered. Prints the seconds of each turn, the ratio of the medians, and the most
that can be gained where decoding and encoding do not take cores from each other.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, DECODE_AHEAD, VIDEO_SUFFIXES, wait_passively

wait_passively()
os.environ[CACHE_GB_VARIABLE] = "0"  # on disk nothing is remembered, in memory a new scorer has nothing

from vjepa_demo.schema import VideoScores  # noqa: E402 (torch comes after wait_passively)
from vjepa_demo.tasks.score import Scorer, load_scorer  # noqa: E402

VIDEOS, TURNS = 40, 5


def one_by_one(scorer: Scorer, videos: list[Path]) -> list[VideoScores]:
    return [scorer.score(video, "x", with_frames=False) for video in videos]


def ahead(scorer: Scorer, videos: list[Path]) -> list[VideoScores]:
    results = list(scorer.score_all((video, "x") for video in videos))
    return [result for result in results if isinstance(result, VideoScores)]


def timed(score: Callable[[Scorer, list[Path]], list[VideoScores]], model: str, videos: list[Path]) -> tuple:
    """Seconds that scoring took, and its results."""
    scorer = load_scorer(model)
    scorer.score(ASSETS / "examples" / "clean.mp4", "x")  # what only the first clip costs
    begin = time.perf_counter()
    results = score(scorer, videos)
    return time.perf_counter() - begin, results


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "sample"
    model = sys.argv[2] if len(sys.argv) > 2 else "demo"
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)[:VIDEOS]
    without, with_it = [], []
    for turn in range(TURNS):
        alone, expected = timed(one_by_one, model, videos)
        together, results = timed(ahead, model, videos)
        if [each.scores for each in results] != [each.scores for each in expected]:
            raise SystemExit("the scores differ")
        without.append(alone)
        with_it.append(together)
        print(f"turn {turn + 1}: one by one {alone:.2f} s, decoding ahead {together:.2f} s", flush=True)
    decode, encode = (sum(each.seconds[step] for each in expected) for step in ("decode", "video"))
    ratio = statistics.median(without) / statistics.median(with_it)
    print(
        f"{len(videos)} videos, {model}: decoding {DECODE_AHEAD} ahead is {ratio:.2f} times as fast; decoding takes "
        f"{decode / len(videos) * 1e3:.0f} ms a video, encoding {encode / len(videos) * 1e3:.0f} ms, so that "
        f"{(decode + encode) / max(decode, encode):.2f} is the most"
    )


if __name__ == "__main__":
    main()
