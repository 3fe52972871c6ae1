"""What does one more calibration image cost, in time and in memory?

EfficientNet-Lite0, calibrated on 100 and on 1,000 images, in feeds of 1 and of 10. Run from the repository's
root:

    python -m benchmarks.marginal [--only qir] [--images 1000] [--few 100] [--batches 1,10] [--repeat 3]

The marginal cost of an image is the further time (wall and processor) of the job with many images over that
with few, by image, against bare inference of an image: optimized session, two threads, feeds of that size.
Each job runs in a process of its own that holds its images in memory, and so does bare inference. Memory is
the peak of the process above that of one that holds the same images and infers one feed: "plain", with
nothing but ONNX Runtime loaded, and with the quantizer's libraries and kernels loaded too, by a tiny job:
these take the same for every model.

The dev split has 500 images. Beyond them come the same, mirrored left to right; then it begins anew.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from benchmarks.assets import case_path, evaluation, session_runner
from benchmarks.ptq import BARE, CASE, INPUT, MB, MODEL, QUANTIZERS, Measurement, peak_bytes, quantized
from benchmarks.quantizers import quiet
from benchmarks.tables import markdown

SAMPLES = "calibration.f32"
SHAPE = (3, 224, 224)
"""Of an image."""
TINY, TINY_SHAPE = "cnn_op17.onnx", (1, 1, 16, 16)
LOADED = "loaded"
"""Job: bare inference with the libraries of a quantizer loaded, as in `loaded:qir`."""


@dataclass(frozen=True)
class Job:
    """What a process measures: `name` of a quantizer, BARE, or LOADED with one."""

    name: str
    images: int
    batch: int


def main() -> None:
    options = parse_arguments()
    if options.job:
        run_job(Job(options.job, options.images, options.batch), Path(options.folder))
        return
    with tempfile.TemporaryDirectory(prefix="qir-marginal-") as made:
        folder = Path(made)
        write_samples(folder / SAMPLES, options.images)
        rows, ends = [], []
        for name in options.only.split(","):
            for batch in map(int, options.batches.split(",")):
                found = measure(name.strip(), batch, folder, options)
                rows += table_rows(found)
                ends.append(marginal(found))
    header = ["job", "feeds of", "images", "held", "time", "CPU", "memory above plain", "with libraries"]
    print(f"\n{markdown(header, rows)}\n\nmarginal cost of an image:\n" + "\n".join(ends))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="cost of one more calibration image")
    parser.add_argument("--images", type=int, default=1000, help="images of the larger job")
    parser.add_argument("--few", type=int, default=100, help="images of the smaller job")
    parser.add_argument("--batches", default="1,10", help="sizes of feeds")
    parser.add_argument("--only", default="qir-no-proof", help=f"comma-separated, of {', '.join(QUANTIZERS)}")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each job; medians count")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [n for n in options.only.split(",") if n.strip() not in QUANTIZERS]
    if unknown:
        parser.error(f"unknown quantizer '{unknown[0]}'; known: {', '.join(QUANTIZERS)}")
    if not 0 < options.few < options.images and not options.job:
        parser.error("--few must be less than --images")
    return options


def write_samples(path: Path, count: int) -> None:
    """Write the numbers of `count` prepared images, a few images at a time."""
    module: ModuleType = evaluation(CASE)
    images: npt.NDArray[np.uint8] = module.images()
    there = np.flatnonzero(images.any(axis=(1, 2, 3)))
    held = np.memmap(path, np.float32, "w+", shape=(count, *SHAPE))
    for start in range(0, count, 50):
        for i in range(start, min(start + 50, count)):
            image = images[there[i % len(there)]]
            held[i] = module.prep(image if i // len(there) % 2 == 0 else image[..., ::-1])
    held.flush()


# The process that measures.


def run_job(job: Job, folder: Path) -> None:
    """Do one job and write its measurement to `folder`."""
    # Not copied from a mapped file: that would hold all images twice, and be the peak of every process.
    samples = np.fromfile(folder / SAMPLES, np.float32, job.images * math.prod(SHAPE)).reshape(-1, *SHAPE)
    feeds = [{INPUT: samples[i : i + job.batch]} for i in range(0, len(samples), job.batch)]
    with quiet():
        if job.name in QUANTIZERS:
            found = quantized(QUANTIZERS[job.name], case_path(CASE, MODEL), feeds, folder)
        else:
            load_libraries(job.name.partition(":")[2], folder)
            found = infer(feeds)
    (folder / "measurement.json").write_text(json.dumps(found), encoding="utf-8")


def load_libraries(name: str, folder: Path) -> None:
    """Load all that a quantizer uses, compiled kernels too, by a job on a model of 95,000 weights."""
    if name:
        QUANTIZERS[name].prepare()
        images = np.random.default_rng(0).random((8, *TINY_SHAPE), dtype=np.float32)
        QUANTIZERS[name].run(case_path("digits", TINY), [{INPUT: image} for image in images], folder)


def infer(feeds: Sequence[Mapping[str, npt.NDArray[np.float32]]]) -> Measurement:
    """Seconds to infer all feeds, and the peak memory after the first."""
    run = session_runner(case_path(CASE, MODEL))
    run(feeds[0])
    peak = peak_bytes()
    start, processor = time.perf_counter(), time.process_time()
    for feed in feeds:
        run(feed)
    return {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor,
        "bytes": peak,
    }


# The process that compares.


def measure(
    name: str, batch: int, folder: Path, options: argparse.Namespace
) -> list[tuple[Job, dict[str, Measurement]]]:
    """For few and many images: the job, and what it, plain and loaded bare inference took (medians)."""
    found = []
    for images in (options.few, options.images):
        kinds = {"job": name, BARE: BARE, LOADED: f"{LOADED}:{name}"}
        runs: dict[str, list[Measurement]] = {kind: [] for kind in kinds}
        for _ in range(options.repeat):
            for kind, job in kinds.items():
                print(f"measuring {job}, {images} images in feeds of {batch}", file=sys.stderr)
                runs[kind].append(in_process(Job(job, images, batch), folder))
        medians = {k: {f: statistics.median(r[f] for r in rs) for f in rs[0]} for k, rs in runs.items()}
        found.append((Job(name, images, batch), medians))
    return found


def in_process(job: Job, folder: Path) -> Measurement:
    """The measurement of a job in a fresh process; leaves the program with its error if it fails."""
    command = [sys.executable, "-m", "benchmarks.marginal", "--job", job.name, "--folder", str(folder)]
    command += ["--images", str(job.images), "--batch", str(job.batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{job.name} failed:\n{done.stderr}")
    found: Measurement = json.loads((folder / "measurement.json").read_text(encoding="utf-8"))
    return found


def table_rows(found: Sequence[tuple[Job, Mapping[str, Measurement]]]) -> list[list[str]]:
    rows = []
    for job, runs in found:
        held = job.images * math.prod(SHAPE) * np.dtype(np.float32).itemsize
        for label, run in ((QUANTIZERS[job.name].name, runs["job"]), ("bare", runs[BARE])):
            above = [f"{(run['bytes'] - runs[kind]['bytes']) / MB:.0f} MB" for kind in (BARE, LOADED)]
            times = [f"{run['seconds']:.2f} s", f"{run['processor']:.2f} s"]
            above = above if run is runs["job"] else ["", ""]
            rows.append([label, str(job.batch), str(job.images), f"{held / MB:.0f} MB", *times, *above])
    return rows


def marginal(found: Sequence[tuple[Job, Mapping[str, Measurement]]]) -> str:
    """The further cost of an image against bare inference of an image."""
    (few, few_runs), (many, many_runs) = found
    further = many.images - few.images
    texts = []
    for key, label in (("seconds", "of the time"), ("processor", "of the CPU time")):
        cost = (many_runs["job"][key] - few_runs["job"][key]) / further
        bare = (few_runs[BARE][key] + many_runs[BARE][key]) / (few.images + many.images)
        texts.append(f"{cost / bare:.2f}x {label} ({1000 * cost:.1f} ms of {1000 * bare:.1f} ms)")
    return f"- {QUANTIZERS[few.name].name}, feeds of {few.batch}: {', '.join(texts)}"


if __name__ == "__main__":
    main()
