"""DIAL's bits and RIAL's symbols: against loops over agents, and what may pass from agent to agent."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    both,
    is_same,
    is_zero,
    jit,
    play_keys,
    scattered,
    sizes,
    small,
    tape,
)
from oracles import learning
from scipy.stats import norm

from purejax_mgtopo.algorithm.messages.dial import Dial
from purejax_mgtopo.algorithm.messages.rial import Rial
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Gates, Mode, Seen

AGENTS, WIDTH, BITS, SYMBOLS = 3, 4, 2, 4
TASK = "toy_follow_holder"
TRAINING = (Mode.ROLLOUT, Mode.REPLAY, Mode.TARGET, Mode.IMAGINED)


def made(name, latency=1, shared=True, **changes):
    changes = {"message__latency": latency, "learner__share_parameters": shared, **changes}
    kind = {"dial": Dial, "rial": Rial}[name]
    net = kind(small(name, **changes), sizes(AGENTS, WIDTH))
    params = scattered(jit(net.init_params)(jax.random.key(0)), 1)
    return net, params


def dial(**changes):
    return made("dial", member__dial__bits=BITS, **changes)


def sight_of(net, params, observation, arrived, moment, acting=()):
    encoded = net.encode(params, acting, observation, moment)
    near = jnp.zeros((AGENTS, AGENTS))
    delivered = arrived if net.latency else encoded.message
    return Seen(observation, encoded.feature, encoded.message, delivered, near)


def drawn(seed=3):
    rng = np.random.default_rng(seed)
    observation = jnp.asarray(rng.normal(size=(AGENTS, WIDTH)), jnp.float32)
    own = jnp.asarray(rng.uniform(-1, 1, (AGENTS, BITS)), jnp.float32)
    arrived = jnp.asarray(rng.uniform(-1, 1, (AGENTS, BITS)), jnp.float32)
    numbers = jnp.asarray(rng.uniform(0.01, 0.99, (AGENTS, BITS)), jnp.float32)
    mask = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float32)
    edges = jnp.asarray(mask[~np.eye(AGENTS, dtype=bool)].reshape(AGENTS, AGENTS - 1))
    return observation, own, arrived, numbers, mask, Gates(edges, edges)


def dial_by_hand(params, i, observation, own, received, noise):
    layer = {name: p["params"] for name, p in params.items()}
    first = learning.dense(layer["encoder"], observation) + own @ layer["own"]["kernel"]
    if received is not None:
        first = first + received.reshape(-1) @ layer["slots"]["kernel"]
    hidden = np.maximum(learning.dense(layer["body"], np.tanh(first)), 0)
    odds = learning.dense(layer["speaker"], hidden)
    return hidden, odds, 2 * learning.sigmoid(odds + noise) - 1


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_dial_equals_the_definition_agent_by_agent(shared, latency):
    """Slots of the wrong sender, an own slot that is heard, noise of another size, a message of before hearing."""
    net, params = dial(shared=shared, latency=latency)
    host = jax.tree.map(np.asarray, params)
    each = [host if shared else jax.tree.map(lambda x, i=i: x[i], host) for i in range(AGENTS)]
    observation, own, arrived, numbers, mask, gates = drawn()
    noise = 2 * norm.ppf(np.asarray(numbers))
    for mode in Mode:
        now = Moment(own, numbers, mode)
        seen = sight_of(net, params, observation, arrived, now)
        heard = net.hear(params, (), seen, gates, now)
        unheard = [
            dial_by_hand(each[i], i, np.asarray(observation[i]), np.asarray(own[i]), None, noise[i])
            for i in range(AGENTS)
        ]
        offered = np.stack([m for _, _, m in unheard])
        if mode not in TRAINING:
            offered = np.where(np.stack([odds for _, odds, _ in unheard]) > 0, 1.0, -1.0)
        np.testing.assert_allclose(seen.message, offered, rtol=1e-4, atol=1e-5)
        came = np.asarray(arrived) if latency else offered
        for i in range(AGENTS):
            received = mask[i][:, None] * came
            hidden, odds, soft = dial_by_hand(
                each[i], i, np.asarray(observation[i]), np.asarray(own[i]), received, noise[i]
            )
            np.testing.assert_allclose(heard.z[i], hidden, rtol=1e-4, atol=1e-5)
            if latency:
                said = soft if mode in TRAINING else np.where(odds > 0, 1.0, -1.0)
                np.testing.assert_allclose(heard.message[i], said, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(heard.carry, heard.message if latency else seen.message)


def test_bits_are_hard_and_without_derivative_in_evaluation_and_soft_in_training():
    net, params = dial()
    observation, own, arrived, numbers, _, gates = drawn()

    def said(params, mode):
        now = Moment(own, numbers, mode)
        return net.hear(
            params, (), sight_of(net, params, observation, arrived, now), gates, now
        ).message

    for mode in Mode:
        message = np.asarray(said(params, mode))
        slope = jax.grad(lambda p, m=mode: jnp.sum(said(p, m)))(params)
        if mode in TRAINING:
            assert np.all(np.abs(message) < 1) and len(np.unique(message)) == AGENTS * BITS
            # d (2 sigma(l + n) - 1) / d bias = 2 sigma' (l + n), with 2 sigma - 1 = m.
            expected = ((1 - message**2) / 2).sum(0)
            np.testing.assert_allclose(slope["speaker"]["params"]["bias"], expected, rtol=1e-4)
        else:
            assert set(np.unique(message)) <= {-1.0, 1.0}
            assert is_zero(slope)


def team(method, **changes):
    algo = algorithm(method, TASK, **changes)
    policy = scattered(jit(algo.team.init)(jax.random.key(0)), 1, 0.2)
    acting = scattered(algo.parts.acting(jit(algo.parts.init)(both(jax.random.key(1)))), 2)
    return algo, policy, acting


def window_of(algo, tau, length):
    """Windows of a played episode that end at each of its steps, with what was kept."""
    steps = algo.env.horizon
    when = jnp.arange(steps)[:, None] + jnp.arange(1 - length, 1)
    kept = jax.tree.map(lambda x: x[jnp.maximum(when - 1, 0)], tau.kept)
    return tau.observation[jnp.maximum(when, 0)], (when <= 0).astype(float), kept


@pytest.mark.parametrize("latency", [0, 1])
@pytest.mark.parametrize(("name", "length"), [("dial", 5), ("rial", 1)])
def test_a_window_starts_from_what_was_sent(name, length, latency):
    """Without noise, a window of an episode acts as the episode did, and no other start would do."""
    changes = {"member__dial__noise": 0.0} if name == "dial" else {"member__rial__epsilon": 0.0}
    algo, policy, acting = team(name, message__latency=latency, **changes)
    assert algo.parts.memory == length - 1

    def run(policy, key):
        tau = rollout(algo.env, algo.team, policy, acting, play_keys(key), Mode.ROLLOUT)
        window, begins, kept = window_of(algo, tau, length)
        numbers = tape(algo, begins.shape, 0.5)
        recall = partial(algo.team.recall, policy, acting, window, begins)
        lost = jax.tree.map(lambda x: jnp.zeros_like(x) - (x.ndim < 4), kept)
        return tau, *(recall(k, numbers, Mode.REPLAY).action for k in (kept, lost))

    tau, recalled, forgotten = jit(run)(policy, jax.random.key(4))
    assert tau.kept.interpreter.dtype == jnp.int8
    np.testing.assert_allclose(recalled, tau.action, rtol=0, atol=5e-3)
    if name == "dial" or latency:
        apart = np.abs(np.asarray(forgotten - tau.action)).max((1, 2))
        assert np.all(apart[:length] < 1e-4) and apart[length:].max() > 1e-3


def two_steps(algo, mode):
    def act(policy, acting, first, second):
        numbers, carry = tape(algo, value=0.4), algo.team.initial_carry()
        _, carry = algo.team.step(policy, acting, first, carry, numbers, mode)
        step, _ = algo.team.step(policy, acting, second, carry, numbers, mode)
        return step.action

    return act


@pytest.mark.parametrize("name", ["dial", "rial"])
def test_only_dials_derivatives_pass_from_agent_to_agent(name):
    """Values do in both; derivatives of what was seen in the step before, in DIAL's training alone."""
    algo, policy, acting = team(name)
    rng = np.random.default_rng(5)
    shape = (2, AGENTS, algo.env.observation_size)
    first, second = jnp.asarray(rng.normal(size=shape), jnp.float32)
    for mode in (Mode.REPLAY, Mode.EVAL_GREEDY):
        act = two_steps(algo, mode)
        slope = jit(jax.jacrev(act, argnums=2))(policy, acting, first, second)
        passed = np.abs(np.asarray(slope)).sum((1, 3)) > 0
        expected = name == "dial" and mode is Mode.REPLAY
        assert passed.all() if expected else not passed.any()
        moved = [jit(act)(policy, acting, -k * first, second) for k in (1.0, 20.0)]
        assert not is_same(moved[0], moved[1])


def test_a_sender_learns_nothing_where_the_next_step_is_cut_off():
    """The gradient at the last step of a window reaches what was sent before it, over open edges alone."""
    algo, policy, acting = team("dial")
    rng = np.random.default_rng(5)
    window = jnp.asarray(rng.normal(size=(1, 5, AGENTS, algo.env.observation_size)), jnp.float32)
    kept = Both((), jnp.zeros((1, 5, AGENTS, 8), jnp.int8))

    def last(policy, begins):
        numbers = tape(algo, (1, 5), 0.4)
        step = algo.team.recall(policy, acting, window, begins, kept, numbers, Mode.REPLAY)
        return jnp.sum(step.action)

    slope = jit(jax.grad(last))
    whole = slope(policy, jnp.zeros((1, 5))).interpreter["speaker"]
    cut = slope(policy, jnp.zeros((1, 5)).at[0, 4].set(1.0)).interpreter["speaker"]
    assert not is_zero(whole) and is_zero(cut)
