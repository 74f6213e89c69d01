"""The packed LSTM, which skips what was not received, equals the masked one that reads everything."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    acting,
    algorithm,
    assert_close,
    hear,
    jit,
    made_up_window,
    scattered,
    sizes,
    small,
    tape,
)
from oracles import learning

from purejax_mgtopo.algorithm.kernels.packed import make_plan
from purejax_mgtopo.algorithm.messages.lstm import ObservationLSTM
from purejax_mgtopo.algorithm.types import Edges, Mode

BATCH, WIDTH = 70, 3
TASKS = {3: "navigation_N3_l1", 5: "navigation_N5_l1"}


def edges_of(agents, rate, seed=0):
    """Each edge open with the given probability; the first agent's rows also hold every extreme."""
    rng = np.random.default_rng(seed)
    edges = (rng.uniform(size=(BATCH, agents, agents - 1)) < rate).astype(float)
    edges[0, 0], edges[1, 0] = 0.0, 1.0
    return edges


def make(agents, edges=Edges.DATA, **changes):
    """An interpreter that may skip what it does not receive, or (with `Edges.ANY`) may not."""
    return ObservationLSTM(small(task=TASKS[agents], **changes), sizes(agents, WIDTH), edges)


@functools.cache
def problem(agents, shared=False):
    interpreters = {
        selective: make(agents, edges, learner__share_parameters=shared)
        for selective, edges in ((True, Edges.DATA), (False, Edges.ANY))
    }
    params = scattered(jit(interpreters[True].init_params)(jax.random.key(0)), 1)
    rng = np.random.default_rng(2)
    observation = jnp.asarray(rng.normal(size=(BATCH, agents, WIDTH)), float)
    slopes = jnp.asarray(rng.normal(size=(BATCH, agents, 8)), float)

    def value(params, observation, edges, selective):
        heard = hear(interpreters[selective], params, observation, edges)
        return jnp.sum(heard * slopes), heard

    run = jax.grad(value, argnums=(0, 1), has_aux=True)
    both = {s: jit(functools.partial(run, selective=s)) for s in (True, False)}
    return (lambda *inputs: both[inputs[-1]](*inputs[:-1])), params, observation


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("agents", TASKS)
def test_values_and_derivatives_are_those_of_the_masked_lstm(agents, rate, shared):
    """A row in the wrong block, a step too many or too few, another row's derivative, a block counted twice."""
    with jax.enable_x64(True):
        run, params, observation = problem(agents, shared)
        edges = jnp.asarray(edges_of(agents, rate))
        packed = run(params, observation, edges, True)
        masked = run(params, observation, edges, False)
        assert packed[1].dtype == jnp.float64
        assert_close(packed, masked, rtol=1e-10, atol=1e-12)
        assert np.any(np.asarray(packed[0][1]))


def test_one_agent_asks_everybody_and_another_nobody():
    """Counts of blocks mixed up between agents."""
    with jax.enable_x64(True):
        run, params, observation = problem(5)
        edges = edges_of(5, 0.5)
        edges[:, 1], edges[:, 3] = 1.0, 0.0
        edges = jnp.asarray(edges)
        assert_close(
            run(params, observation, edges, True),
            run(params, observation, edges, False),
            rtol=1e-10,
            atol=1e-12,
        )


def test_rows_equal_a_plain_loop_over_what_was_received():
    with jax.enable_x64(True):
        run, params, observation = problem(5)
        edges = edges_of(5, 0.5)
        heard = np.asarray(run(params, observation, jnp.asarray(edges), True)[1])
        for row, agent in np.ndindex(12, 5):
            own = jax.tree.map(lambda x, agent=agent: np.asarray(x[agent]), params)["params"]
            others = np.delete(np.asarray(observation[row]), agent, axis=0)
            received = [o for o, open_ in zip(others, edges[row, agent], strict=True) if open_]
            expected = learning.lstm_over(learning.in_parts(own, WIDTH), received)
            np.testing.assert_allclose(heard[row, agent], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("agents", TASKS)
def test_a_single_row_skips_steps_without_another_result(agents):
    """A step skipped that somebody reads, a state that is not kept, the order of the senders."""
    interpreter = make(agents)
    with jax.enable_x64(True):
        _, params, observation = problem(agents)
        edges = jnp.asarray(edges_of(agents, 0.4))

        def read(observation, edges):
            return hear(interpreter, params, observation, edges)

        every = read(observation, edges)
        rows = jax.lax.map(lambda row: read(*row), (observation, edges))
        assert_close(rows, every, rtol=1e-10, atol=1e-12)
        assert_close(jax.vmap(read)(observation, edges), every, rtol=1e-10, atol=1e-12)
        assert "cond" in str(jax.make_jaxpr(read)(observation[0], edges[0]))
        slope = jax.grad(lambda o: jnp.sum(jnp.sin(read(o, edges[3]))))(observation[3])
        masked = jax.grad(lambda o: jnp.sum(jnp.sin(read(o, edges[3:4]))))(observation[3:4])
        assert_close(slope, masked[0], rtol=1e-10, atol=1e-12)
        assert np.any(np.asarray(slope))


def test_episodes_side_by_side_share_the_kernel():
    """As evaluations play them: a step that is left out or not by each row would give each a kernel of its own."""
    interpreter = make(5)
    params = interpreter.init_params(jax.random.key(0))
    observation, edges = jnp.ones((BATCH, 5, WIDTH)), jnp.ones((BATCH, 5, 4))

    def read(observation, edges):
        return hear(interpreter, params, observation, edges)

    kernel = params["params"]["kernel"].shape
    program = str(jax.make_jaxpr(jax.vmap(read))(observation, edges))
    assert "cond" not in program and "select_n" in program
    assert ",".join(map(str, kernel)) in program
    assert ",".join(map(str, (BATCH, *kernel))) not in program


def test_a_plan_runs_no_more_rows_than_there_are_messages_for():
    """A plan that runs everything would pass all tests above."""
    edges = edges_of(5, 0.4)
    plan = jit(make_plan)(jnp.asarray(edges))
    counts = edges.sum(-1).T.astype(int)  # [N, B]
    units = np.asarray(plan.units)
    for agent, own in enumerate(counts):
        steps = [-(-int((own > k).sum()) // plan.unit) for k in range(4)]
        np.testing.assert_array_equal(units[agent], steps)
        place = np.asarray(plan.place)[agent]
        np.testing.assert_array_equal(np.asarray(plan.count)[agent][place], own)
        np.testing.assert_array_equal(np.asarray(plan.order)[agent][place], np.arange(BATCH))
    assert plan.unit == 16 and units.sum(-1).max() < 4 * -(-BATCH // 16)


@pytest.mark.parametrize("method", ["meta", "stgs", "full"])
def test_only_rules_whose_decisions_are_data_are_packed(method):
    """Straight-through decisions have a derivative where an edge is closed, which packing would lose."""
    assert (algorithm(method, TASKS[3]).team.rule.edges is Edges.DATA) == (method == "meta")


@pytest.mark.slow
def test_the_learner_packs_what_it_recalls():
    """The saving is real only if a batch goes that way: the loops of data-dependent length are there."""
    sizes = {"learner__batch_size": 64}
    for method, loops in (("meta", True), ("stgs", False)):
        parts = algorithm(method, TASKS[3], **sizes)
        policy = parts.team.init(jax.random.key(0))
        window = made_up_window(0, 3, parts.env.observation_size, batch=64)
        recall = functools.partial(parts.team.recall, mode=Mode.REPLAY)
        program = jax.make_jaxpr(recall)(
            policy,
            acting(parts),
            window.observation[:, :1],
            window.begins[:, :1],
            window.kept,
            tape(parts, (64, 1), 0.5),
        )
        assert ("while" in str(program)) == loops


def test_seeds_that_are_vmapped_read_the_same():
    """Not a fast way, as every loop runs for as long as the longest; but no other result, and no other derivative."""
    with jax.enable_x64(True):
        _, params, observation = problem(3)
        several = jax.tree.map(lambda x: jnp.stack([x, 1.5 * x, -x]), params)
        edges = jnp.stack([jnp.asarray(edges_of(3, rate, seed=9)) for rate in (0.2, 0.5, 0.9)])

        def run(edges_are):
            interpreter = make(3, edges_are)

            def value(params, edges):
                return jnp.sum(jnp.sin(hear(interpreter, params, observation, edges)))

            return jit(jax.vmap(jax.value_and_grad(value)))(several, edges)

        packed, masked = run(Edges.DATA), run(Edges.ANY)
        assert_close(packed, masked, rtol=1e-10, atol=1e-12)
        assert len(set(np.asarray(packed[0]).tolist())) == 3
