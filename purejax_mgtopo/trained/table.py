"""The table of `mgtopo evaluate`: a row for every run, seed and condition. Reading it starts no JAX."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from purejax_mgtopo.analysis.normalised import normalised_score
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.machine.paths import expanded, written_out
from purejax_mgtopo.records.files import clear_disk_errors, make_ready_for, write_atomically
from purejax_mgtopo.records.run_names import word_for

if TYPE_CHECKING:
    from purejax_mgtopo.trained.assess import Assessment

FILE_NAME = "evaluation.parquet"
_KIND = b"purejax_mgtopo.evaluation"


def write_table(assessments: Sequence[Assessment], path: Path) -> Path:
    """Parquet: one row per run, seed and condition; a task's own measures are null in other tasks' rows.

    Raises RunError if it cannot be written, or if `path` holds something other than an older such table.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = expanded(path)
    rows = [row for assessment in _each_once(assessments) for row in _rows(assessment)]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    table = table.replace_schema_metadata({_KIND: json.dumps({"format": 1})})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    with clear_disk_errors(path):
        refuse_foreign_table(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    return path


def refuse_foreign_table(path: Path) -> None:
    """Raise RunError if `path` holds something other than an older table of evaluations, or cannot be written."""
    path = expanded(path)
    if path.is_file() and not _is_table(path):
        raise RunError(f"{path} is not a table of `mgtopo evaluate`; choose another file")
    make_ready_for(path)


def _each_once(assessments: Sequence[Assessment]) -> Iterator[Assessment]:
    """Raises RunError where two tell of the same seed on the same episodes, which would count it twice."""
    known: set[tuple[Path, int, int]] = set()
    for assessment in assessments:
        place = assessment.folder.resolve()
        for seed in assessment.seeds:
            if (place, seed, assessment.episode_seed) in known:
                raise RunError(f"seed {seed} of {place} stands in the table twice; give it once")
            known.add((place, seed, assessment.episode_seed))
        yield assessment


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of such a table. Raises RunError for a file that is none."""
    import pyarrow.parquet as parquet

    path = expanded(path)
    if not _is_table(path):
        raise RunError(f"{path} is not a table of `mgtopo evaluate`")
    with path.open("rb") as file:  # Arrow cannot be told every name
        return parquet.read_table(file).to_pylist()


def _rows(assessment: Assessment) -> list[dict[str, Any]]:
    experiment, outcome = assessment.experiment, assessment.outcome
    score = normalised_score(experiment.task, outcome.episodic_return)
    return [
        {
            "run": written_out(assessment.folder),
            "task": experiment.task,
            "method": word_for(assessment.folder, experiment),
            "topology": experiment.topology,
            "messages": experiment.messages,
            "trained_episodes": assessment.trained_episodes,
            "seed": seed,
            "finite": bool(assessment.finite[s]),
            "condition": condition,
            "episodes": assessment.episodes,
            "episode_seed": assessment.episode_seed,
            "return": float(outcome.episodic_return[s, c]),
            "return_standard_error": float(outcome.standard_error[s, c]),
            "normalised_score": _known(score[s, c]),
            "edge_rate": float(outcome.edge_rate[s, c]),
        }
        | {name: _known(values[s, c]) for name, values in outcome.edge_quality.items()}
        | {name: float(values[s, c]) for name, values in outcome.measures.items()}
        | {f"{name}_end": float(values[s, c]) for name, values in outcome.measures_end.items()}
        for s, seed in enumerate(assessment.seeds)
        for c, condition in enumerate(assessment.conditions)
    ]


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _is_table(path: Path) -> bool:
    import pyarrow.parquet as parquet

    try:
        with path.open("rb") as file:
            return _KIND in (parquet.read_schema(file).metadata or {})
    except (OSError, ValueError):
        return False
