"""Models opened for running, and compared layer by layer through the Python front door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import qir
from qir.comparison import Tolerance
from qir.ir.graph import Graph
from qir.running import open_model, run_model, save_outputs
from qir.samples import sample_named

SAMPLE = sample_named("digits")
AMCT = Path(__file__).parent / "data" / "amct"


def images(count: int = 4) -> dict[str, np.ndarray]:
    with np.load(SAMPLE.calibration) as data:
        return {"input": data["input"][:count]}


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> qir.Quantized:
    return qir.quantize(SAMPLE.model, images(16), output=tmp_path_factory.mktemp("q") / "digits")


def test_the_report_has_proof_and_findings(quantized: qir.Quantized) -> None:
    proof = quantized.report.proof
    assert proof is not None
    assert (proof.samples, len(proof.layers), proof.different, proof.max_abs) == (2, 8, 0, 0.0)
    assert [f.rule for f in quantized.report.findings] == ["dynamic-shape"]


def test_no_proof_where_none_is_asked_for(tmp_path: Path) -> None:
    assert qir.quantize(SAMPLE.model, images()).report.proof is None
    result = qir.quantize(SAMPLE.model, images(), output=tmp_path / "digits", proof_samples=0)
    assert result.report.proof is None
    assert result.report.findings
    with pytest.raises(qir.QirError, match="proof_samples"):
        qir.quantize(SAMPLE.model, images(), proof_samples=-1)


def test_float_layers_are_compared_with_what_is_fused_in(quantized: qir.Quantized) -> None:
    """Against the Conv alone, without its BatchNormalization, the cosine would be far from 1."""
    assert quantized.paths is not None
    found = qir.compare(SAMPLE.model, quantized.paths.deploy_model, images())
    assert next(layer.name for layer in found.layers) == "/a/a.0/Conv"
    assert min(layer.result.cosine for layer in found.layers) > 0.999
    assert any("BatchNormalization" in name for name in found.only_reference)
    other_way = qir.compare(quantized.paths.deploy_model, SAMPLE.model, images())
    assert [x.result.cosine for x in other_way.layers] == pytest.approx(
        [x.result.cosine for x in found.layers], abs=1e-3
    )


BETWEEN = """
graph @net(%x: f32[N,2,4,4]) {
  opsets {onnx=17}
  %v = const [0.01,0.005,50.0,100.0] : f32[2,2,1,1]
  %w = const [100.0,0.005,50.0,0.01] : f32[2,2,1,1]
  %shift = const [0.001,20.0] : f32[2,1,1]
  %a = Conv "first"(%x, %v) {} : f32[N,2,4,4]
  %b = AveragePool "pool"(%a) {kernel_shape=[2,2], strides=[2,2]} : f32[N,2,2,2]
  %c = Add "shift"(%b, %shift) {} : f32[N,2,2,2]
  %y = Conv "second"(%c, %w) {} : f32[N,2,2,2]
  return %y
}
"""


def test_what_lies_between_equalized_layers_is_compared_as_in_the_model() -> None:
    """Equalization divides the channels of pool and Add; compared as they are, they would be far off."""
    data = {"x": np.random.default_rng(0).normal(size=(8, 2, 4, 4)).astype(np.float32)}
    graph = qir.parse(BETWEEN)
    found = qir.compare(graph, qir.quantize(graph, data).graph, data)
    assert [layer.name for layer in found.layers] == ["first", "pool", "shift", "second"]
    assert min(layer.result.sqnr for layer in found.layers) > 30


@pytest.mark.parametrize("net", ["cnn_bn", "resid", "decon", "mlp", "vol"])
def test_the_graphs_of_amct_agree(net: str) -> None:
    folder = AMCT / net
    data = folder / "calib.npz"
    found = qir.compare(folder / "amct_fake_quant_model.onnx", folder / "amct_deploy_model.onnx", data)
    assert found.first_difference is None
    assert any(layer.sums is not None for layer in found.layers)
    against_float = qir.compare(folder / "float.onnx", folder / "amct_deploy_model.onnx", data)
    assert min(layer.result.cosine for layer in against_float.layers) > 0.995


def test_a_quantized_graph_of_the_ir_runs_as_its_fake_quant_graph(quantized: qir.Quantized) -> None:
    assert quantized.paths is not None
    found = qir.compare(quantized.graph, quantized.paths.deploy_model, images())
    assert found.first_difference is None


def two_outputs(first: str = "y", second: str | None = "z") -> Graph:
    lines = [f"  %{first} = Relu(%x) : f32[N,3]", f"  return %{first}"]
    if second is not None:
        lines = [lines[0], f"  %{second} = Neg(%x) : f32[N,3]", f"  return %{second}, %{first}"]
    body = "\n".join(lines)
    return qir.parse(f"graph @net(%x: f32[N,3]) {{\n  opsets {{onnx=17}}\n{body}\n}}\n")


X = {"x": np.float32([[1, -2, 3], [4, 5, -6]])}


def test_outputs_are_paired_by_name_or_place() -> None:
    same = qir.compare(two_outputs(), two_outputs(), X)
    assert [(o.name, o.max_abs, o.count) for o in same.outputs] == [("z", 0.0, 6), ("y", 0.0, 6)]
    renamed = qir.compare(two_outputs(), two_outputs("a", "b"), X)
    assert [o.max_abs for o in renamed.outputs] == [0.0, 0.0]
    swapped = qir.compare(two_outputs(), two_outputs("z", "y"), X)
    assert [o.max_abs for o in swapped.outputs] == [10.0, 10.0]  # -x against max(x, 0), at x = 5
    with pytest.raises(qir.QirError, match=r"'net' has 2 outputs \(z, y\), 'net' 1 \(y\)"):
        qir.compare(two_outputs(), two_outputs(second=None), X)


def test_tolerances() -> None:
    same = qir.compare(two_outputs(), two_outputs(), X)
    other = qir.compare(two_outputs(), two_outputs("z", "y"), X)
    assert Tolerance().violations(same) == ()
    assert len(Tolerance().violations(other)) == 2
    assert Tolerance(max_abs=99).violations(other) == ()
    assert Tolerance(cosine=-1).violations(other) == ()
    assert len(Tolerance(cosine=-1, max_abs=0).violations(other)) == 2
    assert len(Tolerance(sqnr=100).violations(other)) == 2
    undefined = qir.compare(two_outputs(), two_outputs(), {"x": np.float32([[1, np.nan, 3]])})
    for tolerance in (Tolerance(), Tolerance(cosine=-1)):
        found = tolerance.violations(undefined)
        assert found[0] == "output 'z' is NaN in places, in one of the models or in both"


def test_shapes_that_follow_from_the_numbers() -> None:
    places = qir.parse(
        "graph @net(%x: f32[N,3]) {\n  opsets {onnx=17}\n  %y = NonZero(%x) : i64[2,K]\n  return %y\n}\n"
    )
    found = Tolerance(cosine=-1).violations(qir.compare(two_outputs(second=None), places, X))
    assert len(found) == 1
    assert found[0].startswith("output 'y' has another shape in the other model for some samples")


def test_samples_bound_the_work() -> None:
    assert qir.compare(two_outputs(), two_outputs(), X, samples=1).outputs[0].count == 3
    assert qir.compare(two_outputs(), two_outputs(), X, samples=None).outputs[0].count == 6


def test_outputs_are_put_together_where_their_shapes_allow(tmp_path: Path) -> None:
    graph = qir.parse(
        "graph @net(%x: f32[N,M]) {\n  opsets {onnx=17}\n  %y = Relu(%x) : f32[N,M]\n"
        "  %s = ReduceSum(%x) {keepdims=0} : f32[]\n  return %y, %s\n}\n"
    )
    feeds = [{"x": np.ones((1, 2), np.float32)}, {"x": np.ones((1, 3), np.float32)}]
    arrays = save_outputs(run_model(graph, feeds), tmp_path / "out.npz")
    assert {name: a.shape for name, a in arrays.items()} == {
        "y/0": (1, 2),
        "y/1": (1, 3),
        "s/0": (),
        "s/1": (),
    }
    same = save_outputs(run_model(graph, feeds[:1] * 3), tmp_path / "same.npz")
    assert same["y"].shape == (3, 2)
    with np.load(tmp_path / "out.npz") as saved:
        assert sorted(saved.files) == ["s/0", "s/1", "y/0", "y/1"]


def test_kinds_of_models(quantized: qir.Quantized) -> None:
    assert quantized.paths is not None
    kinds = [open_model(p).kind for p in (SAMPLE.model, quantized.paths.fake_quant_model, quantized.graph)]
    assert kinds == ["float", "fake-quant", "fake-quant"]
    assert open_model(quantized.paths.deploy_model).kind == "deploy"
    assert open_model(SAMPLE.model.read_bytes()).outputs == ("output",)


def test_data_tell_which_weights_are_packed_where_the_shapes_do_not(tmp_path: Path) -> None:
    """INT4 weights are stored two in a byte; a graph of open sizes does not say so."""
    flat = ",".join(str(round(0.1 * (i % 7) - 0.3, 1)) for i in range(24))
    graph = qir.parse(
        f"graph @net(%x: f32[N,K]) {{\n  opsets {{onnx=17}}\n  %w = const [{flat}] : f32[6,4]\n"
        '  %y = MatMul "layer"(%x, %w) : f32[N,4]\n  return %y\n}\n'
    )
    data = {"x": np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)}
    result = qir.quantize(graph, data, output=tmp_path / "net", pipeline="int4")
    assert result.paths is not None
    weight = qir.load(result.paths.deploy_model).node("layer").inputs[1]
    assert weight is not None
    assert weight.tensor.shape == (3, 4)
    assert result.report.proof is not None
    assert result.report.proof.different == 0
    assert qir.compare(result.graph, result.paths.deploy_model, data).first_difference is None
