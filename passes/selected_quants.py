"""Quants of selected layers: a quant that others read too is split, so that they can be closed apart."""

from __future__ import annotations

from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.quants import coarse_quant
from qir.passes.insertion.selection import Selection


def selected_quant(graph: Graph, quant: Node, selection: Selection) -> Node | None:
    """The quant that exactly the selected readers of `quant` read, or None when none of them is selected.

    With error compensation, `quant` is the second of two, and the first goes with it.

    That is `quant` itself when all are; otherwise a new one in front of it, with the type of `quant`.
    """
    if selection == Selection((), (), ()):
        return quant
    uses = quant.output.uses
    chosen = [use for use in uses if selection.missed(use.node) is None]
    if not chosen:
        return None
    if len(chosen) == len(uses) and not quant.output.is_output:
        return quant
    twin = _copy(graph, quant, before=coarse_quant(quant) or quant)
    for reader, index in chosen:
        reader.set_input(index, twin.output)
    return twin


def _copy(graph: Graph, quant: Node, before: Node) -> Node:
    """A copy of a quant in front of `before`, with one of the quant whose rest it rounds."""
    coarse = coarse_quant(quant)
    first = None if coarse is None else _copy(graph, coarse, before).output
    name = graph.unique_value_name(quant.output.name)
    return graph.add(
        "quant",
        [quant.inputs[0], *(() if first is None else (first,))],
        domain="qir",
        name=name,
        outputs=[name],
        types=[quant.output.type],
        before=before,
    )
