"""Procedural clips: moving textures and shapes with a caption, known faults, and the labels that follow from them.

The same seed gives the same clip. `make_clip` draws a whole clip. Its steps are public for callers that need them one
by one: `draw_scene` and `scenes.render_scene` (clean frames), `faults.draw_degradations` and `faults.degrade` (faults
and what they cost), `facts_told`, `mislead` and `caption_of` (the caption), `labels_for` (the scores of a viewer).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.media.video import write_video
from vjepa_demo.procedural.faults import (
    DEGRADATIONS,
    Degradation,
    Footage,
    cost_of_light,
    costs_seen,
    degrade,
    draw_degradations,
)
from vjepa_demo.procedural.scenes import NOTHING, PHOTOGRAPH, Scene, choose, render_scene
from vjepa_demo.schema import VideoRecord

DATASET_FRAMES, DATASET_SECONDS = 36, 3.0
DATASET_SIZE = 160, 240  # height and width in pixels: small files
FIRST_HEAD_SIZE = 448, 800  # larger than a large encoder's input, so that a clean clip looks sharp to it
DATASET_CRF = 20  # compression that hardly shows
DATASET_SEEDS = 1_000_003  # keeps apart the clips of different seeds, and those that trained the demo model

# ------------------------------------------------------------------------------------------------------------
# What a clip can show, and the words for it
# ------------------------------------------------------------------------------------------------------------

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "colour": {
        "red": ("red", "crimson", "scarlet", "ruby", "cherry red", "bright red"),
        "orange": ("orange", "amber", "tangerine", "bright orange"),
        "yellow": ("yellow", "golden", "lemon", "bright yellow", "gold"),
        "green": ("green", "emerald", "lime", "dark green", "bright green"),
        "blue": ("blue", "azure", "navy", "cobalt", "bright blue", "dark blue"),
        "purple": ("purple", "violet", "lilac", "magenta"),
        "white": ("white", "snow-white", "pale", "silver", "light"),
        "black": ("black", "dark", "jet-black", "charcoal"),
    },
    "shape": {
        "ball": ("ball", "sphere", "round ball", "globe", "planet", "circle", "disc", "bubble", "marble"),
        "box": ("box", "cube", "square", "crate", "block", "parcel"),
        "triangle": ("triangle", "pyramid", "cone", "wedge"),
        "star": ("star", "five-pointed star", "flower", "starfish"),
        "ring": ("ring", "hoop", "donut", "wheel", "tyre"),
        "cross": ("cross", "plus sign", "plus", "propeller"),
        "bar": ("bar", "stick", "rod", "plank", "pole", "beam"),
    },
    "background": {
        "stone": ("a stone wall", "grey rock", "rough stone", "a rocky floor", "concrete", "a grey mountain", "gravel"),
        "grass": ("green grass", "a meadow", "a lawn", "a field of grass", "a park", "a forest", "a garden"),
        "sky": ("a cloudy sky", "clouds", "the sky", "a blue sky", "white clouds", "the clear sky"),
        "tiles": ("checkered tiles", "a tiled floor", "a chessboard", "a checkerboard", "a kitchen floor"),
        "wood": ("wooden planks", "a wooden table", "wood", "a wooden floor", "a desk", "timber"),
        "leaves": ("autumn leaves", "fallen leaves", "colourful pebbles", "a beach of pebbles", "stones and leaves"),
        "bricks": ("a city of blocks", "colourful buildings", "a wall of blocks", "a brick wall", "houses", "a street"),
        "water": ("water", "the sea", "a lake", "ocean waves", "a river", "the ocean", "rippling water"),
        "space": ("outer space", "a starry night", "the night sky", "a black background", "darkness", "the stars"),
        "screen": ("a computer screen", "a web page", "a user interface", "a screen recording", "text and windows"),
        "plain": ("a plain wall", "a studio backdrop", "a plain background", "soft fog", "a blurred background"),
    },
    "motion": {
        "left": ("moves to the left", "slides left", "rolls left", "drifts to the left", "moving left", "going left"),
        "right": ("moves to the right", "slides right", "rolls right", "drifts to the right", "moving right"),
        "up": ("rises", "moves up", "floats upwards", "rising", "moving up", "flying upwards", "climbs"),
        "down": ("falls", "moves down", "sinks", "falling", "moving down", "dropping", "descends"),
        "still": ("rests", "stays still", "does not move", "standing still", "at rest", "lying motionless"),
        "spin": ("spins", "rotates", "turns around", "spinning", "rotating", "turning", "turns"),
        "bounce": ("bounces", "jumps up and down", "hops", "bouncing", "jumping up and down", "hopping"),
    },
    "camera": {
        "still": ("static camera", "fixed shot", "the camera does not move", "locked camera", "tripod shot"),
        "left": ("the camera pans left", "panning left", "the camera moves left", "pan left"),
        "right": ("the camera pans right", "panning right", "the camera moves right", "pan right"),
        "up": ("the camera tilts up", "tilting upwards", "the camera moves up", "crane up"),
        "down": ("the camera tilts down", "tilting downwards", "the camera moves down", "crane down"),
        "in": ("the camera zooms in", "zooming in", "zoom in", "the camera moves closer"),
        "out": ("the camera zooms out", "zooming out", "zoom out", "the camera moves away"),
        "hand": ("handheld camera", "a handheld shot", "shaky camera", "handheld footage"),
    },
}
ATTRIBUTES = tuple(PHRASES)

_TEMPLATES = (
    "{subject} {motion} {place}, {camera}",
    "{camera}: {subject} {motion} {place}",
    "{camera}, {subject} {motion} {place}",
    "{place}, {subject} {motion}, {camera}",
    "{subject} {place} {motion}, {camera}",
    "{subject} {place}, it {motion}, {camera}",
)
_WHERE = ("over", "in front of", "on", "against", "above", "before", "with", "near")
_OPENINGS = (
    *("", "", "", "", "", "a video of ", "a clip showing ", "footage of ", "close-up of ", "cinematic shot of "),
    *("realistic video of ", "an animation of ", "a beautiful view of ", "there is ", "we see "),
)
_ENDINGS = (
    *("", "", "", "", "", ", high quality", ", 4k", ", highly detailed", ", film look", ", natural light", ", 8k hd"),
    *(", photorealistic", ", slow motion", ", in daylight", ", sharp focus", ", cinematic lighting", ", best quality"),
)
_ADJECTIVES = ("", "", "", "", "small ", "big ", "large ", "shiny ", "single ", "beautiful ", "little ", "smooth ")

# What a wrong statement costs, as a share of the scale. Several statements add up, to at most 1.
_COST_OF_WRONG = {"shape": 0.35, "colour": 0.30, "background": 0.35, "motion": 0.20, "camera": 0.15}
_CHANCE_TOLD = {"shape": 0.95, "colour": 0.9, "background": 0.9, "motion": 0.7, "camera": 0.35}
_ALIKE = ({"red", "orange"}, {"orange", "yellow"}, {"blue", "purple"})  # confusing these is half wrong

# The weight of each dimension in Overall, and the weight of the worst one: viewers do not take the mean. Aesthetic
# measures only light and colour here, which decide least: as the worst one it counts half.
_OVERALL_WEIGHTS = {"Traditional": 0.35, "Alignment": 0.2, "Aesthetic": 0.1, "Temporal": 0.35}
_OVERALL_WORST = 0.35
_AESTHETIC_AT_WORST = 0.5


@dataclass(frozen=True)
class ProceduralClip:
    """Frames (T, 3, H, W) uint8 at `fps`, their caption and labels, and what they were drawn from."""

    frames: Tensor
    fps: float
    caption: str
    labels: dict[str, float]
    degradations: tuple[Degradation, ...]
    scene: Scene
    told: dict[str, str]

    def __repr__(self) -> str:
        labels = ", ".join(f"{name} {value:.2f}" for name, value in self.labels.items())
        return f"ProceduralClip({tuple(self.frames.shape)} at {self.fps:.1f} fps, {self.caption!r}, {labels})"


def make_clip(
    seed: int,
    *,
    num_frames: int = 16,
    duration_seconds: float | None = None,
    height: int = 192,
    width: int = 192,
    scene: Scene | None = None,
    degradations: Sequence[Degradation] | None = None,
    num_wrong: int | None = None,
) -> ProceduralClip:
    """A clip drawn from `seed`: `num_frames` frames (T, 3, height, width), uniform over `duration_seconds`.

    The duration (2 to 8 seconds), the scene, the degradations (empty for a clean clip) and the number of wrong
    statements in the caption are drawn unless they are given.
    """
    rng = np.random.default_rng(seed)
    drawn_scene, duration = draw_scene(rng), rng.uniform(2.0, 8.0)
    drawn_degradations, drawn_wrong = draw_degradations(rng), draw_num_wrong(rng)
    scene = drawn_scene if scene is None else scene
    duration = duration if duration_seconds is None else duration_seconds
    degradations = drawn_degradations if degradations is None else tuple(degradations)
    clean = render_scene(scene, num_frames=num_frames, duration_seconds=duration, height=height, width=width)
    told = mislead(facts_told(scene, rng), rng, num_wrong=drawn_wrong if num_wrong is None else num_wrong)
    caption = caption_of(told, rng)
    frames, costs = degrade(Footage(clean, np.arange(num_frames), num_frames), degradations, rng)
    return ProceduralClip(
        frames=frames,
        fps=num_frames / duration,
        caption=caption,
        labels=labels_for(scene, told, costs_seen(costs, cost_of_light(frames))),
        degradations=tuple(degradations),
        scene=scene,
        told=told,
    )


def example_clips(*, num_frames: int = 60, height: int = 360, width: int = 640) -> dict[str, ProceduralClip]:
    """Four example clips of 2.5 seconds, all of one scene: clean, blurred, unsteady, and with a wrong prompt."""
    ball = Scene("red", "ball", "grass", "right", "still", look=25)
    right = {"colour": "red", "shape": "ball", "motion": "right", "background": "grass"}
    wrong = {"colour": "white", "shape": "box", "motion": "spin", "background": "bricks"}

    def make(*faults: Degradation) -> ProceduralClip:
        size = {"num_frames": num_frames, "height": height, "width": width}
        clip = make_clip(19, scene=ball, degradations=faults, num_wrong=0, duration_seconds=2.5, **size)
        return replace(clip, told=right, caption="a red ball rolls right over green grass")

    clean = make()
    return {
        "clean": clean,
        "blurred": make(Degradation("blur", 0.7), Degradation("noise", 0.3)),
        "unsteady": make(Degradation("flicker", 0.8), Degradation("stutter", 0.7)),
        "wrong_prompt": replace(
            clean,
            told=wrong,
            caption="a white box spins in front of a brick wall",
            labels=labels_for(ball, wrong, costs_seen({}, cost_of_light(clean.frames))),
        ),
    }


def make_records(
    folder: str | Path, *, count: int, seed: int, size: tuple[int, int] | None = None
) -> Iterator[VideoRecord]:
    """Draw `count` clips as MP4 files of three seconds into `folder`; yields each clip's record once it is written.

    `size` is (height, width) in pixels, `DATASET_SIZE` by default.
    """
    height, width = size or DATASET_SIZE
    for index in range(count):
        clip = make_clip(
            (seed + 1) * DATASET_SEEDS + index,
            num_frames=DATASET_FRAMES,
            duration_seconds=DATASET_SECONDS,
            height=height,
            width=width,
        )
        path = Path(folder) / f"clip_{index:04d}.mp4"
        write_video(path, clip.frames, frames_per_second=clip.fps, crf=DATASET_CRF)
        labels = {name: round(value, 3) for name, value in clip.labels.items()}
        yield VideoRecord(path.name, path, clip.caption, labels, line=index + 2)


# ------------------------------------------------------------------------------------------------------------
# Captions and labels
# ------------------------------------------------------------------------------------------------------------


def draw_scene(rng: np.random.Generator) -> Scene:
    """A scene; each value of an attribute in `PHRASES` is equally likely."""
    facts = {attribute: choose(rng, tuple(values)) for attribute, values in PHRASES.items()}
    return Scene(**facts, look=int(rng.integers(2**31)))


def over_photograph(scene: Scene, *, with_thing: bool) -> Scene:
    """`scene` over a photograph, which `render_scene` then needs, with the thing or without it."""
    if with_thing:
        return replace(scene, background=PHOTOGRAPH)
    return replace(scene, background=PHOTOGRAPH, colour=NOTHING, shape=NOTHING, motion=NOTHING)


def facts_of(scene: Scene) -> dict[str, str]:
    """Attribute -> value, for each of `ATTRIBUTES`."""
    return {attribute: getattr(scene, attribute) for attribute in ATTRIBUTES}


def facts_told(scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    """A random part of the facts of `scene`, for a caption. It has the shape, or else the background.

    What has no words in `PHRASES` is not told: a photograph, or the thing that is not there. Of a photograph without a
    thing the camera is told.
    """
    told = {name: value for name, value in facts_of(scene).items() if rng.random() < _CHANCE_TOLD[name]}
    if scene.background == PHOTOGRAPH:
        told = {name: value for name, value in told.items() if value in PHRASES[name]}
        known = "camera" if scene.shape == NOTHING else "shape"
        return {name: value for name, value in facts_of(scene).items() if name in told or name == known}
    if "shape" not in told:
        told = {name: value for name, value in told.items() if name not in ("colour", "motion")}
        told["background"] = scene.background
    return told


def draw_num_wrong(rng: np.random.Generator) -> int:
    """A random number of wrong statements for a caption: none in half of the clips."""
    return 0 if rng.random() < 0.5 else int(rng.integers(1, len(ATTRIBUTES) + 1))


def mislead(told: Mapping[str, str], rng: np.random.Generator, *, num_wrong: int) -> dict[str, str]:
    """`told` with `num_wrong` of its statements (or all, if it has fewer) replaced by wrong ones."""
    wrong = rng.permutation(list(told))[:num_wrong]
    others = {name: [value for value in PHRASES[name] if value != told[name]] for name in wrong}
    return {name: choose(rng, others[name]) if name in others else value for name, value in told.items()}


def caption_of(told: Mapping[str, str], rng: np.random.Generator) -> str:
    """A sentence that states `told`, in one of many wordings. `told` must have a shape, a background or a camera."""
    words = {name: choose(rng, PHRASES[name][value]) for name, value in told.items()}
    subject = ""
    if "shape" in words:
        colour = f"{words['colour']} " if "colour" in words else ""
        subject = re.sub(r"^a (?=[aeiou])", "an ", f"a {choose(rng, _ADJECTIVES)}{colour}{words['shape']}")
    place = words.get("background", "")
    if place and subject:
        place = f"{choose(rng, _WHERE)} {place}"
    parts = {"subject": subject, "place": place, "motion": words.get("motion", ""), "camera": words.get("camera", "")}
    sentence = choose(rng, _TEMPLATES).format_map(parts).replace(", it ,", ",")
    sentence = re.sub(r"(\s*,)+", ",", re.sub(r"\s+", " ", sentence)).strip(" ,:").removesuffix(", it")
    opening = choose(rng, _OPENINGS)
    return f"{opening if subject and sentence.startswith(subject) else ''}{sentence}{choose(rng, _ENDINGS)}"


def caption_words() -> set[str]:
    """Every word that a caption can have, in lower case and without punctuation."""
    phrases = [phrase for values in PHRASES.values() for options in values.values() for phrase in options]
    fillers = (*_TEMPLATES, *_OPENINGS, *_ENDINGS, *_WHERE, *_ADJECTIVES, "a an")
    text = re.sub(r"{.*?}", " ", " ".join((*phrases, *fillers)).lower())
    return set(re.findall(r"[a-z0-9]+", text))


def labels_for(scene: Scene, told: Mapping[str, str], costs: Mapping[str, float]) -> dict[str, float]:
    """The score of each dimension, 1 to 5, for a clip of `scene` whose caption states `told`.

    `costs` (`faults.costs_seen`) is the share, 0 to 1, that each kind of fault takes from its dimension. Each fault of
    a dimension takes its share of what the others left. The costs of wrong statements add up.
    """
    kept = dict.fromkeys(("Traditional", "Aesthetic", "Temporal"), 1.0)
    for kind, cost in costs.items():
        kept[DEGRADATIONS[kind].dimension] *= 1.0 - cost
    facts = facts_of(scene)
    wrong = [name for name, value in told.items() if value != facts[name]]
    misled = sum(_COST_OF_WRONG[name] * (0.5 if {told[name], facts[name]} in _ALIKE else 1.0) for name in wrong)
    kept["Alignment"] = 1.0 - min(1.0, misled)
    labels = {name: SCORE_MIN + (SCORE_MAX - SCORE_MIN) * share for name, share in kept.items()}
    labels["Overall"] = overall_of(labels)
    return {name: labels[name] for name in DIMENSIONS}


def overall_of(labels: Mapping[str, float]) -> float:
    """The Overall of a viewer who gives these scores to the four other dimensions: part their mean, part the worst."""
    mean = sum(weight * labels[name] for name, weight in _OVERALL_WEIGHTS.items())
    light = SCORE_MAX - _AESTHETIC_AT_WORST * (SCORE_MAX - labels["Aesthetic"])
    worst = min(light, *(labels[name] for name in _OVERALL_WEIGHTS if name != "Aesthetic"))
    return (1 - _OVERALL_WORST) * mean + _OVERALL_WORST * worst
