"""What a system does not give is told in one line that says what to do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from resume_cases import ROOT, environment

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import ConfigError
from purejax_mgtopo.machine import startup

WORDS = "train --task toy_public --seeds 1 --episodes 500 --wandb off --out".split()


@pytest.mark.parametrize(
    ("kind", "limit", "says"),
    [
        (resource.RLIMIT_NOFILE, (16, 16), "only 16 files may be open at once here"),
        (resource.RLIMIT_AS, (3 * 10**9, -1), "the address space is limited to 3.0 GB"),
        (resource.RLIMIT_NOFILE, (64, 64), None),
        (resource.RLIMIT_AS, (10**13, -1), None),
    ],
)
def test_limits_that_are_too_narrow_are_refused(
    kind: int, limit: tuple[int, int], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = resource.getrlimit
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(resource, "getrlimit", lambda k: limit if k == kind else real(k))
    if says is None:
        startup.check_limits()
        return
    with pytest.raises(ConfigError, match=says) as error:
        startup.check_limits()
    assert "ulimit" in str(error.value) and "\n" not in str(error.value)


def test_open_files_are_raised_to_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(
        resource, "getrlimit", lambda k: (16, 4096) if k == resource.RLIMIT_NOFILE else (-1, -1)
    )
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    startup.check_limits()
    assert raised == [(4096, 4096)]


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MGTOPO_CACHE_DIR", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    startup.use_cache(True)
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ


def test_a_platform_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import jax

    def fail() -> None:
        raise AssertionError

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ConfigError, match="JAX_PLATFORMS=cuda asks for a device") as error:
        startup.start()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("place", ["{long}", "a/{long}/b"])
def test_a_name_that_is_too_long_is_told(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*WORDS, str(tmp_path / place.format(long="x" * 300))]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("mgtopo: error")]
    assert line.endswith("File name too long") and "Errno" not in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "limits", "says"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "", "JAX_PLATFORMS=cuda asks for a device"),
        ({"JAX_PLATFORMS": "nonsense"}, "", "JAX_PLATFORMS=nonsense asks for a device"),
        ({}, "ulimit -n 20; ", "files may be open at once"),
        ({}, "ulimit -v 3000000; ", "the address space is limited"),
    ],
)
def test_the_command_says_so_in_one_line(
    variables: dict[str, str], limits: str, says: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", "-c", limits + 'exec "$@"', "-", sys.executable, "-m", "purejax_mgtopo"]
        + [*WORDS, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=ROOT,
        env=environment(1, **variables),
    )
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done
    assert not (tmp_path / "run").exists()
