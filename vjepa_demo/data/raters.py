"""What several raters say together: scores without the raters' biases, and how far to trust each of them.

The method is the bias removal of ITU-T P.913 (06/21), clause 12.4. Its clause 12.6 (also Annex E of P.910, 11/21)
weights the raters by their consistency as well, by maximum likelihood; that needs many raters: with three to eight the
likelihood has no bound, one rater gets all of the weight, and the scores are worse than plain means
(`benchmarks/rater_models.py`, docs/rate.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse.csgraph import connected_components

from vjepa_demo.config import SCORE_MAX, SCORE_MIN
from vjepa_demo.schema.rating import (
    ClipScore,
    DimensionRatings,
    Given,
    PairRater,
    PairRatings,
    RaterScore,
    Rating,
    Statistic,
)
from vjepa_demo.wording import counted

Array = NDArray[np.float64]

MIN_CORRELATED = 3  # values, below which a correlation says nothing
MIN_CEILING = 8  # clips, below which a ceiling is a guess
MIN_CONSTANT = 5  # ratings, from which on it is odd that all are the same
MAX_SPLITS = 200  # of the raters in two halves
SMALL = 1e-8  # a range of mean scores that is nothing but rounding
ONE_RATER = "there is one rater"
NOTHING = "nobody else rated the same clips"


@dataclass(frozen=True)
class Recovered:
    """Of each clip the score `mos` (J,) and its standard error; of each rater `bias` and `inconsistency` (I,).

    NaN where undefined: the score of a clip without ratings, all of a rater without any, the standard errors where no
    two raters rated one clip. Biases of raters who have clips in common, also by way of others, add up to 0.
    """

    mos: Array
    standard_error: Array
    bias: Array
    inconsistency: Array


def recover(scores: Array) -> Recovered:
    """Scores of clips from `scores` (J clips, I raters), NaN where a rater did not rate.

    The least squares solution of score = mos + bias + noise: where every rater rated every clip, the bias removal of
    P.913, 12.4. The standard error is that of a mean of raters with one noise for all.
    """
    there = ~np.isnan(scores)
    counts = there.sum(axis=1)
    # Each clip's score is a mean, which leaves equations in the biases alone: (ratings of each rater - clips in common)
    # bias = how far each rater's ratings are above the clips' means. The shortest solution: biases add up to 0.
    system = np.diag(there.sum(axis=0)) - there.T @ (there / np.maximum(counts, 1)[:, None])
    above = np.where(there, scores - _means(scores)[:, None], 0.0).sum(axis=0)
    bias = np.linalg.lstsq(system, above, rcond=1e-10)[0]
    bias[~there.any(axis=0)] = np.nan
    mos = _means(scores - bias)
    residuals = scores - mos[:, None] - bias
    free = _degrees_of_freedom(there)
    noise = math.sqrt(np.nansum(residuals**2) / free) if free > 0 else math.nan
    standard_error = noise / np.sqrt(np.where(counts > 0, counts, np.nan))
    return Recovered(mos, standard_error, bias, np.sqrt(_means(residuals.T**2)))


def _means(values: Array) -> Array:
    """The mean of each row (J,), NaN of an empty one."""
    there = ~np.isnan(values)
    counts = there.sum(axis=1)
    sums = np.where(there, values, 0.0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)


def _degrees_of_freedom(there: NDArray[np.bool_]) -> int:
    """Ratings less parameters: a score a clip, a bias a rater, and one bias less for each group of raters that share
    clips."""
    clips, raters = there.any(axis=1), there.any(axis=0)
    return int(there.sum() - clips.sum() - raters.sum() + len(set(_groups(there)[raters].tolist())))


def _groups(there: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Of each rater (I,) the number of its group: raters of one group have clips in common, also by way of others."""
    common = there.astype(float).T @ there.astype(float)
    groups: NDArray[np.int32] = connected_components(common > 0, directed=False)[1]
    return groups


# ---- scores from 1 to 5 ----------------------------------------------------------------------------------------------


def dimension_ratings(ratings: Sequence[Rating], dimension: str, *, seed: int = 0) -> DimensionRatings:
    """What `ratings` of clips, warm-ups left out, say in one dimension.

    Of a rater who rated a clip twice the mean counts once. A rater's `bias` is how far above the others the rater is;
    `inconsistency` the standard deviation of the rest, in MOS; `self_correlation` Pearson's between the first and the
    second score of the clips rated twice, and `self_difference` the mean absolute difference of the two. Over all
    raters it is that of how far each score is from the rater's mean: where one is harsher than the other, that is no
    agreement. `seed` draws the halves of raters where there are too many to try all.
    """
    given = [each for each in ratings if each.round != "warm_up"]
    raters = sorted({each.rater for each in given})
    twice: dict[tuple[str, str], list[float]] = defaultdict(list)  # by clip and rater, in the order of the answers
    cannot: dict[str, int] = defaultdict(int)
    for each in given:
        value = each.given.get(dimension)
        if value is None:
            cannot[each.rater] += 1
        else:
            twice[each.clips[0], each.rater].append(float(value))
    keys = sorted({key for key, _ in twice})
    scores = np.full((len(keys), len(raters)), np.nan)
    rows, columns = ({name: place for place, name in enumerate(names)} for names in (keys, raters))
    for (key, rater), values in twice.items():
        scores[rows[key], columns[rater]] = np.mean(values)
    found = recover(scores)
    pairs = {
        rater: [values for (_, who), values in twice.items() if who == rater and len(values) == 2] for rater in raters
    }
    reliability = _reliability(scores - found.bias, seed)
    means = dict(zip(raters, _means(scores.T), strict=True))
    levelled = [[value - means[who] for value in both] for who in raters for both in pairs[who]]
    self_correlation = _correlation(levelled, "clip")
    return DimensionRatings(
        clips=_clip_scores(keys, scores, found),
        raters=tuple(
            _rater_score(rater, scores[:, place], pairs[rater], cannot[rater], *_compared(scores, found, place))
            for place, rater in enumerate(raters)
        ),
        self_correlation=self_correlation,
        reliability=reliability,
        ceiling=_ceiling(_in_common(scores), reliability, len(levelled), self_correlation),
    )


def _clip_scores(keys: Sequence[str], scores: Array, found: Recovered) -> tuple[ClipScore, ...]:
    there = ~np.isnan(scores)
    free = _degrees_of_freedom(there)
    # The noise is estimated from all clips together, hence Student's t with their degrees of freedom.
    quantile = stats.t.ppf(0.975, free) if free > 0 else math.nan
    why = ONE_RATER if there.any(axis=0).sum() == 1 else "too few ratings of the same clips by several raters"
    return tuple(
        ClipScore(
            key=key,
            num_raters=int(there[place].sum()),
            plain=float(np.nanmean(scores[place])),
            mos=min(max(float(found.mos[place]), SCORE_MIN), SCORE_MAX),
            half_width=_statistic(quantile * found.standard_error[place], why),
        )
        for place, key in enumerate(keys)
    )


def _compared(scores: Array, found: Recovered, place: int) -> tuple[Statistic, Statistic]:
    """The bias and the inconsistency of one rater."""
    there = ~np.isnan(scores)
    if not there[:, place].any():
        return (Statistic(None, "no clip could be judged"),) * 2
    groups = _groups(there)
    others = [other for other in np.flatnonzero(groups == groups[place]) if other != place]
    if not others:
        return (Statistic(None, ONE_RATER if there.any(axis=0).sum() == 1 else NOTHING),) * 2
    bias = Statistic(float(found.bias[place]))
    # On a clip that nobody else rated nothing is left over; between two raters the rest is the same for both.
    shared = there[:, place] & (there.sum(axis=1) > 1)
    if len(others) == 1:
        return bias, Statistic(None, "of two raters nobody can say which one is inconsistent")
    if shared.sum() < MIN_CORRELATED:
        return bias, Statistic(None, f"fewer than {MIN_CORRELATED} clips were rated by others too")
    residuals = (scores - found.mos[:, None] - found.bias)[shared, place]
    return bias, Statistic(float(np.sqrt(np.mean(residuals**2))))


def _rater_score(
    rater: str,
    scores: Array,
    pairs: Sequence[Sequence[float]],
    num_cannot_judge: int,
    bias: Statistic,
    inconsistency: Statistic,
) -> RaterScore:
    own = scores[~np.isnan(scores)]
    difference = float(np.mean([abs(first - second) for first, second in pairs])) if pairs else None
    is_constant = len(own) >= MIN_CONSTANT and np.ptp(own) == 0
    return RaterScore(
        rater=rater,
        num_ratings=len(own),
        num_cannot_judge=num_cannot_judge,
        bias=bias,
        inconsistency=inconsistency,
        num_repeats=len(pairs),
        self_correlation=_correlation(pairs, "clip"),
        self_difference=Statistic(difference, "" if pairs else "no clip was rated twice"),
        constant=float(own[0]) if is_constant else None,
    )


def _correlation(pairs: Sequence[Sequence[float]], of_what: str) -> Statistic:
    """Pearson's correlation of the first and the second value of `pairs`: the reliability of one value.

    Not a rank correlation: raters whose levels differ by a hair would have ranks of their own.
    """
    if len(pairs) < MIN_CORRELATED:
        return Statistic(None, f"{counted(len(pairs), of_what)} judged twice; at least {MIN_CORRELATED} are needed")
    first, second = np.array(pairs).T
    if np.ptp(first) < SMALL or np.ptp(second) < SMALL:
        return Statistic(None, "all scores are the same")
    return Statistic(float(np.corrcoef(first, second)[0, 1]))


def _ceiling(in_common: Array, reliability: Statistic, num_repeats: int, self_correlation: Statistic) -> Statistic:
    """The highest correlation that a perfect model can reach with the clips' mean scores: the square root of their
    reliability (Spearman 1904, the correction for attenuation).

    The reliability of scores of one rater is the correlation of the rater's first and second scores. `in_common` are
    the scores of the raters who have clips in common.
    """
    shared = int(((~np.isnan(in_common)).sum(axis=1) > 1).sum())
    if shared >= MIN_CEILING:
        of_scores = reliability
    elif num_repeats >= MIN_CEILING:
        of_scores = self_correlation
    else:
        return Statistic(
            None,
            f"{counted(shared, 'clip')} rated by several raters, {num_repeats:,} rated twice by one; at least "
            f"{MIN_CEILING} of either are needed",
        )
    if of_scores.value is None:
        return Statistic(None, of_scores.why)
    if of_scores.value <= 0:
        return Statistic(None, f"raters do not agree with themselves: the correlation is {of_scores.value:.2f}")
    return Statistic(math.sqrt(of_scores.value))


def _in_common(scores: Array) -> Array:
    """`scores` (J, I) with NaN for the raters who share fewer than `MIN_CORRELATED` clips with the others that stay."""
    scores = scores.copy()
    while True:
        there = ~np.isnan(scores)
        shared = (there & (there.sum(axis=1) > 1)[:, None]).sum(axis=0)
        leave = there.any(axis=0) & (shared < MIN_CORRELATED)
        if not leave.any():
            return scores
        scores[:, leave] = np.nan


def _reliability(scores: Array, seed: int) -> Statistic:
    """The split-half reliability of the clips' mean scores, from `scores` without the raters' biases; of the raters
    who have clips in common, see `_in_common`.

    The raters are split in two halves in every way, or in `MAX_SPLITS` random ones. The mean of Pearson's correlations
    r between the halves' mean scores becomes that of means over all raters: 2 r / (1 + r) (Spearman 1910, Brown 1910).
    """
    there = ~np.isnan(scores)
    everybody = int(there.any(axis=0).sum())
    if everybody < 2:
        return Statistic(None, ONE_RATER if everybody else "there are no ratings")
    shared = int((there.sum(axis=1) > 1).sum())
    scores = _in_common(scores)
    raters = np.flatnonzero((~np.isnan(scores)).any(axis=0))
    if len(raters) < 2:
        return Statistic(None, f"{counted(shared, 'clip')} with several raters; each needs {MIN_CORRELATED} at least")
    found = []
    for half in _halves(raters, seed):
        first, second = _means(scores[:, half]), _means(scores[:, np.setdiff1d(raters, half)])
        both = ~np.isnan(first) & ~np.isnan(second)
        if both.sum() >= MIN_CORRELATED and np.ptp(first[both]) > SMALL and np.ptp(second[both]) > SMALL:
            found.append(float(np.corrcoef(first[both], second[both])[0, 1]))
    if not found:
        return Statistic(None, "all scores of a rater are the same, or two halves of the raters have too few clips")
    r = float(np.mean(found))
    if r <= 0:
        return Statistic(None, f"the raters do not agree: the correlation between two halves of them is {r:.2f}")
    return Statistic(2 * r / (1 + r))


def _halves(raters: NDArray[np.intp], seed: int) -> list[NDArray[np.intp]]:
    """Halves of `raters`: of an even number each split once, of an odd number the smaller half."""
    size = len(raters) // 2
    if math.comb(len(raters), size) <= 2 * MAX_SPLITS:
        halves = [np.array(half) for half in combinations(raters, size)]
        return halves[: len(halves) // 2] if len(raters) % 2 == 0 else halves  # the other splits are these, turned
    rng = np.random.default_rng(seed)
    return [rng.permutation(raters)[:size] for _ in range(MAX_SPLITS)]


# ---- pairs -----------------------------------------------------------------------------------------------------------


def pair_ratings(ratings: Sequence[Rating], dimension: str) -> PairRatings:
    """What `ratings` of pairs, warm-ups left out, say in one dimension. Of a repeated pair the first answer counts."""
    given = [each for each in ratings if each.round != "warm_up"]
    by_unit: dict[tuple[str, ...], dict[str, list[Given]]] = defaultdict(dict)
    for each in given:
        by_unit[each.unit].setdefault(each.rater, []).append(_winner(each, dimension))
    raters = []
    all_repeats: list[bool] = []
    all_agree: list[bool] = []
    for rater in sorted({each.rater for each in given}):
        own = [each.given.get(dimension) for each in given if each.rater == rater]
        answers = [answer for answer in own if answer is not None]
        chosen = [answer for answer in answers if answer != "same"]
        mine = [answers[rater] for answers in by_unit.values() if rater in answers]
        repeats = [winners[0] == winners[1] for winners in mine if len(winners) == 2 and None not in winners]
        agree = [
            winners[0] == everybody[rater][0]
            for everybody in by_unit.values()
            if everybody.get(rater, [None])[0] is not None
            for other, winners in everybody.items()
            if other != rater and winners[0] is not None
        ]
        all_repeats += repeats
        all_agree += agree
        raters.append(
            PairRater(
                rater=rater,
                num_answers=len(answers),
                num_cannot_judge=len(own) - len(answers),
                same_share=_share([answer == "same" for answer in answers], "there are no answers"),
                left_share=_share([answer == "a" for answer in chosen], "there are no answers but “same”"),
                num_repeats=len(repeats),
                self_agreement=_share(repeats, "no pair was answered twice"),
                agreement=_share(agree, "nobody else answered the same pairs"),
                constant=str(answers[0]) if len(answers) >= MIN_CONSTANT and len(set(answers)) == 1 else None,
            )
        )
    return PairRatings(
        num_answers=sum(each.num_answers for each in raters),
        raters=tuple(raters),
        self_agreement=_share(all_repeats, "no pair was answered twice"),
        agreement=_share(all_agree, ONE_RATER if len(raters) == 1 else "no pair was answered by several raters"),
    )


def _winner(rating: Rating, dimension: str) -> Given:
    """The key of the better clip, whatever side it was on; "same"; or None."""
    answer = rating.given.get(dimension)
    return {"a": rating.clips[0], "b": rating.clips[1]}.get(str(answer), answer)


def _share(answers: Sequence[bool], why: str) -> Statistic:
    return Statistic(sum(answers) / len(answers)) if answers else Statistic(None, why)


def _statistic(value: float, why: str) -> Statistic:
    return Statistic(float(value)) if math.isfinite(value) else Statistic(None, why)


def by_clip(dimensions: Mapping[str, DimensionRatings]) -> dict[str, dict[str, ClipScore]]:
    """The scores of each dimension by key of clip."""
    return {name: {clip.key: clip for clip in each.clips} for name, each in dimensions.items()}
