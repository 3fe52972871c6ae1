"""Where models without float outputs are compared."""

from __future__ import annotations

import pytest

from qir.ir.parser import parse_graph
from qir.runtime.float_ends import with_float_outputs

_BODIES = {
    "floats are returned as they are": ("", "%a, %i", ["a", "i"]),
    "an index leads to what it was made of": ("", "%i", ["a"]),
    "each once, however many ways lead there": (
        '%j = ArgMin "j"(%a) : i64[N,1]\n%k = Add "k"(%i, %j) : i64[N,1]', "%j, %k", ["a"],
    ),
    "of several the nearest": (
        '%b = Neg "b"(%a) : f32[N,4]\n%j = ArgMin "j"(%b) : i64[N,1]\n%k = Add "k"(%i, %j) : i64[N,1]',
        "%k", ["a", "b"],
    ),
    "shapes say nothing of numbers": ('%s = Shape "s"(%a) : i64[2]', "%s", ["s"]),
    "nor do inputs": ('%j = ArgMin "j"(%x) : i64[N,1]', "%j", ["j"]),
    "what is unknown may be floats": ('%j = Strange "j"(%a) : -', "%j, %i", ["j", "i"]),
}  # fmt: skip


@pytest.mark.parametrize("case", _BODIES)
def test_what_is_compared(case: str) -> None:
    nodes, returned, expected = _BODIES[case]
    graph = parse_graph(
        f"""
        graph @net(%x: f32[N,4]) {{
          opsets {{onnx=13}}
          %a = Relu "a"(%x) : f32[N,4]
          %i = ArgMax "i"(%a) {{axis=1}} : i64[N,1]
          {nodes}
          return {returned}
        }}
        """,
        "test",
    )
    found = with_float_outputs(graph)
    assert [value.name for value in found.outputs] == expected
    assert {node.name for node in found.nodes} == {node.name for node in graph.nodes}
    assert [value.name for value in graph.outputs] == returned.replace("%", "").split(", ")
