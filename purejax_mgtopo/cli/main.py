"""The `mgtopo` command. Nothing heavy is imported before the arguments are parsed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import tyro
from tyro.conf import subcommand

from purejax_mgtopo.cli.following import StatusCommand, WandbDashboardCommand, WandbRebuildCommand
from purejax_mgtopo.cli.others import BenchCommand, MethodsCommand, PreyCommand, TasksCommand
from purejax_mgtopo.cli.results import (
    EvaluateCommand,
    ExportCommand,
    ReportCommand,
    VerifyCommand,
    WatchCommand,
)
from purejax_mgtopo.cli.running import FitCommand, ResumeCommand, SweepCommand, TrainCommand
from purejax_mgtopo.config import Experiment, with_method
from purejax_mgtopo.errors import ConfigError, RunError, unknown_name

PROG = "mgtopo"
USAGE, FAILURE, INTERRUPTED = 2, 1, 130

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
    "status": StatusCommand,
    "wandb-rebuild": WandbRebuildCommand,
    "wandb-dashboard": WandbDashboardCommand,
    "prey": PreyCommand,
    "tasks": TasksCommand,
    "methods": MethodsCommand,
    "bench": BenchCommand,
}
"""The `Command`s by the word that calls them, in the order in which the help lists them."""


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
    if not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise unknown_name("command", argv[0], COMMANDS)
    return parse(argv).do()


def parse(argv: Sequence[str]) -> Any:
    """The command, ready to `do`. Raises ConfigError, or SystemExit(0) after ``--help``."""
    argv = _zeros_for_auto(argv)
    name, kind = argv[0], COMMANDS.get(argv[0])
    with _one_line_errors():
        if kind is None:  # --help of the whole
            return tyro.cli(_all_commands(), prog=PROG, args=argv, description=_DESCRIPTION)
        default = {}
        method = _flag(argv, "--method") if kind in (TrainCommand, FitCommand) else None
        if method is not None:  # the preset becomes the default that the other flags refine
            default["default"] = kind(experiment=with_method(Experiment(), method))
        # On its own: a misspelt flag is compared with this command's flags, not with those of all.
        return tyro.cli(kind, prog=f"{PROG} {name}", args=argv[1:], **default)


def _all_commands() -> Any:
    union: Any = None
    for name, kind in COMMANDS.items():
        choice = Annotated[kind, subcommand(name)]
        union = choice if union is None else union | choice
    return union


_DESCRIPTION = (
    "Learned communication topologies for cooperative multi-agent RL: many seeds, one program."
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
    """What tyro says, without its frame.

    tyro (1.0) draws every error as a box: its only switch, `console_outputs`, silences errors and ``--help`` alike, and
    the hook that hears of them unframed is private and may go with any release.
    """
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text)
    bare = re.sub(r"^[\u256d\u2570].*$|[\u2500-\u257f]", " ", bare, flags=re.MULTILINE)
    # What follows is the help that --help shows.
    line = " ".join(re.split(r"Argument helptext|For full helptext", bare)[0].split())
    line = re.sub(r" Perhaps you meant: (--\S+).*", r"; did you mean \1?", line)
    return line or "these arguments cannot be understood; see --help"


def _fail(error: BaseException, code: int, message: str, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    line = " ".join(message.split())
    print(f"{PROG}: error: {line}", file=sys.stderr)
    return code
