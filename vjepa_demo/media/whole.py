"""Whether a file ends before it should, where its format says so without being decoded."""

from __future__ import annotations

import os
from pathlib import Path

MATROSKA, FLV = b"\x1a\x45\xdf\xa3", b"FLV"
PNG = b"\x89PNG\r\n\x1a\n"
GIF_TRAILER, GIF_EXTENSION, GIF_PICTURE = 0x3B, 0x21, 0x2C
Y4M = b"YUV4MPEG2"


def signature(path: Path) -> str:
    """ "matroska" (or WebM) and "flv", by how a file begins; of all others nothing."""
    with path.open("rb") as file:
        head = file.read(len(MATROSKA))
    return "matroska" if head == MATROSKA else "flv" if head.startswith(FLV) else ""


def is_cut_off(path: Path, head: bytes) -> bool:
    """Whether the end of an APNG, a GIF or a WebP is missing, or a part of the last frame of a Y4M.

    `head` is how the file begins. Of other formats, whose headers promise a length or nothing, this knows nothing.
    """
    if head.startswith(PNG):
        return _is_png_cut_off(path)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _is_gif_cut_off(path.read_bytes())
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return path.stat().st_size < 8 + int.from_bytes(head[4:8], "little")
    return False


def _is_png_cut_off(path: Path) -> bool:
    """Whether no chunk that ends a picture is met, from chunk to chunk."""
    with path.open("rb") as file:
        file.seek(len(PNG))
        while len(chunk := file.read(8)) == 8:
            if chunk[4:] == b"IEND":
                return False
            file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)  # its data, and their checksum
    return True


def _is_gif_cut_off(data: bytes) -> bool:
    """Whether the data end inside a picture. One without the byte that ends a GIF is whole for every player."""

    def after_colours(place: int, flags: int) -> int:
        return place + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)

    def after_blocks(place: int) -> int:
        while data[place]:
            place += data[place] + 1
        return place + 1

    try:
        place = after_colours(13, data[10])
        while place < len(data) and data[place] in (GIF_EXTENSION, GIF_PICTURE):
            if data[place] == GIF_EXTENSION:
                place = after_blocks(place + 2)
            else:
                place = after_blocks(after_colours(place + 10, data[place + 9]) + 1)
    except IndexError:
        return True
    return False
