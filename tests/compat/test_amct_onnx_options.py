"""Options of configurations through calibration graphs: the results are those of qir's pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import qir
import qir.compat.amct_onnx as amct
from qir.backends.ascend.record import LayerRecord
from qir.backends.ascend.record_reader import parse_record
from qir.backends.targets import ASCEND

# Two layers read %r, of which one has an INT16 input; a pooling may travel as integers.
NET = """
graph @net(%x: DTYPE[N,2,8,8]) {
  opsets {onnx=13}
  %w = const [1.0,-2.0,3.0,4.0] : DTYPE[2,2,1,1]
  %b = const [1.0,2.0] : DTYPE[2]
  %m = const [1.0,2.0,-3.0,4.0] : DTYPE[2,2]
  %v = const [0.5,2.0] : DTYPE[2]
  %a = Conv "conv"(%x, %w, %b) {kernel_shape=[1,1]} : DTYPE[N,2,8,8]
  %n = BatchNormalization "bn"(%a, %v, %b, %b, %v) : DTYPE[N,2,8,8]
  %r = Relu "relu"(%n) : DTYPE[N,2,8,8]
  %p = MaxPool "max"(%r) {kernel_shape=[2,2], strides=[2,2]} : DTYPE[N,2,4,4]
  %l = Conv "left"(%r, %w, %b) {kernel_shape=[1,1], strides=[2,2]} : DTYPE[N,2,4,4]
  %i = Conv "right"(%r, %w, -) {kernel_shape=[1,1], strides=[2,2]} : DTYPE[N,2,4,4]
  %s = Add "sum"(%l, %i) : DTYPE[N,2,4,4]
  %t = Add "sum2"(%s, %p) : DTYPE[N,2,4,4]
  %q = AveragePool "pool"(%t) {kernel_shape=[4,4]} : DTYPE[N,2,1,1]
  %f = Flatten "flatten"(%q) : DTYPE[N,2]
  %g = Gemm "fc"(%f, %m, %b) : DTYPE[N,2]
  return %g
}
"""
EXACT = ASCEND.pipelines["amct"].replace("weights=quantized", "weights=quantized exact=true")
PLAIN = ""
INT16 = """override_layer_configs { layer_name: "left" calibration_config {
  ifmr_quantize { dst_type: INT16 max_percentile: 0.99 } } }"""
INT6 = (
    """override_layer_configs { layer_name: "right" calibration_config { arq_quantize { quant_bits: 6 } } }"""
)
TENSOR = 'tensor_quantize { layer_name: "max" input_index: 0 ifmr_quantize { } }'
UNFUSED = 'skip_fusion_layers: "conv"'
MIXED = "common_config { hfmg_quantize { num_of_bins: 1024 asymmetric: false } } do_fusion: false"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def images(dtype: Any) -> list[Any]:
    random = np.random.default_rng(4)
    return [random.normal(size=(1, 2, 8, 8)).astype(dtype) for _ in range(3)]


def quantize(cfg: str, kind: str = "f32") -> dict[str, LayerRecord]:
    dtype = {"f32": np.float32, "f16": np.float16}[kind]
    qir.save(qir.parse(NET.replace("DTYPE", kind)), "net.onnx")
    Path("net.cfg").write_text(f"batch_num: 3 {cfg}")
    amct.create_quant_config("config.json", "net.onnx", config_defination="net.cfg")
    amct.quantize_model("config.json", "net.onnx", "modified.onnx", "record.txt")
    session = ort.InferenceSession("modified.onnx", amct.AMCT_SO)
    for image in images(dtype):
        session.run(None, {"x": image})
    amct.save_model("modified.onnx", "record.txt", "out/net")
    np.savez("data.npz", x=np.concatenate(images(dtype)))
    return parse_record(Path("record.txt").read_text())


FLOAT32_ONLY = (TENSOR, f"{INT16} {INT6} {TENSOR} {UNFUSED}")


@pytest.mark.parametrize(
    ("kind", "cfg"),
    [
        *(("f32", cfg) for cfg in (PLAIN, INT16, UNFUSED, MIXED, *FLOAT32_ONLY)),
        *(("f16", cfg) for cfg in (PLAIN, INT16, UNFUSED, MIXED)),
    ],
)
def test_results_are_those_of_the_pipeline(kind: str, cfg: str) -> None:
    found = quantize(cfg, kind)
    done = qir.quantize("net.onnx", "data.npz", config="net.cfg", pipeline=EXACT, output="own/net")
    assert done.paths is not None
    expected = parse_record(done.paths.record.read_text())
    assert list(found) == list(expected)
    for name, record in expected.items():
        mine = found[name]
        assert (mine.scale_w, mine.act_type, mine.wts_type) == (
            record.scale_w, record.act_type, record.wts_type
        )  # fmt: skip
        assert mine.is_tensor_quantize == record.is_tensor_quantize
        # ONNX Runtime computes float16 in float32, and rounds in other places when ops watch.
        tolerance = 0.03 if kind == "f16" else 1e-5
        assert mine.scale_d == pytest.approx(record.scale_d, rel=tolerance), name
        assert mine.offset_d == pytest.approx(record.offset_d, abs=1), name
    ours, theirs = (_ops(f"{folder}/net_quant.json") for folder in ("out", "own"))
    assert ours == theirs


def _ops(path: str) -> list[tuple[str, str, object]]:
    """(name, op, what it stands for) of each node of a deploy graph."""
    (graph,) = json.loads(Path(path).read_text())["graph"]
    return [(op["name"], op["type"], op["attr"]) for op in graph["op"]]


def test_layers_that_read_one_tensor_in_several_forms_have_scales_of_their_own() -> None:
    found = quantize(INT16)
    assert found["left"].act_type == "INT16"
    assert found["right"].act_type == "INT8"
    assert found["left"].scale_d < found["right"].scale_d / 100
    ops = [node.op for node in qir.load("modified.onnx").nodes]
    assert ops.count("IFMR") == 5
    assert quantize(PLAIN)["left"] != found["left"]
    assert [node.op for node in qir.load("modified.onnx").nodes].count("IFMR") == 4
