"""What a visitor brings to the page and takes away: videos, also in a zip, and checkpoints as a zip or on the Hub."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from vjepa_demo.config import CHECKPOINT_MAX_BYTES, limits
from vjepa_demo.data.hub import Token, make_repo
from vjepa_demo.data.match import extract_videos
from vjepa_demo.media.isolated import write_preview
from vjepa_demo.model.checkpoint import (
    check_stranger,
    find_public_checkpoint,
    open_checkpoint_zip,
    push_checkpoint,
    zip_checkpoint,
)
from vjepa_demo.tasks.score import Scorer, load_scorer

__all__ = [
    "extract_videos",
    "fetch_public_checkpoint",
    "load_uploaded_checkpoint",
    "push_checkpoint",
    "reserve_checkpoint",
    "write_preview",
    "zip_checkpoint",
]


def reserve_checkpoint(repo_id: str, *, token: Token) -> None:
    """Make the private repository `repo_id` (`owner/name`) for a checkpoint, if need be. Called before a long training:
    that must not end with a checkpoint that cannot be pushed.

    Raises:
        CheckpointError: if `push_checkpoint` would refuse the repository.
    """
    make_repo(repo_id, token=token, private=True)


def load_uploaded_checkpoint(archive: str | Path, folder: Path, *, shown_as: str) -> Scorer:
    """A scorer of the checkpoint in a stranger's zip, called `shown_as`; unpacked below `folder` and deleted again.

    Raises:
        CheckpointError: if the zip holds no checkpoint, or one that names encoders which this page does not fetch.
        ModelError: if an encoder cannot be had.
    """
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as unpacked:
        checkpoint = open_checkpoint_zip(archive, unpacked, max_bytes=_most_bytes(folder))
        check_stranger(checkpoint, Path(archive).name)
        return load_scorer(unpacked, shown_as=shown_as, is_brought=True)


def fetch_public_checkpoint(name: str, folder: Path, *, token: str | Literal[False] = False) -> Path:
    """The folder below `folder` that `owner/name` or `owner/name@revision` on the Hub was fetched into: a checkpoint
    that everybody may read, or the owner of `token`. `load_scorer` takes it.

    Raises:
        CheckpointError: if there is none, it is larger than a visitor's model may be, or it names encoders that this
            page does not fetch.
    """
    return find_public_checkpoint(name, folder, max_bytes=_most_bytes(folder), token=token).folder


def _most_bytes(folder: Path) -> int:
    """What a stranger's checkpoint may take of the disk below `folder`, and about what of the memory."""
    allowed = limits()
    free = shutil.disk_usage(folder).free // 2
    return int(min(CHECKPOINT_MAX_BYTES, allowed.visitor_bytes, allowed.models_bytes, free))
