"""Scores and what they rest on: one video's, several videos' side by side, and what the model learned from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from vjepa_demo.config import (
    DIMENSIONS,
    MAX_COMPARED,
    MAX_PROMPT_CHARACTERS,
    MIN_COMPARED,
    NEUTRAL_PROMPT,
    SCORE_MAX,
    SCORE_MIN,
)
from vjepa_demo.ranges import LEARNED, check, shown
from vjepa_demo.schema.errors import RecordError
from vjepa_demo.schema.pairs import PairsLearned
from vjepa_demo.schema.text import well_formed

SHOWN_DECIMALS = 2  # of a score, wherever a person reads it
SCORE_DECIMALS = 4  # of a score, wherever a program reads it
DIGEST_CHARACTERS = 12  # two of a million clips share one with a chance of 0.2 %
CLEAR_STANDARD_ERRORS = 2.0  # a lead larger than this many of its standard errors is called one (95 %)
WORD = re.compile(r"[^\W_]+")
LabelSource = Literal["procedural", "human", "undeclared"]
LABEL_SOURCES: dict[LabelSource, str] = {
    "procedural": "procedural clips",
    "human": "clips with human labels",
    "undeclared": "labelled clips",
}
PAIR_SOURCES: dict[LabelSource, str] = {
    "procedural": "procedural pairs",
    "human": "pairs that people judged",
    "undeclared": "judged pairs",
}
# A model beside the no-video baseline; "undefined" where its scores, or the labels, were all alike.
Standing = Literal["beats", "unclear", "does not beat", "undefined"]
# Why a model cannot judge a dimension of a video; `wording` has the sentences.
Doubt = Literal["unknown_words", "single_frame", "no_labels"]


def check_prompt(prompt: str | None) -> str:
    """`prompt` without blanks around it, `well_formed`.

    Raises:
        RecordError: if nothing is left, or if it is too long.
    """
    prompt = well_formed(prompt or "").strip()
    if not prompt:
        raise RecordError("the prompt is empty: type the text the video was made from, Alignment is judged by it")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise RecordError(f"the prompt has {len(prompt):,} characters; {MAX_PROMPT_CHARACTERS:,} at most: shorten it")
    return prompt


def prompt_key(prompt: str) -> str:
    """`prompt` in one case, one spacing and one Unicode form (NFKC): equal keys are the same prompt."""
    return " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())


def content_digest(sha256: str) -> str:
    """The short digest that a checkpoint remembers a clip by, of the SHA-256 of the clip's bytes in hexadecimal."""
    return sha256[:DIGEST_CHARACTERS]


def words_of(prompt: str) -> list[re.Match[str]]:
    """Where the words of a prompt are: runs of letters and digits. Without any, runs of signs, such as emoji."""
    return list(WORD.finditer(prompt)) or list(re.finditer(r"\S+", prompt))


def unknown_words(prompt: str, known_words: Collection[str]) -> tuple[str, ...]:
    """The words (`words_of`) of `prompt`, in lower case and each once, that are not among `known_words`; none where
    those are empty, because the text encoder knows English then."""
    words = dict.fromkeys(match.group().lower() for match in words_of(prompt)) if known_words else {}
    return tuple(word for word in words if word not in known_words)


def judging_prompt(prompt: str, known_words: Collection[str]) -> str:
    """The prompt that every dimension but Alignment is judged with, in training as in scoring: `prompt`, or
    `NEUTRAL_PROMPT` where it has unknown words, which would move the scores and mean nothing."""
    return NEUTRAL_PROMPT if unknown_words(prompt, known_words) else prompt


def doubts(
    trained_on: TrainedOn, *, unknown_words: Sequence[str], frame_seconds: Sequence[float] = ()
) -> dict[str, Doubt]:
    """The dimensions that the model cannot judge, each with the reason, in the order of `DIMENSIONS`.

    `frame_seconds` says when the frames that the model saw are shown; it is empty where nobody knows.
    """
    found: dict[str, Doubt] = {name: "no_labels" for name in DIMENSIONS if name not in trained_on.dimensions}
    if unknown_words:
        found.setdefault("Alignment", "unknown_words")
    if len(set(frame_seconds)) == 1:
        found.setdefault("Temporal", "single_frame")
    return {name: found[name] for name in DIMENSIONS if name in found}


Interval = tuple[float, float]  # of scores: its low and its high end


def intervals(
    scores: Mapping[str, float], doubts: Collection[str], margins: Mapping[str, float]
) -> dict[str, Interval | None]:
    """The 90 % interval (`INTERVAL_LEVEL`) of each of `scores`: the score ± the margin of its dimension, cut to 1..5.

    None where the dimension has no margin, or is among `doubts`: a score that means nothing has no interval.
    """
    return {
        name: (
            round(max(SCORE_MIN, score - margins[name]), SCORE_DECIMALS),
            round(min(SCORE_MAX, score + margins[name]), SCORE_DECIMALS),
        )
        if name in margins and name not in doubts
        else None
        for name, score in scores.items()
    }


def doubts_text(doubts: Mapping[str, Doubt]) -> str:
    """`doubts` in one cell of a table: "Alignment: unknown_words; Temporal: single_frame"."""
    return "; ".join(f"{name}: {reason}" for name, reason in doubts.items())


@dataclass(frozen=True)
class TrainedOn:
    """What a head learned from, and how well it did on clips that it had not seen.

    `kind` says who gave the labels, where anybody said so. `srocc` maps a dimension to its held-out Spearman
    correlation; a dimension where it is undefined is absent. `lead` is how far the VQualA score is above that of the
    no-video baseline (see `Evaluation.lead`). `pairs` says the same of pairs of clips, where it learned from some: the
    clips of those are not among `num_clips`, which may be 0. `digests` name all clips it learned from (see
    `content_digest`), sorted; there are none where an older version of this program trained it.
    `margins` maps a dimension to half the width of the 90 % intervals of its scores, in MOS (see `model.conformal`); a
    dimension in which too few held-out clips have a label is absent. `num_margin_clips` says how many have one, in each
    dimension; it is empty where nobody counted, as in older versions.
    """

    kind: LabelSource
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
    lead: float | None = None
    lead_standard_error: float | None = None
    pairs: PairsLearned | None = None
    margins: dict[str, float] = field(default_factory=dict)
    num_margin_clips: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for what no training run can have written: the fields may come from a file."""
        if not isinstance(self.kind, str) or self.kind not in LABEL_SOURCES:
            raise ValueError(f"kind is {shown(self.kind)}; expected one of {', '.join(LABEL_SOURCES)}")
        check(vars(self), LEARNED)
        for name in ("dimensions", "known_words", "digests"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON knows only lists
        if isinstance(self.pairs, dict):
            object.__setattr__(self, "pairs", PairsLearned(**self.pairs))
        elif self.pairs is not None and not isinstance(self.pairs, PairsLearned):
            raise ValueError(f"pairs is {shown(self.pairs)}; an object was expected")

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        """The words of `prompt` that the text encoder never met (see the function)."""
        return unknown_words(prompt, self.known_words)

    @property
    def standing(self) -> Standing | None:
        """How the model compares with the no-video baseline on clips it had not seen; None where nobody measured it."""
        if self.has_only_pairs and self.pairs is not None and self.pairs.lead is not None:
            return standing(self.pairs.lead, self.pairs.lead_standard_error)
        if self.vquala_score is None:
            # `demo` was exported without this score; a fine-tune lacks it where nothing could be ranked.
            judged = self.kind != "procedural" and self.num_held_out > 0
            return "undefined" if judged and set(self.dimensions) - set(self.srocc) else None
        if self.lead is not None:
            return standing(self.lead, self.lead_standard_error)
        # An older version of this program kept no lead: only a score that is no better can be told.
        opponent = max(0.0, self.no_video_baseline or 0.0)
        return "does not beat" if self.vquala_score <= opponent else None

    @property
    def beats_baseline(self) -> bool | None:
        """Whether the model clearly beats the no-video baseline; None where nobody measured it."""
        return None if self.standing is None else self.standing == "beats"

    @property
    def has_only_pairs(self) -> bool:
        """Whether it learned from pairs alone: then its scores say which clip is better, and not how good one is."""
        return self.pairs is not None and not self.num_clips

    def __str__(self) -> str:
        only = "" if self.dimensions == DIMENSIONS else f" for {', '.join(self.dimensions)} only"
        given = [] if self.has_only_pairs else [f"{self.num_clips:,} {LABEL_SOURCES[self.kind]}"]
        given += [] if self.pairs is None else [f"{self.pairs.num_pairs:,} {PAIR_SOURCES[self.kind]}"]
        return f"{' and '.join(given)}{only}: {self.description}"


def standing(lead: float, standard_error: float | None) -> Standing:
    """What a lead over the no-video baseline says: it is clear above `CLEAR_STANDARD_ERRORS` of its standard error."""
    if lead <= 0:
        return "does not beat"
    is_clear = standard_error is not None and lead > CLEAR_STANDARD_ERRORS * standard_error
    return "beats" if is_clear else "unclear"


@dataclass(frozen=True)
class VideoScores:
    """Five mean opinion scores of one video with one prompt, and what they rest on.

    `scores` maps each of `DIMENSIONS`, in that order, to a value from 1 (Bad) to 5 (Excellent). `seconds` maps
    "decode", "video", "text" and "head" to the seconds that each step took; a step whose result was remembered took 0.
    `views` describe the views of the model in words. `frames` (T, H, W, 3) uint8 are those of the first view, shown at
    `frame_seconds` (T,); `more_frames` are those of the other views. They are None and () where nobody asked for them.
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
    neutral_prompt: str = ""  # that all scores but Alignment were made with, where the prompt has unknown words
    notes: tuple[str, ...] = ()  # sentences on what of the video was not scored as a player shows it

    def __post_init__(self) -> None:
        if tuple(self.scores) != DIMENSIONS:
            raise ValueError(f"scores must be for {DIMENSIONS} in this order, got {tuple(self.scores)}")

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The words of the prompt that the model does not know."""
        return self.trained_on.unknown_words(self.prompt)

    @property
    def doubts(self) -> dict[str, Doubt]:
        """The dimensions whose score means nothing here, each with the reason."""
        return doubts(self.trained_on, unknown_words=self.unknown_words, frame_seconds=self.frame_seconds)

    @property
    def intervals(self) -> dict[str, Interval | None]:
        """The 90 % interval of each score, within 1..5; None where the model has none, or the score means nothing."""
        return intervals(self.scores, self.doubts, self.trained_on.margins)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the command line prints and the API returns."""
        return {
            "video": self.video,
            "prompt": self.prompt,
            "model": self.model,
            "trained_on": str(self.trained_on),
            "beats_baseline": self.trained_on.beats_baseline,
            "scores": dict(self.scores),
            "intervals": {name: each and list(each) for name, each in self.intervals.items()},
            "not_meaningful": dict(self.doubts),
            "unknown_words": list(self.unknown_words),
            "neutral_prompt": self.neutral_prompt,
            "unread": self.unread,
            "notes": list(self.notes),
            "seconds": dict(self.seconds),
        }


COMPARISON_FORMAT, COMPARISON_VERSION = "vjepa-demo comparison", 1
Video = TypeVar("Video")


def to_compare(videos: Sequence[Video], prompts: Sequence[str]) -> list[tuple[Video, str]]:
    """Pairs of video and prompt: `prompts` holds one for each of `videos`, or one for all of them.

    Raises:
        RecordError: if there are too few or too many videos, or the prompts are not as many.
    """
    if not MIN_COMPARED <= len(videos) <= MAX_COMPARED:
        many = f"{len(videos)} video{'s' * (len(videos) != 1)}"
        raise RecordError(f"got {many}; {MIN_COMPARED} to {MAX_COMPARED} can be compared")
    if len(prompts) not in (1, len(videos)):
        many = f"{len(prompts)} prompt{'s' * (len(prompts) != 1)}"
        raise RecordError(f"got {many} for {len(videos)} videos; give one prompt for all, or one for each")
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
        """For each result, its scores minus those of the first result, rounded as scores are."""
        first = self.results[0].scores
        return tuple(
            {name: round(score - first[name], SCORE_DECIMALS) for name, score in result.scores.items()}
            for result in self.results
        )

    @property
    def shown_differences(self) -> tuple[dict[str, float], ...]:
        """As `differences`, but of the scores as they are shown: a reader who subtracts gets the same."""
        return tuple(
            {name: round(scores[index] - scores[0], SHOWN_DECIMALS) for name, scores in self._shown.items()}
            for index in range(len(self.results))
        )

    @property
    def best(self) -> dict[str, tuple[int, ...]]:
        """For each dimension the indices of the results with the highest score, compared at `SHOWN_DECIMALS`.

        Several results are best where they are shown as equal: a thousandth says nothing about which is better. None
        is best where the score of one of them means nothing, where the model does not beat its baseline, or in Overall
        where `prompts_differ`.
        """
        unsure = DIMENSIONS if self.trained_on.beats_baseline is False else tuple(self.doubts)
        if self.prompts_differ:
            unsure = (*unsure, "Overall")
        return {
            name: tuple(index for index, score in enumerate(scores) if score == max(scores) and name not in unsure)
            for name, scores in self._shown.items()
        }

    @property
    def prompts_differ(self) -> bool:
        """Whether some results were made with a neutral prompt and others with their own: that alone moves Overall."""
        return len({result.neutral_prompt for result in self.results}) > 1

    @property
    def _shown(self) -> dict[str, list[float]]:
        """For each dimension the scores of the results as they are shown."""
        return {name: [round(result.scores[name], SHOWN_DECIMALS) for result in self.results] for name in DIMENSIONS}

    @property
    def doubts(self) -> dict[str, Doubt]:
        """The dimensions in which the score of some result means nothing, each with the first reason."""
        found = {name: why for result in reversed(self.results) for name, why in result.doubts.items()}
        return {name: found[name] for name in DIMENSIONS if name in found}

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
        # The known words of these prompts are enough to tell the unknown ones; all of them may be thousands.
        words = {word.lower() for result in self.results for word in WORD.findall(result.prompt)}
        known = self.trained_on.known_words
        return {
            "format": COMPARISON_FORMAT,
            "version": COMPARISON_VERSION,
            "model": self.model,
            "trained_on": str(self.trained_on),
            "training": {name: value for name, value in asdict(self.trained_on).items() if name != "digests"}
            | {"known_words": tuple(word for word in known if word in words) or known[:1]},
            "results": results,
            "best": {name: list(indices) for name, indices in self.best.items()},
        }

    @classmethod
    def from_dict(cls, value: Any) -> Comparison:
        """The comparison that `to_dict` wrote, without frames; differences and best are computed anew.

        Raises:
            RecordError: if `value` is no such object, or damaged.
        """
        if not isinstance(value, dict) or value.get("format") != COMPARISON_FORMAT:
            raise RecordError(
                "the file holds no comparison of this program: open a JSON file that the Compare tab exported"
            )
        if value.get("version") != COMPARISON_VERSION:
            raise RecordError(
                f"the comparison has version {value.get('version')!r}; {COMPARISON_VERSION} can be read: "
                "use a newer version of this program"
            )
        try:
            model, trained_on = _text("model", value["model"]), TrainedOn(**value["training"])
            return cls(
                tuple(
                    VideoScores(
                        video=_text("video", each["video"]),
                        prompt=_text("prompt", each["prompt"]),
                        model=model,
                        trained_on=trained_on,
                        scores={name: _number(each["scores"][name], SCORE_MIN, SCORE_MAX) for name in DIMENSIONS},
                        seconds={str(step): _number(seconds) for step, seconds in each["seconds"].items()},
                        duration_seconds=_number(each["duration_seconds"]),
                        frames=None,
                        frame_seconds=tuple(_number(seconds) for seconds in each["frame_seconds"]),
                        sha256=_text("sha256", each["sha256"] or "") or None,
                        unread=_text("unread", each.get("unread", "")),
                        neutral_prompt=_text("neutral_prompt", each.get("neutral_prompt", "")),
                        notes=tuple(_text("notes", note) for note in each.get("notes", ())),
                    )
                    for each in value["results"]
                )
            )
        except KeyError as error:
            raise RecordError(f"the comparison is damaged: {error} is missing; export it again") from error
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise RecordError(f"the comparison is damaged: {error}; export it again") from error


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
