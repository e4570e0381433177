"""How often the 90 % intervals of fine-tuned models hold the label of clips with other prompts.

    python -m benchmarks.intervals --clips FOLDER --table labels.csv --share 0.8 --validation 0.55 --repeats 10
    python -m benchmarks.intervals --clips FOLDER --table labels.csv --folds --repeats 4

The first fine-tunes as `train` does: on a random `--share` of the prompts, of which `--validation` choose the best
epoch and give the intervals; the other prompts are judged. It stands beside intervals from the same validation clips
without cross-fitting, whose residuals are those of the epoch that they chose themselves.
`--folds` is for tables too small for that: five folds by prompt, for each a model that learned from the other four,
with no validation clips; the residuals of four folds give the intervals of the fifth.
Each line has the coverage in per cent with a standard error over prompts, and the mean margin in MOS.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from vjepa_demo.config import DIMENSIONS, TrainConfig, wait_passively

wait_passively()

import numpy as np

from vjepa_demo.data.records import read_records
from vjepa_demo.model.checkpoint import load_base
from vjepa_demo.model.conformal import coverage, margins
from vjepa_demo.model.features import feature_cache
from vjepa_demo.schema import Interval, TrainingData, TrainingResult, VideoRecord, intervals
from vjepa_demo.tasks.evaluate import label_tensor
from vjepa_demo.tasks.score import load_scorer
from vjepa_demo.tasks.train import train

NUM_FOLDS = 5
Clips = Sequence[VideoRecord]
Scores = list[dict[str, float]]


class Tally:
    """Intervals of judged clips, by dimension, and the margins they came from."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[Interval | None, float | None, str]]] = defaultdict(list)
        self._margins: dict[str, list[float]] = defaultdict(list)

    def add(self, scores: Scores, clips: Clips, found: Mapping[str, float]) -> None:
        """Judge intervals of the margins `found` around `scores` by the labels of `clips`."""
        for name, margin in found.items():
            self._margins[name].append(margin)
        for row, clip in zip(scores, clips, strict=True):
            for name, interval in intervals(row, (), found).items():
                self._rows[name].append((interval, clip.labels.get(name), clip.prompt))

    def lines(self) -> list[str]:
        """A line a dimension that has intervals."""
        lines = []
        for name in DIMENSIONS:
            covered = coverage(*zip(*self._rows[name], strict=True)) if self._rows[name] else None
            if covered is not None and covered.share.value is not None:
                error = 100 * (covered.share.standard_error or 0.0)
                width = np.mean(self._margins[name])
                share = f"{100 * covered.share.value:.1f} ± {error:.1f} %"
                lines.append(f"{name:<12}{share:<16}of {covered.n:<6} margin {width:.2f}")
        return lines


def tuned(model: str, data: TrainingData, config: TrainConfig, judged: Clips) -> tuple[Scores, Mapping, TrainingResult]:
    """The scores of `judged` by a model that learned from `data`, its margins, and what the training said."""
    with tempfile.TemporaryDirectory() as folder:
        loaded, base = load_base(model, device="cpu")
        *_, result = train(loaded, data, config, folder, base=base, cache=feature_cache())
        scorer = load_scorer(folder, device="cpu")
        scores = [scorer.score(clip.video, clip.prompt, with_frames=False).scores for clip in judged]
        assert isinstance(result, TrainingResult)
        return scores, scorer.trained_on.margins, result


def dealt(clips: Clips, rng: np.random.Generator) -> list[list[VideoRecord]]:
    """The clips of each prompt, prompts in random order."""
    prompts: dict[str, list[VideoRecord]] = defaultdict(list)
    for clip in clips:
        prompts[clip.prompt_key].append(clip)
    groups = list(prompts.values())
    return [groups[place] for place in rng.permutation(len(groups))]


def part(groups: Sequence[Clips], share: float) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """The clips of the first `share` of the prompts, and those of the others."""
    cut = round(share * len(groups))
    first, rest = groups[:cut], groups[cut:]
    return [clip for group in first for clip in group], [clip for group in rest for clip in group]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="folders of the videos")
    parser.add_argument("--table", default="labels.csv", help="name of the table of labels in each folder")
    parser.add_argument("--model", default="demo", help="preset or folder of a checkpoint")
    parser.add_argument("--share", type=float, default=0.8, help="of the prompts that are learned from")
    parser.add_argument("--validation", type=float, default=0.4, help="share of those that validate")
    parser.add_argument("--folds", action="store_true", help="intervals from the residuals of other folds")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    clips = [clip for folder in options.clips for clip in read_records(folder / options.table, folder).records]
    given, naive = Tally(), Tally()
    for seed in range(options.repeats):
        rng, config = np.random.default_rng(seed), TrainConfig(seed=seed)
        groups = dealt(clips, rng)
        if options.folds:
            rows: list[tuple[int, VideoRecord, dict[str, float]]] = []
            for fold in range(NUM_FOLDS):
                judged = [clip for group in groups[fold::NUM_FOLDS] for clip in group]
                rest = [clip for place, group in enumerate(groups) if place % NUM_FOLDS != fold for clip in group]
                scores, _, _ = tuned(options.model, TrainingData(rest, (), description="a benchmark"), config, judged)
                rows += [(fold, clip, each) for clip, each in zip(judged, scores, strict=True)]
            for fold in range(NUM_FOLDS):
                others = [(clip, each) for own, clip, each in rows if own != fold]
                table = [[each[name] for name in DIMENSIONS] for _, each in others]
                found, _ = margins(table, label_tensor([clip for clip, _ in others]).tolist())
                own = [(clip, each) for place, clip, each in rows if place == fold]
                given.add([each for _, each in own], [clip for clip, _ in own], found)
            continue
        learned, judged = part(groups, options.share)
        validation, learned = part(dealt(learned, rng), options.validation)
        data = TrainingData(learned, validation, description="a benchmark")
        scores, found, result = tuned(options.model, data, config, judged)
        given.add(scores, judged, found)
        naive.add(scores, judged, margins(result.predictions, result.labels)[0])
    print("with the intervals that are given", *given.lines(), sep="\n")
    if not options.folds:
        print("\nwithout cross-fitting", *naive.lines(), sep="\n")


if __name__ == "__main__":
    main()
