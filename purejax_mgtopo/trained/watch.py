"""A trained seed at work: one episode as a picture and an animation, with its messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_mpe.experts import expert
from jax_mpe.scenario import Scenario
from jax_mpe.viewer import Recording, animate, draw, save_animation, save_picture

from purejax_mgtopo.algorithm.types import Mode, Purpose, Streams
from purejax_mgtopo.errors import ConfigError, RunError
from purejax_mgtopo.machine.paths import expanded
from purejax_mgtopo.machine.startup import refuse_strict_modes
from purejax_mgtopo.plugins import tasks
from purejax_mgtopo.records.files import SOFTWARE, is_foreign
from purejax_mgtopo.records.record import FIGURES
from purejax_mgtopo.settings import check_random_seed
from purejax_mgtopo.trained.load import load_trained
from purejax_mgtopo.trained.play import Episode, play_episode


@dataclass(frozen=True)
class Pictures:
    """Files that show one episode."""

    picture: Path
    """PNG: the last step, with the trails that lead to it."""
    animation: Path
    """GIF: the whole episode."""


def watch(
    folder: str | Path,
    *,
    seed: int | None = None,
    greedy: bool = False,
    episode_seed: int = 0,
    out: str | Path | None = None,
    name: str | None = None,
) -> Pictures:
    """Play and draw one noise-free episode of a run's trained networks.

    Args:
        folder: of the run.
        seed: which of its seeds; by default the first that stayed finite.
        greedy: edges are open where their probability exceeds one half; else they are sampled.
        episode_seed: another one, another episode.
        out: folder for the files; by default ``figures`` in the run's.
        name: of the files, without ``.png`` and ``.gif``; by default ``seed<i>_episode<e>[_greedy]``. Older files of
            that name are replaced, if they are pictures of ours.

    Raises:
        RunError: where there is no run, no checkpoint, or no room to write.
        ConfigError: for a seed that the run does not have, or an episode seed out of range.
    """
    check_random_seed("episode_seed", episode_seed)
    trained = load_trained(folder, None if seed is None else [seed])
    alive = [one for one in trained.seeds if one not in trained.frozen]
    if seed in trained.frozen:
        raise RunError(f"seed {seed} of {folder} did not stay finite; watch another seed")
    if not alive:
        raise RunError(f"no seed of {folder} stayed finite; there is nothing to watch")
    seed = alive[0] if seed is None else seed
    target = trained.folder / FIGURES if out is None else expanded(out)
    name = name or f"seed{seed}_episode{episode_seed}{'_greedy' if greedy else ''}"
    _refuse_foreign(target / name)
    mode = Mode.EVAL_GREEDY if greedy else Mode.EVAL_SAMPLED
    precision = trained.means.precision
    episode = play_episode(trained.algorithm, trained.of(seed), episode_seed, mode, precision)
    if not np.isfinite(episode.actions).all():
        raise RunError(f"seed {seed} of {folder} did not stay finite; watch another seed")
    title = f"{trained.experiment.task}, {trained.experiment.method}, seed {seed}"
    return draw_episode(trained.algorithm.env, episode, target / name, title)


def watch_expert(
    task: str, *, episode_seed: int = 0, out: str | Path | None = None, name: str | None = None
) -> Pictures:
    """Play and draw one episode of a task's scripted expert, which sees the whole state and hears nobody.

    Args:
        task: its name.
        episode_seed: another one, another episode; a trained team meets the same start.
        out: folder for the files; by default the current one.
        name: of the files, without ``.png`` and ``.gif``; by default ``<task>_expert_episode<e>``.

    Raises:
        ConfigError: for no task's name, a task without an expert, an episode seed out of range, or a mode of JAX that
            tasks cannot have.
        RunError: where there is no room to write.
    """
    check_random_seed("episode_seed", episode_seed)
    refuse_strict_modes()
    try:
        env = tasks.make(task)
        controller = expert(env)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    start = Streams.split(Purpose.WATCHING.key(episode_seed)).reset

    def plain(state: Any) -> Any:
        return state.replace(key=jax.random.key_data(state.key))  # NumPy has no typed keys

    def step(state: Any, _: None) -> tuple[Any, tuple]:
        action = jnp.clip(controller(state), -1.0, 1.0)
        after, timestep = env.step(state, action)
        return after, (plain(state), action, timestep.reward)

    @jax.jit
    def play(key: Any) -> Any:
        end, (states, actions, rewards) = jax.lax.scan(step, env.reset(key)[0], None, env.horizon)
        states = jax.tree.map(lambda x, last: jnp.append(x, last[None], 0), states, plain(end))
        return states, jnp.zeros((env.horizon, env.num_agents, env.num_agents)), actions, rewards

    episode = Episode(*jax.tree.map(np.asarray, play(start)))
    home = Path() if out is None else expanded(out)
    stem = home / (name or f"{Path(task).name}_expert_episode{episode_seed}")
    _refuse_foreign(stem)
    return draw_episode(env, episode, stem, f"{task}, scripted expert")


def _refuse_foreign(stem: Path) -> None:
    """An animation tells nothing of who made it: it is ours if the picture beside it is."""
    picture, animation = Path(f"{stem}.png"), Path(f"{stem}.gif")
    alone = animation.exists() and not picture.exists()
    if alone or is_foreign(picture):
        found = animation if alone else picture
        raise RunError(f"{found} holds something else already; choose another name or folder")


def draw_episode(env: Scenario[Any], episode: Episode, stem: Path, title: str) -> Pictures:
    """Write ``<stem>.png`` and ``<stem>.gif``. Raises RunError if they cannot be written."""
    recording = Recording(episode.states, episode.masks, episode.actions, episode.rewards, title)
    figure = draw(env, recording, moment=len(episode.masks) - 1)
    try:
        picture = save_picture(figure, f"{stem}.png", {"Software": SOFTWARE})
        animation = save_animation(animate(env, recording), f"{stem}.gif")
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"cannot write to {error.filename or stem.parent}: {reason}") from error
    return Pictures(picture, animation)
