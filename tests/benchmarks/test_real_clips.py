"""The benchmark behind what the card of `demo` says of real clips."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import real_clips as bench
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.procedural.scenes import Scene, render_scene


@pytest.fixture(scope="module")
def clip():
    scene = Scene("red", "ball", "leaves", "right", "left", look=0)
    frames = render_scene(scene, num_frames=24, duration_seconds=1.0, height=96, width=128)
    return bench.RealClip("drawn", frames, 24.0)


@pytest.mark.parametrize("kind", bench.KINDS)
def test_a_clip_is_made_worse_step_by_step(clip, kind: str) -> None:
    worse = [bench.KINDS[kind].make(clip, severity) for severity in bench.KINDS[kind].severities]
    assert {(frames.shape, frames.dtype) for frames in worse} == {(clip.frames.shape, torch.uint8)}
    apart = [float((frames.float() - clip.frames.float()).abs().mean()) for frames in worse]
    assert apart[0] > 0
    assert apart[-1] > 2 * apart[0]
    assert apart == sorted(apart) or kind == "shuffled frames", "no two blocks of frames differ by the same"


def test_what_does_not_show_keeps_what_the_clip_shows(clip) -> None:
    coded, resized, trimmed = (make(clip) for make in bench.SAME.values())
    assert 0 < (coded.float() - clip.frames.float()).abs().mean() < 6
    assert resized.shape == (24, 3, 72, 96)
    assert torch.equal(trimmed, clip.frames[:22])


class Judge:
    """Instead of a model: each call answers with the next row, whatever it is shown."""

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = iter(rows)

    def __call__(self, *_) -> np.ndarray:
        return np.array(next(self._rows))


def test_the_right_dimension_must_fall_most_of_the_four(clip, monkeypatch, capsys) -> None:
    clean = np.array([5.0, 4.0, 5.0, 5.0, 5.0])
    ordered = [[5 - 0.5 * step, 4.0, 5.0, 5.0, 5 - step] for step in range(1, 6)]  # Overall does not count
    prompt_moves = [[5 - 0.1 * step, 4 - 0.5 * step, 5.0, 5.0, 5.0] for step in range(1, 6)]
    flat = [[5.0, 4.0, 5.0, 5.0, 5.0]] * 5
    monkeypatch.setattr(bench, "KINDS", {"noise": bench.Kind("Traditional", lambda each, _: each.frames, (1,) * 5)})
    monkeypatch.setattr(bench, "scores", Judge([*ordered, *prompt_moves, *flat]))
    rows = bench.report_kinds(None, [clip] * 3, [clean] * 3, "a video")
    assert rows == {
        "noise: Traditional falls with severity, Spearman": "0.67 (at least 0.90)",
        "of all these, share in which that dimension falls most": "0.33 (at least 0.75)",
    }
    assert "| noise | 0.67 | 0.33 | 1.00, 1.00, 0.00 |" in capsys.readouterr().out


def test_what_is_noted_takes_the_place_of_the_same_clips_alone(monkeypatch, tmp_path: Path) -> None:
    noted: dict[str, str] = {}
    known = {"2 real clips, old": "1", "2 real clips of mine, old": "2", "pans over 3 photographs, old": "3"}
    monkeypatch.setattr(bench, "load_checkpoint", lambda *_, **__: None)
    monkeypatch.setattr(bench, "read_checkpoint", lambda _: SimpleNamespace(trained_on=SimpleNamespace(measured=known)))
    monkeypatch.setattr(bench, "note_measured", lambda _, rows: noted.update(rows))
    monkeypatch.setattr(bench, "scores", lambda *_: np.full(len(DIMENSIONS), 4.0))
    monkeypatch.setattr(bench, "report_kinds", lambda *_: {})
    monkeypatch.setattr(bench, "report_same", lambda *_: {})
    monkeypatch.setattr(bench, "report_cost", lambda *_: {})
    monkeypatch.setattr(sys, "argv", ["real_clips.py", "--note", "--model", str(tmp_path)])
    bench.main()
    assert noted == {
        "2 real clips of mine, old": "2",
        "pans over 3 photographs, old": "3",
        "2 real clips, clean: mean Traditional": "4.00 (at least 3.8)",
        "2 real clips, clean: mean Temporal": "4.00 (at least 3.8)",
    }
