"""Encoders from the Hub or a folder: configuration first, then weights, then what they want to be shown.

What is loaded is shared: all models of this process that rest on the same encoder, on one device and in one precision,
hold the same tensors. Nobody changes those; a model that trains or replaces a weight puts its own in that place.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import BertModel, VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler, VJEPA2Encoder, VJEPA2PreTrainedModel
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import extract_commit_hash

from vjepa_demo.config import ENCODER_FILES, ModelConfig
from vjepa_demo.files import content_sha256, is_folder
from vjepa_demo.model.source import (
    Shapes,
    check_weights,
    first_line,
    read_clip_config,
    read_encoder_config,
    read_tokenizer,
)
from vjepa_demo.schema import ModelError


@dataclass(frozen=True, eq=False)
class Encoder:
    """A frozen encoder: `parts` maps attributes of a `VJEPAModel` to modules, whose matrices are in `dtype`.

    `content` is the same for the same weights and settings, wherever they lie: a commit on the Hub, or the digest of
    a folder's files. `revision` is that commit.
    """

    content: str
    revision: str | None
    kind: str
    device: torch.device
    dtype: torch.dtype
    parts: Mapping[str, nn.Module]
    tokenizer: Any = None

    def in_precision(self, dtype: torch.dtype) -> Encoder:
        """The same with matrices in `dtype`; all that is in float32 whatever `dtype` says is the same tensor."""
        if dtype == self.dtype:
            return self

        def convert() -> Encoder:
            return replace(self, dtype=dtype, parts=_with_matrices_in(dtype, self.parts))

        if self.dtype != torch.float32:
            return convert()  # what was rounded must not pass for the encoder's own float32
        return _shared(self.content, self.kind, self.device, dtype, convert)


def load_video_encoder(config: ModelConfig, device: torch.device, dtype: torch.dtype, *, share: bool) -> Encoder:
    """The V-JEPA 2 encoder `venc`, and the attentive `pooler` if `config` asks for it, from either Hub layout.

    Models share the encoder, unless `share` is False: then nobody else gets it.
    """
    source, described, cls = _described_video(config)

    def load_parts(revision: str | None) -> dict[str, nn.Module]:
        loaded = _load_weights(cls, described, source, revision)
        if cls is _VideoEncoder:
            return {"venc": loaded.encoder}
        return {"venc": loaded.vjepa2.encoder, "pooler": loaded.pooler}

    kind = "video" if cls is _VideoEncoder else "video, attentive"
    return _load_encoder(source, config.video_encoder_revision, kind, device, dtype, load_parts, share=share)


def load_text_encoder(config: ModelConfig, device: torch.device, dtype: torch.dtype, *, share: bool) -> Encoder:
    """The BERT encoder `tenc`, and its tokenizer, shared as the video encoder is."""
    source = config.text_encoder
    described = read_encoder_config(source, config.text_encoder_revision, "bert")

    def load_parts(revision: str | None) -> dict[str, nn.Module]:
        return {"tenc": _load_weights(BertModel, described, source, revision, add_pooling_layer=False)}

    def load_tokenizer(revision: str | None) -> Any:
        return read_tokenizer(source, revision, vocab_size=described.vocab_size)

    return _load_encoder(
        source, config.text_encoder_revision, "text", device, dtype, load_parts, load_tokenizer, share=share
    )


def check_video_encoder(config: ModelConfig) -> Shapes:
    """The shapes of the weights that a model of `config` gets of its video encoder, by the names that these have there,
    as far as all is well before they are loaded.

    Raises:
        ModelError: if it is not.
    """
    source, described, cls = _described_video(config)
    read_clip_config(config, described)
    shapes = check_weights(source, config.video_encoder_revision, lambda: cls(described), name=_name(cls))
    parts = {"encoder.": "venc.", "vjepa2.encoder.": "venc.", "pooler.": "pooler."}
    return {
        new + name.removeprefix(old): shape
        for name, shape in shapes.items()
        for old, new in parts.items()
        if name.startswith(old)
    }


def check_text_encoder(config: ModelConfig) -> Shapes:
    """The same of its text encoder."""
    source, revision = config.text_encoder, config.text_encoder_revision
    described = read_encoder_config(source, revision, "bert")
    read_tokenizer(source, revision, vocab_size=described.vocab_size)
    shapes = check_weights(source, revision, lambda: BertModel(described, add_pooling_layer=False), name="BertModel")
    return {f"tenc.{name}": shape for name, shape in shapes.items()}


def _described_video(config: ModelConfig) -> tuple[str, Any, type[Any]]:
    """Where the video encoder of `config` is, what it says of itself, and the class that loads what is needed of it."""
    source, attentive = config.video_encoder, config.pooling == "attentive"
    described = read_encoder_config(source, config.video_encoder_revision, "vjepa2")
    if attentive and "VJEPA2ForVideoClassification" not in (described.architectures or []):
        raise ModelError(
            f"{source} has no attentive pooler: it is a base V-JEPA 2 checkpoint. "
            "Choose pooling 'mean', or a VJEPA2ForVideoClassification checkpoint (the ssv2 ones)."
        )
    return source, described, _VideoEncoderAndPooler if attentive else _VideoEncoder


class _VideoEncoder(VJEPA2PreTrainedModel):
    """A `VJEPA2Model` without its predictor, which no score depends on."""

    def __init__(self, config: VJEPA2Config) -> None:
        super().__init__(config)
        self.encoder = VJEPA2Encoder(config)
        self.post_init()


class _VideoEncoderAndPooler(VJEPA2PreTrainedModel):
    """A `VJEPA2ForVideoClassification` without predictor and classifier."""

    def __init__(self, config: VJEPA2Config) -> None:
        super().__init__(config)
        self.vjepa2 = _VideoEncoder(config)
        self.pooler = VJEPA2AttentivePooler(config)
        self.post_init()


def _load_encoder(
    source: str,
    revision: str | None,
    kind: str,
    device: torch.device,
    dtype: torch.dtype,
    load_parts: Callable[[str | None], dict[str, nn.Module]],
    load_tokenizer: Callable[[str | None], Any] = lambda revision: None,
    *,
    share: bool,
) -> Encoder:
    """The encoder of `source` with the parts and the tokenizer that are read at a revision."""
    revision, content = _content(source, revision)

    def load() -> Encoder:
        tokenizer, parts = load_tokenizer(revision), load_parts(revision)
        if _content(source, revision)[1] != content:
            raise ModelError(f"{source} was written while it was loaded: load it again")
        for part in parts.values():
            part.requires_grad_(False).eval()
        ready = {name: part.to(device) for name, part in _with_matrices_in(dtype, parts).items()}
        return Encoder(content, revision, kind, device, dtype, ready, tokenizer)

    return _shared(content, kind, device, dtype, load) if share else load()


# ---- one for all models ----------------------------------------------------------------------------------------------

_Key = tuple[str, str, torch.device, torch.dtype]
_encoders: WeakValueDictionary[_Key, Encoder] = WeakValueDictionary()  # an encoder goes with the last model of it
_loading: dict[_Key, threading.Lock] = {}
_registry_lock = threading.Lock()


def _shared(content: str, kind: str, device: torch.device, dtype: torch.dtype, load: Callable[[], Encoder]) -> Encoder:
    """The encoder that is in use already, or what `load` returns; also concurrent first calls load once."""
    key = content, kind, device, dtype
    with _registry_lock:
        lock = _loading.setdefault(key, threading.Lock())
    with lock:
        encoder = _encoders.get(key)
        if encoder is None:
            encoder = _encoders[key] = load()
        return encoder


def over_same_tensors(module: nn.Module) -> Any:
    """A copy of `module` with the same parameters and buffers: it has its own mode, and may get other parameters."""
    return copy.deepcopy(module, {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())})


def _with_matrices_in(dtype: torch.dtype, parts: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """`parts` with the weights of all linear layers in `dtype`; everything else stays in float32."""
    converted = {name: over_same_tensors(part) for name, part in parts.items()}
    for part in converted.values():
        for module in part.modules():
            for name, value in module.named_parameters(recurse=False) if isinstance(module, nn.Linear) else ():
                setattr(module, name, nn.Parameter(value.to(dtype), requires_grad=False))
    return converted


# ---- what an encoder holds -------------------------------------------------------------------------------------------

_digests: dict[Path, tuple[object, str]] = {}  # of a folder: the state of its files, and the digest of their bytes


def _content(source: str, revision: str | None) -> tuple[str | None, str]:
    """The commit of a Hub id, and the `content` of the encoder at `source`."""
    folder = Path(source)
    if not is_folder(folder):
        path = cached_file(source, "config.json", revision=revision)
        commit = extract_commit_hash(path, None)
        if commit is not None:
            return commit, f"{source}@{commit}"
        folder = Path(str(path)).parent
    return revision, f"sha256:{folder_digest(folder)}"


def folder_digest(folder: str | Path) -> str:
    """SHA-256 of all files of the encoder in `folder`, in hexadecimal.

    Raises:
        ModelError: if one cannot be read.
    """
    folder = Path(folder).resolve()
    try:
        paths = sorted(path for path in folder.iterdir() if any(fnmatchcase(path.name, each) for each in ENCODER_FILES))
        states = [(path.name, path.stat()) for path in paths]
        state = [(name, status.st_ino, status.st_size, status.st_mtime_ns) for name, status in states]
        known, digest = _digests.get(folder, (None, ""))
        if known != state:  # the files are only read again where one was written since
            digests = {path.name: content_sha256(path) for path in paths}
            digest = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
            _digests[folder] = state, digest
    except OSError as error:
        raise ModelError(f"the encoder in {folder} cannot be read: {error}") from error
    return digest


# ---- from files ------------------------------------------------------------------------------------------------------


def _name(cls: type[Any]) -> str:
    return cls.__name__.lstrip("_")


def _load_weights(cls: type[Any], config: Any, source: str, revision: str | None, **settings: Any) -> Any:
    """`cls.from_pretrained` in float32 with SDPA attention; refuses weights that do not fit `config`."""
    check_weights(source, revision, lambda: cls(config, **settings), name=_name(cls))
    try:
        with _less_talk(hide_bars=is_folder(source)):
            model, report = cls.from_pretrained(
                source,
                config=config,
                revision=revision,
                dtype=torch.float32,
                attn_implementation="sdpa",
                use_safetensors=True,
                output_loading_info=True,
                **settings,
            )
    except torch.OutOfMemoryError:
        raise  # a RuntimeError too, but nothing is wrong with the weights
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise ModelError(f"cannot load the weights of {source!r}: {first_line(error)}") from error
    if report["missing_keys"]:  # a weight that transformers drew at random must not score
        raise ModelError(f"{source!r} lacks weights, such as {min(report['missing_keys'])}")
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
