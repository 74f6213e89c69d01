"""Self-play of predators and prey, the choice among them, and the file that comes of it."""

import json
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.prey import read

from purejax_mgtopo.algorithm.types import Purpose, Streams
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.prey.chase import SEED, Chase, hunt
from purejax_mgtopo.prey.selection import CrossPlay, choose, cross_play, frozen
from purejax_mgtopo.prey.selfplay import Duel, Pairs, boundary_penalty
from purejax_mgtopo.prey.settings import PreySettings

SMALL = PreySettings(
    agents=6, seeds=2, episodes=4, chunk=2, hidden=6, hunters=0.5, chase_episodes=0
)


@pytest.fixture(scope="module")
def duel():
    return Duel(SMALL)


@pytest.fixture(scope="module")
def pair(duel):
    return jax.jit(duel.init)(jax.random.key(3))


def classic_bound(x):
    """OpenAI's simple_tag, by its description."""
    if x < 0.9:
        return 0.0
    return (x - 0.9) * 10 if x < 1.0 else min(math.exp(2 * x - 2), 10)


def test_the_boundary_penalty_is_the_classic_one():
    for x in (0.0, 0.5, 0.89, 0.95, 0.999, 1.0, 1.001, 1.5, 2.0, 2.2, 9.0, 200.0):
        for place in ([x, 0.3], [-0.3, -x]):
            found = boundary_penalty(jnp.array([place, [0.0, -0.95]]))
            assert float(found) == pytest.approx(classic_bound(x) + classic_bound(0.95), abs=1e-4)
        slope = jax.grad(lambda x: boundary_penalty(jnp.array([[x, 0.0]])))(x)
        assert np.isfinite(slope)


@pytest.mark.slow
def test_an_episode_is_what_the_environment_says(duel, pair):
    env = duel.env
    keys = Streams.split(jax.random.key(5))
    policies = pair.predators.learner.policy, pair.prey.learner.policy
    hunters, prey = jax.jit(duel.play)(*policies, keys, 0.2)
    state, _ = env.reset(keys.reset)
    total = 0.0
    for t in range(env.horizon):
        np.testing.assert_allclose(hunters.moving[t], env.compress(state).moving, atol=1e-4)
        np.testing.assert_allclose(hunters.observation[t], env.observe(state), atol=1e-4)
        np.testing.assert_allclose(prey.observation[t], env.observe_prey(state), atol=1e-4)
        state, timestep = env.step_teams(state, hunters.action[t], prey.action[t])
        np.testing.assert_allclose(hunters.reward[t], timestep.reward, atol=1e-3)
        edge = sum(
            classic_bound(abs(float(x)) / env.half_width) for x in state.prey_position.ravel()
        )
        contacts = float(env.measures(state)["contacts"])
        np.testing.assert_allclose(prey.reward[t], -10 * contacts - 3 * edge, atol=1e-2)
        total += contacts
    np.testing.assert_allclose(prey.observation[-1], env.observe_prey(state), atol=1e-4)
    np.testing.assert_array_equal(hunters.moving, prey.moving)
    told = duel.measure((hunters, prey))
    assert float(told.contacts) == total
    # Without exploration the actions are the policies' own.
    quiet, _ = jax.jit(duel.play)(*policies, keys, 0.0)
    start = env.reset(keys.reset)[0]
    own = duel.predators.act(policies[0], start)
    np.testing.assert_allclose(quiet.action[0], own, atol=1e-6)
    assert np.abs(hunters.action[0] - own).max() > 0.05


def test_the_edge_costs_prey_its_weight():
    """Prey far outside, with no predator near."""
    duel = Duel(SMALL)
    state = duel.env.initial_state(jax.random.key(0))
    width = duel.env.half_width
    state = state.replace(
        agent_position=jnp.zeros_like(state.agent_position),
        prey_position=jnp.full_like(state.prey_position, 1.5 * width),
    )
    edge = state.prey_position.size * classic_bound(1.5)
    assert float(duel.prey_reward(state)) == pytest.approx(-3 * edge, rel=1e-4)


@pytest.mark.slow
def test_replay_gives_each_side_its_own_view(duel, pair):
    for side, state, tau in (
        (duel.predators, pair.predators, pair.newest[0]),
        (duel.prey, pair.prey, pair.newest[1]),
    ):
        replay = side.replay.init()
        replay = side.replay.add(replay, jnp.asarray(0), tau)
        window = side.replay.sample(replay, jnp.asarray(1), jax.random.key(0))
        steps = [
            int(np.abs(tau.observation[:-1] - seen).max(axis=(1, 2)).argmin())
            for seen in window.observation[:, 0]
        ]
        assert len(set(steps)) == 25
        for at, seen in ((0, tau.observation[:-1]), (1, tau.observation[1:])):
            wanted = seen[np.array(steps)]
            np.testing.assert_allclose(window.observation[:, at], wanted, atol=1e-5)
        np.testing.assert_allclose(window.reward, tau.reward[np.array(steps)])
        assert state.replay.reward.shape == replay.reward.shape


@pytest.mark.slow
def test_both_sides_learn_and_lanes_are_independent():
    told = []
    both = Pairs(SMALL).train(lambda episode, metrics: told.append((episode, metrics)))
    assert [episode for episode, _ in told] == [2, 4]
    assert told[0][1].contacts.shape == (2,)
    alone = Pairs(replace(SMALL, seeds=1, first_seed=1)).train(lambda *_: None)
    start = jax.jit(Duel(SMALL).init)(Purpose.SELF_PLAY.key(1))
    for side in ("predators", "prey"):
        second, single, fresh = (
            jax.tree.leaves(getattr(state, side).learner) for state in (both, alone, start)
        )
        for a, b in zip(second, single, strict=True):
            np.testing.assert_allclose(a[1], b[0], atol=1e-5)
        assert any(np.abs(a[1] - c).max() > 1e-4 for a, c in zip(second, fresh, strict=True))


def test_the_choice_is_by_strangers_and_by_staying():
    contacts = np.array([[0.0, 2.0, 3.0], [5.0, 9.0, 3.0], [5.0, 4.0, 0.0], [1.0, 2.0, 7.0]])
    inside = np.array([[0.0, 1.0, 0.9], [1.0, 0.0, 0.9], [1.0, 0.96, 0.0], [1.0, 0.96, 0.9]])
    met = CrossPlay(contacts, inside)
    np.testing.assert_allclose(met.held_out()[0], [3.0, 2.5, 5.0])
    np.testing.assert_allclose(met.held_out()[1], [1.0, 0.97, 0.9])
    assert choose(met, 0.95) == 1
    assert choose(met, 0.99) == 0
    contacts[0, 1] = np.nan
    assert choose(met, 0.95) == 0
    with pytest.raises(RunError, match="no prey stays in the arena for 101%"):
        choose(met, 1.01)
    alone = CrossPlay(np.array([[1.0], [2.0]]), np.ones((2, 1)))
    np.testing.assert_allclose(alone.held_out()[0], [1.5])
    assert choose(alone, 0.5) == 0


@pytest.mark.slow
def test_straight_hunters_go_for_the_nearest_prey(duel, pair):
    keys = Streams.split(jax.random.key(6))
    policies = pair.predators.learner.policy, pair.prey.learner.policy
    tau, _ = jax.jit(duel.play)(*policies, keys, 0.0, True)
    rows = np.asarray(tau.observation[:-1])
    # In a predator's view: own velocity and place, three landmarks, then the prey, nearest first.
    np.testing.assert_allclose(tau.action, np.clip(8 * rows[:, :, 10:12], -1, 1), atol=1e-4)
    np.testing.assert_array_equal(
        duel.play(*policies, keys, 0.0, False)[0].action, duel.play(*policies, keys)[0].action
    )
    # Training draws hunters for the stated share of episodes.
    many = jax.vmap(Streams.split)(jax.random.split(jax.random.key(7), 400))
    tau, _ = jax.jit(jax.vmap(lambda keys: duel.explore(*policies, keys)))(many)
    straight = np.clip(8 * np.asarray(tau.observation[:, 0, :, 10:12]), -1, 1)
    noise = np.asarray(tau.action[:, 0]) - straight
    hunted = np.abs(noise).mean(axis=(1, 2)) < 0.3
    assert 0.42 < hunted.mean() < 0.58


@pytest.mark.slow
def test_teams_meet_row_by_column(duel):
    pairs = jax.jit(jax.vmap(duel.init))(jax.random.split(jax.random.key(0), 2))
    policies = pairs.predators.learner.policy, pairs.prey.learner.policy
    met = cross_play(duel, *policies)
    assert met.contacts.shape == met.inside.shape == (3, 2)
    # The last row is the straight hunters', whatever the predators' networks.
    other = cross_play(duel, jax.tree.map(jnp.zeros_like, policies[0]), policies[1])
    np.testing.assert_array_equal(other.contacts[-1], met.contacts[-1])
    assert (other.inside[:-1] != met.inside[:-1]).any()
    # Prey that nobody moves keep away from no edge; with zero networks every column is the same.
    still = jax.tree.map(lambda x: x.at[1].set(0.0), policies[1])
    changed = cross_play(duel, policies[0], still)
    np.testing.assert_allclose(changed.contacts[:, 0], met.contacts[:, 0], atol=1e-5)
    assert (changed.inside[:, 1] != met.inside[:, 1]).all()


def test_frozen_prey_act_as_the_trained(duel, tmp_path):
    from jax_mpe.prey import write

    pairs = jax.jit(jax.vmap(duel.init))(jax.random.split(jax.random.key(0), 2))
    policy = pairs.prey.learner.policy
    arrays = frozen(policy, 1)
    write(tmp_path / "prey.npz", duel.env.sizes, arrays, {})
    env = jax_mpe.make(SMALL.task, prey=str(tmp_path / "prey.npz"))
    state, _ = env.reset(jax.random.key(4))
    own = duel.prey.act(jax.tree.map(lambda x: x[1], policy), state)
    moves = env.prey_policy.act(env.observe_prey(state), jax.random.key(0))
    np.testing.assert_allclose(moves, own, atol=1e-6)
    assert np.abs(own).max() > 1e-3


def test_intervals_of_a_chase():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    measured = Chase(values, values, values, values).intervals()
    assert set(measured) == {"contacts", "captures", "inside", "team_return"}
    point, low, high = measured["contacts"]
    assert point == 2.5 and 1.0 <= low < 2.5 < high <= 4.0


def test_straight_hunters_are_counted_by_episode(monkeypatch):
    monkeypatch.setattr("purejax_mgtopo.prey.chase.EPISODES", 3)
    env = jax_mpe.make(SMALL.task, prey="scripted")
    contacts = []
    for key in jax.random.split(Purpose.HUNT.key(SEED), 3):
        state, _ = env.reset(key)
        touched = 0
        for _ in range(25):
            gaps = state.prey_position[None] - state.agent_position[:, None]
            nearest = np.argmin(np.square(gaps).sum(-1), axis=1)
            state, _ = env.step(state, jnp.clip(8 * gaps[np.arange(6), nearest], -1, 1))
            apart = state.agent_position[:, None] - state.prey_position[None]
            touched += int((np.sqrt(np.square(apart).sum(-1)) < 0.075 + 0.05).sum())
        contacts.append(touched)
    told = hunt(SMALL, "scripted")
    assert told[0] == pytest.approx(np.mean(contacts), abs=1e-3)
    assert told[1] <= told[0] <= told[2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agents": 1}, "agents must be at least 2"),
        ({"seeds": 0}, "seeds"),
        ({"episodes": 750}, "multiple of chunk"),
        ({"episodes": 0}, "multiple of chunk"),
        ({"chase_episodes": 7}, "multiple of chunk"),
        ({"chunk": 25}, r"chunk \(25\) must be a multiple of 10"),
        ({"boundary_cost": -1.0}, "negative"),
        ({"stays": 1.5}, "stays"),
        ({"hunters": -0.1}, "hunters"),
    ],
)
def test_settings_that_cannot_be(changes, words):
    with pytest.raises(ConfigError, match=words):
        PreySettings(**changes)


def test_a_file_that_cannot_be_written_is_refused_before_any_self_play(
    tmp_path, monkeypatch, capsys
):
    """Which takes hours."""
    from purejax_mgtopo.prey import command

    monkeypatch.setattr(command, "make_prey", lambda *_: pytest.fail("it trained"))
    (tmp_path / "p.npz").write_text("a file, and no folder")
    assert main(["prey", "--out", str(tmp_path / "p.npz" / "q.npz")]) == 1
    told = capsys.readouterr().err
    assert "p.npz" in told and told.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("chase", [0, pytest.param(10, marks=pytest.mark.slow)])
def test_the_command_ends_with_a_file(chase, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    size = "--agents 2 --seeds 2 --episodes 10 --chunk 10 --hidden 4 --chase-episodes".split()
    assert main(["prey", *size, str(chase), "--stays", "0"]) == 0
    assert "prey_N2.npz" in capsys.readouterr().out
    env = jax_mpe.make("predator_prey_N2_l1@prey_N2.npz")
    header, arrays = read(tmp_path / "prey_N2.npz", env.sizes)
    assert arrays["bias_0"].shape == (1, 4)
    assert header["settings"]["seeds"] == 2
    assert header["picked"]["seed"] == header["picked"]["pair"] in (0, 1)
    assert json.loads(json.dumps(header)) == header
    if chase:
        assert set(header["chase"]) == {"what", "this", "scripted", "random"}
        assert all(len(x) == 3 for x in header["chase"]["this"].values())
        assert set(header["straight_hunters"]) == {"what", "this", "scripted", "random"}
    assert main(["prey", *size, str(chase)]) == 2
    assert "exists" in capsys.readouterr().err
    assert main(["prey", "--out", "prey.txt"]) == 2
