"""Whether training the encoder's top layers pays on the sample data set: `python -m benchmarks.head_or_top [SEEDS]`.

For each seed it makes one split, and prints for each scope the VQualA score on the validation clips after the best
epoch. Then it prints the means, also that of `demo` before fine-tuning, and how often `top` was ahead of `head`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, TrainConfig, wait_passively

wait_passively()
os.environ[CACHE_GB_VARIABLE] = "0"  # no feature cache on disk

from vjepa_demo.data.records import read_records  # noqa: E402 (torch comes after wait_passively)
from vjepa_demo.schema import RecordSet, TrainingResult  # noqa: E402
from vjepa_demo.tasks.train import fine_tune  # noqa: E402

SAMPLE = {"description": "the sample data set", "kind": "procedural"}


def trained(records: RecordSet, config: TrainConfig) -> tuple[TrainingResult, float]:
    """The result of one run, and its seconds."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        *_, result = fine_tune("demo", records, config, folder, device="cpu", **SAMPLE)
    return result, time.perf_counter() - begin


def main() -> None:
    sample = ASSETS / "sample"
    records = read_records(sample / "labels.csv", sample)
    rows = []
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        scores = {}
        for scope in ("head", "top"):
            result, seconds = trained(records, TrainConfig(scope=scope, seed=seed, validation_fraction=0.4))
            scores["demo"] = result.evaluation.gain.before.vquala_score.value
            scores[scope] = result.evaluation.vquala_score.value
            message = f"seed {seed} {scope}: VQualA {scores[scope]:.3f}, best of epoch {result.best_epoch}"
            print(f"{message}, {seconds:.1f} s", flush=True)
        rows.append(scores)
    for name in ("demo", "head", "top"):
        values = [row[name] for row in rows]
        spread = f" ± {statistics.stdev(values):.3f} between splits" if len(values) > 1 else ""
        print(f"{name}: {statistics.mean(values):.3f}{spread}")
    print(f"top ahead of head in {sum(row['top'] > row['head'] for row in rows)} of {len(rows)}")


if __name__ == "__main__":
    main()
