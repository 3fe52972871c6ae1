"""Values and nodes: the def-use structure of a graph, with the one method that changes an edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from qir.ir.constant import Constant
from qir.ir.errors import QirError
from qir.ir.types import UNKNOWN, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type

if TYPE_CHECKING:  # a graph owns nodes, and an attribute of a node may be a graph
    from qir.ir.graph import Graph


class EmptyList(tuple[int, ...]):
    """An empty list attribute that remembers of what it is a list: "ints", "floats", "strings", "tensors"…"""

    kind: str

    def __new__(cls, kind: str) -> EmptyList:
        """An empty list of `kind`."""
        made = super().__new__(cls)
        made.kind = kind
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EmptyList) and self.kind == other.kind

    def __ne__(self, other: object) -> bool:  # tuple has its own
        return not self == other

    def __hash__(self) -> int:
        return hash(self.kind)

    def __getnewargs__(self) -> tuple[str]:  # copies and pickles keep the kind
        return (self.kind,)

    def __repr__(self) -> str:
        return f"EmptyList({self.kind!r})"


class Use(NamedTuple):
    """One reading of a value: input `index` of `node`."""

    node: Node
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


class Value:
    """One tensor of a graph: a graph input, a constant, or output `index` of `producer`.

    Values compare by identity. `type` may be set freely; the name changes through `Graph.rename`.
    """

    __slots__ = ("_name", "_uses", "constant", "graph", "index", "producer", "type")

    def __init__(
        self,
        graph: Graph,
        name: str,
        type: Type,
        constant: Constant | None,
        producer: Node | None,
        index: int,
    ) -> None:
        self.graph, self._name, self.type = graph, name, type
        self.constant, self.producer, self.index = constant, producer, index
        self._uses: dict[tuple[Node | Graph, int], None] = {}

    @property
    def name(self) -> str:
        """The name, unique within its graph and the graphs around it."""
        return self._name

    @property
    def uses(self) -> tuple[Use, ...]:
        """Readings in running order, then those by subgraphs; a snapshot, so a loop may rewire them."""
        uses = [Use(user, i) for user, i in self._uses if isinstance(user, Node)]
        if len(uses) > 1:
            uses.sort(key=self._place)
        return tuple(uses)

    def _place(self, use: Use) -> tuple[bool, int, int]:
        if use.node.graph is self.graph:
            return False, use.node._position, use.index
        return True, 0, 0  # the sort is stable: captures stay in the order they were made

    @property
    def is_output(self) -> bool:
        """True when a graph (or a subgraph) returns this value."""
        return any(not isinstance(user, Node) for user, _ in self._uses)

    @property
    def is_input(self) -> bool:
        """True for an input of its graph."""
        return self.producer is None and self.constant is None

    @property
    def is_read(self) -> bool:
        """True when a node reads it or a graph returns it."""
        return bool(self._uses)

    @property
    def has_one_use(self) -> bool:
        """True when exactly one node input reads it and no graph returns it."""
        return len(self._uses) == 1 and not self.is_output

    @property
    def tensor(self) -> TensorType:
        """The type when it is a tensor; UNKNOWN for sequences, optionals and maps."""
        return self.type if isinstance(self.type, TensorType) else UNKNOWN

    def __repr__(self) -> str:
        return f"<Value %{self._name}>"


class Node:
    """One operation. Nodes compare by identity; an absent optional input or output is None."""

    __slots__ = (
        "_inputs",
        "_name",
        "_next",
        "_position",
        "_previous",
        "attributes",
        "domain",
        "graph",
        "metadata",
        "op",
        "outputs",
    )

    def __init__(
        self, op: str, domain: str, name: str, attributes: Mapping[str, Attribute] | None = None
    ) -> None:
        self.op, self.domain, self._name = op, domain, name
        self._inputs: tuple[Value | None, ...] = ()
        self.outputs: tuple[Value | None, ...] = ()
        self.attributes: dict[str, Attribute] = dict(attributes or {})
        self.metadata: dict[str, str] = {}
        self.graph: Graph | None = None
        self._previous: Node | None = None
        self._next: Node | None = None
        self._position = 0

    @property
    def name(self) -> str:
        """The layer name, unique among the nodes of its graph."""
        return self._name

    @property
    def inputs(self) -> tuple[Value | None, ...]:
        """What the node reads; change it with `set_input`."""
        return self._inputs

    @property
    def output(self) -> Value:
        """The first output; QirError when the node has none."""
        if not self.outputs or self.outputs[0] is None:
            raise QirError(f"node '{self._name}' ({self.op}) has no first output")
        return self.outputs[0]

    def input(self, i: int) -> Value | None:
        """Input `i`, or None when it is absent or beyond the end."""
        return self._inputs[i] if i < len(self._inputs) else None

    def set_input(self, i: int, value: Value | None) -> None:
        """Read `value` as input `i`: the one place where an edge changes. May append one input at the end."""
        if not 0 <= i <= len(self._inputs):
            raise QirError(f"node '{self._name}' ({self.op}) has {len(self._inputs)} inputs; there is no {i}")
        if i == len(self._inputs):
            self._inputs = (*self._inputs, None)
        old = self._inputs[i]
        if old is not None:
            del old._uses[self, i]
        self._inputs = (*self._inputs[:i], value, *self._inputs[i + 1 :])
        if value is not None:
            value._uses[self, i] = None

    def _connect(self, inputs: Sequence[Value | None]) -> None:
        """All edges at once, for a graph that makes or erases the node: set_input is linear in the inputs."""
        for i, value in enumerate(self._inputs):
            if value is not None:
                del value._uses[self, i]
        self._inputs = tuple(inputs)
        for i, value in enumerate(self._inputs):
            if value is not None:
                value._uses[self, i] = None

    def _release(self) -> None:
        """Let go of everything, for a graph that is thrown away."""
        for subgraph in self.subgraphs:
            subgraph.release()
        self._inputs = self.outputs = ()
        self.attributes = {}
        self.graph = self._previous = self._next = None

    def trim_inputs(self) -> None:
        """Drop absent optional inputs at the end."""
        while self._inputs and self._inputs[-1] is None:
            self._inputs = self._inputs[:-1]

    def drop_output(self, i: int) -> None:
        """Make output `i` absent, and drop absent outputs at the end; refuses while it is read."""
        value = self.outputs[i]
        if value is not None:
            if value.is_read:
                raise QirError(
                    f"cannot drop output {i} of '{self._name}': '{value.name}' is read; rewire it first"
                )
            value.graph._values.forget(value.name)
        outputs = (*self.outputs[:i], None, *self.outputs[i + 1 :])
        while outputs and outputs[-1] is None:
            outputs = outputs[:-1]
        self.outputs = outputs

    @property
    def subgraphs(self) -> tuple[Graph, ...]:
        """Graphs among the attributes, in the order of the attribute names."""
        for item in self.attributes.values():
            if type(item) not in _PLAIN and not (type(item) is tuple and item and type(item[0]) in _PLAIN):
                break
        else:  # nearly always, and asked again and again
            return ()
        found = {key: graphs for key, item in self.attributes.items() if (graphs := attribute_graphs(item))}
        return tuple(graph for key in sorted(found) for graph in found[key])

    def __repr__(self) -> str:
        return f"<Node {self.op} '{self._name}'>"


def attribute_graphs(item: Attribute) -> tuple[Graph, ...]:
    """The graphs in one attribute: itself, its elements, or none."""
    if _is_plain(item):
        return ()
    if isinstance(item, tuple):
        return tuple(g for x in item if type(x) not in _PLAIN for g in attribute_graphs(x))
    if isinstance(item, _NOT_A_GRAPH):
        return ()
    return (item,)


def _is_plain(item: Attribute) -> bool:
    """True for what holds no graph, told by the first element of a list: all are of one kind."""
    return type(item) in _PLAIN or (type(item) is tuple and item != () and type(item[0]) in _PLAIN)


def element_kind(item: AttributeElement) -> str:
    """The kind of list that holds `item`: one of LIST_KINDS. Text and bytes are both "strings"."""
    for kind, types in _KINDS:
        if isinstance(item, types):
            return kind
    return "graphs"


_TYPES = (TensorType, SparseTensorType, SequenceType, OptionalType, MapType)
_NOT_A_GRAPH = (int, float, str, bytes, Constant, *_TYPES)
_PLAIN = frozenset(_NOT_A_GRAPH)
_KINDS = (
    ("ints", (int,)),
    ("floats", (float,)),
    ("strings", (str, bytes)),
    ("tensors", (Constant,)),
    ("types", _TYPES),
)
LIST_KINDS = ("floats", "graphs", "ints", "sparse_tensors", "strings", "tensors", "types")
"""What an EmptyList may be a list of."""
Scalar = int | float | str | bytes
AttributeElement: TypeAlias = "Scalar | Constant | Graph | Type"
AttributeList: TypeAlias = "tuple[AttributeElement, ...] | EmptyList"
Attribute: TypeAlias = "AttributeElement | AttributeList"
"""What a node attribute may be; floats are float32 values, the elements of a list are of one kind (see
`element_kind`), an empty list is an EmptyList."""
