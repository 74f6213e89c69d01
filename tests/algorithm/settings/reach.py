"""Which pieces of Algorithm 1 each setting is to move."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from core_cases import Algorithm, small
from pieces import TASK

from purejax_mgtopo.algorithm.topology.edgewise.weights import SHIPPED, read_rule, rule_bytes


@dataclass(frozen=True)
class Reach:
    """Another value of a setting, and the pieces that it is to move in each of these methods."""

    value: Any
    moves: frozenset[str]
    method: str = "meta"
    idle: tuple[str, ...] = ()
    """Methods in which it moves nothing at all."""


def reach(value: Any, moves: str, method: str = "meta", idle: str = "") -> Reach:
    return Reach(value, frozenset(moves.split(", ")), method, tuple(idle.split()))


def another_rule() -> str:
    """A file that is not the shipped one."""
    eta = jax.tree.map(lambda x: x + 1, read_rule(SHIPPED)[1])
    path = Path(tempfile.mkdtemp()) / "another.npz"
    path.write_bytes(rule_bytes(eta, {}))
    return str(path)


def another_eta() -> str:
    """A file of an eta of the paper's kind, of the right size."""
    made = Algorithm(small("meta", TASK))
    eta = jax.tree.map(lambda x: x + 1, made.team.rule.init_eta(jax.random.key(0)))
    path = Path(tempfile.mkdtemp()) / "eta.npz"
    path.write_bytes(rule_bytes(eta, {}))
    return str(path)


PLAYS = "warm-up, iteration"


"""What plays episodes of training, besides the piece itself."""


WIDE = (
    "policies, critic's start, rule's start, warm-up, play, quiet play, critic, policy, track, learn, outer, "
    "iteration, evaluation"
)


REACH = {
    "learner.discount": reach(0.5, "sample, learn, outer, iteration"),
    "learner.n_step": reach(3, "sample, iteration"),
    "learner.updates_per_episode": reach(2, "iteration"),
    "learner.hidden": reach(9, WIDE),
    "learner.batch_size": reach(17, "sample, critic, policy, iteration"),
    "learner.replay_transitions": reach(200, "warm-up, add, sample, iteration"),
    "learner.replay_precision": reach("float16", "warm-up, add, sample, iteration"),
    "learner.warmup_episodes": reach(4, "warm-up"),
    "learner.critic_learning_rate": reach(0.5, "critic, iteration"),
    "learner.policy_learning_rate": reach(0.5, "policy, iteration"),
    "learner.target_rate": reach(0.5, "track, iteration"),
    "learner.gradient_clip": reach(0.25, "critic, policy, iteration"),
    "learner.action_penalty": reach(0.5, "policy, iteration"),
    "learner.exploration_noise": reach(0.4, f"play, {PLAYS}"),
    "learner.share_parameters": reach(
        True,
        "policies, rule's start, warm-up, play, quiet play, critic, policy, track, learn, outer, iteration, evaluation",
    ),
    "gates.learning_rate": reach(0.5, "learn, outer, iteration", idle="none full"),
    "gates.rms_decay": reach(0.5, "learn, outer, iteration", idle="none full"),
    "gates.rms_epsilon": reach(0.5, "learn, outer, iteration", idle="none full"),
    "gates.edge_cost": reach(0.5, "learn, outer, iteration", idle="none full stgs"),
    "gates.entropy": reach(0.5, "learn, outer, iteration", idle="none full stgs"),
    "gates.temperature": reach(
        0.5,
        "warm-up, play, quiet play, critic, policy, iteration, evaluation",
        "stgs",
        idle="meta reinforce none",
    ),
    "gates.open_probability": reach(
        0.25,
        "warm-up, play, quiet play, critic, policy, iteration, evaluation",
        "random",
        idle="meta none",
    ),
    "gates.graph": reach(
        "one_peer",
        "warm-up, play, quiet play, add, sample, critic, policy, iteration, evaluation",
        "exponential+commnet",
        idle="meta none",
    ),
    "baseline.learning_rate": reach(0.5, "outer, iteration", idle="none full stgs"),
    "baseline.n_step": reach(3, "outer, iteration", idle="none full stgs"),
    "baseline.normalise": reach(False, "outer, iteration", idle="none full stgs"),
    "baseline.moments_decay": reach(0.5, "outer, iteration", idle="none full stgs"),
    "meta.learning_rate": reach(0.5, "outer, iteration", idle="reinforce stgs none"),
    "meta.gradient_clip": reach(0.25, "outer, iteration", idle="reinforce stgs none"),
    "meta.entropy": reach(0.5, "outer, iteration", idle="reinforce stgs none"),
    "meta.rms_decay": reach(0.5, "outer, iteration", idle="reinforce stgs none"),
    "meta.rms_epsilon": reach(0.5, "outer, iteration", idle="reinforce stgs none"),
    "meta.architecture": reach(
        "edge", "rule's start, warm-up, learn, outer, iteration", idle="reinforce stgs none"
    ),
    "meta.start": reach(another_eta(), "rule's start, warm-up", idle="reinforce stgs none"),
    "meta.hidden": reach(7, "rule's start, warm-up, learn, outer, iteration", idle="reinforce"),
    "meta.blend_intermediate": reach(False, "outer, iteration", idle="reinforce stgs none"),
    "meta.append_decisions": reach(
        True, "rule's start, warm-up, learn, outer, iteration", idle="reinforce"
    ),
    "meta.reward_transform": reach("signed_log", "learn, outer, iteration", idle="reinforce"),
    "meta.stop_input_gradient": reach(True, "outer, iteration", idle="reinforce stgs none"),
    "meta.stop_denominator": reach(True, "outer, iteration", idle="reinforce stgs none"),
    "meta.output_l2": reach(0.5, "outer, iteration", idle="reinforce stgs none"),
    "meta.fresh_trajectory": reach(True, "iteration"),
    "message.latency": reach(
        1, "warm-up, play, quiet play, sample, critic, policy, iteration, evaluation"
    ),
    "message.rounds": reach(
        3,
        "policies, warm-up, play, quiet play, critic, policy, track, iteration, evaluation",
        "commnet",
        idle="meta none",
    ),
    "message.share_hops": reach(
        True,
        "policies, warm-up, play, quiet play, critic, policy, track, iteration, evaluation",
        "commnet",
        idle="meta none",
    ),
    "message.aggregate": reach(
        "sum",
        "warm-up, play, quiet play, critic, policy, iteration, evaluation",
        "commnet",
        idle="meta none",
    ),
    "member.dial.bits": reach(
        2,
        "policies, warm-up, play, quiet play, add, sample, critic, policy, track, interpreter's learning, iteration, "
        "evaluation",
        "dial",
        idle="meta",
    ),
    "member.dial.noise": reach(0.5, f"play, critic, policy, {PLAYS}", "dial", idle="meta"),
    "member.dial.window": reach(3, "sample, critic, policy, iteration", "dial", idle="meta"),
    "member.rial.symbols": reach(
        3,
        "policies, interpreter's start, warm-up, play, quiet play, critic, policy, track, interpreter's learning, "
        "iteration, evaluation",
        "rial",
        idle="dial",
    ),
    "member.rial.epsilon": reach(0.5, f"play, {PLAYS}", "rial", idle="dial"),
    "member.rial.learning_rate": reach(
        0.5, "interpreter's learning, iteration", "rial", idle="dial"
    ),
    "member.rial.memory_episodes": reach(
        3, "interpreter's start, warm-up, interpreter's learning, iteration", "rial", idle="dial"
    ),
    "member.ic3net.gate_input": reach(
        "heard",
        "warm-up, play, quiet play, sample, critic, policy, learn, iteration, evaluation",
        "ic3net",
        idle="meta",
    ),
    "member.ic3net.mute_silent": reach(
        True, f"play, quiet play, critic, policy, evaluation, {PLAYS}", "ic3net", idle="meta"
    ),
    "member.tarmac.score_scale": reach(
        2.0,
        f"play, quiet play, critic, policy, interpreter's learning, evaluation, {PLAYS}",
        "tarmac",
        idle="meta",
    ),
    "member.gat.normalise": reach(
        False,
        f"play, quiet play, critic, policy, interpreter's learning, evaluation, {PLAYS}",
        "magic",
        idle="meta",
    ),
    "member.magic.second_graph": reach(
        True,
        f"gates, play, quiet play, critic, policy, learn, iteration, evaluation, {PLAYS}",
        "magic",
        idle="meta",
    ),
    "member.relay.window": reach(3, "sample, critic, policy, iteration", "expocomm", idle="meta"),
    "member.relay.auxiliary": reach(0.5, "policy, iteration", "expocomm", idle="meta"),
    "member.gated_acml.pruning": reach(0.3, "learn, iteration", "gated_acml", idle="meta"),
    "member.gated_acml.open_share": reach(0.3, "learn, iteration", "gated_acml", idle="meta"),
    "member.i2c.percentile": reach(50.0, "learn, iteration", "i2c", idle="meta"),
    "member.i2c.candidates": reach(
        4, f"play, quiet play, policy, learn, {PLAYS}", "i2c", idle="meta"
    ),
    "member.i2c.sharpness": reach(4.0, "policy, learn, iteration", "i2c", idle="meta"),
    "member.i2c.relabel_every": reach(10, "learn, iteration", "i2c", idle="meta"),
    "member.i2c.regulariser": reach(0.0, "policy, iteration", "i2c", idle="meta"),
    "member.i2c.order": reach("released", "learn, iteration", "i2c", idle="meta"),
    "member.atoc.persistence": reach(
        3, f"play, quiet play, evaluation, {PLAYS}", "atoc", idle="meta"
    ),
    "member.atoc.collaborators": reach(
        1, f"play, quiet play, critic, policy, evaluation, {PLAYS}", "atoc", idle="meta"
    ),
    "member.atoc.initiation": reach(0.3, f"play, {PLAYS}", "atoc", idle="meta"),
    "member.atoc.stop_thoughts": reach(True, "policy, iteration", "atoc", idle="meta"),
    "member.commformer.share": reach(
        1.0, f"play, quiet play, critic, policy, evaluation, {PLAYS}", "commformer", idle="meta"
    ),
    "member.commformer.learning_rate": reach(0.5, "learn, iteration", "commformer", idle="meta"),
    "member.commformer.every": reach(3, "learn, iteration", "commformer", idle="meta"),
    "member.commformer.freeze_after": reach(0.5, "learn, iteration", "commformer", idle="meta"),
    "member.universal.file": reach(another_rule(), "learn, iteration", "universal", idle="meta"),
    "member.vbc.penalty": reach(0.3, "policy, iteration", "vbc", idle="meta"),
    "evaluation.episodes": reach(4, "evaluation"),
    "evaluation.seed": reach(7, "evaluation"),
    "updates_per_iteration": reach(1, "outer, iteration"),
    "channel": reach(
        "shuffled",
        "warm-up, play, quiet play, critic, policy, iteration, evaluation",
        idle="none",
    ),
    # These move no piece: what they move is below.
    "seeds": reach(2, ""),
    "first_seed": reach(2, ""),
    "episodes": reach(4, ""),
    "chunk_episodes": reach(4, ""),
    "evaluation.every": reach(4, ""),
    "evaluation.final_episodes": reach(7, ""),
}


NAMES = {"task", "topology", "messages", "critic"}
"""What picks the pieces themselves; see the tests of the grid and of the tables of names."""


TOGETHER = {"chunk_episodes": {"episodes": 4, "evaluation.every": 4}}
"""Settings that must go along for a value to be allowed; they move no piece either."""
