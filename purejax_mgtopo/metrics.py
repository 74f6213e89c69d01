"""The table of metrics: one row per evaluation and seed, in memory and as Parquet."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purejax_mgtopo.config import Config, flatten

LEADING = ("return_sampled", "return_greedy", "train_return", "edge_rate")
"""Columns that every run has; whatever else the program measures follows them."""


class Metrics:
    """Rows gathered so far. Columns are fixed by the first evaluation."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._names: tuple[str, ...] = LEADING
        self._episodes: list[int] = []
        self._env_steps: list[int] = []
        self._finite: list[NDArray] = []
        self._values: list[list[NDArray]] = []

    def append(
        self, episode: int, env_steps: int, columns: Mapping[str, NDArray], finite: NDArray
    ) -> None:
        """Add one evaluation of all seeds; each column is [S]."""
        names = LEADING + tuple(name for name in columns if name not in LEADING)
        if self._values and names != self._names:
            raise ValueError(f"columns changed from {self._names} to {names}")
        self._names = names
        self._episodes.append(episode)
        self._env_steps.append(env_steps)
        self._finite.append(self._per_seed(finite, np.bool_))
        self._values.append([self._per_seed(columns[name], np.float32) for name in names])

    def as_parquet(self) -> bytes:
        """The whole table; the configuration goes into the schema's metadata under ``config``."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

        seeds, evaluations = self._config.seeds, len(self._episodes)
        first = self._config.first_seed
        columns: list[tuple[str, Any, NDArray]] = [
            ("episode", pa.int64(), np.repeat(np.array(self._episodes, np.int64), seeds)),
            ("env_steps", pa.int64(), np.repeat(np.array(self._env_steps, np.int64), seeds)),
            (
                "seed",
                pa.int32(),
                np.tile(np.arange(first, first + seeds, dtype=np.int32), evaluations),
            ),
        ]
        for at, name in enumerate(self._names):
            rows = [evaluation[at] for evaluation in self._values]
            columns.append((name, pa.float32(), _joined(rows, np.float32)))
        columns.append(("finite", pa.bool_(), _joined(self._finite, np.bool_)))
        schema = pa.schema(
            [pa.field(name, kind, nullable=False) for name, kind, _ in columns],
            metadata={"config": json.dumps(flatten(self._config))},
        )
        arrays = [pa.array(values, kind) for _, kind, values in columns]
        buffer = io.BytesIO()
        parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), buffer)
        return buffer.getvalue()

    def _per_seed(self, values: NDArray, kind: Any) -> NDArray:
        array = np.asarray(values, dtype=kind)
        if array.shape != (self._config.seeds,):
            raise ValueError(f"a metric must be [{self._config.seeds}], not {array.shape}")
        return array


def columns_of(
    training: Mapping[str, NDArray], evaluation: Mapping[str, NDArray]
) -> dict[str, NDArray]:
    """The table's columns from what the program measured in training and in an evaluation.

    ``edge_rate`` is the evaluation's, under sampled gates; a training metric whose name is taken
    gets ``train_``.
    """
    columns = {
        "edge_rate" if name == "edge_rate_sampled" else name: value
        for name, value in evaluation.items()
    }
    for name, value in training.items():
        columns[f"train_{name}" if name in columns else name] = value
    return columns


def fields_of(measured: Any) -> dict[str, NDArray]:
    """A dataclass, NamedTuple or mapping of per-seed arrays, by name."""
    if isinstance(measured, Mapping):
        return {name: np.asarray(value) for name, value in measured.items()}
    if dataclasses.is_dataclass(measured):
        names = [item.name for item in dataclasses.fields(measured)]
    else:
        names = list(measured._fields)
    return {name: np.asarray(getattr(measured, name)) for name in names}


def _joined(rows: list[NDArray], kind: Any) -> NDArray:
    return np.concatenate(rows) if rows else np.empty(0, kind)
