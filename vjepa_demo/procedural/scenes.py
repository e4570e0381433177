"""Clean procedural footage: moving textures and shapes, drawn from a seed, frame by frame and at any size.

Lengths are in units of the frame's short edge, so a clip looks the same at every size; y points down. Time is a `phase`
from 0 to 1 over the clip. There are three kinds of textures: noise with the falling amplitude spectrum of natural
images (Field, J. Opt. Soc. Am. A 4, 1987), things that hide each other (the dead leaves model: Lee, Mumford, Huang,
Int. J. Comput. Vision 41, 2001), and flat graphics with letters.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy import fft, ndimage
from torch import Tensor

T = TypeVar("T")

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

# The dark and the light end of each background's colours, RGB.
_RAMPS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "stone": ((0.20, 0.19, 0.18), (0.75, 0.72, 0.68)),
    "grass": ((0.05, 0.18, 0.03), (0.55, 0.75, 0.25)),
    "sky": ((0.30, 0.50, 0.85), (0.97, 0.97, 1.00)),
    "tiles": ((0.15, 0.15, 0.20), (0.90, 0.88, 0.85)),
    "wood": ((0.28, 0.15, 0.07), (0.78, 0.55, 0.33)),
    "leaves": ((0.30, 0.12, 0.05), (0.90, 0.70, 0.25)),
    "bricks": ((0.25, 0.25, 0.30), (0.80, 0.75, 0.70)),
    "water": ((0.02, 0.15, 0.30), (0.60, 0.85, 0.92)),
    "space": ((0.00, 0.00, 0.01), (0.10, 0.08, 0.16)),
    "screen": ((0.08, 0.08, 0.10), (0.97, 0.97, 0.98)),
    "plain": ((0.45, 0.42, 0.40), (0.85, 0.82, 0.80)),
}
# The colours of a sky at the horizon and high above it, RGB: day, blue, overcast, sunrise, sunset, dusk, night, storm.
_SKIES = (
    ((0.92, 0.95, 1.00), (0.45, 0.65, 0.95)),
    ((0.70, 0.82, 0.97), (0.15, 0.35, 0.80)),
    ((0.90, 0.90, 0.90), (0.72, 0.74, 0.78)),
    ((1.00, 0.85, 0.65), (0.65, 0.75, 0.92)),
    ((1.00, 0.62, 0.30), (0.35, 0.25, 0.45)),
    ((0.45, 0.40, 0.55), (0.10, 0.12, 0.28)),
    ((0.06, 0.07, 0.12), (0.00, 0.00, 0.02)),
    ((0.55, 0.57, 0.60), (0.25, 0.27, 0.32)),
)
_AXES = {"left": 2, "right": 2, "up": 1, "down": 1}  # of a frame (3, H, W), along which a pan moves
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_TILE_UNITS = 2.0  # a texture repeats after this length
PHOTOGRAPH = "photograph"  # the background of a scene over a photograph; no caption can tell it
NOTHING = "nothing"  # the colour, shape and motion of the thing in a scene that has none
# Pixels of a photograph per pixel of the frame, where the photograph is large enough. With fewer, the picture is
# softer at places between its pixels, and its sharpness flickers as the camera moves.
_DENSITY = 1.25


@dataclass(frozen=True)
class Scene:
    """The facts that a caption may state about a clip, and `look`, the seed of everything else.

    Over a photograph `background` is `PHOTOGRAPH`. Without a thing its colour, shape and motion are `NOTHING`.
    """

    colour: str
    shape: str
    background: str
    motion: str
    camera: str
    look: int


@dataclass(frozen=True)
class _Canvas:
    """What every painter of a scene needs to know about the frame and the clip."""

    pixels: Tensor  # (H, W, 2), as `pixel_grid` has them
    duration_seconds: float
    tile: int  # pixels of a texture's side
    frames_per_second: float = 30.0  # decides how long the shutter is open, and so how far a fast pan blurs
    wider: bool = False  # also plain content and motion at the speeds of real footage

    @property
    def short(self) -> int:
        """Pixels of the frame's short edge."""
        return min(self.pixels.shape[:2])


Overlay = Callable[[Tensor, Tensor, Tensor], Tensor]  # frame (3, H, W), positions (H, W, 2), camera (2,) -> frame
Painter = Callable[[Tensor, float], Tensor]  # frame (3, H, W) in 0..1 and phase -> frame with something painted on it


def render_scene(
    scene: Scene,
    *,
    num_frames: int,
    duration_seconds: float,
    height: int,
    width: int,
    places: Sequence[int] | None = None,
    photograph: Tensor | None = None,
    wider: bool = False,
    frames_per_second: float = 30.0,
) -> Tensor:
    """Clean frames (K, 3, H, W) uint8 of `scene`: those at `places` in a clip of `num_frames`, by default all.

    Scenes may be fast or slow, rigid or fluid. Some have parallax, small passers-by, snow, a cut, an open sky, darkness
    around them or something dark in front. All of this is good video.

    Over a `photograph` (3, H', W') uint8 the camera moves as it does over a drawn background. With `wider`, drawn
    scenes also have soft skies, plain walls, blackness, things out of focus, and pans of up to 8 units whose length
    depends on the clip's duration. `frames_per_second` decides how far a pan blurs.

    Raises:
        ValueError: if the photograph is smaller than the frame, or one is given for another background or missing.
    """
    if (photograph is None) == (scene.background == PHOTOGRAPH):
        raise ValueError(f"background {scene.background!r}: give a photograph for {PHOTOGRAPH!r}, and for no other")
    if photograph is not None and (photograph.shape[1] < height or photograph.shape[2] < width):
        raise ValueError(
            f"the photograph has {photograph.shape[1]}x{photograph.shape[2]} pixels, the frame {height}x{width}:"
            " give a photograph that is at least as large, as an enlarged one would be blurred"
        )
    rng, around = np.random.default_rng(scene.look), np.random.default_rng((scene.look, 1))
    # A texture is about as fine as the frame. Its side is a multiple of 80, so that tiles and planks come out whole.
    tile = max(160, 80 * round(min(height, width) * _TILE_UNITS / 80))
    canvas = _Canvas(pixel_grid(height, width), duration_seconds, tile, frames_per_second, wider)
    cut = choose(rng, (0.5, rng.uniform(0.3, 0.7))) if rng.random() < 0.08 else 1.0
    if photograph is not None:
        shots = [_shot_over(photograph, scene, rng, canvas) for _ in range(2 if cut < 1.0 else 1)]
    else:
        more = np.random.default_rng((scene.look, 2))
        shots = [_shot(scene, rng, around, more, canvas) for _ in range(2 if cut < 1.0 else 1)]
    finish = _finish(scene, rng, canvas, shots[0](0.5 * cut))
    frames = []
    for place in range(num_frames) if places is None else places:
        phase = (place + 0.5) / num_frames
        frames.append(finish(shots[phase >= cut](phase), place))
    return torch.stack(frames)


def pixel_grid(height: int, width: int) -> Tensor:
    """Positions (H, W, 2) of the pixels, x then y: the frame's centre is 0, its short edge has length 1."""
    short = min(height, width)
    y, x = ((torch.arange(n) + 0.5 - n / 2) / short for n in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def gaussian(rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
    """Gaussian noise of `shape`, mean 0 and standard deviation 1."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return torch.randn(tuple(shape), generator=generator)


def soften(frame: Tensor, sigma: float) -> Tensor:
    """A frame (C, H, W) float32 blurred by a Gaussian; `sigma` is at most about one pixel."""
    near, far = (math.exp(-0.5 * (step / sigma) ** 2) for step in (1, 2))
    for axis in (1, 2):
        size = frame.shape[axis]
        edges = [frame.narrow(axis, place, 1) for place in (0, 0, size - 1, size - 1)]
        padded = torch.cat([*edges[:2], frame, *edges[2:]], dim=axis)
        blurred = padded.narrow(axis, 2, size) / (1 + 2 * near + 2 * far)
        for weight, place in ((near, 1), (near, 3), (far, 0), (far, 4)):
            blurred.add_(padded.narrow(axis, place, size), alpha=weight / (1 + 2 * near + 2 * far))
        frame = blurred
    return frame


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of `options`, all equally likely."""
    return options[int(rng.integers(len(options)))]


# ------------------------------------------------------------------------------------------------------------
# Textures: (3, N, N) in 0..1. N pixels are two units long. The right edge continues at the left edge.
# ------------------------------------------------------------------------------------------------------------


def _noise(rng: np.random.Generator, size: int, slope: float, *, stretch: tuple[float, float] = (1, 1)) -> np.ndarray:
    """Periodic noise (N, N), mean 0 and standard deviation 1, whose amplitude falls as frequency ** -slope.

    `stretch` makes the grain longer along (y, x).
    """
    fy = fft.fftfreq(size)[:, None] * stretch[0]
    fx = fft.rfftfreq(size)[None] * stretch[1]
    spectrum = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    spectrum *= ((fy * fy + fx * fx) + (0.5 / size) ** 2).astype(np.float32) ** (-slope / 2)
    field = fft.irfft2(spectrum, (size, size))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def _ramp(rng: np.random.Generator, kind: str, level: np.ndarray) -> np.ndarray:
    """Colours (3, N, N) between the ends of the background's ramp, for a `level` (N, N) of about -2..2."""
    dark, light = (np.array(end, np.float32) + rng.normal(0, 0.06, 3).astype(np.float32) for end in _RAMPS[kind])
    share = (0.5 + 0.25 * level).clip(0, 1)[None]
    coarse = torch.from_numpy(0.05 * rng.random() * _noise(rng, level.shape[0] // 8, 1.2))
    smooth = F.interpolate(coarse[None, None], scale_factor=8, mode="bilinear")[0].numpy()
    hue = smooth * rng.normal(0, 1, (3, 1, 1)).astype(np.float32)
    return dark[:, None, None] * (1 - share) + light[:, None, None] * share + hue


def _checker(rng: np.random.Generator, size: int) -> np.ndarray:
    step = size // choose(rng, (8, 10, 16, 20))
    index = np.arange(size) // step
    line = (np.arange(size) % step) < 1 + step // 16
    squares = ((index[:, None] + index[None]) % 2) * 2.4 - 1.2
    return np.where(line[:, None] | line[None], -1.6, squares) + 0.35 * _noise(rng, size, 0.9)


def _planks(rng: np.random.Generator, size: int) -> np.ndarray:
    step = size // choose(rng, (5, 8, 10))
    plank = np.arange(size) // step
    shade = rng.normal(0, 0.6, plank.max() + 1)[plank] - 2.0 * ((np.arange(size) % step) < 2)
    level = shade[:, None] + 0.8 * _noise(rng, size, 1.0, stretch=(1.0, 12.0))
    return level if rng.random() < 0.5 else level.T


def _hiding_things(rng: np.random.Generator, kind: str, size: int) -> np.ndarray:
    """Discs ("leaves") or blocks ("bricks") that hide each other, many small and few large: (3, N, N)."""
    picture = _ramp(rng, kind, _noise(rng, size, 1.0))
    grain = rng.uniform(0.01, 0.08) * _noise(rng, size, rng.uniform(0.6, 1.2))
    scale = size / 400
    for radius in (scale * (4 * rng.pareto(1.2, 260) + 4).clip(4, 80)).astype(int):
        span = np.arange(-radius, radius + 1)
        tall = max(3, int(radius * rng.uniform(0.4, 1.0)))
        inside = np.hypot(span[:, None] * radius / tall, span[None]) <= radius
        if kind == "bricks":
            inside = (abs(span)[:, None] <= tall) & (abs(span)[None] <= radius * 0.8)
        rows = (rng.integers(size) + span)[:, None] % size
        columns = (rng.integers(size) + span) % size
        colour = np.array(choose(rng, _RAMPS[kind])) * rng.uniform(0.5, 1.2) + rng.normal(0, 0.12, 3)
        shade = colour[:, None, None] * (1 + 0.25 * span[None, :, None] / radius)
        picture[:, rows, columns] = np.where(inside, shade + grain[rows, columns], picture[:, rows, columns])
    return picture


def _screen(rng: np.random.Generator, size: int) -> np.ndarray:
    """Flat graphics: panels, buttons and lines of letters, dark on light or light on dark: (3, N, N)."""
    themes = (((250, 250, 252), (30, 30, 34)), ((24, 26, 32), (225, 225, 230)), ((236, 238, 242), (50, 60, 80)))
    ground, ink = choose(rng, themes)
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(4, 14))):
        left, top = (int(n) for n in rng.integers(0, size, 2))
        right, bottom = left + int(rng.uniform(0.08, 0.5) * size), top + int(rng.uniform(0.04, 0.4) * size)
        fill = tuple(int(n) for n in (np.array(ground) * rng.uniform(0.8, 1.1) + rng.normal(0, 6, 3)).clip(0, 255))
        if rng.random() < 0.3:
            fill = tuple(int(255 * n) for n in choose(rng, tuple(COLOURS.values())))
        corner = int(rng.integers(0, max(2, size // 60)))
        draw.rounded_rectangle((left, top, right, bottom), corner, fill, ink if rng.random() < 0.4 else None)
    letters = string.ascii_letters + string.digits + "      .,:-"
    fonts = [ImageFont.load_default(float(size * share)) for share in rng.uniform(0.014, 0.05, 4)]
    for _ in range(int(rng.integers(20, 70))):
        text = "".join(choose(rng, letters) for _ in range(int(rng.integers(4, 40))))
        left, top = (int(n) for n in rng.uniform(-0.1, 1, 2) * size)
        draw.text((left, top), text, ink, choose(rng, fonts))
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255


def _space(rng: np.random.Generator, size: int) -> np.ndarray:
    """Darkness with points of light, sometimes with a faint nebula: (3, N, N)."""
    dark = rng.uniform(0, 0.02)
    picture = np.full((3, size, size), dark, np.float32)
    if rng.random() < 0.5:
        picture += rng.uniform(0, 0.5) * _ramp(rng, "space", _noise(rng, size, 1.8)).clip(0, 1)
    stars = int(rng.integers(0, 400))
    rows, columns = rng.integers(0, size, (2, stars))
    points = np.zeros((size, size), np.float32)
    points[rows, columns] = rng.pareto(2.0, stars)
    return picture + ndimage.gaussian_filter(points, rng.uniform(0.6, 1.2), mode="wrap")[None] * 3


def _background_texture(rng: np.random.Generator, kind: str, size: int) -> Tensor:
    """The texture (3, N, N) float32 of a background."""
    whole: dict[str, Callable[[], np.ndarray]] = {
        "leaves": lambda: _hiding_things(rng, kind, size),
        "bricks": lambda: _hiding_things(rng, kind, size),
        "screen": lambda: _screen(rng, size),
        "space": lambda: _space(rng, size),
    }
    if kind in whole:
        return torch.from_numpy(whole[kind]().astype(np.float32))
    levels: dict[str, Callable[[], np.ndarray]] = {
        "stone": lambda: 0.8 * _noise(rng, size, rng.uniform(0.8, 1.3)) - 0.7 * (abs(_noise(rng, size, 1.1)) < 0.06),
        "grass": lambda: _noise(rng, size, rng.uniform(0.5, 0.9), stretch=(rng.uniform(2, 5), 1.0)),
        "sky": lambda: _noise(rng, size, rng.uniform(1.5, 2.0), stretch=(1.0, 1.5)) + 0.03 * _noise(rng, size, 0.5),
        "tiles": lambda: _checker(rng, size),
        "wood": lambda: _planks(rng, size),
        "water": lambda: _noise(rng, size, rng.uniform(1.0, 1.4), stretch=(1.0, rng.uniform(2, 5))),
        "plain": lambda: _noise(rng, size, 2.4) + rng.uniform(0, 0.05) * _noise(rng, size, 0.4),
    }
    return torch.from_numpy(_ramp(rng, kind, levels[kind]()).astype(np.float32))


def _sampler(texture: Tensor, canvas: _Canvas) -> Callable[[Tensor], Tensor]:
    """A function that samples the endlessly repeated `texture` (3, N, N) at positions (H, W, 2), x then y.

    The positions of one call may spread over one and a half times the frame's long edge, plus half a unit.
    """
    size = texture.shape[-1]
    reach = 1.5 * max(canvas.pixels.shape[:2]) / canvas.short + 0.5
    more = min(size, math.ceil(reach * size / _TILE_UNITS))
    padded = F.pad(texture[None], (0, more, 0, more), mode="circular")
    units = _TILE_UNITS * padded.shape[-1] / size

    def sample(where: Tensor) -> Tensor:
        corner = where.amin(dim=(0, 1)).div(_TILE_UNITS).floor() * _TILE_UNITS
        grid = (where - corner) * (2 / units) - 1
        return F.grid_sample(padded, grid[None], padding_mode="border", align_corners=False)[0]

    return sample


# ------------------------------------------------------------------------------------------------------------
# Shots: what is painted, back to front
# ------------------------------------------------------------------------------------------------------------


def _shot(
    scene: Scene, rng: np.random.Generator, around: np.random.Generator, more: np.random.Generator, canvas: _Canvas
) -> Callable[[float], Tensor]:
    """A function from phase to frame (3, H, W): the background, what hides it, and the things in front.

    The sky, darkness and silhouettes are drawn from `around`, a generator of their own. So everything else in a scene
    is the same with and without them. What only wider scenes have is drawn from `more`.
    """
    under_sky, past_something = around.random(2) < (0.2, 0.12)
    has_horizon = scene.background not in ("sky", "space", "screen") and scene.camera not in ("up", "down", "hand")
    sky = _open_sky(around, canvas) if under_sky and has_horizon else None
    painters = [_background(scene, rng, more, canvas, sky)]
    if sky is None and scene.background not in ("space", "screen") and around.random() < 0.2:
        painters.append(_darkness(around, canvas))
    painters += [_passer_by(rng, canvas) for _ in range(int(rng.integers(0, 4)))]
    blur = more.uniform(0.01, 0.06) if canvas.wider and more.random() < 0.08 else 0.0
    painters.append(_thing(scene, rng, canvas, blur))
    if rng.random() < 0.08 and scene.background != "screen":
        painters.append(_snow(rng, canvas))
    if past_something and scene.background != "screen":
        painters.append(_silhouette(around, canvas))
    return _drawn_by(painters, canvas)


def _shot_over(
    photograph: Tensor, scene: Scene, rng: np.random.Generator, canvas: _Canvas
) -> Callable[[float], Tensor]:
    """A function from phase to frame (3, H, W): a photograph under a moving camera, and the things in front."""
    painters = [_photographed(photograph, scene, rng, canvas)]
    if rng.random() < 0.2:
        painters.append(_passer_by(rng, canvas))
    if scene.shape != NOTHING:
        painters.append(_thing(scene, rng, canvas, rng.uniform(0.01, 0.06) if rng.random() < 0.1 else 0.0))
    if rng.random() < 0.05:
        painters.append(_snow(rng, canvas))
    return _drawn_by(painters, canvas)


def _drawn_by(painters: Sequence[Painter], canvas: _Canvas) -> Callable[[float], Tensor]:
    """A function from phase to what the painters paint over each other, back to front."""
    blank = torch.zeros(3, *canvas.pixels.shape[:2])

    def draw(phase: float) -> Tensor:
        frame = blank
        for paint in painters:
            frame = paint(frame, phase)
        return frame

    return draw


def _background(
    scene: Scene, rng: np.random.Generator, more: np.random.Generator, canvas: _Canvas, sky: Overlay | None
) -> Painter:
    """Paints what moves with the camera: ground that may sway like water, sometimes nearer ground, and any `sky`."""
    travel = math.exp(rng.uniform(math.log(0.03), math.log(4.0)))  # units that a pan moves in the clip
    if canvas.wider:
        travel = _travel(more, canvas)
    look = _camera(scene.camera, travel, rng, canvas)
    texture = _background_texture(rng, scene.background, canvas.tile)
    if canvas.wider and (plain := _plain_picture(scene, more, canvas)):
        return plain
    # A fast pan blurs: the shutter is open for half a frame.
    axis = _AXES.get(scene.camera)
    way = 0.5 * travel / (canvas.frames_per_second * canvas.duration_seconds) * canvas.tile / _TILE_UNITS  # in pixels
    if axis is not None and way >= 1.5:
        texture = torch.from_numpy(ndimage.uniform_filter1d(texture.numpy(), round(way), axis=axis, mode="wrap"))
    if rng.random() < 0.15 and scene.background != "screen":  # out of focus, behind a sharp thing
        blur = rng.uniform(0.005, 0.012) * canvas.short
        texture = torch.from_numpy(ndimage.gaussian_filter(texture.numpy(), (0, blur, blur), mode="wrap", truncate=2.5))
    sample = _sampler(texture, canvas)
    fluid = scene.background == "water" or (rng.random() < 0.25 and scene.background != "screen")
    bend = _ripple(rng, canvas) if fluid else None
    nearer = _near_ground(scene, rng, canvas) if rng.random() < 0.3 and scene.background != "screen" else None

    def paint(frame: Tensor, phase: float) -> Tensor:
        centre, turn = look(phase)  # (2,), (2, 2)
        world = canvas.pixels @ turn
        where = world + centre
        frame = sample(bend(where, phase) if bend else where)
        for overlay in (sky, nearer):
            frame = overlay(frame, world, centre) if overlay else frame
        return frame

    return paint


def _travel(rng: np.random.Generator, canvas: _Canvas) -> float:
    """Units that a pan moves in the clip: at most 8, and at most 0.08 from one frame to the next."""
    fastest = min(4.0, 8.0 / canvas.duration_seconds, 0.08 * canvas.frames_per_second)  # units per second
    return math.exp(rng.uniform(math.log(0.01), math.log(fastest))) * canvas.duration_seconds


def _plain_picture(scene: Scene, rng: np.random.Generator, canvas: _Canvas) -> Painter | None:
    """Paints a soft sky by day, an even wall or blackness, in many scenes with such a background and a still camera,
    whose motion nobody would see; None in the others."""
    background = scene.background
    if scene.camera != "still" or rng.random() >= {"sky": 0.7, "plain": 0.7, "space": 0.5}.get(background, 0.0):
        return None
    colours = choose(rng, _SKIES[:3])
    if background == "space":
        colours = ((rng.uniform(0, 0.02),) * 3,) * 2
    elif background == "plain":
        wall = rng.uniform(0.25, 0.95) + rng.normal(0, 0.08, 3)
        colours = (tuple(wall), tuple(wall * rng.uniform(0.7, 1.0)))
    low, high = (torch.tensor(colour, dtype=torch.float32)[:, None, None] for colour in colours)
    slant = torch.tensor([rng.normal(0, 0.3), -rng.uniform(0.4, 1.2)], dtype=torch.float32)
    picture = torch.lerp(low, high, (0.5 + canvas.pixels @ slant).clamp(0, 1))
    return lambda frame, phase: picture.clone()  # what is painted over it must not stay


def _photographed(photograph: Tensor, scene: Scene, rng: np.random.Generator, canvas: _Canvas) -> Painter:
    """Paints what a camera sees that moves over a photograph (3, H', W') uint8, which continues mirrored at its edges.

    The frame never has more pixels than the part of the photograph that it shows. Some scenes have nearer ground that
    moves faster, or a touch of shimmer.
    """
    size = torch.tensor(photograph.shape[:0:-1], dtype=torch.float32)  # (2,), x then y
    frame_size = torch.tensor(canvas.pixels.shape[1::-1], dtype=torch.float32)
    room = float((size / frame_size).min())  # at least 1
    travel, stays_inside = _travel(rng, canvas), rng.random() < 0.8
    if stays_inside and scene.camera in _AXES:
        axis = _AXES[scene.camera]
        travel = min(travel, max(0.02, (photograph.shape[axis] - canvas.pixels.shape[axis - 1]) / 1.3 / canvas.short))
    look = _camera(scene.camera, travel, rng, canvas, most_growth=math.log(room))
    scales = [float(look(phase)[1][0].norm()) for phase in (0.0, 1.0)]
    way = torch.tensor(_DIRECTIONS.get(scene.camera, (0, 0))).abs() * travel  # (2,)
    # Pixels of the photograph per unit: from as many as the frame has to what shows the whole of the camera's path.
    finest = canvas.short / min(scales)
    widest = float((size / (way + frame_size / canvas.short * max(scales))).min())
    density = finest * math.exp(rng.random() * max(0.0, math.log(widest / finest)))
    reach = size / density  # of the photograph, in units
    spare = (reach - way - frame_size / canvas.short * max(scales)).clamp(min=0)
    middle = spare * torch.from_numpy(rng.uniform(-0.5, 0.5, 2)).float() - look(0.5)[0]

    # Levels of a pyramid, each shrunk by the square root of 2. The camera's zoom blends the two that fit.
    shrink = max(1.0, density / finest / _DENSITY)
    whole, levels = photograph[None].float() / 255, []
    for step in range(1 + math.ceil(max(0.0, 2 * math.log2(max(scales) / min(scales))))):
        sides = [max(2, round(side / shrink / 2 ** (step / 2))) for side in photograph.shape[1:]]
        if sides == list(photograph.shape[1:]):
            level = whole
        else:
            level = F.interpolate(whole, sides, mode="bicubic", antialias=True, align_corners=False).clamp_(0, 1)
        levels.append(level)
    # The shutter is open for up to half a frame.
    blur = rng.uniform(0.1, 0.5) * travel / (canvas.frames_per_second * canvas.duration_seconds) * density / shrink
    if scene.camera in _AXES and blur >= 1.5:
        along = _AXES[scene.camera] + 1
        levels = [torch.from_numpy(ndimage.uniform_filter1d(levels[0].numpy(), round(blur), axis=along))]

    def sample(where: Tensor, scale: float) -> Tensor:
        place = min(max(0.0, 2 * math.log2(scale / min(scales))), len(levels) - 1.0)
        grid = (where / (reach / 2))[None]
        near, share = levels[int(place)], place % 1
        picture = F.grid_sample(near, grid, padding_mode="reflection", align_corners=False)[0]
        if share < 0.01:
            return picture
        far = F.grid_sample(levels[int(place) + 1], grid, padding_mode="reflection", align_corners=False)[0]
        return torch.lerp(picture, far, share)

    bend = _ripple(rng, canvas) if rng.random() < 0.08 else None
    nearer = _nearer_part(sample, reach, rng, canvas) if rng.random() < 0.3 else None

    def paint(frame: Tensor, phase: float) -> Tensor:
        centre, turn = look(phase)
        world, centre, scale = canvas.pixels @ turn, centre + middle, float(turn[0].norm())
        where = world + centre
        frame = sample(torch.lerp(where, bend(where, phase), 0.1) if bend else where, scale)
        return nearer(frame, world, centre) if nearer else frame

    return paint


def _nearer_part(
    sample: Callable[[Tensor, float], Tensor], reach: Tensor, rng: np.random.Generator, canvas: _Canvas
) -> Overlay:
    """Paints the lower part of a photograph once more as nearer ground, which moves faster, below a soft ragged edge.

    `reach` (2,) is the size of the photograph in units.
    """
    speed, level = rng.uniform(1.4, 2.4), rng.uniform(0.1, 0.4)
    rough, soft = rng.uniform(0.01, 0.04), rng.uniform(0.004, 0.02)
    line = _noise(rng, canvas.tile, rng.uniform(1.0, 1.8))[0]
    ridge = torch.from_numpy(rough * (line - line.mean()) / line.std())
    aside = float(rng.uniform(0.3, 0.7) * reach[0])

    def paint(frame: Tensor, world: Tensor, centre: Tensor) -> Tensor:
        top = int((canvas.pixels[:, 0, 1] < level - 3 * rough - soft).sum())
        if top >= len(world):
            return frame
        near = world[top:] + centre * speed
        place = (near[..., 0] / _TILE_UNITS * canvas.tile) % canvas.tile
        left = place.long() % canvas.tile
        edge = level + torch.lerp(ridge[left], ridge[(left + 1) % canvas.tile], place - place.floor())
        alpha = ((canvas.pixels[top:, :, 1] - edge) / soft + 0.5).clamp(0, 1)
        scale = float((world[0, 1] - world[0, 0]).norm()) * canvas.short
        frame = frame.clone()
        part = sample(near + torch.tensor([aside, 0.25 * float(reach[1])]), scale)
        frame[:, top:] = torch.lerp(frame[:, top:], part, alpha)
        return frame

    return paint


def _camera(
    camera: str, travel: float, rng: np.random.Generator, canvas: _Canvas, *, most_growth: float = math.inf
) -> Callable[[float], tuple[Tensor, Tensor]]:
    """A function from phase to the camera's position (2,) and the rotation and zoom (2, 2) of its picture.

    The picture grows or shrinks by at most a factor of exp(`most_growth`).
    """
    direction = np.array(_DIRECTIONS.get(camera, (0, 0)))
    start = rng.uniform(0, 2, 2)
    sway = rng.uniform(0.01, 0.05) if camera == "hand" else rng.uniform(0, 0.004) * (rng.random() < 0.4)
    rates, offsets = rng.uniform(0.2, 1.5, 3) * canvas.duration_seconds, rng.random((3, 2))
    growth = {"in": 1.0, "out": -1.0}.get(camera, 0.0) * min(rng.uniform(0.25, 1.0), most_growth)
    size = rng.uniform(0.85, 1.3)
    roll = rng.normal(0, 0.4) if rng.random() < 0.15 else 0.0

    def look(phase: float) -> tuple[Tensor, Tensor]:
        waves = np.sin(2 * math.pi * (rates[:, None] * phase + offsets)).sum(axis=0)
        centre = start + travel * phase * direction + sway / 2 * waves
        angle, zoom = roll * (phase - 0.5), math.exp(growth * (phase - 0.5)) * size
        cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
        return torch.from_numpy(centre).float(), torch.tensor([[cosine, sine], [-sine, cosine]])

    return look


def _ripple(rng: np.random.Generator, canvas: _Canvas) -> Callable[[Tensor, float], Tensor]:
    """A function from positions (H, W, 2) and phase to positions that sway like water, cloth or smoke."""
    fine = rng.uniform(2, 7)
    waves = torch.from_numpy(rng.normal(0, fine, (3, 2))).float()
    turns = 2 * math.pi * rng.uniform(0.1, 1.0, 3) * canvas.duration_seconds
    pushes = torch.from_numpy(rng.normal(0, 0.12 / fine, (3, 2))).float()

    def bend(where: Tensor, phase: float) -> Tensor:
        moved = where
        for wave, turn, push in zip(waves, turns, pushes, strict=True):
            moved = moved + torch.sin(where @ wave + turn * phase)[..., None] * push
        return moved

    return bend


def _open_sky(rng: np.random.Generator, canvas: _Canvas) -> Overlay:
    """Paints a smooth sky, of any hour, above a distant skyline that is even or ragged."""
    level, rough = rng.uniform(-0.35, 0.15), choose(rng, (0.004, 0.02, 0.06))
    line = _noise(rng, canvas.tile, rng.uniform(1.0, 1.6))[0]
    ridge = torch.from_numpy(rough * (line - line.mean()) / line.std())
    low, high = (torch.tensor(colour)[:, None, None] for colour in choose(rng, _SKIES))
    steep = rng.uniform(0.5, 2.0)

    def paint(frame: Tensor, world: Tensor, centre: Tensor) -> Tensor:
        x, y = world[..., 0] + 0.2 * centre[0], world[..., 1]
        place = (x / _TILE_UNITS * canvas.tile) % canvas.tile
        left = place.long() % canvas.tile
        skyline = level + torch.lerp(ridge[left], ridge[(left + 1) % canvas.tile], place - place.floor())
        sky = torch.lerp(low, high, ((level - y) * steep).clamp(0, 1))
        return torch.lerp(frame, sky, ((skyline - y) * canvas.short).clamp(0, 1))

    return paint


def _darkness(rng: np.random.Generator, canvas: _Canvas) -> Painter:
    """Paints darkness outside a large circle, as around a nearby planet or a pool of light."""
    radius, angle, share = rng.uniform(0.2, 3.0), rng.uniform(0, 2 * math.pi), rng.uniform(0.15, 0.65)
    away = radius * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float32)
    edge = torch.quantile((canvas.pixels + away).norm(dim=-1)[::8, ::8].flatten(), 1 - share)
    steep = canvas.short if rng.random() < 0.6 else rng.uniform(2, 20)  # 1 / width of the circle's edge
    drift = torch.from_numpy(rng.normal(0, 0.1, 2)).float()
    colour = torch.from_numpy(rng.uniform(0, 0.05) + rng.normal(0, 0.008, 3)).float().clamp(min=0)[:, None, None]
    haze = rng.uniform(0.2, 0.7) * torch.tensor([0.6, 0.85, 1.0])[:, None, None] * (rng.random() < 0.3)

    def paint(frame: Tensor, phase: float) -> Tensor:
        beyond = (canvas.pixels + away + drift * phase).norm(dim=-1) - edge
        hazy = frame + haze * torch.exp(-((beyond / 0.03) ** 2))  # the air at a planet's rim
        return torch.lerp(hazy, colour.expand_as(frame), (beyond * steep).clamp(0, 1))

    return paint


def _silhouette(rng: np.random.Generator, canvas: _Canvas) -> Painter:
    """Paints something dark and ragged in front of one or two sides of the picture, like leaves, rocks or a crowd."""
    sample = _sampler(torch.from_numpy(_noise(rng, canvas.tile, rng.uniform(1.1, 1.8)))[None], canvas)
    angle, share = rng.uniform(0, 2 * math.pi), rng.uniform(0.08, 0.45)
    along = canvas.pixels @ torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float32)
    if rng.random() < 0.3:
        along = along.abs()
    edge = torch.quantile(along[::8, ::8].flatten(), 1 - share)
    rough, drift = rng.uniform(0.03, 0.15), torch.from_numpy(rng.normal(0, 0.15, 2)).float()
    colour = torch.from_numpy(rng.uniform(0, 0.08) + rng.normal(0, 0.01, 3)).float().clamp(min=0)[:, None, None]

    def paint(frame: Tensor, phase: float) -> Tensor:
        ragged = along + rough * sample(canvas.pixels + drift * phase)[0]
        return torch.lerp(frame, colour.expand_as(frame), ((ragged - edge) * canvas.short).clamp(0, 1))

    return paint


def _near_ground(scene: Scene, rng: np.random.Generator, canvas: _Canvas) -> Overlay:
    """Paints nearer ground of the same kind below a horizon. It moves faster than the ground behind it."""
    sample = _sampler(_background_texture(rng, scene.background, canvas.tile) * rng.uniform(0.7, 1.2), canvas)
    level, speed, bumps = rng.uniform(0.05, 0.35), rng.uniform(1.5, 2.5), rng.uniform(2, 12)
    horizon = level + 0.03 * torch.sin(canvas.pixels[..., 0] * bumps)
    top = int(((canvas.pixels[:, 0, 1] < level - 0.04).sum()).clamp(max=len(canvas.pixels) - 1))
    alpha = ((canvas.pixels[top:, :, 1] - horizon[top:]) * canvas.short).clamp(0, 1)

    def paint(frame: Tensor, world: Tensor, centre: Tensor) -> Tensor:
        near = sample(world[top:] * 0.8 + centre * speed)
        frame[:, top:] = torch.lerp(frame[:, top:], near, alpha)
        return frame

    return paint


def _box(canvas: _Canvas, place: np.ndarray, radius: float) -> tuple[slice, slice]:
    """The rows and columns of the frame that a thing of `radius` at `place` (x, y) can cover."""
    height, width = canvas.pixels.shape[:2]
    centre = (place[1] * canvas.short + height / 2, place[0] * canvas.short + width / 2)
    reach = radius * canvas.short + 2
    ends = [
        (int(max(0, c - reach)), int(max(0, min(n, c + reach)))) for c, n in zip(centre, (height, width), strict=True)
    ]
    return slice(*ends[0]), slice(*ends[1])


def _shape_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """The distance from the outline of a shape with a radius of about 1; negative inside."""
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


def _thing_path(motion: str, rng: np.random.Generator) -> Callable[[float], tuple[np.ndarray, float]]:
    """A function from phase to the thing's position (2,) and its rotation in radians."""
    span, away = rng.uniform(0.35, 0.9), rng.uniform(-0.12, 0.12, 2)
    direction = np.array(_DIRECTIONS.get(motion, (0, 0)))
    hops, start, high = rng.uniform(1.5, 5.0), rng.random(), rng.uniform(0.2, 0.45)
    turns = rng.choice([-1, 1]) * rng.uniform(0.6, 3.0) if motion == "spin" else rng.uniform(-0.1, 0.1)
    angle = rng.uniform(-0.4, 0.4)

    def path(phase: float) -> tuple[np.ndarray, float]:
        place = (phase - 0.5) * span * direction + away
        if motion == "bounce":
            place = place - np.array([0.0, high]) * (abs(math.sin(math.pi * (hops * phase + start))) - 0.5)
        return place, 2 * math.pi * turns * phase + angle

    return path


def _thing(scene: Scene, rng: np.random.Generator, canvas: _Canvas, blur: float = 0.0) -> Painter:
    """Paints the thing that the caption names: textured, shaded and lit from one side.

    Out of focus, its edge is `blur` units wide and its texture does not show.
    """
    path, size = _thing_path(scene.motion, rng), rng.uniform(0.16, 0.30)
    light = torch.from_numpy(rng.normal(0, 0.15, 2)).float()
    grain = torch.from_numpy(_noise(rng, canvas.tile, rng.uniform(0.7, 1.4)) * rng.uniform(0.02, 0.12))
    sample = _sampler(grain[None] * (blur == 0), canvas)
    steep = min(canvas.short, 1 / blur) if blur else canvas.short
    globe = scene.shape == "ball" and rng.random() < 0.5  # it turns about a vertical axis, not in the picture's plane
    colour = torch.tensor(COLOURS[scene.colour]) + torch.from_numpy(rng.normal(0, 0.03, 3)).float()

    def paint(frame: Tensor, phase: float) -> Tensor:
        place, angle = path(phase)
        rows, columns = _box(canvas, place, 1.5 * size)
        offset = (canvas.pixels[rows, columns] - torch.from_numpy(place).float()) / size
        if offset.numel() == 0:
            return frame
        turn = 0.0 if globe else angle
        x = offset[..., 0] * math.cos(turn) + offset[..., 1] * math.sin(turn)
        y = offset[..., 1] * math.cos(turn) - offset[..., 0] * math.sin(turn)
        alpha = (0.5 - _shape_distance(scene.shape, x, y) * size * steep).clamp(0, 1)
        if blur:
            alpha = alpha * alpha * (3 - 2 * alpha)  # a lens has no sharp end of its blur
        across = torch.asin((x / (1 - y**2).clamp(min=0.05).sqrt()).clamp(-1, 1)) + angle if globe else x
        shade = 1 + offset @ light + sample(torch.stack([across, y], -1) * size)[0]
        if scene.shape == "ball":
            shade = shade - 0.35 * (x**2 + y**2).clamp(max=1) + 0.15
        paint = colour[:, None, None] * shade + 0.06 * (shade - 1)
        frame = frame.clone()
        frame[:, rows, columns] = torch.lerp(frame[:, rows, columns], paint, alpha)
        return frame

    return paint


def _passer_by(rng: np.random.Generator, canvas: _Canvas) -> Painter:
    """Paints a small dull blob with a changing outline that wanders through the picture, slowly or fast."""
    start, way = rng.uniform(-0.5, 0.5, 2), rng.normal(0, 0.5, 2) * rng.choice([0.2, 1.0, 3.0])
    size, rate = rng.uniform(0.03, 0.08), 2 * math.pi * rng.uniform(0, 6)
    colour = torch.from_numpy(rng.uniform(0.15, 0.8) + rng.normal(0, 0.08, 3)).float()[:, None, None]

    def paint(frame: Tensor, phase: float) -> Tensor:
        place = (start + phase * way + 1.0) % 2.0 - 1.0
        rows, columns = _box(canvas, place, 1.5 * size)
        offset = (canvas.pixels[rows, columns] - torch.from_numpy(place).float()) / size
        if offset.numel() == 0:
            return frame
        angle = torch.atan2(offset[..., 0], offset[..., 1])
        inside = 1 + 0.25 * torch.sin(3 * angle + rate * phase) - offset.norm(dim=-1)
        alpha = (inside * size * canvas.short).clamp(0, 1)
        frame[:, rows, columns] = torch.lerp(frame[:, rows, columns], colour.expand(3, *alpha.shape), alpha)
        return frame

    return paint


def _snow(rng: np.random.Generator, canvas: _Canvas) -> Painter:
    """Paints some dozens of falling snowflakes."""
    height, width = canvas.pixels.shape[:2]
    flakes, sigma = int(rng.integers(30, 120)), 0.005 * canvas.short
    speed = rng.uniform(0.1, 0.6) * (1 + 0.3 * rng.normal(0, 1, flakes)) * canvas.duration_seconds
    high, wide = rng.random(flakes), rng.random(flakes)

    def paint(frame: Tensor, phase: float) -> Tensor:
        down = high + speed * phase
        across = wide + 0.03 * np.sin(9 * down)
        dots = np.zeros((height, width), np.float32)
        dots[(down % 1 * height).astype(int), (across % 1 * width).astype(int)] = 7 * sigma**2
        alpha = torch.from_numpy(ndimage.gaussian_filter(dots, sigma, truncate=2.5)).clamp(0, 1)
        return frame + (0.95 - frame) * alpha

    return paint


def _finish(scene: Scene, rng: np.random.Generator, canvas: _Canvas, sample: Tensor) -> Callable[[Tensor, int], Tensor]:
    """A function from a frame (3, H, W) in 0..1 and its place in the clip to uint8, as a good camera records it.

    The light is that of any hour and weather: bright to dim, vivid to muted, a little warm or cold, and uneven. The
    frame is as sharp as a lens makes it, with a little sensor noise. A few clips are in letterbox. "screen" and "space"
    keep their own light. The brightness range of the frame `sample` sets the exposure.
    """
    low, high = torch.quantile(sample[:, ::4, ::4].mean(dim=0).flatten(), torch.tensor([0.01, 0.99]))
    black, white = 0.18 * rng.random() ** 1.5, 1 - 0.45 * rng.random() ** 1.5
    saturation, curve = rng.triangular(0.3, 0.75, 1.1), math.exp(rng.normal(0, 0.2))
    tint = torch.from_numpy(np.exp(rng.normal(0, 0.03) * np.array([1.0, 0.0, -1.0]))).float()[:, None, None]
    grain_seed = int(rng.integers(2**31))
    grain = rng.uniform(0.002, 0.012) if rng.random() < 0.5 else 0.0
    sigma = rng.uniform(0.35, 0.9) if rng.random() < 0.7 else 0.0  # pixels
    slant = torch.from_numpy(rng.normal(0, 0.15, 2)).float()
    light = 1 + canvas.pixels @ slant - rng.uniform(0, 0.25) * (canvas.pixels**2).sum(-1)
    span, drawn = (high - low).clamp(min=0.25), scene.background in ("screen", "space")
    bar = int(canvas.pixels.shape[0] * rng.uniform(0.05, 0.13)) if rng.random() < 0.04 else 0
    if scene.background == "screen":
        sigma, grain = 0.0, 0.0
    if scene.background == PHOTOGRAPH:  # it has its own light and lens: the camera changes it little
        low, span = torch.tensor(0.0), torch.tensor(1.0)
        black, white, saturation, curve = 0.1 * black, 1 - 0.15 * (1 - white), 0.7 + 0.4 * saturation, curve**0.4
        light, tint = 1 + 0.15 * (light - 1), tint**0.5
        sigma, grain = (sigma if sigma > 0.75 else 0.0), 0.6 * grain

    def finish(frame: Tensor, place: int) -> Tensor:
        if not drawn:
            grey = frame.mean(dim=0, keepdim=True)
            even = ((grey + (frame - grey) * saturation - low) / span).clamp_(min=0)
            frame = (black + (white - black) * even.pow_(curve)) * light * tint
        if sigma:
            frame = soften(frame, sigma)
        if grain:
            frame = frame + grain * gaussian(np.random.default_rng((grain_seed, place)), frame.shape)
        if bar:
            frame[:, :bar] = frame[:, -bar:] = 0.0
        return (frame * 255 + 0.5).clamp_(0, 255).to(torch.uint8)

    return finish
