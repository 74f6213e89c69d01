"""`mgtopo evaluate`: fresh episodes, other channels, and what is told of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as parquet
import pytest
from synthetic_runs import write_run
from trained_cases import biased, changed, synthetic

from purejax_mgtopo.algorithm.types import Streams
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.trained import assess as assessment
from purejax_mgtopo.trained.assess import (
    assess,
    episode_keys,
    frozen_seeds,
)
from purejax_mgtopo.trained.export import export
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.trained.policy import ExportedTeam, load_policy
from purejax_mgtopo.trained.table import write_table


def forced(policy: ExportedTeam, logit: float) -> ExportedTeam:
    """The same networks with gates that are nearly always open, or closed."""
    acting = policy.networks.acting
    gates = biased(acting.rule, lambda bias: jnp.full_like(bias, logit))
    networks = policy.networks._replace(acting=acting.replace(rule=gates))
    return dataclasses.replace(policy, networks=networks)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("condition", "logit"), [("greedy", None), ("cut", -1e6), ("open", 1e6)])
def test_agrees_with_stepping_the_environment_by_the_exported_policy(
    run, assessed, tmp_path, condition, logit
) -> None:
    """Neither rollouts, nor snapshots, nor the training code's networks are behind these numbers."""
    env = load_trained(run, [5]).algorithm.env
    policy = load_policy(export(run, 5, tmp_path / "policy.npz"))
    policy = policy if logit is None else forced(policy, logit)

    def play(key: jax.Array) -> Any:
        def step(state: Any, _: None) -> Any:
            action, topology, _, _ = policy(env.observe(state))
            state, timestep = env.step(state, action)
            return state, (timestep.reward, topology.sum() / 6, env.measures(state))

        return jax.lax.scan(step, env.reset(Streams.split(key).reset)[0], None, 25)[1]

    rewards, edges, measures = jax.jit(jax.vmap(play))(episode_keys(7, 40))
    seed, c = assessed.seeds.index(5), assessed.conditions.index(condition)
    found = jax.tree.map(lambda leaf: leaf[seed, c], assessed.outcome)
    returns = np.sum(rewards, axis=1)
    np.testing.assert_allclose(found.episodic_return, np.mean(returns), rtol=1e-4)
    error = np.std(returns, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(found.standard_error, error, rtol=1e-3)
    np.testing.assert_allclose(found.edge_rate, np.mean(edges), atol=1e-3)
    assert set(found.measures) == {"landmarks_covered", "collisions"}
    for name, values in measures.items():
        np.testing.assert_allclose(found.measures[name], np.mean(values), rtol=1e-3, atol=2e-3)
        end = np.mean(values[:, -1])
        np.testing.assert_allclose(found.measures_end[name], end, rtol=1e-3, atol=0.03)


@pytest.mark.slow
def test_a_seed_is_assessed_alike_alone_and_in_company(run, assessed) -> None:
    alone = assess(run, [5], episodes=40, episode_seed=7)
    assert alone.seeds == (5,)
    for one, both in zip(
        jax.tree.leaves(alone.outcome), jax.tree.leaves(assessed.outcome), strict=True
    ):
        np.testing.assert_allclose(one[0], both[1], rtol=1e-5)
    other = assess(run, [5], episodes=40, episode_seed=8)
    assert not np.array_equal(other.outcome.episodic_return, alone.outcome.episodic_return)


def test_episodes_are_neither_those_of_training_nor_of_its_evaluations() -> None:
    def children(key: jax.Array) -> set[tuple[int, ...]]:
        keys = jax.random.split(key, 50)
        return {tuple(data.tolist()) for data in np.asarray(jax.random.key_data(keys))}

    fresh = {
        tuple(data.tolist()) for data in np.asarray(jax.random.key_data(episode_keys(20210, 50)))
    }
    bare = jax.random.key(20210)
    for taken in (bare, *(jax.random.fold_in(bare, 2**31 + k) for k in (0, 1, 3))):
        assert not fresh & children(taken)


@pytest.mark.slow
def test_a_seed_asked_for_twice_is_one_sample(run, tmp_path, capsys) -> None:
    out = tmp_path / "table.parquet"
    words = ["evaluate", str(run), "--seeds", "4", "4", "5", "--episodes", "2", "--out", str(out)]
    assert cli.main(words) == 0
    assert "2 seeds" in capsys.readouterr().out
    assert parquet.read_table(out)["seed"].to_pylist() == [4] * 8 + [5] * 8


def test_seeds_that_diverged_are_left_out_and_counted(run, capsys, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(assessment, "load_trained", changed(of_policy=[1, np.nan]))
        np.testing.assert_array_equal(assess(run, episodes=2).finite, [True, False])
    monkeypatch.setattr(assessment, "frozen_seeds", lambda folder: {4})
    out = run.parent / "diverged.parquet"
    assert cli.main(["evaluate", str(run), "--episodes", "2", "--out", str(out)]) == 0
    assert "1 of 2 seeds" in capsys.readouterr().out
    rows = parquet.read_table(out).to_pylist()
    assert [row["finite"] for row in rows] == [False] * 8 + [True] * 8


def test_frozen_seeds_are_those_that_the_metrics_call_non_finite(run, tmp_path) -> None:
    assert frozen_seeds(run) == set()
    table = parquet.read_table(run / "metrics.parquet")
    at = table.column_names.index("finite")
    changed = table.set_column(at, table.schema.field("finite"), [[True, True, False, True]])
    unproved = {k: v for k, v in table.schema.metadata.items() if k != b"digest"}
    changed = changed.replace_schema_metadata(unproved)  # as of a version without digests
    parquet.write_table(changed, tmp_path / "metrics.1.parquet")
    assert frozen_seeds(tmp_path) == {4}
    (tmp_path / "metrics.parquet").write_text("torn")
    with pytest.raises(RunError, match="cannot be read"):
        frozen_seeds(tmp_path)


@pytest.mark.slow
def test_a_sweeps_results_are_evaluated_run_by_run(run, tmp_path, capsys) -> None:
    for name in ("one", "two"):
        shutil.copytree(run, tmp_path / "task" / name)
    settings = json.loads((run / "config.json").read_text())["settings"]
    (tmp_path / "task" / "zero").mkdir()
    (tmp_path / "task" / "zero" / "config.json").write_text(json.dumps({"settings": settings}))
    assert cli.main(["evaluate", str(tmp_path), "--seeds", "5", "--episodes", "2"]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("navigation_N3_l3, reinforce: 1 seeds") == 2
    (line,) = shown.err.splitlines()
    assert "left out" in line and "zero has no checkpoint" in line
    rows = parquet.read_table(tmp_path / "evaluation.parquet").to_pylist()
    assert [(Path(row["run"]).name, row["seed"]) for row in rows] == [("one", 5)] * 8 + [
        ("two", 5)
    ] * 8
    assert cli.main(["evaluate", str(tmp_path / "task" / "zero")]) == 1


def test_a_seed_that_a_run_of_many_lacks_costs_that_run_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others, evaluated for hours, are written."""
    for name in ("a", "b", "c"):
        write_run(tmp_path / "navigation_N3_l3" / name, "navigation_N3_l3", "meta", seeds=4)

    def played(folder: Path, *_: Any, **__: Any) -> Any:
        if folder.name == "b":
            raise ConfigError(f"{folder} has no trained seed 2; it has seeds 0")
        return synthetic(folder=folder)

    monkeypatch.setattr("purejax_mgtopo.trained.assess.assess", played)
    out = tmp_path / "table.parquet"
    assert cli.main(["evaluate", str(tmp_path), "--seeds", "2", "--out", str(out)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mgtopo: left out: ") and "b has no trained seed 2" in line
    found = {Path(row["run"]).name for row in parquet.read_table(out).to_pylist()}
    assert found == {"a", "c"}


def test_a_table_that_cannot_be_written_is_refused_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", "navigation_N3_l3", "meta", seeds=4)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("purejax_mgtopo.trained.assess.assess", lambda *_, **__: pytest.fail())
    words = ["evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "file" / "table.parquet")]
    assert cli.main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["RUN", "--seeds", "9"], 2, "seed 9"),
        (["RUN", "--episodes", "0"], 2, "episodes"),
        (["RUN", "--episode-seed", "-1"], 2, "episode"),
        (["TMP"], 1, "no run"),
        (["TMP/absent"], 1, "not a folder"),
        ([], 2, ""),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, words, code, said) -> None:
    words = [word.replace("RUN", str(run)).replace("TMP", str(tmp_path)) for word in words]
    assert cli.main(["evaluate", *words]) == code
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert said in line and shown.out == ""


def test_only_an_older_table_is_replaced(run) -> None:
    before = (run / "metrics.parquet").read_bytes()
    for name in ("metrics.parquet", "config.json"):
        with pytest.raises(RunError, match="not a table"):
            write_table([synthetic()], run / name)
    assert (run / "metrics.parquet").read_bytes() == before
