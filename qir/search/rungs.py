"""The rungs that layers climb from INT8 where it costs too much accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

from qir.ir.errors import ConfigError, did_you_mean

Rung: TypeAlias = Literal["int16", "int16-ec", "float16", "float32"]
RUNGS: tuple[Rung, ...] = get_args(Rung)
"""The cheapest first."""


def check_rungs(names: Sequence[str], what: str) -> tuple[Rung, ...]:
    """The rungs of a ladder; ConfigError for an unknown one, which is called `what`, or a wrong order."""
    found: list[Rung] = []
    for name in names:
        rung = next((rung for rung in RUNGS if rung == name), None)
        if rung is None:
            raise ConfigError(
                f"there is no {what} '{name}'; known: {', '.join(RUNGS)}{did_you_mean(name, RUNGS)}"
            )
        found.append(rung)
    if not found or [RUNGS.index(rung) for rung in found] != sorted({RUNGS.index(rung) for rung in found}):
        raise ConfigError(f"{what}s go up in this order, each once: {', '.join(RUNGS)}")
    return tuple(found)
