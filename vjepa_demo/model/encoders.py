"""Encoders from the Hub or a folder: configuration first, then weights, then what they want to be shown.

What is loaded is shared: all models of this process that rest on the same encoder, on one device and in one precision,
hold the same tensors. Nobody changes those; a model that trains or replaces a weight puts its own in that place.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer, BertModel, VJEPA2ForVideoClassification, VJEPA2Model
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import extract_commit_hash

from vjepa_demo.config import ENCODER_FILES, ClipConfig, ModelConfig
from vjepa_demo.data.hub import check_available
from vjepa_demo.files import content_sha256, is_folder
from vjepa_demo.schema import CheckpointError, ModelError

logger = logging.getLogger(__name__)

# Where VJEPA2VideoProcessor keeps its settings: now, and in repositories saved before transformers 4.53.
PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")


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
    source, attentive = config.video_encoder, config.pooling == "attentive"
    has_pooler = "VJEPA2ForVideoClassification" in (
        _read_config(source, config.video_encoder_revision, "vjepa2").architectures or []
    )
    if attentive and not has_pooler:
        raise ModelError(
            f"{source} has no attentive pooler: it is a base V-JEPA 2 checkpoint. "
            "Choose pooling 'mean', or a VJEPA2ForVideoClassification checkpoint (the ssv2 ones)."
        )

    def load_parts(revision: str | None) -> dict[str, nn.Module]:
        if not has_pooler:
            return {"venc": _load_weights(VJEPA2Model, source, revision).encoder}
        classifier = _load_weights(VJEPA2ForVideoClassification, source, revision)
        return {"venc": classifier.vjepa2.encoder} | ({"pooler": classifier.pooler} if attentive else {})

    kind = "video, attentive" if attentive else "video"
    return _load_encoder(source, config.video_encoder_revision, kind, device, dtype, load_parts, share=share)


def load_text_encoder(config: ModelConfig, device: torch.device, dtype: torch.dtype, *, share: bool) -> Encoder:
    """The BERT encoder `tenc`, and its tokenizer, shared as the video encoder is."""
    source = config.text_encoder
    _read_config(source, config.text_encoder_revision, "bert")

    def load_parts(revision: str | None) -> dict[str, nn.Module]:
        return {"tenc": _load_weights(BertModel, source, revision, add_pooling_layer=False)}

    return _load_encoder(source, config.text_encoder_revision, "text", device, dtype, load_parts, share=share)


def _load_encoder(
    source: str,
    revision: str | None,
    kind: str,
    device: torch.device,
    dtype: torch.dtype,
    load_parts: Callable[[str | None], dict[str, nn.Module]],
    *,
    share: bool,
) -> Encoder:
    """The encoder of `source` with the parts that `load_parts` reads at a revision."""
    revision, content = _content(source, revision)

    def load() -> Encoder:
        tokenizer = None
        if kind == "text":
            tokenizer = _load_tokenizer(source, revision)
        parts = load_parts(revision)
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


def folder_digest(folder: Path) -> str:
    """A digest of the encoder's files in `folder`.

    Raises:
        ModelError: if they cannot be read.
    """
    folder = folder.resolve()
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


def _read_config(source: str, revision: str | None, model_type: str) -> Any:
    if Path(source).is_absolute() and not is_folder(source):
        raise ModelError(f"{source}: no such folder")
    try:
        if not is_folder(source):
            check_available(source, revision)  # transformers itself asks for half a minute, or for minutes
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except CheckpointError as error:
        raise ModelError(f"cannot read a model at {source!r}: {str(error).removeprefix(f'{source}: ')}") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read a model at {source!r}: {_first_line(error)} "
            "Give a Hub id and a network, or a folder with config.json and model.safetensors."
        ) from error
    if config.model_type != model_type:
        raise ModelError(f"{source!r} is a {config.model_type!r} model; expected {model_type!r}")
    return config


def _load_tokenizer(source: str, revision: str | None) -> Any:
    try:
        return AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the tokenizer of {source!r}: {_first_line(error)}") from error


def _load_weights(cls: type[Any], source: str, revision: str | None, **settings: Any) -> Any:
    """`cls.from_pretrained` in float32 with SDPA attention; refuses a checkpoint that lacks any weight."""
    try:
        with _less_talk(hide_bars=is_folder(source)):
            model, report = cls.from_pretrained(
                source,
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
    """The frames and pixels that the video encoder takes: its own crop size, its processor's colours.

    Raises:
        ModelError: if the frames or a view of `config` do not fit the encoder, or its processor's file is unusable.
    """
    num_frames = config.num_frames or encoder.frames_per_clip
    if num_frames % encoder.tubelet_size:
        raise ModelError(
            f"num_frames is {num_frames}; {config.video_encoder} takes multiples of {encoder.tubelet_size}"
        )
    for view in config.views:
        crop, problem = encoder.crop_size, ""
        if view.num_frames is not None and view.num_frames % encoder.tubelet_size:
            problem = f"num_frames is {view.num_frames}; multiples of {encoder.tubelet_size} were expected"
        elif view.framing == "fragments" and crop % view.grid:
            problem = f"grid is {view.grid}, which does not divide the encoder's {crop} pixels"
        elif view.edge is not None and view.edge < crop:
            problem = f"edge is {view.edge}; the encoder's {crop} pixels at least were expected"
        if problem:
            raise ModelError(f"a view does not fit the video encoder: {problem}")
    settings, defaults = _read_processor(config.video_encoder, config.video_encoder_revision), ClipConfig()
    mean, std = (settings.get(name, getattr(defaults, name)) for name in ("image_mean", "image_std"))
    if not all(isinstance(value, list | tuple) and len(value) == encoder.in_chans for value in (mean, std)):
        raise ModelError(f"the processor of {config.video_encoder} has no mean and std for each colour: {mean}, {std}")
    colours = cast(Any, tuple(mean)), cast(Any, tuple(std))
    return ClipConfig(num_frames, encoder.crop_size, *colours, views=config.views)


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
