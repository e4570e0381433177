from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import RESULT

from vjepa_demo import wording
from vjepa_demo.app import cli_text
from vjepa_demo.app import html as render
from vjepa_demo.app.api_answers import with_caution
from vjepa_demo.app.charts import radar_chart
from vjepa_demo.config import DIMENSIONS, ModelConfig
from vjepa_demo.model.card import model_card
from vjepa_demo.model.checkpoint import note_margins, read_checkpoint
from vjepa_demo.model.conformal import coverage, cross_fitted, margins
from vjepa_demo.schema import Comparison, Coverage, Estimate, TrainedOn, VideoRecord
from vjepa_demo.tasks.evaluate import judge


def rows(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (N, 5) and labels (N, 5) that far apart, in both directions, in each dimension."""
    scores = np.full((len(residuals), 5), 3.0)
    signs = np.where(np.arange(len(residuals)) % 2, 1, -1)
    return scores, scores + (signs * residuals)[:, None]


@pytest.mark.parametrize(("count", "rank"), [(20, 19), (21, 20), (29, 27), (50, 46), (99, 90), (100, 91)])
def test_the_margin_is_the_finite_sample_quantile_of_the_residuals(count, rank):
    """ceil((n + 1) 0.9), counted by hand."""
    residuals = np.arange(1, count + 1) / 100
    found, counts = margins(*rows(np.random.default_rng(0).permutation(residuals)))
    assert found == pytest.approx(dict.fromkeys(DIMENSIONS, rank / 100), abs=1.01e-4)
    assert counts == dict.fromkeys(DIMENSIONS, count)


def test_a_dimension_with_fewer_than_twenty_labels_has_no_margin():
    scores, labels = rows(np.linspace(0.1, 1, 20))
    labels[0, 1] = math.nan
    found, counts = margins(scores, labels)
    assert list(found) == ["Traditional", "Aesthetic", "Temporal", "Overall"]
    assert counts == {**dict.fromkeys(DIMENSIONS, 20), "Alignment": 19}
    assert margins(np.empty((0, 5)), np.empty((0, 5))) == ({}, dict.fromkeys(DIMENSIONS, 0))


def test_a_margin_is_rounded_up_and_never_wider_than_the_scale():
    found, _ = margins(*rows(np.full(20, 0.123401)))
    assert found["Overall"] == 0.1235
    found, _ = margins(np.full((20, 5), 5.0), np.full((20, 5), 1.0))
    assert found["Overall"] == 4.0


def test_new_clips_lie_inside_the_intervals_as_often_as_they_should():
    """Over many draws of calibration and new clips the mean coverage is between 0.9 and 0.9 + 1 / (n + 1)."""
    generator = np.random.default_rng(1)
    shares = []
    for _ in range(400):
        found, _ = margins(*rows(np.minimum(np.abs(generator.standard_t(3, 30)) / 3, 2)))
        new = np.minimum(np.abs(generator.standard_t(3, 200)) / 3, 2)
        shares.append((new <= found["Overall"]).mean())
    assert 0.9 - 0.01 < np.mean(shares) < 0.9 + 1 / 31 + 0.01


# ---- the epoch that validation clips chose ---------------------------------------------------------------------------


def test_a_clip_is_scored_by_the_epoch_that_clips_of_other_prompts_chose():
    asked = []

    def rate(epoch: int, others: list[int]) -> float:
        asked.append((epoch, tuple(others)))
        return -abs(epoch - len(others) % 3)

    scores = [np.full((6, 5), float(epoch)) for epoch in range(3)]
    prompts = ["a", "A ", "b", "c", "d", "e"]
    chosen = cross_fitted(scores, prompts, rate)
    held_out = {tuple(sorted(set(range(6)) - set(others))) for _, others in asked}
    assert held_out == {(0, 1), (2,), (3,), (4,), (5,)}, "clips of one prompt stay together"
    assert chosen[:, 0].tolist() == [1, 1, 2, 2, 2, 2]


def test_one_prompt_is_dealt_clip_by_clip_and_the_first_of_equal_epochs_counts():
    asked = []
    scores = [np.full((7, 5), float(epoch)) for epoch in range(2)]
    chosen = cross_fitted(scores, ["x"] * 7, lambda epoch, others: asked.append(len(others)) or 0.0)
    assert sorted(set(asked)) == [5, 6]
    assert (chosen == 0).all()
    assert cross_fitted([np.empty((0, 5))], [], lambda epoch, others: 0.0).shape == (0, 5)


def test_choosing_an_epoch_on_the_same_clips_covers_too_little_and_cross_fitting_mends_it():
    """Epochs of pure chance: the best one looks better on the clips that chose it than on new ones."""
    generator = np.random.default_rng(2)
    naive, mended = [], []
    for _ in range(60):
        labels = generator.normal(3, 0.5, (30, 1)).repeat(5, 1)
        scores = [labels + generator.normal(0, 0.5, (30, 1)) for _ in range(40)]

        def rate(epoch: int, others, scores=scores, labels=labels) -> float:
            return -float(np.abs(scores[epoch][others] - labels[others]).mean())

        best = max(range(40), key=lambda epoch: rate(epoch, list(range(30))))
        crossed = cross_fitted(scores, [str(row) for row in range(30)], rate)
        new = np.abs(generator.normal(0, 0.5, 200))  # the residuals of any of these epochs
        for shares, chosen in ((naive, scores[best]), (mended, crossed)):
            shares.append((new <= margins(chosen, labels)[0]["Overall"]).mean())
    assert np.mean(naive) < 0.85
    assert 0.87 < np.mean(mended) < 0.94


# ---- coverage --------------------------------------------------------------------------------------------------------


def test_coverage_is_the_share_of_labels_inside_with_an_error_by_prompt():
    inside, outside = (2.0, 4.0), (4.5, 5.0)
    found = coverage([inside, inside, outside, inside, None], [2.0, 4.0, 3.0, None, 3.0], ["a", "b", "c", "c", "d"])
    # Shares of prompts 1, 1, 0: sqrt((1/9 + 1/9 + 4/9) 3/2) / 3
    assert found == Coverage(3, Estimate(pytest.approx(2 / 3), pytest.approx(1 / 3)))


def test_clips_of_one_prompt_count_together_for_the_error():
    intervals, labels = [(2.0, 4.0)] * 8, [3.0] * 4 + [5.0] * 4
    apart = coverage(intervals, labels, [str(row) for row in range(8)])
    together = coverage(intervals, labels, ["a"] * 4 + ["b"] * 4)
    assert apart.share.standard_error == pytest.approx(math.sqrt(0.25 * 8 / 7 / 8))
    assert together.share.standard_error == pytest.approx(0.5)
    assert coverage(intervals, labels, ["a"] * 8).share == Estimate(0.5)
    assert coverage([None], [3.0], ["a"]) is None


# ---- shown with every score ------------------------------------------------------------------------------------------


SURE = TrainedOn(
    "human",
    60,
    "clips",
    margins={"Traditional": 0.5, "Alignment": 0.7, "Temporal": 0.75},
    num_margin_clips=dict.fromkeys(DIMENSIONS, 24) | {"Aesthetic": 12, "Overall": 0},
    known_words=("a", "b"),
)


def test_an_interval_is_the_score_and_its_margin_within_the_scale():
    result = replace(RESULT, trained_on=SURE, prompt="a b")
    none = {"Aesthetic": None, "Overall": None}
    expected = {"Traditional": (1.0, 1.5), "Alignment": (1.55, 2.95), "Temporal": (3.75, 5.0)} | none
    assert result.intervals == expected
    assert result.to_dict()["intervals"]["Temporal"] == [3.75, 5.0]
    assert result.to_dict()["intervals"]["Overall"] is None
    again = Comparison.from_dict(json.loads(json.dumps(Comparison((result, result)).to_dict())))
    assert again.results[1].intervals == expected


def test_a_score_that_means_nothing_has_no_interval():
    result = replace(RESULT, trained_on=SURE, prompt="a zebra")
    assert result.intervals["Alignment"] is None
    assert result.intervals["Traditional"] == (1.0, 1.5)


def test_it_is_said_for_which_clips_intervals_hold_and_why_there_are_none():
    assert wording.interval_note(SURE) == (
        "Its 90 % intervals hold for clips like the 24 that they were measured on. No interval for Aesthetic (12) and "
        "Overall (0): at least 20 validation clips with a label are needed for one."
    )
    drawn = wording.interval_note(replace(SURE, kind="procedural"))
    assert "hold for drawn clips like the 24 that they were measured on; for real footage they are too narrow." in drawn
    assert "no intervals: nobody has measured" in wording.interval_note(RESULT.trained_on)
    assert wording.margins_line(SURE).startswith(
        "90 % intervals: Traditional ± 0.50, Alignment ± 0.70, Temporal ± 0.75. "
    )


def test_every_interface_shows_the_interval():
    result = replace(RESULT, trained_on=SURE, prompt="a b")
    table = render.score_table(result)
    assert table.count("whisker") == 3
    assert 'class="whisker" style="left:68.8%;width:31.2%"' in table
    assert "3.75 to 5.00</small>" in table
    assert "whisker" not in render.score_table(RESULT)
    assert "  Temporal    4.50  Excellent  3.75 to 5.00" in cli_text.score_lines("x", result)
    assert "  Overall     5.00  Excellent" in cli_text.score_lines("x", result)
    outline, whiskers = radar_chart(result).data
    assert whiskers.r == (1.0, 1.5, None, 1.55, 2.95, None, 3.75, 5.0, None)
    assert whiskers.theta[6] == outline.theta[3]
    assert len(radar_chart(RESULT).data) == 1
    assert wording.interval_note(SURE) in render.about_scores(result)
    assert with_caution({}, SURE)["interval_note"] == wording.interval_note(SURE)
    assert wording.margins_line(SURE) in model_card(ModelConfig(), SURE)


def test_margins_of_a_damaged_file_fail():
    for wrong, match in (({"Temporal": 7.0}, "0 to 4"), ({"Wit": 1.0}, "Wit"), ({"Temporal": True}, "True")):
        with pytest.raises(ValueError, match=match):
            replace(SURE, margins=wrong)
    with pytest.raises(ValueError, match=r"num_margin_clips is .*; an object of at most 5, each a whole number"):
        replace(SURE, num_margin_clips={"Temporal": -1})


def test_margins_are_noted_in_a_checkpoint_without_touching_its_weights(checkpoint_folder, tmp_path):
    folder = Path(shutil.copytree(checkpoint_folder, tmp_path / "mine"))
    before = read_checkpoint(folder)
    note_margins(folder, SURE.margins, SURE.num_margin_clips)
    after = read_checkpoint(folder)
    assert (after.trained_on.margins, after.trained_on.num_margin_clips) == (SURE.margins, SURE.num_margin_clips)
    assert after == replace(before, trained_on=replace(before.trained_on, **margins_of(SURE)))
    assert "Temporal ± 0.75" in (folder / "README.md").read_text()
    config = json.loads((folder / "config.json").read_text())
    del config["trained_on"]["margins"], config["trained_on"]["num_margin_clips"]
    (folder / "config.json").write_text(json.dumps(config))
    assert read_checkpoint(folder) == before, "what an older version wrote"


def margins_of(trained_on: TrainedOn) -> dict:
    return {"margins": trained_on.margins, "num_margin_clips": trained_on.num_margin_clips}


def test_a_model_is_judged_by_how_often_its_intervals_hold_the_label():
    records = [VideoRecord(f"{n}", Path(f"{n}"), f"prompt {n}", {"Temporal": 3.0}, n) for n in range(10)]
    scores = [dict.fromkeys(DIMENSIONS, 3.0 + n / 5) for n in range(10)]  # 0.75 holds n = 0, 1, 2, 3
    judged = evaluation_of(scores, records, SURE)
    assert judged.coverage == {"Temporal": Coverage(10, Estimate(0.4, pytest.approx(math.sqrt(0.24 / 9))))}
    assert judged.to_dict()["coverage"] == {"Temporal": {"n": 10, "share": 0.4}}
    assert wording.coverage_line(judged) == "Labels inside the 90 % intervals: Temporal 40.0 ± 16.3 % of 10."
    assert wording.coverage_line(judged) in cli_text.metric_lines(judged)
    doubts = [{"Temporal"}] * 5 + [set()] * 5
    assert evaluation_of(scores, records, SURE, doubts=doubts).coverage["Temporal"].n == 5
    assert evaluation_of(scores, records, RESULT.trained_on).coverage == {}


def evaluation_of(scores, records, trained_on, **settings):
    return judge(scores, records, trained_on, sha256s=[record.name * 12 for record in records], **settings)
