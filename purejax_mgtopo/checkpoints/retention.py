"""Which checkpoints of a wave are kept, and which make room."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from purejax_mgtopo.checkpoints.stored import (
    BadCheckpoint,
    files_note,
    latest_steps,
    read_meta,
    wave_folders,
    wave_number,
)
from purejax_mgtopo.records.files import sync

REMOVED = ".removed"


def remove_later(wave: Path) -> list[int]:
    """Remove the checkpoints of all waves after that of a folder, durably; which waves these were.

    Their folders are renamed first, to names that nobody gives to what is set aside by hand: where a removal ends
    half-way, what is left is not taken for checkpoints, and goes the next time. Raises OSError.
    """
    first, home = wave_number(wave), wave.parent
    later = [folder for folder in wave_folders(home) if wave_number(folder) > first]
    for leftover in home.glob(f".wave_*{REMOVED}"):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in later:
        folder.rename(home / f".{folder.name}{REMOVED}")
    sync(home)
    for folder in later:
        shutil.rmtree(home / f".{folder.name}{REMOVED}", ignore_errors=True)
    return [wave_number(folder) for folder in later]


class LatestAndBest:
    """Which checkpoints to keep. Scores are our own: NaN would win Orbax's comparison, a torn file of them stop it."""

    def __init__(self, folder: Path, latest: int) -> None:
        self._latest = latest
        self.scores: dict[int, float] = {}
        self.durable: int | None = None
        """The latest that is known to survive a loss of power: it stays until a later one is known to."""
        for path in latest_steps(folder):
            with contextlib.suppress(BadCheckpoint):
                score = read_meta(path).get("score")
                self.scores[int(path.name)] = math.nan if score is None else score
                if self.durable is None and files_note(path).exists():
                    self.durable = int(path.name)

    def prune(self, folder: Path) -> None:
        """Remove what need not stay.

        It is renamed to ``<episode>.removed`` first: where its removal ends half-way, what is left is not taken for a
        checkpoint that is damaged, and goes the next time.
        """
        paths = {int(path.name): path for path in latest_steps(folder)}
        for step in paths.keys() - self.kept(list(paths)):
            with contextlib.suppress(OSError):
                paths[step].rename(paths[step].with_name(f"{step}{REMOVED}"))
                files_note(paths[step]).unlink(missing_ok=True)
        for leftover in folder.glob(f"*{REMOVED}"):
            shutil.rmtree(leftover, ignore_errors=True)

    def kept(self, steps: Sequence[int]) -> set[int]:
        """Those of these that stay."""
        steps = sorted(steps)
        finite = [step for step in steps if math.isfinite(self.scores.get(step, math.nan))]
        kept = {*steps[-self._latest :], *sorted(finite, key=self.scores.__getitem__)[-1:]}
        return kept if self.durable is None else kept | {self.durable}
