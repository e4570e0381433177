"""Procedural clips: repeatable, and labelled by what is wrong with them."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.synthetic import (
    ATTRIBUTES,
    DEGRADATIONS,
    PHRASES,
    Degradation,
    Scene,
    caption_of,
    caption_words,
    degrade,
    draw_degradations,
    draw_scene,
    example_clips,
    facts_told,
    labels_for,
    make_clip,
    mislead,
    motion_energy,
    render_scene,
)

SMALL = {"num_frames": 8, "height": 48, "width": 48}
MOVING = Scene("red", "box", "tiles", "right", "left", look=4)
STILL = Scene("red", "box", "tiles", "still", "still", look=4)
KINDS = sorted(DEGRADATIONS)


@lru_cache(maxsize=1)
def clean_frames() -> np.ndarray:
    return render_scene(MOVING, duration_seconds=3.0, **SMALL)


def labels_with(*degradations: Degradation) -> dict[str, float]:
    return labels_for(MOVING, MOVING.facts(), degradations, motion=motion_energy(clean_frames()))


def frames_with(kind: str, severity: float) -> np.ndarray:
    return degrade(clean_frames(), [Degradation(kind, severity)], np.random.default_rng(1))


def test_the_same_seed_gives_the_same_clip() -> None:
    first, again, other = (make_clip(seed, **SMALL) for seed in (3, 3, 4))
    assert np.array_equal(first.frames, again.frames)
    assert (first.caption, first.labels, first.fps) == (again.caption, again.labels, again.fps)
    assert not np.array_equal(first.frames, other.frames)


@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (48, 48)])
def test_frames_have_the_size_asked_for(height: int, width: int) -> None:
    clip = make_clip(1, num_frames=6, duration_seconds=3.0, height=height, width=width)
    assert clip.frames.shape == (6, height, width, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.fps == 2.0


def test_labels_lie_on_the_scale_for_every_dimension() -> None:
    for seed in range(8):
        labels = make_clip(seed, num_frames=4, height=32, width=32).labels
        assert tuple(labels) == DIMENSIONS
        assert all(SCORE_MIN <= value <= SCORE_MAX for value in labels.values())


def test_a_clean_clip_with_a_true_caption_is_excellent_however_fast_it_moves() -> None:
    clip = make_clip(5, scene=MOVING, degradations=(), num_wrong=0, **SMALL)
    assert motion_energy(clip.frames) > 0.02
    assert clip.labels == dict.fromkeys(DIMENSIONS, SCORE_MAX)


@pytest.mark.parametrize("kind", KINDS)
def test_worse_severity_lowers_its_own_dimension_and_overall_only(kind: str) -> None:
    rows = [labels_with(), *(labels_with(Degradation(kind, severity)) for severity in (0.1, 0.5, 1.0))]
    for name in DIMENSIONS:
        scores = [labels[name] for labels in rows]
        if name in (DEGRADATIONS[kind].dimension, "Overall"):
            assert scores == sorted(set(scores), reverse=True)
        else:
            assert set(scores) == {SCORE_MAX}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"shuffle", "freeze", "pop", "saturation"}))
def test_worse_severity_changes_the_picture_more(kind: str) -> None:
    changes = [abs(frames_with(kind, severity) - clean_frames().astype(float)).mean() for severity in (0.3, 0.6, 1.0)]
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("kind", KINDS)
def test_degrading_keeps_shape_and_input_and_repeats_from_the_generator(kind: str) -> None:
    clean = clean_frames()
    before = clean.copy()
    once, again = (frames_with(kind, 0.8) for _ in range(2))
    assert once.shape == clean.shape
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)
    assert np.array_equal(clean, before)
    assert not np.array_equal(once, clean)


def test_shuffling_and_freezing_only_rearrange_frames() -> None:
    frames = {frame.tobytes() for frame in clean_frames()}
    for kind in ("shuffle", "freeze"):
        arranged = frames_with(kind, 1.0)
        assert {frame.tobytes() for frame in arranged} <= frames


def test_frames_out_of_order_cost_less_where_nothing_moves() -> None:
    told = MOVING.facts()
    shuffled = [Degradation("shuffle", 1.0)]
    still, moving = (labels_for(MOVING, told, shuffled, motion=motion)["Temporal"] for motion in (0.0, 0.1))
    assert still == SCORE_MAX
    assert moving < 2.0


def test_wrong_statements_lower_alignment_and_overall_only_and_more_of_them_lower_it_more() -> None:
    facts, rng = MOVING.facts(), np.random.default_rng(0)
    for _ in range(10):
        order = rng.permutation(list(facts))
        told, scores = dict(facts), []
        for name in order:
            told[name] = next(value for value in PHRASES[name] if value != facts[name])
            scores.append(labels_for(MOVING, told, (), motion=0.1))
        alignment = [SCORE_MAX, *(labels["Alignment"] for labels in scores)]
        assert all(left >= right for left, right in pairwise(alignment))
        assert alignment[1] < SCORE_MAX
        assert alignment[-1] == SCORE_MIN
        for labels in scores:
            assert labels["Overall"] < SCORE_MAX
            assert {labels[name] for name in ("Traditional", "Aesthetic", "Temporal")} == {SCORE_MAX}


def test_misleading_changes_as_many_statements_as_asked() -> None:
    facts, rng = MOVING.facts(), np.random.default_rng(3)
    for num_wrong in range(len(ATTRIBUTES) + 2):
        told = mislead(facts, rng, num_wrong=num_wrong)
        assert sum(told[name] != facts[name] for name in facts) == min(num_wrong, len(facts))
        assert list(told) == list(facts)


def test_a_caption_says_what_it_was_told_in_words_that_are_known() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = draw_scene(rng)
        told = facts_told(scene, rng)
        caption = caption_of(told, rng)
        for name, value in told.items():
            assert any(phrase in caption for phrase in PHRASES[name][value])
        assert "{" not in caption
        words = caption.replace(",", " ").replace(":", " ").replace("-", " ").split()
        assert set(words) <= caption_words()


def test_what_moves_has_more_motion_than_what_is_still() -> None:
    still, moving = (render_scene(scene, duration_seconds=3, **SMALL) for scene in (STILL, MOVING))
    assert motion_energy(still) < motion_energy(moving)


def test_overall_lies_between_the_worst_and_the_mean() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels = labels_for(MOVING, mislead(MOVING.facts(), rng, num_wrong=1), draw_degradations(rng), motion=0.1)
        parts = [labels[name] for name in DIMENSIONS[:-1]]
        assert min(parts) <= labels["Overall"] <= max(parts)


@pytest.mark.parametrize(("kind", "severity"), [("blur", 0.0), ("blur", 1.5), ("blur", -1.0)])
def test_a_severity_off_the_scale_fails(kind: str, severity: float) -> None:
    with pytest.raises(ValueError, match=r"severity of blur must lie in \(0, 1\]"):
        Degradation(kind, severity)


def test_an_unknown_kind_fails() -> None:
    with pytest.raises(ValueError, match="unknown degradation 'fog'"):
        Degradation("fog", 0.5)


def test_example_clips_show_four_different_things() -> None:
    clips = example_clips(num_frames=6, height=36, width=64)
    assert list(clips) == ["clean", "blurred", "unsteady", "wrong_prompt"]
    assert {clip.frames.shape for clip in clips.values()} == {(6, 36, 64, 3)}
    assert clips["clean"].labels == dict.fromkeys(DIMENSIONS, SCORE_MAX)
    lowest = {name: min(clip.labels, key=lambda dim: clip.labels[dim]) for name, clip in clips.items()}
    assert lowest["blurred"] == "Traditional"
    assert lowest["unsteady"] == "Temporal"
    assert lowest["wrong_prompt"] == "Alignment"
