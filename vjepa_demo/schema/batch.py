"""A table of videos while it is scored: its rows, their results, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vjepa_demo.schema.agreement import Evaluation
from vjepa_demo.schema.scores import Doubt, Interval


@dataclass(frozen=True)
class BatchRow:
    """A row to be scored: its cells as they came, and what they mean. `problem` says why the row cannot be scored.

    `line` is the row's line in the file (the header is line 1). `video` is its file, None where there is a `problem`.
    `labels` are scores from 1 to 5, for the dimensions that have one. `generator` made the video, if a column says so.
    """

    line: int
    cells: dict[str, str]
    name: str
    prompt: str
    video: Path | None
    labels: dict[str, float]
    generator: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class BatchTable:
    """Every row of a table, in its order; `columns` are unique. `notes` are sentences for the person."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[BatchRow, ...]
    generator_column: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowResult:
    """A row's scores by dimension, or the error that says why there are none; `model` is the id of the model.

    `unknown_words` are those of the prompt that the model does not know, `doubts` the dimensions whose score means
    nothing, `notes` sentences on what of the video was not scored as a player shows it. `intervals` are as those of
    `VideoScores`; empty where the model has none. `sha256` is the video's, in hexadecimal; None where this run did not
    read the video.
    """

    row: BatchRow
    scores: dict[str, float] | None
    error: str | None
    model: str
    unknown_words: tuple[str, ...] = ()
    doubts: Mapping[str, Doubt] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)


@dataclass(frozen=True)
class BatchReport:
    """A row is in the output: `done` of `total` rows now are, `errors` of them without scores.

    `seconds_left` is estimated from the rows that this run has scored; None before the first. `resumed` rows were
    scored by an earlier run and come first.
    """

    result: RowResult
    done: int
    total: int
    errors: int
    seconds_left: float | None
    resumed: bool = False


@dataclass(frozen=True)
class GroupScores:
    """The mean of each dimension over the scored rows, and its standard error, s / sqrt(n).

    Without a scored row both are empty; with one row the errors are None. Rows count as independent draws: where clips
    of one prompt resemble each other, the true errors are larger.
    """

    name: str
    num_scored: int
    num_errors: int
    means: dict[str, float]
    standard_errors: dict[str, float | None]


@dataclass(frozen=True)
class BatchSummary:
    """All rows as one group; each generator, best Overall first; and metrics where rows have labels, else None.

    `num_doubtful` maps each dimension that means nothing in some scored rows to the number of those rows. `num_unknown`
    rows have a prompt with words that the model does not know.
    """

    all: GroupScores
    generators: tuple[GroupScores, ...]
    evaluation: Evaluation | None
    num_doubtful: dict[str, int] = field(default_factory=dict)
    num_unknown: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `batch --json` prints, less what it says of the run."""
        return {
            "all": asdict(self.all),
            "generators": [asdict(group) for group in self.generators],
            "evaluation": None if self.evaluation is None else self.evaluation.to_dict(),
            "num_doubtful": dict(self.num_doubtful),
            "num_unknown": self.num_unknown,
        }
