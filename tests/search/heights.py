"""For tuning: an evaluator that looks how high each Gemm of a chain was raised from INT8."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from chain import LAYERS, wide

from qir.search.evaluators import Evaluator
from qir.search.rungs import RUNGS
from qir.search.strategies import MetricEval

HEIGHTS = ("int8", *RUNGS)


def heights(file: str | Path) -> dict[str, str]:
    """Gemm -> the rung it is on in a fake-quant model of form `ascend`, or of the float model."""
    graph = onnx.load(file).graph
    made = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        if node.name in LAYERS:
            source = made.get(node.input[0])
            step = "" if source is None else source.op_type
            found[node.name] = {"Sub": "int8", "Cast": "float16"}.get(step, "float32")
    return {**found, **dict.fromkeys(wide(file), "int16")}


class Least(Evaluator):
    """Satisfied when layers are at least as high as they need; the metric counts those that are not."""

    def __init__(self, needed: Mapping[str, str]) -> None:
        self.needed = dict(needed)
        self._asked: list[dict[str, str]] = []

    @property
    def asked(self) -> list[dict[str, str]]:
        """The heights in each model that was evaluated, without those of layers in INT8."""
        return [{name: own for name, own in found.items() if own != "int8"} for found in self._asked]

    def evaluate(self, model_file: str) -> float:
        found = heights(model_file)
        self._asked.append(found)
        return float(
            sum(HEIGHTS.index(found[name]) < HEIGHTS.index(least) for name, least in self.needed.items())
        )

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        assert isinstance(new_metric, float)
        return new_metric == 0, new_metric

    def fingerprint(self) -> str:
        return repr(sorted(self.needed.items()))
