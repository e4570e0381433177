"""The untrained network of the `demo` model: encoders, vocabulary, and the auxiliary heads of its training."""

from __future__ import annotations

import json
import math
import pydoc_data.topics
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, BertConfig, BertModel, BertTokenizer, VJEPA2Config, VJEPA2Model

from scripts.demo_model.samples import CLIP
from vjepa_demo.model.layers import rotary_angles
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.procedural.clips import ATTRIBUTES, PHRASES, caption_words
from vjepa_demo.procedural.faults import DEGRADATIONS

CROP_SIZE, HEAD_HIDDEN = CLIP.crop_size, 512
KINDS = tuple(DEGRADATIONS)


@lru_cache(maxsize=1)
def english_text() -> str:
    """A large English text that comes with every Python: the language reference."""
    return " ".join(pydoc_data.topics.topics.values()).lower()


def write_untrained_encoders(folder: Path, frames: Tensor, *, num_layers: int, vocabulary_size: int, seed: int) -> None:
    """Write new encoders in the Hub's layout to `folder`/video_encoder and `folder`/text_encoder.

    The statistics of `frames` (N, 3, crop, crop) uint8 scale the patch embedding.
    """
    torch.manual_seed(seed)
    video = VJEPA2Model(video_config(num_layers))
    _set_patch_embedding(video.encoder.embeddings.patch_embeddings.proj, frames)
    for layer in video.encoder.layer:
        _set_energy_detectors(layer.mlp)
    save_video_encoder(video, folder / "video_encoder")
    words = vocabulary(vocabulary_size)
    text_config = BertConfig(
        vocab_size=len(words),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=256,
    )
    text = BertModel(text_config, add_pooling_layer=False)
    save_text_encoder(
        text, BertTokenizer(vocab=words, do_lower_case=True, model_max_length=256), folder / "text_encoder"
    )


def video_config(num_layers: int) -> VJEPA2Config:
    """The configuration of a small V-JEPA 2. Its predictor, which never runs, is as small as the classes allow."""
    return VJEPA2Config(
        hidden_size=192,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        patch_size=16,
        tubelet_size=2,
        crop_size=CROP_SIZE,
        frames_per_clip=CLIP.num_frames,
        pred_hidden_size=12,
        pred_num_attention_heads=1,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=1,
        num_pooler_layers=1,
    )


def vocabulary(size: int) -> dict[str, int]:
    """WordPiece -> id: all words of the captions, and the `size` pieces of words that are commonest in English.

    A piece's rank is the number of letters that it covers in Python's language reference. A word that no caption has
    is split into such pieces.
    """
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    signs = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    known = {*signs, *(f"##{sign}" for sign in signs if sign.isalnum())}
    covered: Counter[str] = Counter()
    for word, count in Counter(re.findall(r"[a-z]+", english_text())).items():
        for begin in range(len(word)):
            for end in range(begin + 2, min(begin + 6, len(word)) + 1):
                covered[f"{'##' if begin else ''}{word[begin:end]}"] += count * (end - begin - 1)
    common = sorted(covered, key=lambda piece: (-covered[piece], piece))[:size]
    words = sorted({*known, *common, *caption_words()})
    return {piece: index for index, piece in enumerate([*special, *words])}


def dct_filters() -> Tensor:
    """The fixed filters (192, 3, 2, 16, 16) of the patch embedding: a cosine basis, as in a video codec.

    Each filter is a cosine over a patch, of brightness or one of two colour differences, and the sum or the difference
    of a tubelet's two frames.
    """
    waves = torch.cos(math.pi / 16 * (torch.arange(16) + 0.5) * torch.arange(16)[:, None])  # (frequency, x)
    planes = torch.einsum("uy,vx->uvyx", waves, waves).flatten(0, 1)  # (256, 16, 16)
    order = (torch.arange(16)[:, None] ** 2 + torch.arange(16)[None] ** 2).flatten().argsort(stable=True)
    channels = torch.tensor([[1.0, 1, 1], [1, -1, 0], [1, 1, -2]])
    over_time = torch.tensor([[1.0, 1], [1, -1]])
    chosen = []
    for channel, time_filter, low, high in ((0, 0, 56, 32), (0, 1, 44, 20), (1, 0, 12, 0), (2, 0, 12, 0),
                                            (1, 1, 8, 0), (2, 1, 8, 0)):  # fmt: skip
        rest = order[low:][torch.linspace(0, len(order) - low - 1, high).long()]
        plane = planes[torch.cat([order[:low], rest])]
        chosen.append(torch.einsum("c,t,nyx->nctyx", channels[channel], over_time[time_filter], plane))
    return torch.cat(chosen)


@torch.no_grad()
def _set_patch_embedding(proj: nn.Conv3d, sample: Tensor) -> None:
    """DCT filters whose outputs have mean 0 and deviation 1 over `sample`. Else the mean colour hides all detail."""
    proj.weight.copy_(dct_filters())
    assert proj.bias is not None
    proj.bias.zero_()
    pairs = sample[: len(sample) // 2 * 2].unflatten(0, (-1, 2))  # (N, 2, 3, crop, crop): tubelets
    out = proj(normalised(pairs, proj.weight.device)).transpose(0, 1).flatten(1)
    proj.weight.div_(out.std(dim=1)[:, None, None, None, None])
    proj.bias.copy_(-out.mean(dim=1) / out.std(dim=1))


@torch.no_grad()
def _set_energy_detectors(mlp: nn.Module) -> None:
    """Rows in +/- pairs that share an output: GELU(x) + GELU(-x) is close to |x|, which blur and noise change."""
    hidden = mlp.fc1.in_features
    half = mlp.fc1.out_features // 2
    mixed = torch.randn(half - hidden, hidden) / hidden**0.5
    rows = torch.cat([torch.eye(hidden), mixed])
    columns = 0.03 * torch.randn(hidden, half)
    mlp.fc1.weight.copy_(torch.cat([rows, -rows]))
    mlp.fc2.weight.copy_(torch.cat([columns, columns], dim=1))


def plain_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """An attention function for transformers without a fused kernel: (B, heads, N, D) -> (B, N, heads, D).

    On a CPU with avx512_bf16 it takes less than half the time of the fused kernel, whose backward pass is slow.
    """
    weights = ((query * scaling) @ key.transpose(-1, -2)).softmax(dim=-1)
    return (weights @ value).transpose(1, 2), None


class Rotation:
    """A faster `apply_rotary_embeddings` of a VJEPA2RopeAttention: it turns all three axes in one step."""

    def __init__(self, attention: nn.Module) -> None:
        self.head_size = attention.attention_head_size

    def __call__(self, qk: Tensor, positions: Sequence[Tensor]) -> Tensor:
        """Queries or keys (B, heads, N, D), turned by `positions` in time, y and x, each (N,) or (1, heads, N)."""
        places = [each.reshape(-1, each.shape[-1])[0] for each in positions]  # the same in all heads
        angles = rotary_angles(places, self.head_size)  # (N, D)
        even, odd = qk.unflatten(-1, (-1, 2)).unbind(dim=-1)
        turned = torch.stack((-odd, even), dim=-1).flatten(-2)
        return qk * angles.cos().to(qk.dtype) + turned * angles.sin().to(qk.dtype)


def build_model(folder: Path, *, seed: int, device: str) -> VJEPAModel:
    """The encoders in `folder` with a new head. Everything above the patch embedding is trainable."""
    torch.manual_seed(seed)
    encoders = str(folder / "video_encoder"), str(folder / "text_encoder")
    model = VJEPAModel(*encoders, 0.0, device, head_hidden=HEAD_HIDDEN, views=CLIP.views)
    model.unfreeze_text_encoder()
    if device == "cpu":
        AttentionInterface.register("plain", plain_attention)
        model.venc.config._attn_implementation = "plain"
        for layer in model.venc.layer:
            layer.attention.apply_rotary_embeddings = Rotation(layer.attention)
    with torch.no_grad():
        norm, output = model.head.net[0], model.head.net[-1]
        norm.weight[model.video_dim :] = 8.0  # a text vector has length 1; each number of a video vector has size 1
        output.bias.fill_(3.5)
    return model


class AuxiliaryHeads(nn.Module):
    """Heads for training alone: the features must also predict the facts seen and told, and the faults."""

    def __init__(self, full_dim: int, video_dim: int, text_dim: int) -> None:
        super().__init__()
        self.sizes = [len(PHRASES[name]) for name in ATTRIBUTES]
        self.seen = nn.Linear(full_dim, sum(self.sizes))
        self.told = nn.Linear(text_dim, sum(self.sizes))
        self.faults = nn.Linear(video_dim, len(KINDS))

    def loss(self, full: Tensor, video: Tensor, text: Tensor, *, facts: Tensor, told: Tensor, losses: Tensor) -> Tensor:
        """0.3 times the cross-entropy of the facts seen in the full view, 0.3 times that of the facts told, and 5 times
        the squared error of the faults, which are rare.

        `full` and `text` are features of N clips; `facts` and `told` (N, A) are indices, -1 for what a caption leaves
        out. `video` has the features of all views of the first B clips, whose faults cost `losses` (B, K).
        """
        of_seen = self._cross_entropy(self.seen(full), facts)
        of_told = self._cross_entropy(self.told(8.0 * text), told)
        return 0.3 * of_seen + 0.3 * of_told + 5.0 * F.mse_loss(self.faults(video), losses)

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        parts = logits.split(self.sizes, dim=1)
        losses = [
            F.cross_entropy(part, target, ignore_index=-1, reduction="sum") / (target >= 0).sum().clamp(min=1)
            for part, target in zip(parts, targets.unbind(dim=1), strict=True)
        ]
        return torch.stack(losses).mean()


def normalised(frames: Tensor, device: torch.device) -> Tensor:
    """Pixels (B, 3, T, crop, crop) float32 for the model, from a view's frames (B, T, 3, crop, crop) uint8."""
    mean, std = (torch.tensor(part, device=device).view(3, 1, 1) for part in (CLIP.image_mean, CLIP.image_std))
    return ((frames.to(device).float() - 255 * mean) / (255 * std)).transpose(1, 2)


def save_video_encoder(model: VJEPA2Model, folder: Path) -> None:
    """Write the encoder in the Hub's layout, with the settings that `VJEPA2VideoProcessor` would have."""
    model.save_pretrained(folder)
    processor = {
        "video_processor_type": "VJEPA2VideoProcessor",
        "crop_size": {"height": CROP_SIZE, "width": CROP_SIZE},
        "size": {"shortest_edge": CLIP.resize_edge},
        "image_mean": CLIP.image_mean,
        "image_std": CLIP.image_std,
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "resample": 2,
        "data_format": "channels_first",
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(processor, indent=2), encoding="utf-8")


def save_text_encoder(model: BertModel, tokenizer: BertTokenizer, folder: Path) -> None:
    """Write the text encoder and its tokenizer in the Hub's layout."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
