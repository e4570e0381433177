"""Procedural clips: repeatable, and labelled by what is visibly wrong with them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.procedural.clips import (
    ATTRIBUTES,
    PHRASES,
    caption_of,
    caption_words,
    draw_scene,
    example_clips,
    facts_of,
    facts_told,
    labels_for,
    make_clip,
    mislead,
)
from vjepa_demo.procedural.faults import (
    DEGRADATIONS,
    Degradation,
    Footage,
    brightness,
    change,
    cost_of,
    cost_of_light,
    costs_seen,
    degrade,
    distortion,
    draw_degradations,
    unevenness,
    uploaded,
)
from vjepa_demo.procedural.scenes import Scene, render_scene

SMALL = {"num_frames": 8, "height": 48, "width": 64}
MOVING = Scene("red", "box", "tiles", "right", "left", look=4)
STILL = Scene("red", "box", "tiles", "still", "still", look=7)
KINDS = sorted(DEGRADATIONS)
REARRANGED = ("drop", "freeze", "shuffle", "stutter")


@lru_cache(maxsize=1)
def clean_frames() -> Tensor:
    return render_scene(MOVING, num_frames=12, duration_seconds=2.0, height=96, width=128)


def footage(frames: Tensor) -> Footage:
    return Footage(frames, np.arange(len(frames)), len(frames))


def with_fault(kind: str, severity: float, frames: Tensor | None = None) -> tuple[Tensor, float]:
    """The frames with one fault, and what it costs."""
    clean = clean_frames() if frames is None else frames
    degraded, costs = degrade(footage(clean), [Degradation(kind, severity)], np.random.default_rng(1))
    return degraded, costs[kind]


def motion(frames: Tensor) -> float:
    """Mean absolute change of brightness from one frame to the next, as a share of full scale."""
    return change(brightness(frames[:-1]), brightness(frames[1:]))


# ---- clips -------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_clip() -> None:
    first, again, other = (make_clip(seed, **SMALL) for seed in (3, 3, 4))
    assert torch.equal(first.frames, again.frames)
    assert (first.caption, first.labels, first.fps) == (again.caption, again.labels, again.fps)
    assert not torch.equal(first.frames, other.frames)


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (48, 48), (51, 33)])
def test_frames_have_the_size_asked_for(height: int, width: int) -> None:
    clip = make_clip(1, num_frames=6, duration_seconds=3.0, height=height, width=width)
    assert clip.frames.shape == (6, 3, height, width)
    assert clip.frames.dtype == torch.uint8
    assert clip.fps == 2.0


def test_labels_lie_on_the_scale_for_every_dimension() -> None:
    for seed in range(8):
        labels = make_clip(seed, num_frames=4, height=32, width=32).labels
        assert tuple(labels) == DIMENSIONS
        assert all(SCORE_MIN <= value <= SCORE_MAX for value in labels.values())


def test_a_clean_clip_with_a_true_caption_is_excellent_however_fast_it_moves() -> None:
    clip = make_clip(5, scene=MOVING, degradations=(), num_wrong=0, **SMALL)
    assert motion(clip.frames) > 0.02
    best = dict.fromkeys(DIMENSIONS, SCORE_MAX)
    assert clip.labels == best | {name: clip.labels[name] for name in ("Aesthetic", "Overall")}
    assert clip.labels["Aesthetic"] == pytest.approx(SCORE_MAX - 4 * cost_of_light(clip.frames))
    assert clip.labels["Aesthetic"] > 4
    assert 4.5 < clip.labels["Overall"] < SCORE_MAX


def test_clean_scenes_are_lit_as_at_any_hour_and_some_are_in_letterbox() -> None:
    lit, boxed = [], []
    for look in range(40):
        scene = Scene("red", "ball", "stone", "still", "still", look=look)
        frames = render_scene(scene, num_frames=2, duration_seconds=2.0, height=40, width=64)
        lit.append(float(torch.quantile(frames.float().mean(dim=1), 0.95)))
        if not frames[:, :, 0].any():
            boxed.append(frames)
    assert min(lit) < 0.65 * 255
    assert max(lit) > 0.85 * 255
    assert 1 <= len(boxed) <= 8
    for frames in boxed:
        dark = ~frames.amax(dim=(0, 1, 3)).bool()  # rows that are black in all frames
        assert torch.equal(dark, dark.flip(0)), "as much above as below"
        assert dark.sum() <= 0.27 * 40


def test_some_scenes_lie_under_an_open_sky_before_darkness_or_behind_something_dark() -> None:
    size = {"num_frames": 12, "duration_seconds": 2.0, "height": 60, "width": 96}
    scenes = [Scene("red", "ball", "grass", "still", "still", look=look) for look in (46, 32, 54)]
    clips = [render_scene(scene, **size) for scene in scenes]
    under_sky, before_darkness, past_something = (frames.float().mean(dim=1) for frames in clips)
    assert under_sky[:, :6].std(dim=2).mean() < 5 < 20 < under_sky[:, -12:].std(dim=2).mean()
    for frames in (before_darkness, past_something):
        dark = (frames < 26).float()
        assert 0.05 < dark.mean() < 0.5
        assert (dark[1:] - dark[:-1]).abs().mean() < 0.02, "it does not flicker"
        assert (dark[-1] - dark[0]).abs().mean() > 0, "but it moves"
    assert cost_of_light(clips[1]) < 0.1, "what is lit is lit well"


def test_example_clips_show_four_different_things() -> None:
    clips = example_clips(num_frames=12, height=36, width=64)
    assert list(clips) == ["clean", "blurred", "unsteady", "wrong_prompt"]
    assert {clip.frames.shape for clip in clips.values()} == {(12, 3, 36, 64)}
    assert min(clips["clean"].labels.values()) > 4
    lowest = {name: min(clip.labels, key=lambda dim: clip.labels[dim]) for name, clip in clips.items()}
    assert lowest["blurred"] == "Traditional"
    assert lowest["unsteady"] == "Temporal"
    assert lowest["wrong_prompt"] == "Alignment"


# ---- footage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", PHRASES["background"])
def test_every_background_has_something_to_see(background: str) -> None:
    scene = Scene("red", "ball", background, "spin", "hand", look=3)
    frames = render_scene(scene, num_frames=2, duration_seconds=1.0, height=64, width=48)
    assert frames.shape == (2, 3, 64, 48)
    assert frames.float().std() > 5


def test_a_frame_is_the_same_whichever_others_are_drawn() -> None:
    whole = render_scene(MOVING, num_frames=9, duration_seconds=2.0, height=40, width=56)
    some = render_scene(MOVING, num_frames=9, duration_seconds=2.0, height=40, width=56, places=[2, 7])
    assert torch.equal(some, whole[[2, 7]])


def test_what_moves_has_more_motion_than_what_is_still() -> None:
    still, moving = (render_scene(scene, duration_seconds=3, **SMALL) for scene in (STILL, MOVING))
    assert motion(still) < motion(moving)


def test_a_place_that_was_not_drawn_shows_the_nearest_one() -> None:
    frames = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    shown = Footage(frames, np.array([2, 5, 9]), 12).at(np.array([0, 2, 3, 5, 8, 11]))
    assert shown[:, 0, 0, 0].tolist() == [0, 0, 0, 1, 2, 2]


# ---- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_degrading_keeps_shape_and_input_and_repeats_from_the_generator(kind: str) -> None:
    clean, before = clean_frames(), clean_frames().clone()
    once, again = (with_fault(kind, 0.8)[0] for _ in range(2))
    assert once.shape == clean.shape
    assert once.dtype == torch.uint8
    assert torch.equal(once, again)
    assert torch.equal(clean, before)
    assert not torch.equal(once, clean)


@pytest.mark.parametrize("kind", KINDS)
def test_a_severe_fault_costs_more_than_a_mild_one(kind: str) -> None:
    mild, severe = (with_fault(kind, severity)[1] for severity in (0.1, 1.0))
    assert 0 <= mild < severe <= 0.95
    assert severe > 0.25


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {*REARRANGED, "pop", "saturation", "compression", "warp"}))
def test_worse_severity_changes_the_picture_more(kind: str) -> None:
    clean = clean_frames().float()
    changes = [float((with_fault(kind, severity)[0] - clean).abs().mean()) for severity in (0.3, 0.6, 1.0)]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_rearranging_only_rearranges() -> None:
    known = {frame.numpy().tobytes() for frame in clean_frames()}
    for kind in REARRANGED:
        arranged, _ = with_fault(kind, 1.0)
        assert {frame.numpy().tobytes() for frame in arranged} <= known


@pytest.mark.parametrize("kind", [*REARRANGED, "jitter", "warp"])
def test_what_happens_to_frames_that_are_all_one_grey_costs_nothing(kind: str) -> None:
    assert with_fault(kind, 1.0, torch.full((12, 3, 48, 64), 120, dtype=torch.uint8))[1] == pytest.approx(0, abs=0.01)


def test_held_frames_and_jumps_cost_and_what_only_comes_earlier_does_not() -> None:
    wave = (128 + 100 * torch.sin(torch.arange(128) * 2 * torch.pi / 64)).expand(3, 96, 128)
    clean = torch.stack([wave.roll(2 * step, -1) for step in range(12)]).byte()  # it moves evenly
    held, jump, later = clean[[0, 0, 2, 2, 4, 4, 6, 6]], clean[[0, 1, 2, 3, 8, 9, 10, 11]], clean[4:12]
    assert unevenness(clean[:8], held) > 0.03
    assert unevenness(clean[:8], jump) > 0.03
    assert unevenness(clean[:8], later) < 0.001, "the steps are alike, the pictures are not"
    assert unevenness(clean[:1], clean[4:5]) == 0


def test_a_small_thing_that_stutters_before_a_still_wall_is_seen() -> None:
    wall = render_scene(replace(STILL, motion="right"), num_frames=12, duration_seconds=2.0, height=96, width=128)
    assert change(wall[:-1], wall[1:]) < 0.5 * change(clean_frames()[:-1], clean_frames()[1:])
    assert with_fault("stutter", 0.8, wall)[1] > 0.5 * with_fault("stutter", 0.8)[1]


def test_a_fault_costs_what_is_seen_in_one_of_the_parts_that_are_watched() -> None:
    frames, freeze = footage(clean_frames()), [Degradation("freeze", 0.5)]
    parts = slice(0, 6), slice(6, 12)
    alone = [degrade(frames, freeze, np.random.default_rng(1), seen=[part])[1]["freeze"] for part in parts]
    both = degrade(frames, freeze, np.random.default_rng(1), seen=parts)[1]["freeze"]
    assert both == max(alone) > min(alone)


@pytest.mark.parametrize("seed", range(5))
def test_frames_are_lost_within_the_part_that_is_watched(seed: int) -> None:
    places = np.arange(90)
    watched = Footage(torch.zeros(90, 3, 1, 1), places, 90, (30, 45))
    order = DEGRADATIONS["drop"].reorder(watched, 0.5, np.random.default_rng(seed))
    steps = np.diff(order)
    lost = np.flatnonzero(steps > 1)
    assert len(lost) >= 1
    assert lost.min() >= 30
    assert lost.max() < 45
    assert order[(30 + 45) // 2] == (30 + 45) // 2, "the middle stays"


def test_a_clip_can_freeze_at_its_beginning_at_its_end_or_between_and_become_a_slide_show() -> None:
    clip = Footage(torch.zeros(96, 3, 1, 1), np.arange(96), 96)
    firsts, lasts, holds = set(), set(), []
    for seed in range(30):
        order = DEGRADATIONS["freeze"].reorder(clip, 0.6, np.random.default_rng(seed))
        still = np.flatnonzero(np.diff(order) == 0)
        firsts.add(int(still[0]))
        lasts.add(int(still[-1]) + 1)
        order = DEGRADATIONS["stutter"].reorder(clip, 1.0, np.random.default_rng(seed))
        holds.append(max(np.unique(order, return_counts=True)[1]))
    assert 0 in firsts
    assert 95 in lasts
    assert len(firsts) > 4
    assert max(holds) >= 48


def test_enlarging_is_about_as_coarse_as_a_blur_of_the_same_severity() -> None:
    clean = render_scene(MOVING, num_frames=4, duration_seconds=2.0, height=240, width=320)
    for severity in (0.4, 0.8):
        enlarged, blurred = (distortion(clean, with_fault(kind, severity, clean)[0]) for kind in ("scaling", "blur"))
        assert enlarged == pytest.approx(blurred, rel=0.35)


def test_a_hold_costs_the_same_in_a_short_clip_and_in_a_long_one() -> None:
    held = clean_frames().clone()
    held[3:9] = held[3]
    costs = [cost_of(Degradation("freeze", severity), clean_frames(), held) for severity in (0.2, 0.9)]
    assert costs[0] == costs[1] > 0.1


def test_a_clip_of_one_frame_loses_none() -> None:
    one = footage(clean_frames()[:1])
    for kind in REARRANGED:
        frames, costs = degrade(one, [Degradation(kind, 0.9)], np.random.default_rng(0))
        assert torch.equal(frames, one.frames)
        assert costs == {kind: 0}


def test_a_blur_costs_less_where_there_is_less_to_blur() -> None:
    smooth = torch.linspace(40, 200, 128).to(torch.uint8).expand(4, 3, 96, 128)
    assert with_fault("blur", 0.5, smooth)[1] < 0.3 * with_fault("blur", 0.5)[1]


def test_a_good_encode_is_hardly_visible_and_a_poor_one_is() -> None:
    clean = clean_frames()
    good = uploaded(clean, np.random.default_rng(0))
    poor, cost = with_fault("compression", 1.0)
    assert 0 < distortion(clean / 255, good / 255) < 0.25 < cost
    assert change(clean, good) < change(clean, poor)


def test_frames_of_odd_size_can_be_coded() -> None:
    assert uploaded(clean_frames()[:2, :, :51, :33], np.random.default_rng(0)).shape == (2, 3, 51, 33)


def test_only_the_places_asked_for_are_degraded() -> None:
    shown = np.array([3, 4, 9])
    clean, dark = clean_frames(), [Degradation("dark", 0.5)]
    frames, _ = degrade(footage(clean), dark, np.random.default_rng(0), shown=shown)
    whole, _ = degrade(footage(clean), dark, np.random.default_rng(0))
    assert torch.equal(frames, whole[shown])
    assert not torch.equal(frames, clean[shown])


def test_at_most_one_fault_for_each_dimension_is_drawn() -> None:
    for seed in range(50):
        drawn = [DEGRADATIONS[fault.kind].dimension for fault in draw_degradations(np.random.default_rng(seed))]
        assert len(drawn) == len(set(drawn))


@pytest.mark.parametrize(("kind", "severity"), [("blur", 0.0), ("blur", 1.5), ("blur", -1.0)])
def test_a_severity_off_the_scale_fails(kind: str, severity: float) -> None:
    with pytest.raises(ValueError, match=r"severity of blur must lie in \(0, 1\]"):
        Degradation(kind, severity)


def test_an_unknown_kind_fails() -> None:
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        Degradation("fog", 0.5)


# ---- labels and captions -----------------------------------------------------------------------------------------


@lru_cache
def from_black_to_white(frames: int = 2) -> Tensor:
    ramp = torch.linspace(0, 255, 64).byte().expand(frames, 3, 24, 64)
    return torch.cat([ramp, ramp.flip(-1)], dim=2)


def test_light_is_lacking_as_the_range_shrinks_wherever_it_lies_and_as_all_sinks_into_the_dark() -> None:
    full = from_black_to_white().float()
    costs = [cost_of_light((full * share).byte()) for share in (1.0, 0.6, 0.3, 0.15, 0.0)]
    assert costs[0] == 0.0
    assert costs == sorted(set(costs))
    assert costs[3] - costs[2] == pytest.approx(0.28, abs=0.02), "half the range"
    assert costs[-1] == 0.95
    assert cost_of_light((full * 0.3 + 120).byte()) == pytest.approx(costs[2], abs=0.03)
    assert cost_of_light(full * 0.3 / 255) == pytest.approx(costs[2], abs=0.01), "bytes or shares of full scale"
    deep = (255 * (full / 255) ** 4).byte()
    assert 0.1 < cost_of_light(deep) < 0.5
    for height, width in ((1, 1), (8, 8), (200, 7)):
        assert 0 <= cost_of_light(full[:1, :, :height, :width].byte()) <= 0.95


@pytest.mark.parametrize("kind", ["flicker", "blur", "noise", "scaling", "jitter"])
def test_what_does_not_take_light_costs_none(kind: str) -> None:
    assert cost_of_light(with_fault(kind, 0.6)[0]) == pytest.approx(cost_of_light(clean_frames()), abs=0.08)


def test_bars_above_and_below_do_not_light_a_clip() -> None:
    hazy = (from_black_to_white().float() * 0.3 + 120).byte()
    boxed = hazy.clone()
    boxed[:, :, :6] = boxed[:, :, -6:] = 0
    assert cost_of_light(boxed) == pytest.approx(cost_of_light(hazy), abs=0.01)


def test_a_dim_scene_and_a_darkened_one_that_look_alike_are_worth_the_same() -> None:
    dark, cost = with_fault("dark", 0.5)
    light = cost_of_light(dark)
    darkened, dim = (labels_for(MOVING, facts_of(MOVING), costs_seen(c, light)) for c in ({"dark": cost}, {}))
    assert darkened == dim
    assert dim["Aesthetic"] == pytest.approx(SCORE_MAX - 4 * light)
    assert light > 0.25
    tinted = labels_for(MOVING, facts_of(MOVING), costs_seen({"cast": 0.5}, 0.4))
    assert tinted["Aesthetic"] == pytest.approx(1 + 4 * 0.6 * 0.5)
    assert costs_seen({"dark": 0.1, "blur": 0.2, "contrast": 0.3}, 0.4) == {"dark": 0.4, "blur": 0.2, "contrast": 0}, (
        "the light that is lacking is charged once"
    )


def test_too_much_light_costs_what_it_burns_out() -> None:
    frames, page = clean_frames(), torch.full((4, 3, 48, 64), 250, dtype=torch.uint8)
    assert with_fault("bright", 0.5, frames // 4)[1] == 0, "a dim scene gains by it"
    mild, severe = (with_fault("bright", severity, frames)[1] for severity in (0.2, 0.9))
    assert 0 < mild < 0.5 * severe
    assert severe > 0.6
    assert with_fault("bright", 0.9, page)[1] < 0.4 * severe, "a white page stays one"


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_cost_lowers_its_own_dimension_and_overall_only(kind: str) -> None:
    rows = [labels_for(MOVING, facts_of(MOVING), {kind: cost}) for cost in (0.0, 0.1, 0.5, 0.9)]
    for name in DIMENSIONS:
        scores = [labels[name] for labels in rows]
        if name in (DEGRADATIONS[kind].dimension, "Overall"):
            assert scores == sorted(set(scores), reverse=True)
        else:
            assert set(scores) == {SCORE_MAX}


def test_wrong_statements_lower_alignment_and_overall_only_and_more_of_them_lower_it_more() -> None:
    facts, rng = facts_of(MOVING), np.random.default_rng(0)
    for _ in range(10):
        order = rng.permutation(list(facts))
        told, scores = dict(facts), []
        for name in order:
            told[name] = next(value for value in reversed(PHRASES[name]) if value != facts[name])
            scores.append(labels_for(MOVING, told, {}))
        alignment = [SCORE_MAX, *(labels["Alignment"] for labels in scores)]
        assert all(left >= right for left, right in pairwise(alignment))
        assert alignment[1] < SCORE_MAX
        assert alignment[-1] == SCORE_MIN
        for labels in scores:
            assert labels["Overall"] < SCORE_MAX
            assert {labels[name] for name in ("Traditional", "Aesthetic", "Temporal")} == {SCORE_MAX}


def test_a_colour_that_is_nearly_right_is_half_wrong() -> None:
    near, far = (labels_for(MOVING, {**facts_of(MOVING), "colour": colour}, {}) for colour in ("orange", "blue"))
    assert SCORE_MAX - near["Alignment"] == pytest.approx((SCORE_MAX - far["Alignment"]) / 2)


def test_overall_lies_between_the_worst_and_the_mean() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        costs = {fault.kind: fault.severity for fault in draw_degradations(rng)}
        labels = labels_for(MOVING, mislead(facts_of(MOVING), rng, num_wrong=1), costs)
        parts = [labels[name] for name in DIMENSIONS[:-1]]
        assert min(parts) <= labels["Overall"] <= max(parts)


def test_misleading_changes_as_many_statements_as_asked() -> None:
    facts, rng = facts_of(MOVING), np.random.default_rng(3)
    for num_wrong in range(len(ATTRIBUTES) + 2):
        told = mislead(facts, rng, num_wrong=num_wrong)
        assert sum(told[name] != facts[name] for name in facts) == min(num_wrong, len(facts))
        assert list(told) == list(facts)


def test_a_caption_says_what_it_was_told_in_words_that_are_known() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = draw_scene(rng)
        told = facts_told(scene, rng)
        caption = caption_of(told, rng)
        for name, value in told.items():
            assert any(phrase in caption for phrase in PHRASES[name][value]), (caption, told)
        assert not re.search(r"[{}]|,,| ,|  |^[ ,:]|[ ,:]$", caption), caption
        assert set(re.findall(r"[a-z0-9]+", caption)) <= caption_words()


def test_captions_of_one_scene_differ() -> None:
    rng = np.random.default_rng(0)
    assert len({caption_of(facts_told(MOVING, rng), rng) for _ in range(50)}) > 45
