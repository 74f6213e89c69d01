"""Seeds in one program: each one's result is its own, whatever else runs and however seeds are batched."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence

import jax
import numpy as np
import pytest
from quick_xla import users_options

from purejax_mgtopo.config import Config, Experiment, override, with_method
from purejax_mgtopo.machine.compiler import compiler_options
from purejax_mgtopo.methods import TOPOLOGIES
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.population.state import ChunkReport, PopulationState

TINY = {
    "learner.hidden": 8,
    "learner.batch_size": 8,
    "learner.replay_transitions": 200,
    "learner.warmup_episodes": 3,
    "meta.hidden": 8,
    "updates_per_iteration": 2,
    "chunk_episodes": 4,
    "evaluation.every": 8,
    "evaluation.episodes": 4,
    "evaluation.final_episodes": 8,
    "episodes": 12,
    "seed_axis": "map",
}


def tiny(method: str = "meta", **changes: object) -> Config:
    return override(Config(with_method(Experiment(), method)), TINY | changes)


def run(
    config: Config, devices: Sequence[jax.Device] | None = None
) -> tuple[Population, PopulationState, list[ChunkReport]]:
    population = Population(config, devices=devices)
    state = population.init()
    reports = []
    for _ in range(config.experiment.chunks):
        state, report = population.advance(state)
        reports.append(report)
    return population, state, reports


@pytest.fixture(scope="module", autouse=True)
def _compiled_as_for_users() -> Iterator[None]:
    """Batches of other sizes are other programs; that they agree to the last bit is promised of optimised ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "purejax_mgtopo.population.population.compiler_options",
            lambda *of: users_options() | (compiler_options(*of) or {}),
        )
        yield


@pytest.fixture(scope="module")
def three() -> tuple[Population, PopulationState, list[ChunkReport]]:
    return run(tiny(seeds=3))


def leaves(state: PopulationState, lane: int) -> list[np.ndarray]:
    seeds = jax.tree.map(
        lambda x: (
            jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ),
        state.lanes,
    )
    return [np.asarray(leaf)[lane] for leaf in jax.tree.leaves(seeds)]


def test_spreads_over_both_devices(three) -> None:
    population, state, _ = three
    assert population.mesh.size == 2 and population.lanes_per_device == 2
    assert len(state.seeds.trajectory.reward.sharding.device_set) == 2


def test_the_same_seeds_twice_are_identical(three) -> None:
    _, state, reports = three
    _, again, reports_again = run(tiny(seeds=3))
    for lane in range(3):
        for a, b in zip(leaves(state, lane), leaves(again, lane), strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(reports, reports_again, strict=True):
        for name in a.training:
            np.testing.assert_array_equal(a.training[name], b.training[name])


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_seed_alone_equals_the_seed_among_others(three, seed: int) -> None:
    """Bitwise, all state and all metrics."""
    _, state, reports = three
    _, alone, reports_alone = run(tiny(seeds=1, first_seed=seed))
    for a, b in zip(leaves(state, seed), leaves(alone, 0), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(reports, reports_alone, strict=True):
        for name in a.training:
            assert a.training[name][seed] == b.training[name][0], name


@functools.cache
def alone_of_the_grid(
    rule: str, agents: int, seed: int
) -> tuple[PopulationState, list[ChunkReport]]:
    """A seed alone, on one device."""
    config = override(of_the_grid(rule, agents), {"seeds": 1, "first_seed": seed})
    return run(config, jax.devices()[:1])[1:]


def of_the_grid(rule: str, agents: int) -> Config:
    changes = {
        "task": f"navigation_N{agents}_l1",
        "learner.hidden": 16,
        "meta.hidden": 16,
        "learner.batch_size": 64,  # so many that messages are packed
        "seeds": 3,
        "episodes": 8,
    }
    return tiny(rule, **changes)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # mostly to compile, of which N = 6 asks for minutes
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("agents", [3, 6])
@pytest.mark.parametrize("rule", TOPOLOGIES)
def test_for_every_rule_a_seed_alone_equals_the_seed_among_others(
    rule: str, agents: int, devices: int
) -> None:
    """Bitwise, all state and all that is reported: also where the program is larger, or another one."""
    population, state, reports = run(of_the_grid(rule, agents), jax.devices()[:devices])
    assert population.mesh.size == devices
    for seed in (0, 2):
        alone, reports_alone = alone_of_the_grid(rule, agents, seed)
        for a, b in zip(leaves(state, seed), leaves(alone, 0), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(reports, reports_alone, strict=True):
            for name in population.algorithm.measures:
                assert a.training[name][seed] == b.training[name][0], name
        for name, values in reports[-1].evaluation.items():
            np.testing.assert_array_equal(values[seed], reports_alone[-1].evaluation[name][0])


def test_seeds_differ(three) -> None:
    _, state, reports = three
    last = reports[-1]
    for name in ("train_return", "critic_loss", "policy_loss", "meta_gradient_norm"):
        assert len(set(last.training[name])) == 3, name
    for a, b in zip(leaves(state, 0), leaves(state, 1), strict=True):
        if a.dtype == np.float32 and a.size > 100 and np.std(a) > 0:
            assert not np.array_equal(a, b)


def test_evaluates_when_due_and_at_the_end(three) -> None:
    _, _, reports = three
    assert [r.episode for r in reports] == [4, 8, 12]
    assert [r.evaluation is not None for r in reports] == [False, True, True]
    assert [r.env_steps for r in reports] == [(3 + e) * 25 for e in (4, 8, 12)]
    for report in reports[1:]:
        assert {"return_sampled", "return_greedy", "edge_rate"} <= set(report.evaluation)
        assert all(np.isfinite(values).all() for values in report.evaluation.values())
        assert all(values.shape[0] == 3 for values in report.evaluation.values())
        pairs = report.evaluation["pair_rate"]
        assert pairs.shape == (3, 3, 3) and np.trace(pairs, axis1=1, axis2=2).max() == 0
        np.testing.assert_allclose(
            pairs.sum(axis=(1, 2)) / 6, report.evaluation["edge_rate"], rtol=1e-6
        )


def test_reports_what_each_rule_has(three) -> None:
    population, _, reports = three
    training = reports[-1].training
    assert set(training) == set(population.algorithm.measures)
    for name in ("advantage_norm", "gate_gradient_norm", "baseline_loss", "meta_gradient_norm"):
        assert np.isfinite(training[name]).all(), name
    assert reports[-1].finite.all()


def test_a_poisoned_seed_is_reported_and_leaves_its_neighbours_alone(three) -> None:
    import dataclasses

    population = three[0]
    clean = population.init()
    critic = jax.tree.map(lambda x: x.at[1].set(np.nan), clean.seeds.learner.critic)
    learner = dataclasses.replace(clean.seeds.learner, critic=critic)
    seeds = dataclasses.replace(clean.seeds, learner=learner)
    poisoned = dataclasses.replace(clean, lanes=dataclasses.replace(clean.lanes, seed=seeds))
    _, report = population.advance(poisoned)
    assert report.finite.tolist() == [True, False, True]
    expected = three[2][0].training["critic_loss"]
    assert report.training["critic_loss"][0] == expected[0]
    assert report.training["critic_loss"][2] == expected[2]


@pytest.mark.slow
def test_a_seed_that_leaves_the_finite_numbers_is_frozen_where_it_last_was() -> None:
    """Its critic explodes in the second chunk; the parameters of the first stay, and evaluate."""
    import dataclasses

    population = Population(tiny(seeds=2))
    state, _ = population.advance(population.init())
    before = [np.array(x[1]) for x in jax.tree.leaves(state.seeds.learner)]
    neighbour = jax.tree.map(lambda x: np.array(x[0]), state.seeds.learner)
    replay = dataclasses.replace(
        state.seeds.replay, reward=state.seeds.replay.reward.at[1].set(np.inf)
    )
    seeds = dataclasses.replace(state.seeds, replay=replay)
    state = dataclasses.replace(state, lanes=dataclasses.replace(state.lanes, seed=seeds))
    for _ in range(2):
        state, report = population.advance(state)
        assert report.finite.tolist() == [True, False]
    for old, new in zip(before, jax.tree.leaves(state.seeds.learner), strict=True):
        np.testing.assert_array_equal(old, new[1])
    assert np.isfinite(report.evaluation["return_sampled"]).all()
    moved = [
        not np.array_equal(old, new[0])
        for old, new in zip(
            jax.tree.leaves(neighbour), jax.tree.leaves(state.seeds.learner), strict=True
        )
    ]
    assert all(moved)


def test_training_columns_are_means_since_the_last_evaluation(three) -> None:
    *_, reports = three
    of = {name: name for name in reports[0].training if name != "edge_rate"}
    of["train_edge_rate"] = "edge_rate"  # an evaluation has one as well
    assert set(reports[1].since_evaluation) == set(reports[2].since_evaluation) == set(of)
    for name, values in reports[1].since_evaluation.items():
        expected = np.mean([report.training[of[name]] for report in reports[:2]], axis=0)
        np.testing.assert_allclose(values, expected, rtol=1e-6, err_msg=name)
    for name, values in reports[2].since_evaluation.items():
        np.testing.assert_allclose(values, reports[2].training[of[name]], rtol=1e-6, err_msg=name)
    assert reports[0].since_evaluation is None


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("lanes", [1, 2])
def test_in_waves_every_seed_is_what_it_is_among_all(three, lanes: int) -> None:
    """Bitwise; the last wave may have idle lanes, which are not reported."""
    _, state, reports = three
    population = Population(tiny(seeds=3), lanes)
    seen = []
    for wave in population.waves:
        part = population.init(wave)
        for expected in reports:
            part, report = population.advance(part, wave)
            at = report.seeds
            for name in report.training:
                np.testing.assert_array_equal(report.training[name], expected.training[name][at])
        for lane, seed in enumerate(at):
            seen.append(int(seed))
            for a, b in zip(leaves(part, lane), leaves(state, seed), strict=True):
                np.testing.assert_array_equal(a, b)
    assert seen == [0, 1, 2]


def test_a_state_is_what_it_says_without_being_computed(three) -> None:
    population, state, _ = three
    told = population.abstract()
    assert jax.tree.structure(told) == jax.tree.structure(state)
    for shape, array in zip(jax.tree.leaves(told), jax.tree.leaves(state), strict=True):
        assert (shape.shape, shape.dtype) == (array.shape, array.dtype)
        if array.size:  # what holds nothing lies nowhere
            assert shape.sharding.is_equivalent_to(array.sharding, array.ndim)


@pytest.mark.slow
def test_more_lanes_cost_their_states_and_no_copies() -> None:
    """A program that held all states twice, once read and once written, would not pass."""

    def memory(seeds: int) -> tuple[int, int]:
        changes = {"seeds": seeds, "topology": "none", "learner.replay_transitions": 50_000}
        population = Population(tiny(**changes))
        analysis = population.compiled(population.abstract()).memory_analysis()
        return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes  # of one device

    (state_2, temporary_2), (state_4, temporary_4) = memory(4), memory(8)
    grown = (state_4 - state_2) / 2
    assert grown > 1_000_000  # mostly replay
    assert temporary_4 - temporary_2 < 0.1 * 2 * grown


@pytest.mark.slow
def test_compiles_once() -> None:
    """No program is compiled after the first chunk."""
    compiled: list[str] = []
    population = Population(tiny(seeds=2))
    state = population.init()
    state, _ = population.advance(state)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
    )
    try:
        for _ in range(2):
            state, _ = population.advance(state)
    finally:
        jax.monitoring.clear_event_listeners()
    assert compiled == []


@pytest.mark.slow  # four programs
def test_vmap_and_map_agree() -> None:
    """Both seed axes give the same numbers, to float tolerance.

    In a process of its own on one core: there XLA's pool has one thread, and vmapped training cannot deadlock.
    """
    script = f"""
        import os
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiled faster, run once
        import numpy as np
        from purejax_mgtopo.config import Config, Experiment, override, with_method
        from purejax_mgtopo.population.population import Population
        reports = []
        for axis, batch in (("map", 0), ("vmap", 0), ("vmap", 2)):
            changes = {TINY!r} | {{"seed_axis": axis, "seeds": 3, "episodes": 8, "microbatch": batch}}
            population = Population(override(Config(with_method(Experiment(), "meta")), changes))
            state = population.init()
            for _ in range(2):
                state, report = population.advance(state)
            reports.append(report)
        for other in reports[1:]:
            for name, values in reports[0].training.items():
                np.testing.assert_allclose(values, other.training[name], rtol=2e-3, atol=1e-4, err_msg=name)
        assert len(set(reports[0].training["train_return"])) == 3
        print("agree")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "agree" in done.stdout
