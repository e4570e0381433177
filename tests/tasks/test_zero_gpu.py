"""What a ZeroGPU Space changes, with a stand-in for `spaces` that forks, pickles and kills as the real one does."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_models import CROP, FRAMES

from vjepa_demo import tasks
from vjepa_demo.config import DIMENSIONS, TrainConfig, model_presets
from vjepa_demo.media.video import write_video
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.model.vjepa import VJEPAModel, default_device
from vjepa_demo.schema import EncodingReport, LabelRange, ModelError, RecordSet, VideoRecord
from vjepa_demo.tasks import train as train_module
from vjepa_demo.tasks import zero_gpu
from vjepa_demo.tasks.background import Bootstrapper

STAND_IN = Path(__file__).resolve().parent.parent / "zero_gpu_space"
NUM_CLIPS = 13


@pytest.fixture
def spaces(monkeypatch) -> Iterator[ModuleType]:
    """The stand-in, as on a Space where nothing was placed yet."""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.syspath_prepend(STAND_IN)
    module = importlib.reload(importlib.import_module("spaces"))
    monkeypatch.setattr(zero_gpu, "_call", None)
    monkeypatch.setattr(zero_gpu, "_pace", zero_gpu._Pace())
    yield module
    module.end()
    zero_gpu._placed.clear()
    zero_gpu.elsewhere.clear()


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[VideoRecord]:
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for index in range(NUM_CLIPS):
        grey = torch.full((FRAMES, 3, 40, 40), 20 + 18 * index, dtype=torch.uint8)
        write_video(folder / f"{index}.mp4", grey, frames_per_second=8, crf=1)
        labels = dict.fromkeys(DIMENSIONS, 1.5 + 0.25 * index)
        split = "validation" if index % 5 in (2, 4) else "train"
        made.append(VideoRecord(f"{index}.mp4", folder / f"{index}.mp4", f"clip {index}", labels, index + 2, split))
    return made


def scorer_of(folder: Path) -> tasks.Scorer:
    """A scorer that remembers nothing of other tests."""
    scorer = tasks.load_scorer(str(folder), device="cpu")
    scorer._cache = FeatureCache()
    return scorer


def tune(folder: Path, records: list[VideoRecord], out: Path, **settings):
    config = replace(TrainConfig(epochs=2, batch_size=4), **settings)
    data = RecordSet(tuple(records), (), LabelRange(), num_rows=len(records))
    return list(tasks.fine_tune(str(folder), data, config, out, description="greys", device="cpu"))


def test_the_gpu_sees_frames_and_gives_the_scores_that_this_process_would(
    spaces, checkpoint_folder, views_folder, looks_folder, records, monkeypatch
):
    folders = (checkpoint_folder, views_folder, looks_folder)
    here = [scorer_of(folder).score(records[0].video, "a cat") for folder in folders]
    zero_gpu.place(str(checkpoint_folder), device="cpu")
    scorers = [scorer_of(folder) for folder in folders]  # the same encoder
    monkeypatch.setattr(VJEPAModel, "encode_video", not_here(VJEPAModel.encode_video))
    there = [scorer.score(records[0].video, "a cat") for scorer in scorers]
    assert [result.scores for result in there] == [result.scores for result in here]
    assert [scorer.hardware for scorer in scorers] == ["ZeroGPU"] * 3
    frames = FRAMES * 3 * CROP**2
    assert frames < spaces.sent[0] < frames + 2**12  # bytes; no weights


def not_here(encode_video):
    """`encode_video`, which may not run in this process."""
    import os

    here = os.getpid()

    def encode(self, *arguments, **settings):
        assert os.getpid() != here
        return encode_video(self, *arguments, **settings)

    return encode


def test_a_call_declares_what_the_last_one_took_and_nothing_more(spaces, checkpoint_folder, records):
    zero_gpu.place(str(checkpoint_folder), device="cpu")
    scorer = scorer_of(checkpoint_folder)
    for record in records[:2]:
        scorer.score(record.video, record.prompt)
    look = zero_gpu._Look.of(scorer._model)
    start, clip = zero_gpu._pace.start_seconds(), zero_gpu._pace.clip_seconds(look)
    scorer.score(records[2].video, records[2].prompt)
    assert spaces.declared[-1] == math.ceil(start + clip)  # the third call itself may take more or fewer
    assert len(spaces._workers) == 1  # three calls, one process
    assert zero_gpu._pace._start_seconds is not None  # which the process told: its own memory is not seen here
    assert zero_gpu._born is None


def test_a_head_learns_from_slices_and_scores_while_the_page_runs(
    spaces, checkpoint_folder, records, tmp_path, monkeypatch
):
    expected = tune(checkpoint_folder, records, tmp_path / "here")[-1]
    zero_gpu.place(str(checkpoint_folder), device="cpu")
    monkeypatch.setattr(train_module, "feature_cache", FeatureCache)  # nothing is known
    monkeypatch.setattr(zero_gpu, "SHARED_GPU_CALL_BYTES", 3 * FRAMES * 3 * CROP**2)  # three clips a call
    reports = tune(checkpoint_folder, records, tmp_path / "there")
    assert len(spaces.declared) == math.ceil(NUM_CLIPS / 3)
    assert [report.done for report in reports if isinstance(report, EncodingReport)] == list(range(1, NUM_CLIPS + 1))
    assert reports[-1].predictions == expected.predictions
    mine = scorer_of(tmp_path / "there")
    mine.score(records[0].video, records[0].prompt)  # the visitor's own head, over the placed encoder
    assert len(spaces.declared) == math.ceil(NUM_CLIPS / 3) + 1


def test_layers_of_the_encoder_cannot_learn_there_and_the_reason_is_said(spaces, checkpoint_folder, records, tmp_path):
    zero_gpu.place(str(checkpoint_folder), device="cpu")
    with pytest.raises(ModelError, match=r"scope top cannot learn on a ZeroGPU Space: .* \(scope head\), or train on"):
        tune(checkpoint_folder, records, tmp_path / "top", scope="top")
    assert not spaces.declared


@pytest.mark.parametrize(
    ("title", "message", "told"),
    [
        (
            "ZeroGPU quota exceeded",
            "You have used it up (60s left). ",
            r"\(60s left\)\. Sign in to Hugging Face .* choose demo, which needs no GPU",
        ),
        ("ZeroGPU illegal duration", "larger than the maximum allowed", "allowed. Use a smaller model"),
        ("ZeroGPU queue timeout", "No GPU was available after 60s", "60s. Try again in a minute, or choose demo"),
        ("", "ZeroGPU API /schedule error: 500", "error: 500. Try again, or choose demo"),
    ],
)
def test_a_gpu_that_cannot_be_had_is_one_clear_error(spaces, checkpoint_folder, records, title, message, told):
    zero_gpu.place(str(checkpoint_folder), device="cpu")
    scorer = scorer_of(checkpoint_folder)
    spaces.refusals.append(spaces.Error(message, title))
    with pytest.raises(ModelError, match=f"the shared GPU did not encode the video: .*{told}"):
        scorer.score(records[0].video, "a cat")
    assert scorer.score(records[0].video, "a cat").scores  # the next call is tried anew


def test_a_call_that_is_ended_before_it_answered_declares_more_the_next_time(
    spaces, checkpoint_folder, records, monkeypatch
):
    zero_gpu.place(str(checkpoint_folder), device="cpu")
    scorer = scorer_of(checkpoint_folder)
    monkeypatch.setattr(spaces, "second", 0)
    with pytest.raises(ModelError, match=r"ended the call before it answered; \d+ s were declared"):
        scorer.score(records[0].video, "a cat")
    monkeypatch.setattr(spaces, "second", 60)
    assert scorer.score(records[0].video, "a cat").scores
    assert spaces.declared[1] >= 2 * spaces.declared[0] - 1


@pytest.mark.parametrize(
    ("built", "runs"),
    [
        (["sm_75", "sm_90", "sm_100", "sm_120"], True),
        (["sm_75", "sm_90", "compute_90"], True),
        (["sm_80", "sm_90a", "sm_100f"], False),
        ([], False),
    ],
)
def test_torch_has_to_have_code_for_the_gpu(built, runs):
    assert zero_gpu.runs_on(12, 0, built) is runs


def test_no_head_is_trained_there_and_the_way_to_one_is_said(spaces, monkeypatch, tmp_path):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as `spaces` makes it seem
    assert default_device() == "cpu"
    for setting, phase in (("", "idle"), ("vitl", "failed")):
        monkeypatch.setenv("VJEPA_DEMO_BOOTSTRAP", setting)
        bootstrapper = Bootstrapper()
        bootstrapper.start()
        bootstrapper.join()
        assert bootstrapper.state().phase == phase
    way = "hf upload OWNER/NAME head; set VJEPA_DEMO_MODEL=OWNER/NAME"
    assert way in bootstrapper.state().problem
    assert way in (model_presets()["vitg"].refusal or "")
