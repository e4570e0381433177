from __future__ import annotations

import gc
import inspect
import json
import logging
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from small_models import CROP, FRAMES, small_vjepa_config, write_processor
from transformers import AutoTokenizer, BertModel, VJEPA2ForVideoClassification, VJEPA2Model

from vjepa_demo.config import DIMENSIONS, ModelConfig, View
from vjepa_demo.model import encoders
from vjepa_demo.model.cost import clip_flops
from vjepa_demo.model.vjepa import (
    OptimizedMOSHead,
    VJEPAModel,
    create_vjepa_model,
    inference_dtype,
    on_scale,
    resolve_device,
)
from vjepa_demo.schema import ModelError


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    """Two clips (B, C, T, H, W)."""
    return torch.randn(2, 3, FRAMES, CROP, CROP, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def model(base_encoder, text_encoder) -> VJEPAModel:
    torch.manual_seed(0)
    return VJEPAModel(str(base_encoder), str(text_encoder), device="cpu")


def make(video_encoder, text_encoder, **settings) -> VJEPAModel:
    torch.manual_seed(0)
    return VJEPAModel(str(video_encoder), str(text_encoder), device="cpu", **settings)


# ---- what comes out --------------------------------------------------------------------------------------------------


def test_five_scores_a_clip(model, video):
    with torch.no_grad():
        scores = model(video, model.encode_text(["a cat", "a dog runs"]))
    assert scores.shape == (2, len(DIMENSIONS))
    assert scores.dtype == torch.float32


def test_video_features_are_the_mean_of_transformers_own_last_hidden_state(model, video, base_encoder):
    reference = VJEPA2Model.from_pretrained(base_encoder).eval()
    with torch.no_grad():
        hidden = reference(video.transpose(1, 2), skip_predictor=True).last_hidden_state
    torch.testing.assert_close(model.encode_video(video), hidden.mean(dim=1))


def test_cls_pooling_is_token_zero(base_encoder, text_encoder, video):
    reference = VJEPA2Model.from_pretrained(base_encoder).eval()
    with torch.no_grad():
        hidden = reference(video.transpose(1, 2), skip_predictor=True).last_hidden_state
    torch.testing.assert_close(make(base_encoder, text_encoder, pooling="cls").encode_video(video), hidden[:, 0])


def test_attentive_pooling_is_the_classification_checkpoints_own_pooler(ssv2_encoder, text_encoder, video):
    reference = VJEPA2ForVideoClassification.from_pretrained(ssv2_encoder).eval()
    features = make(ssv2_encoder, text_encoder, pooling="attentive").encode_video(video)
    with torch.no_grad():
        torch.testing.assert_close(reference.classifier(features), reference(video.transpose(1, 2)).logits)


def test_a_classification_checkpoint_gives_its_encoder_to_mean_pooling(ssv2_encoder, text_encoder, video):
    reference = VJEPA2ForVideoClassification.from_pretrained(ssv2_encoder).vjepa2.eval()
    with torch.no_grad():
        hidden = reference(video.transpose(1, 2), skip_predictor=True).last_hidden_state
    torch.testing.assert_close(make(ssv2_encoder, text_encoder).encode_video(video), hidden.mean(dim=1))


def test_text_features_are_berts_cls_token_of_unit_length(model, text_encoder):
    prompts = ["a red ball", "a dog runs over the wet sand"]
    reference, tokenizer = BertModel.from_pretrained(text_encoder).eval(), AutoTokenizer.from_pretrained(text_encoder)
    with torch.no_grad():
        hidden = reference(**tokenizer(prompts, padding=True, return_tensors="pt")).last_hidden_state
    features = model.encode_text(prompts)
    torch.testing.assert_close(features, F.normalize(hidden[:, 0], dim=-1))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def test_a_prompt_longer_than_the_text_encoder_reads_is_cut(model):
    torch.testing.assert_close(model.encode_text(["word " * 500]), model.encode_text(["word " * 400]))


def test_a_batch_equals_its_clips_one_by_one(model, video):
    prompts = ["short", "a much longer prompt than the other"]
    text = torch.cat([model.encode_text([prompt]) for prompt in prompts])
    torch.testing.assert_close(model.encode_text(prompts), text, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        single = torch.cat([model(video[index : index + 1], text[index : index + 1]) for index in range(2)])
        torch.testing.assert_close(model(video, text), single, atol=1e-5, rtol=1e-4)


def test_forward_equals_features_then_head(model, video):
    features = model.extract_features(video, ["one", "two"])
    assert set(features) == {"video_features", "text_features"}
    with torch.no_grad():
        scores = model.predict_with_features(features["video_features"], features["text_features"])
        torch.testing.assert_close(scores, model(video, features["text_features"]))


def test_prefix_then_tail_equals_the_whole_wherever_the_line_is(base_encoder, text_encoder, video):
    whole = make(base_encoder, text_encoder, freeze_ratio=0.0).encode_video(video)
    for ratio in (0.5, 0.85, 1.0):
        split = make(base_encoder, text_encoder, freeze_ratio=ratio)
        torch.testing.assert_close(split.encode_tail(split.encode_prefix(video)), whole)


def test_only_the_encoder_is_kept(model):
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"venc", "tenc", "head"}
    assert not any("predictor" in name or "pooler" in name for name, _ in model.named_parameters())
    assert model.venc.config._attn_implementation == "sdpa"


def test_bfloat16_scores_like_float32(base_encoder, text_encoder, video):
    fp32, bf16 = (make(base_encoder, text_encoder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    prompts = ["a red ball", "a blue ball"]
    with torch.inference_mode():
        difference = fp32(video, fp32.encode_text(prompts)) - bf16(video, bf16.encode_text(prompts))
    assert 0 < difference.abs().max() <= 0.02
    small, large = (sum(parameter.nbytes for parameter in model.parameters()) for model in (bf16, fp32))
    assert small < large


# ---- what trains -----------------------------------------------------------------------------------------------------


def training(model: VJEPAModel) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(("ratio", "frozen"), [(0.0, 0), (0.5, 2), (0.85, 3), (1.0, 4)])
def test_the_bottom_layers_and_the_embeddings_never_train(base_encoder, text_encoder, ratio, frozen):
    names = training(make(base_encoder, text_encoder, freeze_ratio=ratio))
    for layer in range(4):
        assert any(name.startswith(f"venc.layer.{layer}.") for name in names) == (layer >= frozen)
    assert not any("venc.embeddings" in name for name in names)
    assert "venc.layernorm.weight" in names


def test_the_attentive_pooler_never_trains(ssv2_encoder, text_encoder):
    model = make(ssv2_encoder, text_encoder, pooling="attentive")
    model.unfreeze_video_encoder()
    assert not any("pooler" in name for name in training(model))


def test_freezing_and_unfreezing_respects_the_line(model):
    before = training(model)
    model.freeze_video_encoder()
    assert not any(name.startswith("venc") for name in training(model))
    model.unfreeze_video_encoder()
    assert training(model) == before
    model.freeze_text_encoder()
    assert not any(name.startswith("tenc") for name in training(model))
    model.unfreeze_text_encoder()
    assert training(model) == before


def test_gradients_reach_what_trains_and_nothing_else(model, video):
    model(video, model.embed_text(["a", "b"])).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_parameter_groups_have_their_names_rates_and_only_what_trains(model):
    groups = model.get_discriminative_params(1e-3)
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("text_encoder", pytest.approx(1e-4)),
        ("video_encoder", pytest.approx(5e-4)),
        ("prediction_head", pytest.approx(2e-3)),
    ]
    grouped = [parameter for group in groups for parameter in group["params"]]
    assert all(parameter.requires_grad for parameter in grouped)
    assert len({id(parameter) for parameter in grouped}) == len(grouped) == len(training(model))
    torch.optim.AdamW(groups)


def test_a_frozen_part_has_an_empty_group(model):
    model.freeze_text_encoder()
    groups = model.get_discriminative_params()
    assert groups[0]["params"] == []
    torch.optim.AdamW(groups)


def test_statistics_are_counted_on_the_model(model):
    statistics = model.parameter_statistics()
    assert statistics.total == sum(parameter.numel() for parameter in model.parameters())
    assert statistics.total_bytes == 4 * statistics.total
    assert statistics.trainable + statistics.frozen == statistics.total
    model.freeze_video_encoder()
    model.freeze_text_encoder()
    assert model.parameter_statistics().trainable == sum(p.numel() for p in model.head.parameters())


def test_the_head_has_the_seeds_layers():
    head = OptimizedMOSHead(1408, 1024)
    shapes = {name: tuple(value.shape) for name, value in head.state_dict().items()}
    assert shapes == {
        "net.0.weight": (2432,),
        "net.0.bias": (2432,),
        "net.1.weight": (512, 2432),
        "net.1.bias": (512,),
        "net.4.weight": (256, 512),
        "net.4.bias": (256,),
        "net.7.weight": (5, 256),
        "net.7.bias": (5,),
    }
    assert head.net[3].p == head.net[6].p == 0.1


def test_create_vjepa_model_takes_the_seeds_keys(base_encoder, text_encoder):
    model = create_vjepa_model(
        {
            "video_encoder": str(base_encoder),
            "text_encoder": str(text_encoder),
            "freeze_ratio": 0.5,
            "device": "cpu",
            "batch_size": 4,
        }
    )
    assert model.num_frozen_layers == 2
    assert model.head.net[1].out_features == 512


def test_the_constructor_has_the_seeds_defaults():
    parameters = inspect.signature(VJEPAModel).parameters
    assert [(name, parameters[name].default) for name in list(parameters)[:4]] == [
        ("vjepa_model_id", "facebook/vjepa2-vitg-fpc64-384-ssv2"),
        ("text_model_id", "BAAI/bge-large-en-v1.5"),
        ("freeze_ratio", 0.85),
        ("device", "cuda"),
    ]


# ---- one encoder for all models --------------------------------------------------------------------------------------


def shared_with(model: VJEPAModel, other: VJEPAModel) -> set[str]:
    """The names of the parameters of `model` whose numbers are also those of `other`, not a copy."""
    theirs = {parameter.data_ptr() for parameter in other.parameters()}
    return {name for name, parameter in model.named_parameters() if parameter.data_ptr() in theirs}


@pytest.fixture
def config(base_encoder, text_encoder) -> ModelConfig:
    return ModelConfig(str(base_encoder), str(text_encoder), freeze_ratio=0.5, head_hidden=16)


def from_config(config: ModelConfig, **settings) -> VJEPAModel:
    return VJEPAModel.from_config(config, device="cpu", **settings)


def of_encoders(names) -> set[str]:
    return {name for name in names if not name.startswith("head.")}


def test_a_second_model_of_an_encoder_holds_only_its_head(config):
    first, second = from_config(config), from_config(replace(config, head_hidden=32, freeze_ratio=0.85))
    assert shared_with(second, first) == of_encoders(dict(second.named_parameters()))
    own = [value.nbytes for name, value in second.named_parameters() if name not in shared_with(second, first)]
    assert sum(own) == sum(parameter.nbytes for parameter in second.head.parameters())
    assert training(second) == {name for name, _ in second.named_parameters() if name.startswith("head.")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_that_a_checkpoint_brings_are_its_own_and_those_below_stay_shared(config, dtype, video):
    first, second = (from_config(config, dtype=dtype) for _ in range(2))
    expected = first.encode_video(video)
    top = {name: value + 0.1 for name, value in second.state_dict().items() if "layer.3." in name or "head." in name}
    second.replace_weights(top)
    names = dict(second.named_parameters())
    assert shared_with(second, first) == of_encoders(names.keys() - top.keys())
    assert torch.equal(first.encode_video(video), expected)
    assert not torch.equal(second.encode_video(video), expected)
    assert names["venc.layer.3.mlp.fc1.weight"].dtype == dtype


def test_training_beside_a_scorer_changes_no_score_of_it(config, video):
    scorer = from_config(config, dtype=torch.bfloat16)
    text = scorer.encode_text(["a cat"] * 2)
    with torch.no_grad():
        expected = scorer(video, text)
    learner = from_config(config)
    learner.set_trainable(top_layers=True, text=True)
    learner.multiply_in(torch.bfloat16)
    learner.train()
    optimizer = torch.optim.AdamW(learner.get_discriminative_params(0.1))
    learner(video, learner.embed_text(["a cat", "a dog"])).sum().backward()
    optimizer.step()
    with torch.no_grad():
        assert torch.equal(scorer(video, text), expected)
    assert not scorer.training
    assert not any(module.training for module in scorer.modules())
    assert {name.split(".")[0] for name in training(scorer)} == {"head"}
    frozen = {name for name in dict(learner.named_parameters()) if name.startswith(("venc.embed", "venc.layer.0."))}
    assert frozen <= shared_with(learner, scorer)
    assert all(parameter.dtype == torch.float32 for parameter in learner.parameters() if parameter.requires_grad)


def test_a_model_that_learns_in_bfloat16_computes_as_one_that_was_loaded_so(config, video):
    learner, scorer = from_config(config), from_config(config, dtype=torch.bfloat16)
    learner.set_trainable(top_layers=False, text=False)
    learner.multiply_in(torch.bfloat16)
    assert torch.equal(learner.encode_video(video), scorer.encode_video(video))
    assert of_encoders(dict(learner.named_parameters())) == shared_with(learner, scorer)


def test_moving_or_converting_a_model_leaves_the_others_alone(config, video):
    first, second = from_config(config), from_config(config)
    expected = first.encode_video(video)
    second.double()
    assert {parameter.dtype for parameter in second.parameters()} == {torch.float64}
    assert torch.equal(first.encode_video(video), expected)


def test_the_seeds_constructor_gives_a_model_that_may_be_changed_at_will(config, base_encoder, text_encoder, video):
    shared, own = from_config(config), make(base_encoder, text_encoder)
    expected = shared.encode_video(video)
    assert shared_with(own, shared) == set()
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(1)
    assert torch.equal(shared.encode_video(video), expected)
    assert torch.equal(from_config(config).encode_video(video), expected)


def test_concurrent_first_loads_load_once(base_encoder, text_encoder, tmp_path, monkeypatch):
    copies = [shutil.copytree(folder, tmp_path / folder.name) for folder in (base_encoder, text_encoder)]
    (copies[0] / "preprocessor_config.json").write_text("{}")  # content that no other test has
    (copies[1] / "special_tokens_map.json").write_text("{}")
    loads, load = [], encoders._load_weights
    together = threading.Barrier(3)

    def load_slowly(cls, *arguments, **settings):
        loads.append(cls.__name__)
        time.sleep(0.1)  # the others get as far as asking
        return load(cls, *arguments, **settings)

    def build() -> VJEPAModel:
        together.wait(300)
        return from_config(ModelConfig(*map(str, copies)))

    monkeypatch.setattr(encoders, "_load_weights", load_slowly)
    with ThreadPoolExecutor(3) as pool:
        models = [future.result() for future in [pool.submit(build) for _ in range(3)]]
    assert sorted(loads) == ["BertModel", "_VideoEncoder"]
    assert all(shared_with(model, models[0]) == of_encoders(dict(model.named_parameters())) for model in models[1:])


def test_a_folder_that_was_written_again_is_loaded_anew_and_a_copy_is_not(base_encoder, text_encoder, tmp_path):
    mine = shutil.copytree(base_encoder, tmp_path / "mine")
    first, second = (from_config(ModelConfig(str(each), str(text_encoder))) for each in (base_encoder, mine))
    assert "venc.layernorm.weight" in shared_with(second, first)
    weights = {f"encoder.{name}": value + 1 for name, value in second.venc.state_dict().items()}
    save_file({**load_file(mine / "model.safetensors"), **weights}, mine / "model.safetensors", {"format": "pt"})
    third = from_config(ModelConfig(str(mine), str(text_encoder)))
    assert not any(name.startswith("venc.") for name in shared_with(third, first))
    assert torch.equal(third.venc.layernorm.weight, first.venc.layernorm.weight + 1)


def test_an_encoder_that_nobody_uses_any_more_is_let_go(config):
    model = from_config(config, dtype=torch.float16)
    encoder = weakref.ref(model._encoders[0])
    del model
    gc.collect()
    assert encoder() is None


def test_loading_draws_no_random_number_but_for_a_new_head(config):
    state = torch.get_rng_state()
    from_config(config, new_head=False)
    assert torch.equal(torch.get_rng_state(), state)
    heads = []
    for _ in range(2):  # whether or not the encoder is there already
        torch.manual_seed(5)
        heads.append(from_config(config).head.net[1].weight)
    assert torch.equal(*heads)


# ---- where it runs ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_falls_back_to_the_cpu_with_one_line(base_encoder, text_encoder, caplog):
    with caplog.at_level(logging.WARNING, logger="vjepa_demo.model.vjepa"):
        model = VJEPAModel(str(base_encoder), str(text_encoder), device="cuda")
    assert model.device.type == "cpu"
    assert [record.getMessage() for record in caplog.records] == ["no CUDA device here: the model runs on the CPU"]


def test_an_explicit_cpu_is_taken_silently(caplog):
    assert resolve_device("cpu").type == "cpu"
    assert not caplog.records


def test_bfloat16_is_used_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert inference_dtype("cpu") == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert inference_dtype("cpu") == torch.float32


def test_the_clip_is_what_the_processors_file_says(model, base_encoder, text_encoder):
    assert (model.clip_config.num_frames, model.clip_config.crop_size) == (FRAMES, CROP)
    assert make(base_encoder, text_encoder, num_frames=2).clip_config.num_frames == 2


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View(num_frames=2, framing="fragments", grid=7), "grid is 7, which does not divide the encoder's 32 pixels"),
        (View(edge=16), "edge is 16; the encoder's 32 pixels at least"),
        (View(num_frames=2, framing="fragments", grid=8, edge=16), "edge is 16"),
    ],
)
def test_a_view_that_does_not_fit_the_encoder_is_refused_when_the_model_is_built(
    base_encoder, text_encoder, view, message
):
    with pytest.raises(ModelError, match=message):
        make(base_encoder, text_encoder, views=(View(), view))


def test_fewer_views_than_the_model_has_are_refused_with_what_it_takes(base_encoder, text_encoder, video):
    model = make(base_encoder, text_encoder, views=(View(), View(num_frames=2, framing="squeeze")))
    for given in (video, [video], [video, video]):
        with pytest.raises(ValueError, match="this model sees 2 views of a clip, of 4, 2 frames"):
            model.encode_video(given)


def test_views_are_a_setting_of_the_seeds_configuration(base_encoder, text_encoder):
    views = (View(), View(num_frames=2, framing="squeeze"))
    encoders = {"video_encoder": str(base_encoder), "text_encoder": str(text_encoder)}
    assert create_vjepa_model({**encoders, "device": "cpu", "views": views}).config.views == views


def test_features_of_views_stand_side_by_side_before_the_head(base_encoder, text_encoder, video):
    model = make(base_encoder, text_encoder, views=(View(), View(num_frames=2, framing="squeeze")))
    alone = make(base_encoder, text_encoder)
    pixels = [video, video[:, :, :2]]
    features = model.encode_video(pixels)
    assert model.clip_config.views == model.config.views
    torch.testing.assert_close(features, torch.cat([alone.encode_video(view) for view in pixels], dim=1))
    torch.testing.assert_close(model.encode_tail(model.encode_prefix(pixels)), features)
    assert model(pixels, model.encode_text(["a", "b"])).shape == (2, len(DIMENSIONS))


@pytest.fixture
def looking_twice(base_encoder, text_encoder) -> VJEPAModel:
    return make(base_encoder, text_encoder, views=(View(), View(num_frames=2, framing="squeeze")), looks=2)


def test_features_of_looks_follow_one_another(base_encoder, text_encoder, looking_twice, video):
    once = make(base_encoder, text_encoder, views=looking_twice.config.views)
    first, second = [video, video[:, :, :2]], [video.flip(-1), video[:, :, 2:]]
    features = looking_twice.encode_video([*first, *second])
    assert features.shape == (2, 2, looking_twice.video_dim)
    torch.testing.assert_close(features, torch.stack([once.encode_video(first), once.encode_video(second)], dim=1))
    torch.testing.assert_close(looking_twice.encode_tail(looking_twice.encode_prefix([*first, *second])), features)
    assert looking_twice.tokens_of_views == 2 * once.tokens_of_views
    assert looking_twice.num_layer_runs == 2 * once.num_layer_runs
    assert clip_flops(looking_twice) == 2 * clip_flops(once)
    with pytest.raises(ValueError, match="this model sees 4 views of a clip, of 4, 2, 4, 2 frames"):
        looking_twice.encode_video(first)


def test_the_score_of_looks_is_the_mean_of_what_each_would_be_shown_with(looking_twice):
    video, text = torch.randn(3, 2, looking_twice.video_dim), looking_twice.encode_text(["a", "b", "c"])
    with torch.no_grad():
        looking_twice.head.net[-1].weight *= 100
        looking_twice.head.net[-1].bias += torch.tensor([4.9, 1.1, 3, 3, 3])  # some looks leave the scale
        alone = [looking_twice.predict_with_features(video[:, look], text) for look in range(2)]
        both = looking_twice.predict_with_features(video, text)
        assert any((outputs > 5).any() and (outputs < 1).any() for outputs in alone)
        torch.testing.assert_close(on_scale(both), (on_scale(alone[0]) + on_scale(alone[1])) / 2, atol=1e-4, rtol=0)
        torch.testing.assert_close(looking_twice.predict_looks(video, text), torch.stack(alone, dim=1))


def test_looks_beyond_the_scale_still_learn(looking_twice):
    looking_twice.train()
    video, text = torch.randn(3, 2, looking_twice.video_dim), looking_twice.encode_text(["a", "b", "c"])
    with torch.no_grad():
        looking_twice.head.net[-1].bias.fill_(-5)
    looking_twice.predict_with_features(video, text).sum().backward()
    assert looking_twice.head.net[1].weight.grad.abs().sum() > 0


def test_looks_are_a_setting_of_the_seeds_configuration(base_encoder, text_encoder):
    encoders = {"video_encoder": str(base_encoder), "text_encoder": str(text_encoder), "device": "cpu"}
    assert create_vjepa_model({**encoders, "looks": 2}).clip_config.looks == 2
    with pytest.raises(ModelError, match="looks is 5; a whole number from 1 to 4 was expected"):
        create_vjepa_model({**encoders, "looks": 5})


def test_one_view_in_a_list_is_that_view(model, video):
    torch.testing.assert_close(model.encode_video([video]), model.encode_video(video))


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_attentive_pooling_needs_a_pooler(base_encoder, text_encoder):
    with pytest.raises(ModelError, match="has no attentive pooler"):
        make(base_encoder, text_encoder, pooling="attentive")


def test_an_unknown_pooling_is_refused(base_encoder, text_encoder):
    with pytest.raises(ModelError, match="pooling is 'max'; one of mean, attentive, cls was expected"):
        make(base_encoder, text_encoder, pooling="max")


@pytest.mark.parametrize("ratio", [-0.1, 1.5])
def test_a_freeze_ratio_is_a_share(base_encoder, text_encoder, ratio):
    with pytest.raises(ModelError, match=r"freeze_ratio is .*; a number from 0 to 1 was expected"):
        make(base_encoder, text_encoder, freeze_ratio=ratio)


def test_a_model_that_is_nowhere_is_named(text_encoder, tmp_path):
    with pytest.raises(ModelError, match="nobody/nothing"):
        make("nobody/nothing", text_encoder)
    with pytest.raises(ModelError, match="no such folder"):
        make(tmp_path / "gone", text_encoder)


def test_a_model_of_another_kind_is_refused(base_encoder, text_encoder):
    with pytest.raises(ModelError, match="is a 'bert' model; expected 'vjepa2'"):
        make(text_encoder, text_encoder)
    with pytest.raises(ModelError, match="is a 'vjepa2' model; expected 'bert'"):
        make(base_encoder, base_encoder)


def test_code_in_a_checkpoint_is_never_run(text_encoder, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('the code of a checkpoint was run')")
    with pytest.raises(ModelError, match="is a 'evil' model; expected 'vjepa2'"):
        make(tmp_path, text_encoder)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be used"), ("[1]", "an object was expected"), ('{"image_mean": [0.5]}', "no mean and std for each")],
)
def test_a_broken_processor_file_is_refused(base_encoder, text_encoder, tmp_path, content, message):
    broken = shutil.copytree(base_encoder, tmp_path / "encoder")
    (broken / "video_preprocessor_config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        make(broken, text_encoder)


def test_frames_that_do_not_fill_tubelets_are_refused(base_encoder, text_encoder):
    with pytest.raises(ModelError, match=r"num_frames is 3; .* takes multiples of 2"):
        make(base_encoder, text_encoder, num_frames=3)


def test_a_checkpoint_that_lacks_weights_is_refused_and_not_filled_with_random_ones(text_encoder, tmp_path):
    deeper = small_vjepa_config(num_hidden_layers=5)
    VJEPA2Model(small_vjepa_config()).save_pretrained(tmp_path)
    write_processor(tmp_path)
    deeper.architectures = ["VJEPA2Model"]
    deeper.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"lacks \d+ of the weights of VideoEncoder, such as encoder.layer.4"):
        make(tmp_path, text_encoder)


@pytest.mark.parametrize(
    "shape",
    [
        (3, FRAMES, CROP, CROP),
        (1, 1, FRAMES, CROP, CROP),
        (1, 3, 3, CROP, CROP),
        (1, 3, FRAMES, 30, CROP),
        (1, 3, FRAMES, 64, 64),
    ],
)
def test_a_tensor_of_the_wrong_shape_is_refused(model, shape):
    with pytest.raises(ValueError, match=r"got"):
        model.encode_video(torch.zeros(shape))
