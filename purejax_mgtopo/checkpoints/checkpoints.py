"""Checkpoints of the whole training state, with Orbax, and proof that what is read is what was written.

    checkpoints/wave_0/5000/            Orbax: `state` (every array, and a digest of each), `meta` (JSON)
    checkpoints/wave_0/5000.files.json  SHA-256 of the files of that checkpoint, written once it is complete

Orbax restores a flipped byte without complaint and casts a wrong dtype silently, so both are checked here. A
checkpoint that fails is named and the one before it used; once that has been read, the bad one is renamed to
`5000.damaged`, since another will be saved in its place.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding
from orbax.checkpoint import checkpoint_managers

from purejax_mgtopo.checkpoints.agreement import agreed, in_all_processes
from purejax_mgtopo.checkpoints.digests import digest_arrays
from purejax_mgtopo.checkpoints.lineage import (
    CheckpointError,
    changes_since,
    check_lineage,
    describe,
)
from purejax_mgtopo.checkpoints.named_arrays import (
    check_structure,
    digest_shapes,
    named_arrays,
    resized,
    same_here,
    unnamed,
)
from purejax_mgtopo.checkpoints.quiet import silence_orbax
from purejax_mgtopo.checkpoints.retention import LatestAndBest, remove_later
from purejax_mgtopo.checkpoints.stored import (
    DIGEST,
    BadCheckpoint,
    array_names,
    check_files,
    files_note,
    is_whole,
    latest_steps,
    note_files,
    one_line,
    read_arrays,
    read_meta,
    sealed,
    set_aside,
)
from purejax_mgtopo.machine import processes
from purejax_mgtopo.machine.paths import straight
from purejax_mgtopo.population.population import LANES, Population, PopulationState
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.files import clear_disk_errors, disk_says, make_folder
from purejax_mgtopo.records.folders import refuse_unfit

CHUNK_BYTES = 16 * 2**20  # small enough to read one seed of thousands in milliseconds
silence_orbax()


@dataclass(frozen=True)
class Restored:
    """A state that equals, bit for bit, the one that was saved after `episode` episodes."""

    state: PopulationState
    episode: int
    bitwise: bool
    """Going on from it repeats an uninterrupted run bit for bit: all that results depend on is as it was."""
    records: Mapping[str, Any] | None = None
    """What proves the records from before it; None of an older version."""


class Checkpoints:
    """The checkpoints of one wave of seeds: saved in the background, the latest few and the best kept.

    Args:
        folder: of this wave.
        keep: how many of the latest to keep; the best one stays besides.
        say: hears, in one line each, of checkpoints that are not used.
    """

    def __init__(
        self,
        folder: Path,
        population: Population,
        wave: Wave,
        *,
        keep: int = 2,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder, self._population, self._wave, self._say = folder, population, wave, say
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "digests")
        self._pending: int | None = None
        """The save under way."""
        self.records: Mapping[str, Any] | None = None
        """What proves the records from before a save, to be saved with it."""
        self._saved = False
        self._noting: list[tuple[int, concurrent.futures.Future]] = []
        self._keep = LatestAndBest(folder, keep)
        refuse_unfit(folder)
        with clear_disk_errors(folder):
            make_folder(folder)
            self._manager = self._open()

    def _open(self) -> checkpoint_managers.CheckpointManager:
        # Where folders are made in the background, a refused one is waited for, and that for minutes.
        at_once = {"create_directories_asynchronously": False}
        known = {field.name for field in fields(ocp.AsyncOptions)}
        return checkpoint_managers.CheckpointManager(
            straight(self.folder),
            options=checkpoint_managers.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                create=True,
                async_options=ocp.AsyncOptions(
                    **{name: value for name, value in at_once.items() if name in known}
                ),
            ),
        )

    def save(self, state: PopulationState, score: float) -> None:
        """Begin to save `state`; it may be used up at once.

        Args:
            score: what makes a checkpoint the best; NaN where nothing was evaluated, or nothing is finite.

        Raises CheckpointError if this one or the one before it cannot be written.
        """
        step = int(state.clock.episode)
        arrays = named_arrays(state)
        digests = {DIGEST + name: value for name, value in digest_arrays(arrays).items()}
        tree = arrays | digests
        chunked = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=CHUNK_BYTES), tree)
        self._await_all()
        self.settle(wait=True)
        with self._clear_errors(step):
            # One of an earlier checkpoint of that episode would condemn this one, if a kill comes before its own.
            files_note(self.folder / str(step)).unlink(missing_ok=True)
            self._keep.scores[step] = score
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(tree, save_args=chunked),
                    meta=ocp.args.JsonSave(
                        sealed(describe(self._population, self._wave, step, score, self.records))
                    ),
                ),
                force=True,
            )
        self._pending = step
        self._saved = True

    def settle(self, wait: bool = False) -> None:
        """Look after saves under way: raise what went wrong, note the files of those that are complete."""
        if self._pending is not None and (wait or not self._manager.is_saving_in_progress()):
            step, self._pending = self._pending, None
            with self._clear_errors(step):
                self._manager.wait_until_finished()
                self._manager.check_for_errors()
            self._note(step)
            self._prune()
        if wait:
            noting, self._noting = self._noting, []
            with clear_disk_errors(self.folder):
                for step, future in noting:
                    future.result()
                    self._keep.durable = step

    def _await_all(self) -> None:
        """Wait until no process is saving any more, or one cannot.

        Orbax would wait for a process that is gone until JAX misses it, minutes later, and aborts this one. Raises
        ProcessGone instead, at once.
        """
        if processes.count() == 1:
            return
        failed: list[Exception] = []

        def finish() -> None:
            try:
                self._manager.wait_until_finished()
            except Exception as error:  # the main thread will meet it as well
                failed.append(error)

        waiting = threading.Thread(target=finish, daemon=True)
        waiting.start()
        while True:
            gathered = processes.gather([waiting.is_alive(), bool(failed)])
            if not gathered[:, 0].any() or gathered[:, 1].any():
                return
            time.sleep(0.01)

    def close(self, alone: bool = False) -> None:
        """Wait until all is durable; `alone`: after an error, of which the other processes know nothing yet."""
        if not alone:
            self._await_all()
        try:
            self.settle(wait=True)
        finally:
            self._writer.shutdown()
            self._manager.close()
        self._prune()

    def complete(self, episode: int) -> bool:
        """Whether the checkpoint of that episode exists, whole and sound; saves are atomic."""
        path, sound = self.folder / str(episode), False
        if path.is_dir():
            with contextlib.suppress(BadCheckpoint):
                noted = check_files(path)
                check_lineage(self.folder, read_meta(path), self._population, self._wave)
                if not noted:
                    read_arrays(path, array_names(path))
                    self._note(episode)  # nobody knows it to survive a loss of power
                sound = True
        return agreed(sound)

    def restore(self) -> Restored | None:
        """The latest checkpoint that proves sound, on this population's devices; None if there is none at all.

        Raises CheckpointError when there are checkpoints but none is sound, or they are of another run.
        """
        bad: list[Path] = []
        for path in latest_steps(self.folder):
            try:
                restored = self._restore(path)
            except BadCheckpoint as problem:
                self._say(f"checkpoint {path} is not used: {problem}")
                bad.append(path)
                continue
            self._set_aside(bad)
            if not files_note(path).exists():  # a kill prevented it
                self._note(restored.episode)
            return restored
        if bad:
            raise self._none_sound(bad)
        return None

    def forget_later(self) -> list[int]:
        """Remove the checkpoints of all later waves, durably; which these were, as the first process finds them."""
        found: list[int] = []
        with clear_disk_errors(self.folder):
            processes.in_first(lambda: found.extend(remove_later(self.folder)))
        return found

    def _none_sound(self, bad: Sequence[Path]) -> CheckpointError:
        """What is whole on disk is not to be thrown away, whatever this program makes of it."""
        whole = [path for path in bad if is_whole(path)]
        if whole:
            return CheckpointError(
                f"checkpoint {whole[0]} is whole, but this program cannot take it up, as told above; keep it, and go "
                "on with the versions and JAX settings that wrote it"
            )
        return CheckpointError(
            f"no checkpoint in {self.folder} is sound; move that folder away to start this wave anew"
        )

    def _restore(self, path: Path) -> Restored:
        """Raises BadCheckpoint, in all processes or none."""
        with in_all_processes():
            check_files(path)
            meta = read_meta(path)
            check_lineage(self.folder, meta, self._population, self._wave)
            if meta["episode"] != int(path.name):
                raise BadCheckpoint(f"it is that of episode {meta['episode']:,}")
            saved_lanes = int(meta["lanes"])
            like = named_arrays(resized(self._population.abstract(), saved_lanes))
            tree = like | digest_shapes(like)
            check_structure(path, tree)
        with in_all_processes():
            try:
                restored = self._manager.restore(
                    meta["episode"],
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(dict(tree))),
                ).state
            except Exception as error:  # whatever damage made Orbax or TensorStore stumble
                raise BadCheckpoint(one_line(error)) from error
            arrays = {name: restored[name] for name in like}
            for name, found in digest_arrays(arrays).items():
                if not same_here(found, restored[DIGEST + name]):
                    raise BadCheckpoint(f"{name} differs from what was saved")
        state = unnamed(arrays, self._population.abstract(), partial(self._relaned, saved_lanes))
        changes = changes_since(meta, self._population, self._wave)
        if changes:
            self._say(f"since the checkpoint of episode {meta['episode']:,}: {'; '.join(changes)}")
        return Restored(state, meta["episode"], not changes, meta.get("records"))

    def _set_aside(self, bad: Sequence[Path]) -> None:
        if not bad:
            return
        if jax.process_index() == 0:
            with clear_disk_errors(self.folder):
                for path in bad:
                    set_aside(path)
        agreed(True)  # the first process has done so
        self._manager.reload()

    def _note(self, step: int) -> None:
        if jax.process_index() == 0:
            future = self._writer.submit(note_files, self.folder / str(step))
            self._noting.append((step, future))

    def _prune(self) -> None:
        if self._saved and jax.process_index() == 0:  # who only reads removes nothing
            self._keep.prune(self.folder)

    def _relaned(self, saved: int, array: jax.Array) -> jax.Array:
        """An array [saved lanes, ...] for this population's lanes and devices; idle ones repeat a saved one."""
        lanes = self._population.lanes
        sharding = NamedSharding(self._population.mesh, LANES)
        if lanes == saved:
            return array
        index = np.minimum(np.arange(lanes), saved - 1)
        return jax.jit(lambda x: x[index], out_shardings=sharding)(array)

    @contextlib.contextmanager
    def _clear_errors(self, step: int) -> Iterator[None]:
        """Turn whatever a save raises into one line, and remove what it left half done."""
        try:
            with processes.noticing():
                yield
        except processes.ProcessGone:
            raise
        except Exception as error:
            for partial_save in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial_save, ignore_errors=True)
            kept = latest_steps(self.folder)
            have = (
                f"the checkpoint of episode {int(kept[0].name):,} is unharmed"
                if kept
                else "none was saved before"
            )
            why = disk_says(error) or one_line(error)
            raise CheckpointError(
                f"cannot save the checkpoint of episode {step:,} to {self.folder}: {why}; {have}"
            ) from error
