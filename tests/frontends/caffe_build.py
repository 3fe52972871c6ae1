"""Caffe nets for tests: caffemodels written byte by byte, runs in ONNX Runtime and in OpenCV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from qir.frontends.caffe.caffemodel import parse_weights
from qir.frontends.caffe.prototxt import parse_net
from qir.frontends.caffe.reader import build_graph
from qir.frontends.onnx import infer_types, to_model
from qir.ir.graph import Graph
from qir.ir.verify import verify

Array = npt.NDArray[Any]
Weights = Mapping[str, Sequence[Array]]


def _varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


def field(number: int, data: bytes) -> bytes:
    """A field of protobuf that holds bytes: text, a message, packed numbers."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def integer(number: int, value: int) -> bytes:
    """A field of protobuf that holds an integer."""
    return _varint(number << 3) + _varint(value)


def blob(array: Array, *, legacy: bool = False, double: bool = False) -> bytes:
    """A BlobProto; `legacy` says its shape by num, channels, height, width."""
    if legacy:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(integer(i, size) for i, size in enumerate(sizes, 1))
    else:
        shape = field(7, field(1, b"".join(map(_varint, array.shape))))
    kind, number = ("<f8", 8) if double else ("<f4", 5)
    return shape + field(number, np.ascontiguousarray(array, kind).tobytes())


def caffemodel(weights: Weights, *, form: str = "layer") -> bytes:
    """A NetParameter with `layer`, `layers` (V1), or V0 layers inside of those; it has unknown fields."""
    found = field(1, b"net") + integer(5, 1)
    for name, arrays in weights.items():
        blobs = [blob(np.asarray(a), legacy=form != "layer") for a in arrays]
        if form == "layer":
            body = field(1, name.encode()) + field(2, b"Any") + b"".join(field(7, b) for b in blobs)
            found += field(100, body + field(143, b"\x0a\x00") + integer(999, 3))
        elif form == "layers":
            found += field(2, field(4, name.encode()) + integer(5, 4) + b"".join(field(6, b) for b in blobs))
        else:
            inner = field(1, name.encode()) + b"".join(field(50, b) for b in blobs)
            found += field(2, field(1, inner))
    return found


def input_layer(name: str, shape: Sequence[int]) -> str:
    """The text of an Input layer."""
    dims = " ".join(f"dim: {d}" for d in shape)
    top = f'name: "{name}" type: "Input" top: "{name}"'
    return f"layer {{ {top} input_param {{ shape {{ {dims} }} }} }}\n"


def net(inputs: Mapping[str, Sequence[int]], body: str) -> str:
    """The text of a net with these inputs."""
    return "".join(input_layer(name, shape) for name, shape in inputs.items()) + body


def read(text: str, weights: Weights | None = None) -> Graph:
    """The graph of a net, verified, with shapes that onnx's own inference agrees to."""
    data = None if weights is None else parse_weights(caffemodel(weights)) if weights else {}
    graph = build_graph(parse_net(text, "net.prototxt"), data)
    verify(graph)
    infer_types(graph)
    verify(graph)
    return graph


def run(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs by name of ONNX Runtime, which must have the shapes that the graph states."""
    session = ort.InferenceSession(to_model(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, dict(feeds)), strict=True))
    for value in graph.outputs:
        stated = value.tensor.shape
        assert stated is not None
        assert len(stated) == found[value.name].ndim, value.name
        for a, b in zip(stated, found[value.name].shape, strict=True):
            assert not isinstance(a, int) or a == b, (value.name, stated, found[value.name].shape)
    return found


def run_opencv(
    text: str, weights: Weights, feeds: Mapping[str, Array], names: Sequence[str] = ()
) -> list[Array]:
    """What OpenCV makes of the same files: the results of layers `names`, or of the last one."""
    import cv2

    model = caffemodel(weights) or b"\x0a\x00"
    opencv = cv2.dnn.readNetFromCaffe(np.frombuffer(text.encode(), np.uint8), np.frombuffer(model, np.uint8))
    for name, data in feeds.items():
        opencv.setInput(data, name)
    if names:
        return [np.array(found) for found in opencv.forward(list(names))]
    return [np.array(opencv.forward())]
