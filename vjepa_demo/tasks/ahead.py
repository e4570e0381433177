"""Work that threads do ahead of its turn: decoding and reading, while the model computes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

from vjepa_demo.tasks.launch import num_processes

T = TypeVar("T")
R = TypeVar("R")

CORES_OF_THREAD = 4  # for each thread that decodes; FFmpeg has two of its own
MAX_DECODING_THREADS = 8
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # a container's microseconds of processor time, and in how many


def decoding_threads() -> int:
    """How many threads decode clips ahead of the encoder: one on a laptop, four on the 16 cores beside a large GPU,
    which encodes a clip faster than one thread decodes it."""
    cores: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no container, or one without a limit
        allowed, period = map(int, CGROUP_LIMIT.read_text().split())
        cores = min(cores, allowed / period)
    return max(1, min(MAX_DECODING_THREADS, int(cores / num_processes() / CORES_OF_THREAD)))


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int = 1, depth: int | None = None
) -> Generator[tuple[T, Future[R]], None, None]:
    """Each of `items`, in order, with the future of `work(item)`.

    While the caller has one of them, `threads` work on the next `depth` items, by default one more than there are
    threads. Closing the generator waits for what is being worked on, no more.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                # Within the caller's context: a call of a shared GPU is counted for the visitor whom it names.
                waiting.append((item, pool.submit(copy_context().run, work, item)))
                if len(waiting) > (threads + 1 if depth is None else depth):
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()
