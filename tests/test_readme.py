"""What the README says can be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vjepa_demo.config import DIMENSIONS, model_presets

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_two_commands_are_targets_of_the_makefile():
    commands = re.findall(r"^make (\w+)", section("Start"), re.MULTILINE)
    assert commands == ["run", "test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in commands:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_layout_names_what_is_there():
    names = re.findall(r"`([\w./]+)`", "".join(line.split(" | ")[0] for line in section("Layout").splitlines()))
    assert "app.py" in names
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "vjepa_demo" / name).exists(), name


def test_every_model_is_in_the_table():
    named = re.findall(r"^\| `(\w+)`", section("Models and memory"), re.MULTILINE)
    assert named == list(model_presets())


def test_links_and_pictures_lead_somewhere():
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_the_python_snippet_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    snippet = re.search(r"```python\n(.*?)```", section("Python"), re.DOTALL).group(1)
    exec(snippet)
    score, _, trained_on = capsys.readouterr().out.partition(" ")
    assert 1 <= float(score) <= 5
    assert "procedural clips" in trained_on


def test_the_json_example_has_the_keys_of_the_program(world):
    from vjepa_demo import get_scorer

    example = re.search(r"```json\n(.*?)```", section("Command line"), re.DOTALL).group(1)
    answer = get_scorer("demo", "cpu").score(world, "x").to_dict()
    assert set(re.findall(r'"(\w+)":', example)) == {*answer, *answer["scores"], *answer["seconds"]}
    assert tuple(answer["scores"]) == DIMENSIONS


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_has_a_reason(name):
    for line in (ROOT / name).read_text().splitlines():
        assert line.startswith("--requirement") or re.match(r"\S+ +# \w+", line), line


def test_no_number_is_left_to_be_filled_in():
    assert not re.findall(r"@[A-Z_]+@", README)
