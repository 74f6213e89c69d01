"""One network for every edge: it knows no agent's number, and begins by correcting nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    assert_close,
    assert_same,
    context,
    is_same,
    is_zero,
    jit,
    made_up_trajectory,
    plain,
    scattered,
    sizes,
    small,
)

from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal
from purejax_mgtopo.algorithm.topology.edgewise.network import (
    FEATURES,
    Among,
    EdgeNetwork,
    no_memory,
)
from purejax_mgtopo.algorithm.topology.edgewise.online import EdgeMeta
from purejax_mgtopo.algorithm.topology.reinforce import Reinforce

STEPS = 5
PRICED = {"gates__edge_cost": 0.1, "gates__learning_rate": 0.05, "gates__entropy": 0.3}


@functools.cache
def network(seed: int = 1):
    """Parameters of which none is zero."""
    params = jit(EdgeNetwork().init)(jax.random.key(0), *inputs(2))
    return scattered(params, seed)


def inputs(agents: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(STEPS, agents, agents, FEATURES)), float)
    done = jnp.zeros(STEPS).at[2].set(1.0)
    return x, done, tuple(m + 0.1 for m in no_memory())


@pytest.mark.parametrize("agents", [2, 3, 5])
def test_a_block_is_what_its_formula_says(agents: int) -> None:
    """A mean over the wrong axis, an agent that hears itself, a divisor of N."""
    x = (
        np.random.default_rng(agents).normal(size=(agents, agents, 3))
        * (1 - np.eye(agents))[..., None]
    )
    block = Among(4)
    params = scattered(block.init(jax.random.key(0), jnp.asarray(x, jnp.float32)), 1)
    made = block.apply(params, jnp.asarray(x, jnp.float32))
    own, receiver, sender, all_of_them = (params["params"][f"Dense_{i}"] for i in range(4))
    pairs = [(i, j) for i in range(agents) for j in range(agents) if i != j]

    def mean(edges):
        return np.mean([x[edge] for edge in edges], axis=0)

    def around(agent):
        heard, said = ([e for e in pairs if e[side] == agent] for side in (0, 1))
        return np.concatenate([mean(heard), mean(said)])

    expected = np.zeros((agents, agents, 4))
    for i, j in pairs:
        total = np.concatenate([x[i, j], x[j, i]]) @ own["kernel"] + own["bias"]
        total = total + around(i) @ receiver["kernel"] + around(j) @ sender["kernel"]
        expected[i, j] = np.maximum(total + mean(pairs) @ all_of_them["kernel"], 0)
    np.testing.assert_allclose(made, expected, atol=1e-5)


@pytest.mark.parametrize("agents", [2, 3, 12])
def test_the_same_parameters_judge_any_number_of_agents_in_any_order(agents: int) -> None:
    x, done, memory = inputs(agents)
    apply = jit(EdgeNetwork().apply)
    f, after = apply(network(), x, done, memory)
    order = np.random.default_rng(1).permutation(agents)
    g, other = apply(network(), x[:, order][:, :, order], done, memory)
    np.testing.assert_allclose(g, f[:, order][:, :, order], rtol=1e-6, atol=1e-6)
    assert_close(other, after)
    assert np.std(f) > 1e-2


def test_edges_that_are_told_the_same_are_judged_the_same_whatever_the_number_of_agents() -> None:
    """A sum for a mean, an idle diagonal that counts."""
    row, done, memory = inputs(2)
    apply = jit(EdgeNetwork().apply)
    made = []
    for agents in (2, 3, 6):
        x = jnp.broadcast_to(row[:, :1, 1:], (STEPS, agents, agents, FEATURES))
        f, after = apply(network(), x, done, memory)
        made.append((f[:, 0, 1], *after))
        np.testing.assert_allclose(f[:, -1, 0], f[:, 0, 1], atol=1e-6)
    assert_close(made[0], made[1], atol=1e-6)
    assert_close(made[0], made[2], atol=1e-6)


def padded(x, places):
    """A team among seats of which five are there, the others filled with what must not count."""
    wide = np.full((STEPS, 5, 5, FEATURES), np.nan, np.float32)
    wide[:, :, list({*range(5)} - {*places})] = 1e3
    wide[np.ix_(range(STEPS), places, places)] = x
    return jnp.asarray(wide), jnp.asarray([seat in places for seat in range(5)])


@pytest.mark.parametrize("places", [(0, 1, 2), (2, 3, 4), (0, 2, 4), (3, 1, 0)])
def test_padding_changes_nothing(places) -> None:
    """A mean over seats, an edge that is judged with one end missing, whatever padding holds."""
    x, done, memory = inputs(3)
    apply = jit(EdgeNetwork().apply)
    f, after = apply(network(), x, done, memory)
    wide, present = padded(x, places)
    g, same = apply(network(), wide, done, memory, present)
    assert (
        np.abs(g[np.ix_(range(STEPS), places, places)] - f)[:, ~np.eye(3, dtype=bool)].max() < 1e-6
    )
    assert all(np.abs(one - other).max() < 1e-6 for one, other in zip(after, same, strict=True))
    missing = [seat for seat in range(5) if seat not in places]
    assert is_zero((g[:, missing], g[:, :, missing]))


def test_where_nobody_is_there_a_lifetime_remembers_as_a_single_agent_does() -> None:
    """A mean over none: zero, and a derivative that is a number."""
    x, done, memory = inputs(3)

    def told(params, present):
        f, after = EdgeNetwork().apply(params, x, done, memory, present)
        return sum(jnp.sum(leaf) for leaf in after), (f, after)

    ask = jit(jax.value_and_grad(told, has_aux=True))
    (_, (f, nobody)), slope = ask(network(), jnp.zeros(3, bool))
    (_, (_, single)), _ = ask(network(), jnp.arange(3) == 1)
    assert is_zero(f) and not is_same(nobody, memory)
    assert_close(nobody, single, rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in plain(slope))


def test_padding_teaches_nothing() -> None:
    """A derivative that comes through an edge of padding; not a number times zero is none."""
    x, done, memory = inputs(3)

    def total(params, *told):
        f, after = EdgeNetwork().apply(params, *told)
        return jnp.sum(jnp.square(drop_diagonal(f)[:, :, :1])) + jnp.sum(after[0])

    wide, present = padded(x, (0, 1, 2))
    slope = jit(jax.grad(total))
    alone = slope(network(), x, done, memory)
    assert_close(slope(network(), wide, done, memory, present), alone, rtol=1e-5, atol=1e-5)


def test_a_whole_team_is_judged_as_without_a_word_about_it_bit_for_bit() -> None:
    x, done, memory = inputs(3)
    apply = jit(EdgeNetwork().apply)
    told = apply(network(), x, done, memory, jnp.ones(3, bool))
    assert_same(told, apply(network(), x, done, memory))


def test_nothing_after_an_end_tells_about_what_came_before_it() -> None:
    x, done, memory = inputs(3)
    # The memory hears all steps: its share is taken off.
    params = jax.tree_util.tree_map_with_path(
        lambda path, p: jnp.zeros_like(p) if "factor" in jax.tree_util.keystr(path) else p,
        network(),
    )
    apply = jit(EdgeNetwork().apply)
    before, after = (apply(params, x.at[step].add(1.0), done, memory)[0] for step in (3, 2))
    f = apply(params, x, done, memory)[0]
    assert is_same(before[:3], f[:3]) and not is_same(before[3], f[3])
    assert not is_same(after[0], f[0])


def test_an_untrained_one_corrects_nothing() -> None:
    made = jit(EdgeNetwork().init)(jax.random.key(3), *inputs(3))
    assert is_zero(EdgeNetwork().apply(made, *inputs(3))[0])
    assert 40_000 < sum(leaf.size for leaf in jax.tree.leaves(made)) < 50_000


def rule(agents: int = 3, width: int = 3, **changes):
    return EdgeMeta(
        small("meta", **PRICED, meta__architecture="edge", **changes), sizes(agents, width)
    )


@pytest.mark.slow
def test_an_untrained_one_moves_gates_as_reinforce_does_bit_for_bit() -> None:
    """Operation by operation: a compiler that sees them all rounds each of the two programs in its own way."""
    taus = made_up_trajectory(5, STEPS, 3, 3, lead=(3,))
    ended = []
    for made in (rule(), Reinforce(small("reinforce", **PRICED), sizes(3, 3))):
        before, traces = jit(made.init)(jax.random.key(0)), []
        state = before
        for k in (0, 1):
            tau = jax.tree.map(lambda x, k=k: x[k], taus)
            state, _, trace = made.learn(state, tau, context())
            traces.append(trace)
        trace = jax.tree.map(lambda *x: jnp.stack(x), *traces)
        ended.append((before, state, jit(made.outer)((), before, state, taus, trace).state))
    (start, edge, edge_after), (_, plain, plain_after) = ended
    assert_same(edge.gates, plain.gates)
    assert_same((edge.moving.nu, edge.baseline), (plain.nu, plain.baseline))
    assert_close(edge_after.baseline, plain_after.baseline)
    assert not is_same(edge.gates, start.gates)


def test_relabelling_agents_permutes_the_estimate() -> None:
    """Decisions, probabilities, observations: whatever has an agent's number goes along, and f with it."""
    made = rule()
    state = jit(made.init)(jax.random.key(0))
    state = state.replace(eta=scattered(state.eta, 2))
    tau = made_up_trajectory(1, STEPS, 3, 3)
    told, _ = made.told(state.gates, state.baseline, tau, tau.reward, made.situation(context()))
    order = np.array([2, 0, 1])

    def square(edges):
        return np.asarray(fill_diagonal(edges))

    def relabelled(edges):
        return drop_diagonal(jnp.asarray(square(edges)[..., order, :][..., order]))

    # Gates that open by what they see, whoever they are: only their outputs go by number.
    logits = made.logits(state.gates, tau.observation[:-1])

    class Relabelled(EdgeMeta):
        def logits(self, gates, observation):
            return relabelled(logits)

    other = Relabelled(made.experiment, made.sizes)
    swapped = tau.replace(gates=tau.gates.replace(decision=relabelled(tau.gates.decision)))
    again, _ = other.told(
        state.gates, state.baseline, swapped, tau.reward, made.situation(context())
    )
    f, memory = made.correction(state.eta, state.moving.memory, tau, told)
    g, same = made.correction(state.eta, state.moving.memory, swapped, again)
    np.testing.assert_allclose(square(g), square(f)[:, order][:, :, order], atol=1e-6)
    assert_close(memory, same)
    assert np.std(f) > 1e-3


def test_shuffling_f_over_edges_changes_the_estimate_by_f_alone() -> None:
    made = rule()
    state = jit(made.init)(jax.random.key(0))
    tau = made_up_trajectory(1, STEPS, 3, 3)
    told, _ = made.told(state.gates, state.baseline, tau, tau.reward, made.situation(context()))
    f = jax.random.normal(jax.random.key(1), tau.gates.decision.shape)
    shuffled = jax.random.permutation(jax.random.key(2), f, axis=-1)
    weight = told.advantage[:, None, None]
    asked, other, apart = (
        made.score_gradient(state.gates, tau, w)
        for w in (weight + f, weight + shuffled, f - shuffled)
    )
    assert_close(jax.tree.map(jnp.subtract, asked, other), apart, atol=1e-5)
    assert not is_zero(apart)
