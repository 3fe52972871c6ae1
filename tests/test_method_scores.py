"""A search of methods through the front door: by pipeline text or quant_config, with its table as a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qir
from qir.cli.main import main
from qir.samples import sample_named

SAMPLE = sample_named("digits")
SEARCH = {
    "model_config": {
        "activation": {"calibration_type": ["max", "kl"], "max_percentile": [1.0, 0.9999]},
        "modelwise_search": {"metric": "mse"},
    }
}


def images(count: int = 8) -> dict[str, np.ndarray]:
    with np.load(SAMPLE.calibration) as data:
        return {"input": data["input"][:count]}


def test_a_quant_config_with_lists_writes_its_scores(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps(SEARCH))
    made = qir.quantize(SAMPLE.model, images(), config=tmp_path / "q.json", output=tmp_path / "d")
    table = json.loads((tmp_path / "d_method_scores.json").read_text())
    assert (table["scope"], table["metric"], table["samples"]) == ("model", "mse", 8)
    methods = [(entry["method"], entry["weights"]) for entry in table["candidates"]]
    names = ["min-max", "percentile", "kl"]
    assert methods == [(name, weights) for weights in ("arq", "mse") for name in names]
    scores = [entry["score"] for entry in table["candidates"]]
    assert table["chosen"] == int(np.argmin(scores))
    assert made.paths is not None
    assert made.scores_path == tmp_path / "d_method_scores.json"
    assert made.report.proof is not None


def test_the_command_says_where_the_scores_are(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps(SEARCH))
    options = ["--quant-config", str(tmp_path / "q.json"), "-o", str(tmp_path / "d"), "--proof-samples", "0"]
    done = CliRunner().invoke(main, ["quantize", "sample:digits", *options])
    assert done.exit_code == 0, done.output
    written = {line.removeprefix("wrote ") for line in done.stdout.splitlines() if line.startswith("wrote ")}
    assert written == {str(path) for path in tmp_path.glob("d_*")}


def test_each_layer_its_own(tmp_path: Path) -> None:
    config = {"model_config": {"layerwise_search": {"topk": 1, "qtype": "int16"}}}
    made = qir.quantize(SAMPLE.model, images(), config=config, output=tmp_path / "d")
    table = json.loads((tmp_path / "d_method_scores.json").read_text())
    assert table["scope"] == "layer"
    assert len(table["layers"]) == 8
    (raised,) = table["raised"]["layers"]
    precisions = {layer.name: layer.precision for layer in made.report.layers}
    assert [name for name, precision in precisions.items() if precision == "int16"] == [raised]


def test_layers_with_types_of_their_own_are_not_raised(tmp_path: Path) -> None:
    config = {
        "model_config": {"layerwise_search": {"qtype": "int16"}},
        "op_config": {"Gemm": {"qtype": "int8"}},
        "node_config": {"/a/a.0/Conv": {"qtype": "float16"}, "/b/b.0/Conv": {"input0": "int8"}},
    }
    made = qir.quantize(SAMPLE.model, images(), config=config, output=tmp_path / "d")
    for layer in made.report.layers:
        pinned = {"/a/a.0/Conv": "float16", "/b/b.0/Conv": "int8"}.get(layer.name)
        assert layer.precision == (pinned or ("int16" if layer.op == "Conv" else "int8")), layer.name
    table = json.loads((tmp_path / "d_method_scores.json").read_text())
    refused = {layer.name for layer in made.report.layers if layer.op == "AveragePool"}
    assert set(table["raised"]["refused"]) == refused
    rows = {(row.node, row.operand): row for row in made.resolved}
    for name in table["raised"]["layers"]:
        row = rows[name, "input0"]
        assert row.requested == "int16"
        if name in refused:
            assert row.granted == "int8"
            assert "no INT16 form of AveragePool" in row.reason
        else:
            assert (row.granted, row.reason) == ("int16", "raised by layerwise_search")


def test_statistics_for_a_search_are_taken_once(tmp_path: Path) -> None:
    statistics = qir.calibrate(SAMPLE.model, images(), pipeline=f"{READY},search-method,quantize-bias")
    text = f"{READY},search-method{{methods=min-max,kl}},quantize-bias"
    given = qir.quantize(SAMPLE.model, images(), statistics=statistics, pipeline=text)
    taken = qir.quantize(SAMPLE.model, images(), pipeline=text)
    assert str(given.graph) == str(taken.graph)
    with pytest.raises(qir.QirError, match="compares outputs on data"):
        qir.quantize(SAMPLE.model, statistics=statistics, pipeline=text)


READY = "infer-types,fold-constants,eliminate-identity,fuse-bn,normalize-gemm,infer-types,insert-quant"
