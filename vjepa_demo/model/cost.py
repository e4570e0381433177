"""How much a model computes for a clip, and how fast this machine multiplies: how long a clip will take."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

import torch

from vjepa_demo.config import SLOW_CLIP_SECONDS
from vjepa_demo.model.vjepa import VJEPAModel

# Edge of the matrices that are multiplied to learn the rate: some 20 ms on two cores, 1.4 ms on an H200.
CPU_EDGE, GPU_EDGE = 1024, 8192
RATE_REPEATS = 5
LOW_RATE = 1e10  # floating point operations a second: even a busy core of an old laptop does more
OTHER_SHARE = 1.15  # of the time of all products: what norms, GELU, rotation and memory take beside them


def layer_flops(config: Any, num_tokens: int) -> float:
    """Floating point operations of one layer of a V-JEPA 2 encoder for a view of `num_tokens` tokens: two a
    multiplication of its matrices and of its attention. `config` is a `VJEPA2Config`."""
    hidden, inner = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    matrices = 4 * hidden**2 + 2 * hidden * inner  # query, key, value, output; and both of the MLP
    return 2.0 * num_tokens * matrices + 4.0 * num_tokens**2 * hidden


def clip_flops(model: VJEPAModel) -> float:
    """Floating point operations of the video encoder of `model` for one clip, all views of all looks together."""
    config: Any = model.venc.config
    patch = config.in_chans * config.tubelet_size * config.patch_size**2
    return sum(
        config.num_hidden_layers * layer_flops(config, tokens) + 2.0 * tokens * patch * config.hidden_size
        for tokens in model.tokens_of_views
    )


@lru_cache
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations a second of the best of some large matrix products, measured once a process."""
    edge = GPU_EDGE if device.type == "cuda" else CPU_EDGE
    a, b = (torch.randn(edge, edge, device=device).to(dtype) for _ in range(2))  # ones would let a GPU run faster
    best = float("inf")
    for _ in range(RATE_REPEATS):
        begin = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return 2.0 * edge**3 / best


def expected_seconds(model: VJEPAModel, dtype: torch.dtype | None = None) -> float:
    """About how long `model` takes to encode a clip here in `dtype`, by default its own, without decoding.

    The `matrix_rate` is measured for it. A model that is fast on every machine is not worth that: its time is the one
    at `LOW_RATE`.
    """
    flops = OTHER_SHARE * clip_flops(model)
    if flops / LOW_RATE < SLOW_CLIP_SECONDS:
        return flops / LOW_RATE
    return flops / matrix_rate(model.device, dtype or model.dtype)
