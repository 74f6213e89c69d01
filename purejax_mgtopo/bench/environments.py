"""Environment steps per second of our tasks and of JaxMARL's, with equal work.

Both sides run in one jitted scan: each environment splits its own key at each step, draws a joint
action uniformly in [-1, 1]^(N x 2) from it, steps, and starts a new episode where one ended. All
observations and rewards are added to a checksum that is returned, so none of them is dead code.
What stands against what, in equal numbers of agents and bodies:

- navigation: JaxMARL's `simple_spread` with N agents and N landmarks. Its observation also has a
  silent channel of 2 (N - 1) zeros.
- predator-prey: `simple_tag` with N adversaries, M good agents, and L obstacles. Its observations
  also hold velocities; its good agents move at random, drawn like the rest, while our prey are moved
  by their trained network (or script), whose cost is ours alone.
- push: JaxMARL has no such task; the nearest is `simple_spread` with N agents and two landmarks,
  where ours has a ball and a target. There, landmarks do not collide.

JaxMARL's episode has 26 steps, and its step takes a key, which it is given from the same split. The
action is written as (noop, left, right, down, up), as its continuous action space wants it.

`ours` uses `jax_mpe.BatchAutoReset`, which draws new episodes only in steps in which some episode
ends. `ours_jumanji` uses jumanji's `VmapAutoResetWrapper`, which, like JaxMARL, draws one for every
environment at every step.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax_mpe
from jumanji.wrappers import VmapAutoResetWrapper

SIDE_BY_SIDE = (1_024, 16_384, 131_072, 1_048_576)
TASKS = (
    *(name for name in jax_mpe.registered_tasks() if not name.startswith("toy_")),
    *("navigation_N30_l5", "predator_prey_N30_l5", "push_N30"),
)
"""The paper's eight, and each scenario with many agents."""


@dataclass(frozen=True)
class Throughput:
    """Medians over repeats, in environment steps per second; None where JaxMARL is not installed.

    Attributes:
        task: ours.
        num_envs: environments side by side.
        ours: with `jax_mpe.BatchAutoReset`.
        ours_jumanji: with jumanji's `VmapAutoResetWrapper`.
        jaxmarl: JaxMARL's nearest task, continuous actions.
        ratio: ours / jaxmarl.
        ratio_jumanji: ours_jumanji / jaxmarl.
    """

    task: str
    num_envs: int
    ours: float
    ours_jumanji: float
    jaxmarl: float | None
    ratio: float | None
    ratio_jumanji: float | None


def measure(
    num_envs_list: Sequence[int] = (1, 64, 1024, 8192),
    tasks: Sequence[str] = TASKS,
    *,
    seconds: float = 0.5,
    repeats: int = 5,
) -> list[Throughput]:
    """Measure on the default device.

    Args:
        num_envs_list: numbers of parallel environments; one row each.
        tasks: ours.
        seconds: about how long one timed run lasts.
        repeats: timed runs of each side, interleaved so that other load on the machine hits all
            sides alike.
    """
    return [_row(task, num_envs, seconds, repeats) for task in tasks for num_envs in num_envs_list]


def _row(task: str, num_envs: int, seconds: float, repeats: int) -> Throughput:
    env = jax_mpe.make(task)
    sides = {
        "ours": _jumanji_loop(jax_mpe.BatchAutoReset(env)),
        "ours_jumanji": _jumanji_loop(VmapAutoResetWrapper(env)),
    }
    if importlib.util.find_spec("jaxmarl") is not None:
        sides["jaxmarl"] = _jaxmarl_loop(env)

    keys = jax.random.split(jax.random.key(0), num_envs)
    runs = {name: _Timed(loop, keys, seconds) for name, loop in sides.items()}

    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            rates[name].append(num_envs * run.steps / run())
    median = {name: statistics.median(values) for name, values in rates.items()}
    theirs = median.get("jaxmarl")
    return Throughput(
        task=task,
        num_envs=num_envs,
        ours=median["ours"],
        ours_jumanji=median["ours_jumanji"],
        jaxmarl=theirs,
        ratio=None if theirs is None else median["ours"] / theirs,
        ratio_jumanji=None if theirs is None else median["ours_jumanji"] / theirs,
    )


def steps_per_second(env: Any, count: int, seconds: float = 0.5) -> float:
    """Our side alone, with `count` environments side by side: the median of three runs."""
    loop = _jumanji_loop(jax_mpe.BatchAutoReset(env))
    run = _Timed(loop, jax.random.split(jax.random.key(0), count), seconds)
    return statistics.median(count * run.steps / run() for _ in range(3))


class _Timed:
    """A compiled loop of as many steps as take about `seconds`; a call returns its duration in seconds."""

    def __init__(self, loop: Callable[[Any, Any], Any], keys: Any, seconds: float) -> None:
        self._keys, self.steps = keys, 100
        # The number of steps is an argument, so that it can be chosen after one compilation.
        self._run = jax.jit(loop).lower(keys, self.steps).compile()
        self()  # the first run pays for memory and threads
        self.steps = max(100, int(100 * seconds / self()))

    def __call__(self) -> float:
        start = time.perf_counter()
        jax.block_until_ready(self._run(self._keys, self.steps))
        return time.perf_counter() - start


def side_by_side(
    task: str, counts: Sequence[int] = SIDE_BY_SIDE, seconds: float = 0.5
) -> dict[str, Any]:
    """Our environment's steps per second by the number of environments side by side."""
    env = jax_mpe.make(task)
    return {
        "device": jax.devices()[0].device_kind,
        "task": task,
        **{str(count): steps_per_second(env, count, seconds) for count in counts},
    }


def _jumanji_loop(env: Any) -> Callable[[Any, Any], Any]:
    """The loop over a batched jumanji environment with automatic resets."""
    shape = env.action_spec.shape

    def loop(keys: Any, steps: Any) -> Any:
        keys, reset_keys = _split(keys, 2)
        state, _ = env.reset(reset_keys)

        def body(_: Any, carry: Any) -> Any:
            keys, state, checksum = carry
            keys, action_keys = _split(keys, 2)
            state, timestep = env.step(state, _actions(action_keys, shape))
            seen = jnp.sum(timestep.observation.agents_view, axis=(1, 2))
            return keys, state, checksum + seen + timestep.reward

        carry = (keys, state, jnp.zeros(keys.shape[0]))
        return jax.lax.fori_loop(0, steps, body, carry)[2]

    return loop


def _jaxmarl_loop(ours: Any) -> Callable[[Any, Any], Any]:
    """The loop over JaxMARL's environment, which resets itself."""
    import jaxmarl  # an optional extra

    if isinstance(ours, jax_mpe.PredatorPrey):
        name = "MPE_simple_tag_v3"
        sizes = dict(num_adversaries=ours.num_agents, num_good_agents=ours.num_prey)
        sizes |= dict(num_obs=ours.num_landmarks)
    else:
        name = "MPE_simple_spread_v3"
        landmarks = 2 if isinstance(ours, jax_mpe.Push) else ours.num_agents
        sizes = dict(num_agents=ours.num_agents, num_landmarks=landmarks)
    env = jaxmarl.make(name, action_type="Continuous", **sizes)

    def five(action: Any) -> dict[str, Any]:
        x, y = action[:, 0], action[:, 1]
        zero = jnp.zeros_like(x)
        left_right_down_up = (jnp.maximum(z, 0) for z in (-x, x, -y, y))
        rows = jnp.stack([zero, *left_right_down_up], axis=-1)
        return {agent: rows[i] for i, agent in enumerate(env.agents)}

    def loop(keys: Any, steps: Any) -> Any:
        keys, reset_keys = _split(keys, 2)
        _, state = jax.vmap(env.reset)(reset_keys)

        def body(_: Any, carry: Any) -> Any:
            keys, state, checksum = carry
            keys, action_keys, step_keys = _split(keys, 3)
            actions = jax.vmap(five)(_actions(action_keys, (len(env.agents), 2)))
            seen, state, reward, _, _ = jax.vmap(env.step)(step_keys, state, actions)
            for agent in env.agents:
                checksum = checksum + jnp.sum(seen[agent], axis=1) + reward[agent]
            return keys, state, checksum

        carry = (keys, state, jnp.zeros(keys.shape[0]))
        return jax.lax.fori_loop(0, steps, body, carry)[2]

    return loop


def _split(keys: Any, parts: int) -> Any:
    """One key for each environment, split into `parts` such arrays."""
    split = jax.vmap(lambda key: jax.random.split(key, parts))(keys)
    return tuple(split[:, part] for part in range(parts))


def _actions(keys: Any, shape: tuple[int, int]) -> Any:
    return jax.vmap(lambda key: jax.random.uniform(key, shape, minval=-1.0, maxval=1.0))(keys)


def main() -> None:
    """Print the table; arguments are tasks."""
    heads = ("task", "envs", "ours", "ours+jumanji", "JaxMARL", "ratio", "(jumanji)")
    print("{:<22} {:>6} {:>12} {:>13} {:>12} {:>7} {:>9}".format(*heads))
    for task in sys.argv[1:] or TASKS:
        for row in measure(tasks=[task]):
            theirs = "none" if row.jaxmarl is None else f"{row.jaxmarl:,.0f}"
            ratios = [f"{r:.1f}" if r else "-" for r in (row.ratio, row.ratio_jumanji)]
            print(
                f"{row.task:<22} {row.num_envs:>6} {row.ours:>12,.0f} {row.ours_jumanji:>13,.0f} "
                f"{theirs:>12} {ratios[0]:>7} {ratios[1]:>9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
