"""Random numbers of torch that repeat beside other threads.

Torch has one generator a device for the whole process, and dropout and the initialisation of weights take no other.
So whoever draws from it holds a lock; whoever needs the same numbers again also seeds it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vjepa_demo.config import on_zero_gpu

drawing = threading.RLock()  # held while torch's own generators are drawn from


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Draw in the block what `numbers` alone decide; afterwards the generators are as they were before."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    # On a ZeroGPU Space this process only seems to have a GPU: its generator cannot be read.
    has_gpu = torch.cuda.is_available() and not on_zero_gpu()
    devices = [torch.cuda.current_device()] if has_gpu else []
    with drawing, torch.random.fork_rng(devices):
        torch.manual_seed(int.from_bytes(digest[:8]) >> 1)
        yield
