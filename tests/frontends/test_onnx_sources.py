"""Files: external data, saving whole or not at all, and one clear error for whatever is not a model."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data
from onnx_build import F32, graph, info, model, node, relu_model, tensor
from onnx_runs import outputs, same

from qir.frontends.onnx import (
    check_writable,
    constant_bytes,
    model_files,
    read_model,
    save_model,
    to_model,
    unknown_ops,
)
from qir.ir.errors import ConfigError, ModelError

X = np.linspace(-1, 1, 600, dtype=np.float32)
W = np.random.default_rng(1).normal(size=600).astype(np.float32)


def _weighted() -> onnx.ModelProto:
    """y = x * w + v, with a branch that holds a constant too."""
    branch = graph(
        [node("Mul", ["p", "u"], ["r"])], [], [info("r", F32, [600])], [tensor("u", W * 3)], name="b"
    )
    body = graph(
        [
            node("Mul", ["x", "w"], ["p"]),
            node("If", ["k"], ["y"], then_branch=branch, else_branch=branch),
        ],
        [info("x", F32, [600])],
        [info("y", F32, [600])],
        [tensor("w", W), tensor("k", np.array(True)), tensor("s", np.array(["a"], object))],
    )
    return model(body)


def _external(folder: Path, name: str = "weights/w.bin") -> Path:
    """The weighted model saved by ONNX itself with external data."""
    made = _weighted()
    convert_model_to_external_data(made, location=name, size_threshold=100)
    (folder / name).parent.mkdir(exist_ok=True)
    onnx.save(made, folder / "m.onnx")
    return folder / "m.onnx"


def _is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return isinstance(base, mmap.mmap)


def test_external_data_are_mapped(tmp_path: Path) -> None:
    path = _external(tmp_path)
    read = read_model(path)
    held = read.value("w").constant
    assert held is not None
    assert _is_mapped(held.data)
    np.testing.assert_array_equal(held.array, W)
    assert same(outputs(_weighted(), X), outputs(to_model(read), X))
    assert model_files(path) == (path, tmp_path / "weights/w.bin")
    assert same(outputs(_weighted(), X), outputs(to_model(read_model(path.read_bytes(), folder=tmp_path)), X))


def test_external_data_without_a_file() -> None:
    made = _weighted()
    convert_model_to_external_data(made, location="w.bin", size_threshold=100)
    for each in (*made.graph.initializer, made.graph.node[1].attribute[0].g.initializer[0]):
        if each.external_data:
            each.data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(
        ModelError, match=r"initializer 'w' has its data in the file 'w.bin', but the model did not"
    ):
        read_model(made)


def test_missing_and_truncated_external_data(tmp_path: Path) -> None:
    path = _external(tmp_path)
    data = tmp_path / "weights/w.bin"
    whole = data.read_bytes()
    data.write_bytes(whole[:-4])
    with pytest.raises(ModelError, match=r"'(w|u)' has its data at bytes .*truncated"):
        read_model(path)
    data.write_bytes(b"")
    with pytest.raises(ModelError, match="which has only 0"):
        read_model(path)
    data.unlink()
    with pytest.raises(ModelError, match=r"initializer 'w' has its data in '.*w\.bin', which does not exist"):
        read_model(path)


def _pointing(folder: Path, location: str, **keys: str) -> Path:
    proto = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **keys}.items():
        proto.external_data.add(key=key, value=value)
    onnx.save(model(graph([], [], [], [proto])), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "a/../../w.bin", "", ".", "link/w.bin"])
def test_external_data_must_lie_in_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(4))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(ModelError, match=r"initializer 'w' has its data in .*outside the model's folder"):
        read_model(_pointing(folder, location))


def test_external_offsets(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0\0\0\0\0\0\0\x80\x3f\0")
    held = read_model(_pointing(tmp_path, "w.bin", offset="5", length="4")).value("w").constant
    assert held is not None
    assert held.array.tolist() == [1.0]
    assert held.array.flags.aligned
    with pytest.raises(ModelError, match="has '-5' as offset of its external data"):
        read_model(_pointing(tmp_path, "w.bin", offset="-5"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(_pointing(tmp_path, "folder"))


def test_large_models_are_saved_with_external_data(tmp_path: Path) -> None:
    read = read_model(_weighted())
    size = constant_bytes(read)
    assert size == W.nbytes * 3 + 1
    save_model(read, tmp_path / "one.onnx", external_bytes=size)
    assert [f.name for f in tmp_path.iterdir()] == ["one.onnx"]
    save_model(read, tmp_path / "two.onnx", external_bytes=size - 1)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["one.onnx", "two.onnx", "two.onnx.data"]
    assert (tmp_path / "two.onnx").stat().st_size < 2000
    onnx.checker.check_model(tmp_path / "two.onnx")
    again = read_model(tmp_path / "two.onnx")
    assert str(again) == str(read)
    assert same(outputs(_weighted(), X), outputs(onnx.load(tmp_path / "two.onnx"), X))
    save_model(again, tmp_path / "two.onnx", external_bytes=0)  # over the very files that it is mapped from
    assert str(read_model(tmp_path / "two.onnx")) == str(read)
    assert str(again) == str(read)


def test_equal_constants_share_external_data(tmp_path: Path) -> None:
    read = read_model(_weighted())
    held = read.value("w").constant
    assert held is not None
    read.constant(held, "copy")
    save_model(read, tmp_path / "m.onnx", external_bytes=0)
    assert (tmp_path / "m.onnx.data").stat().st_size < 3 * 4096 + W.nbytes


def test_nothing_half_written(tmp_path: Path) -> None:
    read = read_model(_weighted())
    read.add("quant", [read.value("p")], domain="qir", name="q")
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(Exception, match=r"'q' is a qir\.quant"):
        save_model(read, tmp_path / "m.onnx", external_bytes=0)
    assert [f.name for f in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "old"


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_model(relu_model())
    with pytest.raises(ConfigError, match=r"folder '.*missing' .*does not exist; create it first"):
        save_model(read, tmp_path / "missing" / "m.onnx")
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        save_model(read, tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may write everywhere
    with pytest.raises(ConfigError, match="is read-only"):
        check_writable(tmp_path / "m.onnx")


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_truncated_files(tmp_path: Path, keep: float) -> None:
    data = _weighted().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ModelError, match=r"cut\.onnx' (is not an ONNX model|imports no)"):
        read_model(path)


def test_what_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=r"model file '.*m\.onnx' does not exist"):
        read_model(path)
    with pytest.raises(ModelError, match=r"is a folder; name the \.onnx file"):
        read_model(str(tmp_path))
    for data in (b"graph @g() {}\n", np.random.default_rng(0).bytes(300), np.zeros(9).tobytes(), b"\x08\x08"):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"m\.onnx' is not an ONNX model"):
            read_model(path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        read_model(path)
    with pytest.raises(ModelError, match="the model is not an ONNX model"):
        read_model(b"nonsense")
    with pytest.raises(ModelError, match="has no graph"):
        read_model(onnx.ModelProto(ir_version=8))
    old = relu_model()
    old.ir_version = 2
    with pytest.raises(ModelError, match="IR version 2, older than 3"):
        read_model(old)
    del old.opset_import[:]
    old.ir_version = 8
    with pytest.raises(ModelError, match="imports no operator set"):
        read_model(old)


def test_unknown_ops_are_carried(tmp_path: Path) -> None:
    made = relu_model()
    made.graph.node[0].op_type = "Rleu"
    made.graph.node.add(op_type="Any", domain="mine", input=["y"], output=["z"], name="n")
    made.opset_import.add(domain="mine", version=1)
    read = read_model(made)
    assert [n.name for n in unknown_ops(read)] == ["r", "n"]
    assert [n.op_type for n in to_model(read).graph.node] == ["Rleu", "Any"]
    assert unknown_ops(read_model(relu_model())) == ()


def test_text_that_is_not_utf8() -> None:
    for text, place in (
        ("doc_string", "NodeProto"),
        ("attr_name", "AttributeProto"),
        ("weight_name", "TensorProto"),
        ("symbol_of_y", "Dimension"),
    ):
        made = model(
            graph(
                [node("LeakyRelu", ["x"], ["y"], doc_string="doc_string", attr_name=1.0)],
                [info("x", F32, [2])],
                [info("y", F32, ["symbol_of_y"])],
                [tensor("weight_name", W)],
            )
        )
        broken = made.SerializeToString().replace(text.encode(), b"\xff" * len(text))
        with pytest.raises(
            ModelError, match=rf"the model is damaged: the text b'.xff.* in a {place} is not UTF-8"
        ):
            read_model(broken)
