"""Names while a model is read: what each stands for, and fresh names that meet no other of the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import onnx

from qir.frontends.onnx.order import defined, subgraphs
from qir.ir.errors import ModelError, did_you_mean
from qir.ir.node import Value


class Scope:
    """Maps the names of one graph or function body to values; others are looked up in the graph around."""

    def __init__(self, outer: Scope | None = None, declared: Set[str] = frozenset()) -> None:
        """`declared`: the names that will be defined in time, so that inner graphs can keep clear of them."""
        self._outer, self._declared = outer, declared
        self._values: dict[str, Value | None] = {}

    def check_free(self, names: Sequence[str], where: str) -> None:
        """ModelError when one of `names` is taken already, or stands twice among them ("" is no name)."""
        seen: set[str] = set()
        for name in names:
            if name and (name in self._values or name in seen):
                raise ModelError(
                    f"{where} defines '{name}' a second time; each value needs a name of its own"
                )
            seen.add(name)

    def define(self, name: str, value: Value | None) -> None:
        """Let the free name `name` stand for `value` (None: an optional input that was left out)."""
        self._values[name] = value

    def find(self, name: str, where: str) -> Value | None:
        """The value of a name; ModelError with the nearest names when nothing defines it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope._values:
                return scope._values[name]
            scope = scope._outer
        raise ModelError(
            f"{where} reads '{name}', which no node, input or initializer defines"
            f"{did_you_mean(name, self._names())}"
        )

    def _names(self) -> Iterable[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope._values
            scope = scope._outer

    def shadows(self, name: str) -> bool:
        """True when a graph around this one defines `name`."""
        return self._outer is not None and (name in self._outer._declared or self._outer.shadows(name))


class FreshNames:
    """Hands out names that no part of a model uses."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = dict.fromkeys(taken, 1)

    def make(self, hint: str) -> str:
        """`hint` when free, else `hint_1`, `hint_2`, …; the name is taken from now on."""
        name = hint
        if hint in self._taken:
            count = self._taken[hint]
            while f"{hint}_{count}" in self._taken:
                count += 1
            self._taken[hint] = count + 1
            name = f"{hint}_{count}"
        self._taken[name] = 1
        return name


def value_names(graph: onnx.GraphProto) -> set[str]:
    """The value names of a graph and of all graphs within it."""
    names = defined(graph)
    for node in graph.node:
        for inner in subgraphs(node):
            names |= value_names(inner)
    return names


def node_names(graph: onnx.GraphProto) -> set[str]:
    """The node names of a graph and of all graphs within it."""
    names = {node.name for node in graph.node}
    for node in graph.node:
        for inner in subgraphs(node):
            names |= node_names(inner)
    return names
