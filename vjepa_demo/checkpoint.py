"""A checkpoint is a folder: `config.json`, `model.safetensors` (only what was trained) and a model card.

Nothing else is needed to load it, and nothing in it is code. Files are written whole or not at all, `config.json`
last; it holds the digest of the weights, so that a folder with files of two checkpoints is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from vjepa_demo.config import CHECKPOINT_CONFIG_FILE, DIMENSIONS, SCORE_MAX, SCORE_MIN, ModelConfig
from vjepa_demo.model import VJEPAModel
from vjepa_demo.schema import CheckpointError, TrainedOn

FORMAT = "vjepa-demo-checkpoint"
FORMAT_VERSION = 1
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
WEIGHTS_FILE, CARD_FILE = "model.safetensors", "README.md"


@dataclass(frozen=True)
class Checkpoint:
    """What `config.json` says: the model, what its head learned from, and the SHA-256 of its weights file."""

    folder: Path
    model: ModelConfig
    trained_on: TrainedOn
    weights_sha256: str


def save_checkpoint(
    model: VJEPAModel, folder: str | Path, *, trained_on: TrainedOn, model_config: ModelConfig | None = None
) -> None:
    """Write the trained head of `model` to `folder`, which is made if need be.

    `model_config` replaces the model's own where its encoders will be found elsewhere (`./...` in the checkpoint).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = save_safetensors({f"head.{name}": value.cpu() for name, value in model.head.state_dict().items()})
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": (model_config or model.config).to_dict(),
        "dimensions": list(DIMENSIONS),
        "label_range": [SCORE_MIN, SCORE_MAX],
        "trained_on": dataclasses.asdict(trained_on),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    _write(folder / WEIGHTS_FILE, weights)
    _write(folder / CARD_FILE, model_card(model_config or model.config, trained_on).encode())
    _write(folder / CHECKPOINT_CONFIG_FILE, json.dumps(config, indent=2).encode())


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """What the checkpoint in `folder` says of itself; loads no weights.

    Raises:
        CheckpointError: if `folder` is no checkpoint of this program, or of a version it does not know.
    """
    folder = Path(folder)
    config = _read_config(folder)
    try:
        return Checkpoint(
            folder=folder,
            model=ModelConfig(**config["model"]),
            trained_on=TrainedOn(**config["trained_on"]),
            weights_sha256=config["weights_sha256"],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CHECKPOINT_CONFIG_FILE} does not describe a model: {error}") from error


def load_checkpoint(
    checkpoint: Checkpoint, *, device: str | torch.device, dtype: torch.dtype = torch.float32
) -> VJEPAModel:
    """The model of `checkpoint` with its trained weights, ready to score.

    Raises:
        CheckpointError: if the weights are missing, damaged, or do not fit the model.
        ModelError: if an encoder cannot be had.
    """
    weights = _read_weights(checkpoint)
    config = checkpoint.model
    model = VJEPAModel(
        _encoder_source(checkpoint.folder, config.video_encoder),
        _encoder_source(checkpoint.folder, config.text_encoder),
        config.freeze_ratio,
        device,
        pooling=config.pooling,
        dtype=dtype,
        head_hidden=config.head_hidden,
        num_frames=config.num_frames,
        video_encoder_revision=config.video_encoder_revision,
        text_encoder_revision=config.text_encoder_revision,
    )
    try:
        model.head.load_state_dict({name.removeprefix("head."): value for name, value in weights.items()})
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.folder / WEIGHTS_FILE} does not fit its model: {error}") from error
    return model


def model_card(config: ModelConfig, trained_on: TrainedOn) -> str:
    """The README of a checkpoint, in the Hub's format."""
    rows = "\n".join(
        f"| {name} | {f'{trained_on.srocc[name]:.3f}' if name in trained_on.srocc else 'undefined'} |"
        for name in DIMENSIONS
    )
    limits = {
        "procedural": "It has seen no human label: its scores order procedural degradations and only hint at opinions.",
        "human": "Its scores are as good as its labels, and hold for videos like those it learned from.",
    }[trained_on.kind]
    return f"""---
license: apache-2.0
library_name: vjepa-demo
pipeline_tag: video-classification
tags: [video-quality-assessment, v-jepa-2]
---
# Video quality model

Five mean opinion scores (1 Bad .. 5 Excellent) for a video and the prompt it was made from:
{", ".join(DIMENSIONS)}.

- video encoder: `{config.video_encoder}`, pooled by `{config.pooling}`
- text encoder: `{config.text_encoder}`
- trained on {trained_on}

Held-out Spearman correlation (SROCC), {trained_on.num_held_out:,} clips:

| dimension | SROCC |
| --- | --- |
{rows}

{limits}
"""


def _encoder_source(folder: Path, source: str) -> str:
    """A Hub id or path as it is; `./name` is inside the checkpoint, and nowhere above it."""
    if not source.startswith("./"):
        if not Path(source).is_absolute() and not HUB_ID.fullmatch(source):
            raise CheckpointError(
                f"{folder / CHECKPOINT_CONFIG_FILE} names the encoder {source!r}; "
                "a Hub id (owner/name), an absolute folder, or ./name inside the checkpoint was expected"
            )
        return source
    path = (folder / source).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder / CHECKPOINT_CONFIG_FILE} names an encoder outside the checkpoint: {source!r}")
    return str(path)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CHECKPOINT_CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: it has no {CHECKPOINT_CONFIG_FILE}. Give the folder that training wrote"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was not written by this program (format {FORMAT!r} expected); "
            "an encoder alone cannot score: give a checkpoint that holds a trained head"
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {config.get('format_version')}; this program reads {FORMAT_VERSION}: update it"
        )
    if config.get("dimensions") != list(DIMENSIONS):
        raise CheckpointError(f"{path} is for the dimensions {config.get('dimensions')}; expected {list(DIMENSIONS)}")
    return config


def _read_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    path = checkpoint.folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != checkpoint.weights_sha256:
        raise CheckpointError(
            f"{path} is not the file that {CHECKPOINT_CONFIG_FILE} was written with: copy the whole folder again"
        )
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def _write(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
