from __future__ import annotations

import shutil
import threading

import pytest
import torch
from conftest import CROP, FRAMES, TRAINED_ON

from vjepa_demo import scorer as scorer_module
from vjepa_demo.checkpoint import load_checkpoint, read_checkpoint
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import ModelError, RecordError, VideoError, VideoScores
from vjepa_demo.scorer import STEPS, Scorer, default_model, find_checkpoint, get_scorer
from vjepa_demo.video import load_clip, pixel_values


@pytest.fixture
def scorer(checkpoint_folder) -> Scorer:
    """A scorer of its own for each test: nothing is remembered yet."""
    return Scorer("small", load_checkpoint(read_checkpoint(checkpoint_folder), device="cpu"), TRAINED_ON)


def test_scores_are_those_of_the_model_on_the_clip(scorer, checkpoint_folder, world):
    model = load_checkpoint(read_checkpoint(checkpoint_folder), device="cpu")
    clip = load_clip(world, model.clip_config)
    with torch.no_grad():
        expected = model(pixel_values(clip.frames, model.clip_config)[None], model.encode_text(["the world"]))[0]
    result = scorer.score(world, "the world")
    assert tuple(result.scores) == DIMENSIONS
    assert list(result.scores.values()) == pytest.approx(expected.clamp(1, 5).tolist(), abs=1e-4)


def test_a_result_says_what_it_rests_on(scorer, world):
    result = scorer.score(world, "  the world ")
    assert (result.video, result.prompt, result.model) == (str(world), "the world", "small")
    assert result.trained_on == TRAINED_ON
    assert tuple(result.seconds) == STEPS
    assert all(seconds > 0 for seconds in result.seconds.values())
    assert result.frames.shape == (FRAMES, CROP, CROP, 3)
    assert len(result.frame_seconds) == FRAMES
    assert result.duration_seconds == pytest.approx(30.03, abs=0.01)
    assert "frames" not in repr(result)


def test_a_second_prompt_does_not_decode_or_encode_the_video_again(scorer, world):
    steps: list[str] = []
    first = scorer.score(world, "the world", on_step=steps.append)
    assert tuple(steps) == STEPS
    steps.clear()
    second = scorer.score(world, "a bowl of soup", on_step=steps.append)
    assert steps == ["text", "head"]
    assert second.seconds["decode"] == second.seconds["video"] == 0
    assert second.scores != first.scores
    assert scorer.score(world, "the world").scores == first.scores


def test_a_copy_of_a_video_is_known_and_a_changed_file_is_not(scorer, world, tmp_path):
    scorer.score(world, "x")
    copy = tmp_path / "other name.mp4"
    shutil.copy(world, copy)
    assert scorer.score(copy, "x").seconds["video"] == 0
    copy.write_bytes(copy.read_bytes() + b"\0" * 8)
    assert scorer.score(copy, "x").seconds["video"] > 0


def test_scores_stay_on_the_scale(scorer, world):
    with torch.no_grad():
        scorer._model.head.net[-1].bias.copy_(torch.tensor([99.0, -99.0, 3.0, 3.0, 3.0]))
    scores = scorer.score(world, "x").scores
    assert (scores["Traditional"], scores["Alignment"]) == (5.0, 1.0)


def test_a_score_that_is_no_number_is_not_shown(scorer, world):
    with torch.no_grad():
        scorer._model.head.net[-1].bias[0] = float("nan")
    with pytest.raises(ModelError, match="weights are damaged"):
        scorer.score(world, "x")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (None, "prompt is empty"),
        ("", "prompt is empty"),
        (" \n", "prompt is empty"),
        ("x" * 2001, "2,001 characters; 2,000"),
    ],
)
def test_a_prompt_that_cannot_be_used_is_refused(scorer, world, prompt, message):
    with pytest.raises(RecordError, match=message):
        scorer.score(world, prompt)


def test_a_bad_video_is_refused_and_forgotten(scorer, tmp_path):
    with pytest.raises(VideoError, match=r"^gone\.mp4: no such file$"):
        scorer.score(tmp_path / "gone.mp4", "x")
    (tmp_path / "text.mp4").write_text("no video")
    for _ in range(2):
        with pytest.raises(VideoError, match="cannot be read as a video"):
            scorer.score(tmp_path / "text.mp4", "x")


def test_concurrent_first_calls_load_the_model_once(checkpoint_folder, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoint_folder, tmp_path / "mine")
    loads, entered, go_on = [], threading.Event(), threading.Event()

    def slow_load(checkpoint, **settings):
        loads.append(checkpoint.folder)
        entered.set()
        assert go_on.wait(10)
        return load_checkpoint(checkpoint, **settings)

    monkeypatch.setattr(scorer_module, "load_checkpoint", slow_load)
    found = []
    threads = [threading.Thread(target=lambda: found.append(get_scorer(str(folder), "cpu"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert loads == [folder]
    assert get_scorer(f"{folder}/../mine", "cpu") is found[0]
    assert len(found) == 4
    assert all(one is found[0] for one in found)
    assert found[0].name == str(folder)


def test_a_failed_load_is_tried_again(checkpoint_folder, tmp_path):
    folder = tmp_path / "late"
    with pytest.raises(ModelError, match="no model"):
        get_scorer(str(folder), "cpu")
    shutil.copytree(checkpoint_folder, folder)
    assert get_scorer(str(folder), "cpu").trained_on == TRAINED_ON


def test_a_model_whose_head_was_never_trained_refuses_and_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    with pytest.raises(ModelError, match=r"only an encoder, and no trained head.* Train its first head: .*; choose"):
        get_scorer("vitg", "cpu")


def test_a_trained_head_in_the_checkpoint_folder_is_found(checkpoint_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    shutil.copytree(checkpoint_folder, tmp_path / "vitl")
    assert find_checkpoint("vitl").folder == tmp_path / "vitl"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_the_default_without_a_gpu_is_demo():
    assert default_model() == "demo"


def test_scores_for_other_dimensions_are_refused(scorer, world):
    result = scorer.score(world, "x")
    fields = {name: getattr(result, name) for name in result.__dataclass_fields__}
    with pytest.raises(ValueError, match="in this order"):
        VideoScores(**fields | {"scores": {"Overall": 3.0}})


# ---- the model that ships --------------------------------------------------------------------------------------------


def test_demo_scores_differ_little_between_bfloat16_and_float32(world):
    checkpoint = find_checkpoint("demo")
    fp32 = Scorer("fp32", load_checkpoint(checkpoint, device="cpu"), TRAINED_ON)
    bf16 = Scorer("bf16", load_checkpoint(checkpoint, device="cpu", dtype=torch.bfloat16), TRAINED_ON)
    exact, fast = fp32.score(world, "the earth turns"), bf16.score(world, "the earth turns")
    for name in DIMENSIONS:
        assert fast.scores[name] == pytest.approx(exact.scores[name], abs=0.02)
    assert fp32.hardware == "CPU fp32"
    assert bf16.hardware == "CPU bf16"


def test_demo_says_honestly_what_it_learned_from():
    trained_on = find_checkpoint("demo").trained_on
    assert trained_on.kind == "procedural"
    assert trained_on.num_held_out >= 400
    assert trained_on.srocc["Traditional"] >= 0.6
    assert trained_on.srocc["Temporal"] >= 0.6
