"""How much decoding ahead of encoding gains: `python -m benchmarks.throughput [FOLDER] [MODEL]`.

Scores 40 videos of FOLDER (default: the sample data set) with MODEL (default: `demo`), alternately one by one and with
decoding ahead, without a feature cache on disk. Prints the seconds of each turn, the ratio of the medians, and the
ratio that is possible if decoding and encoding never wait for each other's cores.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, DECODE_AHEAD, VIDEO_SUFFIXES, wait_passively

wait_passively()
os.environ[CACHE_GB_VARIABLE] = "0"  # no feature cache on disk

from vjepa_demo.model.checkpoint import load_checkpoint  # noqa: E402 (torch comes after wait_passively)
from vjepa_demo.model.vjepa import default_device, inference_dtype, resolve_device  # noqa: E402
from vjepa_demo.schema import VideoScores  # noqa: E402
from vjepa_demo.tasks.score import Scorer, find_checkpoint  # noqa: E402

VIDEOS, TURNS = 40, 5


def one_by_one(scorer: Scorer, videos: list[Path]) -> list[VideoScores]:
    """Scores of `videos`, each decoded when its turn comes."""
    return [scorer.score(video, "x", with_frames=False) for video in videos]


def ahead(scorer: Scorer, videos: list[Path]) -> list[VideoScores]:
    """Scores of `videos`, the next ones decoded while one is encoded."""
    results = list(scorer.score_all((video, "x") for video in videos))
    return [result for result in results if isinstance(result, VideoScores)]


def timed(score: Callable[[Scorer, list[Path]], list[VideoScores]], scorer: Scorer, videos: list[Path]) -> tuple:
    """Seconds that scoring took, and the results."""
    scorer.score(ASSETS / "examples" / "clean.mp4", "x")  # the first clip of a scorer takes longer
    begin = time.perf_counter()
    results = score(scorer, videos)
    return time.perf_counter() - begin, results


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "sample"
    name = sys.argv[2] if len(sys.argv) > 2 else "demo"
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)[:VIDEOS]
    checkpoint, device = find_checkpoint(name), resolve_device(default_device())
    model = load_checkpoint(checkpoint, device=device, dtype=inference_dtype(device))
    without, with_it = [], []
    for turn in range(TURNS):  # each time in a new scorer, which has a feature cache of its own
        alone, expected = timed(one_by_one, Scorer(name, model, checkpoint.trained_on), videos)
        together, results = timed(ahead, Scorer(name, model, checkpoint.trained_on), videos)
        if [each.scores for each in results] != [each.scores for each in expected]:
            raise SystemExit("the scores differ")
        without.append(alone)
        with_it.append(together)
        print(f"turn {turn + 1}: one by one {alone:.2f} s, decoding ahead {together:.2f} s", flush=True)
    decode, encode = (sum(each.seconds[step] for each in expected) for step in ("decode", "video"))
    ratio = statistics.median(without) / statistics.median(with_it)
    print(
        f"{len(videos)} videos, {name}: decoding {DECODE_AHEAD} ahead is {ratio:.2f} times as fast; decoding takes "
        f"{decode / len(videos) * 1e3:.0f} ms a video, encoding {encode / len(videos) * 1e3:.0f} ms, so the "
        f"largest possible gain is {(decode + encode) / max(decode, encode):.2f}"
    )


if __name__ == "__main__":
    main()
