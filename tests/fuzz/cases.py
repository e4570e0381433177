"""Runs what a stranger could bring, with limits of time and memory, and holds what each case promises."""

from __future__ import annotations

import faulthandler
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vjepa_demo.schema import DemoError

# Of a case: the time is that of the processor, as others may use it too; the memory what is beside what is loaded.
MAX_SECONDS, MAX_BYTES = 30, 2 * 2**30
HANGING_SECONDS = 600  # on the clock: this process is ended there, with a traceback of where it is
MAX_SAID = 700  # characters of an error
RESULT = "result "  # how an answer begins that is no error
Case = tuple[str, Callable[[], str]]  # what was done to a file, and what reads it


def answers(cases: Iterable[Case], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each case answers: RESULT and a text, or the kind of an error and what it says.

    Fails for a case that raises anything but a DemoError, says what nobody understands or should read, answers
    differently a second time, or leaves a file in the temporary folder. `folder` is where the cases' own files are.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    found, wrong = {}, []
    with _limited():
        for name, act in cases:
            begin = time.process_time()
            first = _answer(act)
            seconds = time.process_time() - begin
            second = _answer(act)
            found[name] = first
            left = [path.name for path in temporary.iterdir()]
            if problem := _problem(first, second, seconds, left, folder):
                wrong.append(f"{name}: {problem}")
                for path in left:
                    shutil.rmtree(temporary / path, ignore_errors=True)
                    (temporary / path).unlink(missing_ok=True)
    assert not wrong, f"{len(wrong)} of {len(found)} cases:\n" + "\n".join(wrong)
    return found


def summary(what: str, found: dict[str, str]) -> str:
    """One line of counts, as docs/reliability.md quotes it."""
    results = sum(answer.startswith(RESULT) for answer in found.values())
    kinds = Counter(answer.partition(":")[0] for answer in found.values() if not answer.startswith(RESULT))
    errors = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{len(found)} damaged {what}: {results} results, {kinds.total()} refusals ({errors})"


def _answer(act: Callable[[], str]) -> str:
    faulthandler.dump_traceback_later(HANGING_SECONDS, exit=True, file=sys.__stderr__)
    try:
        return RESULT + act()
    except DemoError as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:  # Rust's panics are no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"CRASH {type(error).__name__}: {str(error)[:200]} at {last.filename}:{last.lineno}"
    finally:
        faulthandler.cancel_dump_traceback_later()


def _problem(first: str, second: str, seconds: float, left: list[str], folder: Path) -> str:
    if first.startswith("CRASH"):
        return first
    if seconds > MAX_SECONDS:
        return f"took {seconds:.0f} s"
    if first != second:
        return f"two answers: {first} / {second}"
    if left:
        return f"left {left}"
    if not first.startswith(RESULT):
        if "\n" in first or "Traceback" in first or len(first) > MAX_SAID:
            return f"not one clear sentence: {first[:1000]}"
        if str(folder) in first or str(folder.parent) in first:
            return f"names a folder: {first}"
    return ""


@contextmanager
def _limited() -> Iterator[None]:
    """At most MAX_BYTES more memory than now (Linux)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
