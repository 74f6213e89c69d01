"""One task may have several names; recipes, scales, figures and reports know it by one key."""

from __future__ import annotations

from pathlib import Path

import jax_mpe
import pytest
from synthetic_runs import write_run

from purejax_mgtopo.analysis.curves import draw_curves
from purejax_mgtopo.analysis.normalised import ends
from purejax_mgtopo.cli.status import _methods
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.records.run_names import task_key, told_tasks
from purejax_mgtopo.report.report import build_report
from purejax_mgtopo.training.run_state import read_state

NAMES = ("predator_prey_N3_l3", "predator_prey_N3_l2", "predator_prey_N3_l3@shipped")


def test_hunts_of_one_key_are_one_task_and_others_are_not() -> None:
    """What is seen, and who moves the prey, is all that a name says besides N."""
    keys: dict[object, set[str]] = {}
    for agents in range(2, 10):
        for visible in range(1, agents + 3):
            for prey in ("", "@shipped", "@scripted", "@random"):
                name = f"predator_prey_N{agents}_l{visible}{prey}"
                try:
                    task = jax_mpe.make(name)
                except ValueError:  # a name that says more than there is
                    continue
                assert isinstance(task, jax_mpe.PredatorPrey)
                seen = min(visible, task.num_landmarks), min(visible, task.num_prey)
                same = agents, task.observation_size, seen, type(task.prey_policy)
                keys.setdefault(same, set()).add(task_key(name))
    assert all(len(own) == 1 for own in keys.values()), keys
    assert len(set.union(*keys.values())) == len(keys) > 40


def test_other_tasks_have_their_names_for_keys(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in jax_mpe.registered_tasks():
        assert task_key(name) == name
    assert task_key("navigation_N6_l3") != task_key("navigation_N6_l6")
    file = f"predator_prey_N6_l1@{tmp_path}/a.npz"
    assert told_tasks([file, "predator_prey_N6_l1@./a.npz", "push_N3", "predator_prey_N6_l1"]) == [
        file, file, "push_N3", "predator_prey_N6_l1",
    ]  # fmt: skip


def test_a_scale_holds_for_every_name_of_its_task() -> None:
    first = ends(NAMES[0])
    assert first is not None
    assert [ends(name) for name in NAMES] == [first] * 3
    assert ends("predator_prey_N3_l3@scripted") is None
    assert ends("predator_prey_N3_l1") is None


def test_a_report_shows_runs_of_one_task_together(tmp_path: Path) -> None:
    for place, name, method in zip("abc", NAMES, ("meta", "full", "meta"), strict=True):
        write_run(tmp_path / place, name, method, evaluations=2)
    report = build_report([tmp_path], episodes=False)
    (comparison,) = report.comparisons
    assert comparison.task == NAMES[0] and report.across is None
    assert {run.task for run in report.runs} == {NAMES[0]}
    names = sorted(run.method for run in report.runs)
    assert names == ["full", *(f"meta, task={name}" for name in NAMES[::2])]
    states = [read_state(tmp_path / place) for place in "abc"]
    assert _methods(states) == [f"meta, task={NAMES[0]}", "full", f"meta, task={NAMES[2]}"]


def test_a_figure_draws_runs_of_one_task_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(
        "purejax_mgtopo.analysis.figures.learning_curves",
        lambda curves, *_, **__: drawn.extend(curves),
    )
    for name, method in zip(NAMES, ("meta", "full", "none"), strict=True):
        write_run(tmp_path / method, name, method, evaluations=2)
    draw_curves([(m, load_run(tmp_path / m)) for m in ("meta", "full", "none")], tmp_path / "x.png")
    assert [(curve.task, curve.method) for curve in drawn] == [
        (NAMES[0], method) for method in ("meta", "full", "none")
    ]
