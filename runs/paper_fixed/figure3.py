"""The paper's Figure 3: etas learned on two tasks, early and late; then these, fixed, beside one that goes on learning.

    python runs/paper_fixed/figure3.py          # the paper's lengths: for a GPU; a part that a CPU can do:
    python runs/paper_fixed/figure3.py --early 5000 --late 20000 --seeds 8 --episodes 20000

The same of two other tasks of equal N, with three agents say, which takes a quarter of the time:

    python runs/paper_fixed/figure3.py --tasks navigation_N3_l3 predator_prey_N3_l3

Called again, it goes on where it stopped. All lands in `results/EARLY_LATE` beside this file, with other tasks'
names after it where these are not the paper's.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from purejax_mgtopo.cli.main import main as mgtopo
from purejax_mgtopo.records.record import Status, status
from purejax_mgtopo.training.recipe import load_recipe

HOME = Path(__file__).resolve().parent
TASKS = load_recipe(HOME).tasks


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--early", type=int, default=10_000, help="episodes of the early etas")
    parser.add_argument("--late", type=int, default=50_000, help="episodes of the late etas")
    parser.add_argument("--episodes", type=int, default=50_000, help="episodes of the comparison")
    parser.add_argument("--seeds", type=int, default=64, help="seeds of the comparison")
    parser.add_argument(
        "--both",
        default="",
        help="flags of `mgtopo sweep` for learning and comparison alike, as one word: "
        '--both="--learner-preset improved --wandb off"',
    )
    parser.add_argument(
        "--tasks",
        nargs=2,
        metavar=("NAVIGATION", "PREDATORS"),
        default=TASKS,
        help="two tasks of as many agents, in the place of the paper's in all that its claims say",
    )
    given = parser.parse_args(words)
    both, tasks = shlex.split(given.both), tuple(given.tasks)
    others = tasks if tasks != TASKS else ()
    results = HOME / "results" / "_".join([str(given.early), str(given.late), *others])
    learned = results / "learned"
    learning = _written(HOME / "learned.toml", tasks, results / "learned.toml")
    code = mgtopo(
        ["sweep", str(learning), "--out", str(learned)]
        + ["--set", f"episodes=[{given.early},{given.late}]", *both]
    )
    if code:
        return code
    for task in tasks:
        for when in ("early", "late"):
            run = learned / task / f"meta,episodes={getattr(given, when)}"
            if status(run) is not Status.FINISHED:  # stopped by a scheduler, whom no code tells
                print(f"{run} is not finished yet; call this again", file=sys.stderr)
                return 1
            file = str(results / "eta" / f"{task}_{when}.npz")
            code = mgtopo(["export", str(run), "--seed", "0", "--part", "eta", "--out", file])
            if code:
                return code
    recipe = _written(HOME / "recipe.toml", tasks, results / "recipe.toml")
    text = recipe.read_text(encoding="utf-8")
    for task in tasks:
        text = text.replace(f'"{task}_', f'"{(results / "eta" / task).as_posix()}_')
    recipe.write_text(text, encoding="utf-8")
    fixed = str(results / "fixed")
    lengths = ["--seeds", str(given.seeds), "--episodes", str(given.episodes)]
    return mgtopo(["sweep", str(recipe), "--out", fixed, *lengths, *both]) or mgtopo(
        ["verdicts", fixed]
    )


def _written(recipe: Path, tasks: Sequence[str], target: Path) -> Path:
    """A copy of a recipe with other tasks in the place of the paper's."""
    text = recipe.read_text(encoding="utf-8")
    for old, new in zip(TASKS, tasks, strict=True):
        text = text.replace(old, new)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
