"""The graph of a model: values, nodes in running order, and the few methods that change an edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.errors import QirError
from qir.ir.names import Namespace
from qir.ir.node import Attribute, Node, Value
from qir.ir.printer import print_graph
from qir.ir.types import UNKNOWN, Type


class Graph:
    """Inputs, outputs and nodes in running order; owns the names of its values and nodes.

    `metadata` and `opsets` (domain -> version, "" is ai.onnx) are saved with the model. A subgraph is made
    with its `parent`, and may read the parent's values: such captures are ordinary uses.
    """

    def __init__(
        self, name: str = "graph", opsets: Mapping[str, int] | None = None, parent: Graph | None = None
    ):
        self.name = name
        self.parent = parent
        self.opsets: dict[str, int] = dict(opsets or {})
        self.metadata: dict[str, str] = {}
        self._values: Namespace[Value] = Namespace(parent._values if parent else None)
        self._nodes: Namespace[Node] = Namespace(parent._nodes if parent else None)
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []
        self._first: Node | None = None
        self._last: Node | None = None

    @property
    def inputs(self) -> tuple[Value, ...]:
        """Graph inputs in order."""
        return tuple(self._inputs)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """Returned values in order."""
        return tuple(self._outputs)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in running order; a snapshot. A node erased meanwhile has `graph` None."""
        found: list[Node] = []
        node = self._first
        while node is not None:
            found.append(node)
            node = node._next
        return tuple(found)

    @property
    def constants(self) -> tuple[Value, ...]:
        """Values that hold constant data, in the order they were made."""
        return tuple(v for v in self._values if v.constant is not None)

    def values(self) -> Iterator[Value]:
        """All values of this graph (not of its subgraphs): inputs, constants, node outputs."""
        yield from self._inputs
        yield from self.constants
        for node in self.nodes:
            yield from (v for v in node.outputs if v is not None)

    def value(self, name: str) -> Value:
        """The value of that name in this graph; QirError with the nearest names otherwise."""
        return self._values.get(name, "value")

    def node(self, name: str) -> Node:
        """The node of that name in this graph; QirError with the nearest names otherwise."""
        return self._nodes.get(name, "node")

    def has_value(self, name: str) -> bool:
        """True when this graph owns a value of that name."""
        return name in self._values

    def has_node(self, name: str) -> bool:
        """True when this graph owns a node of that name."""
        return name in self._nodes

    def unique_value_name(self, hint: str) -> str:
        """`hint`, or `hint_1`, `hint_2`, …: a value name not yet used in this graph, around or within it."""
        return self._values.unique(hint)

    def unique_node_name(self, hint: str) -> str:
        """As `unique_value_name`, for nodes."""
        return self._nodes.unique(hint)

    def add_input(self, name: str, type: Type = UNKNOWN) -> Value:
        """A new graph input, after the others."""
        value = Value(self, name, type, None, None, len(self._inputs))
        self._values.register(name, value, "value")
        self._inputs.append(value)
        return value

    def add_output(self, value: Value) -> None:
        """Return `value` after the outputs there are."""
        value._uses[self, len(self._outputs)] = None
        self._outputs.append(value)

    def constant(self, data: Constant | npt.ArrayLike, name: str) -> Value:
        """A new constant value; `name` is a hint, made unique."""
        held = data if isinstance(data, Constant) else Constant.of(np.asarray(data))
        value = Value(self, self._values.unique(name), held.type, held, None, 0)
        self._values.register(value.name, value, "value")
        return value

    def add(
        self,
        op: str,
        inputs: Sequence[Value | None],
        *,
        outputs: Sequence[str | None] | None = None,
        types: Sequence[Type] = (),
        attributes: Mapping[str, Attribute] | None = None,
        domain: str = "",
        name: str | None = None,
        before: Node | None = None,
    ) -> Node:
        """A new node, at the end or just before another.

        `name` and the output names must be free (QirError otherwise); without `name` one is derived from the
        op, and without `outputs` the node gets one output named after the node.
        """
        node_name = self._nodes.unique(op) if name is None else name
        output_names = (self._values.unique(node_name),) if outputs is None else tuple(outputs)
        node = Node(op, domain, node_name)
        self._nodes.register(node_name, node, "node")
        kinds = (*types, *[UNKNOWN] * (len(output_names) - len(types)))
        made: list[Value | None] = []
        for i, (output_name, kind) in enumerate(zip(output_names, kinds, strict=True)):
            value = None if output_name is None else Value(self, output_name, kind, None, node, i)
            if value is not None:
                self._values.register(value.name, value, "value")
            made.append(value)
        node.outputs = tuple(made)
        node.attributes = dict(attributes or {})
        node._inputs = (None,) * len(inputs)
        for i, item in enumerate(inputs):
            node.set_input(i, item)
        self._link(node, before)
        return node

    def _link(self, node: Node, before: Node | None) -> None:
        if before is not None and before.graph is not self:
            raise QirError(
                f"node '{before.name}' is not in graph '{self.name}'; choose a place in the same graph"
            )
        node.graph, node._next = self, before
        node._previous = self._last if before is None else before._previous
        if node._previous is None:
            self._first = node
        else:
            node._previous._next = node
        if before is None:
            self._last = node
        else:
            before._previous = node

    def _unlink(self, node: Node) -> None:
        if node._previous is None:
            self._first = node._next
        else:
            node._previous._next = node._next
        if node._next is None:
            self._last = node._previous
        else:
            node._next._previous = node._previous
        node._previous = node._next = node.graph = None

    def move(self, node: Node, before: Node | None) -> None:
        """Put a node of this graph elsewhere in the running order (None: at the end)."""
        if node is before:
            return
        self._unlink(node)
        self._link(node, before)

    def erase(self, item: Node | Value) -> None:
        """Remove a node and its outputs, a constant or an input; refuses, naming a reader, while it is read."""
        values = [item] if isinstance(item, Value) else [v for v in item.outputs if v is not None]
        for value in values:
            if value.is_read:
                reader = next((f"node '{u.node.name}'" for u in value.uses), "the graph's outputs")
                raise QirError(
                    f"cannot erase '{item.name}': '{value.name}' is read by {reader}; rewire it first"
                )
        if isinstance(item, Node):
            for i in range(len(item.inputs)):
                item.set_input(i, None)
            for subgraph in item.subgraphs:
                subgraph.release()
            self._unlink(item)
            self._nodes.forget(item.name)
        elif item.producer is not None:
            raise QirError(f"'{item.name}' is the output of node '{item.producer.name}'; erase the node")
        elif item.is_input:
            self._inputs.remove(item)
        for value in values:
            self._values.forget(value.name)

    def release(self) -> None:
        """Give up every reading that this (sub)graph makes, so that what it captured can be erased."""
        for i, value in enumerate(self._outputs):
            value._uses.pop((self, i), None)
        for node in self.nodes:
            for i in range(len(node.inputs)):
                node.set_input(i, None)
            for subgraph in node.subgraphs:
                subgraph.release()

    def rename(self, value: Value, name: str) -> None:
        """Give a value of this graph another, free name."""
        self._values.register(name, value, "value")
        self._values.forget(value._name)
        value._name = name

    def set_output(self, i: int, value: Value) -> None:
        """Return `value` as output `i`. Its name becomes the output's name in the saved model."""
        del self._outputs[i]._uses[self, i]
        self._outputs[i] = value
        value._uses[self, i] = None

    def replace(self, old: Value, new: Value) -> None:
        """Let every reader of `old` read `new`.

        Where `old` is returned by a graph its name must survive, for users feed and fetch by it: `new` takes
        the name when it is an intermediate value of the same graph, and otherwise an Identity of that name is
        returned.
        """
        for node, i in old.uses:
            node.set_input(i, new)
        for user, i in tuple(old._uses):
            if not isinstance(user, Graph):
                continue
            if new.producer is None or new.is_output or new.graph is not old.graph or user is not old.graph:
                name, fresh = old.name, user.unique_value_name(old.name)
                if old.graph is user:
                    user.rename(old, fresh)
                else:
                    name = fresh
                user.set_output(i, user.add("Identity", [new], outputs=[name], types=[old.type]).output)
            else:
                name = old.name
                user.rename(old, user.unique_value_name(name))
                user.rename(new, name)
                user.set_output(i, new)

    def clone(self) -> Graph:
        """A deep copy that shares constant data."""
        return _clone(self, None, {})

    def __str__(self) -> str:
        return print_graph(self)

    def __repr__(self) -> str:
        return f"<Graph '{self.name}': {len(self._inputs)} inputs, {len(self._outputs)} outputs>"


def _clone(graph: Graph, parent: Graph | None, made: dict[Value, Value]) -> Graph:
    """Copy one graph; `made` maps the values of the graphs around it and receives its own."""
    copy = Graph(graph.name, graph.opsets, parent)
    copy.metadata.update(graph.metadata)
    for value in graph.inputs:
        made[value] = copy.add_input(value.name, value.type)
    for value in graph.constants:
        held = Value(copy, value.name, value.type, value.constant, None, 0)
        copy._values.register(value.name, held, "value")
        made[value] = held
    for node in graph.nodes:
        fresh = copy.add(
            node.op,
            [None if v is None else made[v] for v in node.inputs],
            outputs=[None if v is None else v.name for v in node.outputs],
            types=[UNKNOWN if v is None else v.type for v in node.outputs],
            attributes={k: _clone_attribute(a, copy, made) for k, a in node.attributes.items()},
            domain=node.domain,
            name=node.name,
        )
        fresh.metadata.update(node.metadata)
        for old, new in zip(node.outputs, fresh.outputs, strict=True):
            if old is not None and new is not None:
                made[old] = new
    for value in graph.outputs:
        copy.add_output(made[value])
    return copy


def _clone_attribute(item: Attribute, parent: Graph, made: dict[Value, Value]) -> Attribute:
    if isinstance(item, Graph):
        return _clone(item, parent, made)
    graphs = tuple(g for g in item if isinstance(g, Graph)) if isinstance(item, tuple) else ()
    return tuple(_clone(g, parent, made) for g in graphs) if graphs else item
