"""`python -m jax_mpe.experts [TASK ...]`: what random actions and the expert return, measured now.

Without a task, all registered ones are measured, and stored for `jax_mpe.experts.scale`.
"""

from __future__ import annotations

import argparse
import sys

import jax_mpe

from ..paths import show_any_name
from .scales import EPISODES, FILE, measure, store

USAGE = 2


def main(argv: list[str] | None = None) -> int:
    """Print a line for each task; answers with an exit code."""
    show_any_name()
    parser = argparse.ArgumentParser(prog="python -m jax_mpe.experts", description=__doc__)
    parser.add_argument("tasks", metavar="TASK", nargs="*", help="default: all, and store them")
    parser.add_argument("--episodes", type=int, default=EPISODES, help=f"default: {EPISODES}")
    given = parser.parse_args(argv)
    scales = {}
    try:
        if given.episodes < 2:
            raise ValueError(f"--episodes must be at least 2, not {given.episodes}")
        tasks = [jax_mpe.make(name) for name in given.tasks or jax_mpe.registered_tasks()]
        for task in tasks:
            one = scales[task.name] = measure(task, given.episodes)
            ends = f"random {one.random:.3f} ({one.random_error:.3f})"
            ends += f"  expert {one.expert:.3f} ({one.expert_error:.3f})"
            print(f"{task.name:24}{ends}", flush=True)
    except ValueError as error:
        print(f"jax_mpe: error: {error}", file=sys.stderr)
        return USAGE
    if not given.tasks:
        store(scales)
        print(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
