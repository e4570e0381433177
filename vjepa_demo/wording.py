"""Every sentence with a condition that more than one interface shows: page, command line, API and model card."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from vjepa_demo.config import (
    CACHE_VARIABLE,
    INTERVAL_LEVEL,
    MIN_INTERVAL_CLIPS,
    NEUTRAL_PROMPT,
    SHOWN_UNREAD,
    acr_word,
    no_folder,
)
from vjepa_demo.schema import (
    CLEAR_STANDARD_ERRORS,
    Comparison,
    CopyingReport,
    CountingReport,
    Doubt,
    DrawingReport,
    EncodingReport,
    EpochReport,
    Estimate,
    Evaluation,
    FetchingReport,
    FirstHead,
    Hardware,
    Interval,
    JobReport,
    LayersReport,
    OpeningReport,
    PairEvaluation,
    PlanReport,
    RecordSummary,
    ScoringReport,
    SplitReport,
    Standing,
    StartReport,
    TrainedOn,
    TrainingResult,
    UploadingReport,
    VideoRecord,
    VideoScores,
    standing,
)
from vjepa_demo.schema.rating import DimensionRatings, PairRatings

INTERVALS = f"{100 * INTERVAL_LEVEL:.0f} % intervals"
SHOWN_WORDS = 300  # of those that a model knows
SHOWN_UNKNOWN = 10  # of those in a prompt that it does not know
NO_VERDICT = "–"  # in the place of an ACR word
WHY_DOUBTFUL: dict[Doubt, str] = {
    "unknown_words": "the model does not know every word of the prompt",
    "single_frame": "the video has a single frame",
    "no_labels": "the model was trained without labels for it",
}


# ---- small words -----------------------------------------------------------------------------------------------------


def counted(number: int, noun: str) -> str:
    """Such as "3 rows" and "1 row"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def clips_and_pairs(num_clips: int, num_pairs: int) -> str:
    """Such as "3 clips", "4 pairs", and "3 clips and 4 pairs"."""
    clips = [counted(num_clips, "clip")] if num_clips or not num_pairs else []
    return listed([*clips, *([counted(num_pairs, "pair")] if num_pairs else [])])


def listed(names: Sequence[str]) -> str:
    """`names`, at least one, as words: "a", "a and b", "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def some_of(names: Sequence[str], most: int = 3) -> str:
    """The first `most` of `names`, and how many more there are: "a, b, c and 4 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def no_videos_but(names: Sequence[str]) -> str:
    """What follows "holds no videos": the `names` of the other files; empty without any."""
    return f", only {some_of([shortened(name) for name in names])}" if names else ""


def left_out_notes(skipped: Sequence[str], repeated: Sequence[str] = ()) -> list[str]:
    """What a batch leaves out of a folder or a zip: files `skipped` for their names, and second ways to a video."""
    notes = []
    if skipped:
        shown = some_of([shortened(name) for name in skipped])
        notes.append(f"Skipped {counted(len(skipped), 'file')} whose name does not end as a video's does: {shown}.")
    if repeated:
        shown = some_of([shortened(name) for name in repeated])
        notes.append(f"Left out {counted(len(repeated), 'link')} to videos that are scored already: {shown}.")
    return notes


def shortened(text: str, characters: int = 60) -> str:
    """`text` on one line, cut to `characters`."""
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def duration(seconds: float) -> str:
    """Such as "45 s" and "3 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def time_left(seconds: float | None) -> str:
    """Such as "45 s left"; empty where nothing is known, or nothing is left."""
    return f"{duration(seconds)} left" if seconds and round(seconds) else ""


def encoding_line(report: LayersReport) -> str:
    """What is told while the layers of the video encoder run: such as "Encoding the video: about 18 s left"."""
    what, seconds = "Encoding the video", f"about {duration(max(1, report.seconds_left))}"
    return f"{what}: {seconds} left" if report.done else f"{what}, {seconds}"


def encoding_time(seconds: float | None, num_clips: int = 1) -> str:
    """How long `num_clips` clips take to be encoded, which is `seconds` if none is known; empty where that is None."""
    if seconds is None:
        return ""
    if num_clips == 1:
        return f"encoding a clip takes about {duration(seconds)} here"
    return (
        f"encoding a clip takes about {duration(seconds / num_clips)} here, all {num_clips:,} up to {duration(seconds)}"
    )


def bytes_text(num_bytes: int) -> str:
    """Such as "3.4 MB" and "20 GB"."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes} bytes"


# ---- scores ----------------------------------------------------------------------------------------------------------


UNPROVEN: dict[Standing | None, str] = {
    "does not beat": "This model does not beat the no-video baseline on clips it had not seen",
    "unclear": "This model does not clearly beat the no-video baseline on clips it had not seen",
    "undefined": "The agreement of this model with the labels of clips it had not seen is undefined",
}


def verdict_word(score: float, dimension: str, doubts: Mapping[str, Doubt], trained_on: TrainedOn) -> str:
    """The ACR word of a score. A dash where the score means nothing, where the model does not beat its baseline, where
    its scores of this dimension did not agree with labels, or where it learned from pairs alone."""
    disagrees = trained_on.srocc.get(dimension, 1.0) <= 0 or trained_on.has_only_pairs
    return NO_VERDICT if dimension in doubts or trained_on.standing in UNPROVEN or disagrees else acr_word(score)


def doubtful(dimensions: Mapping[str, Doubt], unknown_words: Iterable[str] = ()) -> list[str]:
    """A sentence for each dimension whose score means nothing; `unknown_words` are named where they are the reason."""
    words, sentences = some_of(list(unknown_words), SHOWN_UNKNOWN), []
    for name, reason in dimensions.items():
        why = f"the model does not know {words}" if reason == "unknown_words" and words else WHY_DOUBTFUL[reason]
        sentences.append(f"{name} means nothing here: {why}.")
    return sentences


def neutral_prompt(prompt: str = NEUTRAL_PROMPT, whose: str = "") -> str:
    """What to say of scores that were made with a neutral prompt; `whose`, such as " of 3 of 5 rows", says which. Empty
    where `prompt` is."""
    return f"Because of unknown words, all scores but Alignment{whose} use the prompt “{prompt}”." if prompt else ""


def unread(text: str) -> str:
    """What to say of the end of a prompt that the model did not read; empty where it read all."""
    if not text:
        return ""
    begin = textwrap.shorten(text, SHOWN_UNREAD, placeholder=" ...")
    return f"The prompt is longer than the model reads: nothing from “{begin}” on counts."


def notes(results: Sequence[VideoScores]) -> list[str]:
    """What a reader of these scores, all by one model, must know: one sentence each, none twice."""
    said = [
        sentence
        for result in results
        for sentence in (
            *doubtful(result.doubts, result.unknown_words),
            neutral_prompt(result.neutral_prompt),
            unread(result.unread),
            *result.notes,
        )
    ]
    return list(dict.fromkeys(filter(None, said)))


def comparison_notes(comparison: Comparison) -> list[str]:
    """As `notes`, with one sentence a dimension for all results together."""
    words = sorted({word for result in comparison.results for word in result.unknown_words})
    neutral = [result.neutral_prompt for result in comparison.results if result.neutral_prompt]
    told = neutral_prompt(neutral[0] if neutral else "")
    if comparison.prompts_differ:
        told = neutral_prompt(neutral[0], f" of {len(neutral)} of {len(comparison.results)} clips")
        told += " So no clip is best in Overall, which the prompt alone moves."
    others = dict.fromkeys(each for result in comparison.results for each in (unread(result.unread), *result.notes))
    return [*doubtful(comparison.doubts, words), *filter(None, (told, *others))]


def batch_notes(num_doubtful: Mapping[str, int], num_scored: int, num_unknown: int) -> list[str]:
    """What a reader of the means of a batch must know: how many of its `num_scored` rows each doubt is about, and that
    the prompts of `num_unknown` have unknown words."""
    doubts = [
        f"{name} means nothing in {number:,} of {counted(num_scored, 'row')}, and so its mean says little."
        for name, number in num_doubtful.items()
    ]
    whose = f" of {num_unknown:,} of {counted(num_scored, 'row')}"
    return [*doubts, *([neutral_prompt(whose=whose)] if num_unknown else [])]


def interval_text(interval: Interval) -> str:
    """Such as "3.41 to 4.62"."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


# ---- what a model is worth -------------------------------------------------------------------------------------------


def caution(trained_on: TrainedOn, *, after_verdict: bool = False) -> str:
    """How far to trust the scores of a model; empty where nothing speaks against them.

    With `after_verdict` it follows a verdict on the baseline, which it does not repeat.
    """
    sentences = []
    if trained_on.beats_baseline is False and after_verdict:
        sentences.append("Do not rely on the scores of this model.")
    elif trained_on.standing in UNPROVEN:
        sentences.append(f"{UNPROVEN[trained_on.standing]}: do not rely on its scores.")
    elif disagreeing := [name for name, srocc in trained_on.srocc.items() if srocc <= 0]:
        sentences.append(f"Its scores of {listed(disagreeing)} did not agree with labels of clips it had not seen.")
    if trained_on.kind != "procedural" and trained_on.num_clips and not trained_on.num_held_out:
        sentences.append("No clip was held out, so nobody knows how well its scores agree with labels.")
    if trained_on.has_only_pairs:
        sentences.append("It learned from pairs: its scores say which clip is better, not how good one is.")
    if trained_on.kind == "procedural":
        sentences.append(
            "It learned from drawn clips, not from people: compare versions of one clip, and take no score as a "
            "verdict. On real footage trust Traditional and Temporal more than Aesthetic, Alignment and Overall."
        )
    return " ".join(sentences)


def trust(model: str, trained_on: TrainedOn) -> str:
    """What the head of `model` learned from, and how well its scores agreed with labels it had not seen."""
    learned = f"The head of {model} learned from {trained_on}."
    if (pairs := trained_on.pairs) is not None and pairs.accuracy:
        shares = ", ".join(f"{name} {value:.0%}" for name, value in pairs.accuracy.items())
        held_out = counted(pairs.num_held_out, "pair")
        learned += f" Of {held_out} it had not seen, it told the better clip: {shares}."
    if not trained_on.srocc:
        return learned
    sroccs = ", ".join(f"{name} {value:.2f}" for name, value in trained_on.srocc.items())
    clips = counted(trained_on.num_held_out, "clip")
    return f"{learned} Rank correlation (SROCC) with the labels of {clips} it had not seen: {sroccs}."


def interval_note(trained_on: TrainedOn) -> str:
    """For which content the 90 % intervals of a model hold, and why it has none of some dimensions, or of all."""
    counts = trained_on.num_margin_clips
    if not counts:
        return "Its scores have no intervals: nobody has measured how far they are from labels that it had not seen."
    sentences = []
    if trained_on.margins:
        most = max(counts.get(name, 0) for name in trained_on.margins)
        is_drawn = trained_on.kind == "procedural"
        clips = f"{'drawn ' if is_drawn else ''}clips like the {most:,} that they were measured on"
        but = "; for real footage they are too narrow" if is_drawn else ""
        sentences.append(f"Its {INTERVALS} hold for {clips}{but}.")
    if missing := [name for name in trained_on.dimensions if name not in trained_on.margins]:
        few = listed([f"{name} ({counts.get(name, 0):,})" for name in missing])
        sentences.append(
            f"No interval for {few}: at least {MIN_INTERVAL_CLIPS} validation clips with a label are needed for one."
        )
    return " ".join(sentences)


def margins_line(trained_on: TrainedOn) -> str:
    """The widths of a model's 90 % intervals, where it has some, with their `interval_note`."""
    if not trained_on.margins:
        return interval_note(trained_on)
    widths = ", ".join(f"{name} ± {margin:.2f}" for name, margin in trained_on.margins.items())
    return f"{INTERVALS}: {widths}. {interval_note(trained_on)}"


def coverage_line(evaluation: Evaluation) -> str:
    """How often the 90 % intervals held the label; empty where the model has none."""
    if not evaluation.coverage:
        return ""
    shares = []
    for name, each in evaluation.coverage.items():
        error = each.share.standard_error
        beside = "" if error is None else f" ± {100 * error:.1f}"
        shares.append(f"{name} {100 * (each.share.value or 0.0):.1f}{beside} % of {each.n:,}")
    return f"Labels inside the {INTERVALS}: {', '.join(shares)}."


def known_words(trained_on: TrainedOn) -> str:
    """The words that a model knows as a list in a sentence, cut where it is long."""
    return some_of(trained_on.known_words, SHOWN_WORDS)


def card_verdict(trained_on: TrainedOn) -> str:
    """How a checkpoint compares with the no-video baseline, as far as its numbers are known."""
    if trained_on.has_only_pairs and trained_on.pairs is not None and trained_on.pairs.lead is not None:
        return _against_guess(Estimate(trained_on.pairs.lead, trained_on.pairs.lead_standard_error))
    if trained_on.vquala_score is None:
        return "VQualA score and no-video baseline: not known."
    score, lead = Estimate(trained_on.vquala_score), Estimate(trained_on.lead, trained_on.lead_standard_error)
    if trained_on.lead is None:
        baseline = trained_on.no_video_baseline
        numbers = f"VQualA score {score}, no-video baseline {'not known' if baseline is None else f'{baseline:.3f}'}."
        return numbers + (" The model does not beat it." if trained_on.beats_baseline is False else "")
    return _compared(score, Estimate(trained_on.no_video_baseline), lead)


def verdict(evaluation: Evaluation) -> str:
    """Whether the model beats the no-video baseline, or why that cannot be said; before that a sentence on the clips
    that it learned from, where there are any."""
    sentences = []
    if evaluation.num_learned:
        given = counted(evaluation.n + evaluation.num_left_out + evaluation.num_unknown, "clip")
        learned = f"The model learned from {evaluation.num_learned:,} of the {given}"
        rest = (
            "they are left out"
            if evaluation.num_left_out
            else "too few others are there to judge it by, so these numbers flatter it"
        )
        sentences.append(f"{learned}: {rest}.")
    if evaluation.num_unknown:
        sentences.append(
            f"{counted(evaluation.num_unknown, 'clip')} left out: deleted meanwhile, and the model may have learned "
            "from them."
        )
    pairs = [] if evaluation.pairs is None else [pair_verdict(evaluation.pairs)]
    if evaluation.n or not pairs:
        sentences.append(_against_baseline(evaluation))
    return " ".join([*sentences, *pairs])


def pair_verdict(pairs: PairEvaluation) -> str:
    """Whether the model tells the better clip of a pair more often than a guess, or why that cannot be said; before
    that a sentence on the pairs whose clips it learned from, where there are any."""
    sentences = []
    if pairs.num_learned:
        given = counted(pairs.n + pairs.num_left_out + pairs.num_unknown, "pair")
        rest = "they are left out" if pairs.num_left_out else "too few others are there, so these numbers flatter it"
        sentences.append(f"The model learned from a clip of {pairs.num_learned:,} of the {given}: {rest}.")
    if pairs.num_unknown:
        sentences.append(f"{counted(pairs.num_unknown, 'pair')} left out: a clip of each was deleted meanwhile.")
    return " ".join([*sentences, _against_guess(pairs.lead)])


def tie_protocol(pairs: PairEvaluation) -> str:
    """How the scores say "same", for whoever reads an accuracy with ties."""
    is_learned = pairs.threshold_from == "training pairs"
    return (
        "With ties, two clips are the same where their scores differ by no more than a threshold, which is chosen on "
        f"{'the pairs that the model learned from' if is_learned else pairs.threshold_from}."
    )


def _against_guess(lead: Estimate) -> str:
    """How often a model tells the better clip of a pair, above always guessing the commoner answer."""
    if lead.value is None:
        return "In no pair is one clip better, so it cannot be said whether the model tells the better one."
    stands = standing(lead.value, lead.standard_error)
    verb = {"beats": "beats", "unclear": "does not clearly beat"}.get(stands, "does not beat")
    error = "" if lead.standard_error is None else f" ± {100 * lead.standard_error:.1f}"
    return (
        f"On pairs the model {verb} always guessing the commoner answer: it tells the better clip in "
        f"{100 * lead.value:+.1f}{error} percentage points more of the pairs."
    )


def _against_baseline(evaluation: Evaluation) -> str:
    score, baseline, lead = evaluation.vquala_score, evaluation.no_video_baseline, evaluation.lead
    if baseline is None:
        return "No baseline was computed, so the scores say nothing about what the prompts alone would give."
    if score.value is None or lead.value is None:
        too_few = all(metrics.srocc.value is None and metrics.n < 3 for metrics in evaluation.dimensions.values())
        reason = "fewer than 3 labelled clips" if too_few else "the labels or the scores are all alike"
        return f"The VQualA score is undefined ({reason}), so it cannot be compared with the baseline."
    return _compared(score, baseline.vquala_score, lead)


def _compared(score: Estimate, baseline: Estimate, lead: Estimate) -> str:
    """The one verdict on a model: the page, the command line, the API and the model card say the same."""
    assert lead.value is not None
    stands = standing(lead.value, lead.standard_error)
    verb = {"beats": "beats", "unclear": "does not clearly beat"}.get(stands, "does not beat")
    if baseline.value is None:
        rival, detail = "chance", "0. Prompt means do not rank these clips, so there is no baseline"
    elif baseline.value < 0:
        rival = "the no-video baseline"
        detail = f"chance (0), because prompt means rank these clips worse than chance ({baseline.value:.3f})"
    else:
        rival, detail = "the no-video baseline", f"{baseline}, which prompt means give without a look at the video"
    said = f"The model {verb} {rival}: VQualA score {score} against {detail}."
    if stands != "unclear":
        return said
    if lead.standard_error is None:
        return f"{said} The lead has no standard error (too few clips, or none asked for), so it may be luck."
    return (
        f"{said} The lead, {lead}, is not larger than {CLEAR_STANDARD_ERRORS:g} of its standard errors; "
        "more labelled clips would tell."
    )


def gain(result: TrainingResult) -> str:
    """What the training changed; empty where nothing can be said."""
    if result.evaluation is None or result.evaluation.gain is None:
        return ""
    change, before = result.evaluation.gain.vquala_score, result.evaluation.gain.before.vquala_score
    if change.value is None or before.value is None:
        pairs = result.evaluation.gain.before.pairs
        share = None if pairs is None else pairs.share_told
        return "" if share is None else f"Before training it told {share:.1%} of the better clips of pairs."
    if change.value <= 0:
        return f"Training did not help on these clips: the VQualA score was {before.value:.3f} before."
    is_clear = standing(change.value, change.standard_error) == "beats"
    unclear = f", which is not larger than {CLEAR_STANDARD_ERRORS:g} of its standard errors"
    return (
        f"Before training the VQualA score was {before.value:.3f}: it rose by {change}{'' if is_clear else unclear}. "
        "These clips also chose the best epoch, which flatters the score a little."
    )


def meaning(result: TrainingResult) -> str:
    """What the metrics of a training run say, in plain sentences."""
    if result.evaluation is None:
        return "There was no validation set, so nothing can be said about how good the model is."
    return " ".join(filter(None, (verdict(result.evaluation), gain(result))))


# ---- labels ----------------------------------------------------------------------------------------------------------


def summary_line(summary: RecordSummary, *, are_videos_there: bool = True) -> str:
    """What will be used of a labelled table, in numbers; or what can be, once its videos are there."""
    labels = ", ".join(f"{each.dimension} {each.num_labels:,}" for each in summary.dimensions) or "none"
    answers = ", ".join(
        f"{name} {sum(each.values()):,} ({each['same']:,} same)" for name, each in summary.answers.items()
    )
    given = [f"labels from {summary.label_range}: {labels}"] if summary.dimensions or not answers else []
    given += [f"pairs: {answers}"] if answers else []
    return (
        f"{summary.num_used:,} of {counted(summary.num_rows, 'row')} "
        f"{'will be used' if are_videos_there else 'can be used, once their videos are there'}: "
        f"{counted(summary.num_videos, 'video')}, {counted(summary.num_prompts, 'prompt')}; {'; '.join(given)}."
    )


def ratings_notes(records: Iterable[VideoRecord]) -> list[str]:
    """What was averaged, where several rows of a table rate one clip."""
    several = [record for record in records if record.num_rows > 1]
    if not several:
        return []
    raters = {rater for record in several for each in record.ratings.values() for rater in each.raters} - {""}
    ratings = counted(sum(record.num_rows for record in several), "rating")
    by = f" by {counted(len(raters), 'rater')}" if raters else ""
    clips = counted(len(several), "clip")
    return [f"{ratings}{by}, averaged: rows of the same video and prompt rate one clip ({clips})."]


def rating_notes(
    clips: Mapping[str, DimensionRatings], pairs: Mapping[str, PairRatings], skipped: Mapping[str, str]
) -> list[str]:
    """What the owner of a study must know of its raters and clips; `skipped` maps the names of clips to reasons."""
    notes = [f"{shortened(name)} is shown to nobody: {reason}." for name, reason in skipped.items()]
    constant: dict[str, list[str]] = {}
    for name, of_clips in clips.items():
        for rater in of_clips.raters:
            if rater.constant is not None:
                constant.setdefault(rater.rater, []).append(f"{name} ({rater.constant:g})")
    for name, of_pairs in pairs.items():
        for each in of_pairs.raters:
            if each.constant is not None:
                constant.setdefault(each.rater, []).append(f"{name} ({each.constant})")
    for who, where in constant.items():
        notes.append(
            f"“{shortened(who)}” gave every {'pair' if pairs else 'clip'} the same answer in {listed(where)}: such "
            "answers say nothing about the clips; ask the rater, or leave those rows out."
        )
    return notes


# ---- what runs -------------------------------------------------------------------------------------------------------


VERBS: dict[type[CountingReport], str] = {
    FetchingReport: "Fetched",
    OpeningReport: "Opened",
    CopyingReport: "Copied",
    UploadingReport: "Uploaded",
    DrawingReport: "Drawn",
    EncodingReport: "Encoded",
    ScoringReport: "Scored",
}


def progress_line(report: PlanReport | CountingReport | SplitReport | StartReport | EpochReport) -> str:
    """How far a run is, without the time left."""
    if isinstance(report, PlanReport):
        return f"Drawing and encoding {counted(report.num_clips, 'clip')} takes about {duration(report.seconds)} here"
    if isinstance(report, SplitReport):
        if not report.num_train_pairs and not report.num_validation_pairs:
            return f"{counted(report.num_train, 'clip')} to learn from, {report.num_validation:,} to validate with"
        learned = clips_and_pairs(report.num_train, report.num_train_pairs)
        validated = clips_and_pairs(report.num_validation, report.num_validation_pairs)
        return f"{learned} to learn from, {validated} to validate with"
    if isinstance(report, StartReport):
        return f"Before training: validation loss {report.validation_loss:.4f}{_judged(report.validation)}"
    if isinstance(report, EpochReport):
        judged = ""
        if report.validation is not None:
            judged = f", validation loss {report.validation_loss:.4f}{_judged(report.validation)}"
        best = ", the best so far" if report.is_best else ""
        return f"Epoch {report.epoch} of {report.epochs}: loss {report.loss:.4f}{judged}{best}"
    noun = {FetchingReport: "video", OpeningReport: "video", UploadingReport: "file"}.get(type(report), "clip")
    return f"{VERBS[type(report)]} {report.done:,} of {counted(report.total, noun)}"


def _judged(validation: Evaluation) -> str:
    """The numbers by which an epoch is judged: of clips with labels, of pairs, or of both."""
    score = f", VQualA score {validation.vquala_score}" if validation.n or validation.pairs is None else ""
    share = None if validation.pairs is None else validation.pairs.share_told
    return score + ("" if share is None else f", {share:.1%} of the better clips of pairs told")


def plan_notes(report: PlanReport) -> list[str]:
    """What to know before a first head is learned."""
    if report.cpu_frames is None:
        return []
    return [f"without a GPU, the encoder sees {report.cpu_frames} frames of a clip; the model keeps that"]


def encoding_notes(report: EncodingReport) -> list[str]:
    """What to know once all clips are encoded: rows that are left out, and clips that are encoded again each epoch."""
    left_out = [f"{problem}: left out" for problem in report.problems]
    if not report.recomputed:
        return left_out
    return [
        *left_out,
        f"{counted(report.recomputed, 'clip')} do not fit into the feature cache: encoded anew each epoch",
    ]


def first_head_line(state: FirstHead) -> str:
    """One line on a first head that is learned in the background; empty where there is nothing to tell."""
    learns = f"{state.name} is learning its first head"
    left = f", {time_left(state.seconds_left)} in all" if time_left(state.seconds_left) else ""
    return {
        "waiting": "",
        "idle": "",
        "loading": f"{learns}: its encoder is being loaded",
        "drawing": f"{learns}, step 1 of 3: {state.done} of {state.total} clips drawn{left}",
        "encoding": f"{learns}, step 2 of 3: {state.done} of {state.total} clips encoded{left}",
        "learning": f"{learns}, step 3 of 3: epoch {state.done} of {state.total}{left}",
        "stopping": f"{learns}: stopping",
        "done": f"{state.name} has learned its first head: it can be chosen now",
        "stopped": f"{state.name} was stopped before it had learned its first head; it starts again at the next start",
        "failed": f"{state.name} could not learn its first head: {state.problem}",
        "elsewhere": f"{state.name} is learning its first head in another process",
    }[state.phase]


def hardware_line(hardware: Hardware) -> str:
    """A machine for rent, with its memory and its price as the Hub gives it, by the hour where that can be told."""
    price = ""
    if hardware.dollars is not None:
        per_hour = {"minute": 60, "hour": 1}.get(hardware.unit)
        price = f"${hardware.dollars * per_hour:.2f}/h" if per_hour else f"${hardware.dollars:g} a {hardware.unit}"
    return " · ".join(filter(None, [hardware.title, hardware.memory, price]))


def job_line(report: JobReport, checkpoint: str) -> str:
    """One line on a job that trains `checkpoint` on rented hardware."""
    time = "" if report.seconds is None else f", {duration(report.seconds)}"
    return {
        "waiting": "The job waits for a machine",
        "running": f"The job runs{time}",
        "done": f"Done{time}: {checkpoint} is on the Hub, private",
        "failed": "The job failed: the end of its log says why",
        "cancelled": "The job was cancelled: it made no checkpoint",
    }[report.phase]


def about_cache(folder: Path | None, num_files: int, num_bytes: int, budget_bytes: int) -> str:
    """Where the feature cache is, how large, what it holds, and when that goes. `budget_bytes` is 0 where it is off."""
    if folder is None:
        return f"Features of videos are not kept on disk: {no_folder(CACHE_VARIABLE)}."
    if not budget_bytes:
        return "The feature cache is turned off: features of videos are not kept on disk."
    where = str(folder)
    with suppress(RuntimeError):  # no home
        home = str(Path.home())
        where = where.replace(home, "~", 1) if folder.is_relative_to(home) else where
    return (
        f"The feature cache holds the features of videos (numbers and frame times; no pictures, no prompts). It is in "
        f"`{where}`: {counted(num_files, 'file')}, {bytes_text(num_bytes)} of at most {bytes_text(budget_bytes)}. When "
        "it is full, the features used longest ago go. `python -m vjepa_demo cache --clear` deletes all of them."
    )
