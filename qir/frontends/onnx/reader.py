"""Builds a graph from the protobuf of an ONNX model; model-local functions are inlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import onnx

from qir.frontends.onnx.attributes import (
    CONSTANT_FORMS,
    SPARSE_KINDS,
    constant_value,
    kind_of,
    read_attribute,
)
from qir.frontends.onnx.external import ExternalData
from qir.frontends.onnx.functions import (
    Bound,
    Frame,
    Functions,
    bound_attributes,
    call_bindings,
    domain_of,
    function_key,
)
from qir.frontends.onnx.metadata import (
    ORIGINAL_NAME,
    read_graph_metadata,
    read_model_metadata,
    read_node_metadata,
    remember_initializer_inputs,
)
from qir.frontends.onnx.order import defined, running_order
from qir.frontends.onnx.scope import FreshNames, Scope, node_names, value_names
from qir.frontends.onnx.tensors import read_sparse, read_tensor
from qir.frontends.onnx.types import merge_types, read_type
from qir.ir.constant import Constant
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Value
from qir.ir.types import UNKNOWN, Type

_FIRST_IR_WITH_FREE_INITIALIZERS = 4  # before it, every initializer had to be listed as an input too


def build_graph(model: onnx.ModelProto, external: ExternalData) -> Graph:
    """The graph of a model; ModelError where the model is not valid."""
    graph = Graph(model.graph.name, {domain_of(o.domain): o.version for o in model.opset_import})
    read_model_metadata(model, graph)
    scope = Scope(None, defined(model.graph))
    _Reader(model, external).fill(Frame(graph, scope, f"graph '{model.graph.name}'"), model.graph)
    return graph


class _Reader:
    """Reads the graphs and function bodies of one model."""

    def __init__(self, model: onnx.ModelProto, external: ExternalData) -> None:
        self._external = external
        self._functions = Functions(model)
        self._fresh_values = FreshNames(value_names(model.graph))
        self._fresh_nodes = FreshNames(node_names(model.graph))
        self._overridable = model.ir_version >= _FIRST_IR_WITH_FREE_INITIALIZERS

    def fill(self, frame: Frame, proto: onnx.GraphProto) -> None:
        """Read everything in `proto` into the new graph of `frame`."""
        graph, scope, where = frame.graph, frame.scope, frame.where
        read_graph_metadata(proto, graph)
        types = _stated_types(proto)
        constants = self._initializers(proto)
        scope.check_free([info.name for info in proto.input], where)
        listed: list[Value] = []
        for name in [info.name for info in proto.input]:
            held = constants.pop(name, None)
            own = self._value_name(name, frame)
            value = graph.add_input(own, types[name]) if held is None else graph.add_constant(own, held)
            scope.define(name, value)
            if held is not None:
                listed.append(value)
        for name, held in constants.items():
            scope.define(name, graph.add_constant(self._value_name(name, frame), held))
        if self._overridable and graph.parent is None:
            remember_initializer_inputs(graph, listed)
        self._nodes(replace(frame, types=types), proto.node)
        for info in proto.output:
            found = scope.find(info.name, f"an output of {where}")
            if found is None:
                raise ModelError(f"{where} returns '{info.name}', an optional input that its caller left out")
            graph.add_output(found)

    def _initializers(self, proto: onnx.GraphProto) -> dict[str, Constant]:
        found: dict[str, Constant] = {}
        for tensor in proto.initializer:
            where = f"initializer '{tensor.name}'"
            _add_initializer(found, tensor.name, read_tensor(tensor, where, self._external))
        for sparse in proto.sparse_initializer:
            where = f"sparse initializer '{sparse.values.name}'"
            _add_initializer(found, sparse.values.name, read_sparse(sparse, where, self._external))
        return found

    def _value_name(self, name: str, frame: Frame) -> str:
        """The name that a value of the file gets in the graph."""
        if name in frame.results:
            return frame.results[name]
        if frame.prefix:
            return self._fresh_values.make(f"{frame.prefix}/{name}")
        return self._fresh_values.make(name) if frame.scope.shadows(name) else name

    def _node_name(self, node: onnx.NodeProto, index: int, frame: Frame) -> str:
        if frame.prefix:
            return self._fresh_nodes.make(f"{frame.prefix}/{node.name or f'{node.op_type}_{index}'}")
        if not node.name:
            return self._fresh_nodes.make(f"{node.op_type}_{index}")
        return self._fresh_nodes.make(node.name) if frame.graph.has_node(node.name) else node.name

    def _nodes(self, frame: Frame, nodes: Sequence[onnx.NodeProto]) -> None:
        """Read `nodes` into the graph of `frame`, in running order."""
        for i in running_order(nodes, frame.where):
            node = nodes[i]
            label = f"node '{node.name or next(iter(node.output), '')}' ({node.op_type})"
            frame.scope.check_free(node.output, label)
            if function_key(node) in self._functions:
                self._call(node, i, label, frame)
            elif node.op_type == "Constant" and domain_of(node.domain) == "":
                self._constant(node, label, frame)
            else:
                self._node(node, i, label, frame)

    def _constant(self, node: onnx.NodeProto, label: str, frame: Frame) -> None:
        attributes = self._attributes(bound_attributes(node, frame), label, frame.graph)
        forms = [key for key in attributes if key in CONSTANT_FORMS]
        if len(forms) != 1 or len(node.output) != 1:
            raise ModelError(f"{label} must have one output and one attribute of {', '.join(CONSTANT_FORMS)}")
        held = constant_value(forms[0], attributes[forms[0]])
        name = node.output[0]
        frame.scope.define(name, frame.graph.add_constant(self._value_name(name, frame), held))

    def _node(self, node: onnx.NodeProto, index: int, label: str, frame: Frame) -> None:
        bound = bound_attributes(node, frame)
        name = self._node_name(node, index, frame)
        made = frame.graph.add(
            node.op_type,
            [frame.scope.find(item, label) if item else None for item in node.input],
            outputs=[self._value_name(item, frame) if item else None for item in node.output],
            types=[frame.types.get(item, UNKNOWN) for item in node.output],
            attributes=self._attributes(bound, label, frame.graph),
            domain=domain_of(node.domain),
            name=name,
        )
        for output, value in zip(node.output, made.outputs, strict=True):
            if value is not None:
                frame.scope.define(output, value)
        read_node_metadata(node, made, [b.name for b in bound if kind_of(b.proto) in SPARSE_KINDS])
        if name != node.name and not frame.prefix:
            made.metadata[ORIGINAL_NAME] = node.name

    def _attributes(self, items: Sequence[Bound], label: str, graph: Graph) -> dict[str, Attribute]:
        def read_subgraph(proto: onnx.GraphProto, frame: Frame) -> Graph:
            inner = Graph(proto.name, parent=graph)
            self.fill(frame.inner(inner, proto), proto)
            return inner

        return {
            bound.name: read_attribute(
                bound.proto,
                f"attribute '{bound.name}' of {label}",
                self._external,
                partial(read_subgraph, frame=bound.frame),
            )
            for bound in items
        }

    def _call(self, node: onnx.NodeProto, index: int, label: str, frame: Frame) -> None:
        """Read the body of a function in place of its call."""
        function = self._functions.called(node, label, frame)
        key = function_key(node)
        body = Scope()
        for i, formal in enumerate(function.input):
            name = node.input[i] if i < len(node.input) else ""
            body.define(formal, frame.scope.find(name, label) if name else None)
        returned = {f: name for f, name in zip(function.output, node.output, strict=False) if name}
        results = {f: self._value_name(n, frame) for f, n in returned.items() if f not in function.input}
        inner = Frame(
            frame.graph,
            body,
            f"function '{key.name}'",
            {f: frame.types.get(name, UNKNOWN) for f, name in returned.items()},
            self._node_name(node, index, frame),
            call_bindings(function, node, frame),
            results,
            (*frame.calls, key),
        )
        self._nodes(inner, function.node)
        for formal, name in zip(function.output, node.output, strict=False):
            if name:
                value = body.find(formal, f"an output of function '{key.name}'")
                frame.scope.define(name, self._returned(value, formal, name, inner, frame))

    def _returned(
        self, value: Value | None, formal: str, name: str, inner: Frame, frame: Frame
    ) -> Value | None:
        """What a call's output stands for: a value of the body, or a copy of it where it has another name."""
        if value is None or (returned := inner.results.get(formal)) == value.name:
            return value
        output = self._value_name(name, frame) if returned is None else returned
        node = self._fresh_nodes.make(f"{inner.prefix}/Identity")
        types = [merge_types(frame.types.get(name, UNKNOWN), value.type)]
        return frame.graph.add("Identity", [value], outputs=[output], types=types, name=node).output


def _add_initializer(found: dict[str, Constant], name: str, constant: Constant) -> None:
    """Exporters write an initializer twice now and then; equal ones do no harm."""
    if not name:
        raise ModelError("an initializer has no name, so that no node can read it")
    if name in found and found[name] != constant:
        raise ModelError(f"initializer '{name}' stands twice in the file, with different data")
    found[name] = constant


def _stated_types(proto: onnx.GraphProto) -> dict[str, Type]:
    """The types that the file states for values of one graph."""
    types: dict[str, Type] = {}
    read: dict[bytes, Type] = {}  # many values share few types
    for info in (*proto.input, *proto.output, *proto.value_info):
        text = info.type.SerializeToString()
        if text not in read:
            read[text] = read_type(info.type, f"value '{info.name}'")
        stated = read[text]
        types[info.name] = merge_types(types[info.name], stated) if info.name in types else stated
    return types
