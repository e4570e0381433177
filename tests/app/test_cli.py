"""The command line as a person calls it; a process of its own only where that is the point."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vjepa_demo.app.cli import _parser, main
from vjepa_demo.config import DIMENSIONS

ROOT = Path(__file__).resolve().parents[2]


def run_alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which loads all it needs and shares nothing with the tests."""
    command = [sys.executable, "-m", "vjepa_demo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)


def test_json_has_an_object_a_video_and_a_bad_file_stops_nothing(run, world, checkpoint_folder, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    done = run("score", world, bad, world, "--prompt", "the world", "--model", checkpoint_folder, "--json")
    assert done.returncode == 1
    assert done.stderr == ""
    first, error, last = json.loads(done.stdout)
    assert list(first) == ["video", "prompt", "model", "trained_on", "scores", "unknown_words", "unread", "seconds"]
    assert (first["video"], first["prompt"], first["model"]) == (str(world), "the world", str(checkpoint_folder))
    assert first["trained_on"] == "12 clips with human labels: twelve clips of a test"
    assert tuple(first["scores"]) == DIMENSIONS
    assert all(1 <= score <= 5 for score in first["scores"].values())
    assert list(first["seconds"]) == ["decode", "video", "text", "head"]
    assert "bad.mp4 cannot be read as a video" in error["error"]
    assert "scores" not in error
    assert last["scores"] == first["scores"]


def test_text_shows_scores_with_words_and_the_model_that_gave_them(run, world, checkpoint_folder):
    done = run("score", world, "--prompt", "the world", "--model", checkpoint_folder)
    assert done.returncode == 0
    for name in DIMENSIONS:
        assert f"  {name:<12}" in done.stdout
    assert f"model {checkpoint_folder}" in done.stdout
    assert "trained on 12 clips with human labels" in done.stdout
    assert done.stderr == "loading the model ...\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", " "], "error: the prompt is empty"),
        (["--prompt", "x", "--model", "nonsense"], "error: no model 'nonsense': choose one of demo, vitl, vitg"),
        (["--prompt", "x", "--model", "."], "error: . is not a checkpoint: it has no config.json"),
    ],
)
def test_what_stops_everything_is_one_line_and_a_status(run, world, arguments, message):
    done = run("score", world, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    told = done.stderr.removeprefix("loading the model ...\n")
    assert told.startswith(message)
    assert told.count("\n") == 1


def test_mistakes_are_told_before_torch_is_loaded(tmp_path):
    (tmp_path / "labels.csv").write_text("a,b\n1,2\n")
    mistakes = [
        (["score", "a.mp4", "--prompt", " "], "error: the prompt is empty"),
        (["compare", "a.mp4", "--prompt", "x"], "error: got 1 video; 2 to 4 can be compared"),
        (["batch", "gone.csv", "--out", "new.csv"], "error: gone.csv: no such file"),
        (["batch", "labels.csv", "--out", "new.csv"], "error: labels.csv has the columns a, b. No column"),
        (["batch", "a.mp4", "--prompt", "x", "--out", "labels.csv"], "error: labels.csv exists already"),
        (["batch", "a.mp4", "--prompt", " ", "--out", "new.csv"], "error: the prompt is empty"),
    ]
    code = (
        "import json, sys; from vjepa_demo.app.cli import main; "
        "print([main(each) for each in json.loads(sys.argv[1])], 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, json.dumps([arguments for arguments, _ in mistakes])]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    for told, (_, message) in zip(done.stderr.splitlines(), mistakes, strict=True):
        assert told.startswith(message)
    assert done.stdout == "[1, 1, 1, 1, 1, 1] False\n"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_a_gpu_that_is_not_there_is_an_error_where_it_was_asked_for(world, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["score", str(world), "--prompt", "x", "--device", "cuda", "--json"]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda: no GPU that CUDA can use was found here")
    assert main(["train", "labels.csv", "--videos", ".", "--out", "x", "--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda: no GPU")


@pytest.mark.parametrize("command", ["score", "compare", "batch", "train", "evaluate", "make-dataset", "cache"])
def test_every_option_is_explained_in_words(command):
    (subcommands,) = (action for action in _parser()._actions if hasattr(action, "choices") and action.choices)
    for action in subcommands.choices[command]._actions:
        words = re.sub(r"\(.*?\)|default:.*", "", action.help or "").split()
        assert len(words) >= (2 if action.dest == "help" else 3), action.dest


def test_compare_says_how_many_videos_and_that_prompts_may_be_repeated(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 to 4 video files" in shown
    assert "may be repeated" in shown


def test_a_wrong_call_is_explained(run):
    done = run("score")
    assert done.returncode == 2
    assert "--prompt" in done.stderr


def test_a_cache_whose_path_holds_a_percent_sign_is_shown_in_the_help(monkeypatch, capsys):
    monkeypatch.setenv("VJEPA_DEMO_CACHE", "/data/100%done")
    for command in ("score", "cache"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert "/data/100%done" in "".join(capsys.readouterr().out.split())


def test_the_next_process_finds_what_was_kept_and_the_cache_can_be_seen_and_emptied(
    world, tmp_path, monkeypatch, capsys
):
    kept = tmp_path / "kept"
    call = ["score", world, "--prompt", "the earth turns", "--device", "cpu", "--json", "--cache", kept]
    both = [run_alone(*call) for _ in range(2)]
    assert [(done.returncode, done.stderr) for done in both] == [(0, "")] * 2
    first, second = (json.loads(done.stdout)[0] for done in both)
    assert first["model"] == "demo"  # the default
    assert "procedural clips" in first["trained_on"]
    assert first["seconds"]["decode"] > 0
    assert second["seconds"]["decode"] == second["seconds"]["video"] == 0
    assert second["scores"] == first["scores"]
    for name in ("VJEPA_DEMO_CACHE", "VJEPA_DEMO_CACHE_GB"):
        monkeypatch.setenv(name, "")  # what the flags below set is gone after this test
    assert main(["cache", "--cache", str(kept), "--cache-gb", "0.25"]) == 0
    shown = capsys.readouterr().out
    assert f"is kept in {kept}, 1 file, " in shown
    assert "of at most 250 MB" in shown
    assert main(["cache", "--json"]) == 0
    (file,) = kept.glob("*.features")
    size = file.stat().st_size
    expected = {"folder": str(kept), "num_files": 1, "num_bytes": size, "budget_bytes": 250_000_000}
    assert json.loads(capsys.readouterr().out) == expected
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.startswith("deleted 1 file, ")
    assert list(kept.glob("*.features")) == []
    assert main(["cache", "--cache-gb", "much"]) == 1
    assert capsys.readouterr().err.startswith("error: 'much' is no number of gigabytes")


@pytest.mark.parametrize("more", [[], ["--clear"]])
def test_where_no_cache_is_none_is_made(more, tmp_path, monkeypatch, capsys):
    for name in ("VJEPA_DEMO_CACHE", "VJEPA_DEMO_CACHE_GB"):
        monkeypatch.setenv(name, "")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "film.mp4").write_text("mine")
    for folder in (tmp_path / "holiday", tmp_path / "nothing"):
        assert main(["cache", "--cache", str(folder), *more]) == 0
        assert capsys.readouterr().out == f"no cache here: {folder} keeps nothing yet\n"
    assert main(["cache", "--json", "--cache-gb", "1", *more]) == 0
    none = {"folder": str(folder), "num_files": 0, "num_bytes": 0, "budget_bytes": 10**9}
    assert json.loads(capsys.readouterr().out) == none
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["film.mp4", "holiday"]


def test_a_reader_that_has_enough_ends_the_command_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vjepa_demo", "cache", "--cache", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 141
