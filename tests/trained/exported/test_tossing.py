"""A team that tosses coins in greedy evaluation too acts with a key, and says so where it gets none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained_cases import made_up, observations, through_a_file

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.team import Team
from purejax_mgtopo.algorithm.types import Both, Mode, Sizes
from purejax_mgtopo.config import Experiment, override

CHANNELS = ("shuffled", "constant", "cut", "open", "random")
TEAMS: list[dict[str, Any]] = [
    *({"topology": name} for name in methods.TOPOLOGIES),
    *({"topology": "full", "messages": name} for name in methods.MESSAGES),
    *({"topology": "reinforce", "channel": name} for name in CHANNELS),
]


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize("changes", TEAMS, ids=lambda changes: "-".join(changes.values()))
def test_who_says_so_is_who_acts_by_other_numbers_otherwise(changes: dict[str, Any]) -> None:
    """Greedy evaluation by two sets of random numbers, over two steps."""
    settings = {"learner.hidden": 8, "meta.hidden": 6, "message.latency": 1} | changes
    team = Team(override(Experiment(), settings), Sizes(3, 14, 2))
    policy = team.init(jax.random.key(0))
    acting = team.parts.acting(team.parts.init(Both(jax.random.key(1), jax.random.key(2))))
    seen = jnp.asarray(np.random.default_rng(3).normal(size=(2, 20, 3, 14)), jnp.float32)

    def acted(key: Any) -> list[np.ndarray]:
        tape, carry = (
            team.parts.tape(Both(*jax.random.split(key)), (20,)),
            team.initial_carry((20,)),
        )
        found = []
        for observation in seen:
            step, carry = team.step(policy, acting, observation, carry, tape, Mode.EVAL_GREEDY)
            found += [np.asarray(step.action), np.asarray(step.open_edges)]
        return found

    pairs = zip(acted(jax.random.key(4)), acted(jax.random.key(5)), strict=True)
    assert team.parts.tosses == any((one != other).any() for one, other in pairs)


@pytest.mark.parametrize("changes", [{"topology": "random"}, {"channel": "random"}], ids=str)
def test_without_a_key_it_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    policy = through_a_file(made_up(tmp_path, **changes))
    (seen,) = observations(made_up(tmp_path), steps=1)
    for act in (policy, jax.jit(policy.__call__)):
        with pytest.raises(ValueError, match="greedy evaluation too: pass a key") as told:
            act(seen)
        assert "\n" not in str(told.value)
    assert np.isfinite(policy(seen, key=jax.random.key(1)).action).all()


def test_with_a_key_each_edge_is_as_often_open_as_its_probability_says(tmp_path: Path) -> None:
    policy = through_a_file(made_up(tmp_path, topology="random", gates__open_probability=0.25))
    (seen,) = observations(made_up(tmp_path), steps=1)
    keys = jax.random.split(jax.random.key(3), 400)
    drawn = jax.vmap(lambda key: policy(seen, key=key).topology)(keys)  # 5 teams of 6 edges each
    edges = drop_diagonal(drawn)
    assert abs(float(edges.mean()) - 0.25) < 5 * np.sqrt(0.25 * 0.75 / edges.size)
