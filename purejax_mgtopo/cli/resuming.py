"""The command `resume`: of a run, or of all the runs of a sweep."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import Debug, Distributed, NoCache, Switch, is_run
from purejax_mgtopo.cli.running import (
    TrainingCommand,
    ended,
    get_ready,
    interrupted,
    last_states_of,
    lost_in,
    stopped,
    tell,
)
from purejax_mgtopo.config import override
from purejax_mgtopo.errors import RunError

if TYPE_CHECKING:
    from purejax_mgtopo.training.progress import Reporter
    from purejax_mgtopo.training.run import RunResult


@dataclass(frozen=True)
class ResumeCommand(TrainingCommand):
    """Go on with an interrupted run where it stopped, bit for bit, or with all of a sweep."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """A run's folder, or a folder that holds runs, such as a sweep's results."""
    devices: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: as before)")
    ] = None
    """How many devices share the seeds from now on."""
    wandb: Annotated[
        Literal["auto", "online", "offline", "off"] | None,
        arg(metavar="{auto,online,offline,off}", help_behavior_hint="(default: as before)"),
    ] = None
    """Whether to mirror to W&B from now on, as `mgtopo train --wandb` does."""
    episodes: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: as before)")
    ] = None
    """Train each seed for so many episodes in all: a finished run is extended. It ends as a run of that length would,
    unless its method follows a schedule over the whole training: then it says so."""
    anew: Switch = False
    """Begin from the start where checkpoints were saved and none is left."""
    distributed: Distributed = False
    no_cache: NoCache = False
    debug: Debug = False

    def train(self) -> int:
        from purejax_mgtopo.records.folders import is_meta_training
        from purejax_mgtopo.training.progress import make_reporter

        if is_meta_training(self.run):
            raise RunError(
                f"{self.run} holds a meta-training: the same `mgtopo meta-train`, called again, goes on with it"
            )
        with closing(make_reporter()) as reporter:
            if not is_run(self.run):
                return self._all(reporter)
            return ended(self._resume(self.run, reporter))

    def _all(self, reporter: Reporter) -> int:
        """Go on with the runs that are not finished, one after the other, and draw all of them again.

        As in a sweep, a run whose seeds were all lost keeps nobody from the others, and the end tells of it.
        """
        from purejax_mgtopo.cli.tables import note
        from purejax_mgtopo.records.record import Status as State
        from purejax_mgtopo.records.record import find_runs, status
        from purejax_mgtopo.records.run_data import is_lost
        from purejax_mgtopo.training.stop import heard

        runs = find_runs([self.run])
        rest = [run for run in runs if not self._is_done(run)]
        if not rest:
            done = f"all runs in {self.run} are finished; there is nothing to resume"
            raise RunError("; ".join([done, *self._problems(runs)]))
        note(f"{len(runs) - len(rest)} of {len(runs)} runs are finished, and kept")
        unsaved: list[Path] = []
        busy: list[Path] = []
        with heard() as stop:
            for number, run in enumerate(rest, start=1):
                if stop.requested_anywhere:
                    note("mgtopo: stopped between two runs; go on by calling the same again")
                    return stopped(stop.signal or signal.SIGTERM)
                reporter.part(number, len(rest), self._episodes_of(rest[number:]))
                if self._is_done(run):
                    reporter.note(f"{run}: finished meanwhile, and kept")
                elif is_lost(run):
                    reporter.note(f"{run}: no seed of it stayed finite; left as it is")
                elif status(run) is State.RUNNING:
                    reporter.note(f"{run}: in use by another mgtopo; left to it")
                    busy.append(run)
                else:
                    result = self._resume(run, reporter)
                    if result.unsaved is not None:
                        unsaved.append(run)
                        if result.interrupted:
                            break
                    elif result.interrupted:
                        return interrupted(result)
                    else:
                        tell(result)
        self._draw([run for run in runs if run not in busy], reporter)
        if problems := self._problems(runs, unsaved, busy):
            raise RunError("; ".join(problems))
        return 0

    def _is_done(self, run: Path) -> bool:
        """Whether nothing is left to do of it."""
        from purejax_mgtopo.records.events import ends_unsaved
        from purejax_mgtopo.records.record import Status as State
        from purejax_mgtopo.records.record import read_config, status

        if status(run) is not State.FINISHED or ends_unsaved(run):
            return False
        return read_config(run).experiment.episodes >= (self.episodes or 0)

    def _problems(
        self, runs: Sequence[Path], unsaved: Sequence[Path] = (), busy: Sequence[Path] = ()
    ) -> list[str]:
        """Why not all is well with the runs of a sweep after all that could be done, each in words."""
        from purejax_mgtopo.records.folders import is_meta_training
        from purejax_mgtopo.records.run_data import is_lost
        from purejax_mgtopo.training.sweep import not_begun

        found = [last_states_of(unsaved)] if unsaved else []
        lost = []
        for run in (run for run in runs if run not in busy):
            try:
                lost += [run] * is_lost(run)
            except RunError as error:  # its table is damaged
                found.append(str(error))
        found += [lost_in(lost)] if lost else []
        found += [f"{run} is in use by another mgtopo" for run in busy]
        for folder, (absent, listed) in not_begun(self.run).items():
            teams = is_meta_training(folder.parent)
            words = ("meta-train", folder.parent) if teams else ("sweep", folder)
            found.append(
                f"{absent} of the {listed} runs in {folder} have not been begun: "
                f"`mgtopo {words[0]} RECIPE --out {shlex.quote(str(words[1]))}` begins them"
            )
        return found

    def _episodes_of(self, runs: Sequence[Path]) -> int:
        """Episodes that all seeds of `runs` have to go; half-done ones count whole."""
        from purejax_mgtopo.records.record import read_config

        found = [read_config(run).experiment for run in runs]
        return sum(each.seeds * max(each.episodes, self.episodes or 0) for each in found)

    def _draw(self, runs: Sequence[Path], reporter: Reporter) -> None:
        """The picture of a sweep, which was of the runs as they were."""
        from purejax_mgtopo.analysis.curves import try_to_draw
        from purejax_mgtopo.cli.tables import say
        from purejax_mgtopo.machine import processes
        from purejax_mgtopo.records.record import FIGURES, SWEEP
        from purejax_mgtopo.records.run_data import load_run
        from purejax_mgtopo.records.run_names import word_for
        from purejax_mgtopo.training.sweep import question_of

        if processes.index() or not (self.run / SWEEP).exists():
            return
        loaded = [load_run(run) for run in runs]
        named = [(word_for(data.folder, data.experiment), data) for data in loaded]
        target, title = self.run / FIGURES / "curves.png", question_of(self.run)
        figure = try_to_draw(named, target, reporter.note, title=title)
        if figure is not None:
            say(f"picture  {figure}")

    def _resume(self, run: Path, reporter: Reporter) -> RunResult:
        from purejax_mgtopo.records.record import read_config
        from purejax_mgtopo.training.run import extended, resume

        config = read_config(run)
        if self.episodes is not None:
            config = extended(config, run, self.episodes)
        given = {"devices": self.devices, "wandb": self.wandb}
        config = override(config, {x: value for x, value in given.items() if value is not None})
        get_ready(
            [config],
            cache=not self.no_cache,
            distributed=self.distributed,
            command="resume" + " --anew" * self.anew,
            out=run,
        )
        changes: dict[str, Any] = {
            "means": config.means,
            "anew": self.anew,
            "episodes": self.episodes,
        }
        return resume(run, reporter=reporter, **changes)
