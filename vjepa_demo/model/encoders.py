"""Encoders from the Hub or a folder: configuration first, then weights, then what they want to be shown."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, BertModel, VJEPA2ForVideoClassification, VJEPA2Model
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import extract_commit_hash

from vjepa_demo.config import ClipConfig, ModelConfig, View
from vjepa_demo.schema import ModelError

if TYPE_CHECKING:
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

logger = logging.getLogger(__name__)

# Where VJEPA2VideoProcessor keeps its settings: now, and in repositories saved before transformers 4.53.
PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
COMMIT = re.compile("[0-9a-f]{40}")
NOT_CONTENT = {"_name_or_path", "transformers_version"}  # of a configuration: where it came from


def load_video_encoder(config: ModelConfig) -> tuple[VJEPA2Encoder, nn.Module | None]:
    """The V-JEPA 2 encoder, and the attentive pooler where the pooling wants it, from either Hub layout."""
    source, revision = config.video_encoder, config.video_encoder_revision
    architectures = _read_config(source, revision, "vjepa2").architectures or []
    if "VJEPA2ForVideoClassification" in architectures:
        classifier = _load_weights(VJEPA2ForVideoClassification, source, revision)
        return classifier.vjepa2.encoder, classifier.pooler if config.pooling == "attentive" else None
    if config.pooling == "attentive":
        raise ModelError(
            f"{source} has no attentive pooler: it is a base V-JEPA 2 checkpoint. "
            "Choose pooling 'mean', or a VJEPA2ForVideoClassification checkpoint (the ssv2 ones)."
        )
    return _load_weights(VJEPA2Model, source, revision).encoder, None


def load_text_encoder(config: ModelConfig) -> tuple[BertModel, Any]:
    source, revision = config.text_encoder, config.text_encoder_revision
    _read_config(source, revision, "bert")
    tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    return _load_weights(BertModel, source, revision, add_pooling_layer=False), tokenizer


def _read_config(source: str, revision: str | None, model_type: str) -> Any:
    if Path(source).is_absolute() and not Path(source).is_dir():
        raise ModelError(f"{source}: no such folder")
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read a model at {source!r}: {_first_line(error)} "
            "Give a Hub id and a network, or a folder with config.json and model.safetensors."
        ) from error
    if config.model_type != model_type:
        raise ModelError(f"{source!r} is a {config.model_type!r} model; expected {model_type!r}")
    return config


def commit_of(source: str, revision: str | None) -> str | None:
    """The commit that was loaded of a Hub id, from the folder where the Hub's client keeps it; else `revision`."""
    if Path(source).is_dir():
        return revision
    return extract_commit_hash(cached_file(source, "config.json", revision=revision), None) or revision


def content_of(config: ModelConfig, encoder: VJEPA2Encoder, pooler: nn.Module | None) -> str:
    """What the video encoder, just loaded, holds: a commit on the Hub says it; of a folder, which may be written again
    with other weights, it is the digest of the weights and of the encoder's configuration."""
    source, revision = config.video_encoder, config.video_encoder_revision or ""
    if not Path(source).is_dir() and COMMIT.fullmatch(revision):
        return f"{source}@{revision}"
    settings = {name: value for name, value in encoder.config.to_dict().items() if name not in NOT_CONTENT}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for part in filter(None, (encoder, pooler)):
        for name, value in part.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)}".encode())
            digest.update(weight_bytes(value))
    return f"sha256:{digest.hexdigest()}"


def weight_bytes(value: Tensor) -> memoryview:
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def sha256_of(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _load_weights(cls: type[Any], source: str, revision: str | None, **settings: Any) -> Any:
    """`cls.from_pretrained` in float32 with SDPA attention; refuses a checkpoint that lacks any weight."""
    try:
        with _less_talk(hide_bars=Path(source).is_dir()):
            model, report = cls.from_pretrained(
                source,
                revision=revision,
                dtype=torch.float32,
                attn_implementation="sdpa",
                use_safetensors=True,
                output_loading_info=True,
                **settings,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"cannot load the weights of {source!r}: {_first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(f"{source!r} lacks {len(missing)} of the weights of {cls.__name__}, such as {missing[0]}")
    return model


@contextmanager
def _less_talk(*, hide_bars: bool) -> Iterator[None]:
    """No report on weights that were left out on purpose; no bar either, unless gigabytes may have to come."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    if hide_bars:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def read_clip_config(config: ModelConfig, encoder: Any) -> ClipConfig:
    """What the video encoder wants to be shown: its own crop size, and the colours of its processor's file."""
    num_frames = config.num_frames or encoder.frames_per_clip
    if num_frames % encoder.tubelet_size:
        raise ModelError(
            f"num_frames is {num_frames}; {config.video_encoder} takes multiples of {encoder.tubelet_size}"
        )
    for view in config.views:
        _check_view(view, encoder)
    settings, defaults = _read_processor(config.video_encoder, config.video_encoder_revision), ClipConfig()
    mean, std = (settings.get(name, getattr(defaults, name)) for name in ("image_mean", "image_std"))
    if not all(isinstance(value, list | tuple) and len(value) == encoder.in_chans for value in (mean, std)):
        raise ModelError(f"the processor of {config.video_encoder} has no mean and std for each colour: {mean}, {std}")
    colours = cast(Any, tuple(mean)), cast(Any, tuple(std))
    return ClipConfig(num_frames, encoder.crop_size, *colours, views=config.views)


def _check_view(view: View, encoder: Any) -> None:
    """
    Raises:
        ModelError: if what `view` shows does not fit the video encoder.
    """
    crop, problem = encoder.crop_size, ""
    if view.num_frames is not None and view.num_frames % encoder.tubelet_size:
        problem = f"num_frames is {view.num_frames}; multiples of {encoder.tubelet_size} were expected"
    elif view.framing == "fragments" and crop % view.grid:
        problem = f"grid is {view.grid}, which does not divide the encoder's {crop} pixels"
    elif view.edge is not None and view.edge < crop:
        problem = f"edge is {view.edge}; the encoder's {crop} pixels at least were expected"
    if problem:
        raise ModelError(f"a view does not fit the video encoder: {problem}")


def _read_processor(source: str, revision: str | None) -> dict[str, Any]:
    for name in PROCESSOR_FILES:
        path = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
        if path is None:
            continue
        try:
            return dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{name} of {source!r} cannot be read: {error}") from error
    logger.warning("%s has no video processor file: ImageNet's colours are used", source)
    return {}


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
