"""A run's records in a notebook: as a line, as a frame, as a picture, with words for each column."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import matplotlib.figure
import numpy as np
import pyarrow.parquet as parquet
import pytest
from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import train
from synthetic_runs import write_run

from purejax_mgtopo import methods
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.plugins.meanings import all_meanings
from purejax_mgtopo.records.glossary import FRAME, GLOSSARY, UNKNOWN
from purejax_mgtopo.records.run_data import load_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", "navigation_N3_l3", "meta", broken=(2,))


def test_a_line_for_a_run(run: Path) -> None:
    line = repr(load_run(run))
    assert len(line) < 200 and "\n" not in line
    for word in ("navigation_N3_l3", "meta", "8 seeds", "12 evaluations", "6,000", str(run)):
        assert word in line


def test_the_line_tells_the_last_mean_of_the_finite_seeds(run: Path, tmp_path: Path) -> None:
    table = parquet.read_table(run / "metrics.parquet").to_pandas()
    last = table[(table.episode == 6000) & (table.seed != 2)]
    assert len(last) == 7 and f"final return {last.return_sampled.mean():.2f};" in repr(
        load_run(run)
    )
    lost = write_run(tmp_path / "lost", "navigation_N3_l3", "meta", broken=tuple(range(8)))
    with warnings.catch_warnings(action="error"):
        assert "final return nan;" in repr(load_run(lost))
    early = write_run(tmp_path / "early", "navigation_N3_l3", "meta", until=1, end=False)
    assert "1 evaluations until episode 500" in repr(load_run(early))
    none = dataclasses.replace(load_run(early), episodes=np.empty(0, np.int64))
    assert "8 seeds, no evaluation yet;" in repr(none)


def test_hours_are_seconds_of_the_clock_or_unknown(run: Path) -> None:
    data = load_run(run)
    wall = 100.0 * np.arange(1, 13)
    frame = dataclasses.replace(data, wall=wall).to_pandas()
    np.testing.assert_array_equal(frame.hours, np.tile(wall / 3600, 8))
    untold = dataclasses.replace(data, wall=np.empty(0)).to_pandas()
    assert len(untold) == 96 and untold.hours.isna().all()


def test_the_clock_is_read_from_the_events(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "navigation_N3_l3", "meta", evaluations=4, end=False)
    assert np.isnan(load_run(run).seconds) and np.isnan(load_run(run).wall).all()
    events = [
        {"event": "chunk", "episode": 500, "seconds": 1.0},
        {"event": "evaluation", "wave": 0, "episode": 500, "seconds": 2.0},
        {"event": "evaluation", "wave": 0, "episode": 1000, "seconds": 3.0},
        {"event": "evaluation", "seconds": 4.0},
        {"event": "evaluation", "wave": 1, "episode": 500, "seconds": 5.0},
        {"event": "evaluation", "wave": 1, "episode": 1500},
        {"event": "chunk", "episode": 500, "seconds": 6.0},
        {"event": "end", "episode": 2000, "seconds": 7.0},
        {"event": "resumed", "episode": 2000, "seconds": 8.0},
        {"event": "end", "episode": 2000, "seconds": 9.0},
        {"event": "closed", "seconds": 10.0},
    ]
    with open(run / "events.jsonl", "a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    data = load_run(run)
    assert data.seconds == 9.0
    np.testing.assert_array_equal(data.wall, [5.0, 3.0, np.nan, np.nan])


def test_without_pandas_one_line_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RunError, match="pip install pandas") as error:
        load_run(run).to_pandas()
    assert "\n" not in str(error.value)


def test_a_frame_holds_what_the_table_does(run: Path) -> None:
    data = load_run(run)
    frame = data.to_pandas()
    assert len(frame) == 8 * 12
    assert set(frame.task) == {"navigation_N3_l3"} and set(frame.method) == {"meta"}
    assert set(frame.run) == {str(run)}
    table = parquet.read_table(run / "metrics.parquet").to_pandas()
    both = frame.merge(table, on=["seed", "episode"], suffixes=("", "_table"))
    assert len(both) == 96
    for name in ("return_greedy", "train_return", "edge_rate", "env_steps", "finite"):
        np.testing.assert_array_equal(both[name], both[f"{name}_table"])
    told = np.stack(both.pair_rate)  # a flat list, row by row
    np.testing.assert_array_equal(both.pair_rate_1_from_2, told[:, 1 * 3 + 2])
    assert "pair_rate_1_from_1" not in frame


def test_a_frame_knows_when(tmp_path: Path) -> None:
    train(small(), tmp_path, reporter=Notes(), population=FakePopulation, store=FakeStore({}))
    frame = load_run(tmp_path).to_pandas()
    hours = [frame[frame.episode == episode].hours.unique() for episode in (20, 40)]
    assert 0 < hours[0] <= hours[1] < 0.1  # a stand-in needs less than a millisecond


def test_a_data_set_has_its_axes_by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed to xarray, which need not be there."""
    monkeypatch.setitem(sys.modules, "xarray", SimpleNamespace(Dataset=lambda *given: given))
    data = load_run(run)
    values, coordinates, told = data.to_xarray()
    assert set(values) == {*data.columns, "finite"} and values["finite"][1] is data.finite
    for name, (axes, array) in values.items():
        expected = ("seed", "episode", "i", "j") if name == "pair_rate" else ("seed", "episode")
        assert axes == expected and array.ndim == len(axes)
        assert name == "finite" or array is data.columns[name]
    assert coordinates["seed"] is data.seeds and coordinates["episode"] is data.episodes
    assert coordinates["env_steps"][0] == "episode"
    assert coordinates["env_steps"][1] is data.env_steps
    assert told == {"task": "navigation_N3_l3", "method": "meta", "run": str(run)}


def test_a_picture_of_any_column(run: Path) -> None:
    matplotlib.use("Agg")
    axes = load_run(run).plot("edge_rate")
    median, *seeds = axes.get_lines()
    data = load_run(run)
    assert len(seeds) == 8 and not data.finite[2, -1]
    expected = np.where(data.finite, data.edge_rate, np.nan)
    np.testing.assert_array_equal(np.stack([line.get_ydata() for line in seeds]), expected)
    np.testing.assert_allclose(median.get_ydata(), np.nanmedian(expected, axis=0))
    for line in (median, *seeds):
        np.testing.assert_array_equal(line.get_xdata(), data.env_steps)
    mine = matplotlib.figure.Figure().subplots()
    assert data.plot(axes=mine) is mine
    assert mine.get_ylabel() == "return_sampled" and mine.get_title() == "navigation_N3_l3"
    with pytest.raises(RunError, match="no column nothing; there are"):
        load_run(run).plot("nothing")
    with pytest.raises(RunError, match="more than a number"):
        load_run(run).plot("pair_rate")


def test_a_column_that_is_unknown_at_first_is_drawn_without_complaint(tmp_path: Path) -> None:
    matplotlib.use("Agg")
    measured = {"gate_entropy": 0.5}  # NaN in the first evaluation, for all seeds
    run = write_run(tmp_path / "run", "navigation_N3_l3", "meta", measured=measured)
    with warnings.catch_warnings(action="error"):
        median, *_ = load_run(run).plot("gate_entropy").get_lines()
    assert np.isnan(median.get_ydata()[0]) and np.isfinite(median.get_ydata()[1:]).all()


def test_the_table_tells_what_it_is_and_what_its_columns_mean(tmp_path: Path) -> None:
    own = {"meta_objective": 1.0, "gate_update_norm": 0.1}
    run = write_run(tmp_path / "run", "navigation_N3_l3", "meta", measured=own)
    schema = parquet.read_schema(run / "metrics.parquet")
    told = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert (told["task"], told["method"]) == ("navigation_N3_l3", "meta")
    words = json.loads(told["glossary"])
    assert list(words) == schema.names
    assert UNKNOWN not in words.values()
    assert words["meta_objective"] == "the meta-objective of Eqs. 8 and 9 that eta ascends"


def test_every_column_of_a_run_is_in_the_glossary(capsys: pytest.CaptureFixture) -> None:
    from purejax_mgtopo.algorithm.algorithm import MEASURES
    from purejax_mgtopo.algorithm.evaluate import evaluation_shapes

    assert {*MEASURES, *evaluation_shapes(3, right=True)} <= set(GLOSSARY)
    assert main(["glossary"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in (*GLOSSARY, *FRAME))
    for name, sentences in all_meanings().items():
        for sentence, who in sentences.items():
            assert f"{name} {sentence}" in shown
            assert all(member.split()[-1] in shown for member in who)
    assert "share of bits that are sent as ones (interpreter dial)" in shown


def test_the_glossary_knows_measures_of_a_module_that_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    lines = (
        "from purejax_mgtopo import register_rule",
        'class Mine:\n measures = {"mine_rate": "share of what is mine"}\n outer_measures = ("more",)',
        "register_rule('mine', Mine)",
    )
    (tmp_path / "mine_only.py").write_text("\n".join(lines))
    try:
        assert main(["glossary", "--import", "mine_only"]) == 0
    finally:
        methods.TOPOLOGIES.pop("mine", None)
    shown = " ".join(capsys.readouterr().out.split())
    assert "mine_rate share of what is mine (rule mine)" in shown


def test_a_table_without_these_words_is_read(run: Path) -> None:
    table = parquet.read_table(run / "metrics.parquet")
    older = {
        k: v for k, v in table.schema.metadata.items() if k not in (b"glossary", b"task", b"method")
    }
    parquet.write_table(table.replace_schema_metadata(older), run / "metrics.parquet")
    assert load_run(run).return_sampled.shape == (8, 12)
