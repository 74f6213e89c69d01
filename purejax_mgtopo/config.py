"""What a run is: what is computed (`Experiment`), and by what means (`Means`), as frozen dataclasses.

Free of JAX, so that ``--help`` stays instant. Defaults are the paper's Tables 1 and 2 (Zhang & Chen 2021) where it
gives a value. What can be computed from the configuration is a property, never a second field. Every error is one
line that says what to do.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from purejax_mgtopo.errors import require, unknown_name
from purejax_mgtopo.methods import CRITICS, MESSAGES, METHODS, TOPOLOGIES, named
from purejax_mgtopo.options.gates import BaselineConfig, GateConfig
from purejax_mgtopo.options.keeping import CheckpointConfig, EvaluationConfig
from purejax_mgtopo.options.learner import LEARNER_PRESETS, LearnerConfig
from purejax_mgtopo.options.members import MemberConfig
from purejax_mgtopo.options.messages import MessageConfig
from purejax_mgtopo.options.meta import MetaConfig
from purejax_mgtopo.plugins.registry import find_entry_points
from purejax_mgtopo.settings import UNNAMED, check_numbers, differences, flatten, override

__all__ = [
    "BaselineConfig", "CheckpointConfig", "Config", "EvaluationConfig", "Experiment", "GateConfig",
    "LEARNER_PRESETS", "LearnerConfig", "Means", "MessageConfig", "MetaConfig", "differences", "flatten", "override",
    "with_learner", "with_method",
]  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """What is computed: a task, a topology rule, a message interpreter, and as many seeds as you like.

    Each of these settings may change the result; `Means` change it by rounding at most.
    """

    task: str = "navigation_N3_l3"
    """The task's name, as `mgtopo tasks` lists it, or another size by the grammar given there.
    (paper: one of its eight)"""
    topology: str = "meta"
    """Topology rule: who receives from whom, and how that is learned (see `mgtopo methods`).
    (paper: its method is meta)"""
    messages: str = "lstm"
    """Message interpreter: what is sent, and how what arrives is read (see `mgtopo methods`).
    (paper: lstm)"""
    critic: str = "mlp"
    """Critic: what judges the actions of all agents together (see `mgtopo methods`).
    (paper: mlp)"""
    channel: Literal["clear", "own", "shuffled", "constant", "cut", "open", "random"] = "clear"
    """A control: receivers hear themselves, another episode or zeros, or over no, all or any edges; clear is none.
    (paper: clear)"""
    seeds: int = 8
    """How many seeds to train: independent repetitions, all in one program.
    (paper: 3)"""
    first_seed: int = 0
    """The lowest seed; the others follow it, and none depends on which others run.
    (ours, because counting begins at 0)"""
    episodes: int = 50_000
    """Training episodes per seed, an update after each; the warm-up comes before them.
    (paper: 50,000)"""
    updates_per_iteration: int = 10
    """K, the updates of the gates for every update of eta and of the baseline.
    (paper: 10)"""
    chunk_episodes: int = 100
    """Training episodes between two lines of progress: the program runs so many without a break.
    (ours, because it changes no result: a few seconds of a CPU)"""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """The base learner: centralised critic, deterministic policies, replay (paper, Eqs. 1-3, Table 2)."""
    gates: GateConfig = field(default_factory=GateConfig)
    """The gates, networks that open and close edges, and how they learn (paper, Table 2)."""
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    """The learned baseline of meta and reinforce, and the advantage made from it (paper, Section 4.2, Table 1)."""
    meta: MetaConfig = field(default_factory=MetaConfig)
    """The meta-parameters eta, a network that says how gates learn (paper, Eqs. 5-9, Table 1)."""
    message: MessageConfig = field(default_factory=MessageConfig)
    """How messages travel and are read."""
    member: MemberConfig = field(default_factory=MemberConfig)
    """Settings of single members of the grid, each read by the member of its name alone."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Evaluations: noise-free episodes, always the same ones, played every so often during training."""

    def __post_init__(self) -> None:
        for axis, known in (("topology", TOPOLOGIES), ("messages", MESSAGES), ("critic", CRITICS)):
            if getattr(self, axis) not in known:
                find_entry_points()  # only now: a look at every installed package
            if getattr(self, axis) not in known:
                raise unknown_name(axis, getattr(self, axis), known)
        check_numbers(self)
        require(self.seeds >= 1, f"seeds must be at least 1, not {self.seeds}")
        k, chunk, every = self.updates_per_iteration, self.chunk_episodes, self.evaluation.every
        require(k >= 1, f"updates_per_iteration (K) must be at least 1, not {k}")
        for name, value, step, step_name in (
            ("chunk_episodes", chunk, k, "updates_per_iteration"),
            ("evaluation.every", every, chunk, "chunk_episodes"),
            ("episodes", self.episodes, chunk, "chunk_episodes"),
        ):
            nearest = max(step, round(value / step) * step)
            require(
                value >= step and value % step == 0,
                f"{name} ({value}) must be a multiple of {step_name} ({step}); "
                f"the nearest is {nearest}",
            )

    @property
    def method(self) -> str:
        """The preset's name or the axes, joined by plus signs; behind it the channel, where that is a control."""
        shared = self.learner.share_parameters
        name = named(self.topology, self.messages, self.critic, shared)
        return name if self.channel == "clear" else f"{name} ({self.channel})"

    @property
    def iterations_per_chunk(self) -> int:
        """Iterations of K updates in a chunk."""
        return self.chunk_episodes // self.updates_per_iteration

    @property
    def chunks(self) -> int:
        """Chunks in the whole training of a seed."""
        return self.episodes // self.chunk_episodes


@dataclass(frozen=True)
class Means:
    """The means by which an experiment is computed, and what is kept: devices, memory, precision, checkpoints, W&B."""

    seed_axis: Literal["auto", "vmap", "map"] = "auto"
    """How seeds share a device: vmap in batches, map in turn; auto is vmap on accelerators, map on CPUs.
    (ours, because each is the faster there)"""
    devices: int = 0
    """How many devices share the seeds; 0 or auto takes all (on a CPU: one for each core).
    (ours, because seeds need nothing of each other; paper: one GPU a run)"""
    lanes: int = 0
    """Seeds trained at a time; if there are more, they run in waves. 0 or auto takes what fits (`mgtopo fit`).
    (ours, because it changes no result; paper: 1)"""
    microbatch: int = 0
    """Seeds of a device that advance together under vmap: fewer need less memory. 0 or auto takes what fits.
    (ours, because it changes no result)"""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """How exactly matrices are multiplied; auto is the device's default (GPU: tf32). With bfloat16, activations and the
    weights that products read are stored so, too; master weights, optimisers, losses and sums stay float32.
    (ours, because the paper says none)"""
    kernels: Literal["xla", "fused"] = "xla"
    """Whose kernels a GPU runs: those that XLA makes, or, in bfloat16, some of our own, which move less
    between memory and chip. Those were compiled for GPUs and tested on CPUs, but never run on a GPU yet.
    (ours, because nobody has measured them)"""
    deterministic: bool = False
    """Use only GPU operations that give the same bits at every run; slower.
    (ours, because few need it)"""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Mirror the run to W&B; auto is online where credentials exist, else offline in the run's folder.
    (ours, because the paper says none)"""
    wandb_per_seed: int = 0
    """How many seeds to mirror as W&B runs of their own, besides the run of all seeds.
    (ours, because one run tells of all seeds)"""
    wandb_project: str = ""
    """The W&B project to write to; by default what WANDB_PROJECT says, else purejax_mgtopo.
    (ours, because a project is yours)"""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints: when the whole state of training is saved, so that `mgtopo resume` goes on from there."""

    def __post_init__(self) -> None:
        check_numbers(self)
        require(self.devices >= 0, "devices must not be negative; 0 takes all")
        require(self.wandb_per_seed >= 0, "wandb_per_seed must not be negative")
        require(self.lanes >= 0, "lanes must not be negative; 0 takes what fits")
        require(self.microbatch >= 0, "microbatch must not be negative; 0 takes what fits")
        require(
            self.kernels == "xla" or self.precision == "bfloat16",
            f"kernels fused read weights in bfloat16 only; set precision to bfloat16 (now {self.precision})",
        )


COMPUTING = ("precision", "kernels")
"""Means that are part of what is computed: runs that differ in one of them are others."""


@dataclass(frozen=True)
class Config:
    """A run: what is computed, and by what. Settings of both go by one flat namespace."""

    experiment: Experiment = field(default_factory=Experiment, metadata=UNNAMED)
    """What is computed."""
    means: Means = field(default_factory=Means, metadata=UNNAMED)
    """The means by which it is computed."""

    @property
    def computed(self) -> dict[str, Any]:
        """All that decides results, by flat names: the experiment's settings, and the means that `COMPUTING` names."""
        return flatten(self.experiment) | {name: getattr(self.means, name) for name in COMPUTING}


def with_learner(experiment: Experiment, name: str) -> Experiment:
    """`experiment` with a preset of the base learner, ``"paper"`` or ``"improved"``.

    Raises ConfigError for an unknown name, with the nearest known one.
    """
    if name not in LEARNER_PRESETS:
        raise unknown_name("learner preset", name, LEARNER_PRESETS)
    return override(experiment, LEARNER_PRESETS[name])


def with_method(experiment: Experiment, name: str) -> Experiment:
    """`experiment` with a preset's axes, or those of ``"topology+messages"`` or ``"topology+messages+critic"``.

    Raises ConfigError for an unknown name, with the nearest known one.
    """
    if "+" in name:
        topology, messages, *critic = name.split("+", 2)
        judge = critic[0] if critic else experiment.critic
        return dataclasses.replace(experiment, topology=topology, messages=messages, critic=judge)
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    method = METHODS[name]
    axes = {"topology": method.topology, "messages": method.messages}
    shared = {"learner.share_parameters": method.share_parameters}
    return override(experiment, axes | shared | dict(method.settings))
