"""Scenes over a photograph, and plainer drawn scenes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_demo.procedural.clips import PHRASES, caption_of, facts_told, labels_for, over_photograph
from vjepa_demo.procedural.scenes import Scene, render_scene

SIZE = {"num_frames": 8, "duration_seconds": 2.0, "height": 60, "width": 96}
BALL = Scene("red", "ball", "stone", "right", "left", look=3)


def picture(height: int = 180, width: int = 320) -> Tensor:
    """A sharp picture (3, height, width) uint8: noise in blocks of two pixels."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (3, height // 2, width // 2), dtype=torch.uint8, generator=generator)
    return blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)


def over(
    photograph: Tensor, *, look: int = 3, camera: str = "left", with_thing: bool = False, **more: object
) -> Tensor:
    scene = over_photograph(replace(BALL, look=look, camera=camera), with_thing=with_thing)
    return render_scene(scene, photograph=photograph, **{**SIZE, **more})


def shift_between(first: Tensor, second: Tensor) -> int:
    """How many pixels to the right the rows of `first` (R, W) lie in `second`, by the best match."""
    shifts = range(-24, 25)
    inner = first[:, 24:-24]
    errors = [float((inner - second[:, 24 + n : second.shape[1] - 24 + n]).abs().mean()) for n in shifts]
    return shifts[int(np.argmin(errors))]


@pytest.mark.parametrize("camera", ["left", "in", "out", "hand", "still"])
def test_the_same_seed_gives_the_same_frames_whichever_are_drawn(camera: str) -> None:
    for look in range(3):
        whole = over(picture(), look=look, camera=camera, with_thing=True)
        some = over(picture(), look=look, camera=camera, with_thing=True, places=[1, 6])
        assert whole.shape == (8, 3, 60, 96)
        assert whole.dtype == torch.uint8
        assert torch.equal(some, whole[[1, 6]])
    assert not torch.equal(whole, over(picture(), look=9, camera=camera, with_thing=True))


def test_a_sharp_photograph_stays_sharp() -> None:
    def sharpness(frames: Tensor) -> float:
        grey = frames.float().mean(dim=-3)
        return float((grey[..., 1:] - grey[..., :-1]).abs().mean() / grey.std())

    # Half of the steps between the pixels of this picture are steps between blocks; shrunk, nearly all are.
    least = sharpness(picture())
    for look in range(12):
        camera = ("still", "in", "out")[look % 3]
        assert sharpness(over(picture(), look=look, camera=camera)) > 0.75 * least, (look, camera)


def test_a_fast_pan_blurs_along_its_way_and_less_at_a_higher_rate() -> None:
    def steps(frames: Tensor, axis: int) -> float:
        return float(frames.float().diff(dim=axis).abs().mean())

    def of(rate: float) -> list[Tensor]:
        seconds = {"num_frames": int(2 * rate), "frames_per_second": rate, "places": [3]}
        return [over(picture(360, 1280), look=look, height=120, width=192, **seconds) for look in range(16)]

    slow, fast = of(12), of(60)
    blurred = [steps(frames, 3) / steps(frames, 2) for frames in slow]
    assert min(blurred) < 0.6, "along the pan, not across it"
    assert np.mean(blurred) < np.mean([steps(frames, 3) / steps(frames, 2) for frames in fast])


def test_nearer_ground_moves_faster() -> None:
    shifts = []
    for look in range(60):
        frames = over(picture(180, 640), look=look, num_frames=40, places=[10, 12])
        rows = frames.float().mean(dim=1)
        far, near = (shift_between(*part) for part in (rows[:, :15], rows[:, -4:]))
        shifts.append((far, near))
    moving = [(far, near) for far, near in shifts if 2 <= abs(far) <= 9]
    faster = [near / far for far, near in moving if abs(near) > abs(far) + 1]
    assert 0.1 < len(faster) / len(moving) < 0.6, "in some scenes"
    assert all(1.2 < ratio < 2.8 for ratio in faster)


def test_a_photograph_that_is_missing_unasked_for_or_too_small_fails() -> None:
    with pytest.raises(ValueError, match="background 'photograph': give a photograph"):
        render_scene(over_photograph(BALL, with_thing=True), **SIZE)
    with pytest.raises(ValueError, match="background 'stone'"):
        render_scene(BALL, photograph=picture(), **SIZE)
    with pytest.raises(ValueError, match=r"has 58x320 pixels, the frame 60x96"):
        over(picture(58))


def test_a_caption_tells_neither_the_photograph_nor_a_thing_that_is_not_there() -> None:
    rng = np.random.default_rng(0)
    with_thing, without = (over_photograph(BALL, with_thing=thing) for thing in (True, False))
    for _ in range(60):
        told, bare = facts_told(with_thing, rng), facts_told(without, rng)
        assert "shape" in told
        assert "background" not in told
        assert bare == {"camera": "left"}
        caption = caption_of(bare, rng)
        assert any(phrase in caption for phrase in PHRASES["camera"]["left"])
        assert labels_for(without, bare, {})["Alignment"] == 5


def test_wider_scenes_have_soft_skies_plain_walls_and_blackness() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 20), indexing="ij")
    smooth = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], dim=-1).flatten(0, 1)

    def plain(background: str, *, wider: bool) -> int:
        """In how many of 20 scenes the left fifth of a frame is smooth."""
        count = 0
        for look in range(20):
            scene = Scene("red", "ball", background, "still", "still", look=look)
            part = render_scene(scene, **SIZE, places=[4], wider=wider)[0, :, :, :20].float().mean(dim=0).flatten()
            fitted = smooth @ torch.linalg.lstsq(smooth, part[:, None]).solution
            count += float((fitted[:, 0] - part).abs().median()) < 2
        return count

    for background in ("sky", "plain"):
        assert plain(background, wider=True) > plain(background, wider=False) + 1, background


def test_wider_scenes_move_at_a_speed_that_fits_their_length_and_rate() -> None:
    def change(seconds: float, rate: float) -> float:
        shape = {"height": 60, "width": 96, "wider": True, "frames_per_second": rate}
        count, total = int(seconds * rate), 0.0
        for look in range(12):
            scene = Scene("red", "ball", "tiles", "still", "left", look=look)
            frames = render_scene(scene, num_frames=count, duration_seconds=seconds, places=[4, 5], **shape).float()
            total += float((frames[1] - frames[0]).abs().mean())
        return total

    assert change(6.0, 24) < change(2.0, 24) * 1.5
    assert change(3.0, 60) < change(3.0, 12), "less from frame to frame"
