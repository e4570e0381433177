"""Small checkpoints in the exact layout of the Hub, written once a test run, and real and broken videos."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["VJEPA_DEMO_BOOTSTRAP"] = "0"  # no training beside the tests where there is a GPU
# Features are never kept in the real home. All workers share one folder: those of the sample clips are computed once.
if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker inherits what was set here
    os.environ["VJEPA_DEMO_CACHE"] = tempfile.mkdtemp(prefix="vjepa-demo-features-")
# Uploads of one test process alone: a server that ends deletes its own, and those of others lie under the same names.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="vjepa-demo-uploads-")
os.environ["VJEPA_DEMO_STUDIES"] = tempfile.mkdtemp(prefix="vjepa-demo-studies-")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as config.wait_passively
os.environ["OMP_NUM_THREADS"] = "1"  # small models: several workers share the cores, more threads only wait

import processes
import pytest

if TYPE_CHECKING:  # what is heavy is imported later, see `pytest_configure`
    from hub_server import HubServer
    from pages import PageHere
    from playwright.sync_api import Browser, BrowserContext, Page

    from vjepa_demo.app.session import Session

SLOW_FOLDERS = ("app", "journeys", "scripts", "tasks")
FEATURES, UPLOADS, STUDIES = (
    Path(os.environ[name]) for name in ("VJEPA_DEMO_CACHE", "GRADIO_TEMP_DIR", "VJEPA_DEMO_STUDIES")
)
# Gradio counts seconds and turns its spinner in every frame while something runs: without a graphics card that takes as
# much of the processor as what runs. No test looks at single frames.
SLOW_DISPLAY = """
  window.requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 50);
  window.cancelAnimationFrame = clearTimeout;
"""
FIRST_BROWSER = ("test_compare_tab", "test_looks", "test_bootstrap", "test_history")  # half of the browser's time


def pytest_configure(config: pytest.Config) -> None:
    """Load torch, transformers and Gradio before any test changes the environment. xdist's controller runs no test and
    does without; the workers start when it is ready.
    """
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if not is_worker:
        stack = ExitStack()
        stack.enter_context(processes.nursery())
        config.add_cleanup(stack.close)
    if is_worker or not config.getoption("numprocesses", None):
        for name in ("pages", "small_models"):
            importlib.import_module(name)


def pytest_unconfigure() -> None:
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    # The workers' shared folder outlives each of them.
    for folder in (UPLOADS, STUDIES) if is_worker else (UPLOADS, STUDIES, FEATURES):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """With `--dist loadgroup` the browser tests share two workers, each with one Chromium and one served page; other
    files stay whole. Two, because a browser often waits: one worker alone was the last to end by far.
    """
    browser = f"browser {'A' if item.path.stem in FIRST_BROWSER else 'B'}"
    group = browser if "browser" in item.fixturenames else item.path.name
    item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no worker waits for another in the end."""
    items.sort(key=lambda item: ("browser" not in item.fixturenames, item.path.parent.name not in SLOW_FOLDERS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Other tests may call `asyncio.run`, although Playwright's event loop stays marked as running in this thread."""
    if "browser" in item.fixturenames:
        return (yield)
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return (yield)
    finally:
        asyncio._set_running_loop(loop)


@pytest.fixture(scope="session")
def base_encoder(tmp_path_factory) -> Path:
    from small_models import write_video_encoder

    return write_video_encoder(tmp_path_factory.mktemp("hub") / "vjepa2-base")


@pytest.fixture(scope="session")
def ssv2_encoder(tmp_path_factory) -> Path:
    from small_models import write_video_encoder
    from transformers import VJEPA2ForVideoClassification

    return write_video_encoder(tmp_path_factory.mktemp("hub") / "vjepa2-ssv2", VJEPA2ForVideoClassification)


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory) -> Path:
    from small_models import write_text_encoder

    return write_text_encoder(tmp_path_factory.mktemp("hub") / "bge")


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory) -> Path:
    from small_models import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small")


@pytest.fixture(scope="session")
def views_folder(tmp_path_factory) -> Path:
    """The same, but looking three times."""
    from small_models import write_checkpoint

    from vjepa_demo.config import View

    views = (View(), View(num_frames=4, window=4), View(num_frames=2, window=4, framing="fragments", grid=4))
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "views", views)


@pytest.fixture(scope="session")
def looks_folder(tmp_path_factory) -> Path:
    """The same, with two views and two looks."""
    from small_models import write_checkpoint

    from vjepa_demo.config import View

    views = (View(), View(num_frames=4, window=4))
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "looks", views, looks=2)


@pytest.fixture(scope="session")
def world() -> Path:
    """A real video: 480 x 270, 30 s, H.264."""
    import gradio.media

    return Path(gradio.media.get_video("world.mp4"))


@dataclass(frozen=True)
class Done:
    """What a command came to, as subprocess.CompletedProcess has it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., Done]:
    """Runs a command of the program in this process: what a person calls as `python -m vjepa_demo ARGUMENTS`."""
    from vjepa_demo.app.cli import main

    def run(*arguments: object) -> Done:
        with monkeypatch.context() as patch:
            for name in ("VJEPA_DEMO_CACHE", "VJEPA_DEMO_CACHE_GB"):  # the flags set them for the whole process
                patch.setenv(name, os.environ.get(name, ""))
            capsys.readouterr()
            try:
                status = main([*map(str, arguments)])
            except SystemExit as ended:  # argparse, of a wrong call and of --help
                status = ended.code
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def online(monkeypatch, tmp_path) -> None:
    """Requests may leave, but only to 127.0.0.1, and with a new cache."""
    from huggingface_hub import constants

    connect = socket.socket.connect

    def connect_here(sock, address):
        assert not isinstance(address, tuple) or address[0] == "127.0.0.1", f"a test reached out to {address}"
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # its upload speaks to a server of its own
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))


@pytest.fixture
def hub(online, monkeypatch) -> Iterator[HubServer]:
    """A Hub of its own at $HF_ENDPOINT."""
    from hub_server import HubServer

    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the lightest first
    installed = next((path for path in map(shutil.which, names) if path), None)  # else Playwright's own
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=installed, args=quiet)
        loop = asyncio._get_running_loop()
        yield chromium
        asyncio._set_running_loop(loop)  # Playwright needs its loop, which `pytest_runtest_protocol` may have put away
        chromium.close()


@pytest.fixture(scope="session")
def contexts(browser) -> list[BrowserContext]:
    """One for each visitor who is there at once. They are kept: each fetches the scripts of the page once."""
    return []


@contextmanager
def visiting(browser: Browser, contexts: list[BrowserContext]) -> Iterator[Callable[..., Page]]:
    """Makes pages, each in a session of its own, `width` pixels wide; none may report an error.

    A second page is another visitor's: it shares no storage with the first.
    """
    from pages import PATIENCE_MILLISECONDS

    pages: list[Page] = []
    errors: list[str] = []

    def new_page(width: int = 1280) -> Page:
        context = next((each for each in contexts if not each.pages), None)
        if context is None:
            context = browser.new_context()
            context.add_init_script(SLOW_DISPLAY)
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.set_viewport_size({"width": width, "height": 900})
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages.append(page)
        return page

    yield new_page
    for page in pages:
        page.evaluate("() => { try { localStorage.clear(); } catch {} }")  # about:blank has none
        page.close()
        page.context.clear_cookies()
    assert errors == []


@pytest.fixture
def new_page(browser, contexts) -> Iterator[Callable[..., Page]]:
    """See `visiting`."""
    with visiting(browser, contexts) as new_page:
        yield new_page


@pytest.fixture
def page(new_page) -> Page:
    return new_page()


@pytest.fixture(scope="module")
def kept_page(browser, contexts) -> Iterator[Page]:
    """One page for the tests of a file: loading it takes longer than most of what is done on it. Who uses it puts it
    back to where the next test begins.
    """
    loop = asyncio._get_running_loop()
    with visiting(browser, contexts) as new_page:
        yield new_page()
        asyncio._set_running_loop(loop)  # as for `browser`: the last test of the file may need none


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    from pages import serving

    with serving() as address:
        yield address


@pytest.fixture(scope="session")
def started_here() -> Iterator[PageHere]:
    """See `page_here`, which a test takes instead."""
    from fakes import FakeScorer
    from pages import PageHere, page_of

    here = PageHere("", lambda _: FakeScorer())
    with page_of(lambda name: here.scorer(name)) as here.address:
        yield here


@pytest.fixture
def page_here(started_here) -> Iterator[PageHere]:
    """The page that this process serves to all the tests that want their own scorer; unset, it is a `FakeScorer`."""
    scorer = started_here.scorer
    yield started_here
    started_here.scorer = scorer


@pytest.fixture
def session() -> Iterator[Session]:
    """What one visitor of the page has."""
    from vjepa_demo.app.session import Session

    visitor = Session()
    yield visitor
    visitor.close()


@pytest.fixture
def table(tmp_path):
    """Writes a table of labels: lines of text, or bytes."""

    def write(*lines: str, name: str = "labels.csv", data: bytes | None = None) -> Path:
        path = tmp_path / name
        path.write_bytes("\n".join(lines).encode() if data is None else data)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """Makes files that are never opened."""

    def make(*names: str, under: str = "videos") -> Path:
        for name in names:
            path = tmp_path / under / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not opened")
        return tmp_path / under

    return make
