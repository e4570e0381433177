"""The sample data set is what its script draws: two clips a prompt, and the labels of two tastes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from scripts.make_sample import CLIPS_PER_PROMPT, NUM_PROMPTS, draw, moody
from vjepa_demo.config import ASSETS
from vjepa_demo.data.records import read_records

SAMPLE = ASSETS / "sample"


def test_the_sample_has_two_clips_a_prompt_and_the_labels_of_two_tastes():
    drawn, other = (read_records(SAMPLE / name, SAMPLE) for name in ("labels.csv", "moody.csv"))
    assert (drawn.problems, drawn.notes, other.problems, other.notes) == ((), (), (), ())
    assert set(Counter(record.prompt_key for record in drawn.records).values()) == {CLIPS_PER_PROMPT}
    assert len({record.prompt_key for record in drawn.records}) == NUM_PROMPTS
    for one, another in zip(drawn.records, other.records, strict=True):
        assert (one.video, one.prompt) == (another.video, another.prompt)
        assert another.labels["Aesthetic"] == pytest.approx(6 - one.labels["Aesthetic"])
        for name in ("Traditional", "Alignment", "Temporal"):
            assert another.labels[name] == one.labels[name]
    assert {record.video for record in drawn.records} == set(SAMPLE.glob("*.mp4"))
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 8e6


def test_the_sample_is_what_the_script_draws(tmp_path):
    shipped, shipped_moody = (read_records(SAMPLE / name, SAMPLE).records for name in ("labels.csv", "moody.csv"))
    for index, record in enumerate(islice(draw(tmp_path), 3)):
        assert record.video.stat().st_size > 0
        for again, there in ((record, shipped[index]), (moody(record), shipped_moody[index])):
            assert (again.name, again.prompt) == (there.name, there.prompt)
            assert again.labels == pytest.approx(there.labels, abs=0.05)  # another FFmpeg codes a little otherwise


def test_a_moody_overall_follows_from_the_other_dimensions():
    (record,) = islice(read_records(SAMPLE / "labels.csv", SAMPLE).records, 1)
    # 0.65 of the weighted mean, and 0.35 of the worst: Temporal, because Aesthetic counts half, as 3
    labels = record.labels | {"Traditional": 4.0, "Alignment": 3.0, "Aesthetic": 5.0, "Temporal": 2.0}
    changed = moody(replace(record, labels=labels))
    assert changed.labels["Aesthetic"] == 1.0
    assert changed.labels["Overall"] == pytest.approx(
        0.65 * (0.35 * 4 + 0.2 * 3 + 0.1 * 1 + 0.35 * 2) + 0.35 * 2, abs=1e-3
    )
