"""Writing the four files: names, whole or not at all, places that cannot be written, the trial run."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from nets import Net, many_layers, samples

from qir.backends import files
from qir.backends.ascend.rules import RULES
from qir.backends.files import Paths, check_prefix, output_paths, write_and_look, write_files
from qir.ir.dtypes import DType
from qir.ir.errors import BackendError, ModelError
from qir.ir.types import tensor
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant

NAMES = ["deploy_model.onnx", "fake_quant_model.onnx", "quant.json", "record.txt"]


def content(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(("prefix", "start"), [("net", "net_"), ("", "")])
def test_names(tmp_path: Path, prefix: str, start: str) -> None:
    paths = write_files(many_layers().quantized(), f"{tmp_path}/{prefix}")
    assert content(tmp_path) == [start + name for name in NAMES]
    assert paths == output_paths(f"{tmp_path}/{prefix}")
    assert paths.fake_quant_model == tmp_path / f"{start}fake_quant_model.onnx"


def test_prefix_without_a_folder() -> None:
    assert [str(p) for p in output_paths("")] == [NAMES[1], NAMES[0], NAMES[3], NAMES[2]]
    assert str(output_paths("net").record) == "net_record.txt"


@pytest.mark.parametrize("form", ["ascend", "qdq"])
def test_stock_onnxruntime_runs_the_fake_quant_file(tmp_path: Path, form: str) -> None:
    paths = write_files(many_layers().quantized(), tmp_path / "net", form, samples(1))
    session = onnxruntime.InferenceSession(str(paths.fake_quant_model))
    assert session.run(None, samples())[0].shape == (3, 7)
    onnx.checker.check_model(str(paths.fake_quant_model), full_check=True)


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_files(many_layers().quantized(), tmp_path / "a" / "net")
    second = write_files(many_layers().quantized(), tmp_path / "b" / "net")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_an_ir_version_that_few_runtimes_read_is_lowered(tmp_path: Path) -> None:
    graph = many_layers().quantized()
    graph.metadata["qir.ir_version"] = "99"
    for form in ("ascend", "qdq"):
        paths = write_files(graph, tmp_path / "net", form, samples(1))
        for path in (paths.fake_quant_model, paths.deploy_model):
            assert onnx.load(path, load_external_data=False).ir_version == 10
    assert graph.metadata["qir.ir_version"] == "99"


def test_deploy_file_has_only_the_default_domain(tmp_path: Path) -> None:
    model = onnx.load(write_files(many_layers().quantized(), tmp_path / "net").deploy_model)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert {n.domain for n in model.graph.node} == {""}
    kinds = {a.name: a.type for n in model.graph.node if n.op_type.startswith("Ascend") for a in n.attribute}
    types = onnx.AttributeProto
    assert kinds == {
        "scale": types.FLOAT,
        "offset": types.FLOAT,
        "dst_type": types.STRING,
        "dtype": types.INT,
    }


def test_failure_leaves_nothing_new_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    write_files(many_layers().quantized(), folder / "net")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    moved = []
    replace = os.replace

    def fail_at_the_third(source: Path, target: Path) -> None:
        if Path(target).parent.name in ("out", "new"):
            moved.append(target)
            if len(moved) == 3:
                raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail_at_the_third)
    with pytest.raises(BackendError, match=r"cannot be written.*No space left"):
        write_files(many_layers(11).quantized(), folder / "net")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    moved.clear()
    with pytest.raises(BackendError, match="No space left"):
        write_files(many_layers().quantized(), tmp_path / "new" / "net")
    assert content(tmp_path) == ["out"]


def test_files_of_another_model_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deploy model beside the fake-quant model of another run would be taken for the same."""

    def look(_: Paths) -> Callable[[object], None]:
        return lambda _: None

    write_files(many_layers().quantized(), tmp_path / "net")
    (tmp_path / "net_fake_quant_model.onnx.data").write_bytes(b"of a large model")
    (tmp_path / "net_notes.txt").write_text("mine")
    before = content(tmp_path)
    replace = os.replace

    def fail_at_the_model(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "net_fake_quant_model.onnx" and Path(source).suffix != ".old":
            raise OSError(28, "No space left on device")
        replace(source, target)

    def write_fake_quant() -> Paths:
        return write_and_look(many_layers().quantized(), tmp_path / "net", "qdq", None, look, deploys=False)[
            0
        ]

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", fail_at_the_model)
        with pytest.raises(BackendError, match="No space left"):
            write_fake_quant()
    assert content(tmp_path) == before
    paths = write_fake_quant()
    assert paths.written == (paths.fake_quant_model,)
    assert content(tmp_path) == ["net_fake_quant_model.onnx", "net_notes.txt"]


def test_missing_folder(tmp_path: Path) -> None:
    for call in (check_prefix, lambda p: write_files(many_layers().quantized(), p)):
        with pytest.raises(BackendError, match=r"'.*/a/b' cannot be made: '.*/a' does not exist; create it"):
            call(tmp_path / "a" / "b" / "net")
    assert content(tmp_path) == []
    write_files(many_layers().quantized(), tmp_path / "a" / "net")  # the last folder is made
    assert len(content(tmp_path / "a")) == 4


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="is not a folder"):
        check_prefix(tmp_path / "file" / "net")
    (tmp_path / "net_record.txt").mkdir()
    with pytest.raises(BackendError, match=r"net_record.txt' is to be written but is a folder"):
        check_prefix(tmp_path / "net")
    monkeypatch.setattr(files.os, "access", lambda place, mode: False)  # tests may run as root
    with pytest.raises(BackendError, match="is read-only"):
        check_prefix(tmp_path / "other")


def test_open_quants_write_nothing(tmp_path: Path) -> None:
    net = many_layers()
    InsertQuant().run(net.graph, Context(rules=RULES))
    with pytest.raises(BackendError, match=r"input of layer 'stem'.*run calibrate"):
        write_files(net.graph, tmp_path / "out" / "net")
    assert content(tmp_path) == []


def test_a_model_that_does_not_run_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, feeds: object) -> None:
        raise ModelError("kernel not found")

    monkeypatch.setattr(files.ModelFile, "run", fail)
    with pytest.raises(BackendError, match="fails its trial run: kernel not found"):
        write_files(many_layers().quantized(), tmp_path / "net")
    assert content(tmp_path) == []


def test_made_up_inputs_that_do_not_fit_are_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = Net()
    x = net.input("N", 4)
    size = net.graph.add_input("size", tensor(DType.I64, (1,)))
    flat = net.add("Reshape", "flat", [x, net.graph.constant(np.int64([-1]), "all")], ("M",))
    parts = net.add("Reshape", "parts", [flat, size], None)  # [0] copies dimension 4: no. [0] of [4] -> [4]
    rows = net.add("Expand", "rows", [parts, net.graph.constant(np.int64([3, 4]), "to")], (3, 4))
    net.graph.add_output(net.add("MatMul", "mm", [rows, net.weight("w", 4, 4)], (3, 4)))
    net.graph.inputs[1].type = tensor(DType.I64, ("K",))
    broken = net.add("Reshape", "broken", [x, net.graph.constant(np.int64([7, -1]), "seven")], None)
    net.graph.add_output(broken)
    with caplog.at_level(logging.WARNING):
        write_files(net.quantized(), tmp_path / "net")
    assert "made-up inputs do not fit the float model either" in caplog.text
    feeds = {"x": np.ones((2, 4), np.float32), "size": np.int64([4])}
    with pytest.raises(BackendError, match="the float model itself fails: node 'broken'"):
        write_files(net.graph, tmp_path / "other", feeds=feeds)


def test_large_models_have_their_data_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "save_model", functools.partial(files.save_model, external_bytes=100))
    paths = write_files(many_layers().quantized(), tmp_path / "net")
    assert "net_fake_quant_model.onnx.data" in content(tmp_path)
    session = onnxruntime.InferenceSession(str(paths.fake_quant_model))
    assert session.run(None, samples())[0].shape == (3, 7)


def test_quantization_information(tmp_path: Path) -> None:
    graph = many_layers().quantized(skip=("fc",))
    graph.node("stem").metadata["qir.fused"] = '["bn", "scale"]'
    text = write_files(graph, tmp_path / "net").quant_info.read_text()
    info = json.loads(text)
    assert text == json.dumps(info, indent=2) + "\n"
    assert info["name"] == "net"
    ops = {op["name"]: op for op in info["graph"][0]["op"]}
    names = {}
    for name, op in ops.items():
        (attribute,) = op["attr"]
        assert attribute["key"] == "_datadump_original_op_names"
        assert attribute["value"]["list"]["val_type"] == 1  # a list of strings
        names[name] = attribute["value"]["list"]["s"]
    assert names["stem"] == ["stem", "bn", "scale"]
    assert names["fc"] == ["fc"]
    assert names["stem.quant"] == names["stem.dequant"] == []
    assert ops["stem"]["input"] == ["stem.quant:0", "stem.w:0", "stem.b:0"]
    assert [op["id"] for op in ops.values()] == list(range(len(ops)))
    origin = {a["key"]: a["value"] for a in ops["stem.dequant"]["output_desc"][0]["attr"]}
    assert origin == {
        "_datadump_origin_format": {"s": "NCHW"},
        "_datadump_data_type": {"s": "DT_FLOAT"},
        "_datadump_origin_output_index": {"i": 0},
        "_datadump_origin_name": {"s": "scale"},
    }
    mm = {a["key"]: a["value"] for a in ops["mm.dequant"]["output_desc"][0]["attr"]}
    assert mm["_datadump_origin_name"] == {"s": "bias"}


def test_saturation_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = files.ModelFile.run

    def saturating(self: files.ModelFile, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = run(self, feeds)
        return {n: a * np.float32(1 if self.exact else 0.9) for n, a in found.items()}

    monkeypatch.setattr(files.ModelFile, "run", saturating)
    with caplog.at_level(logging.WARNING):
        write_files(many_layers().quantized(), tmp_path / "net", "qdq")
    assert "session.disable_quant_qdq to 1" in caplog.text


def test_a_matmul_of_three_dimensions_loads_with_default_options(tmp_path: Path) -> None:
    net = Net(21)
    product = net.add("MatMul", "mm", [net.input(2, 4, 4), net.weight("w", 4, 4)], (2, 4, 4))
    net.graph.add_output(net.add("Add", "bias", [product, net.weight("b", 4)], (2, 4, 4)))
    path = write_files(net.quantized(), tmp_path / "net", "qdq").fake_quant_model
    onnxruntime.InferenceSession(str(path))
    zero = next(t for t in onnx.load(path).graph.initializer if t.name == "mm.quantize.zero_point")
    assert zero.data_type == onnx.TensorProto.UINT8
    assert onnx.numpy_helper.to_array(zero) == 128 + 5


def test_optimizations_that_fail_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = files.ModelFile.run

    def failing(self: files.ModelFile, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self.exact:
            raise ModelError("ONNX Runtime cannot run it")
        return run(self, feeds)

    monkeypatch.setattr(files.ModelFile, "run", failing)
    with caplog.at_level(logging.WARNING):
        paths = write_files(many_layers().quantized(), tmp_path / "net", "qdq")
    assert paths.fake_quant_model.exists()
    assert "ONNX Runtime cannot run it: set the session option session.disable_quant_qdq to 1" in caplog.text


def test_layers_that_share_a_weight_run_in_form_qdq(tmp_path: Path) -> None:
    net = Net()
    x, weight = net.input("N", 4), net.weight("w", 4, 4)
    hidden = net.add("MatMul", "first", [x, weight], ("N", 4))
    net.graph.add_output(net.add("MatMul", "second", [hidden, weight], ("N", 4)))
    paths = write_files(net.quantized(), tmp_path / "net", "qdq", {"x": np.ones((1, 4), np.float32)})
    assert paths.fake_quant_model.exists()
