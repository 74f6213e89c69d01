"""Every setting of the means of a run arrives where its name says, and nowhere else; nothing is trained."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jaxtyping
import pytest

from purejax_mgtopo.algorithm.kernels.target import traced_for
from purejax_mgtopo.config import Config, Experiment, Means, flatten, override
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.startup import configure_platform
from purejax_mgtopo.mirror import mirror, places
from purejax_mgtopo.population import fit, lanes, population
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.training import run
from purejax_mgtopo.training.loop import Loop

BASE = Config(Experiment(seeds=8), Means(seed_axis="vmap", wandb="online"))
REACH: dict[str, tuple[Any, set[str]]] = {
    "seed_axis": ("map", {"batches"}),
    "devices": (2, {"devices", "platform", "plan"}),
    "lanes": (4, {"plan"}),
    "microbatch": (3, {"batches", "plan"}),
    "precision": ("bfloat16", {"precisions"}),
    "kernels": ("fused", {"kernels"}),
    "deterministic": (True, {"platform"}),
    "wandb": ("offline", {"mirror"}),
    "wandb_per_seed": (3, {"mirrors of seeds"}),
    "wandb_project": ("mine", {"project"}),
    "checkpoint.minutes": (1.0, {"when to save"}),
    "checkpoint.keep": (3, {"store"}),
    "checkpoint.on_error": ("continue", {"failed save"}),
}
"""Another value of each, and where it is to arrive."""
NEEDED = {"kernels": {"precision": "bfloat16"}}
"""What a value needs of another setting."""


@pytest.fixture(autouse=True)
def unannotated(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in for populations and stores here is of no annotated type."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class ToldError(Exception):
    """Enough is known."""


def batches(config: Config) -> Any:
    return lanes.seed_axis(config.means), lanes.lanes_together(config.means, 8)


def devices(config: Config) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: [*range(4)])
        return lanes.devices_for(config.means, 8)


def platform(config: Config) -> Any:
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
        patch.setenv("XLA_FLAGS", "")
        patch.setattr("purejax_mgtopo.machine.startup.cores", lambda: 5)
        patch.setattr(type(jax.config), "update", lambda self, *given: told.append(given))
        configure_platform(config.means)
        return told, os.environ["XLA_FLAGS"]


def plan(config: Config) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: [*range(4)])
        patch.setattr(fit, "lane_bytes", lambda _: SimpleNamespace(total=1))
        made = fit.plan(config, memory=10**9)
    return made.config.means.lanes, made.config.means.microbatch, made.devices


def precisions(config: Config) -> Any:
    """What each program of a population is made with."""
    told: list[str] = []

    def asked(*given: Any) -> Any:
        told.append(given[-1])
        raise ToldError

    made = Population.__new__(Population)
    made.config, made.waves = config, [SimpleNamespace(first_seed=0)]
    made.abstract, made.mesh = (lambda: None), None
    made._advance = made._evaluate = SimpleNamespace(begin=lambda fn: None)
    nothing = SimpleNamespace(clock=SimpleNamespace(episode=1), lanes=None, shared=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "matmul_precision", asked)
        patch.setattr(population, "compiler_options", asked)
        patch.setattr(jax, "shard_map", lambda *_, **__: None)
        patch.setattr(jax.tree, "map", lambda function, tree: tree)
        for use in (
            made.init,
            lambda: made.advance(nothing),
            lambda: made.compiled(nothing),
            lambda: made.compiled_evaluation(nothing),
            lambda: made._evaluated(nothing, [0]),
            lambda: made._program(lambda: None, (), ()),
        ):
            with pytest.raises(ToldError):
                use()
    return told


def kernels(config: Config) -> Any:
    """Whose kernels a program of a population is traced with."""
    told: list[str] = []
    made = Population.__new__(Population)
    made.config, made.mesh = config, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(population, "made_of", lambda kernels, fn: told.append(kernels))
        patch.setattr(jax, "shard_map", lambda *_, **__: lambda: None)
        made._program(lambda: None, (), ())
    return told


def loop(config: Config) -> Loop:
    made = Loop.__new__(Loop)
    made._config, made._experiment = config, config.experiment
    made._score, made._hope, made._saved = math.nan, True, time.monotonic() - 200
    made._ledger = SimpleNamespace(episode=5, alive=True)
    made._record = SimpleNamespace(
        flush=lambda: None, proof=lambda: None, event=lambda *_, **__: None
    )
    made._reporter = SimpleNamespace(note=lambda line: None)
    made._population = SimpleNamespace(waves=[])
    return made


WAVE = SimpleNamespace(index=0)


def when_to_save(config: Config) -> Any:
    """Whether 200 seconds are long enough."""
    saved: list[float] = []
    store = SimpleNamespace(settle=lambda: None, save=lambda state, score: saved.append(score))
    loop(config)._keep(store, None, WAVE, 1.0, SimpleNamespace(requested=False))
    return saved


def failed_save(config: Config) -> Any:
    with contextlib.suppress(RunError):
        with loop(config)._tolerated(WAVE):
            raise RunError("no space is left")
        return "went on"
    return "ended"


def store(config: Config) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "purejax_mgtopo.checkpoints.checkpoints.Checkpoints", lambda *_, keep, say: keep
        )
        return run.open_checkpoints(Path(), SimpleNamespace(config=config), WAVE, print)


def its_mirror(config: Config) -> Any:
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror, "disabled", lambda: False)
        patch.setattr(mirror, "choose_mode", lambda setting, say: told.append(setting))
        run.open_mirror(Path(), config, print)
    return told


def mirrors_of_seeds(config: Config) -> Any:
    told: list[int | None] = []
    made = mirror.WandbMirror.__new__(mirror.WandbMirror)
    made._config, made._means, made._folder = config, config.means, Path()
    made._anew, made._mode = True, "offline"
    made._kept, made._say = dict, lambda line: None

    def start(name: str, seed: int | None = None) -> Any:
        told.append(seed)
        return SimpleNamespace(step=0, dir="here/files")

    made._start = start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror, "Feed", lambda *_, **__: None)
        made._open()
    return told


def project(config: Config) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_PROJECT", raising=False)
        return places.named_project(Path("nowhere"), config.means)


PLACES = {
    "batches": batches,
    "devices": devices,
    "platform": platform,
    "plan": plan,
    "precisions": precisions,
    "kernels": kernels,
    "when to save": when_to_save,
    "failed save": failed_save,
    "store": store,
    "mirror": its_mirror,
    "mirrors of seeds": mirrors_of_seeds,
    "project": project,
}


def test_every_setting_is_in_the_table() -> None:
    assert set(REACH) == set(flatten(Means()))
    assert {field.name for field in dataclasses.fields(Means)} == {
        name.partition(".")[0] for name in REACH
    }


@pytest.mark.parametrize("name", REACH)
def test_a_setting_of_the_means_arrives_where_it_says_and_nowhere_else(name: str) -> None:
    value, wanted = REACH[name]
    base = override(BASE, NEEDED.get(name, {}))
    changed = override(base, {name: value})
    with traced_for("gpu"):
        assert {place for place, told in PLACES.items() if told(changed) != told(base)} == wanted


def test_every_program_of_a_population_has_the_precision() -> None:
    assert precisions(BASE) == ["auto"] * 6
    assert precisions(override(BASE, {"precision": "tf32"})) == ["tf32"] * 6
