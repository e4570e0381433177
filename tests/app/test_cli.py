"""The command line as a person calls it; a process of its own only where that is the point."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import processes
import pytest
from fakes import RESULT
from safetensors.torch import load_file, save_file

from vjepa_demo.app import cli_text
from vjepa_demo.app.cli import COMMANDS, main
from vjepa_demo.app.cli_options import parser
from vjepa_demo.config import ACR_WORDS, DIMENSIONS
from vjepa_demo.model.features import FeatureCache
from vjepa_demo.schema import (
    BatchReport,
    BatchRow,
    BatchSummary,
    Comparison,
    GroupScores,
    LabelRange,
    ModelError,
    RecordSet,
    RowResult,
    SplitReport,
    TrainedOn,
)
from vjepa_demo.tasks import score as scorer_module

ROOT = Path(__file__).resolve().parents[2]
RECORDS = RecordSet((), (), LabelRange(), num_rows=0)


def run_alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which has loaded no model and shares nothing with the tests."""
    return processes.run("-m", "vjepa_demo", *arguments)


def test_how_long_encoding_takes_is_told_once_where_it_is_long_and_a_clip_has_to_be_encoded(
    run, world, checkpoint_folder, monkeypatch
):
    monkeypatch.setattr(scorer_module, "SLOW_CLIP_SECONDS", 0.0)
    monkeypatch.setattr(scorer_module, "expected_seconds", lambda model: 60.0)
    monkeypatch.setattr(scorer_module, "_scorers", {})
    cache = FeatureCache()
    monkeypatch.setattr(scorer_module, "feature_cache", lambda: cache)
    command = ("score", world, world, "--prompt", "the world", "--model", checkpoint_folder)
    told = "encoding a clip takes about 60 s here, all 2 up to 2 min"
    assert run(*command).stderr.splitlines() == ["loading the model ...", told]
    assert run(*command).stderr.splitlines() == ["loading the model ..."]
    scorer_module._scorers.clear()
    cache.clear()
    assert run(*command, "--json").stderr == ""


def test_json_has_an_object_a_video_and_a_bad_file_stops_nothing(run, world, checkpoint_folder, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    done = run("score", world, bad, world, "--prompt", "the world", "--model", checkpoint_folder, "--json")
    assert done.returncode == 1
    assert done.stderr == ""
    first, error, last = json.loads(done.stdout)
    told = ("video", "prompt", "model", "trained_on", "beats_baseline", "scores", "intervals")
    assert tuple(first) == (*told, "not_meaningful", "unknown_words", "neutral_prompt", "unread", "notes", "seconds")
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
    early = [
        (["score", "a.mp4", "--prompt", " "], "error: the prompt is empty"),
        (["compare", "a.mp4", "--prompt", "x"], "error: got 1 video; 2 to 4 can be compared"),
        (["train", "labels.csv", "--out", "x", "--epochs", "0"], "error: epochs is 0"),
        (["train", "--out", "x"], "error: train needs LABELS.csv"),
        (["train", "labels.csv", "--out", "x"], "error: labels.csv needs --videos DIR_OR_ZIP"),
    ]
    of_tables = [
        (["batch", "gone.csv", "--out", "new.csv"], "error: gone.csv: no such file"),
        (["batch", "labels.csv", "--out", "new.csv"], "error: labels.csv has the columns a, b. No column"),
        (["batch", "a.mp4", "--prompt", "x", "--out", "labels.csv"], "error: labels.csv exists already"),
        (["batch", "a.mp4", "--prompt", " ", "--out", "new.csv"], "error: the prompt is empty"),
        (["batch", ".", "--prompt", "x", "--out", "new.csv"], "error: the folder . holds no videos"),
    ]
    code = (
        "import json, sys; from vjepa_demo.app.cli import main; early, late = json.loads(sys.argv[1]); "
        "print([main(each) for each in early], sorted({'torch', 'pandas', 'gradio', 'plotly'} & {*sys.modules})); "
        "print([main(each) for each in late], sorted({'torch', 'gradio', 'plotly'} & {*sys.modules}))"
    )
    given = [[arguments for arguments, _ in each] for each in (early, of_tables)]
    command = [sys.executable, "-c", code, json.dumps(given)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    for told, (_, message) in zip(done.stderr.splitlines(), early + of_tables, strict=True):
        assert told.startswith(message)
    assert done.stdout == "[1, 1, 1, 1, 1] []\n[1, 1, 1, 1, 1] []\n"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]


def test_a_gpu_that_is_not_there_is_an_error_where_it_was_asked_for(world, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["score", str(world), "--prompt", "x", "--device", "cuda", "--json"]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda: no GPU that CUDA can use was found here")
    assert main(["train", "labels.csv", "--videos", ".", "--out", "x", "--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith("error: --device cuda: no GPU")


def test_a_model_that_does_not_beat_its_baseline_gets_no_words_and_a_caution():
    """Negative correlations: scores that rank the other way round are no verdict."""
    bad = TrainedOn("undeclared", 20, "mine.csv", {"Temporal": -0.82}, 8, -0.4, 0.1, lead=-0.4, lead_standard_error=0.2)
    lines = cli_text.score_lines("a.mp4", replace(RESULT, trained_on=bad))
    assert lines[1] == "  Traditional 1.00  –"
    assert not any(word in " ".join(lines) for word in ACR_WORDS)
    model = cli_text.model_lines("mine", "CPU bf16", bad)
    assert model[0] == "model mine (CPU bf16), trained on 20 labelled clips: mine.csv"
    assert model[1].startswith("note: This model does not beat the no-video baseline")


def test_scores_that_mean_nothing_have_no_word_and_the_reason_is_told():
    knows = replace(RESULT.trained_on, known_words=("a", "b"), dimensions=DIMENSIONS[:4])
    still = replace(RESULT, trained_on=knows, frame_seconds=(0.0,))
    lines = cli_text.score_lines("a.mp4", still)
    assert [line.split()[0] for line in lines if line.endswith("–")] == ["Alignment", "Temporal", "Overall"]
    told = "\n".join(lines)
    assert "Alignment means nothing here: the model does not know cat" in told
    assert "Temporal means nothing here: the video has a single frame" in told
    assert "Overall means nothing here: the model was trained without labels for it" in told
    compared = "\n".join(cli_text.comparison_lines(Comparison((replace(still, frame_seconds=(0.0, 1.0)), still))))
    assert "Temporal means nothing here: the video has a single frame" in compared


def test_of_the_means_of_a_batch_is_told_how_many_rows_mean_nothing():
    group = GroupScores("all", 3, 1, dict.fromkeys(DIMENSIONS, 3.0), dict.fromkeys(DIMENSIONS, 0.5))
    lines = cli_text.summary_lines(BatchSummary(group, (), None, {"Alignment": 2, "Temporal": 1}))
    assert lines[1].startswith("all")
    assert [line[: line.index(",")] for line in lines if line.startswith("note: ")] == [
        "note: Alignment means nothing in 2 of 3 rows",
        "note: Temporal means nothing in 1 of 3 rows",
    ]


def test_rows_are_told_by_tens_errors_each_and_earlier_rows_as_a_number():
    rows = [BatchRow(line, {}, "a.mp4", "x", None, {}) for line in range(2, 27)]
    reports = []
    for done, row in enumerate(rows, start=1):
        error = "a.mp4: no such file" if done == 12 else None
        result = RowResult(row, None if error else dict.fromkeys(DIMENSIONS, 3.0), error, "demo")
        left = None if done <= 4 else 25.0 - done
        reports.append(BatchReport(result, done, len(rows), int(done >= 12), left, resumed=done <= 4))
    told = []
    assert list(cli_text.told_rows(reports, told.append)) == reports
    assert told == [
        "4 of 25 rows were scored before",
        "Scored 10 of 25 rows, 15 s left",
        "line 13: a.mp4: no such file",
        "Scored 19 of 25 rows, 1 error, 5 s left",
        "Scored 24 of 25 rows, 1 error",
    ]
    told.clear()
    assert list(cli_text.told_rows(reports[:4], told.append)) == reports[:4]
    assert told == []  # the run was stopped before it came to a row of its own


@pytest.mark.parametrize(
    ("flags", "kind"), [([], "undeclared"), (["--human"], "human"), (["--procedural"], "procedural")]
)
def test_who_gave_the_labels_is_what_the_person_says(flags, kind, monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr("vjepa_demo.tasks.labels.check_labels", lambda *_, **__: iter([RECORDS]))
    monkeypatch.setattr("vjepa_demo.tasks.train.fine_tune", lambda *_, **given: iter(asked.update(given) or ()))
    assert main(["train", "some.csv", "--videos", ".", "--out", str(tmp_path), "--model", "demo", *flags]) == 0
    assert (asked["kind"], asked["description"]) == (kind, "some.csv")


def test_people_and_a_program_cannot_both_have_given_the_labels(run):
    done = run("train", "some.csv", "--human", "--procedural")
    assert done.returncode == 2
    assert "not allowed with argument --human" in done.stderr


def test_too_little_memory_is_one_line(run, monkeypatch, tmp_path):
    def fine_tune(*_, **__):
        yield SplitReport(8, 2)
        raise ModelError("the GPU's memory is too small for vitl")

    monkeypatch.setattr("vjepa_demo.tasks.labels.check_labels", lambda *_, **__: iter([RECORDS]))
    monkeypatch.setattr("vjepa_demo.tasks.train.fine_tune", fine_tune)
    done = run("train", "some.csv", "--videos", ".", "--out", tmp_path, "--model", "vitl", "--scope", "top")
    assert done.returncode == 1
    assert done.stderr == "loading the model ...\nerror: the GPU's memory is too small for vitl\n"
    assert "8 clips to learn from, 2 to validate with" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_in_words(command):
    commands = subcommands(parser())[command]
    for each in (commands, *subcommands(commands).values()):
        for action in each._actions:
            words = re.sub(r"\(.*?\)|default:.*", "", action.help or "").split()
            assert len(words) >= (2 if action.dest == "help" else 3), f"{each.prog} {action.dest}"


def subcommands(of: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: each
        for action in of._actions
        if isinstance(action.choices, dict)
        for name, each in action.choices.items()
    }


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
    processes = [run_alone(*call), run_alone(*call)]
    assert [(done.returncode, done.stderr) for done in processes] == [(0, "")] * 2
    first, second = (json.loads(done.stdout)[0] for done in processes)
    assert first["model"] == "demo"  # the default
    assert "procedural clips" in first["trained_on"]
    assert first["seconds"]["decode"] > 0
    assert second["seconds"]["decode"] == second["seconds"]["video"] == 0
    assert second["scores"] == first["scores"]
    for name in ("VJEPA_DEMO_CACHE", "VJEPA_DEMO_CACHE_GB"):
        monkeypatch.setenv(name, "")  # what the flags below set is gone after this test
    assert main(["cache", "--cache", str(kept), "--cache-gb", "0.25"]) == 0
    shown = capsys.readouterr().out
    assert f"It is in {kept}: 1 file, " in shown
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
    assert capsys.readouterr().err.startswith("error: VJEPA_DEMO_CACHE_GB is 'much'; a number of gigabytes")


@pytest.mark.parametrize("more", [[], ["--clear"]])
def test_where_no_cache_is_none_is_made(more, tmp_path, monkeypatch, capsys):
    for name in ("VJEPA_DEMO_CACHE", "VJEPA_DEMO_CACHE_GB"):
        monkeypatch.setenv(name, "")
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "film.mp4").write_text("mine")
    for folder in (tmp_path / "holiday", tmp_path / "nothing"):
        assert main(["cache", "--cache", str(folder), *more]) == 0
        shown = capsys.readouterr().out
        assert f"It is in {folder}: 0 files, 0 bytes" in shown
        assert shown.startswith("deleted 0 files, 0 bytes\n" if more else "The feature cache")
    assert main(["cache", "--json", "--cache-gb", "1", *more]) == 0
    none = {"folder": str(folder), "num_files": 0, "num_bytes": 0, "budget_bytes": 10**9}
    assert json.loads(capsys.readouterr().out) == none
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["film.mp4", "holiday"]


def test_what_is_no_unicode_is_shown_with_the_replacement_character(run, world, checkpoint_folder, tmp_path):
    good, bad, out = tmp_path / "good\udcff.mp4", tmp_path / "bad\udcff.mp4", tmp_path / "out\udcff.csv"
    good.symlink_to(world)
    bad.write_text("no video")
    asked = ("--prompt", "a \ud83d cat", "--model", checkpoint_folder)
    done = run("score", good, bad, *asked)
    assert done.returncode == 1
    assert "good\ufffd.mp4" in done.stdout
    assert "bad\ufffd.mp4 cannot be read" in done.stdout
    scored, error = json.loads(run("score", good, bad, *asked, "--json").stdout)
    assert (Path(scored["video"]).name, Path(error["video"]).name) == ("good\ufffd.mp4", "bad\ufffd.mp4")
    assert scored["prompt"] == error["prompt"] == "a \ufffd cat"
    compared = json.loads(run("compare", good, world, *asked, "--json").stdout)
    assert compared["results"][0]["prompt"] == "a \ufffd cat"
    batch = json.loads(run("batch", good, bad, *asked, "--out", out, "--json").stdout)
    assert (batch["out"], batch["all"]["num_scored"]) == (str(tmp_path / "out\ufffd.csv"), 1)
    assert "good\ufffd.mp4,a \ufffd cat," in out.read_text("utf-8")
    again = run("batch", good, bad, *asked, "--out", out, "--resume")
    assert "1 of 2 rows were scored before" in again.stdout
    model = shutil.copytree(checkpoint_folder, tmp_path / "model \udcfe")
    assert "model \ufffd (CPU" in run("score", good, "--prompt", "x", "--model", model).stdout  # shares loaded encoders
    weights = shutil.copytree(checkpoint_folder, tmp_path / "other") / "video_encoder" / "model.safetensors"
    save_file({name: each + 1 for name, each in load_file(weights).items()}, weights, metadata={"format": "pt"})
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"encoders_sha256": {}}))
    other = (tmp_path / "other").rename(tmp_path / "other \udcfe")  # its encoders are not loaded yet
    done = run("score", good, "--prompt", "x", "--model", other)
    assert done.stderr.splitlines()[-1].startswith("error: the weights of ")


def test_a_terminal_of_an_old_encoding_gets_question_marks(world, checkpoint_folder, monkeypatch):
    terminal, errors = (io.TextIOWrapper(io.BytesIO(), encoding="latin-1") for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setattr(sys, "stderr", errors)
        main(["score", str(world), "語.mp4", "--prompt", "é語", "--model", str(checkpoint_folder)])
        terminal.flush()
    assert b"?.mp4" in terminal.buffer.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "LONG", "--prompt", "x", "--model", "SMALL"],
        ["score", "a.mp4", "--prompt", "x", "--model", "LONG"],
        ["batch", "LONG.csv", "--out", "out.csv"],
        ["batch", "a.mp4", "--prompt", "x", "--out", "LONG", "--model", "SMALL"],
        ["batch", "a.mp4", "--prompt", "x", "--out", "FILE/out.csv", "--model", "SMALL"],
        ["batch", "LOOP", "--prompt", "x", "--out", "out.csv", "--model", "SMALL"],
        ["train", "LONG", "--out", "LONG"],
        ["train", "FOLDER", "--videos", "LONG", "--out", "LONG"],
        ["train", "TABLE", "--videos", "FOLDER", "--out", "LONG", "--model", "SMALL"],
        ["train", "TABLE", "--videos", "FOLDER", "--out", "FILE/model", "--model", "SMALL"],
        ["evaluate", "TABLE", "--videos", "LONG"],
        ["make-dataset", "LONG", "--count", "1"],
        ["make-dataset", "FILE", "--count", "1"],
        ["train", "--bootstrap", "--model", "vitl", "--out", "LONG"],
    ],
)
def test_a_place_that_cannot_be_is_one_line_and_never_a_traceback(
    run, checkpoint_folder, tmp_path, monkeypatch, arguments
):
    """Names that are too long, a loop of links, a file as a folder, a folder as a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    clips = ROOT / "assets" / "examples"
    for index, clip in enumerate(sorted(clips.glob("*.mp4"))):
        shutil.copy(clip, tmp_path / "folder" / f"{index}.mp4")
    rows = "\n".join(f"{index},p{index},{index + 1}" for index in range(3))
    (tmp_path / "table.csv").write_text(f"video,prompt,mos\n{rows}")
    places = {"LONG": "n" * 300, "FILE": "file", "LOOP": "loop", "FOLDER": "folder", "TABLE": "table.csv"}
    places["SMALL"] = str(checkpoint_folder)
    for word, place in places.items():
        arguments = [each.replace(word, place) for each in arguments]
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ") or "  error: " in done.stdout or "errors" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_where_no_cache_can_be_a_video_is_scored_with_one_warning(run, world, checkpoint_folder, tmp_path):
    place = tmp_path / ("n" * 300)
    done = run_alone("score", world, "--prompt", "x", "--model", checkpoint_folder, "--cache", place)
    assert done.returncode == 0
    assert f"WARNING: features are not kept on disk: {place} cannot be written" in done.stderr
    assert done.stderr.count("WARNING") == 1
    assert run("cache", "--clear", "--cache", place).stdout.startswith("deleted 0 files")


NOBODY = """
import pwd
from vjepa_demo.app.cli import main

def unknown(*_):
    raise KeyError

pwd.getpwuid = pwd.getpwnam = unknown
raise SystemExit(main())
"""


def run_homeless(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a user id without $HOME and without an entry in the list of users, as in a container."""
    kept = {name: value for name, value in os.environ.items() if name != "HOME" and not name.startswith("VJEPA_DEMO")}
    command = [sys.executable, "-c", NOBODY, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=kept | variables)


def test_without_a_home_the_help_is_shown_and_a_video_is_scored_with_one_warning(checkpoint_folder, world, tmp_path):
    shown = " ".join(run_homeless("score", "--help").stdout.split())
    assert "folder of the feature cache (default: none, as this user has no home folder)" in shown
    videos = (world, shutil.copy(ROOT / "assets" / "examples" / "clean.mp4", tmp_path))
    done = run_homeless("score", *videos, "--prompt", "x", "--model", checkpoint_folder)
    assert (done.returncode, done.stdout.count("Overall")) == (0, 2)
    assert done.stderr == (
        "loading the model ...\n"
        "WARNING: features are not kept on disk: this user has no home folder; set VJEPA_DEMO_CACHE to a folder\n"
    )


def test_without_a_home_what_needs_a_folder_names_the_variable(run, monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("VJEPA_DEMO_CACHE", "VJEPA_DEMO_CHECKPOINTS", "VJEPA_DEMO_DATASETS"):
        monkeypatch.delenv(name, raising=False)
    said = {
        ("cache",): "Features of videos are not kept on disk: this user has no home folder; set VJEPA_DEMO_CACHE",
        ("score", "a.mp4", "--prompt", "x", "--model", "vitl"): "no home folder: set VJEPA_DEMO_CHECKPOINTS, and train",
        ("train", "--bootstrap", "--model", "vitl"): "no home folder; set VJEPA_DEMO_CHECKPOINTS to a folder, or give",
        ("train", "me/clips", "--check"): "error: data sets from the Hub have no place to go: this user has no home",
    }
    for arguments, sentence in said.items():
        done = run(*arguments)
        assert sentence in done.stdout + done.stderr
    assert json.loads(run("cache", "--json").stdout) == {
        "folder": None,
        "num_files": 0,
        "num_bytes": 0,
        "budget_bytes": 0,
    }
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    assert "Train its first head" in run("score", "a.mp4", "--prompt", "x", "--model", "vitl").stderr


def test_a_reader_that_has_enough_ends_the_command_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vjepa_demo", "cache", "--cache", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 141


# ---- pairs -----------------------------------------------------------------------------------------------------------


def test_pairs_are_checked_learned_from_and_judged_by(run, checkpoint_folder, table, tmp_path):
    clips = ROOT / "assets/sample"
    rows = (f"clip_{2 * index:04},clip_{2 * index + 1:04},prompt {index},{'AB'[index % 2]},same" for index in range(12))
    pairs = table("path_A,path_B,prompt,MQ,Overall", *rows, "gone,clip_0000,prompt 0,A,A", name="pairs.csv")
    labels = table("video,prompt,temporal", "clip_0000,prompt 0,4", "clip_0002,prompt 1,2")
    both = (labels, pairs, "--videos", clips, "--model", checkpoint_folder)
    done = run("train", *both, "--check", "--validation-fraction", 0.5)
    assert "14 of 15 rows will be used: 24 videos, 12 prompts; labels from 1 to 5: Temporal 2; pairs:" in done.stdout
    assert "pairs: Temporal 12 (0 same), Overall 12 (12 same)." in done.stdout
    assert "note: pairs.csv: MQ is read as Temporal." in done.stdout
    assert "note: line 14: pairs.csv: no video “gone” in sample" in done.stdout
    learned, validated = re.search(r"(\d+) pairs to learn from, .*?(\d+) pairs to validate with", done.stdout).groups()
    assert int(learned) + int(validated) == 12
    out = tmp_path / "mine"
    done = run("train", *both, "--out", out, "--epochs", 1, "--human", "--validation-fraction", 0.5)
    assert done.returncode == 0
    assert "On pairs the model" in done.stdout
    judged = json.loads(run("evaluate", pairs, "--videos", clips, "--model", out, "--json").stdout)
    assert judged["n"] == 0
    assert judged["pairs"]["threshold_from"] == "training pairs"
    assert judged["pairs"]["num_learned"] == judged["pairs"]["num_left_out"] == int(learned)
    assert list(judged["pairs"]["dimensions"]) == ["Temporal", "Overall"]
    shown = run("evaluate", pairs, "--videos", clips, "--model", out).stdout
    assert re.search(r"pairs +n +same +without ties +guess +with ties +guess +same up to", shown)
    assert "chosen on the pairs that the model learned from" in shown


def test_two_tables_of_one_kind_are_refused(run, table):
    first, second = (table("video,prompt,overall", "a,b,3", name=name) for name in ("one.csv", "two.csv"))
    done = run("evaluate", first, second, "--videos", ".")
    assert done.returncode == 1
    assert "one.csv and two.csv are of one kind" in done.stderr
