"""The videos that a table names: found in folders, zips and files, and opened once to see whether they can be read."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from vjepa_demo.config import VIDEO_SUFFIXES, VIDEO_ZIP_LIMITS
from vjepa_demo.data.cells import path_parts, same_tail
from vjepa_demo.data.table import LabelTable, by_line
from vjepa_demo.files import new_folder
from vjepa_demo.media.archive import ArchiveError, extract_zip, is_hidden
from vjepa_demo.schema import FolderError, RecordError, RecordProblem, RecordSet, VideoRecord
from vjepa_demo.wording import listed, shortened, some_of

File = TypeVar("File")

ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def match_videos(
    table: LabelTable, videos: str | Path | Sequence[str | Path], *, extract_to: str | Path | None = None
) -> RecordSet:
    """The rows of `table` whose video is in `videos`: a folder, a zip, a video file, or several of them.

    A row names a file with or without its folders and its extension; letter case matters only where several files
    differ in nothing else. The files that the table names are extracted from a zip into a new folder in `extract_to`.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    files, where = _list_sources(videos, [row.name for row in table.rows], extract_to)
    return match_files(table, files, where)


def find_videos(
    names: Iterable[str], videos: str | Path | Sequence[str | Path], *, extract_to: str | Path | None = None
) -> dict[str, Path | RecordError]:
    """For each of `names`, as a table may write it, its one file in `videos` (see `match_videos`), or why it has none.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    names = list(names)
    found = _find(names, *_list_sources(videos, names, extract_to))
    return {name: file if isinstance(file, Path) else RecordError(file) for name, file in found.items()}


def list_videos(folder: Path) -> list[Path]:
    """The videos in `folder` and in the folders below it, without hidden ones."""
    return [file for _, file in _list_source(folder, (), None) if file.name.lower().endswith(VIDEO_SUFFIXES)]


def _list_sources(
    videos: str | Path | Sequence[str | Path], names: Sequence[str], extract_to: str | Path | None
) -> tuple[list[tuple[str, Path]], str]:
    """(path within its source, file) of what all sources hold, and what messages call the sources."""
    sources = [Path(videos)] if isinstance(videos, str | Path) else [Path(each) for each in videos]
    files = [file for source in sources for file in _list_source(source, names, extract_to)]
    return files, some_of([source.name for source in sources])


def match_files(table: LabelTable, files: Iterable[tuple[str, Path]], where: str) -> RecordSet:
    """The rows of `table` with the one file of `files` (path in the source, file) that each names; none is opened.

    `where` is what messages call the source.
    """
    found = _find([row.name for row in table.rows], files, where)
    records: list[VideoRecord] = []
    problems = list(table.problems)
    seen: dict[tuple[Path, str], int] = {}
    for row in table.rows:
        video = found[row.name]
        if isinstance(video, str):
            problems.append(RecordProblem(row.line, video))
            continue
        record = VideoRecord(row.name, video, row.prompt, row.labels, row.line, row.split)
        first = seen.setdefault((video, record.prompt_key), row.line)  # rows may name one file in two ways
        if first == row.line:
            records.append(record)
        else:
            problems.append(RecordProblem(row.line, f"the same video and prompt as line {first}; keep one of them"))
    return RecordSet(tuple(records), by_line(problems), table.label_range, table.num_rows, table.notes)


def _find(names: Iterable[str], files: Iterable[tuple[str, Path]], where: str) -> dict[str, Path | str]:
    """For each of `names` its one file of `files` (path in the source, file), or why there is none."""
    listing = Listing(files)
    answers: dict[str, Path | str] = {}
    sharing: dict[Path, set[str]] = defaultdict(set)
    for name in dict.fromkeys(names):
        found = listing.find(name)
        if len(found) == 1:
            answers[name] = found[0]
            sharing[found[0]].add(name)
        elif found:
            shown = some_of(["/".join(file.parts[-2:]) for file in found])
            answers[name] = (
                f"“{shortened(name)}” can mean {len(found)} videos ({shown}); write the folder and the extension too"
            )
        else:
            answers[name] = f"no video “{shortened(name)}” in {where}"
    for file, same in sharing.items():
        # Where folders were lost, names in different folders have one file between them, which may be either's.
        folders = sorted({path_parts(name, ignore_case=True)[:-1] for name in same}, key=len)
        if not all(same_tail(shorter, longer) for shorter, longer in pairwise(folders)):
            shown = listed(sorted(same)[:3])
            problem = f"{shown} are different videos, but only {file.name} was found for them; keep their folders"
            answers |= dict.fromkeys(same, problem)
    return answers


class Listing(Generic[File]):
    """Files that are found by any name that a table may give them."""

    def __init__(self, files: Iterable[tuple[str, File]]) -> None:
        """`files` are (path with `/`, what stands for the file)."""
        self._found: dict[tuple[bool, bool, str], list[tuple[tuple[str, ...], File]]] = defaultdict(list)
        for path, file in files:
            for ignore_case in (False, True):
                parts = path_parts(path, ignore_case)
                self._found[ignore_case, False, parts[-1]].append((parts, file))
                if path.casefold().endswith(VIDEO_SUFFIXES):
                    stem = (*parts[:-1], PurePosixPath(parts[-1]).stem)
                    self._found[ignore_case, True, stem[-1]].append((stem, file))

    def find(self, name: str) -> list[File]:
        """The files that `name` can mean: one, none, or several.

        The first of these that finds a file decides: the name as it is; its stem; both again in any letter case.
        """
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


def _list_source(source: Path, names: Sequence[str], extract_to: str | Path | None) -> Iterator[tuple[str, Path]]:
    """(path within the source, file) of what `source` holds; of a zip, the videos `names` are extracted."""
    if source.is_file() and source.suffix.lower() == ".zip":
        if extract_to is None:
            raise ValueError("videos in a zip need a folder to be extracted to: pass extract_to")
        Path(extract_to).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{source.stem}-", dir=extract_to))
        extract_videos(source, folder, wanted=names)
        source = folder
    elif source.suffix.lower() in ARCHIVE_SUFFIXES:
        raise RecordError(f"{source.name} is an archive of a kind that is not opened; pack the videos as a zip")
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


def extract_videos(zip_path: str | Path, folder: str | Path, *, wanted: Iterable[str] | None) -> tuple[Path, ...]:
    """Extract the videos that `wanted` names (None: all) into the new or empty `folder`; returns the files.

    They keep their paths in the zip. If one fails, none is extracted. At most half of the free disk is filled; see
    `extract_zip`.

    Raises:
        RecordError: if the zip is damaged, encrypted or too large, or holds links or paths that lead out of it.
    """
    zip_path, folder = Path(zip_path), Path(folder)

    def choose(paths: Sequence[str]) -> dict[str, str]:
        videos = [(path, path) for path in paths if path.lower().endswith(VIDEO_SUFFIXES) and not is_hidden(path)]
        if not videos:
            nested = any(path.lower().endswith(ARCHIVE_SUFFIXES) for path in paths)
            hint = "; archives inside it are not opened: unpack them" if nested else ""
            raise RecordError(f"{zip_path.name} holds no videos{hint}")
        if wanted is None:
            return dict(videos)
        listing = Listing(videos)
        return {path: path for name in wanted for path in listing.find(name)}

    try:
        with new_folder(folder) as partial:
            most = min(VIDEO_ZIP_LIMITS.total_bytes, shutil.disk_usage(partial).free // 2)
            files = extract_zip(
                zip_path, partial, choose, limits=dataclasses.replace(VIDEO_ZIP_LIMITS, total_bytes=most)
            )
    except (ArchiveError, FolderError) as error:
        raise RecordError(str(error)) from error
    return tuple(folder / file.relative_to(partial) for file in files)
