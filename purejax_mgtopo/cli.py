"""The `mgtopo` command. Nothing heavy is imported before the arguments are parsed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg, subcommand

from purejax_mgtopo.config import Config, ConfigError, unknown_name, with_method
from purejax_mgtopo.prey.settings import PreySettings

PROG = "mgtopo"
USAGE, FAILURE, INTERRUPTED = 2, 1, 130


@dataclass(frozen=True)
class Train:
    """Train one method on one task, many seeds in one program. Every setting is a flag."""

    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for the results; must not hold a run yet. Required."""
    method: Annotated[str | None, arg(metavar="NAME")] = None
    """A preset of both axes (see `mgtopo methods`) or "topology+messages"; flags refine it."""
    config: Annotated[Config, arg(name="")] = field(default_factory=Config)
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
    config: Annotated[Config, arg(name="")] = field(default_factory=Config)
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
    `python -m pydoc purejax_mgtopo.policy` tells."""
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
    project: Annotated[str, arg(metavar="NAME")] = Config.wandb_project
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


_SUBCOMMANDS = {
    "train": Train,
    "sweep": Sweep,
    "resume": Resume,
    "verify": Verify,
    "fit": Fit,
    "watch": Watch,
    "evaluate": Evaluate,
    "export": Export,
    "report": Report,
    "status": Status,
    "wandb-rebuild": WandbRebuild,
    "wandb-dashboard": WandbDashboard,
    "prey": Prey,
    "tasks": Tasks,
    "methods": Methods,
    "bench": Bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and answer with an exit code: 0, 1 failed, 2 bad input, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv or os.environ.get("MGTOPO_DEBUG", "") not in ("", "0")
    try:
        return _dispatch(argv)
    except ConfigError as error:
        return _fail(error, USAGE, str(error), debug)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except KeyboardInterrupt as error:
        return _fail(error, INTERRUPTED, "interrupted", debug)
    except Exception as error:
        from purejax_mgtopo.files import RunError
        from purejax_mgtopo.processes import ProcessGone

        message = str(error)
        if not isinstance(error, RunError):
            hint = "" if debug else " (MGTOPO_DEBUG=1 shows the traceback)"
            message = f"{type(error).__name__}: {message}{hint}"
        code = _fail(error, FAILURE, message, debug)
        if isinstance(error, ProcessGone):  # an orderly end would wait for it
            sys.stdout.flush()
            os._exit(code)
        return code


def _dispatch(argv: list[str]) -> int:
    if not argv:
        argv = ["--help"]
    if not argv[0].startswith("-") and argv[0] not in _SUBCOMMANDS:
        raise unknown_name("command", argv[0], _SUBCOMMANDS)
    if argv[0] == "bench":  # it has a parser of its own
        from purejax_mgtopo import bench

        with _one_line_errors():
            settings = bench.parse(argv[1:])
        bench.run(settings)
        return 0

    command = parse(argv)
    from purejax_mgtopo import commands

    match command:
        case Train():
            return commands.train_command(command)
        case Sweep():
            return commands.sweep_command(command)
        case Resume():
            return commands.resume_command(command)
        case Fit():
            return commands.fit_command(command)
        case Verify():
            return commands.verify_command(command)
        case Watch():
            return commands.watch_command(command)
        case Evaluate():
            return commands.evaluate_command(command)
        case Export():
            return commands.export_command(command)
        case Report():
            return commands.report_command(command)
        case Status():
            from purejax_mgtopo.status_table import status_command

            return status_command(command.runs)
        case WandbRebuild():
            from purejax_mgtopo.wandb_command import rebuild_command

            return rebuild_command(command.runs)
        case WandbDashboard():
            from purejax_mgtopo.wandb_command import dashboard_command

            return dashboard_command(command.entity, command.project)
        case Prey():
            from purejax_mgtopo.prey.command import prey_command

            out = command.out or Path(f"prey_N{command.settings.agents}.npz")
            return prey_command(command.settings, out)
        case Tasks():
            return commands.tasks_command()
        case _:
            return commands.methods_command()


def parse(argv: Sequence[str]) -> Any:
    """The subcommand's dataclass. Raises ConfigError, or SystemExit(0) after ``--help``."""
    argv = _zeros_for_auto(argv)
    method = _flag(argv, "--method")
    base = Config() if method is None else with_method(Config(), method)
    name, kind = argv[0], _SUBCOMMANDS.get(argv[0])
    with _one_line_errors():
        if kind is None:  # --help of the whole
            command = tyro.cli(_all_commands(), prog=PROG, args=argv, description=_DESCRIPTION)
        else:  # on its own: a misspelt flag is compared with this command's flags, not with all
            preset = kind in (Train, Fit)  # it becomes the default that the other flags refine
            default: dict[str, Any] = {"default": kind(config=base)} if preset else {}
            command = tyro.cli(kind, prog=f"{PROG} {name}", args=argv[1:], **default)
    if isinstance(command, Train | Fit):
        _check_method(command, base)
    if isinstance(command, Train) and command.out is None:
        example = f"--out results/{command.config.task}/{command.config.method}"
        raise ConfigError(f"say where the results go, for example {example}")
    return command


def _all_commands() -> Any:
    union: Any = None
    for name, kind in _SUBCOMMANDS.items():
        choice = Annotated[kind, subcommand(name)]
        union = choice if union is None else union | choice
    return union


_DESCRIPTION = (
    "Learned communication topologies for cooperative multi-agent RL: many seeds, one program."
)


def _check_method(command: Train | Fit, preset: Config) -> None:
    config = command.config
    if command.method is not None:
        for axis, given, named in (
            ("topology", config.topology, preset.topology),
            ("messages", config.messages, preset.messages),
        ):
            if given != named:
                raise ConfigError(
                    f"--method {command.method} means --{axis} {named}, not {given}; "
                    "give one or the other"
                )


def _zeros_for_auto(argv: Sequence[str]) -> list[str]:
    """``--lanes auto`` may be written for ``--lanes 0``; likewise the other numbers that settle themselves."""
    numbers = ("--lanes", "--microbatch", "--devices")
    words = [
        f"{word.removesuffix('=auto')}=0" if word in [f"{n}=auto" for n in numbers] else word
        for word in argv
    ]
    pairs = zip(["", *words], words, strict=False)
    return ["0" if word == "auto" and before in numbers else word for before, word in pairs]


def _flag(argv: Sequence[str], name: str) -> str | None:
    for at, word in enumerate(argv):
        if word == name and at + 1 < len(argv):
            return argv[at + 1]
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn tyro's framed explanations into the one line that this command promises."""
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            yield
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        cause: BaseException | None = stop
        while (
            cause is not None
        ):  # our own checks speak for themselves, however deep tyro wraps them
            if isinstance(cause, ConfigError):
                raise ConfigError(str(cause)) from None
            cause = cause.__context__
        raise ConfigError(_condense(shown.getvalue())) from None


def _condense(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    rows = [row for row in text.splitlines() if not row.startswith(("\u256d", "\u2570"))]
    lines = [re.sub(r"[\u2500-\u257f]+", " ", row).strip() for row in rows]
    lines = [line for line in lines if line]
    for end, line in enumerate(lines):  # what follows is the help that --help shows
        if line.startswith(("Argument helptext", "For full helptext")):
            lines = lines[:end]
            break
    line = re.sub(r"\s+", " ", " ".join(lines))
    line = re.sub(r" Perhaps you meant: (--\S+).*", r"; did you mean \1?", line)
    return line or "these arguments cannot be understood; see --help"


def _fail(error: BaseException, code: int, message: str, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    line = " ".join(message.split())
    print(f"{PROG}: error: {line}", file=sys.stderr)
    return code
