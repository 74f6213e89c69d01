"""How alike eta's advantages and REINFORCE's are: what is counted of them for the paper's page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from purejax_mgtopo.report.analyses import Advantages

FOLDER = Path(__file__).parents[2] / "runs" / "paper"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(FOLDER)
    import advantages

    return advantages


def judged(seed: int) -> Advantages:
    """Random lines of three agents; one never varies."""
    rng = np.random.default_rng(seed)
    found = Advantages(seed, 7, rng.normal(size=25), *rng.normal(size=(2, 25, 3, 2)))
    found.learned[:, 2, 1] = 0.5
    return found


def test_each_pair_is_held_against_reinforce_its_beginning_and_its_neighbour(script) -> None:
    found = judged(3)
    rows = script.counted(found).to_pylist()
    assert [(row["receiver"], row["sender"]) for row in rows] == [
        (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1),
    ]  # fmt: skip
    for row in rows:
        i, k = row["receiver"], row["sender"] - (row["sender"] > row["receiver"])
        own, first = found.learned[:, i, k], found.initial[:, i, k]
        expected = {
            "learned_reinforce": (own, found.reinforce),
            "initial_reinforce": (first, found.reinforce),
            "learned_initial": (own, first),
            "learned_senders": (own, found.learned[:, i, 1 - k]),
            "initial_senders": (first, found.initial[:, i, 1 - k]),
        }
        assert (row["seed"], row["episode_seed"]) == (3, 7)
        assert set(expected) == {pairing.column for pairing in script.PAIRINGS}
        for name, (one, other) in expected.items():
            if one.std() == 0 or other.std() == 0:
                assert np.isnan(row[name]), name
            else:
                assert row[name] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-6), name


def test_of_several_senders_the_mean_over_the_others_counts(script) -> None:
    lines = np.random.default_rng(0).normal(size=(25, 1, 4))
    whole = np.corrcoef(lines[:, 0].T)
    expected = (whole.sum(axis=1) - 1) / 3
    np.testing.assert_allclose(script.among_senders(lines)[0], expected, atol=1e-12)
    assert np.isnan(script.among_senders(lines[:, :, :1])).all()


def test_the_table_counts_seeds_equally_and_leaves_constants_out(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow

    told = {"task": "t", "method": "m", "trained_episodes": "20000"}
    tables = [script.counted(judged(seed)) for seed in (0, 1)]
    table = pyarrow.concat_tables(tables).replace_schema_metadata(told)
    parquet.write_table(table, tmp_path / "t.parquet")
    text = script.tell(tmp_path / "t.parquet")
    assert text.startswith("`m` on `t` after 20,000 episodes: 2 seeds, 1 episodes, 6 pairs.")
    values = [np.array(part["learned_reinforce"], float) for part in tables]
    middle = np.mean([np.nanmedian(part) for part in values])
    above = np.mean([np.mean(part[np.isfinite(part)] > 0.5) for part in values])
    row = next(line for line in text.splitlines() if "learned eta and REINFORCE" in line)
    assert f"| {middle:.2f} [" in row and f"| {above:.0%}".replace("%", " %") in row


def test_the_page_says_what_was_counted(script) -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    tables = [
        script.tell(script.HOME / f"{task}.parquet").splitlines()
        for task in ("predator_prey_N6_l1", "navigation_N3_l3")
    ]
    for ours, theirs in zip(*(table[4:] for table in tables), strict=True):
        says, *cells = [cell.strip() for cell in ours.strip("|").split("|")]
        cells += [cell.strip() for cell in theirs.strip("|").split("|")][1:]
        assert f"| {says} | {' | '.join(cells)} |" in page
