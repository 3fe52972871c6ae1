"""What is left of the accuracy of real models after quantization by qir and by ONNX Runtime's quantizer?

Every ONNX case of the assets: the metric of the float model, of qir's fake-quant model in both forms, of
ONNX Runtime's static quantization (MinMax, weights per tensor and per channel) and with --nncf of NNCF;
seconds of the jobs, and how much of the model computes in int8. All are calibrated on the same data and
scored on the rest of the dev split, in ONNX Runtime without its int8 kernels. Run from the repository's root:

    python -m benchmarks.zoo [--only ppocr_rec,digits_cnn_op13] [--method percentile] [--cache peers.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.assets import Feed, case_path, evaluation, session_runner
from benchmarks.quantizers import Quantizer, nncf_quantizer, ort_quantizer, qir_quantizer, quiet
from benchmarks.tables import markdown

Result = dict[str, float | str]
REASON = 300
"""Characters of an error message that are shown."""


@dataclass(frozen=True)
class Case:
    """A model with its data; `arguments` go to both functions of its `evaluate.py`."""

    name: str
    folder: str
    file: str
    metric: str
    arguments: Mapping[str, object] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The float model."""
        return case_path(self.folder, self.file)

    def feeds(self) -> list[Feed]:
        """The calibration data."""
        calibration, _ = evaluation(self.folder).load("dev", **self.arguments)
        return list(calibration)

    def score(self, model: Path) -> float:
        """The metric of a model on the dev split."""
        run = session_runner(model, optimize=False)
        return float(evaluation(self.folder).evaluate(run, split="dev", **self.arguments))


def digits(kind: str, opset: int) -> Case:
    metric = "mean IoU" if kind == "seg" else "accuracy"
    return Case(f"digits_{kind}_op{opset}", "digits", f"{kind}_op{opset}.onnx", metric, {"kind": kind})


DIGITS = ("cnn", "seg", "conv3d", "lstm", "gru", "bilstm")
CASES = (
    Case("mnist", "mnist", "mnist.onnx", "accuracy"),
    Case("superres", "superres", "superres_core_op13.onnx", "PSNR, dB"),
    Case("ppocr_cls", "ppocr_cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx", "accuracy"),
    Case("ppocr_rec", "ppocr_rec", "ch_PP-OCRv4_rec_infer.onnx", "characters"),
    Case("fastestdet", "fastestdet", "FastestDet.onnx", "F1"),
    Case("minilm", "minilm", "minilm_l6_smallvocab_op17.onnx", "Spearman x100", {"full": False}),
    Case("efficientnet_lite0", "efficientnet_lite0", "efficientnet_lite0_bn_op17.onnx", "top-1"),
    *(digits(kind, opset) for kind in DIGITS for opset in (13, 17)),
)


def main() -> None:
    options = parse_arguments()
    cases = selected(options.only)
    own = [qir_quantizer(form, options.method, options.pipeline) for form in ("ascend", "qdq")]
    peers = [ort_quantizer(per_channel=False), ort_quantizer(per_channel=True)]
    peers += [nncf_quantizer()] if options.nncf else []
    cache = Cache(options.cache)
    results: dict[str, dict[str, Result]] = {}
    for case in cases:
        print(f"{case.name} …", file=sys.stderr)
        found = results[case.name] = {"float": cache.get(f"{case.name}/float", lambda c=case: float_score(c))}
        for quantizer in own:
            found[quantizer.name] = job(case, quantizer)
        for quantizer in peers:
            key = f"{case.name}/{quantizer.name} {quantizer.version}"
            found[quantizer.name] = cache.get(key, lambda c=case, q=quantizer: job(c, q))
    print(report(cases, results, [quantizer.name for quantizer in (*own, *peers)]))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="accuracy of real models after quantization")
    parser.add_argument("--only", help="comma-separated cases or beginnings of their names")
    parser.add_argument("--method", default="ifmr", help="qir's calibration method (default: ifmr)")
    parser.add_argument("--pipeline", default="default", help="qir's pipeline, a name or a text")
    parser.add_argument("--nncf", action="store_true", help="NNCF too (slow)")
    parser.add_argument("--cache", help="file that keeps the results of float models and peers")
    parser.add_argument("--json", help="write the results there")
    return parser.parse_args()


def selected(only: str | None) -> tuple[Case, ...]:
    """The cases that `only` asks for; leaves the program when a part of it asks for none."""
    if only is None:
        return CASES
    wanted = [part.strip() for part in only.split(",")]
    for part in wanted:
        if not any(case.name.startswith(part) for case in CASES):
            sys.exit(f"no case is called '{part}'; known: {', '.join(case.name for case in CASES)}")
    return tuple(case for case in CASES if any(case.name.startswith(part) for part in wanted))


def float_score(case: Case) -> Result:
    return {"score": case.score(case.model)}


def job(case: Case, quantizer: Quantizer) -> Result:
    """Quantize and score a case; a failure is a result too."""
    feeds = case.feeds()
    with tempfile.TemporaryDirectory(prefix="qir-zoo-") as made, quiet():
        try:
            quantizer.prepare()
            start = time.perf_counter()
            written = quantizer.run(case.model, feeds, Path(made))
            seconds = time.perf_counter() - start
            result: Result = {"score": case.score(written.model), "seconds": seconds}
            if written.share is not None:
                result |= {"layers": written.layers, "share": written.share}
            return result
        except Exception as error:  # peers raise anything; the reason stands under the table
            reason = " ".join(str(error).replace(made, "…").split())
            return {"failed": f"{type(error).__name__}: {reason[:REASON]}"}


class Cache:
    """Results by key in a JSON file, written at every new one; without a file it computes all anew."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)
        known = self._path is not None and self._path.exists()
        self._results: dict[str, Result] = {}
        if self._path is not None and known:
            self._results = json.loads(self._path.read_text(encoding="utf-8"))

    def get(self, key: str, compute: Callable[[], Result]) -> Result:
        """The result kept under `key`, otherwise that of `compute`."""
        if key not in self._results:
            self._results[key] = compute()
            if self._path is not None:
                self._path.write_text(json.dumps(self._results, indent=1), encoding="utf-8")
        return self._results[key]


def report(cases: Sequence[Case], results: Mapping[str, Mapping[str, Result]], names: Sequence[str]) -> str:
    """The table, and under it why a quantizer failed."""
    rows, failures = [], []
    for case in cases:
        found = results[case.name]
        scores = [score_text(found["float"]), *(score_text(found[name]) for name in names)]
        times = [f"{found[n]['seconds']:.1f}" if "seconds" in found[n] else "" for n in names]
        own = found[names[0]]
        share = f"{100 * float(own['share']):.0f} %" if "share" in own else ""
        rows.append([case.name, case.metric, *scores, str(own.get("layers", "")), share, " / ".join(times)])
        failures += [f"- {case.name}, {n}: {found[n]['failed']}" for n in names if "failed" in found[n]]
    header = ["case", "metric", "FP32", *names, "layers in int8", "MACs in int8", "seconds (in order)"]
    return "\n".join([markdown(header, rows, left=2), *(["", "Failed:", "", *failures] if failures else [])])


def score_text(result: Result) -> str:
    if "failed" in result:
        return "failed"
    score = float(result["score"])
    return f"{score:.4f}" if score <= 1 else f"{score:.2f}"


if __name__ == "__main__":
    main()
