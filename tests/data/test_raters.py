"""Scores without the raters' biases: against the reference implementation, and what is undefined says why."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_demo.data.raters import dimension_ratings, pair_ratings, recover
from vjepa_demo.schema.rating import Rating


def made_scores(num_clips: int = 20, num_raters: int = 16, missing: float = 0.0) -> np.ndarray:
    """Raters with biases and noise of their own."""
    rng = np.random.default_rng(14)
    truth, bias, noise = rng.uniform(1.5, 4.5, num_clips), rng.normal(0, 0.4, num_raters), rng.uniform(0.3, 0.9, 16)
    noise = noise[:num_raters]
    scores = np.clip(np.round(truth[:, None] + bias + noise * rng.normal(size=(num_clips, num_raters))), 1, 5)
    scores[rng.random((num_clips, num_raters)) < missing] = np.nan
    return scores


def ratings_of(scores: np.ndarray, *, repeats: dict[tuple[int, int], int] | None = None) -> list[Rating]:
    """A rating for each number of `scores` (clips, raters); `repeats` maps (clip, rater) to a second one."""
    made = [
        Rating(f"rater {i}", (f"clip {j:02}",), "first", {"Overall": int(scores[j, i])}, at=0.0)
        for i in range(scores.shape[1])
        for j in range(scores.shape[0])
        if not np.isnan(scores[j, i])
    ]
    for (j, i), score in (repeats or {}).items():
        made.append(Rating(f"rater {i}", (f"clip {j:02}",), "repeat", {"Overall": score}, at=1.0))
    return made


def grid(*rows: str) -> np.ndarray:
    """A row a clip, a digit a rater; a point where there is no rating."""
    return np.array([[np.nan if digit == "." else float(digit) for digit in row] for row in rows])


# ---- scores of clips -------------------------------------------------------------------------------------------------


def test_bias_removal_equals_the_reference():
    """The values are those of `BiasremvMosModel` of Netflix sureal 0.9.0."""
    found = recover(made_scores())
    assert found.mos[:4] == pytest.approx([3.875, 2.6875, 3.375, 4.0625], abs=1e-9)
    assert found.bias[:4] == pytest.approx([0.8125, 0.0125, -0.0375, 0.2625], abs=1e-9)
    assert found.bias.sum() == pytest.approx(0, abs=1e-9)


def test_missing_ratings_have_the_least_squares_solution():
    scores = made_scores(missing=0.4)
    there, found = ~np.isnan(scores), recover(scores)
    clips, raters = np.nonzero(there)
    system = np.zeros((len(clips), sum(scores.shape)))
    system[np.arange(len(clips)), clips] = system[np.arange(len(clips)), len(scores) + raters] = 1
    expected = system @ np.linalg.lstsq(system, scores[there], rcond=None)[0]
    assert (found.mos[:, None] + found.bias)[there] == pytest.approx(expected)


def test_the_example_of_the_reference_has_its_mean_scores():
    """test_dataset_os_as_dict of sureal: the sum of the scores is 7.3333, their variance 0.098765."""
    found = dimension_ratings(ratings_of(grid("341", "213", "413")), "Overall")
    plain = [clip.plain for clip in found.clips]
    assert sum(plain) == pytest.approx(7.3333333)
    assert np.var(plain) == pytest.approx(0.0987654321)


def test_a_harsh_rater_of_some_clips_does_not_make_those_clips_worse():
    """Rater 2 is one below the others and rates the last clips only: the plain means are wrong, the scores right."""
    truth = np.array([3, 4, 3, 4, 5, 3, 4, 5])
    scores = np.stack([truth, truth, truth - 1], axis=1).astype(float)
    scores[:4, 2] = np.nan
    found = dimension_ratings(ratings_of(scores), "Overall")
    shift = found.clips[0].mos - truth[0]
    assert [clip.mos - shift for clip in found.clips] == pytest.approx(truth)
    assert [round(rater.bias.value, 6) for rater in found.raters] == [0.333333, 0.333333, -0.666667]
    assert found.clips[4].plain == pytest.approx(4 + 2 / 3)
    assert [rater.inconsistency.value for rater in found.raters] == pytest.approx([0, 0, 0], abs=1e-9)


def test_intervals_hold_the_true_scores_nineteen_times_out_of_twenty():
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        truth, bias = rng.uniform(2, 4, 20), rng.normal(0, 0.3, 5)
        scores = truth[:, None] + bias + rng.normal(0, 0.5, (20, 5))
        ratings = [
            Rating(f"{i}", (f"{j:02}",), "first", {"Overall": scores[j, i]}, at=0.0)
            for i in range(5)
            for j in range(20)
        ]
        for clip, true in zip(dimension_ratings(ratings, "Overall").clips, truth + bias.mean(), strict=True):
            inside.append(abs(clip.mos - true) <= clip.half_width.value)
    assert 0.93 < np.mean(inside) < 0.97


def test_scores_stay_within_the_scale():
    found = dimension_ratings(ratings_of(grid("51", "5.", "5.", "51", "51")), "Overall")
    assert max(clip.mos for clip in found.clips) <= 5
    assert [clip.plain for clip in found.clips] == [3, 5, 5, 3, 3]


def test_the_second_rating_of_a_clip_counts_half_and_a_warm_up_not_at_all():
    ratings = ratings_of(grid("33", "44"), repeats={(0, 0): 5})
    ratings.append(Rating("rater 0", ("clip 01",), "warm_up", {"Overall": 1}, at=0.0))
    found = dimension_ratings(ratings, "Overall")
    assert [clip.plain for clip in found.clips] == [3.5, 4]
    assert [rater.num_ratings for rater in found.raters] == [2, 2]


# ---- raters ----------------------------------------------------------------------------------------------------------


def test_one_rater_has_scores_but_nobody_to_be_compared_with():
    found = dimension_ratings(ratings_of(grid("3", "4", "2", "5", "1")), "Overall")
    assert [clip.mos for clip in found.clips] == [3, 4, 2, 5, 1]
    undefined = (found.raters[0].bias, found.raters[0].inconsistency, found.reliability, found.clips[0].half_width)
    assert [number.value for number in undefined] == [None] * 4
    assert {number.why for number in undefined} == {"there is one rater"}


def test_of_two_raters_nobody_can_say_who_is_inconsistent():
    found = dimension_ratings(ratings_of(grid("34", "45", "23", "54")), "Overall")
    assert [rater.bias.value for rater in found.raters] == pytest.approx([-0.25, 0.25])
    assert {rater.inconsistency.why for rater in found.raters} == {
        "of two raters nobody can say which one is inconsistent"
    }


def test_raters_without_a_clip_in_common_are_not_compared():
    found = dimension_ratings(ratings_of(grid("34.", "45.", "23.", "..5", "..1")), "Overall")
    assert found.raters[2].bias.value is None
    assert found.raters[2].bias.why == "nobody else rated the same clips"
    assert [clip.mos for clip in found.clips[3:]] == [5, 1]
    assert found.raters[0].bias.value == pytest.approx(-0.5)


def test_a_rater_who_gives_every_clip_the_same_is_found():
    found = dimension_ratings(ratings_of(grid("313", "423", "133", "543", "253")), "Overall")
    assert [rater.constant for rater in found.raters] == [None, None, 3]


def test_an_inconsistent_rater_is_told_from_consistent_ones():
    scores = made_scores(num_raters=4)
    scores[:, 3] = np.random.default_rng(0).integers(1, 6, len(scores))
    inconsistency = [rater.inconsistency.value for rater in dimension_ratings(ratings_of(scores), "Overall").raters]
    assert inconsistency[3] > 1.5 * max(inconsistency[:3])


def test_self_agreement_comes_from_the_repeats():
    scores = grid("3", "4", "2", "5", "1")
    found = dimension_ratings(ratings_of(scores, repeats={(0, 0): 3, (1, 0): 5, (2, 0): 2, (3, 0): 4}), "Overall")
    (rater,) = found.raters
    assert rater.num_repeats == 4
    assert rater.self_difference.value == 0.5
    assert rater.self_correlation.value == pytest.approx(0.8)  # 3 4 2 5 and 3 5 2 4
    assert found.self_correlation.value == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("repeats", "why"),
    [
        ({(0, 0): 3, (1, 0): 4}, "2 clips judged twice; at least 3 are needed"),
        ({(0, 0): 3, (1, 0): 3, (2, 0): 3}, "all scores are the same"),
    ],
)
def test_self_agreement_is_undefined_and_says_why(repeats, why):
    found = dimension_ratings(ratings_of(grid("3", "4", "2", "5", "1"), repeats=repeats), "Overall")
    assert (found.raters[0].self_correlation.value, found.raters[0].self_correlation.why) == (None, why)


def test_agreement_between_two_raters_is_that_of_spearman_and_brown():
    scores = grid("34", "45", "23", "54", "12")
    r = np.corrcoef(scores.T)[0, 1]
    assert dimension_ratings(ratings_of(scores), "Overall").reliability.value == pytest.approx(2 * r / (1 + r))


def test_agreement_over_all_halves_does_not_depend_on_the_order_of_raters():
    scores = made_scores(num_raters=5)
    one, other = (
        dimension_ratings(ratings_of(each), "Overall").reliability.value for each in (scores, scores[:, ::-1])
    )
    assert one == pytest.approx(other)
    assert 0.8 < one < 1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (("35", "44", "53"), "the raters do not agree: the correlation between two halves of them is -1.00"),
        (
            ("33", "43", "53", "23"),
            "all scores of a rater are the same, or two halves of the raters have too few clips",
        ),
        (("3.", "4.", ".3", ".2", "44"), "1 clip with several raters; each needs 3 at least"),
    ],
)
def test_agreement_is_undefined_and_says_why(rows, why):
    reliability = dimension_ratings(ratings_of(grid(*rows)), "Overall").reliability
    assert (reliability.value, reliability.why) == (None, why)


def repeated(raters: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[Rating]:
    """Each rater rates each of the same clips twice."""
    return [
        Rating(rater, (f"clip {j:02}",), round_, {"Overall": score}, at=0.0)
        for rater, both in raters.items()
        for round_, scores in zip(("first", "repeat"), both, strict=True)
        for j, score in enumerate(scores)
    ]


def test_raters_of_different_levels_do_not_agree_with_themselves_by_that():
    rng = np.random.default_rng(3)
    low, high = (tuple(rng.integers(level, level + 2, (2, 60))) for level in (1, 4))
    found = dimension_ratings(repeated({"Ann": low, "Bob": high}), "Overall")
    assert np.corrcoef(np.concatenate([low, high], axis=1))[0, 1] > 0.8  # as the scores are
    assert abs(found.self_correlation.value) < 0.2
    assert found.ceiling.value is None or found.ceiling.value < 0.5


def test_a_rater_of_one_clip_changes_neither_reliability_nor_ceiling():
    scores = made_scores(num_raters=3)
    with_one = np.column_stack([scores, [5.0, *[np.nan] * (len(scores) - 1)]])
    found, other = (dimension_ratings(ratings_of(each), "Overall") for each in (scores, with_one))
    assert other.reliability.value == pytest.approx(found.reliability.value, abs=0.02)
    assert other.ceiling.value == pytest.approx(found.reliability.value**0.5, abs=0.02)
    repeats = {(j, 0): int(scores[j, 0]) for j in range(8)} | {(8, 0): 1 + int(scores[8, 0]) % 5}
    alone, helped = (
        dimension_ratings(ratings_of(each, repeats=repeats), "Overall") for each in (scores[:, :1], with_one[:, [0, 3]])
    )
    assert helped.reliability.value is None
    assert helped.reliability.why == "1 clip with several raters; each needs 3 at least"
    assert helped.ceiling.value == pytest.approx(alone.ceiling.value, abs=0.02)
    assert alone.ceiling.value == pytest.approx(alone.self_correlation.value**0.5)


@pytest.mark.parametrize("num_raters", [1, 4])
def test_a_perfect_model_reaches_the_ceiling(num_raters):
    reached, ceilings = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = rng.normal(3, 0.6, 100)
        given = {f"{i}": tuple(truth + rng.normal(0, 0.6, (2, 100))) for i in range(num_raters)}
        ratings = [each for each in repeated(given) if num_raters == 1 or each.round == "first"]
        found = dimension_ratings(ratings, "Overall")
        ceilings.append(found.ceiling.value)
        firsts = dimension_ratings([each for each in ratings if each.round == "first"], "Overall")
        reached.append(np.corrcoef(truth, [clip.plain for clip in firsts.clips])[0, 1])
    assert np.mean(ceilings) == pytest.approx(np.mean(reached), abs=0.03)


@pytest.mark.parametrize(
    ("scores", "repeats", "why"),
    [
        (
            grid(*"3425132"),
            {},
            "0 clips rated by several raters, 0 rated twice by one; at least 8 of either",
        ),
        (grid("34", "45", "23", "54", "12"), {}, "5 clips rated by several raters, 0 rated twice by one; "),
        (grid(*"12345123"), {(j, 0): 5 - j % 5 for j in range(8)}, "raters do not agree with themselves: the corre"),
        (grid(*["35", "44", "53"] * 3), {}, "the raters do not agree: the correlation between two halves"),
    ],
)
def test_a_ceiling_is_undefined_and_says_why(scores, repeats, why):
    ceiling = dimension_ratings(ratings_of(scores, repeats=repeats), "Overall").ceiling
    assert ceiling.value is None
    assert ceiling.why.startswith(why)


# ---- pairs -----------------------------------------------------------------------------------------------------------


def answer(rater: str, left: str, right: str, given: str | None, round_="first") -> Rating:
    return Rating(rater, (left, right), round_, {"Overall": given}, at=0.0)


def test_answers_to_pairs_are_compared_by_clip_not_by_side():
    found = pair_ratings(
        [
            answer("Ann", "x", "y", "a"),
            answer("Ann", "y", "x", "b", "repeat"),  # x again
            answer("Ann", "x", "z", "same"),
            answer("Ann", "z", "x", "a", "repeat"),
            answer("Bob", "y", "x", "b"),
            answer("Bob", "z", "x", "a"),
            answer("Bob", "y", "z", None),
        ],
        "Overall",
    )
    ann, bob = found.raters
    assert (ann.num_answers, bob.num_answers, bob.num_cannot_judge) == (4, 2, 1)
    assert ann.self_agreement.value == found.self_agreement.value == 0.5
    assert ann.agreement.value == bob.agreement.value == found.agreement.value == 0.5
    assert ann.left_share.value == pytest.approx(2 / 3)
    assert ann.same_share.value == 0.25
    assert bob.self_agreement.why == "no pair was answered twice"


def test_a_rater_who_always_answers_left_is_found():
    pairs = [answer("Ann", f"{n}", f"{n}'", "a") for n in range(5)]
    (ann,) = pair_ratings(pairs, "Overall").raters
    assert (ann.constant, ann.left_share.value, ann.agreement.value) == ("a", 1.0, None)
