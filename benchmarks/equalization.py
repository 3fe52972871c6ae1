"""How much of what quantization loses do equalization and bias correction recover?

Real models with weights quantized per tensor, where ranges of channels hurt most, and per channel: the metric
of the fake-quant model without and with `equalize-inputs`, `equalize-layers` and `correct-bias`, scored in
ONNX Runtime without its int8 kernels. Run from the repository's root:

    python -m benchmarks.equalization [--only superres,fastestdet] [--json results.json --resume]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.cases import Case, score_text, selected
from benchmarks.results import Result, Results
from benchmarks.tables import markdown

CASES = "superres,ppocr_rec,fastestdet,minilm"
READY = (
    "infer-types,fold-constants,eliminate-identity,fuse-bn,normalize-gemm,merge-duplicates,eliminate-dead,"
    "infer-types"
)
VARIANTS: Mapping[str, tuple[str, str]] = {
    "none": ("", ""),
    "layers": ("equalize-layers", ""),
    "inputs": ("equalize-inputs", ""),
    "inputs, layers": ("equalize-inputs,equalize-layers", ""),
    "bias": ("", "correct-bias"),
    "layers, bias": ("equalize-layers", "correct-bias"),
    "inputs, layers, bias": ("equalize-inputs,equalize-layers", "correct-bias"),
}
"""Column -> passes in front of insert-quant, and between calibrate and quantize-bias."""


def main() -> None:
    parser = argparse.ArgumentParser(description="what equalization and bias correction recover")
    parser.add_argument("--only", default=CASES, help=f"comma-separated cases (default: {CASES})")
    parser.add_argument("--json", help="file that keeps the results")
    parser.add_argument("--resume", action="store_true", help="keep what that file has")
    options = parser.parse_args()
    results = Results(options.json, resume=options.resume)
    rows = []
    for case in selected(options.only):
        exact = results.get(f"{case.name}/float", lambda c=case: {"score": c.score(c.model)})
        for weights in ("tensor", "channel"):
            scores = []
            for name in VARIANTS:
                print(f"{case.name}, weights per {weights}, {name} …", file=sys.stderr)
                key = f"{case.name}/{weights}/{name}"
                found = results.get(key, lambda c=case, w=weights, n=name: score(c, w, n))
                scores.append(score_text(float(found["score"])))
            rows.append([case.name, case.metric, weights, score_text(float(exact["score"])), *scores])
    print(markdown(["case", "metric", "weights per", "FP32", *VARIANTS], rows, left=3))


def score(case: Case, weights: str, name: str) -> Result:
    """Quantize a case and score it."""
    import qir

    before, between = VARIANTS[name]
    insert = "insert-quant{per-channel=false}" if weights == "tensor" else "insert-quant"
    parts = [READY, before, insert, "quantize-weights,calibrate", between, "quantize-bias"]
    with tempfile.TemporaryDirectory(prefix="qir-equalization-") as folder:
        made = qir.quantize(
            case.model,
            case.feeds(),
            pipeline=",".join(part for part in parts if part),
            output=Path(folder) / "model",
            proof_samples=0,
        )
        assert made.paths is not None
        return {"score": case.score(made.paths.fake_quant_model)}


if __name__ == "__main__":
    main()
