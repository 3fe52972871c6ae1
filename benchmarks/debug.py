"""What does the accuracy debugger cost, in time and memory?

Sensitivity of all nodes, compared at the outputs with 8 samples, sessions opened included, against as many
forward runs as a loop over the nodes takes: of the float model in a session that is open already, with the
debugger's session options. In processor time against forward runs on one thread; in the time that passes
against the same runs on as many samples at a time as the debugger has under way, and against runs one after
the other as ONNX Runtime does them by default, each on all cores. Then `qir debug all` on EfficientNet-Lite0
with default samples, the model calibrated in the same process: processor time and the time that passes, and
the peak of memory beside that of a process that only calibrates. Run from the repository's root:

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
from qir.runtime.workers import cores, ordered_map

CALIBRATION = 16
"""Samples to calibrate with for the first table."""
ROUNDS = 5
"""So often the forward runs are repeated, so that they take long enough to be timed."""
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
        header = (
            "case",
            "nodes",
            "forward, 1 thread",
            "processor time",
            "time, same threads",
            "time, default",
        )
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
    many = measured * ROUNDS
    jobs: dict[str, Callable[[], object]] = {
        "one": lambda: [one.run(feed, one.outputs) for feed in many],
        "same": lambda: list(ordered_map(lambda feed: one.run(feed, one.outputs), many, cores(), one.stop)),
        "default": lambda: [default.run(feed, default.outputs) for feed in many],
        "nodes": lambda: sensitivity_table(opened, "cosine-similarity"),
    }
    nodes = len(sensitivity_table(opened, "cosine-similarity", data_num=1).rows)  # kernels load here
    processor, passed = medians(jobs, repeat)
    loop = nodes / ROUNDS
    ratios = (
        processor["nodes"] / (processor["one"] * loop),
        passed["nodes"] / (passed["same"] * loop),
        passed["nodes"] / (passed["default"] * loop),
    )
    forward = f"{1000 * processor['one'] / len(many):.1f} ms"
    return [case, str(nodes), forward, *(f"{ratio:.2f}x" for ratio in ratios)]


def medians(
    jobs: Mapping[str, Callable[[], object]], repeat: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of processor time, and seconds that pass, of each job; jobs take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for name, job in [*jobs.items()] * repeat:
        processor, start = time.process_time(), time.perf_counter()
        job()
        times[name].append((time.process_time() - processor, time.perf_counter() - start))
    return (
        {name: statistics.median(item[0] for item in found) for name, found in times.items()},
        {name: statistics.median(item[1] for item in found) for name, found in times.items()},
    )


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
