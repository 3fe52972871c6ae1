"""ConfigErrors that are also of the built-in kind which AMCT raises for the same mistake.

Their messages begin with AMCT's sentence where AMCT has one; what to do follows after it.
"""

from __future__ import annotations

from qir.ir.errors import ConfigError


class AmctTypeError(ConfigError, TypeError):
    """A value of the wrong JSON type."""


class AmctValueError(ConfigError, ValueError):
    """A value out of range, an unknown key or name, a contradiction."""


class AmctRuntimeError(ConfigError, RuntimeError):
    """A configuration with which nothing can be done."""
