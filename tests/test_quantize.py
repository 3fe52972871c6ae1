"""The main job through the Python front door, on the packaged sample."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import qir
from qir.ir.quants import quantized_layers
from qir.samples import sample_named

SAMPLE = sample_named("digits")


def images() -> np.ndarray:
    with np.load(SAMPLE.calibration) as data:
        return data["input"]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> qir.Quantized:
    return qir.quantize(SAMPLE.model, SAMPLE.calibration, output=tmp_path_factory.mktemp("out") / "digits")


def accuracy(path: Path) -> float:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with np.load(SAMPLE.test) as test:
        scores = session.run(None, {"input": test["input"]})[0]
        return float((scores.argmax(1) == test["labels"]).mean())


def test_all_layers_run_in_integers_and_accuracy_stays(quantized: qir.Quantized) -> None:
    assert [n.op for n in quantized_layers(quantized.graph)].count("Conv") == 5
    assert {layer.precision for layer in quantized.report.layers} == {"int8"}
    assert quantized.report.integer_share == 1.0
    assert quantized.paths is not None
    assert accuracy(quantized.paths.fake_quant_model) >= accuracy(SAMPLE.model) - 0.005
    (output,) = quantized.report.outputs
    assert output.cosine > 0.999
    assert output.sqnr > 25


def test_user_names_survive(quantized: qir.Quantized) -> None:
    names = {layer.name for layer in quantized.report.layers}
    assert {"/a/a.0/Conv", "/pool/AveragePool", "/f2/Gemm"} <= names
    assert json.loads(quantized.graph.node("/a/a.0/Conv").metadata["qir.fused"]) == [
        "/a/a.1/BatchNormalization"
    ]


def digest(paths: qir.backends.files.Paths) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_batches_change_no_byte(batch: int, quantized: qir.Quantized, tmp_path: Path) -> None:
    data = images()
    feeds = [{"input": data[i : i + batch]} for i in range(0, len(data), batch)]
    again = qir.quantize(SAMPLE.model, feeds, output=tmp_path / "digits", batch_size=batch)
    assert again.paths is not None
    assert quantized.paths is not None
    assert digest(again.paths) == digest(quantized.paths)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_hash_seed_and_cores_change_no_byte(seed: str, quantized: qir.Quantized, tmp_path: Path) -> None:
    code = (
        f"import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:{seed}]); import qir;"
        f"qir.quantize('sample:digits', {str(SAMPLE.calibration)!r}, output={str(tmp_path / 'digits')!r})"
    )
    env = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    assert quantized.paths is not None
    for path in quantized.paths:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_skipped_layers_stay_float_and_say_why() -> None:
    result = qir.quantize("sample:digits", images_feed(), skip=["/a/a.0/Conv"])
    layer = next(x for x in result.report.layers if x.name == "/a/a.0/Conv")
    assert (layer.precision, layer.reason) == ("float32", "skipped by the user")
    assert 0 < (result.report.integer_share or 0) < 1
    assert result.paths is None


def images_feed() -> dict[str, np.ndarray]:
    return {"input": images()[:8]}


def test_method_and_pipeline_text() -> None:
    by_name = qir.quantize("sample:digits", images_feed(), method="min-max")
    by_text = qir.quantize(
        "sample:digits",
        images_feed(),
        pipeline="infer-types,fold-constants,eliminate-identity,fuse-bn,normalize-gemm,merge-duplicates,"
        "eliminate-dead,infer-types,equalize-layers,insert-quant,quantize-weights,calibrate{method=min-max},"
        "quantize-bias",
    )
    assert str(by_name.graph) == str(by_text.graph)


def test_amct_pipeline_calibrates_with_quantized_weights() -> None:
    default = qir.quantize("sample:digits", images_feed())
    amct = qir.quantize("sample:digits", images_feed(), pipeline="amct")
    assert str(default.graph) != str(amct.graph)


def test_qdq_form_runs_and_agrees(quantized: qir.Quantized, tmp_path: Path) -> None:
    result = qir.quantize(SAMPLE.model, SAMPLE.calibration, output=tmp_path / "digits", form="qdq")
    assert result.paths is not None
    assert quantized.paths is not None
    assert abs(accuracy(result.paths.fake_quant_model) - accuracy(quantized.paths.fake_quant_model)) < 0.005


def test_a_pipeline_resumed_from_text_gives_the_same_bytes(tmp_path: Path, quantized: qir.Quantized) -> None:
    """Stop after insert-quant, save, go on in another graph: the closed graph is the same text."""
    result = qir.quantize(SAMPLE.model, SAMPLE.calibration)
    stopped = qir.load(SAMPLE.model)
    first = (
        "infer-types,fold-constants,eliminate-identity,fuse-bn,normalize-gemm,merge-duplicates,eliminate-dead"
    )
    from qir.backends.targets import target_named
    from qir.runtime.data import open_data

    context = qir.Context(data=open_data(SAMPLE.calibration, stopped), rules=target_named("ascend").rules)
    qir.PassManager(f"{first},infer-types,equalize-layers,insert-quant").run(stopped, context)
    qir.save(stopped, tmp_path / "stopped.qir")
    resumed = qir.load(tmp_path / "stopped.qir")
    qir.PassManager("quantize-weights,calibrate,quantize-bias").run(resumed, context)
    assert str(resumed) == str(result.graph)


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    model = tmp_path / "net_deploy_model.onnx"
    model.write_bytes(SAMPLE.model.read_bytes())
    with pytest.raises(qir.QirError, match="never overwritten"):
        qir.quantize(model, SAMPLE.calibration, output=tmp_path / "net")
    assert model.read_bytes() == SAMPLE.model.read_bytes()


def test_a_model_may_be_protobuf_or_bytes(quantized: qir.Quantized) -> None:
    for model in (onnx.load(SAMPLE.model), SAMPLE.model.read_bytes()):
        assert str(qir.quantize(model, SAMPLE.calibration).graph) == str(quantized.graph)
    with pytest.raises(qir.QirError, match=r"a model is a path, .* not a NoneType"):
        qir.quantize(None, SAMPLE.calibration)


def test_one_layer_to_skip_needs_no_list() -> None:
    layers = qir.quantize("sample:digits", images_feed(), skip="/f2/Gemm").report.layers
    assert [layer.name for layer in layers if not layer.is_quantized] == ["/f2/Gemm"]


def one_product(op: str, domain: str, scales: str) -> qir.Graph:
    return qir.parse(f"""graph @net(%x: f32[N,2]) {{
  opsets {{onnx=17, {domain}=1}}
  %w = const [1.0,0.0,0.0,1e-4] : f32[2,2]
  %k = const [{scales}] : f32[2]
  %m = MatMul "mm"(%x, %w) : f32[N,2]
  %h = Mul(%m, %k) : f32[N,2]
  %y = {op}(%h) : f32[N,2]
  return %y
}}
""")


def test_an_output_that_int8_ruins_is_noted() -> None:
    data = {"x": np.float32([[100, 0.1], [-50, -0.2], [20, 0.05]])}
    (note,) = qir.quantize(one_product("Neg", "m", "0.0,1e4"), data).report.notes
    assert note.startswith("output 'y' of the fake-quant graph is far from the float model's (0.0 dB)")
    assert qir.quantize(one_product("Neg", "m", "1.0,1.0"), data).report.notes == ()


def test_ops_outside_onnx_are_noted() -> None:
    data = {"x": np.float32([[100, 0.1], [-50, -0.2], [20, 0.05]])}
    graph = one_product("com.microsoft.Gelu", "com.microsoft", "1.0,1.0")
    assert qir.quantize(graph, data).report.notes == (
        "ops outside ONNX are carried unchanged: com.microsoft.Gelu",
    )


def test_nothing_to_quantize_is_an_error() -> None:
    with pytest.raises(qir.QirError, match="no layer was quantized: the pipeline has no insert-quant"):
        qir.quantize("sample:digits", images_feed(), pipeline="infer-types")


def test_a_model_without_layers_to_quantize_is_an_error() -> None:
    graph = qir.parse(
        "graph @net(%x: f32[N,4]) {\n  opsets {onnx=17}\n  %y = Relu(%x) : f32[N,4]\n  return %y\n}\n"
    )
    with pytest.raises(qir.QirError, match="none of the ops that target 'ascend' quantizes: Conv, "):
        qir.quantize(graph, {"x": np.ones((2, 4), np.float32)})


def test_conflicting_methods_are_an_error() -> None:
    text = "insert-quant,quantize-weights,calibrate{method=min-max},quantize-bias"
    with pytest.raises(qir.QirError, match="the pipeline says"):
        qir.quantize("sample:digits", images_feed(), pipeline=text, method="percentile")


def test_no_module_hides_a_function_of_the_front_door() -> None:
    """A submodule of the same name would replace the function as soon as anything imports it."""
    for name in qir.__all__:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"qir.{name}")


def test_import_qir_is_light() -> None:
    code = "import qir, sys; assert not {'onnx', 'onnxruntime', 'numba', 'networkx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
