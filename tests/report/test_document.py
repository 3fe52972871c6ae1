"""PREFIX_report.json: what layers, outputs and histograms are in it, and that it is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from pages import check_nothing_else_is_a_number, check_numbers, check_self_contained, documents, parsed

import qir
from qir.ir.errors import ConfigError
from qir.report.page import write_page
from qir.samples import sample_named

SAMPLE = sample_named("digits")


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> qir.Quantized:
    prefix = tmp_path_factory.mktemp("out") / "digits"
    return qir.quantize(SAMPLE.model, SAMPLE.calibration, output=prefix, compare_layers=True)


@pytest.fixture(scope="module")
def document(quantized: qir.Quantized) -> dict[str, object]:
    assert quantized.report_path is not None
    found: dict[str, object] = json.loads(quantized.report_path.read_text())
    return found


def images() -> np.ndarray:
    with np.load(SAMPLE.calibration) as data:
        return data["input"]


def test_outputs_are_what_numpy_says(quantized: qir.Quantized, document: dict) -> None:
    assert quantized.paths is not None
    sessions = [ort.InferenceSession(str(path)) for path in (SAMPLE.model, quantized.paths.fake_quant_model)]
    a, b = (
        np.concatenate([session.run(None, {"input": images()[i : i + 1]})[0] for i in range(8)])
        for session in sessions
    )
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    (output,) = document["outputs"]
    assert document["summary"]["compared_samples"] == 8
    assert output["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), rel=1e-7)
    assert output["l1"] == pytest.approx(np.abs(a - b).mean(), rel=1e-3)
    assert output["l2"] == pytest.approx(np.sqrt(((a - b) ** 2).mean()), rel=1e-3)
    assert output["chebyshev"] == pytest.approx(np.abs(a - b).max(), rel=1e-3)


def test_layers(quantized: qir.Quantized, document: dict) -> None:
    rows = {row["name"]: row for row in document["layers"]}
    assert list(rows) == [layer.name for layer in quantized.report.layers]
    first, pool, last = rows["/a/a.0/Conv"], rows["/pool/AveragePool"], rows["/f2/Gemm"]
    assert first["input"]["tensor"] == "input"
    assert (first["input"]["precision"], first["weight"]["precision"], first["output"]) == (
        "int8", "int8", "float32",
    )  # fmt: skip
    scale, zero = first["input"]["scale"], first["input"]["zero_point"]
    assert first["input"]["low"] == (-128 - zero) * scale
    assert first["input"]["high"] == (127 - zero) * scale
    assert first["weight"]["scales"] == 24
    assert first["weight"]["least_scale"] < first["weight"]["greatest_scale"]
    assert (pool["weight"], pool["output"]) == (None, "int8")
    assert sum(row["mac_share"] for row in rows.values()) == pytest.approx(1)
    # The last layer's result is the model's output, and the first layer has nothing quantized before it.
    assert last["cumulative"]["cosine"] == pytest.approx(document["outputs"][0]["cosine"], abs=1e-9)
    assert first["isolated"]["cosine"] == pytest.approx(first["cumulative"]["cosine"], abs=1e-9)
    assert last["isolated"]["cosine"] > last["cumulative"]["cosine"]
    assert quantized.similarity is not None
    assert quantized.similarity.cumulative["/f2/Gemm"].sqnr == last["cumulative"]["sqnr"]


def test_histograms_hold_all_of_the_data(document: dict) -> None:
    entry = next(item for item in document["histograms"] if item["tensor"] == "input")
    data = images()
    assert entry["count"] == data.size
    assert entry["least"] == data.min()
    assert entry["greatest"] == data.max()
    assert entry["zero_share"] == np.count_nonzero(data == 0) / data.size
    assert sum(entry["counts"]) == np.count_nonzero(data)
    edges = entry["left"] + entry["step"] * np.arange(len(entry["counts"]) + 1)
    expected, _ = np.histogram(data[data != 0], edges)
    assert np.abs(expected - entry["counts"]).max() <= data.size // 100
    assert entry["outside_share"] == 0


def test_the_graph_lists_what_nodes_read(document: dict) -> None:
    nodes = document["graph"]["nodes"]
    assert nodes[0]["reads"] == ["input"]
    assert not any("quant" in node["op"] for node in nodes)
    add = next(node for node in nodes if node["op"] == "Add")
    assert len(add["reads"]) == 2
    assert document["graph"]["outputs"] == [{"name": "output", "reads": [len(nodes) - 1]}]


def test_batches_and_threads_change_no_byte(quantized: qir.Quantized, tmp_path: Path) -> None:
    feeds = [{"input": images()[i : i + 13]} for i in range(0, len(images()), 13)]
    again = qir.quantize(SAMPLE.model, feeds, output=tmp_path / "digits", compare_layers=True)
    assert again.report_path is not None
    assert quantized.report_path is not None
    assert again.report_path.read_bytes() == quantized.report_path.read_bytes()


@pytest.mark.parametrize("scope", ["model", "layer"])
def test_searched_methods_and_corrected_biases(scope: str, tmp_path: Path) -> None:
    search = f"search-method{{scope={scope} samples=2 methods=min-max,kl weights=arq}}"
    pipeline = (
        f"infer-types,fold-constants,fuse-bn,insert-quant,{search},correct-bias{{samples=2}},quantize-bias"
    )
    qir.quantize(SAMPLE.model, SAMPLE.calibration, output=tmp_path / "m", pipeline=pipeline)
    page = write_page(tmp_path / "m")
    check_self_contained(page)
    found, tree = documents(tmp_path / "m"), parsed(page)
    places = check_numbers(tree, found)
    check_nothing_else_is_a_number(tree, found)
    chosen = "candidates/1/score" if scope == "model" else "layers/~1a~1a.0~1Conv/scores/"
    assert any(place.startswith(f"report/method_search/{chosen}") for place in places)
    assert {f"report/layers/0/bias_correction/{key}" for key in ("before", "after")} <= places


def test_layers_are_compared_on_data(tmp_path: Path) -> None:
    statistics = qir.calibrate(SAMPLE.model, SAMPLE.calibration)
    with pytest.raises(ConfigError, match="give data beside the statistics"):
        qir.quantize(SAMPLE.model, statistics=statistics, output=tmp_path / "m", compare_layers=True)
    done = qir.quantize(SAMPLE.model, statistics=statistics, output=tmp_path / "m")
    assert done.report_path is not None
    found = json.loads(done.report_path.read_text())
    assert (found["outputs"], found["summary"]["compared_samples"]) == ([], 0)
    assert len(found["histograms"]) == 8
    check_self_contained(write_page(tmp_path / "m"))
