"""What fits on a card that is not there, what an episode costs on it, and how fast it can be at best.

XLA compiles for a GPU that is described to it; the compiled program tells its memory, its kernels and what they move
(see `machine.hlo`). Nothing is measured: times are bounds, which no program of this text can beat.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import Any

import jax

from purejax_mgtopo.algorithm.kernels.target import traced_for
from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.cards import LAUNCH, Card
from purejax_mgtopo.machine.hlo import Traffic, traffic
from purejax_mgtopo.machine.startup import ALLOCATED
from purejax_mgtopo.population import fit
from purejax_mgtopo.population.fit import LaneBytes, lane_bytes
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.population.waves import even_lanes

PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


@dataclass(frozen=True)
class CardFit:
    """A plan for a card, from compiling for it."""

    card: Card
    config: Config
    """The configuration with the means `lanes` and `microbatch` settled."""
    memory: int
    """Bytes of the card that the plan may use."""
    lane: LaneBytes
    needed: int
    """Bytes of the compiled program, states included."""
    temporary: float
    """Bytes that a lane needs besides its state while it computes, where all that advance together share them."""
    traffic: Traffic
    """What one chunk of all lanes does."""

    @property
    def waves(self) -> int:
        """Number of waves in which all seeds are done."""
        return -(-self.config.experiment.seeds // self.config.means.lanes)

    @property
    def kernels(self) -> float:
        """Kernels in an episode of all lanes."""
        return self.traffic.kernels / self.config.experiment.chunk_episodes

    @property
    def moved(self) -> float:
        """Bytes that an episode of one lane moves."""
        return self.traffic.bytes / self._lane_episodes

    @property
    def flops(self) -> float:
        """Operations of products in an episode of one lane."""
        return self.traffic.flops / self._lane_episodes

    @property
    def bounds(self) -> dict[str, float]:
        """Seconds that the whole training of all seeds takes at least: what bandwidth, products and launches allow."""
        card, experiment, means = self.card, self.config.experiment, self.config.means
        episodes = self.waves * experiment.episodes
        return {
            "bandwidth": episodes * means.lanes * self.moved / card.bandwidth,
            "products": episodes * means.lanes * self.flops / card.rate(means.precision),
            "launches": episodes * self.kernels * LAUNCH,
        }

    @property
    def _lane_episodes(self) -> int:
        return self.config.experiment.chunk_episodes * self.config.means.lanes


def plan_for(card: Card, config: Config) -> CardFit:
    """How many of the seeds fit on one such card at a time, by compiling for it; settings that are given are kept.

    Raises ConfigError where the compiler for GPUs is not installed, for kernels that it does not compile for this card,
    and when not even one seed fits.
    """
    if config.means.kernels == "fused" and "tf32" not in card.flops:
        raise ConfigError(
            f"kernels fused are compiled by Triton, for cards since Ampere, and a {card.name} is older; "
            "set kernels to xla"
        )
    device = described_device(card)
    memory = int(fit.MARGIN * ALLOCATED * card.memory)
    means, lane = config.means, lane_bytes(config)
    wanted = min(means.lanes or config.experiment.seeds, config.experiment.seeds)
    lanes, batch = wanted, means.microbatch
    while True:
        settled = fit._with_lanes(config, lanes, batch if batch < lanes else 0)
        compiled = _compiled(settled, lanes, device)
        analysis = compiled.memory_analysis()
        together = settled.means.microbatch or lanes
        temporary = analysis.temp_size_in_bytes / together
        state = analysis.argument_size_in_bytes / lanes
        kept = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
        needed = int(kept - analysis.alias_size_in_bytes + analysis.temp_size_in_bytes)
        if needed <= memory:
            break
        if lanes == 1:
            raise ConfigError(
                f"one seed needs {needed / 1e6:,.0f} MB and a {card.name} has {memory / 1e6:,.0f} MB to give; "
                "lower learner.replay_transitions or learner.hidden"
            )
        # Micro-batches pay with a copy of their states, which those temporary bytes hold already.
        own = max(temporary - state, 0.0) if settled.means.microbatch else temporary
        fitting, batch = fit._solve(lanes, memory, state, own, True, means.microbatch)
        fewer = even_lanes(wanted, max(1, min(fitting, lanes)))
        if (fewer, batch) == (lanes, settled.means.microbatch):
            fewer = lanes - max(1, lanes // 16)
        lanes = fewer
    read = traffic(compiled.as_text())
    return CardFit(card, settled, memory, lane, needed, temporary, read)


def described_device(card: Card) -> Any:
    """A device for which programs can be compiled, though it is not there."""
    if not any(importlib.util.find_spec(plugin) for plugin in PLUGINS):
        raise ConfigError(
            "compiling for a GPU needs its compiler, which works without one: pip install 'purejax_mgtopo[cuda12]'"
        )
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(
            "described", "cuda", target_config=card.target, topology="1x1x1"
        )
    except Exception as error:  # whatever its plugin raises, by version
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"JAX {jax.__version__} cannot compile for a described {card.name}: {line}"
        ) from None
    return described.devices[0]


def _compiled(config: Config, lanes: int, device: Any) -> Any:
    of_card = replace(config, means=replace(config.means, seed_axis="vmap", devices=1))
    with traced_for("gpu"):
        population = Population(fit._of_seeds(of_card, lanes), lanes, [device])
        return population.compiled(population.abstract())
