"""Runs a deploy graph in integers, node by node: what the hardware computes, written down independently."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from qir.frontends.onnx import to_model
from qir.ir.graph import Graph

_LIMITS = {b"INT8": (-128, 127), b"INT16": (-32768, 32767)}


def run_deploy(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name. Quantized tensors are int64 less the zero point, as the compiler arranges it."""
    model = to_model(graph)
    opset = {o.domain: o.version for o in model.opset_import}
    values: dict[str, np.ndarray | None] = {"": None, **feeds}
    values |= {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        inputs = [values[name] for name in node.input]
        attributes = {a.name: a for a in node.attribute}
        if node.op_type == "AscendQuant":
            x = inputs[0]
            assert x is not None
            assert x.dtype == np.float32
            offset = int(attributes["offset"].f)
            steps = np.rint(x * np.float32(attributes["scale"].f)).astype(np.int64) + offset
            values[node.output[0]] = np.clip(steps, *_LIMITS[attributes["dst_type"].s]) - offset
        elif node.op_type == "AscendDequant":
            accumulator, packed = inputs
            assert accumulator is not None
            assert packed is not None
            assert (packed.dtype, attributes["dtype"].i) == (np.uint64, 0)
            scale = packed.astype(np.uint32).view(np.float32)
            if scale.size > 1:
                scale = scale.reshape(1, -1, *[1] * (accumulator.ndim - 2))
            values[node.output[0]] = accumulator.astype(np.float32) * scale
        else:
            wide = [
                i if i is None or i.dtype not in (np.int8, np.int32) else i.astype(np.int64) for i in inputs
            ]
            if node.op_type == "AveragePool":
                wide = [i if i is None else i.astype(np.float32) for i in wide]
            named = {name: i for name, i in zip(node.input, wide, strict=True) if name}
            if node.op_type == "ConvTranspose" and attributes["group"].i > 1:
                values[node.output[0]] = _grouped_conv_transpose(node, wide, opset)
            else:
                results = ReferenceEvaluator(node, opsets=opset).run(None, named)
                values.update(zip(node.output, results, strict=True))
    return {o.name: np.asarray(values[o.name]) for o in model.graph.output}


def _grouped_conv_transpose(
    node: NodeProto, inputs: list[np.ndarray | None], opset: dict[str, int]
) -> np.ndarray:
    """ONNX's reference evaluator cannot do groups: one run for each."""
    single = NodeProto()
    single.CopyFrom(node)
    groups = next(a for a in single.attribute if a.name == "group")
    count, groups.i = groups.i, 1
    x, weight, bias = (np.asarray(i) for i in inputs)
    parts = [
        ReferenceEvaluator(single, opsets=opset).run(None, dict(zip(node.input, part, strict=True)))[0]
        for part in zip(
            np.split(x, count, axis=1), np.split(weight, count), np.split(bias, count), strict=True
        )
    ]
    return np.concatenate(parts, axis=1)
