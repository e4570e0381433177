from __future__ import annotations

import dataclasses
import errno
import os
import random
import zipfile
from pathlib import Path

import pytest
from tables import messages, overall

from vjepa_demo.config import VIDEO_ZIP_LIMITS, ZipLimits
from vjepa_demo.data import match as match_module
from vjepa_demo.data.match import extract_videos, list_videos, match_videos
from vjepa_demo.data.records import read_records
from vjepa_demo.data.table import read_labels
from vjepa_demo.schema import Ratings, RecordError, summarise


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


def test_links_are_followed_and_a_file_is_found_once(table, folder):
    """Links to a folder elsewhere, to one inside, to one that holds the link, to each other, and to nothing."""
    videos = folder("real/a.mp4", "z.mp4")
    elsewhere = folder("b.mp4", "deep/c.webm", "d.txt", under="elsewhere")
    links = {
        "out": elsewhere,
        "again": videos / "real",
        "real/loop": videos,
        "self": videos / "self",
        "a link.mp4": videos / "z.mp4",
    }
    for name, target in links.items():
        (videos / name).symlink_to(target)
    (elsewhere / "back").symlink_to(videos)
    found = list_videos(videos)
    assert [path.relative_to(videos).as_posix() for path in found.files] == [
        *("z.mp4", "real/a.mp4", "out/b.mp4", "out/deep/c.webm")
    ]
    assert set(found.skipped) == {"self", "out/d.txt", "out/back/self"}
    assert {"a link.mp4", "again/a.mp4"} <= set(found.repeated)
    for name in ("z", "real/a", "again/a", "a.mp4", "out/b.mp4", "b", "deep/c", "a link"):
        assert found_for(table, name, videos) in ("z.mp4", "a.mp4", "b.mp4", "c.webm", "a link.mp4")


def test_many_links_between_folders_end(folder):
    videos = folder(*(f"{index}/clip {index}.mp4" for index in range(12)))
    for one in range(12):
        for other in range(12):
            (videos / str(one) / f"to {other}").symlink_to(videos / str(other))
    assert len(list_videos(videos).files) == 12


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    videos, scandir = folder("a.mp4", "locked/b.mp4"), os.scandir

    def no_entry(path):
        if Path(path) in locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    locked = {videos / "locked"}
    monkeypatch.setattr(os, "scandir", no_entry)
    found = list_videos(videos)
    assert (found.files, found.skipped) == ((videos / "a.mp4",), ("locked/ (Permission denied)",))
    locked.add(videos)
    with pytest.raises(RecordError, match=r"the folder .*videos cannot be read: Permission denied"):
        list_videos(videos)


@pytest.mark.parametrize("name", ["n" * 300, f"{'n' * 300}.zip", "a\0b", "loop"])
def test_a_source_that_no_path_leads_to_is_refused(table, tmp_path, name):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RecordError, match=r"no such file or folder|archive of a kind that is not opened"):
        found_for(table, "a", tmp_path / name)


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


def test_rows_of_one_file_and_prompt_are_ratings_of_one_clip(table, folder):
    path = table("video,prompt,mos,aesthetic", "a,p,1,", "a.mp4,P,2,4", "A.mp4,q,3,3", "a,p,3,")
    found = read_records(path, folder("a.mp4"))
    assert [(each.line, each.num_rows, each.labels) for each in found.records] == [
        (2, 3, {"Aesthetic": 4.0, "Overall": 2.0}),
        (4, 1, {"Aesthetic": 3.0, "Overall": 3.0}),
    ]
    overall, aesthetic = (found.records[0].ratings[name] for name in ("Overall", "Aesthetic"))
    assert (overall.scores, overall.standard_error) == ((1.0, 2.0, 3.0), pytest.approx(1 / 3**0.5))
    assert (aesthetic.scores, aesthetic.standard_error) == ((4.0,), None)
    assert (found.records[1].ratings, messages(found), found.num_rows) == ({}, {}, 4)
    assert found.notes == ("3 ratings, averaged: rows of the same video and prompt rate one clip (1 clip).",)
    summary = summarise(found)
    assert (summary.num_rows, summary.num_used, summary.num_clips) == (4, 4, 2)


def test_columns_that_could_each_be_the_rater_are_named_and_not_read(table, folder):
    found = read_records(
        table("video_name,Prompt,Overall_MOS,worker,worker_id", "a.mp4,p,3,x,1", "a.mp4,p,4,y,2"), folder("a.mp4")
    )
    (clip,) = found.records
    assert clip.labels == {"Overall": 3.5}
    assert any("“worker” and “worker_id” could each be the rater" in note for note in found.notes)


def test_the_names_of_raters_are_kept(table, folder):
    path = table("video,Rater_ID,score,prompt", "a,ann,0,p", "a,bob,100,p", "b,ann,50,q")
    found = read_records(path, folder("a.mp4", "b.mp4"))
    assert [each.labels for each in found.records] == [{"Overall": 3.0}, {"Overall": 3.0}]
    assert found.records[0].ratings == {"Overall": Ratings((1.0, 5.0), ("ann", "bob"))}
    assert found.records[1].ratings == {"Overall": Ratings((3.0,), ("ann",))}
    assert "2 ratings by 2 raters, averaged: rows of the same video and prompt rate one clip (1 clip)." in found.notes


def test_ratings_of_one_clip_in_two_splits_are_a_problem(table, folder):
    path = table("video,prompt,mos,split", "a,p,1,train", "a,p,2,test", "a,p,3,train")
    found = read_records(path, folder("a.mp4"))
    assert [(each.labels, each.split) for each in found.records] == [({"Overall": 2.0}, "train")]
    assert messages(found) == {3: ["the same video and prompt as line 2, but another split"]}


def test_rows_of_different_folders_do_not_share_a_file(table, folder):
    path = table("video,prompt,mos", "real/a.mp4,p,1", "fake/a.mp4,q,2", "b,r,3", "x/b.mp4,s,3")
    found = read_records(path, folder("a.mp4", "b.mp4"))
    assert [each.line for each in found.records] == [4, 5]
    assert messages(found)[2] == [
        "fake/a.mp4 and real/a.mp4 are different videos, but only a.mp4 was found for them; keep their folders"
    ]
    assert list(messages(found)) == [2, 3]


@pytest.mark.parametrize(
    ("name", "match"),
    [("none", "no such file or folder"), ("videos.tar.gz", "of a kind that is not opened; pack the videos as a zip")],
)
def test_a_source_that_holds_no_videos_is_refused(table, tmp_path, name, match):
    (tmp_path / "videos.tar.gz").write_bytes(b"")
    with pytest.raises(RecordError, match=match):
        read_records(table(*overall(3)), tmp_path / name)


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


def test_of_a_zip_what_is_no_video_is_named(pack, tmp_path):
    long = f"{'長' * 100}.mp4"  # 100 characters on Windows, 300 bytes here
    path = pack(("a.MP4", b"1"), ("b.qt", b"2"), ("c.txt", b"3"), ("d/e.json", b"4"), (".f.mp4", b"5"), (long, b"6"))
    found = extract_videos(path, tmp_path / "out", wanted=None)
    assert [file.name for file in found.files] == ["a.MP4", "b.qt"]
    assert found.skipped == ("c.txt", "d/e.json", long)
    with pytest.raises(RecordError, match=r"holds no videos, only c\.txt"):
        extract_videos(pack(("c.txt", b"3")), tmp_path / "none", wanted=None)


def test_a_zip_that_has_no_place_to_go_is_refused(table, pack, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordError, match=r"cannot be written \(Not a directory\): its disk must have room"):
        match_videos(
            read_labels(table("video,prompt,mos", "a,p,3")), pack(("a.mp4", b"x")), extract_to=tmp_path / "file/x"
        )


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
    path = pack(("a.mp4", b"fine"), (name, b"evil"))
    refuse(path, r"^videos\.zip: the path “.*” leads out of the zip; pack it anew$")


def test_a_link_refuses_the_zip(pack):
    link = zipfile.ZipInfo("a.mp4")
    link.external_attr = 0o120777 << 16
    refuse(pack((link, b"/etc/passwd")), "“a.mp4” is a link")


def test_a_bomb_is_stopped_by_the_bytes_that_come_out(pack):
    refuse(pack(("a.mp4", bytes(5_000_000))), "grows more than 100 times")


@pytest.mark.parametrize(
    ("limit", "value", "match"),
    [
        ("entries", 1, r"^videos\.zip holds 2 files; 1 at most: split it$"),
        ("entries", 0, "holds too many files; 0 at most"),
        ("entry_bytes", 999, "“a.mp4” is larger than"),
        ("total_bytes", 1999, "holds more than"),
    ],
)
def test_a_zip_beyond_a_limit_is_refused(pack, monkeypatch, limit, value, match):
    monkeypatch.setattr(match_module, "VIDEO_ZIP_LIMITS", dataclasses.replace(VIDEO_ZIP_LIMITS, **{limit: value}))
    noise = random.Random(0).randbytes(1000)
    refuse(pack(("a.mp4", noise), ("b.mp4", noise)), match, wanted=("a", "b"))


def test_a_zip_at_its_limits_is_extracted(pack, monkeypatch, tmp_path):
    monkeypatch.setattr(match_module, "VIDEO_ZIP_LIMITS", ZipLimits(2, 1000, 2000, 100))
    noise = random.Random(0).randbytes(1000)
    files = extract_videos(pack(("a.mp4", noise), ("b.mp4", noise)), tmp_path / "out", wanted=("a", "b")).files
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
    refuse(pack(("a.txt", b"x")), r"^videos\.zip holds no videos, only a\.txt$")
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
            files = extract_videos(path, tmp_path / str(trial), wanted=("a", "b")).files
        except RecordError:
            assert not (tmp_path / str(trial)).exists()
        else:
            assert all(file.resolve().is_relative_to(tmp_path / str(trial)) for file in files)
    assert not list(tmp_path.glob(".partial*"))


def test_a_folder_with_files_in_it_is_not_extracted_into(pack, folder):
    with pytest.raises(RecordError, match="is not empty; give an empty or a new folder"):
        extract_videos(pack(("a.mp4", b"x")), folder("old.mp4"), wanted=("a",))
