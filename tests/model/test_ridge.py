"""The small head: what it learns, that it is the same head in a checkpoint, and what it is unsure of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.ridge import (
    STRENGTHS,
    Correction,
    HeadInputs,
    corrected_head,
    cross_validated,
    deal,
    disagreement,
    distances,
    fit,
    head_inputs,
)
from vjepa_demo.model.vjepa import OptimizedMOSHead

NAN = float("nan")


@pytest.fixture
def head() -> OptimizedMOSHead:
    torch.manual_seed(0)
    return OptimizedMOSHead(6, 4, 16).eval()


def drawn(count: int, *, width: int = 12, seed: int = 0) -> HeadInputs:
    rng = np.random.default_rng(seed)
    return one_look(rng.normal(size=(count, width)), rng.normal(3, 0.5, size=(count, len(DIMENSIONS))))


def one_look(hidden, outputs) -> HeadInputs:
    return HeadInputs(hidden[:, None], outputs[:, None])


def own_groups(count: int) -> list[str]:
    return [str(index) for index in range(count)]


def test_a_head_is_its_hidden_layer_and_its_answers(head) -> None:
    video, text = torch.randn(7, 6), torch.randn(7, 4)
    inputs = head_inputs(head, video, text)
    assert inputs.hidden.shape == (7, 16)
    np.testing.assert_allclose(inputs.outputs, head(video, text).detach().numpy(), atol=1e-6)


def test_the_corrected_head_answers_what_the_correction_says(head) -> None:
    video, text = torch.randn(7, 6), torch.randn(7, 4)
    rng = np.random.default_rng(1)
    correction = Correction(rng.normal(size=(16, 5)), rng.normal(size=5))
    grown, width = corrected_head(head, correction)
    inputs = head_inputs(head, video, text)
    assert width == 16 + 4 * len(DIMENSIONS)
    assert {name: value.shape for name, value in grown.state_dict().items()} == {
        name: value.shape for name, value in OptimizedMOSHead(6, 4, width).state_dict().items()
    }
    np.testing.assert_allclose(grown(video, text).detach().numpy(), correction(inputs), atol=1e-5)
    again, _ = corrected_head(grown, Correction(np.zeros((width, 5)), np.ones(5)))
    np.testing.assert_allclose(again(video, text).detach().numpy(), correction(inputs) + 1, atol=1e-5)


def test_ridge_finds_what_the_labels_say_and_leaves_the_rest_as_it_was() -> None:
    inputs = drawn(60)
    labels = np.full((60, 5), NAN)
    labels[:, 0] = inputs.outputs[:, 0] + inputs.hidden @ np.linspace(-1, 1, 12) + 0.5
    correction = fit(inputs, labels, own_groups(60))
    fresh = drawn(20, seed=1)
    wanted = fresh.outputs[:, 0] + fresh.hidden @ np.linspace(-1, 1, 12) + 0.5
    assert np.corrcoef(correction(fresh)[:, 0], wanted)[0, 1] > 0.99
    np.testing.assert_array_equal(correction(fresh)[:, 1:], fresh.outputs[:, 1:])


def test_alignment_is_learned_and_answered_from_a_hidden_layer_of_its_own() -> None:
    inputs = replace(drawn(60), own_hidden_of_looks=drawn(60, seed=2).hidden_of_looks)
    direction = np.linspace(-1, 1, 12)
    labels = inputs.outputs + (inputs.hidden @ direction)[:, None]
    labels[:, 1] = inputs.outputs[:, 1] + inputs.hidden_of(1) @ direction
    correction = fit(inputs, labels, own_groups(60))
    fresh = replace(drawn(20, seed=1), own_hidden_of_looks=drawn(20, seed=3).hidden_of_looks)
    added = correction(fresh) - fresh.outputs
    for column, hidden in enumerate((fresh.hidden, fresh.hidden_of(1), *[fresh.hidden] * 3)):
        assert np.corrcoef(added[:, column], hidden @ direction)[0, 1] > 0.98
    np.testing.assert_allclose(correction(fresh[5:8]), correction(fresh)[5:8])


def test_ridge_is_the_solution_of_its_equations() -> None:
    """The dual form against the normal equations of centred features, at one strength."""
    inputs, rng = drawn(30), np.random.default_rng(2)
    labels = np.full((30, 5), NAN)
    labels[:, 3] = inputs.outputs[:, 3] + rng.normal(size=30)  # noise: the strongest is the best, or nearly so
    correction = fit(inputs, labels, own_groups(30))
    x = inputs.hidden - inputs.hidden.mean(axis=0)
    residuals = labels[:, 3] - inputs.outputs[:, 3]
    scale = (x**2).sum() / len(x)
    solutions = [
        np.linalg.solve(x.T @ x + strength * scale * np.eye(12), x.T @ (residuals - residuals.mean()))
        for strength in STRENGTHS
    ]
    assert min(abs(correction.weights[:, 3] - solution).max() for solution in solutions) < 1e-9
    assert correction(inputs)[:, 3].mean() == pytest.approx(labels[:, 3].mean())


def test_dimensions_with_other_clips_are_solved_apart() -> None:
    inputs = drawn(40)
    both = np.full((40, 5), NAN)
    both[:20, 1] = inputs.outputs[:20, 1] + inputs.hidden[:20, 0]
    both[20:, 4] = inputs.outputs[20:, 4] - inputs.hidden[20:, 1]
    alone = both.copy()
    alone[:, 4] = NAN
    np.testing.assert_allclose(
        fit(inputs, both, own_groups(40)).weights[:, 1], fit(inputs[:20], alone[:20], own_groups(20)).weights[:, 1]
    )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_labels_change_nothing(count: int) -> None:
    inputs, labels = drawn(5), np.full((5, 5), NAN)
    labels[:count] = 5.0
    np.testing.assert_array_equal(fit(inputs, labels, own_groups(5))(inputs), inputs.outputs)


def test_clips_that_are_all_alike_shift_the_answers() -> None:
    inputs = one_look(np.ones((6, 3)), np.full((6, 5), 2.0))
    np.testing.assert_allclose(fit(inputs, np.full((6, 5), 4.0), ["one prompt"] * 6)(inputs), 4.0)


def test_no_head_is_judged_on_a_group_that_it_learned_from() -> None:
    """Labels that only the group explains: a leak would predict them."""
    groups = [str(index // 4) for index in range(80)]
    rng = np.random.default_rng(3)
    of_group = rng.normal(size=20).repeat(4)
    hidden = np.eye(20).repeat(4, axis=0) * 5  # says which group it is
    inputs = one_look(hidden, rng.normal(scale=0.01, size=(80, 5)))
    labels = np.tile(of_group[:, None], 5)
    held_out = cross_validated(inputs, labels, groups)
    seen = fit(inputs, labels, groups, seed=0)
    assert np.corrcoef(held_out[:, 0], of_group)[0, 1] < 0.2
    assert np.corrcoef(cross_validated(inputs, labels, own_groups(80))[:, 0], of_group)[0, 1] > 0.9
    assert seen.shift.shape == (5,)


def test_groups_are_dealt_whole_and_evenly() -> None:
    groups = ["a"] * 5 + ["b"] * 3 + ["c"] * 2 + ["d"] * 2
    folds = deal(groups, 3, seed=4)
    assert all(len({fold for fold, name in zip(folds, groups, strict=True) if name == each}) == 1 for each in "abcd")
    assert set(folds) == {0, 1, 2}
    assert len(set(deal(groups, 10, seed=0))) == 4
    np.testing.assert_array_equal(folds, deal(groups, 3, seed=4))


def test_one_group_alone_cannot_be_held_out() -> None:
    with pytest.raises(ValueError, match="at least two are needed"):
        deal(["same"] * 4, 5, seed=0)


def test_the_farthest_clip_is_known_by_its_distance_to_the_nearest() -> None:
    known = np.array([[0.0, 0.0], [10.0, 0.0]])
    np.testing.assert_allclose(distances(np.array([[0.0, 3.0], [6.0, 0.0], [10.0, 0.0]]), known), [3, 4, 0], atol=1e-6)
    middle = distances(np.array([[0.0, 0.0], [4.0, 0.0], [5.0, 0.0]]), np.empty((0, 2)))
    assert middle.argmax() == 1


def test_heads_disagree_where_nothing_was_learned() -> None:
    rng = np.random.default_rng(5)
    known = one_look(np.c_[rng.normal(size=(40, 2)), np.zeros((40, 1))], np.full((40, 5), 3.0))
    labels = 3 + known.hidden[:, :1] + rng.normal(scale=0.3, size=(40, 5))
    labels[:, 4] = NAN
    candidates = one_look(np.array([[0.0, 0.0, 0.0], [6.0, 6.0, 0.0]]), np.full((2, 5), 3.0))
    unsure = disagreement(candidates, known, labels, own_groups(40))
    assert 0 < 2 * unsure[0] < unsure[1]
    np.testing.assert_array_equal(unsure, disagreement(candidates, known, labels, own_groups(40)))
