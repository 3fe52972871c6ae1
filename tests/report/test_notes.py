"""Sentences about a model that no table says: what was not folded, and weights that are zero."""

from __future__ import annotations

import numpy as np

import qir

NET = qir.parse("""
graph @net(%x: f32[N,2,4,4]) {
  opsets {onnx=17}
  %w = const [WEIGHTS] : f32[3,2,1,1]
  %s = const [1.0,2.0,3.0] : f32[3]
  %b = const [0.1,0.2,0.3] : f32[3]
  %v = const [4.0,5.0,6.0] : f32[3]
  %a = Conv "conv"(%x, %w) : f32[N,3,4,4]
  %n = BatchNormalization "bn"(%a, %s, %b, %b, %v) : f32[N,3,4,4]
  %y = Add "add"(%n, %a) : f32[N,3,4,4]
  return %y
}
""".replace("WEIGHTS", "1.0,0.5,0.0,0.0,-1.0,0.25"))  # fmt: skip
DATA = {"x": np.random.default_rng(0).random((4, 2, 4, 4), np.float32)}


def test_a_normalization_that_stays_is_noted_with_its_reason() -> None:
    (note, _) = qir.quantize(NET, DATA).report.notes
    assert note == (
        "1 BatchNormalization not folded into a layer: 'bn' ('a' must not change: node 'add' reads it too)"
    )


def test_one_that_was_folded_is_not() -> None:
    graph = NET.clone()
    graph.node("add").set_input(1, graph.value("n"))
    assert [n for n in qir.quantize(graph, DATA).report.notes if "BatchNormalization" in n] == []


def test_channels_without_weight_are_noted() -> None:
    (_, note) = qir.quantize(NET, DATA).report.notes
    assert note == "weights whose channels are zero, so that their scale is 1: 1 of 3 of 'w'"
    whole = NET.clone()
    plain = "infer-types,insert-quant{per-channel=false},quantize-weights,calibrate,quantize-bias"
    assert [n for n in qir.quantize(whole, DATA, pipeline=plain).report.notes if "zero" in n] == []
