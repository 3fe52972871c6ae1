"""What does each knob bring? Methods chosen by search, corrected biases, equal ranges, other precisions.

The metric of the fake-quant model, scored in ONNX Runtime without its int8 kernels. Table `knobs`: pipelines
that differ in one thing from the default one of target `ascend`. Table `precisions`: every layer in one
precision, as target `qdq` has them; from these bounds `qir tune` starts. Run from the repository's root:

    python -m benchmarks.tuning [--table precisions] [--only superres] [--json results.json --resume]
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
from qir.backends.targets import ASCEND

CASES = "superres,ppocr_rec,fastestdet,minilm"
DEFAULT = ASCEND.pipelines["default"]
CLOSING = "quantize-weights,calibrate"
KNOBS: Mapping[str, str] = {
    "not equalized": DEFAULT.replace("equalize-layers,", ""),
    "default": DEFAULT,
    "model-wise": DEFAULT.replace(CLOSING, "search-method"),
    "layer-wise": DEFAULT.replace(CLOSING, "search-method{scope=layer}"),
    "bias": DEFAULT.replace(CLOSING, f"{CLOSING},correct-bias"),
    "model-wise, bias": DEFAULT.replace(CLOSING, "search-method,correct-bias"),
    "int16": "int16",
}
"""Column -> pipeline, for `ascend`."""
PRECISIONS: Mapping[str, str] = {
    "qdq int8": "default",
    "qdq int16": "int16",
    "qdq int16-ec": "int16-ec",
    "qdq dual-int16": "dual-int16",
    "qdq float16": "float16",
}
"""Column -> pipeline, for `qdq`."""
TABLES = {"knobs": ("ascend", KNOBS), "precisions": ("qdq", PRECISIONS)}


def main() -> None:
    parser = argparse.ArgumentParser(description="what each knob of quantization brings")
    parser.add_argument("--table", choices=tuple(TABLES), default="knobs", help="which one (default: knobs)")
    parser.add_argument("--only", default=CASES, help=f"comma-separated cases (default: {CASES})")
    parser.add_argument("--json", help="file that keeps the results")
    parser.add_argument("--resume", action="store_true", help="keep what that file has")
    options = parser.parse_args()
    results = Results(options.json, resume=options.resume)
    target, pipelines = TABLES[options.table]
    rows = []
    for case in selected(options.only):
        exact = results.get(f"{case.name}/float", lambda c=case: {"score": c.score(c.model)})
        scores = []
        for name, pipeline in pipelines.items():
            print(f"{case.name}, {name} …", file=sys.stderr)
            found = results.get(f"{case.name}/{name}", lambda c=case, p=pipeline: score(c, target, p))
            scores.append(score_text(float(found["score"])))
        rows.append([case.name, case.metric, score_text(float(exact["score"])), *scores])
    print(markdown(["case", "metric", "FP32", *pipelines], rows, left=2))


def score(case: Case, target: str, pipeline: str) -> Result:
    """Quantize a case and score it."""
    import qir

    with tempfile.TemporaryDirectory(prefix="qir-tuning-") as folder:
        made = qir.quantize(
            case.model,
            case.feeds(),
            target=target,
            pipeline=pipeline,
            output=Path(folder) / "model",
            proof_samples=0,
        )
        assert made.paths is not None
        sqnr = min(output.sqnr for output in made.report.outputs)
        return {"score": case.score(made.paths.fake_quant_model), "sqnr": sqnr}


if __name__ == "__main__":
    main()
