"""How fast are the kernels, compared with moving the same memory?

Fake quantization, range and histogram of 32 M floats, one thread each, against a plain numba copy of the same
array, numpy, and ONNX Runtime's QuantizeLinear/DequantizeLinear pair. Run from the repository's root:

    python -m benchmarks.kernels [--millions 32] [--rounds 7]

Time is processor time of the thread. All contenders take turns, round by round, and the best time of each
counts, so that other load on the machine hits them alike. `of copy` is the time of the copy divided by that
of the contender.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import numba
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from benchmarks.tables import markdown
from qir.ir.dtypes import DType
from qir.runtime.kernels import binning, fake_quantize, finite_range, reference, rounding
from qir.runtime.kernels.ranges import ALL_FINITE, finite_range_counted
from qir.runtime.statistics import TensorStatistics

Floats = npt.NDArray[np.float32]
Contender = Callable[[], object]

SCALE, ZERO_POINT = 0.03, 3
CHANNELS = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=int, default=32, help="elements, in units of 2^20")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    count = options.millions << 20
    for title, contenders in (
        ("fake quantization, int8", fake_quantization(count)),
        ("range and histogram", histograms(count)),
        ("IFMR search, 60 candidates", searches()),
    ):
        times = measure(contenders, options.rounds)
        copy = times.get("numba copy")
        rows = []
        for name, seconds in times.items():
            ratio = f"{copy / seconds:.2f}" if copy else ""
            speed = f"{count / seconds / 1e9:.2f}" if copy else ""
            rows.append([name, f"{seconds * 1e3:.2f}", speed, ratio])
        print(markdown([title, "ms", "G elements/s", "of copy"], rows), end="\n\n")


def measure(contenders: Mapping[str, Contender], rounds: int) -> dict[str, float]:
    """Seconds of the best round of each, after one that warms up and compiles."""
    best = dict.fromkeys(contenders, float("inf"))
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            start = time.thread_time()
            run()
            if turn:
                best[name] = min(best[name], time.thread_time() - start)
    return best


def copier(x: Floats, out: Floats) -> Contender:
    """A plain loop: out[i] = x[i]."""

    @numba.njit(nogil=True)
    def copy(source: Floats, target: Floats) -> None:
        for i in range(source.size):
            target[i] = source[i]

    return lambda: copy(x, out)


def fake_quantization(count: int) -> dict[str, Contender]:
    x = np.random.default_rng(0).standard_normal(count, dtype=np.float32)
    out = np.ones_like(x)
    scale, zero = np.asarray([SCALE], np.float32), np.asarray([ZERO_POINT])
    rows, out_rows = x.reshape(CHANNELS, -1), out.reshape(CHANNELS, -1)
    scales, zeros = np.repeat(scale, CHANNELS), np.repeat(zero, CHANNELS)

    def by_numpy() -> None:
        reference.fake_quantize_rows(x[None], scale, zero.astype(np.float32), -128, 127, False, out[None])

    def by_kernel(reciprocal: bool) -> Contender:
        return lambda: fake_quantize(x[None], scale, zero, DType.I8, reciprocal=reciprocal, out=out[None])

    return {
        "numba copy": copier(x, out),
        "numpy copy": lambda: np.copyto(out, x),
        "qir, per tensor": by_kernel(False),
        "qir, per tensor, reciprocal": by_kernel(True),
        f"qir, {CHANNELS} channels": lambda: fake_quantize(rows, scales, zeros, DType.I8, out=out_rows),
        "ONNX Runtime Q/DQ": onnxruntime_pair(x, out),
        "numpy": by_numpy,
    }


def onnxruntime_pair(x: Floats, out: Floats) -> Contender:
    """QuantizeLinear and DequantizeLinear on one thread, reading x and writing out in place."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    constants = [
        helper.make_tensor("scale", kind.FLOAT, [], [SCALE]),
        helper.make_tensor("zero", kind.INT8, [], [ZERO_POINT]),
    ]
    ends = [helper.make_tensor_value_info(name, kind.FLOAT, [x.size]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for bind, name, array in ((binding.bind_input, "x", x), (binding.bind_output, "y", out)):
        bind(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
    return lambda: session.run_with_iobinding(binding)


def histograms(count: int) -> dict[str, Contender]:
    random = np.random.default_rng(0)
    normal = random.standard_normal(count, dtype=np.float32)
    data = {"normal": normal, "ReLU": np.maximum(normal, 0)}
    data["uniform"] = random.random(count, dtype=np.float32) * 8 - 4
    counts = np.zeros(binning.SLOTS, np.uint32)

    def counting(x: Floats) -> Contender:
        inverse_width = 2.0 ** -statistics_of(x).histogram.exponent
        return lambda: finite_range_counted(x, ALL_FINITE, inverse_width, counts)

    def streaming(x: Floats) -> Contender:
        """As calibration does: tensors of 2^20 elements, one update each."""

        def run() -> None:
            statistics = TensorStatistics()
            for part in np.split(x, max(count >> 20, 1)):
                statistics.update(part)

        return run

    return {
        "numba copy": copier(normal, np.ones_like(normal)),
        "qir, range": lambda: finite_range(normal),
        "numpy min, max": lambda: (normal.min(), normal.max()),
        **{f"qir, range and histogram, {name}": counting(x) for name, x in data.items()},
        **{f"qir, statistics, {name}": streaming(x) for name, x in data.items()},
        "numpy histogram, 2048 bins, normal": lambda: np.histogram(normal, 2048),
    }


def statistics_of(x: Floats) -> TensorStatistics:
    statistics = TensorStatistics()
    statistics.update(x)
    return statistics


def searches() -> dict[str, Contender]:
    """The losses alone: on 2^15 values and on 2^15 bins, the most that statistics hold."""
    random = np.random.default_rng(0)
    values = np.sort(random.standard_normal(1 << 15, dtype=np.float32))
    edges = np.linspace(-4.0, 4.0, (1 << 15) + 1)
    density = random.random(1 << 15)
    scale = np.linspace(0.02, 0.04, 60, dtype=np.float32)
    low, high, loss = scale * np.float32(-128), scale * np.float32(127), np.empty(60)
    return {
        "qir, values": lambda: rounding.ifmr_loss_values(values, scale, low, high, loss),
        "numpy, values": lambda: reference.ifmr_loss_values(values, scale, low, high, loss),
        "qir, histogram": lambda: rounding.ifmr_loss_density(edges, density, scale, low, high, loss),
        "numpy, histogram": lambda: reference.ifmr_loss_density(edges, density, scale, low, high, loss),
    }


if __name__ == "__main__":
    main()
