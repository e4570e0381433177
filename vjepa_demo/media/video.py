"""A video file becomes a `Clip`: which frames (arithmetic), decoding and resizing (FFmpeg, through torchcodec),
and the normalised pixels a V-JEPA 2 encoder expects.

Preprocessing is that of transformers' `VJEPA2VideoProcessor`, without torchvision: shortest edge resized
(bilinear, antialiased), centre crop, divided by 255, normalised per channel.
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
import torch.nn.functional as F
from torch import Tensor

from vjepa_demo.config import ClipConfig, View
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
LOST = "FFmpeg does not find its way in it; convert it to MP4 first, or export it again"
WINDOW_FRAMES_PER_SECOND = 30.0  # a window of a faster video takes every second frame of it, or fewer
TIME_TOLERANCE_SECONDS = 1e-3  # between a frame's own times and the moment it was asked for
TRUNCATED_BELOW = 0.95  # share of the frames that the header promises
# Playable before it is whole; and x264's macroblock tree gave other bytes each time for the same frames.
ENCODER_OPTIONS = {"movflags": "+faststart", "x264-params": "mbtree=0"}
DECODED_BYTES = 64 * 2**20  # of frames before a view shrinks them
DECODER_THREADS = 2  # each FFmpeg thread holds whole frames: more of them cost memory on 4K and gain little


class _SeekError(VideoError):
    """FFmpeg reads the file but does not find its way in it."""


@dataclass(frozen=True)
class _Stream:
    """Pixels of a frame as it is shown (rotation applied), and the times between which there are frames."""

    height: int
    width: int
    begin_seconds: float
    end_seconds: float


_Look = tuple[Tensor, tuple[float, ...]]  # a view's frames (T, 3, crop, crop) uint8, and when each is shown


@dataclass(frozen=True)
class Clip:
    """The frames of a video that a model sees.

    `frames` is (T, 3, crop, crop) uint8 RGB, those of the first view; `frame_seconds` (T,) when each of them is first
    shown in the video, whose whole length is `duration_seconds`. `more_views` are the frames of the other views.
    """

    frames: Tensor
    frame_seconds: tuple[float, ...]
    duration_seconds: float
    more_views: tuple[Tensor, ...] = ()

    def __repr__(self) -> str:
        return f"Clip(frames={tuple(self.frames.shape)}, duration_seconds={self.duration_seconds:.2f})"


def frame_times(begin_seconds: float, end_seconds: float, num_frames: int) -> list[float]:
    """The centres of `num_frames` equal parts of [begin, end): uniform in time, never on a frame's edge.

    A video with fewer frames than asked for gets its frames repeated, each about equally often.
    """
    step = (end_seconds - begin_seconds) / num_frames
    return [begin_seconds + (index + 0.5) * step for index in range(num_frames)]


def uniform_indices(num_source: int, num_frames: int) -> list[int]:
    """Which of `num_source` frames lie at the centres of `num_frames` equal parts of them."""
    return [int((index + 0.5) * num_source / num_frames) for index in range(num_frames)]


def window_indices(num_source: int, frames_per_second: float, window: int, num_frames: int) -> list[int]:
    """`num_frames` of `num_source` frames, in pairs of neighbours spread over `window` consecutive ones in the middle.

    Whole frames are counted, never times in between: a frame shown twice means that the video shows it twice. Of a
    video faster than 30 frames a second every second frame is a neighbour, or every third and so on, if there are as
    many. Where the video is shorter than the window, its first and last frame are repeated.
    """
    step = max(1, min(round(frames_per_second / WINDOW_FRAMES_PER_SECOND), num_source // window))
    first = (num_source - window * step) // 2
    pairs = [int((pair + 0.5) * window / (num_frames // 2)) - 1 for pair in range(num_frames // 2)]
    places = [first + (start + neighbour) * step for start in pairs for neighbour in (0, 1)]
    return [min(max(place, 0), num_source - 1) for place in places]


def view_indices(view: View, num_source: int, frames_per_second: float, config: ClipConfig) -> list[int]:
    """Which of a video's frames `view` looks at."""
    num_frames = view.num_frames or config.num_frames
    if view.window is None:
        return uniform_indices(num_source, num_frames)
    return window_indices(num_source, frames_per_second, view.window, num_frames)


def view_frames(frames: Tensor, view: View, config: ClipConfig) -> Tensor:
    """What `view` shows of its frames (T, 3, H, W) uint8: (T, 3, crop, crop) uint8."""
    crop = config.crop_size
    height, width = frames.shape[-2:]
    if view.framing == "squeeze":
        return _resize(frames, (crop, crop))
    shape = resized_shape(height, width, _edge(height, width, view, config))
    if view.framing == "fragments":
        return fragments(_resize(frames, shape), crop, view.grid)
    return _centre(_resize(frames, shape), crop)


def _edge(height: int, width: int, view: View, config: ClipConfig) -> int:
    """The shortest edge that a view needs of a frame. Pieces are taken at the frame's own, but neither over the view's
    nor below the crop."""
    if view.framing == "fragments":
        return max(config.crop_size, min(height, width, view.edge or max(height, width)))
    return config.crop_size if view.framing == "squeeze" else view.edge or config.resize_edge


def fragments(frames: Tensor, crop: int, grid: int) -> Tensor:
    """`grid` x `grid` pieces of frames (T, C, H, W), each from the middle of its part of the frame and unscaled, put
    together to (T, C, crop, crop). The crop is a multiple of `grid`."""
    piece = crop // grid
    rows, columns = (
        torch.cat([int((part + 0.5) * size / grid - piece / 2) + torch.arange(piece) for part in range(grid)])
        for size in frames.shape[-2:]
    )
    return frames[..., rows[:, None], columns]


def _resize(frames: Tensor, shape: tuple[int, int]) -> Tensor:
    if frames.shape[-2:] == shape:
        return frames
    return F.interpolate(frames, size=shape, mode="bilinear", antialias=True)


def _centre(frames: Tensor, crop: int) -> Tensor:
    height, width = frames.shape[-2:]
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    return frames[..., top : top + crop, left : left + crop]


def resized_shape(height: int, width: int, shortest_edge: int) -> tuple[int, int]:
    """(height, width) after scaling so that the shorter side is `shortest_edge`, the longer one rounded down
    (transformers, `get_resize_output_image_size`)."""
    if height <= width:
        return shortest_edge, int(shortest_edge * width / height)
    return int(shortest_edge * height / width), shortest_edge


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
    except _SeekError as error:
        return _load_copy(path, config, error)


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
    """What a view of the whole clip shows, shrunk in the decoder."""
    times = _times(stream, view, config)
    shape = (config.crop_size, config.crop_size)
    if view.framing != "squeeze":
        shape = resized_shape(stream.height, stream.width, _edge(stream.height, stream.width, view, config))
    batch = _decode(path, times, shape, config.crop_size if view.framing == "crop" else None)
    frames = batch.data if view.framing != "fragments" else fragments(batch.data, config.crop_size, view.grid)
    return frames, tuple(batch.pts_seconds.tolist())


def _look_together(path: Path, decoder: VideoDecoder, stream: _Stream, config: ClipConfig) -> list[_Look]:
    """What all views show, decoded in one pass over the file: frames are counted, and no larger than a view needs.

    Where counting does not find what is shown at the times of a view of the whole clip, because the frame rate varies,
    that view is decoded by itself.
    """
    places = [_indices(decoder, stream, view, config) for view in config.views]
    wanted = sorted({place for each in places for place in each})
    edge = max(_edge(stream.height, stream.width, view, config) for view in config.views)
    shape = resized_shape(stream.height, stream.width, min(edge, stream.height, stream.width))
    spans: dict[int, tuple[float, float]] = {}
    shown: list[dict[int, Tensor]] = [{} for _ in config.views]
    for batch, some in _decode_counted(path, decoder, wanted, shape):
        spans |= {place: (float(batch.pts_seconds[row]), float(batch.duration_seconds[row])) for place, row in some}
        for view, each, frames in zip(config.views, places, shown, strict=True):
            rows = {place: row for place, row in some if place in each}
            if rows:
                frames |= zip(rows, view_frames(batch.data[list(rows.values())], view, config), strict=True)
    looks = []
    for view, each, frames in zip(config.views, places, shown, strict=True):
        if view.window is None and not _are_shown([spans[place] for place in each], _times(stream, view, config)):
            looks.append(_look(path, stream, view, config))
        else:
            looks.append((torch.stack([frames[place] for place in each]), tuple(spans[place][0] for place in each)))
    return looks


def _decode_counted(
    path: Path, decoder: VideoDecoder, places: list[int], shape: tuple[int, int]
) -> Iterator[tuple[FrameBatch, list[tuple[int, int]]]]:
    """The frames at `places`, of `shape`, a few at a time: a batch, and each place with its row."""
    from torchcodec._core import _test_frame_pts_equality  # what the scan found; the public index is not checked
    from torchcodec.transforms import Resize

    shrinking, some = _open(path, transforms=[Resize(shape)]), max(1, DECODED_BYTES // (3 * shape[0] * shape[1]))
    for begin in range(0, len(places), some):
        part = places[begin : begin + some]
        try:
            batch = shrinking.get_frames_at(part)
        except (RuntimeError, IndexError) as error:
            raise _SeekError(str(_unreadable(path, error))) from error
        for place, seconds in zip(part, batch.pts_seconds.tolist(), strict=True):
            if not _test_frame_pts_equality(decoder._decoder, frame_index=place, pts_seconds_to_test=seconds):
                raise _SeekError(f"{path.name} cannot be read as a video: {LOST}")  # another frame than was asked for
        yield batch, [(place, row) for row, place in enumerate(part)]


def _are_shown(spans: list[tuple[float, float]], seconds: list[float]) -> bool:
    """Whether each frame, shown from and for so long, is what is shown at its moment."""
    return all(
        begin - TIME_TOLERANCE_SECONDS <= moment <= begin + duration + TIME_TOLERANCE_SECONDS
        for (begin, duration), moment in zip(spans, seconds, strict=True)
    )


def _times(stream: _Stream, view: View, config: ClipConfig) -> list[float]:
    return frame_times(stream.begin_seconds, stream.end_seconds, view.num_frames or config.num_frames)


def _indices(decoder: VideoDecoder, stream: _Stream, view: View, config: ClipConfig) -> list[int]:
    num_source = len(decoder)
    seconds = stream.end_seconds - stream.begin_seconds
    return view_indices(view, num_source, num_source / seconds if seconds > 0 else WINDOW_FRAMES_PER_SECOND, config)


def clip_pixels(clip: Clip, config: ClipConfig) -> list[Tensor]:
    """The normalised pixels (1, C, T, crop, crop) float32 of each view of a clip, for the model."""
    return [pixel_values(frames, config)[None] for frames in (clip.frames, *clip.more_views)]


def pixel_values(frames: Tensor, config: ClipConfig) -> Tensor:
    """Normalised pixels (C, T, H, W) float32 from frames (T, C, H, W) uint8; add a batch axis for the model."""
    mean = torch.tensor(config.image_mean).view(1, 3, 1, 1)
    std = torch.tensor(config.image_std).view(1, 3, 1, 1)
    return ((frames / 255 - mean) / std).transpose(0, 1)  # (T, C, H, W) -> (C, T, H, W)


def write_video(path: str | Path, frames: Tensor, *, frames_per_second: float, crf: int = 18) -> None:
    """Write frames (T, 3, H, W) uint8 RGB as an H.264 MP4 that browsers play; whole or not at all."""
    from torchcodec.encoders import VideoEncoder

    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial.mp4")
    try:
        VideoEncoder(frames, frame_rate=frames_per_second).to_file(
            partial,
            codec="libx264",
            pixel_format="yuv420p",
            crf=crf,
            extra_options=ENCODER_OPTIONS,
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def recode(frames: Tensor, *, codec: str, frames_per_second: float, **options: Any) -> Tensor:
    """Frames (T, 3, H, W) uint8 as they come back from being written as a video; H and W are even.

    `options` are those of torchcodec's `VideoEncoder.to_tensor`: `crf`, `preset`, `extra_options`.
    """
    from torchcodec.decoders import VideoDecoder
    from torchcodec.encoders import VideoEncoder

    encoder = VideoEncoder(frames, frame_rate=frames_per_second)
    coded = encoder.to_tensor("matroska", codec=codec, **options)
    return VideoDecoder(coded, num_ffmpeg_threads=1)[:]


def _load_copy(path: Path, config: ClipConfig, problem: VideoError) -> Clip:
    """Load a copy of `path` in a container that has an index; where that does not help, `problem` stands.

    MPEG streams have no index: FFmpeg seeks past the frame that was meant. The copy is not re-encoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mkv"
        source = ["-fflags", "+genpts", "-i", f"file:{path}", "-map", "0:v:0", "-c", "copy"]
        try:
            subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *source, copy], check=True, capture_output=True)
            return _load(copy, config)
        except (OSError, subprocess.CalledProcessError, VideoError) as error:
            raise problem from error


def check_file(path: Path) -> None:
    """Refuse, without decoding anything, what is not a file, or not a file of pictures in motion.

    FFmpeg goes by content: a text that is a playlist would make it open whatever other files the text names.

    Raises:
        VideoError: if the file is missing, a folder, empty, text, or a still picture.
    """
    if path.is_dir():
        raise VideoError(f"{path.name or path} is a folder: name the videos in it")
    if not path.is_file():
        raise VideoError(f"{path.name}: no such file")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise VideoError(f"{path.name} is empty (0 bytes); make or upload it again")
    if _is_text(head):
        raise VideoError(f"{path.name} cannot be read as a video: it is a text file, or a playlist of other files")
    if head[4:8] == b"ftyp" and head[8:12] in STILL_IMAGE_BRANDS:
        raise VideoError(f"{path.name} is a still image; a video was expected")


def _is_text(head: bytes) -> bool:
    """Whether a file begins as text does: no control characters but white space and the escapes of terminal art."""
    return not any(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in head) and not head.startswith(b"YUV4MPEG2")


def _open(path: Path, **settings: Any) -> VideoDecoder:
    """A decoder that has scanned the file, so that its times are exact for variable frame rates too."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        install = FFMPEG_INSTALL.get(platform.system(), "see https://ffmpeg.org/download.html")
        raise VideoError(
            f"FFmpeg's libraries are missing or do not load. Install them: {install} (torchcodec: {_first_line(error)})"
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
    """What the scan found, if it is a whole video that can be shown to a model."""
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
    _check_complete(path, decoder)
    return _Stream(height, width, begin, end)


def _check_complete(path: Path, decoder: VideoDecoder) -> None:
    """Refuse a file that ends before its header says: half a clip must not pass for the whole.

    MP4, MOV and AVI promise a number of frames, less what an edit list hides, which shortens the stream's promised
    duration too: both must fall short. Matroska, WebM and others promise only the length of the longest stream, which
    is surely the video's where there is no other; a cut-off file of theirs that has sound is not noticed.
    """
    metadata = decoder.metadata
    found = metadata.end_stream_seconds_from_content or 0.0
    promised = metadata.duration_seconds_from_header
    if metadata.num_frames_from_header is not None:
        if (metadata.num_frames_from_content or 0) >= TRUNCATED_BELOW * metadata.num_frames_from_header:
            return
    elif promised is None:
        promised = _container_seconds(decoder)
    if promised is not None and found < TRUNCATED_BELOW * promised:
        raise VideoError(
            f"{path.name} is cut off: {found:.1f} s of the {promised:.1f} s that its header promises are there; "
            "download or export it again"
        )


def _container_seconds(decoder: VideoDecoder) -> float | None:
    """Length that the container promises, where video is all that it holds: other streams may be longer."""
    from torchcodec._core import get_container_metadata  # the public metadata is per stream

    container = get_container_metadata(decoder._decoder)
    return container.duration_seconds_from_header if len(container.streams) == 1 else None


def _decode(path: Path, times: list[float], shape: tuple[int, int], crop: int | None) -> Any:
    """The frames shown at `times`, resized and perhaps cropped inside FFmpeg: a torchcodec FrameBatch."""
    from torchcodec.transforms import CenterCrop, Resize

    transforms = [Resize(shape), *([CenterCrop((crop, crop))] if crop else [])]
    decoder = _open(path, transforms=transforms)
    try:
        batch = decoder.get_frames_played_at(times)
    except (RuntimeError, IndexError) as error:
        raise _SeekError(str(_unreadable(path, error))) from error
    if (batch.pts_seconds > torch.tensor(times, dtype=torch.float64) + TIME_TOLERANCE_SECONDS).any():
        raise _SeekError(f"{path.name} cannot be read as a video: {LOST}")  # a frame from after the moment asked for
    return batch


def _unreadable(path: Path, error: Exception) -> VideoError:
    reason = _first_line(error)
    if ".cpp:" in reason:  # torchcodec puts its source file and line before FFmpeg's own words
        reason = reason.rpartition(".cpp:")[2].partition(", ")[2]
    reason = reason.replace(f"Could not open input file: {path}", "").strip(" .")
    return VideoError(
        f"{path.name} cannot be read as a video: {reason}. It is damaged, incomplete, or not a video file"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
