"""How much faster a batch is over several processes.

    python benchmarks/processes.py [FOLDER] [MODEL] [PROCESSES]

Runs the `batch` command on the videos of FOLDER (default: the sample data set) with MODEL (default: `demo`), in one
process and in PROCESSES (default: 2) as torchrun starts them, nothing remembered. Prints the seconds of each, model
load included, and those between its 10th row and its last; and whether both wrote the same bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, VIDEO_SUFFIXES  # noqa: E402 (found by the line above)


def run(videos: list[Path], model: str, processes: int, out: Path) -> tuple[float, float]:
    """Seconds of the whole command, and from its first row to its last."""
    launcher = ["torch.distributed.run", "--nproc_per_node", str(processes), "-m"] if processes > 1 else []
    command = [sys.executable, "-m", *launcher, "vjepa_demo", "batch", *map(str, videos), "--prompt", "x"]
    environment = os.environ | {CACHE_GB_VARIABLE: "0", "PYTHONUNBUFFERED": "1"}  # on disk nothing is remembered
    begin = first = last = time.perf_counter()
    pipes = {"stdout": subprocess.PIPE, "text": True, "env": environment, "cwd": ROOT}
    with subprocess.Popen([*command, "--model", model, "--out", str(out)], **pipes) as process:
        for line in process.stdout:
            if line.startswith("scored "):
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
