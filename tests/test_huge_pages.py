"""The command starts itself anew where huge pages are to be had, once, as it was called."""

import os
import subprocess
import sys

import pytest

from purejax_mgtopo.huge_pages import SETTING, tunables

MADVISE = "always [madvise] never"


@pytest.mark.parametrize(
    ("setting", "told", "expected"),
    [
        (MADVISE, None, "glibc.malloc.hugetlb=1"),
        (MADVISE, "glibc.malloc.check=1", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        (MADVISE, "glibc.malloc.hugetlb=0", None),
        (MADVISE, "glibc.malloc.hugetlb=1", None),
        ("[always] madvise never", None, None),
        ("always madvise [never]", None, None),
    ],
)
def test_glibc_is_told_only_what_the_user_has_left_open(setting, told, expected) -> None:
    environment = {} if told is None else {"GLIBC_TUNABLES": told}
    assert tunables(setting, environment) == expected


PROGRAM = """
import os, sys
print("start", flush=True)
from purejax_mgtopo import huge_pages
if {setting!r}:
    import pathlib
    huge_pages.SETTING = pathlib.Path({setting!r})
huge_pages.restart_with_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.optimize, os.getpid())
"""


@pytest.mark.parametrize("found", [True, False])
def test_a_program_starts_anew_once_as_it_was_called(tmp_path, found: bool) -> None:
    setting = tmp_path / "enabled"
    if found:
        setting.write_text(MADVISE)
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    process = subprocess.Popen(
        [sys.executable, "-O", "-c", PROGRAM.format(setting=str(setting)), "two words", "--flag"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    told = "glibc.malloc.hugetlb=1" if found else "None"
    last = f"{told} ['two words', '--flag'] 1 {process.pid}"
    assert out.splitlines() == ["start"] * (2 if found else 1) + [last]


@pytest.mark.skipif(
    not SETTING.exists() or "[madvise]" not in SETTING.read_text(),
    reason="this machine gives huge pages to all or to nobody",
)
def test_the_command_runs_on_huge_pages() -> None:
    """Seen from outside: a child of the command inherits what it was started with."""
    code = (
        "import os, sys; from purejax_mgtopo import cli; from purejax_mgtopo.__main__ import run;"
        "cli.main = lambda: print(os.environ['GLIBC_TUNABLES']); run()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert out.stdout.strip() == "glibc.malloc.hugetlb=1", out.stderr
