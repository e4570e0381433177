"""A study: which clips people rate, what a rater is shown and answers, and what all ratings say together."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema.errors import RecordError
from vjepa_demo.schema.pairs import ANSWERS
from vjepa_demo.schema.text import well_formed

StudyKind = Literal["clips", "pairs"]
# "random" is each rater's own order; "chosen" shows next what would teach a model most, see `tasks.learn`.
StudyOrder = Literal["random", "chosen"]
# "warm_up" does not count; "repeat" is the second time that a rater sees the same, which measures self-agreement.
Round = Literal["warm_up", "first", "repeat"]
Given = int | str | None  # 1 to 5 of a clip; "a", "b" or "same" of a pair; None for "cannot judge"
MAX_NAME_CHARACTERS = 60  # of a rater's name
SAID_CHARACTERS = 40  # of what was given, in a message
JOINERS = dict.fromkeys((0x200C, 0x200D))  # zero width non-joiner and joiner
STUDY_FORMAT = 1


@dataclass(frozen=True)
class StudyClip:
    """A clip of a study: `key` is what raters know it by, `video` its file within the study's folder.

    `name` is what tables of labels call the video, `generator` what made it, where that is known. A rater is shown
    neither: both can be told from the owner's tables alone.
    """

    key: str
    video: str
    prompt: str
    name: str
    sha256: str
    generator: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a path that leads out of the study's folder: the fields may come from a file."""
        for path in (PurePosixPath(self.video), PurePosixPath(self.name)):
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"{str(path)[:60]!r} is no path within the folder of a study")


@dataclass(frozen=True)
class Study:
    """What is rated, and how: the content of study.json.

    `id` cannot be guessed and is the study's link. Of kind "clips" each clip gets a score from 1 to 5 for each of
    `dimensions`; of kind "pairs" each of `pairs` (keys of two clips of one prompt) gets an answer. `seed` decides the
    random orders of the raters. `owner_sha256` is the digest of the secret with which its owner on the page is known;
    a study of the command line has none.
    """

    id: str
    title: str
    kind: StudyKind
    dimensions: tuple[str, ...]
    clips: tuple[StudyClip, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    order: StudyOrder = "random"
    owner_sha256: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError for what this program cannot have written: the fields come from a file."""
        keys = [clip.key for clip in self.clips]
        if self.kind not in get_args(StudyKind):
            raise ValueError(f"kind is {_said(repr(self.kind))}; one of {', '.join(get_args(StudyKind))} was expected")
        if self.order not in get_args(StudyOrder):
            raise ValueError(
                f"order is {_said(repr(self.order))}; one of {', '.join(get_args(StudyOrder))} was expected"
            )
        if not self.dimensions or not set(self.dimensions) <= set(DIMENSIONS):
            raise ValueError(
                f"dimensions are {_said(repr(self.dimensions))}; some of {', '.join(DIMENSIONS)} were expected"
            )
        if not keys or len(set(keys)) < len(keys):
            raise ValueError("clips: at least one was expected, each with a key of its own")
        if not all(len(pair) == 2 and set(pair) <= set(keys) for pair in self.pairs):
            raise ValueError("pairs: the keys of two clips were expected in each")
        if self.kind == "pairs" and not self.pairs:
            raise ValueError("pairs: at least one was expected")
        if type(self.seed) is not int or not isinstance(self.id, str) or not self.id:
            raise ValueError("seed and id: a whole number and a text were expected")
        if not isinstance(self.owner_sha256, str):
            raise ValueError("owner_sha256: a text was expected")

    @property
    def units(self) -> tuple[tuple[str, ...], ...]:
        """What is judged, as keys of clips: one clip each, or two."""
        return self.pairs if self.kind == "pairs" else tuple((clip.key,) for clip in self.clips)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of study.json."""
        return {"format": STUDY_FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Study:
        """The study of a JSON object; raises ValueError or TypeError where it is none."""
        fields = {name: value for name, value in data.items() if name != "format"}
        if data.get("format") != STUDY_FORMAT:
            raise ValueError(f"format is {_said(repr(data.get('format')))}; {STUDY_FORMAT} was expected")
        fields["clips"] = tuple(StudyClip(**clip) for clip in fields["clips"])
        fields["pairs"] = tuple(tuple(pair) for pair in fields.get("pairs", ()))
        fields["dimensions"] = tuple(fields["dimensions"])
        return cls(**fields)


@dataclass(frozen=True)
class StudyMade:
    """A new study in `folder`; `notes` are sentences on what was left out of it."""

    study: Study
    folder: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rater:
    """Somebody who rates: the name as given, and the secret with which to go on; the secret is not for others."""

    name: str
    secret: str = field(repr=False)


def rater_key(name: str) -> str:
    """`name` without differences of case, spacing, joiners and Unicode form: equal keys are the same rater.

    Raises:
        RecordError: if `name` is empty, too long, or holds what cannot be shown on one line.
    """
    shown = " ".join(unicodedata.normalize("NFC", well_formed(name)).split())
    key = shown.translate(JOINERS)  # nobody sees them alone; names in Persian and many languages of India have them
    if not key or len(shown) > MAX_NAME_CHARACTERS or not key.isprintable():
        given = f"“{shown[:SAID_CHARACTERS]}...”" if len(shown) > MAX_NAME_CHARACTERS else "empty"
        given = given if key.isprintable() else "not printable"
        raise RecordError(f"the name is {given}; a name of 1 to {MAX_NAME_CHARACTERS} characters was expected")
    return key.casefold()


@dataclass(frozen=True)
class RatingItem:
    """What a rater is shown next: one clip, or two side by side, made from `prompt`.

    `token` stands for it when the answer is given. `clips` are keys, the left clip first; `tasks.rate` gives their
    files. Neither says whether it is a repeat, or what made it. A warm-up does not count, and says so.
    """

    token: str
    clips: tuple[str, ...]
    prompt: str
    is_warm_up: bool


@dataclass(frozen=True)
class RatingProgress:
    """How far a rater is: answers given and all that will be asked for, warm-ups and repeats included.

    `num_judged` counts the clips, or pairs, that have an answer which counts. `seconds_left` is None until enough
    answers say how long one takes.
    """

    done: int
    total: int
    num_judged: int
    seconds_left: float | None


@dataclass(frozen=True)
class Rating:
    """One answer of a rater, as it stands: undone ones are not among a study's ratings.

    `given` has each of the study's dimensions; of a pair, "a" is the first of `clips`, as it was shown left. `at` is
    when it was given, in seconds since 1970 (UTC); `seconds` how long the rater took, where the interface measured it.
    """

    rater: str
    clips: tuple[str, ...]
    round: Round
    given: Mapping[str, Given]
    at: float
    seconds: float | None = None

    @property
    def unit(self) -> tuple[str, ...]:
        """The clips without their sides: equal for a pair and its repeat."""
        return tuple(sorted(self.clips))


def check_given(given: Mapping[str, Given] | None, study: Study) -> dict[str, Given]:
    """The answer to each of the study's dimensions; `given` None says "cannot judge" of all.

    Raises:
        RecordError: if a dimension has no answer, one that is out of range, or is none of the study's.
    """
    if given is None:
        return dict.fromkeys(study.dimensions)
    if unknown := [name for name in given if name not in study.dimensions]:
        raise RecordError(
            f"“{_said(unknown[0])}” is not rated in this study; it asks for {', '.join(study.dimensions)}"
        )
    wanted = "a, b or same" if study.kind == "pairs" else f"a whole number from {SCORE_MIN:g} to {SCORE_MAX:g}"
    for name in study.dimensions:
        if name not in given:
            raise RecordError(f"{name} has no answer; {wanted} was expected, or “cannot judge”")
        value = given[name]
        is_score = type(value) is int and SCORE_MIN <= value <= SCORE_MAX
        if value is not None and not (value in ANSWERS if study.kind == "pairs" else is_score):
            raise RecordError(f"{name} is {_said(repr(value))}; {wanted} was expected, or “cannot judge”")
    return {name: given[name] for name in study.dimensions}


def _said(text: str) -> str:
    text = well_formed(text)
    return text if len(text) <= SAID_CHARACTERS else f"{text[:SAID_CHARACTERS]}..."


# ---- what the ratings say --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistic:
    """A number, or None and `why` it is undefined."""

    value: float | None
    why: str = ""

    def __str__(self) -> str:
        return f"undefined ({self.why})" if self.value is None else f"{self.value:.2f}"


@dataclass(frozen=True)
class ClipScore:
    """What the raters say of one clip: `plain` is the mean of `num_raters` raters, `mos` that without their biases.

    `half_width` is half of the 95 % interval around `mos`; both mean scores are within 1 to 5. `name` and `prompt` are
    those of the clip `key`, where a study says them.
    """

    key: str
    num_raters: int
    plain: float
    mos: float
    half_width: Statistic
    name: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class RaterScore:
    """How a rater rates one dimension: see `data.raters` for what each number is.

    `constant` is the score that the rater gave to every clip, None where scores differ or are few.
    """

    rater: str
    num_ratings: int
    num_cannot_judge: int
    bias: Statistic
    inconsistency: Statistic
    num_repeats: int
    self_correlation: Statistic
    self_difference: Statistic
    constant: float | None = None


@dataclass(frozen=True)
class DimensionRatings:
    """The ratings of one dimension: of each clip, of each rater, and how well all agree.

    `self_correlation` is over the repeats of all raters, `reliability` that of the clips' mean scores (split-half,
    Spearman-Brown). `ceiling` is the highest correlation that a perfect model can reach with these mean scores.
    """

    clips: tuple[ClipScore, ...]
    raters: tuple[RaterScore, ...]
    self_correlation: Statistic
    reliability: Statistic
    ceiling: Statistic = field(default_factory=lambda: Statistic(None, "it was not estimated"))


@dataclass(frozen=True)
class PairRater:
    """How a rater answers one dimension of pairs.

    `left_share` is the share of left among the answers that are not "same"; without a habit it is near a half.
    `self_agreement` is the share of repeats that got the same answer, `agreement` the share of answers of others to the
    same pairs that are this rater's too.
    """

    rater: str
    num_answers: int
    num_cannot_judge: int
    same_share: Statistic
    left_share: Statistic
    num_repeats: int
    self_agreement: Statistic
    agreement: Statistic
    constant: str | None = None


@dataclass(frozen=True)
class PairRatings:
    """The answers to the pairs of one dimension: of each rater, and the two kinds of agreement over all of them."""

    num_answers: int
    raters: tuple[PairRater, ...]
    self_agreement: Statistic
    agreement: Statistic


@dataclass(frozen=True)
class StudyStatistics:
    """All that is known of a study's ratings. `dimensions` is for the study's kind; the other one is empty.

    `skipped` maps the names of clips that cannot be shown to the reasons. `notes` are sentences for the owner.
    """

    title: str
    num_clips: int
    num_raters: int
    num_answers: int
    dimensions: Mapping[str, DimensionRatings] = field(default_factory=dict)
    pairs: Mapping[str, PairRatings] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    ended: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the command line prints."""
        return asdict(self)
