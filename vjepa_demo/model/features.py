"""What an encoder made of a video, remembered by the video's content: in memory, and on disk for all processes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vjepa_demo.config import CACHE_GB_VARIABLE, ClipConfig, feature_cache_bytes, feature_cache_folder
from vjepa_demo.files import file_lock
from vjepa_demo.schema import DemoError
from vjepa_demo.wording import bytes_text, counted

if TYPE_CHECKING:
    from vjepa_demo.model.vjepa import VJEPAModel

logger = logging.getLogger(__name__)

FEATURES_VERSION = 1  # one more whenever the same video and weights give other features: decoding, resizing, encoding
SUFFIX, PARTIAL_SUFFIX = ".features", ".partial"
LOCK_FILE, TOTAL_FILE = ".lock", ".total"
LOCK_SECONDS, LOCK_POLL_SECONDS = 30.0, 0.005
ABANDONED_SECONDS = 3600.0  # a file that has been partial for so long belongs to a process that was killed
FILE_MAGIC = b"vjepafe1"
LENGTH_BYTES, CHECKSUM_BYTES = 8, 4
FULL_SHARE = 0.9  # of the budget that is left in use when room is made, so that it need not be made for each file
ENTRY_BYTES = 4096  # what a remembered clip takes in memory besides its numbers: key, times, tensor, dictionary


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
            products=f"{model.device.type} {model.dtype}",
            pooling=model.config.pooling if layer is None else None,
            layer=layer,
        )


@dataclass(frozen=True)
class VideoFeatures:
    """Pooled features (video_dim,) float32 of a clip, when each of its frames is shown, and the whole video's length.

    `frames` is what the model saw, (T, H, W, 3) uint8 of each of its views; None where the features came from disk,
    which holds no pictures.
    """

    pooled: Tensor
    frame_seconds: tuple[float, ...]
    duration_seconds: float
    frames: tuple[np.ndarray, ...] | None

    @property
    def nbytes(self) -> int:
        return self.pooled.nbytes + sum(view.nbytes for view in self.frames or ())

    def to_tensors(self) -> dict[str, Tensor]:
        """What is kept on disk: everything but the frames."""
        return {
            "pooled": self.pooled,
            "frame_seconds": torch.tensor(self.frame_seconds, dtype=torch.float64),
            "duration_seconds": torch.tensor([self.duration_seconds], dtype=torch.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> VideoFeatures:
        """The features that `to_tensors` took apart, without frames."""
        return cls(
            pooled=tensors["pooled"],
            frame_seconds=tuple(tensors["frame_seconds"].tolist()),
            duration_seconds=tensors["duration_seconds"].item(),
            frames=None,
        )


@dataclass(frozen=True)
class StoreSize:
    """How many files a store holds, and of how many bytes."""

    num_files: int
    num_bytes: int

    def __str__(self) -> str:
        return f"{counted(self.num_files, 'file')}, {bytes_text(self.num_bytes)}"


class FeatureStore:
    """Features and freeze-line activations on disk by content: one file a key, up to a budget of bytes.

    A file is written whole or not at all, carries its key and a checksum, and holds numbers only. Safe for many
    threads and processes that share the folder. Past the budget what was used longest ago goes, but never what this
    process holds: what then still does not fit is not kept. Where nothing can be written, one warning says so.
    """

    def __init__(self, folder: str | Path, *, budget_bytes: int) -> None:
        self.folder = Path(folder)
        self.budget_bytes = budget_bytes
        self._held: Counter[str] = Counter()
        self._held_lock = threading.Lock()
        self._warned = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._delete_abandoned()
        except OSError as error:
            self._warn(error)

    def load(self, key: FeatureKey) -> dict[str, Tensor] | None:
        """What was saved under `key`; None where there is nothing, or nothing whole."""
        path = self._path(key)
        try:
            tensors = _unpack(path.read_bytes(), key)
        except OSError:
            return None
        if tensors is None:
            return None
        with suppress(OSError):  # deleted meanwhile, or not ours to touch
            os.utime(path)
        return tensors

    def save(self, key: FeatureKey, tensors: Mapping[str, Tensor]) -> bool:
        """Keep `tensors`; False where they do not fit into the budget, or cannot be written."""
        path, data = self._path(key), _pack(tensors, key)
        if len(data) > self.budget_bytes:
            return False
        try:
            partial = self._write_partial(data)
            try:
                with self._lock():
                    if not self._make_room(path, len(data)):
                        return False
                    partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            self._warn(error)
            return False
        return True

    def hold(self, keys: Collection[FeatureKey]) -> None:
        """This process will read `keys` again and again: they stay until each `hold` has had its `release`."""
        with self._held_lock:
            self._held.update(self._path(key).name for key in keys)

    def release(self, keys: Collection[FeatureKey]) -> None:
        """`keys`, which were held, go like all others when their time has come."""
        with self._held_lock:
            self._held -= Counter(self._path(key).name for key in keys)

    def size(self) -> StoreSize:
        """What the folder holds now."""
        sizes = [size for _, size, _ in self._files()]
        return StoreSize(len(sizes), sum(sizes))

    def clear(self) -> StoreSize:
        """Delete everything; returns what there was.

        Raises:
            DemoError: if it cannot be deleted.
        """
        try:
            with self._lock():
                before = self.size()
                for _, _, path in self._files():
                    path.unlink(missing_ok=True)
                self._write_total(0)
        except OSError as error:
            raise DemoError(f"{self.folder} cannot be emptied: {error}") from error
        return before

    # ---- files -------------------------------------------------------------------------------------------------------

    def _path(self, key: FeatureKey) -> Path:
        return self.folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()}{SUFFIX}"

    def _files(self) -> list[tuple[int, int, Path]]:
        """When it was last used (ns), the size and the path of each file, what was used longest ago first."""
        found = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another process deleted it meanwhile
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        return sorted(found)

    def _write_partial(self, data: bytes) -> Path:
        descriptor, name = tempfile.mkstemp(suffix=PARTIAL_SUFFIX, dir=self.folder)
        partial = Path(name)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor has no path)
                file.write(data)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        return partial

    def _delete_abandoned(self) -> None:
        for partial in self.folder.glob(f"*{PARTIAL_SUFFIX}"):
            with suppress(FileNotFoundError):  # another process was faster
                if time.time() - partial.stat().st_mtime > ABANDONED_SECONDS:
                    partial.unlink()

    # ---- the budget, under the lock of all processes -----------------------------------------------------------------

    def _lock(self) -> AbstractContextManager[object]:
        return file_lock(self.folder / LOCK_FILE, wait_seconds=LOCK_SECONDS)

    def _make_room(self, path: Path, size: int) -> bool:
        """Whether `size` more bytes for `path` fit, after deleting what may go; notes the new total if so.

        The total is kept in a file: looking at each of a hundred thousand files for each new one would take longer
        than encoding it. It errs only upwards, and is counted anew whenever it reaches the budget.
        """
        size -= _size_of(path)
        total = self._read_total()
        if total is None or total + size > self.budget_bytes:
            total = self._delete_oldest(path, size)
        if total + size > self.budget_bytes:
            self._write_total(total)
            return False
        self._write_total(total + size)
        return True

    def _delete_oldest(self, path: Path, size: int) -> int:
        """Bytes left after deleting, where `size` more would not fit, what was used longest ago and is not held.

        Nothing is deleted where all that may go would not make room enough.
        """
        files = self._files()
        total = sum(file_size for _, file_size, _ in files)
        may_go = [(file_size, file) for _, file_size, file in files if not self._held[file.name] and file != path]
        least = total - sum(file_size for file_size, _ in may_go)
        if total + size <= self.budget_bytes or least + size > self.budget_bytes:
            return total
        for file_size, file in may_go:
            if total + size <= FULL_SHARE * self.budget_bytes:
                break
            file.unlink(missing_ok=True)
            total -= file_size
        return total

    def _read_total(self) -> int | None:
        try:
            return int((self.folder / TOTAL_FILE).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _write_total(self, total: int) -> None:
        (self.folder / TOTAL_FILE).write_text(str(total))

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("features are not kept on disk: %s cannot be written (%s)", self.folder, error)


def _pack(tensors: Mapping[str, Tensor], key: FeatureKey) -> bytes:
    """A file: magic, checksum of the rest, length of the header, the header (JSON), the tensors' bytes."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    described = {name: [str(value.dtype).removeprefix("torch."), list(value.shape)] for name, value in plain.items()}
    header = json.dumps({"key": repr(key), "tensors": described}).encode()
    contents = [value.view(torch.uint8).numpy().tobytes() for value in plain.values()]  # NumPy has no bfloat16
    rest = b"".join([len(header).to_bytes(LENGTH_BYTES), header, *contents])
    return b"".join([FILE_MAGIC, zlib.crc32(rest).to_bytes(CHECKSUM_BYTES), rest])


def _unpack(data: bytes, key: FeatureKey) -> dict[str, Tensor] | None:
    """What `_pack` packed; None for anything else, damaged, cut off, or of another key."""
    begin = len(FILE_MAGIC) + CHECKSUM_BYTES
    offset = begin + LENGTH_BYTES
    if not data.startswith(FILE_MAGIC) or len(data) < offset:
        return None
    if zlib.crc32(memoryview(data)[begin:]) != int.from_bytes(data[len(FILE_MAGIC) : begin]):
        return None
    end = offset + int.from_bytes(data[begin:offset])
    header = json.loads(data[offset:end])
    if header["key"] != repr(key):
        return None
    contents, tensors = torch.frombuffer(bytearray(memoryview(data)[end:]), dtype=torch.uint8), {}
    for name, (dtype_name, shape) in header["tensors"].items():
        dtype = getattr(torch, dtype_name)
        size = dtype.itemsize * int(np.prod(shape))
        tensors[name] = contents[:size].clone().view(dtype).reshape(shape)
        contents = contents[size:]
    return tensors


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


_stores: dict[tuple[Path, str | None], FeatureStore] = {}
_stores_lock = threading.Lock()


def feature_store() -> FeatureStore | None:
    """The store that everything in this process shares; None where the setting turned it off.

    Raises:
        DemoError: if the setting is not a number of gigabytes.
    """
    key = feature_cache_folder(), os.environ.get(CACHE_GB_VARIABLE)
    with _stores_lock:
        if key not in _stores:
            try:
                budget_bytes = feature_cache_bytes()
            except ValueError as error:
                raise DemoError(str(error)) from error
            if not budget_bytes:
                return None
            _stores[key] = FeatureStore(key[0], budget_bytes=budget_bytes)
        return _stores[key]


@dataclass
class _Entry:
    """The features of a key while threads use it or wait for it: `users` of them."""

    features: VideoFeatures | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class FeatureCache:
    """The features of the last clips, in memory up to `capacity_bytes` (and always the last one), before `store`.

    Safe for many threads: two that ask for the same clip at once encode it once, the second waits for the first.
    """

    def __init__(self, capacity_bytes: int, store: FeatureStore | None = None) -> None:
        self._capacity_bytes = capacity_bytes
        self._store = store
        self._known: OrderedDict[FeatureKey, VideoFeatures] = OrderedDict()  # what was used longest ago first
        self._num_bytes = 0  # of what is known
        self._in_use: dict[FeatureKey, _Entry] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

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
                self._save(key, features)
            entry.features = features
            if features.frames is None and decode is not None:
                entry.features = replace(features, frames=decode())
            return entry.features

    @contextmanager
    def _entry(self, key: FeatureKey) -> Iterator[_Entry]:
        """The entry of `key`, for one thread at a time; what is in it afterwards is known, and the last one used."""
        with self._lock:
            entry = self._in_use.setdefault(key, _Entry(self._known.get(key)))
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
                    self._remember(key, entry.features)

    def _load(self, key: FeatureKey) -> VideoFeatures | None:
        tensors = None if self._store is None else self._store.load(key)
        return None if tensors is None else VideoFeatures.from_tensors(tensors)

    def _save(self, key: FeatureKey, features: VideoFeatures) -> None:
        if self._store is not None:
            self._store.save(key, features.to_tensors())

    def _remember(self, key: FeatureKey, features: VideoFeatures) -> None:
        """Forget what was used longest ago until the rest fits. The time it takes does not grow with what is known."""
        before = self._known.pop(key, None)
        if before is not None:
            self._num_bytes -= before.nbytes + ENTRY_BYTES
        self._known[key] = features
        self._num_bytes += features.nbytes + ENTRY_BYTES
        while self._num_bytes > self._capacity_bytes and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._num_bytes -= oldest.nbytes + ENTRY_BYTES


def is_store(folder: Path) -> bool:
    """Whether a `FeatureStore` has ever kept anything in `folder`."""
    return (folder / TOTAL_FILE).is_file() or any(folder.glob(f"*{SUFFIX}"))
