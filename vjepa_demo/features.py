"""What an encoder made of a video, remembered by the video's content."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from vjepa_demo.config import ClipConfig


@dataclass(frozen=True)
class FeatureKey:
    """All that pooled features depend on. Two files with the same bytes share them; a path alone says nothing."""

    content_sha256: str
    clip: ClipConfig
    encoder: str
    revision: str | None
    pooling: str
    dtype: str


@dataclass(frozen=True)
class VideoFeatures:
    """Pooled features (hidden,) float32 of a clip, the frames (T, H, W, 3) uint8 they came from, when each is shown,
    and the length of the whole video."""

    pooled: Tensor
    frames: np.ndarray
    frame_seconds: tuple[float, ...]
    duration_seconds: float


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    features: VideoFeatures | None = None


class FeatureCache:
    """The features of the last `capacity` clips, in memory; safe for many threads.

    Two threads that ask for the same clip at once encode it once: the second waits for the first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[FeatureKey, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get_or_compute(self, key: FeatureKey, compute: Callable[[], VideoFeatures]) -> VideoFeatures:
        """The remembered features of `key`, or those that `compute` returns, remembered; an error is not."""
        entry = self._entry(key)
        with entry.lock:
            if entry.features is None:
                try:
                    entry.features = compute()
                except BaseException:
                    self._forget(key, entry)
                    raise
            return entry.features

    def _entry(self, key: FeatureKey) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
            return entry

    def _forget(self, key: FeatureKey, entry: _Entry) -> None:
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]


def content_sha256(path: str | Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
