"""What the tabs that score clips share: the steps, their queue, the way to the results, and the example clips."""

from __future__ import annotations

import csv
from typing import Any

from vjepa_demo.config import ASSETS

# Of each step of a clip: the share of the whole that is done when it begins, and what it is called.
STEPS = {
    "decode": (0.1, "Decoding the frames"),
    "video": (0.35, "Encoding the video"),
    "text": (0.8, "Encoding the prompt"),
    "head": (0.95, "Scoring"),
}
# Two at a time: one clip is decoded on the CPU while another one is encoded.
SCORING: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "scoring"}


def scroll_to(selector: str) -> str:
    """JavaScript that brings the results into view on a phone, where they stand below the button that was pressed."""
    return f"() => {{ if (innerWidth < 700) document.querySelector('{selector}').scrollIntoView() }}"


def example_rows() -> list[list[str]]:
    """[path of the clip, prompt, what it shows] of each example that ships with the program."""
    folder = ASSETS / "examples"
    with (folder / "examples.csv").open(encoding="utf-8", newline="") as file:
        return [[str(folder / row["video_name"]), row["Prompt"], row["Shows"]] for row in csv.DictReader(file)]
