"""Times of two models: what is in the table, and what is said of a quantized model that gains nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import qir
from qir.cli.main import main
from qir.ir.errors import ConfigError

NET = qir.parse(
    """
graph @net(%x: f32[N,4,96,96]) {
  opsets {onnx=17}
  %w = const [WEIGHT] : f32[4,4,1,1]
  %a = Conv "first"(%x, %w) : f32[N,4,96,96]
  %b = Conv "second"(%a, %w) : f32[N,4,96,96]
  %s = Sigmoid "s"(%b) : f32[N,4,96,96]
  return %s
}
""".replace("WEIGHT", ",".join(str(i / 16) for i in range(16)))
)
"""Large enough for kernels to take microseconds on any machine: ONNX Runtime counts no less."""
DATA = {"x": np.random.default_rng(0).standard_normal((6, 4, 96, 96)).astype(np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("times")
    qir.save(NET, place / "float.onnx")
    qir.quantize(NET, DATA, output=place / "qdq", target="qdq")
    qir.quantize(NET, DATA, output=place / "plain")
    np.savez(place / "data.npz", **DATA)
    return place


def test_kernels_and_the_whole_of_both_models(folder: Path) -> None:
    found = qir.benchmark(
        folder / "float.onnx", folder / "qdq_fake_quant_model.onnx", DATA, samples=3, rounds=2
    )
    assert found.samples == 3
    assert found.ratio == found.candidate.seconds / found.reference.seconds > 0
    floats, integers = found.reference.by_op(), found.candidate.by_op()
    assert sum(floats.get(op, (0, 0))[0] for op in ("Conv", "FusedConv")) == 2
    assert integers["QLinearConv"][0] == 1
    assert "QLinearConv" not in floats
    assert all(sum(seconds for _, seconds in side.values()) > 0 for side in (floats, integers))


def test_layers_that_stand_alone_are_named(folder: Path) -> None:
    found = qir.benchmark(NET, folder / "qdq_fake_quant_model.onnx", DATA, samples=1, rounds=1)
    pairs, islands = found.notes
    assert re.match(r"QuantizeLinear and DequantizeLinear take \d+ % of the time of 'qdq_fake", pairs)
    assert islands.startswith("1 quantized layers of 'qdq_fake_quant_model.onnx' run in float behind")
    assert "'second'" in islands
    assert "first" not in islands


def test_plain_float_ops_are_no_measure_of_speed(folder: Path) -> None:
    (note,) = qir.benchmark(NET, folder / "plain_fake_quant_model.onnx", DATA, samples=1, rounds=1).notes
    assert "it shows the accuracy, not the speed" in note


def test_a_deploy_graph_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"'plain_deploy_model\.onnx' is a deploy graph: it runs on Ascend"):
        qir.benchmark(NET, folder / "plain_deploy_model.onnx", DATA)


def test_the_command(folder: Path) -> None:
    words = ["compare", folder / "float.onnx", folder / "qdq_fake_quant_model.onnx"]
    done = CliRunner().invoke(main, [*map(str, words), "--data", str(folder / "data.npz"), "--benchmark"])
    assert done.exit_code == 0, done.output
    for part in (
        "kernel",
        "QLinearConv",
        "whole model",
        "times as long as A",
        "(6 samples, median)",
        "note: 1 q",
    ):
        assert part in done.stdout
