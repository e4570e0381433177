"""The values that pass between modules, and the errors a person is meant to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vjepa_demo.config import DIMENSIONS

LABEL_SOURCES = {"procedural": "procedural clips", "human": "clips with human labels"}


class DemoError(Exception):
    """Something the person can mend: the message says what was got, what was expected and what to do."""


class VideoError(DemoError):
    """A file that cannot be scored as a video."""


class RecordError(DemoError):
    """A prompt, or a row of labels, that cannot be used."""


class CheckpointError(DemoError):
    """A checkpoint that is missing, incomplete or not one of this program's."""


class ModelError(DemoError):
    """A model that cannot be had, or must not score."""


@dataclass(frozen=True)
class TrainedOn:
    """What a head learned from, and how well it did on clips it had not seen.

    `kind` says where the labels came from: the generator of procedural clips, or people. `srocc` maps a
    dimension to its held-out Spearman correlation; a dimension for which it is undefined is absent.
    """

    kind: Literal["procedural", "human"]
    num_clips: int
    description: str
    srocc: dict[str, float] = field(default_factory=dict)
    num_held_out: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what no training run can have written: the fields may come from a file."""
        if self.kind not in LABEL_SOURCES:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(LABEL_SOURCES)}")
        if not isinstance(self.num_clips, int) or not isinstance(self.num_held_out, int):
            raise ValueError(f"clips are counted, got {self.num_clips!r} and {self.num_held_out!r}")
        if not all(name in DIMENSIONS and isinstance(value, float | int) for name, value in self.srocc.items()):
            raise ValueError(f"srocc is {self.srocc!r}; a number for each dimension was expected")

    def __str__(self) -> str:
        return f"{self.num_clips:,} {LABEL_SOURCES[self.kind]}: {self.description}"


@dataclass(frozen=True)
class VideoScores:
    """Five mean opinion scores of one video with one prompt, and what they rest on.

    `scores` maps each of `DIMENSIONS`, in that order, to a value from 1 (Bad) to 5 (Excellent).
    `seconds` maps "decode", "video", "text" and "head" to the seconds each step took; a step whose
    result was remembered took 0. `frames` (T, H, W, 3) uint8 is what the model saw, at `frame_seconds` (T,).
    """

    video: str
    prompt: str
    model: str
    trained_on: TrainedOn
    scores: dict[str, float]
    seconds: dict[str, float]
    duration_seconds: float
    frames: np.ndarray = field(repr=False, compare=False)
    frame_seconds: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if tuple(self.scores) != DIMENSIONS:
            raise ValueError(f"scores must be for {DIMENSIONS} in this order, got {tuple(self.scores)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the command line prints and the API returns."""
        return {
            "video": self.video,
            "prompt": self.prompt,
            "model": self.model,
            "trained_on": str(self.trained_on),
            "scores": dict(self.scores),
            "seconds": dict(self.seconds),
        }
