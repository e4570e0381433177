"""The studies of the page: where they are kept, who owns them, for how long, and clips that turn out unplayable.

A study is found by its link, which nobody can guess; what its owner may do takes a second secret. Loads no torch until
a study is made.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from vjepa_demo.config import DIMENSIONS, STUDIES_VARIABLE, VISITOR_DATASET_BYTES, limits, no_folder, studies_folder
from vjepa_demo.data.ratings import CLIPS_FOLDER, LOCK_FILE, RATINGS_FILE, STUDY_FILE, read_study
from vjepa_demo.files import PARTIAL, exists, held_bytes, is_folder, reading, writing
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.schema import (
    BatchTable,
    BusyError,
    CopyingReport,
    FolderError,
    OpeningReport,
    PassingVideoError,
    RecordError,
    VideoError,
    well_formed,
)
from vjepa_demo.schema.rating import StudyKind, StudyMade, StudyOrder
from vjepa_demo.tasks.labels import CHECKED_FRAMES
from vjepa_demo.tasks.rate import OpenStudy, find_study, open_study
from vjepa_demo.tasks.study import make_study

_logger = logging.getLogger(__name__)

KEEP_DAYS = 30  # since the last answer: a visitor's study, unlike one of the command line, is deleted after that
KEEP_PARTIAL_DAYS = 1  # since the last change: what a killed process left half made or half deleted
SWEEP_SECONDS = 3600.0  # between two looks for what is due, while studies are opened
MAX_BYTES = 20 * 2**30  # of all studies
MIN_FREE_BYTES = 2**30  # of the disk, which other things need too


def keep_study(
    table: BatchTable,
    *,
    title: str = "",
    kind: StudyKind = "clips",
    dimensions: Sequence[str] = DIMENSIONS,
    order: StudyOrder = "random",
) -> Generator[OpeningReport | CopyingReport | tuple[StudyMade, str], None, None]:
    """`make_study` in the folder of the page's studies: last come the study and the secret of its owner.

    On the way studies go that nobody answered for `KEEP_DAYS`. The copies that browsers play count as clips do, and a
    study that is being made counts as a whole.

    Raises:
        RecordError: as `make_study`, and if the clips are larger than a study may be.
        FolderError: if there is no room for another study.
    """
    root = _root()
    with writing(root, advice=f"set {STUDIES_VARIABLE} to a folder that can be written"):
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)  # raters' answers and people's clips are nobody else's business
    _sweep(root)
    videos = {row.video for row in table.rows if row.video is not None}
    size = 0
    for video in videos:
        with reading(video):
            size += video.stat().st_size
    if size > VISITOR_DATASET_BYTES:
        raise RecordError(
            f"the clips have {size / 2**30:.1f} GB; a study may have {VISITOR_DATASET_BYTES / 2**30:.0f} GB: leave "
            "some out"
        )
    with _room_for(size, root):
        study_id, owner = secrets.token_urlsafe(16), secrets.token_urlsafe(24)
        for report in make_study(
            table,
            root / _folder_name(study_id),
            title=title,
            kind=kind,
            dimensions=dimensions,
            seed=secrets.randbits(32),
            order=order,
            study_id=study_id,
            owner_sha256=sha256(owner.encode()).hexdigest(),
            max_bytes=VISITOR_DATASET_BYTES,
        ):
            if isinstance(report, CopyingReport) and shutil.disk_usage(root).free < MIN_FREE_BYTES:
                raise FolderError(NO_ROOM)
            yield (report, owner) if isinstance(report, StudyMade) else report


def linked_study(study_id: str) -> OpenStudy:
    """The study with the link `study_id`: one of the page, or one of the command line in the same folder.

    Raises:
        RecordError: if there is none.
    """
    root = _root()
    if well_formed(study_id) != study_id:
        return find_study((), study_id)  # no link is like that, and nothing can be named after it
    if is_folder(root):
        _sweep_hourly(root)
    direct = root / _folder_name(study_id)
    if is_folder(direct):
        return find_study([direct], study_id)
    named = root.iterdir() if is_folder(root) else ()
    others = (each for each in named if len(each.name) != NAME_CHARACTERS and not each.name.startswith(PARTIAL))
    return find_study(others, study_id)


def owned_study(study_id: str, owner: str) -> OpenStudy:
    """The study with the link `study_id`, for who has its owner's secret.

    Raises:
        RecordError: if there is none, or `owner` is not its owner's secret.
    """
    study = linked_study(study_id)
    expected = study.study.owner_sha256
    if not expected or not hmac.compare_digest(expected, sha256(well_formed(owner).encode()).hexdigest()):
        raise RecordError("only who made this study may do that, in the browser in which it was made")
    return study


def delete_study(study: OpenStudy) -> None:
    """Delete a study, with its clips and all ratings."""
    with writing(study.folder, advice="try again"):
        gone = study.folder.with_name(f"{PARTIAL}-{secrets.token_hex(8)}")
        study.folder.rename(gone)  # at once: half of a study is none
        shutil.rmtree(gone, ignore_errors=True)


def check_unplayable(study: OpenStudy, key: str) -> bool:
    """A rater's browser could not play the clip `key`. If it cannot be decoded here either, it is skipped for all
    raters; returns whether it is. A file is looked at once, and one at a time, whoever asks how often.

    Raises:
        RecordError: if the study has no such clip.
        FolderError: if the system cannot read the file now, which says nothing of the clip.
        BusyError: if other clips are looked at for longer than `CHECK_SECONDS`.
    """
    path = study.clip_file(key)
    if not _checking.acquire(timeout=CHECK_SECONDS):
        raise BusyError("other clips are checked now; try again in a moment")
    try:
        problem = _problem(path, study.folder / STUDY_FILE)
    finally:
        _checking.release()
    if problem:
        study.skip_clip(key, problem.replace(path.name, "its video"))
    return bool(problem)


CHECK_SECONDS = 10.0
MAX_CHECKED = 10_000  # files whose answer a process remembers
_checking = threading.Lock()
_checked: OrderedDict[tuple[object, ...], str] = OrderedDict()  # by file and version: why it cannot be decoded, or ""


def _problem(path: Path, study_file: Path) -> str:
    """Why the clip `path` of the study with the file `study_file` cannot be decoded; "" where it can be."""
    try:
        found = path.stat()
        with path.open("rb") as file:  # torchcodec does not say whether the system or the decoder refused
            file.read(1)
    except FileNotFoundError:
        if exists(study_file):
            return f"{path.name} is gone"
        raise FolderError("the study cannot be read now: try again") from None
    except OSError as error:
        raise _not_now(error) from error
    version = (path, found.st_ino, found.st_size, found.st_mtime_ns)
    if version not in _checked:
        try:
            load_clip(path, CHECKED_FRAMES)
        except PassingVideoError as error:
            raise FolderError(f"this clip cannot be read now: {error}") from error
        except VideoError as error:
            cause: BaseException = error
            while (deeper := cause.__cause__) is not None:
                cause = deeper
                if isinstance(cause, OSError) and cause.errno is not None:  # Pillow's own have no number
                    raise _not_now(cause) from error
            _checked[version] = str(error)
        else:
            _checked[version] = ""
        while len(_checked) > MAX_CHECKED:
            _checked.popitem(last=False)
    return _checked[version]


def _not_now(error: OSError) -> FolderError:
    return FolderError(f"this clip cannot be read now ({error.strerror}): try again")


# ---- the folder ------------------------------------------------------------------------------------------------------

NAME_CHARACTERS = 40
NO_ROOM = "this page has no room for another study: end and delete one of yours, or try again later"
_making: list[int] = []  # the bytes of the clips of each study that this process makes now
_room_lock = threading.Lock()
_next_sweep = 0.0  # on the clock of `time.monotonic`


def _root() -> Path:
    root = studies_folder()
    if root is None:
        raise FolderError(f"studies have no folder: {no_folder(STUDIES_VARIABLE)}")
    return root


def _folder_name(study_id: str) -> str:
    return sha256(study_id.encode()).hexdigest()[:NAME_CHARACTERS]


@contextmanager
def _room_for(size: int, root: Path) -> Iterator[None]:
    """Around the making of a study whose clips have so many bytes.

    Raises:
        FolderError: if there is no room beside what is there and what else is made now.
    """
    with _room_lock:
        size_now = (
            held_bytes(root) + sum(_making) + size
        )  # what is half copied counts twice: rather too early than too late
        if (
            size_now > min(MAX_BYTES, limits().total_bytes)
            or shutil.disk_usage(root).free - sum(_making) - size < MIN_FREE_BYTES
        ):
            raise FolderError(NO_ROOM)
        _making.append(size)
    try:
        yield
    finally:
        with _room_lock:
            _making.remove(size)


def _sweep_hourly(root: Path) -> None:
    """`_sweep`, at most every `SWEEP_SECONDS`; who opens a study is not kept from it by what cannot be deleted."""
    global _next_sweep
    with _room_lock:
        if time.monotonic() < _next_sweep:
            return
        _next_sweep = time.monotonic() + SWEEP_SECONDS
    try:
        _sweep(root)
    except (OSError, FolderError) as error:
        _logger.warning("old studies cannot be deleted: %s", error)


def _sweep(root: Path) -> None:
    """Delete the visitors' studies that nobody answered for long, and what killed processes left. Others may do the
    same at the same time."""
    for folder in root.iterdir():
        age = (time.time() - _changed(folder)) / 86400
        if folder.name.startswith(PARTIAL) or _is_left_over(folder):
            if age > KEEP_PARTIAL_DAYS:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        if age <= KEEP_DAYS:
            continue
        try:
            if read_study(folder).owner_sha256:
                delete_study(open_study(folder))
        except RecordError:
            continue  # nothing of this program's
        except FolderError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise


def _is_left_over(folder: Path) -> bool:
    """Whether only an answer is there that came while its study was deleted."""
    is_visitors = re.fullmatch(f"[0-9a-f]{{{NAME_CHARACTERS}}}", folder.name)
    return (
        bool(is_visitors)
        and is_folder(folder)
        and {each.name for each in folder.iterdir()} <= {RATINGS_FILE, LOCK_FILE}
    )


def _changed(folder: Path) -> float:
    """When something of a study changed last, in seconds since 1970; now where nothing is there any more."""
    times = []
    for each in (folder, folder / CLIPS_FOLDER, folder / STUDY_FILE, folder / RATINGS_FILE):
        try:
            times.append(each.stat().st_mtime)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return max(times, default=time.time())
