from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from vjepa_demo.config import ClipConfig
from vjepa_demo.features import FeatureCache, FeatureKey, VideoFeatures, content_sha256

KEY = FeatureKey("ab" * 32, ClipConfig(), weights="encoder@1", products="cpu torch.float32", pooling="mean")


CLIP_BYTES = 2 * 4 + 12


def features(value: float = 0.0) -> VideoFeatures:
    """Two float32 features and a frame of 2 x 2: `CLIP_BYTES`."""
    return VideoFeatures(torch.full((2,), value), (0.0,), 1.0, np.zeros((1, 2, 2, 3), np.uint8))


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


def test_content_is_the_files_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert content_sha256(tmp_path / "a") == content_sha256(tmp_path / "b") == expected
