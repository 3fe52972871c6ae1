"""Checks a deploy graph against the rules of ATC, the compiler of Ascend, before the board or ATC see it."""

from qir.backends.ascend.check.checker import check
from qir.backends.ascend.check.finding import Finding, Severity

__all__ = ["Finding", "Severity", "check"]
