"""The words of every subcommand, as dataclasses from which the parser and its help are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from purejax_mgtopo.config import Experiment, Means
from purejax_mgtopo.prey.settings import PreySettings


@dataclass(frozen=True)
class Train:
    """Train one method on one task, many seeds in one program. Every setting is a flag."""

    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for the results; must not hold a run yet. Required."""
    method: Annotated[str | None, arg(metavar="NAME")] = None
    """A preset of both axes (see `mgtopo methods`) or "topology+messages"; flags refine it."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    means: Annotated[Means, arg(name="")] = field(default_factory=Means)
    distributed: FlagCreatePairsOff[bool] = False
    """Join the other processes of this run (Slurm, MPI, Kubernetes, or JAX_COORDINATOR_ADDRESS)."""
    no_cache: FlagCreatePairsOff[bool] = False
    """Keep no compiled programs (else in MGTOPO_CACHE_DIR or the user's cache folder)."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Sweep:
    """Run a recipe: tasks x methods x seeds. Called again, it keeps what is finished."""

    recipe: Annotated[Positional[Path], arg(metavar="RECIPE")]
    """A TOML file, or a folder that holds recipe.toml."""
    seeds: Annotated[int | None, arg(metavar="INT")] = None
    """Seeds per run, in place of the recipe's."""
    episodes: Annotated[int | None, arg(metavar="INT")] = None
    """Training episodes per seed, in place of the recipe's."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for the results; by default `results` beside the recipe."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME=VALUE")] = ()
    """Any setting, e.g. --set learner.hidden=64; may be repeated, wins over the recipe."""
    wandb: Literal["auto", "online", "offline", "off"] | None = None
    """Mirror the runs to W&B, as `mgtopo train --wandb` does; in place of the recipe's."""
    distributed: FlagCreatePairsOff[bool] = False
    """Join the other processes of this run (Slurm, MPI, Kubernetes, or JAX_COORDINATOR_ADDRESS)."""
    no_cache: FlagCreatePairsOff[bool] = False
    """Keep no compiled programs (else in MGTOPO_CACHE_DIR or the user's cache folder)."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Resume:
    """Go on with an interrupted run where it stopped, bit for bit."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run's folder."""
    devices: Annotated[int | None, arg(metavar="INT")] = None
    """How many devices share the seeds from now on; by default as before."""
    distributed: FlagCreatePairsOff[bool] = False
    """Join the other processes of this run (Slurm, MPI, Kubernetes, or JAX_COORDINATOR_ADDRESS)."""
    no_cache: FlagCreatePairsOff[bool] = False
    """Keep no compiled programs (else in MGTOPO_CACHE_DIR or the user's cache folder)."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Fit:
    """Tell, before a run, how many seeds fit at a time, what each needs, and how long all will take."""

    method: Annotated[str | None, arg(metavar="NAME")] = None
    """A preset of both axes (see `mgtopo methods`) or "topology+messages"; flags refine it."""
    memory: Annotated[float | None, arg(metavar="GB")] = None
    """Memory of one device, 10^9 bytes; by default what this machine has."""
    no_burst: FlagCreatePairsOff[bool] = False
    """Do not train for a moment to measure the speed."""
    profile: Annotated[Path | None, arg(metavar="DIR")] = None
    """Leave a JAX profile of that moment there, for TensorBoard or Perfetto: which kernels are hot."""
    experiment: Annotated[Experiment, arg(name="")] = field(default_factory=Experiment)
    means: Annotated[Means, arg(name="")] = field(default_factory=Means)
    no_cache: FlagCreatePairsOff[bool] = False
    """Keep no compiled programs (else in MGTOPO_CACHE_DIR or the user's cache folder)."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Verify:
    """Check every checkpoint of a run: each file, and each array against its digest."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run's folder."""


@dataclass(frozen=True)
class Watch:
    """Play an episode of a run's trained networks; write it as a picture and an animation."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run's folder."""
    seed: Annotated[int | None, arg(metavar="INT")] = None
    """Which of its seeds; by default the first."""
    greedy: FlagCreatePairsOff[bool] = False
    """Open an edge where its probability exceeds one half, rather than draw."""
    episode_seed: Annotated[int, arg(metavar="INT")] = 0
    """Another one, another episode."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for the files; by default `figures` in the run's."""
    name: Annotated[str | None, arg(metavar="NAME")] = None
    """Of the files, without .png and .gif; by default seed<i>_episode<e>, _greedy if so."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Evaluate:
    """Play fresh episodes with trained networks: returns, and what their communication is worth."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """A run's folder, or a folder that holds runs, such as a sweep's results."""
    seeds: Annotated[tuple[int, ...], arg(metavar="INT...")] = ()
    """Which of its seeds; by default all."""
    episodes: Annotated[int, arg(metavar="INT")] = 1000
    """For each seed and condition."""
    episode_seed: Annotated[int, arg(metavar="INT")] = 0
    """Another one, other episodes."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The table (Parquet), a row per seed and condition; by default DIR/evaluation.parquet."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Export:
    """Write a trained seed as a small file, which `purejax_mgtopo.load_policy` turns into a function."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """The run's folder."""
    seed: Annotated[int, arg(metavar="INT")]
    """Which of its seeds."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """By default policies/seed<i>_episode<e>.npz in the run's folder; NumPy arrays and a JSON header, whose layout
    `python -m pydoc purejax_mgtopo.trained.policy` tells."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Report:
    """Put runs on one HTML page: ranking, curves, edges, episodes to watch. It needs no network."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR...")]
    """Runs' folders, or folders that hold runs, such as a sweep's results."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """By default report.html in DIR, or where you are if there are several."""
    no_episodes: FlagCreatePairsOff[bool] = False
    """Leave out the episodes, for which JAX would have to start."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Status:
    """How far runs are: task, method, episodes, return, edges, speed, time left."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR...")]
    """Runs' folders, or folders that hold runs, such as a sweep's results."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class WandbRebuild:
    """Write the W&B mirror of runs anew from their records, as new W&B runs."""

    runs: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR...")]
    """Runs' folders, or folders that hold runs, such as a sweep's results."""
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class WandbDashboard:
    """Save a W&B view of the project: curves by method, edges, meta-learning health, the machine."""

    entity: Annotated[str | None, arg(metavar="NAME")] = None
    """User or team; by default yours."""
    project: Annotated[str, arg(metavar="NAME")] = Means.wandb_project
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Tasks:
    """List the tasks: agents, width of an observation, what each is about."""

    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""


@dataclass(frozen=True)
class Methods:
    """List the methods: topology rules, message interpreters, and the presets."""


@dataclass(frozen=True)
class Bench:
    """Measure this machine: environment steps/s, training episodes/s, compile times."""


@dataclass(frozen=True)
class Prey:
    """Train prey for predator-prey tasks in self-play, freeze the best, measure it."""

    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The prey file; by default prey_N<agents>.npz. Use it as task `predator_prey_N3_l3@FILE`."""
    settings: Annotated[PreySettings, arg(name="")] = field(default_factory=PreySettings)
    debug: FlagCreatePairsOff[bool] = False
    """Show the traceback of an error (as does MGTOPO_DEBUG=1)."""
