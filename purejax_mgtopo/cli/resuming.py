"""The command `resume`: of a run, or of all the runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import Debug, Distributed, NoCache, Switch, is_run
from purejax_mgtopo.cli.running import TrainingCommand, ended, get_ready
from purejax_mgtopo.config import override
from purejax_mgtopo.errors import RunError

if TYPE_CHECKING:
    from purejax_mgtopo.training.progress import Reporter


@dataclass(frozen=True)
class ResumeCommand(TrainingCommand):
    """Go on with an interrupted run where it stopped, bit for bit, or with all of a sweep."""

    run: Annotated[Positional[Path], arg(metavar="DIR")]
    """A run's folder, or a folder that holds runs, such as a sweep's results."""
    devices: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: as before)")
    ] = None
    """How many devices share the seeds from now on."""
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
            return self._resume(self.run, reporter) if is_run(self.run) else self._all(reporter)

    def _all(self, reporter: Reporter) -> int:
        """Go on with the runs that are not finished, one after the other, and draw all of them again."""
        from purejax_mgtopo.cli.tables import note
        from purejax_mgtopo.records.events import ends_unsaved
        from purejax_mgtopo.records.record import Status as State
        from purejax_mgtopo.records.record import find_runs, read_config, status
        from purejax_mgtopo.training.stop import heard

        runs, asked = find_runs([self.run]), self.episodes or 0
        done = [run for run in runs if status(run) is State.FINISHED and not ends_unsaved(run)]
        done = [run for run in done if read_config(run).experiment.episodes >= asked]
        if len(done) == len(runs):
            raise RunError(f"all runs in {self.run} are finished; there is nothing to resume")
        note(f"{len(done)} of {len(runs)} runs are finished, and kept")
        rest = [run for run in runs if run not in done]
        with heard() as stop:
            for number, run in enumerate(rest, start=1):
                reporter.part(number, len(rest), self._episodes_of(rest[number:]))
                code = self._resume(run, reporter)
                if code or stop.requested:
                    return code
        self._draw(runs, reporter)
        return 0

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

    def _resume(self, run: Path, reporter: Reporter) -> int:
        from purejax_mgtopo.records.record import read_config
        from purejax_mgtopo.training.run import extended, resume

        config = read_config(run)
        if self.episodes is not None:
            config = extended(config, run, self.episodes)
        if self.devices is not None:
            config = override(config, {"devices": self.devices})
        get_ready(
            [config],
            cache=not self.no_cache,
            distributed=self.distributed,
            command="resume" + " --anew" * self.anew,
            out=run,
        )
        changes: dict[str, Any] = {
            "devices": self.devices,
            "anew": self.anew,
            "episodes": self.episodes,
        }
        return ended(resume(run, reporter=reporter, **changes))
