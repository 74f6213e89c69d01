"""A program that is compiled while something else is: XLA compiles one on a core at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Ahead:
    """A jitted function, called as such; once begun, a call takes what a thread of its own compiles meanwhile.

    What the compilation raises is raised by the call. A process that ends waits for the thread,
    because XLA aborts where it is left in the midst of it.
    """

    def __init__(self, program: Any) -> None:
        self._program = program
        self._begun: threading.Thread | None = None
        self._compiled: Any = None
        self._error: BaseException | None = None

    def begin(self, compile_it: Callable[[], Any]) -> None:
        """Compile, unless that has begun: `compile_it` lowers and compiles what this holds, in another thread."""

        def work() -> None:
            try:
                self._compiled = compile_it()
            except BaseException as error:
                self._error = error

        if self._begun is None:
            self._begun = threading.Thread(target=work, name="compiles")
            self._begun.start()

    def lower(self, *arguments: Any) -> Any:
        """Lower the function for such arguments, as that of `jax.jit` does."""
        return self._program.lower(*arguments)

    def __call__(self, *arguments: Any) -> Any:
        if self._begun is not None:
            self._begun.join()
        if self._error is not None:
            raise self._error
        return (self._compiled or self._program)(*arguments)
