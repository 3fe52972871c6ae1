"""What equalization has prepared, and carries out when it is known that nothing overflows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Factors: TypeAlias = Mapping[str, Sequence[float]]
"""Node name -> by what its output channels are divided against the user's model."""
Write: TypeAlias = Callable[[], Factors]
"""Changes the graph; returns the factors of the nodes whose outputs it divides."""


def all_of(*writes: Write) -> Write:
    """One after the other."""

    def write() -> Factors:
        return {name: factors for each in writes for name, factors in each().items()}

    return write
