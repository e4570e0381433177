"""The files of a study: what is written is read, what a killed process left is no rating, `train` reads the tables."""

from __future__ import annotations

import json
import os
import threading

import pytest

from vjepa_demo.data.pairs import read_pairs
from vjepa_demo.data.raters import dimension_ratings
from vjepa_demo.data.ratings import (
    RATINGS_FILE,
    RatingLog,
    read_study,
    write_answers,
    write_mean_scores,
    write_ratings,
    write_scores,
    write_study,
)
from vjepa_demo.data.records import read_records
from vjepa_demo.data.table import read_labels
from vjepa_demo.schema import FolderError, RecordError
from vjepa_demo.schema.labels import Ratings
from vjepa_demo.schema.rating import ClipScore, Rating, Statistic, Study, StudyClip

CLIPS = tuple(
    StudyClip(key, f"clips/{key}.mp4", f"prompt of {key}", f"model-x/{key}.mp4", f"sha of {key}", "model-x")
    for key in ("k1", "k2")
)
STUDY = Study("id", "A study", "clips", ("Traditional", "Overall"), CLIPS, seed=3)
PAIRS = Study("id", "A study", "pairs", ("Overall",), CLIPS, pairs=(("k1", "k2"),))


def append(folder, **line) -> None:
    with RatingLog(folder).exclusive() as writer:
        writer.append(line)


@pytest.mark.parametrize("study", [STUDY, PAIRS])
def test_a_study_is_read_as_it_was_written(tmp_path, study):
    write_study(tmp_path, study)
    assert read_study(tmp_path) == study


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 99}, "format is 99"),
        ({"kind": "stars"}, "kind is 'stars'; one of clips, pairs"),
        ({"dimensions": ["Taste"]}, "some of Traditional"),
        ({"clips": []}, "clips: at least one"),
        ({"clips": [{"key": "x"}]}, "no study of this program"),
        ({"pairs": [["k1", "other"]]}, "keys of two clips"),
    ],
)
def test_a_study_that_this_program_did_not_write_is_refused(tmp_path, changes, match):
    (tmp_path / "study.json").write_text(json.dumps(STUDY.to_dict() | changes))
    with pytest.raises(RecordError, match=match):
        read_study(tmp_path)


def test_what_is_wrong_with_a_study_is_not_said_at_length(tmp_path):
    for changes in ({"kind": "x" * 10_000}, {"dimensions": ["x" * 10_000]}, {"x" * 10_000: 1}):
        (tmp_path / "study.json").write_text(json.dumps(STUDY.to_dict() | changes))
        with pytest.raises(RecordError) as caught:
            read_study(tmp_path)
        assert len(str(caught.value)) < 400


def test_a_study_does_not_lead_out_of_its_folder(tmp_path):
    data = STUDY.to_dict()
    for field in ("video", "name"):
        clip = data["clips"][0] | {field: "../../secret.mp4"}
        (tmp_path / "study.json").write_text(json.dumps(data | {"clips": [clip]}))
        with pytest.raises(RecordError, match="no path within the folder"):
            read_study(tmp_path)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(RecordError, match="holds no study: give a folder that `rate new` made"):
        read_study(tmp_path)


def test_lines_are_read_once_and_in_their_order(tmp_path):
    log = RatingLog(tmp_path)
    assert list(log.new_lines()) == []
    append(tmp_path, number=1)
    append(tmp_path, number=2, text="ä\n“”")
    assert list(log.new_lines()) == [{"number": 1}, {"number": 2, "text": "ä\n“”"}]
    append(tmp_path, number=3)
    assert list(log.new_lines()) == [{"number": 3}]
    assert list(log.new_lines()) == []


@pytest.mark.parametrize("torn", [b'{"number": 2, "te', b"\0" * 100, b"{"])
def test_a_torn_last_line_is_ignored_and_cut_off_by_the_next_write(tmp_path, torn):
    append(tmp_path, number=1)
    path = tmp_path / RATINGS_FILE
    path.write_bytes(path.read_bytes() + torn)
    log = RatingLog(tmp_path)
    assert list(log.new_lines()) == [{"number": 1}]
    append(tmp_path, number=3)
    assert list(log.new_lines()) == [{"number": 3}]
    assert path.read_bytes() == b'{"number":1}\n{"number":3}\n'


def test_a_file_that_is_nothing_but_a_torn_line_is_emptied(tmp_path):
    (tmp_path / RATINGS_FILE).write_bytes(b'{"numb')
    append(tmp_path, number=1)
    assert list(RatingLog(tmp_path).new_lines()) == [{"number": 1}]


def test_a_damaged_line_is_named(tmp_path):
    append(tmp_path, number=1)
    with (tmp_path / RATINGS_FILE).open("a") as file:
        file.write("not JSON\n")
    append(tmp_path, number=3)
    with pytest.raises(RecordError, match="line 2 is not JSON"):
        list(RatingLog(tmp_path).new_lines())


def test_a_line_that_cannot_be_used_comes_again(tmp_path):
    for number in (1, 2, 3):
        append(tmp_path, number=number)
    log = RatingLog(tmp_path)
    for line in log.new_lines():
        if line["number"] == 2:
            break
    assert list(log.new_lines()) == [{"number": 2}, {"number": 3}]


def not_on_the_disk(folder, monkeypatch, **line) -> None:
    """Write a line whose fsync fails."""

    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("vjepa_demo.data.ratings.os.fsync", fails)
        with pytest.raises(FolderError, match="Input/output error"):
            append(folder, **line)


def test_who_read_a_line_that_did_not_reach_the_disk_reads_all_again(tmp_path, monkeypatch):
    early, late, others = RatingLog(tmp_path), RatingLog(tmp_path), []
    append(tmp_path, number=1)
    assert list(early.new_lines()) == [{"number": 1}]
    write = os.write

    def others_read_between(handle: int, data: bytes) -> int:
        written = write(handle, data)
        others.append(list(early.new_lines()))
        return written

    monkeypatch.setattr("vjepa_demo.data.ratings.os.write", others_read_between)
    not_on_the_disk(tmp_path, monkeypatch, number=2, text="x" * 100)
    monkeypatch.undo()
    append(tmp_path, number=3)
    assert others == [[{"number": 2, "text": "x" * 100}], [None, {"number": 1}]]
    assert list(early.new_lines()) == [{"number": 3}]
    assert list(late.new_lines()) == [{"number": 1}, {"number": 3}]
    assert list(early.new_lines()) == list(late.new_lines()) == []


def test_a_file_that_somebody_made_shorter_is_read_again(tmp_path):
    log = RatingLog(tmp_path)
    append(tmp_path, number=1)
    end = (tmp_path / RATINGS_FILE).stat().st_size
    append(tmp_path, number=2)
    assert list(log.new_lines()) == [{"number": 1}, {"number": 2}]
    os.truncate(tmp_path / RATINGS_FILE, end)
    assert list(log.new_lines()) == [None, {"number": 1}]


def test_threads_write_whole_lines(tmp_path):
    def write(thread: int) -> None:
        for number in range(20):
            append(tmp_path, thread=thread, number=number)

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = list(RatingLog(tmp_path).new_lines())
    assert len(lines) == 80
    for thread in range(4):
        assert [line["number"] for line in lines if line["thread"] == thread] == list(range(20))


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_ratings_are_a_table_that_train_reads(tmp_path):
    ratings = [
        Rating("=Ann", ("k1",), "warm_up", {"Traditional": 1, "Overall": 1}, at=0.0),
        Rating("=Ann", ("k1",), "first", {"Traditional": 4, "Overall": None}, at=60.0, seconds=2.25),
        Rating("Bob", ("k2",), "repeat", {"Traditional": 2, "Overall": 5}, at=61.0),
    ]
    path = tmp_path / "ratings.csv"
    write_ratings(path, STUDY, ratings)
    assert path.read_text().splitlines() == [
        "video_name,Prompt,generator,rater,Traditional,Overall,repeat,rated_at,seconds",
        "model-x/k1.mp4,prompt of k1,model-x,'=Ann,4,,,1970-01-01T00:01:00Z,2.2",
        "model-x/k2.mp4,prompt of k2,model-x,Bob,2,5,yes,1970-01-01T00:01:01Z,",
    ]
    rows = read_labels(path, label_range=(1, 5)).rows
    assert [(row.name, row.rater, row.labels) for row in rows] == [
        ("model-x/k1.mp4", "=Ann", {"Traditional": 4.0}),
        ("model-x/k2.mp4", "Bob", {"Traditional": 2.0, "Overall": 5.0}),
    ]


def test_answers_are_a_table_of_pairs_that_train_reads(tmp_path):
    ratings = [
        Rating("Ann", ("k2", "k1"), "first", {"Overall": "a"}, at=60.0),
        Rating("Ann", ("k1", "k2"), "repeat", {"Overall": "b"}, at=70.0),  # one judgement is one label
    ]
    path = tmp_path / "pairs.csv"
    write_answers(path, PAIRS, ratings)
    assert path.read_text().splitlines() == [
        "video_a,video_b,prompt,rater,Overall,rated_at,seconds",
        "model-x/k2.mp4,model-x/k1.mp4,prompt of k2,Ann,a,1970-01-01T00:01:00Z,",
    ]
    (row,) = read_pairs(path).rows
    assert (row.name_a, row.name_b, row.answers) == ("model-x/k2.mp4", "model-x/k1.mp4", {"Overall": "a"})


@pytest.mark.parametrize(("plain", "label"), [(False, 3.4), (True, 3.0)])
def test_mean_scores_are_labels_in_the_columns_of_taobaovd_gc(tmp_path, plain, label):
    path = tmp_path / "labels.csv"
    score = ClipScore("k2", 2, plain=3.0, mos=3.4, half_width=Statistic(0.5))
    assert write_mean_scores(path, CLIPS, {"Overall": {"k2": score}}, plain=plain) == 1
    header, row = path.read_text().splitlines()
    assert header == "video_name,Prompt,Traditional_MOS,Alignment_MOS,Aesthetic_MOS,Temporal_MOS,Overall_MOS"
    assert row == f"model-x/k2.mp4,prompt of k2,,,,,{label}"
    assert read_labels(path, label_range=(1, 5)).rows[0].labels == {"Overall": label}


def test_what_one_rater_gave_twice_counts_once_in_what_train_reads(tmp_path):
    """As in the program's own plain mean; the rows of the table are all of them."""
    (tmp_path / "k1.mp4").write_bytes(b"")
    given = (("Ann", "first", 1), ("Ann", "repeat", 2), ("Bob", "first", 5))
    ratings = [Rating(who, ("k1",), round_, {"Traditional": 3, "Overall": score}, 0.0) for who, round_, score in given]
    write_ratings(tmp_path / "ratings.csv", STUDY, ratings)
    assert len(read_labels(tmp_path / "ratings.csv", label_range=(1, 5)).rows) == 3
    (record,) = read_records(tmp_path / "ratings.csv", tmp_path, label_range=(1, 5)).records
    (score,) = dimension_ratings(ratings, "Overall").clips
    assert record.labels == {"Traditional": 3.0, "Overall": score.plain} == {"Traditional": 3.0, "Overall": 3.25}
    assert record.ratings["Overall"] == Ratings((1.5, 5.0), ("Ann", "Bob"))
    assert record.num_rows == 3


def test_scores_are_a_table_with_names_and_intervals(tmp_path):
    path = tmp_path / "scores.csv"
    scores = {
        "Traditional": {"k1": ClipScore("k1", 2, plain=3.0, mos=3.4, half_width=Statistic(0.5))},
        "Overall": {
            "k1": ClipScore("k1", 1, plain=2.0, mos=2.0, half_width=Statistic(None, "there is one rater")),
        },
    }
    write_scores(path, STUDY, scores)
    assert path.read_text().splitlines() == [
        "video_name,Prompt,generator,Traditional_mos,Traditional_low,Traditional_high,Traditional_num_raters,"
        "Traditional_plain,Overall_mos,Overall_low,Overall_high,Overall_num_raters,Overall_plain",
        "model-x/k1.mp4,prompt of k1,model-x,3.4000,2.9000,3.9000,2,3.0000,2.0000,,,1,2.0000",
    ]
    wide = {"Overall": {"k2": ClipScore("k2", 3, plain=4.8, mos=4.8, half_width=Statistic(9.0))}}
    write_scores(path, STUDY, wide)
    assert path.read_text().splitlines()[1] == "model-x/k2.mp4,prompt of k2,model-x,,,,,,4.8000,1.0000,5.0000,3,4.8000"
