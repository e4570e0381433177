"""The intervals of a `demo` model's scores, from fresh procedural clips as `make-dataset` draws them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from vjepa_demo.config import DIMENSIONS
from vjepa_demo.data.records import LABELS_FILE, read_records
from vjepa_demo.model.checkpoint import note_margins
from vjepa_demo.model.conformal import margins
from vjepa_demo.schema import DemoError, VideoRecord
from vjepa_demo.tasks.dataset import make_dataset
from vjepa_demo.tasks.evaluate import label_tensor
from vjepa_demo.tasks.score import Scorer, load_scorer

logger = logging.getLogger(__name__)

CLIPS_PER_SEED = 100


def calibrate(folder: Path, samples: Path, seeds: Iterable[int]) -> tuple[dict[str, float], dict[str, int]]:
    """Write the intervals into the checkpoint in `folder`, from `CLIPS_PER_SEED` fresh clips of each of `seeds`; gives
    the margins and the number of clips, by dimension. Clips that `samples` lacks are drawn there; weights stay as they
    are."""
    records = [record for seed in seeds for record in drawn(samples, seed)]
    scorer = load_scorer(str(folder), device="cpu")
    found, counts = margins(scores_of(scorer, records), label_tensor(records).tolist())
    note_margins(folder, found, counts)
    return found, counts


def drawn(samples: Path, seed: int) -> tuple[VideoRecord, ...]:
    """The clips of `seed` in `samples`, drawn if need be."""
    folder = samples / f"calibration_{seed}"
    if not (folder / LABELS_FILE).exists():
        for report in make_dataset(folder, count=CLIPS_PER_SEED, seed=seed):
            if report.done == report.total:
                logger.info("drew the %d clips of seed %d", report.total, seed)
    return read_records(folder / LABELS_FILE, folder).records


def scores_of(scorer: Scorer, records: Sequence[VideoRecord]) -> list[list[float]]:
    """The scores (N, 5) of `records` as they are shown.

    Raises:
        VideoError: if a video cannot be read.
    """
    rows = []
    for result in scorer.score_all((record.video, record.prompt) for record in records):
        if isinstance(result, DemoError):
            raise result
        rows.append([result.scores[name] for name in DIMENSIONS])
    return rows
