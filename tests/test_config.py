from __future__ import annotations

import pytest

from vjepa_demo.config import ClipConfig, acr_word, model_presets


@pytest.mark.parametrize(
    ("score", "word"),
    [(1.0, "Bad"), (1.49, "Bad"), (1.5, "Poor"), (3.0, "Fair"), (3.51, "Good"), (4.5, "Excellent"), (5.0, "Excellent")],
)
def test_the_acr_word_is_the_nearest_one(score, word):
    assert acr_word(score) == word


@pytest.mark.parametrize(("crop", "edge"), [(128, 146), (224, 256), (256, 292), (384, 438)])
def test_the_resize_edge_is_that_of_the_processor(crop, edge):
    assert ClipConfig(crop_size=crop).resize_edge == edge


def test_only_demo_can_score_before_anything_was_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    presets = model_presets()
    assert list(presets) == ["demo", "vitl", "vitg"]
    assert presets["demo"].refusal is None
    for name in ("vitl", "vitg"):
        assert "only an encoder" in presets[name].refusal
        assert str(tmp_path) not in presets[name].refusal  # visitors read it: the server keeps its paths to itself


def test_a_checkpoint_in_the_folder_makes_a_preset_usable(tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    (tmp_path / "vitl").mkdir()
    (tmp_path / "vitl" / "config.json").write_text("{}")
    assert model_presets()["vitl"].refusal is None
