"""Advantages of REINFORCE and of eta, against NumPy written apart and against known answers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.config import EvaluationConfig, Experiment, LearnerConfig, MetaConfig
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.report.analyses import (
    Advantages,
    as_trajectory,
    draw_advantages,
    episode_advantages,
    has_advantages,
    initial_eta,
    standardised,
)
from purejax_mgtopo.trained.load import Networks
from purejax_mgtopo.trained.play import play_episode

SEED, EPISODE = 3, 11


def small(**changes):
    base = Experiment(
        task="navigation_N3_l3",
        episodes=20,
        chunk_episodes=20,
        learner=LearnerConfig(hidden=8, batch_size=32, warmup_episodes=4, replay_transitions=500),
        meta=MetaConfig(hidden=8, learning_rate=0.01),
        evaluation=EvaluationConfig(every=20, episodes=2),
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def trained():
    """Networks as any seed might have; how they came about is not what is tested here."""
    algorithm = Algorithm(small())
    learner_key, *keys = jax.random.split(jax.random.key(100), 3)
    learner = algorithm.maddpg.init(learner_key)
    return algorithm, Networks(learner, algorithm.parts.init(Both(*keys)))


@pytest.mark.slow
def test_the_first_eta_is_the_one_that_training_began_with(trained):
    algorithm, _ = trained
    began = jax.jit(algorithm.init)(jax.random.key(SEED)).parts.rule.eta
    again = initial_eta(algorithm, SEED)
    jax.tree.map(np.testing.assert_array_equal, again, began)
    other = initial_eta(algorithm, SEED + 1)
    moved = [
        not np.allclose(a, b) for a, b in zip(*map(jax.tree.leaves, (again, other)), strict=True)
    ]
    assert any(moved)


def test_reinforce_advantage_is_discounted_rewards_less_the_baseline(trained):
    algorithm, networks = trained
    found = episode_advantages(algorithm, networks, SEED, EPISODE)
    episode = play_episode(algorithm, networks, EPISODE)
    observe = algorithm.env.observe
    flat = [
        np.asarray(observe(jax.tree.map(lambda x, t=t: jnp.asarray(x[t]), episode.states))).ravel()
        for t in range(26)
    ]
    value = [float(_mlp(networks.parts.rule.baseline.params, x)) for x in flat]
    expected = [
        sum(0.95 ** (u - t) * episode.rewards[u] for u in range(t, 25))
        + 0.95 ** (25 - t) * value[25]
        - value[t]
        for t in range(25)
    ]
    np.testing.assert_allclose(found.reinforce, expected, rtol=1e-4, atol=1e-4)


def _mlp(params, x):
    """FC-ReLU-FC-ReLU-Linear by hand."""
    layers = [leaf for _, leaf in sorted(_dense(params).items())]
    for k, (kernel, bias) in enumerate(layers):
        x = x @ kernel + bias
        if k < len(layers) - 1:
            x = np.maximum(x, 0)
    return x.item()


def _dense(params):
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        names = [getattr(part, "key", getattr(part, "name", "")) for part in path]
        found.setdefault(names[-2], {})[names[-1]] = np.asarray(leaf, float)
    return {name: (layer["kernel"], layer["bias"]) for name, layer in found.items()}


def test_learned_advantage_is_the_one_that_moves_the_gates(trained):
    """On a real training trajectory, a rebuilt one must be read as the training did."""
    algorithm, networks = trained
    found = episode_advantages(algorithm, networks, SEED, EPISODE)
    trajectory = as_trajectory(algorithm, play_episode(algorithm, networks, EPISODE))
    state = networks.parts.rule
    _, _, advantage, _ = algorithm.team.rule.inner_step(
        state.eta, state.gates, state.nu, trajectory
    )
    np.testing.assert_allclose(found.learned, advantage, rtol=1e-5, atol=1e-6)
    assert found.learned.shape == found.initial.shape == (25, 3, 2)
    assert not np.allclose(found.learned, found.initial)


def test_an_episode_is_judged_without_a_nan_on_the_device(trained):
    with jax.debug_nans(True):
        found = episode_advantages(*trained, SEED, EPISODE)
    assert np.isfinite(found.learned).all()


def test_a_rebuilt_trajectory_sees_and_decides_what_the_agents_did(trained):
    algorithm, networks = trained
    episode = play_episode(algorithm, networks, EPISODE)
    rebuilt = as_trajectory(algorithm, episode)
    position = np.asarray(rebuilt.observation)[:, :, 2:4]  # an agent sees itself after its velocity
    np.testing.assert_array_equal(position, episode.states.agent_position)
    for i in range(3):
        senders = [j for j in range(3) if j != i]
        np.testing.assert_array_equal(rebuilt.gates.decision[:, i], episode.masks[:, i, senders])


def test_standardised_by_hand():
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_allclose(standardised(x), [[-1, 0], [1, 0]])
    noisy = 1e6 + np.array([0, 1e-10, 0, 0])
    assert (standardised(noisy) == 0).all()


def test_resemblance_is_the_correlation_and_unknown_for_constants():
    rng = np.random.default_rng(0)
    shared, learned = rng.normal(size=25), rng.normal(size=(25, 2, 1))
    learned[:, 1] = 4.0
    alike = Advantages(0, 0, shared, learned, learned).resemblance()
    assert alike[0, 0] == pytest.approx(np.corrcoef(shared, learned[:, 0, 0])[0, 1])
    assert np.isnan(alike[1, 0])


def test_the_picture_holds_a_row_an_episode_and_a_column_a_sender():
    rng = np.random.default_rng(1)
    episodes = [
        Advantages(0, k, rng.normal(size=25), *rng.normal(size=(2, 25, 4, 3))) for k in range(2)
    ]
    figure = draw_advantages(episodes, agent=1)
    figure.canvas.draw()
    assert len(figure.axes) == 6
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[4].get_lines()}
    np.testing.assert_allclose(lines["learned eta"], standardised(episodes[1].learned)[:, 1, 1])
    np.testing.assert_allclose(lines["REINFORCE"], standardised(episodes[1].reinforce))
    assert figure.axes[4].get_title().startswith("1 \u2190 2")
    with pytest.raises(ValueError, match="no episode"):
        draw_advantages([])


def test_another_rule_is_refused_in_one_line():
    assert has_advantages(Algorithm(small()))
    algorithm = Algorithm(small(topology="full"))
    assert not has_advantages(algorithm)
    with pytest.raises(ConfigError, match="rules that judge each edge, as 'full' does not") as told:
        episode_advantages(algorithm, None, SEED, EPISODE)
    assert "\n" not in str(told.value)
