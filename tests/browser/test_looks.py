"""How every tab looks on a phone and on a desk, light and dark, once it is full."""

from __future__ import annotations

import re
from itertools import combinations, product
from pathlib import Path

import httpx
import pandas as pd
import pytest
from pages import DEMO, ROOT, overlap, wait_for_scores
from playwright.sync_api import Page, expect

from vjepa_demo.config import ASSETS

CLONE = ROOT / "vjepa_demo" / "app" / "clone.js"
PHONE, DESK = 390, 1280
TABS = ("Score", "Compare", "Batch", "Rate", "Fine-tune", "About")
# of the text to the page behind it, as WCAG has it
CONTRAST = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((each) => each / 255)
      .map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = light(getComputedStyle(document.querySelector("#batch-hint p")).color);
  const page = light(getComputedStyle(document.querySelector("gradio-app")).backgroundColor);
  return (Math.max(text, page) + 0.05) / (Math.min(text, page) + 0.05);
}"""
BOXES = """elements => elements.map((element) => {
  const { x, y, width, height } = element.getBoundingClientRect();
  return { x, y, width, height };
})"""
# Charts are drawn anew some time after the window has another size.
FITS = "() => document.documentElement.scrollWidth === innerWidth"
CHARTS_FIT = """() => [...document.querySelectorAll(".js-plotly-plot")]
  .filter((chart) => chart.clientWidth).every((chart) =>
  Math.abs(chart.clientWidth - chart.querySelector(".main-svg").getBoundingClientRect().width) < 2)"""


def boxes(page: Page, selector: str) -> list[dict[str, float]]:
    return page.locator(selector).evaluate_all(BOXES)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def score(page: Page) -> None:
    expect(page.locator("#model-state")).to_contain_text("ready")
    page.locator("#examples tbody tr").first.click()
    wait_for_scores(page)
    expect(page.locator("#history li")).to_have_count(1)
    expect(page.locator("#heading")).to_be_in_viewport()  # on a phone too: the page goes to what was asked for


def compare(page: Page) -> None:
    page.click("#compare-examples")
    expect(page.locator("#compare-table .value")).to_have_count(20)
    expect(page.locator("#compare-radar .scatterlayer .trace")).to_have_count(4)
    expect(page.locator("#compare-button")).to_be_enabled()


@pytest.fixture
def labelled_table(own_table, tmp_path) -> tuple[Path, Path]:
    """The same rows, with the labels of the sample data set."""
    table, videos = own_table
    labels = pd.read_csv(ASSETS / "sample" / "labels.csv").head(12).filter(like="_MOS")
    pd.read_csv(table, sep="\t").join(labels).to_csv(tmp_path / "labelled.csv", index=False)
    return tmp_path / "labelled.csv", videos


def run_batch(page: Page, table: Path, videos: Path) -> None:
    """The labelled data set of a person, with errors, a ranking and metrics."""
    check_an_empty_batch(page)
    page.set_input_files("#batch-videos input[type=file]", videos)
    page.set_input_files("#batch-table input[type=file]", table)
    expect(page.locator("#batch-start")).to_be_enabled()
    page.click("#batch-start")
    expect(page.locator("#batch-status")).to_contain_text("Done")
    page.locator("#leaderboard-chart .js-plotly-plot .trace").first.wait_for()
    expect(page.locator(".modebar-container").first).to_be_hidden()
    width = page.viewport_size["width"]
    check_inside(page, "#leaderboard td[data-dimension=Overall]", width)
    check_inside(page, "#batch-rows tr:has(.value) .value", width)
    expect(page.locator("#batch-metrics .wide")).to_be_visible()
    page.wait_for_function(FITS)


def rate(page: Page) -> None:
    """A study of what is in Batch, with a first answer."""
    page.click("#rate-batch")
    expect(page.locator(".bench")).to_be_visible()
    expect(page.locator(".bench.fresh")).to_have_count(0)  # a clip is seen before it is rated
    page.locator(".screen-of.seen video[data-shown]").wait_for()
    page.keyboard.type("12345")
    page.keyboard.press("Enter")
    expect(page.locator(".progress p")).to_contain_text("1 of ")
    expect(page.locator("#rate-link")).to_contain_text("Whoever opens this link")


def fine_tune(page: Page) -> None:
    page.click("#sample-button")  # a few clips would show no gain
    expect(page.locator("#check")).to_contain_text("100 of 100 rows")
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_label("number input for Epochs").fill("1")
    page.get_by_label("number input for Epochs").press("Enter")
    expect(page.locator("#start-button")).to_be_enabled()
    page.click("#start-button")
    expect(page.locator("#metrics tr[data-gain]")).to_have_count(5)
    width = page.viewport_size["width"]
    check_inside(page, "#metrics tr[data-gain] td:nth-child(4)", width)
    check_inside(page, "#worst .off", width)


def check_an_empty_batch(page: Page) -> None:
    """Small text can be read, and the label of a field leaves its icon free."""
    expect(page.locator("#batch-hint p")).to_be_visible()
    assert 4.5 <= page.evaluate(CONTRAST) < 10
    (label,), (icon,) = (
        boxes(page, "#batch-videos label[data-testid=block-label]"),
        boxes(page, "#batch-videos [data-testid=upload-icon]"),
    )
    assert icon["y"] >= label["y"] + label["height"]
    (button,), (hint,) = boxes(page, "#batch-start"), boxes(page, "#batch-hint p")
    assert hint["x"] == button["x"]


def check_inside(page: Page, selector: str, width: int) -> None:
    found = boxes(page, selector)
    assert found
    for box in found:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def check_score(page: Page, theme: str, width: int) -> None:
    ink = page.evaluate("getComputedStyle(document.querySelector('#radar .angularaxistick text')).fill")
    assert ink == page.evaluate("getComputedStyle(document.querySelector('#heading b')).color")
    lightness = sum(map(int, re.findall(r"\d+", ink)[:3])) / 3
    assert lightness > 180 if theme == "dark" else lightness < 80
    (chart, *_) = boxes(page, "#radar .main-svg")
    names, words = (boxes(page, f"#radar .{axis}-axis text") for axis in ("angular", "radial"))
    assert [text.inner_html() for text in page.locator("#radar .radial-axis text").all()] == [
        *("1 Bad", "2 Poor", "3 Fair", "4 Good", "5 Excellent")
    ]
    for box in (*names, *words):
        assert chart["x"] <= box["x"]
        assert box["x"] + box["width"] <= chart["x"] + chart["width"]
    for box in words:
        assert box["width"] > 1.5 * box["height"]  # the words lie flat
    for one, other in combinations((*names, *words), 2):
        assert not overlap(one, other)
    if width == PHONE:
        (results,), (listed,), (examples,) = (boxes(page, name) for name in ("#results", "#history", "#examples"))
        assert results["y"] + results["height"] <= listed["y"] <= examples["y"]


def check_compare(page: Page, theme: str, width: int) -> None:
    for part in (".clip", "#compare-table table", ".player", ".exports", "#compare-radar .main-svg"):
        check_inside(page, part, width)
    if width == PHONE:
        for box in boxes(page, ".clip button, .player button, .player input, .exports button"):
            assert min(box["width"], box["height"]) >= 32  # to be hit with a finger
        for name, remove in zip(boxes(page, ".clip .name"), boxes(page, ".clip [data-action=remove]"), strict=True):
            assert name["y"] >= remove["y"] + 32  # on a line of its own
            assert name["width"] > 130
    tops = {round(box["y"]) for box in boxes(page, ".clip")}
    assert len(tops) == (2 if width == PHONE else 1)  # beside each other


def check_batch(page: Page, theme: str, width: int) -> None:
    check_inside(page, "#batch-rows tr:has(.value) .value", width)
    if width == DESK:
        assert page.locator("#batch-metrics .wide").evaluate("each => each.scrollWidth === each.clientWidth")


def check_rate(page: Page, theme: str, width: int) -> None:
    parts = (
        ".screens",
        ".screen-of.seen video",
        ".question button",
        ".actions button",
        ".progress",
        "#rate-owner button",
    )
    for part in parts:
        check_inside(page, part, width)
    (clip,), (first, *_) = boxes(page, ".screens"), boxes(page, ".question")
    if width == PHONE:
        assert first["y"] > clip["y"] + clip["height"]  # below the clip
        for box in boxes(page, ".question button:not(.cannot), .actions button:not([hidden])"):
            assert min(box["width"], box["height"]) >= 32  # to be hit with a finger
    else:
        assert first["x"] > clip["x"] + clip["width"]  # beside it
        assert clip["y"] + clip["height"] < 900  # and both in sight


def check_about(page: Page, theme: str, width: int) -> None:
    for fact in ("SROCC, Overall", f"{DEMO.srocc['Overall']:.2f}", *DEMO.measured):
        expect(page.locator("#about-models")).to_contain_text(fact)
    expect(page.locator("#kept-on-disk")).to_contain_text("features")


def show(page: Page, theme: str, width: int) -> None:
    """What the theme's switch does: Gradio marks the page as dark."""
    page.evaluate("dark => document.body.classList.toggle('dark', dark)", theme == "dark")
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function(FITS)
    page.wait_for_function(CHARTS_FIT)


def test_nothing_sticks_out_and_all_can_be_read(new_page, served, labelled_table):
    """Each tab is filled on a phone, and looked at in both themes on a phone and on a desk."""
    page = new_page(PHONE)
    page.goto(f"{served}/?__theme=light")
    fill = {
        "Score": score,
        "Compare": compare,
        "Batch": lambda page: run_batch(page, *labelled_table),
        "Rate": rate,
        "Fine-tune": fine_tune,
    }
    check = {
        "Score": check_score,
        "Compare": check_compare,
        "Batch": check_batch,
        "Rate": check_rate,
        "About": check_about,
    }
    for tab in TABS:
        open_tab(page, tab)
        if tab in fill:
            fill[tab](page)
        for theme, width in product(("light", "dark"), (PHONE, DESK)):
            show(page, theme, width)
            if tab in check:
                check[tab](page, theme, width)
        show(page, "light", PHONE)


def test_an_empty_batch_and_the_dark_page_by_its_address_can_be_read(page, served):
    page.goto(f"{served}/?__theme=dark")
    open_tab(page, "Batch")
    check_an_empty_batch(page)


def test_copies_are_those_of_the_browser(page, served):
    """What clone.js answers itself is what structuredClone would have."""
    assert "structuredClone = (value" in httpx.get(served).text
    page.add_script_tag(content=CLONE.read_text("utf-8"))
    assert page.evaluate("[structuredClone('x'), structuredClone(null), structuredClone({a: [1]})]") == [
        *("x", None, {"a": [1]})
    ]
    assert page.evaluate("() => { const one = { a: [] }; return structuredClone(one).a !== one.a; }")
    told = "() => {{ try {{ structuredClone({}); }} catch (error) {{ return error.name; }} }}"
    for refused in ("() => 1", "Symbol()", "{ a() {} }"):
        assert page.evaluate(told.format(refused)) == "DataCloneError"
