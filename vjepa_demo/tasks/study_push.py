"""A study goes to the Hub as a data set: its tables, its clips, and a card that says what they are. Loads no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from vjepa_demo.config import HUB_LIBRARY, VIDEO_SUFFIXES
from vjepa_demo.data.hub import Token, upload_files
from vjepa_demo.data.records import LABELS_FILE
from vjepa_demo.schema import UploadingReport, as_markdown
from vjepa_demo.tasks.rate import PAIRS_TABLE, RATINGS_TABLE, SCORES_TABLE, VIDEOS_FOLDER, OpenStudy
from vjepa_demo.wording import counted, listed

CARD_FILE = "README.md"
COLUMNS = {
    LABELS_FILE: (
        "a row a clip, with its mean scores. `video_name` is the file's path in `videos/`, `Prompt` the text that the "
        "video was made from. A column `<dimension>_MOS` for each of the five dimensions; it is empty where nobody "
        "judged."
    ),
    RATINGS_TABLE: (
        "a row a rating. `video_name` and `Prompt` as above; `generator`: what made the video, where that is known; "
        "`rater`: the name that the rater gave; a column for each dimension that was asked about, from 1 to 5 and "
        "empty for “cannot judge”; `repeat`: yes where the rater saw the clip for the second time; `rated_at`: when, "
        "in UTC; `seconds`: how long it took."
    ),
    SCORES_TABLE: (
        "a row a clip. `video_name`, `Prompt` and `generator` as above; for each dimension that was asked about the "
        "score without the raters' biases (`mos`), the ends of its 95 % interval (`low`, `high`; empty where one rater "
        "or too few say nothing of it), how many rated it (`num_raters`), and the plain mean (`plain`)."
    ),
    PAIRS_TABLE: (
        "a row an answer. `video_a` and `video_b` are the paths in `videos/` of the clips that were shown left and "
        "right; `prompt`: the text that both were made from; `rater`: the name that the rater gave; a column for each "
        "dimension that was asked about: a, b or same for which clip is better, and empty for “cannot judge”; "
        "`rated_at`: when, in UTC; `seconds`: how long it took. A second answer to a pair is left out."
    ),
}
LABELS = {
    "clips": (
        "People watched each clip with its prompt and gave scores from 1 (bad) to 5 (excellent), without seeing what "
        "made it. A label is the clip's mean score without the biases of the raters: the least squares solution of "
        "*rating = score + bias of the rater + noise* (ITU-T P.913, clause 12.4), cut to 1 to 5. Of a rater who rated "
        "a clip twice, the mean counts once. Practice clips are in no table."
    ),
    "pairs": (
        "People watched two clips of one prompt side by side and said which is better, without seeing what made them. "
        "Which clip was left was random. An answer is a label as it was given; nothing is averaged. Practice pairs are "
        "in no table."
    ),
}


def push_study(
    study: OpenStudy, repo_id: str, *, token: Token, private: bool = True
) -> Generator[UploadingReport | str, None, None]:
    """Upload what `study.export` writes, with the clips and a card, to the data set `repo_id` (`owner/name`) in one
    commit: an `UploadingReport` now and then, and last the address of its page.

    `read_hub_records` reads it back: a study of clips as its labels.csv, one of pairs as its pairs.csv. The data set is
    made if need be; another study of this program that was there is replaced. Closing the iterator before its end
    commits nothing.

    Raises:
        RecordError: if nobody has rated anything yet, or the Hub refuses it (see `upload_files`).
        FolderError: if there is no room for a copy of the clips.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "data"
        tables = [table.name for table in study.export(folder, videos=True)]
        card = study_card(study, tables, repo_id)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files: dict[str, Path | bytes] = {path.relative_to(folder).as_posix(): path for path in paths}
        message = f"Upload {counted(study.statistics().num_answers, 'answer')} of raters"
        uploads = upload_files(
            repo_id,
            {CARD_FILE: card.encode(), **files},
            token=token,
            private=private,
            message=message,
            is_ours=_is_ours,
            kind="dataset",
        )
        with closing(uploads):
            yield from uploads


def _is_ours(path: str) -> bool:
    """Whether an earlier push has written `path`, within a data set."""
    is_clip = path.startswith(f"{VIDEOS_FOLDER}/") and path.lower().endswith(VIDEO_SUFFIXES)
    return is_clip or path in (CARD_FILE, *COLUMNS)


def study_card(study: OpenStudy, tables: list[str], repo_id: str) -> str:
    """The README of the data set `repo_id` with the `tables` of `study`, in the Hub's format. It names no rater."""
    kind, found = study.study.kind, study.statistics()
    ratings = [rating for rating in study.ratings() if rating.round != "warm_up"]
    raters = counted(len({rating.rater for rating in ratings}), "rater")
    repeats = counted(sum(rating.round == "repeat" for rating in ratings), "answer")
    clips, dimensions = counted(len(study.study.clips), "clip"), listed(study.study.dimensions)
    asked = f", {counted(len(study.study.pairs), 'pair')} of them to compare" if kind == "pairs" else ""
    # One table each, because the Hub's viewer takes tables of one configuration to have the same columns.
    configs = "".join(f"- config_name: {Path(name).stem}\n  data_files: {name}\n" for name in tables)
    agreement = "".join(
        f"| {name} | {len(each.clips):,} | {each.reliability} | {each.self_correlation} |\n"
        for name, each in found.dimensions.items()
    ) or "".join(
        f"| {name} | {each.num_answers:,} | {each.agreement} | {each.self_agreement} |\n"
        for name, each in found.pairs.items()
    )
    tag, numbers, meant = {
        "clips": (
            "mean-opinion-score",
            "clips with a label",
            "correlations: of the mean scores of all raters, and of a rater's two scores",
        ),
        "pairs": ("pairwise-comparison", "answers", "the shares of equal answers to the same pair"),
    }[kind]
    described = "".join(f"- `{name}`: {COLUMNS[name]}\n" for name in tables)
    return f"""---
library_name: {HUB_LIBRARY}
task_categories: [video-classification]
tags: [video-quality-assessment, generated-video, {tag}]
configs:
{configs}---
# {as_markdown(study.study.title)}

Generated videos that people rated: {clips}{asked}, {raters}, {counted(len(ratings), "answer")} ({repeats} to something
that the rater had seen before). The raters were asked about {dimensions}.

**Whoever may read this repository sees the names that the raters gave, their answers, the prompts and the clips.**

## Files

{described}- `{VIDEOS_FOLDER}/`: the clips.

## What the labels are

{LABELS[kind]}

| dimension | {numbers} | raters agree with each other | with themselves |
| --- | --- | --- | --- |
{agreement}
The last two columns are {meant}.

## Use

```sh
python -m vjepa_demo train {repo_id} --out my-model --human
```
"""
