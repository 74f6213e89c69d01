"""What a learned rule is held against: that each condition is what its name says, and known wherever a run lies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    assert_same,
    context,
    is_same,
    jit,
    made_up_trajectory,
    plain,
    sizes,
    small,
)
from synthetic_runs import write_run

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.topology.edgewise.frozen import Universal
from purejax_mgtopo.algorithm.topology.edgewise.network import no_memory
from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED
from purejax_mgtopo.algorithm.topology.reinforce import Reinforce
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import override
from purejax_mgtopo.records.fingerprint import files_of
from purejax_mgtopo.records.record import read_config
from purejax_mgtopo.report.rule import lived
from purejax_mgtopo.training.recipe import load_recipe
from purejax_mgtopo.universal.conditions import (
    Closing,
    Drawn,
    Misplaced,
    Opening,
    Uncorrected,
    elsewhere,
)

RECIPES = Path(__file__).parents[2] / "runs" / "universal"
OTHERS = ("none", "full", "reinforce", "stgs", "meta", "universal")
NAMES = {
    "misplaced": Misplaced,
    "closing": Closing,
    "opening": Opening,
    "f_zero": Uncorrected,
    "random_eta": Drawn,
}


def made(kind, agents: int = 3):
    return kind(small("universal"), sizes(agents, 3))


def state_of(rule, seed: int = 0):
    return jit(rule.init)(jax.random.key(seed))


def corrected(rule, state, agents: int = 3):
    """The corrections of a made-up episode, and what was told of it."""
    tau = made_up_trajectory(1, 4, agents, 3)
    now = replace(context(), progress=jnp.asarray(0.25))
    told, _ = rule.told(state.gates, state.baseline, tau, tau.reward, rule.situation(now))
    return rule.correction(rule.network_of(state), no_memory(), tau, told)[0], tau, told


def learned(rule, state, agents: int = 3):
    """One gate update, operation by operation, as a compiler rounds each program in its own way."""
    return rule.learn(state, made_up_trajectory(1, 4, agents, 3), context()).state


def test_uncorrected_moves_gates_as_reinforce_does_bit_for_bit() -> None:
    usual = Reinforce(small("reinforce"), sizes(3, 3))
    one = learned(made(Uncorrected), state_of(made(Uncorrected)))
    other = learned(usual, state_of(usual))
    assert_same((one.gates, one.moving.nu), (other.gates, other.nu))
    assert_same(one.baseline, other.baseline)
    assert not is_same(one.gates, state_of(usual).gates)


@pytest.mark.parametrize("agents", [2, 3, 6])
def test_misplaced_has_every_correction_on_another_edge(agents: int) -> None:
    """An order that leaves all in place, as a draw for two agents is."""
    state = state_of(made(Universal, agents))
    f, _, _ = corrected(made(Universal, agents), state, agents)
    g, _, _ = corrected(made(Misplaced, agents), state, agents)
    flat, other = np.asarray(f).reshape(len(f), -1), np.asarray(g).reshape(len(g), -1)
    np.testing.assert_array_equal(np.sort(flat), np.sort(other))
    np.testing.assert_array_equal(other, flat[:, elsewhere(flat.shape[1])])
    order = elsewhere(agents * (agents - 1))
    assert not np.array_equal(order, np.arange(order.size))
    assert set(order) == {*range(order.size)} and np.abs(flat - other).max() > 1e-4


@pytest.mark.parametrize("agents", range(2, 13))
def test_no_edge_keeps_its_own_correction(agents: int) -> None:
    """A draw may leave some edges in place; one that leaves none is taken as it comes."""
    edges = agents * (agents - 1)
    order, drawn = elsewhere(edges), np.random.default_rng(0).permutation(edges)
    assert sorted(order) == [*range(edges)]
    assert not any(order[edge] == edge for edge in range(edges))
    kept = sum(drawn[edge] == edge for edge in range(edges))
    assert np.array_equal(order, drawn) == (kept == 0)


@pytest.mark.parametrize(("kind", "on_open_edges"), [(Closing, -0.2), (Opening, 0.2)])
def test_a_leaning_rule_is_its_formula_of_the_lifetimes_progress(
    kind: type, on_open_edges: float
) -> None:
    """Of the same size on closed edges, with the other sign."""
    f, tau, told = corrected(made(kind), state_of(made(kind)))
    assert float(told.inputs.progress[0, 0, 1]) == 0.25
    opened = np.asarray(tau.gates.decision) == 1
    np.testing.assert_allclose(f, 0.75 * on_open_edges * np.where(opened, 1, -1), rtol=1e-6)


@pytest.mark.parametrize(("kind", "higher"), [(Closing, False), (Opening, True)])
def test_a_leaning_rule_moves_gates_to_its_side_of_reinforce(kind: type, higher: bool) -> None:
    """Over some updates on one episode, beside those that are not corrected."""
    ahead, usual = made(kind), made(Uncorrected)
    one, other = state_of(ahead), state_of(usual)
    for _ in range(5):
        one, other = learned(ahead, one), learned(usual, other)
    seen = made_up_trajectory(1, 4, 3, 3).observation
    drawn, free = (np.mean(usual.logits(state.gates, seen)) for state in (one, other))
    assert drawn > free if higher else drawn < free


def test_a_drawn_network_is_the_seeds_own_answers_and_learns_nothing() -> None:
    """A last layer that is left at zero would make it REINFORCE."""
    rule = made(Drawn)
    one, other = state_of(rule, 1), state_of(rule, 2)
    first, second = corrected(rule, one)[0], corrected(rule, other)[0]
    assert np.std(first) > 1e-3 and np.std(second) > 1e-3
    assert_same(one.eta, state_of(rule, 1).eta)
    leaves = zip(plain(one.eta), plain(other.eta), strict=True)
    assert not any(is_same(x, y) for x, y in leaves if np.ndim(x) == 2)
    after = learned(rule, one)
    assert is_same(after.eta, one.eta) and not is_same(after.gates, one.gates)
    usual = learned(made(Uncorrected), state_of(made(Uncorrected), 1))
    assert not is_same(after.gates, usual.gates)
    after = rule.outer((), one, after, made_up_trajectory(3, 4, 3, 3, lead=(2,)), None).state
    assert is_same(after.eta, one.eta)


def test_a_drawn_network_is_what_a_page_asks_and_needs_no_file() -> None:
    """Not the shipped rule, which the task's own would be."""
    made = Drawn(small("universal", member__universal__file="/nowhere/rule.npz"), sizes(3, 3))
    assert made.init_shared(jax.random.key(0)) == ()
    state = state_of(made)
    algorithm = SimpleNamespace(team=SimpleNamespace(rule=made))
    networks = SimpleNamespace(parts=Both(state, ()))
    asked = lived.network_of(algorithm, networks)  # type: ignore[arg-type]
    assert_same(asked, state.eta)


RECIPE = """
import = ["purejax_mgtopo.universal.controls"]
tasks = ["toy_crossed_goals"]
methods = ["misplaced", "closing", "opening", "f_zero", "random_eta"]
seeds = 1
[config]
episodes = 4
chunk_episodes = 2
updates_per_iteration = 2
learner.hidden = 4
learner.batch_size = 4
learner.replay_transitions = 100
learner.warmup_episodes = 2
learner.discount = 0.0
evaluation.every = 4
evaluation.episodes = 2
evaluation.final_episodes = 2
wandb = "off"
"""
RECIPE += "".join(f'[method.{name}]\npreset = "{name}+lstm"\n' for name in NAMES)


def test_a_recipe_knows_them_and_a_run_says_where_they_are(
    unknown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    runs = load_recipe(tmp_path).runs()
    assert {r.method: methods.load(methods.TOPOLOGIES, r.method) for r in runs} == NAMES
    rule = {"member.universal.file": str(SHIPPED)}
    asked = override(runs[0].config.experiment, rule)
    assert files_of(asked) == [SHIPPED]
    assert files_of(override(runs[1].config.experiment, rule)) == []
    folder = tmp_path / "results" / "navigation_N3_l3" / "misplaced"
    write_run(
        folder, "navigation_N3_l3", "none", seeds=2, topology="misplaced", member=asked.member
    )
    unknown()
    monkeypatch.chdir(tmp_path)
    read = read_config(folder).experiment
    assert read.topology == "misplaced" and files_of(read) == [SHIPPED]
    assert methods.load(methods.TOPOLOGIES, "misplaced") is Misplaced
    told = json.loads((folder / "config.json").read_text())["plugins"]
    assert told["files"] == {"misplaced": "member.universal.file"}


@pytest.mark.parametrize(("name", "tasks"), [("protocol", 5), ("protocol_small", 3)])
def test_the_protocol_asks_the_same_of_all_methods(unknown, name: str, tasks: int) -> None:
    """Another K, learner or price for one of them would be judged with it."""
    recipe = load_recipe(RECIPES / f"{name}.toml")
    recipe.check_claims()
    assert {*NAMES, *OTHERS} == {*recipe.methods}
    runs = recipe.runs()
    assert len(runs) == len(recipe.tasks) * len(recipe.methods) == 11 * tasks
    for task in recipe.tasks:
        asked = {replace(r.config.experiment, topology="none") for r in runs if r.task == task}
        assert len(asked) == 1 and next(iter(asked)).gates.edge_cost == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_they_are_swept_evaluated_and_reported_from_any_folder(
    unknown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "recipe.toml").write_text(RECIPE)
    chosen = ["misplaced", "random_eta"]
    assert main(["sweep", str(tmp_path / "asked"), "--methods", *chosen]) == 0
    results = tmp_path / "asked" / "results"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    unknown()
    assert main(["evaluate", str(results), "--episodes", "2"]) == 0
    unknown()
    assert main(["report", str(results), "--no-episodes", "--out", "page.html"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert all(name in page for name in chosen)
    unknown()
    assert main(["score", str(results)]) == 0
    assert "its scale needs none, full, reinforce, stgs as well" in " ".join(
        capsys.readouterr().out.split()
    )
