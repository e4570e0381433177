from __future__ import annotations

import csv
import io
import json
import sys
import zipfile

import pytest

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data import sheet as sheet_module
from vjepa_demo.data.sheet import read_sheet
from vjepa_demo.data.table import read_labels
from vjepa_demo.schema import RecordError

HEADER = ["video_name", "Prompt", "Overall_MOS"]
ROWS = [["a.mp4", "a cat, asleep", 3.5], ["0012", "猫 “é”\nsits", None], ["c.mp4", "=1+1", 4]]
CELLS = [("a.mp4", "a cat, asleep", "3.5"), ("0012", "猫 “é”\nsits", ""), ("c.mp4", "=1+1", "4")]
OBJECTS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]


def read(path) -> list[tuple[str, ...]]:
    """The cells of a table below its header."""
    (_, header), *rows = read_sheet(path).rows
    assert list(header) == HEADER
    return [cells for _, cells in rows]


# ---- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["sep=;", "SEP=;\r", '"sep=;"', "\ufeffsep=;", "sep=;;;"])
def test_excels_line_of_the_separator_is_no_row(table, first):
    path = table(first, ";".join(HEADER), "a, b|c.mp4;p;3,5", ";;", "b;p;x")
    assert read(path) == [("a, b|c.mp4", "p", "3,5"), ("b", "p", "x")]
    assert [line for line, _ in read_sheet(path).rows] == [2, 3, 5]


@pytest.mark.parametrize("separator", [*",;|\t"])
def test_blanks_around_quotes_belong_to_no_cell(table, separator):
    line = separator.join(["a.mp4", ' "a cat; asleep, | \tor not"', "  3"])
    assert read(table(separator.join(HEADER), line, "", f"{line} ")) == 2 * [
        ("a.mp4", "a cat; asleep, | \tor not", "3")
    ]
    line = separator.join(['"a.mp4" ', ' "a cat; asleep, | \tor not"  ', "  3"])
    assert read(table(separator.join(HEADER), line)) == [("a.mp4", "a cat; asleep, | \tor not", "3")]


@pytest.mark.parametrize("above", [["My results"], ["# made by a script", "", "# on Monday, at noon"]])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_title_above_the_names_of_the_columns_is_left_out_with_a_note(table, above, separator):
    rows = [["a.mp4", "a cat", "3"], ["b.mp4", "My results", "4"]]
    sheet = read_sheet(table(*above, *map(separator.join, [HEADER, *rows])))
    line = len(above) + 1
    assert [(line, tuple(HEADER)), (line + 1, tuple(rows[0])), (line + 2, tuple(rows[1]))] == [*sheet.rows]
    assert sheet.notes == (f"The names of the columns are on line {line}; what stands above is left out.",)


def test_json_is_known_by_its_content(table):
    assert read(table(*map(json.dumps, OBJECTS), name="labels.csv")) == CELLS
    assert read(table(json.dumps(OBJECTS, indent=1), name="labels.txt")) == CELLS


def test_a_cell_that_is_too_long_is_said_to_be(table):
    with pytest.raises(RecordError, match="line 2 has a cell of more than 131,071 characters: shorten it"):
        read_sheet(table(",".join(HEADER), f'a.mp4,"{"x" * 200_000}",3'))


def test_tabs_and_quotes_that_no_dialect_reads_end_in_a_message(table):
    with pytest.raises(RecordError, match=r"labels\.csv: the row that begins on line \d"):
        read_sheet(table("\t".join(HEADER), 'a.mp4\t"a" b\t3', f"b.mp4\t{'x' * 200_000}\t3"))


@pytest.mark.parametrize("first", ['sep="', "sep="])
def test_a_separator_that_can_be_none_is_not_taken(table, first):
    assert read(table(first, ",".join(HEADER), "a.mp4,p,3")) == [("a.mp4", "p", "3")]


def test_jsonl_of_one_line_is_one_row(table):
    path = table(json.dumps(OBJECTS[0] | {"tags": [{"a": 1}, {"a": 2}]}), name="labels.jsonl")
    assert [cells[:3] for _, cells in read_sheet(path).rows[1:]] == CELLS[:1]


def test_a_video_is_no_table(table):
    with pytest.raises(RecordError, match=r"clip\.csv holds binary data; a table was expected"):
        read_sheet(table(name="clip.csv", data=b"\0\0\0\x20ftypisom\xae\xff"))


def test_a_quote_in_a_cell_that_is_not_quoted_stays(table):
    assert read(table(",".join(HEADER), 'a, "No" he says,3', 'b,5" high,3'))[0][1] == '"No" he says'


def test_quotes_between_bars_and_tabs_may_mean_nothing(table):
    for separator in "|\t":
        lines = [HEADER, ["a", '"No" he says', "3"], ["b", '"', "4"]]
        assert read(table(*map(separator.join, lines))) == [("a", '"No" he says', "3"), ("b", '"', "4")]


def test_backslashes_before_quotes_are_read_as_r_writes_them(table):
    lines = ['"video_name" "Prompt" "Overall_MOS"', '"a.mp4" "a \\"cat\\" sits" 3.5']
    assert read(table(*lines)) == [("a.mp4", 'a "cat" sits', "3.5")]


def test_words_in_the_names_of_columns_do_not_make_blanks_separators(table):
    (row,) = read_labels(table("Video Name,Prompt text,Overall MOS,Text Prompt", "a.mp4,x,3,a cat")).rows
    assert (row.name, row.prompt, row.labels) == ("a.mp4", "a cat", {"Overall": 3.0})


def test_a_table_that_may_not_be_read_is_refused(table, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    path = table(",".join(HEADER), "a,b,3")
    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(RecordError, match=r"labels.csv cannot be read \(Permission denied\)"):
        read_sheet(path)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def by_index(objects: list[dict]) -> dict:
    return {name: {str(index): each[name] for index, each in enumerate(objects)} for name in objects[0]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(OBJECTS)),
        ("a.json", json.dumps({"info": "x", "data": OBJECTS}, indent=2)),
        ("a.json", json.dumps({name: [each[name] for each in OBJECTS] for name in HEADER})),
        ("a.json", json.dumps(by_index(OBJECTS))),  # DataFrame.to_json()
        ("a.json", json.dumps({"columns": HEADER, "index": [0, 1, 2], "data": ROWS})),
        ("a.json", json.dumps({row[0]: dict(zip(HEADER[1:], row[1:], strict=True)) for row in ROWS})),
        ("a.JSONL", "\n".join(map(json.dumps, OBJECTS))),
        ("a.jsonl", json.dumps(OBJECTS)),
        ("a.json", "\ufeff" + "\r\n\r\n".join(map(json.dumps, OBJECTS)) + "\n"),
    ],
)
def test_json_holds_the_same_rows(table, name, text):
    assert read(table(name=name, data=text.encode())) == CELLS


def test_each_line_of_jsonl_is_the_line_of_its_row(table):
    path = table("", '{"video": "a", "prompt": "p", "mos": 3}', "", '{"mos": "x", "video": "b"}', name="a.jsonl")
    found = read_labels(path)
    assert [row.line for row in found.rows] == [2]
    assert [(each.line, each.message.split(";")[0]) for each in found.problems] == [
        (4, "mos is “x”, not a number"),
        (4, "prompt is empty"),
    ]


def test_json_values_are_text_that_can_be_written(table):
    text = r'[{"video_name": "a\ud83d\u0000", "Prompt": "\ud83d\ude00", "Overall_MOS": NaN, "tags": ["é", 1]}]'
    (_, header), (_, cells) = read_sheet(table(text, name="a.json")).rows
    assert dict(zip(header, cells, strict=True)) == {
        "video_name": "a\ufffd\ufffd",
        "Prompt": "😀",
        "Overall_MOS": "",
        "tags": '["é", 1]',
    }


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.json", "[{", "a.json is no JSON .*write the file anew"),
        ("a.jsonl", '{"a": 1}\n{"a": ', "a.jsonl, line 2 is no JSON .*one object a line was expected"),
        ("a.jsonl", '{"a": 1}\n[2]', "line 2 is no JSON object"),
        ("a.json", '["a", "b"]', "JSON of another form; a list of objects, one a row, was expected"),
        ("a.json", '{"a": [1], "b": 2}', "JSON of another form"),
        ("a.json", '{"columns": ["a"], "data": [[1, 2]]}', "JSON of another form"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "[]", "holds no rows"),
        ("a.json", "{}", "holds no rows|another form"),
        ("a.json", "[{}, {}]", "holds no rows"),
        ("a.json", f'[{{"a": {"9" * 5000}}}]', "is no JSON"),
    ],
)
def test_json_of_another_kind_is_refused_with_the_reason(table, name, text, match):
    with pytest.raises(RecordError, match=match):
        read_sheet(table(text, name=name))


# ---- workbooks and Parquet -------------------------------------------------------------------------------------------


@pytest.fixture
def workbook(tmp_path):
    """Writes an XLSX of sheets: {title: rows}."""
    openpyxl = pytest.importorskip("openpyxl")

    def write(sheets: dict[str, list[list]], hidden: tuple[str, ...] = ()):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            page = book.create_sheet(title)
            page.sheet_state = "hidden" if title in hidden else "visible"
            for row in rows:
                page.append(row)
        book.save(tmp_path / "labels.xlsx")
        return tmp_path / "labels.xlsx"

    return write


@pytest.fixture
def parquet(tmp_path):
    """Writes a Parquet file of columns."""
    pyarrow = pytest.importorskip("pyarrow")

    def write(columns: dict[str, list], **settings):
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet", **settings)
        return tmp_path / "labels.parquet"

    return write


def texts(rows: list[list]) -> list[list]:
    """`rows` as openpyxl stores them: what begins with = would be a formula."""
    return [[f"'{cell}" if isinstance(cell, str) and cell.startswith("=") else cell for cell in row] for row in rows]


def test_a_workbook_holds_the_same_rows(workbook):
    path = workbook({"Sheet": [HEADER, *texts(ROWS)]})
    assert read(path) == CELLS
    assert read_sheet(path).notes == ()
    assert read(path.rename(path.with_name("labels.csv"))) == CELLS  # a wrong name changes nothing


def test_lines_of_a_workbook_are_its_rows_and_empty_ends_are_no_problem(workbook):
    found = read_labels(workbook({"Sheet": [[], HEADER, [], ["a", "p", 3], ["b", "p", None], ["c", "q", 2.0, None]]}))
    assert [(row.line, row.labels) for row in found.rows] == [(4, {"Overall": 3.0}), (6, {"Overall": 2.0})]
    assert [str(each) for each in found.problems] == ["line 5: no label in Overall_MOS"]


def test_of_several_sheets_the_visible_one_that_names_columns_is_read(workbook):
    sheets = {"old": [HEADER, ["x", "p", 1]], "About": [["Made in May"]], "MOS": [HEADER, *texts(ROWS)], "Empty": []}
    path = workbook(sheets, hidden=("old",))
    assert read(path) == CELLS
    assert read_sheet(path).notes == ("Of 2 sheets only “MOS” is read.",)


def test_parquet_holds_the_same_rows(parquet):
    path = parquet({name: [row[index] for row in ROWS] for index, name in enumerate(HEADER)})
    assert read(path) == [*CELLS[:2], ("c.mp4", "=1+1", "4.0")]


def test_columns_of_parquet_that_hold_no_text_are_left_out_and_named(parquet):
    path = parquet({"video_name": ["a"], "Prompt": ["p"], "Overall_MOS": [3], "bytes": [b"x"], "frames": [[1, 2]]})
    assert read(path) == [("a", "p", "3")]
    assert read_labels(path).notes == ("Columns that hold no text are left out: bytes, frames.",)


def test_a_column_of_videos_as_the_hub_keeps_them_names_their_files(table, parquet):
    videos = [{"bytes": b"content", "path": "clips/a.mp4"}, {"bytes": b"content", "path": "b.mp4"}]
    path = parquet({"video": videos, "Prompt": ["p", "q"], "Overall_MOS": [3, 4]})
    expected = [("clips/a.mp4", "p", "3"), ("b.mp4", "q", "4")]
    assert [cells for _, cells in read_sheet(path).rows[1:]] == expected
    objects = [
        {"video": {"path": name}, "Prompt": prompt, "Overall_MOS": int(label)} for name, prompt, label in expected
    ]
    assert [cells for _, cells in read_sheet(table(json.dumps(objects), name="l.json")).rows[1:]] == expected


@pytest.mark.parametrize("values", [[b"a.mp4"], [["a.mp4"]]])
def test_a_column_that_is_needed_and_holds_no_text_is_named(parquet, values):
    with pytest.raises(
        RecordError, match=r"the column “video_name” holds (binary|list).*; text or numbers were expected"
    ):
        read_sheet(parquet({"video_name": values, "Prompt": ["p"], "Overall_MOS": [3]}))


def test_many_rows_of_parquet_keep_their_order(parquet):
    path = parquet(
        {"video_name": [f"{index}.mp4" for index in range(5000)], "Prompt": ["p"] * 5000, "Overall_MOS": [3] * 5000},
        row_group_size=700,
    )
    assert [name for name, _, _ in read(path)] == [f"{index}.mp4" for index in range(5000)]


def test_all_formats_give_the_same_labels(table, workbook, parquet):
    rows = [[f"{index}.mp4", f"p{index}", *([1 + index % 5] * 5)] for index in range(9)]
    header = ["video_name", "Prompt", *(f"{name}_MOS" for name in DIMENSIONS)]
    objects = [dict(zip(header, row, strict=True)) for row in rows]
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    written = [
        table(data=text.getvalue().encode()),
        table(json.dumps(objects), name="labels.json"),
        table(*map(json.dumps, objects), name="labels.jsonl"),
        workbook({"Sheet": [header, *rows]}),
        parquet({name: [each[name] for each in objects] for name in header}),
    ]
    first, *others = ([(row.name, row.prompt, row.labels) for row in read_labels(path).rows] for path in written)
    assert len(first) == 9
    assert all(other == first for other in others)


@pytest.mark.parametrize(("name", "package"), [("labels.xlsx", "openpyxl"), ("labels.parquet", "pyarrow")])
def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch, name, package):
    path = tmp_path / name
    if package == "openpyxl":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("xl/workbook.xml", "<workbook/>")
    else:
        path.write_bytes(b"PAR1 and more")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecordError, match=f"{name} needs a library that is not installed: pip install {package}; or"):
        read_sheet(path)


def test_what_is_damaged_or_no_table_is_refused(tmp_path, workbook, parquet):
    path = tmp_path / "labels.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    with pytest.raises(RecordError, match=r"old or encrypted workbook; save it as \.xlsx"):
        read_sheet(path)
    whole = parquet({"a": [1] * 1000}).read_bytes()
    for data in (whole[: len(whole) // 2], whole[:50] + b"????????" + whole[58:-40] + bytes(32) + whole[-8:]):
        (tmp_path / "broken.parquet").write_bytes(data)
        with pytest.raises(RecordError, match=r"broken\.parquet is damaged"):
            read_sheet(tmp_path / "broken.parquet")
    with zipfile.ZipFile(tmp_path / "broken.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook")
    with pytest.raises(RecordError, match=r"broken\.xlsx is damaged"):
        read_sheet(tmp_path / "broken.xlsx")


# ---- limits: what comes out of a file counts -------------------------------------------------------------------------

LARGE = "holds more than .* split it"


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(sheet_module, "MAX_TABLE_CELLS", 5000)
    monkeypatch.setattr(sheet_module, "MAX_TABLE_BYTES", 100_000)


@pytest.mark.usefixtures("small_limits")
def test_a_text_may_not_hold_more_cells_than_the_limit(table):
    with pytest.raises(RecordError, match=LARGE):
        read_sheet(table(",".join(HEADER), *["a,p,3"] * 1700))


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "text",
    [
        json.dumps([{str(index): 1} for index in range(100)]),  # each object has a column of its own
        json.dumps({str(index): {str(index): 1} for index in range(100)}),
    ],
)
def test_json_may_not_hold_more_cells_than_the_limit(table, text):
    with pytest.raises(RecordError, match=r"holds more than|another form"):
        read_sheet(table(text, name="labels.json"))


@pytest.mark.usefixtures("small_limits")
def test_parquet_that_expands_is_refused(parquet):
    with pytest.raises(RecordError, match=LARGE):
        read_sheet(parquet({"video": ["a"] * 6000}))
    text = "x" * 50_000
    with pytest.raises(RecordError, match=LARGE):  # a value that is stored once
        read_sheet(parquet({"video": [text] * 100}))


@pytest.mark.usefixtures("small_limits")
def test_a_workbook_that_expands_is_refused(workbook, tmp_path):
    with pytest.raises(RecordError, match=r"labels\.xlsx unpacks to more than 0 MiB"):
        read_sheet(workbook({"Sheet": [["x" * 100, index] for index in range(2500)]}))
    path = workbook({"Sheet": [HEADER, *[["a", "p", 3]] * 10]})
    for old, new in ((b'r="C3"', b'r="ZZ3"'), (b'<row r="11"', b'<row r="1000000000"')):  # few bytes, far away
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "far.xlsx", "w") as far:
            for name in archive.namelist():
                far.writestr(name, archive.read(name).replace(old, new))
        if new.startswith(b"<row"):
            with pytest.raises(RecordError, match=LARGE):
                read_sheet(tmp_path / "far.xlsx")
        else:
            assert [len(cells) for _, cells in read_sheet(tmp_path / "far.xlsx").rows[:4]] == [3, 3, 702, 3]
