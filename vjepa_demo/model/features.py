"""What an encoder made of a video, remembered by the video's content: in memory, and on disk for all processes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from vjepa_demo.config import (
    CACHE_GB_VARIABLE,
    CACHE_VARIABLE,
    FEATURE_CACHE_BYTES,
    ClipConfig,
    feature_cache_bytes,
    feature_cache_folder,
    no_folder,
)
from vjepa_demo.files import PARTIAL, file_lock, is_file, is_folder, replacing
from vjepa_demo.schema import DemoError

if TYPE_CHECKING:
    from vjepa_demo.model.vjepa import VJEPAModel

logger = logging.getLogger(__name__)

FEATURES_VERSION = 5  # one more whenever the same video and weights give other features: decoding, resizing, encoding
SUFFIX = ".features"
LOCK_FILE, TOTAL_FILE = ".lock", ".total"
LOCK_SECONDS = 30.0
ABANDONED_SECONDS = 3600.0  # a file that has been partial for so long belongs to a process that was killed
OWNER_ONLY = 0o600  # features say something about a video: nobody else may read them
FULL_SHARE = 0.9  # of the disk budget that stays in use when room is made, so that room is not made for each file
HELD_SHARE = 0.75  # of the memory that held entries may take: a training run leaves some to scoring
ENTRY_BYTES = 4096  # what an entry takes in memory besides its numbers: key, times, tensor, dictionary


@dataclass(frozen=True)
class FeatureKey:
    """All that features depend on. Two files with the same bytes share them; a path alone says nothing.

    `weights` is the content of the encoder's weights below the place where the features were taken, wherever they
    lie; `products` the device and precision of the matrix products.
    """

    content_sha256: str
    clip: ClipConfig
    weights: str
    products: str
    pooling: str | None
    layer: int | None = None  # the hidden state below this layer; None for pooled features
    version: int = FEATURES_VERSION

    @classmethod
    def of(cls, model: VJEPAModel, content_sha256: str, *, layer: int | None = None) -> FeatureKey:
        """The key of what `model`, as it computes now, makes of a file."""
        return cls(
            content_sha256=content_sha256,
            clip=model.clip_config,
            weights=model.video_weights_digest(layer),
            products=model.products,
            pooling=model.config.pooling if layer is None else None,
            layer=layer,
        )

    @cached_property
    def file_name(self) -> str:
        """The name of its file in every cache folder."""
        return f"{hashlib.sha256(repr(self).encode()).hexdigest()}{SUFFIX}"


@dataclass(frozen=True)
class VideoFeatures:
    """What the encoder made of a clip, when each of its frames is shown, and the whole video's length.

    `values` are pooled features (video_dim,) float32, of several looks (looks, video_dim), or the hidden state (N,
    hidden) below the layer that the key names. `frames` are those of each view of the first look, (T, H, W, 3) uint8;
    None if the features came from disk.
    `notes` are those of the `Clip`.
    """

    values: Tensor
    frame_seconds: tuple[float, ...]
    duration_seconds: float
    frames: tuple[np.ndarray, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + sum(view.nbytes for view in self.frames or ())


@dataclass
class _Entry:
    """The features of a key while threads use it or wait for it: `users` of them."""

    features: VideoFeatures | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class FeatureCache:
    """The features of clips by content: in memory, and behind it in `folder` on disk, where one is given.

    Safe for threads, and for processes that share the folder. If two threads ask for the same clip at once, one
    encodes it and the other waits. Past `memory_bytes` or `disk_bytes` what was used longest ago goes, except what is
    held; what then does not fit is not kept. The clip that was used last always stays in memory.
    """

    def __init__(
        self, folder: str | Path | None = None, *, memory_bytes: int = FEATURE_CACHE_BYTES, disk_bytes: int = 0
    ) -> None:
        self._memory = _Memory(memory_bytes)
        self._disk = None if folder is None else _Disk(Path(folder), disk_bytes)
        self._held: Counter[str] = Counter()  # file names of keys
        self._in_use: dict[FeatureKey, _Entry] = {}
        self._lock = threading.Lock()

    def get(self, key: FeatureKey) -> VideoFeatures | None:
        """The features of `key` from memory or disk, from now on in memory; None where they have to be computed."""
        with self._entry(key) as entry:
            entry.features = entry.features or self._load(key)
            return entry.features

    def get_or_compute(
        self,
        key: FeatureKey,
        compute: Callable[[], VideoFeatures],
        *,
        decode: Callable[[], tuple[np.ndarray, ...]] | None = None,
    ) -> VideoFeatures:
        """The remembered features of `key`, or those that `compute` returns, remembered; an error is not.

        Where `decode` is given, frames are wanted: it gives those of features that were remembered without.
        """
        with self._entry(key) as entry:
            features = entry.features or self._load(key)
            if features is None:
                features = compute()
                if self._disk is not None:
                    self._disk.save(key, features, self._held)
            entry.features = features
            if features.frames is None and decode is not None:
                entry.features = replace(features, frames=decode())
            return entry.features

    def hold(self, keys: Collection[FeatureKey]) -> None:
        """Keep `keys`, which this process will read again and again, until as many calls of `release`."""
        with self._lock:
            self._held.update(key.file_name for key in keys)

    def release(self, keys: Collection[FeatureKey]) -> None:
        """End one `hold` of `keys`: what nobody holds any more may go again."""
        with self._lock:
            self._held -= Counter(key.file_name for key in keys)
            for key in keys:
                if key.file_name not in self._held:
                    self._memory.let_go(key)

    def keeps(self, key: FeatureKey) -> bool:
        """Whether `key`, which is held, need not be computed again."""
        with self._lock:
            return self._memory.holds(key) or (self._disk is not None and self._disk.has(key))

    def size(self) -> tuple[int, int]:
        """How many files the folder holds now, and of how many bytes."""
        sizes = [] if self._disk is None else [size for _, size, _ in self._disk.files()]
        return len(sizes), sum(sizes)

    def clear(self) -> tuple[int, int]:
        """Delete everything on disk and forget what is in memory; returns the `size` there was.

        Raises:
            DemoError: if it cannot be deleted.
        """
        with self._lock:
            self._memory.clear()
        before = self.size()
        if self._disk is not None:
            self._disk.clear()
        return before

    def _load(self, key: FeatureKey) -> VideoFeatures | None:
        return None if self._disk is None else self._disk.load(key)

    @contextmanager
    def _entry(self, key: FeatureKey) -> Iterator[_Entry]:
        """The entry of `key`, for one thread at a time; its features then become the last ones used."""
        with self._lock:
            entry = self._in_use.setdefault(key, _Entry(self._memory.get(key)))
            entry.users += 1
        try:
            with entry.lock:
                yield entry
        finally:
            with self._lock:
                entry.users -= 1
                if not entry.users:
                    del self._in_use[key]
                if entry.features is not None:
                    self._memory.put(key, entry.features, hold=key.file_name in self._held)


class _Memory:
    """Features up to a budget of bytes. What was used longest ago goes first; held features and the last one stay.

    Every operation takes constant time. Not safe for threads: the caller holds a lock.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self.clear()

    def clear(self) -> None:
        self._held: dict[FeatureKey, VideoFeatures] = {}
        self._loose: OrderedDict[FeatureKey, VideoFeatures] = OrderedDict()  # what was used longest ago first
        self._held_bytes = self._loose_bytes = 0

    def get(self, key: FeatureKey) -> VideoFeatures | None:
        return self._held[key] if key in self._held else self._loose.get(key)

    def holds(self, key: FeatureKey) -> bool:
        return key in self._held

    def put(self, key: FeatureKey, features: VideoFeatures, *, hold: bool) -> None:
        """Remember `features`. Held ones are stored once, and only if they fit."""
        if hold and key in self._held:
            return
        before = self._loose.pop(key, None)
        if before is not None:
            self._loose_bytes -= _bytes_in_memory(before)
        size = _bytes_in_memory(features)
        if not hold:
            self._loose[key] = features
            self._loose_bytes += size
        elif self._held_bytes + size <= HELD_SHARE * self._budget_bytes:
            self._held[key] = features
            self._held_bytes += size
        while self._held_bytes + self._loose_bytes > self._budget_bytes and len(self._loose) > 1:
            _, oldest = self._loose.popitem(last=False)
            self._loose_bytes -= _bytes_in_memory(oldest)

    def let_go(self, key: FeatureKey) -> None:
        """`key` is not held any more."""
        features = self._held.pop(key, None)
        if features is not None:
            self._held_bytes -= _bytes_in_memory(features)
            self.put(key, features, hold=False)


def _bytes_in_memory(features: VideoFeatures) -> int:
    return features.nbytes + ENTRY_BYTES


class _Disk:
    """One safetensors file a key, up to a budget of bytes, in a folder that many processes may share.

    A file is written whole or not at all, has its key and a checksum, and holds numbers only. If nothing can be
    written, one warning says so.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder, self._budget_bytes = folder, budget_bytes
        self._warned = False
        with suppress(OSError):  # another process was faster, or the folder is not ours
            for partial in folder.glob(f"*{PARTIAL}*"):
                if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                    partial.unlink()

    def has(self, key: FeatureKey) -> bool:
        return is_file(self._folder / key.file_name)

    def load(self, key: FeatureKey) -> VideoFeatures | None:
        """What was saved under `key`; None if there is no file, or it is damaged, cut off, or of another key."""
        path = self._folder / key.file_name
        try:
            data = path.read_bytes()
            tensors = load_safetensors(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            said = header["__metadata__"]
            if (said["key"], said["checksum"]) != (repr(key), _checksum(tensors)):
                return None
            duration_seconds = tensors["duration_seconds"].item()
            features = VideoFeatures(
                tensors["values"],
                tuple(tensors["frame_seconds"].tolist()),
                duration_seconds,
                notes=tuple(json.loads(said["notes"])),
            )
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        with suppress(OSError):  # deleted meanwhile, or not ours to touch
            os.utime(path)
        return features

    def save(self, key: FeatureKey, features: VideoFeatures, held: Collection[str]) -> None:
        """Keep `features` where they fit beside the files whose names are `held`, and where they can be written."""
        tensors = {
            "values": features.values.detach().cpu().contiguous(),
            "frame_seconds": torch.tensor(features.frame_seconds, dtype=torch.float64),
            "duration_seconds": torch.tensor(features.duration_seconds, dtype=torch.float64),
        }
        metadata = {"key": repr(key), "checksum": _checksum(tensors), "notes": json.dumps(features.notes)}
        data = save_safetensors(tensors, metadata=metadata)
        path = self._folder / key.file_name
        if len(data) > self._budget_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._lock():
                if self._make_room(path, len(data), held):
                    with replacing(path, mode=OWNER_ONLY) as partial:
                        partial.write_bytes(data)
        except OSError as error:
            if not self._warned:
                self._warned = True
                logger.warning("features are not kept on disk: %s cannot be written (%s)", self._folder, error)

    def clear(self) -> None:
        """
        Raises:
            DemoError: if a file cannot be deleted.
        """
        if not is_folder(self._folder):
            return
        try:
            with self._lock():
                for _, _, path in self.files():
                    path.unlink(missing_ok=True)
                self._write_total(0)
        except OSError as error:
            raise DemoError(f"the feature cache in {self._folder} cannot be emptied: {error}") from error

    def files(self) -> list[tuple[int, int, Path]]:
        """When it was last used (ns), the size and the path of each file, what was used longest ago first."""
        found = []
        for path in self._folder.glob(f"[!.]*{SUFFIX}") if is_folder(self._folder) else ():
            with suppress(FileNotFoundError):  # another process deleted it meanwhile
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        return sorted(found)

    # ---- the budget, under the lock of all processes -----------------------------------------------------------------

    def _lock(self) -> AbstractContextManager[object]:
        return file_lock(self._folder / LOCK_FILE, wait_seconds=LOCK_SECONDS)

    def _make_room(self, path: Path, size: int, held: Collection[str]) -> bool:
        """Whether `size` bytes for `path` fit, after old files that are not `held` were deleted; notes the new total.

        Nothing is deleted if that would not make enough room. The total is kept in a file: a look at each of a hundred
        thousand files for each new one would take longer than encoding it. The total errs only upwards, and is counted
        anew whenever it reaches the budget.
        """
        with suppress(FileNotFoundError):
            size -= path.stat().st_size
        try:
            total = self._read_total()
        except (FileNotFoundError, ValueError):
            total = self._budget_bytes
        if total + size > self._budget_bytes:
            files = self.files()
            total = sum(file_size for _, file_size, _ in files)
            may_go = [(file_size, file) for _, file_size, file in files if file.name not in held and file != path]
            least = total - sum(file_size for file_size, _ in may_go)
            if least + size <= self._budget_bytes < total + size:
                for file_size, file in may_go:  # what was used longest ago first
                    if total + size <= FULL_SHARE * self._budget_bytes:
                        break
                    file.unlink(missing_ok=True)
                    total -= file_size
        fits = total + size <= self._budget_bytes
        self._write_total(total + size if fits else total)
        return fits

    def _read_total(self) -> int:
        """
        Raises:
            ValueError: if it is not whole: the line break, which is written last, is missing.
        """
        digits, end, _ = (self._folder / TOTAL_FILE).read_text().partition("\n")
        return int(digits if end else "")

    def _write_total(self, total: int) -> None:
        (self._folder / TOTAL_FILE).write_text(f"{total}\n")


def _checksum(tensors: dict[str, Tensor]) -> str:
    checksum = 0
    for name, value in sorted(tensors.items()):
        checksum = zlib.crc32(f"{name} {value.dtype} {tuple(value.shape)}".encode(), checksum)
        checksum = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"


_caches: dict[tuple[Path | None, str | None], FeatureCache] = {}
_caches_lock = threading.Lock()


def feature_cache() -> FeatureCache:
    """The cache that everything in this process shares; in memory alone where the setting turned the disk off, or where
    there is no folder for it, which one warning says.

    Raises:
        DemoError: if the setting is not a number of gigabytes.
    """
    folder, setting = feature_cache_folder(), os.environ.get(CACHE_GB_VARIABLE)
    with _caches_lock:
        if (folder, setting) not in _caches:
            try:
                disk_bytes = feature_cache_bytes()
            except ValueError as error:
                raise DemoError(str(error)) from error
            if folder is None and setting != "0":
                logger.warning("features are not kept on disk: %s", no_folder(CACHE_VARIABLE))
            _caches[folder, setting] = FeatureCache(folder if disk_bytes else None, disk_bytes=disk_bytes)
        return _caches[folder, setting]
