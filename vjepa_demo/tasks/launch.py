"""This process among those that `accelerate launch` or `torchrun` started together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from vjepa_demo.model.vjepa import default_device
from vjepa_demo.schema import DemoError

T = TypeVar("T")


def training_device() -> str:
    """Where this process trains: its own GPU under `accelerate launch`, a GPU where there is one, else the CPU."""
    return str(_processes().device)


def is_main_process() -> bool:
    """Whether this process speaks for all of an `accelerate launch`."""
    return _processes().is_main_process


def num_processes() -> int:
    """How many processes an `accelerate launch` has; 1 without one."""
    return _processes().num_processes


def process_index() -> int:
    """Which of the `num_processes` this is; 0 speaks for all."""
    return _processes().process_index


def _processes() -> PartialState:
    """This process among those that were launched together; accelerate has to be told where they have no GPU."""
    return PartialState(cpu=default_device() == "cpu")


def from_main_process(make: Callable[[], T]) -> T:
    """What `make` returns in the main process, or the DemoError it raises there; the other processes do not call it."""
    if num_processes() == 1:
        return make()
    answer: list[T | DemoError | None] = [None]
    if is_main_process():
        try:
            answer = [make()]
        except DemoError as error:
            answer = [error]
    made = broadcast_object_list(answer)[0]
    if isinstance(made, DemoError):
        raise made
    return made
