"""What a rule says of each edge: asked of networks that are small, but real, and reduced to what is drawn."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from said_cases import AGENTS, TASK, UPDATES, made_up, summary_of, trained

from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES
from purejax_mgtopo.algorithm.topology.edgewise.said import Said, said
from purejax_mgtopo.report.analyses import episode_advantages
from purejax_mgtopo.report.rule import lived
from purejax_mgtopo.report.rule.pictures import in_a_sentence, said_pictures


@functools.cache
def life(method: str) -> lived.LivedLife:
    algorithm, networks = trained(method)
    eta = lived.network_of(algorithm, networks)
    return lived.relive(algorithm, networks, eta, UPDATES, jax.random.key(5))


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


def test_an_edge_s_learned_advantage_is_shown_beside_reinforce_s() -> None:
    algorithm, networks = trained("meta")
    found = episode_advantages(algorithm, networks, 0, 1)
    assert found.learned.shape == (25, 3, 2) and np.isfinite(found.reinforce).all()
    apart = found.learned - found.initial  # the first eta corrects nothing: f itself
    assert np.std(apart) > 1e-3
    alike = np.corrcoef(found.initial[:, 0, 0], found.reinforce)[0, 1]
    assert alike == pytest.approx(1, abs=1e-4)


def test_no_key_is_used_twice() -> None:
    algorithm, networks = trained("universal")
    eta = lived.network_of(algorithm, networks)
    with jax.debug_key_reuse(True):
        lived.relive(algorithm, networks, eta, 2, jax.random.key(7))
