from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FEATURES
from small_models import TRAINED_ON

from vjepa_demo.config import DEMO_VIEWS, ClipConfig, ModelConfig
from vjepa_demo.model.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from vjepa_demo.model.features import (
    ENTRY_BYTES,
    FeatureCache,
    FeatureKey,
    FeatureStore,
    VideoFeatures,
    about_store,
    content_sha256,
    feature_store,
)
from vjepa_demo.model.vjepa import VJEPAModel, _content
from vjepa_demo.schema import DemoError

KEY = FeatureKey("ab" * 32, ClipConfig(), weights="encoder@1", products="cpu torch.float32", pooling="mean")


CLIP_BYTES = 2 * 4 + 12 + ENTRY_BYTES


def features(value: float = 0.0) -> VideoFeatures:
    """Two float32 features and a frame of 2 x 2: in memory `CLIP_BYTES`."""
    return VideoFeatures(torch.full((2,), value), (0.0,), 1.0, (np.zeros((1, 2, 2, 3), np.uint8),))


def never() -> VideoFeatures:
    raise AssertionError("computed again")


def test_what_is_known_is_not_computed_again():
    cache = FeatureCache(2 * CLIP_BYTES)
    known = cache.get_or_compute(KEY, features)
    assert cache.get_or_compute(KEY, never) is known


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
def test_all_that_features_depend_on_is_in_the_key(change):
    cache = FeatureCache(8 * CLIP_BYTES)
    cache.get_or_compute(KEY, features)
    assert cache.get_or_compute(replace(KEY, **change), lambda: features(1.0)).pooled[0] == 1.0


def test_the_clip_that_was_not_used_for_longest_goes():
    cache = FeatureCache(2 * CLIP_BYTES)
    keys = [replace(KEY, content_sha256=name) for name in "abc"]
    cache.get_or_compute(keys[0], features)
    cache.get_or_compute(keys[1], features)
    cache.get_or_compute(keys[0], never)
    cache.get_or_compute(keys[2], features)
    cache.get_or_compute(keys[0], never)
    assert len(cache) == 2
    with pytest.raises(AssertionError, match="computed again"):
        cache.get_or_compute(keys[1], never)


def test_a_clip_larger_than_the_cache_is_still_remembered_until_the_next():
    cache = FeatureCache(0)
    cache.get_or_compute(KEY, features)
    cache.get_or_compute(KEY, never)
    cache.get_or_compute(replace(KEY, weights="other"), features)
    assert len(cache) == 1


def test_an_error_is_not_remembered():
    cache = FeatureCache(2 * CLIP_BYTES)
    with pytest.raises(AssertionError):
        cache.get_or_compute(KEY, never)
    assert len(cache) == 0
    assert cache.get_or_compute(KEY, features).duration_seconds == 1.0


def test_threads_that_ask_at_once_compute_once():
    cache, calls = FeatureCache(2 * CLIP_BYTES), []
    inside, go_on = threading.Event(), threading.Event()

    def compute() -> VideoFeatures:
        calls.append(1)
        inside.set()
        assert go_on.wait(10)
        return features()

    threads = [threading.Thread(target=cache.get_or_compute, args=(KEY, compute)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
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


class SlowStore:
    """Holds nothing, and takes until `go_on` to say so the first time."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def load(self, key: FeatureKey) -> None:
        self.asked.set()
        assert self.go_on.wait(10)

    def save(self, key: FeatureKey, tensors: object) -> bool:
        return False


def test_a_look_up_that_finds_nothing_takes_nothing_from_a_thread_that_waits_for_it():
    cache = FeatureCache(BIG, SlowStore())
    cache._lock = Told()
    look_up = threading.Thread(target=cache.get, args=(KEY,))
    waiting = threading.Thread(target=cache.get_or_compute, args=(KEY, features))
    look_up.start()
    assert cache._store.asked.wait(10)
    assert cache._lock.let_go.acquire(timeout=10)
    waiting.start()
    assert cache._lock.let_go.acquire(timeout=10)  # it has the same entry, and waits
    cache._store.go_on.set()
    for thread in (look_up, waiting):
        thread.join(10)
    cache.get_or_compute(KEY, never)
    assert len(cache) == 1


def test_a_look_up_does_not_look_at_all_that_is_known(monkeypatch):
    cache, asked = FeatureCache(BIG), []
    keys = [replace(KEY, content_sha256=str(index)) for index in range(500)]
    for key in keys:
        cache.get_or_compute(key, features)
    nbytes = VideoFeatures.nbytes.fget
    monkeypatch.setattr(VideoFeatures, "nbytes", property(lambda each: asked.append(each) or nbytes(each)))
    cache.get(keys[0])
    assert len(asked) <= 2


def test_content_is_the_files_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert content_sha256(tmp_path / "a") == content_sha256(tmp_path / "b") == expected


# ---- on disk ---------------------------------------------------------------------------------------------------------

KEYS = [replace(KEY, content_sha256=letter * 64) for letter in "abcdefgh"]
BIG = 2**30


def some(index: int = 0) -> dict[str, torch.Tensor]:
    """Tensors that differ from index to index; a file of `FILE_BYTES`."""
    return {"pooled": torch.arange(4.0) + index, "hidden": torch.full((2, 3), index + 0.5, dtype=torch.bfloat16)}


@pytest.fixture
def file_bytes(tmp_path) -> int:
    store = FeatureStore(tmp_path / "measure", budget_bytes=BIG)
    store.save(KEYS[0], some())
    return store.size().num_bytes


def equal(one: dict[str, torch.Tensor] | None, other: dict[str, torch.Tensor]) -> bool:
    assert one is not None
    return list(one) == list(other) and all(
        value.dtype == one[name].dtype and torch.equal(one[name], value) for name, value in other.items()
    )


def saved(folder: Path, count: int, budget_bytes: int = BIG) -> list[Path]:
    """The files of the first `count` keys, saved by a process that is gone; the first was used longest ago."""
    store, paths = FeatureStore(folder, budget_bytes=budget_bytes), []
    for index in range(count):
        assert store.save(KEYS[index], some(index))
        (path,) = set(folder.glob("*.features")) - set(paths)
        os.utime(path, ns=(index + 1, index + 1))
        paths.append(path)
    return paths


def kept(folder: Path) -> list[int]:
    """The indices of the keys that are there."""
    store = FeatureStore(folder, budget_bytes=BIG)
    return [index for index, key in enumerate(KEYS) if store.load(key) is not None]


def test_what_is_saved_is_loaded_by_the_next_process_to_the_bit(tmp_path):
    tensors = {**some(3), "times": torch.tensor([0.1, 0.2], dtype=torch.float64)}
    assert FeatureStore(tmp_path, budget_bytes=BIG).save(KEY, tensors)
    store = FeatureStore(tmp_path, budget_bytes=BIG)
    assert equal(store.load(KEY), tensors)
    assert store.load(replace(KEY, version=0)) is None
    assert store.size().num_files == 1
    assert store.size().num_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.features"))


def test_any_damaged_byte_makes_a_miss_that_is_replaced(tmp_path):
    (path,) = saved(tmp_path, 1)
    store, whole = FeatureStore(tmp_path, budget_bytes=BIG), path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        assert store.load(KEYS[0]) is None
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert store.load(KEYS[0]) is None
    assert store.save(KEYS[0], some())
    assert equal(store.load(KEYS[0]), some())


def test_a_file_of_something_else_is_a_miss(tmp_path):
    first, second = saved(tmp_path, 2)
    shutil.copy(first, second)
    assert kept(tmp_path) == [0]
    second.write_bytes(b"not ours at all" * 99)
    assert kept(tmp_path) == [0]
    second.unlink()
    second.mkdir()
    assert kept(tmp_path) == [0]


def test_past_the_budget_what_was_used_longest_ago_goes(tmp_path, file_bytes):
    saved(tmp_path, 4)
    FeatureStore(tmp_path, budget_bytes=BIG).load(KEYS[0])  # used now
    assert FeatureStore(tmp_path, budget_bytes=int(4.5 * file_bytes)).save(KEYS[4], some(4))
    assert kept(tmp_path) == [0, 2, 3, 4]


def test_what_this_process_used_long_ago_goes_too(tmp_path, file_bytes):
    store = FeatureStore(tmp_path, budget_bytes=int(4.5 * file_bytes))
    for index in range(8):
        assert store.save(KEYS[index], some(index))
        store.load(KEYS[0])  # used all the time
        for path in tmp_path.glob("*.features"):
            if path.stat().st_mtime > 1:  # now
                os.utime(path, ns=(index, index))
    assert kept(tmp_path) == [0, 5, 6, 7]


def test_what_is_held_stays_until_it_is_released_as_often(tmp_path, file_bytes):
    store = FeatureStore(tmp_path, budget_bytes=int(4.5 * file_bytes))
    store.hold(KEYS[:4])
    store.hold(KEYS[:2])  # another run
    for index in range(4):
        assert store.save(KEYS[index], some(index))
    assert not store.save(KEYS[4], some(4))
    assert kept(tmp_path) == [0, 1, 2, 3]
    store.release(KEYS[:4])
    for index in (4, 5, 6, 7):
        assert store.save(KEYS[index], some(index))
    assert {0, 1} <= set(kept(tmp_path))
    assert not {2, 3} & set(kept(tmp_path))
    store.release(KEYS[:2])
    for index in (2, 3, 4, 5):
        assert store.save(KEYS[index], some(index))
    assert not {0, 1} & set(kept(tmp_path))
    assert list(tmp_path.glob("*.partial")) == []


def test_only_the_user_can_read_the_files(tmp_path):
    (path,) = saved(tmp_path, 1)
    assert path.stat().st_mode & 0o077 == 0


def test_nothing_is_deleted_for_what_does_not_fit_all_the_same(tmp_path, file_bytes):
    saved(tmp_path, 3)
    store = FeatureStore(tmp_path, budget_bytes=int(3.5 * file_bytes))
    store.hold(KEYS[:2])
    assert not store.save(KEYS[3], {name: torch.cat([value] * 20) for name, value in some(3).items()})
    assert kept(tmp_path) == [0, 1, 2]


def test_a_budget_too_small_for_one_file_keeps_none_and_deletes_none(tmp_path, file_bytes):
    saved(tmp_path, 1)
    assert not FeatureStore(tmp_path, budget_bytes=file_bytes - 1).save(KEYS[1], some(1))
    assert kept(tmp_path) == [0]


def test_a_reader_whose_file_was_deleted_by_another_process_gets_a_miss(tmp_path, file_bytes):
    reader, writer = (FeatureStore(tmp_path, budget_bytes=int(1.5 * file_bytes)) for _ in range(2))
    assert reader.save(KEYS[0], some(0))
    assert writer.save(KEYS[1], some(1))
    assert reader.load(KEYS[0]) is None
    assert reader.save(KEYS[0], some(0))
    assert kept(tmp_path) == [0]


def test_a_total_that_is_wrong_is_counted_anew(tmp_path, file_bytes):
    paths = saved(tmp_path, 3, budget_bytes=int(3.5 * file_bytes))
    paths[0].unlink()  # by hand
    (tmp_path / ".total").write_text("")
    assert FeatureStore(tmp_path, budget_bytes=int(3.5 * file_bytes)).save(KEYS[3], some(3))
    assert kept(tmp_path) == [1, 2, 3]


def test_partial_files_of_killed_processes_go_and_those_being_written_stay(tmp_path):
    old, new = tmp_path / "old.partial", tmp_path / "new.partial"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    FeatureStore(tmp_path, budget_bytes=BIG)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("a file, no folder")
    store = FeatureStore(tmp_path / "file" / "cache", budget_bytes=BIG)
    assert not store.save(KEY, some())
    assert not store.save(KEY, some())
    assert store.load(KEY) is None
    assert store.size().num_files == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "are not kept on disk" in caplog.text
    assert FeatureCache(BIG, store).get_or_compute(KEY, features).pooled[0] == 0


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
    store = FeatureStore(tmp_path, budget_bytes=BIG)
    with full_disk():
        results = [store.save(KEYS[index], some(index)) for index in range(2)]
    assert results == [False, False]
    assert len(caplog.records) == 1
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    assert store.save(KEY, some())  # there is room again


WORKER = """
import random, sys
from dataclasses import replace
import torch
from vjepa_demo.model.features import ClipConfig, FeatureKey, FeatureStore

folder, budget, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
keys = [FeatureKey(letter * 64, ClipConfig(), "encoder@1", "cpu torch.float32", "mean") for letter in "abcdefgh"]
store, draw, saves = FeatureStore(folder, budget_bytes=budget), random.Random(seed), 0
print("ready", flush=True)
for _ in range(100 if seed else 10**9):
    index = draw.randrange(len(keys))
    expected = {
        "pooled": torch.arange(4.0) + index, "hidden": torch.full((2, 3), index + 0.5, dtype=torch.bfloat16)
    }
    found = store.load(keys[index])
    if found is None:
        assert store.save(keys[index], expected)
        saves += 1
    else:
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
print(saves)
"""


def start_worker(folder: Path, budget_bytes: int, seed: int) -> subprocess.Popen[str]:
    """A process that loads, saves and evicts what `saved` saves, at random; with seed 0 for ever."""
    command = [sys.executable, "-c", WORKER, str(folder), str(budget_bytes), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def test_processes_that_load_save_and_evict_at_once_spoil_nothing(tmp_path, file_bytes):
    budget = int(3.5 * file_bytes)
    workers = [start_worker(tmp_path, budget, seed) for seed in (0, 1, 2)]
    killed, *others = workers
    assert killed.stdout.readline() == "ready\n"
    outputs = [worker.communicate(timeout=120)[0] for worker in others]
    killed.kill()
    killed.communicate()
    assert [worker.returncode for worker in others] == [0, 0]
    assert all(int(output.split()[-1]) > len(KEYS) for output in outputs)  # much was evicted and computed again
    store = FeatureStore(tmp_path, budget_bytes=budget)
    assert store.size().num_bytes <= budget
    assert len(kept(tmp_path)) == store.size().num_files >= 1  # whole, and with the key that this process has
    assert store.save(KEYS[0], some())  # the killed one holds no lock
    assert len(list(tmp_path.glob("*.partial"))) <= 1  # the killed one's


def test_memory_asks_the_disk_and_the_disk_holds_no_pictures(tmp_path):
    store = FeatureStore(tmp_path, budget_bytes=BIG)
    first = FeatureCache(BIG, store).get_or_compute(KEY, features)
    assert first.frames is not None
    cache = FeatureCache(BIG, FeatureStore(tmp_path, budget_bytes=BIG))
    second = cache.get(KEY)
    assert second.frames is None
    assert (second.pooled.tolist(), second.frame_seconds, second.duration_seconds) == ([0.0, 0.0], (0.0,), 1.0)
    assert set(store.load(KEY)) == {"pooled", "frame_seconds", "duration_seconds"}
    seen = cache.get_or_compute(KEY, never, decode=lambda: first.frames)
    assert seen.frames is first.frames
    assert cache.get_or_compute(KEY, never, decode=never) is seen  # decoded once
    assert cache.get(replace(KEY, version=0)) is None
    assert len(cache) == 1


def test_the_setting_says_where_and_how_much(tmp_path, monkeypatch):
    assert feature_store() is feature_store()
    assert feature_store().folder == FEATURES
    monkeypatch.setenv("VJEPA_DEMO_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("VJEPA_DEMO_CACHE_GB", "0.5")
    store = feature_store()
    assert (store.folder, store.budget_bytes) == (tmp_path / "here", 500_000_000)
    store.save(KEY, some())
    assert "here`, 1 file, " in about_store(store)
    assert "of at most 500 MB" in about_store(store)
    assert str(store.clear()).startswith("1 file,")
    assert store.size().num_files == 0
    monkeypatch.setenv("VJEPA_DEMO_CACHE_GB", "0")
    assert feature_store() is None
    assert "turned off" in about_store(None)
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("VJEPA_DEMO_CACHE_GB", wrong)
        with pytest.raises(DemoError, match=f"'{wrong}' is no number of gigabytes"):
            feature_store()


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


def test_a_model_on_the_hub_is_known_by_its_commit(checkpoint_folder):
    model = load_checkpoint(read_checkpoint(checkpoint_folder), device="cpu")
    config = ModelConfig("owner/encoder", video_encoder_revision="ab" * 20)
    assert _content(config, model.venc, None) == f"owner/encoder@{'ab' * 20}"
    moving = replace(config, video_encoder_revision="main")
    assert _content(moving, model.venc, None).startswith("sha256:")
