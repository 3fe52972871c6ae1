"""Turns dequantized constants into float constants that remember by which parameters they were quantized.

    integers -> DequantizeLinear                    (folded, as quantizers write weights and biases)
    floats -> QuantizeLinear -> DequantizeLinear    (not folded, as quantization-aware training exports them)

and either one behind Transpose, Reshape and their like. ONNX Runtime computes the floats, so that they are
those that the model itself would compute. They lie on the grid of their parameters: float32(q * scale) is off
by 2^-24 of itself at most, so that quantizing it again gives any q of 8 bits back.
"""

from __future__ import annotations

import math
from dataclasses import replace

from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import QuantParams
from qir.passes.qdq.factors import factors, is_dequantize, is_quantize
from qir.passes.qdq.narrow import is_narrowing
from qir.runtime.fold import evaluate_constants

LAYOUT = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Ops that give input 0 another shape or order."""

Shape = tuple[int, ...]
Origins = dict[Value, QuantParams | str]
"""Constant -> its parameters, or why it has none that a quant could have."""


def fold_dequantized(graph: Graph) -> Origins:
    """Put float constants in place of all dequantized constants of `graph` (not of its subgraphs).

    What ONNX Runtime cannot compute stays as it is. A constant takes over the name of the one from which it
    was dequantized, unless somebody else reads that too.
    """
    sources = _sources(graph)
    results = evaluate_constants(graph, tuple(sources))
    found: dict[Node, QuantParams | str] = {}  # before any of them goes
    for node in sources:
        needed = any(use.node not in sources for use in node.output.uses) or node.output.is_output
        if needed and node.output in results and not is_quantize(node) and not is_narrowing(node):
            found[node] = _origin(node)
    origins: Origins = {}
    names: list[tuple[Value, str, Value]] = []
    for node, origin in found.items():
        name = node.output.name
        constant = graph.constant(results[node.output], name)
        origins[constant] = origin
        graph.replace(node.output, constant)
        names.append((constant, name, sources[node]))
    for node in reversed(tuple(sources)):
        if not node.output.is_read:
            graph.erase(node)
    for constant, name, source in names:
        _rename(graph, constant, name, source)
    return origins


def _sources(graph: Graph) -> dict[Node, Value]:
    """The nodes that dequantize constants, in running order, each with the constant from which it starts."""
    found: dict[Node, Value] = {}
    for node in graph.nodes:
        first = node.input(0)
        if first is None or any(v is not None and v.constant is None for v in node.inputs[1:]):
            continue
        above = first.producer
        if first.constant is not None and (is_dequantize(node) or _is_dequantized(node)):
            found[node] = first
        elif above is not None and above in found and _goes_on(node, above):
            found[node] = found[above]
    return found


def _goes_on(node: Node, above: Node) -> bool:
    """True for a node that dequantizes what `above` made, or gives what is dequantized another layout."""
    if is_dequantize(node) or is_narrowing(node):
        return True
    return node.op in LAYOUT and not node.domain and not is_quantize(above) and not is_narrowing(above)


def _is_dequantized(node: Node) -> bool:
    """True for a QuantizeLinear whose result is dequantized again."""
    readers = [use.node for use in node.output.uses]
    return is_quantize(node) and any(is_dequantize(reader) or is_narrowing(reader) for reader in readers)


def _origin(node: Node) -> QuantParams | str:
    """The parameters of a folded node, followed through changes of layout."""
    above = None if node.inputs[0] is None else node.inputs[0].producer
    if not is_dequantize(node):
        assert above is not None  # _sources has come from there
        return _laid_out(node, _origin(above))
    found = factors(node)
    if above is not None and is_narrowing(above):
        above = None if above.inputs[0] is None else above.inputs[0].producer
    if above is None or isinstance(found, str):
        return found
    before = factors(above)
    return before if before == found or isinstance(before, str) else unequal(above, node)


def unequal(quantize: Node, dequantize: Node) -> str:
    """The reason why a pair whose factors differ is no quant."""
    return f"'{quantize.name}' and '{dequantize.name}' have unequal scales or zero points"


def _laid_out(node: Node, params: QuantParams | str) -> QuantParams | str:
    """The parameters behind a change of layout; what was one channel must be one still."""
    if isinstance(params, str) or params.spec.axis is None:
        return params
    first = node.input(0)
    old, new = None if first is None else first.tensor.static_shape, node.output.tensor.static_shape
    if old is None or new is None:
        return f"the shape of what '{node.name}' ({node.op}) reads or makes is unknown"
    axis = _moved_axis(node, params.spec.axis, old, new)
    if axis is None:
        return f"'{node.name}' ({node.op}) spreads the channels, of which each has a scale, over several axes"
    return replace(params, spec=replace(params.spec, axis=axis))


def _moved_axis(node: Node, axis: int, old: Shape, new: Shape) -> int | None:
    if node.op == "Transpose":
        perm = node.attributes.get("perm")
        order = perm if isinstance(perm, tuple) else tuple(range(len(old)))[::-1]
        return order.index(axis)
    # Anything else keeps the order of elements: the axis is where as many elements lie in front and behind.
    front = math.prod(old[:axis])
    same = (i for i in range(len(new)) if new[i] == old[axis] and math.prod(new[:i]) == front)
    return next(same, None)


def _rename(graph: Graph, constant: Value, name: str, source: Value) -> None:
    """Give a constant the name of its source if nobody reads that any more, else that of what it replaces."""
    if constant.is_output:
        return
    if graph.owns(source) and not source.is_read:
        name = source.name
        graph.erase(source)
    if not graph.has_value(name):
        graph.rename(constant, name)
