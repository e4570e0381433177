"""Animated WebP, which FFmpeg does not decode: Pillow does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from vjepa_demo.media.shown import LOSSLESS, PAGE, Film, ffmpeg
from vjepa_demo.schema import VideoError

SHORTEST_MS, DEFAULT_MS = 11, 100  # browsers show a frame that asks for less than the one for the other


def is_webp(path: Path) -> bool:
    """Whether a file is a WebP, still or animated."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


class WebpFilm(Film):
    """The film of an animated WebP."""

    def write(self, indices: Sequence[int], copy: Path) -> None:
        from PIL import Image

        raw, wanted = copy.with_suffix(".rgb"), set(indices)
        page = Image.new("RGBA", (self.width, self.height), PAGE)
        try:
            with Image.open(self.path) as picture, raw.open("wb") as file:
                for index in range(indices[-1] + 1):
                    picture.seek(index)
                    if index in wanted:
                        file.write(Image.alpha_composite(page, picture.convert("RGBA")).convert("RGB").tobytes())
        except (OSError, EOFError, ValueError) as error:
            raise VideoError(f"{self.path.name} cannot be read as a video: {error}; export it again") from error
        size = f"{self.width}x{self.height}"
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", str(raw))
        ffmpeg(*source, *LOSSLESS, str(copy), name=self.path.name)


def webp_film(path: Path) -> WebpFilm:
    """The film of an animated WebP.

    Raises:
        VideoError: if it is a still image, or damaged.
    """
    with path.open("rb") as file:
        head = file.read(30)
    width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
    lengths = _frame_milliseconds(path)
    if len(lengths) < 2:
        raise VideoError(f"{path.name} is a still image (webp); a video was expected")
    *seconds, end = (each / 1000 for each in accumulate(lengths, initial=0))
    usual = Counter(lengths).most_common(1)[0][0]
    return WebpFilm(path, "", tuple(seconds), end, 1000 / usual, height, width)


def _frame_milliseconds(path: Path) -> list[int]:
    """How long each frame is shown: a chunk of its own says so (WebP Container Specification, "ANMF")."""
    lengths = []
    with path.open("rb") as file:
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            place = file.tell()
            if chunk[:4] == b"ANMF":
                milliseconds = int.from_bytes(file.read(15)[12:], "little")
                lengths.append(milliseconds if milliseconds >= SHORTEST_MS else DEFAULT_MS)
            file.seek(place + size + size % 2)
    return lengths
