"""The rows of DESIGN.md: imports go down, never up or sideways, and one third-party library has one owner."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "vjepa_demo"
# A name is a folder or a file of the package; what stands on one row does not import each other.
ROWS = (
    ("config", "lazy"),
    ("schema",),
    ("wording", "files"),
    ("media",),
    ("procedural", "data"),
    ("model",),
    ("tasks",),
    ("app",),
    ("__main__",),
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
OWNERS = {
    "gradio": {"app"},
    "plotly": {"app"},
    "transformers": {"model"},
    "safetensors": {"model"},
    "torchcodec": {"media"},
    "httpx": {"media"},
    "pandas": {"data"},
    "pyarrow": {"data"},
    "openpyxl": {"data"},
    "huggingface_hub": {"data"},
    "accelerate": {"tasks"},
    "spaces": {"tasks"},
    "filelock": {"files"},
}
TENSORS = {"media", "procedural", "data", "model", "tasks"}  # where torch may be imported
BARE = ("model.vjepa", "model.features", "model.losses", "model.metrics", "tasks.train")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def dotted(path: Path) -> str:
    """The module's name within the package, such as "model.vjepa"; of a folder's `__init__.py` that of the folder."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in FILES}


def imported(path: Path) -> Iterator[str]:
    """The absolute names that a file imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """The modules of this package that a file imports."""
    names = {name.removeprefix("vjepa_demo.") for name in imported(path) if name.startswith("vjepa_demo.")}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & MODULES.keys()


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_the_rows(name):
    room = name.split(".")[0]
    for other in own_imports(MODULES[name]):
        below = other.split(".")[0]
        assert below == room or ROW_OF[below] < ROW_OF[room], f"{name} imports {other}"


def test_no_two_files_import_each_other():
    graph = {name: own_imports(path) - {name} for name, path in MODULES.items()}
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"a circle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in finished:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_belongs_to_its_owner(library):
    users = defaultdict(list)
    for name, path in MODULES.items():
        if library in {each.split(".")[0] for each in imported(path)}:
            users[name.split(".")[0]].append(name)
    assert users.keys() <= OWNERS[library], dict(users)


@pytest.mark.parametrize("name", MODULES)
def test_interfaces_and_plain_values_hold_no_tensor(name):
    if name.split(".")[0] not in TENSORS:
        assert "torch" not in {each.split(".")[0] for each in imported(MODULES[name])}


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in memory after `statement` in a new Python."""
    program = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    return {name.split(".")[0] for name in output.split()}


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import vjepa_demo") & {"torch", "transformers", "gradio", "plotly", "torchcodec", "numpy"}


def test_the_page_is_built_without_torch():
    assert "torch" not in loaded_by("import app; from vjepa_demo.app.page import build_app; build_app(app.load_scorer)")


def test_runs_on_a_bare_gpu_machine():
    """One process imports all of the modules: each new process that loads torch costs seconds."""
    imports = "; ".join(f"import vjepa_demo.{name}" for name in BARE)
    assert not loaded_by(imports) & {"gradio", "torchcodec", "plotly", "pandas"}


def test_the_seed_interface_is_importable_from_the_package():
    import vjepa_demo

    for name in vjepa_demo.__all__:
        assert getattr(vjepa_demo, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vjepa_demo.nonsense  # noqa: B018
