"""What the pages say of hours and of groups of seeds is what the records beside them tell."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from purejax_mgtopo import load_run
from purejax_mgtopo.analysis.groups import in_words
from purejax_mgtopo.errors import RunError
from purejax_mgtopo.methods import TOPOLOGIES

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs"
ONE = RUNS / "quickstart/records/toy_crossed_goals/none"
"""Eight seeds, 700 episodes in chunks of 50."""


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(RUNS)


def record(place: Path, walls: list[float], end: float | None, started: str = "2026-01-01") -> None:
    """A run with chunks and an end of these seconds; without an end if that is None."""
    shutil.copytree(ONE, place)
    config = json.loads((place / "config.json").read_text()) | {"started": started}
    (place / "config.json").write_text(json.dumps(config))
    events = [
        {"event": "chunk", "seconds": sum(walls[: n + 1]), "wall": wall, "episode": 50 * (n + 1)}
        for n, wall in enumerate(walls)
    ]
    if end is not None:
        events.append({"event": "end", "seconds": end, "episode": 50 * len(walls)})
    (place / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_a_run_and_its_continuation_count_once_and_a_readers_own_not_at_all(tmp_path: Path) -> None:
    import costs

    record(tmp_path / "toy/records/task/none", [10, 20, 900], end=950)
    record(tmp_path / "toy/longer/task/none", [10, 20, 900, 20], end=1000)
    record(tmp_path / "toy/records/task/full", [10.0], end=15)
    record(tmp_path / "toy/results/task/none", [5.0], end=7, started="2026-01-02")
    record(tmp_path / "other/records/task/none", [3600, 1800], end=7200, started="2026-01-02")
    found = {(one.home, one.seconds): one for one in costs.read_costs(tmp_path)}
    assert set(found) == {("toy", 1000), ("toy", 15), ("other", 7200)}
    longer = found["toy", 1000]
    assert longer.episodes == 8 * 200
    assert longer.steady == 4 * 20  # the suspended one counts as the others
    lines = costs.table(found.values())
    assert [len(line.split("|")) for line in lines] == [9] * 5
    assert lines[2].startswith(
        "| `other` | `toy_crossed_goals` | 1 | 0.00 | 2.00 | 1.50 | 2 (512) |"
    )
    assert lines[3].startswith("| `toy` | `toy_crossed_goals` | 2 | 0.00 | 0.28 | 0.03 | 2 (512) |")
    assert lines[4].startswith("| all |  | 3 | 0.00 | 2.28 | 1.52 |")


def test_what_is_unfinished_costs_nothing_yet(tmp_path: Path) -> None:
    """One that has just begun, and one that was killed; and what ended without training is named."""
    import costs

    record(tmp_path / "toy/records/task/none", [], end=None)
    record(tmp_path / "toy/records/task/full", [10.0], end=None, started="2026-01-02")
    record(tmp_path / "toy/records/task/meta", [10.0], end=15, started="2026-01-03")
    assert [(one.origin[0], one.seconds) for one in costs.read_costs(tmp_path)] == [("meta", 15)]
    record(tmp_path / "toy/records/task/stgs", [], end=15, started="2026-01-04")
    with pytest.raises(RunError, match="toy/records/task/stgs has an end and no chunk") as error:
        costs.read_costs(tmp_path)
    assert "\n" not in str(error.value)


def test_the_table_on_the_page_is_what_the_records_tell(capsys: pytest.CaptureFixture[str]) -> None:
    """After new records: `python runs/costs.py --write`."""
    import costs

    assert costs.main([]) == 0
    assert "together" not in TOPOLOGIES  # one run's own rule, which nobody needs for its hours
    printed = capsys.readouterr().out
    assert printed in costs.PAGE.read_text(encoding="utf-8")
    kept = json.loads((RUNS / "paper/base_learner.json").read_text())["tasks"].values()
    assert f"| 8 | 1.28 | {sum(one['minutes'] for one in kept) / 60:.2f} | - |" in printed


def test_writing_the_table_leaves_the_rest_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import costs

    page = tmp_path / "README.md"
    page.write_text(f"before\n\n{costs.HEADER}\n|---|\n| old |\n\nafter | all\n")
    monkeypatch.setattr(costs, "PAGE", page)
    assert costs.main(["--write"]) == 0
    lines = page.read_text().splitlines()
    assert lines[:3] == ["before", "", costs.HEADER] and lines[-2:] == ["", "after | all"]
    assert "| old |" not in lines and lines[-3].startswith("| all |")


@pytest.mark.parametrize(
    ("page", "records"),
    [
        ("reference", "reference/records/reference_N2"),
        ("grid", "toy_follow_holder/records/toy_follow_holder"),
        ("grid", "toy_switch_riddle/records/toy_switch_riddle"),
    ],
)
def test_groups_of_seeds_are_quoted_as_they_are(page: str, records: str) -> None:
    runs = {path.name: load_run(path) for path in (RUNS / records).iterdir()}
    finals = {name: run.final.return_sampled[run.healthy] for name, run in runs.items()}
    head, tail = in_words(finals).split("are: ")
    text = " ".join((RUNS / page / "README.md").read_text(encoding="utf-8").split())
    quoted = [
        found[1].rstrip(".").split("; ")
        for found in re.finditer(re.escape(head) + r"are: ([^\"]*)\"", text)
    ]
    assert [sorted(one) for one in quoted] == [sorted(tail.rstrip(".").split("; "))]
