"""What there is to choose from: tasks and methods."""

from __future__ import annotations

from rich import box
from rich.table import Table

from purejax_mgtopo.cli.tables import console, say
from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES


def tasks_command() -> int:
    import jax_mpe

    table = Table("task", "agents", "observation", "", box=box.SIMPLE_HEAD)
    for name in jax_mpe.registered_tasks():
        task = jax_mpe.make(name)
        about = (type(task).__doc__ or "").strip().splitlines()
        row = (str(task.num_agents), str(task.observation_size), about[0] if about else "")
        table.add_row(name, *row)
    console().print(table)
    say(
        "Other sizes follow the grammar <scenario>_N<agents>[_l<landmarks seen>], "
        "e.g. navigation_N4_l2."
    )
    return 0


def methods_command() -> int:
    shown = console()
    for title, axis in (
        ("--topology: who receives from whom", TOPOLOGIES),
        ("--messages: what is sent, and how it is read", MESSAGES),
        ("--critic: what judges the actions of all agents", CRITICS),
    ):
        table = Table("", "", title=title, title_justify="left", box=None, show_header=False)
        for entry in axis.values():
            table.add_row(f"  {entry.name}", entry.about)
        shown.print(table, "")
    grid = Table("presets (--method)", *MESSAGES, box=box.SIMPLE_HEAD)
    for topology in TOPOLOGIES:
        cells = [
            ", ".join(
                name
                for name, method in METHODS.items()
                if (method.topology, method.messages) == (topology, messages)
            )
            or f"{topology}+{messages}"
            for messages in MESSAGES
        ]
        grid.add_row(topology, *cells)
    shown.print(grid)
    presets = Table("", "", box=None, show_header=False)
    for name, method in METHODS.items():
        about = method.about if name == method.name else f"the same as {method.name}"
        presets.add_row(f"  {name}", about)
    shown.print(presets, "")
    say(
        "Any rule goes with any interpreter: --method TOPOLOGY+MESSAGES, "
        "or --topology and --messages."
    )
    return 0
