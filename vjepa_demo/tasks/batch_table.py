"""What a batch is to score: a table with its videos, or videos with one prompt.

Loads no torch, so that a wrong call is told at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vjepa_demo.data.cells import plain
from vjepa_demo.data.match import FoundVideos, find_videos, list_videos, unpack_videos
from vjepa_demo.data.table import read_table, row_labels, row_problems
from vjepa_demo.files import exists, is_file, is_folder
from vjepa_demo.schema import BatchRow, BatchTable, RecordError, VideoRecord, check_prompt, rated, well_formed
from vjepa_demo.wording import counted, left_out_notes, no_videos_but, ratings_notes

GENERATOR_NAMES = ("generator", "generatorname", "model", "modelname", "method")  # of a column, see `cells.plain`
PROMPT_COLUMN = "Prompt"  # what a prompt for all rows is called in the output


def read_batch(
    table: str | Path,
    videos: str | Path | Sequence[str | Path] | None,
    *,
    prompt: str | None = None,
    label_range: tuple[float, float] | None = None,
    extract_to: str | Path | None = None,
) -> BatchTable:
    """Every row of `table` (see `read_table`) with its file in `videos`; no video is opened.

    `videos`, `extract_to` are as for `match.match_videos`, `label_range` as for `table.read_labels`. Without
    `videos` they are in the table's folder, and absolute paths in it lead anywhere: not for a stranger's table.
    Labels may be missing; one that cannot be used is left out with a note. `prompt` is for a table that has no column
    of prompts, and becomes one.

    Raises:
        RecordError: if the table, or what should hold the videos, cannot be used at all.
    """
    prompt = check_prompt(prompt) if prompt else None
    read = read_table(table, required=("video",) if prompt else ("video", "prompt"))
    if prompt and "prompt" in read.fields:
        raise RecordError(f"{read.path.name} has prompts of its own (“{read.shown['prompt']}”): give no other prompt")
    columns, notes = _unique(read.header)
    labels, label_notes = row_labels(read, label_range=label_range)
    problems = row_problems(read)
    named = {line: _cell(cells, read.fields["video"]) for line, cells in read.rows if line not in problems}
    if videos is not None:
        found = find_videos(named.values(), videos, extract_to=extract_to)
    else:  # a path that leads to a file from the table's folder, or from anywhere, is that
        folder = read.path.absolute().parent
        found = {name: folder / name for name in named.values() if is_file(folder / name)}
        if others := [name for name in named.values() if name not in found]:
            found |= find_videos(others, folder)
    generator = next((column for name in GENERATOR_NAMES for column in columns if plain(column) == name), None)
    rater = read.fields.get("rater")
    rows = []
    for line, cells in read.rows:
        by_column = {column: _cell(cells, index) for index, column in enumerate(columns)}
        video = found[named[line]] if line in named else RecordError(problems[line])
        rows.append(
            BatchRow(
                line=line,
                cells=by_column | ({PROMPT_COLUMN: prompt} if prompt else {}),
                name=_cell(cells, read.fields["video"]),
                prompt=prompt or _cell(cells, read.fields["prompt"]),
                video=video if isinstance(video, Path) else None,
                labels=labels.get(line, {}),
                generator=by_column[generator] or None if generator else None,
                problem=None if isinstance(video, Path) else str(video),
            )
        )
    labelled = (
        (VideoRecord(row.name, row.video, row.prompt, row.labels, row.line), cells[rater] if rater is not None else "")
        for row, (_, cells) in zip(rows, read.rows, strict=True)
        if row.video is not None and row.labels
    )
    return BatchTable(
        name=well_formed(read.path.name),
        columns=(*columns, PROMPT_COLUMN) if prompt else columns,
        rows=tuple(rows),
        generator_column=generator,
        notes=(*read.notes, *notes, *label_notes, *ratings_notes(rated(labelled))),
    )


def batch_of_files(videos: Sequence[str | Path], prompt: str, *, extract_to: str | Path | None = None) -> BatchTable:
    """Several videos with one prompt, as a table of the columns video_name and Prompt; no video is opened.

    In place of a folder come the videos in it, and in place of a zip, where there is a folder to `extract_to`, those
    that come out of it; notes name what else they hold. Videos are called by their file names, or where two share one,
    by their paths below the folder that holds all. A file that is missing is an error of its row.

    Raises:
        RecordError: if the prompt is empty or too long, or a folder or a zip cannot be read or holds no videos.
    """
    prompt = check_prompt(prompt)
    files: list[Path] = []
    shown: list[Path] = []  # their paths, as if a zip were a folder
    skipped: list[str] = []
    repeated: list[str] = []
    for video in map(Path, videos):
        if is_folder(video):
            base, found = video, list_videos(video)
            if not found.files:
                raise RecordError(f"the folder {video} holds no videos{no_videos_but(found.skipped)}")
        elif extract_to is not None and video.suffix.lower() == ".zip" and is_file(video):
            base, found = unpack_videos(video, Path(extract_to))
        else:
            base, found = video, FoundVideos((video,))
        files += found.files
        shown += [video.with_suffix("") / file.relative_to(base) if base != video else file for file in found.files]
        skipped += found.skipped
        repeated += found.repeated
    names = [path.name for path in shown]
    if len(set(names)) < len(set(files)):
        absolute = [Path(os.path.abspath(path)) for path in shown]  # noqa: PTH100 - resolve() would follow links
        folder = os.path.commonpath([path.parent for path in absolute])
        names = [path.relative_to(folder).as_posix() for path in absolute]
    rows = tuple(
        BatchRow(line, {"video_name": name, PROMPT_COLUMN: prompt}, name, prompt, file, {})
        for line, (name, file) in enumerate(zip(map(well_formed, names), files, strict=True), start=2)
    )
    return BatchTable(
        name=counted(len(rows), "video"),
        columns=("video_name", PROMPT_COLUMN),
        rows=rows,
        notes=tuple(left_out_notes(skipped, repeated)),
    )


def _unique(header: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The columns' names, each once, and notes on those that had to be renamed."""
    names: list[str] = []
    notes = []
    for column in header:
        numbered = (f"{column}.{number}" for number in range(1, len(header) + 1))
        name = column if column not in names else next(each for each in numbered if each not in {*names, *header})
        if name != column:
            notes.append(f"Two columns are called “{column}”; one is “{name}” in the output.")
        names.append(name)
    return tuple(names), notes


def _cell(cells: Sequence[str], index: int) -> str:
    """The cell at `index`, empty where the row is too short."""
    return cells[index] if index < len(cells) else ""


def check_out(out: Path, *, resume: bool) -> None:
    """
    Raises:
        RecordError: if `out` is there already and is not to be resumed.
    """
    if exists(out) and not resume:
        raise RecordError(f"{out} exists already: resume it (--resume), delete it, or write to another file")
