"""Brings Gemm with a constant weight into its plain form: y = x W + b with W [K, N] and b [N].

    y = alpha * x op(B) + beta * C   ->   W = alpha * op(B),  b = beta * C broadcast to [N]

A C that does not broadcast to [N], or is computed at run time, becomes a float Add behind the Gemm, whose
output takes over the name of the Gemm's. Constants that others read too are copied, never changed. Targets
need this form: an integer Gemm has no alpha and no beta, its weight is stored [K, N] and its bias adds one
number per column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.passes.base import Pass
from qir.passes.context import Context

Floats = npt.NDArray[np.floating[Any]]
_OPTIONAL_C = 11  # the opset that made Gemm's third input optional


@dataclass(frozen=True)
class NormalizeGemm(Pass):
    """Fold transB, alpha and beta of Gemm into its constants; split off a bias of another shape than [N]."""

    name: ClassVar[str] = "normalize-gemm"

    def run(self, graph: Graph, context: Context) -> bool:
        """Normalize every Gemm with a constant float32 or float16 weight and transA=0."""
        folded = _Folded(graph)
        nodes = graph.nodes
        for node, after in zip(nodes, (*nodes[1:], None)[: len(nodes)], strict=True):
            if node.op != "Gemm" or node.domain not in ("", "ai.onnx") or _is_plain(node):
                continue
            reason = _obstacle(node)
            if reason is not None:
                context.rewrites.refused(self.name, node.name, reason)
                continue
            bias = node.input(2)
            if bias is not None:
                _normalize_bias(graph, node, bias, after, folded)
            _normalize_weight(node, folded)
            for key, plain in (("alpha", 1.0), ("beta", 1.0), ("transB", 0)):
                if key in node.attributes:
                    node.attributes[key] = plain
            context.rewrites.applied(self.name, node.name)
        return folded.finish()


class _Folded:
    """The constants made so far: one for each (old constant, treatment), so that what was shared stays so."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[Value, str], Value] = {}
        self._retired: list[Value] = []
        self.changed = False

    def retire(self, old: Value) -> None:
        """Erase a constant at the end unless somebody still reads it."""
        if old.constant is not None:
            self._retired.append(old)

    def constant(self, old: Value, treatment: str, data: Floats) -> Value:
        """`old` treated, with `data` as content; `treatment` names what was done to it."""
        if (old, treatment) not in self._made:
            self._made[old, treatment] = self._graph.constant(np.ascontiguousarray(data), old.name)
        return self._made[old, treatment]

    def finish(self) -> bool:
        """Let a constant whose original is no longer read take over its name; True when anything changed."""
        for (old, _), new in self._made.items():
            name = old.name
            if self._graph.owns(old) and not old.is_read:
                self._graph.erase(old)
                self._graph.rename(new, name)
        for old in self._retired:
            if self._graph.owns(old) and not old.is_read:
                self._graph.erase(old)
        return self.changed


def _factor(node: Node, name: str) -> float:
    found = node.attributes.get(name, 1.0)
    return float(found) if isinstance(found, (int, float)) else 1.0


def _transposed(node: Node) -> bool:
    return bool(node.attributes.get("transB", 0))


def _columns(node: Node) -> int | None:
    """N, from a constant weight; None when the weight is computed."""
    weight = node.input(1)
    if weight is None or weight.constant is None or len(weight.constant.shape) != 2:
        return None
    return weight.constant.shape[0 if _transposed(node) else 1]


def _is_plain(node: Node) -> bool:
    if _transposed(node) or any(_factor(node, name) != 1.0 for name in ("alpha", "beta")):
        return False
    bias = node.input(2)
    return bias is None or (bias.constant is not None and bias.constant.shape == (_columns(node),))


def _obstacle(node: Node) -> str | None:
    """Why a Gemm cannot be brought into the plain form, or None."""
    weight, bias = node.input(1), node.input(2)
    if node.attributes.get("transA", 0):
        return "it has transA=1"
    if weight is None or weight.constant is None or _columns(node) is None:
        return "its weight is not a constant matrix"
    if weight.constant.dtype not in (DType.F32, DType.F16):
        return f"its weight is {weight.constant.dtype.value}, neither f32 nor f16"
    for value, factor in ((weight, _factor(node, "alpha")), (bias, _factor(node, "beta"))):
        if value is None or value.constant is None or factor == 1.0:
            continue
        if not np.isfinite(_scaled(value.constant.array, factor)).all():
            return f"'{value.name}' times {factor:g} is not finite"
    return None


def _scaled(data: Floats, factor: float) -> Floats:
    """factor * data in float32, rounded to the type of the data."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: Floats = (data.astype(np.float32, copy=False) * np.float32(factor)).astype(data.dtype)
    return scaled


def _normalize_weight(node: Node, folded: _Folded) -> None:
    """Read W = alpha * op(B)."""
    old, alpha, transposed = node.inputs[1], _factor(node, "alpha"), _transposed(node)
    assert old is not None
    assert old.constant is not None
    if alpha != 1.0 or transposed:
        data: Floats = old.constant.array.T if transposed else old.constant.array
        data = data if alpha == 1.0 else _scaled(data, alpha)
        node.set_input(1, folded.constant(old, f"alpha={alpha} transposed={transposed}", data))
    folded.changed = True


def _normalize_bias(graph: Graph, node: Node, bias: Value, after: Node | None, folded: _Folded) -> None:
    """Read b = beta * C as [N], or split C off."""
    beta, columns, held = _factor(node, "beta"), _columns(node), bias.constant
    assert columns is not None  # _obstacle has looked
    treatment = f"beta={beta} columns={columns}"
    if held is None and beta != 0.0:
        _split_bias(graph, node, bias, beta, columns, after)
    elif held is None or beta == 0.0:
        node.set_input(2, graph.constant(_zeros(node, columns), f"{node.name}.no_bias"))
        folded.retire(bias)
    elif held.size == 1 or (held.size == columns and held.shape[-1] == columns):
        if held.shape != (columns,) or beta != 1.0:
            data = np.broadcast_to(_scaled(held.array.reshape(-1), beta), (columns,))
            node.set_input(2, folded.constant(bias, treatment, data))
    else:
        if beta != 1.0:
            bias = folded.constant(bias, f"beta={beta}", _scaled(held.array, beta))
        _split_bias(graph, node, bias, 1.0, columns, after)


def _zeros(node: Node, columns: int) -> Floats:
    """A bias of zeros, in the type of the weight."""
    weight = node.inputs[1]
    assert weight is not None
    assert weight.constant is not None
    zeros: Floats = np.zeros(columns, weight.constant.array.dtype)
    return zeros


def _split_bias(graph: Graph, node: Node, bias: Value, beta: float, columns: int, after: Node | None) -> None:
    """Let a float Add behind the Gemm add beta * bias; its output takes over the Gemm's name."""
    node.set_input(2, None)
    if graph.opsets.get("", _OPTIONAL_C) < _OPTIONAL_C:
        node.set_input(2, graph.constant(_zeros(node, columns), f"{node.name}.no_bias"))
    node.trim_inputs()
    if beta != 1.0:
        factor = graph.constant(_zeros(node, 1).dtype.type(beta), f"{node.name}.beta")
        name = graph.unique_node_name(f"{node.name}.scale_bias")
        bias = graph.add("Mul", [bias, factor], name=name, types=[bias.type], before=after).output
    result = node.output
    name = graph.unique_node_name(f"{node.name}.add_bias")
    add = graph.add("Add", [result, bias], name=name, types=[result.type], before=after)
    if result.is_output:
        graph.replace(result, add.output)
    else:
        public = result.name
        graph.replace(result, add.output)
        graph.rename(result, graph.unique_value_name(public))
        graph.rename(add.output, public)
    add.set_input(0, result)
