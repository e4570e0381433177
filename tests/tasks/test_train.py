from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event

import pytest
import torch
from small_models import FRAMES, TRAINED_ON
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2DropPath

from vjepa_demo import tasks, wording
from vjepa_demo.config import DIMENSIONS, NEUTRAL_PROMPT, TrainConfig
from vjepa_demo.files import content_sha256
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import Clip, write_video
from vjepa_demo.model.checkpoint import load_base, load_checkpoint, read_checkpoint
from vjepa_demo.model.features import ENTRY_BYTES, HELD_SHARE, FeatureCache, FeatureKey, VideoFeatures, feature_cache
from vjepa_demo.model.vjepa import VJEPAModel, inference_dtype
from vjepa_demo.schema import (
    BusyError,
    CheckpointError,
    EncodingReport,
    EpochReport,
    Estimate,
    LabelRange,
    ModelError,
    RecordError,
    RecordSet,
    SplitReport,
    StartReport,
    StoppedError,
    TrainingData,
    TrainingResult,
    VideoRecord,
)
from vjepa_demo.tasks import score as scorer_module
from vjepa_demo.tasks.evaluate import judge
from vjepa_demo.tasks.frozen import FrozenFeatures
from vjepa_demo.tasks.score import Scorer
from vjepa_demo.tasks.train import schedule, train

CONFIG = TrainConfig(epochs=4, batch_size=4, learning_rate=2e-3, patience=50)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[VideoRecord]:
    """Sixteen tiny videos, plain greys, labelled by how bright they are."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for index in range(16):
        brightness = index / 15
        frames = torch.full((FRAMES, 3, 40, 40), int(20 + 210 * brightness), dtype=torch.uint8)
        write_video(folder / f"{index}.mp4", frames, frames_per_second=8, crf=1)
        labels = dict.fromkeys(DIMENSIONS, 1.5 + 3 * brightness)
        made.append(VideoRecord(f"{index}.mp4", folder / f"{index}.mp4", f"prompt {index}", labels, line=index + 2))
    return made


@pytest.fixture
def data(records) -> TrainingData:
    validation = records[3::3]
    train = [record for record in records if record not in validation]
    return TrainingData(train, validation, description="sixteen greys", kind="human")


def record_set(data: TrainingData) -> RecordSet:
    """What a table with a `split` column would give."""
    train = [replace(record, split="train") for record in data.train]
    validation = [replace(record, split="validation") for record in data.validation]
    return RecordSet((*train, *validation), (), LabelRange(), num_rows=len(train) + len(validation))


def tune(name: str | Path, data: TrainingData, config: TrainConfig, folder: Path, **settings):
    settings = {"description": data.description, "kind": data.kind, "device": "cpu", **settings}
    return tasks.fine_tune(str(name), record_set(data), config, folder, **settings)


def run(checkpoint_folder, data, folder, config=CONFIG, **settings) -> tuple[list[EpochReport], TrainingResult]:
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = list(train(model, data, config, folder, **settings))
    return [report for report in reports if isinstance(report, EpochReport)], reports[-1]


def is_read(reports) -> bool:
    """Whether all clips were read."""
    return any(isinstance(report, EncodingReport) and report.done == report.total for report in reports)


def losses(epochs) -> list[tuple[float, float | None]]:
    return [(epoch.loss, epoch.validation_loss) for epoch in epochs]


# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["head", "top"])
def test_it_learns_what_the_labels_follow(checkpoint_folder, data, tmp_path, scope):
    config = replace(CONFIG, scope=scope, epochs=30, learning_rate=5e-3)
    epochs, result = run(checkpoint_folder, data, tmp_path, config)
    assert epochs[-1].loss < 0.35 * epochs[0].loss
    assert result.evaluation.dimensions["Traditional"].srocc.value > 0.9
    assert result.best_epoch <= result.epochs == 30


def ramps(records, folder: Path) -> list[VideoRecord]:
    """The same clips, but darker to the left and brighter from frame to frame: two looks see something else."""
    shade = torch.linspace(0, 1, 40)[None, None, None, :] + torch.linspace(0, 1, 12)[:, None, None, None]
    made = []
    for place, record in enumerate(records):
        frames = (10 + (20 + 5 * place) * shade).expand(-1, 3, 40, 40).to(torch.uint8).contiguous()
        write_video(folder / record.name, frames, frames_per_second=8, crf=1)
        made.append(replace(record, video=folder / record.name))
    return made


@pytest.mark.parametrize("scope", ["head", "top"])
def test_a_model_of_two_looks_learns_and_predicts_what_the_result_says(scope, looks_folder, data, tmp_path):
    own = replace(data, train=ramps(data.train, tmp_path), validation=ramps(data.validation, tmp_path))
    config = replace(CONFIG, scope=scope, epochs=12, learning_rate=5e-3)
    epochs, result = run(looks_folder, own, tmp_path / "mine", config)
    assert epochs[-1].loss < 0.7 * epochs[0].loss
    checkpoint = read_checkpoint(tmp_path / "mine")
    assert checkpoint.model.looks == 2
    scorer = Scorer("mine", load_checkpoint(checkpoint, device="cpu"), checkpoint.trained_on)
    for record, prediction in zip(own.validation, result.predictions, strict=True):
        scored = scorer.score(record.video, record.prompt)
        assert list(scored.scores.values()) == pytest.approx(prediction, abs=0.02)


@pytest.mark.parametrize("folder", ["checkpoint_folder", "views_folder"])
@pytest.mark.parametrize("scope", ["head", "top"])
def test_the_checkpoint_predicts_what_the_result_says(folder, scope, data, tmp_path, request):
    base = request.getfixturevalue(folder)
    _, result = run(base, data, tmp_path, replace(CONFIG, scope=scope))
    checkpoint = read_checkpoint(tmp_path)
    model = load_checkpoint(replace(checkpoint, model=model_of(base, checkpoint)), device="cpu")
    scorer = Scorer("mine", model, checkpoint.trained_on)
    for record, prediction in zip(data.validation, result.predictions, strict=True):
        scores = scorer.score(record.video, record.prompt).scores
        assert list(scores.values()) == pytest.approx(prediction, abs=0.02)


def model_of(base: Path, checkpoint):
    """The checkpoint's configuration with the base's encoders, which nobody copied in these tests."""
    return replace(checkpoint.model, video_encoder=str(base / "video_encoder"), text_encoder=str(base / "text_encoder"))


def test_the_checkpoint_says_what_it_learned_from(checkpoint_folder, data, tmp_path):
    _, result = run(checkpoint_folder, data, tmp_path)
    trained_on = read_checkpoint(tmp_path).trained_on
    assert (trained_on.kind, trained_on.num_clips, trained_on.num_held_out) == ("human", 11, 5)
    assert trained_on.description == "sixteen greys"
    assert trained_on.vquala_score == result.evaluation.vquala_score.value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def digests_of(records) -> set[str]:
    return {content_sha256(record.video)[:12] for record in records}


def test_the_checkpoint_remembers_the_clips_it_learned_from_and_those_its_base_had(checkpoint_folder, data, tmp_path):
    *_, first = tune(checkpoint_folder, data, CONFIG, tmp_path / "first")
    digests = read_checkpoint(first.folder).trained_on.digests
    assert list(digests) == sorted(digests_of(data.train))
    swapped = replace(data, train=data.validation, validation=data.train)
    *_, second = tune(first.folder, swapped, CONFIG, tmp_path / "second")
    assert set(read_checkpoint(second.folder).trained_on.digests) == digests_of([*data.train, *data.validation])


def judged(records, num_learned: int):
    """`records` judged by scores of chance, for a model that learned from the first of them."""
    generator = torch.Generator().manual_seed(0)
    scores = [dict(zip(DIMENSIONS, torch.rand(5, generator=generator).tolist(), strict=True)) for _ in records]
    digests = tuple(sorted(digests_of(records[:num_learned])))
    return scores, judge(scores, records, replace(TRAINED_ON, digests=digests))


def test_a_model_is_judged_by_clips_that_it_did_not_learn_from(records):
    scores, evaluation = judged(records, num_learned=10)
    assert (evaluation.n, evaluation.num_learned, evaluation.num_left_out) == (6, 10, 10)
    assert evaluation.dimensions == judge(scores[10:], records[10:]).dimensions
    assert wording.verdict(evaluation).startswith("The model learned from 10 of the 16 clips: they are left out. ")
    assert evaluation.to_dict()["num_left_out"] == 10


def test_where_too_few_others_are_there_it_is_judged_by_all_and_says_that_this_flatters(records):
    scores, evaluation = judged(records, num_learned=12)
    assert (evaluation.n, evaluation.num_learned, evaluation.num_left_out) == (16, 12, 0)
    assert replace(evaluation, num_learned=0) == judge(scores, records) == judged(records, num_learned=0)[1]
    assert wording.verdict(evaluation).startswith(
        "The model learned from 12 of the 16 clips: too few others are there to judge it by, so these"
    )


def test_the_baseline_knows_the_labels_that_the_model_knew(records):
    same_prompt = [replace(record, prompt=f"prompt {index % 6}") for index, record in enumerate(records)]
    _, evaluation = judged(same_prompt, num_learned=10)
    baseline = evaluation.no_video_baseline.dimensions["Overall"]
    assert baseline.srocc.value is not None
    alone = judge(judged(same_prompt, 0)[0][10:], same_prompt[10:]).no_video_baseline.dimensions["Overall"]
    assert baseline.rmse.value != alone.rmse.value


def test_a_clip_that_is_gone_is_left_out_because_it_may_have_been_learned_from(records):
    gone = [replace(record, video=record.video.with_name(f"gone-{record.name}")) for record in records[:6]]
    mixed, scores = [*gone, *records[6:]], [dict.fromkeys(DIMENSIONS, index / 4) for index in range(16)]
    trained_on = replace(TRAINED_ON, digests=tuple(sorted(digests_of(records[:8]))))
    evaluation = judge(scores, mixed, trained_on)
    assert (evaluation.n, evaluation.num_learned, evaluation.num_unknown) == (8, 2, 6)
    assert "6 clips left out: deleted meanwhile" in wording.verdict(evaluation)
    known = judge(scores, mixed, trained_on, sha256s=[content_sha256(record.video) for record in records])
    assert (known.n, known.num_learned, known.num_unknown) == (8, 8, 0), "what was scored is known by its digest"


def test_the_words_that_several_prompts_have_are_known_afterwards_and_no_others(checkpoint_folder, data, tmp_path):
    run(checkpoint_folder, replace(data, known_words=("ball", "red")), tmp_path)
    trained_on = read_checkpoint(tmp_path).trained_on
    assert trained_on.known_words == ("ball", "prompt", "red"), "not the numbers, which one prompt has each"
    assert trained_on.unknown_words("a red prompt") == ("a",)


@pytest.mark.parametrize("train_text", [True, False])
def test_prompts_that_stay_unknown_are_learned_judged_and_scored_alike(checkpoint_folder, data, tmp_path, train_text):
    def read(records):
        """Every other prompt has a word that no other has; "red cat" will be known."""
        return [replace(each, prompt=("red cat", each.prompt)[row % 2]) for row, each in enumerate(records)]

    data = replace(data, train=read(data.train), validation=read(data.validation), known_words=("prompt", "red"))
    model, base = load_base(str(checkpoint_folder), device="cpu")
    before = Scorer("before", load_checkpoint(base, device="cpu"), replace(TRAINED_ON, known_words=data.known_words))
    for each in (model, before._model):
        with torch.no_grad():
            each.head.net[1].weight[:, each.video_dim :] *= 30  # the prompt decides
    english = Scorer("english", before._model, TRAINED_ON)
    for record in data.validation:
        neutral, own = (each.score(record.video, record.prompt).scores["Overall"] for each in (before, english))
        assert abs(neutral - own) > 0.05
    config = replace(CONFIG, train_text=train_text)
    *_, result = train(model, data, config, tmp_path, base=base)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.trained_on.known_words == ("cat", "prompt", "red")
    after = Scorer("after", load_checkpoint(checkpoint, device="cpu"), checkpoint.trained_on)
    results = [after.score(record.video, record.prompt) for record in data.validation]
    assert [bool(each.neutral_prompt) for each in results] == [False, True, False, True, False]
    for each, prediction in zip(results, result.predictions, strict=True):
        assert list(each.scores.values()) == pytest.approx(prediction, abs=0.02)
    as_it_was = judge([before.score(each.video, each.prompt).scores for each in data.validation], data.validation)
    for name in DIMENSIONS:
        rmse = result.evaluation.gain.before.dimensions[name].rmse.value
        assert rmse == pytest.approx(as_it_was.dimensions[name].rmse.value, abs=0.01)


def test_only_alignment_learns_from_a_prompt_that_stays_unknown(checkpoint_folder, records):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    features = FrozenFeatures(model, CONFIG, load_clip, FeatureCache())
    features.read_prompts(records[:2], ("prompt", "1"))
    unread, read = (features.inputs([record]) for record in records[:2])
    assert (unread.prompts, unread.judging_prompts) == (["prompt 0"], [NEUTRAL_PROMPT])
    torch.testing.assert_close(unread.judging_text, model.encode_text([NEUTRAL_PROMPT]))
    torch.testing.assert_close(unread.text, model.encode_text(["prompt 0"]))
    assert read.judging_prompts == read.prompts == ["prompt 1"]
    assert features.inputs(records[:1], known_words=("prompt", "0")).judging_prompts == ["prompt 0"]


def test_only_what_was_asked_for_changes(checkpoint_folder, data, tmp_path):
    before, _ = load_base(str(checkpoint_folder), device="cpu")
    for scope in ("head", "top"):
        model, _ = load_base(str(checkpoint_folder), device="cpu")
        list(train(model, data, replace(CONFIG, scope=scope), tmp_path / scope))
        after = model.state_dict()
        changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after[name].float())}
        rounded = {name for name in changed if after[name].dtype == torch.bfloat16}
        learned = {".".join(name.split(".")[:3]) for name in changed - rounded}
        head = {name for name in learned if name.startswith("head.")}
        assert learned - head == (
            set() if scope == "head" else {"venc.layer.3", "venc.layernorm.weight", "venc.layernorm.bias"}
        )
        assert head


@pytest.mark.parametrize("base", ["checkpoint_folder", "views_folder"])
def test_a_batch_in_parts_teaches_what_the_whole_batch_does(base, data, tmp_path, monkeypatch, request):
    config = replace(CONFIG, scope="top", epochs=2, train_text=True, batch_size=8, accumulate=2)
    tails, whole = [], VJEPAModel.encode_tail

    def counted(model, hidden, **settings):
        tails.append(len(hidden))
        return whole(model, hidden, **settings)

    monkeypatch.setattr(VJEPAModel, "encode_tail", counted)
    weights = {}
    for name, activations in (("whole", 2**40), ("parts", 0)):
        monkeypatch.setattr("vjepa_demo.tasks.train.ACTIVATION_BYTES", activations)
        tails.clear()
        model, _ = load_base(str(request.getfixturevalue(base)), device="cpu")
        epochs = [each for each in train(model, data, config, tmp_path / name) if isinstance(each, EpochReport)]
        weights[name] = model.state_dict() | {"loss": torch.tensor(losses(epochs))}
        assert max(tails) == (8 if name == "whole" else 1), "clips whose activations are held at once"
    tolerance = 1e-5 if inference_dtype("cpu") == torch.float32 else 1e-2
    for name, value in weights["whole"].items():
        torch.testing.assert_close(weights["parts"][name], value, atol=tolerance, rtol=tolerance, msg=name)


def test_layers_that_drop_paths_drop_the_same_in_both_passes(checkpoint_folder, data, tmp_path, monkeypatch):
    """The first pass of a batch in parts gives the loss, the second its gradient: of one function."""
    monkeypatch.setattr("vjepa_demo.tasks.train.ACTIVATION_BYTES", 0)
    dropped: dict[bool, list[bool]] = {True: [], False: []}  # with and without gradients

    class RecordingDropPath(VJEPA2DropPath):
        def forward(self, hidden):
            result = super().forward(hidden)
            if self.training:
                dropped[torch.is_grad_enabled()].append(not result.any())
            return result

    model, _ = load_base(str(checkpoint_folder), device="cpu")
    model.venc.layer[-1].drop_path = RecordingDropPath(0.5)
    list(train(model, data, replace(CONFIG, scope="top", epochs=1, batch_size=16), tmp_path))
    assert dropped[False] == dropped[True]
    assert len(dropped[True]) == 2 * len(data.train)
    assert set(dropped[True]) == {True, False}


def test_a_single_labelled_dimension_trains_and_is_reported_alone(checkpoint_folder, data, tmp_path):
    def only_temporal(records):
        return [replace(record, labels={"Temporal": record.labels["Temporal"]}) for record in records]

    one = replace(data, train=only_temporal(data.train), validation=only_temporal(data.validation))
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    before = model.head.net[-1].weight.clone()
    *_, result = train(model, one, CONFIG, tmp_path)
    assert list(result.evaluation.dimensions) == ["Temporal"]
    shrunk = model.head.net[-1].weight / before  # what has no label only decays, all of it alike
    for name, row in zip(DIMENSIONS, shrunk, strict=True):
        assert (row.max() - row.min() < 1e-4) == (name != "Temporal")


def test_what_training_changed_is_told(checkpoint_folder, data, tmp_path):
    model, base = load_base(str(checkpoint_folder), device="cpu")
    reports = list(train(model, data, replace(CONFIG, epochs=30, learning_rate=5e-3), tmp_path, base=base))
    (start,) = (report for report in reports if isinstance(report, StartReport))
    result = reports[-1]
    gain = result.evaluation.gain
    assert {name: each.srocc.value for name, each in gain.before.dimensions.items()} == {
        name: each.srocc.value for name, each in start.validation.dimensions.items()
    }
    for name, metrics in result.evaluation.dimensions.items():
        assert gain.srocc[name].value == metrics.srocc.value - start.validation.dimensions[name].srocc.value
        assert 0 < gain.srocc[name].standard_error < 1
    assert gain.vquala_score.value == result.evaluation.vquala_score.value - start.validation.vquala_score.value
    assert [record.name for record in result.validation] == [record.name for record in data.validation]

    def told(change: Estimate) -> str:
        evaluation = replace(result.evaluation, gain=replace(gain, vquala_score=change))
        return wording.gain(replace(result, evaluation=evaluation))

    before = f"Before training the VQualA score was {gain.before.vquala_score.value:.3f}: it rose by "
    assert told(Estimate(0.2, 0.05)).startswith(f"{before}0.200 ± 0.050. These clips also chose the best epoch")
    assert told(Estimate(0.05, 0.1)).startswith(f"{before}0.050 ± 0.100, which is not larger than 2 of its standard")
    assert told(Estimate(-0.1, 0.1)).startswith("Training did not help on these clips: the VQualA score was ")
    assert wording.gain(replace(result, evaluation=replace(result.evaluation, gain=None))) == ""


def test_a_new_head_has_no_score_before_training(checkpoint_folder, data, tmp_path):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = list(train(model, data, CONFIG, tmp_path))
    assert not any(isinstance(report, StartReport) for report in reports)
    assert reports[-1].evaluation.gain is None


def test_a_head_trained_on_trained_upper_layers_keeps_them(checkpoint_folder, data, tmp_path):
    *_, first = tune(checkpoint_folder, data, replace(CONFIG, scope="top"), tmp_path / "top")
    *_, second = tune(tmp_path / "top", data, CONFIG, tmp_path / "head")
    assert first.folder != second.folder
    top, head = (
        load_checkpoint(read_checkpoint(tmp_path / name), device="cpu").state_dict() for name in ("top", "head")
    )
    name = "venc.layer.3.mlp.fc1.weight"
    original, _ = load_base(str(checkpoint_folder), device="cpu")
    assert not torch.equal(top[name], original.state_dict()[name])
    assert torch.equal(head[name], top[name])


@pytest.mark.parametrize("train_text", [True, False])
def test_the_text_encoder_learns_only_where_asked(checkpoint_folder, data, tmp_path, train_text):
    config = replace(CONFIG, train_text=train_text, learning_rate=5e-3)
    *_, result = tune(checkpoint_folder, data, config, tmp_path)
    before, _ = load_base(str(checkpoint_folder), device="cpu")
    after = load_checkpoint(read_checkpoint(result.folder), device="cpu")
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(before.tenc.state_dict()[name], after.tenc.state_dict()[name]) != train_text
    features = [model.encode_text(["a prompt"]) for model in (before, after)]
    assert torch.equal(*features) != train_text


def test_without_validation_clips_there_are_no_metrics(checkpoint_folder, data, tmp_path):
    epochs, result = run(checkpoint_folder, replace(data, validation=[]), tmp_path)
    assert result.evaluation is None
    assert all(epoch.validation is None for epoch in epochs)
    assert result.best_epoch == result.epochs == 4


def test_it_ends_early_when_nothing_gets_better(checkpoint_folder, data, tmp_path):
    config = replace(CONFIG, epochs=40, patience=2, learning_rate=1e-9)
    epochs, result = run(checkpoint_folder, data, tmp_path, config)
    assert result.epochs == len(epochs) == result.best_epoch + 2 < 40


def test_accumulated_batches_step_like_larger_ones(checkpoint_folder, data, tmp_path):
    whole = replace(data, train=data.train[:8])
    steps = replace(CONFIG, epochs=1, batch_size=8), replace(CONFIG, epochs=1, batch_size=4, accumulate=2)
    finished = []
    for index, config in enumerate(steps):
        model, _ = load_base(str(checkpoint_folder), device="cpu")
        moved = model.head.net[-1].bias.clone()
        list(train(model, whole, config, tmp_path / str(index)))
        finished.append((model.head.net[-1].bias - moved).sign())
    assert torch.equal(*finished)


def test_the_schedule_warms_up_then_falls_to_zero():
    factors = [schedule(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5, abs=0.01)
    assert 0 < factors[-1] < 0.001


# ---- repeatable, killed, resumed, stopped ----------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["head", "top"])
def test_the_same_seed_gives_the_same_numbers_and_another_does_not(checkpoint_folder, data, tmp_path, scope):
    config = replace(CONFIG, scope=scope)
    first, second = (losses(run(checkpoint_folder, data, tmp_path / name, config)[0]) for name in "ab")
    assert first == second
    assert losses(run(checkpoint_folder, data, tmp_path / "c", replace(config, seed=1))[0]) != first


class Killed(Exception):
    pass


@pytest.mark.parametrize("scope", ["head", "top", "top in parts, with the text"])
def test_a_killed_and_resumed_run_ends_like_one_that_was_not(checkpoint_folder, data, tmp_path, scope, monkeypatch):
    config = replace(CONFIG, scope=scope)
    if scope == "top in parts, with the text":
        config = replace(CONFIG, scope="top", train_text=True, accumulate=2)
        monkeypatch.setattr("vjepa_demo.tasks.train.ACTIVATION_BYTES", 0)
    expected, result = run(checkpoint_folder, data, tmp_path / "whole", config)
    killed(checkpoint_folder, data, tmp_path / "killed", config)
    resumed, again = run(checkpoint_folder, data, tmp_path / "killed", config, resume=True)
    assert losses(resumed) == losses(expected)[2:]
    assert again.predictions == result.predictions
    assert again.evaluation == result.evaluation
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert one == other


def killed(base: Path, data: TrainingData, folder: Path, config: TrainConfig) -> None:
    """Train into `folder` until the eighth step, in the middle of the third epoch of three steps."""
    steps = count()
    is_learning = False

    def kill() -> bool:
        if is_learning and next(steps) == 7:
            raise Killed
        return False

    model, _ = load_base(str(base), device="cpu")
    epochs = 0
    try:
        for report in train(model, data, config, folder, should_stop=kill):
            is_learning |= isinstance(report, EncodingReport) and report.done == report.total
            epochs += isinstance(report, EpochReport)
    except Killed:
        assert epochs == 2
    else:
        pytest.fail("it was not killed")


def test_intervals_come_from_the_validation_clips_and_a_resumed_run_gives_the_same(checkpoint_folder, data, tmp_path):
    """Five videos with five prompts each; one clip has no Temporal label, so that 24 of 25 count there."""
    validation = [replace(each, prompt=f"{each.prompt} {word}") for each in data.validation for word in "abcde"]
    validation[0] = replace(validation[0], labels={"Overall": 3.0})
    several = replace(data, validation=validation)
    _, result = run(checkpoint_folder, several, tmp_path / "whole")
    trained_on = read_checkpoint(tmp_path / "whole").trained_on
    assert trained_on.num_margin_clips == {**dict.fromkeys(DIMENSIONS, 24), "Overall": 25}
    assert list(trained_on.margins) == list(DIMENSIONS)
    residuals = [abs(label[3] - shown[3]) for label, shown in zip(result.labels, result.predictions, strict=True)]
    assert trained_on.margins["Temporal"] >= sorted(residuals[1:])[20], "at least as wide as the best epoch's own"
    scores = scored_by(tmp_path / "whole", data.validation[0])
    low, high = scores.intervals["Overall"]
    assert low <= scores.scores["Overall"] <= high
    killed(checkpoint_folder, several, tmp_path / "killed", CONFIG)
    run(checkpoint_folder, several, tmp_path / "killed", resume=True)
    assert read_checkpoint(tmp_path / "killed").trained_on == trained_on


def scored_by(folder: Path, record: VideoRecord):
    """The scores that the checkpoint in `folder` gives to `record`."""
    checkpoint = read_checkpoint(folder)
    model = load_checkpoint(checkpoint, device="cpu")
    return Scorer("mine", model, checkpoint.trained_on).score(record.video, record.prompt)


def test_with_few_validation_clips_there_are_no_intervals_and_it_says_why(checkpoint_folder, data, tmp_path):
    run(checkpoint_folder, data, tmp_path)
    trained_on = read_checkpoint(tmp_path).trained_on
    assert (trained_on.margins, trained_on.num_margin_clips) == ({}, dict.fromkeys(DIMENSIONS, 5))
    assert wording.interval_note(trained_on) == (
        "No interval for Traditional (5), Alignment (5), Aesthetic (5), Temporal (5) and Overall (5): at least 20 "
        "validation clips with a label are needed for one."
    )


def test_only_the_same_run_can_be_resumed(checkpoint_folder, data, tmp_path):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = train(model, data, CONFIG, tmp_path)
    assert any(isinstance(report, EpochReport) for report in reports)
    reports.close()
    with pytest.raises(RecordError, match="other labels, another model or other settings"):
        run(checkpoint_folder, data, tmp_path, replace(CONFIG, seed=5), resume=True)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run(checkpoint_folder, data, tmp_path / "elsewhere", resume=True)


def test_stopping_keeps_the_best_so_far(checkpoint_folder, data, tmp_path):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    steps, seen = count(), []
    # Three steps an epoch: it stops in the middle of the third.
    seen.extend(train(model, data, CONFIG, tmp_path, should_stop=lambda: is_read(seen) and next(steps) >= 7))
    assert seen[-1].epochs == 2
    assert read_checkpoint(tmp_path).trained_on.num_clips == 11


def test_stopping_before_anything_was_learned_says_so(checkpoint_folder, data, tmp_path):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    seen = []
    with pytest.raises(StoppedError, match="stopped before the first epoch ended"):
        seen.extend(train(model, data, CONFIG, tmp_path, should_stop=lambda: is_read(seen)))


# ---- the frozen part -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["head", "top"])
def test_each_clip_is_decoded_once_and_the_result_does_not_depend_on_the_cache(
    checkpoint_folder, data, tmp_path, scope
):
    decoded: list[Path] = []

    def count(path, config, **settings) -> Clip:
        decoded.append(path)
        return load_clip(path, config, **settings)

    config = replace(CONFIG, scope=scope)
    kept, _ = run(checkpoint_folder, data, tmp_path / "kept", config, load=count)
    assert sorted(decoded) == sorted({record.video for record in (*data.train, *data.validation)})
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = list(train(model, data, config, tmp_path / "anew", cache=FeatureCache(memory_bytes=0)))
    assert losses([report for report in reports if isinstance(report, EpochReport)]) == losses(kept)
    assert [report.recomputed for report in reports if isinstance(report, EncodingReport)][-1] == 16


def test_the_next_batch_is_read_while_one_is_learned_from(checkpoint_folder, records):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reading = {record.video: Event() for record in records}

    def load(path, config, **settings) -> Clip:
        reading[path].set()
        return load_clip(path, config, **settings)

    features = FrozenFeatures(model, CONFIG, load, FeatureCache(memory_bytes=0))
    features.read_prompts(records)
    with closing(features.read_ahead([[records[0]], [records[1]], [records[2]]])) as batches:
        first = next(batches)
        assert reading[records[1].video].wait(60), "the second is read by now"
        assert not reading[records[2].video].is_set(), "one ahead, no more"
        rest = list(batches)
    for batch, record in zip([first, *rest], records[:3], strict=True):
        assert list(batch.prompts) == [record.prompt]
        torch.testing.assert_close(batch.videos[0], features.inputs([record]).videos[0])


def test_a_clip_that_cannot_be_read_any_more_ends_the_reading(checkpoint_folder, records, tmp_path):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    gone = replace(records[1], video=tmp_path / "gone.mp4")
    features = FrozenFeatures(model, CONFIG, load_clip, FeatureCache(memory_bytes=0))
    features.read_prompts(records)
    with closing(features.read_ahead([[records[0]], [gone], [records[2]]])) as batches:
        assert next(batches).prompts == [records[0].prompt]
        with pytest.raises(OSError, match=r"gone\.mp4"):
            next(batches)


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return on_disk(tmp_path / "cache")


def on_disk(folder: Path, disk_bytes: int = 2**30) -> FeatureCache:
    """A cache that has nothing in memory but the last clip."""
    return FeatureCache(folder, memory_bytes=0, disk_bytes=disk_bytes)


def unread(path, config, **settings) -> Clip:
    raise AssertionError(f"{path} was decoded again")


def unencoded(*_) -> None:
    raise AssertionError("encoded again")


def with_precision_of_training(model_name, **settings):
    """The model as `load_scorer` has it."""
    return load_checkpoint(read_checkpoint(model_name), device="cpu", dtype=inference_dtype("cpu"), **settings)


def test_what_was_scored_is_neither_decoded_nor_encoded_to_train_a_head(
    checkpoint_folder, data, tmp_path, cache, monkeypatch
):
    expected, _ = run(checkpoint_folder, data, tmp_path / "alone")
    scorer = Scorer("small", with_precision_of_training(checkpoint_folder), TRAINED_ON, cache=cache)
    for record in (*data.train, *data.validation):
        scorer.score(record.video, "another prompt")
    monkeypatch.setattr(VJEPAModel, "encode_prefix", unencoded)
    epochs, _ = run(checkpoint_folder, data, tmp_path / "out", cache=cache, load=unread)
    assert losses(epochs) == losses(expected)


def test_what_a_head_was_trained_on_is_neither_decoded_nor_encoded_to_score(
    checkpoint_folder, data, tmp_path, cache, monkeypatch
):
    alone = Scorer("small", with_precision_of_training(checkpoint_folder), TRAINED_ON)
    expected = [alone.score(record.video, record.prompt) for record in data.train]
    *_, result = tune(checkpoint_folder, data, CONFIG, tmp_path / "mine")
    monkeypatch.setattr(scorer_module, "load_clip", unread)
    monkeypatch.setattr(VJEPAModel, "encode_prefix", unencoded)
    for folder in (checkpoint_folder, result.folder):  # the new head rests on the same encoder
        scorer = Scorer("small", with_precision_of_training(folder), TRAINED_ON, cache=feature_cache())
        scores = [scorer.score(record.video, record.prompt, with_frames=False) for record in data.train]
        assert all(each.seconds["decode"] == each.seconds["video"] == 0 for each in scores)
        assert ([each.scores for each in scores] == [each.scores for each in expected]) == (folder == checkpoint_folder)
        assert [each.frame_seconds for each in scores] == [each.frame_seconds for each in expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_trained_upper_layers_give_the_same_features_to_training_and_to_scoring(
    checkpoint_folder, data, tmp_path, monkeypatch, dtype
):
    *_, top = tune(checkpoint_folder, data, replace(CONFIG, scope="top"), tmp_path / "top")
    caches = [on_disk(tmp_path / name) for name in ("train", "score")]
    monkeypatch.setattr("vjepa_demo.tasks.train.inference_dtype", lambda _: dtype)
    run(top.folder, data, tmp_path / "head", cache=caches[0])
    model = load_checkpoint(read_checkpoint(top.folder), device="cpu", dtype=dtype)
    scorer = Scorer("top", model, TRAINED_ON, cache=caches[1])
    for record in data.train:
        scorer.score(record.video, record.prompt)
        key = FeatureKey.of(model, content_sha256(record.video))
        trained, scored = (cache.get(key).values for cache in caches)
        assert torch.equal(trained, scored)


@pytest.mark.parametrize("scope", ["head", "top"])
def test_a_second_run_finds_what_the_first_kept(checkpoint_folder, data, tmp_path, cache, scope):
    config = replace(CONFIG, scope=scope)
    first, _ = run(checkpoint_folder, data, tmp_path / "first", config, cache=cache)
    assert cache.size()[0] == 16
    second, _ = run(checkpoint_folder, data, tmp_path / "second", config, cache=cache, load=unread)
    assert losses(second) == losses(first)
    assert {path.name for path in (tmp_path / "first").iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_memory_alone_keeps_what_fits(checkpoint_folder, data, tmp_path):
    width = 24 * 4  # bytes of the pooled features of one clip
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    memory = FeatureCache(memory_bytes=math.ceil(10 * (width + ENTRY_BYTES) / HELD_SHARE))
    reports = list(train(model, data, CONFIG, tmp_path, cache=memory))
    assert [report.recomputed for report in reports if isinstance(report, EncodingReport)][-1] == 6


def test_what_does_not_fit_on_disk_is_computed_anew_and_goes_once_the_run_is_over(checkpoint_folder, data, tmp_path):
    config = replace(CONFIG, scope="top", epochs=1)
    measure = on_disk(tmp_path / "all")
    expected, _ = run(checkpoint_folder, data, tmp_path / "a", config, cache=measure)
    cache = on_disk(tmp_path / "half", measure.size()[1] // 2)
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = list(train(model, data, config, tmp_path / "b", cache=cache))
    assert [report.recomputed for report in reports if isinstance(report, EncodingReport)][-1] == 8
    assert losses([report for report in reports if isinstance(report, EpochReport)]) == losses(expected)
    before = set((tmp_path / "half").glob("*.features"))
    run(checkpoint_folder, data, tmp_path / "c", config, cache=cache)
    cache.get_or_compute(FeatureKey.of(model, "ab" * 32, layer=1), lambda: VideoFeatures(torch.zeros(10), (0.0,), 1.0))
    assert len(before - set((tmp_path / "half").glob("*.features"))) > 0


def test_a_clip_that_cannot_be_read_is_left_out_and_told(checkpoint_folder, data, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    bad = replace(data.train[0], name="bad.mp4", video=tmp_path / "bad.mp4", line=99)
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = list(train(model, replace(data, train=[*data.train, bad]), CONFIG, tmp_path / "out"))
    last = [report for report in reports if isinstance(report, EncodingReport)][-1]
    assert (last.done, last.total) == (17, 17)
    assert [problem.line for problem in last.problems] == [99]
    assert "cannot be read as a video" in last.problems[0].message
    assert read_checkpoint(tmp_path / "out").trained_on.num_clips == 11


def test_clips_whose_labels_are_all_alike_keep_the_lowest_loss(checkpoint_folder, data, tmp_path):
    def alike(records):
        return [replace(record, labels=dict.fromkeys(DIMENSIONS, 4.0)) for record in records]

    same = replace(data, train=alike(data.train), validation=alike(data.validation))
    epochs, result = run(checkpoint_folder, same, tmp_path, replace(CONFIG, epochs=6))
    lowest = min(epochs, key=lambda epoch: epoch.validation_loss)
    assert result.best_epoch == lowest.epoch
    assert result.evaluation.vquala_score.value is None


def test_a_loss_that_is_no_number_ends_the_run(checkpoint_folder, data, tmp_path):
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    with torch.no_grad():
        model.head.net[-1].bias[0] = float("inf")
    with pytest.raises(RecordError, match="lower the learning rate"):
        list(train(model, replace(data, validation=[]), CONFIG, tmp_path))


def test_a_run_killed_while_it_read_the_clips_is_resumed_from_the_beginning(checkpoint_folder, data, tmp_path):
    expected, _ = run(checkpoint_folder, data, tmp_path / "whole")
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    reports = train(model, data, CONFIG, tmp_path / "killed")
    assert isinstance(next(reports), EncodingReport)
    reports.close()
    resumed, _ = run(checkpoint_folder, data, tmp_path / "killed", resume=True)
    assert losses(resumed) == losses(expected)


def test_stopping_while_clips_are_read_ends_at_once(checkpoint_folder, data, tmp_path):
    """Before the next layer, that is: a clip has four of them."""
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    ran = []
    for layer in model.venc.layer:
        layer.mlp.register_forward_hook(lambda *_: ran.append(None))
    with pytest.raises(StoppedError, match="stopped while the clips were read"):
        list(train(model, data, CONFIG, tmp_path, should_stop=lambda: len(ran) >= 6))
    assert len(ran) == 6


@pytest.mark.parametrize("how", ["closed", "stopped"])
def test_what_is_being_decoded_ends_too(how, checkpoint_folder, data, tmp_path):
    """Of two clips the first is read; the second is a file that takes for ever."""
    model, _ = load_base(str(checkpoint_folder), device="cpu")
    first, begun, ended = Event(), Event(), Event()

    def endless(path, config, *, should_stop) -> Clip:
        if not first.is_set():
            first.set()
            return load_clip(path, config, should_stop=should_stop)
        begun.set()
        try:
            while not should_stop():
                pass
        finally:
            ended.set()
        raise StoppedError

    reports = train(
        model, data, CONFIG, tmp_path, load=endless, should_stop=lambda: how == "stopped" and begun.is_set()
    )
    if how == "closed":
        next(reports)
        assert begun.wait(60)
        reports.close()
    else:
        with pytest.raises(StoppedError, match="stopped while the clips were read"):
            list(reports)
    assert ended.is_set()


def test_another_base_is_another_run(checkpoint_folder, data, tmp_path):
    *_, first = tune(checkpoint_folder, data, CONFIG, tmp_path / "first")
    reports = tune(checkpoint_folder, data, CONFIG, tmp_path / "run")
    assert any(isinstance(report, EpochReport) for report in reports)
    reports.close()
    with pytest.raises(RecordError, match="another model"):
        list(tune(first.folder, data, CONFIG, tmp_path / "run", resume=True))


def test_a_finished_checkpoint_is_not_overwritten(checkpoint_folder, data, tmp_path):
    *_, done = tune(checkpoint_folder, data, CONFIG, tmp_path / "out")
    for base in (checkpoint_folder, done.folder):
        with pytest.raises(RecordError, match="holds a checkpoint already"):
            list(tune(base, data, CONFIG, tmp_path / "out"))


def test_a_new_head_needs_labels_of_all_dimensions(data, tmp_path, monkeypatch):
    monkeypatch.setattr("vjepa_demo.tasks.train.load_base", lambda *_, **__: (None, None))
    one = [replace(record, labels={"Temporal": 3.0}) for record in data.train]
    with pytest.raises(RecordError, match="no label for Traditional, Alignment, Aesthetic, Overall"):
        list(tune("vitl", replace(data, train=one), CONFIG, tmp_path))


def test_what_the_labels_were_for_and_shared_prompts_are_told(checkpoint_folder, data, tmp_path):
    leaked = [replace(record, prompt=data.train[0].prompt.upper()) for record in data.validation]
    one = [replace(record, labels={"Temporal": record.labels["Temporal"]}) for record in data.train]
    run(checkpoint_folder, replace(data, train=one, validation=leaked), tmp_path)
    trained_on = read_checkpoint(tmp_path).trained_on
    assert trained_on.dimensions == ("Temporal",)
    assert "for Temporal only" in str(trained_on)
    assert trained_on.num_shared_prompts == 5
    assert "5 of them with prompts that were trained on" in (tmp_path / "README.md").read_text()


def test_too_few_clips_are_refused(checkpoint_folder, data, tmp_path):
    with pytest.raises(RecordError, match="1 clips are left to learn from, 2 at least"):
        run(checkpoint_folder, replace(data, train=data.train[:1]), tmp_path)


# ---- judged as shown, explained, undisturbed -------------------------------------------------------------------------


def test_fine_tuning_and_evaluate_give_the_same_numbers_for_the_same_clips(checkpoint_folder, data, tmp_path):
    """Also where the head answers beyond the scale: both judge the scores that are shown."""
    far = replace(CONFIG, epochs=40, learning_rate=2e-2)
    loud = [
        replace(record, labels=dict.fromkeys(DIMENSIONS, 1.0 if index < 8 else 5.0))
        for index, record in enumerate(sorted((*data.train, *data.validation), key=lambda record: record.line))
    ]
    wide = replace(
        data, train=[loud[r.line - 2] for r in data.train], validation=[loud[r.line - 2] for r in data.validation]
    )
    *_, result = tune(checkpoint_folder, wide, far, tmp_path)
    assert {1.0, 5.0} & {score for row in result.predictions for score in row}, "some outputs lie beyond the scale"
    assert all(1 <= score <= 5 for row in result.predictions for score in row)
    scorer = scorer_module.load_scorer(str(result.folder), device="cpu")
    validation = replace(record_set(wide), records=tuple(wide.validation))
    *_, evaluation = tasks.evaluate_model(scorer, validation)
    for name, metrics in evaluation.dimensions.items():
        assert metrics.rmse.value == pytest.approx(result.evaluation.dimensions[name].rmse.value, abs=0.01)


def test_the_split_is_reported_first(checkpoint_folder, data, tmp_path):
    first = next(tune(checkpoint_folder, data, CONFIG, tmp_path))
    assert first == SplitReport(11, 5)


def test_who_gave_the_labels_is_said_only_where_it_was_declared(checkpoint_folder, data, tmp_path):
    *_, result = tune(checkpoint_folder, replace(data, kind="undeclared"), CONFIG, tmp_path)
    assert str(read_checkpoint(result.folder).trained_on) == "11 labelled clips: sixteen greys"


@pytest.mark.parametrize("scope", ["head", "top"])
def test_too_little_memory_is_explained_and_the_process_goes_on(checkpoint_folder, data, tmp_path, monkeypatch, scope):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    config = replace(CONFIG, scope=scope)
    with monkeypatch.context() as patched:
        patched.setattr(VJEPAModel, "predict_with_features", too_large)
        with pytest.raises(ModelError, match=r"the memory is too small for .+, or in use by other programs: "):
            list(tune(checkpoint_folder, data, config, tmp_path / "failed"))
    *_, result = tune(checkpoint_folder, data, config, tmp_path / "again")
    assert isinstance(result, TrainingResult)


def test_two_runs_beside_each_other_learn_what_each_learns_alone(checkpoint_folder, data, tmp_path):
    configs = {name: replace(CONFIG, seed=seed, epochs=12) for seed, name in enumerate("ab")}
    alone = {name: losses(run(checkpoint_folder, data, tmp_path / name, config)[0]) for name, config in configs.items()}
    with ThreadPoolExecutor(2) as pool:
        running = {
            name: pool.submit(run, checkpoint_folder, data, tmp_path / f"{name}-beside", config)
            for name, config in configs.items()
        }
        beside = {name: losses(future.result()[0]) for name, future in running.items()}
    assert beside == alone


def test_a_folder_has_one_run_at_a_time(checkpoint_folder, data, tmp_path):
    running = tune(checkpoint_folder, data, CONFIG, tmp_path / "out")
    assert any(isinstance(report, EncodingReport) for report in running)
    with pytest.raises(BusyError, match=r"another run trains into .+out now: wait until it ends"):
        list(tune(checkpoint_folder, data, CONFIG, tmp_path / "out"))
    *_, result = running
    assert isinstance(result, TrainingResult)
    assert not (tmp_path / "out" / ".lock").exists()


def test_a_folder_that_cannot_be_written_is_told(checkpoint_folder, data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"out cannot be written \(Not a directory\): choose another folder"):
        list(tune(checkpoint_folder, data, CONFIG, tmp_path / "file" / "out"))


def test_a_head_that_was_trained_rests_on_the_features_of_its_base(checkpoint_folder, data, tmp_path):
    *_, result = tune(checkpoint_folder, data, CONFIG, tmp_path)
    base, tuned = (
        load_checkpoint(read_checkpoint(folder), device="cpu") for folder in (checkpoint_folder, result.folder)
    )
    assert tuned.video_weights_digest() == base.video_weights_digest()
    assert not torch.equal(tuned.head.net[-1].weight, base.head.net[-1].weight)
