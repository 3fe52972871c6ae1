"""Computes what depends on constants alone, so that the model does not compute it in every run.

Five things, again and again until none finds anything: the type that a CastLike reads off another value;
the tensor that a Constant node holds; shape arithmetic, where single dimensions may be known though the shape
is not (`folding/shape_values.py`); everything else by ONNX Runtime, all of a graph in one session; the branch
that an If with a constant condition takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from qir.frontends.onnx import infer_types
from qir.frontends.onnx.attributes import CONSTANT_FORMS, constant_value
from qir.frontends.onnx.types import CODES
from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.walk import walk_graphs
from qir.passes.base import Pass
from qir.passes.context import Context, RewriteLog
from qir.passes.folding.branches import inline_branch, taken_branch
from qir.passes.folding.candidates import Candidates, candidates
from qir.passes.folding.shape_values import shape_values
from qir.runtime.fold import evaluate_constants


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute what depends on constants alone, shape arithmetic included.

    A result of more than `max_bytes` is left to be computed unless it replaces constants of about its size.
    """

    name: ClassVar[str] = "fold-constants"
    max_bytes: int = 1 << 20

    def run(self, graph: Graph, context: Context) -> bool:
        """Also in subgraphs. Random numbers, quantization and ops of other domains are left alone."""
        return fold_constants(graph, context.rewrites, self.max_bytes)


def fold_constants(graph: Graph, log: RewriteLog, max_bytes: int) -> bool:
    """Fold `graph` and its subgraphs until nothing more can be folded; True when anything changed.

    What was folded may tell the shapes of other values, and these what else can be folded: types are inferred
    anew when a node waits for them.
    """
    failed: dict[Node, str] = {}  # what ONNX Runtime cannot compute, and why
    changed = False
    while True:
        left = Candidates()
        progress = _fold_once(graph, log, max_bytes, left, failed)
        waiting = bool(left.unsized) or (progress and _asks_for_shapes(graph))
        typed = waiting and infer_types(graph)
        changed |= progress or typed
        if not progress and not typed:
            break
    for node in left.unsized:
        log.refused(FoldConstants.name, node.name, "the size of its result is not known")
    for node, size in left.too_large.items():
        log.refused(
            FoldConstants.name, node.name, f"its result would take {size} bytes; {max_bytes} are allowed"
        )
    for node, reason in failed.items():
        log.refused(FoldConstants.name, node.name, reason)
    return changed


def _asks_for_shapes(graph: Graph) -> bool:
    return any(node.op in ("Shape", "Size") for inner in walk_graphs(graph) for node in inner.nodes)


def _fold_once(
    graph: Graph, log: RewriteLog, max_bytes: int, left: Candidates, failed: dict[Node, str]
) -> bool:
    """Fold in each graph what can be folded now; adds to `left` and `failed` what cannot. True on change."""
    progress = False
    for inner in walk_graphs(graph):
        folded = [node for node in inner.nodes if _fix_type(node)]
        folded += _replace(inner, _held_constants(inner))
        folded += _replace(inner, _known_shapes(inner))
        folded += _compute(graph, inner, max_bytes, left, failed)
        for node in inner.nodes:
            branch = taken_branch(node)
            if branch is not None:
                inline_branch(inner, node, branch)
                folded.append(node)
        for node in folded:
            log.applied(FoldConstants.name, node.name)
        progress |= bool(folded)
    return progress


def _fix_type(node: Node) -> bool:
    """Turn a CastLike into a Cast when the type is known: it reads nothing else of its second input."""
    like = node.input(1)
    dtype = None if like is None else like.tensor.dtype
    if node.op != "CastLike" or node.domain != "" or dtype is None:
        return False
    node.op = "Cast"
    node.attributes["to"] = CODES[dtype]
    node.set_input(1, None)
    node.trim_inputs()
    node.output.type = replace(node.output.tensor, dtype=dtype)
    return True


def _held_constants(graph: Graph) -> dict[Value, Constant]:
    """The tensors of Constant nodes."""
    found: dict[Value, Constant] = {}
    for node in graph.nodes:
        key = next((k for k in CONSTANT_FORMS if k in node.attributes), None)
        if node.op == "Constant" and node.domain == "" and key is not None and key != "sparse_value":
            found[node.output] = constant_value(key, node.attributes[key])
    return found


def _known_shapes(graph: Graph) -> dict[Value, Constant]:
    """The results of shape arithmetic that are known in full."""
    return {v: e.constant for v, e in shape_values(graph).items() if e.is_known and v.is_read}


def _compute(
    model: Graph, graph: Graph, max_bytes: int, left: Candidates, failed: dict[Node, str]
) -> list[Node]:
    """Let ONNX Runtime compute the candidates of `graph`, of `model` or a subgraph; the folded nodes."""
    found = candidates(graph, max_bytes, failed)
    left.unsized += found.unsized
    left.too_large |= found.too_large
    folded = _replace(graph, evaluate_constants(model, found.nodes))
    for node in found.nodes:
        if node.graph is not None and any(v is not None and v.is_read for v in node.outputs):
            failed[node] = "ONNX Runtime cannot compute it here"
    return folded


def _replace(graph: Graph, results: Mapping[Value, Constant]) -> list[Node]:
    """Put constants in place of node outputs; the nodes that went, in running order.

    From the last node to the first, so that what only folded nodes read leaves no constant behind.
    """
    nodes = dict.fromkeys(v.producer for v in results if v.producer is not None)
    gone = [n for n in reversed(graph.nodes) if n in nodes and _replace_node(graph, n, results)]
    return gone[::-1]


def _replace_node(graph: Graph, node: Node, results: Mapping[Value, Constant]) -> bool:
    outputs = [v for v in node.outputs if v is not None and v.is_read]
    if any(v not in results for v in outputs):
        return False
    made: list[tuple[Value, str]] = []
    for value in outputs:
        name = value.name
        constant = graph.constant(results[value], name)
        graph.replace(value, constant)
        made.append((constant, name))
    graph.erase(node)
    for constant, name in made:  # the name of the value that it stands for is free now
        graph.rename(constant, name)
    return True
