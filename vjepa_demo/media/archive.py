"""Zips that strangers made: only what was asked for comes out of them, and nothing half-written.

No archive inside an archive is opened and no link is followed. The limits hold for the bytes that come out, whatever
the zip declares.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from vjepa_demo.config import ZipLimits
from vjepa_demo.schema import DemoError
from vjepa_demo.wording import shortened

COPY_BYTES = 2**20
MAX_PATH_CHARACTERS = 1000  # of a path in a zip: each part of it may be a folder
DIRECTORY_BYTES = 512  # of a zip's directory for each file that it may hold: long names included


class ArchiveError(DemoError):
    """A zip that is damaged, hostile or too large; the message names it."""


def extract_zip(
    zip_path: str | Path,
    folder: Path,
    choose: Callable[[Sequence[str]], Mapping[str, str]],
    *,
    limits: ZipLimits,
) -> tuple[Path, ...]:
    """Extract some files of a zip into `folder` (see `files.new_folder`), and return them.

    `choose` is given the path of each file in the zip (`/` between its parts). It returns the paths to extract, each
    with its path within `folder`, or raises an error of its own. Every entry is checked, also those not chosen.

    Raises:
        ArchiveError: if the zip is damaged, encrypted or over `limits`, or holds links or paths that lead out of it.
    """
    zip_path = Path(zip_path)
    name = zip_path.name
    try:
        with zip_path.open("rb") as file, _open(file, name, limits) as archive:
            entries = [(_entry_path(entry), entry) for entry in archive.infolist() if not entry.filename.endswith("/")]
            chosen = choose([path for path, _ in entries])
            if outside := [path for path in chosen.values() if not _is_inside(path)]:
                raise ArchiveError(f"{name}: the path “{outside[0][:60]}” leads out of the zip; pack it anew")
            picked = [(folder / chosen[path], entry) for path, entry in entries if path in chosen]
            _extract(archive, name, picked, limits, largest=limits.ratio * zip_path.stat().st_size)
            return tuple(path for path, _ in picked)
    except FileExistsError as error:
        path = Path(error.filename).name
        raise ArchiveError(f"{name} holds one path twice ({path}); pack it anew") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise ArchiveError(
            f"{name} is damaged or not a zip ({shortened(str(error))}); make or upload it again"
        ) from error
    except OSError as error:
        raise ArchiveError(f"{name} cannot be extracted: {error.strerror or error}") from error


def is_hidden(path: str) -> bool:
    """Whether a path in a zip is one that systems add by themselves: `.DS_Store`, `__MACOSX/...`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def _open(file: IO[bytes], name: str, limits: ZipLimits) -> zipfile.ZipFile:
    """The archive, after a check of each entry.

    The directory must be small, and is measured first: ZipFile reads all of it at once.
    """
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end is not None and end[zipfile._ECD_SIZE] > limits.entries * DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise ArchiveError(f"{name} holds too many files; {limits.entries:,} at most: split it")
    archive = zipfile.ZipFile(file)
    if len(archive.infolist()) > limits.entries:
        raise ArchiveError(f"{name} holds {len(archive.infolist()):,} files; {limits.entries:,} at most: split it")
    for entry in archive.infolist():
        shown = f"“{entry.orig_filename[:60].replace(chr(0), '?')}”"
        if "\0" in entry.orig_filename or not _is_inside(_entry_path(entry)):
            raise ArchiveError(f"{name}: the path {shown} leads out of the zip; pack it anew")
        if len(entry.filename) > MAX_PATH_CHARACTERS:
            raise ArchiveError(
                f"{name}: the path {shown} has more than {MAX_PATH_CHARACTERS:,} characters; pack it anew"
            )
        if not entry.filename.endswith("/") and _entry_path(entry) == ".":  # is_dir fails for an empty name
            raise ArchiveError(f"{name} holds a file without a name; pack it anew")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(f"{name}: {shown} is a link or no ordinary file; pack the files themselves")
        if entry.flag_bits & 1:
            raise ArchiveError(f"{name}: {shown} is encrypted; pack it without a password")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others expand without bound
            raise ArchiveError(f"{name}: {shown} is packed with an unusual method; use plain zip (deflate)")
    return archive


def _entry_path(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename.replace("\\", "/")).as_posix()


def _is_inside(path: str) -> bool:
    windows = PureWindowsPath(path)
    return not (PurePosixPath(path).is_absolute() or windows.drive or windows.root or ".." in PurePosixPath(path).parts)


def _extract(
    archive: zipfile.ZipFile,
    name: str,
    picked: Sequence[tuple[Path, zipfile.ZipInfo]],
    limits: ZipLimits,
    *,
    largest: int,
) -> None:
    """Write each entry to its path: `largest` bytes in all at most, counted as they come out."""
    total = 0
    for path, entry in picked:
        path.parent.mkdir(parents=True, exist_ok=True)
        allowed = (
            (limits.entry_bytes, f"{name}: “{path.name}” is larger than {_gib(limits.entry_bytes)}: take it out"),
            (limits.total_bytes - total, f"{name} holds more than {_gib(limits.total_bytes)}: split it"),
            (largest - total, f"{name} grows more than {limits.ratio} times when it is unpacked: check what is in it"),
        )
        limit, problem = min(allowed, key=lambda each: each[0])
        written = 0
        with archive.open(entry) as source, path.open("xb") as target:
            while block := source.read(COPY_BYTES):
                written += len(block)
                if written > limit:
                    raise ArchiveError(problem)
                target.write(block)
        total += written


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.3g} GiB"
