"""What fine-tuning `demo` brings, and whether training the encoder's top layers pays.

    python -m benchmarks.head_or_top 5 --scopes head                          # the sample data set, as on the page
    python -m benchmarks.head_or_top 5 --share 0.4 --labels DIR/labels.csv    # DIR: one of `make-dataset`

For each seed it makes one split, and prints for each scope the VQualA score on the validation clips after the best
epoch. Then it prints the means, also that of `demo` before fine-tuning, and how often `top` was ahead of `head`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

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
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("--labels", type=Path, default=ASSETS / "sample" / "moody.csv", help="beside their videos")
    parser.add_argument("--share", type=float, default=0.2, help="of the clips, to validate with")
    parser.add_argument("--scopes", nargs="+", default=["head", "top"])
    options = parser.parse_args()
    records = read_records(options.labels, options.labels.parent)
    rows = []
    for seed in range(options.seeds):
        scores = {}
        for scope in options.scopes:
            result, seconds = trained(records, TrainConfig(scope=scope, seed=seed, validation_fraction=options.share))
            scores["demo"] = result.evaluation.gain.before.vquala_score.value
            scores[scope] = result.evaluation.vquala_score.value
            gain = result.evaluation.gain
            message = f"seed {seed} {scope}: VQualA {scores[scope]:.3f}, best of epoch {result.best_epoch}"
            sroccs = ", ".join(f"{name} {each}" for name, each in gain.srocc.items())
            print(f"{message}, {seconds:.1f} s; gain {gain.vquala_score}; of SROCC: {sroccs}", flush=True)
        rows.append(scores)
    for name in ("demo", *options.scopes):
        values = [row[name] for row in rows]
        spread = f" ± {statistics.stdev(values):.3f} between splits" if len(values) > 1 else ""
        print(f"{name}: {statistics.mean(values):.3f}{spread}")
    if {"head", "top"} <= {*options.scopes}:
        print(f"top ahead of head in {sum(row['top'] > row['head'] for row in rows)} of {len(rows)}")


if __name__ == "__main__":
    main()
