"""`qir-opt`: how it fails."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from opt_command import TEXT, fail, run

from qir.ir.graph import Graph
from qir.models import load, save
from qir.passes.eliminate_dead import EliminateDead


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.qir"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("eliminate-ded", "no pass or pipeline named 'eliminate-ded'; did you mean 'eliminate-dead'"),
        ("defualt", "there is no pass or pipeline named 'defualt'; did you mean 'default'"),
        ("eliminate-dead{x=1}", "'eliminate-dead' has no option 'x'; its options: none"),
    ],
)  # fmt: skip
def test_a_typo_in_a_pipeline(pipeline: str, message: str) -> None:
    assert message in fail("-", "-p", pipeline, stdin=TEXT)


def test_an_unknown_target() -> None:
    assert "no target 'ascent'" in fail("-", "--target", "ascent", stdin=TEXT)


def test_wrong_usage_exits_with_2(model: Path, tmp_path: Path) -> None:
    fail(status=2)
    fail(model, "--no-such-option", status=2)
    fail(model, "--emit", "tflite", status=2)
    assert "must end in .qir, .onnx" in fail(model, "-o", tmp_path / "x.txt", status=2)
    assert "--emit qir does not fit" in fail(model, "--emit", "qir", "-o", tmp_path / "x.onnx", status=2)


def test_bad_inputs_are_refused_with_one_message(tmp_path: Path) -> None:
    onnx = tmp_path / "good.onnx"
    save(load("sample:digits"), onnx)
    bad = {
        "truncated.onnx": onnx.read_bytes()[:1000],
        "text.onnx": b"this is not a model",
        "empty.onnx": b"",
        "binary.qir": b"\x00\xff\x00",
        "broken.qir": b"graph @g( {",
        "model.txt": TEXT.encode(),
    }
    for name, content in bad.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert name in fail(path, "-o", tmp_path / "out.qir"), name
        assert path.read_bytes() == content
    assert "missing.onnx" in fail(tmp_path / "missing.onnx")
    assert str(tmp_path) in fail(tmp_path)
    assert "stdin" in fail("-")
    assert "<stdin>:1:1" in fail("-", stdin="what is this")
    fail("-", stdin=b"\x08\x07\xff\xff\x00")
    assert not (tmp_path / "out.qir").exists()


def test_an_output_that_cannot_be_written_is_refused_before_the_work(model: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    marker = ("-p", "eliminate-dead", "--stats")
    for output in (tmp_path / "none" / "x.qir", tmp_path / "net.qir" / "x.qir", "/proc/x.qir"):
        message = fail(model, *marker, "-o", output)
        assert str(Path(output).parent) in message
        assert "eliminate-dead" not in message, "the pipeline ran although its result cannot be written"
    (tmp_path / "folder.qir").mkdir()
    assert "folder.qir' is a folder" in fail(model, "-o", tmp_path / "folder.qir")
    (tmp_path / "folder.qir").rmdir()
    assert sorted(tmp_path.iterdir()) == before


def test_an_input_is_never_overwritten(model: Path, tmp_path: Path) -> None:
    (tmp_path / "link.qir").symlink_to(model)
    for output in (model, tmp_path / "link.qir", tmp_path / "." / "net.qir"):
        assert "an input is never overwritten" in fail(model, "-o", output)
    assert model.read_text() == TEXT


def test_the_external_data_of_an_input_are_not_overwritten(tmp_path: Path) -> None:
    from qir.frontends.onnx import save_model

    save_model(load("sample:digits"), tmp_path / "a.onnx", external_bytes=1)
    data = tmp_path / "a.onnx.data"
    data.rename(tmp_path / "b.onnx.data")
    import onnx

    proto = onnx.load(tmp_path / "a.onnx", load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            entry.value = entry.value.replace("a.onnx.data", "b.onnx.data")
    onnx.save(proto, tmp_path / "a.onnx")
    assert "b.onnx.data', which the input is read from" in fail(
        tmp_path / "a.onnx", "-o", tmp_path / "b.onnx"
    )


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The sample's model as a file, which brings no data."""
    path = tmp_path / "digits.onnx"
    save(load("sample:digits"), path)
    return path


def test_calibration_without_data_says_what_to_do(digits: Path) -> None:
    pipeline = "infer-types,insert-quant,quantize-weights,calibrate"
    message = fail(digits, "-p", pipeline)
    assert "--data" in message
    assert "in pass 4 of 4, 'calibrate', after infer-types,insert-quant,quantize-weights" in message
    assert "no-data.npz" in fail(digits, "-p", pipeline, "--data", "no-data.npz")


def test_a_defect_is_told_from_bad_input(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def crash(self: EliminateDead, graph: object, context: object) -> bool:
        raise KeyError("scale")

    monkeypatch.setattr(EliminateDead, "run", crash)
    message = fail(model, "-p", "eliminate-dead", "--reproducer", tmp_path / "bugs", "-o", tmp_path / "x.qir")
    assert "a defect in pass 1 of 1, 'eliminate-dead': KeyError: 'scale'" in message
    assert "--debug" in message
    assert not (tmp_path / "x.qir").exists()
    assert f"{tmp_path / 'bugs'}/reproducer-eliminate-dead.qir" in message
    traced = run(model, "-p", "eliminate-dead", "--debug")
    assert traced.exit_code == 1
    assert "Traceback" in traced.stderr
    assert 'raise KeyError("scale")' in traced.stderr


def test_a_reproducer_fails_again_by_the_command_in_its_first_line(digits: Path, tmp_path: Path) -> None:
    pipeline = "infer-types,insert-quant,quantize-weights,calibrate"
    message = fail(digits, "-p", pipeline, "--reproducer", tmp_path)
    path = tmp_path / "reproducer-calibrate.qir"
    assert f"the graph before the pass that failed is in {path}" in message
    first = path.read_text().split("\n", 1)[0]
    assert first == "// RUN: qir-opt reproducer-calibrate.qir -p calibrate"
    words = shlex.split(first.removeprefix("// RUN: qir-opt "))
    again = fail(tmp_path / words[0], *words[1:])
    assert again.split("\n")[0] in message


def test_a_reader_of_stdout_that_went_away_is_no_defect(model: Path) -> None:
    code = f"from qir.cli.opt import main; main([{str(model)!r}])"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_pass_that_leaves_an_invalid_graph_gives_no_output(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tangle(self: EliminateDead, graph: Graph, context: object) -> bool:
        node = graph.nodes[0]
        node.set_input(0, node.output)
        return True

    monkeypatch.setattr(EliminateDead, "run", tangle)
    assert "'y'" in fail(model, "-p", "eliminate-dead", "-o", tmp_path / "x.qir")
    assert not (tmp_path / "x.qir").exists()
