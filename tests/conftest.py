"""Settings that must stand before JAX starts, and shape checks in every test."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("WANDB_MODE", "disabled")  # the mirror's own tests override it
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    # Two devices, so that what is to be spread over devices can be tested on one machine.
    two = "--xla_force_host_platform_device_count=2"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {two}".strip()
cache = Path(os.environ.get("XDG_CACHE_HOME", tempfile.gettempdir())) / "purejax_mgtopo_tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
# Small programs too: one operation on arrays, compiled for its own, takes longer than to read it.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jaxtyping  # noqa: E402

# What holds arrays; the host's side (command line, records, figures) has none.
CHECKED = ("algorithm", "population.population", "trained.assess", "trained.policy")
# Before the first import of any: every test then also checks the shapes at their boundaries.
jaxtyping.install_import_hook(
    ["jax_mpe", *(f"purejax_mgtopo.{name}" for name in CHECKED)], "shape_checks.checked"
)

import gc  # noqa: E402
import signal  # noqa: E402
from collections.abc import Iterator  # noqa: E402

import pytest  # noqa: E402
from quick_xla import quick_flags  # noqa: E402

from purejax_mgtopo.machine.programs import let_go_if_many  # noqa: E402

# Tracing makes and drops objects by the million; to look for circles among them takes a twentieth of the time.
gc.set_threshold(100_000, 50, 100)


def pytest_configure(config: pytest.Config) -> None:
    """In the quick suite programs are compiled without optimisation, if ``XLA_FLAGS`` does not say how.

    A folder's own conftest may start JAX before, where that folder is named to a single process; workers find it set.
    Most of its time is compiling what then runs for milliseconds; all that is slow, and the programs whose last bits
    are compared over batches (`tests/population`), are compiled as users' are.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup; tests press Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    quick = config.option.markexpr == "not slow"
    if quick and "xla_backend_optimization_level" not in os.environ["XLA_FLAGS"]:
        os.environ["XLA_FLAGS"] += f" {quick_flags()}"  # read when JAX starts


@pytest.hookimpl(tryfirst=True)  # before slow tests are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked ``quick_cases(n)``, n cases, spread evenly over all, are quick; the others are slow."""
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("quick_cases") and not item.get_closest_marker("slow"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for several in cases.values():
        marker = several[0].get_closest_marker("quick_cases")
        count = min(marker.args[0], len(several)) if marker else 0
        quick = {len(several) * k // count for k in range(count)}
        for place, item in enumerate(several):
            if place not in quick:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module", autouse=True)
def _programs_go_when_they_are_many() -> Iterator[None]:
    """Compiled programs are dropped after a file of tests, lest all that were ever compiled add up to many gigabytes.

    Until then the files that follow find their small ones, of which most are the same, compiled.
    """
    yield
    let_go_if_many()
