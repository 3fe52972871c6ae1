"""Where the numbers of each layer are in a float, fake-quant or deploy graph, so that graphs can be compared.

A layer is found by the user's name for it. Its result is called in a float graph as in the user's model; a
quantized graph keeps that name for the integer sums, or for the result where the graph returns it:

    float        conv1 -> y
    fake-quant   Sub (integers) -> conv1 -> y (sums) -> conv1.fakedequant.mul (result)
    qdq          QuantizeLinear (integers) -> DequantizeLinear -> conv1 -> y (result)
    deploy       AscendQuant (integers) -> conv1 -> y (sums) -> AscendDequant (result)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from qir.backends.ascend.check.structure import (
    ASCEND_OPS,
    DEQUANT,
    STANDARD_DOMAINS,
    DeployLayer,
    array_of,
    read_deploy_graph,
)
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.passes.insert_quant import FAKE_DEQUANT

GraphKind = Literal["float", "fake-quant", "qdq", "deploy"]

_LAYER_OPS = (
    "Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool", "MaxPool", "GlobalAveragePool", "Einsum",
    "LSTM", "GRU", "RNN", "Attention", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
    "Softmax", "Add",
)  # fmt: skip


@dataclass(frozen=True)
class LayerValues:
    """The names of a layer's values.

    `result` holds real numbers; `float_name` is what the result is called in the user's model. `integers`
    is what a quantized layer reads (less `offset`, where that is not taken away yet), `sums` what it adds up
    before its result is dequantized; None where the graph does not show them.
    """

    name: str
    op: str
    result: str
    float_name: str
    integers: str | None = None
    offset: int = 0
    sums: str | None = None

    @property
    def is_quantized(self) -> bool:
        """True when the layer computes on quantized data."""
        return self.integers is not None


def kind_of(graph: Graph) -> GraphKind:
    """What sort of graph this is, by its ops."""
    found: GraphKind = "float"
    for node in graph.nodes:
        if node.op in ASCEND_OPS and node.domain in STANDARD_DOMAINS:
            return "deploy"
        if node.name.endswith(FAKE_DEQUANT):
            found = "fake-quant"
        elif node.op == "QuantizeLinear" and found == "float":
            found = "qdq"
    return found


def layer_values(graph: Graph) -> Mapping[str, LayerValues]:
    """Layer name -> its values, in running order (bodies of control flow are not looked into)."""
    deployed = {layer.node: layer for layer in read_deploy_graph(graph).layers}
    found: dict[str, LayerValues] = {}
    for node in graph.nodes:
        if node.op not in _LAYER_OPS or not node.outputs or node.outputs[0] is None:
            continue
        if node in deployed:
            found[node.name] = _deploy(deployed[node])
        elif graph.has_node(node.name + FAKE_DEQUANT):
            found[node.name] = _fake_quant(node, graph.node(node.name + FAKE_DEQUANT))
        elif not _is_added(node):
            found[node.name] = _qdq(node) or _float(node)
    return found


def _is_added(node: Node) -> bool:
    """True for the Add inside a fake quantization, and for that of a quantized bias."""
    if node.op != "Add":
        return False
    matmul = None if node.inputs[0] is None else node.inputs[0].producer
    if ".fakequant." in node.name or (matmul is not None and _quantized_bias(matmul) is node):
        return True
    readers = [use.node for use in node.output.uses]
    return any(reader.op == DEQUANT or reader.name.endswith(FAKE_DEQUANT) for reader in readers)


def _float(node: Node) -> LayerValues:
    return LayerValues(node.name, node.op, node.output.name, node.output.name)


def _deploy(layer: DeployLayer) -> LayerValues:
    node, read = layer.node, layer.node.inputs[0]
    assert read is not None
    sums = layer.last.output.name
    result = layer.last.output if layer.dequant is None else layer.dequant.output
    return LayerValues(node.name, node.op, result.name, _float_name(result, sums), read.name, 0, sums)


def _fake_quant(node: Node, dequant: Node) -> LayerValues:
    read, (summed, _) = node.inputs[0], dequant_operands(dequant)
    assert read is not None
    result = dequant.output
    while result.has_one_use and result.uses[0].node.name.startswith(f"{node.name}.fakedequant"):
        result = result.uses[0].node.output  # the cast of a float16 layer
    return LayerValues(
        node.name, node.op, result.name, _float_name(result, summed.name), read.name, 0, summed.name
    )


def dequant_operands(dequant: Node) -> tuple[Value, Value]:
    """Sums and scale of a Mul that dequantizes: AMCT writes Mul(sums, scale), qir Mul(scale, sums)."""
    first, second = dequant.inputs
    assert first is not None
    assert second is not None
    return (first, second) if array_of(first) is None else (second, first)


def _float_name(result: Value, sums: str) -> str:
    return result.name if result.is_output else sums


def _qdq(node: Node) -> LayerValues | None:
    """The layer when it reads a quantized activation in the form of ONNX; None otherwise."""
    source = node.input(0)
    dequantize = None if source is None else source.producer
    stored = None if dequantize is None or dequantize.op != "DequantizeLinear" else dequantize.input(0)
    if stored is None or stored.constant is not None or dequantize is None:
        return None
    zero = array_of(dequantize.input(2))
    if zero is not None and zero.size != 1:
        return None
    offset = 0 if zero is None else int(zero.reshape(-1)[0])
    result = (_quantized_bias(node) or node).output
    return LayerValues(node.name, node.op, result.name, result.name, stored.name, offset)


def _quantized_bias(node: Node) -> Node | None:
    """The Add behind a MatMul whose input 1 is dequantized."""
    add = node.output.uses[0].node if node.op == "MatMul" and node.output.has_one_use else None
    bias = None if add is None or add.op != "Add" else add.input(1)
    producer = None if bias is None else bias.producer
    return add if producer is not None and producer.op == "DequantizeLinear" else None
