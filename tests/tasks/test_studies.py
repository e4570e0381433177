"""The studies of the page: found by their link, owned by a secret, kept for a while; and what learns from them."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import FRAMES, write_checkpoint

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data.ratings import read_study
from vjepa_demo.media.isolated import load_clip, write_preview
from vjepa_demo.media.shown import ffmpeg
from vjepa_demo.media.video import write_video
from vjepa_demo.schema import BatchTable, FolderError, RecordError, VideoError
from vjepa_demo.schema.rating import Statistic, StudyMade
from vjepa_demo.tasks import studies
from vjepa_demo.tasks.batch_table import batch_of_files
from vjepa_demo.tasks.learn import Learner
from vjepa_demo.tasks.rate import OpenStudy
from vjepa_demo.tasks.score import load_scorer
from vjepa_demo.tasks.studies import check_unplayable, delete_study, keep_study, linked_study, owned_study
from vjepa_demo.tasks.study import make_study
from vjepa_demo.tasks.study_learner import StudyLearner

COUNT = 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    """Plain greys, darkest first."""
    folder = tmp_path_factory.mktemp("greys")
    paths = []
    for number in range(COUNT):
        frames = torch.full((FRAMES, 3, 40, 40), 20 + 18 * number, dtype=torch.uint8)
        write_video(folder / f"grey-{number:02}.mp4", frames, frames_per_second=8, crf=1)
        paths.append(folder / f"grey-{number:02}.mp4")
    return paths


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VJEPA_DEMO_STUDIES", str(tmp_path / "studies"))
    return tmp_path / "studies"


def table_of(clips: list[Path]) -> BatchTable:
    return batch_of_files(clips, "a grey wall")


def kept(clips: list[Path], **settings) -> tuple[StudyMade, str]:
    *_, (made, owner) = keep_study(table_of(clips), **settings)
    return made, owner


def age(folder: Path, days: float) -> None:
    when = time.time() - 86400 * days
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (when, when))


# ---- links and owners ------------------------------------------------------------------------------------------------


def test_a_study_is_found_by_its_link_and_owned_by_its_secret(root, clips):
    made, owner = kept(clips[:2], dimensions=("Overall",), order="chosen")
    study = linked_study(made.study.id)
    assert study is owned_study(made.study.id, owner)
    assert (study.study.order, study.study.dimensions, study.study.title) == ("chosen", ("Overall",), "2 clips")
    assert owner not in (study.folder / "study.json").read_text()
    assert made.study.id not in study.folder.name
    assert root.stat().st_mode & 0o777 == 0o700


def test_nobody_else_owns_or_finds_a_study(root, clips):
    made, owner = kept(clips[:2])
    for wrong in (owner[:-1], "", "0" * 32, "\ud83d"):
        with pytest.raises(RecordError, match="only who made this study may do that"):
            owned_study(made.study.id, wrong)
    for link in (made.study.id[:-1], "", "../" + made.study.id, "\ud83d", "/" * 5000):
        with pytest.raises(RecordError, match="this link leads to no study"):
            linked_study(link)


def test_a_study_of_the_command_line_has_a_link_and_no_owner_on_the_page(root, clips):
    *_, made = make_study(table_of(clips[:2]), root / "mine")
    assert linked_study(made.study.id).folder == root / "mine"
    with pytest.raises(RecordError, match="only who made this study"):
        owned_study(made.study.id, "")


def test_a_deleted_study_is_gone_with_its_clips(root, clips):
    made, owner = kept(clips[:2])
    delete_study(owned_study(made.study.id, owner))
    assert list(root.iterdir()) == []
    with pytest.raises(RecordError, match="this link leads to no study"):
        linked_study(made.study.id)


# ---- room ------------------------------------------------------------------------------------------------------------


def test_a_visitors_study_goes_when_nobody_answered_for_long(root, clips):
    old, fresh, answered = (kept(clips[:2])[0] for _ in range(3))
    *_, mine = make_study(table_of(clips[:2]), root / "mine")
    folders = {made.study.id: Path(made.folder) for made in (old, fresh, answered, mine)}
    for made in (old, answered, mine):
        age(folders[made.study.id], studies.KEEP_DAYS + 1)
    (root / ".partial-killed").mkdir()
    age(root / ".partial-killed", studies.KEEP_DAYS + 1)
    linked_study(answered.study.id).join("Ann")
    newest, _ = kept(clips[:2])
    left = {made.study.id for made in (fresh, answered, mine, newest)}
    assert {read_study(folder).id for folder in root.iterdir()} == left


def test_without_room_no_study_is_made(root, clips, monkeypatch):
    kept(clips[:2])
    monkeypatch.setattr(studies, "MAX_BYTES", sum(file.stat().st_size for file in root.rglob("*") if file.is_file()))
    with pytest.raises(FolderError, match="no room for another study"):
        kept(clips[:2])
    assert len(list(root.iterdir())) == 1


def test_studies_that_are_being_made_count(root, clips, monkeypatch):
    size = sum(clip.stat().st_size for clip in clips[:2])
    monkeypatch.setattr(studies, "MAX_BYTES", 2 * size - 1)
    first = keep_study(table_of(clips[:2]))
    next(first)  # nothing is copied yet
    other = keep_study(table_of(clips[:2]))
    with pytest.raises(FolderError, match="no room for another study"):
        next(other)
    first.close()
    kept(clips[:2])  # who gave up no longer counts
    assert len(list(root.iterdir())) == 1


def test_copies_for_browsers_count(root, clips, tmp_path, monkeypatch):
    path = tmp_path / "prores.mov"
    ffmpeg("-i", str(clips[3]), "-c:v", "prores_ks", str(path), name=path.name)
    monkeypatch.setattr(studies, "VISITOR_DATASET_BYTES", path.stat().st_size)
    with pytest.raises(RecordError, match="with the copies for browsers: leave some out"):
        kept([path])
    assert list(root.iterdir()) == []


def test_what_was_half_made_or_half_deleted_goes_after_a_day(root, clips):
    kept(clips[:2])
    fresh, old, answered, foreign = (root / name for name in (".partial-1", ".partial-2", "a1" * 20, "b2" * 20))
    for folder in (fresh, old, answered, foreign):
        folder.mkdir()
    (answered / "ratings.jsonl").write_text("{}")  # an answer that came while its study was deleted
    (foreign / "thesis.txt").write_text("not of this program")
    for folder in (old, answered, foreign):
        age(folder, studies.KEEP_PARTIAL_DAYS + 0.1)
    kept(clips[:2])
    assert fresh.exists()
    assert not old.exists()
    assert not answered.exists()
    assert foreign.exists()


def test_a_half_deleted_study_does_not_open(root, clips):
    *_, made = make_study(table_of(clips[:2]), root / "mine")
    (root / "mine").rename(root / ".partial-killed")
    with pytest.raises(RecordError, match="this link leads to no study"):
        linked_study(made.study.id)


def test_opening_a_study_deletes_what_is_due_at_most_once_an_hour(root, clips, monkeypatch):
    (old, _), (fresh, _) = kept(clips[:2]), kept(clips[:2])
    age(Path(old.folder), studies.KEEP_DAYS + 1)
    monkeypatch.setattr(studies, "_next_sweep", time.monotonic() + 60)
    linked_study(fresh.study.id)
    assert Path(old.folder).exists()
    monkeypatch.setattr(studies, "_next_sweep", 0.0)
    linked_study(fresh.study.id)
    assert not Path(old.folder).exists()
    assert studies._next_sweep > time.monotonic() + 3000


def test_files_that_others_delete_meanwhile_do_not_matter(root, clips, monkeypatch):
    made, _ = kept(clips[:2])
    age(Path(made.folder), studies.KEEP_DAYS + 1)
    (root / "gone").symlink_to(root / "nowhere")  # what is listed and not there any more looks like that
    (Path(made.folder) / "gone.mp4").symlink_to(root / "nowhere")

    def deleted_by_another(study):
        raise FolderError("cannot be written") from FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(studies, "delete_study", deleted_by_another)
    assert kept(clips[:2])


def test_clips_larger_than_a_study_may_be_are_refused(root, clips, monkeypatch):
    monkeypatch.setattr(studies, "VISITOR_DATASET_BYTES", clips[0].stat().st_size)
    with pytest.raises(RecordError, match="leave some out"):
        kept(clips[:2])
    assert list(root.iterdir()) == []


# ---- clips that browsers do not play ---------------------------------------------------------------------------------


def test_a_clip_that_browsers_do_not_play_gets_a_copy_that_they_play(root, clips, tmp_path):
    path = tmp_path / "prores.mov"
    ffmpeg("-i", str(clips[3]), "-c:v", "prores_ks", str(path), name=path.name)
    made, _ = kept([clips[0], path])
    study = linked_study(made.study.id)
    played = {clip.name: study.played_file(clip.key) for clip in made.study.clips}
    files = {clip.name: study.clip_file(clip.key) for clip in made.study.clips}
    assert played["grey-00.mp4"] == files["grey-00.mp4"]
    assert played["prores.mov"].read_bytes()[4:8] == b"ftyp"
    assert not write_preview(played["prores.mov"], tmp_path / "again.mp4")  # browsers play it
    assert files["prores.mov"].read_bytes() == path.read_bytes()


def test_only_a_clip_that_cannot_be_decoded_here_is_skipped(root, clips):
    made, _ = kept(clips[:4], dimensions=("Overall",))
    study, (good, bad) = linked_study(made.study.id), made.study.clips[:2]
    study.clip_file(bad.key).write_bytes(b"no video")
    assert not check_unplayable(study, good.key)
    assert check_unplayable(study, bad.key)
    (reason,) = study.statistics().skipped.values()
    assert bad.key not in reason  # the owner knows the clip by its name
    assert study.statistics().notes[0].startswith(f"{bad.name} is shown to nobody: ")


def test_what_the_system_refuses_for_a_moment_skips_no_clip(root, clips, monkeypatch):
    made, _ = kept(clips[:4], dimensions=("Overall",))
    study, key = linked_study(made.study.id), made.study.clips[0].key

    def too_many(*_):
        raise VideoError("cannot be read: Too many open files") from OSError(24, "Too many open files")

    monkeypatch.setattr(studies, "load_clip", too_many)
    with pytest.raises(FolderError, match=r"cannot be read now \(Too many open files\): try again"):
        check_unplayable(study, key)
    assert not study.statistics().skipped
    monkeypatch.undo()
    assert not check_unplayable(study, key)  # nothing wrong was remembered


def test_a_clip_that_is_gone_is_skipped_but_not_where_the_study_is_gone(root, clips):
    made, _ = kept(clips[:4], dimensions=("Overall",))
    study, (gone, other) = linked_study(made.study.id), made.study.clips[:2]
    study.clip_file(gone.key).unlink()
    assert check_unplayable(study, gone.key)
    study.folder.rename(root / "elsewhere")
    with pytest.raises(FolderError, match="the study cannot be read now: try again"):
        check_unplayable(study, other.key)


def test_a_clip_is_decoded_once_however_often_raters_ask(root, clips, monkeypatch):
    made, _ = kept(clips[:4], dimensions=("Overall",))
    study, (good, bad) = linked_study(made.study.id), made.study.clips[:2]
    study.clip_file(bad.key).write_bytes(b"no video")
    decoded = []

    def load(path, config):
        decoded.append(path)
        return load_clip(path, config)

    monkeypatch.setattr(studies, "load_clip", load)
    assert [check_unplayable(study, key) for key in (good.key, bad.key) * 2] == [False, True, False, True]
    assert decoded == [study.clip_file(good.key), study.clip_file(bad.key)]
    study.clip_file(good.key).write_bytes(b"no video any more")
    assert check_unplayable(study, good.key)


# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "base")


def rated(folder: Path, clips: list[Path], *, raters: dict[str, int]) -> OpenStudy:
    """A study whose raters call bright clips good; each adds so much to all scores."""
    *_, made = make_study(table_of(clips), folder, dimensions=("Traditional", "Overall"))
    study = OpenStudy(folder)
    level = {clip.key: int(clip.name[5:7]) for clip in made.study.clips}
    for name, bias in raters.items():
        rater = study.join(name)
        while items := study.upcoming(rater, count=1):
            score = min(max(1 + level[items[0].clips[0]] * 5 // COUNT + bias, 1), 5)
            study.rate(rater, items[0].token, {"Traditional": score, "Overall": None})
    return study


def test_rated_clips_are_in_the_order_of_their_ratings_without_bias(tmp_path, clips):
    study = rated(tmp_path / "study", clips, raters={"Ann": 0})
    order = list(dict.fromkeys(rating.clips[0] for rating in study.ratings() if rating.round != "warm_up"))
    records = study.rated_clips()
    assert [record.video for record in records] == [study.clip_file(key) for key in order]
    assert [record.labels for record in records] == [
        {"Traditional": 1.0 + int(record.name[5:7]) * 5 // COUNT} for record in records
    ]


def test_it_learns_from_all_raters_and_the_ceiling_is_their_agreement(tmp_path, clips, checkpoint):
    study = rated(tmp_path / "study", clips, raters={"Ann": 0, "Bob": 0})
    learner = StudyLearner(study, str(checkpoint), device="cpu")
    *_, last = learner.encode()
    assert (last.done, last.problems) == (COUNT, ())
    *_, learned = learner.curve()
    assert learned.num_clips == COUNT
    assert tuple(learned.after.dimensions) == ("Traditional",)
    assert learned.after.dimensions["Traditional"].srocc.value > 0.8
    assert learned.ceiling["Traditional"] == pytest.approx(1)
    learner.save(tmp_path / "model")
    scorer = load_scorer(str(tmp_path / "model"), device="cpu")
    assert scorer.trained_on.kind == "human"
    assert scorer.trained_on.description == "“12 clips”, rated by Ann and Bob"
    dark, bright = (scorer.score(clips[number], "a grey wall").scores["Traditional"] for number in (0, -1))
    assert dark < 2.5 < 3.5 < bright


def test_the_ceiling_is_that_of_the_ratings(tmp_path, clips, checkpoint, monkeypatch):
    study = rated(tmp_path / "study", clips, raters={"Ann": 0})
    learner = StudyLearner(study, str(checkpoint), device="cpu")
    list(learner.encode())
    found = study.statistics()
    traditional = replace(found.dimensions["Traditional"], ceiling=Statistic(0.61))
    told = replace(found, dimensions={**found.dimensions, "Traditional": traditional})
    monkeypatch.setattr(study, "statistics", lambda: told)
    assert learner.curve()[-1].to_dict()["dimensions"]["Traditional"]["ceiling"] == 0.61


def test_where_learning_brought_no_gain_the_order_stays(tmp_path, clips, checkpoint, monkeypatch):
    study = rated(tmp_path / "study", clips, raters={"Ann": 0})
    learner = StudyLearner(study, str(checkpoint), device="cpu")
    list(learner.encode())
    monkeypatch.setattr("vjepa_demo.schema.learning.Learned.not_gained", ("Traditional",))
    learned = learner.save(tmp_path / "model")
    base, own = (load_scorer(str(folder), device="cpu") for folder in (checkpoint, tmp_path / "model"))
    before, after = ([each.score(clip, "a grey wall").scores["Traditional"] for clip in clips] for each in (base, own))
    shifts = [one - other for one, other in zip(after, before, strict=True)]
    assert max(shifts) - min(shifts) < 2e-4  # scores have four decimals
    assert abs(sum(after) / COUNT - sum(1 + number * 5 // COUNT for number in range(COUNT)) / COUNT) < 0.05
    metrics = learned.before.dimensions["Traditional"].srocc.value
    assert learned.after.dimensions["Traditional"].srocc.value == pytest.approx(metrics)


def test_the_next_clip_is_the_first_until_clips_are_encoded_then_the_one_that_teaches_most(tmp_path, clips, checkpoint):
    *_, made = make_study(table_of(clips), tmp_path / "study", dimensions=DIMENSIONS[:1])
    learner = StudyLearner(OpenStudy(tmp_path / "study"), str(checkpoint), device="cpu")
    number = {clip.key: int(clip.name[5:7]) for clip in made.study.clips}
    left = [(clip.key,) for clip in made.study.clips if number[clip.key] not in (0, 1)]
    assert learner.choose(left) == left[0]
    list(learner.encode())
    assert number[learner.choose(left)[0]] == COUNT - 1  # the brightest: the darkest were seen


def test_the_next_clip_is_that_of_spread_whatever_was_asked_before(tmp_path, clips, checkpoint):
    *_, made = make_study(table_of(clips), tmp_path / "study", dimensions=DIMENSIONS[:1])
    study = OpenStudy(tmp_path / "study")
    learner, plain = StudyLearner(study, str(checkpoint), device="cpu"), Learner(str(checkpoint), device="cpu")
    records = [study.record(clip.key) for clip in made.study.clips]
    list(learner.encode())
    list(plain.encode(records))
    orders = ([3, 7, 0, 1, 5], [3, 7], [3, 7, 9], [11, 2, 4], [11, 2])  # of two raters, with answers taken back
    for seen in orders:
        for count in range(len(seen) + 1):
            rest = [number for number in range(COUNT) if number not in seen[:count]]
            left = [(made.study.clips[number].key,) for number in rest]
            expected = plain.choose([records[number] for number in rest], [records[i] for i in seen[:count]], "spread")
            assert learner.choose(left) == left[expected]
