"""What a machine does to a program: a full disk, places that cannot be written, flipped bytes, a network that is down
or hangs, too little memory. Each is told in one line, loses nothing, and is over once its cause is."""

from __future__ import annotations

import json
import random
import resource
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from small_models import write_greys

from vjepa_demo.data import hub
from vjepa_demo.data.records import write_labels
from vjepa_demo.files import PARTIAL
from vjepa_demo.model.vjepa import VJEPAModel
from vjepa_demo.schema import VideoRecord
from vjepa_demo.tasks import score
from vjepa_demo.tasks.rate import OpenStudy


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Eight greys, the brighter the better, and their labels.csv."""
    folder = tmp_path_factory.mktemp("clips")
    records = [
        VideoRecord(video.name, video, f"p {index}", {"Overall": 1 + index / 2}, 0)
        for index, video in enumerate(write_greys(folder, 8))
    ]
    write_labels(folder / "labels.csv", records)
    return folder


@pytest.fixture
def study(run, clips, tmp_path) -> Path:
    """A study of two clips, both rated."""
    folder = tmp_path / "rated"
    assert run("rate", "new", clips / "0.mp4", clips / "7.mp4", "--prompt", "p", "--out", folder).returncode == 0
    opened = OpenStudy(folder)
    ann = opened.join("Ann")
    while items := opened.upcoming(ann, count=1):
        opened.rate(ann, items[0].token, dict.fromkeys(opened.study.dimensions, 4))
    return folder


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file gets longer than `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def told(done, *texts: str) -> None:
    """The command failed, and its last line is an error that has all `texts`."""
    assert done.returncode == 1, done.stdout
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: "), done.stderr
    for text in texts:
        assert text in line


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def commands(clips: Path, study: Path, model: Path, out: Path) -> dict[str, list[object]]:
    """What writes to `out`."""
    labels = (clips / "labels.csv", "--videos", clips)
    return {
        "batch": ["batch", *labels, "--model", model, "--device", "cpu", "--out", out],
        "train": ["train", *labels, "--model", model, "--device", "cpu", "--epochs", 2, "--out", out],
        "study": ["rate", "new", clips / "0.mp4", "--prompt", "x", "--out", out],
        "export": ["rate", "export", study, "--out", out],
        "dataset": ["make-dataset", out, "--count", 1],
    }


@pytest.mark.parametrize(
    ("name", "limit", "advice"),
    [
        ("batch", 0, "then resume with --resume"),
        ("batch", 300, "then resume with --resume"),  # within the second row
        ("train", 0, "choose another folder, or make room there"),
        ("train", 5000, "choose another folder, or make room there"),  # the state after the first epoch
        ("train", 60_000, "choose another folder, or make room there"),  # the encoders of the checkpoint
        ("study", 300, "its disk must have room for the clips"),
        ("export", 20, "its disk must have room for the tables"),
        ("dataset", 300, "cannot be written"),
    ],
)
def test_a_full_disk_is_told_and_once_there_is_room_it_is_as_if_nothing_had_been(
    run, clips, study, checkpoint_folder, tmp_path, name, limit, advice
):
    place, whole = tmp_path / "place", tmp_path / "whole"
    for folder in (place, whole):
        folder.mkdir()
    command, other = (commands(clips, study, checkpoint_folder, folder / "out")[name] for folder in (place, whole))
    assert run(*other).returncode == 0
    with full_disk(limit):
        told(run(*command), "File too large", advice)
    assert not [path for path in place.rglob("*") if PARTIAL in path.name], "nothing half-written stays"
    done = run(*command, *(["--resume"] if name in ("batch", "train") else []))
    if name == "train" and "nothing to resume" in done.stderr:
        done = run(*command)
    assert done.returncode == 0, done.stderr
    if name == "study":  # the names of the clips and the study's link are drawn
        assert len(files_of(place)) == len(files_of(whole))
    else:
        assert files_of(place) == files_of(whole)


def test_a_place_that_cannot_be_written_is_told(run, clips, study, checkpoint_folder, world, tmp_path):
    """A file stands where a folder should be: unlike its mode, that also keeps root out."""
    (tmp_path / "file").write_text("kept")
    for command in commands(clips, study, checkpoint_folder, tmp_path / "file" / "out").values():
        told(run(*command), f"{tmp_path / 'file'}", "Not a directory")
    assert (tmp_path / "file").read_text() == "kept"
    command = ["score", world, "--prompt", "x", "--model", checkpoint_folder, "--device", "cpu", "--json"]
    with_cache, without = run(*command, "--cache", tmp_path / "file" / "cache"), run(*command, "--cache-gb", 0)
    assert with_cache.returncode == without.returncode == 0, with_cache.stderr
    assert [json.loads(done.stdout)[0]["scores"] for done in (with_cache, without)] == 2 * [
        json.loads(without.stdout)[0]["scores"]
    ]


def test_a_flipped_byte_in_a_model_is_never_scored_with(run, world, checkpoint_folder, tmp_path):
    draw, folder = random.Random(0), tmp_path / "model"
    shutil.copytree(checkpoint_folder, folder)
    command = ["score", world, "--prompt", "x", "--model", folder, "--device", "cpu", "--json"]
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert len(files) >= 7
    for path in sorted(files):
        data = path.read_bytes()
        for place in (0, *draw.sample(range(len(data)), 2)):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :])
            if path != folder / "config.json":
                told(run(*command), str(path.parent.relative_to(tmp_path)), "choose demo meanwhile")
        path.write_bytes(data)
    assert run(*command).returncode == 0


def test_a_description_with_a_flipped_byte_ends_in_no_traceback(run, world, checkpoint_folder, tmp_path):
    draw, folder = random.Random(0), tmp_path / "model"
    shutil.copytree(checkpoint_folder, folder)
    data = (folder / "config.json").read_bytes()
    for place in draw.sample(range(len(data)), 30):
        flipped = data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
        (folder / "config.json").write_bytes(flipped)
        done = run("score", world, "--prompt", "x", "--model", folder, "--device", "cpu", "--json")
        if done.returncode:
            told(done, "choose demo meanwhile")
        score._scorers.clear()


@pytest.mark.parametrize("answers", ["refuses", "hangs"])
def test_a_network_that_is_down_is_told_at_once_and_demo_offered(
    run, online, world, checkpoint_folder, tmp_path, monkeypatch, answers
):
    """Both of a checkpoint on the Hub, and of a first head here whose encoder is not."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    if answers == "hangs":
        listener.listen()  # the system takes connections; nobody will ever answer
        monkeypatch.setattr(hub, "HUB_TIMEOUT_SECONDS", 0.2)
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", f"http://{host}")
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    shutil.copytree(checkpoint_folder, tmp_path / "vitl")
    config = json.loads((tmp_path / "vitl" / "config.json").read_text())
    config["model"]["video_encoder"] = "facebook/vjepa2-vitl-fpc64-256"
    (tmp_path / "vitl" / "config.json").write_text(json.dumps(config))
    with listener:
        for model in ("owner/name", "vitl"):
            done = run("score", world, "--prompt", "x", "--model", model, "--device", "cpu")
            told(done, f"{host} cannot be reached: check the network", "; choose demo meanwhile")


def test_too_little_memory_costs_the_row_not_the_batch(run, clips, checkpoint_folder, tmp_path, monkeypatch):
    """The GPU's memory does for all clips but two."""
    place, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    command = ["batch", clips / "labels.csv", "--videos", clips, "--model", checkpoint_folder, "--device", "cpu"]
    command += ["--cache-gb", 0]
    assert run(*command, "--out", whole).returncode == 0
    encode, calls = VJEPAModel.encode_text, []

    def encode_or_fail(*arguments):
        calls.append(arguments)
        if len(calls) in (3, 4):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return encode(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(VJEPAModel, "encode_text", encode_or_fail)
        done = run(*command, "--out", place)
    assert done.returncode == 1
    assert "Scored 6 of 8 rows, 2 errors" in done.stdout
    assert place.read_text().count("free some, or use a smaller model, such as demo") == 2
    assert run(*command, "--out", place, "--resume").returncode == 0
    assert place.read_bytes() == whole.read_bytes()
