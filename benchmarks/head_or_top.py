"""Whether training the encoder's upper layers pays on the sample data set: `python benchmarks/head_or_top.py [SEEDS]`.

For each seed one split, and for each scope the VQualA score on the validation clips after the best epoch, beside that
of `demo` as it was; then the means, and how often `top` was ahead of `head`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, TrainConfig, wait_passively

wait_passively()
os.environ[CACHE_GB_VARIABLE] = "0"  # on disk nothing is remembered

from vjepa_demo.data.records import read_records, split_records  # noqa: E402 (torch comes after wait_passively)
from vjepa_demo.tasks.score import get_scorer  # noqa: E402
from vjepa_demo.tasks.train import TrainingData, TrainingResult, fine_tune, judge  # noqa: E402


def untrained(data: TrainingData) -> float:
    scorer = get_scorer("demo", "cpu")
    scores = [scorer.score(record.video, record.prompt).scores for record in data.validation]
    return judge(scores, data.validation).vquala_score.value or 0.0


def trained(data: TrainingData, config: TrainConfig) -> tuple[float, int, float]:
    """VQualA score, best epoch and seconds of one run."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        *_, result = fine_tune("demo", data, config, folder, device="cpu")
    assert isinstance(result, TrainingResult)
    assert result.evaluation is not None
    return result.evaluation.vquala_score.value or 0.0, result.best_epoch, time.perf_counter() - begin


def main() -> None:
    sample = ASSETS / "sample"
    records = read_records(sample / "labels.csv", sample).records
    rows = []
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        split = split_records(records, validation_fraction=0.4, seed=seed)
        data = TrainingData(split.train, split.validation, "the sample data set", kind="procedural")
        scores = {"demo": untrained(data)}
        for scope in ("head", "top"):
            score, epoch, seconds = trained(data, TrainConfig(scope=scope, seed=seed))
            scores[scope] = score
            print(f"seed {seed} {scope}: VQualA {score:.3f}, best of epoch {epoch}, {seconds:.1f} s", flush=True)
        rows.append(scores)
    for name in ("demo", "head", "top"):
        values = [row[name] for row in rows]
        spread = f" ± {statistics.stdev(values):.3f} between splits" if len(values) > 1 else ""
        print(f"{name}: {statistics.mean(values):.3f}{spread}")
    print(f"top ahead of head in {sum(row['top'] > row['head'] for row in rows)} of {len(rows)}")


if __name__ == "__main__":
    main()
