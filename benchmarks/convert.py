"""What is left of the accuracy of a QDQ model of ONNX Runtime's quantizer after `qir convert`?

Each ONNX case of the assets is quantized by ONNX Runtime (int8, weights per channel) and converted. The table
has the metric of the float model, of ONNX Runtime's model, of the converted fake-quant model in both forms
and, with --deploy, of the deploy model in qir's executor; how many of the layers that compute with weights or
pool run in integers; and how many pairs of QuantizeLinear and DequantizeLinear stay between float ops. With
--drop those go, and the column counts these. All are scored on the same data, without ONNX Runtime's int8
kernels. Run from the repository's root:

    python -m benchmarks.convert [--only ppocr_rec,digits] [--method Percentile] [--drop] [--deploy]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.assets import Feed, evaluation
from benchmarks.cases import Case, selected
from benchmarks.quantizers import ort_quantizer, quiet
from benchmarks.results import REASON
from benchmarks.tables import markdown


def main() -> None:
    parser = argparse.ArgumentParser(description="accuracy of converted QDQ models")
    parser.add_argument("--only", help="comma-separated names of cases")
    parser.add_argument("--method", default="MinMax", help="ONNX Runtime's calibrator (default: MinMax)")
    parser.add_argument("--drop", action="store_true", help="without the pairs between float ops")
    parser.add_argument("--deploy", action="store_true", help="score the deploy models too")
    options = parser.parse_args()
    rows = []
    for case in selected(options.only):
        print(f"converting {case.name}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="qir-convert-") as made:
            try:
                rows.append(row(case, Path(made), options.method, options.drop, options.deploy))
            except Exception as error:  # peers raise whatever they like; the table goes on
                rows.append([case.name, case.metric, f"failed: {error}"[:REASON], *[""] * 6])
    header = [
        "case",
        "metric",
        "float",
        "ORT QDQ",
        "form qdq",
        "form ascend",
        "deploy",
        "layers",
        "pairs gone" if options.drop else "pairs kept",
    ]
    print(markdown(header, rows, left=2))


def row(case: Case, folder: Path, method: str, drop: bool, deploy: bool) -> Sequence[str]:
    """The line of a case: metrics and counts."""
    import qir
    from qir.ir.quants import TENSOR_OPS

    with quiet():
        quantized = ort_quantizer(method).run(case.model, case.feeds(), folder)
        forms = {
            form: qir.convert_qdq(
                quantized, folder / form, form=form, between_floats="drop" if drop else "keep"
            )
            for form in ("qdq", "ascend")
        }
        models = [case.model, quantized, *(found.paths.fake_quant_model for found in forms.values())]
        scores = [f"{case.score(model):.4f}" for model in models]
        scores.append(f"{deploy_score(case, forms['ascend'].paths.deploy_model):.4f}" if deploy else "")
    layers = [layer for layer in forms["ascend"].layers if layer.op not in TENSOR_OPS]
    count = f"{sum(layer.is_quantized for layer in layers)}/{len(layers)}"
    pairs = len(forms["ascend"].removed) if drop else forms["ascend"].kept
    return [case.name, case.metric, *scores, count, str(pairs)]


def deploy_score(case: Case, model: Path) -> float:
    """The metric of a deploy model on the dev split."""
    import qir

    session = qir.DeploySession(model)

    def run(feed: Feed) -> list[object]:
        return list(session.run(None, dict(feed)))

    return float(evaluation(case.folder).evaluate(run, split="dev", **case.arguments))


if __name__ == "__main__":
    main()
