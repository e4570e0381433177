from __future__ import annotations

import random

import pytest
from tables import HEADER, messages, overall

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data import sheet
from vjepa_demo.data.table import DETECTED_RANGES, read_labels, read_table, row_labels
from vjepa_demo.schema import LabelRange, RecordError


def test_a_taobaovd_gc_row_becomes_its_values_in_the_order_of_the_dimensions(table):
    found = read_labels(table(HEADER, "0001.mp4,A cat jumps,1,2.5,3,4.25,5"))
    (row,) = found.rows
    assert (row.line, row.name, row.prompt, row.split) == (2, "0001.mp4", "A cat jumps", None)
    assert list(row.labels.items()) == list(zip(DIMENSIONS, (1.0, 2.5, 3.0, 4.25, 5.0), strict=True))
    assert (found.num_rows, found.problems, found.notes) == (1, (), ())
    assert found.label_range == LabelRange(1, 5)


@pytest.mark.parametrize(
    ("separator", "encoding", "newline"),
    [  # every pair of values
        *((",", "utf-8", "\n"), (",", "utf-8-sig", "\r\n"), (",", "utf-16", "\n")),
        *((";", "utf-8", "\r\n"), (";", "utf-8-sig", "\n"), (";", "utf-16", "\r\n")),
        *(("\t", "utf-8", "\n"), ("\t", "utf-8-sig", "\r\n"), ("\t", "utf-16", "\r\n")),
    ],
)
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
    found = read_labels(table("path,seed,video_name,Prompt,mos,Overall_MOS", "x,9,a,b,1,4"))
    assert (found.rows[0].name, found.rows[0].labels) == ("a", {"Overall": 4.0})
    assert found.notes == ("Ignored columns: path, seed, mos.",)


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
        (b"video,prompt\0,mos", "holds binary data; a table was expected"),
        (b"", "holds no rows; a header and at least one row"),
        (b"video,prompt,mos\n\n,,\n", "holds no rows"),
        (b'video,prompt,mos\na,b,3\nb,"open,3\nc,d,3', "begins on line 3 cannot be read .*must end with one"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_the_reason(table, data, match):
    with pytest.raises(RecordError, match=match):
        read_labels(table(data=data))


def test_a_missing_and_an_enormous_table_are_refused(table, tmp_path, monkeypatch):
    with pytest.raises(RecordError, match=r"none\.csv: no such file; a table"):
        read_labels(tmp_path / "none.csv")
    monkeypatch.setattr(sheet, "MAX_TABLE_BYTES", 10)
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
    assert [row.line for row in found.rows] == [*range(2, 42), 46, 47]
    assert messages(found) == {
        42: ["video_name is empty; the name of a video file was expected"],
        43: ["Prompt is empty; the text the video was made from was expected"],
        44: [
            "Alignment_MOS is “abc”, not a number; leave it empty if there is no label",
            "Overall_MOS is 9, outside 1 to 5; correct it, or declare the label range",
        ],
        45: ["no label in Traditional_MOS, Alignment_MOS, Aesthetic_MOS, Temporal_MOS, Overall_MOS"],
        48: ["8 cells, but the header has 7; put a prompt with separators in quotes"],
        49: ["4 cells, but the header has 7; put a prompt with separators in quotes"],
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


def test_an_unknown_split_is_a_problem_of_its_row(table):
    found = read_labels(table("video,prompt,mos,split", "a,p,3,fold3"))
    assert messages(found) == {2: ["split is “fold3”; train or validation was expected"]}


# ---- commas before three digits --------------------------------------------------------------------------------------

UNCLEAR = [f'"1,{200 + index}"' for index in range(12)]


def test_commas_before_three_digits_are_asked_about(table):
    match = "“1,200” can be 1.2 or 1200; declare the label range, such as 1 to 5, or write the labels without commas"
    for labels in (UNCLEAR, [*UNCLEAR, 980, ""], [3, 4.5, '"1,200"']):
        path = table(*overall(*labels))
        with pytest.raises(RecordError, match=match):
            read_labels(path)
        labels, notes = row_labels(read_table(path, required=("video", "prompt")))
        assert (labels, len(notes)) == ({}, 1)
        assert match in notes[0]


def test_a_declared_range_says_what_the_commas_are(table):
    path = table(*overall(*UNCLEAR, 3))
    small = read_labels(path, label_range=(1, 5))
    assert [row.labels["Overall"] for row in small.rows] == [*(float(f"1.{200 + index}") for index in range(12)), 3.0]
    assert small.notes == ("“1,200” is read as 1.2: the label range 1 to 5 says so.",)
    large = read_labels(path, label_range=(1000, 1400))
    assert [row.labels["Overall"] for row in large.rows] == pytest.approx([3 + index / 100 for index in range(12)])
    assert list(messages(large)) == [14]
    with pytest.raises(RecordError, match=r"can be 1\.2 or 1200, and the label range 0 to 5000 does not say which"):
        read_labels(path, label_range=(0, 5000))


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (['"3,250"', '"3,5"'], [3.25, 3.5]),
        (['"3,250"', '"0,500"'], [3.25, 0.5]),
        (['"1,250"', '"1,234,567"', '"1,000.5"'], [1250, 1234567, 1000.5]),
    ],
)
def test_one_number_that_is_clear_says_what_the_commas_are(table, labels, values):
    low, high = min(values), max(values)
    rows = read_labels(table(*overall(*labels)), label_range=(low, high)).rows
    assert [low + (row.labels["Overall"] - 1) / 4 * (high - low) for row in rows] == pytest.approx(values)


# ---- label ranges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), DETECTED_RANGES)
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
    assert messages(found) == {5: ["overall is 4.5, outside 1 to 4; correct it, or declare the label range"]}
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
