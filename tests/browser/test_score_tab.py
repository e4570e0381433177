"""The page in a real, headless Chromium."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import gradio.media
import pytest
from fakes import FakeScorer
from pages import DEMO, PATIENCE_SECONDS, PROMPT, LateAnswer, fill_in, upload, wait_for_scores
from playwright.sync_api import Page, expect

from vjepa_demo.config import ASSETS, DIMENSIONS
from vjepa_demo.schema import LayersReport, StoppedError

CLIP = ASSETS / "examples" / "clean.mp4"  # short: Chromium plays it while a test goes on
READ_RADAR = "() => Array.from(document.querySelector('#radar .js-plotly-plot').data[0].r)"


def emptied(page: Page, address: str) -> Page:
    """The tab at `address` without a clip, a prompt or a message, and perhaps with the scores of another test below."""
    if not page.url.startswith(address):
        page.goto(address)
    if page.locator("#video button[aria-label='Clear']").count():
        page.locator("#video button[aria-label='Clear']").first.click()
    page.fill("#prompt textarea", "")
    page.evaluate("document.querySelectorAll('.toast-close').forEach((each) => each.click())")
    expect(page.locator(".toast-body")).to_have_count(0)
    expect(page.locator("#hint")).to_have_text("Add a video and type its prompt.")
    return page


def score(page: Page, clip: Path, prompt: str) -> None:
    fill_in(page, clip, prompt)
    page.click("#score-button")
    expect(page.locator("#heading .what")).to_have_text(f"{clip.name} · “{prompt}”")
    expect(page.locator("#score-button")).to_be_enabled()
    wait_for_scores(page)


@pytest.fixture
def page_with_demo(kept_page, served) -> Page:
    return emptied(kept_page, served)


def test_upload_prompt_button_radar_equals_the_command_line(page_with_demo, world, run):
    page = page_with_demo
    done = run("score", world, "--prompt", PROMPT, "--model", "demo", "--json")
    by_command = json.loads(done.stdout)[0]["scores"]
    score(page, world, PROMPT)
    values = list(by_command.values())
    assert page.evaluate(READ_RADAR) == pytest.approx([*values, values[0]], abs=0)
    drawn = page.locator("#radar .angularaxistick text").all_text_contents()
    said = {name: f"{score:.2f}" for name, score in by_command.items()} | {"Alignment": "not meaningful"}
    assert sorted(drawn) == sorted(f"{name}{said[name]}" for name in DIMENSIONS)
    assert page.locator("#heading mark").all_text_contents() == list(DEMO.unknown_words(PROMPT)) == ["earth"]
    shown = dict(zip(DIMENSIONS, page.locator("#score-table .value").all_text_contents(), strict=True))
    assert shown == {name: f"{score:.2f}" for name, score in by_command.items()}
    assert page.locator("#strip img").count() == 8 + 16 + 4
    assert page.locator("#strip details.more-views").count() == 2
    assert page.locator("#heading .what").inner_text() == f"world.mp4 · “{PROMPT}”"
    expect(page.locator("#heading")).to_contain_text("Scored by demo.")
    about = page.locator("#about-scores").inner_text()
    assert f"The model saw 8 frames of 30.0 s, and 2 other views. The head of demo learned from {DEMO}" in about
    page.get_by_role("button", name="About this model").click()
    panel = page.locator("#about-model")
    for fact in ("SROCC, Overall", f"{DEMO.srocc['Overall']:.2f}", *DEMO.measured, DEMO.recipe, *DEMO.known_words):
        expect(panel).to_contain_text(fact)
    assert DEMO.measured, "what it does on real clips"
    assert re.search(r"decoding [\d,]+ ms · video encoder [\d,]+ ms", about)
    expect(page.locator("#score-button")).to_be_enabled()


def test_what_browsers_do_not_play_is_shown_as_a_small_copy_and_scored_itself(page_with_demo, run):
    page = page_with_demo
    clip = Path(gradio.media.get_video("b.avi"))
    done = run("score", clip, "--prompt", PROMPT, "--model", "demo", "--json")
    upload(page, clip)
    expect(page.locator("#player")).to_contain_text("Your own file is scored.")
    page.wait_for_function("() => document.querySelector('#player video')?.videoWidth > 0")
    page.fill("#prompt textarea", PROMPT)
    expect(page.locator("#score-button")).to_be_enabled()
    page.click("#score-button")
    expect(page.locator("#heading .what")).to_have_text(f"b.avi · “{PROMPT}”")
    wait_for_scores(page)
    shown = page.locator("#score-table .value").all_text_contents()
    assert shown == [f"{score:.2f}" for score in json.loads(done.stdout)[0]["scores"].values()]
    page.locator("#history [data-action=show]").first.click()
    expect(page.locator("#player")).to_contain_text("Your own file is scored.")


def test_a_second_prompt_does_not_encode_the_video_again(page_with_demo):
    page = page_with_demo
    for prompt in ("one", "two"):
        score(page, CLIP, prompt)
        page.locator("#video button[aria-label='Clear']").first.click()
    expect(page.locator("#about-scores")).to_contain_text("video remembered")


def test_a_file_that_is_no_video_is_explained_and_no_old_score_stays(page_with_demo, world, tmp_path):
    page = page_with_demo
    score(page, CLIP, PROMPT)
    page.locator("#video button[aria-label='Clear']").first.click()
    half = tmp_path / "half <i>.mp4"
    half.write_bytes(world.read_bytes()[:400_000])
    fill_in(page, half, PROMPT)
    page.click("#score-button")
    expect(page.locator(".toast-body")).to_contain_text("is cut off: 7.2 s of the 30.0 s")
    expect(page.locator("#empty")).to_contain_text("No scores: ")
    expect(page.locator("#empty")).to_contain_text("half i.mp4 is cut off")
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#score-button")).to_be_enabled()
    expect(page.locator("#history")).to_contain_text(CLIP.name)
    expect(page.get_by_text("Error", exact=True).locator("visible=true")).to_have_count(0)  # Gradio's mark, anywhere


def test_a_model_without_a_trained_head_says_why(page_with_demo):
    page = page_with_demo
    fill_in(page, CLIP, PROMPT)
    page.click("#model input")
    page.get_by_role("option", name="vitg").click()
    expect(page.locator("#hint")).to_contain_text("no trained head exists for it here. Train its first head: ")
    expect(page.locator("#score-button")).to_be_disabled()
    page.click("#model input")
    page.get_by_role("option", name="demo").click()
    expect(page.locator("#score-button")).to_be_enabled()


def test_what_is_typed_does_not_become_html(page_with_demo):
    page = page_with_demo
    score(page, CLIP, "<img src=x onerror=\"document.title='owned'\">")
    assert page.locator("#heading img").count() == 0
    assert page.title() != "owned"


# ---- with a scorer that the test holds back --------------------------------------------------------------------------


class HeldBack:
    """A scorer whose loading and scoring wait until the test lets them go."""

    def __init__(self) -> None:
        self.may_load, self.may_score = threading.Event(), threading.Event()

    def __call__(self, name: str) -> HeldBack:
        assert self.may_load.wait(PATIENCE_SECONDS)
        return self

    hardware = "CPU test"

    def score(self, video, prompt, *, on_step, **_):
        on_step("video")
        assert self.may_score.wait(PATIENCE_SECONDS)
        return FakeScorer().score(video, prompt, on_step=on_step)


@pytest.fixture
def held_back(page_here) -> Iterator[HeldBack]:
    page_here.scorer = scorer = HeldBack()
    yield scorer
    scorer.may_load.set()
    scorer.may_score.set()


@pytest.fixture
def page_with_held_back(kept_page, page_here, held_back) -> Page:
    """The model is loaded."""
    held_back.may_load.set()
    return emptied(kept_page, page_here.address)


def test_the_page_is_there_before_the_model(kept_page, page_here, held_back):
    page, scorer = kept_page, held_back
    page.goto(page_here.address)
    expect(page.get_by_role("button", name="Score")).to_be_visible()
    expect(page.locator("#model-state")).to_have_text("demo · loading")
    scorer.may_load.set()
    expect(page.locator("#model-state")).to_have_text("demo · CPU test · ready")


def test_the_button_is_off_while_it_runs_and_progress_is_shown(page_with_held_back, held_back):
    page, scorer = page_with_held_back, held_back
    expect(page.locator("#score-button")).to_be_disabled()
    expect(page.locator("#hint")).to_have_text("Add a video and type its prompt.")
    upload(page, CLIP)
    expect(page.locator("#hint")).to_have_text("Type the prompt that the video was made from.")
    page.fill("#prompt textarea", "a cat")
    expect(page.locator("#score-button")).to_be_enabled()
    page.click("#score-button")
    expect(page.locator("#score-button")).to_be_disabled()
    expect(page.get_by_text("Encoding the video").first).to_be_visible()
    page.fill("#prompt textarea", "a dog")
    with page.expect_response(lambda response: "run" in response.url or "queue/join" in response.url):
        page.fill("#prompt textarea", "a dog runs")
    expect(page.locator("#score-button")).to_be_disabled()
    scorer.may_score.set()
    wait_for_scores(page)
    expect(page.locator("#score-button")).to_be_enabled()


def test_an_example_is_scored_with_one_click_and_the_button_is_off_meanwhile(page_with_held_back, held_back):
    page, scorer = page_with_held_back, held_back
    page.locator("#examples tbody tr").first.click()
    expect(page.get_by_text("Encoding the video").first).to_be_visible()
    expect(page.locator("#score-button")).to_be_disabled()
    scorer.may_score.set()
    expect(page.locator("#score-button")).to_be_enabled()
    wait_for_scores(page)
    prompt = page.input_value("#prompt textarea")
    assert prompt.strip()
    expect(page.locator("#history")).to_contain_text(prompt)


def test_an_older_answer_that_comes_last_does_not_switch_the_button_off(page, page_here, held_back):
    scorer = held_back
    scorer.may_load.set()
    page.goto(page_here.address)
    late = LateAnswer(page, lambda data: data[1:2] == [""])
    upload(page, CLIP)
    late.wait()  # "Type the prompt"
    page.fill("#prompt textarea", "a cat")
    expect(page.locator("#score-button")).to_be_enabled()
    late.arrive()
    expect(page.locator("#score-button")).to_be_enabled()
    expect(page.locator("#hint")).to_have_text("")


def test_an_answer_given_while_it_ran_that_comes_after_the_end_does_not_switch_the_button_off(
    page, page_here, held_back
):
    scorer = held_back
    scorer.may_load.set()
    page.goto(page_here.address)
    fill_in(page, CLIP, "a cat")
    page.click("#score-button")
    expect(page.get_by_text("Encoding the video").first).to_be_visible()
    late = LateAnswer(page, lambda data: data[1:2] == ["a dog"])
    page.fill("#prompt textarea", "a dog")
    late.wait()
    scorer.may_score.set()
    wait_for_scores(page)
    expect(page.locator("#score-button")).to_be_enabled()
    late.arrive()
    expect(page.locator("#score-button")).to_be_enabled()


# ---- with a scorer that scores until it is stopped -------------------------------------------------------------------


class Slow(FakeScorer):
    """A scorer whose clip is a third encoded, and stays so until it is stopped; a clip before it is scored at once."""

    def __init__(self, num_quick: int) -> None:
        super().__init__()
        self.num_quick, self.ended = num_quick, threading.Event()

    def score(self, video, prompt, *, on_step, on_layer, should_stop):
        self.num_quick -= 1
        if self.num_quick >= 0:
            return super().score(video, prompt, on_step=on_step)
        on_step("video")
        on_layer(LayersReport(8, 24, 18.0))
        try:
            while not should_stop():
                self.ended.wait(0.01)
        finally:
            self.ended.set()
        raise StoppedError("stopped")


def test_stop_ends_the_score_and_what_was_shown_before_stays(kept_page, page_here):
    page, scorer = emptied(kept_page, page_here.address), Slow(num_quick=1)
    page_here.scorer = lambda _: scorer
    fill_in(page, CLIP, "a horse")
    page.click("#score-button")
    expect(page.locator("#heading .what")).to_contain_text("a horse")
    wait_for_scores(page)
    expect(page.locator("#score-stop")).to_be_hidden()
    page.fill("#prompt textarea", "a dog")
    page.click("#score-button")
    expect(page.get_by_text("Encoding the video: about 18 s left").first).to_be_visible()
    assert not scorer.ended.is_set()
    page.click("#score-stop")
    expect(page.locator("#score-button")).to_be_enabled()
    assert scorer.ended.is_set()
    expect(page.locator("#score-stop")).to_be_hidden()
    expect(page.locator("#hint")).to_have_text("")
    wait_for_scores(page)
    expect(page.locator("#heading .what")).to_contain_text("a horse")
    scorer.num_quick = 1
    page.click("#score-button")
    expect(page.locator("#heading .what")).to_contain_text("a dog")
