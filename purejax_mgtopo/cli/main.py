"""The `mgtopo` command. Nothing heavy is imported before the arguments are parsed."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from purejax_mgtopo.cli.fitting import FitCommand
from purejax_mgtopo.cli.flags import (
    NOWHERE,
    PATHS,
    debug_asked,
    flag_value,
    hyphens,
    plain_switches,
    refuse_repeated,
    zeros_for_auto,
)
from purejax_mgtopo.cli.following import (
    FiguresCommand,
    ReportCommand,
    StatusCommand,
    VerdictsCommand,
    WandbDashboardCommand,
    WandbRebuildCommand,
)
from purejax_mgtopo.cli.hints import as_flags, other_words, plainly, unknown_command
from purejax_mgtopo.cli.others import (
    BenchCommand,
    GlossaryCommand,
    MethodsCommand,
    PreyCommand,
    TasksCommand,
)
from purejax_mgtopo.cli.results import (
    EvaluateCommand,
    ExportCommand,
    VerifyCommand,
    WatchCommand,
)
from purejax_mgtopo.cli.resuming import ResumeCommand
from purejax_mgtopo.cli.running import SweepCommand, TrainCommand
from purejax_mgtopo.cli.universal import MetaTrainCommand, ScoreCommand
from purejax_mgtopo.config import Experiment, Means, with_learner, with_method
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.streams import enduring_streams, leave_within, show_any_name

PROG = "mgtopo"
USAGE, FAILURE, INTERRUPTED = 2, 1, 130
PATIENCE = 20.0
"""Seconds for which threads of libraries are waited for at the end: after an error of a disk some wait for minutes."""

COMMANDS: dict[str, Any] = {
    "train": TrainCommand,
    "sweep": SweepCommand,
    "resume": ResumeCommand,
    "verify": VerifyCommand,
    "fit": FitCommand,
    "watch": WatchCommand,
    "evaluate": EvaluateCommand,
    "export": ExportCommand,
    "report": ReportCommand,
    "figures": FiguresCommand,
    "verdicts": VerdictsCommand,
    "status": StatusCommand,
    "wandb-rebuild": WandbRebuildCommand,
    "wandb-dashboard": WandbDashboardCommand,
    "prey": PreyCommand,
    "meta-train": MetaTrainCommand,
    "score": ScoreCommand,
    "tasks": TasksCommand,
    "methods": MethodsCommand,
    "glossary": GlossaryCommand,
    "bench": BenchCommand,
}
"""The `Command`s by the word that calls them, in the order in which the help lists them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and answer with an exit code: 0, 1 failed, 2 bad input, 130 interrupted."""
    if argv is None:
        # Tracing makes objects by the million: to look for circles among them took a twentieth of a start.
        gc.set_threshold(100_000, 50, 100)
    with enduring_streams("stderr"):
        code = _main(list(sys.argv[1:] if argv is None else argv))
    if argv is None:  # the process ends with the command
        leave_within(PATIENCE, code)
        from purejax_mgtopo.machine.processes import leave_with

        leave_with(code)
    return code


def _main(argv: list[str]) -> int:
    show_any_name()
    said = os.environ.get("MGTOPO_DEBUG", "").strip().lower()
    debug = said not in ("", "0", "false", "no", "off") or debug_asked(argv, COMMANDS)
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
        from purejax_mgtopo.machine.processes import ProcessGone

        message = str(error)
        if isinstance(error, OSError) and error.strerror:
            place = f"{error.filename}: " if error.filename else ""
            message = f"{place}{error.strerror}"
        elif (line := _no_platform()) is not None:
            return _fail(error, USAGE, line, debug)
        elif not isinstance(error, RunError):
            hint = "" if debug else " (MGTOPO_DEBUG=1 shows the traceback)"
            message = f"{type(error).__name__}: {message}{hint}"
        code = _fail(error, FAILURE, message, debug)
        if isinstance(error, ProcessGone):  # an orderly end would wait for it
            sys.stdout.flush()
            os._exit(code)
        return code


def _no_platform() -> str | None:
    """What to say where JAX was asked for a platform that it cannot have."""
    if os.environ.get("JAX_PLATFORMS", "cpu") in ("", "cpu") or "jax" not in sys.modules:
        return None
    from purejax_mgtopo.machine.startup import start

    try:
        start()
    except ConfigError as error:
        return str(error)
    return None


def _dispatch(argv: list[str]) -> int:
    if not argv or argv == ["help"]:
        argv = ["--help"]
    if argv[0] == "help":
        argv = [argv[1], "--help"]
    if argv[1:] == ["--version"]:
        argv = argv[1:]
    if argv[0] in ("--version", "-V", "version"):
        from purejax_mgtopo.records.provenance import versions

        print(f"{PROG} " + ", ".join(f"{name} {value}" for name, value in versions().items()))
        return 0
    if not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise unknown_command(argv[0], COMMANDS)
    return parse(argv).do()


def parse(argv: Sequence[str]) -> Any:
    """The command, ready to `do`. Raises ConfigError, or SystemExit(0) after ``--help``."""
    argv = zeros_for_auto(hyphens(argv))
    name, kind = argv[0], COMMANDS.get(argv[0])
    _import_plugins(argv, kind)
    if kind is not None:
        argv = [name, *plain_switches(kind, argv[1:])]
    with _one_line_errors(argv):
        if kind is None:  # --help of the whole
            return tyro.cli(_all_commands(), prog=PROG, args=argv, description=_DESCRIPTION)
        default = {}
        if kind in (TrainCommand, FitCommand):  # presets become the default that other flags refine
            method, learner = flag_value(argv, "--method"), flag_value(argv, "--learner-preset")
            experiment = with_learner(Experiment(), learner or "paper")
            experiment = with_method(experiment, method) if method else experiment
            default["default"] = kind(experiment=experiment)
        # On its own: a misspelt flag is compared with this command's flags, not with those of all.
        with PATHS:
            command = tyro.cli(kind, prog=f"{PROG} {name}", args=argv[1:], **default)
        refuse_repeated(kind, argv[1:])
        return _at_home(command)


def _import_plugins(argv: Sequence[str], kind: Any) -> None:
    """Import what ``--import`` asks for before the words are read: it decides what names there are.

    A plug-in may start JAX, for which cache and devices must stand by then.
    """
    modules = [
        word.partition("=")[2] or (argv[at + 1] if at + 1 < len(argv) else "")
        for at, word in enumerate(argv)
        if word == "--import" or word.startswith("--import=")
    ]
    if not any(modules):
        return
    from purejax_mgtopo.machine.startup import configure_platform, use_cache
    from purejax_mgtopo.plugins.registry import import_plugin

    devices = flag_value(argv, "--devices") or ""
    use_cache(kind is None or "--no-cache" not in plain_switches(kind, argv[1:]))
    configure_platform(Means(devices=int(devices) if devices.isdigit() else 0))
    for module in modules:
        import_plugin(module, "--import")


def _at_home(command: Any) -> Any:
    """`command` with every path expanded. Raises ConfigError for an empty one."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(command):
        value = getattr(command, item.name)
        if value == NOWHERE or (isinstance(value, tuple) and NOWHERE in value):
            raise ConfigError(f"{item.name} is an empty path; write . for the current folder")
        if isinstance(value, Path):
            changes[item.name] = expanded(value)
        elif isinstance(value, tuple):
            changes[item.name] = tuple(expanded(x) if isinstance(x, Path) else x for x in value)
        elif dataclasses.is_dataclass(value):
            changes[item.name] = _at_home(value)
    return dataclasses.replace(command, **changes)


def _all_commands() -> Any:
    union: Any = None
    for name, kind in COMMANDS.items():
        choice = Annotated[kind, subcommand(name)]
        union = choice if union is None else union | choice
    return union


_DESCRIPTION = (
    "Learned communication topologies for cooperative multi-agent RL: many seeds, one program."
)


@contextlib.contextmanager
def _one_line_errors(argv: Sequence[str]) -> Iterator[None]:
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
        line = _condense(shown.getvalue())
        own = [item.name for item in dataclasses.fields(COMMANDS.get(argv[0], VerifyCommand))]
        raise ConfigError(other_words(line, argv, own) or plainly(line)) from None


def _condense(text: str) -> str:
    """What tyro says, without its frame.

    tyro (1.0) draws every error as a box: its only switch, `console_outputs`, silences errors and ``--help`` alike, and
    the hook that hears of them unframed is private and may go with any release.
    """
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    bare = re.sub(r"[\u2500-\u257f]", " ", bare)  # of which the first line holds the title
    bare = re.sub(r"^.*-{8,}.*$", " ", bare, flags=re.MULTILINE)  # the frame in ASCII
    # What follows is the help that --help shows.
    line = " ".join(re.split(r"Argument helptext|For full helptext", bare)[0].split())
    line = re.sub(r"^(Unrecognized options) \1", r"\1", line)  # the frame's title
    line, perhaps, rest = line.partition(" Perhaps you meant: ")
    wrong, known = re.findall(r"--[^\s,]+", line), re.findall(r"--[^\s,]+", rest)
    if perhaps and known:  # a flag and its opposite come together, and not the nearer one first
        near = get_close_matches(wrong[0], known, n=1, cutoff=0.0) if wrong else known
        line = f"{line}; did you mean {near[0]}?"
    return line or "these arguments cannot be understood; see --help"


def _fail(error: BaseException, code: int, message: str, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    line = as_flags(" ".join(message.split()))
    print(f"{PROG}: error: {line}", file=sys.stderr)
    return code
