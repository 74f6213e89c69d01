"""ATOC: who gathers whom, how long groups stay, how thoughts are integrated, and what attention learns from."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from core_cases import (
    algorithm,
    both,
    jit,
    make_rule,
    moment,
    play_keys,
    scattered,
    sight,
    sizes,
    small,
)
from oracles import learning
from test_labels import judged, opinions, worth_by_hand

from purejax_mgtopo.algorithm.edges import drop_diagonal, fill_diagonal, seen_distance
from purejax_mgtopo.algorithm.messages.atoc import IntegratedThoughts
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Edges, Gates, Groups, Mode

WIDTH = 4


def rule_of(agents, **changes):
    rule = make_rule(small("atoc", **changes), agents, WIDTH)
    return rule, jit(rule.init)(jax.random.key(0))


def gathered(initiates, near, most):
    """Initiators by index; each takes those nobody chose, then those somebody did, then other initiators."""
    agents = len(initiates)
    member, chosen = np.zeros((agents, agents)), set()
    for i in range(agents):
        if not initiates[i]:
            continue
        others = [j for j in range(agents) if j != i]
        others.sort(key=lambda j: (2 if initiates[j] else int(j in chosen), near[i, j], j))
        picks = others[:most]
        chosen |= set(picks)
        member[i, [i, *picks]] = 1
    return member


def test_a_layout_by_hand():
    """0 and 3 initiate. 0 takes the two nearest plain ones, 3 then the one left over, then a chosen one, not 0."""
    rule, _ = rule_of(5, member__atoc__collaborators=2)
    place = np.array([0.0, 1.0, 2.0, 2.1, 9.0])
    near = np.abs(place[:, None] - place)
    member = np.asarray(
        rule.formed(jnp.array([True, False, False, True, False]), jnp.asarray(near))
    )
    assert [set(np.flatnonzero(row)) for row in member] == [
        {0, 1, 2},
        set(),
        set(),
        {3, 4, 2},
        set(),
    ]
    everybody = np.asarray(rule.formed(jnp.ones(5, bool), jnp.asarray(near)))
    assert set(np.flatnonzero(everybody[4])) == {4, 3, 2}


@pytest.mark.parametrize("agents", [2, 3, 6])
def test_groups_are_gathered_as_published(agents):
    rule, _ = rule_of(agents)
    assert rule.collaborators == min(3, agents - 1)
    rng = np.random.default_rng(agents)
    initiates = rng.integers(0, 2, (40, agents)).astype(bool)
    near = rng.uniform(0, 9, (40, agents, agents)).astype(np.float32)
    found = jit(rule.formed)(initiates, near)
    for k in range(40):
        expected = gathered(initiates[k], near[k], rule.collaborators)
        np.testing.assert_array_equal(found[k], expected)


def test_groups_stay_for_their_time_and_are_replayed_as_they_were():
    """Edges are those of two in one group; masks are constant in between; a replayed step has the groups it had."""
    made = algorithm("atoc", "navigation_N3_l3", member__atoc__initiation=0.4)
    policy = scattered(jit(made.team.init)(jax.random.key(0)), 1)
    acting = made.parts.acting(jit(made.parts.init)(both(jax.random.key(1))))

    def run(key):
        tau = rollout(made.env, made.team, policy, acting, play_keys(key), Mode.ROLLOUT)
        kept = jax.tree.map(lambda x: x[:-1, None], tau.kept)
        numbers = made.parts.tape(both(jax.random.key(9)), (24, 1))
        begins = jnp.zeros((24, 1))
        seen = tau.observation[1:-1, None]
        again = made.team.recall(policy, acting, seen, begins, kept, numbers, Mode.REPLAY)
        return tau, again

    tau, again = jit(jax.vmap(run))(jax.random.split(jax.random.key(2), 8))
    groups, edges = np.asarray(tau.gates.aux.member), np.asarray(fill_diagonal(tau.gates.decision))
    assert groups.shape == (8, 25, 3, 3)
    for t in range(25):
        np.testing.assert_array_equal(groups[:, t], groups[:, t - t % 5])
    assert np.any(groups[:, 4] != groups[:, 5])
    together = np.einsum("etga,etgb->etab", groups, groups) > 0
    np.testing.assert_array_equal(edges, together * (1 - np.eye(3)))
    started = np.asarray(tau.gates.aux.initiator)
    assert started[:, ::5].any() and not np.delete(started, np.arange(0, 25, 5), axis=1).any()
    standing = np.arange(1, 25) % 5 != 0
    np.testing.assert_array_equal(
        again.gates.decision[:, standing], tau.gates.decision[:, 1:][:, standing]
    )
    played = tau.action[:, 1:][:, standing]
    np.testing.assert_allclose(
        again.action[:, standing], played, atol=1e-4
    )  # actions lie on a grid


@pytest.mark.parametrize("mode", Mode)
def test_who_attends_initiates_and_in_play_sometimes_anybody(mode):
    rule, state = rule_of(3, member__atoc__initiation=0.25)
    gates = scattered(state.gates, 3, 1.0)
    rows = jnp.asarray(np.random.default_rng(5).normal(size=(4000, 3, WIDTH)), jnp.float32)
    tape = jax.random.uniform(jax.random.key(1), (4000, 3))
    told, carry = rule.gate(gates, sight(rows), Moment(rule.initial_carry((4000,)), tape, mode))
    chance = learning.sigmoid(
        learning.mlp(jax.tree.map(np.asarray, gates)["params"], np.asarray(rows))[..., 0]
    )
    expected = chance > 0.5
    if mode is Mode.ROLLOUT:
        expected = expected | (np.asarray(tape) < 0.25)
    np.testing.assert_array_equal(told.aux.initiator > 0, expected)
    assert np.all(carry.left == 4)


def grouped_tau(seed=3, steps=6, agents=3):
    from core_cases import made_up_trajectory

    rng = np.random.default_rng(seed)
    tau = made_up_trajectory(seed, steps, agents, WIDTH)
    initiates = rng.integers(0, 2, (steps, agents)).astype(bool)
    near = rng.uniform(size=(steps, agents, agents))
    member = np.stack([gathered(i, n, 1) for i, n in zip(initiates, near, strict=True)])
    together = (np.einsum("tga,tgb->tab", member, member) > 0).astype(float)
    edges = drop_diagonal(jnp.asarray(together))
    aux = Groups(jnp.asarray(member), jnp.asarray(initiates, float))
    feature = jnp.asarray(rng.normal(size=(steps, agents, WIDTH)))
    return tau.replace(gates=Gates(edges, edges, aux), feature=feature)


def test_attention_learns_from_what_its_group_was_worth():
    """Gains by loops, labels that reach 0 and 1, the loss, and one RMSprop step by central differences."""
    with jax.enable_x64(True):
        rule, state = rule_of(3, gates__learning_rate=0.05)
        state = state.replace(gates=scattered(state.gates, 1))
        tau, weight = grouped_tau(), opinions()
        now = judged(tau, weight)
        now = replace(now, seen=lambda tau: sight(tau.observation[:-1]))
        gain = np.zeros((6, 3))
        mask, member = (
            np.asarray(fill_diagonal(tau.gates.decision)),
            np.asarray(tau.gates.aux.member),
        )
        seen = np.asarray(tau.observation[:-1])
        for t, i in np.ndindex(6, 3):
            closed = mask[t].copy()
            closed[member[t, i] > 0] = 0.0
            gain[t, i] = worth_by_hand(seen[t], mask[t], np.asarray(weight)) - worth_by_hand(
                seen[t], closed, np.asarray(weight)
            )
        np.testing.assert_allclose(rule.gain(tau, now), gain, rtol=1e-6, atol=1e-9)
        known = np.asarray(tau.gates.aux.initiator) > 0
        assert 3 < known.sum() < 18
        label = (gain - gain[known].min()) / np.ptp(gain[known])
        assert {0.0, 1.0} <= set(label[known])
        host = jax.tree.map(np.array, state.gates)["params"]

        def loss():
            total = 0.0
            for t, i in np.argwhere(known):
                p = (
                    0.9 * learning.sigmoid(learning.mlp(host, np.asarray(tau.feature[t, i]))[0])
                    + 0.05
                )
                total -= label[t, i] * np.log(p) + (1 - label[t, i]) * np.log(1 - p)
            return total / known.sum()

        new, measures, _ = rule.learn(state, tau, now)
        np.testing.assert_allclose(measures["label_loss"], loss(), rtol=1e-6)
        np.testing.assert_allclose(measures["group_worth"], gain[known].mean(), rtol=1e-6)
        bias = host["Dense_0"]["bias"]
        slope = np.zeros_like(bias)
        for k in range(len(bias)):
            ends = []
            for step in (1e-6, -1e-6):
                bias[k] += step
                ends.append(loss())
                bias[k] -= step
            slope[k] = (ends[0] - ends[1]) / 2e-6
        expected = bias - 0.05 * slope / np.sqrt(0.1 * slope**2 + 1e-8)
        np.testing.assert_allclose(
            new.gates["params"]["Dense_0"]["bias"], expected, rtol=1e-5, atol=1e-7
        )


def test_nothing_is_learned_where_nobody_or_a_single_one_has_initiated():
    rule, state = rule_of(3)
    for initiator in (np.zeros((6, 3)), np.eye(6, 3) * (np.arange(6) == 2)[:, None]):
        inputs = (jnp.ones((6, 3, WIDTH)), jnp.ones((6, 3)), jnp.asarray(initiator, jnp.float32))
        value, slope = jax.value_and_grad(rule.loss)(state.gates, *inputs)
        assert value == 0 and not any(np.any(x) for x in jax.tree.leaves(slope))


def channel(agents=3, shared=True, **changes):
    net = IntegratedThoughts(
        small("full+atoc", learner__share_parameters=shared, **changes),
        sizes(agents, WIDTH),
        Edges.ANY,
    )
    return net, scattered(jit(net.init_params)(jax.random.key(0)), 1)


def lstm_by_hand(layer, thoughts, places):
    """Hidden states at those places, read in this order."""
    size = layer["bias"].shape[0] // 4
    hidden = cell = np.zeros(size)
    found = {}
    for j in places:
        gates = np.concatenate([thoughts[j], hidden]) @ layer["kernel"] + layer["bias"]
        i, f, g, o = np.split(gates, 4)
        cell = learning.sigmoid(f) * cell + learning.sigmoid(i) * np.tanh(g)
        hidden = learning.sigmoid(o) * np.tanh(cell)
        found[j] = hidden
    return found


def read_by_hand(host, thoughts, group):
    forward = lstm_by_hand(host["forward"]["params"], thoughts, group)
    backward = lstm_by_hand(host["backward"]["params"], thoughts, group[::-1])
    return {j: np.concatenate([forward[j], backward[j]]) for j in group}


def heard(net, params, observation, gates):
    now = moment(net, Mode.REPLAY)
    encoded = net.encode(params, (), observation, now)
    seen = sight(observation).replace(
        feature=encoded.feature, message=encoded.message, delivered=encoded.message
    )
    return encoded.feature, net.hear(params, (), seen, gates, now).z


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("groups", [None, [[0, 1], [1, 2]], [[0, 2], []], [[], []]])
def test_thoughts_are_integrated_group_by_group(groups, shared):
    """Who is in two groups brings the first into the second; outsiders keep silent; without groups, each for itself."""
    net, params = channel(shared=shared)
    observation = jnp.asarray(np.random.default_rng(4).normal(size=(3, WIDTH)), jnp.float32)
    mask, aux = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]], np.float32), ()
    if groups is not None:
        member = np.zeros((2, 3), np.float32)
        for g, group in enumerate(groups):
            member[g, group] = 1
        mask = (np.einsum("ga,gb->ab", member, member) > 0) * (1 - np.eye(3, dtype=np.float32))
        aux = Groups(jnp.asarray(member), jnp.zeros(3))
    edges = drop_diagonal(jnp.asarray(mask))
    feature, z = heard(net, params, observation, Gates(edges, edges, aux))
    host = jax.tree.map(np.asarray, params)
    thoughts, integrated = list(np.asarray(feature, float)), np.zeros((3, 8))
    if groups is None:
        for i in range(3):
            group = [j for j in range(3) if j == i or mask[i, j]]
            if len(group) > 1:
                integrated[i] = read_by_hand(host, thoughts, group)[i]
    else:
        for group in groups:
            new = read_by_hand(host, thoughts, group) if len(group) > 1 else {}
            for j, value in new.items():
                integrated[j] = thoughts[j] = value
    for i in range(3):
        own, other = (
            host[name] if shared else jax.tree.map(lambda x, i=i: x[i], host[name])
            for name in ("own", "integrated")
        )
        expected = learning.dense(own["params"], np.asarray(feature[i])) + (
            integrated[i] @ other["params"]["kernel"]
        )
        np.testing.assert_allclose(z[i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stops", [False, True])
def test_senders_learn_from_their_readers_unless_thoughts_are_stopped(stops):
    net, params = channel(member__atoc__stop_thoughts=stops)
    observation = jnp.asarray(np.random.default_rng(4).normal(size=(3, WIDTH)), jnp.float32)
    edges = jnp.ones((3, 2))
    slope = jax.jacobian(lambda o: heard(net, params, o, Gates(edges, edges))[1])(observation)
    reached = np.abs(np.asarray(slope)).sum((1, 3)) > 0
    np.testing.assert_array_equal(
        reached, np.eye(3, dtype=bool) if stops else np.ones((3, 3), bool)
    )


@pytest.mark.parametrize(
    ("task", "seen"),
    [
        ("navigation_N3_l3", True),
        ("predator_prey_N3_l3", True),
        ("push_N3", True),
        ("reference_N3", False),
    ],
)
def test_distances_are_told_from_what_is_seen(task, seen):
    env = jax_mpe.make(task)
    assert env.others_seen is seen
    if seen:
        state, timestep = env.reset(jax.random.key(0))
        place = np.asarray(state.agent_position)
        expected = np.linalg.norm(place[:, None] - place, axis=-1)
        found = seen_distance(timestep.observation.agents_view)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        team = algorithm("atoc", task).team
        np.testing.assert_array_equal(team._near(timestep.observation.agents_view), found)
