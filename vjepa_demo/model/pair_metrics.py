"""How often scores say which of two clips is better, as people do: pair accuracy with and without ties.

Differences and answers are (P, 5), one row a pair, in the order of `DIMENSIONS`. A difference is the score of clip a
less that of clip b, in MOS. An answer is 1 (a is better), -1 (b is better), 0 (same), or NaN where nobody answered.

**Protocol.** Two accuracies, as VideoReward has them (Liu et al., Improving Video Generation with Human Feedback, 2025,
arXiv:2501.13918). Without ties: pairs that people called "same" are left out, and the better clip must have the higher
score. With ties: all pairs count, and scores say "same" where they differ by at most a threshold, the one that is right
most often (tie calibration: Deutsch et al., Ties Matter, EMNLP 2023). VideoReward chooses the threshold on the very
pairs that it reports, which flatters the number. Here it comes from the pairs that the model learned from; for a model
that learned from none, each pair's threshold comes from pairs of other prompts.

**The guess** always gives the commonest answer of the pairs that are judged, as if it knew that one.

**Standard errors** come from 1,000 bootstrap resamples of the prompts: pairs of one prompt share clips, so they are
drawn together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.metrics import BOOTSTRAP_RESAMPLES, MAX_NUMBERS, MIN_RESAMPLES, standard_error_of
from vjepa_demo.schema import UNDEFINED, Estimate, PairAccuracy, PairEvaluation, prompt_key

Array = NDArray[np.float64]

THRESHOLD_FOLDS = 5  # of prompts, where the threshold of a pair comes from the pairs of the other folds
DECIMALS = 6  # of a difference; scores have four
MAX_CANDIDATES = 2000  # thresholds that are tried


def tie_thresholds(differences: ArrayLike, answers: ArrayLike) -> dict[str, float]:
    """For each answered dimension the threshold, in MOS, at which `differences` agree with `answers` most often.

    Of several it is the smallest; without any answer "same" that is 0. Both are (P, 5).
    """
    x, y = _checked(differences, answers)
    return {
        name: _threshold(x[rows, index], y[rows, index])
        for index, name in enumerate(DIMENSIONS)
        if (rows := ~np.isnan(y[:, index])).any()
    }


def evaluate_pairs(
    differences: ArrayLike,
    answers: ArrayLike,
    prompts: Sequence[str],
    *,
    thresholds: Mapping[str, float] | None = None,
    num_resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
) -> PairEvaluation:
    """The pair accuracies of `differences` (P, 5) against `answers` (P, 5), beside the guess.

    Args:
        differences: finite wherever there is an answer.
        answers: 1, -1, 0 or NaN.
        prompts: P, of the pairs.
        thresholds: by dimension, from the pairs that the model learned from (`tie_thresholds`). Where it is empty or
            None, or lacks a dimension, thresholds come from the pairs of other prompts.
        num_resamples: of the bootstrap; 0 gives no standard errors.
        seed: of the bootstrap.

    Raises:
        ValueError: for other shapes or answers, or a difference that is not finite where there is an answer.
    """
    x, y = _checked(differences, answers)
    if len(prompts) != len(y):
        raise ValueError(f"one prompt a pair, got {len(prompts)} for {len(y)} pairs")
    _, groups = np.unique([prompt_key(prompt) for prompt in prompts], return_inverse=True)
    num_prompts = int(groups.max()) + 1 if len(groups) else 0
    draws = _draw_prompts(num_prompts, num_resamples, seed)
    dimensions: dict[str, PairAccuracy] = {}
    leads = []
    for index, name in enumerate(DIMENSIONS):
        rows = ~np.isnan(y[:, index])
        if rows.any():
            threshold = None if thresholds is None else thresholds.get(name)
            accuracy, lead = _accuracy(x[rows, index], y[rows, index], groups[rows], draws, threshold)
            dimensions[name] = accuracy
            if accuracy.lead.value is not None:
                leads.append((accuracy.lead.value, lead))
    overall = UNDEFINED
    if leads:
        resampled = np.mean([lead for _, lead in leads], axis=0)
        overall = Estimate(float(np.mean([value for value, _ in leads])), _error(resampled, num_prompts))
    return PairEvaluation(
        n=int((~np.isnan(y)).any(axis=1).sum()),
        dimensions=dimensions,
        lead=overall,
        threshold_from="training pairs" if thresholds else "pairs of other prompts",
    )


def _accuracy(
    x: Array, y: Array, groups: NDArray[np.intp], draws: Array, threshold: float | None
) -> tuple[PairAccuracy, Array]:
    """The accuracies of one dimension over its pairs (n,), and the lead in each resample (R,)."""
    decided = y != 0
    right = np.sign(x) == y
    guess = np.where((y > 0).sum() >= (y < 0).sum(), 1.0, -1.0)
    without, resampled = _share(right, decided, groups, draws)
    guessed, resampled_guess = _share(y == guess, decided, groups, draws)
    lead = UNDEFINED
    difference = resampled - resampled_guess
    if without.value is not None and guessed.value is not None:
        lead = Estimate(without.value - guessed.value, _error(difference, draws.shape[1]))
    commonest = max((-1.0, 0.0, 1.0), key=lambda answer: int((y == answer).sum()))
    everywhere = np.ones(len(y), dtype=bool)
    limits = np.full(len(y), threshold, dtype=np.float64) if threshold is not None else _other_thresholds(x, y, groups)
    said = np.where(np.abs(x) <= limits, 0.0, np.sign(x))
    with_ties = UNDEFINED if np.isnan(limits).any() else _share(said == y, everywhere, groups, draws)[0]
    accuracy = PairAccuracy(
        n=len(y),
        num_same=int((~decided).sum()),
        without_ties=without,
        with_ties=with_ties,
        guess_without_ties=guessed,
        guess_with_ties=_share(y == commonest, everywhere, groups, draws)[0],
        lead=lead,
        tie_threshold=threshold,
    )
    return accuracy, difference


def _share(
    right: NDArray[np.bool_], counts: NDArray[np.bool_], groups: NDArray[np.intp], draws: Array
) -> tuple[Estimate, Array]:
    """The share of `right` among the pairs that count, with its error; and its value in each resample (R,)."""
    num_prompts = draws.shape[1]
    if not counts.any():
        return UNDEFINED, np.full(len(draws), np.nan)
    num_right = np.bincount(groups[counts], weights=right[counts].astype(np.float64), minlength=num_prompts)
    num = np.bincount(groups[counts], minlength=num_prompts)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled: Array = (draws @ num_right) / (draws @ num)
    return Estimate(float(num_right.sum() / num.sum()), _error(resampled, num_prompts)), resampled


def _error(resampled: Array, num_prompts: int) -> float | None:
    """The standard error, None for a single prompt: its resamples are all alike."""
    return standard_error_of(resampled) if num_prompts > 1 and len(resampled) else None


def _draw_prompts(num_prompts: int, num_resamples: int, seed: int) -> Array:
    """How often each prompt is drawn (R, G), each row G draws with replacement."""
    if not num_prompts:
        return np.zeros((num_resamples, 0))
    most = max(MIN_RESAMPLES, MAX_NUMBERS // num_prompts)
    shares = np.full(num_prompts, 1 / num_prompts)
    draws = np.random.default_rng(seed).multinomial(num_prompts, shares, size=min(num_resamples, most))
    return draws.astype(np.float64)


def _other_thresholds(x: Array, y: Array, groups: NDArray[np.intp]) -> Array:
    """For each pair (n,) the threshold that is best on pairs of other prompts; NaN where there are none."""
    limits = np.full(len(y), np.nan)
    present = np.unique(groups)
    fold = np.zeros(groups.max() + 1, dtype=np.intp)
    fold[present] = np.arange(len(present)) % THRESHOLD_FOLDS
    for number in range(THRESHOLD_FOLDS):
        held_out = fold[groups] == number
        if held_out.any() and not held_out.all():
            limits[held_out] = _threshold(x[~held_out], y[~held_out])
    return limits


def _threshold(x: Array, y: Array) -> float:
    """The smallest threshold at which differences `x` (n,) agree with answers `y` (n,) most often.

    Nothing changes between two neighbouring |x|, so 0, the middles between them, and the largest are all to try.
    """
    sizes = np.unique(np.abs(x))
    candidates = np.unique(np.concatenate([[0.0], (sizes[1:] + sizes[:-1]) / 2, sizes[-1:]]))
    if len(candidates) > MAX_CANDIDATES:
        candidates = np.quantile(candidates, np.linspace(0, 1, MAX_CANDIDATES))
    order = np.argsort(np.abs(x), kind="stable")
    size, answer, sign = np.abs(x)[order], y[order], np.sign(x)[order]
    # Pairs up to the threshold are right where the answer is "same", the others where it is the sign.
    below = np.concatenate([[0], np.cumsum(answer == 0)])
    above = np.concatenate([[0], np.cumsum(sign == answer)])
    place = np.searchsorted(size, candidates, side="right")
    num_right = below[place] + above[-1] - above[place]
    return float(candidates[np.argmax(num_right)].round(DECIMALS))


def _checked(differences: ArrayLike, answers: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(differences, dtype=np.float64), np.asarray(answers, dtype=np.float64)
    if y.ndim != 2 or y.shape[1] != len(DIMENSIONS) or x.shape != y.shape:
        raise ValueError(f"differences and answers are (P, {len(DIMENSIONS)}), got {x.shape} and {y.shape}")
    if not np.isin(y[~np.isnan(y)], (-1, 0, 1)).all():
        raise ValueError("an answer is 1, -1, 0, or NaN where there is none")
    if not np.isfinite(x[~np.isnan(y)]).all():
        raise ValueError("a difference is not finite where there is an answer")
    return x.round(DECIMALS), y
