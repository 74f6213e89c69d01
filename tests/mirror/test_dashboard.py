"""The W&B view, built without a network; only saving it needs one."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_population import small

from purejax_mgtopo.cli.main import main, parse
from purejax_mgtopo.mirror.rows import evaluation_row, progress_row, shown_name
from purejax_mgtopo.plugins.meanings import all_meanings
from purejax_mgtopo.records.metrics import Evaluation

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # wandb-workspaces' own


def rows_of_the_real_program() -> set[str]:
    """All names under which a row of the program's own measurements is logged."""

    from purejax_mgtopo.algorithm.algorithm import Algorithm
    from purejax_mgtopo.algorithm.evaluate import evaluation_shapes

    numbers = np.arange(4, dtype=np.float32)
    measured = dict.fromkeys(Algorithm(small().experiment).measures, numbers)
    measured["train_edge_rate"] = measured.pop("edge_rate")
    measured |= dict.fromkeys(all_meanings(), numbers)  # of other methods
    shapes = evaluation_shapes(3)
    evaluated = {name: np.zeros((4, *shape), np.float32) for name, shape in shapes.items()}
    columns = {**evaluated, **measured}
    evaluation = Evaluation(40, 1000, np.arange(4, dtype=np.int32), np.ones(4, bool), columns)
    event = dict.fromkeys(("train_return", "edge_rate", "episodes_per_second", "non_finite"), 1)
    progress = progress_row({"episode": 40, "seconds": 1, **event}, small().experiment)
    names = {*evaluation_row(evaluation, small().experiment), *progress}
    return {key for name in names if (key := shown_name(name)) is not None}


def panels(view: Any) -> list[Any]:
    return [panel for section in view.sections for panel in section.panels]


def test_every_panel_shows_something_that_is_logged() -> None:
    pytest.importorskip("wandb_workspaces")
    from purejax_mgtopo.mirror.dashboard import workspace

    view = workspace("team", "project")
    assert (view.entity, view.project) == ("team", "project")
    assert view._to_model().spec.section.panel_bank_config.sections  # what would be sent
    logged = rows_of_the_real_program()
    shown: set[str] = set()
    for panel in panels(view):
        names = [*getattr(panel, "y", []), *getattr(panel, "media_keys", [])]
        x = getattr(panel, "x", "env_steps")
        names += [x] * (x not in ("Step", "WallTime"))
        assert set(names) <= logged
        shown.update(names)
        pattern = getattr(panel, "metric_regex", None)
        if pattern and not pattern.startswith("system"):
            assert any(re.search(pattern, name) for name in logged)
    for name in ("1_returns/sampled_low", "2_edges/open_high", "3_learning/reinforce_cosine"):
        assert name in shown
    assert "6_pairs/heat_map" in shown


def test_measures_without_a_title_are_all_that_parts_measure_but_those_with_one() -> None:
    from purejax_mgtopo.mirror.dashboard import LEARNER, META, other_measures

    found = other_measures()
    assert {"label_rate", "bit_clarity", "attention_to_others"} <= set(found)
    assert not set(found) & {*META, *LEARNER}
    assert {*found, *META, *LEARNER} >= set(all_meanings())


def test_whatever_parts_measure_has_a_panel_and_so_has_what_a_plug_in_may() -> None:
    pytest.importorskip("wandb_workspaces")
    from purejax_mgtopo.mirror.dashboard import workspace

    view = workspace("team", "project")
    drawn = [name for panel in panels(view) for name in getattr(panel, "y", [])]
    for name in all_meanings():
        assert drawn.count(f"3_learning/{name}") == 1, name
    (section,) = (each for each in view.sections if each.name == "What the parts measured")
    assert not section.is_open  # most of them are of other methods than are there
    *single, everything = section.panels
    assert [panel.title for panel in single] == [panel.y[0].partition("/")[2] for panel in single]
    assert re.fullmatch(everything.metric_regex, "3_learning/apples_of_a_plug_in")
    others = rows_of_the_real_program() - {k for k in rows_of_the_real_program() if k[:2] == "3_"}
    assert others and not any(re.search(everything.metric_regex, name) for name in others)


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k")
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    assert main(["wandb-dashboard", "--entity", "team"]) == 1
    shown = capsys.readouterr().err
    assert "pip install 'purejax_mgtopo[dashboard]'" in shown
    assert shown.count("\n") == 1


def test_without_credentials_one_line_says_how_to_get_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_IDENTITY_TOKEN_FILE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    assert main(["wandb-dashboard"]) == 1
    assert "wandb login" in capsys.readouterr().err


def test_saving_is_the_last_step_and_a_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ws = pytest.importorskip("wandb_workspaces.workspaces")
    monkeypatch.setenv("WANDB_API_KEY", "k")
    saved: list[tuple[str, str, str]] = []

    def save(self: Any) -> None:
        saved.append((self.entity, self.project, self.name))

    monkeypatch.setattr(ws.Workspace, "save", save)
    monkeypatch.setattr(ws.Workspace, "url", "https://host/team/mine")
    assert main(["wandb-dashboard", "--entity", "team", "--project", "mine"]) == 0
    assert "https://host/team/mine" in capsys.readouterr().out
    assert saved == [("team", "mine", "Topologies")]

    def fail(self: Any) -> None:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(ws.Workspace, "save", fail)
    assert main(["wandb-dashboard", "--entity", "team"]) == 1
    assert "ConnectionError: no route" in capsys.readouterr().err


def test_the_sweep_takes_the_setting_as_train_does() -> None:
    assert parse(["sweep", "runs/quickstart", "--wandb", "offline"]).wandb == "offline"
    assert parse(["sweep", "runs/quickstart"]).wandb is None
    train = parse(["train", "--out", "x", "--wandb", "off", "--wandb-per-seed", "2"])
    assert (train.means.wandb, train.means.wandb_per_seed) == ("off", 2)
