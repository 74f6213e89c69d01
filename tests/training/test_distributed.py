"""The same run on other numbers of devices, and in two processes that share it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from numpy.typing import NDArray
from resume_cases import ROOT, environment, finished, flags, mgtopo, state_of, tiny, told

from purejax_mgtopo.checkpoints.stored import latest_steps
from purejax_mgtopo.records.record import METRICS, Status, status
from purejax_mgtopo.records.run_data import load_run

METHOD = "none+commnet"
SEEDS = 6
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def of_seeds(state: dict[str, NDArray], seeds: int = SEEDS) -> dict[str, NDArray]:
    """Without idle lanes, and without the clock."""
    return {name: array[:seeds] for name, array in state.items() if name.startswith("lanes.")}


def close(one: dict[str, NDArray], other: dict[str, NDArray]) -> None:
    """Integers and keys exactly; numbers to what another order of additions, ten updates on, may change."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        if array.dtype == np.float32:
            np.testing.assert_allclose(array, other[name], rtol=1e-3, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(array, other[name], err_msg=name)


MOVE = """
    import sys
    import jax, numpy as np
    from pathlib import Path
    from resume_cases import tiny
    from purejax_mgtopo.checkpoints.checkpoints import Checkpoints
    from purejax_mgtopo.population.population import Population
    source, target, devices, advance = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    assert jax.device_count() == devices
    population = Population(tiny("none+commnet", seeds=6))
    wave = population.waves[0]
    store = Checkpoints(Path(source), population, wave, say=print)
    found = store.restore()
    state = population.init() if found is None else found.state
    store.close()
    for _ in range(advance):
        state, report = population.advance(state)
        assert report.seeds.tolist() == list(range(6)), report.seeds
    store = Checkpoints(Path(target), population, wave, say=print)
    store.save(state, 0.0)
    store.close()
    print("lanes", population.lanes, "on", population.mesh.size, "bitwise", found and found.bitwise)
"""


def move(source: Path, target: Path, devices: int, advance: int) -> str:
    """Restore (or begin), advance some chunks, save, on so many devices."""
    target.mkdir(parents=True, exist_ok=True)
    words = [str(source / "checkpoints" / "wave_0"), str(target / "checkpoints" / "wave_0")]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MOVE), *words, str(devices), str(advance)],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=ROOT,
        env=environment(devices),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_state_of_four_devices_goes_on_with_one_two_and_eight(tmp_path: Path) -> None:
    """Six seeds: eight lanes on four devices, six on one, two and (of eight) six."""
    assert "lanes 8 on 4" in move(tmp_path / "none", tmp_path / "four", 4, 2)
    four = state_of(tmp_path / "four")
    move(tmp_path / "four", tmp_path / "further", 4, 1)
    expected = of_seeds(state_of(tmp_path / "further"))
    for devices in (1, 2, 8):
        said = move(tmp_path / "four", tmp_path / f"same_{devices}", devices, 0)
        assert f"lanes 6 on {min(devices, 6)} bitwise False" in said
        same = state_of(tmp_path / f"same_{devices}")
        for name, array in of_seeds(four).items():
            assert array.tobytes() == same[name].tobytes(), name
        assert all(same[f"clock.{name}"] == four[f"clock.{name}"] for name in ("episode", "stored"))
        move(tmp_path / f"same_{devices}", tmp_path / f"further_{devices}", devices, 1)
        close(expected, of_seeds(state_of(tmp_path / f"further_{devices}")))
        # And back: the idle lanes of four devices repeat a seed, and are not told.
        move(tmp_path / f"same_{devices}", tmp_path / f"back_{devices}", 4, 0)
        back = state_of(tmp_path / f"back_{devices}")
        for name, array in of_seeds(four).items():
            assert array.tobytes() == back[name][:SEEDS].tobytes(), name


class Pair:
    """Two or more processes of one run on this machine.

    Args:
        other: the words of the last one, where they differ.
        more: variables of the last one alone.
    """

    def __init__(
        self,
        *words: object,
        devices: int = 1,
        count: int = 2,
        other: Sequence[object] | None = None,
        **more: str,
    ) -> None:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        self.processes = [
            mgtopo(
                *(words if other is None or index < count - 1 else other),
                "--distributed",
                env=environment(
                    devices,
                    **{
                        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
                        "JAX_NUM_PROCESSES": str(count),
                        "JAX_PROCESS_ID": str(index),
                        **(more if index == count - 1 else {}),
                    },
                ),
            )
            for index in range(count)
        ]

    def finished(self, seconds: float = 280) -> list[tuple[int, str, str]]:
        try:
            return [finished(process, seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def wait_for(self, folder: Path, evaluations: int) -> None:
        end = time.monotonic() + 240
        while len(told(folder, ["evaluation"])) < evaluations:
            for process in self.processes:
                assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.01)


def words(folder: Path, **changes: Any) -> list[object]:
    return ["train", "--out", folder, *flags(tiny(METHOD, **{"seeds": SEEDS} | changes))]


def rows(folder: Path) -> list[dict[str, Any]]:
    return parquet.read_table(folder / METRICS).to_pylist()


def close_rows(one: Path, other: Path) -> None:
    first, second = rows(one), rows(other)
    assert [(r["episode"], r["seed"]) for r in first] == [(r["episode"], r["seed"]) for r in second]
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-3, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    code, _, err = finished(mgtopo(*words(folder), env=environment(2)))
    assert code == 0, err
    return folder


def test_two_processes_equal_one(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    told_by = Pair(*words(folder)).finished()
    for code, _, err in told_by:
        assert code == 0, err
    assert status(folder) is Status.FINISHED
    close_rows(alone, folder)
    assert not list(folder.glob("metrics.*[0-9].parquet"))
    close(of_seeds(state_of(alone)), of_seeds(state_of(folder)))
    assert load_run(folder).return_sampled.shape == (SEEDS, 4)
    code, out, err = finished(mgtopo("verify", folder))
    assert code == 0 and out.count("good") == 2 + len(
        latest_steps(folder / "checkpoints" / "wave_0")
    ), err


@pytest.mark.parametrize("asked", [0, 1])
def test_one_asked_to_stop_stops_both_and_one_alone_goes_on(
    alone: Path, tmp_path: Path, asked: int
) -> None:
    """Stopped in two processes, resumed in one (asked = 0) or in two."""
    folder = tmp_path / "run"
    pair = Pair(*words(folder, episodes=400))
    pair.wait_for(folder, 2)
    pair.processes[asked].send_signal(signal.SIGTERM)
    ends = pair.finished()
    for code, _, err in ends:
        assert code == 0 and f"mgtopo resume {folder}" in err, err
    stops = [
        told(folder, ["interrupted"])[-1],
        told(folder / "events.1.jsonl", ["interrupted"])[-1],
    ]
    assert stops[0] == stops[1]
    episode = dict(stops[0])["episode"]
    assert latest_steps(folder / "checkpoints" / "wave_0")[0].name == str(episode)
    if asked == 0:
        code, _, err = finished(mgtopo("resume", folder, env=environment(2)))
        assert code == 0, err
    else:
        for code, _, err in Pair("resume", folder).finished():
            assert code == 0, err
    assert [(r["seed"], r["episode"]) for r in rows(folder)] == [
        (seed, episode) for episode in range(0, 401, 4) for seed in range(SEEDS)
    ]
    expected = tmp_path / "expected"
    code, _, err = finished(mgtopo(*words(expected, episodes=400), env=environment(2)))
    assert code == 0, err
    early = [row["return_sampled"] for row in rows(expected) if row["episode"] <= 12]
    found = [row["return_sampled"] for row in rows(folder) if row["episode"] <= 12]
    np.testing.assert_allclose(found, early, rtol=1e-3)


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_is_killed_the_other_says_so_and_all_is_kept(tmp_path: Path, victim: int) -> None:
    folder = tmp_path / "run"
    pair = Pair(*words(folder, episodes=4000))
    pair.wait_for(folder, 3)
    pair.processes[victim].kill()
    began = time.monotonic()
    code, _, err = finished(pair.processes[1 - victim], 200)
    took = time.monotonic() - began
    print(f"the other ended after {took:.0f} s with {code}: {err[-500:]}")
    pair.finished()
    assert code == 1 and err.splitlines()[-1].startswith("mgtopo: error:"), err
    assert "is gone" in err and f"start all again by `mgtopo resume {folder}`" in err, err
    assert took < 60
    pair = Pair("resume", folder)
    pair.wait_for(folder, 10)
    pair.processes[0].send_signal(signal.SIGTERM)
    for code, _, err in pair.finished():
        assert code == 0, err
    told_rows = [(r["episode"], r["seed"]) for r in load_rows(folder)]
    assert len(told_rows) == len(set(told_rows))


def load_rows(folder: Path) -> list[dict[str, Any]]:
    tables = sorted(folder.glob("metrics*.parquet"))
    return [row for path in tables for row in parquet.read_table(path).to_pylist()]


def test_a_run_in_the_way_stops_both(alone: Path) -> None:
    ends = Pair(*words(alone)).finished()
    assert [code for code, _, _ in ends] == [1, 1]
    assert "already holds a finished run" in ends[0][2]
    assert "the first process of this run cannot go on" in ends[1][2]
    assert os.path.exists(alone / METRICS)


OTHER: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"learner.policy_learning_rate": 0.5}, {}, "learner.policy_learning_rate is"),
    ({"first_seed": 7}, {}, "first_seed is 0 in process 0 and 7 in"),
    ({"evaluation.every": 8}, {}, "evaluation.every is 4 in process 0 and 8 in"),
    ({"task": "toy_public"}, {}, "task is toy_follow_holder in process 0 and toy_public in"),
    ({"seeds": SEEDS + 1}, {}, "seeds is 6 in process 0 and 7 in"),
    ({"learner.hidden": 8}, {}, "learner.hidden is 4 in process 0 and 8 in"),
    ({"episodes": 400}, {}, "episodes is 12 in process 0 and 400 in"),
    (
        {},
        {"JAX_DEFAULT_PRNG_IMPL": "rbg"},
        "JAX_DEFAULT_PRNG_IMPL is threefry2x32 in process 0 and rbg in",
    ),
    ({}, {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}, "XLA_FLAGS is"),
    ({}, {"JAX_NUM_PROCESSES": "4"}, "counts 4 processes"),
]


@pytest.mark.parametrize("at", range(len(OTHER)))
def test_processes_that_were_told_different_things_are_refused(at: int, tmp_path: Path) -> None:
    """Every other time there are three of them."""
    changes, variables, says = OTHER[at]
    folder, began = tmp_path / "run", time.monotonic()
    pair = Pair(*words(folder), count=2 + at % 2, other=words(folder, **changes), **variables)
    for code, _, err in pair.finished():
        assert code == 1 and err.count("\n") == 1 and says in err, err
    assert not folder.exists()
    print(f"{says!r}: refused after {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("here", [0, 1])
def test_one_that_never_comes_ends_the_other_within_a_minute(here: int, tmp_path: Path) -> None:
    process = mgtopo(
        *words(tmp_path / "run"),
        "--distributed",
        env=environment(
            1,
            JAX_COORDINATOR_ADDRESS="localhost:38219",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(here),
        ),
    )
    code, _, err = finished(process, 120)
    assert code == 1 and err.count("\n") == 1, err
    assert ("process 1 of the 2" if here == 0 else "does not answer") in err


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_answers_no_more_ends_the_other(tmp_path: Path, victim: int) -> None:
    folder = tmp_path / "run"
    pair = Pair(*words(folder, episodes=4000))
    pair.wait_for(folder, 3)
    pair.processes[victim].send_signal(signal.SIGSTOP)
    code, _, err = finished(pair.processes[1 - victim], 100)
    pair.processes[victim].kill()
    pair.finished()
    assert code == 1 and err.splitlines()[-1].startswith("mgtopo: error:"), err
    assert f"start all again by `mgtopo resume {folder}`" in err, err


def test_nobody_to_join_is_told(tmp_path: Path) -> None:
    process = mgtopo(*words(tmp_path / "run"), "--distributed")
    code, _, err = finished(process)
    assert code == 1 and err.count("\n") == 1, err
    assert "cannot join the other processes" in err and "JAX_COORDINATOR_ADDRESS" in err
