"""What FFmpeg's libraries say while torchcodec uses them: of a damaged frame they give a picture and an error in words.

torchcodec silences them unless $TORCHCODEC_FFMPEG_LOG_LEVEL says otherwise, and then they write to standard error, the
file descriptor. So it leads elsewhere for as long as a file is decoded. What others write meanwhile goes where it
would have gone, a little later.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

LOG_LEVEL_VARIABLE = "TORCHCODEC_FFMPEG_LOG_LEVEL"
SAID = re.compile(rb"^\[[^\]\n]* @ 0x[0-9a-f]+\] .*\n?|^ +Last message repeated \d+ times\n?", re.MULTILINE)
# What is said of whole streams too, where a frame between two key frames is sought.
SEEKING = re.compile("co located POCs unavailable|mmco: unref short failure")
STDERR = 2


class Heard:
    """`errors`: what was said, known when listening has ended; a line each."""

    errors: tuple[str, ...] = ()


_lock = threading.Lock()
_listening: list[Heard] = []
_log: BinaryIO | None = None
_kept = -1  # where standard error leads while somebody listens


@contextmanager
def listening() -> Iterator[Heard]:
    """Hear the errors of FFmpeg's libraries. Threads that listen at the same time hear each other's files too: only
    silence is certain to be about one file."""
    heard = Heard()
    begin = _begin(heard)
    try:
        yield heard
    finally:
        _end(heard, begin)


def _begin(heard: Heard) -> int:
    global _log, _kept
    with _lock:
        os.environ.setdefault(LOG_LEVEL_VARIABLE, "ERROR")
        if not _listening:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
                log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the last who listens
                _kept = os.dup(STDERR)
                os.dup2(log.fileno(), STDERR)
                _log = log
        _listening.append(heard)
        return os.lseek(_log.fileno(), 0, os.SEEK_END) if _log else 0


def _end(heard: Heard, begin: int) -> None:
    global _log, _kept
    with _lock:
        _listening.remove(heard)
        if _log is None:
            return
        size = os.lseek(_log.fileno(), 0, os.SEEK_END)
        said = os.pread(_log.fileno(), size - begin, begin)
        lines = (line.decode(errors="replace").strip() for line in SAID.findall(said))
        heard.errors = tuple(line for line in lines if line.startswith("[") and not SEEKING.search(line))
        if not _listening:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(_kept, STDERR)
            os.close(_kept)
            with suppress(OSError):
                os.write(STDERR, SAID.sub(b"", os.pread(_log.fileno(), size, 0)))
            _log.close()
            _log = None
