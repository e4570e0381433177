"""Whole tables: every row comes out once, with scores or an error, however often the run was killed."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import signal
import statistics
import zipfile
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
import torch
from small_models import FRAMES, TRAINED_ON

from vjepa_demo import wording
from vjepa_demo.app.cli import main
from vjepa_demo.app.cli_text import summary_lines
from vjepa_demo.config import DIMENSIONS, MAX_CELL_CHARACTERS
from vjepa_demo.data.table import read_labels
from vjepa_demo.files import content_sha256
from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.model.metrics import evaluate, no_video_baseline
from vjepa_demo.schema import BatchTable, BusyError, DemoError, RecordError, RowResult, VideoError
from vjepa_demo.tasks.batch import run_batch, summarise_batch
from vjepa_demo.tasks.batch_table import batch_of_files, read_batch
from vjepa_demo.tasks.score import Scorer, load_scorer
from vjepa_demo.tasks.score_file import output_columns

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
ADDED = (*DIMENSIONS, "unknown_words", "not_meaningful", "notes", "error", "scored_by")


class FakeScorer:
    """Scores by content, at once: a file that holds the number n gets n/16 above the dimension's place; others fail."""

    def __init__(
        self, model_id: str = "fake", notes: tuple[str, ...] = (), margins: dict[str, float] | None = None
    ) -> None:
        self.model_id, self.notes, self.trained_on = model_id, notes, replace(TRAINED_ON, margins=margins or {})
        self.asked: list[tuple[str, str]] = []

    def score_all(
        self, requests: Iterable[tuple[Path, str]], *, should_stop: Callable[[], bool]
    ) -> Generator[SimpleNamespace | DemoError, None, None]:
        for video, prompt in requests:
            self.asked.append((video.name, prompt))
            text = video.read_text()
            if text.isdigit():
                scores = {name: 1 + index / 3 + int(text) / 16 for index, name in enumerate(DIMENSIONS)}
                unknown = ("zebra", "quux")[: int(text) % 3]
                doubts = {"Alignment": "unknown_words"} if unknown else {}
                said = {"unknown_words": unknown, "doubts": doubts, "notes": self.notes}
                yield SimpleNamespace(scores=scores, sha256=None, **said)
            else:
                yield VideoError(f"{video.name} cannot be read as a video:\nit is “{text}”")


@pytest.fixture
def videos(tmp_path) -> Path:
    """Files 0.mp4 to 9.mp4 that `FakeScorer` can score, and broken.mp4 that it cannot."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(10):
        (folder / f"{number}.mp4").write_text(str(number))
    (folder / "broken.mp4").write_text("broken")
    return folder


@pytest.fixture
def table(tmp_path) -> Callable[..., Path]:
    def write(*lines: str, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def batch(table, videos) -> BatchTable:
    """Ten rows: of them a broken video, a missing one, one that is there twice, and a prompt of two lines."""
    rows = [f'{number},"prompt {number},\nof two lines",{"ab"[number % 2]},{1 + number % 5}' for number in range(6)]
    rows += ["broken,x,a,2", "gone,x,b,3", "3.mp4,again,b,4", "3.mp4,again,b,4"]
    return read_batch(table("video,prompt,generator,mos", *rows), videos)


def scored(table: BatchTable, out: Path, scorer: FakeScorer | Scorer | None = None, **settings) -> list[RowResult]:
    """The results of a whole run."""
    return [report.result for report in run_batch(scorer or FakeScorer(), table, out, **settings)]


def read(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_every_row_and_column_is_kept_with_its_meaning(table, videos):
    found = read_batch(
        table("id,Text,File,Model Name,Overall_MOS,Temporal", "7, a cat ,0,sora,3.5,", "8,b,1,,,2"), videos
    )
    assert found.columns == ("id", "Text", "File", "Model Name", "Overall_MOS", "Temporal")
    assert found.generator_column == "Model Name"
    assert found.notes == ()
    first, second = found.rows
    assert first.cells == dict(zip(found.columns, ("7", "a cat", "0", "sora", "3.5", ""), strict=True))
    assert (first.line, first.name, first.prompt, first.generator) == (2, "0", "a cat", "sora")
    assert (first.video, first.labels, first.problem) == (videos / "0.mp4", {"Overall": 3.5}, None)
    assert (second.generator, second.labels) == (None, {"Temporal": 2.0})


@pytest.mark.parametrize("name", ["generator", "MODEL", "model_name", "Generator Name", "method"])
def test_the_generator_has_many_names(table, videos, name):
    assert read_batch(table(f"video,prompt,{name}", "0,x,sora"), videos).rows[0].generator == "sora"


def test_a_table_of_another_format_or_without_a_header_is_scored_the_same(table, videos, tmp_path):
    rows = [{"video_name": f"{number}.mp4", "Prompt": f"a prompt, {number}"} for number in range(3)]
    tables = [
        table("video_name,Prompt", *(f'{row["video_name"]},"{row["Prompt"]}"' for row in rows), name="a.csv"),
        table(*map(json.dumps, rows), name="b.jsonl"),
        table(*("|".join(row.values()) for row in rows), name="c.txt"),
    ]
    outs = [tmp_path / f"{path.stem}-scores.csv" for path in tables]
    for path, out in zip(tables, outs, strict=True):
        scored(read_batch(path, videos), out)
    first, *others = (out.read_bytes() for out in outs)
    assert b"video_name,Prompt,Traditional" in first
    assert others == [first, first]


def test_labels_may_be_missing_and_a_bad_one_is_left_out_with_a_note(table, videos):
    assert read_batch(table("video,prompt", "0,x"), videos).rows[0].labels == {}
    lines = [*(f"{n % 8},p,3,{n % 5 + 1}" for n in range(20)), "8,p,good,4", "9,p,99,5"]
    found = read_batch(table("video,prompt,temporal,overall", *lines), videos)
    assert all(row.problem is None for row in found.rows)
    assert [row.labels for row in found.rows[-2:]] == [{"Overall": 4.0}, {"Overall": 5.0}]
    note, ratings = found.notes
    assert ratings == "20 ratings, averaged: rows of the same video and prompt rate one clip (8 clips)."
    assert note.startswith("2 labels left out: line 22: temporal is “good”, not a number")
    assert "line 23: temporal is 99, outside 1 to 5" in note


def test_labels_of_an_unknown_scale_stop_nothing(table, videos):
    found = read_batch(table("video,prompt,mos", "0,x,-400", "1,x,4000"), videos)
    assert [row.labels for row in found.rows] == [{}, {}]
    assert "fits none of the ranges" in found.notes[0]
    declared = read_batch(table("video,prompt,mos", "0,x,-400", "1,x,4000"), videos, label_range=(-400, 4000))
    assert [row.labels for row in declared.rows] == [{"Overall": 1.0}, {"Overall": 5.0}]


def test_a_row_that_cannot_be_scored_says_why(table, videos):
    long = "x" * 2001
    lines = ["0,a,note", "gone,a,", ",a,", "1,,", f"2,{long},", "3,a", "4,a,b,c", "0,a,note", "videos/5.mp4,a,"]
    found = read_batch(table("video,prompt,note", *lines), videos)
    assert [row.line for row in found.rows] == list(range(2, 11))
    expected = [
        *(None, "no video “gone”", "video is empty", "prompt is empty", "prompt has 2,001 characters"),
        *("2 cells, but the header has 3", "4 cells, but the header has 3", None, None),
    ]
    for row, problem in zip(found.rows, expected, strict=True):
        assert (row.problem or "").startswith(problem or "")
        assert (row.problem is None) == (problem is None) == (row.video is not None)
        assert list(row.cells) == ["video", "prompt", "note"]


def test_a_name_that_no_file_can_have_is_an_error_of_its_row(table, videos, tmp_path):
    (videos / "loop.mp4").symlink_to(videos / "loop.mp4")
    names = ["0.mp4", "n" * 300, f"{'語' * 100}.mp4", "/" + "n" * 5000, "0.mp4/none.mp4", "loop.mp4", "1.mp4"]
    path = table("video,prompt", *(f"{name},x" for name in names), name="videos/table.csv")
    for found in (read_batch(path, videos), read_batch(path, None)):
        assert [row.problem is None for row in found.rows] == [True, *[False] * 4, True, True]
        assert found.rows[1].problem == f"no video “{'n' * 57}...” in videos"
    found = read_batch(path, None)
    rows = replace(found, rows=tuple(row for row in found.rows if row.name != "loop.mp4"))
    assert [result.error is None for result in scored(rows, tmp_path / "out.csv")] == [True, *[False] * 4, True]
    assert [result.error is None for result in scored(rows, tmp_path / "out.csv", resume=True)][:2] == [True, True]


def test_a_name_that_is_not_unicode_is_scored_and_resumed(tmp_path):
    for name in ("a\udcff.mp4", "b.mp4"):
        (tmp_path / name).write_text("3")
    found = batch_of_files([tmp_path], "a \ud83d cat")
    assert [row.cells for row in found.rows] == [
        {"video_name": name, "Prompt": "a \ufffd cat"} for name in ("a\ufffd.mp4", "b.mp4")
    ]
    for out, scorer in (
        (tmp_path / "out.csv", FakeScorer()),
        (tmp_path / "new\udcff" / "out.csv", FakeScorer("x\udcff")),
    ):
        assert all(result.scores for result in scored(found, out, scorer))
        assert [row["video_name"] for row in read(out)] == ["a\ufffd.mp4", "b.mp4"]
    again = FakeScorer()
    assert len(scored(found, tmp_path / "out.csv", again, resume=True)) == 2
    assert again.asked == []


def test_videos_that_lost_their_folders_are_not_guessed(table, videos):
    found = read_batch(table("video,prompt", "sora/0.mp4,x", "kling/0.mp4,x", "1,x"), videos)
    assert ["only 0.mp4 was found" in (row.problem or "") for row in found.rows] == [True, True, False]


@pytest.mark.parametrize(
    ("header", "match"), [("id,prompt", "No column for the video"), ("video,mos", "for the prompt")]
)
def test_a_table_without_videos_or_prompts_is_refused_as_read_labels_does(table, videos, header, match):
    path = table(header, "a,3")
    for refused in (lambda: read_batch(path, videos), lambda: read_labels(path)):
        with pytest.raises(RecordError, match=match):
            refused()


def test_one_prompt_stands_in_for_a_missing_column_and_becomes_one(table, videos):
    found = read_batch(table("video,note", "0,x"), videos, prompt=" a cat ")
    assert found.columns == ("video", "note", "Prompt")
    assert (found.rows[0].prompt, found.rows[0].cells["Prompt"]) == ("a cat", "a cat")
    with pytest.raises(RecordError, match="has prompts of its own"):
        read_batch(table("video,text", "0,x"), videos, prompt="a cat")


def test_columns_of_one_name_are_told_apart(table, videos):
    found = read_batch(table("video,prompt,note,note,", "0,x,1,2,3"), videos)
    assert found.rows[0].cells == {"video": "0", "prompt": "x", "note": "1", "note.1": "2", "": "3"}
    assert found.notes == ("Two columns are called “note”; one is “note.1” in the output.",)


def test_of_a_zip_only_what_the_table_names_is_extracted(table, videos, tmp_path):
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as file:
        for name in ("0.mp4", "1.mp4"):
            file.write(videos / name, f"deep/{name}")
    found = read_batch(table("video,prompt", "1,x"), tmp_path / "v.zip", extract_to=tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").rglob("*.mp4")] == ["1.mp4"]
    assert found.rows[0].video.read_text() == "1"


def test_videos_with_one_prompt_are_called_by_what_tells_them_apart(tmp_path):
    names = [row.name for row in batch_of_files([tmp_path / "a" / "1.mp4", tmp_path / "b" / "2.mp4"], "x").rows]
    assert names == ["1.mp4", "2.mp4"]
    same = batch_of_files([tmp_path / "a" / "1.mp4", tmp_path / "b" / "1.mp4"], " x ")
    assert [row.cells for row in same.rows] == [
        {"video_name": "a/1.mp4", "Prompt": "x"},
        {"video_name": "b/1.mp4", "Prompt": "x"},
    ]
    with pytest.raises(RecordError, match="the prompt is empty"):
        batch_of_files([tmp_path / "1.mp4"], " ")


def test_what_a_folder_and_a_zip_hold_beside_videos_is_named(videos, tmp_path):
    for name in ("x.3g2", "y.APNG", "notes.md", "sub/a.json", ".hidden.txt"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_text("7")
    (videos / "again").symlink_to(videos)
    (videos / "link.mp4").symlink_to(videos / "0.mp4")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as file:
        for name in ("deep/0.mp4", "deep/z.qt", "deep/cover.jpg"):
            file.writestr(name, "8")
    found = batch_of_files([videos, tmp_path / "more.zip"], "x", extract_to=tmp_path / "new")
    names = [row.name for row in found.rows]
    assert names == [
        f"videos/{name}" for name in [*map("{}.mp4".format, range(10)), "broken.mp4", "x.3g2", "y.APNG"]
    ] + [*("more/deep/0.mp4", "more/deep/z.qt")]
    assert found.rows[-1].video.read_text() == "8"
    assert found.notes == (
        "Skipped 3 files whose name does not end as a video's does: notes.md, sub/a.json, deep/cover.jpg.",
        "Left out 1 link to videos that are scored already: link.mp4.",
    )
    again = batch_of_files([videos, tmp_path / "more.zip"], "x", extract_to=tmp_path / "new")
    assert [row.cells for row in again.rows] == [row.cells for row in found.rows], "it can be resumed"


# ---- the output ------------------------------------------------------------------------------------------------------


def test_the_output_keeps_the_columns_and_adds_scores_error_and_model(batch, tmp_path):
    results = scored(batch, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert tuple(rows[0]) == output_columns(batch) == (*batch.columns, *ADDED)
    assert [tuple(row.values())[:4] for row in rows] == [tuple(row.cells.values()) for row in batch.rows]
    for row, result in zip(rows, results, strict=True):
        assert row["scored_by"] == "fake"
        assert (row["error"] == "") == (result.scores is not None)
        assert row["unknown_words"] == " ".join(result.unknown_words)
        assert [row[name] for name in DIMENSIONS] == [repr(s) for s in (result.scores or {}).values()] or [""] * 5
    errors = {row["video"]: row["error"] for row in rows if row["error"]}
    assert errors == {
        "broken": "broken.mp4 cannot be read as a video: it is “broken”",
        "gone": "no video “gone” in videos",
    }


def test_scores_are_those_of_score_to_the_last_digit(checkpoint_folder, world, tmp_path):
    scorer = Scorer("small", load_checkpoint(read_checkpoint(checkpoint_folder), device="cpu"), TRAINED_ON)
    (tmp_path / "bad.mp4").write_text("no video")
    (first, bad) = scored(batch_of_files([world, tmp_path / "bad.mp4"], "the world"), tmp_path / "out.csv", scorer)
    expected = scorer.score(world, "the world").scores
    assert first.scores == expected
    assert {name: float(read(tmp_path / "out.csv")[0][name]) for name in DIMENSIONS} == expected
    assert "bad.mp4 cannot be read as a video" in bad.error


def test_formulas_are_neutralised_everywhere_and_numbers_are_left_alone(table, videos, tmp_path):
    lines = ['0,"=HYPERLINK(""x"")",-3.5,@a,-', "1,+cmd|x,+1e3,'=quoted,-2+3", "2,x,\uff1d1+1,\t=1,-3.5%"]
    out = tmp_path / "out.csv"
    found = read_batch(table("video,prompt,=note,b,c", *lines), videos)
    scored(found, out, FakeScorer("=model"))
    header, *rows = csv.reader(io.StringIO(out.read_text(), newline=""))
    assert header[2] == "'=note"
    assert [row[1:5] for row in rows] == [
        ['\'=HYPERLINK("x")', "-3.5", "'@a", "-"],
        ["'+cmd|x", "+1e3", "'=quoted", "'-2+3"],
        ["x", "'\uff1d1+1", "'=1", "'-3.5%"],
    ]
    assert {row[-1] for row in rows} == {"'=model"}
    again = read_batch(out, videos)
    assert [tuple(row.cells.values())[:5] for row in again.rows] == [tuple(row.cells.values()) for row in found.rows]
    whole = out.read_bytes()
    assert len(scored(found, out, FakeScorer("=model"), resume=True)) == 3
    assert out.read_bytes() == whole


@pytest.mark.parametrize("missing", [("notes",), ("not_meaningful", "notes")])
def test_what_an_older_version_wrote_is_resumed(table, videos, tmp_path, missing):
    """Its output lacked some columns."""
    found, out = read_batch(table("video,prompt", "0,a red ball", "1,A zebra!", "2,red"), videos), tmp_path / "out.csv"
    expected = scored(found, out)
    whole = out.read_bytes()
    rows = list(csv.reader(io.StringIO(whole.decode(), newline="")))
    places = [place for place, name in enumerate(rows[0]) if name not in missing]
    with out.open("w", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerows([row[place] for place in places] for row in rows[:3])
    scorer = FakeScorer()
    again = scored(found, out, scorer, resume=True)
    assert [name for name, _ in scorer.asked] == ["2.mp4"]
    assert out.read_bytes() == whole
    assert [dict(each.doubts) for each in again] == [dict(each.doubts) for each in expected]


def test_what_of_a_video_is_not_scored_as_it_is_shown_is_written_and_resumed(table, videos, tmp_path):
    found, out = read_batch(table("video,prompt", "0,a red ball", "1,red"), videos), tmp_path / "out.csv"
    noted = ("The video is HDR (PQ).", "It has alpha, too.")
    assert [each.notes for each in scored(found, out, FakeScorer(notes=noted))] == [noted] * 2
    assert [row["notes"] for row in read(out)] == [" ".join(noted)] * 2
    whole = out.read_bytes()
    assert [" ".join(each.notes) for each in scored(found, out, resume=True)] == [" ".join(noted)] * 2
    assert out.read_bytes() == whole


MARGINS = {"Traditional": 0.25, "Alignment": 0.5, "Overall": 4.0}


def test_intervals_are_written_where_the_model_has_them(table, videos, tmp_path):
    found, out = read_batch(table("video,prompt", "0,x", "1,x", "gone,x"), videos), tmp_path / "out.csv"
    results = scored(found, out, FakeScorer(margins=MARGINS))
    rows = read(out)
    ends = [f"{name}_{end}" for name in DIMENSIONS for end in ("low", "high")]
    assert tuple(rows[0]) == output_columns(found, intervals=True) == (*found.columns, *ADDED, *ends)
    assert results[0].intervals == {
        "Traditional": (1.0, 1.25),
        "Alignment": (1.0, 1.8333),
        "Aesthetic": None,
        "Temporal": None,
        "Overall": (1.0, 5.0),
    }
    assert [rows[0][name] for name in ends] == ["1.0", "1.25", "1.0", "1.8333", *[""] * 4, "1.0", "5.0"]
    assert [rows[1]["Alignment_low"], rows[1]["Overall_high"]] == ["", "5.0"], "its prompt has an unknown word"
    assert [rows[2][name] for name in ends] == [""] * 10
    again = read_batch(out, videos)
    assert again.rows[0].labels == {}, "no end of an interval is a label"


def test_an_output_without_intervals_is_resumed_by_a_model_that_has_them_by_now_and_the_other_way(
    table, videos, tmp_path
):
    found, out = read_batch(table("video,prompt", "0,x", "1,x", "2,x"), videos), tmp_path / "out.csv"
    sure, unsure = FakeScorer(margins=MARGINS), FakeScorer()
    expected = scored(found, out, sure)
    whole = out.read_bytes()
    out.unlink()
    without = scored(found, out, unsure)
    plain = out.read_bytes()
    for scorer, begun, results, end in ((sure, plain, expected, whole), (unsure, whole, without, plain)):
        out.write_bytes(begun[: begun.rindex(b"\r\n", 0, -2) + 2])  # the last row is missing
        scorer.asked.clear()
        again = scored(found, out, scorer, resume=True)
        assert [name for name, _ in scorer.asked] == ["2.mp4"]
        assert out.read_bytes() == end
        assert [each.intervals for each in again] == [each.intervals for each in results]


def test_an_output_has_one_run_at_a_time(batch, tmp_path):
    running = run_batch(FakeScorer(), batch, tmp_path / "out.csv")
    first = next(running)
    for resume in (False, True):
        with pytest.raises(BusyError, match=r"another run writes .+out\.csv now: wait until it ends"):
            scored(batch, tmp_path / "out.csv", resume=resume)
    results = [first.result, *(report.result for report in running)]
    assert results == scored(batch, tmp_path / "other.csv")
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_names_that_are_taken_get_an_ending(table, videos, tmp_path):
    found = read_batch(table("video,prompt,overall,error", "0,x,3,y"), videos)
    assert output_columns(found)[4:] == (
        *(f"{name}_score" for name in DIMENSIONS),
        "unknown_words",
        "not_meaningful",
        "notes",
        "error_2",
        "scored_by",
    )
    scored(found, tmp_path / "out.csv")
    assert read_batch(tmp_path / "out.csv", videos).rows[0].labels == {"Overall": 3.0}


def test_the_output_can_be_scored_by_another_model_and_its_scores_are_no_labels(batch, videos, tmp_path):
    scored(batch, tmp_path / "one.csv", FakeScorer("one"))
    with_mos = read_batch(tmp_path / "one.csv", videos)
    assert [row.labels for row in with_mos.rows] == [row.labels for row in batch.rows]
    unlabelled = BatchTable("t", ("video", "prompt"), batch_of_files([videos / "1.mp4"], "x").rows)
    scored(unlabelled, tmp_path / "plain.csv")
    again = read_batch(tmp_path / "plain.csv", videos, prompt=None)
    assert again.rows[0].labels == {}
    scored(again, tmp_path / "two.csv", FakeScorer("two"))
    (row,) = read(tmp_path / "two.csv")
    assert (row["scored_by"], row["scored_by_2"], row["Overall"]) == ("fake", "two", row["Overall_score"])
    assert read_batch(tmp_path / "two.csv", videos).rows[0].labels == {}
    with pytest.raises(RecordError, match="No column of labels"):
        read_labels(tmp_path / "two.csv")


def test_the_file_is_whole_after_each_row_and_in_the_order_of_the_table(batch, tmp_path):
    out = tmp_path / "new folder" / "out.csv"
    for count, report in enumerate(run_batch(FakeScorer(), batch, out), start=1):
        rows = read(out)
        assert out.read_bytes().endswith(b"\r\n")
        assert [row["video"] for row in rows] == [row.cells["video"] for row in batch.rows[:count]]
        assert (report.done, report.total, report.resumed) == (count, 10, False)
        assert report.errors == sum(row["error"] != "" for row in rows)
        assert report.result.row == batch.rows[count - 1]
    assert report.seconds_left == 0
    assert list(out.parent.iterdir()) == [out]


def test_an_output_that_is_there_is_never_overwritten(batch, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(RecordError, match=r"out\.csv exists already: resume it \(--resume\)"):
        scored(batch, tmp_path / "out.csv")
    with pytest.raises(RecordError, match="does not hold scores of"):
        scored(batch, tmp_path / "out.csv", resume=True)
    assert (tmp_path / "out.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["file/out.csv", f"{'n' * 300}.csv", f"{'n' * 300}/out.csv", f"{'n' * 248}.csv"])
def test_an_output_that_cannot_be_written_is_told_before_anything_is_scored(batch, tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    scorer = FakeScorer()
    for resume in (False, True):
        with pytest.raises(
            RecordError, match=r"cannot be written \((Not a directory|File name too long|File exists)\)"
        ):
            scored(batch, tmp_path / name, scorer, resume=resume)
    assert scorer.asked == []


def test_a_folder_in_the_place_of_the_output_is_told(batch, tmp_path):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(RecordError, match="exists already"):
        scored(batch, tmp_path / "out.csv")
    with pytest.raises(RecordError, match=r"cannot be written \(Is a directory\)"):
        scored(batch, tmp_path / "out.csv", resume=True)


def test_a_full_disk_says_how_to_go_on(batch, tmp_path, monkeypatch):
    out, fsync, calls = tmp_path / "out.csv", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RecordError, match=r"No space left on device\).*--resume"):
            scored(batch, out)
    scored(batch, out, resume=True)
    scored(batch, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_the_longest_cell_that_is_read_can_be_read_again(table, videos, tmp_path):
    out = tmp_path / "out.csv"
    found = read_batch(table("video,prompt,note", f"0,x,={'n' * (MAX_CELL_CHARACTERS - 1)}"), videos)
    scored(found, out)
    whole = out.read_bytes()
    scored(found, out, resume=True)
    assert out.read_bytes() == whole
    assert read_batch(out, videos).rows[0].cells["note"] == found.rows[0].cells["note"]
    with pytest.raises(RecordError, match="line 2 has a cell of more than 131,071 characters: shorten it"):
        read_batch(table("video,prompt,note", f"0,x,={'n' * MAX_CELL_CHARACTERS}"), videos)


# ---- resuming --------------------------------------------------------------------------------------------------------


def test_cut_off_at_any_byte_and_resumed_it_ends_like_a_run_that_was_not(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a thousand runs
    out = tmp_path / "out.csv"
    scored(batch, out)
    whole = out.read_bytes()
    for end in range(len(whole) + 1):
        out.write_bytes(whole[:end])
        before = [row for row in csv.reader(io.StringIO(whole[:end].decode(errors="ignore"), newline="")) if row]
        scorer = FakeScorer()
        reports = list(run_batch(scorer, batch, out, resume=True))
        assert out.read_bytes() == whole
        assert sorted(report.result.row.line for report in reports) == sorted(row.line for row in batch.rows)
        kept = sum(report.resumed for report in reports)
        assert kept >= sum(row[9:] == ["", "fake"] for row in before[1:-1])
        assert len(scorer.asked) + kept == 9  # all rows but the one without a video: none is scored twice
    assert kept == 8


def test_resumed_rows_come_first_and_tell_no_time(batch, tmp_path):
    with closing(run_batch(FakeScorer(), batch, tmp_path / "out.csv")) as reports:
        for _ in range(3):
            next(reports)
    reports = list(run_batch(FakeScorer(), batch, tmp_path / "out.csv", resume=True))
    assert [report.resumed for report in reports] == [True] * 3 + [False] * 7
    assert [report.done for report in reports] == list(range(1, 11))
    assert [report.seconds_left for report in reports[:3]] == [None] * 3
    assert all(report.seconds_left is not None for report in reports[3:])


def test_a_stop_keeps_what_is_done(batch, tmp_path):
    out, scorer = tmp_path / "out.csv", FakeScorer()
    stopped = scored(batch, out, scorer, should_stop=lambda: len(scorer.asked) == 4)
    assert len(stopped) == len(read(out)) == 4
    scored(batch, out, resume=True)
    scored(batch, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_errors_are_tried_again_and_the_order_stays_that_of_the_table(batch, videos, tmp_path):
    out = tmp_path / "out.csv"
    scored(batch, out)
    (videos / "broken.mp4").write_text("7")
    scorer = FakeScorer()
    results = scored(batch, out, scorer, resume=True)
    assert scorer.asked == [("broken.mp4", "x")]
    assert sum(result.error is not None for result in results) == 1
    scored(batch, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_rows_that_were_added_to_the_table_are_scored(table, videos, tmp_path):
    out = tmp_path / "out.csv"
    scored(read_batch(table("video,prompt", "0,x", "2,x"), videos), out)
    scorer = FakeScorer()
    scored(read_batch(table("video,prompt", "0,x", "1,x", "2,x"), videos), out, scorer, resume=True)
    assert scorer.asked == [("1.mp4", "x")]
    assert [row["video"] for row in read(out)] == ["0", "1", "2"]


def test_the_output_of_another_table_or_model_is_not_resumed(table, videos, tmp_path):
    out = tmp_path / "out.csv"
    scored(read_batch(table("video,prompt", "0,x", "1,x"), videos), out)
    whole = out.read_bytes()
    same = read_batch(table("video,prompt", "0,x", "1,x"), videos)
    other_row = read_batch(table("video,prompt", "0,x", "1,y"), videos)
    other_columns = read_batch(table("video,prompt,note", "0,x,", "1,x,"), videos)
    for found, model, match in (
        (same, "other", "line 2 was scored by fake, not other"),
        (other_row, "fake", "line 3 is no row of table.csv"),
        (other_columns, "fake", "does not hold scores of table.csv"),
    ):
        with pytest.raises(RecordError, match=match):
            scored(found, out, FakeScorer(model), resume=True)
        assert out.read_bytes() == whole


def test_a_model_whose_weights_have_changed_goes_on_with_no_row_of_the_old_ones(batch, tmp_path):
    out = tmp_path / "out.csv"
    scored(batch, out, FakeScorer("mine@0a1b2c3d"))
    whole = out.read_bytes()
    message = "line 2 was scored by mine@0a1b2c3d, and the weights of mine have changed since: it is mine@ffff0000 now"
    with pytest.raises(RecordError, match=message):
        scored(batch, out, FakeScorer("mine@ffff0000"), resume=True)
    with pytest.raises(RecordError, match="scored by mine@0a1b2c3d, not yours@0a1b2c3d"):
        scored(batch, out, FakeScorer("yours@0a1b2c3d"), resume=True)
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"1.0,", b"1.O,", "line 2: could not convert string to float"),
        (b"1.0,", b"9.0,", "line 2 holds 9.0, .*, which are no scores"),
        (b"1.0,", b"nan,", "line 2 holds nan, .*, which are no scores"),
        (b",,fake", b",,fake,more", "line 2 is no row of"),
        (b"0,x,", b'0"",x,', "line 2 is no row of"),
        (b"0,x,", b"\xff,x,", "cannot be read"),
    ],
)
def test_an_output_that_was_changed_is_refused(table, videos, tmp_path, old, new, match):
    found, out = read_batch(table("video,prompt", "0,x"), videos), tmp_path / "out.csv"
    scored(found, out)
    out.write_bytes(out.read_bytes().replace(old, new, 1))
    with pytest.raises(RecordError, match=match):
        scored(found, out, resume=True)


def test_what_several_killed_processes_left_is_resumed(batch, tmp_path):
    out = tmp_path / "out.csv"
    scored(batch, out)
    whole = out.read_bytes()
    header, *rows = (line for line in whole.replace(b"fake\r\n", b"fake\r\n\0").split(b"\0") if line)
    header, first = header.split(b"\r\n", 1)
    rows = [first, *rows]
    out.write_bytes(header + b"\r\n" + rows[0])
    (tmp_path / ".out.csv.part-0").write_bytes(header + b"\r\n" + rows[0] + rows[2] + rows[4])  # one is in both
    (tmp_path / ".out.csv.part-1").write_bytes(header + b"\r\n" + rows[1] + rows[3][:-5])
    scorer = FakeScorer()
    reports = list(run_batch(scorer, batch, out, resume=True))
    assert [report.result.row.line for report in reports if report.resumed] == [row.line for row in batch.rows[:3]] + [
        batch.rows[4].line
    ]
    assert out.read_bytes() == whole
    assert [path.name for path in tmp_path.glob(".*")] == []


# ---- what it says ----------------------------------------------------------------------------------------------------


def test_rows_in_which_a_dimension_means_nothing_are_counted(table, videos, tmp_path):
    found = read_batch(table("video,prompt", "0,a red ball", "1,A zebra!", "gone,a zebra", "2,red quux"), videos)
    results = scored(found, tmp_path / "out.csv")
    summary = summarise_batch(results, TRAINED_ON)
    assert (summary.all.num_scored, summary.num_doubtful) == (3, {"Alignment": 2})
    assert summary.to_dict()["num_doubtful"] == {"Alignment": 2}
    notes = wording.batch_notes(summary.num_doubtful, summary.all.num_scored, summary.num_unknown)
    assert notes[0].startswith("Alignment means nothing in 2 of 3 rows")
    assert notes[1:] == ["Because of unknown words, all scores but Alignment of 2 of 3 rows use the prompt “a video”."]
    assert {f"note: {note}" for note in notes} <= set(summary_lines(summary))
    rows = {row["video"]: row for row in read(tmp_path / "out.csv")}
    assert {name: row["not_meaningful"] for name, row in rows.items()} == {
        "0": "",
        "1": "Alignment: unknown_words",
        "gone": "",
        "2": "Alignment: unknown_words",
    }
    again = scored(found, tmp_path / "out.csv", resume=True)
    assert {each.row.name: dict(each.doubts) for each in again} == {
        each.row.name: dict(each.doubts) for each in results
    }


def test_the_summary_has_means_standard_errors_and_the_best_generator_first(batch, tmp_path):
    summary = summarise_batch(scored(batch, tmp_path / "out.csv"), TRAINED_ON)
    overall = {"a": [0, 2, 4], "b": [1, 3, 5, 3, 3]}  # what the files hold
    assert [group.name for group in summary.generators] == ["b", "a"]
    for group in summary.generators:
        values = [1 + 4 / 3 + number / 16 for number in overall[group.name]]
        assert (group.num_scored, group.num_errors) == (len(values), 1)
        assert group.means["Overall"] == pytest.approx(statistics.fmean(values))
        assert group.standard_errors["Overall"] == pytest.approx(statistics.stdev(values) / len(values) ** 0.5)
    assert (summary.all.num_scored, summary.all.num_errors) == (8, 2)
    assert tuple(summary.all.means) == tuple(summary.all.standard_errors) == DIMENSIONS
    assert json.loads(json.dumps(summary.to_dict()))["generators"][0]["name"] == "b"


def test_a_single_row_has_no_standard_error_and_errors_alone_have_no_mean(table, videos, tmp_path):
    found = read_batch(table("video,prompt,model", "0,x,one", "gone,x,none", "1,x,"), videos)
    summary = summarise_batch(scored(found, tmp_path / "out.csv"), TRAINED_ON)
    one, none = summary.generators
    assert (one.name, one.standard_errors["Overall"]) == ("one", None)
    assert (none.name, none.means, none.standard_errors) == ("none", {}, {})
    assert summary.all.num_scored == 2
    assert summary.evaluation is None


def test_labels_are_compared_with_scores_beside_the_baseline(batch, tmp_path):
    results = scored(batch, tmp_path / "out.csv")
    judged = [result for result in results if result.scores is not None][:-1]  # the last two rows are one clip
    labels = torch.full((7, 5), torch.nan)
    labels[:, 4] = torch.tensor([result.row.labels["Overall"] for result in judged])
    scores = torch.tensor([list(result.scores.values()) for result in judged])
    baseline = no_video_baseline([result.row.prompt for result in judged], labels)
    assert summarise_batch(results, TRAINED_ON).evaluation == evaluate(scores, labels, baseline=baseline)


def test_a_table_of_ratings_is_judged_by_the_mean_of_each_clip(table, videos, tmp_path):
    means = [
        [f"{n},p{n},{n % 4 + 1.5}" for n in range(8)],
        [f"{n},p{n},{n % 4 + 1.5 + d}" for n in range(8) for d in (0.5, -0.5)],
    ]
    tables = [read_batch(table("video,prompt,mos", *rows), videos) for rows in means]
    assert [found.notes for found in tables] == [
        (),
        ("16 ratings, averaged: rows of the same video and prompt rate one clip (8 clips).",),
    ]
    one, several = (
        summarise_batch(scored(found, tmp_path / f"{index}.csv"), TRAINED_ON) for index, found in enumerate(tables)
    )
    assert one.evaluation == several.evaluation
    assert (one.all.num_scored, several.all.num_scored) == (8, 16)


# ---- as a person runs it ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Nineteen greys and five broken files, and a table of a hundred rows: each grey with five prompts."""
    folder = tmp_path_factory.mktemp("clips")
    for index in range(19):
        frames = torch.full((FRAMES, 3, 40, 40), 20 + 12 * index, dtype=torch.uint8)
        write_video(folder / f"{index}.mp4", frames, frames_per_second=8, crf=1)
    rows = [f"{index}.mp4,prompt {number},{'abc'[index % 3]}" for number in range(5) for index in range(19)]
    for index in range(5):
        (folder / f"broken{index}.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100 * index))
        rows.insert(20 * index + 7, f"broken{index}.mp4,x,a")
    (folder / "table.csv").write_text("\n".join(["video_name,Prompt,generator", *rows]))
    return folder


def arguments(clips: Path, model: Path, out: Path, *more: object) -> list[str]:
    places = (clips / "table.csv", "--videos", clips, "--out", out, "--model", model, "--device", "cpu")
    return ["batch", *map(str, (*places, *more))]


# Runs the command, but dies while it writes the 50th row: half of the row is in the file, and nothing more happens.
DYING = """
import signal, sys
from vjepa_demo.tasks import score_file
from vjepa_demo.app import cli
append, done = score_file._append, []
def append_or_die(file, cells):
    done.append(cells)
    if len(done) == 50:
        file.write(score_file._as_lines([cells]).encode()[:-12])
        print("half-way", flush=True)
        signal.pause()
    append(file, cells)
score_file._append = append_or_die
cli.main(sys.argv[1:])
"""


def test_killed_half_way_and_resumed_no_row_is_scored_twice_or_lost(clips, checkpoint_folder, tmp_path, capsys):
    whole, out = tmp_path / "whole.csv", tmp_path / "killed.csv"
    assert main(arguments(clips, checkpoint_folder, whole)) == 1
    told = capsys.readouterr()
    assert told.err == "loading the model ...\n"
    rows = read(whole)
    assert (sum(row["error"] == "" for row in rows), sum(row["error"] != "" for row in rows)) == (95, 5)
    assert [row["video_name"] for row in rows if row["error"]] == [f"broken{index}.mp4" for index in range(5)]
    assert "Scored 95 of 100 rows, 5 errors\n" in told.out
    assert "line 9: broken0.mp4" in told.out
    assert f"wrote {whole}" in told.out

    with processes.start("-c", DYING, *arguments(clips, checkpoint_folder, out), environment=ENVIRONMENT) as process:
        assert any(line == "half-way\n" for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert whole.read_bytes().startswith(out.read_bytes())
    assert out.read_bytes().count(b"\n") == 50  # the header and 49 rows; the 50th was torn

    assert main(arguments(clips, checkpoint_folder, out)) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(arguments(clips, checkpoint_folder, out, "--resume", "--json")) == 1
    told = capsys.readouterr()
    assert "46 of 100 rows were scored before" in told.err  # of 49, three were broken
    assert out.read_bytes() == whole.read_bytes()
    answer = json.loads(told.out)
    assert (answer["all"]["num_scored"], answer["all"]["num_errors"]) == (95, 5)
    assert sorted(group["name"] for group in answer["generators"]) == ["a", "b", "c"]
    assert (answer["out"], answer["model"]) == (str(out), str(checkpoint_folder))


def test_two_processes_write_the_same_file(clips, checkpoint_folder, tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as file:
        for path in clips.glob("*.mp4"):
            file.write(path, path.name)
    assert main(arguments(clips, checkpoint_folder, one)) == 1
    command = ("-m", "vjepa_demo", *arguments(clips, checkpoint_folder, two, "--videos", tmp_path / "clips.zip"))
    done = processes.run_together(2, *command, environment=ENVIRONMENT)  # `torchrun` itself: in test_train_cli.py
    assert two.read_bytes() == one.read_bytes(), done.stderr[-2000:]
    assert done.stdout.count("Scored 95 of 100 rows, 5 errors\n") == 1  # one voice
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.zip", "one.csv", "two.csv"]


def test_without_a_place_for_videos_they_are_beside_the_table_or_where_its_paths_lead(
    table, clips, checkpoint_folder, tmp_path
):
    shutil.copytree(clips, tmp_path / "set" / "low")
    found = table("video,prompt", "set/low/1.mp4,x", "2,x", f"{clips / '3.mp4'},x", f"{clips / 'gone.mp4'},x")
    rows = read_batch(found, None).rows
    expected = [tmp_path / "set" / "low" / "1.mp4", tmp_path / "set" / "low" / "2.mp4", clips / "3.mp4", None]
    assert [row.video for row in rows] == expected
    assert "gone.mp4" in rows[-1].problem
    command = ["batch", str(found), "--out", str(tmp_path / "out.csv"), "--model", str(checkpoint_folder)]
    assert main([*command, "--device", "cpu"]) == 1
    assert [row["error"] == "" for row in read(tmp_path / "out.csv")] == [True, True, True, False]


def test_a_batch_is_judged_by_clips_that_its_model_did_not_learn_from(batch, tmp_path):
    results = scored(batch, tmp_path / "out.csv")
    judged = [result.row for result in results if result.scores is not None]
    digests = tuple(sorted(content_sha256(row.video)[:12] for row in judged[:2]))
    evaluation = summarise_batch(results, replace(TRAINED_ON, digests=digests)).evaluation
    assert (evaluation.num_learned, evaluation.num_left_out, evaluation.n) == (2, 2, 5)  # of 7 clips: two rows are one


def test_several_videos_with_one_prompt(clips, checkpoint_folder, tmp_path, capsys):
    videos = [str(clips / f"{index}.mp4") for index in range(2)]
    out = tmp_path / "out.csv"
    command = ["batch", *videos, "--prompt", "a cat", "--out", str(out), "--model", str(checkpoint_folder)]
    assert main(command) == 0
    assert [(row["video_name"], row["Prompt"]) for row in read(out)] == [("0.mp4", "a cat"), ("1.mp4", "a cat")]
    assert "trained on 12 clips with human labels" in capsys.readouterr().out
    assert main([*command, "--resume"]) == 0
    assert "2 of 2 rows were scored before" in capsys.readouterr().out


def test_a_folder_stands_for_the_videos_in_it(clips, checkpoint_folder, tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("b.mp4", "a.mp4", "notes.md"):
        (tmp_path / "more" / name).write_bytes((clips / "0.mp4").read_bytes())
    out = tmp_path / "out.csv"
    inputs = [str(tmp_path / "more"), str(clips / "1.mp4")]
    command = ["batch", *inputs, "--prompt", "a cat", "--out", str(out), "--model", str(checkpoint_folder)]
    assert main([*command, "--device", "cpu"]) == 0
    assert [row["video_name"] for row in read(out)] == ["a.mp4", "b.mp4", "1.mp4"]
    weights = json.loads((checkpoint_folder / "config.json").read_text())["weights_sha256"]
    assert {row["scored_by"] for row in read(out)} == {f"{checkpoint_folder.name}@{weights[:8]}"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4"], "videos alone need --prompt TEXT"),
        (["a.mp4", "--prompt", "x", "--label-range", "1", "5"], "videos alone need --prompt TEXT, and neither"),
        ([str(ROOT / "vjepa_demo"), "--prompt", "x"], f"the folder {ROOT / 'vjepa_demo'} holds no videos"),
        (["table.csv"], "table.csv: no such file"),
        (["table.csv", "other.csv", "--videos", "."], "batch needs one TABLE.csv"),
        (["gone.csv", "--videos", "."], "gone.csv: no such file"),
        (["a.mp4", "--prompt", " "], "the prompt is empty"),
    ],
)
def test_what_cannot_begin_is_one_line_and_a_status(arguments, message, tmp_path, capsys):
    assert main(["batch", *arguments, "--out", str(tmp_path / "out.csv")]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_stopped_within_a_row_the_batch_can_be_resumed(checkpoint_folder, world, tmp_path):
    """The second clip is stopped at its second layer: its row is not written, and is scored by the next run."""
    shorter = tmp_path / "other.mp4"
    shorter.write_bytes(world.read_bytes() + b"\0")
    batch = batch_of_files([str(world), str(shorter)], "the world")
    scorer = load_scorer(str(checkpoint_folder), device="cpu")
    scorer._cache = FeatureCache()
    ran: list[int] = []
    scorer._model.venc.layer[0].mlp.register_forward_hook(lambda *_: ran.append(1))
    reports = list(run_batch(scorer, batch, tmp_path / "out.csv", should_stop=lambda: len(ran) == 2))
    assert len(reports) == 1
    assert reports[0].result.error is None
    rest = list(run_batch(scorer, batch, tmp_path / "out.csv", resume=True))
    assert [report.resumed for report in rest] == [True, False]
    list(run_batch(scorer, batch, tmp_path / "whole.csv"))
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
