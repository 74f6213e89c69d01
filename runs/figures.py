"""Rebuilds every picture of results in this folder from the records that lie here, in under a minute.

    python runs/figures.py                            # all, into results/figures; what is committed stays as it is
    python runs/figures.py reference_right results    # some: by the beginnings of their names
    python runs/figures.py --in-place                 # where they belong, over what is committed

Each line says from which data a picture was drawn, and whether it is the one that is committed. Pictures whose records
were not kept are listed as well, with how they were made.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.image import imread
from overview import DATA, draw_overview

from purejax_mgtopo.analysis.curves import draw_curves
from purejax_mgtopo.analysis.drawing import save_figure
from purejax_mgtopo.bench.scaling import draw as draw_scaling
from purejax_mgtopo.records.record import find_runs
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.records.run_names import word_for
from purejax_mgtopo.training.recipe import load_recipe

RUNS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Drawn:
    """A picture that is rebuilt from what lies here."""

    name: str
    """Where it belongs, below this folder."""
    data: tuple[str, ...]
    """Files and folders below this folder that it is drawn from."""
    draw: Callable[[Path], object]
    """Draws it at a path."""


@dataclass(frozen=True)
class Kept:
    """A picture that cannot be rebuilt, because what it was drawn from was not kept."""

    name: str
    made: str
    """How it was made."""


def curves(name: str, *records: str, recipe: str = "", methods: Sequence[str] = ()) -> Drawn:
    """Learning curves as a sweep draws them, with its question above them and methods in its order.

    Args:
        records: the folders that hold the runs, all of one task.
        recipe: the recipe's file; that of the picture's folder where none is named.
        methods: which to show; all of the recipe where none are named. Those without records are passed over.
    """

    def draw(path: Path) -> Path | None:
        told = load_recipe(RUNS / (recipe or Path(name).parent))
        runs = [load_run(folder) for folder in find_runs([RUNS / each for each in records])]
        found = {word_for(run.folder, run.experiment): run for run in runs}
        shown = [(word, found[word]) for word in methods or told.methods if word in found]
        return draw_curves(shown, path, title=told.question or None)

    return Drawn(name, records, draw)


def advantages(task: str) -> Drawn:
    """Figure 5 of Zhang & Chen 2021, its first row Figure 4 (right): four episodes, one receiver, all its senders."""
    numbers = f"paper/advantages/{task}.json"

    def draw(path: Path) -> Path:
        from purejax_mgtopo.report.analyses import read_judged  # which imports JAX

        return save_figure(read_judged(RUNS / numbers).draw(), path)

    return Drawn(f"paper/advantages/{task}.png", (numbers,), draw)


def _scaling(path: Path) -> None:
    found = json.loads((RUNS / "bench/scaling.json").read_text(encoding="utf-8"))
    draw_scaling(found["scaling"], path)


def _by(script: str, function: str = "draw") -> Callable[[Path], None]:
    """What a function of a script in a folder beside this makes."""

    def draw(path: Path) -> None:
        spec = importlib.util.spec_from_file_location(Path(script).stem, RUNS / script)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        getattr(module, function)(path)

    return draw


_PLAYED = (
    "`mgtopo watch` of a seed of `meta` after {} episodes; its checkpoint, which that plays, was not "
    "committed"
)

PICTURES: tuple[Drawn | Kept, ...] = (
    Drawn("results.png", DATA, draw_overview),
    curves("quickstart/curves.png", "quickstart/records"),
    curves("paper/navigation_N3_l3.png", "paper/records/navigation_N3_l3"),
    curves("paper/predator_prey_N3_l3.png", "paper/records/predator_prey_N3_l3"),
    advantages("predator_prey_N6_l1"),
    curves("reference/reference_N2.png", "reference/records/reference_N2"),
    curves("reference_meta/curves.png", "reference_meta/records"),
    curves(
        "reference_right/curves.png",
        "reference_right/records",
        methods=(
            "none", "right", "full", "edge", "reinforce", "steady", "meta", "stgs", "commnet", "random",
        ),
    ),
    curves(
        "reference_right/priced.png",
        "reference_right/records",
        methods=(
            "none", "right", "full", "priced_reinforce", "priced_edge", "priced_steady", "priced_meta",
        ),
    ),
    curves(
        "reference_right/entropy.png",
        "reference_right/entropy",
        "reference_right/records",
        recipe="reference_right/entropy.toml",
        methods=("none", "random", "right", "full", "priced_reinforce", "e003", "e01"),
    ),
    curves(
        "reference_right/held_open.png",
        "reference_right/entropy",
        "reference_right/records",
        recipe="reference_right/entropy.toml",
        methods=("random", "full", "e003", "edge_g003", "quick_g003", "meta_g003", "steady_g003"),
    ),
    curves("learner/curves.png", "learner/records/push_N3", recipe="learner/ablation.toml"),
    curves(
        "toy_follow_holder/curves.png",
        "toy_follow_holder/records",
        methods=(
            "none", "full", "reinforce", "stgs", "meta", "ic3net", "gated_acml", "i2c", "magic", "vbc", "atoc",
            "commformer",
        ),
    ),
    curves("toy_late_goals/curves.png", "toy_late_goals/records"),
    curves("toy_public/curves.png", "toy_public/records"),
    curves("toy_switch_riddle/curves.png", "toy_switch_riddle/records"),
    Drawn(
        "universal/curves.png",
        (
            "universal/meta_training.json", "universal/trial_N6.json", "universal/trial_N8.json",
        ),
        _by("universal/draw.py"),
    ),
    Drawn("universal/rules.png", ("universal/trials",), _by("universal/rules.py")),
    Drawn(
        "universal/learned.png",
        ("universal/meta_curves.json",),
        _by("universal/rules.py", "draw_learning"),
    ),
    Drawn(
        "universal/protocol_small.png",
        ("universal/records/protocol_small",),
        _by("universal/protocol.py"),
    ),
    Drawn(
        "universal/protocol_twelve.png",
        ("universal/records/protocol_twelve",),
        _by("universal/protocol.py", "draw_twelve"),
    ),
    Drawn("bench/scaling.png", ("bench/scaling.json",), _scaling),
    Kept("navigation/curves.png", "`mgtopo sweep runs/navigation`, six minutes; no records were kept"),
    Kept("push/curves.png", "`mgtopo sweep runs/push`, 24 minutes; no records were kept"),
    *(
        Kept(f"gallery/{task}.{kind}", _PLAYED.format(episodes))
        for task, episodes, kinds in (
            ("navigation", "10,000", ("png", "gif")),
            ("predator_prey", "15,000", ("png", "gif")),
            ("push", "20,000", ("png", "gif")),
            ("holder", "4,000", ("gif",)),
        )
        for kind in kinds
    ),
)  # fmt: skip
"""Every picture below this folder."""


def compared(drawn: Path, committed: Path) -> str:
    """In words, how a picture differs from the one that is committed."""
    if not committed.exists():
        return "new"
    ours, theirs = imread(drawn), imread(committed)
    if ours.shape != theirs.shape:
        return "differs from the committed one in size"
    share = float(np.any(ours != theirs, axis=-1).mean())
    return "as committed" if share == 0 else f"differs from the committed one in {share:.1%} of it"


def rebuild(picture: Drawn, folder: Path) -> str:
    """Draw a picture into `folder` and say in a line what came of it."""
    began = time.perf_counter()
    target = folder / picture.name
    partial = target.with_name(f".{target.name}")
    try:
        picture.draw(partial)
        found = compared(partial, RUNS / picture.name)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    seconds = time.perf_counter() - began
    return f"{picture.name}: {found}; {seconds:.1f} s, from {', '.join(picture.data)}"


def main(words: Sequence[str]) -> int:
    """Rebuild what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="beginnings of pictures' names; all if none")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", type=Path, default=Path("results/figures"), metavar="DIR")
    where.add_argument("--in-place", action="store_true", help="over what is committed")
    asked = parser.parse_args(words)
    wanted = [p for p in PICTURES if p.name.startswith(tuple(asked.names) or "")]
    strangers = [n for n in asked.names if not any(p.name.startswith(n) for p in PICTURES)]
    if strangers:
        parser.error(f"no picture begins with {', '.join(strangers)}")
    began = time.perf_counter()
    folder = RUNS if asked.in_place else asked.out
    for picture in wanted:
        if isinstance(picture, Drawn):
            print(rebuild(picture, folder), flush=True)
    for picture in wanted:
        if isinstance(picture, Kept):
            print(f"{picture.name}: cannot be rebuilt; {picture.made}")
    print(f"in {folder}, after {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
