"""Who follows a meta-training sees what runs show: on the screen, in a pipe, by `mgtopo status`, and where it stops."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_population import Notes, small
from lessons import TASKS, TEXT, measured, recorded, run
from rich.console import Console

from purejax_mgtopo.cli.main import main
from purejax_mgtopo.cli.status import meta_table
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.events import read_curve, read_events
from purejax_mgtopo.records.record import RunRecord
from purejax_mgtopo.training.progress import BarReporter, LineReporter
from purejax_mgtopo.training.stop import StopRequest
from purejax_mgtopo.universal import training
from purejax_mgtopo.universal.kept.record import read_state
from purejax_mgtopo.universal.kept.standing import read_standing

NUMBER = r"-?\d+\.\d\d"


def test_a_pipe_gets_the_lines_of_any_run(recipe: Path, quick: type, tmp_path: Path) -> None:
    """Each update's mean over tasks, what the pace is, and how long it will take."""
    stream, clock = io.StringIO(), iter(range(0, 10_000, 7))
    reporter = LineReporter(stream, clock=lambda: float(next(clock)))
    run(recipe, tmp_path / "out", reporter)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "meta-train/out: compiling for 8 lifetimes ..."
    assert re.fullmatch(
        r"meta-train/out: compiled, and the first update done, after .* s", lines[1]
    )
    told = lines[2:-1]
    for step, line in enumerate(told, start=1):
        known = [x["return"] for x in measured(step).values() if x["return"] == x["return"]]
        assert line.startswith(
            f"meta-train/out: update {step}/6  priced return {np.mean(known):.2f}"
        )
        assert ("updates/s x 8 lifetimes" in line) == (step > 1)  # the first one compiles
        assert (" left" in line) == (1 < step < 6)
        assert ("4 non-finite" in line) == (step == 3)
    assert len(told) == 6
    assert lines[-1].startswith("meta-train/out: finished after 6 updates x 8 lifetimes in 0:0")


def test_a_terminal_gets_the_bar_of_any_run(recipe: Path, quick: type, tmp_path: Path) -> None:
    stream, shown = io.StringIO(), []
    reporter = BarReporter(stream, width=80)
    recipe.write_text(TEXT + 'estimator = "evolution"\n')

    def look(step: int) -> None:
        if step == 5:
            shown.append(render(reporter._shown()))

    quick.before = staticmethod(look)  # type: ignore[attr-defined]
    run(recipe, tmp_path / "out", reporter)
    first, count, well = shown[0]
    assert first == "meta-train/out" and "4/6 updates  0:0" in count and count.endswith("left")
    assert re.match(rf"priced return {NUMBER}  edges -?\d+%  .* updates/s x 8 pairs$", well)
    plain = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", stream.getvalue())
    assert re.search(rf"meta-train/out  0:\d\d  priced return {NUMBER}  edges", plain)


def render(picture: object) -> list[str]:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(picture)
    return [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_teams_are_told_apart_from_what_follows(
    recipe: Path, quick: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of their runs is no part of the name of what comes after them."""
    stream = io.StringIO()
    reporter = LineReporter(stream)

    def groups(recipe: object, folder: Path, reporter: LineReporter, stop: StopRequest) -> list:
        reporter.part(2, 2, 0)
        reporter.begin("toy/random", 10, 1)
        reporter.end("finished")
        reporter.part(1, 1, 0)
        return []

    monkeypatch.setattr(training, "_groups", groups)
    run(recipe, tmp_path / "out", reporter)
    own = [line for line in stream.getvalue().splitlines() if line.startswith("meta-train/")]
    assert len(own) > 3 and not [line for line in own if "run 2 of 2" in line]


def test_status_tells_how_far_it_is_and_how_long_it_takes(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results" / "rule"
    with recorded(recipe, out, steps=5, saved=4):
        assert main(["status", str(tmp_path / "results")]) == 0
        shown = capsys.readouterr().out
        for name in ("recipe.json", "events.jsonl", "curve.jsonl"):  # edited by a friend of Windows
            file = out / name
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        with (out / "curve.jsonl").open("a") as file:  # and nothing of ours
            file.write('{"x": 1}\n{"step": 9}\n{"step": "9", "task": "a"}\n')
        assert main(["status", str(tmp_path / "results")]) == 0
        assert capsys.readouterr().out == shown
    (first,) = [line for line in shown.splitlines() if "rule " in line]
    values = [measured(step)[TASKS[0]] for step in range(1, 6)]
    means = {name: np.mean([each[name] for each in values]) for name in values[0]}
    assert first.split() == [
        "rule", "running", "5/6", TASKS[0], f"{means['return']:.2f}",
        f"{means['edge_rate']:.0%}", f"{means['correction']:.3f}", "0.5", "0:02", "4",
    ]  # fmt: skip
    (second,) = [line for line in shown.splitlines() if TASKS[1] in line]
    assert len(second.split()) == 4 and "nan" not in shown


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("interrupted", "interrupted, no news for"),
        ("failed", "failed: no memory"),
        ("end", "finished"),
        ("rule", "finished"),  # killed before it could say so
    ],
)
def test_status_says_how_it_ended(
    kind: str,
    words: str,
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with recorded(recipe, out, steps=6, saved=6) as record:
        if kind == "rule":
            (out / "universal.npz").write_bytes(b"")
        else:
            record.event(kind, step=6, error="no\nmemory")
    assert main(["status", str(out)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "6/6" in x]
    assert words in line and "0:0" not in line.replace("news for 0:0", "")


def test_status_shows_runs_and_meta_trainings_beside_each_other(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(recipe, tmp_path / "all" / "rule", steps=1, saved=0):
        pass
    with RunRecord(tmp_path / "all" / "rule" / "policies" / "run", small(), "test"):
        assert main(["status", str(tmp_path / "all")]) == 0
    shown = capsys.readouterr().out
    assert "meta-training" in shown and "1/6" in shown and "0/40" in shown
    (tmp_path / "all" / "rule" / "recipe.json").write_text("{")
    assert main(["status", str(tmp_path / "all" / "rule")]) == 0
    assert "recipe.json cannot be read" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert main(["status", str(tmp_path / "none")]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_the_folder_one_stands_in_has_its_name(
    recipe: Path,
    quick: type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the screen while it is trained, and in the table of `mgtopo status .`."""
    (tmp_path / "rule").mkdir()
    monkeypatch.chdir(tmp_path / "rule")
    stream = io.StringIO()
    run(recipe, Path("."), LineReporter(stream))
    assert all(line.startswith("meta-train/rule: ") for line in stream.getvalue().splitlines())
    assert main(["status", "."]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "6/6" in x]
    assert line.split()[:2] == ["rule", "finished"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_gets_whole_numbers(width: int, recipe: Path, tmp_path: Path) -> None:
    with recorded(recipe, tmp_path / "out", steps=5, saved=4):
        pass
    console = Console(width=width, file=io.StringIO())
    console.print(meta_table([read_standing(tmp_path / "out")], width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "5/6" in shown and "priced" in shown and max(map(len, shown.splitlines())) <= width
    assert ("saved" in shown) == (width >= 120)


def test_a_state_on_another_machine_is_judged_by_its_silence(recipe: Path, tmp_path: Path) -> None:
    """Without a lock to be seen: updates of two seconds, so that a minute says nothing and two say much."""
    with recorded(recipe, tmp_path / "out", steps=30, saved=0):
        pass
    path = tmp_path / "out" / "events.jsonl"
    events = [json.loads(line) | {"process": None} for line in path.open()]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    last = events[-1]["time"]
    for later, word in ((50, "running?"), (120, "interrupted")):
        console = Console(width=160, file=io.StringIO())
        console.print(meta_table([read_standing(tmp_path / "out")], now=last + later))
        assert word in console.file.getvalue()  # type: ignore[attr-defined]


def test_resume_says_who_goes_on(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with recorded(recipe, tmp_path / "out", steps=1, saved=0):
        pass
    assert main(["resume", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds a meta-training" in line and "`mgtopo meta-train`" in line


@pytest.mark.parametrize("reading", range(1, 7))
def test_whenever_a_request_to_stop_comes_what_was_done_is_saved(
    reading: int, recipe: Path, quick: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two looks at whether one has come, too."""
    looks = iter(range(1, 100))
    monkeypatch.setattr(StopRequest, "requested", property(lambda _: next(looks) >= reading))
    out = tmp_path / "out"
    assert run(recipe, out) is None
    done = max((line["step"] for line in read_curve(out)), default=0)
    assert done == (int(read_state(out)[0]["step"]) if done else 0) < 6
    assert list(read_events(out))[-1]["event"] == "interrupted"


def test_a_signal_ends_it_after_its_update(recipe: Path, quick: type, tmp_path: Path) -> None:
    notes = Notes()

    def press(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            until = time.monotonic() + 5
            while not notes.notes and time.monotonic() < until:  # in the listener's thread
                time.sleep(0.01)

    quick.before = staticmethod(press)  # type: ignore[attr-defined]
    assert run(recipe, tmp_path / "out", notes) is None
    assert "stopping after this update" in notes.notes[0]
    assert int(read_state(tmp_path / "out")[0]["step"]) == 3


@pytest.mark.parametrize("teams_loaded", [0, 1, 2])
def test_a_signal_while_teams_are_made_or_loaded_is_answered_before_anything_is_compiled(
    teams_loaded: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the last chunk of the last team, where the sweep has come to its end."""
    path, loaded = tmp_path / "meta_train.toml", []
    path.write_text(TEXT)

    def press() -> None:
        if len(loaded) == teams_loaded:
            os.kill(os.getpid(), signal.SIGTERM)

    def sweep(*_: object, **__: object) -> SimpleNamespace:
        press()
        return SimpleNamespace(stopped_by=None, lost=(), unsaved=())

    def load(folder: Path) -> None:
        loaded.append(folder)
        press()

    monkeypatch.setattr(training, "sweep", sweep)
    monkeypatch.setattr(training, "load_trained", load)
    monkeypatch.setattr(training, "group_of", lambda *_: None)
    monkeypatch.setattr(training, "Learning", None)
    assert run(path, tmp_path / "out") is None
    assert len(loaded) == teams_loaded
    assert list(read_events(tmp_path / "out"))[-1]["event"] == "interrupted"


def no_memory(step: int) -> None:
    if step == 3:
        raise ValueError("RESOURCE_EXHAUSTED: Out of memory")


def full_disk(step: int) -> None:
    if step == 3:
        raise RunError("cannot write to there: No space left on device")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (no_memory, "out of memory with 4 lifetimes .* meta_train.lifetimes = 2"),
        (full_disk, "No space left on device; then go on by calling the same again"),
    ],
)
def test_a_failure_is_recorded_and_says_what_to_do(
    fault: Callable[[int], None], words: str, recipe: Path, quick: type, tmp_path: Path
) -> None:
    quick.before = staticmethod(fault)  # type: ignore[attr-defined]
    with pytest.raises(RunError, match=words) as error:
        run(recipe, tmp_path / "out")
    assert "\n" not in str(error.value)
    last = list(read_events(tmp_path / "out"))[-1]
    assert last["event"] == "failed" and last["step"] == 2
    quick.before = staticmethod(lambda step: None)  # type: ignore[attr-defined]
    assert run(recipe, tmp_path / "out") is not None
    assert [line["step"] for line in read_curve(tmp_path / "out")[::2]] == [1, 2, 3, 4, 5, 6]
