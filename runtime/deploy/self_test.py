"""Tries once in a process whether ONNX Runtime sums the largest integers exactly on this processor.

Exact sums are a matter of IEEE arithmetic, but builds of ONNX Runtime may trade it for speed (bfloat16
products, say). Whoever has such a build must hear of it, and not trust results that look like any others.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import QirError
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.types import TensorType
from qir.runtime.session import Session

_OPSET = 13
_LARGEST = 255  # int8 less its zero point
_WEIGHT = 127
_PRODUCTS = 518  # 518 * 255 * 127 is just below 2^24
_WIDTH = 37  # no multiple of a vector register

F32 = npt.NDArray[np.float32]


@functools.cache
def check_arithmetic() -> None:
    """QirError when a sum just below 2^24 does not come out exactly."""
    x, weight = _extremes()
    graph = Graph("self_test", {"": _OPSET})
    flat = graph.add_input("x", TensorType(DType.F32, x.shape))
    matrix = graph.constant(weight, "matrix")
    _output(graph, graph.add("MatMul", [flat, matrix], name="matmul").output)
    _output(graph, _convolution(graph, flat, weight))
    expected = x.astype(np.int64) @ weight.astype(np.int64)
    for optimize in (True, False):
        results = Session(graph, threads=1, optimize=optimize).run({"x": x})
        for name, found in results.items():
            if not np.array_equal(found.reshape(expected.shape), expected):
                raise QirError(
                    f"this build of ONNX Runtime does not sum float32 exactly on this processor ({name}): "
                    "a deploy graph cannot be run here; install onnxruntime from PyPI"
                )


def _extremes() -> tuple[F32, F32]:
    """[rows, products] and [products, columns]: extreme values, whose sums reach both ends and cancel."""
    index = np.arange(_WIDTH * _PRODUCTS).reshape(_WIDTH, _PRODUCTS)
    x = np.where(index % (np.arange(_WIDTH)[:, None] + 2) == 0, -_LARGEST, _LARGEST)
    weight = np.where(index.T % (np.arange(_WIDTH) + 3) == 0, -_WEIGHT, _WEIGHT)
    x[0], weight[:, 0], weight[:, 1] = _LARGEST, _WEIGHT, -_WEIGHT
    return x.astype(np.float32), weight.astype(np.float32)


def _convolution(graph: Graph, flat: Value, weight: F32) -> Value:
    """The same product as a Conv of kernel 1, whose pixels are the rows."""
    shape = graph.constant(np.array([1, _WIDTH, 1, _PRODUCTS]), "shape")
    image = graph.add("Reshape", [flat, shape], name="image").output
    turned = graph.add("Transpose", [image], name="turn", attributes={"perm": (0, 3, 1, 2)}).output
    kernel = graph.constant(np.ascontiguousarray(weight.T)[:, :, None, None], "kernel")
    result = graph.add("Conv", [turned, kernel], name="conv").output
    return graph.add("Transpose", [result], name="back", attributes={"perm": (0, 2, 3, 1)}).output


def _output(graph: Graph, value: Value) -> None:
    value.type = TensorType(DType.F32)
    graph.add_output(value)
