"""Scores between silence and the best known topology: by hand, and from folders of runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import write_run, write_sweep

from purejax_mgtopo.analysis.scoring.rule_score import (
    RuleScores,
    read_scores,
    talk_worth,
    task_scores,
)
from purejax_mgtopo.analysis.statistics import stratified_bootstrap
from purejax_mgtopo.cli.main import main
from purejax_mgtopo.config import GateConfig, MetaConfig
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.records.run_data import load_run

TASK, OTHER = "navigation_N3_l3", "toy_follow_holder"
SCALE = ("none", "full", "reinforce", "stgs")


def middle(values: np.ndarray) -> float:
    """The interquartile mean, written down once more."""
    ranked = np.sort(values)
    cut = len(ranked) // 4
    return float(ranked[cut : len(ranked) - cut].mean())


def normal(seed: int, seeds: int = 8, spread: float = 1.0, **levels: float) -> dict:
    rng = np.random.default_rng(seed)
    return {name: level + spread * rng.normal(size=seeds) for name, level in levels.items()}


LEVELS = {"none": -30.0, "full": -12.0, "reinforce": -10.0, "stgs": -14.0, "rule": -8.0}
ONE = normal(1, **LEVELS)
TWO = normal(2, 12, 0.3, none=2.0, full=5.0, reinforce=2.5, stgs=4.0, rule=3.0)


def test_scores_are_what_the_formula_says() -> None:
    """The wrong candidate, means for interquartile ones, a scale of this seed's in place of the method's."""
    told = RuleScores((task_scores("a", ONE), task_scores("b", TWO)))
    scales = [
        (middle(each["none"]), max(middle(each[name]) for name in SCALE[1:])) for each in (ONE, TWO)
    ]
    assert [task.worth.best for task in told.tasks if task.worth] == ["reinforce", "full"]
    for name in LEVELS:
        expected = [
            (each[name] - low) / (high - low)
            for each, (low, high) in zip((ONE, TWO), scales, strict=True)
        ]
        for task, scores in zip(told.tasks, expected, strict=True):
            np.testing.assert_allclose(task.scores(name), scores, rtol=1e-12)
        found = told.over_tasks(name)
        assert found is not None
        np.testing.assert_allclose(found.point, middle(np.concatenate(expected)), rtol=1e-9)
        # A bootstrap within each task, seed by seed.
        rng, drawn = np.random.default_rng(7), []
        for _ in range(4_000):
            drawn.append(middle(np.concatenate([rng.choice(x, len(x)) for x in expected])))
        ends = np.quantile(drawn, (0.025, 0.975))
        np.testing.assert_allclose([found.low, found.high], ends, atol=0.1 * np.ptp(ends))


def test_where_talk_pays_nothing_there_is_no_score() -> None:
    """A division by noise, or by a loss."""
    for levels in (
        {"none": 0.0, "full": 0.0, "reinforce": 0.0, "stgs": 0.0},
        {"none": 0.0, "full": -9.0, "reinforce": -5.0, "stgs": -7.0},
    ):
        returns = normal(0, **levels, rule=1.0)
        told = RuleScores((task_scores("quiet", returns), task_scores("loud", ONE)))
        quiet, loud = told.tasks
        assert quiet.scores("rule") is None and loud.scores("rule") is not None
        assert quiet.worth is not None and f"{quiet.worth.gap.point:+.2f}" in quiet.why
        assert "does not clearly stand above none" in quiet.why
        ends = f"{quiet.worth.gap.low:+.2f}, {quiet.worth.gap.high:+.2f}"
        assert quiet.why.endswith(f" [98.3 %: {ends}]")
        assert told.over_tasks("rule") == stratified_bootstrap([loud.scores("rule")])
    alone = RuleScores((quiet,))
    assert alone.over_tasks("rule") is None


def test_the_best_of_three_has_to_be_surer_than_one() -> None:
    returns = normal(3, none=0.0, full=0.0, reinforce=-9.0, stgs=-9.0)
    pair = [returns["full"], returns["none"]]

    def low(level: float) -> float:
        def difference(drawn):
            return np.array([middle(x) - middle(y) for x, y in zip(*drawn, strict=True)])

        return stratified_bootstrap(pair, difference, level=level).low

    usual, stricter = low(0.95), low(1 - 0.05 / 3)
    assert usual > stricter
    shift = -(usual + stricter) / 2
    between = returns | {"full": returns["full"] + shift}
    assert talk_worth(between).scale is None
    assert low(0.95) + shift > 0
    beyond = returns | {"full": returns["full"] - stricter + 1e-6}
    assert talk_worth(beyond).scale is not None


def test_one_seed_and_a_missing_candidate_make_no_scale() -> None:
    single = task_scores("a", {name: values[:1] for name, values in ONE.items()})
    assert single.scores("rule") is None and "by a single seed" in single.why
    lacking = task_scores("a", {name: x for name, x in ONE.items() if name not in ("none", "stgs")})
    assert lacking.scores("rule") is None
    assert lacking.why == "its scale needs none, stgs as well"
    with pytest.raises(ValueError, match="non-finite"):
        task_scores("a", ONE | {"rule": np.array([1.0, np.nan])})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks; `meta` is the method in question."""
    folder = tmp_path_factory.mktemp("scored") / "results"
    return write_sweep(folder, (TASK, OTHER), (*SCALE, "meta"), "How much?")


def finals(folder: Path) -> np.ndarray:
    run = load_run(folder)
    return run.final.return_sampled[run.healthy].astype(float)


def test_folders_tell_the_scores_of_their_runs(results: Path) -> None:
    told = read_scores([results])
    assert [task.task for task in told.tasks] == [TASK, OTHER] and not told.missing
    for task in told.tasks:
        returns = {name: finals(results / task.task / name) for name in (*SCALE, "meta")}
        low = middle(returns["none"])
        high = max(middle(returns[name]) for name in SCALE[1:])
        np.testing.assert_allclose(
            task.scores("meta"), (returns["meta"] - low) / (high - low), rtol=1e-12
        )


def test_what_is_not_there_is_named_and_the_rest_is_told(results: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(results, tmp_path / "results"))
    shutil.rmtree(again / TASK / "meta")
    shutil.rmtree(again / OTHER / "stgs")
    write_run(again / OTHER / "stgs", OTHER, "stgs", until=4)
    (again / OTHER / "meta" / "metrics.parquet").write_bytes(b"damaged")
    told = read_scores([again])
    assert told.missing == (
        f"{TASK}: meta not run",
        f"{OTHER}: meta cannot be read, stgs not finished",
    )
    first, second = told.tasks
    assert not first.why and second.why == "its scale needs stgs as well"
    assert told.over_tasks("meta") is None and told.over_tasks("full") is not None


def test_lost_seeds_few_seeds_and_unequal_lengths_are_told(tmp_path: Path) -> None:
    write_sweep(tmp_path, (TASK,), SCALE, "?", broken=(1, 2, 3))
    write_run(tmp_path / TASK / "meta", TASK, "meta", evaluations=14)
    told = read_scores([tmp_path])
    assert len(told.tasks[0].returns["full"]) == 5 and len(told.tasks[0].returns["meta"]) == 8
    words = " ".join(told.caveats)
    assert "3 of 8 seeds did not stay finite" in words
    assert f"{TASK}: compared after different numbers of episodes: full 6,000, meta 7,000" in words
    assert "one of 5 normal scores covers the truth in 90 % of cases" in words


def test_unequal_settings_are_told(tmp_path: Path) -> None:
    """By whom, and what the others have; a method's own parts and its seeds are no difference."""
    write_sweep(tmp_path, (TASK,), SCALE, "?")
    write_run(tmp_path / TASK / "meta", TASK, "meta", seeds=6)
    assert not [line for line in read_scores([tmp_path]).caveats if "settings" in line]
    changes = {"gates": GateConfig(learning_rate=3e-4), "meta": MetaConfig(entropy=0.5)}
    write_run(tmp_path / TASK / "steady", TASK, "meta", level=-20.0, seeds=6, **changes)
    (told,) = [line for line in read_scores([tmp_path]).caveats if "settings" in line]
    assert told == (
        f"{TASK}: compared at different settings: gates.learning_rate 0.0003 (steady), others 0.001; "
        "meta.entropy 0.5 (steady), others 0.01"
    )


def test_a_single_seed_does_not_hide_that_others_are_few(tmp_path: Path) -> None:
    write_sweep(tmp_path, (TASK,), SCALE, "?", broken=(1, 2, 3))
    write_run(tmp_path / TASK / "meta", TASK, "meta", seeds=1)
    told = read_scores([tmp_path])
    assert [len(x) for x in told.scores("meta")] == [1]
    assert any("one of 5 normal scores covers the truth in 90 %" in line for line in told.caveats)


def test_seeds_of_several_runs_count_together_or_are_refused(results: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "a" / TASK / "meta", TASK, "meta", seeds=4, first_seed=8)
    told = read_scores([results, tmp_path / "a"])
    both = [finals(folder / TASK / "meta") for folder in (results, tmp_path / "a")]
    assert sorted(told.tasks[0].returns["meta"]) == sorted(np.concatenate(both))
    assert any(
        "tasks with more seeds weigh more" in line and "meta" in line for line in told.caveats
    )
    write_run(tmp_path / "b" / TASK / "meta", TASK, "meta", seeds=4, first_seed=7)
    write_run(tmp_path / "c" / TASK / "meta", TASK, "meta", first_seed=20, chunk_episodes=50)
    for other in ("b", "c"):
        with pytest.raises(RunError, match=f"are both meta on {TASK}.*leave one of them out"):
            read_scores([results, tmp_path / other])


def test_a_description_that_is_none_is_said(results: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(results, tmp_path / "results"))
    (again / "sweep.json").write_text(json.dumps({"runs": [{"task": 3}]}))
    said: list[str] = []
    assert len(read_scores([again], said.append).tasks) == 2
    assert len(said) == 1 and "each with task, method and folder" in said[0]


def test_the_command_prints_scores_and_what_is_missing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["score", str(results)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    told = read_scores([results])
    score = told.over_tasks("meta")
    assert score is not None
    line = f"meta {score.point:.2f} [{score.low:.2f}, {score.high:.2f}] 2 of 2 16"
    assert line in printed and "missing" not in printed
    gap = told.tasks[0].worth.gap
    worth = f"talk is worth {gap.point:.2f} [98.3 %: {gap.low:.2f}, {gap.high:.2f}] on {TASK}"
    assert worth in printed
    again = Path(shutil.copytree(results, tmp_path / "results"))
    shutil.rmtree(again / TASK / "none")
    assert main(["score", str(again)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"no score: {TASK}: its scale needs none as well" in printed
    assert f"missing: {TASK}: none not run" in printed and "1 of 1 8" in printed
    assert main(["score"]) == 2 and "say which runs to score" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err
