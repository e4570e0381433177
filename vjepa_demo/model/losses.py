"""The loss that fine-tuning minimises: smooth-L1, pairwise ranking and a scale-aware squared error, with masks.

Every function takes predictions (B, D) and labels (B, D) in MOS, D usually the five dimensions; a label that nobody
gave is NaN. A mean is over what is labelled, all dimensions together, and is 0, with zero gradient, where nothing is.
A masked label changes neither value nor gradient. All is computed in float32, whatever the predictions are in
(autocast runs none of these operations in half precision).

**Batches.** A pair is two clips of one call: under gradient accumulation or in several processes no pair is formed
across micro-batches or processes, so a larger micro-batch ranks more. Each call divides by its own counts: the mean
of the losses of equally large micro-batches equals the loss of their union for the two pointwise terms when every
label is there; with missing labels, a label in a sparsely labelled micro-batch weighs a little more. A validation
loss that must not depend on the batch size is computed in one call over all clips, gathered first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_demo.config import LossConfig

DEFAULT_LOSS = LossConfig()

# MOS. Labels in steps of 0.1 differ by 0.1 give or take float32's rounding: such a pair must not count by accident.
THRESHOLD_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LossParts:
    """The loss and what it is made of, before weighting; scalars, of which only `total` carries a gradient.

    `num_labels` and `num_pairs` say over how many labels, and over how many ordered pairs, the means were taken.
    """

    total: Tensor
    smooth_l1: Tensor
    ranking: Tensor
    scale_aware: Tensor
    num_labels: Tensor
    num_pairs: Tensor


def mos_loss(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> Tensor:
    """The loss to minimise, a float32 scalar: the weighted sum of the three terms.

    Args:
        predictions: (B, D) in MOS, any floating dtype.
        labels: (B, D) in MOS, NaN where there is none.

    Raises:
        ValueError: if the two are not of one shape (B, D).
    """
    return loss_parts(predictions, labels, config).total


def loss_parts(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> LossParts:
    """As `mos_loss`, with each term and count beside it, for a log."""
    smooth_l1, num_labels = smooth_l1_loss(predictions, labels, config)
    ranking, num_pairs = ranking_loss(predictions, labels, config)
    scale_aware, _ = scale_aware_loss(predictions, labels, config)
    total = (
        config.smooth_l1_weight * smooth_l1 + config.ranking_weight * ranking + config.scale_aware_weight * scale_aware
    )
    return LossParts(total, smooth_l1.detach(), ranking.detach(), scale_aware.detach(), num_labels, num_pairs)


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
    """
    predictions, labels, labelled = _masked(predictions, labels)
    differences = predictions.unsqueeze(1) - predictions.unsqueeze(0)  # (B, B, D), i along the first axis
    label_differences = labels.unsqueeze(1) - labels.unsqueeze(0)
    counts = label_differences > config.ranking_threshold + THRESHOLD_TOLERANCE
    counts = counts & labelled.unsqueeze(1) & labelled.unsqueeze(0)
    return _mean_where(counts, F.relu(config.ranking_margin - differences))


def scale_aware_loss(predictions: Tensor, labels: Tensor, config: LossConfig = DEFAULT_LOSS) -> tuple[Tensor, Tensor]:
    """Mean over the labels of `weight * (prediction - label)**2`; and how many they are.

    The weight is `extreme_weight` where the label is below `low_mos` or above `high_mos`, else 1, and multiplies the
    squared error (the reference multiplies prediction and label by it, so that there it counts squared: 2.25).
    """
    predictions, labels, labelled = _masked(predictions, labels)
    extreme = (labels < config.low_mos) | (labels > config.high_mos)
    weights = torch.where(extreme, config.extreme_weight, 1.0)
    return _mean_where(labelled, weights * (predictions - labels) ** 2)


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
