"""How far a score may be from the label: split conformal intervals from the residuals of validation clips.

A new clip, exchangeable with n clips that the model did not learn from, lies within the k-th smallest of their absolute
residuals with a probability of at least 90 %, where k = ceil((n + 1) 0.9), and of at most 90 % + 1 / (n + 1) where no
two residuals are equal; nothing is assumed of the model (Lei, G'Sell, Rinaldo, Tibshirani and Wasserman,
Distribution-Free Predictive Inference for Regression, JASA 2018, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vjepa_demo.config import DIMENSIONS, INTERVAL_LEVEL, MIN_INTERVAL_CLIPS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import Coverage, Estimate, Interval, prompt_key
from vjepa_demo.schema.scores import SCORE_DECIMALS

NUM_FOLDS = 5  # of the validation clips, see `cross_fitted`
ROUNDING = 1e-9  # of a product that is a whole number but for its last bits

Array = NDArray[np.float64]


def margins(scores: ArrayLike, labels: ArrayLike) -> tuple[dict[str, float], dict[str, int]]:
    """Half the width of the 90 % intervals of each dimension, in MOS, and how many clips have a label in it.

    A dimension with fewer than `MIN_INTERVAL_CLIPS` labels has no margin. Margins are rounded up, to the decimals that
    scores have.

    Args:
        scores: (N, 5) as they are shown, so within 1..5, of clips that the model did not learn from.
        labels: (N, 5) in MOS, NaN where there is none.
    """
    residuals = np.abs(np.asarray(scores, np.float64) - np.asarray(labels, np.float64)).reshape(-1, len(DIMENSIONS))
    found, counts = {}, {}
    for name, column in zip(DIMENSIONS, residuals.T, strict=True):
        ordered = np.sort(column[~np.isnan(column)])
        counts[name] = len(ordered)
        if len(ordered) >= MIN_INTERVAL_CLIPS:
            rank = math.ceil((len(ordered) + 1) * INTERVAL_LEVEL - ROUNDING)  # from 1
            unit = 10**SCORE_DECIMALS
            found[name] = min(math.ceil(float(ordered[rank - 1]) * unit - ROUNDING) / unit, SCORE_MAX - SCORE_MIN)
    return found, counts


def cross_fitted(
    scores: Sequence[ArrayLike], prompts: Sequence[str], rate: Callable[[int, Sequence[int]], float]
) -> Array:
    """The scores (N, 5) of each validation clip after the epoch that the clips of other prompts would have chosen.

    Validation clips choose the best epoch, which makes their residuals a little smaller than those of new clips. So
    they are dealt into `NUM_FOLDS` folds by prompt, and each fold is scored by the epoch that is the best for the
    others. Where all clips have one prompt, they are dealt one by one.

    Args:
        scores: (N, 5) after each epoch.
        prompts: N.
        rate: how good an epoch, from 0, is by the clips at these indices; the first of equally good ones is chosen.
    """
    _, ids = np.unique([prompt_key(prompt) for prompt in prompts], return_inverse=True)
    folds = (ids if ids.any() else np.arange(len(prompts))) % NUM_FOLDS
    chosen = np.asarray(scores[0], np.float64).copy()
    for fold in np.unique(folds):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold).tolist()
        best = max(range(len(scores)), key=lambda epoch: rate(epoch, others))
        chosen[own] = np.asarray(scores[best], np.float64)[own]
    return chosen


def coverage(
    intervals: Sequence[Interval | None], labels: Sequence[float | None], prompts: Sequence[str]
) -> Coverage | None:
    """The share of `labels` that lie in the interval of their clip; None where no clip has both.

    The standard error takes the clips of one prompt together (Liang and Zeger, Biometrika 1986), with the factor
    G / (G - 1) for G prompts; None where there is only one.
    """
    prompts_in: dict[str, list[bool]] = {}
    for interval, label, prompt in zip(intervals, labels, prompts, strict=True):
        if interval is not None and label is not None:
            prompts_in.setdefault(prompt_key(prompt), []).append(interval[0] <= label <= interval[1])
    inside = [each for group in prompts_in.values() for each in group]
    if not inside:
        return None
    share, num_prompts = sum(inside) / len(inside), len(prompts_in)
    if num_prompts < 2:
        return Coverage(len(inside), Estimate(share))
    squares = sum((sum(group) - share * len(group)) ** 2 for group in prompts_in.values())
    error = math.sqrt(squares * num_prompts / (num_prompts - 1)) / len(inside)
    return Coverage(len(inside), Estimate(share, error))
