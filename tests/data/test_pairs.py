from __future__ import annotations

import json

import pytest
from tables import messages

from vjepa_demo import wording
from vjepa_demo.data.pairs import PairRow, read_pairs
from vjepa_demo.data.records import read_records
from vjepa_demo.data.split import split_records
from vjepa_demo.schema import RecordError, summarise


def test_the_plain_form_is_read(table):
    found = read_pairs(table("video_a,video_b,prompt,Overall,Temporal", "1.mp4,2.mp4,a cat,a,same"))
    assert found.rows == (PairRow(2, "1.mp4", "2.mp4", "a cat", {"Temporal": "same", "Overall": "a"}),)
    assert (found.num_rows, found.problems, found.notes) == (1, (), ())


def test_the_form_of_videoreward_is_read_and_says_what_its_dimensions_are(table):
    header = "path_A,path_B,prompt,VQ,MQ,TA,Overall,fps_A,num_frames_A"
    found = read_pairs(table(header, "./videos/1_A.mp4,./videos/1_B.mp4,a cat,A,B,same,A,24,121"))
    (row,) = found.rows
    assert (row.name_a, row.name_b) == ("./videos/1_A.mp4", "./videos/1_B.mp4")
    assert row.answers == {"Traditional": "a", "Temporal": "b", "Alignment": "same", "Overall": "a"}
    assert found.notes == (
        "VQ is read as Traditional, TA is read as Alignment and MQ is read as Temporal.",
        "Ignored columns: fps_A, num_frames_A.",
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [("A", "a"), ("b", "b"), ("Left", "a"), ("RIGHT", "b"), ("Same", "same"), ("tie", "same"), ("=", "same")],
)
def test_an_answer_may_be_written_in_several_ways(table, text, answer):
    (row,) = read_pairs(table("left video;right video;text;winner", f"x;y;a cat;{text}")).rows
    assert row.answers == {"Overall": answer}


def test_an_empty_answer_is_none(table):
    (row,) = read_pairs(table("video_a,video_b,prompt,overall,temporal", "x,y,a cat,,b")).rows
    assert row.answers == {"Temporal": "b"}


def test_a_json_list_is_read(table):
    rows = [{"video_a": "x", "video_b": "y", "prompt": "a cat", "Overall": "a", "split": "val"}]
    (row,) = read_pairs(table(json.dumps(rows), name="pairs.json")).rows
    assert (row.answers, row.split) == ({"Overall": "a"}, "validation")


@pytest.mark.parametrize(
    "header", ["video_name,Prompt,Overall_MOS", "video,prompt,Traditional", "path,prompt,overall,fps_A", "x,y"]
)
def test_a_table_of_labels_is_no_table_of_pairs(table, header):
    assert read_pairs(table(header, "a,b,3,4")) is None


def test_the_problems_of_a_row_are_told_by_line_and_the_other_rows_are_used(table):
    found = read_pairs(
        table(
            "video_a,video_b,prompt,overall,split",
            "x,y,a cat,better,",
            "x,,a cat,a,",
            "x,./x,a cat,a,",
            "x,y,,a,",
            "x,y,a cat,,",
            "x,y,a cat,a,never",
            "x,y,a cat, a big one,b,train",
            "x,y,a cat,b,",
        )
    )
    assert [row.line for row in found.rows] == [9]
    assert messages(found) == {
        2: ["overall is “better”; a, b or same was expected"],
        3: ["video_b is empty; the name of a video file was expected"],
        4: ["video_a and video_b name the same video; two were expected"],
        5: ["prompt is empty; the text the video was made from was expected"],
        6: ["no answer in overall"],
        7: ["split is “never”; train or validation was expected"],
        8: ["6 cells, but the header has 5; put a prompt with separators in quotes"],
    }


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ("video_a,video_b,overall", "No column for the prompt: call it prompt"),
        ("video_a,video_b,prompt", "No column of answers: at least one of Traditional, Alignment"),
        ("video_a,video_b,prompt,winner,choice", "“winner” and “choice” could each be the Overall: keep one"),
    ],
)
def test_a_table_of_pairs_that_lacks_a_column_fails(table, header, match):
    with pytest.raises(RecordError, match=match):
        read_pairs(table(header, "x,y,a,a,a"))


# ---- with their videos -----------------------------------------------------------------------------------------------


def test_a_pair_needs_both_of_its_videos(table, folder):
    path = table("path_A,path_B,prompt,VQ", "v/1.mp4,v/2.mp4,a cat,A", "v/1.mp4,v/3.mp4,a cat,B", "1,1.mp4,a dog,same")
    videos = folder("v/1.mp4", "v/2.mp4")
    found = read_records(path, videos)
    (pair,) = found.pairs
    assert (pair.a.video, pair.b.video) == (videos / "v/1.mp4", videos / "v/2.mp4")
    assert (pair.prompt, pair.answers, pair.line, found.records, found.num_rows) == (
        "a cat",
        {"Traditional": "a"},
        2,
        (),
        3,
    )
    assert messages(found) == {
        3: ["no video “v/3.mp4” in videos"],
        4: ["“1” and “1.mp4” are the same video; two were expected"],
    }


def test_labels_and_pairs_are_used_together(table, folder):
    labels = table("video,prompt,overall", "1,a cat,4", "9,a cat,2")
    pairs = table("video_a,video_b,prompt,overall", "1,2,a cat,a", "1,9,a cat,b", name="pairs.csv")
    found = read_records([pairs, labels], folder("1.mp4", "2.mp4"), label_range=(0, 10))
    assert [record.name for record in found.records] == ["1"]
    assert [(pair.a.name, pair.b.name) for pair in found.pairs] == [("1", "2")]
    assert [clip.name for clip in found.clips] == ["1", "2"]
    assert (found.label_range.low, found.label_range.high, found.num_rows) == (0, 10, 4)
    assert messages(found) == {3: ["pairs.csv: no video “9” in videos", "labels.csv: no video “9” in videos"]}
    summary = summarise(found)
    assert (summary.num_used, summary.num_clips, summary.num_pairs, summary.num_videos) == (2, 1, 1, 2)
    assert summary.answers == {"Overall": {"a": 1, "b": 0, "same": 0}}
    assert wording.summary_line(summary) == (
        "2 of 4 rows will be used: 2 videos, 1 prompt; labels from 0 to 10: Overall 1; pairs: Overall 1 (0 same)."
    )


def test_two_tables_of_one_kind_fail(table, folder):
    first = table("video_a,video_b,prompt,overall", "1,2,a cat,a")
    second = table("video_a,video_b,prompt,overall", "1,2,a cat,a", name="more.csv")
    with pytest.raises(
        RecordError, match=r"labels\.csv and more\.csv are of one kind; at most one table of labels and"
    ):
        read_records([first, second], folder("1.mp4", "2.mp4"))


def test_clips_and_pairs_of_a_prompt_are_on_one_side(table, folder):
    prompts = [f"prompt {index}" for index in range(30)]
    labels = table("video,prompt,overall", *(f"{index},{prompt},3" for index, prompt in enumerate(prompts)))
    rows = (f"{index}-a,{index}-b,{prompt.upper()},a" for index, prompt in enumerate(prompts))
    pairs = table("video_a,video_b,prompt,overall", *rows, name="pairs.csv")
    names = [f"{index}{end}.mp4" for index in range(30) for end in ("", "-a", "-b")]
    found = read_records([labels, pairs], folder(*names))
    split = split_records(found.records, found.pairs, validation_fraction=0.2, seed=0)
    validation = {record.prompt_key for record in split.validation}
    assert validation == {pair.prompt_key for pair in split.validation_pairs}
    assert len(split.validation) == len(split.validation_pairs) == 6
    assert not validation & {row.prompt_key for row in (*split.train, *split.train_pairs)}
    assert len(split.train) == len(split.train_pairs) == 24


def test_too_few_pairs_for_validation_all_train(table, folder):
    rows = (f"1,2,prompt {index},a" for index in range(3))
    found = read_records(table("video_a,video_b,prompt,overall", *rows), folder("1.mp4", "2.mp4"))
    split = split_records(found.records, found.pairs, validation_fraction=0.2, seed=0)
    assert (len(split.train_pairs), split.validation_pairs, split.train) == (3, (), ())
    assert "Too few pairs for validation: 3 pairs with 3 prompts leave 1 of the 5" in split.warnings[0]
