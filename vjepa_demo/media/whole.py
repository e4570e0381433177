"""Whether a file ends before it should, where its format says so without being decoded."""

from __future__ import annotations

import os
from pathlib import Path

MATROSKA, FLV = b"\x1a\x45\xdf\xa3", b"FLV"
PNG = b"\x89PNG\r\n\x1a\n"
GIF_TRAILER, GIF_EXTENSION, GIF_PICTURE = 0x3B, 0x21, 0x2C
MAX_STEPS = 100_000  # over parts of a file: one of more is not known to be cut off
USUAL_BLOCK_BYTES = 128  # at least, of those that a GIF cuts its pictures into


def signature(path: Path) -> str:
    """ "matroska" (or WebM) and "flv", by how a file begins; of all others nothing."""
    with path.open("rb") as file:
        head = file.read(len(MATROSKA))
    return "matroska" if head == MATROSKA else "flv" if head.startswith(FLV) else ""


def is_cut_off(path: Path, head: bytes) -> bool:
    """Whether the end of an APNG, a GIF or a WebP is missing.

    `head` is how the file begins. Of other formats, whose headers promise a length or nothing, this knows nothing.
    """
    if head.startswith(PNG):
        return _is_png_cut_off(path)
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return _is_gif_cut_off(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return path.stat().st_size < 8 + int.from_bytes(head[4:8], "little")
    return False


def _is_png_cut_off(path: Path) -> bool:
    """Whether no chunk that ends a picture is met, from chunk to chunk."""
    with path.open("rb") as file:
        file.seek(len(PNG))
        for _ in range(MAX_STEPS):
            chunk = file.read(8)
            if len(chunk) < 8:
                return True
            if chunk[4:] == b"IEND":
                return False
            file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)  # its data, and their checksum
    return False


def _is_gif_cut_off(path: Path) -> bool:
    """Whether a GIF ends inside a picture. One without the byte that ends a GIF is whole for every player."""
    num_steps, max_steps = 0, MAX_STEPS + path.stat().st_size // USUAL_BLOCK_BYTES
    with path.open("rb") as file:

        def colours_bytes(flags: int) -> int:
            return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

        def byte() -> int:
            nonlocal num_steps
            num_steps += 1
            if num_steps > max_steps:
                raise TimeoutError
            return file.read(1)[0]

        def skip_blocks() -> None:
            while size := byte():
                file.seek(size, os.SEEK_CUR)

        try:
            file.seek(10)
            file.seek(2 + colours_bytes(byte()), os.SEEK_CUR)
            while (mark := file.read(1)) and mark[0] in (GIF_EXTENSION, GIF_PICTURE):
                if mark[0] == GIF_EXTENSION:
                    file.seek(1, os.SEEK_CUR)
                else:
                    file.seek(8, os.SEEK_CUR)
                    file.seek(colours_bytes(byte()) + 1, os.SEEK_CUR)
                skip_blocks()
        except IndexError:
            return True
        except TimeoutError:
            return False
    return False
