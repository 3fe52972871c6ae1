"""Round trips of ONNX models through the IR, and runs in ONNX Runtime to compare them to the bit."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase

from qir.frontends.onnx import read_model, to_model
from qir.ir.constant import Constant
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.verify import verify
from qir.ir.walk import walk_graphs

_SILENT = 4


def constants_of(graph: Graph) -> dict[str, Constant]:
    """All constants that the text of a graph may name, by digest."""
    found = [v.constant for each in walk_graphs(graph) for v in each.constants if v.constant is not None]
    for each in walk_graphs(graph):
        for item in (a for node in each.nodes for a in node.attributes.values()):
            found += [x for x in (item if isinstance(item, tuple) else (item,)) if isinstance(x, Constant)]
    return {constant.digest: constant for constant in found}


def through_text(graph: Graph) -> Graph:
    """The graph printed and parsed again."""
    text = str(graph)
    parsed = parse_graph(text, constants_of(graph))
    assert str(parsed) == text
    return parsed


def round_trip(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model read, printed, parsed and written again; what is written passes ONNX's own checker."""
    read = read_model(model)
    verify(read)
    written = to_model(through_text(read))
    onnx.checker.check_model(written)
    return written


@cache
def node_cases() -> tuple[TestCase, ...]:
    """All node cases, sorted by name; they are generated, which takes seconds."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(sorted(collect_testcases(None), key=lambda case: str(case.name)))


def load(model: onnx.ModelProto, optimize: bool = False) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    data = model.SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def feed_of(item: object, kind: onnx.TypeProto) -> object:
    """An input of a test case as ONNX Runtime's Python API takes it."""
    if isinstance(item, onnx.TensorProto):
        item = numpy_helper.to_array(item)
    if isinstance(item, onnx.SequenceProto):
        item = numpy_helper.to_list(item)
    if isinstance(item, onnx.OptionalProto):
        item = numpy_helper.to_optional(item)
    if isinstance(item, np.generic):
        item = np.asarray(item)
    if isinstance(item, np.ndarray) and item.dtype.type.__module__ == "ml_dtypes":  # numpy has no such type
        raw = np.ascontiguousarray(item).view(f"u{item.dtype.itemsize}")
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, kind.tensor_type.elem_type)
    return item


def run(session: ort.InferenceSession, model: onnx.ModelProto, inputs: Sequence[object]) -> list[Any]:
    """All outputs of one run."""
    weights = {t.name for t in model.graph.initializer}
    infos = [v for v in model.graph.input if v.name not in weights or len(inputs) == len(model.graph.input)]
    feeds = {v.name: feed_of(x, v.type) for v, x in zip(infos, inputs, strict=True)}
    options = ort.RunOptions()
    options.log_severity_level = _SILENT
    if any(isinstance(x, ort.OrtValue) for x in feeds.values()):
        values = {k: x if isinstance(x, ort.OrtValue) else _value(x) for k, x in feeds.items()}
        return [_bytes(x) for x in session.run_with_ort_values(None, values, options)]
    return list(session.run(None, feeds, options))


def _value(item: object) -> ort.OrtValue:
    assert isinstance(item, np.ndarray)
    return ort.OrtValue.ortvalue_from_numpy(item)


def _bytes(value: ort.OrtValue) -> tuple[str, list[int], object]:
    try:
        return value.data_type(), value.shape(), value.numpy()
    except RuntimeError:  # a type that numpy lacks
        import ctypes

        size = value.tensor_size_in_bytes()
        return (
            value.data_type(),
            value.shape(),
            np.frombuffer(ctypes.string_at(value.data_ptr(), size), np.uint8),
        )


def same(a: object, b: object) -> bool:
    """Equal to the bit, NaN included; sequences, maps and absent values too."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return a.tolist() == b.tolist() if a.dtype.kind in "OUS" else a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def outputs(model: onnx.ModelProto, *inputs: object, optimize: bool = False) -> list[Any]:
    """All outputs of a model for its inputs in order."""
    return run(load(model, optimize), model, inputs)
