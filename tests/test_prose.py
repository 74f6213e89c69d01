"""Names of the product: each means one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for top in ("purejax_mgtopo", "envs/jax_mpe") for path in (ROOT / top).rglob("*.py")
)
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in SOURCES}


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                yield path, node


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
