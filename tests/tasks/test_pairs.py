"""Pairs as labels: a model learns from them, alone and beside labels, and is judged by them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from small_models import FRAMES
from tables import last

from vjepa_demo import tasks
from vjepa_demo.config import DIMENSIONS, TrainConfig
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import load_base, load_checkpoint, read_checkpoint
from vjepa_demo.schema import (
    EncodingReport,
    EpochReport,
    LabelRange,
    PairRecord,
    RecordError,
    RecordSet,
    SplitReport,
    StartReport,
    TrainedOn,
    TrainingData,
    VideoError,
    VideoRecord,
)
from vjepa_demo.tasks.pairs import answer_tensor, differences, tie_shares
from vjepa_demo.tasks.score import Scorer
from vjepa_demo.tasks.train import train

CONFIG = TrainConfig(epochs=40, batch_size=8, learning_rate=5e-3, patience=50)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[list[VideoRecord]]:
    """Three plain greys of each of eight prompts, the brighter the better."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for prompt in range(8):
        group = []
        for place in range(3):
            brightness = (3 * prompt + 8 * place + 2) % 24 / 23
            name = f"{prompt}-{place}.mp4"
            frames = torch.full((FRAMES, 3, 40, 40), int(20 + 210 * brightness), dtype=torch.uint8)
            write_video(folder / name, frames, frames_per_second=8, crf=1)
            labels = dict.fromkeys(DIMENSIONS, 1.5 + 3 * brightness)
            group.append(VideoRecord(name, folder / name, f"prompt {prompt}", labels, line=3 * prompt + place + 2))
        made.append(group)
    return made


def pairs_of(group: list[VideoRecord], *, same_below: float = 0.0, names=("Overall",)) -> list[PairRecord]:
    """All pairs of the clips of a prompt, answered as their labels have it."""
    pairs = []
    for line, (a, b) in enumerate(combinations(group, 2), start=2):
        difference = a.labels["Overall"] - b.labels["Overall"]
        answer = "same" if abs(difference) <= same_below else "a" if difference > 0 else "b"
        sides = (replace(side, labels={}, line=line) for side in (a, b))
        pairs.append(PairRecord(*sides, dict.fromkeys(names, answer), line))
    return pairs


@pytest.fixture
def pairs_alone(clips) -> TrainingData:
    train_pairs, validation_pairs = (
        [pair for group in part for pair in pairs_of(group)] for part in (clips[:5], clips[5:])
    )
    return TrainingData(
        [], [], "greys in pairs", kind="human", train_pairs=train_pairs, validation_pairs=validation_pairs
    )


def run(checkpoint_folder, data, folder, config=CONFIG, **settings):
    model, base = load_base(str(checkpoint_folder), device="cpu")
    return list(train(model, data, config, folder, base=base, **settings))


def epochs(reports) -> list[EpochReport]:
    return [report for report in reports if isinstance(report, EpochReport)]


# ---- values ----------------------------------------------------------------------------------------------------------


def test_answers_and_differences_are_in_the_order_of_the_dimensions(clips):
    a, b, c = clips[0]
    pairs = [PairRecord(a, b, {"Overall": "b", "Traditional": "same"}, 2), PairRecord(c, a, {"Temporal": "a"}, 3)]
    expected = torch.tensor([[0.0, torch.nan, torch.nan, torch.nan, -1.0], [torch.nan] * 3 + [1.0, torch.nan]])
    torch.testing.assert_close(answer_tensor(pairs), expected, equal_nan=True)
    scores = torch.arange(15.0).reshape(3, 5)
    assert differences(pairs, [a, b, c], scores).tolist() == [[-5.0] * 5, [10.0] * 5]
    assert tie_shares(pairs).tolist() == [0.75, 0.5, 0.5, 0.25, 0.25]
    assert answer_tensor([]).shape == differences([], [a], scores).shape == (0, 5)


# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["head", "top"])
def test_it_learns_from_pairs_alone(checkpoint_folder, pairs_alone, tmp_path, scope):
    reports = run(checkpoint_folder, pairs_alone, tmp_path, replace(CONFIG, scope=scope))
    losses = [report.loss for report in epochs(reports)]
    assert losses[-1] < 0.7 * losses[0]
    judged = reports[-1].evaluation
    assert (judged.n, judged.dimensions, judged.pairs.n) == (0, {}, 9)
    assert judged.pairs.dimensions["Overall"].without_ties.value >= 8 / 9
    assert judged.pairs.threshold_from == "training pairs"
    assert reports[-1].predictions == ()
    (start,) = [report for report in reports if isinstance(report, StartReport)]
    assert start.validation.pairs.n == 9


def test_pairs_alone_leave_the_level_of_scores_where_it_was(checkpoint_folder, clips, pairs_alone, tmp_path):
    run(checkpoint_folder, pairs_alone, tmp_path, replace(CONFIG, validation_fraction=0.0))
    before = scorer_of(checkpoint_folder)
    learned = [clip for group in clips[:5] for clip in group]
    after = Scorer("mine", load_tuned(checkpoint_folder, tmp_path), before.trained_on)
    means = [
        sum(scorer.score(clip.video, clip.prompt).scores["Overall"] for clip in learned) / len(learned)
        for scorer in (before, after)
    ]
    assert means[1] == pytest.approx(means[0], abs=0.25)


def load_tuned(base: Path, folder: Path):
    """The model of the checkpoint in `folder` with the base's encoders, which nobody copied in these tests."""
    checkpoint = read_checkpoint(folder)
    encoders = {name: str(base / name) for name in ("video_encoder", "text_encoder")}
    return load_checkpoint(replace(checkpoint, model=replace(checkpoint.model, **encoders)), device="cpu")


def test_labels_and_pairs_are_learned_from_in_one_run(checkpoint_folder, clips, tmp_path):
    train_pairs = [pair for group in clips[:3] for pair in pairs_of(group, names=("Temporal",))]
    records = [replace(clip, labels={"Overall": clip.labels["Overall"]}) for group in clips[3:] for clip in group]
    validation_pairs = [pair for group in clips[6:] for pair in pairs_of(group, names=("Temporal",))]
    data = TrainingData(records[:9], records[9:], "both", train_pairs=train_pairs, validation_pairs=validation_pairs)
    result = run(checkpoint_folder, data, tmp_path)[-1]
    assert result.evaluation.dimensions["Overall"].srocc.value > 0.8
    assert result.evaluation.pairs.dimensions["Temporal"].without_ties.value == 1
    trained_on = read_checkpoint(tmp_path).trained_on
    assert (trained_on.num_clips, trained_on.pairs.num_pairs) == (9, 9)
    assert trained_on.dimensions == ("Temporal", "Overall")
    assert len(trained_on.digests) == 18
    assert str(trained_on) == "9 labelled clips and 9 judged pairs for Temporal, Overall only: both"


def test_the_checkpoint_says_what_it_learned_of_pairs(checkpoint_folder, clips, pairs_alone, tmp_path):
    tied = [pair for group in clips[:5] for pair in pairs_of(group, same_below=1.2)]
    result = run(checkpoint_folder, replace(pairs_alone, train_pairs=tied), tmp_path)[-1]
    trained_on = read_checkpoint(tmp_path).trained_on
    overall = result.evaluation.pairs.dimensions["Overall"]
    assert trained_on.pairs.accuracy == {"Overall": overall.without_ties.value}
    assert trained_on.pairs.guess == {"Overall": overall.guess_without_ties.value}
    assert trained_on.pairs.tie_thresholds == {"Overall": overall.tie_threshold}
    assert (trained_on.pairs.num_pairs, trained_on.pairs.num_held_out) == (15, 9)
    assert trained_on.has_only_pairs
    assert trained_on.standing == "beats"
    assert str(trained_on) == "15 pairs that people judged for Overall only: greys in pairs"
    card = (tmp_path / "README.md").read_text()
    assert "| Overall | " in card.partition("## Pairs")[2]


def test_a_killed_run_on_pairs_ends_like_an_uninterrupted_one(checkpoint_folder, pairs_alone, tmp_path):
    config = replace(CONFIG, epochs=4)
    whole = run(checkpoint_folder, pairs_alone, tmp_path / "whole", config)
    model, base = load_base(str(checkpoint_folder), device="cpu")
    reports = train(model, pairs_alone, config, tmp_path / "killed", base=base)
    for report in reports:
        if isinstance(report, EpochReport) and report.epoch == 2:
            break
    reports.close()
    resumed = run(checkpoint_folder, pairs_alone, tmp_path / "killed", config, resume=True)
    assert [each.loss for each in epochs(resumed)] == [each.loss for each in epochs(whole)[2:]]
    assert (tmp_path / "killed/config.json").read_bytes() == (tmp_path / "whole/config.json").read_bytes()
    assert (tmp_path / "killed/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_a_run_on_other_answers_is_not_resumed(checkpoint_folder, pairs_alone, tmp_path):
    model, base = load_base(str(checkpoint_folder), device="cpu")
    reports = train(model, pairs_alone, CONFIG, tmp_path, base=base)
    next(report for report in reports if isinstance(report, EpochReport))
    reports.close()
    first, *others = pairs_alone.train_pairs
    changed = [replace(first, answers={"Overall": "same"}), *others]
    with pytest.raises(RecordError, match="had other labels"):
        run(checkpoint_folder, replace(pairs_alone, train_pairs=changed), tmp_path, resume=True)


def test_a_clip_that_fails_takes_its_pairs_along_and_each_is_told(checkpoint_folder, clips, pairs_alone, tmp_path):
    broken = clips[0][1].video

    def load(path: Path, config, **settings):
        if path == broken:
            raise VideoError("broken")
        return load_clip(path, config, **settings)

    reports = run(checkpoint_folder, pairs_alone, tmp_path, replace(CONFIG, epochs=1), load=load)
    problems = [report for report in reports if isinstance(report, EncodingReport)][-1].problems
    assert {(problem.line, problem.message) for problem in problems} == {(2, "broken"), (4, "broken")}
    assert read_checkpoint(tmp_path).trained_on.pairs.num_pairs == 13


def test_the_split_goes_by_prompt_over_both_kinds(checkpoint_folder, clips, tmp_path):
    records = tuple(clip for group in clips for clip in group)
    pairs = tuple(pair for group in clips for pair in pairs_of(group))
    data = RecordSet(records, (), LabelRange(), 48, pairs=pairs)
    reports = tasks.fine_tune(
        str(checkpoint_folder), data, replace(CONFIG, epochs=1), tmp_path, description="both", device="cpu"
    )
    split = next(reports)
    assert isinstance(split, SplitReport)
    assert (split.num_train, split.num_train_pairs) == (18, 18)
    assert (split.num_validation, split.num_validation_pairs) == (6, 6)
    result = last(reports)
    assert (result.evaluation.n, result.evaluation.pairs.n) == (6, 6)


def test_pairs_give_no_first_head(monkeypatch, base_encoder, pairs_alone, tmp_path):
    from vjepa_demo.tasks import train as module

    monkeypatch.setattr(module, "load_base", lambda name, **_: (None, None))
    data = RecordSet((), (), LabelRange(), 15, pairs=tuple(pairs_alone.train_pairs))
    with pytest.raises(RecordError, match=r"no label for Traditional.*\(pairs do not say how good a clip is\)"):
        list(tasks.fine_tune("vitl", data, CONFIG, tmp_path / "out", description="pairs", device="cpu"))


# ---- judging ---------------------------------------------------------------------------------------------------------


def scorer_of(folder: Path, trained_on: TrainedOn | None = None) -> Scorer:
    model, base = load_base(str(folder), device="cpu")
    return Scorer("mine", model, trained_on or base.trained_on)


def record_set(pairs: list[PairRecord], records=()) -> RecordSet:
    return RecordSet(tuple(records), (), LabelRange(), len(pairs) + len(records), pairs=tuple(pairs))


def test_evaluate_judges_pairs_by_the_scores_as_shown(checkpoint_folder, clips):
    pairs = [pair for group in clips for pair in pairs_of(group, names=("Traditional",))]
    scorer = scorer_of(checkpoint_folder)
    found = last(tasks.evaluate_model(scorer, record_set(pairs)))
    right = 0
    for pair in pairs:
        a, b = (scorer.score(side.video, side.prompt).scores["Traditional"] for side in (pair.a, pair.b))
        right += (a > b) if pair.answers["Traditional"] == "a" else (b > a)
    accuracy = found.pairs.dimensions["Traditional"]
    assert accuracy.without_ties.value == pytest.approx(right / len(pairs))
    assert (found.n, accuracy.n, found.pairs.threshold_from) == (0, 24, "pairs of other prompts")
    assert found.to_dict()["pairs"]["dimensions"]["Traditional"]["n"] == 24


def test_evaluate_judges_labels_and_pairs_together(checkpoint_folder, clips):
    records = [clip for group in clips[:4] for clip in group]
    found = last(tasks.evaluate_model(scorer_of(checkpoint_folder), record_set(pairs_of(clips[7]), records)))
    assert (found.n, found.pairs.n) == (12, 3)
    assert "pairs" not in last(tasks.evaluate_model(scorer_of(checkpoint_folder), record_set([], records))).to_dict()


def test_pairs_that_the_model_learned_from_are_left_out(checkpoint_folder, clips, pairs_alone, tmp_path):
    run(checkpoint_folder, pairs_alone, tmp_path, replace(CONFIG, epochs=1))
    trained_on = read_checkpoint(tmp_path).trained_on
    scorer = scorer_of(checkpoint_folder, trained_on)
    everything = [*pairs_alone.train_pairs, *pairs_alone.validation_pairs]
    found = last(tasks.evaluate_model(scorer, record_set(everything))).pairs
    assert (found.n, found.num_learned, found.num_left_out) == (9, 15, 15)
    assert found.threshold_from == "training pairs"
    few = last(tasks.evaluate_model(scorer, record_set([*pairs_alone.train_pairs, *pairs_of(clips[6])]))).pairs
    assert (few.n, few.num_learned, few.num_left_out) == (18, 15, 0)


def test_no_row_fails(checkpoint_folder):
    with pytest.raises(RecordError, match="no row can be evaluated"):
        last(tasks.evaluate_model(scorer_of(checkpoint_folder), record_set([])))
