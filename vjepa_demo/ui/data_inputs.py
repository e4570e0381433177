"""What the Fine-tune and Batch tabs share: fields for a table and its videos, and what becomes of the files."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from vjepa_demo.config import ASSETS, LABEL_RANGES, TABLE_SUFFIXES, VIDEO_SUFFIXES
from vjepa_demo.ui.session import Session

Range = tuple[float, float] | None
SAMPLE = ASSETS / "sample"
SAMPLE_TABLE = SAMPLE / "labels.csv"
RANGES = {"detect it": None, **{f"{low} to {high}": (low, high) for low, high in LABEL_RANGES}}


def add_table_file(label: str, elem_id: str) -> gr.File:
    """A field for one CSV or TSV."""
    return gr.File(label=label, file_types=list(TABLE_SUFFIXES), height=150, elem_id=elem_id)


def add_video_files(elem_id: str) -> gr.File:
    """A field for video files, or a zip of them."""
    return gr.File(
        label="Videos (files, or one zip)",
        file_count="multiple",
        file_types=["video", *VIDEO_SUFFIXES, ".zip"],
        height=150,
        elem_id=elem_id,
    )


def add_label_range(elem_id: str) -> gr.Dropdown:
    """The choice of a range of `RANGES`."""
    return gr.Dropdown(list(RANGES), label="Range of the labels", elem_id=elem_id)


def take_over(session: Session, files: Iterable[str | None]) -> None:
    """What the visitor uploaded is deleted with their session; nothing else is, whatever `files` names."""
    uploads = Path(get_upload_folder())
    session.uploads.update(Path(file) for file in files if file and Path(file).is_relative_to(uploads))


def emptied(folder: Path) -> Path:
    """`folder`, new and without what was in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def download_path(session: Session, name: str) -> Path:
    """Where to write a file that the visitor is to download: Gradio serves it, nobody can guess it, and it is deleted
    with the session."""
    folder = Path(get_upload_folder(), secrets.token_hex(32))
    folder.mkdir(parents=True)
    session.uploads.add(folder / name)
    return folder / name
