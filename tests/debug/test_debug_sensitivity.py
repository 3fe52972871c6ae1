"""Sensitivity of nodes, weights and activations against a model that is rounded by numpy, node by node."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rounded_net import each_sample, net, samples, values_of

import qir
from qir.backends.targets import target_named
from qir.debug import get_sensitivity_of_nodes, open_model
from qir.debug.opened import Opened
from qir.debug.selection import threshold_of
from qir.debug.sensitivity import sensitivity_table
from qir.debug.tables import NODE_TYPES
from qir.ir.errors import CalibrationError, ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.quants import quant_of
from qir.ir.types import QuantParams
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.runtime.metrics import metric_named
from qir.runtime.switches import Choice, Reading, switchables

OUTPUTS = ("y", "s")


def expected(graph: Graph, choice: Choice, metric: str, outputs: tuple[str, ...] = OUTPUTS) -> float:
    """The mean over the samples of the worst score of an output."""
    measure = metric_named(metric)
    scores = []
    for feeds in each_sample():
        before, after = values_of(graph, frozenset(), feeds), values_of(graph, choice, feeds)
        scores.append(measure.worst([measure.compare(before[n], after[n]) for n in outputs]))
    return float(np.mean(scores))


def choices(graph: Graph, node_type: str) -> dict[str, Choice]:
    found = {name: item.readings(NODE_TYPES[node_type]) for name, item in switchables(graph).items()}
    return {name: choice for name, choice in found.items() if choice}


@pytest.mark.parametrize("node_type", ["node", "weight"])
def test_scores_are_those_of_the_model_with_one_node_quantized(
    closed: Graph, opened: Opened, node_type: str
) -> None:
    found = get_sensitivity_of_nodes(opened, ["mse", "sqnr"], None, node_type=node_type)
    known = choices(closed, node_type)
    assert set(found) == {"first", "second", "third", "dense"} == set(known)
    for name, scores in found.items():
        for metric, score in scores.items():
            assert score == pytest.approx(expected(closed, known[name], metric), rel=2e-3)
    errors = [scores["mse"] for scores in found.values()]
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) == 4


def test_an_activation_is_rounded_for_all_its_readers(closed: Graph, opened: Opened) -> None:
    table = sensitivity_table(opened, "mse", node_type="activation")
    rows = {row.node: row for row in table.rows}
    readers = {"x": {"first"}, "r": {"second", "third"}, "s": {"dense"}}
    assert {name: set(row.nodes) for name, row in rows.items()} == readers
    for name, row in rows.items():
        choice = frozenset(Reading(node, 0) for node in readers[name])
        assert row.scores["mse"] == pytest.approx(expected(closed, choice, "mse"), rel=2e-3)
        params = quant_of(closed.node(row.nodes[0]).input(0))
        assert isinstance(params, QuantParams)
        scale, zero = params.scale[0], params.zero_point[0]
        assert row.threshold == pytest.approx(max((127 - zero) * scale, (128 + zero) * scale))
        assert row.threshold == threshold_of(params)
        assert (row.bits, row.tensor) == (8, name)
    assert rows["r"].op == "Relu"
    assert rows["x"].op == "input"


def test_one_reader_of_a_shared_tensor_alone_leaves_the_other_in_float(closed: Graph, opened: Opened) -> None:
    assert closed.node("second").input(0) is closed.node("third").input(0)
    found = get_sensitivity_of_nodes(opened, "mse", None, interested_nodes=["second"])
    assert found["second"]["mse"] == pytest.approx(
        expected(closed, switchables(closed)["second"].readings(), "mse"), rel=2e-3
    )


def test_groups_are_quantized_together(closed: Graph, opened: Opened) -> None:
    names = [["first", "dense"], "second", ["second", "third"]]
    found = get_sensitivity_of_nodes(opened, "mse", None, interested_nodes=names)
    known = choices(closed, "node")
    assert set(found) == {"first + dense", "second", "second + third"}
    for label, scores in found.items():
        choice = frozenset(reading for name in label.split(" + ") for reading in known[name])
        assert scores["mse"] == pytest.approx(expected(closed, choice, "mse"), rel=2e-3)


def test_another_output_node_and_fewer_samples(closed: Graph) -> None:
    known = choices(closed, "node")
    found = get_sensitivity_of_nodes(closed, "mse", samples(), output_node="third", data_num=2)
    assert set(found) == {"first", "third"}  # the others do not lead there
    measure = metric_named("mse")
    for name, scores in found.items():
        errors = [
            measure.compare(values_of(closed, frozenset(), f)["d"], values_of(closed, known[name], f)["d"])
            for f in each_sample()[:2]
        ]
        assert scores["mse"] == pytest.approx(float(np.mean(errors)), rel=2e-3)
    unaffected = get_sensitivity_of_nodes(
        closed, "mse", samples(), output_node="third", interested_nodes="dense"
    )
    assert unaffected == {"dense": {"mse": 0.0}}


def test_samples_in_several_turns_give_the_same(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = get_sensitivity_of_nodes(opened, ["mse", "sqnr"], None)
    monkeypatch.setattr("qir.runtime.group_effects.SAMPLES_AT_ONCE", 2)
    assert get_sensitivity_of_nodes(opened, ["mse", "sqnr"], None) == whole


def test_a_stream_that_ends_early_is_noticed(closed: Graph) -> None:
    def feeds() -> Iterator[dict[str, Any]]:
        yield from each_sample()

    with pytest.raises(ConfigError, match="data_num: 5 samples were asked for, the data have 3"):
        get_sensitivity_of_nodes(closed, "mse", feeds, data_num=5)


def test_files_have_the_numbers_of_the_table(opened: Opened, tmp_path: Path) -> None:
    found = get_sensitivity_of_nodes(
        opened, ["cosine-similarity", "mse"], None, node_type="activation", save_dir=tmp_path
    )
    content = json.loads((tmp_path / "sensitivity_activation.json").read_text())
    assert {key: content[key] for key in ("format", "kind", "model", "samples", "node_type")} == {
        "format": 1, "kind": "sensitivity", "model": None, "samples": 3, "node_type": "activation",
    }  # fmt: skip
    assert content["metrics"] == [
        {"name": "cosine-similarity", "worse": "low"}, {"name": "mse", "worse": "high"},
    ]  # fmt: skip
    assert content["picture"] == "sensitivity_activation.png"
    assert (tmp_path / "sensitivity_activation.png").read_bytes().startswith(b"\x89PNG")
    assert {row["node"]: row["scores"] for row in content["rows"]} == found
    lines = list(csv.DictReader(io.StringIO((tmp_path / "sensitivity_activation.csv").read_text())))
    for line, row in zip(lines, content["rows"], strict=True):
        assert (int(line["rank"]), line["node"], line["op"]) == (row["rank"], row["node"], row["op"])
        assert float(line["mse"]) == row["scores"]["mse"]
        assert (float(line["threshold"]), int(line["bits"])) == (row["threshold"], row["bits"])


def test_verbose_prints_the_table(opened: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    found = get_sensitivity_of_nodes(opened, "mse", None, node_type="activation", verbose=True)
    text = capsys.readouterr().out
    for name, scores in found.items():
        assert name in text
        assert f"{scores['mse']:.4g}" in text
    assert "threshold" in text


def test_float_models_files_and_results_give_the_same(closed: Graph, tmp_path: Path) -> None:
    path = tmp_path / "net.qir"
    qir.save(closed, path)
    result = qir.quantize(net(), samples(), proof_samples=0)
    every = [get_sensitivity_of_nodes(m, "mse", samples()) for m in (net(), closed, path, str(path), result)]
    assert all(found == every[0] for found in every)
    skipping = {"node_config": {"second": {"qtype": "float32"}}}
    found = get_sensitivity_of_nodes(net(), "mse", samples(), config=skipping)
    assert set(found) == {"first", "third", "dense"}


def test_the_model_is_left_as_it_is(closed: Graph, opened: Opened) -> None:
    text = str(closed)
    get_sensitivity_of_nodes(opened, "mse", None)
    assert str(closed) == text


def call(opened: Opened, **arguments: Any) -> Callable[[], object]:
    arguments.setdefault("metrics", "mse")
    return lambda: get_sensitivity_of_nodes(opened, calibrated_data=None, **arguments)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"metrics": []}, "metrics: the list is empty"),
    ({"metrics": "cosine"}, "there is no metric 'cosine'"),
    ({"node_type": "weights"}, "did you mean 'weight'"),
    ({"interested_nodes": []}, "interested_nodes: the list is empty"),
    ({"interested_nodes": [["first"], []]}, "interested_nodes: the list is empty"),
    ({"interested_nodes": [3]}, "names of nodes are expected, not 3"),
    ({"interested_nodes": ["frist"]}, "no node or quantized tensor 'frist'; did you mean 'first'"),
    ({"interested_nodes": ["act"]}, r"node 'act' \(Relu\) has no quantizers, it computes in float"),
    (
        {"output_node": "secnod"},
        "output_node: the model has no node or result 'secnod'; did you mean 'second'",
    ),
    ({"output_node": "best"}, "output_node: the node 'best' returns no floats"),
    ({"data_num": 4}, "data_num: 4 samples were asked for, the data have 3"),
    ({"data_num": 0}, "data_num: a whole number from 1 on"),
    ({"data_num": True}, "data_num: a whole number from 1 on"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[text[:30] for _, text in BAD])
def test_bad_arguments(opened: Opened, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(opened, **arguments)()


def test_bad_models_and_data(closed: Graph, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="calibrated_data: no data"):
        get_sensitivity_of_nodes(closed, "mse", None)
    with pytest.raises(ConfigError, match="method: the model is quantized already"):
        open_model(closed, samples(), method="kl")
    drawn = net()
    PassManager("infer-types,insert-quant,quantize-weights").run(
        drawn, Context(rules=target_named("ascend").rules)
    )
    with pytest.raises(PassError, match="has no scale yet; run calibrate first"):
        get_sensitivity_of_nodes(drawn, "mse", samples())
    with pytest.raises(CalibrationError, match="'z' is not an input"):
        get_sensitivity_of_nodes(closed, "mse", {"z": samples()["x"]})
    with pytest.raises(CalibrationError, match="no samples"):
        get_sensitivity_of_nodes(closed, "mse", [])
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        get_sensitivity_of_nodes(closed, "mse", samples(), save_dir=file)
    plain = parse_graph(
        "graph @g(%x: f32[N,3]) {\n opsets {onnx=13}\n %y = Relu(%x) : f32[N,3]\n return %y }", "t"
    )
    with pytest.raises(qir.QirError, match="no layer was quantized"):
        get_sensitivity_of_nodes(plain, "mse", {"x": np.ones((2, 3), np.float32)})


def test_values_that_are_not_finite_name_the_node(closed: Graph) -> None:
    data = samples()
    data["x"][1] = np.nan
    with pytest.raises(CalibrationError, match="sample 1"):
        get_sensitivity_of_nodes(closed, "mse", data)


def test_other_targets_and_precisions() -> None:
    scores = {}
    for kind in ("int8", "int16", "int16-ec"):
        config = {"model_config": {"all_node_type": kind}}
        opened = open_model(net(), samples(), target="qdq", config=config)
        scores[kind] = sensitivity_table(opened, "sqnr", node_type="weight").scores["first"]["sqnr"]
    assert scores["int16-ec"] > scores["int8"] + 30  # two int8 tensors instead of one
