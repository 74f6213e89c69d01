"""`mgtopo wandb-rebuild` and `mgtopo wandb-dashboard`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.mirror.mirror import rebuild
from purejax_mgtopo.records.record import find_runs


def rebuild_command(folders: Sequence[Path]) -> int:
    if not folders:
        raise ConfigError("say which runs to mirror, for example `mgtopo wandb-rebuild results`")
    for run in find_runs(folders):
        place = rebuild(run, lambda line: print(line, file=sys.stderr, flush=True))
        print(f"{run}: {place}", flush=True)
    return 0


def dashboard_command(entity: str | None, project: str) -> int:
    from purejax_mgtopo.mirror.dashboard import save_dashboard

    print(f"dashboard  {save_dashboard(entity, project)}", flush=True)
    return 0
