"""A fake-quant graph, its deploy graph in floats and their differences in one graph, to be run at a time.

Whoever fetches the integers of both graphs to compare them holds all of them. Subtracted where they are made,
they live no longer than in any other run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qir.ir.clone import clone_attribute
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node, Value
from qir.ir.types import TensorType
from qir.runtime.deploy.build import onnx_type

_PREFIX = "deploy/"
_HEAD = 16
"""Constants that share so many first numbers are compared as a whole."""

_ALL: Mapping[str, Attribute] = {"keepdims": 0}


class Compared(NamedTuple):
    """Two values, by name in their graphs.

    `added` is what the found value lacks, to be added in float64. `counted` asks how many numbers differ, and
    how far. `kind` is that of the integers when the expected value is to be returned too.
    """

    expected: str
    found: str
    added: npt.NDArray[np.float64] | None = None
    counted: bool = False
    kind: DType | None = None


class Difference(NamedTuple):
    """What the joint graph returns of a pair, by name.

    `total` is 0 when all numbers are equal, `shapes` are those of both values. Where asked for, `counted` are
    how many numbers differ and the greatest difference, and `integers` the expected value.
    """

    total: str
    shapes: tuple[str, str]
    counted: tuple[str, str] | None = None
    integers: str | None = None


class Joint:
    """A copy of `first` with all of `second` in it, and the differences of pairs of their values.

    Inputs of the same name are one, and equal constants are there once. `inputs` and `outputs` say what those
    of `second` are called here; those of `first` keep their names. `differences` are in the order of `pairs`.
    """

    def __init__(self, first: Graph, second: Graph, pairs: Sequence[Compared]) -> None:
        with collector_paused():
            self.graph = first.clone()
            made = _Copy(self.graph, second).made
            self.inputs = {v.name: made[v].name for v in second.inputs}
            self.outputs = {v.name: made[v].name for v in second.outputs}
            # ONNX Runtime walks back from the ends of the graph, the last one first: what the first layers
            # made is then subtracted before the later layers run.
            found = [self._compare(pair, made[second.value(pair.found)]) for pair in reversed(pairs)]
            self.differences = found[::-1]
            for value in second.outputs:
                self.graph.add_output(made[value])

    def _compare(self, pair: Compared, found: Value) -> Difference:
        expected = self.graph.value(pair.expected)
        a, b, kind = expected, found, found.tensor.dtype
        if pair.added is not None:
            added = self.graph.constant(pair.added, "difference/added")
            kind, b = DType.F64, self._node("Add", [self._wide(b), added], DType.F64)
        if kind is DType.F64:
            a = self._wide(a)
        gap = self._node("Sub", [a, b], kind)
        return Difference(
            self._returned("ReduceSumSquare", [gap], kind, _ALL),
            (self._returned("Shape", [expected], DType.I64), self._returned("Shape", [found], DType.I64)),
            self._counted(gap) if pair.counted else None,
            None if pair.kind is None else self._returned("Cast", [expected], pair.kind, _to(pair.kind)),
        )

    def _counted(self, gap: Value) -> tuple[str, str]:
        size = self._node("Abs", [gap], gap.tensor.dtype)
        one = self._node(
            "Cast", [self._node("Cast", [gap], DType.BOOL, _to(DType.BOOL))], DType.I32, _to(DType.I32)
        )
        return (
            self._returned("ReduceSum", [one], DType.I32, _ALL),
            self._returned("ReduceMax", [size], gap.tensor.dtype, _ALL),
        )

    def _returned(
        self,
        op: str,
        inputs: list[Value],
        dtype: DType | None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        value = self._node(op, inputs, dtype, attributes)
        self.graph.add_output(value)
        return value.name

    def _wide(self, value: Value) -> Value:
        return self._node("Cast", [value], DType.F64, _to(DType.F64))

    def _node(
        self,
        op: str,
        inputs: list[Value],
        dtype: DType | None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> Value:
        name = self.graph.unique_node_name(f"difference/{op}")
        output = self.graph.unique_value_name(name)
        return self.graph.add(
            op, inputs, name=name, outputs=[output], types=[TensorType(dtype)], attributes=attributes
        ).output


def _to(kind: DType) -> Mapping[str, Attribute]:
    """The attribute of a Cast."""
    return {"to": onnx_type(kind)}


class _Copy:
    """Copies `second` into `graph`; `made` maps its values to those there."""

    def __init__(self, graph: Graph, second: Graph) -> None:
        self._graph = graph
        self.made: dict[Value, Value] = {}
        held: dict[tuple[DType, tuple[int, ...], bytes], list[Value]] = {}
        for value in graph.constants:
            assert value.constant is not None
            held.setdefault(_key(value.constant), []).append(value)
        inputs: Mapping[str, Value] = {v.name: v for v in graph.inputs}
        for value in second.inputs:
            shared = inputs.get(value.name)
            self.made[value] = shared or graph.add_input(self._free(value.name), value.type)
        for value in second.constants:
            assert value.constant is not None
            like = held.get(_key(value.constant), ())
            same = next((v for v in like if _equal(v.constant, value.constant)), None)
            self.made[value] = same or graph.constant(value.constant, self._free(value.name))
        for domain, version in second.opsets.items():
            graph.opsets.setdefault(domain, version)
        pairs = [(node, self._node(node)) for node in second.nodes]
        for node, fresh in pairs:
            fresh.attributes = {k: clone_attribute(a, graph, self.made) for k, a in node.attributes.items()}
            for i, item in enumerate(node.inputs):
                fresh.set_input(i, None if item is None else self.made[item])

    def _free(self, name: str) -> str:
        return self._graph.unique_value_name(_PREFIX + name)

    def _node(self, node: Node) -> Node:
        fresh = self._graph.add(
            node.op,
            [None] * len(node.inputs),
            outputs=[None if v is None else self._free(v.name) for v in node.outputs],
            types=[TensorType() if v is None else v.type for v in node.outputs],
            domain=node.domain,
            name=self._graph.unique_node_name(_PREFIX + node.name),
        )
        for old, new in zip(node.outputs, fresh.outputs, strict=True):
            if old is not None and new is not None:
                self.made[old] = new
        return fresh


def _key(constant: Constant) -> tuple[DType, tuple[int, ...], bytes]:
    return constant.dtype, constant.shape, constant.data.reshape(-1)[:_HEAD].tobytes()


def _equal(first: Constant | None, second: Constant | None) -> bool:
    return first is not None and second is not None and np.array_equal(first.data, second.data)
