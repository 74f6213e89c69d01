"""Small methods, made-up data, and comparisons that the tests of the learning core share."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from quick_xla import QUICK

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.part import Context, Moment
from purejax_mgtopo.algorithm.types import (
    Both,
    Clock,
    Gates,
    Mode,
    Seen,
    Sizes,
    Streams,
    Trajectory,
    Window,
)
from purejax_mgtopo.config import EvaluationConfig, Experiment, override, with_method


@functools.cache
def _options() -> dict[str, Any]:
    try:
        jax.jit(lambda x: x, compiler_options=QUICK)(0.0)
    except Exception:  # options come and go with versions of XLA; tests are right without them
        return {}
    return QUICK


def jit(function: Any) -> Any:
    """`jax.jit` that compiles fast rather than well."""
    return jax.jit(function, compiler_options=_options())


RULES = ("none", "full", "reinforce", "stgs", "meta")
LEARNED = ("reinforce", "stgs", "meta")
NOTHING = Both()
"""What ordinary methods have of things that both parts may have."""


def small(method: str = "meta", task: str = "toy_crossed_goals", **changes: Any) -> Experiment:
    """A tiny experiment; ``changes`` are dotted names with ``__`` for the dot."""
    base = Experiment(
        task=task,
        seeds=1,
        episodes=2,
        updates_per_iteration=2,
        chunk_episodes=2,
        evaluation=EvaluationConfig(every=2, episodes=3, final_episodes=6),
    )
    settings = {
        "learner.hidden": 8,
        "learner.batch_size": 16,
        "learner.replay_transitions": 150,
        "learner.warmup_episodes": 3,
        "meta.hidden": 6,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return override(with_method(base, method), settings)


@functools.cache
def algorithm(method: str = "meta", task: str = "toy_crossed_goals", **changes: Any) -> Algorithm:
    return Algorithm(small(method, task, **changes))


@functools.cache
def initial(method: str = "meta", task: str = "toy_crossed_goals", seed: int = 0) -> Any:
    """The state after the warm-up."""
    return _init(method, task)(jax.random.key(seed))


@functools.cache
def _init(method: str, task: str) -> Any:
    return jit(algorithm(method, task).init)


@functools.cache
def iterate(method: str = "meta", task: str = "toy_crossed_goals") -> Any:
    """`Algorithm.iterate` of a method whose seeds share nothing, compiled: state and measures."""
    made = algorithm(method, task)
    return jit(lambda state, clock: made.iterate(state, clock, NOTHING)[:2])


def made_up_trajectory(
    seed: int, steps: int = 5, agents: int = 2, width: int = 3, lead: tuple[int, ...] = ()
) -> Trajectory:
    """An episode of random numbers, in the precision that is on."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=(*lead, *shape)), float)

    edges = (*lead, steps, agents, agents - 1)
    return Trajectory(
        observation=normal(steps + 1, agents, width),
        feature=normal(steps, agents, 0),
        message=normal(steps, agents, 0),
        action=jnp.asarray(rng.uniform(-1, 1, (*lead, steps, agents, 2)), float),
        reward=normal(steps),
        gates=Gates(
            jnp.asarray(rng.uniform(size=edges), float),
            jnp.asarray(rng.integers(0, 2, edges), float),
        ),
        kept=Both(),
        moving=normal(steps + 1, 1),
        fixed=normal(1),
    )


def made_up_window(seed: int, agents: int, width: int, memory: int = 0, batch: int = 16) -> Window:
    """Transitions of random numbers."""
    rng = np.random.default_rng(seed)
    return Window(
        observation=jnp.asarray(rng.normal(size=(batch, memory + 2, agents, width)), float),
        begins=jnp.asarray(rng.integers(0, 2, (batch, memory + 2)), float),
        action=jnp.asarray(rng.uniform(-1, 1, (batch, agents, 2)), float),
        reward=jnp.asarray(rng.normal(size=batch), float),
        discount=jnp.full(batch, 0.95),
        leading=memory + 1,
    )


def sizes(agents: int, width: int) -> Sizes:
    """Of agents that observe so many numbers, and send and hold as many."""
    return Sizes(agents, width, 2, width, width)


def make_rule(experiment: Experiment, agents: int, width: int) -> Any:
    """The topology rule of an experiment, for agents without a task."""
    return methods.load(methods.TOPOLOGIES, experiment.topology)(experiment, sizes(agents, width))


def sight(observation: jax.Array) -> Seen:
    """What a team sees whose features and messages are its observations."""
    near = jnp.zeros((*observation.shape[:-1], observation.shape[-2]))
    return Seen(observation, observation, observation, observation, near)


def moment(part: Any, mode: Mode = Mode.ROLLOUT, batch: tuple[int, ...] = ()) -> Moment:
    """A part's first step of an episode, with zeros for random numbers."""
    return Moment(part.initial_carry(batch), jnp.zeros((*batch, *part.tape_shape)), mode)


def tape(made: Algorithm, lead: tuple[int, ...] = (), value: float = 0.0) -> Both:
    """The same number in place of all random ones."""
    return made.parts.each(lambda part: jnp.full((*lead, *part.tape_shape), value))


def both(key: jax.Array) -> Both:
    """Keys for both parts."""
    return Both(*jax.random.split(key))


def acting(made: Algorithm, seed: int = 1) -> Both:
    """What the parts of an algorithm start to act with."""
    return made.parts.acting(jit(made.parts.init)(both(jax.random.key(seed))))


def context(policy_gradient: Any = ()) -> Context:
    """As much of a context as the rules of the tables read."""
    clock = Clock(jnp.zeros((), int), jnp.zeros((), int))
    rest: dict[str, Any] = dict.fromkeys(("window", "seen", "act", "value", "shown"))
    return Context(
        key=jax.random.key(0),
        clock=clock,
        progress=jnp.zeros(()),
        policy_gradient=policy_gradient,
        shared=(),
        **rest,
    )


def learn(rule: Any, state: Any, trajectory: Trajectory, policy_gradient: Any = ()) -> Any:
    """One update after a trajectory, by a rule that needs no more of the context: state, measures, trace."""
    return rule.learn(state, trajectory, context(policy_gradient))


def outer(rule: Any, before: Any, state: Any, trajectories: Trajectory, trace: Any) -> Any:
    """The update after K inner ones of a rule that shares nothing: state, measures, update."""
    return rule.outer((), before, state, trajectories, trace)


def hear(
    interpreter: Any,
    params: Any,
    observation: jax.Array,
    edges: jax.Array,
    delivered: jax.Array | None = None,
) -> Any:
    """What an interpreter without memory or parameters of its own makes of messages; by default this step's."""
    now = moment(interpreter, Mode.REPLAY, observation.shape[:-2])
    encoded = interpreter.encode(params, (), observation, now)
    arrives = encoded.message if delivered is None else delivered
    near = jnp.zeros((*observation.shape[:-1], observation.shape[-2]))
    seen = Seen(observation, encoded.feature, encoded.message, arrives, near)
    return interpreter.hear(params, (), seen, Gates(edges, edges), now).z


PLAYED = ("reset", "exploration", "gate", "channel")
"""The streams that a rollout reads."""


def play_keys(key: jax.Array) -> Streams:
    """The keys of one episode."""
    return Streams.split(key)


def scattered(tree: Any, seed: int, scale: float = 0.3) -> Any:
    """`tree` with noise on every leaf, so that no bias is zero; in the precision that is on."""
    rng = np.random.default_rng(seed)
    dtype = jnp.zeros(()).dtype
    return jax.tree.map(
        lambda x: jnp.asarray((np.asarray(x) + scale * rng.normal(size=x.shape)).astype(dtype)),
        tree,
    )


def plain(tree: Any) -> list[np.ndarray]:
    """All leaves as NumPy arrays, keys as their data."""

    def one(leaf: Any) -> np.ndarray:
        leaf = jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return np.asarray(leaf)

    return [one(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(one: Any, other: Any) -> None:
    """Bit for bit."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(plain(one), plain(other), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(one: Any, other: Any, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(plain(one), plain(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def is_same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(plain(one), plain(other), strict=True))


def is_zero(tree: Any) -> bool:
    """Exactly zero, everywhere."""
    return all(not np.any(leaf) for leaf in plain(tree))


def size(tree: Any) -> float:
    return float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in plain(tree))))


def inner_steps(rule: Any, state: Any, trajectories: Trajectory) -> Any:
    """The traces of the inner updates over tau(0), ..., tau(K-1), from `state` on."""
    steps = []
    for k in range(trajectories.reward.shape[0] - 1):
        tau = jax.tree.map(lambda x, k=k: x[k], trajectories)
        state, _, step = learn(rule, state, tau, state.gates)
        steps.append(step)
    return jax.tree.map(lambda *x: jnp.stack(x), *steps)


def unused_keys(tree: Any) -> Any:
    """Arrays as they are, with keys that nobody has used: `jax.debug_key_reuse` marks them on the host as well."""

    def leaf(x: Any) -> Any:
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        return jax.random.wrap_key_data(jax.random.key_data(x))

    return jax.tree.map(leaf, tree)
