"""Times two models in ONNX Runtime: is the quantized one faster, where, and what keeps it from being so."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qir.comparison import SAMPLES, check_inputs
from qir.frontends.onnx import save_model
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.running import Model, RunSource, open_model
from qir.runtime.data import DataSource, open_data
from qir.runtime.latency import ROUNDS, Latency, measure_latency
from qir.runtime.progress import SILENT, Progress

_PAIR = ("QuantizeLinear", "DequantizeLinear")
_FLOAT_KERNELS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
_LISTED = 5


@dataclass(frozen=True)
class Benchmark:
    """Times of both models on single samples, and sentences on what takes time without need."""

    reference: Latency
    candidate: Latency
    samples: int
    notes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Time of the candidate in times of the reference: below 1 it is faster."""
        return self.candidate.seconds / self.reference.seconds


def benchmark(
    reference: RunSource,
    candidate: RunSource,
    data: DataSource,
    *,
    samples: int = SAMPLES,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> Benchmark:
    """Time two models (float, fake-quant or QDQ) on the first `samples` of `data`, `rounds` times.

    Both run as users run them: the file as it is, one sample at a time, ONNX Runtime's optimizations and
    int8 kernels on, all cores. ConfigError for a deploy graph, which runs on the board, not here.
    """
    a, b = _timed(reference), _timed(candidate)
    check_inputs(a, b)
    checking = a.runner(optimize=True)
    units = open_data(data, a.graph).units(lambda feeds: checking.run(feeds, checking.outputs))
    feeds = [unit.feeds for unit in itertools.islice(units, samples)]
    with tempfile.TemporaryDirectory(prefix="qir-") as folder:
        paths = [
            _file(s, m, Path(folder, f"{i}.onnx"))
            for i, (s, m) in enumerate(((reference, a), (candidate, b)))
        ]
        times = measure_latency(paths, feeds, rounds, progress or SILENT)
    notes = tuple(note for model, found in zip((a, b), times, strict=True) for note in _notes(model, found))
    return Benchmark(times[0], times[1], len(feeds), notes)


def _timed(source: RunSource) -> Model:
    model = open_model(source)
    if model.kind == "deploy":
        raise ConfigError(
            f"'{model.title}' is a deploy graph: it runs on Ascend, and the time of its emulation here says "
            "nothing about that; time the fake-quant model of form qdq, or the board itself"
        )
    return model


def _file(source: RunSource, model: Model, place: Path) -> Path:
    """The user's ONNX file itself; of other models, one written at `place`."""
    if not isinstance(source, (bytes, tuple, Graph)) and Path(source).suffix == ".onnx":
        return Path(source)
    save_model(model.graph, place)
    return place


def _notes(model: Model, found: Latency) -> Iterator[str]:
    if model.kind == "fake-quant":
        yield (
            f"'{model.title}' computes quantization in plain float ops, to predict the deploy graph bit for "
            "bit: it shows the accuracy, not the speed; ONNX Runtime runs form qdq (--form qdq) in int8"
        )
    total = sum(kernel.seconds for kernel in found.kernels)
    pairs = sum(kernel.seconds for kernel in found.kernels if kernel.op in _PAIR)
    if pairs:
        yield (
            f"QuantizeLinear and DequantizeLinear take {100 * pairs / total:.0f} % of the time of "
            f"'{model.title}'"
        )
    islands = list(_islands(model.graph, found))
    if islands:
        named = ", ".join(f"'{name}'" for name in islands[:_LISTED])
        more = f" and {len(islands) - _LISTED} more" if len(islands) > _LISTED else ""
        yield (
            f"{len(islands)} quantized layers of '{model.title}' run in float behind DequantizeLinear and "
            f"gain no speed (integer kernels want input and result in 8 bits): {named}{more}"
        )


def _islands(graph: Graph, found: Latency) -> Iterator[str]:
    """Layers that read integers and whose kernel is a float one all the same."""
    kernels = {kernel.name for kernel in found.kernels if kernel.op in _FLOAT_KERNELS}
    for node in graph.nodes:
        source = node.input(0) if node.op in _FLOAT_KERNELS and node.name in kernels else None
        if source is not None and source.producer is not None and source.producer.op == "DequantizeLinear":
            yield node.name
