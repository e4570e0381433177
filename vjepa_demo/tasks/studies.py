"""The studies of the page: where they are kept, who owns them, for how long, and clips that turn out unplayable.

A study is found by its link, which nobody can guess; what its owner may do takes a second secret. Loads no torch until
a study is made.
"""

from __future__ import annotations

import hmac
import secrets
import shutil
import time
from collections.abc import Generator, Sequence
from hashlib import sha256
from pathlib import Path

from vjepa_demo.config import DIMENSIONS, STUDIES_VARIABLE, VISITOR_DATASET_BYTES, no_folder, studies_folder
from vjepa_demo.data.ratings import RATINGS_FILE, STUDY_FILE, read_study
from vjepa_demo.files import PARTIAL, is_folder, reading, writing
from vjepa_demo.media.video import load_clip
from vjepa_demo.schema import BatchTable, CopyingReport, FolderError, OpeningReport, RecordError, VideoError
from vjepa_demo.schema.rating import StudyKind, StudyMade, StudyOrder
from vjepa_demo.tasks.labels import CHECKED_FRAMES
from vjepa_demo.tasks.rate import OpenStudy, find_study, open_study
from vjepa_demo.tasks.study import make_study

KEEP_DAYS = 30  # since the last answer: a visitor's study, unlike one of the command line, is deleted after that
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

    On the way studies go that nobody answered for `KEEP_DAYS`.

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
    held = sum(file.stat().st_size for file in root.rglob("*") if file.is_file())
    if held + size > MAX_BYTES or shutil.disk_usage(root).free - size < MIN_FREE_BYTES:
        raise FolderError("this page has no room for another study: end and delete one of yours, or try again later")
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
    ):
        yield (report, owner) if isinstance(report, StudyMade) else report


def linked_study(study_id: str) -> OpenStudy:
    """The study with the link `study_id`: one of the page, or one of the command line in the same folder.

    Raises:
        RecordError: if there is none.
    """
    root = _root()
    direct = root / _folder_name(study_id)
    if is_folder(direct):
        return find_study([direct], study_id)
    named = root.iterdir() if is_folder(root) else ()
    return find_study((folder for folder in named if len(folder.name) != NAME_CHARACTERS), study_id)


def owned_study(study_id: str, owner: str) -> OpenStudy:
    """The study with the link `study_id`, for who has its owner's secret.

    Raises:
        RecordError: if there is none, or `owner` is not its owner's secret.
    """
    study = linked_study(study_id)
    expected = study.study.owner_sha256
    if not expected or not hmac.compare_digest(expected, sha256(owner.encode()).hexdigest()):
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
    raters; returns whether it is.

    Raises:
        RecordError: if the study has no such clip.
    """
    path = study.clip_file(key)
    try:
        with reading(path, kind=VideoError):
            load_clip(path, CHECKED_FRAMES)
    except VideoError as error:
        study.skip_clip(key, str(error).replace(path.name, "its video"))
        return True
    return False


# ---- the folder ------------------------------------------------------------------------------------------------------

NAME_CHARACTERS = 40


def _root() -> Path:
    root = studies_folder()
    if root is None:
        raise FolderError(f"studies have no folder: {no_folder(STUDIES_VARIABLE)}")
    return root


def _folder_name(study_id: str) -> str:
    return sha256(study_id.encode()).hexdigest()[:NAME_CHARACTERS]


def _sweep(root: Path) -> None:
    """Delete the visitors' studies that nobody answered for long, and what killed processes left."""
    oldest = time.time() - KEEP_DAYS * 86400
    for folder in root.iterdir():
        changed = max(
            (each.stat().st_mtime for each in (folder, folder / STUDY_FILE, folder / RATINGS_FILE) if each.exists()),
            default=oldest,
        )
        if changed >= oldest or not folder.is_dir():
            continue
        if folder.name.startswith(PARTIAL):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            is_visitors = bool(read_study(folder).owner_sha256)
        except RecordError:
            continue  # nothing of this program's
        if is_visitors:
            delete_study(open_study(folder))
