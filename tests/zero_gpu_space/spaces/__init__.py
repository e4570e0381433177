"""A stand-in for the package `spaces` on a ZeroGPU Space: what a test can see of its rules, without a GPU.

A decorated function runs in a forked process, which is used again while it lives. Arguments and results are pickled;
what the function changes in memory stays there. A process that has not answered after the declared seconds is killed.
Of an exception only the class's name comes back.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any


class Error(Exception):
    """As gr.Error: its title tells what kind it is."""

    def __init__(self, message: str, title: str) -> None:
        super().__init__(message)
        self.message, self.title = message, title


declared: list[int] = []  # seconds, one a call
sent: list[int] = []  # bytes of the pickled arguments
refusals: list[Error] = []  # of the next calls
second = 60.0  # how long a declared second really is: machines that run tests are busy
_workers: dict[Callable[..., Any], Any] = {}


def GPU(task: Any = None, *, duration: Any = None) -> Any:
    if task is None:
        return partial(GPU, duration=duration)

    def call(*arguments: Any) -> Any:
        seconds = duration(*arguments) if callable(duration) else duration
        assert isinstance(seconds, int)
        declared.append(seconds)
        if refusals:
            raise refusals.pop(0)
        process, pipe = _workers.get(task) or _start(task)
        sent.append(len(given := pickle.dumps(arguments)))
        pipe.send_bytes(given)
        answered = pipe.poll(seconds * second)
        if not answered or not process.is_alive():
            end()
            raise Error("GPU task aborted", "ZeroGPU worker error")
        is_right, answer = pickle.loads(pipe.recv_bytes())
        if not is_right:
            end()
            raise Error(answer, "ZeroGPU worker error")
        return answer

    return call


def _start(task: Callable[..., Any]) -> Any:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(task, there), daemon=True)
    process.start()
    _workers[task] = process, here
    return process, here


def _serve(task: Callable[..., Any], pipe: Any) -> None:
    while True:
        try:
            answer = True, task(*pickle.loads(pipe.recv_bytes()))
        except Exception as error:
            answer = False, type(error).__name__
        pipe.send_bytes(pickle.dumps(answer))


def end() -> None:
    """Kill all processes, as a GPU that others need."""
    while _workers:
        process, pipe = _workers.popitem()[1]
        process.kill()
        process.join()
        pipe.close()
