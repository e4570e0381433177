from __future__ import annotations

import json
import os
import resource
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
from safetensors import safe_open
from small_models import TRAINED_ON

from vjepa_demo.config import DEMO_VIEWS, ClipConfig, ModelConfig, feature_cache_bytes
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model.features import (
    ENTRY_BYTES,
    HELD_SHARE,
    FeatureCache,
    FeatureKey,
    VideoFeatures,
    feature_cache,
)
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.schema import DemoError

KEY = FeatureKey("ab" * 32, ClipConfig(), weights="encoder@1", products="cpu torch.float32", pooling="mean")
KEYS = [replace(KEY, content_sha256=letter * 64) for letter in "abcdefgh"]
BIG = 2**30
CLIP_BYTES = 2 * 4 + 12 + ENTRY_BYTES


def features(value: float = 0.0) -> VideoFeatures:
    """Two float32 features and a frame of 2 x 2: in memory `CLIP_BYTES`."""
    return VideoFeatures(torch.full((2,), value), (0.0,), 1.0, (np.zeros((1, 2, 2, 3), np.uint8),))


def never() -> VideoFeatures:
    raise AssertionError("computed again")


def in_memory(num_clips: float) -> FeatureCache:
    return FeatureCache(memory_bytes=int(num_clips * CLIP_BYTES))


def known(cache: FeatureCache, keys: list[FeatureKey]) -> list[int]:
    """The indices of the keys that need not be computed again; that they are looked up makes them no younger."""
    return [index for index, key in enumerate(keys) if cache._memory.get(key) is not None]


# ---- in memory -------------------------------------------------------------------------------------------------------


def test_what_is_known_is_not_computed_again():
    cache = in_memory(2)
    first = cache.get_or_compute(KEY, features)
    assert cache.get_or_compute(KEY, never) is first


@pytest.mark.parametrize(
    "change",
    [
        {"content_sha256": "cd" * 32},
        {"clip": ClipConfig(num_frames=16)},
        {"clip": ClipConfig(views=DEMO_VIEWS)},
        {"weights": "encoder@2"},
        {"products": "cpu torch.bfloat16"},
        {"pooling": "cls"},
        {"layer": 3},
        {"version": 0},
    ],
)
def test_all_that_features_depend_on_is_in_the_key(change, tmp_path):
    cache = FeatureCache(tmp_path, disk_bytes=BIG)
    cache.get_or_compute(KEY, features)
    assert cache.get_or_compute(replace(KEY, **change), lambda: features(1.0)).values[0] == 1.0
    assert cache.size()[0] == 2


def test_the_clip_that_was_not_used_for_longest_goes():
    cache = in_memory(2)
    for index in (0, 1, 0, 2):
        cache.get_or_compute(KEYS[index], features)
    assert known(cache, KEYS) == [0, 2]


def test_a_clip_larger_than_the_memory_is_still_remembered_until_the_next():
    cache = in_memory(0)
    cache.get_or_compute(KEYS[0], features)
    cache.get_or_compute(KEYS[0], never)
    cache.get_or_compute(KEYS[1], features)
    assert known(cache, KEYS) == [1]


def test_what_is_held_stays_in_memory_where_it_fits_and_leaves_room_for_the_rest():
    cache = in_memory(8)
    held, keys = KEYS, [replace(KEY, content_sha256=str(index)) for index in range(6)]
    cache.get_or_compute(held[0], features)  # known before it is held
    cache.hold(held)
    for _ in range(2):
        for key in (*held, *keys):
            cache.get_or_compute(key, features)
    kept = list(range(int(8 * HELD_SHARE)))
    assert known(cache, held) == [index for index, key in enumerate(held) if cache.keeps(key)] == kept
    assert known(cache, keys) == [4, 5]
    cache.release(held)
    assert not any(cache.keeps(key) for key in held)
    for key in (*keys, *keys):
        cache.get_or_compute(key, features)
    assert known(cache, keys) == list(range(6))
    assert len(known(cache, held)) == 2


def test_an_error_is_not_remembered():
    cache = in_memory(2)
    with pytest.raises(AssertionError):
        cache.get_or_compute(KEY, never)
    assert cache.get(KEY) is None
    assert cache.get_or_compute(KEY, features).duration_seconds == 1.0


def test_threads_that_ask_at_once_compute_once():
    cache, calls = in_memory(2), []
    inside, go_on = threading.Event(), threading.Event()

    def compute() -> VideoFeatures:
        calls.append(1)
        inside.set()
        assert go_on.wait(300)
        return features()

    threads = [threading.Thread(target=cache.get_or_compute, args=(KEY, compute)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(300)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert calls == [1]


class Told:
    """A lock that says when it was let go."""

    def __init__(self) -> None:
        self._lock, self.let_go = threading.Lock(), threading.Semaphore(0)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self.let_go.release()


def test_a_look_up_that_finds_nothing_takes_nothing_from_a_thread_that_waits_for_it(tmp_path, monkeypatch):
    cache, asked, go_on = FeatureCache(tmp_path), threading.Event(), threading.Event()
    cache._lock = Told()

    def load_slowly(key: FeatureKey) -> None:
        asked.set()
        assert go_on.wait(300)

    monkeypatch.setattr(cache._disk, "load", load_slowly)
    look_up = threading.Thread(target=cache.get, args=(KEY,))
    waiting = threading.Thread(target=cache.get_or_compute, args=(KEY, features))
    look_up.start()
    assert asked.wait(300)
    assert cache._lock.let_go.acquire(timeout=300)
    waiting.start()
    assert cache._lock.let_go.acquire(timeout=300)  # it has the same entry, and waits
    go_on.set()
    for thread in (look_up, waiting):
        thread.join(10)
    cache.get_or_compute(KEY, never)


def test_a_look_up_does_not_look_at_all_that_is_known(monkeypatch):
    cache, asked = in_memory(1000), []
    keys = [replace(KEY, content_sha256=str(index)) for index in range(500)]
    for key in keys:
        cache.get_or_compute(key, features)
    nbytes = VideoFeatures.nbytes.fget
    monkeypatch.setattr(VideoFeatures, "nbytes", property(lambda each: asked.append(each) or nbytes(each)))
    cache.get(keys[0])
    assert len(asked) <= 2


# ---- on disk ---------------------------------------------------------------------------------------------------------


def some(index: int = 0, size: int = 6) -> VideoFeatures:
    """Features that differ from index to index, as those at the freeze line are."""
    return VideoFeatures(torch.full((2, size // 2), index + 0.5, dtype=torch.bfloat16), (0.0, 0.1), index + 0.25)


def on_disk(folder: Path, disk_bytes: float = BIG) -> FeatureCache:
    """As a new process has it: nothing in memory."""
    return FeatureCache(folder, memory_bytes=0, disk_bytes=int(disk_bytes))


def save(cache: FeatureCache, index: int, features: VideoFeatures | None = None) -> bool:
    """Whether the features of a key, which were not known, are on disk now."""
    cache.get_or_compute(KEYS[index], lambda: features or some(index))
    return cache._disk.has(KEYS[index])


@pytest.fixture
def file_bytes(tmp_path) -> int:
    cache = on_disk(tmp_path / "measure")
    save(cache, 0)
    return cache.size()[1]


def equal(one: VideoFeatures | None, other: VideoFeatures) -> bool:
    assert one is not None
    return (
        one.values.dtype == other.values.dtype
        and torch.equal(one.values, other.values)
        and (one.frame_seconds, one.duration_seconds) == (other.frame_seconds, other.duration_seconds)
        and one.notes == other.notes
    )


def saved(folder: Path, count: int, disk_bytes: float = BIG) -> list[Path]:
    """The files of the first `count` keys, saved by a process that is gone; the first was used longest ago."""
    cache, paths = on_disk(folder, disk_bytes), []
    for index in range(count):
        assert save(cache, index)
        paths.append(folder / KEYS[index].file_name)
        os.utime(paths[-1], ns=(index + 1, index + 1))
    return paths


def kept(folder: Path) -> list[int]:
    """The indices of the keys that are there, whole."""
    return [index for index, key in enumerate(KEYS) if on_disk(folder).get(key) is not None]


def test_what_is_saved_is_loaded_by_the_next_process_to_the_bit(tmp_path):
    for expected in (some(3), VideoFeatures(torch.randn(5), (0.1, 0.2, 0.7), 1 / 3, notes=("HDR",))):
        cache = on_disk(tmp_path)
        cache.clear()
        assert save(cache, 0, expected)
        assert equal(on_disk(tmp_path).get(KEYS[0]), expected)
    assert on_disk(tmp_path).get(replace(KEYS[0], version=0)) is None
    assert on_disk(tmp_path).size() == (1, (tmp_path / KEYS[0].file_name).stat().st_size)


def test_a_file_is_safetensors_and_says_whose_it_is(tmp_path):
    (path,) = saved(tmp_path, 1)
    with safe_open(path, "pt") as file:
        assert file.metadata()["key"] == repr(KEYS[0])
        assert torch.equal(file.get_tensor("values"), some(0).values)


def test_any_damaged_byte_makes_a_miss_that_is_replaced(tmp_path):
    (path,) = saved(tmp_path, 1)
    disk, whole = on_disk(tmp_path)._disk, path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        assert disk.load(KEYS[0]) is None
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert disk.load(KEYS[0]) is None
    assert save(on_disk(tmp_path), 0)
    assert equal(on_disk(tmp_path).get(KEYS[0]), some(0))


def test_a_file_of_something_else_is_a_miss(tmp_path):
    first, second = saved(tmp_path, 2)
    shutil.copy(first, second)
    assert kept(tmp_path) == [0]
    second.write_bytes(b"vjepafe1" + b"as an earlier version wrote it" * 9)
    assert kept(tmp_path) == [0]
    second.unlink()
    second.mkdir()
    assert kept(tmp_path) == [0]


def test_past_the_budget_what_was_used_longest_ago_goes(tmp_path, file_bytes):
    saved(tmp_path, 4)
    on_disk(tmp_path).get(KEYS[0])  # used now
    assert save(on_disk(tmp_path, 4.5 * file_bytes), 4)
    assert kept(tmp_path) == [0, 2, 3, 4]


def test_what_this_process_used_long_ago_goes_too(tmp_path, file_bytes):
    cache = on_disk(tmp_path, 4.5 * file_bytes)
    for index in range(8):
        assert save(cache, index)
        cache.get(KEYS[0])  # used all the time
        for path in tmp_path.glob("*.features"):
            if path.stat().st_mtime > 1:  # now
                os.utime(path, ns=(index, index))
    assert kept(tmp_path) == [0, 5, 6, 7]


def test_what_is_held_stays_until_it_is_released_as_often(tmp_path, file_bytes):
    cache = on_disk(tmp_path, 4.5 * file_bytes)
    cache.hold(KEYS[:4])
    cache.hold(KEYS[:2])  # another run
    for index in range(4):
        assert save(cache, index)
        assert cache.keeps(KEYS[index])
    assert not save(cache, 4)
    assert kept(tmp_path) == [0, 1, 2, 3]
    cache.release(KEYS[:4])
    for index in (5, 6, 7, 4):
        assert save(cache, index)
    assert {0, 1} <= set(kept(tmp_path))
    assert not {2, 3} & set(kept(tmp_path))
    cache.release(KEYS[:2])
    for index in (2, 3, 5, 6):
        save(cache, index)
    assert not {0, 1} & set(kept(tmp_path))
    assert list(tmp_path.glob("*.partial*")) == []


def test_only_the_user_can_read_the_files(tmp_path):
    (path,) = saved(tmp_path, 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_deleted_for_what_does_not_fit_all_the_same(tmp_path, file_bytes):
    saved(tmp_path, 3)
    cache = on_disk(tmp_path, 3.5 * file_bytes)
    cache.hold(KEYS[:2])
    assert not save(cache, 3, some(3, size=int(2 * file_bytes)))
    assert kept(tmp_path) == [0, 1, 2]


def test_a_budget_too_small_for_one_file_keeps_none_and_deletes_none(tmp_path, file_bytes):
    saved(tmp_path, 1)
    assert not save(on_disk(tmp_path, file_bytes - 1), 1)
    assert kept(tmp_path) == [0]


def test_a_reader_whose_file_was_deleted_by_another_process_gets_a_miss(tmp_path, file_bytes):
    reader, writer = (on_disk(tmp_path, 1.5 * file_bytes) for _ in range(2))
    assert save(reader, 0)
    assert save(writer, 1)
    assert reader._disk.load(KEYS[0]) is None
    reader.clear()
    assert save(reader, 0)
    assert kept(tmp_path) == [0]


@pytest.mark.parametrize("total", ["", "1"])  # cut off: whole, it ends with a line break
def test_a_total_that_is_wrong_is_counted_anew(tmp_path, file_bytes, total):
    paths = saved(tmp_path, 3, disk_bytes=3.5 * file_bytes)
    paths[0].unlink()  # by hand
    (tmp_path / ".total").write_text(total)
    assert save(on_disk(tmp_path, 3.5 * file_bytes), 3)
    assert kept(tmp_path) == [1, 2, 3]


def test_partial_files_of_killed_processes_go_and_those_being_written_stay(tmp_path):
    old, earlier, new = tmp_path / ".old.partial.features", tmp_path / "old.partial", tmp_path / ".new.partial.features"
    for path in (old, earlier, new):
        path.write_bytes(b"half")
    for path in (old, earlier):
        os.utime(path, (time.time() - 7200,) * 2)
    cache = on_disk(tmp_path)
    assert [path.exists() for path in (old, earlier, new)] == [False, False, True]
    assert cache.size() == (0, 0)


def test_looking_makes_no_folder(tmp_path):
    cache = on_disk(tmp_path / "cache")
    assert cache.get(KEY) is None
    assert cache.size() == cache.clear() == (0, 0)
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("a file, no folder")
    cache = on_disk(tmp_path / "file" / "cache")
    assert not save(cache, 0)
    assert not save(cache, 1)
    assert cache.get(KEYS[0]) is None
    assert cache.size() == (0, 0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "are not kept on disk" in caplog.text


@contextmanager
def full_disk():
    """Files end after 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_once_and_leaves_no_half_file(tmp_path, caplog):
    cache = on_disk(tmp_path)
    with full_disk():
        assert [save(cache, index) for index in range(2)] == [False, False]
    assert len(caplog.records) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", ".total"}
    assert save(cache, 2)  # there is room again


WORKER = """
import random, sys
import torch
from vjepa_demo.model.features import ClipConfig, FeatureCache, FeatureKey, VideoFeatures

folder, budget, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
keys = [FeatureKey(letter * 64, ClipConfig(), "encoder@1", "cpu torch.float32", "mean") for letter in "abcdefgh"]
cache, draw, computed = FeatureCache(folder, memory_bytes=0, disk_bytes=budget), random.Random(seed), 0

def some(index):
    global computed
    computed += 1
    return VideoFeatures(torch.full((2, 3), index + 0.5, dtype=torch.bfloat16), (0.0, 0.1), index + 0.25)

print("ready", flush=True)
for _ in range(100 if seed else 10**9):
    index = draw.randrange(len(keys))
    found = cache.get_or_compute(keys[index], lambda: some(index))
    assert (found.frame_seconds, found.duration_seconds) == ((0.0, 0.1), index + 0.25)
    assert torch.equal(found.values, torch.full((2, 3), index + 0.5, dtype=torch.bfloat16))
print(computed)
"""


def start_worker(folder: Path, disk_bytes: int, seed: int) -> processes.Program:
    """A process that loads, saves and evicts what `saved` saves, at random; with seed 0 for ever."""
    return processes.start("-c", WORKER, folder, disk_bytes, seed)


def test_processes_that_load_save_and_evict_at_once_spoil_nothing(tmp_path, file_bytes, caplog):
    budget = int(3.5 * file_bytes)
    killed, other = (start_worker(tmp_path, budget, seed) for seed in (0, 1))
    assert killed.stdout.readline() == "ready\n"
    output = other.communicate(timeout=300)
    killed.kill()
    killed.communicate()
    assert other.returncode == 0
    assert int(output.split()[-1]) > len(KEYS)  # much was evicted and computed again
    cache = on_disk(tmp_path, budget)
    num_files, num_bytes = cache.size()
    assert num_bytes <= budget
    assert len(kept(tmp_path)) == num_files >= 1  # whole, and with the key that this process has
    assert save(on_disk(tmp_path, budget), 0)  # the killed one holds no lock
    assert not caplog.records
    assert len(list(tmp_path.glob(".*.partial*"))) <= 1  # the killed one's


def test_memory_asks_the_disk_and_the_disk_holds_no_pictures(tmp_path):
    first = FeatureCache(tmp_path, disk_bytes=BIG).get_or_compute(KEY, features)
    assert first.frames is not None
    cache = FeatureCache(tmp_path, disk_bytes=BIG)
    second = cache.get(KEY)
    assert second.frames is None
    assert equal(second, first)
    seen = cache.get_or_compute(KEY, never, decode=lambda: first.frames)
    assert seen.frames is first.frames
    assert cache.get_or_compute(KEY, never, decode=never) is seen  # decoded once
    assert cache.get(replace(KEY, version=0)) is None


def test_the_setting_says_where_and_how_much(tmp_path, monkeypatch):
    assert feature_cache() is feature_cache()
    monkeypatch.setenv("VJEPA_DEMO_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("VJEPA_DEMO_CACHE_GB", "0.5")
    feature_cache().get_or_compute(KEY, features)
    assert kept_files(tmp_path / "here") == {KEY.file_name}
    monkeypatch.setenv("VJEPA_DEMO_CACHE_GB", "0")
    monkeypatch.setenv("VJEPA_DEMO_CACHE", str(tmp_path / "there"))
    feature_cache().get_or_compute(KEY, features)
    feature_cache().get_or_compute(KEY, never)  # memory remembers
    assert not (tmp_path / "there").exists()
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("VJEPA_DEMO_CACHE_GB", wrong)
        with pytest.raises(DemoError, match=f"VJEPA_DEMO_CACHE_GB is '{wrong}'; a number of gigabytes"):
            feature_cache()


def kept_files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_what_the_cache_holds_counts_as_free_so_that_its_budget_does_not_shrink_as_it_fills(tmp_path, monkeypatch):
    disk = 10**6  # bytes
    monkeypatch.setenv("VJEPA_DEMO_CACHE", str(tmp_path))
    monkeypatch.delenv("VJEPA_DEMO_CACHE_GB", raising=False)

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=disk - sum(path.stat().st_size for path in tmp_path.iterdir()))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    budget = feature_cache_bytes()
    for index in range(6):
        assert save(on_disk(tmp_path, feature_cache_bytes()), index, some(index, size=12_000))
        assert feature_cache_bytes() == budget == disk // 5
    assert kept(tmp_path) == [0, 1, 2, 3, 4, 5]


# ---- what a key says of a model --------------------------------------------------------------------------------------


def key_of(folder: Path, *, layer: int | None = None, dtype: torch.dtype = torch.float32) -> FeatureKey:
    return FeatureKey.of(load_checkpoint(read_checkpoint(folder), device="cpu", dtype=dtype), "ab" * 32, layer=layer)


def test_a_copy_has_the_same_key_and_a_folder_written_again_has_another(checkpoint_folder, tmp_path):
    mine = shutil.copytree(checkpoint_folder, tmp_path / "mine")
    before = key_of(mine)
    assert before == key_of(checkpoint_folder)
    encoder = VJEPAModel(str(mine / "video_encoder"), str(mine / "text_encoder"), device="cpu").venc
    with torch.no_grad():
        encoder.layer[0].mlp.fc1.weight[0, 0] += 1e-3
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    from safetensors.torch import load_file, save_file

    path = mine / "video_encoder" / "model.safetensors"
    save_file({**load_file(path), **weights}, path, metadata={"format": "pt"})
    config = json.loads((mine / "config.json").read_text())
    del config["encoders_sha256"]  # else it is refused; older versions wrote none
    (mine / "config.json").write_text(json.dumps(config))
    assert key_of(mine) != before


def test_precisions_have_keys_of_their_own(checkpoint_folder):
    exact, fast = (key_of(checkpoint_folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert exact.weights == fast.weights
    assert exact != fast


def test_a_head_shares_features_and_trained_upper_layers_do_not(checkpoint_folder, tmp_path):
    model = load_checkpoint(read_checkpoint(checkpoint_folder), device="cpu")
    base = ModelConfig(model.config.video_encoder, model.config.text_encoder, head_hidden=8)
    with torch.no_grad():
        model.head.net[-1].bias += 1
    model.set_trainable(top_layers=False, text=False)
    save_checkpoint(model, tmp_path / "head", trained_on=TRAINED_ON, model_config=base)
    model.set_trainable(top_layers=True, text=False)
    with torch.no_grad():
        model.venc.layer[-1].mlp.fc1.weight[0, 0] += 1
    save_checkpoint(model, tmp_path / "top", trained_on=TRAINED_ON, model_config=base)
    line = model.num_frozen_layers
    assert key_of(tmp_path / "head") == key_of(checkpoint_folder) != key_of(tmp_path / "top")
    assert key_of(tmp_path / "top", layer=line) == key_of(checkpoint_folder, layer=line)
    assert key_of(tmp_path / "top", layer=line + 1) != key_of(checkpoint_folder, layer=line + 1)
