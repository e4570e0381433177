from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from vjepa_demo.config import DEMO_VIEWS, ClipConfig, View
from vjepa_demo.media.sampling import (
    Timeline,
    clip_views,
    differences,
    fragments,
    frame_times,
    resized_shape,
    surroundings,
    thumbnail,
    uniform_indices,
    view_frames,
    view_indices,
    window_indices,
    window_region,
)


def test_frame_times_are_the_centres_of_equal_parts():
    assert frame_times(0.0, 4.0, 4) == [0.5, 1.5, 2.5, 3.5]
    assert frame_times(1.4, 1.4, 2) == [1.4, 1.4]


def test_uniform_indices_are_the_centres_of_equal_parts():
    assert uniform_indices(8, 8) == list(range(8))
    assert uniform_indices(100, 4) == [12, 37, 62, 87]
    assert uniform_indices(2, 4) == [0, 0, 1, 1]


def test_a_full_window_is_the_consecutive_frames_in_the_middle():
    assert window_indices(100, 30.0, 16, 16) == list(range(42, 58))
    assert window_indices(16, 24.0, 16, 16) == list(range(16))


def test_fewer_frames_of_a_window_are_pairs_of_neighbours_within_it():
    assert window_indices(100, 30.0, 16, 4) == [45, 46, 53, 54]
    assert set(window_indices(100, 30.0, 16, 4)) <= set(window_indices(100, 30.0, 16, 16))


@pytest.mark.parametrize(("rate", "step"), [(12.0, 1), (25.0, 1), (44.0, 1), (50.0, 2), (59.94, 2), (120.0, 4)])
def test_a_window_of_a_fast_video_skips_frames(rate, step):
    indices = window_indices(1000, rate, 16, 16)
    assert {after - before for before, after in pairwise(indices)} == {step}


def test_a_video_shorter_than_the_window_repeats_its_ends():
    assert window_indices(3, 30.0, 8, 8) == [0, 0, 0, 0, 1, 2, 2, 2]
    assert window_indices(1, 30.0, 4, 4) == [0, 0, 0, 0]


def test_a_short_clip_of_many_frames_a_second_is_no_stutter():
    assert window_indices(40, 120.0, 16, 16) == list(range(4, 36, 2))
    assert window_indices(30, 60.0, 16, 16) == list(range(7, 23))


def test_windows_of_two_looks_lie_around_a_quarter_and_three_quarters():
    assert window_indices(100, 30.0, 16, 16, place=0.25) == list(range(17, 33))
    assert window_indices(100, 30.0, 16, 16, place=0.75) == list(range(67, 83))


@pytest.mark.parametrize(("count", "first"), [(40, (2, 22)), (20, (0, 4)), (16, (0, 0))])
def test_windows_of_a_short_clip_stay_inside_it(count, first):
    windows = [window_indices(count, 30.0, 16, 16, place=place) for place in (0.25, 0.75)]
    assert windows == [list(range(start, start + 16)) for start in first]
    assert window_indices(3, 30.0, 8, 8, place=0.25) == window_indices(3, 30.0, 8, 8)


def test_looks_at_the_whole_clip_interleave():
    looks = [uniform_indices(96, 8, place=place) for place in (0.25, 0.75)]
    assert looks == [list(range(3, 96, 12)), list(range(9, 96, 12))]
    both = [time for place in (0.25, 0.75) for time in frame_times(0.0, 4.0, 4, place=place)]
    assert sorted(both) == frame_times(0.0, 4.0, 8)


def test_every_second_look_is_mirrored():
    whole = View(num_frames=2, framing="squeeze")
    config = ClipConfig(crop_size=32, views=(whole, replace(whole, window=2)), looks=3)
    frames = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)  # so short that all looks coincide
    views = clip_views(frames, 30.0, config)
    assert [torch.equal(view, frames) for view in views] == [True, True, False, False, True, True]
    assert torch.equal(views[2], frames.flip(-1))


def test_a_view_of_the_whole_clip_counts_what_is_shown_at_its_times():
    assert view_indices(View(), 12, 24.0, ClipConfig(num_frames=6, crop_size=56)) == [1, 3, 5, 7, 9, 11]


# ---- windows of own frames and of one shot ---------------------------------------------------------------------------

DENSE = ClipConfig(num_frames=16, crop_size=32, views=(View(num_frames=16, window=16),))


def moving(count: int, *, seed: int = 0, low: int = 0) -> torch.Tensor:
    """Frames (T, 3, 32, 32) float32 of a texture that moves on by about the same each time; from `low` levels up."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 5 + count // 4, generator=generator) * 100 + low
    strip = F.interpolate(coarse, scale_factor=8, mode="bilinear")[0]
    return torch.stack([strip[:, :, 2 * place : 2 * place + 32] for place in range(count)])


def window_of(frames: torch.Tensor, rate: float, *, place: float = 0.5) -> list[int]:
    """The window of a clip of these frames."""
    line = Timeline(len(frames), rate)
    config = replace(DENSE, looks=1)
    region = window_region(len(frames), rate, config, place=place)
    found = surroundings(region, frames[region.start : region.stop], len(frames), rate)
    window = found.window(config.views[0], config, place=place)
    if place == 0.5:
        assert line.settled(config, {index: frames[index] for index in line.around(config)}) == [window]
    return window


def rerated(count: int, share: float) -> torch.Tensor:
    """The own frame, of `count`, that each frame shows of a clip re-rated so that `share` of its frames are new."""
    return (torch.arange(int(count / share)) * share + 1e-6).long()


@pytest.mark.parametrize("place", [0.5, 0.25])
@pytest.mark.parametrize(
    ("own_rate", "share"),
    [(24.0, 4 / 5), (30.0, 1 / 2), (25.0, 5 / 6), (8.0, 4 / 5), (24.0, 2 / 5), (25.0, 25 * 1001 / 30000)],
)
@pytest.mark.parametrize("count", [60, 119, 150])
def test_a_re_rated_clip_has_the_window_of_the_original(own_rate, share, count, place):
    frames, shows = moving(count), rerated(count, share)
    window = window_of(frames[shows], own_rate / share, place=place)
    expected = window_indices(int(shows[-1]) + 1, own_rate, 16, 16, place=place)
    assert [int(shows[frame]) for frame in window] == expected
    assert window == sorted(set(window))


@pytest.mark.parametrize("hold", [2, 3, 4, 6, 12])
@pytest.mark.parametrize("rate", [8.0, 24.0, 30.0])
def test_a_stutter_stays(hold, rate):
    frames = moving(120)[torch.arange(120) // hold * hold]
    assert window_of(frames, rate) == window_indices(120, rate, 16, 16)


@pytest.mark.parametrize("share", [4 / 5, 2 / 3, 2 / 5])
def test_frames_that_were_lost_leave_a_leap_and_stay(share):
    shows = rerated(120, share)
    began = torch.tensor([shows.tolist().index(own) for own in shows.tolist()])  # what was shown when the hold began
    frames = moving(len(shows))[began]
    assert window_of(frames, 60.0) == window_indices(len(shows), 60.0, 16, 16)


def test_repeats_without_a_rhythm_stay():
    generator = torch.Generator().manual_seed(1)
    shows = torch.rand(150, generator=generator).ge(0.3).long().cumsum(0)
    assert window_of(moving(151)[shows], 30.0) == window_indices(150, 30.0, 16, 16)


def test_a_still_clip_and_one_of_a_few_frames_are_left_alone():
    still = moving(1).expand(100, -1, -1, -1)
    assert window_of(still, 30.0) == window_indices(100, 30.0, 16, 16)
    for count in (1, 2, 5):
        assert window_of(moving(count), 30.0) == window_indices(count, 30.0, 16, 16)


@pytest.mark.parametrize("cut", [44, 49, 51, 57])
def test_a_window_lies_in_the_shot_that_has_most_of_it(cut):
    frames = torch.cat([moving(cut), moving(100 - cut, seed=1, low=150)])
    start = cut if cut <= 50 else cut - 16
    assert window_of(frames, 30.0) == list(range(start, start + 16))
    assert window_of(frames[rerated(100, 4 / 5)], 30.0) == [
        int(torch.nonzero(rerated(100, 4 / 5) == own)[0]) for own in range(start, start + 16)
    ]


def test_a_window_stays_where_no_shot_is_long_enough():
    parts = [moving(10, seed=seed, low=150 * (seed % 2)) for seed in range(10)]
    assert window_of(torch.cat(parts), 30.0) == window_indices(100, 30.0, 16, 16)
    halves = torch.cat([moving(10), moving(10, low=150)])
    assert window_of(halves, 30.0) == window_indices(20, 30.0, 16, 16)


def test_jumps_shuffles_flicker_and_slides_of_one_scene_are_no_cuts():
    frames, generator = moving(160), torch.Generator().manual_seed(2)
    versions = {
        "jump": frames[torch.cat([torch.arange(50), torch.arange(110, 160)])],
        "shuffle": frames[torch.randperm(100, generator=generator)],
        "flicker": frames[:100] * torch.rand(100, 1, 1, 1, generator=generator).add(0.7),
        "slides": frames[torch.arange(100) // 25 * 25],
    }
    for name, version in versions.items():
        assert window_of(version, 30.0) == window_indices(100, 30.0, 16, 16), name


def test_thumbnails_are_small_and_show_the_whole_frame():
    frames = torch.zeros(2, 3, 720, 1280, dtype=torch.uint8)
    frames[1, ..., 640:] = 200
    small = thumbnail(frames)
    assert small.shape == (2, 3, 32, 56)
    assert small[1, ..., :27].max() == 0
    assert small[1, ..., 29:].min() == 200
    assert thumbnail(frames[..., :8, :20]).shape == (2, 3, 8, 20)


def test_frames_that_stay_for_longer_take_more_slots():
    line = Timeline.timed([0.0, 0.1, 0.2, 0.5, 0.6], 0.7, 10.0)
    assert [line.frame(slot) for slot in range(line.num_slots)] == [0, 1, 2, 2, 2, 3, 4]


@pytest.mark.parametrize(("height", "width"), [(96, 130), (130, 96), (128, 128), (720, 1280), (1080, 800)])
def test_every_view_of_demo_is_the_encoders_square(height, width):
    config = ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS)
    frames = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    for view in DEMO_VIEWS:
        assert view_frames(frames, view, config).shape == (2, 3, 128, 128)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(720, 1280, (146, 259)), (1280, 720, (259, 146)), (100, 100, (146, 146))]
)
def test_the_shortest_edge_is_resized_and_the_other_rounded_down(height, width, expected):
    assert resized_shape(height, width, 146) == expected


def test_a_squeezed_view_reaches_every_edge_and_a_cropped_one_does_not():
    frames = torch.zeros(1, 3, 64, 256, dtype=torch.uint8)
    frames[..., :40] = 255
    config = ClipConfig(num_frames=2, crop_size=64)
    assert view_frames(frames, View(framing="squeeze"), config).float().mean() == pytest.approx(40, abs=1)
    assert view_frames(frames, View(edge=64), config).max() == 0


def test_fragments_are_unscaled_pieces_from_all_over_the_frame():
    rows, columns = torch.meshgrid(torch.arange(100), torch.arange(200), indexing="ij")
    pieces = fragments(torch.stack([rows, columns])[None], 8, 2)[0]  # (2, 8, 8)
    assert pieces[0, :, 0].tolist() == [23, 24, 25, 26, 73, 74, 75, 76]
    assert pieces[1, 0].tolist() == [48, 49, 50, 51, 148, 149, 150, 151]


def test_fragments_shrink_only_what_is_larger_than_their_edge():
    config, view = ClipConfig(num_frames=2, crop_size=32), View(framing="fragments", edge=64, grid=2)
    noise = torch.randint(0, 2, (1, 3, 64, 80), dtype=torch.uint8) * 255
    assert set(view_frames(noise, view, config).unique().tolist()) == {0, 255}  # no pixel is mixed with others
    assert len(view_frames(noise.repeat(1, 1, 2, 2), view, config).unique()) > 2


def test_differences_are_twice_the_change_around_grey_and_as_many_as_the_frames():
    frames = torch.tensor([100, 110, 105, 255, 0, 0], dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    changes = differences(frames)
    assert changes.dtype == torch.uint8
    assert changes.shape == frames.shape
    assert changes[:, 0, 0, 0].tolist() == [148, 148, 118, 255, 0, 128]
    assert torch.equal(differences(frames.flip(-1)), changes.flip(-1))
