"""What channels hand back: derivatives in parameters, in what is seen and in what arrives, by central differences."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import hear, jit, moment, scattered, sizes, small

from purejax_mgtopo import methods
from purejax_mgtopo.algorithm.edges import drop_diagonal
from purejax_mgtopo.algorithm.types import Gates, Groups, Mode, Seen

AGENTS, WIDTH, BATCH, STEP = 3, 4, 4, 1e-6
MEMBER = np.array(
    [[[1, 1, 0], [0, 1, 1]], [[1, 0, 1], [0, 0, 0]], [[1, 1, 1], [1, 1, 0]], [[0, 0, 0]] * 2]
)


def in_groups(net, params, observation, delivered, member):
    """What comes of groups that follow one another, two of them in each state."""
    together = jnp.einsum("bga,bgc->bac", member, member) > 0
    edges = drop_diagonal(together.astype(member.dtype))
    now = moment(net, Mode.REPLAY, (BATCH,))
    feature = net.encode(params, (), observation, now).feature
    seen = Seen(observation, feature, feature, delivered, jnp.zeros((BATCH, AGENTS, AGENTS)))
    gates = Gates(edges, edges, aux=Groups(member, member[:, 0]))
    return net.hear(params, (), seen, gates, replace(now, carry=())).z


@pytest.mark.parametrize(
    "name", ["lstm", "commnet", "tarmac", "gat", "acml", "atoc", "atoc in groups"]
)
def test_derivatives_are_those_of_central_differences(name):
    """Float64, batches, next-step delivery; each of the three moved alone, along a direction that touches all of it."""
    messages, _, groups = name.partition(" ")
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        experiment = small(f"full+{messages}", message__latency=1, learner__hidden=8)
        net = methods.load(methods.MESSAGES, messages)(experiment, sizes(AGENTS, WIDTH))
        params = scattered(net.init_params(jax.random.key(0)), 1)
        observation = jnp.asarray(rng.normal(size=(BATCH, AGENTS, WIDTH)))
        delivered = jnp.asarray(rng.normal(size=(BATCH, AGENTS, net.message_size)))
        edges = jnp.asarray(rng.integers(0, 2, (BATCH, AGENTS, AGENTS - 1)), float)
        if groups:
            heard = partial(in_groups, net, member=jnp.asarray(MEMBER, float))
        else:

            def heard(params, observation, delivered):
                return hear(net, params, observation, edges, delivered)

        weight = jnp.asarray(rng.normal(size=heard(params, observation, delivered).shape))

        def total(*inputs):
            return jnp.sum(weight * heard(*inputs))

        inputs = (params, observation, delivered)
        slopes = jit(jax.grad(total, argnums=(0, 1, 2)))(*inputs)
        value = jit(total)
        for i, slope in enumerate(slopes):
            way = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), inputs[i])
            ends = []
            for sign in (STEP, -STEP):
                moved = jax.tree.map(lambda x, w, sign=sign: x + sign * w, inputs[i], way)
                ends.append(float(value(*inputs[:i], moved, *inputs[i + 1 :])))
            found = sum(
                float(jnp.vdot(a, b))
                for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(way), strict=True)
            )
            expected = (ends[0] - ends[1]) / (2 * STEP)
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"input {i}")
            assert found != 0 or i == 1  # lstm and acml hand on nothing of what is seen now
