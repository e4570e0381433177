from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vjepa_demo.app.charts import NOT_MEANINGFUL, leaderboard_chart, radar_chart
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import TrainedOn, VideoScores


@pytest.fixture
def result() -> VideoScores:
    return VideoScores(
        video="clip.mp4",
        prompt="a cat",
        model="demo",
        trained_on=TrainedOn("procedural", 10, "ten clips"),
        scores=dict(zip(DIMENSIONS, (1.0, 2.25, 3.0, 4.5, 5.0), strict=True)),
        seconds={"decode": 0.1, "video": 0.2, "text": 0.01, "head": 0.001},
        duration_seconds=1.0,
        frames=np.zeros((2, 8, 8, 3), np.uint8),
        frame_seconds=(0.25, 0.75),
    )


def test_the_radar_shows_each_score_on_its_axis_and_closes(result):
    trace = radar_chart(result).data[0]
    assert trace.r == (1.0, 2.25, 3.0, 4.5, 5.0, 1.0)
    assert [label.split("<br>")[0] for label in trace.theta] == [*DIMENSIONS, DIMENSIONS[0]]
    assert trace.theta[1] == "Alignment<br><b>2.25</b>"


def test_the_radar_does_not_give_a_number_that_means_nothing(result):
    knows = replace(result.trained_on, known_words=("a", "dog"))
    trace = radar_chart(replace(result, trained_on=knows)).data[0]
    assert trace.theta[1] == f"Alignment<br>{NOT_MEANINGFUL}"
    assert trace.marker.symbol == ("circle", "circle-open", "circle", "circle", "circle", "circle")


def test_the_axis_goes_from_one_to_five_with_the_acr_words(result):
    axis = radar_chart(result).layout.polar.radialaxis
    assert axis.range == (1.0, 5.0)
    assert axis.ticktext == ("1 Bad", "2 Poor", "3 Fair", "4 Good", "5 Excellent")


def test_backgrounds_are_transparent(result):
    layout = radar_chart(result).layout
    assert {layout.paper_bgcolor, layout.plot_bgcolor, layout.polar.bgcolor} == {"rgba(0,0,0,0)"}


def test_the_leaderboard_has_a_dot_a_generator_the_first_on_top():
    groups = [("sora", {"Overall": 4.0, "Temporal": 2.5}, {"Overall": 0.25, "Temporal": None}), ("none", {}, {})]
    groups.append(("<b>kling</b>", {"Overall": 3.5, "Temporal": 4.5}, {"Overall": None, "Temporal": 0.5}))
    figure = leaderboard_chart(groups)
    (dots,) = figure.data
    assert (dots.x, dots.error_x.array) == ((4.0, 3.5), (0.25, 0.0))
    assert figure.layout.yaxis.ticktext == ("sora", "‹b›kling‹/b›")
    top_is_last, bottom = figure.layout.yaxis.range[1], figure.layout.yaxis.range[0]
    assert top_is_last < dots.y[0] < dots.y[1] < bottom
    assert leaderboard_chart(groups, dimension="Temporal").data[0].x == (2.5, 4.5)
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize("means", [(), (3.0,), (1.0, 5.0), (4.9, 5.0), (1.0, 1.0), (2.2, 2.3, 2.4)])
def test_the_axis_of_a_leaderboard_holds_every_bar_and_a_point_of_the_scale_at_least(means):
    groups = [(str(index), {"Overall": mean}, {"Overall": 0.1}) for index, mean in enumerate(means)]
    low, high = leaderboard_chart(groups).layout.xaxis.range
    assert high - low == pytest.approx(max(1, high - low))
    assert 0.8 <= low <= min(means, default=1)
    assert max(means, default=5) <= high <= 5.2


def test_a_leaderboard_grows_with_its_generators():
    heights = [
        leaderboard_chart([(str(i), {"Overall": 3.0}, {"Overall": 0.1}) for i in range(count)]).layout.height
        for count in (1, 5, 30)
    ]
    assert 100 < heights[0] < heights[1] < heights[2] < 1200
