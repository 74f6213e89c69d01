"""`mgtopo prey`: self-play, selection, a frozen file, and the figures in its header."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import configure_platform, use_cache
from purejax_mgtopo.prey.settings import PreySettings
from purejax_mgtopo.records.files import make_ready_for


def prey_command(settings: PreySettings, out: Path) -> int:
    """Train, pick, write `out`, then measure and write it again with the figures.

    Raises ConfigError where `out` exists or is no .npz, RunError where it cannot be written or no prey is fit.
    """
    out = expanded(out)
    if out.suffix != ".npz":
        raise ConfigError(f"a prey file ends in .npz, unlike {out}")
    if out.exists():
        raise ConfigError(f"{out} exists; move it away, or say where else with --out")
    make_ready_for(out)
    use_cache(True)
    configure_platform(Means())
    table = make_prey(settings, out, _progress())
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)
    print(f"prey  {out}", flush=True)
    return 0


def make_prey(settings: PreySettings, out: Path, say: Callable[[str], None]) -> Table:
    """All of `prey_command` but the arguments' checks; also from Python, once JAX is configured."""
    import jax_mpe
    import numpy as np
    from jax_mpe.prey import write

    from purejax_mgtopo.prey.chase import chase, hunt
    from purejax_mgtopo.prey.selection import choose, cross_play, frozen
    from purejax_mgtopo.prey.selfplay import PairMetrics, Pairs
    from purejax_mgtopo.records.provenance import provenance

    pairs = Pairs(settings)

    def tell(episode: int, metrics: PairMetrics) -> None:
        say(
            f"self-play {episode:,} of {settings.episodes:,}: contacts an episode "
            f"{np.mean(metrics.contacts):.2f}, prey inside {np.mean(metrics.inside):.0%}"
        )

    trained = pairs.train(tell)
    prey = trained.prey.learner.policy
    met = cross_play(pairs.duel, trained.predators.learner.policy, prey)
    contacts, inside = met.held_out()
    best = choose(met, settings.stays)
    say(f"picked the prey of pair {best}: {contacts[best]:.2f} contacts, inside {inside[best]:.1%}")
    env = pairs.duel.env
    story: dict[str, Any] = {
        "settings": asdict(settings),
        "picked": {
            "pair": best,
            "seed": settings.first_seed + best,
            "by": "fewest contacts an episode, half of them with the trained predators of all other "
            "pairs, half with straight hunters, among prey that stay in the arena",
            "contacts": np.round(contacts, 3).tolist(),
            "inside": np.round(inside, 4).tolist(),
        },
        "provenance": provenance(),
    }
    arrays = frozen(prey, best)
    write(out, env.sizes, arrays, story)
    if not settings.chase_episodes:
        return _table({}, {})
    # Each stands for what fresh predators, trained for so long, make of the prey.
    figures, hunted = {}, {}
    for name, kind in (("this", str(out)), ("scripted", "scripted"), ("random", "random")):
        tell_name = partial(_tell_chase, say, name)
        figures[name] = chase(settings, kind, tell_name).intervals()
        hunted[name] = hunt(settings, kind)
    story["chase"] = {
        "what": "predators trained from scratch with topology none, then watched without "
        "exploration; mean over seeds with its 95 % interval, an episode",
        **figures,
    }
    story["straight_hunters"] = {
        "what": "contacts an episode with predators that head straight for the nearest prey; mean "
        "over episodes with its 95 % interval",
        **hunted,
    }
    write(out, env.sizes, arrays, story)
    assert jax_mpe.make(settings.task, prey=str(out)) is not None  # it reads as it was written
    return _table(figures, hunted)


def _tell_chase(say: Callable[[str], None], name: str, episode: int) -> None:
    say(f"predators chasing {name} prey: {episode:,} episodes")


def _table(figures: dict[str, dict[str, list[float]]], hunted: dict[str, list[float]]) -> Table:
    title = "an episode, mean [95 % interval]" if figures else None
    table = Table("prey", box=box.SIMPLE_HEAD, caption=title)
    headings = {
        "contacts": "contacts",
        "inside": "inside",
        "team_return": "return",
    }
    for heading in (*headings.values(), "contacts with straight hunters"):
        table.add_column(heading, justify="right")
    for name, measured in figures.items():
        values = (*(measured[key] for key in headings), hunted[name])
        table.add_row(name, *("{:.2f} [{:.2f}, {:.2f}]".format(*value) for value in values))
    return table


def _progress() -> Callable[[str], None]:
    start = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start:7.0f} s  {line}", file=sys.stderr, flush=True)

    return say
