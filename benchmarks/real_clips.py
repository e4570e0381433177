"""How a model scores real clips that are made worse step by step: the tables of docs/demo-model.md.

    python -m benchmarks.real_clips                         # `demo`, and the clips that ship with gradio
    python -m benchmarks.real_clips --photographs           # a camera over the photographs that ship with gradio
    python -m benchmarks.real_clips --model FOLDER FILE.mp4 ...

Each fault has a dimension that should fall and five growing severities. The program prints the scores of the clean
clips; the Spearman correlation of severity and fall; how often the right dimension falls more than each of the three
others (Overall aside); and how far scores move where nothing visible changes. All scores are clamped to 1..5, as the
page shows them. No model trains on these clips. docs/demo-model.md says which training scenes were designed after
looking at these results.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, DIMENSIONS, SCORE_MAX, SCORE_MIN, wait_passively

wait_passively()

import numpy as np
import torch
import torch.nn.functional as F
from gradio.media import get_image, get_video
from PIL import Image, ImageFilter
from scipy import stats
from torch import Tensor

from vjepa_demo.media.sampling import view_frames, view_indices
from vjepa_demo.media.video import pixel_values, recode, write_video
from vjepa_demo.model.checkpoint import load_checkpoint, note_measured, read_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.procedural.scenes import Scene, render_scene
from vjepa_demo.tasks.score import load_scorer

logger = logging.getLogger(__name__)

GRADIO_CLIPS = ("world.mp4", "a.mp4")  # b.mp4 and b.avi have the same content as world.mp4
PHOTOGRAPHS = ("cheetah.jpg", "groot.jpeg", "tower.jpg")
PAN_RATE = 30.0
SECONDS = 5.0  # used of each clip, from its start: every version is kept in memory


@dataclass(frozen=True)
class RealClip:
    """Frames (T, 3, H, W) uint8 at `rate` frames per second."""

    name: str
    frames: Tensor
    rate: float


def read_clip(path: Path) -> RealClip:
    """The first `SECONDS` of a video file, cut to an even height and width."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path))
    rate = decoder.metadata.average_fps or 30.0
    frames = decoder[: min(len(decoder), round(SECONDS * rate))]
    height, width = (size // 2 * 2 for size in frames.shape[2:])
    return RealClip(path.name, frames[..., :height, :width], rate)


def pan_over(path: Path) -> RealClip:
    """A camera that moves along the longer side of a photograph by one pixel per frame, so nothing is resampled."""
    picture = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)
    count = round(SECONDS * PAN_RATE)
    axis = 1 if picture.shape[1] > picture.shape[2] else 2
    picture = picture[:, : picture.shape[1] // 2 * 2, : picture.shape[2] // 2 * 2]
    length = (picture.shape[axis] - count) // 2 * 2
    return RealClip(path.name, torch.stack([picture.narrow(axis, place, length) for place in range(count)]), PAN_RATE)


# ---- worse versions ------------------------------------------------------------------------------------------


def blur(clip: RealClip, sigma: float) -> Tensor:
    """Gaussian blur; `sigma` is in pixels of a clip whose shortest edge is 720."""
    radius = sigma * min(clip.frames.shape[2:]) / 720
    pictures = [Image.fromarray(frame) for frame in clip.frames.permute(0, 2, 3, 1).numpy()]
    blurred = [np.asarray(picture.filter(ImageFilter.GaussianBlur(radius))) for picture in pictures]
    return torch.from_numpy(np.stack(blurred)).permute(0, 3, 1, 2)


def noise(clip: RealClip, deviation: float) -> Tensor:
    """Gaussian noise; `deviation` is on the scale 0..255."""
    generator = torch.Generator().manual_seed(0)
    noisy = [frame + deviation * torch.randn(frame.shape, generator=generator) for frame in clip.frames]
    return torch.stack([frame.clamp(0, 255).to(torch.uint8) for frame in noisy])


def h264(clip: RealClip, crf: float) -> Tensor:
    """Encoded by x264 with FFmpeg's default settings."""
    return recode(
        clip.frames, codec="libx264", frames_per_second=clip.rate, crf=crf, preset="medium", pixel_format="yuv420p"
    )


def jitter(clip: RealClip, reach: float) -> Tensor:
    """Every frame displaced independently by up to `reach` pixels at 720p."""
    height, width = clip.frames.shape[2:]
    shifts = np.random.default_rng(0).uniform(-reach, reach, (len(clip.frames), 2)) * min(height, width) / 720
    moved = []
    for frame, (right, down) in zip(clip.frames, shifts, strict=True):
        turn = torch.tensor([[[1.0, 0.0, 2 * right / width], [0.0, 1.0, 2 * down / height]]], dtype=torch.float32)
        grid = F.affine_grid(turn, [1, 3, height, width], align_corners=False)
        moved.append(F.grid_sample(frame[None].float(), grid, padding_mode="reflection", align_corners=False)[0])
    return torch.stack([frame.to(torch.uint8) for frame in moved])


def flicker(clip: RealClip, reach: float) -> Tensor:
    """The brightness of every frame changed independently."""
    gains = np.exp(np.random.default_rng(0).normal(0, reach, len(clip.frames)))
    return _each(clip, lambda frame, place: frame * float(gains[place]))


def shuffle(clip: RealClip, block: float) -> Tensor:
    """Frames shuffled within blocks of `block` frames."""
    rng, order = np.random.default_rng(0), np.arange(len(clip.frames))
    blocks = [rng.permutation(part) for part in np.split(order, range(int(block), len(order), int(block)))]
    return clip.frames[torch.from_numpy(np.concatenate(blocks))]


def stutter(clip: RealClip, hold: float) -> Tensor:
    """Each frame held for `hold` frames."""
    return clip.frames[torch.arange(len(clip.frames)) // int(hold) * int(hold)]


def darken(clip: RealClip, gain: float) -> Tensor:
    """Every pixel multiplied by `gain`."""
    return _each(clip, lambda frame, _: frame * gain)


def flatten(clip: RealClip, share: float) -> Tensor:
    """Contrast reduced to `share` of it, around middle grey."""
    return _each(clip, lambda frame, _: 128 + (frame - 128) * share)


def _each(clip: RealClip, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    changed = [change(frame.float(), place).clamp(0, 255).to(torch.uint8) for place, frame in enumerate(clip.frames)]
    return torch.stack(changed)


@dataclass(frozen=True)
class Kind:
    """A kind of fault: the dimension that should fall, how to make the fault, and five growing severities."""

    dimension: str
    make: Callable[[RealClip, float], Tensor]
    severities: tuple[float, ...]


KINDS = {
    "Gaussian blur": Kind("Traditional", blur, (1, 2, 4, 8, 16)),
    "noise": Kind("Traditional", noise, (5, 10, 20, 40, 80)),
    "H.264 CRF": Kind("Traditional", h264, (30, 35, 40, 46, 51)),
    "jitter": Kind("Temporal", jitter, (1, 2, 4, 8, 16)),
    "flicker": Kind("Temporal", flicker, (0.02, 0.05, 0.1, 0.2, 0.4)),
    "shuffled frames": Kind("Temporal", shuffle, (2, 4, 8, 16, 1000)),
    "stutter": Kind("Temporal", stutter, (2, 3, 4, 6, 12)),
    "darkening": Kind("Aesthetic", darken, (0.8, 0.6, 0.4, 0.25, 0.12)),
    "contrast loss": Kind("Aesthetic", flatten, (0.8, 0.6, 0.4, 0.25, 0.12)),
}

SAME = {
    "re-encoded at CRF 18": partial(h264, crf=18),
    "resized by 0.75": lambda clip: F.interpolate(
        clip.frames, scale_factor=0.75, mode="bilinear", antialias=True, recompute_scale_factor=True
    ),
    "trimmed by a tenth": lambda clip: clip.frames[: round(0.9 * len(clip.frames))],
}


# ---- scores --------------------------------------------------------------------------------------------------


@torch.no_grad()
def scores(model: VJEPAModel, frames: Tensor, rate: float, prompt: str) -> np.ndarray:
    """The scores, 1 to 5, of frames (T, 3, H, W) uint8: (5,), in the order of `DIMENSIONS`."""
    config = model.clip_config
    pixels = []
    for view in config.views:
        seen = view_frames(frames[view_indices(view, len(frames), rate, config)], view, config)
        pixels.append(pixel_values(seen, config)[None])
    answer = model.predict_with_features(model.encode_video(pixels), model.encode_text([prompt]))[0]
    return answer.clamp(SCORE_MIN, SCORE_MAX).numpy()


def falls(model: VJEPAModel, clip: RealClip, kind: Kind, clean: np.ndarray, prompt: str) -> np.ndarray:
    """How far each score falls below the clean clip's: (5 severities, 5 dimensions)."""
    worse = [scores(model, kind.make(clip, severity), clip.rate, prompt) for severity in kind.severities]
    return clean - np.stack(worse)


# Each report also returns its numbers for the card and the page, as text beside the target.


def report_clean(clips: Sequence[RealClip], clean: Sequence[np.ndarray]) -> dict[str, str]:
    """Print the scores of the clean clips; gives the means that have a target."""
    print(f"| clip | {' | '.join(DIMENSIONS)} |\n| --- |{' --- |' * len(DIMENSIONS)}")
    for clip, row in zip(clips, clean, strict=True):
        height, width = clip.frames.shape[2:]
        print(f"| {clip.name}, {width} x {height} | {' | '.join(f'{value:.2f}' for value in row)} |")
    means = dict(zip(DIMENSIONS, np.mean(clean, axis=0), strict=True))
    return {f"clean: mean {name}": f"{means[name]:.2f} (at least 3.8)" for name in ("Traditional", "Temporal")}


def report_kinds(
    model: VJEPAModel, clips: Sequence[RealClip], clean: Sequence[np.ndarray], prompt: str
) -> dict[str, str]:
    """Print how the right dimension falls with severity."""
    print("\n| kind | Spearman of severity and fall, mean | right dimension falls most, share | each clip |")
    print("| --- | --- | --- | --- |")
    rows, shares = {}, []
    for name, kind in KINDS.items():
        column = DIMENSIONS.index(kind.dimension)
        fallen = [falls(model, clip, kind, row, prompt) for clip, row in zip(clips, clean, strict=True)]
        orders = [_order(f[:, column]) for f in fallen]
        most = [_falls_most(f.mean(axis=0), column) for f in fallen]
        each = ", ".join(f"{order:.2f}" for order in orders)
        print(f"| {name} | {np.mean(orders):.2f} | {np.mean(most):.2f} | {each} |", flush=True)
        rows[f"{name}: {kind.dimension} falls with severity, Spearman"] = f"{np.mean(orders):.2f} (at least 0.90)"
        shares.append(np.mean(most))
    print(f"| mean | | {np.mean(shares):.2f} | |")
    return rows | {"of all these, share in which that dimension falls most": f"{np.mean(shares):.2f} (at least 0.75)"}


def _falls_most(fallen: np.ndarray, column: int) -> bool:
    """Whether the dimension `column` falls more than every other one except Overall, which each fault lowers."""
    return all(fallen[column] > fallen[other] for other in range(DIMENSIONS.index("Overall")) if other != column)


def _order(fall: np.ndarray) -> float:
    """The Spearman correlation of severity and `fall` (5,); 0 if `fall` is constant, where it has none."""
    return 0.0 if np.ptp(fall) == 0 else float(stats.spearmanr(range(len(fall)), fall).statistic)


def report_same(
    model: VJEPAModel, clips: Sequence[RealClip], clean: Sequence[np.ndarray], prompt: str
) -> dict[str, str]:
    """Print how far scores move where nothing visible changes."""
    print("\n| nothing visible changes | mean absolute change of a score | largest |\n| --- | --- | --- |")
    rows = {}
    for name, make in SAME.items():
        moved = np.stack(
            [abs(scores(model, make(clip), clip.rate, prompt) - row) for clip, row in zip(clips, clean, strict=True)]
        )
        print(f"| {name} | {moved.mean():.2f} | {moved.max():.2f} |", flush=True)
        rows[f"{name}: mean change of a score"] = f"{moved.mean():.2f} (at most 0.25)"
    return rows


def report_cost(folder: Path, prompt: str, *, repeats: int = 5) -> dict[str, str]:
    """Print the seconds to score 5 s of 720p with the model loaded, and the size of the model's largest file.

    The clip is full of moving detail, so that decoding it is hard.
    """
    os.environ[CACHE_GB_VARIABLE] = "0"  # no feature cache on disk
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", help="videos (default: those of gradio)")
    parser.add_argument("--model", type=Path, default=ASSETS / "demo", help="folder of a checkpoint")
    parser.add_argument("--prompt", default="a video")
    parser.add_argument("--note", action="store_true", help="write the results into the checkpoint's card")
    parser.add_argument("--photographs", action="store_true", help="use pans over gradio's photographs, not videos")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.photographs and options.files:
        parser.error("give files or --photographs, not both")
    if options.photographs:
        clips = [pan_over(Path(get_image(name))) for name in PHOTOGRAPHS]
        title = f"pans over {len(clips)} photographs"
    else:
        files = options.files or [Path(get_video(name)) for name in GRADIO_CLIPS]
        clips = [read_clip(path) for path in files]
        title = f"{len(clips)} real clips"
    model, prompt = load_checkpoint(read_checkpoint(options.model), device="cpu"), options.prompt
    clean = [scores(model, clip.frames, clip.rate, prompt) for clip in clips]
    rows = report_clean(clips, clean)
    rows = report_kinds(model, clips, clean, prompt) | rows
    rows |= report_same(model, clips, clean, prompt)
    noted = {f"{title}, {name}": value for name, value in rows.items()}
    if not options.photographs:
        noted |= report_cost(options.model, prompt)
    if options.note:
        known = read_checkpoint(options.model).trained_on.measured  # read again: another run may have added to it
        kept = {name: value for name, value in known.items() if not name.startswith(f"{title}, ")}
        note_measured(options.model, kept | noted)


if __name__ == "__main__":
    main()
