"""CommFormer's one graph: how many senders, its derivative, whose turn it is, and when it is frozen."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    assert_same,
    both,
    context,
    is_same,
    jit,
    learn,
    made_up_trajectory,
    make_rule,
    scattered,
    sight,
    small,
)

from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.types import Mode

WIDTH = 4


def rule_of(agents=3, **changes):
    rule = make_rule(small("commformer", **changes), agents, WIDTH)
    return rule, jit(rule.init)(jax.random.key(0))


@pytest.mark.parametrize(
    ("agents", "share", "senders"),
    [(2, 0.4, 1), (3, 0.4, 1), (5, 0.4, 2), (6, 0.4, 2), (4, 1.0, 3)],
)
def test_each_agent_hears_so_many_others(agents, share, senders):
    """Of alpha and Gumbel noise in training, of alpha alone in execution; of equals those of lower index."""
    rule, state = rule_of(agents, member__commformer__share=share)
    assert np.all(state.alpha == 1)
    alpha = np.array(scattered(state.alpha, 2))
    alpha[0] = 1.0
    rows = sight(jnp.zeros((200, agents, WIDTH)))
    tape = jax.random.uniform(jax.random.key(1), (200, agents, agents - 1))
    noise = -np.log(-np.log(np.maximum(np.asarray(tape), np.finfo(np.float32).tiny)))
    for mode in Mode:
        told, _ = rule.gate(jnp.asarray(alpha), rows, Moment((), tape, mode))
        decision = np.asarray(told.decision)
        execution = mode in (Mode.EVAL_SAMPLED, Mode.EVAL_GREEDY)
        score = np.broadcast_to(alpha, noise.shape) + (0 if execution else noise)
        expected = np.zeros_like(score)
        for place in np.ndindex(score.shape[:2]):
            best = np.argsort(-score[place], kind="stable")[:senders]
            expected[place][best] = 1
        np.testing.assert_array_equal(decision, expected)
        assert np.all(decision.sum(-1) == senders)


def test_the_decision_has_the_derivative_of_the_softmax():
    rule, state = rule_of(4)
    tape = jax.random.uniform(jax.random.key(1), (4, 3), minval=0.01)
    aim = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    rows = sight(jnp.zeros((4, WIDTH)))

    def worth(alpha, mode):
        return jnp.sum(aim * rule.gate(alpha, rows, Moment((), tape, mode))[0].decision)

    alpha = scattered(state.alpha, 1)
    score = np.asarray(alpha) - np.log(-np.log(np.asarray(tape)))
    soft = np.exp(score) / np.exp(score).sum(-1, keepdims=True)
    expected = soft * (aim - (soft * aim).sum(-1, keepdims=True))
    for mode in (Mode.ROLLOUT, Mode.REPLAY):
        np.testing.assert_allclose(jax.grad(worth)(alpha, mode), expected, rtol=1e-4, atol=1e-6)
    assert not np.any(jax.grad(worth)(alpha, Mode.EVAL_SAMPLED))

    def shown(alpha):
        return jnp.sum(aim * rule.gate(alpha, rows, Moment((), tape, Mode.REPLAY))[0].probability)

    assert not np.any(jax.grad(shown)(alpha))  # what is shown moves nothing


def test_alpha_moves_in_its_turn_alone_and_no_more_once_frozen():
    rule, state = rule_of(
        3,
        episodes=100,
        member__commformer__freeze_after=0.5,
        chunk_episodes=10,
        evaluation__every=10,
    )
    tau, slope = made_up_trajectory(0, 5, 3, WIDTH), jnp.ones((3, 2))
    for episode, turn in [(0, False), (3, False), (4, True), (5, False), (49, True), (54, False)]:
        now = replace(context(slope), clock=context().clock.advanced(episode))
        learned = rule.learn(state, tau, now)
        assert bool(rule.rests(now.clock)) is turn
        step = np.asarray(learned.state.alpha - state.alpha)
        np.testing.assert_allclose(step, -1e-4 * turn, rtol=1e-2)
    assert learn(rule, state, tau, slope).measures["graph_gradient_norm"] == pytest.approx(6**0.5)


def test_policies_rest_while_the_graph_learns():
    """The critic does not; nor do they move by an episode's further updates."""
    made = algorithm("commformer", "toy_follow_holder", member__commformer__every=2)
    state = jit(made.init)(jax.random.key(0))
    window = made.replay.sample(state.replay, jnp.asarray(2), jax.random.key(2))
    acting = made.parts.acting(state.parts)
    update = jit(made.maddpg.update_policy)
    draw = partial(made.replay.sample, state.replay, jnp.asarray(2))
    practise = jit(partial(made.maddpg.practise, draw=draw))
    _, further = state.streams.shared_out(2)
    for episode in (0, 1):
        clock = made.start_clock().advanced(episode)
        after, slopes, _ = update(state.learner, acting, window, both(jax.random.key(3)), clock)
        assert bool(made.parts.rests(clock)) is (episode == 1)
        if episode:
            assert_same(after, state.learner)
        else:
            assert not is_same(after.policy, state.learner.policy)
        assert np.any(slopes.rule != 0)
        practised, _ = practise(
            state.learner, acting, target=state.target, keys=further, clock=clock
        )
        assert is_same(practised.policy, state.learner.policy) is (episode == 1)
        assert not is_same(practised.critic, state.learner.critic)
    assert algorithm("meta").parts.rests(made.start_clock()) is None
