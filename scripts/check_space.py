"""Whether a Hugging Face Space can be built from what is committed here: `make space`.

Does what the builder does: reads the front matter of README.md, looks for files that would need Git LFS, installs
requirements.txt together with the gradio of `sdk_version` and `spaces` into a new environment, starts app.py there as a
Space does, asks it for one score over the API, and ends it with SIGTERM. Says what it does; the exit status is 1 where
something is wrong. The first run downloads some gigabytes of packages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
# https://huggingface.co/docs/hub/spaces-config-reference
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
MAX_DESCRIPTION, MAX_FILE_BYTES = 60, 10 * 10**6  # letters; bytes of a file without Git LFS
ENDED_WELL = (0, 128 + signal.SIGTERM)
BAD_WORDS = ("Traceback", "Invalid file descriptor", "terminate called")
SILENT_SECONDS = 60
START_SECONDS, SCORE_SECONDS, END_SECONDS = 300, 600, 60  # a busy machine is slow
PIP_SAYS = ("Collecting", "Downloading", "Installing", "Successfully", "ERROR")
ASK = """
import sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
print(client.predict(video=handle_file(sys.argv[2]), prompt="a ball rolls over the grass", api_name="/score")["scores"])
client.close()
"""
VERSIONS = """
import gradio, spaces, torch, torchcodec
from importlib.metadata import version
built = torch._C._cuda_getArchFlags() if torch.version.cuda else "the CPU alone"
print(*(f"{name} {version(name)}" for name in ("gradio", "spaces", "torch", "torchcodec")), f"for {built}", sep=", ")
"""

Tell = Callable[[str], None]


def front_matter(readme: str) -> dict[str, Any]:
    """The settings of a Space at the top of its README."""
    return dict(yaml.safe_load(readme.split("---\n")[1]))


def wrong_settings(settings: Mapping[str, Any], requirements: Sequence[str], root: Path) -> list[str]:
    """What in the front matter the builder would refuse or read otherwise than it is meant, each in a sentence."""
    problems = []
    gradio = next(each for each in map(Requirement, requirements) if each.name == "gradio")
    version = str(settings.get("sdk_version"))
    if settings.get("sdk") != "gradio":
        problems.append(f"sdk is {settings.get('sdk')!r}; gradio was expected")
    if version not in gradio.specifier:
        problems.append(f"sdk_version is {version}; requirements.txt admits gradio{gradio.specifier}")
    problems += [
        f"{name} is {settings.get(name)!r}; one of {', '.join(COLOURS)} was expected"
        for name in ("colorFrom", "colorTo")
        if settings.get(name) not in COLOURS
    ]
    if not isinstance(settings.get("python_version"), str):  # 3.10 without quotes is the number 3.1
        problems.append(f'python_version is {settings.get("python_version")!r}; text such as "3.12" was expected')
    length = len(str(settings.get("short_description", "")))
    if length > MAX_DESCRIPTION:
        problems.append(f"short_description has {length} letters; {MAX_DESCRIPTION} at most were expected")
    if not (root / str(settings.get("app_file"))).is_file():
        problems.append(f"app_file is {settings.get('app_file')!r}; there is no such file")
    return problems


def large_files(paths: Sequence[Path]) -> list[str]:
    """The files that the Hub takes only with Git LFS, each in a sentence."""
    return [
        f"{path} has {path.stat().st_size / 1e6:.1f} MB; {MAX_FILE_BYTES / 1e6:.0f} MB at most were expected"
        for path in paths
        if path.stat().st_size > MAX_FILE_BYTES
    ]


def find_python(wanted: str) -> str:
    """A Python of the version that the Space asks for, such as "3.12", else the one that runs this."""
    pyenv = sorted(map(str, Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python")))
    for python in filter(None, (shutil.which(f"python{wanted}"), *reversed(pyenv))):
        if not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode:  # else a shim of pyenv
            return python
    return sys.executable


@contextmanager
def still_at_it(tell: Tell) -> Iterator[None]:
    """Around what is silent for minutes: a line now and then."""
    ended, begin = threading.Event(), time.monotonic()

    def talk() -> None:
        while not ended.wait(SILENT_SECONDS):
            tell(f"  still at it after {time.monotonic() - begin:.0f} s")

    thread = threading.Thread(target=talk, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def requirement_lines(text: str) -> list[str]:
    return [line.partition("#")[0].strip() for line in text.splitlines() if line.partition("#")[0].strip()]


def install(folder: Path, python: str, requirements: Path, sdk_version: str, tell: Tell) -> Path:
    """The Python of a new environment in `folder` with all that the builder installs, resolved together."""
    environment = folder / "environment"
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    inside = environment / "bin" / "python"
    command = [inside, "-m", "pip", "install", "--progress-bar", "off", "--no-compile", "-r", requirements]
    command += [f"gradio[oauth,mcp]=={sdk_version}", "spaces"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}
    with still_at_it(tell), subprocess.Popen(list(map(str, command)), env=unbuffered, **pipes) as pip:
        assert pip.stdout is not None
        for line in map(str.strip, pip.stdout):
            if line.startswith(PIP_SAYS):
                tell(f"  {line[:150]}")
    if pip.returncode:
        raise SystemExit("FAILED: pip cannot install requirements.txt with the Space's gradio and spaces")
    subprocess.run([inside, "-m", "pip", "check"], check=True)
    return inside


def start_and_score(python: Path, app: Path, folder: Path, tell: Tell) -> list[str]:
    """What went wrong from the start of `app`, a folder with the committed files, to its end by SIGTERM."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = folder / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONUNBUFFERED": "1",
        "SYSTEM": "spaces",
        "SPACE_ID": "somebody/space",
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    begin, log, is_up = time.monotonic(), [], threading.Event()
    process = subprocess.Popen([python, "app.py"], cwd=app, env=environment, **pipes)

    def read() -> None:
        for line in process.stdout or ():
            log.append(line)
            if "the page is on" in line:
                is_up.set()
        is_up.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    problems = []
    try:
        if not is_up.wait(START_SECONDS) or process.poll() is not None:
            return [f"app.py did not start:\n{''.join(log)}"]
        tell(f"  the page is up after {time.monotonic() - begin:.0f} s")
        asked = [python, "-c", ASK, f"http://127.0.0.1:{port}", "assets/examples/clean.mp4"]
        answer = subprocess.run(asked, cwd=app, env=environment, timeout=SCORE_SECONDS, check=False, **pipes)
        if answer.returncode:
            problems.append(f"/score did not answer:\n{answer.stdout}")
        else:
            tell(f"  /score answered {answer.stdout.strip()} after {time.monotonic() - begin:.0f} s")
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            problems.append(f"app.py had not ended {END_SECONDS} s after SIGTERM")
            process.kill()
        reader.join(END_SECONDS)
    tell(f"  after SIGTERM it ended with status {process.returncode}")
    if process.returncode not in ENDED_WELL:
        problems.append(f"app.py ended with status {process.returncode}; one of {ENDED_WELL} was expected")
    if any(word in line for line in log for word in BAD_WORDS):
        problems.append(f"app.py wrote a traceback:\n{''.join(log)}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--python", help="the Python to build with; by default that of the front matter, if it is here")
    options = parser.parse_args()

    def tell(line: str) -> None:
        print(line, flush=True)

    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    settings = front_matter((ROOT / "README.md").read_text(encoding="utf-8"))
    requirements = requirement_lines((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    tell("front matter and files")
    problems = wrong_settings(settings, requirements, ROOT) + large_files([ROOT / name for name in names])
    if shutil.which("ffmpeg") is None:
        problems.append("ffmpeg is not installed here; a Space gets it from packages.txt: make run installs it")
    with tempfile.TemporaryDirectory(prefix="vjepa-demo-space-") as temporary:
        folder = Path(temporary)
        for name in names if not problems else ():  # what is not committed does not come to the Space
            target = folder / "app" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
        if not problems:
            python = options.python or find_python(settings["python_version"])
            version = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.strip()
            tell(f"packages for {version} (the Space has {settings['python_version']}); the first time this takes long")
            inside = install(folder, python, folder / "app" / "requirements.txt", settings["sdk_version"], tell)
            tell(
                "  "
                + subprocess.run([inside, "-c", VERSIONS], check=True, capture_output=True, text=True).stdout.strip()
            )
            tell("start, one score, end")
            problems = start_and_score(inside, folder / "app", folder, tell)
    for problem in problems:
        tell(f"WRONG: {problem}")
    tell("the Space cannot be built from this" if problems else "the Space can be built from this")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
