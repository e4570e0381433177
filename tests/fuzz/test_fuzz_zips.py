"""Zips that a stranger could upload: their files come out, into their folder alone, or one clear error."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fuzz.cases import RESULT, Case, answers, summary
from fuzz.mutate import mutants

from vjepa_demo.data.match import extract_videos

SEED, MUTANTS = 23, 63
DATA = Random(SEED).randbytes(3000)
FILES = {"a.mp4": DATA, "clips/b.mp4": DATA[::-1], "clips/c.webm": DATA[:100], "labels.csv": b"video,prompt\n"}
NAMES = (
    *("", ".", "..", "/", "\\", "//", "./.", "a/..", " ", "\0", "a\0b.mp4", "-rf.mp4", "con.mp4", "a.mp4/", "a.mp4."),
    *("/etc/passwd.mp4", "../x.mp4", "a/../../x.mp4", "..\\x.mp4", "C:\\x.mp4", "C:x.mp4", "\\\\host\\x.mp4"),
    *(
        "\ud7ff\u202e4pm.mp4",
        "x" * 300 + ".mp4",
        "a/" * 2000 + "x.mp4",
        "\n.mp4",
        "<img onerror=x>.mp4",
        "a.mp4\\b.mp4",
    ),
)


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.compress_type = name, compression  # the constructor would mend it
            archive.writestr(entry, content)
    return data.getvalue()


def hostile() -> Iterator[tuple[str, bytes]]:
    for name in NAMES:
        yield f"the name {name[:20]!r}", packed({**FILES, name: b"x"})
    yield "an empty name alone", packed({"": b"x"})
    yield "a folder and a file of one name", packed({**FILES, "a.mp4/b.mp4": b"x"})
    yield "a bomb", packed({**FILES, "bomb.mp4": bytes(60 * 2**20)})
    yield "many files", packed({f"{n}.mp4": b"" for n in range(50_001)}, zipfile.ZIP_STORED)
    yield "a zip in a zip", packed({"in.zip": packed(FILES)})
    yield "nothing", packed({})
    for what, mode in {"link": stat.S_IFLNK, "device": stat.S_IFCHR, "pipe": stat.S_IFIFO}.items():
        data = io.BytesIO(packed(FILES))
        with zipfile.ZipFile(data, "a") as archive:
            entry = zipfile.ZipInfo("link.mp4")
            entry.external_attr = (mode | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
        yield f"a {what}", data.getvalue()
    whole = packed(FILES)
    directory, end = whole.index(b"PK\1\2"), whole.rindex(b"PK\5\6")
    for what, place, value in (
        ("size of an entry", directory + 24, struct.pack("<I", 10)),
        ("size of an entry, larger", directory + 24, struct.pack("<I", 2**32 - 1)),
        ("packed size of an entry", directory + 20, struct.pack("<I", 2**31)),
        ("offset of an entry", directory + 42, struct.pack("<I", 2**32 - 2)),
        ("length of a name", directory + 28, struct.pack("<H", 65535)),
        ("length of an extra field", directory + 30, struct.pack("<H", 65535)),
        ("version", directory + 6, struct.pack("<H", 255)),
        ("method", directory + 10, struct.pack("<H", 14)),
        ("password", directory + 8, struct.pack("<H", 1)),
        ("number of entries", end + 10, struct.pack("<H", 65535)),
        ("size of the directory", end + 12, struct.pack("<I", 2**32 - 2)),
        ("place of the directory", end + 16, struct.pack("<I", 2**32 - 2)),
        ("comment", end + 20, struct.pack("<H", 65535)),
        ("place of the directory, in a loop", end + 16, struct.pack("<I", 0)),
    ):
        yield f"another {what}", whole[:place] + value + whole[place + len(value) :]
    overlapping = whole[:directory] + whole[directory:end] * 1 + whole[end:]
    first = struct.pack("<I", 0)
    second = whole.index(b"PK\1\2", directory + 4)
    yield "two entries in one place", overlapping[: second + 42] + first + overlapping[second + 46 :]


def extracted(path: Path, folder: Path) -> str:
    """What comes out of a zip of videos that batch scoring or fine-tuning is given."""
    before = {each for each in folder.parent.rglob("*") if folder not in each.parents}
    try:
        found = extract_videos(path, folder, wanted=None)
        inside = sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
        assert sorted(each.relative_to(folder).as_posix() for each in found.files) == inside
        assert not any(each.is_symlink() for each in folder.rglob("*"))
        return str([(name, (folder / name).stat().st_size) for name in inside])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        assert {each for each in folder.parent.rglob("*") if folder not in each.parents} - {folder} == before - {folder}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_a_damaged_or_hostile_zip_is_extracted_or_ends_in_one_clear_error(tmp_path, monkeypatch, capsys):
    def cases() -> Iterator[Case]:
        path, folder = tmp_path / "videos.zip", tmp_path / "extracted"
        kinds = (mutants(packed(FILES), SEED, MUTANTS), mutants(packed(FILES, zipfile.ZIP_STORED), SEED, 14), hostile())
        for number, (what, data) in enumerate(each for kind in kinds for each in kind):
            path.write_bytes(data)
            yield f"{number} {what}", lambda: extracted(path, folder)

    found = answers(cases(), tmp_path, monkeypatch)
    for answer in found.values():  # what comes out is as it went in, or has a harmless name
        assert "passwd" not in answer or not answer.startswith(RESULT)
    with capsys.disabled():
        print(f"\n{summary('zips', found)}")
