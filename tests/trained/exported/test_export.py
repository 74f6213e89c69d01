"""`mgtopo export` and `load_policy`: the file runs alone, and does what the training code's team does."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from trained_cases import made_up, observations, through_a_file

import purejax_mgtopo
from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.trained.export import export, networks_of
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.trained.play import play_episode

PAIRS = (
    *(("full", "dial"), ("full", "rial"), ("right", "tarmac"), ("gated_acml", "acml")),
    *(("i2c", "lstm"), ("vbc", "vbc"), ("atoc", "atoc"), ("commformer", "gat")),
)
"""Rules and interpreters that are tried once each."""
RULES = [name for name in methods.TOPOLOGIES if name == "full" or name not in dict(PAIRS)]


def in_a_hurry(shared: bool, latency: int) -> tuple[pytest.MarkDecorator, ...]:
    """Each rule in two of its four ways, unless there is time."""
    return () if shared == bool(latency) else (pytest.mark.slow,)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {
                "topology": topology,
                "messages": messages,
                "learner__share_parameters": shared,
                "message__latency": latency,
            },
            marks=in_a_hurry(shared, latency),
            id=f"{topology}-{messages}-{shared}-{latency}",
        )
        for topology, messages, shared, latency in [
            *itertools.product(RULES, ("lstm", "commnet"), (False, True), (0, 1)),
            *((*pair, True, latency) for pair in PAIRS for latency in (0, 1)),
            *itertools.product(("magic",), ("gat", "tarmac"), (False, True), (0, 1)),
        ]
    ]
    + [
        {"messages": "commnet", "message__aggregate": "sum", "message__rounds": 3},
        {"task": "toy_crossed_goals"},
        {"task": "navigation_N5_l2", "message__latency": 1},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_acts_as_the_training_codes_team(tmp_path, changes) -> None:
    trained = made_up(tmp_path, **changes)
    team, (own, acting) = trained.algorithm.team, networks_of(trained, 4)
    ours = through_a_file(trained)
    assert ours.header.method == trained.experiment.method
    key = jax.random.key(2) if changes.get("topology") == "random" else None
    tape = team.parts.each(lambda part: jnp.full((5, *part.tape_shape), 0.5))  # as without a key
    if key is not None:
        tape = team.parts.tape(Both(*jax.random.split(key)), (5,))
    memory, carry, edges = team.initial_carry((5,)), None, []
    for observation in observations(trained, steps=3):
        expected, memory = team.step(own, acting, observation, memory, tape, Mode.EVAL_GREEDY)
        action, topology, probability, carry = ours(observation, carry, key)
        np.testing.assert_allclose(action, expected.action, atol=1e-5)
        np.testing.assert_array_equal(drop_diagonal(topology), expected.gates.decision)
        for square in (topology, probability):
            np.testing.assert_array_equal(jnp.diagonal(square, axis1=-2, axis2=-1), 0)
        np.testing.assert_allclose(
            drop_diagonal(probability), expected.gates.probability, atol=1e-6
        )
        edges.append(np.asarray(expected.gates.decision))
    if jax.tree.leaves(acting.rule) and trained.experiment.topology in RULES:
        assert 0 < np.mean(edges) < 1  # open and closed ones were both tried


def test_next_step_delivery_depends_on_the_step_before(tmp_path) -> None:
    """Else the test above could pass with a carry that nobody reads."""
    trained = made_up(tmp_path, topology="full", message__latency=1)
    ours = through_a_file(trained)
    first, second = observations(trained, steps=2)
    with_memory = ours(second, ours(first).carry).action
    assert np.abs(with_memory - ours(second).action).max() > 1e-2


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(("topology", "opens"), [("reinforce", 0.0), ("meta", 0.0), ("stgs", 1.0)])
def test_sampled_edges_have_the_gates_probability_and_are_acted_upon(
    tmp_path, topology, opens
) -> None:
    trained = made_up(tmp_path, topology=topology)
    ours = through_a_file(trained)
    (observation,) = observations(trained, steps=1)
    keys = jax.random.split(jax.random.key(3), 4000)
    drawn = jax.jit(jax.vmap(lambda key: ours(observation, key=key).topology))(keys)
    probability = ours(observation).probability
    error = jnp.sqrt(probability * (1 - probability) / len(keys))
    assert np.all(np.abs(drawn.mean(axis=0) - probability) <= 5 * error + 1e-7)

    action, edges, told, _ = ours(observation, key=keys[0])
    np.testing.assert_array_equal(told, probability)
    np.testing.assert_array_equal(edges, ours(observation, key=keys[0]).topology)
    assert not np.array_equal(edges, ours(observation).topology)
    # A tape that makes the team decide just so: uniform numbers open an edge from one end or the other.
    tape = jnp.clip(jnp.abs(1 - opens - drop_diagonal(edges)), 0, 1 - 1e-7)
    team = trained.algorithm.team
    expected, _ = team.step(
        *networks_of(trained, 4),
        observation,
        team.initial_carry((5,)),
        Both(tape, jnp.zeros((5, *team.interpreter.tape_shape))),
        Mode.EVAL_SAMPLED,
    )
    np.testing.assert_array_equal(expected.gates.decision, drop_diagonal(edges))
    np.testing.assert_allclose(action, expected.action, atol=1e-5)


def test_runs_within_jax_programs(tmp_path) -> None:
    """A compiled scan over an episode equals a loop in Python, from NumPy observations without a batch."""
    trained = made_up(tmp_path, message__latency=1)
    ours = through_a_file(trained)
    episode = np.stack([np.asarray(seen[0]) for seen in observations(trained, steps=4)])

    def step(carry: Any, observation: jax.Array) -> tuple[Any, jax.Array]:
        decision = ours(observation, carry)
        return decision.carry, decision.action

    start = ours.team.initial_carry()
    _, scanned = jax.jit(lambda seen: jax.lax.scan(step, start, seen))(episode)
    carry = None
    for t, observation in enumerate(episode):
        action, topology, probability, carry = ours(observation, carry)
        assert probability.shape == (3, 3)
        assert action.shape == (3, 2) and topology.shape == (3, 3)
        np.testing.assert_allclose(scanned[t], action, atol=1e-6)
    with pytest.raises(ValueError, match=r"\[..., 3, 14\], not \[4, 14\]"):
        ours(np.zeros((4, 14), np.float32))


def test_a_carry_is_of_this_team_and_of_as_many_episodes_as_the_observations(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users
    ours = through_a_file(made_up(tmp_path, message__latency=1))
    batch, one = np.zeros((5, 3, 14), np.float32), np.zeros((3, 14), np.float32)
    many = ours(batch).carry
    for observation, carry, shapes in (
        (batch, ours(one).carry, ("(3, 14)", "[5]", "(5, 3, 14)")),
        (one, many, ("(5, 3, 14)", "[]", "(3, 14)")),
        (batch[:3], many, ("(5, 3, 14)", "[3]", "(3, 3, 14)")),
        (one, jnp.zeros(3), ("(3,)", "[]", "(3, 14)")),
        (one, jax.tree.leaves(ours(one).carry), ("list", "(3, 14)")),
    ):
        with pytest.raises(ValueError) as error:
            ours(observation, carry)
        line = str(error.value)
        assert "\n" not in line and all(shape in line for shape in shapes), line
    as_read = jax.tree.map(np.asarray, many)
    np.testing.assert_array_equal(ours(batch, as_read).action, ours(batch, many).action)


def test_an_exported_seed_plays_the_episode_that_the_run_plays(run, capsys) -> None:
    assert cli.main(["export", str(run), "--seed", "5"]) == 0
    path = Path(capsys.readouterr().out.split()[1])
    assert path == run / "policies" / "seed5_episode2.npz"
    ours = purejax_mgtopo.load_policy(path)
    facts = ours.header
    assert (facts.task, facts.method, facts.seed, facts.episode) == (
        "navigation_N3_l3",
        "reinforce",
        5,
        2,
    )
    commit = json.loads((run / "config.json").read_text())["git"]["commit"]
    assert facts.commit is not None and facts.commit.startswith(commit)

    trained = load_trained(run)
    env = trained.algorithm.env
    episode = play_episode(trained.algorithm, trained.of(5), 3, Mode.EVAL_GREEDY)
    for t in range(env.horizon):
        state = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[t]), episode.states)
        action, topology, _, _ = ours(env.observe(state))
        np.testing.assert_allclose(action, episode.actions[t], atol=1e-5)
        np.testing.assert_array_equal(topology, episode.masks[t])


def test_loads_without_environments_and_learners(run, tmp_path) -> None:
    path = export(run, 4, tmp_path / "policy.npz")
    code = f"""
import sys, numpy
import purejax_mgtopo
policy = purejax_mgtopo.load_policy({str(path)!r})
action, topology, probability, carry = policy(numpy.zeros((3, 14), numpy.float32))
assert action.shape == (3, 2) and topology.shape == probability.shape == (3, 3)
banned = ["jax_mpe", "jumanji", "orbax", "tyro", "wandb", "matplotlib"]
own = ("algorithm.replay", "algorithm.maddpg", "algorithm.rollout", "algorithm.algorithm", "population",
       "checkpoints", "training", "cli")
banned += [f"purejax_mgtopo.{{name}}" for name in own]
print([m for m in sys.modules if any(m == b or m.startswith(b + ".") for b in banned)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
