"""How much faster a batch is with decoding ahead of encoding, and over several processes.

    python benchmarks/throughput.py [--model NAME] [--count N] [--size 1280x720] [--processes N]

Draws N clips of two seconds of FFmpeg's test picture, each with other bytes, and scores them with nothing remembered:
one after the other, with decoding ahead, and as the `batch` command in one process and in several. Prints clips a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def make_clips(folder: Path, count: int, size: str) -> list[Path]:
    """Clips of the same pictures that no cache takes for one."""
    clip = folder / "clip.mp4"
    source = f"testsrc2=size={size}:rate=24:duration=2,noise=alls=8:allf=t"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", str(clip)], check=True)
    data = clip.read_bytes()
    clip.unlink()
    clips = [folder / f"{index}.mp4" for index in range(count)]
    for index, path in enumerate(clips):
        path.write_bytes(data + index.to_bytes(8, "big"))
    return clips


def seconds_of_scorers(clips: list[Path], model: str) -> tuple[float, float]:
    """One call of `score` a clip, and one of `score_all`; each with a scorer that remembers nothing."""
    from vjepa_demo.scorer import load_scorer

    seconds = []
    for ahead in (False, True):
        scorer = load_scorer(model)
        scorer.score(clips[0], "warm up")
        requests = [(clip, "a test picture") for clip in clips[1:]]
        begin = time.perf_counter()
        if ahead:
            assert len(list(scorer.score_all(requests))) == len(requests)
        else:
            for clip, prompt in requests:
                scorer.score(clip, prompt, with_frames=False)
        seconds.append(time.perf_counter() - begin)
    return seconds[0], seconds[1]


def seconds_of_command(clips: list[Path], model: str, processes: int, out: Path) -> float:
    """The whole `batch` command, model load included."""
    launcher = ["torch.distributed.run", "--nproc_per_node", str(processes), "-m"] if processes > 1 else []
    command = [sys.executable, "-m", *launcher, "vjepa_demo", "batch", *map(str, clips), "--prompt", "a test picture"]
    begin = time.perf_counter()
    subprocess.run([*command, "--model", model, "--out", str(out)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    os.environ["VJEPA_DEMO_CACHE_GB"] = "0"  # on disk nothing is remembered
    from vjepa_demo.config import wait_passively

    wait_passively()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = make_clips(folder, options.count, options.size)
        plain, ahead = seconds_of_scorers(clips, options.model)
        commands = {
            count: seconds_of_command(clips, options.model, count, folder / f"{count}.csv")
            for count in (1, options.processes)
        }
        same = (folder / "1.csv").read_bytes() == (folder / f"{options.processes}.csv").read_bytes()
    rest = len(clips) - 1
    print(f"{options.model}, {options.size}: one by one {rest / plain:.2f} clips/s, decoding ahead {rest / ahead:.2f}")
    print(f"decoding ahead is {plain / ahead:.2f} times as fast")
    for count, seconds in commands.items():
        print(
            f"batch with {count} process(es), model load included: {seconds:.1f} s, {len(clips) / seconds:.2f} clips/s"
        )
    print(f"both files are {'the same' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
