"""How near does each precision come to the float model? The bounds from which mixtures are tuned.

The metric of the fake-quant model on target `qdq` with every layer in one precision, scored in ONNX Runtime
without its int8 kernels. Run from the repository's root:

    python -m benchmarks.precisions [--only superres,fastestdet] [--json results.json --resume]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.cases import Case, score_text, selected
from benchmarks.results import Result, Results
from benchmarks.tables import markdown

CASES = "superres,ppocr_rec,fastestdet,minilm"
PRECISIONS = ("default", "int16", "int16-ec", "dual-int16", "float16")
"""Pipelines of the target; `default` is all INT8."""


def main() -> None:
    parser = argparse.ArgumentParser(description="every layer in one precision")
    parser.add_argument("--only", default=CASES, help=f"comma-separated cases (default: {CASES})")
    parser.add_argument("--json", help="file that keeps the results")
    parser.add_argument("--resume", action="store_true", help="keep what that file has")
    options = parser.parse_args()
    results = Results(options.json, resume=options.resume)
    rows = []
    for case in selected(options.only):
        exact = results.get(f"{case.name}/float", lambda c=case: {"score": c.score(c.model)})
        scores = []
        for name in PRECISIONS:
            print(f"{case.name}, {name} …", file=sys.stderr)
            found = results.get(f"{case.name}/{name}", lambda c=case, n=name: score(c, n))
            scores.append(score_text(float(found["score"])))
        rows.append([case.name, case.metric, score_text(float(exact["score"])), *scores])
    print(markdown(["case", "metric", "FP32", *PRECISIONS], rows, left=2))


def score(case: Case, pipeline: str) -> Result:
    """Quantize a case and score it."""
    import qir

    with tempfile.TemporaryDirectory(prefix="qir-precisions-") as folder:
        made = qir.quantize(
            case.model, case.feeds(), target="qdq", pipeline=pipeline, output=Path(folder) / "model"
        )
        assert made.paths is not None
        return {"score": case.score(made.paths.fake_quant_model)}


if __name__ == "__main__":
    main()
