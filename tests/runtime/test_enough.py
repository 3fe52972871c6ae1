"""Data of which there must be a certain number: said at once where it can be, at the end otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import qir
from qir.ir.errors import CalibrationError
from qir.runtime.data import open_data
from qir.runtime.enough import AtLeast
from qir.runtime.units import Unit

GRAPH = qir.parse("graph @g(%x: f32[N,2]) {\n opsets {onnx=17}\n %y = Relu(%x) : f32[N,2]\n return %y\n}")


def batches() -> Iterator[dict[str, np.ndarray]]:
    for size in (2, 1):
        yield {"x": np.ones((size, 2), np.float32)}


def units(source: object, needed: int) -> Iterator[Unit]:
    return AtLeast(open_data(source, GRAPH), needed).units(lambda feeds: {"y": np.maximum(feeds["x"], 0)})  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [batches, lambda: list(batches()), {"x": np.ones((3, 2), np.float32)}])
def test_enough_data_pass_unchanged(source: object) -> None:
    assert len(list(units(source, 3))) == 3
    with pytest.raises(
        CalibrationError, match="insufficient calibration data: batch_num is 4, so at least 4"
    ):
        list(units(source, 4))


def test_what_is_known_is_said_before_anything_runs() -> None:
    stream = units({"x": np.ones((3, 2), np.float32)}, 4)
    with pytest.raises(CalibrationError, match="samples are needed, and there are 3"):
        next(stream)
