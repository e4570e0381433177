"""The values that pass between modules, and the errors a person is meant to read."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN

SplitName = Literal["train", "validation"]

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
    vquala_score: float | None = None
    no_video_baseline: float | None = None
    num_shared_prompts: int = 0  # held-out clips whose prompt was trained on
    dimensions: tuple[str, ...] = DIMENSIONS  # those that had labels
    known_words: tuple[str, ...] = ()  # of a prompt, in lower case; empty where the text encoder knows English
    recipe: str = ""  # how it was trained and how long that took

    def __post_init__(self) -> None:
        """Raises ValueError for what no training run can have written: the fields may come from a file."""
        if self.kind not in LABEL_SOURCES:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(LABEL_SOURCES)}")
        for name in ("dimensions", "known_words"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON knows only lists
        if not set(self.dimensions) <= set(DIMENSIONS):
            raise ValueError(f"dimensions is {self.dimensions!r}; some of {', '.join(DIMENSIONS)} were expected")
        if not all(isinstance(word, str) for word in self.known_words):
            raise ValueError("known_words holds something else than words")
        for name in ("num_clips", "num_held_out", "num_shared_prompts"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; a count was expected")
        for name in ("description", "recipe"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; a text was expected")
        numbers = [self.vquala_score, self.no_video_baseline, *self.srocc.values()]
        if not all(number is None or type(number) in (int, float) for number in numbers):
            raise ValueError(f"srocc is {self.srocc!r}, and so on; numbers were expected")

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of `prompt` that the model never learned, in lower case; none where it knows English."""
        if not self.known_words:
            return []
        known = set(self.known_words)
        return [word for word in re.findall(r"\w+", prompt.lower()) if word not in known]

    def __str__(self) -> str:
        only = "" if self.dimensions == DIMENSIONS else f" for {', '.join(self.dimensions)} only"
        return f"{self.num_clips:,} {LABEL_SOURCES[self.kind]}{only}: {self.description}"


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


@dataclass(frozen=True)
class VideoRecord:
    """A labelled clip: its file, its prompt, and a score (1 to 5) for each dimension that was labelled.

    `name` is the video as the table names it, `line` its line in the file (the header is line 1), `split` what a
    `split` column says, else None. A dimension without a label is absent from `labels`.
    """

    name: str
    video: Path
    prompt: str
    labels: dict[str, float]
    line: int
    split: SplitName | None = None

    @property
    def prompt_key(self) -> str:
        """What two prompts that differ only in case, spacing or Unicode form have in common."""
        return prompt_key(self.prompt)


@dataclass(frozen=True)
class RecordProblem:
    """A row that will not be used, and why."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(frozen=True)
class LabelRange:
    """The range that labels were given in, mapped linearly to 1..5. `declared` is False where it was detected."""

    low: float = SCORE_MIN
    high: float = SCORE_MAX
    declared: bool = False

    def to_score(self, label: float) -> float:
        """`label`, from `low` to `high`, as a score from 1 to 5; unchanged, to the bit, where it is one already."""
        if (self.low, self.high) == (SCORE_MIN, SCORE_MAX):
            return label
        return SCORE_MIN + (label - self.low) * (SCORE_MAX - SCORE_MIN) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Split:
    """Clips to learn from and clips to validate on; `validation` is empty where a metric would mean nothing.

    `warnings` are sentences for the person who decides whether to train on it.
    """

    train: tuple[VideoRecord, ...]
    validation: tuple[VideoRecord, ...]
    warnings: tuple[str, ...] = ()


def prompt_key(prompt: str) -> str:
    """`prompt` in one case, one spacing and one Unicode form (NFKC): equal keys are the same prompt."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())
