"""Where the boxes of a drawing lie: by Graphviz where its `dot` is installed, else in layers of our own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

BOX_HEIGHT = 38.0
_CHARACTER, _PADDING = 6.6, 16.0
"""Width of a letter and room around a label, in SVG units (1/72 inch in Graphviz)."""
_GAP_X, _GAP_Y = 18.0, 34.0
_SECONDS = 60
"""Graphviz gets so long for all drawings of a page."""


@dataclass(frozen=True)
class Drawing:
    """Boxes by their longest line of text, and edges from box to box."""

    labels: Sequence[str]
    edges: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Placed:
    """Centres and widths of the boxes, edges as SVG paths, and the size of the whole."""

    width: float
    height: float
    boxes: tuple[tuple[float, float, float], ...]
    edges: tuple[str, ...]


def has_graphviz() -> bool:
    """Whether the program `dot` is there."""
    return shutil.which("dot") is not None


def place_all(drawings: Sequence[Drawing]) -> list[Placed]:
    """All drawings placed; a failing Graphviz is as good as none."""
    if has_graphviz():
        text = "".join(map(_dot, drawings))
        try:
            done = subprocess.run(
                ["dot", "-Tplain"], input=text, capture_output=True, text=True, timeout=_SECONDS, check=True
            )
            found = [*_plain(done.stdout)]
            if len(found) == len(drawings):
                return found
        except (OSError, subprocess.SubprocessError, ValueError):
            pass
    return [_layered(drawing) for drawing in drawings]


def _width(label: str) -> float:
    return max(len(label) * _CHARACTER + _PADDING, 56.0)


def _dot(drawing: Drawing) -> str:
    """The drawing in DOT; labels stay with us, so that nothing needs quoting."""
    lines = ["digraph {", f"node [shape=box fixedsize=true height={BOX_HEIGHT / 72:.3f}];"]
    lines += [f"n{i} [width={_width(label) / 72:.3f}];" for i, label in enumerate(drawing.labels)]
    lines += [f"n{a} -> n{b};" for a, b in drawing.edges]
    return "\n".join([*lines, "}", ""])


def _plain(text: str) -> Iterator[Placed]:
    """Graphviz's plain format: inches, y upwards; edges are Bézier curves."""
    boxes: dict[int, tuple[float, float, float]] = {}
    edges: list[str] = []
    width = height = 0.0
    for line in text.splitlines():
        words = line.split()
        if words[0] == "graph":
            width, height = float(words[2]) * 72, float(words[3]) * 72
        elif words[0] == "node":
            x, y, wide = (float(word) * 72 for word in words[2:5])
            boxes[int(words[1][1:])] = (round(x, 1), round(height - y, 1), round(wide, 1))
        elif words[0] == "edge":
            count = int(words[3])
            numbers = [float(word) * 72 for word in words[4 : 4 + 2 * count]]
            points = [f"{x:.1f} {height - y:.1f}" for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
            edges.append(f"M{points[0]}C{' '.join(points[1:])}")
        elif words[0] == "stop":
            placed = tuple(boxes[i] for i in range(len(boxes)))
            yield Placed(round(width, 1), round(height, 1), placed, tuple(edges))
            boxes, edges = {}, []


def _layered(drawing: Drawing) -> Placed:
    """Every box one row below the lowest that it reads from; rows in the order of the boxes."""
    rows: dict[int, int] = {}
    before: dict[int, list[int]] = {}
    for a, b in drawing.edges:
        before.setdefault(b, []).append(a)
    for i in range(len(drawing.labels)):  # boxes are in running order
        rows[i] = max((rows[a] + 1 for a in before.get(i, ()) if a in rows), default=0)
    widths = [_width(label) for label in drawing.labels]
    members: dict[int, list[int]] = {}
    for i, row in rows.items():
        members.setdefault(row, []).append(i)
    lengths = {row: sum(widths[i] + _GAP_X for i in found) for row, found in members.items()}
    total = max(lengths.values(), default=0.0) + _GAP_X
    boxes = {
        i: (x, _GAP_Y + row * (BOX_HEIGHT + _GAP_Y), widths[i])
        for row, found in members.items()
        for i, x in _along(found, widths, (total - lengths[row]) / 2)
    }
    height = (max(members, default=0) + 1) * (BOX_HEIGHT + _GAP_Y) + _GAP_Y / 2
    placed = tuple(boxes[i] for i in range(len(boxes)))
    return Placed(total, height, placed, tuple(_straight(boxes, a, b) for a, b in drawing.edges))


def _along(found: Sequence[int], widths: Sequence[float], start: float) -> Iterator[tuple[int, float]]:
    for i in found:
        yield i, round(start + (widths[i] + _GAP_X) / 2, 1)
        start += widths[i] + _GAP_X


def _straight(boxes: Mapping[int, tuple[float, float, float]], a: int, b: int) -> str:
    (x0, y0, _), (x1, y1, _) = boxes[a], boxes[b]
    return f"M{x0} {y0 + BOX_HEIGHT / 2:.1f}L{x1} {y1 - BOX_HEIGHT / 2:.1f}"
