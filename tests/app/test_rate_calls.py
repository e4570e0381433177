"""What a rater's browser is told, and the models that learn meanwhile: shared, read once, never waited for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from small_models import FRAMES, write_checkpoint

from vjepa_demo import tasks
from vjepa_demo.app import learners, rate_calls
from vjepa_demo.app.turns import in_turn
from vjepa_demo.media.video import write_video
from vjepa_demo.schema import BusyError
from vjepa_demo.tasks.rate import OpenStudy
from vjepa_demo.tasks.study_learner import StudyLearner

COUNT = 6


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("greys")
    for number in range(COUNT):
        frames = torch.full((FRAMES, 3, 40, 40), 30 + 30 * number, dtype=torch.uint8)
        write_video(folder / f"sora-{number}.mp4", frames, frames_per_second=8, crf=1)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("model") / "base"))


@pytest.fixture
def study(clips, tmp_path, monkeypatch) -> OpenStudy:
    monkeypatch.setenv("VJEPA_DEMO_STUDIES", str(tmp_path / "studies"))
    table = tasks.batch_of_files(clips, "a grey wall")
    *_, (made, _) = tasks.keep_study(table, dimensions=("Overall",), order="chosen")
    return tasks.linked_study(made.study.id)


def joined(study: OpenStudy) -> dict[str, str]:
    answer = rate_calls.join_study({"study": study.study.id, "name": "Ann"})
    return {"study": study.study.id, "name": answer["name"], "secret": answer["secret"]}


# ---- what a browser is told ------------------------------------------------------------------------------------------


def test_a_rater_is_told_nothing_of_files_or_what_made_them(study):
    ann = joined(study)
    told = [rate_calls.open_study(ann), rate_calls.rater_state(ann)]
    assert "sora" not in str(told)
    assert told[1]["total"] == COUNT + 1 + 1


def test_an_answer_says_what_comes_next_and_what_is_shown_stays_first(study):
    ann = joined(study)
    first, _, third = rate_calls.rater_state(ann)["items"]
    answer = {**ann, "token": first["token"], "given": {"Overall": 4}, "seconds": 1.5, "showing": third["token"]}
    state = rate_calls.rate_item(answer)
    assert (state["done"], state["items"][0]) == (1, third)
    assert rate_calls.rate_item(answer)["done"] == 1  # sent twice, recorded once
    assert rate_calls.undo_rating(ann)["undone"] == first


@pytest.mark.parametrize(
    "asked",
    [None, [], "x", {}, {"study": 1}, {"study": "x" * 10_000}, {"study": "\ud800"}, {"study": "../.."}],
)
def test_what_is_no_question_is_answered_with_an_error(study, asked):
    for call in rate_calls.RATER_CALLS:
        answer = call(asked)
        assert len(answer["error"]) < 300


def test_a_stranger_is_unknown_and_a_wrong_answer_is_refused(study):
    ann = joined(study)
    for wrong in ({**ann, "secret": "guess"}, {**ann, "name": "Bob"}, {**ann, "secret": "\ud800"}):
        assert rate_calls.rater_state(wrong)["unknown"]
        assert "error" in rate_calls.undo_rating(wrong)
    token = rate_calls.rater_state(ann)["items"][0]["token"]
    for given in ({"Overall": 6}, {"Overall": True}, {"Overall": "4"}, {}, {"Looks": 3}, "4", [4], {"Overall": 1e400}):
        answer = rate_calls.rate_item({**ann, "token": token, "given": given})
        assert "error" in answer
        assert not answer["retry"]
    assert study.ratings() == ()


def test_a_busy_study_can_be_asked_again_and_an_ended_one_says_so(study, monkeypatch):
    ann = joined(study)
    asked = {**ann, "token": rate_calls.rater_state(ann)["items"][0]["token"], "given": {"Overall": 4}}

    def busy(*_: object, **__: object) -> None:
        raise BusyError("the study is busy; answer again in a moment")

    with monkeypatch.context() as patch:
        patch.setattr(OpenStudy, "rate", busy)
        assert rate_calls.rate_item(asked) == {"error": "The study is busy; answer again in a moment.", "retry": True}
    study.end()
    answer = rate_calls.rate_item(asked)
    assert (answer["ended"], answer["retry"]) == (True, False)
    assert rate_calls.open_study(ann)["ended"]
    assert rate_calls.rater_state(ann)["thanks"].startswith("This study has ended")


# ---- what learns -----------------------------------------------------------------------------------------------------


def test_the_next_clip_is_chosen_once_the_clips_are_read(study, checkpoint, monkeypatch):
    assert learners.loaded_learner(study) is None
    list(learners.read_clips(study, checkpoint))
    seen: list[int] = []
    choose = StudyLearner.choose
    monkeypatch.setattr(StudyLearner, "choose", lambda self, left: seen.append(len(left)) or choose(self, left))
    ann = joined(study)
    for _ in range(2):  # the warm-up, and a first clip
        item = rate_calls.rater_state(ann)["items"][0]
        rate_calls.rate_item({**ann, "token": item["token"], "given": {"Overall": 3}})
    assert seen


def test_two_pages_that_read_at_once_wait_for_each_other_outside_of_turns(study, checkpoint):
    """The second waits while it holds no turn: else the first, which needs turns, would wait for the second."""
    first = learners.read_clips(study, checkpoint)
    next(first)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(lambda: list(learners.read_clips(study, checkpoint)))
        with pytest.raises(TimeoutError):
            second.result(0.2)
        assert list(in_turn(iter([1, 2]))) == [1, 2]  # others have their turns
        assert len(list(first)) == COUNT - 1
        assert second.result(60)[-1].done == COUNT


def test_nobody_waits_for_a_model_that_is_being_loaded(study, checkpoint, monkeypatch):
    loading, may_load, make = threading.Event(), threading.Event(), tasks.StudyLearner

    def load(*arguments: object, **named: object) -> StudyLearner:
        loading.set()
        assert may_load.wait(60)
        return make(*arguments, **named)

    monkeypatch.setattr(tasks, "StudyLearner", load, raising=False)
    with ThreadPoolExecutor(1) as pool:
        learner = pool.submit(learners.learner_of, study, checkpoint)
        assert loading.wait(60)
        ann = joined(study)
        assert len(rate_calls.rater_state(ann)["items"]) == 3
        may_load.set()
        assert learner.result(60) is learners.loaded_learner(study)


def test_the_least_used_learner_goes_first(study, checkpoint, monkeypatch):
    monkeypatch.setattr(learners, "MAX_LEARNERS", 1)
    learner = learners.learner_of(study, checkpoint)
    assert learners.learner_of(study, checkpoint) is learner
    other = tasks.batch_of_files([study.clip_file(study.study.clips[0].key)], "another")
    *_, (made, _) = tasks.keep_study(other)
    learners.learner_of(tasks.linked_study(made.study.id), checkpoint)
    assert learners.loaded_learner(study) is None
