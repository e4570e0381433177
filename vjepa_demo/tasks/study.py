"""Makes studies: folders with the clips that people will rate, under names that say nothing of where they are from."""

from __future__ import annotations

import secrets
import shutil
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from vjepa_demo.config import DIMENSIONS, VIDEO_SUFFIXES
from vjepa_demo.data.cells import path_parts
from vjepa_demo.data.ratings import CLIPS_FOLDER, PREVIEWS_FOLDER, preview_path, write_study
from vjepa_demo.files import content_sha256, new_folder, reading, writing
from vjepa_demo.media.isolated import write_preview
from vjepa_demo.schema import (
    BatchTable,
    CopyingReport,
    LabelRange,
    OpeningReport,
    RecordError,
    RecordSet,
    VideoError,
    VideoRecord,
    prompt_key,
)
from vjepa_demo.schema.rating import Study, StudyClip, StudyKind, StudyMade, StudyOrder
from vjepa_demo.tasks.labels import check_videos
from vjepa_demo.wording import counted, some_of

MAX_PARTNERS = 4  # of a clip on each side, where a prompt has many clips: then not all pairs of them are asked for
MAX_TITLE_CHARACTERS = 200


def make_study(
    table: BatchTable,
    folder: str | Path,
    *,
    title: str = "",
    kind: StudyKind = "clips",
    dimensions: Sequence[str] = DIMENSIONS,
    seed: int = 0,
    order: StudyOrder = "random",
    study_id: str | None = None,
    owner_sha256: str = "",
    max_bytes: int | None = None,
) -> Iterator[OpeningReport | CopyingReport | StudyMade]:
    """Copy the videos of `table` into the new or empty `folder` and write its study.json: a report a video that is
    opened and one that is copied, and last the `StudyMade`. `study_id`, the link, is by default a new one.

    A row whose video is missing or cannot be read, and one that has the content and the prompt of an earlier row, is
    left out, with a note. Of kind "pairs", all pairs of clips of one prompt are asked for; where a prompt has more than
    `2 * MAX_PARTNERS + 1` clips, so many that each clip meets `2 * MAX_PARTNERS` others. Closing the iterator leaves
    nothing behind.

    Raises:
        RecordError: if no clip is left, no two of one prompt for pairs, or if the clips and the copies that browsers
            play have more than `max_bytes`.
        FolderError: if `folder` holds something or cannot be written.
    """
    chosen = tuple(name for name in DIMENSIONS if name in dimensions)
    if not chosen or len(chosen) < len(set(dimensions)):
        raise RecordError(f"dimensions: some of {', '.join(DIMENSIONS)} were expected; got {', '.join(dimensions)}")
    notes = [f"line {row.line}: {row.problem}" for row in table.rows if row.problem]
    usable = {row.line: row for row in table.rows if row.video is not None}
    records = [VideoRecord(row.name, row.video, row.prompt, {}, line) for line, row in usable.items() if row.video]
    readable: tuple[VideoRecord, ...] = ()
    for report in check_videos(RecordSet(tuple(records), (), LabelRange(), len(table.rows))):
        if isinstance(report, RecordSet):
            readable = report.records
            notes += map(str, report.problems)
        else:
            yield report
    with writing(Path(folder), advice="its disk must have room for the clips"), new_folder(folder) as new:
        (new / CLIPS_FOLDER).mkdir()
        clips = yield from _copied(readable, {line: row.generator for line, row in usable.items()}, new, max_bytes)
        if copies := len(readable) - len(clips):
            notes.append(f"Left out {counted(copies, 'row')} with the video and the prompt of another row.")
        if not clips:
            raise RecordError(f"no clip can be rated: {some_of(notes) or 'there are no rows'}")
        pairs = _pairs(clips, seed) if kind == "pairs" else ()
        if kind == "pairs" and not pairs:
            raise RecordError("pairs are made of two clips of one prompt, and no prompt has two clips here")
        study = Study(
            id=study_id or secrets.token_urlsafe(16),
            # The name of the table may tell raters what made the clips.
            title=" ".join(title.split())[:MAX_TITLE_CHARACTERS] or counted(len(clips), "clip"),
            kind=kind,
            dimensions=chosen,
            clips=clips,
            pairs=pairs,
            seed=seed,
            order=order,
            owner_sha256=owner_sha256,
        )
        write_study(new, study)
    yield StudyMade(study, str(folder), (*table.notes, *notes))


def _copied(
    records: Sequence[VideoRecord], generators: dict[int, str | None], folder: Path, max_bytes: int | None
) -> Generator[CopyingReport, None, tuple[StudyClip, ...]]:
    """A report each of `records`; returns their clips, copied into `folder`, without those that are there already."""
    clips: dict[tuple[str, str], StudyClip] = {}
    names: dict[str, str] = {}  # the content of each name
    size = 0
    for done, record in enumerate(records, start=1):
        yield CopyingReport(done, len(records))
        with reading(record.video):
            sha256 = content_sha256(record.video)
        if (sha256, record.prompt_key) in clips:
            continue
        key = secrets.token_hex(8)
        suffix = record.video.suffix.lower()
        video = f"{CLIPS_FOLDER}/{key}{suffix}"
        shutil.copyfile(record.video, folder / video)
        with suppress(VideoError):  # it takes too long to make: a rater whose browser has no decoder cannot judge
            (folder / PREVIEWS_FOLDER).mkdir(exist_ok=True)
            write_preview(record.video, folder / preview_path(key))
        written = (folder / video, folder / preview_path(key))
        size += sum(path.stat().st_size for path in written if path.exists())
        if max_bytes is not None and size > max_bytes:
            raise RecordError(
                f"the clips have more than {max_bytes / 2**30:.0f} GB with the copies for browsers: leave some out"
            )
        name = "/".join(path_parts(record.name)) or record.video.name
        if not name.lower().endswith(VIDEO_SUFFIXES):
            name += suffix
        if names.setdefault(name, sha256) != sha256:
            name = f"{key}/{name}"
        clips[sha256, record.prompt_key] = StudyClip(key, video, record.prompt, name, sha256, generators[record.line])
    return tuple(clips.values())


def _pairs(clips: Sequence[StudyClip], seed: int) -> tuple[tuple[str, str], ...]:
    """Pairs of keys of clips of one prompt, each pair once."""
    rng = np.random.default_rng(seed)
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        by_prompt[prompt_key(clip.prompt)].append(clip.key)
    pairs: set[tuple[str, str]] = set()
    for keys in by_prompt.values():
        # On a circle in random order, each clip meets the next ones: all others where there are few.
        circle = [keys[place] for place in rng.permutation(len(keys))]
        for step in range(1, min(MAX_PARTNERS, len(keys) // 2) + 1):
            for place, key in enumerate(circle):
                other = circle[(place + step) % len(circle)]
                if other != key:
                    pairs.add((min(key, other), max(key, other)))
    return tuple(sorted(pairs))
