"""The program whose copies decode what strangers bring: `python -m vjepa_demo.media.zygote SOCKET`.

It is started by `sandbox` and imports what decoding needs once. For each request it forks a child, which decodes one
file and ends. So no file meets the heap that another one corrupted, and none waits for an import. The program itself
reads no file and runs no thread: a fork copies only the thread that forks.

On SOCKET it is sent two more sockets a request. On the first the child and the caller talk (see `_Child`). On the
second, the line, the program tells how the child ended; if the caller closes the line, the child is killed. If SOCKET
closes, the caller has died: all children are killed, and the program ends.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import json
import os
import re
import resource
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import torch

from vjepa_demo.config import ClipConfig, View
from vjepa_demo.media.preview import render_preview
from vjepa_demo.media.shown import MAX_COPY_BYTES, NO_MEMORY, ability_names
from vjepa_demo.media.video import decode_clip
from vjepa_demo.schema import VideoError

SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
SPARE_COPY_BYTES = 64 * 2**20  # FFmpeg ends a copy by itself, a little after MAX_COPY_BYTES
STACK_BYTES = 16 * 2**20  # a thread takes 8 MiB for its stack, and something beside it
MAX_TRACE = 4000  # characters of a traceback that are told
Arrays = list[np.ndarray]


def main(control: socket.socket) -> None:
    """Serve requests until the other end of `control` is closed."""
    with suppress(ImportError, OSError, RuntimeError):  # without FFmpeg's libraries each child says what to install
        _import_decoders()
    for kind in ("-filters", "-decoders"):  # remembered by each child
        ability_names(kind)
    gc.freeze()  # else a collection in a child would write to, and so copy, every page
    _Zygote(control).serve()


def _import_decoders() -> None:
    # torchcodec marks its operators for torch's compiler: to import that takes 2 s and 70 MB, and nothing is compiled
    # here.
    vars(torch)["_dynamo"] = SimpleNamespace(disallow_in_graph=lambda operator: operator)
    try:
        import torchcodec.decoders
        import torchcodec.transforms  # noqa: F401
    finally:
        del vars(torch)["_dynamo"]


class _Zygote:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines: dict[int, socket.socket] = {}  # of each child that is not known to have ended, by its id
        self._ended, told = os.pipe()  # a byte comes out when a child ended
        for end in (self._ended, told):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._ended, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    message, ends, *_ = socket.recv_fds(self._control, 1, 2)
                    if not message:
                        for child in self._lines:
                            _kill(child)
                        return
                    self._fork(*(socket.socket(fileno=end) for end in ends))
                elif key.fileobj == self._ended:
                    with suppress(BlockingIOError):
                        os.read(self._ended, 4096)
                    self._reap()
                elif key.data in self._lines:  # the caller gave up, or has its answer
                    self._selector.unregister(key.fileobj)
                    _kill(key.data)

    def _fork(self, talk: socket.socket, line: socket.socket) -> None:
        try:
            child = os.fork()
        except OSError as error:
            with suppress(OSError):
                line.send(f"refused {error.errno}".encode())
            talk.close()
            line.close()
            return
        if child == 0:
            self._become_child(talk, line)
        talk.close()
        self._lines[child] = line
        self._selector.register(line, selectors.EVENT_READ, child)

    def _become_child(self, talk: socket.socket, line: socket.socket) -> NoReturn:
        """Decode what is asked for on `talk`, and end. Nothing may be raised: the caller's stack is the zygote's."""
        try:
            zygote = os.getppid()
            os.setsid()  # one group with the programs that are started from here
            ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for end in (self._control, line, *self._lines.values()):
                end.close()
            silence = os.open(os.devnull, os.O_WRONLY)  # what FFmpeg and a broken heap have to say
            os.dup2(silence, sys.stderr.fileno())
            if os.getppid() == zygote:  # else it died before it could be noticed
                _answer(talk)
        finally:
            os._exit(0)  # without freeing anything: the heap may be broken

    def _reap(self) -> None:
        with suppress(ChildProcessError):  # there is no child
            # Not waited for yet, its id still belongs to it and to its group: no other process is killed.
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _kill(found.si_pid)
                _, status = os.waitpid(found.si_pid, 0)
                line = self._lines.pop(found.si_pid)
                with suppress(KeyError):
                    self._selector.unregister(line)
                with suppress(OSError):
                    line.send(f"ended {os.waitstatus_to_exitcode(status)}".encode())
                line.close()


def _kill(child: int) -> None:
    """End a child with all that it started."""
    for kill in (os.killpg, os.kill):  # it may not have had the time to make its group
        with suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)


# ---- the child -------------------------------------------------------------------------------------------------------


def _answer(talk: socket.socket) -> None:
    """Say its id, read the request (a line of JSON), and answer: a line of JSON, then the bytes of arrays."""
    talk.sendall(f"{os.getpid()}\n".encode())
    with talk.makefile("rb") as lines:
        request = json.loads(lines.readline())
    arrays: Arrays = []
    try:
        _limit(request)
        answer, arrays = WORK[request["work"]](request)
    except VideoError as error:
        answer = {"memory": True} if _is_memory(error) else {"error": str(error), "errno": _system_error(error)}
    except MemoryError:
        answer = {"memory": True}
    except OSError as error:
        answer = {"system": [error.errno, error.strerror, error.filename]}
    except Exception as error:  # whatever it is, it ends with this child
        answer = {"memory": True} if _is_memory(error) else {"fault": traceback.format_exc()[-MAX_TRACE:]}
    talk.sendall(json.dumps(answer).encode() + b"\n")
    for array in arrays:
        talk.sendall(np.ascontiguousarray(array).data.cast("B"))


def _limit(request: dict[str, Any]) -> None:
    """Take the limits of a request, for this process and the programs that it starts."""
    tempfile.tempdir = request["folder"]
    os.environ.update(TMPDIR=request["folder"], **request["settings"])
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    memory = pages * resource.getpagesize() + request["bytes"]
    seconds = int(request["seconds"] * (os.cpu_count() or 1)) + 1  # the caller's clock ends it before
    wanted = (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, MAX_COPY_BYTES + SPARE_COPY_BYTES),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, value in wanted:
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))
    with suppress(OSError):  # where the machine's memory runs out, it is this process that ends
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _clip(request: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    fields = request["config"]
    config = ClipConfig(**{**fields, "views": tuple(View(**view) for view in fields["views"])})
    clip = decode_clip(request["path"], config)
    views = (clip.frames, *clip.more_views)  # (T, 3, crop, crop) each
    # torchcodec's frames lie in memory with their colours last: they are sent as they lie, not turned around.
    is_last = [not view.is_contiguous() and view.permute(0, 2, 3, 1).is_contiguous() for view in views]
    told = {
        "seconds": clip.frame_seconds,
        "duration": clip.duration_seconds,
        "notes": clip.notes,
        "colours_last": is_last,
    }
    return told, [
        (view.permute(0, 2, 3, 1) if last else view).numpy() for view, last in zip(views, is_last, strict=True)
    ]


def _preview(request: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    return {"is_written": render_preview(request["path"], Path(request["folder"]) / request["name"])}, []


WORK: dict[str, Callable[[dict[str, Any]], tuple[dict[str, Any], Arrays]]] = {"clip": _clip, "preview": _preview}


def _system_error(error: BaseException) -> int | None:
    """The number of the system's error that led to `error`, if one did."""
    numbers = [each.errno for each in _causes(error) if isinstance(each, OSError)]
    return next((number for number in reversed(numbers) if number is not None), None)  # Pillow's own have no number


def _is_memory(error: BaseException) -> bool:
    """Whether an error came of too little memory: it says so, or a thread did not start where no stack would fit."""
    said = [str(each) for each in _causes(error)]
    if any(map(NO_MEMORY.search, said)):
        return True
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    peak = re.search(r"^VmPeak:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    is_full = peak is not None and limit != resource.RLIM_INFINITY and 1024 * int(peak[1]) > limit - STACK_BYTES
    return is_full and any(os.strerror(errno.EAGAIN) in each for each in said)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from, down to the first."""
    while error is not None:
        yield error
        error = error.__cause__


def run(arguments: Sequence[str]) -> None:
    main(socket.socket(fileno=int(arguments[0])))


if __name__ == "__main__":
    run(sys.argv[1:])
