"""Every setting of an experiment moves what it names, and nothing else.

The program of each piece of Algorithm 1 is compared as text, before compilation: where it is the same to the letter,
so is every number; where a setting is to move a piece, its program must differ.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from core_cases import Algorithm, small
from pieces import ALL, TASK, WHOLE, Pieces, base, pieces
from reach import NAMES, REACH, TOGETHER

from purejax_mgtopo.config import Config, Experiment, flatten, override
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.population.waves import split_into_waves


def test_every_setting_is_in_the_table() -> None:
    assert set(REACH) | NAMES == set(flatten(Experiment()))


def with_setting(method: str, name: str, value: Any) -> Pieces:
    changes = {name: value} | TOGETHER.get(name, {})
    return pieces(method, *((n.replace(".", "__"), v) for n, v in changes.items()))


CHIEF = {"play", "policy"}
"""What is looked at besides what a setting moves, where there is no time for all."""


def moved_and_wanted(name: str, among: set[str]) -> tuple[set[str], set[str]]:
    """What the setting moves of these pieces and of those that it is to move, and what it is to move."""
    row = REACH[name]
    changed = with_setting(row.method, name, row.value)
    wanted = row.moves - {""}
    asked = (ALL - WHOLE) if wanted - WHOLE else ALL  # the whole moves with any of its parts
    asked &= among | wanted
    moved = {piece for piece in asked if changed.program(piece) != base(row.method, piece)}
    return moved, wanted & asked


@pytest.mark.quick_cases(26)
@pytest.mark.parametrize("name", REACH)
def test_a_setting_moves_what_it_names(name: str) -> None:
    moved, wanted = moved_and_wanted(name, CHIEF)
    assert moved == wanted


@pytest.mark.slow  # every piece of every setting is written
@pytest.mark.parametrize("name", REACH)
def test_a_setting_moves_nothing_else(name: str) -> None:
    moved, wanted = moved_and_wanted(name, ALL)
    assert moved == wanted


IDLE = [(name, method) for name, row in REACH.items() for method in row.idle]


@pytest.mark.slow  # one more experiment each
@pytest.mark.parametrize(("name", "method"), IDLE)
def test_a_setting_of_another_method_moves_nothing(name: str, method: str) -> None:
    changed = with_setting(method, name, REACH[name].value)
    for piece in ("rule's start", "play", "policy", "learn", "outer"):
        assert changed.program(piece) == base(method, piece), piece


def plan(**changes: Any) -> dict[str, Any]:
    """What a run of these settings does when."""
    plain = small("none", TASK, seeds=5, episodes=24, chunk_episodes=4, evaluation__every=8)
    settings = override(plain, {name.replace("__", "."): v for name, v in changes.items()})
    population = Population.__new__(Population)  # no program is needed to ask when
    population.config = Config(settings)
    waves = split_into_waves(settings, 2)
    due = range(0, settings.episodes + 1, settings.chunk_episodes)
    return {
        "seeds": [wave.first_seed + k for wave in waves for k in range(wave.seeds)],
        "chunks": [settings.chunk_episodes] * settings.chunks,
        "iterations": settings.iterations_per_chunk,
        "evaluations": [episode for episode in due if episode and population._evaluates(episode)],
        "final": {e: list(batches) for e in due if (batches := population._final_batches(e))},
    }


def test_what_moves_no_piece_moves_the_plan() -> None:
    usual = plan()
    assert usual == {
        "seeds": [0, 1, 2, 3, 4],
        "chunks": [4] * 6,
        "iterations": 2,
        "evaluations": [8, 16, 24],
        "final": {24: [1, 2]},
    }

    def moved(**changes: Any) -> dict[str, Any]:
        other = plan(**changes)
        return {name: value for name, value in other.items() if value != usual[name]}

    assert moved(seeds=3) == {"seeds": [0, 1, 2]}
    assert moved(first_seed=7) == {"seeds": [7, 8, 9, 10, 11]}
    assert moved(episodes=20) == {
        "chunks": [4] * 5,
        "evaluations": [8, 16, 20],
        "final": {20: [1, 2]},
    }
    assert moved(evaluation__final_episodes=7) == {"final": {24: [1, 2, 3]}}
    assert moved(evaluation__final_episodes=0) == {"final": {}}
    assert moved(evaluation__every=12) == {"evaluations": [12, 24]}
    assert moved(chunk_episodes=8) == {"chunks": [8] * 3, "iterations": 4}
    assert moved(updates_per_iteration=1) == {"iterations": 4}


def test_the_names_pick_the_pieces() -> None:
    made = Algorithm(small("meta", TASK))
    other = Algorithm(dataclasses.replace(small("meta", TASK), topology="full", messages="commnet"))
    assert type(made.team.rule).__name__ == "MetaGradient"
    assert type(other.team.rule).__name__ == "Full"
    assert type(other.team.interpreter).__name__ == "CommNet"
    assert type(made.maddpg.critic).__name__ == "MLPCritic"
    assert made.env != Algorithm(small("meta", "push_N3")).env
