"""Recognises a batch normalization that was written as single Add, Sub, Mul and Div with constants.

(x - mean) / std * gamma + beta, the division also written as a product, the operands in either order:
whatever is a chain of at least three such nodes, one with a constant that differs from channel to channel,
one that scales and one that shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.passes.batch_norm.layers import Layer
from qir.passes.batch_norm.transforms import ELEMENTWISE, Arithmetic, Floats, Layout, arithmetic_of

_LEAST_NODES = 3


@dataclass(frozen=True)
class Chain:
    """Nodes of which each is the only reader of the one before, and what they do together to `source`."""

    source: Value
    nodes: tuple[Node, ...]
    scale: Floats
    shift: Floats


def chain_from(node: Node) -> Chain | None:
    """The chain that begins with `node`; None when it is no batch normalization."""
    source = _varying_operand(node)
    layout = None if source is None else _layout(source)
    if source is None or layout is None:
        return None
    nodes: list[Node] = []
    steps: list[Arithmetic] = []
    value, reader = source, node
    while reader.op in ELEMENTWISE and reader.domain == "" and reader.graph is node.graph:
        step = arithmetic_of(reader, value, layout)
        if isinstance(step, str):
            break
        nodes.append(reader)
        steps.append(step)
        value = reader.output
        if not value.has_one_use:
            break
        reader = value.uses[0].node
    if len(nodes) < _LEAST_NODES or not _normalizes(steps):
        return None
    with np.errstate(all="ignore"):
        scale = np.ones(layout.channels)
        shift = np.zeros(layout.channels)
        for step in steps:
            scale = step.scale(scale, scale.shape)
            shift = step.apply(shift)
    return Chain(source, tuple(nodes), scale, shift)


def _varying_operand(node: Node) -> Value | None:
    varying = [v for v in node.inputs if v is not None and v.constant is None]
    return varying[0] if len(varying) == 1 else None


def _layout(value: Value) -> Layout | None:
    """Channels are dimension 1, as for BatchNormalization."""
    shape = value.tensor.shape
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return None
    return Layout(shape[1], len(shape) - 2, len(shape))


def _normalizes(steps: list[Arithmetic]) -> bool:
    shifts = [step.has_shift for step in steps]
    per_channel = any(len(np.unique(step.constant)) > 1 for step in steps)
    return per_channel and any(shifts) and not all(shifts)


def make_normalization(chain: Chain) -> str | None:
    """Let the last node of the chain be the BatchNormalization of all, under its own name; a reason if not.

    Its mean is 0, its variance 1 and its epsilon 0.
    """
    last = chain.nodes[-1]
    graph = last.graph
    assert isinstance(graph, Graph)
    dtype = chain.source.tensor.dtype
    if dtype is None or not dtype.is_float or dtype.numpy is None:
        return "the element type of what it normalizes is not known"
    channels = chain.scale.shape
    vectors = {
        "scale": chain.scale,
        "bias": chain.shift,
        "mean": np.zeros(channels),
        "variance": np.ones(channels),
    }
    with np.errstate(all="ignore"):
        held = {key: Constant.of(v.astype(dtype.numpy)) for key, v in vectors.items()}
    if not all(np.isfinite(c.array).all() for c in held.values()):
        return "the scale and the shift of the whole would not be finite"
    for i in (1, 0):
        last.set_input(i, None)
    last.trim_inputs()
    operands = [chain.source, *(graph.constant(c, f"{last.name}.{key}") for key, c in held.items())]
    for i, value in enumerate(operands):
        last.set_input(i, value)
    last.op, last.attributes = "BatchNormalization", {"epsilon": 0.0}
    normalization = Layer(last, chain.scale, Layout(channels[0], 0, 1))
    for node in reversed(chain.nodes[:-1]):
        graph.erase(node)
    normalization.fused = [node.name for node in chain.nodes[:-1]]
    normalization.note_fused()
    return None
