"""By what the output channels of nodes are divided in a graph, against the user's model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from qir.ir.graph import Graph

_KEY = "qir.output_factors"
"""Metadata key of a graph: JSON of the factors of each node whose output equalization divides."""


def output_factors(graph: Graph) -> Mapping[str, Sequence[float]]:
    """Node name -> the factors by which its output channels are divided.

    What reads the output multiplies, so that the graph computes the same. Files keep them.
    """
    found: dict[str, list[float]] = json.loads(graph.metadata.get(_KEY, "{}"))
    return found


def note_output_factors(graph: Graph, noted: Mapping[str, Sequence[float]]) -> None:
    """Write down by what the output channels of nodes are divided in all; 6 digits are kept."""
    if noted:
        rounded = {name: [float(f"{factor:.6g}") for factor in factors] for name, factors in noted.items()}
        graph.metadata[_KEY] = json.dumps({**output_factors(graph), **rounded}, separators=(",", ":"))
