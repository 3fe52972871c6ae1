"""Sources of calibration data, for tests of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from small_graphs import images

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import tensor
from qir.runtime.data import open_data
from qir.runtime.session import Session

X = images(12)


def units_of(source: Any, graph: Graph) -> list[dict[str, np.ndarray]]:
    session = Session(graph, threads=1)
    return [unit.feeds for unit in open_data(source, graph).units(session.run)]


def two_inputs() -> Graph:
    """ids [B,L] int64 and mask [B,L] float, added up."""
    graph = Graph("net", {"": 17})
    ids = graph.add_input("ids", tensor(DType.I64, ["B", "L"]))
    mask = graph.add_input("mask", tensor(DType.F32, ["B", "L"]))
    cast = graph.add("Cast", [ids], attributes={"to": 1})
    graph.add_output(graph.add("Add", [cast.output, mask], outputs=["y"]).output)
    return graph
