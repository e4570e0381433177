"""The Fine-tune tab in a real Chromium, with the real engine and the `demo` model."""

from __future__ import annotations

import re
import shutil
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import gradio as gr
import pandas as pd
import pytest
from gradio.blocks import Block
from gradio_client import Client, handle_file
from pages import fill_in, wait_for_scores
from playwright.sync_api import Page, expect

from vjepa_demo import tasks
from vjepa_demo.app import finetune_tab
from vjepa_demo.app.checkpoint_panel import use_trained
from vjepa_demo.app.finetune_tab import FinetuneTab
from vjepa_demo.app.model_choice import model_choices
from vjepa_demo.app.session import Session
from vjepa_demo.app.turns import TRAININGS
from vjepa_demo.config import ASSETS, DIMENSIONS, VISITOR_DATASET_BYTES
from vjepa_demo.model.checkpoint import open_checkpoint_zip, read_checkpoint
from vjepa_demo.schema import FetchingReport, LabelRange, LabelSource, RecordError, RecordSet, SplitReport, VideoRecord

SAMPLE = ASSETS / "sample"


@pytest.fixture
def empty_tab(kept_page, served) -> Page:
    """The tab with no labels and no videos, and perhaps what another test made below."""
    if kept_page.url.startswith(served):
        for field in ("#labels", "#label-videos"):
            if kept_page.locator(f"{field} button[aria-label='Clear']").count():
                kept_page.click(f"{field} button[aria-label='Clear']")
        expect(kept_page.locator("#start-button")).to_be_disabled()
    else:
        kept_page.goto(served)
        kept_page.get_by_role("tab", name="Fine-tune").click()
    return kept_page


def start(page: Page) -> None:
    expect(page.locator("#start-button")).to_be_enabled()
    page.click("#start-button")


def set_validation(page: Page, share: float) -> None:
    field = page.get_by_label("number input for Share for validation")
    field.fill(str(share))
    field.press("Enter")


def set_epochs(page: Page, epochs: int) -> None:
    field = page.get_by_label("number input for Epochs")
    if not field.is_visible():
        page.get_by_role("button", name="Settings").first.click()
    field.fill(str(epochs))
    field.press("Enter")


def scores_of_example(page: Page) -> list[str]:
    page.locator("#examples tbody tr").first.click()
    wait_for_scores(page)
    return page.locator("#score-table .value").all_text_contents()


def test_from_the_sample_data_set_to_a_model_that_scores(page, served, tmp_path):
    refused: list[str] = []  # "Score with it" also changes the model of tabs that were never opened
    page.on("response", lambda response: refused.append(response.url) if response.status >= 500 else None)
    page.goto(served)
    before = scores_of_example(page)
    page.get_by_role("tab", name="Fine-tune").click()
    page.click("#sample-button")
    expect(page.locator("#check")).to_contain_text("100 of 100 rows will be used: 100 videos, 50 prompts")
    expect(page.locator("#check")).to_contain_text("the opposite of what demo learned is beautiful")
    page.locator("#histograms .js-plotly-plot .bars").first.wait_for()
    start(page)
    page.locator("#curves .js-plotly-plot .scatterlayer .trace").first.wait_for()
    expect(page.locator("#metrics tr[data-dimension]")).to_have_count(5)
    assert [row.get_attribute("data-dimension") for row in page.locator("#metrics tr[data-dimension]").all()] == list(
        DIMENSIONS
    )
    expect(page.locator("#metrics")).to_contain_text("The model beats")
    expect(page.locator("#metrics")).to_contain_text("Before training the VQualA score was")
    expect(page.locator("#metrics")).not_to_contain_text("which is not larger than")  # the gain is clear
    expect(page.locator("#train-status")).to_contain_text("Done: the best of")
    assert page.locator("#scatter .js-plotly-plot .scatterlayer .trace").count() == 10  # points and line, five times
    changes = page.locator("#metrics tr[data-gain]")
    assert [row.get_attribute("data-gain") for row in changes.all()] == list(DIMENSIONS)
    for row in changes.all():
        before, after, gain = row.locator("td").all_text_contents()[1:4]
        assert float(gain.split(" ± ")[0]) == pytest.approx(float(after) - float(before), abs=0.0011)
    the_worst_clips_play(page)
    with page.expect_download() as download:
        page.click("#predictions-button")
    predictions = pd.read_csv(download.value.path())

    with page.expect_download() as download:
        page.click("#download-button")
    download.value.save_as(tmp_path / "checkpoint.zip")
    checkpoint = open_checkpoint_zip(tmp_path / "checkpoint.zip", tmp_path / "opened")
    assert checkpoint.trained_on.kind == "procedural"
    assert checkpoint.trained_on.num_clips + checkpoint.trained_on.num_held_out == 100
    assert set(checkpoint.trained_on.margins) == {*DIMENSIONS}  # enough validation clips for intervals
    assert len(predictions) == checkpoint.trained_on.num_held_out
    assert {"video_name", "Prompt", "Overall_MOS", "Overall_predicted"} < {*predictions}

    page.click("#use-button")
    expect(page.locator("#model input")).to_have_value(re.compile("^my fine-tuned model"))
    page.locator("#examples tbody tr").first.click()
    expect(page.locator("#heading")).to_contain_text("Scored by my fine-tuned model")
    assert page.locator("#score-table .value").all_text_contents() != before
    page.get_by_role("tab", name="Batch").click()
    expect(page.locator("#batch-model input")).to_have_value(re.compile("^my fine-tuned model"))
    assert refused == []


def the_worst_clips_play(page: Page) -> None:
    """One click opens the player below a clip, another closes it. The sample's files lie where Gradio serves none."""
    clips = page.locator("#worst li")
    expect(clips).to_have_count(5)
    errors = [float(text) for text in clips.locator(".off b").all_text_contents()]
    assert errors == sorted(errors, reverse=True)
    button = clips.nth(1).locator("button")
    button.click()
    video = clips.nth(1).locator("video")
    expect(video).to_have_attribute("aria-label", re.compile(r"^clip_\d{4}\.mp4$"))
    page.wait_for_function("video => video.readyState > 1 && video.videoWidth > 0", arg=video.element_handle())
    expect(clips.locator("video")).to_have_count(1)
    expect(button).to_have_attribute("aria-expanded", "true")
    button.click()
    expect(clips.locator("video")).to_have_count(0)


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


def test_templates_can_be_used_and_a_table_that_cannot_is_explained(empty_tab, tmp_path):
    page = empty_tab
    for kind in ("labels", "pairs"):
        with page.expect_download() as download:
            page.click(f"#template-{kind}")
        assert download.value.suggested_filename == f"{kind}.csv"
        download.value.save_as(tmp_path / "template.csv")
        found = tasks.read_rows(tmp_path / "template.csv")
        assert (found.num_rows, found.problems, found.notes) == (2, (), ())
        given = found.pairs if kind == "pairs" else found.records
        answered = {name for each in given for name in (each.answers if kind == "pairs" else each.labels)}
        assert (len(given), answered) == (2, {*DIMENSIONS})

    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n")
    page.set_input_files("#labels input[type=file]", tmp_path / "wrong.csv")
    expect(page.locator("#check .refused")).to_contain_text("wrong.csv has the columns a, b")
    expect(page.locator("#train-hint")).to_have_text(finetune_tab.MEND)
    page.set_input_files("#label-videos input[type=file]", shutil.copy(SAMPLE / "clip_0000.mp4", tmp_path))
    expect(page.locator(".toast-body").first).to_contain_text("wrong.csv")
    expect(page.locator("#start-button")).to_be_disabled()


def test_own_labels_are_checked_before_training_and_one_dimension_is_reported_alone(empty_tab, own_labels):
    page, (labels, videos) = empty_tab, own_labels
    page.set_input_files("#labels input[type=file]", labels)
    needed = "Add the videos: clip_0000.mp4, clip_0001.mp4, clip_0002.mp4 and 10 more."
    expect(page.locator("#train-hint")).to_have_text(needed)
    expect(page.locator("#start-button")).to_be_disabled()
    report = page.locator("#check")
    expect(report).to_contain_text("13 of 14 rows can be used, once their videos are there")
    expect(report).to_contain_text("temporal is “good”, not a number")
    page.locator("#histograms .js-plotly-plot .bars").first.wait_for()
    page.set_input_files("#label-videos input[type=file]", videos)
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


def test_training_is_stopped_with_the_best_so_far_while_scoring_goes_on(empty_tab, new_page, served, own_labels):
    page, other = empty_tab, new_page()
    other.goto(served)  # somebody else
    fill_in(other, ASSETS / "examples" / "clean.mp4", "the earth")  # short: Chromium plays it while it trains
    for field, file in zip(("#labels", "#label-videos"), own_labels, strict=True):
        page.set_input_files(f"{field} input[type=file]", file)
    set_epochs(page, 100)
    set_validation(page, 0)  # else it may end by itself, when nothing gets better
    page.get_by_label("top: ").check()
    start(page)
    expect(page.locator("#train-status")).to_contain_text("Epoch ")

    other.click("#score-button")
    wait_for_scores(other)
    expect(other.locator("#heading")).to_contain_text("Scored by demo")
    other.click("#model input")
    expect(other.get_by_role("option")).to_have_count(3)  # not this visitor's model

    page.click("#stop-button")
    expect(page.locator("#train-status")).to_contain_text("Done: the best of")
    expect(page.locator("#use-button")).to_be_visible()


def test_nobody_reaches_another_visitors_model(served, world):
    with pytest.raises(Exception, match="mine"):
        Client(served, verbose=False).predict(video=handle_file(world), prompt="x", model="mine", api_name="/score")


# ---- what no browser is needed for -----------------------------------------------------------------------------------


class Visitor:
    """Somebody on the tab, without a page: what they gave, and what each event would show them."""

    def __init__(self) -> None:
        with gr.Blocks(analytics_enabled=False) as app:
            self.tab = FinetuneTab(gr.State(), "demo", gr.Dropdown(), gr.Tabs(), app)
        tab, self.session = self.tab, Session()
        fields = (tab.labels, tab.videos, tab.hub_name, tab.label_range, tab.labeller, tab.base)
        self.values: dict[Any, Any] = dict.fromkeys((*fields, tab.rate, tab.seed))  # None: as of a tab never opened
        self.values |= {tab.session: self.session, tab.scope: "head", tab.epochs: 5, tab.validation: 0.5}

    def shown(self, update: dict[Any, Any]) -> SimpleNamespace:
        """The values of an update by the names of the tab's components."""
        names = {component: name for name, component in vars(self.tab).items() if isinstance(component, Block)}
        return SimpleNamespace(**{names[component]: value for component, value in update.items()})

    def check(self, labels: Path, videos: Path, label_range: str = "detect it") -> dict[Any, Any]:
        tab = self.tab
        self.values |= {tab.labels: str(labels), tab.videos: [str(videos)], tab.label_range: label_range}
        return tab.check_uploads(self.values, told)

    def press(self, name: str) -> SimpleNamespace:
        """`begin` or `ended`."""
        return self.shown(getattr(self.tab, name)(self.values))

    def train(self) -> Iterator[SimpleNamespace]:
        """What the page shows of the run that has begun."""
        return map(self.shown, self.tab.train(self.values))

    def run(self) -> SimpleNamespace:
        """The last of what the page shows of a run from its button to its end."""
        self.press("begin")
        *_, last = self.train()
        self.press("ended")
        return last


def told(*_: Any, **__: Any) -> None:
    """Takes the place of gr.Progress."""


@pytest.fixture
def visitor(own_labels) -> Iterator[Visitor]:
    """One whose twelve clips were checked."""
    visitor = Visitor()
    visitor.check(*own_labels)
    yield visitor
    visitor.session.close()


def test_what_was_checked_last_is_not_checked_again(visitor, own_labels):
    training = visitor.session.training
    records = training.records
    with training.run.claimed():
        assert visitor.check(*own_labels) == gr.skip()
    assert training.records is records
    training.run.release()
    visitor.check(*own_labels, "0 to 100")
    assert training.records is not records


def test_a_visitor_who_gave_nothing_is_told_what_is_missing():
    visitor = Visitor()
    shown = visitor.shown(visitor.tab.check_uploads(visitor.values, told))
    assert "Add labels and videos" in shown.hint
    assert not shown.start.interactive
    with pytest.raises(gr.Error, match="no data set on the Hub"):
        visitor.tab.check_hub(visitor.values, told)
    with pytest.raises(gr.Error, match="nothing was checked yet"):
        visitor.press("begin")
    assert not visitor.session.training.run.is_running
    visitor.session.close()


def test_a_table_of_pairs_is_checked_before_its_videos_are_there(tmp_path):
    rows = ["video_a,video_b,prompt,Overall", "1.mp4,2.mp4,p,a", "1.mp4,3.mp4,p,same", "2.mp4,2.mp4,p,b"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    visitor = Visitor()
    visitor.values |= {visitor.tab.labels: str(tmp_path / "pairs.csv")}
    shown = visitor.shown(visitor.tab.check_uploads(visitor.values, told))
    assert "2 of 3 rows can be used, once their videos are there: 3 videos" in shown.check
    assert "name the same video" in shown.check
    assert "Add the videos: 1.mp4, 2.mp4, 3.mp4." in shown.hint
    assert (shown.start.interactive, shown.histograms.visible) == (False, False)
    assert visitor.session.training.records is None
    visitor.session.close()


def test_a_declared_range_is_checked_before_the_videos_are_there(tmp_path):
    (tmp_path / "labels.csv").write_text("video,prompt,overall\na.mp4,p,3\nb.mp4,q,11\n")
    visitor = Visitor()
    visitor.values |= {visitor.tab.labels: str(tmp_path / "labels.csv"), visitor.tab.label_range: "1 to 10"}
    assert "overall is 11, outside 1 to 10" in visitor.shown(visitor.tab.check_uploads(visitor.values, told)).check
    visitor.session.close()


def test_a_clip_predicted_worst_that_is_gone_is_explained(visitor):
    visitor.run()
    clips = visitor.session.training.worst
    assert len(clips) == 5
    press = SimpleNamespace(clip=0, open=True)
    clips[0].record.video.unlink()
    with pytest.raises(gr.Error, match="it is no longer on this server"):
        visitor.tab.play_worst(press, visitor.session)
    opened = visitor.tab.play_worst(SimpleNamespace(clip=1, open=True), visitor.session)
    (copy,) = (Path(unquote(path)) for path in re.findall(r'src="gradio_api/file=(.*?)"', opened))
    assert copy.read_bytes() == clips[1].record.video.read_bytes()
    kept = list(visitor.session.downloads)
    assert visitor.tab.play_worst(SimpleNamespace(clip=1, open=True), visitor.session) == opened
    assert visitor.session.downloads == kept  # it is copied once, and goes with the session
    assert copy.parent in kept
    assert "<video" not in visitor.tab.play_worst(SimpleNamespace(clip=1, open=False), visitor.session)
    assert "<video" not in visitor.tab.play_worst(SimpleNamespace(clip=9, open=True), visitor.session)


def test_a_second_press_of_start_starts_no_second_run(visitor):
    visitor.press("begin")
    with pytest.raises(gr.Error, match="a training runs already"):
        visitor.press("begin")
    visitor.press("ended")
    assert not visitor.press("begin").start.interactive


def test_start_while_a_large_zip_is_checked_starts_nothing(visitor, own_labels, hold):
    checking, may_go_on = hold("check_labels")
    with ThreadPoolExecutor(1) as pool:
        check = pool.submit(visitor.check, *own_labels, "0 to 100")
        assert checking.wait(300)
        for _ in range(2):
            with pytest.raises(gr.Error, match="wait until they are checked"):
                visitor.press("begin")
        may_go_on.set()
        check.result(60)
    assert visitor.press("begin").stop.interactive


def test_stop_before_the_runs_turn_is_not_forgotten(visitor):
    visitor.press("begin")
    visitor.tab.stop_run(visitor.values)
    with pytest.raises(gr.Error, match="stopped before it began"):
        list(visitor.train())
    visitor.press("ended")
    visitor.press("begin")
    assert next(visitor.train())


def test_a_visitor_who_leaves_while_training_leaves_nothing(visitor):
    visitor.press("begin")
    run = visitor.train()
    for update in run:
        if "Epoch 2" in update.status:
            break
    session = visitor.session
    assert (session.folder / "run-1").exists()
    session.close()
    with pytest.raises(gr.Error, match="session has ended"):
        list(run)
    assert not session.folder.exists()


def test_the_download_goes_with_the_session_or_when_another_run_has_ended(visitor):
    served = []
    for _ in range(2):
        value = visitor.run().download.value
        served.append(Path(value["path"] if isinstance(value, dict) else value))
        assert served[-1].is_file()
        assert len(pd.read_csv(served[-1].with_name("validation-predictions.csv"))) == 6
    assert not served[0].exists()
    assert [path.name for path in visitor.session.folder.glob("run-*")] == ["run-2"]
    visitor.session.close()
    assert not served[1].exists()


@pytest.mark.parametrize(
    ("labeller", "said"),
    [(None, "6 labelled clips"), ("undeclared", "6 labelled clips"), ("human", "6 clips with human labels")],
)
def test_human_labels_are_only_what_a_person_declared(visitor, labeller, said):
    visitor.values[visitor.tab.labeller] = labeller
    visitor.run()
    assert str(read_checkpoint(visitor.session.model.checkpoint).trained_on).startswith(said)


def test_the_sample_data_set_says_by_itself_who_gave_its_labels(visitor, own_labels, monkeypatch):
    sample = visitor.shown(visitor.tab.check_sample(visitor.values, told))
    assert (sample.labeller.value, sample.labeller.interactive) == ("procedural", False)
    kinds = []

    def fine_tune(*_: Any, kind: LabelSource, **__: Any) -> Iterator[SplitReport]:
        kinds.append(kind)
        return iter([SplitReport(6, 6)])

    monkeypatch.setattr(tasks, "fine_tune", fine_tune, raising=False)
    visitor.values[visitor.tab.labeller] = "human"
    visitor.run()
    own = visitor.shown(visitor.check(*own_labels))
    assert (own.labeller.value, own.labeller.interactive) == ("undeclared", True)
    visitor.run()
    assert kinds == ["procedural", "human"]
    assert visitor.tab.labeller not in visitor.check(*own_labels, "0 to 100")  # what the person said stays


def test_a_model_that_does_not_beat_its_baseline_says_so_in_its_results_and_its_choice(own_labels, tmp_path):
    """Labels the wrong way round, and a rate at which nothing is learned."""
    table = pd.read_csv(own_labels[0], sep=";").head(12)
    table["temporal"] = 100 - table["temporal"].astype(float)
    table.to_csv(tmp_path / "wrong.csv", index=False)
    visitor = Visitor()
    visitor.check(tmp_path / "wrong.csv", own_labels[1])
    visitor.values |= {visitor.tab.rate: 1e-7, visitor.tab.epochs: 1}
    shown = visitor.run()
    assert re.findall("does not (?:clearly )?beat", shown.metrics) == ["does not beat"]
    assert "Do not rely on the scores of this model." in shown.metrics
    use_trained(visitor.session)
    name, value = model_choices(visitor.session)[-1]
    assert (name, value) == ("my fine-tuned model (does not beat the no-video baseline)", "mine")
    visitor.session.close()


def test_a_run_waits_for_that_of_a_program(visitor):
    """Programs have a queue of their own, and the machine trains one model at a time."""
    visitor.press("begin")
    begun, run = threading.Event(), visitor.tab.train(visitor.values)
    thread = threading.Thread(target=lambda: (next(run), begun.set()))
    with TRAININGS.turn():
        thread.start()
        while len(TRAININGS._line) < 2:
            thread.join(0.001)
        assert not begun.is_set()
    thread.join(60)
    assert begun.is_set()
    run.close()


def test_a_zip_that_is_checked_again_is_there_once(visitor, own_labels):
    def extracted() -> list[Path]:
        return sorted(visitor.session.folder.rglob("*.mp4"))

    once = extracted()
    visitor.check(*own_labels, "0 to 100")
    assert len(extracted()) == len(once) == 12  # what usable rows name


def test_data_are_not_changed_under_a_run(visitor, own_labels):
    visitor.press("begin")
    with pytest.raises(gr.Error, match="a training runs on the data that is there"):
        visitor.check(*own_labels, "0 to 100")
    with pytest.raises(gr.Error, match="a training runs on the data that is there"):
        visitor.tab.check_sample(visitor.values, told)
    training = visitor.session.training
    assert training.records is not None
    assert (training.description, training.kind) == ("mine.csv", "undeclared")  # not those of what was refused


def test_of_the_hub_a_visitor_has_one_data_set_at_a_time_of_a_limited_size(visitor, own_labels, monkeypatch):
    """A new one replaces the old, of several commits only the last stays, and nothing stays of one that is refused."""
    limits = []

    def check_labels(name: str, videos: None, *, extract_to: Path, max_bytes: int, **_: Any) -> Iterator[Any]:
        limits.append(max_bytes)
        folder = Path(extract_to, f"{name.replace('/', '--')}-{len(limits)}")  # of another commit each time
        folder.mkdir(parents=True)
        shutil.copy(SAMPLE / "clip_0000.mp4", folder / "1.mp4")
        yield FetchingReport(1, 1)
        if name == "me/large":
            raise RecordError("too much would be fetched")
        record = VideoRecord("1.mp4", folder / "1.mp4", "a", {"Overall": 3.0}, 2)
        yield RecordSet((record,), (), LabelRange(), 1)

    def there() -> list[str]:
        return sorted(path.name for path in (visitor.session.folder / finetune_tab.FETCHED).glob("*"))

    def load(name: str) -> None:
        visitor.values[visitor.tab.hub_name] = name
        visitor.tab.check_hub(visitor.values, told)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "check_labels", check_labels, raising=False)
        load("me/first")
        assert there() == ["me--first-1"]
        load("me/first")
        assert there() == ["me--first-2"]
        load("me/second")
        assert there() == ["me--second-3"]
        with pytest.raises(gr.Error, match="too much"):
            load("me/large")
        assert there() == []
        load("me/first")
    assert set(limits) == {VISITOR_DATASET_BYTES}
    visitor.check(*own_labels, "0 to 100")
    assert there() == []


def test_a_job_trains_on_what_was_checked_else_on_the_data_set_that_is_named(visitor, own_labels):
    tab, values, training = visitor.tab, visitor.values, visitor.session.training
    chosen = {"model": "vitl", "checkpoint": "me/x", "hardware": "l4x1", "hours": 1.0}
    values |= {tab.hub_name: " you/large ", tab.labeller: "human", tab.label_range: "0 to 100"}
    order = tab.job_order(values, **chosen)
    assert (order.data, order.kind, order.config.epochs) == (training.records, "human", 5)
    with visitor.session.renting.starting.claimed(), pytest.raises(gr.Error, match="is being uploaded for a job"):
        visitor.check(*own_labels, "0 to 100")
    training.records = training.checked = None  # not loaded here: it may be too large for that
    order = tab.job_order(values, **chosen)
    assert (order.data, order.label_range) == ("you/large", (0, 100))
    values[tab.hub_name] = ""
    with pytest.raises(RecordError, match="add labels and videos, or name a data set on the Hub"):
        tab.job_order(values, **chosen)
