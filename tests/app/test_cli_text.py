"""What the command line prints of agreement: the gain of a training beside the SROCC."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vjepa_demo.app.api_answers import training_json
from vjepa_demo.app.cli_text import metric_lines, report_lines
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.schema import TrainingResult


def judged(**settings):
    rng = np.random.default_rng(0)
    labels = rng.uniform(1, 5, (30, 5))
    labels[:, :4] = np.nan
    before = labels + rng.normal(0, 2, labels.shape)
    return evaluate(labels + rng.normal(0, 0.1, labels.shape), labels, before=before, **settings)


def test_a_training_prints_the_srocc_before_and_the_gain():
    evaluation = judged()
    result = TrainingResult(Path("run"), 3, 2, evaluation, (), (), ())
    head, row, *_ = report_lines(result)
    assert head.split() == ["n", "SROCC", "before", "gain", "PLCC", "KROCC", "RMSE", "no-video", "SROCC"]
    gain, before = evaluation.gain.srocc["Overall"], evaluation.gain.before.dimensions["Overall"].srocc.value
    assert f"{before:.3f}" in row[head.index("before") :].split()[0]
    assert row[head.index("gain") :].startswith(str(gain))
    assert row[head.index("PLCC") :].startswith(str(evaluation.dimensions["Overall"].plcc))


def test_the_api_answers_the_same_gain():
    evaluation = judged()
    answer = training_json(TrainingResult(Path("run"), 3, 2, evaluation, (), (), ()))
    told = json.loads(json.dumps(answer, allow_nan=False))["evaluation"]["gain"]
    assert told["dimensions"]["Overall"]["srocc_gain"] == evaluation.gain.srocc["Overall"].value
    assert told["vquala_score_before"] == evaluation.gain.before.vquala_score.value
    assert told["vquala_score_gain"] == evaluation.gain.vquala_score.value > 0


def test_without_a_before_there_are_no_such_columns():
    labels = np.random.default_rng(0).uniform(1, 5, (9, 5))
    head, *_ = metric_lines(evaluate(labels, labels, num_resamples=0))
    assert head.split() == ["n", "SROCC", "PLCC", "KROCC", "RMSE", "no-video", "SROCC"]
