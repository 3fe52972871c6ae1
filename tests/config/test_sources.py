"""What a configuration may come from, and what is said of nodes that it cannot speak of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from amct_models import DATA, TARGET, layers

import qir
from qir.config.float_reasons import float_reasons
from qir.config.levels.convert import levels_config
from qir.config.levels.reader import levels_of
from qir.config.method_text import method_text
from qir.config.open import as_levels
from qir.config.outline import outline
from qir.config.resolved_file import path_beside, write_resolved
from qir.config.settings import Method, QuantConfig
from qir.config.table import Row
from qir.ir.errors import ConfigError
from qir.passes.calibrate import Calibrate
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline

ENTRIES: dict[str, object] = {"model_config": {"all_node_type": "int16"}}


def test_a_quant_config_is_known_in_every_form(tmp_path: Path) -> None:
    levels = levels_of(ENTRIES)
    file = tmp_path / "quant_config.json"
    file.write_text(json.dumps(ENTRIES))
    for source in (levels, ENTRIES, file, str(file)):
        assert as_levels(source) == levels
    amct = DATA / "mlp" / "config.json"
    for other in (QuantConfig(), tmp_path / "quant.cfg", amct, json.loads(amct.read_text())):
        assert as_levels(other) is None


MODEL = "model_config"
UNKNOWN: list[tuple[str, dict[str, object]]] = [
    ("extra", {"extra": {}, MODEL: {}}),
    ("model_config.extra", {MODEL: {"extra": 1}}),
    ("model_config.activation.extra", {MODEL: {"activation": {"extra": 1}}}),
    ("model_config.weight.extra", {MODEL: {"weight": {"extra": 1}}}),
    ("model_config.weight.bias_correction.extra", {MODEL: {"weight": {"bias_correction": {"extra": 1}}}}),
    ("model_config.modelwise_search.extra", {MODEL: {"modelwise_search": {"extra": 1}}}),
    ("model_config.layerwise_search.extra", {MODEL: {"layerwise_search": {"extra": 1}}}),
    ("op_config.Conv.extra", {"op_config": {"Conv": {"qtype": "int8", "extra": 1}}}),
    (
        "subgraph_config.a.extra",
        {"subgraph_config": {"a": {"inputs": ["b"], "outputs": ["c"], "qtype": "int8", "extra": 1}}},
    ),
    ("node_config.conv.extra", {"node_config": {"conv": {"extra": "int8"}}}),
]


@pytest.mark.parametrize(("place", "entries"), UNKNOWN, ids=[place for place, _ in UNKNOWN])
def test_an_unknown_key_is_refused_wherever_it_stands(place: str, entries: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"^{place} is an invalid parameter"):
        levels_of(entries)


def test_a_subgraph_may_have_parts_that_do_not_meet() -> None:
    inside = {"inputs": ["up", "volume"], "outputs": ["fc", "volume"], "qtype": "float32"}
    config = levels_config(levels_of({"subgraph_config": {"parts": inside}}), layers())
    assert list(config.layers) == ["up", "pool", "max", "flatten", "fc", "volume"]


def test_resolved_tables_do_not_overwrite_what_was_read(tmp_path: Path) -> None:
    path = path_beside(tmp_path / "net", None)
    assert path == tmp_path / "net_resolved_config.json"
    write_resolved(levels_of(ENTRIES), [Row("conv", "input0", "int16", "int8", "no form")], path)
    found = json.loads(path.read_text())
    assert found["quant_config"] == levels_of(ENTRIES).fields()
    assert found["resolved"] == [
        {
            "node": "conv",
            "operand": "input0",
            "requested": "int16",
            "granted": "int8",
            "reason": "no form",
        }
    ]
    assert path_beside(tmp_path / "net", tmp_path / "other.json") == path
    with pytest.raises(ConfigError, match=r"net_resolved_config\.json' is the configuration itself"):
        path_beside(tmp_path / "net", path)
    (tmp_path / "folder_resolved_config.json").mkdir()
    with pytest.raises(ConfigError, match="is to be written but is a folder"):
        path_beside(tmp_path / "folder", None)


def test_reasons_of_nodes_that_are_no_layers() -> None:
    graph = qir.parse("""
        graph @net(%x: f32[N,2]) {
          opsets {onnx=17}
          %w = const [1.0,2.0,3.0,4.0] : f32[2,2]
          %v = Relu "constant"(%w) : f32[2,2]
          %y = MatMul "mm"(%x, %v) : f32[N,2]
          %z = Relu "act"(%y) : f32[N,2]
          return %z
        }
    """)
    before = outline(graph)
    PassManager("infer-types,fold-constants,eliminate-dead").run(graph, qir.Context(rules=TARGET.rules))
    assert float_reasons(before, graph, TARGET) == {
        "constant": "it has been folded into constants or into other nodes",
        "act": "target 'ascend' computes Relu as the float model does",
    }


@pytest.mark.parametrize(
    "method",
    [
        Method("min-max"),
        Method.of("kl", {"num_bin": 512}),
        Method.of("ifmr", {"max_percentile": 0.99, "step": 0.02}),
    ],
)
def test_methods_are_options_of_a_pass(method: Method) -> None:
    (item,) = parse_pipeline(f"calibrate{{{method_text(method)}}}")
    assert isinstance(item, Calibrate)
    for name, value in method.options:
        assert getattr(item.method, name) == value
