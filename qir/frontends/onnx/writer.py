"""Writes a graph as the protobuf of an ONNX model; the same graph gives the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import onnx

from qir.frontends.onnx.attributes import write_attribute
from qir.frontends.onnx.metadata import (
    IR_VERSION,
    ValueTexts,
    initializer_inputs,
    sparse_attributes,
    write_graph_metadata,
    write_model_metadata,
    write_node_metadata,
)
from qir.frontends.onnx.tensors import write_tensor
from qir.frontends.onnx.types import is_writable, write_type
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant

Quants = Literal["refuse", "bypass", "identity"]
"""What to do with `qir.quant` nodes, which ONNX does not have: refuse them, let their readers read the float
value, or make an Identity of each."""
Store = Callable[[Constant, onnx.TensorProto, str], None]
"""Fills the message of a constant, and puts its data somewhere."""

EXTERNAL_BYTES = 2**31 - 2**26
"""Constants of more bytes than this do not fit into one protobuf (2 GB) beside the nodes."""
_DEFAULT_IR = 8
LOWEST_IR = 4
"""The first IR version that lets an initializer not be an input."""


def to_model(graph: Graph, *, quants: Quants = "refuse", taps: Sequence[str] = ()) -> onnx.ModelProto:
    """The ONNX model of a graph; `taps` names values that become outputs, after those of the graph.

    Raises BackendError for a `qir.quant` that is to be refused or constants too large for one message, and
    ConfigError for an unknown tap.
    """
    size = constant_bytes(graph)
    if size > EXTERNAL_BYTES:
        raise BackendError(
            f"graph '{graph.name}' holds {size} bytes of constants, more than one protobuf message can; "
            "save it as a file with external data"
        )
    return build_model(graph, quants, taps, write_tensor)


def constant_bytes(graph: Graph) -> int:
    """Bytes that the constants of a graph and of its subgraphs take (strings not counted)."""
    total = sum(
        v.constant.data.nbytes for v in graph.constants if v.constant and v.constant.dtype is not DType.STR
    )
    return total + sum(constant_bytes(inner) for node in graph.nodes for inner in node.subgraphs)


def build_model(graph: Graph, quants: Quants, taps: Sequence[str], store: Store) -> onnx.ModelProto:
    """As `to_model`, with the data of initializers put wherever `store` puts them."""
    model = onnx.ModelProto()
    model.ir_version = max(int(graph.metadata.get(IR_VERSION, _DEFAULT_IR)), LOWEST_IR)
    for domain in sorted(graph.opsets):
        model.opset_import.add(domain=domain, version=graph.opsets[domain])
    write_model_metadata(graph, model)
    _Writer(quants, store).write(graph, model.graph, _tapped(graph, taps))
    return model


def _tapped(graph: Graph, taps: Sequence[str]) -> tuple[Value, ...]:
    returned = {v.name for v in graph.outputs}
    for name in taps:
        if not graph.has_value(name):
            near = did_you_mean(name, (v.name for v in graph.values()))
            raise ConfigError(f"there is no value named '{name}' in the graph to be read out{near}")
    return tuple(graph.value(name) for name in dict.fromkeys(taps) if name not in returned)


class _Writer:
    """Writes the graphs of one model."""

    def __init__(self, quants: Quants, store: Store) -> None:
        self._quants = quants
        self._store = store
        self._names: dict[Value, str] = {}  # of results of bypassed quants

    def write(self, graph: Graph, proto: onnx.GraphProto, taps: Sequence[Value] = ()) -> None:
        """Write everything in `graph`, and return `taps` too."""
        proto.name = graph.name
        write_graph_metadata(graph, proto)
        texts = ValueTexts(graph)
        returned = (*graph.outputs, *taps)
        overridable = initializer_inputs(graph) if graph.parent is None else ()
        for value in (*graph.inputs, *overridable):
            _describe(value, value.name, proto.input.add(), texts)
        for value in graph.constants:
            assert value.constant is not None
            # A session replaces initializers by their data in memory, and fails for one that nobody reads.
            if self._quants != "bypass" or _is_needed(value, returned):
                self._store(value.constant, proto.initializer.add(), value.name)
        for node in graph.nodes:
            self._write_node(node, proto, returned)
        for value in returned:
            _describe(value, self._name(value), proto.output.add(), texts)
        self._write_types(graph, proto, returned, texts)

    def _name(self, value: Value | None) -> str:
        return "" if value is None else self._names.get(value, value.name)

    def _write_node(self, node: Node, proto: onnx.GraphProto, returned: Sequence[Value]) -> None:
        if not is_quant(node):
            self._fill(node, node.op, node.domain, proto.node.add())
            return
        if self._quants == "refuse":
            raise BackendError(
                f"node '{node.name}' is a qir.quant, which ONNX does not have; write the graph for a target, "
                "or save it as .qir"
            )
        if self._quants == "identity" or any(v is node.output for v in returned):
            self._fill(node, "Identity", "", proto.node.add(), node.inputs[:1])
        else:
            self._names[node.output] = self._name(node.inputs[0])

    def _fill(
        self,
        node: Node,
        op: str,
        domain: str,
        proto: onnx.NodeProto,
        inputs: Sequence[Value | None] | None = None,
    ) -> None:
        proto.op_type, proto.name = op, node.name
        if domain:
            proto.domain = domain
        proto.input.extend(self._name(v) for v in (node.inputs if inputs is None else inputs))
        proto.output.extend(self._name(v) for v in node.outputs)
        sparse = sparse_attributes(node)
        for key in sorted(node.attributes):
            made = proto.attribute.add(name=key)
            write_attribute(node.attributes[key], made, self.write, sparse=key in sparse)
        write_node_metadata(node, proto)

    def _write_types(
        self, graph: Graph, proto: onnx.GraphProto, returned: Sequence[Value], texts: ValueTexts
    ) -> None:
        """State the types of the values between inputs and outputs, as far as they are known."""
        stated = {v.name for v in (*returned, *graph.inputs)}
        for node in graph.nodes:
            for value in node.outputs:
                known = value is not None and value not in self._names and value.name not in stated
                if value is not None and known and (is_writable(value.type) or value.name in texts):
                    _describe(value, value.name, proto.value_info.add(), texts)


def _is_needed(value: Value, returned: Sequence[Value]) -> bool:
    """True when a node other than a bypassed quant reads `value`, directly or through quants."""
    if value.is_output or value in returned:
        return True
    return any(not is_quant(node) or _is_needed(node.output, returned) for node, _ in value.uses)


def _describe(value: Value, name: str, proto: onnx.ValueInfoProto, texts: ValueTexts) -> None:
    proto.name = name
    if is_writable(value.type):
        write_type(value.type, proto.type)
    texts.write(proto)
