"""Imports jumanji without what it does to a notebook.

jumanji's environments run ``%matplotlib ipympl`` as they are imported under Jupyter, and ``%matplotlib`` under
IPython: an error where ipympl is not installed, and elsewhere another backend than the user's, in silence.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def _unnoticed() -> Iterator[None]:
    """Within, nothing tells that this is IPython: the mark by which jumanji knows it is away."""
    mark = "__IPYTHON__"
    if not hasattr(builtins, mark):
        yield
        return
    kept = getattr(builtins, mark)
    delattr(builtins, mark)
    try:
        yield
    finally:
        setattr(builtins, mark, kept)


with _unnoticed(), warnings.catch_warnings():
    warnings.filterwarnings(
        "ignore", message="IProgress not found"
    )  # nothing here draws tqdm's bars
    importlib.import_module("jumanji.environments")
    jumanji = importlib.import_module("jumanji")
    """The package, imported as outside of a notebook; Matplotlib's backend stays what it is."""
