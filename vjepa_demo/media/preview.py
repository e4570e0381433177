"""A small copy of a video for browsers, where they have no decoder for the video itself."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

from vjepa_demo.files import replacing
from vjepa_demo.media.sampling import TIME_TOLERANCE_SECONDS
from vjepa_demo.media.shown import Description, describe, ffmpeg, look, rendering
from vjepa_demo.media.video import MOVING_IMAGE_BRANDS, STILL_IMAGE_BRANDS, check_whole
from vjepa_demo.media.webp import is_webp, raw_input, webp_film

# What Chromium, Firefox and Safari decode: 8 bits a sample, in these containers as FFmpeg names them.
PLAYED = {"h264": "mp4", "vp8": "webm", "vp9": "webm", "av1": "mp4"}
PLAYED_PIXELS = ("yuv420p", "yuvj420p", "yuva420p")
MAX_SECONDS = 60
PATIENCE_SECONDS = 30.0  # that FFmpeg may take: a visitor waits
MAX_RATE = 50  # of an animated WebP, frames a second
LONGEST_EDGE = 640
# Square pixels, even sizes: what every browser's H.264 decoder takes.
SHRINK = (
    f"scale='trunc(iw*sar*min(1,{LONGEST_EDGE}/max(iw*sar,ih))/2)*2':"
    f"'trunc(ih*min(1,{LONGEST_EDGE}/max(iw*sar,ih))/2)*2',setsar=1,format=yuv420p"
)
LIMITS = ("-threads", "2", "-t", str(MAX_SECONDS))  # of what is read, and of what is written
PLAYABLE = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-c:a", "aac", "-movflags", "+faststart")


def _plays_in_browsers(path: Path, found: Description) -> bool:
    """Whether every browser plays a video: by what the file holds, not by its name."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:] in STILL_IMAGE_BRANDS | MOVING_IMAGE_BRANDS:  # an <img>, not a <video>
        return False
    return PLAYED.get(found.codec or "", "none") in found.container and found.pixel_format in PLAYED_PIXELS


def render_preview(path: str | Path, preview: Path) -> bool:
    """Write the first minute of a video to `preview`, an .mp4 that every browser plays; whole or not at all.

    Returns whether it was written: a video that browsers play needs no copy.

    Raises:
        VideoError: if the file is not a video that can be read, or the copy takes longer than `PATIENCE_SECONDS`.
    """
    path = Path(path).absolute()
    check_whole(path)
    if is_webp(path):  # FFmpeg reads no animated one
        film = webp_film(path)
        shrink = min(1.0, LONGEST_EDGE / max(film.height, film.width))
        width, height = (max(2, round(edge * shrink)) for edge in (film.width, film.height))
        rate = film.frames_per_second(MAX_RATE)
        count = max(1, round(min(film.end_seconds, MAX_SECONDS) * rate))
        shown = [bisect_right(film.seconds, index / rate + TIME_TOLERANCE_SECONDS) - 1 for index in range(count)]
        arguments = (*raw_input(width, height, rate), "-vf", SHRINK)
        frames = film.pixels(shown, (width, height))
    else:
        found, frames = describe(path), None
        if _plays_in_browsers(path, found):
            return False
        how = look(path, found)
        stream = how.streams[0] if how.streams else f"0:{found.stream_index}"
        arguments = (*rendering(path, stream, how, (*how.filters, SHRINK), *LIMITS), "-map", "0:a:0?")
    with replacing(preview) as partial:
        ffmpeg(
            *(*arguments, *LIMITS, *PLAYABLE, "-f", "mp4", str(partial)),
            name=path.name,
            max_seconds=PATIENCE_SECONDS,
            frames=frames,
        )
    return True
