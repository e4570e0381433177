"""Whether it pays to choose which clip is rated next: the tables of docs/which-next.md.

    python -m benchmarks.which_next --clips FOLDER --table labels.csv [--model demo] [--seeds 10]

For each seed the clips are dealt into four parts by prompt, and each part is held out once. From the others each
strategy takes one clip after another; a label is all labels that the table has for the clip. After 20, 50 and 100
labels (as far as there are so many) a head learns from them, and scores the held-out clips. All held-out scores
together give the SROCC of each dimension. The program prints the mean over the dimensions, with the standard error over
the seeds, and how far it is above random order with the same seed. The seeds share the clips: the errors say how much
the order and the parts matter, not how another set of clips would do.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from vjepa_demo.config import DIMENSIONS, wait_passively

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
PARTS = 4
Scores = list[dict[str, float]]


def mean_srocc(scores: Scores, clips: Sequence[VideoRecord]) -> float:
    """The SROCC of `scores` with the labels of `clips`, averaged over the dimensions that have labels."""
    sroccs = []
    for name in dict.fromkeys(name for clip in clips for name in clip.labels):
        own = ((each, clip) for each, clip in zip(scores, clips, strict=True) if name in clip.labels)
        labelled = [(each[name], clip.labels[name]) for each, clip in own]
        sroccs.append(stats.spearmanr(*zip(*labelled, strict=True)).statistic)
    return float(np.mean(sroccs))


def one_run(learner: Learner, clips: Sequence[VideoRecord], strategy: Strategy, seed: int) -> dict[int, float]:
    """The mean SROCC after each number of labels that all parts have clips for; 0 is the model as it is."""
    folds = deal([clip.prompt_key for clip in clips], PARTS, seed=seed)
    sizes = [0, *(size for size in SIZES if size <= len(clips) - np.bincount(folds).max())]
    scores: dict[int, Scores] = {size: [{}] * len(clips) for size in sizes}
    for fold in range(folds.max() + 1):
        judged = np.flatnonzero(folds == fold).tolist()
        pool = [clips[row] for row in np.random.default_rng(seed).permutation(np.flatnonzero(folds != fold))]
        rated: list[VideoRecord] = []
        for size in sizes:
            while len(rated) < size:
                rated.append(pool.pop(learner.choose(pool, rated, strategy, seed=seed)))
            for row, each in zip(judged, learner.scores(rated, [clips[row] for row in judged]), strict=True):
                scores[size][row] = each
    return {size: mean_srocc(each, clips) for size, each in scores.items()}


def shown(values: Sequence[float]) -> str:
    """Mean and standard error of `values`, one a seed."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--table", type=Path, required=True, help="table of their labels")
    parser.add_argument("--model", default="demo", help="preset or folder of a checkpoint")
    parser.add_argument("--dimensions", nargs="+", choices=DIMENSIONS, default=DIMENSIONS, help="labels to use")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    records = read_records(options.table, options.clips).records
    kept = [{name: value for name, value in each.labels.items() if name in options.dimensions} for each in records]
    clips = [replace(clip, labels=labels) for clip, labels in zip(records, kept, strict=True) if labels]
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
