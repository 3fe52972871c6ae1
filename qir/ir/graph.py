"""The graph of a model: values, nodes in running order, and the few methods that change an edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qir.ir.clone import clone_graph
from qir.ir.constant import Constant
from qir.ir.errors import QirError
from qir.ir.garbage import collector_paused
from qir.ir.names import Namespace
from qir.ir.node import Attribute, Node, Value
from qir.ir.nodelist import NodeList
from qir.ir.printer import print_graph
from qir.ir.types import UNKNOWN, TensorType, Type


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
        self._order = NodeList()

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
        return self._order.all

    @property
    def constants(self) -> tuple[Value, ...]:
        """Values that hold constant data, in the order they got their names."""
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

    def visible(self, name: str) -> Value | None:
        """The value that `name` means in this graph: its own, or that of the nearest graph around it."""
        graph: Graph | None = self
        while graph is not None:
            found = graph._values.find(name)
            if found is not None:
                return found
            graph = graph.parent
        return None

    def owns(self, item: Value | Node) -> bool:
        """True for a value or node that belongs to this graph itself and has not been erased."""
        found = (self._values if isinstance(item, Value) else self._nodes).find(item.name)
        return found is item

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
        return self.add_constant(self._values.unique(name), held)

    def add_constant(self, name: str, data: Constant, type: Type | None = None) -> Value:
        """A new constant value of exactly that name (QirError when it is taken)."""
        value = Value(self, name, data.type if type is None else type, data, None, 0)
        self._values.register(name, value, "value")
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
        output_names = (self._values.unique(node_name),) if outputs is None else outputs
        self._nodes.check_free((node_name,), "node")
        self._values.check_free(output_names, "value")
        self._check_place(before)
        if len(types) > len(output_names):
            raise QirError(f"node '{node_name}' ({op}): {len(types)} types for {len(output_names)} outputs")
        node = Node(op, domain, node_name, attributes)
        made: list[Value | None] = []
        for i, output_name in enumerate(output_names):
            kind = types[i] if i < len(types) else UNKNOWN
            made.append(None if output_name is None else Value(self, output_name, kind, None, node, i))
        node.outputs = tuple(made)
        node._connect(inputs)
        self._take(node, before)
        return node

    def _take(self, node: Node, before: Node | None) -> None:
        """Own a fresh node and its outputs; QirError when a name is taken."""
        self._nodes.register(node.name, node, "node")
        for value in node.outputs:
            if value is not None:
                self._values.register(value._name, value, "value")
        node.graph = self
        self._order.insert(node, before)

    def _check_place(self, before: Node | None) -> None:
        if before is not None and before.graph is not self:
            raise QirError(
                f"node '{before.name}' is not in graph '{self.name}'; choose a place in the same graph"
            )

    def move(self, node: Node, before: Node | None) -> None:
        """Put a node of this graph elsewhere in the running order (None: at the end)."""
        self._check_place(node)
        self._check_place(before)
        if node is not before:
            self._order.remove(node)
            self._order.insert(node, before)

    def erase(self, item: Node | Value) -> None:
        """Remove a node with its outputs, a constant or an input; refuses, naming a reader, while read."""
        values = [item] if isinstance(item, Value) else [v for v in item.outputs if v is not None]
        self._check_erasable(item, values)
        if isinstance(item, Node):
            item._connect([None] * len(item.inputs))
            for subgraph in item.subgraphs:
                subgraph._give_up()
            self._order.remove(item)
            item.graph = None
            self._nodes.forget(item.name)
        elif item.is_input:
            del self._inputs[item.index]
            for i, value in enumerate(self._inputs):
                value.index = i
        for value in values:
            self._values.forget(value.name)

    def _check_erasable(self, item: Node | Value, values: Sequence[Value]) -> None:
        if not self.owns(item):
            raise QirError(f"cannot erase '{item.name}': it is not in graph '{self.name}' (any more)")
        if isinstance(item, Value) and item.producer is not None:
            raise QirError(f"'{item.name}' is the output of node '{item.producer.name}'; erase the node")
        for value in values:
            if value.is_read:
                reader = next((f"node '{u.node.name}'" for u in value.uses), "the graph's outputs")
                raise QirError(
                    f"cannot erase '{item.name}': '{value.name}' is read by {reader}; rewire it first"
                )

    def _give_up(self) -> None:
        """Free the names and the readings of a subgraph that is thrown away."""
        for i, value in enumerate(self._outputs):
            value._uses.pop((self, i), None)
        for node in self.nodes:
            node._connect([None] * len(node.inputs))
            for subgraph in node.subgraphs:
                subgraph._give_up()
            self._nodes.forget(node.name)
        for value in self._values:
            self._values.forget(value.name)

    def release(self) -> None:
        """Free a graph that is thrown away: it is full of cycles, which the garbage collector finds late."""
        for node in self.nodes:
            node._release()
        self._inputs, self._outputs, self._order = [], [], NodeList()
        self._values, self._nodes = Namespace(), Namespace()

    def rename(self, value: Value, name: str) -> None:
        """Give a value of this graph another, free name."""
        if name != value._name:
            self._values.register(name, value, "value")
            self._values.forget(value._name)
            value._name = name

    def set_output(self, i: int, value: Value) -> None:
        """Return `value` as output `i`. Its name becomes the output's name in the saved model."""
        del self._outputs[i]._uses[self, i]
        self._outputs[i] = value
        value._uses[self, i] = None

    def replace(self, old: Value, new: Value) -> None:
        """Let every reader of `old` read `new`, except the node that makes `new`.

        Where the model returns `old` the name must survive, for users fetch by it: `new` takes the name when
        it is an intermediate value (or a constant nobody reads) of the same graph, and otherwise an Identity
        of that name is returned. An input that the model returns itself keeps both its names: QirError.
        """
        if old is new:
            return
        returned = [(user, i) for user, i in old._uses if isinstance(user, Graph)]
        if old.is_input and any(user.parent is None for user, _ in returned):
            raise QirError(
                f"cannot replace input '{old.name}': the graph returns it; rewire its readers singly"
            )
        free = not new.is_input and not new.is_output and (new.constant is None or not new.is_read)
        for node, i in old.uses:
            if node is not new.producer:
                node.set_input(i, new)
        stand_in: dict[Graph, Value] = {}
        for user, i in returned:
            if user not in stand_in:
                stand_in[user] = user._stand_in(old, new, free and new.graph is user)
            user.set_output(i, stand_in[user])

    def _stand_in(self, old: Value, new: Value, free: bool) -> Value:
        """What this graph returns instead of `old`: `new` itself or an Identity of it."""
        if self.parent is not None and new.graph is self:
            return new  # a subgraph returns by position; its names mean nothing outside
        name = old.name
        if old.graph is self:
            self.rename(old, self.unique_value_name(name))
        if free:
            self.rename(new, name)
            return new
        fresh = self.unique_value_name(name)
        node_name = self.unique_node_name(fresh)
        kind = old.type if new.type == UNKNOWN else new.type
        if isinstance(kind, TensorType):
            kind = kind.with_quant(None)  # what an Identity makes is not quantized, though it reads a quant
        return self.add("Identity", [new], outputs=[fresh], types=[kind], name=node_name).output

    def clone(self) -> Graph:
        """A deep copy that shares constant data. The copy of a subgraph has the same parent and captures."""
        with collector_paused():
            return clone_graph(self, self.parent, {})

    def __str__(self) -> str:
        return print_graph(self)

    def __repr__(self) -> str:
        return f"<Graph '{self.name}': {len(self._inputs)} inputs, {len(self._outputs)} outputs>"
