"""How RIAL chooses symbols and learns what they are worth."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import algorithm, context, jit, made_up_trajectory, scattered, sizes, small
from oracles import learning
from scipy.stats import binomtest

from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.messages.rial import Rial
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Gates, Mode, Seen, Streams
from purejax_mgtopo.methods import MESSAGES
from purejax_mgtopo.plugins.registry import register_interpreter

AGENTS, WIDTH, SYMBOLS = 3, 4, 4
RUNS = Path(__file__).parents[3] / "runs"


def rial(**changes):
    changes = {"message__latency": 1, "learner__share_parameters": True, **changes}
    net = Rial(small("rial", **changes), sizes(AGENTS, WIDTH))
    params = scattered(jit(net.init_params)(jax.random.key(0)), 1)
    state = jit(net.init)(jax.random.key(2))
    return (
        net,
        params,
        state.replace(values=scattered(state.values, 3), target=scattered(state.target, 4)),
    )


def drawn():
    """What agents see, and who hears whom: a mask, and gates."""
    rng = np.random.default_rng(3)
    observation = jnp.asarray(rng.normal(size=(AGENTS, WIDTH)), jnp.float32)
    mask = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float32)
    edges = drop_diagonal(jnp.asarray(mask))
    return observation, mask, Gates(edges, edges)


def sight_of(net, params, observation, arrived, moment, acting):
    encoded = net.encode(params, acting, observation, moment)
    near = jnp.zeros((AGENTS, AGENTS))
    return Seen(observation, encoded.feature, encoded.message, arrived, near)


@pytest.mark.parametrize("mode", Mode)
def test_symbols_are_the_best_or_in_play_any_as_often_as_it_is_set(mode):
    net, params, state = rial(member__rial__epsilon=0.3)
    observation, hears, gates = drawn()
    draws = 4000
    numbers = jax.random.uniform(jax.random.key(5), (draws, *net.tape_shape))
    last = jnp.tile(jnp.array([-1, 0, 2], jnp.int32), (draws, 1))
    arrived = jax.nn.one_hot(jnp.tile(jnp.array([3, 1, 0]), (draws, 1)), SYMBOLS)
    wide = jnp.broadcast_to(observation, (draws, AGENTS, WIDTH))
    gates = jax.tree.map(lambda x: jnp.broadcast_to(x, (draws, *x.shape)), gates)
    now = Moment(last, numbers, mode)
    seen = sight_of(net, params, wide, arrived, now, state.values)
    heard = net.hear(params, state.values, seen, gates, now)
    best = []
    for i in range(AGENTS):
        slots = hears[i][:, None] * np.asarray(arrived[0])
        own = np.zeros(SYMBOLS)
        if last[0, i] >= 0:
            own[last[0, i]] = 1
        known = np.concatenate([np.asarray(observation[i]), slots.ravel(), own])
        q = learning.mlp(jax.tree.map(np.asarray, state.values)["params"], known)
        best.append(int(np.argmax(q)))
        said = np.asarray(heard.carry[:, i])
        if mode is Mode.ROLLOUT:
            hits = int(np.sum(said == best[-1]))
            assert binomtest(hits, draws, 0.7 + 0.3 / SYMBOLS).pvalue > 1e-3
            assert set(np.unique(said)) == set(range(SYMBOLS))
        else:
            assert np.all(said == best[-1])
    np.testing.assert_array_equal(heard.message, jax.nn.one_hot(heard.carry, SYMBOLS))


@pytest.mark.parametrize("latency", [0, 1])
def test_symbols_learn_by_td_on_what_was_known_and_said(latency):
    """One RMSprop step by hand, by central differences, where the memory holds one episode: the target counts the
    rewards up to the step in which a symbol is heard."""
    with jax.enable_x64(True):
        net, params, state = rial(
            learner__batch_size=40, learner__discount=0.8, message__latency=latency
        )
        steps = 25
        tau = made_up_trajectory(6, steps, AGENTS, WIDTH)
        rng = np.random.default_rng(7)
        symbol = rng.integers(0, SYMBOLS, (steps, AGENTS))
        sent = np.eye(SYMBOLS)[symbol]
        tau = tau.replace(
            message=jnp.asarray(sent),
            sent=jnp.asarray(sent),
            kept=Both((), jnp.asarray(symbol, jnp.int8)),
        )
        now = context()
        seen = Seen(tau.observation[:-1], tau.observation[:-1], tau.message, tau.message, ())
        now = now.__class__(**{**vars(now), "seen": lambda _: seen, "key": jax.random.key(8)})
        learned = net.learn(state, tau, now)
        numbers = np.asarray(jax.random.uniform(jax.random.key(8), (80,))).reshape(2, 40)
        when = (numbers[1] * steps).astype(int)
        assert {0, steps - 1} <= set(when)

        def known(t, i):
            own, slots = np.zeros(SYMBOLS), np.zeros((AGENTS, SYMBOLS))
            if t > 0:
                own[symbol[t - 1, i]] = 1
                edges = iter(np.asarray(tau.gates.decision[min(t, steps - 1), i]))
                for j in range(AGENTS):
                    if j != i and latency:
                        slots[j] = next(edges) * sent[t - 1, j]
            return np.concatenate([np.asarray(tau.observation[t, i]), slots.ravel(), own])

        target = jax.tree.map(np.asarray, state.target)["params"]

        def loss(values):
            total = 0.0
            for t in when:
                for i in range(AGENTS):
                    later = min(t + 1 + latency, steps)
                    after = learning.mlp(target, known(later, i)).max()
                    paid = [0.8**k * float(r) for k, r in enumerate(tau.reward[t:later])]
                    aim = sum(paid) + 0.8 ** (later - t) * after
                    total += (learning.mlp(values["params"], known(t, i))[symbol[t, i]] - aim) ** 2
            return total / len(when)

        host = jax.tree.map(np.array, state.values)
        np.testing.assert_allclose(learned.measures["symbol_loss"], loss(host), rtol=1e-6)
        bias = host["params"]["Dense_2"]["bias"]
        slope = np.zeros(SYMBOLS)
        for k in range(SYMBOLS):
            ends = []
            for step in (1e-6, -1e-6):
                bias[k] += step
                ends.append(loss(host))
                bias[k] -= step
            slope[k] = (ends[0] - ends[1]) / 2e-6
        expected = bias - 5e-4 * slope / np.sqrt(0.1 * slope**2 + 1e-8)
        found = learned.state.values["params"]["Dense_2"]["bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        follow = 0.99 * target["Dense_2"]["bias"] + 0.01 * expected
        np.testing.assert_allclose(learned.state.target["params"]["Dense_2"]["bias"], follow)


def remembering(net, state, episode, symbol=0, paid=0.0):
    """One update after an episode in which all said `symbol` and every step was paid so."""
    tau = made_up_trajectory(episode, 25, AGENTS, WIDTH)
    symbol = jnp.full((25, AGENTS), symbol, jnp.int8)
    sent = jax.nn.one_hot(symbol, SYMBOLS)
    reward = jnp.full_like(tau.reward, paid)
    tau = tau.replace(sent=sent, message=sent, kept=Both((), symbol), reward=reward)
    seen = Seen(tau.observation[:-1], tau.observation[:-1], sent, sent, ())
    now = context()
    # Warm-up episodes lie in the replay, and not here.
    clock = now.clock.replace(episode=jnp.asarray(episode), stored=jnp.asarray(episode + 1))
    return net.learn(state, tau, replace(now, seen=lambda _: seen, clock=clock))


def test_the_memory_of_symbols_is_a_ring_of_whole_episodes():
    net, params, state = rial(member__rial__memory_episodes=2)
    for episode in range(3):
        state = remembering(net, state, episode, symbol=episode).state
    assert np.asarray(state.symbol)[:, 0, 0].tolist() == [2, 1]


def test_symbols_are_learned_from_the_newest_episode_too():
    net, params, state = rial(member__rial__memory_episodes=3)
    state = remembering(net, state, 0).state
    losses = [remembering(net, state, 1, paid=paid).measures["symbol_loss"] for paid in (0.0, 5.0)]
    assert losses[0] != losses[1]


@pytest.fixture
def halves(monkeypatch):
    """The plug-ins beside the riddle's recipe, known for the length of a test."""
    monkeypatch.syspath_prepend(RUNS / "toy_switch_riddle")
    before = dict(MESSAGES)
    yield importlib.import_module("halves")
    del sys.modules["halves"]
    for name in set(MESSAGES) - set(before):
        del MESSAGES[name]


def test_the_two_given_halves_of_the_riddle_are_together_its_best_strategy(halves):
    """1 - 3 (2/3)^6 + 3 (1/3)^6, whatever networks say; either alone is lost with networks that know nothing."""

    def riddles(kind):
        register_interpreter(kind.__name__, kind)
        changes = {"message__latency": 1, "member__rial__symbols": 2}
        made = algorithm(f"right+{kind.__name__}", "toy_switch_riddle", **changes)
        policy = jit(made.team.init)(jax.random.key(0))
        values = made.team.interpreter.acting(jit(made.team.interpreter.init)(jax.random.key(1)))

        def episode(key):
            keys, acting = Streams.split(key), Both((), values)
            return rollout(made.env, made.team, policy, acting, keys, Mode.EVAL_SAMPLED, 0.0).reward

        rewards = jit(jax.vmap(episode))(jax.random.split(jax.random.key(3), 1500))
        return float(jnp.sum(rewards, axis=1).mean()) / 4

    together = type("GivenBoth", (halves.GivenDeeds, halves.GivenWords), {})
    assert riddles(together) == pytest.approx(0.741, abs=0.02)
    assert riddles(halves.GivenDeeds) < 0 and riddles(halves.GivenWords) < 0
