"""What a session remembers of the clips it scored: unit tests, and both clicks in a real Chromium."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from fakes import RESULT
from pages import fill_in, wait_for_scores
from playwright.sync_api import expect

from vjepa_demo.app import history, score_tab
from vjepa_demo.app.history import scored_clip
from vjepa_demo.app.session import MAX_REMEMBERED, Session


@pytest.fixture
def session():
    session = Session()
    yield session
    session.close()


def clip(prompt: str = "a cat", video: str = "/tmp/clip.mp4", **changes):
    return scored_clip(video, "demo", replace(RESULT, video="clip.mp4", prompt=prompt, **changes))


def test_the_newest_come_first_and_the_oldest_goes(session):
    for number in range(MAX_REMEMBERED + 3):
        session.history.remember(clip(str(number)))
    assert [each.result.prompt for each in session.history.clips] == [str(n) for n in range(14, 2, -1)]


def test_the_same_clip_prompt_and_model_are_there_once(session):
    session.history.remember(clip())
    session.history.remember(clip("a dog"))
    session.history.remember(clip())
    assert [each.result.prompt for each in session.history.clips] == ["a cat", "a dog"]
    session.history.remember(clip(model="vitg"))
    session.history.remember(clip(video="/tmp/other/clip.mp4"))
    session.history.remember(clip(scores=dict.fromkeys(RESULT.scores, 2.0)))  # a model of the same name, trained anew
    assert len(session.history.clips) == 5


def test_no_frames_are_kept_and_what_is_shown_is(session):
    kept = clip()
    assert kept.result.frames is None
    assert kept.strip.count("<figure>") == 2
    assert kept.picture.startswith("data:image/jpeg;base64,")
    assert clip(frames=np.full((2, 8, 8, 3), 255, np.uint8)).picture != kept.picture


def test_an_empty_history_shows_nothing_and_what_was_typed_is_escaped(session):
    assert history.panel(session) == ""
    session.history.remember(clip("<script>"))
    assert "&lt;script&gt;" in history.panel(session)
    assert "<script" not in history.panel(session)


def test_a_deleted_upload_leaves_its_scores_and_is_not_compared(session, tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(b"")
    there, gone = clip(video=str(tmp_path / "clip.mp4")), clip(video=str(tmp_path / "gone.mp4"))
    for each in (there, gone):
        session.history.remember(each)
    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    video, prompt, model, *shown = score_tab._restored(gr.EventData(None, {"key": gone.key}), session)
    assert (video, prompt, model) == (None, "a cat", "demo")
    assert "clip.mp4 was deleted" in told[0]
    assert gone.strip in shown
    with pytest.raises(gr.Error, match="drop it into Compare again"):
        history._sent(lambda: gone, None, ())
    assert history.file_of(there) == str(tmp_path / "clip.mp4")


def test_a_clip_that_is_no_longer_there_is_explained(session):
    for visitor in (session, Session()):
        with pytest.raises(gr.Error, match="no longer in the history"):
            score_tab._restored(gr.EventData(None, {"key": "gone"}), visitor)


# ---- in the browser --------------------------------------------------------------------------------------------------


def score(page, path, prompt: str) -> None:
    if page.locator("#video button[aria-label='Clear']").count():
        page.locator("#video button[aria-label='Clear']").first.click()
    fill_in(page, path, prompt)
    page.click("#score-button")
    expect(page.locator("#heading")).to_contain_text(f"“{prompt}”")
    expect(page.locator("#score-button")).to_be_enabled()


def test_one_click_brings_a_clip_back_and_one_sends_it_to_compare(page, browser, served, world):
    page.goto(served)
    expect(page.locator("#history")).to_be_empty()
    score(page, world, "the earth turns")
    before = page.locator("#score-table .value").all_text_contents()
    strip = page.locator("#strip .strip").first.inner_html()
    about = page.locator("#about-scores").inner_text()
    page.locator("#examples tbody tr").first.click()
    expect(page.locator("#history li")).to_have_count(2)
    expect(page.locator("#history li").last).to_contain_text("world.mp4")
    expect(page.locator("#history li").last).to_contain_text("the earth turns")
    expect(page.locator("#history li").last).to_contain_text(before[-1])
    expect(page.locator("#score-button")).to_be_enabled()
    assert page.locator("#score-table .value").all_text_contents() != before

    page.locator("#history .back").last.click()
    expect(page.locator("#heading")).to_contain_text("world.mp4")
    assert page.locator("#score-table .value").all_text_contents() == before
    assert page.locator("#strip .strip").first.inner_html() == strip
    assert page.locator("#about-scores").inner_text() == about  # with the time it took then: nothing was computed
    expect(page.locator("#prompt textarea")).to_have_value("the earth turns")
    assert "world.mp4" in page.locator("#video video").get_attribute("src")
    expect(page.locator("#history li")).to_have_count(2)

    page.click("#to-compare")
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#compare-stage")).to_contain_text("world.mp4")
    page.get_by_role("tab", name="Score").click()
    page.locator("#history .send").first.click()
    expect(page.locator("#compare-stage video")).to_have_count(2)
    expect(page.locator("#compare-prompt-A textarea")).to_have_value("the earth turns")
    expect(page.locator("#compare-button")).to_be_enabled()

    other = browser.new_context().new_page()
    other.goto(served)
    other.locator("#examples tbody tr").first.wait_for()
    expect(other.locator("#history")).to_be_empty()
    other.context.close()


def test_the_history_does_not_stick_out_of_a_phone(browser, served):
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page = context.new_page()
    page.goto(served)
    expect(page.locator("#model-state")).to_contain_text("ready")
    page.locator("#examples tbody tr").first.click()
    wait_for_scores(page)
    expect(page.locator("#history li")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    results, listed, examples = (page.locator(name).bounding_box() for name in ("#results", "#history", "#examples"))
    assert results["y"] + results["height"] <= listed["y"] <= examples["y"]
    context.close()
