"""Which checkpoints of a wave are kept, and which make room."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from purejax_mgtopo.checkpoints.stored import BadCheckpoint, latest_steps, read_meta


class LatestAndBest:
    """Which checkpoints to keep. Scores are our own: NaN would win Orbax's comparison, a torn file of them stop it."""

    def __init__(self, folder: Path, latest: int) -> None:
        self._latest = latest
        self.scores: dict[int, float] = {}
        for path in latest_steps(folder):
            with contextlib.suppress(BadCheckpoint):
                score = read_meta(path).get("score")
                self.scores[int(path.name)] = math.nan if score is None else score

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any = None) -> list[bool]:
        """Orbax asks after each save, the new one among them."""
        steps = sorted(checkpoint.step for checkpoint in checkpoints)
        finite = [step for step in steps if math.isfinite(self.scores.get(step, math.nan))]
        kept = {*steps[-self._latest :], *sorted(finite, key=self.scores.__getitem__)[-1:]}
        return [checkpoint.step in kept for checkpoint in checkpoints]
