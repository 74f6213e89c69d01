"""The modules of the environments import one another in one direction only."""

import ast
from pathlib import Path

import jax_mpe

ROOT = Path(jax_mpe.__file__).parent


def name_of(path):
    parts = ("jax_mpe", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def statements(tree):
    """Every import, those within functions included, but for what only type checkers run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from statements(ast.Module([other], []))
        else:
            yield from statements(node)


def imports(name, modules=MODULES):
    """The modules of the package that this one names; a package that merely holds one is not
    counted, or everything would import `jax_mpe`."""
    path = modules[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        inner = {f"{origin}.{alias.name}" for alias in node.names}
        found |= inner & set(modules)
        if not inner <= set(modules):
            found.add(origin)
    return found & set(modules)


def circles(graph):
    """Groups of modules of which each can be reached from each other, and from itself."""

    def reach(start):
        seen, ahead = set(), [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        return seen

    beyond = {name: reach(name) for name in graph}
    return {
        frozenset(other for other in beyond[name] if name in beyond[other])
        for name in graph
        if name in beyond[name]
    }


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imports(name) for name in MODULES}
    assert graph["jax_mpe.navigation"] >= {"jax_mpe.physics", "jax_mpe.scenario"}
    assert circles(graph) == set()


def test_the_viewer_knows_no_task():
    """What is drawn comes from a task's `scene`; a new task needs no line in the viewer."""
    known = {"jax_mpe.drawables", "jax_mpe.paths"}
    drawing = {name for name in MODULES if name.startswith("jax_mpe.viewer")} | known
    for name in drawing:
        assert imports(name) <= drawing, name


def test_circles_are_found(tmp_path):
    (tmp_path / "a.py").write_text("def f():\n    from . import b\n")
    (tmp_path / "b.py").write_text("if True:\n    from .c import x\n")
    (tmp_path / "c.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import y\n"
    )
    modules = {f"p.{path.stem}": path for path in tmp_path.glob("*.py")}
    graph = {name: imports(name, modules) for name in modules}
    assert graph == {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": set()}
    assert circles(graph) == set()
    (tmp_path / "c.py").write_text("import p.a\n")
    graph = {name: imports(name, modules) for name in modules}
    assert circles(graph) == {frozenset(modules)}
