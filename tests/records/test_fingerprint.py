"""What results depend on besides the settings is written down, and compared before a run goes on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
import stand_ins
from fake_population import FakePopulation, FakeStore, Notes, small
from resume_cases import Stopping

from purejax_mgtopo.config import Config, Experiment
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.methods import TOPOLOGIES, AxisEntry
from purejax_mgtopo.records import fingerprint as subject
from purejax_mgtopo.records.fingerprint import changed, fingerprint, recorded, unfit
from purejax_mgtopo.records.record import read_events

PREY = "predator_prey_N3_l3"


@pytest.fixture
def fresh() -> Iterator[None]:
    """Code is read again, as by a new process."""
    subject.code_digest.cache_clear()
    yield
    subject.code_digest.cache_clear()


def differing(before: dict, after: dict) -> list[str]:
    return [line.partition(" ->")[0].rpartition(" ")[0] for line in changed(before, after)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("XLA_FLAGS", "--xla_cpu_max_isa=AVX"),
        ("XLA_FLAGS", "--xla_gpu_deterministic_ops=true"),
        ("NVIDIA_TF32_OVERRIDE", "0"),
    ],
)
def test_flags_that_change_numbers_are_told(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(Experiment())
    monkeypatch.setenv(variable, value)
    assert any(
        line.startswith(variable) and value in line
        for line in changed(before, fingerprint(Experiment()))
    )


def test_flags_that_leave_numbers_alone_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_a=1 --xla_b=2")
    before = fingerprint(Experiment())
    monkeypatch.setenv(
        "XLA_FLAGS",
        "--xla_a=3 --xla_b=2 --xla_force_host_platform_device_count=7 --xla_dump_to=/x --xla_a=1",
    )
    assert changed(before, fingerprint(Experiment())) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_default_prng_impl", "rbg"),
        ("jax_threefry_partitionable", False),
        ("jax_random_seed_offset", 7),
        ("jax_default_matmul_precision", "bfloat16"),
    ],
)
def test_settings_of_jax_are_told(name: str, value: object) -> None:
    before, old = fingerprint(Experiment()), getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        now = fingerprint(Experiment())
    finally:
        jax.config.update(name, old)
    assert differing(before, now) == [name.upper()]
    essential = name in ("jax_enable_x64", "jax_default_prng_impl")
    assert (unfit(before, now) is not None) == essential


def test_code_is_told_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None
) -> None:
    """That of the packages, and that of a rule from elsewhere."""
    package = tmp_path / "other_rules"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "deep.py").write_text("RATE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(TOPOLOGIES, "coin", AxisEntry("coin", "", "other_rules.inner:Coin"))
    experiment = Experiment(topology="coin")
    before = fingerprint(experiment)
    (package / "inner" / "deep.py").write_text("RATE = 2\n")
    assert fingerprint(experiment) == before  # a program that runs stays what it is
    subject.code_digest.cache_clear()
    assert differing(before, fingerprint(experiment)) == ["code of other_rules.inner"]
    assert {"code of purejax_mgtopo", "code of jax_mpe"} <= before.keys()
    for name in list(sys.modules):
        if name.startswith("other_rules"):
            del sys.modules[name]


def interrupted(folder: Path, config: Config, store: FakeStore) -> None:
    stand_ins.train(
        config,
        folder,
        reporter=Notes(),
        store=store,
        population=lambda config: Stopping(FakePopulation(config), 2),
    )


def test_another_file_under_the_task_s_name_is_refused(tmp_path: Path) -> None:
    file, store = tmp_path / "p.npz", FakeStore({})
    file.write_bytes(b"one")
    interrupted(tmp_path / "run", small(task=f"{PREY}@{file}"), store)
    expected = hashlib.sha256(b"p.npz 3\none").hexdigest()[:16]
    assert recorded(tmp_path / "run" / "config.json")[f"file {file}"] == expected
    file.write_bytes(b"two")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"p\.npz is not the file .* put that one back") as error:
        stand_ins.resume(tmp_path / "run", reporter=Notes(), store=store, population=FakePopulation)
    assert "\n" not in str(error.value)
    assert before == {path: path.read_bytes() for path in before}
    file.write_bytes(b"one")
    notes = Notes()
    stand_ins.resume(tmp_path / "run", reporter=notes, store=store, population=FakePopulation)
    assert not any("bit for bit" in line for line in notes.notes)


def test_other_code_is_gone_on_with_and_told(tmp_path: Path) -> None:
    store = FakeStore({})
    interrupted(tmp_path / "run", small(), store)
    path = tmp_path / "run" / "config.json"
    document = json.loads(path.read_text())
    document["fingerprint"]["code of purejax_mgtopo"] = "0123456789abcdef"
    path.write_text(json.dumps(document))
    notes = Notes()
    stand_ins.resume(tmp_path / "run", reporter=notes, store=store, population=FakePopulation)
    assert any("code of purejax_mgtopo 0123456789abcdef ->" in line for line in notes.notes)
    (resumed,) = [event for event in read_events(tmp_path / "run") if event["event"] == "resumed"]
    assert resumed["bitwise"] is False


def test_a_run_that_tells_nothing_of_it_is_gone_on_with(tmp_path: Path) -> None:
    store = FakeStore({})
    interrupted(tmp_path / "run", small(), store)
    path = tmp_path / "run" / "config.json"
    document = json.loads(path.read_text())
    del document["fingerprint"]
    path.write_text(json.dumps(document))
    result = stand_ins.resume(
        tmp_path / "run", reporter=Notes(), store=store, population=FakePopulation
    )
    assert not result.interrupted
