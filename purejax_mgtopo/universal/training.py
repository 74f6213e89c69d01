"""`mgtopo meta-train`: a rule over lifetimes, among teams that were frozen or that learn as well, kept in one file.

`kept.record` tells what it leaves. Stopped, or killed, and called again it ends as if nothing had happened, bit for
bit.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule, rule_bytes
from purejax_mgtopo.algorithm.types import PyTree
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import unused_cores
from purejax_mgtopo.mirror.meta import MetaMirror, open_meta_mirror
from purejax_mgtopo.records.fingerprint import fingerprint, to_rounding
from purejax_mgtopo.records.folders import RULE, refuse_unfit
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.training.account import counted, duration, significant
from purejax_mgtopo.training.ledger import Speed
from purejax_mgtopo.training.progress import Reporter, Terms, Tick, make_reporter
from purejax_mgtopo.training.run import alone
from purejax_mgtopo.training.stop import StopRequest, heard
from purejax_mgtopo.training.sweep import sweep
from purejax_mgtopo.training.watchdog import Watchdog
from purejax_mgtopo.universal.evolution import Evolution
from purejax_mgtopo.universal.kept.record import POLICIES, MetaRecord
from purejax_mgtopo.universal.learners import LearningGroup
from purejax_mgtopo.universal.learning import Learning, LearningState, devices_sharing
from purejax_mgtopo.universal.lifetimes import group_of
from purejax_mgtopo.universal.lives import Lives
from purejax_mgtopo.universal.recipe import TABLE, MetaRecipe


@alone()
def meta_train(recipe: MetaRecipe, out: Path, reporter: Reporter | None = None) -> Path | None:
    """Train, or go on; the rule's file, or None where a request to stop came first.

    Args:
        reporter: what to show; by default a bar in a terminal and plain lines elsewhere.

    Raises ConfigError and RunError, each in one line.
    """
    folder = expanded(out)
    if recipe.settings.phase != "learning" and not (folder / RULE).exists():
        refuse_unfit(folder / POLICIES)  # where teams are trained
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(heard())
        if reporter is None:
            reporter = make_reporter()
            stack.callback(reporter.close)
        record = stack.enter_context(MetaRecord(folder, recipe))
        if record.finished:
            reporter.note(f"{folder / RULE} is there already, and kept")
            return folder / RULE
        start = _start(recipe.settings.start)
        record.begin(_depends(recipe))
        return MetaLoop(recipe, record, reporter, start).run(stop)


class MetaLoop:
    """The loop over updates of the rule: advance, record, show, keep.

    Args:
        start: the rule to begin with; None for one that corrects nothing yet.
    """

    def __init__(
        self, recipe: MetaRecipe, record: MetaRecord, reporter: Reporter, start: PyTree | None
    ) -> None:
        self._recipe, self._record, self._reporter = recipe, record, reporter
        self._start, self._settings = start, recipe.settings
        self._names, self._means = recipe.teams.tasks, recipe.configs[0].means
        lane = "pair" if self._settings.estimator == "evolution" else "lifetime"
        self._terms = Terms("update", lane, "update", "priced return")
        self._lanes = self._settings.lifetimes * len(self._names)
        self._name = f"meta-train/{record.folder.resolve().name}"
        self._step, self._speed, self._began = 0, Speed(), time.monotonic()
        self._compiled = self._under_way = False

    def run(self, stop: StopRequest) -> Path | None:
        """Make teams, if it takes any, and train the rule to the end or until asked to stop."""
        record, mirror, done = self._record, None, False
        try:
            groups = _groups(self._recipe, record.folder / POLICIES, self._reporter, stop)
            if groups is None or stop.requested:  # compiling what follows takes minutes
                record.event("interrupted")
                return None
            if (line := unused_cores(self._means)) is not None:
                self._reporter.note(line)
            learning = self._learning(groups)
            state = self._first(learning)
            mirror = open_meta_mirror(record.folder, self._means, self._names, self._reporter.note)
            state = self._train(learning, state, stop, mirror)
            done = self._step >= self._settings.steps
            if done:
                record.finish(self._rule(state), self._step)
            else:
                record.event("interrupted", step=self._step)
        except BaseException as error:
            with contextlib.suppress(RunError):  # as when the disk is full
                why = f"{type(error).__name__}: {error}"
                record.event("failed", error=why, step=self._step)
            if self._under_way:
                self._reporter.end(f"failed at update {self._step:,}")
            raise self._explained(error) from error
        finally:
            if mirror is not None:
                mirror.close(finished=done)
        self._tell_the_end(done)
        return record.folder / RULE if done else None

    def _learning(self, groups: Sequence[Lives]) -> Learning:
        evolves = self._settings.estimator == "evolution"
        lessons = [Evolution(group) for group in groups] if evolves else groups
        return Learning(self._settings, lessons, self._means, self._start)

    def _first(self, learning: Learning) -> LearningState:
        """The state to begin with, or the saved one, with the records put back to where that stands."""
        record, state = self._record, learning.init()
        arrays = record.saved()
        if arrays is not None:
            try:
                state = learning.placed(_unnamed(arrays, state))
            except ValueError as error:
                raise record.damaged(error) from None
        self._step = int(state.step)
        record.rewind(self._step)
        if record.resumed:
            changes = "; ".join(record.changes)
            record.event("resumed", step=self._step, bitwise=not changes)
            where = f"update {self._step:,}" if self._step else "the start"
            self._reporter.note(f"{self._name}: going on from {where}")
            if changes:
                self._reporter.note(to_rounding(changes))
        return state

    def _train(
        self, learning: Learning, state: LearningState, stop: StopRequest, mirror: MetaMirror | None
    ) -> LearningState:
        steps, every = self._settings.steps, self._settings.checkpoint_every
        self._reporter.begin(self._name, steps, self._lanes, self._terms)
        self._began, self._under_way = time.monotonic(), True
        last, ending = self._began, stop.requested
        with (
            stop.answered_by(self._announce_stop, self._quit),
            Watchdog(self._reporter.note, fewer="fewer lifetimes") as watchdog,
        ):
            while self._step < steps and not ending:
                state, measures = learning.advance(state)
                told = [{name: float(x) for name, x in each.items()} for each in measures]
                self._step, now = int(state.step), time.monotonic()
                self._take(dict(zip(self._names, told, strict=True)), now - last)
                if mirror is not None:
                    mirror.chunk()
                last, ending = now, stop.requested
                if ending or self._step == steps or not self._step % every:
                    named = _named(state)
                    self._record.save(self._step, {name: np.asarray(named[name]) for name in named})
                watchdog.beat()
        return state

    def _take(self, told: Mapping[str, Mapping[str, float]], wall: float) -> None:
        """Record and show one update."""
        self._record.update(self._step, told, wall)
        if not self._compiled:
            self._compiled = True
            self._reporter.compiled(time.monotonic() - self._began)
        else:  # the first call of a program compiles it: speed is measured without it
            self._speed.add(self._lanes, wall)
        lost = sum(1 - each["sound"] for each in told.values()) * self._settings.lifetimes
        rate = self._speed.rate
        tick = Tick(
            episode=self._step,
            train_return=_mean([each["return"] for each in told.values()]),
            edge_rate=_mean([each["edge_rate"] for each in told.values()]),
            rate=rate,
            seconds_left=(self._settings.steps - self._step) * self._lanes / rate,
            non_finite=round(lost),
        )
        self._reporter.tick(tick)

    def _rule(self, state: LearningState) -> bytes:
        """The rule's file: the rule, how it came to be, and what was measured of it."""
        story = self._recipe.told() | {
            "provenance": _shared(self._record.begun),
            "figures": self._record.figures(),
        }
        return rule_bytes(state.eta, {"recipe": story.pop(TABLE), **story})

    def _tell_the_end(self, done: bool) -> None:
        lanes = counted(self._lanes, self._terms.lane)
        rate = self._speed.rate / self._lanes
        speed = "" if math.isnan(rate) else f" ({significant(rate)} updates/s x {lanes})"
        far = f"{self._step:,} updates x {lanes}" if done else f"update {self._step:,}"
        took = duration(time.monotonic() - self._began)
        words = "finished" if done else "interrupted"
        self._reporter.end(f"{words} after {far} in {took}{speed}")

    def _explained(self, error: BaseException) -> BaseException:
        """What to do about it, where that is known."""
        if isinstance(error, RunError):
            then = "; then go on by calling the same again" if self._under_way else ""
            return RunError(f"{error}{then}")
        if "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError):
            fewer = max(1, self._settings.lifetimes // 2)
            return RunError(
                f"out of memory with {self._settings.lifetimes} lifetimes of each task at a time: begin again with "
                f"fewer, for example meta_train.lifetimes = {fewer}, in another folder"
            )
        return error

    def _announce_stop(self) -> None:
        self._reporter.note(
            "stopping after this update, to be gone on with; press Ctrl-C again to quit at once"
        )

    def _quit(self) -> None:
        """In the listener's thread: the main one may never answer. Files are always whole."""
        self._reporter.close()
        with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody may be reading
            print(
                f"quit at update {self._step:,}; {self._record.folder} keeps what was saved last, from where the same "
                "command goes on",
                file=sys.stderr,
                flush=True,
            )
        os._exit(130)


def _mean(values: Sequence[float]) -> float:
    """The mean over tasks of what is known; NaN where nothing is."""
    known = [x for x in values if not math.isnan(x)]
    return sum(known) / len(known) if known else math.nan


def _depends(recipe: MetaRecipe) -> dict[str, Any]:
    """What results depend on besides the recipe."""
    found: dict[str, Any] = {}
    for config in recipe.configs:
        found |= fingerprint(config.experiment)
    means, lifetimes = recipe.configs[0].means, recipe.settings.lifetimes
    return found | {"devices": devices_sharing(means, lifetimes)}


def _start(file: str) -> PyTree | None:
    """The rule to go on from, read before anything that takes long."""
    if not file:
        return None
    return jax.tree.map(jax.numpy.asarray, read_rule(SHIPPED if file == "shipped" else file)[1])


def _shared(begun: Mapping[str, Any]) -> dict[str, Any]:
    """What a file that is given away tells of its making: nothing of anybody's folders."""
    return {name: begun.get(name) for name in ("versions", "git", "started")}


def _groups(
    recipe: MetaRecipe, folder: Path, reporter: Reporter, stop: StopRequest
) -> Sequence[Lives] | None:
    """The lifetimes of each task; None where a request to stop came while their teams were trained or loaded."""
    if recipe.settings.phase == "learning":
        return [LearningGroup(config.experiment, recipe.settings) for config in recipe.configs]
    teams = sweep(recipe.teams, folder, changes=recipe.changes, reporter=reporter)
    reporter.part(1, 1, 0)  # what follows is none of these runs
    if teams.stopped_by is not None:
        return None
    for names, why in (
        (
            teams.lost,
            "no seed stayed finite; begin again in another folder, with lower learning rates for example",
        ),
        (
            teams.unsaved,
            "their last state could not be saved, as told above; make room, and call the same again",
        ),
    ):
        if names:
            raise RunError(f"teams of {', '.join(names)} cannot be had: {why}")
    groups = []
    for run in recipe.teams.runs(recipe.changes):
        if stop.requested:
            return None
        groups.append(group_of(load_trained(folder / run.folder), recipe.settings))
    return groups


def _named(state: Any) -> dict[str, Any]:
    """Arrays by their paths, keys as their words."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        named[name] = jax.random.key_data(leaf) if key else leaf
    return named


def _unnamed(arrays: Mapping[str, np.ndarray], like: LearningState) -> LearningState:
    """The inverse of `_named`."""
    wanted = {name: (x.shape, x.dtype) for name, x in _named(like).items()}
    if {name: (x.shape, x.dtype) for name, x in arrays.items()} != wanted:
        raise ValueError("it holds other arrays than this version makes")

    def leaf(name: str, old: Any) -> Any:
        key = jax.dtypes.issubdtype(old.dtype, jax.dtypes.prng_key)
        array = jax.numpy.asarray(arrays[name])
        return jax.random.wrap_key_data(array) if key else array

    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, [leaf(n, x) for n, x in zip(wanted, leaves, strict=True)])
