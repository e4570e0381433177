"""What the Fine-tune and Batch tabs and the API share: a table with its videos, and the settings of a training."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from vjepa_demo.config import ASSETS, LABEL_RANGES, TABLE_SUFFIXES, VIDEO_SUFFIXES, Scope, TrainConfig
from vjepa_demo.schema import RecordError

SAMPLE = ASSETS / "sample"
SAMPLE_TABLE = SAMPLE / "labels.csv"
OTHER_TASTE = SAMPLE / "moody.csv"  # labels that `demo` does not know already (scripts/make_sample.py)
TEMPLATES = ASSETS / "templates"
RANGES = {"detect it": None, **{f"{low} to {high}": (low, high) for low, high in LABEL_RANGES}}


def add_table_file(label: str, elem_id: str) -> gr.File:
    """A field for one table, in any format that is read."""
    return gr.File(label=label, file_types=list(TABLE_SUFFIXES), height=150, elem_id=elem_id)


def add_templates() -> None:
    """Buttons that download an empty-to-be-filled table: the right header, and two rows as examples."""
    with gr.Row(elem_id="templates"):
        for kind in ("labels", "pairs"):
            path = str(TEMPLATES / f"{kind}.csv")
            gr.DownloadButton(f"Template: {kind}", path, size="sm", variant="secondary", elem_id=f"template-{kind}")


def without_repeats(files: Sequence[str] | None) -> tuple[str, ...]:
    """`files` without those that were added again: of the same name, with the same bytes."""

    def is_same(one: str, other: str) -> bool:
        try:
            return filecmp.cmp(one, other, shallow=False)
        except OSError:  # whoever reads them says so
            return one == other

    kept: list[str] = []
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for file in files or ():
        namesakes = by_name[Path(file).name]
        if not any(is_same(each, file) for each in namesakes):
            namesakes.append(file)
            kept.append(file)
    return tuple(kept)


def add_video_files(elem_id: str) -> gr.File:
    """A field for video files, or a zip of them."""
    return gr.File(
        label="Videos (files, or one zip)",
        file_count="multiple",
        file_types=["video", *VIDEO_SUFFIXES, ".zip"],
        height=150,
        elem_id=elem_id,
    )


def add_prompts(elem_id: str) -> tuple[gr.File, gr.Textbox]:
    """Fields for the prompts of videos: a table of both, or one prompt for all; called `elem_id` and a word each."""
    table = add_table_file("Table of videos (CSV, Excel, JSON, Parquet)", f"{elem_id}-table")
    prompt = gr.Textbox(
        label="or one prompt for all videos",
        placeholder="The text the videos were made from",
        lines=2,
        elem_id=f"{elem_id}-prompt",
    )
    return table, prompt


def add_label_range(elem_id: str) -> gr.Dropdown:
    """The choice of a range of `RANGES`."""
    return gr.Dropdown(list(RANGES), label="Range of the labels", elem_id=elem_id)


def train_config(
    scope: Scope, epochs: float | None, rate: float | None, validation: float | None, seed: float | None
) -> TrainConfig:
    """The settings of a run as a person gave them; those that are empty are the defaults.

    Raises:
        RecordError: for a value out of its range.
    """
    defaults = TrainConfig()
    try:
        return TrainConfig(
            scope=scope,
            epochs=defaults.epochs if epochs is None else int(epochs),
            learning_rate=defaults.learning_rate if rate is None else float(rate),
            validation_fraction=defaults.validation_fraction if validation is None else float(validation),
            seed=defaults.seed if seed is None else int(seed),
        )
    except ValueError as error:
        raise RecordError(str(error)) from error
