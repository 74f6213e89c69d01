"""Flags that several commands share, each with its words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

Switch = FlagCreatePairsOff[bool]
"""Off unless it is given; there is no ``--no-...`` beside it."""

Debug = Annotated[Switch, arg(help="Show the traceback of an error (as does MGTOPO_DEBUG=1).")]
Distributed = Annotated[
    Switch,
    arg(
        help="Join the other processes of this run (Slurm, MPI, Kubernetes, or JAX_COORDINATOR_ADDRESS)."
    ),
]
NoCache = Annotated[
    Switch,
    arg(help="Keep no compiled programs (else in MGTOPO_CACHE_DIR or the user's cache folder)."),
]
MethodName = Annotated[
    str | None,
    arg(
        metavar="NAME",
        help='A preset of both axes (see `mgtopo methods`) or "topology+messages"; flags refine it.',
    ),
]
RunFolder = Annotated[Positional[Path], arg(metavar="DIR", help="The run's folder.")]
RunFolders = Annotated[
    Positional[tuple[Path, ...]],
    arg(
        metavar="DIR...",
        help="Runs' folders, or folders that hold runs, such as a sweep's results.",
    ),
]
EpisodeSeed = Annotated[
    int, arg(metavar="INT", help="Picks the episodes: another number, other episodes.")
]
