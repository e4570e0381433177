"""The Batch tab in a real Chromium with the real engine and the `demo` model, and its parts without a browser."""

from __future__ import annotations

import re
import shutil
import threading
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pandas as pd
import pytest
from fakes import RESULT
from gradio.blocks import Block
from pages import PATIENCE_SECONDS, LateAnswer, fill_in, wait_for_scores
from playwright.sync_api import Page, expect

from vjepa_demo.app import batch_html as batch_render
from vjepa_demo.app import batch_tab
from vjepa_demo.app.batch_tab import BatchTab
from vjepa_demo.app.session import Session
from vjepa_demo.app.turns import Turns, in_turn
from vjepa_demo.config import ASSETS, DIMENSIONS
from vjepa_demo.model.checkpoint import read_checkpoint
from vjepa_demo.schema import (
    BatchRow,
    BatchSummary,
    DemoError,
    GroupScores,
    RowResult,
    TrainedOn,
    VideoError,
    VideoScores,
)

SAMPLE = ASSETS / "sample"
CLIPS = [SAMPLE / f"clip_000{number}.mp4" for number in range(6)]


def open_tab(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("tab", name="Batch").click()
    stands(page)


def stands(page: Page) -> None:
    """Wait for all of the tab: Gradio puts its components in their places one after another."""
    for part in ("videos", "folder", "table", "prompt", "model", "sample", "start", "stop", "hint p"):
        expect(page.locator(f"#batch-{part}")).to_be_visible()


def add(page: Page, *videos: Path, table: Path | None = None, prompt: str = "") -> None:
    page.set_input_files("#batch-videos input[type=file]", videos)
    if table is not None:
        page.set_input_files("#batch-table input[type=file]", table)
    if prompt:
        page.fill("#batch-prompt textarea", prompt)
        page.locator("#batch-prompt textarea").blur()


def start(page: Page) -> None:
    expect(page.locator("#batch-start")).to_be_enabled()
    page.click("#batch-start")


def wait_until_done(page: Page, text: str) -> None:
    expect(page.locator("#batch-status")).to_contain_text(text)
    expect(page.locator("#batch-download")).to_be_visible()


def download(page: Page, path: Path) -> pd.DataFrame:
    with page.expect_download() as started:
        page.click("#batch-download")
    started.value.save_as(path)
    return pd.read_csv(path, keep_default_na=False)


SHOWS_LINES = """lines => {
    const rows = [...document.querySelectorAll("#batch-rows tr[data-line]")];
    return rows.map(row => row.dataset.line).join() === lines.join();
}"""


def shown_rows(page: Page) -> dict[int, list[str]]:
    """The cells of each row on the page after the clip's, by line."""
    return {
        int(row.get_attribute("data-line")): row.locator("td:nth-child(n + 3)").all_text_contents()
        for row in page.locator("#batch-rows tr[data-line]").all()
    }


def written_rows(table: pd.DataFrame) -> dict[int, list[str]]:
    """What the page has to show of the rows of a downloaded CSV, by line."""
    return {
        line: [row["error"]] if row["error"] else [f"{float(row[name]):.2f}" for name in DIMENSIONS]
        for line, (_, row) in enumerate(table.iterrows(), start=2)
    }


def shown_means(page: Page) -> dict[str, str]:
    tiles = page.locator("#batch-means .tile").all()
    return {tile.get_attribute("data-dimension"): tile.locator("b").inner_text() for tile in tiles}


def emptied(page: Page, address: str) -> Page:
    if not page.url.startswith(address):
        open_tab(page, address)
    for field in ("#batch-videos", "#batch-table"):
        if page.locator(f"{field} button[aria-label='Clear']").count():
            page.click(f"{field} button[aria-label='Clear']")
    page.fill("#batch-prompt textarea", "")
    page.locator("#batch-prompt textarea").blur()
    page.evaluate("document.querySelectorAll('.toast-close').forEach((each) => each.click())")
    expect(page.locator(".toast-body")).to_have_count(0)
    return page


@pytest.fixture
def page_with_demo(kept_page, served) -> Page:
    """The tab with empty fields, and perhaps the scores of another test below them."""
    return emptied(kept_page, served)


def test_broken_rows_have_their_error_while_the_others_are_scored_and_ranked(page_with_demo, own_table, tmp_path):
    table, videos = own_table
    page = page_with_demo
    add(page, videos)
    expect(page.locator("#batch-hint")).to_have_text(
        "Add a table, or type the prompt that all the videos were made from."
    )
    expect(page.locator("#batch-start")).to_be_disabled()
    add(page, videos, table=table)
    check = page.locator("#batch-check")
    expect(check).to_contain_text("mine.tsv: 10 of 12 rows will be scored, 10 videos, 2 generators (column Generator).")
    assert check.locator("tr").all_inner_texts() == [
        "6\tno video “gone.mp4” in clips",
        "9\tPrompt is empty; the text the video was made from was expected",
    ]
    start(page)
    wait_until_done(page, "Done: 9 of 12 rows scored · 3 errors")

    csv = download(page, tmp_path / "scores.csv")
    assert shown_rows(page) == written_rows(csv)
    page.get_by_label("Errors").check()
    expect(page.locator("#batch-rows tr[data-line]")).to_have_count(3)
    assert list(shown_rows(page)) == [4, 6, 9]
    expect(page.locator("#batch-rows")).to_contain_text("clip_0002.mp4 cannot be read as a video")

    scored = csv[csv["error"] == ""].astype(dict.fromkeys(DIMENSIONS, float))
    means = scored.groupby("Generator")["Overall"].agg(["mean", "sem", "size"]).sort_values("mean", ascending=False)
    rows = page.locator("#leaderboard tr[data-generator]")
    assert [row.get_attribute("data-generator") for row in rows.all()] == list(means.index)
    assert [row.locator("td[data-dimension=Overall]").inner_text().split() for row in rows.all()] == [
        [f"{row['mean']:.2f}", "±", f"{row['sem']:.2f}"] for _, row in means.iterrows()
    ]
    page.locator("#leaderboard-chart .js-plotly-plot .trace").first.wait_for()
    expect(page.locator("#batch-metrics")).to_be_hidden()  # there are no labels


def test_the_sample_data_set_from_one_click_to_metrics_and_a_csv_equal_to_the_screen(page_with_demo, tmp_path):
    page = page_with_demo
    page.click("#batch-sample")
    expect(page.locator("#batch-check")).to_contain_text("100 of 100 rows will be scored, 100 videos, 100 with labels")
    wait_until_done(page, "Done: 100 of 100 rows scored")
    expect(page.locator("#batch-metrics tr[data-dimension]")).to_have_count(5)
    expect(page.locator("#batch-metrics")).to_contain_text("no-video SROCC")
    expect(page.locator("#batch-means")).to_contain_text("Scored by demo.")

    table = download(page, tmp_path / "scores.csv")
    labels = pd.read_csv(SAMPLE / "labels.csv", dtype=str)
    told = ("unknown_words", "not_meaningful", "notes", "error", "scored_by")
    ends = [f"{name}_{end}" for name in DIMENSIONS for end in ("low", "high")]
    assert list(table) == [*labels, *DIMENSIONS, *told, *ends]
    assert table[list(labels)].astype(str).equals(labels)
    assert set(table["scored_by"]) == {f"demo@{read_checkpoint(ASSETS / 'demo').weights_sha256[:8]}"}
    written = written_rows(table)
    assert shown_rows(page) == {line: written[line] for line in list(written)[-batch_render.SHOWN_ROWS :]}
    assert shown_means(page) == {name: f"{table[name].mean():.2f}" for name in DIMENSIONS}
    page.get_by_label("Worst Overall").check()
    worst = table["Overall"].nsmallest(50).index + 2
    page.wait_for_function(SHOWS_LINES, arg=[str(line) for line in worst])
    assert [f"{value:.2f}" for value in sorted(table["Overall"])[:50]] == [row[-1] for row in shown_rows(page).values()]


def test_a_folder_with_its_table_takes_no_other_prompt_and_one_without_videos_is_refused(page_with_demo, tmp_path):
    page, folder, empty = page_with_demo, tmp_path / "clips", tmp_path / "empty"
    for each in (folder, empty):
        each.mkdir()
    for clip in CLIPS[:2]:
        shutil.copy(clip, folder)
    (folder / "mine.csv").write_text("video_name,Prompt\nclip_0000.mp4,a\nclip_0001.mp4,b\n")
    page.set_input_files("#batch-folder input[type=file], input[webkitdirectory]", folder)
    expect(page.locator("#batch-check")).to_contain_text("mine.csv: 2 of 2 rows will be scored, 2 videos.")
    expect(page.locator("#batch-start")).to_be_enabled()

    page.type("#batch-prompt textarea", "x")
    expect(page.locator("#batch-start")).to_be_enabled()
    expect(page.locator(".toast-body")).to_have_count(0)
    page.locator("#batch-prompt textarea").blur()
    expect(page.locator("#batch-hint")).to_contain_text("has prompts of its own")
    expect(page.locator(".toast-body")).to_have_count(1)  # it is explained once, and in the hint lastingly
    expect(page.locator("#batch-start")).to_be_disabled()

    (empty / "notes.txt").touch()
    page.set_input_files("#batch-folder input[type=file], input[webkitdirectory]", empty)
    expect(page.locator(".toast-body", has_text="the folder holds no videos")).to_be_visible()


def test_a_table_that_cannot_be_used_is_explained_and_without_it_two_videos_have_one_prompt(page, served, tmp_path):
    open_tab(page, served)
    add(page, *CLIPS[:2], prompt="a scarlet donut")
    expect(page.locator("#batch-start")).to_be_enabled()
    (tmp_path / "wrong <i>.csv").write_text("a,b\n1,2\n")
    page.set_input_files("#batch-table input[type=file]", tmp_path / "wrong <i>.csv")
    expect(page.locator(".toast-body").first).to_contain_text("has the columns a, b")
    expect(page.locator("#batch-start")).to_be_disabled()
    expect(page.locator("#batch-hint")).to_contain_text("has the columns a, b")  # and stays
    expect(page.locator("#batch-check")).to_contain_text("Score many clips at once")  # nothing old stays

    page.click("#batch-table button[aria-label='Clear']")
    expect(page.locator("#batch-check")).to_contain_text("2 of 2 rows will be scored, 2 videos.")
    start(page)
    wait_until_done(page, "Done: 2 of 2 rows scored")
    csv = download(page, tmp_path / "scores.csv")
    assert csv[["video_name", "Prompt", "error"]].to_numpy().tolist() == [
        ["clip_0000.mp4", "a scarlet donut", ""],
        ["clip_0001.mp4", "a scarlet donut", ""],
    ]
    assert shown_rows(page) == written_rows(csv)
    expect(page.locator("#leaderboard")).to_be_hidden()


# ---- with a scorer that the test holds back --------------------------------------------------------------------------


class HeldBack:
    """A scorer that scores as many rows as the test lets it, and remembers which."""

    name = "demo"
    model_id = "demo@0a1b2c3d"
    hardware = "CPU test"
    trained_on = RESULT.trained_on
    result = RESULT

    def __init__(self, rows: int = 0) -> None:
        self.scored: list[tuple[str, str]] = []
        self._may_score = threading.Semaphore(rows)

    def let(self, rows: int) -> None:
        self._may_score.release(rows)

    def __call__(self, name: str) -> HeldBack:
        return self

    def expected_seconds(self, num_clips: int) -> None:
        """A clip takes no time worth telling."""

    def score(self, video: Any, prompt: str, **_: Any) -> VideoScores:
        return replace(self.result, video=str(video), prompt=prompt)

    def score_all(self, requests: Iterable[tuple[Any, str]], **_: Any) -> Iterator[VideoScores | DemoError]:
        for video, prompt in requests:
            assert self._may_score.acquire(timeout=PATIENCE_SECONDS)
            self.scored.append((Path(video).name, prompt))
            yield VideoError("no") if prompt == "broken" else self.score(video, prompt)


@pytest.fixture
def held_back(page_here) -> Iterator[tuple[HeldBack, str]]:
    page_here.scorer = scorer = HeldBack()
    yield scorer, page_here.address
    scorer.let(1000)


@pytest.fixture
def page_with_held_back(kept_page, held_back) -> Page:
    """The tab with empty fields, and perhaps the scores of another test below them."""
    page = emptied(kept_page, held_back[1])
    expect(page.locator("#batch-start")).to_be_disabled()
    return page


def test_stop_keeps_what_is_done_whatever_is_added_and_resume_does_the_rest_once(
    page_with_held_back, held_back, tmp_path
):
    page, (scorer, _) = page_with_held_back, held_back
    add(page, *CLIPS, prompt="a cat")
    start(page)
    scorer.let(2)
    expect(page.locator("#batch-rows tr[data-line]").first).to_be_visible()
    for locked in ("#batch-start", "#batch-sample", "#batch-folder", "#batch-prompt textarea", "#batch-model input"):
        expect(page.locator(locked)).to_be_disabled()
    expect(page.locator("#batch-means")).to_contain_text("Scored by demo.")
    page.get_by_label("Best Overall").check()
    page.click("#batch-stop")
    expect(page.locator("#batch-stop")).to_be_disabled()
    expect(page.locator("#batch-hint")).to_have_text("Stopping.")
    scorer.let(1)  # the row that was being scored
    wait_until_done(page, "Stopped: 3 of 6 rows scored, 3 left")
    stopped = download(page, tmp_path / "stopped.csv")
    assert len(stopped) == 3
    expect(page.locator("#batch-hint")).to_have_text("Resume scores the remaining 3 rows with demo.")

    rows = shown_rows(page)
    page.type("#batch-prompt textarea", "s")
    expect(page.locator("#batch-hint")).to_contain_text("Score all replaces these scores.")
    page.set_input_files("#batch-table input[type=file]", table_of(tmp_path / "none.csv", "a", "b"))
    expect(page.locator("#batch-hint")).to_contain_text("has the columns a, b")
    expect(page.locator("#batch-start")).to_be_disabled()
    assert shown_rows(page) == rows
    assert download(page, tmp_path / "again.csv").equals(stopped)

    scorer.let(3)
    page.click("#batch-resume")
    wait_until_done(page, "Done: 6 of 6 rows scored")
    expect(page.locator("#batch-resume")).to_be_hidden()
    expect(page.get_by_label("Best Overall")).to_be_checked()
    assert list(shown_rows(page)) == list(range(2, 8))  # equal scores: not the latest first
    assert scorer.scored == [(clip.name, "a cat") for clip in CLIPS]
    csv = download(page, tmp_path / "done.csv")
    assert csv.head(3).equals(stopped)
    assert set(csv["Prompt"]) == {"a cat"}
    assert list(csv["video_name"]) == [clip.name for clip in CLIPS]
    assert shown_rows(page) == written_rows(csv)


def test_a_single_score_does_not_wait_for_batches(page_with_held_back, new_page, held_back):
    page, (scorer, address) = page_with_held_back, held_back
    add(page, *CLIPS, prompt="first")
    start(page)
    scorer.let(1)
    expect(page.locator("#batch-rows tr[data-line]")).to_have_count(1)

    other = new_page()  # somebody else, while the second row is scored
    open_tab(other, address)
    add(other, *CLIPS[:2], prompt="second")
    start(other)
    expect(page.locator("#batch-status")).to_contain_text("1 of 6 rows")
    expect(other.locator("#batch-status")).to_contain_text("Waiting for its turn")
    other.get_by_role("tab", name="Score", exact=True).click()
    fill_in(other, CLIPS[0], "third")
    other.click("#score-button")
    wait_for_scores(other)

    scorer.let(7)
    wait_until_done(page, "Done: 6 of 6 rows scored")
    other.get_by_role("tab", name="Batch").click()
    wait_until_done(other, "Done: 2 of 2 rows scored")


def test_what_is_typed_last_is_known_to_the_hint_and_scored(page, held_back):
    scorer, address = held_back  # a page of its own: no late request of another test may be taken for this one's
    open_tab(page, address)
    scorer.let(1)
    add(page, CLIPS[0], prompt="a cat")
    start(page)
    wait_until_done(page, "Done: 1 of 1 row scored")
    expect(page.locator("#batch-prompt textarea")).to_be_enabled()
    awaited = []  # while this answer is on its way, more is typed
    page.route("**/run/predict", lambda route: awaited.append(route), times=1)
    with page.expect_request("**/run/predict"):
        page.type("#batch-prompt textarea", " ")
    page.type("#batch-prompt textarea", "or")
    awaited[0].continue_()
    expect(page.locator("#batch-hint")).to_contain_text("Score all replaces these scores.")

    scorer.let(1)
    page.click("#batch-prompt textarea")
    page.keyboard.press("End")
    page.keyboard.type(" 2")
    page.click("#batch-start")  # the field was not left before
    expect(page.locator("#batch-rows")).to_contain_text("a cat or 2")
    assert [prompt for _, prompt in scorer.scored] == ["a cat", "a cat or 2"]


def test_an_answer_given_while_it_ran_that_comes_after_the_end_does_not_switch_the_button_off(page, held_back):
    scorer, address = held_back
    open_tab(page, address)
    add(page, CLIPS[0], prompt="a cat")
    start(page)
    expect(page.locator("#batch-stop")).to_be_enabled()
    page.get_by_role("tab", name="Score", exact=True).click()
    late = LateAnswer(page, lambda data: len(data) > 4 and "demo" in data)  # the Score tab sends four values
    for model in ("vitl", "demo"):
        page.click("#model input")
        page.get_by_role("option", name=re.compile(f"^{model}")).click()
    late.wait()
    scorer.let(1)
    page.get_by_role("tab", name="Batch").click()
    wait_until_done(page, "Done: 1 of 1 row scored")
    expect(page.locator("#batch-start")).to_be_enabled()
    late.arrive()
    expect(page.locator("#batch-start")).to_be_enabled()


def table_of(path: Path, *columns: str) -> Path:
    path.write_text(f"{','.join(columns)}\n{','.join(columns)}\n")
    return path


def test_the_fields_keep_their_height_while_a_batch_runs_and_the_page_its_width(page_with_held_back, held_back):
    page, (scorer, _) = page_with_held_back, held_back
    page.get_by_role("tab", name="Score", exact=True).click()
    expect(page.locator("#score-button")).to_be_visible()
    width = page.evaluate(WIDTH)
    page.get_by_role("tab", name="Batch").click()
    stands(page)
    assert page.evaluate(WIDTH) == width
    fields = [page.locator(name) for name in ("#batch-videos", "#batch-table", "#batch-stop")]
    before = [field.evaluate(PLACE) for field in fields]
    page.click("#batch-sample")
    scorer.let(2)
    expect(page.locator("#batch-rows tr[data-line]").first).to_be_visible()
    expect(page.locator("#batch-folder")).to_be_disabled()
    assert [field.evaluate(PLACE) for field in fields] == before
    assert page.evaluate(WIDTH) == width


# on the page, wherever it is scrolled to
PLACE = """(element) => {
  const { x, y, width, height } = element.getBoundingClientRect();
  return [x + scrollX, y + scrollY, width, height];
}"""
WIDTH = "document.querySelector('.gradio-container').getBoundingClientRect().width"


# ---- what no browser is needed for -----------------------------------------------------------------------------------


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> list[Path]:
    """Copies of six clips where Gradio keeps uploads."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return [Path(shutil.copy(clip, tmp_path)) for clip in CLIPS]


class Visitor:
    """Somebody on the tab, without a page: what they added, and what each button would show them."""

    def __init__(self, scorer: HeldBack | None = None) -> None:
        self.scorer = scorer or HeldBack()
        with gr.Blocks(analytics_enabled=False):
            self.tab = BatchTab(lambda name: self.scorer(name), "demo", gr.State())
        self.session = Session()
        self.values: dict[Any, Any] = dict.fromkeys(self.tab._added)
        self.values |= {self.tab.session: self.session, self.tab.model: "demo"}

    def shown(self, update: dict[Any, Any]) -> SimpleNamespace:
        """The values of an update by the names of the tab's components."""
        names = {component: name for name, component in vars(self.tab).items() if isinstance(component, Block)}
        return SimpleNamespace(**{names[component]: value for component, value in update.items()})

    def check(self, *videos: Path, prompt: str | None = "a cat", table: Path | None = None) -> SimpleNamespace:
        tab, path = self.tab, None if table is None else str(table)
        self.values |= {tab.videos: [str(video) for video in videos], tab.prompt: prompt, tab.table: path}
        self.values |= {tab.label_range: "detect it"}
        return self.shown(tab.check_added(self.values))

    def press(self, name: str) -> SimpleNamespace:
        """`begin`, `begin_again`, `begin_sample`, `ended`, `failed`, `stop_run` or `settled`."""
        return self.shown(getattr(self.tab, name)(self.values))

    def score(self) -> Iterator[SimpleNamespace]:
        """What the page shows of the run that has begun."""
        return map(self.shown, self.tab.score(self.values))

    def run(self, begin: str = "begin") -> list[SimpleNamespace]:
        """What the page shows of a run from its button to its end."""
        self.press(begin)
        updates = list(self.score())
        self.press("ended")
        return updates


@pytest.fixture
def visitor(uploads) -> Iterator[Visitor]:
    """One who added six videos and a prompt."""
    visitor = Visitor()
    assert visitor.check(*uploads).start.interactive
    yield visitor
    visitor.session.close()


def test_rows_that_finish_fast_are_shown_together(visitor, monkeypatch):
    monkeypatch.setattr(batch_tab, "UPDATE_SECONDS", 1e9)
    visitor.scorer.let(6)
    _, starting, first, _, last = visitor.run()
    assert "Starting" in starting.status
    assert "1 of 6 rows" in first.status
    assert "Scored by" in first.means
    assert "Done: 6 of 6 rows scored" in last.status
    assert last.rows.count("<tr data-line") == 6


def test_the_page_gets_a_bounded_part_of_many_rows():
    row = BatchRow(2, {}, "clip.mp4", "a cat", Path("clip.mp4"), {})
    results = [
        RowResult(replace(row, line=line), None, "no", "demo")
        if line % 3
        else RowResult(replace(row, line=line), dict.fromkeys(DIMENSIONS, 1 + line / 1000), None, "demo")
        for line in range(2, 2002)
    ]
    for order, first, count in (("latest", 2001, 2000), ("errors", 2, 1333), ("best", 2001, 667), ("worst", 3, 667)):
        table = batch_render.rows(results, order)
        assert table.count("<tr data-line") == batch_render.SHOWN_ROWS
        assert table.index(f'data-line="{first}"') == table.index("data-line=")
        assert f"50 of {count:,} rows shown" in table


def test_what_a_table_says_does_not_become_html():
    row = BatchRow(2, {}, "<i>.mp4", "<script>", None, {}, "<b>", "no <u>")
    for text in (
        batch_render.rows([RowResult(row, None, "no <u>", "demo")], "latest"),
        batch_render.table_report(
            SimpleNamespace(name="<x>", rows=[row], notes=["<y>"], generator_column="<z>"), is_open=True
        ),
    ):
        assert not any(tag in text for tag in ("<i>", "<script>", "<b>.", "<u>", "<x>", "<y>", "<z>"))


DOUBTFUL = {"Alignment": "unknown_words", "Temporal": "single_frame"}


def test_the_tile_of_a_dimension_that_means_nothing_in_some_rows_is_grey_and_says_so():
    row = BatchRow(2, {}, "clip.mp4", "a cat", Path("clip.mp4"), {})
    scores = dict.fromkeys(DIMENSIONS, 3.0)
    results = [
        RowResult(row, scores, None, "demo"),
        RowResult(row, scores, None, "demo", ("cat",), DOUBTFUL),
        RowResult(row, None, "no", "demo"),
    ]
    for errors in (None, dict.fromkeys(DIMENSIONS, 0.25)):  # while it runs, and when it has ended
        means = batch_render.means(results, HeldBack(), errors)
        grey = re.findall(
            r'<div class="tile doubtful" data-dimension="(\w+)"><small>\w+</small><b>3.00</b> (.*?)<div', means
        )
        assert [name for name, _ in grey] == list(DOUBTFUL)
        assert all("says little" in beside for _, beside in grey)
        assert "Alignment means nothing in 1 of 2 rows" in means
        assert "Temporal means nothing in 1 of 2 rows" in means
    table = batch_render.rows(results, "latest")
    assert re.findall(r'class="value doubtful" data-dimension="(\w+)"', table) == list(DOUBTFUL)


def test_a_score_of_a_row_tells_its_interval_where_there_is_one():
    row = BatchRow(2, {}, "clip.mp4", "a cat", Path("clip.mp4"), {})
    reach = {"Overall": (2.0, 4.0), "Temporal": None}
    table = batch_render.rows([RowResult(row, dict.fromkeys(DIMENSIONS, 3.0), None, "demo", intervals=reach)], "latest")
    assert re.findall(r'data-dimension="(\w+)" title="90 % interval: [^"]*: (.*?)">3.00', table) == [
        ("Overall", "2.00 to 4.00")
    ]
    scorer = HeldBack()
    assert "intervals" not in batch_render.means([RowResult(row, dict.fromkeys(DIMENSIONS, 3.0), None, "demo")], scorer)
    scorer.trained_on = TrainedOn("human", 80, "mine", margins={"Overall": 1.0}, num_margin_clips={"Overall": 20})
    means = batch_render.means([RowResult(row, dict.fromkeys(DIMENSIONS, 3.0), None, "demo")], scorer)
    assert "90 % intervals hold for clips like the 20 that they were measured on." in means


GENERATORS = tuple(
    GroupScores(name, 3, 0, dict.fromkeys(DIMENSIONS, mean), dict.fromkeys(DIMENSIONS, 0.1))
    for name, mean in (("Sora", 4.0), ("Wan", 3.0))
)


def test_doubtful_dimensions_have_no_best_generator():
    summary = BatchSummary(GENERATORS[0], GENERATORS, None, {"Alignment": 2})
    board = batch_render.leaderboard(summary, [], TrainedOn("human", 30, "mine"))
    assert '<td data-dimension="Overall"><b>4.00</b>' in board
    assert '<td data-dimension="Alignment" class="doubtful">4.00<small>' in board


def test_a_model_that_does_not_beat_its_baseline_names_no_best_generator():
    loses = TrainedOn("human", 30, "mine", vquala_score=-0.3, no_video_baseline=0.1)
    board = batch_render.leaderboard(BatchSummary(GENERATORS[0], GENERATORS, None, {}), [], loses)
    assert '<td data-dimension="Overall">4.00<small>' in board
    assert "<b>" not in board


def test_a_model_that_does_not_beat_its_baseline_says_so_above_its_means(visitor):
    visitor.scorer.trained_on = TrainedOn("human", 30, "mine", vquala_score=-0.3, no_video_baseline=0.1)
    visitor.scorer.let(6)
    *_, first, _, last = visitor.run()
    for shown in (first, last):
        assert "does not beat the no-video baseline" in shown.means


def test_a_zip_of_videos_with_one_prompt(visitor, own_table, tmp_path):
    report = visitor.check(Path(shutil.copy(own_table[1], tmp_path))).check
    assert "11 of 11 rows will be scored, 11 videos." in report


def test_what_a_zip_or_an_added_folder_holds_beside_videos_is_named(visitor, own_table, tmp_path, monkeypatch):
    archive = Path(shutil.copy(own_table[1], tmp_path))
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("notes <b>.md", "x")
    report = visitor.check(archive).check
    assert "11 of 11 rows will be scored" in report
    assert "Skipped 1 file whose name does not end as a video&#x27;s does: notes &lt;b&gt;.md." in report
    told = []
    monkeypatch.setattr(gr, "Info", told.append)
    files = ["a.mp4", "b.AVIF", "labels.csv", "c <i>.md", ".DS_Store", "._a.mp4"]
    split = visitor.tab.split_folder({visitor.tab.folder: files, visitor.tab.table: None})
    assert (split[visitor.tab.videos], split[visitor.tab.table]) == (["a.mp4", "b.AVIF"], "labels.csv")
    assert told == ["Skipped 1 file whose name does not end as a video&#x27;s does: c &lt;i&gt;.md."]
    with pytest.raises(gr.Error, match=r"holds no videos, only c\.md"):
        visitor.tab.split_folder({visitor.tab.folder: ["c.md"], visitor.tab.table: None})


def test_a_visitor_who_never_opened_the_tab_gives_none_for_each_of_its_fields():
    """ "Score with it" changes the model of this tab: what it does then must not fail."""
    visitor = Visitor()
    for model in ("demo", None):
        visitor.values |= dict.fromkeys(visitor.tab._added - {visitor.tab.session}, None) | {visitor.tab.model: model}
        shown = visitor.press("settled")
        assert "Add videos, and a table or a prompt" in shown.hint
        assert not shown.start.interactive
    assert visitor.tab.split_folder({visitor.tab.folder: ["a.mp4"], visitor.tab.table: None})[visitor.tab.videos]
    with pytest.raises(gr.Error, match="nothing to score"):
        visitor.press("begin")
    visitor.session.close()


def test_checks_of_one_visitor_wait_for_each_other(visitor, own_table, tmp_path):
    archive = str(shutil.copy(own_table[1], tmp_path))

    def check(word: int) -> str:
        tab = visitor.tab
        added = visitor.values | {tab.videos: [archive], tab.prompt: str(word), tab.table: None}
        return visitor.shown(tab.check_added(added)).check

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(check, range(8)))
    assert all("11 of 11 rows will be scored, 11 videos." in report for report in reports)
    assert len(list(visitor.session.folder.rglob("*.mp4"))) == 11


def test_stop_before_the_first_row_leaves_a_batch_to_resume(visitor):
    visitor.press("begin")
    visitor.press("stop_run")
    updates = list(visitor.score())
    assert "Stopped: 0 of 6 rows scored, 6 left" in updates[-1].status
    ended = visitor.press("ended")
    assert ended.resume.visible
    assert "Resume scores the remaining 6 rows with demo." in ended.hint
    visitor.scorer.let(6)
    assert "Done: 6 of 6" in visitor.run("begin_again")[-1].status


def test_resume_is_offered_only_once_a_run_has_ended(visitor):
    visitor.press("begin")
    visitor.scorer.let(2)
    for update in visitor.score():
        if "1 of 6" in str(update.status):
            assert not visitor.press("settled").resume.visible
            visitor.press("stop_run")
    assert visitor.press("ended").resume.visible
    resumed = visitor.press("begin_again")
    assert (resumed.resume.visible, resumed.resume.interactive) == (True, False)


def test_a_second_run_at_once_is_refused_and_new_data_under_a_run_are_for_the_next(visitor, uploads):
    visitor.press("begin")
    for begin in ("begin", "begin_again", "begin_sample"):
        with pytest.raises(gr.Error, match="a batch runs already"):
            visitor.press(begin)
    checked = visitor.check(*uploads[:2])
    assert "6 of 6 rows" in checked.check
    assert not checked.start.interactive
    assert len(visitor.session.batch.last.table.rows) == 6
    assert len(visitor.session.batch.staged.table.rows) == 2


@pytest.mark.parametrize("second", ["begin", "begin_again", "begin_sample"])
def test_a_button_that_is_pressed_while_a_large_zip_is_checked_starts_no_second_run(visitor, uploads, hold, second):
    visitor.press("begin")
    visitor.press("stop_run")
    list(visitor.score())  # a batch that could be resumed
    visitor.press("ended")
    checking, may_go_on = hold("batch_of_files")
    visitor.values |= {visitor.tab.prompt: "a dog"}  # which no check has seen
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(visitor.press, "begin")
        assert checking.wait(300)
        with pytest.raises(gr.Error, match="a batch runs already"):
            visitor.press(second)
        may_go_on.set()
        assert "Starting" in first.result(60).status
    visitor.scorer.let(6)
    assert "Done: 6 of 6 rows" in list(visitor.score())[-1].status


def test_a_check_that_fails_leaves_the_way_free(visitor, tmp_path):
    good = visitor.values.copy()
    visitor.values |= {visitor.tab.videos: [str(tmp_path / "gone.zip")]}
    with pytest.raises(gr.Error, match=r"gone\.zip"):
        visitor.press("begin")
    visitor.values = good
    visitor.scorer.let(6)
    assert "Done: 6 of 6 rows" in visitor.run()[-1].status


def test_videos_of_a_stopped_batch_stay_while_others_are_staged(visitor, own_table, tmp_path):
    archive = Path(shutil.copy(own_table[1], tmp_path))
    visitor.check(archive)
    visitor.scorer.let(1)
    visitor.press("begin")
    for update in visitor.score():
        if "1 of 11" in str(update.status):
            visitor.press("stop_run")
            visitor.scorer.let(1)
    visitor.press("ended")
    assert visitor.session.batch.last.is_stopped
    for name in ("second.zip", "third.zip"):
        other = Path(shutil.copy(archive, tmp_path / name))
        assert "Next: 11 videos: 11 of 11 rows" in visitor.check(other).check
    assert len(list(visitor.session.folder.rglob("*.mp4"))) == 22  # of the first and of the third
    visitor.scorer.let(11)
    assert "Done: 11 of 11 rows" in visitor.run("begin_again")[-1].status


def test_what_a_row_told_before_it_was_stopped_is_known_when_the_batch_is_resumed(visitor, monkeypatch):
    """So no clip is hashed again, and what means nothing stays grey."""
    monkeypatch.setattr(batch_tab, "UPDATE_SECONDS", 0)
    visitor.scorer.result = replace(RESULT, frame_seconds=(0.0,), sha256="ab" * 32)
    visitor.scorer.let(2)
    visitor.press("begin")
    for update in visitor.score():
        if "1 of 6" in str(update.status):
            visitor.press("stop_run")
    visitor.press("ended")
    visitor.scorer.let(6)
    visitor.run("begin_again")
    results = visitor.session.batch.last.results
    assert [result.sha256 for result in results] == ["ab" * 32] * 6
    assert all(result.doubts == {"Temporal": "single_frame"} for result in results)


def test_a_zip_is_opened_once_for_all_prompts_and_tables(visitor, own_table, tmp_path):
    archive = Path(shutil.copy(own_table[1], tmp_path))
    visitor.check(archive)
    files = set(visitor.session.folder.rglob("*.mp4"))
    visitor.check(archive, prompt="a dog")
    with pytest.raises(gr.Error, match="prompts of its own"):
        visitor.check(archive, prompt="a dog", table=own_table[0])
    visitor.check(archive, prompt="", table=own_table[0])
    assert set(visitor.session.folder.rglob("*.mp4")) == files
    assert {row.video for row in visitor.session.batch.staged.table.rows if row.video} < files


def test_rows_without_a_generator_are_counted(visitor, uploads, tmp_path):
    lines = [f"{clip.name},p,{'Sora' if number else ''}" for number, clip in enumerate(uploads[:3])]
    (tmp_path / "mine.csv").write_text("\n".join(["video_name,Prompt,generator", *lines]))
    visitor.check(*uploads, prompt="", table=tmp_path / "mine.csv")
    visitor.scorer.let(3)
    board = visitor.run()[-1].leaderboard.value
    assert "Not ranked: 1 row without a generator." in board
    assert '<td class="name" title="Sora">Sora</td><td>2</td><td data-dimension="Overall">' in board


def test_a_model_that_cannot_score_is_not_offered(visitor, tmp_path, monkeypatch):
    monkeypatch.setenv("VJEPA_DEMO_CHECKPOINTS", str(tmp_path))
    visitor.values |= {visitor.tab.model: "vitg"}
    shown = visitor.press("settled")
    assert not shown.start.interactive
    assert not shown.sample.interactive
    assert "no trained head exists" in shown.hint


def test_an_error_leaves_nothing_half_shown_but_keeps_rows_that_were_done(visitor):
    visitor.press("begin")
    visitor.values |= {visitor.tab.model: "mine"}
    with pytest.raises(gr.Error, match="gone"):
        list(visitor.score())
    failed = visitor.press("failed")
    assert (failed.status, failed.means, failed.rows) == ("", "", "")
    visitor.press("ended")
    assert not visitor.session.batch.run.is_running
    visitor.values |= {visitor.tab.model: "demo"}
    visitor.scorer.let(6)
    visitor.run()
    kept = visitor.press("failed")
    assert "6 of 6 rows scored" in kept.status
    assert kept.rows.count("<tr data-line") == 6


def test_a_visitor_who_leaves_ends_the_run_and_leaves_nothing(visitor, uploads):
    visitor.press("begin")
    visitor.scorer.let(6)
    updates = visitor.score()
    next(updates), next(updates)
    visitor.session.close()
    with pytest.raises(gr.Error, match="session has ended"):
        list(updates)
    assert len(visitor.scorer.scored) < 6
    assert not visitor.session.folder.exists()
    assert all(upload.exists() for upload in uploads)  # others may have brought the same: Gradio deletes them


def test_the_download_is_the_file_as_the_run_wrote_it_and_goes_with_the_session(visitor):
    visitor.scorer.let(6)
    served = Path(visitor.run()[-1].download.value["path"])
    assert served.read_bytes() == visitor.session.batch.last.out.read_bytes()
    visitor.session.close()
    assert not served.exists()


def test_turns_are_given_in_the_order_in_which_they_were_asked_for():
    turns, order, waiting = Turns(), [], []

    def take(number: int) -> None:
        with turns.turn():
            order.append(number)

    with turns.turn():
        for number in range(5):
            thread = threading.Thread(target=take, args=[number])
            waiting.append(thread)
            thread.start()
            while len(turns._line) < number + 2:
                thread.join(0.001)
    for thread in waiting:
        thread.join(60)
    assert order == list(range(5))


def test_a_short_run_ends_beside_an_endless_one():
    closed = threading.Event()
    endless, short = in_turn(repeat("row")), in_turn(iter(["first", "second", "third"]))
    thread = threading.Thread(target=lambda: any(closed.is_set() for _ in endless))
    thread.start()
    assert list(short) == ["first", "second", "third"]
    assert thread.is_alive()
    closed.set()
    thread.join(60)
    assert not thread.is_alive()
