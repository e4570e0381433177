"""The feature cache that all processes share: where it is, how much it holds, and how to empty it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vjepa_demo.config import feature_cache_bytes, feature_cache_folder
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.schema import RecordError


@dataclass(frozen=True)
class CacheSize:
    """What the feature cache in `folder` holds, and how many bytes it may hold; 0 where it is turned off, or where
    there is no folder for it."""

    folder: Path | None
    num_files: int
    num_bytes: int
    budget_bytes: int


def cache_size(*, clear: bool = False) -> CacheSize:
    """What the feature cache holds; with `clear` that is deleted. No folder is made where there is no cache.

    Raises:
        RecordError: if the environment's size limit is not a number of gigabytes.
        DemoError: if the cache cannot be emptied.
    """
    try:
        folder, budget_bytes = feature_cache_folder(), feature_cache_bytes()
    except ValueError as error:
        raise RecordError(str(error)) from error
    cache = FeatureCache(folder, memory_bytes=0, disk_bytes=budget_bytes)
    num_files, num_bytes = cache.size()
    if clear and num_files:
        num_files, num_bytes = cache.clear()
    return CacheSize(folder, num_files, num_bytes, budget_bytes)
