"""Draw what the `demo` model learns from: procedural clips, each stored only as the views that the model sees.

    python -m scripts.demo_model.samples --first 0 --count 1000    # several processes can share the work

A scene is one file with five variants: mostly clean; some faults; the same faults at other severities; other faults;
and the twin of one of them, which shows the same clip a little otherwise (cropped, trimmed, smaller, coded once more).
A sketch is a clean scene in the full view alone. It is cheap, and enough to learn what a clip shows and how it is lit.
Captions, mirroring, wrong statements in a caption and some more faults are drawn during training.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.demo_model.photographs import FOLDER as PHOTOGRAPHS
from scripts.demo_model.photographs import TABLE, large_enough, photograph
from vjepa_demo.config import DEMO_VIEWS, PROJECT_ROOT, ClipConfig
from vjepa_demo.media.sampling import view_frames, window_indices
from vjepa_demo.procedural.clips import draw_scene, over_photograph
from vjepa_demo.procedural.faults import (
    DEGRADATIONS,
    Degradation,
    Footage,
    cost_of,
    degrade,
    draw_degradations,
    uploaded,
)
from vjepa_demo.procedural.scenes import Scene, render_scene

logger = logging.getLogger(__name__)

CLIP = ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS)
FULL, DENSE, NATIVE, MOVING = DEMO_VIEWS
VIEW_FRAMES = tuple(view.num_frames for view in DEMO_VIEWS)
WINDOW = 16
NATIVE_PLACES = np.array(window_indices(WINDOW, 1.0, WINDOW, VIEW_FRAMES[2]))  # of the native view in the window
BEFORE = 4  # frames before the window, with which a codec starts
TRIM = 5  # frames by which a twin's window lies earlier or later at most
# Frames a second: of cameras, and of generators.
RATES = (16, 24, 24, 25, 30, 30, 30, 6, 8, 8, 10, 12)
# Height and width in pixels.
SIZES = ((360, 640), (396, 704), (360, 480), (384, 384), (640, 360), (320, 568), (480, 640), (304, 720), (270, 480),
         (240, 320), (480, 270), (720, 1280), (256, 256), (256, 256), (320, 512), (160, 288), (480, 720))  # fmt: skip
SKETCH_SIZES = ((180, 320), (192, 256), (208, 208), (256, 192))
CHANCE_OF_PHOTOGRAPH, CHANCE_OF_THING = 0.5, 0.7  # the thing that a caption names, before a photograph
ROOM = 1.3  # of a photograph's sides beside the frame's: room for a zoom
SKETCH_SEED = 100_000_000  # the seeds of sketches start here
HELD_OUT_SEED = 1_000_000_000  # seeds from here on are never trained on
# Faults that can be added to stored views: they change each pixel by itself, or the order of a few frames.
MADE_IN_VIEWS = frozenset(
    {"dark", "bright", "contrast", "saturation", "cast", "flicker", "stutter", "freeze", "shuffle"}
)
HELD_OUT_VARIANTS = (1, 3)  # the two variants of a scene that are drawn independently


@dataclass(frozen=True)
class Variant:
    """One clip: the severity of each fault, what the fault costs its dimension (0 to 0.95 of the scale), and of a twin
    the number of the variant that it shows."""

    degradations: dict[str, float]
    costs: dict[str, float]
    twin_of: int | None = None


def draw_faults(rng: np.random.Generator) -> list[tuple[Degradation, ...]]:
    """The faults of a scene's four variants."""
    while not (first := draw_degradations(rng, 0.55)):
        pass
    again = at_other_severities(first, rng)
    return [() if rng.random() < 0.7 else draw_degradations(rng, 0.3), first, again, draw_degradations(rng)]


def at_other_severities(faults: Sequence[Degradation], rng: np.random.Generator) -> tuple[Degradation, ...]:
    """The same kinds of faults, each with a new severity."""
    return tuple(Degradation(fault.kind, 1.0 - rng.random()) for fault in faults)


def scene_views(seed: int) -> tuple[Scene, list[Variant], np.ndarray]:
    """The scene of `seed`, its V variants, and their views (V, T, 3, crop, crop) uint8.

    The T = 44 frames of a variant are those of its views, one view after the other; the last view's frames are not
    differences yet. V is 5, the last one a twin, or 2 for a held-out scene.
    """
    is_held_out = seed >= HELD_OUT_SEED
    rng = np.random.default_rng((seed, 7))
    rate, seconds = int(rng.choice(RATES)), rng.uniform(2.0, 8.0)
    height, width = SIZES[rng.integers(len(SIZES))]
    scene, picture = draw_background(rng, (height, width), held_out=is_held_out)
    num_frames = max(WINDOW, int(rate * seconds))
    whole = ((np.arange(VIEW_FRAMES[0]) + 0.5 + rng.uniform(-0.25, 0.25)) * num_frames / VIEW_FRAMES[0]).astype(int)
    first = round(float(rng.choice([0.25, 0.75, rng.random()])) * num_frames - WINDOW / 2)
    first = min(max(first, 0), num_frames - WINDOW)
    around = np.arange(first - BEFORE - TRIM, first + WINDOW + TRIM).clip(0, num_frames - 1)
    shown = np.concatenate([around, whole])
    window, full = slice(BEFORE + TRIM, BEFORE + TRIM + WINDOW), slice(len(around), len(shown))
    # Faults rearrange frames: a stutter shows earlier ones, lost frames bring later ones.
    places = np.union1d(whole, np.arange(max(0, first - WINDOW), min(num_frames, first + 2 * WINDOW)))
    frames = render_scene(
        scene,
        num_frames=num_frames,
        duration_seconds=seconds,
        height=height,
        width=width,
        places=places.tolist(),
        photograph=picture,
        wider=True,
        frames_per_second=rate,
    )
    footage = Footage(frames, places, num_frames, (first, first + WINDOW - 1))
    variants, views, clips = [], [], []
    drawn = draw_faults(rng)
    for number in HELD_OUT_VARIANTS if is_held_out else range(4):
        seen, costs = degrade(footage, drawn[number], rng, shown=shown, seen=(window, full))
        if "compression" not in costs and rng.random() < 0.7:
            seen = uploaded(seen, rng)
        variants.append(Variant({fault.kind: fault.severity for fault in drawn[number]}, costs))
        views.append(views_of(seen[window], seen[full]))
        clips.append(seen)
    if not is_held_out:
        number = int(rng.integers(len(clips)))
        variants.append(Variant(variants[number].degradations, variants[number].costs, twin_of=number))
        # Where frames are rearranged another window may show another fault.
        is_trimmed = not any(DEGRADATIONS[kind].reorder for kind in variants[number].costs)
        later = int(rng.integers(-min(TRIM, first), min(TRIM, num_frames - WINDOW - first) + 1)) * is_trimmed
        part = slice(window.start + later, window.stop + later)
        views.append(_twin(torch.cat([clips[number][part], clips[number][full]]), rng))
    return scene, variants, np.stack(views)


def draw_background(
    rng: np.random.Generator, size: tuple[int, int], *, held_out: bool = False
) -> tuple[Scene, Tensor | None]:
    """A scene for frames of `size`, and half of the time the photograph (3, H, W) uint8 that it plays over: one that is
    large enough, if there is any."""
    room = round(ROOM * size[0]), round(ROOM * size[1])
    scene, known = draw_scene(rng), large_enough(PHOTOGRAPHS, room, held_out=held_out)
    wanted, with_thing, number = rng.random() < CHANCE_OF_PHOTOGRAPH, rng.random() < CHANCE_OF_THING, rng.random()
    if not (wanted and known):
        return scene, None
    return over_photograph(scene, with_thing=with_thing), photograph(known[int(number * len(known))])


def views_of(window: Tensor, whole: Tensor) -> np.ndarray:
    """The views (T, 3, crop, crop) uint8 of a clip, one after the other, from the frames of its window and of the
    whole of it."""
    parts = ((whole, FULL), (window, DENSE), (window[NATIVE_PLACES], NATIVE), (window, MOVING))
    return torch.cat([view_frames(part, view, CLIP) for part, view in parts]).numpy()


def _twin(frames: Tensor, rng: np.random.Generator) -> np.ndarray:
    """The views of a clip, shown a little otherwise: a viewer would think the same of it. `frames` are those of the
    window, then those of the whole clip."""
    height, width = frames.shape[2:]
    if rng.random() < 0.8:  # up to a tenth is cut off, anywhere
        rows, columns = (round(size * rng.uniform(0.9, 1.0)) // 2 * 2 for size in (height, width))
        top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
        frames = frames[..., top : top + rows, left : left + columns]
    if rng.random() < 0.3:
        size = [round(n * rng.uniform(0.7, 0.95) / 2) * 2 for n in frames.shape[2:]]
        frames = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
    if rng.random() < 0.1:
        bar = round(frames.shape[2] * rng.uniform(0.05, 0.15))
        frames = F.pad(frames, (0, 0, bar, bar))
    if rng.random() < 0.4:
        frames = uploaded(frames, rng)
    return views_of(frames[:WINDOW], frames[WINDOW:])


def sketch(seed: int) -> tuple[Scene, np.ndarray]:
    """The scene of `seed` and its full view (8, 3, crop, crop) uint8, clean."""
    rng = np.random.default_rng((seed, 8))
    seconds, (height, width) = rng.uniform(2.0, 8.0), SKETCH_SIZES[rng.integers(len(SKETCH_SIZES))]
    scene, picture = draw_background(rng, (height, width))
    frames = render_scene(
        scene,
        num_frames=VIEW_FRAMES[0],
        duration_seconds=seconds,
        height=height,
        width=width,
        photograph=picture,
        wider=True,
    )
    return scene, view_frames(frames, FULL, CLIP).numpy()


def degrade_view(view: Tensor, fault: Degradation, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
    """A view's frames (T, 3, crop, crop) uint8 with a fault, and what the fault costs."""
    return degrade(Footage(view, np.arange(len(view)), len(view)), [fault], rng)


def degrade_views(
    views: list[Tensor], faults: Sequence[Degradation], costs: dict[str, float], rng: np.random.Generator
) -> tuple[list[Tensor], dict[str, float]]:
    """Add to a clip's views those of `faults` that they can hold; gives the views and what all faults cost.

    Views are (T, 3, crop, crop) uint8. `costs` are those of the faults that the clip already has. A fault is left out
    if it is not in `MADE_IN_VIEWS`, or if its dimension already has a fault. As in `degrade`, the order of the frames
    changes first, and light changes before everything else in the picture. So light stays as it is where the picture
    already has a fault, which another light might hide.
    """
    taken = {DEGRADATIONS[kind].dimension for kind in costs}
    if any(DEGRADATIONS[kind].apply for kind in costs):
        taken.add("Aesthetic")
    wanted = [fault for fault in faults if fault.kind in MADE_IN_VIEWS]
    for fault in sorted(wanted, key=lambda fault: DEGRADATIONS[fault.kind].reorder is None):
        if DEGRADATIONS[fault.kind].dimension in taken:
            continue
        if reorder := DEGRADATIONS[fault.kind].reorder:
            order = reorder(Footage(views[1], np.arange(WINDOW), WINDOW), fault.severity, rng)
            views, cost = _rearranged(views, fault, order)
        else:
            changed, found = degrade_view(torch.cat(views), fault, rng)
            views, cost = list(changed.split(VIEW_FRAMES)), found[fault.kind]
        costs = {**costs, fault.kind: cost}
    return views, costs


def _rearranged(views: list[Tensor], fault: Degradation, order: np.ndarray) -> tuple[list[Tensor], float]:
    """The views with the window's frames in another `order` (16,), and what the fault costs.

    The full view stays as it is: it shows a few frames of the whole clip.
    """
    full, dense, native, moving = views
    rearranged, chosen = dense[torch.from_numpy(order)], torch.from_numpy(order)
    pieces = Footage(native, NATIVE_PLACES, WINDOW).at(order[NATIVE_PLACES])
    return [full, rearranged, pieces, moving[chosen]], cost_of(fault, dense, rearranged)


def draw(folder: Path, seed: int) -> None:
    """Write the scene or sketch of `seed` into `folder`, whole or not at all. A sample that is there stays as it is."""
    if (folder / f"{seed}.json").exists():
        return
    facts: dict[str, Any]
    if seed % HELD_OUT_SEED >= SKETCH_SEED:
        scene, pixels = sketch(seed)
        facts = {"scene": asdict(scene)}
    else:
        scene, variants, pixels = scene_views(seed)
        facts = {"scene": asdict(scene), "variants": [asdict(variant) for variant in variants]}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{seed}.{os.getpid()}.part"
    with partial.open("wb") as file:
        np.save(file, pixels)
    partial.replace(folder / f"{seed}.npy")
    partial.write_text(json.dumps(facts), encoding="utf-8")
    partial.replace(folder / f"{seed}.json")  # the last file written: it says that the sample is whole


class WithDefaults(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each option's default, and the description with its line breaks."""


def main() -> None:
    """Draw the samples of a range of seeds that are not drawn yet."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=WithDefaults)
    samples = PROJECT_ROOT / "runs" / "samples"
    parser.add_argument("--samples", type=Path, default=samples, help="folder of the samples")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=1000, help="number of seeds from there on")
    parser.add_argument("--step", type=int, default=1, help="draw every n-th seed, to share the work of n processes")
    options = parser.parse_args()
    if not (PHOTOGRAPHS / TABLE).exists():
        logger.warning(
            "no photographs in %s, so no scene will have one: run python -m scripts.demo_model.photographs first",
            PHOTOGRAPHS,
        )
    torch.set_num_threads(1)
    begin = time.monotonic()
    for number, seed in enumerate(range(options.first, options.first + options.count, options.step), 1):
        draw(options.samples, seed)
        if number % 20 == 0:
            logger.info("seed %d, %.2f s each", seed, (time.monotonic() - begin) / number)


if __name__ == "__main__":
    main()
