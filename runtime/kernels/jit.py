"""How kernels are compiled: on first use, for one signature, without the GIL, cached on disk if possible.

numba itself is imported on first use too: that takes long, and many commands compute nothing.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar, cast

_log = logging.getLogger(__name__)

COMPILER = "qir-kernel"
"""Name of threads that compile ahead."""


@dataclass(frozen=True)
class Argument:
    """The type of one argument: a number of numba's type `dtype`, or a C-contiguous array of `rank` axes."""

    dtype: str
    rank: int = 0
    readonly: bool = False


FLAG, FLOAT, COUNT = Argument("boolean"), Argument("float32"), Argument("int64")
FLOATS = Argument("float32", 1, readonly=True)
DOUBLES = Argument("float64", 1, readonly=True)
PATTERNS = Argument("uint32", 1, readonly=True)
MATRIX = Argument("float32", 2, readonly=True)

P = ParamSpec("P")
R = TypeVar("R")


class Kernel(Generic[P, R]):
    """A function that compiles at its first call, for a declared signature only.

    Importing this package therefore compiles nothing, and a job pays only for the kernels it uses; read-only
    and writable arrays share one specialisation. Floating-point semantics stay strict (no `fastmath`), so
    that results equal those of the numpy twins to the bit, on any machine.
    """

    def __init__(self, function: Callable[P, R], arguments: tuple[Argument, ...]) -> None:
        self.function = function
        self.arguments = arguments
        self._compiled: Callable[P, R] | None = None
        self._lock = threading.Lock()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the compiled function."""
        compiled = self._compiled or self.resolve()
        return compiled(*args, **kwargs)

    def resolve(self) -> Callable[P, R]:
        """The compiled function; compiles it, or loads it from the cache, when this is the first use."""
        with self._lock:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled

    def prefetch(self) -> None:
        """Resolve in a thread of its own: loading numba takes a while, which other work can fill."""
        if self._compiled is None:
            threading.Thread(target=self._resolve_quietly, name=COMPILER).start()

    def _resolve_quietly(self) -> None:
        with contextlib.suppress(Exception):  # the first call has it again, and can tell its caller
            self.resolve()

    def _compile(self) -> Callable[P, R]:
        """Cached on disk where numba finds a place to write, in memory only where it does not."""
        try:
            return self._specialise(cache=True)
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            # RuntimeError: nowhere to put a cache (read-only installation without a home). The others: a
            # cache that became unwritable, filled the disk or was cut short. A cache is never worth a
            # failure.
            _log.debug("kernel %s is compiled without a cache: %s", self.function.__name__, error)
            return self._specialise(cache=False)

    def _specialise(self, *, cache: bool) -> Callable[P, R]:
        import numba  # noqa: PLC0415 - see above

        dispatcher = numba.njit(nogil=True, cache=cache)(self.function)
        kinds = [(getattr(numba.types, a.dtype), a) for a in self.arguments]
        dispatcher.compile(
            numba.types.void(
                *(numba.types.Array(t, a.rank, "C", readonly=a.readonly) if a.rank else t for t, a in kinds)
            )
        )
        dispatcher.disable_compile()
        return cast("Callable[P, R]", dispatcher)


def kernel(*arguments: Argument) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Decorator: compile a function that returns nothing for these arguments at its first call."""

    def decorate(function: Callable[P, R]) -> Kernel[P, R]:
        return Kernel(function, arguments)

    return decorate
