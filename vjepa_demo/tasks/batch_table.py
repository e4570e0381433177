"""What a batch is to score: a table with its videos, or videos with one prompt.

Loads no torch, so that a wrong call is told at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vjepa_demo.data.cells import plain
from vjepa_demo.data.match import find_videos, list_videos
from vjepa_demo.data.table import read_table, row_labels, row_problems
from vjepa_demo.schema import BatchRow, BatchTable, RecordError, check_prompt

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
    """Every row of the CSV or TSV `table` with its file in `videos`; no video is opened.

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
        found = {name: folder / name for name in named.values() if (folder / name).is_file()}
        if others := [name for name in named.values() if name not in found]:
            found |= find_videos(others, folder)
    generator = next((column for name in GENERATOR_NAMES for column in columns if plain(column) == name), None)
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
    return BatchTable(
        name=read.path.name,
        columns=(*columns, PROMPT_COLUMN) if prompt else columns,
        rows=tuple(rows),
        generator_column=generator,
        notes=(*read.notes, *notes, *label_notes),
    )


def batch_of_files(videos: Sequence[str | Path], prompt: str) -> BatchTable:
    """Several videos with one prompt, as a table of the columns video_name and Prompt; no video is opened.

    In place of a folder come the videos in it. Videos are called by their file names, or where two share one, by their
    paths below the folder that holds all. A file that is missing is an error of its row.

    Raises:
        RecordError: if the prompt is empty or too long, or a folder holds no videos.
    """
    prompt, files = check_prompt(prompt), []
    for video in map(Path, videos):
        found = list_videos(video) if video.is_dir() else [video]
        if not found:
            raise RecordError(f"the folder {video} holds no videos")
        files += found
    names = [file.name for file in files]
    if len(set(names)) < len(set(files)):
        absolute = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100 - resolve() would follow links
        folder = os.path.commonpath([file.parent for file in absolute])
        names = [file.relative_to(folder).as_posix() for file in absolute]
    rows = tuple(
        BatchRow(line, {"video_name": name, PROMPT_COLUMN: prompt}, name, prompt, file, {})
        for line, (name, file) in enumerate(zip(names, files, strict=True), start=2)
    )
    return BatchTable(f"{len(rows)} video{'s' * (len(rows) != 1)}", ("video_name", PROMPT_COLUMN), rows)


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
    if out.exists() and not resume:
        raise RecordError(f"{out} exists already: resume it (--resume), delete it, or write to another file")
