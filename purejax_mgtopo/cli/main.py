"""The `mgtopo` command. Nothing heavy is imported before the arguments are parsed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from purejax_mgtopo.cli.arguments import (
    Bench,
    Evaluate,
    Export,
    Fit,
    Methods,
    Prey,
    Report,
    Resume,
    Status,
    Sweep,
    Tasks,
    Train,
    Verify,
    WandbDashboard,
    WandbRebuild,
    Watch,
)
from purejax_mgtopo.config import Experiment, with_method
from purejax_mgtopo.errors import ConfigError, unknown_name

PROG = "mgtopo"
USAGE, FAILURE, INTERRUPTED = 2, 1, 130


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
        from purejax_mgtopo.errors import RunError
        from purejax_mgtopo.machine.processes import ProcessGone

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
        from purejax_mgtopo.bench import bench

        with _one_line_errors():
            settings = bench.parse(argv[1:])
        bench.run(settings)
        return 0

    command = parse(argv)
    from purejax_mgtopo.cli import commands

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
            from purejax_mgtopo.cli.status import status_command

            return status_command(command.runs)
        case WandbRebuild():
            from purejax_mgtopo.cli.wandb_command import rebuild_command

            return rebuild_command(command.runs)
        case WandbDashboard():
            from purejax_mgtopo.cli.wandb_command import dashboard_command

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
    base = Experiment() if method is None else with_method(Experiment(), method)
    name, kind = argv[0], _SUBCOMMANDS.get(argv[0])
    with _one_line_errors():
        if kind is None:  # --help of the whole
            command = tyro.cli(_all_commands(), prog=PROG, args=argv, description=_DESCRIPTION)
        else:  # on its own: a misspelt flag is compared with this command's flags, not with all
            preset = kind in (Train, Fit)  # it becomes the default that the other flags refine
            default: dict[str, Any] = {"default": kind(experiment=base)} if preset else {}
            command = tyro.cli(kind, prog=f"{PROG} {name}", args=argv[1:], **default)
    if isinstance(command, Train | Fit):
        _check_method(command, base)
    if isinstance(command, Train) and command.out is None:
        example = f"--out results/{command.experiment.task}/{command.experiment.method}"
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


def _check_method(command: Train | Fit, preset: Experiment) -> None:
    experiment = command.experiment
    if command.method is not None:
        for axis, given, named in (
            ("topology", experiment.topology, preset.topology),
            ("messages", experiment.messages, preset.messages),
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
