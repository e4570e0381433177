"""Encoders of the real sizes with random weights, and transformers' own way to run them: what benchmarks measure.

No weights have to be downloaded, and how long a matrix product takes does not depend on the numbers in it.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, BertModel, BertTokenizer, VJEPA2Config, VJEPA2Model

from vjepa_demo.config import ClipConfig

Size = Literal["tiny", "vitl", "vitg"]

VIDEO_SIZES: dict[Size, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "crop_size": 32,
        "frames_per_clip": 8,
        "pred_hidden_size": 24,
        "pred_num_attention_heads": 1,
        "pred_num_hidden_layers": 1,
    },
    # config.json of facebook/vjepa2-vitl-fpc64-256
    "vitl": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "crop_size": 256},
    # config.json of facebook/vjepa2-vitg-fpc64-384-ssv2
    "vitg": {
        "hidden_size": 1408,
        "num_hidden_layers": 40,
        "num_attention_heads": 22,
        "crop_size": 384,
        "mlp_ratio": 48 / 11,
    },
}
# config.json of BAAI/bge-large-en-v1.5
BGE_LARGE: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 512,
}
TINY_BERT: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
WEIGHT_DEVIATION = 0.02  # initializer_range of both models
STOCK, STEP = 1 << 22, 7919  # random numbers that the weights are taken from; the step from one weight to the next


def write_encoders(folder: Path, name: Size, *, frames: int | None = None) -> tuple[str, str]:
    """Write encoders of the size `name` to `folder`, and return the folders of the video and of the text encoder.

    They lie as on the Hub, in float32: 1 MB for "tiny", 2.6 GB for "vitl", 5.5 GB for "vitg". `VJEPAModel(*folders)`
    loads them. `frames` are those of a clip, by default 64 (8 for "tiny").
    """
    video, text = folder / "video_encoder", folder / "text_encoder"
    config = VJEPA2Config(**VIDEO_SIZES[name] | ({"frames_per_clip": frames} if frames else {}))
    _write_random(VJEPA2Model, config, video, seed=0)
    _write_processor(video, config.crop_size)
    text_config = BertConfig(**TINY_BERT if name == "tiny" else BGE_LARGE)
    _write_random(BertModel, text_config, text, seed=1)
    _write_tokenizer(text, text_config.max_position_embeddings)
    return str(video), str(text)


@torch.no_grad()
def _write_random(cls: type[Any], config: Any, folder: Path, *, seed: int) -> None:
    """A `cls` with weights of its usual size. All come from one stock of numbers: to draw a billion takes a minute."""
    with torch.device("meta"):
        model = cls(config)
    model.to_empty(device="cpu")
    stock = WEIGHT_DEVIATION * torch.randn(STOCK, generator=torch.Generator().manual_seed(seed))
    begin = 0  # within the stock: no two layers have the same weights
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, nn.LayerNorm) or name == "bias":
                weight.fill_(float(name == "weight"))
                continue
            for part in weight.view(-1).split(STOCK // 2):
                begin = (begin + STEP) % (STOCK - len(part) + 1)
                part.copy_(stock[begin : begin + len(part)])
    model.save_pretrained(folder)


def _write_processor(folder: Path, crop_size: int) -> None:
    """The file of VJEPA2VideoProcessor, with the fields that facebook/vjepa2-* has on the Hub."""
    clip = ClipConfig(crop_size=crop_size)
    settings = {
        "crop_size": {"height": crop_size, "width": crop_size},
        "data_format": "channels_first",
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": clip.image_mean,
        "image_std": clip.image_std,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": clip.resize_edge},
        "video_processor_type": "VJEPA2VideoProcessor",
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _write_tokenizer(folder: Path, max_length: int) -> None:
    """BERT's tokenizer with a vocabulary of letters: a prompt has about as many tokens as letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=max_length).save_pretrained(folder)


# ---- the reference way -----------------------------------------------------------------------------------------------


def load_reference(video_encoder: str, device: str | torch.device = "cpu") -> VJEPA2Model:
    """The whole `VJEPA2Model` in float32, as transformers' page on V-JEPA 2 loads it."""
    model: Any = AutoModel.from_pretrained(video_encoder, dtype=torch.float32, attn_implementation="sdpa")
    return model.to(device).eval()


@torch.no_grad()
def encode_reference(model: VJEPA2Model, pixels: Tensor) -> Tensor:
    """Pooled features (B, hidden) float32 of normalised pixels (B, C, T, H, W), by the reference way: the predictor
    runs too, and the hidden states of all layers are kept."""
    output = model(pixel_values_videos=pixels.transpose(1, 2), output_hidden_states=True)  # (B, T, C, H, W) in
    return output.last_hidden_state.mean(dim=1)  # (B, N, hidden) -> (B, hidden)


# ---- what is printed -------------------------------------------------------------------------------------------------


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, a line a row."""
    return "\n".join(markdown_row(row) for row in (columns, ["---"] * len(columns), *rows))


def markdown_row(cells: Sequence[object]) -> str:
    """A line of a table in Markdown; a line end or a bar in a cell is replaced."""
    return f"| {' | '.join(str(cell).replace(chr(10), ' ').replace('|', '/') for cell in cells)} |"


def machine() -> str:
    """One line on the processor, its cores, the GPU if there is one, and torch's version."""
    parts = [f"{_processor()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"]
    # torch has no public question for these; both are asked of the processor, as vjepa.inference_dtype does.
    fast = {"AMX": torch.cpu._is_amx_tile_supported(), "avx512_bf16": torch.cpu._is_avx512_bf16_supported()}
    parts += [" and ".join(name for name, there in fast.items() if there) or "neither AMX nor avx512_bf16"]
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        parts.append(f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, compute capability {gpu.major}.{gpu.minor}")
    return f"{'; '.join(parts)}; torch {torch.__version__}"


def _processor() -> str:
    """The processor's name, as Linux tells it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()
