"""A chain of Gemms, an evaluator that looks which of them are quantized, and a ranking made up for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx.numpy_helper import to_array

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.ir.types import tensor
from qir.runtime.progress import Progress
from qir.runtime.units import CalibrationData
from qir.search.evaluators import Evaluator
from qir.search.ranking import Ranking
from qir.search.strategies import MetricEval

LAYERS = tuple(f"g{i}" for i in range(6))


def chain(seed: int = 0) -> Graph:
    """x [N,8] -> g0 -> Relu -> g1 -> ... -> g5 -> y."""
    draw = np.random.default_rng(seed)
    graph = Graph("chain", {"": 17})
    value = graph.add_input("x", tensor(DType.F32, ["N", 8]))
    for name in LAYERS:
        weight = graph.constant(draw.normal(size=(8, 8)).astype(np.float32), f"{name}.w")
        bias = graph.constant(draw.normal(size=8).astype(np.float32), f"{name}.b")
        value = graph.add("Gemm", [value, weight, bias], outputs=[f"{name}.y"], name=name).output
        value = graph.add("Relu", [value], outputs=[f"{name}.r"], name=f"{name}.relu").output
    graph.add_output(value)
    return graph


def samples(count: int = 4, seed: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)}


def floats(file: str | Path) -> set[str]:
    """The Gemms of a model file that read floats."""
    quantized = _quantized(Path(file))
    return {name for name in LAYERS if name not in quantized}


def wide(file: str | Path) -> set[str]:
    """The Gemms of a model file that read INT16."""
    return {name for name, largest in _quantized(Path(file)).items() if largest == 32767}


def _quantized(file: Path) -> dict[str, float]:
    """Gemm -> the largest integer of its input: Mul, Round, Add, Clip, Sub in front of it quantize."""
    graph = onnx.load(file).graph
    made = {name: node for node in graph.node for name in node.output}
    numbers = {tensor.name: float(to_array(tensor).max()) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            numbers[node.output[0]] = float(to_array(node.attribute[0].t).max())
    found = {}
    for node in graph.node:
        source = made.get(node.input[0]) if node.op_type == "Gemm" else None
        if source is not None and source.op_type == "Sub":
            found[node.name] = numbers[made[source.input[0]].input[2]]
    return found


class Counting(Evaluator):
    """Satisfied when `needed` are in float; the metric is the number of needed layers that are not."""

    def __init__(self, needed: set[str], metric: Callable[[int], object] = float) -> None:
        self.needed = sorted(needed)
        self.metric = metric
        self._asked: list[set[str]] = []

    @property
    def asked(self) -> list[set[str]]:
        return self._asked

    def evaluate(self, model_file: str) -> object:
        self._asked.append(floats(model_file))
        return self.metric(len(set(self.needed) - floats(model_file)))

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        loss = float(np.asarray(new_metric).sum())
        return loss == 0, loss

    def fingerprint(self) -> str:
        return ",".join(self.needed)


def in_order(graph: Graph, data: CalibrationData, progress: Progress) -> Ranking:
    """g0 is the most sensitive layer."""
    return Ranking({node.name: LAYERS.index(node.name) / 10 for node in quantized_layers(graph)})
