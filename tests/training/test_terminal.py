"""A sweep in a real pseudo-terminal of 80 columns and 24 lines, seen through a terminal's own rules."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte
import pytest
from synthetic_runs import write_run

ROOT = Path(__file__).parents[2]
TASKS = [f"navigation_N{n}_l{k}" for n in (3, 6) for k in (1, 3)]
TASKS += [f"predator_prey_N{n}_l{k}" for n in (3, 6) for k in (1, 3)]
METHODS = ["none", "full", "meta_commnet"]
SWEEP = f"""
import sys, time
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
from fake_population import FakePopulation, FakeStore
from stand_ins import stand_ins
from purejax_mgtopo.cli import main as cli, running
from purejax_mgtopo.training import sweep as sweeps
running.check_tasks = lambda configs: None
sweeps.try_to_draw = lambda *_, **__: None
from purejax_mgtopo.training import loop
loop.try_to_draw = lambda *_, **__: None
def population(config):
    return FakePopulation(config, lanes=config.means.lanes)
with stand_ins(population=population, store=FakeStore({{}})):
    sys.exit(cli.main(["sweep", sys.argv[1], "--no-cache", "--wandb", "off", *sys.argv[2:]]))
"""


def in_terminal(
    words: list[str], columns: int = 80, lines: int = 24
) -> tuple[list[list[str]], list[str]]:
    """Screens as they followed each other, and all lines that scrolled by or remain."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        words,
        stdin=end,
        stdout=end,
        stderr=end,
        cwd=ROOT,
        env=environment | {"TERM": "xterm-256color"},
    )
    os.close(end)
    screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
    stream = pyte.ByteStream(screen)
    screens: list[list[str]] = []
    try:
        while data := os.read(terminal, 4096):
            # Rich writes each picture as a whole, and begins the next by going up or erasing.
            for part in data.replace(b"\r\x1b[", b"\x00\r\x1b[").split(b"\x00"):
                stream.feed(part)
                screens.append([line.rstrip() for line in screen.display])
    except OSError:  # the other end is closed: the command is over
        pass
    assert process.wait(60) == 0, "\n".join(screen.display)
    above = ["".join(row[x].data for x in range(columns)).rstrip() for row in screen.history.top]
    return screens, above + [line.rstrip() for line in screen.display]


@pytest.mark.slow
def test_a_sweep_of_more_runs_than_lines(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"tasks = {TASKS}\nmethods = {METHODS}\nseeds = 3\n[config]\nepisodes = 40\n"
        "chunk_episodes = 10\nevaluation.every = 20\nevaluation.episodes = 2\n"
    )
    screens, lines = in_terminal([sys.executable, "-c", SWEEP, str(recipe)])
    names = [f"{task}/{method}" for task in TASKS for method in METHODS]
    for at, name in enumerate(names, start=1):
        bars = [s for s in screens if any(f"{name}  run {at} of {len(names)}" in x for x in s)]
        assert bars, f"{name} is nowhere seen while it runs"
        whole = [s for s in bars if any("40/40 episodes" in line for line in s)]
        assert whole, f"{name} is cut off: {bars[-1]}"
        assert any("training return" in line for line in whole[-1])
        (line,) = [x for x in lines if x.startswith(f"{name}  0:")]  # stays as one plain line
        assert "training return" in line and "edges" in line
    assert any(" left" in line for s in screens for line in s if "run 20 of" in line)
    assert not [line for line in lines if "run 3 of" in line]  # what lived is gone
    assert not [line for line in lines if "…" in line]


def test_waves_count_episodes_as_they_were_asked_for(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'tasks = ["toy_follow_holder"]\nmethods = ["meta"]\nseeds = 8\n[config]\nepisodes = 40\nlanes = 4\n'
        "chunk_episodes = 10\nevaluation.every = 20\nevaluation.episodes = 2\n"
    )
    screens, _ = in_terminal([sys.executable, "-c", SWEEP, str(recipe)])
    shown = [line for screen in screens for line in screen]
    assert any("40/40 episodes, wave 2 of 2" in line for line in shown)
    assert not [line for line in shown if "/80" in line]
    assert any("episodes/s x 4 seeds" in line for line in shown)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("columns", [80, 100, 200])
def test_status_keeps_task_method_and_state_whole(tmp_path: Path, columns: int) -> None:
    for task in ("navigation_N3_l3", "navigation_N6_l1"):
        for method in ("none", "meta"):
            write_run(tmp_path / task / method, task, method)
    killed = f"""
import os, sys
sys.path[:0] = [{str(ROOT / "tests" / "support")!r}]
from pathlib import Path
from synthetic_runs import write_run
write_run(Path({str(tmp_path / "b")!r}), "toy_follow_holder", "none", until=3)
os._exit(130)
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT).returncode == 130
    words = [sys.executable, "-m", "purejax_mgtopo", "status", str(tmp_path)]
    _, lines = in_terminal(words, columns)
    shown = [line.split() for line in lines]
    assert ["navigation_N3_l3", "meta", "finished"] in [line[:3] for line in shown]
    assert ["toy_follow_holder", "none"] in [line[:2] for line in shown]
    # Seconds ago it wrote its last line; that it is gone is known all the same.
    assert any("interrupted" in line for line in lines)
    assert not any("running?" in line for line in lines)
    assert not [line for line in lines if "…" in line]
    heading = " ".join(" ".join(line) for line in shown[:4])
    assert "evaluation" in heading and "return" in heading
    assert ("saved" in heading) == (columns == 200)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("tasks", "Other sizes follow the grammar <scenario>_N<agents>[_l<landmarks seen>], e.g. "
         "navigation_N4_l2."),
        ("tasks", "Each agent knows both goals, so that nothing is left to say."),
        ("methods", "Any rule goes with any interpreter: --method none+commnet, or --topology none "
         "--messages commnet; a pair without a preset is experimental."),
        ("glossary", "Other columns are measures of a plug-in that says nothing of them, by their own names."),
        ("glossary", "gap between the two best of an agent's local values, mean over agents (rule vbc)"),
    ],
)  # fmt: skip
def test_no_sentence_is_cut_or_broken_within_a_word(
    command: str, sentence: str, columns: int
) -> None:
    _, lines = in_terminal([sys.executable, "-m", "purejax_mgtopo", command], columns)
    assert sentence in " ".join(" ".join(lines).split())
    assert not [line for line in lines if "…" in line]
