"""The page as a Space runs it: a process that a platform starts, asks and ends."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from pages import PATIENCE_SECONDS, PROMPT, ROOT, served

from scripts import check_space

EXAMPLES = ROOT / "assets" / "examples"


class Caller:
    """A program that asks the page at `address` for scores."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=f"{address}/gradio_api", timeout=PATIENCE_SECONDS)

    def ask(self, clip: Path, model: str = "demo") -> str:
        """Ask for a score of `clip`; where its answer will come, once it has a place in the queue."""
        with clip.open("rb") as file:
            (path,) = self._client.post("/upload", files={"files": (clip.name, file)}).json()
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        asked = self._client.post("/call/score", json={"data": [given, PROMPT, model]}).json()
        return f"/call/score/{asked['event_id']}"

    def answer(self, place: str) -> str:
        return self._client.get(place).text


def test_a_page_that_is_told_to_end_during_a_score_ends_in_order(tmp_path):
    with served(TMPDIR=str(tmp_path), GRADIO_TEMP_DIR=str(tmp_path / "uploads")) as page:
        caller = Caller(page.address)
        assert '"Overall"' in caller.answer(caller.ask(EXAMPLES / "clean.mp4"))
        caller.ask(EXAMPLES / "blurred.mp4")
        assert page.end() == 143
    log = "".join(page.log)
    assert "told to end" in log
    assert not [word for word in ("Traceback", "Exception", "Invalid file descriptor", "terminate") if word in log], log
    assert not list(tmp_path.glob("vjepa-demo-*"))


SETTINGS = check_space.front_matter((ROOT / "README.md").read_text(encoding="utf-8"))
REQUIREMENTS = check_space.requirement_lines((ROOT / "requirements.txt").read_text(encoding="utf-8"))


def test_the_builder_takes_the_front_matter():
    assert check_space.wrong_settings(SETTINGS, REQUIREMENTS, ROOT) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("sdk_version", "5.49.0", r"sdk_version is 5\.49\.0; requirements\.txt admits gradio<7,>=6\.31"),
        ("colorTo", "orange", "colorTo is 'orange'; one of red, yellow"),
        ("python_version", 3.12, r'python_version is 3\.12; text such as "3\.12"'),
        ("short_description", "x" * 61, "short_description has 61 letters; 60 at most"),
        ("app_file", "main.py", "app_file is 'main.py'; there is no such file"),
    ],
)
def test_a_setting_that_the_builder_does_not_take_is_told(name, value, told):
    (problem,) = check_space.wrong_settings({**SETTINGS, name: value}, REQUIREMENTS, ROOT)
    assert re.match(told, problem)


def test_a_file_that_needs_lfs_is_told(tmp_path):
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(bytes(10 * 10**6 + 1))
    small.write_bytes(bytes(10 * 10**6))
    (problem,) = check_space.large_files([large, small])
    assert problem.startswith(f"{large} has 10.0 MB; 10 MB at most")
