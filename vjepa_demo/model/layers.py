"""The transformer layers of V-JEPA 2's encoder, run with rotary tables that are made once for each shape.

transformers' `VJEPA2RopeAttention` builds the tables anew in every layer, for query and key and each of three axes, in
the precision of the activations, and applies them in some sixty passes over memory. Here they are computed in float32,
kept, and applied in three passes. The weights are those of transformers' modules, and so are the results in float32.
The parts of a layer are called, not the layer and its attention: hooks on those two are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROTARY_BASE = 10_000.0  # rotate_queries_or_keys in transformers/models/vjepa2/modeling_vjepa2.py
KEPT_TABLES = 16  # shapes; a table of ViT-g's 18,432 tokens takes 9.4 MB in float32

BeforeLayer = Callable[[], None]


def run_layers(layers: Iterable[Any], hidden: Tensor, *, before_layer: BeforeLayer | None = None) -> Tensor:
    """The hidden state (B, N, hidden) after `layers` (`VJEPA2Layer`), whose tokens are all those of a clip, in order.

    Matrix products are in the precision of the caller's autocast. `before_layer` is called before each layer; what it
    raises ends the run.
    """
    for layer in layers:
        if before_layer is not None:
            before_layer()
        hidden = layer.drop_path(_attend(layer.attention, layer.norm1(hidden))) + hidden
        hidden = layer.drop_path(layer.mlp(layer.norm2(hidden))) + hidden
    return hidden


def _attend(attention: Any, hidden: Tensor) -> Tensor:
    """What `VJEPA2RopeAttention` makes of (B, N, hidden)."""
    heads = (*hidden.shape[:-1], attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (part(hidden).view(heads) for part in (attention.query, attention.key, attention.value))
    tables = rotary_tables(
        hidden.shape[1], attention.grid_size, attention.attention_head_size, query.device, query.dtype
    )
    context = F.scaled_dot_product_attention(
        rotate(query, *tables).transpose(1, 2),  # (B, heads, N, head size)
        rotate(key, *tables).transpose(1, 2),
        value.transpose(1, 2),
        dropout_p=attention.dropout_prob if attention.training else 0.0,
    )
    return attention.proj(context.transpose(1, 2).flatten(2))  # (B, N, heads * head size)


@lru_cache(maxsize=KEPT_TABLES)
def rotary_tables(
    num_tokens: int, grid_size: int, head_size: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, 1, head size) of the tokens of a clip, `grid_size` squared of them a tubelet."""
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        token = torch.arange(num_tokens, device=device)
        places = token // grid_size**2, token // grid_size % grid_size, token % grid_size
        angles = rotary_angles(places, head_size)[:, None]  # (N, 1, head size)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def rotary_angles(places: Sequence[Tensor], head_size: int) -> Tensor:
    """By what angles (N, head size) float32 a head turns for tokens at `places`: tubelet, row and column, (N,) each.

    Three parts of a head turn with those; what is left of it (4 numbers of 64) stays. As in transformers, whose weights
    were trained so, number i of a part has the frequency i modulo half the part.
    """
    size = 2 * (head_size // 3 // 2)  # of a part
    frequencies = ROTARY_BASE ** -(torch.arange(size // 2, device=places[0].device, dtype=torch.float32) / (size / 2))
    angles = torch.cat([torch.outer(place.float(), frequencies).repeat(1, 2) for place in places], dim=1)
    return F.pad(angles, (0, head_size - angles.shape[1]))


def rotate(values: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """`values` (B, N, heads, head size) turned in each pair of neighbours (a, b): (a cos - b sin, b cos + a sin)."""
    turned = values * cosines
    turned[..., 0::2].addcmul_(values[..., 1::2], sines[..., 0::2], value=-1)
    turned[..., 1::2].addcmul_(values[..., 0::2], sines[..., 1::2])
    return turned
