"""Who moves the prey: frozen policies, chosen by name or file; the trained ones lie beside this."""

from .files import FORMAT, LAYERS, PreySizes, digest, read, shipped_file, write
from .policies import (
    RANDOM,
    SCRIPTED,
    SHIPPED,
    PreyPolicy,
    Random,
    Scripted,
    Trained,
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
    "Random",
    "Scripted",
    "Trained",
    "digest",
    "prey_policy",
    "read",
    "shipped_file",
    "write",
]
