"""The oracle of deploy graphs: what the hardware computes, in plain numpy, slowly, on int64.

Written down independently of qir.runtime.deploy: integers keep their zero point, are padded with it, and the
bias is corrected for it, as the Ascend compiler does (b' = b - offset * sum of w). Float ops run in ONNX's
reference evaluator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from qir.frontends.onnx import to_model
from qir.ir.graph import Graph

_LIMITS = {b"INT4": (-8, 7), b"INT8": (-128, 127), b"INT16": (-32768, 32767)}
_ROUNDINGS = {b"Round": np.rint, b"Floor": np.floor, b"Ceil": np.ceil, b"Trunc": np.trunc}
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool")


@dataclass
class Quantized:
    """Stored integers with their zero point."""

    q: np.ndarray
    offset: int


def run_deploy(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name; values named as in the graph, accumulators int64."""
    values = run_all(graph, feeds)
    return {o.name: np.asarray(_plain(values[o.name])) for o in graph.outputs}


def run_all(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """All values by name. INT4 weights must have been unpacked."""
    model = to_model(graph)
    opsets = {o.domain: o.version for o in model.opset_import}
    values: dict[str, Any] = {"": None, **feeds}
    values |= {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weight_offsets = _weight_offsets(model.graph.node, values)
    for node in model.graph.node:
        inputs = [values[name] for name in node.input]
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "AscendQuant":
            results = [_quantize(inputs[0], given)]
        elif node.op_type == "AscendDequant":
            results = [_dequantize(inputs[0], inputs[1], given)]
        elif node.op_type == "AscendAntiQuant":
            scale = np.float32(given["scale"])
            y = (inputs[0].q - inputs[0].offset).astype(np.float32) * scale
            y = y * scale if given.get("sqrt_mode", 0) else y
            results = [y.astype(np.float16) if given.get("dtype", 0) else y]
        elif node.op_type in _LAYERS and isinstance(inputs[0], Quantized):
            results = [_layer(node.op_type, inputs, given, weight_offsets.get(node.output[0]))]
        else:
            results = _other(node, inputs, opsets)
        values.update(zip(node.output, results, strict=True))
    return values


def _plain(value: Any) -> np.ndarray:
    return value.q if isinstance(value, Quantized) else value


def _weight_offsets(nodes: Any, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Zero points of weights by the name of the sums they belong to."""
    found = {}
    for node in nodes:
        if node.op_type == "AscendDequant":
            packed = values[node.input[1]]
            found[node.input[0]] = ((packed >> np.uint64(40)) & np.uint64(255)).astype(np.uint8).view(np.int8)
    return {name: offsets.astype(np.int64) for name, offsets in found.items() if offsets.any()}


def _quantize(x: np.ndarray, given: Mapping[str, Any]) -> Quantized:
    x = x.astype(np.float32) * np.float32(given["scale"])
    x = x * np.float32(given["scale"]) if given.get("sqrt_mode", 0) else x
    offset = int(given["offset"])
    rounded = _ROUNDINGS[given.get("round_mode", b"Round")](x)
    steps = np.clip(rounded, -(2**40), 2**40).astype(np.int64) + offset
    return Quantized(np.clip(steps, *_LIMITS[given.get("dst_type", b"INT8")]), offset)


def _dequantize(sums: np.ndarray, packed: np.ndarray, given: Mapping[str, Any]) -> np.ndarray:
    scale = (packed & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)
    shift = ((packed >> np.uint64(32)) & np.uint64(255)).astype(np.int64)
    if scale.size > 1:
        shape = (1, -1, *[1] * (sums.ndim - 2))
        scale, shift = scale.reshape(shape), shift.reshape(shape)
    if shift.any():
        sums = np.clip(sums >> shift, -32768, 32767)
    y = sums.astype(np.float32) * scale
    y = y * scale if given.get("sqrt_mode", 0) else y
    y = y * np.ldexp(np.float32(1), shift).astype(np.float32)
    y = np.maximum(y, np.float32(0)) if given.get("relu_flag", 0) else y
    return y.astype(np.float16) if given.get("dtype", 0) else y


def _layer(op: str, inputs: list[Any], given: Mapping[str, Any], weight_offset: np.ndarray | None) -> Any:
    x: Quantized = inputs[0]
    if op == "AveragePool":
        return _average_pool(x, given)
    weight = inputs[1].astype(np.int64)
    bias = inputs[2].astype(np.int64) if len(inputs) > 2 and inputs[2] is not None else 0
    groups = given.get("group", 1)
    if op == "Gemm" and given.get("transB", 0):
        weight = weight.T
    if weight_offset is not None:
        weight = weight - _over_channels(op, weight, weight_offset, groups)
    if op in ("Gemm", "MatMul"):
        return x.q @ weight + (bias - x.offset * weight.sum(axis=-2))
    if op == "ConvTranspose":
        centred = _conv_transpose(x.q - x.offset, weight, given)
        return centred + np.reshape(bias, (1, -1, *[1] * (weight.ndim - 2)))
    corrected = bias - x.offset * weight.sum(axis=tuple(range(1, weight.ndim)))
    return _conv(x.q, weight, given, x.offset) + corrected.reshape(1, -1, *[1] * (weight.ndim - 2))


def _over_channels(op: str, weight: np.ndarray, offset: np.ndarray, groups: int) -> np.ndarray:
    """The zero points shaped as the weight's output channels."""
    if offset.size == 1 or op == "Gemm":
        return offset
    if op == "Conv":
        return offset.reshape(-1, *[1] * (weight.ndim - 1))
    blocks = offset.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    full = np.broadcast_to(blocks, (groups, weight.shape[0] // groups, *blocks.shape[2:]))
    return full.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))


def _window(x: np.ndarray, kernel: tuple[int, ...], given: Mapping[str, Any], fill: int) -> Any:
    """Padded data, strides, dilations and output size of a sliding window."""
    rank = len(kernel)
    strides = given.get("strides", [1] * rank)
    dilations = given.get("dilations", [1] * rank)
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    pads = list(given.get("pads", [0] * 2 * rank))
    mode = given.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        for i, size in enumerate(x.shape[2:]):
            total = max((-(-size // strides[i]) - 1) * strides[i] + extent[i] - size, 0)
            small, large = total // 2, total - total // 2
            pads[i], pads[i + rank] = (small, large) if mode == b"SAME_UPPER" else (large, small)
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    padded = np.pad(x, widths, constant_values=fill)
    size = [(n - e) // s + 1 for n, e, s in zip(padded.shape[2:], extent, strides, strict=True)]
    return padded, strides, dilations, size


def _taps(padded: np.ndarray, kernel: tuple[int, ...], strides: Any, dilations: Any, size: Any) -> Any:
    """For each position in the kernel, what it sees of the data, [N, C, *size]."""
    for position in np.ndindex(*kernel):
        starts = [p * d for p, d in zip(position, dilations, strict=True)]
        window = [slice(b, b + s * (n - 1) + 1, s) for b, s, n in zip(starts, strides, size, strict=True)]
        yield position, padded[(slice(None), slice(None), *window)]


def _conv(x: np.ndarray, weight: np.ndarray, given: Mapping[str, Any], fill: int) -> np.ndarray:
    groups, kernel = given.get("group", 1), weight.shape[2:]
    padded, strides, dilations, size = _window(x, kernel, given, fill)
    result = np.zeros((x.shape[0], weight.shape[0], *size), np.int64)
    outs, ins = weight.shape[0] // groups, weight.shape[1]
    for position, seen in _taps(padded, kernel, strides, dilations, size):
        for g in range(groups):
            part = weight[(slice(g * outs, (g + 1) * outs), slice(None), *position)]
            result[:, g * outs : (g + 1) * outs] += np.einsum(
                "nc...,oc->no...", seen[:, g * ins : (g + 1) * ins], part
            )
    return result


def _conv_transpose(x: np.ndarray, weight: np.ndarray, given: Mapping[str, Any]) -> np.ndarray:
    groups, kernel, rank = given.get("group", 1), weight.shape[2:], weight.ndim - 2
    strides, dilations = given.get("strides", [1] * rank), given.get("dilations", [1] * rank)
    extra, pads = given.get("output_padding", [0] * rank), given.get("pads", [0] * 2 * rank)
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(x.shape[2:], strides, dilations, kernel, extra, strict=True)
    ]
    outs, ins = weight.shape[1], weight.shape[0] // groups
    result = np.zeros((x.shape[0], outs * groups, *full), np.int64)
    for position, seen in _taps(result, kernel, dilations=dilations, strides=strides, size=x.shape[2:]):
        for g in range(groups):
            part = weight[(slice(g * ins, (g + 1) * ins), slice(None), *position)]
            seen[:, g * outs : (g + 1) * outs] += np.einsum(
                "nc...,co->no...", x[:, g * ins : (g + 1) * ins], part
            )
    crop = [slice(a, n - b) for a, b, n in zip(pads[:rank], pads[rank:], full, strict=True)]
    return result[(slice(None), slice(None), *crop)]


def _average_pool(x: Quantized, given: Mapping[str, Any]) -> np.ndarray:
    """Exact sums divided once, in float32."""
    kernel = tuple(given["kernel_shape"])
    padded, strides, dilations, size = _window(x.q - x.offset, kernel, given, 0)
    counted, *_ = _window(np.ones_like(x.q), kernel, given, 1 if given.get("count_include_pad", 0) else 0)
    sums = sum(seen for _, seen in _taps(padded, kernel, strides, dilations, size))
    counts = sum(seen for _, seen in _taps(counted, kernel, strides, dilations, size))
    return np.asarray(sums, np.float32) / np.asarray(counts, np.float32)


def _other(node: NodeProto, inputs: list[Any], opsets: dict[str, int]) -> list[Any]:
    """A float op, or one that moves integers or adds the int32 bias of a MatMul."""
    moved = next((i for i in inputs if isinstance(i, Quantized)), None)
    plain = [i.q - i.offset if isinstance(i, Quantized) else i for i in inputs]
    plain = [i.astype(np.int64) if i is not None and i.dtype in (np.int8, np.int32) else i for i in plain]
    if node.op_type == "MaxPool":
        plain = [i.astype(np.float32) for i in plain]  # the evaluator pads with NaN
    named = {name: i for name, i in zip(node.input, plain, strict=True) if name}
    results = ReferenceEvaluator(node, opsets=opsets).run(None, named)
    if moved is None:
        return list(results)
    return [Quantized(r.astype(np.int64) + moved.offset, moved.offset) for r in results]
