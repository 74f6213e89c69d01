"""The table of metrics: one row per evaluation and seed, in memory and as Parquet."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.config import Config, flatten
from purejax_mgtopo.plugins.meanings import meanings_of
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.glossary import described

LEADING = ("return_sampled", "return_greedy", "train_return", "edge_rate")
"""Columns that every run has; whatever else the program measures follows them."""
FINAL = "final_"
"""How columns of the final evaluation begin: NaN in all rows but those of the run's last episode."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the seeds of a wave: its rows in the table."""

    episode: int
    env_steps: int
    seeds: NDArray[np.int32]
    """[S]"""
    finite: NDArray[np.bool_]
    """[S]"""
    columns: Mapping[str, NDArray[np.float32]]
    """[S, ...] each; more than one axis becomes a list of fixed length in row-major order."""


class Metrics:
    """Rows gathered so far. Columns are fixed by the first evaluation: what a later version of the program measures
    besides, when it goes on with a run, is left out, episode 0 included."""

    def __init__(self, config: Config) -> None:
        self.config = config
        """The settings that the table says it was made with."""
        self._shapes: dict[str, tuple[int, ...]] = dict.fromkeys(LEADING, ())
        self._rows: list[Evaluation] = []
        self.untrained: bool | None = None
        """Whether untrained teams are kept, of a process that goes on with nothing while the first one has rows."""

    def append(self, evaluation: Evaluation) -> None:
        """Add one evaluation. Raises ValueError for columns that are missing, or of another shape than before."""
        columns = evaluation.columns
        decided = bool(self._rows) or self.untrained is not None
        if decided and not evaluation.episode and not self.from_the_start:
            return
        if self._rows:
            columns = {name: column for name, column in columns.items() if name in self._shapes}
            evaluation = replace(evaluation, columns=columns)
        names = LEADING + tuple(name for name in columns if name not in LEADING)
        shapes = {name: np.shape(columns[name])[1:] for name in names if name in columns}
        if not shapes.keys() >= set(LEADING) or self._rows and shapes != self._shapes:
            raise ValueError(f"columns changed from {self._shapes} to {shapes}")
        for name, values in (*columns.items(), ("finite", evaluation.finite)):
            if len(values) != len(evaluation.seeds):
                raise ValueError(
                    f"{name} must be of {len(evaluation.seeds)} seeds: {np.shape(values)}"
                )
        self._shapes = shapes
        self._rows.append(evaluation)

    def __len__(self) -> int:
        return sum(len(row.seeds) for row in self._rows)

    def rewind(self, wave: Wave, episode: int) -> None:
        """Forget what a wave told after `episode`, of 0 all that it told, and all later waves."""
        self._rows = [
            row
            for row in self._rows
            if row.seeds[0] < wave.first_seed
            or (row.seeds[0] in wave and row.episode <= episode and episode)
        ]

    def reopen(self, wave: Wave) -> None:
        """Forget the final evaluation of a wave that goes on, as of a run that is extended."""

        def opened(row: Evaluation) -> Evaluation:
            blank = {
                name: np.full_like(values, np.nan) if name.startswith(FINAL) else values
                for name, values in row.columns.items()
            }
            return replace(row, columns=blank) if row.seeds[0] in wave else row

        self._rows = [opened(row) for row in self._rows]

    @property
    def keeps_final(self) -> bool:
        """Whether there are columns for a final evaluation; in runs of older versions there are none."""
        return any(name.startswith(FINAL) for name in self._shapes)

    @property
    def from_the_start(self) -> bool:
        """Whether the untrained team was evaluated; in runs of older versions it was not."""
        if self.untrained is not None:
            return self.untrained
        return bool(self._rows) and not self._rows[0].episode

    def until(self, wave: Wave, episode: int) -> Metrics:
        """What was told until then, as `rewind` leaves it."""
        part = Metrics(self.config)
        part._rows, part._shapes = list(self._rows), self._shapes
        part.untrained = self.untrained if wave.index or episode else None
        part.rewind(wave, episode)
        return part

    def non_finite(self, wave: Wave) -> int:
        """Frozen seeds at the last evaluation of a wave."""
        rows = [row for row in self._rows if row.seeds[0] in wave]
        last = max((row.episode for row in rows), default=0)
        return sum(int(np.sum(~row.finite)) for row in rows if row.episode == last)

    def joined(self, paths: Sequence[Path]) -> None:
        """Add the tables of several processes, each seed's evaluation once, in the order of one process."""
        rows: Iterable[Evaluation] = read_metrics(paths)
        if len(paths) > 1:
            rows = self._ordered(rows)
        for row in rows:
            self.append(row)

    def _ordered(self, rows: Iterable[Evaluation]) -> list[Evaluation]:
        """By wave, episode and seed; of a seed that two tables tell of, the first one's."""
        experiment = self.config.experiment
        lanes = self.config.means.lanes or experiment.seeds
        known: dict[int, NDArray] = {}
        """Seeds by episode."""
        found: dict[tuple[int, int, int], Evaluation] = {}
        for row in rows:
            before = known.get(row.episode, np.empty(0, np.int32))
            row = _of_seeds(row, np.flatnonzero(~np.isin(row.seeds, before)))
            if len(row.seeds):
                wave = (int(row.seeds[0]) - experiment.first_seed) // lanes
                found[wave, row.episode, int(row.seeds[0])] = row
                known[row.episode] = np.concatenate([before, row.seeds])
        return [found[key] for key in sorted(found)]

    def digest(self, final: bool = True) -> str:
        """SHA-256 of all rows, however they were gathered.

        Without `final`, of what stays as it is when the run is extended: a final evaluation does not.
        """
        found = hashlib.sha256()
        rows, counts = self._rows, [len(row.seeds) for row in self._rows]
        for number in ("episode", "env_steps"):
            values = np.array([getattr(row, number) for row in rows], np.int64)
            _add(found, number, np.repeat(values, counts))
        _add(found, "seed", _joined([row.seeds for row in rows], np.int32))
        shapes = {n: s for n, s in self._shapes.items() if final or not n.startswith(FINAL)}
        for name, shape in shapes.items() if rows else ():
            values = _joined([row.columns[name] for row in rows], np.float32)
            _add(found, f"{name} {list(shape)}", values)
        _add(found, "finite", _joined([row.finite for row in rows], np.bool_))
        return found.hexdigest()

    def as_parquet(self) -> bytes:
        """The whole table; the configuration goes into the schema's metadata under ``config``."""
        import pyarrow as pa

        rows, counts = self._rows, [len(row.seeds) for row in self._rows]
        columns: list[tuple[str, Any, Any]] = [
            (
                "episode",
                pa.int64(),
                np.repeat(np.array([r.episode for r in rows], np.int64), counts),
            ),
            (
                "env_steps",
                pa.int64(),
                np.repeat(np.array([r.env_steps for r in rows], np.int64), counts),
            ),
            ("seed", pa.int32(), _joined([row.seeds for row in rows], np.int32)),
        ]
        for name, shape in self._shapes.items():
            values = _joined([row.columns[name] for row in rows], np.float32)
            kind = pa.float32()
            if shape:
                kind = pa.list_(pa.field("item", pa.float32(), nullable=False), int(np.prod(shape)))
                values = pa.FixedSizeListArray.from_arrays(values, type=kind)
            columns.append((name, kind, values))
        columns.append(("finite", pa.bool_(), _joined([row.finite for row in rows], np.bool_)))
        shapes = {name: shape for name, shape in self._shapes.items() if shape}
        metadata = {"config": json.dumps(flatten(self.config)), "shapes": json.dumps(shapes)}
        experiment = self.config.experiment
        metadata |= {"task": experiment.task, "method": experiment.method}
        names = [name for name, _, _ in columns]
        own = meanings_of(experiment.topology, experiment.messages)
        metadata["glossary"] = json.dumps(described(names, own))
        metadata["digest"] = _sealed(self.digest(), metadata["config"], metadata["shapes"])
        return parquet_bytes(columns, metadata)


def parquet_bytes(columns: Sequence[tuple[str, Any, Any]], metadata: Mapping[str, str]) -> bytes:
    """A table of columns, each a name, a type of Arrow's and its values, with checksums, as a file's content."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    fields = [pa.field(name, kind, nullable=False) for name, kind, _ in columns]
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, kind)
        for _, kind, values in columns
    ]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def read_metrics(paths: Sequence[Path]) -> Iterator[Evaluation]:
    """The evaluations in tables, in the order in which they were written. Raises OSError or ValueError.

    Each table is proved by its digest; one of an older version has none.
    """
    for path in paths:
        yield from _proved(path)


def _proved(path: Path) -> list[Evaluation]:
    try:
        metadata, rows = _read(path)
        config, shapes = (metadata.get(name, b"").decode() for name in (b"config", b"shapes"))
        gathered = Metrics(Config())
        gathered.untrained = True  # all that is there
        for row in rows:
            gathered.append(row)
        found = _sealed(gathered.digest(), config, shapes)
    except (OSError, ValueError):
        raise
    except Exception as error:  # the damage decides which
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if metadata.get(b"digest", found.encode()) != found.encode():
        raise ValueError("its rows differ from what was written")
    return rows


def _read(path: Path) -> tuple[Mapping[bytes, bytes], list[Evaluation]]:
    import pyarrow.parquet as parquet

    found: list[Evaluation] = []
    with open(path, "rb") as file:
        table = parquet.read_table(file, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        shapes = json.loads(metadata.get(b"shapes", b"{}"))
        arrays = {}
        for name in table.column_names:
            column = table[name].combine_chunks()
            if name in shapes:
                arrays[name] = column.flatten().to_numpy().reshape(-1, *shapes[name])
            else:
                arrays[name] = column.to_numpy(zero_copy_only=False)
        episode, seed = arrays["episode"], arrays["seed"]
        # Seeds ascend within an evaluation, so that a new one begins where either starts over. Where waves are
        # evaluated once, at the same episode, neither does: a wave's own seeds tell where the next one begins.
        wave = _waves(seed, json.loads(metadata.get(b"config", b"{}")))
        starts_over = (np.diff(episode) != 0) | (np.diff(seed) <= 0) | (np.diff(wave) != 0)
        begins = np.flatnonzero(starts_over) + 1
        named = [name for name in arrays if name not in ("episode", "env_steps", "seed", "finite")]
        for rows in np.split(np.arange(len(episode)), begins):
            if len(rows):
                found.append(
                    Evaluation(
                        episode=int(episode[rows[0]]),
                        env_steps=int(arrays["env_steps"][rows[0]]),
                        seeds=seed[rows],
                        finite=arrays["finite"][rows],
                        columns={name: arrays[name][rows] for name in named},
                    )
                )
    return metadata, found


def _add(digest: Any, name: str, values: NDArray) -> None:
    digest.update(f"{name} {values.dtype} {values.size}\n".encode() + values.tobytes())


def _sealed(rows: str, *texts: str) -> str:
    return hashlib.sha256("\n".join([rows, *texts]).encode()).hexdigest()


def _waves(seeds: NDArray, settings: Mapping[str, Any]) -> NDArray:
    """The wave of each seed, by the settings that a table was written under; 0 where they do not say."""
    lanes = settings.get("lanes", 0)
    return (seeds - settings.get("first_seed", 0)) // lanes if lanes else np.zeros_like(seeds)


def _of_seeds(evaluation: Evaluation, chosen: NDArray) -> Evaluation:
    return replace(
        evaluation,
        seeds=evaluation.seeds[chosen],
        finite=evaluation.finite[chosen],
        columns={name: values[chosen] for name, values in evaluation.columns.items()},
    )


def _joined(rows: list[NDArray], kind: Any) -> NDArray:
    flat = [np.asarray(row, kind).reshape(-1) for row in rows]
    return np.concatenate(flat) if flat else np.empty(0, kind)
