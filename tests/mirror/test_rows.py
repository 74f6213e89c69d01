"""The mirror's rows, against plain NumPy and SciPy."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from fake_population import small

from purejax_mgtopo.analysis.statistics import interquartile_mean, stratified_bootstrap
from purejax_mgtopo.config import EvaluationConfig
from purejax_mgtopo.mirror.feed import Feed
from purejax_mgtopo.mirror.rows import (
    HEAT_MAP,
    HeatMap,
    Histogram,
    evaluation_row,
    final_row,
    pixels,
    progress_row,
    seed_row,
    seed_table,
    shown_name,
    summarised,
    together,
)
from purejax_mgtopo.records.metrics import Evaluation


def made(seeds: int = 7, agents: int = 3, first: int = 0, episode: int = 20) -> Evaluation:
    rng = np.random.default_rng(100 * first + episode)
    columns = {
        name: rng.normal(size=seeds)
        for name in ("return_sampled", "return_greedy", "train_return", "critic_loss")
    }
    columns["edge_rate"] = rng.uniform(size=seeds)
    columns["meta_gradient_norm"] = np.full(seeds, np.nan)
    columns["pair_rate"] = rng.uniform(size=(seeds, agents, agents))
    return Evaluation(
        episode=episode,
        env_steps=25 * episode,
        seeds=np.arange(first, first + seeds, dtype=np.int32),
        finite=np.ones(seeds, bool),
        columns={name: value.astype(np.float32) for name, value in columns.items()},
    )


def broken(evaluation: Evaluation, seed: int, column: str | None = None) -> Evaluation:
    """`seed` frozen with numbers as they were, or, with a column, alive but without that number."""
    finite = evaluation.finite.copy()
    columns = {name: values.copy() for name, values in evaluation.columns.items()}
    if column is None:
        finite[seed] = False
        columns["critic_loss"][seed] = 1e30
    else:
        columns[column][seed] = np.inf
    return dataclasses.replace(evaluation, finite=finite, columns=columns)


def test_statistics_are_over_the_healthy_seeds() -> None:
    evaluation = broken(broken(made(), 2), 5, "return_greedy")
    row = evaluation_row(evaluation, small().experiment)
    kept = [0, 1, 3, 4, 6]
    assert (row["seeds/total"], row["seeds/non_finite"]) == (7, 2)
    assert (row["env_steps"], row["episode"]) == (500, 20)
    for name in ("return_sampled", "return_greedy", "train_return", "edge_rate"):
        values = evaluation.columns[name][kept].astype(float)
        assert row[f"{name}/iqm"] == pytest.approx(scipy.stats.trim_mean(values, 0.25), rel=1e-12)
        assert row[f"{name}/mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert row[f"{name}/median"] == pytest.approx(np.median(values), rel=1e-12)
        assert row[f"{name}/q95"] == pytest.approx(np.percentile(values, 95), rel=1e-12)
        interval = stratified_bootstrap([values])
        assert row[f"{name}/low"] == pytest.approx(interval.low, rel=1e-12)
        assert row[f"{name}/high"] == pytest.approx(interval.high, rel=1e-12)
        histogram = row[f"{name}/histogram"]
        assert isinstance(histogram, Histogram)
        assert histogram.counts.sum() == 5
        assert (histogram.edges[0], histogram.edges[-1]) == (values.min(), values.max())
    losses = evaluation.columns["critic_loss"][kept].astype(float)
    assert row["metrics/critic_loss"] == pytest.approx(
        scipy.stats.trim_mean(losses, 0.25), rel=1e-6
    )
    assert "metrics/meta_gradient_norm" not in row  # the rule has no such thing
    rates = evaluation.columns["pair_rate"][kept].astype(float).mean(axis=0)
    assert row["pair_rate/0_from_2"] == pytest.approx(rates[0, 2], rel=1e-12)
    assert row["pair_rate/2_from_0"] == pytest.approx(rates[2, 0], rel=1e-12)
    assert "pair_rate/1_from_1" not in row
    assert all(math.isfinite(v) for v in row.values() if isinstance(v, float))


def test_one_seed_has_no_interval_and_none_has_no_statistics() -> None:
    row = evaluation_row(made(seeds=1), small().experiment)
    assert "return_sampled/iqm" in row
    assert "return_sampled/low" not in row
    dead = broken(made(seeds=1), 0)
    assert evaluation_row(dead, small().experiment) == {
        "env_steps": 500,
        "episode": 20,
        "seeds/total": 1,
        "seeds/non_finite": 1,
    }


@pytest.mark.parametrize("evaluations", [1, 7, 20, 21, 100, 333])
def test_pictures_stay_few_and_show_the_end(evaluations: int) -> None:
    experiment = small(
        episodes=10 * evaluations, evaluation=EvaluationConfig(every=10), chunk_episodes=10
    ).experiment
    pictured = [
        episode
        for episode in range(10, experiment.episodes + 1, 10)
        if HEAT_MAP in evaluation_row(made(seeds=1, episode=episode), experiment)
    ]
    assert min(evaluations, 20) / 2 <= len(pictured) <= 20
    assert pictured[-1] == experiment.episodes


def test_a_last_evaluation_off_the_beat_is_pictured() -> None:
    experiment = small(episodes=50).experiment
    assert isinstance(evaluation_row(made(episode=50), experiment)[HEAT_MAP], HeatMap)


def test_pixels_show_receivers_as_rows() -> None:
    rates = np.zeros((3, 3))
    rates[0, 2] = 1
    picture = pixels(rates)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    dark = np.argwhere(
        (picture == [8, 48, 107]).all(axis=-1)
    )  # the open edge; the scale's end is beside the map
    mine = dark[dark[:, 1] < 0.75 * picture.shape[1]]
    grey = np.argwhere((picture == [190, 190, 190]).all(axis=-1))  # the diagonal
    assert len(mine) > 100
    assert mine[:, 0].max() < np.median(grey[:, 0]) and mine[:, 1].min() > np.median(grey[:, 1])


def test_parts_come_together_by_seed_each_once() -> None:
    later, earlier = made(3, first=4), made(4)
    whole = together([later, earlier, later])
    assert whole.seeds.tolist() == list(range(7))
    np.testing.assert_array_equal(
        whole.columns["pair_rate"],
        np.concatenate([earlier.columns["pair_rate"], later.columns["pair_rate"]]),
    )


def test_a_chunk_without_numbers_leaves_them_out() -> None:
    event = {"event": "chunk", "wave": 2, "episode": 10, "train_return": None, "seconds": 1800.0}
    assert progress_row(event, small().experiment) == {
        "progress/episode": 90,
        "progress/wave": 2,
        "progress/hours": 0.5,
    }


def test_a_seed_tells_only_its_own_finite_numbers() -> None:
    evaluation = broken(broken(made(3, first=4), 1), 1, "return_sampled")
    row = seed_row(evaluation, 5)
    assert row["finite"] == 0
    assert "seed/return_sampled" not in row
    assert row["seed/train_return"] == float(evaluation.columns["train_return"][1])
    headings, lines = seed_table(evaluation)
    assert headings[:2] == ["seed", "finite"]
    assert [line[:2] for line in lines] == [[4, True], [5, False], [6, True]]
    assert lines[1][headings.index("return_sampled")] is None
    assert "pair_rate" not in headings


def chunk(wave: int, episode: int) -> str:
    return json.dumps({"event": "chunk", "wave": wave, "episode": episode, "seconds": 1}) + "\n"


def test_a_line_still_being_written_waits(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text(chunk(0, 10) + chunk(0, 20)[:9])
    feed = Feed(tmp_path, small())
    assert [entry.step for entry in feed.take()] == [10]
    with open(events, "a") as file:
        file.write(chunk(0, 20)[9:] + "torn by a kill\n" + chunk(0, 30))
    assert [entry.step for entry in feed.take()] == [20, 30]
    assert list(feed.take()) == []


def test_what_was_told_is_not_told_again(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("".join(chunk(0, e) for e in (10, 20, 30)))
    feed = Feed(tmp_path, small(), since=20)
    assert [entry.step for entry in feed.take()] == [30]


def test_of_several_processes_evaluations_follow_when_all_are_known(tmp_path: Path) -> None:
    """This process has seeds 0 to 3 of 7; the others' come with the joined table."""
    from purejax_mgtopo.records.metrics import Metrics

    config = small(seeds=7)
    feed = Feed(tmp_path, config, alone=False)
    (tmp_path / "events.jsonl").write_text(chunk(0, 20) + chunk(0, 40))
    table = Metrics(config)
    for episode in (20, 40):
        mine, theirs = made(4, episode=episode), made(3, first=4, episode=episode)
        feed.add(mine)
        table.append(mine)
        table.append(theirs)
    told = list(feed.take())
    assert [entry.step for entry in told] == [20, 40]
    assert all("return_sampled/iqm" not in entry.row for entry in told)
    (tmp_path / "metrics.parquet").write_bytes(table.as_parquet())
    rest = list(feed.take_rest())
    assert [entry.step for entry in rest] == [41, 42]
    whole = together([made(4), made(3, first=4)])
    expected = evaluation_row(whole, config.experiment)
    assert rest[0].row["return_sampled/low"] == expected["return_sampled/low"]
    rebuilt = list(Feed(tmp_path, config).take())
    assert rebuilt[0].row["return_sampled/low"] == expected["return_sampled/low"]
    assert rebuilt[1].row["seeds/total"] == 7


def untrained(count: int = 7) -> Evaluation:
    """At episode 0, before which there was no training."""
    nothing = np.full(count, np.nan, np.float32)
    evaluation = made(count, episode=0)
    return dataclasses.replace(evaluation, columns=evaluation.columns | {"train_return": nothing})


def test_the_untrained_team_has_a_row_without_training() -> None:
    row = evaluation_row(untrained(), small().experiment)
    assert (row["seeds/total"], row["seeds/non_finite"]) == (7, 0)
    assert "return_sampled/iqm" in row and "edge_rate/low" in row
    assert not [name for name in row if name.startswith("train_return")]
    assert HEAT_MAP not in row


def test_the_untrained_team_is_the_first_row_of_a_run_in_one_wave(tmp_path: Path) -> None:
    event = json.dumps({"event": "evaluation", "wave": 0, "episode": 0, "return_sampled": 1}) + "\n"
    (tmp_path / "events.jsonl").write_text(event + chunk(0, 10))
    feed = Feed(tmp_path, small(seeds=7))
    feed.add(untrained())
    first, second = feed.take()
    assert (first.step, second.step) == (0, 10)
    expected = evaluation_row(untrained(), small().experiment)
    assert first.row.keys() == expected.keys()
    assert first.row["return_sampled/iqm"] == expected["return_sampled/iqm"]
    assert "return_sampled/iqm" not in second.row


def test_the_untrained_team_has_a_row_in_a_run_of_several_waves(tmp_path: Path) -> None:
    """It is whole in the last wave, whose first step comes after the last of the wave before."""
    config = small(seeds=14, lanes=7)
    length = config.experiment.episodes

    def wave(index: int) -> str:
        event = {"event": "evaluation", "wave": index, "episode": 0, "return_sampled": 1}
        return json.dumps(event) + "\n" + chunk(index, 10) + chunk(index, length)

    events, second = tmp_path / "events.jsonl", made(7, first=7, episode=0)
    events.write_text(wave(0))
    feed = Feed(tmp_path, config)
    feed.add(untrained())
    assert [entry.step for entry in feed.take()] == [10, length]  # a wave alone tells nothing
    events.write_text(wave(0) + wave(1))
    feed.add(second)
    first, *rest = feed.take()
    expected = evaluation_row(together([untrained(), second]), config.experiment)
    assert first.row["return_sampled/iqm"] == expected["return_sampled/iqm"]
    assert (first.row["episode"], first.row["seeds/total"]) == (0, 14)
    steps = [entry.step for entry in rest]
    assert length < first.step < steps[0] < steps[1] and len(steps) == 2
    assert [entry.row["progress/episode"] for entry in rest] == [length + 10, 2 * length]
    assert not any("return_sampled/iqm" in entry.row for entry in rest)
    again = Feed(tmp_path, config, since=first.step)  # resumed after that row
    assert [entry.step for entry in again.take()] == steps


def test_the_final_return_of_a_run_is_one_result() -> None:
    values = np.arange(7, dtype=np.float32)
    experiment = small(
        evaluation=EvaluationConfig(every=20, episodes=3, final_episodes=10)
    ).experiment
    last = made(7, episode=40)
    with_final = dataclasses.replace(last, columns=last.columns | {"final_return_sampled": values})
    row = final_row(with_final, experiment)
    assert row["final/final_return_iqm"] == 3.0  # of 1, ..., 5
    assert row["final/final_return_low"] < 3.0 < row["final/final_return_high"]
    assert row["final/final_return_episodes"] == 12  # four times three
    assert shown_name("final/final_return_iqm") in summarised()
    expected = interquartile_mean(last.columns["return_sampled"].astype(float))
    row = final_row(last, experiment)
    assert row["final/final_return_iqm"] == pytest.approx(float(expected))
    assert row["final/final_return_episodes"] == 3
    shown = evaluation_row(with_final, experiment)
    assert not [name for name in shown if "final" in name]  # no charts of one point
