"""Work that threads do ahead of its turn: decoding and reading, while the model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    work: Callable[[T], R], items: Iterable[T], *, threads: int = 1, depth: int | None = None
) -> Generator[tuple[T, Future[R]], None, None]:
    """Each of `items`, in order, with the future of `work(item)`; the next `depth` items (by default one more than
    there are `threads`) are worked on or wait for it meanwhile.

    Closing the generator waits for what is being worked on, no more.
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > (threads + 1 if depth is None else depth):
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()
