"""What several benchmarks need: targets in words, and the peak memory of processes."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import psutil


def at_most(value: float, limit: float) -> str:
    """Whether `value` is at most `limit`, else by how much it is above it: a cell of a table."""
    return f"at most {limit:g}: {'met' if value <= limit else f'missed by {100 * (value / limit - 1):.0f} %'}"


def at_least(value: float, limit: float) -> str:
    """Whether `value` is at least `limit`, else by how much it is below it: a cell of a table."""
    return f"at least {limit:g}: {'met' if value >= limit else f'missed by {100 * (1 - value / limit):.0f} %'}"


def peak_bytes(pid: int) -> int:
    """The most memory (RSS) that the process `pid`, or one that it started and that still runs, has held so far.

    It is read from Linux's VmHWM. `ru_maxrss` would not do: it begins with what the parent held.
    """
    peaks = [0]
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(OSError):  # it ended meanwhile
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{each.pid}/status").read_text(encoding="utf-8"))
                peaks += [int(found[1]) * 1024] if found else []
    return max(peaks)
