"""One W&B run that follows something: how it is opened, found again, told what is new, and left alone where it fails.

The W&B run keeps its id when training resumes. What W&B has already is not told again: online it says so itself, while
offline every process writes a whole file from the records and sets the earlier, shorter one aside, because uploading
two files of one run would leave the last one alone.

Nothing here may stop training: the first thing that fails costs one line, and from then on the mirror is silent.
"""

from __future__ import annotations

import abc
import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.mirror.access import (
    MirrorMode,
    Say,
    decided,
    heeding_environment,
    import_wandb,
    project_of_environment,
    settings_of_wandb,
)
from purejax_mgtopo.mirror.feed import LogEntry
from purejax_mgtopo.mirror.places import STATE, home, named_project, project_name
from purejax_mgtopo.mirror.rows import HeatMap, Histogram, pixels, shown_name
from purejax_mgtopo.records.files import strict_json, write_atomically

OPENING = 60.0
"""Seconds for which a run that has ended waits for a server that has not answered yet."""
ENVIRONMENT = ("WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_TAGS")
"""What the user may say there beats what we would choose; a setting beats both."""
PLACES = ("WANDB_ENTITY", "WANDB_DIR")
"""What W&B itself is told there of where a run goes."""


class Mirror(abc.ABC):
    """Follows what is trained in a folder, and can also write itself from records alone. Its methods never raise.

    Args:
        means: whether, and to which project, the mirror is written.
        anew: a W&B run of its own in place of the one that `folder` has; failing raises RunError.
    """

    def __init__(
        self, folder: Path, means: Means, say: Say, mode: MirrorMode, anew: bool = False
    ) -> None:
        self._folder, self._means, self._say, self._mode = folder, means, say, mode
        self._anew = anew
        self._broken = False
        self.place = ""
        """The page of the W&B run, or the folder it was written to."""
        self._opening = threading.Thread(
            target=self._attempt, args=(self._open,), daemon=True, name="wandb"
        )
        if mode == "online" and not anew:  # a server may be slow, or silent: training does not wait
            self._opening.start()
        else:
            self._opening.run()

    def chunk(self) -> None:
        """Log what the records say since the last time; what has just been done is among it already."""
        if not self._opening.is_alive():
            self._attempt(self._catch_up)

    def close(self, finished: bool) -> None:
        """Log what is left, and end the W&B run."""
        if self._opening.is_alive():
            self._opening.join(OPENING)
        if self._opening.is_alive():
            self._attempt(self._give_up)
        self._attempt(lambda: self._close(finished))

    @abc.abstractmethod
    def _document(self) -> Mapping[str, Any]:
        """Where what is trained comes from: versions, commit, command, by the folder's own description."""

    @abc.abstractmethod
    def _labels(self, document: Mapping[str, Any], name: str, seed: int | None) -> dict[str, Any]:
        """Name, group, tags and settings of a W&B run."""

    @abc.abstractmethod
    def _define(self, run: Any) -> None:
        """Say what is drawn against what, and which last values stand in W&B's table of runs."""

    @abc.abstractmethod
    def _opened(self, name: str) -> None:
        """The W&B run is there, and what follows depends on how far it has come."""

    @abc.abstractmethod
    def _catch_up(self) -> None:
        """Log what the records say since the last time."""

    @abc.abstractmethod
    def _log_results(self) -> None:
        """What there is at the end."""

    def _runs(self) -> Iterable[Any]:
        """All W&B runs, the main one last."""
        return (self._run,)

    @staticmethod
    def _give_up() -> None:
        raise TimeoutError("the server does not answer")

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except Exception as error:
            if self._anew:
                raise RunError(f"W&B: {line_of(error)}") from error
            self._broken = True
            self._say(
                f"W&B: {line_of(error)}; training goes on without it, and `mgtopo wandb-rebuild "
                f"{self._folder}` writes it later"
            )

    def _open(self) -> None:
        kept = self._kept()
        old, project = kept.get("id"), self._means.wandb_project
        if not project and not self._anew:  # it goes on where it began
            project = kept.get("project", "")
        online = self._mode == "online"
        ours = named_project(self._folder, self._means) if online else ""
        self._project = project_name(project or ours or project_of_environment())
        if online:
            where = str(settings_of_wandb().base_url)
            self._say(
                f"W&B: sends measurements, settings, command line and commit to the project {self._project} at "
                f'{where}; --wandb off, in Python Means(wandb="off"), keeps them here'
            )
        name = secrets.token_hex(6) if self._anew or old is None else old
        if not self._anew:
            self._set_aside(old)
            self._keep(name)
        self._run = self._start(name)
        self._opened(name)
        self.place = self._run.url if self._mode == "online" else str(Path(self._run.dir).parent)
        own = self._own_words(project)
        if self._mode == "online" or own:
            self._say(f"W&B: {self.place}{own}")
        self._old = old

    def _own_words(self, project: str) -> str:
        """What of the environment is heeded, and what a setting overrules; empty where it says nothing.

        Args:
            project: the project, where a setting names it or the run has one.
        """
        heard = [name for name in (*ENVIRONMENT, *PLACES) if os.environ.get(name)]
        if project:
            heard = [name for name in heard if name != "WANDB_PROJECT"]
        chosen, overruled = decided(self._means.wandb, self._mode)
        if chosen:
            heard.append("WANDB_MODE")
        words = [f"by {', '.join(heard)} of the environment"] if heard else []
        words += [overruled] if overruled else []
        return f" ({'; '.join(words)})" if words else ""

    def _start(self, name: str, seed: int | None = None) -> Any:
        """A W&B run: the main one, or the one of a seed."""
        wandb = import_wandb()
        document = self._document()
        wanted = {
            "silent": True,
            "console": "off",  # else it would take over stdout and stderr
            "disable_code": True,
            "git_commit": (document.get("git") or {}).get("commit"),
            "init_timeout": 60,
            "finish_timeout": 300,  # what is not uploaded by then stays on disk, for `wandb sync`
            "x_save_requirements": False,
        }
        run = wandb.init(
            id=name if seed is None else f"{name}-seed{seed}",
            resume="allow",
            reinit="create_new",  # leave alone what the user's own program may have open
            mode=self._mode,
            dir=str(home(self._folder)),
            project=self._project,
            **self._labels(document, name, seed),
            settings=wandb.Settings(**heeding_environment(wanted)),
        )
        self._define(run)
        return run

    def _close(self, finished: bool) -> None:
        self._catch_up()
        if finished:
            self._log_results()
        for run in self._runs():
            run.finish(exit_code=0 if finished else 1)
        if self._anew:
            self._set_aside(self._old)
            self._keep(self._run.id)

    def _kept(self) -> dict[str, str]:
        """Which W&B run the folder has; empty if none."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            kept = json.loads((self._folder / STATE).read_text(encoding="utf-8-sig"))
            return {"id": str(kept["id"]), "project": str(kept.get("project") or "")}
        return {}

    def _keep(self, name: str) -> None:
        kept = {"id": name, "project": self._project, "mode": self._mode}
        write_atomically(self._folder / STATE, strict_json(kept).encode())

    def _set_aside(self, name: str | None) -> None:
        """Take what an earlier process wrote offline out of the sight of `wandb sync`: the whole takes its place."""
        if name is None:
            return
        folder = home(self._folder) / "wandb"
        for pattern in (f"offline-run-*-{name}", f"offline-run-*-{name}-seed*"):
            for path in folder.glob(pattern):
                aside = path.with_name(path.name.replace("offline-run", "superseded-run", 1))
                while aside.exists():  # W&B's names tell seconds, and two processes may share one
                    aside = aside.with_name(aside.name + "_")
                path.rename(aside)


def log_entries(run: Any, entries: Iterable[LogEntry]) -> None:
    """Log rows in order, under the names that are shown."""
    for entry in entries:
        names = {name: shown_name(name) for name in entry.row}
        row = {key: _for_wandb(entry.row[name]) for name, key in names.items() if key is not None}
        run.log(row, step=entry.step, commit=True)  # each row at once: a kill loses none


def _for_wandb(value: Any) -> Any:
    if isinstance(value, Histogram):
        return import_wandb().Histogram(np_histogram=(value.counts, value.edges))
    if isinstance(value, HeatMap):
        return import_wandb().Image(pixels(value.rates), caption=value.caption)
    return value


def line_of(error: BaseException) -> str:
    """What failed, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, ConfigError):  # which speaks for itself
        return text
    return f"{type(error).__name__}: {text[:300]}"
