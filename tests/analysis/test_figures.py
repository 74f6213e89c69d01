"""Learning-curve figures, judged by their artists: numbers, counts, placement, and the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from purejax_mgtopo.analysis import figures
from purejax_mgtopo.analysis.figures import Curve, compact, draw, learning_curves, styles
from purejax_mgtopo.analysis.statistics import curve_interval
from purejax_mgtopo.methods import METHODS

PRESETS = tuple(dict.fromkeys(method.name for method in METHODS.values()))


def curve(task="push_N3", method="meta", seeds=8, evaluations=5, key=0, rate=None):
    rng = np.random.default_rng(key)
    returns = rng.normal(size=(seeds, evaluations)) - 30
    edges = np.full(returns.shape, rate) if rate is not None else rng.uniform(size=returns.shape)
    return Curve(task, method, np.arange(1, evaluations + 1) * 500, returns, edges)


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def iqm(values):
    """Written apart from `statistics`: sort, drop a quarter at each end, average."""
    cut = len(values) // 4
    return np.sort(values, axis=0)[cut : len(values) - cut].mean(axis=0)


def test_lines_are_interquartile_means_and_bands_their_intervals():
    runs = [
        curve(task, method, key=3 * t + m)
        for t, task in enumerate(("push_N3", "push_N6"))
        for m, method in enumerate(("none", "full", "meta"))
    ]
    figure = draw(runs)
    assert len(figure.axes) == 4
    for t, task in enumerate(("push_N3", "push_N6")):
        upper, lower = figure.axes[2 * t : 2 * t + 2]
        assert upper.get_title() == task
        assert upper.get_shared_x_axes().joined(upper, lower)
        for run in (r for r in runs if r.task == task):
            for axes, values in ((upper, run.returns), (lower, run.edge_rate)):
                line = lines(axes)[run.method]
                np.testing.assert_array_equal(line.get_xdata(), run.episodes)
                np.testing.assert_allclose(line.get_ydata(), iqm(values), rtol=1e-12)
        assert len(upper.get_lines()) == len(lower.get_lines()) == 3
        bands = upper.collections
        assert len(bands) == len(lower.collections) == 3
        y = bands[1].get_paths()[0].vertices[:, 1]
        band = curve_interval(runs[3 * t + 1].returns)
        assert (y.min(), y.max()) == pytest.approx((band.low.min(), band.high.max()))


def test_labels_and_their_override():
    figure = draw([curve()], title="All of it")
    upper, lower = figure.axes
    assert upper.get_ylabel().replace("\n", " ") == "episodic team return (greedy gates)"
    assert (lower.get_ylabel(), lower.get_xlabel()) == ("edge rate", "training episodes")
    assert figure.get_suptitle() == "All of it"
    assert draw([curve()], return_label="score").axes[0].get_ylabel() == "score"


def test_a_method_looks_the_same_in_every_panel_and_unlike_any_other():
    names = [*PRESETS, "mine", "yours", "theirs"]
    figure = draw([curve(t, m) for t in ("a", "b") for m in names])
    seen = []
    for name in names:
        looks = {
            (line.get_color(), str(line.get_linestyle()), line.get_marker())
            for line in (lines(axes)[name] for axes in figure.axes)
        }
        assert len(looks) == 1
        seen += looks
    assert len(set(seen)) == len(names)
    assert len({(look[0], look[2]) for look in seen}) == len(names)
    assert len({look[0] for look in seen[-3:]}) == 3
    alone = lines(draw([curve(method="meta")]).axes[0])["meta"]
    assert alone.get_color() == lines(figure.axes[0])["meta"].get_color()


@pytest.mark.parametrize("count", [2, 4, 8])
def test_no_two_of_a_few_methods_share_a_colour(count):
    """Whichever they are; the line and the marker stay a method's own."""
    rng = np.random.default_rng(0)
    known = [name for name in METHODS if name == METHODS[name].name]
    for _ in range(300):
        names = list(rng.choice([*known, "mine", "yours"], count, replace=False))
        looks = styles(names)
        assert list(looks) == names
        assert len({colour for colour, _, _ in looks.values()}) == count
        for name in names:
            if name in METHODS:
                assert looks[name][1:] == METHODS[name].style[1:]
    for _ in range(300):  # more than there are colours
        names = list(rng.choice([*known, "mine", "yours"], 14, replace=False))
        looks = styles(names)
        assert len({(colour, str(line), marker) for colour, line, marker in looks.values()}) == 14
    assert styles(["meta", "commformer"])["meta"] == METHODS["meta"].style


def test_names_of_a_recipes_own_take_markers_that_nobody_wears():
    """In print without colours `steady` must not pass for `full`."""
    known = ["none", "full", "reinforce"]
    looks = styles([*known, "right", "edge", "steady"])
    worn = [looks[name][2] for name in known]
    own = [looks[name][2] for name in ("right", "edge", "steady")]
    assert len(set(own)) == 3 and not set(own) & set(worn)


def test_non_finite_seeds_are_left_out_and_counted():
    run = curve(seeds=8)
    run.returns[2, 3:] = np.nan
    run.edge_rate[2] = 0.0
    figure = draw([run])
    healthy = np.arange(8) != 2
    for axes, values in zip(figure.axes, (run.returns, run.edge_rate), strict=True):
        np.testing.assert_allclose(lines(axes)["meta"].get_ydata(), iqm(values[healthy]))
    assert legend(figure) == ["meta (7 of 8 seeds finite)"]


def test_a_seed_without_edge_rate_still_counts_in_the_return():
    run = curve(seeds=4)
    run.edge_rate[:] = np.nan
    figure = draw([run])
    assert len(figure.axes[0].get_lines()) == 1 and not figure.axes[1].get_lines()
    assert legend(figure) == ["meta (4 seeds)"]


def test_no_finite_seed_draws_no_line_and_says_so():
    run = curve(seeds=2)
    run.returns[:, 0] = np.inf
    figure = draw([run])
    assert not figure.axes[0].get_lines() and not figure.axes[1].get_lines()
    assert legend(figure) == ["meta (0 of 2 seeds finite)"]


def test_seed_counts_that_differ_between_tasks_become_a_range():
    broken = curve("b", "none", seeds=8)
    broken.returns[0] = np.nan
    runs = [curve("a", "meta", 5), curve("b", "meta", 8), curve("a", "none", 8), broken]
    assert legend(draw(runs)) == ["meta (5–8 seeds)", "none (7–8 of 8 seeds finite)"]


def test_one_seed_has_a_line_and_no_band():
    run = curve(seeds=1)
    figure = draw([run])
    np.testing.assert_allclose(lines(figure.axes[0])["meta"].get_ydata(), run.returns[0])
    assert not figure.axes[0].collections
    assert legend(figure) == ["meta (1 seed)"]
    assert "band" not in figure.legends[0].get_title().get_text()


def test_a_single_evaluation_shows_markers_side_by_side_with_intervals(tmp_path):
    runs = [curve(method=m, evaluations=1, key=k) for k, m in enumerate(("none", "meta"))]
    learning_curves(runs, tmp_path / "one.png")
    figure = draw(runs)
    figure.canvas.draw()
    upper = figure.axes[0]
    drawn = lines(upper)
    pixels = [drawn[m].get_transform().transform((500, -30))[0] for m in ("none", "meta")]
    assert pixels[1] - pixels[0] == pytest.approx(9 / 72 * figure.dpi)
    assert all(drawn[m].get_marker() not in ("", "None") for m in ("none", "meta"))
    spans = [line.get_ydata() for line in upper.get_lines() if len(line.get_ydata()) == 2]
    bands = [curve_interval(run.returns) for run in runs]
    np.testing.assert_allclose(spans, [(b.low[0], b.high[0]) for b in bands])
    low, high = upper.get_ylim()
    assert low < min(map(min, spans)) and max(map(max, spans)) < high
    assert upper.get_xlim()[0] < 500 < upper.get_xlim()[1]


def test_constant_edge_rates_stay_inside_the_frame():
    lower = draw([curve(method="none", rate=0.0), curve(method="full", rate=1.0)]).axes[1]
    low, high = lower.get_ylim()
    assert low < 0 and high > 1
    np.testing.assert_array_equal(lines(lower)["full"].get_ydata(), 1)
    np.testing.assert_array_equal(lines(lower)["none"].get_ydata(), 0)


def test_the_legend_touches_no_axes():
    figure = draw([curve(t, m) for t in "abcde" for m in ("none", "full", "meta", "commnet")])
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0
    for axes in figure.axes:
        assert axes.get_tightbbox().y0 > box.y1


@pytest.mark.parametrize(("tasks", "columns"), [(1, 1), (2, 2), (3, 3), (5, 3), (8, 4), (9, 4)])
def test_panels_wrap_and_are_equally_large(tasks, columns):
    figure = draw([curve(f"task{t}", evaluations=3) for t in range(tasks)])
    figure.canvas.draw()
    boxes = [axes.get_position() for axes in figure.axes[::2]]
    assert len({round(box.y0, 3) for box in boxes[:columns]}) == 1
    assert len({round(box.y0, 3) for box in boxes}) == -(-tasks // columns)
    assert np.ptp([box.height for box in boxes[:columns]]) < 1e-3
    lowest = figure.axes[1::2][-columns:]  # nothing is drawn below these
    assert all(axes.get_xlabel() == "training episodes" for axes in lowest)
    assert np.ptp([box.height for box in boxes]) < 0.1 * boxes[0].height


def test_reference_lines_are_dotted_labelled_and_in_sight():
    references = {"a": [("best without messages", -5.0), ("best", -4.9)], "elsewhere": [("x", 9.0)]}
    figure = draw([curve("a"), curve("b")], reference_lines=references)
    first, second = figure.axes[0], figure.axes[2]
    dotted = [line for line in first.get_lines() if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [-5.0, -4.9]
    assert first.get_ylim()[1] > -4.9
    assert {text.get_text() for text in first.texts} == {"best without messages", "best"}
    assert not second.texts and len(second.get_lines()) == 1


def test_reference_texts_avoid_curves_lines_and_each_other():
    episodes = np.linspace(0, 1000, 41)
    returns = np.tile(-1.8 * np.exp(-episodes / 300) - 0.03, (2, 1))  # crosses -0.64 on the left
    names = ["optimum without messages", "optimum with one edge", "optimum with messages", "bound"]
    lines_at = list(zip(names, (-0.64, -0.06, 0.0, 0.0), strict=True))
    run = Curve("a", "meta", episodes, returns, np.ones_like(returns))
    figure = draw([run], reference_lines={"a": lines_at})
    figure.canvas.draw()
    upper = figure.axes[0]
    boxes = [text.get_window_extent() for text in upper.texts]
    fine = np.linspace(0, 1000, 2001)
    points = upper.transData.transform(
        np.column_stack([fine, np.interp(fine, episodes, returns[0])])
    )
    for k, box in enumerate(boxes):
        assert box.count_contains(points) == 0
        assert box.count_overlaps(boxes[:k]) == 0
        for _, value in lines_at:
            level = upper.transData.transform((0, value))[1]
            assert not box.y0 + 2 < level < box.y1 - 2  # the box has 2 pixels of air


def test_the_return_label_stays_clear_of_the_edge_rate_label():
    label = "episodic team return over 100 noise-free episodes (greedy gates)"
    figure = draw([curve("a"), curve("b")], return_label=label)
    figure.canvas.draw()
    upper, lower = (axes.yaxis.label.get_window_extent() for axes in figure.axes[:2])
    assert upper.y0 > lower.y1


def test_compact_thousands():
    numbers = (0, 0.5, 500, 1000, 2500, 10_000, 1_250_000, -20_000, 3e9)
    expected = ["0", "0.5", "500", "1k", "2.5k", "10k", "1.25M", "-20k", "3G"]
    assert [compact(number) for number in numbers] == expected
    figure = draw([Curve("a", "meta", np.arange(1, 9) * 2500, *np.ones((2, 3, 8)))])
    figure.canvas.draw()
    ticks = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert "10k" in ticks and "5000" not in ticks


def test_file_is_a_png_of_some_size_and_the_only_one(tmp_path):
    path = tmp_path / "figures" / "curves.png"
    assert learning_curves([curve()], path) == path
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) > 10_000
    assert os.listdir(path.parent) == ["curves.png"]
    learning_curves([curve()], str(path))
    assert path.read_bytes() == data


def test_a_failed_write_leaves_the_old_figure(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def full_disk(self, target, **_):
        target.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    with pytest.raises(OSError, match="No space"):
        learning_curves([curve()], path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["curves.png"]


def test_pyplot_is_never_imported():
    code = (
        "import sys; import numpy as np; from purejax_mgtopo.analysis.figures import Curve, draw;"
        "draw([Curve('a', 'm', np.arange(3), *np.ones((2, 2, 3)))]).canvas.draw();"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    root = str(Path(figures.__file__).parents[1])  # pytest may have found it by its own settings
    env = {**os.environ, "PYTHONPATH": root}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "no runs"),
        ([curve(), curve()], "meta on push_N3 is given twice"),
        ([Curve("a", "m", np.arange(3), np.ones((2, 4)), np.ones((2, 4)))], "must be \\[E\\]"),
        ([Curve("a", "m", np.arange(3), np.ones(3), np.ones(3))], "must be \\[E\\]"),
        ([Curve("a", "m", np.arange(0), np.ones((2, 0)), np.ones((2, 0)))], "must be \\[E\\]"),
        ([Curve("a", "m", np.arange(3), np.ones((2, 3)), np.ones((3, 3)))], "edge_rate"),
    ],
)
def test_wrong_input_gets_one_clear_line(runs, message):
    with pytest.raises(ValueError, match=message) as error:
        draw(runs)
    assert "\n" not in str(error.value)
