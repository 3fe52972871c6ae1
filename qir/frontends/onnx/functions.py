"""Model-local functions: which a model has, what a call binds, which operator sets their bodies need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import onnx

from qir.frontends.onnx.order import defined, subgraphs
from qir.frontends.onnx.scope import Scope
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.types import Type


class FunctionKey(NamedTuple):
    """What identifies a function, and a call of it."""

    domain: str
    name: str
    overload: str


def domain_of(name: str) -> str:
    """A domain as the IR names it: "ai.onnx" and "" are the same."""
    return "" if name == "ai.onnx" else name


def function_key(node: onnx.NodeProto) -> FunctionKey:
    """The function that a node calls, if the model has it."""
    return FunctionKey(domain_of(node.domain), node.op_type, node.overload)


@dataclass(frozen=True)
class Frame:
    """Where nodes are read: a graph of the model, or the body of a called function.

    `types` are the types stated for the names in `scope`. In a function, `prefix` is the name of the call,
    `bindings` the attributes that it gives, `results` maps names of the body that the call returns to their
    names in the graph, and `calls` are the functions being read, outermost first.
    """

    graph: Graph
    scope: Scope
    where: str
    types: Mapping[str, Type] = field(default_factory=dict)
    prefix: str = ""
    bindings: Mapping[str, Bound] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    calls: tuple[FunctionKey, ...] = ()

    def inner(self, graph: Graph, proto: onnx.GraphProto) -> Frame:
        """The frame of a subgraph that is written in this one."""
        scope = Scope(self.scope, defined(proto))
        return replace(self, graph=graph, scope=scope, where=f"graph '{proto.name}'", results={})


class Bound(NamedTuple):
    """An attribute, and where it was written: a graph attribute reads the names that are known there."""

    name: str
    proto: onnx.AttributeProto
    frame: Frame


def bound_attributes(node: onnx.NodeProto, frame: Frame) -> tuple[Bound, ...]:
    """The attributes of a node; a reference becomes what the call gives, or is left out without.

    ModelError where it refers to what the function does not have.
    """
    found: list[Bound] = []
    for item in node.attribute:
        if not item.ref_attr_name:
            found.append(Bound(item.name, item, frame))
        elif not frame.prefix:
            raise ModelError(
                f"attribute '{item.name}' of node '{node.name}' ({node.op_type}) refers to the function "
                f"attribute '{item.ref_attr_name}', but the node does not stand in a function"
            )
        elif item.ref_attr_name in frame.bindings:
            found.append(frame.bindings[item.ref_attr_name]._replace(name=item.name))
    return tuple(found)


def call_bindings(function: onnx.FunctionProto, node: onnx.NodeProto, frame: Frame) -> dict[str, Bound]:
    """What the attribute names of a function stand for in one call: the defaults, then the call's own."""
    found = {item.name: Bound(item.name, item, frame) for item in function.attribute_proto}
    return found | {bound.name: bound for bound in bound_attributes(node, frame)}


class Functions:
    """The functions of a model by key."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._functions: dict[FunctionKey, onnx.FunctionProto] = {
            FunctionKey(domain_of(f.domain), f.name, f.overload): f for f in model.functions
        }
        self._imported: set[FunctionKey] = set()

    def __contains__(self, key: FunctionKey) -> bool:
        return key in self._functions

    def called(self, node: onnx.NodeProto, label: str, frame: Frame) -> onnx.FunctionProto:
        """The function that a node calls; ModelError when it recurses or is given too many operands."""
        key = function_key(node)
        function = self._functions[key]
        if key in frame.calls:
            raise ModelError(f"{label} calls function '{key.name}' within itself; functions must not recurse")
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise ModelError(
                f"{label} has {len(node.input)} inputs and {len(node.output)} outputs, but the function it "
                f"calls takes {len(function.input)} and gives {len(function.output)}"
            )
        root = frame.graph
        while root.parent is not None:
            root = root.parent
        self._import_opsets(key, root.opsets)
        return function

    def _import_opsets(self, key: FunctionKey, opsets: MutableMapping[str, int]) -> None:
        """Add to `opsets` what the body of a function imports beyond them.

        Raises ModelError where the two import different versions of a domain and an op of the body is not the
        same in both: ONNX does not allow that, and inlining would change its meaning.
        """
        if key in self._imported:
            return
        self._imported.add(key)
        function = self._functions[key]
        for item in function.opset_import:
            domain = domain_of(item.domain)
            version = opsets.setdefault(domain, item.version)
            if version == item.version:
                continue
            for op in sorted(_ops(function.node, domain)):
                if _since(op, domain, version) != _since(op, domain, item.version):
                    raise ModelError(
                        f"function '{key.name}' uses {op} of opset {item.version} of domain '{domain}', but "
                        f"the model imports opset {version}, where {op} differs; convert it to one opset"
                    )


def _ops(nodes: Iterable[onnx.NodeProto], domain: str) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if domain_of(node.domain) == domain:
            found.add(node.op_type)
        for graph in subgraphs(node):
            found |= _ops(graph.node, domain)
    return found


def _since(op: str, domain: str, version: int) -> int:
    """The opset in which the meaning of `op` at `version` began; 0 for an op that ONNX does not define."""
    try:
        return onnx.defs.get_schema(op, version, domain).since_version
    except onnx.defs.SchemaError:
        return 0
