"""Checkpoints that a stranger could upload: each loads and scores, or ends in one clear error."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
import sys
import zipfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from fuzz.cases import RESULT, Case, answers, summary
from fuzz.mutate import mutants
from small_models import ffmpeg

from vjepa_demo import ranges
from vjepa_demo.model.checkpoint import load_checkpoint, open_checkpoint_zip
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.tasks.score import Scorer

SEED = 21
Files = dict[str, bytes]
DEEP = json.loads("[" * 200 + "]" * 200)
ABSURD = (0, -1, 10**9, 8192, 100_000, 2.5, 1e308, math.nan, math.inf, 2**63, "", "x" * 100_000, "../..", None, True)
ABSURD = (*ABSURD, [], {}, [0] * 10_000, {"a": "b"}, DEEP)
JSON_FILES = {  # and the fields that are read
    "config.json": {"format", "format_version", "dimensions", "model", "trained_on", *ranges.CHECKPOINT},
    "video_encoder/config.json": {"model_type", *ranges.VIDEO_ENCODER},
    "text_encoder/config.json": {"model_type", *ranges.TEXT_ENCODER},
    "video_encoder/video_preprocessor_config.json": {*ranges.PROCESSOR},
    "text_encoder/tokenizer_config.json": {*ranges.TOKENIZER, *ranges.SPECIAL_TOKENS},
}


def with_field(files: Files, name: str, keys: tuple[Any, ...], value: object) -> Files:
    """`files` with another value of one field, and without the digests that would tell."""
    changed = json.loads(files[name])
    place = changed
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    written = {**files, name: json.dumps(changed).encode()}
    return written if "sha256" in str(keys) else honest(written)


def honest(files: Files) -> Files:
    """`files` with the digests that their author would have written: those of the encoders may be left out."""
    config = json.loads(files["config.json"])
    if isinstance(config, dict):
        config.pop("encoders_sha256", None)
        config["weights_sha256"] = hashlib.sha256(files["model.safetensors"]).hexdigest()
    return {**files, "config.json": json.dumps(config).encode()}


def fields(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every field of a JSON value, also of those that hold others."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*keys, key)
        yield from fields(part, (*keys, key))


def absurd_fields(files: Files) -> Iterator[tuple[str, Files]]:
    """Each field of each configuration, one by one, with a value that it must not have."""
    values = cycle(ABSURD)
    for name, read in JSON_FILES.items():
        unread = files
        for keys in fields(json.loads(files[name])):
            value = next(values)
            if keys[0] in read:
                yield f"{name} {keys} {str(value)[:20]}", with_field(files, name, keys, value)
            elif len(keys) == 1:
                unread = with_field(unread, name, keys, value)
        yield f"{name}, all fields that are not read", unread
    for keys in (("model", "type"), ("model", "vocab"), ("model", "vocab", "[CLS]"), ("normalizer",), ("model",)):
        for value in (0, 10**9, {}, {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}):
            keyed = json.dumps({"model": {"type": "WordPiece", "vocab": words(files)}}).encode()
            there = {**files, "text_encoder/tokenizer.json": keyed}
            yield f"tokenizer.json {keys} {value}", with_field(there, "text_encoder/tokenizer.json", keys, value)


def words(files: Files) -> dict[str, int]:
    return {word: number for number, word in enumerate(files["text_encoder/vocab.txt"].decode().split("\n")[:-1])}


def known_attacks(files: Files) -> Iterator[tuple[str, Files]]:
    """Those that took gigabytes, minutes or the page before ranges were checked."""
    video = "video_encoder/config.json"
    for name, value in (
        ("crop_size", 2048),
        ("crop_size", 8192),
        ("pred_num_hidden_layers", 100_000),
        ("frames_per_clip", 10**9),
        ("patch_size", 0),
        ("tubelet_size", 0),
        ("num_hidden_layers", 96),
        ("hidden_size", 4096),
        ("num_labels", 10**9),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("auto_map", {"AutoConfig": "evil.Evil"}),
        ("attn_implementation", "evil/kernel"),
        ("transformers_weights", "../../model.safetensors"),
    ):
        yield f"{name} {value}", with_field(files, video, (name,), value)
    view = {"num_frames": 1024, "window": None, "framing": "crop", "edge": None, "grid": 8}
    yield "three views of 1,024 frames", with_field(files, "config.json", ("model", "views"), [view] * 3)
    yield (
        "eight views of 64 frames",
        with_field(files, "config.json", ("model", "views"), [view | {"num_frames": 64}] * 8),
    )
    yield "the widest head", with_field(files, "config.json", ("model", "head_hidden"), 2**14)
    for name in ("config.json", video, "text_encoder/tokenizer_config.json"):
        yield f"{name} nested", {**files, name: b"[" * 10**5}
        yield f"{name} of 80 MB", {**files, name: b'{"a": "' + b"x" * 80_000_000 + b'"}'}
    for key, value in {"is_decoder": True, "num_hidden_layers": 96, "vocab_size": 2**20, "pad_token_id": 10**6}.items():
        yield f"BERT {key} {value}", with_field(files, "text_encoder/config.json", (key,), value)


def absurd_weights(files: Files) -> Iterator[tuple[str, Files]]:
    """Headers that promise what does not follow; truncated, missing, additional and swapped files."""
    for name in [each for each in files if each.endswith(".safetensors")]:
        size = struct.unpack("<Q", files[name][:8])[0]
        header, body = json.loads(files[name][8 : 8 + size]), files[name][8 + size :]
        tensor = next(each for each in header if each != "__metadata__")
        for what, change in {
            "shape of 10^18": {"shape": [10**9, 10**9]},
            "negative shape": {"shape": [-1]},
            "no shape": {"shape": []},
            "integers": {"dtype": "I32"},
            "another type": {"dtype": "F8_E4M3"},
            "offsets past the end": {"data_offsets": [0, 2**62]},
            "offsets backwards": {"data_offsets": [8, 0]},
        }.items():
            text = json.dumps({**header, tensor: {**header[tensor], **change}}).encode()
            yield f"{name} {what}", honest({**files, name: struct.pack("<Q", len(text)) + text + body})
        for length in (0, 2**63, 2**64 - 1, 10**8):
            yield f"{name} header of {length}", honest({**files, name: struct.pack("<Q", length) + files[name][8:]})
        nothing = json.dumps({"x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
        yield f"{name} without weights", honest({**files, name: struct.pack("<Q", len(nothing)) + nothing})
        not_numbers = {tensor: {**header[tensor]} for tensor in header if tensor != "__metadata__"}
        text = json.dumps(not_numbers).encode()
        yield (
            f"{name} NaN",
            honest({**files, name: struct.pack("<Q", len(text)) + text + b"\xff" * len(body)}),
        )
        for share in (0, 50, 99):
            yield (
                f"{name} cut at {share} percent",
                honest({**files, name: files[name][: len(files[name]) * share // 100]}),
            )
    for name in files:
        yield f"no {name}", {other: data for other, data in files.items() if other != name}
    for extra in ("evil.py", "video_encoder/modeling.py", "text_encoder/pytorch_model.bin", "head.pkl"):
        yield f"also {extra}", {**files, extra: b"raise SystemExit"}
    index = {"metadata": {}, "weight_map": {"encoder.layernorm.weight": "../../model.safetensors"}}
    for weight_map in (
        index,
        {},
        {"weight_map": 1},
        {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}},
    ):
        sharded = {**files, "video_encoder/model.safetensors.index.json": json.dumps(weight_map).encode()}
        sharded["video_encoder/model-00001-of-00001.safetensors"] = sharded.pop("video_encoder/model.safetensors")
        yield f"index {weight_map}", honest(sharded)
    for one, other in (
        ("video_encoder/model.safetensors", "text_encoder/model.safetensors"),
        ("video_encoder/config.json", "text_encoder/config.json"),
        ("model.safetensors", "video_encoder/model.safetensors"),
        ("config.json", "video_encoder/config.json"),
    ):
        swapped = {**files, one: files[other], other: files[one]}
        yield f"{one} and {other} swapped", honest(swapped)


def damaged(files: Files) -> Iterator[tuple[str, Files]]:
    """Damage of each file, which the digests tell."""
    for name, data in files.items():
        for what, mutant in mutants(data, SEED, 1 if name == "README.md" else 4):
            if mutant != data:
                yield f"{name} {what}", {**files, name: mutant}


def undigested(files: Files) -> Iterator[tuple[str, Files]]:
    """The same by an author who writes the digests of what is damaged."""
    for name, data in files.items():
        if name not in ("config.json", "README.md"):
            for what, mutant in mutants(data, SEED + 1, 4):
                yield f"{name} {what}, honest", honest({**files, name: mutant})


def scores_of(files: Files, clip: Path, folder: Path) -> str:
    """Upload, open, load and score: what a stranger can make the page do."""
    zip_path, opened = folder / "upload.zip", folder / "opened"
    with zipfile.ZipFile(zip_path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    try:
        checkpoint = open_checkpoint_zip(zip_path, opened)
        scorer = Scorer(
            "mine",
            load_checkpoint(checkpoint, device="cpu"),
            checkpoint.trained_on,
            cache=FeatureCache(memory_bytes=0),
        )
        return str(scorer.score(clip, "a cat [MASK]").scores)
    finally:
        shutil.rmtree(opened, ignore_errors=True)
        zip_path.unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_a_damaged_or_hostile_checkpoint_scores_or_ends_in_one_clear_error(
    checkpoint_folder, tmp_path, monkeypatch, capsys
):
    files = {
        path.relative_to(checkpoint_folder).as_posix(): path.read_bytes()
        for path in checkpoint_folder.rglob("*")
        if path.is_file()
    }
    clip = tmp_path / "clip.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=8:duration=1", clip)
    whole = scores_of(files, clip, tmp_path)
    told: list[str] = []

    def cases() -> Iterator[Case]:
        for make in (known_attacks, absurd_fields, absurd_weights, undigested, damaged):
            for name, changed in make(files):
                if make is damaged:
                    told.append(name)
                yield name, lambda changed=changed: scores_of(changed, clip, tmp_path)

    found = answers(cases(), tmp_path, monkeypatch)
    for name in told:
        if found[name].startswith(RESULT):  # nothing depends on every byte of these two
            assert name.startswith(("README.md", "config.json")), f"{name} was scored: {found[name]}"
            assert found[name] == RESULT + whole, name
    with capsys.disabled():
        print(f"\n{summary('checkpoints', found)}")
