"""Lifetimes: what they are given, how they live and die, and the objective that a rule learns from."""

import copy
import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    Algorithm,
    assert_close,
    assert_same,
    is_same,
    is_zero,
    jit,
    made_up_trajectory,
    plain,
    scattered,
    size,
    small,
    unused_keys,
)

from purejax_mgtopo.algorithm.topology.edgewise.judged import Situation
from purejax_mgtopo.universal.conditions import Misplaced
from purejax_mgtopo.universal.lifetimes import Group
from purejax_mgtopo.universal.lives import MEASURES, Lot
from purejax_mgtopo.universal.settings import MetaTraining
from purejax_mgtopo.universal.trial import whole_life

SETTINGS = MetaTraining(lifetimes=2, fresh_episodes=2, shortest=4, longest=40, mean_l2=0.5)
TEAMS = 2


@functools.cache
def group(**changes) -> Group:
    changes = {"updates_per_iteration": 2, "learner__hidden": 4, **changes}
    experiment = small("random", "toy_follow_holder", **changes)
    made = Algorithm(experiment)
    learners = jit(jax.vmap(made.maddpg.init))(jax.random.split(jax.random.key(0), TEAMS))
    return Group(experiment, SETTINGS, learners.policy, ())


@functools.cache
def eta():
    return scattered(jit(group().rule.init_eta)(jax.random.key(1)), 1, 0.1)


@functools.cache
def life():
    return jit(group().born)(jax.random.key(2))


@functools.cache
def stepped():
    """One step of a lifetime that has just begun."""
    return jit(group().step)(eta(), life())


def test_lots_are_drawn_as_the_settings_say() -> None:
    lots = jit(jax.vmap(group().draw))(jax.random.split(jax.random.key(0), 4_000))
    length = np.asarray(lots.length)
    assert (length.min(), length.max()) == (4, 40) and np.all(length == np.floor(length))
    # Log-uniform: the middle is the geometric one, whatever the rounding.
    assert abs(np.mean(length <= np.sqrt(4 * 40)) - 0.5) < 0.04
    scale, price = np.asarray(lots.scale), np.asarray(lots.cost / lots.scale)
    assert 0.1 < scale.min() < 0.11 and 9 < scale.max() <= 10
    assert abs(np.mean(scale < 1) - 0.5) < 0.04
    assert price.min() >= 0 and 0.099 < price.max() <= 0.1 and abs(price.mean() - 0.05) < 0.002
    np.testing.assert_allclose(np.bincount(lots.policy) / 4_000, [0.5, 0.5], atol=0.04)
    assert abs(np.corrcoef(np.stack([scale, price]))[0, 1]) < 0.06


def test_rewards_are_scaled_and_priced_and_the_lot_s_team_plays() -> None:
    play = jit(group().play)
    gates, key = life().moving.gates, jax.random.key(3)

    def lot(policy, cost, scale):
        return Lot(jnp.asarray(policy), jnp.asarray(10.0), jnp.asarray(cost), jnp.asarray(scale))

    plain, priced = play(lot(0, 0.0, 1.0), gates, key), play(lot(0, 0.5, 3.0), gates, key)
    opened = np.asarray(plain.gates.decision).sum((1, 2))
    np.testing.assert_allclose(priced.reward, 3 * plain.reward - 0.5 * opened, rtol=1e-5)
    assert opened.std() > 0
    assert not is_same(plain.action, play(lot(1, 0.0, 1.0), gates, key).action)
    several, _ = jit(group().judged)(life(), key)
    assert not is_same(several.action[0], several.action[1])


def test_rewards_come_as_late_as_the_lot_says_and_prices_at_once() -> None:
    play = jit(group().play)
    gates, key = life().moving.gates, jax.random.key(3)
    lot = Lot(jnp.asarray(0), jnp.asarray(10.0), jnp.asarray(0.5), jnp.asarray(3.0))
    early = np.asarray(play(lot.replace(cost=jnp.asarray(0.0)), gates, key).reward, np.float64)
    for delay in (0, 1, 4, len(early) + 2):
        told = play(lot.replace(delay=jnp.asarray(delay)), gates, key)
        opened = np.asarray(told.gates.decision).sum((1, 2))
        came = np.zeros_like(early)
        for step, reward in enumerate(early):
            came[min(step + delay, len(early) - 1)] += reward
        np.testing.assert_allclose(told.reward, came - 0.5 * opened, rtol=1e-5, atol=1e-5)
        assert came.sum() == pytest.approx(early.sum())


def with_delays() -> Group:
    made = copy.copy(group())
    made.settings = replace(made.settings, longest_delay=3)
    return made


def test_delays_are_drawn_where_they_are_asked_for_and_change_nothing_else() -> None:
    keys = jax.random.split(jax.random.key(0), 2_000)
    usual, lots = (jit(jax.vmap(made.draw))(keys) for made in (group(), with_delays()))
    assert usual.delay is None
    np.testing.assert_allclose(np.bincount(lots.delay) / 2_000, [0.25] * 4, atol=0.04)
    others = np.stack([lots.length, lots.cost / lots.scale, lots.scale, lots.policy])
    assert np.abs(np.corrcoef(others, lots.delay)[-1, :-1]).max() < 0.08


def test_a_lifetime_goes_on_and_another_begins_in_the_place_of_one_that_is_over() -> None:
    ended, (gradient, measures) = stepped()
    assert ended.age == 2 and set(measures) == set(MEASURES)
    assert_same(ended.lot, life().lot)
    assert not is_same(ended.moving.gates, life().moving.gates)
    assert size(gradient) > 0 and all(np.isfinite(value) for value in measures.values())
    step = jit(group().step)
    over, _ = step(eta(), life().replace(age=life().lot.length))
    assert over.age == 2 and not is_same(over.lot, life().lot)
    lost = life().moving.replace(gates=jax.tree.map(lambda x: x * jnp.nan, life().moving.gates))
    mended, (gradient, _) = step(eta(), life().replace(moving=lost))
    assert mended.age == 2 and np.isfinite(size(mended.moving)) and np.isfinite(size(gradient))


def test_who_is_born_is_measured_in_its_own_scale() -> None:
    """Whatever the scale of the life before, which is over."""
    step, dead = jit(group().step), life().replace(age=life().lot.length)
    scales = (dead.lot.scale, 50 * dead.lot.scale)
    told = [step(eta(), dead.replace(lot=dead.lot.replace(scale=x)))[1][1] for x in scales]
    assert_same(*told)


def test_the_first_generation_is_of_all_ages() -> None:
    lives = jit(lambda keys: jax.lax.map(group().first, keys))(
        jax.random.split(jax.random.key(5), 60)
    )
    share = np.asarray(lives.age / lives.lot.length)
    assert 0 <= share.min() < 0.15 and 0.85 < share.max() < 1
    assert abs(share.mean() - 0.5) < 0.15


def test_gates_live_as_the_objective_replays_them() -> None:
    ended, (taus, told) = jit(group().lived)(eta(), life())

    def replay(moving, inputs):
        return group().rule.inner_step(eta(), moving, *inputs, True)[0], None

    moving, _ = jit(lambda m, x: jax.lax.scan(replay, m, x))(life().moving, (taus, told))
    assert_close(moving, ended.moving, rtol=1e-5, atol=1e-6)
    assert_same(jax.tree.map(lambda x: x[0], taus), life().trajectory)
    assert not is_same(taus.reward[1], taus.reward[0])
    # The progress that is told is a share of the life, one gate update later at each.
    progress = np.asarray(told.inputs.progress[:, 0, 0, 1])
    np.testing.assert_allclose(progress, np.array([0, 1]) / life().lot.length, rtol=1e-6)
    assert not is_same(ended.baseline.params, life().baseline.params)


@functools.cache
def told():
    """What was told of two short episodes."""
    with jax.enable_x64(False):
        return jax.tree.map(lambda x: x[:, :4], jit(group().lived)(eta(), life())[1][1])


def problem():
    """A window and fresh episodes that are made up, in the precision that is on."""

    def real(tree):
        return jax.tree.map(
            lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
        )

    shape = (4, 3, group().env.observation_size)
    taus, fresh = (made_up_trajectory(seed, *shape, lead=(2,)) for seed in (1, 2))
    advantages = jnp.asarray(np.random.default_rng(3).normal(size=(2, 4)), float)
    what = told()
    return real(eta()), real(life().moving), taus, real(what), fresh, advantages


def test_the_objective_is_what_it_says() -> None:
    told()
    with jax.enable_x64(True):
        eta, moving, taus, what, fresh, advantages = problem()
        value, f = jit(group().objective)(eta, moving, taus, what, fresh, advantages)
        made = []
        for k in range(2):
            tau, own = jax.tree.map(lambda x, k=k: x[k], (taus, what))
            moving, f_k, _ = jit(lambda e, m, t, w: group().rule.inner_step(e, m, t, w, True))(
                eta, moving, tau, own
            )
            made.append(f_k)
        np.testing.assert_allclose(f, np.stack(made), rtol=1e-9)
        chance = 1 / (1 + np.exp(-group().rule.logits(moving.gates, fresh.observation[:, :-1])))
        took = np.where(fresh.gates.decision == 1, chance, 1 - chance)
        weighed = np.mean(np.log(took) * np.asarray(advantages)[..., None, None])
        spread = -np.mean(chance * np.log(chance) + (1 - chance) * np.log(1 - chance))
        penalty = 5e-3 * np.mean(np.square(f)) + 0.5 * np.mean(f) ** 2
        np.testing.assert_allclose(value, weighed + 0.01 * spread - penalty, rtol=1e-8)


def test_the_gradient_equals_central_differences() -> None:
    """RMSprop's denominator is data, whose derivative is left out on purpose: an old nu outweighs the new."""
    told()
    with jax.enable_x64(True):
        made = group(gates__learning_rate=1e3)
        eta, moving, *rest = problem()
        moving = moving.replace(nu=jax.tree.map(lambda x: x + 1e6, moving.nu))
        data = (moving, *rest)
        flat, unravel = jax.flatten_util.ravel_pytree(eta)

        def objective(flat):
            return made.objective(unravel(flat), *data)[0]

        value, slope = jit(objective), np.asarray(jit(jax.grad(objective))(flat))
        directions = list(np.random.default_rng(0).normal(size=(2, flat.size)))
        directions += [1.0 * (np.arange(flat.size) == np.argmax(np.abs(slope)))]
        for direction in directions:
            above, below = (value(flat + h * direction) for h in (1e-6, -1e-6))
            np.testing.assert_allclose(slope @ direction, (above - below) / 2e-6, rtol=1e-4)
        others = jit(jax.grad(lambda *data: made.objective(eta, *data)[0], argnums=(0, 2, 4)))
        assert is_zero(others(*data))


@pytest.mark.slow
def test_whole_lives_are_compared_under_the_same_lots() -> None:
    """With f = 0 the shuffled rule is the rule; with f it is not, and sums over edges stay."""
    live = {}
    for shuffled in (False, True):
        made = copy.copy(group())
        if shuffled:
            made.rule = Misplaced(made.rule.experiment, made.rule.sizes)
        for name, own in (("zero", jax.tree.map(jnp.zeros_like, eta())), ("own", eta())):
            live[shuffled, name] = jit(lambda e, m=made: whole_life(m, e, 6, jax.random.key(0)))(
                own
            )
        f = made.rule.correction(eta(), life().moving.memory, *first_told(made))[0]
        live[shuffled, "f"] = np.sort(np.asarray(f).reshape(len(f), -1))
    assert live[False, "own"]["curve"].shape == (3,) and live[False, "own"]["right_open"] > 0
    assert_same(live[False, "zero"], live[True, "zero"])
    assert not is_same(live[False, "own"], live[True, "own"])
    assert not is_same(live[False, "own"], live[False, "zero"])
    np.testing.assert_array_equal(live[False, "f"], live[True, "f"])


def first_told(made):
    begun, tau = life(), life().trajectory
    situation = Situation(begun.age, begun.lot.length, begun.lot.cost)
    return tau, made.rule.told(begun.moving.gates, begun.baseline, tau, tau.reward, situation)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("lifetimes", 0),
        ("fresh_episodes", 0),
        ("shortest", 1),
        ("longest", 5),
        ("highest_cost", -1.0),
        ("largest_scale", 0.5),
        ("longest_delay", -1),
        ("learning_rate", 0.0),
        ("gradient_clip", 0.0),
        ("entropy", -1.0),
        ("checkpoint_every", 0),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(name: str, value: float) -> None:
    from purejax_mgtopo.errors import ConfigError
    from purejax_mgtopo.settings import override

    with pytest.raises(ConfigError, match="meta_train"):
        override(MetaTraining(), {name: value})


def test_the_baseline_learns_from_the_episodes_after_each_update() -> None:
    """tau(1), ..., tau(K), in order; tau(0) was learned from already."""
    ended, (taus, _) = jit(group().lived)(eta(), life())
    latest = jax.tree.map(lambda past, last: jnp.stack([*past[1:], last]), taus, ended.trajectory)
    assert not is_same(plain(latest.reward[-1]), plain(taus.reward[-1]))
    fitted, _ = jit(group().rule.fitted)(life().baseline, latest)
    assert_close(ended.baseline.params, fitted.params, rtol=1e-5, atol=1e-6)
    assert not is_same(ended.baseline.params, life().baseline.params)


def test_no_key_is_used_twice() -> None:
    with jax.debug_key_reuse(True):
        jit(group().first)(jax.random.key(4))
        jit(with_delays().draw)(jax.random.key(6))
        lived, _ = jit(group().lived)(eta(), unused_keys(life()))
        jit(group().judged)(unused_keys(lived), jax.random.key(5))


def test_births_and_fresh_episodes_have_keys_of_their_own() -> None:
    """A death is a choice between two keys, which the checker above cannot follow."""
    keys = []

    class Told(Exception):
        """Enough is known."""

    class Spied(Group):
        def born(self, key):
            keys.append(key)
            return super().born(key)

        def lived(self, eta, life):
            keys.append(life.key)
            return life, (None, None)

        def judged(self, life, key):
            keys.append(key)
            raise Told

    spied = copy.copy(group())
    spied.__class__ = Spied
    with pytest.raises(Told):
        spied.step(eta(), life())
    words = {jax.random.key_data(key).tobytes() for key in (*keys, life().key)}
    assert len(keys) == 3 and len(words) == 4
