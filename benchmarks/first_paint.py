"""How soon after `python app.py` the page can be used: `python -m benchmarks.first_paint`. Needs requirements-dev.txt.

For each of three starts it prints the seconds until the address answers, until a running Chromium shows the Score
button, and until the model is ready.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time

from playwright.sync_api import Browser, sync_playwright

from vjepa_demo.config import PROJECT_ROOT

STARTS = 3


def measure(browser: Browser) -> tuple[float, float, float]:
    """Seconds from a start of the program until the address answers, the page is drawn, and the model is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    begin = time.perf_counter()
    command = [sys.executable, "app.py"]
    process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            if "the page is on" in line:
                break
        served = time.perf_counter() - begin
        threading.Thread(target=process.stderr.read, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}", wait_until="commit")
        page.get_by_role("button", name="Score").wait_for()
        painted = time.perf_counter() - begin
        page.wait_for_selector(".badge.ready", timeout=60_000)
        return served, painted, time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    installed = next(
        (
            path
            for path in map(shutil.which, ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"))
            if path
        ),
        None,
    )
    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=installed, args=quiet)
        for _ in range(STARTS):
            served, painted, ready = measure(browser)
            print(f"answers after {served:.1f} s, drawn after {painted:.1f} s, model ready after {ready:.1f} s")


if __name__ == "__main__":
    main()
