"""Two parts of a package that is not ours, a line in each table, and everything that a run goes through."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import core_cases
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as parquet
import pytest
from resume_cases import TINY, Stopping, flags, same_run
from stand_ins import stand_ins

import purejax_mgtopo
from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Both, Mode
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import Config, override
from purejax_mgtopo.records.record import read_events
from purejax_mgtopo.trained.export import networks_of
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.training.run import build_population

COIN = dedent(
    '''
    import jax.numpy as jnp

    from purejax_mgtopo.algorithm.part import Rule
    from purejax_mgtopo.algorithm.types import Edges, Gates


    class Coin(Rule):
        """Every edge is open half of the time; nothing is learned."""

        edges = Edges.DATA
        tosses = True

        def __init__(self, experiment, sizes):
            super().__init__(experiment, sizes)
            self.tape_shape = (sizes.agents, sizes.agents - 1)

        def gate(self, acting, seen, moment):
            probability = jnp.full_like(moment.tape, 0.5)
            decision = (moment.tape < probability).astype(moment.tape.dtype)
            return Gates(probability, decision), moment.carry
    '''
)
AVERAGE = dedent(
    '''
    import flax.linen as nn
    import jax.numpy as jnp

    from purejax_mgtopo.algorithm.edges import fill_diagonal
    from purejax_mgtopo.algorithm.networks import init_per_agent, per_agent
    from purejax_mgtopo.algorithm.part import Encoded, Heard, Interpreter
    from purejax_mgtopo.algorithm.types import Edges


    class Average(Interpreter):
        """Observations are sent, and their mean is read through one dense layer."""

        def __init__(self, experiment, sizes, edges=Edges.ANY):
            super().__init__(experiment, sizes, edges)
            self.feature_size = self.message_size = sizes.observation
            self.shared = experiment.learner.share_parameters
            self.dense = nn.Dense(experiment.learner.hidden, use_bias=False)

        def init_params(self, key):
            def one(agent_key):
                return self.dense.init(agent_key, jnp.zeros(self.message_size))

            return init_per_agent(one, key, self.sizes.agents, self.shared)

        def encode(self, params, acting, observation, moment):
            return Encoded(observation, observation, moment.carry)

        def hear(self, params, acting, seen, gates, moment):
            weight = fill_diagonal(gates.decision)
            weight = weight / jnp.maximum(1.0, jnp.sum(weight, axis=-1, keepdims=True))
            mean = weight @ seen.delivered
            return Heard(per_agent(self.dense.apply, self.shared)(params, mean), moment.carry)
    '''
)
METHOD = {"topology": "coin", "messages": "average"}
SEEDS = (5, 6)


def settings(**changes: Any) -> Config:
    return override(Config(), TINY | METHOD | {"seeds": 2, "first_seed": SEEDS[0]} | changes)


@pytest.fixture(scope="module", autouse=True)
def tables(tmp_path_factory: pytest.TempPathFactory):
    """A package of one's own, and the two lines."""
    home = tmp_path_factory.mktemp("home")
    package = home / "handmade"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "coin.py").write_text(COIN)
    (package / "average.py").write_text(AVERAGE)
    coin = methods.AxisEntry("coin", "every edge open half of the time", "handmade.coin:Coin")
    average = methods.AxisEntry("average", "the mean of what arrives", "handmade.average:Average")
    with pytest.MonkeyPatch.context() as patch:
        # These programs run for milliseconds and would compile for half a minute.
        patch.setattr(
            "purejax_mgtopo.population.population.compiler_options",
            lambda *_: core_cases._options(),
        )
        patch.syspath_prepend(home)
        patch.setitem(methods.TOPOLOGIES, "coin", coin)
        patch.setitem(methods.MESSAGES, "average", average)
        yield
    for name in ("handmade", "handmade.coin", "handmade.average"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained without a stop."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["train", *flags(settings()), "--out", str(folder)]) == 0
    return folder


def test_it_trains_and_says_what_it_is(run: Path, capsys: pytest.CaptureFixture) -> None:
    table = parquet.read_table(run / "metrics.parquet").to_pylist()
    assert [(row["episode"], row["seed"]) for row in table] == [
        (episode, seed) for episode in (0, 4, 8, 12) for seed in SEEDS
    ]
    assert all(row["finite"] for row in table)
    # 2 episodes of 25 steps and 6 edges in an evaluation, 4 since the one before it.
    for row in table:
        assert abs(row["edge_rate"] - 0.5) < 5 * 0.5 / np.sqrt(300)
        if not row["episode"]:  # before which there was no training
            assert np.isnan([row["train_edge_rate"], row["gate_entropy"]]).all()
            continue
        assert abs(row["train_edge_rate"] - 0.5) < 5 * 0.5 / np.sqrt(600)
        np.testing.assert_allclose(row["gate_entropy"], np.log(2), rtol=1e-5)
    # What only rules that learn measure is no column of this one.
    assert not [name for name in table[0] if "advantage" in name or name.startswith("gate_grad")]
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert "every edge open half of the time" in shown and "the mean of what arrives" in shown


def test_interrupted_and_resumed_it_ends_as_without_a_stop(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    with stand_ins(population=lambda config: Stopping(build_population(config), at=3)):
        assert main(["train", *flags(settings()), "--out", str(folder)]) == 0
    assert not [event for event in read_events(folder) if event["event"] == "end"]
    assert main(["resume", str(folder)]) == 0
    same_run(folder, run)


@pytest.mark.slow
def test_other_channels_are_put_in_its_place(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation.parquet"
    assert main(["evaluate", str(run), "--episodes", "20", "--out", str(out)]) == 0
    rows = parquet.read_table(out).to_pylist()
    assert {row["method"] for row in rows} == {"coin+average"}
    for seed in SEEDS:
        rate = {row["condition"]: row["edge_rate"] for row in rows if row["seed"] == seed}
        assert (rate["cut"], rate["open"]) == (0, 1)
        for condition in ("sampled", "random"):
            assert abs(rate[condition] - 0.5) < 5 * 0.5 / np.sqrt(20 * 25 * 6)
        value = {row["condition"]: row["return"] for row in rows if row["seed"] == seed}
        assert len({value[name] for name in ("sampled", "cut", "open", "random")}) == 4


def test_an_exported_seed_acts_as_it_was_trained_to(run: Path, tmp_path: Path) -> None:
    path, seed = tmp_path / "policy.npz", SEEDS[1]
    assert main(["export", str(run), "--seed", str(seed), "--out", str(path)]) == 0
    policy = purejax_mgtopo.load_policy(path)
    assert policy.header.method == "coin+average"
    assert [name for name in policy.networks.named() if name.startswith("policy/interpreter/")] == [
        "policy/interpreter/params/kernel"
    ]
    trained = load_trained(run)
    team, networks = trained.algorithm.team, networks_of(trained, seed)
    observation = np.random.default_rng(0).normal(size=(20, 3, team.sizes.observation))
    observation = jnp.asarray(observation, jnp.float32)
    key = jax.random.key(2)
    action, topology, probability, _ = policy(observation, key=key)
    tape = team.parts.tape(Both(*jax.random.split(key)), (20,))
    memory = team.initial_carry((20,))
    step, _ = team.step(*networks, observation, memory, tape, Mode.EVAL_SAMPLED)
    np.testing.assert_allclose(action, step.action, atol=1e-6)
    np.testing.assert_array_equal(topology.sum((1, 2)), step.gates.decision.sum((1, 2)))
    np.testing.assert_array_equal(probability, np.broadcast_to(0.5 * (1 - np.eye(3)), (20, 3, 3)))
    assert 0 < topology.mean() < 2 / 3
    with pytest.raises(ValueError, match="pass a key"):
        policy(observation)


def test_it_is_drawn_and_reported(run: Path, tmp_path: Path) -> None:
    assert main(["watch", str(run), "--out", str(tmp_path), "--name", "coin"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"coin.png", "coin.gif"}
    page = tmp_path / "report.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "coin+average" in text and '"standing":"best"' in text


@pytest.mark.slow
def test_fit_knows_what_a_seed_of_it_needs(capsys: pytest.CaptureFixture) -> None:
    assert main(["fit", *flags(settings()), "--memory", "8", "--no-burst"]) == 0
    assert "coin+average" in capsys.readouterr().out


PAIRS = [
    *(("coin", name) for name in methods.MESSAGES),
    *((name, "average") for name in methods.TOPOLOGIES),
]


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize(
    ("topology", "messages", "latency"),
    [
        # Each of them once in a hurry.
        pytest.param(*pair, latency, marks=() if number % 2 == latency else pytest.mark.slow)
        for number, pair in enumerate(PAIRS)
        for latency in (0, 1)
    ],
)
def test_either_goes_with_every_other(topology: str, messages: str, latency: int) -> None:
    """An iteration leaves a state of the shapes that it found."""
    changes = {"topology": topology, "messages": messages, "message.latency": latency}
    algorithm = Algorithm(settings(**changes).experiment)
    state = jax.eval_shape(algorithm.init, jax.eval_shape(lambda: jax.random.key(0)))
    shared = jax.eval_shape(lambda: algorithm.parts.init_shared(jax.random.key(0)))
    clock = jax.eval_shape(algorithm.start_clock)
    after, measures, _ = jax.eval_shape(algorithm.iterate, state, clock, shared)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    assert set(measures) == set(algorithm.measures)
