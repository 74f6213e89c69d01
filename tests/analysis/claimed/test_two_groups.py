"""Two groups of seeds, against all splits tried one by one, and against distributions whose share is known."""

from __future__ import annotations

import numpy as np
import pytest

from purejax_mgtopo.analysis.groups import by_chance, groups, in_words, split


def by_trying_all(values: np.ndarray) -> tuple[float, float]:
    """The least sum of squares within two groups, and half-way between them."""
    ranked = np.sort(values)
    tried = []
    for k in range(1, len(ranked)):
        low, high = ranked[:k], ranked[k:]
        within = ((low - low.mean()) ** 2).sum() + ((high - high.mean()) ** 2).sum()
        tried.append((within, (low[-1] + high[0]) / 2))
    within, at = min(tried)
    return at, 1 - within / ((ranked - ranked.mean()) ** 2).sum()


@pytest.mark.parametrize("seed", range(8))
def test_no_other_split_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(-12, 1, rng.integers(1, 9)), rng.normal(-4, 2, 7)])
    found = split(values)
    assert found is not None
    np.testing.assert_allclose((found.at, found.explained), by_trying_all(values), rtol=1e-10)
    assert found.above(values) == int((values > found.at).sum())


def test_one_crowd_is_not_two() -> None:
    rng = np.random.default_rng(0)
    normal, uniform = split(rng.normal(-30, 5, 40_000)), split(rng.uniform(3, 4, 40_000))
    assert normal is not None and normal.explained == pytest.approx(2 / np.pi, abs=0.01)
    assert uniform is not None and uniform.explained == pytest.approx(0.75, abs=0.01)
    assert not normal.is_clear and not uniform.is_clear


@pytest.mark.parametrize("seeds", [8, 12, 40])
def test_few_numbers_of_one_crowd_seldom_look_like_two(seeds: int) -> None:
    """Eight normal numbers, split at best, have more than 0.85 of the variance between their halves in one of ten."""
    rng = np.random.default_rng(seeds)
    for crowd, most in (
        (rng.uniform(size=(1000, seeds)), 0.02),
        (rng.normal(size=(1000, seeds)), 0.02),
    ):
        found = [split(values) for values in crowd]
        assert np.mean([one is not None and one.is_clear for one in found]) < most
    assert by_chance(8) > by_chance(12) > by_chance(40) > 0.8


def test_seeds_of_all_methods_are_split_together() -> None:
    """Each method apart would be cut in two, silent teams as well."""
    rng = np.random.default_rng(1)
    silent, talking = rng.normal(-12, 0.3, 8), rng.normal(-4, 0.3, 8)
    some = np.concatenate([rng.normal(-4, 0.3, 3), rng.normal(-11, 0.5, 5)])
    found = groups([silent, [], talking, some])
    assert found is not None and -10 < found.at < -5
    assert [found.above(x) for x in (silent, talking, some)] == [0, 8, 3]
    assert groups([silent, talking]) is None  # two methods that differ: each mean tells the truth
    assert groups([silent, talking, some[2:]]) is None  # one seed, or few, are no group
    assert groups([silent, talking, some[:7]]) is None
    assert in_words({"none": silent, "full": talking, "meta": some, "lost": []}).endswith(
        "in the upper one are: none 0 of 8; full 8 of 8; meta 3 of 8."
    )
    assert in_words({"none": silent, "full": talking}) == ""


def test_thousands_of_seeds_take_no_more_than_some_hundred() -> None:
    assert by_chance(5_120) == by_chance(1_000) < by_chance(100)


def test_what_cannot_be_split() -> None:
    assert split([-12.0] * 4 + [-4.0] * 3) is None  # seven seeds show nothing
    assert split(np.full(9, -16.06)) is None
    assert groups([]) is None and groups([[], []]) is None
    with pytest.raises(ValueError, match="non-finite"):
        split([1.0, 2.0, np.nan, 4.0])
