"""What does a search for the layers that must stay in float cost, and how many does it keep there?

Real models whose INT8 form loses more than the case allows: BinarySearch, Refine and Greedy of qir, and
NNCF's quantize_with_accuracy_control with the same data, metric and limit. Run from the repository's root:

    python -m benchmarks.search [--cases superres,fastestdet] [--tools BinarySearch,nncf] [--limit 1200]

ppocr_rec is scored on every third image. NNCF, whose ranking asks for the metric of each sample apart, is
told of one sample and given the metric of all: ranking then takes one evaluation for each of its groups.

Evaluations are calls of the metric, of the original model and of the INT8 model included; equal models are
measured once by this script, so that only their number counts. `outside` are the seconds that are not the
metric's. `x cal` is their ratio to one calibration: the same model and data through the same pipeline,
without files, the better of two. Each search and the calibration have a process of their own, as a command
has, and importing qir (compiled, as it is when installed) and loading kernels counts in both. `warm` is the
same ratio within one process, where both have run before. Each tool writes to a folder of its own. Run it on
an idle machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.assets import Feed, case_path, evaluation, session_runner
from benchmarks.quantizers import quiet
from benchmarks.tables import markdown

BY_LAYER = "/layer"
"""Behind the name of a strategy: layers are ranked by their own outputs instead of the model's."""
TOOLS = ("BinarySearch", f"BinarySearch{BY_LAYER}", "Refine", f"Refine{BY_LAYER}", "Greedy", "nncf")

CALIBRATION = "calibration"
"""In the place of a tool: a calibration alone."""


@dataclass(frozen=True)
class Case:
    """A model of the assets, what its metric may lose, and options of its `evaluate`.

    Of its images only every so manieth is evaluated.
    """

    model: str
    max_drop: float
    options: Mapping[str, object] = field(default_factory=dict)
    every: int = 1


CASES: Mapping[str, Case] = {
    "superres": Case("superres_core_op13.onnx", 0.002),
    "fastestdet": Case("FastestDet.onnx", 0.05),
    "minilm": Case("minilm_l6_smallvocab_op17.onnx", 0.1, {"full": False}),
    "ppocr_rec": Case("ch_PP-OCRv4_rec_infer.onnx", 0.003, every=3),
}


@dataclass(frozen=True)
class Row:
    """One search: its result, seconds outside the metric, and how many calibrations a second one takes."""

    evaluations: int
    floats: int
    layers: int
    metric: float
    outside: float
    warm: float | None = None


class Metric:
    """The metric of a case as a function of a model file; knows what it has measured, and for how long."""

    def __init__(self, name: str) -> None:
        self._module, self._case = evaluation(name), CASES[name]
        self._options = dict(self._case.options)
        if self._case.every > 1:
            count = len(self._module.data()["img"])
            ids = self._module.eval_ids(count, "dev", self._module.NCAL)
            self._options["indices"] = list(ids)[:: self._case.every]
        self._known: dict[str, float] = {}
        self.calls = 0
        self.seconds = 0.0

    def __call__(self, file: str) -> float:
        self.calls += 1
        start = time.perf_counter()
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        if digest not in self._known:
            run = session_runner(file, optimize=False)
            self._known[digest] = self._module.evaluate(run, split="dev", **self._options)
        self.seconds += time.perf_counter() - start
        return self._known[digest]

    def reset(self) -> None:
        """Count from zero again; what was measured stays known."""
        self.calls, self.seconds = 0, 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="cost and result of accuracy-aware searches")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="of one search; longer ones are ended")
    parser.add_argument("--alone", metavar="TOOL", help="one search in this process; prints JSON")
    options = parser.parse_args()
    cases = options.cases.split(",")
    for name in cases:
        if name not in CASES:
            sys.exit(f"unknown case '{name}'; known: {', '.join(CASES)}")
    if options.alone is not None:
        print(json.dumps(alone(cases[0], options.alone)))
        return
    for name in cases:
        report(name, [tool for tool in TOOLS if tool in options.tools.split(",")], options.limit)


def report(name: str, tools: list[str], limit: float | None) -> None:
    """Run all tools on a case and print its table."""
    calibration = min(float((in_process(name, CALIBRATION, None) or {})["outside"]) for _ in range(2))
    found = {tool: in_process(name, tool, limit) for tool in tools}
    rows = [
        (tool, "", f"none in {limit} s", *[""] * 4) if row is None else cells(tool, Row(**row), calibration)
        for tool, row in found.items()
    ]
    print(f"\n{name}: may lose {CASES[name].max_drop}; calibration {calibration:.1f} s\n")
    header = ("tool", "evaluations", "float layers", "metric", "outside (s)", "x cal", "warm")
    print(markdown(header, rows), flush=True)


def in_process(name: str, tool: str, limit: float | None) -> dict[str, float] | None:
    """What `alone` gives in a process of its own; None when it takes more than `limit` seconds."""
    command = [sys.executable, "-m", "benchmarks.search", "--cases", name, "--alone", tool]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit, env=compiling()
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        sys.exit(f"{tool} on {name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compiling() -> dict[str, str]:
    """The environment, but for what keeps Python from leaving compiled modules for the next process."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def alone(name: str, tool: str) -> dict[str, float]:
    """One search, or a calibration, in this process."""
    import onnxruntime  # noqa: F401  (the metric needs it too: its import counts for nobody)

    feeds = evaluation(name).load("dev")[0]
    if tool == CALIBRATION:
        return {"outside": calibration_seconds(name, feeds)}
    metric = Metric(name)
    if tool == "nncf":
        with tempfile.TemporaryDirectory(prefix="qir-search-") as made, quiet():
            return asdict(nncf_row(name, feeds, metric, Path(made)))
    first = qir_row(name, feeds, metric, tool)
    again = min(qir_row(name, feeds, metric, tool).outside for _ in range(3))
    warm = again / min(calibration_seconds(name, feeds) for _ in range(3))
    return {**asdict(first), "warm": warm}


def cells(tool: str, row: Row, calibration: float) -> tuple[str, ...]:
    """A row as text."""
    layers = f"{row.floats} of {row.layers}" if row.floats >= 0 else "none found"
    warm = "" if row.warm is None else f"{row.warm:.1f}"
    ratio = f"{row.outside / calibration:.1f}"
    return tool, str(row.evaluations), layers, f"{row.metric:.4f}", f"{row.outside:.1f}", ratio, warm


def calibration_seconds(name: str, feeds: list[Feed]) -> float:
    """Seconds of one calibration: from the file of the model to the quantized graph."""
    start = time.perf_counter()
    import qir
    from qir.backends.targets import target_named
    from qir.passes.pipeline import parse_pipeline
    from qir.runtime.data import open_data

    target = target_named("ascend")
    passes = parse_pipeline("default", named=target.pipelines)
    graph = qir.load(case_path(name, CASES[name].model))
    context = qir.Context(data=open_data(feeds, graph), rules=target.rules)
    qir.PassManager(passes).run(graph, context)
    return time.perf_counter() - start


def qir_row(name: str, feeds: list[Feed], metric: Metric, tool: str) -> Row:
    """A search by a strategy of qir."""
    start = time.perf_counter()
    import qir

    case = CASES[name]
    metric.reset()
    with tempfile.TemporaryDirectory(prefix="qir-search-") as made, quiet():
        result = qir.auto_quantize(
            case_path(name, case.model), feeds, metric, output=Path(made, "m"), max_drop=case.max_drop,
            strategy=tool.removesuffix(BY_LAYER), sensitivity_mode="layer" if BY_LAYER in tool else "model",
        )  # fmt: skip
    seconds = time.perf_counter() - start
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
        start = time.perf_counter()
        onnx.save(model, path)
        metric.seconds += time.perf_counter() - start
        return metric(str(path)), None

    start = time.perf_counter()
    found = nncf.quantize_with_accuracy_control(
        onnx.load(case_path(name, case.model)),
        calibration_dataset=nncf.Dataset(feeds),
        validation_dataset=nncf.Dataset(feeds[:1]),
        validation_fn=validate,
        max_drop=case.max_drop,
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(feeds),
    )
    seconds = time.perf_counter() - start
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
