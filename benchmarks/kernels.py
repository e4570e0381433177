"""What was tried for ViT-L's layers on a CPU, in float32: `python -m benchmarks.kernels`. Takes a minute.

Prints how long transformers takes to turn the queries or keys of a layer and how long we do, and the error of both in
bfloat16; the rate of a layer's matrix products with MKL, with oneDNN on packed weights and with int8 weights; and how
far int8 weights move the scores of `demo`, on the clips that ship with the program.
"""

# ruff: noqa: E402 (torch comes after wait_passively)

from __future__ import annotations

import copy
import os
import time
import warnings
from collections.abc import Callable

from vjepa_demo.config import ASSETS, CACHE_GB_VARIABLE, wait_passively

wait_passively()
os.environ[CACHE_GB_VARIABLE] = "0"  # no feature cache on disk

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.quantization import quantize_dynamic
from transformers import VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2RopeAttention

from benchmarks.full_size import VIDEO_SIZES, machine, markdown_table
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import clip_pixels
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint
from vjepa_demo.model.layers import rotary_tables, rotate

FRAMES, REPEATS = 16, 8
CPU = torch.device("cpu")
Rows = list[tuple[str, str, str]]


def seconds_of(run: Callable[[], object]) -> float:
    """The best of some runs."""
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def rotation() -> Rows:
    """Time and error of turning the queries or keys of a layer."""
    config = VJEPA2Config(**VIDEO_SIZES["vitl"])
    attention = VJEPA2RopeAttention(config, config.hidden_size, config.num_attention_heads)
    num_tokens = FRAMES // config.tubelet_size * attention.grid_size**2
    values = torch.randn(1, num_tokens, config.num_attention_heads, attention.attention_head_size)
    places = attention.get_position_ids(values)

    def theirs(given: Tensor) -> Tensor:
        return attention.apply_rotary_embeddings(given.transpose(1, 2), places).transpose(1, 2)

    def ours(given: Tensor) -> Tensor:
        tables = rotary_tables(num_tokens, attention.grid_size, attention.attention_head_size, CPU, given.dtype)
        return rotate(given, *tables)

    exact, rounded = theirs(values), values.bfloat16()
    times = [f"{1e3 * seconds_of(lambda run=run: run(values)):.1f} ms" for run in (theirs, ours)]
    errors = [f"{(run(rounded).float() - exact).abs().max():.3f}" for run in (theirs, ours)]
    return [
        ("queries or keys of a layer turned", *times),
        ("the same in bfloat16: largest error", *errors),
    ]


def products(rows_in: int, rows_out: int) -> Rows:
    """The rate of the product with a matrix of a layer, as MKL has it, and with packed or int8 weights."""
    num_tokens = FRAMES // 2 * 16**2
    linear, given = nn.Linear(rows_in, rows_out), torch.randn(num_tokens, rows_in)
    packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), num_tokens)
    quantised = quantize_dynamic(nn.Sequential(copy.deepcopy(linear)), {nn.Linear}, dtype=torch.qint8)
    runs: dict[str, Callable[[], Tensor]] = {
        "MKL": lambda: F.linear(given, linear.weight, linear.bias),
        "oneDNN, packed": lambda: torch.ops.mkldnn._linear_pointwise(given, packed, linear.bias, "none", [], ""),
        "int8": lambda: quantised(given),
    }
    operations = 2 * num_tokens * rows_in * rows_out
    rates = {name: f"{operations / seconds_of(run) / 1e9:.0f} GFLOP/s" for name, run in runs.items()}
    return [(f"{rows_in} to {rows_out}, {name}", rates["MKL"], rates[name]) for name in ("oneDNN, packed", "int8")]


def int8_scores() -> Rows:
    """How far the scores of `demo` move with int8 weights in the video encoder."""
    checkpoint = find_checkpoint("demo")
    model, rounded = (load_checkpoint(checkpoint, device="cpu", dtype=torch.float32) for _ in range(2))
    rounded.venc = quantize_dynamic(copy.deepcopy(rounded.venc), {nn.Linear}, dtype=torch.qint8)
    videos = sorted((ASSETS / "examples").glob("*.mp4")) + sorted((ASSETS / "sample").glob("*.mp4"))[:20]
    text = model.encode_text(["a red ball moves"])
    moved = []
    for video in videos:
        pixels = clip_pixels(load_clip(video, model.clip_config), model.clip_config)
        scores = [each.predict_with_features(each.encode_video(pixels), text) for each in (model, rounded)]
        moved.append((scores[0] - scores[1]).abs())
    differences = torch.cat(moved)  # (clips, 5)
    share = (differences > 0.02).float().mean()
    return [
        (f"int8: scores of demo on {len(videos)} clips, moved by more than 0.02", "", f"{100 * share:.0f} %"),
        ("the same: largest difference", "", f"{differences.max():.2f}"),
    ]


def main() -> None:
    warnings.simplefilter("ignore")  # torch.ao is to move to another package
    with torch.no_grad():
        rows = rotation()
        for rows_in, rows_out in ((1024, 1024), (1024, 4096), (4096, 1024)):
            rows += products(rows_in, rows_out)
        rows += int8_scores()
    print(f"ViT-L, {FRAMES} frames; {machine()}\n")
    print(markdown_table(("", "as usual", "tried"), rows))


if __name__ == "__main__":
    main()
