"""The measurement of a GPU, on a CPU and tiny: its order, its time, what it leaves when it is stopped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from purejax_mgtopo.bench import bench, device
from purejax_mgtopo.bench.environments import side_by_side
from purejax_mgtopo.bench.tables import device_tables
from purejax_mgtopo.errors import RunError

TINY = {
    "learner.hidden": 8,
    "meta.hidden": 8,
    "learner.batch_size": 32,
    "learner.replay_transitions": 250,
    "learner.warmup_episodes": 3,
    "chunk_episodes": 10,
    "updates_per_iteration": 5,
    "evaluation.every": 10_000,
    "episodes": 10_000,
}


def trained(seeds: int, rate: float = 100.0) -> dict:
    names = (
        "milliseconds", "kernels", "moved_mb", "gbytes_per_second", "tflops", "predicted_mb",
        "peak_mb", "minutes_for_all",
    )  # fmt: skip
    return dict.fromkeys(names, 1.0) | {"seeds": seeds, "episodes_per_second": rate}


def test_the_most_telling_measurements_come_first_and_none_twice() -> None:
    todo = device.steps((16, 1_024))
    names = [step.name for step in todo]
    assert names[0] == "ceilings"
    assert names[1] == "navigation_N3_l3 meta 1,024 seeds profile"
    for wanted in ("bfloat16", "float32", "fused", "deterministic", "as-fits", "environments"):
        assert any(wanted in name for name in names)
    for method in ("meta", "none"):
        for task in device.TASKS:
            for seeds in (16, 1_024):
                assert any(f"{task} {method} {seeds:,} seeds" in name for name in names)
    assert len(set(names)) == len(names) == len({step.words for step in todo})


def test_what_was_measured_is_kept_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 100))
    monkeypatch.setattr(device.time, "monotonic", lambda: float(next(clock)))
    results = iter([{"gbytes_per_second": 9.0}, RunError("out of memory"), trained(4)])

    def taken(step: device.Trial, cache: str, seconds: float) -> dict:
        result = next(results)
        if isinstance(result, RunError):
            raise result
        return result

    monkeypatch.setattr(device, "_taken", taken)
    todo = [device.Trial(name, ()) for name in "abcdefgh"]
    written: list[str] = []
    notes: list[str] = []
    found = device.measure(todo, notes.append, lambda f: written.append(json.dumps(f)), minutes=12)
    assert list(found["steps"]) == ["a", "c"]
    assert found["failed"] == {"b": "out of memory"}
    assert found["left_out"] == list("defgh")
    assert [len(json.loads(text)["steps"]) for text in written] == [1, 1, 2, 2]
    assert notes[0].startswith("1 of 8: a; ") and "min left" in notes[0]
    tables = device_tables(found)
    assert tables[0].row_count == 1 and tables[1].row_count == 2


def test_what_needs_a_measurement_that_failed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody times a training whose kernels give something else."""

    def taken(step: device.Trial, cache: str, seconds: float) -> dict:
        if step.name == "kernels":
            raise RunError("off by 0.5")
        return {"gbytes_per_second": 9.0}

    monkeypatch.setattr(device, "_taken", taken)
    told: list[str] = []
    found = device.measure(device.steps((16,)), told.append, lambda found: None)
    assert found["failed"] == {"kernels": "off by 0.5"}
    (name,) = found["left_out"]
    assert "fused" in name and "    left out, for kernels failed" in told
    assert sum("fused" in step for step in found["steps"]) == 0 < len(found["steps"])


def test_a_step_that_fails_or_hangs_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="invalid choice"):
        device._taken(device.Trial("x", ("nonsense",)), "", 60)
    with pytest.raises(RunError, match="out of time"):
        device._taken(device.Trial("x", ("ceilings",)), "", 0.01)


@pytest.mark.slow
def test_a_training_tells_what_it_does_and_what_was_predicted() -> None:
    found = device.train("toy_public", "none", 2, seconds=0.01, overrides=TINY)
    assert found["seeds"] == 2
    assert found["episodes_per_second"] == pytest.approx(2 / found["milliseconds"] * 1e3)
    assert found["minutes_for_all"] == pytest.approx(found["milliseconds"] * 50 / 60)
    assert found["kernels"] > 10 and found["moved_mb"] > 0.01 and found["predicted_mb"] > 0.01
    json.dumps(found)


def test_ceilings_are_told_by_precision() -> None:
    found = device.ceilings(size=16, megabytes=1, seconds=0.01)
    assert found["gbytes_per_second"] > 0
    assert all(found[f"tflops_{name}"] > 0 for name in ("float32", "tf32", "bfloat16"))


def test_environments_are_stepped_side_by_side() -> None:
    found = side_by_side("toy_public", (2,), seconds=0.01)
    assert found["2"] > 0


def test_the_hottest_kernels_are_those_of_the_devices_streams(tmp_path: Path) -> None:
    def named(kind: str, pid: int, tid: int, name: str) -> dict:
        return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}

    def ran(pid: int, tid: int, name: str, dur: float) -> dict:
        return {"ph": "X", "pid": pid, "tid": tid, "name": name, "dur": dur}

    events = [
        named("process_name", 1, 0, "/device:GPU:0"),
        named("process_name", 2, 0, "/host:CPU"),
        named("thread_name", 1, 5, "Stream #13(Compute)"),
        named("thread_name", 1, 6, "XLA Ops"),
        *[ran(1, 5, "gemm_fusion_dot", 30.0)] * 2,
        ran(1, 5, "loop_add_fusion", 40.0),
        ran(1, 6, "gemm_fusion_dot", 60.0),  # the same once more
        ran(2, 5, "python", 900.0),
    ]
    folder = tmp_path / "plugins" / "profile"
    folder.mkdir(parents=True)
    with gzip.open(folder / "perfetto_trace.json.gz", "wt") as file:
        json.dump({"traceEvents": events}, file)
    assert device.hottest(tmp_path) == [
        {"name": "gemm_fusion_dot", "share": 0.6, "calls": 2},
        {"name": "loop_add_fusion", "share": 0.4, "calls": 1},
    ]
    assert device.hottest(tmp_path / "nothing") == []


def test_the_command_writes_and_draws_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def taken(step: device.Trial, cache: str, seconds: float) -> dict:
        if step.words[0] != "train":
            return {"device": "a card", "gbytes_per_second": 3_000.0}
        if "none" in step.words:
            raise KeyboardInterrupt  # somebody has seen enough
        return trained(int(step.words[step.words.index("--seeds") + 1]))

    monkeypatch.setattr(device, "_taken", taken)
    target, picture = tmp_path / "runs" / "gpu.json", tmp_path / "gpu.png"
    words = ["--parts", "device", "--json", str(target), "--figure", str(picture)]
    with pytest.raises(KeyboardInterrupt):
        bench.main(words)
    steps = json.loads(target.read_text())["device"]["steps"]
    assert list(steps)[0] == "ceilings" and len(steps) == 7
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "min left at most" in capsys.readouterr().out


def test_the_device_is_not_measured_unless_asked_for() -> None:
    assert "device" not in bench.PARTS and bench.parse(["--parts", "device"]).parts == ("device",)
