"""The factored critic: by loops, additive in the agents' actions, and one agent's action replaced at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import jit, sizes, small
from critic_cases import AGENTS, WIDTH, check_definition, drawn, made

from purejax_mgtopo import methods


def layers(net, row):
    """A perceptron of two hidden layers."""
    for name in ("Dense_0", "Dense_1"):
        row = np.maximum(row @ net[name]["kernel"] + net[name]["bias"], 0)
    return (row @ net["Dense_2"]["kernel"] + net["Dense_2"]["bias"])[0]


def by_hand(params, observation, action):
    """``V(o) + sum_i (U(o_i, a_i, i) + mean over j != i of P(o_i, a_i, i, o_j, j))``, with one U and one P for all."""
    net, who = params["params"], np.eye(AGENTS)
    acting, seeing, head = net["acting"], net["seeing"], net["pair"]["Dense_0"]
    total = layers(net["state"], np.concatenate(list(observation)))
    for i, (seen, done) in enumerate(zip(observation, action, strict=True)):
        acts = np.concatenate([seen, done, who[i]])
        total += layers(net["own"], acts)
        for j in set(range(AGENTS)) - {i}:
            sees = np.concatenate([observation[j], who[j]])
            joint = acts @ acting["kernel"] + acting["bias"] + sees @ seeing["kernel"]
            pair = np.maximum(joint + seeing["bias"], 0) @ head["kernel"] + head["bias"]
            total += pair[0] / (AGENTS - 1)
    return float(total)


def test_it_equals_the_definition_agent_by_agent():
    check_definition("factored", by_hand)


@pytest.mark.parametrize(("name", "apart"), [("factored", True), ("mlp", False), ("pic", False)])
def test_what_one_agent_does_changes_nothing_of_what_another_s_action_is_worth(name, apart):
    critic, params = made(name)
    observation, action, proposal = drawn()
    one, both = proposal.copy(), proposal.copy()
    one[:, 1:] = action[:, 1:]
    both[:, 2:] = action[:, 2:]
    other = action.copy()
    other[:, 1] = proposal[:, 1]
    worth = [jit(critic.value)(params, observation, a) for a in (one, action, both, other)]
    gains = np.asarray(worth[0] - worth[1]), np.asarray(worth[2] - worth[3])
    assert np.abs(gains[0]).max() > 1e-3
    assert np.allclose(*gains, rtol=1e-4, atol=1e-6) == apart


def test_what_others_see_changes_what_an_action_is_worth():
    """Or nobody would gain by hearing of it: a policy follows the slope of an action's worth."""
    critic, params = made("factored")
    observation, action, _ = (jnp.asarray(x) for x in drawn())

    @jax.jit
    def slope(observation):
        return jax.grad(lambda a: jnp.sum(critic.value(params, observation, a)))(action)

    before, after = slope(observation), slope(observation.at[:, 1].add(1.0))
    assert np.all(np.abs(before - after).max((0, 2)) > 1e-5)


def test_an_agent_alone_has_a_worth():
    critic = methods.load(methods.CRITICS, "factored")(small("full"), sizes(1, WIDTH))
    params = jit(critic.init)(jax.random.key(0))
    one = np.ones((2, 1, WIDTH), np.float32), np.ones((2, 1, 2), np.float32)
    assert np.isfinite(jit(critic.value)(params, *one)).all()
