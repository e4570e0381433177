"""Files and folders that are whole or not there: atomic writes, locks between processes, digests."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from vjepa_demo.schema import BusyError, DemoError, FolderError, RecordError, well_formed

PARTIAL = ".partial"  # in the name of a file or folder that is being written
LOCK_POLL_SECONDS = 0.005


@contextmanager
def replacing(path: str | Path, *, mode: int = 0o644) -> Iterator[Path]:
    """A new file beside `path` that takes its place when the block ends, whole and on the disk.

    If the block raises, `path` stays as it was and nothing else is left.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=_partial_prefix(path), suffix=f"{PARTIAL}{path.suffix}", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def delete_partials(path: Path) -> None:
    """Delete what killed processes left of `replacing(path)`. Only for who holds a lock on `path`: nobody else may be
    writing it now."""
    for partial in path.parent.glob(f"{_partial_prefix(path)}*{PARTIAL}*"):
        partial.unlink(missing_ok=True)


def _partial_prefix(path: Path) -> str:
    """What the names of the partial files of `path`, and of no other, begin with. A digest: a name may be as long as
    the system allows already."""
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}-"


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write `data` (text as UTF-8, `well_formed`) to `path`, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(well_formed(data).encode() if isinstance(data, str) else data)


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the block ends; if the block raises, nothing is left.

    Raises:
        FolderError: if `folder` holds anything already.
    """
    folder = Path(folder)
    if exists(folder) and any(folder.iterdir()):
        raise FolderError(f"{folder} is not empty; give an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}-", dir=folder.parent))
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def file_lock(path: Path, *, wait_seconds: float) -> AbstractContextManager[object]:
    """The lock of all processes at `path`: held from now until the block ends or this process dies.

    Raises:
        TimeoutError: if another process holds it for longer than `wait_seconds`.
    """
    # Not bound to a thread: a generator that holds the lock may be closed by another thread.
    return FileLock(path, thread_local=False).acquire(timeout=wait_seconds, poll_interval=LOCK_POLL_SECONDS)


@contextmanager
def only_process(lock: Path, *, busy: str) -> Iterator[None]:
    """Keep other processes and threads out of the block that take the same `lock`, a file that is gone afterwards.

    Raises:
        BusyError: with the text `busy`, if another one is in there.
    """
    try:
        held = file_lock(lock, wait_seconds=0)
    except TimeoutError as error:
        raise BusyError(busy) from error
    with held:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


# Unlike the methods of Path, these three say False of a name that no file can have (too long, a NUL, lone surrogates),
# of a loop of links, and in a folder that may not be entered.


def exists(path: str | Path) -> bool:
    """Whether there is anything at `path`."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | Path) -> bool:
    """Whether an ordinary file is at `path`."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | Path) -> bool:
    """Whether a folder is at `path`."""
    return os.path.isdir(path)  # noqa: PTH112


@contextmanager
def reading(path: str | Path, *, kind: type[DemoError] = RecordError) -> Iterator[None]:
    """Around what reads the file `path`: what the system refuses becomes an error of `kind`."""
    try:
        yield
    except OSError as error:
        raise kind(f"{Path(path).name or path} cannot be read: {error.strerror or error}") from error


@contextmanager
def writing(path: Path, *, advice: str, kind: type[DemoError] = FolderError) -> Iterator[None]:
    """Around what writes to `path`: a full disk, or a folder of others, becomes an error of `kind` with `advice`."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path} cannot be written ({why_not_written(error)}): {advice}") from error


def why_not_written(error: OSError) -> str:
    """The system's words for `error`, of what made a folder and wrote into it."""
    if isinstance(error, FileExistsError):  # what `mkdir` says of a file in the place of a folder
        return os.strerror(errno.ENOTDIR)
    return error.strerror or str(error)


def held_bytes(folder: str | Path) -> int:
    """Bytes of all files below `folder`; what is deleted meanwhile counts as nothing."""
    total, rest = 0, [str(folder)]
    while rest:
        with suppress(OSError), os.scandir(rest.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        rest.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def content_sha256(path: str | Path) -> str:
    """SHA-256 of the bytes of the file `path`, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
