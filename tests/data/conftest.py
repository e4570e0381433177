"""Tables and folders of videos that are never opened."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def table(tmp_path):
    """Writes a table of labels: lines of text, or bytes."""

    def write(*lines: str, name: str = "labels.csv", data: bytes | None = None) -> Path:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() if data is None else data)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """Makes files that are never opened."""

    def make(*names: str, under: str = "videos") -> Path:
        for name in names:
            path = tmp_path / under / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not opened")
        return tmp_path / under

    return make
