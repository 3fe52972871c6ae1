"""How fast does a deploy graph run on the CPU, and why are its integers summed in float32?

    python -m benchmarks.deploy [--repeat 9] [--batch 10] [--threads 2]

First table: EfficientNet-Lite0 quantized by qir, run by `qir.DeploySession`, beside the float model in ONNX
Runtime (optimized) and the fake-quant model. All are timed in turns in one process; a time is the median, the
ratio the median of the ratios of each round to the float model in the same round.

Further tables: single layers of that network on int8 data, summed by ConvInteger and by a float32 Conv, which
is exact too (every sum stays below 2^24).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import qir
from benchmarks.assets import case_path, evaluation, session_runner
from benchmarks.tables import markdown

CASE, MODEL, INPUT = "efficientnet_lite0", "efficientnet_lite0_bn_op17.onnx", "input"
CALIBRATION = 20
FLOAT, DEPLOY, WRITTEN, FAKE = (
    "float model",
    "DeploySession",
    "DeploySession, optimize=False",
    "fake-quant model",
)
LAYERS: Mapping[str, tuple[int, int, int, int]] = {
    "depthwise 3x3, 96 channels, 112x112": (96, 96, 3, 112),
    "depthwise 5x5, 672 channels, 14x14": (672, 672, 5, 14),
    "pointwise 16 to 96 channels, 112x112": (16, 96, 1, 112),
    "pointwise 672 to 112 channels, 14x14": (672, 112, 1, 14),
}
"""Input channels, output channels, kernel, size; depthwise where the kernel is larger than 1."""

Times = Mapping[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description="speed of deploy graphs on the CPU")
    parser.add_argument("--repeat", type=int, default=9, help="rounds")
    parser.add_argument("--batch", type=int, default=10, help="images in a run")
    parser.add_argument("--threads", type=int, default=2, help="threads of ONNX Runtime")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qir-deploy-") as made:
        jobs = network(Path(made), options.batch, options.threads)
        print(table("EfficientNet-Lite0", FLOAT, timed(jobs, options.repeat)), end="\n\n")
    for name, shape in LAYERS.items():
        jobs = layer(*shape, options.batch, options.threads)
        print(table(name, "float32 Conv", timed(jobs, options.repeat)), end="\n\n")


def network(folder: Path, batch: int, threads: int) -> Mapping[str, Callable[[], object]]:
    """The jobs of the first table; the outputs of the two deploy sessions are compared before."""
    module = evaluation(CASE)
    images = module.images()
    samples = module.prep(images[module.calib_ids(len(images), CALIBRATION)])
    model = case_path(CASE, MODEL)
    paths = qir.quantize(model, {INPUT: samples}, output=folder / "net").paths
    assert paths is not None
    feeds = {INPUT: samples[:batch]}
    plain, fake = session_runner(model, threads), session_runner(paths.fake_quant_model, threads)
    fast = qir.DeploySession(paths.deploy_model, threads=threads)
    written = qir.DeploySession(paths.deploy_model, threads=threads, optimize=False)
    methods = [each.method for each in fast.layers]
    counts = ", ".join(f"{methods.count(method)} on {method}" for method in sorted(set(methods)))
    moved = np.abs(fast.run(None, feeds)[0] - written.run(None, feeds)[0]).max()
    print(f"{len(methods)} integer layers, {counts}; optimizing moves the logits by {moved:.1e}\n")
    return {
        FLOAT: lambda: plain(feeds),
        DEPLOY: lambda: fast.run(None, feeds),
        WRITTEN: lambda: written.run(None, feeds),
        FAKE: lambda: fake(feeds),
    }


def layer(
    inputs: int, outputs: int, kernel: int, size: int, batch: int, threads: int
) -> Mapping[str, Callable[[], object]]:
    """The jobs of a further table; their results are compared before."""
    groups = inputs if kernel > 1 else 1
    random = np.random.default_rng(0)
    x = random.integers(-128, 128, (batch, inputs, size, size)).astype(np.int8)
    weight = random.integers(-127, 128, (outputs, inputs // groups, kernel, kernel)).astype(np.int8)
    given = {"group": groups, "pads": [kernel // 2] * 4}
    zero = numpy_helper.from_array(np.int8(0), "zero")
    integer = helper.make_node("ConvInteger", ["x", "w", "zero", "zero"], ["y"], **given)
    plain = helper.make_node("Conv", ["x", "w"], ["y"], **given)
    runs = {
        "float32 Conv": run_of(plain, x.astype(np.float32), weight.astype(np.float32), [], threads),
        "ConvInteger": run_of(integer, x, weight, [zero], threads),
    }
    exact, found = runs["ConvInteger"](), runs["float32 Conv"]()
    assert np.array_equal(exact, found)
    return runs


def run_of(
    node: object,
    x: npt.NDArray[np.generic],
    weight: npt.NDArray[np.generic],
    others: Sequence[TensorProto],
    threads: int,
) -> Callable[[], npt.NDArray[np.generic]]:
    """A function that runs one node."""
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    result = TensorProto.INT32 if kind == TensorProto.INT8 else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(weight, "w"), *others],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run() -> npt.NDArray[np.generic]:
        found: npt.NDArray[np.generic] = session.run(None, {"x": x})[0]
        return found

    return run


def timed(jobs: Mapping[str, Callable[[], object]], repeat: int) -> Times:
    """Seconds of each job in each round, after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(repeat + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if number:
                times[name].append(time.perf_counter() - start)
    return times


def table(title: str, base: str, times: Times) -> str:
    rows = []
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found, times[base], strict=True)]
        rows.append([name, f"{1000 * statistics.median(found):.1f} ms", f"{statistics.median(ratios):.2f}x"])
    return markdown([title, "time", f"of {base}"], rows)


if __name__ == "__main__":
    main()
