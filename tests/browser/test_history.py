"""What a session remembers of the clips it scored: unit tests, and both clicks in a real Chromium."""

from __future__ import annotations

import re
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from fakes import RESULT, FakeScorer
from pages import fill_in
from playwright.sync_api import expect

from vjepa_demo.app import history
from vjepa_demo.app.history import scored_clip
from vjepa_demo.app.score_tab import ScoreTab
from vjepa_demo.app.session import MAX_REMEMBERED, Session
from vjepa_demo.schema import RecordError


@pytest.fixture(scope="module")
def tab() -> ScoreTab:
    with gr.Blocks():
        return ScoreTab(lambda _: FakeScorer(), "demo", gr.State())


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
    session.history.remember(clip(video="/tmp/uploaded-again/clip.mp4"))  # the same bytes
    session.history.remember(clip(sha256="f" * 64))
    session.history.remember(clip(scores=dict.fromkeys(RESULT.scores, 2.0)))  # a model of the same name, trained anew
    assert len(session.history.clips) == 5


def test_no_frames_are_kept_and_what_is_shown_is(session):
    kept = clip()
    assert kept.result.frames is None
    assert kept.strip.count("<figure>") == 2
    assert kept.picture.startswith("data:image/jpeg;base64,")
    assert clip(frames=np.full((2, 8, 8, 3), 255, np.uint8)).picture != kept.picture


def test_an_empty_history_shows_nothing_and_what_was_typed_is_escaped(session):
    assert history.panel(session.history) == ""
    session.history.remember(clip("<script>"))
    assert "&lt;script&gt;" in history.panel(session.history)
    assert "<script" not in history.panel(session.history)


def test_a_deleted_upload_leaves_its_scores_and_is_not_compared(tab, session, tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(b"")
    there, gone = clip(video=str(tmp_path / "clip.mp4")), clip(video=str(tmp_path / "gone.mp4"))
    for each in (there, gone):
        session.history.remember(each)
    told = []
    monkeypatch.setattr(gr, "Warning", told.append)
    restored = tab.restore(gr.EventData(None, {"key": gone.key}), session)
    assert [restored[field] for field in (tab.video, tab.prompt, tab.model)] == [None, "a cat", "demo"]
    assert "clip.mp4 was deleted" in told[0]
    assert restored[tab.strip] == gone.strip
    assert session.history.shown is gone
    for key in (gone.key, None):
        with pytest.raises(RecordError, match="drop it into Compare again"):
            history.to_compare(session.history, key)
    assert history.to_compare(session.history, there.key) is there
    assert history.file_of(there) == str(tmp_path / "clip.mp4")


def test_a_clip_that_is_no_longer_there_is_explained(tab, session):
    for visitor in (session, Session()):
        with pytest.raises(gr.Error, match="no longer in the history"):
            tab.restore(gr.EventData(None, {"key": "gone"}), visitor)
    with pytest.raises(RecordError, match="the server has restarted"):
        history.to_compare(session.history, None)


# ---- in the browser --------------------------------------------------------------------------------------------------


def score(page, path, prompt: str) -> None:
    if page.locator("#video button[aria-label='Clear']").count():
        page.locator("#video button[aria-label='Clear']").first.click()
    fill_in(page, path, prompt)
    page.click("#score-button")
    expect(page.locator("#heading")).to_contain_text(f"“{prompt}”")
    expect(page.locator("#score-button")).to_be_enabled()


def test_one_click_brings_a_clip_back_and_one_sends_it_to_compare(page, new_page, served, world):
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
    expect(page.locator("#player video")).to_have_attribute("src", re.compile("world.mp4"))
    expect(page.locator("#history li")).to_have_count(2)

    page.click("#to-compare")
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#compare-stage")).to_contain_text("world.mp4")
    page.get_by_role("tab", name="Score").click()
    page.locator("#history .send").first.click()
    expect(page.locator("#compare-stage video")).to_have_count(2)
    expect(page.locator("#compare-prompt-A textarea")).to_have_value("the earth turns")
    expect(page.locator("#compare-button")).to_be_enabled()

    other = new_page()
    other.goto(served)
    other.locator("#examples tbody tr").first.wait_for()
    expect(other.locator("#history")).to_be_empty()
