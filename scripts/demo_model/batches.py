"""Training batches of the `demo` model: samples with captions, added faults, and the labels of both."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.demo_model.network import KINDS, english_text
from scripts.demo_model.samples import (
    HELD_OUT_SEED,
    HELD_OUT_VARIANTS,
    SKETCH_SEED,
    VIEW_FRAMES,
    Variant,
    at_other_severities,
    degrade_view,
    degrade_views,
    draw,
)
from vjepa_demo.config import DEMO_VIEWS, DIMENSIONS, NEUTRAL_PROMPT
from vjepa_demo.media.sampling import differences
from vjepa_demo.procedural.clips import (
    ATTRIBUTES,
    PHRASES,
    caption_of,
    caption_words,
    draw_num_wrong,
    facts_of,
    facts_told,
    labels_for,
    mislead,
)
from vjepa_demo.procedural.faults import DEGRADATIONS, cost_of_light, costs_seen, draw_degradations
from vjepa_demo.procedural.scenes import Scene

MIRRORED = {"left": "right", "right": "left"}
REVERSED = {"left": "right", "right": "left", "up": "down", "down": "up", "in": "out", "out": "in"}
MADE_NOW = 0.4  # chance of one more fault per dimension during training; views that cannot hold it stay as they are
NEUTRAL_SHARE = 0.2  # of the captions that are `NEUTRAL_PROMPT`
SKETCHED = ("Alignment", "Aesthetic")  # the dimensions that the full view alone can show


def _setting(default: Any, text: str) -> Any:
    """A field of `Settings` with its help text on the command line."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run's result, except the number of processes and the weights in `start`."""

    steps: int = _setting(12_000, "optimizer steps")
    start: str = _setting("", "folder of a trained model to start from, built the same way; empty: new weights")
    first_seed: int = _setting(0, f"first seed of the scenes; sketches use the same seeds plus {SKETCH_SEED}")
    num_scenes: int = _setting(1660, "scenes, each in four variants and a twin")
    num_sketches: int = _setting(9500, "sketches: clean scenes in the full view alone")
    seen_before: int = _setting(0, "how many of these clips --start learned from already, for the card")
    scenes_per_batch: int = _setting(8, "scenes per step, each in two variants")
    sketches_per_batch: int = _setting(12, "sketches per step")
    seed: int = _setting(0, "random seed of the first weights and of everything drawn during training")
    learning_rate: float = _setting(1e-3, "learning rate of AdamW")
    matrix_learning_rate: float = _setting(5e-3, "learning rate of Muon, which trains the matrices of encoder layers")
    warmup_steps: int = _setting(150, "steps in which the learning rate rises")
    weight_decay: float = _setting(0.05, "weight decay of both optimizers")
    share_of_tokens: float = _setting(0.5, "share of the video tokens that a step computes, except at the end")
    whole_at_end: float = _setting(0.08, "share of the steps, at the end, that compute all tokens")
    num_layers: int = _setting(3, "layers of the video encoder")
    vocabulary_size: int = _setting(2000, "pieces of words in the vocabulary, besides the words of the captions")
    num_held_out: int = _setting(500, "held-out clips to evaluate on, two per scene")

    def __post_init__(self) -> None:
        """Raises ValueError if two ranges of seeds would overlap."""
        if self.start and not self.first_seed:
            raise ValueError("further training needs scenes that the model in --start has not seen: give --first-seed")
        if self.seen_before and not self.start:
            raise ValueError("a run without --start has seen no seed before: leave out --seen-before")
        if self.first_seed + self.num_scenes > SKETCH_SEED:
            raise ValueError(f"the seeds of scenes must stay below {SKETCH_SEED:,}")
        if SKETCH_SEED + self.first_seed + self.num_sketches > HELD_OUT_SEED:
            raise ValueError(f"the seeds of sketches must stay below {HELD_OUT_SEED:,}")


@dataclass(frozen=True)
class Batch:
    """Two variants of each of B/2 scenes, side by side, then S sketches, and what is known about them."""

    views: list[Tensor]  # the full view (B + S, T, 3, crop, crop) uint8, the others (B, T, 3, crop, crop)
    captions: list[str]  # B + S
    labels: Tensor  # (B + S, 5) scores; of a sketch only those of `SKETCHED` count
    facts: Tensor  # (B + S, A) the index of each attribute's value in `PHRASES`; -1 for what has no words
    told: Tensor  # (B + S, A) the same of what the caption says, -1 for what it leaves out
    losses: Tensor  # (B, K) the share of its dimension that each kind of fault costs
    twins: Tensor  # (B / 2,) whether the two variants of a scene are one clip, shown a little otherwise


@lru_cache(maxsize=100_000)
def facts_file(folder: Path, seed: int) -> dict[str, Any]:
    """The JSON file of a scene or sketch, which is drawn now if it is missing."""
    draw(folder, seed)
    return dict(json.loads((folder / f"{seed}.json").read_text(encoding="utf-8")))


def read_sample(folder: Path, seed: int) -> tuple[Scene, list[Variant], np.ndarray]:
    """The scene of `seed`, its variants, and a memory map of the views.

    The views are (V, T, 3, crop, crop) uint8 of V variants, or (T, 3, crop, crop) of a sketch.
    """
    known = facts_file(folder, seed)
    variants = [Variant(**variant) for variant in known.get("variants", [])]
    return Scene(**known["scene"]), variants, np.load(folder / f"{seed}.npy", mmap_mode="r")


class Batches:
    """The batches of a run by step number. A batch depends on the settings and the step alone, not on earlier batches.

    `share` (i, n) gives the i-th of n parts of each batch.
    """

    def __init__(self, settings: Settings, folder: Path, share: tuple[int, int] = (0, 1)) -> None:
        self.settings, self.folder, self.share = settings, folder, share

    def __getitem__(self, step: int) -> Batch:
        settings, (part, parts) = self.settings, self.share
        rng = np.random.default_rng((settings.seed, 1, step, part))
        scenes = self.turn(step, settings.scenes_per_batch, settings.num_scenes)[part::parts]
        sketches = self.turn(step, settings.sketches_per_batch, settings.num_sketches)[part::parts]
        first = settings.first_seed
        pairs = [self._two_variants(first + seed, rng) for seed in scenes]
        samples = [sample for two, _ in pairs for sample in two]
        twins = [is_twin for _, is_twin in pairs]
        return _stack(samples, [self._sketch(SKETCH_SEED + first + seed, rng) for seed in sketches], twins)

    def turn(self, step: int, size: int, count: int) -> list[int]:
        """The `size` indices below `count` that belong to `step`: each epoch has all indices in an order of its own."""
        epochs, ranks = divmod(step * size + np.arange(size), count)
        shuffled = {e: np.random.default_rng((self.settings.seed, 2, count, e)).permutation(count) for e in set(epochs)}
        return [int(shuffled[e][rank]) for e, rank in zip(epochs, ranks, strict=True)]

    def _two_variants(self, seed: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], bool]:
        """Two variants of a scene, and whether they are twins: in a third of the pairs they are, in a third they have
        the same faults at different severities, else they are any two. Some more faults are added to the views.

        Twins are mirrored, disguised and described each in its own way, others alike."""
        scene, variants, pixels = read_sample(self.folder, seed)
        kind, first = int(rng.integers(3)), draw_degradations(rng, MADE_NOW)
        of = variants[-1].twin_of
        is_twin = kind == 0 and of is not None
        if is_twin:
            chosen, second = [of, len(variants) - 1], first
        elif kind == 1:
            chosen, second = [1, 2], at_other_severities(first, rng)
        else:
            chosen, second = list(rng.permutation(4)[:2]), draw_degradations(rng, MADE_NOW)
        samples = []
        mirror, backwards = rng.random(2) < 0.5
        disguise, made = draw_disguise(rng), int(rng.integers(2**31))
        for number, faults in zip(chosen, (first, second), strict=True):
            if is_twin:
                mirror, disguise = rng.random() < 0.5, draw_disguise(rng)
            own = np.random.default_rng(made) if is_twin else rng  # the same fault in both
            views, costs = degrade_views(_by_view(pixels[number]), faults, variants[number].costs, own)
            samples.append(_seen(scene, costs, disguise(views), rng, mirror, backwards))
        return samples, is_twin

    def _sketch(self, seed: int, rng: np.random.Generator) -> dict[str, Any]:
        """A sketch, half of the time with a fault that the full view shows."""
        scene, _, pixels = read_sample(self.folder, seed)
        view, costs = torch.from_numpy(np.array(pixels)), {}
        for fault in draw_degradations(rng):
            if DEGRADATIONS[fault.kind].dimension == "Aesthetic":
                view, costs = degrade_view(view, fault, rng)
        mirror, backwards = rng.random(2) < 0.5
        return _seen(scene, costs, [view], rng, mirror, backwards)


def _by_view(pixels: np.ndarray) -> list[Tensor]:
    """The frames (T, 3, crop, crop) of each view, from the frames of all views in a row."""
    return list(torch.from_numpy(np.array(pixels)).split(VIEW_FRAMES))


def draw_disguise(rng: np.random.Generator) -> Callable[[list[Tensor]], list[Tensor]]:
    """A random function that changes what all views but the full one show, but not the faults in them.

    It rotates and flips them, changes their light, and half of the time puts the pieces of views in fragments in
    another order. So the model cannot recognise a clip by its details. The full view stays, because it must match the
    caption.
    """
    turns, flips = rng.integers(4, size=len(VIEW_FRAMES)), rng.random(len(VIEW_FRAMES)) < 0.5
    gains, curve = np.exp(rng.normal(0, 0.036, (3, 1)) + rng.normal(0, 0.12)), math.exp(rng.normal(0, 0.15))
    light = (255 * gains * (np.arange(256) / 255) ** curve + 0.5).clip(0, 255).astype(np.uint8)  # (3, 256)
    orders, shuffled = [rng.permutation(view.grid**2) for view in DEMO_VIEWS], rng.random() < 0.5

    def disguise(views: list[Tensor]) -> list[Tensor]:
        result = views[:1]
        for number, view in enumerate(views[1:], 1):
            view = torch.rot90(view, int(turns[number]), (-2, -1))
            view = view.flip(-1) if flips[number] else view
            if shuffled and DEMO_VIEWS[number].framing == "fragments":
                view = _reordered(view, orders[number])
            channels = [light[c].take(view[:, c].numpy()) for c in range(3)]
            result.append(torch.from_numpy(np.stack(channels, axis=1)))
        return result

    return disguise


def _reordered(view: Tensor, order: np.ndarray) -> Tensor:
    """A view (T, 3, crop, crop) with its square pieces in another order, the same in all frames."""
    side = round(len(order) ** 0.5)
    pieces = view.unflatten(3, (side, -1)).unflatten(2, (side, -1)).transpose(3, 4).flatten(2, 3)  # (T, 3, N, p, p)
    return pieces[:, :, torch.from_numpy(order)].unflatten(2, (side, side)).transpose(3, 4).flatten(4).flatten(2, 3)


def _seen(
    scene: Scene, costs: dict[str, float], views: list[Tensor], rng: np.random.Generator, mirror: bool, backwards: bool
) -> dict[str, Any]:
    """One example: the views as the encoder gets them, mirrored or backwards if asked, a caption, and the labels that
    follow from the `costs` of the faults and the light of the full view."""
    if mirror:
        views, scene = [view.flip(-1) for view in views], _renamed(scene, MIRRORED)
    if backwards:
        views, scene = [view.flip(0) for view in views], _renamed(scene, REVERSED)
    told = mislead(facts_told(scene, rng), rng, num_wrong=draw_num_wrong(rng))
    is_neutral = rng.random() < NEUTRAL_SHARE  # as the program asks where it does not know a word: it claims nothing
    told = {} if is_neutral else told
    costs = costs_seen(costs, cost_of_light(views[0]))
    labels, facts = labels_for(scene, told, costs), facts_of(scene)
    known = {name: {value: index for index, value in enumerate(PHRASES[name])} for name in ATTRIBUTES}
    shown = zip(DEMO_VIEWS, views, strict=False)  # a sketch has only the first
    return {
        "views": [differences(frames) if view.differences else frames for view, frames in shown],
        "caption": NEUTRAL_PROMPT if is_neutral else add_strange_words(caption_of(told, rng), rng),
        "labels": [labels[name] for name in DIMENSIONS],
        "facts": [known[name].get(facts[name], -1) for name in ATTRIBUTES],
        "told": [known[name].get(told.get(name, ""), -1) for name in ATTRIBUTES],
        "losses": [costs.get(kind, 0.0) for kind in KINDS],
    }


def _renamed(scene: Scene, names: dict[str, str]) -> Scene:
    return replace(scene, motion=names.get(scene.motion, scene.motion), camera=names.get(scene.camera, scene.camera))


def _stack(
    samples: Sequence[dict[str, Any]], sketches: Sequence[dict[str, Any]] = (), twins: Sequence[bool] = ()
) -> Batch:
    both = [*samples, *sketches]
    views = [torch.stack([sample["views"][0] for sample in both])]
    views += [torch.stack([sample["views"][v] for sample in samples]) for v in range(1, len(VIEW_FRAMES))]
    return Batch(
        views=views,
        captions=[sample["caption"] for sample in both],
        labels=torch.tensor([sample["labels"] for sample in both]),
        facts=torch.tensor([sample["facts"] for sample in both]),
        told=torch.tensor([sample["told"] for sample in both]),
        losses=torch.tensor([sample["losses"] for sample in samples]),
        twins=torch.tensor(list(twins), dtype=torch.bool),
    )


def held_out_clip(folder: Path, number: int) -> tuple[Batch, dict[str, float]]:
    """Held-out clip `number` as a batch of one, and what each of its faults costs in its label. Two clips share a
    scene."""
    index, which = divmod(number, len(HELD_OUT_VARIANTS))
    rng = np.random.default_rng((HELD_OUT_SEED, number))
    scene, variants, pixels = read_sample(folder, HELD_OUT_SEED + index)
    costs = variants[which].costs
    batch = _stack([_seen(scene, costs, _by_view(pixels[which]), rng, mirror=False, backwards=False)])
    return batch, {kind: cost for kind, cost in zip(KINDS, batch.losses[0].tolist(), strict=True) if kind in costs}


@lru_cache(maxsize=1)
def strange_words() -> list[str]:
    """English words that no caption uses."""
    return sorted(set(re.findall(r"[a-z]{2,14}", english_text())) - caption_words())


def add_strange_words(caption: str, rng: np.random.Generator) -> str:
    """`caption`, a third of the time with unrelated English words added, so that the model learns to ignore them."""
    if rng.random() >= 0.35:
        return caption
    words, strange = caption.split(" "), strange_words()
    for _ in range(int(rng.integers(1, 7))):
        words.insert(int(rng.integers(len(words) + 1)), strange[int(rng.integers(len(strange)))])
    return " ".join(words)
