"""Words of the product: every public thing says what it is, every setting has its help, one name means one thing."""

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for top in ("purejax_mgtopo", "envs/jax_mpe") for path in (ROOT / top).rglob("*.py")
)
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in SOURCES}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield path, node


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every string that stands as a statement: docstrings, those of fields included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                yield node.lineno, inspect.cleandoc(node.value.value)


def is_public(path: str) -> bool:
    return not any(re.match(r"_(?!_)", part) for part in Path(path).parts)


BY_NAME = {cls.name: cls for _, cls in classes()}  # each name once: see below


def inherits_words(name: str, cls: ast.ClassDef) -> bool:
    """Whether a base class, looked up by its name, documents the method."""
    for base in cls.bases:
        target = base.value if isinstance(base, ast.Subscript) else base
        if getattr(target, "attr", "") == "Module":  # Flax documents `setup`
            return name == "setup"
        parent = BY_NAME.get(getattr(target, "id", getattr(target, "attr", "")))
        if parent is None or parent is cls:
            continue
        documented = any(
            isinstance(node, Definition) and node.name == name and ast.get_docstring(node)
            for node in parent.body
        )
        if documented or inherits_words(name, parent):
            return True
    return False


def wordless(path: str, tree: ast.Module) -> Iterator[str]:
    """Public classes, functions and methods of a module that have no docstring and inherit none."""
    if tree.body and not ast.get_docstring(tree):
        yield f"{path}: the module"
    for node in tree.body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{path}:{node.lineno} {node.name}"
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if (
                    isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not method.name.startswith("_")
                    and not ast.get_docstring(method)
                    and not inherits_words(method.name, node)
                ):
                    yield f"{path}:{method.lineno} {node.name}.{method.name}"


def test_docstrings_stand_without_the_name_they_explain():
    leaning = [
        f"{path}:{line} {text.splitlines()[0]}"
        for path, tree in TREES.items()
        for line, text in docstrings(tree)
        if re.match(r"(Of|As|Likewise|Ditto)\b", text)
    ]
    assert not leaning, "\n".join(leaning)


def test_public_things_have_docstrings():
    missing = [
        line for path, tree in TREES.items() if is_public(path) for line in wordless(path, tree)
    ]
    assert not missing, "\n".join(missing)


def settings() -> Iterator[tuple[str, str | None]]:
    """Every field of the configuration, and its help."""
    homes = [path for path in TREES if path.startswith("purejax_mgtopo/options/")]
    for path in ("purejax_mgtopo/config.py", *homes):
        for node in TREES[path].body:
            if not isinstance(node, ast.ClassDef) or node.name == "Config":
                continue
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    name = f"{node.name}.{ast.unparse(field.target)}"
                    documented = isinstance(after, ast.Expr) and isinstance(
                        after.value, ast.Constant
                    )
                    yield name, after.value.value if documented else None


def test_every_setting_has_its_help():
    assert len(list(settings())) > 60
    missing = [name for name, words in settings() if words is None]
    assert not missing, "\n".join(missing)


def test_every_setting_says_the_papers_value_or_why_it_is_ours():
    groups = (
        "learner",
        "gates",
        "baseline",
        "meta",
        "message",
        "evaluation",
        "checkpoint",
        "member",
    )
    silent = [
        name
        for name, words in settings()
        if name.split(".")[1] not in groups
        and not name.startswith("MemberConfig.")
        and not re.search(r"\n *\((paper: .+|ours, because .+)\)$", words or "")
    ]
    assert not silent, "\n".join(silent)


def aliases() -> Iterator[tuple[str, str, int]]:
    """Types that modules name by assignment, such as ``Row = dict[str, float]``."""
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
                name = ast.unparse(node.targets[0])
                if re.fullmatch(r"[A-Z][a-z]\w*", name):
                    yield path, name, node.lineno


def test_one_type_to_a_name():
    homes = defaultdict(list)
    for path, cls in classes():
        homes[cls.name].append(f"{path}:{cls.lineno}")
    for path, name, line in aliases():
        homes[name].append(f"{path}:{line}")
    shared = [f"{name}: {', '.join(at)}" for name, at in homes.items() if len(at) > 1]
    assert not shared, "\n".join(shared)


def test_nothing_cites_what_its_reader_does_not_have() -> None:
    """Plans and specifications from which the code was written are not in the repository."""
    found = [
        f"{path}:{line}"
        for path, tree in TREES.items()
        for line, text in docstrings(tree)
        if re.search(r"specification, |\b(methods|design)\.md|\brows? \d", " ".join(text.split()))
    ]
    assert not found
