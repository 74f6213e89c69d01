"""The saved W&B view of a project: curves by method with their intervals, edges, meta-learning health, the machine.

Building it needs `wandb-workspaces`; saving it needs W&B's server.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.mirror.access import (
    has_credentials,
    import_wandb,
    project_of_environment,
    settings_of_wandb,
)
from purejax_mgtopo.mirror.places import project_name
from purejax_mgtopo.mirror.rows import AXIS, HEAT_MAP, PROGRESS_AXIS, SEED_TABLE, shown_name
from purejax_mgtopo.plugins.meanings import all_meanings

NAME = "Topologies"
EXTRA = "pip install 'purejax_mgtopo[dashboard]'"
RETURNS = {
    "return_sampled": "Return, sampled gates",
    "return_greedy": "Return, greedy gates",
    "train_return": "Return in training",
}
META = {
    "advantage_norm": "Size of the advantage",
    "gate_entropy": "Entropy of the gates",
    "reinforce_cosine": "Cosine with REINFORCE's step",
    "meta_gradient_norm": "Meta-gradient",
    "meta_objective": "Meta-objective",
    "eta_update_norm": "Step of eta",
    "gate_gradient_norm": "Gradient of the gates",
    "gate_update_norm": "Step of the gates",
    "baseline_loss": "Loss of the baseline",
}
LEARNER = {"critic_loss": "Loss of the critic", "policy_loss": "Loss of the policies"}


def other_measures() -> list[str]:
    """What rules and interpreters measure of their own, but for what has a panel with a title."""
    return [name for name in all_meanings() if name not in META | LEARNER]


def workspace(entity: str, project: str, sweep: str = "", key: str = "") -> Any:
    """The view, built but not saved: a `wandb_workspaces.workspaces.Workspace`.

    Args:
        sweep: show the runs of this group alone, which is a sweep's recipe by its name; else all of the project.
        key: show the runs of the very sweep that has this `places.sweep_id` alone: a recipe may be run under several
            settings.

    Raises RunError without the extra that builds it.
    """
    import_wandb()
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise RunError(f"the dashboard needs one more package: {EXTRA} ({error})") from None

    def keys(names: Iterable[str]) -> list[str]:
        return [key for name in names if (key := shown_name(name)) is not None]

    def curve(title: str, *metrics: str, x: str = AXIS) -> Any:
        return wr.LinePlot(title=title, x=shown_name(x), y=keys(metrics))

    def banded(name: str, title: str) -> Any:
        """One line with its band: the mean of a method's three curves, between the lowest and the highest of them."""
        return wr.LinePlot(
            title=f"{title}: IQM and 95 % interval",
            x=AXIS,
            y=keys(f"{name}/{k}" for k in ("iqm", "low", "high")),
            groupby="method",
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            aggregate=True,
        )

    def section(name: str, *panels: Any, is_open: bool = True) -> Any:
        return ws.Section(name=name, panels=list(panels), is_open=is_open)

    return ws.Workspace(
        name=f"{NAME}: {sweep}" if sweep else NAME,
        entity=entity,
        project=project,
        sections=[
            section("Returns by method", *(banded(k, title) for k, title in RETURNS.items())),
            section(
                "Seeds",
                curve("Non-finite seeds", "seeds/non_finite"),
                wr.WeavePanelSummaryTable(table_name=shown_name(SEED_TABLE)),
            ),
            section(
                "Edges",
                banded("edge_rate", "Edges open"),
                curve("Bits a step", "metrics/bits_per_step"),
                curve("Messages a step", "metrics/messages_per_step"),
                wr.LinePlot(title="Edges, pair by pair", x=AXIS, metric_regex="6_pairs/.*_from_.*"),
                wr.MediaBrowser(title="Who receives from whom", media_keys=[shown_name(HEAT_MAP)]),
            ),
            section("Meta-learning", *(curve(t, f"metrics/{k}") for k, t in META.items())),
            section("Learner", *(curve(t, f"metrics/{k}") for k, t in LEARNER.items())),
            section(
                "What the parts measured",
                *(curve(name, f"metrics/{name}") for name in other_measures()),
                # Names that nobody knows here, such as a plug-in's.
                wr.LinePlot(title="All of learning", x=AXIS, metric_regex=shown_name("metrics/.*")),
                is_open=False,
            ),
            section(
                "Progress and machine",
                curve("Training return", "progress/train_return", x=PROGRESS_AXIS),
                curve("Episodes per second", "progress/episodes_per_second", x=PROGRESS_AXIS),
                wr.LinePlot(title="GPU", x="WallTime", metric_regex="system/gpu.*(gpu|memory)$"),
                wr.LinePlot(
                    title="CPU and memory", x="WallTime", metric_regex="system/(cpu|memory).*"
                ),
            ),
        ],
        settings=ws.WorkspaceSettings(x_axis=AXIS, max_runs=50),
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Config("task"), ws.Config("method")],
            filters=[ws.Config("sweep_id") == key]
            if key
            else [ws.Metric("Group") == sweep]
            if sweep
            else [],
        ),
    )


def save_dashboard(entity: str | None, project: str, sweep: str = "", key: str = "") -> str:
    """Save the view and answer with its address. Raises RunError, in one line, where that fails."""
    if not has_credentials(str(settings_of_wandb().base_url)):
        raise RunError("no W&B credentials; get some by `wandb login`")
    try:
        who = entity or os.environ.get("WANDB_ENTITY") or import_wandb().Api().default_entity
        view = workspace(who, project_name(project) or project_of_environment(), sweep, key)
        view.save()
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"W&B: {type(error).__name__}: {' '.join(str(error).split())}") from error
    return str(view.url)
