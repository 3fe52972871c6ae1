"""The real models that benchmarks quantize: every ONNX file of the assets, with its data and its metric."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.assets import Feed, case_path, evaluation, session_runner


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


def _digits(kind: str, opset: int) -> Case:
    metric = "mean IoU" if kind == "seg" else "accuracy"
    return Case(f"digits_{kind}_op{opset}", "digits", f"{kind}_op{opset}.onnx", metric, {"kind": kind})


CASES = (
    Case("mnist", "mnist", "mnist.onnx", "accuracy"),
    Case("superres", "superres", "superres_core_op13.onnx", "PSNR, dB"),
    Case("ppocr_cls", "ppocr_cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx", "accuracy"),
    Case("ppocr_rec", "ppocr_rec", "ch_PP-OCRv4_rec_infer.onnx", "characters"),
    Case("fastestdet", "fastestdet", "FastestDet.onnx", "F1"),
    Case("minilm", "minilm", "minilm_l6_smallvocab_op17.onnx", "Spearman x100", {"full": False}),
    Case("efficientnet_lite0", "efficientnet_lite0", "efficientnet_lite0_bn_op17.onnx", "top-1"),
    *(
        _digits(kind, opset)
        for kind in ("cnn", "seg", "conv3d", "lstm", "gru", "bilstm")
        for opset in (13, 17)
    ),
)


def selected(only: str | None) -> tuple[Case, ...]:
    """The cases that `only` asks for; leaves the program when a part of it asks for none."""
    if only is None:
        return CASES
    wanted = [part.strip() for part in only.split(",")]
    for part in wanted:
        if not any(case.name.startswith(part) for case in CASES):
            sys.exit(f"no case is called '{part}'; known: {', '.join(case.name for case in CASES)}")
    return tuple(case for case in CASES if any(case.name.startswith(part) for part in wanted))


def score_text(score: float) -> str:
    """A metric as tables show it."""
    return f"{score:.4f}" if score <= 1 else f"{score:.2f}"
