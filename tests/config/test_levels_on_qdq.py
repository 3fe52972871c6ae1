"""quant_config on target `qdq`, which has every precision: what it asks is what it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amct_models import LAYERS

import qir
from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.config.levels.file import Levels
from qir.config.run import configured_pipeline, resolved_rows
from qir.ir.errors import ConfigError
from qir.passes.insert_quant import InsertQuant
from qir.passes.pipeline import parse_pipeline, print_pipeline
from qir.runtime.session import Session

QDQ = target_named("qdq")
BASE = parse_pipeline("default", named=QDQ.pipelines)
Json = dict[str, Any]


def table(entries: Json) -> dict[tuple[str, str], tuple[str, str, str]]:
    rows = resolved_rows(qir.parse(LAYERS), entries or Levels(), QDQ, BASE)
    return {(row.node, row.operand): (row.requested, row.granted, row.reason) for row in rows}


def inserts(entries: Json) -> str:
    passes = configured_pipeline(qir.parse(LAYERS), entries, QDQ, BASE)
    return print_pipeline([item for item in passes if isinstance(item, InsertQuant)])


def whole(qtype: str) -> Json:
    return {"model_config": {"all_node_type": qtype}}


@pytest.mark.parametrize(
    ("qtype", "first", "second"),
    [
        ("int8", "int8", "int8"),
        ("int16-ec", "int16", "ec"),
        ("dual-int16", "int16", "int16"),
        ("float16", "float16", "float16"),
    ],
)
def test_precisions_of_the_whole_model(qtype: str, first: str, second: str) -> None:
    found = table(whole(qtype))
    assert {row[1] for (_, operand), row in found.items() if operand == "input0"} == {first}
    assert {row[1] for (_, operand), row in found.items() if operand == "input1"} == {second}
    assert {row[2] for row in found.values()} == {""}
    assert inserts(whole(qtype)) == (
        "insert-quant" if qtype == "int8" else f"insert-quant{{precision={qtype}}}"
    )


def test_int16_says_that_other_operands_are_int8() -> None:
    found = table(whole("int16"))
    assert found["conv", "input0"] == ("int16", "int16", "")
    assert found["conv", "input1"][:2] == ("int16", "int8")
    assert "int16-ec and dual-int16 raise the others, too" in found["conv", "input1"][2]


def test_operands_one_by_one() -> None:
    entries = {
        "node_config": {
            "conv": {"input0": "int16", "input1": "ec"},
            "up": {"input0": "ec", "input1": "float16"},
            "fc": {"qtype": "int16", "input1": "float32"},
            "mm": {"qtype": "float32"},
            "volume": {"input0": "float32"},
        }
    }
    found = table(entries)
    assert [found["conv", f"input{i}"][1] for i in (0, 1)] == ["int16", "ec"]
    assert [found["up", f"input{i}"][1] for i in (0, 1)] == ["ec", "float16"]
    assert [found["fc", f"input{i}"][1] for i in (0, 1)] == ["int16", "float32"]
    assert [found["mm", f"input{i}"][1] for i in (0, 1)] == ["float32", "float32"]
    assert [found["volume", f"input{i}"][1] for i in (0, 1)] == ["float32", "int8"]
    assert [found["pool", "input0"][1]] == ["int8"]
    assert not [row for row in found.values() if row[2]]
    assert inserts(entries) == (
        "insert-quant{operands=0:ec,1:float16 ops=ConvTranspose},insert-quant{ops=AveragePool},"
        "insert-quant{precision=int16 operands=1:float32 ops=Gemm},"
        "insert-quant{operands=0:float32 layers=volume},insert-quant{precision=int16-ec skip=mm}"
    )


def test_two_computed_operands() -> None:
    text = """
graph @attention(%q: f32[2,3,4], %k: f32[2,4,3], %g: f32[1,2,2,2], %i: f32[1,1,3,3]) {
  opsets {onnx=17}
  %s = MatMul "scores"(%q, %k) : f32[2,3,3]
  %r = GridSample "sample"(%i, %g) : f32[1,1,2,2]
  return %s, %r
}
"""
    graph = qir.parse(text)
    rows = resolved_rows(graph, {"model_config": {"all_node_type": "int16-ec"}}, QDQ, BASE)
    assert [(row.node, row.operand, row.granted) for row in rows] == [
        ("scores", "input0", "int16"), ("scores", "input1", "ec"),
        ("sample", "input0", "int16"), ("sample", "input1", "ec"),
    ]  # fmt: skip
    random = np.random.default_rng(0)
    shapes = {value.name: value.tensor.static_shape for value in graph.inputs}
    feeds = {name: random.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    made = qir.quantize(graph, [feeds], target="qdq", config=whole("int16-ec"))
    assert min(output.sqnr for output in made.report.outputs) > 75
    plain = qir.quantize(graph, [feeds], target="qdq")
    assert max(output.sqnr for output in plain.report.outputs) < 60


@pytest.mark.parametrize("kind", ["int8", "int16", "float16"])
def test_types_of_outputs(kind: str) -> None:
    entries: Json = {"model_config": {"model_output_type": kind}}
    found = table(entries)
    assert found["sum", "output"] == found["volume", "output"] == (kind, kind, "")
    assert inserts(entries) == f"insert-quant{{outputs={kind}}}"
    graph, random = qir.parse(LAYERS.replace("[N,", "[1,")), np.random.default_rng(0)
    shapes = {value.name: value.tensor.static_shape for value in graph.inputs}
    feeds = {name: random.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    made = qir.quantize(graph, [feeds], target="qdq", config=entries)
    assert [value.name for value in made.graph.outputs] == ["s", "k"]
    lowered = lower(made.graph, "qdq")
    assert [value.name for value in lowered.outputs] == ["s", "k"]
    assert [value.producer.op for value in lowered.outputs] == [
        "Cast" if kind == "float16" else "DequantizeLinear"
    ] * 2
    for name, found_output in Session(lowered).run(feeds).items():
        if kind == "float16":
            assert np.array_equal(found_output, found_output.astype(np.float16)), name
        else:
            scale = lowered.value(name).producer.inputs[1].constant.array
            steps = found_output / scale
            assert np.abs(steps - np.rint(steps)).max() < 1e-2, name


@pytest.mark.parametrize("kind", ["int8", "float16"])
def test_statistics_from_before_know_nothing_of_rounded_outputs(kind: str, tmp_path: Path) -> None:
    model, data = "sample:digits", {"input": np.zeros((2, 1, 16, 16), np.float32)}
    statistics = qir.calibrate(model, data, target="qdq")
    config = {"model_config": {"model_output_type": kind}}
    with pytest.raises(ConfigError, match=r"model_output_type: statistics .* give calibration data in"):
        qir.quantize(model, statistics=statistics, config=config, target="qdq")
    with pytest.raises(ConfigError, match=r"model_output_type: statistics"):
        qir.tune(
            model, data, lambda _: 1.0, output=tmp_path / "t", max_drop=0.1, statistics=statistics,
            config=config, target="qdq",
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
    qir.quantize(model, statistics=statistics, config=config)  # which does not round outputs
