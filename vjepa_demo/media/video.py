"""A video file becomes a `Clip` (decoded and resized by FFmpeg, through torchcodec) and the pixels an encoder expects.

torchcodec is imported where it is used: this module also loads on a machine without FFmpeg. Preprocessing is that of
transformers' `VJEPA2VideoProcessor`, without torchvision: shortest edge resized (bilinear, antialiased), centre crop,
divided by 255, normalised per channel.
"""

from __future__ import annotations

import platform
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vjepa_demo.config import ClipConfig, View
from vjepa_demo.files import is_file, is_folder, reading, replacing
from vjepa_demo.media.sampling import (
    WINDOW_FRAMES_PER_SECOND,
    fragments,
    frame_times,
    resized_shape,
    view_edge,
    view_frames,
    view_indices,
    view_shape,
)
from vjepa_demo.schema import VideoError

if TYPE_CHECKING:
    from torchcodec import FrameBatch
    from torchcodec.decoders import VideoDecoder

FFMPEG_INSTALL = {
    "Linux": "sudo apt-get install ffmpeg",
    "Darwin": "brew install ffmpeg",
    "Windows": "conda install -c conda-forge ffmpeg",
}
STILL_IMAGE_CODECS = {"png", "mjpeg", "bmp", "webp", "tiff", "gif", "jpeg2000", "jpegxl", "ppm", "targa", "exr", "dpx"}
STILL_IMAGE_BRANDS = {b"avif", b"heic", b"heix", b"mif1"}  # of an ISO base media file: AVIF and HEIF pictures
HEAD_BYTES = 512
MAX_PIXELS = 8192 * 4320  # of a frame: FFmpeg holds a few of them at once
MAX_ASPECT_RATIO = 20.0  # beyond it, a frame resized to the model's height would not fit into memory
LOST = "FFmpeg cannot seek in it; convert it to MP4 first, or export it again"
TIME_TOLERANCE_SECONDS = 1e-3  # between a frame's own times and the moment it was asked for
TRUNCATED_BELOW = 0.95  # share of the frames that the header promises
# A browser plays it before it is fetched whole; and with x264's macroblock trees the same frames gave other bytes
# each time.
ENCODER_OPTIONS = {"movflags": "+faststart", "x264-params": "mbtree=0"}
DECODED_BYTES = 64 * 2**20  # of frames that are decoded together, before a view shrinks them
DECODER_THREADS = 2  # each FFmpeg thread holds whole frames: more of them cost memory on 4K and gain little


class _SeekError(VideoError):
    """FFmpeg reads the file, but seeking in it fails or leads to another frame."""


@dataclass(frozen=True)
class _Stream:
    """A video stream: pixels of a frame as it is shown (rotation applied), and from when to when there are frames."""

    num_frames: int
    height: int
    width: int
    begin_seconds: float
    end_seconds: float

    def times(self, view: View, config: ClipConfig) -> list[float]:
        """The moments that a view of the whole clip shows."""
        return frame_times(self.begin_seconds, self.end_seconds, view.num_frames or config.num_frames)


_Look = tuple[Tensor, tuple[float, ...]]  # a view's frames (T, 3, crop, crop) uint8, and when each is shown


@dataclass(frozen=True)
class Clip:
    """The frames of a video that a model sees.

    `frames` (T, 3, crop, crop) uint8 RGB are those of the first view, `frame_seconds` (T,) when the video begins to
    show each of them; `more_views` are the frames of the other views. The whole video lasts `duration_seconds`.
    """

    frames: Tensor
    frame_seconds: tuple[float, ...]
    duration_seconds: float
    more_views: tuple[Tensor, ...] = ()

    def __repr__(self) -> str:
        return f"Clip(frames={tuple(self.frames.shape)}, duration_seconds={self.duration_seconds:.2f})"


def load_clip(path: str | Path, config: ClipConfig) -> Clip:
    """Decode the frames of `path` that `config` asks for, and no others; rotation in the file is honoured.

    Raises:
        VideoError: if the file is missing, empty, cut off, without a video stream, or not a video, or if FFmpeg
            is not installed.
    """
    path = Path(path)
    check_file(path)
    try:
        return _load(path, config)
    except _SeekError as problem:
        # MPEG streams have no index, and FFmpeg seeks past the frame that was meant. So the stream is copied into a
        # container that has an index; it is not re-encoded.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.mkv"
            source = ["-fflags", "+genpts", "-i", f"file:{path}", "-map", "0:v:0", "-c", "copy"]
            try:
                subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *source, copy], check=True, capture_output=True)
                return _load(copy, config)
            except (OSError, subprocess.CalledProcessError, VideoError) as error:
                raise problem from error


def _load(path: Path, config: ClipConfig) -> Clip:
    decoder = _open(path)
    stream = _inspect(path, decoder)
    if any(view.window is not None for view in config.views):
        looks = _look_together(path, decoder, stream, config)
    else:
        looks = [_look(path, stream, view, config) for view in config.views]
    return Clip(
        frames=looks[0][0],  # (T, 3, crop, crop) uint8
        frame_seconds=looks[0][1],
        duration_seconds=stream.end_seconds - stream.begin_seconds,
        more_views=tuple(frames for frames, _ in looks[1:]),
    )


def _look(path: Path, stream: _Stream, view: View, config: ClipConfig) -> _Look:
    """What a view of the whole clip shows, resized and cropped inside FFmpeg."""
    from torchcodec.transforms import CenterCrop, Resize

    times, crop = stream.times(view, config), CenterCrop((config.crop_size, config.crop_size))
    resize = Resize(view_shape(stream.height, stream.width, view, config))
    decoder = _open(path, transforms=[resize, crop] if view.framing == "crop" else [resize])
    try:
        batch = decoder.get_frames_played_at(times)
    except (RuntimeError, IndexError) as error:
        raise _SeekError(str(_unreadable(path, error))) from error
    if (batch.pts_seconds > torch.tensor(times, dtype=torch.float64) + TIME_TOLERANCE_SECONDS).any():
        raise _SeekError(f"{path.name} cannot be read as a video: {LOST}")  # a frame from after the moment asked for
    frames = batch.data if view.framing != "fragments" else fragments(batch.data, config.crop_size, view.grid)
    return frames, tuple(batch.pts_seconds.tolist())


def _look_together(path: Path, decoder: VideoDecoder, stream: _Stream, config: ClipConfig) -> list[_Look]:
    """What all views show, decoded in one pass over the file by frame number, no larger than a view needs.

    If the frame rate varies, frame numbers may miss the moments of a view of the whole clip: it is decoded by itself.
    """
    seconds = stream.end_seconds - stream.begin_seconds
    rate = stream.num_frames / seconds if seconds > 0 else WINDOW_FRAMES_PER_SECOND
    indices = [view_indices(view, stream.num_frames, rate, config) for view in config.views]  # counted from 0
    edge = max(view_edge(stream.height, stream.width, view, config) for view in config.views)
    shape = resized_shape(stream.height, stream.width, min(edge, stream.height, stream.width))
    spans: dict[int, tuple[float, float]] = {}  # from when and how long each frame is shown
    frames: list[dict[int, Tensor]] = [{} for _ in config.views]  # of each view, by index
    for part, batch in _decode_counted(path, decoder, sorted(set().union(*indices)), shape):
        spans |= zip(part, zip(batch.pts_seconds.tolist(), batch.duration_seconds.tolist(), strict=True), strict=True)
        for view, wanted, found in zip(config.views, indices, frames, strict=True):
            rows = {index: row for row, index in enumerate(part) if index in wanted}
            if rows:
                found |= zip(rows, view_frames(batch.data[list(rows.values())], view, config), strict=True)
    looks = []
    for view, wanted, found in zip(config.views, indices, frames, strict=True):
        at_their_times = view.window is not None or all(
            -TIME_TOLERANCE_SECONDS <= moment - spans[index][0] <= spans[index][1] + TIME_TOLERANCE_SECONDS
            for index, moment in zip(wanted, stream.times(view, config), strict=True)
        )
        if at_their_times:
            looks.append((torch.stack([found[index] for index in wanted]), tuple(spans[index][0] for index in wanted)))
        else:
            looks.append(_look(path, stream, view, config))
    return looks


def _decode_counted(
    path: Path, decoder: VideoDecoder, indices: list[int], shape: tuple[int, int]
) -> Iterator[tuple[list[int], FrameBatch]]:
    """The frames at `indices`, resized to `shape`, a few at a time: their indices, and the batch of them."""
    from torchcodec._core import _test_frame_pts_equality  # what the scan found; the public index is not checked
    from torchcodec.transforms import Resize

    shrinking, some = _open(path, transforms=[Resize(shape)]), max(1, DECODED_BYTES // (3 * shape[0] * shape[1]))
    for begin in range(0, len(indices), some):
        part = indices[begin : begin + some]
        try:
            batch = shrinking.get_frames_at(part)
        except (RuntimeError, IndexError) as error:
            raise _SeekError(str(_unreadable(path, error))) from error
        for index, seconds in zip(part, batch.pts_seconds.tolist(), strict=True):
            if not _test_frame_pts_equality(decoder._decoder, frame_index=index, pts_seconds_to_test=seconds):
                raise _SeekError(f"{path.name} cannot be read as a video: {LOST}")  # another frame than was asked for
        yield part, batch


def clip_pixels(clip: Clip, config: ClipConfig) -> list[Tensor]:
    """The normalised pixels (1, C, T, crop, crop) float32 of each view of a clip, for the model."""
    return [pixel_values(frames, config)[None] for frames in (clip.frames, *clip.more_views)]


def pixel_values(frames: Tensor, config: ClipConfig) -> Tensor:
    """Normalised pixels (C, T, H, W) float32 from frames (T, C, H, W) uint8; add a batch axis for the model."""
    mean = torch.tensor(config.image_mean).view(1, 3, 1, 1)
    std = torch.tensor(config.image_std).view(1, 3, 1, 1)
    return ((frames / 255 - mean) / std).transpose(0, 1)  # (T, C, H, W) -> (C, T, H, W)


def write_video(path: str | Path, frames: Tensor, *, frames_per_second: float, crf: int = 18) -> None:
    """Write frames (T, 3, H, W) uint8 RGB to `path`, an .mp4, as H.264 that browsers play; whole or not at all."""
    from torchcodec.encoders import VideoEncoder

    with replacing(path) as partial:
        VideoEncoder(frames, frame_rate=frames_per_second).to_file(
            partial, codec="libx264", pixel_format="yuv420p", crf=crf, extra_options=ENCODER_OPTIONS
        )


def recode(frames: Tensor, *, codec: str, frames_per_second: float, **options: Any) -> Tensor:
    """Frames (T, 3, H, W) uint8 as they come back from being written as a video; H and W are even.

    `options` are those of torchcodec's `VideoEncoder.to_tensor`: `crf`, `preset`, `extra_options`.
    """
    from torchcodec.decoders import VideoDecoder
    from torchcodec.encoders import VideoEncoder

    encoder = VideoEncoder(frames, frame_rate=frames_per_second)
    coded = encoder.to_tensor("matroska", codec=codec, **options)
    return VideoDecoder(coded, num_ffmpeg_threads=1)[:]


def check_file(path: Path) -> None:
    """Refuse, without decoding it, what cannot be a video.

    FFmpeg judges a file by its content: it would open whatever other files a playlist names.

    Raises:
        VideoError: if the file is missing, a folder, unreadable, empty, text, or a still picture.
    """
    if is_folder(path):
        raise VideoError(f"{path.name or path} is a folder: name the videos in it")
    if not is_file(path):
        raise VideoError(f"{path.name}: no such file")
    with reading(path, kind=VideoError), path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise VideoError(f"{path.name} is empty (0 bytes); make or upload it again")
    # Text has no control characters but white space and the escapes of terminal art; raw Y4M video begins like text.
    if not any(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in head) and not head.startswith(b"YUV4MPEG2"):
        raise VideoError(f"{path.name} cannot be read as a video: it is a text file, or a playlist of other files")
    if head[4:8] == b"ftyp" and head[8:12] in STILL_IMAGE_BRANDS:
        raise VideoError(f"{path.name} is a still image; a video was expected")


def _open(path: Path, **settings: Any) -> VideoDecoder:
    """A decoder that has scanned the file, so that its times are exact for variable frame rates too."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        install = FFMPEG_INSTALL.get(platform.system(), "see https://ffmpeg.org/download.html")
        raise VideoError(
            f"FFmpeg's libraries are missing or do not load; install them: {install} (torchcodec: {_first_line(error)})"
        ) from error
    try:
        return VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=DECODER_THREADS, **settings)
    except ValueError as error:  # torchcodec: "The best video stream is unknown"
        raise VideoError(f"{path.name} has no video stream (is it audio only?); a video was expected") from error
    except (RuntimeError, AssertionError) as error:
        if "seek" in str(error):  # it opens, but cannot be scanned
            raise _SeekError(f"{path.name} cannot be read as a video: {LOST}") from error
        raise _unreadable(path, error) from error


def _inspect(path: Path, decoder: VideoDecoder) -> _Stream:
    """The stream that the scan found.

    Raises:
        VideoError: if it is a still image, holds no frames, is too large or too narrow, or is cut off.
    """
    from torchcodec._core import get_container_metadata  # the public metadata is per stream

    metadata = decoder.metadata
    if metadata.num_frames == 1 and metadata.codec in STILL_IMAGE_CODECS:
        raise VideoError(
            f"{path.name} is a still image, or sound with a cover picture ({metadata.codec}); a video was expected"
        )
    height, width = metadata.height, metadata.width
    begin, end = metadata.begin_stream_seconds, metadata.end_stream_seconds
    if not height or not width or begin is None or end is None:
        raise VideoError(f"{path.name} holds no frames; a video was expected")
    if height * width > MAX_PIXELS:
        raise VideoError(f"{path.name} is {width} x {height} pixels, larger than 8K: scale it down first")
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise VideoError(
            f"{path.name} is {width} x {height} pixels; "
            f"one side may be {MAX_ASPECT_RATIO:.0f} times the other at most: crop it first"
        )
    # Half a clip must not pass for the whole. MP4, MOV and AVI promise a number of frames and a duration. An edit list
    # hides frames and shortens the duration: so a file is cut off only where both fall short. Matroska, WebM and others
    # promise only the length of the longest stream, which is the video's for certain only where there is no other: a
    # cut-off file with sound is not noticed.
    found = metadata.end_stream_seconds_from_content or 0.0
    promised = metadata.duration_seconds_from_header
    if metadata.num_frames_from_header is not None:
        if (metadata.num_frames_from_content or 0) >= TRUNCATED_BELOW * metadata.num_frames_from_header:
            promised = None
    elif promised is None:
        container = get_container_metadata(decoder._decoder)
        promised = container.duration_seconds_from_header if len(container.streams) == 1 else None
    if promised is not None and found < TRUNCATED_BELOW * promised:
        raise VideoError(
            f"{path.name} is cut off: {found:.1f} s of the {promised:.1f} s that its header promises are there; "
            "download or export it again"
        )
    return _Stream(len(decoder), height, width, begin, end)


def _unreadable(path: Path, error: Exception) -> VideoError:
    reason = _first_line(error)
    if ".cpp:" in reason:  # torchcodec puts its source file and line before FFmpeg's own words
        reason = reason.rpartition(".cpp:")[2].partition(", ")[2]
    reason = reason.replace(f"Could not open input file: {path}", "").strip(" .")
    return VideoError(
        f"{path.name} cannot be read as a video: {reason}; it is damaged, incomplete, or not a video file"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
