"""Draw what the `demo` model learns from: procedural clips, each stored only as the views that the model sees.

    python -m scripts.demo_model.samples --first 0 --count 1000    # several processes can share the work

A scene is one file with four variants: mostly clean; some faults; the same faults at other severities; other faults.
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
from torch import Tensor

from vjepa_demo.config import DEMO_VIEWS, PROJECT_ROOT, ClipConfig
from vjepa_demo.media.sampling import uniform_indices, view_frames, window_indices
from vjepa_demo.procedural.clips import draw_scene
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
FULL, DENSE, NATIVE = DEMO_VIEWS
VIEW_FRAMES = tuple(view.num_frames for view in DEMO_VIEWS)
WINDOW = 16
NATIVE_PLACES = np.array(window_indices(WINDOW, 1.0, WINDOW, VIEW_FRAMES[2]))  # of the native view in the window
BEFORE = 4  # frames before the window, with which a codec starts
SPARE = 7  # frames on each side of the window, which faults may show in it
RATES = (16, 24, 24, 25, 30, 30, 30)  # frames per second
# Height and width in pixels.
SIZES = ((360, 640), (396, 704), (432, 576), (512, 512), (640, 360), (400, 640), (480, 640), (540, 720), (304, 720),
         (270, 480), (240, 320), (480, 270), (720, 1280))  # fmt: skip
SKETCH_SIZES = ((180, 320), (192, 256), (208, 208), (256, 192))
SKETCH_SEED = 100_000_000  # the seeds of sketches start here
HELD_OUT_SEED = 1_000_000_000  # seeds from here on are never trained on
# Faults that can be added to stored views: they change each pixel by itself, or the order of a few frames.
MADE_IN_VIEWS = frozenset(
    {"dark", "bright", "contrast", "saturation", "cast", "flicker", "stutter", "freeze", "shuffle"}
)
HELD_OUT_VARIANTS = (1, 3)  # the two variants of a scene that are drawn independently


@dataclass(frozen=True)
class Variant:
    """One clip: the severity of each fault, and what the fault costs its dimension (0 to 0.95 of the scale)."""

    degradations: dict[str, float]
    costs: dict[str, float]


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

    The T = 28 frames of a variant are those of its full, dense and native view, one view after the other. V is 4, or 2
    for a held-out scene.
    """
    chosen = HELD_OUT_VARIANTS if seed >= HELD_OUT_SEED else range(4)
    rng = np.random.default_rng((seed, 5))
    scene, rate, seconds = draw_scene(rng), int(rng.choice(RATES)), rng.uniform(2.0, 8.0)
    height, width = SIZES[rng.integers(len(SIZES))]
    num_frames = int(rate * seconds)
    whole = np.array(uniform_indices(num_frames, VIEW_FRAMES[0]))
    window = np.array(window_indices(num_frames, rate, WINDOW, WINDOW))
    places = np.union1d(whole, np.arange(max(0, window[0] - SPARE), min(num_frames, window[-1] + SPARE + 1)))
    frames = render_scene(
        scene, num_frames=num_frames, duration_seconds=seconds, height=height, width=width, places=places.tolist()
    )
    footage = Footage(frames, places, num_frames)
    shown = np.concatenate([np.arange(window[0] - BEFORE, window[0]), window, whole])
    variants, views = [], []
    drawn = draw_faults(rng)
    for faults in (drawn[index] for index in chosen):
        seen, costs = degrade(footage, faults, rng, shown=shown)
        if "compression" not in costs and rng.random() < 0.7:
            seen = uploaded(seen, rng)
        variants.append(Variant({fault.kind: fault.severity for fault in faults}, costs))
        dense = seen[BEFORE : BEFORE + WINDOW]
        parts = ((seen[BEFORE + WINDOW :], FULL), (dense, DENSE), (dense[NATIVE_PLACES], NATIVE))
        views.append(torch.cat([view_frames(part, view, CLIP) for part, view in parts]).numpy())
    return scene, variants, np.stack(views)


def sketch(seed: int) -> tuple[Scene, np.ndarray]:
    """The scene of `seed` and its full view (8, 3, crop, crop) uint8, clean."""
    rng = np.random.default_rng((seed, 6))
    scene, seconds = draw_scene(rng), rng.uniform(2.0, 8.0)
    height, width = SKETCH_SIZES[rng.integers(len(SKETCH_SIZES))]
    frames = render_scene(scene, num_frames=VIEW_FRAMES[0], duration_seconds=seconds, height=height, width=width)
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
            views, cost = _rearranged(views, fault, reorder(WINDOW, fault.severity, rng))
        else:
            changed, found = degrade_view(torch.cat(views), fault, rng)
            views, cost = list(changed.split(VIEW_FRAMES)), found[fault.kind]
        costs = {**costs, fault.kind: cost}
    return views, costs


def _rearranged(views: list[Tensor], fault: Degradation, order: np.ndarray) -> tuple[list[Tensor], float]:
    """The views with the window's frames in another `order` (16,), and what the fault costs.

    The full view stays as it is: it shows a few frames of the whole clip.
    """
    full, dense, native = views
    rearranged = dense[torch.from_numpy(order)]
    pieces = Footage(native, NATIVE_PLACES, WINDOW).at(order[NATIVE_PLACES])
    # Views are shrunk to about half a clip's size, and a cost is measured at a clip's size: so enlarge them twice.
    before, after = (frames.repeat_interleave(2, -1).repeat_interleave(2, -2) for frames in (dense, rearranged))
    return [full, rearranged, pieces], cost_of(fault, before, after)


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
    samples = PROJECT_ROOT / "runs" / "demo_samples"
    parser.add_argument("--samples", type=Path, default=samples, help="folder of the samples")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, default=1000, help="number of seeds from there on")
    parser.add_argument("--step", type=int, default=1, help="draw every n-th seed, to share the work of n processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.monotonic()
    for number, seed in enumerate(range(options.first, options.first + options.count, options.step), 1):
        draw(options.samples, seed)
        if number % 20 == 0:
            logger.info("seed %d, %.2f s each", seed, (time.monotonic() - begin) / number)


if __name__ == "__main__":
    main()
