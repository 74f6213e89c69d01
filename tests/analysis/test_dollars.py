"""Texts of figures that are data are drawn as they are, whatever a question or a name may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from purejax_mgtopo.analysis.drawing import save_figure
from purejax_mgtopo.analysis.figures import Curve, draw
from purejax_mgtopo.bench import device, scaling
from purejax_mgtopo.cli.tables import _line
from purejax_mgtopo.config import Experiment, Means
from purejax_mgtopo.records.run_data import RunData
from purejax_mgtopo.report.analyses import Advantages, draw_advantages

QUESTION = r"Is it $5 or $\foo$?"
TASK, METHOD, LABEL = "$a$_N3", "m$_1$", "$r$ ()"


def shown(figure: Figure) -> set[str]:
    """The texts with a dollar, none of which may be read as a formula."""
    FigureCanvasAgg(figure).draw()
    found = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    data = [text for text in found if "mathdefault" not in text.get_text()]  # not a tick's
    assert not [text.get_text() for text in data if text.get_parse_math()]
    return {" ".join(text.get_text().split()) for text in data}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: figures.append(self))
    yield figures


def test_learning_curves(tmp_path: Path) -> None:
    returns = np.random.default_rng(0).normal(size=(4, 3))
    curve = Curve(TASK, METHOD, np.array([1, 2, 3]), returns, np.abs(returns) / 9)
    lines = {TASK: [(r"a $\bar line$", 0.0)]}
    figure = draw([curve], title=QUESTION, return_label=LABEL, reference_lines=lines)
    expected = {QUESTION, TASK, LABEL, f"{METHOD} (4 seeds)", r"a $\bar line$"}
    assert expected == shown(figure)
    for ending in ("png", "svg", "pdf"):
        save_figure(figure, tmp_path / f"curves.{ending}")
    assert QUESTION in (tmp_path / "curves.svg").read_text()


def test_advantages() -> None:
    values = np.random.default_rng(1).normal(size=(2, 9, 3, 2))
    assert shown(
        draw_advantages([Advantages(0, 1, values[0, :, 0, 0], *values)], title=QUESTION)
    ) == {QUESTION}


def test_a_runs_own_curves() -> None:
    experiment = dataclasses.replace(Experiment(), task=TASK)
    column = np.ones((2, 3), np.float32)
    numbers = np.arange(1, 4)
    data = RunData(
        experiment, Means(), 1.0, numbers, numbers, np.arange(2), {LABEL: column}, column > 0
    )
    axes = Figure().add_subplot()
    data.plot(LABEL, axes=axes)
    assert {TASK, LABEL} <= shown(axes.figure)  # type: ignore[arg-type]


def test_measurements(saved: list[Figure], tmp_path: Path) -> None:
    points = [{"seeds": n, "episodes_per_second": 9.0 * n, "bytes_per_lane": 1e6} for n in (1, 2)]
    found: dict[str, Any] = {"method": METHOD, "task": TASK, "where": QUESTION}
    scaling.draw(found | {"seeds": points, "share": [0.1, 0.2]}, tmp_path / "a.png")
    step = {"seeds": 2, "episodes_per_second": 9.0, "gbytes_per_second": 3.0}
    steps: dict[str, Any] = {f"train {METHOD} 2 x": step}
    steps["ceilings"] = {"gbytes_per_second": 9.0, "device": QUESTION}
    device.draw({"steps": steps}, tmp_path / "b.png")
    assert shown(saved[0]) == {f"{METHOD} on {TASK}, {QUESTION}"}
    assert shown(saved[1]) == {QUESTION, f"train {METHOD}"}


def test_a_cell_of_a_markdown_table_keeps_its_bounds() -> None:
    assert (
        _line(["`predator_prey_N3_l3@a|b.npz`", "meta"])
        == r"| `predator_prey_N3_l3@a\|b.npz` | meta |"
    )
