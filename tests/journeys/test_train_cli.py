"""Training as a person runs it, with processes where they are killed and where there are several at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pandas as pd
import processes
import pytest
import torch
from small_models import write_greys

from vjepa_demo.data.records import write_labels
from vjepa_demo.model.checkpoint import read_checkpoint
from vjepa_demo.schema import VideoRecord
from vjepa_demo.tasks import train as train_module

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Sixteen plain greys and their labels.csv: the brighter, the better."""
    folder = tmp_path_factory.mktemp("dataset")
    records = []
    for index, video in enumerate(write_greys(folder, 16)):
        labels = {"Traditional": 1.5 + index / 5, "Overall": 1 + index / 4}
        records.append(VideoRecord(video.name, video, f"prompt {index}", labels, index + 2))
    write_labels(folder / "labels.csv", records)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes have it: the same sums in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_arguments(dataset: Path, model: Path, out: Path, *more: object) -> tuple[object, ...]:
    places = ("train", dataset / "labels.csv", "--videos", dataset, "--model", model, "--out", out)
    return *places, "--validation-fraction", 0.35, "--batch-size", 4, "--learning-rate", 0.005, "--device", "cpu", *more


def epochs(output: str) -> list[str]:
    """What was printed of each epoch, without the time that is left."""
    return re.findall(r"^(Epoch \d+ of .*?)(?:, \d+ (?:s|min) left)?$", output, re.MULTILINE)


def test_train_then_evaluate_then_score(run, dataset, checkpoint_folder, world, tmp_path):
    done = run(*train_arguments(dataset, checkpoint_folder, tmp_path / "out", "--epochs", 3))
    assert done.returncode == 0, done.stderr
    assert "16 of 16 rows will be used" in done.stdout
    assert len(epochs(done.stdout)) == 3
    assert "Prompt means do not rank these clips, so there is no baseline" in done.stdout
    assert read_checkpoint(tmp_path / "out").trained_on.description == "labels.csv"

    data = ("evaluate", dataset / "labels.csv", "--videos", dataset)
    judged = run(*data, "--model", tmp_path / "out", "--json", "--device", "cpu")
    answer = json.loads(judged.stdout)
    counts = ("num_learned", "num_left_out", "num_unknown")
    known = ("n", "dimensions", "vquala_score", "no_video_baseline", "beats_baseline", *counts, "coverage")
    assert tuple(answer) == known
    assert answer["coverage"] == {}  # too few clips validated for intervals
    trained_on = read_checkpoint(tmp_path / "out").trained_on
    assert (answer["n"], answer["num_learned"]) == (trained_on.num_held_out, trained_on.num_clips)
    assert answer["vquala_score"] == pytest.approx(trained_on.vquala_score, abs=0.05)
    assert re.findall(r"^Scored (\d+) of 16 clips(?:, \d+ s left)?$", judged.stderr, re.MULTILINE) == ["10", "16"]
    assert list(answer["dimensions"]) == ["Traditional", "Overall"]
    assert list(answer["dimensions"]["Overall"]) == ["srocc", "plcc", "krocc", "rmse"]

    moved = shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    scored = run("score", world, "--prompt", "x", "--model", moved, "--device", "cpu", "--json")
    before = run("score", world, "--prompt", "x", "--model", checkpoint_folder, "--device", "cpu", "--json")
    assert json.loads(scored.stdout)[0]["scores"] != json.loads(before.stdout)[0]["scores"]
    trained = json.loads(scored.stdout)[0]["trained_on"]
    assert trained.endswith("labelled clips for Traditional, Overall only: labels.csv")  # nobody said who gave them


def test_check_shows_every_problem_by_line_and_trains_nothing(run, dataset, checkpoint_folder, tmp_path):
    table = pd.read_csv(dataset / "labels.csv")
    table.loc[0, "video_name"] = "gone.mp4"
    table.loc[1, "video_name"] = "broken.mp4"
    table.loc[2, "Prompt"] = " "
    table.loc[3, "Overall_MOS"] = 77
    table.to_csv(tmp_path / "labels.csv", index=False)
    shutil.copytree(dataset, tmp_path / "videos")
    (tmp_path / "videos" / "broken.mp4").write_text("no video")
    done = run("train", tmp_path / "labels.csv", "--videos", tmp_path / "videos", "--check")
    assert done.returncode == 0, done.stderr
    assert "12 of 16 rows will be used" in done.stdout
    assert re.findall(r"^note: line (\d+): ", done.stdout, re.MULTILINE) == ["2", "3", "4", "5"]
    assert "clips to learn from" in done.stdout
    assert "Epoch" not in done.stdout


def test_killed_in_the_middle_of_an_epoch_and_resumed_it_ends_like_a_run_that_was_not(
    run, dataset, checkpoint_folder, tmp_path
):
    settings = ("--scope", "top", "--epochs", 6)  # a run of scope head is resumed in test_train.py
    whole = run(*train_arguments(dataset, checkpoint_folder, tmp_path / "whole", *settings))
    assert whole.returncode == 0, whole.stderr

    killed = train_arguments(dataset, checkpoint_folder, tmp_path / "killed", *settings)
    with processes.start("-m", "vjepa_demo", *killed, environment=ENVIRONMENT) as process:
        for line in process.stdout:
            if line.startswith("Epoch 2 of "):
                process.send_signal(signal.SIGKILL)  # the third epoch has begun, or the state is being written
                break
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "config.json").exists()

    resumed = run(*killed, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert 0 < len(epochs(resumed.stdout)) < 6
    assert epochs(resumed.stdout) == epochs(whole.stdout)[-len(epochs(resumed.stdout)) :]
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "killed" / ".training").exists()


@pytest.mark.parametrize(("step", "told"), [(1, False), (4, True)])
def test_ctrl_c_says_how_to_go_on_once_there_is_an_epoch(
    run, dataset, checkpoint_folder, tmp_path, monkeypatch, step, told
):
    steps, rate = count(), train_module.schedule

    def interrupted(*arguments: float) -> float:
        if next(steps) == step:
            raise KeyboardInterrupt
        return rate(*arguments)

    monkeypatch.setattr(train_module, "schedule", interrupted)
    arguments = train_arguments(dataset, checkpoint_folder, tmp_path / "out", "--epochs", 3)
    done = run(*arguments)
    assert done.returncode == 130
    assert ("resume with --resume" in done.stdout) == told
    assert done.stderr.endswith("interrupted\n")
    if told:
        steps = count(100)
        assert run(*arguments, "--resume").returncode == 0


SAYS_ITS_WEIGHTS = """
import hashlib, os, sys
from pathlib import Path
from vjepa_demo.app.cli import main
from vjepa_demo.tasks import train

def finish(run, whole=train._Run.finish):
    result = whole(run)
    weights = b"".join(run.model.get_parameter(name).detach().numpy().tobytes() for name in NAMES)
    Path(__file__).with_name("weights" + os.environ["RANK"]).write_text(hashlib.sha256(weights).hexdigest())
    return result

NAMES = "head.net.1.weight", "venc.layer.3.mlp.fc1.weight"
train._Run.finish = finish
train.ACTIVATION_BYTES = 0
sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_train_one_model_and_judge_all_of_the_validation_set(dataset, checkpoint_folder, tmp_path):
    more = ("--epochs", 3, "--scope", "top", "--accumulate", 2)
    arguments = train_arguments(dataset, checkpoint_folder, tmp_path / "two", *more)
    program = tmp_path / "program.py"
    program.write_text(SAYS_ITS_WEIGHTS)
    # Without GPUs, accelerate launch starts one process however many it is asked for; this is what it starts with GPUs.
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", 2, "--no-python", sys.executable)
    done = processes.run(*launch, processes.__file__, "start", program, *arguments, environment=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(epochs(done.stdout)) == 3  # one voice
    weights = [(tmp_path / f"weights{rank}").read_text() for rank in (0, 1)]  # each process says its own
    assert weights[0] == weights[1]
    trained_on = read_checkpoint(tmp_path / "two").trained_on
    assert trained_on.num_clips + trained_on.num_held_out == 16
    measured = re.search(r"^Overall +(\d+) ", done.stdout, re.MULTILINE)
    assert int(measured.group(1)) == trained_on.num_held_out


def test_make_dataset_writes_what_train_reads(run, tmp_path):
    done = run("make-dataset", tmp_path, "--count", 2, "--seed", 5)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "labels.csv")
    assert list(table.columns) == [
        "video_name",
        "Prompt",
        "Traditional_MOS",
        "Alignment_MOS",
        "Aesthetic_MOS",
        "Temporal_MOS",
        "Overall_MOS",
    ]
    assert all((tmp_path / name).is_file() for name in table["video_name"])
    first = (tmp_path / "labels.csv").read_text()
    run("make-dataset", tmp_path / "again", "--count", 2, "--seed", 5)
    assert (tmp_path / "again" / "labels.csv").read_text() == first
    for name in table["video_name"]:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--out", "x"], "error: train needs LABELS"),
        (["train", "gone.csv", "--videos", ".", "--out", "x"], "gone.csv"),
        (["train", "gone.csv", "--videos", ".", "--out", "x", "--epochs", "0"], "error: epochs is 0"),
        (["make-dataset", "x", "--count", "0"], "error: --count is 0"),
    ],
)
def test_what_cannot_be_trained_is_one_line_and_a_status(run, monkeypatch, arguments, message, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
