"""Which loss may reach which parameters: every "no" of the specification is an exact zero."""

import functools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    both,
    context,
    is_zero,
    jit,
    made_up_window,
    play_keys,
    scattered,
    size,
)

from purejax_mgtopo.algorithm.maddpg import Targets
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.types import Both, Mode

TASK = "toy_follow_holder"
GROUPS = ("critic", "policy", "gates", "own", "eta", "baseline")
"""`own`: what the interpreter acts with besides its share of the policy."""

REACH = {
    ("td", "reinforce"): {"critic"},
    ("td", "stgs"): {"critic"},
    ("td", "meta"): {"critic"},
    ("td", "dial"): {"critic"},
    ("td", "rial"): {"critic"},
    ("policy", "none"): {"policy"},
    ("policy", "full"): {"policy"},
    ("policy", "reinforce"): {"policy"},
    ("policy", "meta"): {"policy"},
    ("policy", "stgs"): {"policy", "gates"},
    ("policy", "dial"): {"policy"},
    ("policy", "rial"): {"policy"},
    ("symbol TD", "rial"): {"own"},
    ("td", "gated_acml"): {"critic"},
    ("td", "vbc"): {"critic"},
    ("policy", "gated_acml"): {"policy"},
    ("policy", "vbc"): {"policy"},
    ("label", "gated_acml"): {"gates"},
    ("td", "i2c"): {"critic"},
    ("td", "atoc"): {"critic"},
    ("td", "commformer"): {"critic"},
    ("policy", "i2c"): {"policy"},
    ("policy", "atoc"): {"policy"},
    ("policy", "commformer"): {"policy", "gates"},
    ("causal label", "i2c"): {"gates"},
    ("group label", "atoc"): {"gates"},
    ("confidence", "vbc"): {"gates"},
    ("td", "ic3net"): {"critic"},
    ("td", "magic"): {"critic"},
    ("td", "expocomm"): {"critic"},
    ("policy", "ic3net"): {"policy"},
    ("policy", "magic"): {"policy", "gates"},
    ("policy", "expocomm"): {"policy", "own"},
    ("grounding", "expocomm"): {"policy", "own"},
    ("score", "reinforce"): {"gates"},
    ("score", "meta"): {"gates"},
    ("talk score", "ic3net"): {"gates"},
    ("baseline TD", "ic3net"): {"baseline"},
    ("meta objective", "meta"): {"eta"},
    ("baseline TD", "reinforce"): {"baseline"},
    ("baseline TD", "meta"): {"baseline"},
}
"""(loss, rule): the groups of parameters that the loss may, and does, move."""


@functools.cache
def parts(method):
    made = algorithm(method, TASK)
    learner = jit(made.maddpg.init)(jax.random.key(0))
    rule = jit(made.team.rule.init)(jax.random.key(1))
    own = jit(made.team.interpreter.init)(jax.random.key(2))
    everything = {
        "critic": learner.critic,
        "policy": learner.policy,
        "gates": made.team.rule.acting(rule),
        "own": made.team.interpreter.acting(own),
        "eta": rule.eta if method == "meta" else (),
        "baseline": rule.baseline.params if hasattr(rule, "baseline") else (),
    }
    return made, rule, scattered(everything, 2, 0.1)


def played(made, everything, key=3):
    """A trajectory that depends on the parameters, through the environment and all."""
    keys, acting = play_keys(jax.random.key(key)), Both(everything["gates"], everything["own"])
    return rollout(made.env, made.team, everything["policy"], acting, keys, Mode.ROLLOUT, 0.1)


def seen_window(made):
    """Transitions of random numbers, within episodes: what was kept is what an episode starts with."""
    memory = made.parts.memory
    window = made_up_window(4, made.env.num_agents, made.env.observation_size, memory)
    kept = made.parts.kept(made.parts.initial_carry(window.begins.shape))
    return window.replace(kept=kept)


def td(made, rule, everything):
    window = seen_window(made)
    # The target is made of the same parameters, so that a leak through it would show.
    acting = Both(everything["gates"], everything["own"])
    target = Targets(everything["policy"], acting, everything["critic"])
    y = made.maddpg.td_target(target, window, both(jax.random.key(5)))
    return made.maddpg.critic_loss(everything["critic"], window, y)


def policy(made, rule, everything):
    window = seen_window(made)
    acting, keys = Both(everything["gates"], everything["own"]), both(jax.random.key(6))
    return made.maddpg.policy_loss(everything["policy"], acting, everything["critic"], window, keys)


def advantage(made, rule, everything, tau):
    state = rule.baseline.replace(params=everything["baseline"])
    return made.team.rule.baseline.advantage(state, tau, made.team.rule.priced_reward(tau))[0]


def score(made, rule, everything):
    tau = jax.lax.stop_gradient(played(made, everything))  # the trajectory is stored data
    shared = advantage(made, rule, everything, tau)
    weight = jnp.broadcast_to(shared[:, None, None], tau.gates.decision.shape)
    return made.team.rule.mean_score(everything["gates"], tau, weight)


def talk_score(made, rule, everything):
    tau = jax.lax.stop_gradient(played(made, everything))
    # Features of now: it is for the gates to keep gradients from them.
    tau = tau.replace(feature=played(made, everything).feature)
    shared = advantage(made, rule, everything, tau)
    return made.team.rule.mean_talk_score(everything["gates"], tau, shared)


def grounding(made, rule, everything):
    """The message is told from, not what it is told about."""
    tau = played(made, everything)
    return made.team.interpreter._error(everything["own"], tau.sent, tau.observation[:-1])


def meta_objective(made, rule, everything):
    taus = [played(made, everything, key) for key in (7, 8, 9)]
    advantages = jnp.stack([advantage(made, rule, everything, tau) for tau in taus[1:]])
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *taus)
    nu = jax.tree.map(jnp.square, everything["gates"])
    return made.team.rule.meta_objective(
        everything["eta"], everything["gates"], nu, stacked, advantages
    )


def baseline_td(made, rule, everything):
    tau = jax.lax.stop_gradient(played(made, everything))
    state = rule.baseline.replace(params=everything["baseline"])
    return made.team.rule.baseline.fit(state, tau, made.team.rule.priced_reward(tau))[1]


def symbol_td(made, rule, everything):
    tau = jax.lax.stop_gradient(played(made, everything))
    net = made.team.interpreter
    known = net.known(tau, made.team.seen(tau))
    symbol, own = tau.kept.interpreter, everything["own"]
    discount = jnp.full_like(tau.reward, 0.9)
    return net.loss(own, own, known[:-1], symbol, tau.reward, known[1:], discount)


def told(made, everything):
    """A trajectory that is data, and what a rule is told to learn from it."""
    acting = Both(everything["gates"], everything["own"])
    now = replace(
        context(),
        seen=made.team.seen,
        act=partial(made.team.act, everything["policy"], acting),
        value=partial(made.maddpg.value, everything["critic"]),
    )
    return jax.lax.stop_gradient(played(made, everything)), now


def label(made, rule, everything):
    tau, now = told(made, everything)
    gain = made.team.rule.gain(tau, now)
    label = (gain > jnp.median(gain)) + 0.0 * gain
    return made.team.rule.loss(everything["gates"]["gate"], tau.observation[:-1], label)


def confidence(made, rule, everything):
    tau, now = told(made, everything)
    aim = made.team.rule.aim(tau, now)
    return made.team.rule.loss(everything["gates"]["values"], tau.observation[:-1], aim)


def causal_label(made, rule, everything):
    tau, now = told(made, everything)
    part, seen = made.team.rule, tau.observation[:-1]
    effect = part.effects(now.value, seen, part.candidates(tau.action, tau.gates.aux))
    return part.loss(everything["gates"], seen, (effect > jnp.median(effect)) + 0.0 * effect)


def group_label(made, rule, everything):
    tau, now = told(made, everything)
    feature = played(made, everything).feature  # it is for the rule to keep gradients from it
    gain = made.team.rule.gain(tau, now)
    return made.team.rule.loss(everything["gates"], feature, gain, tau.gates.aux.initiator)


LOSSES = {
    "causal label": causal_label,
    "group label": group_label,
    "label": label,
    "confidence": confidence,
    "symbol TD": symbol_td,
    "td": td,
    "policy": policy,
    "score": score,
    "talk score": talk_score,
    "grounding": grounding,
    "meta objective": meta_objective,
    "baseline TD": baseline_td,
}


@pytest.mark.quick_cases(5)
@pytest.mark.parametrize(("loss", "method"), REACH)
def test_a_loss_reaches_its_own_parameters_and_no_others(loss, method):
    made, rule, everything = parts(method)
    gradient = jit(jax.grad(lambda e: LOSSES[loss](made, rule, e)))(everything)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    reached = {name for name in GROUPS if not is_zero(gradient[name])}
    assert reached == REACH[loss, method]


@pytest.mark.parametrize("method", ["reinforce", "meta"])
def test_the_policy_loss_hands_an_exactly_zero_gradient_to_rules_that_learn_otherwise(method):
    """The loop passes this gradient to every rule."""
    made, rule, everything = parts(method)
    window = made_up_window(4, made.env.num_agents, made.env.observation_size)
    learner = jit(made.maddpg.init)(jax.random.key(0))
    update = jit(made.maddpg.update_policy)
    slopes = update(learner, Both(everything["gates"]), window, both(jax.random.key(0)))[1]
    assert jax.tree.leaves(slopes.rule)
    assert is_zero(slopes)


def test_without_messages_the_interpreter_is_not_learned():
    made, rule, everything = parts("none")
    gradient = jit(jax.grad(lambda e: policy(made, rule, e)))(everything)["policy"]
    assert is_zero(gradient.interpreter)
    assert size(gradient.head) > 0
