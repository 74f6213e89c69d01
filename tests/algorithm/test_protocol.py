"""The protocol of parts carries what is to come: each test puts a tiny part of a kind that is not there yet into the
tables, and the loop, the replay and a population work with it unchanged.
"""

from dataclasses import replace
from functools import partial
from typing import ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_cases import (
    NOTHING,
    assert_close,
    both,
    is_same,
    jit,
    play_keys,
    scattered,
    size,
    small,
)

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.messages.lstm import ObservationLSTM
from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter, Learned, Rule
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Gates, Mode
from purejax_mgtopo.methods import AxisEntry

TASK, AGENTS, STEPS, SYMBOLS = "toy_follow_holder", 3, 25, 5
SILENT = -1  # before anything was said


@flax.struct.dataclass
class TalkerState:
    head: jax.Array
    target: jax.Array
    optimizer: tuple
    said: jax.Array


class Talker(Interpreter):
    """Draws a whole number, remembers it for the next step, and learns what numbers are worth by a loss of its own.
    Half of its message passes on what it has just heard."""

    measures: ClassVar[tuple[str, ...]] = ("symbol_loss",)
    weight = 0.1

    def __init__(self, experiment, sizes, edges):
        super().__init__(experiment, sizes, edges)
        self.feature_size, self.message_size, self.memory = 2, 4, 2 * self.latency
        self.tape_shape = (sizes.agents,)
        self._adam = optax.adam(0.1)

    def init(self, key):
        head = 0.5 * jax.random.normal(key, (SYMBOLS, 2))
        return TalkerState(head, head, self._adam.init(head), jnp.zeros(SYMBOLS, int))

    def acting(self, state):
        return state.head

    def init_params(self, key):
        return jax.random.normal(key, (self.sizes.observation, 2))

    def initial_carry(self, batch):
        return jnp.full((*batch, self.sizes.agents), SILENT, jnp.int32)

    def kept(self, carry):
        return carry.astype(jnp.int8)

    def recalled(self, carry, kept):
        return kept.astype(carry.dtype)

    def encode(self, params, acting, observation, moment):
        feature = jnp.tanh(observation @ params)
        message = jnp.concatenate([feature, jnp.zeros_like(feature)], axis=-1)
        return Encoded(feature, message, moment.carry)

    def hear(self, params, acting, seen, gates, moment):
        mask = fill_diagonal(gates.decision)
        words = jax.nn.one_hot(moment.carry, SYMBOLS) @ acting  # none for what is no number
        told = mask @ seen.delivered
        said = (moment.tape * SYMBOLS).astype(jnp.int32)
        passed_on = jnp.concatenate([seen.feature, told[..., :2]], axis=-1)
        return Heard(jnp.tanh(told), said, offset=mask @ words, message=passed_on)

    def penalty(self, acting, step, value):
        return self.weight * (jnp.sum(acting**2) + jnp.mean(step.seen.message**2))

    def learn(self, state, trajectory, context):
        said = trajectory.kept.interpreter

        def loss(head):
            worth = jnp.sum(head[said] + state.target[said], axis=(1, 2))
            return jnp.mean((worth - trajectory.reward[:, None]) ** 2)

        value, gradient = jax.value_and_grad(loss)(state.head)
        updates, optimizer = self._adam.update(gradient, state.optimizer)
        head = optax.apply_updates(state.head, updates)
        target = state.target + 0.1 * (head - state.target)
        counts = state.said + jnp.bincount(said.ravel(), length=SYMBOLS)
        return Learned(TalkerState(head, target, optimizer, counts), {"symbol_loss": value})


class Asker(Rule):
    """Asks the critic what messages are worth, and tells the interpreter who is in whose group."""

    measures: ClassVar[tuple[str, ...]] = ("gain", "progress", "nearness")

    def init(self, key):
        return jnp.zeros((self.sizes.agents, self.sizes.agents - 1))

    def acting(self, state):
        return state

    def gate(self, acting, seen, moment):
        probability = jax.nn.sigmoid(acting + 0 * seen.observation[..., : acting.shape[-1]])
        group = jnp.argmax(seen.near, axis=-1).astype(jnp.int32)  # that of the one farthest away
        return Gates(probability, jnp.ones_like(probability), group), moment.carry

    def learn(self, state, trajectory, context):
        seen, gates = context.seen(trajectory), trajectory.gates
        closed = replace(gates, decision=jnp.zeros_like(gates.decision))
        with_, without = (
            context.value(seen.observation, context.act(seen, chosen)) for chosen in (gates, closed)
        )
        told = {
            "gain": jnp.mean(with_ - without),
            "progress": context.progress,
            "nearness": jnp.mean(seen.near),
        }
        return Learned(state + jnp.mean(with_ - without), told)


class Grouped(ObservationLSTM):
    """Hears louder in a group of a higher number."""

    def hear(self, params, acting, seen, gates, moment):
        heard = super().hear(params, acting, seen, gates, moment)
        return heard._replace(z=heard.z * (1.0 + gates.aux[..., None]))


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """The parts of this file, in the tables."""
    for table, part in (
        (methods.TOPOLOGIES, Asker),
        (methods.MESSAGES, Talker),
        (methods.MESSAGES, Grouped),
    ):
        name = part.__name__.lower()
        entry = AxisEntry(name, "for a test", f"{__name__}:{part.__name__}")
        monkeypatch.setitem(table, name, entry)


def made_of(method, **changes):
    """An algorithm with one update an iteration, and a state to start from."""
    changes = {"updates_per_iteration": 1, "episodes": 4, **changes}
    made = Algorithm(small(method, TASK, **changes))
    return made, jit(made.init)(jax.random.key(0))


def talking(**changes):
    return made_of("full+talker", message__latency=1, **changes)


@pytest.mark.parametrize("n", [1, 4])
def test_symbols_come_back_from_the_replay_as_they_were_played(n):
    """An interpreter's own memory of whole numbers, stored and recalled: bit for bit, and nothing at a start."""
    # Without a future, what several steps' rewards add up to is the first.
    made, state = talking(learner__n_step=n, learner__discount=0.0)
    assert made.replay.memory == 2
    policy, own = scattered(state.learner.policy, 1), made.parts.acting(state.parts)
    keys = jax.random.split(jax.random.key(3), 3)

    def play(key):
        return rollout(made.env, made.team, policy, own, play_keys(key), Mode.ROLLOUT)

    taus = jit(jax.vmap(play))(keys)
    said = np.asarray(taus.kept.interpreter)
    assert said.dtype == np.int8 and set(np.unique(said)) == set(range(SYMBOLS))
    place = STEPS * np.arange(3)[:, None] + np.arange(STEPS)
    ring = made.replay.init()
    for e, tau in enumerate(jax.tree.map(lambda x, e=e: x[e], taus) for e in range(3)):
        ring = made.replay.add(
            ring, jnp.asarray(e), tau.replace(reward=jnp.asarray(place[e], float))
        )
    assert ring.kept.interpreter.dtype == jnp.int8
    window = jit(made.replay.sample)(ring, jnp.asarray(3), jax.random.key(4))
    episode, step = np.divmod(np.asarray(window.reward).astype(int), STEPS)
    when = step[:, None] + np.arange(-2, 2)
    if n > 1:
        ends = np.minimum(step + n, STEPS)
        when = np.concatenate([at[:, None] + np.arange(-2, 1) for at in (step, ends)], axis=1)
    np.testing.assert_array_equal(window.begins, when <= 0)
    recalled = np.asarray(window.kept.interpreter)
    inside = when > 0
    np.testing.assert_array_equal(
        recalled[inside], said[episode[:, None], np.maximum(when - 1, 0)][inside]
    )
    # The team acts in the window as it did in the episode, though what it hears came two steps' way.
    recall = jit(partial(made.maddpg._recall, mode=Mode.REPLAY, part=window.before))
    done = recall(policy, own, window, keys=both(jax.random.key(5)))
    np.testing.assert_allclose(done.action, window.action, rtol=0, atol=1e-4)
    begins = np.asarray(window.begins)[..., None] > 0
    for where, matters in ((begins, False), (~begins, True)):
        kept = Both((), jnp.where(where, (window.kept.interpreter + 1) % SYMBOLS, recalled))
        other = recall(policy, own, window.replace(kept=kept), keys=both(jax.random.key(5)))
        assert is_same(other.action, done.action) == (not matters)


def test_a_message_may_depend_on_what_was_heard():
    """What an agent saw reaches others' actions after two steps, over somebody in between; parts are told so."""
    made, state = talking()
    policy, own = state.learner.policy, made.parts.acting(state.parts)
    numbers = made.parts.tape(both(jax.random.key(1)), (3,))
    observation = jax.random.normal(jax.random.key(2), (3, AGENTS, made.env.observation_size))

    def actions(observation):
        carry, steps = made.team.initial_carry(), []
        for t in range(3):
            tape = jax.tree.map(lambda x, t=t: x[t], numbers)
            step, carry = made.team.step(policy, own, observation[t], carry, tape, Mode.ROLLOUT)
            steps.append(step.action)
        return jnp.stack(steps)

    slopes = np.abs(np.asarray(jit(jax.jacrev(actions))(observation))).sum((2, 5))
    assert np.all(slopes[2, :, 0] > 0)  # to oneself as well: others pass it on
    np.testing.assert_array_equal(slopes[1, :, 0] > 0, ~np.eye(AGENTS, dtype=bool))
    np.testing.assert_array_equal(slopes[0, :, 0] > 0, np.eye(AGENTS, dtype=bool))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("method", "latency"),
    [("full+talker", 1), ("meta", 0), ("meta", 1), ("stgs+commnet", 0), ("stgs+commnet", 1)],
)
def test_what_parts_are_told_of_a_trajectory_is_what_was_seen(method, latency):
    """What was delivered, not what was offered; and nothing at the start of an episode."""
    made, state = made_of(method, message__latency=latency)
    policy, own = scattered(state.learner.policy, 1), scattered(made.parts.acting(state.parts), 2)
    keys = play_keys(jax.random.key(3))
    tau = jit(lambda: rollout(made.env, made.team, policy, own, keys, Mode.ROLLOUT))()
    numbers = made.parts.tape(keys.playing, (STEPS,))

    def again(carry, inputs):
        step, carry = made.team.step(policy, own, *inputs[:1], carry, inputs[1], Mode.ROLLOUT)
        return carry, step

    inputs = (tau.observation[:-1], numbers)
    _, steps = jit(lambda: jax.lax.scan(again, made.team.initial_carry(), inputs))()
    assert_close(jit(made.team.seen)(tau), steps.seen, rtol=1e-5, atol=1e-6)
    if method != "full+talker":  # which remembers
        act = jit(partial(made.team.act, policy, own))
        assert_close(act(made.team.seen(tau), tau.gates), steps.action, rtol=1e-5, atol=1e-6)


def test_an_interpreter_learns_by_losses_of_its_own():
    """One with an optimiser and a target copy of its own, one that is a term of the policies' loss."""
    made, state = talking()
    part, before = made.team.interpreter, state.parts.interpreter
    after, measures, _ = jit(made.iterate)(state, made.start_clock(), NOTHING)
    expected = jit(lambda: part.learn(before, state.trajectory, None))()
    assert_close(after.parts.interpreter, expected.state, rtol=1e-5)
    np.testing.assert_allclose(measures["symbol_loss"], expected.measures["symbol_loss"], rtol=1e-5)
    assert int(jnp.sum(after.parts.interpreter.said)) == STEPS * AGENTS
    assert size(after.parts.interpreter.head - after.parts.interpreter.target) > 0
    # The loop's own target follows what the part acts with, at the learner's rate.
    head = after.parts.interpreter.head
    assert_close(after.target.acting.interpreter, before.head + 0.01 * (head - before.head))

    window = made.replay.sample(state.replay, jnp.asarray(2), jax.random.key(2))
    own, keys = made.parts.acting(state.parts), both(jax.random.key(3))

    def slopes(weight):
        part.weight = weight
        loss = jit(lambda *x: jax.grad(made.maddpg.policy_loss, (0, 1))(*x))
        return loss(state.learner.policy, own, state.learner.critic, window, keys)

    (policy, with_), (other_policy, without) = slopes(0.1), slopes(0.0)
    assert size(without.interpreter) > 0  # by way of the action's offset
    assert_close(
        with_.interpreter - without.interpreter, 0.2 * own.interpreter, rtol=1e-3, atol=1e-5
    )
    assert not is_same(policy.interpreter, other_policy.interpreter)
    assert_close(policy.head, other_policy.head, rtol=1e-4, atol=1e-6)


def asking(**changes):
    return made_of("asker+grouped", **changes)


def test_a_rule_asks_critic_and_policies_what_messages_are_worth():
    """The critic and policies of after their updates, over gates that were never played."""
    made, state = asking()
    policy, critic = scattered(state.learner.policy, 1), scattered(state.learner.critic, 2)
    state = state.replace(learner=state.learner.replace(policy=policy, critic=critic))
    after, measures, _ = jit(made.iterate)(state, made.start_clock(), NOTHING)
    tau, own = state.trajectory, made.parts.acting(state.parts)

    @jit
    def gain(learner):
        seen, worth = made.team.seen(tau), []
        for openness in (1.0, 0.0):
            gates = replace(tau.gates, decision=jnp.full_like(tau.gates.decision, openness))
            action = made.team.act(learner.policy, own, seen, gates)
            worth.append(made.maddpg.critic.value(learner.critic, seen.observation, action))
        return jnp.mean(worth[0] - worth[1])

    np.testing.assert_allclose(measures["gain"], gain(after.learner), rtol=1e-4, atol=1e-6)
    assert abs(float(measures["gain"] - gain(state.learner))) > 1e-5
    assert_close(after.parts.rule, state.parts.rule + measures["gain"])
    # Asking teaches the critic nothing.
    value = jit(jax.grad(lambda c: jnp.sum(made.maddpg.value(c, tau.observation[:-1], tau.action))))
    assert not any(np.any(x) for x in jax.tree.leaves(value(state.learner.critic)))


def test_a_rule_sees_how_far_training_is():
    made, state = asking()
    clock, seen, run = made.start_clock(), [], jit(made.iterate)
    for _ in range(4):
        state, measures, _ = run(state, clock, NOTHING)
        clock = clock.advanced(1)
        seen.append(float(measures["progress"]))
    assert seen == [0.0, 0.25, 0.5, 0.75]


def test_a_rule_sees_distances_and_hands_groups_to_the_interpreter():
    made, state = asking()
    tau = state.trajectory
    farthest = np.array([2, 0, 0])  # by number, as a toy has no places
    np.testing.assert_array_equal(tau.gates.aux, np.tile(farthest, (STEPS, 1)))
    assert tau.gates.aux.dtype == jnp.int32
    _, measures, _ = jit(made.iterate)(state, made.start_clock(), NOTHING)
    np.testing.assert_allclose(measures["nearness"], 8 / 9, rtol=1e-6)
    act = jit(partial(made.team.act, state.learner.policy, made.parts.acting(state.parts)))
    seen, groups = made.team.seen(tau), tau.gates.aux.at[:, 1].set(1)
    before, after = act(seen, tau.gates), act(seen, replace(tau.gates, aux=groups))
    np.testing.assert_array_equal(np.any(before != after, axis=(0, 2)), [False, True, False])
