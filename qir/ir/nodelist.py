"""Nodes in running order: a doubly linked list whose nodes know their place."""

from __future__ import annotations

from collections.abc import Iterator

from qir.ir.node import Node

_GAP = 1 << 32


class NodeList:
    """Inserts and removes anywhere in constant time.

    Positions grow along the list and leave gaps for insertions, so that two nodes compare in constant time
    (`Value.uses` is in running order); where a gap is used up, all positions are given anew.
    """

    def __init__(self) -> None:
        self._first: Node | None = None
        self._last: Node | None = None
        self._all: tuple[Node, ...] | None = ()

    def __iter__(self) -> Iterator[Node]:
        return iter(self.all)

    @property
    def all(self) -> tuple[Node, ...]:
        """The nodes as they are now; made once between two changes, for it is asked for again and again."""
        if self._all is None:
            found, node = [], self._first
            while node is not None:
                found.append(node)
                node = node._next
            self._all = tuple(found)
        return self._all

    def insert(self, node: Node, before: Node | None) -> None:
        """Put a node that is in no list before another, or at the end."""
        self._all = None
        previous = self._last if before is None else before._previous
        node._previous, node._next = previous, before
        if previous is None:
            self._first = node
        else:
            previous._next = node
        if before is None:
            self._last = node
        else:
            before._previous = node
        self._place(node)

    def remove(self, node: Node) -> None:
        """Take a node of this list out."""
        self._all = None
        if node._previous is None:
            self._first = node._next
        else:
            node._previous._next = node._next
        if node._next is None:
            self._last = node._previous
        else:
            node._next._previous = node._previous
        node._previous = node._next = None

    def _place(self, node: Node) -> None:
        """Give a fresh node the position between its neighbours."""
        before, after = node._previous, node._next
        if before is None and after is None:
            node._position = 0
        elif after is None:
            assert before is not None
            node._position = before._position + _GAP
        elif before is None:
            node._position = after._position - _GAP
        else:
            node._position = (before._position + after._position) // 2
            if node._position == before._position:
                for i, each in enumerate(self):
                    each._position = i * _GAP
