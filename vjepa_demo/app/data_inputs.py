"""What the Fine-tune and Batch tabs share: fields for a table and its videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr

from vjepa_demo.config import ASSETS, LABEL_RANGES, TABLE_SUFFIXES, VIDEO_SUFFIXES

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


def emptied(folder: Path) -> Path:
    """`folder`, new and without what was in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
