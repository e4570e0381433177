"""What the tabs that score clips share: how far they are, their queue, the way to the results, Stop, the examples."""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any, TypedDict

import gradio as gr

from vjepa_demo.app.session import Stoppable
from vjepa_demo.config import ASSETS
from vjepa_demo.schema import LayersReport
from vjepa_demo.wording import encoding_line

# Of each step of a clip: the share of the whole that is done when it begins, and what it is called.
STEPS = {
    "decode": (0.1, "Decoding the frames"),
    "video": (0.35, "Encoding the video"),
    "text": (0.8, "Encoding the prompt"),
    "head": (0.95, "Scoring"),
}
STOPPING = "Stopping."
# Two at a time: one clip is decoded on the CPU while another one is encoded.
SCORING: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "scoring"}


class Watched(TypedDict):
    """What `Scorer.score` and its like are given to say how far they are, and to be stopped."""

    on_step: Callable[[str], None]
    on_layer: Callable[[LayersReport], None]
    should_stop: Callable[[], bool]


def watched(stoppable: Stoppable, tell: Callable[[float, str], None]) -> Watched:
    """`stoppable` stops the scoring; `tell` gets the share of a clip that is done, and what is done now, such as
    "Encoding the video: about 9 s left"."""

    def on_layer(report: LayersReport) -> None:
        begin, end = STEPS["video"][0], STEPS["text"][0]
        tell(begin + (end - begin) * report.done / report.total, encoding_line(report))

    return {"on_step": lambda step: tell(*STEPS[step]), "on_layer": on_layer, "should_stop": stoppable.should_stop}


def add_stop(name: str) -> gr.Button:
    """The button beside the one that scores, there while a score is computed. The style sheet shows it only once that
    takes a while, so that it does not flash up."""
    return gr.Button("Stop", visible=False, scale=0, min_width=100, elem_id=f"{name}-stop", elem_classes="stop")


def scroll_to(selector: str) -> str:
    """JavaScript that brings the results into view on a phone, where they stand below the button that was pressed."""
    return f"() => {{ if (innerWidth < 700) document.querySelector('{selector}').scrollIntoView() }}"


def example_rows() -> list[list[str]]:
    """[path of the clip, prompt, what it shows] of each example that ships with the program."""
    folder = ASSETS / "examples"
    with (folder / "examples.csv").open(encoding="utf-8", newline="") as file:
        return [[str(folder / row["video_name"]), row["Prompt"], row["Shows"]] for row in csv.DictReader(file)]
