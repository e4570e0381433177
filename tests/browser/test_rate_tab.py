"""The Rate tab in a real Chromium: clips rated by keyboard, nothing lost and nothing mixed, a model that learns."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch
from pages import PATIENCE_SECONDS
from playwright.sync_api import Page, Route, expect

from vjepa_demo import tasks
from vjepa_demo.media.video import write_video
from vjepa_demo.tasks.rate import OpenStudy
from vjepa_demo.tasks.study_learner import StudyLearner

CALLS = re.compile("component_server")
DATA = "JSON.parse(localStorage.getItem('vjepa-demo-studies'))"


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[list[Path], Path]:
    """24 greys, and their table: two clips a prompt, made by two generators."""
    folder = tmp_path_factory.mktemp("rated")
    paths = []
    for number in range(24):
        frames = torch.full((8, 3, 64, 64), 20 + 9 * number, dtype=torch.uint8)
        write_video(folder / f"secret_{number:02}.mp4", frames, frames_per_second=8, crf=1)
        paths.append(folder / f"secret_{number:02}.mp4")
    table = {
        "video_name": [path.name for path in paths],
        "Prompt": [f"shade {number // 2}" for number in range(24)],
        "Generator": ["Sora", "Wan"] * 12,
    }
    pd.DataFrame(table).to_csv(folder / "sora-or-wan.csv", index=False)
    return paths, folder / "sora-or-wan.csv"


@pytest.fixture
def page(kept_page, served) -> Page:
    """A page on which nothing was given yet and no study is open."""
    if kept_page.url.startswith(served):
        kept_page.get_by_role("tab", name="Rate").click()
        if kept_page.locator("#rate-owner").is_visible():
            kept_page.click("#rate-new")
        expect(kept_page.locator("#rate-setup")).to_be_visible()
        for field in ("#rate-videos", "#rate-table"):
            if kept_page.locator(f"{field} button[aria-label='Clear']").count():
                kept_page.click(f"{field} button[aria-label='Clear']")
        kept_page.fill("#rate-prompt textarea", "")
        expect(kept_page.locator("#rate-start")).to_be_disabled()
    else:
        kept_page.goto(served)
        kept_page.get_by_role("tab", name="Rate").click()
    return kept_page


def make(page: Page, videos: list[Path], table: Path, asked: str) -> OpenStudy:
    """A study of `videos`, on the page of its owner."""
    page.set_input_files("#rate-videos input[type=file]", videos)
    page.set_input_files("#rate-table input[type=file]", table)
    page.get_by_label(asked).check()
    expect(page.locator("#rate-start")).to_be_enabled()
    page.click("#rate-start")
    expect(page.locator(".bench")).to_be_visible()
    return tasks.linked_study(page.evaluate(f"{DATA}.current"))


def join(page: Page, address: str, study: OpenStudy, name: str) -> None:
    """`name` comes by the study's link, and begins."""
    page.goto(f"{address}/?study={study.study.id}")
    page.fill(".join input", name)
    page.click(".join button:has-text('Start rating')")


def shown(page: Page) -> str | None:
    """The token of the item on the stage; None at the end."""
    expect(page.locator(".screen-of.seen, .done:visible")).to_have_count(1)
    seen = page.locator(".screen-of.seen")
    return seen.get_attribute("data-token") if page.locator(".bench").is_visible() else None


def look(page: Page) -> None:
    """The rater has seen the clip: an answer is taken."""
    page.wait_for_function(
        "() => !document.querySelector('.bench').matches('.fresh')"
        " && [...document.querySelectorAll('.screen-of.seen video')].every((video) => video.dataset.shown)"
    )


def press(page: Page, *keys: str) -> None:
    """`keys` for the item on the stage, after which another is there."""
    token = shown(page)
    look(page)
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function(
        "token => document.querySelector('.screen-of.seen')?.dataset.token !== token"
        " || !document.querySelector('.done').hidden",
        arg=token,
    )


def settle(page: Page) -> None:
    """The server has acknowledged all answers."""
    page.wait_for_function(
        f"() => {{ const all = {DATA}; return !Object.keys(all[all.current].unsent ?? {{}}).length; }}"
    )


def key_shown(page: Page) -> str:
    return page.locator(".screen-of.seen video").first.get_attribute("data-key")


def test_24_clips_by_keyboard_with_a_reload_then_the_model_in_score(page, clips, world):
    study = make(page, *clips, "Overall alone: one key a clip")
    brightness = {clip.key: int(clip.name[7:9]) for clip in study.study.clips}
    answers = 0
    while shown(page) is not None:
        press(page, str(1 + brightness[key_shown(page)] // 5))
        answers += 1
        if answers == 14:
            settle(page)
            before = shown(page)
            page.reload()  # which brings the Rate tab back
            assert shown(page) == before
    settle(page)
    expect(page.locator(".done")).to_contain_text("24 clips judged")
    ratings = [rating for rating in study.ratings() if rating.round != "warm_up"]
    assert len(ratings) + 3 == answers == 24 + 3 + 3  # three warm-ups, a tenth twice
    assert all(rating.given == {"Overall": 1 + brightness[rating.clips[0]] // 5} for rating in ratings)

    row = page.locator("#rate-agreement tr[data-dimension=Overall]")
    expect(row.locator("td").nth(1)).to_have_text("24")
    learner = StudyLearner(study)
    assert list(learner.encode())[-1].problems == ()
    told = learner.curve()[-1].to_dict()["dimensions"]["Overall"]
    expect(row.locator("td").nth(2)).to_have_text(f"{told['after']:.2f} ± {told['after_standard_error']:.2f}")
    assert told["after"] > 0.3
    assert row.locator("td").nth(5).inner_text() == "–"  # three repeats say too little of the rater
    expect(page.locator("#rate-curve .scatterlayer .trace").first).to_be_visible()
    expect(page.locator("#rate-use")).to_be_enabled()
    page.click("#rate-use")
    expect(page.get_by_role("tab", name="Score")).to_have_attribute("aria-selected", "true")
    page.set_input_files("#video input[type=file]", clips[0][20])
    page.fill("#prompt textarea", "shade 10")
    page.click("#score-button")
    expect(page.locator("#score-table .value")).to_have_count(5)
    expect(page.locator("#heading")).to_contain_text("my fine-tuned model")
    # The ratings are of Overall alone, and the bright clips were called excellent.
    assert float(page.locator("#score-table .value[data-dimension=Overall]").inner_text()) > 3
    assert page.locator("#score-table tr.doubtful").count() == 4


def test_two_browsers_rate_one_study_and_nothing_is_mixed(page, new_page, served, clips):
    paths, table = clips
    study = make(page, paths[:6], table, "Five scores for each clip")
    other = new_page()
    join(other, served, study, "Ann")
    expect(other.locator("#rate-owner")).to_be_hidden()
    text = other.content() + other.locator("#rate-stage").inner_html()
    assert not any(name in text for name in ("secret_", "Sora", "sora"))
    while (one := shown(page)) is not None or shown(other) is not None:
        if one is not None:
            press(page, *"12345", "Enter")
        if shown(other) is not None:
            press(other, *"54321", "Enter")
    settle(page), settle(other)
    given = {"owner": [1, 2, 3, 4, 5], "Ann": [5, 4, 3, 2, 1]}
    ratings = study.ratings()
    assert len(ratings) == 2 * (6 + 1 + 1)
    assert all(list(rating.given.values()) == given[rating.rater] for rating in ratings)
    page.click("#rate-learn")
    expect(page.locator("#rate-statistics")).to_contain_text("14 answers by 2 raters")


def test_a_reloaded_page_sends_what_a_lost_connection_held_back_and_can_delete_the_study(page, served, clips):
    paths, table = clips
    study = make(page, paths[:4], table, "Overall alone: one key a clip")

    def lose(route: Route) -> None:
        route.abort()

    page.route(CALLS, lose)
    press(page, "4")
    expect(page.locator(".rating .say")).to_contain_text("Your answers are kept here and sent again.")
    look(page)
    page.keyboard.press("2")
    assert study.ratings() == ()
    page.unroute(CALLS, lose)
    page.reload()
    page.get_by_role("tab", name="Rate").click()
    settle(page)
    assert [rating.given["Overall"] for rating in study.ratings()] == [4, 2]

    address = f"{served}/study-clips/{study.study.id}/{study.study.clips[0].key}"
    assert page.request.get(address).body() == paths[0].read_bytes()
    assert page.request.get(address + "x").status == 404
    expect(page.locator("#rate-delete")).to_be_visible()  # also where the study was not made on this page
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#rate-delete")
    expect(page.locator("#rate-setup")).to_be_visible()
    assert page.request.get(address).status == 404
    assert not study.folder.exists()
    assert "current" not in page.evaluate(DATA)


def test_backspace_takes_back_a_score_and_then_the_answer_before(page, clips):
    paths, table = clips
    study = make(page, paths[:4], table, "Five scores for each clip")
    first = shown(page)
    press(page, *"11111", "Enter")
    settle(page)
    look(page)
    page.keyboard.press("3")
    expect(page.locator(".question").first.locator("[aria-pressed=true]")).to_have_text("3Fair")
    page.keyboard.press("Backspace")
    expect(page.locator(".question [aria-pressed=true]")).to_have_count(0)
    page.keyboard.press("Backspace")
    expect(page.locator(f".screen-of.seen[data-token='{first}']")).to_have_count(1)
    assert study.ratings() == ()
    press(page, *"02345", "Enter")
    settle(page)
    assert [list(rating.given.values()) for rating in study.ratings()] == [[None, 2, 3, 4, 5]]


def test_pairs_play_together_and_go_to_fine_tune(page, clips):
    paths, table = clips
    study = make(page, paths[:12], table, "A/B: which is better overall")
    videos = page.locator(".screen-of.seen video")
    expect(videos).to_have_count(2)
    page.wait_for_function(
        "() => { const both = [...document.querySelectorAll('.screen-of.seen video')];"
        " return both.every((video) => !video.paused && video.currentTime > 0)"
        " && Math.abs(both[0].currentTime - both[1].currentTime) < .1; }"
    )
    brightness = {clip.key: clip.name for clip in study.study.clips}
    while shown(page) is not None:
        left, right = (brightness[videos.nth(side).get_attribute("data-key")] for side in (0, 1))
        press(page, "1" if left > right else "3")
    settle(page)
    ratings = study.ratings()
    assert len(ratings) == 6 + 1 + 1
    assert all(
        brightness[rating.clips["ab".index(rating.given["Overall"])]] == max(map(brightness.get, rating.clips))
        for rating in ratings
    )
    expect(page.locator("#rate-use")).to_be_hidden()
    page.click("#rate-to-finetune")
    expect(page.locator("#check")).to_contain_text("6 of 6 rows will be used")
    expect(page.locator("#start-button")).to_be_enabled()
    assert page.get_by_label("people").is_checked()


def test_a_clip_that_cannot_be_decoded_is_skipped_and_named_to_the_owner(page, clips):
    paths, table = clips
    study = make(page, paths[:4], table, "Overall alone: one key a clip")
    # The clips that are loaded ahead are there already; of the last one the file breaks.
    loaded = page.evaluate("[...document.querySelectorAll('.screen-of video')].map((video) => video.dataset.key)")
    broken = next(clip for clip in study.study.clips if clip.key not in loaded)
    (study.folder / broken.video).write_bytes(b"no video")
    while shown(page) is not None:
        assert key_shown(page) != broken.key
        press(page, "3")
    settle(page)
    assert {rating.clips[0] for rating in study.ratings()} == {clip.key for clip in study.study.clips} - {broken.key}
    page.click("#rate-learn")
    expect(page.locator("#rate-statistics")).to_contain_text(f"{broken.name} is shown to nobody")


def test_who_cannot_rate_is_told_why(page, new_page, served, clips):
    """The name is taken, the clip was not loaded, the study has ended, the link is wrong."""
    paths, table = clips
    study = make(page, paths[:4], table, "Overall alone: one key a clip")
    other = new_page()

    def lose(route: Route) -> None:
        route.abort()

    clips_of_study = re.compile("study-clips")
    other.route(clips_of_study, lose)
    join(other, served, study, "OWNER")
    say = other.locator(".rating .say")
    expect(say).to_be_visible()
    expect(say).to_contain_text("“owner” rates this study already: choose another name")
    other.fill(".join input", "Ann")
    other.click(".join button:has-text('Start rating')")
    assert shown(other) is not None
    expect(other.locator(".bench.fresh")).to_have_count(0)
    other.keyboard.press("3")
    expect(say).to_have_text("The clip is not shown yet. Press 0 if you cannot judge it.")
    other.unroute(clips_of_study, lose)
    press(other, "5")  # waits for the clip
    settle(other)
    assert study.statistics().skipped == {}
    page.click("#rate-end")
    expect(page.locator("#rate-link")).to_contain_text("The study has ended")
    expect(page.locator(".done")).to_contain_text("This study has ended")
    look(other)
    other.keyboard.press("3")
    expect(other.locator(".done")).to_contain_text("This study has ended: its owner takes no more answers")
    other.keyboard.press("4")
    page.click("#rate-end")
    expect(page.locator("#rate-link")).to_contain_text("Whoever opens this link")
    expect(page.locator(".bench")).to_be_visible()
    other.reload()  # the answer that was refused is given again
    settle(other)
    assert [(rating.rater, rating.given["Overall"]) for rating in study.ratings()] == [("Ann", 5), ("Ann", 3)]
    other.goto(f"{served}/?study={study.study.id[:-1]}")
    expect(say).to_be_visible()
    expect(say).to_contain_text("This link leads to no study")
    expect(other.locator("#rate-setup")).to_be_visible()


def test_ratings_are_downloaded_as_tables(page, clips, tmp_path):
    paths, table = clips
    study = make(page, paths[:4], table, "Overall alone: one key a clip")
    while shown(page) is not None:
        press(page, "2")
    settle(page)
    page.click("#rate-tables")
    with page.expect_download(timeout=1000 * PATIENCE_SECONDS) as download:
        page.click("#rate-exported a[download]")
    download.value.save_as(tmp_path / "ratings.zip")
    with zipfile.ZipFile(tmp_path / "ratings.zip") as archive:
        assert sorted(archive.namelist()) == ["labels.csv", "ratings.csv", "scores.csv"]
        labels = pd.read_csv(archive.open("labels.csv"))
    assert sorted(labels["video_name"]) == [path.name for path in paths[:4]]
    assert set(labels["Overall_MOS"]) == {2}
    assert json.loads((study.folder / "study.json").read_text())["title"] == "4 clips"


def test_a_busy_server_is_asked_again_and_no_answer_is_lost(page, clips):
    paths, table = clips
    study = make(page, paths[:4], table, "Overall alone: one key a clip")
    busy = {"error": "The study is busy; answer again in a moment.", "retry": True}
    held = []

    def refuse(route: Route) -> None:
        is_first = "rate_item" in route.request.post_data and not held
        held.append(route) if is_first else None
        route.fulfill(json=busy) if is_first else route.continue_()

    page.route(CALLS, refuse)
    press(page, "4")
    expect(page.locator(".rating .say")).to_contain_text("The study is busy")
    look(page)
    page.keyboard.press("5")
    settle(page)
    assert [rating.given["Overall"] for rating in study.ratings()] == [4, 5]


def test_one_prompt_typed_last_is_enough_for_a_study(page, clips):
    page.set_input_files("#rate-videos input[type=file]", clips[0][:2])
    expect(page.locator("#rate-hint")).to_contain_text("Add a table, or type the prompt.")
    page.fill("#rate-prompt textarea", "a grey wall")
    expect(page.locator("#rate-start")).to_be_enabled()
    page.click("#rate-start")
    expect(page.locator(".bench .prompt")).to_have_text("“a grey wall”")
