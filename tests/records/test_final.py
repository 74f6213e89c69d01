"""The untrained team and the final evaluation in a run's records, and what "final return" means."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_population import FakePopulation, FakeStore, small
from resume_cases import Notes, Stopping, same_run, tiny
from stand_ins import resume, train

from purejax_mgtopo.algorithm.evaluate import FINAL as MEASURED
from purejax_mgtopo.algorithm.evaluate import evaluate, evaluation_keys
from purejax_mgtopo.analysis.curves import RunSummary, summarise_run
from purejax_mgtopo.analysis.statistics import Interval, interquartile_mean
from purejax_mgtopo.checkpoints.whole import verify_run
from purejax_mgtopo.cli.tables import summary_table
from purejax_mgtopo.config import EvaluationConfig, override
from purejax_mgtopo.mirror.rows import final_row
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.metrics import FINAL, read_metrics
from purejax_mgtopo.records.record import METRICS, read_events
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report.collect import read_run, standing_seeds
from purejax_mgtopo.report.words import what_final_means
from purejax_mgtopo.training.run_state import read_state

CONFIG = tiny("random", **{"evaluation.final_episodes": 5})  # three batches of two
NAMES = tuple(f"{FINAL}{name}" for name in MEASURED)


@functools.cache
def program(episodes: int = 12) -> Population:
    """Compiled once: longer runs are other programs, whose end is later."""
    return Population(override(CONFIG, {"episodes": episodes}))


def trained(folder: Path, population: Any = None, **more: Any) -> Path:
    made = population or program()
    train(made.config, folder, reporter=Notes(), population=lambda _: made, **more)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("final") / "run")


@functools.cache
def by_hand() -> tuple[Any, dict[int, Any]]:
    """What the untrained team does, and the trained one in each batch, by `evaluate` alone."""
    made = program()
    ask = jax.jit(lambda seed, batch: jax.vmap(lambda s: evaluate(made.algorithm, s, batch))(seed))
    state = made.init()
    lanes = jax.tree.map(np.asarray, jax.device_get(ask(state.seeds, 0)))
    for _ in range(made.config.experiment.chunks):
        state, _ = made.advance(state)
    batches = {batch: jax.device_get(ask(state.seeds, batch)) for batch in range(4)}
    return lanes, batches


def test_curves_begin_at_the_untrained_team(run: Path) -> None:
    data = load_run(run)
    np.testing.assert_array_equal(data.episodes, [0, 4, 8, 12])
    assert data.env_steps.tolist() == [25 * (3 + episode) for episode in (0, 4, 8, 12)]
    untrained = by_hand()[0]
    for name, values in untrained.items():
        np.testing.assert_allclose(data.column(name)[:, 0], values[:3], rtol=1e-4, err_msg=name)
    for name in ("train_return", "critic_loss", "train_edge_rate"):  # nothing was trained
        assert np.isnan(data.column(name)[:, 0]).all()
        assert np.isfinite(data.column(name)[:, 1:]).all()
    assert data.finite.all()


def test_the_final_evaluation_plays_other_episodes_and_is_the_mean_of_all(run: Path) -> None:
    data, batches = load_run(run), by_hand()[1]
    for name in MEASURED:
        expected = np.mean([batches[batch][name][:3] for batch in (1, 2, 3)], axis=0)
        column = data.column(f"{FINAL}{name}")
        np.testing.assert_allclose(column[:, -1], expected, rtol=1e-4, err_msg=name)
        assert np.isnan(column[:, :-1]).all()
        np.testing.assert_allclose(data.column(name)[:, -1], batches[0][name][:3], rtol=1e-4)
    assert (data.final.episodes, data.final.own) == (6, True)  # whole evaluations
    np.testing.assert_array_equal(data.final.return_sampled, data.column(NAMES[0])[:, -1])
    assert not np.allclose(data.final.return_sampled, data.return_sampled[:, -1])


def test_no_batch_shares_an_episode_with_another() -> None:
    settings = EvaluationConfig(episodes=7)
    assert settings.final_batches == 143  # a thousand and one
    batches = [bits(settings, 0), *(bits(settings, jnp.int32(b)) for b in range(1, 144))]
    assert len(set.union(*batches)) == 7 * 144
    assert bits(settings, jnp.int32(0)) == bits(settings, 0)  # as the program asks
    assert not bits(settings, 1) & bits(EvaluationConfig(episodes=7, seed=settings.seed + 1), 1)


def bits(settings: EvaluationConfig, batch: Any) -> set[bytes]:
    """Keys of a batch's episodes."""
    keys = jax.random.key_data(evaluation_keys(settings, batch))
    return {np.asarray(key).tobytes() for key in keys}


class Dying:
    """A program whose process is gone after the last chunk, before the final evaluation."""

    def __init__(self, population: Population) -> None:
        self._population = population

    def __getattr__(self, name: str) -> Any:
        return getattr(self._population, name)

    def advance(self, state: Any, wave: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            evaluated = self._population._evaluated

            def dies(lanes: Any, batches: Any) -> Any:
                if len(batches) > 1:
                    raise Gone
                return evaluated(lanes, batches)

            patch.setattr(self._population, "_evaluated", dies)
            return self._population.advance(state, wave)


class Gone(BaseException):
    pass


def test_a_run_killed_before_its_final_evaluation_goes_on_bit_for_bit(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(Gone):
        trained(tmp_path / "run", Dying(program()))
    before = load_run(tmp_path / "run")
    assert before.episodes.tolist() == [0, 4, 8]
    assert (before.final.episodes, before.final.own) == (2, False)
    resume(tmp_path / "run", reporter=Notes(), population=lambda _: program())
    same_run(run, tmp_path / "run")
    assert [e["episode"] for e in read_events(tmp_path / "run") if e["event"] == "final"] == [12]


def test_a_run_without_a_checkpoint_evaluates_the_untrained_team_once(
    run: Path, tmp_path: Path
) -> None:
    class Early(Dying):
        def advance(self, state: Any, wave: Any) -> Any:
            self._population.advance(state, wave)
            raise Gone

    with pytest.raises(Gone):
        trained(tmp_path / "run", Early(program()))
    resume(tmp_path / "run", reporter=Notes(), population=lambda _: program())
    same_run(run, tmp_path / "run")


@pytest.mark.slow  # another program; stand-ins go in waves below
def test_waves_have_both(run: Path, tmp_path: Path) -> None:
    """Stopped in the second wave, too."""
    made = Population(CONFIG, 2)
    trained(tmp_path / "run", Stopping(made, at=8))
    resume(tmp_path / "run", reporter=Notes(), population=lambda _: made)
    one, other = load_run(tmp_path / "run"), load_run(run)
    assert one.final.own
    for name in (*NAMES, "return_sampled"):
        np.testing.assert_allclose(one.column(name), other.column(name), rtol=1e-4, err_msg=name)


@pytest.mark.slow
def test_an_extended_run_ends_elsewhere(run: Path, tmp_path: Path) -> None:
    """Also where it is interrupted then, and goes on from the checkpoint of its first end."""
    short, whole = program(8), program(12)
    trained(tmp_path / "run", short)
    assert load_run(tmp_path / "run").final.own
    made = Stopping(whole, at=1)
    resume(tmp_path / "run", reporter=Notes(), population=lambda _: made, episodes=12)
    there = load_run(tmp_path / "run")
    assert not there.final.own and np.isnan(there.column(NAMES[0])).all()
    assert all(found.problem is None for found in verify_run(tmp_path / "run"))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "wave_0" / "10")
    resume(tmp_path / "run", reporter=Notes(), population=lambda _: whole)
    same_run(run, tmp_path / "run")
    assert all(found.problem is None for found in verify_run(tmp_path / "run"))


def test_without_a_final_evaluation_it_is_the_last_one_and_says_so(tmp_path: Path) -> None:
    made = Population(override(CONFIG, {"evaluation.final_episodes": 0}))
    trained(tmp_path / "run", made)
    data = load_run(tmp_path / "run")
    assert not set(NAMES) & set(data.columns)
    assert (data.final.episodes, data.final.own) == (2, False)
    np.testing.assert_array_equal(data.final.return_sampled, data.return_sampled[:, -1])
    summary = summarise_run("random", data)
    assert (summary.episodes, summary.own) == (2, False)


class Later(FakePopulation):
    """A stand-in of today's: with both evaluations."""

    def advance(self, state: Any, wave: Any) -> Any:
        after, report = super().advance(state, wave)
        if not state.episode:
            told = super().advance(after, wave)[1]
            before = dataclasses.replace(told, episode=0, env_steps=0, final=final_of(told))
            report = dataclasses.replace(report, before=before)
        if report.evaluation is not None:
            report = dataclasses.replace(report, final=final_of(report))
        return after, report


def final_of(report: Any) -> dict[str, Any]:
    more = 100 if report.episode == 40 else np.nan
    return {name: report.evaluation[name] + more for name in MEASURED}


def test_a_run_of_an_older_version_goes_on_as_it_began(tmp_path: Path) -> None:
    """Its later wave is evaluated as its first one was: seeds have as many rows as each other."""

    def stop(chunk: int) -> None:
        if chunk == 5:  # in the second wave
            raise Gone

    store = FakeStore({})
    with pytest.raises(Gone):
        train(
            small(lanes=2),
            tmp_path / "run",
            reporter=Notes(),
            population=lambda config: FakePopulation(config, stop, lanes=2),
            store=store,
        )
    store.kept.pop(tmp_path / "run" / "checkpoints" / "wave_1", None)
    options = {"population": lambda config: Later(config, lanes=2), "store": store}
    resume(tmp_path / "run", reporter=Notes(), **options)
    data = load_run(tmp_path / "run")
    assert data.episodes.tolist() == [20, 40] and data.seeds.tolist() == [0, 1, 2]
    assert (data.final.episodes, data.final.own) == (2, False)
    expected = float(np.mean(data.return_sampled[:, -1]))
    assert read_state(tmp_path / "run").returns == pytest.approx(expected)


def test_stand_ins_in_waves_have_both(tmp_path: Path) -> None:
    options = {"population": lambda config: Later(config, lanes=2), "store": FakeStore({})}
    train(small(lanes=2), tmp_path / "new", reporter=Notes(), **options)
    data = load_run(tmp_path / "new")
    assert data.episodes.tolist() == [0, 20, 40] and data.seeds.tolist() == [0, 1, 2]
    np.testing.assert_allclose(data.final.return_sampled, data.return_sampled[:, -1] + 100)
    assert np.isnan(data.column(NAMES[0])[:, :-1]).all() and data.final.own
    expected = float(np.mean(data.final.return_sampled))
    assert read_state(tmp_path / "new").returns == pytest.approx(expected)


def test_everywhere_the_final_return_is_the_final_evaluations(run: Path, tmp_path: Path) -> None:
    """Terminal, status, report, and the row of results of the mirror."""
    data = load_run(run)
    final = data.final.return_sampled
    expected = float(interquartile_mean(final))
    summary = summarise_run("random", data)
    assert summary.final_return.point == pytest.approx(expected)
    assert (summary.episodes, summary.own) == (6, True)
    assert read_state(run).returns == pytest.approx(float(np.mean(final)))
    told, _ = read_run(run)
    np.testing.assert_allclose(told.finals, final)
    assert told.final.point == pytest.approx(expected)
    assert (told.played, told.own_final) == (6, True)
    assert what_final_means([told]) == "means of 6 episodes of each seed"
    ranked = dict((standing, seed) for seed, standing in standing_seeds(data))
    assert ranked["best"] == data.seeds[np.argmax(final)]
    last = list(read_metrics([run / METRICS]))[-1]
    row = final_row(last, data.experiment)
    assert (
        row["final/final_return_iqm"] == pytest.approx(expected)
        and row["final/final_return_episodes"] == 6
    )
    assert f"final return {np.mean(final):.2f}" in repr(data)
    assert "mean of 6 episodes" in str(summary_table([summary]).caption)


def test_what_has_no_final_evaluation_is_named() -> None:
    summary = RunSummary("task", "meta", Interval(1.0, 0.0, 2.0), 0.5, 3, 3, 1.0, 100, False)
    other = dataclasses.replace(summary, method="full", episodes=1000, own=True)
    caption = str(summary_table([summary, other]).caption)
    assert "mean of 1,000 episodes" in caption and "last evaluation's: task/meta" in caption
    assert "these" in str(summary_table([summary]).caption)
