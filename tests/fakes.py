"""Scores that a page can show without a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.schema import TrainedOn, VideoScores

RESULT = VideoScores(
    video="/server/tmp/my clip.mp4",
    prompt="a <b>cat</b>",
    model="demo",
    trained_on=TrainedOn("procedural", 6000, "moving shapes", {"Temporal": 0.71}, 400),
    scores=dict(zip(DIMENSIONS, (1.0, 2.25, 3.0, 4.5, 5.0), strict=True)),
    seconds={"decode": 0.1, "video": 0.2, "text": 0.01, "head": 0.0},
    duration_seconds=1.5,
    frames=np.zeros((2, 8, 8, 3), np.uint8),
    frame_seconds=(0.25, 0.75),
)


class FakeScorer:
    """Answers `RESULT`, or raises what it was given."""

    hardware = "CPU test"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def expected_seconds(self, num_clips=1):
        return None

    def score(self, video, prompt, *, on_step, **_):
        if self.error is not None:
            raise self.error
        for step in ("decode", "video", "text", "head"):
            on_step(step)
        return replace(RESULT, video=video, prompt=prompt)
