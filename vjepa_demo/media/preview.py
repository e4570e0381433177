"""A small copy of a video for browsers, where they have no decoder for the video itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

from vjepa_demo.files import replacing
from vjepa_demo.media.shown import Look, ffmpeg, look, probe, source
from vjepa_demo.media.video import check_file, open_video
from vjepa_demo.media.webp import is_webp, webp_film

# What Chromium, Firefox and Safari decode: 8 bits a sample, in these containers as FFmpeg names them.
PLAYED = {"h264": "mp4", "vp8": "webm", "vp9": "webm", "av1": "mp4"}
PLAYED_PIXELS = ("yuv420p", "yuvj420p", "yuva420p")
MAX_SECONDS = 60
MAX_FRAMES = 1500  # of an animated WebP
LONGEST_EDGE = 640
# Square pixels, even sizes: what every browser's H.264 decoder takes.
SHRINK = (
    f"scale='trunc(iw*sar*min(1,{LONGEST_EDGE}/max(iw*sar,ih))/2)*2':"
    f"'trunc(ih*min(1,{LONGEST_EDGE}/max(iw*sar,ih))/2)*2',setsar=1,format=yuv420p"
)
PLAYABLE = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-c:a", "aac", "-movflags", "+faststart")


def _plays_in_browsers(path: Path) -> bool:
    """Whether every browser plays a video: by what the file holds, not by its name."""
    if is_webp(path):  # FFmpeg reads no animated one
        return False
    found = probe(path, "v:0", "stream=codec_name,pix_fmt:format=format_name")
    (stream, *_) = found["streams"] or [{}]
    container = PLAYED.get(stream.get("codec_name"), "none")
    return container in found["format"]["format_name"].split(",") and stream.get("pix_fmt") in PLAYED_PIXELS


def write_preview(path: str | Path, preview: Path) -> bool:
    """Write the first minute of a video to `preview`, an .mp4 that every browser plays; whole or not at all.

    Returns whether it was written: of what browsers play themselves nothing is.

    Raises:
        VideoError: if the file is not a video that can be read.
    """
    path = Path(path).absolute()
    check_file(path)
    if _plays_in_browsers(path):
        return False
    with tempfile.TemporaryDirectory() as folder, replacing(preview) as partial:
        how, stream, read = Look(), "0:v:0", source(path)
        if is_webp(path):
            film, frames = webp_film(path), Path(folder) / "frames.mkv"
            film.write(range(min(len(film.seconds), MAX_FRAMES)), frames)
            read = ("-r", f"{film.rate:g}", *source(frames))
        else:
            metadata = open_video(path).metadata
            how = look(path, metadata)
            stream = how.streams[0] if how.streams else f"0:{metadata.stream_index}"
            if how.decoder:
                read = ("-c:v", how.decoder, *read)
        alpha = f"[{how.streams[1]}]alphamerge," if how.streams else ""
        filters = ",".join((*how.filters, SHRINK))
        ffmpeg(
            *(*read, "-filter_complex", f"[{stream}]{alpha}{filters}[shown]", "-map", "[shown]", "-map", "0:a:0?"),
            *("-t", str(MAX_SECONDS), *PLAYABLE, "-f", "mp4", str(partial)),
            name=path.name,
        )
    return True
