"""How long model files take in ONNX Runtime as users run them, as a whole and kernel by kernel."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from qir.ir.errors import ModelError
from qir.runtime.ort_errors import short
from qir.runtime.progress import SILENT, Progress
from qir.runtime.run_file import ModelFile
from qir.runtime.session import Feeds

ROUNDS = 5
"""How often all feeds are run by each model unless told otherwise; the first time does not count."""
_KERNEL = "_kernel_time"


@dataclass(frozen=True)
class Kernel:
    """One node as ONNX Runtime runs it after its fusions, and its time in one run of the model."""

    name: str
    op: str
    seconds: float


@dataclass(frozen=True)
class Latency:
    """The median time of one run, and the kernels (timed in runs of their own, which profiling slows)."""

    seconds: float
    kernels: tuple[Kernel, ...]

    def by_op(self) -> Mapping[str, tuple[int, float]]:
        """Number of kernels and seconds of each op type, the costliest first."""
        found: dict[str, tuple[int, float]] = {}
        for kernel in self.kernels:
            count, seconds = found.get(kernel.op, (0, 0.0))
            found[kernel.op] = (count + 1, seconds + kernel.seconds)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def measure_latency(
    models: Sequence[Path], feeds: Sequence[Feeds], rounds: int = ROUNDS, progress: Progress = SILENT
) -> tuple[Latency, ...]:
    """Time models on the same feeds; they take turns, so that a busy machine slows all of them alike.

    ModelError when ONNX Runtime cannot load or run one.
    """
    opened = [ModelFile(path) for path in models]
    seconds: list[list[float]] = [[] for _ in models]
    with progress.task("benchmark", (rounds + 1) * len(feeds)) as task:
        for number in range(rounds + 1):
            for feed in feeds:
                for model, times in zip(opened, seconds, strict=True):
                    start = time.perf_counter()
                    model.run(feed)
                    if number:
                        times.append(time.perf_counter() - start)
                task.advance()
    del opened
    kernels = (tuple(_kernels(path, feeds)) for path in models)
    return tuple(Latency(statistics.median(t), k) for t, k in zip(seconds, kernels, strict=True))


def _kernels(path: Path, feeds: Sequence[Feeds]) -> Iterator[Kernel]:
    """The kernels in running order, with the mean of their times behind a first run."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="qir-") as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for feed in (feeds[0], *feeds):
                session.run(None, dict(feed))
            events = json.loads(Path(session.end_profiling()).read_bytes())
        except Exception as error:  # the exceptions of ONNX Runtime have no base of their own
            raise ModelError(f"ONNX Runtime cannot profile '{path.name}': {short(str(error))}") from error
    warm = min(e["ts"] + e["dur"] for e in events if e.get("name") == "model_run")
    found: dict[tuple[str, str, str], float] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL) and event["ts"] >= warm:
            given = event["args"]
            key = (event["name"].removesuffix(_KERNEL), given["op_name"], given.get("node_index", ""))
            found[key] = found.get(key, 0.0) + event["dur"]
    for (name, op, _), microseconds in found.items():
        yield Kernel(name, op, microseconds / 1e6 / len(feeds))
