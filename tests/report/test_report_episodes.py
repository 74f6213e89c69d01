"""Episodes in the report, from networks that were really trained (a little)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from synthetic_runs import write_run

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.config import Experiment, LearnerConfig, Means, MetaConfig, with_method
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.record import CHECKPOINTS
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report import episodes
from purejax_mgtopo.report.analyses import (
    draw_advantages,
    episode_advantages,
    read_judged,
    standardised,
)
from purejax_mgtopo.report.collect import read_run, standing_seeds
from purejax_mgtopo.report.model import Playback, Thing, Watched
from purejax_mgtopo.report.page import playback_json
from purejax_mgtopo.trained.load import Networks, TrainedRun
from purejax_mgtopo.trained.play import play_episode

LEARNER = LearnerConfig(hidden=8, batch_size=8, warmup_episodes=2, replay_transitions=100)


def trained_run(folder: Path, task: str, method: str, monkeypatch) -> tuple[Path, TrainedRun]:
    """A recorded run of fresh networks, handed out where checkpoints would be read."""
    config = with_method(Experiment(task=task, learner=LEARNER, meta=MetaConfig(hidden=8)), method)
    write_run(
        folder, task, method, seeds=4, evaluations=2, learner=config.learner, meta=config.meta
    )
    (folder / CHECKPOINTS).mkdir()
    algorithm = Algorithm(config)
    each = []
    for seed in range(4):
        learner_key, *keys = jax.random.split(jax.random.key(seed), 3)
        each.append(Networks(algorithm.maddpg.init(learner_key), algorithm.parts.init(Both(*keys))))
    networks = jax.tree.map(lambda *x: np.stack(x), *each)

    def load(place, seeds):
        assert place == folder
        chosen = jax.tree.map(lambda x: x[list(seeds)], networks)
        return TrainedRun(folder, config, Means(), algorithm, tuple(seeds), chosen, 1000)

    monkeypatch.setattr("purejax_mgtopo.trained.load.load_trained", load)
    return folder, load(folder, range(4))


def test_episodes_are_those_that_the_networks_play(tmp_path, monkeypatch):
    folder, trained = trained_run(tmp_path / "run", "navigation_N3_l3", "meta", monkeypatch)
    run, data = read_run(folder)
    watched = episodes.watch(run, data)
    assert [(r.seed, r.standing) for r in watched.playbacks] == standing_seeds(data)
    for replay in watched.playbacks:
        own = play_episode(trained.algorithm, trained.of(replay.seed), episodes.EPISODE_SEED)
        np.testing.assert_array_equal(replay.masks, own.masks > 0.5)
        np.testing.assert_allclose(replay.rewards, own.rewards)
        for i in range(3):
            thing = replay.things[i]
            exact = 1000 * np.asarray(own.states.agent_position)[:, i] / 1.0  # half-width 1
            assert thing.label == str(i) and np.abs(thing.places - exact).max() <= 0.5001
            assert thing.radius == 150
        still = [t for t in replay.things if t.role == "landmark"]
        assert len(still) == 3 and all(t.places.shape == (1, 2) for t in still)


def test_a_meta_run_shows_what_eta_makes_of_the_same_episode(tmp_path, monkeypatch):
    folder, trained = trained_run(tmp_path / "run", "navigation_N3_l3", "meta", monkeypatch)
    run, data = read_run(folder)
    learned = episodes.watch(run, data).learned
    middle = next(seed for seed, name in standing_seeds(data) if name == "median")
    assert learned.seed == middle
    own = episode_advantages(trained.algorithm, trained.of(middle), middle, episodes.EPISODE_SEED)
    np.testing.assert_allclose(learned.learned, standardised(own.learned)[:, 0])
    np.testing.assert_allclose(learned.reinforce, standardised(own.reinforce))


def test_other_methods_show_none_and_toys_show_their_claims(tmp_path, monkeypatch):
    folder, _ = trained_run(tmp_path / "run", "toy_follow_holder", "full", monkeypatch)
    watched = episodes.watch(*read_run(folder))
    assert watched.learned is None and not watched.reason
    replay = watched.playbacks[0]
    assert [thing.label for thing in replay.things[:3]] == ["0", "1", "2"]
    assert len(replay.claims) == 3 and replay.masks.sum() == 25 * 6


def test_a_task_that_nobody_can_draw_gets_agents_on_a_ring(monkeypatch):
    def nobody_knows(*_):
        raise ValueError("no picture")

    monkeypatch.setattr("jax_mpe.drawables.scene", nobody_knows)
    task = Algorithm(Experiment(task="navigation_N4_l2", learner=LEARNER)).env
    things, claims = episodes._scene(task, None, None)
    places = np.array([thing.places[0] for thing in things])
    assert len(places) == 4 and not claims
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 700, atol=1)
    gaps = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
    np.testing.assert_allclose(gaps, gaps[0], atol=2)


def test_what_is_wrong_with_checkpoints_is_told_and_breaks_nothing(tmp_path):
    folder = write_run(tmp_path / "run", "navigation_N3_l3", "full", seeds=2, evaluations=2)
    run, data = read_run(folder)
    said = []
    assert "no checkpoint was left" in episodes.watch(run, data, said.append).reason
    assert said == []  # nothing plays
    (folder / CHECKPOINTS).mkdir()
    assert "no checkpoint to read networks from" in episodes.watch(run, data, said.append).reason
    assert said == ["navigation_N3_l3/full: playing episodes"]
    (folder / CHECKPOINTS / "wave_0" / "1000").mkdir(parents=True)
    assert episodes.watch(run, data).reason
    empty = dataclasses.replace(data, episodes=data.episodes[:0])
    assert "no evaluation" in episodes.watch(run, empty).reason


@pytest.mark.slow
def test_a_real_sweep_ends_in_a_page_that_plays(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        """question = "Is it worth talking?"
        tasks = ["toy_crossed_goals"]
        methods = ["none", "meta"]
        seeds = 2
        [config]
        episodes = 40
        chunk_episodes = 20
        evaluation.every = 20
        learner.hidden = 8
        meta.hidden = 8
        """
    )
    results = tmp_path / "results"
    assert cli.main(["sweep", str(recipe), "--out", str(results)]) == 0
    assert cli.main(["report", str(results)]) == 0
    assert str(results / "report.html") in capsys.readouterr().out
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Is it worth talking?" in page and "What the learned rule has learned" in page
    seeds = load_run(results / "toy_crossed_goals" / "meta").seeds
    assert page.count('"standing":"best"') == 2 and len(seeds) == 2


def test_replays_are_safe_inside_a_script_element():
    assert playback_json([]) == "[]"
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 1, 2] = masks[1, 2, 0] = masks[1, 2, 1] = True
    place = np.array([[1, 2], [3, 4], [5, 6]])
    thing = Thing("</script>", "blue", "pale", "0", 10, place)
    replay = Playback(0, "best", (thing,), (), masks, np.array([0.123456, np.nan]))
    text = playback_json([Watched("a", "b", (replay,))])
    assert "</script>" not in text
    (found,) = json.loads(text)
    assert found["things"][0]["role"] == "</script>" and found["things"][0]["places"] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert found["masks"] == [
        ["000", "001", "000"],
        ["000", "000", "110"],
    ]  # at j of row i: i hears j
    assert found["rewards"] == [0.1235, 0.0]


def test_who_flees_does_not_shrink_the_arena():
    """The picture's half side is that of the arena (1000) and a margin, whatever the places."""
    extents = set()
    for far in (0, 1100, 50_000):
        places = np.zeros((4, 2), int)
        places[-1] = far
        thing = Thing("agent", "blue", "pale", "0", 100, places)
        playback = Playback(7, "best", (thing,), (), np.ones((3, 1, 1), bool), np.zeros(3))
        (told,) = json.loads(playback_json([Watched("task", "meta", (playback,))]))
        extents.add(told["extent"])
    assert len(extents) == 1 and 1000 < extents.pop() <= 1250


def test_advantages_are_drawn_of_the_median_seed(tmp_path, monkeypatch, capsys):
    """A picture of the best seed, of another receiver, or of the same episode again and again."""
    task, place = "navigation_N3_l3", tmp_path / "navigation_N3_l3" / "slow"
    folder, trained = trained_run(place, task, "meta", monkeypatch)
    seed = {name: number for number, name in standing_seeds(load_run(folder))}["median"]
    drawn = []

    def counted(episodes, agent, *, title):
        drawn.append((episodes, agent))
        return draw_advantages(episodes, agent, title=title)

    monkeypatch.setattr("purejax_mgtopo.report.analyses.draw_advantages", counted)
    words = ["figures", str(folder), "--advantages", "2", "--agent", "1", "--formats", "svg"]
    assert cli.main(words) == 0
    ((judged, agent),) = drawn
    assert agent == 1 and [one.episode_seed for one in judged] == [0, 1]
    for number, one in enumerate(judged):
        own = episode_advantages(trained.algorithm, trained.of(seed), seed, number)
        assert one.seed == seed
        for name in ("reinforce", "learned", "initial"):
            np.testing.assert_allclose(getattr(one, name), getattr(own, name), rtol=1e-5)
    picture = folder / "figures" / "advantages_navigation_N3_l3_slow.svg"
    assert f"slow on {task}, seed {seed}" in (text := picture.read_text())
    assert "REINFORCE" in text
    assert str(picture) in (said := capsys.readouterr().out)
    numbers = picture.with_suffix(".json")
    assert str(numbers) in said
    again = read_judged(numbers)
    assert (again.task, again.method, again.agent) == (task, "slow", 1)
    for one, own in zip(again.episodes, judged, strict=True):
        assert (one.seed, one.episode_seed) == (own.seed, own.episode_seed)
        for name in ("reinforce", "learned", "initial"):
            np.testing.assert_allclose(getattr(one, name), getattr(own, name), rtol=1e-6)
    again.draw().savefig(tmp_path / "again.png")  # from its numbers alone
    assert cli.main(words) == 0  # over its own files, not beside them
    assert sorted(path.name for path in picture.parent.glob("adv*")) == [
        numbers.name, picture.name,
    ]  # fmt: skip
    numbers.write_text("{}")
    with pytest.raises(RunError, match="holds no advantages"):
        read_judged(numbers)


def test_advantages_that_nobody_has_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    folder, _ = trained_run(tmp_path / "run", "navigation_N3_l3", "stgs", monkeypatch)
    assert cli.main(["figures", str(folder), "--advantages", "1"]) == 1
    assert "judges every edge" in capsys.readouterr().err
    folder, _ = trained_run(tmp_path / "meta", "navigation_N3_l3", "meta", monkeypatch)
    assert cli.main(["figures", str(folder), "--advantages", "1", "--agent", "3"]) == 1
    assert "navigation_N3_l3/meta is left out" in (told := capsys.readouterr().err)
    assert "has agents 0 to 2, no 3" in told
    assert cli.main(["figures", str(folder), "--advantages", "-1"]) == 2
    assert "count from 0" in capsys.readouterr().err
