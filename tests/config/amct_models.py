"""Models for tests of AMCT's configuration: the reference's nets, and one of our own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import qir
from qir.backends.targets import target_named
from qir.config.layers import Model, read_model
from qir.ir.graph import Graph
from qir.passes.pipeline import parse_pipeline

DATA = Path(__file__).parents[1] / "data" / "amct"
NETS = ("cnn_bn", "resid", "decon", "mlp", "vol")
VARIANTS = ("default_sym", "hfmg", "dmq", "fp16", "int4")
TARGET = target_named("ascend")

LAYERS = """
graph @layers(%x: f32[N,2,8,8], %v: f32[N,2,4,4,4]) {
  opsets {onnx=17}
  %w = const [1.0,2.0,3.0,4.0] : f32[2,2,1,1]
  %u = const [1.0,2.0,3.0,4.0] : f32[2,2,1,1,1]
  %b = const [1.0,2.0] : f32[2]
  %m = const [1.0,2.0,3.0,4.0] : f32[2,2]
  %a = Conv "conv"(%x, %w, -) {kernel_shape=[1,1]} : f32[N,2,8,8]
  %c = Relu "relu"(%a) : f32[N,2,8,8]
  %d = ConvTranspose "up"(%c, %w, %b) {kernel_shape=[1,1]} : f32[N,2,8,8]
  %p = AveragePool "pool"(%d) {kernel_shape=[8,8]} : f32[N,2,1,1]
  %q = MaxPool "max"(%p) {kernel_shape=[1,1]} : f32[N,2,1,1]
  %f = Flatten "flatten"(%q) : f32[N,2]
  %g = Gemm "fc"(%f, %m, %b) : f32[N,2]
  %n = MatMul "mm"(%g, %m) : f32[N,2]
  %s = Add "sum"(%n, %g) : f32[N,2]
  %k = Conv "volume"(%v, %u, -) {kernel_shape=[1,1,1]} : f32[N,2,4,4,4]
  return %s, %k
}
"""


def graph_of(net: str) -> Graph:
    return qir.load(DATA / net / "float.onnx")


@cache
def model_of_net(net: str, pipeline: str = "amct") -> Model:
    return read_model(graph_of(net), TARGET, parse_pipeline(pipeline, named=TARGET.pipelines))


@cache
def layers() -> Model:
    return read_model(qir.parse(LAYERS), TARGET, parse_pipeline("default", named=TARGET.pipelines))


def config_text(net: str) -> str:
    return (DATA / net / "config.json").read_text()
