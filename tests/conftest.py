"""Small checkpoints in the exact layout of the Hub, written once a test run, and real and broken videos."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["VJEPA_DEMO_BOOTSTRAP"] = "0"  # no training beside the tests where there is a GPU
os.environ["VJEPA_DEMO_CACHE"] = tempfile.mkdtemp(prefix="vjepa-demo-features-")  # never the real home
# Uploads of one test process alone: a server that ends deletes its own, and those of others lie under the same names.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="vjepa-demo-uploads-")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as config.wait_passively

import gradio.media
import pytest
from hub_server import HubServer
from huggingface_hub import constants
from pages import PATIENCE_MILLISECONDS, serving
from playwright.sync_api import Browser, Page, sync_playwright
from small_models import write_checkpoint, write_text_encoder, write_video_encoder
from transformers import VJEPA2ForVideoClassification

from vjepa_demo.config import View

FEATURES, UPLOADS = (Path(os.environ[name]) for name in ("VJEPA_DEMO_CACHE", "GRADIO_TEMP_DIR"))


def pytest_unconfigure() -> None:
    for folder in (FEATURES, UPLOADS):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base_encoder(tmp_path_factory) -> Path:
    return write_video_encoder(tmp_path_factory.mktemp("hub") / "vjepa2-base")


@pytest.fixture(scope="session")
def ssv2_encoder(tmp_path_factory) -> Path:
    return write_video_encoder(tmp_path_factory.mktemp("hub") / "vjepa2-ssv2", VJEPA2ForVideoClassification)


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory) -> Path:
    return write_text_encoder(tmp_path_factory.mktemp("hub") / "bge")


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small")


@pytest.fixture(scope="session")
def views_folder(tmp_path_factory) -> Path:
    """The same, but looking three times."""
    views = (View(), View(num_frames=4, window=4), View(num_frames=2, window=4, framing="fragments", grid=4))
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "views", views)


@pytest.fixture(scope="session")
def world() -> Path:
    """A real video: 480 x 270, 30 s, H.264."""
    return Path(gradio.media.get_video("world.mp4"))


@pytest.fixture
def online(monkeypatch, tmp_path) -> None:
    """Requests may leave, but only to 127.0.0.1, and with a new cache."""
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
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next((path for path in map(shutil.which, names) if path), None)  # else Playwright's own
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=installed, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    """A page in a session of its own, which must not report an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    with serving() as address:
        yield address
