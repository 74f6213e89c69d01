"""Each preset through all that a run goes through: stopped, resumed, evaluated, exported, watched, reported."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as parquet
import pytest
from resume_cases import Notes, Stopping, environment, finished, mgtopo, same_run, tiny
from stand_ins import resume, train

from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.methods import ALIASES, METHODS
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.trained.export import networks_of
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.trained.policy import load_policy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SEEDS = (5, 6)
PRESETS = [name for name in METHODS if name not in ALIASES]


@pytest.fixture(scope="module", params=PRESETS)
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A run of two seeds without a stop, and its compiled program."""
    population = Population(tiny(request.param, seeds=len(SEEDS), first_seed=SEEDS[0]))
    folder = tmp_path_factory.mktemp(request.param) / "whole"
    train(population.config, folder, reporter=Notes(), population=lambda _: population)
    return SimpleNamespace(name=request.param, population=population, run=folder)


def test_stopped_and_resumed_it_ends_as_without_a_stop(preset, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    stopping = Stopping(preset.population, at=3)
    config = preset.population.config
    result = train(config, folder, reporter=Notes(), population=lambda _: stopping)
    assert (result.episode, result.stopped_by) == (6, signal.SIGTERM)
    again = resume(folder, reporter=Notes(), population=lambda _: preset.population)
    assert again.episode == 12
    same_run(folder, preset.run)


def test_its_exported_team_acts_as_it_was_trained_to(preset, tmp_path: Path) -> None:
    """Two steps of twenty teams, with what is remembered and what arrives a step later."""
    path, seed = tmp_path / "policy.npz", SEEDS[1]
    assert main(["export", str(preset.run), "--seed", str(seed), "--out", str(path)]) == 0
    policy = load_policy(path)
    assert policy.header.method == preset.name
    trained = load_trained(preset.run)
    team = trained.algorithm.team
    networks = jax.tree.map(jnp.asarray, networks_of(trained, seed))
    shape = (2, 20, team.sizes.agents, team.sizes.observation)
    observations = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    carry, memory = None, team.initial_carry((20,))
    actions = []
    for number, observation in enumerate(observations):
        key = jax.random.key(number)
        action, topology, probability, carry = policy(observation, carry, key=key)
        tape = team.parts.tape(Both(*jax.random.split(key)), (20,))
        step, memory = team.step(*networks, observation, memory, tape, Mode.EVAL_SAMPLED)
        np.testing.assert_allclose(action, step.action, atol=1e-6)
        np.testing.assert_array_equal(topology.sum((1, 2)), step.gates.decision.sum((1, 2)))
        np.testing.assert_allclose(
            probability.sum((1, 2)), step.gates.probability.sum((1, 2)), rtol=1e-5
        )
        actions.append(np.asarray(action))
    assert np.abs(actions[0] - actions[1]).max() > 1e-4


def test_its_seeds_are_played_over_other_channels(preset, tmp_path: Path) -> None:
    out = tmp_path / "evaluation.parquet"
    assert main(["evaluate", str(preset.run), "--episodes", "20", "--out", str(out)]) == 0
    rows = parquet.read_table(out).to_pylist()
    assert {row["method"] for row in rows} == {preset.name}
    assert {row["seed"] for row in rows} == set(SEEDS)
    for row in rows:
        assert np.isfinite(row["return"]), row
        if row["condition"] == "cut":
            assert row["edge_rate"] == 0
    conditions = {row["condition"] for row in rows}
    assert "sampled" in conditions and ("cut" in conditions) == (preset.name != "none")
    for condition in {"sampled", "cut"} & conditions:
        one, other = (row["return"] for row in rows if row["condition"] == condition)
        assert one != other


def test_it_is_drawn_and_reported(preset, tmp_path: Path) -> None:
    assert main(["watch", str(preset.run), "--out", str(tmp_path), "--name", "it"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"it.png", "it.gif"}
    page = tmp_path / "report.html"
    assert main(["report", str(preset.run), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert preset.name in text and '"standing":"best"' in text


def test_the_command_verifies_its_run(preset) -> None:
    code, out, err = finished(mgtopo("verify", preset.run, env=environment()))
    assert code == 0, out + err
