"""The W&B mirror of a run: another place to follow it, which is never the truth and can always be rebuilt.

One W&B run for the program, whatever the number of its seeds. Its rows come from `feed` and `rows`; `wandb_run` opens
it, and leaves it alone where it fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from purejax_mgtopo.config import Config, Means
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.mirror.access import (
    MirrorMode,
    Say,
    choose_mode,
    disabled,
    import_wandb,
    mode_of_environment,
)
from purejax_mgtopo.mirror.feed import Feed
from purejax_mgtopo.mirror.places import LABEL, cut, labels, named_project
from purejax_mgtopo.mirror.rows import (
    AXIS,
    PROGRESS_AXIS,
    SEED_TABLE,
    final_row,
    seed_table,
    shown_name,
    summarised,
)
from purejax_mgtopo.mirror.wandb_run import Mirror, line_of, log_entries
from purejax_mgtopo.records.metrics import Evaluation
from purejax_mgtopo.records.record import (
    CHECKPOINTS,
    CONFIG,
    FIGURES,
    Status,
    read_config,
    status,
)


def open_wandb(folder: Path, config: Config, say: Say) -> WandbMirror | None:
    """The mirror of a run that is about to train, or None where there is to be none."""
    mode = mode_for(config.means, named_project(folder, config.means), say)
    return None if mode is None else WandbMirror(folder, config, say, mode)


def mode_for(means: Means, project: str, say: Say) -> MirrorMode | None:
    """Where the mirror of what is about to be trained is written; None where there is to be none.

    Args:
        project: the project that the user or the recipe names; empty where neither does.
    """
    if disabled():
        if means.wandb in ("online", "offline"):
            say(
                f"no W&B mirror: the environment disables W&B (WANDB_MODE or WANDB_DISABLED), which beats the setting "
                f"wandb={means.wandb}"
            )
        return None
    try:
        mode = choose_mode(means.wandb, say)
    except Exception as error:
        say(f"no W&B mirror: {line_of(error)}")
        return None
    unasked = means.wandb == "auto" and mode_of_environment() != "online"
    if mode == "online" and unasked and not project:
        say(
            "W&B: you are logged in, but no project is named, so the mirror stays in the run's folder; "
            "--wandb-project NAME or WANDB_PROJECT sends it there"
        )
        return "offline"
    return mode


def mode_to_rebuild(means: Means, say: Say) -> MirrorMode:
    """Where a mirror is written anew, also where there was none. Raises RunError where W&B is switched off."""
    setting = "auto" if means.wandb == "off" else means.wandb
    mode = None if disabled() else choose_mode(setting, say)
    if mode is None:
        raise RunError("W&B is disabled (WANDB_MODE or `wandb disabled`); enable it to rebuild")
    return mode


def rebuild(folder: Path, say: Say) -> str:
    """Write the mirror anew from the records of a run, as another W&B run; answers where it is.

    Raises RunError where that is impossible: no run, one that is under way, W&B switched off or failing.
    """
    folder = expanded(folder)
    config = read_config(folder)
    found = status(folder)
    if found is Status.RUNNING:
        raise RunError(f"{folder} is in use by another mgtopo; rebuild when it has ended")
    mode = mode_to_rebuild(config.means, say)
    mirror = WandbMirror(folder, config, say, mode, anew=True)
    mirror.close(finished=found is Status.FINISHED)
    return mirror.place


class WandbMirror(Mirror):
    """Follows a run while it trains, and can also write itself from records alone. Its methods never raise.

    Args:
        anew: a W&B run of its own in place of the one that `folder` has; failing raises RunError.
    """

    def __init__(
        self, folder: Path, config: Config, say: Say, mode: MirrorMode, anew: bool = False
    ) -> None:
        self._config = config
        self._waiting: list[Evaluation] = []
        """Evaluations that came before the W&B run was there."""
        super().__init__(folder, config.means, say, mode, anew)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Take an evaluation just made; its row is logged with its chunk's."""
        if self._broken:
            return
        self._waiting.append(evaluation)
        if not self._opening.is_alive():
            self._attempt(self._take_waiting)

    def _take_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for evaluation in waiting:
            self._feed.add(evaluation)

    def _document(self) -> Mapping[str, Any]:
        return json.loads((self._folder / CONFIG).read_text(encoding="utf-8-sig"))

    def _labels(self, document: Mapping[str, Any], name: str, seed: int | None) -> dict[str, Any]:
        return labels(self._folder, self._config, document, name, seed)

    def _opened(self, name: str) -> None:
        alone = self._anew or processes.count() == 1
        self._feed = Feed(self._folder, self._config, since=self._run.step - 1, alone=alone)
        experiment = self._config.experiment
        first = experiment.first_seed
        count = min(self._config.means.wandb_per_seed, experiment.seeds)
        self._seeds = {seed: self._start(name, seed) for seed in range(first, first + count)}
        self._seeds_told = {seed: run.step - 1 for seed, run in self._seeds.items()}

    def _define(self, run: Any) -> None:
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

    def _catch_up(self) -> None:
        self._take_waiting()
        for seed, run in self._seeds.items():
            log_entries(run, self._feed.take_seed(seed, self._seeds_told[seed]))
        log_entries(self._run, self._feed.take())

    def _runs(self) -> Iterable[Any]:
        return (*self._seeds.values(), self._run)

    def _log_results(self) -> None:
        """What there is at the end: all seeds in a table, pictures, episodes, and where the checkpoints are."""
        log_entries(self._run, self._feed.take_rest())
        self._catch_up()
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
