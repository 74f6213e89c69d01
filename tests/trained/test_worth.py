"""What channels carry, what they are worth, and how it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pyarrow.parquet as parquet
import pytest
from stand_ins import train
from trained_cases import TINY, changed, synthetic

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli.tables import assessment_table, console
from purejax_mgtopo.config import Config, Experiment, override
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.trained import assess as assessment
from purejax_mgtopo.trained.assess import (
    CONDITIONS,
    Outcome,
    assess,
)
from purejax_mgtopo.trained.load import TrainedRun
from purejax_mgtopo.trained.table import write_table
from purejax_mgtopo.trained.worth import share_kept, summarise_conditions
from purejax_mgtopo.training.recipe import load_recipe

RUNS = Path(__file__).parents[2] / "runs"


def test_channels_carry_what_they_are_said_to(run, monkeypatch) -> None:
    """Gates shifted apart, so that each seed has a rate of its own, far from one half."""
    monkeypatch.setattr(assessment, "load_trained", changed(of_gates=[-2.0, 1.0]))
    assessed = assess(run, episodes=40, episode_seed=7)
    assert assessed.conditions == CONDITIONS and assessed.finite.all()
    sampled, greedy, cut, opened, random, *content = assessed.outcome.edge_rate.T
    assert sampled[0] < 0.3 and 0.6 < sampled[1]
    np.testing.assert_array_equal(cut, 0)
    np.testing.assert_array_equal(opened, 1)
    assert np.all((sampled > 0) & (sampled < 1)) and np.all(sampled != greedy)
    draws = 40 * 25 * 6
    assert np.all(np.abs(random - sampled) < 5 * 0.5 * np.sqrt(1 / draws))
    np.testing.assert_array_equal(greedy, [0, 1])
    assert len(content) == 3
    for rate in (
        content
    ):  # the same edges, if not quite the same starts of them: what is heard moves bodies
        assert np.all(np.abs(rate - sampled) < 0.1)
    for sampled, greedy, *others in assessed.outcome.episodic_return:  # the channel matters
        assert greedy in others[:2]
        assert len({sampled, *others}) == 7


def test_a_team_that_hears_nothing_has_one_channel(tmp_path, monkeypatch) -> None:
    config = override(Config(), TINY | {"task": "toy_crossed_goals", "topology": "none"})
    algorithm = Algorithm(config.experiment)
    shapes = jax.eval_shape(algorithm.team.init, jax.eval_shape(lambda: jax.random.key(0)))
    policies = jax.tree.map(lambda leaf: np.full((2, *leaf.shape), 0.1, np.float32), shapes)
    networks: Any = SimpleNamespace(learner=SimpleNamespace(policy=policies), parts=Both())
    trained = TrainedRun(
        tmp_path, config.experiment, config.means, algorithm, (4, 5), networks, episode=2
    )
    monkeypatch.setattr(assessment, "load_trained", lambda *args: trained)
    done = assess(tmp_path, episodes=3)
    assert done.conditions == ("sampled",) and done.outcome.episodic_return.shape == (2, 1)
    np.testing.assert_array_equal(done.outcome.edge_rate, 0)
    assert done.outcome.measures == {}


def test_summaries_are_paired_by_seed_and_leave_out_the_diverged() -> None:
    rows = {row.condition: row for row in summarise_conditions(synthetic())}
    assert list(rows) == list(CONDITIONS)
    assert rows["sampled"].episodic_return.point == 5 and rows["cut"].episodic_return.point == 3
    assert rows["cut"].episodic_return.low < rows["cut"].episodic_return.high
    difference = rows["cut"].difference
    assert (difference.point, difference.low, difference.high) == (-2, -2, -2)
    assert rows["open"].measures["collisions"].point == 3
    score = rows["sampled"].score  # the ends of navigation's scale: -52.5136 and -7.5373
    assert score.point == pytest.approx((5 + 52.5136) / 44.9763)
    low, high = rows["sampled"].episodic_return.low, rows["sampled"].episodic_return.high
    assert (score.low, score.high) == pytest.approx(
        ((low + 52.5136) / 44.9763, (high + 52.5136) / 44.9763)
    )
    assert summarise_conditions(synthetic(finite=np.zeros(4, bool))) == []
    assert rows["sampled"].kept is None and rows["cut"].kept is None
    for condition, share in (("greedy", 1.5), ("own", 0), ("shuffled", 0.25), ("open", 1)):
        kept = rows[condition].kept
        assert kept is not None and (kept.point, kept.low, kept.high) == (share, share, share)


def test_a_share_of_the_gain_is_a_ratio_of_interquartile_means_of_whole_seeds() -> None:
    returns = np.array([[10.0, 0.0, 6.0], [20, 1, 5], [30, 2, 4], [41, 3, 30], [70, 4, 4.5]])
    names = ("sampled", "cut", "shuffled")
    kept = share_kept(returns, names, 2)
    assert kept is not None
    left, whole = sorted(returns[:, 2] - returns[:, 1]), sorted(returns[:, 0] - returns[:, 1])
    assert kept.point == pytest.approx(np.mean(left[1:4]) / np.mean(whole[1:4]))
    draws = np.random.default_rng(5).integers(0, 5, (20_000, 5))

    def middle(values: Any) -> Any:
        return np.sort(values[draws], axis=1)[:, 1:4].mean(axis=1)

    ratios = middle(returns[:, 2] - returns[:, 1]) / middle(returns[:, 0] - returns[:, 1])
    low, high = np.quantile(ratios, [0.025, 0.975])
    assert (kept.low, kept.high) == pytest.approx((low, high), rel=0.1)
    assert share_kept(returns, ("sampled", "open", "shuffled"), 2) is None  # nothing was cut
    assert share_kept(returns[:, [1, 0, 2]], names, 2) is None  # a loss
    noise = np.array([[1.0, 0, 0], [-1, 0, 0], [2, 0, 0], [-2, 0, 0], [0.5, 0, 0]])
    assert share_kept(noise, names, 2) is None  # no gain that could be told from none


def test_the_terminal_shows_scores_and_a_dash_where_there_is_none(capsys) -> None:
    for task, shown in (("navigation_N3_l3", "1.28"), ("navigation_N4_l2", "-")):
        console().print(assessment_table(synthetic(experiment=Experiment(task=task))))
        out = capsys.readouterr().out.splitlines()
        heading = next(line for line in out if "channel" in line)
        row = next(line for line in out if line.strip().startswith("sampled"))
        assert "score" in heading
        assert shown in row.split()


def test_the_table_has_a_row_for_every_seed_and_condition(tmp_path) -> None:
    other = synthetic(
        folder=Path("results/b"),
        experiment=override(Experiment(), {"task": "push_N3", "topology": "none"}),
        conditions=CONDITIONS[:1],
        seeds=(0,),
        finite=np.array([True]),
        outcome=Outcome(
            np.array([[1.5]]), np.zeros((1, 1)), np.zeros((1, 1)), {}, {"touches": np.ones((1, 1))}
        ),
    )
    path = write_table([synthetic(), other], tmp_path / "table.parquet")
    table = parquet.read_table(path).to_pylist()
    assert len(table) == 4 * 8 + 1
    row = next(row for row in table if (row["seed"], row["condition"]) == (1, "cut"))
    assert (row["return"], row["edge_rate"], row["collisions"]) == (3, 0.5, 3)
    assert (row["run"], row["method"], row["finite"]) == ("results/a", "meta", True)
    assert row["normalised_score"] == pytest.approx((3 + 52.5136) / 44.9763)
    assert row["touches_end"] is None and row["trained_episodes"] == 10
    assert [r["finite"] for r in table if r["seed"] == 3] == [False] * 8
    assert (table[-1]["task"], table[-1]["touches_end"]) == ("push_N3", 1)
    assert table[-1]["collisions"] is None

    with pytest.raises(RunError, match="seed 0 of .*results/b stands in the table twice"):
        write_table([other, synthetic(), other], path)
    write_table([other], path)  # an older table may go
    assert parquet.read_table(path).num_rows == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_cutting_the_channel_brings_back_the_silent_optimum(tmp_path) -> None:
    """Toy A: a trained round is worth nearly 0; without its messages no more than the best silent one, -1.28."""
    runs = load_recipe(RUNS / "toy_crossed_goals").runs()
    config = next(run.config for run in runs if run.method == "full")
    config = override(config, {"seeds": 4})
    train(config, tmp_path / "full")
    done = assess(tmp_path / "full")
    rounds = dict(zip(CONDITIONS, done.outcome.episodic_return.T / 25, strict=True))
    for condition, values in rounds.items():
        print(f"\ntoy A full, {condition}: {values.mean():.3f} (per seed {np.round(values, 3)})")
    assert np.all(rounds["sampled"] > -0.05)
    # 25,000 rounds with a standard deviation below one: their mean is known to 0.02.
    assert np.all(rounds["cut"] < -1.28 + 0.02)
    for same in ("greedy", "open", "random"):  # all its edges are open anyway
        np.testing.assert_allclose(rounds[same], rounds["sampled"], rtol=1e-4)


@pytest.mark.slow
def test_channels_are_chosen_by_name(run, assessed, tmp_path, capsys) -> None:
    some = assess(run, [5], channels=("shuffled", "cut"), episodes=40, episode_seed=7)
    assert some.conditions == ("sampled", "greedy", "cut", "shuffled")
    of_all = [CONDITIONS.index(condition) for condition in some.conditions]
    for one, both in zip(
        jax.tree.leaves(some.outcome), jax.tree.leaves(assessed.outcome), strict=True
    ):
        np.testing.assert_allclose(one[0], both[1, of_all], rtol=1e-5)
    with pytest.raises(ConfigError, match="unknown channel 'shufled'.*shuffled"):
        assess(run, channels=("shufled",))
    out = tmp_path / "table.parquet"
    words = ["evaluate", str(run), "--channel", "own", "--episodes", "2", "--out", str(out)]
    assert cli.main(words) == 0
    assert "own" in capsys.readouterr().out
    assert parquet.read_table(out)["condition"].to_pylist() == ["sampled", "greedy", "own"] * 2


def test_the_terminal_says_which_share_of_the_gain_a_channel_keeps(capsys) -> None:
    console().print(assessment_table(synthetic()))
    out = capsys.readouterr().out
    assert "gain kept" in out
    row = next(line for line in out.splitlines() if line.strip().startswith("shuffled"))
    assert "25% [25%, 25%]" in row
