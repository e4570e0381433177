"""Which frames of a video a model looks at, and which pixels of each frame: arithmetic, apart from decoding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import floor

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_demo.config import ClipConfig, View

WINDOW_FRAMES_PER_SECOND = 30.0  # a window of a faster video takes every second frame of it, or fewer
TIME_TOLERANCE_SECONDS = 1e-3  # between a frame's own times and the moment it was asked for


# Where a look is centred is its `place`, a share of the clip from 0 to 1: 0.5 where there is one look.


def frame_times(begin_seconds: float, end_seconds: float, num_frames: int, *, place: float = 0.5) -> list[float]:
    """The moments at `place` of `num_frames` equal parts of [begin, end), by default their centres: uniform in time,
    never on a frame's edge.

    A video with fewer frames than `num_frames` gets its frames repeated, each about equally often.
    """
    step = (end_seconds - begin_seconds) / num_frames
    return [begin_seconds + (index + place) * step for index in range(num_frames)]


def uniform_indices(num_source: int, num_frames: int, *, place: float = 0.5) -> list[int]:
    """Which of `num_source` frames lie at `place` of `num_frames` equal parts of them, by default at their centres."""
    return [int((index + place) * num_source / num_frames) for index in range(num_frames)]


def window_indices(
    num_source: int, frames_per_second: float, window: int, num_frames: int, *, place: float = 0.5
) -> list[int]:
    """`num_frames` of `num_source` frames, in pairs of neighbours spread over the `window` frames around `place`, or as
    near to that as they fit into the video.

    Frames are counted, not looked up by time: so a frame that comes twice comes twice in the video too. A video faster
    than 30 frames a second is thinned to every second frame, every third and so on, as far as it has enough frames.
    A video shorter than the window repeats its first and its last frame.
    """
    step = max(1, min(round(frames_per_second / WINDOW_FRAMES_PER_SECOND), num_source // window))
    spare = num_source - window * step  # frames outside the window; below 0 where the video is too short
    first = spare // 2 if spare < 0 else min(max(floor(place * num_source - window * step / 2), 0), spare)
    pairs = [int((pair + 0.5) * window / (num_frames // 2)) - 1 for pair in range(num_frames // 2)]
    indices = [first + (start + neighbour) * step for start in pairs for neighbour in (0, 1)]
    return [min(max(index, 0), num_source - 1) for index in indices]


def view_indices(
    view: View, num_source: int, frames_per_second: float, config: ClipConfig, *, place: float = 0.5
) -> list[int]:
    """Which of a video's `num_source` frames `view` shows, in the look at `place`."""
    num_frames = view.num_frames or config.num_frames
    if view.window is None:
        return uniform_indices(num_source, num_frames, place=place)
    return window_indices(num_source, frames_per_second, view.window, num_frames, place=place)


def are_in_time(
    indices: Sequence[Sequence[int]],
    spans: Mapping[int, tuple[float, float]],
    length: tuple[int, float, float],
    config: ClipConfig,
) -> bool:
    """Whether the `indices` of each of `config.all_views`, found by counting, are what it should show: no if the frame
    rate varies.

    `spans` says from when until when each frame is shown; `length` is the number of the video's frames, and from when
    to when they last. A view of the whole clip shows each frame at its moment, give or take a quarter of a frame (a GIF
    counts hundredths of a second); a window lies no more than a frame from where a constant frame rate has it.
    """
    num_source, begin, end = length
    step = (end - begin) / num_source
    for (view, place), wanted in zip(config.all_views, indices, strict=True):
        moments = frame_times(begin, end, len(wanted), place=place)
        for index, moment in zip(wanted, moments, strict=True):
            (first, last), early = spans[index], step / 4
            if view.window is not None:
                last, early, moment = first + step, step, begin + index * step
            if not first - early - TIME_TOLERANCE_SECONDS <= moment <= last + TIME_TOLERANCE_SECONDS:
                return False
    return True


def timed_indices(
    view: View,
    seconds: Sequence[float],
    end_seconds: float,
    constant_rate: float,
    config: ClipConfig,
    *,
    place: float = 0.5,
) -> list[int]:
    """As `view_indices`, of a video that begins to show its frames at `seconds`, which rise, at whatever rate.

    Equal viewing gives equal frames: a window counts the frames that a copy of `constant_rate` frames a second has,
    which shows a frame again for as long as it stays.
    """
    begin = seconds[0]
    if view.window is None:
        moments = frame_times(begin, end_seconds, view.num_frames or config.num_frames, place=place)
        moments = [moment + TIME_TOLERANCE_SECONDS for moment in moments]  # containers round: a frame due now is shown
    else:  # a frame of the copy shows what begins up to half a frame later
        num_slots = max(1, round((end_seconds - begin) * constant_rate))
        slots = view_indices(view, num_slots, constant_rate, config, place=place)
        moments = [begin + (slot + 0.5) / constant_rate - TIME_TOLERANCE_SECONDS for slot in slots]
    return [max(0, bisect_right(seconds, moment) - 1) for moment in moments]


def resized_shape(height: int, width: int, shortest_edge: int) -> tuple[int, int]:
    """(height, width) after scaling so that the shorter side is `shortest_edge`, the longer one rounded down
    (transformers, `get_resize_output_image_size`)."""
    if height <= width:
        return shortest_edge, int(shortest_edge * width / height)
    return int(shortest_edge * height / width), shortest_edge


def view_edge(height: int, width: int, view: View, config: ClipConfig) -> int:
    """The pixels that the shortest edge of a frame needs for `view`.

    Fragments are cut from the frame at its own resolution, within two limits: `view.edge` at most, the crop at least.
    """
    if view.framing == "fragments":
        return max(config.crop_size, min(height, width, view.edge or max(height, width)))
    return config.crop_size if view.framing == "squeeze" else view.edge or config.resize_edge


def view_shape(height: int, width: int, view: View, config: ClipConfig) -> tuple[int, int]:
    """(height, width) to which `view` resizes a frame, before it crops it or cuts pieces from it."""
    if view.framing == "squeeze":
        return config.crop_size, config.crop_size
    return resized_shape(height, width, view_edge(height, width, view, config))


def view_frames(frames: Tensor, view: View, config: ClipConfig) -> Tensor:
    """What `view` shows of its frames (T, 3, H, W) uint8: (T, 3, crop, crop) uint8."""
    crop = config.crop_size
    height, width = frames.shape[-2:]
    shape = view_shape(height, width, view, config)
    if (height, width) != shape:
        frames = F.interpolate(frames, size=shape, mode="bilinear", antialias=True)  # (T, 3, *shape)
    if view.framing == "fragments":
        return fragments(frames, crop, view.grid)
    top, left = (round((size - crop) / 2) for size in shape)
    return frames[..., top : top + crop, left : left + crop]


def fragments(frames: Tensor, crop: int, grid: int) -> Tensor:
    """`grid` x `grid` pieces of frames (T, C, H, W), put together to (T, C, crop, crop).

    Each piece comes unscaled from the middle of its part of the frame. The crop is a multiple of `grid`.
    """
    piece = crop // grid
    rows, columns = (
        torch.cat([int((part + 0.5) * size / grid - piece / 2) + torch.arange(piece) for part in range(grid)])
        for size in frames.shape[-2:]
    )
    return frames[..., rows[:, None], columns]


def differences(frames: Tensor) -> Tensor:
    """What changes from frame to frame of (T, C, H, W) uint8, T > 1: 128 + 2 * (frame - the one before), cut to 0..255.

    The first frame has none before it: it gets the difference of the second.
    """
    changes = 128 + 2 * frames.short().diff(dim=0)  # (T - 1, C, H, W)
    return torch.cat([changes[:1], changes]).clamp(0, 255).to(torch.uint8)


def looks_of(views: Sequence[Tensor], config: ClipConfig) -> list[Tensor]:
    """The frames (T, 3, crop, crop) of `config.all_views`, in whose order `views` are, as a model sees them: those of
    every second look mirrored."""
    return [frames.flip(-1) if number // len(config.views) % 2 else frames for number, frames in enumerate(views)]


def clip_views(frames: Tensor, frames_per_second: float, config: ClipConfig) -> list[Tensor]:
    """What a model sees of the frames (T, 3, H, W) uint8 of a whole clip, decoded already: the frames (T, 3, crop,
    crop) uint8 of each of `config.all_views`."""
    shown = []
    for view, place in config.all_views:
        rows = view_indices(view, len(frames), frames_per_second, config, place=place)
        pictures = view_frames(frames[rows], view, config)
        shown.append(differences(pictures) if view.differences else pictures)
    return looks_of(shown, config)
