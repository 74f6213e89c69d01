"""What a run leaves on disk, and how it is read back.

    config.json      the configuration, versions, device, commit, command; written once
    events.jsonl     one line for the start, every chunk, every evaluation, and the end
    metrics.parquet  one row per evaluation and seed; complete and readable at every instant

Files are replaced as a whole or appended to by whole lines, so that a kill at any time leaves them
readable. A run holds a lock on its folder: a second process cannot write into it, nor mistake it
for an abandoned one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.config import Config, flatten, override
from purejax_mgtopo.metrics import Metrics
from purejax_mgtopo.provenance import provenance

CONFIG, EVENTS, METRICS, LOCK = "config.json", "events.jsonl", "metrics.parquet", ".lock"
FIGURES = "figures"


class RunError(RuntimeError):
    """A run that cannot start or go on. The message is one line and says what to do."""


class Status(enum.Enum):
    """What a folder holds."""

    ABSENT = "no run"
    FINISHED = "a finished run"
    UNFINISHED = "a run that was interrupted"
    RUNNING = "a run in progress"


@dataclass(frozen=True)
class RunData:
    """A run's evaluations as arrays: E evaluations, S seeds."""

    config: Config
    seconds: float
    """Wall time of the whole run, NaN when it did not finish."""
    episodes: NDArray[np.int64]
    """[E]"""
    seeds: NDArray[np.int32]
    """[S]"""
    return_sampled: NDArray[np.float32]
    """[S, E], as the following"""
    return_greedy: NDArray[np.float32]
    train_return: NDArray[np.float32]
    edge_rate: NDArray[np.float32]
    finite: NDArray[np.bool_]


class RunRecord:
    """The files of one run while it is being made: a context manager, holding its lock."""

    def __init__(self, folder: Path, config: Config, command: str | None) -> None:
        self.folder = folder
        self._config, self._command = config, command
        self._open = contextlib.ExitStack()
        self._started = time.monotonic()
        self._metrics = Metrics(config)

    def __enter__(self) -> RunRecord:
        with self._open as stack, _clear_disk_errors(self.folder):
            refuse_existing(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            if not stack.enter_context(_lock(self.folder)) or _present(self.folder):
                raise RunError(f"{self.folder} is in use by another mgtopo; choose another folder")
            description = {
                "format": 1,
                "config": dataclasses.asdict(self._config),
                "settings": flatten(self._config),
                **provenance(self._command),
            }
            write_atomically(self.folder / CONFIG, _json(description, indent=2).encode())
            write_atomically(self.folder / METRICS, self._metrics.as_parquet())
            self._events: IO[str] = stack.enter_context(
                open(self.folder / EVENTS, "a", encoding="utf-8")
            )
            self._open = stack.pop_all()
        self.event("start", settings=flatten(self._config))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line; ``seconds`` count from the start of the run."""
        seconds = round(time.monotonic() - self._started, 3)
        line = _json({"event": kind, "time": time.time(), "seconds": seconds, **fields})
        with _clear_disk_errors(self.folder):
            self._events.write(line + "\n")
            self._events.flush()

    def evaluation(
        self, episode: int, env_steps: int, columns: Mapping[str, NDArray], finite: NDArray
    ) -> None:
        """Add one evaluation of all seeds to the metrics, and make them durable."""
        self._metrics.append(episode, env_steps, columns, finite)
        with _clear_disk_errors(self.folder):
            write_atomically(self.folder / METRICS, self._metrics.as_parquet())
            os.fsync(self._events.fileno())


def refuse_existing(folder: Path) -> None:
    """Raise RunError if anything of ours is in `folder` already; results are never overwritten."""
    if _present(folder):
        raise RunError(
            f"{folder} already holds {status(folder).value}; "
            "choose another folder with --out, or move this one away"
        )


def status(folder: Path) -> Status:
    """What is in `folder`, without changing it."""
    if not _present(folder):
        return Status.ABSENT
    if any(event.get("event") == "end" for event in read_events(folder)):
        return Status.FINISHED
    with _lock(folder) as free:
        return Status.UNFINISHED if free else Status.RUNNING


def set_aside(folder: Path) -> Path:
    """Rename an unfinished run's folder to the first free ``NAME.interrupted-<n>``; returns it."""
    n = 1
    while (target := folder.with_name(f"{folder.name}.interrupted-{n}")).exists():
        n += 1
    with _clear_disk_errors(folder):
        folder.rename(target)
    return target


def read_config(folder: Path) -> Config:
    """The configuration a run was made with."""
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return override(Config(), document["settings"])
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run: it has no {CONFIG}") from None
    except (ValueError, KeyError, TypeError) as error:  # ConfigError is a ValueError
        raise RunError(f"{folder / CONFIG} cannot be read: {error}") from None


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The run's events; a line torn by a kill is left out."""
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / EVENTS).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event


def load_run(folder: str | Path) -> RunData:
    """A run's evaluations as arrays. Raises RunError when `folder` is not a run."""
    folder = Path(folder)
    config = read_config(folder)
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(folder / METRICS)
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / METRICS} cannot be read: {error}") from None
    shape = (-1, config.seeds)  # rows are written seed by seed, evaluation after evaluation

    def column(name: str) -> NDArray:
        return table[name].to_numpy().reshape(shape).T

    ends = [event["seconds"] for event in read_events(folder) if event.get("event") == "end"]
    return RunData(
        config=config,
        seconds=ends[-1] if ends else math.nan,
        episodes=table["episode"].to_numpy().reshape(shape)[:, 0],
        seeds=np.arange(config.first_seed, config.first_seed + config.seeds, dtype=np.int32),
        return_sampled=column("return_sampled"),
        return_greedy=column("return_greedy"),
        train_return=column("train_return"),
        edge_rate=column("edge_rate"),
        finite=column("finite"),
    )


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` as a whole: after a crash it holds the old bytes or the new."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the rename itself: not every file system syncs folders
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _present(folder: Path) -> bool:
    return any((folder / name).exists() for name in (CONFIG, EVENTS, METRICS))


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, which a kill frees; yields False when another process has it."""
    try:
        import fcntl
    except ImportError:  # not a Unix: go without
        yield True
        return
    try:
        file = open(folder / LOCK, "ab")  # noqa: SIM115 - closed below
    except OSError:
        yield True  # a read-only folder: nobody is writing into it
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True


@contextlib.contextmanager
def _clear_disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write to {error.filename or folder}: {reason}") from error


def _json(document: Any, indent: int | None = None) -> str:
    """Strict JSON: NaN and infinities become null, NumPy scalars plain numbers."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(document), indent=indent, allow_nan=False)
