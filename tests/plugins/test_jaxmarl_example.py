"""The example that wraps an environment of another package: it is that environment, and it trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "runs" / "jaxmarl"


def test_the_example_is_as_short_as_it_is_said_to_be() -> None:
    lines = (EXAMPLE / "simple_spread.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith(('"""', "#"))]
    assert len(code) <= 65


def test_it_is_jaxmarls_environment_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jaxmarl", reason="needs JaxMARL: pip install jaxmarl")
    monkeypatch.syspath_prepend(EXAMPLE)
    import simple_spread

    task, env = simple_spread.SimpleSpread(), simple_spread.ENV
    jax_mpe.check_task(task)
    state, step = task.reset(jax.random.key(3))
    theirs = state.theirs()
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        x, y = action.T
        # Nothing, left, right, down, up.
        five = np.stack(
            [0 * x, np.maximum(-x, 0), np.maximum(x, 0), np.maximum(-y, 0), np.maximum(y, 0)]
        )
        moves = {agent: jnp.asarray(five[:, k]) for k, agent in enumerate(env.agents)}
        seen, theirs, rewards, *_ = env.step_env(state.key, theirs, moves)
        state, step = task.step(state, jnp.asarray(action))
        for k, agent in enumerate(env.agents):
            np.testing.assert_allclose(task.observe(state)[k], seen[agent], rtol=1e-5, atol=1e-6)
        mean = np.mean([float(rewards[agent]) for agent in env.agents])
        assert float(step.reward) == pytest.approx(mean, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_trains(tmp_path: Path) -> None:
    pytest.importorskip("jaxmarl", reason="needs JaxMARL: pip install jaxmarl")
    words = [
        "sweep",
        str(EXAMPLE / "spread.toml"),
        "--methods",
        "meta",
        "--seeds",
        "1",
        "--wandb",
        "off",
    ]
    words += ["--episodes", "20", "--out", str(tmp_path)]
    for setting in ("learner.hidden=8", "learner.batch_size=8", "meta.hidden=8", "chunk_episodes=10",
                    "evaluation.every=10", "evaluation.episodes=2", "evaluation.final_episodes=2"):  # fmt: skip
        words += ["--set", setting]
    done = subprocess.run(
        [sys.executable, "-m", "purejax_mgtopo", *words],
        cwd=tmp_path,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "jaxmarl_simple_spread" in done.stdout
