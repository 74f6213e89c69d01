"""The W&B mirror of a run: another place to follow it, which is never the truth and can always be rebuilt.

One W&B run for the program, whatever the number of its seeds; its rows come from `feed` and `rows`. The
W&B run keeps its id when training resumes. What W&B has already is not told again: online it says so itself, while
offline every process writes a whole file from the records and sets the earlier, shorter one aside, because uploading
two files of one run would leave the last one alone.

Nothing here may stop training: the first thing that fails costs one line, and from then on the mirror is silent.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.mirror.access import (
    MirrorMode,
    Say,
    choose_mode,
    decided,
    disabled,
    heeding_environment,
    import_wandb,
    mode_of_environment,
    project_of_environment,
)
from purejax_mgtopo.mirror.feed import Feed, LogEntry
from purejax_mgtopo.mirror.places import LABEL, STATE, cut, home, labels, named_project
from purejax_mgtopo.mirror.rows import (
    AXIS,
    PROGRESS_AXIS,
    SEED_TABLE,
    HeatMap,
    Histogram,
    final_row,
    pixels,
    seed_table,
    shown_name,
    summarised,
)
from purejax_mgtopo.records.files import strict_json, write_atomically
from purejax_mgtopo.records.metrics import Evaluation
from purejax_mgtopo.records.record import (
    CHECKPOINTS,
    CONFIG,
    FIGURES,
    Status,
    read_config,
    status,
)

OPENING = 60.0
"""Seconds for which a run that has ended waits for a server that has not answered yet."""
ENVIRONMENT = ("WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_TAGS")
"""What the user may say there beats what we would choose; a setting beats both."""
PLACES = ("WANDB_ENTITY", "WANDB_DIR")
"""What W&B itself is told there of where a run goes."""


def open_wandb(folder: Path, config: Config, say: Say) -> WandbMirror | None:
    """The mirror of a run that is about to train, or None where there is to be none."""
    if disabled():
        if config.means.wandb in ("online", "offline"):
            say(
                f"no W&B mirror: the environment disables W&B (WANDB_MODE or WANDB_DISABLED), which beats the setting "
                f"wandb={config.means.wandb}"
            )
        return None
    try:
        mode = choose_mode(config.means.wandb, say)
    except Exception as error:
        say(f"no W&B mirror: {_line(error)}")
        return None
    unasked = config.means.wandb == "auto" and mode_of_environment() != "online"
    if mode == "online" and unasked and not named_project(folder, config):
        say(
            "W&B: you are logged in, but no project is named, so the mirror stays in the run's folder; "
            "--wandb-project NAME or WANDB_PROJECT sends it there"
        )
        mode = "offline"
    return None if mode is None else WandbMirror(folder, config, say, mode)


def rebuild(folder: Path, say: Say) -> str:
    """Write the mirror anew from the records of a run, as another W&B run; answers where it is.

    Raises RunError where that is impossible: no run, one that is under way, W&B switched off or failing.
    """
    folder = expanded(folder)
    config = read_config(folder)
    found = status(folder)
    if found is Status.RUNNING:
        raise RunError(f"{folder} is in use by another mgtopo; rebuild when it has ended")
    wandb = config.means.wandb
    setting = "auto" if wandb == "off" else wandb
    mode = None if disabled() else choose_mode(setting, say)
    if mode is None:
        raise RunError("W&B is disabled (WANDB_MODE or `wandb disabled`); enable it to rebuild")
    mirror = WandbMirror(folder, config, say, mode, anew=True)
    mirror.close(finished=found is Status.FINISHED)
    return mirror.place


class WandbMirror:
    """Follows a run while it trains, and can also write itself from records alone. Its methods never raise.

    Args:
        anew: a W&B run of its own in place of the one that `folder` has; failing raises RunError.
    """

    def __init__(
        self, folder: Path, config: Config, say: Say, mode: MirrorMode, anew: bool = False
    ) -> None:
        self._folder, self._config, self._say, self._mode = folder, config, say, mode
        self._anew = anew
        self._broken = False
        self.place = ""
        """The page of the W&B run, or the folder it was written to."""
        self._waiting: list[Evaluation] = []
        """Evaluations that came before the W&B run was there."""
        self._opening = threading.Thread(
            target=self._attempt, args=(self._open,), daemon=True, name="wandb"
        )
        if mode == "online" and not anew:  # a server may be slow, or silent: training does not wait
            self._opening.start()
        else:
            self._opening.run()

    def chunk(self) -> None:
        """Log what the records say since the last time; the chunk's line is among them already."""
        if not self._opening.is_alive():
            self._attempt(self._catch_up)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Take an evaluation just made; its row is logged with its chunk's."""
        if self._broken:
            return
        self._waiting.append(evaluation)
        if not self._opening.is_alive():
            self._attempt(self._take_waiting)

    def close(self, finished: bool) -> None:
        """Log what is left, and end the W&B run."""
        if self._opening.is_alive():
            self._opening.join(OPENING)
        if self._opening.is_alive():
            self._attempt(self._give_up)
        self._attempt(lambda: self._close(finished))

    def _take_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for evaluation in waiting:
            self._feed.add(evaluation)

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
                raise RunError(f"W&B: {_line(error)}") from error
            self._broken = True
            self._say(
                f"W&B: {_line(error)}; training goes on without it, and `mgtopo wandb-rebuild "
                f"{self._folder}` writes it later"
            )

    def _open(self) -> None:
        kept = self._kept()
        old, project = kept.get("id"), self._config.means.wandb_project
        if not project and not self._anew:  # it goes on where it began
            project = kept.get("project", "")
        online = self._mode == "online"
        ours = named_project(self._folder, self._config) if online else ""
        self._project = project or ours or project_of_environment()
        if online:
            where = str(import_wandb().setup().settings.base_url)
            self._say(
                f"W&B: sends measurements, settings, command line and commit to the project {self._project} at "
                f'{where}; --wandb off, in Python Means(wandb="off"), keeps them here'
            )
        name = secrets.token_hex(6) if self._anew or old is None else old
        if not self._anew:
            self._set_aside(old)
            self._keep(name)
        self._run = self._start(name)
        alone = self._anew or processes.count() == 1
        self._feed = Feed(self._folder, self._config, since=self._run.step - 1, alone=alone)
        experiment = self._config.experiment
        first = experiment.first_seed
        count = min(self._config.means.wandb_per_seed, experiment.seeds)
        self._seeds = {seed: self._start(name, seed) for seed in range(first, first + count)}
        self._seeds_told = {seed: run.step - 1 for seed, run in self._seeds.items()}
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
        chosen, overruled = decided(self._config.means.wandb, self._mode)
        if chosen:
            heard.append("WANDB_MODE")
        words = [f"by {', '.join(heard)} of the environment"] if heard else []
        words += [overruled] if overruled else []
        return f" ({'; '.join(words)})" if words else ""

    def _start(self, name: str, seed: int | None = None) -> Any:
        """A W&B run: the program's, or the one of a seed."""
        wandb = import_wandb()
        document = json.loads((self._folder / CONFIG).read_text(encoding="utf-8-sig"))
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
            **labels(self._folder, self._config, document, name, seed),
            settings=wandb.Settings(**heeding_environment(wanted)),
        )
        progress = str(shown_name(PROGRESS_AXIS))
        for axis in (AXIS, progress):
            run.define_metric(axis, summary="last")
        run.define_metric("*", step_metric=AXIS, step_sync=False, summary="none")
        run.define_metric(f"{progress.partition('/')[0]}/*", step_metric=progress, step_sync=False,
                          summary="none")  # fmt: skip
        for key in summarised():
            axis = progress if key.partition("/")[0] == progress.partition("/")[0] else AXIS
            if key != axis:
                run.define_metric(key, step_metric=axis, step_sync=False, summary="last")
        return run

    def _catch_up(self) -> None:
        self._take_waiting()
        for seed, run in self._seeds.items():
            _log(run, self._feed.take_seed(seed, self._seeds_told[seed]))
        _log(self._run, self._feed.take())

    def _close(self, finished: bool) -> None:
        self._catch_up()
        if finished:
            _log(self._run, self._feed.take_rest())
            self._catch_up()
            self._log_results()
        for run in (*self._seeds.values(), self._run):
            run.finish(exit_code=0 if finished else 1)
        if self._anew:
            self._set_aside(self._old)
            self._keep(self._run.id)

    def _log_results(self) -> None:
        """What there is at the end: all seeds in a table, pictures, episodes, and where the checkpoints are."""
        wandb = import_wandb()
        results: dict[str, Any] = {}
        final = self._feed.final()
        if final is not None:
            headings, lines = seed_table(final)
            for name, value in final_row(final, self._config.experiment).items():
                results[str(shown_name(name))] = value
            results[str(shown_name(SEED_TABLE))] = wandb.Table(columns=headings, data=lines)
        for path in sorted((self._folder / FIGURES).glob("*.png")):
            results[cut(f"7_figures/{path.stem}", LABEL)] = wandb.Image(str(path))
        for path in sorted((self._folder / FIGURES).glob("*.gif")):
            results[cut(f"7_figures/{path.stem}", LABEL)] = wandb.Video(str(path), format="gif")
        if results:
            self._run.log(results, step=self._feed.step + 1, commit=True)
        checkpoints = (self._folder / CHECKPOINTS).resolve()
        if checkpoints.is_dir() and any(checkpoints.iterdir()):
            artifact = wandb.Artifact(f"checkpoints-{self._run.id}", type="checkpoint")
            # They have digests of their own; reading gigabytes once more would teach nothing.
            artifact.add_reference(checkpoints.as_uri(), checksum=False)
            self._run.log_artifact(artifact)

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


def _log(run: Any, entries: Iterable[LogEntry]) -> None:
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


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
