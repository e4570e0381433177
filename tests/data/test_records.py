from __future__ import annotations

import csv
import dataclasses
import io
import random
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest
from hub_server import Repo
from small_models import ffmpeg

from vjepa_demo.config import DIMENSIONS, VIDEO_ZIP_LIMITS, ZipLimits
from vjepa_demo.data import records as records_module
from vjepa_demo.data.records import (
    LABEL_RANGES,
    RecordSet,
    check_videos,
    extract_videos,
    is_hub_name,
    match_videos,
    read_hub_records,
    read_labels,
    read_records,
    split_records,
    summarise,
    write_labels,
)
from vjepa_demo.schema import LabelRange, RecordError, VideoRecord, prompt_key

HEADER = "video_name,Prompt,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,Overall_MOS"


@pytest.fixture
def table(tmp_path):
    """Writes a table of labels: lines of text, or bytes."""

    def write(*lines: str, name: str = "labels.csv", data: bytes | None = None) -> Path:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() if data is None else data)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """Makes files that are never opened."""

    def make(*names: str, under: str = "videos") -> Path:
        for name in names:
            path = tmp_path / under / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not opened")
        return tmp_path / under

    return make


def overall(*labels: object, header: str = "video,prompt,overall") -> list[str]:
    """A table of one dimension: the labels of videos 0, 1, ..."""
    return [header, *(f"{index},prompt {index},{label}" for index, label in enumerate(labels))]


def messages(found) -> dict[int, list[str]]:
    """The problems of a table or a record set, by line."""
    by_line = defaultdict(list)
    for problem in found.problems:
        by_line[problem.line].append(problem.message)
    return dict(by_line)


def record(index: int, prompt: str, *, split=None, **labels: float) -> VideoRecord:
    return VideoRecord(f"{index}.mp4", Path(f"{index}.mp4"), prompt, labels or {"Overall": 3.0}, index + 2, split)


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_a_taobaovd_gc_row_becomes_its_values_in_the_order_of_the_dimensions(table):
    found = read_labels(table(HEADER, "0001.mp4,A cat jumps,1,2.5,3,4.25,5"))
    (row,) = found.rows
    assert (row.line, row.name, row.prompt, row.split) == (2, "0001.mp4", "A cat jumps", None)
    assert list(row.labels.items()) == list(zip(DIMENSIONS, (1.0, 2.5, 3.0, 4.25, 5.0), strict=True))
    assert (found.num_rows, found.problems, found.notes) == (1, (), ())
    assert found.label_range == LabelRange(1, 5)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_encodings_and_line_ends_make_no_difference(table, separator, encoding, newline):
    text = newline.join([separator.join(["Prompt", "VIDEO NAME", "Overall-MOS"]), separator.join(["猫 é", "a", "3.5"])])
    (row,) = read_labels(table(data=text.encode(encoding))).rows
    assert (row.name, row.prompt, row.labels) == ("a", "猫 é", {"Overall": 3.5})


@pytest.mark.parametrize(
    ("header", "dimension"),
    [
        ("mos,video,prompt", "Overall"),
        ("overall,path,text", "Overall"),
        ("Overall Quality,filename,TEXT", "Overall"),
        ("traditional,File_Name,caption", "Traditional"),
        ("Temporal score,video_path,Text Prompt", "Temporal"),
        ("mos_aesthetic,file,PROMPT", "Aesthetic"),
        ("ALIGNMENT-MOS,name,description", "Alignment"),
    ],
)
def test_common_column_names_are_known(table, header, dimension):
    (row,) = read_labels(table(header, "2,a,b")).rows
    assert (row.name, row.prompt, row.labels) == ("a", "b", {dimension: 2.0})


def test_the_name_of_taobaovd_gc_wins_over_an_alias_and_other_columns_are_named_as_ignored(table):
    found = read_labels(table("path,rater,video_name,Prompt,mos,Overall_MOS", "x,9,a,b,1,4"))
    assert (found.rows[0].name, found.rows[0].labels) == ("a", {"Overall": 4.0})
    assert found.notes == ("Ignored columns: path, rater, mos.",)


def test_two_aliases_of_one_column_are_refused(table):
    with pytest.raises(RecordError, match="“path” and “file” could each be the video: keep one"):
        read_labels(table("path,file,prompt,mos", "a,b,c,3"))


def test_all_missing_columns_are_named_at_once(table):
    with pytest.raises(RecordError, match=r"columns id, mos\. No column for the video.*\. No column for the prompt"):
        read_labels(table("id,mos", "a,3"))


def test_a_table_without_labels_is_refused(table):
    with pytest.raises(RecordError, match="No column of labels: at least one of Traditional_MOS, Alignment_MOS"):
        read_labels(table("video,prompt", "a,b"))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("video,prompt,mos\na,café,3".encode("latin-1"), "line 2: the byte 0xe9 is not UTF-8; save the table as"),
        (b"PK\3\4rest", "workbook or an archive, not text; save the sheet as"),
        (b"video,prompt\0,mos", "holds binary data; a CSV or TSV"),
        (b"", "holds no rows; a header and at least one row"),
        (b"video,prompt,mos\n\n,,\n", "holds no rows"),
        (b'video,prompt,mos\na,b,3\nb,"open,3\nc,d,3', "begins on line 3 cannot be read .*must end with one"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_the_reason(table, data, match):
    with pytest.raises(RecordError, match=match):
        read_labels(table(data=data))


def test_a_missing_and_an_enormous_table_are_refused(table, tmp_path, monkeypatch):
    with pytest.raises(RecordError, match=r"none\.csv: no such file; a CSV"):
        read_labels(tmp_path / "none.csv")
    monkeypatch.setattr(records_module, "MAX_TABLE_BYTES", 10)
    with pytest.raises(RecordError, match="is larger than 0 MiB"):
        read_labels(table(*overall(3)))


def test_a_missing_label_is_absent_and_never_made_up(table):
    found = read_labels(table(HEADER, "a,p,,2,NaN,n/a,-", "b,p,3,,,,"))
    assert [row.labels for row in found.rows] == [{"Alignment": 2.0}, {"Traditional": 3.0}]


def test_all_problems_are_reported_together_by_line(table):
    rows = [f"{index}.mp4,fine,3,3,3,3,3" for index in range(40)]
    bad = [
        ",p,3,3,3,3,3",  # line 42
        "b,,3,3,3,3,3",
        "c,p,3,abc,3,3,9",
        "d,p,,,,,",
        "7.MP4,p,3,3,3,3,3",
        "7.mp4, FINE ,1,1,1,1,1",
        "e,a prompt, with a comma,3,3,3,3,3",
        "f,p,3,3",
        f"g,{'x' * 2001},3,3,3,3,3",
        "..,,3,3,3,3,inf",
    ]
    found = read_labels(table(HEADER, *rows, *bad))
    assert found.num_rows == 50
    assert [row.line for row in found.rows] == [*range(2, 42), 46]
    assert messages(found) == {
        42: ["video_name is empty; the name of a video file was expected"],
        43: ["Prompt is empty; the text the video was made from was expected"],
        44: [
            "Alignment_MOS is “abc”, not a number; leave it empty if there is no label",
            "Overall_MOS is 9, outside 1 to 5; mend it, or declare the label range",
        ],
        45: ["no label in Traditional_MOS, Alignment_MOS, Aesthetic_MOS, Temporal_MOS, Overall_MOS"],
        47: ["the same video and prompt as line 9; keep one of them"],
        48: ["8 cells, but the header has 7; a prompt that holds the separator must be in quotes"],
        49: ["4 cells, but the header has 7; a prompt that holds the separator must be in quotes"],
        50: ["Prompt has 2,001 characters; 2,000 at most"],
        51: [
            "Overall_MOS is “inf”, not a number; leave it empty if there is no label",
            "video_name is “..”; the name of a video file was expected",
            "Prompt is empty; the text the video was made from was expected",
        ],
    }
    assert str(found.problems[0]) == "line 42: video_name is empty; the name of a video file was expected"


def test_lines_are_those_of_the_file_when_prompts_have_several_and_rows_are_blank(table):
    found = read_labels(table("video,prompt,mos", 'a,"two\nlines",3', "", ",,", "b,p,4", "c,p,x"))
    assert [(row.line, row.prompt) for row in found.rows] == [(2, "two\nlines"), (6, "p")]
    assert list(messages(found)) == [7]


def test_only_broken_rows_leave_no_rows_and_no_exception(table):
    found = read_labels(table("video,prompt,mos", "a", "b,c,d,e"))
    assert (found.rows, list(messages(found))) == ((), [2, 3])


@pytest.mark.parametrize("text", ["3,5", " 3.5 ", "+3.5", "35e-1"])
def test_numbers_as_people_write_them(table, text):
    assert read_labels(table("video;prompt;mos", f"a;b;{text}")).rows[0].labels == {"Overall": 3.5}


@pytest.mark.parametrize("text", ["3.5.1", "0x3", "1_0", "True", "3 stars", "١.٥e", "1,2,3"])
def test_what_is_no_number_is_a_problem(table, text):
    found = read_labels(table("video;prompt;mos", f"a;b;{text}"))
    assert found.rows == ()
    assert "not a number" in messages(found)[2][0]


# ---- label ranges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), LABEL_RANGES)
def test_a_common_range_is_detected_and_mapped_to_1_to_5(table, low, high):
    middle = (low + high) / 2
    found = read_labels(table(*overall(low, middle, high)))
    assert found.label_range == LabelRange(low, high)
    assert [row.labels["Overall"] for row in found.rows] == pytest.approx([1, 3, 5])
    assert bool(found.notes) == ((low, high) != (1, 5))


def test_labels_from_1_to_5_come_through_to_the_bit(table):
    labels = [random.Random(0).uniform(1, 5) for _ in range(100)]
    assert [row.labels["Overall"] for row in read_labels(table(*overall(*labels))).rows] == labels


def test_a_declared_range_holds_whatever_the_labels_are(table):
    found = read_labels(table(*overall(1, 2.5, 4, 4.5)), label_range=(1, 4))
    assert found.label_range == LabelRange(1, 4, declared=True)
    assert [row.labels["Overall"] for row in found.rows] == [1, 3, 5]
    assert messages(found) == {5: ["overall is 4.5, outside 1 to 4; mend it, or declare the label range"]}
    assert found.notes == ()


def test_one_typing_error_does_not_turn_1_to_5_into_0_to_100(table):
    found = read_labels(table(*overall(*[1, 2, 3, 4, 5] * 8, 45)))
    assert found.label_range == LabelRange(1, 5)
    assert list(messages(found)) == [42]


def test_a_guess_that_may_be_wrong_is_told(table):
    (zeros,) = [note for note in read_labels(table(*overall(0, 0, 3, 5))).notes if "0 count" in note]
    assert "leave those cells empty" in zeros
    assert read_labels(table(*overall(1, 2, 4))).notes == ()
    (note,) = read_labels(table(*overall(*[1, 2, 4] * 7))).notes
    assert note == "No label is above 4; if the scale was not 1 to 5, declare the label range."


def test_a_range_that_is_not_recognised_must_be_declared(table):
    path = table(*overall(-3, 250, 7))
    with pytest.raises(RecordError, match=r"run from -3 to 250, which fits none of .*; declare the label range"):
        read_labels(path)
    assert len(read_labels(path, label_range=(-5, 255)).rows) == 3


@pytest.mark.parametrize("label_range", [(5, 1), (3, 3), (0, float("inf")), (float("nan"), 1)])
def test_a_range_that_is_none_is_refused(table, label_range):
    with pytest.raises(RecordError, match="the lowest label comes first"):
        read_labels(table(*overall(3)), label_range=label_range)


# ---- matching --------------------------------------------------------------------------------------------------------


def found_for(table, name: str, source) -> str:
    """The file that a row with `name` gets, or its problem."""
    found = match_videos(read_labels(table("video,prompt,mos", f"{name},p,3")), source)
    return found.records[0].video.name if found.records else found.problems[0].message


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("clip.mp4", "clip.mp4"),
        ("clip", "clip.mp4"),
        ("CLIP.MP4", "clip.mp4"),
        ("Clip", "clip.mp4"),
        ("videos/clip.mp4", "clip.mp4"),
        ("C:\\data\\videos\\clip.mp4", "clip.mp4"),
        ("./clip", "clip.mp4"),
        ("v1.5", "v1.5.webm"),
        ("twin", "twin.mp4"),
        ("Twin.mp4", "Twin.mp4"),
        ("noted", "noted.mp4"),
        ("caf\u00e9", "cafe\u0301.mp4"),
    ],
)
def test_a_video_is_found_by_name_with_or_without_folder_extension_and_case(table, folder, name, file):
    videos = folder(
        *("clip.mp4", "v1.5.webm", "twin.mp4", "Twin.mp4", "deep/noted.mp4", "deep/noted.json", ".hidden/clip.mp4"),
        *("__MACOSX/clip.mp4", "cafe\u0301.mp4"),
    )
    assert found_for(table, name, videos) == file


def test_what_matches_nothing_or_too_much_is_a_problem(table, folder):
    videos = folder("a/x.mp4", "b/x.mp4", "y.mp4", "y.webm", "c/Z.mp4", "c/z.mp4")
    assert found_for(table, "none.mp4", videos) == "no video “none.mp4” in videos"
    assert (
        found_for(table, "other/y.mp4", folder("real/y.mp4", under="elsewhere"))
        == "no video “other/y.mp4” in elsewhere"
    )
    assert found_for(table, "x", videos).startswith("“x” can mean 2 videos (a/x.mp4, b/x.mp4); write the folder")
    assert found_for(table, "y", videos).startswith("“y” can mean 2 videos")
    assert found_for(table, "c/Z", videos) == "Z.mp4"
    assert found_for(table, "C/Z", videos).startswith("“C/Z” can mean 2 videos")
    assert found_for(table, "b/x", videos) == "x.mp4"


def test_a_row_never_reaches_outside_the_source(table, folder, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"")
    videos = folder("a.mp4")
    for name in ("../secret.mp4", str(tmp_path / "secret.mp4"), "/etc/passwd"):
        assert found_for(table, name, videos).startswith("no video")


def test_several_files_and_folders_are_one_source(table, folder):
    videos = folder("a.mp4", "b.mp4")
    more = folder("c.mp4", under="more")
    path = table(*overall(3, 4, header="video,prompt,mos"), "a,p,1", "b.mp4,p,2", "c,p,5")
    found = read_records(path, [videos / "a.mp4", more])
    assert [each.video.name for each in found.records] == ["a.mp4", "c.mp4"]
    assert messages(found)[5] == ["no video “b.mp4” in a.mp4, more"]
    assert (found.num_rows, found.dimensions) == (5, ("Overall",))


def test_the_same_file_twice_with_one_prompt_is_a_problem_and_with_two_is_not(table, folder):
    path = table("video,prompt,mos", "a,p,1", "a.mp4,P,2", "A.mp4,q,3")
    found = read_records(path, folder("a.mp4"))
    assert [each.line for each in found.records] == [2, 4]
    assert messages(found) == {3: ["the same video and prompt as line 2; keep one of them"]}


def test_rows_of_different_folders_do_not_share_a_file(table, folder):
    path = table("video,prompt,mos", "real/a.mp4,p,1", "fake/a.mp4,q,2", "b,r,3", "x/b.mp4,s,3")
    found = read_records(path, folder("a.mp4", "b.mp4"))
    assert [each.line for each in found.records] == [4, 5]
    assert messages(found)[2] == [
        "fake/a.mp4, real/a.mp4 are different videos, but only a.mp4 was found for them; keep their folders"
    ]
    assert list(messages(found)) == [2, 3]


@pytest.mark.parametrize(
    ("name", "match"), [("none", "no such file or folder"), ("videos.tar.gz", "not opened; pack the videos as a zip")]
)
def test_a_source_that_holds_no_videos_is_refused(table, tmp_path, name, match):
    (tmp_path / "videos.tar.gz").write_bytes(b"")
    with pytest.raises(RecordError, match=match):
        read_records(table(*overall(3)), tmp_path / name)


def test_check_videos_drops_what_is_no_video_and_says_so_by_line(table, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=8:duration=0.5", videos / "good.mp4")
    (videos / "text.mp4").write_text("this is no video")
    (videos / "empty.mp4").write_bytes(b"")
    path = table("video,prompt,mos", "good,p,1", "text,p,2", "good,q,3", "empty,p,4", "none,p,5")
    seen = []
    found = check_videos(read_records(path, videos), on_progress=lambda done, total: seen.append((done, total)))
    assert [each.line for each in found.records] == [2, 4]
    assert {line: texts[0].split(" ")[0] for line, texts in messages(found).items()} == {
        3: "text.mp4",
        5: "empty.mp4",
        6: "no",
    }
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_check_videos_ends_when_progress_raises(table, folder):
    def cancel(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_videos(
            read_records(table(*overall(*[3] * 9)), folder(*(f"{i}.mp4" for i in range(9)))), on_progress=cancel
        )


# ---- data sets on the Hub --------------------------------------------------------------------------------------------

TABLE = b"video_name,Prompt,Overall_MOS\na,p,1\nclips/c.mp4,q,2\nnone.mp4,r,3\nlabels,s,4\n"
CLIPS = {f"clips/{name}.mp4": name.encode() for name in "abcdef"}
FILES = {"README.md": b"", "labels.csv": TABLE, ".hidden/a.mp4": b"", "load.py": b"print('run')", **CLIPS}


def test_of_a_data_set_only_the_table_and_the_videos_it_names_are_fetched(hub, tmp_path):
    hub.repos["datasets/you/clips"], seen = Repo(dict(FILES)), []
    found = read_hub_records("you/clips", tmp_path, token=False, on_progress=lambda *counts: seen.append(counts))
    assert hub.fetched() == {"labels.csv", "clips/a.mp4", "clips/c.mp4"}
    assert [(each.name, each.video.read_bytes(), each.labels) for each in found.records] == [
        ("a", b"a", {"Overall": 1.0}),
        ("clips/c.mp4", b"c", {"Overall": 2.0}),
    ]
    assert messages(found) == {4: ["no video “none.mp4” in you/clips"], 5: ["no video “labels” in you/clips"]}
    assert (found.num_rows, seen) == (4, [(1, 2), (2, 2)])


def test_a_data_set_becomes_what_its_files_on_this_machine_would(hub, table, folder, tmp_path):
    files = {name: data for name, data in FILES.items() if name.startswith("clips/")}
    hub.repos["datasets/you/clips"] = Repo({"labels.csv": TABLE, **files})
    there = read_hub_records("you/clips", tmp_path, token=False, label_range=(0, 10))
    here = read_records(table(data=TABLE), folder(*files, under="here"), label_range=(0, 10))
    assert there.label_range == here.label_range
    assert [(each.video.name, each.labels, each.line) for each in there.records] == [
        (each.video.name, each.labels, each.line) for each in here.records
    ]


def test_what_was_fetched_is_not_fetched_again_until_the_data_set_changes(hub, tmp_path):
    repo = hub.repos["datasets/you/clips"] = Repo(dict(FILES))
    first = repo.sha(-1)
    read_hub_records("you/clips", tmp_path, token=False)
    hub.requests.clear()
    read_hub_records("you/clips", tmp_path, token=False)
    assert hub.fetched() == set()
    repo.files["labels.csv"] = b"video,prompt,mos\nb,p,5\n"
    repo.commit("other labels")
    assert [each.name for each in read_hub_records("you/clips", tmp_path, token=False).records] == ["b"]
    old = read_hub_records(f"you/clips@{first}", tmp_path, token=False)
    assert [each.name for each in old.records] == ["a", "clips/c.mp4"]


def test_the_table_of_a_data_set_may_have_any_name_if_it_is_the_only_one(hub, tmp_path):
    hub.repos["datasets/you/clips"] = Repo({"data/mos.tsv": TABLE.replace(b",", b"\t"), **CLIPS})
    assert len(read_hub_records("you/clips", tmp_path, token=False).records) == 2


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"train.csv": TABLE, "test.csv": TABLE, **CLIPS}, r"has 2 tables \(test.csv, train.csv\); call the one with"),
        ({"train.parquet": b"", **CLIPS}, "has no table of labels: a labels.csv, or one .csv or .tsv, was expected"),
        ({"labels.csv": TABLE}, "you/clips holds no videos$"),
        ({"labels.csv": TABLE, "videos.zip": b"PK"}, "holds no videos; archives in it are not opened: download it"),
        ({"labels.csv": b"id,mos\n1,2\n", **CLIPS}, "labels.csv has the columns id, mos"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused_before_any_video(hub, tmp_path, files, match):
    hub.repos["datasets/you/clips"] = Repo(files)
    with pytest.raises(RecordError, match=match):
        read_hub_records("you/clips", tmp_path, token=False)
    assert not any(name.startswith("clips/") for name in hub.fetched())


def test_a_data_set_that_is_too_large_is_not_fetched(hub, tmp_path, monkeypatch):
    hub.repos["datasets/you/clips"] = Repo(dict(FILES))
    monkeypatch.setattr(records_module, "DATASET_MAX_BYTES", 1)
    with pytest.raises(RecordError, match=r"you/clips: .* would be fetched"):
        read_hub_records("you/clips", tmp_path, token=False)
    assert hub.fetched() == {"labels.csv"}


def test_a_private_data_set_is_for_its_owner(hub, tmp_path):
    hub.repos["datasets/me/clips"] = Repo(dict(FILES), private=True, readers={"me"})
    with pytest.raises(RecordError, match=r"me/clips: no such dataset repository on .*, or it is private"):
        read_hub_records("me/clips", tmp_path, token=False)
    assert len(read_hub_records("me/clips", tmp_path, token="hf_me").records) == 2


def test_what_is_no_name_of_a_data_set_is_refused_without_a_request(hub, tmp_path):
    with pytest.raises(RecordError, match="“clips” is no data set on the Hub; owner/name was expected"):
        read_hub_records("clips", tmp_path, token=False)
    assert hub.requests == []


def test_a_file_of_labels_is_no_name_of_a_data_set(table, monkeypatch, tmp_path):
    table("x", name="labels")
    monkeypatch.chdir(tmp_path.parent)
    assert is_hub_name("you/clips@v1")
    for name in (
        "labels.csv",
        "data/labels.csv",
        "data/Labels.TSV",
        "clips",
        "/data/labels",
        f"{tmp_path.name}/labels",
    ):
        assert not is_hub_name(name)


# ---- zips ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pack(tmp_path):
    """Packs (name or ZipInfo, bytes) into a zip."""

    def write(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "videos.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in entries:
                archive.writestr(name, data)
        return path

    return write


def refuse(path: Path, match: str, *, wanted=("a",)) -> None:
    """`path` is refused, and nothing is left of it."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(RecordError, match=match):
        extract_videos(path, path.parent / "out", wanted=wanted)
    assert sorted(path.parent.rglob("*")) == before


def test_only_the_videos_that_the_table_names_are_extracted(table, pack, tmp_path):
    archive = pack(
        *(("set/a.mp4", b"A"), ("set/deep/B.webm", b"B"), ("set/c.mp4", b"C"), ("set/a.json", b"{}")),
        *(("a.zip", b"PK"), ("__MACOSX/set/._a.mp4", b"x"), ("__MACOSX/set/a.mp4", b"x"), ("set/", b"")),
    )
    found = read_records(
        table("video,prompt,mos", "a,p,1", "b.webm,p,2"), archive, extract_to=tmp_path / "work" / "out"
    )
    assert [each.video.read_bytes() for each in found.records] == [b"A", b"B"]
    files = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["B.webm", "a.mp4"]
    assert found.problems == ()


def test_two_zips_of_one_name_do_not_mix(table, pack, tmp_path):
    first = pack(("a.mp4", b"1")).rename(tmp_path / "first.zip")
    (tmp_path / "other").mkdir()
    second = pack(("b.mp4", b"2")).rename(tmp_path / "other" / "first.zip")
    found = read_records(table("video,prompt,mos", "a,p,1", "b,p,2"), [first, second], extract_to=tmp_path / "out")
    assert [each.video.read_bytes() for each in found.records] == [b"1", b"2"]


def test_a_zip_needs_a_folder_to_go_to(table, pack):
    with pytest.raises(ValueError, match="pass extract_to"):
        read_records(table(*overall(3)), pack(("0.mp4", b"")))


@pytest.mark.parametrize(
    "name", ["../a.mp4", "x/../../a.mp4", "/tmp/a.mp4", "C:/a.mp4", "..\\a.mp4", "\\\\host\\a.mp4"]
)
def test_a_path_that_leads_out_of_the_zip_refuses_it(pack, name):
    refuse(pack(("a.mp4", b"fine"), (name, b"evil")), "leads out of the zip; pack it anew")


def test_a_link_refuses_the_zip(pack):
    link = zipfile.ZipInfo("a.mp4")
    link.external_attr = 0o120777 << 16
    refuse(pack((link, b"/etc/passwd")), "“a.mp4” is a link")


def test_a_bomb_is_stopped_by_the_bytes_that_come_out(pack):
    refuse(pack(("a.mp4", bytes(5_000_000))), "grows more than 100 times")


@pytest.mark.parametrize(
    ("limit", "value", "match"),
    [
        ("entries", 1, "holds 2 files; 1 at most"),
        ("entries", 0, "holds too many files; 0 at most"),
        ("entry_bytes", 999, "“a.mp4” is larger than"),
        ("total_bytes", 1999, "holds more than"),
    ],
)
def test_a_zip_beyond_a_limit_is_refused(pack, monkeypatch, limit, value, match):
    monkeypatch.setattr(records_module, "VIDEO_ZIP_LIMITS", dataclasses.replace(VIDEO_ZIP_LIMITS, **{limit: value}))
    noise = random.Random(0).randbytes(1000)
    refuse(pack(("a.mp4", noise), ("b.mp4", noise)), match, wanted=("a", "b"))


def test_a_zip_at_its_limits_is_extracted(pack, monkeypatch, tmp_path):
    monkeypatch.setattr(records_module, "VIDEO_ZIP_LIMITS", ZipLimits(2, 1000, 2000, 100))
    noise = random.Random(0).randbytes(1000)
    files = extract_videos(pack(("a.mp4", noise), ("b.mp4", noise)), tmp_path / "out", wanted=("a", "b"))
    assert [file.read_bytes() for file in files] == [noise, noise]


def test_a_zip_that_lies_about_a_size_is_refused(pack):
    path = pack(("a.mp4", b"x" * 300))
    size = (300).to_bytes(4, "little")
    assert path.read_bytes().count(size) == 2  # local header and directory
    path.write_bytes(path.read_bytes().replace(size, (30).to_bytes(4, "little")))
    refuse(path, "damaged or not a zip")


def test_damaged_encrypted_unusual_repeated_and_empty_zips_are_refused(pack, tmp_path):
    path = pack(("a.mp4", random.Random(0).randbytes(1000)))
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    refuse(path, "damaged or not a zip")
    path.write_bytes(whole[:200] + b"????" + whole[204:])
    refuse(path, "damaged or not a zip")
    directory = whole.index(b"PK\1\2")
    path.write_bytes(whole[: directory + 8] + b"\1" + whole[directory + 9 :])
    refuse(path, "“a.mp4” is encrypted")
    refuse(pack(("a.mp4", b"x"), method=zipfile.ZIP_LZMA), "unusual method; use plain zip")
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = pack(("a.mp4", b"x"), ("a.mp4", b"y"))
    refuse(path, r"holds one path twice \(a.mp4\); pack it anew")
    refuse(pack(("a.txt", b"x")), "holds no videos$")
    refuse(pack(("a.zip", b"x")), "archives inside it are not opened: unpack them")


def test_any_damage_is_refused_or_harmless(pack, tmp_path):
    whole = pack(("v/a.mp4", random.Random(1).randbytes(100)), ("v/b.mp4", b"b" * 100)).read_bytes()
    rng = random.Random(2)
    for trial in range(60):
        data = bytearray(whole)
        data[rng.randrange(len(data))] = rng.randrange(256)
        path = tmp_path / "videos.zip"
        path.write_bytes(data)
        try:
            files = extract_videos(path, tmp_path / str(trial), wanted=("a", "b"))
        except RecordError:
            assert not (tmp_path / str(trial)).exists()
        else:
            assert all(file.resolve().is_relative_to(tmp_path / str(trial)) for file in files)
    assert not list(tmp_path.glob(".partial*"))


def test_a_folder_with_files_in_it_is_not_extracted_into(pack, folder):
    with pytest.raises(RecordError, match="is not empty; an empty or new folder"):
        extract_videos(pack(("a.mp4", b"x")), folder("old.mp4"), wanted=("a",))


# ---- splits ----------------------------------------------------------------------------------------------------------


def many(prompts: int = 40, clips: int = 5) -> list[VideoRecord]:
    """`clips` clips of each prompt, the prompts written in different ways."""
    ways = (str, str.upper, lambda text: f"  {text} ", lambda text: text.replace(" ", "\t"), str.title)
    return [
        record(prompt * clips + clip, ways[clip % 5](f"prompt {prompt}"))
        for prompt in range(prompts)
        for clip in range(clips)
    ]


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_every_clip_is_on_one_side_and_no_prompt_on_both(fraction, seed):
    records = many()
    split = split_records(records, validation_fraction=fraction, seed=seed)
    assert sorted(split.train + split.validation, key=lambda each: each.line) == records
    assert not {each.prompt_key for each in split.train} & {each.prompt_key for each in split.validation}
    assert len(split.validation) == pytest.approx(fraction * len(records), abs=2.5)
    assert split.warnings == ()


def test_the_split_depends_on_seed_and_prompts_and_not_on_the_order():
    records = many()
    first = split_records(records, validation_fraction=0.2, seed=1)
    assert split_records(records, validation_fraction=0.2, seed=1) == first
    shuffled = random.Random(0).sample(records, len(records))
    assert set(map(id, split_records(shuffled, validation_fraction=0.2, seed=1).validation)) == set(
        map(id, first.validation)
    )
    assert split_records(records, validation_fraction=0.2, seed=2).validation != first.validation


def test_the_split_is_the_same_on_every_machine():
    split = split_records([record(i, f"prompt {i}") for i in range(30)], validation_fraction=0.2, seed=0)
    assert [each.line - 2 for each in split.validation] == [9, 13, 18, 22, 26, 27]


def test_one_prompt_with_most_of_the_clips_stays_in_training():
    records = [record(i, "the same") for i in range(80)] + [record(80 + i, f"other {i}") for i in range(20)]
    for seed in range(10):
        split = split_records(records, validation_fraction=0.2, seed=seed)
        assert len(split.validation) == 20
        assert "the same" not in {each.prompt_key for each in split.validation}


@pytest.mark.parametrize(
    ("records", "match"),
    [(many(8, 1), "8 clips with 8 prompts leave 2 of the 5"), (many(1, 50), "50 clips with 1 prompt leave 0 of the 5")],
)
def test_too_few_rows_for_validation_are_all_trained_on_and_it_is_said(records, match):
    split = split_records(records, validation_fraction=0.2, seed=0)
    assert (split.train, split.validation) == (tuple(records), ())
    assert match in split.warnings[0]
    assert "no metrics" in split.warnings[0]


def test_no_validation_on_request_and_a_wrong_fraction():
    split = split_records(many(), validation_fraction=0, seed=0)
    assert len(split.train) == 200
    assert "no metrics" in split.warnings[0]
    for fraction in (-0.1, 1, float("nan")):
        with pytest.raises(RecordError, match=r"the validation fraction is .*; 0 to below 1"):
            split_records(many(), validation_fraction=fraction, seed=0)


@pytest.mark.parametrize("validation", ["val", "Valid", "validation", "TEST", "dev"])
def test_a_split_column_is_honoured(table, folder, validation):
    rows = [f"{i},prompt {i},3,{validation if i >= 5 else 'Train'}" for i in range(10)]
    found = read_records(table("video,prompt,mos,split", *rows), folder(*(f"{i}.mp4" for i in range(10))))
    split = split_records(found.records, validation_fraction=0.9, seed=0)
    assert [each.name for each in split.train] == list("01234")
    assert [each.name for each in split.validation] == list("56789")
    assert split.warnings == ()


def test_an_unknown_split_is_a_problem_of_its_row(table):
    found = read_labels(table("video,prompt,mos,split", "a,p,3,fold3"))
    assert messages(found) == {2: ["split is “fold3”; train or validation was expected"]}


def test_a_given_split_warns_of_shared_prompts_empty_cells_and_too_few_rows():
    train = [record(i, f"prompt {i}", split="train") for i in range(9)] + [record(9, "prompt 9")]
    validation = [record(10 + i, f"Prompt  {7 + i}", split="validation") for i in range(6)]
    split = split_records(train + validation, validation_fraction=0.2, seed=0)
    assert (len(split.train), len(split.validation)) == (10, 6)
    assert split.warnings[0] == "1 row with an empty split column: used for training."
    assert split.warnings[1].startswith(
        "3 validation clips of 6 have a prompt that is also in training, such as “prompt 7”"
    )
    few = split_records(train + validation[3:], validation_fraction=0.2, seed=0)
    assert few.validation == ()
    assert "marks 3 clips for validation; at least 5" in few.warnings[-1]


def test_nothing_to_train_on_is_refused():
    with pytest.raises(RecordError, match="no clip is left to train on: no row can be used"):
        split_records([], validation_fraction=0.2, seed=0)
    with pytest.raises(RecordError, match="all are marked validation"):
        split_records([record(i, "p", split="validation") for i in range(9)], validation_fraction=0.2, seed=0)


def test_prompts_are_the_same_in_any_case_spacing_and_unicode_form():
    assert prompt_key(" A  Cat\nＪumps cafe\u0301") == prompt_key("a cat jumps CAFÉ")
    assert prompt_key("a cat") != prompt_key("acat")


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
    assert (summary.num_train, summary.num_validation, summary.num_unassigned) == (1, 2, 1)
    temporal, overall = summary.dimensions
    assert (overall.dimension, overall.num_labels, overall.mean) == ("Overall", 4, pytest.approx(2.2475))
    assert overall.histogram == (2, 1, 0, 0, 0, 0, 0, 1)
    assert temporal.histogram == (0, 0, 0, 0, 1, 0, 0, 1)
    assert str(summary) == (
        "4 of 1,234 rows will be used: 4 videos, 3 prompts; labels from 0 to 100: Temporal 2, Overall 4."
    )


def test_a_summary_of_nothing_is_zeros():
    summary = summarise(RecordSet((), (), LabelRange(), 3))
    assert (summary.num_used, summary.dimensions) == (0, ())
    assert str(summary).startswith("0 of 3 rows will be used")
