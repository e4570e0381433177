"""The Hub as a person meets it, on the command line and on the page; the server is the one of hub_server.py."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from pathlib import Path

import gradio as gr
import pytest
import torch
from fakes import FakeScorer
from hub_server import Repo
from huggingface_hub import constants
from pages import PROMPT, fill_in, page_of, wait_for_scores
from playwright.sync_api import Page, expect
from small_models import FRAMES

from vjepa_demo import tasks
from vjepa_demo.app import checkpoint_panel, cli, jobs_panel
from vjepa_demo.app.model_choice import model_choices
from vjepa_demo.app.page import build_app
from vjepa_demo.app.session import MINE, Session
from vjepa_demo.config import DIMENSIONS
from vjepa_demo.media.video import write_video
from vjepa_demo.model.checkpoint import find_checkpoint, push_checkpoint, read_checkpoint, zip_checkpoint
from vjepa_demo.schema import CheckpointError, ModelError
from vjepa_demo.tasks import jobs
from vjepa_demo.tasks import score as scorer

CLIPS = 10


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, bytes]:
    """The files of a data set: greys, the brighter the better; one video is named by no row, one is no video."""
    folder = tmp_path_factory.mktemp("clips")
    rows = ["video_name,Prompt,Traditional_MOS,Overall_MOS", "broken.mp4,a prompt,3,3"]
    for index in range(CLIPS + 1):
        frames = torch.full((FRAMES, 3, 40, 40), 20 + 20 * index, dtype=torch.uint8)
        write_video(folder / f"{index}.mp4", frames, frames_per_second=8)
        if index < CLIPS:
            rows.append(f"{index}.mp4,prompt {index},{1 + index / 4},{1.5 + index / 3}")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "labels.csv").write_text("\n".join(rows))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def account(hub, monkeypatch):
    """This machine is signed in, as `me`."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    monkeypatch.setattr(scorer, "_scorers", {})


@pytest.fixture
def small_zip(checkpoint_folder, tmp_path) -> Path:
    """The small checkpoint as "Download the checkpoint" gives it."""
    zip_checkpoint(checkpoint_folder, tmp_path / "checkpoint-1.zip")
    return tmp_path / "checkpoint-1.zip"


# ---- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs a command in this process, where the Hub is; returns its status, stdout and stderr."""
    monkeypatch.setenv("VJEPA_DEMO_DATASETS", str(tmp_path / "datasets"))

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([*map(str, arguments), "--device", "cpu"])
        return status, *capsys.readouterr()

    return run


def test_a_data_set_of_the_hub_is_trained_on_and_evaluated_and_fetched_once(
    hub, account, command, clips, checkpoint_folder, tmp_path
):
    hub.repos["datasets/me/clips"] = Repo(dict(clips), private=True, readers={"me"})
    status, out, _ = command(
        *("train", "me/clips", "--out", tmp_path / "out", "--model", checkpoint_folder, "--epochs", 1, "--human"),
        *("--push", "me/scores"),
    )
    assert status == 0
    assert f"pushed to {hub.url}/me/scores" in out
    assert f"Fetched {CLIPS + 1} of {CLIPS + 1} videos" in out
    assert hub.fetched() == clips.keys() - {f"{CLIPS}.mp4"}
    trained_on = read_checkpoint(tmp_path / "out").trained_on
    assert (trained_on.description, trained_on.kind) == ("me/clips", "human")
    hub.requests.clear()
    status, out, err = command("evaluate", "me/clips", "--model", tmp_path / "out", "--json")
    assert (status, json.loads(out)["n"], hub.fetched()) == (0, CLIPS, set())
    assert "broken.mp4 cannot be read as a video" in err
    assert hub.repos["models/me/scores"].private
    refused = ("train", "me/clips", "--out", tmp_path / "no", "--model", checkpoint_folder, "--push", "you/scores")
    status, _, err = command(*refused)
    assert (status, "you/scores" in err, hub.fetched()) == (1, True, set())
    again = ("train", "me/clips", "--out", tmp_path / "again", "--model", "me/scores", "--epochs", 1)
    assert command(*again)[0] == 0
    assert read_checkpoint(tmp_path / "again").trained_on.description == "me/clips"


def test_a_checkpoint_that_is_private_on_the_hub_scores_for_its_owner_alone(
    hub, account, command, checkpoint_folder, world
):
    push_checkpoint(checkpoint_folder, "me/scores", token="hf_me", private=True)
    status, out, _ = command("score", world, "--prompt", PROMPT, "--model", "me/scores", "--json")
    assert status == 0
    assert json.loads(out)[0]["model"] == "me/scores"
    with pytest.raises(CheckpointError, match="me/scores: no such model repository"):
        scorer.get_scorer("me/scores", "cpu")
    assert scorer.get_scorer("me/scores", "cpu", token=None) is scorer.get_scorer("me/scores", "cpu", token=None)


@pytest.mark.parametrize("arguments", [("train", "--out", "x"), ("evaluate",)])
@pytest.mark.parametrize("labels", ["labels.csv", "data/labels.csv"])
def test_a_file_of_labels_needs_its_videos(hub, command, arguments, labels):
    name, *rest = arguments
    status, _, err = command(name, labels, *rest, "--model", "demo")
    assert status == 1
    assert "--videos DIR_OR_ZIP" in err
    assert hub.requests == []


# ---- what the page does ----------------------------------------------------------------------------------------------


def push(
    session: Session,
    repo_id: str,
    typed: str | None,
    *,
    private: bool = True,
    signed_in: gr.OAuthToken | None = None,
) -> list[str]:
    """Press Push with these fields; returns what the page says, and the field for the token as it is then."""
    with gr.Blocks(analytics_enabled=False) as app:
        state = gr.State()
        answer = checkpoint_panel.add_push_checkpoint(state)
    [event] = app.fns.values()
    fields = {field.elem_id: field for field in event.inputs}
    token = fields["push-token"]
    values = {state: session, fields["push-repo"]: repo_id, fields["push-private"]: private, token: typed}
    shown = event.fn(values, signed_in)
    return [shown[answer], shown[token]]


def test_a_push_from_the_page_is_the_visitors_own(hub, account, session, checkpoint_folder, caplog):
    caplog.set_level(logging.DEBUG)
    session.model.checkpoint = checkpoint_folder
    answer, field = push(session, " you/scores ", " hf_you ")
    repo = hub.repos["models/you/scores"]
    assert (repo.private, repo.readers, field) == (True, {"you"}, "")
    assert f'href="{hub.url}/you/scores"' in answer
    assert "hf_you" not in answer + caplog.text + repr(vars(session)) + repr(session.model)


def test_who_signed_in_needs_no_token(hub, session, checkpoint_folder):
    session.model.checkpoint = checkpoint_folder
    signed_in = gr.OAuthToken(token="hf_you", scope="contribute-repos", expires_at=0)
    push(session, "you/scores", "", private=False, signed_in=signed_in)
    assert not hub.repos["models/you/scores"].private


@pytest.mark.parametrize("typed", ["", " ", None])
def test_the_page_never_pushes_with_the_account_of_the_machine(hub, account, session, checkpoint_folder, typed):
    session.model.checkpoint = checkpoint_folder
    with pytest.raises(gr.Error, match="the token is missing: paste one with write access"):
        push(session, "me/scores", typed)
    assert hub.requests == []


def test_a_push_that_fails_says_why_and_not_the_token(hub, session, checkpoint_folder):
    with pytest.raises(gr.Error, match="train one first"):
        push(session, "me/scores", "hf_me")
    session.model.checkpoint = checkpoint_folder
    with pytest.raises(gr.Error, match="does not know this account") as caught:
        push(session, "me/scores", "hf_secret")
    assert "secret" not in caught.value.message


def test_a_button_to_sign_in_is_only_where_gradio_can_serve_it(monkeypatch):
    monkeypatch.setattr(checkpoint_panel, "OAUTH_LIBRARIES", ("gradio",))
    for name in checkpoint_panel.OAUTH_VARIABLES:
        monkeypatch.setenv(name, "set")
    assert not checkpoint_panel.can_sign_in()
    monkeypatch.setenv("SYSTEM", "spaces")
    assert checkpoint_panel.can_sign_in()
    monkeypatch.setattr(checkpoint_panel, "OAUTH_LIBRARIES", ("gradio", "no_such_library"))
    assert not checkpoint_panel.can_sign_in()
    app = build_app(lambda _: FakeScorer())
    assert not any(isinstance(block, gr.LoginButton) for block in app.blocks.values())


def test_an_uploaded_checkpoint_leaves_no_files_and_no_half_state(session, small_zip, tmp_path):
    checkpoint_panel.use_zip(session, str(small_zip))
    mine = session.scorer(MINE, lambda _: None)
    assert mine.name == "my uploaded checkpoint"
    (tmp_path / "bad.zip").write_bytes(small_zip.read_bytes()[:-100])
    with pytest.raises(gr.Error, match=r"bad\.zip is damaged"):
        checkpoint_panel.use_zip(session, str(tmp_path / "bad.zip"))
    assert session.scorer(MINE, lambda _: None) is mine
    assert list(session.folder.iterdir()) == []


def test_what_was_trained_here_is_scored_with_again_after_another_checkpoint(session, small_zip, checkpoint_folder):
    session.model.checkpoint = checkpoint_folder
    for _ in range(2):
        checkpoint_panel.use_zip(session, str(small_zip))
        assert session.model.scorer.name == "my uploaded checkpoint"
        checkpoint_panel.use_trained(session)
        assert session.model.scorer.name == "my fine-tuned model"
    trained = session.model.scorer
    checkpoint_panel.use_trained(session)
    assert session.model.scorer is trained


def test_a_model_that_made_room_for_anothers_is_loaded_again_when_it_is_used(
    hub, small_zip, checkpoint_folder, world, monkeypatch
):
    push_checkpoint(checkpoint_folder, "you/scores", token="hf_you", private=True)
    monkeypatch.setattr(checkpoint_panel.tasks, "loaded_scorers", list)  # other tests may have loaded its encoders
    monkeypatch.setenv("VJEPA_DEMO_MAX_MODELS_GB", "0.1")
    sessions = [Session() for _ in range(3)]
    ways = [
        lambda session: checkpoint_panel.use_zip(session, small_zip),
        lambda session: checkpoint_panel.use_hub(session, "you/scores", token="hf_you"),
        checkpoint_panel.use_trained,
    ]
    sessions[2].model.checkpoint = checkpoint_folder
    scores = [use(session).score(world, PROMPT).scores for use, session in zip(ways, sessions, strict=True)]
    assert all(session.model.scorer is not None for session in sessions)
    assert len({id(session.model.scorer) for session in sessions}) == 3
    hub.repos.clear()  # what was fetched is kept, a token is not
    monkeypatch.setenv("VJEPA_DEMO_MAX_MODELS_GB", "0.000000001")
    for session, before in zip(sessions, scores, strict=True):
        choices = model_choices(session)
        assert session.scorer(MINE, lambda _: None).score(world, PROMPT).scores == before
        assert model_choices(session) == choices
        assert [each is session for each in sessions if each.model.scorer is not None] == [True]
    for session in sessions:
        session.close()


def test_a_zip_that_takes_more_than_a_visitor_may_have_is_refused_before_it_is_there(
    hub, session, small_zip, checkpoint_folder, monkeypatch
):
    push_checkpoint(checkpoint_folder, "you/scores", token="hf_you", private=False)
    for limit in ("VISITOR", "MODELS"):
        with monkeypatch.context() as patch:
            patch.setenv(f"VJEPA_DEMO_MAX_{limit}_GB", "0.00001")
            with pytest.raises(gr.Error, match=r"checkpoint-1\.zip .*9.31e-06 GiB"):
                checkpoint_panel.use_zip(session, small_zip)
            with pytest.raises(gr.Error, match=r"you/scores@.* would be fetched; at most 10 kB are allowed"):
                checkpoint_panel.use_hub(session, "you/scores")
    assert list(session.folder.iterdir()) == []
    assert session.model.scorer is None


def test_a_strangers_checkpoint_does_not_choose_what_is_fetched(hub, session, checkpoint_folder, tmp_path):
    folder = shutil.copytree(checkpoint_folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["model"]["video_encoder"] = "owner/private-encoder"
    (folder / "config.json").write_text(json.dumps(config))
    zip_checkpoint(folder, tmp_path / "x.zip")
    with pytest.raises(gr.Error, match=r"x\.zip rests on owner/private-encoder; this page only fetches the encoders"):
        checkpoint_panel.use_zip(session, str(tmp_path / "x.zip"))
    push_checkpoint(folder, "you/x", token="hf_you", private=False)
    with pytest.raises(gr.Error, match="you/x rests on owner/private-encoder"):
        checkpoint_panel.use_hub(session, "you/x")
    assert session.model.scorer is None


def test_the_page_takes_names_of_the_hub_and_no_folders(hub, account, session, checkpoint_folder, monkeypatch):
    push_checkpoint(checkpoint_folder, "me/scores", token="hf_me", private=True)
    monkeypatch.chdir(checkpoint_folder.parent.parent)
    relative = f"{checkpoint_folder.parent.name}/{checkpoint_folder.name}"
    assert find_checkpoint(relative).folder == Path(relative)
    for name in (relative, "me/scores"):
        with pytest.raises(gr.Error, match="no such model repository"):
            checkpoint_panel.use_hub(session, name)
    for name in ("demo", str(checkpoint_folder), "", "../x"):
        with pytest.raises(gr.Error, match="is no checkpoint on the Hub; owner/name was expected"):
            checkpoint_panel.use_hub(session, name)
    with pytest.raises(ModelError, match="your own model is gone"):
        session.scorer(MINE, lambda _: None)


# ---- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture
def served(page_here) -> str:
    """The page in this process, where the Hub is; its presets answer like `FakeScorer`."""
    return page_here.address


def open_tab(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("tab", name="Fine-tune").click()


@pytest.fixture
def tab(kept_page, served) -> Page:
    """The Fine-tune tab of one visitor of several tests, with the panel for checkpoints open."""
    if not kept_page.url.startswith(served):
        open_tab(kept_page, served)
        kept_page.click("#use-checkpoint > button")
    kept_page.get_by_role("tab", name="Fine-tune").click()
    kept_page.evaluate("document.querySelectorAll('.toast-close').forEach((each) => each.click())")
    expect(kept_page.locator(".toast-body")).to_have_count(0)
    return kept_page


def test_an_uploaded_checkpoint_scores_for_its_visitor_alone(
    hub,
    page,
    new_page,
    served,
    small_zip,
    checkpoint_folder,
    world,
):
    open_tab(page, served)
    page.click("#use-checkpoint > button")
    page.set_input_files("#checkpoint-zip input[type=file]", small_zip)
    expect(page.locator("#score-button")).to_be_visible(timeout=30_000)
    assert page.input_value("#model input") == "my uploaded checkpoint"
    fill_in(page, world, PROMPT)
    page.click("#score-button")
    wait_for_scores(page)
    expected = scorer.load_scorer(str(checkpoint_folder)).score(world, PROMPT).scores
    shown = page.locator("#score-table .value").all_text_contents()
    assert shown == [f"{expected[name]:.2f}" for name in DIMENSIONS]
    expect(page.locator("#heading")).to_contain_text("Scored by my uploaded checkpoint.")
    other = new_page()
    other.goto(served)
    other.click("#model input")
    expect(other.get_by_role("option")).to_have_count(3)


def test_a_zip_that_is_no_checkpoint_and_a_name_that_is_none_are_explained(hub, tab, tmp_path):
    page = tab
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.jpg", b"")
    page.set_input_files("#checkpoint-zip input[type=file]", tmp_path / "photos.zip")
    expect(page.locator(".toast-body").first).to_contain_text("photos.zip is not a checkpoint: it has no config.json")
    page.fill("#checkpoint-name textarea", "you/nothing")
    page.click("#checkpoint-button")
    expect(page.locator(".toast-body").last).to_contain_text("you/nothing: no such model repository")


def test_from_a_data_set_on_the_hub_to_a_checkpoint_on_the_hub(hub, tab, clips):
    page = tab
    hub.repos["datasets/you/clips"] = Repo(dict(clips))
    expect(page.locator("#push")).to_be_hidden()
    page.fill("#hub-dataset textarea", "you/clips")
    page.click("#hub-load")
    expect(page.locator("#check")).to_contain_text(f"{CLIPS} of {CLIPS + 1} rows will be used")
    expect(page.locator("#check")).to_contain_text("broken.mp4 cannot be read as a video")
    assert hub.fetched() == clips.keys() - {f"{CLIPS}.mp4"}
    page.click("#start-button")
    expect(page.locator("#train-results")).to_be_visible(timeout=120_000)
    page.click("#push > button")
    page.fill("#push-repo textarea", "you/scores")
    page.fill("#push-token input", "hf_you")
    assert page.get_attribute("#push-token input", "type") == "password"
    page.click("#push-button")
    expect(page.locator("#pushed a")).to_have_attribute("href", f"{hub.url}/you/scores")
    expect(page.locator("#push-token input")).to_have_value("")
    assert hub.repos["models/you/scores"].private
    assert find_checkpoint("you/scores", token="hf_you").trained_on.description == "you/clips"


def test_a_public_checkpoint_of_the_hub_is_chosen_by_its_name(hub, tab, checkpoint_folder):
    page = tab
    push_checkpoint(checkpoint_folder, "you/scores", token="hf_you", private=False)
    page.fill("#checkpoint-name textarea", "you/scores")
    page.click("#checkpoint-button")
    expect(page.locator("#score-button")).to_be_visible()
    assert page.input_value("#model input") == "you/scores"


def test_compared_clips_become_a_data_set_that_fine_tune_reads(hub, page, served, clips, tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_STUDIES", str(tmp_path / "studies"))
    for number in range(4):
        (tmp_path / f"{number}.mp4").write_bytes(clips[f"{number}.mp4"])
    table = tasks.batch_of_files([tmp_path / f"{number}.mp4" for number in range(4)], "a wall")
    *_, (made, owner) = tasks.keep_study(table, kind="pairs", dimensions=("Overall",))
    study = tasks.owned_study(made.study.id, owner)
    rater = study.join("Ann")
    while items := study.upcoming(rater, count=1):
        study.rate(rater, items[0].token, {"Overall": "a"})
    kept = json.dumps({"current": study.study.id, study.study.id: {"owner": owner}})
    page.add_init_script(f"localStorage.setItem('vjepa-demo-studies', {json.dumps(kept)})")
    page.goto(served)
    page.get_by_role("tab", name="Rate").click()
    page.click("#rate-publish > button")
    expect(page.locator("#rate-publish")).to_contain_text("sees the clips, the prompts, the answers and the names")
    page.fill("#rate-publish-repo textarea", "you/walls")
    page.fill("#rate-publish-token input", "hf_you")
    assert page.is_checked("#rate-publish-private input")
    page.uncheck("#rate-publish-private input")
    page.click("#rate-publish-button")
    expect(page.locator("#rate-published a")).to_have_attribute("href", f"{hub.url}/datasets/you/walls")
    expect(page.locator("#rate-publish-token input")).to_have_value("")
    page.get_by_role("tab", name="Fine-tune").click()
    page.fill("#hub-dataset textarea", "you/walls")
    page.click("#hub-load")
    expect(page.locator("#train-hint")).to_contain_text(f"{len(study.study.pairs)} pairs will be used")
    page.get_by_role("tab", name="Rate").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#rate-delete")
    expect(page.locator("#rate-owner")).to_be_hidden()


def test_a_job_on_rented_hardware_is_followed_over_a_reload_and_its_checkpoint_scores(
    hub, page, checkpoint_folder, monkeypatch, world
):
    """The job waits for a machine that never comes; the test does what it would. tests/tasks/test_jobs.py runs one."""
    monkeypatch.setattr(jobs, "JOB_POLL_SECONDS", 0.2)
    monkeypatch.setattr(jobs_panel, "TICK_SECONDS", 0.5)
    with page_of(lambda _: FakeScorer()) as address:
        open_tab(page, address)
        page.fill("#hub-dataset textarea", "you/clips")
        page.click("#job > button")
        expect(page.locator("#job-hardware input")).to_have_value("1x Nvidia L4 · 24 GB · $0.80/h")
        page.fill("#job-repo textarea", "you/scores")
        page.fill("#job-token input", "hf_you")
        hub.job_status = 402
        page.click("#job-start")
        expect(page.locator(".toast-body").first).to_contain_text("the account has no credit left")
        hub.job_status = 200
        page.click("#job-start")
        expect(page.locator("#job-status")).to_contain_text("The job waits for a machine")
        expect(page.locator("#job-token input")).to_have_value("")
        [job] = hub.jobs.values()
        assert job.wanted["flavor"] == "l4x1"
        page.reload()
        page.get_by_role("tab", name="Fine-tune").click()
        page.click("#job > button")
        expect(page.locator("#job-status a")).to_have_attribute("href", f"{hub.url}/jobs/you/{job.id}")
        page.fill("#job-token input", "hf_you")
        page.click("#job-look")
        job.stage = "RUNNING"
        job.lines.append("Epoch 1 of 1: <b>loss</b> 0.1")
        expect(page.locator("#job-status pre")).to_have_text("Epoch 1 of 1: <b>loss</b> 0.1")
        expect(page.locator("#job-cancel")).to_be_visible()
        push_checkpoint(checkpoint_folder, "you/scores", token="hf_you", private=True)
        job.stage = "COMPLETED"
        page.click("#job-use")
        expect(page.locator("#score-button")).to_be_visible()
        expect(page.locator("#model input")).to_have_value("you/scores")
        fill_in(page, world, PROMPT)
        page.click("#score-button")
        wait_for_scores(page)
        expect(page.locator("#heading")).to_contain_text("Scored by you/scores.")
