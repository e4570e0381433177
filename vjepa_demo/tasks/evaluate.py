"""How well a model agrees with labels: one way of judging for fine-tuning, batches and the evaluate command."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from vjepa_demo.config import DIMENSIONS, MIN_VALIDATION_CLIPS
from vjepa_demo.files import content_sha256
from vjepa_demo.model.metrics import evaluate as measure
from vjepa_demo.model.metrics import no_video_baseline
from vjepa_demo.schema import (
    DemoError,
    Evaluation,
    RecordError,
    RecordSet,
    ScoringReport,
    TrainedOn,
    VideoRecord,
    content_digest,
)
from vjepa_demo.tasks.score import Scorer


def evaluate_model(scorer: Scorer, records: RecordSet) -> Iterator[ScoringReport | Evaluation]:
    """Score the labelled clips of `records`: a `ScoringReport` a clip, and last the `Evaluation`.

    Raises:
        RecordError: if there is no clip.
        VideoError: if a video cannot be read.
    """
    clips = records.records
    if not clips:
        raise RecordError("no row can be evaluated: each row has a problem")
    begin, scores = time.monotonic(), []
    with closing(scorer.score_all((clip.video, clip.prompt) for clip in clips)) as results:
        for result in results:
            if isinstance(result, DemoError):
                raise result
            scores.append(result)
            done = len(scores)
            yield ScoringReport(done, len(clips), (time.monotonic() - begin) / done * (len(clips) - done))
    yield judge(
        [result.scores for result in scores],
        clips,
        scorer.trained_on,
        sha256s=[result.sha256 for result in scores],
    )


def judge(
    scores: Sequence[Mapping[str, float]],
    records: Sequence[VideoRecord],
    trained_on: TrainedOn | None = None,
    *,
    sha256s: Sequence[str | None] = (),
) -> Evaluation:
    """Metrics of `scores` (a mapping from dimension to score for each record), beside the no-video baseline.

    A model that learned from some of the clips, as `trained_on` remembers, is judged by the others alone, and its
    baseline knows the labels that it knew; by all clips where fewer than `MIN_VALIDATION_CLIPS` others are there.
    A clip whose content nobody knows any more is left out: the model may have learned from it. `sha256s` are the
    clips' digests where they are known already; the others are read from the files.
    """
    predictions = torch.tensor([[each[name] for name in DIMENSIONS] for each in scores]).reshape(-1, len(DIMENSIONS))
    remembered = frozenset(() if trained_on is None else trained_on.digests)
    # The clips' indices, by whether the model learned from them; None where nobody knows.
    rows: dict[bool | None, list[int]] = {True: [], False: [], None: []}
    for index, (record, sha256) in enumerate(zip(records, sha256s or [None] * len(records), strict=True)):
        try:
            learned = bool(remembered) and content_digest(sha256 or content_sha256(record.video)) in remembered
        except OSError:
            rows[None].append(index)
        else:
            rows[learned].append(index)
    if len(rows[False]) < MIN_VALIDATION_CLIPS:
        checked = sorted(rows[True] + rows[False])
        evaluation = metrics_beside_baseline(predictions[checked], [records[index] for index in checked], ())
        return replace(evaluation, num_learned=len(rows[True]), num_unknown=len(rows[None]))
    unseen, train = ([records[index] for index in rows[answer]] for answer in (False, True))
    evaluation = metrics_beside_baseline(predictions[rows[False]], unseen, train)
    return replace(evaluation, num_learned=len(train), num_left_out=len(train), num_unknown=len(rows[None]))


def metrics_beside_baseline(
    predictions: Tensor, validation: Sequence[VideoRecord], train: Sequence[VideoRecord]
) -> Evaluation:
    """Metrics of `predictions` (N, 5) with standard errors, beside what prompts alone would have given."""
    labels, train_labels = label_tensor(validation), label_tensor(train)
    prompts, train_prompts = ([record.prompt for record in records] for records in (validation, train))
    baseline = no_video_baseline(prompts, labels, train_prompts=train_prompts, train_labels=train_labels)
    return measure(predictions, labels, baseline=baseline)


def label_tensor(records: Sequence[VideoRecord]) -> Tensor:
    """Labels (N, 5) float32 in the order of `DIMENSIONS`, NaN where there is none."""
    rows = [[record.labels.get(name, math.nan) for name in DIMENSIONS] for record in records]
    return torch.tensor(rows).reshape(-1, len(DIMENSIONS))
