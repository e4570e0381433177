"""What a person's own labels bring: SROCC on held-out prompts before and after, for each way of learning from them.

    python -m benchmarks.own_labels --clips FOLDER --table labels.csv [--ways ridge head chosen top] [--seed 0]

The clips are dealt into five splits by prompt. For each split every way learns from the other four, sees none of the
held-out clips before it is judged (no epoch is chosen by them), and scores them. `ridge` is what learns while a person
rates (`tasks/learn.py`). `head` and `top` are the scopes of fine-tuning with the default settings. `chosen` is scope
head with the one of `SETTINGS` that has the least squared error in three folds by prompt within the training part.

The program prints the SROCC over all held-out scores, with a bootstrap standard error over prompts (1,000 resamples),
and the median over the splits of the gain within a split.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vjepa_demo.config import DIMENSIONS, TrainConfig, wait_passively

wait_passively()

import numpy as np
from scipy import stats

from vjepa_demo.data.records import read_records
from vjepa_demo.model.checkpoint import load_base
from vjepa_demo.model.features import feature_cache
from vjepa_demo.model.ridge import deal
from vjepa_demo.schema import TrainingData, VideoRecord
from vjepa_demo.tasks.learn import Learner
from vjepa_demo.tasks.score import load_scorer
from vjepa_demo.tasks.train import train

logger = logging.getLogger(__name__)

SPLITS, INNER_SPLITS, RESAMPLES = 5, 3, 1000
SETTINGS = (  # the first is the default
    TrainConfig(),
    TrainConfig(epochs=5),
    TrainConfig(epochs=60),
    TrainConfig(learning_rate=1e-4),
    TrainConfig(learning_rate=2e-3),
    TrainConfig(weight_decay=0.3),
)
WAYS = ("ridge", "head", "chosen", "top")
Clips = Sequence[VideoRecord]
Scores = list[dict[str, float]]


def tuned(model: str, learned_from: Clips, judged: Clips, config: TrainConfig) -> Scores:
    """The scores of `judged` after fine-tuning on `learned_from`; the last epoch counts."""
    with tempfile.TemporaryDirectory() as folder:
        loaded, base = load_base(model, device="cpu")
        data = TrainingData(learned_from, (), description="a benchmark")
        for _ in train(loaded, data, config, folder, base=base, cache=feature_cache()):
            pass
        scorer = load_scorer(folder, device="cpu")
        return [scorer.score(clip.video, clip.prompt, with_frames=False).scores for clip in judged]


def choose_setting(model: str, clips: Clips) -> TrainConfig:
    """The one of `SETTINGS` with the least squared error on prompts held out of `clips`."""
    folds = deal([clip.prompt_key for clip in clips], INNER_SPLITS, seed=0)

    def squares(config: TrainConfig) -> float:
        total = 0.0
        for fold in range(folds.max() + 1):
            judged = [clip for clip, own in zip(clips, folds, strict=True) if own == fold]
            rest = [clip for clip, own in zip(clips, folds, strict=True) if own != fold]
            for clip, scores in zip(judged, tuned(model, rest, judged, config), strict=True):
                total += sum((scores[name] - label) ** 2 for name, label in clip.labels.items())
        return total

    best = min(SETTINGS, key=squares)
    logger.info("chosen: %s", best)
    return best


def srocc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's correlation; NaN where it is undefined."""
    if len(labels) < 3 or np.ptp(scores) == 0 or np.ptp(labels) == 0:
        return float("nan")
    return float(stats.spearmanr(scores, labels).statistic)


def error_by_prompt(measure: Callable[[np.ndarray], float], prompts: Sequence[str], seed: int = 0) -> float:
    """The standard deviation of `measure`, given row numbers, over bootstrap resamples of whole prompts."""
    rows_of = [np.flatnonzero(np.array(prompts) == prompt) for prompt in sorted(set(prompts))]
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(rows_of), size=len(rows_of)) for _ in range(RESAMPLES))
    return float(np.nanstd([measure(np.concatenate([rows_of[each] for each in draw])) for draw in draws], ddof=1))


def report(clips: Clips, folds: np.ndarray, before: Scores, after: dict[str, Scores]) -> None:
    """Print the table: a row a dimension and way."""
    print("| dimension | clips | way | before | after | gain | median gain within a split |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    gains: dict[str, list[float]] = {}
    for name in DIMENSIONS:
        rows = [row for row, clip in enumerate(clips) if name in clip.labels]
        if not rows:
            continue
        labels, prompts = np.array([clips[row].labels[name] for row in rows]), [clips[row].prompt_key for row in rows]
        old = np.array([before[row][name] for row in rows])
        for way, scores in after.items():
            new = np.array([scores[row][name] for row in rows])

            def gain(some: np.ndarray, new: np.ndarray = new, old: np.ndarray = old, y: np.ndarray = labels) -> float:
                return srocc(new[some], y[some]) - srocc(old[some], y[some])

            cells = []
            for values in (old, new):
                error = error_by_prompt(lambda some, x=values, y=labels: srocc(x[some], y[some]), prompts)
                cells.append(f"{srocc(values, labels):.3f} ± {error:.3f}")
            every = np.arange(len(rows))
            within = [gain(every[folds[rows] == fold]) for fold in range(folds.max() + 1)]
            if name in ("Traditional", "Temporal"):
                gains.setdefault(way, []).extend(within)
            cells.append(f"{gain(every):.3f} ± {error_by_prompt(gain, prompts):.3f} | {np.nanmedian(within):.3f}")
            print(f"| {name} | {len(rows)} | {way} | {' | '.join(cells)} |")
    for way, values in gains.items():
        print(f"\n{way}: median gain on Traditional and Temporal over the splits {np.nanmedian(values):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--table", type=Path, required=True, help="table of their labels")
    parser.add_argument("--model", default="demo", help="preset or folder of a checkpoint")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["ridge", "head", "top"])
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logger.setLevel(logging.INFO)
    learner = Learner(options.model, device="cpu")
    clips = read_records(options.table, options.clips).records
    for _ in learner.encode(clips):
        pass
    clips = tuple(clip for clip in clips if learner.knows(clip))
    folds = deal([clip.prompt_key for clip in clips], SPLITS, seed=options.seed)
    after: dict[str, Scores] = {way: [{}] * len(clips) for way in options.ways}
    for fold in range(folds.max() + 1):
        rest = [clip for clip, own in zip(clips, folds, strict=True) if own != fold]
        rows = np.flatnonzero(folds == fold).tolist()
        judged = [clips[row] for row in rows]
        for way in options.ways:
            begin = time.perf_counter()
            if way == "ridge":
                scores = learner.scores(rest, judged)
            else:
                config = choose_setting(options.model, rest) if way == "chosen" else TrainConfig(scope=way)
                scores = tuned(options.model, rest, judged, config)
            for row, each in zip(rows, scores, strict=True):
                after[way][row] = each
            logger.info("split %d, %s: %.1f s", fold + 1, way, time.perf_counter() - begin)
    report(clips, folds, learner.scores([], clips), after)


if __name__ == "__main__":
    main()
