"""A video file becomes a `Clip` (decoded and resized by FFmpeg, through torchcodec) and the pixels an encoder expects.

torchcodec is imported where it is used: this module also loads on a machine without FFmpeg. Preprocessing is that of
transformers' `VJEPA2VideoProcessor`, without torchvision: shortest edge resized (bilinear, antialiased), centre crop,
divided by 255, normalised per channel.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vjepa_demo.config import ClipConfig, View
from vjepa_demo.files import is_file, is_folder, reading, replacing
from vjepa_demo.media.heard import listening
from vjepa_demo.media.sampling import (
    TIME_TOLERANCE_SECONDS,
    WINDOW_FRAMES_PER_SECOND,
    Timeline,
    are_in_time,
    differences,
    fragments,
    frame_times,
    looks_of,
    resized_shape,
    thumbnail,
    view_edge,
    view_frames,
    view_shape,
)
from vjepa_demo.media.shown import (
    Damage,
    Film,
    Look,
    check_limits,
    check_size,
    damage,
    describe,
    ffmpeg,
    film,
    frame_clock,
    install_line,
    look,
    source,
)
from vjepa_demo.media.webp import is_webp, webp_film
from vjepa_demo.media.whole import is_cut_off, is_size_known, least_bytes, signature
from vjepa_demo.schema import VideoError

if TYPE_CHECKING:
    from torchcodec import FrameBatch
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import DecoderTransform

STILL_IMAGE_CODECS = {"png", "mjpeg", "bmp", "webp", "tiff", "gif", "jpeg2000", "jpegxl", "ppm", "targa", "exr", "dpx"}
STILL_IMAGE_BRANDS = {b"avif", b"heic", b"heix", b"mif1"}  # of an ISO base media file: AVIF and HEIF pictures
MOVING_IMAGE_BRANDS = {b"avis", b"hevc", b"hevx", b"msf1"}  # the same, with a track of frames
HEAD_BYTES = 512
ID3_BYTES, MAX_ID3_TAGS = 10, 100  # the head of a tag, which FFmpeg skips whatever the file is; tags before a video
# What FFmpeg takes for a list of other files (HLS, concat, DASH, IMF, VobSub), or what players do, by how it begins.
PLAYLIST = re.compile(
    rb"#ext|ffconcat|<\?xml|<!--|<!doctype|<mpd|<compositionplaylist|<smil|<asx|\[playlist|\[reference|# *vobsub",
    re.IGNORECASE,
)
BLANKS = b"\xef\xbb\xbf \t\r\n\x0b\x0c"  # with the byte order mark
LOST = "FFmpeg cannot seek in it; convert it to MP4 first, or export it again"
TRUNCATED_BELOW = 0.95  # share of the frames, the seconds or the bytes that the file promises
READABLE_SHARE = 0.5  # of the frames of a damaged file that is scored
ENDS_EARLY = "The file ends in the middle of a frame, as if it were cut off: the {:.1f} s that are there were scored."
DAMAGED = "The file is damaged: {} of its {} frames cannot be read without an error. Scores may be too low."
# A browser plays it before it is fetched whole; and with x264's macroblock trees the same frames gave other bytes
# each time.
ENCODER_OPTIONS = {"movflags": "+faststart", "x264-params": "mbtree=0"}
DECODED_BYTES = 64 * 2**20  # of frames that are decoded together, before a view shrinks them
DECODER_THREADS = 2  # each FFmpeg thread holds whole frames: more of them cost memory on 4K and gain little

_num_threads: ContextVar[int] = ContextVar("num_threads", default=DECODER_THREADS)


class _SeekError(VideoError):
    """FFmpeg reads the file, but seeking in it fails or leads to another frame."""


class _CutOffError(VideoError):
    """The file ends before its header says so."""


@dataclass(frozen=True)
class _Stream:
    """A video stream: pixels of a frame as it is shown (rotation applied), and from when to when there are frames."""

    num_frames: int
    height: int
    width: int
    begin_seconds: float
    end_seconds: float

    @property
    def rate(self) -> float:
        """Frames a second, on average."""
        seconds = self.end_seconds - self.begin_seconds
        return self.num_frames / seconds if seconds > 0 else WINDOW_FRAMES_PER_SECOND


_Shown = tuple[Tensor, tuple[float, ...]]  # a view's frames (T, 3, crop, crop) uint8, and when each is shown


@dataclass(frozen=True)
class Clip:
    """The frames of a video that a model sees.

    `frames` (T, 3, crop, crop) uint8 RGB are those of the first view, `frame_seconds` (T,) when the video begins to
    show each of them; `more_views` are the frames of the other views, and of all views of the other looks, in the order
    of `ClipConfig.all_views`. The whole video lasts `duration_seconds`.
    `notes` say in whole sentences what of it could not be shown as a player does.
    """

    frames: Tensor
    frame_seconds: tuple[float, ...]
    duration_seconds: float
    more_views: tuple[Tensor, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Clip(frames={tuple(self.frames.shape)}, duration_seconds={self.duration_seconds:.2f})"


def decode_clip(path: str | Path, config: ClipConfig) -> Clip:
    """Decode the frames of `path` that `config` asks for, and no others, as a player shows them (see `shown`).

    It happens in this very process: of what strangers bring, `isolated.load_clip` makes the same clip in another one.

    Raises:
        VideoError: if the file is missing, empty, cut off, without a video stream, or not a video, if most of its
            frames cannot be read, or if FFmpeg is not installed.
    """
    path = Path(path).absolute()  # FFmpeg takes "a:b.mp4" for an address
    check_whole(path)
    if is_webp(path):
        return _load_film(webp_film(path), config)
    with listening() as heard:
        clip, stream = _decode(path, config)
    notes = [ENDS_EARLY.format(clip.duration_seconds)] if _ends_early(path) else []
    if heard.errors and stream is not None:
        notes += _damage_notes(path, damage(path, stream))
        # What a decoder puts in the place of what it cannot read depends on how far its threads have come: with one
        # thread the same file gives the same frames each time.
        before = _num_threads.set(1)
        try:
            clip, _ = _decode(path, config)
        finally:
            _num_threads.reset(before)
    return replace(clip, notes=(*clip.notes, *notes))


def _damage_notes(path: Path, found: Damage) -> list[str]:
    """What to say of a file in which something is wrong.

    Raises:
        VideoError: if so much is wrong that a score would not be one of the video.
    """
    if found.num_read < READABLE_SHARE * found.num_frames:
        raise VideoError(
            f"{path.name} is damaged: {found.num_read} of its {found.num_frames} frames can be read without an error; "
            "download or export it again"
        )
    return [DAMAGED.format(found.num_frames - found.num_read, found.num_frames)] * (found.num_read < found.num_frames)


def _decode(path: Path, config: ClipConfig) -> tuple[Clip, str | None]:
    """The clip of a file, and FFmpeg's name of the stream; None if it was rendered, and its damage is known."""
    stream, num_frames, how = "0:v:0", None, Look()  # FFmpeg's name of the stream that torchcodec chose; its first look
    try:
        decoder = open_video(path)
        stream, num_frames = f"0:{decoder.metadata.stream_index}", len(decoder)
        how = look(path, decoder.metadata)
        return _load(path, decoder, how, config), None if how.is_odd else stream
    except _SeekError as problem:
        try:
            # MPEG streams have no index: a copy in a container that has one shows the same frames, if it has as many.
            # Others hold more than they show, such as what an edit list hides, pictures that refer to frames before a
            # cut, frames of another size: they are decoded from end to end.
            if num_frames is None:  # no scan has told how it is shown
                description = describe(path)
                stream, how = f"0:{description.stream_index}", look(path, description)
                stream = how.streams[0] if how.streams else stream
            elif (clip := _load_copy(path, stream, num_frames, config)) is not None:
                return clip, stream
            shown = film(path, stream, how)
            if num_frames is None:  # nobody has looked yet
                _check_end(path, shown.end_seconds - shown.seconds[0], shown.promised_seconds)
            return _load_film(shown, config), None
        except _CutOffError:
            raise
        except VideoError as error:
            raise problem from error


def _load(path: Path, decoder: VideoDecoder, how: Look, config: ClipConfig) -> Clip:
    """The clip of a file that can be sought in, or that has to be rendered whatever it is."""
    stream = _inspect(path, decoder, how)
    if how.is_odd:
        shown = film(path, how.streams[0] if how.streams else f"0:{decoder.metadata.stream_index}", how)
        if len(shown.seconds) == stream.num_frames:  # the scan knows how long the last frame stays
            end = shown.seconds[0] + stream.end_seconds - stream.begin_seconds
            if end > shown.seconds[-1]:  # else its clock began anew within the file
                shown = replace(shown, end_seconds=end)
        return _load_film(shown, config)
    if any(view.window is not None for view in config.views):
        views = _show_together(path, decoder, stream, config)
    else:
        of_views = [_show_view(path, stream, view, config) for view in config.views]
        views = [of_view[look] for look in range(config.looks) for of_view in of_views]
    return _clip(views, stream, config, how.notes)


def _load_copy(path: Path, stream: str, num_frames: int, config: ClipConfig) -> Clip | None:
    """The clip of a copy of `stream` that can be sought in; None if that cannot be made, or shows other frames."""
    with tempfile.TemporaryDirectory() as folder, suppress(VideoError):
        copy = Path(folder) / "copy.mkv"
        ffmpeg("-fflags", "+genpts", *source(path), "-map", stream, "-c", "copy", str(copy), name=path.name)
        decoder = open_video(copy)
        if len(decoder) == num_frames:
            return _load(copy, decoder, look(copy, decoder.metadata), config)
    return None


def _load_film(shown: Film, config: ClipConfig) -> Clip:
    """The clip of a file whose frames have to be rendered: those that a view looks at, and no others."""
    check_size(shown.path, shown.height, round(shown.width * shown.pixel_aspect))
    begin, end, num_frames = shown.seconds[0], shown.end_seconds, len(shown.seconds)
    check_limits(shown.path, num_frames=num_frames, seconds=end - begin, num_pixels=shown.height * shown.width)
    rate = num_frames / (end - begin) if end > begin else WINDOW_FRAMES_PER_SECOND
    are_together = any(view.window is not None for view in config.views)
    line, spans = Timeline(num_frames, rate), dict(enumerate(pairwise((*shown.seconds, end))))
    if not are_together or not are_in_time(line.indices(config), spans, (num_frames, begin, end), config):
        line = Timeline.timed(shown.seconds, end, shown.rate)
    indices, around = line.indices(config), line.around(config)
    wanted = sorted(around.union(*indices))
    order = {index: position for position, index in enumerate(wanted)}  # in the copy
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mkv"
        shown.write(wanted, copy)
        decoder = open_video(copy)
        height, width = decoder.metadata.height, decoder.metadata.width
        if len(decoder) != len(wanted) or not height or not width:
            raise VideoError(f"{shown.path.name} cannot be read as a video: {LOST}")
        stream = _Stream(num_frames, height, width, begin, end)
        if are_together:
            shape, places = _common_shape(stream, config), [[order[index] for index in view] for view in indices]
            seen = _decode_views(copy, decoder, places, {order[index] for index in around}, shape, config)
            thumbnails = {wanted[place]: each for place, each in seen.thumbnails.items()}
            if indices != (settled := line.settled(config, thumbnails)):
                indices, places = settled, [[order[index] for index in view] for view in settled]
                seen = _decode_views(copy, decoder, places, set(), shape, config)
            frames = seen.frames
        else:
            frames = [
                _framed(
                    open_video(copy, transforms=_transforms(stream, view, config))
                    .get_frames_at([order[index] for index in of_view])
                    .data,
                    view,
                    config,
                )
                for (view, _), of_view in zip(config.all_views, indices, strict=True)
            ]
    times = [tuple(shown.seconds[index] for index in view) for view in indices]
    damaged = _damage_notes(shown.path, Damage(num_frames, max(0, num_frames - shown.num_damaged)))
    return _clip(list(zip(frames, times, strict=True)), stream, config, (*shown.look.notes, *damaged))


def _clip(shown: list[_Shown], stream: _Stream, config: ClipConfig, notes: tuple[str, ...]) -> Clip:
    first, *others = looks_of([frames for frames, _ in shown], config)  # (T, 3, crop, crop) uint8 each
    return Clip(first, shown[0][1], stream.end_seconds - stream.begin_seconds, tuple(others), notes)


def _show_view(path: Path, stream: _Stream, view: View, config: ClipConfig) -> list[_Shown]:
    """What a view of the whole clip shows in each look, resized and cropped inside FFmpeg."""
    begin, end, count = stream.begin_seconds, stream.end_seconds, view.num_frames or config.num_frames
    # The first frame is looked at too: a cut may have left pictures before it that nobody sees, but the scan counts.
    times = [begin, *(time for place in config.places for time in frame_times(begin, end, count, place=place))]
    decoder = open_video(path, transforms=_transforms(stream, view, config))
    try:
        batch = decoder.get_frames_played_at(times)
    except (RuntimeError, IndexError) as error:
        raise _SeekError(str(_unreadable(path, error))) from error
    if (batch.pts_seconds > torch.tensor(times, dtype=torch.float64) + TIME_TOLERANCE_SECONDS).any():
        raise _SeekError(f"{path.name} cannot be read as a video: {LOST}")  # a frame from after the moment asked for
    frames, seconds = _framed(batch.data[1:], view, config), batch.pts_seconds[1:].tolist()
    return [
        (frames[start : start + count], tuple(seconds[start : start + count]))
        for start in range(0, config.looks * count, count)
    ]


def _transforms(stream: _Stream, view: View, config: ClipConfig) -> list[DecoderTransform]:
    """What FFmpeg does to each frame of a view of the whole clip."""
    from torchcodec.transforms import CenterCrop, Resize

    resize, crop = Resize(view_shape(stream.height, stream.width, view, config)), config.crop_size
    return [resize, CenterCrop((crop, crop))] if view.framing == "crop" else [resize]


def _framed(frames: Tensor, view: View, config: ClipConfig) -> Tensor:
    return frames if view.framing != "fragments" else fragments(frames, config.crop_size, view.grid)


def _show_together(path: Path, decoder: VideoDecoder, stream: _Stream, config: ClipConfig) -> list[_Shown]:
    """What all views of all looks show, decoded in one pass over the file by frame number, no larger than a view needs.

    If the frame rate varies, frame numbers miss what is on the screen: a second pass finds the frames by their times.
    If the frames around a window say that it belongs elsewhere, another pass finds those.
    """
    shape, line = _common_shape(stream, config), Timeline(stream.num_frames, stream.rate)
    indices = line.indices(config)
    seen = _decode_views(path, decoder, indices, line.around(config), shape, config)
    if not are_in_time(indices, seen.spans, (stream.num_frames, stream.begin_seconds, stream.end_seconds), config):
        seconds, rate = frame_clock(path, decoder.metadata.stream_index)
        if len(seconds) != stream.num_frames:
            raise _SeekError(f"{path.name} cannot be read as a video: {LOST}")
        line = Timeline.timed(seconds, stream.end_seconds, rate)
        indices = line.indices(config)
        seen = _decode_views(path, decoder, indices, line.around(config), shape, config)
    if indices != (settled := line.settled(config, seen.thumbnails)):
        indices = settled
        seen = _decode_views(path, decoder, indices, set(), shape, config)
    times = [tuple(seen.spans[index][0] for index in view) for view in indices]
    return list(zip(seen.frames, times, strict=True))


def _common_shape(stream: _Stream, config: ClipConfig) -> tuple[int, int]:
    """(height, width) of frames that are large enough for every view, and no larger than they are shown."""
    edge = max(view_edge(stream.height, stream.width, view, config) for view in config.views)
    return resized_shape(stream.height, stream.width, min(edge, stream.height, stream.width))


@dataclass(frozen=True)
class _Seen:
    """The frames (T, 3, crop, crop) uint8 of each of `config.all_views`; by number, from when until when each frame
    that was decoded is shown, and the thumbnails of those that were asked for."""

    frames: list[Tensor]
    spans: dict[int, tuple[float, float]]
    thumbnails: dict[int, Tensor]


def _decode_views(
    path: Path,
    decoder: VideoDecoder,
    indices: list[list[int]],
    around: set[int],
    shape: tuple[int, int],
    config: ClipConfig,
) -> _Seen:
    """What is seen of the frames at the `indices` of each of `config.all_views`, with thumbnails of those `around`."""
    spans: dict[int, tuple[float, float]] = {}
    thumbnails: dict[int, Tensor] = {}
    # What each view shows, in whichever look: the indices, and the frames by index.
    needed = [set().union(*indices[number :: len(config.views)]) for number in range(len(config.views))]
    frames: list[dict[int, Tensor]] = [{} for _ in config.views]
    # The first frame is looked at too: a cut may have left pictures before it that nobody sees, but the scan counts.
    for part, batch in _decode_counted(path, decoder, sorted(around.union([0], *indices)), shape):
        begins, durations = batch.pts_seconds.tolist(), batch.duration_seconds.tolist()
        spans |= {index: (a, a + length) for index, a, length in zip(part, begins, durations, strict=True)}
        for row, index in enumerate(part):
            if index in around:
                thumbnails[index] = thumbnail(batch.data[row : row + 1])[0]
        for view, of_view, found in zip(config.views, needed, frames, strict=True):
            for row, index in enumerate(part):
                if index in of_view:  # one at a time: several at once would be copied at full size first
                    found[index] = view_frames(batch.data[row : row + 1], view, config)[0]
    shown = []  # (T, 3, crop, crop) each
    for number, ((view, _), wanted) in enumerate(zip(config.all_views, indices, strict=True)):
        pictures = torch.stack([frames[number % len(config.views)][index] for index in wanted])
        shown.append(differences(pictures) if view.differences else pictures)
    return _Seen(shown, spans, thumbnails)


def _decode_counted(
    path: Path, decoder: VideoDecoder, indices: list[int], shape: tuple[int, int]
) -> Iterator[tuple[list[int], FrameBatch]]:
    """The frames at `indices`, resized to `shape`, a few at a time: their indices, and the batch of them."""
    from torchcodec._core import _test_frame_pts_equality  # what the scan found; the public index is not checked
    from torchcodec.transforms import Resize

    shrinking, some = open_video(path, transforms=[Resize(shape)]), max(1, DECODED_BYTES // (3 * shape[0] * shape[1]))
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


def clip_pixels(clip: Clip, config: ClipConfig, device: str | torch.device = "cpu") -> list[Tensor]:
    """The normalised pixels (1, C, T, crop, crop) float32 of each view of each look of a clip, for the model on
    `device`."""
    # The frames go there as bytes, a quarter of what floats would take.
    return [pixel_values(frames.to(device), config)[None] for frames in (clip.frames, *clip.more_views)]


def pixel_values(frames: Tensor, config: ClipConfig) -> Tensor:
    """Normalised pixels (C, T, H, W) float32 from frames (T, C, H, W) uint8, on their device; add a batch axis for the
    model."""
    mean, std = (
        torch.tensor(colours, device=frames.device).view(1, 3, 1, 1)
        for colours in (config.image_mean, config.image_std)
    )
    return ((frames / 255 - mean) / std).transpose(0, 1)  # (T, C, H, W) -> (C, T, H, W)


def write_video(path: str | Path, frames: Tensor, *, frames_per_second: float, crf: int = 18) -> None:
    """Write frames (T, 3, H, W) uint8 RGB to `path`, an .mp4, as H.264 that browsers play; whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    from torchcodec.encoders import VideoEncoder

    with replacing(Path(path).absolute()) as partial:
        try:
            VideoEncoder(frames, frame_rate=frames_per_second).to_file(
                partial, codec="libx264", pixel_format="yuv420p", crf=crf, extra_options=ENCODER_OPTIONS
            )
        except RuntimeError as error:  # FFmpeg's words for all that the system refuses, too
            for number in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO):
                if os.strerror(number) in str(error):
                    raise OSError(number, os.strerror(number), str(path)) from error
            raise


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

    FFmpeg judges a file by its content: it would open whatever other files a playlist names. Of a file of any size this
    reads `MAX_ID3_TAGS * HEAD_BYTES` bytes at most: a page does it for each upload, in its own process.

    Raises:
        VideoError: if the file is missing, a folder, unreadable, empty, text, or a still picture.
    """
    if is_folder(path):
        raise VideoError(f"{path.name or path} is a folder: name the videos in it")
    if not is_file(path):
        if os.path.lexists(path):
            raise VideoError(f"{path.name} is no file that can be read: a link that leads nowhere, a pipe or a device")
        if {"http:", "https:"} & set(path.parts):
            raise VideoError(f"{path.name} is an address of the web: download the video, and name the file")
        raise VideoError(f"{path.name}: no such file")
    with reading(path, kind=VideoError), path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        body, num_tags = head, 0
        while body.startswith(b"ID3") and len(body) > ID3_BYTES:
            num_tags += 1
            if num_tags > MAX_ID3_TAGS:
                raise VideoError(
                    f"{path.name} cannot be read as a video: it begins with more than {MAX_ID3_TAGS} tags (ID3); "
                    "export it again"
                )
            size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(body[6:ID3_BYTES])))
            file.seek(size + ID3_BYTES - len(body), os.SEEK_CUR)
            body = file.read(HEAD_BYTES)
    if not head:
        raise VideoError(f"{path.name} is empty (0 bytes); make or upload it again")
    if head.startswith(b"PK\x03\x04"):
        raise VideoError(f"{path.name} is a zip: name one of the videos in it, or score the zip as a batch")
    # Text has no control characters but white space and the escapes of terminal art; raw Y4M video begins like text.
    is_text = not any(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in head)
    if (is_text and not head.startswith(b"YUV4MPEG2")) or PLAYLIST.match(body.lstrip(BLANKS)):
        raise VideoError(f"{path.name} cannot be read as a video: it is a text file, or a playlist of other files")
    if head[4:8] == b"ftyp" and head[8:12] in STILL_IMAGE_BRANDS:
        box = head[: int.from_bytes(head[:4], "big")]
        if not any(box[place : place + 4] in MOVING_IMAGE_BRANDS for place in range(16, len(box), 4)):
            raise VideoError(f"{path.name} is a still image; a video was expected")


def check_whole(path: Path) -> None:
    """`check_file`, and refuse an animation that ends before it should.

    It walks over all parts of a GIF or a PNG, of which a file may have millions: for the process that decodes, which
    has limits of time and memory.

    Raises:
        VideoError: as `check_file`, and if the end is missing.
    """
    check_file(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if is_cut_off(path, head):
        raise VideoError(f"{path.name} is cut off: its end is missing; download or export it again")


def open_video(path: Path, **settings: Any) -> VideoDecoder:
    """A decoder that has scanned the file, so that its times are exact for variable frame rates too."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        raise VideoError(
            f"FFmpeg's libraries are missing or do not load; install them: {install_line()} "
            f"(torchcodec: {_first_line(error)})"
        ) from error
    try:
        return VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=_num_threads.get(), **settings)
    except ValueError as error:  # torchcodec: "The best video stream is unknown"
        raise VideoError(f"{path.name} has no video stream (is it audio only?); a video was expected") from error
    except (RuntimeError, AssertionError) as error:
        if "seek" in str(error):  # it opens, but cannot be scanned
            raise _SeekError(f"{path.name} cannot be read as a video: {LOST}") from error
        raise _unreadable(path, error) from error


def _inspect(path: Path, decoder: VideoDecoder, how: Look) -> _Stream:
    """The stream that the scan found.

    Raises:
        VideoError: if it is a still image, holds no frames, is too large or too narrow, or is cut off.
    """
    from torchcodec._core import get_container_metadata  # the public metadata is per stream

    metadata, container, kind = decoder.metadata, get_container_metadata(decoder._decoder), signature(path)
    height, width = metadata.height, metadata.width
    begin, end = metadata.begin_stream_seconds, metadata.end_stream_seconds
    if not height or not width or begin is None or end is None:
        raise VideoError(f"{path.name} holds no frames; a video was expected")
    rate = metadata.average_fps_from_header
    if kind == "flv" and rate and len(decoder) > 1 and round((end - begin) * rate) == len(decoder) - 1:
        end += 1 / rate  # a Flash video does not say how long its last frame stays
    found, whole = end - begin, container.duration_seconds_from_header or 0.0
    has_sound = container.best_audio_stream_index is not None and whole > 2 * found
    if metadata.num_frames == 1 and (metadata.codec in STILL_IMAGE_CODECS or has_sound):
        raise VideoError(
            f"{path.name} is a still image, or sound with a cover picture ({metadata.codec}); a video was expected"
        )
    width = max(1, round(width * how.pixel_aspect))  # of square pixels
    check_size(path, height, width)
    check_limits(path, num_frames=len(decoder), seconds=end - begin, num_pixels=height * width)
    # Half a clip must not pass for the whole. MP4, MOV and AVI promise a number of frames and a duration. An edit list
    # hides frames and shortens the duration: so a file is cut off only where both fall short. Matroska, WebM and others
    # promise only the length of the longest stream, which is the video's for certain only where there is no other, or
    # where the file ends early. An AVI that was written to a pipe promises what FFmpeg makes of sizes that nobody knew.
    promised = metadata.duration_seconds_from_header
    is_complete = metadata.num_frames_from_header is not None and (
        (metadata.num_frames_from_content or 0) >= TRUNCATED_BELOW * metadata.num_frames_from_header
    )
    if kind == "avi" and not is_size_known(path):
        promised = None
    elif promised is None and (len(container.streams) == 1 or (kind == "matroska" and _ends_early(path))):
        promised = whole - max(begin, 0.0) if kind == "matroska" else whole  # Matroska's counts from 0 to the end
    if not is_complete:
        _check_end(path, found, promised)
    return _Stream(len(decoder), height, width, begin, end)


def _check_end(path: Path, found: float, promised: float | None) -> None:
    """Refuse a file that holds less than the seconds, or much less than the bytes, that it promises."""
    if promised is not None and found < TRUNCATED_BELOW * promised:
        raise _CutOffError(
            f"{path.name} is cut off: {found:.1f} s of the {promised:.1f} s that its header promises are there; "
            "download or export it again"
        )
    size, least = path.stat().st_size, least_bytes(path)
    if size < TRUNCATED_BELOW * least:
        raise _cut_off(path, size, least)


def _ends_early(path: Path) -> bool:
    return path.stat().st_size < least_bytes(path)


def _cut_off(path: Path, size: int, least: int) -> VideoError:
    return _CutOffError(
        f"{path.name} is cut off: {size:,} of the {least:,} bytes that its parts should have are there; "
        "download or export it again"
    )


def _unreadable(path: Path, error: Exception) -> VideoError:
    if path.is_file() and (size := path.stat().st_size) < (least := least_bytes(path)):
        return _cut_off(path, size, least)
    reason = _first_line(error)
    if "FrameDims" in reason:  # torchcodec's, for a frame of more pixels than FFmpeg takes
        return VideoError(f"{path.name} cannot be read as a video: its header names frames too large for FFmpeg")
    if ".cpp:" in reason:  # torchcodec puts its source file and line before FFmpeg's own words
        reason = reason.rpartition(".cpp:")[2].partition(", ")[2]
    reason = reason.replace(f"Could not open input file: {path}", "").strip(" .")
    return VideoError(
        f"{path.name} cannot be read as a video: {reason}; it is damaged, incomplete, or not a video file"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
