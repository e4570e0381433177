"""Pairs beside labelled clips: what people answered as numbers, and how well scores of the clips agree with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.pair_metrics import evaluate_pairs, tie_thresholds
from vjepa_demo.schema import Answer, PairEvaluation, PairRecord, PairsLearned, VideoRecord

VALUES: dict[Answer, float] = {"a": 1.0, "same": 0.0, "b": -1.0}


def answer_tensor(pairs: Sequence[PairRecord]) -> Tensor:
    """Answers (P, 5) float32 in the order of `DIMENSIONS`: 1 (a is better), -1 (b), 0 (same), or NaN (no answer)."""
    rows = [[VALUES[each.answers[name]] if name in each.answers else math.nan for name in DIMENSIONS] for each in pairs]
    return torch.tensor(rows).reshape(-1, len(DIMENSIONS))


def tie_shares(pairs: Sequence[PairRecord]) -> Tensor:
    """The share of "same" (5,) among the answers of each dimension, for `pair_loss`: half an answer is added to either
    side, so that it is above 0 and below 1."""
    answers = answer_tensor(pairs)
    return ((answers == 0).sum(dim=0) + 0.5) / ((~answers.isnan()).sum(dim=0) + 1)


def differences(pairs: Sequence[PairRecord], clips: Sequence[VideoRecord], scores: Tensor) -> Tensor:
    """The score of clip a less that of clip b (P, 5) of each pair; `scores` (N, 5) are those of `clips`, which hold all
    clips of `pairs` (see `clips_of`)."""
    a, b = _rows(pairs, clips)
    return scores[a] - scores[b]


def middles(pairs: Sequence[PairRecord], clips: Sequence[VideoRecord], scores: Tensor) -> Tensor:
    """The mean of the scores of the two clips (P, 5) of each pair; `clips` and `scores` as for `differences`."""
    a, b = _rows(pairs, clips)
    return (scores[a] + scores[b]) / 2


def _rows(pairs: Sequence[PairRecord], clips: Sequence[VideoRecord]) -> tuple[list[int], list[int]]:
    """Where the clips a and the clips b of `pairs` stand in `clips`."""
    rows = {(clip.video, clip.prompt): row for row, clip in enumerate(clips)}
    return [rows[each.a.video, each.a.prompt] for each in pairs], [rows[each.b.video, each.b.prompt] for each in pairs]


def judge_pairs(
    pairs: Sequence[PairRecord],
    clips: Sequence[VideoRecord],
    scores: Tensor,
    *,
    thresholds: Mapping[str, float] | None = None,
    with_errors: bool = True,
) -> PairEvaluation:
    """The pair accuracies of `scores` (N, 5) of `clips`, as shown (see `evaluate_pairs`)."""
    settings = {} if with_errors else {"num_resamples": 0}
    x, y = differences(pairs, clips, scores), answer_tensor(pairs)
    return evaluate_pairs(x, y, [pair.prompt for pair in pairs], thresholds=thresholds, **settings)


def pair_thresholds(pairs: Sequence[PairRecord], clips: Sequence[VideoRecord], scores: Tensor) -> dict[str, float]:
    """By dimension the difference up to which scores say "same", as is best for the answers of `pairs`."""
    return tie_thresholds(differences(pairs, clips, scores), answer_tensor(pairs))


def pairs_learned(
    num_pairs: int, thresholds: Mapping[str, float], evaluation: PairEvaluation | None
) -> PairsLearned | None:
    """What a checkpoint says of pairs; None where it learned from none."""
    if not num_pairs:
        return None
    judged = {} if evaluation is None else evaluation.dimensions
    shares = {name: (each.without_ties.value, each.guess_without_ties.value) for name, each in judged.items()}
    return PairsLearned(
        num_pairs=num_pairs,
        num_held_out=0 if evaluation is None else evaluation.n,
        accuracy={name: accuracy for name, (accuracy, _) in shares.items() if accuracy is not None},
        guess={name: guess for name, (_, guess) in shares.items() if guess is not None},
        tie_thresholds=dict(thresholds),
        lead=None if evaluation is None else evaluation.lead.value,
        lead_standard_error=None if evaluation is None else evaluation.lead.standard_error,
    )
