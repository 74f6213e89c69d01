"""Algorithm 1 as a whole: reproducible, in the paper's order, for every rule and interpreter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    LEARNED,
    NOTHING,
    PLAYED,
    RULES,
    algorithm,
    assert_close,
    assert_same,
    inner_steps,
    is_same,
    jit,
    learn,
    outer,
    plain,
    play_keys,
)

from purejax_mgtopo.algorithm import algorithm as algorithm_module
from purejax_mgtopo.algorithm.part import Context
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import MEASURES, Both, Mode, Streams

K, HORIZON = 2, 25


@functools.cache
def two_iterations(method):
    """The warm-up and two iterations as one program: (start, first, second), measures."""
    made = algorithm(method)

    def run(key):
        start, clock = made.init(key), made.start_clock()

        def iterate(carry, _):
            state, clock = carry
            state, measures, _ = made.iterate(state, clock, NOTHING)
            return (state, clock.advanced(K)), (state, measures)

        _, (states, measures) = jax.lax.scan(iterate, (start, clock), None, length=2)
        first, second = (jax.tree.map(lambda x, i=i: x[i], states) for i in range(2))
        return (start, first, second), measures

    return made, jit(run)


@functools.cache
def outcome(method, seed=0):
    made, run = two_iterations(method)
    states, measures = run(jax.random.key(seed))
    return made, states, measures


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("topology", "messages"),
    [
        *((rule, "lstm") for rule in RULES),
        *(
            pytest.param(
                rule, "commnet", marks=() if rule in ("full", "meta") else pytest.mark.slow
            )
            for rule in RULES
        ),
    ],
)
def test_every_pair_runs_and_moves_what_it_should(topology, messages):
    """A result that is dropped, a rule that never learns, NaN, a replay that is not written."""
    made, (start, first, second), measures = outcome(f"{topology}+{messages}")
    assert all(np.isfinite(leaf).all() for leaf in plain(second))
    for name in ("train_return", "edge_rate", "gate_entropy", "critic_loss", "policy_loss"):
        assert np.isfinite(measures[name]).all()
    for before, after in ((start, first), (first, second)):
        assert not is_same(before.learner.critic, after.learner.critic)
        assert not is_same(before.learner.policy.head, after.learner.policy.head)
        # A silent LSTM is never read; CommNet encodes one's own observation as well.
        unread = (topology, messages) == ("none", "lstm")
        interpreters = (x.learner.policy.interpreter for x in (before, after))
        assert is_same(*interpreters) == unread
        gates = (made.parts.acting(x.parts) for x in (before, after))
        assert is_same(*gates) == (topology not in LEARNED)
        assert is_same(before.target.acting, after.target.acting) == (topology not in LEARNED)
        rules = before.parts.rule, after.parts.rule
        if topology == "meta":
            assert not is_same(*(rule.eta for rule in rules))
        if topology in ("meta", "reinforce"):
            assert not is_same(*(rule.baseline.params for rule in rules))
        assert not is_same(before.target.critic, after.target.critic)
        assert_same(before.streams, after.streams)
        assert not is_same(before.trajectory.reward, after.trajectory.reward)
        assert after.trajectory.reward.shape == (HORIZON,)
        assert after.trajectory.observation.shape[0] == HORIZON + 1
    written = [int(np.any(x.replay.reward != 0, axis=1).sum()) for x in (start, first, second)]
    assert written == [2, 2 + K, 2 + 2 * K]  # of three warm-up episodes the last is tau(0)
    assert_same(first.replay.reward[2], start.trajectory.reward)
    rate = {"none": 0.0, "full": 1.0}.get(topology)
    assert rate is None or np.all(measures["edge_rate"] == rate)
    rule = made.team.rule
    assert made.measures == (*MEASURES, *rule.measures, *rule.outer_measures)
    assert set(measures) == set(made.measures)
    for told in measures.values():
        assert (told.shape, told.dtype) == ((2,), np.float32)
        assert np.isfinite(told).all()


@pytest.mark.slow
def test_a_topology_rule_leaves_the_environments_randomness_alone():
    """Every rule and interpreter meets the same episodes' starts."""
    starts = [
        (first.trajectory.moving[0], second.trajectory.moving[0], second.replay.moving[:, 0])
        for topology in RULES
        for messages in ("lstm", "commnet")
        for _, (_, first, second), _ in [outcome(f"{topology}+{messages}")]
    ]
    for other in starts[1:]:
        assert_same(other, starts[0])
    assert len(np.unique(starts[0][2], axis=0)) > 1


def test_the_same_seed_gives_the_same_run_bit_for_bit():
    made, run = two_iterations("meta+lstm")
    assert_same(run(jax.random.key(0)), outcome("meta+lstm")[1:])


def test_another_seed_differs_in_everything_random():
    """One key for all seeds: the same networks, episodes or replay."""
    _, (one, _, one_end), _ = outcome("meta+lstm")
    _, (other, _, other_end), _ = outcome("meta+lstm", seed=1)
    for name in ("streams", "learner", "parts", "trajectory", "replay"):
        for a, b in zip(plain(getattr(one, name)), plain(getattr(other, name)), strict=True):
            # Biases and optimisers start alike.
            if a.size and not np.all(a == a.ravel()[0]) and not _is_bias(a):
                assert not np.array_equal(a, b), name
    assert not is_same(one_end.parts.rule.eta, other_end.parts.rule.eta)


def _is_bias(leaf):
    return set(np.unique(leaf)) <= {0.0, 1.0}


def update_by_parts(made, state, clock):
    """Lines 5 to 11 from the parts, one update: add, critic, policy, gates, targets, play."""
    keys = state.streams.at(clock.episode)
    tau = state.trajectory
    replay = made.replay.add(state.replay, clock.stored, tau)
    window = made.replay.sample(replay, clock.stored + 1, keys.replay)
    learner, critic_loss = made.maddpg.update_critic(
        state.learner, state.target, window, Both(keys.target_gate, keys.target_channel)
    )
    acting = Both(state.parts.rule.gates)
    learner, gradient, _ = made.maddpg.update_policy(
        learner, acting, window, Both(keys.replay_gate, keys.replay_channel)
    )
    rule, *_ = learn(made.team.rule, state.parts.rule, tau, gradient.rule)
    acting = Both(rule.gates)
    target = made.maddpg.track(state.target, learner, acting)
    following = rollout(
        made.env, made.team, learner.policy, acting, keys, Mode.ROLLOUT, exploration=0.2
    )
    state = state.replace(
        learner=learner, parts=Both(rule), target=target, replay=replay, trajectory=following
    )
    return state, critic_loss


@functools.cache
def unrolled():
    """K updates of the first iteration, one call each: the states before and after each."""
    made, (start, first, _), measures = outcome("meta+lstm")
    update = jit(functools.partial(update_by_parts, made))
    states, losses, clock = [start], [], made.start_clock()
    for _ in range(K):
        state, loss = update(states[-1], clock)
        states.append(state)
        losses.append(loss)
        clock = clock.advanced()
    taus = jax.tree.map(lambda *x: jnp.stack(x), *(state.trajectory for state in states))
    return made, states, taus, losses, first, measures


@pytest.mark.slow
def test_an_iteration_equals_an_unrolled_loop():
    """The order of lines 5 to 13, keys and clock of each update, which trajectories eta sees."""
    made, states, taus, losses, first, measures = unrolled()
    before, after = states[0].parts.rule, states[-1].parts.rule
    steps = inner_steps(made.team.rule, before, taus)
    rule, *_ = jit(functools.partial(outer, made.team.rule))(before, after, taus, steps)
    assert_close(first, states[-1].replace(parts=Both(rule)), rtol=1e-4, atol=1e-5)
    assert not is_same(rule.eta, before.eta)
    np.testing.assert_allclose(measures["critic_loss"][0], np.mean(losses), rtol=1e-4)
    returns = np.asarray(taus.reward)[1:].sum(-1)
    np.testing.assert_allclose(measures["train_return"][0], returns.mean(), rtol=1e-4)


def test_the_replayed_gates_equal_those_of_the_run():
    """What eta differentiates is what happened: theta_c(K) from theta_c(0), nu(0), tau(0..K-1)."""
    made, states, taus, _, first, _ = unrolled()
    start = states[0].parts.rule
    gates, nu = start.gates, start.nu
    step = jit(made.team.rule.inner_step)
    for k in range(K):
        tau = jax.tree.map(lambda x, k=k: x[k], taus)
        gates, nu, _, _ = step(start.eta, gates, nu, tau)
    ended = first.parts.rule
    assert_close((gates, nu), (ended.gates, ended.nu), rtol=1e-5, atol=1e-6)
    moved = max(np.abs(a - b).max() for a, b in zip(plain(gates), plain(start.gates), strict=True))
    assert moved > 1e-3


def test_a_fresh_first_trajectory_uses_no_key_of_another_or_of_the_initialisation(monkeypatch):
    """fold_in(key, i) and split(key, n)[i] are the same key."""
    made = algorithm("meta", meta__fresh_trajectory=True)
    _, (start, _, _), _ = outcome("meta+lstm")
    used = []

    def spy(env, team, policy, acting, keys, *rest):
        used.extend(getattr(keys, name) for name in PLAYED)
        return start.trajectory

    monkeypatch.setattr(algorithm_module, "rollout", spy)
    clock = made.start_clock()
    for episode in range(3):
        made._first_trajectory(start, clock.replace(episode=jnp.asarray(episode)))
    parents = jax.random.split(start.streams.initial, 4)
    forbidden = [*parents, *(key for parent in parents for key in jax.random.split(parent, 20))]
    assert len(used) == 3 * len(PLAYED) == 12
    assert len({tuple(x) for x in plain(used)}) == 12  # none again in a later iteration
    assert not {tuple(x) for x in plain(used)} & {tuple(x) for x in plain(forbidden)}


def test_play_uses_each_key_for_one_purpose():
    """The reset key changes where an episode starts, and no other key does."""
    made = algorithm("reinforce")
    _, (start, _, _), _ = outcome("reinforce+lstm")

    @jit
    def play(keys):
        acting = made.parts.acting(start.parts)
        return rollout(made.env, made.team, start.learner.policy, acting, keys, Mode.ROLLOUT, 0.2)

    keys = play_keys(jax.random.key(0))
    tau = play(keys)
    for name in keys.__dataclass_fields__:
        other = play(keys.replace(**{name: jax.random.key(1)}))
        if name not in PLAYED or name == "channel":  # no interpreter of the tables has noise
            assert_same(other, tau)
            continue
        assert is_same(other.moving, tau.moving) == (name != "reset")  # a toy: no dynamics
        assert not is_same(other.action, tau.action)
        if name != "reset":
            assert is_same(other.gates.decision, tau.gates.decision) == (name != "gate")


def test_an_update_gives_each_of_its_keys_to_one_consumer(monkeypatch):
    """A key used twice makes two draws one. Seen while tracing, where a key is an object."""
    made = algorithm("meta")
    _, (start, _, _), _ = outcome("meta+lstm")
    given, streams = {}, []

    def watched(owner, name, consumer):
        real = getattr(owner, name)

        def spy(*args, **named):
            given[consumer] = [*given.get(consumer, ()), *_keys_of((args, named))]
            return real(*args, **named)

        monkeypatch.setattr(owner, name, spy)

    at = Streams.at
    monkeypatch.setattr(Streams, "at", lambda *args: streams.append(at(*args)) or streams[-1])
    watched(made.replay, "sample", "replay")
    watched(made.maddpg, "update_critic", "critic")
    watched(made.maddpg, "update_policy", "policy")
    watched(made.team.rule, "learn", "rule")
    watched(made.team.interpreter, "learn", "interpreter")
    watched(algorithm_module, "rollout", "play")
    jax.eval_shape(made.iterate, start, made.start_clock(), NOTHING)
    (keys,) = streams
    expected = {
        "replay": ["replay"],
        "critic": ["target_gate", "target_channel"],
        "policy": ["replay_gate", "replay_channel"],
        "rule": ["rule_learning"],
        "interpreter": ["interpreter_learning"],
    }
    # All are handed to a rollout, which reads those of `PLAYED`: see the test before.
    (played,) = given.pop("play")
    assert played is keys
    assert {name: [id(key) for key in found] for name, found in given.items()} == {
        name: [id(getattr(keys, stream)) for stream in found] for name, found in expected.items()
    }
    used = [*PLAYED, *(stream for found in expected.values() for stream in found)]
    assert sorted([*used, "beside", "initial", "first_trajectory"]) == sorted(
        Streams.__dataclass_fields__
    )


def _keys_of(arguments):
    """The keys, or bundles of all of them, among what is handed to a consumer; a context has one."""
    leaves = jax.tree.leaves(arguments, is_leaf=lambda x: isinstance(x, Streams))
    leaves = [x.key if isinstance(x, Context) else x for x in leaves]
    return [x for x in leaves if isinstance(x, Streams) or _is_key(x)]


def _is_key(x):
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def test_streams_differ_between_seeds():
    one, other = (plain(Streams.split(jax.random.key(seed))) for seed in (0, 1))
    assert not {tuple(x) for x in one} & {tuple(x) for x in other}


def test_what_an_iteration_measures_is_the_mean_over_its_updates():
    """Of the episodes played after them, not of those learned from; nor of the last alone."""
    one, two = (algorithm("none", "toy_follow_holder", updates_per_iteration=k) for k in (1, 2))
    state, clock, told = jit(one.init)(jax.random.key(0)), one.start_clock(), []
    nothing = one.parts.init_shared(jax.random.key(1))
    whole = jit(two.iterate)(state, clock, nothing)[1]
    step = jit(one.iterate)
    for _ in range(2):
        state, measures, _ = step(state, clock, nothing)
        clock = clock.advanced(1)
        assert measures["train_return"] == pytest.approx(float(state.trajectory.reward.sum()))
        told.append(measures)
    assert told[0]["train_return"] != told[1]["train_return"]
    for name in ("train_return", "critic_loss", "policy_loss"):
        mean = (told[0][name] + told[1][name]) / 2
        np.testing.assert_allclose(whole[name], mean, rtol=1e-4, atol=1e-5, err_msg=name)
