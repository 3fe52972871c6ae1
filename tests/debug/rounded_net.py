"""A small net with all kinds of quantizers, and what it computes, node by node with numpy rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from qir.backends.targets import target_named
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.quants import is_quant, quant_of, unquantized
from qir.ir.region import extract
from qir.ir.types import QuantParams
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline
from qir.runtime.data import open_data
from qir.runtime.session import Session
from qir.runtime.switches import Choice, Reading
from qir.runtime.weights import fake_quantize

F32 = npt.NDArray[np.float32]
SAMPLES = 3
_SHAPES = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 1, 1), "w4": (4, 4, 1, 1), "w3": (8, 5), "b3": (5,)}


def net() -> Graph:
    """Two Convs that read one tensor, their sum, a MatMul whose bias an Add carries, integers at the end."""
    random = np.random.default_rng(3)
    lines = []
    for name, shape in _SHAPES.items():
        numbers = random.normal(size=int(np.prod(shape))).astype(np.float32)
        text = ",".join(repr(float(v)) for v in numbers)
        lines.append(f"%{name} = const [{text}] : f32[{','.join(map(str, shape))}]")
    constants = "\n".join(lines)
    return parse_graph(
        f"""
        graph @net(%x: f32[N,3,8,8]) {{
          opsets {{onnx=13}}
          {constants}
          %a = Conv "first"(%x, %w1, %b1) {{kernel_shape=[3,3], pads=[1,1,1,1]}} : f32[N,4,8,8]
          %r = Relu "act"(%a) : f32[N,4,8,8]
          %c = Conv "second"(%r, %w2) {{kernel_shape=[1,1]}} : f32[N,4,8,8]
          %d = Conv "third"(%r, %w4) {{kernel_shape=[1,1]}} : f32[N,4,8,8]
          %s = Add "sum"(%c, %d) : f32[N,4,8,8]
          %m = MatMul "dense"(%s, %w3) : f32[N,4,8,5]
          %y = Add "bias"(%m, %b3) : f32[N,4,8,5]
          %i = ArgMax "best"(%y) {{axis=3}} : i64[N,4,8,1]
          return %y, %s, %i
        }}
        """,
        "test",
    )


def samples() -> dict[str, F32]:
    """Three samples."""
    random = np.random.default_rng(4)
    return {"x": random.normal(size=(SAMPLES, 3, 8, 8)).astype(np.float32)}


def closed_net() -> Graph:
    """The net, quantized by the default pipeline."""
    graph = net()
    target = target_named("ascend")
    context = Context(data=open_data(samples(), graph), rules=target.rules)
    PassManager(parse_pipeline("default", named=target.pipelines)).run(graph, context)
    return graph


def values_of(graph: Graph, choice: Choice, feeds: dict[str, F32]) -> dict[str, Any]:
    """All values of a closed graph when the readings in `choice` are rounded, by numpy, and no others."""
    values: dict[str, Any] = dict(feeds)
    for node in graph.nodes:
        if is_quant(node):
            continue
        single = extract(graph, [node], [v for v in node.outputs if v is not None])
        given: dict[str, Any] = {}
        for i, value in enumerate(node.inputs):
            assert value is not None
            plain = unquantized(value)
            array = values[plain.name] if plain.constant is None else plain.constant.array
            params = quant_of(value)
            if Reading(node.name, i) in choice:
                assert isinstance(params, QuantParams)
                array = fake_quantize(array, params)
            name = f"in{i}"
            single.nodes[0].set_input(i, single.add_input(name, plain.type))
            given[name] = array
        for value in list(single.inputs):
            if not value.is_read:
                single.erase(value)
        session = Session(single, threads=1, optimize=False)
        values.update(session.run({name: given[name] for name in session.inputs}))
    return values


def each_sample() -> list[dict[str, F32]]:
    """The samples one by one."""
    array = samples()["x"]
    return [{"x": array[i : i + 1]} for i in range(SAMPLES)]
