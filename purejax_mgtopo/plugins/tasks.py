"""Tasks by their names, those from elsewhere among them."""

from __future__ import annotations

from typing import Any

import jax_mpe

from purejax_mgtopo import methods
from purejax_mgtopo.plugins.registry import find_entry_points


def make(name: str) -> jax_mpe.Scenario[Any]:
    """The task of that name. Raises ValueError, in one line, for one that does not exist."""
    find_entry_points()
    if name in methods.TASKS:
        jax_mpe.register_task(name, methods.load(methods.TASKS, name))
    return jax_mpe.make(name)


def names() -> tuple[str, ...]:
    """All tasks that have a name of their own."""
    find_entry_points()
    return tuple(dict.fromkeys([*jax_mpe.registered_tasks(), *methods.TASKS]))
