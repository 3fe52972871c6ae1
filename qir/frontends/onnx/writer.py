"""Writes a graph as the protobuf of an ONNX model; the same graph gives the same bytes everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
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
from qir.frontends.onnx.written import NodeText, WrittenNodes
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.quants import is_quant
from qir.ir.types import Type

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


def build_model(
    graph: Graph,
    quants: Quants,
    taps: Sequence[str],
    store: Store,
    written: WrittenNodes | None = None,
    *,
    typed: bool = True,
) -> onnx.ModelProto:
    """As `to_model`, with the data of initializers put wherever `store` puts them.

    `written` has nodes of other models, and gets those of this one. Without `typed` nothing is said of the
    types between inputs and outputs.
    """
    model = onnx.ModelProto()
    model.ir_version = max(int(graph.metadata.get(IR_VERSION, _DEFAULT_IR)), LOWEST_IR)
    for domain in sorted(graph.opsets):
        model.opset_import.add(domain=domain, version=graph.opsets[domain])
    write_model_metadata(graph, model)
    _Writer(quants, store, written, typed).write(graph, model.graph, _tapped(graph, taps))
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

    def __init__(self, quants: Quants, store: Store, written: WrittenNodes | None, typed: bool) -> None:
        self._quants = quants
        self._store = store
        self._written = written
        self._typed = typed
        self._names: dict[Value, str] = {}  # of results of bypassed quants
        self._types: dict[Type, bytes] = {}  # as written before: there are few of them

    def write(self, graph: Graph, proto: onnx.GraphProto, taps: Sequence[Value] = ()) -> None:
        """Write everything in `graph`, and return `taps` too."""
        proto.name = graph.name
        write_graph_metadata(graph, proto)
        texts = ValueTexts(graph)
        returned = (*graph.outputs, *taps)
        ends = frozenset(returned)
        overridable = initializer_inputs(graph) if graph.parent is None else ()
        for value in (*graph.inputs, *overridable):
            self._describe(value, proto.input.add(name=value.name), texts)
        for value in graph.constants:
            assert value.constant is not None
            # A session replaces initializers by their data in memory, and fails for one that nobody reads.
            if self._quants != "bypass" or _is_needed(value, ends):
                self._store(value.constant, proto.initializer.add(), value.name)
        for node in graph.nodes:
            self._write_node(node, proto, ends)
        for value in returned:
            self._describe(value, proto.output.add(name=self._name(value)), texts)
        if self._typed:
            self._write_types(graph, proto, ends, texts)

    def _name(self, value: Value | None) -> str:
        return "" if value is None else self._names.get(value, value.name)

    def _write_node(self, node: Node, proto: onnx.GraphProto, ends: Set[Value]) -> None:
        if not is_quant(node):
            self._fill(node, node.op, node.domain, proto)
            return
        if self._quants == "refuse":
            raise BackendError(
                f"node '{node.name}' is a qir.quant, which ONNX does not have; write the graph for a target, "
                "or save it as .qir"
            )
        if self._quants == "identity" or node.output in ends:
            self._fill(node, "Identity", "", proto, node.inputs[:1])
        else:
            self._names[node.output] = self._name(node.inputs[0])

    def _fill(
        self,
        node: Node,
        op: str,
        domain: str,
        proto: onnx.GraphProto,
        inputs: Sequence[Value | None] | None = None,
    ) -> None:
        read = [self._name(v) for v in (node.inputs if inputs is None else inputs)]
        made = [self._name(v) for v in node.outputs]
        text = NodeText(op, domain, node.name, read, made, node.metadata, node.attributes)
        message = proto.node.add()
        if self._written is None or node.subgraphs:
            self._write_text(text, node, message)
        else:
            self._written.write(text, message, lambda: self._write_text(text, node, message))

    def _write_text(self, text: NodeText, node: Node, message: onnx.NodeProto) -> None:
        message.op_type, message.name = text.op, text.name
        if text.domain:
            message.domain = text.domain
        message.input.extend(text.inputs)
        message.output.extend(text.outputs)
        if node.attributes:
            sparse = sparse_attributes(node)
            for key in sorted(node.attributes):
                attribute = message.attribute.add(name=key)
                write_attribute(node.attributes[key], attribute, self.write, sparse=key in sparse)
        if node.metadata:
            write_node_metadata(node, message)

    def _write_types(self, graph: Graph, proto: onnx.GraphProto, ends: Set[Value], texts: ValueTexts) -> None:
        """State the types of the values between inputs and outputs, as far as they are known."""
        stated = {*ends, *graph.inputs, *self._names}
        for node in graph.nodes:
            for value in node.outputs:
                if value is None or value in stated:
                    continue
                if is_writable(value.type) or value.name in texts:
                    self._describe(value, proto.value_info.add(name=value.name), texts)

    def _describe(self, value: Value, proto: onnx.ValueInfoProto, texts: ValueTexts) -> None:
        text = self._types.get(value.type)
        if text is None:
            made = onnx.TypeProto()
            if is_writable(value.type):
                write_type(value.type, made)
            text = self._types[value.type] = made.SerializeToString()
        if text:
            proto.type.MergeFromString(text)
        texts.write(proto)


def _is_needed(value: Value, ends: Set[Value]) -> bool:
    """True when a node other than a bypassed quant reads `value`, directly or through quants."""
    if value.is_output or value in ends:
        return True
    return any(not is_quant(node) or _is_needed(node.output, ends) for node, _ in value.uses)
