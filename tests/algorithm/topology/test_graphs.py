"""Rules that learn nothing: coins, and the exponential graph."""

import jax
import jax.numpy as jnp
import jax_mpe
import numpy as np
import pytest
from core_cases import jit, make_rule, sight, small
from scipy.stats import binomtest

from purejax_mgtopo.algorithm.edges import fill_diagonal
from purejax_mgtopo.algorithm.part import Moment
from purejax_mgtopo.algorithm.rollout import rollout
from purejax_mgtopo.algorithm.team import Team
from purejax_mgtopo.algorithm.types import Both, Mode, Sizes, Streams
from purejax_mgtopo.errors import ConfigError

WIDTH = 3


@pytest.mark.parametrize("mode", Mode)
def test_coins_are_as_fair_as_they_are_set_in_every_mode(mode):
    """A threshold in greedy evaluation would talk at another cost."""
    rule = make_rule(small("random", gates__open_probability=0.3), 3, WIDTH)
    draws = 20_000
    tape = jax.random.uniform(jax.random.key(0), (draws, *rule.tape_shape))
    gates, _ = rule.gate((), sight(jnp.zeros((draws, 3, WIDTH))), Moment((), tape, mode))
    decision = np.asarray(gates.decision)
    assert np.all(np.asarray(gates.probability) == np.float32(0.3))
    for edge in np.ndindex(3, 2):
        assert binomtest(int(decision[:, *edge].sum()), draws, 0.3).pvalue > 1e-3
    flat = decision.reshape(draws, -1)
    assert np.abs(np.corrcoef(flat.T) - np.eye(6)).max() < 0.04


@pytest.mark.parametrize(("probability", "rate"), [(0.0, 0.0), (1.0, 1.0)])
def test_coins_can_be_certain(probability, rate):
    rule = make_rule(small("random", gates__open_probability=probability), 3, WIDTH)
    tape = jnp.asarray([0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))], jnp.float32)[
        :, None, None
    ]
    tape = jnp.broadcast_to(tape, (3, 3, 2))
    gates, _ = rule.gate((), sight(jnp.zeros((3, 3, WIDTH))), Moment((), tape, Mode.ROLLOUT))
    assert np.all(np.asarray(gates.decision) == rate)


def test_a_probability_beyond_one_is_refused():
    with pytest.raises(ConfigError, match="gates.open_probability must lie in"):
        small("random", gates__open_probability=1.5)


HOPS = {2: [1], 3: [1, 2], 4: [1, 2], 5: [1, 2, 4], 8: [1, 2, 4], 9: [1, 2, 4, 8]}


@pytest.mark.parametrize("agents", HOPS)
def test_the_exponential_graph_is_that_of_the_publication(agents):
    """i hears i + 1, i + 2, i + 4, ...: a transposed graph, a hop too many or too few."""
    expected = np.zeros((agents, agents))
    for i in range(agents):
        for hop in HOPS[agents]:
            expected[i, (i + hop) % agents] = 1
    observation = sight(jnp.zeros((7, agents, WIDTH)))
    rule = make_rule(small("exponential+gat"), agents, WIDTH)
    gates, _ = rule.gate((), observation, Moment((), jnp.zeros((7, 0)), Mode.ROLLOUT))
    np.testing.assert_array_equal(fill_diagonal(gates.decision), np.stack([expected] * 7))
    in_turn = make_rule(small("exponential+gat", gates__graph="one_peer"), agents, WIDTH)
    carry = in_turn.initial_carry((7,))
    for step in range(2 * len(HOPS[agents])):
        gates, carry = in_turn.gate((), observation, Moment(carry, jnp.zeros((7, 0)), Mode.ROLLOUT))
        hop = HOPS[agents][step % len(HOPS[agents])]
        one = np.roll(np.eye(agents), hop, axis=1)
        np.testing.assert_array_equal(fill_diagonal(gates.decision), np.stack([one] * 7))


def test_a_replayed_step_has_the_peer_that_it_had_when_it_was_played():
    experiment = small("exponential+commnet", "reference_N3", gates__graph="one_peer")
    env = jax_mpe.make("reference_N3")
    team = Team(experiment, Sizes(env.num_agents, env.observation_size, env.action_size))
    policy = jit(team.init)(jax.random.key(0))

    def both(key):
        tau = rollout(env, team, policy, Both(), Streams.split(key), Mode.ROLLOUT, 0.0)
        before = jax.tree.map(lambda x: jnp.concatenate([x[:1], x[:-1]])[:, None], tau.kept)
        begins = jnp.arange(env.horizon)[:, None] == 0
        tape = team.parts.tape(Both(key, key), (env.horizon, 1))
        window = tau.observation[:-1, None]
        again = team.recall(policy, Both(), window, begins.astype(float), before, tape, Mode.REPLAY)
        return tau.gates.decision, again.gates.decision

    played, replayed = jit(both)(jax.random.key(1))
    np.testing.assert_array_equal(replayed, played)
    assert not np.array_equal(played[0], played[1])


@pytest.mark.parametrize("mode", Mode)
def test_the_control_of_right_edges_opens_what_the_task_says_and_all_where_it_does_not(mode):
    env = jax_mpe.make("toy_follow_holder")
    states, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), 20))
    seen = sight(jax.vmap(env.observe)(states))
    rule = make_rule(small("right+lstm", "toy_follow_holder"), 3, env.observation_size)
    gates, _ = rule.gate((), seen, Moment((), jnp.zeros((20, 0)), mode))
    square = np.asarray(fill_diagonal(gates.decision))
    np.testing.assert_array_equal(square.sum((1, 2)), 1.0)
    np.testing.assert_array_equal(np.argmax(square[:, 0], axis=-1), states.holder)
    width = jax_mpe.make("toy_crossed_goals").observation_size
    rule = make_rule(small("right+lstm", "toy_crossed_goals"), 2, width)
    gates, _ = rule.gate((), sight(jnp.zeros((2, width))), Moment((), jnp.zeros(0), mode))
    assert np.all(gates.decision == 1)
