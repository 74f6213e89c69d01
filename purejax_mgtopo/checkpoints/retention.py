"""Which checkpoints of a wave are kept, and which make room."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from purejax_mgtopo.checkpoints.stored import BadCheckpoint, files_note, latest_steps, read_meta


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

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any = None) -> list[bool]:
        """Orbax asks after each save, the new one among them."""
        kept = self._kept([checkpoint.step for checkpoint in checkpoints])
        return [checkpoint.step in kept for checkpoint in checkpoints]

    def prune(self, folder: Path) -> None:
        """Remove what stayed only until a later one was durable."""
        paths = {int(path.name): path for path in latest_steps(folder)}
        for step in paths.keys() - self._kept(list(paths)):
            shutil.rmtree(paths[step], ignore_errors=True)
            with contextlib.suppress(OSError):
                files_note(paths[step]).unlink(missing_ok=True)

    def _kept(self, steps: Sequence[int]) -> set[int]:
        steps = sorted(steps)
        finite = [step for step in steps if math.isfinite(self.scores.get(step, math.nan))]
        kept = {*steps[-self._latest :], *sorted(finite, key=self.scores.__getitem__)[-1:]}
        return kept if self.durable is None else kept | {self.durable}
