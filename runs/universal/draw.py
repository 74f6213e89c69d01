"""Draws curves.png: ``python draw.py CURVE.jsonl TRIAL.json...``, of a meta-training and of trials."""

import json
import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

curve, *trials = map(Path, sys.argv[1:])
lines = [json.loads(line) for line in curve.open()]
tried = [task for file in trials for task in json.loads(file.read_text())]
figure, axes = plt.subplots(1, 1 + len(tried), figsize=(4 * (1 + len(tried)), 3), layout="tight")
window = np.ones(50) / 50
for task in dict.fromkeys(line["task"] for line in lines):
    values = [line["meta_objective"] for line in lines if line["task"] == task]
    axes[0].plot(np.convolve(values, window, "valid"), label=task)
axes[0].set(title="meta-training", xlabel="update of the rule", ylabel="objective, mean of 50")
axes[0].legend(fontsize=6)
for place, told in zip(axes[1:], tried, strict=True):
    for name, values in told.items():
        if isinstance(values, dict):
            updates = 5 * np.arange(1, 1 + len(values["curve"]))
            place.plot(updates, values["curve"], label=name)
    place.set(title=told["task"], xlabel="gate update", ylabel="priced return")
    place.legend(fontsize=6)
figure.savefig(Path(__file__).with_name("curves.png"), dpi=110)
