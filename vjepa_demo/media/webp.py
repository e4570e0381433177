"""Animated WebP, which FFmpeg does not decode: Pillow does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from math import gcd
from pathlib import Path

from vjepa_demo.media.shown import LOSSLESS, PAGE, Film, check_size, ffmpeg
from vjepa_demo.schema import VideoError

SHORTEST_MS, DEFAULT_MS = 11, 100  # browsers show a frame that asks for less than the one for the other
MAX_CHUNKS = 100_000


def is_webp(path: Path) -> bool:
    """Whether a file is a WebP, still or animated."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


class WebpFilm(Film):
    """The film of an animated WebP."""

    def write(self, indices: Sequence[int], copy: Path) -> None:
        pipe = raw_input(self.width, self.height, 25)
        ffmpeg(*pipe, *LOSSLESS, str(copy), name=self.path.name, frames=self.pixels(indices))
        self.check_copy(copy)

    def frames_per_second(self, most: int) -> float:
        """The lowest constant rate at which each frame is shown for as long as here, or `most` if it is higher."""
        return min(1000 / gcd(*(round(1000 * second) for second in (*self.seconds, self.end_seconds))), most)

    def pixels(self, indices: Iterable[int], size: tuple[int, int] | None = None) -> Iterator[bytes]:
        """The frames at `indices`, which rise or stay, as bytes of RGB; resized to `size`, (width, height)."""
        from PIL import Image

        size = size or (self.width, self.height)
        page, last, data = Image.new("RGBA", size, PAGE), -1, b""
        try:
            with Image.open(self.path, formats=["WEBP"]) as picture:
                if picture.size != (self.width, self.height):
                    raise ValueError("its header and its frames differ in size")
                for index in indices:
                    if index != last:
                        picture.seek(index)
                        frame = picture.convert("RGBA")
                        if size != frame.size:
                            frame = frame.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
                        last, data = index, Image.alpha_composite(page, frame).convert("RGB").tobytes()
                    yield data
        except (OSError, EOFError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(f"{self.path.name} cannot be read as a video: {error}; export it again") from error


def raw_input(width: int, height: int, rate: float) -> tuple[str, ...]:
    """FFmpeg's arguments that read `WebpFilm.pixels` from a pipe."""
    return "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:g}", "-i", "pipe:0"


def webp_film(path: Path) -> WebpFilm:
    """The film of an animated WebP.

    Raises:
        VideoError: if it is a still image, too large or too narrow, or of more parts than any video.
    """
    with path.open("rb") as file:
        head = file.read(30)
    width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (24, 27))
    lengths = _frame_milliseconds(path)
    if len(lengths) < 2:
        raise VideoError(f"{path.name} is a still image (webp); a video was expected")
    check_size(path, height, width)
    *seconds, end = (each / 1000 for each in accumulate(lengths, initial=0))
    usual = Counter(lengths).most_common(1)[0][0]
    return WebpFilm(path, "", tuple(seconds), end, 1000 / usual, height, width)


def _frame_milliseconds(path: Path) -> list[int]:
    """How long each frame is shown: a chunk of its own says so (WebP Container Specification, "ANMF")."""
    lengths, num_chunks = [], 0
    with path.open("rb") as file:
        file.seek(12)
        while len(chunk := file.read(8)) == 8:
            num_chunks += 1
            if num_chunks > MAX_CHUNKS:
                raise VideoError(f"{path.name} has more than {MAX_CHUNKS} frames: make it shorter first")
            size = int.from_bytes(chunk[4:], "little")
            place = file.tell()
            if chunk[:4] == b"ANMF":
                milliseconds = int.from_bytes(file.read(15)[12:], "little")
                lengths.append(milliseconds if milliseconds >= SHORTEST_MS else DEFAULT_MS)
            file.seek(place + size + size % 2)
    return lengths
