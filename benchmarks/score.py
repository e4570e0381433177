"""Where the seconds of a score go, and how they compare with the reference way.

    python -m benchmarks.score [--model demo|vitl|vitg|tiny] [--frames N] [--video FILE] [--repeats N]

VIDEO defaults to five seconds of a real video in 720p. `vitl`, `vitg` and `tiny` have random weights in the
Hub's layout (see `full_size`), written to a temporary folder. The reference way is transformers' AutoModel in float32
with its predictor, all hidden states kept; it gets the same pixels, and the same head makes its scores. Everything is
measured in turns, and the medians are shown. For `demo` the seconds of whole processes are shown too.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vjepa_demo.config import CACHE_GB_VARIABLE, PROJECT_ROOT, wait_passively

wait_passively()

import torch
from gradio.media import get_video
from torch import nn

from benchmarks.full_size import encode_reference, load_reference, machine, markdown_table, write_encoders
from benchmarks.measures import at_least, at_most
from vjepa_demo.app.charts import radar_chart
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import clip_pixels
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from vjepa_demo.model.cost import clip_flops, matrix_rate
from vjepa_demo.model.vjepa import VJEPAModel, default_device, inference_dtype, resolve_device
from vjepa_demo.schema import TrainedOn
from vjepa_demo.tasks.score import Scorer

SIZES = ("tiny", "vitl", "vitg")
FRAMES = 16  # of a clip: 64 of them take a two-core machine minutes with ViT-L
PROMPTS = ("a test picture", "a bowl of soup")
STEPS = ("decode", "preprocess", "video encoder", "text", "head", "chart")
PROCESSES = 3
Rows = list[tuple[str, str, str]]


def make_video(path: Path) -> Path:
    """Write five seconds of a video that ships with gradio to `path`, in 720p."""
    source = ["-i", get_video("world.mp4"), "-t", "5", "-an", "-vf", "scale=1280:720", "-r", "24"]
    subprocess.run(["ffmpeg", "-v", "error", *source, "-c:v", "libx264", "-crf", "23", str(path)], check=True)
    return path


def copies(videos: Sequence[Path], folder: Path, count: int) -> Iterator[Path]:
    """`count` files with the frames of `videos`, in turns, each with bytes of its own: no cache knows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        video = videos[index % len(videos)]
        copy = folder / f"{index:04}{video.suffix}"
        copy.write_bytes(video.read_bytes() + index.to_bytes(8))
        yield copy


def write_random_checkpoint(folder: Path, size: str, frames: int = FRAMES) -> Path:
    """A checkpoint of `size` in `folder` whose encoders and head have random weights."""
    encoders = write_encoders(folder, size, frames=frames)
    model = VJEPAModel(*encoders, device="cpu")
    model.draw_head(0)
    nn.init.constant_(model.head.net[-1].bias, 3.0)  # the middle of the scale: no score is cut to it
    save_checkpoint(model, folder, trained_on=TrainedOn("procedural", 0, "nothing: random weights"))
    return folder


def measure(
    scorer: Scorer, model: VJEPAModel, reference: nn.Module | None, video: Path, folder: Path, repeats: int
) -> tuple[dict[str, float], float, float]:
    """Median seconds of each step, of the whole path and of the reference way, the matrix rate, and two ratios.

    Also the smallest cosine of the features with those of the reference way, and the largest difference of a score;
    1 and 0 without a `reference`.
    """
    found: dict[str, list[float]] = defaultdict(list)
    cosine, difference = 1.0, 0.0

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        found[name].append(time.perf_counter() - begin)

    radar_chart(scorer.score(video, PROMPTS[0]))  # the first score of a process takes longer
    if reference is not None:  # as does the first pass of the reference way
        clip = clip_pixels(load_clip(video, model.clip_config), model.clip_config)
        encode_reference(reference, clip[0].to(model.device))
    for copy in copies([video], folder, repeats):
        with timed("whole"):
            result = scorer.score(copy, PROMPTS[0])
        with timed("second prompt"):
            scorer.score(copy, PROMPTS[1])
        with timed("chart"):
            radar_chart(result)
        with timed("decode"):
            clip = load_clip(copy, model.clip_config)
        with torch.inference_mode():
            with timed("preprocess"):
                pixels = clip_pixels(clip, model.clip_config)  # of each view, (1, C, T, H, W)
            with timed("video encoder"):
                features = model.encode_video(pixels).cpu()  # (1, video_dim); a GPU has to end for that
            with timed("text"):
                text = model.encode_text(PROMPTS[:1]).cpu()
            with timed("head"):
                scores = model.predict_with_features(features, text).cpu()  # (1, 5)
            if reference is not None:
                with timed("reference"):
                    expected = encode_reference(reference, pixels[0].to(model.device)).cpu()
                cosine = min(cosine, float(torch.cosine_similarity(features, expected)))
                error = (scores - model.predict_with_features(expected, text).cpu()).abs().max()
                difference = max(difference, float(error))
        found["path over encoder"].append((found["whole"][-1] - result.seconds["decode"]) / found["video encoder"][-1])
        found["matrix rate"].append(matrix_rate(model.device, model.dtype))
        matrix_rate.cache_clear()  # what other programs leave of the machine changes
    return {name: statistics.median(values) for name, values in found.items()}, cosine, difference


def of_processes(video: Path) -> tuple[float, float]:
    """Median seconds of a whole `score` command with `demo`, and of importing the package."""
    environment = os.environ | {CACHE_GB_VARIABLE: "0"}  # no feature cache on disk
    score = ["-m", "vjepa_demo", "score", str(video), "--prompt", PROMPTS[0], "--model", "demo"]
    importing = ["-c", "import time; a = time.perf_counter(); import vjepa_demo; print(time.perf_counter() - a)"]
    commands, imports = [], []
    for _ in range(PROCESSES):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, *score], check=True, cwd=PROJECT_ROOT, env=environment, stdout=subprocess.DEVNULL
        )
        commands.append(time.perf_counter() - begin)
        said = subprocess.run(
            [sys.executable, *importing], check=True, cwd=PROJECT_ROOT, env=environment, capture_output=True
        )
        imports.append(float(said.stdout))
    return statistics.median(commands), statistics.median(imports)


def rows_of(name: str, frames: int, model: VJEPAModel, seconds: dict[str, float]) -> Rows:
    """The rows that every model has."""
    rows = [(f"{step}, s", f"{seconds[step]:.4f}", "") for step in STEPS]
    whole, second = seconds["whole"], seconds["second prompt"]
    rate, clip = seconds["matrix rate"], clip_flops(model)
    share = clip / seconds["video encoder"] / rate
    rows += [
        ("first score (`Scorer.score`), s", f"{whole:.3f}", at_most(whole, 0.35) if name == "demo" else ""),
        (
            "whole path without decoding, over the encoder alone",
            f"{seconds['path over encoder']:.3f}",
            at_most(seconds["path over encoder"], 1.10),
        ),
        ("second prompt for the same video, s", f"{second:.4f}", ""),
        ("first score over second prompt", f"{whole / second:.0f}", at_least(whole / second, 200) * (name == "vitl")),
        ("products of large matrices, GFLOP/s", f"{rate / 1e9:.0f}", ""),
        ("video encoder, GFLOP", f"{clip / 1e9:.1f}", ""),
        ("share of that rate in the video encoder", f"{100 * share:.0f} %", ""),
    ]
    if "reference" in seconds:
        ratio = seconds["reference"] / seconds["video encoder"]
        limit = 12 if model.dtype == torch.bfloat16 else 2
        rows += [
            ("reference way, s", f"{seconds['reference']:.3f}", ""),
            ("reference way over ours", f"{ratio:.2f}", at_least(ratio, limit) * (name == "vitl" and frames == 16)),
        ]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("demo", *SIZES), default="demo")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of a clip; `demo` has its own")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--repeats", type=int, help="default: 7, or 2 with a large model")
    options = parser.parse_args(arguments)
    name, device = options.model, resolve_device(default_device())
    repeats = options.repeats or (2 if name in ("vitl", "vitg") else 7)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        video = options.video or make_video(folder / "clip.mp4")
        random = None if name == "demo" else write_random_checkpoint(folder / name, name, options.frames)
        checkpoint = find_checkpoint(str(random or name))
        model = load_checkpoint(checkpoint, device=device, dtype=inference_dtype(device))
        reference = load_reference(checkpoint.model.video_encoder, device) if random else None
        scorer = Scorer(name, model, checkpoint.trained_on)
        seconds, cosine, difference = measure(scorer, model, reference, video, folder / "copies", repeats)
        rows = rows_of(name, options.frames, model, seconds)
        if reference is not None:
            rows += [
                ("smallest cosine of pooled features with the reference way's", f"{cosine:.6f}", ""),
                (
                    "largest difference of a score from the reference way",
                    f"{difference:.5f}",
                    at_most(difference, 0.02),
                ),
            ]
        if name == "demo":
            command, importing = of_processes(video)
            rows += [
                ("first score in a new process, s", f"{command:.2f}", at_most(command, 3)),
                ("`import vjepa_demo`, s", f"{importing:.3f}", at_most(importing, 0.2)),
            ]
    tokens = " + ".join(map(str, model.tokens_of_views))
    print(f"{name}, {scorer.hardware}, {tokens} tokens, medians of {repeats}; {machine()}\n")
    print(markdown_table(("one clip", "measured", "target"), rows))


if __name__ == "__main__":
    main()
