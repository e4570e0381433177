from __future__ import annotations

import math

import numpy as np
import pytest

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.pair_metrics import evaluate_pairs, tie_thresholds
from vjepa_demo.schema import UNDEFINED

NAN = math.nan


def overall(*values: float) -> np.ndarray:
    """(P, 5) with values of Overall alone."""
    table = np.full((len(values), len(DIMENSIONS)), NAN)
    table[:, -1] = values
    return table


def judged(differences, answers, prompts=None, **settings):
    prompts = prompts or [f"prompt {index}" for index in range(len(answers))]
    return evaluate_pairs(np.nan_to_num(overall(*differences)), overall(*answers), prompts, **settings)


def test_accuracies_by_hand():
    found = judged([0.5, 0.4, -0.3, 0.1, 0.0], [1, -1, -1, 0, 1], thresholds={"Overall": 0.2}).dimensions["Overall"]
    assert (found.n, found.num_same, found.tie_threshold) == (5, 1, 0.2)
    assert found.without_ties.value == pytest.approx(
        2 / 4
    )  # of the decided ones: right, wrong, right, and equal scores
    assert found.with_ties.value == pytest.approx(3 / 5)
    assert found.guess_without_ties.value == pytest.approx(2 / 4)
    assert found.guess_with_ties.value == pytest.approx(2 / 5)
    assert found.lead.value == pytest.approx(0)


def test_only_dimensions_with_answers_are_judged_in_their_order():
    answers = np.array([[NAN, NAN, NAN, 1, -1], [NAN, NAN, NAN, NAN, NAN]])
    found = evaluate_pairs(np.ones((2, 5)), answers, ["a", "b"])
    assert (list(found.dimensions), found.n) == (["Temporal", "Overall"], 1)


def test_the_threshold_is_the_one_that_agrees_most_often():
    x, y = overall(0.1, -0.2, 0.3, 0.8, -0.9), overall(0, 0, 0, 1, -1)
    assert tie_thresholds(x, y) == {"Overall": pytest.approx(0.55)}
    assert tie_thresholds(x, overall(1, -1, 1, 1, -1)) == {"Overall": 0.0}
    assert tie_thresholds(x, overall(0, 0, 0, 0, 0)) == {"Overall": pytest.approx(0.9)}


def test_the_threshold_is_found_as_by_trying_all():
    generator = np.random.default_rng(0)
    for _ in range(20):
        x, y = generator.normal(size=12).round(1), generator.integers(-1, 2, size=12).astype(float)
        (threshold,) = tie_thresholds(overall(*x), overall(*y)).values()
        right = [np.mean(np.where(np.abs(x) <= each, 0, np.sign(x)) == y) for each in np.arange(0, 4, 0.05)]
        assert np.mean(np.where(np.abs(x) <= threshold, 0, np.sign(x)) == y) == max(right)


def test_without_a_threshold_it_comes_from_other_prompts():
    # Ties differ by 0.1 in all prompts but the last, whose own answers would choose another threshold.
    differences, answers = [0.1, 1.0] * 6 + [0.1, 1.0], [0, 1] * 6 + [1, 0]
    prompts = [f"prompt {index // 2}" for index in range(14)]
    found = judged(differences, answers, prompts)
    assert found.threshold_from == "pairs of other prompts"
    assert found.dimensions["Overall"].with_ties.value == pytest.approx(12 / 14)
    assert found.dimensions["Overall"].tie_threshold is None


def test_one_prompt_has_no_accuracy_with_ties_and_no_error():
    found = judged([0.5, -0.5, 0.1], [1, -1, 0], ["a cat"] * 3).dimensions["Overall"]
    assert found.with_ties == UNDEFINED
    assert (found.without_ties.value, found.without_ties.standard_error) == (1.0, None)


def test_ties_alone_leave_the_accuracy_without_ties_undefined():
    found = judged([0.1, 0.2, 0.3], [0, 0, 0], thresholds={"Overall": 0.25})
    assert found.dimensions["Overall"].without_ties == found.lead == UNDEFINED
    assert found.dimensions["Overall"].with_ties.value == pytest.approx(2 / 3)


def test_prompts_are_resampled_and_not_pairs():
    generator = np.random.default_rng(1)
    right = generator.random(60) < 0.7
    differences = np.where(right, 1.0, -1.0)
    single = judged(differences, np.ones(60)).dimensions["Overall"].without_ties
    assert single.standard_error == pytest.approx(math.sqrt(single.value * (1 - single.value) / 60), rel=0.1)
    # Ten copies of each pair in its prompt say nothing new.
    tenfold = judged(
        np.repeat(differences, 10), np.ones(600), [f"prompt {index // 10}" for index in range(600)]
    ).dimensions["Overall"]
    assert tenfold.without_ties.standard_error == pytest.approx(single.standard_error, rel=1e-6)


def test_swapping_the_sides_changes_nothing():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=40), generator.integers(-1, 2, size=40).astype(float)
    assert judged(x, y).to_dict() == judged(-x, -y).to_dict()


def test_the_lead_is_the_mean_over_dimensions():
    answers = np.array([[1.0, NAN, NAN, NAN, 1.0], [-1.0, NAN, NAN, NAN, -1.0]] * 4)
    differences = np.nan_to_num(answers) * [1, 0, 0, 0, -1]
    found = evaluate_pairs(differences, answers, [f"prompt {index}" for index in range(8)])
    assert [each.lead.value for each in found.dimensions.values()] == [0.5, -0.5]
    assert found.lead.value == 0


@pytest.mark.parametrize(
    ("differences", "answers", "prompts", "match"),
    [
        (np.ones((1, 4)), np.ones((1, 4)), ["a"], r"are \(P, 5\), got \(1, 4\)"),
        (np.ones((1, 5)), np.full((1, 5), 2), ["a"], "an answer is 1, -1, 0"),
        (np.full((1, 5), NAN), np.ones((1, 5)), ["a"], "not finite"),
        (np.ones((1, 5)), np.ones((1, 5)), [], "one prompt a pair, got 0 for 1 pairs"),
    ],
)
def test_what_is_no_pair_fails(differences, answers, prompts, match):
    with pytest.raises(ValueError, match=match):
        evaluate_pairs(differences, answers, prompts)


def test_no_pair_has_no_accuracy():
    found = evaluate_pairs(np.empty((0, 5)), np.empty((0, 5)), [])
    assert (found.n, found.dimensions, found.lead) == (0, {}, UNDEFINED)


def test_the_share_told_is_the_mean_of_the_dimensions_with_a_better_clip():
    prompts = ["a", "b", "c"]
    answers = np.full((3, len(DIMENSIONS)), NAN)
    answers[:, DIMENSIONS.index("Overall")] = [1, 1, -1]  # two of three told
    answers[:, DIMENSIONS.index("Temporal")] = [-1, NAN, 1]  # one of two
    answers[:, DIMENSIONS.index("Alignment")] = 0  # no better clip
    told = evaluate_pairs(np.tile([[1.0], [2.0], [0.5]], len(DIMENSIONS)), answers, prompts).share_told
    assert told == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert judged([1.0, 1.0], [0, 0]).share_told is None
