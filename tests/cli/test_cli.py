from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from purejax_mgtopo.cli import main as cli
from purejax_mgtopo.config import Config, Experiment, override
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine import startup
from purejax_mgtopo.methods import METHODS
from purejax_mgtopo.records import record, run_data
from purejax_mgtopo.records.run_data import load_run
from purejax_mgtopo.training import run as runner
from purejax_mgtopo.training.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("no_jax")
ROOT = Path(__file__).parents[2]


def config_of(*words: str) -> Config:
    command = cli.parse(["train", "--out", "x", *words])
    assert isinstance(command, cli.TrainCommand)
    return Config(command.experiment, command.means)


def test_every_setting_is_a_flag() -> None:
    words = "--seeds 3 --learner.batch-size 64 --message.latency 1 --devices 2 --checkpoint.keep 5"
    changes = {"seeds": 3, "learner.batch_size": 64, "message.latency": 1, "devices": 2}
    assert config_of(*words.split()) == override(Config(), changes | {"checkpoint.keep": 5})


def experiment_of(*words: str) -> Experiment:
    return config_of(*words).experiment


def test_a_preset_is_refined_by_other_flags() -> None:
    assert experiment_of("--method", "commnet").method == "commnet"
    assert experiment_of("--method=commnet").learner.share_parameters is True
    apart = experiment_of("--method", "commnet", "--learner.no-share-parameters")
    assert (apart.messages, apart.learner.share_parameters) == ("commnet", False)
    assert experiment_of("--topology", "stgs", "--messages", "commnet").method == "stgs+commnet"
    assert experiment_of("--method", "stgs+commnet", "--topology", "stgs").topology == "stgs"


def test_a_learners_preset_goes_with_a_method_and_is_refined_by_flags() -> None:
    words = ("--learner-preset", "improved", "--method", "commnet", "--learner.n-step", "3")
    experiment = experiment_of(*words)
    learner = experiment.learner
    assert (experiment.method, learner.share_parameters) == ("commnet", True)
    assert (learner.n_step, learner.updates_per_episode, learner.exploration_noise) == (3, 2, 0.6)
    assert experiment_of("--learner-preset=paper") == Experiment()


def test_every_command_says_what_it_does_and_does_it() -> None:
    for name, command in cli.COMMANDS.items():
        about = (command.__doc__ or "").strip()
        assert about.endswith(".") and not about.startswith(f"{command.__name__}("), name
        assert callable(command.do), name
        names = [item.name for item in dataclasses.fields(command)]
        assert names[-1] == "debug", name  # every command knows it, and nobody looks for it first


HELP = [["--help"], *([command, "--help"] for command in ("train", "sweep", "tasks", "methods"))]


@pytest.mark.parametrize(
    "words", [*HELP, ["methods"], ["glossary"], ["train", "--seeds", "0"]], ids=" ".join
)
def test_help_starts_neither_jax_nor_anything_heavy(words: list[str]) -> None:
    script = (
        "import sys\n"
        "from purejax_mgtopo.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'jax', 'jaxlib', 'flax', 'jumanji', 'matplotlib', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout or done.stderr


def test_home_is_expanded_wherever_a_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert cli.parse(["train", "--out=~/x"]).out == Path("/home/me/x")
    assert cli.parse(["report", "~/a", "b"]).runs == (Path("/home/me/a"), Path("b"))
    assert cli.parse(["bench", "--json=~/b.json"]).settings.json == Path("/home/me/b.json")
    for load in (load_run, load_recipe, runner.resume):
        with pytest.raises((RunError, ConfigError), match="/home/me/x"):
            load("~/x")


def test_a_name_that_the_terminal_cannot_show_is_no_error(tmp_path: Path) -> None:
    told = []
    for name in ("größe", "grosse"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"settings": {}}))
        (folder / "events.jsonl").write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "purejax_mgtopo", "verify", str(folder)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            timeout=120,
        )
        shown = name.encode("ascii", "backslashreplace").decode()
        assert shown in done.stdout + done.stderr
        told.append((done.returncode, *(x.replace(shown, "") for x in (done.stdout, done.stderr))))
    assert told[0] == told[1] and "Traceback" not in told[0][2]
    script = "import sys; from purejax_mgtopo.cli import main, tables; main.main(['methods']); tables.say('gr\\xf6')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout.endswith("gr\\xf6\n"), done.stderr


def test_train_leaves_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "--seeds 2 --episodes 40 --chunk-episodes 10 --evaluation.every 20".split()
    words = [
        "train",
        "--task",
        "toy_public",
        "--method",
        "full",
        *sizes,
        "--out",
        str(tmp_path / "r"),
    ]
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"results  {tmp_path / 'r'}",
        f"picture  {tmp_path / 'r' / 'figures' / 'curves.png'}",
    ]
    assert "toy_public/full: episode 40/40" in shown.err
    assert run_data.load_run(tmp_path / "r").experiment.topology == "full"

    assert cli.main(words) == 1  # once more into the same folder
    (line,) = capsys.readouterr().err.splitlines()
    assert "already holds a finished run" in line


def test_sweep_ends_with_a_table_and_a_picture(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = '[[claim]]\nsays = "It pays"\nmethod = "meta"\nbeats = ["none"]\n'
    (recipe / "recipe.toml").write_text((recipe / "recipe.toml").read_text() + claim)
    words = ["sweep", str(recipe), "--seeds", "5", "--set", "learner.hidden=8"]
    words += ["--learner-preset", "improved"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    (none,) = [row for row in rows if "none" in row]
    assert none[:3] == ["toy_public", "none", "-7.60"]
    assert none[3].startswith("[")
    assert none[-3:-1] == ["25%", "5"]
    assert str(recipe / "results" / "figures" / "curves.png") in shown
    assert f"claims   1 cannot be told: mgtopo verdicts {recipe / 'results'}" in shown
    config = record.read_config(recipe / "results" / "toy_public" / "meta").experiment
    assert (config.seeds, config.learner.hidden, config.learner.n_step) == (5, 8, 5)


@pytest.mark.parametrize("said", [None, "5"])
def test_starting_jax_leaves_one_device_per_core(said: str | None) -> None:
    """Were it configured later, a CPU would be one device and a run as slow as one core."""
    script = (
        "from purejax_mgtopo.cli.running import check_tasks\n"
        "from purejax_mgtopo.config import Config, Experiment, Means\n"
        "from purejax_mgtopo.errors import ConfigError\n"
        "check_tasks([Config(Experiment(task='toy_public'), Means(devices=3))])\n"
        "import jax\n"
        f"assert len(jax.devices()) == {said or 3}, jax.devices()\n"
        "try: check_tasks([Config(Experiment(task='toy_publik'))])\n"
        "except ConfigError as error: assert 'toy_public' in str(error)\n"
        "else: raise SystemExit('no error')"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "envs"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    for name in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS"):
        environment.pop(name, None)
    environment |= {} if said is None else {"JAX_NUM_CPU_DEVICES": said}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr


def test_methods_lists_the_whole_grid(capsys: pytest.CaptureFixture[str]) -> None:
    from purejax_mgtopo.methods import MESSAGES, METHODS, TOPOLOGIES

    assert cli.main(["methods"]) == 0
    shown = capsys.readouterr().out
    for name in (*TOPOLOGIES, *MESSAGES, *METHODS, "none+commnet"):
        assert name in shown


@pytest.mark.parametrize("words", [["methods"], ["train", "--help"]])
def test_pairs_beyond_the_presets_are_called_experimental(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # in which boxes do not stand side by side
    with contextlib.suppress(SystemExit):  # which is how help ends
        cli.main(words)
    shown = re.sub(r"[\s\u2502]+", " ", capsys.readouterr().out)
    assert "a pair without a preset is experimental" in shown


def test_the_compilation_cache_is_on_unless_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MGTOPO_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    startup.use_cache(True)
    folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert folder == str(tmp_path / "purejax_mgtopo" / "xla")
    monkeypatch.setenv("MGTOPO_CACHE_DIR", "elsewhere")
    startup.use_cache(True)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == folder  # the user's own setting wins
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    startup.use_cache(True)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    startup.use_cache(False)
    assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"


def test_the_package_is_importable_without_jax() -> None:
    script = (
        "import sys, purejax_mgtopo as m\n"
        "assert 'jax' not in sys.modules\n"
        "import purejax_mgtopo.training.sweep\n"
        "assert callable(m.sweep) and callable(m.train)\n"
        "m.Config, m.load_recipe, m.load_run, m.METHODS, m.__version__\n"
        "assert 'train' in dir(m) and 'jax' not in sys.modules\n"
        "try: m.nonsense\n"
        "except AttributeError: pass\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("words", [["--lanes", "auto"], ["--lanes=auto", "--microbatch", "auto"]])
def test_auto_is_another_word_for_zero(words: list[str]) -> None:
    command = cli.parse(["fit", *words])
    assert (command.means.lanes, command.means.microbatch) == (0, 0)
    assert cli.parse(["fit", "--wandb", "auto"]).means.wandb == "auto"


def test_methods_say_what_they_are_and_where_they_were_published(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, method in METHODS.items():
        (line,) = (x for x in lines if x.split()[:1] == [name] and f" {method.topology} + " in x)
        assert f"{method.topology} + {method.messages}" in line
        year = re.search(r"\b(19|20)\d\d\b", line)
        assert year or method.name in ("random", "universal"), name
