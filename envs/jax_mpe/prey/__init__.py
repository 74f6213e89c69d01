"""Who moves the prey: frozen policies, chosen by name or file; the trained ones lie beside this."""

from .files import FORMAT, LAYERS, PreySizes, digest, read, shipped_file, write
from .policies import (
    RANDOM,
    SCRIPTED,
    SHIPPED,
    PreyPolicy,
    RandomPrey,
    ScriptedPrey,
    TrainedPrey,
    prey_policy,
)

__all__ = [
    "FORMAT",
    "LAYERS",
    "RANDOM",
    "SCRIPTED",
    "SHIPPED",
    "PreyPolicy",
    "PreySizes",
    "RandomPrey",
    "ScriptedPrey",
    "TrainedPrey",
    "digest",
    "prey_policy",
    "read",
    "shipped_file",
    "write",
]
