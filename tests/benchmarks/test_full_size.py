"""Encoders with random weights, and the reference way that benchmarks compare with."""

from __future__ import annotations

from itertools import combinations

import torch
from transformers import VJEPA2Config, VJEPA2Model

from benchmarks.full_size import VIDEO_SIZES, encode_reference, load_reference, markdown_table, write_encoders
from vjepa_demo.model.vjepa import VJEPAModel


def test_the_program_and_the_reference_way_make_the_same_features_of_a_clip(tmp_path):
    folders = write_encoders(tmp_path, "tiny", frames=4)
    model, reference = VJEPAModel(*folders, device="cpu"), load_reference(folders[0])
    assert (model.clip_config.num_frames, model.clip_config.crop_size) == (4, 32)
    pixels = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    features = model.encode_video(pixels)
    assert torch.allclose(features, encode_reference(reference, pixels), atol=1e-5)
    assert not torch.allclose(features[0], features[1], atol=0.1), "two clips differ"
    assert abs(float(model.encode_text(["A red ball, rolling."]).norm()) - 1) < 1e-5


def test_no_two_layers_have_the_same_weights(tmp_path):
    video, _ = write_encoders(tmp_path, "tiny")
    weights = [layer.mlp.fc1.weight for layer in load_reference(video).encoder.layer]
    assert all(not torch.equal(a, b) for a, b in combinations(weights, 2))
    assert all(0.018 < float(weight.detach().std()) < 0.022 for weight in weights)


def test_vitg_has_a_billion_weights():
    with torch.device("meta"):
        model = VJEPA2Model(VJEPA2Config(**VIDEO_SIZES["vitg"]))
    layer = model.encoder.layer[0]
    assert layer.mlp.fc1.weight.shape == (6144, 1408)
    assert layer.attention.attention_head_size == 64
    assert 1.00e9 < sum(weight.numel() for weight in model.encoder.parameters()) < 1.02e9


def test_a_cell_does_not_break_its_table():
    assert markdown_table(["a", "b"], [[1, "x\ny|z"]]) == "| a | b |\n| --- | --- |\n| 1 | x y/z |"
