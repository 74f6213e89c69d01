"""How exact float32 matrix products are, where a device offers a choice."""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax

from purejax_mgtopo.config import Config

_NAMES = {
    "auto": None,
    "float32": "highest",
    "tf32": "tensorfloat32",
    "bfloat16": "bfloat16",
}


def matmul_precision(config: Config) -> AbstractContextManager[None]:
    """The context in which programs of this configuration are traced; it is fixed then."""
    return jax.default_matmul_precision(_NAMES[config.precision])
