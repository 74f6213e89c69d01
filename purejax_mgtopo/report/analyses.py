"""What the learned rule has learned: advantages of REINFORCE and of eta over an episode (paper, Figures 4 and 5).

Shapes: T steps, N agents. The paper does not say how it normalises; here every line is standardised over the
episode's steps, so that lines compare by shape. For gate learning that loses nothing but scale and offset, of which
RMSprop hides the first.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.topology.meta import MetaState
from purejax_mgtopo.algorithm.types import Both, Gates, Mode, PyTree, Trajectory
from purejax_mgtopo.analysis.drawing import AS_IT_IS
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.records.files import SOFTWARE, strict_json, write_atomically
from purejax_mgtopo.records.record import CHECKPOINTS
from purejax_mgtopo.records.run_data import RunData
from purejax_mgtopo.report.collect import standing_seeds
from purejax_mgtopo.report.model import LearnedAdvantage
from purejax_mgtopo.trained.play import Episode, play_episode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from purejax_mgtopo.trained.load import Networks


@dataclass(frozen=True)
class Advantages:
    """How decisions of one episode are judged, in raw units; senders in ascending index."""

    seed: int
    episode_seed: int
    reinforce: Float[np.ndarray, " T"]
    """``A_t = G_t^(n) - V(o_t; phi)``, one for all pairs."""
    learned: Float[np.ndarray, "T N N-1"]
    """The advantage ``A-hat`` by the trained eta."""
    initial: Float[np.ndarray, "T N N-1"]
    """The advantage ``A-hat`` by the eta that this seed began with, on the same trajectory and gates."""

    def resemblance(self) -> Float[np.ndarray, "N N-1"]:
        """Correlation of A and A-hat over the steps, for each pair; NaN where one of them is constant."""
        shared = standardised(self.reinforce)[:, None, None]
        own = standardised(self.learned)
        constant = (own == 0).all(axis=0) | (shared == 0).all()
        return np.where(constant, np.nan, np.mean(shared * own, axis=0))

    def told(self) -> dict[str, Any]:
        """The same in plain values, for a file of JSON; seven digits, which is what single precision holds."""
        short = np.vectorize(lambda value: float(f"{value:.7g}"), otypes=[float])
        return {
            "episode_seed": self.episode_seed,
            "reinforce": short(self.reinforce).tolist(),
            "learned": short(self.learned).tolist(),
            "initial": short(self.initial).tolist(),
        }

    def summary(self, agent: int = 0) -> LearnedAdvantage:
        """What the report shows: the lines of one receiver, the resemblance of all."""
        return LearnedAdvantage(
            seed=self.seed,
            agent=agent,
            reinforce=standardised(self.reinforce),
            learned=standardised(self.learned)[:, agent],
            initial=standardised(self.initial)[:, agent],
            resemblance=self.resemblance(),
        )


def has_advantages(algorithm: Algorithm) -> bool:
    """Whether the algorithm's rule learns an advantage for each edge."""
    return algorithm.team.rule.judges


def episode_advantages(
    algorithm: Algorithm,
    networks: Networks,
    seed: int,
    episode_seed: int,
    mode: Mode = Mode.EVAL_SAMPLED,
    precision: str = "auto",
) -> Advantages:
    """Play one noise-free episode and let REINFORCE's baseline and eta judge it.

    Args:
        algorithm: of a run whose topology rule judges each edge, such as ``meta``.
        networks: of one of its seeds.
        seed: that seed's number, from which its first eta is made again.
        episode_seed, mode, precision: as for `play_episode`; the same ones give the episode that it plays.

    Raises ConfigError for a run of another rule.
    """
    if not has_advantages(algorithm):
        raise ConfigError(
            f"learned advantages are of rules that judge each edge, as {algorithm.experiment.topology!r} does not"
        )
    episode = play_episode(algorithm, networks, episode_seed, mode, precision)
    return judge(
        algorithm, networks.parts.rule, initial_eta(algorithm, seed), episode, seed, episode_seed
    )


def judge(
    algorithm: Algorithm,
    state: MetaState,
    first_eta: PyTree,
    episode: Episode,
    seed: int,
    episode_seed: int,
) -> Advantages:
    """`episode_advantages` of an episode already played."""
    rule: Any = algorithm.team.rule
    state = jax.tree.map(jnp.asarray, state)  # checkpoints are read as NumPy
    trajectory = as_trajectory(algorithm, episode)
    reward = rule.priced_reward(trajectory)
    reinforce = rule.baseline.beyond(state.baseline.params, trajectory, reward)[1]
    return Advantages(
        seed=seed,
        episode_seed=episode_seed,
        reinforce=np.asarray(reinforce),
        learned=np.asarray(rule.judged(state, trajectory)),
        initial=np.asarray(rule.judged(replace(state, eta=first_eta), trajectory)),
    )


def initial_eta(algorithm: Algorithm, seed: int) -> PyTree:
    """The meta-parameters with which a seed starts."""
    return _first_eta(algorithm, jax.random.key(seed))


# Compiled, so that all that eta does not depend on, the warm-up above all, falls away.
@partial(jax.jit, static_argnames=("algorithm",))
def _first_eta(algorithm: Algorithm, key: Key[Array, ""]) -> PyTree:
    return algorithm.init(key).parts.rule.eta


@partial(jax.jit, static_argnames=("algorithm",))
def _observed(algorithm: Algorithm, states: PyTree) -> Float[Array, "T+1 N O"]:
    return jax.vmap(algorithm.env.observe)(states)


def as_trajectory(algorithm: Algorithm, episode: Episode) -> Trajectory:
    """What the rules read of an episode: observations, rewards and decisions; the rest is left empty.

    A probability is 0, which no rule may read here: NaN would say so, and stop a process under JAX_DEBUG_NANS.
    """
    steps = len(episode.masks)
    decision = drop_diagonal(jnp.asarray(episode.masks))
    observation = _observed(algorithm, jax.tree.map(jnp.asarray, episode.states))
    return Trajectory(
        observation=observation,
        feature=observation[:-1, :, :0],
        message=observation[:-1, :, :0],
        action=jnp.asarray(episode.actions),
        reward=jnp.asarray(episode.rewards),
        gates=Gates(probability=jnp.zeros_like(decision), decision=decision),
        kept=Both(),
        moving=jnp.zeros((steps + 1, 0)),
        fixed=jnp.zeros(0),
    )


def standardised(values: Float[np.ndarray, "T ..."]) -> Float[np.ndarray, "T ..."]:
    """Lines scaled to mean 0 and standard deviation 1 over the steps; a constant one becomes 0."""
    values = np.asarray(values, float)
    centred = values - values.mean(axis=0)
    deviation = values.std(axis=0)
    # Rounding alone must not be blown up to a line.
    varies = deviation > 1e-6 * np.maximum(np.abs(values).max(axis=0), 1e-30)
    return np.where(varies, centred / np.where(varies, deviation, 1.0), 0.0)


@dataclass(frozen=True)
class JudgedRun:
    """Judged episodes of one seed of a run, as a picture shows them and a file keeps them."""

    task: str
    method: str
    """What the run is called: of two that are both ``meta`` the picture must say which."""
    agent: int
    """The receiver that is shown."""
    episodes: tuple[Advantages, ...]

    def draw(self) -> Figure:
        """The paper's Figure 4 (right), or 5, of these episodes; titled."""
        title = f"{self.method} on {self.task}, seed {self.episodes[0].seed}"
        return draw_advantages(self.episodes, self.agent, title=title)

    def write(self, path: Path) -> Path:
        """Write the numbers of all pairs as JSON, from which `read_judged` draws again. Raises OSError."""
        document = {
            "made by": SOFTWARE,
            "task": self.task,
            "method": self.method,
            "agent": self.agent,
            "seed": self.episodes[0].seed,
            "episodes": [episode.told() for episode in self.episodes],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, strict_json(document).encode())
        return path


def read_judged(path: Path) -> JudgedRun:
    """What `JudgedRun.write` wrote. Raises RunError for a file that is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
        lines = ("reinforce", "learned", "initial")
        episodes = tuple(
            Advantages(
                found["seed"],
                one["episode_seed"],
                *(np.asarray(one[line], float) for line in lines),
            )
            for one in found["episodes"]
        )
        return JudgedRun(found["task"], found["method"], found["agent"], episodes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path} holds no advantages of `mgtopo figures --advantages`: {error!r}"
        ) from error


def judge_run(data: RunData, method: str, episodes: int, agent: int = 0) -> JudgedRun | None:
    """The first `episodes` noise-free episodes of a run's median seed, judged.

    None where the run's rule judges no edge, or has left no networks of a finite seed. Raises ConfigError for an agent
    that the task does not have.
    """
    from purejax_mgtopo.trained.load import load_trained

    standing = {name: seed for seed, name in standing_seeds(data)}
    seed = standing.get("median", standing.get("best", standing.get("only")))
    if seed is None or not (data.folder / CHECKPOINTS).is_dir():
        return None
    trained = load_trained(data.folder, [seed])
    algorithm = trained.algorithm
    if not has_advantages(algorithm):
        return None
    if agent >= algorithm.env.num_agents:
        raise ConfigError(
            f"{data.experiment.task} has agents 0 to {algorithm.env.num_agents - 1}, no {agent}"
        )
    judged = (
        episode_advantages(
            algorithm, trained.of(seed), seed, number, precision=trained.means.precision
        )
        for number in range(episodes)
    )
    return JudgedRun(data.experiment.task, method, agent, tuple(judged))


def draw_advantages(
    episodes: Sequence[Advantages], agent: int = 0, *, title: str | None = None
) -> Figure:
    """The paper's Figure 4 (right) for one episode, its Figure 5 for several: a row an episode, a column a sender.

    Raises ValueError for no episode.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not episodes:
        raise ValueError("no episode to draw")
    pairs = episodes[0].learned.shape[2]
    width = max(4.0, 2.3 * pairs)
    figure = Figure(figsize=(width, 0.9 + 1.7 * len(episodes)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(episodes), pairs, sharex=True, sharey=True, squeeze=False)
    for row, episode in zip(grid, episodes, strict=True):
        reinforce, learned = standardised(episode.reinforce), standardised(episode.learned)
        initial = standardised(episode.initial)
        alike = episode.resemblance()
        for column, axes in enumerate(row):
            axes.plot(initial[:, agent, column], color="0.55", ls=":", lw=1.2, label="initial eta")
            axes.plot(reinforce, color="#0072B2", ls="--", lw=1.4, label="REINFORCE")
            axes.plot(learned[:, agent, column], color="#D55E00", lw=1.6, label="learned eta")
            sender = column + (column >= agent)
            correlation = alike[agent, column]
            note = "" if np.isnan(correlation) else f", correlation {correlation:+.2f}"
            axes.set_title(f"{agent} \u2190 {sender}{note}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(f"episode {episode.episode_seed}", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    what = "normalised advantages"
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False, title=what, title_fontsize=8,
    )  # fmt: skip
    if title:
        figure.suptitle(fill(title, int(11 * width)), fontsize=9, **AS_IT_IS)
    return figure
