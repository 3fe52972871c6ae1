"""What does a mixture of precisions cost that keeps the accuracy of a model, and what does finding it?

Real models, each with what its metric may lose: 0.1 % of the float model's, 0.05 dB of superres. Run from the
repository's root:

    python -m benchmarks.tune [--cases superres,minilm] [--targets ascend,qdq] [--strategy Refine]

A table for each case and target: phase, configuration, metric, whether the target was met, how many layers
are not INT8, and how many models the phase looked at. The last line counts evaluations and has the processor
time that tuning took outside of them.

Every model is scored on its whole dev split: a search fits what it sees, and what keeps the accuracy of
ppocr_rec on every third image need not on all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.assets import case_path, evaluation, session_runner
from benchmarks.quantizers import quiet
from benchmarks.search import CASES
from benchmarks.tables import markdown

DROPS: Mapping[str, tuple[float, bool]] = {
    "superres": (0.05, False),
    "ppocr_rec": (0.001, True),
    "fastestdet": (0.001, True),
    "minilm": (0.001, True),
}
"""What the metric of a case may lose, and whether that is a share of the float model's."""
TARGETS = ("ascend", "qdq")


class Metric:
    """The metric of a case as a function of a model file; counts calls and their processor time."""

    def __init__(self, name: str) -> None:
        self._module, self._options = evaluation(name), dict(CASES[name].options)
        self.calls, self.seconds = 0, 0.0

    def __call__(self, file: str) -> float:
        start = time.process_time()
        run = session_runner(file, optimize=False)
        found = float(self._module.evaluate(run, split="dev", **self._options))
        self.calls += 1
        self.seconds += time.process_time() - start
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description="mixtures of precisions that keep the accuracy")
    parser.add_argument("--cases", default=",".join(DROPS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--strategy", default="BinarySearch")
    options = parser.parse_args()
    for name in options.cases.split(","):
        if name not in DROPS:
            sys.exit(f"unknown case '{name}'; known: {', '.join(DROPS)}")
        for target in options.targets.split(","):
            report(name, target, options.strategy)


def report(name: str, target: str, strategy: str) -> None:
    """Tune a case for a target and print its table."""
    import qir
    from qir.search.tuning.result import described

    feeds = evaluation(name).load("dev")[0]
    metric = Metric(name)
    drop, relative = DROPS[name]
    with tempfile.TemporaryDirectory(prefix="qir-tune-") as made, quiet():
        start = time.process_time()
        result = qir.tune(
            case_path(name, CASES[name].model), feeds, metric, output=Path(made) / "m", max_drop=drop,
            relative=relative, target=target, strategy=strategy,
        )  # fmt: skip
        outside = time.process_time() - start - metric.seconds
    rows = []
    for phase in result.phases:
        step = phase.step
        if step is None:
            rows.append((phase.name, phase.note, "", "", "", str(phase.evaluated)))
            continue
        assert isinstance(step.metric, float)
        raised = "" if phase.raised is None else f"{phase.raised} of {step.total}"
        what = described(step.configuration, step.total)
        met = "yes" if phase.met else "no"
        rows.append((phase.name, what, f"{step.metric:.4f}", met, raised, str(phase.evaluated)))
    limit = f"{100 * drop:g} %" if relative else f"{drop:g}"
    print(f"\n{name} for {target}, may lose {limit}: {result.search.outcome}\n")
    print(markdown(("phase", "layers", "metric", "met", "raised", "models"), rows))
    print(f"\n{metric.calls} evaluations; {outside:.1f} s of processor time outside of them", flush=True)


if __name__ == "__main__":
    main()
