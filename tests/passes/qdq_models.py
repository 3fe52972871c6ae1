"""Models with QuantizeLinear and DequantizeLinear, as different tools write them, and their import."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from same_numbers import compute

from qir.backends.targets import target_named
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.types import tensor
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline

Array = npt.NDArray[np.generic]
TARGET = target_named("ascend")
DATA = {"Conv1": (2, 4, 9), "Conv": (2, 4, 7, 7), "ConvTranspose": (2, 4, 5, 5), "AveragePool": (2, 4, 8, 8)}
PADDED = {"pads": (1, 2, 0, 1), "kernel_shape": (3, 3)}


class Builder:
    """A graph with QuantizeLinear and DequantizeLinear, the way different tools write it."""

    def __init__(self, shape: tuple[int | str, ...], opset: int = 17, seed: int = 0) -> None:
        self.graph = Graph("qdq", {"": opset})
        self.random = np.random.default_rng(seed)
        self.x = self.graph.add_input("x", tensor(DType.F32, shape))

    def node(self, op: str, inputs: list[Value | None], domain: str = "", **attributes: object) -> Value:
        return self.graph.add(op, inputs, attributes=attributes, domain=domain).output  # type: ignore[arg-type]

    def factors(self, scale: npt.ArrayLike, zero: npt.ArrayLike, dtype: type) -> list[Value | None]:
        scales = self.graph.constant(np.asarray(scale, np.float32), "scale")
        zeros = np.broadcast_to(np.asarray(zero, dtype), np.shape(scale))
        return [scales, self.graph.constant(np.ascontiguousarray(zeros), "zero_point")]

    def pair(self, value: Value, scale: npt.ArrayLike, zero: int, dtype: type = np.int8) -> Value:
        both = self.factors(scale, zero, dtype)
        stored = self.node("QuantizeLinear", [value, *both])
        return self.node("DequantizeLinear", [stored, *both])

    def weight(self, shape: tuple[int, ...], axis: int | None, folded: bool, unsigned: bool) -> Value:
        """An int8 or uint8 weight in one of four forms; the zero point stands for 0 either way."""
        dtype, zero = (np.uint8, 128) if unsigned else (np.int8, 0)
        scale = 0.01 + 0.02 * self.random.random(() if axis is None else shape[axis])
        both = self.factors(scale, zero, dtype)
        where = {} if axis is None else {"axis": axis}
        if folded:
            integers = self.random.integers(-128, 128, shape) + zero
            stored = self.graph.constant(integers.astype(dtype), "weight_quantized")
        else:
            floats = self.graph.constant(self.random.standard_normal(shape).astype(np.float32), "weight")
            stored = self.node("QuantizeLinear", [floats, *both], **where)
        return self.node("DequantizeLinear", [stored, *both], **where)

    def bias(self, scale: npt.NDArray[np.float32] | None, size: int) -> Value:
        """A float bias, or int32 of the given scales."""
        if scale is None:
            return self.graph.constant(self.random.standard_normal(size).astype(np.float32), "bias")
        integers = self.random.integers(-(2**20), 2**20, size).astype(np.int32)
        stored = self.graph.constant(integers, "bias_quantized")
        scales = np.broadcast_to(scale, size).astype(np.float32)
        return self.node("DequantizeLinear", [stored, *self.factors(scales, 0, np.int32)], axis=0)


def scale_of(value: Value) -> npt.NDArray[np.float32]:
    node = value.producer
    assert node is not None
    scale = node.inputs[1]
    assert scale is not None
    assert scale.constant is not None
    array: npt.NDArray[np.float32] = scale.constant.array
    return array


def imported(graph: Graph, between_floats: str = "keep") -> tuple[Graph, Context]:
    """A converted copy by the pipeline `qdq`."""
    copy, context = graph.clone(), Context(rules=TARGET.rules)
    text = TARGET.pipelines["qdq"].replace("import-qdq", f"import-qdq{{between-floats={between_floats}}}")
    PassManager(parse_pipeline(text)).run(copy, context)
    verify(copy)
    return copy, context


def difference(a: Graph, b: Graph, x: Array) -> float:
    """The largest difference of the outputs in units of the largest number."""
    expected, found = compute(a, {"x": x}), compute(b, {"x": x})
    worst = 0.0
    for name, array in expected.items():
        assert found[name].shape == array.shape
        off = np.abs(found[name].astype(np.float64) - array.astype(np.float64)).max()
        worst = max(worst, off / max(np.abs(array.astype(np.float64)).max(), 1e-30))
    return worst


def layer_model(op: str, unsigned: bool, per_channel: bool, folded: bool, integer_bias: bool) -> Builder:
    """x -> pair -> one layer, its input shared with a second pair of other factors."""
    made = Builder((5, 6) if op in ("Gemm", "MatMul") else DATA["Conv1" if op == "Conv1" else op])
    dtype, zero = (np.uint8, 100) if unsigned else (np.int8, -28)
    x = made.pair(made.x, 1 / 32, zero, dtype)
    if op == "AveragePool":
        y = made.node(op, [x], kernel_shape=(2, 2), strides=(2, 2))
    elif op in ("Gemm", "MatMul"):
        w = made.weight((3, 6) if op == "Gemm" else (6, 3), None, folded, unsigned)
        b = made.bias(scale_of(w) / 32 if integer_bias else None, 3)
        rest = {"transB": 1} if op == "Gemm" else {}
        y = made.node(op, [x, w, b] if op == "Gemm" else [x, w], **rest)
        y = y if op == "Gemm" else made.node("Add", [y, b])
    else:
        shape = {"Conv": (6, 2, 3, 3), "Conv1": (6, 4, 3), "ConvTranspose": (4, 3, 3, 3)}[op]
        axis = (1 if op == "ConvTranspose" else 0) if per_channel else None
        w = made.weight(shape, axis, folded, unsigned)
        scale = scale_of(w) / 32
        scale = np.tile(scale, 2) if op == "ConvTranspose" and per_channel else scale
        b = made.bias(scale if integer_bias else None, 6)
        how = {"group": 2, "kernel_shape": (3, 3)} if op == "ConvTranspose" else PADDED | {"group": 2}
        y = made.node(op.removesuffix("1"), [x, w, b], **({"kernel_shape": (3,)} if op == "Conv1" else how))
    made.graph.add_output(y)
    return made


def int4(values: npt.NDArray[np.int64], kind: DType = DType.I4) -> Constant:
    """A constant of 4-bit integers, two in a byte."""
    flat = (values.reshape(-1) & 15).astype(np.uint8)
    flat = np.append(flat, np.uint8(0)) if flat.size % 2 else flat
    return Constant(kind, values.shape, flat[::2] | (flat[1::2] << 4))
