"""What a graph computes, as plain data: enough to see later that two graphs differ, and to say where.

Names, operators, attributes, edges and the digests of constants count. Types of intermediate values, metadata
and the order of nodes do not, and quants are looked through: they leave the float graph as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value, attribute_graphs
from qir.ir.printer import print_attribute, print_type
from qir.ir.quants import is_quant, unquantized
from qir.ir.walk import walk_graphs

_NAMED = 3
"""Names that a sentence lists; more are counted."""
_LONG = 200
"""Characters of an attribute above which its digest stands for it."""


class NodePrint(NamedTuple):
    """One node: `domain.op`, names of what it reads ("" for nothing) and makes, attributes as text."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Fingerprint:
    """A graph without data: types of inputs, names of outputs, opsets, nodes, digests of constants."""

    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    opsets: Mapping[str, int]
    nodes: Mapping[str, NodePrint]
    constants: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """The fingerprint in lists, dicts, texts and numbers; equal ones give equal JSON with sorted keys."""
        return {
            "inputs": dict(self.inputs),
            "outputs": list(self.outputs),
            "opsets": dict(self.opsets),
            "nodes": {
                name: [node.op, list(node.inputs), list(node.outputs), dict(node.attributes)]
                for name, node in self.nodes.items()
            },
            "constants": dict(self.constants),
        }

    @staticmethod
    def of_json(data: Mapping[str, object]) -> Fingerprint:
        """The fingerprint that `to_json` gave; ValueError, TypeError or KeyError for anything else."""
        nodes = {
            str(name): NodePrint(str(op), _texts(inputs), _texts(outputs), _table(attributes))
            for name, (op, inputs, outputs, attributes) in dict(data["nodes"]).items()  # type: ignore[call-overload]
        }
        opsets = {name: int(version) for name, version in _table(data["opsets"]).items()}
        return Fingerprint(
            _table(data["inputs"]), _texts(data["outputs"]), opsets, nodes, _table(data["constants"])
        )


def _texts(items: object) -> tuple[str, ...]:
    if not isinstance(items, list):
        raise TypeError(f"expected a list, not {items!r}")
    return tuple(map(str, items))


def _table(items: object) -> dict[str, str]:
    if not isinstance(items, dict):
        raise TypeError(f"expected a table, not {items!r}")
    return {str(key): str(value) for key, value in items.items()}


def fingerprint_of(graph: Graph) -> Fingerprint:
    """The fingerprint of a graph, which may have quants already."""
    nodes = [node for node in graph.nodes if not is_quant(node)]
    read = dict.fromkeys(unquantized(v) for node in nodes for v in node.inputs if v is not None)
    read |= dict.fromkeys(v for node in nodes for v in _captured(node))
    constants = [v for v in (*read, *graph.outputs) if v.constant is not None]
    return Fingerprint(
        {v.name: print_type(v.type) for v in graph.inputs if v.constant is None},
        tuple(unquantized(v).name for v in graph.outputs),
        dict(graph.opsets),
        {node.name: _print(node) for node in nodes},
        {v.name: v.constant.digest for v in constants if v.constant is not None},
    )


def _captured(node: Node) -> Iterator[Value]:
    """Values of the node's own graph that its bodies read."""
    for body in node.subgraphs:
        for inner in walk_graphs(body):
            readings = (*(v for n in inner.nodes for v in n.inputs), *inner.outputs)
            yield from (v for v in readings if v is not None and v.graph is node.graph)


def _print(node: Node) -> NodePrint:
    return NodePrint(
        f"{node.domain}.{node.op}" if node.domain else node.op,
        tuple("" if v is None else unquantized(v).name for v in node.inputs),
        tuple("" if v is None else v.name for v in node.outputs),
        {name: _attribute(item) for name, item in sorted(node.attributes.items())},
    )


def _attribute(item: Attribute) -> str:
    graphs = attribute_graphs(item)
    if graphs:
        prints = [json.dumps(fingerprint_of(g).to_json(), sort_keys=True) for g in graphs]
        return f"#{_digest(prints)}"
    text = print_attribute(item)
    return text if len(text) <= _LONG else f"#{_digest([text])}"


def _digest(texts: Iterable[str]) -> str:
    state = hashlib.blake2b(digest_size=8)
    for text in texts:
        state.update(text.encode())
    return state.hexdigest()


def changes(before: Fingerprint, after: Fingerprint) -> list[str]:
    """How `after` differs from `before`, a sentence each; empty when they are equal."""
    return [
        *_changed_inputs(before, after),
        *_changed_nodes(before, after),
        *_changed_constants(before, after),
        *(["other values are returned"] if before.outputs != after.outputs else []),
        *(["the versions of operator sets differ"] if before.opsets != after.opsets else []),
    ]


def _changed_inputs(before: Fingerprint, after: Fingerprint) -> Iterator[str]:
    for name in dict.fromkeys((*before.inputs, *after.inputs)):
        old, new = before.inputs.get(name), after.inputs.get(name)
        if old is None:
            yield f"input '{name}' is new"
        elif new is None:
            yield f"input '{name}' is gone"
        elif old != new:
            yield f"input '{name}' was {old} and is {new}"


def _changed_nodes(before: Fingerprint, after: Fingerprint) -> Iterator[str]:
    added = [f"'{n}' ({node.op})" for n, node in after.nodes.items() if n not in before.nodes]
    gone = [f"'{n}' ({node.op})" for n, node in before.nodes.items() if n not in after.nodes]
    if added:
        yield f"nodes were added: {listed(added)}"
    if gone:
        yield f"nodes are gone: {listed(gone)}"
    pairs = [(n, node, after.nodes[n]) for n, node in before.nodes.items() if n in after.nodes]
    different = [f"'{n}' ({new.op}): {_difference(old, new)}" for n, old, new in pairs if old != new]
    if different:
        yield f"nodes have changed: {listed(different)}"


def _difference(old: NodePrint, new: NodePrint) -> str:
    if old.op != new.op:
        return f"was {old.op}"
    for name in dict.fromkeys((*old.attributes, *new.attributes)):
        one, other = old.attributes.get(name, "not there"), new.attributes.get(name, "not there")
        if one != other:
            return f"{name} was {one}, is {other}"
    return "it reads other values" if old.inputs != new.inputs else "it makes other values"


def _changed_constants(before: Fingerprint, after: Fingerprint) -> Iterator[str]:
    both = [name for name in after.constants if name in before.constants]
    different = {name for name in both if before.constants[name] != after.constants[name]}
    readers = [n for n, node in after.nodes.items() if different.intersection(node.inputs)]
    if different:
        yield f"constants of {listed([repr(n) for n in readers] or sorted(different))} have changed"


def listed(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
