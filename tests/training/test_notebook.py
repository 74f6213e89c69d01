"""The notebook that comes with the quickstart, executed in a kernel of its own."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "runs" / "quickstart" / "quickstart.ipynb"


def test_the_notebook_is_shipped_without_results() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:  # the same, shorter
        cell.source = cell.source.replace("SEEDS, EPISODES = 4, 400", "SEEDS, EPISODES = 2, 100")
    client = nbclient.NotebookClient(notebook, timeout=800, kernel_name="python3")
    client.execute(cwd=str(tmp_path))
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(str(output.get("text", "")) + str(output.get("data", "")) for output in shown)
    assert "<RunData toy_crossed_goals, full: 2 seeds, 2 evaluations" in text
    assert "image/png" in text
    assert "return_greedy" in text
    assert max(len(line) for line in text.split("\\n")) < 100_000
