"""The walls of the house: which folder may import which, and how large its rooms may grow."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "purejax_mgtopo"
ROOT = Path(__file__).parents[1]
HOME = ROOT / PACKAGE
LEVELS = (
    ("errors",),
    ("methods",),
    ("settings", "plugins"),
    ("options",),
    ("config",),
    ("machine", "algorithm"),
    ("population",),
    ("records",),
    ("checkpoints", "analysis"),
    ("mirror", "trained", "prey", "bench"),
    ("training",),
    ("report", "universal"),
    ("cli",),
)
"""From the ground up. A folder imports itself and what lies below it, never what lies beside it."""
FILES, MODULES, LINES = 12, 6, 350


def modules(folder: Path) -> dict[str, Path]:
    """Python files by the names of their modules."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """All that a module imports when it runs, inside functions too; not what only a type checker reads."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:  # within a package; ours say in full where from
                assert HOME not in path.parents, f"{path}: relative import"
                continue
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


OURS = modules(HOME)
GRAPH = {name: sorted({i for i in imports(path) if i in OURS}) for name, path in OURS.items()}


def room(module: str) -> str:
    """The folder, or the module beside the folders, that a module is in."""
    return (module.split(".") + [""])[1]


def test_imports_run_one_way() -> None:
    height = {name: at for at, level in enumerate(LEVELS) for name in level}
    uphill = []
    for module, used in GRAPH.items():
        here = room(module)
        for other in used:
            there = room(other)
            # The package itself tells its version, and resolves its public names as they are used.
            if here == there or not there or here in ("", "__main__"):
                continue
            if height[there] >= height[here]:
                uphill.append(f"{module} imports {other}")
    assert not uphill, "\n".join(uphill)


def test_every_room_has_its_level() -> None:
    rooms = {room(module) for module in OURS} - {"", "__main__"}
    assert rooms == {name for level in LEVELS for name in level}


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in GRAPH[module]:
                if other != PACKAGE:  # imports nothing until it is asked
                    visit(other, (*way, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


def test_environments_know_nothing_of_the_package() -> None:
    for module, path in modules(ROOT / "envs" / "jax_mpe").items():
        assert not [name for name in imports(path) if name.split(".")[0] == PACKAGE], module


def test_initialisers_are_empty() -> None:
    for module, path in OURS.items():
        if path.name == "__init__.py" and module != PACKAGE:
            assert not path.read_text().strip(), f"{module} runs code when it is imported"


@pytest.mark.parametrize("name", ["records", "analysis", "cli"])
def test_reading_results_starts_no_jax(name: str) -> None:
    own = [module for module in OURS if module.split(".")[1:2] == [name]]
    assert len(own) > 3
    script = "\n".join(
        [*(f"import {module}" for module in own), "import sys; sys.exit('jax' in sys.modules)"]
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "jax is there"


def test_rooms_stay_small() -> None:
    assert len([path for path in HOME.glob("*.py")]) <= MODULES


WRITTEN = ("purejax_mgtopo", "envs", "runs", "tests")


@pytest.mark.parametrize("folder", WRITTEN)
def test_no_folder_is_full(folder: str) -> None:
    for place in {path.parent for path in (ROOT / folder).rglob("*.py")}:
        files = [path for path in place.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= FILES, f"{place} holds {len(files)} files"


@pytest.mark.parametrize("folder", WRITTEN)
def test_no_file_is_long(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LINES, f"{path} has {lines} lines"
