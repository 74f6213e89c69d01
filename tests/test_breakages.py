"""What was broken on purpose, line by line, must turn a test red.

``pytest -m slow -n 0 -s tests/test_breakages.py`` breaks all of them, one at a time, in a copy of the tree;
``-k records`` those of one table.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from breakages.tables import ROOT, read_breakages, survivors

BREAKAGES = read_breakages()
TABLES = sorted({breakage.table for breakage in BREAKAGES})
FOLDERS = [
    path.relative_to(ROOT)
    for top in ("purejax_mgtopo", "envs/jax_mpe")
    for path in sorted((ROOT / top).rglob("*"))
    if path.is_dir() and len(list(path.glob("*.py"))) > 1
]


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_breakage_is_of_a_line_that_is_there_and_names_tests_that_exist() -> None:
    assert len(BREAKAGES) >= 80
    assert len({(b.file, b.old) for b in BREAKAGES}) == len(BREAKAGES)
    for breakage in BREAKAGES:
        count = (ROOT / breakage.file).read_text().count(breakage.old)
        assert count == 1, f"{breakage.name} stands there {count} times: mend the table"
        assert breakage.old != breakage.new, breakage.name
        for name in breakage.red:
            file, _, test = name.partition("::")
            assert test.partition("[")[0] in names_in(ROOT / file), f"{name} does not exist"


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_something_of_every_folder_is_broken(folder: Path) -> None:
    assert any(Path(breakage.file).parent == folder for breakage in BREAKAGES)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("table", TABLES)
def test_every_breakage_turns_a_test_red(table: str, tmp_path: Path) -> None:
    mine = [breakage for breakage in BREAKAGES if breakage.table == table]
    survived = []
    for breakage, problem in survivors(tmp_path / "copy", mine):
        print(f"{'red     ' if problem is None else 'SURVIVED'} {breakage.name}", flush=True)
        if problem is not None:
            survived.append(f"{breakage.name}: {problem}")
    print(f"{table}: {len(mine)} broken, {len(mine) - len(survived)} red, {len(survived)} survived")
    assert not survived, "\n".join(survived)
