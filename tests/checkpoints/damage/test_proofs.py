"""The records are proved: by themselves, by the checkpoints that came after them, and by what was sealed at the end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from fake_population import FakePopulation, FakeStore, small
from resume_cases import Notes, Stopping, same_run, tiny
from stand_ins import resume, train

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.records.run_data import load_run

TABLE, EVENTS = "metrics.parquet", "events.jsonl"


def contents(folder: Path) -> dict[str, bytes]:
    run = load_run(folder)
    arrays = {
        "episodes": run.episodes,
        "steps": run.env_steps,
        "seeds": run.seeds,
        "finite": run.finite,
    }
    return {name: array.tobytes() for name, array in {**arrays, **run.columns}.items()}


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "run"
    train(small(), folder, reporter=Notes(), population=FakePopulation, store=FakeStore({}))
    return folder


def flips(small_run: Path, positions: range | list[int]) -> int:
    """Flip a bit at each of them; how many went unseen and changed what is read."""
    table = small_run / TABLE
    sound, expected = table.read_bytes(), contents(small_run)
    silent = 0
    for position in positions:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        table.write_bytes(damaged)
        try:
            silent += contents(small_run) != expected
        except RunError as error:
            assert "\n" not in str(error) and "put the original back" in str(error)
    table.write_bytes(sound)
    return silent


def test_a_flipped_bit_of_a_table_changes_no_number_in_silence(small_run: Path) -> None:
    size = (small_run / TABLE).stat().st_size
    rng = np.random.default_rng(0)
    assert flips(small_run, sorted(rng.choice(size, 250, replace=False).tolist())) == 0


@pytest.mark.slow
def test_no_flipped_byte_of_a_table_changes_a_number_in_silence(small_run: Path) -> None:
    assert flips(small_run, range((small_run / TABLE).stat().st_size)) == 0


def edited(table: pa.Table) -> pa.Table:
    column = table["return_sampled"].to_pylist()
    column[1] += 0.5
    index = table.schema.get_field_index("return_sampled")
    return table.set_column(index, table.schema.field(index), pa.array(column, pa.float32()))


def doubled_and_lost(table: pa.Table) -> pa.Table:
    return table.take([0, 0, *range(2, len(table))])


def swapped(table: pa.Table) -> pa.Table:
    return table.take([*range(3, len(table)), 0, 1, 2])


@pytest.mark.parametrize("change", [edited, doubled_and_lost, swapped])
def test_a_table_that_is_well_formed_and_another_is_refused(
    change: Callable[[pa.Table], pa.Table], small_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    path = tmp_path / "run" / TABLE
    parquet.write_table(change(parquet.read_table(path)), path)
    with pytest.raises(RunError, match="differ from what was written"):
        load_run(tmp_path / "run")


def test_a_table_of_an_older_version_is_read(small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run, tmp_path / "run")
    path = tmp_path / "run" / TABLE
    table = parquet.read_table(path)
    metadata = {key: value for key, value in table.schema.metadata.items() if key != b"digest"}
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    assert contents(tmp_path / "run") == contents(small_run)


@pytest.fixture(scope="module")
def stopped(silent_population: Population, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train(
        tiny("none"),
        folder,
        reporter=Notes(),
        population=lambda config: Stopping(silent_population, 4),
    )
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b'"wall": ') + 8] ^= 1  # another digit
    path.write_bytes(content)


def strip(path: Path) -> None:
    """Another number, and nothing in the table that would tell."""
    table = edited(parquet.read_table(path))
    metadata = {key: value for key, value in table.schema.metadata.items() if key != b"digest"}
    parquet.write_table(table.replace_schema_metadata(metadata), path)


def bare(path: Path) -> None:
    """Not even what shapes its columns have."""
    parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)


DAMAGE = [(EVENTS, cut), (EVENTS, empty), (EVENTS, flip), (EVENTS, Path.unlink), (TABLE, strip)]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_records_that_lost_their_past_are_not_gone_on_with(
    name: str,
    damage: Callable[[Path], None],
    silent_population: Population,
    silent_run: Path,
    stopped: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    sound = (run / name).read_bytes()
    damage(run / name)
    with pytest.raises(
        RunError, match=f"{name} is not what it was when the checkpoint of"
    ) as error:
        resume(run, reporter=Notes(), population=lambda config: silent_population)
    assert "\n" not in str(error.value) and "put the original back" in str(error.value)
    (run / name).write_bytes(sound)
    resume(run, reporter=Notes(), population=lambda config: silent_population)
    same_run(silent_run, run)


def gone(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def flip_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.quick_cases(6)
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *DAMAGE,
        (TABLE, bare),
        (TABLE, gone),
        (TABLE, flip_middle),
        ("checkpoints", gone),
        ("checkpoints/wave_0", gone),
        (
            "config.json",
            lambda path: path.write_text(path.read_text().replace("command", "comand")),
        ),
        (".records.json", flip_middle),
    ],
)
@pytest.mark.parametrize("state", ["silent_run", "stopped"])
def test_verify_covers_all_that_a_run_keeps(
    state: str,
    name: str,
    damage: Callable[[Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(request.getfixturevalue(state), run)
    assert cli.main(["verify", str(run)]) == 0
    assert f"good  {run / TABLE}" in capsys.readouterr().out
    damage(run / name)
    assert cli.main(["verify", str(run)]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert any(
        line.startswith("BAD ") and name.partition("/")[0] in line
        for line in shown.out.splitlines()
    )
