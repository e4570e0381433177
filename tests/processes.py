"""Python programs in processes of their own, for tests that kill a process, let several meet, or ask a server.

A new Python takes 10 seconds of processor to import torch, transformers and Gradio, and its decoder 4 more. So one
process, the nursery, imports them once a test run, and forks a copy for each program. The copy has its own environment,
folder, arguments and output. What is imported already, and the process that decodes videos, it shares. Where
importing, or a process that nothing was imported into, is the point, a test starts `sys.executable` instead.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, TextIO

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "VJEPA_DEMO_TEST_NURSERY"  # the folder of its socket; the workers of a test run inherit it
STDOUT = subprocess.STDOUT
LOOK_SECONDS = 5.0  # between two looks whether the test run is still there

# ---- what a test calls -----------------------------------------------------------------------------------------------


class Program:
    """A running copy of the nursery, with those methods of subprocess.Popen that tests use."""

    def __init__(self, talk: socket.socket, stdout: TextIO | None) -> None:
        self._talk, self._replies, self.stdout = talk, talk.makefile("r"), stdout
        self.pid = int(self._replies.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._talk.settimeout(timeout)
            self.returncode = int(self._replies.readline())
            self._talk.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> str:
        """What it has yet to print, once it has ended."""
        output = self.stdout.read() if self.stdout else ""
        self.wait(timeout)
        return output

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stdout:
            self.stdout.close()
        self.wait()


def start(
    *arguments: object, environment: dict[str, str] | None = None, stderr: int | None = None, cwd: Path = ROOT
) -> Program:
    """Start Python with `arguments`: -c CODE, -m MODULE or a file, and what the program gets.

    Its output is a pipe, `stdout`; its errors go to the file number `stderr`, to the pipe too where that is STDOUT, or
    else where those of the tests go.
    """
    talk = _connect(Path(os.environ[VARIABLE]))
    mine, theirs = os.pipe()
    with Path(os.devnull).open("rb") as nothing:
        request = {"arguments": [*map(str, arguments)], "cwd": str(cwd), "environment": environment or {**os.environ}}
        files = [nothing.fileno(), theirs, {None: 2, STDOUT: theirs}.get(stderr, stderr)]
        line = json.dumps(request).encode() + b"\n"
        socket.send_fds(talk, [line[:1]], files)
        talk.sendall(line[1:])
        os.close(theirs)
        return Program(talk, os.fdopen(mine, encoding="utf-8"))


def run(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` with captured text: start the program and wait until it has ended."""
    with tempfile.TemporaryFile("w+") as errors:
        with start(*arguments, environment=environment, stderr=errors.fileno()) as program:
            output = program.communicate()
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, program.wait(), output, errors.read())


def run_together(count: int, *arguments: object, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`run` of `count` processes at once, with the environment that `torchrun` gives to each: what all of them said.

    The status is 0 if each ended with 0.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    environments = [
        environment | shared | {"MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        for rank in range(count)
    ]
    with tempfile.TemporaryFile("w+") as errors:
        programs = [start(*arguments, environment=each, stderr=errors.fileno()) for each in environments]
        outputs = [program.communicate() for program in programs]
        errors.seek(0)
        status = max(abs(program.wait()) for program in programs)
        return subprocess.CompletedProcess(arguments, status, "".join(outputs), errors.read())


@contextmanager
def nursery() -> Iterator[None]:
    """The place where the nursery of this test run will be, once a test needs it; ends it."""
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-nursery-") as folder:
        os.environ[VARIABLE] = folder
        try:
            yield
        finally:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as talk:
                talk.connect(str(Path(folder) / "socket"))
                talk.shutdown(socket.SHUT_WR)
                talk.recv(1)  # it has closed its end


def share_decoder() -> Callable[[], None]:
    """Call it, fork, and call the result in the copy: it decodes with this process's decoder, not with a new one."""
    from vjepa_demo.media import sandbox

    zygote = sandbox._zygote
    zygote.start()
    control = zygote._control

    def share() -> None:
        zygote._control = control
        zygote._process = SimpleNamespace(poll=lambda: None, wait=lambda _: 0)  # type: ignore[assignment]

    return share


def _connect(folder: Path) -> socket.socket:
    """A talk with the nursery, which the first who asks starts."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "socket").exists():
            ready, told = os.pipe()
            with os.fdopen(ready) as ready_file:
                # Its parent may be a worker that ends before others do: it looks itself whether the run is there.
                subprocess.Popen(
                    [sys.executable, __file__, str(folder), str(told)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(told,),
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
                    start_new_session=True,
                )
                os.close(told)
                assert ready_file.read() == "ready", "the nursery did not start"
    talk = socket.socket(socket.AF_UNIX)
    talk.connect(str(folder / "socket"))
    return talk


# ---- the nursery -----------------------------------------------------------------------------------------------------


def _serve(folder: Path, told: int) -> None:
    """Fork a copy for each request, tell its id and later its exit status, until a talk ends without a request."""
    sys.path.remove(str(Path(__file__).parent))
    import vjepa_demo

    for module in pkgutil.walk_packages(vjepa_demo.__path__, "vjepa_demo."):
        if not module.name.endswith(("__main__", ".zygote")):
            importlib.import_module(module.name)
    share = share_decoder()
    gc.collect()
    gc.freeze()  # else a collection in a copy would write to, and so copy, every page
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    ended, woken = os.pipe()
    for end in (ended, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.write(told, b"ready")
    os.close(told)
    selector, talks = selectors.DefaultSelector(), {}
    for source in (listener, ended):
        selector.register(source, selectors.EVENT_READ)
    while folder.exists():
        for key, _ in selector.select(LOOK_SECONDS):
            if key.fileobj is not listener:
                os.read(ended, 4096)
                for child in [*talks]:
                    found, status = os.waitpid(child, os.WNOHANG)
                    if found:
                        with talks.pop(child) as talk, suppress(OSError):
                            talk.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
                continue
            talk, _ = listener.accept()
            first, files, *_ = socket.recv_fds(talk, 1, 3)
            if not first:
                for child in talks:
                    os.kill(child, signal.SIGKILL)
                return
            request = json.loads(first + talk.makefile("rb").readline())
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (selector, listener, talk, *talks.values()):
                    each.close()
                share()
                _become(files, **request)
            for file in files:
                os.close(file)
            talks[child] = talk
            talk.sendall(b"%d\n" % child)


def _become(files: Sequence[int], arguments: list[str], cwd: str, environment: dict[str, str]) -> NoReturn:
    """Run the program, and end."""
    status = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        unbuffered = bool(environment.get("PYTHONUNBUFFERED"))
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open until the process ends
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout.reconfigure(write_through=unbuffered)  # type: ignore[union-attr]
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(cwd)
        _read_again(environment)
        random.seed()
        tempfile.tempdir = None
        status = _status_of(lambda: _run(*arguments))
        threading._shutdown()  # waits for threads, as at the end of every Python
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _run(how: str, *arguments: str) -> None:
    main: dict[str, Any] = {"__name__": "__main__"}
    if how == "-c":
        sys.argv = ["-c", *arguments[1:]]
        exec(arguments[0], main)
    elif how == "-m":
        sys.argv = [*arguments]
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [how, *arguments]
        runpy.run_path(how, run_name="__main__")


def _status_of(work: Callable[[], None]) -> int:
    """The exit status of Python after `work`."""
    try:
        work()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _read_again(environment: dict[str, str]) -> None:
    """What libraries read of the environment while they are imported."""
    import gradio.http_server
    import gradio.route_utils
    from huggingface_hub import constants

    if port := environment.get("GRADIO_SERVER_PORT"):
        gradio.http_server.INITIAL_PORT_VALUE = int(port)
    if folder := environment.get("GRADIO_TEMP_DIR"):
        gradio.route_utils.DEFAULT_TEMP_DIR = folder
    if folder := environment.get("HF_HUB_CACHE"):
        constants.HF_HUB_CACHE = folder


if __name__ == "__main__":
    if sys.argv[1] == "start":  # for a launcher that starts Python itself: `processes.py start PROGRAM ARGUMENTS`
        with start(*sys.argv[2:], stderr=2) as started:
            print(started.communicate(), end="")
        sys.exit(started.wait())
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
