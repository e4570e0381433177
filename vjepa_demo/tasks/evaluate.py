"""How well a model agrees with labels: one way of judging for fine-tuning, batches and the evaluate command."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from vjepa_demo.config import DIMENSIONS, MIN_VALIDATION_CLIPS
from vjepa_demo.files import content_sha256
from vjepa_demo.model.conformal import coverage
from vjepa_demo.model.metrics import evaluate as measure
from vjepa_demo.model.metrics import no_video_baseline
from vjepa_demo.schema import (
    Coverage,
    DemoError,
    Evaluation,
    PairEvaluation,
    PairRecord,
    RecordError,
    RecordSet,
    ScoringReport,
    TrainedOn,
    VideoRecord,
    VideoScores,
    content_digest,
    intervals,
)
from vjepa_demo.tasks.pairs import judge_pairs
from vjepa_demo.tasks.score import Scorer


def evaluate_model(
    scorer: Scorer, records: RecordSet, *, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[ScoringReport | Evaluation]:
    """Score the clips and pairs of `records`: a `ScoringReport` a clip, and last the `Evaluation`.

    `should_stop` is asked as by `Scorer.score`.

    Raises:
        StoppedError: once `should_stop` said yes.
        RecordError: if there is no clip.
        VideoError: if a video cannot be read.
    """
    clips, num_labelled = records.clips, len(records.records)
    if not clips:
        raise RecordError("no row can be evaluated: each row has a problem")
    begin, scores = time.monotonic(), []
    requests = ((clip.video, clip.prompt) for clip in clips)
    with closing(scorer.score_all(requests, should_stop=should_stop)) as results:
        for result in results:
            if isinstance(result, DemoError):
                raise result
            scores.append(result)
            done = len(scores)
            yield ScoringReport(done, len(clips), (time.monotonic() - begin) / done * (len(clips) - done))
    labelled = scores[:num_labelled]
    evaluation = judge(
        [result.scores for result in labelled],
        records.records,
        scorer.trained_on,
        sha256s=[result.sha256 for result in labelled],
        doubts=[result.doubts for result in labelled],
    )
    yield replace(evaluation, pairs=_judge_pairs(scores, records, scorer.trained_on)) if records.pairs else evaluation


def _judge_pairs(results: Sequence[VideoScores], records: RecordSet, trained_on: TrainedOn) -> PairEvaluation:
    """The pair accuracies of `results`, of the clips of `records`. As in `judge`, pairs with a clip that the model
    learned from are left out where enough others are there."""
    clips, remembered = records.clips, frozenset(trained_on.digests)
    learned = {
        (clip.video, clip.prompt): _has_learned(remembered, clip, result.sha256)
        for clip, result in zip(clips, results, strict=True)
    }
    parts: dict[bool | None, list[PairRecord]] = {True: [], False: [], None: []}
    for pair in records.pairs:
        sides = [learned[side.video, side.prompt] for side in (pair.a, pair.b)]
        parts[True if True in sides else None if None in sides else False].append(pair)
    is_enough = len(parts[False]) >= MIN_VALIDATION_CLIPS
    judged = judge_pairs(
        parts[False] if is_enough else [*parts[False], *parts[True]],
        clips,
        score_tensor([result.scores for result in results]),
        thresholds=None if trained_on.pairs is None else trained_on.pairs.tie_thresholds,
    )
    num_learned = len(parts[True])
    return replace(
        judged,
        num_learned=num_learned,
        num_left_out=num_learned if is_enough else 0,
        num_unknown=len(parts[None]),
    )


def _has_learned(remembered: Collection[str], record: VideoRecord, sha256: str | None) -> bool | None:
    """Whether a model that remembers these digests learned from the clip; None where its file is gone."""
    if not remembered:
        return False
    try:
        return content_digest(sha256 or content_sha256(record.video)) in remembered
    except OSError:
        return None


def judge(
    scores: Sequence[Mapping[str, float]],
    records: Sequence[VideoRecord],
    trained_on: TrainedOn | None = None,
    *,
    sha256s: Sequence[str | None] = (),
    doubts: Sequence[Collection[str]] = (),
) -> Evaluation:
    """Metrics of `scores` (a mapping from dimension to score for each record), beside the no-video baseline.

    A model that learned from some of the clips, as `trained_on` remembers, is judged by the others alone, and its
    baseline knows the labels that it knew; by all clips where fewer than `MIN_VALIDATION_CLIPS` others are there.
    A clip whose content nobody knows any more is left out: the model may have learned from it. `sha256s` are the
    clips' digests where they are known already; the others are read from the files. `doubts` are the dimensions of each
    clip whose score means nothing, and so has no interval to hold a label.
    """
    predictions = score_tensor(scores)
    remembered = frozenset(() if trained_on is None else trained_on.digests)
    # The clips' indices, by whether the model learned from them; None where nobody knows.
    rows: dict[bool | None, list[int]] = {True: [], False: [], None: []}
    for index, (record, sha256) in enumerate(zip(records, sha256s or [None] * len(records), strict=True)):
        rows[_has_learned(remembered, record, sha256)].append(index)
    if len(rows[False]) < MIN_VALIDATION_CLIPS:
        checked = sorted(rows[True] + rows[False])
        evaluation = metrics_beside_baseline(predictions[checked], [records[index] for index in checked], ())
        evaluation = replace(evaluation, coverage=_coverage(scores, records, trained_on, doubts, checked))
        return replace(evaluation, num_learned=len(rows[True]), num_unknown=len(rows[None]))
    unseen, train = ([records[index] for index in rows[answer]] for answer in (False, True))
    evaluation = metrics_beside_baseline(predictions[rows[False]], unseen, train)
    evaluation = replace(evaluation, coverage=_coverage(scores, records, trained_on, doubts, rows[False]))
    return replace(evaluation, num_learned=len(train), num_left_out=len(train), num_unknown=len(rows[None]))


def _coverage(
    scores: Sequence[Mapping[str, float]],
    records: Sequence[VideoRecord],
    trained_on: TrainedOn | None,
    doubts: Sequence[Collection[str]],
    rows: Sequence[int],
) -> dict[str, Coverage]:
    """How often the intervals of the scores hold the label, over the clips at `rows`, where there are any."""
    if trained_on is None or not trained_on.margins:
        return {}
    shown = [intervals(scores[row], doubts[row] if doubts else (), trained_on.margins) for row in rows]
    prompts = [records[row].prompt for row in rows]
    found = {
        name: coverage([each[name] for each in shown], [records[row].labels.get(name) for row in rows], prompts)
        for name in DIMENSIONS
    }
    return {name: each for name, each in found.items() if each is not None}


def metrics_beside_baseline(
    predictions: Tensor,
    validation: Sequence[VideoRecord],
    train: Sequence[VideoRecord],
    *,
    before: Tensor | None = None,
) -> Evaluation:
    """Metrics of `predictions` (N, 5) with standard errors, beside what prompts alone would have given, and with a
    `Gain` where the predictions `before` training (N, 5) are known."""
    labels, train_labels = label_tensor(validation), label_tensor(train)
    prompts, train_prompts = ([record.prompt for record in records] for records in (validation, train))
    baseline = no_video_baseline(prompts, labels, train_prompts=train_prompts, train_labels=train_labels)
    return measure(predictions, labels, baseline=baseline, before=before)


def score_tensor(scores: Sequence[Mapping[str, float]]) -> Tensor:
    """Scores (N, 5) float32 in the order of `DIMENSIONS`."""
    return torch.tensor([[each[name] for name in DIMENSIONS] for each in scores]).reshape(-1, len(DIMENSIONS))


def label_tensor(records: Sequence[VideoRecord]) -> Tensor:
    """Labels (N, 5) float32 in the order of `DIMENSIONS`, NaN where there is none."""
    rows = [[record.labels.get(name, math.nan) for name in DIMENSIONS] for record in records]
    return torch.tensor(rows).reshape(-1, len(DIMENSIONS))
