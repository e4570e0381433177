"""Learning while a person rates: agreement with held-out ratings, which clip is next, and the checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import FRAMES, TRAINED_ON, write_checkpoint

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.files import content_sha256
from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import read_checkpoint
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.model.ridge import cross_validated
from vjepa_demo.schema import CheckpointError, FolderError, ModelError, RecordError, VideoRecord, content_digest
from vjepa_demo.schema.learning import MIN_RATED_CLIPS, curve_sizes
from vjepa_demo.tasks.learn import Learner
from vjepa_demo.tasks.score import load_scorer
from vjepa_demo.tasks.words import known_words_after

COUNT = 24


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[VideoRecord]:
    """Plain greys, two a prompt, in an order that says nothing; rated by how bright they are, Overall left out."""
    folder = tmp_path_factory.mktemp("clips")
    made = []
    for index in range(COUNT):
        brightness = (index * 7 % COUNT) / (COUNT - 1)
        frames = torch.full((FRAMES, 3, 40, 40), int(20 + 210 * brightness), dtype=torch.uint8)
        write_video(folder / f"{index}.mp4", frames, frames_per_second=8, crf=1)
        labels = dict.fromkeys(DIMENSIONS[:4], 1 + 4 * brightness)
        made.append(VideoRecord(f"{index}.mp4", folder / f"{index}.mp4", f"prompt {index // 2}", labels, index + 2))
    return made


def learner_of(checkpoint: Path, **settings) -> Learner:
    return Learner(str(checkpoint), device="cpu", cache=FeatureCache(), **settings)


@pytest.fixture(scope="module")
def learner(checkpoint, clips) -> Learner:
    made = learner_of(checkpoint)
    *_, last = made.encode(clips)
    assert (last.done, last.total, last.problems) == (COUNT, COUNT, ())
    return made


def test_it_learns_what_the_rater_sees(learner, clips) -> None:
    learned = learner.agreement(clips, {"Temporal": 0.9})
    assert (learned.num_clips, learned.by_prompt) == (COUNT, True)
    assert tuple(learned.after.dimensions) == DIMENSIONS[:4]
    assert learned.after.dimensions["Temporal"].srocc.value > 0.95
    assert learned.after.dimensions["Temporal"].srocc.standard_error < 0.1
    assert learned.after.no_video_baseline.dimensions["Temporal"].n == COUNT
    point = json.loads(json.dumps(learned.to_dict()))["dimensions"]["Temporal"]
    assert point["ceiling"] == 0.9
    assert point["after"] == learned.after.dimensions["Temporal"].srocc.value
    assert point["before"] == learned.before.dimensions["Temporal"].srocc.value
    assert point["no_video"] == learned.after.no_video_baseline.dimensions["Temporal"].srocc.value


def test_before_is_the_model_as_it_is(learner, checkpoint, clips) -> None:
    scorer = load_scorer(str(checkpoint), device="cpu")
    scores = [scorer.score(clip.video, clip.prompt).scores["Temporal"] for clip in clips]
    relabelled = [
        replace(clip, labels={"Temporal": score}) for clip, score in zip(clips, scores, strict=True)
    ]  # labels that the model gives itself
    before = learner.agreement(relabelled).before.dimensions["Temporal"]
    assert before.rmse.value == pytest.approx(0, abs=2e-4)


def test_ratings_that_say_nothing_are_not_learned(learner, clips) -> None:
    noise = torch.rand(COUNT, generator=torch.Generator().manual_seed(1)).tolist()
    rated = [replace(clip, labels={"Overall": 1 + 4 * value}) for clip, value in zip(clips, noise, strict=True)]
    assert learner.agreement(rated).after.dimensions["Overall"].srocc.value < 0.4


def test_equal_ratings_have_no_correlation(learner, clips) -> None:
    learned = learner.agreement([replace(clip, labels={"Overall": 3.0}) for clip in clips])
    assert learned.after.dimensions["Overall"].srocc.value is None
    assert learned.to_dict()["dimensions"]["Overall"]["after"] is None


def test_one_prompt_alone_is_held_out_clip_by_clip(learner, clips, checkpoint) -> None:
    own = learner_of(checkpoint)
    one = [replace(clip, prompt="the same") for clip in clips]
    assert not own.knows(one[0])
    list(own.encode(one))
    learned = own.agreement(one)
    assert not learned.by_prompt
    assert learned.after.dimensions["Temporal"].srocc.value > 0.9
    assert learned.after.no_video_baseline.dimensions["Temporal"].srocc.value == pytest.approx(-1)
    assert learned.to_dict()["dimensions"]["Temporal"]["no_video"] is None


def relabelled(clips: list[VideoRecord], prompts: list[str], copies: list[int], folder: Path) -> list[VideoRecord]:
    """The clips numbered `copies`, each a file of its own, with `prompts`."""
    made = []
    for index, (prompt, number) in enumerate(zip(prompts, copies, strict=True)):
        path = folder / f"copy-{index}.mp4"
        shutil.copyfile(clips[number].video, path)
        made.append(replace(clips[number], video=path, prompt=prompt))
    return made


def test_one_video_with_two_prompts_is_never_learned_from_and_held_out_at_once(
    clips, checkpoint, tmp_path, monkeypatch
):
    halves = [f"{kind} {number}" for number in range(12) for kind in ("cat", "dog")]
    twice = relabelled(clips, halves, [number for number in range(12) for _ in range(2)], tmp_path)
    own, dealt = learner_of(checkpoint), []

    def watched(inputs, labels, groups, **settings):
        dealt.append(list(groups))
        return cross_validated(inputs, labels, groups, **settings)

    monkeypatch.setattr("vjepa_demo.tasks.learn.cross_validated", watched)
    list(own.encode(twice))
    assert own.agreement(twice).by_prompt
    (groups,) = dealt
    assert groups[::2] == groups[1::2]
    assert len(set(groups)) == 12


def test_where_videos_tie_all_prompts_together_each_video_is_held_out(clips, checkpoint, tmp_path):
    prompts = [kind for _ in range(12) for kind in ("cat", "dog")]
    tied = relabelled(clips, prompts, [number for number in range(12) for _ in range(2)], tmp_path)
    own = learner_of(checkpoint)
    list(own.encode(tied))
    learned = own.agreement(tied)
    assert not learned.by_prompt
    assert learned.after.n == 24
    one_video = relabelled(clips, [f"prompt {number % 2}" for number in range(12)], [0] * 12, tmp_path)
    list(own.encode(one_video))
    assert own.agreement(one_video).after.n == 12


def test_clips_that_the_model_had_learned_from_do_not_judge_where_enough_others_do(learner, clips, tmp_path):
    learner.save(clips[:12], tmp_path / "mine", description="")
    own = learner_of(tmp_path / "mine")
    list(own.encode(clips))
    learned = own.agreement(clips)
    others = own.agreement(clips[12:])
    assert (learned.num_clips, learned.after.n, learned.before.n) == (24, 12, 12)
    assert (learned.after.num_learned, learned.after.num_left_out) == (12, 12)
    assert learned.before.dimensions == others.before.dimensions
    assert others.to_dict()["num_learned"] == others.after.num_left_out == 0
    flattered = own.agreement(clips[:21])  # nine others are too few
    assert (flattered.after.n, flattered.to_dict()["num_learned"], flattered.to_dict()["num_left_out"]) == (21, 12, 0)
    own.save(clips[:21], tmp_path / "again", description="")
    trained_on = read_checkpoint(tmp_path / "again").trained_on
    assert (trained_on.num_clips, trained_on.num_held_out) == (21, 21)
    assert "had learned from 12 of these clips before, so these numbers flatter the model" in trained_on.recipe
    assert trained_on.num_margin_clips["Temporal"] == 9
    assert trained_on.margins == {}


def test_the_card_says_that_the_better_order_was_chosen(learner, clips, tmp_path):
    noise = torch.rand(COUNT, generator=torch.Generator().manual_seed(1)).tolist()
    rated = [replace(clip, labels={"Overall": 1 + 4 * value}) for clip, value in zip(clips, noise, strict=True)]
    learner.save(rated, tmp_path / "noise", description="")
    recipe = read_checkpoint(tmp_path / "noise").trained_on.recipe
    assert "whichever agrees better with these same clips: the SROCC is a little too high" in recipe
    assert "flatter" not in recipe


def test_a_curve_only_gets_longer(learner, clips) -> None:
    assert curve_sizes(MIN_RATED_CLIPS - 1) == ()
    assert curve_sizes(24) == (10, 15, 22, 24)
    assert curve_sizes(10) == (10,)
    long, short = list(learner.curve(clips)), list(learner.curve(clips[:15]))
    assert [point.num_clips for point in long] == [10, 15, 22, 24]
    assert short == long[:2]
    assert list(learner.curve(clips[:9])) == []


def test_too_few_ratings_are_refused(learner, clips, tmp_path) -> None:
    unrated = [replace(clip, labels={}) for clip in clips[9:]]
    for refused in (
        lambda: learner.agreement([*clips[:9], *unrated]),
        lambda: learner.save(clips[:9], tmp_path / "x", description=""),
    ):
        with pytest.raises(
            RecordError, match="9 clips are rated in one dimension and can be read; the model learns from 10 on"
        ):
            refused()
    assert not (tmp_path / "x").exists()


def test_a_dimension_with_few_ratings_is_left_alone(learner, clips) -> None:
    thin = [replace(clip, labels={"Temporal": clip.labels["Temporal"]}) for clip in clips]
    thin[:9] = [replace(clip, labels={**clip.labels, "Overall": 1.0}) for clip in thin[:9]]
    learned = learner.agreement(thin)
    assert tuple(learned.after.dimensions) == ("Temporal",)
    as_it_is, after = (learner.scores(rated, clips) for rated in ([], thin))
    assert [each["Overall"] for each in after] == [each["Overall"] for each in as_it_is]
    only = [replace(clip, labels={"Overall": 1.0}) for clip in clips[:10]]
    assert [point.num_clips for point in learner.curve([*thin[9:18], *only])] == [10]


def test_a_clip_that_cannot_be_read_is_named_and_left_out(checkpoint, clips, tmp_path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    gone = tmp_path / "gone.mp4"
    own = learner_of(checkpoint)
    bad = [replace(clips[0], video=broken, line=90), replace(clips[0], video=gone, line=91)]
    *_, last = own.encode([*clips[:10], *bad])
    assert [problem.line for problem in last.problems] == [90, 91]
    assert own.agreement([*clips[:10], *bad]).num_clips == 10
    assert own.choose([*bad, clips[3]], [], "spread") == 2


def test_encoding_can_be_left_and_gone_on_with(checkpoint, clips) -> None:
    calls = []

    def load(path, config, **settings):
        from vjepa_demo.media.isolated import load_clip

        calls.append(path)
        return load_clip(path, config, **settings)

    own = learner_of(checkpoint, load=load)
    running = own.encode(clips[:6])
    next(running), next(running)
    running.close()
    assert [own.knows(clip) for clip in clips[:3]] == [True, True, False]
    list(own.encode(clips[:6]))
    assert calls == [clip.video for clip in clips[:6]]


@pytest.mark.parametrize("strategy", ["random", "spread", "disagreement", "both"])
def test_the_next_clip_is_one_of_the_candidates_and_repeats(learner, clips, strategy) -> None:
    chosen = learner.choose(clips[12:], clips[:12], strategy, seed=3)
    assert 0 <= chosen < 12
    assert chosen == learner.choose(clips[12:], clips[:12], strategy, seed=3)
    assert learner.choose(clips[20:21], clips[:12], strategy) == 0
    assert learner.choose(clips[20:], [], strategy) in range(4)
    with pytest.raises(RecordError, match="no clip is left"):
        learner.choose([], clips, strategy)


def test_spread_does_not_take_what_looks_like_a_rated_clip(learner, clips) -> None:
    for other in clips[1:6]:
        assert learner.choose([clips[0], other, clips[7]], [clips[0], clips[7]], "spread") == 1


def test_scores_without_ratings_are_those_of_the_model(learner, checkpoint, clips) -> None:
    scorer = load_scorer(str(checkpoint), device="cpu")
    expected = scorer.score(clips[0].video, clips[0].prompt).scores
    assert learner.scores([], clips[:1])[0] == pytest.approx(expected, abs=2e-4)
    with pytest.raises(RecordError, match="was not read yet"):
        learner.scores([], [replace(clips[0], prompt="new")])


def test_random_depends_on_the_seed(learner, clips) -> None:
    assert len({learner.choose(clips, [], "random", seed=seed) for seed in range(30)}) > 5


def test_the_saved_model_scores_as_the_learned_head(learner, checkpoint, clips, tmp_path) -> None:
    learned = learner.save(clips, tmp_path / "mine", description="my own ratings")
    scorer = load_scorer(str(tmp_path / "mine"), device="cpu")
    scores = [scorer.score(clip.video, clip.prompt).scores["Temporal"] for clip in clips]
    said = [each["Temporal"] for each in learner.scores(clips, clips)]
    assert scores == pytest.approx(said, abs=2e-4)
    labels = [clip.labels["Temporal"] for clip in clips]
    assert max(abs(score - label) for score, label in zip(scores, labels, strict=True)) < 0.5
    trained_on = read_checkpoint(tmp_path / "mine").trained_on
    assert (trained_on.kind, trained_on.num_clips, trained_on.description) == ("human", COUNT, "my own ratings")
    assert trained_on.dimensions == DIMENSIONS[:4]
    assert trained_on.srocc["Temporal"] == learned.after.dimensions["Temporal"].srocc.value
    assert trained_on.vquala_score == learned.after.vquala_score.value
    assert trained_on.num_margin_clips["Temporal"] == COUNT
    assert 0 < trained_on.margins["Temporal"] < 2
    assert "Overall" not in trained_on.margins
    assert trained_on.lead == learned.after.lead.value
    assert content_digest(content_sha256(clips[0].video)) in trained_on.digests
    assert (tmp_path / "mine" / "README.md").read_text().count("my own ratings")
    again = learner_of(tmp_path / "mine")  # a learned model can learn on
    list(again.encode(clips))
    assert again.agreement(clips).before.dimensions["Temporal"].srocc.value > 0.95
    with pytest.raises(FolderError, match="not empty"):
        learner.save(clips, tmp_path / "mine", description="again")


def test_prompts_that_stay_unknown_are_learned_judged_and_scored_alike(checkpoint, clips, tmp_path) -> None:
    """As in training: a word of three clips becomes known, all else but Alignment ignores a prompt with another."""
    base = tmp_path / "base"
    shutil.copytree(checkpoint, base)
    config = json.loads((base / "config.json").read_text())
    config["trained_on"]["known_words"] = ["prompt"]
    (base / "config.json").write_text(json.dumps(config))
    mixed = [replace(clip, prompt=("prompt cat", clip.prompt)[row % 2]) for row, clip in enumerate(clips)]
    own = learner_of(base)
    list(own.encode(mixed))
    learned, said = own.save(mixed, tmp_path / "mine", description=""), own.scores(mixed, mixed)
    mine = load_scorer(str(tmp_path / "mine"), device="cpu")
    results = [mine.score(clip.video, clip.prompt) for clip in mixed]
    assert mine.trained_on.known_words == ("cat", "prompt")
    assert [bool(result.neutral_prompt) for result in results] == [False, True] * (COUNT // 2)
    for result, each in zip(results, said, strict=True):
        assert result.scores == pytest.approx(each, abs=3e-4)
    before = load_scorer(str(base), device="cpu")
    as_it_was = [before.score(clip.video, clip.prompt).scores for clip in mixed]
    rated = [replace(clip, labels=scores) for clip, scores in zip(mixed, as_it_was, strict=True)]
    for metrics in own.agreement(rated).before.dimensions.values():
        assert metrics.rmse.value == pytest.approx(0, abs=3e-4)
    assert learned.after.dimensions["Temporal"].srocc.value > 0.95


def test_a_model_of_two_looks_learns_and_scores_as_the_learned_head(looks_folder, clips, tmp_path) -> None:
    shade = torch.linspace(0, 1, 40)[None, None, None, :] + torch.linspace(0, 1, 12)[:, None, None, None]
    ramps = []
    for place, clip in enumerate(clips):  # darker to the left, brighter from frame to frame: the looks differ
        frames = (10 + (20 + 4 * (place * 7 % COUNT)) * shade).expand(-1, 3, 40, 40).to(torch.uint8).contiguous()
        write_video(tmp_path / clip.name, frames, frames_per_second=8, crf=1)
        ramps.append(replace(clip, video=tmp_path / clip.name))
    learner = learner_of(looks_folder)
    *_, last = learner.encode(ramps)
    assert last.problems == ()
    assert learner.agreement(ramps).after.dimensions["Temporal"].srocc.value > 0.8
    learner.save(ramps, tmp_path / "mine", description="ramps")
    scorer, expected = load_scorer(str(tmp_path / "mine"), device="cpu"), learner.scores(ramps, ramps)
    for clip, scores in zip(ramps, expected, strict=True):
        assert scorer.score(clip.video, clip.prompt).scores == pytest.approx(scores, abs=1e-3)


def test_a_dimension_nobody_rated_stays_as_it_was(learner, checkpoint, clips, tmp_path) -> None:
    learner.save(clips, tmp_path / "mine", description="")
    base, mine = (load_scorer(str(folder), device="cpu") for folder in (checkpoint, tmp_path / "mine"))
    overall = [scorer.score(clips[5].video, clips[5].prompt).scores["Overall"] for scorer in (base, mine)]
    assert overall[0] == pytest.approx(overall[1], abs=2e-4)


def test_a_failed_save_leaves_nothing(learner, clips, tmp_path, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vjepa_demo.tasks.learn.save_checkpoint", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*: choose another folder"):
        learner.save(clips, tmp_path / "mine", description="")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_trained_head_is_refused(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    with pytest.raises(ModelError, match="no trained head exists"):
        Learner("vitl", device="cpu")


def test_words_are_known_from_three_clips_on() -> None:
    assert known_words_after(["a"], ["Cat a", "cat, cat dog", "a CAT", "dog"]) == ("a", "cat")
    assert known_words_after([], ["cat"] * 3) == (), "the text encoder knows English"
    assert TRAINED_ON.known_words == ()
