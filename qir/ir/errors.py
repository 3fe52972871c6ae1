"""The errors that qir raises on purpose: each says where, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class QirError(Exception):
    """Base of every error caused by input, not by a defect of qir. Commands print it without a traceback."""


class ModelError(QirError):
    """A model file cannot be read, or holds something that qir cannot represent."""


class ParseError(QirError):
    """IR text or pipeline text is malformed; the message points at the place."""


class VerifyError(QirError):
    """A graph breaks a structural or typing rule of the IR."""


class PassError(QirError):
    """A pass cannot run: a precondition is missing or an option does not fit."""


class ConfigError(QirError):
    """An option, key or name given by the user is unknown or out of range."""


class ArgumentError(ConfigError):
    """What an argument of a function does not take; commands name the option that stands for it."""

    def __init__(self, argument: str | tuple[str, ...], reason: str) -> None:
        """`argument`: its name, or those of several at once; `reason` reads on after a colon."""
        self.arguments = (argument,) if isinstance(argument, str) else argument
        self.reason = reason
        super().__init__(f"{', '.join(self.arguments)}: {reason}")


class CalibrationError(QirError):
    """Calibration data are missing, malformed, empty or not finite."""


class BackendError(QirError):
    """A graph cannot be written for a target, or the written file failed its check."""


def nearest(name: str, choices: Iterable[str]) -> tuple[str, ...]:
    """The three choices that look most like `name`, best first (possibly fewer, or none)."""
    return tuple(difflib.get_close_matches(name, list(choices), n=3, cutoff=0.5))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A sentence `; did you mean 'a' or 'b'?` for error messages, or an empty string when nothing is near."""
    near = nearest(name, choices)
    return "; did you mean " + " or ".join(repr(n) for n in near) + "?" if near else ""
