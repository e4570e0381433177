"""Tables that a stranger could upload: each is read, row by row, or ends in one clear error."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pandas as pd
import pytest
from fuzz.cases import Case, answers, summary
from fuzz.mutate import mutants
from tables import HEADER

from vjepa_demo.data.pairs import read_pairs
from vjepa_demo.data.table import read_labels, read_table, row_labels, row_problems

SEED, MUTANTS = 22, 40  # of each kind
WITHIN, BEYOND = 131_000, 131_073  # characters of a cell: fewer and more than Python's csv reads
ROWS = [[f"clip{n}.mp4", f"a red ball, number {n}", *(str(1 + (n + k) % 5) for k in range(5))] for n in range(30)]


def whole_tables() -> dict[str, bytes]:
    """The same labels in every format that is read."""
    frame = pd.DataFrame(ROWS, columns=HEADER.split(","))
    book, sheet, parquet = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    for row in (HEADER.split(","), *ROWS):
        book.active.append(row)
    book.save(sheet)
    frame.to_parquet(parquet)
    return {
        "csv": frame.to_csv(index=False).encode(),
        "tsv": frame.to_csv(index=False, sep="\t").encode("utf-16"),
        "json": frame.to_json(orient="records").encode(),
        "jsonl": frame.to_json(orient="records", lines=True).encode(),
        "xlsx": sheet.getvalue(),
        "parquet": parquet.getvalue(),
    }


def inside(workbook: bytes) -> Iterator[tuple[str, bytes]]:
    """Damage of the files in a workbook, each packed as if it were whole."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name in files:
        for what, mutant in mutants(files[name], SEED, 7 if "sheet1" in name else 2):
            yield f"{name} {what}", packed({**files, name: mutant})
    sheet = files["xl/worksheets/sheet1.xml"]
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 20) for n in range(1, 10))
    bomb = (
        b'<!DOCTYPE x [<!ENTITY l0 "ha">'
        + laughs
        + b"]>"
        + sheet.split(b"?>", 1)[-1].replace(b"<v>0</v>", b"<v>&l9;</v>")
    )
    for what, changed in {
        "a million laughs": bomb,
        "a row far below": sheet.replace(b'<row r="2"', b'<row r="1000000000"'),
        "a column far right": sheet.replace(b'r="A1"', b'r="XFD1"'),
        "a column beyond the last": sheet.replace(b'r="A1"', b'r="ZZZZZZ1"'),
        "no such text": sheet.replace(b"<v>3</v>", b"<v>999999999</v>"),
        "deep": sheet.replace(b"<sheetData>", b"<sheetData>" + b"<a>" * 100_000),
    }.items():
        yield what, packed({**files, "xl/worksheets/sheet1.xml": changed})


def packed(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def texts() -> Iterator[tuple[str, str]]:
    """What a program or a person could write, and an attacker would."""
    good = "a.mp4,b,3\nc.mp4,d,4\n"
    for size in (WITHIN, BEYOND):
        cell = "x" * size
        yield f"csv header cell of {size}", f"{cell},prompt,overall\n{good}"
        yield f"csv quoted header cell of {size}", f'"{cell}",prompt,overall\n{good}'
        yield f"csv header cell of {size} below a title", f"labels\n{cell},prompt,overall\n{good}"
        yield f"csv cell of {size}", f"video,prompt,overall\n{cell},b,3\n{good}"
        yield f"csv only a cell of {size}", cell
        yield f"json key of {size}", json.dumps([{"video": "a.mp4", cell: 3}])
        yield f"jsonl value of {size}", json.dumps({"video": "a.mp4", "prompt": cell, "overall": 3})
    yield "csv of 20,000 columns", ",".join(f"c{n}" for n in range(20_000)) + "\n" + ",".join("1" * 20_000)
    yield "csv of 20,000 equal columns", ",".join(["overall"] * 20_000) + "\n" + ",".join("1" * 20_000)
    yield "csv with an open quote", 'video,prompt,overall\n"a.mp4,b,3\n' + good * 5000
    yield "csv of quotes", '"' * 100_001
    yield "csv of separators", ",;\t|" * 50_000
    yield "csv of blanks", " " * 200_000 + "\n" + '"a" ' * 40_000
    yield "csv of carriage returns", "video,prompt,overall\r" * 1000 + "\r\r\r"
    yield "csv with sep", 'sep="\n' + good
    yield "csv of numbers", "video,prompt,overall\na.mp4,b,1e999\nb.mp4,b,nan\nc.mp4,b,-inf\nd.mp4,b," + "9" * 5000
    yield "csv of one cell a row", "video\n" * 20_000
    yield "csv of strange letters", "video,prompt,overall\n\ud7ff\u202e\u2028a.mp4,\x0b\x0c\x1c\x85b,٣\n"
    yield "json nested", "[" * 100_000
    yield "json nested whole", '{"a":' * 50_000 + "1" + "}" * 50_000
    yield "json of a large number", '[{"video": "a.mp4", "prompt": "b", "overall": ' + "9" * 5000 + "}]"
    yield "json of infinities", '[{"video": "a.mp4", "prompt": "b", "overall": 1e999}, {"overall": -Infinity}]'
    yield "json of lone surrogates", '[{"video": "\\ud800.mp4", "prompt": "\\udfff", "overall": 3}]'
    yield "json of many lists", "[" + "[]," * 10**5 + "[]]"
    yield "json of many keys", json.dumps([{f"k{n}": 1} for n in range(5000)])
    yield "json with columns", '{"columns": ["video", ["x"]], "data": [[1, 2], [{}, null]]}'
    yield "json of nothing", "null"
    yield "jsonl nested", '{"a": 1}\n' + '{"a":' * 100_000
    yield "pairs csv", "video_a,video_b,prompt,overall\na.mp4,b.mp4,x,\ud7ff\n,,,\na.mp4,a.mp4,x,a\n"


def read(path: Path) -> str:
    """All that the program makes of a table that fine-tuning or batch scoring is given."""
    table = read_table(path, required=("video",))
    problems, (labels, notes) = row_problems(table), row_labels(table)
    pairs = read_pairs(path)
    found = pairs or read_labels(path)
    sizes = len(table.rows), len(problems), len(labels), len(notes), len(found.rows), len(found.problems)
    assert all(len(note) < 10_000 for note in (*table.notes, *notes, *found.notes))
    return str(sizes)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_a_damaged_or_hostile_table_is_read_or_ends_in_one_clear_error(tmp_path, monkeypatch, capsys):
    tables = whole_tables()

    def damaged() -> Iterator[tuple[str, str, bytes]]:
        for kind, data in tables.items():
            for what, mutant in mutants(data, SEED, MUTANTS):
                yield what, kind, mutant
        for what, mutant in inside(tables["xlsx"]):
            yield what, "xlsx", mutant
        for what, text in texts():
            yield what, what.split()[0].replace("pairs", "csv"), text.encode("utf-8", "surrogatepass")

    def cases() -> Iterator[Case]:
        for number, (what, kind, data) in enumerate(damaged()):
            path = tmp_path / f"table.{kind}"
            path.write_bytes(data)
            yield f"{number} {kind} {what}", lambda path=path: read(path)

    for kind, data in tables.items():
        (tmp_path / f"whole.{kind}").write_bytes(data)
    assert len({read(tmp_path / f"whole.{kind}") for kind in tables}) == 1, "each format says the same"
    found = answers(cases(), tmp_path, monkeypatch)
    with capsys.disabled():
        print(f"\n{summary('tables', found)}")
