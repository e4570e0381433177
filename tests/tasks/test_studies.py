"""The studies of the page: found by their link, owned by a secret, kept for a while; and what learns from them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from small_models import FRAMES, write_checkpoint

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data.ratings import read_study
from vjepa_demo.media.preview import write_preview
from vjepa_demo.media.shown import ffmpeg
from vjepa_demo.media.video import write_video
from vjepa_demo.schema import BatchTable, FolderError, RecordError
from vjepa_demo.schema.rating import StudyMade
from vjepa_demo.tasks import studies
from vjepa_demo.tasks.batch_table import batch_of_files
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
    for wrong in (owner[:-1], "", "0" * 32):
        with pytest.raises(RecordError, match="only who made this study may do that"):
            owned_study(made.study.id, wrong)
    for link in (made.study.id[:-1], "", "../" + made.study.id):
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
