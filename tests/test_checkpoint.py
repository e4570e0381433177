from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import CROP, FRAMES, TRAINED_ON

from vjepa_demo.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model import VJEPAModel
from vjepa_demo.schema import CheckpointError, TrainedOn


@pytest.fixture
def folder(checkpoint_folder, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(checkpoint_folder, tmp_path / "copy")


def edit_config(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_save_then_load_scores_the_same(base_encoder, text_encoder, tmp_path):
    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu", freeze_ratio=0.5, head_hidden=16)
    save_checkpoint(model, tmp_path, trained_on=TRAINED_ON)
    loaded = load_checkpoint(read_checkpoint(tmp_path), device="cpu")
    video, text = torch.randn(1, 3, FRAMES, CROP, CROP), model.encode_text(["a cat"])
    with torch.no_grad():
        torch.testing.assert_close(loaded(video, text), model(video, text))
    assert loaded.config == model.config


def test_what_it_was_trained_on_comes_back(checkpoint_folder):
    assert read_checkpoint(checkpoint_folder).trained_on == TRAINED_ON


def test_a_moved_checkpoint_finds_its_own_encoders(folder):
    assert str(folder) in load_checkpoint(read_checkpoint(folder), device="cpu").config.video_encoder


def test_only_what_was_trained_is_saved(checkpoint_folder):
    from safetensors import safe_open

    with safe_open(checkpoint_folder / "model.safetensors", "pt") as file:
        assert all(name.startswith("head.net.") for name in file.keys())  # noqa: SIM118 (it is no dict)


def test_saving_leaves_no_partial_file(checkpoint_folder):
    assert sorted(path.name for path in checkpoint_folder.iterdir() if path.is_file()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_the_model_card_tells_data_metrics_and_limits(base_encoder, text_encoder, tmp_path):
    model = VJEPAModel(str(base_encoder), str(text_encoder), device="cpu")
    trained_on = TrainedOn("procedural", 6000, "moving shapes", {"Temporal": 0.71}, 400)
    save_checkpoint(model, tmp_path, trained_on=trained_on)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0")
    assert "6,000 procedural clips: moving shapes" in card
    assert "| Temporal | 0.710 |" in card
    assert "| Overall | undefined |" in card
    assert "seen no human label" in card


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "something-else"}, "was not written by this program"),
        ({"format_version": 99}, "format version 99; this program reads 1"),
        ({"dimensions": ["Overall"]}, r"is for the dimensions \['Overall'\]"),
        ({"model": {"video_encoder": "x", "surprise": 1}}, "does not describe a model"),
        ({"trained_on": {}}, "does not describe a model"),
        ({"trained_on": {"kind": "made up", "num_clips": 1, "description": ""}}, "kind is 'made up'"),
        ({"trained_on": {"kind": "human", "num_clips": "12", "description": ""}}, "clips are counted, got '12'"),
        ({"model": {"freeze_ratio": "x"}}, "freeze_ratio is 'x'"),
        ({"model": {"head_hidden": "x"}}, "head_hidden is 'x'"),
        ({"model": {"video_encoder": None}}, "video_encoder is None"),
        ({"model": {"num_frames": -4}}, "num_frames is -4"),
    ],
)
def test_a_foreign_config_is_refused_with_the_reason(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(folder)


def test_an_encoder_alone_is_no_checkpoint(base_encoder):
    with pytest.raises(CheckpointError, match="an encoder alone cannot score"):
        read_checkpoint(base_encoder)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_broken_config_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_checkpoint(folder)


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no config\.json"):
        read_checkpoint(tmp_path)


def test_truncated_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="copy the whole folder again"):
        load_checkpoint(read_checkpoint(folder), device="cpu")


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(read_checkpoint(folder), device="cpu")


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["head_hidden"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="does not fit its model"):
        load_checkpoint(read_checkpoint(folder), device="cpu")


@pytest.mark.parametrize(
    ("source", "message"),
    [("./../elsewhere", "outside the checkpoint"), ("video_encoder", "a Hub id .*, an absolute folder, or ./name")],
)
def test_an_encoder_that_is_nowhere_it_may_be_is_refused(folder, source, message):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["video_encoder"] = source
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(read_checkpoint(folder), device="cpu")
