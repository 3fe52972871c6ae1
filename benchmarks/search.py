"""What does a search for the layers that must stay in float cost, and how many does it keep there?

Real models whose INT8 form loses more than the case allows: BinarySearch, Refine and Greedy of qir, and
NNCF's quantize_with_accuracy_control with the same data, metric and limit. Run from the repository's root:

    python -m benchmarks.search [--cases superres,fastestdet] [--tools BinarySearch,nncf] [--cpu]

Evaluations are calls of the metric, of the original model and of the INT8 model included; equal models are
measured once by this script, so that only their number counts. `outside` are the seconds that are not the
metric's, and `x cal` is their ratio to one calibration: the same model loaded and run through the pipeline
with the same data, without files, in the same process just before. `--cpu` counts processor time, for
machines that do other things too. Each tool writes to a folder of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.assets import Feed, case_path, evaluation, session_runner
from benchmarks.quantizers import quiet
from benchmarks.tables import markdown

BY_LAYER = "/layer"
"""Behind the name of a strategy: layers are ranked by their own outputs instead of the model's."""
TOOLS = ("BinarySearch", f"BinarySearch{BY_LAYER}", "Refine", f"Refine{BY_LAYER}", "Greedy", "nncf")

Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """A model of the assets, what its metric may lose, and options of its `evaluate`."""

    model: str
    max_drop: float
    options: Mapping[str, object] = field(default_factory=dict)


CASES: Mapping[str, Case] = {
    "superres": Case("superres_core_op13.onnx", 0.2),
    "fastestdet": Case("FastestDet.onnx", 0.05),
    "minilm": Case("minilm_l6_smallvocab_op17.onnx", 0.1, {"full": False}),
    "ppocr_rec": Case("ch_PP-OCRv4_rec_infer.onnx", 0.01),
}


@dataclass(frozen=True)
class Row:
    """One search: its result, or why there is none."""

    evaluations: int
    floats: int
    layers: int
    metric: float
    outside: float


class Metric:
    """The metric of a case as a function of a model file; knows what it has measured, and for how long."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._module, self._case = evaluation(name), CASES[name]
        self._known: dict[str, float] = {}
        self.clock = clock
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, file: str) -> float:
        self.calls += 1
        start = self.clock()
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        if digest not in self._known:
            run = session_runner(file, optimize=False)
            self._known[digest] = self._module.evaluate(run, split="dev", **self._case.options)
        self.seconds += self.clock() - start
        return self._known[digest]

    def reset(self) -> None:
        """Count from zero again; what was measured stays known."""
        self.calls, self.seconds = 0, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="cost and result of accuracy-aware searches")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--cpu", action="store_true", help="processor time instead of time that passes")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    for name in options.cases.split(","):
        if name not in CASES:
            sys.exit(f"unknown case '{name}'; known: {', '.join(CASES)}")
        report(name, [tool for tool in TOOLS if tool in options.tools.split(",")], clock)


def report(name: str, tools: list[str], clock: Clock) -> None:
    """Run all tools on a case and print its table."""
    feeds = evaluation(name).load("dev")[0]
    metric = Metric(name, clock)
    original = metric(str(case_path(name, CASES[name].model)))
    calibration = calibration_seconds(name, feeds, clock)
    rows = []
    for tool in tools:
        metric.reset()
        with tempfile.TemporaryDirectory(prefix="qir-search-") as made, quiet():
            if tool == "nncf":
                row = nncf_row(name, feeds, metric, Path(made))
            else:
                row = qir_row(name, feeds, metric, Path(made), tool)
        rows.append(cells(tool, row, calibration))
    limit = CASES[name].max_drop
    print(f"\n{name}: original {original:.4f}, may lose {limit}; calibration {calibration:.1f} s\n")
    header = ("tool", "evaluations", "float layers", "metric", "outside (s)", "x cal")
    print(markdown(header, rows), flush=True)


def cells(tool: str, row: Row, calibration: float) -> tuple[str, ...]:
    """A row as text."""
    layers = f"{row.floats} of {row.layers}" if row.floats >= 0 else "none found"
    ratio = f"{row.outside / calibration:.2f}"
    return tool, str(row.evaluations), layers, f"{row.metric:.4f}", f"{row.outside:.1f}", ratio


def calibration_seconds(name: str, feeds: list[Feed], clock: Clock) -> float:
    """Seconds of one calibration: from the file of the model to the quantized graph."""
    import qir
    from qir.backends.targets import target_named
    from qir.passes.pipeline import parse_pipeline
    from qir.runtime.data import open_data

    target = target_named("ascend")
    passes = parse_pipeline("default", named=target.pipelines)
    seconds = []
    for _ in range(2):  # the first one compiles kernels
        start = clock()
        graph = qir.load(case_path(name, CASES[name].model))
        context = qir.Context(data=open_data(feeds, graph), rules=target.rules)
        qir.PassManager(passes).run(graph, context)
        seconds.append(clock() - start)
    return min(seconds)


def qir_row(name: str, feeds: list[Feed], metric: Metric, folder: Path, tool: str) -> Row:
    """A search by a strategy of qir."""
    import qir

    case = CASES[name]
    start = metric.clock()
    model = case_path(name, case.model)
    result = qir.auto_quantize(
        model, feeds, metric, output=folder / "m", max_drop=case.max_drop,
        strategy=tool.removesuffix(BY_LAYER), sensitivity_mode="layer" if BY_LAYER in tool else "model",
    )  # fmt: skip
    seconds = metric.clock() - start
    best = result.best
    assert best is not None
    floats = best.floats if result.reached else -1
    assert isinstance(best.metric, float)
    return Row(metric.calls, floats, best.total, best.metric, seconds - metric.seconds)


def nncf_row(name: str, feeds: list[Feed], metric: Metric, folder: Path) -> Row:
    """NNCF's search; layers are the operations with weights, as it reverts them."""
    import nncf
    import onnx

    case = CASES[name]

    def validate(model: onnx.ModelProto, _: object) -> tuple[float, None]:
        path = folder / f"{metric.calls}.onnx"
        start = metric.clock()
        onnx.save(model, path)
        metric.seconds += metric.clock() - start
        return metric(str(path)), None

    start = metric.clock()
    found = nncf.quantize_with_accuracy_control(
        onnx.load(case_path(name, case.model)),
        calibration_dataset=nncf.Dataset(feeds),
        validation_dataset=nncf.Dataset(feeds),
        validation_fn=validate,
        max_drop=case.max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(feeds),
    )
    seconds = metric.clock() - start
    calls, spent = metric.calls, metric.seconds
    value, _ = validate(found, None)
    floats, layers = float_layers(found)
    return Row(calls, floats, layers, value, seconds - spent)


def float_layers(model: object) -> tuple[int, int]:
    """Of the Conv, ConvTranspose, Gemm and MatMul with constant weights: how many read floats, and all."""
    graph = model.graph  # type: ignore[attr-defined]
    made = {name: node.op_type for node in graph.node for name in node.output}
    constant = {tensor.name for tensor in graph.initializer}
    constant |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    weighted = [
        node
        for node in graph.node
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        and (node.input[1] in constant or made.get(node.input[1]) == "DequantizeLinear")
    ]
    floats = [node for node in weighted if made.get(node.input[0]) != "DequantizeLinear"]
    return len(floats), len(weighted)


if __name__ == "__main__":
    main()
