"""This process among those that `accelerate launch` or `torchrun` started together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from vjepa_demo.model.vjepa import default_device
from vjepa_demo.schema import DemoError, ModelError

T = TypeVar("T")
CPU_IS_FULL = "DefaultCPUAllocator: can't allocate memory"  # torch has no exception of its own for it


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


@contextmanager
def enough_memory(name: str, advice: str | None = None) -> Iterator[None]:
    """Around what computes with the model `name`: too little memory becomes an error with `advice`, by default to use a
    smaller model, and the process goes on.

    Raises:
        ModelError: if the memory of the GPU, or of this machine, is too small for what runs in the block.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if type(error) is RuntimeError and CPU_IS_FULL not in str(error):
            raise
        error.__traceback__ = None  # its frames hold the tensors that did not fit
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if advice is None:
            advice = "use a smaller model" if name == "demo" else "use a smaller model, such as demo"
        raise ModelError(
            f"the memory is too small for {name}, or in use by other programs: free some, or {advice}"
        ) from error
