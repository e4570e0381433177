"""What the frozen part of a model makes of each clip and prompt: computed once for a whole training run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event, Lock
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from vjepa_demo.config import NEUTRAL_PROMPT, ClipConfig, TrainConfig
from vjepa_demo.files import content_sha256
from vjepa_demo.media.video import Clip, clip_pixels
from vjepa_demo.model.features import FeatureCache, FeatureKey, VideoFeatures
from vjepa_demo.model.layers import BeforeLayer
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.schema import ModelError, StoppedError, VideoRecord, content_digest, judging_prompt
from vjepa_demo.tasks import zero_gpu
from vjepa_demo.tasks.ahead import ahead, decoding_threads

T = TypeVar("T")
R = TypeVar("R")
Check = BeforeLayer  # it raises what ends the work


class LoadClip(Protocol):
    """As `isolated.load_clip`."""

    def __call__(self, path: Path, config: ClipConfig, *, should_stop: Callable[[], bool]) -> Clip: ...


@dataclass(frozen=True)
class Inputs:
    """What learns from B clips is given: `videos` (B) of pooled features (video_dim,), (looks, video_dim) of several
    looks, or of hidden states at the freeze line (N, hidden), as they are cached, on the CPU; `prompts`, which
    Alignment is judged with; `text` (B, text_dim), their features; and `judging_prompts` and `judging_text`, the same
    for the other dimensions."""

    videos: Sequence[Tensor]
    prompts: Sequence[str]
    text: Tensor
    judging_prompts: Sequence[str]
    judging_text: Tensor


class FrozenFeatures:
    """Features of the clips and prompts of one run: from the cache, else computed anew.

    Raises:
        ModelError: for what cannot learn on a shared GPU.
    """

    def __init__(self, model: VJEPAModel, config: TrainConfig, load: LoadClip, cache: FeatureCache) -> None:
        self._model, self._load, self._cache = model, load, cache
        self._layer = model.num_frozen_layers if config.scope == "top" else None
        if self._layer is not None and zero_gpu.is_elsewhere(model):
            raise ModelError(zero_gpu.TOP_REFUSED)
        self._keys: dict[Path, FeatureKey] = {}
        self._keys_lock = Lock()
        self._texts: dict[str, Tensor] = {}
        self._known_words: Collection[str] = ()
        self._encoded: dict[Path, Tensor] = {}  # by the last call of a shared GPU, not yet in the cache

    def decode_ahead(
        self, records: Iterable[VideoRecord], *, check: Check
    ) -> Generator[tuple[VideoRecord, Future[Clip | None]], None, None]:
        """Each of `records` with its clip to come, None where it need not be encoded any more; threads decode the next
        ones meanwhile. They call `check`, and what it raises is what the clip raises. Closing the generator ends what
        is being decoded. Where a shared GPU encodes the clips, `encode` finds that done.

        Raises:
            ModelError: if the GPU cannot be had now. What was encoded before is kept.
        """

        def decode(record: VideoRecord, check: Check) -> Clip | None:
            if self._cache.keeps(self._key(record.video)):
                return None
            return self._decoded(record.video, check)

        with closing(_checked_ahead(decode, records, check, threads=decoding_threads())) as decoded:
            yield from self._together(decoded)

    def encode(self, record: VideoRecord, clip: Clip | None = None, *, before_layer: BeforeLayer | None = None) -> bool:
        """Compute and keep what `record` needs, from its `clip` if that was decoded before; False where it has to be
        computed again each time. `before_layer` is called while a clip is decoded and before each layer; what it
        raises ends it.

        Raises:
            VideoError: if the file cannot be read as a video.
        """
        self._get(record.video, clip, before_layer)
        return self._cache.keeps(self._key(record.video))

    def _together(
        self, decoded: Iterator[tuple[VideoRecord, Future[Clip | None]]]
    ) -> Iterator[tuple[VideoRecord, Future[Clip | None]]]:
        """`decoded`, records with what `decode` gives, as it comes. Where a shared GPU encodes the clips, as many
        as one call takes are encoded first."""
        while group := list(islice(decoded, zero_gpu.clips_at_once(self._model))):
            if len(group) > 1:
                clips = {
                    record.video: clip
                    for record, future in group
                    if future.exception() is None and (clip := future.result()) is not None
                }
                if clips:
                    features = zero_gpu.encode(self._model, list(clips.values()))
                    self._encoded = dict(zip(clips, features, strict=True))
            yield from group

    def read_prompts(self, records: Sequence[VideoRecord], known_words: Collection[str] = ()) -> None:
        """Compute the text features of each different prompt once. `known_words` are those of the model that learns, as
        it will be (see `TrainedOn`): what it learns from is what it will be shown."""
        self._known_words = frozenset(known_words)
        neutral = [NEUTRAL_PROMPT] if known_words else []
        for prompt in dict.fromkeys([*neutral, *(record.prompt for record in records)]):
            self._texts[prompt] = self._model.encode_text([prompt])[0]

    def inputs(
        self,
        records: Sequence[VideoRecord],
        *,
        known_words: Collection[str] | None = None,
        before_layer: BeforeLayer | None = None,
    ) -> Inputs:
        """What learns from `records` is given, or with other `known_words` what a model that knows those is given.
        `before_layer` is called while a clip that was not kept is decoded again, and before each layer of it; what it
        raises ends it."""
        known = self._known_words if known_words is None else known_words
        prompts = [record.prompt for record in records]
        judging = [judging_prompt(prompt, known) for prompt in prompts]
        videos = [self._get(record.video, before_layer=before_layer).values for record in records]
        text, judging_text = (torch.stack([self._texts[each] for each in texts]) for texts in (prompts, judging))
        return Inputs(videos, prompts, text, judging, judging_text)

    def read_ahead(
        self, batches: Iterable[Sequence[VideoRecord]], *, before_layer: BeforeLayer = lambda: None
    ) -> Generator[Inputs, None, None]:
        """The inputs of each of `batches`; a thread reads those of the next one meanwhile, and calls `before_layer` as
        `inputs` does. Closing the generator ends what the thread does, before the next layer at the latest."""

        def read(records: Sequence[VideoRecord], check: Check) -> Inputs:
            return self.inputs(records, before_layer=check)

        with closing(_checked_ahead(read, batches, before_layer, depth=1)) as inputs:
            for _, future in inputs:
                yield future.result()

    def digest(self, record: VideoRecord) -> str:
        """What a checkpoint remembers the clip of `record` by."""
        return content_digest(self._key(record.video).content_sha256)

    def release(self) -> None:
        """The run is over: what it used may go from the cache."""
        self._cache.release(self._keys.values())

    def _get(self, video: Path, decoded: Clip | None = None, before_layer: BeforeLayer | None = None) -> VideoFeatures:
        @torch.no_grad()
        def compute() -> VideoFeatures:
            clip_config = self._model.clip_config
            clip = decoded or self._decoded(video, before_layer)
            if zero_gpu.is_elsewhere(self._model):
                values = self._encoded.pop(video, None)
                if values is None:
                    values = zero_gpu.encode(self._model, [clip])[0]
            elif self._layer is None:  # pooled, as scoring keeps it
                pixels = clip_pixels(clip, clip_config, self._model.device)
                values = self._model.encode_video(pixels, before_layer=before_layer)[0].cpu()
            else:  # the hidden state (1, N, hidden), as exact as the products that it comes from
                pixels = clip_pixels(clip, clip_config, self._model.device)
                values = self._model.encode_prefix(pixels, before_layer=before_layer).to(self._model.dtype)[0].cpu()
            return VideoFeatures(values, clip.frame_seconds, clip.duration_seconds, notes=clip.notes)

        return self._cache.get_or_compute(self._key(video), compute)

    def _decoded(self, video: Path, check: Check | None) -> Clip:
        def should_stop() -> bool:
            if check is not None:
                check()
            return False

        return self._load(video, self._model.clip_config, should_stop=should_stop)

    def _key(self, video: Path) -> FeatureKey:
        if video not in self._keys:
            key = FeatureKey.of(self._model, content_sha256(video), layer=self._layer)
            with self._keys_lock:  # threads decode ahead; a key is held once
                if video not in self._keys:
                    self._cache.hold([key])
                    self._keys[video] = key
        return self._keys[video]


def _checked_ahead(
    work: Callable[[T, Check], R], items: Iterable[T], check: Check, *, threads: int = 1, depth: int | None = None
) -> Generator[tuple[T, Future[R]], None, None]:
    """As `ahead`, of work that is given a check to call now and then: it calls `check`, and once this generator is
    closed it raises."""
    closed = Event()

    def check_open() -> None:
        if closed.is_set():
            raise StoppedError("nobody needs these features any more")
        check()

    with closing(ahead(lambda item: work(item, check_open), items, threads=threads, depth=depth)) as results:
        try:
            for result in results:  # noqa: UP028 - `yield from` would close `results` first, and wait for it
                yield result
        finally:
            closed.set()
