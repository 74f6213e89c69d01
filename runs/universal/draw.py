"""Draws curves.png beside it, of a meta-training and of trials: ``python runs/universal/draw.py``, in seconds."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
LABELS = {"plain": "REINFORCE (f = 0)", "closing": "closing (one term)"}


def draw(path: Path) -> None:
    """Write the picture at `path`."""
    objectives = json.loads((HERE / "meta_training.json").read_text())
    trials = [HERE / name for name in ("trial_N6.json", "trial_N8.json")]
    tried = [task for file in trials for task in json.loads(file.read_text())]
    figure = Figure(figsize=(4 * (1 + len(tried)), 3), layout="tight")
    axes = figure.subplots(1, 1 + len(tried))
    window = np.ones(50) / 50
    for task, values in objectives.items():
        axes[0].plot(np.convolve(values, window, "valid"), label=task)
    axes[0].set(title="meta-training", xlabel="update of the rule", ylabel="objective, mean of 50")
    axes[0].legend(fontsize=6)
    for place, told in zip(axes[1:], tried, strict=True):
        for name, values in told.items():
            if isinstance(values, dict):
                updates = 5 * np.arange(1, 1 + len(values["curve"]))
                place.plot(updates, values["curve"], label=LABELS.get(name, name))
        place.set(title=told["task"], xlabel="gate update", ylabel="priced return")
        place.legend(fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(HERE / "curves.png")
