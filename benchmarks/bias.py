"""What does bias correction cost, and what does it bring?

Processor time of `correct-bias`, fitted over numbers of samples: what it takes whatever the number (sessions
of the parts of the model are opened), and for each sample, as a multiple of one forward of the float model in
the same run. Everything runs on one core, for two that share one slow each other down. Run from the
repository's root:

    python -m benchmarks.bias [--only superres,fastestdet] [--samples 8,24]
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable

from benchmarks.cases import Case, selected
from benchmarks.tables import markdown
from qir import load
from qir.backends.targets import ASCEND
from qir.ir.float_graph import float_graph
from qir.ir.graph import Graph
from qir.passes.context import Context
from qir.passes.correct_bias import CorrectBias
from qir.passes.manager import PassManager
from qir.runtime.data import open_data
from qir.runtime.session import Session

CASES = "superres,ppocr_rec,fastestdet,minilm,efficientnet_lite0"
REPEATS = 3
CLOSED = ASCEND.pipelines["default"].removesuffix(",quantize-bias")


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of bias correction")
    parser.add_argument("--only", default=CASES, help=f"comma-separated cases (default: {CASES})")
    parser.add_argument("--samples", default="8,24", help="two numbers of samples (default: 8,24)")
    options = parser.parse_args()
    few, many = (int(part) for part in options.samples.split(","))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = []
    for case in selected(options.only):
        print(f"{case.name} …", file=sys.stderr)
        rows.append(row(case, few, many))
    header = ["case", "layers", "forward", "few samples", "in forwards", "once", "per further sample"]
    print(markdown(header, rows))


def row(case: Case, few: int, many: int) -> list[str]:
    """Processor times of one case; of models with little data, of as many samples as there are."""
    graph = load(case.model)
    data = open_data(case.feeds(), graph)
    context = Context(data=data, rules=ASCEND.rules)
    PassManager(CLOSED).run(graph, context)
    session = Session(float_graph(graph), threads=1)
    units = list(itertools.islice(data.units(lambda feeds: session.run(feeds)), many))
    many = min(many, len(units))
    few = min(few, many // 2)
    times = [
        processor_time(lambda n=n: [session.run(unit.feeds) for unit in units[:n]]) / n for n in (few, many)
    ]
    corrected = [correction_time(graph, context, n) for n in (few, many)]
    layers = len([node for node in graph.nodes if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")])
    slope = (corrected[1] - corrected[0]) / (many - few)
    once = corrected[0] - few * slope
    return [
        case.name,
        str(layers),
        f"{1e3 * times[1]:.1f} ms",
        f"{corrected[0]:.2f} s for {few}",
        f"{corrected[0] / few / times[0]:.1f}x",
        f"{once:.2f} s",
        f"{slope / times[1]:.1f}x",
    ]


def correction_time(graph: Graph, context: Context, samples: int) -> float:
    """Processor time of the pass, the least of some runs."""

    def run() -> None:
        CorrectBias(samples=samples).run(graph.clone(), context)

    return processor_time(run)


def processor_time(run: Callable[[], object]) -> float:
    """The least processor time of some runs behind a first one."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


if __name__ == "__main__":
    main()
