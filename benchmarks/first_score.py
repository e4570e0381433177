"""How long a first score takes, and how much less a second prompt for the same video takes.

    python -m benchmarks.first_score [VIDEO]

VIDEO defaults to five seconds of FFmpeg's test picture in 720p. Prints the seconds of a whole command-line process.
Then, with the model loaded, prints the times of a first and a second prompt, and their ratio.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vjepa_demo.config import CACHE_GB_VARIABLE, PROJECT_ROOT, wait_passively

CLIPS = 7  # copies with different bytes: each needs a first score


def make_clip(path: Path) -> Path:
    """Write the test picture to `path`."""
    source = "testsrc2=size=1280x720:rate=24:duration=5,noise=alls=8:allf=t"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-crf", "23", str(path)]
    subprocess.run(command, check=True)
    return path


def seconds_of_process(video: Path) -> float:
    """Seconds of a `score` command."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "vjepa_demo", "score", str(video), "--prompt", "a test picture", "--model", "demo"]
    subprocess.run(command, check=True, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def seconds_of_prompts(video: Path, folder: Path) -> tuple[float, float]:
    """Median seconds of a first and of a second prompt, over `CLIPS` files with the same frames."""
    wait_passively()
    from vjepa_demo.tasks.score import get_scorer  # torch comes after wait_passively

    scorer, first, second = get_scorer("demo"), [], []
    for index in range(CLIPS):
        copy = folder / f"{index}.mp4"
        copy.write_bytes(video.read_bytes() + bytes([index]) * 8)
        for prompt, seconds in (("a test picture", first), ("a bowl of soup", second)):
            begin = time.perf_counter()
            scorer.score(copy, prompt)
            seconds.append(time.perf_counter() - begin)
    return statistics.median(first), statistics.median(second)


def main() -> None:
    os.environ[CACHE_GB_VARIABLE] = "0"  # no feature cache on disk
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else make_clip(folder / "clip.mp4")
        processes = [seconds_of_process(video) for _ in range(3)]
        first, second = seconds_of_prompts(video, folder)
    median, worst = statistics.median(processes), max(processes)
    print(f"a whole process, model load included: {median:.2f} s (median of {len(processes)}, worst {worst:.2f})")
    print(f"first prompt {first * 1e3:.0f} ms, second {second * 1e3:.1f} ms: 1/{first / second:.0f}")


if __name__ == "__main__":
    main()
