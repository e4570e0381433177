"""What an encoder made of a video, remembered by the video's content."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
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
    layer: int | None = None  # the hidden state below this layer; None for pooled features


@dataclass(frozen=True)
class VideoFeatures:
    """Pooled features (hidden,) float32 of a clip, the frames (T, H, W, 3) uint8 they came from, when each is shown,
    and the length of the whole video."""

    pooled: Tensor
    frames: np.ndarray
    frame_seconds: tuple[float, ...]
    duration_seconds: float

    @property
    def nbytes(self) -> int:
        return self.pooled.nbytes + self.frames.nbytes


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    features: VideoFeatures | None = None


class FeatureCache:
    """The features of the last clips, in memory, up to `capacity_bytes` (and always the last one).

    Safe for many threads: two that ask for the same clip at once encode it once, the second waits for the first.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._entries: OrderedDict[FeatureKey, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get_or_compute(self, key: FeatureKey, compute: Callable[[], VideoFeatures]) -> VideoFeatures:
        """The remembered features of `key`, or those that `compute` returns, remembered; an error is not."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.features is None:
                try:
                    entry.features = compute()
                finally:
                    self._tidy(key, entry)
            return entry.features

    def _tidy(self, key: FeatureKey, entry: _Entry) -> None:
        """Forget `entry` if computing it failed, and what was used longest ago until the rest fits."""
        with self._lock:
            if entry.features is None and self._entries.get(key) is entry:
                del self._entries[key]
            known = [(each, e.features.nbytes) for each, e in self._entries.items() if e.features is not None]
            total = sum(size for _, size in known)
            for each, size in known[:-1]:
                if total > self._capacity_bytes:
                    del self._entries[each]
                    total -= size


class ActivationStore:
    """Tensors on disk, one file a key, up to a budget of bytes; what does not fit is left for recomputing.

    Each file is written whole or not at all. Several processes may write to one folder, each with its own budget.
    """

    def __init__(self, folder: str | Path, *, budget_bytes: int) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._left = budget_bytes - sum(path.stat().st_size for path in self._folder.glob("*.npy"))

    def load(self, key: FeatureKey, *, dtype: torch.dtype) -> Tensor | None:
        """The tensor saved under `key` with `dtype`, or None."""
        try:
            return torch.from_numpy(np.load(self._path(key), allow_pickle=False)).view(dtype)
        except FileNotFoundError:
            return None

    def save(self, key: FeatureKey, value: Tensor) -> bool:
        """Keep `value`; False where it does not fit into the budget."""
        if value.nbytes > self._left:
            return False
        path = self._path(key)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.save(file, value.contiguous().cpu().view(torch.uint8).numpy())  # NumPy has no bfloat16
        partial.replace(path)
        self._left -= value.nbytes
        return True

    def _path(self, key: FeatureKey) -> Path:
        return self._folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()}.npy"


def content_sha256(path: str | Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
