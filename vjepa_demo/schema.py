"""The values that pass between modules, and the errors a person is meant to read."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from vjepa_demo.config import (
    DIMENSIONS,
    MAX_COMPARED,
    MAX_PROMPT_CHARACTERS,
    MIN_COMPARED,
    SCORE_MAX,
    SCORE_MIN,
)

SplitName = Literal["train", "validation"]

SHOWN_DECIMALS = 2  # of a score, wherever a person reads it
DIGEST_CHARACTERS = 12  # two of a million clips share one with a chance of 0.2 %
SHOWN_WORDS = 300  # of those that a model knows
WORD = re.compile(r"[^\W_]+")
SHOWN_UNREAD = 48  # letters
OVERALL_MEANS_LESS = "Overall, which the prompt moves too, means less"  # where Alignment means nothing
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


def words_of(prompt: str) -> list[re.Match[str]]:
    """Where the words of a prompt are: runs of letters and digits, as in `TrainedOn.known_words`; where there are
    none, runs of signs, such as emoji."""
    return list(WORD.finditer(prompt)) or list(re.finditer(r"\S+", prompt))


@dataclass(frozen=True)
class TrainedOn:
    """What a head learned from, and how well it did on clips it had not seen.

    `kind` says where the labels came from: the generator of procedural clips, or people. `srocc` maps a
    dimension to its held-out Spearman correlation; a dimension for which it is undefined is absent. `digests` tell
    the clips it learned from (see `content_digest`), sorted; none where an older version of this program trained it.
    """

    kind: Literal["procedural", "human"]
    num_clips: int
    description: str
    srocc: dict[str, float] = field(default_factory=dict)
    num_held_out: int = 0
    vquala_score: float | None = None
    no_video_baseline: float | None = None
    num_shared_prompts: int | None = 0  # held-out clips whose prompt was trained on; None where nobody counted
    dimensions: tuple[str, ...] = DIMENSIONS  # those that had labels
    known_words: tuple[str, ...] = ()  # of a prompt, in lower case; empty where the text encoder knows English
    recipe: str = ""  # how it was trained and how long that took
    measured: dict[str, str] = field(default_factory=dict)  # what else was measured, such as on real clips: the value
    digests: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises ValueError for what no training run can have written: the fields may come from a file."""
        if self.kind not in LABEL_SOURCES:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(LABEL_SOURCES)}")
        for name in ("dimensions", "known_words", "digests"):
            if not isinstance(getattr(self, name), list | tuple):
                raise ValueError(f"{name} is {repr(getattr(self, name))[:40]}; a list was expected")
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON knows only lists
        if not all(isinstance(digest, str) for digest in self.digests):
            raise ValueError(f"digests is {repr(self.digests)[:40]}; texts were expected")
        if not set(self.dimensions) <= set(DIMENSIONS):
            raise ValueError(f"dimensions is {self.dimensions!r}; some of {', '.join(DIMENSIONS)} were expected")
        if not all(isinstance(word, str) for word in self.known_words):
            raise ValueError("known_words holds something else than words")
        for name in ("num_clips", "num_held_out", "num_shared_prompts"):
            count = getattr(self, name)
            if (type(count) is not int or count < 0) and not (count is None and name == "num_shared_prompts"):
                raise ValueError(f"{name} is {count!r}; a count was expected")
        for name in ("description", "recipe"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; a text was expected")
        if not all(isinstance(text, str) for pair in self.measured.items() for text in pair):
            raise ValueError(f"measured is {self.measured!r}; texts were expected")
        numbers = [self.vquala_score, self.no_video_baseline, *self.srocc.values()]
        if not all(number is None or type(number) in (int, float) for number in numbers):
            raise ValueError(f"srocc is {self.srocc!r}, and so on; numbers were expected")

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        """The words (`words_of`) of `prompt` that the text encoder never met, in lower case, each once; none where it
        knows English. Where there are any, Alignment means nothing."""
        words = dict.fromkeys(match.group().lower() for match in words_of(prompt)) if self.known_words else {}
        return tuple(word for word in words if word not in self.known_words)

    @property
    def caution(self) -> str:
        """What a model that never met a human opinion must not be taken for; nothing for one that did."""
        if self.kind == "human":
            return ""
        return (
            "Learned from drawn clips, not from people: compare versions of one clip, take no score as a verdict. On "
            "real footage trust Traditional and Temporal more than Aesthetic, Alignment and Overall."
        )

    @property
    def known_words_in_short(self) -> str:
        """`known_words` as a list in a sentence, cut where it is long."""
        more = len(self.known_words) - SHOWN_WORDS
        return ", ".join(self.known_words[:SHOWN_WORDS]) + (f" and {more:,} more" if more > 0 else "")

    def __str__(self) -> str:
        only = "" if self.dimensions == DIMENSIONS else f" for {', '.join(self.dimensions)} only"
        return f"{self.num_clips:,} {LABEL_SOURCES[self.kind]}{only}: {self.description}"


@dataclass(frozen=True)
class VideoScores:
    """Five mean opinion scores of one video with one prompt, and what they rest on.

    `scores` maps each of `DIMENSIONS`, in that order, to a value from 1 (Bad) to 5 (Excellent).
    `seconds` maps "decode", "video", "text" and "head" to the seconds each step took; a step whose
    result was remembered took 0. `views` say what the model looked at. `frames` (T, H, W, 3) uint8 is what it saw in
    the first of them, at `frame_seconds` (T,), `more_frames` in the others; None and () where nobody needs them.
    """

    video: str
    prompt: str
    model: str
    trained_on: TrainedOn
    scores: dict[str, float]
    seconds: dict[str, float]
    duration_seconds: float
    frames: np.ndarray | None = field(repr=False, compare=False)
    frame_seconds: tuple[float, ...] = field(repr=False)
    sha256: str | None = field(default=None, repr=False)  # of the file's bytes, in hexadecimal, where it is known
    views: tuple[str, ...] = field(default=(), repr=False)
    more_frames: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)
    unread: str = ""  # the end of a prompt that is longer than the model reads

    def __post_init__(self) -> None:
        if tuple(self.scores) != DIMENSIONS:
            raise ValueError(f"scores must be for {DIMENSIONS} in this order, got {tuple(self.scores)}")

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The words of the prompt that the model does not know; where there are any, Alignment means nothing."""
        return self.trained_on.unknown_words(self.prompt)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The dimensions whose score means nothing here."""
        return ("Alignment",) if self.unknown_words else ()

    @property
    def too_long(self) -> str:
        """What is to be said where the model did not read the prompt to its end; else nothing."""
        if not self.unread:
            return ""
        begin = textwrap.shorten(self.unread, SHOWN_UNREAD, placeholder=" ...")
        return f"The prompt is longer than the model reads: nothing from “{begin}” on counts."

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the command line prints and the API returns."""
        return {
            "video": self.video,
            "prompt": self.prompt,
            "model": self.model,
            "trained_on": str(self.trained_on),
            "scores": dict(self.scores),
            "unknown_words": list(self.unknown_words),
            "unread": self.unread,
            "seconds": dict(self.seconds),
        }


COMPARISON_FORMAT, COMPARISON_VERSION = "vjepa-demo comparison", 1


Video = TypeVar("Video")


def to_compare(videos: Sequence[Video], prompts: Sequence[str]) -> list[tuple[Video, str]]:
    """Each of `videos` with its own of `prompts`, or with the one there is for all.

    Raises:
        RecordError: if that many cannot be compared, or the prompts are more or fewer.
    """
    if not MIN_COMPARED <= len(videos) <= MAX_COMPARED:
        many = f"{len(videos)} video{'s' * (len(videos) != 1)}"
        raise RecordError(f"got {many}; {MIN_COMPARED} to {MAX_COMPARED} can be compared")
    if len(prompts) not in (1, len(videos)):
        many = f"{len(prompts)} prompt{'s' * (len(prompts) != 1)}"
        raise RecordError(f"got {many} for {len(videos)} videos; one for all, or one for each")
    return list(zip(videos, [*prompts] * (len(videos) // len(prompts)), strict=True))


@dataclass(frozen=True)
class Comparison:
    """Two to four videos scored by one model; the others are compared with the first."""

    results: tuple[VideoScores, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be compared."""
        if not MIN_COMPARED <= len(self.results) <= MAX_COMPARED:
            raise ValueError(f"{len(self.results)} results; {MIN_COMPARED} to {MAX_COMPARED} can be compared")
        first, *others = ((result.model, result.trained_on) for result in self.results)
        if any(other != first for other in others):
            raise ValueError("scores of different models cannot be compared: score all videos with one model")

    @property
    def model(self) -> str:
        """The model that gave all scores."""
        return self.results[0].model

    @property
    def trained_on(self) -> TrainedOn:
        """What that model learned from."""
        return self.results[0].trained_on

    @property
    def differences(self) -> tuple[dict[str, float], ...]:
        """Of each result its scores minus the first's, rounded to four decimals as scores are; the first's are 0."""
        first = self.results[0].scores
        return tuple(
            {name: round(score - first[name], 4) for name, score in result.scores.items()} for result in self.results
        )

    @property
    def shown_differences(self) -> tuple[dict[str, float], ...]:
        """Of each result its scores minus the first's, both as they are shown, so that a reader's sum comes out."""
        return tuple(
            {name: round(scores[index] - scores[0], SHOWN_DECIMALS) for name, scores in self._shown.items()}
            for index in range(len(self.results))
        )

    @property
    def best(self) -> dict[str, tuple[int, ...]]:
        """For each dimension the indices of the results with the highest score, compared at `SHOWN_DECIMALS`.

        Several where they are shown as equal: a thousandth says nothing about which is better. None where a score of
        one of them means nothing.
        """
        return {
            name: tuple(
                index for index, score in enumerate(scores) if score == max(scores) and name not in self.doubtful
            )
            for name, scores in self._shown.items()
        }

    @property
    def _shown(self) -> dict[str, list[float]]:
        """For each dimension the scores of the results as they are shown."""
        return {name: [round(result.scores[name], SHOWN_DECIMALS) for result in self.results] for name in DIMENSIONS}

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The dimensions in which the score of a result means nothing."""
        return tuple(name for name in DIMENSIONS if any(name in result.doubtful for result in self.results))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the command line prints, the API returns and the page exports and opens again."""
        results = [
            {
                **result.to_dict(),
                "differences": differences,
                "duration_seconds": result.duration_seconds,
                "frame_seconds": list(result.frame_seconds),
                "sha256": result.sha256,
            }
            for result, differences in zip(self.results, self.differences, strict=True)
        ]
        return {
            "format": COMPARISON_FORMAT,
            "version": COMPARISON_VERSION,
            "model": self.model,
            "trained_on": str(self.trained_on),
            "training": {name: value for name, value in asdict(self.trained_on).items() if name != "digests"}
            | {"known_words": self._known_words_of_the_prompts()},
            "results": results,
            "best": {name: list(indices) for name, indices in self.best.items()},
        }

    def _known_words_of_the_prompts(self) -> tuple[str, ...]:
        """What tells the words of the prompts that are not known; all of them may be thousands."""
        words = {word.lower() for result in self.results for word in WORD.findall(result.prompt)}
        known = self.trained_on.known_words
        return tuple(word for word in known if word in words) or known[:1]

    @classmethod
    def from_dict(cls, value: Any) -> Comparison:
        """What `to_dict` wrote; differences and best are computed anew, frames are not in it.

        Raises:
            RecordError: if `value` is no such object, or damaged.
        """
        if not isinstance(value, dict) or value.get("format") != COMPARISON_FORMAT:
            raise RecordError("this is no comparison of this program: open a JSON file that its Compare tab exported")
        if value.get("version") != COMPARISON_VERSION:
            raise RecordError(
                f"this comparison has version {value.get('version')!r}; {COMPARISON_VERSION} can be read: "
                "use a newer version of this program"
            )
        try:
            trained_on = TrainedOn(**value["training"])
            return cls(tuple(_result_from_dict(each, value["model"], trained_on) for each in value["results"]))
        except KeyError as error:
            raise RecordError(f"this comparison is damaged: {error} is missing; export it again") from error
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise RecordError(f"this comparison is damaged: {error}; export it again") from error


def _result_from_dict(value: dict[str, Any], model: str, trained_on: TrainedOn) -> VideoScores:
    """A result of `Comparison.to_dict`, without frames. Raises KeyError, TypeError or ValueError for anything else."""
    return VideoScores(
        video=_text("video", value["video"]),
        prompt=_text("prompt", value["prompt"]),
        model=_text("model", model),
        trained_on=trained_on,
        scores={name: _number(value["scores"][name], SCORE_MIN, SCORE_MAX) for name in DIMENSIONS},
        seconds={str(step): _number(seconds) for step, seconds in value["seconds"].items()},
        duration_seconds=_number(value["duration_seconds"]),
        frames=None,
        frame_seconds=tuple(_number(seconds) for seconds in value["frame_seconds"]),
        sha256=_text("sha256", value["sha256"] or "") or None,
        unread=_text("unread", value.get("unread", "")),
    )


def _text(name: str, value: Any) -> str:
    """`value`, a text that is not too long. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > MAX_PROMPT_CHARACTERS:
        raise ValueError(
            f"{name} is {repr(value)[:40]}; a text of {MAX_PROMPT_CHARACTERS:,} letters at most was expected"
        )
    return value


def _number(value: Any, low: float = 0.0, high: float = float("inf")) -> float:
    """`value`, a finite number from `low` to `high`. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not low <= value <= high or value == float("inf"):
        raise ValueError(f"{repr(value)[:40]} is no number from {low:g} to {high:g}")
    return float(value)


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


def check_prompt(prompt: str | None) -> str:
    """`prompt` without blanks around it.

    Raises:
        RecordError: if nothing is left, or too much.
    """
    prompt = (prompt or "").strip()
    if not prompt:
        raise RecordError("the prompt is empty: type the text the video was made from, Alignment is judged by it")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise RecordError(f"the prompt has {len(prompt):,} characters; {MAX_PROMPT_CHARACTERS:,} at most: shorten it")
    return prompt


def content_digest(sha256: str) -> str:
    """The short digest that a checkpoint remembers a clip by, of the SHA-256 of the clip's bytes in hexadecimal."""
    return sha256[:DIGEST_CHARACTERS]


def prompt_key(prompt: str) -> str:
    """`prompt` in one case, one spacing and one Unicode form (NFKC): equal keys are the same prompt."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())
