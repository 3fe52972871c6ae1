"""How good are the weight scales: the range (arq), the least squared error (mse) or the KL divergence (kl)?

For each case the metric of the float model, and of models whose weights have 8, 6 and 4 bits with scales by
each method; all layers get the width, whether the target has it or not, and inputs have 8 bits by default
calibration. Beside it the squared error of all weights, as a part of arq's, and the seconds that the search
takes over the whole model. Models are written in form qdq and run without ONNX Runtime's int8 kernels. Run
from the repository's root:

    python -m benchmarks.weights [--only ppocr_rec,minilm] [--bits 8,6,4]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.cases import Case, score_text, selected
from benchmarks.tables import markdown
from qir import load
from qir.backends.ascend.rules import RULES
from qir.backends.fake_quant import lower
from qir.backends.targets import ASCEND
from qir.frontends.onnx import save_model
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.passes.weight_scales import open_weight_spec
from qir.runtime.data import open_data
from qir.runtime.weights import fake_quantize

CASES = "efficientnet_lite0,ppocr_rec,fastestdet,minilm,superres"
METHODS = ("arq", "mse", "kl")
TYPES = {4: DType.I4, 5: DType.I5, 6: DType.I6, 7: DType.I7, 8: DType.I8}


class Found(NamedTuple):
    """Metric of a model, squared error of its weights, seconds of the search."""

    score: float
    error: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description="methods for weight scales on real models")
    parser.add_argument("--only", default=CASES, help="comma-separated cases or beginnings of their names")
    parser.add_argument("--bits", default="8,6,4", help="widths of weights, 4 to 8")
    options = parser.parse_args()
    rows = []
    for case in selected(options.only):
        print(f"{case.name} …", file=sys.stderr)
        calibrated = calibrated_graph(case)
        exact = score_text(case.score(case.model))
        for bits in map(int, options.bits.split(",")):
            found = [measure(case, calibrated, bits, method) for method in METHODS]
            rows.append(row(case, exact, bits, found))
    ratios = [f"error {method} / arq" for method in METHODS[1:]]
    header = ["case", "metric", "FP32", "bits", *METHODS, *ratios, "seconds (in order)"]
    print(markdown(header, rows, left=2))


def row(case: Case, exact: str, bits: int, found: Sequence[Found]) -> list[str]:
    scores = [score_text(each.score) for each in found]
    ratios = [f"{each.error / found[0].error:.2f}" for each in found[1:]]
    seconds = " / ".join(f"{each.seconds:.2f}" for each in found)
    return [case.name, case.metric, exact, str(bits), *scores, *ratios, seconds]


def calibrated_graph(case: Case) -> Graph:
    """The float model with quants; those of weights and biases are open."""
    graph = load(case.model)
    text = ASCEND.pipelines["default"].replace("quantize-weights,", "").replace(",quantize-bias", "")
    PassManager(text).run(graph, Context(rules=RULES, data=open_data(case.feeds(), graph)))
    return graph


def measure(case: Case, calibrated: Graph, bits: int, method: str) -> Found:
    """Quantize the weights of a copy, and score it."""
    graph = calibrated.clone()
    quants = [node for node in graph.nodes if open_weight_spec(node) is not None]
    for node in quants:
        spec = node.output.tensor.quant
        assert isinstance(spec, QuantSpec)
        node.output.type = node.output.tensor.with_quant(replace(spec, qtype=TYPES[bits]))
    context = Context(rules=RULES)
    start = time.perf_counter()
    PassManager(f"quantize-weights{{method={method}}}").run(graph, context)
    seconds = time.perf_counter() - start
    error = sum(map(squared_error, quants))
    PassManager("quantize-bias").run(graph, context)
    with tempfile.TemporaryDirectory(prefix="qir-weights-") as made:
        path = Path(made, "model.onnx")
        save_model(lower(graph, "qdq"), path)
        return Found(case.score(path), error, seconds)


def squared_error(quant: Node) -> float:
    source, params = quant.inputs[0], quant.output.tensor.quant
    assert source is not None
    assert source.constant is not None
    assert isinstance(params, QuantParams)
    weights = source.constant.array
    return float(((fake_quantize(weights, params).astype(np.float64) - weights) ** 2).sum())


if __name__ == "__main__":
    main()
