"""A checkpoint of another program, format or machine is told from one that fits, and never condemned."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from checkpoint_cases import METHOD, opened, restored_by, rewrite_meta, wave, without, words
from resume_cases import tiny

from purejax_mgtopo.checkpoints import stored
from purejax_mgtopo.checkpoints.checkpoints import CheckpointError
from purejax_mgtopo.checkpoints.stored import (
    array_names,
    latest_steps,
)
from purejax_mgtopo.population.population import Population


def test_another_format_is_refused(population: Population, run: Path) -> None:
    rewrite_meta(run, 12, format=99)
    store = opened(run, population)
    with pytest.raises(CheckpointError, match=r"format 99, and this version reads \d"):
        store.restore()
    store.close()
    assert (wave(run) / "12").exists()  # nothing is set aside


def test_other_settings_are_told(run: Path) -> None:
    other = Population(tiny(METHOD, **{"learner.hidden": 8, "first_seed": 3}))
    store = opened(run, other)
    with pytest.raises(CheckpointError, match=r"first_seed 0 -> 3; learner.hidden 4 -> 8") as told:
        store.restore()
    store.close()
    assert "\n" not in str(told.value)


def test_another_precision_is_not_bit_for_bit(run: Path) -> None:
    store = opened(run, Population(tiny(METHOD, precision="float32")))
    restored = store.restore()
    store.close()
    assert restored is not None and not restored.bitwise


@pytest.mark.slow
def test_other_means_are_welcome(run: Path) -> None:
    """How many lanes, how often to save: nothing that changes what is computed."""
    other = Population(tiny(METHOD, **{"checkpoint.keep": 7, "devices": 1}))
    store = opened(run, other)
    restored = store.restore()
    store.close()
    assert restored is not None and restored.episode == 12
    assert not restored.bitwise  # two devices hold four lanes, one device three
    found = dict(words(restored.state))
    saved = stored.read_arrays(wave(run) / "12", array_names(wave(run) / "12"))
    lanes = [
        np.frombuffer(content, np.uint8).reshape(3, -1) for content in list(found.values())[2:]
    ]
    expected = [array[:3].tobytes() for name, array in saved.items() if name[:5] == "lanes"]
    assert sorted(lane.tobytes() for lane in lanes if lane.size) == sorted(expected)


def test_other_flags_are_told_and_not_bit_for_bit(
    population: Population, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert restored_by(run, population, said).bitwise and said == []
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX")
    restored = restored_by(run, population, said)
    assert restored.episode == 12 and not restored.bitwise
    assert len(said) == 1 and "XLA_FLAGS" in said[0] and "--xla_cpu_max_isa=AVX" in said[0]


def test_other_kernels_are_told_and_not_bit_for_bit(population: Population, run: Path) -> None:
    """Checkpoints of older versions are of XLA's kernels: there were no others."""
    said: list[str] = []
    without(run, 12, "kernels")
    assert restored_by(run, population, said).bitwise and said == []
    rewrite_meta(run, 12, kernels="fused")
    assert not restored_by(run, population, said).bitwise
    assert any("kernels fused -> xla" in line for line in said)


@pytest.mark.parametrize("processes_then", [1, 2])
def test_a_layout_of_processes_is_part_of_it(
    population: Population, run: Path, monkeypatch: pytest.MonkeyPatch, processes_then: int
) -> None:
    path = wave(run) / "12" / "meta" / "metadata"
    document = json.loads(path.read_text())
    document["fingerprint"]["processes"] = processes_then
    rewrite_meta(run, 12, fingerprint=document["fingerprint"])
    said: list[str] = []
    assert restored_by(run, population, said).bitwise == (processes_then == 1)
    assert any("processes 2 -> 1" in line for line in said) == (processes_then == 2)


@pytest.mark.parametrize(
    ("name", "value"), [("jax_enable_x64", True), ("jax_default_prng_impl", "rbg")]
)
@pytest.mark.parametrize("told", [True, False])
def test_other_types_never_condemn_good_checkpoints(
    run: Path, name: str, value: object, told: bool
) -> None:
    """Nor where an older version has not written down under what they were made."""
    if not told:
        for path in latest_steps(wave(run)):
            without(run, int(path.name), "fingerprint")
    old = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        with pytest.raises(CheckpointError) as error:
            restored_by(run, Population(tiny(METHOD)), [])
    finally:
        jax.config.update(name, old)
    assert ("set it as it was" if told else "is whole") in str(error.value)
    assert "move" not in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in latest_steps(wave(run))] == ["12", "10", "8"]


def test_one_that_tells_nothing_of_it_is_used_but_promises_nothing(
    population: Population, run: Path
) -> None:
    without(run, 12, "fingerprint")
    said: list[str] = []
    restored = restored_by(run, population, said)
    assert restored.episode == 12 and not restored.bitwise and len(said) == 1
