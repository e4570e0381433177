"""A table of one's own, for the tests of the Batch tab and of its looks."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from vjepa_demo.config import ASSETS

SAMPLE = ASSETS / "sample"


@pytest.fixture(scope="session")
def own_table(tmp_path_factory) -> tuple[Path, Path]:
    """Twelve rows by two generators: one names no file, one has no prompt, one file is no video."""
    folder = tmp_path_factory.mktemp("own")
    table = pd.read_csv(SAMPLE / "labels.csv").head(12)[["video_name", "Prompt"]]
    table["Generator"] = ["<b>Sora", "Wan"] * 6
    table.loc[4, "video_name"] = "gone.mp4"
    table.loc[7, "Prompt"] = ""
    table.to_csv(folder / "mine.tsv", sep="\t", index=False)
    with zipfile.ZipFile(folder / "clips.zip", "w") as archive:
        for name in table["video_name"].drop(4):
            content = b"no video" if name == "clip_0002.mp4" else (SAMPLE / name).read_bytes()
            archive.writestr(f"clips/{name}", content)
    return folder / "mine.tsv", folder / "clips.zip"
