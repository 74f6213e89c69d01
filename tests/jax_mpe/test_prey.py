"""Prey policies: by name and from files, and files that are not what they seem."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from jax_mpe.prey import PreySizes, ScriptedPrey, digest, prey_policy, read, shipped_file, write
from jax_mpe.views import nearest

from tests.oracles import mpe_numpy

SIZES = PreySizes(predators=4, prey=2, landmarks=3, half_width=1.2)
KEY = jax.random.key(0)


def networks(sizes=SIZES, hidden=5, seed=0):
    rng = np.random.default_rng(seed)
    widths = (sizes.observation, hidden, hidden, 2)
    arrays = {}
    for i in range(3):
        arrays[f"kernel_{i}"] = rng.normal(size=(sizes.prey, *widths[i : i + 2])).astype(np.float32)
        arrays[f"bias_{i}"] = rng.normal(size=(sizes.prey, widths[i + 1])).astype(np.float32)
    return arrays


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prey.npz"
    write(path, SIZES, networks(), {"seeds": 3})
    return path


def rewrite(path, change):
    """The file with its raw contents changed, header untouched unless `change` does it."""
    with np.load(path) as old:
        contents = {name: old[name] for name in old.files}
    change(contents)
    np.savez(path, **contents)
    return path


def test_what_is_written_is_read(file):
    header, arrays = read(file, SIZES)
    assert header["seeds"] == 3
    assert header["sizes"] == SIZES._asdict()
    for name, array in networks().items():
        np.testing.assert_array_equal(arrays[name], array)
        assert header["shapes"][name] == list(array.shape)
    seen = np.random.default_rng(1).normal(size=(50, SIZES.prey, SIZES.observation))
    policy = prey_policy(str(file), SIZES)
    assert not policy.random
    wanted = mpe_numpy.trained_prey_action(file, seen)
    act = jax.jit(jax.vmap(lambda x: policy.act(x, KEY)))
    np.testing.assert_allclose(act(seen.astype(np.float32)), wanted, atol=1e-5)
    assert wanted.std() > 0.1


def test_a_task_takes_a_file_of_its_size(tmp_path):
    sizes = jax_mpe.make("predator_prey_N4_l1").sizes
    write(tmp_path / "own.npz", sizes, networks(sizes), {})
    env = jax_mpe.make(f"predator_prey_N4_l1@{tmp_path / 'own.npz'}")
    state, _ = env.reset(jax.random.key(0))
    after, _ = env.step(state, jnp.zeros((4, 2)))
    view = np.asarray(env.observe_prey(state), np.float64)[None]
    moves = mpe_numpy.trained_prey_action(tmp_path / "own.npz", view)[0]
    free = env.step_teams(state, jnp.zeros((4, 2)), jnp.asarray(moves, float))[0]
    np.testing.assert_allclose(after.prey_velocity, free.prey_velocity, atol=1e-5)
    with jax.enable_x64(True):
        env = jax_mpe.make(f"predator_prey_N4_l1@{tmp_path / 'own.npz'}")
        state, _ = env.reset(jax.random.key(0))
        assert env.prey_policy.act(env.observe_prey(state), KEY).dtype == jnp.float64


def test_digest_sees_every_bit_name_and_shape():
    arrays = networks()
    found = {digest(arrays)}
    arrays["bias_1"][0, 0] = np.nextafter(arrays["bias_1"][0, 0], np.float32(9))
    found.add(digest(arrays))
    arrays["bias_1"] = arrays["bias_1"].reshape(-1)
    found.add(digest(arrays))
    arrays["bias_9"] = arrays.pop("bias_1")
    found.add(digest(arrays))
    assert len(found) == 4
    assert digest(dict(reversed(networks().items()))) == digest(networks())


def flip(contents):
    contents["kernel_1"].view(np.uint32)[0, 0, 0] ^= 1


def reshape(contents):
    contents["kernel_1"] = contents["kernel_1"].reshape(-1)


def drop(contents):
    del contents["bias_2"]


def retell(contents, **changes):
    header = json.loads(contents["header"].tobytes())
    contents["header"] = np.frombuffer(json.dumps(header | changes).encode(), np.uint8)


def two_layers(contents):
    del contents["kernel_2"], contents["bias_2"]
    arrays = {name: x for name, x in contents.items() if name != "header"}
    shapes = {name: list(x.shape) for name, x in arrays.items()}
    retell(contents, shapes=shapes, sha256=digest(arrays))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flip, "SHA-256"),
        (reshape, "other shapes"),
        (drop, "other shapes"),
        (two_layers, "3 dense layers"),
        (lambda c: retell(c, format="another"), "has format 'another'"),
        (lambda c: c.pop("header"), "not a prey file"),
        (lambda c: c.update(header=np.zeros(4, np.uint8)), "not a prey file"),
        (lambda c: c.update(header=np.array([{}], object)), "not a prey file"),
    ],
)
def test_a_damaged_file_is_named(file, change, words):
    rewrite(file, change)
    with pytest.raises(ValueError, match=words) as error:
        prey_policy(str(file), SIZES)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("contents", [b"", b"PK\x03\x04 nothing", b"some text", b"\x93NUMPY"])
def test_what_is_no_npz_is_named(tmp_path, contents):
    path = tmp_path / "prey.npz"
    path.write_bytes(contents)
    with pytest.raises(ValueError, match="not a prey file"):
        prey_policy(str(path), SIZES)


def test_a_cut_file_is_named(file):
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ValueError, match="not a prey file"):
        prey_policy(str(file), SIZES)


def test_a_file_for_another_size_is_refused(file):
    with pytest.raises(ValueError, match="holds prey for 4 predators, 2 prey, 3 landmarks, but"):
        jax_mpe.make("predator_prey_N3_l3", prey=str(file))


def test_sizes_without_shipped_networks_fall_back_to_the_script():
    for agents in (2, 4, 10, 30):
        env = jax_mpe.make(f"predator_prey_N{agents}_l1")
        assert not shipped_file(env.sizes).exists()
        assert env.prey_policy == ScriptedPrey(env.sizes)


@pytest.mark.parametrize("agents", [3, 6])
def test_the_shipped_networks(agents):
    env = jax_mpe.make(f"predator_prey_N{agents}_l1")
    path = shipped_file(env.sizes)
    assert path.stat().st_size < 200_000
    header, _ = read(path, env.sizes)
    assert header["sizes"]["half_width"] == env.half_width
    assert header["settings"]["episodes"] == 20_000
    assert header["settings"]["seeds"] >= 8
    assert header["picked"]["inside"][header["picked"]["pair"]] >= header["settings"]["stays"]
    assert "/" not in header["provenance"]["command"]


def hunted(env, episodes=500):
    """Contacts an episode, and the prey's share of steps inside, against predators that head
    straight for the nearest prey."""

    def play(key):
        def step(state, _):
            prey = nearest(state.prey_position[None] - state.agent_position[:, None], 1)[:, 0]
            state, _ = env.step(state, 8 * prey)
            inside = jnp.max(jnp.abs(state.prey_position), axis=-1) <= env.half_width
            return state, (env.measures(state)["contacts"], jnp.mean(inside))

        return jax.lax.scan(step, env.reset(key)[0], None, length=25)[1]

    contacts, inside = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(9), episodes))
    return float(jnp.mean(jnp.sum(contacts, axis=1))), float(jnp.mean(inside))


@pytest.mark.slow
@pytest.mark.parametrize("agents", [3, 6])
def test_shipped_and_scripted_prey_are_harder_to_catch_than_random_ones_and_stay(agents):
    make = functools.partial(jax_mpe.make, f"predator_prey_N{agents}_l1")
    easy, _ = hunted(make(prey="random"))
    shipped, inside = hunted(make())
    assert shipped < 0.3 * easy
    assert inside > 0.9
    scripted, inside = hunted(make(prey="scripted"))
    assert scripted < 0.3 * easy
    assert inside > 0.95


def test_scripted_prey_run_away_and_stay():
    env = jax_mpe.make("predator_prey_N3_l1@scripted")
    state, _ = env.reset(jax.random.key(0))

    def action(prey, agents):
        places = dict(prey_position=jnp.array([prey]), agent_position=jnp.array(agents))
        seen = env.observe_prey(state.replace(**places))
        return np.asarray(env.prey_policy.act(seen, KEY))[0]

    away = [[50.0, 50.0], [50.0, 50.0]]
    np.testing.assert_allclose(action([0.0, 0.0], [[-0.2, 0.0], *away])[0], 1.0)
    np.testing.assert_allclose(action([0.9, 0.0], [[60.0, -60.0], *away])[0], -1.0)
    assert abs(action([0.5, 0.5], [[60.0, -60.0], *away])).max() < 0.1


def test_the_trained_prey_lie_beside_their_policies():
    for predators, prey in ((3, 1), (6, 2)):
        path = shipped_file(PreySizes(predators, prey, prey + 1, 1.0))
        assert path.exists() and path.parent == Path(jax_mpe.prey.__file__).parent
