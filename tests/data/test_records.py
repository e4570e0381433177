from __future__ import annotations

import csv
import io
import random

import pytest
from hub_server import Repo
from tables import HEADER, last, messages, record

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data.records import read_hub_records, read_records, read_rows, write_labels, write_predictions
from vjepa_demo.schema import (
    FetchingReport,
    LabelRange,
    RecordError,
    RecordSet,
    TrainingResult,
    VideoRecord,
    summarise,
)
from vjepa_demo.wording import summary_line

# ---- data sets on the Hub --------------------------------------------------------------------------------------------

TABLE = b"video_name,Prompt,Overall_MOS\na,p,1\nclips/c.mp4,q,2\nnone.mp4,r,3\nlabels,s,4\n"
CLIPS = {f"clips/{name}.mp4": name.encode() for name in "abcdef"}
FILES = {"README.md": b"", "labels.csv": TABLE, ".hidden/a.mp4": b"", "load.py": b"print('run')", **CLIPS}


def test_of_a_data_set_only_the_table_and_the_videos_it_names_are_fetched(hub, tmp_path):
    hub.repos["datasets/you/clips"] = Repo(dict(FILES))
    *seen, found = read_hub_records("you/clips", tmp_path, token=False)
    assert hub.fetched() == {"labels.csv", "clips/a.mp4", "clips/c.mp4"}
    assert [(each.name, each.video.read_bytes(), each.labels) for each in found.records] == [
        ("a", b"a", {"Overall": 1.0}),
        ("clips/c.mp4", b"c", {"Overall": 2.0}),
    ]
    assert messages(found) == {4: ["no video “none.mp4” in you/clips"], 5: ["no video “labels” in you/clips"]}
    assert (found.num_rows, seen) == (4, [FetchingReport(1, 2), FetchingReport(2, 2)])


def test_a_data_set_becomes_what_its_files_on_this_machine_would(hub, table, folder, tmp_path):
    files = {name: data for name, data in FILES.items() if name.startswith("clips/")}
    hub.repos["datasets/you/clips"] = Repo({"labels.csv": TABLE, **files})
    there = last(read_hub_records("you/clips", tmp_path, token=False, label_range=(0, 10)))
    here = read_records(table(data=TABLE), folder(*files, under="here"), label_range=(0, 10))
    assert there.label_range == here.label_range
    assert [(each.video.name, each.labels, each.line) for each in there.records] == [
        (each.video.name, each.labels, each.line) for each in here.records
    ]


def test_what_was_fetched_is_not_fetched_again_until_the_data_set_changes(hub, tmp_path):
    repo = hub.repos["datasets/you/clips"] = Repo(dict(FILES))
    first = repo.sha(-1)
    last(read_hub_records("you/clips", tmp_path, token=False))
    hub.requests.clear()
    last(read_hub_records("you/clips", tmp_path, token=False))
    assert hub.fetched() == set()
    repo.files["labels.csv"] = b"video,prompt,mos\nb,p,5\n"
    repo.commit("other labels")
    assert [each.name for each in last(read_hub_records("you/clips", tmp_path, token=False)).records] == ["b"]
    old = last(read_hub_records(f"you/clips@{first}", tmp_path, token=False))
    assert [each.name for each in old.records] == ["a", "clips/c.mp4"]


def test_the_table_of_a_data_set_may_have_any_name_if_it_is_the_only_one(hub, tmp_path):
    hub.repos["datasets/you/clips"] = Repo({"data/mos.tsv": TABLE.replace(b",", b"\t"), **CLIPS})
    assert len(last(read_hub_records("you/clips", tmp_path, token=False)).records) == 2


@pytest.mark.parametrize(
    ("files", "match"),
    [
        (
            {"train.csv": TABLE, "test.csv": TABLE, **CLIPS},
            r"has 2 tables \(test.csv, train.csv\); call the one that holds",
        ),
        (
            {"notes.txt": b"", "info.json": b"", **CLIPS},
            "has no table of labels: a labels.csv, or one .csv or .tsv, was expected",
        ),
        ({"labels.csv": TABLE}, "you/clips holds no videos$"),
        ({"labels.csv": TABLE, "videos.zip": b"PK"}, "holds no videos; archives in it are not opened: download it"),
        ({"labels.csv": b"id,mos\n1,2\n", **CLIPS}, "labels.csv has the columns id, mos"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused_before_any_video(hub, tmp_path, files, match):
    hub.repos["datasets/you/clips"] = Repo(files)
    with pytest.raises(RecordError, match=match):
        last(read_hub_records("you/clips", tmp_path, token=False))
    assert not any(name.startswith("clips/") for name in hub.fetched())


def test_a_data_set_that_is_too_large_is_not_fetched(hub, tmp_path):
    hub.repos["datasets/you/clips"] = Repo(dict(FILES))
    with pytest.raises(RecordError, match=r"you/clips: .* would be fetched; at most 9 bytes"):
        last(read_hub_records("you/clips", tmp_path, token=False, max_bytes=9))
    assert hub.fetched() == set()
    with pytest.raises(RecordError, match=r"you/clips: 2 bytes would be fetched; at most 1 bytes"):
        last(read_hub_records("you/clips", tmp_path, token=False, max_bytes=len(TABLE) + 1))
    assert hub.fetched() == {"labels.csv"}


def test_a_private_data_set_is_for_its_owner(hub, tmp_path):
    hub.repos["datasets/me/clips"] = Repo(dict(FILES), private=True, readers={"me"})
    with pytest.raises(RecordError, match=r"me/clips: no such dataset repository on .*, or it is private"):
        last(read_hub_records("me/clips", tmp_path, token=False))
    assert len(last(read_hub_records("me/clips", tmp_path, token="hf_me")).records) == 2


def test_what_is_no_name_of_a_data_set_is_refused_without_a_request(hub, tmp_path):
    with pytest.raises(RecordError, match="“clips” is no data set on the Hub; owner/name was expected"):
        last(read_hub_records("clips", tmp_path, token=False))
    assert hub.requests == []


# ---- what goes out ---------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path, folder):
    rng = random.Random(3)
    alphabet = "=+-@'\"\t\r\n,;| aé猫＝0"
    videos = folder(*(f"{i}.mp4" for i in range(300)), "-x.mp4", "=1+1.mp4")
    names = [*(f"{i}.mp4" for i in range(300)), "-x.mp4", "=1+1.mp4"]
    records = []
    for name in names:
        prompt = "".join(rng.choices(alphabet, k=rng.randint(1, 8))).strip() or "p"
        labels = {each: rng.uniform(1, 5) for each in DIMENSIONS if rng.random() < 0.7} or {"Overall": 1.0}
        split = rng.choice(["train", "validation"])
        records.append(VideoRecord(name, videos / name, prompt, labels, len(records) + 2, split))
    write_labels(tmp_path / "out.csv", records)
    found = read_records(tmp_path / "out.csv", videos)
    assert found.problems == ()
    for before, after in zip(records, found.records, strict=True):
        assert (after.name, after.video, after.prompt, after.labels, after.split) == (
            *(before.name, before.video, before.prompt, before.labels, before.split),
        )


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "＝1+1", "\t=1"])
def test_no_cell_is_run_as_a_formula(tmp_path, cell):
    write_labels(tmp_path / "out.csv", [record(0, cell)])
    (row,) = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert row["Prompt"] == f"'{cell}"


def test_the_written_table_has_the_columns_of_taobaovd_gc(tmp_path):
    write_labels(tmp_path / "out.csv", [record(0, "a, “b”", Temporal=2.5, Overall=4.0)])
    assert (tmp_path / "out.csv").read_text() == f'{HEADER}\n0.mp4,"a, “b”",,,,2.5,4.0\n'  # \r\n in the file
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]


def test_a_write_that_fails_leaves_the_old_table(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_labels(path, [record(0, "a lone surrogate \ud800")])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_summary_counts_what_will_be_used():
    used = (
        record(0, "p", Overall=1.0, Temporal=3.0),
        record(1, " P ", Overall=1.49, split="train"),
        record(2, "q", Overall=1.5, split="validation"),
        record(3, "r", Overall=5.0, Temporal=4.99, split="validation"),
    )
    summary = summarise(RecordSet(used, (), LabelRange(0, 100), 1234))
    assert (summary.num_rows, summary.num_used, summary.num_videos, summary.num_prompts) == (1234, 4, 4, 3)
    temporal, overall = summary.dimensions
    assert (overall.dimension, overall.num_labels, overall.mean) == ("Overall", 4, pytest.approx(2.2475))
    assert overall.histogram == (2, 1, 0, 0, 0, 0, 0, 1)
    assert temporal.histogram == (0, 0, 0, 0, 1, 0, 0, 1)
    assert summary_line(summary) == (
        "4 of 1,234 rows will be used: 4 videos, 3 prompts; labels from 0 to 100: Temporal 2, Overall 4."
    )


def test_a_summary_of_nothing_is_zeros():
    summary = summarise(RecordSet((), (), LabelRange(), 3))
    assert (summary.num_used, summary.dimensions) == (0, ())
    assert summary_line(summary).startswith("0 of 3 rows will be used")


# ---- before the videos are there -------------------------------------------------------------------------------------


def test_a_table_is_checked_before_any_video_is_there(table, folder):
    rows = ["clips/a.mp4,p,10,ann", "clips/a.mp4,p,30,bob", "b.mp4,q,90,ann", "c.mp4,r,ninety,ann", ",s,50,ann"]
    path = table("video,prompt,Temporal,rater", *rows)
    found = read_rows(path)
    assert [(each.name, str(each.video), each.labels) for each in found.records] == [
        ("clips/a.mp4", "clips/a.mp4", {"Temporal": 1.8}),
        ("b.mp4", "b.mp4", {"Temporal": 4.6}),
    ]
    assert sorted(messages(found)) == [5, 6]
    there = read_records(path, folder("clips/a.mp4", "b.mp4", "c.mp4"))
    assert (found.problems, found.notes, found.label_range) == (there.problems, there.notes, there.label_range)
    assert summarise(found) == summarise(there)
    assert summary_line(summarise(found), are_videos_there=False) == (
        "3 of 5 rows can be used, once their videos are there: 2 videos, 2 prompts; labels from 0 to 100: Temporal 2."
    )
    with pytest.raises(RecordError, match=r"labels\.csv and labels\.csv are of one kind"):
        read_rows([path, path])


def test_a_table_of_pairs_is_checked_before_any_video_is_there(table):
    found = read_rows(
        table("video_a,video_b,prompt,Overall", "1.mp4,2.mp4,p,a", "1.mp4,1.mp4,p,b", "1.mp4,3.mp4,p,best")
    )
    assert [(pair.a.name, pair.b.name, pair.answers) for pair in found.pairs] == [("1.mp4", "2.mp4", {"Overall": "a"})]
    assert sorted(messages(found)) == [3, 4]
    assert "name the same video" in messages(found)[3][0]
    assert "a, b or same was expected" in messages(found)[4][0]


# ---- predictions -----------------------------------------------------------------------------------------------------


def test_predictions_are_written_beside_the_labels_of_the_dimensions_that_have_some(tmp_path):
    unknown = float("nan")
    records = (
        VideoRecord("a.mp4", tmp_path / "a.mp4", 'a "red" ball, rolling', {"Temporal": 2.5, "Overall": 3.0}, 2),
        VideoRecord("=b.mp4", tmp_path / "b.mp4", "+1", {"Overall": 4.0}, 3),
    )
    labels = ((unknown, unknown, unknown, 2.5, 3.0), (unknown, unknown, unknown, unknown, 4.0))
    predictions = ((1.0, 1.1, 1.2, 2.25, 3.5), (2.0, 2.1, 2.2, 2.3, 3.75))
    result = TrainingResult(tmp_path, 1, 1, None, records, labels, predictions)
    write_predictions(tmp_path / "out.csv", result)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["video_name", "Prompt", "Temporal_MOS", "Temporal_predicted", "Overall_MOS", "Overall_predicted"],
            ["a.mp4", 'a "red" ball, rolling', "2.5", "2.25", "3.0", "3.5"],
            ["'=b.mp4", "'+1", "", "2.3", "4.0", "3.75"],
        ]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
