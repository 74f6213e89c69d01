"""What a run takes of the machine's memory, as the system sees it, against what `fit` predicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FEW, MANY = 8, 72

# Memory that the allocator keeps for later is not the run's: it is given back before the system is asked.
TRAINING = """
import ctypes, json, sys
from purejax_mgtopo.config import Config, Experiment, override, with_method
from purejax_mgtopo.machine.startup import configure_platform, use_cache
sizes = {"seeds": int(sys.argv[1]), "chunk_episodes": 10, "evaluation.every": 10**6}
config = override(Config(with_method(Experiment(task="navigation_N3_l3", episodes=10**6), "meta")), sizes)
use_cache(True)
configure_platform(config.means)
from purejax_mgtopo.population.fit import lane_bytes
from purejax_mgtopo.population.population import Population
population = Population(config)
state = population.init()
for _ in range(3):
    state, report = population.advance(state)
assert report.finite.all()
ctypes.CDLL(None).malloc_trim(0)
with open("/proc/self/status") as status:
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
print(json.dumps({"resident": 1024 * resident, "predicted": lane_bytes(config).total}))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux")
def test_memory_grows_with_the_lanes_as_predicted(tmp_path: Path) -> None:
    """At full size, from the system's own figures; the target is 12 MB a lane."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MGTOPO_CACHE_DIR": str(tmp_path),
        "XLA_FLAGS": "",
    }

    def train(seeds: int) -> dict[str, int]:
        process = subprocess.run(
            [sys.executable, "-c", TRAINING, str(seeds)],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert process.returncode == 0, process.stderr[-1000:]
        return json.loads(process.stdout.splitlines()[-1])

    # Compiling takes memory too; the second time, both come from the cache.
    few, many = [(train(seeds), train(seeds))[1] for seeds in (FEW, MANY)]
    grown = (many["resident"] - few["resident"]) / (MANY - FEW)
    print(f"{grown / 1e6:.2f} MB a lane, predicted {few['predicted'] / 1e6:.2f}")
    assert 0.9 * few["predicted"] < grown < 1.1 * few["predicted"]
    assert few["predicted"] == many["predicted"] <= 12e6
