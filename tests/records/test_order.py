"""Rows of several waves and processes: in the order of one process, each seed's evaluation once."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from fake_population import small

from purejax_mgtopo.config import Config
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.metrics import LEADING, Evaluation, Metrics, read_metrics

FIRST, LANES = 5, 6
EPISODES = (20, 40)
CONFIG = small(first_seed=FIRST, seeds=2 * LANES, lanes=LANES)
WAVES = [Wave(index, FIRST + index * LANES, LANES) for index in range(2)]


def told(seeds: np.ndarray, episode: int, shift: float = 0.0) -> Evaluation:
    """Numbers that tell seed, episode and column apart."""
    value = 1000.0 * seeds + episode + shift
    columns = {name: (value + k / 8).astype(np.float32) for k, name in enumerate(LEADING)}
    pairs = value[:, None, None] + np.arange(4).reshape(2, 2) / 16
    columns["pair_rate"] = pairs.astype(np.float32)
    return Evaluation(
        episode, 25 * episode, seeds.astype(np.int32), (seeds + episode // 20) % 3 > 0, columns
    )


def gathered(evaluations: list[Evaluation], config: Config = CONFIG) -> Metrics:
    metrics = Metrics(config)
    for evaluation in evaluations:
        metrics.append(evaluation)
    return metrics


def table(folder: Path, name: str, evaluations: list[Evaluation]) -> Path:
    path = folder / name
    path.write_bytes(gathered(evaluations).as_parquet())
    return path


def whole() -> list[Evaluation]:
    return [told(wave.first_seed + np.arange(LANES), e) for wave in WAVES for e in EPISODES]


def same(found: Metrics, expected: Metrics) -> bool:
    assert len(found) == len(expected)
    return found.digest() == expected.digest() and found.as_parquet() == expected.as_parquet()


@pytest.mark.parametrize("shares", [(3, 3), (2, 4), (1, 2, 3)])
def test_tables_of_processes_join_to_the_table_of_one(
    shares: tuple[int, ...], tmp_path: Path
) -> None:
    ends = np.cumsum((0, *shares))
    paths = []
    for process, (start, stop) in enumerate(zip(ends, ends[1:], strict=False)):
        parts = [
            told(wave.first_seed + np.arange(start, stop), e) for wave in WAVES for e in EPISODES
        ]
        paths.append(table(tmp_path, f"{process}.parquet", parts))
    joined = Metrics(CONFIG)
    joined.joined(paths)
    assert same(joined, gathered(whole()))


def test_of_a_seed_in_two_tables_the_first_one_counts(tmp_path: Path) -> None:
    seeds = FIRST + np.arange(LANES)
    first = table(tmp_path, "a.parquet", [told(seeds[:4], e) for e in EPISODES])
    second = table(tmp_path, "b.parquet", [told(seeds[2:], e, shift=0.5) for e in EPISODES])
    joined = Metrics(CONFIG)
    joined.joined([first, second])
    expected = [
        part for e in EPISODES for part in (told(seeds[:4], e), told(seeds[4:], e, shift=0.5))
    ]
    assert same(joined, gathered(expected))


def test_what_was_written_is_read_evaluation_by_evaluation(tmp_path: Path) -> None:
    """With waves that were evaluated once too, at the same episode, and a wave that is under way."""
    for rows in (whole(), whole()[:3], [whole()[0], whole()[2]], whole()[:1], []):
        found = list(read_metrics([table(tmp_path, "x.parquet", rows)]))
        assert len(found) == len(rows)
        for one, other in zip(found, rows, strict=True):
            assert (one.episode, one.env_steps) == (other.episode, other.env_steps)
            np.testing.assert_array_equal(one.seeds, other.seeds)
            np.testing.assert_array_equal(one.finite, other.finite)
            assert list(one.columns) == list(other.columns)
            for name, values in other.columns.items():
                np.testing.assert_array_equal(one.columns[name], values)


@pytest.mark.parametrize("told_still", [("config",), ("task",), ()])
def test_a_table_that_tells_less_of_itself_is_read(
    told_still: tuple[str, ...], tmp_path: Path
) -> None:
    """As of older versions: without digest, without what shapes its columns have, without any word."""
    rows = [dataclasses.replace(r, columns={n: r.columns[n] for n in LEADING}) for r in whole()]
    path = table(tmp_path, "x.parquet", rows)
    sound = parquet.read_table(path)
    kept = {key: sound.schema.metadata[key.encode()] for key in told_still}
    parquet.write_table(sound.replace_schema_metadata(kept or None), path)
    found = list(read_metrics([path]))
    assert gathered(found).digest() == gathered(rows).digest()
    expected = [(row.episode, row.seeds.tolist()) for row in rows]
    assert [(row.episode, row.seeds.tolist()) for row in found] == expected


def test_every_number_is_in_its_column(tmp_path: Path) -> None:
    rows = parquet.read_table(table(tmp_path, "x.parquet", whole())).to_pylist()
    expected = [
        (told(np.array([seed]), episode), seed, episode)
        for wave in WAVES
        for episode in EPISODES
        for seed in wave.first_seed + np.arange(LANES)
    ]
    for row, (evaluation, seed, episode) in zip(rows, expected, strict=True):
        assert (row["seed"], row["episode"], row["env_steps"]) == (seed, episode, 25 * episode)
        assert row["finite"] == evaluation.finite[0]
        for name, values in evaluation.columns.items():
            np.testing.assert_array_equal(row[name], values.reshape(-1))


def test_a_table_with_another_number_or_setting_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "x.parquet", whole())
    sound = parquet.read_table(path)
    pairs = pa.list_(pa.field("item", pa.float32(), nullable=False), 4)
    told = sound.schema.metadata
    sealed = [gathered(whole()).digest().encode(), told[b"config"], told[b"shapes"]]
    assert told[b"digest"].decode() == hashlib.sha256(b"\n".join(sealed)).hexdigest()
    assert sound.schema.field("pair_rate") == pa.field("pair_rate", pairs, nullable=False)
    changed = []
    for at, name in enumerate(sound.column_names):
        cells = sound[name].to_pylist()
        kind = sound.schema.field(name).type
        if name == "pair_rate":
            cells[0] = [*cells[0][:3], 0.5]
        else:
            cells[0] = not cells[0] if kind == pa.bool_() else cells[0] + 1
        other = sound.set_column(at, sound.schema.field(name), pa.array(cells, kind))
        changed.append(other.replace_schema_metadata(sound.schema.metadata))
    first = told[b"digest"][:1]
    for key, word, instead in (
        (b"config", b" 6", b" 5"),
        (b"shapes", b"[2, 2]", b"[4]"),
        (b"digest", first, b"b" if first == b"a" else b"a"),
    ):
        metadata = dict(sound.schema.metadata)
        assert word in metadata[key]
        metadata[key] = metadata[key].replace(word, instead)
        changed.append(sound.replace_schema_metadata(metadata))
    for other in changed:
        parquet.write_table(other, path)
        with pytest.raises(ValueError, match="its rows differ from what was written"):
            list(read_metrics([path]))
    parquet.write_table(sound, path)
    assert len(list(read_metrics([path]))) == 4


@pytest.mark.parametrize(
    ("wave", "episode", "kept"), [(0, 0, 0), (0, 20, 1), (0, 40, 2), (1, 0, 2), (1, 20, 3)]
)
def test_what_came_later_is_forgotten(wave: int, episode: int, kept: int) -> None:
    metrics = gathered(whole())
    part = metrics.until(WAVES[wave], episode)
    assert same(part, gathered(whole()[:kept])) if kept else not len(part)
    assert same(metrics, gathered(whole()))  # it itself forgets nothing
    metrics.rewind(WAVES[wave], episode)
    assert len(metrics) == LANES * kept and metrics.digest() == part.digest()


def test_waves_of_one_seed(tmp_path: Path) -> None:
    config = small(first_seed=FIRST, seeds=3, lanes=1)
    rows = [told(np.array([FIRST + index]), e) for index in range(3) for e in EPISODES]
    first, second = Wave(0, FIRST, 1), Wave(1, FIRST + 1, 1)
    metrics = gathered(rows, config)
    assert same(metrics.until(second, 20), gathered(rows[:3], config))
    assert metrics.non_finite(first) == int(not rows[1].finite[0])
    assert metrics.non_finite(second) == int(not rows[3].finite[0])
    joined = Metrics(config)
    joined.joined([table(tmp_path, f"{at}", rows[2 * at : 2 * at + 2]) for at in range(3)])
    assert same(joined, metrics)


def test_frozen_seeds_are_counted_at_the_last_evaluation_of_their_wave() -> None:
    metrics = gathered(whole()[:3])
    for wave, last in zip(WAVES, (whole()[1], whole()[2]), strict=True):
        assert metrics.non_finite(wave) == int((~last.finite).sum()) > 0
    assert metrics.non_finite(Wave(2, FIRST + 2 * LANES, LANES)) == 0


def test_each_number_counts_in_the_digest() -> None:
    """Any cell changed, moved to another column, or of another seed or time, is another table."""
    seeds = FIRST + np.arange(LANES)
    base = told(seeds, 20)
    seen = {gathered([base]).digest(), gathered([]).digest()}
    others = [
        told(seeds + 1, 20),
        told(seeds, 40),
        Evaluation(20, 1, base.seeds, base.finite, base.columns),
        Evaluation(20, base.env_steps, base.seeds, ~base.finite, base.columns),
        Evaluation(20, base.env_steps, base.seeds + 1, base.finite, base.columns),
        Evaluation(21, base.env_steps, base.seeds, base.finite, base.columns),
    ]
    names = list(base.columns)
    for name in names:
        values = base.columns[name].copy()
        values.reshape(-1)[-1] += 1
        others.append(
            Evaluation(20, base.env_steps, base.seeds, base.finite, base.columns | {name: values})
        )
    turned = dict(zip(names, [base.columns[n] for n in (names[1], names[0], *names[2:])], strict=1))
    others.append(Evaluation(20, base.env_steps, base.seeds, base.finite, turned))
    flat = base.columns | {"pair_rate": base.columns["pair_rate"].reshape(LANES, 4)}
    others.append(Evaluation(20, base.env_steps, base.seeds, base.finite, flat))
    for other in others:
        digest = gathered([other]).digest()
        assert digest not in seen
        seen.add(digest)
