"""What the Fine-tune tab shows of a training: gains as rows, and the worst clips."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo.app import finetune_html as fragments
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.schema import PredictedClip, TrainingResult, VideoRecord


def evaluation(*, noise_before: float, sign: float = 1.0):
    """Of 30 clips: close to the labels after training, and off by `noise_before` before."""
    rng = np.random.default_rng(0)
    labels = rng.uniform(1, 5, (30, 5))
    before = sign * labels + rng.normal(0, noise_before, labels.shape)
    return evaluate(labels + rng.normal(0, 0.1, labels.shape), labels, before=before)


def test_each_dimension_has_its_srocc_before_and_after_and_the_gain():
    judged = evaluation(noise_before=2.0)
    shown = fragments.results(judged, "It <learned>.")
    rows = re.findall(r'<tr data-gain="(\w+)">(.*?)</tr>', shown)
    assert [name for name, _ in rows] == list(DIMENSIONS)
    for name, row in rows:
        cells = re.findall(r"<td>(.*?)</td>", row)
        gain = judged.gain.srocc[name]
        before, after = judged.gain.before.dimensions[name].srocc.value, judged.dimensions[name].srocc.value
        assert cells == [name, f"{before:.3f}", f"{after:.3f}", f"+{gain.value:.3f} ± {gain.standard_error:.3f}"]
        assert f'<i class="before" style="left:{100 * before:.1f}%">' in row
        assert f'<i class="after" style="left:{100 * after:.1f}%">' in row
    assert "It &lt;learned&gt;." in shown
    assert shown.index("<details>") < shown.index("no-video SROCC")


def test_a_correlation_below_0_is_on_the_line_too():
    judged = evaluation(noise_before=1.0, sign=-1.0)
    places = re.findall(r'class="before" style="left:([\d.]+)%"', fragments.results(judged, ""))
    befores = [each.srocc.value for each in judged.gain.before.dimensions.values()]
    assert max(befores) < 0
    assert [float(place) for place in places] == pytest.approx([50 * (value + 1) for value in befores], abs=0.06)


def test_without_a_before_the_metrics_stand_alone():
    rng = np.random.default_rng(0)
    labels = rng.uniform(1, 5, (10, 5))
    shown = fragments.results(evaluate(labels, labels), "said")
    assert "data-gain" not in shown
    assert "<details" not in shown
    assert shown.count("data-dimension") == 5


def test_the_worst_clips_come_first_and_count_only_what_has_a_label():
    unknown = float("nan")
    records = tuple(
        VideoRecord(f"{name}.mp4", Path(f"{name}.mp4"), f"prompt {name}", labels, line)
        for line, (name, labels) in enumerate(
            {"a": {"Overall": 3.0}, "b": {"Temporal": 1.0, "Overall": 3.0}, "<c>": {"Temporal": 2.0}}.items(), start=2
        )
    )
    labels = ((unknown,) * 4 + (3.0,), (unknown,) * 3 + (1.0, 3.0), (unknown,) * 3 + (2.0, unknown))
    predictions = ((1.0, 1.0, 1.0, 1.0, 3.5), (5.0, 5.0, 5.0, 4.0, 3.0), (5.0, 5.0, 5.0, 2.0, 5.0))
    result = TrainingResult(Path("run"), 1, 1, None, records, labels, predictions)
    clips = result.worst_clips(2)
    assert [(clip.record.name, clip.error) for clip in clips] == [("b.mp4", pytest.approx(4.5**0.5)), ("a.mp4", 0.5)]
    assert clips[0].scores == {"Temporal": 4.0, "Overall": 3.0}
    assert [clip.record.name for clip in result.worst_clips(9)][-1] == "<c>.mp4"
    shown = fragments.worst((*clips, PredictedClip(records[2], {"Temporal": 2.0}, 0.0)))
    assert re.findall(r'data-clip="(\d)" aria-expanded="(\w+)"', shown) == [
        ("0", "false"),
        ("1", "false"),
        ("2", "false"),
    ]
    assert "1.00 → <b>4.00</b>" in shown
    assert "&lt;c&gt;.mp4" in shown
    assert fragments.worst(()) == ""


def test_only_the_clip_that_was_opened_has_a_player():
    record = VideoRecord("a b.mp4", Path("a b.mp4"), "p", {"Overall": 3.0}, 2)
    clips = [PredictedClip(record, {"Overall": 4.0}, 1.0)] * 2
    shown = fragments.worst(clips, opened=1, player=fragments.player("/tmp/a b.mp4", record.name))
    assert re.findall(r'aria-expanded="(\w+)"', shown) == ["false", "true"]
    first, second = shown.split("<li>")[1:]
    assert "<video" not in first
    assert 'src="gradio_api/file=/tmp/a%20b.mp4"' in second
