"""What one line of a refusal must say."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@contextmanager
def saying(*words: str) -> Iterator[None]:
    """One line must hold these words."""
    with pytest.raises(ValueError) as error:
        yield
    line = str(error.value)  # without the notes that JAX adds
    assert "\n" not in line
    for word in words:
        assert word in line, line


def refused(found: object, wanted: object, name: str = "") -> AbstractContextManager[None]:
    """One line must name both shapes."""
    return saying(str(found), str(wanted), name)
