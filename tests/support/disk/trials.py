"""Runs of the command on a disk that fails, or that forgets; a program of its own, under `bad_disk.c`.

    LD_PRELOAD=bad_disk.so python trials.py FOLDER ERRORS CUTS SEED

Prints a line of JSON for each trial: what was tried, and what was wrong with what came of it (null: nothing). One
process makes all trials, with one compiled program, so that hundreds take minutes.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from disk.judged import Said, judged, remembered
from resume_cases import flags, same_run, tiny
from stand_ins import stand_ins

from purejax_mgtopo.checkpoints.whole import verify_run
from purejax_mgtopo.config import Config
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.record import RunRecord, Status, status

ALL = "mkdir,open,write,sync,rename,unlink,rmdir,truncate"
KINDS = ["mkdir", "open", "write", "sync", "rename", "unlink"]
ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EMFILE]
GO_ON = ("--checkpoint.on-error", "continue")
METHODS = ("none+commnet", "none")
RECIPE = """
tasks = ["toy_follow_holder"]
methods = ["none+commnet", "none"]
seeds = {seeds}
[config]
{settings}
"""
count = ctypes.CDLL(None).bad_disk_count
count.restype = ctypes.c_long


def config(method: str = METHODS[0], **changes: Any) -> Config:
    return tiny(method, **changes)


class Programs:
    """Populations, each compiled once; the last chunk before which one stops can be set."""

    def __init__(self) -> None:
        self._made: dict[str, Population] = {}

    def __call__(self, config: Config) -> Population:
        key = config.experiment.method
        if key not in self._made:
            self._made[key] = Population(config)
        made = self._made[key]
        made.config = config  # means may differ
        return made


@contextmanager
def bad(folder: Path, **options: object) -> Iterator[None]:
    """The disk is bad beneath `folder`."""
    names = {"BAD_DISK": folder, **{f"BAD_DISK_{key.upper()}": x for key, x in options.items()}}
    names = {"BAD_DISK_OPS": ALL, **names}
    count(0)
    for name, value in names.items():
        os.environ[name] = str(value)
    try:
        yield
    finally:
        for name in ("BAD_DISK_AT", "BAD_DISK_SYNCED", "BAD_DISK_OPS", "BAD_DISK"):
            os.environ.pop(name, None)


class Trials:
    """All trials, in a folder of their own each."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top, self.rng, self.programs = top, random.Random(seed), Programs()
        self.said, self.number = Said(top), 0
        self.told: list[tuple[int, dict[str, Any]]] = []
        """Events, each with how many calls had come before."""
        event = RunRecord.event

        def note(record: RunRecord, kind: str, **fields: Any) -> None:
            event(record, kind, **fields)
            self.told.append((count(-1), {"event": kind, **fields}))

        RunRecord.event = note  # type: ignore[method-assign]
        self.words = flags(config())
        self.whole = top / "whole"
        self._sound(["train", "--out", self.whole, *self.words])
        # Tables tell the settings, of which that is one.
        self.going_on = top / "going_on"
        self._sound(["train", "--out", self.going_on, *self.words, *GO_ON])
        self._sound(["train", "--out", top / "none", *flags(config(METHODS[1]))])
        self.half = top / "half"
        self._half()

    def _sound(self, words: Sequence[object]) -> None:
        code, said, _ = self.said.of(words)
        assert code == 0, said

    def _half(self) -> None:
        """A run stopped in its midst."""
        advance, done = Population.advance, [0]

        def stop(program: Population, *arguments: Any) -> Any:
            done[0] += 1
            if done[0] == 4:
                os.kill(os.getpid(), 15)
            return advance(program, *arguments)

        Population.advance = stop  # type: ignore[method-assign]
        try:
            self._sound(["train", "--out", self.half, *self.words])
        finally:
            Population.advance = advance  # type: ignore[method-assign]
        assert status(self.half) is Status.UNFINISHED

    def place(self) -> Path:
        self.number += 1
        folder = self.top / f"trial_{self.number}"
        folder.mkdir()
        return folder

    def commands(self) -> dict[str, Callable[[Path], list[object]]]:
        """Each prepares a folder, and is the words of a command that writes into it."""

        def train(folder: Path) -> list[object]:
            return ["train", "--out", folder / "run", *self.words]

        def go_on(folder: Path) -> list[object]:
            return [*train(folder), *GO_ON]

        def resume(folder: Path) -> list[object]:
            shutil.copytree(self.half, folder / "run")
            return ["resume", folder / "run"]

        def sweep(folder: Path) -> list[object]:
            settings = (
                config().experiment.seeds,
                [f"{name} = {json.dumps(value)}" for name, value in recipe_settings().items()],
            )
            recipe = self.top / "recipe.toml"
            recipe.write_text(RECIPE.format(seeds=settings[0], settings="\n".join(settings[1])))
            shutil.copytree(self.half, folder / "toy_follow_holder" / "none+commnet")
            shutil.copytree(self.top / "none", folder / "toy_follow_holder" / "none")
            return ["sweep", recipe, "--out", folder]

        def report(folder: Path) -> list[object]:
            return ["report", self.whole, "--no-episodes", "--out", folder / "report.html"]

        return {
            "train": train,
            "train, on_error continue": go_on,
            "resume": resume,
            "sweep": sweep,
            "report": report,
        }

    def error(self, name: str, kind: str, number: int, how_many: int) -> dict[str, Any]:
        """One command, some calls of which fail; then, on a sound disk, what makes it whole."""
        prepare, folder = self.commands()[name], self.place()
        words = prepare(folder)
        with bad(folder, ops=kind):  # a rehearsal, to know how many such calls there are
            rehearsed = self._calls(name, kind, words)
        at = self.rng.randint(1, max(1, rehearsed))
        shutil.rmtree(folder)
        folder.mkdir()
        words = prepare(folder)
        with bad(folder, ops=kind, at=at, errno=number, **{"for": how_many}):
            code, said, took = self.said.of(words)
        wrong = judged(code, said, took) or self._after(name, folder, words, code)
        tried = f"{name}: {kind} {at} of {rehearsed}, {how_many} times {errno.errorcode[number]}"
        shutil.rmtree(folder, ignore_errors=True)
        return {"category": f"error, {name}", "tried": tried, "code": code, "wrong": wrong}

    _rehearsed: dict[tuple[str, str], int] = {}

    def _calls(self, name: str, kind: str, words: Sequence[object]) -> int:
        if (name, kind) not in self._rehearsed:
            self._sound(words)
            self._rehearsed[name, kind] = count(-1)
        return self._rehearsed[name, kind]

    def _after(self, name: str, folder: Path, words: Sequence[object], code: int) -> str | None:
        """What is wrong with what was left, or with what comes of it on a sound disk."""
        if name == "report":
            code, said, _ = self.said.of(words)
            left = [path.name for path in folder.iterdir() if path.name != "report.html"]
            return said[-500:] if code else f"{left} left" if left else None
        run = folder / "run" if name != "sweep" else folder / "toy_follow_holder" / "none+commnet"
        if code == 0 and status(run) is not Status.FINISHED:
            return f"exit code 0, and it is {status(run)}"
        if name == "sweep":
            code, said, _ = self.said.of(words)
        elif status(run) is Status.ABSENT:
            code, said, _ = self.said.of(words)
        elif status(run) is Status.UNFINISHED or code:
            code, said, _ = self.said.of(["resume", run])
            if "there is nothing to resume" in said:
                code = 0
        else:
            code, said = 0, ""
        whole = self.going_on if GO_ON[0] in words else self.whole
        return said[-500:] if code else self._differs(run, whole)

    def _differs(self, run: Path, whole: Path | None = None) -> str | None:
        try:
            same_run(whole or self.whole, run)
            bad_ones = [f"{x.path}: {x.problem}" for x in verify_run(run) if x.problem]
        except (AssertionError, RunError, IndexError) as error:
            return f"it is not the uninterrupted run: {str(error)[:300]}"
        left = [path.name for path in run.rglob("*.partial")]
        return "; ".join([*bad_ones, *left]) or None

    def cuts(self, how_many: int) -> Iterator[dict[str, Any]]:
        """Losses of power: what was never synced is gone."""
        commands = self.commands()
        for name in ("train", "resume", "sweep"):
            folder, self.told = self.place(), []
            synced = self.top / f"synced_{name}"
            for part in ("files", "folders"):
                (synced / part).mkdir(parents=True)
            words = commands[name](folder)
            os.sync()
            with bad(folder, synced=synced):
                for place, _, files in os.walk(folder, topdown=False):  # what was there is durable
                    for path in [*(Path(place, file) for file in files), Path(place)]:
                        descriptor = os.open(path, os.O_RDONLY)
                        os.fsync(descriptor)
                        os.close(descriptor)
                first = count(-1)
                code, said, _ = self.said.of(words)
                last = count(-1)
            assert code == 0, said
            share = how_many // 3 + (how_many % 3 if name == "sweep" else 0)
            for cut in sorted(self.rng.sample(range(first, last + 1), share)):
                wrong = self._cut(name, folder, synced, cut)
                tried = f"{name}: after call {cut - first} of {last - first}"
                yield {"category": f"power, {name}", "tried": tried, "wrong": wrong}

    def _cut(self, name: str, folder: Path, synced: Path, cut: int) -> str | None:
        told = [event for at, event in self.told if at <= cut]
        saves = [int(event["episode"]) for event in told if event["event"] == "checkpoint"]
        ended = any(event["event"] == "end" for event in told)
        reported = saves[-1] if ended and saves else saves[-2] if len(saves) > 1 else 0
        left = self.place()
        remembered(folder, synced, cut, left)
        run = left / "run" if name != "sweep" else left / "toy_follow_holder" / "none+commnet"
        words: list[object] = ["resume", run]
        finished = status(run) is Status.FINISHED
        if name == "sweep":
            words = ["sweep", self.top / "recipe.toml", "--out", left]
        elif status(run) is Status.ABSENT:
            words = ["train", "--out", run, *self.words]
        elif finished:
            return self._differs(run)
        kept, self.told = self.told, []
        code, said, took = self.said.of(words)
        again = [e["episode"] for _, e in self.told if e["event"] == "chunk"]
        self.told = kept
        at = min(again) - config().experiment.chunk_episodes if again else reported
        if at < reported and not finished:
            return f"{reported} was reported as saved, and it went on from {at}: {said[-800:]}"
        wrong = judged(code, said, took) or (said[-500:] if code else self._differs(run))
        shutil.rmtree(left, ignore_errors=True)
        return wrong


def recipe_settings() -> dict[str, Any]:
    from purejax_mgtopo.config import flatten

    plain = flatten(Config())
    fixed = ("task", "seeds", "topology", "messages", "critic")
    return {
        name: value
        for name, value in flatten(config()).items()
        if value != plain[name] and name not in fixed
    }


def main() -> None:
    top, errors, cuts, seed = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    out = os.fdopen(os.dup(1), "w")
    programs = Programs()
    with stand_ins(population=programs):
        trials = Trials(top, seed)
        print(json.dumps({"category": "ready"}), file=out, flush=True)
        for trial in trials.cuts(cuts) if cuts else ():
            print(json.dumps(trial), file=out, flush=True)
        names = list(trials.commands())
        for at in range(errors):
            kind = KINDS[at % len(KINDS)]
            number = ERRORS[trials.rng.randrange(len(ERRORS))]
            how_many = trials.rng.choice([1, 1, 3, -1])
            trial = trials.error(names[(at // len(KINDS)) % len(names)], kind, number, how_many)
            print(json.dumps(trial), file=out, flush=True)
    print(json.dumps({"category": "done"}), file=out, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
