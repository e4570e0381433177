"""What waits for what: Gradio's queues of the page and of programs, and the turns that both take on the machine.

Batches have queues of their own, so that a single score never waits for a batch. Up to 16 batches of visitors and 4
of programs run at once: they score one row each in turn, so that none waits for the thousand rows of another. The next
waits until one has ended. Only one row is scored at a time: two at once would be no faster, and would slow down people
who score a single clip.

Programs have queues of their own because their calls also fetch files, which takes up to a minute a file: no visitor
waits for that. With the page's scoring, training and studies these limits add up to 35 of the 40 threads that Gradio
has; the answers of raters, which take milliseconds, share the others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

BATCHING: dict[str, Any] = {"concurrency_limit": 16, "concurrency_id": "batch"}
PROGRAMS: dict[str, Any] = {"concurrency_limit": 4, "concurrency_id": "programs"}
PROGRAMS_BATCHING: dict[str, Any] = {"concurrency_limit": 4, "concurrency_id": "programs-batch"}
PROGRAMS_TRAINING: dict[str, Any] = {"concurrency_limit": 2, "concurrency_id": "programs-training"}  # one may fetch

Report = TypeVar("Report")


class Turns:
    """A lock that waiting threads get in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()  # the first has its turn

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around what needs the lock; waits for those who came before."""
        mine = threading.Event()
        with self._lock:
            self._line.append(mine)
            self._line[0].set()
        mine.wait()
        try:
            yield
        finally:
            with self._lock:
                self._line.popleft()
                if self._line:
                    self._line[0].set()


TRAININGS = Turns()  # one model learns at a time, a visitor's or a program's
_rows = Turns()  # one row is scored at a time
_running: set[Iterator[Any]] = set()  # the runs that take turns


def others_run() -> bool:
    """Whether a run that begins now has to share the machine with others."""
    return bool(_running)


def in_turn(reports: Iterator[Report]) -> Generator[Report, None, None]:
    """`reports`, each of which is made when it is the turn of this run. Closing the generator closes `reports`."""
    _running.add(reports)
    try:
        while True:
            with _rows.turn():
                report = next(reports, None)
            if report is None:
                return
            yield report
    finally:
        _running.discard(reports)
        if isinstance(reports, Generator):
            reports.close()
