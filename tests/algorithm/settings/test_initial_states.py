"""How things start, all of them: targets equal the networks, moments and buffers are empty, nothing was sent."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    RULES,
    algorithm,
    assert_same,
    initial,
    is_zero,
    plain,
)
from resume_cases import tiny

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.population.population import Population

GRID = [
    *(f"{rule}+lstm" for rule in RULES),
    *("meta+commnet", "full+rial", "vbc+vbc", "commformer+gat"),
    *(
        pytest.param(pair, marks=pytest.mark.slow)
        for pair in ("full+dial", "gated_acml+acml", "i2c+lstm", "atoc+atoc")
    ),
]
WARMUP = 3


def counts_and_moments(optimizer: object) -> None:
    """An optimiser that has seen nothing: whatever it remembers is zero."""
    assert is_zero(optimizer)


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("method", GRID)
def test_targets_equal_the_networks_and_optimisers_have_seen_nothing(method: str) -> None:
    made, state = algorithm(method), initial(method)
    assert_same(state.target.policy, state.learner.policy)
    assert_same(state.target.critic, state.learner.critic)
    assert_same(state.target.acting, made.parts.acting(state.parts))
    counts_and_moments(state.learner.policy_optimizer)
    counts_and_moments(state.learner.critic_optimizer)
    for optimizer, params in (
        (state.learner.policy_optimizer, state.learner.policy),
        (state.learner.critic_optimizer, state.learner.critic),
    ):
        adam = next(x for x in jax.tree.leaves(optimizer, is_leaf=_is_adam) if _is_adam(x))
        shapes = [jax.tree.map(jnp.shape, moment) for moment in (adam.mu, adam.nu, params)]
        assert shapes[0] == shapes[1] == shapes[2]
    rule = state.parts.rule
    if hasattr(rule, "nu"):
        assert is_zero(rule.nu)
        assert jax.tree.structure(rule.nu) == jax.tree.structure(rule.gates)
    for part in (rule, state.parts.interpreter):
        if hasattr(part, "optimizer"):
            counts_and_moments(part.optimizer)
        if hasattr(part, "target"):
            assert_same(part.target, part.values)
    if hasattr(rule, "baseline"):
        counts_and_moments(rule.baseline.optimizer)
        assert is_zero(rule.baseline.moments)
    if hasattr(rule, "eta"):
        counts_and_moments(rule.eta_optimizer)


def _is_adam(x: object) -> bool:
    return hasattr(x, "mu") and hasattr(x, "nu")


@pytest.mark.parametrize("method", ["meta+lstm", "reinforce+commnet", "stgs+lstm"])
def test_biases_are_zero_kernels_have_the_spread_stated(method: str) -> None:
    """Zero but for the forget gates', which are one; LeCun's spread, a tenth of it in the last layers."""
    state = initial(method)
    trees = {
        "policy": state.learner.policy,
        "critic": state.learner.critic,
        "rule": getattr(state.parts.rule, "gates", ()),
        "eta": getattr(state.parts.rule, "eta", ()),
    }
    seen = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(trees):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        values = np.asarray(leaf)
        if name.endswith("bias"):
            lstm = "lstm" in name or "interpreter/params" in name
            width = values.shape[-1]
            expected = np.zeros(width)
            if lstm:
                expected[width // 4 : width // 2] = 1
            np.testing.assert_array_equal(values, np.broadcast_to(expected, values.shape), name)
            seen += 1
    assert seen >= 6
    for tree, last in ((trees["policy"].head, 0.1), (trees["critic"], 0.1)):
        kernels = tree["params"]["rest"]
        hidden, output = np.asarray(kernels["Dense_0"]["kernel"]), kernels["Dense_1"]["kernel"]
        fan_in = hidden.shape[-2]
        assert hidden.std() == pytest.approx(fan_in**-0.5, rel=0.35)
        assert np.asarray(output).std() == pytest.approx(last * fan_in**-0.5, rel=0.5)


def test_the_replay_holds_the_warmup_but_for_the_last_and_the_rest_is_empty() -> None:
    made, state = algorithm("meta"), initial("meta")
    assert is_zero(made.replay.init())
    clock = made.start_clock()
    assert (int(clock.episode), int(clock.stored)) == (0, WARMUP - 1)
    written = np.any(np.asarray(state.replay.action) != 0, axis=(1, 2, 3))
    assert written.tolist() == [True] * (WARMUP - 1) + [False] * (made.replay.capacity - WARMUP + 1)
    first, second = (np.asarray(state.replay.fixed[i]) for i in range(2))
    episodes = [np.asarray(state.replay.action[i]) for i in range(2)]
    assert not np.array_equal(*episodes)
    assert first.shape == second.shape
    last = np.round(np.asarray(state.trajectory.action) * 32_767).astype(np.int16)
    assert not any(np.array_equal(last, episode) for episode in episodes)


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("messages", ["lstm", "commnet"])
def test_an_episode_starts_with_nothing_sent(messages: str, latency: int) -> None:
    made = algorithm(f"meta+{messages}", message__latency=latency)
    carry = made.team.initial_carry((4,))
    if latency:
        assert is_zero(carry.in_flight)
        assert carry.in_flight.sent.shape == (4,)
    else:
        assert carry.in_flight == ()
    assert is_zero(carry.parts)


def test_gates_start_undecided_and_differ_between_agents_and_senders() -> None:
    made, state = algorithm("meta", "navigation_N3_l3"), initial("meta", "navigation_N3_l3")
    probability = np.asarray(state.trajectory.gates.probability)
    assert 0.15 < probability.min() < probability.max() < 0.85
    pairs = fill_diagonal(jnp.asarray(probability).mean(axis=0))
    assert len(np.unique(np.asarray(pairs))) == 7  # six edges, and the diagonal's zero
    assert made.team.rule.pairs == 6


@pytest.mark.slow
def test_a_population_starts_at_zero_and_alive() -> None:
    population = Population(tiny(seeds=2), devices=jax.devices()[:1])
    state = population.init()
    assert (int(state.clock.episode), int(state.clock.stored)) == (0, 2)
    assert np.asarray(state.lanes.alive).all()
    assert set(state.lanes.tally) == set(population.algorithm.measures)
    assert is_zero(state.lanes.tally)
    assert not jax.tree.leaves(state.shared)
    keys = plain(state.seeds.streams.initial)[0]
    expected = [plain(jax.random.split(jax.random.key(s), 13)[0])[0] for s in (0, 1)]
    np.testing.assert_array_equal(keys, expected)
