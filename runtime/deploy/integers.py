"""Where an `ascend`-form fake-quant graph holds the integers of a deploy graph's layers, as floats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from qir.ir.errors import ModelError, did_you_mean
from qir.ir.graph import Graph
from qir.runtime.deploy.session import DeployLayer


class IntegerValues(NamedTuple):
    """Names of the values of one layer; see `LayerIntegers`."""

    input: str
    accumulator: str


def fake_quant_values(graph: Graph, layers: Iterable[DeployLayer]) -> dict[str, IntegerValues]:
    """The values of each layer by its name, to be tapped; ModelError when `graph` lacks one of the layers."""
    found: dict[str, IntegerValues] = {}
    for layer in layers:
        for name in (layer.name, layer.last):
            if not graph.has_node(name):
                near = did_you_mean(name, (node.name for node in graph.nodes))
                raise ModelError(f"the fake-quant graph has no node '{name}', as the deploy graph has{near}")
        first = graph.node(layer.name).input(0)
        if first is None:
            raise ModelError(f"layer '{layer.name}' of the fake-quant graph has no input 0")
        found[layer.name] = IntegerValues(first.name, graph.node(layer.last).output.name)
    return found
