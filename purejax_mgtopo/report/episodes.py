"""Episodes of trained networks, reduced to what the page plays. Starts JAX, and only where checkpoints are."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.records.record import CHECKPOINTS
from purejax_mgtopo.records.run_data import RunData
from purejax_mgtopo.report.collect import standing_seeds
from purejax_mgtopo.report.model import ClaimTrack, LearnedAdvantage, Playback, Run, Thing, Watched
from purejax_mgtopo.report.rule.summary import rule_said

if TYPE_CHECKING:
    from purejax_mgtopo.trained.load import TrainedRun

EPISODE_SEED = 1  # the same start for every method, so that they can be compared
UNITS = 1000  # of half an arena: finer than a pixel of the largest picture
_COLOURS = {
    "#0072B2": "blue",
    "#009E73": "green",
    "#E69F00": "purple",  # here orange means an open edge
    "#D55E00": "red",
    "#CC79A7": "purple",
    "#56B4E9": "sky",
    "#000000": "black",
}


def watch(run: Run, data: RunData, say: Callable[[str], None] = lambda _: None) -> Watched:
    """Play one episode of the best, the median and the worst seed, and `say` so; or tell why that is not possible."""
    seeds = standing_seeds(data)
    if not seeds:
        return _nothing(run, "no evaluation of a finite seed yet")
    if not (Path(run.folder) / CHECKPOINTS).is_dir():
        return _nothing(run, "no checkpoint was left, so the networks are gone")
    say(f"{run.task}/{run.method}: playing episodes")
    try:
        return _watch(run, seeds)
    except Exception as error:  # whatever is wrong with a checkpoint must not cost the report
        return _nothing(run, _in_one_line(error))


def _watch(run: Run, seeds: list[tuple[int, str]]) -> Watched:
    from purejax_mgtopo.report.analyses import has_advantages
    from purejax_mgtopo.report.rule.lived import speaks_of_edges
    from purejax_mgtopo.trained.load import load_trained

    trained = load_trained(Path(run.folder), seeds=[seed for seed, _ in seeds])
    playbacks = tuple(_playback(trained, seed, standing) for seed, standing in seeds)
    middle = next((seed for seed, name in seeds if name == "median"), seeds[0][0])
    learned, said, unsaid = None, None, ""
    if has_advantages(trained.algorithm):
        learned = _learned(trained, middle)
    if speaks_of_edges(trained.algorithm):
        try:
            said = rule_said(trained.algorithm, trained.of(middle), middle, trained.means.precision)
        except ConfigError as error:  # its file is gone
            unsaid = str(error)
        except Exception as error:  # whatever is wrong with a rule must not cost the episodes
            unsaid = _in_one_line(error)
    return Watched(run.task, run.method, playbacks, learned, said, unsaid)


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _nothing(run: Run, reason: str) -> Watched:
    return Watched(task=run.task, method=run.method, reason=reason)


def _playback(trained: TrainedRun, seed: int, standing: str) -> Playback:
    from purejax_mgtopo.trained.play import play_episode

    precision = trained.means.precision
    episode = play_episode(trained.algorithm, trained.of(seed), EPISODE_SEED, precision=precision)
    things, claims = _scene(trained.algorithm.env, episode.states, episode.actions)
    return Playback(
        seed=seed,
        standing=standing,
        things=things,
        claims=claims,
        masks=np.asarray(episode.masks) > 0,  # in either round of messages
        rewards=np.asarray(episode.rewards, float),
        agents={name: np.asarray(x) for name, x in episode.shown.agents.items()},
        pairs={name: np.asarray(x) for name, x in episode.shown.pairs.items()},
    )


def _scene(
    task: Any, states: Any, actions: NDArray
) -> tuple[tuple[Thing, ...], tuple[ClaimTrack, ...]]:
    """What the task looks like; agents on a ring where nobody knows, so that edges can be seen."""
    from jax_mpe.drawables import scene

    try:
        seen = scene(task, states, actions)
    except ValueError:
        return _ring(task.num_agents), ()
    scale = UNITS / seen.half_width
    things = tuple(
        Thing(
            role=disc.role,
            colour=_COLOURS.get(disc.colour, "grey"),
            fill=disc.fill.name.lower(),
            label=disc.label,
            radius=round(disc.radius * scale),
            places=_quantised(disc.track, scale),
        )
        for disc in seen.discs
    )
    claims = tuple(
        ClaimTrack(agent=i, places=_quantised(claim.track, scale))
        for i, claim in enumerate(seen.claims)
    )
    return things, claims


def _ring(agents: int) -> tuple[Thing, ...]:
    places = [
        (700 * math.sin(2 * math.pi * i / agents), 700 * math.cos(2 * math.pi * i / agents))
        for i in range(agents)
    ]
    return tuple(
        Thing("agent", "blue", "pale", str(i), 120, np.array([place]).round().astype(int))
        for i, place in enumerate(places)
    )


def _quantised(track: NDArray, scale: float) -> NDArray:
    places = np.nan_to_num(np.asarray(track, float) * scale, posinf=0, neginf=0)
    places = places.clip(-1e6, 1e6).round().astype(int)
    return places[:1] if (places == places[0]).all() else places


def _learned(trained: TrainedRun, seed: int) -> LearnedAdvantage:
    from purejax_mgtopo.report.analyses import episode_advantages

    precision = trained.means.precision
    return episode_advantages(
        trained.algorithm, trained.of(seed), seed, EPISODE_SEED, precision=precision
    ).summary()
