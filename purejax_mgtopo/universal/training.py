"""`mgtopo meta-train`: a rule over lifetimes, among teams that were frozen or that learn as well, kept in one file.

A folder holds `recipe.json` (what was asked, with versions and commit), `policies/` (the runs that made frozen teams),
`curve.jsonl` (a line for each update and task), `state.npz` (whence it goes on, bit for bit) and, in the end, the rule.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule, rule_bytes
from purejax_mgtopo.algorithm.types import PyTree
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.records.files import write_atomically
from purejax_mgtopo.records.locks import lock
from purejax_mgtopo.records.provenance import provenance
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.training.run import alone
from purejax_mgtopo.training.stop import heard
from purejax_mgtopo.training.sweep import sweep
from purejax_mgtopo.universal.evolution import Evolution
from purejax_mgtopo.universal.learners import LearningGroup
from purejax_mgtopo.universal.learning import Learning, LearningState
from purejax_mgtopo.universal.lifetimes import Group
from purejax_mgtopo.universal.lives import Lives
from purejax_mgtopo.universal.recipe import TABLE, MetaRecipe

RECIPE, POLICIES, CURVE, STATE, RULE = (
    "recipe.json",
    "policies",
    "curve.jsonl",
    "state.npz",
    "universal.npz",
)
LAST = 100
"""Updates whose mean is told as the figures of a rule."""


@alone()
def meta_train(recipe: MetaRecipe, out: Path, say: Callable[[str], None]) -> Path | None:
    """Train, or go on; the rule's file, or None where a request to stop came first.

    Raises ConfigError and RunError, each in one line.
    """
    out = expanded(out)
    out.mkdir(parents=True, exist_ok=True)
    with lock(out / ".lock") as free, heard() as stop:
        if not free:
            raise RunError(f"{out} is in use by another mgtopo; wait for it")
        begun = _begin(recipe, out)
        if (out / RULE).exists():
            say(f"{out / RULE} is there already, and kept")
            return out / RULE
        start = _start(recipe.settings.start)
        groups = _groups(recipe, out / POLICIES)
        if groups is None:
            return None
        evolves = recipe.settings.estimator == "evolution"
        lessons = [Evolution(group) for group in groups] if evolves else groups
        learning = Learning(recipe.settings, lessons, recipe.configs[0].means, start)
        names = recipe.teams.tasks
        state = _resumed(out, learning)
        steps, began, first = recipe.settings.steps, time.monotonic(), int(state.step)
        lines: list[str] = []
        while int(state.step) < steps and not stop.requested:
            state, measures = learning.advance(state)
            told = [{k: float(v) for k, v in each.items()} for each in measures]
            step = int(state.step)
            for name, each in zip(names, told, strict=True):
                lines.append(json.dumps({"step": step, "task": name, **each}) + "\n")
            if not step % recipe.settings.checkpoint_every or step == steps or stop.requested:
                _save(out, state, lines)
                pace = (time.monotonic() - began) / (step - first)
                shown = ", ".join(
                    f"{name} {each['return']:.2f}" for name, each in zip(names, told, strict=True)
                )
                say(
                    f"step {step:,} of {steps:,}, {pace:.2f} s each, {pace * (steps - step) / 60:.0f} min to go; "
                    f"priced return: {shown}"
                )
        if int(state.step) < steps:
            return None
        story = recipe.told() | {"provenance": _shared(begun), "figures": _figures(out, names)}
        write_atomically(out / RULE, rule_bytes(state.eta, {"recipe": story.pop(TABLE), **story}))
        return out / RULE


def _begin(recipe: MetaRecipe, out: Path) -> dict[str, Any]:
    """Note what was asked, or refuse a folder in which something else was; by what it was begun."""
    path, asked = out / RECIPE, recipe.told()
    if not path.exists():
        document = asked | {"provenance": provenance()}
        write_atomically(path, json.dumps(document, indent=1).encode())
        return document["provenance"]
    try:
        before = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        raise RunError(f"{path} is damaged; choose another folder") from None
    asked = json.loads(json.dumps(asked))
    if {name: before.get(name) for name in asked} != asked:
        raise RunError(f"{out} was begun with another recipe; choose another folder")
    return before.get("provenance") or {}


def _start(file: str) -> PyTree | None:
    """The rule to go on from, read before anything that takes long."""
    if not file:
        return None
    return jax.tree.map(jax.numpy.asarray, read_rule(SHIPPED if file == "shipped" else file)[1])


def _shared(begun: Mapping[str, Any]) -> dict[str, Any]:
    """What a file that is given away tells of its making: nothing of anybody's folders."""
    return {name: begun.get(name) for name in ("versions", "git", "started")}


def _groups(recipe: MetaRecipe, folder: Path) -> Sequence[Lives] | None:
    """The lifetimes of each task; None where a request to stop came while their teams were trained."""
    if recipe.settings.phase == "learning":
        return [LearningGroup(config.experiment, recipe.settings) for config in recipe.configs]
    teams = sweep(recipe.teams, folder)
    if teams.stopped_by is not None:
        return None
    if teams.lost or teams.unsaved:
        raise RunError(f"teams of {', '.join((*teams.lost, *teams.unsaved))} cannot be had")
    groups = []
    for run in recipe.teams.runs():
        trained = load_trained(folder / run.folder)
        networks = jax.tree.map(jax.numpy.asarray, trained.networks)
        acting = trained.algorithm.parts.acting(networks.parts).interpreter
        groups.append(
            Group(run.config.experiment, recipe.settings, networks.learner.policy, acting)
        )
    return groups


def _save(out: Path, state: LearningState, lines: list[str]) -> None:
    """The curve first: what it holds beyond the state is dropped when this goes on."""
    with open(out / CURVE, "a", encoding="utf-8") as file:
        file.writelines(lines)
    lines.clear()
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in _named(state).items()}
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(out / STATE, content.getvalue())


def _resumed(out: Path, learning: Learning) -> LearningState:
    """The saved state, or the first; lines of the curve that are later than it are taken back."""
    state = learning.init()
    if (out / STATE).exists():
        try:
            with np.load(out / STATE, allow_pickle=False) as file:
                state = _unnamed({name: file[name] for name in file.files}, state)
        except Exception as error:  # the damage decides which
            why = " ".join(str(error).split())
            raise RunError(
                f"{out / STATE} is damaged ({why}); remove it to begin anew, with the same teams"
            ) from None
    kept = [line for line in _curve(out) if line["step"] <= int(state.step)]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    write_atomically(out / CURVE, text.encode())
    return state


def _named(state: Any) -> dict[str, Any]:
    """Arrays by their paths, keys as their words."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        named[name] = jax.random.key_data(leaf) if key else leaf
    return named


def _unnamed(arrays: Mapping[str, np.ndarray], like: LearningState) -> LearningState:
    """The inverse of `_named`."""
    wanted = {name: (x.shape, x.dtype) for name, x in _named(like).items()}
    if {name: (x.shape, x.dtype) for name, x in arrays.items()} != wanted:
        raise ValueError("it holds other arrays than this version makes")

    def leaf(name: str, old: Any) -> Any:
        key = jax.dtypes.issubdtype(old.dtype, jax.dtypes.prng_key)
        array = jax.numpy.asarray(arrays[name])
        return jax.random.wrap_key_data(array) if key else array

    leaves, structure = jax.tree.flatten(like)
    return jax.tree.unflatten(structure, [leaf(n, x) for n, x in zip(wanted, leaves, strict=True)])


def _curve(out: Path) -> list[dict[str, Any]]:
    """The lines of the curve; one that a kill has cut is none."""
    lines = []
    if (out / CURVE).exists():
        for text in (out / CURVE).read_text(encoding="utf-8-sig").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def _figures(out: Path, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Means of each task over the last updates."""
    curve = _curve(out)
    last = max(line["step"] for line in curve) - LAST
    found = {}
    for name in names:
        lines = [line for line in curve if line["task"] == name and line["step"] > last]
        measures = [key for key in lines[0] if key not in ("step", "task")]
        found[name] = {key: float(np.mean([line[key] for line in lines])) for key in measures}
    return found
