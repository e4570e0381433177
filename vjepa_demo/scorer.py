"""The one cached model, and scoring with it: `path + prompt -> Clip -> features -> head -> VideoScores`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from vjepa_demo.checkpoint import find_checkpoint, load_checkpoint
from vjepa_demo.config import (
    DIMENSIONS,
    FEATURE_CACHE_BYTES,
    MAX_PROMPT_CHARACTERS,
    SCORE_MAX,
    SCORE_MIN,
    model_presets,
)
from vjepa_demo.features import FeatureCache, FeatureKey, VideoFeatures, content_sha256
from vjepa_demo.hub import Token
from vjepa_demo.model import VJEPAModel, default_device, inference_dtype, resolve_device
from vjepa_demo.schema import ModelError, RecordError, TrainedOn, VideoScores
from vjepa_demo.video import check_file, load_clip, pixel_values

STEPS = ("decode", "video", "text", "head")
OnStep = Callable[[str], None]


class Scorer:
    """Scores videos with one model. Safe for many threads; get the shared one from `get_scorer`."""

    def __init__(self, name: str, model: VJEPAModel, trained_on: TrainedOn) -> None:
        self.name = name
        self.trained_on = trained_on
        self._model = model
        self._cache = FeatureCache(FEATURE_CACHE_BYTES)

    @property
    def hardware(self) -> str:
        """Where and in which precision the model runs, such as "CPU bf16"."""
        precision = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self._model.dtype]
        return f"{'GPU' if self._model.device.type == 'cuda' else 'CPU'} {precision}"

    def score(self, video: str | Path, prompt: str, *, on_step: OnStep | None = None) -> VideoScores:
        """Five scores of the file `video` for `prompt`; the features of a video seen before are not computed again.

        `on_step` is called with each of `STEPS` as it begins; what is remembered does not begin.
        Scores are cut to the scale, 1 to 5, and rounded to four decimals.

        Raises:
            VideoError: if the file cannot be read as a video.
            RecordError: if the prompt is empty or too long.
        """
        prompt = check_prompt(prompt)
        watch = _Stopwatch(on_step)
        with torch.inference_mode():
            features = self._video_features(Path(video), watch)
            with watch.step("text"):
                text = self._model.encode_text([prompt])  # (1, text_dim)
            with watch.step("head"):
                output = self._model.predict_with_features(features.pooled[None], text)[0].tolist()
        return VideoScores(
            video=str(video),
            prompt=prompt,
            model=self.name,
            trained_on=self.trained_on,
            scores={name: _on_scale(value) for name, value in zip(DIMENSIONS, output, strict=True)},
            seconds=watch.seconds,
            duration_seconds=features.duration_seconds,
            frames=features.frames,
            frame_seconds=features.frame_seconds,
        )

    def _video_features(self, video: Path, watch: _Stopwatch) -> VideoFeatures:
        return self._cache.get_or_compute(self._key(video), lambda: self._encode(video, watch))

    def _encode(self, video: Path, watch: _Stopwatch) -> VideoFeatures:
        with watch.step("decode"):
            clip = load_clip(video, self._model.clip_config)
        with watch.step("video"):
            pixels = pixel_values(clip.frames, self._model.clip_config)[None]  # (1, C, T, H, W)
            pooled = self._model.encode_video(pixels)[0].cpu()  # (hidden,)
        frames = clip.frames.permute(0, 2, 3, 1).contiguous().numpy()  # (T, H, W, 3)
        return VideoFeatures(pooled, frames, clip.frame_seconds, clip.duration_seconds)

    def _key(self, video: Path) -> FeatureKey:
        config = self._model.config
        check_file(video)
        return FeatureKey(
            content_sha256=content_sha256(video),
            clip=self._model.clip_config,
            encoder=config.video_encoder,
            revision=config.video_encoder_revision,
            pooling=config.pooling,
            dtype=str(self._model.dtype),
        )


_ScorerKey = tuple[str, str, Literal[False] | None]  # name, device, and for a model on the Hub who asked for it
_scorers: dict[_ScorerKey, Scorer] = {}
_loading: dict[_ScorerKey, threading.Lock] = {}
_registry_lock = threading.Lock()


def get_scorer(name: str | None = None, device: str | None = None, *, token: Literal[False] | None = False) -> Scorer:
    """The scorer of a preset (`demo`, `vitl`, `vitg`), a checkpoint folder or one on the Hub, `owner/name`.

    Loaded once per name and device, also by concurrent first calls. `name` None is `default_model()`, `device` None a
    GPU where there is one. `token` None also finds what the account of this machine may read on the Hub (see `hub`);
    what was loaded so is not given to those who ask with False.

    Raises:
        ModelError: if there is no such model, or its head was never trained.
        CheckpointError: if the checkpoint is damaged.
    """
    name = name or default_model()
    place = resolve_device(device or default_device())
    key = _scorer_key(name, str(place), token)
    with _registry_lock:
        lock = _loading.setdefault(key, threading.Lock())
    with lock:
        if key not in _scorers:
            _scorers[key] = load_scorer(name, device=str(place), token=token)
        return _scorers[key]


def _scorer_key(name: str, place: str, token: Literal[False] | None) -> _ScorerKey:
    if name in model_presets():
        return name, place, False
    if Path(name).is_dir():
        return str(Path(name).resolve()), place, False
    return name, place, token


def load_scorer(name: str, *, device: str | None = None, shown_as: str | None = None, token: Token = False) -> Scorer:
    """A scorer of its own for a preset or a checkpoint, which nobody else gets; its results name it `shown_as`.

    Raises as `get_scorer` does.
    """
    place = resolve_device(device or default_device())
    checkpoint = find_checkpoint(name, token=token)
    model = load_checkpoint(checkpoint, device=place, dtype=inference_dtype(place))
    return Scorer(shown_as or name, model, checkpoint.trained_on)


def default_model() -> str:
    """`vitg` on a GPU once its head is trained, else `demo`."""
    return "vitg" if default_device() == "cuda" and model_presets()["vitg"].refusal is None else "demo"


def check_prompt(prompt: str | None) -> str:
    """`prompt` without blanks around it.

    Raises:
        RecordError: if nothing is left, or too much.
    """
    prompt = (prompt or "").strip()
    if not prompt:
        raise RecordError("the prompt is empty: type the text the video was made from, Alignment is judged by it")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise RecordError(f"the prompt has {len(prompt):,} characters; {MAX_PROMPT_CHARACTERS:,} at most: shorten it")
    return prompt


class _Stopwatch:
    """Seconds that each of `STEPS` took; 0 for those that never began."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self._on_step = on_step

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        if self._on_step is not None:
            self._on_step(name)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 4)


def _on_scale(value: float) -> float:
    if not math.isfinite(value):
        raise ModelError(f"the model answered {value}, which is no score: its weights are damaged, load them again")
    return round(min(max(value, SCORE_MIN), SCORE_MAX), 4)
