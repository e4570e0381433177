"""Which frames of a video a model looks at, and which pixels of each frame: arithmetic, apart from decoding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import floor
from statistics import fmean, median

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


# ---- windows that show a clip's own frames, of one shot --------------------------------------------------------------

REGION_WINDOWS = 3  # the frames around a window that are looked through, in windows
THUMBNAIL_EDGE = 32  # pixels of the shortest edge of what is compared
REPEAT_SHARES = 0.1, 0.2, 0.3  # of a usual change: frames that change less may repeat the one before
MIN_REPEATS = 4  # that tell a rhythm
MAX_RHYTHM = 16  # frames after which the rhythm of repeats begins anew, unless it is that of two of these rates
USUAL_RATES = 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0  # frames a second
STEADY_RATE, STEADY_HOLD = 20.0, 2.0  # own frames a second, and frames for each of them: see `Surroundings`
LEAP = 1.18  # a step after a held frame that is so many times the others tells that frames were lost
CUT_CHANGE, CUT_COLOURS = 3.0, 0.5  # of a cut: usual changes, and the distance of colours from 0 to 1
COLOUR_LEVELS = 4  # of each colour, in a histogram
SHOT_FRAMES = 8  # before and after a cut whose colours are compared


def window_region(num_source: int, frames_per_second: float, config: ClipConfig, *, place: float = 0.5) -> range:
    """The frames around the windows of the look at `place` that have to be known to place them; none without a window.

    They hold whatever frames `Surroundings.window` may choose.
    """
    windows = [view.window for view in config.views if view.window is not None]
    if not windows:
        return range(0)
    size = REGION_WINDOWS * max(windows)
    step = max(1, round(frames_per_second / WINDOW_FRAMES_PER_SECOND))
    first = floor(place * num_source - size * step / 2)
    return range(max(0, first), min(num_source, first + size * step))


def thumbnail(frames: Tensor) -> Tensor:
    """Frames (T, 3, H, W) uint8 as they are compared: (T, 3, h, w) float32, h or w `THUMBNAIL_EDGE` pixels at most.

    Of a large frame every fourth pixel or so is looked at: all of them would cost as much as a view.
    """
    skip = max(1, min(frames.shape[-2:]) // (4 * THUMBNAIL_EDGE))
    frames = frames[..., ::skip, ::skip]
    height, width = frames.shape[-2:]
    shape = resized_shape(height, width, min(THUMBNAIL_EDGE, height, width))
    return F.interpolate(frames, size=shape, mode="bilinear", antialias=True).float()


@dataclass(frozen=True)
class Surroundings:
    """What the frames of a `window_region` are.

    `own` are those that do not merely repeat the one before, as numbers of the clip's frames: all of them, unless the
    clip was re-rated. `num_before` of `num_own` such frames, `rate` a second, come before them. `cuts` say at which
    places of `own` another shot begins.

    A clip is re-rated, to more frames a second, if frames repeat the one before in a steady rhythm, such as every
    fourth one. A stutter has a rhythm too. It is told by what it leaves: fewer than `STEADY_RATE` own frames a second
    that stay for `STEADY_HOLD` frames or longer, or a leap after each frame that is held longer than others, because
    time went on.
    """

    own: tuple[int, ...]
    num_before: int
    num_own: int
    rate: float
    cuts: tuple[int, ...] = ()

    def window(self, view: View, config: ClipConfig, *, place: float = 0.5) -> list[int]:
        """As `view_indices`, of a view with a window: of own frames only, and of one shot where that is long enough."""
        assert view.window is not None
        shown = view_indices(view, self.num_own, self.rate, config, place=place)
        first, *_, last = window_indices(self.num_own, self.rate, view.window, view.window, place=place)
        move = self._move(first - self.num_before, last - self.num_before) - self.num_before
        return [self.own[min(max(number + move, 0), len(self.own) - 1)] for number in shown]

    def _move(self, first: int, last: int) -> int:
        """By how many places of `own` a window from `first` to `last` moves to lie in the shot that has most of it, of
        those that are long enough."""
        shots = [(begin, end) for begin, end in pairwise((0, *self.cuts, len(self.own))) if end - begin > last - first]
        if not shots:
            return 0
        begin, end = max(shots, key=lambda shot: min(shot[1], last + 1) - max(shot[0], first))
        return max(begin - first, 0) + min(end - 1 - last, 0)


def surroundings(region: range, thumbnails: Tensor, num_source: int, frames_per_second: float) -> Surroundings:
    """What the frames of `region` are, of a video of `num_source`, by their `thumbnails` (T, 3, h, w)."""
    found = _without_repeats(region, _changes(thumbnails), num_source, frames_per_second) or Surroundings(
        tuple(region), region.start, num_source, frames_per_second
    )
    return replace(found, cuts=_cuts(thumbnails[[frame - region.start for frame in found.own]]))


def _changes(thumbnails: Tensor) -> list[float]:
    """How far each of T frames is from the one before (T - 1), in levels of 255."""
    changes: list[float] = thumbnails.diff(dim=0).abs().mean(dim=(1, 2, 3)).tolist()
    return changes


def _without_peaks(changes: Sequence[float]) -> list[float]:
    """`changes`, of which the two largest, which may be cuts, are no more than the third."""
    most = sorted(changes)[-3:][0]
    return [min(change, most) for change in changes]


def _usual(changes: Sequence[float]) -> float:
    """The median of those `changes` that are no repeats."""
    capped = _without_peaks(changes)
    return median(change for change in capped if change >= fmean(capped) / 2)


def _without_repeats(
    region: range, changes: Sequence[float], num_source: int, frames_per_second: float
) -> Surroundings | None:
    """The surroundings of a clip that was re-rated; None for any other."""
    if len(changes) < MIN_REPEATS:
        return None
    usual, changes = _usual(changes), _without_peaks(changes)
    for least in REPEAT_SHARES:
        new = [place for place, change in enumerate(changes, start=1) if change >= least * usual]
        if MIN_REPEATS <= len(new) <= len(changes) - MIN_REPEATS and (share := _rhythm(new, frames_per_second)):
            break
    else:
        return None
    if frames_per_second * share < STEADY_RATE and 1 / share >= STEADY_HOLD:
        return None
    holds = [after - before for before, after in pairwise(new)]
    after_long = [changes[new[i + 1] - 1] for i, hold in enumerate(holds) if hold > min(holds)]
    after_short = [changes[new[i + 1] - 1] for i, hold in enumerate(holds) if hold == min(holds)]
    if after_long and fmean(after_long) >= LEAP * fmean(after_short):
        return None
    own = [region.start + place for place in ([0, *new] if region.start == 0 else new)]
    # What rounding to whole frames adds or takes is less than half a frame on average.
    before = round(fmean(frame * share - number for number, frame in enumerate(own)))
    return Surroundings(tuple(own), before, max(1, round(num_source * share)), frames_per_second * share)


def _rhythm(new: Sequence[int], frames_per_second: float) -> float | None:
    """Which share of the frames is new, where they are `new` at these places: the simplest that rounding to whole
    frames turns into them, or else that of one of `USUAL_RATES`; None if there is none."""
    mean = (len(new) - 1) / (new[-1] - new[0])
    simple = [round(mean * length) / length for length in range(2, MAX_RHYTHM + 1)]
    for share in (*simple, *(rate / frames_per_second for rate in USUAL_RATES)):
        if 0 < share < 1:
            late = [place - number / share for number, place in enumerate(new)]
            if max(late) - min(late) < 1 - 1e-9:
                return share
    return None


def _cuts(thumbnails: Tensor) -> tuple[int, ...]:
    """Before which of T frames another shot begins: it changes far more than others do, and its colours are others."""
    changes = _changes(thumbnails)
    if not changes:
        return ()
    levels = (thumbnails * (COLOUR_LEVELS / 256)).long()  # of each colour
    colours = (levels[:, 0] * COLOUR_LEVELS + levels[:, 1]) * COLOUR_LEVELS + levels[:, 2]  # (T, h, w)
    shares = F.one_hot(colours.flatten(1), COLOUR_LEVELS**3).float().mean(dim=1)  # (T, colours)
    far = CUT_CHANGE * _usual(changes)
    return tuple(
        place
        for place, change in enumerate(changes, start=1)
        if change > far
        and (shares[max(0, place - SHOT_FRAMES) : place].mean(dim=0) - shares[place : place + SHOT_FRAMES].mean(dim=0))
        .abs()
        .sum()
        > 2 * CUT_COLOURS
    )


@dataclass(frozen=True)
class Timeline:
    """A video's frames as a copy of it with `rate` frames a second counts them, which has `num_slots`.

    By default a slot is a frame. Where the frame rate varies, frame i is shown from `seconds[i]` on, which rise, and
    the last one until `end_seconds`: a frame that stays for longer takes more slots, so that equal viewing gives equal
    frames.
    """

    num_slots: int
    rate: float
    seconds: Sequence[float] = ()
    end_seconds: float = 0.0

    @classmethod
    def timed(cls, seconds: Sequence[float], end_seconds: float, constant_rate: float) -> Timeline:
        """The timeline of frames that begin to be shown at `seconds`."""
        num_slots = max(1, round((end_seconds - seconds[0]) * constant_rate))
        return cls(num_slots, constant_rate, seconds, end_seconds)

    def frame(self, slot: int) -> int:
        """Which of the video's frames `slot` shows: of several that begin in it, the last in its first half."""
        if not self.seconds:
            return slot
        return self._shown_at(self.seconds[0] + (slot + 0.5) / self.rate - TIME_TOLERANCE_SECONDS)

    def _shown_at(self, moment: float) -> int:
        return max(0, bisect_right(self.seconds, moment) - 1)

    def around(self, config: ClipConfig) -> set[int]:
        """The frames that have to be known to settle the windows."""
        regions = (window_region(self.num_slots, self.rate, config, place=place) for place in config.places)
        return {self.frame(slot) for region in regions for slot in region}

    def indices(self, config: ClipConfig) -> list[list[int]]:
        """The frames that each of `config.all_views` shows, as far as they can be told without seeing any."""
        return [self._view(view, config, place) for view, place in config.all_views]

    def settled(self, config: ClipConfig, thumbnails: Mapping[int, Tensor]) -> list[list[int]]:
        """The frames that each of `config.all_views` shows, with windows as `Surroundings` places them. `thumbnails`
        (3, h, w) are there of each frame `around` them."""
        around = {}
        for place in config.places:
            if slots := window_region(self.num_slots, self.rate, config, place=place):
                seen = torch.stack([thumbnails[self.frame(slot)] for slot in slots])
                around[place] = surroundings(slots, seen, self.num_slots, self.rate)
        return [
            self._view(view, config, place)
            if view.window is None
            else [self.frame(slot) for slot in around[place].window(view, config, place=place)]
            for view, place in config.all_views
        ]

    def _view(self, view: View, config: ClipConfig, place: float) -> list[int]:
        if self.seconds and view.window is None:
            times = frame_times(self.seconds[0], self.end_seconds, view.num_frames or config.num_frames, place=place)
            return [self._shown_at(time + TIME_TOLERANCE_SECONDS) for time in times]  # what is due now is shown
        slots = view_indices(view, self.num_slots, self.rate, config, place=place)
        return [self.frame(slot) for slot in slots]


def clip_views(frames: Tensor, frames_per_second: float, config: ClipConfig) -> list[Tensor]:
    """What a model sees of the frames (T, 3, H, W) uint8 of a whole clip, decoded already: the frames (T, 3, crop,
    crop) uint8 of each of `config.all_views`."""
    line = Timeline(len(frames), frames_per_second)
    thumbnails = {index: thumbnail(frames[index : index + 1])[0] for index in line.around(config)}
    shown = []
    for (view, _), rows in zip(config.all_views, line.settled(config, thumbnails), strict=True):
        pictures = view_frames(frames[rows], view, config)
        shown.append(differences(pictures) if view.differences else pictures)
    return looks_of(shown, config)
