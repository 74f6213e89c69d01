from dataclasses import replace

import jax
import pytest
from fake_population import small

from purejax_mgtopo.algorithm.algorithm import Algorithm
from purejax_mgtopo.algorithm.types import Mode
from purejax_mgtopo.population.population import Population
from purejax_mgtopo.trained import assess as assessment
from purejax_mgtopo.trained import play as playback
from purejax_mgtopo.trained.load import Networks, Trained


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
    config = replace(small(), precision=precision)
    population = Population(config, 1)
    state = population.abstract()
    algorithm = Algorithm(config)
    learner = jax.eval_shape(algorithm.init, jax.random.key(0))
    networks = Networks(learner=learner.learner, rule=learner.rule)
    trained = Trained(tmp_path, config, algorithm, (0,), networks, 10)
    monkeypatch.setattr(Algorithm, "iterate", tell)
    monkeypatch.setattr(playback, "_play", tell)
    monkeypatch.setattr(assessment, "_play", tell)
    monkeypatch.setattr(assessment, "load_trained", lambda *_: trained)
    for program in (
        lambda: population.compiled(state),
        lambda: playback.play_episode(algorithm, networks, 0, Mode.EVAL_GREEDY),
        lambda: assessment.assess(tmp_path),
    ):
        with pytest.raises(Traced) as told:
            program()
        assert told.value.args == (traced,)
    assert jax.config.jax_default_matmul_precision is None
