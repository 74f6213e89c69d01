"""A run without any finite seed left stops, says so, and is not played."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest
import stand_ins
from fake_population import FakePopulation, FakeStore, Notes, small
from resume_cases import tiny
from stand_ins import stand_ins as standing_in

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.cli import running
from purejax_mgtopo.config import Config, EvaluationConfig
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.population import Population, PopulationState
from purejax_mgtopo.records.record import Status, read_events, status
from purejax_mgtopo.records.run_data import is_lost
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.training import run as runner
from purejax_mgtopo.training import sweep as sweeps
from purejax_mgtopo.training.recipe import parse_recipe
from purejax_mgtopo.training.stop import heard
from purejax_mgtopo.universal.recipe import load_meta_recipe
from purejax_mgtopo.universal.training import _groups as teams


def dead(config: Config) -> FakePopulation:
    return FakePopulation(config, broken_seed=config.experiment.first_seed)


def train(folder: Path, **options: object) -> runner.RunResult:
    store = options.pop("store", FakeStore({}))
    population = options.pop("population", dead)
    return stand_ins.train(
        small(**options), folder, reporter=Notes(), population=population, store=store
    )


def chunks(folder: Path) -> list[int]:
    return [event["episode"] for event in read_events(folder) if event["event"] == "chunk"]


def test_it_ends_with_the_chunk_in_which_the_last_seed_was_lost(tmp_path: Path) -> None:
    store = FakeStore({})
    result = train(tmp_path, seeds=1, store=store)
    assert result.all_lost and result.hopeless and not result.interrupted and result.episode == 10
    assert chunks(tmp_path) == [10]
    last = list(read_events(tmp_path))[-1]
    assert (last["event"], last["all_lost"]) == ("failed", True) and "no seed" in last["error"]
    with pytest.raises(RunError, match="all seeds of .* have left the finite numbers"):
        stand_ins.resume(tmp_path, reporter=Notes(), population=dead, store=store)


def test_while_one_is_finite_it_goes_on(tmp_path: Path) -> None:
    result = train(tmp_path / "two", seeds=2)
    assert not result.all_lost and result.episode == 40
    # The first of two waves is lost, and the other is trained all the same.
    result = train(
        tmp_path / "waves",
        seeds=2,
        population=lambda config: FakePopulation(config, broken_seed=0, lanes=1),
    )
    assert not result.all_lost and result.episode == 80
    # Nor is the second one's loss that of all.
    result = train(
        tmp_path / "others",
        seeds=2,
        population=lambda config: FakePopulation(config, broken_seed=1, lanes=1),
    )
    assert not result.all_lost and result.episode == 80


@pytest.fixture
def no_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "check_tasks", lambda configs: None)


def test_the_command_says_so_and_fails(
    tmp_path: Path, no_jax: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--no-cache --seeds 1 --episodes 400 --wandb off --out".split()
    with standing_in(population=dead, store=FakeStore({})):
        assert cli.main(["train", *words, str(tmp_path / "run")]) == 1
        shown = capsys.readouterr().err
        assert "no seed of" in shown and "stayed finite" in shown and "finished" not in shown
        assert cli.main(["resume", "--no-cache", str(tmp_path / "run")]) == 1
    assert cli.main(["status", str(tmp_path / "run")]) == 0
    assert "failed: no seed is left" in capsys.readouterr().out


def first_is_dead(config: Config) -> FakePopulation:
    return dead(config) if config.experiment.method == "none" else FakePopulation(config)


def test_a_sweep_trains_the_others_and_fails(
    tmp_path: Path, no_jax: None, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {
        "tasks": ["toy_public"],
        "methods": ["none", "meta"],
        "seeds": 1,
        "config": {"episodes": 40, "chunk_episodes": 10, "evaluation": {"every": 20}},
    }
    recipe = parse_recipe(document, tmp_path / "recipe.toml")
    store = FakeStore({})
    for _ in range(2):
        with standing_in(population=first_is_dead, store=store):
            result = sweeps.sweep(recipe, reporter=Notes())
        assert result.lost == ("toy_public/none",)
        assert chunks(tmp_path / "results" / "toy_public" / "none") == [10]
        assert chunks(tmp_path / "results" / "toy_public" / "meta") == [10, 20, 30, 40]
    text = 'tasks = ["toy_public"]\nmethods = ["none", "meta"]\nseeds = 1\nconfig.episodes = 40\n'
    text += "config.chunk_episodes = 10\nconfig.evaluation.every = 20\n"
    (tmp_path / "recipe.toml").write_text(text)
    with standing_in(population=first_is_dead, store=store):
        assert cli.main(["sweep", str(tmp_path), "--no-cache"]) == 1
    assert "no seed stayed finite in toy_public/none" in capsys.readouterr().err


def lost_in_its_last_chunk(folder: Path, **options: object) -> Path:
    train(folder, seeds=1, episodes=10, evaluation=EvaluationConfig(every=10), **options)
    assert status(folder) is Status.FINISHED
    return folder


def test_lost_in_the_last_chunk_a_sweep_fails_at_every_call(
    tmp_path: Path, no_jax: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is finished then, and kept; its results are none for all that."""
    text = 'tasks = ["toy_public"]\nmethods = ["none", "meta"]\nseeds = 1\nconfig.episodes = 10\n'
    text += "config.chunk_episodes = 10\nconfig.evaluation.every = 10\nconfig.wandb = 'off'\n"
    (tmp_path / "recipe.toml").write_text(text)
    with standing_in(population=first_is_dead, store=FakeStore({})):
        for call in range(3):
            assert cli.main(["sweep", str(tmp_path), "--no-cache"]) == 1
            shown = capsys.readouterr().err
            assert "no seed stayed finite in toy_public/none;" in shown
            assert shown.count("already finished") == (2 if call else 0)


def test_lost_in_the_last_chunk_a_run_is_not_extended(tmp_path: Path) -> None:
    folder = lost_in_its_last_chunk(tmp_path)
    for episodes in (None, 20):
        with pytest.raises(RunError, match="all seeds of .* have left the finite numbers"):
            stand_ins.resume(folder, episodes=episodes, reporter=Notes(), population=dead)


def test_whether_a_finished_run_is_lost_is_told_by_its_records(tmp_path: Path) -> None:
    assert is_lost(lost_in_its_last_chunk(tmp_path / "lost"))
    assert not is_lost(lost_in_its_last_chunk(tmp_path / "sound", population=FakePopulation))
    assert not is_lost(tmp_path / "none")
    # Nothing was evaluated: the count of the end tells.
    train(tmp_path / "blind", seeds=1, episodes=10, evaluation=EvaluationConfig(every=20))
    assert is_lost(tmp_path / "blind")
    # The first of several processes counts its own; the table is of all.
    events = tmp_path / "lost" / "events.jsonl"
    told = events.read_text()
    events.write_text(told.replace('"non_finite": 1', '"non_finite": 0'))
    assert events.read_text() != told and is_lost(tmp_path / "lost")


def test_teams_without_a_finite_seed_are_refused_at_every_call(tmp_path: Path) -> None:
    text = 'tasks = ["toy_public"]\nseeds = 1\n[config]\nepisodes = 10\nchunk_episodes = 10\n'
    text += "evaluation.every = 10\nwandb = 'off'\n[meta_train]\nlongest_delay = 0\n"
    (tmp_path / "meta_train.toml").write_text(text)
    recipe = load_meta_recipe(tmp_path)
    with standing_in(population=dead, store=FakeStore({})), heard() as stop:
        for _ in range(2):
            with pytest.raises(
                RunError, match="teams of toy_public/random cannot be had: no seed stayed"
            ):
                teams(recipe, tmp_path / "policies", Notes(), stop)


class Poisoned(Population):
    """A first seed whose parameters leave the finite numbers before the first chunk."""

    def init(self, wave=None) -> PopulationState:
        state = super().init(wave)
        learner = state.lanes.seed.learner

        def poison(leaf):
            if not jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating):
                return leaf
            return leaf.at[0].set(jax.numpy.nan)

        seeds = state.lanes.seed.replace(learner=jax.tree.map(poison, learner))
        return state.replace(lanes=state.lanes.replace(seed=seeds))


@pytest.mark.slow
def test_a_lost_seed_is_not_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where no evaluation has told of its loss."""
    config = tiny("none", episodes=4, **{"evaluation.every": 8})
    stand_ins.train(config, tmp_path, reporter=Notes(), population=Poisoned)
    assert load_trained(tmp_path).frozen == {0}
    assert cli.main(["watch", str(tmp_path), "--seed", "0"]) == 1
    shown = capsys.readouterr().err
    assert "seed 0 of" in shown and "did not stay finite" in shown and shown.count("\n") == 1
    assert cli.main(["export", str(tmp_path), "--seed", "0"]) == 1
    assert "did not stay finite" in capsys.readouterr().err
    assert cli.main(["watch", str(tmp_path)]) == 0
    assert "seed1_episode0.png" in capsys.readouterr().out
