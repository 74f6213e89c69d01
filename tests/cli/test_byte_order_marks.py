"""What an editor has saved with a byte-order mark is read as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fake_population import FakePopulation, FakeStore, Notes, small
from stand_ins import train

from purejax_mgtopo.mirror.places import named_project, sent_to
from purejax_mgtopo.population.waves import Wave
from purejax_mgtopo.records import record
from purejax_mgtopo.records.fingerprint import recorded
from purejax_mgtopo.training import sweep
from purejax_mgtopo.training.run import extended
from purejax_mgtopo.universal.recipe import load_meta_recipe

SOURCE = Path(record.__file__).parents[1]
OURS_ALONE = {
    "report/page.py": "a template that comes with the package",
    "analysis/normalised.py": "a table that comes with the package",
    "checkpoints/stored.py": "under a digest: edited, it is damaged",
}


def mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def test_a_recipe_of_meta_training(tmp_path: Path) -> None:
    file = tmp_path / "meta_train.toml"
    file.write_text('tasks = ["toy_follow_holder"]\nconfig.seeds = 2\n[meta_train]\nsteps = 6\n')
    mark(file)
    assert load_meta_recipe(file).settings.steps == 6


def test_a_runs_folder(tmp_path: Path) -> None:
    notes = Notes()
    config, store = small(), FakeStore({})
    train(config, tmp_path, reporter=notes, population=FakePopulation, store=store)
    events = list(record.read_events(tmp_path))
    for name in (record.CONFIG, record.EVENTS):
        mark(tmp_path / name)
    assert record.read_config(tmp_path) == config and recorded(tmp_path / record.CONFIG)
    assert list(record.read_events(tmp_path)) == events
    longer = 2 * config.experiment.episodes
    asked = extended(config, tmp_path, longer)
    with record.RunRecord(tmp_path, asked, "again", resume=True) as run:
        run.rewind(Wave(0, config.experiment.first_seed, config.experiment.seeds), 40)
    assert record.read_config(tmp_path).experiment.episodes == longer


def test_a_sweeps_description(tmp_path: Path) -> None:
    run = tmp_path / "task" / "meta"
    run.mkdir(parents=True)
    for path, content in (
        (tmp_path / record.SWEEP, {"recipe": "which", "runs": [], "question": "Which?"}),
        (run / record.CONFIG, {}),
        (run / "wandb.json", {"project": "mine"}),
    ):
        path.write_text(json.dumps(content))
        mark(path)
    assert sweep.question_of(tmp_path) == "Which?"
    assert named_project(run, small().means) == "which"
    assert sent_to(tmp_path) == ("mine", "which")


def test_no_reader_of_what_a_person_may_edit_forgets_the_mark() -> None:
    readers = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(r'read_text\(encoding="utf-8"', path.read_text())
    }
    assert readers == set(OURS_ALONE)
