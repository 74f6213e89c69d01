"""Says which contract a task breaks, before training says it less clearly."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..scenario import Scenario


def check_task(task: Any, seed: int = 0) -> list[str]:
    """Each contract of `Scenario` that `task` breaks, in a sentence that says what to do; empty when it keeps all.

    Plays two episodes of random actions.
    """
    found: list[str] = []
    for check in (_kind, _sizes, _names, _episode, _snapshots, _optional):
        try:
            found += check(task, jax.random.key(seed))
        except Exception as error:
            line = " ".join(str(error).split())[:300]
            doing = (check.__doc__ or "").strip().rstrip(".")
            found.append(f"{doing}: {type(error).__name__}: {line}")
        if found:  # what follows builds on it
            break
    return found


def _kind(task: Any, key: jax.Array) -> Iterator[str]:
    """Being a task."""
    if not isinstance(task, Scenario):
        yield f"it is an object of {type(task).__name__}; derive it from jax_mpe.Scenario"
        return
    twin = copy.copy(task)
    try:
        equal = twin == task and hash(twin) == hash(task)
    except TypeError:  # a dataclass that is not frozen has no hash
        equal = False
    if not equal:
        yield "a copy of it is not equal to it; make it a frozen dataclass: @dataclasses.dataclass(frozen=True)"


def _sizes(task: Scenario[Any], key: jax.Array) -> Iterator[str]:
    """Telling its sizes."""
    for name, least in (("num_agents", 2), ("horizon", 1), ("observation_size", 1)):
        value = getattr(task, name)
        if not isinstance(value, int) or value < least:
            yield f"{name} is {value!r}; let it be a whole number of at least {least}"
    if task.action_size != 2:
        yield f"action_size is {task.action_size}; agents act by two numbers in [-1, 1]"


def _names(task: Scenario[Any], key: jax.Array) -> Iterator[str]:
    """Making a first state."""
    state = task.initial_state(key)
    for field in ("key", "step_count"):
        if not hasattr(state, field):
            yield f"its state has no {field}; add the field to the state's dataclass"
            return
    if not callable(getattr(state, "replace", None)):
        yield "its state has no replace(); make it a flax.struct.dataclass or a chex.dataclass"
        return
    count = jnp.asarray(state.step_count)
    if count.shape or not jnp.issubdtype(count.dtype, jnp.integer) or int(count):
        yield "step_count of a first state must be the whole number 0, e.g. jnp.zeros((), jnp.int32)"
    if (jax.random.key_data(state.key) == jax.random.key_data(key)).all():
        yield "a first state keeps the key that it was made from; split it, so that no number is drawn twice"
    for kind in ("moving_fields", "fixed_fields"):
        for field in getattr(task, kind, None) or ():
            if not hasattr(state, field):
                yield f"{kind} names {field!r}, which its state does not have"
    if not hasattr(task, "moving_fields"):
        yield "it has no moving_fields; name the fields of its state that observations depend on"


def _episode(task: Scenario[Any], key: jax.Array) -> Iterator[str]:
    """Playing an episode."""
    n, width = task.num_agents, task.observation_size
    state, step = task.reset(key)
    shapes = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), state)
    same, _ = task.reset(key)
    if not _equal(state, same):
        yield "two episodes from one key begin differently; draw from the key alone"
    view = step.observation.agents_view
    if view.shape != (n, width):
        yield f"observe gives {view.shape}, but num_agents and observation_size say {(n, width)}"
        return
    for t in range(task.horizon):
        action = jax.random.uniform(jax.random.fold_in(key, t), (n, 2), minval=-1.0, maxval=1.0)
        advanced = jax.eval_shape(task.advance, state, action)  # before `reward` refuses it
        if jax.tree.map(lambda x: (x.shape, x.dtype), advanced) != shapes:
            yield "advance changes the shape or type of a field of its state"
            return
        state, step = task.step(state, action)
        if jnp.shape(step.reward) != ():
            yield f"reward has shape {jnp.shape(step.reward)}; a team has one reward, a scalar"
            return
        if not np.isfinite(step.reward) or not np.isfinite(step.observation.agents_view).all():
            yield f"a reward or an observation of step {t + 1} is not a finite number"
            return
        if bool(step.last()) != (t + 1 == task.horizon):
            yield f"an episode ends at step {t + 1} of {task.horizon}; leave step and step_count to Scenario"
            return


def _snapshots(task: Scenario[Any], key: jax.Array) -> Iterator[str]:
    """Rebuilding a state from what the replay keeps of it."""
    state, _ = task.reset(key)
    for t in range(min(3, task.horizon)):
        action = jax.random.uniform(jax.random.fold_in(key, t), (task.num_agents, 2), minval=-1.0)
        state, _ = task.step(state, action)
    named = {"key", "step_count", *task.moving_fields, *task.fixed_fields}
    rest = set(vars(state)) - named
    try:
        task.restore(task.compress(state), state.step_count)
    except TypeError:
        if not rest:
            raise
        yield (
            f"its state has {', '.join(sorted(rest))}, which neither moving_fields nor fixed_fields name; name all "
            "fields, for the replay rebuilds a state from them"
        )
        return
    again = task.restore(task.compress(state), state.step_count)
    if not np.allclose(task.observe(again), task.observe(state), atol=1e-5):
        yield (
            "observe reads more of a state than moving_fields and fixed_fields name, from which the replay rebuilds "
            "it; name all fields that observations depend on"
        )


def _optional(task: Scenario[Any], key: jax.Array) -> Iterator[str]:
    """Telling measures and right edges."""
    state, _ = task.reset(key)
    for name, value in task.measures(state).items():
        if jnp.shape(value) != ():
            yield f"measure {name!r} has shape {jnp.shape(value)}; let it be a scalar"
    edges = task.right_edges(state)
    if edges is not None and jnp.shape(edges) != (task.num_agents, task.num_agents):
        yield f"right_edges has shape {jnp.shape(edges)}; let it be [N, N]"


def _equal(one: Any, other: Any) -> bool:
    def bits(tree: Any) -> list[np.ndarray]:
        return [
            np.asarray(
                jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
            )
            for x in map(jnp.asarray, jax.tree.leaves(tree))
        ]

    return all(np.array_equal(a, b) for a, b in zip(bits(one), bits(other), strict=True))
