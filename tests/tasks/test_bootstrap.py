"""A first head from procedural clips: by command and in the background, with small encoders where the Hub's would be.

The encoders of `vitl` and `vitg` lie in a cache of the Hub, as if they had been fetched before."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr
import processes
import pytest
import torch
from fakes import FakeScorer
from filelock import FileLock
from huggingface_hub import constants
from pages import fill_in, free_port
from playwright.sync_api import expect
from small_models import FRAMES, write_text_encoder, write_video_encoder
from transformers import VJEPA2ForVideoClassification

from vjepa_demo.app import cli, first_head
from vjepa_demo.app.page import build_app, launch
from vjepa_demo.config import CPU_FRAMES, DIMENSIONS, NAMED_VIEWS, TrainConfig, model_presets
from vjepa_demo.model.checkpoint import load_base, read_checkpoint
from vjepa_demo.procedural.clips import make_records
from vjepa_demo.schema import (
    BusyError,
    CheckpointError,
    DrawingReport,
    EncodingReport,
    EpochReport,
    FirstHead,
    ModelError,
    PlanReport,
    StoppedError,
    TrainingResult,
)
from vjepa_demo.tasks.background import Bootstrapper
from vjepa_demo.tasks.bootstrap import bootstrap_head
from vjepa_demo.tasks.score import load_scorer
from vjepa_demo.wording import first_head_line

ROOT = Path(__file__).resolve().parents[2]
CONFIG = TrainConfig(epochs=3, batch_size=4, validation_fraction=0.45)
COUNT = 12  # of which five or six are held out
SMALL = {  # drawn in a moment
    "vjepa_demo.procedural.clips.DATASET_FRAMES": 6,
    "vjepa_demo.tasks.bootstrap.FIRST_HEAD_SIZE": (48, 64),
}
DRAW = "vjepa_demo.tasks.dataset.make_records"


def write_cached(cache: Path, repo_id: str, write) -> None:
    """A repository as `huggingface_hub` keeps it once it was fetched."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = cache / f"models--{repo_id.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    write(repo / "snapshots" / commit)


@pytest.fixture(scope="session")
def hub_cache(tmp_path_factory) -> Path:
    cache = tmp_path_factory.mktemp("hub-cache")
    write_cached(cache, "BAAI/bge-large-en-v1.5", write_text_encoder)
    write_cached(cache, "facebook/vjepa2-vitl-fpc64-256", write_video_encoder)
    write_cached(
        cache,
        "facebook/vjepa2-vitg-fpc64-384-ssv2",
        lambda folder: write_video_encoder(folder, VJEPA2ForVideoClassification),
    )
    return cache


@pytest.fixture
def heads(hub_cache, tmp_path, monkeypatch) -> Path:
    """The folder of trained heads, still absent; small clips; encoders at hand."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache))
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path / "heads"))
    monkeypatch.delenv("VJEPA_DEMO_BOOTSTRAP", raising=False)
    for name, value in SMALL.items():
        monkeypatch.setattr(name, value)
    return tmp_path / "heads"


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- one run ---------------------------------------------------------------------------------------------------------


def test_the_head_is_there_afterwards_and_scores(heads, world):
    assert model_presets()["vitg"].refusal is not None
    reports = list(bootstrap_head("vitg", config=CONFIG, count=COUNT, device="cpu"))
    assert [report.done for report in reports if isinstance(report, DrawingReport)] == list(range(1, COUNT + 1))
    assert [report.epoch for report in reports if isinstance(report, EpochReport)] == [1, 2, 3]
    assert contents(heads) == ["vitg"]
    assert contents(heads / "vitg") == ["README.md", "config.json", "model.safetensors"]
    checkpoint, result = read_checkpoint(heads / "vitg"), reports[-1]
    assert result.folder == heads / "vitg"
    assert checkpoint.model.video_encoder == "facebook/vjepa2-vitg-fpc64-384-ssv2"
    assert checkpoint.model.video_encoder_revision.startswith("0123456789")
    trained_on = checkpoint.trained_on
    assert (trained_on.kind, trained_on.num_clips + trained_on.num_held_out) == ("procedural", COUNT)
    assert trained_on.num_held_out >= 5
    srocc = {name: metrics["srocc"] for name, metrics in result.evaluation.to_dict()["dimensions"].items()}
    assert trained_on.srocc == {name: value for name, value in srocc.items() if value is not None}
    assert str(trained_on).startswith(f"{trained_on.num_clips} procedural clips: moving textures")
    scores = load_scorer("vitg", device="cpu").score(world, "the earth turns")
    assert tuple(scores.scores) == DIMENSIONS
    assert scores.trained_on == trained_on


def test_the_same_clips_and_seed_give_the_same_head_and_another_seed_does_not(heads, tmp_path, monkeypatch):
    (tmp_path / "drawn").mkdir()
    drawn = list(
        make_records(tmp_path / "drawn", count=4, seed=0, size=(48, 64))
    )  # files of x264 differ from run to run
    monkeypatch.setattr(DRAW, lambda *_, **__: iter(drawn))
    weights = []
    for index, seed in enumerate((1, 1, 2)):
        torch.manual_seed(index)  # whatever ran before
        list(bootstrap_head("vitl", tmp_path / str(index), replace(CONFIG, seed=seed), count=4, device="cpu"))
        weights.append((tmp_path / str(index) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("last", [DrawingReport, EpochReport])
def test_closed_half_way_it_leaves_nothing(heads, last):
    reports = bootstrap_head("vitl", config=CONFIG, count=4, device="cpu")
    assert any(isinstance(report, last) for report in reports)
    assert contents(heads) == [".vitl.partial"]
    reports.close()
    assert contents(heads) == []


def test_an_empty_folder_is_taken_and_one_with_anything_in_it_is_not(heads, tmp_path):
    (tmp_path / "out").mkdir()
    *_, result = bootstrap_head("vitl", tmp_path / "out", CONFIG, count=4, device="cpu")
    assert isinstance(result, TrainingResult)
    before = (tmp_path / "out" / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match="out holds a checkpoint already: score with it, or give another folder"):
        list(bootstrap_head("vitl", tmp_path / "out", CONFIG, count=4, device="cpu"))
    assert (tmp_path / "out" / "config.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(CheckpointError, match="mine is not empty; an empty or new folder was expected"):
        list(bootstrap_head("vitl", tmp_path / "mine", CONFIG, count=4, device="cpu"))
    assert contents(tmp_path) == ["mine", "out"]
    assert contents(tmp_path / "mine") == ["thesis.txt"]


def test_only_an_encoder_without_a_head_gets_one(heads, tmp_path):
    with pytest.raises(ModelError, match=r"demo has a trained head already.*fine-tune it on labels"):
        list(bootstrap_head("demo", tmp_path / "out", CONFIG, count=4))
    with pytest.raises(ModelError, match=r"no encoder 'nonsense'.*choose vitl or vitg"):
        list(bootstrap_head("nonsense", tmp_path / "out", CONFIG, count=4))


def test_encoders_that_cannot_be_had_are_told_before_any_clip_is_drawn(heads, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="cannot read a model at 'facebook/vjepa2-vitl-fpc64-256'"):
        next(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu"))
    assert contents(heads) == []


def test_too_little_memory_is_explained(heads, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("vjepa_demo.tasks.bootstrap.load_base", full)
    with pytest.raises(
        ModelError, match="memory is too small for vitg, or in use by other programs: free some, or use a smaller model"
    ):
        next(bootstrap_head("vitg", config=CONFIG, count=4))


def test_what_a_killed_run_left_is_removed_and_its_lock_locks_nobody_out(heads):
    work = heads / ".vitl.partial"
    (work / "clips").mkdir(parents=True)
    (work / "clips" / "clip_0000.mp4").write_text("half")
    (work / "lock").write_text("")
    list(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu"))
    assert contents(heads) == ["vitl"]


def test_two_do_not_train_one_head_at_once(heads):
    reports = bootstrap_head("vitl", config=CONFIG, count=4, device="cpu")
    next(reports)
    with pytest.raises(BusyError, match="vitl is learning its first head in another process: wait for it"):
        next(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu"))
    *_, result = reports
    assert result.folder == heads / "vitl"
    assert contents(heads) == ["vitl"]


def test_without_a_gpu_a_new_model_sees_few_frames_and_a_trained_one_those_it_was_trained_with(
    heads, checkpoint_folder
):
    model, base = load_base("vitl", device="cpu")
    assert base is None
    assert model.clip_config.num_frames == model.config.num_frames == CPU_FRAMES
    list(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu"))
    assert read_checkpoint(heads / "vitl").model.num_frames == CPU_FRAMES, "on a GPU too"
    trained, _ = load_base(str(checkpoint_folder), device="cpu")
    assert trained.clip_config.num_frames == FRAMES


def test_the_total_is_told_before_the_first_clip_then_with_what_was_measured(heads, monkeypatch):
    monkeypatch.setattr("vjepa_demo.tasks.bootstrap.expected_seconds", lambda *_: 500.0)
    reports = list(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu"))
    plan = reports[0]
    assert isinstance(plan, PlanReport)
    assert (plan.num_clips, plan.cpu_frames) == (4, CPU_FRAMES)
    assert plan.seconds == pytest.approx(4 * 500, rel=0.01)
    drawn = [report for report in reports if isinstance(report, DrawingReport)]
    assert all(report.seconds_left >= 2000 for report in drawn)
    assert drawn[-1].seconds_left == 2000, "nothing is left to draw, all is left to encode"
    encoded = [report.seconds_left for report in reports if isinstance(report, EncodingReport)]
    assert max(encoded) < 500, "measured, no longer computed"


def test_views_with_their_own_number_of_frames_are_not_limited(heads):
    views = [NAMED_VIEWS["whole"], NAMED_VIEWS["dense"]]
    plan = next(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu", views=views))
    assert isinstance(plan, PlanReport)
    assert plan.cpu_frames is None


# ---- by command ------------------------------------------------------------------------------------------------------


def test_by_command_it_says_what_runs_and_the_model_is_usable_by_name(heads, capsys):
    command = ["train", "--bootstrap", "--model", "vitl", "--count", "10", "--epochs", "2", "--device", "cpu"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("vitl: a first head from 10 procedural clips.")
    assert lines[1].startswith("Drawing and encoding 10 clips takes about 1")
    assert lines[2] == "note: without a GPU, the encoder sees 16 frames of a clip; the model keeps that"
    assert "Drawn 10 of 10 clips" in lines
    assert "Encoded 10 of 10 clips" in lines
    assert sum(line.startswith("Epoch ") for line in lines) == 2
    assert lines[-1].endswith(f"saved in {heads / 'vitl'}")
    assert model_presets()["vitl"].refusal is None
    assert cli.main(command) == 1
    assert "error: vitl has a trained head already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--bootstrap needs --model vitl or --model vitg"),
        (["--model", "vitl", "--count", "1"], "--count is 1; some hundred clips"),
        (["--model", "vitl", "--scope", "top"], "trains a new head: leave out LABELS"),
        (["labels.csv", "--model", "vitl"], "draws its own clips"),
        (
            ["--model", "vitl", "--views", "centre,nonsense"],
            "--views is 'centre,nonsense'; one or more of centre, whole",
        ),
    ],
)
def test_a_command_that_makes_no_sense_is_explained(capsys, arguments, message):
    assert cli.main(["train", "--bootstrap", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_views_belong_to_a_first_head(capsys):
    assert cli.main(["train", "labels.csv", "--views", "native"]) == 1
    assert "--views belongs to --bootstrap" in capsys.readouterr().err


def test_a_first_head_sees_the_views_that_were_asked_for(heads, world, capsys):
    command = ["train", "--bootstrap", "--model", "vitl", "--count", "6", "--epochs", "1", "--device", "cpu"]
    assert cli.main([*command, "--views", "centre, native"]) == 0
    assert read_checkpoint(heads / "vitl").model.views == (NAMED_VIEWS["centre"], NAMED_VIEWS["native"])
    scores = load_scorer("vitl", device="cpu").score(world, "the earth turns")
    assert scores.views == tuple(NAMED_VIEWS[name].title for name in ("centre", "native"))


def test_interrupted_it_leaves_nothing(heads, monkeypatch, capsys):
    def interrupted(folder, **_):
        yield next(make_records(folder, count=1, seed=0, size=(48, 64)))
        raise KeyboardInterrupt

    monkeypatch.setattr(DRAW, interrupted)
    assert cli.main(["train", "--bootstrap", "--model", "vitl", "--device", "cpu"]) == 130
    assert capsys.readouterr().err.endswith("\ninterrupted\n")
    assert contents(heads) == []


def test_killed_it_leaves_nothing_that_looks_like_a_checkpoint(heads, hub_cache):
    program = (
        "from vjepa_demo.app import cli; "
        "from vjepa_demo.procedural import clips; "
        "from vjepa_demo.tasks import bootstrap; "
        "clips.DATASET_FRAMES, bootstrap.FIRST_HEAD_SIZE = 6, (48, 64); "
        "cli.main(['train', '--bootstrap', '--device', 'cpu', '--model', 'vitl'])"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(hub_cache), "OMP_NUM_THREADS": "1"}
    with processes.start("-c", program, environment=environment) as process:
        wait_until(lambda: len(contents(heads / ".vitl.partial" / "clips")) >= 2)
        process.kill()
    assert contents(heads) == [".vitl.partial"]
    assert not list(heads.rglob("config.json"))
    with pytest.raises(ModelError, match="only an encoder"):
        load_scorer("vitl", device="cpu")
    list(bootstrap_head("vitl", config=CONFIG, count=4, device="cpu"))  # its lock died with it
    assert contents(heads) == ["vitl"]


def wait_until(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


# ---- in the background -----------------------------------------------------------------------------------------------


def started(**settings) -> Bootstrapper:
    bootstrapper = Bootstrapper(**{"has_gpu": lambda: True, "config": CONFIG, "count": COUNT, **settings})
    bootstrapper.start()
    return bootstrapper


@pytest.fixture
def slow_drawing(monkeypatch) -> threading.Event:
    """Clips are drawn only once this is set."""
    may_draw = threading.Event()

    def draw_slowly(*arguments, **settings):
        for record in make_records(*arguments, **settings):
            yield record
            assert may_draw.wait(300)

    monkeypatch.setattr(DRAW, draw_slowly)
    return may_draw


def test_on_a_gpu_the_default_model_gets_its_first_head_by_itself_and_only_once(heads):
    bootstrapper = started()
    bootstrapper.start()
    bootstrapper.join(60)
    assert bootstrapper.state() == FirstHead("done", "vitg")
    assert first_head_line(bootstrapper.state()) == "vitg has learned its first head: it can be chosen now"
    assert contents(heads) == ["vitg"]
    before = (heads / "vitg" / "config.json").stat()
    again = started()
    again.join(60)
    assert again.state() == FirstHead("idle", "vitg")
    assert first_head_line(again.state()) == ""
    assert (heads / "vitg" / "config.json").stat() == before


def test_it_tells_each_step(heads, monkeypatch):
    told = []
    tell = Bootstrapper._tell
    monkeypatch.setattr(
        Bootstrapper, "_tell", lambda self, state: (told.append(first_head_line(state)), tell(self, state))
    )
    started(count=5).join(60)
    assert told[0] == "vitg is learning its first head: its encoder is being loaded"
    assert told[1].startswith("vitg is learning its first head, step 1 of 3: 0 of 5 clips drawn, ")
    assert told[2].startswith("vitg is learning its first head, step 1 of 3: 1 of 5 clips drawn")
    assert "vitg is learning its first head, step 2 of 3: 5 of 5 clips encoded" in told
    assert "vitg is learning its first head, step 3 of 3: epoch 3 of 3" in told
    minutes = FirstHead("learning", "vitg", 3, 20, seconds_left=240.0)
    assert first_head_line(minutes) == "vitg is learning its first head, step 3 of 3: epoch 3 of 20, 4 min left in all"


@pytest.mark.parametrize(("setting", "has_gpu"), [(None, False), ("0", True), ("0", False)])
def test_without_a_gpu_or_where_it_is_turned_off_nothing_happens(heads, monkeypatch, setting, has_gpu):
    if setting is not None:
        monkeypatch.setenv("VJEPA_DEMO_BOOTSTRAP", setting)
    bootstrapper = started(has_gpu=lambda: has_gpu)
    bootstrapper.join(60)
    assert (bootstrapper.state().phase, contents(heads)) == ("idle", [])


def test_a_setting_names_another_model_also_without_a_gpu(heads, monkeypatch, slow_drawing):
    monkeypatch.setenv("VJEPA_DEMO_BOOTSTRAP", "vitl")
    bootstrapper = started(has_gpu=lambda: False)
    wait_until(lambda: bootstrapper.state().phase == "drawing")
    assert bootstrapper.state().name == "vitl"
    bootstrapper.cancel()
    slow_drawing.set()
    bootstrapper.join(60)


def test_a_setting_that_is_none_is_told(heads, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_BOOTSTRAP", "yes please")
    bootstrapper = started()
    bootstrapper.join(60)
    assert "VJEPA_DEMO_BOOTSTRAP is 'yes please'; 0, vitl or vitg was expected" in first_head_line(bootstrapper.state())


def test_cancelled_it_leaves_nothing(heads, slow_drawing):
    bootstrapper = started()
    wait_until(lambda: bootstrapper.state().phase == "drawing")
    bootstrapper.cancel()
    assert bootstrapper.state().phase == "stopping"
    slow_drawing.set()
    bootstrapper.join(60)
    assert bootstrapper.state() == FirstHead("stopped", "vitg")
    assert contents(heads) == []
    assert model_presets()["vitg"].refusal is not None


def test_cancelled_while_it_learns_it_leaves_nothing_either(heads, tmp_path):
    learned: list[EpochReport] = []
    run = bootstrap_head("vitl", config=CONFIG, count=COUNT, device="cpu", should_stop=lambda: len(learned) == 1)
    with pytest.raises(StoppedError, match="nothing of the first head is kept"):
        learned.extend(report for report in run if isinstance(report, EpochReport))
    assert contents(heads) == []
    assert model_presets()["vitl"].refusal is not None


def test_a_failure_is_told_in_a_line_without_folders(heads, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    bootstrapper = started()
    bootstrapper.join(60)
    text = first_head_line(bootstrapper.state())
    assert text.startswith("vitg could not learn its first head: cannot read a model at 'facebook/vjepa2-vitg")
    assert "bootstrap of vitg: cannot read a model" in caplog.text
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "")
    (heads / "vitg").mkdir(parents=True)
    (heads / "vitg" / "mine.txt").write_text("precious")
    bootstrapper = started()
    bootstrapper.join(60)
    text = first_head_line(bootstrapper.state())
    assert text == "vitg could not learn its first head: vitg is not empty; an empty or new folder was expected"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_told_too_and_ends_the_run(heads, monkeypatch):
    monkeypatch.setattr(DRAW, lambda *_, **__: 1 / 0)
    bootstrapper = started()
    bootstrapper.join(60)
    assert first_head_line(bootstrapper.state()).endswith("it ended with an error, which the server's log tells")
    assert contents(heads) == []


def test_where_another_process_is_at_it_the_line_says_so_until_the_head_is_there(heads):
    (heads / ".vitg.partial").mkdir(parents=True)
    with FileLock(heads / ".vitg.partial" / "lock"):
        bootstrapper = started()
        bootstrapper.join(60)
    assert first_head_line(bootstrapper.state()) == "vitg is learning its first head in another process"
    assert not bootstrapper.state().is_settled
    (heads / "vitg").mkdir()
    (heads / "vitg" / "config.json").write_text("{}")
    assert bootstrapper.state() == FirstHead("done", "vitg")


# ---- on the page -----------------------------------------------------------------------------------------------------


class Request:
    def __init__(self, host: str, client: str, **headers: str) -> None:
        self.headers = {"host": host, **headers}
        self.client = type("Client", (), {"host": client})


@pytest.mark.parametrize(
    ("request_", "at_the_machine"),
    [
        (Request("localhost:7860", "127.0.0.1"), True),
        (Request("127.0.0.1:7860", "127.0.0.1"), True),
        (Request("[::1]:7860", "::1"), True),
        (Request("192.168.0.7:7860", "192.168.0.9"), False),
        (Request("localhost:7860", "192.168.0.9"), False),
        (Request("abc.gradio.live", "127.0.0.1"), False),
        (Request("localhost:7860", "127.0.0.1", **{"x-forwarded-for": "8.8.8.8"}), False),
        (Request("", "127.0.0.1"), False),
    ],
)
def test_only_the_person_at_the_machine_can_cancel(monkeypatch, request_, at_the_machine):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert first_head.is_at_the_machine(request_) == at_the_machine
    monkeypatch.setenv("SPACE_ID", "somebody/space")
    assert not first_head.is_at_the_machine(request_)


@pytest.fixture
def served(heads, monkeypatch) -> Iterator[tuple[Bootstrapper, str]]:
    """A page whose models cannot be loaded, and the bootstrapper it tells of, not yet started."""
    monkeypatch.setattr(first_head, "POLL_SECONDS", 0.2)
    bootstrapper, port = Bootstrapper(has_gpu=lambda: True, config=CONFIG, count=COUNT), free_port()
    app = build_app(lambda _: FakeScorer(), bootstrapper=bootstrapper)
    launch(app, server_name="127.0.0.1", server_port=port)
    yield bootstrapper, f"http://127.0.0.1:{port}"
    bootstrapper.cancel()
    bootstrapper.join(60)
    app.close(verbose=False)


def test_the_page_tells_it_and_the_model_becomes_usable_without_a_reload(page, served, slow_drawing, world):
    bootstrapper, address = served
    page.goto(address)
    fill_in(page, world, "the earth turns")
    page.click("#model input")
    page.get_by_role("option", name="vitg").click()
    expect(page.locator("#hint")).to_contain_text("python -m vjepa_demo train --bootstrap --model vitg")
    expect(page.locator("#score-button")).to_be_disabled()
    expect(page.locator("#first-head")).to_be_hidden()
    bootstrapper.start()
    line = page.locator("#first-head-line")
    expect(line).to_contain_text("vitg is learning its first head, step 1 of 3: 1 of 12 clips drawn")
    expect(page.locator("#first-head-cancel")).to_be_visible()
    slow_drawing.set()
    expect(line).to_have_text("vitg has learned its first head: it can be chosen now")
    expect(page.locator("#first-head-cancel")).to_be_hidden()
    expect(page.locator("#hint")).to_have_text("")
    expect(page.locator("#score-button")).to_be_enabled()


def test_it_can_be_cancelled_from_the_page(page, served, slow_drawing, heads):
    bootstrapper, address = served
    bootstrapper.start()
    page.goto(address)
    page.click("#first-head-cancel")
    expect(page.locator("#first-head-line")).to_have_text("vitg is learning its first head: stopping")
    expect(page.locator("#first-head-cancel")).to_be_hidden()
    slow_drawing.set()
    expect(page.locator("#first-head-line")).to_contain_text("vitg was stopped before it had learned")
    assert contents(heads) == []


def test_the_page_has_no_public_endpoint_for_it():
    app, without = (build_app(lambda _: None, bootstrapper=each) for each in (Bootstrapper(), None))
    assert isinstance(app, gr.Blocks)
    assert app.get_api_info()["named_endpoints"] == without.get_api_info()["named_endpoints"]
