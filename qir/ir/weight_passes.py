"""Which passes have changed the weights of a graph, though not what it computes.

Scales of such weights fit the user's model only when the same passes run on it again.
"""

from __future__ import annotations

import json

from qir.ir.graph import Graph

_KEY = "qir.weight_passes"
"""Metadata key of a graph: JSON list of passes with their options, as in a pipeline."""


def weight_passes(graph: Graph) -> tuple[str, ...]:
    """The passes with their options, in the order in which they ran. Files keep them."""
    return tuple(json.loads(graph.metadata.get(_KEY, "[]")))


def note_weight_pass(graph: Graph, text: str) -> None:
    """Write down that a pass, printed with its options, has changed weights."""
    graph.metadata[_KEY] = json.dumps([*weight_passes(graph), text])
