"""`mgtopo export` and `load_policy`: the file runs alone, and does what the training code's team does."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stand_ins import train

import purejax_mgtopo
from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.config import Config, Means, override
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.trained import policy
from purejax_mgtopo.trained.export import export, header_of, networks_of
from purejax_mgtopo.trained.load import Networks, TrainedRun, load_trained
from purejax_mgtopo.trained.play import play_episode
from purejax_mgtopo.trained.policy import ExportedTeam, load_policy, pack

TINY = {
    "task": "navigation_N3_l3",
    "topology": "reinforce",
    "seeds": 2,
    "first_seed": 4,
    "episodes": 2,
    "updates_per_iteration": 2,
    "chunk_episodes": 2,
    "evaluation.every": 2,
    "evaluation.episodes": 2,
    "evaluation.final_episodes": 4,
    "learner.hidden": 8,
    "learner.batch_size": 8,
    "learner.replay_transitions": 150,
    "learner.warmup_episodes": 3,
    "meta.hidden": 6,
    "seed_axis": "map",
    "wandb": "off",
}


def scattered(shapes: Any, seed: int) -> Any:
    """Random numbers in the place of every parameter: nothing is zero, nothing alike."""
    rng = np.random.default_rng(seed)

    def fill(leaf: Any) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(rng.normal(size=leaf.shape) * 0.6, leaf.dtype)

    return jax.tree.map(fill, shapes)


def made_up(folder: Path, seed: int = 0, **changes: Any) -> TrainedRun:
    """A run that never trained: random networks of seed 4."""
    (folder / "config.json").write_text("{}")
    settings = {name.replace("__", "."): value for name, value in changes.items()}
    algorithm = Algorithm(override(Config(), TINY | settings).experiment)
    key = jax.eval_shape(lambda: jax.random.key(0))
    learned = scattered(jax.eval_shape(algorithm.maddpg.init, key), seed)
    parts = scattered(jax.eval_shape(algorithm.parts.init, Both(key, key)), seed + 1)
    networks = jax.tree.map(lambda leaf: leaf[None], Networks(learned, parts))
    return TrainedRun(folder, algorithm.experiment, Means(), algorithm, (4,), networks, episode=2)


def content_of(trained: TrainedRun) -> bytes:
    return pack(header_of(trained, 4), networks_of(trained, 4))


def through_a_file(trained: TrainedRun) -> ExportedTeam:
    path = trained.folder / "policy.npz"
    path.write_bytes(content_of(trained))
    return load_policy(path)


def observations(trained: TrainedRun, steps: int, batch: int = 5, seed: int = 9) -> list[jax.Array]:
    env = trained.algorithm.env
    shape = (steps, batch, env.num_agents, env.observation_size)
    return list(jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32))


PAIRS = (
    *(("full", "dial"), ("full", "rial"), ("right", "tarmac"), ("gated_acml", "acml")),
    *(("i2c", "lstm"), ("vbc", "vbc"), ("atoc", "atoc"), ("commformer", "gat")),
)
"""Rules and interpreters that are tried once each."""
RULES = [name for name in methods.TOPOLOGIES if name == "full" or name not in dict(PAIRS)]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "topology": topology,
            "messages": messages,
            "learner__share_parameters": shared,
            "message__latency": latency,
        }
        for topology, messages, shared, latency in [
            *itertools.product(RULES, ("lstm", "commnet"), (False, True), (0, 1)),
            *((*pair, True, latency) for pair in PAIRS for latency in (0, 1)),
            *itertools.product(("magic",), ("gat", "tarmac"), (False, True), (0, 1)),
        ]
    ]
    + [
        {"messages": "commnet", "message__aggregate": "sum", "message__rounds": 3},
        {"task": "toy_crossed_goals"},
        {"task": "navigation_N5_l2", "message__latency": 1},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_acts_as_the_training_codes_team(tmp_path, changes) -> None:
    trained = made_up(tmp_path, **changes)
    team, (own, acting) = trained.algorithm.team, networks_of(trained, 4)
    ours = through_a_file(trained)
    assert ours.header.method == trained.experiment.method
    tape = team.parts.each(lambda part: jnp.full((5, *part.tape_shape), 0.5))  # as without a key
    memory, carry, edges = team.initial_carry((5,)), None, []
    for observation in observations(trained, steps=3):
        expected, memory = team.step(own, acting, observation, memory, tape, Mode.EVAL_GREEDY)
        action, topology, probability, carry = ours(observation, carry)
        np.testing.assert_allclose(action, expected.action, atol=1e-5)
        np.testing.assert_array_equal(drop_diagonal(topology), expected.gates.decision)
        for square in (topology, probability):
            np.testing.assert_array_equal(jnp.diagonal(square, axis1=-2, axis2=-1), 0)
        np.testing.assert_allclose(
            drop_diagonal(probability), expected.gates.probability, atol=1e-6
        )
        edges.append(np.asarray(expected.gates.decision))
    if jax.tree.leaves(acting.rule) and trained.experiment.topology in RULES:
        assert 0 < np.mean(edges) < 1  # open and closed ones were both tried


def test_next_step_delivery_depends_on_the_step_before(tmp_path) -> None:
    """Else the test above could pass with a carry that nobody reads."""
    trained = made_up(tmp_path, topology="full", message__latency=1)
    ours = through_a_file(trained)
    first, second = observations(trained, steps=2)
    with_memory = ours(second, ours(first).carry).action
    assert np.abs(with_memory - ours(second).action).max() > 1e-2


@pytest.mark.parametrize(("topology", "opens"), [("reinforce", 0.0), ("meta", 0.0), ("stgs", 1.0)])
def test_sampled_edges_have_the_gates_probability_and_are_acted_upon(
    tmp_path, topology, opens
) -> None:
    trained = made_up(tmp_path, topology=topology)
    ours = through_a_file(trained)
    (observation,) = observations(trained, steps=1)
    keys = jax.random.split(jax.random.key(3), 4000)
    drawn = jax.jit(jax.vmap(lambda key: ours(observation, key=key).topology))(keys)
    probability = ours(observation).probability
    error = jnp.sqrt(probability * (1 - probability) / len(keys))
    assert np.all(np.abs(drawn.mean(axis=0) - probability) <= 5 * error + 1e-7)

    action, edges, told, _ = ours(observation, key=keys[0])
    np.testing.assert_array_equal(told, probability)
    np.testing.assert_array_equal(edges, ours(observation, key=keys[0]).topology)
    assert not np.array_equal(edges, ours(observation).topology)
    # A tape that makes the team decide just so: uniform numbers open an edge from one end or the other.
    tape = jnp.clip(jnp.abs(1 - opens - drop_diagonal(edges)), 0, 1 - 1e-7)
    team = trained.algorithm.team
    expected, _ = team.step(
        *networks_of(trained, 4),
        observation,
        team.initial_carry((5,)),
        Both(tape, jnp.zeros((5, *team.interpreter.tape_shape))),
        Mode.EVAL_SAMPLED,
    )
    np.testing.assert_array_equal(expected.gates.decision, drop_diagonal(edges))
    np.testing.assert_allclose(action, expected.action, atol=1e-5)


def test_runs_within_jax_programs(tmp_path) -> None:
    """A compiled scan over an episode equals a loop in Python, from NumPy observations without a batch."""
    trained = made_up(tmp_path, message__latency=1)
    ours = through_a_file(trained)
    episode = np.stack([np.asarray(seen[0]) for seen in observations(trained, steps=4)])

    def step(carry: Any, observation: jax.Array) -> tuple[Any, jax.Array]:
        decision = ours(observation, carry)
        return decision.carry, decision.action

    start = ours.team.initial_carry()
    _, scanned = jax.jit(lambda seen: jax.lax.scan(step, start, seen))(episode)
    carry = None
    for t, observation in enumerate(episode):
        action, topology, probability, carry = ours(observation, carry)
        assert probability.shape == (3, 3)
        assert action.shape == (3, 2) and topology.shape == (3, 3)
        np.testing.assert_allclose(scanned[t], action, atol=1e-6)
    with pytest.raises(ValueError, match=r"\[..., 3, 14\], not \[4, 14\]"):
        ours(np.zeros((4, 14), np.float32))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds, 4 and 5."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(override(Config(), TINY), folder)
    return folder


def test_an_exported_seed_plays_the_episode_that_the_run_plays(run, capsys) -> None:
    assert cli.main(["export", str(run), "--seed", "5"]) == 0
    path = Path(capsys.readouterr().out.split()[1])
    assert path == run / "policies" / "seed5_episode2.npz"
    ours = purejax_mgtopo.load_policy(path)
    facts = ours.header
    assert (facts.task, facts.method, facts.seed, facts.episode) == (
        "navigation_N3_l3",
        "reinforce",
        5,
        2,
    )
    commit = json.loads((run / "config.json").read_text())["git"]["commit"]
    assert facts.commit is not None and facts.commit.startswith(commit)

    trained = load_trained(run)
    env = trained.algorithm.env
    episode = play_episode(trained.algorithm, trained.of(5), 3, Mode.EVAL_GREEDY)
    for t in range(env.horizon):
        state = jax.tree.map(lambda leaf, t=t: jnp.asarray(leaf[t]), episode.states)
        action, topology, _, _ = ours(env.observe(state))
        np.testing.assert_allclose(action, episode.actions[t], atol=1e-5)
        np.testing.assert_array_equal(topology, episode.masks[t])


def test_the_same_networks_give_the_same_bytes_and_nothing_else_is_replaced(run, tmp_path) -> None:
    target = export(run, 4, tmp_path / "new" / "policy.npz")
    content = target.read_bytes()
    assert export(run, 4, target).read_bytes() == content
    with pytest.raises(RunError, match="something else"):
        export(run, 5, target)
    settings = (run / "config.json").read_bytes()
    with pytest.raises(RunError, match="something else"):
        export(run, 5, run / "config.json")
    assert target.read_bytes() == content and (run / "config.json").read_bytes() == settings


def test_loads_without_environments_and_learners(run, tmp_path) -> None:
    path = export(run, 4, tmp_path / "policy.npz")
    code = f"""
import sys, numpy
import purejax_mgtopo
policy = purejax_mgtopo.load_policy({str(path)!r})
action, topology, probability, carry = policy(numpy.zeros((3, 14), numpy.float32))
assert action.shape == (3, 2) and topology.shape == probability.shape == (3, 3)
banned = ["jax_mpe", "jumanji", "orbax", "tyro", "wandb", "matplotlib"]
own = ("algorithm.replay", "algorithm.maddpg", "algorithm.rollout", "algorithm.algorithm", "population",
       "checkpoints", "training", "cli")
banned += [f"purejax_mgtopo.{{name}}" for name in own]
print([m for m in sys.modules if any(m == b or m.startswith(b + ".") for b in banned)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_damage_anywhere_is_noticed_or_harmless(tmp_path) -> None:
    """One byte after another: the file is refused in one line, or says what it said before."""
    trained = made_up(tmp_path)
    content = content_of(trained)
    path = tmp_path / "policy.npz"
    path.write_bytes(content)
    whole = load_policy(path)
    rng = np.random.default_rng(0)
    refused = 0
    for at in np.concatenate([np.arange(80), rng.integers(0, len(content), 300)]):
        damaged = bytearray(content)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            read = load_policy(path)
        except RunError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        assert read.header == whole.header
        arrays, found = whole.networks.named(), read.networks.named()
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    assert refused > 200
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(RunError, match="damaged"):
            load_policy(path)


def rewritten(path: Path, sealed: bool, settings: Any = None, **changes: Any) -> Path:
    """The file with another header, or other settings in it; `sealed` with a digest that fits."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    document = json.loads(arrays.pop("header").tobytes()) | changes
    document["settings"] |= settings or {}
    if sealed:
        document.pop("sha256")
        document["sha256"] = policy.digest(document, arrays)
    header = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(path, header=header, **arrays)
    return path


@pytest.mark.parametrize(
    ("sealed", "changes", "said"),
    [
        (False, {"episode": 3}, "damaged"),
        (False, {"settings": {"learner.discount": 0.5}}, "damaged"),
        (True, {"version": 3}, "version 3"),
        (True, {"format": "cake"}, "not an exported policy"),
        (True, {"settings": {"topology": "coin"}}, "coin"),
        (True, {"settings": {"messages": "pigeon"}}, "pigeon"),
        (True, {"settings": {"learner.activation": "gelu"}}, "learner.activation"),
        (True, {"settings": {"learner.hidden": 9}}, "array acting/rule/params/Dense_0/bias is"),
        (True, {"settings": {"topology": "full"}}, "array acting/rule/params/Dense_0/bias is"),
        (True, {"agents": 4}, "array acting/rule/params/Dense_0/bias is"),
        (True, {"extra": 1}, "extra"),
    ],
)
def test_a_header_that_cannot_be_followed_is_refused(tmp_path, sealed, changes, said) -> None:
    trained = made_up(tmp_path)
    path = tmp_path / "policy.npz"
    path.write_bytes(content_of(trained))
    assert load_policy(rewritten(path, sealed=True)).header == header_of(trained, 4)
    with pytest.raises(RunError, match=said) as told:
        load_policy(rewritten(path, sealed, **changes))
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_a_file_of_version_1_is_refused_in_one_line(tmp_path) -> None:
    """As that version wrote it: sizes in the header, and layers by their number."""
    document = {
        "format": "purejax_mgtopo policy",
        "version": 1,
        "task": "navigation_N3_l3",
        "method": "reinforce",
        "topology": "reinforce",
        "messages": "lstm",
        "agents": 3,
        "hidden": 8,
        "activation": "relu",
    }
    arrays = {"gates/0/bias": np.zeros((3, 8), np.float32)}
    document["sha256"] = policy.digest(document, arrays)
    path = tmp_path / "old.npz"
    np.savez(path, header=np.frombuffer(json.dumps(document).encode(), np.uint8), **arrays)
    with pytest.raises(RunError, match="has version 1 .* this code reads 2.*export") as told:
        load_policy(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)


def test_what_is_no_policy_is_refused(tmp_path) -> None:
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    np.savez(tmp_path / "pickle.npz", header=np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npz").write_text("hello")
    for name in ("other.npz", "other.npy", "pickle.npz", "text.npz"):
        with pytest.raises(RunError, match="not an exported policy"):
            load_policy(tmp_path / name)
    for name in ("absent.npz", "."):
        with pytest.raises(RunError, match="cannot read"):
            load_policy(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["RUN", "--seed", "9"], 2, "seed 9"),
        (["RUN"], 2, "--seed"),
        (["TMP", "--seed", "0"], 1, "not a run"),
        (["RUN", "--seed", "4", "--out", "RUN/config.json/x"], 1, "cannot write"),
    ],
)
def test_bad_input_is_one_line(run, tmp_path, capsys, words, code, said) -> None:
    words = [word.replace("RUN", str(run)).replace("TMP", str(tmp_path)) for word in words]
    assert cli.main(["export", *words]) == code
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert said in line and shown.out == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"topology": "coin"}, "unknown topology 'coin'"),
        ({"topology": "full"}, "array acting/rule/params/Dense_0/bias is"),
        ({"learner.share_parameters": True}, "array acting/rule/params/Dense_0/bias is"),
        ({"messages": "commnet"}, "array policy/.* is"),
    ],
)
def test_networks_of_another_team_are_not_written(tmp_path, settings, said) -> None:
    trained = made_up(tmp_path)
    header = header_of(trained, 4)
    other = dataclasses.replace(header, settings={**header.settings, **settings})
    with pytest.raises(ValueError, match=said):
        pack(other, networks_of(trained, 4))


def test_a_seed_that_did_not_stay_finite_is_refused(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("purejax_mgtopo.trained.export.frozen_seeds", lambda folder: {4})
    with pytest.raises(RunError, match="seed 4 .* finite"):
        export(run, 4, tmp_path / "policy.npz")
    assert export(run, 5, tmp_path / "policy.npz").exists()
