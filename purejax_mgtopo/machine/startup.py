"""What must be settled before JAX starts, for it cannot be changed afterwards.

Importing jumanji, and so any environment, starts JAX: call these before `population` or `jax_mpe`
is imported for the first time.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from purejax_mgtopo.config import Means
from purejax_mgtopo.errors import ConfigError, require
from purejax_mgtopo.machine.cache import tend
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.plugins.registry import IMPORTING

_NUMBER, _FORCED = "JAX_NUM_CPU_DEVICES", "xla_force_host_platform_device_count"
"""By which a user says how many devices a CPU is: a variable of JAX, and a flag of XLA."""
_SHARES = ("XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION")
"""By which a user says how much memory a process takes: two names, and JAX refuses both at once."""
ALLOCATED = 0.92
"""Share of a GPU's memory that a process takes, unless the user's variable says otherwise; of JAX, three quarters."""


def unused_cores(means: Means) -> str | None:
    """A line for when JAX runs on fewer CPU devices than it was asked for, or than there are cores; None otherwise."""
    jax = sys.modules.get("jax")
    if jax is None or jax.default_backend() != "cpu":
        return None
    wanted, there = means.devices or cores(), jax.device_count()
    forced = _FORCED in os.environ.get("XLA_FLAGS", "")
    if there >= wanted or (not means.devices and (forced or _NUMBER in os.environ)):
        return None
    if forced:
        return (
            f"training uses {there} of the {wanted} devices asked for: XLA_FLAGS=--{_FORCED} says how many there are; "
            f"take it out"
        )
    return (
        f"training uses {there} of {wanted} cores: JAX was running before it could be told; set JAX_NUM_CPU_DEVICES="
        f"{wanted} before the first import of jax, or train before anything else uses it"
    )


def configure_platform(means: Means) -> bool:
    """On CPU, make one device of every core; False when it is too late or the user has decided.

    A number of devices that is asked for beats JAX's variable, which beats our default.
    """
    refuse_strict_modes()
    _refuse_modes_of_training()
    check_limits()
    if not any(name in os.environ for name in _SHARES):
        os.environ[_SHARES[0]] = str(ALLOCATED)
    if means.deterministic:
        flag = "--xla_gpu_deterministic_ops=true"
        if flag not in os.environ.get("XLA_FLAGS", ""):
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if _FORCED in os.environ.get("XLA_FLAGS", ""):
        return False
    import jax

    if _NUMBER in os.environ:
        enough = int(os.environ[_NUMBER]) >= means.devices  # JAX has read it as a number
        # Of several processes the devices are counted together.
        if enough or jax.distributed.is_initialized():
            return False
    try:
        jax.config.update("jax_num_cpu_devices", means.devices or cores())
    except RuntimeError:  # JAX runs already, with the devices it has
        return False
    return True


def refuse_strict_modes() -> None:
    """Raise ConfigError under modes of JAX that forbid what these programs, and packages below them, do on purpose."""
    with IMPORTING:
        import jax

    for name, refused in (
        ("jax_numpy_rank_promotion", "raise"),
        ("jax_numpy_dtype_promotion", "strict"),
    ):
        if getattr(jax.config, name) == refused:
            raise ConfigError(
                f"{name.upper()}={refused} forbids promotions that the tasks and networks rely on; "
                f"unset it (JAX_DEBUG_NANS=1 works)"
            )


def _refuse_modes_of_training() -> None:
    """Raise ConfigError under modes of JAX in which nothing that is evaluated breaks, but training does."""
    with IMPORTING:
        import jax

    for name, why in (
        (
            "jax_enable_x64",
            "would have tasks compute in float64 beside networks in float32, which not all methods can be trained with",
        ),
        (
            "jax_disable_jit",
            "would have every operation of every step run by itself, so that a run would not end",
        ),
    ):
        if getattr(jax.config, name):
            raise ConfigError(f"{name.upper()}=1 {why}; unset it")


FILES, SPACE, SPACE_PER_CORE = 64, 3.5e9, 0.25e9
"""Open files, and bytes of address space, below which training was seen to fail in its midst."""


def check_limits() -> None:
    """Raise what the system lets us raise, and ConfigError where its limits are too narrow to train at all."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = 65_536 if hard == unlimited else min(hard, 65_536)
    if soft != unlimited and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    require(
        soft == unlimited or soft >= FILES,
        f"only {soft} files may be open at once here, and a checkpoint needs {FILES}: raise that by `ulimit -n 1024`",
    )
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = SPACE + SPACE_PER_CORE * cores()
    require(
        space == unlimited or space >= needed,
        f"the address space is limited to {space / 1e9:.1f} GB, and JAX needs {needed / 1e9:.1f} GB here: "
        "raise that by `ulimit -v unlimited` (memory itself may well be limited, as by a container)",
    )


def start() -> None:
    """Start JAX. Raises ConfigError, in a line, where the platform that was asked for cannot be had."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # each platform has its own
        asked = os.environ.get("JAX_PLATFORMS", "")
        why = " ".join(str(error).split())[:300] or type(error).__name__
        advice = (
            f"JAX_PLATFORMS={asked} asks for a device that the JAX installed here cannot use; unset it, or install "
            "JAX for it (`pip install -e '.[cuda12]'` for NVIDIA's)"
            if asked and asked != "cpu"
            else "look at its installation (`pip check`)"
        )
        raise ConfigError(f"JAX cannot start: {advice} ({why})") from error


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cache(wanted: bool) -> None:
    """Let JAX keep compiled programs on disk; the user's own variables win."""
    if not wanted:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        if "jax" in sys.modules:  # which has read its variables
            sys.modules["jax"].config.update("jax_enable_compilation_cache", False)
        return
    folder = _cache_folder()
    if folder is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(expanded(folder)))
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        said = chosen = os.environ["JAX_COMPILATION_CACHE_DIR"]
        if said.startswith("~"):  # of which JAX would make a folder of that name
            chosen = os.environ["JAX_COMPILATION_CACHE_DIR"] = str(expanded(said))
        tend(Path(chosen))
        jax = sys.modules.get("jax")
        if jax is not None and jax.config.jax_compilation_cache_dir in (None, said):
            jax.config.update("jax_compilation_cache_dir", chosen)


def _cache_folder() -> Path | None:
    """Where compiled programs are kept by default; None for a user without a home, as in some containers."""
    if chosen := os.environ.get("MGTOPO_CACHE_DIR"):
        return Path(chosen)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return home / "purejax_mgtopo" / "xla"
