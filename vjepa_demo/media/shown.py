"""What a player shows of a file, where it is not what the decoder gives: found here, and rendered by FFmpeg's programs.

torchcodec decodes the pixels that are stored. A player also turns and mirrors them, blends transparent ones with the
page, maps HDR to the screen, and shows nothing of what an edit list hides. `look` says which of these a file needs,
without starting a program for a plain one. A `Film` is a file as it is shown: when it shows each frame, and on demand
some of these frames as a lossless copy, that is decoded like any other video.
"""

from __future__ import annotations

import json
import os
import platform
import re
import struct
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from vjepa_demo.config import limits
from vjepa_demo.media.whole import MATROSKA, MAX_INDEX_BYTES, MP4_BOXES
from vjepa_demo.schema import VideoError

if TYPE_CHECKING:
    from torchcodec._core import VideoStreamMetadata

FFMPEG_INSTALL = {
    "Linux": "sudo apt-get install ffmpeg",
    "Darwin": "brew install ffmpeg",
    "Windows": "conda install -c conda-forge ffmpeg",
}
MAX_PIXELS = 8192 * 4320  # of a frame: FFmpeg holds a few of them at once
MAX_ASPECT_RATIO = 20.0  # beyond it, a frame resized to the model's height would not fit into memory
MAX_COPY_BYTES = 8 * 2**30  # of the lossless copy of the frames that a model looks at
MAX_RENDER_SECONDS = 1800.0  # that one pass of FFmpeg over a file may take
MATROSKA_CLUSTER = b"\x1f\x43\xb6\x75"
MATROSKA_ALPHA = b"\x53\xc0\x81\x01"  # AlphaMode 1
MATROSKA_DISPLAY_WIDTH = b"\x54\xb0"
MATROSKA_HEAD_BYTES = 2**16  # before the first cluster of frames the tracks are described
ALPHA_TRACK = b"auxv"  # of an AVIF
MAX_BOXES = 1000  # of an MP4 file, before its index
SIZE_UNITS = {"h264": 7, "hevc": 33}  # types of the NAL units that tell the size of frames: parameter sets of sequences
SKEW = 0.01  # a display matrix that turns by whole right angles has zeros in its corners
TONE_CURVES = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
# Of pixels with alpha; that of pal8 is in the palette. A GIF is always bgra.
ALPHA_FORMATS = re.compile("yuva|gbrap|rgba|bgra|argb|abgr|ya8|ya16|yaf|pal8|ayuv|vuya")
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders leave the alpha of these codecs out
PAGE = "white"  # what transparent pixels show: the page behind them, as in a browser
ON_PAGE = "format=gbrap,split[film][page];[page]lutrgb=r=255:g=255:b=255:a=255[white];[white][film]overlay=format=gbrp"
# Hable's curve on 100 nits: what FFmpeg's manual and most players use to show HDR on an ordinary screen.
TO_SDR = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv420p"
)
NO_TONE_MAPPING = (
    "The video is HDR ({}) and was scored as if it were SDR: this FFmpeg cannot map it (no zscale filter). "
    "Aesthetic may be off by a point."
)
NO_ALPHA = "Transparent parts were scored with the pixels below them: this FFmpeg has no libvpx decoder."
SHOWN_FRAME = re.compile(
    r"^\[Parsed_showinfo.*? n: *\d+ pts: *(\S+) .*? fmt:(\S+) .*?sar:(\d+)/(\d+) s:(\d+)x(\d+) ", re.MULTILINE
)
SHOWN_CLOCK = re.compile(r"config in time_base: (\d+/\d+), frame_rate: (\d+)/(\d+)", re.MULTILINE)
FAULT = re.compile(r"^(?:\[[^]]* @ \w+\] )?\[(error|fatal)\] (.+)", re.MULTILINE)
NO_MEMORY = re.compile(
    "cannot allocate memory|can't allocate memory|failed to allocate packet|bad_alloc", re.IGNORECASE
)
SAID_LENGTH = re.compile(r"Duration: (\d+):(\d+):([\d.]+), start: (-?[\d.]+)")
SAID_FORMAT = re.compile(r"Input #0, (\S+), from ")
LISTS_OF_FILES = {"hls", "applehttp", "concat", "dash", "imf", "sdp", "vobsub"}  # names of FFmpeg's
LOSSLESS = ("-c:v", "ffv1", "-fs", str(MAX_COPY_BYTES))
# What FFmpeg's program counted in the end, of a stream; and a frame that it gives although it is not what it was.
COUNTED = re.compile(r"Input stream #0:\d+ \(video\): (\d+) packets read \(\d+ bytes\); (\d+) frames decoded")
SAID_ERROR = re.compile(r"\[error\]|corrupt (?:decoded frame|input packet) in stream")
MAX_CHECK_SECONDS = 60.0  # of a video that is decoded once more to count its damaged frames
UNSTEADY_RATE = 210.0  # above it, FFmpeg takes its guess of a constant frame rate for a clock


@dataclass(frozen=True)
class Look:
    """How a stream is shown. `is_odd`: its frames cannot be taken as they are decoded. `pixel_aspect` is the width of a
    pixel by its height, in a frame that is shown upright. `filters` map decoded frames to shown ones, beside what
    FFmpeg does by itself; `decoder` is the one to use, if not FFmpeg's own choice; `streams` are FFmpeg's names
    of the stream to show and the one that holds its alpha, where these are two; `notes` say what cannot be done."""

    is_odd: bool = False
    pixel_aspect: Fraction = Fraction(1)
    filters: tuple[str, ...] = ()
    decoder: str | None = None
    streams: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Description:
    """What ffprobe says of a video stream: as much of torchcodec's metadata as `look` asks for."""

    stream_index: int
    codec: str | None
    pixel_format: str | None
    pixel_aspect_ratio: Fraction
    rotation: float | None
    color_primaries: str | None
    color_space: str | None
    color_transfer_characteristic: str | None
    container: tuple[str, ...]  # the names that FFmpeg has for it


@dataclass(frozen=True)
class Film:
    """A file as it is shown: frame i from `seconds[i]` on, the last one until `end_seconds`.

    `rate` is the constant frame rate at which FFmpeg would write it. A frame is `height` x `width` pixels, of which
    each is `pixel_aspect` times as wide as high. `stream` is FFmpeg's name of the stream. The header promises
    `promised_seconds`, where it speaks of this stream for certain. Of `num_damaged` frames FFmpeg says that something
    is wrong with them. `is_one_shape`: neither the size of the frames nor
    the format of their pixels changes.
    """

    path: Path
    stream: str
    seconds: tuple[float, ...]
    end_seconds: float
    rate: float
    height: int
    width: int
    pixel_aspect: Fraction = Fraction(1)
    is_one_shape: bool = True
    look: Look = Look()
    promised_seconds: float | None = None
    num_damaged: int = 0

    def write(self, indices: Sequence[int], copy: Path) -> None:
        """Write the frames at `indices`, in rising order, to `copy`, a .mkv, without loss.

        Raises:
            VideoError: if FFmpeg cannot write them, or they take too much space.
        """
        # Frames are chosen by number, and before they are filtered. Where the size or the format changes, all
        # become as the first; FFmpeg must not begin a new chain of filters then, which would count from 0 again.
        options = () if self.is_one_shape else ("-reinit_filter", "0")
        if self.num_damaged:  # else the frames are not the same each time
            options = (*options, "-threads", "1")
        one_size = [] if self.is_one_shape else [f"scale={self.width}:{self.height}"]
        square = [] if self.pixel_aspect == 1 else ["scale=iw*sar:ih", "setsar=1"]
        filters = [*one_size, f"select='{_chosen(indices)}'", *self.look.filters, *square, "setpts=N/(25*TB)"]
        ffmpeg(
            *rendering(self.path, self.stream, self.look, filters, *options),
            *("-r", "25", "-frames:v", str(len(indices)), *LOSSLESS, str(copy)),
            name=self.path.name,
        )
        self.check_copy(copy)

    def check_copy(self, copy: Path) -> None:
        """Refuse a copy that FFmpeg had to end early."""
        if copy.stat().st_size >= MAX_COPY_BYTES:
            raise VideoError(
                f"the frames of {self.path.name} take more than {MAX_COPY_BYTES // 2**30} GiB: scale it down first"
            )


@dataclass(frozen=True)
class Damage:
    """Of the `num_frames` that a file, or its first minute, holds from its first key frame on, FFmpeg reads `num_read`
    without an error. What comes before, in a recording that begins between two key frames, nobody can show."""

    num_frames: int
    num_read: int


def describe(path: Path) -> Description:
    """The video stream that a player shows, by the file's header alone: the first, but a cover picture only if there
    is no other.

    Raises:
        VideoError: if there is none, or FFmpeg's programs are not installed.
    """
    found = probe(path, "v", "stream")
    streams = sorted(found["streams"], key=lambda stream: stream.get("disposition", {}).get("attached_pic", 0))
    if not streams:
        raise VideoError(f"{path.name} has no video stream (is it audio only?); a video was expected")
    stream = streams[0]
    turns = [side_data["rotation"] for side_data in stream.get("side_data_list", ()) if "rotation" in side_data]
    return Description(
        stream_index=stream["index"],
        codec=stream.get("codec_name"),
        pixel_format=stream.get("pix_fmt"),
        pixel_aspect_ratio=_ratio(stream.get("sample_aspect_ratio", "")),
        rotation=float(turns[0]) if turns else None,
        color_primaries=stream.get("color_primaries"),
        color_space=stream.get("color_space"),
        color_transfer_characteristic=stream.get("color_transfer"),
        container=tuple(found["format"]["format_name"].split(",")),
    )


def look(path: Path, metadata: VideoStreamMetadata | Description) -> Look:
    """How the stream that `metadata` describes is shown.

    Raises:
        VideoError: if that takes FFmpeg's programs, and they are not installed.
    """
    aspect, rotation = metadata.pixel_aspect_ratio or Fraction(1), metadata.rotation
    has_alpha_track, may_be_anamorphic = _marks(path)
    found = Look()
    if rotation is not None or may_be_anamorphic or aspect not in (0, 1):
        stream = probe(path, str(metadata.stream_index), "stream")["streams"][0]
        aspect = _ratio(stream.get("sample_aspect_ratio", ""))
        is_turned = rotation is not None and round(rotation / 90) % 2 == 1
        found = Look(aspect != 1 or _is_mirrored(stream), pixel_aspect=1 / aspect if is_turned else aspect)
    if metadata.codec in SIZE_UNITS and _may_change_size(path, metadata.stream_index, SIZE_UNITS[metadata.codec]):
        found = replace(found, is_odd=True)
    if metadata.color_transfer_characteristic in TONE_CURVES:
        found = _tone_mapped(found, metadata)
    decoder = ALPHA_DECODERS.get(metadata.codec or "") if has_alpha_track else None
    if decoder and decoder not in ability_names("-decoders"):
        return replace(found, notes=(*found.notes, NO_ALPHA))
    streams = _alpha_streams(path) if has_alpha_track and not decoder else None
    if decoder or streams or ALPHA_FORMATS.match(metadata.pixel_format or ""):
        filters = (*found.filters, ON_PAGE)
        found = replace(found, is_odd=True, decoder=decoder, streams=streams, filters=filters)
    return found


def _may_change_size(path: Path, stream_index: int, units: int) -> bool:
    """Whether the NAL units of this type, in a stream that carries them among its frames, are not all the same.

    torchcodec would stretch frames of another size in its own way. An MP4 file keeps such units in its index.
    """
    with path.open("rb") as file:
        if file.read(8)[4:] in MP4_BOXES:
            return False
    command = ("ffmpeg", "-nostdin", "-v", "level+error", *source(path), "-map", f"0:{stream_index}", "-c", "copy")
    only = (f"filter_units=pass_types={units}", "-f", "framehash", "-hash", "md5", "-")
    try:
        listed, _ = _run(*command, "-bsf:v", *only, name=path.name)
    except VideoError:  # without FFmpeg's program, or of a damaged file, nobody knows
        return False
    lines = (line.split(",") for line in listed.splitlines() if not line.startswith("#"))
    return len({cells[5].strip() for cells in lines if len(cells) > 5}) > 1


def _alpha_streams(path: Path) -> tuple[str, str] | None:
    """The first coloured and the first grey video stream: an AVIF keeps its alpha in one of its own."""
    streams = {
        stream.get("pix_fmt", "").startswith("gray"): f"0:{stream['index']}"
        for stream in reversed(probe(path, "v", "stream=index,pix_fmt")["streams"])
    }
    return (streams[False], streams[True]) if len(streams) == 2 else None


def _tone_mapped(found: Look, metadata: VideoStreamMetadata | Description) -> Look:
    """`found` with the filters that map HDR to SDR; with a note where this FFmpeg has none."""
    curve = metadata.color_transfer_characteristic or ""
    if not {"zscale", "tonemap"} <= ability_names("-filters"):
        return replace(found, notes=(*found.notes, NO_TONE_MAPPING.format(TONE_CURVES[curve])))
    said = [
        f"{key}={usual}"
        for key, value, usual in (
            ("color_primaries", metadata.color_primaries, "bt2020"),
            ("colorspace", metadata.color_space, "bt2020nc"),
        )
        if value in (None, "unknown", "reserved")
    ]
    filters = [f"setparams={':'.join(said)}"] if said else []
    return replace(found, is_odd=True, filters=(*found.filters, *filters, TO_SDR))


def film(path: Path, stream: str, how: Look) -> Film:
    """The film of a file, which FFmpeg decodes from end to end; `stream` as in FFmpeg's `-map`, such as "0:1".

    Raises:
        VideoError: if FFmpeg finds a fault in it, or no frames.
    """
    command = ("-max_error_rate", "0", *source(path), "-map", stream, "-vf", "showinfo=checksum=0", "-f", "null", "-")
    log = ffmpeg(*command, name=path.name)
    if _num_damaged(log, begins_hidden=True):
        log = ffmpeg("-threads", "1", *command, name=path.name)  # what it says of a frame comes before the frame
    if said := SAID_FORMAT.search(log):
        _check_format(path, said[1])
    clock, frames = SHOWN_CLOCK.search(log), SHOWN_FRAME.findall(log)
    if clock is None or not frames:
        raise VideoError(f"{path.name} holds no frames; a video was expected")
    tick, rate = Fraction(clock[1]), int(clock[2]) / max(int(clock[3]), 1) or 25.0
    has_times = all(pts != "NOPTS" for pts, *_ in frames)
    seconds = [float(int(pts) * tick) if has_times else index / rate for index, (pts, *_) in enumerate(frames)]
    _, _, *aspect, width, height = frames[0]
    return Film(
        path=path,
        stream=stream,
        seconds=tuple(accumulate(seconds, max)),
        end_seconds=max(seconds) + 1 / rate,
        rate=rate,
        height=int(height),
        width=int(width),
        pixel_aspect=_ratio(":".join(aspect)),
        is_one_shape=len({(fmt, *shape) for _, fmt, _, _, *shape in frames}) == 1,
        look=how,
        promised_seconds=_promised(log.partition("Stream mapping:")[0]),
        num_damaged=_num_damaged(log, begins_hidden=True),
    )


def damage(path: Path, stream: str) -> Damage:
    """How much of a file FFmpeg's program reads without an error. It is decoded from end to end, or for a minute.

    Raises:
        VideoError: if FFmpeg's program is not installed, or reads nothing of the file.
    """
    log = ffmpeg(
        # With one thread what it says of a frame comes before the frame.
        *("-v", "level+verbose", "-max_error_rate", "1", "-threads", "1", *source(path), "-map", stream),
        *("-t", str(MAX_CHECK_SECONDS), "-vf", "showinfo=checksum=0", "-f", "null", "-"),
        name=path.name,
    )
    counted = COUNTED.search(log)
    num_packets, num_decoded = map(int, counted.groups()) if counted else (0, 0)
    packets = probe(path, stream.removeprefix("0:"), "packet=flags")["packets"]
    num_hidden = next((index for index, packet in enumerate(packets) if "K" in packet["flags"]), 0)
    num_frames = max(num_packets - num_hidden, num_decoded)
    # Some decoders show what comes before the first key frame, and whatever it refers to is missing.
    num_groundless = min(num_hidden, max(0, num_decoded - (num_packets - num_hidden)))
    num_damaged = num_groundless + _num_damaged(log, begins_hidden=num_hidden > 0)
    return Damage(num_frames, max(0, num_decoded - num_damaged))


def _num_damaged(log: str, *, begins_hidden: bool) -> int:
    """Of how many frames FFmpeg's program says that something is wrong: in its log, as `showinfo` tells of each frame.

    If the stream `begins_hidden`, between two key frames, what it says before the first frame is not of any."""
    parts = SHOWN_FRAME.split(log.partition("Stream mapping:")[2])[:: SHOWN_FRAME.groups + 1]
    return sum(SAID_ERROR.search(part) is not None for part in parts[1 if begins_hidden else 0 :])


def _promised(log: str) -> float | None:
    """The seconds that the header of an input with a single stream promises, by what FFmpeg says of it."""
    said = SAID_LENGTH.search(log)
    if said is None or log.count("Stream #0:") != 1:
        return None
    hours, minutes, seconds, start = map(float, said.groups())
    length = 3600 * hours + 60 * minutes + seconds
    return length - max(start, 0.0) if "Input #0, matroska" in log else length  # Matroska's counts from 0 to the end


def frame_clock(path: Path, stream_index: int) -> tuple[list[float], float]:
    """When a file shows each frame, read from its packets, and the constant frame rate at which FFmpeg would write it.

    Raises:
        VideoError: if FFmpeg's programs are not installed, or the packets have no times.
    """
    found = probe(path, str(stream_index), "stream=r_frame_rate,avg_frame_rate:packet=pts_time,flags")
    rate, mean = (_ratio(found["streams"][0][name]) for name in ("r_frame_rate", "avg_frame_rate"))
    packets = [packet for packet in found["packets"] if "D" not in packet["flags"]]  # what an edit list discards
    if not all("pts_time" in packet for packet in packets):
        raise VideoError(f"{path.name} has frames without a time; convert it to MP4 first")
    return sorted(float(packet["pts_time"]) for packet in packets), float(mean if rate > UNSTEADY_RATE else rate)


def _run(
    *command: str, name: str, max_seconds: float = MAX_RENDER_SECONDS, stdin: int = subprocess.DEVNULL
) -> tuple[str, str]:
    """What one of FFmpeg's programs wrote to its output, and what it said; `name` is the video's, for errors."""
    try:
        done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=max_seconds)
    except OSError as error:
        raise VideoError(
            f"{name} takes FFmpeg's program, which is missing or does not start; install it: {install_line()} ({error})"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise VideoError(
            f"{name} takes FFmpeg longer than {max_seconds / 60:g} minutes: make it shorter or smaller"
        ) from error
    said = done.stderr.decode(errors="replace")
    if NO_MEMORY.search(said):  # FFmpeg goes on without the frames that do not fit
        raise VideoError(f"{name} cannot be read as a video: Cannot allocate memory; scale it down first")
    if done.returncode:
        faults = dict(FAULT.findall(said))  # the last of each level; a fatal one only says what came of it
        last = said.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        reason = faults.get("error") or faults.get("fatal") or last
        for file in filter(os.path.isabs, (argument.removeprefix("file:") for argument in command)):
            reason = reason.replace(f"file:{file}", Path(file).name).replace(file, Path(file).name)
        raise VideoError(f"{name} cannot be read as a video: {reason}; it is damaged, incomplete, or not a video file")
    return done.stdout.decode(errors="replace"), said


def ffmpeg(
    *arguments: str, name: str, max_seconds: float = MAX_RENDER_SECONDS, frames: Iterable[bytes] | None = None
) -> str:
    """What FFmpeg says of a run with `arguments`; `name` is the video's, for errors.

    It reads `frames` as its input "pipe:0". They are made while it runs, in another thread, within `max_seconds`.

    Raises:
        VideoError: if FFmpeg is not installed, fails, or takes too long.
    """
    command = ("ffmpeg", "-hide_banner", "-nostdin", "-nostats", "-v", "level+info", "-y", *arguments)
    if frames is None:
        return _run(*command, name=name, max_seconds=max_seconds)[1]
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        feeding = pool.submit(_feed, write, frames)
        try:
            return _run(*command, name=name, max_seconds=max_seconds, stdin=read)[1]
        finally:
            os.close(read)  # if FFmpeg ended early, the thread ends at its next frame
            feeding.result()  # why frames are missing says more than what FFmpeg makes of it


def _feed(write: int, frames: Iterable[bytes]) -> None:
    with suppress(BrokenPipeError), os.fdopen(write, "wb", buffering=0) as pipe:
        for frame in frames:
            rest = memoryview(frame)
            while rest:
                rest = rest[pipe.write(rest) :]


def rendering(path: Path, stream: str, how: Look, filters: Iterable[str], *options: str) -> tuple[str, ...]:
    """FFmpeg's arguments that read a file with `options`, and filter `stream` as `how` takes it."""
    decoder = ("-c:v", how.decoder) if how.decoder else ()
    alpha = f"[{how.streams[1]}]alphamerge," if how.streams else ""
    graph = f"[{stream}]{alpha}{','.join(filters)}[shown]"
    return (*options, *decoder, *source(path), "-filter_complex", graph, "-map", "[shown]")


def source(path: Path) -> tuple[str, ...]:
    """A file as FFmpeg's input: whatever its name looks like, and without a look at any file that it names."""
    return "-protocol_whitelist", "file", "-max_pixels", str(MAX_PIXELS), "-i", f"file:{path}"


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse a video whose frames, of square pixels, are too large or too narrow.

    Raises:
        VideoError: if a frame has more than MAX_PIXELS, or one side is MAX_ASPECT_RATIO times the other.
    """
    if height * width > MAX_PIXELS:
        raise VideoError(f"{path.name} is {width} x {height} pixels, larger than 8K: scale it down first")
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise VideoError(
            f"{path.name} is {width} x {height} pixels; "
            f"one side may be {MAX_ASPECT_RATIO:.0f} times the other at most: crop it first"
        )


def check_limits(path: Path, *, num_frames: int, seconds: float, num_pixels: int) -> None:
    """Refuse a video that is larger than this machine's owner allows (`config.Limits`).

    Raises:
        VideoError: if it is too long, or has too many frames, or too many pixels in a frame.
    """
    allowed = limits()
    for value, most, unit in (
        (seconds, allowed.video_seconds, "seconds"),
        (num_frames, allowed.video_frames, "frames"),
        (num_pixels / 1e6, allowed.video_megapixels, "megapixels"),
    ):
        if value > most:
            raise VideoError(
                f"{path.name} has {value:,.6g} {unit}; this machine takes {most:,.6g} at most: cut it or scale it down"
            )


def install_line() -> str:
    """How to install FFmpeg on this platform."""
    return FFMPEG_INSTALL.get(platform.system(), "see https://ffmpeg.org/download.html")


@lru_cache
def ability_names(kind: str) -> frozenset[str]:
    """The names of the filters ("-filters") or decoders ("-decoders") of this FFmpeg; none where it is missing."""
    try:
        listed, _ = _run("ffmpeg", "-hide_banner", kind, name="")
    except VideoError:
        return frozenset()
    return frozenset(words[1] for words in map(str.split, listed.splitlines()) if len(words) > 1)


def probe(path: Path, streams: str, entries: str) -> dict[str, Any]:
    """What ffprobe tells of `entries` of the chosen streams."""
    entries += ":format=format_name"
    command = ["ffprobe", "-v", "level+error", "-select_streams", streams, "-show_entries", entries, "-of", "json"]
    found: dict[str, Any] = json.loads(_run(*command, *source(path), name=path.name)[0])
    _check_format(path, found["format"]["format_name"])
    return found


def _check_format(path: Path, names: str) -> None:
    if not LISTS_OF_FILES.isdisjoint(names.split(",")):
        raise VideoError(f"{path.name} cannot be read as a video: it is a playlist of other files ({names})")


def _ratio(text: str) -> Fraction:
    """The positive fraction that FFmpeg writes as "4/3" or "4:3"; 1 where it has none, which it writes as "0:1"."""
    above, _, below = text.replace(":", "/").partition("/")
    is_known = above.isdigit() and below.isdigit() and int(above) * int(below)
    return Fraction(int(above), int(below)) if is_known else Fraction(1)


def _is_mirrored(stream: dict[str, Any]) -> bool:
    """Whether the display matrix of a stream mirrors its frames, or turns them by a part of a right angle."""
    for side_data in stream.get("side_data_list", ()):
        if "displaymatrix" in side_data:
            rows = [row.split(":")[1].split() for row in side_data["displaymatrix"].strip().splitlines()]
            (a, b), (c, d) = ([int(value) for value in row[:2]] for row in rows[:2])
            return a * d - b * c < 0 or min(abs(a) + abs(d), abs(b) + abs(c)) > SKEW * max(map(abs, (a, b, c, d)))
    return False


def _chosen(indices: Sequence[int]) -> str:
    """An expression of FFmpeg's that is true for the frames at `indices`, which rise: runs of them, added up."""
    begins = [index for index in indices if index - 1 not in indices]
    ends = [index for index in indices if index + 1 not in indices]
    return "+".join(f"between(n,{begin},{end})" for begin, end in zip(begins, ends, strict=True))


def _marks(path: Path) -> tuple[bool, bool]:
    """Whether a file may have an alpha track (WebM, AVIF), and whether its pixels may be no squares.

    torchcodec does not tell what only the container says, and FFmpeg's programs take longer to start than this takes:
    the bytes are searched for the marks of both.
    """
    with path.open("rb") as file:
        head = file.read(MATROSKA_HEAD_BYTES)
        if head.startswith(MATROSKA):
            tracks = head.partition(MATROSKA_CLUSTER)[0]
            return MATROSKA_ALPHA in tracks, MATROSKA_DISPLAY_WIDTH in tracks
        place = 0
        for _ in range(MAX_BOXES):
            box = head[:16] if place == 0 else _read_at(file, place, 16)
            if len(box) < 8 or box[4:8] not in MP4_BOXES:
                break
            size = int.from_bytes(box[:4], "big")
            if size == 1:
                size = int.from_bytes(box[8:16], "big")
            if box[4:8] == b"moov":
                index = _read_at(file, place, min(size or MAX_INDEX_BYTES, MAX_INDEX_BYTES))
                shapes = [struct.unpack(">II", shape) for shape in re.findall(b"pasp(.{8})", index, re.DOTALL)]
                return ALPHA_TRACK in index, any(width != height for width, height in shapes)
            if size < 8:
                break
            place += size
    return False, False


def _read_at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)
