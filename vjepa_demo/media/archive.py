"""Zips that strangers made: what was asked for comes out of them, nothing else, and nothing half-written.

No archive inside an archive is opened, no link is followed, and the limits hold for the bytes that come out, whatever
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

COPY_BYTES = 2**20
DIRECTORY_BYTES = 512  # of a zip's directory for each file that it may hold: long names included


class ArchiveError(DemoError):
    """A zip that is damaged, hostile, too large, or does not hold what was expected; the message names it."""


def extract_zip(
    zip_path: str | Path,
    folder: Path,
    choose: Callable[[Sequence[str]], Mapping[str, str]],
    *,
    limits: ZipLimits,
) -> tuple[Path, ...]:
    """Extract some files of a zip into `folder` (see `new_folder`), and return them.

    `choose` is given the path of each file in the zip (`/` between its parts), and returns those to extract, each with
    its path within `folder`; it raises `ArchiveError` where the zip is not what was expected: the message follows the
    zip's name. Every entry is looked at, also those that are not chosen.

    Raises:
        ArchiveError: if the zip is damaged, encrypted or over `limits`, or holds links or paths that lead out of it.
    """
    zip_path = Path(zip_path)
    try:
        with zip_path.open("rb") as file, _open(file, limits) as archive:
            entries = [(_entry_path(entry), entry) for entry in archive.infolist() if not entry.is_dir()]
            chosen = choose([path for path, _ in entries])
            picked = [(folder / _safe(chosen[path]), entry) for path, entry in entries if path in chosen]
            return _extract(archive, picked, limits, largest=limits.ratio * zip_path.stat().st_size)
    except ArchiveError as error:
        raise ArchiveError(f"{zip_path.name}{error}") from error
    except FileExistsError as error:
        raise ArchiveError(
            f"{zip_path.name} holds one path twice ({Path(error.filename).name}); pack it anew"
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise ArchiveError(f"{zip_path.name} is damaged or not a zip ({error}); make or upload it again") from error
    except OSError as error:
        raise ArchiveError(f"{zip_path.name} cannot be extracted: {error.strerror or error}") from error


def is_hidden(path: str) -> bool:
    """Whether a path in a zip is one that systems add by themselves: `.DS_Store`, `__MACOSX/...`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def _open(file: IO[bytes], limits: ZipLimits) -> zipfile.ZipFile:
    """The archive, once its directory is known to be small: ZipFile reads it at once, however large."""
    end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end is not None and end[zipfile._ECD_SIZE] > limits.entries * DIRECTORY_BYTES:  # type: ignore[attr-defined]
        raise ArchiveError(f" holds too many files; {limits.entries:,} at most")
    archive = zipfile.ZipFile(file)
    if len(archive.infolist()) > limits.entries:
        raise ArchiveError(f" holds {len(archive.infolist()):,} files; {limits.entries:,} at most")
    for entry in archive.infolist():
        _check_entry(entry)
    return archive


def _entry_path(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename.replace("\\", "/")).as_posix()


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = f"“{entry.orig_filename[:60].replace(chr(0), '?')}”"
    if "\0" in entry.orig_filename or not _is_inside(_entry_path(entry)):
        raise ArchiveError(f": the path {name} leads out of the zip; pack it anew")
    if not entry.is_dir() and _entry_path(entry) == ".":
        raise ArchiveError(" holds a file without a name; pack it anew")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError(f": {name} is a link or no ordinary file; pack the files themselves")
    if entry.flag_bits & 1:
        raise ArchiveError(f": {name} is encrypted; pack it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others expand without bound
        raise ArchiveError(f": {name} is packed with an unusual method; use plain zip (deflate)")


def _is_inside(path: str) -> bool:
    windows = PureWindowsPath(path)
    return not (PurePosixPath(path).is_absolute() or windows.drive or windows.root or ".." in PurePosixPath(path).parts)


def _safe(path: str) -> str:
    if not _is_inside(path):
        raise ValueError(f"{path!r} leads out of the folder")
    return path


def _extract(
    archive: zipfile.ZipFile, picked: Sequence[tuple[Path, zipfile.ZipInfo]], limits: ZipLimits, *, largest: int
) -> tuple[Path, ...]:
    """Write each entry to its path: `largest` bytes in all at most, counted as they come out."""
    total = 0
    for path, entry in picked:
        path.parent.mkdir(parents=True, exist_ok=True)
        allowed = {
            f": “{path.name}” is larger than {_gib(limits.entry_bytes)}": limits.entry_bytes,
            f" holds more than {_gib(limits.total_bytes)}": limits.total_bytes - total,
            f" grows more than {limits.ratio} times when it is unpacked; honest files do not": largest - total,
        }
        problem, limit = min(allowed.items(), key=lambda item: item[1])
        written = 0
        with archive.open(entry) as source, path.open("xb") as target:
            while block := source.read(COPY_BYTES):
                written += len(block)
                if written > limit:
                    raise ArchiveError(problem)
                target.write(block)
        total += written
    return tuple(path for path, _ in picked)


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"
