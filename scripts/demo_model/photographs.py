"""Collect the photographs that Debian packages ship, for scenes in which a camera moves over a photograph.

    python -m scripts.demo_model.photographs                 # into runs/photographs, with photographs.csv

Only pictures whose licence permits use, change and redistribution are kept. The licence is the one that the package's
debian/copyright states for the file. A fixed tenth of the photographs is held out: training never shows them.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import hashlib
import io
import logging
import re
import struct
import subprocess
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from email.parser import HeaderParser
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vjepa_demo.config import PROJECT_ROOT

logger = logging.getLogger(__name__)

MIRROR = "http://deb.debian.org/debian"
FOLDER = PROJECT_ROOT / "runs" / "photographs"
TABLE = "photographs.csv"
MIN_LINES, MAX_LINES = 480, 1440  # of a photograph's short edge; a larger one is shrunk
JPEG_QUALITY = 95
# Files in the mirror's pool/main, and patterns of the photographs in them. Everything else in them is drawn.
PACKAGES: dict[str, tuple[str, ...]] = {
    "m/mate-backgrounds/mate-backgrounds_1.26.0-1_all.deb": ("*/nature/*",),
    "l/lomiri-wallpapers/lomiri-wallpapers-16.04_20.04.0-2_all.deb": ("*_by_*",),
    "l/lomiri-wallpapers/lomiri-wallpapers-20.04_20.04.0-2_all.deb": ("*/Kleiber_by_*",),
    "l/lxqt-themes/lxqt-themes_1.2.0-1_all.deb": (
        *("*/Butterfly-*", "*/Valendas.*", "*/after-the-rain.*", "*/appleflower.*", "*/beam.*", "*/butterfly.*"),
        *("*/cloud.*", "*/drop.*", "*/flowers.*", "*/fog.*", "*/this-is-not-windows.*"),
    ),
    "u/ukui-wallpapers/ukui-wallpapers_20.04.4-1_all.deb": (
        *("*/bluebird.*", "*/bridgecity*", "*/flamingos.*", "*/horse.*", "*/house.*", "*/look.*", "*/mountain*"),
        *("*/planet-ascending.*", "*/sea.*", "*/sky.*", "*/snowy-mountains.*", "*/still-life.*", "*/sunf.*"),
    ),
    "b/budgie-backgrounds/budgie-backgrounds_3.0-1_all.deb": ("*/budgie/*",),
    "p/plasma-workspace-wallpapers/plasma-workspace-wallpapers_5.27.5-2_all.deb": (
        *("*/BytheWater/*/2560x*", "*/ColdRipple/*/2560x*", "*/ColorfulCups/*/2560x*", "*/DarkestHour/*/2560x*"),
        *("*/EveningGlow/*/2560x*", "*/FallenLeaf/*/2560x*", "*/Grey/*/2560x*", "*/Kite/*/2560x*"),
        *("*/OneStandsOut/*/2560x*", "*/Path/*/2560x*", "*/summer_1am/*/2560x*"),
    ),
    "p/puzzle-jigsaw/puzzle-jigsaw_1.0.2+git20201007.527c529+dfsg-4+b1_amd64.deb": ("*/samples/*",),
    "g/gcompris-qt/gcompris-qt-data_3.1-2_all.deb": (
        *("*/erase/resource/*", "*/details/resource/*", "*/explore_farm_animals/resource/*"),
        *("*/explore_monuments/resource/*", "*/explore_world_animals/resource/*", "*/explore_world_music/resource/*"),
    ),
}
# Drawn or painted, though they match.
SKIPPED = ("analogpattern_by_*", "umang_by_*", "valley-midnight*", "waves-midnight*", "*Gogh*")
# The starts of the names of licences that permit use, change and redistribution, in lower case.
_FREE = ("cc0", "public-domain", "cc-by-sa-", "cc-by-1", "cc-by-2", "cc-by-3", "cc-by-4", "gpl", "lgpl", "agpl")
_FREE += ("gfdl-niv", "bsd", "expat", "mit", "apache", "artistic", "fal")


@dataclass(frozen=True)
class Photograph:
    """A row of `photographs.csv`. `file` lies in the table's folder."""

    file: str
    package: str
    version: str
    author: str
    licence: str
    held_out: bool


@dataclass(frozen=True)
class Terms:
    """A paragraph of debian/copyright: the files that it is about, who made them, and under which licence."""

    files: tuple[str, ...]
    author: str
    licence: str


def parse_copyright(text: str) -> list[Terms]:
    """The paragraphs about files of a debian/copyright in the machine-readable format (DEP-5).

    A file in another format has none: so nothing is known about the pictures of its package.
    """
    paragraphs = [HeaderParser().parsestr(part.strip("\n")) for part in re.split(r"\n[ \t]*\n", text)]
    if not any(str(paragraph.get("Format", "")).strip() for paragraph in paragraphs[:1]):
        return []
    found = []
    for paragraph in paragraphs:
        if paragraph["Files"] and paragraph["License"]:
            holders = [_holder(line) for line in str(paragraph["Copyright"] or "").splitlines()]
            named = list(dict.fromkeys(holder for holder in holders if holder))
            author = "; ".join(named)
            licence = str(paragraph["License"]).strip().splitlines()[0]
            found.append(Terms(tuple(str(paragraph["Files"]).split()), author, licence))
    return found


def _holder(line: str) -> str:
    """Who holds a copyright: a line of the field without years, addresses and signs."""
    line = re.sub(r"<[^>]*>|\*no copyright\*|\(c\)|©|copyright|´", " ", line, flags=re.IGNORECASE)
    return re.sub(r"\s+", " ", re.sub(r"\b\d{4}\b\s*[-–,.]?", " ", line)).strip(" ,;.-–")


def terms_of(path: str, terms: Sequence[Terms]) -> Terms | None:
    """The terms of the file that a package installs at `path`, or None if there are none.

    Patterns name files of the source package, which may lie elsewhere and in another format once installed. So the
    pattern counts that agrees with most of the end of `path`, extensions aside. Of equal ones the last one counts.
    """
    best, most = None, -1
    for each in terms:
        for pattern in each.files:
            agreed = _agreement(path, pattern)
            if agreed is not None and agreed >= most:
                best, most = each, agreed
    return best


def _agreement(path: str, pattern: str) -> int | None:
    """How many parts of `path` and `pattern` agree, from the end; None if `pattern` is not about `path`."""
    if pattern == "*":
        return 0
    parts, wanted = (PurePosixPath(name).parts for name in (path, pattern.removeprefix("./")))
    if not PurePosixPath(wanted[-1]).stem.strip("*?"):  # all files of a folder, or all of a format
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        return len(wanted) - 1 if any(fnmatch.fnmatchcase(end, "/".join(wanted)) for end in ends) else None
    agreed = 0
    for part, want in zip(reversed(parts), reversed(wanted), strict=False):
        if not agreed:
            part, want = PurePosixPath(part).stem, PurePosixPath(want).stem
        if not fnmatch.fnmatchcase(part, want):
            break
        agreed += 1
    return agreed or None


def is_free(licence: str) -> bool:
    """Whether a licence, or each of several, permits use, change and redistribution; False for an unknown one."""
    names = [name.strip() for name in re.split(r"\s+(?:and|or)\s+|,", licence.lower()) if name.strip()]
    forbidden = re.compile(r"\bn[cd]\b|non-?commercial|no-?deriv")
    return bool(names) and all(name.startswith(_FREE) and not forbidden.search(name) for name in names)


def is_held_out(file: str) -> bool:
    """Whether the photograph of this name is one of the tenth that training never shows."""
    return hashlib.sha256(file.encode()).digest()[0] % 10 == 0


def read_table(folder: Path) -> list[Photograph]:
    """The photographs of a folder that `collect` made, in the table's order."""
    with (folder / TABLE).open(encoding="utf-8", newline="") as file:
        return [Photograph(**{**row, "held_out": row["held_out"] == "True"}) for row in csv.DictReader(file)]


@lru_cache
def _sizes(folder: Path) -> list[tuple[Photograph, int, int]]:
    """Each photograph of `folder` with its height and width; none where there is no table."""
    found = []
    for each in read_table(folder) if (folder / TABLE).exists() else ():
        with Image.open(folder / each.file) as picture:
            found.append((each, picture.height, picture.width))
    return found


def large_enough(folder: Path, size: tuple[int, int], *, held_out: bool = False) -> list[Path]:
    """The photographs of `folder` that hold a frame of `size`, height and width: the held-out ones, or the others."""
    return [
        folder / each.file
        for each, height, width in _sizes(folder)
        if each.held_out == held_out and height >= size[0] and width >= size[1]
    ]


@lru_cache(maxsize=16)
def photograph(path: Path) -> Tensor:
    """The pixels (3, H, W) uint8 of a photograph."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1)


def credits(folder: Path) -> list[str]:
    """Lines for a model card: who made the photographs of `folder`, under which licence, and where they are from."""
    counts: dict[tuple[str, str, str], int] = {}
    for each in read_table(folder):
        key = (each.author or "authors of the package", each.licence, f"{each.package} {each.version}")
        counts[key] = counts.get(key, 0) + 1
    return [f"{author}: {count}, {licence}, Debian's {where}" for (author, licence, where), count in counts.items()]


def collect(folder: Path, mirror: str = MIRROR) -> list[Photograph]:
    """Download `PACKAGES` from `mirror` and write their photographs and the table into `folder`.

    Raises:
        RuntimeError: if a package cannot be downloaded or opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Photograph] = {}
    for place, patterns in PACKAGES.items():
        package, version = PurePosixPath(place).name.split("_")[:2]
        before = len(found)
        with tempfile.TemporaryDirectory() as inside:
            _unpack(f"{mirror}/pool/main/{place}", Path(inside))
            text = (Path(inside) / "usr/share/doc" / package / "copyright").read_text(encoding="utf-8")
            terms = parse_copyright(text)
            for path, data in _pictures(Path(inside), patterns):
                known = terms_of(path, terms)
                if known is None or not is_free(known.licence):
                    logger.info("skip %s of %s: licence %s", path, package, known.licence if known else "unknown")
                    continue
                file = f"{package}_{_name_of(path)}.jpg"
                if _save(data, folder / file):
                    found[file] = Photograph(file, package, version, known.author, known.licence, is_held_out(file))
        logger.info("%s: %d photographs", package, len(found) - before)
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file_of_table:
        writer = csv.DictWriter(file_of_table, [field.name for field in fields(Photograph)])
        writer.writeheader()
        writer.writerows(asdict(found[name]) for name in sorted(found))
    return [found[name] for name in sorted(found)]


def _unpack(address: str, folder: Path) -> None:
    """Download a Debian package and unpack its files into `folder`."""
    package = folder / "package.deb"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - the address starts with the mirror's
            package.write_bytes(answer.read())
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f"cannot get {address}: {error}. If the mirror no longer has it, name one that keeps old packages:"
            " --mirror https://snapshot.debian.org/archive/debian/20251001T000000Z"
        ) from error
    package.unlink()


def _pictures(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The path and content of each file under `folder`, or in a Qt resource file there, that `patterns` name."""

    def is_wanted(path: str) -> bool:
        name = PurePosixPath(path).name
        skipped = any(fnmatch.fnmatchcase(name, pattern) for pattern in SKIPPED)
        return not skipped and any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)

    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        path = file.relative_to(folder).as_posix()
        if file.suffix == ".rcc":
            yield from ((inner, data) for inner, data in read_resources(file.read_bytes()) if is_wanted(inner))
        elif is_wanted(path):
            yield path, file.read_bytes()


def read_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The path and content of each file in a Qt resource file (.rcc; qtbase, src/corelib/io/qresource.cpp).

    Files that Qt compressed with zstd are left out: pictures are stored as they are.
    """
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    size = 22 if version >= 2 else 14  # bytes of a node

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        name_at, flags, first, second = struct.unpack_from(">IHII", data, tree + index * size)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        begin = names + name_at + 6
        path = f"{folder}/{data[begin : begin + 2 * length].decode('utf-16-be')}" if index else ""
        if flags & 2:  # a folder: how many nodes it has, and the first one
            for child in range(second, second + first):
                yield from walk(child, path)
        elif not flags & 4:  # a file: its country and language, and where its content is
            (length,) = struct.unpack_from(">I", data, contents + second)
            content = data[contents + second + 4 : contents + second + 4 + length]
            yield path.lstrip("/"), zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def _name_of(path: str) -> str:
    """The name of a picture in `collect`'s folder: the end of its path, without what all paths have in common."""
    parts = PurePosixPath(path).with_suffix("").parts
    told = [
        part for part in parts[-5:] if part not in ("usr", "share", "backgrounds", "contents", "images", "resource")
    ]
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(told[-3:])).strip("-")


def _save(data: bytes, file: Path) -> bool:
    """Write a picture as a JPEG of at most `MAX_LINES` lines; False if it is no picture or has too few lines."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except OSError:
        return False
    if (lines := min(picture.size)) < MIN_LINES:
        return False
    if lines > MAX_LINES:
        width, height = (round(side * MAX_LINES / lines) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    picture.save(file, quality=JPEG_QUALITY, subsampling=0)
    return True


def main() -> None:
    """Collect the photographs of the packages."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser("python -m scripts.demo_model.photographs", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write the photographs and their table")
    parser.add_argument("--mirror", default=MIRROR, help="a Debian mirror")
    options = parser.parse_args()
    photographs = collect(options.folder, options.mirror)
    logger.info("%d photographs, %d held out", len(photographs), sum(each.held_out for each in photographs))


if __name__ == "__main__":
    main()
