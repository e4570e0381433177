from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from vjepa_demo.config import (
    DEMO_VIEWS,
    NAMED_VIEWS,
    SEED_VIEWS,
    VIDEO_SUFFIXES,
    ClipConfig,
    ModelConfig,
    View,
    acr_word,
    feature_cache_bytes,
    feature_cache_folder,
    model_presets,
    named_views,
)


@pytest.mark.parametrize(
    ("score", "word"),
    [(1.0, "Bad"), (1.49, "Bad"), (1.5, "Poor"), (3.0, "Fair"), (3.51, "Good"), (4.5, "Excellent"), (5.0, "Excellent")],
)
def test_the_acr_word_is_the_nearest_one(score, word):
    assert acr_word(score) == word


def test_what_ffmpeg_reads_as_video_has_a_known_ending():
    named = ".3g2 .asf .f4v .vob .m2v .mxf .y4m .qt .divx .avif .apng .webp .mp4 .mov .webm .mkv .avi .gif .ts .ogv .dv"
    assert set(named.split()) <= set(VIDEO_SUFFIXES)
    assert not {".png", ".jpg", ".mp3", ".m4a", ".wav", ".srt", ".txt", ".json", ".zip", ".yuv"} & set(VIDEO_SUFFIXES)
    assert len(set(VIDEO_SUFFIXES)) == len(VIDEO_SUFFIXES)


@pytest.mark.parametrize(("crop", "edge"), [(128, 146), (224, 256), (256, 292), (384, 438)])
def test_the_resize_edge_is_that_of_the_processor(crop, edge):
    assert ClipConfig(crop_size=crop).resize_edge == edge


def test_the_seeds_view_is_the_default():
    assert ClipConfig().views == ModelConfig().views == SEED_VIEWS == (View(),)


def test_views_come_back_from_json():
    config = ModelConfig(views=(*DEMO_VIEWS, View(num_frames=16, window=16, differences=True)))
    assert ModelConfig(**json.loads(json.dumps(config.to_dict()))) == config


def test_what_older_versions_do_not_know_is_kept_only_where_it_says_something():
    plain, changes = View(num_frames=16, window=16), View(num_frames=16, window=16, differences=True)
    first, second = ModelConfig(views=(plain, changes)).to_dict()["views"]
    assert "differences" not in first
    assert second["differences"] is True


def test_a_view_of_differences_says_so():
    view = View(num_frames=16, window=16, differences=True)
    assert view.title == "frame differences: the centre of the picture, 16 frames in a row"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"framing": "zoom"}, "framing is 'zoom'"),
        ({"num_frames": 7}, "num_frames is 7"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"window": 16}, "num_frames is None; the window holds 16"),
        ({"num_frames": 18, "window": 16}, "num_frames is 18; the window holds 16"),
        ({"grid": None}, "grid is None"),
        ({"edge": 5}, "edge is 5"),
        ({"differences": 1}, "differences is 1"),
        ({"differences": True}, "a view of frame differences needs a window"),
    ],
)
def test_a_view_that_cannot_be_fails(fields, said):
    with pytest.raises(ValueError, match=said):
        View(**fields)


@pytest.mark.parametrize("views", [[], "crop", [{"zoom": 2}], [View()] * 9])
def test_a_model_with_views_that_cannot_be_fails(views):
    with pytest.raises(ValueError, match="views is"):
        ModelConfig(views=views)


def test_only_demo_can_score_before_anything_was_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    presets = model_presets()
    assert list(presets) == ["demo", "vitl", "vitg"]
    assert presets["demo"].refusal is None
    for name in ("vitl", "vitg"):
        assert "only an encoder" in presets[name].refusal
        assert f"python -m vjepa_demo train --bootstrap --model {name}; choose demo" in presets[name].refusal
        assert str(tmp_path) not in presets[name].refusal  # it is shown on the page


def test_a_checkpoint_in_the_folder_makes_a_preset_usable(tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    (tmp_path / "vitl").mkdir()
    (tmp_path / "vitl" / "config.json").write_text("{}")
    assert model_presets()["vitl"].refusal is None


def test_features_are_kept_in_the_users_cache_unless_told_otherwise(monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CACHE", "~/elsewhere")
    assert feature_cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("VJEPA_DEMO_CACHE")
    assert feature_cache_folder() == Path.home() / ".cache" / "vjepa_demo" / "features"


@pytest.mark.parametrize(("free", "budget"), [(10**12, 20 * 10**9), (50 * 10**9, 10 * 10**9), (0, 0)])
def test_features_take_20_gb_or_a_fifth_of_the_free_disk(tmp_path, monkeypatch, free, budget):
    monkeypatch.setenv("VJEPA_DEMO_CACHE", str(tmp_path / "not" / "yet" / "there"))
    monkeypatch.delenv("VJEPA_DEMO_CACHE_GB", raising=False)
    monkeypatch.setattr(shutil, "disk_usage", {tmp_path: SimpleNamespace(free=free)}.__getitem__)
    assert feature_cache_bytes() == budget


def test_a_view_says_what_it_shows():
    whole, dense, native, moving = (view.title for view in DEMO_VIEWS)
    assert whole == "the whole picture, squeezed to a square, over the whole clip"
    assert dense == "the centre of the picture, 16 frames in a row"
    assert native == "small pieces at full resolution (of 720 lines at most), side by side, 4 of 16 frames in a row"
    assert moving.startswith("frame differences: small pieces")


def test_views_are_chosen_by_name():
    assert named_views("centre") == SEED_VIEWS
    assert named_views(" native,centre ") == (NAMED_VIEWS["native"], NAMED_VIEWS["centre"])
    for names in ("", "centre,", "centre,centre", "zoom"):
        with pytest.raises(ValueError, match="one or more of centre, whole, dense, native was expected"):
            named_views(names)
