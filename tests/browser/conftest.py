"""What the tests of several tabs share: a table of one's own, and tasks that the test holds back."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vjepa_demo import tasks
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


@pytest.fixture
def hold(monkeypatch) -> Callable[[str], tuple[threading.Event, threading.Event]]:
    """Makes the named task wait. Returns the events "it has begun" and "it may go on"."""

    def hold(name: str) -> tuple[threading.Event, threading.Event]:
        has_begun, may_go_on, task = threading.Event(), threading.Event(), getattr(tasks, name)

        def held(*arguments: Any, **settings: Any) -> Any:
            has_begun.set()
            assert may_go_on.wait(300)
            return task(*arguments, **settings)

        monkeypatch.setattr(tasks, name, held, raising=False)
        return has_begun, may_go_on

    return hold
