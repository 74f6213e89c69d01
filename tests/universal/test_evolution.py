"""Evolution: pairs of whole lives, and the way that the better of the two shows."""

import functools
from pathlib import Path
from types import SimpleNamespace

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import assert_same, is_same, jit, size
from fake_population import Notes
from test_lifetimes import eta, group, life

from purejax_mgtopo.config import Means
from purejax_mgtopo.universal import evolution, training
from purejax_mgtopo.universal.evolution import MEASURES, Evolution
from purejax_mgtopo.universal.learning import Learning
from purejax_mgtopo.universal.recipe import load_meta_recipe
from purejax_mgtopo.universal.settings import MetaTraining

SETTINGS = MetaTraining(estimator="evolution", lifetimes=64, deviation=0.5, learning_rate=0.1)
SLOPE = jnp.array([1.0, -2.0, 0.5])


@flax.struct.dataclass
class Life:
    lot: SimpleNamespace
    age: jax.Array
    moving: jax.Array
    key: jax.Array


@flax.struct.dataclass
class Lot:
    length: jax.Array
    scale: jax.Array


class Plane:
    """Lifetimes whose return rises along a line, beside far larger noise that is the same for both of a pair."""

    settings = SETTINGS
    rule = SimpleNamespace(init_eta=lambda key: jnp.zeros(3))

    def born(self, key):
        key, length_key, scale_key = jax.random.split(key, 3)
        length = jnp.floor(jax.random.uniform(length_key, minval=1, maxval=9))
        scale = jax.random.uniform(scale_key, minval=0.1, maxval=10)
        return Life(Lot(length, scale), jnp.zeros(()), jnp.zeros(()), key)

    def lived(self, eta, life):
        key, noise_key = jax.random.split(life.key)
        reward = (eta @ SLOPE + 1000 * jax.random.normal(noise_key)) * life.lot.scale
        opened = jax.nn.sigmoid(eta[0]) + 0.0 * life.age
        told = SimpleNamespace(
            reward=jnp.full((2, 5), reward / 5), gates=SimpleNamespace(decision=opened)
        )
        return life.replace(age=life.age + 3, key=key), (told, None)


def pair_of(key, eta):
    made = Evolution(Plane())
    return made.step(eta, made.first(key))


def test_the_better_of_a_pair_shows_the_way() -> None:
    """Noise that differs between the two, a direction away from the better, a rule that is not shifted both ways."""
    start = jnp.array([0.3, 0.1, -0.2])
    keys = jax.random.split(jax.random.key(0), 200)
    _, (direction, told) = jit(jax.vmap(functools.partial(pair_of, eta=start)))(keys)
    rise = np.asarray(direction @ SLOPE)
    assert np.all(rise > 0)
    # The two are 2 x 0.5 x the rise apart, in float32 beside returns of hundreds.
    np.testing.assert_allclose(told["difference"], rise, atol=0.01)
    assert set(told) == set(MEASURES)
    # Each number of the noise is as large as a normal one.
    np.testing.assert_allclose(np.mean(np.square(direction), axis=0), 1, atol=0.35)
    away = np.asarray(jax.nn.sigmoid(start[0] + 0.5 * direction[:, 0]))
    back = np.asarray(jax.nn.sigmoid(start[0] - 0.5 * direction[:, 0]))
    np.testing.assert_allclose(told["edge_rate"], (away + back) / 2, rtol=1e-5)
    assert np.std(np.asarray(told["return"])) > 100


def test_a_rule_climbs_by_the_mean_of_its_pairs() -> None:
    made = Learning(SETTINGS, [Evolution(Plane()), Evolution(Plane())], Means())
    state = made.init()
    for _ in range(10):
        state, measures = made.advance(state)
    assert all(float(each["sound"]) == 1 for each in measures)
    assert float(state.eta @ SLOPE) > 2
    assert not is_same(state.lives[0].key, state.lives[1].key)


def test_every_pair_is_another() -> None:
    first, (one, told) = jit(pair_of)(jax.random.key(0), jnp.zeros(3))
    _, (two, other) = jit(Evolution(Plane()).step)(jnp.zeros(3), first)
    assert not is_same(one, two) and not is_same(told["return"], other["return"])


def whole(rule=None):
    return jit(Evolution(group()).whole)(eta() if rule is None else rule, life())


def test_a_life_is_lived_to_its_end_and_all_of_it_counts() -> None:
    """Lives that end a window early (K = 2), count their last window alone, or are not in the task's scale."""
    begun = life().replace(lot=life().lot.replace(length=jnp.asarray(5.0)))
    returned, opened = jit(Evolution(group()).whole)(eta(), begun)
    lived, now, returns, edges = jit(group().lived), begun, [], []
    for _ in range(3):
        now, (taus, _) = lived(eta(), now)
        returns.append(np.asarray(taus.reward).sum(axis=-1))
        edges.append(np.asarray(taus.gates.decision))
    np.testing.assert_allclose(returned, np.mean(returns) / begun.lot.scale, rtol=1e-5)
    np.testing.assert_allclose(opened, np.mean(edges), rtol=1e-5)
    assert float(begun.lot.scale) != 1 and np.std(returns) > 0


def test_what_is_not_finite_is_nobody_s_better_half() -> None:
    lost = jax.tree.map(lambda x: x * jnp.nan, eta())
    assert np.isnan(whole(lost)[0]) and np.isfinite(whole()[0])


def test_both_halves_begin_alike_and_end_apart() -> None:
    step = jit(Evolution(group()).step)
    after, (direction, told) = step(eta(), Evolution(group()).first(jax.random.key(7)))
    assert size(direction) > 0 and float(told["difference"]) > 0
    assert jax.tree.structure(direction) == jax.tree.structure(eta())
    leaves = jax.tree.leaves(direction)
    assert len({np.asarray(x).tobytes() for x in leaves}) == len(leaves)
    again, (same_direction, same_told) = step(eta(), Evolution(group()).first(jax.random.key(7)))
    assert_same((after, direction, told), (again, same_direction, same_told))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_noise_of_no_size_is_refused(value: float) -> None:
    from purejax_mgtopo.errors import ConfigError
    from purejax_mgtopo.settings import override

    with pytest.raises(ConfigError, match="meta_train.deviation"):
        override(MetaTraining(), {"deviation": value})


def test_births_noise_and_the_next_pair_have_keys_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both halves are lived with the same keys on purpose, so that JAX's own checker is of no use."""
    keys = []
    noise = evolution._noise

    class Spied(Plane):
        def born(self, key):
            keys.append(key)
            return super().born(key)

    def spied(key, like):
        keys.append(key)
        return noise(key, like)

    monkeypatch.setattr(evolution, "_noise", spied)
    pair = evolution.Pair(jax.random.key(4))
    after, _ = Evolution(Spied()).step(jnp.zeros(3), pair)
    words = {jax.random.key_data(key).tobytes() for key in (*keys, pair.key, after.key)}
    assert len(keys) == 2 and len(words) == 4


@pytest.mark.parametrize("estimator", ["evolution", "gradient"])
def test_a_recipe_says_by_what_a_rule_learns(
    estimator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lessons: list[object] = []

    class Told(Exception):
        """Enough is known."""

    def learning(settings, groups, means, start):
        lessons.extend(groups)
        raise Told

    monkeypatch.setattr(training, "_groups", lambda *_: [Plane(), Plane()])
    monkeypatch.setattr(training, "Learning", learning)
    path = tmp_path / "meta_train.toml"
    path.write_text(f'tasks = ["toy_follow_holder"]\nmeta_train.estimator = "{estimator}"\n')
    with pytest.raises(Told):
        training.meta_train(load_meta_recipe(path), tmp_path / "out", Notes())
    expected = Evolution if estimator == "evolution" else Plane
    assert [type(each) for each in lessons] == [expected] * 2
