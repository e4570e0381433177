from __future__ import annotations

import numpy as np
import pytest

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.plots import radar_chart
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


def test_the_axis_goes_from_one_to_five_with_the_acr_words(result):
    axis = radar_chart(result).layout.polar.radialaxis
    assert axis.range == (1.0, 5.0)
    assert axis.ticktext == ("1 Bad", "2 Poor", "3 Fair", "4 Good", "5 Excellent")


def test_backgrounds_are_transparent(result):
    layout = radar_chart(result).layout
    assert {layout.paper_bgcolor, layout.plot_bgcolor, layout.polar.bgcolor} == {"rgba(0,0,0,0)"}
