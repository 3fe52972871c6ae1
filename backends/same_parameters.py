"""Compares the parameters of a layer in a deploy graph with those in its fake-quant graph, number by number.

Runs on samples do not see everything: float32 cannot hold the sums of some layers, and a weight that only
meets zeros has no effect. What both graphs store must agree all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qir.backends.ascend.check.structure import MOVING_OPS, array_of
from qir.backends.layer_values import dequant_operands
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.passes.insert_quant import FAKE_DEQUANT
from qir.runtime.deploy.layers import IntegerLayer

Array = npt.NDArray[Any]


class _Parameter(NamedTuple):
    role: str
    expected: Array
    found: Array


def check_parameters(fake_quant: Graph, layer: IntegerLayer) -> None:
    """BackendError, naming layer, parameter and place, when the two graphs store different numbers."""
    for role, expected, found in _parameters(fake_quant, layer):
        a, b = np.atleast_1d(expected).astype(np.float32), np.atleast_1d(found).astype(np.float32)
        if a.shape != b.shape:
            raise BackendError(
                f"layer '{layer.name}': the {role} has shape {list(b.shape)} in the deploy graph, "
                f"{list(a.shape)} in the fake-quant graph"
            )
        bad = np.argwhere(a != b)
        if len(bad):
            first = tuple(bad[0].tolist())
            raise BackendError(
                f"layer '{layer.name}': the {role} differs between deploy and fake-quant graph in {len(bad)} "
                f"of {a.size} numbers, the first at {list(first)}: {b[first]:.9g}, not {a[first]:.9g}"
            )


def _parameters(graph: Graph, layer: IntegerLayer) -> Iterator[_Parameter]:
    node = graph.node(layer.name)
    factor, offset = _quantization(node)
    yield _Parameter("scale of AscendQuant", factor, np.asarray(layer.quant.factor))
    yield _Parameter("offset of AscendQuant", offset, np.asarray(layer.quant.offset))
    if layer.weight is not None:
        yield _Parameter("weight", _held(node, 1), layer.weight)
    if layer.bias is not None:
        added = layer.last is not layer.node
        held = _held(graph.node(layer.last.name), 1) if added else _held(node, 2)
        yield _Parameter("bias", held, layer.bias)
    scale = array_of(dequant_operands(graph.node(layer.name + FAKE_DEQUANT))[1])
    assert scale is not None
    for step in layer.dequants:
        yield _Parameter("scale of AscendDequant", scale.reshape(-1), step.params.scale)


def _quantization(layer: Node) -> tuple[Array, Array]:
    """Factor and offset of the fake quantization in front of a layer: the Mul and the Sub around it."""
    last = _producer(layer)
    while last is not None and last.op in (*MOVING_OPS, "Cast"):
        last = _producer(last)
    first = last
    while first is not None and first.op != "Mul":
        first = _producer(first)
    if last is None or first is None or last.op != "Sub":
        raise BackendError(f"the fake-quant graph has no fake quantization in front of layer '{layer.name}'")
    return _held(first, 1), _held(last, 1)


def _producer(node: Node) -> Node | None:
    source: Value | None = node.input(0)
    return None if source is None else source.producer


def _held(node: Node, index: int) -> Array:
    array = array_of(node.input(index))
    if array is None:
        raise BackendError(f"input {index} of '{node.name}' in the fake-quant graph is no constant")
    return array
