"""Lowers quantized layers to integer arithmetic; the deploy graph and its float twin are two forms of it.

    x -> quantize -> Conv, Gemm, … on integers -> dequantize -> y
    x -> quantize -> restore -> MaxPool or Add in float             (tensor quantization)
    x -> quantize -> restore                                        (Identity of a quant, for any reader)

A form says how these steps are written and how integers are stored. Both forms therefore have the same
structure node by node, which is why one predicts the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy.typing as npt

from qir.backends.half_layers import compute_in_float16
from qir.backends.layers import Integers, Operand, QuantizedLayer, QuantizedTensor, read_layers, read_tensors
from qir.frontends.onnx.metadata import DOC_STRING, IR_VERSION, SPARSE_ATTRIBUTES, runnable_ir_version
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant, is_restored
from qir.ir.types import QuantParams
from qir.ir.walk import walk_nodes

Array = npt.NDArray[Any]
Store: TypeAlias = Callable[[Operand, Array], Array]
_OURS = "qir."
_CONTENT = (DOC_STRING, SPARSE_ATTRIBUTES)  # these stand for fields of the file


@dataclass(frozen=True)
class IntegerForm:
    """How integer arithmetic is written.

    `store(operand, integers)` gives what the file holds of a constant operand; `quantize(graph, layer name,
    x, params, before)` returns the quantized value and `restore(graph, tensor, quantized)` the float value
    made of it again; `dequantize(graph, layer, result, before)` adds nodes of which the first reads `result`.
    """

    store: Store
    quantize: Callable[[Graph, str, Value, QuantParams, Node], Value]
    restore: Callable[[Graph, QuantizedTensor, Value], Value]
    dequantize: Callable[[Graph, QuantizedLayer, Value, Node | None], Chain]


class Chain(NamedTuple):
    """Nodes one behind the other, by the ends (the same node where there is one).

    The first reads what comes in as its input `reads`.
    """

    first: Node
    last: Node
    reads: int = 0


def lower_integers(graph: Graph, form: IntegerForm, integers: Integers | None = None) -> Graph:
    """Let every quantized layer of `graph` compute with integers as `form` writes them, in place.

    `integers` holds those of other graphs with the same constants, and gets those of this one.
    BackendError when the graph is not completely quantized, see `read_layers`.
    """
    compute_in_float16(graph)
    layers, tensors = read_layers(graph), read_tensors(graph)
    nodes = graph.nodes
    following = dict(zip(nodes, (*nodes[1:], None), strict=True))
    for layer in layers:
        _dequantize(graph, layer, form, following[layer.last])
    constants = StoredConstants(graph, integers)
    for layer in layers:
        for operand in (layer.weight, layer.bias):
            if operand is not None:
                operand.reader.set_input(operand.index, constants.get(operand, form.store))
    _quantize_activations(graph, layers, tensors, form)
    for node in graph.nodes:
        if is_quant(node):
            graph.erase(node)
    constants.finish()
    make_runnable(graph)
    return graph


def _dequantize(graph: Graph, layer: QuantizedLayer, form: IntegerForm, before: Node | None) -> None:
    """Put dequantizing nodes behind the layer; they take the name of a result that the graph returns."""
    result, was_output = layer.last.output, layer.last.output.is_output
    kind = result.type
    chain = form.dequantize(graph, layer, result, before)
    chain.last.output.type = kind
    graph.replace(result, chain.last.output)
    chain.first.set_input(chain.reads, result)
    if was_output:
        graph.rename(result, graph.unique_value_name(f"{layer.last.name}_output0"))


def _quantize_activations(
    graph: Graph,
    layers: Sequence[QuantizedLayer],
    tensors: Sequence[QuantizedTensor],
    form: IntegerForm,
) -> None:
    """One step for each (value, parameters), where the first quant stood, named after its first reader.

    What is restored is restored once; the Identity that stands for it goes.
    """
    made: dict[tuple[Value, float, int, str], Value] = {}
    restored: dict[Value, Value] = {}
    place = {node: i for i, node in enumerate(graph.nodes)}
    readers: list[QuantizedLayer | QuantizedTensor] = [*layers, *tensors]
    for reader in sorted(readers, key=lambda reader: place[reader.node]):
        node, index, params = reader.node, reader.index, reader.activation
        quant = node.inputs[index]
        assert quant is not None
        assert quant.producer is not None
        source = quant.producer.inputs[0]
        assert source is not None
        key = (source, params.scale[0], params.zero_point[0], params.spec.qtype.value)
        if key not in made:
            made[key] = form.quantize(graph, node.name, source, params, quant.producer)
        value = made[key]
        if isinstance(reader, QuantizedTensor):
            if value not in restored:
                restored[value] = form.restore(graph, reader, value)
            value = restored[value]
        if is_restored(node):
            graph.replace(node.output, value)
            graph.erase(node)
        else:
            node.set_input(index, value)


class StoredConstants:
    """Constants in stored form, one for each (constant, parameters), so that shared weights stay shared."""

    def __init__(self, graph: Graph, integers: Integers | None = None) -> None:
        self._graph, self._integers = graph, integers
        self._made: dict[tuple[Value, QuantParams, QuantParams | None], Value] = {}

    def get(self, operand: Operand, store: Store) -> Value:
        """The stored constant of an operand."""
        key = (operand.value, operand.params, operand.coarse)
        if key not in self._made:
            integers = operand.integers() if self._integers is None else self._integers.of(operand)
            self._made[key] = self._graph.constant(store(operand, integers), operand.value.name)
        return self._made[key]

    def finish(self) -> None:
        """Erase the floats that nobody reads any more; the first integers made of each take over its name."""
        for (old, *_), new in self._made.items():
            name = old.name
            if self._graph.owns(old) and not old.is_read:
                self._graph.erase(old)
                self._graph.rename(new, name)


def make_runnable(graph: Graph) -> None:
    """Remove the node metadata that only qir reads, subgraphs included; lower an IR version that few read."""
    if IR_VERSION in graph.metadata:
        graph.metadata[IR_VERSION] = str(runnable_ir_version(graph))
    for node in walk_nodes(graph):
        for key in [k for k in node.metadata if k.startswith(_OURS) and k not in _CONTENT]:
            del node.metadata[key]
