"""Digests of data: everything that a calibration sees makes another one, and nothing else."""

from __future__ import annotations

import numpy as np

import qir
from qir.runtime.data import open_data
from qir.runtime.session import Feeds
from qir.search.fingerprints import first_and_digest

GRAPH = qir.parse("""graph @two(%a: f32[N,?], %b: f32[N,?]) {
  opsets {onnx=17}
  %y = Add(%a, %b) : f32[N,?]
  return %y
}
""")
ONE, TWO = np.float32([[1, 2, 3, 4]]), np.float32([[5, 6, 7, 8]])


def digest(*feeds: Feeds) -> str:
    data = open_data(list(feeds), GRAPH)
    return first_and_digest(data, lambda fed: {}, 1)[1]


def test_names_shapes_values_and_order_of_samples_count() -> None:
    found = [
        digest({"a": ONE, "b": TWO}),
        digest({"a": TWO, "b": ONE}),
        digest({"a": ONE[:, :2], "b": np.concatenate([ONE[:, 2:], TWO], axis=1)}),
        digest({"a": ONE, "b": TWO}, {"a": TWO, "b": ONE}),
        digest({"a": TWO, "b": ONE}, {"a": ONE, "b": TWO}),
    ]
    assert len(set(found)) == len(found)


def test_the_order_of_inputs_and_the_layout_in_memory_do_not_count() -> None:
    assert digest({"b": TWO, "a": ONE}) == digest({"a": np.repeat(ONE, 2, axis=1)[:, ::2], "b": TWO})
