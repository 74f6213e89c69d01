"""How far a part of the benchmark is, and that it ends in its time; by a clock that tests turn."""

from __future__ import annotations

from purejax_mgtopo.bench.pace import Pace


class Watch:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def walked(things: list[str], seconds: float, each: float) -> tuple[list[str], list[str]]:
    watch, notes, done = Watch(), [], []
    for thing in Pace(notes.append, seconds, watch).over(things):
        done.append(thing)
        watch.time += each
    return done, notes


def test_before_each_thing_a_line_tells_how_long_it_will_take() -> None:
    done, notes = walked(list("abc"), 1_000, 70)
    assert done == list("abc")
    assert notes == ["1 of 3: a", "2 of 3: b; 2:20 left", "3 of 3: c; 1:10 left"]


def test_what_is_not_done_in_time_is_left_out_by_name() -> None:
    done, notes = walked(list("abcde"), 100, 40)
    assert done == list("abc")  # a fourth would end at 160
    assert notes[-1] == "out of time (--seconds): left out d, e"
    assert notes[1] == "2 of 5: b; 1:00 left"  # never longer than the part may take


def test_the_first_thing_is_always_done() -> None:
    assert walked(list("ab"), 0, 40)[0] == ["a"]
