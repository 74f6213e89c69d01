"""One update rule for every task: `meta-train` learns it over many lifetimes, `score` says what rules are worth."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from purejax_mgtopo.cli.flags import Command, Debug, NoCache, RunFolders
from purejax_mgtopo.cli.running import TrainingCommand, get_ready, stopped
from purejax_mgtopo.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from purejax_mgtopo.analysis.scoring.rule_score import RuleScores


@dataclass(frozen=True)
class MetaTrainCommand(TrainingCommand):
    """Learn one topology rule over many tasks, sizes and prices. Called again, it goes on where it stopped."""

    recipe: Annotated[Positional[Path], arg(metavar="RECIPE")]
    """A TOML file, or a folder that holds such a meta_train.toml: tasks and settings as in a recipe of `mgtopo sweep`,
    for the runs with random topologies that make the teams, and a table [meta_train]. With `phase = "learning"` there,
    no teams are made: every lifetime is a training run of its own. With `estimator = "evolution"` the rule learns from
    how whole lifetimes went, not from every few updates of them."""
    out: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(required)")] = None
    """Folder for teams, records and rule. The rule is DIR/universal.npz: `--method universal --member.universal.file
    DIR/universal.npz`. Beside it are metrics.parquet (a row for each update and task; `mgtopo glossary` says what its
    columns mean), curve.jsonl, events.jsonl and state.npz, which `mgtopo status` and `mgtopo verify` read."""
    wandb: Annotated[
        Literal["auto", "online", "offline", "off"] | None,
        arg(metavar="{auto,online,offline,off}", help_behavior_hint="(default: the recipe's)"),
    ] = None
    """Whether to mirror meta-training to W&B, as one run, and the runs that make the teams, as `mgtopo train --wandb`
    does."""
    no_cache: NoCache = False
    debug: Debug = False

    def train(self) -> int:
        import signal

        from purejax_mgtopo.cli.tables import note, say
        from purejax_mgtopo.training.progress import make_reporter
        from purejax_mgtopo.training.recipe import Setting
        from purejax_mgtopo.training.stop import heard
        from purejax_mgtopo.universal.recipe import load_meta_recipe

        if self.out is None:
            raise ConfigError("say where the results go, for example --out results/universal")
        changes = [] if self.wandb is None else [Setting("wandb", self.wandb)]
        recipe = load_meta_recipe(self.recipe, changes)
        get_ready(recipe.configs, cache=not self.no_cache)
        from purejax_mgtopo.universal.training import meta_train  # which starts JAX

        with closing(make_reporter()) as reporter:
            rule = meta_train(recipe, self.out, reporter)
        if rule is not None:
            say(f"rule  {rule}")
            return 0
        note("mgtopo: stopped, and saved; go on by calling the same again")
        with heard() as stop:
            return stopped(stop.signal or signal.SIGTERM)


@dataclass(frozen=True)
class ScoreCommand(Command):
    """Tell which share of what talk is worth each method has: 0 is `none`, 1 the best of `full`, `reinforce`, `stgs`.

    Tasks on which none of these clearly stands above `none` have no score. Whatever is finished is shown, and what is
    missing is named."""

    runs: RunFolders
    figure: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """File for a picture of the same: a panel for each task, a row for each method (PNG; PDF or SVG by its ending)."""
    debug: Debug = False

    def do(self) -> int:
        if not self.runs:
            raise ConfigError("say which runs to score, for example `mgtopo score results`")
        from purejax_mgtopo.analysis.scoring.rule_score import read_scores
        from purejax_mgtopo.cli.tables import console, note, say, tell

        told = read_scores(self.runs, note)
        shown = console()
        for table in score_tables(told):
            shown.print(table)
        for line in score_lines(told):
            tell(line)
        if self.figure is not None:
            from purejax_mgtopo.analysis.scoring.score_figure import score_figure

            say(f"figure  {score_figure(told, self.figure)}")
        return 0


def score_tables(told: RuleScores) -> list[Table]:
    """Scores over all tasks, highest first and methods that lack a task last, where any task has one; and returns and
    scores task by task."""
    from purejax_mgtopo.analysis.statistics import stratified_bootstrap
    from purejax_mgtopo.cli.tables import interval_or_dash, table_of

    known = [(name, score) for name in told.ranked if (score := told.over_tasks(name))]
    scored = sum(not task.why for task in told.tasks)
    sizes = {name: [len(scores) for scores in told.scores(name)] for name, _ in known}
    together = {
        "method": [name for name, _ in known],
        "score [95 %]": [interval_or_dash(score) for _, score in known],
        "tasks": [f"{len(sizes[name])} of {scored}" for name, _ in known],
        "seeds": [f"{sum(sizes[name])}" for name, _ in known],
    }
    rows = [(task, name, values) for task in told.tasks for name, values in task.returns.items()]
    scores = [task.scores(name) for task, name, _ in rows]
    apart = {
        "task": [
            "" if n and rows[n - 1][0] is task else task.task for n, (task, _, _) in enumerate(rows)
        ],
        "method": [name for _, name, _ in rows],
        "final return [95 %]": [
            interval_or_dash(stratified_bootstrap([values])) for _, _, values in rows
        ],
        "score [95 %]": [
            "-" if each is None else interval_or_dash(stratified_bootstrap([each]))
            for each in scores
        ],
        "seeds": [f"{len(values)}" for _, _, values in rows],
    }
    tables = []
    for title, columns in (("all tasks that have a score", together), ("task by task", apart)):
        if columns["method"]:
            table = table_of(columns, words=("task", "method"))
            table.title, table.title_justify = title, "left"
            tables.append(table)
    return tables


def score_lines(told: RuleScores) -> list[str]:
    """What the tables do not say: what talk is worth, which tasks have no score, and what is missing."""
    from purejax_mgtopo.analysis.scoring.rule_score import GAP_LEVEL

    lines, level = [], f"{100 * GAP_LEVEL:.1f} %"
    for task in told.tasks:
        if task.why:
            lines.append(f"no score: {task.task}: {task.why}")
        elif task.worth is not None:
            gap = task.worth.gap
            lines.append(
                f"talk is worth {gap.point:.2f} [{level}: {gap.low:.2f}, {gap.high:.2f}] on {task.task} "
                f"({task.worth.best})"
            )
    lines += [f"missing: {line}" for line in told.missing]
    return lines + list(told.caveats)
