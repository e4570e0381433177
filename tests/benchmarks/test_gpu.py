"""The benchmark that a GPU machine runs: every section, dry, with nothing but the libraries that such a machine has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import torch

from benchmarks.gpu import SECTIONS, Bench, Row, run
from vjepa_demo.config import PROJECT_ROOT

ABSENT = ("gradio", "gradio_client", "torchcodec", "torchvision", "plotly", "pandas", "PIL", "safehttpx")

# Python finds none of `ABSENT`, and neither does transformers, which asks the same finder what is installed.
WITHOUT = f"""
import runpy, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT} else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if each is PathFinder else each for each in sys.meta_path]
sys.argv = ["benchmarks.gpu", "--tiny", "--device", "cpu"]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def test_every_section_runs_without_the_libraries_that_a_gpu_machine_lacks():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, *parts = done.stdout.split("\n## ")
    assert [part.partition("\n")[0] for part in parts] == [title for title, *_ in SECTIONS]
    for part in parts:
        rows = [line for line in part.splitlines() if line.startswith("| ")][2:]  # below the head of the table
        assert rows, part
        assert all(len(row.split(" | ")) == 3 for row in rows), part
    assert "failed: none" in done.stdout
    assert "| failed" not in done.stdout


def breaks(bench: Bench) -> Iterator[Row]:
    yield "before", "1 s", ""
    raise ValueError("the first line\nand | the second")


def lasts(bench: Bench) -> Iterator[Row]:
    while True:
        yield "again", "1 s", ""


def works(bench: Bench) -> Iterator[Row]:
    yield "after", "2 s", ""


def test_a_section_that_fails_or_takes_too_long_is_a_row_and_the_others_go_on(tmp_path, capsys):
    bench = Bench(torch.device("cpu"), tmp_path, tiny=True)
    assert not run(bench, [("first", breaks, 5), ("second", lasts, 0.02), ("third", works, 5)])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[lines.index("| before | 1 s |  |") + 1] == (
        "| first | failed: ValueError: the first line and / the second |  |"
    )
    assert "| second | failed: benchmarks.gpu.SectionTimeoutError: not done after 0 s |  |" in lines
    assert "| after | 2 s |  |" in lines
    assert lines[-1].endswith("failed: first, second")
    assert "in breaks" in printed.err, "the traceback"
    assert run(bench, [("third", works, 5)])
