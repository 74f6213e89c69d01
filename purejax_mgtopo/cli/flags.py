"""What commands are, and the flags that several of them share, each with its words."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from purejax_mgtopo.options.learner import LearnerPresetName


class Command(abc.ABC):
    """A command as a frozen dataclass: its fields are the flags, its docstrings their help."""

    @abc.abstractmethod
    def do(self) -> int:
        """Do what was asked; the exit code."""


Switch = FlagCreatePairsOff[bool]
"""Off unless it is given; there is no ``--no-...`` beside it."""

Debug = Annotated[
    Switch, arg(help="Show the whole traceback of an error (as MGTOPO_DEBUG=1 does).")
]
Distributed = Annotated[
    Switch,
    arg(
        help="Join the other processes of this run, started by Slurm, MPI or Kubernetes, "
        "or described by JAX_COORDINATOR_ADDRESS."
    ),
]
NoCache = Annotated[
    Switch,
    arg(
        help="Neither use nor keep compiled programs; without this flag they stay in MGTOPO_CACHE_DIR "
        "or the user's cache folder, so that the next start is quick."
    ),
]
Imports = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(
        name="import",
        metavar="MODULE",
        help_behavior_hint="(repeatable)",
        help="A module of yours to import first, which registers rules, interpreters, critics or tasks.",
    ),
]
MethodName = Annotated[
    str | None,
    arg(
        metavar="NAME",
        help_behavior_hint="(default: what those two say)",
        help='A preset of --topology and --messages (see `mgtopo methods`), or any pair, "topology+messages": '
        "a pair without a preset is experimental.",
    ),
]
LearnerPreset = Annotated[
    LearnerPresetName | None,
    arg(
        help_behavior_hint="(default: paper)",
        help="Settings of the base learner that go together, which single flags refine: the paper's, or those under "
        "which push is learned too (see `mgtopo methods`).",
    ),
]
RunFolder = Annotated[Positional[Path], arg(metavar="DIR", help="The run's folder.")]
RunFolders = Annotated[
    Positional[tuple[Path, ...]],
    arg(
        metavar="DIR...",
        help_behavior_hint="(required)",
        help="Folders of runs, or folders that hold runs, such as a sweep's results.",
    ),
]
EpisodeSeed = Annotated[
    int, arg(metavar="INT", help="Random seed of the episodes: another number, other episodes.")
]


def is_run(folder: Path) -> bool:
    """Whether it is a run's own folder, or nothing that holds any: what is said of a run is said of it."""
    from purejax_mgtopo.records.record import CONFIG

    return (folder / CONFIG).exists() or not any(folder.rglob(CONFIG))
