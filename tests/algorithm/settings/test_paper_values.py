"""Every value of the paper's Tables 1 and 2 is the default, reaches the thing it is of; and every other default stands
once more, as the method's specification has it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    assert_close,
    jit,
    learn,
    made_up_trajectory,
    made_up_window,
    make_rule,
    outer,
)

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.maddpg import Maddpg, Targets
from purejax_mgtopo.algorithm.topology.baseline import n_step_return
from purejax_mgtopo.algorithm.types import Both
from purejax_mgtopo.config import Config, Experiment, flatten, override, with_method

TABLE_1 = {
    "meta.architecture": "joint",
    "meta.hidden": 128,
    "meta.learning_rate": 0.00005,
    "baseline.learning_rate": 0.001,
    "meta.entropy": 0.01,
    "updates_per_iteration": 10,
}
TABLE_2 = {
    "episodes": 50_000,
    "learner.discount": 0.95,
    "learner.n_step": 1,
    "learner.updates_per_episode": 1,
    "learner.hidden": 128,
    "learner.critic_learning_rate": 0.001,
    "learner.policy_learning_rate": 0.001,
    "gates.learning_rate": 0.001,
    "learner.target_rate": 0.01,
    "learner.batch_size": 256,
}
OURS = {
    "task": "navigation_N3_l3",
    "topology": "meta",
    "messages": "lstm",
    "critic": "mlp",
    "channel": "clear",
    "seeds": 8,
    "first_seed": 0,
    "chunk_episodes": 100,
    "learner.replay_transitions": 100_000,
    "learner.replay_precision": "float32",
    "learner.warmup_episodes": 40,
    "learner.gradient_clip": 0.5,
    "learner.action_penalty": 1e-3,
    "learner.exploration_noise": 0.2,
    "learner.share_parameters": False,
    "gates.rms_decay": 0.9,
    "gates.rms_epsilon": 1e-8,
    "gates.edge_cost": 0.0,
    "gates.entropy": 0.0,
    "gates.temperature": 1.0,
    "gates.open_probability": 0.5,
    "gates.graph": "static",
    "baseline.n_step": 25,
    "baseline.normalise": True,
    "baseline.moments_decay": 0.99,
    "member.universal.file": "",
    "meta.start": "",
    "meta.gradient_clip": 1.0,
    "meta.rms_decay": 0.9,
    "meta.rms_epsilon": 1e-8,
    "meta.blend_intermediate": True,
    "meta.append_decisions": False,
    "meta.reward_transform": "raw",
    "meta.stop_input_gradient": False,
    "meta.stop_denominator": False,
    "meta.output_l2": 0.0,
    "meta.fresh_trajectory": False,
    "message.latency": 0,
    "message.rounds": 2,
    "message.aggregate": "mean",
    "message.share_hops": False,
    "member.dial.bits": 8,
    "member.dial.noise": 2.0,
    "member.dial.window": 5,
    "member.rial.symbols": 4,
    "member.rial.epsilon": 0.05,
    "member.rial.learning_rate": 5e-4,
    "member.rial.memory_episodes": 250,
    "member.ic3net.gate_input": "feature",
    "member.ic3net.mute_silent": False,
    "member.tarmac.score_scale": 4.0,
    "member.gat.normalise": True,
    "member.magic.second_graph": False,
    "member.relay.window": 5,
    "member.relay.auxiliary": 0.1,
    "member.gated_acml.pruning": 0.5,
    "member.gated_acml.open_share": 0.2,
    "member.i2c.percentile": 60.0,
    "member.i2c.candidates": 8,
    "member.i2c.sharpness": 8.0,
    "member.i2c.relabel_every": 20,
    "member.i2c.regulariser": 0.01,
    "member.i2c.order": "published",
    "member.vbc.penalty": 0.1,
    "member.atoc.persistence": 5,
    "member.atoc.collaborators": 3,
    "member.atoc.initiation": 0.1,
    "member.atoc.stop_thoughts": False,
    "member.commformer.share": 0.4,
    "member.commformer.learning_rate": 1e-4,
    "member.commformer.every": 5,
    "member.commformer.freeze_after": 1.0,
    "evaluation.every": 500,
    "evaluation.episodes": 100,
    "evaluation.final_episodes": 1_000,
    "evaluation.seed": 20_210,
}
MEANS = {
    "seed_axis": "auto",
    "devices": 0,
    "lanes": 0,
    "microbatch": 0,
    "precision": "auto",
    "kernels": "xla",
    "deterministic": False,
    "wandb": "auto",
    "wandb_per_seed": 0,
    "wandb_project": "",
    "checkpoint.minutes": 5.0,
    "checkpoint.keep": 2,
    "checkpoint.on_error": "stop",
}


def test_every_default_is_the_papers_or_stated() -> None:
    assert flatten(Config()) == TABLE_1 | TABLE_2 | OURS | MEANS


@pytest.mark.parametrize("task", ["navigation_N3_l3", "predator_prey_N6_l1", "push_N3"])
def test_an_episode_and_a_trajectory_are_25_steps(task: str) -> None:
    made = Algorithm(with_method(Experiment(task=task), "none"))
    assert made.env.horizon == 25
    tau = jax.eval_shape(made.init, jax.eval_shape(lambda: jax.random.key(0))).trajectory
    assert tau.reward.shape == (25,)


def shapes(tree: object) -> list[tuple[int, ...]]:
    """Of all kernels and biases, the agents' axis left out."""
    return sorted(tuple(x.shape) for x in jax.tree.leaves(tree))


def test_networks_are_as_wide_as_the_tables_say() -> None:
    """N = 3, observations of 14 numbers, actions of 2."""
    made = Algorithm(Experiment())
    state = jax.eval_shape(made.init, jax.eval_shape(lambda: jax.random.key(0)))
    h, o, a, n = 128, 14, 2, 3
    policy = [(o, h), (h, h), (h,), (h, h), (h,), (h, a), (a,)]
    assert shapes(state.learner.policy.head) == sorted((n, *shape) for shape in policy)
    lstm = [(o + h, 4 * h), (4 * h,)]
    assert shapes(state.learner.policy.interpreter) == sorted((n, *shape) for shape in lstm)
    critic = [(n * o, h), (n * a, h), (h,), (h, h), (h,), (h, 1), (1,)]
    assert shapes(state.learner.critic) == sorted(critic)
    rule = state.parts.rule
    gates = [(o, h), (h,), (h, h), (h,), (h, n - 1), (n - 1,)]
    assert shapes(rule.gates) == sorted((n, *shape) for shape in gates)
    baseline = [(n * o, h), (h,), (h, h), (h,), (h, 1), (1,)]
    assert shapes(rule.baseline.params) == sorted(baseline)
    pairs = n * (n - 1)
    eta = [(3 + pairs, 4 * h), (4 * h,), (h, 4 * h), (h, h), (h,), (h, pairs), (pairs,)]
    assert shapes(rule.eta) == sorted(eta)


def small(**changes: object) -> Experiment:
    return override(Experiment(), {"learner.hidden": 4, "meta.hidden": 4, **changes})


def largest(before: object, after: object) -> float:
    """Of all steps that any parameter took."""
    steps = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), before, after)
    return float(max(jax.tree.leaves(steps)))


def test_adam_moves_critic_policies_and_baseline_by_their_own_rates() -> None:
    """Adam's first step is as long as its rate, wherever there is a gradient."""
    rates = {"critic": 3e-3, "policy": 5e-3, "baseline": 7e-3}
    settings = {f"learner.{name}_learning_rate": rates[name] for name in ("critic", "policy")}
    experiment = small(**settings, **{"baseline.learning_rate": rates["baseline"]})
    made = Algorithm(experiment)
    width = made.env.observation_size
    learner = jit(made.maddpg.init)(jax.random.key(0))
    window = made_up_window(0, 3, width)
    keys = jax.random.split(jax.random.key(1), 2)
    acting = jit(lambda both: made.parts.acting(made.parts.init(both)))(Both(*keys))
    target = Targets(learner.policy, acting, learner.critic)
    assert isinstance(made.maddpg, Maddpg)
    after, _ = jit(made.maddpg.update_critic)(learner, target, window, Both(*keys))
    assert largest(learner.critic, after.critic) == pytest.approx(rates["critic"], rel=1e-3)
    assert largest(learner.policy, after.policy) == 0
    after, _, _ = jit(made.maddpg.update_policy)(learner, acting, window, Both(*keys))
    assert largest(learner.policy, after.policy) == pytest.approx(rates["policy"], rel=1e-3)
    assert largest(learner.critic, after.critic) == 0
    rule = make_rule(experiment, 3, width)
    state = jit(rule.init)(jax.random.key(2)).baseline
    tau = made_up_trajectory(1, agents=3, width=width)
    fitted, _ = jit(rule.baseline.fit)(state, tau, tau.reward)
    moved = largest(state.params, fitted.params)
    assert moved == pytest.approx(rates["baseline"], rel=1e-3)


def test_rmsprop_moves_gates_and_eta_by_their_own_rates() -> None:
    """Its first step is the rate over the root of one minus the decay, wherever there is a gradient."""
    experiment = small(
        **{
            "gates.learning_rate": 3e-3,
            "gates.rms_decay": 0.75,
            "meta.learning_rate": 5e-3,
            "meta.rms_decay": 0.96,
            "meta.gradient_clip": 1e6,
            "gates.rms_epsilon": 1e-20,
            "meta.rms_epsilon": 1e-30,
        }
    )
    rule = make_rule(experiment, 3, 5)
    state = jit(rule.init)(jax.random.key(0))
    taus = made_up_trajectory(2, agents=3, width=5, lead=(2,))
    first = jax.tree.map(lambda x: x[0], taus)
    learned = jit(partial(learn, rule))(state, first)
    moved = largest(state.gates, learned.state.gates)
    assert moved == pytest.approx(3e-3 / 0.25**0.5, rel=1e-3)
    trace = jax.tree.map(lambda x: x[None], learned.trace)
    ended = jit(partial(outer, rule))(state, learned.state, taus, trace)
    assert largest(state.eta, ended.state.eta) == pytest.approx(5e-3 / 0.04**0.5, rel=1e-3)


@pytest.mark.parametrize("method", ["reinforce", "meta"])
def test_what_is_carried_on_from_update_to_update(method: str) -> None:
    """Running moments, second moments and Adam's counts grow with every trajectory."""
    rule = make_rule(small(topology=method, **{"baseline.moments_decay": 0.5}), 2, 3)
    state = jit(rule.init)(jax.random.key(0))
    raws, nus = [], [state.nu]
    update, close = jit(partial(learn, rule)), jit(partial(outer, rule))
    for k in range(3):
        taus = made_up_trajectory(k, lead=(2,))
        tau = jax.tree.map(lambda x: x[0], taus)
        values = rule.baseline.value(state.baseline.params, tau.observation)
        before, (state, _, trace) = state, update(state, tau)
        nus.append(state.nu)
        if method == "reinforce":
            returns = n_step_return(tau.reward, values, 0.95, 25)
            raws.append(np.asarray(returns - values[:-1]))
        ended = close(before, state, taus, jax.tree.map(lambda x: x[None], trace))
        state = ended.state
    if method == "reinforce":
        decayed = [0.25, 0.5, 1.0]
        moments = state.baseline.moments
        assert float(moments.weight) == pytest.approx(sum(decayed))
        expected = sum(d * r.mean() for d, r in zip(decayed, raws, strict=True))
        assert float(moments.total) == pytest.approx(expected, rel=1e-4)
        expected = sum(d * (r**2).mean() for d, r in zip(decayed, raws, strict=True))
        assert float(moments.square) == pytest.approx(expected, rel=1e-4)
    else:
        assert float(state.baseline.moments.weight) == pytest.approx(1.75)
    for old, new in zip(nus, nus[1:], strict=False):
        assert largest(old, new) > 0
        floor = jax.tree.map(lambda x: 0.9 * x, old)  # a decayed mean never falls faster
        for low, now in zip(jax.tree.leaves(floor), jax.tree.leaves(new), strict=True):
            assert np.all(np.asarray(now) >= np.asarray(low) * (1 - 1e-6))
    counts = [x for x in jax.tree.leaves(state.baseline.optimizer) if x.dtype == jnp.int32]
    assert [int(c) for c in counts] == [3]


def test_targets_follow_by_the_rate_and_keep_the_rest() -> None:
    experiment = small(**{"learner.target_rate": 0.25})
    made = Algorithm(experiment)
    key = jax.random.key(0)

    @jit
    def of(seed: jax.Array) -> tuple:
        keys = jax.random.split(jax.random.fold_in(key, seed), 3)
        acting = made.parts.acting(made.parts.init(Both(keys[0], keys[1])))
        return made.maddpg.init(keys[2]), acting

    (online, acting), (old, old_acting) = of(0), of(1)
    followed = made.maddpg.track(Targets(old.policy, old_acting, old.critic), online, acting)
    expected = jax.tree.map(
        lambda new, past: 0.25 * new + 0.75 * past,
        (online.policy, acting, online.critic),
        (old.policy, old_acting, old.critic),
    )
    assert_close((followed.policy, followed.acting, followed.critic), expected)
