"""The environments in a real Jupyter kernel: nothing there may change, least of all how figures are drawn."""

from __future__ import annotations

import nbclient
import nbformat

WATCH = """
import matplotlib, builtins
before, called = matplotlib.get_backend(), []
shell = get_ipython()
run_line_magic = shell.run_line_magic
shell.run_line_magic = lambda name, *rest, **more: called.append(name) or run_line_magic(name, *rest, **more)
"""
LOOK = "print([matplotlib.get_backend() == before, called, builtins.__IPYTHON__])"


def test_importing_leaves_a_notebook_as_it_is() -> None:
    lines = "from jax_mpe import Navigation\nimport purejax_mgtopo.training.run"
    cells = [nbformat.v4.new_code_cell(text) for text in (WATCH, lines, LOOK)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    assert not notebook.cells[1].outputs, "an import says something"
    assert notebook.cells[2].outputs[0].text.strip() == "[True, [], True]"
