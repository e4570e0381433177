from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import CROP, FRAMES, TRAINED_ON

from vjepa_demo import wording
from vjepa_demo.config import DIMENSIONS, NEUTRAL_PROMPT
from vjepa_demo.files import content_sha256
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import clip_pixels, pixel_values, write_video
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.model.vjepa import on_scale
from vjepa_demo.schema import LayersReport, ModelError, RecordError, StoppedError, VideoError, VideoScores
from vjepa_demo.tasks import score as scorer_module
from vjepa_demo.tasks.score import STEPS, Scorer, default_model, find_checkpoint, get_scorer, load_scorer


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


def test_of_a_prompt_that_is_longer_than_the_model_reads_the_rest_is_told(scorer, world):
    words = scorer._model.tenc.config.max_position_embeddings - 2  # of one piece each, between [CLS] and [SEP]
    read = scorer.score(world, "t " * words)
    assert read.unread == wording.unread("") == ""
    assert scorer.score(world, "t \u200b\u200b").unread == "", "what is no word at all is not cut off"
    longer = scorer.score(world, "t " * words + "world of soup")
    assert longer.scores == read.scores
    assert longer.unread == longer.to_dict()["unread"] == "world of soup"
    assert (
        wording.unread(longer.unread)
        == "The prompt is longer than the model reads: nothing from “world of soup” on counts."
    )
    far = scorer.score(world, "h " + "t " * (words - 1) + "of soup " * 40)
    assert far.scores != read.scores
    assert wording.unread(far.unread).endswith(
        "nothing from “of soup of soup of soup of soup of soup of ...” on counts."
    )


def test_an_unread_prompt_moves_alignment_alone(scorer, checkpoint_folder, world):
    """A model that knows few words judges all else as if the prompt were neutral; what it can read it reads."""
    few = Scorer("few", scorer._model, replace(TRAINED_ON, known_words=("a", "video", "the", "world")))
    zebra, zeppelin = (few.score(world, prompt) for prompt in ("the zebra", "the zeppelin"))
    neutral, read, by_english = (
        each.score(world, prompt)
        for each, prompt in ((scorer, NEUTRAL_PROMPT), (few, "The world"), (scorer, "The world"))
    )
    for name in DIMENSIONS:
        if name != "Alignment":
            assert zebra.scores[name] == zeppelin.scores[name] == neutral.scores[name] != read.scores[name]
    own = scorer.score(world, "the zebra")
    assert zebra.scores["Alignment"] == own.scores["Alignment"] != neutral.scores["Alignment"]
    assert zebra.scores["Alignment"] != zeppelin.scores["Alignment"]
    assert zebra.neutral_prompt == zebra.to_dict()["neutral_prompt"] == NEUTRAL_PROMPT
    assert read.scores == by_english.scores
    assert read.neutral_prompt == own.neutral_prompt == ""
    assert own.scores["Overall"] != neutral.scores["Overall"], "a model that knows English reads every prompt"
    assert [each.scores for each in few.score_all([(world, "the zebra"), (world, "the world")])] == [
        zebra.scores,
        few.score(world, "the world").scores,
    ]


def test_demo_knows_the_neutral_prompt():
    assert find_checkpoint("demo").trained_on.unknown_words(NEUTRAL_PROMPT) == ()


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


def test_too_little_memory_is_an_error_that_says_what_to_do(scorer, world, monkeypatch):
    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(scorer._model, "encode_video", too_large)
        with pytest.raises(ModelError, match="the memory is too small for small, or in use"):
            scorer.score(world, "x")
    assert scorer.score(world, "x").seconds["video"] > 0


def test_scorers_share_what_a_process_remembers_of_a_clip(checkpoint_folder, world, monkeypatch, tmp_path):
    monkeypatch.setenv("VJEPA_DEMO_CACHE", str(tmp_path / "features"))
    first, second = (load_scorer(str(checkpoint_folder), device="cpu") for _ in range(2))
    frames = first.score(world, "x").frames
    steps: list[str] = []
    assert second.score(world, "y", on_step=steps.append).frames is frames
    assert steps == ["text", "head"]


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
        assert go_on.wait(300)
        return load_checkpoint(checkpoint, **settings)

    monkeypatch.setattr(scorer_module, "load_checkpoint", slow_load)
    found = []
    threads = [threading.Thread(target=lambda: found.append(get_scorer(str(folder), "cpu"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(300)
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


# ---- features on disk ------------------------------------------------------------------------------------------------


def on_disk(checkpoint_folder, cache) -> Scorer:
    """As a new process has it: nothing in memory, and what is in the folder `cache`."""
    model = load_checkpoint(read_checkpoint(checkpoint_folder), device="cpu")
    return Scorer("small", model, TRAINED_ON, cache=FeatureCache(cache, disk_bytes=2**30))


def test_a_video_known_from_disk_is_neither_decoded_nor_encoded(checkpoint_folder, world, tmp_path):
    first = on_disk(checkpoint_folder, tmp_path).score(world, "the world")
    steps: list[str] = []
    scorer = on_disk(checkpoint_folder, tmp_path)
    second = scorer.score(world, "the world", with_frames=False, on_step=steps.append)
    assert steps == ["text", "head"]
    assert second.seconds["decode"] == second.seconds["video"] == 0
    assert second.scores == first.scores
    assert (second.frame_seconds, second.duration_seconds) == (first.frame_seconds, first.duration_seconds)
    assert second.sha256 == first.sha256
    assert second.frames is None


def test_a_model_of_two_looks_scores_their_mean_also_from_disk(looks_folder, world, tmp_path):
    first = on_disk(looks_folder, tmp_path).score(world, "the world")
    model = load_checkpoint(read_checkpoint(looks_folder), device="cpu")
    clip = load_clip(world, model.clip_config)
    with torch.no_grad():
        features = model.encode_video(clip_pixels(clip, model.clip_config))  # (1, looks, video_dim)
        answers = on_scale(model.predict_looks(features, model.encode_text(["the world"])))[0]
    assert not torch.equal(answers[0], answers[1])
    assert list(first.scores.values()) == pytest.approx(answers.mean(dim=0).tolist(), abs=1e-3)
    assert len(first.more_frames) == 1, "the other view of the first look"
    assert on_disk(looks_folder, tmp_path).score(world, "the world").scores == first.scores


def test_what_several_views_saw_comes_back_from_disk_and_scores_are_the_same(views_folder, world, tmp_path):
    first = on_disk(views_folder, tmp_path).score(world, "the world")
    assert [frames.shape for frames in first.more_frames] == [(4, CROP, CROP, 3), (2, CROP, CROP, 3)]
    second = on_disk(views_folder, tmp_path).score(world, "the world")
    assert second.seconds["video"] == 0
    assert second.scores == first.scores
    for one, other in zip((second.frames, *second.more_frames), (first.frames, *first.more_frames), strict=True):
        assert np.array_equal(one, other)
    (alone,) = on_disk(views_folder, tmp_path / "other").score_all([(world, "the world")])
    assert alone.scores == first.scores
    assert (alone.frames, alone.more_frames, alone.views) == (None, (), first.views)


def test_pictures_of_a_video_known_from_disk_are_decoded_once(checkpoint_folder, world, tmp_path):
    first = on_disk(checkpoint_folder, tmp_path).score(world, "the world")
    steps: list[str] = []
    scorer = on_disk(checkpoint_folder, tmp_path)
    second = scorer.score(world, "the world", on_step=steps.append)
    assert steps == ["decode", "text", "head"]
    assert second.seconds["decode"] > 0
    assert second.seconds["video"] == 0
    assert np.array_equal(second.frames, first.frames)
    assert second.scores == first.scores
    steps.clear()
    assert scorer.score(world, "a dog", with_frames=False, on_step=steps.append).frames is second.frames
    assert scorer.score(world, "a cat", on_step=steps.append).frames is second.frames
    assert steps == ["text", "head"] * 2


def test_without_frames_none_are_kept(scorer, world):
    assert scorer.score(world, "x", with_frames=False).frames is None
    assert scorer.score(world, "x").frames.shape == (FRAMES, CROP, CROP, 3)


def test_a_damaged_file_is_computed_again_and_replaced(checkpoint_folder, world, tmp_path):
    expected = on_disk(checkpoint_folder, tmp_path).score(world, "x").scores
    (path,) = tmp_path.glob("*.features")
    path.write_bytes(path.read_bytes()[:-1])
    again = on_disk(checkpoint_folder, tmp_path).score(world, "x")
    assert again.seconds["video"] > 0
    assert again.scores == expected
    assert on_disk(checkpoint_folder, tmp_path).score(world, "x").seconds["video"] == 0


# ---- many clips ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """Eight tiny videos, each of another grey."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{index}.mp4" for index in range(8)]
    for index, path in enumerate(paths):
        frames = torch.full((FRAMES, 3, 40, 40), 20 + 25 * index, dtype=torch.uint8)
        write_video(path, frames, frames_per_second=8, crf=1)
    return paths


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that were decoded."""
    names: list[str] = []

    def count(path, config, **settings):
        names.append(Path(path).name)
        return load_clip(path, config, **settings)

    monkeypatch.setattr(scorer_module, "load_clip", count)
    return names


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_many_clips_have_the_scores_that_each_has_alone(scorer, checkpoint_folder, clips, tmp_path):
    results = list(scorer.score_all((clip, f"prompt {clip.stem}") for clip in clips))
    for clip, result in zip(clips, results, strict=True):
        alone = on_disk(checkpoint_folder, tmp_path).score(clip, f"prompt {clip.stem}")
        assert result.scores == alone.scores
        assert (result.video, result.prompt, result.sha256) == (str(clip), f"prompt {clip.stem}", alone.sha256)
        assert result.frames is None
        assert all(seconds > 0 for seconds in result.seconds.values())
    assert len({tuple(result.scores.values()) for result in results}) == len(clips)
    assert decoding_threads() == []


def test_an_error_has_its_place_among_the_scores(scorer, clips, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    requests = [(clips[0], "a"), (bad, "b"), (clips[1], " "), (tmp_path / "gone.mp4", "d"), (clips[2], "e")]
    first, unreadable, empty, gone, last = scorer.score_all(requests)
    assert (first.prompt, last.prompt) == ("a", "e")
    assert isinstance(unreadable, VideoError)
    assert "bad.mp4 cannot be read" in str(unreadable)
    assert isinstance(empty, RecordError)
    assert "gone.mp4: no such file" in str(gone)


def test_what_the_system_refuses_is_an_error_in_its_place(scorer, clips, tmp_path, monkeypatch):
    """A name that is too long, a loop of links, a file as a folder, a file that cannot be read, a full disk."""
    loop, deep = tmp_path / "loop.mp4", clips[0] / "in.mp4"
    loop.symlink_to(loop)
    locked, full = (shutil.copy(clips[0], tmp_path / name) for name in ("locked.mp4", "full.mp4"))
    full.write_bytes(full.read_bytes() + bytes(8))
    digest, load = content_sha256, scorer_module.load_clip

    def no_entry(path):
        if path == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return digest(path)

    def no_space(path, config, **settings):
        if path == full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return load(path, config, **settings)

    monkeypatch.setattr(scorer_module, "content_sha256", no_entry)
    monkeypatch.setattr(scorer_module, "load_clip", no_space)
    names = [tmp_path / f"{'n' * 300}.mp4", loop, deep, "a\0b.mp4", locked, full, clips[0]]
    *errors, last = scorer.score_all((name, "x") for name in names)
    assert [type(error) for error in errors] == [VideoError] * 6
    said = [str(error) for error in errors]
    assert all(each.endswith("no such file") for each in (said[0], *said[2:4]))
    assert said[1].startswith("loop.mp4 is no file that can be read: a link that leads nowhere")
    assert said[4:] == [
        "locked.mp4 cannot be read: Permission denied",
        "full.mp4 cannot be read: No space left on device",
    ]
    assert last.scores == scorer.score(clips[0], "x").scores


def test_a_name_and_a_prompt_that_are_not_unicode_are_shown_with_the_replacement_character(scorer, clips, tmp_path):
    named = tmp_path / "b\udcff.mp4"  # the bytes 62 FF on the disk
    shutil.copy(clips[0], named)
    result = scorer.score(named, "a \ud83d cat")
    assert (Path(result.video).name, result.prompt) == ("b\ufffd.mp4", "a \ufffd cat")
    json.dumps(result.to_dict(), ensure_ascii=False).encode()
    (error,) = scorer.score_all([(tmp_path / "none\udcff.mp4", "x")])
    assert str(error) == "none\ufffd.mp4: no such file"


def test_the_same_video_is_decoded_once(scorer, clips, tmp_path, decoded):
    copy = shutil.copy(clips[0], tmp_path / "copy.mp4")
    requests = [(clips[0], "a"), (clips[0], "b"), (copy, "c"), (clips[1], "d"), (clips[0], "e"), (copy, "a")]
    results = list(scorer.score_all(requests))
    assert sorted(decoded) == ["0.mp4", "1.mp4"]
    assert results[0].scores == results[-1].scores != results[1].scores
    decoded.clear()
    assert [result.scores for result in scorer.score_all(requests)] == [result.scores for result in results]
    assert decoded == []


def test_what_is_forgotten_meanwhile_is_decoded_again(scorer, clips, decoded):
    def forget(step: str) -> None:
        if step == "head":
            scorer._cache._memory.clear()

    requests = [(clips[0], "a"), (clips[1], "a"), (clips[0], "a")]
    first, _, again = scorer.score_all(requests, on_step=forget)
    assert decoded == ["0.mp4", "1.mp4", "0.mp4"]
    assert again.scores == first.scores


@pytest.mark.parametrize("threads", [1, 2])
def test_the_next_clips_are_decoded_while_one_is_encoded_but_not_too_many(scorer, clips, monkeypatch, threads):
    monkeypatch.setattr(scorer_module, "decoding_threads", lambda: threads)
    started = {clip.name: threading.Event() for clip in clips}
    taken: list[str] = []

    def tell(path, config, **settings):
        started[path.name].set()
        return load_clip(path, config, **settings)

    def requests() -> Iterator[tuple[Path, str]]:
        for clip in clips:
            taken.append(clip.name)
            yield clip, "x"

    monkeypatch.setattr(scorer_module, "load_clip", tell)
    encoded = 0

    def on_step(step: str) -> None:
        nonlocal encoded
        if step == "video":
            last = min(encoded + threads + 1, len(clips) - 1)
            assert started[clips[last].name].wait(60)  # while this one is about to be encoded
            assert len(taken) == last + 1  # so no more than these were begun
            encoded += 1

    assert len(list(scorer.score_all(requests(), on_step=on_step))) == encoded == len(clips)


def test_closing_stops_the_thread(scorer, clips, decoded):
    results = scorer.score_all((clip, "x") for clip in clips * 100)
    assert next(results).video == str(clips[0])
    results.close()
    assert decoding_threads() == []
    assert len(decoded) <= 2 + scorer_module.decoding_threads()


@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_what_is_being_decoded_ends_too(how, scorer, clips, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def endless(path, config, *, should_stop):
        if path == clips[0]:
            return load_clip(path, config)
        begun.set()
        while not should_stop():
            pass
        ended.set()
        raise StoppedError

    monkeypatch.setattr(scorer_module, "load_clip", endless)
    results = scorer.score_all(
        ((clip, "x") for clip in clips[:2]), should_stop=lambda: how == "stopped" and begun.is_set()
    )
    if how == "closed":
        assert next(results).video == str(clips[0])
        assert begun.wait(60)
        results.close()
    else:
        with pytest.raises(StoppedError):
            list(results)
    assert ended.is_set()
    assert decoding_threads() == []


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_an_error_that_nobody_expects_ends_it(scorer, clips, monkeypatch, error):
    def broken(path, config, **settings):
        if path == clips[2]:
            raise error
        return load_clip(path, config, **settings)

    monkeypatch.setattr(scorer_module, "load_clip", broken)
    results = scorer.score_all((clip, "x") for clip in clips)
    assert [next(results).video, next(results).video] == [str(clips[0]), str(clips[1])]
    with pytest.raises(type(error)):
        next(results)
    assert decoding_threads() == []


# ---- which model it is -----------------------------------------------------------------------------------------------


def test_an_id_tells_weights_apart_where_the_name_stays_and_nothing_of_the_machine(
    checkpoint_folder, tmp_path, monkeypatch
):
    mine = shutil.copytree(checkpoint_folder, tmp_path / "mine")
    before = load_scorer(str(mine), device="cpu")
    weights = read_checkpoint(mine).weights_sha256
    assert (before.name, before.model_id) == (str(mine), f"mine@{weights[:8]}")
    assert load_scorer(str(mine), device="cpu", shown_as="my model").model_id == f"my model@{weights[:8]}"
    model = load_checkpoint(read_checkpoint(mine), device="cpu")
    with torch.no_grad():
        model.head.net[-1].bias += 1
    save_checkpoint(model, mine, trained_on=TRAINED_ON, model_config=read_checkpoint(mine).model)
    monkeypatch.chdir(mine)
    assert load_scorer(".", device="cpu").model_id == f"mine@{read_checkpoint(mine).weights_sha256[:8]}"
    assert read_checkpoint(mine).weights_sha256[:8] != weights[:8]
    assert get_scorer("demo", "cpu").model_id == f"demo@{find_checkpoint('demo').weights_sha256[:8]}"


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


# ---- how long it takes, and Stop -------------------------------------------------------------------------------------


@pytest.fixture
def slow(scorer, monkeypatch) -> Scorer:
    """A scorer for which every clip is worth telling: by the model's size it takes 100 s."""
    monkeypatch.setattr(scorer_module, "SLOW_CLIP_SECONDS", 0.0)
    monkeypatch.setattr(scorer_module, "expected_seconds", lambda model: 100.0)
    return scorer


def test_the_time_of_a_clip_is_computed_until_one_was_encoded_and_then_measured(slow, world):
    assert slow.expected_seconds() == 100
    assert slow.expected_seconds(num_clips=7) == 700
    seconds = slow.score(world, "x").seconds["video"]
    assert slow.expected_seconds() == seconds < 100
    assert slow.expected_seconds(num_clips=7) == 7 * seconds
    slow.score(world, "y")
    assert slow.expected_seconds() == seconds, "a known clip is not encoded, and says nothing"


def test_of_a_fast_model_no_time_is_told_and_the_machine_is_not_measured(scorer, world, monkeypatch):
    monkeypatch.setattr("vjepa_demo.model.cost.matrix_rate", lambda *_: pytest.fail("measured"))
    told: list[LayersReport] = []
    assert scorer.expected_seconds() is None
    scorer.score(world, "x", on_layer=told.append)
    assert scorer.expected_seconds(num_clips=1000) is None
    assert told == []


def test_demo_is_fast_on_any_machine(monkeypatch):
    monkeypatch.setattr("vjepa_demo.model.cost.matrix_rate", lambda *_: pytest.fail("measured"))
    assert load_scorer("demo", device="cpu").expected_seconds() is None


def test_a_model_that_a_visitor_brings_has_a_limit_of_time(checkpoint_folder, world, monkeypatch):
    def load(**settings) -> Scorer:
        return load_scorer(str(checkpoint_folder), device="cpu", **settings)

    monkeypatch.setenv("VJEPA_DEMO_MAX_CLIP_SECONDS", "50")
    own = load(shown_as="mine", is_brought=True)
    assert own.score(world, "within its time").scores
    monkeypatch.setattr(scorer_module, "expected_seconds", lambda model: 51.0)
    with pytest.raises(ModelError, match=r"^mine takes about 51 s to encode a clip here; this page takes 50 s at most"):
        load(shown_as="mine", is_brought=True)
    assert load().score(world, "the page's own has none").scores
    own._max_seconds, own._cache = -1.0, FeatureCache()  # whatever was expected
    with pytest.raises(ModelError, match="takes longer than -1 s to encode a clip here"):
        own.score(world, "x")


def test_before_each_layer_it_is_told_how_far_the_clip_is(slow, world):
    told: list[LayersReport] = []
    slow.score(world, "x", on_layer=told.append)
    assert [(report.done, report.total) for report in told] == [(done, 4) for done in range(4)]
    first, *_, last = told
    assert first.seconds_left == pytest.approx(100, abs=5)
    assert 0 < last.seconds_left < 25, "the pace counts for more than what was computed"


@pytest.mark.parametrize("num_layers", [0, 1, 3])
def test_stopped_no_other_layer_runs_and_nothing_is_remembered(slow, world, num_layers):
    ran: list[int] = []
    for index, layer in enumerate(slow._model.venc.layer):
        layer.mlp.register_forward_hook(lambda *_, index=index: ran.append(index))
    with pytest.raises(StoppedError, match="stopped: this clip was not scored"):
        slow.score(world, "x", should_stop=lambda: len(set(ran)) == num_layers)
    assert sorted(set(ran)) == list(range(num_layers))
    steps: list[str] = []
    slow.score(world, "x", on_step=steps.append)
    assert tuple(steps) == STEPS


def test_stopped_many_clips_end_and_those_before_it_have_their_scores(scorer, clips):
    encoded: list[str] = []

    def on_step(step: str) -> None:
        encoded.extend([step] if step == "video" else [])

    results = scorer.score_all(((clip, "x") for clip in clips), on_step=on_step, should_stop=lambda: len(encoded) == 2)
    assert isinstance(next(results), VideoScores)
    with pytest.raises(StoppedError):
        next(results)
    assert list(results) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_a_stopped_comparison_gives_nothing(scorer, clips):
    with pytest.raises(StoppedError):
        scorer.compare([(clip, "x") for clip in clips[:2]], should_stop=lambda: True)


@pytest.mark.parametrize(
    ("seconds", "num_clips", "text"),
    [
        (None, 3, ""),
        (25.2, 1, "encoding a clip takes about 25 s here"),
        (1200.0, 10, "encoding a clip takes about 2 min here, all 10 up to 20 min"),
    ],
)
def test_the_time_in_words(seconds, num_clips, text):
    assert wording.encoding_time(seconds, num_clips) == text


def test_the_countdown_in_words():
    assert wording.encoding_line(LayersReport(0, 24, 25.3)) == "Encoding the video, about 25 s"
    assert wording.encoding_line(LayersReport(8, 24, 180.0)) == "Encoding the video: about 3 min left"
    assert wording.encoding_line(LayersReport(23, 24, 0.2)) == "Encoding the video: about 1 s left"
