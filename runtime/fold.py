"""Evaluates nodes whose inputs are constants, in as few ONNX Runtime sessions as possible."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from qir.ir.constant import Constant
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.types import TensorType
from qir.runtime.session import Session

logger = logging.getLogger(__name__)

Folded = dict[Value, Constant]


def evaluate_constants(graph: Graph, nodes: Sequence[Node], max_bytes: int | None = None) -> Folded:
    """The outputs of `nodes` of `graph` as constants.

    Each node reads constants and outputs of others of `nodes` (given in running order). All run unoptimized
    in one session. Nodes that ONNX Runtime cannot run are left out, and those that read from them: a
    failing set is halved until the culprits stand alone. Also left out: nodes with subgraphs, outputs that
    are no tensors or of a type that numpy lacks, and results of more than `max_bytes`.
    """
    folded: Folded = {}
    plain = [node for node in nodes if not node.subgraphs]
    _evaluate(graph.opsets, plain, folded)
    return {
        value: data for value, data in folded.items() if max_bytes is None or data.data.nbytes <= max_bytes
    }


def _evaluate(opsets: Mapping[str, int], nodes: Sequence[Node], folded: Folded) -> None:
    """Add what can be evaluated of `nodes`, given what is in `folded`."""
    runnable = _runnable(nodes, folded)
    if not runnable:
        return
    try:
        folded.update(_run(opsets, runnable, folded))
    except QirError as error:
        if len(runnable) == 1:
            logger.info("node '%s' is not folded: %s", runnable[0].name, error)
            return
        middle = len(runnable) // 2
        _evaluate(opsets, runnable[:middle], folded)
        _evaluate(opsets, runnable[middle:], folded)


def _runnable(nodes: Sequence[Node], folded: Folded) -> list[Node]:
    """The nodes all of whose inputs are constants, folded, or outputs of others among them."""
    available = set(folded)
    runnable: list[Node] = []
    for node in nodes:
        if all(v is None or v.constant is not None or v in available for v in node.inputs):
            runnable.append(node)
            available.update(v for v in node.outputs if v is not None)
    return runnable


def _run(opsets: Mapping[str, int], nodes: Sequence[Node], folded: Folded) -> Folded:
    """Evaluate all nodes in one session; QirError when it fails."""
    work = Graph("fold", opsets)
    inside: dict[Value, Value] = {}
    fetched: list[tuple[Value, Value]] = []
    for node in nodes:
        copy = work.add(
            node.op,
            [_operand(work, v, inside, folded) for v in node.inputs],
            outputs=[None if v is None else work.unique_value_name(v.name) for v in node.outputs],
            types=[TensorType() if v is None else v.type for v in node.outputs],
            attributes=node.attributes,
            domain=node.domain,
            name=node.name,
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            if old is not None and new is not None:
                inside[old] = new
                if _has_array(old):
                    fetched.append((old, new))
    for _, new in fetched:
        work.add_output(new)
    results = Session(work, threads=1, optimize=False).run({}) if fetched else {}
    arrays = ((old, results[new.name]) for old, new in fetched)
    return {old: Constant.of(a.copy()) for old, a in arrays if isinstance(a, np.ndarray)}


def _operand(work: Graph, value: Value | None, inside: dict[Value, Value], folded: Folded) -> Value | None:
    """The value of the working graph that stands for `value`."""
    if value is None:
        return None
    if value not in inside:
        data = value.constant if value.constant is not None else folded[value]
        inside[value] = work.constant(data, value.name)
    return inside[value]


def _has_array(value: Value) -> bool:
    if not isinstance(value.type, TensorType):
        return False
    return value.type.dtype is None or value.type.dtype.numpy is not None
