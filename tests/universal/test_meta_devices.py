"""Meta-training over devices, in one program for each task, and through a kill."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from core_cases import assert_same
from lessons import Numbers, run
from resume_cases import ROOT, environment, finished, mgtopo

from purejax_mgtopo.algorithm.topology.edgewise.weights import read_rule
from purejax_mgtopo.config import Means
from purejax_mgtopo.records.events import read_curve
from purejax_mgtopo.universal.evolution import Evolution
from purejax_mgtopo.universal.kept.record import read_state
from purejax_mgtopo.universal.learning import Learning
from purejax_mgtopo.universal.settings import MetaTraining

RATE = 0.01
SETTINGS = MetaTraining(lifetimes=6, learning_rate=RATE)


def on(devices: int, lessons: Any, settings: MetaTraining = SETTINGS) -> Learning:
    return Learning(settings, lessons, Means(devices=devices, seed_axis="map"))


def same_to_rounding(lessons: Any, settings: MetaTraining, steps: int) -> None:
    """Lifetimes begin and are lived alike on one device and on two; sums over them differ by their order alone."""
    one, two = (on(devices, lessons, settings) for devices in (1, 2))
    first, second = one.init(), two.init()
    assert len(jax.tree.leaves(second.lives)[0].sharding.device_set) == 2
    assert len(jax.tree.leaves(first.lives)[0].sharding.device_set) == 1
    assert_same(first, second)
    for step in range(steps):
        (first, told), (second, same) = one.advance(first), two.advance(second)
        if not step:
            assert_same(first.lives, second.lives)  # of the same rule, bit for bit
        for a, b in zip(jax.tree.leaves(first.eta), jax.tree.leaves(second.eta), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * RATE)
        for a, b in zip(jax.tree.leaves(told), jax.tree.leaves(same), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_one_device_and_two_learn_the_same_rule_to_rounding() -> None:
    """Two tasks of six lifetimes: Adam moves the rule by hundreds of the difference that is allowed."""
    same_to_rounding([Numbers(1.0), Numbers(-100.0)], SETTINGS, 5)


def test_no_more_devices_than_share_the_lifetimes_alike() -> None:
    lessons = [Numbers(1.0)]
    for lifetimes, devices in ((5, 1), (6, 2), (1, 1)):
        made = on(2, lessons, replace(SETTINGS, lifetimes=lifetimes))
        found = jax.tree.leaves(made.init().lives)[0].sharding.device_set
        assert len(found) == devices


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("estimator", ["gradient", "evolution"])
def test_of_real_lifetimes_too(estimator: str) -> None:
    from test_lifetimes import SETTINGS as short
    from test_lifetimes import group

    lessons = [group()] if estimator == "gradient" else [Evolution(group())]
    same_to_rounding(lessons, replace(short, lifetimes=4, learning_rate=RATE), 3)


def test_each_task_is_one_program(caplog: pytest.LogCaptureFixture) -> None:
    """Compiled in the first update and in no later one, nor for a state that was saved."""
    made = on(2, [Numbers(1.0), Numbers(2.0), Numbers(3.0)])
    state, compiled = made.init(), []
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        for _ in range(3):
            caplog.clear()
            state, _ = made.advance(state)
            lines = [record.getMessage() for record in caplog.records]
            compiled.append([line for line in lines if line.startswith("Compiling ")])
        caplog.clear()
        made.advance(made.placed(jax.tree.map(lambda x: x.copy(), state)))
        compiled.append([x for x in caplog.messages if "_step" in x and "Compiling" in x])
    assert [len([x for x in lines if "_step" in x]) for lines in compiled] == [3, 0, 0, 0]
    assert not compiled[1] and not compiled[2]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from lessons import groups, run
    from purejax_mgtopo.universal import training
    from purejax_mgtopo.universal.learning import Learning
    training._groups, advance = groups, Learning.advance
    def kill(self, state):
        if int(state.step) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return advance(self, state)
    Learning.advance = kill
    run(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def equal(one: Path, other: Path) -> None:
    """Curve, table, state and rule, bit for bit."""
    for name in ("curve.jsonl", "metrics.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert_same(*(read_state(folder)[0] for folder in (one, other)))
    assert_same(*(read_rule(folder / "universal.npz")[1] for folder in (one, other)))


def test_killed_between_two_saved_states_it_ends_as_without_a_kill(
    recipe: Path, tmp_path: Path
) -> None:
    """kill -9 in the sixth update, when four are saved and five are told of."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    here = os.pathsep.join([str(Path(__file__).parent), str(ROOT), str(ROOT / "envs"), *sys.path])
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(recipe), str(killed), "5"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": here},
        timeout=200,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert int(read_state(killed)[0]["step"]) == 4
    assert [line["step"] for line in read_curve(killed)[::2]] == [1, 2, 3, 4, 5]
    assert run(recipe, whole) and run(recipe, killed)
    equal(whole, killed)


TINY = """
tasks = ["toy_follow_holder"]
[config]
updates_per_iteration = 2
wandb = "off"
learner.hidden = 4
learner.batch_size = 4
learner.replay_transitions = 200
learner.warmup_episodes = 3
[meta_train]
phase = "learning"
steps = 9
lifetimes = 2
fresh_episodes = 2
shortest = 2
longest = 8
checkpoint_every = 4
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_command_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Real lifetimes, of which some end and others begin on the way."""
    recipe = tmp_path / "meta_train.toml"
    recipe.write_text(TINY)

    def start(folder: Path) -> subprocess.Popen[str]:
        return mgtopo("meta-train", recipe, "--out", folder, env=environment())

    process = start(tmp_path / "killed")
    while not (tmp_path / "killed" / "state.npz").exists():
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    for folder in (tmp_path / "killed", tmp_path / "whole"):
        code, _, err = finished(start(folder), 800)
        assert code == 0, err
    equal(tmp_path / "whole", tmp_path / "killed")
    code, out, err = finished(mgtopo("verify", tmp_path / "killed"))
    assert code == 0 and "BAD" not in out, out + err
