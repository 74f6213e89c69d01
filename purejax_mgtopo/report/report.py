"""`mgtopo report`: runs as one HTML page that opens anywhere, without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from purejax_mgtopo.analysis.verdicts import read_sweeps, read_verdicts
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.files import is_foreign, make_ready_for, write_atomically
from purejax_mgtopo.records.record import find_runs
from purejax_mgtopo.records.run_data import RunData, load_run
from purejax_mgtopo.report.collect import (
    across,
    compare,
    read_run,
)
from purejax_mgtopo.report.controls import read_controls
from purejax_mgtopo.report.model import Comparison, ReportContent, Run, Watched

FILE_NAME = "report.html"


def write_report(
    folders: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    episodes: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of all runs in or beneath `folders`; returns its path.

    Args:
        out: the file; by default `report.html` in the folder if there is one, else where we are.
        episodes: play episodes of trained networks, where checkpoints are. This starts JAX.
        say: told what takes long, and which runs cannot be read.

    Raises RunError where there is no run that can be read, or the file cannot be written.
    """
    from purejax_mgtopo.report.page import render

    places = [expanded(folder) for folder in folders]
    home = places[0] if len(places) == 1 else Path()
    target = home / FILE_NAME if out is None else expanded(out)
    if is_foreign(target):  # before episodes are played
        raise RunError(f"{target} holds something else already; choose another file")
    if out is not None or home.is_dir():  # what is no folder is not made one
        make_ready_for(target)
    content = build_report(places, episodes=episodes, say=say)
    page = render(content).encode(errors="replace")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, page)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write {target}: {reason}; choose another file") from error
    return target


def build_report(
    folders: Sequence[Path],
    *,
    episodes: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> ReportContent:
    """The report's content. Raises RunError where there is no run that can be read."""
    runs: list[Run] = []
    data: dict[str, RunData] = {}
    unreadable: list[str] = []
    for folder in find_runs(folders):
        try:
            run, data[str(folder)] = read_run(folder)
            runs.append(run)
        except (RunError, KeyError, ValueError) as error:
            unreadable.append(f"{folder}: {' '.join(str(error).split())}")
            say(unreadable[-1])
    if not runs:
        raise RunError(unreadable[0])
    known = {Path(folder).resolve(): own for folder, own in data.items()}

    def load(place: Path) -> RunData:
        """The records of a run, which are read once for all."""
        found = known.get(place.resolve())
        return load_run(place) if found is None else found

    comparisons = compare(runs)
    sweeps = [document for _, document in read_sweeps(folders)]
    tasks = ", ".join(comparison.task for comparison in comparisons)
    questions = tuple(dict.fromkeys(str(s["question"]) for s in sweeps if s.get("question")))
    watched = _watched(comparisons, data, say) if episodes else ()
    return ReportContent(
        title=questions[0] if questions else f"Which method does best on {tasks}?",
        questions=questions,
        commands=tuple(dict.fromkeys(str(s["command"]) for s in sweeps if s.get("command"))),
        comparisons=comparisons,
        across=across(comparisons),
        watched=watched,
        unreadable=tuple(unreadable),
        controlled=read_controls(folders, say),
        judged=tuple(one for one in read_verdicts(folders, say, load) if one.verdicts),
    )


def _watched(
    comparisons: Sequence[Comparison], data: dict[str, RunData], say: Callable[[str], None]
) -> tuple[Watched, ...]:
    from purejax_mgtopo.report.episodes import watch

    found = []
    for run in (run for comparison in comparisons for run in comparison.runs):
        found.append(watch(run, data[run.folder], say))
    return tuple(found)
