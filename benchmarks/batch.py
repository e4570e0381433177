"""How many clips a second a batch scores, and how much memory it takes, at several sizes.

    python -m benchmarks.batch [--model demo] [--rows 10 100 1000] [--processes 1 2] [--videos FOLDER]

Runs the `batch` command on copies of the videos of FOLDER (default: the sample data set), each with bytes of its own,
without a feature cache on disk: in one process, and in several under torchrun. The peak memory is that of the largest
process. Then it scores some of them in this process, alternately one by one and with the next clips decoded ahead.
MODEL is a preset, the folder of a checkpoint, or `tiny` (random weights). Where a video is scored in several ways, the
scores must be equal.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, PROJECT_ROOT, VIDEO_SUFFIXES, wait_passively

wait_passively()

from benchmarks.full_size import machine, markdown_table
from benchmarks.measures import at_most, peak_bytes
from benchmarks.score import copies, write_random_checkpoint
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint
from vjepa_demo.model.vjepa import VJEPAModel, default_device, inference_dtype, resolve_device
from vjepa_demo.schema import TrainedOn, VideoScores
from vjepa_demo.tasks.score import Scorer

PROMPT = "a red ball on grass"
TOLD = re.compile(r"Scored ([\d,]+) of ")
AHEAD_CLIPS, TURNS = 40, 5
MAX_GROWTH = 1.10  # of the memory of the largest batch over that of the one before


@dataclass(frozen=True)
class Run:
    """One `batch` command: its seconds, clips a second from its first message to its last, and its peak memory."""

    seconds: float
    clips_a_second: float | None
    peak_bytes: int


def run_command(videos: Sequence[Path], model: str, processes: int, out: Path) -> Run:
    """Score `videos` into the CSV `out` with the `batch` command."""
    launcher = ["torch.distributed.run", "--nproc_per_node", str(processes), "-m"] if processes > 1 else []
    command = [sys.executable, "-m", *launcher, "vjepa_demo", "batch", *map(str, videos)]
    command += ["--prompt", PROMPT, "--model", model, "--out", str(out)]
    environment = os.environ | {CACHE_GB_VARIABLE: "0", "PYTHONUNBUFFERED": "1"}  # no feature cache on disk
    told: list[tuple[float, int]] = []  # when, and how many clips
    peak, begin = 0, time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment, "cwd": PROJECT_ROOT}
    with subprocess.Popen(command, **pipes) as process:
        for line in process.stdout:
            if match := TOLD.match(line):
                told.append((time.perf_counter(), int(match[1].replace(",", ""))))
                peak = max(peak, peak_bytes(process.pid))
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:6])} ... ended with {process.returncode}")
    (first, done), (last, total) = told[0], told[-1]
    rate = (total - done) / (last - first) if total > done else None
    return Run(seconds, rate, peak)


def one_by_one(scorer: Scorer, videos: Sequence[Path]) -> list[VideoScores]:
    """Scores of `videos`, each decoded when its turn comes."""
    return [scorer.score(video, PROMPT, with_frames=False) for video in videos]


def ahead(scorer: Scorer, videos: Sequence[Path]) -> list[VideoScores]:
    """Scores of `videos`, the next ones decoded while one is encoded."""
    with closing(scorer.score_all((video, PROMPT) for video in videos)) as results:
        return [result for result in results if isinstance(result, VideoScores)]


def measure_ahead(
    name: str, model: VJEPAModel, trained_on: TrainedOn, videos: Sequence[Path], turns: int
) -> list[tuple[str, str]]:
    """Rows on decoding ahead of encoding, the medians of `turns`."""
    seconds: dict[str, list[float]] = {"one by one": [], "ahead": []}
    ways: dict[str, Callable[[Scorer, Sequence[Path]], list[VideoScores]]] = {"one by one": one_by_one, "ahead": ahead}
    results: dict[str, list[VideoScores]] = {}
    for _ in range(turns):
        for way, score in ways.items():
            scorer = Scorer(name, model, trained_on)  # with a feature cache of its own
            scorer.score(ASSETS / "examples" / "clean.mp4", PROMPT)  # the first clip of a scorer takes longer
            begin = time.perf_counter()
            results[way] = score(scorer, videos)
            seconds[way].append(time.perf_counter() - begin)
        if [each.scores for each in results["one by one"]] != [each.scores for each in results["ahead"]]:
            raise SystemExit("the scores differ between one by one and decoding ahead")
    alone, together = (statistics.median(each) for each in seconds.values())
    decode, encode = (
        sum(each.seconds[step] for each in results["one by one"]) / len(videos) for step in ("decode", "video")
    )
    return [
        ("one by one, clips/s", f"{len(videos) / alone:.2f}"),
        ("decoding ahead, clips/s", f"{len(videos) / together:.2f}"),
        ("decoding ahead over one by one", f"{alone / together:.2f}"),
        ("decoding a clip, ms", f"{decode * 1e3:.1f}"),
        ("encoding a clip, ms", f"{encode * 1e3:.1f}"),
        (
            "largest possible gain (neither waits for the other's cores)",
            f"{(decode + encode) / max(decode, encode):.2f}",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="preset, folder of a checkpoint, or `tiny`")
    parser.add_argument("--rows", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--videos", type=Path, default=ASSETS / "sample")
    options = parser.parse_args(arguments)
    videos = sorted(path for path in options.videos.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        model = str(write_random_checkpoint(folder / "tiny", "tiny")) if options.model == "tiny" else options.model
        files = list(copies(videos, folder / "copies", max(options.rows)))
        peaks: dict[int, int] = {}  # of the batch before, by the number of processes
        for count in options.rows:
            written: set[bytes] = set()
            for processes in options.processes:
                out = folder / f"{count}-{processes}.csv"
                run = run_command(files[:count], model, processes, out)
                written.add(out.read_bytes())
                rate = "" if run.clips_a_second is None else f"{run.clips_a_second:.2f}"
                growth = run.peak_bytes / peaks[processes] if processes in peaks else None
                held = "" if growth is None else at_most(growth, MAX_GROWTH) if count == max(options.rows) else ""
                shown = "" if growth is None else f"{growth:.3f}"
                whole = f"{run.seconds:.1f}", f"{count / run.seconds:.2f}"
                rows.append((count, processes, *whole, rate, f"{run.peak_bytes / 1e6:.0f}", shown, held))
                peaks[processes] = run.peak_bytes
            if len(written) > 1:
                raise SystemExit(f"the files of {count} clips differ between {options.processes} processes")
        checkpoint, device = find_checkpoint(model), resolve_device(default_device())
        loaded = load_checkpoint(checkpoint, device=device, dtype=inference_dtype(device))
        turns = 1 if options.model == "tiny" else TURNS
        ahead_rows = measure_ahead(options.model, loaded, checkpoint.trained_on, files[:AHEAD_CLIPS], turns)
    columns = ("clips", "processes", "command, s", "clips/s", "after the first message", "peak, MB", "growth", "target")
    print(f"{options.model}; {machine()}\n\n{markdown_table(columns, rows)}\n")
    print(markdown_table(("one process", "measured"), ahead_rows))


if __name__ == "__main__":
    main()
