"""What does the accuracy debugger cost, in time and memory?

Sensitivity of all nodes, compared at the outputs with 8 samples, against as many forward runs as a loop over
the nodes takes; a forward run on one thread, as the debugger runs, and as ONNX Runtime runs by default (all
cores). Then `qir debug all` on EfficientNet-Lite0 with default samples, the model calibrated in the same
process: time, and the peak of memory beside that of a process that only calibrates. Times are processor
time, for machines that do other things too; of `debug all` the time that passes, too. Run from the
repository's root:

    python -m benchmarks.debug [--cases fastestdet,efficientnet_lite0] [--repeat 3] [--sensitivity-only]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping

import qir
from benchmarks.assets import case_path
from benchmarks.ptq import MB, peak_bytes
from benchmarks.sensitivity import MODELS, single_samples
from benchmarks.tables import markdown
from qir.debug import open_model, runall
from qir.debug.sensitivity import SAMPLES, sensitivity_table
from qir.runtime.session import Session

CALIBRATION = 16
"""Samples to calibrate with for the first table."""
BIG = "efficientnet_lite0"
JOBS = {"calibrate": None, "all": None, "all, 4 x samples": 4 * SAMPLES}
"""What processes do on the big model; for `debug all`, the number of samples (None: the default)."""


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of the accuracy debugger")
    parser.add_argument("--cases", default=",".join(MODELS), help=f"comma-separated, of {', '.join(MODELS)}")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions; medians count")
    parser.add_argument("--sensitivity-only", action="store_true", help="the first table only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.child)))
        return
    rows = [sensitivity_row(case, options.repeat) for case in options.cases.split(",") if case]
    if rows:
        header = ("case", "nodes", "forward, 1 thread", "of nodes x that", "of nodes x default forward")
        print(markdown(header, rows), flush=True)
    if not options.sensitivity_only:
        print_jobs({name: run_child(name) for name in JOBS})


def print_jobs(found: Mapping[str, Mapping[str, float]]) -> None:
    """The second table: jobs without the calibration that they begin with."""
    base = found["calibrate"]
    header = ("job", "processor time (s)", "time (s)", "peak memory (MB)")
    print()
    print(
        markdown(
            header,
            [
                [
                    name,
                    f"{item['processor'] - (base['processor'] if item is not base else 0):.0f}",
                    f"{item['seconds'] - (base['seconds'] if item is not base else 0):.0f}",
                    f"{item['bytes'] / MB:.0f}",
                ]
                for name, item in found.items()
            ],
        )
    )


def sensitivity_row(case: str, repeat: int) -> list[str]:
    """Cost of the sensitivity of all nodes of a case; what is compared takes turns."""
    feeds = list(itertools.islice(single_samples(case), CALIBRATION))
    graph = qir.quantize(str(case_path(case, MODELS[case])), feeds, proof_samples=0).graph
    opened = open_model(graph, feeds)
    measured = feeds[:SAMPLES]
    one, default = Session(graph, threads=1), Session(graph)
    jobs: dict[str, Callable[[], object]] = {
        "one": lambda: [one.run(feed, one.outputs) for feed in measured],
        "default": lambda: [default.run(feed, default.outputs) for feed in measured],
        "nodes": lambda: sensitivity_table(opened, "cosine-similarity"),
    }
    nodes = len(sensitivity_table(opened, "cosine-similarity", data_num=1).rows)  # kernels load here
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for name, job in [*jobs.items()] * repeat:
        start = time.process_time()
        job()
        times[name].append(time.process_time() - start)
    found = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratios = [f"{found['nodes'] / (found[name] * nodes):.2f}x" for name in ("one", "default")]
    return [case, str(nodes), f"{1000 * found['one'] / len(measured):.1f} ms", *ratios]


def run_child(name: str) -> dict[str, float]:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.debug", "--child", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(name: str) -> dict[str, float]:
    """Calibrate the big model and, but for "calibrate", debug it."""
    start, processor = time.perf_counter(), time.process_time()
    feeds = list(single_samples(BIG))
    opened = open_model(str(case_path(BIG, MODELS[BIG])), feeds)
    if name != "calibrate":
        with tempfile.TemporaryDirectory(prefix="qir-debug-") as folder:
            runall(opened, None, folder, data_num=JOBS[name])
    return {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor,
        "bytes": peak_bytes(),
    }


if __name__ == "__main__":
    main()
