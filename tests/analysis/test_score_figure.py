"""What the picture of scores draws, read off its axes, against what the scores say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread
from synthetic_runs import write_sweep

from purejax_mgtopo.analysis.scoring.rule_score import RuleScores, read_scores, task_scores
from purejax_mgtopo.analysis.scoring.score_figure import draw_scores
from purejax_mgtopo.analysis.statistics import Interval, stratified_bootstrap
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.cli.universal import score_tables
from purejax_mgtopo.errors import RunError

SCALE = ("none", "full", "reinforce", "stgs")


def returns(spread: float, **levels: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {name: level + spread * rng.normal(size=8) for name, level in levels.items()}


LOUD = returns(0.5, none=-30.0, full=-12.0, reinforce=-10.0, stgs=-14.0, rule=-8.0)
CLEAR = returns(0.1, none=1.0, full=6.0, reinforce=7.0, stgs=5.0, rule=8.0)
QUIET = returns(2.0, none=0.0, full=0.0, reinforce=0.0, stgs=0.0, late=1.0)
TOLD = RuleScores(
    (task_scores("loud", LOUD), task_scores("clear", CLEAR), task_scores("quiet", QUIET))
)
ORDER = ["rule", "reinforce", "full", "stgs", "none", "late"]


def rows(axes: Axes) -> dict[str, tuple[float, float, float]]:
    """Point, low and high of each method that a panel shows."""
    lines = [line for line in axes.lines if line.get_linestyle() != "--"]
    found = {}
    for interval, point in zip(lines[::2], lines[1::2], strict=True):
        assert point.get_marker() == "o"
        ((x,), (y,)) = point.get_data()
        low, high = interval.get_xdata()
        assert list(interval.get_ydata()) == [y, y]
        found[ORDER[int(y)]] = (x, low, high)
    return found


def guides(axes: Axes) -> list[float]:
    return [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "--"]


def ends(interval: Interval) -> tuple[float, float, float]:
    return interval.point, interval.low, interval.high


def test_panels_show_scores_and_where_there_is_none_returns() -> None:
    together, *each, quiet = (axes for axes in draw_scores(TOLD).axes if axes.axison)
    assert [label.get_text() for label in together.get_yticklabels()] == ORDER
    # Downwards: the first row lies on top.
    assert together.get_ylim()[0] > together.get_ylim()[1]
    assert rows(together) == {name: ends(TOLD.over_tasks(name)) for name in LOUD}
    for axes, task in zip(each, TOLD.tasks[:2], strict=True):
        assert rows(axes) == {
            name: ends(stratified_bootstrap([task.scores(name)])) for name in LOUD
        }
        assert guides(axes) == [0.0, 1.0]
    assert guides(together) == [0.0, 1.0]
    assert rows(quiet) == {name: ends(stratified_bootstrap([x])) for name, x in QUIET.items()}
    assert guides(quiet) == [stratified_bootstrap([QUIET["none"]]).point]
    assert [axes.get_title() for axes in (*each, quiet)] == ["loud", "clear", "quiet: no score"]
    assert [axes.get_xlabel() for axes in (*each, quiet)] == ["score", "score", "final return"]


def test_a_method_that_lacks_a_task_is_not_ranked_among_those_that_have_them_all() -> None:
    """The highest of all on the one task that it has run."""
    part = {**LOUD, "late": LOUD["rule"] + 1}
    told = RuleScores((task_scores("loud", part), task_scores("clear", CLEAR)))
    assert told.ranked == tuple(ORDER) and not told.everywhere("late")
    together, loud, clear = draw_scores(told).axes
    assert "late" not in rows(together) and "late" not in rows(clear)
    assert rows(loud)["late"] == ends(stratified_bootstrap([told.tasks[0].scores("late")]))
    (all_tasks, _) = score_tables(told)
    assert [*all_tasks.columns[0].cells] == ORDER
    assert [*all_tasks.columns[2].cells] == ["2 of 2"] * 5 + ["1 of 2"]


def test_several_tasks_fill_rows_of_panels_and_names_are_shown_as_they_are() -> None:
    six = RuleScores(tuple(task_scores(f"$a_{n}$", LOUD) for n in range(6)))
    shown = [axes for axes in draw_scores(six).axes if axes.axison]
    assert [axes.get_title() for axes in shown[1:]] == [f"$a_{n}$" for n in range(6)]
    assert not any(axes.title.get_parse_math() for axes in shown[1:])


@pytest.mark.parametrize("first", [1, 2])
def test_where_less_than_two_tasks_have_a_score_there_is_no_panel_of_all(first: int) -> None:
    few = RuleScores(TOLD.tasks[first:])
    shown = [axes.get_title() for axes in draw_scores(few).axes if axes.axison]
    assert shown == ["clear", "quiet: no score"][first - 1 :]


def test_where_no_run_is_finished_there_is_no_picture() -> None:
    with pytest.raises(RunError, match="no run is finished"):
        draw_scores(RuleScores(()))


def test_the_command_draws_what_it_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = write_sweep(tmp_path / "results", ("toy_follow_holder",), SCALE, "How much?")
    file = tmp_path / "deep" / "scores.png"
    assert main(["score", str(results), "--figure", str(file)]) == 0
    assert f"figure  {file}" in capsys.readouterr().out.replace("\n", "")
    assert imread(file).shape[2] == 4
    told = read_scores([results])
    assert set(told.methods) == set(SCALE)
