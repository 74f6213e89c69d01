"""What the host's loop asks of the program it drives and of the checkpoints it keeps; both have stand-ins in tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from purejax_mgtopo.config import Config
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.metrics import Evaluation
from purejax_mgtopo.training.progress import Tick


class Report(Protocol):
    """What the program says after a chunk; measurements are dataclasses or tuples of [S, ...] arrays."""

    @property
    def episode(self) -> int: ...
    @property
    def env_steps(self) -> int: ...
    @property
    def seeds(self) -> NDArray: ...
    @property
    def training(self) -> Any: ...
    @property
    def since_evaluation(self) -> Any: ...
    @property
    def evaluation(self) -> Any: ...
    @property
    def finite(self) -> NDArray: ...


class Trainable(Protocol):
    """All seeds of one configuration, as one program that takes them wave by wave."""

    @property
    def config(self) -> Config: ...
    @property
    def waves(self) -> Sequence[Wave]: ...
    def init(self, wave: Wave) -> Any: ...
    def advance(self, state: Any, wave: Wave) -> tuple[Any, Any]: ...


class Found(Protocol):
    """A state that was read back."""

    @property
    def state(self) -> Any: ...
    @property
    def episode(self) -> int: ...
    @property
    def bitwise(self) -> bool: ...


class Store(Protocol):
    """The checkpoints of one wave."""

    def complete(self, episode: int) -> bool: ...
    def restore(self) -> Found | None: ...
    def save(self, state: Any, score: float) -> None: ...
    def settle(self) -> None: ...
    def close(self, alone: bool = False) -> None:
        """`alone`: after an error; the other processes are not closing theirs."""


class Mirror(Protocol):
    """Somewhere else where a run can be followed. It never raises: a mirror that breaks costs a line."""

    def chunk(self, tick: Tick, env_steps: int) -> None: ...
    def evaluation(self, evaluation: Evaluation) -> None: ...
    def close(self, finished: bool) -> None:
        """`finished`: the run is complete, and not merely stopped."""


Factory = Callable[[Config], Trainable]
MirrorFactory = Callable[[Path, Config, Callable[[str], None]], Mirror]
"""From the run's folder, its configuration and what hears a line."""
StoreFactory = Callable[[Path, Any, Wave, Callable[[str], None]], Store]
