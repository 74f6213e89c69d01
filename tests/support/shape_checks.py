"""What checks in all tests the array shapes that annotations state."""

from collections.abc import Callable

import beartype


def checked(function: Callable) -> Callable:
    """beartype for functions, not for dataclasses.

    JAX rebuilds a dataclass with whatever leaves it has at hand: batched, abstract, or none.
    """
    return function if function.__name__ == "__init__" else beartype.beartype(function)
