"""The rows of DESIGN.md: imports go down, never up or sideways, and one third-party library has one owner."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "vjepa_demo"
ROWS = {
    "config": 0,
    "schema": 0,
    "archive": 1,
    "hub": 1,
    "video": 1,
    "scenes": 1,
    "model": 1,
    "losses": 1,
    "metrics": 1,
    "plots": 1,
    "records": 2,
    "features": 2,
    "faults": 2,
    "checkpoint": 2,
    "synthetic": 3,
    "scorer": 3,
    "train": 3,
    "bootstrap": 4,
    "batch": 4,
    "cli": 5,
    "ui": 5,
    "__main__": 6,
}
SAME_ROW = {("schema", "config")}  # row 0: the values are named after the dimensions
OWNERS = {
    "torchcodec": {"video"},
    "transformers": {"model"},
    "plotly": {"plots"},
    "pandas": {"records"},
    "huggingface_hub": {"hub"},
    "safetensors": {"checkpoint"},
    "accelerate": {"scorer", "train"},
    "filelock": {"features"},
    "gradio": {"ui"},
}
BARE = {"model", "losses", "metrics", "features", "train"}  # run where only torch, transformers and accelerate are


def modules() -> dict[str, list[Path]]:
    """Each module with its files; `ui` is one module of several."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(path)
    return found


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions and for type checking."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", modules())
def test_imports_go_down_the_rows(name):
    for path in modules()[name]:
        for imported in imports(path):
            package, _, rest = imported.partition(".")
            other = rest.split(".")[0]
            if package != "vjepa_demo" or other == name:
                continue
            assert ROWS[other] < ROWS[name] or (name, other) in SAME_ROW, f"{path.name} imports {imported}"


@pytest.mark.parametrize("name", modules())
def test_a_library_belongs_to_its_owner(name):
    for path in modules()[name]:
        for library in {imported.split(".")[0] for imported in imports(path)} & OWNERS.keys():
            assert name in OWNERS[library], f"{path.name} imports {library}, which belongs to {OWNERS[library]}"


@pytest.mark.parametrize("name", modules())
def test_the_top_row_holds_no_tensor(name):
    if ROWS[name] >= ROWS["ui"]:
        assert not any(imported.split(".")[0] == "torch" for path in modules()[name] for imported in imports(path))


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in memory after `statement` in a new Python."""
    program = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return {name.split(".")[0] for name in output.split()}


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import vjepa_demo") & {"torch", "transformers", "gradio", "plotly", "torchcodec", "numpy"}


def test_the_page_is_built_without_torch():
    assert "torch" not in loaded_by("import app; from vjepa_demo.ui import build_app; build_app(app.load_scorer)")


@pytest.mark.parametrize("name", sorted(BARE & modules().keys()))
def test_runs_on_a_bare_gpu_machine(name):
    assert not loaded_by(f"import vjepa_demo.{name}") & {"gradio", "torchcodec", "plotly"}


def test_the_seed_interface_is_importable_from_the_package():
    import vjepa_demo

    for name in vjepa_demo.__all__:
        assert getattr(vjepa_demo, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vjepa_demo.nonsense  # noqa: B018
