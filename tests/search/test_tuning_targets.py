"""Tuning where the calibration method is open, and for a target without a deploy model."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from chain import LAYERS, chain, in_order, samples
from heights import Least

import qir
from qir.ir.errors import ConfigError

MODEL = ("c_deploy_model.onnx", "c_fake_quant_model.onnx", "c_quant.json", "c_record.txt")


def tuned(folder: Path, judge: object, **options: object) -> qir.TuneResult:
    given = {"model": chain(), "data": samples(), "output": folder / "c", "sensitivity": in_order}
    return qir.tune(**{**given, "evaluator": judge, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "search"},
        {"config": {"model_config": {"modelwise_search": {"metric": "sqnr"}}}},
        {"config": {"model_config": {"activation": {"calibration_type": ["kl", "mse"], "num_bin": 512}}}},
    ],
)
def test_a_method_is_chosen_once_for_all_mixtures(options: dict[str, object], tmp_path: Path) -> None:
    result = tuned(tmp_path, Least({"g0": "int16"}), **options)
    phase = result.phases[1]
    assert phase.name == "calibration"
    assert "candidates" in phase.note
    config = json.loads((tmp_path / "c_quant_config.json").read_text())
    kind = config["model_config"]["activation"]["calibration_type"]
    assert isinstance(kind, str)
    assert f"calibration_type {kind}" in phase.note
    assert "modelwise_search" not in config["model_config"]
    qir.quantize(chain(), samples(), config=tmp_path / "c_quant_config.json", output=tmp_path / "again" / "c")
    for name in MODEL:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_method_for_each_layer_is_refused(tmp_path: Path) -> None:
    judge = Least({})
    with pytest.raises(ConfigError, match="layerwise_search chooses a method for each layer"):
        tuned(tmp_path, judge, config={"model_config": {"layerwise_search": {"metric": "sqnr"}}})
    assert judge.asked == []


def compensated(file: str) -> float:
    """How many layers read more than int8 weights; that of the float model, where all do."""
    graph = onnx.load(file).graph
    made = {name: node for node in graph.node for name in node.output}
    gemms = [node for node in graph.node if node.name in LAYERS]
    weights = [made.get(node.input[1]) for node in gemms]
    return float(sum(node is None or node.op_type != "DequantizeLinear" for node in weights))


def test_a_target_without_a_deploy_model(tmp_path: Path) -> None:
    result = tuned(tmp_path, compensated, target="qdq", at_least=6.0)
    phases = {phase.name: phase.met for phase in result.phases}
    assert phases["all int16"] is False
    assert phases["all int16-ec"] is True
    assert set(result.rungs.values()) == {"int16-ec"}
    assert result.reached
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "c_fake_quant_model.onnx", "c_journal.jsonl", "c_quant_config.json", "c_report.json",
        "c_resolved_config.json",
    }  # fmt: skip
    asked = {(row.operand, row.granted) for row in result.resolved}
    assert asked == {("input0", "int16"), ("input1", "ec")}
    with pytest.raises(ConfigError, match="has no form 'ascend'"):
        tuned(tmp_path, compensated, target="qdq", at_least=6.0, form="ascend")
    again = tmp_path / "again" / "c"
    qir.quantize(chain(), samples(), config=tmp_path / "c_quant_config.json", output=again, target="qdq")
    for name in ("c_fake_quant_model.onnx", "c_resolved_config.json"):
        assert (again.parent / name).read_bytes() == (tmp_path / name).read_bytes(), name
