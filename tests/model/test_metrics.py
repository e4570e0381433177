from __future__ import annotations

import dataclasses
import json
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import stats

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.metrics import _draw_resamples, _resampled_metrics, evaluate, no_video_baseline
from vjepa_demo.schema import METRICS, DimensionMetrics, Estimate, Evaluation
from vjepa_demo.wording import verdict

NAN = np.nan


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def table(overall, dimension: str = "Overall") -> np.ndarray:
    """(N, 5) with one dimension filled."""
    filled = np.full((len(overall), len(DIMENSIONS)), NAN)
    filled[:, DIMENSIONS.index(dimension)] = overall
    return filled


def one(predictions, labels, **settings) -> DimensionMetrics:
    """The metrics of a single dimension."""
    return evaluate(table(predictions), table(labels), **settings).dimensions["Overall"]


def simulated(num_clips: int = 60, *, noise: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and labels (N, 5), labels in steps of 0.1 with ties, predictions off by `noise`."""
    generator = np.random.default_rng(seed)
    labels = np.clip(generator.normal(3, 0.8, (num_clips, 5)), 1, 5).round(1)
    return labels + generator.normal(0, noise, labels.shape), labels


# ---- what training changed -------------------------------------------------------------------------------------------


def test_the_gain_is_the_difference_on_the_same_clips():
    after, labels = simulated(noise=0.3)
    before, _ = simulated(noise=1.5, seed=0)
    labels[::7, 3] = NAN
    evaluation = evaluate(after, labels, before=before)
    gain, alone = evaluation.gain, evaluate(before, labels)
    assert gain.before == alone
    for name, metrics in evaluation.dimensions.items():
        assert gain.srocc[name].value == metrics.srocc.value - alone.dimensions[name].srocc.value > 0
    assert gain.vquala_score.value == evaluation.vquala_score.value - alone.vquala_score.value
    assert dataclasses.replace(evaluation, gain=None) == evaluate(after, labels)
    assert evaluation.to_dict()["gain"]["dimensions"]["Temporal"] == {
        "srocc_before": alone.dimensions["Temporal"].srocc.value,
        "srocc_gain": gain.srocc["Temporal"].value,
        "standard_error": gain.srocc["Temporal"].standard_error,
    }
    assert "gain" not in evaluate(after, labels).to_dict()


def test_the_error_of_a_gain_is_that_of_the_difference_pair_by_pair():
    """Nearly the same predictions: their own errors are large, that of their difference is not."""
    predictions, labels = simulated(noise=1.0)
    nudged = predictions + np.random.default_rng(3).normal(0, 0.01, predictions.shape)
    gain = evaluate(predictions, labels, before=nudged).gain
    assert gain.srocc["Overall"].standard_error < 0.1 * gain.before.dimensions["Overall"].srocc.standard_error
    same = evaluate(predictions, labels, before=predictions).gain
    assert same.vquala_score == Estimate(0.0, 0.0)


def test_a_gain_is_undefined_where_a_score_is():
    predictions, labels = simulated()
    constant = np.full_like(predictions, 3.0)
    gain = evaluate(predictions, labels, before=constant).gain
    assert gain.srocc["Overall"] == gain.vquala_score == Estimate(None)
    with pytest.raises(ValueError, match="labelled before are not finite"):
        evaluate(predictions, labels, before=np.full_like(predictions, NAN))


# ---- values ----------------------------------------------------------------------------------------------------------


def test_metrics_by_hand():
    # Ranks (1, 2, 3, 4) and (1, 3, 2, 4): rho = 1 - 6 * 2 / (4 * 15) = 0.8; five pairs agree, one does not: tau = 4/6.
    # Predictions (1, 2, 3, 4), labels (1, 3, 2, 5): covariance 5.5 over sqrt(5 * 8.75); errors 0, 1, 1, 1.
    metrics = one([1, 2, 3, 4], [1, 3, 2, 5])
    assert metrics.n == 4
    assert metrics.srocc.value == pytest.approx(0.8)
    assert metrics.krocc.value == pytest.approx(4 / 6)
    assert metrics.plcc.value == pytest.approx(5.5 / np.sqrt(5 * 8.75))
    assert metrics.rmse.value == pytest.approx(np.sqrt(3 / 4))


def test_ties_by_hand():
    # Average ranks (1.5, 1.5, 3, 4) and (1, 2.5, 2.5, 4): 3.75 / 4.5. Four pairs agree, one tie each: 4 / sqrt(5 * 5).
    metrics = one([1, 1, 2, 3], [1, 2, 2, 3])
    assert metrics.srocc.value == pytest.approx(3.75 / 4.5)
    assert metrics.krocc.value == pytest.approx(0.8)


def test_metrics_are_scipys_over_the_labelled_clips():
    predictions, labels = simulated()
    labels[np.random.default_rng(1).random(labels.shape) < 0.3] = NAN
    evaluation = evaluate(predictions, labels, num_resamples=0)
    for index, name in enumerate(DIMENSIONS):
        labelled = ~np.isnan(labels[:, index])
        x, y = predictions[labelled, index], labels[labelled, index]
        metrics = evaluation.dimensions[name]
        assert metrics.n == labelled.sum()
        assert metrics.srocc.value == pytest.approx(stats.spearmanr(x, y)[0])
        assert metrics.plcc.value == pytest.approx(stats.pearsonr(x, y)[0])
        assert metrics.krocc.value == pytest.approx(stats.kendalltau(x, y)[0])
        assert metrics.rmse.value == pytest.approx(np.linalg.norm(x - y) / np.sqrt(len(x)))


def test_the_vquala_score_is_the_mean_of_srocc_and_plcc_over_the_dimensions():
    evaluation = evaluate(*simulated())
    values = [value for m in evaluation.dimensions.values() for value in (m.srocc.value, m.plcc.value)]
    assert evaluation.vquala_score.value == pytest.approx(np.mean(values))


def test_with_overall_alone_the_score_is_the_challenges():
    metrics = evaluate(table([1, 2, 3, 4]), table([1, 3, 2, 5]))
    assert metrics.vquala_score.value == pytest.approx((0.8 + 5.5 / np.sqrt(43.75)) / 2)


def test_only_labelled_dimensions_are_reported_in_their_order():
    predictions, labels = simulated()
    labels[:, [0, 2, 3]] = NAN
    assert list(evaluate(predictions, labels).dimensions) == ["Alignment", "Overall"]


def test_clips_without_a_label_are_as_if_they_were_not_there():
    predictions, labels = simulated()
    more_predictions = np.concatenate([predictions, np.full((5, 5), NAN)])
    more_labels = np.concatenate([labels, np.full((5, 5), NAN)])
    assert evaluate(more_predictions, more_labels) == evaluate(predictions, labels)


def test_what_is_predicted_where_there_is_no_label_changes_nothing():
    predictions, labels = simulated()
    labels[::3, 1] = NAN
    other = np.where(np.isnan(labels), NAN, predictions)
    assert evaluate(other, labels) == evaluate(predictions, labels)


def test_the_order_of_clips_changes_no_value():
    predictions, labels = simulated()
    order = np.random.default_rng(5).permutation(len(labels))
    first, second = evaluate(predictions, labels), evaluate(predictions[order], labels[order])
    for name in DIMENSIONS:
        assert second.dimensions[name].to_dict() == pytest.approx(first.dimensions[name].to_dict())
        error = first.dimensions[name].srocc.standard_error
        assert second.dimensions[name].srocc.standard_error == pytest.approx(error, rel=0.15)


# ---- what is undefined -----------------------------------------------------------------------------------------------


def test_correlations_of_two_clips_are_undefined_and_the_rmse_is_not():
    metrics = one([3.0, 4.0], [3.0, 3.0])
    assert metrics.to_dict() == {"srocc": None, "plcc": None, "krocc": None, "rmse": pytest.approx(np.sqrt(0.5))}
    assert metrics.rmse.standard_error is None


@pytest.mark.parametrize(
    ("predictions", "labels"),
    [
        ([3.0, 3.0, 3.0, 3.0], [1, 2, 3, 4]),
        ([3.0, 3.0 + 2e-7, 3.0, 3.0 - 2e-7], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [3, 3, 3, 3]),
    ],
)
def test_correlations_of_constants_are_undefined(predictions, labels):
    metrics = one(predictions, labels)
    assert [metrics.srocc, metrics.plcc, metrics.krocc] == [Estimate(None)] * 3
    assert metrics.rmse.value is not None
    assert evaluate(table(predictions), table(labels)).vquala_score == Estimate(None)


def test_a_dimension_whose_labels_are_all_alike_is_left_out_of_the_score():
    predictions, labels = simulated()
    labels[:, 0] = 3.0
    evaluation = evaluate(predictions, labels)
    assert evaluation.dimensions["Traditional"].srocc.value is None
    others = [(m.srocc.value + m.plcc.value) / 2 for m in list(evaluation.dimensions.values())[1:]]
    assert evaluation.vquala_score.value == pytest.approx(np.mean(others))


def test_constant_predictions_do_not_raise_the_score_by_dropping_out():
    predictions, labels = simulated()
    predictions[:, 0] = 3.0
    assert evaluate(predictions, labels).vquala_score.value is None


def test_nothing_labelled_is_an_empty_evaluation():
    evaluation = evaluate(np.zeros((3, 5)), np.full((3, 5), NAN), baseline=np.full((3, 5), NAN))
    nothing = {"n": 0, "dimensions": {}, "vquala_score": None, "no_video_baseline": None}
    assert evaluation.to_dict() == nothing | {
        "beats_baseline": None,
        "num_learned": 0,
        "num_left_out": 0,
        "num_unknown": 0,
        "coverage": {},
    }


def test_refuses_what_cannot_be_evaluated():
    predictions, labels = simulated(4)
    with pytest.raises(ValueError, match=r"labels are \(N, 5\), got \(4, 3\)"):
        evaluate(predictions, labels[:, :3])
    with pytest.raises(ValueError, match=r"predictions must be \(4, 5\) as the labels are, got \(3, 5\)"):
        evaluate(predictions[:3], labels)
    with pytest.raises(ValueError, match=r"baseline must be \(4, 5\)"):
        evaluate(predictions, labels, baseline=labels[:3])
    with pytest.raises(ValueError, match="1 labels are infinite"):
        evaluate(predictions, _with(labels, np.inf))
    with pytest.raises(ValueError, match="1 of 20 labelled predictions are not finite"):
        evaluate(_with(predictions, NAN), labels)


def _with(values: np.ndarray, value: float) -> np.ndarray:
    """`values` with one of them replaced."""
    changed = values.copy()
    changed[2, 3] = value
    return changed


# ---- standard errors -------------------------------------------------------------------------------------------------


def test_a_resample_has_scipys_metrics():
    generator = np.random.default_rng(3)
    y = generator.normal(3, 1, 25).round(1)
    x = (y + generator.normal(0, 1, 25)).round(1)  # ties on both sides
    draws = _draw_resamples(25, 10, np.random.default_rng(0))
    resampled = _resampled_metrics(x, y, draws, num_sorted=0)
    for index, draw in enumerate(draws.astype(int)):
        p, q = np.repeat(x, draw), np.repeat(y, draw)
        assert draw.sum() == 25
        assert resampled["srocc"][index] == pytest.approx(stats.spearmanr(p, q)[0])
        assert resampled["plcc"][index] == pytest.approx(stats.pearsonr(p, q)[0])
        assert resampled["krocc"][index] == pytest.approx(stats.kendalltau(p, q)[0])
        assert resampled["rmse"][index] == pytest.approx(np.sqrt(np.mean((p - q) ** 2)))


def test_more_clips_than_a_block_of_pairs(monkeypatch):
    predictions, labels = simulated(50)
    whole = evaluate(predictions, labels)
    monkeypatch.setattr("vjepa_demo.model.metrics.PAIR_BLOCK", 7)
    assert evaluate(predictions, labels) == whole


def test_standard_errors_are_near_the_analytic_ones():
    """PLCC of a bivariate normal: (1 - rho**2) / sqrt(n); RMSE of normal errors: sigma / sqrt(2 n)."""
    generator = np.random.default_rng(0)
    labels = generator.normal(3, 0.5, 2000)
    predictions = labels + generator.normal(0, 0.5, 2000)  # rho = sqrt(0.5)
    metrics = one(predictions, labels)
    assert metrics.plcc.standard_error == pytest.approx(0.5 / np.sqrt(2000), rel=0.15)
    assert metrics.rmse.standard_error == pytest.approx(0.5 / np.sqrt(4000), rel=0.15)
    assert metrics.plcc.value == pytest.approx(np.sqrt(0.5), abs=3 * metrics.plcc.standard_error)


def test_the_spread_over_new_samples_is_the_standard_error():
    """What the error is for: how much each metric would change with other clips."""
    runs = [one(x[:, 4], y[:, 4], num_resamples=200) for x, y in (simulated(100, seed=s) for s in range(60))]
    for name in METRICS:
        spread = np.std([getattr(run, name).value for run in runs])
        errors = np.mean([getattr(run, name).standard_error for run in runs])
        assert errors == pytest.approx(spread, rel=0.35)


def test_errors_are_seeded():
    predictions, labels = simulated()
    assert evaluate(predictions, labels, seed=1) == evaluate(predictions, labels, seed=1)
    assert evaluate(predictions, labels, seed=1) != evaluate(predictions, labels, seed=2)


def test_no_resamples_give_the_same_values_without_errors():
    predictions, labels = simulated()
    quick, full = evaluate(predictions, labels, num_resamples=0), evaluate(predictions, labels)
    assert quick.to_dict() == full.to_dict()
    assert quick.vquala_score.standard_error is None
    assert full.vquala_score.standard_error is not None


def test_an_error_is_undefined_where_too_few_resamples_are_defined():
    # One of 30 clips differs from the rest, and 1 / e of the resamples lack it: the number rests on that one clip.
    labels = np.full(30, 3.0)
    labels[0] = 4.0
    assert one(np.arange(30.0), labels).srocc.standard_error is None
    labels[1:4] = 4.0
    assert one(np.arange(30.0), labels).srocc.standard_error is not None
    # Three of 30 clips have a label, and one of those differs: most resamples have fewer than three, or all alike.
    sparse = table([1.0, 1.0, 2.0] + [NAN] * 27)
    sparse[:, 0] = np.arange(30)
    metrics = evaluate(np.random.default_rng(0).random((30, 5)), sparse).dimensions["Overall"]
    assert metrics.srocc.value is not None
    assert metrics.srocc.standard_error is None


def test_800_clips_take_seconds():
    predictions, labels = simulated(800)
    start = time.perf_counter()
    evaluate(predictions, labels)
    assert time.perf_counter() - start < 10  # about half a second on one idle core


def test_resamples_in_blocks_are_the_same_resamples(monkeypatch):
    predictions, labels = simulated(50)
    labels[::7, 2] = NAN
    whole = evaluate(predictions, labels, baseline=predictions[::-1])
    monkeypatch.setattr("vjepa_demo.model.metrics.BLOCK_NUMBERS", 50 * 33)
    assert as_numbers(evaluate(predictions, labels, baseline=predictions[::-1])) == pytest.approx(as_numbers(whole))


def as_numbers(evaluation: Evaluation) -> list[float]:
    """All values and errors, one after another."""
    found = []
    for each in (evaluation, evaluation.no_video_baseline):
        estimates = [getattr(metrics, name) for metrics in each.dimensions.values() for name in METRICS]
        found += [number for estimate in (*estimates, each.vquala_score) for number in dataclasses.astuple(estimate)]
    return [*found, *dataclasses.astuple(evaluation.lead)]


def test_the_error_of_a_krocc_over_fewer_resamples_is_near_that_over_all(monkeypatch):
    predictions, labels = simulated(200)
    whole = evaluate(predictions, labels)
    monkeypatch.setattr("vjepa_demo.model.metrics.MAX_PAIRED_CLIPS", 100)
    fewer = evaluate(predictions, labels)
    for name in DIMENSIONS:
        one, other = whole.dimensions[name], fewer.dimensions[name]
        assert (one.srocc, one.plcc, one.rmse, one.krocc.value) == (
            *(other.srocc, other.plcc, other.rmse),
            other.krocc.value,
        )
        assert other.krocc.standard_error == pytest.approx(one.krocc.standard_error, rel=0.35)


def test_20_000_clips_take_bounded_memory():
    """1,000 resamples of 20,000 clips would be 160 MB an array, and all pairs 3 GB."""
    predictions, labels = simulated(20_000)
    labels[:, :4] = NAN
    tracemalloc.start()
    try:
        evaluation = evaluate(predictions, labels, num_resamples=300)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 500e6
    assert evaluation.dimensions["Overall"].krocc.standard_error < 0.01


# ---- the no-video baseline -------------------------------------------------------------------------------------------


def test_the_baseline_by_hand():
    prompts = ["a cat", "a cat", "a dog", "A  Dog ", "a bird", "a fish"]
    labels = table([1.0, 3.0, 2.0, 5.0, 4.0, NAN])
    train_prompts, train_labels = ["a cat", "a bus", "a fish"], table([5.0, 4.0, 2.0])
    predicted = no_video_baseline(prompts, labels, train_prompts=train_prompts, train_labels=train_labels)[:, 4]
    # cat: the other one and the training one; dog: each other, whatever case and spaces; bird: nobody, so the
    # training mean; fish: the training one.
    assert predicted.tolist() == pytest.approx([(3 + 5) / 2, (1 + 5) / 2, 5.0, 2.0, 11 / 3, 2.0])


def test_without_training_labels_a_lone_prompt_gets_the_mean_of_those_that_share_one():
    predicted = no_video_baseline(["a", "a", "b", "c"], table([1.0, 2.0, 5.0, 3.0]))[:, 4]
    assert predicted.tolist() == [2.0, 1.0, 1.5, 1.5]


def test_without_training_labels_and_with_every_prompt_once_there_is_no_baseline():
    labels = table([1.0, 2.0, 5.0])
    baseline = no_video_baseline(["a", "b", "c"], labels)
    assert np.isnan(baseline).all()
    evaluation = evaluate(table([1.0, 2.0, 4.0]), labels, baseline=baseline)
    assert evaluation.no_video_baseline.dimensions["Overall"].to_dict() == dict.fromkeys(METRICS)
    assert evaluation.to_dict()["no_video_baseline"] is None


def test_a_clips_own_label_never_leaks_into_its_prediction():
    generator = np.random.default_rng(0)
    _, labels = simulated(30)
    labels[generator.random(labels.shape) < 0.3] = NAN
    prompts = [f"prompt {i}" for i in generator.integers(0, 12, 30)]
    before = no_video_baseline(prompts, labels)
    for clip in range(30):
        changed = labels.copy()
        changed[clip] = 5.0 - changed[clip]
        np.testing.assert_array_equal(no_video_baseline(prompts, changed)[clip], before[clip])


def test_dimensions_do_not_mix_in_the_baseline():
    labels = np.array([[1.0, NAN, 2.0, 5.0, 4.0], [2.0, 3.0, NAN, 1.0, 4.5]])
    train_labels = np.array([[NAN, 1.0, 3.0, NAN, NAN]])
    predicted = no_video_baseline(["a", "a"], labels, train_prompts=["b"], train_labels=train_labels)
    np.testing.assert_array_equal(predicted, [[2.0, 3.0, 3.0, 1.0, 4.5], [1.0, 1.0, 2.0, 5.0, 4.0]])


def test_equal_prompt_means_are_exact_ties():
    labels = table([1.1, 2.2, 3.3, 3.3, 2.2, 1.1, 0.1])
    predicted = no_video_baseline(["a", "a", "a", "b", "b", "b", "b"], labels)[:, 4]
    assert predicted[0] == 2.75
    labels = table([0.1, 0.2, 0.3, 3.0, 0.3, 0.2, 0.1, 3.0])
    predicted = no_video_baseline(["a"] * 4 + ["b"] * 4, labels)[:, 4]
    assert predicted[3] == predicted[7] == 0.2


def test_prompts_that_decide_everything_make_a_perfect_baseline():
    labels = table(np.repeat([1.0, 2.0, 3.0, 4.0], 2))
    baseline = no_video_baseline(list("aabbccdd"), labels)
    assert evaluate(baseline, labels).vquala_score.value == pytest.approx(1.0)


def test_the_baseline_of_nothing_is_nothing():
    assert no_video_baseline([], np.empty((0, 5))).shape == (0, 5)


def test_the_baseline_refuses_prompts_and_labels_that_do_not_pair():
    with pytest.raises(ValueError, match="got 2 for 3 prompts to evaluate and 0 for 0 to train"):
        no_video_baseline(["a", "b", "c"], np.ones((2, 5)))
    with pytest.raises(ValueError, match="and 0 for 1 to train"):
        no_video_baseline(["a"], np.ones((1, 5)), train_prompts=["b"])


# ---- model against baseline ------------------------------------------------------------------------------------------


def against_baseline(noise: float, prompt_noise: float, num_clips: int = 200):
    """A model and a baseline whose predictions are off by so much."""
    predictions, labels = simulated(num_clips, noise=noise)
    baseline = labels + np.random.default_rng(9).normal(0, prompt_noise, labels.shape)
    return evaluate(predictions, labels, baseline=baseline)


def test_the_baseline_is_evaluated_on_the_same_clips():
    predictions, labels = simulated()
    evaluation = evaluate(predictions, labels, baseline=predictions + 1.0)
    assert evaluation.no_video_baseline == evaluate(predictions + 1.0, labels)
    assert evaluation.dimensions == evaluate(predictions, labels).dimensions
    assert evaluation.lead.value == pytest.approx(0.0)


def test_a_clear_lead_beats_the_baseline():
    evaluation = against_baseline(0.4, 1.5)
    assert evaluation.beats_baseline
    assert verdict(evaluation).startswith("The model beats the no-video baseline: VQualA score 0.8")
    assert f"{evaluation.no_video_baseline.vquala_score}" in verdict(evaluation)


def test_a_lower_score_does_not_beat_the_baseline():
    evaluation = against_baseline(1.5, 0.4)
    assert evaluation.beats_baseline is False
    assert evaluation.lead.value < 0
    assert verdict(evaluation).startswith("The model does not beat the no-video baseline: VQualA score 0.")


def test_a_lead_within_its_standard_error_is_not_a_clear_one():
    evaluation = against_baseline(0.80, 0.95, num_clips=30)
    assert 0 < evaluation.lead.value < 2 * evaluation.lead.standard_error
    assert evaluation.beats_baseline is False
    assert "does not clearly beat the no-video baseline" in verdict(evaluation)
    assert "not larger than 2 of its standard errors" in verdict(evaluation)


def test_the_lead_is_compared_pair_by_pair():
    """The same clips are hard for both: their difference is surer than either score."""
    predictions, labels = simulated(100)
    worse = predictions + np.random.default_rng(4).normal(0, 0.2, labels.shape)
    evaluation = evaluate(predictions, labels, baseline=worse)
    assert evaluation.lead.standard_error < evaluation.vquala_score.standard_error


@pytest.mark.parametrize(("noise", "beats"), [(0.4, True), (1000.0, False)])
def test_a_baseline_that_cannot_rank_is_held_to_chance(noise, beats):
    predictions, labels = simulated(100, noise=noise)
    evaluation = evaluate(predictions, labels, baseline=np.full(labels.shape, 3.0))
    assert evaluation.no_video_baseline.vquala_score.value is None
    assert evaluation.lead == evaluation.vquala_score
    assert evaluation.beats_baseline is beats
    assert "against 0. Prompt means do not rank these clips, so there is no baseline." in verdict(evaluation)
    assert verdict(evaluation).startswith(f"The model {'beats' if beats else 'does not beat'} chance")


def test_where_no_prompt_has_two_clips_no_baseline_is_beaten():
    predictions, labels = simulated(10, noise=1.5)
    evaluation = evaluate(predictions, labels, baseline=no_video_baseline(list("abcdefghij"), labels))
    assert 0 < evaluation.lead.value < 2 * evaluation.lead.standard_error
    assert "Prompt means do not rank these clips, so there is no baseline" in verdict(evaluation)
    assert "does not clearly beat chance" in verdict(evaluation)


def test_prompts_that_rank_some_dimension_only_are_held_to_chance():
    predictions, labels = simulated(40, noise=0.4)
    baseline = labels + np.random.default_rng(9).normal(0, 0.5, labels.shape)
    baseline[:, 0] = 3.0
    evaluation = evaluate(predictions, labels, baseline=baseline)
    assert "against 0. Prompt means do not rank these clips" in verdict(evaluation)


def test_a_baseline_below_chance_is_no_easier_to_beat_than_chance():
    """One prompt only: leaving a label out pushes the prediction away from it, by construction."""
    predictions, labels = simulated(40, noise=1000.0)
    evaluation = evaluate(predictions, labels, baseline=no_video_baseline(["a"] * 40, labels))
    assert evaluation.no_video_baseline.vquala_score.value == pytest.approx(-1.0)
    assert evaluation.beats_baseline is False
    assert "chance (0), because prompt means rank these clips worse than chance (-1.000)" in verdict(evaluation)


def test_an_undefined_score_is_not_compared():
    labels = table([1.0, 2.0, 3.0])
    constant = evaluate(table([3.0] * 3), labels, baseline=labels)
    assert constant.beats_baseline is None
    assert "undefined (the labels or the scores are all alike)" in verdict(constant)
    few = evaluate(labels[:2], labels[:2], baseline=labels[:2])
    assert "undefined (fewer than 3 labelled clips)" in verdict(few)


def test_without_a_standard_error_nothing_beats_the_baseline():
    evaluation = evaluate(*simulated(), baseline=np.full((60, 5), 3.0), num_resamples=0)
    assert evaluation.beats_baseline is False
    assert "so it may be luck" in verdict(evaluation)


def test_without_a_baseline_nothing_is_compared():
    evaluation = evaluate(*simulated())
    assert evaluation.beats_baseline is None
    assert verdict(evaluation).startswith("No baseline was computed")


# ---- what is printed -------------------------------------------------------------------------------------------------


def test_the_json_of_an_evaluation():
    evaluation = against_baseline(0.5, 1.0)
    printed = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert list(printed) == [
        *("n", "dimensions", "vquala_score", "no_video_baseline", "beats_baseline"),
        *("num_learned", "num_left_out", "num_unknown", "coverage"),
    ]
    assert printed["n"] == 200
    assert list(printed["dimensions"]) == list(DIMENSIONS)
    assert list(printed["dimensions"]["Overall"]) == ["srocc", "plcc", "krocc", "rmse"]
    assert printed["no_video_baseline"] == evaluation.no_video_baseline.vquala_score.value
    json.dumps(dataclasses.asdict(evaluation), allow_nan=False)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [(Estimate(0.6123, 0.0314), "0.612 ± 0.031"), (Estimate(-0.5), "-0.500"), (Estimate(None), "undefined")],
)
def test_an_estimate_in_words(estimate, text):
    assert str(estimate) == text
