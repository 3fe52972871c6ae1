"""Drawings of the graph: the whole where it is small, else one of its parts and one of each part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from qir.report.layout import BOX_HEIGHT, Drawing, Placed, has_graphviz, place_all
from qir.report.scopes import Scope, scopes_of

MOST_NODES = 4000
"""Beyond so many nodes a graph is not drawn."""
_LONGEST = 26

Style = Literal["integer", "float", "plain", "end", "part"]


class Label(NamedTuple):
    """What a box says; `link` is the number of the figure that shows what is in it, None: a node."""

    first: str
    second: str
    title: str
    style: Style
    link: int | None


@dataclass(frozen=True)
class Box:
    """One box of a drawing, with its centre and width."""

    x: float
    y: float
    width: float
    label: Label


@dataclass(frozen=True)
class Figure:
    """A drawing with its number; those of parts come behind the one that they are a part of."""

    number: int
    title: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[str, ...]


@dataclass(frozen=True)
class GraphView:
    """All figures; `by_graphviz` says who placed the boxes."""

    figures: tuple[Figure, ...]
    by_graphviz: bool
    box_height: float = BOX_HEIGHT


def graph_view(graph: Mapping[str, Any], precisions: Mapping[str, tuple[str, bool]], title: str) -> GraphView:
    """Figures of the `graph` entry of a report; `precisions` of layers by name, and if they are integers.

    No figures when there are no nodes, or more than `MOST_NODES`.
    """
    nodes: list[Mapping[str, Any]] = graph.get("nodes") or []
    if not 0 < len(nodes) <= MOST_NODES:
        return GraphView((), has_graphviz())
    scopes = [*_with_parts(scopes_of([str(node["name"]) for node in nodes], title))]
    numbers = {id(scope): number for number, scope in enumerate(scopes)}
    plans = [
        _Plan(scope, graph, nodes, precisions, numbers, number == 0) for number, scope in enumerate(scopes)
    ]
    placed = place_all([plan.drawing() for plan in plans])
    figures = tuple(plan.figure(at) for plan, at in zip(plans, placed, strict=True))
    return GraphView(figures, has_graphviz())


def _with_parts(scope: Scope) -> Iterator[Scope]:
    """A scope and all that have a drawing of their own below it."""
    yield scope
    for part in scope.parts:
        if len(part.members) > 1:
            yield from _with_parts(part)


class _Plan:
    """What one figure shows: boxes of nodes and parts, ends of the graph, and edges between them."""

    def __init__(
        self,
        scope: Scope,
        graph: Mapping[str, Any],
        nodes: Sequence[Mapping[str, Any]],
        precisions: Mapping[str, tuple[str, bool]],
        numbers: Mapping[int, int],
        is_whole: bool,
    ) -> None:
        self._number, self._title = numbers[id(scope)], scope.title
        self._nodes, self._precisions = nodes, precisions
        self.labels: list[Label] = []
        self.edges: dict[tuple[int, int], None] = {}
        home: dict[int | str, int] = {}
        for name in graph.get("inputs") or [] if is_whole else []:
            home[name] = self._add("input", str(name), str(name), "end", None)
        for part in scope.parts or [Scope("", [member], []) for member in scope.members]:
            place = self._node(part.members[0]) if len(part.members) == 1 else self._part(part, numbers)
            home.update(dict.fromkeys(part.members, place))
        for member in scope.members:
            self._connect(nodes[member], home[member], home)
        for output in graph.get("outputs") or [] if is_whole else []:
            self._connect(output, self._add("output", output["name"], output["name"], "end", None), home)

    def _add(self, first: str, second: str, title: str, style: Style, link: int | None) -> int:
        self.labels.append(Label(_short(first), _short(second), title, style, link))
        return len(self.labels) - 1

    def _node(self, member: int) -> int:
        name, op = str(self._nodes[member]["name"]), str(self._nodes[member]["op"])
        precision, is_integer = self._precisions.get(name, ("", False))
        style: Style = "plain" if not precision else "integer" if is_integer else "float"
        return self._add(f"{op} {precision}".strip(), name, f"{name} ({op}) {precision}".strip(), style, None)

    def _part(self, part: Scope, numbers: Mapping[int, int]) -> int:
        first, last = (str(self._nodes[part.members[i]]["name"]) for i in (0, -1))
        return self._add(
            part.title or "nodes", f"{first} …", f"from {first} to {last}", "part", numbers[id(part)]
        )

    def _connect(self, reader: Mapping[str, Any], place: int, home: Mapping[int | str, int]) -> None:
        for source in reader.get("reads") or []:
            if source in home and home[source] != place:
                self.edges[home[source], place] = None

    def drawing(self) -> Drawing:
        return Drawing([max(label.first, label.second, key=len) for label in self.labels], list(self.edges))

    def figure(self, at: Placed) -> Figure:
        boxes = tuple(Box(*where, label) for where, label in zip(at.boxes, self.labels, strict=True))
        return Figure(self._number, self._title, at.width, at.height, boxes, at.edges)


def _short(text: str) -> str:
    """The end of a long name: names of one part begin alike."""
    return text if len(text) <= _LONGEST else f"…{text[-_LONGEST + 1 :]}"
