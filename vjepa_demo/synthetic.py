"""Procedural clips: moving textures and shapes with a caption, known degradations, and the labels that follow.

Everything is drawn from a seed: the same seed gives the same clip. `make_clip` gives a whole one. Its steps are
public too, for who draws them apart: `draw_scene` and `render_scene` (clean frames), `draw_degradations` and
`degrade` (what is wrong with them), `facts_told`, `mislead` and `caption_of` (what the prompt says of them),
`labels_for` (what a viewer would say).

Lengths are in units of the frame's short edge, so that a clip looks the same at every size; y points down.
Textures have the falling amplitude spectrum of natural images (Field, J. Opt. Soc. Am. A 4, 1987) or consist of
things that hide each other (the dead leaves model: Lee, Mumford, Huang, Int. J. Comput. Vision 41, 2001).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import fft, ndimage

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema import VideoRecord
from vjepa_demo.video import write_video

T = TypeVar("T")

# Clips of a data set: small files, still larger than what the small model sees of them.
DATASET_FRAMES, DATASET_SECONDS = 36, 3.0
DATASET_HEIGHT, DATASET_WIDTH = 160, 240
DATASET_CRF = 20  # next to no compression of its own
DATASET_SEEDS = 1_000_003  # the clips of one seed are none of another's, nor of the demo model's training

# ------------------------------------------------------------------------------------------------------------
# What can be in a clip, and the words for it
# ------------------------------------------------------------------------------------------------------------

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "orange": (0.95, 0.52, 0.08),
    "yellow": (0.95, 0.88, 0.15),
    "green": (0.13, 0.65, 0.20),
    "blue": (0.12, 0.28, 0.85),
    "purple": (0.52, 0.16, 0.68),
    "white": (0.95, 0.95, 0.95),
    "black": (0.06, 0.06, 0.07),
}

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "colour": {
        "red": ("red", "crimson", "scarlet"),
        "orange": ("orange", "amber"),
        "yellow": ("yellow", "golden"),
        "green": ("green", "emerald"),
        "blue": ("blue", "azure"),
        "purple": ("purple", "violet"),
        "white": ("white", "snow-white"),
        "black": ("black", "dark", "jet-black"),
    },
    "shape": {
        "ball": ("ball", "sphere", "round ball"),
        "box": ("box", "cube", "square"),
        "triangle": ("triangle", "pyramid"),
        "star": ("star", "five-pointed star"),
        "ring": ("ring", "hoop", "donut"),
        "cross": ("cross", "plus sign"),
        "bar": ("bar", "stick", "rod"),
    },
    "background": {
        "stone": ("a stone wall", "grey rock", "rough stone", "a rocky floor"),
        "grass": ("green grass", "a meadow", "a lawn", "a field of grass"),
        "sky": ("a cloudy sky", "clouds", "the sky"),
        "tiles": ("checkered tiles", "a tiled floor", "a chessboard"),
        "wood": ("wooden planks", "a wooden table", "wood"),
        "leaves": ("autumn leaves", "fallen leaves", "colourful pebbles"),
        "bricks": ("a city of blocks", "colourful buildings", "a wall of blocks"),
        "water": ("water", "the sea", "a lake", "ocean waves"),
    },
    "motion": {
        "left": ("moves to the left", "slides left", "rolls left", "drifts to the left"),
        "right": ("moves to the right", "slides right", "rolls right", "drifts to the right"),
        "up": ("rises", "moves up", "floats upwards"),
        "down": ("falls", "moves down", "sinks"),
        "still": ("rests", "stays still", "does not move"),
        "spin": ("spins", "rotates", "turns around"),
        "bounce": ("bounces", "jumps up and down", "hops"),
    },
    "camera": {
        "still": ("static camera", "fixed shot", "the camera does not move"),
        "left": ("the camera pans left", "panning left"),
        "right": ("the camera pans right", "panning right"),
        "up": ("the camera tilts up", "tilting upwards"),
        "down": ("the camera tilts down", "tilting downwards"),
        "in": ("the camera zooms in", "zooming in"),
        "out": ("the camera zooms out", "zooming out"),
        "hand": ("handheld camera", "a handheld shot"),
    },
}
ATTRIBUTES = tuple(PHRASES)

_TEMPLATES = (
    "a {colour} {shape} {motion} over {background}, {camera}",
    "a {colour} {shape} {motion} in front of {background}, {camera}",
    "{camera}: {colour} {shape} on {background}, it {motion}",
    "video of {background} where a {colour} {shape} {motion}, {camera}",
    "on {background}, a {colour} {shape} {motion}, {camera}",
)
_OPENINGS = ("", "", "", "", "a video: ", "close-up, ", "cinematic shot, ", "realistic, ")
_ENDINGS = ("", "", "", "", ", high quality", ", 4k", ", highly detailed", ", film look", ", natural light")

# What a wrong statement costs, as a share of the scale; more than one add up to at most 1.
_COST_OF_WRONG = {"shape": 0.35, "colour": 0.30, "background": 0.35, "motion": 0.20, "camera": 0.15}
_CHANCE_TOLD = {"shape": 1.0, "colour": 1.0, "background": 1.0, "motion": 0.8, "camera": 0.5}

# How much each dimension says about the whole, and how much its worst one does: viewers do not average.
_OVERALL_WEIGHTS = {"Traditional": 0.3, "Alignment": 0.2, "Aesthetic": 0.2, "Temporal": 0.3}
_OVERALL_WORST = 0.35


@dataclass(frozen=True)
class Scene:
    """What a caption may state about a clip (one value of `PHRASES` each); `look` seeds all that it does not."""

    colour: str
    shape: str
    background: str
    motion: str
    camera: str
    look: int

    def facts(self) -> dict[str, str]:
        """Attribute -> value, for each of `ATTRIBUTES`."""
        return {attribute: getattr(self, attribute) for attribute in ATTRIBUTES}


@dataclass(frozen=True)
class Degradation:
    """One thing that is wrong with a clip: a kind of `DEGRADATIONS`, and a severity above 0 and up to 1."""

    kind: str
    severity: float

    def __post_init__(self) -> None:
        if self.kind not in DEGRADATIONS:
            raise ValueError(f"unknown degradation {self.kind!r}, expected one of {sorted(DEGRADATIONS)}")
        if not 0 < self.severity <= 1:
            raise ValueError(f"severity of {self.kind} must lie in (0, 1], got {self.severity}")


@dataclass(frozen=True)
class ProceduralClip:
    """Frames (T, H, W, 3) uint8 at `fps`, the caption they are shown with, and what is known about them."""

    frames: np.ndarray
    fps: float
    caption: str
    labels: dict[str, float]
    degradations: tuple[Degradation, ...]
    scene: Scene
    told: dict[str, str]

    def __repr__(self) -> str:
        labels = ", ".join(f"{name} {value:.2f}" for name, value in self.labels.items())
        return f"ProceduralClip({self.frames.shape} at {self.fps:.1f} fps, {self.caption!r}, {labels})"


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
    """A clip of `num_frames` frames, uniform in time over `duration_seconds`, all drawn from `seed`.

    What is given is not drawn: the scene, the degradations (empty for a clean clip), and how many of the caption's
    statements are wrong. The duration is 2 to 8 seconds when not given.
    """
    rng = np.random.default_rng(seed)
    drawn_scene, duration = draw_scene(rng), rng.uniform(2.0, 8.0)
    drawn_degradations, drawn_wrong = draw_degradations(rng), draw_num_wrong(rng)
    scene = drawn_scene if scene is None else scene
    duration = duration if duration_seconds is None else duration_seconds
    degradations = drawn_degradations if degradations is None else tuple(degradations)
    clean = render_scene(scene, num_frames=num_frames, duration_seconds=duration, height=height, width=width)
    told = facts_told(scene, rng)
    told = mislead(told, rng, num_wrong=drawn_wrong if num_wrong is None else num_wrong)
    return ProceduralClip(
        frames=degrade(clean, degradations, rng),
        fps=num_frames / duration,
        caption=caption_of(told, rng),
        labels=labels_for(scene, told, degradations, motion=motion_energy(clean)),
        degradations=tuple(degradations),
        scene=scene,
        told=told,
    )


def example_clips(*, num_frames: int = 60, height: int = 180, width: int = 320) -> dict[str, ProceduralClip]:
    """Four clips of 2.5 seconds to show a visitor, one scene: clean, blurred, unsteady, and with a wrong prompt."""
    ball = Scene("red", "ball", "grass", "right", "still", look=11)

    def make(*faults: Degradation, num_wrong: int = 0) -> ProceduralClip:
        size = {"num_frames": num_frames, "height": height, "width": width}
        return make_clip(1, scene=ball, degradations=faults, num_wrong=num_wrong, duration_seconds=2.5, **size)

    return {
        "clean": make(),
        "blurred": make(Degradation("blur", 0.9), Degradation("noise", 0.5)),
        "unsteady": make(Degradation("flicker", 0.8), Degradation("freeze", 0.7)),
        "wrong_prompt": make(num_wrong=len(ATTRIBUTES)),
    }


def make_records(folder: str | Path, *, count: int, seed: int) -> Iterator[VideoRecord]:
    """Draw `count` clips into `folder`, an MP4 of three seconds each; yields a clip's record once its file is whole."""
    for index in range(count):
        clip = make_clip(
            (seed + 1) * DATASET_SEEDS + index,
            num_frames=DATASET_FRAMES,
            duration_seconds=DATASET_SECONDS,
            height=DATASET_HEIGHT,
            width=DATASET_WIDTH,
        )
        path = Path(folder) / f"clip_{index:04d}.mp4"
        frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).contiguous()  # (T, H, W, 3) -> (T, 3, H, W)
        write_video(path, frames, frames_per_second=clip.fps, crf=DATASET_CRF)
        labels = {name: round(value, 3) for name, value in clip.labels.items()}
        yield VideoRecord(path.name, path, clip.caption, labels, line=index + 2)


# ------------------------------------------------------------------------------------------------------------
# Captions and labels
# ------------------------------------------------------------------------------------------------------------


def draw_scene(rng: np.random.Generator) -> Scene:
    """A scene whose facts are drawn evenly from `PHRASES`."""
    facts = {attribute: _choose(rng, tuple(values)) for attribute, values in PHRASES.items()}
    return Scene(**facts, look=int(rng.integers(2**31)))


def facts_told(scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    """The facts of `scene` that a caption states: shape, colour and background always, the others often."""
    return {name: value for name, value in scene.facts().items() if rng.random() < _CHANCE_TOLD[name]}


def draw_num_wrong(rng: np.random.Generator) -> int:
    """How many statements of a caption are wrong: none in half of the clips."""
    return 0 if rng.random() < 0.5 else int(rng.integers(1, len(ATTRIBUTES) + 1))


def mislead(told: Mapping[str, str], rng: np.random.Generator, *, num_wrong: int) -> dict[str, str]:
    """`told` with `num_wrong` of its statements (all, if it has fewer) replaced by something else."""
    wrong = rng.permutation(list(told))[:num_wrong]
    others = {name: [value for value in PHRASES[name] if value != told[name]] for name in wrong}
    return {name: _choose(rng, others[name]) if name in others else value for name, value in told.items()}


def caption_of(told: Mapping[str, str], rng: np.random.Generator) -> str:
    """A sentence that states `told`, in one of many wordings. Needs shape, colour and background."""
    words = {name: _choose(rng, PHRASES[name][value]) for name, value in told.items()}
    sentence = _choose(rng, _TEMPLATES).format_map({"motion": "is seen", "camera": "", **words})
    caption = f"{_choose(rng, _OPENINGS)}{sentence.strip(' ,:')}{_choose(rng, _ENDINGS)}"
    return re.sub(r"\ba (?=[aeiou])", "an ", caption)


def caption_words() -> set[str]:
    """Every word that a caption can have, in lower case and without its punctuation."""
    phrases = [phrase for values in PHRASES.values() for options in values.values() for phrase in options]
    text = " ".join((*phrases, *_TEMPLATES, *_OPENINGS, *_ENDINGS, "is seen", "an")).lower()
    return set(re.findall(r"[a-z0-9]+", re.sub(r"{.*?}", " ", text)))


def labels_for(
    scene: Scene, told: Mapping[str, str], degradations: Sequence[Degradation], *, motion: float
) -> dict[str, float]:
    """The score of each dimension, 1 to 5, for a clip of `scene` shown with a caption that states `told`.

    Each degradation takes its share of what the others left of its dimension; wrong statements add up. `motion` is
    `motion_energy` of the clean frames: frames out of order or held are the less visible the less there is to see.
    """
    kept = dict.fromkeys(("Traditional", "Aesthetic", "Temporal"), 1.0)
    for degradation in degradations:
        kept[DEGRADATIONS[degradation.kind].dimension] *= 1.0 - loss_of(degradation, motion=motion)
    facts = scene.facts()
    kept["Alignment"] = 1.0 - min(1.0, sum(_COST_OF_WRONG[name] for name in told if told[name] != facts[name]))
    mean = sum(weight * kept[name] for name, weight in _OVERALL_WEIGHTS.items())
    kept["Overall"] = (1 - _OVERALL_WORST) * mean + _OVERALL_WORST * min(kept.values())
    return {name: SCORE_MIN + (SCORE_MAX - SCORE_MIN) * kept[name] for name in DIMENSIONS}


def loss_of(degradation: Degradation, *, motion: float) -> float:
    """The share of its dimension's scale that a degradation costs, 0 to 0.95."""
    loss = 0.1 + 0.85 * degradation.severity
    if DEGRADATIONS[degradation.kind].needs_motion:
        loss *= 1.0 - math.exp(-motion / 0.015)
    return loss


def motion_energy(frames: np.ndarray) -> float:
    """Mean absolute change from one of (T, H, W, 3) uint8 frames to the next, as a share of full scale.

    Longer clips are looked at in sixteen places, so that it does not depend on how densely they are sampled.
    """
    seen = frames[np.linspace(0, len(frames) - 1, min(len(frames), 16)).round().astype(int), ::2, ::2]
    return float(np.abs(np.diff(seen.astype(np.float32), axis=0)).mean() / 255) if len(seen) > 1 else 0.0


def _choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


# ------------------------------------------------------------------------------------------------------------
# Textures: (3, N, N) in 0..1, N pixels standing for two units; the right edge continues at the left
# ------------------------------------------------------------------------------------------------------------

_TILE_PIXELS = 400
_TILE_UNITS = 2.0

# Dark and light end of each background's colours, RGB.
_RAMPS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "stone": ((0.20, 0.19, 0.18), (0.75, 0.72, 0.68)),
    "grass": ((0.05, 0.18, 0.03), (0.55, 0.75, 0.25)),
    "sky": ((0.30, 0.50, 0.85), (0.97, 0.97, 1.00)),
    "tiles": ((0.15, 0.15, 0.20), (0.90, 0.88, 0.85)),
    "wood": ((0.28, 0.15, 0.07), (0.78, 0.55, 0.33)),
    "leaves": ((0.30, 0.12, 0.05), (0.90, 0.70, 0.25)),
    "bricks": ((0.25, 0.25, 0.30), (0.80, 0.75, 0.70)),
    "water": ((0.02, 0.15, 0.30), (0.60, 0.85, 0.92)),
}


def _noise(rng: np.random.Generator, slope: float, *, stretch: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """(N, N) periodic noise, mean 0 and deviation 1, with amplitude falling as frequency ** -slope.

    `stretch` makes its grain longer along (y, x).
    """
    fy = fft.fftfreq(_TILE_PIXELS)[:, None] * stretch[0]
    fx = fft.rfftfreq(_TILE_PIXELS)[None] * stretch[1]
    spectrum = fft.rfft2(rng.standard_normal((_TILE_PIXELS, _TILE_PIXELS), dtype=np.float32))
    spectrum *= (np.hypot(fy, fx) + 0.5 / _TILE_PIXELS) ** -slope
    field = fft.irfft2(spectrum, (_TILE_PIXELS, _TILE_PIXELS))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _ramp(rng: np.random.Generator, kind: str, level: np.ndarray) -> np.ndarray:
    """Colours (3, N, N) for `level` (N, N), about -2..2, between the ends of the background's ramp."""
    dark, light = (np.array(end, np.float32) + rng.normal(0, 0.06, 3).astype(np.float32) for end in _RAMPS[kind])
    share = (0.5 + 0.25 * level).clip(0, 1)[None]
    hue = 0.05 * rng.random() * _noise(rng, 1.2)[None] * rng.normal(0, 1, 3).astype(np.float32)[:, None, None]
    return dark[:, None, None] * (1 - share) + light[:, None, None] * share + hue


def _checker(rng: np.random.Generator) -> np.ndarray:
    step = _TILE_PIXELS // _choose(rng, (8, 10, 16, 20))
    index = np.arange(_TILE_PIXELS) // step
    line = (np.arange(_TILE_PIXELS) % step) < 1 + step // 16
    squares = ((index[:, None] + index[None]) % 2) * 2.4 - 1.2
    return np.where(line[:, None] | line[None], -1.6, squares) + 0.35 * _noise(rng, 0.9)


def _planks(rng: np.random.Generator) -> np.ndarray:
    step = _TILE_PIXELS // _choose(rng, (5, 8, 10))
    plank = np.arange(_TILE_PIXELS) // step
    shade = rng.normal(0, 0.6, plank.max() + 1)[plank] - 2.0 * ((np.arange(_TILE_PIXELS) % step) < 2)
    level = shade[:, None] + 0.8 * _noise(rng, 1.0, stretch=(1.0, 12.0))
    return level if rng.random() < 0.5 else level.T


def _hiding_things(rng: np.random.Generator, kind: str) -> np.ndarray:
    """(3, N, N) discs ("leaves") or blocks that hide each other, many small and few large ones."""
    picture = _ramp(rng, kind, _noise(rng, 1.0))
    grain = rng.uniform(0.01, 0.08) * _noise(rng, rng.uniform(0.6, 1.2))
    for radius in (6 * rng.pareto(1.3, 160) + 7).clip(7, 80).astype(int):
        span = np.arange(-radius, radius + 1)
        tall = max(3, int(radius * rng.uniform(0.4, 1.0)))
        inside = np.hypot(span[:, None] * radius / tall, span[None]) <= radius
        if kind == "bricks":
            inside = (abs(span)[:, None] <= tall) & (abs(span)[None] <= radius * 0.8)
        rows = (rng.integers(_TILE_PIXELS) + span) % _TILE_PIXELS
        columns = (rng.integers(_TILE_PIXELS) + span) % _TILE_PIXELS
        colour = np.array(_choose(rng, _RAMPS[kind])) * rng.uniform(0.5, 1.2) + rng.normal(0, 0.12, 3)
        shade = colour[:, None, None] * (1 + 0.25 * span[None, :, None] / radius)
        rows = rows[:, None]
        behind = picture[:, rows, columns]
        picture[:, rows, columns] = np.where(inside, shade + grain[rows, columns], behind)
    return picture


def _background_texture(rng: np.random.Generator, kind: str) -> torch.Tensor:
    """(3, N, N) float32 texture of one of the backgrounds."""
    if kind in ("leaves", "bricks"):
        return torch.from_numpy(_hiding_things(rng, kind).astype(np.float32))
    makers: dict[str, Callable[[], np.ndarray]] = {
        "stone": lambda: 0.8 * _noise(rng, rng.uniform(0.8, 1.3)) - 0.7 * (abs(_noise(rng, 1.1)) < 0.06),
        "grass": lambda: _noise(rng, rng.uniform(0.5, 0.9), stretch=(rng.uniform(2, 5), 1.0)),
        "sky": lambda: _noise(rng, rng.uniform(1.5, 2.0), stretch=(1.0, 1.5)) + 0.03 * _noise(rng, 0.5),
        "tiles": lambda: _checker(rng),
        "wood": lambda: _planks(rng),
        "water": lambda: _noise(rng, rng.uniform(1.0, 1.4), stretch=(1.0, rng.uniform(2, 5))),
    }
    return torch.from_numpy(_ramp(rng, kind, makers[kind]()).astype(np.float32))


def _sample(texture: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """The colours (T, 3, H, W) of `texture` (3, N, N) at `where` (T, H, W, 2), x then y in units, without end."""
    padded = F.pad(texture[None], (1, 1, 1, 1), mode="circular")
    centred = torch.remainder(where, _TILE_UNITS) - _TILE_UNITS / 2
    grid = centred * (2 / _TILE_UNITS * _TILE_PIXELS / (_TILE_PIXELS + 2))
    return F.grid_sample(padded.expand(len(where), -1, -1, -1), grid, align_corners=False)


# ------------------------------------------------------------------------------------------------------------
# Clean frames
# ------------------------------------------------------------------------------------------------------------


def render_scene(scene: Scene, *, num_frames: int, duration_seconds: float, height: int, width: int) -> np.ndarray:
    """Clean frames (T, H, W, 3) uint8 of `scene`, uniform in time over `duration_seconds`.

    Fast and slow, rigid and fluid, with parallax, small passers-by, snow or a cut: all of it is good video.
    """
    rng = np.random.default_rng(scene.look)
    phase = (torch.arange(num_frames) + 0.5) / num_frames
    pixels = _pixel_grid(height, width)
    cut = int(num_frames * rng.uniform(0.3, 0.7)) if rng.random() < 0.06 else num_frames
    video = _draw_layers(scene, rng, phase[:cut], pixels, duration_seconds)
    if cut < num_frames:
        video = torch.cat([video, _draw_layers(scene, rng, phase[cut:], pixels, duration_seconds)])
    return _to_bytes(_expose(video, rng))


def _pixel_grid(height: int, width: int) -> torch.Tensor:
    """(H, W, 2) positions, x then y, with the frame's centre at 0 and its short edge 1 long."""
    short = min(height, width)
    y, x = ((torch.arange(n) + 0.5 - n / 2) / short for n in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def _draw_layers(
    scene: Scene, rng: np.random.Generator, phase: torch.Tensor, pixels: torch.Tensor, duration_seconds: float
) -> torch.Tensor:
    """Frames (T, 3, H, W): the background, what hides it, and the things in front. `phase` (T,) is time in 0..1."""
    centre, zoom = _camera_path(scene.camera, rng, phase, duration_seconds)
    world = pixels[None] / zoom[:, None, None, None]  # (T, H, W, 2)
    fluid = scene.background == "water" or rng.random() < 0.25
    texture = _background_texture(rng, scene.background)
    if rng.random() < 0.15:  # out of focus, behind a sharp thing
        blur = rng.uniform(2.0, 5.0)
        texture = torch.from_numpy(ndimage.gaussian_filter(texture.numpy(), (0, blur, blur), mode="wrap"))
    where = world + centre[:, None, None]
    where = _ripple(where, rng, phase, duration_seconds) if fluid else where
    video = _sample(texture, where)
    if rng.random() < 0.35:
        video = _draw_near_layer(video, scene, rng, world, centre, pixels)
    for _ in range(int(rng.integers(0, 4))):
        video = _draw_passer_by(video, rng, phase, pixels)
    video = _draw_thing(video, scene, rng, phase, pixels)
    return _draw_snow(video, rng, phase, duration_seconds) if rng.random() < 0.1 else video


def _camera_path(
    camera: str, rng: np.random.Generator, phase: torch.Tensor, duration_seconds: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the camera looks, (T, 2) in units, and its zoom (T,), for each moment of `phase` (T,)."""
    travel = math.exp(rng.uniform(math.log(0.1), math.log(1.8)))
    direction = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}.get(camera, (0, 0))
    centre = travel * phase[:, None] * torch.tensor(direction) + torch.from_numpy(rng.uniform(0, 2, 2)).float()
    sway = rng.uniform(0.015, 0.05) if camera == "hand" else rng.uniform(0, 0.004) * (rng.random() < 0.4)
    for rate in rng.uniform(0.2, 1.5, 3):
        angle = 2 * math.pi * (rate * duration_seconds * phase[:, None] + torch.from_numpy(rng.random(2)))
        centre = centre + sway / 2 * torch.sin(angle).float()
    growth = {"in": 1.0, "out": -1.0}.get(camera, 0.0) * rng.uniform(0.25, 1.0)
    return centre, torch.exp(growth * (phase - 0.5)) * rng.uniform(0.8, 1.25)


def _ripple(
    where: torch.Tensor, rng: np.random.Generator, phase: torch.Tensor, duration_seconds: float
) -> torch.Tensor:
    """`where` (T, H, W, 2), swaying like water or cloth."""
    moved = where
    for _ in range(3):
        wave = torch.from_numpy(rng.normal(0, 6, 2)).float()
        turn = 2 * math.pi * rng.uniform(0.1, 1.0) * duration_seconds * phase[:, None, None]
        push = torch.from_numpy(rng.normal(0, 0.02, 2)).float()
        moved = moved + torch.sin(where @ wave + turn)[..., None] * push
    return moved


def _draw_near_layer(
    video: torch.Tensor,
    scene: Scene,
    rng: np.random.Generator,
    world: torch.Tensor,
    centre: torch.Tensor,
    pixels: torch.Tensor,
) -> torch.Tensor:
    """`video` with nearer ground of the same kind below a horizon, which moves faster than what lies behind it."""
    texture = _background_texture(rng, scene.background) * rng.uniform(0.7, 1.2)
    near = _sample(texture, world * 0.8 + centre[:, None, None] * rng.uniform(1.5, 2.5))
    horizon = rng.uniform(0.05, 0.35) + 0.03 * torch.sin(pixels[..., 0] * rng.uniform(2, 12))
    alpha = ((pixels[..., 1] - horizon) * min(pixels.shape[:2])).clamp(0, 1)
    return torch.lerp(video, near, alpha)


def _shape_distance(shape: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Distance, negative inside, from the outline of a shape about 1 in radius."""
    radius = torch.hypot(x, y)
    if shape == "ball":
        return radius - 0.9
    if shape == "box":
        return torch.maximum(x.abs(), y.abs()) - 0.8
    if shape == "triangle":
        return torch.maximum(0.866 * x.abs() - 0.5 * y, y) - 0.5
    if shape == "star":
        return (radius - 0.68 - 0.32 * torch.cos(5 * torch.atan2(x, -y))) * 0.6
    if shape == "ring":
        return (radius - 0.72).abs() - 0.22
    across = torch.maximum(x.abs() - 0.95, y.abs() - 0.28)
    if shape == "bar":
        return across
    return torch.minimum(across, torch.maximum(y.abs() - 0.95, x.abs() - 0.28))  # cross


def _thing_path(motion: str, rng: np.random.Generator, phase: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the thing is, (T, 2) in units, and how far it is turned, (T,) radians."""
    span, away = rng.uniform(0.35, 0.7), rng.uniform(-0.12, 0.12, 2)
    direction = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}.get(motion, (0, 0))
    forward = (phase - 0.5)[:, None] * span * torch.tensor(direction)
    place = forward + torch.from_numpy(away).float()
    if motion == "bounce":
        height = torch.sin(math.pi * (rng.uniform(1.5, 5.0) * phase + rng.random())).abs()
        place = place - torch.tensor([0.0, 1.0]) * (height[:, None] - 0.5) * rng.uniform(0.2, 0.45)
    turns = rng.choice([-1, 1]) * rng.uniform(0.6, 3.0) if motion == "spin" else rng.uniform(-0.1, 0.1)
    return place, 2 * math.pi * turns * phase + rng.uniform(-0.4, 0.4)


def _draw_thing(
    video: torch.Tensor, scene: Scene, rng: np.random.Generator, phase: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """`video` (T, 3, H, W) with the thing that the caption names: shaded, textured, lit from one side."""
    place, angle = _thing_path(scene.motion, rng, phase)
    size = rng.uniform(0.16, 0.28)
    offset = (pixels[None] - place[:, None, None]) / size  # (T, H, W, 2)
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    x = offset[..., 0] * cosine + offset[..., 1] * sine
    y = offset[..., 1] * cosine - offset[..., 0] * sine
    alpha = (0.5 - _shape_distance(scene.shape, x, y) * size * min(pixels.shape[:2])).clamp(0, 1)
    light = torch.from_numpy(rng.normal(0, 0.15, 2)).float()
    grain = torch.from_numpy(_noise(rng, rng.uniform(0.7, 1.4)) * rng.uniform(0.02, 0.10))
    shade = 1 + offset @ light + _sample(grain.expand(3, -1, -1), torch.stack([x, y], -1) * size)[:, 0]
    if scene.shape == "ball":
        shade = shade - 0.35 * (x**2 + y**2).clamp(max=1) + 0.15
    colour = torch.tensor(COLOURS[scene.colour]) + torch.from_numpy(rng.normal(0, 0.03, 3)).float()
    paint = colour[:, None, None] * shade[:, None] + 0.06 * (shade[:, None] - 1)
    return torch.lerp(video, paint, alpha[:, None])


def _draw_passer_by(
    video: torch.Tensor, rng: np.random.Generator, phase: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """`video` with a small dull blob of a changing outline that wanders through, fast or slowly."""
    start, way = rng.uniform(-0.5, 0.5, 2), rng.normal(0, 0.5, 2)
    place = torch.from_numpy(start).float() + phase[:, None] * torch.from_numpy(way).float()
    offset = (pixels[None] - place[:, None, None]) / rng.uniform(0.03, 0.08)  # (T, H, W, 2)
    angle = torch.atan2(offset[..., 0], offset[..., 1])
    wobble = 0.25 * torch.sin(3 * angle + 2 * math.pi * rng.uniform(0, 6) * phase[:, None, None])
    alpha = ((1 + wobble - offset.norm(dim=-1)) * 6).clamp(0, 1)
    colour = torch.from_numpy(rng.uniform(0.15, 0.8) + rng.normal(0, 0.08, 3)).float()
    return torch.lerp(video, colour[:, None, None].expand_as(video), alpha[:, None])


def _draw_snow(
    video: torch.Tensor, rng: np.random.Generator, phase: torch.Tensor, duration_seconds: float
) -> torch.Tensor:
    """`video` with some dozens of falling flakes."""
    num_frames, _, height, width = video.shape
    flakes = int(rng.integers(30, 120))
    speed = rng.uniform(0.1, 0.6) * (1 + 0.3 * torch.from_numpy(rng.normal(0, 1, flakes)).float())
    down = torch.from_numpy(rng.random(flakes)).float() + speed * duration_seconds * phase[:, None]  # (T, flakes)
    across = torch.from_numpy(rng.random(flakes)).float() + 0.03 * torch.sin(9 * down)
    frame = torch.arange(num_frames)[:, None].expand_as(down)
    dots = torch.zeros(num_frames, height, width)
    dots[frame, (down % 1 * height).long(), (across % 1 * width).long()] = 1.0
    sigma = 0.005 * min(height, width)
    alpha = torch.from_numpy(ndimage.gaussian_filter(dots.numpy(), (0, sigma, sigma), truncate=3.0))
    alpha = (alpha * (7 * sigma**2)).clamp(0, 1)
    return video + (0.95 - video) * alpha[:, None]


def _expose(video: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """`video` as a good camera gives it: from near black to near white, with a little sensor noise."""
    luma = video[:, :, ::4, ::4].mean(dim=1).flatten()
    low, high = torch.quantile(luma, torch.tensor([0.01, 0.99]))
    black, white = rng.uniform(0.02, 0.12), rng.uniform(0.82, 0.98)
    grey = video.mean(dim=1, keepdim=True)
    video = grey + (video - grey) * rng.uniform(0.6, 1.0)
    stretched = black + (video - low) * ((white - black) / (high - low).clamp(min=0.25))
    return stretched + rng.uniform(0.0, 0.012) * _gaussian(rng, video.shape)


def _gaussian(rng: np.random.Generator, shape: Sequence[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return torch.randn(tuple(shape), generator=generator)


def _to_bytes(video: torch.Tensor) -> np.ndarray:
    """(T, 3, H, W) in 0..1 -> (T, H, W, 3) uint8."""
    return (video.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


# ------------------------------------------------------------------------------------------------------------
# What can be wrong: each takes frames (T, 3, H, W) in 0..1, a severity in (0, 1] and a generator
# ------------------------------------------------------------------------------------------------------------


def draw_degradations(rng: np.random.Generator) -> tuple[Degradation, ...]:
    """At most one fault for each of Traditional, Aesthetic and Temporal, with an even spread of severities."""
    drawn = []
    for dimension, chance in (("Aesthetic", 0.5), ("Temporal", 0.55), ("Traditional", 0.55)):
        kinds = [kind for kind, degrader in DEGRADATIONS.items() if degrader.dimension == dimension]
        kind, severity = _choose(rng, kinds), 1.0 - rng.random()
        if rng.random() < chance:
            drawn.append(Degradation(kind, severity))
    return tuple(drawn)


def degrade(frames: np.ndarray, degradations: Sequence[Degradation], rng: np.random.Generator) -> np.ndarray:
    """`frames` (T, H, W, 3) uint8 with the degradations applied in the order given."""
    video = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    for degradation in degradations:
        apply = DEGRADATIONS[degradation.kind].apply
        video = apply(video, degradation.severity, rng).clamp(0, 1)
    return _to_bytes(video) if degradations else frames


def _between(severity: float, mildest: float, worst: float) -> float:
    """The value at `severity` on a geometric scale: equal steps look equal (Weber's law)."""
    return mildest * (worst / mildest) ** severity


def _blur(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    sigma = _between(severity, 0.003, 0.04) * min(video.shape[2:])
    return torch.from_numpy(ndimage.gaussian_filter(video.numpy(), (0, 0, sigma, sigma), truncate=3.0))


def _add_noise(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Sensor noise, in colour or in brightness alone."""
    channels = 3 if rng.random() < 0.6 else 1
    shape = (len(video), channels, *video.shape[2:])
    return video + _between(severity, 0.02, 0.25) * _gaussian(rng, shape)


def _compress(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Each frame coded and decoded as JPEG: 8 x 8 blocks of quantised cosines, as in every video codec's key frame."""
    quality = round(_between(severity, 30, 2))
    coded = []
    for frame in _to_bytes(video):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        coded.append(np.asarray(Image.open(buffer)))
    return torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).float() / 255


def _rescale(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Shrunk and enlarged again, smoothly or in visible pixels."""
    size = tuple(max(4, round(n / _between(severity, 1.7, 10))) for n in video.shape[2:])
    small = F.interpolate(video, size=size, mode="bilinear", antialias=True)
    mode = "nearest" if rng.random() < 0.4 else "bilinear"
    return F.interpolate(small, size=video.shape[2:], mode=mode)


def _band(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    steps = _between(severity, 14, 2)
    return (video * steps).round() / steps


def _jitter(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Every frame displaced on its own, the edge pixels repeated."""
    reach = _between(severity, 0.012, 0.09)
    move = torch.from_numpy(rng.normal(0, reach, (len(video), 2))).float()
    return _displace(video, _pixel_grid(*video.shape[2:])[None] + move[:, None, None])


def _warp(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Every frame bent on its own, as when a generator does not keep a shape."""
    reach = _between(severity, 0.008, 0.05)
    knots = torch.from_numpy(rng.normal(0, reach, (len(video), 2, 5, 5))).float()
    bend = F.interpolate(knots, size=video.shape[2:], mode="bicubic", align_corners=True)
    return _displace(video, _pixel_grid(*video.shape[2:])[None] + bend.permute(0, 2, 3, 1))


def _displace(video: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """`video` (T, 3, H, W) looked up at `where` (T, H, W, 2), x then y in units."""
    height, width = video.shape[2:]
    scale = 2 * min(height, width) / torch.tensor([width, height])
    return F.grid_sample(video, where * scale, padding_mode="reflection", align_corners=False)


def _flicker(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """The brightness, and a little of the colour, of every frame on its own."""
    reach = _between(severity, 0.04, 0.4)
    gain = rng.normal(0, reach, (len(video), 1, 1, 1)) + rng.normal(0, reach / 4, (len(video), 3, 1, 1))
    return video * torch.from_numpy(np.exp(gain)).float()


def _shuffle(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Frames out of order: each one's time is off by up to a growing share of the clip."""
    reach = _between(severity, 0.1, 1.0)
    times = np.arange(len(video)) / len(video) + rng.uniform(-reach, reach, len(video)) / 2
    return video[torch.from_numpy(np.argsort(times))]


def _freeze(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """The picture stands still for stretches of a growing share of the clip, then jumps."""
    hold = max(2, round(len(video) * _between(severity, 0.125, 0.6)))
    start = int(rng.integers(hold))
    index = torch.arange(len(video))
    return video[((index + start) // hold * hold - start).clamp(min=0)]


def _pop(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Things that come, change and go from one frame to the next: patches of elsewhere in some of the frames."""
    pixels = _pixel_grid(*video.shape[2:])
    result = video.clone()
    for _ in range(1 + round(3 * severity)):
        place = torch.from_numpy(rng.uniform(-0.35, 0.35, 2)).float()
        inside = ((_between(severity, 0.08, 0.22) - (pixels - place).norm(dim=-1)) * 40).clamp(0, 1)
        chosen = torch.from_numpy(rng.permutation(len(video))[: max(1, int(len(video) * rng.uniform(0.2, 0.6)))])
        elsewhere = video[chosen].roll(tuple(int(n * 0.4) for n in video.shape[2:]), dims=(2, 3))
        tint = torch.from_numpy(rng.uniform(0.6, 1.4, (3, 1, 1))).float()
        result[chosen] = torch.lerp(result[chosen], elsewhere * tint, inside)
    return result


def _darken(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    return video * _between(severity, 0.75, 0.1)


def _overexpose(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    return video * _between(severity, 1.3, 4.0)


def _flatten(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Contrast lost towards a grey."""
    return torch.lerp(torch.full_like(video, rng.uniform(0.3, 0.7)), video, _between(severity, 0.75, 0.1))


def _saturate(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """Colours lost, or driven too far."""
    grey = video.mean(dim=1, keepdim=True)
    share = _between(severity, 1.6, 4.5) if rng.random() < 0.5 else 0.7 * (1 - severity)
    return grey + (video - grey) * share


def _cast(video: torch.Tensor, severity: float, rng: np.random.Generator) -> torch.Tensor:
    """A colour over everything."""
    hue = rng.uniform(0, 2 * math.pi) + torch.tensor([0.0, 2.0, 4.0]) * math.pi / 3
    return video * torch.exp(_between(severity, 0.15, 1.0) * torch.cos(hue))[:, None, None]


@dataclass(frozen=True)
class Degrader:
    """Which dimension a degradation lowers, how it is applied, and whether it shows only where something moves."""

    dimension: str
    apply: Callable[[torch.Tensor, float, np.random.Generator], torch.Tensor]
    needs_motion: bool = False


DEGRADATIONS: dict[str, Degrader] = {
    "blur": Degrader("Traditional", _blur),
    "noise": Degrader("Traditional", _add_noise),
    "compression": Degrader("Traditional", _compress),
    "scaling": Degrader("Traditional", _rescale),
    "banding": Degrader("Traditional", _band),
    "jitter": Degrader("Temporal", _jitter),
    "warp": Degrader("Temporal", _warp),
    "flicker": Degrader("Temporal", _flicker),
    "shuffle": Degrader("Temporal", _shuffle, needs_motion=True),
    "freeze": Degrader("Temporal", _freeze, needs_motion=True),
    "pop": Degrader("Temporal", _pop),
    "dark": Degrader("Aesthetic", _darken),
    "bright": Degrader("Aesthetic", _overexpose),
    "contrast": Degrader("Aesthetic", _flatten),
    "saturation": Degrader("Aesthetic", _saturate),
    "cast": Degrader("Aesthetic", _cast),
}
