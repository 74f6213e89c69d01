"""A rule written down as a formula: least squares find what is there, and the formula takes the rule's place."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from core_cases import Algorithm, is_same, jit, scattered, small

from purejax_mgtopo.algorithm.topology.edgewise.inputs import NAMES, EdgeInputs
from purejax_mgtopo.algorithm.topology.edgewise.network import no_memory
from purejax_mgtopo.algorithm.topology.edgewise.said import Said
from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.universal.conditions import Closing
from purejax_mgtopo.universal.formula import __main__ as formula
from purejax_mgtopo.universal.formula.collected import question_keys, windows
from purejax_mgtopo.universal.formula.findings import Findings
from purejax_mgtopo.universal.formula.regression import Regression, Sums, uncertain
from purejax_mgtopo.universal.formula.terms import TERMS
from purejax_mgtopo.universal.formula.written import Formula, Written, read_formula
from purejax_mgtopo.universal.lifetimes import Group
from purejax_mgtopo.universal.settings import MetaTraining

SHAPE = (3, 2, 4, 3, 2)
"""Lifetimes, updates, steps, receivers and senders of what is made up."""


def made_up(seed: int = 0, shape: tuple[int, ...] = SHAPE, f=None, **given) -> Said:
    """Inputs of random numbers, each edge its own, and f as a function of them."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=shape) for name in NAMES}
    drawn |= {"decision": rng.integers(0, 2, shape).astype(float), "share": np.full(shape, 1 / 3)}
    drawn |= {"progress": rng.uniform(size=shape), **given}
    inputs = EdgeInputs(**drawn)
    return Said(inputs, rng.normal(size=shape) if f is None else f(inputs))


def known(inputs: EdgeInputs):
    opened = np.where(inputs.decision > 0, 1, -1)
    return 0.1 - 0.3 * opened * (1 - inputs.progress) + 0.05 * inputs.advantage


def sums_of(*told: Said) -> Sums:
    sums = Sums(len(told[0].f))
    for one in told:
        sums.add(one)
    return sums


def regression_of(*told: Said) -> Regression:
    return Regression(sums_of(*told).means().mean(axis=0))


def test_known_coefficients_are_found_again_and_explain_all() -> None:
    found = regression_of(made_up(0, f=known), made_up(1, f=known)).best(3)
    assert [len(found[size][0].formula.coefficients) for size in (1, 2, 3)] == [1, 2, 3]
    best = found[2][0]
    assert best.share == pytest.approx(1, abs=1e-9) and found[1][0].share < 0.99
    assert best.formula.constant == pytest.approx(0.1, abs=1e-9)
    assert best.formula.coefficients == pytest.approx(
        {"side * (1 - progress)": -0.3, "advantage": 0.05}, abs=1e-9
    )
    told = made_up(2)
    np.testing.assert_allclose(best.formula.value(told.inputs), known(told.inputs), atol=1e-9)


@pytest.mark.parametrize("names", [("decision",), ("cost", "side * cost", "reward"), NAMES[:9]])
def test_a_fit_is_numpys_own_least_squares(names: tuple[str, ...]) -> None:
    told = made_up(3, f=lambda e: np.sin(3 * e.reward) + e.cost * e.decision)
    columns = [np.ones(told.f.size), *(TERMS[n].value(told.inputs).ravel() for n in names)]
    expected, (left,), *_ = np.linalg.lstsq(np.stack(columns, axis=1), told.f.ravel(), rcond=None)
    regression = regression_of(told)
    fit = regression.fit(names)
    np.testing.assert_allclose(fit.formula.constant, expected[0], atol=1e-9)
    np.testing.assert_allclose(list(fit.formula.coefficients.values()), expected[1:], atol=1e-9)
    assert fit.share == pytest.approx(1 - left / told.f.size / told.f.var())
    assert regression.share_of(names) == pytest.approx(fit.share)


def test_what_never_varies_or_says_the_same_is_no_term() -> None:
    """Numbers of another term must not hide behind a twin's."""
    told = made_up(4, f=known, cost=made_up(4).inputs.value * 2 - 1)
    regression = regression_of(told)
    assert "share" not in regression.terms and "cost" in regression.terms
    assert regression.fit(["share"]) is None and regression.fit(["value", "cost"]) is None
    assert regression.fit(["value"]) is not None
    sets = [set(fit.formula.coefficients) for fit in regression.best(2, kept=1000)[2]]
    assert sets and {"value", "cost"} not in sets
    # All inputs together, twins or not: as without the twin.
    rest = [name for name in NAMES if name not in ("cost", "share")]
    assert regression.share_of(NAMES) == pytest.approx(regression.fit(rest).share)


def test_lifetimes_of_large_and_small_teams_weigh_the_same() -> None:
    small_team, large_team = made_up(5, (1, 2, 4, 2, 1)), made_up(6, (1, 2, 4, 6, 5))
    means = np.concatenate([sums_of(told).means() for told in (small_team, large_team)])
    fit = Regression(means.mean(axis=0)).fit(["reward"])
    weights = np.concatenate([np.full(t.f.size, 1 / t.f.size) for t in (small_team, large_team)])
    x = np.concatenate([t.inputs.reward.ravel() for t in (small_team, large_team)])
    y = np.concatenate([t.f.ravel() for t in (small_team, large_team)])
    slope = np.cov(x, y, aweights=weights)[0, 1] / np.cov(x, aweights=weights)
    assert fit.formula.coefficients["reward"] == pytest.approx(float(slope))


def test_the_course_is_the_mean_of_open_and_closed_edges_by_tenths() -> None:
    told = made_up(7, (2, 9, 4, 3, 2))
    total, count = np.moveaxis(sums_of(told).course, -1, 0)
    for kind in (0, 1):
        for tenth in range(10):
            at = (told.inputs.decision == kind) & (np.floor(10 * told.inputs.progress) == tenth)
            assert count[kind, tenth] == at.sum() > 0
            assert total[kind, tenth] == pytest.approx(told.f[at].sum())


def test_a_rule_that_says_nothing_has_nothing_to_explain() -> None:
    with pytest.raises(RunError, match="nothing to explain"):
        regression_of(made_up(8, f=lambda e: 0 * e.reward))


def test_intervals_are_those_of_lifetimes_and_of_a_single_one_unknown() -> None:
    told = made_up(9, (40, 1, 4, 3, 2), f=lambda e: e.reward)
    factor = np.random.default_rng(0).normal(2, 0.5, 40)
    told = Said(told.inputs, told.f * factor.reshape(40, 1, 1, 1, 1))
    sure = uncertain(sums_of(told).means(), ["reward"])
    low, high = sure.coefficients["reward"]
    assert low < 2.0 < high and 0.5 < (high - low) / (2 * 1.96 * 0.5 / np.sqrt(40)) < 2
    assert sure.share[0] < sure.share[1] < 1
    alone = uncertain(sums_of(made_up(9)).means()[:1], ["reward"])
    assert np.isnan([*alone.share, *alone.constant, *alone.coefficients["reward"]]).all()


def findings() -> Findings:
    sums = sums_of(made_up(10, f=known))
    regression = Regression(sums.means().mean(axis=0))
    best = regression.best(2)
    return Findings(
        rule="abc", tasks=("toy",), lifetimes=3, updates=2, edges=144, mean=0.0, variance=1.0,
        course={"open": [0.0] * 10, "closed": [0.0] * 10}, all_inputs=0.5, all_terms=1.0, best=best,
        uncertain={1: uncertain(sums.means(), list(best[1][0].formula.coefficients)),
                   2: uncertain(sums.means(), list(best[2][0].formula.coefficients))},
    )  # fmt: skip


def test_what_was_found_is_kept_and_read_again(tmp_path: Path) -> None:
    found, path = findings(), tmp_path / "formula.json"
    path.write_text(json.dumps(found.document()))
    formula = read_formula(path)
    assert formula == found.best[2][0].formula
    table = "\n".join(found.lines())
    for name, value in formula.coefficients.items():
        (line,) = (
            line for line in table.splitlines() if f" {name} " in line and f"{value:+.4f}" in line
        )
        assert line.endswith(f"f for each {TERMS[name].unit}")
    assert " 100.0 %  advantage, side * (1 - progress)" in table


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot be read"),
        ("{", "holds no formula"),
        ("[]", "holds no formula"),
        ('{"formula": {"constant": 1}}', "holds no formula"),
        ('{"formula": {"constant": 1, "coefficients": {"weather": 1}}}', "has a term 'weather'"),
        ('{"formula": {"constant": NaN, "coefficients": {}}}', "not finite"),
    ],
)
def test_a_file_without_a_formula_is_refused_in_one_line(text, why: str, tmp_path: Path) -> None:
    path = tmp_path / "formula.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"formula.json .*{why}") as error:
        read_formula(path)
    assert "\n" not in str(error.value)


SETTINGS = MetaTraining(lifetimes=2, fresh_episodes=2, shortest=4, longest=40)


@functools.cache
def group() -> Group:
    changes = {"updates_per_iteration": 2, "learner__hidden": 4}
    experiment = small("random", "toy_follow_holder", **changes)
    made = Algorithm(experiment)
    learners = jit(jax.vmap(made.maddpg.init))(jax.random.split(jax.random.key(0), 2))
    return Group(experiment, SETTINGS, learners.policy, ())


@functools.cache
def eta():
    return scattered(jit(group().rule.init_eta)(jax.random.key(1)), 1, 0.1)


@functools.cache
def collected() -> list[Said]:
    """Two windows of two updates of two lifetimes of five updates, of which the last is left out."""
    return list(windows(group(), eta(), 5, question_keys(0, 2)))


def test_whole_lifetimes_are_collected_as_they_are_lived() -> None:
    told = collected()
    assert len(told) == 2 and told[0].f.shape[:2] == (2, 2)
    for lane, key in enumerate(question_keys(0, 2)):
        life, age = group().lasting(5, key), 0
        memory = no_memory()
        for one in told:
            life, (taus, what) = jit(group().lived)(eta(), life)
            for k in range(2):
                tau, own = jax.tree.map(lambda x, k=k: x[k], (taus, what))
                f, memory = group().rule.correction(eta(), memory, tau, own)
                np.testing.assert_allclose(one.f[lane, k], f, rtol=1e-3, atol=1e-4)
                inputs = jax.tree.map(lambda x, k=k: x[lane, k], one.inputs)  # noqa: B023
                np.testing.assert_array_equal(inputs.decision, tau.gates.decision)
                np.testing.assert_allclose(inputs.probability, tau.gates.probability, rtol=1e-4)
                np.testing.assert_allclose(inputs.progress, age / 5, rtol=1e-6)
                np.testing.assert_allclose(inputs.cost, life.lot.cost, rtol=1e-6)
                np.testing.assert_allclose(
                    inputs.advantage[:, 0, 0], own.advantage, rtol=1e-3, atol=1e-4
                )
                age += 1
    assert not is_same(told[0].f[0], told[0].f[1])


def test_a_formula_stands_in_the_rule_s_place() -> None:
    life = group().lasting(5, jax.random.key(3))
    _, (taus, told) = jit(group().lived)(eta(), life)
    tau, own = jax.tree.map(lambda x: x[1], (taus, told))
    formula = Formula(0.5, {"side * (1 - progress)": -0.25, "probability": 2.0, "advantage": 3.0})
    f, memory = written(formula).correction((), no_memory(), tau, own)
    side = np.where(np.asarray(tau.gates.decision) > 0, 1, -1)
    expected = 0.5 - 0.25 * side * (1 - 1 / 5) + 2 * np.asarray(tau.gates.probability)
    expected = expected + 3 * np.asarray(own.advantage)[:, None, None]
    np.testing.assert_allclose(f, expected, rtol=1e-4, atol=1e-5)
    assert is_same(memory, no_memory()) and len(np.unique(np.round(f, 5))) > f.size / 2


def test_closing_is_a_formula_of_one_term() -> None:
    _, (taus, told) = jit(group().lived)(eta(), group().lasting(5, jax.random.key(4)))
    tau, own = jax.tree.map(lambda x: x[1], (taus, told))
    closing = Closing(group().rule.experiment, group().rule.sizes)
    term = Formula(0.0, {"side * (1 - progress)": -0.2})
    one, other = (
        rule.correction((), no_memory(), tau, own)[0] for rule in (closing, written(term))
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)


def written(formula: Formula) -> Written:
    return Written(formula, group().rule.experiment, group().rule.sizes)


def test_a_run_under_two_spellings_counts_once(tmp_path: Path, monkeypatch) -> None:
    """Its lifetimes would count twice, and the intervals come out narrower than what was lived allows."""
    (tmp_path / "teams").mkdir()
    one = SimpleNamespace(experiment=SimpleNamespace(task="toy_follow_holder"))
    monkeypatch.setattr(formula, "load_trained", lambda _: one)
    monkeypatch.setattr(formula, "group_of", lambda *_: None)
    monkeypatch.setattr(formula, "windows", lambda *_: [made_up()])

    def found(*folders: Path) -> Findings:
        return formula.findings(SHIPPED, folders, 5, SHAPE[0], 1, lambda _: None)

    teams = tmp_path / "teams"
    twice = found(teams, teams / ".." / "teams")
    assert twice.tasks == ("toy_follow_holder",)
    assert twice.document() == found(teams).document()
