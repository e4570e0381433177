"""What waits for what: Gradio's queues of the page and of programs, and the turns that both take on the machine.

Batches have queues of their own, so that a single score never waits behind one. Of up to 16 batches of visitors and 4
of programs, one row each is scored in turn, and none waits for the end of another's thousand rows; the next batch waits
until one has ended. Only one scores a row at a time: two at once would be no faster, and would take the machine from
those who score a single clip.

Programs have queues of their own because they also fetch, a minute a file: no visitor waits for that. With the page's
scoring and training these limits make 29, of the 40 threads that Gradio has for all.
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
    """A lock that is given to those who wait for it in the order in which they came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()  # the first has its turn

    @contextmanager
    def turn(self) -> Iterator[None]:
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
_turns = Turns()
_running: set[int] = set()  # ids of the runs that take turns


def others_run() -> bool:
    """Whether a run that begins now has to share the machine with others."""
    return bool(_running)


def in_turn(reports: Iterator[Report]) -> Generator[Report, None, None]:
    """`reports`, each made when it is this run's turn; closing it closes `reports`."""
    _running.add(id(reports))
    try:
        while True:
            with _turns.turn():
                report = next(reports, None)
            if report is None:
                return
            yield report
    finally:
        _running.discard(id(reports))
        if isinstance(reports, Generator):
            reports.close()
