import jax
import pytest
from fake_population import small

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Mode
from purejax_mgtopo.machine.compiler import matmul_precision, widest_vectors
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.trained import assess as assessment
from purejax_mgtopo.trained import play as playback
from purejax_mgtopo.trained.load import Networks, TrainedRun


class Traced(Exception):
    """A program would now be traced, under this precision."""


def tell(*args, **kwargs):
    raise Traced(jax.config.jax_default_matmul_precision)


@pytest.mark.parametrize(
    ("precision", "traced"),
    [("auto", None), ("float32", "highest"), ("tf32", "tensorfloat32"), ("bfloat16", "bfloat16")],
)
def test_training_playing_and_assessing_share_the_configured_precision(
    precision, traced, tmp_path, monkeypatch
):
    config = small(precision=precision)
    population = Population(config, 1)
    state = population.abstract()
    algorithm = Algorithm(config.experiment)
    learner = jax.eval_shape(algorithm.init, jax.random.key(0))
    networks = Networks(learner=learner.learner, parts=learner.parts)
    trained = TrainedRun(tmp_path, config.experiment, config.means, algorithm, (0,), networks, 10)
    monkeypatch.setattr(Algorithm, "iterate", tell)
    monkeypatch.setattr(playback, "_play", tell)
    monkeypatch.setattr(assessment, "_play", tell)
    monkeypatch.setattr(assessment, "load_trained", lambda *_: trained)
    for program in (
        lambda: population.compiled(state),
        lambda: playback.play_episode(algorithm, networks, 0, Mode.EVAL_GREEDY, precision),
        lambda: assessment.assess(tmp_path),
    ):
        with pytest.raises(Traced) as told:
            program()
        assert told.value.args == (traced,)
    assert jax.config.jax_default_matmul_precision is None


def test_the_users_own_precision_holds_where_none_is_chosen():
    before = jax.config.jax_default_matmul_precision
    jax.config.update(
        "jax_default_matmul_precision", "bfloat16"
    )  # as JAX_DEFAULT_MATMUL_PRECISION does
    try:
        with matmul_precision("auto"):
            assert jax.config.jax_default_matmul_precision == "bfloat16"
        with matmul_precision("float32"):
            assert jax.config.jax_default_matmul_precision == "highest"
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def test_programs_are_compiled_alike_for_any_number_of_devices(monkeypatch):
    """What XLA is told decides last bits, and a seed alone, on one device, equals the seed among others on two."""
    told = []
    jit = jax.jit

    def recording(*args, **kwargs):
        told.append(kwargs.get("compiler_options"))
        return jit(*args, **kwargs)

    for seeds in (1, 3):
        monkeypatch.setattr(jax, "jit", recording)
        population = Population(small(seeds=seeds))
        monkeypatch.undo()
        assert population.mesh.size == min(seeds, 2)
    assert len(told) >= 4 and told[0] is not None
    assert all(options == told[0] for options in told)
    assert told[0]["xla_cpu_multi_thread_eigen"] is False


@pytest.mark.parametrize(
    ("instructions", "flags", "bits"),
    [
        ("fpu sse2 avx avx2 avx512f", "", 512),
        ("fpu sse2 avx avx2", "", 256),
        ("fpu sse2 avx avx2 avx512f", "--foo --xla_cpu_max_isa=AVX2 --bar", 256),
        ("fpu sse2 avx avx2 avx512f", "--xla_cpu_max_isa=SSE4_2", 128),
        ("fpu sse2", "--xla_cpu_max_isa=AVX512", 128),
        ("asimd", "", None),
    ],
)
def test_the_width_of_vectors_is_the_processors_or_what_xla_is_limited_to(
    instructions, flags, bits
):
    assert widest_vectors(instructions.split(), flags) == bits
