"""What it costs to decode a clip in a process of its own, over decoding it in this one.

    python -m benchmarks.decoding [--video FILE] [--repeats N]

VIDEO defaults to five seconds of a real video in 720p. It is decoded as `demo` looks at it, and as 64 frames of 384
pixels (28 MB, as `vitg` looks at it), in turns: here, and in a child of the zygote. Both give the same frames. Shown
are the extra milliseconds of a turn, and of processor time, which other work on the machine changes less.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from vjepa_demo.config import DEMO_VIEWS, ClipConfig, wait_passively

wait_passively()

import psutil
import torch

from benchmarks.full_size import machine, markdown_table
from benchmarks.measures import at_most
from benchmarks.score import make_video
from vjepa_demo.media import sandbox
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import Clip, decode_clip

CONFIGS = {
    "demo": ClipConfig(num_frames=16, crop_size=128, views=DEMO_VIEWS),
    "64 frames of 384 pixels": ClipConfig(num_frames=64, crop_size=384),
}
MOST_EXTRA_MS = 30.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args(arguments)
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or make_video(Path(folder) / "world.mp4")
        begin = time.perf_counter()
        sandbox.prepare()
        load_clip(video, CONFIGS["demo"])
        print(f"first clip, with the start of the zygote: {time.perf_counter() - begin:.1f} s\n")
        rows = [_compared(name, video, config, options.repeats) for name, config in CONFIGS.items()]
    columns = ("clip", "here, ms", "extra, ms: median", "90 %", "95 %", "ratio", "extra processor time, ms", "target")
    print(markdown_table(columns, rows))


def _compared(name: str, video: Path, config: ClipConfig, repeats: int) -> tuple[str, ...]:
    """A row of the table, after a look at whether both ways give the same frames."""
    same = zip(_frames(decode_clip(video, config)), _frames(load_clip(video, config)), strict=True)
    if not all(torch.equal(one, other) for one, other in same):
        raise SystemExit(f"{name}: the two ways give other frames")
    here, extra, processor = [], [], [0.0, 0.0]
    for _ in range(repeats):
        seconds = []
        for way, decode in enumerate((decode_clip, load_clip)):
            begin, used = time.perf_counter(), _processor_seconds()
            decode(video, config)
            seconds.append(time.perf_counter() - begin)
            while psutil.Process(_zygote_id()).children():  # its end belongs to its cost, but nobody waits for it
                time.sleep(0.01)
            processor[way] += _processor_seconds() - used
        here.append(1000 * seconds[0])
        extra.append(1000 * (seconds[1] - seconds[0]))
    p90, p95 = (statistics.quantiles(extra, n=20)[place] for place in (17, 18))
    median, base = statistics.median(extra), statistics.median(here)
    cpu = 1000 * (processor[1] - processor[0]) / repeats
    numbers = (
        f"{base:.1f}",
        f"{median:.1f}",
        f"{p90:.1f}",
        f"{p95:.1f}",
        f"{(base + median) / base:.3f}",
        f"{cpu:.1f}",
    )
    return (name, *numbers, at_most(median, MOST_EXTRA_MS))


def _frames(clip: Clip) -> tuple[torch.Tensor, ...]:
    return (clip.frames, *clip.more_views)


def _processor_seconds() -> float:
    """Of this process, the zygote, and the children that have ended."""
    return sum(sum(psutil.Process(each).cpu_times()[:4]) for each in (None, _zygote_id()))


def _zygote_id() -> int:
    assert sandbox._zygote._process is not None
    return sandbox._zygote._process.pid


if __name__ == "__main__":
    main()
