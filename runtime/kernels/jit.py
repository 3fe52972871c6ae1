"""How kernels are compiled: on first use, for one signature, without the GIL, cached on disk if possible."""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar, cast

import numba
from numba import types
from numba.core.typing.templates import Signature

_log = logging.getLogger(__name__)

FLOATS = types.Array(types.float32, 1, "C", readonly=True)
DOUBLES = types.Array(types.float64, 1, "C", readonly=True)
PATTERNS = types.Array(types.uint32, 1, "C", readonly=True)
MATRIX = types.Array(types.float32, 2, "C", readonly=True)

P = ParamSpec("P")
R = TypeVar("R")


class Kernel(Generic[P, R]):
    """A function that compiles at its first call, for a declared signature only.

    Importing this package therefore compiles nothing, and a job pays only for the kernels it uses; read-only
    and writable arrays share one specialisation. Floating-point semantics stay strict (no `fastmath`), so
    that results equal those of the numpy twins to the bit, on any machine.
    """

    def __init__(self, function: Callable[P, R], signature: Signature) -> None:
        self.function = function
        self.signature = signature
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
        dispatcher = numba.njit(nogil=True, cache=cache)(self.function)
        dispatcher.compile(self.signature)
        dispatcher.disable_compile()
        return cast("Callable[P, R]", dispatcher)


def kernel(signature: Signature) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Decorator: compile the function with numba for `signature` at its first call."""

    def decorate(function: Callable[P, R]) -> Kernel[P, R]:
        return Kernel(function, signature)

    return decorate
