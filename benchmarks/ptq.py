"""What does post-training quantization of a real model cost, and what is left of its accuracy?

EfficientNet-Lite0, calibrated on 100 images in batches of 10, by qir, ONNX Runtime's quantizer (after its
preprocessing) and NNCF; compared with bare inference of the same images. Run from the repository's root:

    python -m benchmarks.ptq [--only qir,ort-minmax] [--repeat 3]

Each job runs in a process of its own. Time is that from the model file to the files written, without
process start and imports; the ratio is to bare inference (optimized session, two threads), measured before
and after the job in the same invocation. Memory is the peak of the process above that of a process which
infers one batch. Accuracy is that of the written model on the other images of the dev split, in ONNX Runtime
without its int8 kernels; agreement and SQNR (of the logits) are against the float model.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.assets import case_path, evaluation, session_runner
from benchmarks.quantizers import Quantizer, nncf_quantizer, ort_quantizer, qir_quantizer, quiet
from benchmarks.tables import markdown

CASE, MODEL, INPUT = "efficientnet_lite0", "efficientnet_lite0_bn_op17.onnx", "input"
QUANTIZERS: Mapping[str, Quantizer] = {
    "qir": qir_quantizer(),
    "qir-no-proof": qir_quantizer(proof=False),
    "ort-minmax": ort_quantizer("MinMax"),
    "ort-percentile": ort_quantizer("Percentile"),
    "ort-entropy": ort_quantizer("Entropy"),
    "nncf": nncf_quantizer(),
}
BARE = "bare"
BARE_RUNS, BARE_SECONDS = 5, 5.0
"""Bare inference is timed so often, or until it took so long on a busy machine."""
SAMPLES = "calibration.npy"
MB = 1 << 20

Floats = npt.NDArray[np.float32]
Measurement = dict[str, float]


def main() -> None:
    options = parse_arguments()
    if options.job:
        run_job(options.job, Path(options.folder), options.batch)
        return
    names = [name.strip() for name in options.only.split(",")] if options.only else list(QUANTIZERS)
    unknown = [name for name in names if name not in QUANTIZERS]
    if unknown:
        sys.exit(f"unknown quantizer '{unknown[0]}'; known: {', '.join(QUANTIZERS)}")
    with tempfile.TemporaryDirectory(prefix="qir-ptq-") as made:
        results = compare(names, Path(made), options)
    setting = f"{options.images} images in batches of {options.batch}; {os.cpu_count()} cores"
    print(f"\n{setting}; {versions(names)}\n\n{report(results)}")
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="cost and accuracy of post-training quantization")
    parser.add_argument("--images", type=int, default=100, help="calibration images")
    parser.add_argument("--batch", type=int, default=10, help="images in a feed")
    parser.add_argument(
        "--eval", type=int, default=None, help="evaluate on so many images (default: all others)"
    )
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(QUANTIZERS)}")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each job; the table shows medians")
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


# The process that measures.


def run_job(name: str, folder: Path, batch: int) -> None:
    """Do one job and write its measurement to `folder`."""
    samples: Floats = np.load(folder / SAMPLES)
    feeds = [{INPUT: samples[i : i + batch]} for i in range(0, len(samples), batch)]
    model = case_path(CASE, MODEL)
    with quiet():
        found = bare(model, feeds) if name == BARE else quantized(QUANTIZERS[name], model, feeds, folder)
    (folder / "measurement.json").write_text(json.dumps(found), encoding="utf-8")


def bare(model: Path, feeds: Sequence[Mapping[str, Floats]]) -> Measurement:
    """Seconds to run all feeds, the median of some rounds; bytes after the first feed."""
    run = session_runner(model)
    run(feeds[0])
    peak = peak_bytes()
    rounds = []
    while len(rounds) < BARE_RUNS and sum(rounds) < BARE_SECONDS:
        start = time.perf_counter()
        for feed in feeds:
            run(feed)
        rounds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(rounds), "bytes": peak}


def quantized(
    quantizer: Quantizer, model: Path, feeds: Sequence[Mapping[str, Floats]], folder: Path
) -> Measurement:
    """Seconds and bytes of a whole job."""
    quantizer.prepare()
    start, processor = time.perf_counter(), time.process_time()
    written = quantizer.run(model, feeds, folder)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    os.replace(written, folder / "written.onnx")
    return {"seconds": seconds, "processor": processor, "bytes": peak_bytes()}


def peak_bytes() -> int:
    """The largest memory of this process. Linux tells it without that of the process that started it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


# The process that compares.


def compare(names: Sequence[str], folder: Path, options: argparse.Namespace) -> dict[str, Measurement]:
    """Measurements and accuracies by quantizer, those of the float model first."""
    module = evaluation(CASE)
    images: npt.NDArray[np.uint8] = module.images()
    chosen = module.calib_ids(len(images), options.images)
    others = module.eval_ids(len(images), "dev", options.images)[: options.eval]
    np.save(folder / SAMPLES, module.prep(images[chosen]))
    samples = [module.prep(images[others[i : i + 10]]) for i in range(0, len(others), 10)]
    float_logits = logits(case_path(CASE, MODEL), samples)
    results = {BARE: accuracy(float_logits, float_logits, others)}
    baselines = [measure(BARE, folder, options.batch)]
    for name in names:
        if name == "qir":
            first = {"NUMBA_CACHE_DIR": str(folder / "empty")}  # as on a machine that never ran it
            results["qir, first run"] = measure(name, folder, options.batch, first)
        runs, ratios = [], []
        for _ in range(options.repeat):
            note(name)
            runs.append(measure(name, folder, options.batch))
            baselines.append(measure(BARE, folder, options.batch))
            ratios.append(2 * runs[-1]["seconds"] / (baselines[-2]["seconds"] + baselines[-1]["seconds"]))
        results[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        results[name]["ratio"] = statistics.median(ratios)
        results[name] |= accuracy(logits(folder / "written.onnx", samples), float_logits, others)
    results[BARE] |= {key: statistics.median(run[key] for run in baselines) for key in baselines[0]}
    return results


def measure(name: str, folder: Path, batch: int, environment: Mapping[str, str] | None = None) -> Measurement:
    """The measurement of a job in a fresh process; leaves the program with its error if it fails."""
    command = [sys.executable, "-m", "benchmarks.ptq", "--job", name]
    command += ["--folder", str(folder), "--batch", str(batch)]
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    found: Measurement = json.loads((folder / "measurement.json").read_text(encoding="utf-8"))
    return found


def logits(model: Path, samples: Sequence[Floats]) -> Floats:
    run = session_runner(model, optimize=False)
    return np.concatenate([run({INPUT: batch})[0] for batch in samples]).astype(np.float32)


def accuracy(found: Floats, reference: Floats, labels: npt.NDArray[np.intp]) -> Measurement:
    """Top-1, agreement with the reference's top-1, and SQNR in dB."""
    error = float(np.sum((found - reference).astype(np.float64) ** 2))
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    return {
        "top-1": float(np.mean(found.argmax(1) == labels)),
        "agreement": float(np.mean(found.argmax(1) == reference.argmax(1))),
        "sqnr": 10 * float(np.log10(signal / error)) if error else float("inf"),
    }


def report(results: Mapping[str, Measurement]) -> str:
    base = results[BARE]
    rows = []
    for name, found in results.items():
        label = QUANTIZERS[name].name if name in QUANTIZERS else name
        ratio = found.get("ratio", found["seconds"] / base["seconds"])
        above = f"{(found['bytes'] - base['bytes']) / MB:.0f} MB"
        scores = [f"{100 * found[key]:.1f} %" if key in found else "" for key in ("top-1", "agreement")]
        sqnr = f"{found['sqnr']:.1f} dB" if np.isfinite(found.get("sqnr", np.inf)) else ""
        rows.append([label, f"{found['seconds']:.2f} s", f"{ratio:.1f}x", above, *scores, sqnr])
    header = ["job", "time", "of bare", "memory above bare", "top-1", "agreement", "SQNR"]
    return markdown(header, rows)


def versions(names: Sequence[str]) -> str:
    used = dict.fromkeys(["onnxruntime", "numpy", *(QUANTIZERS[n].package for n in names if n == "nncf")])
    return ", ".join(f"{package} {version(package)}" for package in used)


def note(text: str) -> None:
    """What is being measured, for whoever waits."""
    print(f"measuring {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
