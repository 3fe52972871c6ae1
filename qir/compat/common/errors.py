"""Errors of the compatible packages: QirErrors that are also of the built-in kind that AMCT raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qir.ir.errors import QirError


class CompatTypeError(QirError, TypeError):
    """An argument has the wrong type."""


class CompatValueError(QirError, ValueError):
    """An argument, or what a file says, is out of range."""


class CompatRuntimeError(QirError, RuntimeError):
    """The call cannot do its work."""


@contextmanager
def amct_errors() -> Iterator[None]:
    """Let QirErrors leave as errors that AMCT's callers catch: those of no built-in kind as RuntimeErrors."""
    try:
        yield
    except QirError as error:
        if isinstance(error, (TypeError, ValueError, RuntimeError, OSError, ImportError)):
            raise
        raise CompatRuntimeError(str(error)) from error
