"""The Compare tab in a real Chromium, with real clips and the `demo` model."""

from __future__ import annotations

import csv
import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio.media
import pytest
from fakes import RESULT
from pages import DEMO, PATIENCE_SECONDS
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from vjepa_demo.config import ASSETS, DIMENSIONS
from vjepa_demo.schema import Comparison, VideoError
from vjepa_demo.tasks.score import get_scorer

PROMPT = "the earth turns in space"
CLIPS = [Path(gradio.media.get_video(name)) for name in ("world.mp4", "a.mp4", "b.mp4")]
TIMES = "() => [...document.querySelectorAll('#compare-stage video')].map((video) => video.currentTime)"
# The longest clip is the clock; those that have not ended are to be within this many seconds of it.
IN_STEP = 0.1


def open_tab(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("tab", name="Compare").click()


@pytest.fixture
def page(kept_page, served) -> Page:
    """The tab without clips, a prompt or a message."""
    if not kept_page.url.startswith(served):
        open_tab(kept_page, served)
    kept_page.get_by_role("tab", name="Compare").click()
    expect(kept_page.locator("#compare-examples")).to_be_enabled()  # nothing runs
    loop = kept_page.locator("#compare-player [data-control=loop]")
    if loop.get_attribute("aria-pressed") == "true":
        loop.click()
    kept_page.evaluate("document.querySelectorAll('.clip [data-action=remove]').forEach((each) => each.click())")
    expect(kept_page.locator(".clip")).to_have_count(0)
    kept_page.locator("#compare-each input").set_checked(False)
    kept_page.fill("#compare-prompt textarea", "")
    kept_page.evaluate("document.querySelectorAll('.toast-close').forEach((each) => each.click())")
    expect(kept_page.locator(".toast-body")).to_have_count(0)
    expect(kept_page.locator("#compare-hint")).to_have_text("Add two to four clips and type their prompt.")
    return kept_page


def drop(page: Page, *paths: Path) -> None:
    page.set_input_files("#compare-drop input[type=file]", paths)


def add(page: Page, *paths: Path) -> None:
    """The clips on the stage, each known to its player."""
    before = page.locator(".clip").count()
    drop(page, *paths)
    expect(page.locator(".clip")).to_have_count(before + len(paths))
    wait_for_players(page)


def wait_for_players(page: Page) -> None:
    page.wait_for_function(
        "() => [...document.querySelectorAll('#compare-stage video')].every((video) => video.readyState >= 2)"
    )


def names(page: Page) -> list[str]:
    return page.locator(".clip .name").all_inner_texts()


def compare(page: Page, count: int) -> None:
    expect(page.locator("#compare-button")).to_be_enabled()
    page.click("#compare-button")
    wait_for_scores(page, count)


def wait_for_scores(page: Page, count: int) -> None:
    expect(page.locator("#compare-table .value")).to_have_count(5 * count)
    expect(page.locator("#compare-radar .scatterlayer .trace")).to_have_count(count)
    expect(page.locator("#compare-button")).to_be_enabled()


def shown(page: Page) -> dict[str, list[tuple[float, float | None, bool]]]:
    """Of each dimension, clip by clip: the score on the screen, its difference, whether it is marked as best."""
    return {
        name: [_cell(cell) for cell in page.locator(f"#compare-table td[data-dimension={name}]").all()]
        for name in DIMENSIONS
    }


def _cell(cell: Locator) -> tuple[float, float | None, bool]:
    difference = cell.locator(".difference").inner_text().replace("−", "-").replace("±", "")
    is_best = cell.locator(".star").count() == 1
    return float(cell.locator(".value").inner_text()), float(difference) if difference else None, is_best


def as_shown(comparison: Comparison) -> dict[str, list[tuple[float, float | None, bool]]]:
    return {
        name: [
            (
                float(f"{each.scores[name]:.2f}"),
                differences[name] if index else None,
                index in comparison.best[name],
            )
            for index, (each, differences) in enumerate(
                zip(comparison.results, comparison.shown_differences, strict=True)
            )
        ]
        for name in DIMENSIONS
    }


@pytest.fixture
def compared(page) -> Page:
    """Three real clips, compared."""
    add(page, *CLIPS)
    page.fill("#compare-prompt textarea", PROMPT)
    compare(page, 3)
    return page


# ---- scores ----------------------------------------------------------------------------------------------------------


def test_three_clips_are_compared_as_the_command_line_does_it_and_encoded_once(compared):
    expected = get_scorer("demo").compare([(path, PROMPT) for path in CLIPS])
    assert shown(compared) == as_shown(expected)
    radars = compared.evaluate(
        "() => document.querySelector('#compare-radar .js-plotly-plot').data.map((trace) => [...trace.r])"
    )
    assert radars == [[*each.scores.values(), each.scores["Traditional"]] for each in expected.results]
    drawn = compared.locator("#compare-radar .legendtext").all_text_contents()
    assert drawn == ["A · world.mp4", "B · a.mp4", "C · b.mp4"]
    expect(compared.locator("#compare-heading")).to_contain_text(f"3 clips · “{PROMPT}”")
    expect(compared.locator("#compare-heading")).to_contain_text("Scored by demo.")
    expect(compared.locator("#compare-about")).to_contain_text(f"learned from {DEMO}")

    # clips that were scored before are not encoded again
    compared.fill("#compare-prompt textarea", "another planet")
    expect(compared.locator("#compare-hint")).to_contain_text("Press Compare for the scores of what is here now.")
    compared.click("#compare-button")
    expect(compared.locator("#compare-heading")).to_contain_text("another planet")
    expect(compared.locator("#compare-about")).to_contain_text("video remembered, not encoded again: A, B and C")


def test_the_example_clips_are_compared_with_one_click_each_with_its_prompt(page):
    expect(page.locator("#compare-hint")).to_have_text("Add two to four clips and type their prompt.")
    expect(page.locator("#compare-button")).to_be_disabled()
    page.click("#compare-examples")
    wait_for_scores(page, 4)
    assert names(page) == ["clean.mp4", "blurred.mp4", "unsteady.mp4", "wrong_prompt.mp4"]
    expect(page.locator("#compare-heading")).to_contain_text("each with its own prompt")
    expect(page.get_by_label("Prompt of B · blurred.mp4")).to_have_value("a red ball rolls right over green grass")
    traditional, alignment, temporal = (shown(page)[name] for name in ("Traditional", "Alignment", "Temporal"))
    assert traditional[1][1] < -1  # what is blurred looks worse than what is clean
    assert temporal[2][1] < -1  # and so does what flickers
    assert alignment[3][1] < -1  # and the wrong prompt
    assert page.locator("#compare-drop").is_hidden()  # four are all


def test_swapping_and_removing_take_the_scores_along(compared):
    before = shown(compared)
    compared.get_by_label("Move A to the right").click()
    expect(compared.locator(".clip .name").first).to_have_text("a.mp4")
    assert names(compared) == ["a.mp4", "world.mp4", "b.mp4"]
    scores = {name: [score for score, *_ in row] for name, row in shown(compared).items()}
    assert scores == {name: [row[1][0], row[0][0], row[2][0]] for name, row in before.items()}
    compared.get_by_label("Remove A, a.mp4").click()
    expect(compared.locator(".clip")).to_have_count(2)
    expect(compared.locator("#compare-table .value")).to_have_count(10)
    left = shown(compared)
    assert [[score for score, *_ in left[name]] for name in DIMENSIONS] == [
        [before[name][0][0], before[name][2][0]] for name in DIMENSIONS
    ]
    compared.get_by_label("Remove B, b.mp4").click()
    expect(compared.locator("#compare-results")).to_be_hidden()
    expect(compared.locator("#compare-hint")).to_have_text("Add one more clip.")


def test_each_clip_can_have_its_own_prompt(page):
    add(page, *CLIPS[1:])
    page.fill("#compare-prompt textarea", "a cartoon")
    page.check("#compare-each input")
    expect(page.get_by_label("Prompt of A · a.mp4")).to_have_value("a cartoon")
    page.get_by_label("Prompt of B · b.mp4").fill("a planet")
    page.get_by_label("Move A to the right").click()
    expect(page.get_by_label("Prompt of A · b.mp4")).to_have_value("a planet")
    compare(page, 2)
    expected = get_scorer("demo").compare([(CLIPS[2], "a planet"), (CLIPS[1], "a cartoon")])
    assert shown(page) == as_shown(expected)


def test_a_file_that_is_no_video_is_named_and_the_others_are_compared(page, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(CLIPS[2].read_bytes()[:3000])
    drop(page, CLIPS[1], broken, CLIPS[2])
    expect(page.locator(".clip")).to_have_count(3)
    expect(page.locator(".clip").nth(1)).to_contain_text("Your browser cannot play this file")
    page.fill("#compare-prompt textarea", PROMPT)
    compare(page, 2)
    expect(page.locator(".clip").nth(1).get_by_role("alert")).to_contain_text("broken.mp4")
    assert page.locator("#compare-table thead .letter").all_inner_texts() == ["A", "C"]


def test_a_clip_too_many_is_named(page, tmp_path):
    five = [shutil.copy(ASSETS / "examples" / "clean.mp4", tmp_path / f"clip {number}.mp4") for number in range(5)]
    drop(page, *five)
    expect(page.locator(".toast-body")).to_contain_text("Compare holds 4 clips: clip 4.mp4 left out.")
    expect(page.locator(".clip")).to_have_count(4)


def test_where_one_of_two_fails_the_page_says_so_and_keeps_the_others_score(page, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nope" * 100)
    drop(page, bad, CLIPS[2])
    expect(page.locator(".clip")).to_have_count(2)
    page.fill("#compare-prompt textarea", PROMPT)
    page.click("#compare-button")
    said = "bad.mp4 has no scores: put another clip in its place."
    expect(page.locator("#compare-hint")).to_have_text(said)
    expect(page.locator("#compare-empty")).to_contain_text(said)
    overall = get_scorer("demo").score(CLIPS[2], PROMPT).scores["Overall"]
    expect(page.locator("#compare-empty")).to_contain_text(f"Overall {overall:.2f}")
    expect(page.locator(".clip").nth(1).locator(".state")).to_have_text(f"Overall {overall:.2f}")
    page.get_by_label("Remove A, bad.mp4").click()
    expect(page.locator("#compare-empty")).to_contain_text("Which version is better")


def test_a_hint_that_says_nothing_takes_no_room_and_scores_move_no_card(page):
    add(page, *CLIPS[1:])
    page.fill("#compare-prompt textarea", PROMPT)
    expect(page.locator("#compare-hint")).to_be_hidden()
    height = "() => document.querySelector('.clip .state').getBoundingClientRect().height"
    before = page.evaluate(height)
    compare(page, 2)
    expect(page.locator("#compare-hint")).to_be_hidden()
    assert page.evaluate(height) == before


def test_two_quick_clicks_do_each_what_it_says(page):
    page.click("#compare-examples")
    wait_for_scores(page, 4)
    prompt = page.get_by_label("Prompt of A").input_value()
    press = """(pressed) => {
        for (const [place, action] of pressed)
            document.querySelectorAll('.clip')[place].querySelector(`[data-action=${action}]`).click();
    }"""
    page.evaluate(press, [[0, "right"], [0, "right"], [3, "remove"]])  # the first clip twice, then the fourth
    expect(page.locator(".clip")).to_have_count(3)
    assert names(page) == ["blurred.mp4", "unsteady.mp4", "clean.mp4"]
    expect(page.get_by_label("Prompt of C · clean.mp4")).to_have_value(prompt)  # it went along both times
    page.evaluate(press, [[1, "remove"], [1, "remove"]])  # the same clip: it is gone the second time
    expect(page.locator(".clip")).to_have_count(2)
    page.get_by_label("Move A to the right").click()
    expect(page.locator(".clip .name").first).to_have_text("clean.mp4")
    assert names(page) == ["clean.mp4", "blurred.mp4"]


def test_a_format_that_browsers_do_not_play_is_played_as_a_small_copy_and_scored(page):
    drop(page, CLIPS[2], Path(gradio.media.get_video("b.avi")))
    page.wait_for_function("() => document.querySelectorAll('#compare-stage video')[1]?.videoWidth > 0")
    page.fill("#compare-prompt textarea", PROMPT)
    compare(page, 2)
    page.get_by_label("Play all clips").click()
    page.wait_for_function("() => document.querySelector('#compare-stage video').currentTime > 0.3")


def test_the_model_is_the_score_tabs_and_the_other_way_round(page):
    page.click("#compare-model input")
    page.get_by_role("option", name="vitg").click()
    expect(page.locator("#compare-hint")).to_contain_text("no trained head exists for it here")
    page.get_by_role("tab", name="Score").click()
    expect(page.locator("#model input")).to_have_value(re.compile("vitg"))
    page.click("#model input")
    page.get_by_role("option", name="demo").click()
    page.get_by_role("tab", name="Compare").click()
    expect(page.locator("#compare-model input")).to_have_value(re.compile("demo"))
    expect(page.locator("#compare-hint")).to_have_text("Add two to four clips and type their prompt.")


# ---- playing together ------------------------------------------------------------------------------------------------


def wait_until_in_step(page: Page) -> None:
    """No clip is farther than `IN_STEP` from the first, the longest, or from its own end where that is past it."""
    page.wait_for_function(
        """(in_step) => {
            const [clock, ...others] = document.querySelectorAll('#compare-stage video');
            const at = clock.currentTime;
            return others.every((video) => Math.abs(video.currentTime - Math.min(at, video.duration)) < in_step);
        }""",
        arg=IN_STEP,
    )


def wait_until_all_are_past(page: Page, seconds: float) -> None:
    page.wait_for_function(
        "(seconds) => [...document.querySelectorAll('#compare-stage video')].every((v) => v.currentTime > seconds)",
        arg=seconds,
    )


def test_one_control_plays_pauses_and_seeks_all_clips_together(page):
    add(page, *CLIPS)
    page.get_by_label("Play all clips").click()
    for seconds in (0.5, 1.0, 1.5, 2.0):
        wait_until_all_are_past(page, seconds)
        wait_until_in_step(page)
    page.get_by_label("Pause all clips").click()
    page.wait_for_function("() => [...document.querySelectorAll('#compare-stage video')].every((v) => !v.seeking)")
    times, ends = page.evaluate(TIMES), page.evaluate(TIMES.replace("currentTime", "duration"))
    assert times == pytest.approx([min(times[0], end) for end in ends], abs=0.01)
    assert page.evaluate("() => [...document.querySelectorAll('#compare-stage video')].every((v) => v.paused)")
    assert page.evaluate(TIMES) == times  # they stand still

    seek(page, 3.2)
    assert page.evaluate(TIMES) == pytest.approx([3.2] * 3, abs=0.01)
    expect(page.locator("#compare-player .time")).to_have_text("0:03.2 / 0:30.5")


def seek(page: Page, seconds: float) -> None:
    page.get_by_label("Time in all clips").fill(str(seconds))
    page.wait_for_function("() => [...document.querySelectorAll('#compare-stage video')].every((v) => !v.seeking)")


def test_a_shorter_clip_stops_at_its_end_while_the_others_go_on(page):
    add(page, *CLIPS)
    seek(page, 4.6)
    page.get_by_label("Play all clips").click()
    page.wait_for_function("() => document.querySelector('#compare-stage video').currentTime > 5.6")
    wait_until_in_step(page)
    assert page.evaluate(TIMES)[2] == pytest.approx(5.0, abs=0.05)
    seek(page, 2.0)  # back to where all go on, while playing
    wait_until_all_are_past(page, 2.3)
    wait_until_in_step(page)
    page.get_by_label("Pause all clips").click()
    seek(page, 20.0)
    assert page.evaluate(TIMES) == pytest.approx([20.0, 7.0, 5.0], abs=0.1)


def test_at_the_end_it_stops_or_begins_again(page):
    add(page, *(ASSETS / "examples" / f"{name}.mp4" for name in ("clean", "blurred")))
    seek(page, 2.2)
    page.get_by_label("Play all clips").click()
    expect(page.get_by_label("Play all clips")).to_be_visible()  # it has stopped
    assert page.evaluate(TIMES) == pytest.approx([2.5, 2.5], abs=0.05)
    page.get_by_role("button", name="Loop").click()
    page.get_by_label("Play all clips").click()  # from the end: from the beginning
    wait_until_all_are_past(page, 0.4)
    seek(page, 2.2)
    page.wait_for_function("() => document.querySelector('#compare-stage video').currentTime < 1")
    expect(page.get_by_label("Pause all clips")).to_be_visible()


def test_the_time_stays_within_the_clips_that_are_left(page):
    add(page, *CLIPS[1:])
    seek(page, 6.0)
    page.get_by_label("Remove A, a.mp4").click()
    time = page.locator("#compare-player .time")
    expect(time).to_have_text("0:05.0 / 0:05.0")
    page.wait_for_function("() => Math.abs(document.querySelector('#compare-stage video').currentTime - 5) < 0.05")
    page.click("#compare-examples")  # none of the clips before is left
    expect(page.locator(".clip")).to_have_count(4)
    expect(time).to_have_text("0:00.0 / 0:02.5")


def test_clips_do_not_go_on_playing_where_nobody_sees_them(page):
    add(page, *CLIPS[1:])
    page.get_by_role("button", name="Muted").click()
    page.get_by_label("Play all clips").click()
    wait_until_all_are_past(page, 0.2)
    page.get_by_role("tab", name="Score").click()
    page.wait_for_function("() => [...document.querySelectorAll('#compare-stage video')].every((v) => v.paused)")
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_label("Play all clips")).to_be_visible()  # on again when it is pressed, from where it was
    assert min(page.evaluate(TIMES)) > 0.2


def test_the_sound_is_of_one_clip_at_a_time(page):
    add(page, *CLIPS)
    muted = "() => [...document.querySelectorAll('#compare-stage video')].map((video) => video.muted)"
    assert page.evaluate(muted) == [True] * 3
    page.get_by_role("button", name="Muted").click()
    assert page.evaluate(muted) == [False, True, True]
    page.get_by_role("button", name="Sound of A").click()
    assert page.evaluate(muted) == [True, False, True]


def test_the_control_works_with_the_keyboard_alone(page):
    add(page, *CLIPS[1:])
    play, time = page.get_by_label("Play all clips"), page.get_by_label("Time in all clips")
    play.focus()
    page.keyboard.press("Enter")
    wait_until_all_are_past(page, 0.2)
    page.keyboard.press("Space")
    expect(play).to_be_visible()
    seek(page, 1.0)
    time.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => [...document.querySelectorAll('#compare-stage video')].every((v) => !v.seeking)")
    assert page.evaluate(TIMES) == pytest.approx([1.04, 1.04], abs=0.005)
    page.get_by_label("Move B to the left").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".clip .name").first).to_have_text("b.mp4")
    wait_for_players(page)
    page.wait_for_function("() => [...document.querySelectorAll('#compare-stage video')].every((v) => !v.seeking)")
    assert page.evaluate(TIMES) == pytest.approx([1.04, 1.04], abs=0.005)  # a moved clip stays where it was


# ---- exports ---------------------------------------------------------------------------------------------------------


def export(page: Page, kind: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    assert download.value.suggested_filename == f"comparison-world-a-b.{kind.lower()}"
    download.value.save_as(folder / download.value.suggested_filename)
    return folder / download.value.suggested_filename


def open_saved(page: Page, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.click("#compare-open")
    chooser.value.set_files(path)


def test_exports_equal_the_screen_the_json_opens_again_and_a_foreign_file_changes_nothing(compared, tmp_path):
    on_screen = shown(compared)
    foreign = tmp_path / "foreign <b>.json"
    foreign.write_text('{"format": "another"}')
    open_saved(compared, foreign)
    expect(compared.locator(".toast-body")).to_contain_text("the file holds no comparison of this program")
    assert shown(compared) == on_screen
    assert names(compared) == ["world.mp4", "a.mp4", "b.mp4"]
    expect(compared.locator("#compare-prompt textarea")).to_have_value(PROMPT)

    saved = export(compared, "JSON", tmp_path)
    comparison = Comparison.from_dict(json.loads(saved.read_text("utf-8")))
    assert as_shown(comparison) == on_screen
    assert [each.video for each in comparison.results] == ["world.mp4", "a.mp4", "b.mp4"]

    with export(compared, "CSV", tmp_path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["video"], row["prompt"], row["model"]) for row in rows] == [
        (name, PROMPT, "demo") for name in ("world.mp4", "a.mp4", "b.mp4")
    ]
    for name, cells in on_screen.items():
        assert [float(f"{float(row[name]):.2f}") for row in rows] == [score for score, *_ in cells]
        differences = [float(row[f"{name}_difference"]) for row in rows]
        assert differences == pytest.approx([difference or 0.0 for _, difference, _ in cells], abs=0.011)

    picture = Image.open(export(compared, "PNG", tmp_path)).convert("RGB")
    assert picture.size == (1800, 1400)
    assert picture.getpixel((5, 5)) == (255, 255, 255)
    found = {colour for _, colour in picture.getcolors(2**24)}
    assert {(249, 115, 22), (14, 165, 233), (0, 158, 115), (31, 41, 55)} <= found  # three clips, dark ink

    compared.reload()
    compared.get_by_role("tab", name="Compare").click()
    open_saved(compared, saved)
    expect(compared.locator("#compare-table .value")).to_have_count(15)
    assert shown(compared) == on_screen
    assert names(compared) == ["world.mp4", "a.mp4", "b.mp4"]
    expect(compared.locator("#compare-radar .scatterlayer .trace")).to_have_count(3)
    expect(compared.locator("#compare-prompt textarea")).to_have_value(PROMPT)
    expect(compared.locator(".clip").first).to_contain_text("The video is not in the saved file.")
    expect(compared.locator("#compare-hint")).to_contain_text("drop in world.mp4, a.mp4 and b.mp4")
    expect(compared.locator("#compare-button")).to_be_disabled()

    drop(compared, CLIPS[2], CLIPS[0], CLIPS[1])  # in another order: each is known by its content
    expect(compared.locator("#compare-stage video")).to_have_count(3)
    sources = compared.locator("#compare-stage video").evaluate_all("each => each.map((video) => video.src)")
    assert [source.rpartition("/")[2] for source in sources] == ["world.mp4", "a.mp4", "b.mp4"]
    assert shown(compared) == on_screen
    expect(compared.locator("#compare-button")).to_be_enabled()


# ---- with a scorer that the test holds back --------------------------------------------------------------------------


class HeldBack:
    """A scorer whose second clip waits until the test lets it go, and whose third is broken."""

    hardware = "CPU test"

    def __init__(self) -> None:
        self.may_score = threading.Event()
        self.runs = 0

    def score_all(self, requests, *, on_step, **_):
        self.runs += 1
        for index, (video, prompt) in enumerate(requests):
            on_step("video")
            if index == 1:
                assert self.may_score.wait(PATIENCE_SECONDS)
            broken = VideoError(f"{video.name} is broken")
            yield broken if index == 2 else replace(RESULT, video=str(video), prompt=prompt, frames=None)


@pytest.fixture
def held_back(page_here) -> Iterator[tuple[HeldBack, str]]:
    scorer = HeldBack()
    page_here.scorer = lambda _: scorer
    yield scorer, page_here.address
    scorer.may_score.set()


def test_progress_is_told_and_what_is_changed_meanwhile_stays_changed(new_page, held_back):
    page, (scorer, address) = new_page(), held_back
    open_tab(page, address)
    add(page, *CLIPS)
    page.fill("#compare-prompt textarea", PROMPT)
    expect(page.locator("#compare-button")).to_be_enabled()
    page.click("#compare-button")
    # The first: Gradio says it to screen readers too, a little later.
    expect(page.get_by_text("Clip 2 of 3, a.mp4: encoding the video").first).to_be_visible()
    expect(page.locator("#compare-button")).to_be_disabled()
    expect(page.locator("#compare-examples")).to_be_disabled()
    page.get_by_label("Move C to the left").click()
    expect(page.locator(".clip .name").last).to_have_text("a.mp4")
    page.fill("#compare-prompt textarea", "typed meanwhile")
    expect(page.locator("#compare-button")).to_be_disabled()
    scorer.may_score.set()
    expect(page.locator("#compare-table .value")).to_have_count(10)
    assert names(page) == ["world.mp4", "b.mp4", "a.mp4"]
    expect(page.locator(".clip").nth(1).get_by_role("alert")).to_have_text("b.mp4 is broken")
    expect(page.locator("#compare-prompt textarea")).to_have_value("typed meanwhile")
    expect(page.locator("#compare-button")).to_be_enabled()
    assert scorer.runs == 1
