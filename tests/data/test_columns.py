from __future__ import annotations

import pytest
from tables import messages

from vjepa_demo.data.table import read_labels, read_table, row_labels
from vjepa_demo.schema import RecordError


def values(found) -> list[tuple]:
    return [(row.name, row.prompt, row.labels) for row in found.rows]


A, B = ("a.mp4", "a cat", {"Overall": 3.0}), ("b.mp4", "a dog, asleep", {"Overall": 4.5})


# ---- names -----------------------------------------------------------------------------------------------------------


def test_the_dimensions_of_videofeedback_that_are_measured_are_read_and_the_others_named(table):
    names = "visual quality,temporal consistency,dynamic degree,text-to-video alignment,factual consistency"
    found = read_labels(table(f"video link,text prompt,{names}", "https://x.org/v/1.mp4,p,1,2,3,4,5"))
    assert values(found) == [
        ("https://x.org/v/1.mp4", "p", {"Traditional": 1.0, "Alignment": 4.0, "Temporal": 2.0}),
    ]
    assert found.notes == ("No dimension measures “dynamic degree” and “factual consistency”: left out.",)


def test_another_name_counts_only_where_a_usual_one_is_missing(table):
    (row,) = read_labels(table("video_id,video,prompt,visual quality,traditional", "7,a.mp4,p,1,2")).rows
    assert (row.name, row.labels) == ("a.mp4", {"Traditional": 2.0})
    (row,) = read_labels(table("flickr_id,text,mos", "10053703034,p,2.9")).rows
    assert (row.name, row.labels) == ("10053703034", {"Overall": 2.9})


def test_a_bare_score_is_overall_where_labels_are_wanted_and_there_are_no_others(table):
    found = read_labels(table("video,prompt,score", "a,p,2"))
    assert (found.rows[0].labels, found.notes) == ({"Overall": 2.0}, ("The column “score” is read as Overall.",))
    (row,) = read_labels(table("video,prompt,temporal,score", "a,p,2,5")).rows
    assert row.labels == {"Temporal": 2.0}
    results = read_table(table("video,prompt,score", "a,p,2"), required=("video", "prompt"))
    assert row_labels(results)[0] == {2: {}}
    with pytest.raises(RecordError, match="No column of labels"):
        read_labels(table("video,prompt,score,rating", "a,p,2,3"))


# ---- an index without a name -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        (",video,prompt,mos", "0,a.mp4,a cat,3", '1,b.mp4,"a dog, asleep",4.5'),  # pandas
        ("video,prompt,mos", "0,a.mp4,a cat,3", '1,b.mp4,"a dog, asleep",4.5'),
        ("video,prompt,mos", "7,a.mp4,a cat,3", 'other,b.mp4,"a dog, asleep",4.5'),  # rows that were picked
        ('"video" "prompt" "mos"', '"1" "a.mp4" "a cat" 3', '"2" "b.mp4" "a dog, asleep" 4.5'),  # write.table
        ("prompt,mos", "a.mp4,a cat,3", 'b.mp4,"a dog, asleep",4.5'),  # names of rows
    ],
)
def test_an_index_may_lack_its_name(table, lines):
    assert values(read_labels(table(*lines))) == [A, B]


def test_an_index_of_videos_without_an_ending_is_known_by_counting(table):
    (row, _) = read_labels(table("video;prompt;mos", "1;a;a cat;3", "2;b;a dog;4")).rows
    assert (row.name, row.prompt) == ("a", "a cat")


@pytest.mark.parametrize(
    "lines",
    [
        ("video,prompt,mos", "a.mp4,a cat, asleep,3", "b.mp4,a dog, awake,4"),
        ("video,prompt,mos", "10053703034,a cat, asleep,3", "10053703039,a dog, awake,4"),
    ],
)
def test_prompts_with_separators_are_no_index(table, lines):
    found = read_labels(table(*lines))
    assert (found.rows, list(messages(found))) == ((), [2, 3])
    assert "put a prompt with separators in quotes" in messages(found)[2][0]


def test_a_separator_at_every_end_is_no_index(table):
    assert values(read_labels(table("video,prompt,mos", "a.mp4,a cat,3,", 'b.mp4,"a dog, asleep",4.5,'))) == [A, B]


# ---- no header -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ("a.mp4|a cat|3", "b.mp4|a dog, asleep|4.5"),  # T2VQA-DB
        ("a.mp4,a cat,3", 'b.mp4, "a dog, asleep", 4.5'),
        ("3\ta cat\ta.mp4", "4.5\ta dog, asleep\tb.mp4"),
    ],
)
def test_columns_without_names_are_told_by_what_they_hold(table, lines):
    found = read_labels(table(*lines, name="info.txt"))
    assert (values(found), [row.line for row in found.rows]) == ([A, B], [1, 2])
    assert found.notes[0].startswith("No line names the columns: column 1 is read as ")


def test_videos_without_an_ending_are_told_where_they_are_the_only_words(table):
    found = read_labels(table("clip_1;a cat;3;sora", "clip_2;a dog;4;sora"))
    assert values(found) == [("clip_1", "a cat", {"Overall": 3.0}), ("clip_2", "a dog", {"Overall": 4.0})]
    assert found.notes == (
        "No line names the columns: column 1 is read as video_name, column 2 is read as Prompt and column 3 is read as "
        "Overall_MOS.",
        "Ignored columns: column 4.",
    )


def test_what_is_not_told_is_asked_about(table):
    dover = table("a.mp4, 8.0, 25, 61.2", "b.mp4, 8.0, 30, 40.7", name="labels.txt")
    with pytest.raises(RecordError, match=r"what they hold does not tell the prompt and the labels; put a line on top"):
        read_labels(dover)
    found = read_table(dover, required=("video",))  # one prompt was given for all
    assert [cells[found.fields["video"]] for _, cells in found.rows] == ["a.mp4", "b.mp4"]
    assert found.notes[-1] == "Columns 2, 3 and 4 hold numbers without a name: none is read as labels."
    with pytest.raises(RecordError, match="does not tell the video, the prompt and the labels"):
        read_labels(table("10053703034,2.9", "10053703039,3.1"))
    with pytest.raises(RecordError, match="does not tell the video;"):
        read_labels(table("a.mp4,a cat,b.mp4,3", "c.mp4,a dog,d.mp4,4"))


def test_a_row_of_another_width_is_a_problem_without_a_header_too(table):
    found = read_labels(table("a.mp4|a cat|3", "b.mp4|a | b|3", "c.mp4|a dog|4"))
    assert [row.line for row in found.rows] == [1, 3]
    assert list(messages(found)) == [2]
