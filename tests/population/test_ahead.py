"""A program that is compiled ahead, in a thread of its own."""

from __future__ import annotations

import threading

import jax
import pytest
from resume_cases import tiny

from purejax_mgtopo.population.ahead import Ahead
from purejax_mgtopo.population.population import Population


def test_a_call_waits_for_what_was_begun_and_takes_it() -> None:
    may_end, made = threading.Event(), []

    def compile_it():
        assert may_end.wait(20)
        made.append(threading.current_thread())
        return lambda x: ("compiled", x)

    program = Ahead(lambda x: ("traced", x))
    assert program(1) == ("traced", 1)
    program.begin(compile_it)
    program.begin(compile_it)  # which it has already
    assert not made  # and the caller goes on
    may_end.set()
    assert program(2) == ("compiled", 2) == program(2)
    assert len(made) == 1 and made[0] is not threading.current_thread()


def test_what_compiling_raises_is_raised_by_the_call() -> None:
    def compile_it():
        raise MemoryError("no room")

    program = Ahead(lambda x: x)
    program.begin(compile_it)
    with pytest.raises(MemoryError, match="no room"):
        program(1)


# The toys' states hold arrays without elements, which XLA spreads over no device.
@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("task", ["toy_crossed_goals", "navigation_N2_l1"])
def test_the_chunks_and_the_evaluations_programs_are_compiled_beside_the_first_one(
    task: str,
) -> None:
    where: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: (
            where.append(threading.current_thread().name) if "backend_compile" in event else None
        )
    )
    try:
        population = Population(tiny("none", seeds=2, task=task))
        state = population.init()
        state, first = population.advance(state)
        state, second = population.advance(state)
        assert first.before is not None and first.before.evaluation and second.evaluation
    finally:
        jax.monitoring.clear_event_listeners()
    assert (first.episode, second.episode) == (2, 4)
    assert where.count("compiles") == 2 and where.count("MainThread") >= 1
