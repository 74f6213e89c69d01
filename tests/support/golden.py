"""Digests of what every method computes, for showing that a change moves no bit.

    python tests/support/golden.py record before.json      # on the commit before
    python tests/support/golden.py compare before.json     # after each step: a table, and exit code 1 if anything moved

Trains small networks with every rule and interpreter on two tasks through the command line, which stays as it is while
the code behind it moves, and reads metrics and checkpoint with pyarrow and TensorStore alone. Arrays are compared as a
collection: where one is kept, and under which name, may change. What there is more or less of is listed; a column that
was NaN throughout may go, and arrays may be added.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

RULES = ("none", "full", "reinforce", "stgs", "meta")
INTERPRETERS = ("lstm", "commnet")
TASKS = ("navigation_N3_l3", "toy_follow_holder")
SETTINGS = (
    "--seeds 2 --episodes 12 --chunk-episodes 4 --updates-per-iteration 2 --seed-axis map --devices 2 --wandb off "
    "--evaluation.every 8 --evaluation.episodes 4 --learner.hidden 8 --learner.batch-size 64 --meta.hidden 8 "
    "--learner.replay-transitions 500 --learner.warmup-episodes 5 --gates.edge-cost 0.01 --gates.entropy 0.01"
).split()
EPISODES = 12


def digests(task: str, rule: str, interpreter: str) -> dict[str, str]:
    """SHA-256 of every column of the metrics and of every array of the final checkpoint, by name."""
    import numpy as np
    import pyarrow.parquet as parquet
    import tensorstore as ts

    folder = Path(tempfile.mkdtemp())
    words = ["--task", task, "--topology", rule, "--messages", interpreter, "--out", str(folder)]
    settings = [*SETTINGS, *(["--learner.share-parameters"] if interpreter == "commnet" else [])]
    try:
        if _main()(["train", *words, *settings]):
            raise SystemExit(f"{task} {rule}+{interpreter} failed")
        table = parquet.read_table(folder / "metrics.parquet")
        found = {}
        for name in table.column_names:
            column = table[name].combine_chunks()
            flat = column.flatten() if hasattr(column, "flatten") else column
            values = flat.to_numpy(zero_copy_only=False)
            if not (values.dtype.kind == "f" and np.isnan(values).all()):
                found[f"column {name}"] = _sha(values.tobytes())
        state = folder / "checkpoints" / "wave_0" / str(EPISODES) / "state"
        store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{state}/"}}
        keys = ts.KvStore.open(store).result().list().result()
        for key in sorted(key.decode() for key in keys):
            name, _, file = key.rpartition("/")
            if file == ".zarray" and not name.startswith("digest"):
                spec = {"driver": "zarr", "kvstore": store | {"path": f"{name}/"}}
                array = ts.open(spec, read=True, open=True).result().read().result()
                found[f"state {name}"] = _sha(
                    f"{array.dtype} {array.shape}".encode() + array.tobytes()
                )
        return found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _main():
    try:
        from purejax_mgtopo.cli.main import main
    except ImportError:
        from purejax_mgtopo.cli import main
    return main


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def whole(found: dict[str, str]) -> str:
    """One digest of all, whatever their names."""
    return _sha(" ".join(sorted(found.values())).encode())


def main(argv: list[str]) -> int:
    action, file = argv[0], Path(argv[1])
    points = list(itertools.product(TASKS, RULES, INTERPRETERS))
    if len(argv) > 2:  # only the rules or tasks named
        points = [point for point in points if set(point) & set(argv[2:])]
    now = {}
    before = json.loads(file.read_text()) if action == "compare" else {}
    moved = 0
    for task, rule, interpreter in points:
        name = f"{task} {rule}+{interpreter}"
        found = now[name] = digests(task, rule, interpreter)
        if action == "record":
            print(name, whole(found), flush=True)
            continue
        old = before[name]
        lost = [n for n, digest in old.items() if digest not in found.values()]
        new = [n for n, digest in found.items() if digest not in old.values()]
        moved += bool(lost)
        verdict = "MOVED" if lost else "equal, and more" if new else "equal"
        print(f"{name:40} {whole(old)} {whole(found)} {verdict}", flush=True)
        if lost or new:
            print(f"    not any more: {lost}\n    new: {new}", flush=True)
    if action == "record":
        file.write_text(json.dumps(now, indent=1))
    return int(bool(moved))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
