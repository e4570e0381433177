"""Whether what is scored is what FFmpeg shows, in every kind of file that the installed FFmpeg can write.

    python -m benchmarks.formats [VIDEO]

Writes VIDEO (default: an example clip) in about 40 combinations of container, codec and pixel format, scores each with
`demo` beside the lossless copy that `ffmpeg -i FILE -c:v ffv1 -fps_mode passthrough copy.mkv` makes of it, and prints
the largest difference of a score as a table in Markdown. Exits with the number of files that were refused, or whose
scores are more than 0.1 from those of their copy. What this FFmpeg has no encoder for is named and left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE
from vjepa_demo.schema import DemoError
from vjepa_demo.tasks.score import Scorer, get_scorer

PROMPT = "a red ball on grass"
MOST = 0.1  # of a score
SECONDS = "3"


class Format(NamedTuple):
    """A kind of file: its ending, its encoder, its pixel format, and other options of FFmpeg's."""

    ending: str
    codec: str
    pixels: str
    options: str = ""
    decoder: str = ""  # for the copy, where FFmpeg's own decoder leaves something out

    def __str__(self) -> str:
        return f"{self.ending} | {self.codec} | {self.pixels}{f' ({self.options})' if self.options else ''}"


FORMATS = (
    Format("mp4", "libx264", "yuv420p"),
    Format("mp4", "libx264", "yuv444p"),
    Format("mp4", "libx264", "yuv420p", "-movflags frag_keyframe+empty_moov"),
    Format("mp4", "libx265", "yuv420p", "-x265-params log-level=0"),
    Format("mp4", "mpeg4", "yuv420p"),
    Format("mp4", "libaom-av1", "yuv420p", "-cpu-used 8"),
    Format("m4v", "libx264", "yuv420p"),
    Format("mov", "libx264", "yuvj420p"),
    Format("mov", "libx265", "yuv420p10le", "-x265-params log-level=0 -tag:v hvc1"),
    Format("mov", "prores_ks", "yuv422p10le"),
    Format("mov", "prores_ks", "yuva444p10le", "-profile:v 4444"),
    Format("mov", "qtrle", "argb"),
    Format("mov", "mjpeg", "yuvj422p"),
    Format("mov", "rawvideo", "uyvy422"),
    Format("mkv", "libx264", "yuv420p10le"),
    Format("mkv", "ffv1", "yuv422p"),
    Format("mkv", "ffv1", "bgra"),
    Format("mkv", "ffv1", "gray"),
    Format("mkv", "libsvtav1", "yuv420p10le"),
    Format(
        "mkv", "libx265", "yuv420p10le", "-x265-params log-level=0:colorprim=bt2020:colormatrix=bt2020nc:transfer=16"
    ),
    Format("mkv", "libx264", "yuv420p", "-vf setsar=4/3"),
    Format("webm", "libvpx", "yuv420p"),
    Format("webm", "libvpx-vp9", "yuv420p", "-cpu-used 8"),
    Format("webm", "libvpx-vp9", "yuv444p", "-cpu-used 8"),
    Format("webm", "libvpx-vp9", "yuva420p", "-cpu-used 8", "libvpx-vp9"),
    Format("webm", "libvpx", "yuva420p", "-auto-alt-ref 0", "libvpx"),
    Format("webm", "libaom-av1", "yuv420p10le", "-cpu-used 8"),
    Format("avi", "mpeg4", "yuv420p"),
    Format("avi", "mjpeg", "yuvj420p"),
    Format("avi", "rawvideo", "bgr24"),
    Format("avi", "huffyuv", "yuv422p"),
    Format("avi", "ffvhuff", "yuv420p"),
    Format("ts", "libx264", "yuv420p"),
    Format("ts", "mpeg2video", "yuv420p"),
    Format("m2ts", "libx264", "yuv420p"),
    Format("mpg", "mpeg2video", "yuv420p"),
    Format("mpg", "mpeg1video", "yuv420p"),
    Format("vob", "mpeg2video", "yuv420p", "-aspect 16:9"),
    Format("flv", "flv", "yuv420p"),
    Format("flv", "libx264", "yuv420p"),
    Format("wmv", "wmv2", "yuv420p"),
    Format("asf", "msmpeg4", "yuv420p"),
    Format("ogv", "libtheora", "yuv420p"),
    Format("3gp", "h263", "yuv420p", "-s 352x288"),
    Format("mxf", "mpeg2video", "yuv422p"),
    Format("nut", "ffv1", "yuv420p"),
    Format("y4m", "wrapped_avframe", "yuv420p"),
    Format("gif", "gif", "bgr8"),
    Format("apng", "apng", "rgba"),
    Format("apng", "apng", "rgb24"),
    Format("avif", "libaom-av1", "yuv420p", "-cpu-used 8"),
    Format("h264", "libx264", "yuv420p"),
)


def ffmpeg(*arguments: object) -> None:
    """Raises SystemExit with FFmpeg's own words if it fails."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")


def largest_difference(scorer: Scorer, file: Path, copy: Path) -> float:
    """The largest difference of a score between a file and its copy."""
    scores, expected = (scorer.score(path, PROMPT, with_frames=False).scores for path in (file, copy))
    return max(abs(scores[name] - expected[name]) for name in scores)


def measured(scorer: Scorer, video: Path, each: Format, folder: Path) -> tuple[str, bool]:
    """What a row of the table says of a format, and whether that is a failure."""
    file, copy = folder / f"clip.{each.ending}", folder / "copy.mkv"
    ffmpeg("-i", video, "-t", SECONDS, "-an", "-c:v", each.codec, "-pix_fmt", each.pixels, *each.options.split(), file)
    decoder = ["-c:v", each.decoder] if each.decoder else []
    ffmpeg(*decoder, "-i", file, "-an", "-c:v", "ffv1", "-fps_mode", "passthrough", copy)
    try:
        difference = largest_difference(scorer, file, copy)
    except DemoError as error:
        return f"refused: {error}", True
    return f"{difference:.4f}", difference > MOST


def encoders() -> set[str]:
    """The names of the encoders of this FFmpeg."""
    listed = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout
    return {words[1] for words in map(str.split, listed.splitlines()) if len(words) > 1}


def main() -> None:
    video = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "examples" / "clean.mp4"
    os.environ[CACHE_GB_VARIABLE] = "0"  # features are remembered by content: an older version's would be shown
    scorer, known, failures = get_scorer("demo", "cpu"), encoders(), 0
    written = [each for each in FORMATS if each.codec in known]
    print("| container | codec | pixels | largest difference |\n| --- | --- | --- | --- |")
    for each in written:
        with tempfile.TemporaryDirectory() as name:
            said, is_failure = measured(scorer, video, each, Path(name))
        failures += is_failure
        print(f"| {each} | {'**' * is_failure}{said}{'**' * is_failure} |", flush=True)
    left_out = sorted({each.codec for each in FORMATS} - known)
    print(f"\n{len(written)} formats, {failures} failures; no encoder: {', '.join(left_out) or 'none missing'}")
    raise SystemExit(failures)


if __name__ == "__main__":
    main()
