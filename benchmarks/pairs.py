"""What pairs bring: how often the better clip of a held-out pair is told, before and after learning from pairs.

    python -m benchmarks.pairs --clips FOLDER --table labels.csv [--model demo] [--learning-rate 5e-4] [--seed 0]

The pairs are those of the clips of one prompt, answered by their labels: "same" where two labels differ by no more than
a third of a point, which is one point of one rater of three. Sides change from pair to pair. The clips are dealt into
five splits by prompt. For each split the head learns from the other four, from pairs, from labels or from both, with
the default settings; the last epoch counts, so no held-out clip chooses anything. All held-out pairs are judged
together; standard errors of accuracies resample prompts, those of SROCC and RMSE clips.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from vjepa_demo.config import DIMENSIONS, TrainConfig, wait_passively

wait_passively()

import numpy as np
import torch

from vjepa_demo.data.records import read_records
from vjepa_demo.model.checkpoint import load_base
from vjepa_demo.model.features import feature_cache
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.model.ridge import deal
from vjepa_demo.schema import Answer, PairRecord, TrainingData, VideoRecord
from vjepa_demo.tasks.evaluate import label_tensor, score_tensor
from vjepa_demo.tasks.pairs import judge_pairs
from vjepa_demo.tasks.score import Scorer, load_scorer
from vjepa_demo.tasks.train import train

SPLITS, SAME_UP_TO = 5, 0.34
WAYS = ("pairs", "labels", "both")
Clips = Sequence[VideoRecord]


def pairs_of(clips: Clips) -> list[PairRecord]:
    """All pairs of the clips of each prompt, answered in the dimensions in which both have a label."""
    of_prompt: dict[str, list[VideoRecord]] = defaultdict(list)
    for clip in clips:
        of_prompt[clip.prompt_key].append(clip)
    pairs: list[PairRecord] = []
    for a, b in (pair for group in of_prompt.values() for pair in combinations(group, 2)):
        if len(pairs) % 2:
            a, b = b, a
        apart = {name: a.labels[name] - b.labels[name] for name in DIMENSIONS if name in a.labels and name in b.labels}
        answers: dict[str, Answer] = {
            name: "same" if abs(each) <= SAME_UP_TO else "a" if each > 0 else "b" for name, each in apart.items()
        }
        if answers:
            pairs.append(PairRecord(replace(a, labels={}), replace(b, labels={}), answers, line=len(pairs) + 2))
    return pairs


def scores_of(scorer: Scorer, clips: Clips) -> torch.Tensor:
    """The scores (N, 5) of `clips`."""
    return score_tensor([scorer.score(clip.video, clip.prompt, with_frames=False).scores for clip in clips])


def tuned(model: str, learned_from: Clips, judged: Clips, way: str, config: TrainConfig) -> torch.Tensor:
    """The scores (N, 5) of `judged` after fine-tuning on `learned_from` in one of `WAYS`."""
    loaded, base = load_base(model, device="cpu")
    data = TrainingData(
        train=() if way == "pairs" else learned_from,
        validation=(),
        description="a benchmark",
        train_pairs=() if way == "labels" else pairs_of(learned_from),
    )
    with tempfile.TemporaryDirectory() as folder:
        for _ in train(loaded, data, config, folder, base=base, cache=feature_cache()):
            pass
        return scores_of(load_scorer(folder, device="cpu"), judged)


def report(clips: Clips, scores: dict[str, torch.Tensor]) -> None:
    """Print the table: a row a dimension and way."""
    pairs, labels = pairs_of(clips), label_tensor(clips)
    print("| dimension | pairs | same | way | without ties | guess | with ties | guess | SROCC | RMSE |")
    print(f"|{' --- |' * 10}")
    for name in DIMENSIONS:
        for way, table in scores.items():
            each = judge_pairs(pairs, clips, table).dimensions.get(name)
            metrics = evaluate(table, labels).dimensions.get(name)
            if each is None or metrics is None:
                continue
            guesses = f"{each.guess_without_ties.value:.3f} | {each.with_ties} | {each.guess_with_ties.value:.3f}"
            counts = f"{each.n} | {each.num_same}"
            print(f"| {name} | {counts} | {way} | {each.without_ties} | {guesses} | {metrics.srocc} | {metrics.rmse} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--table", type=Path, required=True, help="table of their labels")
    parser.add_argument("--model", default="demo", help="preset or folder of a checkpoint")
    parser.add_argument("--learning-rate", type=float, default=TrainConfig().learning_rate)
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    options = parser.parse_args()
    clips = read_records(options.table, options.clips).records
    folds = deal([clip.prompt_key for clip in clips], SPLITS, seed=options.seed)
    before = scores_of(load_scorer(options.model, device="cpu"), clips)
    scores = {"before": before, **{way: before.clone() for way in WAYS}}
    for fold in range(folds.max() + 1):
        rest = [clip for clip, own in zip(clips, folds, strict=True) if own != fold]
        rows = np.flatnonzero(folds == fold).tolist()
        for way in WAYS:
            config = TrainConfig(learning_rate=options.learning_rate)
            scores[way][rows] = tuned(options.model, rest, [clips[row] for row in rows], way, config)
    report(clips, scores)


if __name__ == "__main__":
    main()
