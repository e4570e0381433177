from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vjepa_demo.app.charts import NOT_MEANINGFUL, leaderboard_chart, prediction_scatter, radar_chart
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import GroupScores, TrainedOn, TrainingResult, VideoScores


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


def group(name: str, overall: float, error: float | None = 0.1) -> GroupScores:
    return GroupScores(name, 3, 0, {"Overall": overall}, {"Overall": error})


def test_the_leaderboard_has_a_dot_a_generator_the_first_on_top():
    figure = leaderboard_chart([group("sora", 4.0, 0.25), group("<b>kling</b>", 3.5, None)])
    (dots,) = figure.data
    assert (dots.x, dots.error_x.array) == ((4.0, 3.5), (0.25, 0.0))
    assert figure.layout.yaxis.ticktext == ("sora", "‹b›kling‹/b›")
    top_is_last, bottom = figure.layout.yaxis.range[1], figure.layout.yaxis.range[0]
    assert top_is_last < dots.y[0] < dots.y[1] < bottom
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize("means", [(3.0,), (1.0, 5.0), (4.9, 5.0), (1.0, 1.0), (2.2, 2.3, 2.4)])
def test_the_axis_of_a_leaderboard_holds_every_bar_and_a_point_of_the_scale_at_least(means):
    groups = [group(str(index), mean) for index, mean in enumerate(means)]
    low, high = leaderboard_chart(groups).layout.xaxis.range
    assert high - low == pytest.approx(max(1, high - low))
    assert 0.8 <= low <= min(means)
    assert max(means) <= high <= 5.2


def test_a_leaderboard_grows_with_its_generators():
    heights = [leaderboard_chart([group(str(i), 3.0) for i in range(count)]).layout.height for count in (1, 5, 30)]
    assert 100 < heights[0] < heights[1] < heights[2] < 1200


def test_predictions_are_shown_against_the_labels_of_each_dimension_that_has_some():
    unknown = float("nan")
    labels = ((1.0, unknown, unknown, unknown, 2.0), (3.0, unknown, unknown, unknown, unknown))
    result = TrainingResult(Path("run"), 1, 1, None, (), labels, ((1.5, 2.0, 2.0, 2.0, 2.5), (3.5, 2.0, 2.0, 2.0, 4.0)))
    _, traditional, _, overall = prediction_scatter(result).data
    assert (traditional.name, traditional.x, traditional.y) == ("Traditional", (1.0, 3.0), (1.5, 3.5))
    assert (overall.name, overall.x, overall.y) == ("Overall", (2.0,), (2.5,))
    assert prediction_scatter(replace(result, labels=(), predictions=())) is None
