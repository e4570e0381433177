"""The benchmarks of speed and memory, with tiny models: what they measure is there, and all ways agree."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks import batch, finetune, measures, score
from benchmarks.full_size import write_encoders
from vjepa_demo.config import ASSETS


@pytest.fixture
def printed(capsys):
    """The lines of the tables that a benchmark printed: the other cells by the first."""

    def rows() -> dict[str, list[str]]:
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return {first: rest for first, *rest in cells}

    return rows


def test_score_shows_each_step_and_agrees_with_the_reference_way(printed):
    clip = ASSETS / "examples" / "clean.mp4"
    score.main(["--model", "tiny", "--frames", "8", "--repeats", "2", "--video", str(clip)])
    rows = printed()
    for step in (*score.STEPS, "first score (`Scorer.score`)", "second prompt for the same video", "reference way"):
        assert float(rows[f"{step}, s"][0]) > 0, step
    assert float(rows["reference way over ours"][0]) > 0
    assert rows["whole path without decoding, over the encoder alone"][1].startswith("at most 1.1: ")
    assert float(rows["smallest cosine of pooled features with the reference way's"][0]) == pytest.approx(1, abs=1e-5)
    assert rows["largest difference of a score from the reference way"][1] == "at most 0.02: met"


def test_scopes_have_the_loss_of_the_reference_way_before_they_learn(printed):
    finetune.main(["--model", "tiny", "--frames", "4", "--clips", "5", "--epochs", "2"])
    rows = printed()
    head, top, reference = map(float, rows["loss of the first epoch"])
    assert head == pytest.approx(reference, abs=1e-3)
    assert top == pytest.approx(reference, abs=1e-3)
    cached_head, cached_top, _ = map(float, rows["cached a clip, MB"])
    assert 0 < cached_head < cached_top
    for name in ("first epoch, with encoding, s", "a later epoch, s", "a run of 2 epochs, s", "peak memory, GB"):
        assert all(float(value) > 0 for value in rows[name]), name
    assert "peak memory, `top` over reference way" in rows


def test_a_way_in_a_process_of_its_own_says_what_it_measured(tmp_path, capsys):
    encoders = write_encoders(tmp_path, "tiny", frames=4)
    settings = finetune.Settings(encoders, clips=4, batch=2, epochs=2)
    finetune.main(["--way", "reference", "--settings", json.dumps(asdict(settings))])
    said = capsys.readouterr().out.rpartition(finetune.LAST_LINE)[2]
    run = finetune.Run(**json.loads(said))
    assert len(run.epoch_seconds) == 2
    assert run.seconds == pytest.approx(sum(run.epoch_seconds))
    assert run.peak_bytes > 0


def test_a_batch_tells_its_rate_and_memory(printed):
    batch.main(["--model", "tiny", "--rows", "12", "--processes", "1"])
    rows = printed()
    processes, seconds, rate, _, peak, _, _ = rows["12"]
    assert processes == "1"
    assert float(rate) == pytest.approx(12 / float(seconds), rel=0.1)
    assert float(peak) > 100
    assert float(rows["decoding ahead over one by one"][0]) > 0


def test_a_target_is_met_or_missed_by_a_share():
    assert measures.at_most(1.1, 1.1) == "at most 1.1: met"
    assert measures.at_most(2.2, 1.1) == "at most 1.1: missed by 100 %"
    assert measures.at_least(12.5, 12) == "at least 12: met"
    assert measures.at_least(9, 12) == "at least 12: missed by 25 %"
