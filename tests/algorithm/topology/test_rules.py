"""How each rule's gates move: which way, how far, and by which data."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    LEARNED,
    RULES,
    assert_close,
    assert_same,
    inner_steps,
    is_same,
    jit,
    learn,
    made_up_trajectory,
    make_rule,
    outer,
    scattered,
    sight,
    sizes,
    small,
)
from oracles import learning

from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.topology.meta import MetaGradient
from purejax_mgtopo.algorithm.topology.reinforce import Reinforce
from purejax_mgtopo.algorithm.types import Mode

AGENTS, WIDTH, STEPS = 2, 3, 5


def by_agent(tree):
    return [jax.tree.map(lambda x, i=i: np.asarray(x[i]), tree)["params"] for i in range(AGENTS)]


PRICED = {"gates__learning_rate": 0.05, "gates__edge_cost": 0.1}


def reinforce(**changes):
    rule = Reinforce(small("reinforce", **PRICED, **changes), sizes(AGENTS, WIDTH))
    state = jit(rule.init)(jax.random.key(0))
    return rule, state.replace(gates=scattered(state.gates, 1), nu=scattered(state.nu, 2, 0.0))


@pytest.mark.parametrize("bonus", [0.0, 0.7])
def test_reinforce_equals_the_score_function_gradient_by_hand(bonus):
    """Eq. 4: wrong sign, a sum for a mean, the price of edges forgotten or added, a bonus for what is certain."""
    rule, state = reinforce(baseline__normalise=False, gates__entropy=bonus)
    tau = made_up_trajectory(3, STEPS)
    new, *_ = jit(partial(learn, rule))(state, tau, state.gates)
    priced = np.asarray(tau.reward) - 0.1 * np.asarray(tau.gates.decision).sum((1, 2))
    joined = np.asarray(tau.observation).reshape(STEPS + 1, -1)
    values = learning.mlp(state.baseline.params["params"], joined)[:, 0]
    advantage = learning.n_step_return(priced, values, 0.95, 25) - values[:-1]
    weight = np.repeat(advantage[:, None], AGENTS * (AGENTS - 1), axis=1)
    data = {"observation": np.asarray(tau.observation), "decision": np.asarray(tau.gates.decision)}
    slopes = learning.score_gradient(by_agent(state.gates), weight, data, bonus)
    gates, nu = learning.rmsprop(by_agent(state.gates), by_agent(state.nu), slopes, 0.05, 0.9, 1e-8)
    assert_close(by_agent(new.nu), nu, rtol=1e-3)
    assert_close(by_agent(new.gates), gates, rtol=1e-3, atol=1e-4)


def test_the_advantage_in_place_of_etas_output_gives_reinforce():
    """The two rules may differ in nothing but where the weight comes from."""
    with jax.enable_x64(True):
        rule, state = reinforce()
        meta = MetaGradient(small("meta", **PRICED), sizes(AGENTS, WIDTH))
        meta_state = jit(meta.init)(jax.random.key(5)).replace(gates=state.gates, nu=state.nu)
        tau = made_up_trajectory(3, STEPS)

        def advantage(eta, gates, trajectory, states):
            reward = meta.priced_reward(trajectory)
            shared, _ = meta.baseline.advantage(state.baseline, trajectory, reward)
            return jnp.broadcast_to(shared[:, None, None], trajectory.gates.decision.shape)

        meta.advantage = advantage
        one, *_ = jit(partial(learn, rule))(state, tau, state.gates)
        other, *_ = jit(partial(learn, meta))(meta_state, tau, state.gates)
        assert not is_same(one.gates, state.gates)
        assert_close((one.gates, one.nu), (other.gates, other.nu), rtol=1e-10, atol=1e-12)


def test_reinforce_opens_the_edge_that_pays_and_closes_the_one_that_costs():
    """Two arms: agent 0's edge earns a reward, agent 1's loses one."""
    rule, state = reinforce()
    observation = jnp.ones((STEPS * 5 + 1, AGENTS, WIDTH))
    seen = observation[:-1]

    def update(state, key):
        tape = jax.random.uniform(key, (STEPS * 5, *rule.tape_shape))
        gates, _ = rule.gate(state.gates, sight(seen), Moment((), tape, Mode.ROLLOUT))
        reward = gates.decision[:, 0, 0] - gates.decision[:, 1, 0]
        tau = made_up_trajectory(0, STEPS * 5).replace(
            observation=observation, reward=reward, gates=gates
        )
        after, *_ = learn(rule, state, tau, state.gates)
        return after, gates.probability[0, :, 0]

    _, probability = jit(lambda s, keys: jax.lax.scan(update, s, keys))(
        state, jax.random.split(jax.random.key(1), 60)
    )
    assert probability[-1, 0] > 0.8 > probability[0, 0]
    assert probability[-1, 1] < 0.2 < probability[0, 1]


def biased(gates, logit):
    """Gates that are almost sure of their choice."""
    params = jax.tree.map(jnp.asarray, gates)
    bias = params["params"]["Dense_2"]["bias"]
    params["params"]["Dense_2"]["bias"] = jnp.full_like(bias, logit)
    return params


def test_the_entropy_term_alone_raises_entropy():
    """The wrong sign of beta, or of eta's ascent; rewards and values are zero, hence advantages."""
    config = small("meta", gates__learning_rate=1.0, meta__learning_rate=2e-2, meta__entropy=1.0)
    rule = MetaGradient(config, sizes(AGENTS, WIDTH))
    start = jit(rule.init)(jax.random.key(0))
    baseline = start.baseline.replace(params=jax.tree.map(jnp.zeros_like, start.baseline.params))
    nu = jax.tree.map(jnp.ones_like, start.gates)  # so that steps grow with what eta says
    start = start.replace(gates=biased(start.gates, 2.5), nu=nu, baseline=baseline)
    taus = made_up_trajectory(1, 8, AGENTS, WIDTH, lead=(3,))
    taus = taus.replace(reward=jnp.zeros_like(taus.reward))
    first, second, _ = (jax.tree.map(lambda x, k=k: x[k], taus) for k in range(3))

    def iteration(eta, _):
        """From the same gates every time, so that only eta makes the difference."""
        begin = start.replace(eta=eta[0], eta_optimizer=eta[1])
        state, _, one = learn(rule, begin, first, start.gates)
        state, _, two = learn(rule, state, second, start.gates)
        steps = jax.tree.map(lambda *x: jnp.stack(x), one, two)
        after, *_ = outer(rule, begin, state, taus, steps)
        return (after.eta, after.eta_optimizer), rule.mean_entropy(state.gates, first)

    eta = start.eta, start.eta_optimizer
    _, entropy = jit(lambda eta: jax.lax.scan(iteration, eta, None, length=60))(eta)
    assert entropy[0] < 0.8
    assert entropy[-1] > 1.2, entropy[::6]


def test_reinforces_own_entropy_bonus_raises_entropy():
    rule, state = reinforce(gates__entropy=1.0)
    baseline = state.baseline.replace(params=jax.tree.map(jnp.zeros_like, state.baseline.params))
    state = state.replace(gates=biased(state.gates, 2.5), baseline=baseline)
    tau = made_up_trajectory(1, STEPS)
    tau = tau.replace(reward=0.1 * jnp.sum(tau.gates.decision, axis=(1, 2)))  # pays for its price
    after, *_ = jit(partial(learn, rule))(state, tau, state.gates)
    assert rule.mean_entropy(after.gates, tau) > rule.mean_entropy(state.gates, tau)


def test_straight_through_steps_down_the_policy_loss():
    rule = make_rule(small("stgs"), AGENTS, WIDTH)
    state = jit(rule.init)(jax.random.key(0))
    gradient = scattered(state.gates, 2)
    after, *_ = jit(partial(learn, rule))(state, made_up_trajectory(0), gradient)
    expected = jax.tree.map(
        lambda p, g: p - 1e-3 * g / np.sqrt(0.1 * g**2 + 1e-8), state.gates, gradient
    )
    assert_close(after.gates, expected, rtol=1e-4)


@pytest.mark.parametrize("method", RULES)
def test_only_straight_through_looks_at_the_policy_gradient(method):
    rule = make_rule(small(method), AGENTS, WIDTH)
    state = jit(rule.init)(jax.random.key(0))
    tau, update, acting = made_up_trajectory(0), jit(partial(learn, rule)), rule.acting(state)
    one, *_ = update(state, tau, jax.tree.map(jnp.zeros_like, acting))
    other, *_ = update(state, tau, jax.tree.map(jnp.ones_like, acting))
    if method == "stgs":
        assert is_same(one.gates, state.gates)
        assert not is_same(other.gates, one.gates)
    else:
        assert_same(one, other)
    assert is_same(rule.acting(one), acting) == (method not in LEARNED or method == "stgs")


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("method", ["reinforce", "meta"])
def test_an_outer_update_learns_from_the_trajectories_after_the_first(method):
    """Lines 12 and 13: phi on tau(1..K) in order, then A by the new phi, then eta uphill, clipped."""
    changes = {"meta__gradient_clip": 1e-3, "meta__learning_rate": 0.01}
    rule = make_rule(small(method, **PRICED, **changes), AGENTS, WIDTH)
    state = jit(rule.init)(jax.random.key(0))
    taus = made_up_trajectory(1, STEPS, lead=(3,))
    step = jax.tree.map(lambda x: 0.01 * jnp.ones_like(x), state.gates)
    after = state.replace(gates=jax.tree.map(jnp.add, state.gates, step))

    @jit
    def by_parts(taus):
        later = [jax.tree.map(lambda x, k=k: x[k], taus) for k in (1, 2)]
        baseline, advantages = state.baseline, []
        for tau in later:
            baseline, _ = rule.baseline.fit(baseline, tau, rule.priced_reward(tau))
        if method == "reinforce":
            return after.replace(baseline=baseline)
        for tau in later:
            shared, baseline = rule.baseline.advantage(baseline, tau, rule.priced_reward(tau))
            advantages.append(shared)
        gradient = jax.grad(rule.meta_objective)(
            state.eta, state.gates, state.nu, taus, jnp.stack(advantages)
        )
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient)))
        clipped = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1e-3 / norm), gradient)
        eta = jax.tree.map(
            lambda p, g: p + 0.01 * g / jnp.sqrt(0.1 * g**2 + 1e-8), state.eta, clipped
        )
        return after.replace(baseline=baseline, eta=eta)

    expected = by_parts(taus)
    steps = inner_steps(rule, state, taus)
    actual, *_ = jit(partial(outer, rule))(state, after, taus, steps)
    assert_close(actual.baseline.params, expected.baseline.params, atol=1e-6)
    assert_same(actual.gates, after.gates)
    if method == "meta":
        assert_close(actual.baseline.moments, expected.baseline.moments, rtol=1e-5)
        assert_close(actual.eta, expected.eta, rtol=1e-4, atol=1e-5)
        assert not is_same(actual.eta, state.eta)
