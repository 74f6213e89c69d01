"""Tasks by their names: what they are, which are refused, and that the package stands alone."""

import dataclasses
import functools
import subprocess
import sys

import jax
import jax_mpe
import jumanji
import pytest
from task_names import NAMED


def test_prey_is_part_of_a_task():
    hunt = functools.partial(jax_mpe.make, "predator_prey_N3_l3")
    shipped, scripted = hunt(), hunt(prey="scripted")
    assert shipped == hunt(prey="shipped") != scripted
    assert scripted == jax_mpe.make("predator_prey_N3_l3@scripted")
    assert hash(scripted) == hash(hunt(prey="scripted"))
    assert shipped.name == "predator_prey_N3_l3"
    assert scripted.name == "predator_prey_N3_l3@scripted"
    with pytest.raises(ValueError, match="names its prey already"):
        jax_mpe.make("predator_prey_N3_l3@random", prey="scripted")


def test_tasks_are_values():
    one, same = jax_mpe.make("navigation_N3_l2"), jax_mpe.Navigation(3, 2)
    assert one == same
    assert hash(one) == hash(same)
    assert one != jax_mpe.make("navigation_N3_l3")
    assert jax_mpe.make("toy_public") != jax_mpe.make("toy_crossed_goals")
    for task, name in (
        (jax_mpe.Navigation(), "navigation_N3_l3"),
        (jax_mpe.Push(), "push_N3"),
        (jax_mpe.PredatorPrey(), "predator_prey_N3_l3"),
        (jax_mpe.Reference(), "reference_N3"),
    ):
        assert task == jax_mpe.make(name)
    traces = []

    def width(env, key):
        traces.append(env)
        return env.reset(key)[1].observation.agents_view

    for env in (one, same):
        jax.jit(width, static_argnums=0)(env, jax.random.key(0))
    assert len(traces) == 1


@pytest.mark.parametrize("name", NAMED)
def test_states_are_values(name):
    state, _ = jax.eval_shape(jax_mpe.make(name).reset, jax.random.key(0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.step_count = 0


def test_a_task_can_be_made_inside_a_jitted_function():
    view = jax.jit(
        lambda key: jax_mpe.make("navigation_N3_l1").reset(key)[1].observation.agents_view
    )
    assert view(jax.random.key(0)).shape == (3, 10)


def test_registered_names_and_jumanji():
    assert jax_mpe.registered_tasks() == NAMED
    for name in jax_mpe.registered_tasks():
        assert jumanji.make(f"{name}-v0") == jax_mpe.make(name)
    assert jumanji.make("jax_mpe-v0", name="navigation_N4_l2") == jax_mpe.Navigation(4, 2)
    hunt = jumanji.make("jax_mpe-v0", name="predator_prey_N4_l2", prey="scripted")
    assert hunt == jax_mpe.PredatorPrey(4, 2, prey="scripted")
    before = jumanji.registered_environments()
    jax_mpe._register_with_jumanji()  # as when the package is reloaded
    assert jumanji.registered_environments() == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("navigaton_N3_l3", "did you mean 'navigation_N3_l3'"),
        ("navigation_N3", "did you mean 'navigation_N3_l3'"),
        ("navigation_N6_l1x", "did you mean 'navigation_N6_l1'"),
        ("toy_crosed_goals", "did you mean 'toy_crossed_goals'"),
        ("toy_public_N3", "did you mean 'toy_public'"),
        ("push_N3_l3", "did you mean 'push_N3'"),
        ("predator_prey_N3", "did you mean 'predator_prey_N3_l3'"),
        ("", "unknown task ''"),
        ("navigation_N3_l4", "l must be from 1 to 3, not 4"),
        ("navigation_N3_l0", "l must be from 1 to 3, not 0"),
        ("navigation_N1_l1", "at least 2 agents, not N = 1"),
        ("navigation_N0_l0", "at least 2 agents, not N = 0"),
        ("predator_prey_N1_l1", "at least 2 agents, not N = 1"),
        ("predator_prey_N3_l0", "l of at least 1, not 0"),
        ("predator_prey_N3_l9", "from 1 to 2, not 9; to see all of them, say predator_prey_N3_l3"),
        ("predator_prey_N6_l4", "from 1 to 3, not 4; to see all of them, say predator_prey_N6_l6"),
        ("predator_prey_N4_l5@random", "2 landmarks, so l must be from 1 to 2, not 5"),
        ("push_N1", "at least 2 agents, not N = 1"),
        ("reference_N1", "at least 2 agents, not N = 1"),
        ("reference_N3_l3", "did you mean 'reference_N3'"),
        ("toy_follow_holder_N3", "toy_follow_holder_N3 is toy_follow_holder"),
        ("toy_follow_holder_N2", "at least 3 agents, not N = 2"),
        ("toy_follow_holder_N4_l1", "did you mean 'toy_follow_holder'"),
        ("toy_follow_two_N4", "toy_follow_two_N4 is toy_follow_two"),
        ("toy_follow_two_N3", "toy_follow_two needs at least 4 agents, not N = 3"),
        ("toy_follow_two_N05", "toy_follow_two_N05' is toy_follow_two_N5"),
        ("toy_follow_two_N5_l1", "did you mean 'toy_follow_two'"),
        ("push_N3@scripted", "push_N3 has no prey"),
        ("toy_public@random", "toy_public has no prey"),
        ("predator_prey_N3_l3@brave", "unknown prey 'brave'"),
        ("predator_prey_N3_l3@gone.npz", "there is no prey file gone.npz"),
    ],
)
def test_wrong_names_get_one_clear_line(name, words):
    with pytest.raises(ValueError) as error:
        jax_mpe.make(name)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_stands_alone_and_its_annotations_hold():
    """In a process of its own: no import of the learner, and every annotated shape checked at run
    time."""
    code = """
import sys
from jaxtyping import install_import_hook
with install_import_hook("jax_mpe", "beartype.beartype"):
    import jax_mpe
import jax, jax.numpy as jnp

def use(env, key, width):
    state, _ = env.reset(key)
    advance = type(env).advance.__wrapped__  # as annotated: shapes are refused before
    state = advance(env, state, jnp.zeros((env.num_agents, width)))
    state, _ = env.step(state, jnp.zeros((env.num_agents, 2)))
    return env.observe(env.restore(env.compress(state), state.step_count)), env.measures(state)

# Shapes are known while tracing, so nothing needs to be compiled.
sizes = ("navigation_N30_l5", "predator_prey_N30_l5", "predator_prey_N6_l1@random", "push_N30")
sizes = (*sizes, "reference_N30")
for name in (*jax_mpe.registered_tasks(), *sizes):
    env = jax_mpe.make(name)
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):
        jax.eval_shape(lambda key: use(env, key, 2), key)
    try:
        jax.eval_shape(lambda key: use(env, key, 3), key)
    except Exception as error:
        assert "type" in str(error).lower(), error
    else:
        raise SystemExit("a wrong action shape passed")
assert not any(module.startswith("purejax_mgtopo") for module in sys.modules)
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "fine", done.stderr[-2000:]
