from __future__ import annotations

import itertools
import resource

import pytest
import torch
from torch import Tensor

from vjepa_demo.config import DIMENSIONS, LossConfig
from vjepa_demo.model.losses import level_loss, mos_loss, pair_loss, ranking_loss, scale_aware_loss, smooth_l1_loss

NAN = float("nan")
TERMS = [smooth_l1_loss, ranking_loss, scale_aware_loss]


def column(*values: float) -> Tensor:
    """One dimension (B, 1)."""
    return torch.tensor(values).unsqueeze(1)


def batch(size: int = 8, *, missing: float = 0.3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and labels (size, 5), a share of the labels missing."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size, len(DIMENSIONS))
    labels = (1 + 4 * torch.rand(shape, generator=generator)).round(decimals=1)
    predictions = labels + torch.randn(shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < missing] = NAN
    return predictions.requires_grad_(), labels


def gradient(predictions: Tensor, labels: Tensor, loss=mos_loss) -> Tensor:
    predictions = predictions.detach().requires_grad_()
    value = loss(predictions, labels)
    (value if isinstance(value, Tensor) else value[0]).backward()
    assert predictions.grad is not None
    return predictions.grad


# ---- values by hand --------------------------------------------------------------------------------------------------


def test_smooth_l1_by_hand():
    # Errors 0.05 (inside beta): 0.05**2 / 0.2 = 0.0125; 0.5 (outside): 0.5 - 0.05 = 0.45.
    value, num = smooth_l1_loss(column(3.05, 2.5), column(3.0, 3.0))
    assert value.item() == pytest.approx((0.0125 + 0.45) / 2)
    assert num == 2


def test_ranking_by_hand():
    # Ordered pairs by label: (2, 1) predicted 0.1 apart: 0.1 short; (3, 1) 0.5 apart: none; (3, 2) 0.4 apart: none.
    value, num = ranking_loss(column(3.0, 3.1, 3.5), column(1.0, 2.0, 3.0))
    assert value.item() == pytest.approx(0.1 / 3)
    assert num == 3


def test_ranking_of_a_swapped_pair_is_the_margin_and_the_distance():
    value, num = ranking_loss(column(4.0, 2.0), column(2.0, 4.0))
    assert value.item() == pytest.approx(0.2 + 2.0)
    assert num == 1


@pytest.mark.parametrize(
    ("label", "weight"), [(1.0, 1.5), (2.49, 1.5), (2.5, 1.0), (3.0, 1.0), (4.0, 1.0), (4.01, 1.5), (5.0, 1.5)]
)
def test_scale_aware_weighs_the_squared_error_at_the_ends(label, weight):
    value, _ = scale_aware_loss(column(label + 0.5), column(label))
    assert value.item() == pytest.approx(weight * 0.25, rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    predictions, labels = batch()
    smooth_l1, ranking, scale_aware = (term(predictions, labels)[0] for term in TERMS)
    torch.testing.assert_close(mos_loss(predictions, labels), 0.7 * smooth_l1 + 0.3 * ranking + 0.1 * scale_aware)


def test_the_loss_equals_loops_over_clips_pairs_and_dimensions():
    predictions, labels = batch(12)
    config = LossConfig(smooth_l1_beta=0.3, ranking_margin=0.5, ranking_threshold=0.7, extreme_weight=2.0)
    pointwise, squares, hinges = [], [], []
    for d in range(len(DIMENSIONS)):
        for i in range(12):
            error = abs(predictions[i, d].item() - labels[i, d].item())
            if error == error:
                pointwise.append(error**2 / 0.6 if error < 0.3 else error - 0.15)
                squares.append((1.0 if 2.5 <= labels[i, d] <= 4.0 else 2.0) * error**2)
        for i, j in itertools.permutations(range(12), 2):
            if labels[i, d] - labels[j, d] > 0.7001:
                hinges.append(max(0.0, 0.5 - (predictions[i, d] - predictions[j, d]).item()))
    for term, values in zip(TERMS, (pointwise, hinges, squares), strict=True):
        value, num = term(predictions, labels, config)
        assert value.item() == pytest.approx(sum(values) / len(values), rel=1e-5)
        assert num == len(values)


# ---- pairs -----------------------------------------------------------------------------------------------------------


def test_tied_labels_do_not_count():
    value, num = ranking_loss(column(1.0, 5.0, 2.0), column(3.0, 3.0, 3.0))
    assert (value, num) == (0, 0)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.1), (3.1, 3.2), (4.9, 5.0), (2.7, 2.8)])
def test_a_difference_of_just_the_threshold_does_not_count_whatever_the_rounding(low, high):
    assert ranking_loss(column(3.0, 3.0), column(low, high))[1] == 0
    assert ranking_loss(column(3.0, 3.0), column(low, high + 0.01))[1] == 1


def test_one_clip_has_no_ranking():
    predictions, labels = batch(1, missing=0.0)
    assert ranking_loss(predictions, labels) == (0, 0)
    assert torch.isfinite(gradient(predictions, labels)).all()


def test_a_dimension_is_ranked_by_itself():
    """The order in one dimension says nothing about another."""
    predictions, labels = batch(6, missing=0.0)
    each = [ranking_loss(predictions[:, [d]], labels[:, [d]]) for d in range(len(DIMENSIONS))]
    value, num = ranking_loss(predictions, labels)
    torch.testing.assert_close(value, sum(v * n for v, n in each) / num)
    assert num == sum(n for _, n in each)


# ---- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", [mos_loss, *TERMS])
def test_a_masked_label_gets_no_gradient_and_no_nan_leaks(term):
    predictions, labels = batch()
    gradients = gradient(predictions, labels, term)
    assert torch.isfinite(gradients).all()
    assert (gradients[labels.isnan()] == 0).all()
    assert (gradients[~labels.isnan()] != 0).any()


@pytest.mark.parametrize("term", [mos_loss, *TERMS])
def test_what_is_predicted_under_a_mask_changes_nothing(term):
    predictions, labels = batch()
    other = torch.where(labels.isnan(), predictions + 100.0, predictions)
    first, second = term(predictions, labels), term(other, labels)
    assert first == second if isinstance(first, Tensor) else first[0] == second[0]
    assert torch.equal(gradient(predictions, labels, term), gradient(other, labels, term))


def test_a_clip_without_labels_is_as_if_it_were_not_there():
    predictions, labels = batch()
    labels[3] = NAN
    kept = [i for i in range(8) if i != 3]
    torch.testing.assert_close(mos_loss(predictions, labels), mos_loss(predictions[kept], labels[kept]))


def test_one_labelled_dimension_is_as_if_it_were_the_only_one():
    predictions, labels = batch(missing=0.0)
    labels[:, :4] = NAN
    torch.testing.assert_close(mos_loss(predictions, labels), mos_loss(predictions[:, 4:], labels[:, 4:]))


@pytest.mark.parametrize("size", [0, 1, 4])
def test_nothing_labelled_is_zero_with_zero_gradient(size):
    predictions = torch.randn(size, 5)
    labels = torch.full((size, 5), NAN)
    assert mos_loss(predictions, labels) == 0
    assert torch.equal(gradient(predictions, labels), torch.zeros(size, 5))


# ---- properties ------------------------------------------------------------------------------------------------------


def test_the_order_of_clips_does_not_matter():
    predictions, labels = batch(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mos_loss(predictions[order], labels[order]), mos_loss(predictions, labels))
    torch.testing.assert_close(
        gradient(predictions[order], labels[order]), gradient(predictions, labels)[order], rtol=1e-5, atol=1e-7
    )


def test_perfect_predictions_of_labels_far_apart_cost_nothing():
    labels = torch.tensor([[1.0], [2.0], [NAN], [4.5]])
    assert mos_loss(labels.nan_to_num(3.0), labels) == 0


def test_the_gradient_is_that_of_finite_differences():
    predictions, labels = batch(5)
    step = 1e-2
    found = torch.zeros_like(labels)
    for i, d in itertools.product(range(5), range(5)):
        shift = torch.zeros_like(labels)
        shift[i, d] = step
        found[i, d] = (mos_loss(predictions + shift, labels) - mos_loss(predictions - shift, labels)) / (2 * step)
    torch.testing.assert_close(gradient(predictions, labels), found, rtol=0.02, atol=2e-3)


def test_descending_the_loss_finds_the_labels():
    predictions, labels = batch(16)
    with torch.no_grad():
        start = mos_loss(predictions, labels)
    optimizer = torch.optim.Adam([predictions], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        mos_loss(predictions, labels).backward()
        optimizer.step()
    assert mos_loss(predictions, labels) < 0.1 * start


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_is_computed_in_float32_whatever_comes_in(dtype):
    predictions, labels = batch()
    predictions = predictions.detach().to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = mos_loss(predictions.requires_grad_(), labels.to(dtype).float())
        loss.backward()
    assert loss.dtype == torch.float32
    assert torch.equal(loss, mos_loss(predictions.float(), labels.to(dtype).float()))
    assert predictions.grad is not None
    assert predictions.grad.dtype == dtype
    assert torch.isfinite(predictions.grad).all()


def test_micro_batches_of_one_size_average_to_the_whole_but_for_the_pairs():
    """What the module says about gradient accumulation and several processes."""
    predictions, labels = batch(8, missing=0.0)
    for term in TERMS:
        whole, num = term(predictions, labels)
        halves = [term(predictions[i::2], labels[i::2]) for i in range(2)]
        if term is ranking_loss:
            assert num > halves[0][1] + halves[1][1]
        else:
            torch.testing.assert_close(whole, (halves[0][0] + halves[1][0]) / 2)


# ---- many clips ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 8, 63, 64, 65, 500])
@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_without_pairs_ranking_has_the_same_value_count_and_gradient(monkeypatch, size, missing):
    predictions, labels = batch(size, missing=missing)
    value, num = ranking_loss(predictions, labels)
    gradients = gradient(predictions, labels, ranking_loss)
    monkeypatch.setattr("vjepa_demo.model.losses.MAX_PAIRED_CLIPS", -1)
    counted_value, counted_num = ranking_loss(predictions, labels)
    torch.testing.assert_close(counted_value, value, rtol=1e-6, atol=1e-6)
    assert counted_num == num
    torch.testing.assert_close(gradient(predictions, labels, ranking_loss), gradients, rtol=1e-5, atol=1e-7)


def test_without_pairs_ties_of_labels_and_predictions_are_counted_as_with_them(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    predictions, labels = (torch.randint(1, 6, (200, 5), generator=generator).float() for _ in range(2))
    for config in (LossConfig(), LossConfig(ranking_margin=1.0, ranking_threshold=1.0)):
        monkeypatch.undo()
        value, num = ranking_loss(predictions, labels, config)
        monkeypatch.setattr("vjepa_demo.model.losses.MAX_PAIRED_CLIPS", -1)
        counted_value, counted_num = ranking_loss(predictions, labels, config)
        torch.testing.assert_close(counted_value, value, rtol=1e-6, atol=1e-6)
        assert counted_num == num


def test_the_loss_of_20_000_clips_takes_megabytes():
    predictions, labels = batch(20_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = mos_loss(predictions, labels)
    loss.backward()
    assert torch.isfinite(predictions.grad).all()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 200e6  # all pairs: 8e9 at least


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (20,)])
def test_refuses_labels_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"one shape \(B, D\), got \(4, 5\) and"):
        mos_loss(torch.zeros(4, 5), torch.zeros(shape))


# ---- pairs -----------------------------------------------------------------------------------------------------------

CERTAIN = torch.tensor([1e-4])  # a share of ties next to none


def test_without_ties_it_is_the_loss_of_bradley_and_terry():
    differences, answers = column(0.5, -0.2, 1.0), column(1.0, 1.0, -1.0)
    expected = -torch.nn.functional.logsigmoid(differences * answers / LossConfig().pair_scale).mean()
    assert pair_loss(differences, answers, CERTAIN).item() == pytest.approx(expected.item(), abs=1e-3)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("difference", [-3.0, 0.0, 0.4])
def test_the_three_answers_have_probability_one_and_equal_clips_tie_as_often_as_given(difference, share):
    shares = torch.tensor([share])
    a, b, same = (pair_loss(column(difference), column(answer), shares).neg().exp() for answer in (1.0, -1.0, 0.0))
    assert (a + b + same).item() == pytest.approx(1, abs=1e-5)
    if difference == 0:
        assert same.item() == pytest.approx(share, abs=1e-5)
        assert a.item() == pytest.approx(b.item())


def test_a_missing_answer_changes_neither_value_nor_gradient():
    answers = torch.tensor([[1.0, NAN], [0.0, -1.0]])
    differences = torch.tensor([[0.3, 9.0], [0.1, 0.2]], requires_grad=True)
    shares = torch.tensor([0.3, 0.2])
    loss = pair_loss(differences, answers, shares)
    loss.backward()
    each = [(0.3, 1.0, 0.3), (0.1, 0.0, 0.3), (0.2, -1.0, 0.2)]
    single = [pair_loss(column(x), column(y), torch.tensor([share])).item() for x, y, share in each]
    assert loss.item() == pytest.approx(sum(single) / 3)
    assert differences.grad[0, 1] == 0
    assert (differences.grad != 0).sum() == 3


def test_no_pair_and_no_answer_cost_nothing():
    for rows in (0, 2):
        differences = torch.zeros(rows, 5, requires_grad=True)
        loss = pair_loss(differences, torch.full((rows, 5), NAN), torch.full((5,), 0.5))
        loss.backward()
        assert loss.item() == 0
        assert not differences.grad.any()


def test_a_tie_pulls_together_and_a_better_clip_apart():
    for answer, sign in ((0.0, 1), (1.0, -1), (-1.0, 1)):
        differences = column(0.5).requires_grad_()
        pair_loss(differences, column(answer), torch.tensor([0.3])).backward()
        assert differences.grad.sign().item() == sign


def test_far_away_scores_keep_the_loss_finite():
    differences = column(400.0, -400.0, 400.0).requires_grad_()
    loss = pair_loss(differences, column(-1.0, 0.0, 1.0), torch.tensor([0.2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(differences.grad).all()


def test_the_level_is_held_where_it_is_known():
    middles = torch.tensor([[3.0, 2.0], [4.0, 9.0]], requires_grad=True)
    loss = level_loss(middles, torch.tensor([[2.0, 2.5], [4.0, NAN]]))
    loss.backward()
    assert loss.item() == pytest.approx((1 + 0.25 + 0) / 3)
    assert middles.grad[1, 1] == 0
    assert level_loss(middles, torch.full((2, 2), NAN)).item() == 0
