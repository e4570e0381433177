"""What README.md and docs/ say: commands that parse, files that exist, settings that the code reads."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.demo_model.cli import parse_arguments
from vjepa_demo import get_scorer
from vjepa_demo.app.api_answers import RESULT
from vjepa_demo.app.cli_options import parser
from vjepa_demo.config import DIMENSIONS, model_presets

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BODY = README.split("\n---\n", 1)[1]  # below the Space's settings
PAGES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
SOURCES = {path: path.read_text(encoding="utf-8") for path in (*(ROOT / "vjepa_demo").rglob("*.py"), ROOT / "app.py")}


def section(title: str) -> str:
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_column(table: str) -> list[str]:
    """The names in backquotes in the first column of Markdown tables."""
    return re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)))


# ---- the README ------------------------------------------------------------------------------------------------------


def test_it_is_short():
    assert len(BODY.split()) <= 1200


def test_the_two_commands_are_targets_of_the_makefile():
    commands = re.findall(r"^make (\w+)", section("Set-up"), re.MULTILINE)
    assert commands == ["run", "test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in commands:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_layout_names_what_is_there():
    rows = re.findall(r"^\| (`.*?`) \| (.*) \|$", section("Layout"), re.MULTILINE)
    files = {path.relative_to(ROOT / "vjepa_demo").with_suffix("").as_posix() for path in SOURCES if path.stem != "app"}
    named = set()
    for paths, holds in rows:
        for path in re.findall(r"`([\w./]+)`", paths):
            assert (ROOT / "vjepa_demo" / path).exists(), path
            named.add(path.strip("/"))
        if paths.endswith("/`") and paths.count("`") == 2:
            for name in re.findall(r"`(\w+)`", holds):
                assert paths.strip("`") + name in files, name
    folders = {path.name for path in (ROOT / "vjepa_demo").iterdir() if (path / "__init__.py").exists()}
    assert folders <= named
    for path in re.findall(r"`([\w.]+/?)`", section("Layout").rpartition("|")[2]):
        assert (ROOT / path).exists(), path


def test_every_model_is_in_the_table():
    assert first_column(section("Models and memory")) == list(model_presets())


def test_the_python_snippet_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    snippet = re.search(r"```python\n(.*?)```", section("Python"), re.DOTALL).group(1)
    exec(snippet)
    score, _, trained_on = capsys.readouterr().out.partition(" ")
    assert 1 <= float(score) <= 5
    assert "procedural clips" in trained_on


def test_the_json_example_has_the_keys_of_the_program(world):
    example = re.search(r"```json\n(.*?)```", section("Command line"), re.DOTALL).group(1)
    answer = get_scorer("demo", "cpu").score(world, "sunset zeppelin").to_dict()
    assert set(re.findall(r'"(\w+)":', example)) == {
        *answer,
        *answer["scores"],
        *answer["seconds"],
        *answer["not_meaningful"],
    }
    assert tuple(answer["scores"]) == DIMENSIONS
    assert {*answer, *RESULT} <= set(first_column(PAGES["api.md"])), "docs/api.md explains each"


def test_the_python_snippets_of_the_manual_run(base_encoder, text_encoder, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with_demo, with_the_seed = re.findall(r"```python\n(.*?)```", PAGES["api.md"].split("\n## Python\n")[1], re.DOTALL)
    exec(with_demo)
    assert capsys.readouterr().out.count("VideoScores(") == 2
    small = f'"{base_encoder}", "text_encoder": "{text_encoder}"'
    for written, here in (
        ('"facebook/vjepa2-vitl-fpc64-256"', small),
        ('"cuda"', '"cpu"'),
        ("64, 256, 256", "4, 32, 32"),
    ):
        assert written in with_the_seed
        with_the_seed = with_the_seed.replace(written, here)
    names: dict[str, Any] = {}
    exec(with_the_seed, names)
    assert names["scores"].shape == (1, 5)


# ---- README and docs alike -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_somewhere(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    for target, anchor in re.findall(r"\]\(((?!http)[^)#]*)#?([^)]*)\)", PAGES[page]):
        path = folder / target if target else folder / page
        assert path.is_file(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_manual_is_linked():
    linked = {link for text in PAGES.values() for link in re.findall(r"\]\((?:docs/)?([\w-]+\.md)", text)}
    assert linked | {"README.md"} == set(PAGES)


def test_files_that_are_named_exist():
    for page, text in PAGES.items():
        for name in re.findall(r"`((?:tests|scripts|benchmarks|assets|vjepa_demo)/[\w./-]*)`", text):
            assert (ROOT / name).exists(), f"{page}: {name}"


def commands() -> Iterator[tuple[str, str]]:
    """(page, command) of all that begin with a program of ours, in blocks of code and in the text."""
    program = r"(?:python|accelerate launch|torchrun) .*?-m|python -m|python [\w/]+\.py"
    for page, text in PAGES.items():
        lines = text.replace("\\\n", " ")
        blocks = re.findall(rf"^ *((?:{program})\b.*)$", lines, re.MULTILINE)
        inline = re.findall(rf"(?<!`)`((?:{program})\b[^`]*)`", " ".join(lines.split("\n")))
        for command in (*blocks, *inline):
            yield page, command


COMMANDS = list(dict.fromkeys(commands()))


def test_commands_are_found():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_can_be_called_so(page, command):
    """Parsed by the parser of its program; where that cannot be had alone, by the options that its file names."""
    words = shlex.split(command, comments=True)
    if words[1] == "scripts/demo_samples.py":
        return  # of a commit that the page names
    module, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
    if module == "vjepa_demo" and "--help" not in arguments:
        parser().parse_args(arguments)
    elif module == "scripts.demo_model":
        parse_arguments(arguments)
    else:
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        source = Path(spec.origin).read_text(encoding="utf-8")
        options = {word for word in arguments if word.startswith("--")} - {"--help"}
        assert all(f'"{option}"' in source for option in options), f"{page}: {command}"


def test_every_setting_that_the_code_reads_is_in_the_table_and_no_other():
    table = PAGES["settings.md"]
    documented = {name for name in first_column(table) if name.isupper()}
    read = {name for source in SOURCES.values() for name in environment_variables(source)}
    assert read - documented == set()
    known_elsewhere = (ROOT / "Makefile").read_text() + "".join(SOURCES.values())  # Gradio's and the Hub's own
    assert [name for name in documented - read if name not in known_elsewhere] == []
    named = {name for text in PAGES.values() for name in re.findall(r"\bVJEPA_DEMO_\w+", text)}
    assert named <= read


READERS = ("os.environ.get", "os.environ.setdefault", "os.environ.pop", "os.getenv")


def environment_variables(source: str) -> Iterator[str]:
    """The names that a file takes from `os.environ`: as a text, or as constants called ..._VARIABLE(S)."""
    for node in ast.walk(ast.parse(source)):
        key = None
        if isinstance(node, ast.Call) and ast.unparse(node.func) in READERS:
            key = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            key = node.slice
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[-1]) == "os.environ":
            key = node.left
        elif isinstance(node, ast.Assign) and "_VARIABLE" in ast.unparse(node.targets[0]):
            yield from (each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant))
        if isinstance(key, ast.Constant):
            yield key.value


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_has_a_reason(name):
    for line in (ROOT / name).read_text().splitlines():
        assert line.startswith("--requirement") or re.match(r"\S+ +# \w+", line), line


@pytest.mark.parametrize("page", PAGES)
def test_no_number_is_left_to_be_filled_in(page):
    assert not re.findall(r"@[A-Z_]+@", PAGES[page])
