"""Labelled clips: what a table says of them, which can be used, and who learns from which."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from vjepa_demo.config import DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema.pairs import ANSWERS, Answer
from vjepa_demo.schema.scores import prompt_key

SplitName = Literal["train", "validation"]
HISTOGRAM_BINS = 8  # of half a score each, from 1 to 5


@dataclass(frozen=True)
class Ratings:
    """What several people say of one dimension of a clip: scores from 1 to 5, and who gave each ("" where none says).

    Of somebody who rated the clip several times it is the mean.
    """

    scores: tuple[float, ...]
    raters: tuple[str, ...]

    @property
    def mean(self) -> float:
        """The clip's label."""
        return statistics.fmean(self.scores)

    @property
    def standard_error(self) -> float | None:
        """Of the mean, s / sqrt(n); None for a single rating."""
        return statistics.stdev(self.scores) / math.sqrt(len(self.scores)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class VideoRecord:
    """A labelled clip: its file, its prompt, and a score (1 to 5) for each dimension that was labelled.

    `name` is the video as the table names it, `line` its line in the file (the header is line 1), `split` what a
    `split` column says, else None. A dimension without a label is absent from `labels`. Where the table has a row a
    rating, `line` is the first of `num_rows`, and `ratings` has what `labels` is the mean of.
    """

    name: str
    video: Path
    prompt: str
    labels: dict[str, float]
    line: int
    split: SplitName | None = None
    ratings: Mapping[str, Ratings] = field(default_factory=dict)
    num_rows: int = 1

    @property
    def prompt_key(self) -> str:
        """The prompt without differences of case, spacing and Unicode form: equal keys are the same prompt."""
        return prompt_key(self.prompt)


def rated(rows: Iterable[tuple[VideoRecord, str]]) -> tuple[VideoRecord, ...]:
    """A record a clip: of `rows`, each with the name of its rater, those of one video and prompt are averaged.

    Of rows of one named rater the mean counts once, as one rating: that of somebody who saw the clip twice.
    A clip of one row keeps its labels to the bit, and has `ratings` only where the rater has a name.
    """
    clips: dict[tuple[Path, str], list[tuple[VideoRecord, str]]] = defaultdict(list)
    for record, rater in rows:
        clips[record.video, record.prompt_key].append((record, rater))
    records = []
    for members in clips.values():
        first, rater = members[0]
        if len(members) == 1 and not rater:
            records.append(first)
            continue
        ratings = {}
        for name in DIMENSIONS:
            given: dict[str | int, list[float]] = {}
            for place, (each, who) in enumerate(members):
                if name in each.labels:
                    given.setdefault(who or place, []).append(each.labels[name])  # a row without a name is somebody's
            if given:
                scores = tuple(each[0] if len(each) == 1 else statistics.fmean(each) for each in given.values())
                ratings[name] = Ratings(scores, tuple(who if isinstance(who, str) else "" for who in given))
        labels = {name: each.mean for name, each in ratings.items()} if len(members) > 1 else first.labels
        records.append(replace(first, labels=labels, ratings=ratings, num_rows=len(members)))
    return tuple(records)


@dataclass(frozen=True)
class PairRecord:
    """Two clips of one prompt, and for each dimension that was answered which is better: "a", "b", or "same".

    `a` and `b` have no labels of their own. `line` and `split` are as in `VideoRecord`.
    """

    a: VideoRecord
    b: VideoRecord
    answers: dict[str, Answer]
    line: int
    split: SplitName | None = None

    @property
    def prompt(self) -> str:
        """The text that both clips were made from."""
        return self.a.prompt

    @property
    def prompt_key(self) -> str:
        """As `VideoRecord.prompt_key`."""
        return self.a.prompt_key


def clips_of(records: Iterable[VideoRecord], pairs: Iterable[PairRecord]) -> tuple[VideoRecord, ...]:
    """`records`, and then the clips of `pairs` that are none of them, each once: all that has to be scored."""
    found = list(records)
    known = {(clip.video, clip.prompt) for clip in found}
    for clip in (side for pair in pairs for side in (pair.a, pair.b)):
        if (clip.video, clip.prompt) not in known:
            known.add((clip.video, clip.prompt))
            found.append(clip)
    return tuple(found)


@dataclass(frozen=True)
class RecordProblem:
    """A row that will not be used, and why; `line` is 0 for a drawn clip, which no table names."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


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
    """Clips to learn from and clips to validate on; `validation` is empty where a metric would mean nothing. Pairs
    likewise: no prompt is on both sides.

    `warnings` are sentences for the person who decides whether to train on it.
    """

    train: tuple[VideoRecord, ...]
    validation: tuple[VideoRecord, ...]
    warnings: tuple[str, ...] = ()
    train_pairs: tuple[PairRecord, ...] = ()
    validation_pairs: tuple[PairRecord, ...] = ()


@dataclass(frozen=True)
class RecordSet:
    """The clips and pairs of tables that can be used, and why each other row cannot; `num_rows` rows in all."""

    records: tuple[VideoRecord, ...]
    problems: tuple[RecordProblem, ...]
    label_range: LabelRange
    num_rows: int
    notes: tuple[str, ...] = ()
    pairs: tuple[PairRecord, ...] = ()

    @property
    def clips(self) -> tuple[VideoRecord, ...]:
        """The clips of `records`, and those of `pairs` that are none of them."""
        return clips_of(self.records, self.pairs)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions for which at least one clip has a label."""
        return tuple(name for name in DIMENSIONS if any(name in record.labels for record in self.records))


@dataclass(frozen=True)
class DimensionSummary:
    """The labels of one dimension: how many, their mean, and how many in each half score from 1 to 5."""

    dimension: str
    num_labels: int
    mean: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class RecordSummary:
    """What will be used, in numbers: `num_used` rows, which are as many clips where a clip has one row.

    Only labelled dimensions are in `dimensions`. `num_clips` are those with labels; of the `num_pairs` pairs, `answers`
    counts each answer in each dimension that has any.
    """

    num_rows: int
    num_used: int
    num_clips: int
    num_videos: int
    num_prompts: int
    label_range: LabelRange
    dimensions: tuple[DimensionSummary, ...]
    num_pairs: int = 0
    answers: Mapping[str, Mapping[Answer, int]] = field(default_factory=dict)


def summarise(records: RecordSet) -> RecordSummary:
    """Counts and label histograms of what will be used, for the person who decides."""
    used, dimensions = records.records, []
    for name in records.dimensions:
        labels = [record.labels[name] for record in used if name in record.labels]
        histogram = [0] * HISTOGRAM_BINS
        for label in labels:
            place = int((label - SCORE_MIN) / (SCORE_MAX - SCORE_MIN) * HISTOGRAM_BINS)
            histogram[min(place, HISTOGRAM_BINS - 1)] += 1  # 5 belongs to the last bin
        dimensions.append(DimensionSummary(name, len(labels), sum(labels) / len(labels), tuple(histogram)))
    counts = {
        name: Counter(pair.answers[name] for pair in records.pairs if name in pair.answers) for name in DIMENSIONS
    }
    return RecordSummary(
        num_rows=records.num_rows,
        num_used=sum(record.num_rows for record in used) + len(records.pairs),
        num_clips=len(used),
        num_videos=len({clip.video for clip in records.clips}),
        num_prompts=len({clip.prompt_key for clip in records.clips}),
        label_range=records.label_range,
        dimensions=tuple(dimensions),
        num_pairs=len(records.pairs),
        answers={name: {answer: each[answer] for answer in ANSWERS} for name, each in counts.items() if each},
    )
