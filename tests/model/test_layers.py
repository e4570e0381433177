from __future__ import annotations

import pytest
import torch
from small_models import small_vjepa_config
from transformers import VJEPA2Model
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2RopeAttention

from vjepa_demo.model.layers import rotary_tables, rotate, run_layers


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    config = small_vjepa_config(hidden_size=128, initializer_range=0.05)  # heads of 64, of which 4 numbers do not turn
    return VJEPA2Model(config).encoder.eval()


@pytest.fixture(scope="module")
def hidden(encoder) -> torch.Tensor:
    config = encoder.config
    pixels = torch.randn(2, config.frames_per_clip, config.in_chans, config.crop_size, config.crop_size)
    with torch.no_grad():
        return encoder.embeddings(pixels)


def by_transformers(encoder, hidden: torch.Tensor) -> torch.Tensor:
    for layer in encoder.layer:
        hidden = layer(hidden, None)[0]
    return hidden


def test_the_layers_answer_as_those_of_transformers(encoder, hidden):
    with torch.no_grad():
        torch.testing.assert_close(run_layers(encoder.layer, hidden), by_transformers(encoder, hidden))


def test_they_learn_as_those_of_transformers(encoder, hidden):
    gradients = []
    for run in (lambda given: run_layers(encoder.layer, given), lambda given: by_transformers(encoder, given)):
        given = hidden.clone().requires_grad_()
        run(given).square().sum().backward()
        gradients.append([given.grad, *(each.grad.clone() for each in encoder.layer.parameters())])
        encoder.zero_grad()
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_in_bfloat16_rotation_loses_less_than_transformers_does():
    """transformers computes the angles in bfloat16 too; at the far end of 64 frames they are off by a tenth."""
    attention = VJEPA2RopeAttention(small_vjepa_config(hidden_size=128, crop_size=256, patch_size=16), 128, 2)
    values = torch.randn(1, 32 * 16**2, 2, 64)
    places = attention.get_position_ids(values)
    exact = attention.apply_rotary_embeddings(values.transpose(1, 2), places).transpose(1, 2)
    rounded = values.bfloat16()
    theirs = attention.apply_rotary_embeddings(rounded.transpose(1, 2), places).transpose(1, 2)
    errors = []
    for turned in (theirs, rotate(rounded, *rotary_tables(32 * 16**2, 16, 64, values.device, torch.bfloat16))):
        errors.append((turned.float() - exact).abs())
    assert errors[1].mean() < 0.9 * errors[0].mean()
    assert errors[1].max() < 0.5 * errors[0].max()


def test_tables_are_made_once_for_each_shape_and_precision():
    cpu = torch.device("cpu")
    first = rotary_tables(32, 4, 64, cpu, torch.float32)
    assert rotary_tables(32, 4, 64, cpu, torch.float32)[0] is first[0]
    assert rotary_tables(32, 4, 64, cpu, torch.bfloat16)[0].dtype == torch.bfloat16
    assert [each.shape for each in first] == [(32, 1, 64)] * 2
    assert not first[1][:, :, 60:].any()


def test_tables_that_scoring_made_can_be_learned_through(encoder, hidden):
    rotary_tables.cache_clear()
    with torch.inference_mode():
        run_layers(encoder.layer, hidden)
    given = hidden.clone().requires_grad_()
    run_layers(encoder.layer, given).sum().backward()
    assert given.grad.abs().sum() > 0


def test_it_can_be_ended_before_each_layer(encoder, hidden):
    calls = []

    def before_layer() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with torch.no_grad(), pytest.raises(InterruptedError):
        run_layers(encoder.layer, hidden, before_layer=before_layer)
    assert len(calls) == 2 < len(encoder.layer)
