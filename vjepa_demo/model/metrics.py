"""How well predictions agree with labels, how sure that is, and what prompts alone would have given.

Predictions and labels are (N, 5) in MOS, one row a clip, in the order of `DIMENSIONS`; a label that nobody gave is
NaN and is left out. What is undefined is None, never 0 and never NaN: a correlation of fewer than three clips, or one
where labels or predictions are constant. (The RMSE is defined from the first labelled clip on.)

**VQualA score.** The VQualA 2025 GenAI-Bench challenge ranks by (SROCC + PLCC) / 2 of Overall (`compute_vquala_score`
in QualiVision's src/utils/metrics.py). Here it is the mean of that over the dimensions whose labels allow a correlation
(three labelled clips, not all alike). Constant predictions in such a dimension leave the score undefined: they must not
raise it by dropping out.

**Standard errors** are the standard deviations over 1,000 bootstrap resamples of the clips (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 6: 50 to 200 are mostly enough). All numbers share the resamples, so model
and baseline are compared pair by pair. Clips are drawn one by one: the true errors are larger where clips of one prompt
resemble each other. Above 5,000 clips there are fewer resamples (200 from 25,000 on), and above 4,096 clips the KROCC
has 50, because all clips are sorted for each. That changes an error by a twentieth to a tenth of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import METRICS, UNDEFINED, DimensionMetrics, Estimate, Evaluation, Gain, prompt_key

Array = NDArray[np.float64]
Resamples = dict[str, dict[str, Array]]  # dimension -> metric -> its value in each resample (R,)

MIN_CLIPS = 3  # any two points correlate perfectly
CONSTANT_SPREAD = 1e-6  # MOS; what float32 loses between batches is less, what a person could mean is far more
BOOTSTRAP_RESAMPLES = 1000
MIN_DEFINED_SHARE = 0.95  # of the resamples: a number that rests on one or two clips is undefined in more than 5 %
BASELINE_DECIMALS = 9  # sums differ in their last bits: equal prompt means must stay equal, as ties
PAIR_BLOCK = 1024  # clips whose pairs with all others are held at a time
MIN_CLIPS_TO_COMPARE = 10  # of fewer, resamples flatter: random scores "beat" the baseline in 10 % of sets of 8 clips
MAX_PAIRED_CLIPS = 4096  # more than these are sorted, one resample after another
SORTED_RESAMPLES = 50
BLOCK_NUMBERS = 2**22  # of resamples times clips that are held at a time, about ten times over: 300 MB
MAX_NUMBERS, MIN_RESAMPLES = 5_000_000, 200  # resamples times clips, above which there are fewer resamples


# ---- evaluation ------------------------------------------------------------------------------------------------------


def evaluate(
    predictions: ArrayLike,
    labels: ArrayLike,
    *,
    baseline: ArrayLike | None = None,
    before: ArrayLike | None = None,
    num_resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """The metrics of `predictions` (N, 5) against `labels` (N, 5), and beside them those of `baseline` (N, 5).

    With `before` (N, 5), what the model predicted before it was trained, the evaluation has a `Gain`.

    Args:
        predictions: in MOS, finite wherever there is a label.
        labels: in MOS, NaN where there is none.
        baseline: what `no_video_baseline` predicts for these clips; a dimension in which it has no prediction (NaN)
            for some labelled clip is undefined for the baseline.
        before: in MOS, finite wherever there is a label.
        num_resamples: of the bootstrap; 0 gives no standard errors and takes milliseconds.
        seed: of the bootstrap. The same rows in the same order give the same errors.

    Raises:
        ValueError: for other shapes, an infinite label, or a prediction that is not finite where there is a label.
    """
    labels = _check_labels(labels)
    given = {"predictions": predictions, "baseline": baseline, "before": before}
    tables = {name: _check_shape(name, each, labels) for name, each in given.items() if each is not None}
    for name in tables.keys() - {"baseline"}:
        wrong = ~np.isfinite(tables[name]) & ~np.isnan(labels)
        if wrong.any():
            raise ValueError(f"{wrong.sum()} of {(~np.isnan(labels)).sum()} labelled {name} are not finite")
    kept = np.flatnonzero(~np.isnan(labels).all(axis=1))
    tables = {name: each[kept] for name, each in tables.items()}
    most = max(MIN_RESAMPLES, MAX_NUMBERS // max(len(kept), 1))
    resamples = _resampled_tables(list(tables.values()), labels[kept], min(num_resamples, most), seed)
    resampled = dict(zip(tables, resamples, strict=True))
    judged = {name: _evaluate(each, resampled[name], labels[kept]) for name, each in tables.items()}
    score, evaluation = judged["predictions"]
    if baseline is not None:
        baseline_score, other = judged["baseline"]
        lead = evaluation.vquala_score  # over chance, which is 0
        if other.vquala_score.value is not None and other.vquala_score.value >= 0:
            lead = _difference(lead, other.vquala_score, score, baseline_score)
        if len(kept) < MIN_CLIPS_TO_COMPARE:
            lead = replace(lead, standard_error=None)
        evaluation = replace(evaluation, no_video_baseline=other, lead=lead)
    if before is not None:
        score_before, other = judged["before"]
        sroccs = {
            name: _difference(
                each.srocc,
                other.dimensions[name].srocc,
                resampled["predictions"][name]["srocc"],
                resampled["before"][name]["srocc"],
            )
            for name, each in evaluation.dimensions.items()
        }
        vquala_score = _difference(evaluation.vquala_score, other.vquala_score, score, score_before)
        evaluation = replace(evaluation, gain=Gain(other, sroccs, vquala_score))
    return evaluation


def _difference(one: Estimate, other: Estimate, resampled: Array, other_resampled: Array) -> Estimate:
    """`one` less `other`, with the error of the difference over their resamples (R,); undefined where either is."""
    if one.value is None or other.value is None:
        return UNDEFINED
    return Estimate(one.value - other.value, standard_error_of(resampled - other_resampled))


def _evaluate(predictions: Array, resampled: Resamples, labels: Array) -> tuple[Array, Evaluation]:
    """The VQualA score of each resample (R,), and the metrics of `predictions` (N, 5) with their errors."""
    dimensions = {}
    scores, resampled_scores = [], []
    for name, errors in resampled.items():
        index = DIMENSIONS.index(name)
        labelled = ~np.isnan(labels[:, index])
        x, y = predictions[labelled, index], labels[labelled, index]
        values = _metrics(x, y)
        estimates = {
            metric: Estimate(value, None if value is None else standard_error_of(errors[metric]))
            for metric, value in values.items()
        }
        dimensions[name] = DimensionMetrics(n=len(y), **estimates)
        if _can_correlate(y):
            scores += [values["srocc"], values["plcc"]]
            resampled_scores.append((errors["srocc"] + errors["plcc"]) / 2)
    if not scores:
        return np.empty(0), Evaluation(len(labels), dimensions, UNDEFINED)
    resampled_score = np.mean(resampled_scores, axis=0)
    defined = [value for value in scores if value is not None]
    if len(defined) < len(scores):
        return resampled_score, Evaluation(len(labels), dimensions, UNDEFINED)
    vquala_score = Estimate(float(np.mean(defined)), standard_error_of(resampled_score))
    return resampled_score, Evaluation(len(labels), dimensions, vquala_score)


def _metrics(x: Array, y: Array) -> dict[str, float | None]:
    """The four metrics of predictions `x` (n,) and labels `y` (n,), None where undefined."""
    if np.isnan(x).any():  # a baseline without a prediction for some clip
        return dict.fromkeys(METRICS)
    rmse = float(np.sqrt(np.mean((x - y) ** 2)))
    if not (_can_correlate(x) and _can_correlate(y)):
        return {"srocc": None, "plcc": None, "krocc": None, "rmse": rmse}
    return {
        "srocc": float(stats.spearmanr(x, y).statistic),
        "plcc": float(stats.pearsonr(x, y).statistic),
        "krocc": float(stats.kendalltau(x, y, variant="b").statistic),
        "rmse": rmse,
    }


def _can_correlate(values: Array) -> bool:
    """Whether there are enough values and they are not all alike."""
    return len(values) >= MIN_CLIPS and bool(np.ptp(values) > CONSTANT_SPREAD)


def _check_labels(labels: ArrayLike) -> Array:
    checked = np.asarray(labels, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[1] != len(DIMENSIONS):
        raise ValueError(f"labels are (N, {len(DIMENSIONS)}), got {checked.shape}")
    if np.isinf(checked).any():
        raise ValueError(f"{np.isinf(checked).sum()} labels are infinite; a label is a MOS, or NaN where there is none")
    return checked


def _check_shape(name: str, values: ArrayLike, labels: Array) -> Array:
    checked = np.asarray(values, dtype=np.float64)
    if checked.shape != labels.shape:
        raise ValueError(f"{name} must be {labels.shape} as the labels are, got {checked.shape}")
    return checked


# ---- the bootstrap ---------------------------------------------------------------------------------------------------
# A resample is kept as how often each clip is in it, so that all resamples of a metric are a few array operations.


def _resampled_tables(tables: Sequence[Array], labels: Array, num_resamples: int, seed: int) -> list[Resamples]:
    """For each of `tables` (N, 5) the metrics (R,) of each labelled dimension, all over the same resamples."""
    columns = [np.flatnonzero(~np.isnan(labels[:, index])) for index in range(len(DIMENSIONS))]
    blocks: list[list[Resamples]] = [[] for _ in tables]
    generator, start = np.random.default_rng(seed), 0
    while not start or start < num_resamples:
        count = min(max(1, BLOCK_NUMBERS // max(len(labels), 1)), num_resamples - start)
        draws = _draw_resamples(len(labels), count, generator)
        num_sorted = max(0, SORTED_RESAMPLES - start)
        for table, block in zip(tables, blocks, strict=True):
            block.append(
                {
                    name: _resampled_metrics(table[rows, index], labels[rows, index], draws[:, rows], num_sorted)
                    for index, (name, rows) in enumerate(zip(DIMENSIONS, columns, strict=True))
                    if len(rows)
                }
            )
        start += max(count, 1)
    return [
        {
            name: {metric: np.concatenate([each[name][metric] for each in block]) for metric in METRICS}
            for name in block[0]
        }
        for block in blocks
    ]


def _draw_resamples(num_clips: int, num_resamples: int, generator: np.random.Generator) -> Array:
    """How often each clip is drawn (R, N), each row N draws with replacement."""
    if num_clips == 0:
        return np.zeros((num_resamples, 0))
    shares = np.full(num_clips, 1 / num_clips)
    return generator.multinomial(num_clips, shares, size=num_resamples).astype(np.float64)


def standard_error_of(resampled: Array) -> float | None:
    """The standard deviation over the resamples (R,) that are defined (not NaN); None where too few are."""
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < 2 or len(defined) < MIN_DEFINED_SHARE * len(resampled):
        return None
    return float(defined.std(ddof=1))


def _resampled_metrics(x: Array, y: Array, draws: Array, num_sorted: int) -> dict[str, Array]:
    """The four metrics (R,) of `x` (n,), `y` (n,) in each resample of `draws` (R, n); NaN where undefined.

    What scipy.stats gives for `np.repeat(x, draws[r])` and `np.repeat(y, draws[r])`: a clip drawn twice is a tie.
    Where clips are too many for all their pairs, the KROCC is that of the first `num_sorted` resamples alone.
    """
    if len(draws) == 0 or np.isnan(x).any():
        return {metric: np.full(len(draws), np.nan) for metric in METRICS}
    num = draws.sum(axis=1)  # (R,), varies where some clips have no label in this dimension
    x_ranks, x_pairs = _resampled_ranks(x, draws)
    y_ranks, y_pairs = _resampled_ranks(y, draws)
    defined = (num >= MIN_CLIPS) & (x_pairs > 0) & (y_pairs > 0) & _can_correlate(x) & _can_correlate(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlations = {
            "srocc": _resampled_pearson(x_ranks, y_ranks, draws),
            "plcc": _resampled_pearson(x, y, draws),
            "krocc": _resampled_concordance(x, y, draws) / np.sqrt(x_pairs * y_pairs)
            if len(x) <= MAX_PAIRED_CLIPS
            else _sorted_kroccs(x, y, draws[:num_sorted]),
        }
        mean_squares = np.where(num > 0, draws @ (x - y) ** 2 / num, np.nan)
    resampled = {
        name: np.where(defined[: len(values)], np.clip(values, -1, 1), np.nan) for name, values in correlations.items()
    }
    return {**resampled, "rmse": np.sqrt(mean_squares) if len(y) >= MIN_CLIPS else np.full(len(draws), np.nan)}


def _resampled_ranks(values: Array, draws: Array) -> tuple[Array, Array]:
    """The average ranks (R, n) of `values` (n,) in each resample, and its number of ordered pairs (R,) that differ."""
    _, inverse = np.unique(values, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(inverse.max() + 1))
    counts = np.add.reduceat(draws[:, order], starts, axis=1)  # (R, U): how often each different value is drawn
    ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2  # (R, U)
    return ranks[:, inverse], draws.sum(axis=1) ** 2 - (counts**2).sum(axis=1)


def _resampled_pearson(x: Array, y: Array, draws: Array) -> Array:
    """Pearson's correlation (R,) of `x` and `y`, each (n,) or (R, n), weighted by `draws` (R, n)."""
    num = draws.sum(axis=1, keepdims=True)
    x = x - (draws * x).sum(axis=1, keepdims=True) / num  # (R, n)
    y = y - (draws * y).sum(axis=1, keepdims=True) / num
    covariance = np.einsum("rn,rn,rn->r", draws, x, y)
    return covariance / np.sqrt(np.einsum("rn,rn,rn->r", draws, x, x) * np.einsum("rn,rn,rn->r", draws, y, y))


def _resampled_concordance(x: Array, y: Array, draws: Array) -> Array:
    """Concordant less discordant ordered pairs (R,) in each resample; O(R n^2), in blocks, whole numbers throughout."""
    counts = draws.astype(np.float32)  # exact: sums of whole numbers below 2**24
    total = np.zeros(len(draws))
    for start in range(0, len(x), PAIR_BLOCK):
        block = slice(start, start + PAIR_BLOCK)
        signs = np.sign(x[:, None] - x[block]) * np.sign(y[:, None] - y[block])  # (n, block)
        total += np.einsum("rb,rb->r", (counts @ signs.astype(np.float32)).astype(np.float64), draws[:, block])
    return total


def _sorted_kroccs(x: Array, y: Array, draws: Array) -> Array:
    """Kendall's tau-b (R,) in each resample, one after another, in O(n log n)."""
    pairs = ((np.repeat(x, draw), np.repeat(y, draw)) for draw in draws.astype(np.int64))
    return np.array([stats.kendalltau(p, q, variant="b").statistic for p, q in pairs], dtype=np.float64)


# ---- the no-video baseline -------------------------------------------------------------------------------------------


def no_video_baseline(
    prompts: Sequence[str],
    labels: ArrayLike,
    *,
    train_prompts: Sequence[str] = (),
    train_labels: ArrayLike | None = None,
) -> Array:
    """What prompt means predict for each evaluated clip (N, 5), without looking at a pixel; give it to `evaluate`.

    In each dimension it is the mean label of the *other* clips with the same prompt (`prompt_key`), evaluated or
    training ones. Where there is none, it is the mean training label; without training labels, the mean label of the
    evaluated clips that do share a prompt; else NaN. So a clip's own label never enters its prediction.

    The baseline is strict where prompts repeat among the evaluated clips: it sees labels of prompts that a split hides
    from the model. It is lenient where each prompt occurs once: all predictions are equal, so its correlations are
    undefined. With very few prompts its correlation falls below 0 by construction (one prompt: to -1), because leaving
    a label out pushes the prediction away from it.

    Args:
        prompts: N, of the evaluated clips.
        labels: (N, 5) in MOS, NaN where there is none.
        train_prompts: M, of the clips that the model learned from.
        train_labels: (M, 5).

    Raises:
        ValueError: if prompts and labels are not equally many, or the labels not five.
    """
    labels = _check_labels(labels)
    others = _check_labels(np.empty((0, len(DIMENSIONS))) if train_labels is None else train_labels)
    if len(prompts) != len(labels) or len(train_prompts) != len(others):
        raise ValueError(
            f"one row of labels a prompt, got {len(labels)} for {len(prompts)} prompts to evaluate "
            f"and {len(others)} for {len(train_prompts)} to train"
        )
    if not len(labels):
        return np.empty(labels.shape)
    keys = [prompt_key(prompt) for prompt in (*prompts, *train_prompts)]
    _, prompt_ids = np.unique(keys, return_inverse=True)  # (N + M,)
    every_label = np.concatenate([labels, others])  # (N + M, 5)
    sums = np.zeros((prompt_ids.max() + 1, labels.shape[1]))  # of each prompt
    counts = np.zeros(sums.shape, dtype=np.int64)
    np.add.at(sums, prompt_ids, np.nan_to_num(every_label))
    np.add.at(counts, prompt_ids, ~np.isnan(every_label))
    evaluated = prompt_ids[: len(labels)]
    sums, counts = sums[evaluated] - np.nan_to_num(labels), counts[evaluated] - ~np.isnan(labels)  # (N, 5), of others
    shared = np.where(counts > 0, labels, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 is NaN, as it should be
        means = sums / counts
        train_mean = np.nansum(others, axis=0) / (~np.isnan(others)).sum(axis=0)  # (5,)
        shared_mean = np.nansum(shared, axis=0) / (~np.isnan(shared)).sum(axis=0)
    fallback = np.where(np.isnan(train_mean), shared_mean, train_mean)
    predicted: Array = np.where(counts > 0, means, fallback)
    return predicted.round(BASELINE_DECIMALS)
