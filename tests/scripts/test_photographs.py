"""Photographs from Debian packages: what their copyright files say, and which pictures may be used."""

from __future__ import annotations

import csv
import io
import struct
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from PIL import Image

from scripts.demo_model import photographs
from scripts.demo_model.photographs import (
    MAX_LINES,
    TABLE,
    Photograph,
    collect,
    credits,
    is_free,
    is_held_out,
    parse_copyright,
    read_resources,
    read_table,
    terms_of,
)

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pictures

Files: *
Copyright: 2013-2020 The Community
License: CC-BY-SA-3.0

Files: nature/Dune.jpg
       nature/Sea*.jpg
Copyright: 2007, Marco <marco@example.org>
           2008, Hylke
License: GPL-2+
Comment: found in AUTHORS

Files: nature/Lake.png 16.04/Wine_by_Jo.jpg
Copyright: (c) 2018 Jo
License: CC-BY-NC-4.0

Files: src/traffic/resource/*.svg drawn/*
Copyright: Ann
License: public-domain

License: GPL-2+
 This program is free software.
"""


@pytest.mark.parametrize(
    ("path", "author", "licence"),
    [
        ("usr/share/backgrounds/nature/Dune.jpg", "Marco; Hylke", "GPL-2+"),
        ("usr/share/backgrounds/nature/SeaShore.webp", "Marco; Hylke", "GPL-2+"),
        ("usr/share/backgrounds/Wine_by_Jo.jpg", "Jo", "CC-BY-NC-4.0"),
        ("usr/share/backgrounds/nature/Forest.jpg", "The Community", "CC-BY-SA-3.0"),
        ("app/src/erase/resource/cat.webp", "The Community", "CC-BY-SA-3.0"),
        ("app/src/traffic/resource/car.svg", "Ann", "public-domain"),
        ("usr/share/drawn/house.jpg", "Ann", "public-domain"),
    ],
)
def test_the_paragraph_that_names_most_of_a_path_gives_its_terms(path: str, author: str, licence: str) -> None:
    found = terms_of(path, parse_copyright(COPYRIGHT))
    assert found is not None
    assert (found.author, found.licence) == (author, licence)


def test_all_authors_are_named_and_none_are_made_up() -> None:
    holders = "\n".join(f"           {year}, {name} <x@y.z>" for year, name in enumerate("ABCDE", 2001))
    (terms,) = parse_copyright(f"Format: 1.0\n\nFiles: *\nCopyright:\n{holders}\nLicense: GPL-3")
    assert terms.author == "A; B; C; D; E"
    (unnamed,) = parse_copyright("Format: 1.0\n\nFiles: *\nCopyright: *No copyright*\nLicense: GPL-3")
    assert unnamed.author == ""


def test_nothing_is_known_from_a_copyright_file_in_another_format() -> None:
    assert parse_copyright("This package was debianized by Jo.\n\n - Road.jpg:\n   Licensed under CC-BY-SA.\n") == []
    assert terms_of("usr/share/Road.jpg", []) is None


def test_licences_that_permit_use_change_and_redistribution_are_free() -> None:
    free = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-3.0", "GPL-2+", "LGPL-2.1+", "public-domain", "GFDL-NIV-1.2+", "Expat")
    for licence in (*free, "GPL-2+ or LGPL-2+", "CC0-1.0 and CC-BY-3.0"):
        assert is_free(licence), licence
    kept_out = ("CC-BY-NC-4.0", "CC-BY-ND-3.0", "CC-BY-NC-SA-2.0", "GFDL-1.2", "unknown", "", "proprietary")
    for licence in (*kept_out, "GPL-2+ and CC-BY-NC-3.0", "CC-BY-SA-4.0 and other"):
        assert not is_free(licence), licence


def test_a_tenth_is_held_out_by_name() -> None:
    names = [f"package_picture-{index}.jpg" for index in range(2000)]
    assert 0.08 < sum(map(is_held_out, names)) / 2000 < 0.13


def test_files_of_a_qt_resource_file_are_read() -> None:
    def named(text: str) -> bytes:
        return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    names = named("photos") + named("a.webp")
    content = struct.pack(">I", 5) + b"bytes"
    nodes = struct.pack(">IHII", 0, 2, 1, 1), struct.pack(">IHII", 0, 2, 1, 2)
    leaf = struct.pack(">IHHHI", len(named("photos")), 0, 0, 0, 0)
    tree = b"".join(node + bytes(8) for node in (*nodes, leaf))
    header = b"qres" + struct.pack(">4I", 2, 20, 20 + len(tree), 20 + len(tree) + len(content))
    assert list(read_resources(header + tree + content + names)) == [("photos/a.webp", b"bytes")]


def test_collecting_keeps_free_photographs_that_are_large_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def jpeg(width: int, height: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (width, height), (10, 90, 200)).save(file, "JPEG")
        return file.getvalue()

    def unpack(address: str, folder: Path) -> None:
        assert address == "http://mirror/pool/main/p/pictures/pictures_1.2-3_all.deb"
        pictures, told = folder / "usr/share/backgrounds/nature", folder / "usr/share/doc/pictures"
        for place in (pictures, told):
            place.mkdir(parents=True)
        (told / "copyright").write_text(COPYRIGHT)
        for name, size in {"Dune": (3000, 2000), "SeaSmall": (400, 300), "Lake": (900, 600)}.items():
            (pictures / f"{name}.jpg").write_bytes(jpeg(*size))

    monkeypatch.setattr(photographs, "PACKAGES", {"p/pictures/pictures_1.2-3_all.deb": ("*/nature/*",)})
    monkeypatch.setattr(photographs, "_unpack", unpack)
    found = collect(tmp_path, "http://mirror")
    assert [(each.file, each.package, each.version, each.author, each.licence) for each in found] == [
        ("pictures_nature-Dune.jpg", "pictures", "1.2-3", "Marco; Hylke", "GPL-2+")
    ]
    assert read_table(tmp_path) == found
    with Image.open(tmp_path / found[0].file) as picture:
        assert picture.size == (2160, MAX_LINES)
    assert credits(tmp_path) == ["Marco; Hylke: 1, GPL-2+, Debian's pictures 1.2-3"]


def test_a_package_that_the_mirror_lacks_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"cannot get file:.*name one that keeps old packages"):
        collect(tmp_path / "photographs", f"file://{tmp_path}")


def test_a_table_keeps_what_was_written(tmp_path: Path) -> None:
    rows = [
        Photograph("a.jpg", "p", "1", 'Jo, "J"', "CC0-1.0", True),
        Photograph("b.jpg", "p", "1", "", "GPL-3", False),
    ]
    with (tmp_path / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Photograph)])
        writer.writeheader()
        writer.writerows(map(asdict, rows))
    assert read_table(tmp_path) == rows
    assert credits(tmp_path)[1] == "authors of the package: 1, GPL-3, Debian's p 1"
