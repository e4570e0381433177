"""Decoding in a process of its own: what a file does to FFmpeg, torchcodec or Pillow ends with that process.

A program that imports the decoders once, the zygote (see `zygote`), forks a child for each file. It is a new
interpreter, never a fork of this process, which has threads; it gets no secret of the environment. A child has limits
of time, memory and disk, which the FFmpeg programs that it starts inherit. What it answers is read as JSON and plain
bytes, of sizes that are known before: it may be in the hands of whoever made the file.

This is for Linux. Elsewhere `is_available` is False and files are decoded in this very process: Windows cannot fork,
and macOS lets no fork use its frameworks.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_demo.config import (
    DECODE_BYTES,
    LIMIT_VARIABLES,
    PROJECT_ROOT,
    SPACE_VARIABLE,
    decode_bytes,
    decode_seconds,
    limits,
)
from vjepa_demo.schema import DemoError, PassingVideoError, StoppedError, VideoError

logger = logging.getLogger(__name__)

MIN_PLACES = 2  # a preview does not wait for a long film
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container
START_SECONDS = 120.0  # that the zygote may take to import the decoders and to fork
END_SECONDS = 5.0  # that the zygote may take to tell how a child ended
STOP_SECONDS = 0.2  # that it may take to end
POLL_SECONDS = 0.1  # between two looks at the clock and at `should_stop`
SEND_BYTES = 4 * 2**20  # that a child sends ahead, if the system lets it: 64 frames of 384 pixels are 28 MB
MAX_ANSWER_BYTES = 2**20  # of the line before the bytes
MAX_MESSAGE = 2000  # letters of an error or a note
# What the zygote gets of the environment: how to find and run programs and libraries, never a token.
KEPT_NAMES = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "CONDA_PREFIX"),
)
KEPT_PREFIXES = ("LC_", "OMP_", "GOMP_", "KMP_", "MKL_")
ADDED = {
    "OMP_WAIT_POLICY": "PASSIVE",
    # A new process meets each page of its memory for the first time, and a page fault costs some microseconds. glibc's
    # malloc takes memory from the system in large steps and keeps it, in pages of 2 MiB where it can: 2,500 faults a
    # clip of 28 MB instead of 5,900. With an arena a thread, the threads of FFmpeg would reserve 64 MiB each, which
    # count against the limit of memory.
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}={value}"
        for name, value in {
            "arena_max": 1,
            "hugetlb": 1,
            "mmap_threshold": 32 * 2**20,  # the largest that it takes
            "top_pad": 8 * 2**20,
            "trim_threshold": 2**30,
        }.items()
    ),
    "OPENBLAS_NUM_THREADS": "1",  # else numpy starts threads, which a fork does not copy
    "PYTHONSAFEPATH": "1",  # nothing is imported from the working folder
    "CUDA_VISIBLE_DEVICES": "",
}


class _GoneError(Exception):
    """The zygote died, or never started."""


def is_available() -> bool:
    """Whether this system can decode in a process of its own."""
    return sys.platform == "linux"


def prepare() -> None:
    """Start importing the decoders in the other process, so that the first file does not wait for them.

    Returns at once. Nobody has to call it.
    """
    if is_available():
        with suppress(OSError):  # the first file will say
            _zygote.start()


def run(
    work: str,
    path: Path,
    folder: Path,
    *,
    into: Sequence[memoryview] = (),
    should_stop: Callable[[], bool] = lambda: False,
    **request: Any,
) -> dict[str, Any]:
    """The answer of a child to one of `zygote.WORK` on the file `path`, which is absolute.

    The child keeps temporary files in `folder`, which the caller deletes; when this returns or raises, the child
    writes no more. The bytes that follow its answer fill `into`. `request` are values of JSON.

    Raises:
        VideoError: what the child says of the file, or that it crashed, or took too much time or memory.
        StoppedError: once `should_stop` said yes.
        OSError: if the system refuses what the child, or a new process, needs.
    """
    try:
        seconds, memory = decode_seconds(), decode_bytes()
        limits()  # which the child reads again
    except ValueError as error:
        raise DemoError(str(error)) from error
    settings = {name: os.environ[name] for name in (*LIMIT_VARIABLES, SPACE_VARIABLE) if name in os.environ}
    given = {"seconds": seconds, "bytes": memory, "settings": settings}
    line = json.dumps({"work": work, "path": str(path), "folder": str(folder), **given, **request}).encode() + b"\n"
    for _ in range(2):
        try:
            with _place(should_stop), _zygote.child() as child:
                return child.ask(line, into, _Limits(path.name, seconds, memory), should_stop)
        except _GoneError as error:
            logger.warning("the process that decodes videos died; it is started again (%s)", error)
            reason = error
    raise PassingVideoError(
        f"{path.name} cannot be decoded: the process that decodes videos died twice ({reason}); try again"
    ) from reason


@contextmanager
def _place(should_stop: Callable[[], bool]) -> Iterator[None]:
    """One of the places for files that are decoded at the same time: what a file may take of the memory, each of them
    may take.

    Raises:
        StoppedError: once `should_stop` said yes.
    """
    while not _places.acquire(timeout=POLL_SECONDS):
        _check(should_stop)
    try:
        yield
    finally:
        _places.release()


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise StoppedError("stopped: this clip was not decoded")


def num_places() -> int:
    """How many files are decoded at the same time: one a core, as far as the memory holds what each may take."""
    each = DECODE_BYTES
    with suppress(ValueError):  # a wrong setting is told by `run`
        each = decode_bytes() or each
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no container, or one without a limit
        memory = min(memory, int(MEMORY_LIMIT.read_text(encoding="ascii")))
    return max(MIN_PLACES, min(os.cpu_count() or 1, memory // each))


@dataclass(frozen=True)
class _Limits:
    """Of the decoding of the file called `name`."""

    name: str
    seconds: float
    memory: int

    def too_slow(self) -> VideoError:
        return PassingVideoError(
            f"{self.name} takes longer than {self.seconds:g} s to decode: make it shorter or smaller, or convert it "
            "to an ordinary MP4 (H.264)"
        )

    def too_large(self) -> VideoError:
        return VideoError(
            f"{self.name} takes more than {self.memory / 10**9:.3g} GB of memory to decode: scale it down first"
        )

    def killed(self) -> VideoError:
        return PassingVideoError(
            f"{self.name} was not decoded: the system ended the decoder, as it does where memory runs out: try again, "
            "or scale the video down first"
        )

    def crashed(self) -> VideoError:
        return VideoError(
            f"{self.name} cannot be read as a video: the decoder crashed on it; it is damaged: export it again"
        )


class _Child:
    """A process that decodes one file. It says its id, takes a request, and answers.

    The answer is a line of JSON: of what its work returns, or `error` (of the file), `memory` (too little), `system`
    (an OSError) or `fault` (a traceback). The bytes of arrays follow.
    """

    def __init__(self, talk: socket.socket, line: socket.socket) -> None:
        self._talk, self._line = talk, line
        self._id, self._is_done = 0, False

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        # The zygote kills the child, if it has not ended, and tells when it has. One that has answered does no more.
        self._talk.close()
        with self._line, suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
            if not self._is_done:
                self._line.settimeout(END_SECONDS)
                self._line.recv(64)

    def ask(
        self, request: bytes, into: Sequence[memoryview], limits: _Limits, should_stop: Callable[[], bool]
    ) -> dict[str, Any]:
        try:
            self._id = int(self._read_line(time.monotonic() + START_SECONDS, should_stop))  # no file was read yet
        except TimeoutError:
            raise _GoneError(f"it did not start within {START_SECONDS:g} s") from None
        except (EOFError, ConnectionError):
            self._explain()
            raise _GoneError("it ended before it began") from None
        try:
            until = time.monotonic() + limits.seconds
            self._talk.sendall(request)
            answer = self._understood(self._read_line(until, should_stop), limits)
            for view in into:
                self._fill(view, until, should_stop)
            self._is_done = True
            return answer
        except TimeoutError:
            raise limits.too_slow() from None
        except (EOFError, ConnectionError):
            how = self._explain()
            logger.warning("decoding %s ended with %s", limits.name, how)
            if how == -signal.SIGXCPU:
                raise limits.too_slow() from None
            if how == -signal.SIGKILL:  # nobody here did that: where memory runs out, the system does
                raise limits.killed() from None
            raise limits.crashed() from None

    def _understood(self, line: bytes, limits: _Limits) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise limits.crashed() from error
        match answer:
            case {"memory": True}:
                raise limits.too_large()
            case {"error": str(text), "errno": None}:
                raise VideoError(text[:MAX_MESSAGE])
            case {"error": str(text), "errno": int(number)}:
                raise VideoError(text[:MAX_MESSAGE]) from OSError(number, os.strerror(number))
            case {"system": [int(number), _, str(name) | (None as name)]}:
                raise OSError(number, os.strerror(number), name)
            case {"fault": str(trace)}:
                logger.error("decoding %s failed: %s", limits.name, trace)
                raise limits.crashed()
            case {"system": _}:  # an error without a number is none of the system's
                raise limits.crashed()
            case dict():
                return answer
        raise limits.crashed()

    def _explain(self) -> int:
        """The exit code of the child, negative where a signal ended it.

        Raises:
            OSError: if the system refused to make the process.
            _GoneError: if the zygote has died and cannot tell.
        """
        self._line.settimeout(END_SECONDS)
        try:
            kind, _, number = self._line.recv(64).partition(b" ")
        except OSError:
            kind = b""
        if kind == b"refused":
            raise OSError(int(number), os.strerror(int(number)))
        if kind != b"ended":
            if self._id:
                with suppress(ProcessLookupError):  # what the child had started
                    os.killpg(self._id, signal.SIGKILL)
            raise _GoneError("it does not answer")
        return int(number)

    def _read_line(self, until: float, should_stop: Callable[[], bool]) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            # A byte more than the line would belong to the arrays: they are looked at, then taken.
            seen = self._wait(lambda: self._talk.recv(MAX_ANSWER_BYTES, socket.MSG_PEEK), until, should_stop)
            end = seen.find(b"\n") + 1 or len(seen)
            line += self._talk.recv(end)
            if len(line) > MAX_ANSWER_BYTES:
                raise EOFError
        return bytes(line)

    def _fill(self, view: memoryview, until: float, should_stop: Callable[[], bool]) -> None:
        place = 0
        while place < len(view):
            place += self._wait(lambda: self._talk.recv_into(view[place:]), until, should_stop)  # noqa: B023 - at once

    def _wait(self, receive: Callable[[], Any], until: float, should_stop: Callable[[], bool]) -> Any:
        """What `receive` gives, as soon as there is anything.

        Raises:
            EOFError: if the child has closed its end.
            TimeoutError: if the time is up.
            StoppedError: once `should_stop` said yes.
        """
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            _check(should_stop)
            self._talk.settimeout(min(left, POLL_SECONDS))
            try:
                received = receive()
            except TimeoutError:
                continue
            if not received:
                raise EOFError
            return received


class _Zygote:
    """The zygote of this process: started when it is needed, and again when it has died. Safe for threads."""

    def __init__(self) -> None:
        self.forget()
        if is_available():
            atexit.register(self.stop)
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Have none, as a fork of this process: the one that is there belongs to the parent."""
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control = socket.socket()

    def start(self) -> None:
        """Start it, if it does not run."""
        with self._lock:
            self._running()

    def child(self) -> _Child:
        """A new child of it.

        Raises:
            _GoneError: if it has ended.
            OSError: if the system has no more sockets.
        """
        talk, line = socket.socketpair(), socket.socketpair()
        talk[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        with talk[1], line[1]:
            try:
                with self._lock:
                    socket.send_fds(self._running(), [b"."], [talk[1].fileno(), line[1].fileno()])
            except OSError as error:
                talk[0].close()
                line[0].close()
                if isinstance(error, ConnectionError):
                    raise _GoneError("it has ended") from error
                raise
        return _Child(talk[0], line[0])

    def stop(self) -> None:
        """End it with all of its children."""
        if self._process is not None:
            self._control.close()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:  # it is importing yet, and has no children
                self._process.kill()

    def _running(self) -> socket.socket:
        """The socket on which it takes requests."""
        if self._process is not None and self._process.poll() is None:
            return self._control
        self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vjepa_demo.media.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # What it says of itself, such as a traceback of its start, belongs to this process's log. Its children
                # say nothing there.
                stderr=None,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us alone
            )
        return self._control


def _environment() -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in KEPT_NAMES or name.startswith(KEPT_PREFIXES)}
    path = os.pathsep.join(filter(None, (str(PROJECT_ROOT), kept.get("PYTHONPATH"))))
    return {**kept, **ADDED, "PYTHONPATH": path}


_zygote = _Zygote()
_places = threading.BoundedSemaphore(num_places() if is_available() else 1)
