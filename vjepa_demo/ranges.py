"""What the files of a model may say: a type and a range for every field that is read of them, in one place.

A checkpoint may come from a stranger. Its fields are checked here before anything is built or computed from them, and
a field without a row is not read. The ranges hold the encoders of the Hub (V-JEPA 2 from ViT-L to ViT-g, BGE from small
to large) with room to spare; whether weights of that size came along is checked by `model.source`.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Pooling = Literal["mean", "attentive", "cls"]
Framing = Literal["crop", "squeeze", "fragments"]

MAX_HEAD_HIDDEN = 2**14
MAX_FRAMES = 1024
MAX_WINDOW = 256  # consecutive frames
MAX_VIEW_EDGE = 2160  # pixels of a view's shortest edge
MAX_VIEWS = 8
MAX_LOOKS = 4
MIN_HEAD_SIZE = 6  # numbers of an attention head: two for each axis
# What a clip may cost, over all views of all looks: twice the tokens and pixels of 64 frames at 384 x 384 (`vitg`),
# which has room for all of `NAMED_VIEWS` together. Attention grows with the square of a view's tokens: each view has a
# limit too.
MAX_VIEW_TOKENS = 64 // 2 * (384 // 16) ** 2
MAX_CLIP_TOKENS = 2 * MAX_VIEW_TOKENS
MAX_CLIP_PIXELS = 2 * 64 * 384**2

MAX_CONFIG_BYTES = 2**20  # of an encoder's configuration, or its processor's
MAX_CHECKPOINT_CONFIG_BYTES = 64 * 2**20  # it remembers each clip that was learned from, in 15 bytes
MAX_VOCABULARY_BYTES = 32 * 2**20  # of tokenizer.json, vocab.txt and the index of sharded weights
_SHOWN = 60  # characters of a value in an error
_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = _shorten.maxlong = _SHOWN


@dataclass(frozen=True)
class Range:
    """What one field may hold: a number from `least` to `most`, a text of that many characters, or one of `choices`.

    With `items` the field is a list of at most so many, and with `keys` an object with some of these keys (none: with
    any). `none` allows null, `even` only even numbers.
    """

    kind: type
    least: float = 0
    most: float = 0
    choices: tuple[object, ...] = ()
    none: bool = False
    even: bool = False
    items: int | None = None
    keys: tuple[str, ...] | None = None

    def holds(self, value: object) -> bool:
        """Whether `value` may stand in this field."""
        if value is None:
            return self.none
        if self.items is None:
            return self._holds_one(value)
        if self.keys is None:
            return (
                isinstance(value, list | tuple) and len(value) <= self.items and all(self._holds_one(v) for v in value)
            )
        return (
            isinstance(value, Mapping)
            and len(value) <= self.items
            and (not self.keys or all(key in self.keys for key in value))
            and all(self._holds_one(each) for each in value.values())
        )

    def _holds_one(self, value: object) -> bool:
        if self.choices:
            return type(value) is self.kind and value in self.choices
        if self.kind is str:
            return isinstance(value, str) and self.least <= len(value) <= self.most
        if self.kind is bool:
            return type(value) is bool
        allowed = (int, float) if self.kind is float else (int,)  # a bool is no number; NaN is in no range
        return type(value) in allowed and self.least <= value <= self.most and not (self.even and value % 2)  # type: ignore[operator]

    @property
    def expected(self) -> str:
        """The field in words, as in "a whole number from 1 to 64"."""
        if self.choices:
            one = f"one of {', '.join(map(str, self.choices))}" if len(self.choices) > 1 else f"{self.choices[0]}"
        elif self.kind is str:
            one = f"a text of {self.least:,} to {self.most:,} characters"
        elif self.kind is bool:
            one = "true or false"
        else:
            what = "a number" if self.kind is float else "an even whole number" if self.even else "a whole number"
            one = f"{what} from {self.least:,g} to {self.most:,g}" if self.kind is float else ""
            one = one or f"{what} from {self.least:,} to {self.most:,}"
        if self.keys is not None:
            one = f"an object of at most {self.items:,}, each {one}"
        elif self.items is not None:
            one = f"a list of at most {self.items:,}, each {one}"
        return f"{one}, or null" if self.none else one


def shown(value: object) -> str:
    """`value`, which may be of any size and depth, as an error shows it."""
    return _shorten.repr(value)[: 2 * _SHOWN]


def check(fields: Mapping[str, Any], table: Mapping[str, Range]) -> None:
    """
    Raises:
        ValueError: if one of `fields` that has a row in `table` is not in its range.
    """
    for name, row in table.items():
        if name in fields and not row.holds(fields[name]):
            raise ValueError(f"{name} is {shown(fields[name])}; {row.expected} was expected")


def only(fields: Mapping[str, Any], table: Mapping[str, Range]) -> dict[str, Any]:
    """Those of `fields` that have a row in `table`: nothing else of a stranger's file is used. A whole number where any
    number may stand becomes a float.

    Raises:
        ValueError: as `check` does.
    """
    check(fields, table)
    return {
        name: float(fields[name]) if row.kind is float and type(fields[name]) is int else fields[name]
        for name, row in table.items()
        if name in fields
    }


def read_object(path: str | Path, *, max_bytes: int) -> dict[str, Any]:
    """The JSON object in the file `path`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is larger than `max_bytes`, no JSON, or no object.
    """
    path = Path(path)
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError(f"it holds {shown(value)}; an object was expected")
    return value


# ---- config.json of a checkpoint of this program ---------------------------------------------------------------------

VIEW = {
    "num_frames": Range(int, 2, MAX_FRAMES, none=True, even=True),
    "window": Range(int, 2, MAX_WINDOW, none=True, even=True),
    "framing": Range(str, choices=get_args(Framing)),
    "edge": Range(int, 16, MAX_VIEW_EDGE, none=True),
    "grid": Range(int, 1, 64),
    "differences": Range(bool),
}
MODEL = {
    "video_encoder": Range(str, 1, 4096),
    "text_encoder": Range(str, 1, 4096),
    "freeze_ratio": Range(float, 0, 1),
    "pooling": Range(str, choices=get_args(Pooling)),
    "head_hidden": Range(int, 2, MAX_HEAD_HIDDEN),
    "num_frames": Range(int, 2, MAX_FRAMES, none=True),
    "video_encoder_revision": Range(str, 1, 200, none=True),
    "text_encoder_revision": Range(str, 1, 200, none=True),
    "looks": Range(int, 1, MAX_LOOKS),
}
_DIMENSIONS = ("Traditional", "Alignment", "Aesthetic", "Temporal", "Overall")  # as `config.DIMENSIONS`
_COUNT = Range(int, 0, 10**9)
_COUNTS = Range(int, 0, 10**9, items=5, keys=_DIMENSIONS)
# Rounding may carry what is computed beyond 1.
_CORRELATIONS = Range(float, -1.001, 1.001, items=5, keys=_DIMENSIONS)
LEARNED = {
    "num_clips": _COUNT,
    "description": Range(str, 0, 10_000),
    "srocc": _CORRELATIONS,
    "num_held_out": _COUNT,
    "vquala_score": Range(float, -1.001, 1.001, none=True),
    "no_video_baseline": Range(float, -1.001, 1.001, none=True),
    "num_shared_prompts": Range(int, 0, 10**9, none=True),
    "dimensions": Range(str, choices=_DIMENSIONS, items=5),
    "known_words": Range(str, 0, 2000, items=10**6),
    "recipe": Range(str, 0, 20_000),
    "measured": Range(str, 0, 1000, items=1000, keys=()),
    "digests": Range(str, 0, 128, items=10**7),
    "lead": Range(float, -2, 2, none=True),
    "lead_standard_error": Range(float, 0, 10, none=True),
    "margins": Range(float, 0, 4, items=5, keys=_DIMENSIONS),
    "num_margin_clips": _COUNTS,
}
PAIRS_LEARNED = {
    "num_pairs": _COUNT,
    "num_held_out": _COUNT,
    "accuracy": _CORRELATIONS,
    "guess": _CORRELATIONS,
    "tie_thresholds": Range(float, 0, 4, items=5, keys=_DIMENSIONS),
    "lead": Range(float, -2, 2, none=True),
    "lead_standard_error": Range(float, 0, 10, none=True),
}
CHECKPOINT = {
    "label_range": Range(float, -1e9, 1e9, items=2),
    "weights_sha256": Range(str, 64, 64),
    "encoders_sha256": Range(str, 64, 64, items=2, keys=("./video_encoder", "./text_encoder")),
}

# ---- config.json of an encoder ---------------------------------------------------------------------------------------

_DROPOUT = Range(float, 0, 0.99)
_ACTIVATION = Range(str, choices=("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"))
_ARCHITECTURES = {"architectures": Range(str, 0, 200, items=10, none=True)}
VIDEO_ENCODER = {
    "patch_size": Range(int, 1, 64),
    "crop_size": Range(int, 16, 1024),
    "frames_per_clip": Range(int, 1, MAX_FRAMES),
    "tubelet_size": Range(int, 1, 16),
    "hidden_size": Range(int, 1, 4096),
    "in_chans": Range(int, choices=(3,)),  # red, green and blue
    "num_attention_heads": Range(int, 1, 128),
    "num_hidden_layers": Range(int, 1, 96),
    "drop_path_rate": _DROPOUT,
    "mlp_ratio": Range(float, 0.25, 16),
    "layer_norm_eps": Range(float, 1e-14, 0.1),
    "qkv_bias": Range(bool),
    "attention_probs_dropout_prob": _DROPOUT,
    "hidden_act": _ACTIVATION,
    "initializer_range": Range(float, 0, 10),
    "attention_dropout": _DROPOUT,
    "num_pooler_layers": Range(int, 0, 32),
    # Of the predictor, which is never built here. A copy of the encoder keeps what its file says of it.
    "pred_hidden_size": Range(int, 1, 4096),
    "pred_num_attention_heads": Range(int, 1, 128),
    "pred_num_hidden_layers": Range(int, 1, 96),
    "pred_num_mask_tokens": Range(int, 1, 1000),
    "pred_zero_init_mask_tokens": Range(bool),
    "pred_mlp_ratio": Range(float, 0.25, 16),
    **_ARCHITECTURES,
}
TEXT_ENCODER = {
    "vocab_size": Range(int, 1, 2**20),
    "hidden_size": Range(int, 1, 4096),
    "num_hidden_layers": Range(int, 1, 96),
    "num_attention_heads": Range(int, 1, 128),
    "intermediate_size": Range(int, 1, 2**15),
    "hidden_act": _ACTIVATION,
    "hidden_dropout_prob": _DROPOUT,
    "attention_probs_dropout_prob": _DROPOUT,
    "max_position_embeddings": Range(int, 8, 2**14),
    "type_vocab_size": Range(int, 1, 64),
    "initializer_range": Range(float, 0, 10),
    "layer_norm_eps": Range(float, 1e-14, 0.1),
    "pad_token_id": Range(int, 0, 2**20, none=True),
    # These would make another model of it.
    "is_decoder": Range(bool, choices=(False,)),
    "add_cross_attention": Range(bool, choices=(False,)),
    "position_embedding_type": Range(str, choices=("absolute",), none=True),
    **_ARCHITECTURES,
}
PROCESSOR = {
    "image_mean": Range(float, -10, 10, items=3),
    "image_std": Range(float, 1e-3, 10, items=3),
}
TOKENIZER = {
    "tokenizer_class": Range(str, choices=("BertTokenizer", "BertTokenizerFast"), none=True),
    "do_lower_case": Range(bool),
    "strip_accents": Range(bool, none=True),
    "tokenize_chinese_chars": Range(bool),
}
SPECIAL_TOKENS = {
    name: Range(str, 1, 100) for name in ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
}
