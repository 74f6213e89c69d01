"""Settings of single members are checked as all others are."""

import pytest

from purejax_mgtopo.config import Experiment, override
from purejax_mgtopo.errors import ConfigError

WRONG = {
    "dial.bits": 0,
    "dial.noise": -1.0,
    "dial.window": 0,
    "rial.symbols": 1,
    "rial.epsilon": 1.5,
    "rial.learning_rate": 0.0,
    "rial.memory_episodes": 0,
    "gated_acml.pruning": -0.1,
    "gated_acml.open_share": 2.0,
    "i2c.percentile": 101.0,
    "i2c.candidates": 1,
    "i2c.sharpness": 0.0,
    "i2c.relabel_every": 0,
    "i2c.regulariser": -1.0,
    "i2c.order": "sideways",
    "vbc.penalty": -1.0,
    "atoc.persistence": 128,
    "atoc.collaborators": 0,
    "atoc.initiation": -0.5,
    "commformer.share": 0.0,
    "commformer.learning_rate": 0.0,
    "commformer.every": 0,
    "commformer.freeze_after": 1.5,
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^member.{name} must ") as error:
        override(Experiment(), {f"member.{name}": WRONG[name]})
    assert "\n" not in str(error.value)
