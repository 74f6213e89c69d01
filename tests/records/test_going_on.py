"""Records that are gone on with: what is kept, what is refused, what is written down."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from fake_population import small

from purejax_mgtopo.errors import RunError
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.metrics import FINAL, LEADING, Evaluation
from purejax_mgtopo.records.record import RunRecord, read_events
from purejax_mgtopo.records.run_data import load_run

FIRST, LANES = 5, 3
CONFIG = small(first_seed=FIRST, seeds=2 * LANES, lanes=LANES)
WAVES = [Wave(index, FIRST + index * LANES, LANES) for index in range(2)]
STEPS = [(0, 20), (0, 40), (1, 20), (1, 40)]
"""Wave and episode of each evaluation, and of the checkpoint after it."""


def tell(run: RunRecord, wave: int, episode: int) -> None:
    seeds = (WAVES[wave].first_seed + np.arange(LANES)).astype(np.int32)
    columns = {n: (100.0 * seeds + episode + k).astype(np.float32) for k, n in enumerate(LEADING)}
    run.event("chunk", wave=wave, episode=episode - 10)
    run.event("chunk", wave=wave, episode=episode)
    run.evaluation(Evaluation(episode, 25 * episode, seeds, np.ones(LANES, bool), columns))
    run.event("evaluation", wave=wave, episode=episode)
    run.event("checkpoint", wave=wave, episode=episode)


@pytest.fixture
def proofs(tmp_path: Path) -> list[dict[str, Any]]:
    """A whole run in `tmp_path`, and the proof of each of its checkpoints."""
    found = []
    with RunRecord(tmp_path, CONFIG, None) as run:
        for wave, episode in STEPS:
            tell(run, wave, episode)
            run.flush()
            found.append(run.proof())
        run.event("note", episode=10**9)
        run.event("end", episode=40)
    return found


def lines(folder: Path) -> list[tuple[Any, ...]]:
    return [(e["event"], e.get("wave"), e.get("episode")) for e in read_events(folder)]


@pytest.mark.parametrize("at", range(len(STEPS)))
def test_what_came_after_a_checkpoint_is_forgotten(
    at: int, proofs: list[dict[str, Any]], tmp_path: Path
) -> None:
    wave, episode = STEPS[at]
    expected = [("start", None, None)]
    for w, e in STEPS[: at + 1]:
        expected += [("chunk", w, e - 10), ("chunk", w, e), ("evaluation", w, e)]
        expected += [("checkpoint", w, e)]
    with RunRecord(tmp_path, CONFIG, None, resume=True) as run:
        run.rewind(WAVES[wave], episode, proofs[at])
        assert run.proof()["rows"] == proofs[at]["rows"]
        assert lines(tmp_path) == [*expected, ("note", None, 10**9)]
        run.event("resumed")
        for w, e in STEPS[at + 1 :]:
            tell(run, w, e)
        run.flush()
        assert run.proof()["rows"] == proofs[-1]["rows"]
        run.event("end", episode=40)
    assert lines(tmp_path).count(("end", None, 40)) == 1
    data = load_run(tmp_path)
    assert data.seeds.tolist() == [*range(FIRST, FIRST + 2 * LANES)]
    np.testing.assert_array_equal(data.return_sampled, 100.0 * data.seeds[:, None] + [20, 40])


def test_what_is_not_as_it_was_proved_is_refused(
    proofs: list[dict[str, Any]], tmp_path: Path
) -> None:
    for at, change, name in (
        (1, {"events": 64 * "0"}, "events.jsonl"),
        (1, {"events_bytes": proofs[1]["events_bytes"] - 1}, "events.jsonl"),
        (1, {"events_bytes": 10**9}, "events.jsonl"),
        (1, {"rows": proofs[0]["rows"]}, "metrics.parquet"),
    ):
        before = (tmp_path / "events.jsonl").read_bytes()
        with (
            pytest.raises(RunError, match=f"{name} is not what it was when the checkpoint of") as e,
            RunRecord(tmp_path, CONFIG, None, resume=True) as run,
        ):
            run.rewind(WAVES[0], 40, proofs[at] | change)
        assert "episode 40 was" in str(e.value) and "\n" not in str(e.value)
        assert (tmp_path / "events.jsonl").read_bytes() == before
    with RunRecord(tmp_path, CONFIG, None, resume=True) as run:
        run.rewind(WAVES[0], 40, {k: v for k, v in proofs[1].items() if k != "rows"})
        with pytest.raises(RunError, match="holds 6 of the 9 rows from before the checkpoint of"):
            run.rewind(WAVES[1], 20)


def test_each_process_proves_events_and_one_alone_its_rows(tmp_path: Path) -> None:
    with (
        RunRecord(tmp_path, CONFIG, None, processes=2) as first,
        RunRecord(tmp_path, CONFIG, None, process=1, processes=2) as second,
    ):
        assert set(first.proof()) == set(second.proof()) == {"events", "events_bytes"}
        second.rewind(WAVES[0], 20, {"events": "another's", "events_bytes": 7, "rows": "too"})
        second.join()  # which the first one does
        assert (tmp_path / "metrics.1.parquet").exists()
        with pytest.raises(RunError, match="holds 0 of the 12 rows of a finished run"):
            first.join()
        assert not (tmp_path / "metrics.1.parquet").exists()


def test_a_run_that_is_extended_says_from_where(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with RunRecord(tmp_path, small(), "mgtopo train"):
        pass
    written = path.read_bytes()
    length = 40
    for episodes, before in ((40, None), (80, [40]), (80, [40]), (120, [40, 80])):
        with RunRecord(tmp_path, small(episodes=episodes), None, resume=True) as run:
            assert json.loads(path.read_text())["settings"]["episodes"] == length
            run.rewind(Wave(0, 0, 3), 10)
            assert run.extended_from == (before or [])
        length = episodes
        document = json.loads(path.read_text())
        assert document["settings"]["episodes"] == episodes
        assert document.get("extended_from") == before
        assert document["command"] == "mgtopo train"
        assert before or path.read_bytes() == written


def test_a_run_that_had_trained_nothing_is_just_of_another_length(tmp_path: Path) -> None:
    with RunRecord(tmp_path, small(), None):
        pass
    with RunRecord(tmp_path, small(episodes=80), None, resume=True) as run:
        run.rewind(Wave(0, 0, 3), 0)
        assert run.extended_from == []
    document = json.loads((tmp_path / "config.json").read_text())
    assert document["settings"]["episodes"] == 80 and "extended_from" not in document


def test_the_clock_goes_on_and_a_process_says_who_it_is(tmp_path: Path) -> None:
    with RunRecord(tmp_path, small(), None) as run:
        run.event("chunk", episode=10, seconds=5000.0)
        run.event("chunk", episode=20, seconds=70.0)
    with open(tmp_path / "events.jsonl", "a") as file:
        file.write('{"event": "written by hand"}\n{"event": "torn')
    with RunRecord(tmp_path, small(), None, resume=True) as run:
        run.event("resumed")
        run.event("chunk", episode=30)
    events = list(read_events(tmp_path))
    assert [e["event"] for e in events] == [
        "start", "chunk", "chunk", "written by hand", "resumed", "chunk",
    ]  # fmt: skip
    assert ["process" in e for e in events] == [True, False, False, False, True, False]
    assert all(5000 <= e["seconds"] < 5600 for e in events[-2:])
    assert 0 <= events[0]["seconds"] < 600


@pytest.mark.parametrize("beat", [(20, 40), (0, 20, 40), (20, 40, 50), (0, 20, 40, 50)], ids=str)
def test_rows_are_counted_with_the_untrained_teams_and_a_last_one_off_the_beat(
    beat: tuple[int, ...], tmp_path: Path
) -> None:
    """A table that lost a row, or has one more, is noticed at every checkpoint of every wave."""
    config = small(first_seed=FIRST, seeds=2 * LANES, lanes=LANES, episodes=beat[-1])
    done, found = [(wave, episode) for wave in range(2) for episode in beat], []
    with RunRecord(tmp_path, config, None) as run:
        for wave, episode in done:
            tell(run, wave, episode)
            run.flush()
            found.append(run.proof())
    for (wave, episode), proof in reversed(list(zip(done, found, strict=True))):
        if episode == 0:  # nothing was trained, and nothing saved
            continue
        with RunRecord(tmp_path, config, None, resume=True) as run:
            run.rewind(WAVES[wave], episode, proof)
            assert run.proof()["rows"] == proof["rows"]


def test_a_table_that_is_none_is_one_line_with_what_to_do(
    proofs: list[dict[str, Any]], tmp_path: Path
) -> None:
    del proofs
    (tmp_path / "metrics.parquet").write_bytes(b"no table")
    with pytest.raises(RunError) as caught, RunRecord(tmp_path, CONFIG, None, resume=True):
        pass
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'metrics.parquet'} cannot be read (")
    assert f"move {tmp_path / 'checkpoints'} away to begin anew" in line and "\n" not in line


@pytest.mark.parametrize("wave", [0, 1])
def test_a_wave_that_begins_once_more_forgets_its_untrained_team_too(
    wave: int, tmp_path: Path
) -> None:
    """Nothing of it was saved; what earlier waves left stays."""
    beat = (0, 20, 40)
    with RunRecord(tmp_path, CONFIG, None) as run:
        for w in range(wave + 1):
            for episode in beat:
                tell(run, w, episode)
        run.flush()
    with RunRecord(tmp_path, CONFIG, None, resume=True) as run:
        run.rewind(WAVES[wave], 0, None)
    expected = [("start", None, None)]
    for w, e in ((w, e) for w in range(wave) for e in beat):
        expected += [("chunk", w, e - 10), ("chunk", w, e), ("evaluation", w, e)]
        expected += [("checkpoint", w, e)]
    assert lines(tmp_path) == expected
    assert parquet.read_table(tmp_path / "metrics.parquet").num_rows == wave * LANES * len(beat)


def test_a_run_that_is_extended_and_killed_at_once_still_has_what_was_proved(
    tmp_path: Path,
) -> None:
    """Its final evaluation is forgotten when it goes on, and is no part of what a checkpoint proves."""
    config = small(first_seed=FIRST, seeds=LANES, lanes=LANES, episodes=40)
    seeds = FIRST + np.arange(LANES, dtype=np.int32)
    with RunRecord(tmp_path, config, None) as run:
        for episode in (0, 20, 40):
            columns = {name: np.float32(seeds + episode) for name in LEADING}
            last = np.full(LANES, 7.0 if episode == 40 else np.nan, np.float32)
            columns |= {f"{FINAL}{LEADING[0]}": last}
            told = Evaluation(episode, 25 * episode, seeds, np.ones(LANES, bool), columns)
            run.evaluation(told)
        run.flush()
        proof = run.proof()
    longer = dataclasses.replace(
        config, experiment=dataclasses.replace(config.experiment, episodes=80)
    )
    for finals in (1, 0):  # after the first time the table has none
        table = parquet.read_table(tmp_path / "metrics.parquet")
        values = table[f"{FINAL}{LEADING[0]}"].to_numpy()
        assert np.isfinite(values).sum() == finals * LANES
        with RunRecord(tmp_path, longer, None, resume=True) as run:
            run.rewind(WAVES[0], 40, proof)


@pytest.mark.parametrize("untrained", [True, False])
def test_another_process_goes_on_with_nothing_and_keeps_what_the_first_one_keeps(
    untrained: bool, tmp_path: Path
) -> None:
    """A later wave's untrained team too, unless an older version began the run, and never evaluated any."""
    seeds, alive = np.array([FIRST], np.int32), np.ones(1, bool)
    columns = {name: np.ones(1, np.float32) for name in LEADING}
    config = small(first_seed=FIRST, seeds=4, lanes=2)

    def evaluated(run: RunRecord, seed: int, episode: int) -> None:
        run.evaluation(Evaluation(episode, 25 * episode, seeds + seed, alive, columns))

    first, second = partial(RunRecord, processes=2), partial(RunRecord, process=1, processes=2)
    beat = [0, 20, 40] if untrained else [20, 40]
    with first(tmp_path, config, None) as one, second(tmp_path, config, None) as other:
        for episode in beat[:-1]:
            evaluated(one, 0, episode)
            evaluated(other, 1, episode)
        one.flush()
        other.flush()
    resumed = {"resume": True}
    with first(tmp_path, config, None, **resumed) as one:
        with second(tmp_path, config, None, **resumed) as other:
            for run in (one, other):
                run.rewind(Wave(0, FIRST, 2), 20)
            for seed, episode in [(0, 40), *((2, episode) for episode in (0, 20, 40))]:
                evaluated(one, seed, episode)
                evaluated(other, seed + 1, episode)
            one.flush()
            other.flush()
            one.join()
    rows = parquet.read_table(tmp_path / "metrics.parquet").to_pylist()
    told = [(row["episode"], row["seed"] - FIRST) for row in rows]
    assert told == [(e, s) for wave in ((0, 1), (2, 3)) for e in beat for s in wave]
