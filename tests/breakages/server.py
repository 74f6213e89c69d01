"""Runs tests of a broken copy, each time in a fork: what takes seconds to import and is never broken is there already.

Reads lines of JSON, lists of tests; answers each by a line of JSON, pytest's exit code and the end of what it printed.
Nothing here imports the project, nor what starts JAX's backends, which no fork would survive.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import tempfile
import traceback

PRELOADED = (
    "jax",
    "jax.numpy",
    "flax.linen",
    "optax",
    "beartype",
    "jaxtyping",
    "scipy.stats",
    "pyarrow.parquet",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "rich.progress",
    "tyro",
    "jinja2",
    "pytest",
    "pytest_timeout",
    "xdist.plugin",
)


def run(names: list[str]) -> tuple[int, str]:
    """Run tests in a child; its exit code, and its last words."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                import pytest

                # All cases of a test, slow ones too: which of them turns red is not the table's concern.
                words = ["-q", "-x", "-n", "0", "-m", "", "-p", "no:cacheprovider", "--tb=line"]
                code = int(pytest.main([*words, *names]))
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()[-3000:]


def main() -> None:
    """Answer until nobody asks any more."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
