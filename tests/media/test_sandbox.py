"""Decoding in a process of its own: the same clips, and whatever a file does to the decoder, this process lives.

One zygote serves these tests. It finds a stand-in for ffprobe, which each clip with odd pixels asks for: of a file
whose name begins with "stuck" it never answers, of one that begins with "limits" it says what it is limited to.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image
from small_models import ffmpeg

from vjepa_demo.config import DECODE_GB_VARIABLE, DECODE_SECONDS_VARIABLE, DEMO_VIEWS, PROJECT_ROOT, ClipConfig
from vjepa_demo.media import isolated, sandbox
from vjepa_demo.media.isolated import load_clip, write_preview
from vjepa_demo.media.shown import MAX_COPY_BYTES
from vjepa_demo.media.video import decode_clip, write_video
from vjepa_demo.schema import DemoError, StoppedError, VideoError

pytestmark = pytest.mark.skipif(not sandbox.is_available(), reason="files are decoded in this process")

CONFIG = ClipConfig(num_frames=4, crop_size=32)
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=8:duration=1")
FFPROBE = f"""#!/bin/sh
case "$*" in
*stuck*) exec sleep 600 ;;
*limits*) ulimit -S -c -t -f >&2; exit 1 ;;
*) exec {shutil.which("ffprobe")} "$@" ;;
esac
"""
SECRETS = {"HF_TOKEN": "hf_secret", "OAUTH_CLIENT_SECRET": "oauth_secret", "AWS_SECRET_ACCESS_KEY": "aws_secret"}


@pytest.fixture(scope="module", autouse=True)
def zygote(tmp_path_factory) -> Iterator[sandbox._Zygote]:
    programs = tmp_path_factory.mktemp("programs")
    (programs / "ffprobe").write_text(FFPROBE)
    (programs / "ffprobe").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setattr(sandbox, "_zygote", sandbox._Zygote())
        sandbox.prepare()
        yield sandbox._zygote
        sandbox._zygote.stop()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder with plain.mp4, and odd.mp4, whose pixels are no squares."""
    folder = tmp_path_factory.mktemp("clips")
    ffmpeg(*PICTURE, folder / "plain.mp4")
    ffmpeg(*PICTURE, "-vf", "setsar=2", folder / "odd.mp4")
    return folder


@pytest.fixture
def stuck(clips, tmp_path, monkeypatch) -> Path:
    """A clip that is never decoded. Temporary files go to a folder beside it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return shutil.copy(clips / "odd.mp4", tmp_path / "stuck.mp4")


def processes() -> list[psutil.Process]:
    """The zygote and all that it started."""
    process = psutil.Process(sandbox._zygote._process.pid)
    return [process, *process.children(recursive=True)]


def once_it_runs(
    act: Callable[[psutil.Process], object], started: list[psutil.Process] | None = None
) -> Callable[[], bool]:
    """A `should_stop` that never says yes, but calls `act` with the child that decodes once ffprobe runs in it, which
    is added to `started`."""
    started = [] if started is None else started

    def should_stop() -> bool:
        with suppress(psutil.NoSuchProcess):  # it ends just now
            for child in psutil.Process(sandbox._zygote._process.pid).children():
                if (programs := child.children()) and child not in acted:
                    acted.append(child)
                    started.extend(programs)
                    act(child)
        return False

    acted: list[psutil.Process] = []
    return should_stop


def all_gone(left: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(left, timeout=60)[1]


# ---- the same clips --------------------------------------------------------------------------------------------------


def webp(path: Path) -> None:
    first, *rest = [Image.new("RGBA", (64, 48), (step * 20, 80, 200, 128)) for step in range(8)]
    first.save(path, save_all=True, append_images=rest, duration=125, lossless=True)


MAKERS = {
    "plain.mkv": (),
    "stream.ts": ("-g", 4),
    "moves.gif": (),
    "alpha.webm": ("-vf", "format=yuva420p,colorchannelmixer=aa=0.5", "-c:v", "libvpx", "-auto-alt-ref", 0),
    "hdr.mp4": ("-c:v", "libx264", "-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc"),
}


@pytest.mark.parametrize("name", ["moves.webp", *MAKERS])
def test_a_clip_is_that_of_this_very_process(name, tmp_path):
    path = tmp_path / name
    webp(path) if name == "moves.webp" else ffmpeg(*PICTURE, *MAKERS[name], path)
    config = ClipConfig(num_frames=8, crop_size=32, views=DEMO_VIEWS)
    there, here = load_clip(path, config), decode_clip(path, config)
    assert (there.frame_seconds, there.duration_seconds, there.notes) == (
        here.frame_seconds,
        here.duration_seconds,
        here.notes,
    )
    for one, other in zip((there.frames, *there.more_views), (here.frames, *here.more_views), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()  # what computes with them computes in the same order


def test_notes_and_errors_are_those_of_this_very_process(clips, tmp_path, monkeypatch):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "broken.mkv").write_bytes(bytes(range(256)) * 40)
    monkeypatch.chdir(tmp_path)
    for name in ("text.mp4", "broken.mkv", "missing.mp4", "."):
        with pytest.raises(VideoError) as here:
            decode_clip(name, CONFIG)
        with pytest.raises(VideoError) as there:
            load_clip(name, CONFIG)
        assert str(there.value) == str(here.value)


def test_threads_get_the_clips_that_they_asked_for(tmp_path):
    levels = range(20, 180, 20)
    for level in levels:
        frames = torch.full((4, 3, 32, 32), level, dtype=torch.uint8)
        write_video(tmp_path / f"{level}.mp4", frames, frames_per_second=4, crf=1)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda level: load_clip(tmp_path / f"{level}.mp4", CONFIG), levels)
    assert [clip.frames.float().mean().item() for clip in found] == pytest.approx(levels, abs=2)


def test_a_preview_is_written_whole_or_not_at_all(clips, tmp_path):
    ffmpeg(*PICTURE, tmp_path / "moves.gif")
    assert write_preview(tmp_path / "moves.gif", tmp_path / "preview.mp4")
    assert load_clip(tmp_path / "preview.mp4", CONFIG).duration_seconds == pytest.approx(1.0, abs=0.13)
    assert not write_preview(clips / "plain.mp4", tmp_path / "none.mp4")
    with pytest.raises(FileNotFoundError):  # as where a visitor has left
        write_preview(tmp_path / "moves.gif", tmp_path / "gone" / "preview.mp4")
    assert {path.name for path in tmp_path.iterdir()} == {"moves.gif", "preview.mp4"}


# ---- what a file does to the decoder ---------------------------------------------------------------------------------


def nothing_is_left(path: Path) -> bool:
    return all_gone(processes()[1:]) and not list((path.parent / "temporary").iterdir())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (signal.SIGSEGV, "cannot be read as a video: the decoder crashed on it; "),
        (signal.SIGABRT, "cannot be read as a video: the decoder crashed on it; "),
        (signal.SIGKILL, "was not decoded: the system ended the decoder, as it does where memory runs out: try again"),
    ],
)
def test_a_crash_is_an_error_of_the_file(how, message, stuck, clips):
    with pytest.raises(VideoError, match=rf"^stuck\.mp4 {message}"):
        load_clip(stuck, CONFIG, should_stop=once_it_runs(lambda child: child.send_signal(how)))
    assert nothing_is_left(stuck)
    assert load_clip(clips / "odd.mp4", CONFIG).frames.shape == (4, 3, 32, 32)


def test_what_takes_too_long_is_given_up_with_all_that_it_started(stuck, monkeypatch):
    monkeypatch.setenv(DECODE_SECONDS_VARIABLE, "0.5")
    for work in (lambda: load_clip(stuck, CONFIG), lambda: write_preview(stuck, stuck.parent / "preview.mp4")):
        with pytest.raises(VideoError, match=r"^stuck\.mp4 takes longer than 0\.5 s to decode: make it shorter"):
            work()
    assert nothing_is_left(stuck)
    assert list(stuck.parent.glob("*.mp4")) == [stuck]


def test_what_takes_too_much_memory_is_refused(tmp_path, monkeypatch):
    ffmpeg("-f", "lavfi", "-i", "color=size=3840x2160:rate=4:duration=1", "-preset", "ultrafast", tmp_path / "4k.mp4")
    monkeypatch.setenv(DECODE_GB_VARIABLE, "0.05")
    with pytest.raises(VideoError, match=r"^4k\.mp4 takes more than 0\.05 GB of memory to decode: scale it down"):
        load_clip(tmp_path / "4k.mp4", CONFIG)
    monkeypatch.delenv(DECODE_GB_VARIABLE)
    assert load_clip(tmp_path / "4k.mp4", CONFIG).frames.shape == (4, 3, 32, 32)


def test_programs_that_decode_have_the_limits_too(clips, tmp_path, monkeypatch):
    monkeypatch.setenv(DECODE_SECONDS_VARIABLE, "40")
    path = shutil.copy(clips / "odd.mp4", tmp_path / "limits.mp4")
    with pytest.raises(VideoError) as refusal:
        load_clip(path, CONFIG)
    (blocks,) = [int(word) for word in str(refusal.value).replace(";", " ").split() if word.isdigit()][-1:]
    assert MAX_COPY_BYTES < blocks * 512 <= 2 * MAX_COPY_BYTES


def test_a_person_can_stop_it(stuck):
    running: list[psutil.Process] = []
    look = once_it_runs(running.append)
    with pytest.raises(StoppedError):
        load_clip(stuck, CONFIG, should_stop=lambda: look() or bool(running))
    assert nothing_is_left(stuck)


def test_no_more_files_are_decoded_at_once_than_there_are_places_and_who_waits_can_stop(stuck, clips, monkeypatch):
    monkeypatch.setattr(sandbox, "_places", threading.BoundedSemaphore(1))
    runs, ends, looks = threading.Event(), threading.Event(), []
    look = once_it_runs(lambda _: runs.set())

    def stop_at_the_third_look() -> bool:
        looks.append(len(psutil.Process(sandbox._zygote._process.pid).children()))
        return len(looks) == 3

    with ThreadPoolExecutor() as pool:
        first = pool.submit(load_clip, stuck, CONFIG, should_stop=lambda: look() or ends.is_set())
        assert runs.wait(60)
        with pytest.raises(StoppedError):
            load_clip(clips / "odd.mp4", CONFIG, should_stop=stop_at_the_third_look)
        assert looks == [1, 1, 1]
        second = pool.submit(load_clip, clips / "odd.mp4", CONFIG)
        ends.set()
        assert isinstance(first.exception(60), StoppedError)
        assert second.result(60).frames.shape == (4, 3, 32, 32)


def test_a_zygote_that_dies_is_started_again(stuck, clips):
    started: list[psutil.Process] = []
    with pytest.raises(VideoError, match=r"^stuck\.mp4 cannot be decoded: the process that decodes videos died twice"):
        load_clip(stuck, CONFIG, should_stop=once_it_runs(lambda child: child.parent().kill(), started))
    assert len(started) == 2
    assert all_gone(started)
    assert load_clip(clips / "odd.mp4", CONFIG).frames.shape == (4, 3, 32, 32)


PARENT = """
import sys
from contextlib import suppress
from pathlib import Path
import psutil
from vjepa_demo.media import sandbox
def look():
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(sandbox._zygote._process.pid).children():
            if child.children():
                print(sandbox._zygote._process.pid, child.pid, child.children()[0].pid, flush=True)
                sys.stdin.read()
    return False
sandbox.run("preview", Path(sys.argv[1]), Path(sys.argv[2]), name="preview.mp4", should_stop=look)
"""


def test_what_decodes_ends_with_the_process_that_asked(stuck):
    command = [sys.executable, "-c", PARENT, str(stuck), str(stuck.parent / "temporary")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT_ROOT) as parent:
        started = [psutil.Process(int(number)) for number in parent.stdout.readline().split()]
        parent.kill()
    assert len(started) == 3
    assert all_gone(started)


# ---- what reaches the decoder, and what comes from it ----------------------------------------------------------------


def test_no_secret_reaches_the_decoder(clips):
    load_clip(clips / "plain.mp4", CONFIG)
    process = psutil.Process(sandbox._zygote._process.pid)
    assert process.environ()["PATH"] == os.environ["PATH"]
    assert not SECRETS.keys() & process.environ().keys()
    assert not set(SECRETS.values()) & set(process.environ().values())
    assert process.cwd() == "/"
    assert process.num_threads() == 1


@pytest.mark.parametrize("setting", [{DECODE_SECONDS_VARIABLE: "-1"}, {DECODE_GB_VARIABLE: "much"}])
def test_a_setting_that_is_no_number_is_named(setting, clips, monkeypatch):
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DemoError, match="was expected"):
        load_clip(clips / "plain.mp4", CONFIG)


CRASHED = "the decoder crashed on it"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"no JSON\n", CRASHED),
        (b"[" * 100_000 + b"\n", CRASHED),
        (b'["a list"]\n', CRASHED),
        (b"1" * (sandbox.MAX_ANSWER_BYTES + 1), CRASHED),
        (b'{"error": 5}', CRASHED),
        (b'{"error": "half", ', CRASHED),
        (b'{"seconds": [0], "notes": []}\nabc', CRASHED),  # fewer bytes than were asked for
        (json.dumps({"error": "x" * 10**5, "errno": None}).encode() + b"\n", "^x{2000}$"),
        (b'{"memory": true}\n', "takes more than 1 GB of memory"),
        (b'{"fault": "Traceback ..."}\n', CRASHED),
    ],
    ids=["words", "nested", "list", "endless", "number", "half", "short", "wordy", "memory", "fault"],
)
def test_a_decoder_in_strange_hands_gives_an_error(answer, error):
    (talk, theirs), (line, told) = socket.socketpair(), socket.socketpair()
    told.send(b"ended -11")
    told.close()
    with theirs, ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: (theirs.sendall(b"999999999\n" + answer), theirs.shutdown(socket.SHUT_WR)))
        with sandbox._Child(talk, line) as child, pytest.raises(VideoError, match=error):
            child.ask(b"", [memoryview(bytearray(10))], sandbox._Limits("a.mp4", 30.0, 10**9), lambda: False)


def test_what_the_system_refuses_is_no_error_of_the_file():
    child = sandbox._Child(*socket.socketpair())
    limits = sandbox._Limits("a.mp4", 1.0, 1)
    with pytest.raises(OSError, match=r"No space left on device: '/tmp/x'") as full:
        child._understood(b'{"system": [28, "", "/tmp/x"]}', limits)
    assert full.value.errno == 28
    with pytest.raises(VideoError, match=r"^no$") as error:
        child._understood(b'{"error": "no", "errno": 24}', limits)
    assert error.value.__cause__.errno == 24


@pytest.mark.parametrize(
    "answer",
    [
        {"seconds": None},
        {"seconds": [0.0]},
        {"seconds": [0.0, 1.0, 2.0, "3"]},
        {"seconds": [0.0, 1.0, 2.0, float("nan")]},
        {"duration": None},
        {"notes": ["x" * 10**5]},
        {"notes": ["x"] * 10**5},
        {"colours_last": []},
    ],
    ids=lambda answer: next(iter(answer)),
)
def test_a_clip_that_cannot_be_is_refused(answer, clips, monkeypatch):
    good = {"seconds": [0.0, 1.0, 2.0, 3.0], "duration": 4.0, "notes": [], "colours_last": [True]}
    monkeypatch.setattr(isolated.sandbox, "run", lambda *_, **__: good)
    assert load_clip(clips / "plain.mp4", CONFIG).frames.shape == (4, 3, 32, 32)
    monkeypatch.setattr(isolated.sandbox, "run", lambda *_, **__: good | answer)
    with pytest.raises(VideoError, match="the decoder gave no clip"):
        load_clip(clips / "plain.mp4", CONFIG)
