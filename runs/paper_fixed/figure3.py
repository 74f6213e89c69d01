"""The paper's Figure 3: etas learned on two tasks, early and late; then these, fixed, beside one that goes on learning.

    python runs/paper_fixed/figure3.py          # the paper's lengths: for a GPU; a part that a CPU can do:
    python runs/paper_fixed/figure3.py --early 5000 --late 20000 --seeds 8 --episodes 20000

Called again, it goes on where it stopped. All lands in `results/EARLY_LATE` beside this file.
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
    given = parser.parse_args(words)
    both = shlex.split(given.both)
    results = HOME / "results" / f"{given.early}_{given.late}"
    learned = results / "learned"
    code = mgtopo(
        ["sweep", str(HOME / "learned.toml"), "--out", str(learned)]
        + ["--set", f"episodes=[{given.early},{given.late}]", *both]
    )
    if code:
        return code
    for task in TASKS:
        for when in ("early", "late"):
            run = learned / task / f"meta,episodes={getattr(given, when)}"
            if status(run) is not Status.FINISHED:  # stopped by a scheduler, whom no code tells
                print(f"{run} is not finished yet; call this again", file=sys.stderr)
                return 1
            file = str(results / "eta" / f"{task}_{when}.npz")
            code = mgtopo(["export", str(run), "--seed", "0", "--part", "eta", "--out", file])
            if code:
                return code
    recipe = results / "recipe.toml"
    text = (HOME / "recipe.toml").read_text(encoding="utf-8")
    for task in TASKS:
        text = text.replace(f'"{task}_', f'"{(results / "eta" / task).as_posix()}_')
    recipe.write_text(text, encoding="utf-8")
    fixed = str(results / "fixed")
    lengths = ["--seeds", str(given.seeds), "--episodes", str(given.episodes)]
    return mgtopo(["sweep", str(recipe), "--out", fixed, *lengths, *both]) or mgtopo(
        ["verdicts", fixed]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
