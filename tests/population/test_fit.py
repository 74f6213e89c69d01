"""How many seeds fit: bytes from shapes, programs of two sizes, and plans that compiling confirms."""

from __future__ import annotations

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from test_population import tiny

from purejax_mgtopo.algorithm.topology.fixed import Full
from purejax_mgtopo.cli.tables import fit_table
from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.methods import MESSAGES, TOPOLOGIES, AxisEntry
from purejax_mgtopo.population import fit
from purejax_mgtopo.population.fit import ProgramBytes, burst, lane_bytes, plan, program_bytes
from purejax_mgtopo.population.population import Population


def small(**changes: object) -> Config:
    """Quick to compile, and with states large enough to matter."""
    return tiny(**{"topology": "none", "learner.replay_transitions": 25_000} | changes)


def test_a_lanes_bytes_are_those_of_its_arrays() -> None:
    config = tiny(seeds=1)
    lane = lane_bytes(config)
    state = Population(config).init()
    total = sum(
        np.asarray(
            jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        ).nbytes
        for x in jax.tree.leaves(state.lanes)
    )
    assert lane.total == total
    assert lane.replay == sum(x.nbytes for x in jax.tree.leaves(state.seeds.replay))
    moments = state.seeds.learner.policy_optimizer, state.seeds.learner.critic_optimizer
    assert lane.optimizers > sum(
        x.nbytes for x in jax.tree.leaves(moments)
    )  # and those of the rule
    networks = state.seeds.learner.policy, state.seeds.learner.critic, state.seeds.target
    assert lane.parameters > sum(x.nbytes for x in jax.tree.leaves(networks))


def shown(config: Config) -> str:
    """What `mgtopo fit` prints of it, without a measured speed."""
    out = io.StringIO()
    Console(file=out, width=120).print(fit_table(plan(config), None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("topology", "messages", "remembered"),
    [
        # 250 episodes of 26 and 25 steps: what 3 agents know (9 they see, 16 symbols), say (a byte), and earn.
        ("full", "rial", 250 * (26 * 3 * 25 * 4 + 25 * 3 + 25 * 4)),
        # 32 labellings of 64 states: what 3 agents see, what 2 others do to each; and the threshold.
        ("i2c", "lstm", 32 * 64 * 3 * (9 + 2) * 4 + 4),
    ],
)
def test_what_parts_remember_is_a_group_of_its_own(
    topology: str, messages: str, remembered: int
) -> None:
    config = tiny(topology=topology, messages=messages, task="toy_follow_holder", seeds=1)
    lane = lane_bytes(config)
    assert lane.memories == remembered
    lanes = Population(config).abstract().lanes
    words = [
        jax.eval_shape(jax.random.key_data, x)
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        else x
        for x in jax.tree.leaves(lanes)
    ]
    assert lane.total == sum(math.prod(x.shape) * x.dtype.itemsize for x in words)
    both = (lanes.seed.learner, lanes.seed.parts, lanes.seed.target)
    whole = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(both))
    assert lane.parameters + lane.optimizers + lane.memories == whole
    lines = [line.split() for line in shown(config).splitlines()]
    assert ["memories", "of", "parts", f"{remembered / 1e6:.2f}", "MB"] in lines
    told = [float(line[-2].replace(",", "")) for line in lines if line[-1:] == ["MB"]]
    assert sum(told[1:6]) == pytest.approx(told[0], abs=0.03)  # each rounded to a hundredth


class Hoarder(Full):
    """Keeps many numbers, and says nothing of what they are."""

    def init(self, key: jax.Array) -> dict[str, jax.Array]:
        """Zeros."""
        del key
        return {"numbers": jnp.zeros(250_000)}


def test_a_part_that_says_nothing_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = AxisEntry("hoarder", "a pile of numbers", f"{__name__}:Hoarder", found=Hoarder)
    monkeypatch.setitem(TOPOLOGIES, "hoarder", entry)
    config, bare = (tiny(topology=name, seeds=1) for name in ("hoarder", "full"))
    lane, without = lane_bytes(config), lane_bytes(bare)
    assert lane.memories == without.memories == 0
    assert lane.parameters == without.parameters + 1_000_000
    assert "memories" not in shown(config)


PARTS = [*((name, "lstm") for name in TOPOLOGIES), *(("full", name) for name in MESSAGES)]


@pytest.mark.parametrize(("topology", "messages"), PARTS)
def test_what_a_part_keeps_is_a_parameter_an_optimiser_or_remembered(
    topology: str, messages: str
) -> None:
    config = tiny(topology=topology, messages=messages, task="toy_follow_holder", seeds=1)
    population = Population(config, 1, jax.local_devices()[:1])
    states = population.abstract().lanes.seed.parts
    remembered = jax.tree.leaves(population.algorithm.parts.remembered(states))
    for path, leaf in jax.tree_util.tree_leaves_with_path(states):
        words = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        # Networks hold theirs under "params"; the one array that is a parameter by itself is a graph's.
        learned = "params" in words or words[-1] == "alpha"
        moving = "nu" in words or any(word.endswith("optimizer") for word in words)
        memory = any(leaf is one for one in remembered)
        assert memory != (learned or moving), ".".join(words)


def test_nothing_is_compiled_where_all_fits_easily(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> ProgramBytes:
        raise AssertionError("compiled")

    monkeypatch.setattr(fit, "program_bytes", never)
    known = lane_bytes(small())
    monkeypatch.setattr(fit, "lane_bytes", lambda config: known)
    monkeypatch.setattr(fit, "Population", never)  # nor is a program built to count devices
    easy = plan(small(seeds=6))
    assert easy.devices == Population(small(seeds=6)).mesh.size
    assert (easy.config.means.lanes, easy.waves, easy.compiled) == (6, 1, None)
    given = plan(small(seeds=6, lanes=4), memory=1_000)  # the user's word
    assert (given.config.means.lanes, given.waves) == (4, 2)


@pytest.mark.slow
def test_what_does_not_fit_runs_in_waves_as_predicted() -> None:
    two, four = program_bytes(small(), 2), program_bytes(small(), 4)
    assert four.state > two.state > lane_bytes(small()).replay
    memory = int((four.total + 0.5 * lane_bytes(small()).total) / fit.MARGIN)  # room for four
    tight = plan(small(seeds=20, devices=2), memory=memory)
    assert tight.config.means.lanes == 7  # of at most 2 x 4, three even waves need no more than 7
    assert tight.waves == 3
    assert tight.compiled is not None
    assert tight.compiled.total <= memory
    assert tight.predicted == pytest.approx(tight.compiled.total, rel=0.1)
    assert tight.predicted == pytest.approx(four.total, rel=0.1)


@pytest.mark.slow
def test_one_seed_too_many_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"one seed needs .* MB and a device has .*replay_transitions"
    ):
        plan(small(seeds=2), memory=100_000)


@pytest.mark.parametrize(
    ("wanted", "memory", "batch", "expected"),
    [
        (1000, 30_000, 0, (1000, 0)),  # everything fits, advancing together
        (1000, 12_500, 0, (1000, 77)),  # states fit, activations in micro-batches
        (1000, 11_500, 0, (1000, 32)),  # so small rather than in two waves
        (2000, 12_000, 0, (960, 64)),  # states do not fit either: waves, in the smallest batches
        (1000, 12_000, 50, (1000, 50)),  # as the user wants
        (10, 250, 0, (8, 0)),  # too few for micro-batches
        (10, 5, 0, (0, 0)),
    ],
)
def test_micro_batches_share_activations(wanted, memory, batch, expected) -> None:
    """A state of 10 and activations of 20: lanes x 10, and for those that advance together 10 + 20 more."""
    lanes, together = fit._solve(wanted, memory, 10, 20, True, batch)
    assert (lanes, together) == expected
    if lanes:
        used = lanes * 30 if not together else lanes * 10 + together * 30
        assert used <= memory


def test_lanes_in_turn_need_only_their_states() -> None:
    assert fit._solve(1000, 5_000, 10, 0, False, 0) == (500, 0)


@pytest.mark.slow
def test_a_short_burst_measures_speed() -> None:
    assert burst(plan(small(seeds=2)), chunks=1) > 0
