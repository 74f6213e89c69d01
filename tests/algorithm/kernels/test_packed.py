"""The packed LSTM, which skips what was not received, equals the masked one that reads everything."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_cases import (
    algorithm,
    assert_close,
    hear,
    jit,
    made_up_window,
    make_interpreter,
    rule_tape,
    scattered,
    small,
)
from oracles import learning

from purejax_mgtopo.algorithm.kernels.packed import make_plan
from purejax_mgtopo.algorithm.types import Both, Edges, Mode

BATCH, WIDTH = 70, 3
TASKS = {3: "navigation_N3_l1", 5: "navigation_N5_l1"}


def edges_of(agents, rate, seed=0):
    """Each edge open with the given probability; the first agent's rows also hold every extreme."""
    rng = np.random.default_rng(seed)
    edges = (rng.uniform(size=(BATCH, agents, agents - 1)) < rate).astype(float)
    edges[0, 0], edges[1, 0] = 0.0, 1.0
    return edges


def interpreter_of(experiment, agents, selective=True):
    """One that takes decisions for data, or not."""
    return make_interpreter(experiment, agents, WIDTH, Edges.DATA if selective else Edges.ANY)


@functools.cache
def problem(agents, shared=False):
    config = small(task=TASKS[agents], learner__share_parameters=shared)
    each = {s: interpreter_of(config, agents, selective=s) for s in (True, False)}
    params = scattered(jit(each[True].init_params)(jax.random.key(0)), 1)
    rng = np.random.default_rng(2)
    observation = jnp.asarray(rng.normal(size=(BATCH, agents, WIDTH)), float)
    slopes = jnp.asarray(rng.normal(size=(BATCH, agents, 8)), float)

    def value(params, observation, edges, selective):
        heard = hear(each[selective], params, observation, edges)
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


@pytest.mark.parametrize("agents", TASKS)
def test_a_single_row_skips_steps_without_another_result(agents):
    """A step skipped that somebody reads, a state that is not kept, the order of the senders."""
    interpreter = interpreter_of(small(task=TASKS[agents]), agents)
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
    interpreter = interpreter_of(small(task=TASKS[5]), 5)
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


def test_the_learner_packs_what_it_recalls():
    """The saving is real only if a batch goes that way: the loops of data-dependent length are there."""
    sizes = {"learner__batch_size": 64}
    for method, loops in (("meta", True), ("stgs", False)):
        parts = algorithm(method, TASKS[3], **sizes)
        policy = parts.team.init(jax.random.key(0))
        gates = parts.team.rule.init(jax.random.key(1)).gates
        window = made_up_window(0, 3, parts.env.observation_size, batch=64)
        recall = functools.partial(parts.team.recall, mode=Mode.REPLAY)
        tape = rule_tape(parts, jnp.full((64, 1, *parts.team.rule.tape_shape), 0.5))
        program = jax.make_jaxpr(recall)(
            policy, Both(gates), window.observation[:, :1], window.begins[:, :1], Both(), tape
        )
        assert ("while" in str(program)) == loops


@pytest.mark.parametrize(("backend", "loops"), [("cpu", True), ("gpu", False)])
def test_only_a_cpu_packs(monkeypatch, backend, loops):
    """Whatever the seed axis is: that is a means, and must not decide what a seed computes."""
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config = small(task=TASKS[3])
    interpreter = interpreter_of(config, 3)
    params = interpreter.init_params(jax.random.key(0))
    observation, edges = jnp.ones((BATCH, 3, WIDTH)), jnp.ones((BATCH, 3, 2))
    program = jax.make_jaxpr(functools.partial(hear, interpreter))(params, observation, edges)
    assert ("while" in str(program)) == loops
