"""What became of the claims of sweeps, from what they left on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.analysis.claims import Judgement, Verdict, judge, parse_claims
from purejax_mgtopo.analysis.groups import in_words
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.records.files import strict_json, write_atomically
from purejax_mgtopo.records.record import SWEEP, Status, status
from purejax_mgtopo.records.run_data import load_run


@dataclass(frozen=True)
class SweepVerdicts:
    """One sweep: its claims, and how its seeds are spread."""

    folder: Path
    question: str
    verdicts: tuple[Verdict, ...]
    groups: tuple[tuple[str, str], ...]
    """Tasks on which seeds fall into two groups, with the sentence that tells how (`groups.in_words`)."""

    def document(self) -> dict[str, Any]:
        """All of it for JSON; an interval that one seed cannot have is null."""
        return {
            "folder": str(self.folder),
            "question": self.question,
            "verdicts": [_document(verdict) for verdict in self.verdicts],
            "groups": dict(self.groups),
        }


def read_sweeps(folders: Iterable[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Folders of sweeps at or beneath `folders`, with what they say of themselves; unreadable ones are passed over."""
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    for path in (p for folder in folders for p in sorted(folder.rglob(SWEEP))):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict):
            found.setdefault(path.resolve(), (path.parent, document))
    return list(found.values())


def read_verdicts(
    folders: Sequence[Path], say: Callable[[str], None] = lambda line: None
) -> list[SweepVerdicts]:
    """Every sweep at or beneath `folders`, judged by its finished runs; `say` is told what cannot be read."""
    told = []
    for folder, document in read_sweeps(folders):
        try:
            told.append(_judged(folder, document, say))
        except (ConfigError, KeyError, TypeError, AttributeError) as error:
            say(f"{folder / SWEEP}: no claims can be read: {error}")
    return told


def _judged(folder: Path, document: dict[str, Any], say: Callable[[str], None]) -> SweepVerdicts:
    runs = [(run["task"], run["method"], folder / run["folder"]) for run in document["runs"]]
    tasks, methods = ([*dict.fromkeys(run[axis] for run in runs)] for axis in (0, 1))
    words = [name.partition(", ")[0] for name in methods]
    finals: dict[str, dict[str, NDArray]] = {task: {} for task in tasks}
    for task, method, place in runs:
        if status(place) is Status.FINISHED:
            try:
                data = load_run(place)
            except (RunError, KeyError, ValueError) as error:
                say(f"left out: {' '.join(str(error).split())}")
                continue
            finals[task][method] = data.final.return_sampled[data.healthy].astype(float)
    claims = parse_claims(document.get("claims", []), tasks, [*methods, *words])
    groups = [(task, in_words(own)) for task, own in finals.items()]
    return SweepVerdicts(
        folder=folder,
        question=str(document.get("question") or ""),
        verdicts=tuple(judge(claim, finals, methods) for claim in claims),
        groups=tuple((task, words) for task, words in groups if words),
    )


def write_verdicts(told: Sequence[SweepVerdicts], path: Path) -> Path:
    """Write `told` as JSON. Raises RunError where something else lies at `path`, and OSError."""
    refuse_foreign_verdicts(path)
    document = [one.document() for one in told]
    write_atomically(path, strict_json(document, indent=2).encode())
    return path


def refuse_foreign_verdicts(path: Path) -> None:
    """Raise RunError where something lies at `path` that is no older file of verdicts."""
    if not os.path.lexists(path):
        return
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if all("verdicts" in one for one in document) and isinstance(document, list):
            return
    except (OSError, ValueError, TypeError):
        pass
    raise RunError(f"{path} holds something else already; choose another file")


def counts(told: SweepVerdicts) -> str:
    """How many claims have come to what: ``2 hold, 1 cannot be told``."""
    judged = [one.judgement for one in told.verdicts]
    numbers = {kind: judged.count(kind) for kind in Judgement if kind in judged}
    many = {Judgement.HOLDS: "hold", Judgement.FAILS: "do not hold"}
    return ", ".join(f"{n} {many.get(k, k) if n > 1 else k}" for k, n in numbers.items())


def counted(verdict: Verdict) -> str:
    """The judgement, and of several tasks on how many it rests."""
    judged = [one.judgement for one in verdict.evidence]
    if len(judged) == 1 or verdict.claim.nobody_leads:
        return str(verdict.judgement)
    kinds = [f"{judged.count(kind)} {kind}" for kind in Judgement if kind in judged]
    return f"{verdict.judgement} (of {len(judged)} tasks: {', '.join(kinds)})"


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        **verdict.claim.document(),
        "judgement": str(verdict.judgement),
        "evidence": {
            one.task: {
                "judgement": str(one.judgement),
                "chances": {
                    rival: [x if np.isfinite(x) else None for x in (c.point, c.low, c.high)]
                    for rival, c in one.chances
                },
                **({"unbeaten": list(one.unbeaten)} if one.unbeaten else {}),
            }
            for one in verdict.evidence
        },
    }
