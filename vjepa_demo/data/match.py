"""The videos that a table names: found in folders, zips and files, and opened once to see whether they can be read."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar

from vjepa_demo.config import VIDEO_SUFFIXES, VIDEO_ZIP_LIMITS, limits
from vjepa_demo.data.cells import path_parts, same_tail
from vjepa_demo.data.pairs import PairTable
from vjepa_demo.data.table import LabelTable, by_line
from vjepa_demo.files import is_file, is_folder, new_folder, writing
from vjepa_demo.media.archive import ArchiveError, extract_zip, is_hidden
from vjepa_demo.schema import (
    FolderError,
    LabelRange,
    PairRecord,
    RecordError,
    RecordProblem,
    RecordSet,
    VideoRecord,
    rated,
)
from vjepa_demo.wording import listed, no_videos_but, ratings_notes, shortened, some_of

File = TypeVar("File")

ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
NAME_BYTES = 255  # of a file's name; Windows counts characters, so a zip may bring longer ones


@dataclass(frozen=True)
class FoundVideos:
    """The videos of a folder or a zip; and by path within it what is `skipped`, because its name does not end as one of
    a video or the folder may not be read, and what is a second way to a video. Hidden files are none of them."""

    files: tuple[Path, ...]
    skipped: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()


AnyTable = LabelTable | PairTable


def match_videos(
    table: AnyTable | Sequence[AnyTable],
    videos: str | Path | Sequence[str | Path],
    *,
    extract_to: str | Path | None = None,
    names: Sequence[str] = (),
) -> RecordSet:
    """The rows of `table` whose videos are in `videos`: a folder, a zip, a video file, or several of them.

    Several tables, at most one of labels, become one set; messages then begin with the table's name of `names`.

    A row names a file with or without its folders and its extension; letter case matters only where several files
    differ in nothing else. The files that the table names are extracted from a zip into a new folder in `extract_to`.

    Raises:
        RecordError: if a source is missing, or a zip is damaged, hostile or too large.
    """
    tables = [table] if isinstance(table, AnyTable) else list(table)
    files, where = _list_sources(videos, [name for each in tables for name in _names(each)], extract_to)
    return _joined([match_files(each, files, where) for each in tables], tables, names)


def name_videos(tables: Sequence[AnyTable], *, names: Sequence[str] = ()) -> RecordSet:
    """The rows of `tables` before any video is there: each record's video is the path that its row writes.

    As in `match_videos`, several tables become one set.
    """
    return _joined([_records(each, {name: Path(name) for name in _names(each)}) for each in tables], tables, names)


def _joined(sets: Sequence[RecordSet], tables: Sequence[AnyTable], names: Sequence[str]) -> RecordSet:
    """The clips and pairs of all `sets`, each of one of `tables`; where there are several, their problems and notes
    begin with the name of the table."""
    if len(sets) == 1:
        return sets[0]
    label_range = next((each.label_range for each in tables if isinstance(each, LabelTable)), LabelRange())
    problems = [
        RecordProblem(problem.line, f"{name}: {problem.message}")
        for name, each in zip(names, sets, strict=True)
        for problem in each.problems
    ]
    return RecordSet(
        records=tuple(record for each in sets for record in each.records),
        problems=by_line(problems),
        label_range=label_range,
        num_rows=sum(each.num_rows for each in sets),
        notes=tuple(f"{name}: {note}" for name, each in zip(names, sets, strict=True) for note in each.notes),
        pairs=tuple(pair for each in sets for pair in each.pairs),
    )


def _names(table: AnyTable) -> list[str]:
    """The videos that the rows of `table` name."""
    if isinstance(table, PairTable):
        return [name for row in table.rows for name in (row.name_a, row.name_b)]
    return [row.name for row in table.rows]


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


def list_videos(folder: Path) -> FoundVideos:
    """The videos in `folder`, in the folders below it and in those that links in them lead to, each file once.

    Raises:
        RecordError: if `folder` cannot be read.
    """
    skipped: list[str] = []
    files = []
    for name, file in _walk(folder, skipped):
        if name.lower().endswith(VIDEO_SUFFIXES):
            files.append((name, file))
        else:
            skipped.append(name)
    ways = [(os.path.realpath(file), (file.is_symlink(), index)) for index, (_, file) in enumerate(files)]
    first = dict(sorted(ways, key=lambda way: way[1], reverse=True))  # of each real file: links last
    is_first = [first[real] == way for real, way in ways]
    return FoundVideos(
        files=tuple(file for (_, file), kept in zip(files, is_first, strict=True) if kept),
        skipped=tuple(skipped),
        repeated=tuple(name for (name, _), kept in zip(files, is_first, strict=True) if not kept),
    )


def _list_sources(
    videos: str | Path | Sequence[str | Path], names: Sequence[str], extract_to: str | Path | None
) -> tuple[list[tuple[str, Path]], str]:
    """(path within its source, file) of what all sources hold, and what messages call the sources."""
    sources = [Path(videos)] if isinstance(videos, str | Path) else [Path(each) for each in videos]
    files = [file for source in sources for file in _list_source(source, names, extract_to)]
    return files, some_of([source.name for source in sources])


def match_files(table: AnyTable, files: Iterable[tuple[str, Path]], where: str) -> RecordSet:
    """The rows of `table` with the one file of `files` (path in the source, file) that each video has; none is opened.

    Rows of labels of one file and prompt are ratings of one clip, and averaged. `where` is what messages call the
    source.
    """
    return _records(table, _find(_names(table), files, where))


def _records(table: AnyTable, found: Mapping[str, Path | str]) -> RecordSet:
    """The rows of `table` whose videos were `found`, by name; a text says why one was not."""
    if isinstance(table, PairTable):
        return _pairs(table, found)
    rows: list[tuple[VideoRecord, str]] = []
    problems = list(table.problems)
    first: dict[tuple[Path, str], VideoRecord] = {}
    for row in table.rows:
        video = found[row.name]
        if isinstance(video, str):
            problems.append(RecordProblem(row.line, video))
            continue
        record = VideoRecord(row.name, video, row.prompt, row.labels, row.line, row.split)
        other = first.setdefault((video, record.prompt_key), record)  # rows may name one file in two ways
        if other.split == record.split:
            rows.append((record, row.rater))
        else:
            message = f"the same video and prompt as line {other.line}, but another split"
            problems.append(RecordProblem(row.line, message))
    records = rated(rows)
    notes = (*table.notes, *ratings_notes(records))
    return RecordSet(records, by_line(problems), table.label_range, table.num_rows, notes)


def _pairs(table: PairTable, found: Mapping[str, Path | str]) -> RecordSet:
    """The pairs of `table` both of whose videos were `found`."""
    pairs, problems = [], list(table.problems)
    for row in table.rows:
        videos = [found[name] for name in (row.name_a, row.name_b)]
        missing = [each for each in videos if isinstance(each, str)]
        if not missing and videos[0] == videos[1]:
            missing = [f"“{shortened(row.name_a)}” and “{shortened(row.name_b)}” are the same video; two were expected"]
        problems += [RecordProblem(row.line, message) for message in dict.fromkeys(missing)]
        if not missing:
            a, b = (
                VideoRecord(name, Path(video), row.prompt, {}, row.line, row.split)
                for name, video in zip((row.name_a, row.name_b), videos, strict=True)
            )
            pairs.append(PairRecord(a, b, row.answers, row.line, row.split))
    return RecordSet((), by_line(problems), LabelRange(), table.num_rows, table.notes, tuple(pairs))


def _find(names: Iterable[str], files: Iterable[tuple[str, Path]], where: str) -> dict[str, Path | str]:
    """For each of `names` its one file of `files` (path in the source, file), or why there is none."""
    listing = Listing(files)
    answers: dict[str, Path | str] = {}
    sharing: dict[Path, set[str]] = defaultdict(set)
    for name in dict.fromkeys(names):
        found = listing.find(name)
        if len(found) > 1:  # links may lead to one file in several ways
            found = list({os.path.realpath(file): file for file in reversed(found)}.values())[::-1]
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
    if is_file(source) and source.suffix.lower() == ".zip":
        if extract_to is None:
            raise ValueError("videos in a zip need a folder to be extracted to: pass extract_to")
        source = unpack_videos(source, Path(extract_to), wanted=names)[0]
    elif source.suffix.lower() in ARCHIVE_SUFFIXES:
        raise RecordError(f"{source.name} is an archive of a kind that is not opened; pack the videos as a zip")
    elif is_file(source):
        yield source.name, source
        return
    elif not is_folder(source):
        raise RecordError(f"{source}: no such file or folder; a folder, a zip or video files were expected")
    yield from _walk(source, [])


def _walk(folder: Path, unreadable: list[str]) -> Iterator[tuple[str, Path]]:
    """(path within `folder`, file) of each file in it, in the folders below it, and then in those that links lead to;
    without hidden ones. What cannot be read is added to `unreadable`.

    The links in a folder are followed once, however many ways lead to it, and none to a folder that holds the link: so
    the walk ends.

    Raises:
        RecordError: if `folder` itself cannot be read.
    """

    def note(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise RecordError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
        unreadable.append(f"{Path(error.filename).relative_to(folder).as_posix()}/ ({error.strerror or error})")

    known: set[str] = set()
    roots = deque([folder])
    while roots:
        for place, folders, files in os.walk(roots.popleft(), onerror=note):
            real = os.path.realpath(place)
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            for name in folders:
                path = Path(place, name)
                if real not in known and path.is_symlink() and not Path(real).is_relative_to(os.path.realpath(path)):
                    roots.append(path)
            known.add(real)
            for name in sorted(files):
                if not is_hidden(name):
                    file = Path(place, name)
                    yield file.relative_to(folder).as_posix(), file


def unpack_videos(zip_path: Path, folder: Path, *, wanted: Iterable[str] | None = None) -> tuple[Path, FoundVideos]:
    """As `extract_videos`, into a new folder in `folder`, which is made if need be: that folder, and what is in it."""
    with writing(folder, advice="its disk must have room for the videos of the zip", kind=RecordError):
        folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f"{zip_path.stem[:40]}-", dir=folder))
    return new, extract_videos(zip_path, new, wanted=wanted)


def extract_videos(zip_path: str | Path, folder: str | Path, *, wanted: Iterable[str] | None) -> FoundVideos:
    """Extract the videos that `wanted` names (None: all) into the new or empty `folder`; returns them, and the other
    files of the zip as skipped.

    They keep their paths in the zip. If one fails, none is extracted. At most half of the free disk is filled; see
    `extract_zip`.

    Raises:
        RecordError: if the zip is damaged, encrypted or too large, or holds links or paths that lead out of it.
    """
    zip_path, folder = Path(zip_path), Path(folder)
    skipped: list[str] = []

    def choose(paths: Sequence[str]) -> dict[str, str]:
        visible = [path for path in paths if not is_hidden(path)]
        videos = [(path, path) for path in visible if path.lower().endswith(VIDEO_SUFFIXES) and _can_be_written(path)]
        skipped.extend(sorted(set(visible) - {path for path, _ in videos}))
        if not videos:
            nested = any(path.lower().endswith(ARCHIVE_SUFFIXES) for path in paths)
            hint = "; archives inside it are not opened: unpack them" if nested else ""
            raise RecordError(f"{zip_path.name} holds no videos{hint or no_videos_but(skipped)}")
        if wanted is None:
            return dict(videos)
        listing = Listing(videos)
        return {path: path for name in wanted for path in listing.find(name)}

    try:
        with new_folder(folder) as partial:
            allowed, here = limits(), VIDEO_ZIP_LIMITS
            most = min(here.total_bytes, shutil.disk_usage(partial).free // 2, allowed.visitor_bytes)
            zip_limits = dataclasses.replace(
                here,
                total_bytes=int(most),
                entry_bytes=min(here.entry_bytes, int(most)),
                entries=int(min(here.entries, allowed.zip_files)),
            )
            files = extract_zip(zip_path, partial, choose, limits=zip_limits)
    except (ArchiveError, FolderError) as error:
        raise RecordError(str(error)) from error
    except OSError as error:
        raise RecordError(f"{zip_path.name} cannot be extracted: {error.strerror or error}") from error
    return FoundVideos(tuple(folder / file.relative_to(partial) for file in files), tuple(skipped))


def _can_be_written(path: str) -> bool:
    """Whether each part of `path` is short enough for the file systems of Linux and macOS."""
    return all(len(part.encode()) <= NAME_BYTES for part in path.split("/"))
