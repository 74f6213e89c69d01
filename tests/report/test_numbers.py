"""Every number between the device and the page, each asserted once against the arrays that the device told.

No two numbers are alike: they differ between seeds, columns, receivers and senders, chunks and evaluations.
"""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import scipy.stats
import stand_ins
from fake_population import FakePopulation, FakeStore, Notes, State, small
from rich.console import Console
from wandb_files import offline_runs

from purejax_mgtopo.analysis.curves import draw_curves, summarise_run
from purejax_mgtopo.analysis.figures import Curve
from purejax_mgtopo.cli.status import status_table
from purejax_mgtopo.cli.tables import summary_table
from purejax_mgtopo.config import EvaluationConfig
from purejax_mgtopo.population.state import ChunkReport
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records.record import read_events
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.report.collect import read_run
from purejax_mgtopo.report.page import cost_chart, curve_chart, final_chart, looks_of, render
from purejax_mgtopo.report.report import build_report
from purejax_mgtopo.training.run_state import read_state

SEEDS, AGENTS, CHUNKS, EVERY = 6, 3, 6, 2
TRAINING = ("train_return", "edge_rate", "critic_loss", "policy_loss")
RETURNS = ("return_sampled", "return_greedy")
RATES = ("edge_rate", "edge_rate_greedy")
COSTS = ("edges_per_step", "messages_per_step", "bits_per_step")
QUALITIES = ("edge_precision", "edge_recall")
UNTOLD = 2
"""The seed that opens no edge, and so has no precision."""


def number(kind: str, chunk: int, shape: tuple[int, ...], rate: bool) -> np.ndarray:
    """Made-up numbers of a kind and chunk, the same whenever asked for."""
    rng = np.random.default_rng([*kind.encode(), chunk])
    values = rng.uniform(size=shape) if rate else rng.normal(-30 + 3 * chunk, 5, shape)
    return values.astype(np.float32)


def training(chunk: int) -> dict[str, np.ndarray]:
    return {n: number(f"t {n}", chunk, (SEEDS,), n == "edge_rate") for n in TRAINING}


def evaluation(chunk: int) -> dict[str, np.ndarray]:
    told = {name: number(name, chunk, (SEEDS,), False) for name in RETURNS}
    told |= {name: number(name, chunk, (SEEDS,), True) for name in (*RATES, *QUALITIES)}
    told |= {name: abs(number(name, chunk, (SEEDS,), False)) for name in COSTS}
    told["edge_precision"][UNTOLD] = np.nan
    return told | {"pair_rate": number("pairs", chunk, (SEEDS, AGENTS, AGENTS), True)}


@dataclass
class Distinct(FakePopulation):
    """Tells the made-up numbers."""

    def advance(self, state: State, wave: Wave) -> tuple[State, ChunkReport]:
        state, report = super().advance(state, wave)
        chunk = report.episode // self.config.experiment.chunk_episodes
        since = None
        if report.evaluation is not None:
            past = [training(c) for c in range(chunk - EVERY + 1, chunk + 1)]
            since = {n: np.mean([p[n] for p in past], axis=0) for n in TRAINING}
            since["train_edge_rate"] = since.pop("edge_rate")
        return state, dataclasses.replace(
            report,
            training=training(chunk),
            since_evaluation=since,
            evaluation=None if since is None else evaluation(chunk),
        )


class Told:
    """A whole run of these numbers, and where they went."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "toy_follow_holder" / "meta"
        self.notes, self.store = Notes(), FakeStore({})
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("WANDB_MODE", raising=False)
            stand_ins.train(
                small(
                    seeds=SEEDS,
                    episodes=10 * CHUNKS,
                    evaluation=EvaluationConfig(every=10 * EVERY, episodes=2),
                    wandb="offline",
                ),
                self.folder,
                reporter=self.notes,
                population=Distinct,
                store=self.store,
            )
        self.run = load_run(self.folder)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(tmp_path_factory.mktemp("numbers"))


EVALUATED = range(EVERY, CHUNKS + 1, EVERY)
LAST = evaluation(CHUNKS)


def iqm(values: np.ndarray) -> float:
    return float(scipy.stats.trim_mean(np.asarray(values, float), 0.25))


def test_the_terminal_shows_each_chunks_means_over_seeds(told: Told) -> None:
    for tick, chunk in zip(told.notes.ticks, range(1, CHUNKS + 1), strict=True):
        assert tick.episode == 10 * chunk
        assert tick.train_return == pytest.approx(training(chunk)["train_return"].mean(), rel=1e-6)
        assert tick.edge_rate == pytest.approx(training(chunk)["edge_rate"].mean(), rel=1e-6)


def test_events_tell_each_chunk_and_evaluation(told: Told) -> None:
    events = list(read_events(told.folder))
    chunks = [e for e in events if e["event"] == "chunk"]
    for event, chunk in zip(chunks, range(1, CHUNKS + 1), strict=True):
        assert event["episode"] == 10 * chunk
        assert event["env_steps"] == 25 * (40 + 10 * chunk)
        for name in ("train_return", "edge_rate"):
            assert event[name] == pytest.approx(training(chunk)[name].mean(), rel=1e-6)
    evaluations = [e for e in events if e["event"] == "evaluation"]
    for event, chunk in zip(evaluations, EVALUATED, strict=True):
        for name in (*RETURNS, *RATES):
            assert event[name] == pytest.approx(evaluation(chunk)[name].mean(), rel=1e-6), name


def test_the_table_and_its_reader_hold_every_array(told: Told) -> None:
    table = parquet.read_table(told.folder / "metrics.parquet").to_pydict()
    assert table["seed"] == [*range(SEEDS)] * len(EVALUATED)
    assert set(told.run.columns) == {
        *RETURNS, *RATES, *COSTS, *QUALITIES, "pair_rate", "train_edge_rate", *(set(TRAINING) - {"edge_rate"}),
    }  # fmt: skip
    assert told.run.episodes.tolist() == [10 * chunk for chunk in EVALUATED]
    assert told.run.env_steps.tolist() == [25 * (40 + 10 * chunk) for chunk in EVALUATED]
    for at, chunk in enumerate(EVALUATED):
        rows = slice(at * SEEDS, (at + 1) * SEEDS)
        expected = evaluation(chunk)
        past = [training(chunk - 1), training(chunk)]
        for name in TRAINING:
            column = "train_edge_rate" if name == "edge_rate" else name
            expected[column] = np.mean([p[name] for p in past], axis=0)
        for name, values in expected.items():
            flat = values.reshape(SEEDS, -1) if name == "pair_rate" else values
            np.testing.assert_allclose(table[name][rows], flat, rtol=1e-6, err_msg=name)
            np.testing.assert_allclose(told.run.column(name)[:, at], values, rtol=1e-6)
    for name in ("return_sampled", "return_greedy", "edge_rate", "train_return"):
        np.testing.assert_array_equal(getattr(told.run, name), told.run.columns[name])
    np.testing.assert_allclose(told.run.pair_rate[4, 2, 0, 2], LAST["pair_rate"][4, 0, 2])


def test_the_score_of_a_checkpoint_is_the_sampled_returns_iqm(told: Told) -> None:
    """Higher is better: a negated one would keep the worst as the best."""
    assert told.store.scores == [pytest.approx(iqm(LAST["return_sampled"]), rel=1e-6)]


def test_a_run_in_numbers(told: Told) -> None:
    summary = summarise_run("meta", told.run)
    assert summary.final_return.point == pytest.approx(iqm(LAST["return_sampled"]), rel=1e-6)
    assert summary.edge_rate == pytest.approx(iqm(LAST["edge_rate"]), rel=1e-6)
    assert (summary.task, summary.method) == ("toy_follow_holder", "meta")
    assert (summary.finite, summary.seeds) == (SEEDS, SEEDS)
    assert summary.minutes == pytest.approx(told.run.seconds / 60)
    words = printed(summary_table([dataclasses.replace(summary, minutes=12.34)]))
    final = summary.final_return
    assert f"{final.point:.2f} [{final.low:.2f}, {final.high:.2f}]" in words
    assert f"{summary.edge_rate:.0%}" in words and "12.3" in words
    assert words.split().index("meta") < words.split().index(f"{final.point:.2f}")


def printed(table: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return out.getvalue()


def test_the_status_of_a_run(told: Told) -> None:
    state = read_state(told.folder)
    assert state.returns == pytest.approx(LAST["return_sampled"].mean(), rel=1e-6)
    assert state.edge_rate == pytest.approx(LAST["edge_rate"].mean(), rel=1e-6)
    assert (state.episode, state.checkpoint) == (10 * CHUNKS, 10 * CHUNKS)
    words = printed(status_table([state]))
    assert f"{state.returns:.2f}" in words and f"{state.edge_rate:.0%}" in words


def test_figures_draw_sampled_returns_and_sampled_edges(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Curve] = []

    def keep(curves: list[Curve], path: Path, **_: Any) -> Path:
        drawn.extend(curves)
        return path

    monkeypatch.setattr("purejax_mgtopo.analysis.figures.learning_curves", keep)
    draw_curves([("meta", told.run)], tmp_path / "x.png")
    (curve,) = drawn
    assert curve.episodes.tolist() == [10 * chunk for chunk in EVALUATED]
    for at, chunk in enumerate(EVALUATED):
        np.testing.assert_array_equal(curve.returns[:, at], evaluation(chunk)["return_sampled"])
        np.testing.assert_array_equal(curve.edge_rate[:, at], evaluation(chunk)["edge_rate"])


def test_the_report_holds_sampled_returns_sampled_edges_and_pairs(told: Told) -> None:
    run, _ = read_run(told.folder)
    np.testing.assert_allclose(run.finals, LAST["return_sampled"], rtol=1e-6)
    assert run.final.point == pytest.approx(iqm(LAST["return_sampled"]), rel=1e-6)
    assert run.edge_rate == pytest.approx(iqm(LAST["edge_rate"]), rel=1e-6)
    np.testing.assert_allclose(run.pairs, LAST["pair_rate"].mean(axis=0), rtol=1e-6)
    assert run.bits == pytest.approx(iqm(LAST["bits_per_step"]), rel=1e-6)
    assert run.precision == pytest.approx(iqm(np.delete(LAST["edge_precision"], UNTOLD)), rel=1e-6)
    assert run.recall == pytest.approx(iqm(LAST["edge_recall"]), rel=1e-6)
    assert run.returns is not None and run.edges is not None
    for curve, name in ((run.returns, "return_sampled"), (run.edges, "edge_rate")):
        assert curve.episodes.tolist() == [10 * chunk for chunk in EVALUATED]
        for at, chunk in enumerate(EVALUATED):
            assert curve.band.point[at] == pytest.approx(iqm(evaluation(chunk)[name]), rel=1e-6)
    assert (run.episode, run.episodes, run.seeds, run.lost) == (60, 60, SEEDS, ())
    assert run.minutes * 60 == pytest.approx(told.run.seconds, abs=1.0)


def test_the_page_shows_them(told: Told) -> None:
    report = build_report([told.folder.parent], episodes=False)
    (comparison,) = report.comparisons
    looks = looks_of(report)
    page = render(report)
    point = re.escape(f"{abs(iqm(LAST['return_sampled'])):.1f}")
    assert re.search(rf"\u2212{point} \[", str(final_chart(comparison, looks)))
    assert f"{100 * iqm(LAST['edge_rate']):.0f}&nbsp;%" in page
    ends = str(curve_chart(comparison, "edges", looks))
    assert f"meta ends at {iqm(LAST['edge_rate']):.3g}" in ends
    ends = str(curve_chart(comparison, "returns", looks))
    assert f"meta ends at \u2212{abs(iqm(LAST['return_sampled'])):.3g}" in ends
    shares = [iqm(LAST[name][np.isfinite(LAST[name])]) for name in QUALITIES]
    shown = [f"{iqm(LAST['bits_per_step']):.3g}", *(f"{share:.2f}" for share in shares)]
    assert re.search(r"\s*".join(f'<td class="n">{value}</td>' for value in shown), page)
    costs = str(cost_chart(comparison, looks))
    assert f"at {iqm(LAST['bits_per_step']):.3g} bits" in costs
    rates = LAST["pair_rate"].mean(axis=0)
    for i in range(AGENTS):
        for j in range(AGENTS):
            words = f"agent {i} hears agent {j}: {rates[i, j]:.1%} of steps"
            assert (words in page) == (i != j)


def test_the_mirror_logs_them(told: Told) -> None:
    (run,) = offline_runs(told.folder)
    rows = {row["_step"]: row for row in run.rows if "4_progress/train_return" in row}
    assert sorted(rows) == [10 * chunk for chunk in range(1, CHUNKS + 1)]
    for chunk in range(1, CHUNKS + 1):
        row, own = rows[10 * chunk], training(chunk)
        assert row["4_progress/train_return"] == pytest.approx(own["train_return"].mean(), rel=1e-6)
        assert row["4_progress/edge_rate"] == pytest.approx(own["edge_rate"].mean(), rel=1e-6)
        if chunk not in EVALUATED:
            continue
        own = evaluation(chunk)
        shown = {"return_sampled": "1_returns/sampled", "return_greedy": "1_returns/greedy"}
        for name, key in {**shown, "edge_rate": "2_edges/open"}.items():
            assert row[f"{key}_iqm"] == pytest.approx(iqm(own[name]), rel=1e-6), name
            assert row[f"{key}_low"] <= row[f"{key}_iqm"] <= row[f"{key}_high"], name
        since = np.mean([training(c)["train_return"] for c in (chunk - 1, chunk)], axis=0)
        assert row["1_returns/training_iqm"] == pytest.approx(iqm(since), rel=1e-6)
        losses = np.mean([training(c)["critic_loss"] for c in (chunk - 1, chunk)], axis=0)
        assert row["3_learning/critic_loss"] == pytest.approx(iqm(losses), rel=1e-6)
        greedy = own["edge_rate_greedy"]
        assert row["3_learning/edge_rate_greedy"] == pytest.approx(iqm(greedy), rel=1e-6)
        rates = own["pair_rate"].astype(float).mean(axis=0)
        for i in range(AGENTS):
            for j in set(range(AGENTS)) - {i}:
                assert row[f"6_pairs/{i}_from_{j}"] == pytest.approx(rates[i, j], rel=1e-6)
