"""The forms of the fake-quant graph by name."""

from __future__ import annotations

from qir.ir.errors import ConfigError, did_you_mean

FORMS = ("ascend", "qdq")
"""`ascend` predicts the deploy graph bit for bit; `qdq` is portable."""


def check_form(form: str) -> None:
    """ConfigError with the nearest name when there is no such form."""
    if form not in FORMS:
        raise ConfigError(
            f"there is no form '{form}' of the fake-quant graph; known: {', '.join(FORMS)}"
            + did_you_mean(form, FORMS)
        )
