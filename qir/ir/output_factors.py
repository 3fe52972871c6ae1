"""By what the output channels of layers are divided in a graph, against the user's model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from qir.ir.graph import Graph

_KEY = "qir.output_factors"
"""Metadata key of a graph: JSON of the factors of each layer whose output equalization divides."""


def output_factors(graph: Graph) -> Mapping[str, Sequence[float]]:
    """Layer -> the factors by which its output channels are divided.

    What reads the output multiplies, so that the graph computes the same. Files keep them.
    """
    found: dict[str, list[float]] = json.loads(graph.metadata.get(_KEY, "{}"))
    return found


def note_output_factors(graph: Graph, layer: str, factors: Sequence[float]) -> None:
    """Write down by what the output channels of a layer are divided in all; 6 digits are kept."""
    known = {**output_factors(graph), layer: [float(f"{factor:.6g}") for factor in factors]}
    graph.metadata[_KEY] = json.dumps(known, separators=(",", ":"))
