"""Write the example clips of the page and their prompts into assets/examples: `python -m scripts.make_examples`."""

from __future__ import annotations

import csv

from vjepa_demo.config import ASSETS
from vjepa_demo.media.video import write_video
from vjepa_demo.procedural.clips import example_clips

SHOWS = {
    "clean": "nothing wrong",
    "blurred": "blur and noise",
    "unsteady": "flicker and stutter",
    "wrong_prompt": "another prompt",
}


def main() -> None:
    folder = ASSETS / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, clip in example_clips().items():
        write_video(folder / f"{name}.mp4", clip.frames, frames_per_second=clip.fps)
        rows.append({"video_name": f"{name}.mp4", "Prompt": clip.caption, "Shows": SHOWS[name]})
    with (folder / "examples.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["video_name", "Prompt", "Shows"])
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
