"""Pictures of results: each has a line in the table that rebuilds them; the first page's says what other pages say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RUNS)


def published(*endings: str) -> set[str]:
    """Files below `runs` but for a reader's own results."""
    paths = [path.relative_to(RUNS) for end in endings for path in RUNS.rglob(f"*.{end}")]
    return {path.as_posix() for path in paths if "results" not in path.parts}


def numbers(page: str, heading: str, column: int) -> dict[str, list[float]]:
    """Point and interval in a column of the first table below a heading, by the first word of each row."""
    text = (RUNS / page).read_text(encoding="utf-8").split(heading, 1)[1]
    table = re.search(r"(?:^\|.*\n)+", text, re.M)
    assert table is not None
    rows = [line.split("|")[1:-1] for line in table[0].splitlines()[2:]]
    return {
        row[0].split("`")[1]: [float(x) for x in re.findall(r"-?\d+\.\d+", row[column])]
        for row in rows
    }


def test_every_picture_has_a_line_and_every_line_its_picture_and_its_data() -> None:
    import figures

    names = [picture.name for picture in figures.PICTURES]
    assert len(set(names)) == len(names)
    assert set(names) == published("png", "gif")
    drawn = [picture for picture in figures.PICTURES if isinstance(picture, figures.Drawn)]
    assert len(drawn) > 10
    for picture in drawn:
        assert picture.data
        for place in picture.data:
            assert (RUNS / place).exists(), f"{picture.name}: {place}"


def test_a_folder_is_rebuilt_and_what_is_committed_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import figures

    committed = RUNS / "quickstart/curves.png"
    before = committed.read_bytes(), committed.stat().st_mtime_ns
    assert figures.main(["quickstart", "push", "--out", str(tmp_path)]) == 0
    assert (committed.read_bytes(), committed.stat().st_mtime_ns) == before
    assert [path.name for path in tmp_path.rglob("*.*")] == ["curves.png"]
    assert imread(tmp_path / "quickstart/curves.png").shape == imread(committed).shape
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("quickstart/curves.png: ") and "quickstart/records" in first
    assert second.startswith("push/curves.png: cannot be rebuilt")


def test_only_methods_with_records_are_drawn_in_the_order_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import figures

    seen: list[list[str]] = []
    monkeypatch.setattr(
        figures, "draw_curves", lambda runs, path, title: seen.append([word for word, _ in runs])
    )
    for asked in (("meta", "nobody", "none"), ()):
        figures.curves("quickstart/x.png", "quickstart/records", methods=asked).draw(tmp_path / "x")
    assert seen == [["meta", "none"], ["none", "full", "meta"]]


def test_it_tells_how_much_of_a_picture_has_changed(tmp_path: Path) -> None:
    import figures

    old = np.zeros((10, 10, 3))
    new = old.copy()
    new[:5, :5, 1] = 1
    for name, values in (("old", old), ("new", new), ("small", old[:5])):
        imsave(tmp_path / f"{name}.png", values)
    at = {name: tmp_path / f"{name}.png" for name in ("old", "new", "small", "none")}
    assert figures.compared(at["old"], at["old"]) == "as committed"
    assert figures.compared(at["new"], at["old"]) == "differs from the committed one in 25.0% of it"
    assert "size" in figures.compared(at["small"], at["old"])
    assert figures.compared(at["new"], at["none"]) == "new"


def test_a_name_that_no_picture_begins_with_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    import figures

    with pytest.raises(SystemExit):
        figures.main(["quickstat"])
    assert "no picture begins with quickstat" in capsys.readouterr().err


def test_the_first_pages_picture_shows_what_the_pages_say() -> None:
    import overview

    _, pair, three, tasks = overview.panels()
    page = "reference/README.md"
    two = numbers(page, "# Where talk is everything", 1)
    assert "**-4.06 [-4.19, -3.95]**" in (RUNS / page).read_text(encoding="utf-8")
    two["steady"] = [-4.06, -4.19, -3.95]
    right = numbers(page, "## Does it matter who talks to whom?", 1)
    assert "**-12.04 [-12.28, -11.74]**" in (RUNS / page).read_text(encoding="utf-8")
    right["reinforce, held open*"] = [-12.04, -12.28, -11.74]
    scores = numbers("paper/README.md", "and the score on that scale.", 4)
    before, after, _ = overview.TASK_COLOURS
    eight = [group for group in tasks.groups if group.series == before]
    assert [group.row for group in eight] == list(scores) and len(eight) == 8
    improved = numbers("learner/README.md", "## On push, one after the other", 2)["improved"]
    (push,) = [group for group in tasks.groups if (group.row, group.series) == ("push_N3", after)]
    told = [(group, two[group.row]) for group in pair.groups]
    told += [(group, right[group.row]) for group in three.groups]
    told += [(group, scores[group.row]) for group in eight] + [(push, improved)]
    assert len(pair.groups) == 5 and len(three.groups) >= 5
    for group, numbers_told in told:
        found = group.interval
        assert len(group.values) == 8
        assert [found.point, found.low, found.high] == pytest.approx(numbers_told, abs=0.0051)


def test_marks_are_where_seeds_lie_on_average_and_bars_where_their_intervals_do() -> None:
    import overview
    from overview import Group, Panel

    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 8)) * 4
    groups = [
        Group(name, row) for name, row in zip(("none", "full", "steady"), values, strict=True)
    ]
    both = [  # of which the last is not the first row's
        Group("push_N3", row, series)
        for row, series in zip(values[:2], overview.TASK_COLOURS, strict=False)
    ]
    both.append(Group("push_N6", values[2], list(overview.TASK_COLOURS)[2]))
    figure = overview.draw(
        [
            Panel("one", "return", tuple(groups), (("silent", -12.0),)),
            Panel("two", "score", tuple(both)),
        ]
    )
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["none", "full", "steady"]
    for n, row in enumerate(values):
        bar, seeds, mark = first.get_lines()[3 * n : 3 * n + 3]
        middle = np.sort(row)[2:6].mean()
        assert mark.get_xdata() == [pytest.approx(middle)] and mark.get_ydata() == [n]
        np.testing.assert_array_equal(seeds.get_xdata(), row)
        low, high = bar.get_xdata()
        assert row.min() <= low < middle < high <= row.max()
    silent = first.get_lines()[-1]
    assert list(silent.get_xdata()) == [-12, -12] and "\u221212" in first.texts[0].get_text()
    heights = [line.get_ydata()[0] for line in second.get_lines()[2::3]]
    assert heights == pytest.approx([-0.267, 0, 1.267], abs=1e-3)  # beside one another in a row
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(
        overview.TASK_COLOURS
    )


def test_rules_without_records_are_left_out_of_the_first_pages_picture() -> None:
    import overview

    chosen = {name: overview.RIGHT_RUNS[name] for name in ("right", "none")}
    shown = overview.panels(right_runs={**chosen, "not run": "reference_right/not_run"})[2]
    assert [group.row for group in shown.groups] == ["right", "none"]


def test_the_first_page_shows_it_and_says_how_it_was_drawn() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert '<img src="runs/results.png"' in readme
    assert "`python runs/figures.py`" in readme
