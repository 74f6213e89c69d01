"""The protocol of parts carries what is to come, continued: what all seeds share, and what parts measure."""

import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import NOTHING, assert_close, is_same, jit, small
from test_protocol import TASK, Asker, Talker, tables  # noqa: F401

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.part import Learned, Outer, Rule
from purejax_mgtopo.algorithm.types import Gates, Purpose
from purejax_mgtopo.config import Config, Means
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.methods import AxisEntry
from purejax_mgtopo.population.population import Population

SEEDS, K, CHUNK = 3, 2, 4


class Common(Rule):
    """Each seed's gates follow what all seeds share, and each asks to move that by what it has been paid."""

    measures: ClassVar[tuple[str, ...]] = ("shared_now",)
    outer_measures: ClassVar[tuple[str, ...]] = ("wish",)

    def init(self, key):
        return jax.random.normal(key, (3,))

    def init_shared(self, key):
        return {"eta": jax.random.normal(key, (3,))}

    def acting(self, state):
        return state

    def gate(self, acting, seen, moment):
        shape = (*seen.observation.shape[:-1], self.sizes.agents - 1)
        probability = jnp.broadcast_to(jax.nn.sigmoid(acting[0]), shape)
        return Gates(probability, (probability > 0.5).astype(float)), moment.carry

    def learn(self, state, trajectory, context):
        eta = context.shared["eta"]
        return Learned(state + 0.1 * (eta - state), {"shared_now": eta[1]}, jnp.sum(eta))

    def outer(self, shared, before, state, trajectories, trace):
        paid = jnp.mean(trajectories.reward)
        update = {"eta": paid * jnp.arange(1.0, 4.0) + jnp.mean(trace) + before - state}
        return Outer(state, {"wish": update["eta"][0]}, update)

    def apply(self, shared, update):
        return jax.tree.map(lambda x, u: x + 0.1 * u, shared, update)


class Liar(Asker):
    """Announces what it does not tell."""

    measures: ClassVar[tuple[str, ...]] = ("gain", "progress")


class Double(Talker):
    """Measures by a name that is taken."""

    measures: ClassVar[tuple[str, ...]] = ("gain",)


def enlist(setitem=lambda table, name, entry: table.update({name: entry})):
    """The parts of this file, in the tables."""
    for table, part in (
        (methods.TOPOLOGIES, Common),
        (methods.TOPOLOGIES, Liar),
        (methods.MESSAGES, Double),
    ):
        name = part.__name__.lower()
        setitem(table, name, AxisEntry(name, "for a test", f"{__name__}:{part.__name__}"))


@pytest.fixture(autouse=True)
def own_tables(monkeypatch):
    enlist(monkeypatch.setitem)


def sharing(axis="map", batch=0, **changes):
    """Three seeds that share; two chunks of two iterations of two updates."""
    changes = {"seeds": SEEDS, "episodes": 2 * CHUNK, "chunk_episodes": CHUNK, **changes}
    experiment = small("common+lstm", TASK, evaluation__every=CHUNK, **changes)
    return Config(experiment, Means(seed_axis=axis, microbatch=batch))


def poisoned(state, lane):
    """One seed's critic is not finite."""
    critic = jax.tree.map(lambda x: x.at[lane].set(jnp.nan), state.seeds.learner.critic)
    seed = replace(state.seeds, learner=replace(state.seeds.learner, critic=critic))
    return replace(state, lanes=replace(state.lanes, seed=seed))


def run(config, devices=None, dead=None):
    """Both chunks; what is shared at the start and after each, and the reports."""
    population = Population(config, devices=devices)
    state = population.init()
    if dead is not None:
        state = poisoned(state, dead)
    shared, reports = [state.shared], []
    for _ in range(config.experiment.chunks):
        state, report = population.advance(state)
        shared.append(state.shared)
        reports.append(report)
    return population, jax.tree.map(np.asarray, shared), reports


def by_hand(dead=()):
    """The same by a loop over iterations and seeds."""
    made = Algorithm(sharing().experiment)
    parts, clock, iterate = made.parts, made.start_clock(), jit(made.iterate)
    shared = parts.init_shared(Purpose.SHARING.key(0))
    alive = [jit(made.init)(jax.random.key(s)) for s in range(SEEDS) if s not in dead]
    seen, told = [shared], []
    for _ in range(2 * CHUNK // K):
        after, measures, updates = zip(*(iterate(s, clock, shared) for s in alive), strict=True)
        for start, end, update in zip(alive, after, updates, strict=True):
            # What is left without the way that the state has gone is what the seed was paid, as `outer` counts it.
            way = np.asarray(start.parts.rule - end.parts.rule)
            paid = update.rule["eta"] - np.sum(shared.rule["eta"]) - way
            np.testing.assert_allclose(paid, paid[0] * np.arange(1, 4), rtol=1e-3, atol=1e-4)
            assert np.abs(way).max() > 0.01
        alive, clock = list(after), clock.advanced(K)
        mean = jax.tree.map(lambda *x: sum(x) / len(x), *updates)
        shared = parts.apply(shared, mean)
        seen.append(shared)
        told.append([float(m["wish"]) for m in measures])
    return [seen[0], seen[2], seen[4]], np.array(told).reshape(2, 2, -1).mean(1)


@pytest.fixture(scope="module")
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        enlist(patch.setitem)
        return run(sharing(), jax.devices()[:1])


def test_what_seeds_share_moves_by_the_mean_of_their_updates(one_device):
    """A sum for a mean, an update applied once a chunk, a seed that does not see what the others did."""
    population, shared, reports = one_device
    assert (population.mesh.size, population.lanes) == (1, SEEDS)
    expected, wishes = by_hand()
    assert_close(shared, expected, rtol=1e-4, atol=1e-5)
    for report, wish in zip(reports, wishes, strict=True):
        np.testing.assert_allclose(report.training["wish"], wish, rtol=1e-3, atol=1e-4)
        assert len(set(report.training["wish"])) == SEEDS
        assert len(set(report.training["shared_now"])) == 1
    assert not is_same(shared[1], shared[0]) and not is_same(shared[2], shared[1])
    assert not jax.tree.leaves(shared[0].interpreter)


@pytest.mark.slow
def test_over_two_devices_with_an_idle_lane_they_share_the_same(one_device):
    """A mean of one device's seeds, or of idle lanes as well."""
    population, shared, reports = run(sharing(), jax.devices()[:2])
    assert (population.mesh.size, population.lanes) == (2, SEEDS + 1)
    assert_close(shared, one_device[1], rtol=1e-4, atol=1e-5)
    for one, other in zip(reports, one_device[2], strict=True):
        for name in one.training:
            np.testing.assert_allclose(
                one.training[name], other.training[name], rtol=2e-3, atol=1e-4, err_msg=name
            )


@pytest.mark.slow
@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_dead_seeds_update_is_left_out(devices):
    """It is not finite, and neither would be the mean; nor does it count as zero."""
    _, shared, reports = run(sharing(), jax.devices()[:devices], dead=1)
    assert [report.finite.tolist() for report in reports] == 2 * [[True, False, True]]
    expected, wishes = by_hand(dead=(1,))
    assert_close(shared, expected, rtol=1e-4, atol=1e-5)
    for report, wish in zip(reports, wishes, strict=True):
        np.testing.assert_allclose(report.training["wish"][[0, 2]], wish, rtol=1e-3, atol=1e-4)


def test_seeds_that_share_do_not_run_in_waves():
    with pytest.raises(ConfigError, match="give all 3 a lane") as refusal:
        Population(sharing(), lanes=2)
    assert "\n" not in str(refusal.value)


def test_seeds_of_ordinary_methods_share_nothing():
    for topology in ("none", "full", "reinforce", "stgs", "meta"):
        for messages in ("lstm", "commnet"):
            population = Population(Config(small(f"{topology}+{messages}", TASK)))
            assert not jax.tree.leaves(population.abstract().shared)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dead", "batch"),
    [(1, 2), *(pytest.param(*x, marks=pytest.mark.slow) for x in ((None, 0), (None, 2), (1, 0)))],
)
def test_vmapped_seeds_share_the_same(dead, batch):
    """In a process of its own on one core, where vmapped training cannot deadlock."""
    script = f"""
        import os
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiled faster, run once
        import numpy as np
        from core_cases import assert_close
        from test_protocol_population import enlist, run, sharing
        enlist()
        dead, batch = {dead}, {batch}
        _, expected, reports = run(sharing("map"), dead=dead)
        population, shared, others = run(sharing("vmap", batch), dead=dead)
        assert population.lanes == (4 if batch else 3)
        assert_close(shared, expected, rtol=1e-4, atol=1e-5)
        for one, other in zip(reports, others, strict=True):
            assert one.finite.tolist() == other.finite.tolist()
            alive = one.finite
            for name, values in one.training.items():
                np.testing.assert_allclose(
                    values[alive], other.training[name][alive], rtol=2e-3, atol=1e-4, err_msg=name
                )
        print("agree")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "agree" in done.stdout


def test_a_part_must_tell_what_it_announces():
    made = Algorithm(small("liar+grouped", TASK))
    with pytest.raises(
        TypeError, match=r"Liar announces \('gain', 'progress'\) and tells .*nearness"
    ):
        jax.eval_shape(
            lambda key: made.iterate(made.init(key), made.start_clock(), NOTHING), jax.random.key(0)
        )


def test_no_two_parts_measure_by_one_name():
    """One would be reported for the other."""
    with pytest.raises(TypeError, match="one name.*gain"):
        Algorithm(small("asker+double", TASK))


@pytest.mark.slow
def test_a_population_reports_what_parts_measure_by_their_names():
    settings = {"message__latency": 1, "seeds": 2}
    config = Config(small("asker+talker", TASK, **settings), Means(seed_axis="map"))
    population = Population(config)
    state, report = population.advance(population.init())
    names = {"gain", "progress", "nearness", "symbol_loss"}
    assert names <= set(report.training) == set(population.algorithm.measures)
    assert names <= set(report.since_evaluation)
    for name in names:
        assert report.training[name].shape == (2,) and np.isfinite(report.training[name]).all()
    assert len(set(report.training["symbol_loss"])) == 2
    assert not jax.tree.leaves(state.shared)
