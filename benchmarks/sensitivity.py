"""What does it cost to rank layers by sensitivity, measured against bare inference of the same samples?

Mode `layer` against inference of its samples, sessions opened included on both sides; mode `model`, sessions
opened included, against a forward run for each layer and sample in a session that is open already. Processor
time of the process, ONNX Runtime on one thread a run; medians over repetitions that take turns. Run from the
repository's root:

    python -m benchmarks.sensitivity [--cases efficientnet_lite0,…] [--repeat 5]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

import qir
from benchmarks.assets import Feed, case_path, evaluation
from benchmarks.tables import markdown
from qir.ir.graph import Graph
from qir.runtime.data import open_data
from qir.runtime.isolated import measure_isolated
from qir.runtime.metrics import metric_named
from qir.runtime.sensitivity import measure_sensitivity
from qir.runtime.session import Session

MODELS = {
    "efficientnet_lite0": "efficientnet_lite0_bn_op17.onnx",
    "ppocr_rec": "ch_PP-OCRv4_rec_infer.onnx",
    "fastestdet": "FastestDet.onnx",
}
SAMPLES, ISOLATED_SAMPLES = 32, 8


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of ranking layers by sensitivity")
    parser.add_argument("--cases", default=",".join(MODELS), help=f"comma-separated, of {', '.join(MODELS)}")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions; medians count")
    options = parser.parse_args()
    cases = [name.strip() for name in options.cases.split(",")]
    unknown = [name for name in cases if name not in MODELS]
    if unknown:
        parser.error(f"unknown case '{unknown[0]}'; known: {', '.join(MODELS)}")
    rows = [measure(case, options.repeat) for case in cases]
    header = ["case", "layers", "one forward", "mode layer: of bare", "mode model: of layers x forward"]
    print(markdown(header, rows))


def measure(case: str, repeat: int) -> list[str]:
    feeds = list(itertools.islice(single_samples(case), SAMPLES))
    graph = qir.quantize(str(case_path(case, MODELS[case])), feeds, proof_samples=0).graph
    data, metric = open_data(feeds, graph), metric_named("cosine-similarity")
    opened = Session(graph, threads=1)
    jobs: dict[str, Callable[[], object]] = {
        "forward": lambda: [opened.run(feed, opened.outputs) for feed in feeds],
        "bare": lambda: run_bare(graph, feeds),
        "layer": lambda: measure_sensitivity(graph, data, metric),
        "model": lambda: measure_isolated(graph, data, metric, samples=ISOLATED_SAMPLES),
    }
    layers = len(measure_sensitivity(graph, data, metric, samples=1).scores)  # kernels load here
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeat):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    found = {name: statistics.median(seconds) for name, seconds in times.items()}
    forward = found["forward"] / len(feeds)
    isolated = found["model"] / (forward * layers * min(ISOLATED_SAMPLES, len(feeds)))
    ratios = [f"{found['layer'] / found['bare']:.2f}x", f"{isolated:.2f}x"]
    return [case, str(layers), f"{1000 * forward:.1f} ms", *ratios]


def run_bare(graph: Graph, feeds: Sequence[Feed]) -> None:
    """What inference of the samples takes, its session opened as those of the rankings are."""
    session = Session(graph, threads=1)
    for feed in feeds:
        session.run(feed, session.outputs)


def single_samples(case: str) -> Iterator[Feed]:
    """The calibration samples of a case, one by one."""
    for feed in evaluation(case).load("dev")[0]:
        for i in range(len(next(iter(feed.values())))):
            yield {name: single(array, i) for name, array in feed.items()}


def single(array: npt.NDArray[np.generic], index: int) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(array[index : index + 1])


if __name__ == "__main__":
    main()
