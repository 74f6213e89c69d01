"""Networks read back from a run: of the seeds that were asked for, in that order, from what proves sound."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from resume_cases import tiny
from stand_ins import train

from purejax_mgtopo.checkpoints.stored import sealed
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.trained.load import Networks, load_trained
from purejax_mgtopo.training.progress import SilentReporter


def same(one: Networks, other: Networks) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in leaves)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds in two waves, with a checkpoint at each evaluation."""
    folder = tmp_path_factory.mktemp("run") / "r"
    config = tiny(
        "none+commnet", **{"seeds": 3, "lanes": 2, "first_seed": 4, "checkpoint.minutes": 0.0}
    )
    train(config, folder, reporter=SilentReporter())
    return folder


def test_seeds_come_in_the_order_in_which_they_were_asked_for(run: Path) -> None:
    everyone = load_trained(run)
    assert everyone.seeds == (4, 5, 6)
    some = load_trained(run, [6, 4])
    assert some.seeds == (6, 4)
    for seed in (4, 6):
        assert same(some.of(seed), everyone.of(seed))
    assert not same(everyone.of(4), everyone.of(5))
    assert load_trained(run, [6, 4, 6, np.int64(4)]).seeds == (6, 4)
    with pytest.raises(ConfigError, match="none at all"):
        load_trained(run, [])
    for wrong in (0.9, 4.0, "4", None):
        with pytest.raises(ConfigError, match=f"seeds are whole numbers, not {wrong!r}"):
            load_trained(run, [4, wrong])
    with pytest.raises(ConfigError, match="no trained seed 9; it has seeds 4 to 6"):
        load_trained(run, [9])
    with pytest.raises(ConfigError, match="seed 5 is not among"):
        some.of(5)


def test_networks_of_another_version_are_named_as_such(run: Path, tmp_path: Path) -> None:
    """They are sound, and their arrays have other names."""
    old = shutil.copytree(run, tmp_path / "old")
    for meta in old.glob("checkpoints/wave_0/*/meta/metadata"):
        document = json.loads(meta.read_text())
        del document["sha256"]
        document["versions"]["purejax_mgtopo"] = "0.0.7"
        meta.write_text(json.dumps(sealed(document | {"format": 1})))
    with pytest.raises(RunError, match=r"wave_0 holds checkpoints of format 1, .*\(0\.0\.7\)$"):
        load_trained(old)


def test_damage_is_passed_over(run: Path) -> None:
    """All of the latest checkpoint's data flipped: the one before it is read, and named by its episode."""
    expected = load_trained(run, [4]).episode
    steps = sorted(
        (path for path in (run / "checkpoints" / "wave_0").iterdir() if path.name.isdigit()),
        key=lambda path: int(path.name),
    )
    assert len(steps) >= 2
    for latest in reversed(steps):
        found = load_trained(run, [4])
        assert found.episode == int(latest.name) <= expected
        for data in [*latest.glob("state/d/*"), *latest.glob("state/ocdbt.process_0/d/*")]:
            data.write_bytes(bytes(255 - byte for byte in data.read_bytes()))
    with pytest.raises((RunError, ConfigError)):
        load_trained(run, [4])
