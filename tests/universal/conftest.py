"""A recipe whose lifetimes are numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from purejax_mgtopo import methods


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that takes no teams."""
    # Not before: they start JAX, and the flags by which it compiles are settled after this file is read.
    from lessons import TEXT, groups

    from purejax_mgtopo.universal import training

    monkeypatch.setattr(training, "_groups", groups)
    path = tmp_path / "meta_train.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def quick(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    """The recipe's meta-training, in which nothing is computed: the class that stands in, whose `before` may be set."""
    from lessons import Quick

    from purejax_mgtopo.universal import training

    made = type("Quick", (Quick,), {})
    monkeypatch.setattr(training, "Learning", made)
    monkeypatch.setattr(training, "_groups", lambda *_: [])
    return made


@pytest.fixture
def unknown() -> Iterator[Callable[[], None]]:
    """Afterwards nobody has imported the controls, and their names are gone."""
    module, kept = "purejax_mgtopo.universal.controls", dict(methods.TOPOLOGIES)

    def forget() -> None:
        sys.modules.pop(module, None)
        methods.TOPOLOGIES.clear()
        methods.TOPOLOGIES.update(kept)

    forget()
    yield forget
    forget()
