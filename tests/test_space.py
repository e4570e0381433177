"""The page as a Space runs it: a process that a platform starts, asks and ends."""

from __future__ import annotations

from pathlib import Path

import httpx
from pages import PATIENCE_SECONDS, PROMPT, ROOT, served

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
