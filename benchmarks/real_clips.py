"""How a model scores real clips: made worse step by step, changed so that nobody sees it, and beside people's ratings.

    python -m benchmarks.real_clips                                 # `demo`, and the clips that ship with gradio
    python -m benchmarks.real_clips --photographs                   # a camera over the photographs that ship with it
    python -m benchmarks.real_clips --clips FOLDER --model FOLDER   # another model, and the videos of a folder
    python -m benchmarks.real_clips --labels TABLE --real FOLDER    # clips that people rated, and real footage

Clips are given as FILES or `--clips`; of each the first 5 s are used, shrunk to 720 lines. Every version of a clip is
written as a file, nearly without loss, and scored as an upload is. The parts (`--only`) of a run on clips:

- clean: the scores of the clips.
- kinds: 17 kinds of fault, each with the dimension that should fall and five growing severities (those that are
  counted in frames only as far as they fit twice into the clip).
  Traditional: Gaussian blur, noise, H.264, H.265 (where FFmpeg has it), MJPEG, down-up (shrunk and enlarged again).
  Temporal: jitter, shake, flicker, shuffled frames, stutter, slide show, freeze, frozen ends, drop.
  Aesthetic: darkening, contrast loss.
  "falls most" is the share of clips in which the right dimension falls more, averaged over the severities, than each
  of the three others (Overall aside). "pairs" is the share of all pairs of versions of one clip, the clean one among
  them, of which the more damaged has the lower score in the right dimension.
- same: how far scores move where nothing visible changes.
- cost: the seconds that a score takes, and the largest file of the model.

`--labels` takes a table as the program reads it (`vjepa_demo.data`), whose videos lie in its folder:

- people: SROCC and PLCC of scores and labels, with the standard error over resampled clips. With a column `generator`
  that has three generators or more of five clips or more, also the SROCC of the generators' means. With `--real`, how
  often real footage gets the higher Overall, both with the neutral prompt, because real footage has none.
- captions: how often the right caption of four has the highest Alignment (chance: 25 %). The other three are drawn
  from the other prompts of the table.

docs/demo-model.md says what `demo` reaches, and which training scenes were designed after looking at these results.
No model trains on these clips.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, DIMENSIONS, wait_passively

wait_passively()

import numpy as np
import torch
import torch.nn.functional as F
from gradio.media import get_image, get_video
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import stats
from torch import Tensor

from vjepa_demo.data.match import list_videos
from vjepa_demo.data.records import read_records
from vjepa_demo.data.table import read_table
from vjepa_demo.media.video import open_video, recode, write_video
from vjepa_demo.model.checkpoint import note_measured, read_checkpoint
from vjepa_demo.model.metrics import evaluate
from vjepa_demo.procedural.scenes import Scene, render_scene
from vjepa_demo.schema import DemoError, Estimate, RecordError, VideoError, VideoRecord, VideoScores, prompt_key
from vjepa_demo.tasks.score import Scorer, load_scorer
from vjepa_demo.wording import counted

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

CLIP_PARTS = ("clean", "kinds", "same")
LABEL_PARTS = ("people", "captions")
PARTS = (*CLIP_PARTS, *LABEL_PARTS, "cost")
GRADIO_CLIPS = ("world.mp4", "a.mp4")  # b.mp4 and b.avi have the same content as world.mp4
PHOTOGRAPHS = ("cheetah.jpg", "groot.jpeg", "tower.jpg")
PAN_RATE = 30.0
PROMPT = "a video"
SECONDS = 5.0  # used of each clip, from its start: two versions at a time are kept in memory
LINES = 720
MIN_FRAMES = 8  # fewer leave nothing to shuffle, hold or drop
CHUNK = 16  # frames that are decoded together, before they are shrunk
CLEARLY = 0.5  # a change of a score that a person notices
NUM_CAPTIONS = 4
MIN_GENERATORS, MIN_GENERATOR_CLIPS = 3, 5


@dataclass(frozen=True)
class RealClip:
    """Frames (T, 3, H, W) uint8 at `rate` frames per second; H and W are even."""

    name: str
    frames: Tensor
    rate: float


def read_clip(path: Path) -> RealClip:
    """The first `SECONDS` of a video, at most `LINES` high or wide, whichever is less; of a picture, a pan over it.

    Raises:
        VideoError: if it cannot be read as a video, or has fewer than `MIN_FRAMES` frames.
    """
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return _pan_over(path)
    decoder = open_video(path)
    rate = decoder.metadata.average_fps or 30.0
    count = min(len(decoder), round(SECONDS * rate))
    if count < MIN_FRAMES:
        raise VideoError(f"{path.name} has {counted(count, 'frame')} in its first {SECONDS:g} s; {MIN_FRAMES} expected")
    try:
        parts = [_shrunk(decoder[start : min(start + CHUNK, count)]) for start in range(0, count, CHUNK)]
    except RuntimeError as error:
        raise VideoError(f"{path.name} cannot be decoded: {str(error).splitlines()[0]}") from error
    return RealClip(path.name, torch.cat(parts), rate)


def _pan_over(path: Path) -> RealClip:
    """A camera that moves along the longer side of a photograph by one pixel per frame, so nothing is resampled."""
    picture = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)
    count = round(SECONDS * PAN_RATE)
    axis = 1 if picture.shape[1] > picture.shape[2] else 2
    length = picture.shape[axis] - count
    return RealClip(
        path.name, _even(torch.stack([picture.narrow(axis, place, length) for place in range(count)])), PAN_RATE
    )


def _shrunk(frames: Tensor) -> Tensor:
    height, width = frames.shape[2:]
    scale = LINES / min(height, width)
    return _even(frames if scale >= 1 else _resized(frames, round(scale * height), round(scale * width)))


def _even(frames: Tensor) -> Tensor:
    height, width = frames.shape[2:]
    return frames[..., : height // 2 * 2, : width // 2 * 2]


def _resized(frames: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)


# ---- worse versions ------------------------------------------------------------------------------------------


def blur(clip: RealClip, sigma: float) -> Tensor:
    """Gaussian blur; `sigma` is in pixels of a clip whose shortest edge is 720."""
    pictures = [Image.fromarray(frame) for frame in clip.frames.permute(0, 2, 3, 1).numpy()]
    blurred = [np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma * _scale(clip)))) for picture in pictures]
    return torch.from_numpy(np.stack(blurred)).permute(0, 3, 1, 2)


def noise(clip: RealClip, deviation: float) -> Tensor:
    """Gaussian noise; `deviation` is on the scale 0..255."""
    generator = torch.Generator().manual_seed(0)
    return _each(clip, lambda frame, _: frame + deviation * torch.randn(frame.shape, generator=generator))


def h264(clip: RealClip, crf: float) -> Tensor:
    """Encoded by x264 with FFmpeg's default settings."""
    return recode(
        clip.frames, codec="libx264", frames_per_second=clip.rate, crf=crf, preset="medium", pixel_format="yuv420p"
    )


def h265(clip: RealClip, crf: float) -> Tensor:
    """Encoded by x265; its fastest preset, because the others take minutes."""
    return recode(
        clip.frames,
        codec="libx265",
        frames_per_second=clip.rate,
        crf=crf,
        preset="ultrafast",
        pixel_format="yuv420p",
        extra_options={"x265-params": "log-level=0"},
    )


def mjpeg(clip: RealClip, scale: float) -> Tensor:
    """Each frame a JPEG of FFmpeg's quality `scale`, 2 (best) to 31."""
    quality = {"qmin": str(int(scale)), "qmax": str(int(scale))}
    return recode(
        clip.frames, codec="mjpeg", frames_per_second=clip.rate, pixel_format="yuvj420p", extra_options=quality
    )


def down_up(clip: RealClip, factor: float) -> Tensor:
    """Shrunk by `factor`, and enlarged again."""
    height, width = clip.frames.shape[2:]
    low, narrow = (max(1, round(size / factor)) for size in (height, width))
    return torch.cat(
        [
            F.interpolate(_resized(part, low, narrow), size=(height, width), mode="bicubic", antialias=True)
            for part in clip.frames.split(CHUNK)
        ]
    )


def jitter(clip: RealClip, reach: float) -> Tensor:
    """Every frame displaced independently, by up to `reach` pixels at 720p in each direction."""
    return _moved(clip, _rng(clip).uniform(-reach, reach, (len(clip.frames), 2)))


def shake(clip: RealClip, distance: float) -> Tensor:
    """Every frame displaced by `distance` pixels at 720p, each in a direction of its own."""
    angles = _rng(clip).uniform(0, 2 * np.pi, len(clip.frames))
    return _moved(clip, distance * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _moved(clip: RealClip, shifts: Array) -> Tensor:
    """Each frame moved by its row of `shifts` (T, 2), (right, down) in pixels at 720p; the borders are mirrored."""
    height, width = clip.frames.shape[2:]
    shifts = shifts * _scale(clip)
    margin = int(np.ceil(np.abs(shifts).max())) + 1

    def move(frame: Tensor, place: int) -> Tensor:
        wide = F.pad(frame[None], (margin,) * 4, mode="reflect")[0]
        right, down = margin - shifts[place]
        across = torch.lerp(*(wide[..., int(right) + step :][..., :width] for step in (0, 1)), float(right % 1))
        return torch.lerp(*(across[:, int(down) + step :][:, :height] for step in (0, 1)), float(down % 1))

    return _each(clip, move)


def flicker(clip: RealClip, reach: float) -> Tensor:
    """The brightness of every frame changed independently."""
    gains = np.exp(_rng(clip).normal(0, reach, len(clip.frames)))
    return _each(clip, lambda frame, place: frame * float(gains[place]))


def shuffle(clip: RealClip, block: float) -> Tensor:
    """Frames shuffled within blocks of `block` frames."""
    rng, order = _rng(clip), np.arange(len(clip.frames))
    blocks = [rng.permutation(part) for part in np.split(order, range(int(block), len(order), int(block)))]
    return clip.frames[torch.from_numpy(np.concatenate(blocks))]


def hold(clip: RealClip, count: float) -> Tensor:
    """One frame in `count`, each held for `count` frames."""
    return clip.frames[torch.arange(len(clip.frames)) // int(count) * int(count)]


def freeze(clip: RealClip, share: float) -> Tensor:
    """The middle `share` of the clip is one frame."""
    places = torch.arange(len(clip.frames))
    start, end = (round((1 + sign * share) / 2 * len(places)) for sign in (-1, 1))
    return clip.frames[torch.where((places >= start) & (places < end), start, places)]


def freeze_ends(clip: RealClip, share: float) -> Tensor:
    """The first `share` of the clip is one frame, and so is the last."""
    count, held = len(clip.frames), round(share * len(clip.frames))
    return clip.frames[torch.arange(count).clamp(held, count - 1 - held)]


def drop(clip: RealClip, times: float) -> Tensor:
    """A quarter of a second is lost at each of `times` places: the picture jumps, and the clip is shorter.

    A worse version loses the same and more.
    """
    count = len(clip.frames)
    lost = max(1, min(round(0.25 * clip.rate), count // 15))
    kept = torch.ones(count, dtype=torch.bool)
    for place in _rng(clip).permutation(np.arange(1, 6))[: int(times)]:
        start = round(int(place) * count / 6)
        kept[start : start + lost] = False
    return clip.frames[kept]


def darken(clip: RealClip, gain: float) -> Tensor:
    """Every pixel multiplied by `gain`."""
    return _each(clip, lambda frame, _: frame * gain)


def flatten(clip: RealClip, share: float) -> Tensor:
    """Contrast reduced to `share` of it, around middle grey."""
    return _each(clip, lambda frame, _: 128 + (frame - 128) * share)


def _each(clip: RealClip, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    changed = [change(frame.float(), place).clamp(0, 255).to(torch.uint8) for place, frame in enumerate(clip.frames)]
    return torch.stack(changed)


def _rng(clip: RealClip) -> np.random.Generator:
    """The same for all versions of a clip, and another one for another clip."""
    return np.random.default_rng(zlib.crc32(clip.name.encode()))


def _scale(clip: RealClip) -> float:
    """How many pixels of the clip are one of a clip whose shortest edge is 720."""
    return min(clip.frames.shape[2:]) / 720


@dataclass(frozen=True)
class Kind:
    """A kind of fault: the dimension that should fall, how to make the fault, and growing severities.

    Severities that are `in_frames` must fit twice into a clip, so that each is worse than the one before.
    """

    dimension: str
    make: Callable[[RealClip, float], Tensor]
    severities: tuple[float, ...]
    in_frames: bool = False

    def fitting(self, clip: RealClip) -> tuple[float, ...]:
        """The severities that fit `clip`."""
        return tuple(each for each in self.severities if not self.in_frames or 2 * each <= len(clip.frames))


KINDS = {
    "Gaussian blur": Kind("Traditional", blur, (1, 2, 4, 8, 16)),
    "noise": Kind("Traditional", noise, (5, 10, 20, 40, 80)),
    "H.264 CRF": Kind("Traditional", h264, (30, 35, 40, 46, 51)),
    "H.265 CRF": Kind("Traditional", h265, (30, 35, 40, 46, 51)),
    "MJPEG": Kind("Traditional", mjpeg, (6, 10, 15, 22, 31)),
    "down-up": Kind("Traditional", down_up, (1.5, 2, 3, 4.5, 6.7)),
    "jitter": Kind("Temporal", jitter, (1, 2, 4, 8, 16)),
    "shake": Kind("Temporal", shake, (1, 2, 3, 4, 6)),
    "flicker": Kind("Temporal", flicker, (0.02, 0.05, 0.1, 0.2, 0.4)),
    "shuffled frames": Kind("Temporal", shuffle, (2, 4, 8, 16, 32), in_frames=True),
    "stutter": Kind("Temporal", hold, (2, 3, 4, 6, 12), in_frames=True),
    "slide show": Kind("Temporal", hold, (4, 8, 16, 24, 48), in_frames=True),
    "freeze": Kind("Temporal", freeze, (0.1, 0.2, 0.4, 0.6, 0.8)),
    "frozen ends": Kind("Temporal", freeze_ends, (1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15)),
    "drop": Kind("Temporal", drop, (1, 2, 3, 4, 5)),
    "darkening": Kind("Aesthetic", darken, (0.8, 0.6, 0.4, 0.25, 0.12)),
    "contrast loss": Kind("Aesthetic", flatten, (0.8, 0.6, 0.4, 0.25, 0.12)),
}


def available_kinds() -> tuple[str, ...]:
    """The names of `KINDS` for which FFmpeg has the encoder; the others are logged."""
    probe = RealClip("probe", torch.zeros(MIN_FRAMES, 3, 64, 64, dtype=torch.uint8), 24.0)
    missing = set()
    for name in ("H.264 CRF", "H.265 CRF", "MJPEG"):
        try:
            KINDS[name].make(probe, KINDS[name].severities[0])
        except RuntimeError as error:
            logger.warning("%s is left out, this FFmpeg cannot encode it: %s", name, str(error).splitlines()[0])
            missing.add(name)
    return tuple(name for name in KINDS if name not in missing)


def crop(clip: RealClip) -> Tensor:
    """Without 2.5 % of the height above and below, and of the width left and right."""
    height, width = clip.frames.shape[2:]
    top, left = round(0.025 * height), round(0.025 * width)
    return clip.frames[..., top : height - top, left : width - left]


def letterbox(clip: RealClip) -> Tensor:
    """With a black bar of an eighth of the height above and another one below."""
    bar = clip.frames.shape[2] // 8
    return F.pad(clip.frames, (0, 0, bar, bar))


# Each gives the frames and how many times the rate is the clip's.
SAME: dict[str, Callable[[RealClip], tuple[Tensor, float]]] = {
    "re-encoded at CRF 18": lambda clip: (h264(clip, crf=18), 1),
    "resized by 0.75": lambda clip: (_resized(clip.frames, *(round(0.75 * size) for size in clip.frames.shape[2:])), 1),
    "trimmed by a tenth": lambda clip: (clip.frames[: round(0.9 * len(clip.frames))], 1),
    "cropped by 5 %": lambda clip: (crop(clip), 1),
    "every 4th frame twice": lambda clip: (clip.frames[torch.arange(len(clip.frames) * 5 // 4) * 4 // 5], 1.25),
    "every frame twice": lambda clip: (clip.frames.repeat_interleave(2, dim=0), 2),
    "mirrored": lambda clip: (clip.frames.flip(-1), 1),
    "letterboxed": lambda clip: (letterbox(clip), 1),
}
SAME_TARGETS = dict.fromkeys(
    ("trimmed by a tenth", "cropped by 5 %", "every 4th frame twice", "every frame twice", "mirrored"), 0.06
) | {"re-encoded at CRF 18": 0.25, "resized by 0.75": 0.25}


# ---- scores --------------------------------------------------------------------------------------------------


@cache
def scorer_of(model: str) -> Scorer:
    """The scorer of a folder or preset, one a process; main() turns the cache on disk off."""
    return load_scorer(model)


def values(result: VideoScores) -> Array:
    """The scores (5,), in the order of `DIMENSIONS`."""
    return np.array([result.scores[name] for name in DIMENSIONS])


@dataclass(frozen=True)
class Measured:
    """The scores (5,) of a clip, of its versions by kind, least damaged first (N, 5), and of those that look the
    same (5,)."""

    title: str
    clean: Array
    kinds: Mapping[str, Array]
    same: Mapping[str, Array]


def measure(path: Path, *, model: str, prompt: str, kinds: Sequence[str], same: Sequence[str]) -> Measured:
    """The scores of the clip in `path`, and of its versions of the `kinds` and `same` that are named.

    Raises:
        VideoError: if the file cannot be read as a video.
    """
    clip = read_clip(path)

    def scored(frames: Tensor, rate: float) -> Array:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "version.mp4"
            write_version(file, frames, rate)
            return values(scorer_of(model).score(file, prompt, with_frames=False))

    height, width = clip.frames.shape[2:]
    worse = {}
    for name in kinds:
        rows = [scored(KINDS[name].make(clip, severity), clip.rate) for severity in KINDS[name].fitting(clip)]
        worse[name] = np.array(rows).reshape(-1, len(DIMENSIONS))
    alike = {}
    for name in same:
        frames, times = SAME[name](clip)
        alike[name] = scored(frames, times * clip.rate)
    return Measured(f"{clip.name}, {width} x {height}", scored(clip.frames, clip.rate), worse, alike)


def write_version(path: Path, frames: Tensor, rate: float) -> None:
    """Write frames (T, 3, H, W) nearly without loss.

    With x264's fastest preset: `write_video` would take five to fifteen times as long.
    """
    from torchcodec.encoders import VideoEncoder

    encoder = VideoEncoder(_even(frames).contiguous(), frame_rate=rate)
    encoder.to_file(path, codec="libx264", pixel_format="yuv420p", crf=10, preset="ultrafast")


def measure_all(
    paths: Sequence[Path], *, processes: int, model: str, prompt: str, kinds: Sequence[str], same: Sequence[str]
) -> list[Measured]:
    """`measure` for each of `paths`, in `processes` processes of one torch thread each; in this one where it is 1."""
    job = partial(measure, model=model, prompt=prompt, kinds=kinds, same=same)
    if min(processes, len(paths)) == 1:
        return _logged(paths, map(job, paths))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(processes, len(paths)), mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        return _logged(paths, pool.map(job, paths))


def _logged(paths: Sequence[Path], results: Iterable[Measured]) -> list[Measured]:
    found = []
    for path, result in zip(paths, results, strict=True):
        found.append(result)
        logger.info("%s: scored (%d of %d)", path.name, len(found), len(paths))
    return found


# ---- reports: each prints a table, and returns its numbers for the card and the page, beside the target ----------


def report_clean(clips: Sequence[Measured]) -> dict[str, str]:
    """Print the scores of the clean clips."""
    print(f"\n| clip | {' | '.join(DIMENSIONS)} |\n| --- |{' --- |' * len(DIMENSIONS)}")
    for clip in clips:
        print(f"| {clip.title} | {' | '.join(f'{value:.2f}' for value in clip.clean)} |")
    means = dict(zip(DIMENSIONS, np.mean([clip.clean for clip in clips], axis=0), strict=True))
    print(f"| mean | {' | '.join(f'{value:.2f}' for value in means.values())} |")
    return {f"clean: mean {name}": f"{means[name]:.2f} (at least 3.8)" for name in ("Traditional", "Temporal")}


def report_kinds(clips: Sequence[Measured]) -> dict[str, str]:
    """Print how the right dimension falls with severity."""
    print("\n| kind | should fall | Spearman of severity and fall | falls most | pairs | Spearman of each clip |")
    print("| --- | --- | --- | --- | --- | --- |")
    found = {}
    for name, kind in KINDS.items():
        column = DIMENSIONS.index(kind.dimension)
        shown = [(clip.clean, clip.kinds[name]) for clip in clips if len(clip.kinds.get(name, ())) > 1]
        if not shown:
            print(f"| {name} | {kind.dimension} | - | - | - | left out, or too few severities fit |")
            continue
        orders = [spearman(clean[column] - worse[:, column]) for clean, worse in shown]
        most = [falls_most((clean - worse).mean(axis=0), column) for clean, worse in shown]
        pairs = [pair_accuracy([clean[column], *worse[:, column]]) for clean, worse in shown]
        found[name] = (np.mean(orders), np.mean(most), np.mean(pairs))
        numbers = " | ".join(f"{value:.2f}" for value in found[name])
        print(f"| {name} | {kind.dimension} | {numbers} | {', '.join(f'{order:.2f}' for order in orders)} |")
    if not found:
        return {}
    order, most_share, accuracy = np.mean(list(found.values()), axis=0)
    lowest = min(found, key=lambda name: found[name][0])
    print(f"| mean of {len(found)} kinds | | {order:.2f} | {most_share:.2f} | {accuracy:.2f} | |")
    print(f"| lowest kind: {lowest} | {KINDS[lowest].dimension} | {found[lowest][0]:.2f} | | | |")
    about = f"{len(found)} kinds of fault"
    return {
        f"{about}: Spearman of severity and fall, mean": f"{order:.2f} (at least 0.92)",
        f"{about}: Spearman of the lowest": f"{found[lowest][0]:.2f}, {lowest} (at least 0.80)",
        f"{about}: share in which the right dimension falls most": f"{most_share:.2f} (at least 0.95)",
        f"{about}: pairs of versions in the right order": f"{accuracy:.2f} (at least 0.93)",
    }


def spearman(fall: Array) -> float:
    """The Spearman correlation of severity and `fall` (N,); 0 if `fall` is constant, where it has none."""
    return 0.0 if np.ptp(fall) == 0 else float(stats.spearmanr(range(len(fall)), fall).statistic)


def falls_most(fall: Array, column: int) -> bool:
    """Whether of `fall` (5,) the dimension `column` falls more than every other except Overall, which all lower."""
    return all(fall[column] > fall[other] for other in range(DIMENSIONS.index("Overall")) if other != column)


def pair_accuracy(scores: Sequence[float]) -> float:
    """Of all pairs of `scores`, least damaged first, the share whose second is the lower; a tie is not."""
    rows = np.asarray(scores)
    before, after = np.triu_indices(len(rows), k=1)
    return float(np.mean(rows[after] < rows[before]))


def report_same(clips: Sequence[Measured]) -> dict[str, str]:
    """Print how far scores move where nothing visible changes."""
    print(f"\n| nothing visible changes | mean change of a score | clips moving more than {CLEARLY:g} | largest |")
    print("| --- | --- | --- | --- |")
    rows = {}
    for name in SAME:
        moved = np.abs([clip.same[name] - clip.clean for clip in clips])  # (N, 5)
        clearly = np.mean(moved.max(axis=1) > CLEARLY)
        print(f"| {name} | {moved.mean():.2f} | {100 * clearly:.0f} % | {moved.max():.2f} |")
        target = f" (at most {SAME_TARGETS[name]:g})" if name in SAME_TARGETS else ""
        rows[f"{name}: mean change of a score"] = f"{moved.mean():.2f}{target}"
        if SAME_TARGETS.get(name) == 0.06:
            rows[f"{name}: clips moving more than {CLEARLY:g}"] = f"{100 * clearly:.0f} % (under 8 %)"
    return rows


@dataclass(frozen=True)
class Rated:
    """A clip that people rated: its record, the model's result, and what made it, where the table says so."""

    record: VideoRecord
    result: VideoScores
    generator: str = ""


def read_rated(table: Path, model: str) -> list[Rated]:
    """The clips of `table` that can be scored, each scored with its own prompt; the others are logged.

    Raises:
        RecordError: if the table cannot be read or lacks a column, or if none of its clips can be scored.
    """
    records = read_records(table, table.parent)
    for note in (*records.notes, *records.problems):
        logger.warning("%s: %s", table.name, note)
    sheet = read_table(table, required=("video", "prompt", "labels"))
    place = next((index for index, name in enumerate(sheet.header) if name.casefold() == "generator"), None)
    generators = {line: cells[place] for line, cells in sheet.rows if place is not None and place < len(cells)}
    rated = []
    requests = [(record.video, record.prompt) for record in records.records]
    for record, result in zip(records.records, scorer_of(model).score_all(requests), strict=True):
        if isinstance(result, DemoError):
            logger.warning("%s: line %d: %s", table.name, record.line, result)
        else:
            rated.append(Rated(record, result, generators.get(record.line, "")))
    if not rated:
        first = f"; {records.problems[0]}" if records.problems else ""
        raise RecordError(
            f"{table.name}: none of its {counted(records.num_rows, 'row')} can be scored{first} (the videos of the "
            "table are expected in its folder)"
        )
    return rated


def report_people(rated: Sequence[Rated]) -> dict[str, str]:
    """Print how scores agree with labels.

    Overall is also compared with the mean of the other labels, of the clips that have most of them: a clip that was
    labelled in one dimension alone says little of Overall.
    """
    others = {name: [clip for clip in rated if name in clip.record.labels] for name in DIMENSIONS}
    compared = {
        name: [(clip, clip.result.scores[name], clip.record.labels[name]) for clip in clips]
        for name, clips in others.items()
        if clips
    }
    labels = [{name: each for name, each in clip.record.labels.items() if name != "Overall"} for clip in rated]
    most = max(map(len, labels))
    if most:
        compared["Overall against the mean of the other labels"] = [
            (clip, clip.result.scores["Overall"], float(np.mean(list(each.values()))))
            for clip, each in zip(rated, labels, strict=True)
            if len(each) == most
        ]
    if others["Traditional"]:
        compared["Aesthetic against the labels of Traditional"] = [
            (clip, clip.result.scores["Aesthetic"], clip.record.labels["Traditional"]) for clip in others["Traditional"]
        ]
    print("\n| people | clips | SROCC | PLCC | SROCC of the generators' means |\n| --- | --- | --- | --- | --- |")
    targets = {"Traditional": 0.25, "Temporal": 0.62, "Overall against the mean of the other labels": 0.35}
    rows = {}
    for name, members in compared.items():
        scores, given = (np.array([member[place] for member in members]) for place in (1, 2))
        srocc, plcc = agreement(scores, given)
        means = generator_means([clip.generator for clip, _, _ in members], scores, given)
        by_generator = "-"
        if len(means):
            by_generator = f"{_shown(agreement(*means.T)[0], with_error=False)} of {len(means)}"
        print(f"| {name} | {len(members)} | {_shown(srocc)} | {_shown(plcc)} | {by_generator} |")
        target = f" (at least {targets[name]:.2f})" if name in targets else ""
        rows[f"{name}{'' if 'against' in name else ' against people'}, SROCC"] = f"{_shown(srocc)}{target}"
    return rows


def agreement(scores: Array, labels: Array) -> tuple[Estimate, Estimate]:
    """SROCC and PLCC of `scores` and `labels`, both (N,), with their standard errors."""
    empty = np.full((len(scores), len(DIMENSIONS) - 1), np.nan)
    found = evaluate(np.column_stack([scores, empty]), np.column_stack([labels, empty])).dimensions[DIMENSIONS[0]]
    return found.srocc, found.plcc


def generator_means(generators: Sequence[str], scores: Array, labels: Array) -> Array:
    """The mean score and label (G, 2) of each generator with enough clips; none if these are too few."""
    counts = Counter(generators)
    names = sorted(name for name in counts if name and counts[name] >= MIN_GENERATOR_CLIPS)
    if len(names) < MIN_GENERATORS:
        return np.empty((0, 2))
    is_of = [np.array(generators) == name for name in names]
    return np.array([(scores[each].mean(), labels[each].mean()) for each in is_of])


def _shown(estimate: Estimate, *, with_error: bool = True) -> str:
    if estimate.value is None:
        return "undefined"
    error = f" ± {estimate.standard_error:.2f}" if with_error and estimate.standard_error is not None else ""
    return f"{estimate.value:.2f}{error}"


def report_real(real: Sequence[float], generated: Sequence[float]) -> dict[str, str]:
    """Print how often the Overall of a real clip is above that of a generated one."""
    share = float(np.mean(np.greater.outer(real, generated)))
    print(
        f"\n| Overall of real and generated clips | |\n| --- | --- |"
        f"\n| real, mean of {len(real)} | {np.mean(real):.2f} |"
        f"\n| generated, mean of {len(generated)} | {np.mean(generated):.2f} |"
        f"\n| pairs in which the real clip is above | {share:.2f} |"
    )
    return {"real clips above generated ones in Overall, share of pairs": f"{share:.2f} (more than 0.50)"}


def report_captions(rated: Sequence[Rated], model: str) -> dict[str, str]:
    """Print how often the right caption has the highest Alignment.

    Raises:
        RecordError: if the table has fewer than `NUM_CAPTIONS` prompts.
    """
    captions = draw_captions([clip.record.prompt for clip in rated])
    right, greyed = [], []
    for clip, others in zip(rated, captions, strict=True):
        results = [scorer_of(model).score(clip.record.video, each, with_frames=False) for each in others]
        right.append(clip.result.scores["Alignment"] > max(result.scores["Alignment"] for result in results))
        greyed.append("Alignment" in clip.result.doubts)
    judged = [is_right for is_right, is_greyed in zip(right, greyed, strict=True) if not is_greyed]
    of_judged = f"{100 * np.mean(judged):.0f} %" if judged else "-"
    print(
        f"\n| the right caption of {NUM_CAPTIONS} | |\n| --- | --- |"
        f"\n| has the highest Alignment (chance: {100 / NUM_CAPTIONS:.0f} %), of all {len(rated)} clips "
        f"| {100 * np.mean(right):.0f} % |"
        f"\n| of the {len(judged)} clips whose Alignment is not greyed | {of_judged} |"
        f"\n| clips whose Alignment is greyed, because of unknown words or no labels | {sum(greyed)} |"
    )
    return {
        f"the right caption of {NUM_CAPTIONS} has the highest Alignment": f"{100 * np.mean(right):.0f} % (at least 42)",
        "clips whose Alignment is greyed": f"{sum(greyed)} of {len(rated)}",
    }


def draw_captions(prompts: Sequence[str]) -> list[list[str]]:
    """For each of `prompts` three others, which differ from it and from each other; the same in every run.

    Raises:
        RecordError: if there are too few.
    """
    different = {prompt_key(prompt): prompt for prompt in prompts}
    if len(different) < NUM_CAPTIONS:
        raise RecordError(
            f"the table has {counted(len(different), 'prompt')}; {NUM_CAPTIONS} different ones are needed to choose "
            "the right caption among them"
        )
    rng = np.random.default_rng(0)
    keys = sorted(different)
    drawn = []
    for prompt in prompts:
        others = [key for key in keys if key != prompt_key(prompt)]
        drawn.append([different[others[place]] for place in rng.permutation(len(others))[: NUM_CAPTIONS - 1]])
    return drawn


def report_cost(folder: Path, prompt: str, *, repeats: int = 5) -> dict[str, str]:
    """Print the seconds to score 5 s of 720p with the model loaded, and the size of the model's largest file.

    The clip is full of moving detail, so that decoding it is hard.
    """
    scorer, rate = load_scorer(str(folder), device="cpu"), 30
    count = round(SECONDS * rate)
    scene = Scene("red", "ball", "leaves", "right", "left", look=0)
    drawn = render_scene(scene, num_frames=count, duration_seconds=SECONDS, height=720, width=1280)
    seconds, sizes = [], []
    with tempfile.TemporaryDirectory() as work:
        for number in range(repeats):  # different bytes each time, so that the cache never hits
            path = Path(work) / f"{number}.mp4"
            write_video(path, drawn, frames_per_second=rate, crf=18 + number)
            begin = time.perf_counter()
            scorer.score(path, prompt)
            seconds.append(time.perf_counter() - begin)
            sizes.append(path.stat().st_size / 1e6)
    logger.info("the 720p clips have %.1f to %.1f MB", min(sizes), max(sizes))
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    rows = {
        "seconds a score, 5 s of 720p": f"{np.median(seconds):.2f} (at most 0.6)",
        "largest file, MB": f"{largest:.1f} (at most 10)",
    }
    print("\n| cost | |\n| --- | --- |\n" + "\n".join(f"| {name} | {value} |" for name, value in rows.items()))
    return rows


# ---- the program ---------------------------------------------------------------------------------------------


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder.

    Raises:
        RecordError: if there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise RecordError(f"{folder}: no such folder; a folder of videos was expected")
    found = sorted(list_videos(folder).files)
    if not found:
        raise RecordError(f"{folder} holds no videos")
    return found


def run(options: argparse.Namespace) -> None:
    """What `options` ask for: the parts that are chosen, or all for which something was given.

    Raises:
        DemoError: if something that was given cannot be used.
    """
    has_clips = bool(options.files or options.clips or options.photographs)
    chosen = options.only
    if chosen is None:
        on_clips = has_clips or options.labels is None
        chosen = (CLIP_PARTS if on_clips else ()) + (LABEL_PARTS if options.labels is not None else ())
        chosen += ("cost",) if on_clips and not options.photographs else ()
    if options.labels is None and (options.real or set(chosen) & set(LABEL_PARTS)):
        raise RecordError("people, captions and --real need the clips that people rated: give --labels TABLE")
    model, prompt, noted = str(options.model), options.prompt, {}
    real = videos_in(options.real) if options.real else []

    if set(chosen) & set(CLIP_PARTS):
        paths = [*options.files, *(videos_in(options.clips) if options.clips else [])]
        title = f"{options.clips.name}: {len(paths)} clips" if options.clips else f"{len(paths)} clips"
        if options.photographs:
            paths = [Path(get_image(name)) for name in PHOTOGRAPHS]
            title = f"pans over {len(paths)} photographs"
        elif not paths:
            paths = [Path(get_video(name)) for name in GRADIO_CLIPS]
            title = f"{len(paths)} real clips"
        kinds, same = available_kinds() if "kinds" in chosen else (), SAME if "same" in chosen else ()
        clips = measure_all(
            paths, processes=options.processes, model=model, prompt=prompt, kinds=kinds, same=tuple(same)
        )
        reports = {"clean": report_clean, "kinds": report_kinds, "same": report_same}
        rows = {}
        for part in CLIP_PARTS:
            rows |= reports[part](clips) if part in chosen else {}
        noted |= {f"{title}, {name}": value for name, value in rows.items()}
    if set(chosen) & set(LABEL_PARTS):
        rated = read_rated(options.labels, model)
        rows = report_people(rated) if "people" in chosen else {}
        if "people" in chosen and real:
            rows |= report_real(
                *(
                    [scorer_of(model).score(path, prompt, with_frames=False).scores["Overall"] for path in files]
                    for files in (real, dict.fromkeys(clip.record.video for clip in rated))
                )
            )
        rows |= report_captions(rated, model) if "captions" in chosen else {}
        noted |= {f"{len(rated)} rated clips, {name}": value for name, value in rows.items()}
    if "cost" in chosen:
        noted |= report_cost(options.model, prompt)
    if options.note:
        known = read_checkpoint(options.model).trained_on.measured  # read again: another run may have added to it
        titles = {name.partition(", ")[0] for name in noted}  # rows of the same clips are written anew
        kept = {name: value for name, value in known.items() if name.partition(", ")[0] not in titles}
        note_measured(options.model, kept | noted)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 2 if something that was given cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="videos (default: those of gradio)")
    parser.add_argument("--clips", type=Path, help="a folder of videos, instead of or beside files")
    parser.add_argument("--photographs", action="store_true", help="use pans over gradio's photographs, not videos")
    parser.add_argument("--labels", type=Path, help="a table of clips that people rated; the videos lie in its folder")
    parser.add_argument("--real", type=Path, help="a folder of real footage, to compare with the clips of --labels")
    parser.add_argument("--only", type=_parts, help=f"some of {','.join(PARTS)} (default: all that can be measured)")
    parser.add_argument("--model", type=Path, default=ASSETS / "demo", help="folder of a checkpoint")
    parser.add_argument("--prompt", default=PROMPT, help="of clips that have none (default: %(default)s)")
    parser.add_argument(
        "--processes", type=int, default=2, help="clips that are scored at a time (default: %(default)s)"
    )
    parser.add_argument("--note", action="store_true", help="write the results into the checkpoint's card")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.photographs and (options.files or options.clips):
        parser.error("give clips or --photographs, not both")
    if options.processes < 1:
        parser.error(f"--processes is {options.processes}; 1 or more were expected")
    os.environ[CACHE_GB_VARIABLE] = "0"  # no feature cache on disk: versions are scored once
    try:
        run(options)
    except DemoError as error:
        print(f"real_clips: {error}", file=sys.stderr)
        return 2
    return 0


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: expected some of {', '.join(PARTS)}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
