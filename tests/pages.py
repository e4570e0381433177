"""The page served for a browser, and what every browser test does with it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
from playwright.sync_api import APIResponse, Page, Route, expect

from vjepa_demo.app.page import build_app, launch
from vjepa_demo.config import ASSETS
from vjepa_demo.model.checkpoint import read_checkpoint

PATIENCE_SECONDS = 300  # a machine may be busy; what is awaited comes in milliseconds on an idle one
PATIENCE_MILLISECONDS = 1000 * PATIENCE_SECONDS
expect.set_options(timeout=PATIENCE_MILLISECONDS)

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "the earth turns in space"
DEMO = read_checkpoint(ASSETS / "demo").trained_on


def free_port() -> int:
    """A port below those that the system gives to outgoing connections: none can take it before the server does."""
    while True:
        port = secrets.choice(range(10_000, 32_768))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(frozen=True)
class Served:
    """`python app.py`, a process of its own: where it answers, and what it has logged so far."""

    address: str
    process: processes.Program
    log: list[str]

    def end(self) -> int:
        """Tell it to end, and wait until it has; its exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def served(**environment: str) -> Iterator[Served]:
    """The page in a process of its own, with these environment variables besides those of the tests."""
    port = free_port()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1"} | environment
    process = processes.start("app.py", environment=environment, stderr=processes.STDOUT)
    log: list[str] = []
    for line in process.stdout:
        log.append(line)
        if "the page is on" in line:
            break
    else:
        raise AssertionError("app.py ended:\n" + "".join(log))
    reader = threading.Thread(target=lambda: log.extend(process.stdout), daemon=True)  # the pipe must not fill up
    reader.start()
    here = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        yield here
    finally:
        here.end()
        reader.join(PATIENCE_SECONDS)


@contextmanager
def serving(**environment: str) -> Iterator[str]:
    """The address of `served`."""
    with served(**environment) as here:
        yield here.address


@contextmanager
def page_of(scorer: Callable[[str], Any]) -> Iterator[str]:
    """The address of a page, served by this process, whose models are what `scorer` makes of their names."""
    app, port = build_app(scorer), free_port()
    launch(app, server_name="127.0.0.1", server_port=port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        app.close(verbose=False)


@dataclass
class PageHere:
    """A page served by this process. A test sets `scorer`, which gives the scorer of a model's name."""

    address: str
    scorer: Callable[[str], Any]


def upload(page: Page, path: Path) -> None:
    page.set_input_files("#video input[type=file]", path)


def fill_in(page: Page, path: Path, prompt: str) -> None:
    upload(page, path)
    page.fill("#prompt textarea", prompt)
    expect(page.locator("#score-button")).to_be_enabled()


def wait_for_scores(page: Page) -> None:
    expect(page.locator("#score-table .value")).to_have_count(5)
    page.locator("#radar .js-plotly-plot .scatterlayer .trace").first.wait_for()


class LateAnswer:
    """The second answer to what `is_meant` finds in the values that the page sends: the server has given it, the page
    gets it when the test says so."""

    def __init__(self, page: Page, is_meant: Callable[[list[Any]], bool]) -> None:
        self._page, self._is_meant, self._asked = page, is_meant, 0
        self._held: list[tuple[Route, APIResponse]] = []
        page.route("**/run/predict", self._hold)

    def _hold(self, route: Route) -> None:
        is_meant = self._is_meant(route.request.post_data_json["data"])
        self._asked += is_meant
        if is_meant and self._asked == 2:  # others may come while this one is fetched
            self._held.append((route, route.fetch()))
            self._page.evaluate("window.isAnswerHeld = true")
        else:
            route.continue_()

    def wait(self) -> None:
        """The page has asked twice."""
        self._page.wait_for_function("window.isAnswerHeld")  # and meanwhile Playwright calls `_hold`

    def arrive(self) -> None:
        """The page has the answer, and asks again."""
        ((route, answer),) = self._held
        with self._page.expect_response(lambda response: response.request != route.request):
            route.fulfill(response=answer)


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two boxes share more than a pixel."""
    return all(
        min(one[start] + one[size], other[start] + other[size]) - max(one[start], other[start]) > 1
        for start, size in (("x", "width"), ("y", "height"))
    )
