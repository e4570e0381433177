"""Faults of a clip: how each fault is made, and how much of its dimension it costs a viewer.

A cost is measured between the frames before and after the fault, so that only what is visible costs anything. Blur of a
smooth picture, stutter of a still one and compression without artefacts cost almost nothing. The cost of a visible
fault also grows with its severity. A lack of light is measured on the final clip, because a dim scene and a darkened
one look alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from vjepa_demo.media.video import recode
from vjepa_demo.procedural.scenes import gaussian, pixel_grid

CODED_FRAMES_PER_SECOND = 30.0
MEASURED_FRAMES = 4  # number of frames in which a fault is measured that is the same in every frame


@dataclass(frozen=True)
class Degradation:
    """One fault of a clip: a kind of `DEGRADATIONS`, and a severity in (0, 1].

    Raises:
        ValueError: if the kind is unknown or the severity lies outside its range.
    """

    kind: str
    severity: float

    def __post_init__(self) -> None:
        if self.kind not in DEGRADATIONS:
            raise ValueError(f"unknown degradation {self.kind!r}, expected one of {sorted(DEGRADATIONS)}")
        if not 0 < self.severity <= 1:
            raise ValueError(f"severity of {self.kind} must lie in (0, 1], got {self.severity}")


@dataclass(frozen=True)
class Footage:
    """Some frames (K, 3, H, W) uint8 of a clip of `num_frames`: those at the ascending `places` (K,).

    `watched` is the first and the last place of the part that is watched frame by frame; None where that is the clip.
    """

    frames: Tensor
    places: np.ndarray
    num_frames: int
    watched: tuple[int, int] | None = None

    @property
    def window(self) -> tuple[int, int]:
        """The first and the last place of the part that is watched frame by frame."""
        return self.watched or (0, self.num_frames - 1)

    def at(self, wanted: np.ndarray) -> Tensor:
        """The frames (T, 3, H, W) uint8 at the places `wanted` (T,); the nearest frame stands in for a missing one."""
        after = np.searchsorted(self.places, wanted).clip(1, max(1, len(self.places) - 1))
        before = after - 1
        last = len(self.places) - 1
        nearer = abs(self.places[before] - wanted) <= abs(self.places[after.clip(max=last)] - wanted)
        return self.frames[torch.from_numpy(np.where(nearer, before, after.clip(max=last)))]


def draw_degradations(rng: np.random.Generator, chance: float = 0.5) -> tuple[Degradation, ...]:
    """At most one fault of each of Aesthetic, Temporal and Traditional, with probability `chance` and any severity."""
    drawn = []
    for dimension in ("Aesthetic", "Temporal", "Traditional"):
        kinds = [kind for kind, degrader in DEGRADATIONS.items() if degrader.dimension == dimension]
        weights = np.array([DEGRADATIONS[kind].weight for kind in kinds])
        kind, severity = str(rng.choice(kinds, p=weights / weights.sum())), 1.0 - rng.random()
        if rng.random() < chance:
            drawn.append(Degradation(kind, severity))
    return tuple(drawn)


def degrade(
    footage: Footage,
    degradations: Sequence[Degradation],
    rng: np.random.Generator,
    *,
    shown: np.ndarray | None = None,
    seen: Sequence[slice] = (slice(None),),
) -> tuple[Tensor, dict[str, float]]:
    """Frames (T, 3, H, W) uint8 with faults, and what each kind of fault costs its dimension, 0 to 0.95 of the scale.

    The frames are those at the places `shown` (T,) of the clip, by default all. `seen` are the parts of them that a
    viewer watches, each in the order of time: a fault costs what can be seen in one of them. Faults that rearrange
    frames come first, the others follow in the order given.
    """
    places = np.arange(footage.num_frames) if shown is None else shown
    frames, costs = footage.at(places), {}
    for degradation in degradations:
        if reorder := DEGRADATIONS[degradation.kind].reorder:
            order = reorder(footage, degradation.severity, rng)
            rearranged = footage.at(order[places])
            parts = [(frames[part], rearranged[part]) for part in seen]
            costs[degradation.kind] = max(cost_of(degradation, *part) for part in parts)
            frames = rearranged
    video = frames.float() / 255 if degradations else frames
    for degradation in degradations:
        if apply := DEGRADATIONS[degradation.kind].apply:
            before, video = video, apply(video, degradation.severity, rng).clamp_(0, 1)
            parts = [(before[part], video[part]) for part in seen]
            costs[degradation.kind] = max(cost_of(degradation, *part) for part in parts)
    return to_bytes(video) if degradations else frames, costs


def to_bytes(video: Tensor) -> Tensor:
    """Frames in 0..1 as uint8."""
    return (video * 255).add_(0.5).to(torch.uint8)


# ------------------------------------------------------------------------------------------------------------
# What a fault costs
# ------------------------------------------------------------------------------------------------------------

# The change of brightness, as a share of full scale, that makes a fault two thirds visible: its mean over the picture,
# or (Temporal) its root mean square, because a small thing that stutters before a still wall is seen at once.
_SHOWS_AT = {"Temporal": 0.012, "Aesthetic": 0.012}
_STEP_SHOWS_AT = 0.05  # the same of steps from frame to frame that are too small or too large, in a coarse picture
_STEP_ROWS = 48


def cost_of(degradation: Degradation, before: Tensor, after: Tensor) -> float:
    """The share of its dimension, 0 to 0.95, that a fault costs; `before` and `after` it are frames (T, 3, H, W)."""
    dimension, severity = DEGRADATIONS[degradation.kind].dimension, degradation.severity
    if dimension == "Traditional":
        measured = distortion(before, after)
        shows = 1 - math.exp(-measured / 0.08)
        return shows * (0.05 + 0.45 * severity + 0.45 * measured)
    if degradation.kind == "bright":  # only burnt-out pixels cost, at any severity: a dim scene gains by more light
        was, became = (_values(_few(frames)) for frames in (before, after))
        burnt_out = float(((became > 0.985) * (became - was)).clamp(min=0).mean())
        return 0.95 * (1 - math.exp(-((burnt_out / 0.1) ** 0.8)))
    if DEGRADATIONS[degradation.kind].reorder:  # severity is relative to a clip's length: only what shows counts
        uneven = unevenness(before, after)
        if degradation.kind == "shuffle":  # where all moves fast, steps in disorder are no larger
            uneven = max(uneven, _rms(_coarse(before) - _coarse(after)))
        return 0.95 * (1 - math.exp(-((uneven / _STEP_SHOWS_AT) ** 0.8)))
    if dimension == "Aesthetic":  # the same in every frame, but perhaps in colour alone
        changed = change(_few(before), _few(after))
    else:
        small, other = (F.avg_pool2d(brightness(frames), 4) for frames in (before, after))
        changed = _rms(small - other)
    return (1 - math.exp(-changed / _SHOWS_AT[dimension])) * (0.08 + 0.87 * severity)


def unevenness(before: Tensor, after: Tensor) -> float:
    """How much the steps from frame to frame of frames (T, 3, H, W) differ from those `before`, as a share of full
    scale.

    A held frame makes a step smaller, a jump makes one larger. What the frames show is not compared: after lost frames
    everything comes earlier, and a viewer sees only the jump. It is the root mean square over the steps, because one
    jump is seen at once. 0 for a single frame.
    """
    was, became = _steps(before), _steps(after)
    return math.sqrt(float((was - became).square().mean())) if len(was) else 0.0


def _steps(frames: Tensor) -> Tensor:
    """The root mean square of the change from each frame (T, 3, H, W) to the next (T - 1,), in a coarse picture, so
    that a far step of a fine texture counts for more than a near one."""
    coarse = _coarse(frames)
    return (coarse[1:] - coarse[:-1]).square().mean(dim=(1, 2, 3)).sqrt()


def _coarse(frames: Tensor) -> Tensor:
    """The brightness of frames (T, 3, H, W) in about `_STEP_ROWS` rows of square places."""
    return F.avg_pool2d(brightness(frames), max(1, round(min(frames.shape[2:]) / _STEP_ROWS)))


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def costs_seen(costs: Mapping[str, float], light: float) -> dict[str, float]:
    """`costs` from `degrade`, with the faults that take light priced by the light of the final clip.

    The first such fault costs `light` (from `cost_of_light`), the others cost nothing. Without such a fault, `light`
    counts as lost contrast.
    """
    seen, unanswered = {}, light
    for kind, cost in costs.items():
        seen[kind], unanswered = (unanswered, 0.0) if DEGRADATIONS[kind].takes_light else (cost, unanswered)
    return seen | ({"contrast": unanswered} if unanswered else {})


def cost_of_light(frames: Tensor) -> float:
    """The share of Aesthetic, 0 to 0.95, that a lack of light costs in frames (T, 3, H, W).

    Two things cost: a small range of brightness, and a picture that is almost all dark. The range goes from the 1st to
    the 99th percentile of brightness, mean over frames. Two thirds of full scale are enough; each halving below costs
    about a quarter (Weber's law, as with severities). A picture is dark if the mean lies low in that range. Brightness
    is measured in 32 x 32 places, so that blur and noise do not matter, and without the bars of a letterbox.
    """
    lit = brightness(frames[torch.linspace(0, len(frames) - 1, min(len(frames), 2 * MEASURED_FRAMES)).round().long()])
    brightest = lit.amax(dim=0)[0]
    shown = brightest >= 0.05 * brightest.max()
    lit = lit[:, :, shown.any(dim=1)][..., shown.any(dim=0)]
    places = F.adaptive_avg_pool2d(lit, 32).flatten(1)
    low, high = torch.quantile(places, torch.tensor([0.01, 0.99]), dim=1)
    spread = float((high - low).mean())
    height = float((places.mean(dim=1) - low).mean()) / max(spread, 0.01)
    flat = 0.4 * math.log(0.67 / max(spread, 0.01))
    deep = min(0.5, 0.4 * math.log(0.35 / max(height, 0.01)))
    return min(0.95, 1 - (1 - max(0.0, flat)) * (1 - max(0.0, deep)))


def change(before: Tensor, after: Tensor) -> float:
    """Mean absolute difference of frames (T, C, H, W) at a quarter of their size, as a share of full scale."""
    small, other = (F.avg_pool2d(_values(frames), 4) for frames in (before, after))
    return float((small - other).abs().mean())


def distortion(before: Tensor, after: Tensor) -> float:
    """How visibly frames (T, 3, H, W) differ, 0 to 1, measured in a few evenly spaced frames.

    It follows from the structural similarity of brightness (Wang et al., IEEE Trans. Image Process. 13, 2004) in
    windows of eight pixels.
    """
    x, y = (brightness(_few(frames)) for frames in (before, after))
    mean_x, mean_y, xx, yy, xy = (F.avg_pool2d(part, 8, 4) for part in (x, y, x * x, y * y, x * y))
    covariance, variances = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    bright = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    similarity = bright * (2 * covariance + 9e-4) / (variances + 9e-4)
    return 1 - math.exp(-((max(0.0, 1 - float(similarity.mean())) / 0.2) ** 0.8))


def brightness(frames: Tensor) -> Tensor:
    """The mean over the channels of frames (T, 3, H, W): (T, 1, H, W) in 0..1."""
    values = _values(frames)
    return (values[:, :1] + values[:, 1:2] + values[:, 2:]) / 3


def _few(frames: Tensor) -> Tensor:
    return frames[torch.linspace(0, len(frames) - 1, min(len(frames), MEASURED_FRAMES)).round().long()]


def _values(frames: Tensor) -> Tensor:
    return frames / 255 if frames.dtype == torch.uint8 else frames


# ------------------------------------------------------------------------------------------------------------
# Faults that rearrange frames: each gives, for every place of a clip of N frames, the place that is shown there (N,)
# ------------------------------------------------------------------------------------------------------------


def _between(severity: float, mildest: float, worst: float) -> float:
    """The value at `severity` on a geometric scale, on which equal steps look equal (Weber's law)."""
    return mildest * (worst / mildest) ** severity


def _stutter(footage: Footage, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A frame is held while the next ones are skipped, again and again, at regular or random times.

    The mildest holds every second frame; the most severe is a slide show whose pictures stay for half of the clip.
    """
    num_frames, index = footage.num_frames, np.arange(footage.num_frames)
    hold = _between(severity, 1.5, max(4, min(48, num_frames / 2)))
    if rng.random() < 0.75:
        hold = max(2, round(hold)) if rng.random() < 0.7 else hold
        start = rng.uniform(0, hold)
        return ((((index + start) // hold) * hold - start).round().astype(int)).clip(0, index)
    kept = rng.random(num_frames) < 1 / hold
    kept[0] = True
    return np.maximum.accumulate(np.where(kept, index, 0))


def _freeze(footage: Footage, severity: float, rng: np.random.Generator) -> np.ndarray:
    """The picture stands still for a share of the clip, at its beginning, its end or in between, then jumps ahead."""
    hold = max(2, round(footage.num_frames * _between(severity, 0.08, 0.7)))
    place = float(rng.choice([0.0, 1.0, rng.uniform(0.3, 0.7), rng.random()]))
    first = round((footage.num_frames - hold) * place)
    index = np.arange(footage.num_frames)
    return np.where((index >= first) & (index < first + hold), first, index)


def _drop(footage: Footage, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Frames are lost at one or more places that a viewer watches closely, so the picture jumps ahead."""
    first, last = footage.window
    steps = np.ones(footage.num_frames, dtype=int)
    if first == last:
        return np.arange(footage.num_frames)
    many = max(1, round((last - first) * _between(severity, 0.04, 0.3)))
    places = rng.choice(
        np.arange(first + 1, max(first + 2, last)), size=min(many, max(1, last - first - 1)), replace=False
    )
    steps[places] += rng.integers(1, 1 + round(_between(severity, 2, 6)), len(places))
    order = np.cumsum(steps)
    middle = (first + last) // 2  # the middle of the window stays: what is before it comes earlier
    return (order - order[middle] + middle).clip(0, footage.num_frames - 1)


def _shuffle(footage: Footage, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Some or all frames trade places with others, nearby or anywhere in the clip."""
    num_frames = footage.num_frames
    reach = _between(severity, 1.5, num_frames)
    share = 1.0 if rng.random() < 0.6 else _between(severity, 0.2, 1.0)
    moved = (rng.random(num_frames) < share) * rng.uniform(-reach, reach, num_frames)
    return np.argsort(np.arange(num_frames) + moved, kind="stable")


# ------------------------------------------------------------------------------------------------------------
# Faults that change frames: each takes frames (T, 3, H, W) in 0..1, a severity in (0, 1] and a generator
# ------------------------------------------------------------------------------------------------------------


_BLUR = (0.0014, 0.035)  # the deviation of the mildest and the worst blur, in short edges of the frame


def _blur(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """A Gaussian blur of up to 25 pixels at 720p, which Pillow approximates by three box filters."""
    sigma = max(0.5, _between(severity, *_BLUR) * min(video.shape[2:]))
    pictures = to_bytes(video).permute(0, 2, 3, 1).contiguous().numpy()  # (T, H, W, 3)
    blurred = [np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(sigma))) for one in pictures]
    return torch.from_numpy(np.stack(blurred)).permute(0, 3, 1, 2).float() / 255


def _add_noise(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Sensor noise, in colour or in brightness alone. For speed, each frame gets another part of one large field."""
    channels, spare = (3 if rng.random() < 0.6 else 1), 48
    height, width = video.shape[2:]
    field = _between(severity, 0.012, 0.25) * gaussian(rng, (channels, height + spare, width + spare))
    noisy = video.clone()
    corners, signs = rng.integers(0, spare, (len(video), 2)), rng.integers(0, 2, len(video))
    for frame, (top, left), sign in zip(noisy, corners, signs, strict=True):
        frame += field[:, top : top + height, left : left + width] * (2 * int(sign) - 1)
    return noisy


def _compress(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """The frames encoded and decoded by a real codec at a real rate."""
    frames, kind = to_bytes(video), rng.random()
    if kind < 0.5:
        preset = str(rng.choice(["ultrafast", "veryfast", "medium"], p=[0.2, 0.6, 0.2]))
        coded = _coded(frames, "libx264", crf=24 + 27 * severity, preset=preset)
    elif kind < 0.7:
        quiet = {"x265-params": "log-level=0:pools=1:frame-threads=1"}
        coded = _coded(frames, "libx265", crf=24 + 27 * severity, preset="ultrafast", **quiet)
    elif kind < 0.85:
        coded = _coded(frames, "libvpx-vp9", crf=32 + 31 * severity, **{"deadline": "1", "cpu-used": "7", "b": "0"})
    else:
        scale = str(round(_between(severity, 5, 31)))
        coded = _coded(frames, "mjpeg", pixel_format="yuvj420p", qmin=scale, qmax=scale)
    return coded.float() / 255


def _coded(
    frames: Tensor,
    codec: str,
    *,
    crf: float | None = None,
    preset: str | None = None,
    pixel_format: str = "yuv420p",
    **options: str,
) -> Tensor:
    """Frames (T, 3, H, W) uint8, encoded and decoded.

    One thread, and no macroblock tree in x264, make the result repeatable.
    """
    height, width = frames.shape[2:]
    if codec == "libx264":
        options["x264-params"] = "mbtree=0"
    coded = recode(
        F.pad(frames, (0, width % 2, 0, height % 2), mode="replicate"),
        codec=codec,
        frames_per_second=CODED_FRAMES_PER_SECOND,
        crf=crf,
        preset=preset,
        pixel_format=pixel_format,
        extra_options={"threads": "1", **options},
    )
    return coded[..., :height, :width]


def uploaded(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Frames (T, 3, H, W) uint8 after a good encode, as the best uploads are.

    They count as clean: the CRF stays below 24, where the compression faults begin.
    """
    preset = "ultrafast" if rng.random() < 0.75 else "veryfast"
    return _coded(frames, "libx264", crf=rng.uniform(12, 24), preset=preset)


def _rescale(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Frames shrunk and enlarged again, smoothly or with visible pixels, as coarse as a blur of this severity."""
    factor = max(1.4, 2 * _between(severity, *_BLUR) * min(video.shape[2:]))  # a blur of n pixels hides 1 / 2n of them
    size = [max(4, round(n / factor)) for n in video.shape[2:]]
    small = F.interpolate(video, size=size, mode="bilinear", antialias=True)
    mode = str(rng.choice(["nearest", "bilinear", "bicubic"], p=[0.25, 0.35, 0.4]))
    return F.interpolate(small, size=video.shape[2:], mode=mode)


def _band(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    steps = _between(severity, 24, 2.5)
    return (video * steps).round() / steps


def _ghost(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """A second, paler picture that is shifted against the first."""
    way = rng.normal(0, 1, 2)
    shift = way / np.hypot(*way) * rng.uniform(0.008, 0.05) * min(video.shape[2:])
    return torch.lerp(video, _moved(video, np.tile(shift.round().astype(int), (len(video), 1))), 0.08 + 0.42 * severity)


def _moved(video: Tensor, shifts: np.ndarray) -> Tensor:
    """Every frame displaced by whole pixels (T, 2), down and right. Edges are repeated."""
    reach = int(abs(shifts).max())
    height, width = video.shape[2:]
    padded = F.pad(video, (reach,) * 4, mode="replicate")
    cut = [
        frame[:, reach - down : reach - down + height, reach - right : reach - right + width]
        for frame, (down, right) in zip(padded, shifts, strict=True)
    ]
    return torch.stack(cut)


def _jitter(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Every frame displaced, at random or in a swing, by at least about one pixel at 720p."""
    reach = _between(severity, 0.0012, 0.05) * min(video.shape[2:])
    shifts = rng.normal(0, reach, (len(video), 2))
    if rng.random() < 0.5:
        shifts = rng.uniform(-1.7, 1.7, (len(video), 2)) * reach
    if rng.random() < 0.25:
        turns = rng.uniform(0.6, 3.0, 2) * np.arange(len(video))[:, None] + rng.uniform(0, 6, 2)
        shifts = 1.4 * reach * np.sin(turns)
    if rng.random() < 0.7:
        whole = shifts.round().astype(int)  # pixels
        if not whole.any():  # then the largest becomes one pixel
            whole[::2] = np.where(abs(shifts[::2]) >= abs(shifts[::2]).max(), np.sign(shifts[::2]), 0)
        return _moved(video, whole)
    shifts = shifts / min(video.shape[2:])
    return _displace(video, pixel_grid(*video.shape[2:])[None] + torch.from_numpy(shifts).float()[:, None, None])


def _warp(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Every frame bent differently, as when a generator does not keep shapes."""
    reach, knots = _between(severity, 0.004, 0.05), int(rng.integers(4, 9))
    bends = torch.from_numpy(rng.normal(0, reach, (len(video), 2, knots, knots))).float()
    bend = F.interpolate(bends, size=video.shape[2:], mode="bicubic", align_corners=True)
    return _displace(video, pixel_grid(*video.shape[2:])[None] + bend.permute(0, 2, 3, 1))


def _displace(video: Tensor, where: Tensor) -> Tensor:
    """`video` (T, 3, H, W) sampled at `where` (T, H, W, 2), x then y in units of the short edge."""
    height, width = video.shape[2:]
    scale = 2 * min(height, width) / torch.tensor([width, height])
    return F.grid_sample(video, where * scale, padding_mode="reflection", align_corners=False)


def _flicker(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Brightness, and sometimes a little colour, that changes from frame to frame, at random or in a swing."""
    reach = _between(severity, 0.02, 0.4)
    gain = rng.normal(0, reach, (len(video), 1, 1, 1))
    if rng.random() < 0.4:
        swing = np.sin(rng.uniform(0.7, 3.1) * np.arange(len(video)) + rng.uniform(0, 6))
        gain = 1.4 * reach * swing[:, None, None, None]
    if rng.random() < 0.5:
        gain = gain + rng.normal(0, reach / 4, (len(video), 3, 1, 1))
    change = torch.from_numpy(gain).float()
    return video * torch.exp(change) if rng.random() < 0.6 else video + 0.5 * change


def _pop(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Patches of other parts of the picture that appear and vanish from one frame to the next."""
    pixels, result = pixel_grid(*video.shape[2:]), video.clone()
    for _ in range(1 + round(3 * severity)):
        place = torch.from_numpy(rng.uniform(-0.35, 0.35, 2)).float()
        inside = ((_between(severity, 0.06, 0.24) - (pixels - place).norm(dim=-1)) * 40).clamp(0, 1)
        if rng.random() < 0.5:
            chosen = torch.from_numpy(rng.permutation(len(video))[: max(1, int(len(video) * rng.uniform(0.2, 0.6)))])
        else:  # stretches of frames
            chosen = torch.from_numpy(np.flatnonzero(np.arange(len(video)) // int(rng.integers(2, 8)) % 2))
        elsewhere = video[chosen].roll(tuple(int(n * 0.4) for n in video.shape[2:]), dims=(2, 3))
        tint = torch.from_numpy(rng.uniform(0.6, 1.4, (3, 1, 1))).float()
        result[chosen] = torch.lerp(result[chosen], elsewhere * tint, inside)
    return result


def _darken(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Too little light: all brightness scaled down, or shadows deepened."""
    if rng.random() < 0.7:
        return video * _between(severity, 0.88, 0.1)
    return video ** _between(severity, 1.15, 4.0)


def _overexpose(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    return video * _between(severity, 1.15, 4.0)


def _flatten(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Contrast reduced towards a grey."""
    return torch.lerp(torch.full_like(video, rng.uniform(0.3, 0.7)), video, _between(severity, 0.88, 0.1))


def _saturate(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Colours too weak or too strong."""
    grey = video.mean(dim=1, keepdim=True)
    share = _between(severity, 1.5, 4.5) if rng.random() < 0.5 else 0.75 * (1 - severity)
    return grey + (video - grey) * share


def _cast(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """One colour cast over the whole picture."""
    hue = rng.uniform(0, 2 * math.pi) + torch.tensor([0.0, 2.0, 4.0]) * math.pi / 3
    return video * torch.exp(_between(severity, 0.1, 1.0) * torch.cos(hue))[:, None, None]


def _misframe(video: Tensor, severity: float, rng: np.random.Generator) -> Tensor:
    """Something dark that covers a part of the picture from one side, the larger the more severe."""
    share, angle = _between(severity, 0.06, 0.55), rng.uniform(0, 2 * math.pi)
    pixels = pixel_grid(*video.shape[2:])
    along = pixels @ torch.tensor([math.cos(angle), math.sin(angle)])
    edge = torch.quantile(along[::8, ::8].flatten(), 1 - share)
    return torch.lerp(video, torch.full_like(video, rng.uniform(0, 0.15)), ((along - edge) * 60).clamp(0, 1))


Reorder = Callable[[Footage, float, np.random.Generator], np.ndarray]
Apply = Callable[[Tensor, float, np.random.Generator], Tensor]


@dataclass(frozen=True)
class Degrader:
    """The dimension that a fault lowers, how the fault is made, and its weight among the faults of its dimension."""

    dimension: str
    apply: Apply | None = None
    reorder: Reorder | None = None
    weight: float = 1.0
    takes_light: bool = False  # then `cost_of_light` says what it costs in a label


DEGRADATIONS: dict[str, Degrader] = {
    "blur": Degrader("Traditional", _blur, weight=1.5),
    "noise": Degrader("Traditional", _add_noise, weight=1.2),
    "compression": Degrader("Traditional", _compress, weight=2.5),
    "scaling": Degrader("Traditional", _rescale, weight=1.6),
    "banding": Degrader("Traditional", _band, weight=0.6),
    "ghost": Degrader("Traditional", _ghost, weight=0.6),
    "jitter": Degrader("Temporal", _jitter, weight=1.8),
    "warp": Degrader("Temporal", _warp),
    "flicker": Degrader("Temporal", _flicker, weight=1.3),
    "shuffle": Degrader("Temporal", reorder=_shuffle, weight=1.5),
    "stutter": Degrader("Temporal", reorder=_stutter, weight=2.5),
    "freeze": Degrader("Temporal", reorder=_freeze, weight=1.2),
    "drop": Degrader("Temporal", reorder=_drop, weight=1.3),
    "pop": Degrader("Temporal", _pop, weight=0.8),
    "dark": Degrader("Aesthetic", _darken, weight=1.3, takes_light=True),
    "bright": Degrader("Aesthetic", _overexpose),
    "contrast": Degrader("Aesthetic", _flatten, weight=1.3, takes_light=True),
    "saturation": Degrader("Aesthetic", _saturate),
    "cast": Degrader("Aesthetic", _cast),
    "framing": Degrader("Aesthetic", _misframe, weight=0.7),
}
