"""What an encoder's files may say: the encoders of the Hub pass, and nothing that is larger than what came with it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import small_vjepa_config
from transformers import AutoTokenizer, VJEPA2Model

from vjepa_demo import ranges
from vjepa_demo.config import ASSETS, DIMENSIONS, NAMED_VIEWS, ModelConfig, View
from vjepa_demo.model import source
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint, read_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.schema import CheckpointError, ModelError

# config.json of the Hub's repositories, in the fields that decide something and those of older transformers.
VJEPA2 = {"model_type": "vjepa2", "patch_size": 16, "tubelet_size": 2, "in_chans": 3, "frames_per_clip": 64}
VJEPA2 |= {"hidden_act": "gelu", "layer_norm_eps": 1e-06, "qkv_bias": True, "mlp_ratio": 4, "drop_path_rate": 0.0}
VJEPA2 |= {"attention_dropout": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.02, "image_size": 256}
VJEPA2 |= {"pred_hidden_size": 384, "pred_num_attention_heads": 12, "pred_num_hidden_layers": 12, "pred_mlp_ratio": 4.0}
VJEPA2 |= {"pred_num_mask_tokens": 10, "pred_zero_init_mask_tokens": True, "num_pooler_layers": 3, "use_SiLU": False}
EDGE = {"crop_size": 256}
VIDEO = {
    "vjepa2-vitl-fpc64-256": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "crop_size": 256,
    },
    "vjepa2-vith-fpc64-256": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "crop_size": 256,
    },
    "vjepa2-vitg-fpc64-384-ssv2": {
        "hidden_size": 1408,
        "num_hidden_layers": 40,
        "num_attention_heads": 22,
        "crop_size": 384,
        "mlp_ratio": 48 / 11,
        "architectures": ["VJEPA2ForVideoClassification"],
        "id2label": {str(n): f"label {n}" for n in range(174)},
    },
}
BERT = {"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2}
BERT |= {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "initializer_range": 0.02, "pad_token_id": 0, "use_cache": True}
BERT |= {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "classifier_dropout": None}
BERT |= {"position_embedding_type": "absolute", "torch_dtype": "float32", "architectures": ["BertModel"]}
TEXT = {
    "bge-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "bge-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "bge-small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536},
}


@pytest.mark.parametrize("name", VIDEO)
def test_the_video_encoders_of_the_hub_may_look_with_every_named_view(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(VJEPA2 | VIDEO[name]))
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.485, 0.456, 0.406]}')
    config = source.read_encoder_config(str(tmp_path), None, "vjepa2")
    assert {field: getattr(config, field) for field in VIDEO[name] if field != "id2label"} == {
        field: value for field, value in VIDEO[name].items() if field != "id2label"
    }
    model = ModelConfig(str(tmp_path), views=tuple(NAMED_VIEWS.values()))
    assert source.read_clip_config(model, config).num_frames == 64
    assert source.read_clip_config(replace(model, views=(View(), View())), config).crop_size == config.crop_size


@pytest.mark.parametrize("name", TEXT)
def test_the_text_encoders_of_the_hub_pass(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(BERT | TEXT[name]))
    config = source.read_encoder_config(str(tmp_path), None, "bert")
    assert {field: getattr(config, field) for field in TEXT[name]} == TEXT[name]


@pytest.mark.parametrize("frames", [(1024, 1024, 1024), (64,) * 9])
def test_views_that_cost_more_than_the_largest_encoder_needs_fail(frames):
    encoder = VJEPA2 | VIDEO["vjepa2-vitl-fpc64-256"] | {"crop_size": 128}
    views = tuple(View(num_frames=count) for count in frames)[:8]
    encoder |= {"crop_size": 384} if len(frames) > 3 else {}
    with pytest.raises(ModelError, match=r"that asks for [\d,]+ (tokens|pixels) in .*; [\d,]+ at most were expected"):
        source.read_clip_config(ModelConfig(views=views), SimpleNamespace(**encoder))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"crop_size": 8192}, "crop_size is 8192; a whole number from 16 to 1,024 was expected"),
        ({"crop_size": 40}, r"crop_size is 40; a multiple of patch_size \(16\) was expected"),
        ({"patch_size": 0}, "patch_size is 0; a whole number from 1 to 64"),
        ({"tubelet_size": 0}, "tubelet_size is 0; a whole number"),
        ({"frames_per_clip": 10**9}, "frames_per_clip is 1000000000; a whole number"),
        ({"pred_num_hidden_layers": 100_000}, "pred_num_hidden_layers is 100000; a whole number"),
        ({"num_attention_heads": 5}, r"hidden_size is 24; num_attention_heads \(5\) times an even number"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio is nan; a number from 0.25 to 16 was expected"),
        ({"layer_norm_eps": True}, "layer_norm_eps is True; a number"),
        ({"num_hidden_layers": 12}, r"lacks \d+ of the weights of VideoEncoder"),
        ({"hidden_size": 4080}, r"do not fit its config\.json: .* is \(24, 3, 2, 16, 16\) in F32; \(4080, 3,"),
    ],
)
def test_a_configuration_out_of_range_or_beyond_its_weights_fails(base_encoder, text_encoder, tmp_path, fields, said):
    folder = shutil.copytree(base_encoder, tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said):
        VJEPAModel(str(folder), str(text_encoder), device="cpu")


def test_what_is_not_read_of_a_configuration_changes_nothing(base_encoder, text_encoder, tmp_path):
    folder = shutil.copytree(base_encoder, tmp_path / "encoder")
    evil = {
        "auto_map": {"AutoConfig": "evil.Evil"},
        "quantization_config": {"quant_method": "gptq"},
        "num_labels": 10**9,
    }
    evil |= {"attn_implementation": "evil/kernel", "transformers_weights": "../x.safetensors", "num_labels": 10**9}
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | evil))
    clip = torch.randn(1, 3, 4, 32, 32)
    changed, whole = (VJEPAModel(str(each), str(text_encoder), device="cpu") for each in (folder, base_encoder))
    assert torch.equal(changed.encode_video(clip), whole.encode_video(clip))


def test_no_predictor_is_built_and_sharded_weights_are_the_same(base_encoder, text_encoder, tmp_path):
    VJEPA2Model.from_pretrained(base_encoder).save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    shutil.copy(base_encoder / "video_preprocessor_config.json", tmp_path)
    sharded, whole = (VJEPAModel(str(each), str(text_encoder), device="cpu") for each in (tmp_path, base_encoder))
    assert not [name for name, _ in sharded.named_modules() if "predictor" in name]
    for (name, one), (_, other) in zip(sharded.venc.named_parameters(), whole.venc.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    index = json.loads((tmp_path / source.INDEX).read_text())
    index["weight_map"]["encoder.layernorm.weight"] = "../../model.safetensors"
    (tmp_path / source.INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"names the file '\.\./\.\./model\.safetensors'; model-\?\?\?\?\?-of"):
        VJEPAModel(str(tmp_path), str(text_encoder), device="cpu")


def test_weights_that_are_no_floating_point_numbers_fail(base_encoder, text_encoder, tmp_path):
    folder = shutil.copytree(base_encoder, tmp_path / "encoder")
    weights = load_file(folder / source.WEIGHTS)
    weights["encoder.layernorm.bias"] = weights["encoder.layernorm.bias"].to(torch.int32)
    save_file(weights, folder / source.WEIGHTS)
    with pytest.raises(ModelError, match=r"encoder\.layernorm\.bias is \(24,\) in I32"):
        VJEPAModel(str(folder), str(text_encoder), device="cpu")


@pytest.mark.parametrize("folder", ["demo", "small"])
def test_prompts_become_the_same_tokens_as_with_transformers(folder, text_encoder):
    path = str(ASSETS / "demo" / "text_encoder" if folder == "demo" else text_encoder)
    vocab_size = json.loads(Path(path, "config.json").read_text())["vocab_size"]
    prompts = ["A red ball rolls", "Éclair [MASK] 漢字 naïve!! [PAD] x", "", "z" * 300, "4K\tfoo\u200bbar"]
    settings = {"padding": True, "truncation": True, "max_length": 64}
    ours = source.read_tokenizer(path, None, vocab_size=vocab_size)
    assert ours(prompts, **settings).data == AutoTokenizer.from_pretrained(path)(prompts, **settings).data


def test_a_changed_byte_of_an_encoder_in_a_checkpoint_is_told(checkpoint_folder, tmp_path):
    folder = shutil.copytree(checkpoint_folder, tmp_path / "copy")
    for name in ("video_encoder/model.safetensors", "text_encoder/vocab.txt", "video_encoder/config.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        with pytest.raises(CheckpointError, match=f"{name.split('/')[0]} is not what config.json was written with"):
            load_checkpoint(read_checkpoint(folder), device="cpu")
        (folder / name).write_bytes(whole)
    load_checkpoint(read_checkpoint(folder), device="cpu")


def test_demo_knows_the_digests_of_its_encoders():
    assert find_checkpoint("demo").encoders_sha256.keys() == {"./video_encoder", "./text_encoder"}


def test_ranges_name_the_dimensions_and_every_field_of_the_encoders():
    assert ranges.LEARNED["dimensions"].choices == DIMENSIONS
    assert ranges.VIDEO_ENCODER.keys() >= small_vjepa_config().to_diff_dict().keys() - {"model_type", "dtype"} - {
        "transformers_version"
    }
