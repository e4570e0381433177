"""How much faster a batch is over several processes.

    python -m benchmarks.processes [FOLDER] [MODEL] [PROCESSES]

Runs the `batch` command on the videos of FOLDER (default: the sample data set) with MODEL (default: `demo`), first in
one process, then in PROCESSES (default: 2) under torchrun, without a feature cache on disk. Prints the seconds of each
run, model load included, and the seconds from its 10th row to its last. Then says whether both files are the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, PROJECT_ROOT, VIDEO_SUFFIXES


def run(videos: list[Path], model: str, processes: int, out: Path) -> tuple[float, float]:
    """Seconds of the whole command, and from its first message about rows to its last."""
    launcher = ["torch.distributed.run", "--nproc_per_node", str(processes), "-m"] if processes > 1 else []
    command = [sys.executable, "-m", *launcher, "vjepa_demo", "batch", *map(str, videos), "--prompt", "x"]
    environment = os.environ | {CACHE_GB_VARIABLE: "0", "PYTHONUNBUFFERED": "1"}  # no feature cache on disk
    begin = first = last = time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment, "cwd": PROJECT_ROOT}
    with subprocess.Popen([*command, "--model", model, "--out", str(out)], **pipes) as process:
        for line in process.stdout:
            if line.startswith("Scored "):
                last = time.perf_counter()
                first = last if first == begin else first
    if process.returncode:
        raise SystemExit(f"the batch ended with {process.returncode}")
    return time.perf_counter() - begin, last - first


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS / "sample"
    model = sys.argv[2] if len(sys.argv) > 2 else "demo"
    processes = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    videos = sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    with tempfile.TemporaryDirectory() as name:
        outs = [Path(name, f"{count}.csv") for count in (1, processes)]
        for count, out in zip((1, processes), outs, strict=True):
            whole, rows = run(videos, model, count, out)
            print(f"{count} process(es), {len(videos)} rows: {whole:.1f} s in all, {rows:.1f} s after the 10th row")
        same = outs[0].read_bytes() == outs[1].read_bytes()
    print(f"the files are {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
