"""The losses that fine-tuning minimises. Of labels: smooth-L1, pairwise ranking and a scale-aware squared error, with
masks. Of pairs: Bradley-Terry with ties.

Every function of labels takes predictions (B, D) and labels (B, D) in MOS, D usually the five dimensions. A missing
label is NaN and changes neither value nor gradient. A mean is over all labels together; without labels it is 0, with
zero gradient. Everything is computed in float32, also under autocast.

**Batches.** A pair is two clips of one call, so a larger micro-batch ranks more. Each call divides by its own counts.
For the two pointwise terms, the mean over equally large micro-batches equals the loss of their union if every label is
there; otherwise a label in a sparsely labelled micro-batch weighs a little more. For a validation loss that does not
depend on the batch size, all clips go into one call.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vjepa_demo.config import LossConfig

Array = NDArray[np.float64]

DEFAULT_LOSS = LossConfig()

# MOS. Labels in steps of 0.1 differ by 0.1 give or take float32's rounding: such a pair must not count by accident.
THRESHOLD_TOLERANCE = 1e-5
MAX_PAIRED_CLIPS = 2048  # all their pairs are held at once: a few arrays of 5 x 2048 x 2048 numbers


def mos_loss(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> Tensor:
    """The loss to minimise, a float32 scalar: the weighted sum of the three terms.

    Args:
        predictions: (B, D) in MOS, any floating dtype.
        labels: (B, D) in MOS, NaN where there is none.

    Raises:
        ValueError: if the two are not of one shape (B, D).
    """
    smooth_l1, _ = smooth_l1_loss(predictions, labels, config)
    ranking, _ = ranking_loss(predictions, labels, config)
    scale_aware, _ = scale_aware_loss(predictions, labels, config)
    return (
        config.smooth_l1_weight * smooth_l1 + config.ranking_weight * ranking + config.scale_aware_weight * scale_aware
    )


def smooth_l1_loss(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> tuple[Tensor, Tensor]:
    """Mean over the labels of `e**2 / (2 * beta)` where |e| < beta, else `|e| - beta / 2`; and how many they are."""
    predictions, labels, labelled = _masked(predictions, labels)
    losses = F.smooth_l1_loss(predictions, labels, beta=config.smooth_l1_beta, reduction="none")  # (B, D)
    return _mean_where(labelled, losses)


def ranking_loss(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> tuple[Tensor, Tensor]:
    """Mean over the ordered pairs (i, j) of `max(0, margin - (prediction_i - prediction_j))`; and how many they are.

    A pair counts, in each dimension for itself, where both clips are labelled and label i is more than
    `ranking_threshold` above label j: no unordered pair counts twice, ties never count, one clip has no pair. The
    mean is over the pairs that count (the reference divides by all pairs, so that there ties dilute the term).

    Of more than `MAX_PAIRED_CLIPS` clips no pair is formed, so that 100,000 take megabytes, not terabytes.
    """
    predictions, labels, labelled = _masked(predictions, labels)
    if len(predictions) > MAX_PAIRED_CLIPS:
        return _ranking_by_counts(predictions, labels, labelled, config)
    differences = predictions.unsqueeze(1) - predictions.unsqueeze(0)  # (B, B, D), i along the first axis
    label_differences = labels.unsqueeze(1) - labels.unsqueeze(0)
    counts = label_differences > config.ranking_threshold + THRESHOLD_TOLERANCE
    counts = counts & labelled.unsqueeze(1) & labelled.unsqueeze(0)
    return _mean_where(counts, F.relu(config.ranking_margin - differences))


def _ranking_by_counts(
    predictions: Tensor, labels: Tensor, labelled: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """As `ranking_loss`, but for rounding, from the number of pairs of each clip: O(B log^2 B).

    The hinge is `margin - prediction_i + prediction_j` where that is above 0. So the sum over all pairs is the margin
    for each such pair, minus each prediction as often as its clip is the better one (i), plus as often as it is the
    worse one. Those counts are constants wherever the gradient is defined, so the gradient is right too.
    """
    threshold = config.ranking_threshold + THRESHOLD_TOLERANCE
    total, num = predictions.new_zeros((), dtype=torch.float64), 0
    for column in range(labels.shape[1]):
        rows = labelled[:, column]
        p = predictions[rows, column].double()
        x, y = p.detach().cpu().numpy(), labels[rows, column].double().cpu().numpy()
        as_better = _count_below(y, y - threshold, x, x - config.ranking_margin)
        as_worse = _count_below(-y, -y - threshold, -x, -x - config.ranking_margin)
        times = torch.from_numpy(as_worse - as_better).to(p)
        total = total + config.ranking_margin * int(as_better.sum()) + (times * p).sum()
        num += int(np.searchsorted(np.sort(y), y - threshold).sum())
    return (total / max(num, 1)).float(), torch.tensor(num, device=predictions.device)


def _count_below(y: Array, y_limits: Array, x: Array, x_limits: Array) -> NDArray[np.int64]:
    """For each k, how many i have `y[i] < y_limits[k]` and `x[i] > x_limits[k]`.

    Sorted by y, the i that are low enough are a prefix. The prefix is cut into blocks whose lengths are the powers of
    two that its length is the sum of. Each block is sorted by x, and a binary search counts in it, for all k at once.
    """
    order, num = np.argsort(y, kind="stable"), len(y)
    lengths = np.searchsorted(y[order], y_limits)  # of each prefix
    sorted_x = np.sort(x)
    ranks = np.searchsorted(sorted_x, x[order])  # in the order of y; whole numbers stand for x from here on
    least = np.searchsorted(sorted_x, x_limits, side="right")  # the first rank that is high enough
    counts, places = np.zeros(num, np.int64), np.arange(num)
    for level in range(num.bit_length()):
        keys = np.sort((places >> level) * num + ranks)  # by block, and in it by rank
        block = (lengths >> level) - 1  # the last whole one of this length
        rows = np.flatnonzero((lengths >> level) & 1)
        ends = (block[rows] + 1) << level
        counts[rows] += ends - np.searchsorted(keys, block[rows] * num + least[rows])
    return counts


def scale_aware_loss(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> tuple[Tensor, Tensor]:
    """Mean over the labels of `weight * (prediction - label)**2`; and how many they are.

    The weight is `extreme_weight` where the label is below `low_mos` or above `high_mos`, else 1, and multiplies the
    squared error (the reference multiplies prediction and label by it, so that there it counts squared: 2.25).
    """
    predictions, labels, labelled = _masked(predictions, labels)
    extreme = (labels < config.low_mos) | (labels > config.high_mos)
    weights = torch.where(extreme, config.extreme_weight, 1.0)
    return _mean_where(labelled, weights * (predictions - labels) ** 2)


def pair_loss(differences: Tensor, answers: Tensor, tie_shares: Tensor, config: LossConfig = DEFAULT_LOSS) -> Tensor:
    """The mean negative log-likelihood of the answers, a float32 scalar; 0 without any, with zero gradient.

    The model is Bradley and Terry's with the ties of Rao and Kupper (Ties in Paired-Comparison Experiments, JASA 62,
    1967): with x = difference / `pair_scale` and a threshold t in the same unit, P(a) = sigmoid(x - t), P(b) =
    sigmoid(-x - t), and the rest is P(same). So people answer "same" where what they perceive, the difference with
    logistic noise, lies within the threshold; a tie threshold on scores (`pair_metrics`) is the same rule without
    noise. Davidson's ties (1970) have no such threshold. VideoReward trains with the same likelihood, and t = ln 5.

    Args:
        differences: (P, D), the prediction for clip a less that for clip b, in MOS.
        answers: (P, D), 1 (a is better), -1 (b), 0 (same), NaN where there is none.
        tie_shares: (D,), the share of "same" among the answers of each dimension, above 0 and below 1. It sets t: two
            equal clips are called the same with this probability, so t = 2 artanh(share); near 0 the model is that of
            Bradley and Terry.

    Raises:
        ValueError: if differences and answers are not of one shape (P, D).
    """
    differences, answers, answered = _masked(differences, answers)
    x, t = differences / config.pair_scale, 2 * torch.atanh(tie_shares.to(differences.device, torch.float32))
    better = F.logsigmoid(x * answers - t)  # (P, D), of the clip that was called better
    # P(same) = (1 - exp(-2 t)) sigmoid(x + t) sigmoid(t - x), from the two above
    same = F.logsigmoid(x + t) + F.logsigmoid(t - x) + torch.log(-torch.expm1(-2 * t))
    loss, _ = _mean_where(answered, -torch.where(answers == 0, same, better))
    return loss


def level_loss(middles: Tensor, levels: Tensor) -> Tensor:
    """The mean squared distance of the `middles` of pairs (P, D) from their `levels` (P, D), a float32 scalar.

    Pairs say nothing of the level of scores, which would wander, up to the end of the scale, where all clips look the
    same. A middle is the mean of the two predictions of a pair, and its level that mean before training; NaN where
    labels say how good clips are.
    """
    middles, levels, held = _masked(middles, levels)
    loss, _ = _mean_where(held, (middles - levels) ** 2)
    return loss


def _masked(predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions and labels in float32, a missing label replaced by 0 so that no NaN enters, and which are there."""
    if predictions.ndim != 2 or predictions.shape != labels.shape:
        raise ValueError(
            f"predictions and labels are of one shape (B, D), got {tuple(predictions.shape)} and {tuple(labels.shape)}"
        )
    labels = labels.to(predictions.device, torch.float32)
    labelled = ~labels.isnan()
    return predictions.float(), torch.where(labelled, labels, 0.0), labelled


def _mean_where(counts: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the `values` that count, 0 where none does, and how many do; no value is read back from the GPU."""
    num = counts.sum()
    return torch.where(counts, values, 0.0).sum() / num.clamp(min=1), num
