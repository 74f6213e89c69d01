"""Lines of single seeds in the report's curves: in the page from the start, shown when asked for."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import write_run

from purejax_mgtopo.analysis.normalised import normalised_score
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report.collect import SEED_LINES
from purejax_mgtopo.report.page import curve_chart, looks_of, render
from purejax_mgtopo.report.report import build_report

TASK = "navigation_N3_l3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("lines")
    write_run(home / TASK / "meta", TASK, "meta", seeds=4, broken=(2,))
    write_run(home / TASK / "full", TASK, "full", seeds=SEED_LINES + 5)
    return home


def lines_of(chart: str) -> dict[str, list[np.ndarray]]:
    """By method: the vertical places of each seed's line."""
    found = {}
    for method, content in re.findall(r'<g class="[^"]*" data-line="(\w+)">(.*?)</g>', chart):
        (path,) = re.findall(r'<path class="each" d="([^"]*)"/>', content)
        pieces = [piece for piece in path.split("M") if piece]
        found[method] = [np.array(re.findall(r"-?[\d.]+", piece), float)[1::2] for piece in pieces]
    return found


@pytest.mark.parametrize("name", ["returns", "scores", "edges"])
def test_each_finite_seed_has_a_line_at_its_own_values(folder: Path, name: str) -> None:
    report = build_report([folder], episodes=False)
    (comparison,) = report.comparisons
    chart = str(curve_chart(comparison, name, looks_of(report))).split("<template>")[0]
    lines = lines_of(chart)
    data = load_run(folder / TASK / "meta")
    values = {
        "returns": data.return_sampled,
        "scores": normalised_score(TASK, data.return_sampled),
        "edges": data.edge_rate,
    }[name]
    own = values[[0, 1, 3]]
    assert len(lines["meta"]) == len(own)
    for drawn, truth in zip(lines["meta"], own, strict=True):  # straight, and upwards is less
        slope, start = np.polyfit(truth, drawn, 1)
        assert slope < 0
        np.testing.assert_allclose(drawn, start + slope * truth, atol=0.2)
    assert len(lines["full"]) == SEED_LINES  # more would hide each other


def test_a_box_asks_for_them_and_without_it_they_are_not_seen(folder: Path) -> None:
    page = render(build_report([folder], episodes=False))
    assert '<input type="checkbox" id="each">' in page
    assert re.search(r"\.each \{ display: none", page)
    assert re.search(r"\.each-seed \.each \{ display: inline", page)
    assert 'classList.toggle("each-seed"' in page
