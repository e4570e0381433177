"""The videos that a table names: found in folders, zips and files, and opened once to see whether they can be read."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from vjepa_demo.config import VIDEO_SUFFIXES, VIDEO_ZIP_LIMITS, ClipConfig, ZipLimits
from vjepa_demo.data.cells import path_parts, same_tail
from vjepa_demo.data.table import LabelTable, by_line
from vjepa_demo.files import new_folder
from vjepa_demo.media.archive import ArchiveError, extract_zip, is_hidden
from vjepa_demo.media.video import load_clip
from vjepa_demo.schema import FolderError, OpeningReport, RecordError, RecordProblem, RecordSet, VideoError, VideoRecord
from vjepa_demo.wording import shortened

File = TypeVar("File")


CHECKED_FRAMES = ClipConfig(num_frames=2, crop_size=32)  # the scan before them reads the whole file
CHECK_THREADS = 4
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def match_videos(
    table: LabelTable, videos: str | Path | Sequence[str | Path], *, extract_to: str | Path | None = None
) -> RecordSet:
    """The rows of `table` whose video is in `videos`: a folder, a zip, a video file, or several of them.

    A row names a file with or without its folders and its extension; letter case decides only between several.
    From a zip, the files that the table names are extracted into a new folder in `extract_to`.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    files, where = _list_sources(videos, [row.name for row in table.rows], extract_to)
    return match_files(table, files, where)


def find_videos(
    names: Iterable[str], videos: str | Path | Sequence[str | Path], *, extract_to: str | Path | None = None
) -> dict[str, Path | RecordError]:
    """For each of `names`, as a table may write it, its one file in `videos` (see `match_videos`) or why there is none.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    names = list(dict.fromkeys(names))
    files, where = _list_sources(videos, names, extract_to)
    listing = Listing(files)
    answers: dict[str, Path | RecordError] = {}
    for name in names:
        found = listing.find(name)
        answers[name] = found[0] if len(found) == 1 else RecordError(_match_problem(name, found, where))
    named = {name: file for name, file in answers.items() if isinstance(file, Path)}
    return answers | {name: RecordError(message) for name, message in _clashes(named.items()).items()}


def list_videos(videos: Sequence[str | Path], *, extract_to: str | Path | None = None) -> list[Path]:
    """Each of the files `videos`; in place of a folder or a zip the videos in it (see `match_videos`).

    Raises:
        RecordError: if one is missing, or a zip is damaged, hostile or too large.
    """
    found = [(Path(source), _list_source(Path(source), None, extract_to)) for source in videos]
    return [
        file
        for source, files in found
        for _, file in files
        if file == source or file.name.lower().endswith(VIDEO_SUFFIXES)
    ]


def _list_sources(
    videos: str | Path | Sequence[str | Path], names: Sequence[str], extract_to: str | Path | None
) -> tuple[list[tuple[str, Path]], str]:
    """(path within its source, file) of all sources, and what to call them."""
    sources = [Path(videos)] if isinstance(videos, str | Path) else [Path(each) for each in videos]
    files = [file for source in sources for file in _list_source(source, names, extract_to)]
    return files, ", ".join(source.name for source in sources[:3]) + (", ..." if len(sources) > 3 else "")


def match_files(table: LabelTable, files: Iterable[tuple[str, Path]], where: str) -> RecordSet:
    """The rows of `table` with the one file of `files` (path in the source, file) that each names; none is opened."""
    listing = Listing(files)
    records: list[VideoRecord] = []
    problems = list(table.problems)
    for row in table.rows:
        found = listing.find(row.name)
        if len(found) == 1:
            records.append(VideoRecord(row.name, found[0], row.prompt, row.labels, row.line, row.split))
        else:
            problems.append(RecordProblem(row.line, _match_problem(row.name, found, where)))
    clashes = _clashes((record.name, record.video) for record in records)
    doubtful = [RecordProblem(each.line, clashes[each.name]) for each in records if each.name in clashes]
    doubtful += _same_file_twice(records)
    lines = {problem.line for problem in doubtful}
    return RecordSet(
        records=tuple(record for record in records if record.line not in lines),
        problems=by_line(problems + doubtful),
        label_range=table.label_range,
        num_rows=table.num_rows,
        notes=table.notes,
    )


def check_videos(records: RecordSet) -> Iterator[OpeningReport | RecordSet]:
    """An `OpeningReport` for each video of `records`, and last the `RecordSet` without those that cannot be read.

    Each file is scanned, and two of its frames are decoded. Closing the iterator ends the check.
    """
    files = list(dict.fromkeys(record.video for record in records.records))
    errors: dict[Path, str] = {}
    pool = ThreadPoolExecutor(CHECK_THREADS)
    try:
        for done, (file, error) in enumerate(zip(files, pool.map(_video_error, files), strict=True), start=1):
            if error is not None:
                errors[file] = error
            yield OpeningReport(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    unreadable = [RecordProblem(each.line, errors[each.video]) for each in records.records if each.video in errors]
    yield dataclasses.replace(
        records,
        records=tuple(record for record in records.records if record.video not in errors),
        problems=by_line([*records.problems, *unreadable]),
    )


def _video_error(path: Path) -> str | None:
    try:
        load_clip(path, CHECKED_FRAMES)
    except VideoError as error:
        return str(error)
    return None


class Listing(Generic[File]):
    """Files by the names that a table may give them."""

    def __init__(self, files: Iterable[tuple[str, File]]) -> None:
        """`files` are (path with /, what stands for the file)."""
        self._found: dict[tuple[bool, bool, str], list[tuple[tuple[str, ...], File]]] = defaultdict(list)
        for path, file in files:
            for ignore_case in (False, True):
                parts = path_parts(path, ignore_case)
                self._found[ignore_case, False, parts[-1]].append((parts, file))
                if path.casefold().endswith(VIDEO_SUFFIXES):
                    stem = (*parts[:-1], PurePosixPath(parts[-1]).stem)
                    self._found[ignore_case, True, stem[-1]].append((stem, file))

    def find(self, name: str) -> list[File]:
        """The files that `name` can mean: one, none, or too many."""
        for ignore_case in (False, True):
            wanted = path_parts(name, ignore_case)
            if not wanted:
                return []
            for without_extension in (False, True):
                found = [
                    (parts, file)
                    for parts, file in self._found.get((ignore_case, without_extension, wanted[-1]), ())
                    if same_tail(parts, wanted)
                ]
                exact = [pair for pair in found if pair[0] == wanted]
                if found:
                    return [file for _, file in exact or found]
        return []


def _list_source(
    source: Path, names: Sequence[str] | None, extract_to: str | Path | None
) -> Iterator[tuple[str, Path]]:
    """(path within the source, file) of what `source` holds; of a zip, the videos `names` (None: all) are extracted."""
    if source.is_file() and source.suffix.lower() == ".zip":
        if extract_to is None:
            raise ValueError("videos in a zip need a folder to extract them to: pass extract_to")
        Path(extract_to).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{source.stem}-", dir=extract_to))
        extract_videos(source, folder, wanted=names)
        source = folder
    elif source.suffix.lower() in ARCHIVE_SUFFIXES:
        raise RecordError(f"{source.name} is an archive that is not opened; pack the videos as a zip")
    elif source.is_file():
        yield source.name, source
        return
    elif not source.is_dir():
        raise RecordError(f"{source}: no such file or folder; a folder, a zip or video files were expected")
    for folder_name, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            if not is_hidden(name):
                file = Path(folder_name, name)
                yield file.relative_to(source).as_posix(), file


def _match_problem(name: str, found: Sequence[Path], where: str) -> str:
    if not found:
        return f"no video “{shortened(name)}” in {where}"
    shown = ", ".join("/".join(file.parts[-2:]) for file in found[:3]) + (", ..." if len(found) > 3 else "")
    return f"“{shortened(name)}” can mean {len(found)} videos ({shown}); write the folder and the extension too"


def _clashes(named: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """By name what is wrong with (name, file) where names in different folders have one file between them, as when
    folders were lost."""
    by_file: dict[Path, set[str]] = defaultdict(set)
    for name, file in named:
        by_file[file].add(name)
    problems: dict[str, str] = {}
    for file, sharing in by_file.items():
        folders = sorted({path_parts(name, ignore_case=True)[:-1] for name in sharing}, key=len)
        if not all(same_tail(shorter, longer) for shorter, longer in pairwise(folders)):
            names = ", ".join(sorted(sharing)[:3])
            message = f"{names} are different videos, but only {file.name} was found for them; keep their folders"
            problems |= dict.fromkeys(sharing, message)
    return problems


def _same_file_twice(records: Sequence[VideoRecord]) -> list[RecordProblem]:
    """Rows that name the file of an earlier row differently, with the same prompt."""
    seen: dict[tuple[Path, str], int] = {}
    problems = []
    for record in records:
        first = seen.setdefault((record.video, record.prompt_key), record.line)
        if first != record.line:
            problems.append(RecordProblem(record.line, f"the same video and prompt as line {first}; keep one of them"))
    return problems


# ---- zips -----------------------------------------------------------------------------------------------------------


def _limits_for(folder: Path) -> ZipLimits:
    """The limits of a zip of videos, and at most half of the disk that is free."""
    room = shutil.disk_usage(folder).free // 2
    return dataclasses.replace(VIDEO_ZIP_LIMITS, total_bytes=min(VIDEO_ZIP_LIMITS.total_bytes, room))


def extract_videos(zip_path: str | Path, folder: str | Path, *, wanted: Iterable[str] | None) -> tuple[Path, ...]:
    """Extract the videos that `wanted` names, as a table may name them, or all (None), into the new or empty `folder`.

    Returns the files. All of them or none: nothing half-written is left. Nothing else of the zip is read, archives
    inside it are never opened, and the limits of config.py hold for the bytes that come out, whatever the zip declares.

    Raises:
        RecordError: if the zip is damaged, encrypted or too large, or holds links or paths that lead out of it.
    """
    folder = Path(folder)
    try:
        with new_folder(folder) as partial:
            files = extract_zip(
                zip_path,
                partial,
                lambda paths: _wanted_files(Path(zip_path).name, paths, wanted),
                limits=_limits_for(partial),
            )
    except (ArchiveError, FolderError) as error:
        raise RecordError(str(error)) from error
    return tuple(folder / file.relative_to(partial) for file in files)


def _wanted_files(zip_name: str, paths: Sequence[str], wanted: Iterable[str] | None) -> dict[str, str]:
    """Those of a zip's `paths` that `wanted` names (None: all videos); a zip is extracted with the paths it has."""
    videos = [(path, path) for path in paths if path.lower().endswith(VIDEO_SUFFIXES) and not is_hidden(path)]
    if not videos:
        nested = any(path.lower().endswith(ARCHIVE_SUFFIXES) for path in paths)
        raise RecordError(
            f"{zip_name} holds no videos" + ("; archives inside it are not opened: unpack them" if nested else "")
        )
    if wanted is None:
        return dict(videos)
    listing = Listing(videos)
    return {path: path for name in wanted for path in listing.find(name)}
