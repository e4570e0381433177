"""SIGKILL at seeded moments of whatever writes: after a restart nothing half-written is trusted, the work goes on, and
its result is that of a run that nobody killed.

A moment is a call that changes files: the n-th write, fsync, rename, delete ... of the process. Before half of them the
process is killed; the others it begins, and leaves what it writes torn. `pytest tests/journeys/test_kills.py -s` prints
the counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import mmap
import os
import random
import resource
import shutil
import signal
import stat
import sys
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import share_decoder
from small_models import TRAINED_ON, write_greys
from tables import last

from vjepa_demo.app.cli import main
from vjepa_demo.config import ClipConfig
from vjepa_demo.data.records import write_labels
from vjepa_demo.files import PARTIAL
from vjepa_demo.model.checkpoint import (
    Checkpoint,
    bring_encoders,
    load_checkpoint,
    note_measured,
    open_checkpoint_zip,
    read_checkpoint,
    save_checkpoint,
    zip_checkpoint,
)
from vjepa_demo.model.features import FeatureCache, FeatureKey, VideoFeatures
from vjepa_demo.schema import CheckpointError, VideoRecord
from vjepa_demo.tasks.batch_table import read_batch
from vjepa_demo.tasks.rate import OpenStudy
from vjepa_demo.tasks.study import make_study

KILLS = 10  # of each kind of work
OF_THE_SYSTEM = {
    *("write", "fsync", "rename", "replace", "unlink", "remove", "mkdir", "rmdir", "chmod", "utime"),
    *("truncate", "ftruncate", "sendfile", "copy_file_range", "link", "symlink"),
}
OF_FILES = {"write", "writelines", "flush", "truncate", "close", "__exit__"}
OF_LIBRARIES = {"serialize_file"}  # safetensors
MAY_CHANGE_FILES = OF_THE_SYSTEM | OF_FILES | OF_LIBRARIES


class Killer:
    """Counts, as a function for `sys.setprofile`, the calls that change files; kills the process at the `moment`-th.

    With `torn` bytes the call begins, but no file that is being written gets more than so many bytes longer.
    """

    def __init__(self, moment: int, torn: int | None) -> None:
        self.moment, self.torn, self.count = moment, torn, 0
        self._inherited = self._open_files()

    def __call__(self, frame: Any, event: str, called: Any) -> None:
        # The name first: this runs at each call of the process.
        if event == "c_call" and called.__name__ in MAY_CHANGE_FILES and self._changes_files(called):
            self.count += 1
            if self.count == self.moment and self.torn is None:
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.count == self.moment:
                size = max(self._sizes(), default=0) + (self.torn or 0)
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        elif event in ("c_return", "c_exception") and 0 < self.count == self.moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def _changes_files(self, called: Any) -> bool:
        name, owner = called.__name__, called.__self__
        if isinstance(owner, io.IOBase):
            try:
                is_file = stat.S_ISREG(os.fstat(owner.fileno()).st_mode) and owner.writable()
            except (OSError, ValueError):  # no file, or closed
                return False
            return name in OF_FILES and is_file and owner.fileno() not in self._inherited
        return name in OF_LIBRARIES or (owner is sys.modules["posix"] and name in OF_THE_SYSTEM)

    @staticmethod
    def _open_files() -> set[int]:
        return {int(path.name) for path in Path("/proc/self/fd").iterdir()}

    def _sizes(self) -> Iterator[int]:
        """Of the files that this process has opened to write to."""
        for number in self._open_files() - self._inherited:
            try:
                if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                    yield os.fstat(number).st_size
            except OSError:
                continue


def in_child(work: Callable[[], object], moment: int = 0, torn: int | None = None) -> int | None:
    """Run `work` in a process of its own: how many calls changed files, or None if it was killed at the `moment`-th.

    The process is a copy of this one: a new Python would take seconds to load.
    """
    counted, share = mmap.mmap(-1, 8), share_decoder()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            share()
            killer = Killer(moment, torn)
            sys.setprofile(killer)
            work()
            sys.setprofile(None)
            counted[:8] = killer.count.to_bytes(8, "little")
            status = 0
        except BaseException:  # the test runner must not see it: this is not its process
            sys.setprofile(None)
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(ended) == 0, "the work failed: its traceback is in the captured output"
    return int.from_bytes(counted[:8], "little")


def killed(work: Callable[[], object], again: Callable[[], None], seed: int, *, count: int = KILLS) -> Iterator[int]:
    """`count` times: `again` makes a new place for `work`, which is killed there at a moment that `seed` draws."""
    again()
    total = in_child(work)
    assert total is not None
    draw = random.Random(seed)
    for index, moment in enumerate(draw.sample(range(1, total + 1), count)):
        again()
        assert in_child(work, moment, draw.randrange(2 ** draw.randrange(8)) if index % 2 else None) is None
        yield moment


@pytest.fixture(scope="module")
def told() -> Iterator[Counter[str]]:
    """What the tests counted, printed in one line when all are done."""
    counts: Counter[str] = Counter()
    yield counts
    print(f"\n{counts.total() - counts['torn or partial files']} kills:", end=" ")
    print(*(f"{count} {name}" for name, count in counts.items()), sep=", ")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Eight greys, the brighter the better; labels.csv has two prompts a clip."""
    folder = tmp_path_factory.mktemp("clips")
    records = []
    for index, video in enumerate(write_greys(folder, 8)):
        for prompt in ("first", "second"):
            labels = {"Traditional": 1.5 + index / 3, "Overall": 1 + index / 2}
            records.append(VideoRecord(video.name, video, f"{prompt} {index}", labels, 0))
    write_labels(folder / "labels.csv", records)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The same sums in the same order, and none of torch's threads, which a copy of this process would lack."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if PARTIAL in path.name]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def loadable(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, which can be loaded; None where it says that it is none."""
    if not (folder / "config.json").exists():
        with pytest.raises(CheckpointError, match=r"it has no config\.json"):
            read_checkpoint(folder)
        return None
    found = read_checkpoint(folder)
    load_checkpoint(found, device="cpu")
    return found


def test_a_batch(clips, checkpoint_folder, tmp_path, told, run):
    place, out = tmp_path / "place", tmp_path / "place" / "scores.csv"
    command = ["batch", clips / "labels.csv", "--videos", clips, "--model", checkpoint_folder, "--device", "cpu"]
    command = [*map(str, command), "--out", str(out)]
    place.mkdir()
    assert run(*command).returncode == 0
    whole = out.read_bytes()

    for _ in killed(lambda: main(command), lambda: emptied(place), seed=1):
        left = out.read_bytes() if out.exists() else b""
        assert whole.startswith(left)
        told["torn or partial files"] += bool(half_written(place)) or not left.endswith(b"\r\n")
        done = run(*command, "--resume")
        assert done.returncode == 0, done.stderr
        kept = max(left.count(b"\r\n") - 1, 0)
        assert (f"{kept} of 16 rows were scored before" in done.stdout) == (kept > 0), done.stdout
        assert files_of(place) == {out.name: whole}
        told["of batches"] += 1


@pytest.mark.parametrize(("scope", "seed"), [("head", 2), ("top", 3)])
def test_training(clips, checkpoint_folder, tmp_path, told, run, scope, seed):
    place, out = tmp_path / "place", tmp_path / "place" / "model"
    command = ["train", clips / "labels.csv", "--videos", clips, "--model", checkpoint_folder, "--device", "cpu"]
    command += ["--scope", scope, "--epochs", 3, "--batch-size", 8, "--learning-rate", 0.005, "--out", out]
    command = [*map(str, command), "--validation-fraction", "0.4"]
    place.mkdir()
    assert run(*command).returncode == 0
    whole = files_of(place)

    for _ in killed(lambda: main(command), lambda: emptied(place), seed, count=KILLS // 2):
        told["torn or partial files"] += bool(half_written(place))
        if loadable(out):
            assert (out / "model.safetensors").read_bytes() == whole["model/model.safetensors"]
        done = run(*command, "--resume")
        if done.returncode:
            assert "nothing to resume" in done.stderr
            done = run(*command)
        if done.returncode:  # killed as the last of its traces was deleted
            assert "holds a checkpoint already" in done.stderr
        assert files_of(place) == whole
        told["of trainings"] += 1


def test_rating(clips, tmp_path, told):
    """Each answer is said to be recorded before the next; in the end the labels are exported."""
    made = last(make_study(read_batch(clips / "labels.csv", clips), tmp_path / "made", dimensions=("Overall",)))
    ann = OpenStudy(tmp_path / "made").join("Ann")
    assert len(made.study.clips) == 16
    place, study, labels = (tmp_path / "place" / name for name in ("", "study", "labels"))
    acknowledged = mmap.mmap(-1, 1)

    def again() -> None:
        emptied(place)
        shutil.copytree(tmp_path / "made", study)
        acknowledged[0] = 0

    def rate() -> None:
        opened = OpenStudy(study)
        while items := opened.upcoming(ann, count=1):
            answer = 1 + hashlib.sha256(items[0].token.encode()).digest()[0] % 5
            opened.rate(ann, items[0].token, {"Overall": answer})
            acknowledged[0] += 1
        opened.export(labels)

    def given() -> list[tuple[object, ...]]:
        return [(each.clips, each.round, each.given) for each in OpenStudy(study).ratings()]

    again()
    rate()
    every, tables = given(), {name: (labels / name).read_bytes() for name in ("labels.csv", "scores.csv")}
    assert len(every) == acknowledged[0] == 3 + 16 + 2

    for _ in killed(rate, again, seed=4):
        log = study / "ratings.jsonl"
        told["torn or partial files"] += bool(half_written(place)) or not log.read_bytes().endswith(b"\n")
        kept = given()
        assert kept == every[: len(kept)]
        assert acknowledged[0] <= len(kept) <= acknowledged[0] + 1
        assert not labels.exists() or {name: (labels / name).read_bytes() for name in tables} == tables
        if not labels.exists():
            rate()
        assert given() == every
        assert {name: (labels / name).read_bytes() for name in tables} == tables
        told["of ratings"] += 1


KEY = FeatureKey("ab" * 32, ClipConfig(), weights="encoder@1", products="cpu torch.float32", pooling="mean")
KEYS = [replace(KEY, content_sha256=letter * 64) for letter in "abcdefgh"]


def test_the_cache(tmp_path, told):
    """It has room for less than half of what is asked for, so that it deletes all the time."""
    place, numbers = tmp_path / "place", random.Random(0).choices(range(len(KEYS)), k=40)

    def features(number: int) -> VideoFeatures:
        return VideoFeatures(torch.full((200,), number + 0.5), (0.0, 0.1), number + 0.25)

    FeatureCache(tmp_path / "one", disk_bytes=2**20).get_or_compute(KEY, lambda: features(0))
    file_bytes = FeatureCache(tmp_path / "one").size()[1]

    def use() -> FeatureCache:
        cache = FeatureCache(place, memory_bytes=0, disk_bytes=int(3.5 * file_bytes))
        for number in numbers:
            found = cache.get_or_compute(KEYS[number], lambda number=number: features(number))
            assert found.duration_seconds == number + 0.25
            assert torch.equal(found.values, features(number).values)
        return cache

    for _ in killed(use, lambda: emptied(place), seed=5):
        told["torn or partial files"] += bool(half_written(place))
        cache = use()
        num_files, num_bytes = cache.size()
        assert num_files == 3
        assert num_bytes <= int((place / ".total").read_text()) <= 3.5 * file_bytes
        told["of the cache"] += 1


def test_checkpoints(checkpoint_folder, tmp_path, told):
    """One is written, gets a second description, is packed, and opened elsewhere."""
    place = tmp_path / "place"
    saved, packed, opened = (place / name for name in ("saved", "saved.zip", "opened"))
    base = read_checkpoint(checkpoint_folder)
    model = load_checkpoint(base, device="cpu")
    first = replace(TRAINED_ON, description="first")

    def write() -> None:
        packed.unlink(missing_ok=True)
        bring_encoders(base, saved)
        save_checkpoint(model, saved, trained_on=first, model_config=base.model)
        note_measured(saved, {"SROCC": "0.5"})
        zip_checkpoint(saved, packed)
        open_checkpoint_zip(packed, opened)

    emptied(place)
    write()
    packed.unlink()  # a zip holds times
    whole = files_of(place)

    for _ in killed(write, lambda: emptied(place), seed=6):
        told["torn or partial files"] += bool(half_written(place))
        for folder in (saved, opened):
            found = loadable(folder)
            assert found is None or found.trained_on.measured in ({}, {"SROCC": "0.5"})
        if packed.exists():
            with zipfile.ZipFile(packed) as archive:
                assert archive.testzip() is None
        if opened.exists():
            assert files_of(opened) == {
                name.removeprefix("opened/"): data for name, data in whole.items() if name.startswith("opened/")
            }
            shutil.rmtree(opened)
        write()
        packed.unlink()
        assert {name: data for name, data in files_of(place).items() if PARTIAL not in name} == whole
        told["of checkpoints"] += 1
