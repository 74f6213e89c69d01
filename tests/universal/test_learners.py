"""Lifetimes in which everything learns: a training run's, with a lot and an end of their own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    Algorithm,
    assert_close,
    assert_same,
    is_same,
    jit,
    scattered,
    size,
    small,
    unused_keys,
)

from purejax_mgtopo.algorithm.topology.edgewise.weights import rule_bytes
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.universal.learners import LearningGroup
from purejax_mgtopo.universal.lives import MEASURES, Lot
from purejax_mgtopo.universal.settings import MetaTraining

SETTINGS = MetaTraining(phase="learning", lifetimes=2, fresh_episodes=2, shortest=4, longest=40)
SHAPE = {"updates_per_iteration": 2, "learner__hidden": 4, "episodes": 20}


@functools.cache
def group() -> LearningGroup:
    return LearningGroup(small("random", "toy_follow_holder", **SHAPE), SETTINGS)


@functools.cache
def eta():
    return scattered(jit(group().rule.init_eta)(jax.random.key(1)), 1, 0.1)


@functools.cache
def life():
    return jit(group().born)(jax.random.key(2))


def given(life, **changes):
    """A lifetime with another lot: unpriced and in the task's own scale, but for the changes."""
    lot = Lot(jnp.asarray(0), jnp.asarray(20.0), jnp.asarray(0.0), jnp.asarray(1.0))
    lot = lot.replace(**{name: jnp.asarray(value) for name, value in changes.items()})
    parts = life.state.parts
    parts = parts.replace(rule=parts.rule.replace(lot=lot))
    return life.replace(state=life.state.replace(parts=parts))


@functools.cache
def lived(**changes):
    return jit(group().lived)(eta(), given(life(), **changes))


def test_a_lifetime_is_a_training_run_under_the_rule(tmp_path) -> None:
    """Where nothing has a price and a life is as long as a run: every field, as the frozen rule trains it."""
    file = tmp_path / "rule.npz"
    file.write_bytes(rule_bytes(eta(), {}))
    changes = SHAPE | {"member__universal__file": str(file)}
    made = Algorithm(small("universal", "toy_follow_holder", **changes))
    begun = life().state
    rule = begun.parts.rule
    frozen = jit(made.init)(jax.random.key(0)).parts.rule
    frozen = frozen.replace(moving=rule.moving, baseline=rule.baseline)
    start = begun.replace(parts=begun.parts.replace(rule=frozen))
    run, _, _ = jit(made.iterate)(start, made.start_clock(), Both())
    ended, _ = lived()
    assert (int(ended.age), int(ended.clock.stored)) == (2, int(life().clock.stored) + 2)
    assert_close(ended.moving, run.parts.rule.moving, rtol=1e-5, atol=1e-6)
    assert_close(ended.baseline, run.parts.rule.baseline, rtol=1e-5, atol=1e-6)
    for name in ("learner", "target", "replay", "trajectory"):
        assert_close(getattr(ended.state, name), getattr(run, name), rtol=1e-5, atol=1e-5)
    assert not is_same(ended.moving.gates, life().moving.gates)
    assert not is_same(ended.state.learner.policy, life().state.learner.policy)


def test_scale_and_price_are_the_rule_s_alone() -> None:
    """Critic and policies learn from the task's rewards; what the rule learns from is handed over as it was told."""
    plain, (bare, _) = lived()
    priced, (taus, told) = lived(cost=0.5, scale=3.0, length=10.0)
    opened = np.asarray(bare.gates.decision[0]).sum((1, 2))
    np.testing.assert_allclose(taus.reward[0], 3 * bare.reward[0] - 0.5 * opened, rtol=1e-5)
    assert opened.std() > 0
    np.testing.assert_allclose(told.inputs.cost, 0.5)
    np.testing.assert_allclose(told.inputs.progress[:, 0, 0, 1], [0, 1 / 10], rtol=1e-6)
    reward = np.asarray(taus.reward)
    signlog = np.sign(reward) * np.log1p(np.abs(reward))
    np.testing.assert_allclose(told.inputs.reward[:, :, 0, 1], signlog, rtol=1e-5)
    assert not is_same(priced.moving.gates, plain.moving.gates)
    assert_same(bare.reward[0], life().state.trajectory.reward)
    row = int(life().clock.stored)  # where the replay holds tau(0)
    for replay in (plain.state.replay, priced.state.replay):
        assert_same(replay.reward[row], bare.reward[0])


def test_gates_live_as_the_objective_replays_them() -> None:
    ended, (taus, told) = lived(cost=0.5, scale=3.0, length=10.0)

    def replay(moving, inputs):
        return group().rule.inner_step(eta(), moving, *inputs, True)[0], None

    moving, _ = jit(lambda m, x: jax.lax.scan(replay, m, x))(life().moving, (taus, told))
    assert_close(moving, ended.moving, rtol=1e-5, atol=1e-6)


def test_a_lifetime_goes_on_and_another_begins_in_the_place_of_one_that_is_over() -> None:
    step = jit(group().step)
    ended, (gradient, measures) = step(eta(), given(life()))
    assert int(ended.age) == 2 and set(measures) == set(MEASURES)
    assert_same(ended.lot, given(life()).lot)
    assert size(gradient) > 0 and all(np.isfinite(value) for value in measures.values())
    over, _ = step(eta(), group().aged(given(life()), jnp.asarray(20.0)))
    assert int(over.age) == 2 and not is_same(over.lot, given(life()).lot)
    assert not is_same(over.state.learner.critic, ended.state.learner.critic)
    lost = given(life())
    rule = lost.state.parts.rule
    sick = rule.replace(moving=jax.tree.map(lambda x: x * jnp.nan, rule.moving))
    lost = lost.replace(state=lost.state.replace(parts=lost.state.parts.replace(rule=sick)))
    mended, (gradient, _) = step(eta(), lost)
    assert int(mended.age) == 2 and np.isfinite(size(mended.moving)) and np.isfinite(size(gradient))


def test_fresh_episodes_are_played_by_the_lifetime_as_it_is_now() -> None:
    ended, _ = lived(cost=0.5, scale=3.0, length=10.0)
    play = jit(group().played)
    key = jax.random.key(7)
    now = play(ended, key)
    state = ended.state
    past = state.replace(target=jax.tree.map(jnp.zeros_like, state.target))
    assert_same(play(ended.replace(state=past), key), now)
    unlearned = state.learner.replace(policy=life().state.learner.policy)
    other = play(ended.replace(state=state.replace(learner=unlearned)), key)
    assert not is_same(now.action, other.action)
    several, _ = jit(group().judged)(ended, key)
    assert not is_same(several.action[0], several.action[1])
    bare = play(given(ended), key)
    opened = np.asarray(bare.gates.decision).sum((1, 2))
    np.testing.assert_allclose(now.reward, 3 * bare.reward - 0.5 * opened, rtol=1e-5)


def test_no_key_is_used_twice() -> None:
    with jax.debug_key_reuse(True):
        jit(group().first)(jax.random.key(4))
        jit(group().judged)(unused_keys(life()), jax.random.key(5))


def test_no_two_births_are_alike() -> None:
    one, other = (jit(group().first)(jax.random.key(seed)) for seed in (8, 9))
    for life in (one, other):
        lot = life.lot
        assert 4 <= lot.length <= 40 and 0.1 <= lot.scale <= 10 and 0 < lot.cost <= lot.scale * 0.1
    for name in ("lot", "moving"):
        assert not is_same(getattr(one, name), getattr(other, name))
    assert not is_same(one.state.learner, other.state.learner)
    assert int(one.age) < float(one.lot.length) and int(other.age) < float(other.lot.length)


@pytest.mark.parametrize(("name", "value"), [("phase", "frozn"), ("start", 3)])
def test_a_wrong_phase_is_refused_by_its_name(name: str, value) -> None:
    from purejax_mgtopo.errors import ConfigError
    from purejax_mgtopo.settings import override

    with pytest.raises(ConfigError, match=name):
        override(MetaTraining(), {name: value})
