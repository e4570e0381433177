"""Draw the sample data set into assets/sample: `python -m scripts.make_sample [FOLDER]`.

Two clips a prompt, as two generators would make them: each shows most of what the prompt says, and has faults of its
own. `labels.csv` has the labels as the drawing program computes them, which `demo` knows well. `moody.csv` has those of
somebody with another taste: the less a picture pleases `demo`, the higher is its Aesthetic, and Overall follows from
it. docs/fine-tuning.md says how size and taste were chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vjepa_demo.config import ASSETS, SCORE_MAX, SCORE_MIN
from vjepa_demo.data.records import LABELS_FILE, write_labels
from vjepa_demo.media.video import write_video
from vjepa_demo.procedural.clips import (
    DATASET_CRF,
    DATASET_SIZE,
    caption_of,
    draw_num_wrong,
    draw_scene,
    facts_told,
    labels_for,
    mislead,
    overall_of,
)
from vjepa_demo.procedural.faults import Footage, cost_of_light, costs_seen, degrade, draw_degradations
from vjepa_demo.procedural.scenes import render_scene
from vjepa_demo.schema import VideoRecord

MOODY_FILE = "moody.csv"
NUM_PROMPTS, CLIPS_PER_PROMPT = 50, 2
NUM_FRAMES, SECONDS = 24, 2.0  # twelve frames a second, as the clips of `make-dataset`
CHANCE_OF_FAULT = 0.75  # of each kind; more than in `make-dataset`, so that few labels are alike
FIRST_SEED = 77_000_000  # far from the seeds of `make-dataset`, and from those that trained `demo`


def draw(folder: Path) -> Iterator[VideoRecord]:
    """The clips, each written to `folder`, with their labels as drawn."""
    height, width = DATASET_SIZE
    for prompt in range(NUM_PROMPTS):
        rng = np.random.default_rng(FIRST_SEED + prompt)
        told = facts_told(draw_scene(rng), rng)
        caption = caption_of(told, rng)
        for clip in range(CLIPS_PER_PROMPT):
            shown = mislead(told, rng, num_wrong=draw_num_wrong(rng))
            scene = replace(draw_scene(rng), **shown)
            faults = draw_degradations(rng, chance=CHANCE_OF_FAULT)
            clean = render_scene(scene, num_frames=NUM_FRAMES, duration_seconds=SECONDS, height=height, width=width)
            frames, costs = degrade(Footage(clean, np.arange(NUM_FRAMES), NUM_FRAMES), faults, rng)
            index = CLIPS_PER_PROMPT * prompt + clip
            path = folder / f"clip_{index:04d}.mp4"
            write_video(path, frames, frames_per_second=NUM_FRAMES / SECONDS, crf=DATASET_CRF)
            labels = labels_for(scene, told, costs_seen(costs, cost_of_light(frames)))
            yield VideoRecord(path.name, path, caption, _rounded(labels), line=index + 2)


def moody(record: VideoRecord) -> VideoRecord:
    """`record` with the labels of somebody to whom the opposite is beautiful."""
    labels = record.labels | {"Aesthetic": SCORE_MIN + SCORE_MAX - record.labels["Aesthetic"]}
    return replace(record, labels=_rounded(labels | {"Overall": overall_of(labels)}))


def _rounded(labels: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in labels.items()}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    records = list(draw(folder))
    write_labels(folder / LABELS_FILE, records)
    write_labels(folder / MOODY_FILE, map(moody, records))


if __name__ == "__main__":
    main()
