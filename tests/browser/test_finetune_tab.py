"""The Fine-tune tab in a real Chromium, with the real engine and the `demo` model."""

from __future__ import annotations

import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd
import pytest
from gradio_client import Client, handle_file
from pages import fill_in, wait_for_scores
from playwright.sync_api import Page, expect

from vjepa_demo.app import finetune_tab
from vjepa_demo.app.session import Session
from vjepa_demo.app.turns import TRAININGS
from vjepa_demo.config import ASSETS, DIMENSIONS
from vjepa_demo.model.checkpoint import open_checkpoint_zip

SAMPLE = ASSETS / "sample"


def open_tab(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("tab", name="Fine-tune").click()


def start(page: Page) -> None:
    expect(page.locator("#start-button")).to_be_enabled()
    page.click("#start-button")


def set_validation(page: Page, share: float) -> None:
    field = page.get_by_label("number input for Share for validation")
    field.fill(str(share))
    field.press("Enter")


def set_epochs(page: Page, epochs: int) -> None:
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_label("number input for Epochs").fill(str(epochs))
    page.get_by_label("number input for Epochs").press("Enter")


def scores_of_example(page: Page) -> list[str]:
    page.locator("#examples tbody tr").first.click()
    wait_for_scores(page)
    return page.locator("#score-table .value").all_text_contents()


def test_from_the_sample_data_set_to_a_model_that_scores(page, served, tmp_path):
    page.goto(served)
    before = scores_of_example(page)
    page.get_by_role("tab", name="Fine-tune").click()
    page.click("#sample-button")
    expect(page.locator("#check")).to_contain_text("60 of 60 rows will be used: 60 videos")
    page.locator("#histograms .js-plotly-plot .bars").first.wait_for()
    start(page)
    page.locator("#curves .js-plotly-plot .scatterlayer .trace").first.wait_for()
    expect(page.locator("#metrics tr[data-dimension]")).to_have_count(5)
    assert [row.get_attribute("data-dimension") for row in page.locator("#metrics tr[data-dimension]").all()] == list(
        DIMENSIONS
    )
    expect(page.locator("#metrics")).to_contain_text("No baseline can be computed here")
    expect(page.locator("#train-status")).to_contain_text("Done: the best of")
    assert page.locator("#scatter .js-plotly-plot .scatterlayer .trace").count() == 10  # points and line, five times

    with page.expect_download() as download:
        page.click("#download-button")
    download.value.save_as(tmp_path / "checkpoint.zip")
    checkpoint = open_checkpoint_zip(tmp_path / "checkpoint.zip", tmp_path / "opened")
    assert checkpoint.trained_on.kind == "procedural"
    assert checkpoint.trained_on.num_clips + checkpoint.trained_on.num_held_out == 60

    page.click("#use-button")
    expect(page.locator("#model input")).to_have_value("my fine-tuned model")
    page.locator("#examples tbody tr").first.click()
    expect(page.locator("#heading")).to_contain_text("Scored by my fine-tuned model")
    assert page.locator("#score-table .value").all_text_contents() != before


@pytest.fixture(scope="module")
def own_labels(tmp_path_factory) -> tuple[Path, Path]:
    """A person's table: one dimension from 0 to 100, twelve clips, a row without a file and one that is no number."""
    folder = tmp_path_factory.mktemp("own")
    sample = pd.read_csv(SAMPLE / "labels.csv").head(14)
    table = pd.DataFrame({"path": sample["video_name"], "text": sample["Prompt"]})
    table["temporal"] = ((sample["Temporal_MOS"] - 1) * 25).round(1).astype(object)
    table.loc[12, "path"] = "gone.mp4"
    table.loc[13, "temporal"] = "good"
    table.to_csv(folder / "mine.csv", sep=";", index=False)
    with zipfile.ZipFile(folder / "clips.zip", "w") as archive:
        for name in sample["video_name"]:
            archive.write(SAMPLE / name, f"clips/{name}")
    return folder / "mine.csv", folder / "clips.zip"


def test_own_labels_are_checked_before_training_and_one_dimension_is_reported_alone(page, served, own_labels):
    labels, videos = own_labels
    open_tab(page, served)
    page.set_input_files("#labels input[type=file]", labels)
    expect(page.locator("#train-hint")).to_have_text("Add the videos, or use the sample data set.")
    expect(page.locator("#start-button")).to_be_disabled()
    page.set_input_files("#label-videos input[type=file]", videos)
    report = page.locator("#check")
    expect(report).to_contain_text("12 of 14 rows will be used")
    expect(report).to_contain_text("2 rows will not be used")
    expect(report.locator("tr").first).to_contain_text("14")
    expect(report).to_contain_text("gone.mp4")
    expect(report).to_contain_text("0 to 100")
    set_epochs(page, 3)
    set_validation(page, 0.5)
    start(page)
    expect(page.locator("#metrics tr[data-dimension]")).to_have_count(1)
    assert page.locator("#metrics tr[data-dimension]").get_attribute("data-dimension") == "Temporal"


def test_what_was_checked_last_is_not_checked_again(own_labels):
    session, (labels, videos), told = Session(), own_labels, lambda *_, **__: None
    given = str(labels), [str(videos)], "detect it"
    *_, button, _ = finetune_tab._check_uploads(session, *given, told)
    records = session.records
    assert button.interactive
    session.is_training = True
    assert all(value == gr.skip() for value in finetune_tab._check_uploads(session, *given, told))
    assert session.records is records
    session.is_training = False
    finetune_tab._check_uploads(session, *given[:2], "0 to 100", told)
    assert session.records is not records
    session.close()


def test_training_is_stopped_with_the_best_so_far_while_scoring_goes_on(page, browser, served, world):
    open_tab(page, served)
    page.click("#sample-button")
    set_epochs(page, 100)
    set_validation(page, 0)  # else it may end by itself, when nothing gets better
    page.get_by_label("top: ").check()
    start(page)
    expect(page.locator("#train-status")).to_contain_text("Epoch ")

    other = browser.new_context().new_page()  # somebody else, meanwhile
    other.goto(served)
    fill_in(other, world, "the earth")
    other.click("#score-button")
    wait_for_scores(other)
    expect(other.locator("#heading")).to_contain_text("Scored by demo")
    other.click("#model input")
    expect(other.get_by_role("option")).to_have_count(3)  # not this visitor's model
    other.context.close()

    page.click("#stop-button")
    expect(page.locator("#train-status")).to_contain_text("Done: the best of")
    expect(page.locator("#use-button")).to_be_visible()


def test_nobody_reaches_another_visitors_model(served, world):
    with pytest.raises(Exception, match="mine"):
        Client(served, verbose=False).predict(video=handle_file(world), prompt="x", model="mine", api_name="/score")


def test_a_table_that_cannot_be_used_is_explained(page, served, tmp_path):
    open_tab(page, served)
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    page.set_input_files("#labels input[type=file]", tmp_path / "wrong.csv")
    page.set_input_files("#label-videos input[type=file]", shutil.copy(SAMPLE / "clip_0000.mp4", tmp_path))
    expect(page.locator(".toast-body").first).to_contain_text("wrong.csv")
    expect(page.locator("#start-button")).to_be_disabled()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(browser, served, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    open_tab(page, served)
    page.click("#sample-button")
    expect(page.locator("#check")).to_contain_text("60 of 60 rows")
    set_epochs(page, 1)
    start(page)
    expect(page.locator("#metrics tr[data-dimension]")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    context.close()


# ---- what no browser is needed for -----------------------------------------------------------------------------------


@pytest.fixture
def session(own_labels) -> Iterator[Session]:
    """A visitor whose twelve clips were checked."""
    visitor = Session()
    check(visitor, own_labels)
    yield visitor
    visitor.close()


def check(visitor: Session, own_labels: tuple[Path, Path]) -> None:
    labels, videos = own_labels
    finetune_tab._check_uploads(visitor, str(labels), [str(videos)], "detect it", lambda *_, **__: None)


def training(visitor: Session) -> Iterator[tuple[Any, ...]]:
    return finetune_tab._train(visitor, "demo", "head", 5, 5e-4, 0.5, 0)


def test_stop_before_the_runs_turn_is_not_forgotten(session):
    finetune_tab._start(session)
    finetune_tab._stop(session)
    with pytest.raises(gr.Error, match="stopped before it began"):
        list(training(session))
    finetune_tab._ended(session)
    finetune_tab._start(session)
    assert next(training(session))


def test_a_visitor_who_leaves_while_training_leaves_nothing(session):
    finetune_tab._start(session)
    run = training(session)
    for update in run:
        if "Epoch 2" in update[0]:
            break
    assert (session.folder / "run-1").exists()
    session.close()
    with pytest.raises(gr.Error, match="session has ended"):
        list(run)
    assert not session.folder.exists()


def test_the_download_goes_with_the_session_or_when_another_run_has_ended(session):
    served = []
    for _ in range(2):
        finetune_tab._start(session)
        *_, last = training(session)
        served.append(Path(last[-1].value["path"] if isinstance(last[-1].value, dict) else last[-1].value))
        assert served[-1].is_file()
    assert not served[0].exists()
    assert [path.name for path in session.folder.glob("run-*")] == ["run-2"]
    session.close()
    assert not served[1].exists()


def test_a_run_waits_for_that_of_a_program(session):
    """Programs have a queue of their own, and the machine trains one model at a time."""
    finetune_tab._start(session)
    begun, run = threading.Event(), training(session)
    thread = threading.Thread(target=lambda: (next(run), begun.set()))
    with TRAININGS.turn():
        thread.start()
        while len(TRAININGS._line) < 2:
            thread.join(0.001)
        assert not begun.is_set()
    thread.join(60)
    assert begun.is_set()
    run.close()


def test_a_zip_that_is_checked_again_is_there_once(session, own_labels):
    def extracted() -> list[Path]:
        return sorted(session.folder.rglob("*.mp4"))

    once = extracted()
    check(session, own_labels)
    assert len(extracted()) == len(once) == 12  # what usable rows name


def test_data_are_not_changed_under_a_run(session, own_labels):
    finetune_tab._start(session)
    labels, videos = map(str, own_labels)
    with pytest.raises(gr.Error, match="training runs on the data that was there"):
        finetune_tab._check_uploads(session, labels, [videos], "0 to 100", lambda *_, **__: None)
    with pytest.raises(gr.Error, match="training runs on the data that was there"):
        finetune_tab._check_sample(session, lambda *_, **__: None)
    assert session.records is not None
    assert (session.description, session.kind) == ("mine.csv", "human")  # not those of what was refused
