"""What a search of methods found, as metadata of the graph that prints and parses, and as a table in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from qir.ir.graph import Graph
from qir.ir.node import Node

_SEARCH = "qir.method_search"
"""Metadata key of a graph: JSON of what was searched, the candidates, and for scope=model their scores."""
_METHOD = "qir.method"
"""Metadata key of a layer: JSON of the number of the candidate that it has, and of the scores of all."""
Json = Mapping[str, object]


def note_search(graph: Graph, search: Json) -> None:
    """Write down what was searched: a table of scope, metric, samples, candidates and what was chosen."""
    graph.metadata[_SEARCH] = json.dumps(search, separators=(",", ":"))


def note_layer(layer: Node, chosen: int, scores: Mapping[int, float]) -> None:
    """Write down the number of the candidate that a layer has, and the scores by number."""
    layer.metadata[_METHOD] = json.dumps({"chosen": chosen, "scores": scores}, separators=(",", ":"))


def method_scores(graph: Graph) -> Json | None:
    """The table of the search that closed a graph; None when there was none.

    `scope`, `metric`, `samples`, `candidates` (each with its fields, and for scope=model `score` or the
    `reason` why it was not tried), `untried` ones behind an early stop, and `chosen`, the number of one of
    the candidates; for scope=layer, `layers` has `chosen` and `scores` (by number) of each, and `raised` says
    which `layers` were to have another `qtype`, worst first, and why those in `refused` do not.
    """
    if _SEARCH not in graph.metadata:
        return None
    table: dict[str, object] = json.loads(graph.metadata[_SEARCH])
    layers = {n.name: json.loads(n.metadata[_METHOD]) for n in graph.nodes if _METHOD in n.metadata}
    return table | ({"layers": layers} if layers else {})


class Raised(NamedTuple):
    """What a search for each layer wanted a sensitive layer to be, and why it is not."""

    qtype: str
    refused: str | None


def raised_layers(graph: Graph) -> dict[str, Raised]:
    """By name the layers that a search wanted to give another type, worst first."""
    table = json.loads(graph.metadata.get(_SEARCH, "{}")).get("raised", {})
    refused = table.get("refused", {})
    return {name: Raised(table["qtype"], refused.get(name)) for name in table.get("layers", ())}
