"""The base learner: what is bootstrapped, whose actions are whose, clipping, Polyak."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from core_cases import (
    NOTHING,
    acting,
    algorithm,
    assert_close,
    both,
    is_same,
    is_zero,
    jit,
    made_up_window,
    plain,
    scattered,
    size,
    tape,
)
from oracles import learning

from purejax_mgtopo.algorithm.kernels.stored import for_products
from purejax_mgtopo.algorithm.maddpg import Reading, Targets
from purejax_mgtopo.algorithm.types import Mode

TASK, AGENTS = "toy_follow_holder", 3


@functools.cache
def parts(method="full", **changes):
    """An algorithm, its learner and gates without zero biases, other targets, a window."""
    made = algorithm(method, TASK, **changes)
    learner = jit(made.maddpg.init)(jax.random.key(0))
    gates = scattered(acting(made), 3)
    learner = learner.replace(
        policy=scattered(learner.policy, 1, 0.1), critic=scattered(learner.critic, 2, 0.1)
    )
    target = Targets(
        policy=scattered(learner.policy, 4, 0.1),
        acting=scattered(gates, 5),
        critic=scattered(learner.critic, 6, 0.1),
    )
    window = made_up_window(7, AGENTS, made.env.observation_size, made.parts.memory)
    return made, learner, gates, target, window


def critic_by_hand(params, observation, action, xp=np):
    """FC-FC-Linear of the concatenation of everything."""
    flat = params["params"]
    joined = xp.concatenate([x.reshape(len(x), -1) for x in (observation, action)], axis=-1)
    kernel = xp.concatenate(
        [flat["from_observations"]["kernel"], flat["from_actions"]["kernel"]], axis=0
    )
    first = xp.maximum(joined @ kernel + flat["from_observations"]["bias"], 0)
    return learning.mlp(flat["rest"], first, xp)[:, 0]


def test_the_critic_reads_all_observations_and_actions():
    made, learner, _, _, window = parts()
    value = jit(made.maddpg.critic.value)(learner.critic, window.observation[:, 0], window.action)
    observation, action = np.asarray(window.observation[:, 0]), np.asarray(window.action)
    np.testing.assert_allclose(
        value, critic_by_hand(learner.critic, observation, action), rtol=1e-4, atol=1e-5
    )


def test_counterfactual_values_equal_one_call_for_each_agent():
    """Another agent's column, or all actions replaced at once."""
    made, learner, _, _, window = parts()
    rng = np.random.default_rng(0)
    proposal = rng.uniform(-1, 1, window.action.shape).astype(np.float32)
    critic = made.maddpg.critic
    values = jit(critic.counterfactual)(
        learner.critic, window.observation[:, 0], window.action, jnp.asarray(proposal)
    )
    assert values.shape == (AGENTS, len(window.reward))
    for i in range(AGENTS):
        replaced = np.asarray(window.action).copy()
        replaced[:, i] = proposal[:, i]
        expected = critic_by_hand(learner.critic, np.asarray(window.observation[:, 0]), replaced)
        np.testing.assert_allclose(values[i], expected, rtol=1e-4, atol=1e-5)


def test_the_critic_is_data_to_a_part_that_asks_it():
    """A part's loss must not move the critic; the action it asks about is differentiated."""
    made, learner, _, _, window = parts()
    observation = window.observation[:, 0]

    def asked(critic, action):
        return jnp.sum(made.maddpg.value(critic, observation, action))

    critic, action = jit(jax.grad(asked, argnums=(0, 1)))(learner.critic, window.action)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(critic))
    assert np.any(action)


def test_the_target_bootstraps_everywhere_with_target_networks():
    """Online parameters, o for o', a zero value at the time limit, a missing discount."""
    made, _, _, target, window = parts()
    team, seen = made.team, window.observation[:, 1]
    carry = team.initial_carry((len(seen),))
    numbers = tape(made, (len(seen),))
    action = jit(
        lambda policy: team.step(policy, target.acting, seen, carry, numbers, Mode.TARGET)[0].action
    )(target.policy)
    value = critic_by_hand(target.critic, np.asarray(seen), np.asarray(action))
    actual = jit(made.maddpg.td_target)(target, window, both(jax.random.key(0)))
    np.testing.assert_allclose(
        actual, np.asarray(window.reward) + 0.95 * value, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("method", ["none", "full+dial"])
def test_a_target_reads_what_leads_to_the_later_observation(method):
    """With o' some steps later and a memory of its own: the value counts as the window says, of that observation."""
    made, _, _, target, window = parts(method)
    memory = made.parts.memory

    def with_kept(window):
        return window.replace(kept=made.parts.kept(made.parts.initial_carry(window.begins.shape)))

    later = with_kept(made_up_window(8, AGENTS, made.env.observation_size, memory))
    apart = window.replace(
        observation=jnp.concatenate(
            [window.observation[:, window.before], later.observation[:, later.after]], axis=1
        ),
        begins=jnp.concatenate([window.begins[:, window.before], later.begins[:, later.after]], 1),
        discount=jnp.linspace(0, 1, len(window.reward)),
    )
    apart = with_kept(apart)
    assert (memory > 0) == (method != "none")
    td_target = jit(made.maddpg.td_target)
    key = both(jax.random.key(0))
    value = (td_target(target, later, key) - later.reward) / 0.95
    expected = window.reward + apart.discount * value
    np.testing.assert_allclose(td_target(target, apart, key), expected, rtol=1e-4, atol=1e-5)


def test_the_td_loss_is_the_mean_squared_error_at_the_transitions_start():
    made, learner, _, _, window = parts()
    y = jnp.asarray(np.random.default_rng(1).normal(size=len(window.reward)), jnp.float32)
    value = critic_by_hand(
        learner.critic, np.asarray(window.observation[:, 0]), np.asarray(window.action)
    )
    loss = jit(made.maddpg.critic_loss)(learner.critic, window, y)
    np.testing.assert_allclose(loss, np.mean((value - np.asarray(y)) ** 2), rtol=1e-4)


@pytest.mark.parametrize("method", ["full", "commnet"])
def test_the_policy_gradient_equals_a_loop_in_which_others_act_from_the_buffer(method):
    """Eq. 2: a gradient through others' new actions, a cut in messages, the penalty's weight."""
    made, learner, gates, _, window = parts(method)
    team, seen = made.team, window.observation[:, 0]
    carry = team.initial_carry((len(seen),))
    numbers = tape(made, (len(seen),))

    def loop(policy):
        step, _ = team.step(policy, gates, seen, carry, numbers, Mode.REPLAY)
        total = 1e-3 * jnp.mean(step.unsquashed**2)
        for i in range(AGENTS):
            columns = [step.action[:, j] if j == i else window.action[:, j] for j in range(AGENTS)]
            action = jnp.stack(columns, axis=1)
            total -= jnp.mean(critic_by_hand(learner.critic, seen, action, jnp))
        return total

    expected = jit(jax.value_and_grad(loop))(learner.policy)
    actual = jit(jax.value_and_grad(made.maddpg.policy_loss))(
        learner.policy, gates, learner.critic, window, both(jax.random.key(0))
    )
    assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_a_sender_learns_from_its_receivers_action():
    """The derivative of a_0 reaches the encoders of agents 1 and 2 over the channel."""
    made, learner, gates, _, window = parts("full+commnet")
    seen = window.observation[0, 0]

    def first(policy):
        carry = made.team.initial_carry()
        step, _ = made.team.step(policy, gates, seen, carry, tape(made), Mode.REPLAY)
        return jnp.sum(step.action[0])

    gradient = jit(jax.grad(first))(learner.policy)
    for kernel in gradient.interpreter["encoder"]["params"]["kernel"]:
        assert np.any(kernel)
    assert size(jax.tree.map(lambda x: x[0], gradient.head)) > 0
    assert is_zero(jax.tree.map(lambda x: x[1:], gradient.head))


def test_polyak_moves_every_target_by_its_rate():
    """Swapped arguments, a forgotten network, a rate of one."""
    made, learner, gates, target, _ = parts("stgs")
    after = jit(made.maddpg.track)(target, learner, gates)
    online = Targets(policy=learner.policy, acting=gates, critic=learner.critic)
    assert_close(after, jax.tree.map(lambda t, o: t + 0.01 * (o - t), target, online))
    for name in ("policy", "acting", "critic"):
        assert not is_same(getattr(after, name), getattr(target, name))


def test_further_updates_have_windows_of_their_own_and_targets_that_follow():
    """The same window again, a target that stands still, gates that learn more than once, another episode's keys."""
    lessons = 3
    made = algorithm(
        *("stgs", TASK),
        learner__updates_per_episode=lessons,
        updates_per_iteration=1,
        gates__learning_rate=1.0,  # so that it matters which gates they learn over
    )
    start, clock = jit(made.init)(jax.random.key(5)), made.start_clock()
    end, measures, _ = jit(made.iterate)(start, clock, NOTHING)

    moment = start.streams.at(clock.episode)
    streams = [
        jax.tree.map(lambda key, i=i: jax.random.split(key, lessons)[i], moment)
        for i in range(lessons)
    ]
    replay = jit(made.replay.add)(start.replay, clock.stored, start.trajectory)
    sample = jit(made.replay.sample)
    windows = [sample(replay, clock.stored + 1, keys.replay) for keys in streams]
    assert len({tuple(np.asarray(window.action).ravel()) for window in windows}) == lessons

    critic, policy = jit(made.maddpg.update_critic), jit(made.maddpg.update_policy)
    learner, target, before = start.learner, start.target, made.parts.acting(start.parts)
    after = made.parts.acting(end.parts)
    assert not is_same(before, after)
    for i, (keys, window) in enumerate(zip(streams, windows, strict=True)):
        learner, loss = critic(learner, target, window, keys.targeting)
        gates = after if i else before
        learner, _, _ = policy(learner, gates, window, keys.replaying, clock)
        target = made.maddpg.track(target, learner, after)
        if not i:
            np.testing.assert_allclose(measures["critic_loss"], loss, rtol=1e-4)
    assert_close(end.learner, learner, rtol=1e-4, atol=1e-5)
    assert_close(end.target, target, rtol=1e-4, atol=1e-5)
    played = jit(made._play)(learner.policy, after, streams[0])
    assert_close(end.trajectory, played, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("limit", [0.5, 1e4])
@pytest.mark.parametrize("which", ["critic", "policy"])
def test_updates_clip_the_global_norm_and_step_with_adam(which, limit):
    """A clip leaf by leaf or element by element, or none; a small gradient blown up; the wrong learning rate."""
    made, learner, gates, target, window = parts(
        learner__critic_learning_rate=0.02,
        learner__policy_learning_rate=0.01,
        learner__gradient_clip=limit,
    )
    window = window.replace(reward=100 * window.reward)
    key = both(jax.random.key(0))
    critic = jax.tree.map(lambda x: 3 * x, learner.critic)
    learner = learner.replace(critic=critic)
    if which == "critic":
        y = jit(made.maddpg.td_target)(target, window, key)
        gradient = jit(jax.grad(made.maddpg.critic_loss))(learner.critic, window, y)
        after, _ = jit(made.maddpg.update_critic)(learner, target, window, key)
    else:
        gradient = jit(jax.grad(made.maddpg.policy_loss))(
            learner.policy, gates, learner.critic, window, key
        )
        after, _, _ = jit(made.maddpg.update_policy)(learner, gates, window, key)
    norm = size(gradient)
    assert 0.5 < norm < 1e4
    clipped = jax.tree.map(lambda g: g * min(1, limit / norm), gradient)
    adam = optax.adam(0.02 if which == "critic" else 0.01)
    updates, state = adam.update(clipped, adam.init(clipped))
    expected = optax.apply_updates(getattr(learner, which), updates)
    # Adam's first step is a sign where the gradient is large; its moments show the clip.
    moments = [x for x in plain(getattr(after, f"{which}_optimizer")) if x.ndim]
    assert_close(moments, [x for x in plain(state) if x.ndim], rtol=1e-3, atol=1e-8)
    assert_close(getattr(after, which), expected, rtol=1e-3, atol=1e-4)


def test_an_update_of_one_leaves_the_other_alone():
    """Reach at the level of whole updates: optimisers included."""
    made, learner, gates, target, window = parts("stgs")
    key = both(jax.random.key(0))
    after, _ = jit(made.maddpg.update_critic)(learner, target, window, key)
    assert is_same(after.policy, learner.policy)
    assert is_same(after.policy_optimizer, learner.policy_optimizer)
    assert not is_same(after.critic, learner.critic)
    after, gate_gradient, _ = jit(made.maddpg.update_policy)(learner, gates, window, key)
    assert is_same(after.critic, learner.critic)
    assert is_same(after.critic_optimizer, learner.critic_optimizer)
    assert not is_same(after.policy, learner.policy)
    assert size(gate_gradient) > 0


def test_parameters_that_are_rounded_already_teach_the_same():
    """What is read is rounded, what is moved is not: its derivatives come in the type of what they move."""
    made, learner, gates, target, window = parts("stgs")
    key = both(jax.random.key(0))
    with jax.default_matmul_precision("bfloat16"):
        read = for_products(Reading(learner.policy, gates, learner.critic, target))
        critic = [
            jit(made.maddpg.update_critic)(learner, target, window, key, known)
            for known in (None, read)
        ]
        policy = [
            jit(made.maddpg.update_policy)(learner, gates, window, key, None, known)
            for known in (None, read)
        ]
    assert not is_same(read.policy, learner.policy)
    for plainly, known in (critic, policy):
        assert jax.tree.map(lambda x: x.dtype, plainly) == jax.tree.map(lambda x: x.dtype, known)
        assert_close(known, plainly, rtol=1e-5, atol=1e-6)
