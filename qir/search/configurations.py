"""A configuration says which layers are not INT8 and what they are instead: plain data, as in journals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

from qir.ir.graph import Graph

Configuration: TypeAlias = Mapping[str, str]
"""Layer -> its rung, what it is in the place of INT8; layers quantized as the pipeline says are not in it."""


class Candidates(Protocol):
    """A calibrated model, of which every configuration can be made without calibrating again."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that configurations speak of, in running order."""

    def graph(self, configuration: Configuration) -> Graph:
        """The closed graph of a configuration, the caller's own; equal ones for equal configurations."""


def lowered(configuration: Configuration) -> dict[str, list[str]]:
    """Rung -> its layers, sorted: a configuration as it stands in a journal."""
    found: dict[str, list[str]] = {}
    for name, rung in sorted(configuration.items(), key=lambda item: (item[1], item[0])):
        found.setdefault(rung, []).append(name)
    return found
