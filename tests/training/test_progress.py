from __future__ import annotations

import io
import math
import re

import pytest

from purejax_mgtopo.training.progress import (
    BarReporter,
    LineReporter,
    Tick,
    duration,
    make_reporter,
)
from purejax_mgtopo.training.watchdog import Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tick(episode: int, non_finite: int = 0) -> Tick:
    return Tick(episode, -12.345, 0.42, 1234.5, 83.0, non_finite)


def test_lines_are_rare_but_first_and_last_always_come() -> None:
    stream, clock = io.StringIO(), Clock()
    reporter = LineReporter(stream, every=5, clock=clock)
    reporter.begin("toy/meta", 1000, 8)
    reporter.compiled(12.34)
    for episode in range(100, 1001, 100):
        clock.now += 1
        reporter.tick(tick(episode, non_finite=episode // 1000))
    reporter.end("finished")
    assert stream.getvalue().splitlines() == [
        "toy/meta: compiling for 8 seeds ...",
        "toy/meta: compiled, and the first chunk done, after 12.3 s",
        "toy/meta: episode 100/1,000  training return -12.35  edges 42%  154 episodes/s x 8 seeds  1:23 left",
        "toy/meta: episode 600/1,000  training return -12.35  edges 42%  154 episodes/s x 8 seeds  1:23 left",
        "toy/meta: episode 1,000/1,000  training return -12.35  edges 42%  154 episodes/s x 8 seeds  1 non-finite",
        "toy/meta: finished",
    ]


def test_a_speed_that_is_not_known_yet_is_left_out() -> None:
    stream = io.StringIO()
    reporter = LineReporter(stream)
    reporter.begin("toy/meta", 1000, 1)
    reporter.tick(Tick(100, -1.0, 0.5, math.nan, math.nan, 0))
    assert stream.getvalue().splitlines() == [
        "toy/meta: compiling for 1 seed ...",
        "toy/meta: episode 100/1,000  training return -1.00  edges 50%",
    ]


def test_a_pipe_gets_lines_and_a_terminal_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_reporter(io.StringIO()), LineReporter)
    assert isinstance(make_reporter(Terminal()), BarReporter)


def shown(stream: io.StringIO) -> list[str]:
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", stream.getvalue()).split("\n")


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_fits_its_terminal(width: int) -> None:
    stream = io.StringIO()
    reporter = BarReporter(stream, width=width)
    reporter.part(7, 40, 33 * 50_000 * 8)
    reporter.begin("predator_prey_N6_l6/meta_commnet", 50_000, 8)
    reporter.compiled(3)
    reporter.tick(tick(12_300))
    reporter.end("interrupted")
    reporter.close()
    lines = [line.rstrip() for line in shown(stream)]
    assert max(len(line.split("\r")[-1]) for line in lines[:-2]) <= width
    assert "predator_prey_N6_l6/meta_commnet  run 7 of 40, about 3 h left" in stream.getvalue()
    assert "12,300/50,000 episodes  1:23 left" in stream.getvalue()
    assert "training return -12.35  edges 42%  154 episodes/s x 8 seeds" in stream.getvalue()
    assert "…" not in "".join(lines).replace("compiling …", "")
    assert (
        lines[-2]
        .lstrip("\r")
        .startswith("predator_prey_N6_l6/meta_commnet  0:00  training return -12.35  edges 42%")
    )
    assert lines[-2].endswith("12,300/50,000 episodes: interrupted")


def test_a_sweep_foretells_its_end_by_what_runs_have_taken() -> None:
    stream, clock = io.StringIO(), Clock()
    reporter = LineReporter(stream, every=0, clock=clock)
    for number in (1, 2):
        reporter.part(number, 3, (3 - number) * 8 * 1000)
        reporter.begin("toy/meta", 1000, 8)
        clock.now += 3600
        reporter.tick(Tick(500, -1.0, 0.5, 8 * 500 / 3600, 3600.0, 0))
        clock.now += 3600
        reporter.tick(Tick(1000, -1.0, 0.5, 8 * 500 / 3600, 0.0, 0))
        reporter.end("finished")
    told = [line for line in stream.getvalue().splitlines() if "(run" in line]
    assert [line[line.index("(") :] for line in told] == [
        "(run 1 of 3, about 5 h left)",
        "(run 2 of 3, about 3 h left)",
    ]


def test_waves_are_told_apart_and_count_as_was_asked() -> None:
    stream = io.StringIO()
    reporter = LineReporter(stream)
    reporter.begin("toy/meta", 400, 8)
    reporter.tick(Tick(400, -1.0, 0.5, 60.0, 10.0, 0, wave=1, waves=2, seeds=4))
    assert stream.getvalue().splitlines()[-1] == (
        "toy/meta: episode 400/400, wave 2 of 2  training return -1.00  edges 50%  15 episodes/s x 4 seeds"
    )


def test_the_bar_shows_non_finite_seeds_and_notes() -> None:
    stream = io.StringIO()
    reporter = BarReporter(stream, width=120)
    reporter.begin("toy/meta", 1000, 8)
    reporter.compiled(3)
    reporter.tick(tick(300, non_finite=2))
    reporter.note("a [note] as it is")
    reporter.close()
    assert "2 non-finite" in stream.getvalue()
    assert "a [note] as it is" in stream.getvalue()


def test_the_bar_shows_names_outcomes_and_notes_as_they_are() -> None:
    stream = io.StringIO()
    reporter = BarReporter(stream, width=160)
    reporter.begin("toy[/x]/:bug:", 100, seeds=2)
    reporter.note("wrote [/tmp/a] :bug:")
    reporter.end("failed [/device:CPU:0] :bug:")
    reporter.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    for text in ("toy[/x]/:bug:", "wrote [/tmp/a] :bug:", "failed [/device:CPU:0] :bug:"):
        assert text in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (83, "1:23"),
        (3723, "1:02:03"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_watchdog_waits_then_backs_off() -> None:
    said: list[str] = []
    clock, cpu = Clock(), Clock()
    dog = Watchdog(said.append, patience=10, clock=clock, cpu_clock=cpu, poll=None)
    for second, lines in ((9, 0), (1, 1), (9, 1), (1, 2), (19, 2), (1, 3)):
        clock.now += second
        dog.look()
        assert len(said) == lines
    assert said[0].startswith("nothing has moved for 0:10")
    assert "deadlock" in said[0]
    assert "seed_axis = map" in said[0]
    dog.beat()
    clock.now += 41
    dog.look()
    assert len(said) == 3  # 20 times the longest step so far (40 s) is more than the patience
    clock.now += 20 * 40
    dog.look()
    assert len(said) == 4


def test_the_watchdog_tells_a_busy_processor_from_a_deadlock() -> None:
    said: list[str] = []
    clock, cpu = Clock(), Clock()
    dog = Watchdog(said.append, patience=10, clock=clock, cpu_clock=cpu, poll=None)
    clock.now += 10
    cpu.now += 15
    dog.look()
    assert "busy (150% of one core)" in said[0]
    assert "deadlock" not in said[0]


def test_the_watchdog_speaks_from_its_own_thread() -> None:
    import threading

    heard = threading.Event()
    with Watchdog(lambda line: heard.set(), patience=0.05, poll=0.01):
        assert heard.wait(5)  # while this thread is stuck
