"""What the endpoints answer: the JSON schema of each answer, and reports as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vjepa_demo import wording
from vjepa_demo.app.api_fields import (
    COUNT,
    DOWNLOAD,
    NUMBER,
    SCORES,
    TEXT,
    YES_OR_NO,
    a_list,
    an_object,
    described,
    schema_of,
)
from vjepa_demo.config import DIMENSIONS, INTERVAL_LEVEL
from vjepa_demo.schema import (
    BatchReport,
    EncodingReport,
    EpochReport,
    Evaluation,
    GroupScores,
    LabelRange,
    RecordProblem,
    RecordSet,
    StartReport,
    TrainedOn,
    TrainingResult,
    summarise,
)

Json = dict[str, Any]

MODEL = {
    "model": TEXT,
    "trained_on": described(TEXT, "what the model learned from"),
    "beats_baseline": described(
        YES_OR_NO, "whether the model beats the no-video baseline; null where nobody measured it"
    ),
    "caution": described(TEXT, "how far to trust the scores of the model; mostly nothing"),
    "interval_note": described(TEXT, "for which content the intervals hold, or why there are none"),
}
INTERVALS = described(
    an_object(**dict.fromkeys(DIMENSIONS, a_list(NUMBER))),
    f"lowest and highest score of the {100 * INTERVAL_LEVEL:.0f} % interval; null where there is none",
)
RESULT = {
    "video": described(TEXT, "its file name"),
    "prompt": TEXT,
    **MODEL,
    "scores": SCORES,
    "intervals": INTERVALS,
    "not_meaningful": described(an_object(), "dimension: why its score means nothing"),
    "unknown_words": described(a_list(TEXT), "of the prompt: if there are any, Alignment means nothing"),
    "neutral_prompt": described(
        TEXT, "that all scores but Alignment were made with, because of unknown words; mostly nothing"
    ),
    "unread": described(TEXT, "the end of a prompt that is longer than the model reads; mostly nothing"),
    "notes": described(a_list(TEXT), "what of the video was not scored as a player shows it; mostly nothing"),
    "seconds": an_object(decode=NUMBER, video=NUMBER, text=NUMBER, head=NUMBER),
}
DIFFERENCES = an_object(**dict.fromkeys(DIMENSIONS, NUMBER))
COMPARED = an_object(
    **MODEL,
    results=a_list(an_object(**RESULT, differences=described(DIFFERENCES, "scores minus those of the first"))),
    best=described(an_object(), "dimension: indices of results"),
)
ROW = an_object(
    line=COUNT,
    video=TEXT,
    prompt=TEXT,
    scores=SCORES,
    intervals=INTERVALS,
    not_meaningful=RESULT["not_meaningful"],
    notes=RESULT["notes"],
    error=TEXT,
)
PROBLEM = described(schema_of(RecordProblem), "line: of the table; its header is 1")
CHECKED = an_object(
    summary=TEXT,
    num_rows=COUNT,
    num_used=COUNT,
    num_clips=described(COUNT, "with labels, of the used rows, which may be several ratings of one"),
    num_pairs=described(COUNT, "pairs of clips, of the used rows"),
    label_range=schema_of(LabelRange),
    num_labels=described(an_object(), "dimension: number of labels"),
    num_answers=described(an_object(), "dimension: number of pairs answered a, b and same"),
    notes=described(a_list(TEXT), "what was guessed"),
    problems=described(a_list(PROBLEM), "each row that would not be used"),
)
PAIRS = an_object(
    n=described(COUNT, "pairs"),
    dimensions=described(
        an_object(),
        "dimension: n, num_same, without_ties and with_ties (shares of right answers) with standard errors, "
        "guess_without_ties and guess_with_ties (always the commonest answer), tie_threshold",
    ),
    lead=described(NUMBER, "without_ties above its guess, the mean of the dimensions"),
    lead_standard_error=NUMBER,
    threshold_from=described(TEXT, "the pairs that the tie thresholds were chosen on"),
    num_learned=described(COUNT, "given pairs with a clip that the model learned from"),
    num_left_out=described(COUNT, "all of those, or 0 where too few others are left to judge by"),
    num_unknown=described(COUNT, "given pairs with a clip that was deleted meanwhile, which are left out"),
)
GAIN = an_object(
    dimensions=described(an_object(), "dimension: srocc_before, srocc_gain, standard_error of the gain"),
    vquala_score_before=NUMBER,
    vquala_score_gain=NUMBER,
    standard_error=described(NUMBER, "of vquala_score_gain"),
    pairs_before=described(PAIRS, "only where there are pairs"),
)
EVALUATION = an_object(
    n=described(COUNT, "clips"),
    dimensions=described(an_object(), "dimension: srocc, plcc, krocc, rmse"),
    vquala_score=NUMBER,
    no_video_baseline=described(NUMBER, "the VQualA score of the prompts alone"),
    beats_baseline=MODEL["beats_baseline"],
    num_learned=described(COUNT, "given clips that the model learned from"),
    num_left_out=described(COUNT, "all of those, or 0 where too few others are left to judge by"),
    coverage=described(an_object(), "dimension: n, and the share of labels that the intervals held"),
    num_unknown=described(COUNT, "given clips that were deleted meanwhile, which are left out"),
    pairs=described(PAIRS, "only where there are pairs; n above may then be 0"),
    gain=described(GAIN, "what training changed; only after the training of a model that could score before"),
)
BATCHED = an_object(
    done=COUNT,
    total=COUNT,
    errors=COUNT,
    row=described(ROW, "in all but the last"),
    **MODEL,
    all=schema_of(GroupScores),
    generators=a_list(schema_of(GroupScores)),
    evaluation=EVALUATION,
    num_doubtful=described(an_object(), "dimension: in how many rows its score means nothing"),
    num_unknown=described(NUMBER, "rows whose prompt has unknown words: all but Alignment used a neutral prompt"),
    scores=DOWNLOAD,
)
EVALUATED = an_object(
    done=COUNT,
    total=COUNT,
    seconds_left=described(NUMBER, "in all but the last"),
    evaluation=described(EVALUATION, "only in the last"),
    meaning=TEXT,
)
STATISTICS = an_object(
    title=TEXT,
    num_clips=COUNT,
    num_raters=COUNT,
    num_answers=COUNT,
    dimensions=described(an_object(), "dimension: clips, raters, self_correlation, reliability, ceiling"),
    pairs=described(an_object(), "dimension: num_answers, raters, self_agreement, agreement"),
    skipped=described(an_object(), "clip: why it is shown to nobody"),
    ended=YES_OR_NO,
    notes=a_list(TEXT),
)
EXPORTED = an_object(tables=a_list(TEXT), ratings=DOWNLOAD)
TRAINED = an_object(
    phase=described({"type": "string", "enum": ["reading", "start", "epoch", "done"]}, "the other fields depend on it"),
    evaluation=EVALUATION,
    meaning=TEXT,
    checkpoint=DOWNLOAD,
)


def with_caution(scores: Json, trained_on: TrainedOn) -> Json:
    """`scores`, of one or several videos, with what to know of the model that gave them."""
    return scores | {
        "beats_baseline": trained_on.beats_baseline,
        "caution": wording.caution(trained_on),
        "interval_note": wording.interval_note(trained_on),
    }


def row_json(report: BatchReport) -> Json:
    """A row of a batch, as `BATCHED` has it."""
    row, result = report.result.row, report.result
    return {
        "done": report.done,
        "total": report.total,
        "errors": report.errors,
        "seconds_left": report.seconds_left,
        "row": {
            "line": row.line,
            "video": row.name,
            "prompt": row.prompt,
            "scores": result.scores,
            "intervals": result.scores and {name: result.intervals.get(name) for name in DIMENSIONS},
            "not_meaningful": dict(result.doubts),
            "notes": list(result.notes),
            "error": result.error,
        },
    }


def records_json(records: RecordSet) -> Json:
    """What can be used of a table of labels, as `CHECKED` has it."""
    summary = summarise(records)
    return {
        "summary": wording.summary_line(summary),
        "num_rows": summary.num_rows,
        "num_used": summary.num_used,
        "num_clips": summary.num_clips,
        "num_pairs": summary.num_pairs,
        "label_range": asdict(records.label_range),
        "num_labels": {each.dimension: each.num_labels for each in summary.dimensions},
        "num_answers": {name: dict(each) for name, each in summary.answers.items()},
        "notes": list(records.notes),
        "problems": [asdict(problem) for problem in records.problems],
    }


def training_json(report: EncodingReport | StartReport | EpochReport | TrainingResult) -> Json:
    """A report of a training run, as `TRAINED` has it."""
    if isinstance(report, EncodingReport):
        return {"phase": "reading", **asdict(report)}
    if isinstance(report, StartReport):
        return {"phase": "start", **_validated(report.validation_loss, report.validation)}
    if isinstance(report, EpochReport):
        return {
            "phase": "epoch",
            "epoch": report.epoch,
            "epochs": report.epochs,
            "loss": report.loss,
            **_validated(report.validation_loss, report.validation),
            "best": report.is_best,
            "seconds_left": report.seconds_left,
        }
    return {
        "phase": "done",
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "evaluation": report.evaluation and report.evaluation.to_dict(),
        "meaning": wording.meaning(report),
    }


def _validated(loss: float | None, evaluation: Evaluation | None) -> Json:
    return {"validation_loss": loss, "vquala_score": evaluation and evaluation.vquala_score.value}
