"""What a rule says of each edge, on the page: asked of networks that are small, but real."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from html import unescape
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from browsed import Page
from synthetic_runs import write_run

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES, EdgeInputs
from purejax_mgtopo.algorithm.topology.edgewise.said import Said, said
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.config import Experiment, LearnerConfig, Means, override, with_method
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.record import CHECKPOINTS
from purejax_mgtopo.report import episodes
from purejax_mgtopo.report.analyses import episode_advantages
from purejax_mgtopo.report.page import render
from purejax_mgtopo.report.report import build_report
from purejax_mgtopo.report.rule import lived, summary
from purejax_mgtopo.report.rule.pictures import in_a_sentence, said_pictures
from purejax_mgtopo.report.rule.summary import RuleSaid, summarised
from purejax_mgtopo.trained.load import Networks, TrainedRun

TASK = "toy_follow_holder"
SECTION = f"What the rule says of each edge on {TASK}"
LEARNER = LearnerConfig(hidden=8, batch_size=8, warmup_episodes=2, replay_transitions=100)
PRICE = {"gates.edge_cost": 0.04}
EDGE = {"meta.architecture": "edge", "meta.hidden": 8}
UPDATES = 6


def experiment(method: str, **changes) -> Experiment:
    base = with_method(Experiment(task=TASK, episodes=1000, learner=LEARNER), method)
    return override(base, PRICE | ({"meta.hidden": 8} | changes if method == "meta" else {}))


@functools.cache
def trained(method: str, edge: bool = True) -> tuple[Algorithm, Networks]:
    algorithm = Algorithm(experiment(method, **(EDGE if edge else {})))
    learner_key, *keys = jax.random.split(jax.random.key(0), 3)
    parts = algorithm.parts.init(Both(*keys))
    if method == "meta" and edge:  # what is born corrects nothing
        eta = jax.tree.map(
            lambda x: x + 0.1 * np.cos(np.arange(x.size)).reshape(x.shape), parts.rule.eta
        )
        parts = dataclasses.replace(parts, rule=dataclasses.replace(parts.rule, eta=eta))
    return algorithm, Networks(algorithm.maddpg.init(learner_key), parts)


@functools.cache
def life(method: str) -> lived.LivedLife:
    algorithm, networks = trained(method)
    eta = lived.network_of(algorithm, networks)
    return lived.relive(algorithm, networks, eta, UPDATES, 5)


def at(tree, k: int):
    return jax.tree.map(lambda x: x[k], tree)


@pytest.mark.parametrize("method", ["universal", "meta"])
def test_a_life_lived_anew_is_one_under_the_rule(method: str) -> None:
    algorithm, networks = trained(method)
    rule, own = algorithm.team.rule, life(method)
    inputs = own.said.inputs
    for k in range(UPDATES):
        np.testing.assert_allclose(inputs.progress[k], k / UPDATES, rtol=1e-6)
        np.testing.assert_array_equal(inputs.decision[k], own.trajectory.gates.decision[k])
        # The gates that decided are those that were told of.
        probability = own.trajectory.gates.probability[k]
        np.testing.assert_allclose(inputs.probability[k], probability, rtol=1e-4, atol=1e-5)
        opened = np.asarray(own.trajectory.gates.decision[k]).sum((1, 2))
        reward = np.asarray(own.trajectory.reward[k]) - 0.04 * opened
        np.testing.assert_allclose(
            np.sign(reward) * np.log1p(abs(reward)), inputs.reward[k, :, 0, 0], rtol=1e-4
        )
    np.testing.assert_allclose(inputs.cost, 0.04, rtol=1e-6)
    np.testing.assert_allclose(inputs.length, 1.0)
    eta = lived.network_of(algorithm, networks)
    again = said(rule, eta, at(own.memory, 0), own.trajectory, own.told)
    np.testing.assert_allclose(again.f, own.f, rtol=1e-3, atol=1e-5)
    assert (
        np.std(own.f) > 1e-3 and np.ptp(np.asarray(inputs.probability)[:, 0], axis=0).min() > 1e-4
    )


def test_asked_of_its_own_price_the_rule_says_what_it_said_and_of_another_something_else() -> None:
    algorithm, networks = trained("meta")
    own, eta = life("meta"), lived.network_of(algorithm, networks)
    same, dearer = (lived.at_price(algorithm, eta, own, price) for price in (0.04, 0.5))
    np.testing.assert_allclose(same.f, own.f, rtol=1e-3, atol=1e-5)
    assert np.abs(np.asarray(dearer.f - own.f)).max() > 1e-3
    np.testing.assert_allclose(dearer.inputs.cost, 0.5)
    for name in set(NAMES) - {"cost"}:
        np.testing.assert_array_equal(getattr(dearer.inputs, name), getattr(own.said.inputs, name))


def test_a_made_up_team_has_the_life_s_edges_and_another_number_of_agents() -> None:
    algorithm, networks = trained("meta")
    own, eta = life("meta").thinned(2), lived.network_of(algorithm, networks)
    team = lived.among(algorithm, eta, own, 4, jax.random.key(1))
    assert team.f.shape == (2, 25, 4, 3)
    np.testing.assert_allclose(team.inputs.share, 0.25)
    theirs = np.asarray(own.said.inputs.probability).reshape(2 * 25, -1).T
    sources = set()
    for i in range(4):
        for k in range(3):
            course = np.asarray(team.inputs.probability)[..., i, k].ravel()
            (source,) = np.flatnonzero((theirs == course).all(axis=1))
            decided = np.asarray(own.said.inputs.decision).reshape(50, -1)[:, source]
            np.testing.assert_array_equal(
                np.asarray(team.inputs.decision)[..., i, k].ravel(), decided
            )
            sources.add(int(source))
    assert len(sources) > 1
    # f is of the edge that was made up: the network itself, over the whole square.
    full = np.zeros((25, 4, 4, len(NAMES)), np.float32)
    for i in range(4):
        for j in range(4):
            if i != j:
                full[:, i, j] = np.asarray(team.inputs.stacked())[1, :, i, j - (j > i)]
    done = np.eye(25, dtype=np.float32)[-1]
    square, _ = algorithm.team.rule._judge.apply(
        eta, jnp.asarray(full), jnp.asarray(done), at(own.memory, 1)
    )
    for i in range(4):
        for j in range(4):
            if i != j:
                f = team.f[1, :, i, j - (j > i)]
                np.testing.assert_allclose(f, square[:, i, j], rtol=1e-3, atol=1e-4)


def test_thinned_updates_are_spread_evenly_and_keep_the_first() -> None:
    progress = np.asarray(life("meta").thinned(3).said.inputs.progress)[:, 0, 0, 0]
    np.testing.assert_allclose(progress, [0, 2 / 6, 4 / 6], rtol=1e-6)
    assert len(life("meta").thinned(99).f) == UPDATES


AGENTS = 3


def made_up(seed: int, push=None) -> Said:
    """Answers in which each edge has a level of its own, for open and for closed."""
    rng, shape = np.random.default_rng(seed), (20, 10, AGENTS, AGENTS - 1)
    inputs = {name: rng.normal(size=shape) for name in NAMES}
    inputs["advantage"] = np.broadcast_to(rng.normal(size=(20, 10, 1, 1)), shape)
    inputs["progress"] = np.broadcast_to(np.arange(20).reshape(-1, 1, 1, 1) / 20, shape)
    inputs["decision"] = rng.integers(0, 2, shape).astype(float)
    level = np.arange(6).reshape(3, 2) / 10 + seed
    f = np.where(inputs["decision"] > 0, level, 2 * level) + 0.01 * rng.normal(size=shape)
    return Said(EdgeInputs(**inputs), f if push is None else push(inputs))


def summary_of(one: Said, prices=None, sizes=None, **changes) -> RuleSaid:
    prices, sizes = prices or [(0.1, one)], sizes or [(3, one)]
    told = {"seed": 1, "updates": 20, "episodes": 1000, "price": 0.04, "agents": AGENTS} | changes
    return summarised(one, prices, sizes, **told)


def test_what_is_drawn_are_means_over_open_and_closed_edges() -> None:
    one = made_up(1)
    prices = [(0.0, made_up(2)), (0.3, made_up(3))]
    told = summary_of(one, prices, [(2, made_up(4)), (7, made_up(5))])
    f, opened = one.f, one.inputs.decision > 0
    for t, kind in ((told.on_open, opened), (told.on_closed, ~opened)):
        assert t == pytest.approx(f[kind].mean())
    for i in range(AGENTS):
        for k in range(AGENTS - 1):
            kept: dict[bool, list[float]] = {True: [], False: []}
            for u in range(20):
                for t in range(10):
                    kept[bool(opened[u, t, i, k])].append(f[u, t, i, k])
            assert told.push[i, k] == pytest.approx(np.mean(kept[True]) - np.mean(kept[False]))
    for name, kind in (("open", opened), ("closed", ~opened)):
        line = getattr(told.by_progress, name)
        for p in range(10):  # two updates each
            there = f[2 * p : 2 * p + 2][kind[2 * p : 2 * p + 2]]
            assert line.x[p] == pytest.approx(p / 10 + 0.025, abs=0.02)
            assert line.mean[p] == pytest.approx(there.mean())
            assert (line.low[p], line.high[p]) == pytest.approx(
                tuple(np.quantile(there, (0.1, 0.9)))
            )
        ranked = np.argsort(one.inputs.advantage[:, :, 0, 0].ravel())
        line = getattr(told.by_advantage, name)
        flat, flat_kind = f.reshape(200, 3, 2), kind.reshape(200, 3, 2)
        for p in range(10):  # twenty steps each
            steps = ranked[20 * p : 20 * p + 20]
            assert line.mean[p] == pytest.approx(flat[steps][flat_kind[steps]].mean())
        for sides, places in (
            (told.by_price, prices),
            (told.by_agents, [(2, made_up(4)), (7, made_up(5))]),
        ):
            line = getattr(sides, name)
            np.testing.assert_allclose(line.x, [place for place, _ in places])
            for p, (_, answer) in enumerate(places):
                chosen = (answer.inputs.decision > 0) == (name == "open")
                assert line.mean[p] == pytest.approx(answer.f[chosen].mean())


def test_a_kind_of_edges_that_is_not_there_has_no_line_and_no_number() -> None:
    closed = dataclasses.replace(made_up(1).inputs, decision=np.zeros((20, 10, 3, 2)))
    told = summary_of(Said(closed, made_up(1).f))
    assert np.isnan(told.push).all() and np.isnan(told.on_open)
    assert told.by_progress.open is None and told.by_price.open is None
    assert told.by_progress.closed is not None
    pictures = said_pictures(told, "meta", TASK)
    assert len(pictures) == 4
    assert all(
        "closed edges" in picture.chart and "open edges" not in picture.chart
        for picture in pictures
    )
    assert in_a_sentence(told).startswith("On average f is \u2013 on open edges")


@pytest.mark.parametrize(
    ("on_open", "on_closed", "words"),
    [
        (-0.1, 0.2, "besides what REINFORCE does, the rule closes edges"),
        (-0.1, -0.03, "besides what REINFORCE does, the rule closes edges"),
        (0.2, 0.1, "besides what REINFORCE does, the rule opens edges"),
        (-0.1, -0.1004, "the rule neither opens nor closes edges"),
    ],
)
def test_which_way_the_rule_pushes_is_told_in_a_sentence(on_open, on_closed, words) -> None:
    told = dataclasses.replace(summary_of(made_up(1)), on_open=on_open, on_closed=on_closed)
    assert in_a_sentence(told).endswith(f"{words}.")


def recorded(folder: Path, method: str, monkeypatch, edge: bool = True) -> Path:
    """A run of two seeds of the same networks, handed out where checkpoints would be read."""
    algorithm, networks = trained(method, edge)
    own = algorithm.experiment
    write_run(
        folder,
        TASK,
        method,
        seeds=2,
        evaluations=2,
        learner=own.learner,
        meta=own.meta,
        gates=own.gates,
    )
    (folder / CHECKPOINTS).mkdir()
    both = jax.tree.map(lambda x: np.stack([x, x]), networks)

    def load(place, seeds):
        chosen = jax.tree.map(lambda x: x[list(seeds)], both)
        return TrainedRun(folder, own, Means(), algorithm, tuple(seeds), chosen, 1000)

    monkeypatch.setattr("purejax_mgtopo.trained.load.load_trained", load)
    return folder


@pytest.mark.parametrize("method", ["universal", "meta"])
def test_the_page_shows_what_the_rule_says(method: str, tmp_path: Path, monkeypatch) -> None:
    for name, value in (("UPDATES", UPDATES), ("ASKED", 2), ("TEAMS", (2, 4))):
        monkeypatch.setattr(summary, name, value)
    content = build_report([recorded(tmp_path / method, method, monkeypatch)])
    (watched,) = content.watched
    told, text = watched.said, render(content)
    assert (told.updates, told.episodes, told.price, told.agents) == (UPDATES, 1000, 0.04, 3)
    assert text.count(f"<details><summary>{SECTION}</summary>") == 1
    assert (watched.learned is not None) == (method == "meta")
    section = text[text.index(SECTION) : text.index('<section id="runs"')]
    assert in_a_sentence(told) in unescape(section)
    # Numbers of the table, by receiver and sender.
    cells = re.findall(r'<td class="n">(.*?)</td>', section)
    assert len(cells) == 9 and len({c for c in cells if c}) > 1
    for i in range(3):
        for j in range(3):
            words = cells[3 * i + j].replace("\u2212", "-")
            if i == j:
                assert words == ""
            elif np.isnan(told.push[i, j - (j > i)]):
                assert words == "\u2013"
            else:
                assert float(words) == pytest.approx(told.push[i, j - (j > i)], abs=6e-4)
    # Numbers of the pictures.
    charts = [json.loads(unescape(data)) for data in re.findall(r'data-series="(.*?)"', section)]
    sides = (told.by_advantage, told.by_progress, told.by_price, told.by_agents)
    assert len(charts) == 4
    for chart, drawn in zip(charts, sides, strict=True):
        for line in chart["series"]:
            own = getattr(drawn, line["label"].split()[0])
            np.testing.assert_allclose(line["x"], own.x, rtol=1e-4, atol=1e-9)
            np.testing.assert_allclose(line["point"], own.mean, rtol=1e-4)
            np.testing.assert_allclose(line["high"], own.high, rtol=1e-4)
    assert {line["label"] for line in charts[1]["series"]} == {"open edges", "closed edges"}
    for words in ("replayed, told of another price", "made-up teams", "its own was 0.04"):
        assert words in section
    assert Page(text).words.count("A life lived anew: 6 gate updates") == 1


@pytest.mark.parametrize(("method", "edge"), [("reinforce", True), ("meta", False)])
def test_other_rules_have_no_such_section(method, edge, tmp_path: Path, monkeypatch) -> None:
    content = build_report([recorded(tmp_path / method, method, monkeypatch, edge)])
    (watched,) = content.watched
    assert watched.playbacks and watched.said is None and not watched.unsaid
    assert "What the rule says of each edge" not in render(content)


def test_a_rule_whose_file_is_gone_is_told_and_costs_nothing_else(
    tmp_path: Path, monkeypatch
) -> None:
    folder = recorded(tmp_path / "run", "universal", monkeypatch)

    def gone(*_):
        raise ConfigError("there is no rule file gone.npz; find it")

    monkeypatch.setattr(episodes, "rule_said", gone)
    content = build_report([folder])
    assert content.watched[0].playbacks and content.watched[0].said is None
    assert "<p>there is no rule file gone.npz; find it.</p>" in render(content)


def test_an_edge_s_learned_advantage_is_shown_beside_reinforce_s() -> None:
    algorithm, networks = trained("meta")
    found = episode_advantages(algorithm, networks, 0, 1)
    assert found.learned.shape == (25, 3, 2) and np.isfinite(found.reinforce).all()
    apart = found.learned - found.initial  # the first eta corrects nothing: f itself
    assert np.std(apart) > 1e-3
    alike = np.corrcoef(found.initial[:, 0, 0], found.reinforce)[0, 1]
    assert alike == pytest.approx(1, abs=1e-4)
