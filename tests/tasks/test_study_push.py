"""A rated study on the Hub: what is there, what its card says, and that it is read back as what people rated."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
import yaml
from small_models import FRAMES

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.media.video import write_video
from vjepa_demo.schema import RecordError, RecordSet, UploadingReport
from vjepa_demo.tasks.batch_table import batch_of_files
from vjepa_demo.tasks.labels import check_labels
from vjepa_demo.tasks.rate import OpenStudy
from vjepa_demo.tasks.study import make_study
from vjepa_demo.tasks.study_push import push_study

COUNT = 8


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Plain greys in a folder, darkest first."""
    folder = tmp_path_factory.mktemp("greys") / "greys"
    folder.mkdir()
    for number in range(COUNT):
        frames = torch.full((FRAMES, 3, 40, 40), 20 + 28 * number, dtype=torch.uint8)
        write_video(folder / f"{number}.mp4", frames, frames_per_second=8, crf=1)
    return folder


def study_of(clips: Path, folder: Path, **settings) -> OpenStudy:
    *_, _ = make_study(batch_of_files([clips], "a grey wall"), folder, dimensions=("Overall",), **settings)
    return OpenStudy(folder)


def rate(study: OpenStudy, name: str) -> None:
    """`name` says the brighter, the better."""
    level = {clip.key: int(Path(clip.name).stem) for clip in study.study.clips}
    rater = study.join(name)
    while items := study.upcoming(rater, count=1):
        levels = [level[key] for key in items[0].clips]
        answer = ("a" if levels[0] > levels[1] else "b") if len(levels) == 2 else 1 + levels[0] // 2
        study.rate(rater, items[0].token, {"Overall": answer})


def read_back(name: str, folder: Path, *, token) -> RecordSet:
    """What the Fine-tune tab (`token` False) and `train` (None) read."""
    *_, records = check_labels(name, None, extract_to=folder, token=token)
    assert isinstance(records, RecordSet)
    assert records.problems == ()
    return records


def card_of(hub, name: str) -> tuple[dict, str]:
    _, front, text = hub.repos[f"datasets/{name}"].files["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(front), text


def test_rated_clips_are_read_back_with_their_labels(hub, clips, tmp_path):
    study = study_of(clips, tmp_path / "study", title="Walls")
    for name in ("Ann", "Bob Miller"):
        rate(study, name)
    *reports, url = push_study(study, "me/walls", token="hf_me", private=False)
    assert reports == [UploadingReport(8, COUNT + 4), UploadingReport(COUNT + 4, COUNT + 4)]
    assert url == f"{hub.url}/datasets/me/walls"
    records = read_back("me/walls", tmp_path / "fetched", token=False).records
    assert {record.name: record.labels for record in records} == {
        f"{number}.mp4": {"Overall": 1.0 + number // 2} for number in range(COUNT)
    }
    assert {record.prompt for record in records} == {"a grey wall"}
    for record in records:
        assert record.video.read_bytes() == (clips / record.name).read_bytes()


def test_compared_pairs_are_read_back_by_who_may_read_them(hub, clips, tmp_path):
    study = study_of(clips, tmp_path / "study", kind="pairs")
    rate(study, "Ann")
    list(push_study(study, "me/walls", token="hf_me"))
    assert hub.repos["datasets/me/walls"].private
    with pytest.raises(RecordError, match="no such dataset repository"):
        read_back("me/walls", tmp_path / "theirs", token=False)
    pairs = read_back("me/walls", tmp_path / "mine", token="hf_me").pairs
    assert {frozenset((pair.a.name, pair.b.name)) for pair in pairs} == {
        frozenset((f"{low}.mp4", f"{high}.mp4")) for low in range(COUNT) for high in range(low + 1, COUNT)
    }
    assert all((pair.a.name > pair.b.name) == (pair.answers["Overall"] == "a") for pair in pairs)
    front, text = card_of(hub, "me/walls")
    assert front["configs"] == [{"config_name": "pairs", "data_files": "pairs.csv"}]
    assert "8 clips, 28 pairs of them to compare, 1 rater" in text


def test_the_card_says_what_is_there_and_names_no_rater(hub, clips, tmp_path):
    study = study_of(clips, tmp_path / "study", title="Walls")
    for name in ("Ann", "Bob Miller"):
        rate(study, name)
    study.join("Zoe")  # who looked, and rated nothing
    list(push_study(study, "me/walls", token="hf_me"))
    repo = hub.repos["datasets/me/walls"]
    assert repo.commits[-1][0] == "Upload 18 answers of raters"
    front, text = card_of(hub, "me/walls")
    assert front["library_name"] == "vjepa-demo"
    assert "mean-opinion-score" in front["tags"]
    assert front["configs"] == [
        {"config_name": "labels", "data_files": "labels.csv"},
        {"config_name": "ratings", "data_files": "ratings.csv"},
        {"config_name": "scores", "data_files": "scores.csv"},
    ]
    assert text.startswith("# Walls\n")
    assert "8 clips, 2 raters, 18 answers (2 answers to something\nthat the rater had seen before)" in text
    assert "| Overall | 8 | 1.00 | undefined (" in text
    assert "train me/walls --out" in text
    assert "sees the names that the raters gave" in text
    assert not any(name in text for name in ("Ann", "Bob", "Zoe"))
    for table in ("labels.csv", "ratings.csv"):
        for column in csv.DictReader(io.StringIO(repo.files[table].decode())).fieldnames:
            assert f"`{column}`" in text or column.removesuffix("_MOS") in DIMENSIONS


def test_another_study_takes_the_place_of_the_one_before(hub, clips, tmp_path):
    first, second = (
        study_of(clips, tmp_path / "clips"),
        study_of(clips, tmp_path / "pairs", kind="pairs"),
    )
    for study in (first, second):
        rate(study, "Ann")
        list(push_study(study, "me/walls", token="hf_me"))
    repo = hub.repos["datasets/me/walls"]
    videos = {f"videos/{number}.mp4" for number in range(COUNT)}
    assert repo.files.keys() == {".gitattributes", "README.md", "pairs.csv", *videos}


def test_what_nobody_rated_is_not_pushed(hub, clips, tmp_path):
    study = study_of(clips, tmp_path / "study")
    with pytest.raises(RecordError, match="nobody has rated anything in this study yet"):
        list(push_study(study, "me/walls", token="hf_me"))
    assert hub.requests == []
