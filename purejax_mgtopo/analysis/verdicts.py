"""What became of the claims of sweeps, from what they left on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.claims import parse_claims
from purejax_mgtopo.analysis.groups import in_words
from purejax_mgtopo.analysis.judging import Judgement, TaskResults, Verdict, judge
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.files import clear_disk_errors, strict_json, write_atomically
from purejax_mgtopo.records.record import SWEEP, Status, status
from purejax_mgtopo.records.run_data import RunData, load_run
from purejax_mgtopo.records.run_names import setting_text


@dataclass(frozen=True)
class SweepVerdicts:
    """One sweep: its claims, how its seeds are spread, and what a reader must know besides."""

    folder: Path
    question: str
    verdicts: tuple[Verdict, ...]
    groups: tuple[tuple[str, str], ...]
    """Tasks on which seeds fall into two groups, with the sentence that tells how (`groups.in_words`)."""
    caveats: tuple[str, ...]

    def counts(self) -> str:
        """How many claims have come to what: ``2 hold, 1 cannot be told``."""
        judged = [one.judgement for one in self.verdicts]
        numbers = {kind: judged.count(kind) for kind in Judgement if kind in judged}
        many = {Judgement.HOLDS: "hold", Judgement.FAILS: "do not hold"}
        return ", ".join(f"{n} {many.get(k, k) if n > 1 else k}" for k, n in numbers.items())

    def document(self) -> dict[str, Any]:
        """All of it for JSON; an interval that one seed cannot have is null."""
        return {
            "folder": str(self.folder),
            "question": self.question,
            "verdicts": [_document(verdict) for verdict in self.verdicts],
            "groups": dict(self.groups),
            "caveats": list(self.caveats),
        }


def read_sweeps(
    folders: Iterable[Path], say: Callable[[str], None] = lambda line: None
) -> list[tuple[Path, dict[str, Any]]]:
    """Folders of sweeps at or beneath `folders`, each once, with what they say of themselves.

    `say` is told which cannot be read.
    """
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for path in (p for folder in folders for p in sorted(expanded(folder).rglob(SWEEP))):
        try:
            document = json.loads(path.read_text(encoding="utf-8-sig"))
            if not isinstance(document, dict):
                raise ValueError("no sweep's")
        except (OSError, ValueError, RecursionError) as error:
            say(f"{path} cannot be read: {' '.join(str(error).split())}")
            continue
        found.setdefault(path.resolve(), (path.parent, document))
    return list(found.values())


def read_verdicts(
    folders: Sequence[Path],
    say: Callable[[str], None] = lambda line: None,
    load: Callable[[Path], RunData] = load_run,
) -> list[SweepVerdicts]:
    """Every sweep at or beneath `folders`, judged by its finished runs.

    Args:
        say: is told what cannot be read.
        load: reads the records of a run, for whoever has read them already; raises as `load_run`.
    """
    told = []
    for folder, document in read_sweeps(folders, say):
        try:
            told.append(judge_sweep(folder, document, load))
        except ConfigError as error:
            say(f"{folder / SWEEP}: {error}")
    return told


def judge_sweep(
    folder: Path, document: dict[str, Any], load: Callable[[Path], RunData] = load_run
) -> SweepVerdicts:
    """What became of the claims of the sweep in `folder`, by its description; `load` as in `read_verdicts`.

    Raises ConfigError where the description is not what a sweep writes.
    """
    results: dict[str, TaskResults] = {}
    lengths: dict[str, dict[str, int]] = {}
    caveats = []
    for run in listed_runs(document):
        task, method = run["task"], run["method"]
        word = str(run.get("word", method.partition(", ")[0]))
        own = results.setdefault(task, TaskResults(task))
        own.words[method] = word
        found = seed_finals(folder / run["folder"], load)
        if isinstance(found, str):
            own.missing[method] = found
            continue
        own.finals[method] = found.values
        lengths.setdefault(task, {})[method] = found.episode
        caveats += [f"{task}/{method}: {line}" for line in found.caveats]
    for task, episodes in lengths.items():
        caveats += unequal_lengths(task, episodes)
    words = list(dict.fromkeys(word for own in results.values() for word in own.words.values()))
    claims = parse_claims(document.get("claims", []), list(results), words)
    groups = [(task, in_words(own.finals)) for task, own in results.items()]
    return SweepVerdicts(
        folder=folder,
        question=str(document.get("question") or ""),
        verdicts=tuple(judge(claim, results) for claim in claims),
        groups=tuple((task, told) for task, told in groups if told),
        caveats=tuple(caveats),
    )


def listed_runs(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that a sweep's description lists, each with the strings task, method and folder.

    Raises ConfigError where it is not what a sweep writes.
    """
    listed = document.get("runs", [])
    keys = ("task", "method", "folder")
    if not isinstance(listed, list) or not all(
        isinstance(run, dict) and all(isinstance(run.get(key), str) for key in keys)
        for run in listed
    ):
        raise ConfigError("runs must be a list of runs, each with task, method and folder")
    return listed


def unequal_lengths(task: str, episodes: Mapping[str, int]) -> list[str]:
    """A sentence where methods, by name, have not trained for the same number of episodes."""
    if len(set(episodes.values())) < 2:
        return []
    each = ", ".join(f"{method} {episode:,}" for method, episode in episodes.items())
    return [f"{task}: compared after different numbers of episodes: {each}"]


OWN = frozenset({"task", "topology", "messages", "critic", "seeds", "first_seed", "episodes"})
"""Settings that make a method, a task or a number of seeds, or that a sentence of their own tells of."""


def unequal_settings(task: str, settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence where methods, by name, have not the same flat settings, besides those that make a method."""
    names = dict.fromkeys(name for each in settings.values() for name in each if name not in OWN)
    told = []
    for name in names:
        methods: dict[str, list[str]] = {}
        for method, each in settings.items():
            methods.setdefault(setting_text(each.get(name)), []).append(method)
        if len(methods) > 1:
            few_first = sorted(methods.items(), key=lambda item: len(item[1]))
            values = [f"{value} ({', '.join(who)})" for value, who in few_first[:-1]]
            told.append(f"{name} {', '.join(values)}, others {few_first[-1][0]}")
    return [f"{task}: compared at different settings: {'; '.join(told)}"] if told else []


@dataclass(frozen=True)
class SeedFinals:
    """Where a finished run's finite seeds have ended."""

    values: NDArray[np.float64]
    """[S] final returns."""
    seeds: NDArray[np.int32]
    """[S] their numbers."""
    episode: int
    caveats: tuple[str, ...]
    """What a reader must know of them."""


def seed_finals(place: Path, load: Callable[[Path], RunData] = load_run) -> SeedFinals | str:
    """A run's final returns of finite seeds, or why there are none."""
    try:
        found = status(place)
        if found is not Status.FINISHED:
            return "not run" if found is Status.ABSENT else "not finished"
        data = load(place)
        final = data.final
        values = final.return_sampled[data.healthy].astype(float)
        seeds = data.seeds[data.healthy]
    except (RunError, OSError, ValueError, KeyError, IndexError):
        return "cannot be read"
    if not len(values):
        return "has no finite seed"
    caveats = []
    if len(values) < len(data.seeds):
        lost = len(data.seeds) - len(values)
        caveats.append(f"{lost} of {len(data.seeds)} seeds did not stay finite and are left out")
    if not final.own:
        caveats.append("no final evaluation; the last one on the way stands for it")
    return SeedFinals(values, seeds, int(data.episodes[-1]), tuple(caveats))


def write_verdicts(told: Sequence[SweepVerdicts], path: Path) -> Path:
    """Write `told` as JSON. Raises RunError where something else lies at `path`, or the disk refuses."""
    path = expanded(path)
    refuse_foreign_verdicts(path)
    document = [one.document() for one in told]
    with clear_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, strict_json(document, indent=2).encode())
    return path


def refuse_foreign_verdicts(path: Path) -> None:
    """Raise RunError where something lies at `path` that is no older file of verdicts."""
    path = expanded(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        document = None
    if not (
        isinstance(document, list)
        and document
        and all(isinstance(one, dict) and {"folder", "verdicts"} <= one.keys() for one in document)
    ):
        raise RunError(f"{path} holds something else already; name another file for verdicts")


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        **verdict.claim.document(),
        "judgement": str(verdict.judgement),
        "evidence": [
            {
                "case": one.case,
                "judgement": None if one.judgement is None else str(one.judgement),
                "method": one.method,
                "chances": {
                    rival: [x if np.isfinite(x) else None for x in (c.point, c.low, c.high)]
                    for rival, c in one.chances
                },
                "missing": list(one.missing),
                "unbeaten": None if one.unbeaten is None else list(one.unbeaten),
            }
            for one in verdict.evidence
        ],
    }
