"""What the files of an encoder say, on the Hub or in a folder, checked before anything is built from them.

Only fields with a range (`ranges`) are used of a configuration, only the words of a tokenizer, and the shapes in the
headers of the weights must be those of the model that the configuration describes. All of that is read before memory is
taken for a single weight: a stranger may have written it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import BertConfig, BertTokenizer, VJEPA2Config
from transformers.utils import cached_file

from vjepa_demo.config import ClipConfig, ModelConfig
from vjepa_demo.data.hub import check_available
from vjepa_demo.files import is_folder
from vjepa_demo.ranges import (
    MAX_CLIP_PIXELS,
    MAX_CLIP_TOKENS,
    MAX_CONFIG_BYTES,
    MAX_VIEW_TOKENS,
    MAX_VOCABULARY_BYTES,
    MIN_HEAD_SIZE,
    PROCESSOR,
    SPECIAL_TOKENS,
    TEXT_ENCODER,
    TOKENIZER,
    VIDEO_ENCODER,
    check,
    only,
    read_object,
    shown,
)
from vjepa_demo.schema import CheckpointError, ModelError

logger = logging.getLogger(__name__)

ModelType = Literal["vjepa2", "bert"]
WEIGHTS, INDEX, SHARDS = "model.safetensors", "model.safetensors.index.json", "model-?????-of-?????.safetensors"
# Where VJEPA2VideoProcessor keeps its settings: now, and in repositories saved before transformers 4.53.
PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
FLOATS = ("F64", "F32", "F16", "BF16")  # safetensors' names of what a weight may be stored in


# ---- configuration ---------------------------------------------------------------------------------------------------


def read_encoder_config(source: str, revision: str | None, model_type: ModelType) -> Any:
    """The `VJEPA2Config` or `BertConfig` of the encoder at `source`: its config.json in the fields that have a range.

    Raises:
        ModelError: if there is none, it is of another type of model, or a field is out of its range.
    """
    if Path(source).is_absolute() and not is_folder(source):
        raise ModelError(f"{source}: no such folder")
    try:
        if not is_folder(source):
            check_available(source, revision)  # transformers itself asks for half a minute, or for minutes
        path = cached_file(source, "config.json", revision=revision)
    except CheckpointError as error:
        raise ModelError(f"cannot read a model at {source!r}: {str(error).removeprefix(f'{source}: ')}") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read a model at {source!r}: {first_line(error)} "
            "Give a Hub id and a network, or a folder with config.json and model.safetensors."
        ) from error
    with _told(source, "config.json"):
        fields = read_object(str(path), max_bytes=MAX_CONFIG_BYTES)
        if fields.get("model_type") != model_type:
            raise ModelError(
                f"{source!r} is a {shown(fields.get('model_type'))} model; expected {model_type!r}: "
                "give an encoder of that kind"
            )
        return _video_config(fields) if model_type == "vjepa2" else _text_config(fields)


def _video_config(fields: Mapping[str, Any]) -> VJEPA2Config:
    config = VJEPA2Config(**only(fields, VIDEO_ENCODER))
    if config.crop_size % cast(int, config.patch_size):
        raise ValueError(
            f"crop_size is {config.crop_size}; a multiple of patch_size ({config.patch_size}) was expected"
        )
    head_size, left = divmod(config.hidden_size, config.num_attention_heads)
    if left or head_size % 2 or head_size < MIN_HEAD_SIZE:
        raise ValueError(
            f"hidden_size is {config.hidden_size}; num_attention_heads ({config.num_attention_heads}) times an even "
            f"number from {MIN_HEAD_SIZE} up was expected"
        )
    return config


def _text_config(fields: Mapping[str, Any]) -> BertConfig:
    config = BertConfig(**only(fields, TEXT_ENCODER))
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size is {config.hidden_size}; a multiple of num_attention_heads "
            f"({config.num_attention_heads}) was expected"
        )
    if config.pad_token_id is not None and config.pad_token_id >= config.vocab_size:
        raise ValueError(
            f"pad_token_id is {config.pad_token_id}; a number below vocab_size ({config.vocab_size}) was expected"
        )
    return config


# ---- weights ---------------------------------------------------------------------------------------------------------


Shapes = dict[str, tuple[int, ...]]  # of weights, by name


def check_weights(source: str, revision: str | None, build: Callable[[], nn.Module], *, name: str) -> Shapes:
    """The shapes of the weights of the model that `build` gives, called `name`, which is built without memory; those in
    the headers of the files at `source` are the same.

    Raises:
        ModelError: if a weight is not among them, or has another shape or a type that is no floating point number; or
            if the files are missing or damaged.
    """
    with torch.device("meta"):
        expected = {each: tuple(weight.shape) for each, weight in build().named_parameters()}
    with _told(source, "the weights"):
        stored = stored_weights(_weight_files(source, revision))
    found = {each: next((old for old in _names_on_disk(each) if old in stored), None) for each in expected}
    if missing := sorted(each for each, old in found.items() if old is None):
        raise ModelError(f"{source!r} lacks {len(missing)} of the weights of {name}, such as {missing[0]}")
    for each, old in found.items():
        shape, dtype = stored[cast(str, old)]
        if shape != expected[each] or dtype not in FLOATS:
            raise ModelError(
                f"the weights of {source!r} do not fit its config.json: {old} is {shown(shape)} in {dtype}; "
                f"{expected[each]} in one of {', '.join(FLOATS)} was expected"
            )
    return expected


def _names_on_disk(name: str) -> Iterator[str]:
    """The names under which transformers finds the weight `name`, of a base model or one with another head."""
    for each in (name, f"vjepa2.{name}", f"bert.{name}", name.removeprefix("vjepa2.")):
        yield each
        yield each.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def stored_weights(paths: Iterable[str | Path]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each tensor in some safetensors files, from their headers alone.

    Raises:
        OSError, SafetensorError: if one cannot be read.
    """
    stored = {}
    for path in paths:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                header = file.get_slice(name)
                stored[name] = tuple(header.get_shape()), header.get_dtype()
    return stored


def _weight_files(source: str, revision: str | None) -> list[str]:
    """The safetensors files of `source`: one, or those that its index names."""
    whole = _find(source, WEIGHTS, revision)
    if whole is not None:
        return [whole]
    index = _find(source, INDEX, revision)
    if index is None:
        raise ModelError(f"{source!r} has no weights: {WEIGHTS}, or {INDEX} and what that names, was expected")
    fields = read_object(index, max_bytes=MAX_VOCABULARY_BYTES)
    names = fields.get("weight_map")
    if not isinstance(names, dict) or not isinstance(fields.get("metadata"), dict):
        raise ValueError(f"{INDEX} has no weight_map or no metadata")
    for name in names.values():
        if not isinstance(name, str) or not fnmatchcase(name, SHARDS):  # it might lead out of the folder
            raise ValueError(f"{INDEX} names the file {shown(name)}; {SHARDS} was expected")
    return [str(cached_file(source, name, revision=revision)) for name in sorted(set(names.values()))]


# ---- processor and tokenizer -----------------------------------------------------------------------------------------


def read_clip_config(config: ModelConfig, encoder: Any) -> ClipConfig:
    """The frames and pixels that the video encoder takes: its own crop size, its processor's colours.

    Raises:
        ModelError: if the frames or a view of `config` do not fit the encoder, cost more than a clip may, or the
            processor's file is unusable.
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
    clip_config = ClipConfig(num_frames, encoder.crop_size, views=config.views, looks=config.looks)
    _check_cost([view.num_frames or num_frames for view, _ in clip_config.all_views], encoder)
    settings, defaults = _read_processor(config.video_encoder, config.video_encoder_revision), ClipConfig()
    mean, std = (settings.get(name, getattr(defaults, name)) for name in ("image_mean", "image_std"))
    if not all(len(value) == encoder.in_chans for value in (mean, std)):
        raise ModelError(f"the processor of {config.video_encoder} has no mean and std for each colour: {mean}, {std}")
    colours = cast(Any, tuple(mean)), cast(Any, tuple(std))
    return replace(clip_config, image_mean=colours[0], image_std=colours[1])


def _check_cost(frames_of_views: list[int], encoder: Any) -> None:
    """
    Raises:
        ModelError: if the views of a clip are more tokens or pixels than any encoder of the Hub needs.
    """
    tokens = [
        count // encoder.tubelet_size * (encoder.crop_size // encoder.patch_size) ** 2 for count in frames_of_views
    ]
    pixels = sum(frames_of_views) * encoder.crop_size**2
    for what, got, most in (
        ("tokens in one view", max(tokens), MAX_VIEW_TOKENS),
        ("tokens in all views of all looks", sum(tokens), MAX_CLIP_TOKENS),
        ("pixels in all views of all looks", pixels, MAX_CLIP_PIXELS),
    ):
        if got > most:
            raise ModelError(
                f"num_frames of the views is {frames_of_views} at crop_size {encoder.crop_size}: that asks for {got:,} "
                f"{what}; {most:,} at most were expected. Give it fewer frames, views or looks"
            )


def _read_processor(source: str, revision: str | None) -> dict[str, Any]:
    for name in PROCESSOR_FILES:
        path = _find(source, name, revision)
        if path is not None:
            with _told(source, name):
                return only(read_object(path, max_bytes=MAX_CONFIG_BYTES), PROCESSOR)
    logger.warning("%s has no video processor file: ImageNet's colours are used", source)
    return {}


def read_tokenizer(source: str, revision: str | None, *, vocab_size: int) -> Any:
    """BERT's tokenizer over the words of `source`, as AutoTokenizer builds it.

    Nothing else of tokenizer.json is used: its normalizers and patterns may be anything.

    Raises:
        ModelError: if there are no words, or one has a number that the encoder of `vocab_size` rows has no row for.
    """
    settings: dict[str, Any] = {}
    path = _find(source, "tokenizer_config.json", revision)
    if path is not None:
        with _told(source, "tokenizer_config.json"):
            fields = read_object(path, max_bytes=MAX_CONFIG_BYTES)
            settings = only(fields, TOKENIZER)
            settings.pop("tokenizer_class", None)
            tokens = {name: fields[name] for name in SPECIAL_TOKENS if fields.get(name) is not None}
            special = {name: each.get("content") if isinstance(each, dict) else each for name, each in tokens.items()}
            check(special, SPECIAL_TOKENS)
            settings |= special
    with _told(source, "the vocabulary"):
        vocabulary = _read_vocabulary(source, revision)
        for word, number in vocabulary.items():
            if type(number) is not int or not 0 <= number < vocab_size:
                raise ValueError(f"{shown(word)} has the number {shown(number)}; vocab_size is {vocab_size}")
        tokenizer = BertTokenizer(vocab=vocabulary, **settings)
        for token in tokenizer.all_special_tokens:
            if token not in vocabulary:  # it would get a number past the last
                raise ValueError(f"{shown(token)} is not among the {len(vocabulary):,} words")
    return tokenizer


def _read_vocabulary(source: str, revision: str | None) -> dict[str, int]:
    """The words and their numbers, from tokenizer.json or vocab.txt."""
    path = _find(source, "tokenizer.json", revision)
    if path is not None:
        model = read_object(path, max_bytes=MAX_VOCABULARY_BYTES).get("model")
        if not isinstance(model, dict) or model.get("type", "WordPiece") != "WordPiece":
            raise ValueError("tokenizer.json holds no WordPiece model; that of a BERT was expected")
        if not isinstance(model.get("vocab"), dict):
            raise ValueError(f"vocab of tokenizer.json is {shown(model.get('vocab'))}; an object was expected")
        return dict(model["vocab"])
    path = _find(source, "vocab.txt", revision)
    if path is None:
        raise ModelError(f"{source!r} has no tokenizer: tokenizer.json or vocab.txt was expected")
    if Path(path).stat().st_size > MAX_VOCABULARY_BYTES:
        raise ValueError(f"vocab.txt is larger than {MAX_VOCABULARY_BYTES:,} bytes")
    words = Path(path).read_text(encoding="utf-8").split("\n")  # not splitlines: BERT's words hold other line ends
    return {word: number for number, word in enumerate(words[:-1] if not words[-1] else words)}


# ---- files -----------------------------------------------------------------------------------------------------------


def _find(source: str, name: str, revision: str | None) -> str | None:
    """The path of the file `name` of `source`, fetched if need be; None if it has none."""
    path = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return None if path is None else str(path)


@contextmanager
def _told(source: str, what: str) -> Iterator[None]:
    """Around what reads `what` of `source`: a file that is damaged or out of range becomes a ModelError."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"{what} of {source!r} cannot be used: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
