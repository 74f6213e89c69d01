"""What the README shows is true: its commands exist, its example rule runs."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.methods import METHODS, TOPOLOGIES, AxisEntry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
METHODS_PAGE = (ROOT / "purejax_mgtopo/algorithm/README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_rule_is_short_and_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = next(block for block in blocks("python", METHODS_PAGE) if "class Coin" in block)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 20
    (tmp_path / "my_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    line = re.search(r"Then `AxisEntry\((.*?)\)`", METHODS_PAGE)
    assert line is not None
    coin = AxisEntry(*(word.strip().strip('"') for word in line[1].split(", ")))
    monkeypatch.setitem(TOPOLOGIES, "coin", coin)
    small = {
        "topology": "coin",
        "learner.hidden": 8,
        "learner.batch_size": 8,
        "learner.replay_transitions": 250,
        "learner.warmup_episodes": 8,
    }
    algorithm = Algorithm(override(Experiment(), small))
    del sys.modules["my_module"]  # others' tests write modules of that name
    state = jax.jit(algorithm.init)(jax.random.key(0))
    state, measures, _ = jax.jit(algorithm.iterate)(state, algorithm.start_clock(), Both())
    assert np.isfinite(measures["critic_loss"])
    # Ten episodes of 150 decisions: five standard errors around one half.
    assert abs(float(measures["edge_rate"]) - 0.5) < 5 * 0.5 / np.sqrt(1500)


def test_the_first_page_is_about_a_screen_and_shows_what_a_newcomer_needs() -> None:
    assert len(README.splitlines()) <= 95
    for words in (
        "https://neurips.cc/virtual/2021/35800",
        "git clone",
        "](runs/gallery/",
        "uv ",
        "mgtopo glossary",
        "override(",
        "## Citation and licence",
    ):
        assert words in README, words
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    slow = ("mgtopo train", "mgtopo sweep", "mgtopo evaluate", "mgtopo report", "mgtopo resume")
    for line in commands:  # a duration beside each command that takes one
        if line.startswith(slow):
            assert re.search(r"(second|minute)s?\b", line.partition("#")[2]), line


def test_paths_and_presets_that_it_names_exist() -> None:
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    grid = METHODS_PAGE.split("## The grid")[1].split("## Add a rule")[0]
    for name in METHODS:
        assert f"**{name}**" in grid or f"`{name}`" in grid, name
    for name in TOPOLOGIES:
        assert f"`{name}`" in grid, name


def test_the_test_command_is_one_line_that_ends_in_pytest() -> None:
    """CI runs the README's own line; it must find it."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert sum(line.endswith("bin/pytest") for line in lines) == 1


PAGES = [ROOT / "README.md", *sorted(ROOT.glob("runs/*/README.md"))]
PAGES += [ROOT / "envs/jax_mpe/README.md", ROOT / "purejax_mgtopo/algorithm/README.md"]
PAGES += [ROOT / "purejax_mgtopo/README.md"]


def test_every_link_of_the_longer_pages_leads_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path, anchor in re.findall(r"\]\((?!http)([^)#]*)(#[^)]*)?\)", text):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page}: {path}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
                slugs = [re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings]
                assert anchor[1:] in slugs, f"{page}: {anchor}"


def test_no_block_to_paste_starts_days_of_work() -> None:
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert not [line for line in commands if "runs/paper" in line]


def test_commands_that_it_shows_can_be_parsed() -> None:
    from purejax_mgtopo.cli.main import parse

    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["mgtopo"] and "DIR" not in line:
                    parse(words[1:])


def test_what_is_not_equal_is_said_beside_the_number() -> None:
    (row,) = [
        line for line in README.splitlines() if line.startswith("|") and "toy_follow_holder" in line
    ]
    for word in ("4,000", "1,500", "ten times", "L2", "slower gates"):
        assert word in row
