"""What a person is told while something runs: values that an interface turns into a line, a widget or JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vjepa_demo.config import BOOTSTRAP_MODEL, DIMENSIONS, SCORE_MAX, SCORE_MIN
from vjepa_demo.schema.agreement import Evaluation
from vjepa_demo.schema.labels import PairRecord, RecordProblem, VideoRecord
from vjepa_demo.schema.scores import LabelSource


@dataclass(frozen=True)
class TrainingData:
    """The clips and pairs to learn from and those to judge by, with what a person would call the data set.

    `known_words` are those of the model that learns (see `TrainedOn`); the words of the prompts are added.
    """

    train: Sequence[VideoRecord]
    validation: Sequence[VideoRecord]
    description: str
    kind: LabelSource = "undeclared"
    label_range: tuple[float, float] = (SCORE_MIN, SCORE_MAX)
    known_words: tuple[str, ...] = ()
    train_pairs: Sequence[PairRecord] = ()
    validation_pairs: Sequence[PairRecord] = ()


@dataclass(frozen=True)
class CountingReport:
    """How much of a step is done."""

    done: int
    total: int


class FetchingReport(CountingReport):
    """Files fetched so far."""


class UploadingReport(CountingReport):
    """Files that are on the Hub so far; nobody sees them before the last is."""


class OpeningReport(CountingReport):
    """Videos opened so far, to see whether they can be read."""


class CopyingReport(CountingReport):
    """Clips copied into a study so far, each with a preview where browsers need one."""


@dataclass(frozen=True)
class TimedReport(CountingReport):
    """How much of a step is done, and how long the rest will take."""

    seconds_left: float


class DrawingReport(TimedReport):
    """Procedural clips drawn so far."""


class LayersReport(TimedReport):
    """Layers of the video encoder that have run for a clip."""


class ScoringReport(TimedReport):
    """Clips scored so far, of those that a model is evaluated on."""


@dataclass(frozen=True)
class PlanReport:
    """What learning a first head will take: so many clips to draw and to encode, and about how many seconds in all.

    `cpu_frames` is how many frames of a clip the encoder sees because it runs on a CPU; None where that changes
    nothing.
    """

    num_clips: int
    seconds: float
    cpu_frames: int | None


@dataclass(frozen=True)
class SplitReport:
    """How many clips and pairs a model learns from and is validated with. `warnings` are sentences for the person."""

    num_train: int
    num_validation: int
    warnings: tuple[str, ...] = ()
    num_train_pairs: int = 0
    num_validation_pairs: int = 0


@dataclass(frozen=True)
class EncodingReport(TimedReport):
    """Clips encoded so far. `recomputed` of them fit into no cache and are encoded again each epoch; `problems` are
    the rows that failed and are left out."""

    recomputed: int = 0
    problems: tuple[RecordProblem, ...] = ()


@dataclass(frozen=True)
class StartReport:
    """How well the model did on the validation clips and pairs before it learned anything from this data."""

    validation_loss: float
    validation: Evaluation


@dataclass(frozen=True)
class EpochReport:
    """One epoch's mean loss, and the loss and metrics on the validation clips; None where there are none."""

    epoch: int
    epochs: int
    loss: float
    validation_loss: float | None
    validation: Evaluation | None
    is_best: bool
    seconds: float
    seconds_left: float


@dataclass(frozen=True)
class PredictedClip:
    """A validation clip with its score (1 to 5) in each dimension that has a label, and the `error`: the root mean
    square of score less label over these dimensions."""

    record: VideoRecord
    scores: Mapping[str, float]
    error: float


@dataclass(frozen=True)
class TrainingResult:
    """Where the best weights are, how well they did, and the `validation` clips with their labels and scores (N, 5).

    `labels` are NaN where there is none. The `gain` of `evaluation` is what training changed.
    """

    folder: Path
    epochs: int
    best_epoch: int
    evaluation: Evaluation | None
    validation: tuple[VideoRecord, ...]
    labels: tuple[tuple[float, ...], ...]
    predictions: tuple[tuple[float, ...], ...]

    def worst_clips(self, most: int) -> tuple[PredictedClip, ...]:
        """At most `most` of the validation clips, those with the largest errors, the worst first."""
        clips = []
        for record, predicted in zip(self.validation, self.predictions, strict=True):
            shown = dict(zip(DIMENSIONS, predicted, strict=True))
            scores = {name: shown[name] for name in DIMENSIONS if name in record.labels}
            squares = [(score - record.labels[name]) ** 2 for name, score in scores.items()]
            clips.append(PredictedClip(record, scores, math.sqrt(statistics.fmean(squares))))
        return tuple(sorted(clips, key=lambda clip: -clip.error)[:most])


TrainingReport = SplitReport | EncodingReport | StartReport | EpochReport | TrainingResult

# ---- a first head that is learned in the background ------------------------------------------------------------------


RunPhase = Literal["waiting", "loading", "drawing", "encoding", "learning", "stopping", "elsewhere"]
EndPhase = Literal["idle", "done", "stopped", "failed"]


@dataclass(frozen=True)
class FirstHead:
    """How far the first head of the model `name` is; `wording.first_head_line` says it in a sentence.

    `done` of `total` clips or epochs; `seconds_left` of the whole run, where known; `problem` says why it failed.
    """

    phase: RunPhase | EndPhase
    name: str = BOOTSTRAP_MODEL
    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    problem: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change any more."""
        return self.phase in get_args(EndPhase)


# ---- training on rented hardware -------------------------------------------------------------------------------------


JobPhase = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Hardware:
    """A machine that the Hub rents out: `name` is what a job asks for, `dollars` its price for each `unit` of time.

    `memory` is that of its GPU, else of the machine, such as "24 GB". Price and memory are empty where the Hub was not
    asked.
    """

    name: str
    title: str
    memory: str = ""
    dollars: float | None = None
    unit: str = ""


@dataclass(frozen=True)
class RentedJob:
    """A job of the account `owner`: its number, the address of its page, and the checkpoint (`owner/name`) it makes."""

    owner: str
    job_id: str
    url: str
    checkpoint: str


@dataclass(frozen=True)
class JobReport:
    """How far a job is, the last lines of its log, and how long it has run.

    `problem` says why nothing newer is known; it is empty where the report is the newest.
    """

    phase: JobPhase
    lines: tuple[str, ...] = ()
    seconds: float | None = None
    problem: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether nothing will change any more."""
        return self.phase in ("done", "failed", "cancelled")
