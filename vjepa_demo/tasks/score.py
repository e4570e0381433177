"""The one cached model, and scoring with it: `path + prompt -> Clip -> features -> head -> VideoScores`."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vjepa_demo.config import DIMENSIONS, NEUTRAL_PROMPT, SLOW_CLIP_SECONDS, limits, model_presets
from vjepa_demo.data.hub import Token
from vjepa_demo.files import content_sha256, is_folder, reading
from vjepa_demo.media.isolated import load_clip
from vjepa_demo.media.video import Clip, check_file, clip_pixels
from vjepa_demo.model.checkpoint import find_checkpoint, load_checkpoint
from vjepa_demo.model.cost import expected_seconds
from vjepa_demo.model.features import FeatureCache, FeatureKey, VideoFeatures, feature_cache
from vjepa_demo.model.layers import BeforeLayer
from vjepa_demo.model.vjepa import VJEPAModel, default_device, inference_dtype, on_scale, resolve_device
from vjepa_demo.schema import (
    CheckpointError,
    Comparison,
    DemoError,
    LayersReport,
    ModelError,
    StoppedError,
    TrainedOn,
    VideoError,
    VideoScores,
    check_prompt,
    to_compare,
    well_formed,
)
from vjepa_demo.tasks import zero_gpu
from vjepa_demo.tasks.ahead import ahead, decoding_threads
from vjepa_demo.tasks.launch import enough_memory

STEPS = ("decode", "video", "text", "head")
OnStep = Callable[[str], None]
OnLayer = Callable[[LayersReport], None]
ShouldStop = Callable[[], bool]
STOP_POLL_SECONDS = 0.1  # between two looks at `should_stop` while a clip is decoded
WEIGHTS_DIGITS = 8  # of the SHA-256 of a checkpoint's weights, in the id of a model


class Scorer:
    """Scores videos with one model. Safe for many threads; get the shared one from `get_scorer`.

    Features are remembered in `cache`, by default one of its own, in memory. `model_id` tells one state of a model's
    weights from the next, where the `name` stays.
    """

    def __init__(
        self,
        name: str,
        model: VJEPAModel,
        trained_on: TrainedOn,
        *,
        model_id: str | None = None,
        cache: FeatureCache | None = None,
        max_seconds: float = math.inf,
    ) -> None:
        """`max_seconds` is how long the model may take to encode a clip.

        Raises:
            ModelError: if it takes longer here by its size.
        """
        self.name = well_formed(name)
        self.model_id = well_formed(model_id or name)
        self.trained_on = trained_on
        self._model = model
        self._cache = cache or FeatureCache()
        self._clip_seconds: float | None = None  # that the last clip took to be encoded
        self._max_seconds = max_seconds
        if max_seconds < math.inf and (expected := self._expected_seconds()) > max_seconds:
            raise self._too_slow(f"takes about {expected:.0f} s")

    def _too_slow(self, took: str) -> ModelError:
        return ModelError(
            f"{self.name} {took} to encode a clip here; this page takes {self._max_seconds:g} s at most of a model "
            "that a visitor brings: use a smaller model, fewer frames or views, or a machine of your own"
        )

    def expected_seconds(self, num_clips: int = 1) -> float | None:
        """About how long `num_clips` clips take to be encoded here, without decoding: as long as the last one took, and
        before the first as the model's size says. None where a clip takes less than `SLOW_CLIP_SECONDS`, which is not
        worth telling."""
        seconds = self._clip_seconds or self._expected_seconds()
        return None if seconds < SLOW_CLIP_SECONDS else num_clips * seconds

    def weights(self) -> dict[int, int]:
        """The bytes of each tensor of the model, by its address: what models share, such as encoders, counts once."""
        return {each.data_ptr(): each.nbytes for each in (*self._model.parameters(), *self._model.buffers())}

    def _expected_seconds(self) -> float:
        return zero_gpu.clip_seconds(self._model) or expected_seconds(self._model)

    @property
    def hardware(self) -> str:
        """Where and in which precision the model runs, such as "CPU bf16"."""
        if zero_gpu.is_elsewhere(self._model):
            return "ZeroGPU"
        precision = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self._model.dtype]
        return f"{'GPU' if self._model.device.type == 'cuda' else 'CPU'} {precision}"

    def score(
        self,
        video: str | Path,
        prompt: str,
        *,
        with_frames: bool = True,
        on_step: OnStep = lambda step: None,
        on_layer: OnLayer = lambda report: None,
        should_stop: ShouldStop = lambda: False,
    ) -> VideoScores:
        """Five scores of the file `video` for `prompt`; the features of a video seen before are not computed again.

        `on_step` is called with each of `STEPS` as it begins; what is remembered does not begin. `on_layer` is told
        before each layer of the video encoder how far that is, where it takes long (see `expected_seconds`).
        `should_stop` is asked before each step and layer, and while the video is decoded. Without `with_frames` the
        result has the frames only if they are remembered; with it, a video that is known from disk, where no pictures
        are kept, is decoded for them.
        Scores are cut to the scale, 1 to 5, and rounded to four decimals.

        Raises:
            VideoError: if the file cannot be read as a video.
            RecordError: if the prompt is empty or too long.
            StoppedError: once `should_stop` said yes; a clip that was not encoded to its end is not remembered.
        """
        request = self._request(video, prompt)
        watch = _Watch(on_step, on_layer, should_stop)

        def decode() -> Clip:
            with watch.step("decode"):
                return load_clip(request.video, self._model.clip_config, should_stop=should_stop)

        features = self._cache.get_or_compute(
            request.key,
            lambda: self._encode(decode(), watch, with_frames=with_frames),
            decode=(lambda: self._frames(decode())) if with_frames else None,
        )
        return self._result(request, features, watch)

    def score_all(
        self,
        requests: Iterable[tuple[str | Path, str]],
        *,
        on_step: OnStep = lambda step: None,
        on_layer: OnLayer = lambda report: None,
        should_stop: ShouldStop = lambda: False,
    ) -> Generator[VideoScores | DemoError, None, None]:
        """The scores of each (video, prompt), in this order, equal to those of `score`; without frames.

        While one clip is encoded the next are decoded (see `ahead`); what is known, or the same video again, is not.
        The error of a request is yielded in its place, as is what the system refuses, and the others go on; any other
        exception ends it. Closing the iterator also ends the decoding.
        `on_step`, `on_layer` and `should_stop` are called in the caller's thread, as by `score`, `on_step` but for what
        was decoded ahead.

        Raises:
            StoppedError: once `should_stop` said yes.
        """

        being_decoded: set[FeatureKey] = set()
        is_closed = threading.Event()

        def decode(request: tuple[str | Path, str]) -> _Decoded:
            return self._decode_ahead(*request, being_decoded, is_closed.is_set)

        with closing(ahead(decode, requests, threads=decoding_threads())) as decoded:
            try:
                for (video, _), future in decoded:
                    yield self._score_decoded(video, future, _Watch(on_step, on_layer, should_stop))
            finally:
                is_closed.set()

    def compare(
        self,
        clips: Sequence[tuple[str | Path, str]],
        *,
        on_step: OnStep = lambda step: None,
        on_layer: OnLayer = lambda report: None,
        should_stop: ShouldStop = lambda: False,
    ) -> Comparison:
        """The scores of two to four (video, prompt), the others compared with the first; what is called on the way is
        as for `score_all`.

        Raises:
            RecordError: if these are fewer or more, or a prompt cannot be used.
            VideoError: if a file cannot be read as a video; nothing is compared then.
            StoppedError: once `should_stop` said yes.
        """
        pairs = to_compare([video for video, _ in clips], [prompt for _, prompt in clips])
        results = []
        with closing(self.score_all(pairs, on_step=on_step, on_layer=on_layer, should_stop=should_stop)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, DemoError):
                    raise outcome
                results.append(outcome)
        return Comparison(tuple(results))

    def _decode_ahead(
        self, video: str | Path, prompt: str, being_decoded: set[FeatureKey], should_stop: ShouldStop
    ) -> _Decoded:
        """The clip of `video`, unless its features are known or will be as soon as it is this one's turn."""
        request = self._request(video, prompt)
        if request.key in being_decoded or self._cache.get(request.key) is not None:
            return _Decoded(request, None, 0.0)
        being_decoded.add(request.key)
        begin = time.perf_counter()
        clip = load_clip(request.video, self._model.clip_config, should_stop=should_stop)
        return _Decoded(request, clip, round(time.perf_counter() - begin, 4))

    def _score_decoded(self, video: str | Path, future: Future[_Decoded], watch: _Watch) -> VideoScores | DemoError:
        try:
            watch.check()
            while not wait([future], STOP_POLL_SECONDS).done:
                watch.check()
            decoded = future.result()
            watch.seconds["decode"] = decoded.seconds

            def encode() -> VideoFeatures:
                clip = decoded.clip
                if clip is None:  # the features were known, and are forgotten by now
                    with watch.step("decode"):
                        path, config = decoded.request.video, self._model.clip_config
                        clip = load_clip(path, config, should_stop=watch.should_stop)
                return self._encode(clip, watch, with_frames=False)

            features = self._cache.get_or_compute(decoded.request.key, encode)
            return self._result(decoded.request, replace(features, frames=None), watch)
        except StoppedError:
            raise
        except DemoError as error:
            return error
        except OSError as error:  # such as a full disk: the next clip may do
            return VideoError(f"{Path(video).name} cannot be read: {error.strerror or error}")

    def _request(self, video: str | Path, prompt: str) -> _Request:
        prompt, path = check_prompt(prompt), Path(video)
        check_file(path)
        with reading(path, kind=VideoError):
            sha256 = content_sha256(path)
        return _Request(path, well_formed(str(video)), prompt, FeatureKey.of(self._model, sha256))

    @torch.no_grad()  # training, which shares the cache, cannot learn from tensors of the inference mode
    def _encode(self, clip: Clip, watch: _Watch, *, with_frames: bool) -> VideoFeatures:
        with watch.step("video"), enough_memory(self.name):
            if zero_gpu.is_elsewhere(self._model):
                pooled = zero_gpu.encode(self._model, [clip])[0]  # (video_dim,)
            else:
                before_layer = self._within_time(watch.before_layer(self._model, self.expected_seconds()))
                pixels = clip_pixels(clip, self._model.clip_config, self._model.device)  # (1, C, T, H, W) each
                pooled = self._model.encode_video(pixels, before_layer=before_layer)[0].cpu()
        self._clip_seconds = watch.seconds["video"]
        frames = self._frames(clip) if with_frames else None
        return VideoFeatures(pooled, clip.frame_seconds, clip.duration_seconds, frames, clip.notes)

    def _frames(self, clip: Clip) -> tuple[np.ndarray, ...]:
        """The frames (T, H, W, 3) uint8 of each view of the first look at `clip`."""
        views = (clip.frames, *clip.more_views)[: len(self._model.clip_config.views)]
        return tuple(view.permute(0, 2, 3, 1).contiguous().numpy() for view in views)

    def _within_time(self, before_layer: BeforeLayer) -> BeforeLayer:
        """`before_layer`, which ends the encoding once it takes too long: the size of a model that somebody made for
        that says little."""
        until = time.monotonic() + self._max_seconds

        def check() -> None:
            before_layer()
            if time.monotonic() > until:
                raise self._too_slow(f"takes longer than {self._max_seconds:g} s")

        return check

    @torch.inference_mode()
    def _result(self, request: _Request, features: VideoFeatures, watch: _Watch) -> VideoScores:
        is_read = not self.trained_on.unknown_words(request.prompt)
        with watch.step("text"), enough_memory(self.name):
            own = self._model.encode_text([request.prompt])  # (1, text_dim)
            text = own if is_read else self._neutral_text
        with watch.step("head"), enough_memory(self.name):
            output = self._model.predict_with_features(features.values[None], text, None if is_read else own)[0]
        if not output.isfinite().all():
            raise ModelError(f"{self.name} answered {output.tolist()}: its weights are damaged, load them again")
        return VideoScores(
            video=request.name,
            prompt=request.prompt,
            model=self.name,
            trained_on=self.trained_on,
            scores=dict(zip(DIMENSIONS, on_scale(output).tolist(), strict=True)),
            seconds=watch.seconds,
            duration_seconds=features.duration_seconds,
            frames=features.frames[0] if features.frames else None,
            more_frames=features.frames[1:] if features.frames else (),
            frame_seconds=features.frame_seconds,
            sha256=request.key.content_sha256,
            views=tuple(view.title for view in self._model.clip_config.views),
            unread=self._model.unread(request.prompt),
            neutral_prompt="" if is_read else NEUTRAL_PROMPT,
            notes=features.notes,
        )

    @cached_property
    def _neutral_text(self) -> torch.Tensor:
        """The text features (1, text_dim) of `NEUTRAL_PROMPT`."""
        return self._model.encode_text([NEUTRAL_PROMPT])


@dataclass(frozen=True)
class _Request:
    """A video to score: its file, what the caller called it, the prompt without blanks, the key of its features."""

    video: Path
    name: str
    prompt: str
    key: FeatureKey


@dataclass(frozen=True)
class _Decoded:
    """A request with its clip and the seconds that decoding took; no clip where the features are known."""

    request: _Request
    clip: Clip | None
    seconds: float


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
    key: _ScorerKey = (name, str(place), token)
    if name in model_presets() or is_folder(name):  # those are the same for everybody
        key = (name if name in model_presets() else str(Path(name).resolve()), str(place), False)
    with _registry_lock:
        lock = _loading.setdefault(key, threading.Lock())
    with lock:
        if key not in _scorers:
            _scorers[key] = load_scorer(name, device=str(place), token=token)
        return _scorers[key]


def load_scorer(
    name: str,
    *,
    device: str | None = None,
    shown_as: str | None = None,
    token: Token = False,
    is_brought: bool = False,
) -> Scorer:
    """A scorer of its own for a preset or a checkpoint, which nobody else gets; its results name it `shown_as`.

    One that a visitor has brought to the page may take `Limits.clip_seconds` for a clip.

    Raises as `get_scorer` does, and a ModelError where a model that was brought is too slow.
    """
    place = resolve_device(device or default_device())
    try:
        checkpoint = find_checkpoint(name, token=token)
        with enough_memory(name):
            model = load_checkpoint(checkpoint, device=place, dtype=inference_dtype(place))
    except (CheckpointError, ModelError) as error:
        if name == "demo" or re.search(r"\bdemo\b", str(error)):  # it offers demo already
            raise
        raise type(error)(f"{str(error).rstrip('.')}; choose demo meanwhile") from error
    is_path = name not in model_presets() and is_folder(name)
    short_name = Path(name).resolve().name if is_path else name  # the rest of a path is of this machine
    model_id = f"{shown_as or short_name}@{checkpoint.weights_sha256[:WEIGHTS_DIGITS]}"
    return Scorer(
        shown_as or name,
        model,
        checkpoint.trained_on,
        model_id=model_id,
        cache=feature_cache(),
        max_seconds=limits().clip_seconds if is_brought else math.inf,
    )


def loaded_scorers() -> list[Scorer]:
    """Those that `get_scorer` has loaded."""
    return list(_scorers.values())


def default_model() -> str:
    """`vitg` on a GPU once its head is trained, else `demo`."""
    return "vitg" if default_device() == "cuda" and model_presets()["vitg"].refusal is None else "demo"


class _Watch:
    """Over the scoring of one clip: the seconds that each of `STEPS` took (0 for those that never began), and whom it
    tells how far it is and asks whether it should stop."""

    def __init__(self, on_step: OnStep, on_layer: OnLayer, should_stop: ShouldStop) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self._on_step, self._on_layer, self.should_stop = on_step, on_layer, should_stop

    def check(self) -> None:
        """
        Raises:
            StoppedError: if it should stop.
        """
        if self.should_stop():
            raise StoppedError("stopped: this clip was not scored")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.check()
        self._on_step(name)
        begin = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begin, 4)

    def before_layer(self, model: VJEPAModel, expected_seconds: float | None) -> BeforeLayer:
        """What `model` calls before each of its layers; without `expected_seconds`, which are those of all layers,
        nobody is told how far they are."""
        begin, done, total = time.perf_counter(), 0, model.num_layer_runs

        def before_layer() -> None:
            nonlocal done
            if expected_seconds is not None:
                if model.device.type == "cuda":  # else all layers are queued long before the first has run
                    torch.cuda.synchronize(model.device)
                # The pace so far counts for more the longer it is known.
                share, passed = done / total, time.perf_counter() - begin
                left = (1 - share) * ((1 - share) * expected_seconds + passed)
                self._on_layer(LayersReport(done, total, left))
            self.check()
            done += 1

        return before_layer
