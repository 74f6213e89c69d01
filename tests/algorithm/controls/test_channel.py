"""Controls take away what they say they take away, and nothing else."""

from __future__ import annotations

import functools
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import NOTHING, Algorithm, algorithm, jit, small

from purejax_mgtopo.algorithm.controls.channel import CONTROLS
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Mode, Streams
from purejax_mgtopo.config import Experiment
from purejax_mgtopo.errors import ConfigError

AGENTS, BATCH = 3, 5
CONTENT = ("own", "shuffled", "constant")
INTERPRETERS = (
    "lstm",
    "commnet",
    *(pytest.param(m, marks=pytest.mark.slow) for m in ("tarmac", "gat")),
)


@functools.cache
def made(channel: str, messages: str, topology: str = "full", **changes: Any) -> Any:
    return algorithm(f"{topology}+{messages}", "navigation_N3_l3", channel=channel, **changes)


def parameters(team: Any) -> Any:
    """Fresh ones, but for biases, which are zero at first."""
    return jax.tree.map(lambda x: x + 0.05, team.init(jax.random.key(3)))


def acting(channel: str, messages: str, observation: Any, topology: str = "full", **changes: Any):
    """Actions and open edges in a batch of observations, at an episode's start, always by the same parameters."""
    team = made(channel, messages, topology, **changes).team
    policy = parameters(team)
    keys = Both(*jax.random.split(jax.random.key(4)))
    own = team.parts.acting(team.parts.init(keys))
    batch = observation.shape[:-2]
    carry = team.initial_carry(batch)
    tape = team.parts.tape(keys, batch)

    @jit
    def step(policy, own, observation, carry, tape):
        step, after = team.step(policy, own, observation, carry, tape, Mode.EVAL_SAMPLED)
        return step.action, step.open_edges, step.gates.decision, after

    return step(policy, own, observation, carry, tape)


def observations(seed: int = 0) -> Any:
    return jax.random.normal(jax.random.key(seed), (BATCH, AGENTS, 14))


@pytest.mark.parametrize("messages", INTERPRETERS)
@pytest.mark.parametrize("channel", CONTENT)
def test_nothing_of_the_other_agents_reaches_a_receiver(channel: str, messages: str) -> None:
    seen = observations()
    other = seen.at[2, 1].add(1.0)  # agent 1 in situation 2
    before, *_ = acting(channel, messages, seen)
    after, *_ = acting(channel, messages, other)
    moved = np.asarray(jnp.any(before != after, axis=-1))
    expected = np.zeros((BATCH, AGENTS), bool)
    expected[2, 1] = True  # itself
    if channel == "shuffled":
        expected[1, [0, 2]] = True  # who hears of situation 2 in another
    np.testing.assert_array_equal(moved, expected)
    clear, *_ = acting("clear", messages, seen)
    touched, *_ = acting("clear", messages, other)
    np.testing.assert_array_equal(
        np.any(np.asarray(clear != touched), axis=-1)[2], np.ones(AGENTS, bool)
    )


@pytest.mark.parametrize("messages", INTERPRETERS)
def test_own_is_a_team_of_equals(messages: str) -> None:
    """By the clear channel, where everybody is put in the receiver's place by hand."""
    seen = observations()
    own, *_ = acting("own", messages, seen, learner__share_parameters=True)
    for i in range(AGENTS):
        alike = jnp.broadcast_to(seen[:, i : i + 1], seen.shape)
        by_hand, *_ = acting("clear", messages, alike, learner__share_parameters=True)
        np.testing.assert_allclose(own[:, i], by_hand[:, i], rtol=2e-5, atol=1e-6)


def test_zeros_are_heard_over_the_constant_channel_not_silence() -> None:
    seen = observations()
    constant, edges, *_ = acting("constant", "lstm", seen)
    for i in range(AGENTS):
        nothing = jnp.zeros_like(seen).at[:, i].set(seen[:, i])
        by_hand, *_ = acting("clear", "lstm", nothing)
        np.testing.assert_allclose(constant[:, i], by_hand[:, i], rtol=2e-5, atol=1e-6)
    silent, *_ = acting("cut", "lstm", seen)
    assert np.all(np.any(np.asarray(constant != silent), axis=-1))
    np.testing.assert_array_equal(edges, 1.0)


@pytest.mark.parametrize("messages", INTERPRETERS)
def test_shuffled_hears_the_same_agents_in_the_next_situation(messages: str) -> None:
    seen = observations()
    shuffled, *_ = acting("shuffled", messages, seen)
    for i in range(AGENTS):
        mixed = jnp.concatenate([seen[1:], seen[-1:]]).at[:, i].set(seen[:, i])
        by_hand, *_ = acting("clear", messages, mixed)
        np.testing.assert_allclose(shuffled[:, i], by_hand[:, i], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("channel", ["own", "shuffled", "constant"])
def test_the_rules_edges_stay(channel: str) -> None:
    seen = observations()
    _, edges, decision, _ = acting(channel, "commnet", seen, "reinforce")
    _, clear, _, _ = acting("clear", "commnet", seen, "reinforce")
    np.testing.assert_array_equal(edges, decision)
    np.testing.assert_array_equal(edges, clear)
    assert 0 < np.mean(edges) < 1


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("messages", ["lstm", "commnet"])
@pytest.mark.parametrize(("channel", "like", "rate"), [("cut", "none", 0.0), ("open", "full", 1.0)])
def test_cut_is_silence_and_open_is_full(
    channel: str, like: str, rate: float, messages: str
) -> None:
    """The same parameters under a rule that decides so."""
    seen = observations()
    found, edges, decision, _ = acting(channel, messages, seen, "reinforce")
    np.testing.assert_array_equal(edges, rate)
    assert 0 < np.mean(decision) < 1
    team = made("clear", messages).team
    policy = parameters(team)
    gates = team.rule.gate((), _seen(team, seen), _moment(team))[0]
    assert np.all(np.asarray(gates.decision) == 1)
    fixed = gates.replace(decision=jnp.full_like(gates.decision, rate))
    by_hand = team.act(policy, Both(), _encoded(team, policy, seen), fixed)
    np.testing.assert_allclose(found, by_hand, rtol=2e-5, atol=1e-6)


def _moment(team: Any) -> Any:
    from purejax_mgtopo.algorithm.part import Moment

    return Moment((), jnp.zeros((BATCH, 0)), Mode.EVAL_SAMPLED)


def _seen(team: Any, observation: Any) -> Any:
    return _encoded(team, parameters(team), observation)


def _encoded(team: Any, policy: Any, observation: Any) -> Any:
    encoded = team.interpreter.encode(policy.interpreter, (), observation, _moment(team))
    return team._seen(observation, encoded, team.initial_carry())


def test_random_delivers_as_much_over_edges_that_the_rule_did_not_choose() -> None:
    seen = jnp.broadcast_to(observations()[0], (4000, AGENTS, 14))
    _, edges, decision, _ = acting("random", "lstm", seen, "reinforce")
    edges, decision = np.asarray(edges), np.asarray(decision)
    share = decision.mean(axis=(1, 2))
    deviation = np.sqrt(np.mean(share * (1 - share)) / edges.size)
    assert abs(edges.mean() - share.mean()) < 4 * deviation
    # Given how many are open, which ones are open is chance: within steps of one rate, no correlation.
    half = share == 0.5
    mine, rules = edges[half].reshape(-1), decision[half].reshape(-1)
    assert len(mine) > 1000
    assert abs(np.corrcoef(mine, rules)[0, 1]) < 4 / np.sqrt(len(mine))
    np.testing.assert_array_equal(edges[share == 0], 0)


def test_no_rule_but_full_of_messages_is_changed_where_nobody_listens() -> None:
    seen = observations()
    silent, *_ = acting("clear", "lstm", seen, "none")
    for channel in CONTROLS:
        heard, edges, *_ = acting(channel, "lstm", seen, "none")
        np.testing.assert_array_equal(edges, channel == "open")
        if channel != "open":
            np.testing.assert_array_equal(heard, silent)


def test_over_an_open_channel_that_takes_a_step_the_first_step_is_silent() -> None:
    seen = observations()
    first, _, _, carry = acting("open", "lstm", seen, "reinforce", message__latency=1)
    silent, *_ = acting("cut", "lstm", seen, "reinforce", message__latency=1)
    np.testing.assert_array_equal(first, silent)


def test_the_other_episode_is_played_beside_the_first() -> None:
    """Its start has a key of its own, and the first is the one that the clear channel plays."""
    mixed, clear = made("shuffled", "lstm"), made("clear", "lstm")
    policy = parameters(mixed.team)
    keys = Streams.split(jax.random.key(9))

    def play(who: Algorithm) -> Any:
        run = jit(lambda k: rollout(who.env, who.team, policy, Both(), k, Mode.EVAL_SAMPLED))
        return run(keys)

    played, usual = play(mixed), play(clear)
    assert jax.tree.map(jnp.shape, played) == jax.tree.map(jnp.shape, usual)
    np.testing.assert_array_equal(played.observation[0], usual.observation[0])
    np.testing.assert_array_equal(played.fixed, usual.fixed)
    start = clear.env.reset(jax.random.split(keys.beside, 1)[0])[1].observation.agents_view
    assert np.any(np.asarray(start != usual.observation[0]))
    both = jnp.stack([usual.observation[0], start])
    expected, *_ = acting("shuffled", "lstm", both)
    np.testing.assert_allclose(played.action[0], expected[0], rtol=2e-5, atol=1e-6)
    assert np.any(np.asarray(played.action[0] != usual.action[0]))


def test_gradients_reach_no_sender_over_a_channel_without_its_content() -> None:
    """But over the clear one they do, and over one's own they reach oneself."""
    seen = observations()

    def slope(channel: str) -> Any:
        team = made(channel, "commnet").team
        policy = parameters(team)
        tape = team.parts.tape(Both(jax.random.key(1), jax.random.key(2)), (BATCH,))
        carry = team.initial_carry((BATCH,))

        def action(seen: Any) -> Any:
            step, _ = team.step(policy, Both(), seen, carry, tape, Mode.REPLAY)
            return jnp.sum(step.action[:, 0])

        return np.abs(np.asarray(jit(jax.grad(action))(seen))).sum(axis=-1)

    assert np.all(slope("clear") > 0)
    for channel in CONTENT:
        found = slope(channel)
        assert np.all(found[:, 0] > 0)
        np.testing.assert_array_equal(found[:, 1:], 0)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("channel", ["shuffled", "random"])
def test_the_whole_loop_learns_over_it_and_records_what_was_delivered(channel: str) -> None:
    made = algorithm("reinforce", channel=channel)
    state = jit(made.init)(jax.random.key(0))
    after, measures, _ = jit(lambda s: made.iterate(s, made.start_clock(), NOTHING))(state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(measures))
    assert not any(np.isnan(x).any() for x in jax.tree.leaves(after.learner))
    edges = after.trajectory.open_edges
    recorded = after.trajectory.gates.decision
    assert edges.shape == recorded.shape
    assert np.all(np.asarray(edges) == np.asarray(recorded)) == (channel == "shuffled")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["meta", "stgs", "ic3net", "magic", "tarmac", "meta_commnet"])
@pytest.mark.parametrize("channel", CONTROLS)
def test_every_method_learns_over_every_channel(method: str, channel: str) -> None:
    made = algorithm(method, channel=channel)
    state = jit(made.init)(jax.random.key(0))
    after, measures, _ = jit(lambda s: made.iterate(s, made.start_clock(), NOTHING))(state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((measures, after.learner)))


def test_a_controlled_run_is_called_so() -> None:
    assert small("commnet").method == "commnet"
    assert small("commnet", channel="shuffled").method == "commnet (shuffled)"
    with pytest.raises(ConfigError, match="channel must be one of 'clear', 'own'"):
        small("full", channel="loud")
    offered = get_args(get_type_hints(Experiment)["channel"])
    assert offered == ("clear", *CONTROLS)


def test_nothing_stands_before_the_interpreter_without_need() -> None:
    team = made("clear", "lstm", "reinforce").team
    assert type(team.interpreter).__name__ == "ObservationLSTM"
    assert made("shuffled", "lstm", "none").team.interpreter.beside == 0
