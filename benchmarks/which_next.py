"""Whether it pays to choose which clip is rated next: the tables of docs/which-next.md.

    python -m benchmarks.which_next --clips FOLDER --table labels.csv [--model demo] [--seeds 10]

For each seed a quarter of the clips, whole prompts, is held out. From the others each strategy takes one clip after
another; a label is all labels that the table has for the clip. After 20, 50 and 100 labels (as far as there are so
many) a head learns from them, and is judged on the held-out clips. The program prints the mean SROCC of the dimensions
that have at least five held-out labels, with the standard error over the seeds, and how far it is above random order with the same seed. The seeds share the
clips: the errors say how much the split matters, not how another set of clips would do.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from vjepa_demo.config import wait_passively

wait_passively()

import numpy as np
from scipy import stats

from vjepa_demo.data.records import read_records
from vjepa_demo.model.ridge import deal
from vjepa_demo.schema import VideoRecord
from vjepa_demo.schema.learning import Strategy
from vjepa_demo.tasks.learn import Learner

logger = logging.getLogger(__name__)

SIZES = (20, 50, 100)
HELD_OUT = 4  # one of so many parts
MIN_JUDGED = 5  # held-out labels; the scores of fewer are all cut to one end of the scale now and then


def split(clips: Sequence[VideoRecord], seed: int) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """The clips to choose from, shuffled, and those to judge with; no prompt is in both."""
    folds = deal([clip.prompt_key for clip in clips], HELD_OUT, seed=seed)
    pool = [clip for clip, fold in zip(clips, folds, strict=True) if fold]
    order = np.random.default_rng(seed).permutation(len(pool))
    return [pool[place] for place in order], [clip for clip, fold in zip(clips, folds, strict=True) if not fold]


def sroccs(learner: Learner, rated: Sequence[VideoRecord], judged: Sequence[VideoRecord]) -> dict[str, float]:
    """The SROCC of each dimension that `judged` has labels for, of what the model scores without and with `rated`."""
    scores = learner.scores(rated, judged)
    found = {}
    for name in dict.fromkeys(name for clip in judged for name in clip.labels):
        pairs = [
            (each[name], clip.labels[name]) for each, clip in zip(scores, judged, strict=True) if name in clip.labels
        ]
        if len(pairs) >= MIN_JUDGED:
            found[name] = float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    return found


def one_run(learner: Learner, clips: Sequence[VideoRecord], strategy: Strategy, seed: int) -> dict[int, float]:
    """The mean SROCC over the dimensions after each number of labels; 0 is the model as it is."""
    pool, judged = split(clips, seed)
    rated: list[VideoRecord] = []
    found = {0: float(np.mean(list(sroccs(learner, [], judged).values())))}
    for size in SIZES:
        while pool and len(rated) < size:
            rated.append(pool.pop(learner.choose(pool, rated, strategy, seed=seed)))
        if len(rated) == size:
            found[size] = float(np.mean(list(sroccs(learner, rated, judged).values())))
    return found


def shown(values: Sequence[float]) -> str:
    """Mean and standard error of `values`, one a seed."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--table", type=Path, required=True, help="table of their labels")
    parser.add_argument("--model", default="demo", help="preset or folder of a checkpoint")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    clips = read_records(options.table, options.clips).records
    learner = Learner(options.model)
    for report in learner.encode(clips):
        if report.done % 50 == 0:
            logger.info("encoded %d of %d clips", report.done, report.total)
    clips = [clip for clip in clips if learner.knows(clip)]
    runs: dict[str, list[dict[int, float]]] = {}
    for strategy in get_args(Strategy):
        runs[strategy] = [one_run(learner, clips, strategy, seed) for seed in range(options.seeds)]
        logger.info("%s done", strategy)
    sizes = [size for size in SIZES if all(size in run for run in runs["random"])]
    print(f"{len(clips)} clips; without ratings {shown([run[0] for run in runs['random']])}\n")
    print(f"| strategy |{''.join(f' {size} labels | over random |' for size in sizes)}")
    print(f"| --- |{' --- | --- |' * len(sizes)}")
    for strategy, found in runs.items():
        cells = []
        for size in sizes:
            gains = [run[size] - other[size] for run, other in zip(found, runs["random"], strict=True)]
            cells += [shown([run[size] for run in found]), "" if strategy == "random" else shown(gains)]
        print(f"| {strategy} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
