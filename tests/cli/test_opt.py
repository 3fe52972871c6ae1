"""`qir-opt`: what it reads and writes, what goes to stderr, and how it fails."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from qir.cli.opt import main
from qir.ir.graph import Graph
from qir.models import load, save
from qir.passes.eliminate_dead import EliminateDead
from qir.passes.options import options_of
from qir.passes.registry import PASSES

TEXT = """\
graph @net(%x: f32[2]) {
  opsets {onnx=17}
  %y = Relu(%x) : f32[2]
  %unused = Neg(%x) : f32[2]
  return %y
}
"""
CLEAN = TEXT.replace("  %unused = Neg(%x) : f32[2]\n", "")
DATA = Path(__file__).parents[2] / "qir" / "samples" / "digits_calibration.npz"


def run(*arguments: object, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def succeed(*arguments: object, stdin: str | bytes = "") -> Result:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def fail(*arguments: object, stdin: str | bytes = "", status: int = 1) -> str:
    """The message of a command that must fail: with that status, no output and no traceback."""
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (status, "")
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.qir"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight samples for sample:digits."""
    path = tmp_path_factory.mktemp("data") / "calibration.npz"
    with np.load(DATA) as arrays:
        np.savez(path, **{name: arrays[name][:8] for name in arrays.files})
    return path


def test_without_passes_and_output_the_text_goes_to_stdout(model: Path) -> None:
    result = succeed(model)
    assert (result.stdout, result.stderr) == (TEXT, "")


def test_a_pipeline_runs(model: Path) -> None:
    assert succeed(model, "-p", "eliminate-dead").stdout == CLEAN


def test_text_comes_from_stdin() -> None:
    assert succeed("-", "-p", "eliminate-dead", stdin=TEXT).stdout == CLEAN


def test_a_model_may_go_through_pipes_as_onnx(model: Path) -> None:
    onnx = succeed(model, "--emit", "onnx").stdout_bytes
    assert onnx[:1] < b" "
    text = succeed("-", stdin=onnx).stdout
    assert [line for line in text.splitlines() if "metadata" not in line] == TEXT.splitlines()
    assert succeed("-", "--emit", "onnx", stdin=onnx).stdout_bytes == onnx


def test_files_are_read_and_written_by_their_suffix(model: Path, tmp_path: Path) -> None:
    assert succeed(model, "-o", tmp_path / "a.onnx").stdout == ""
    assert succeed(tmp_path / "a.onnx", "-o", tmp_path / "b.qir").stdout == ""
    assert (tmp_path / "b.qir").read_text() == succeed(tmp_path / "a.onnx").stdout
    succeed(model, "-o", tmp_path / "c.dot")
    dot = (tmp_path / "c.dot").read_text()
    assert dot.startswith("digraph")
    assert "Relu" in dot
    assert succeed(model, "--emit", "dot").stdout == dot


def test_large_constants_stay_beside_the_text(tmp_path: Path) -> None:
    succeed("sample:digits", "-o", tmp_path / "digits.qir")
    assert (tmp_path / "digits.qir.npz").exists()
    succeed(tmp_path / "digits.qir", "-o", tmp_path / "digits.onnx")
    assert str(load(tmp_path / "digits.onnx")) == str(load("sample:digits"))


def test_a_pipeline_may_stop_after_any_pass_and_go_on_from_the_file(data: Path, tmp_path: Path) -> None:
    succeed("sample:digits", "-p", "default", "--data", data, "-o", tmp_path / "whole.qir")
    from qir.backends.targets import target_named
    from qir.passes.pipeline import parse_pipeline

    step, last = tmp_path / "step.qir", "sample:digits"
    for i, item in enumerate(parse_pipeline(target_named("ascend").pipelines["default"])):
        step = tmp_path / f"step{i}.qir"
        succeed(last, "-p", item, "--data", data, "--verify-each", "-o", step)
        last = str(step)
    assert step.read_bytes() == (tmp_path / "whole.qir").read_bytes()
    assert Path(f"{step}.npz").read_bytes() == (tmp_path / "whole.qir.npz").read_bytes()


@pytest.mark.parametrize(("emit", "op"), [("fake-quant", "Round"), ("ascend", "AscendDequant")])
def test_lowered_graphs_are_written_as_text_or_onnx(emit: str, op: str, data: Path, tmp_path: Path) -> None:
    arguments = ("sample:digits", "-p", "default", "--data", data, "--emit", emit)
    assert f"= {op}" in succeed(*arguments).stdout
    succeed(*arguments, "-o", tmp_path / "low.onnx")
    assert op in {node.op for node in load_any(tmp_path / "low.onnx")}


def load_any(path: Path) -> list[object]:
    """The nodes of a model that the front door refuses because it is quantized already."""
    import onnx

    class Seen:
        def __init__(self, op: str) -> None:
            self.op = op

    return [Seen(node.op_type) for node in onnx.load(path).graph.node]


def test_an_open_graph_cannot_be_lowered_or_written_as_onnx(tmp_path: Path) -> None:
    arguments = ("sample:digits", "-p", "infer-types,insert-quant")
    assert "run calibrate before writing" in fail(*arguments, "--emit", "ascend")
    assert "quant" in fail(*arguments, "-o", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_talk_goes_to_stderr(model: Path) -> None:
    result = succeed(
        model, "-p", "eliminate-dead", "--print-ir", "after-change", "--timing", "--stats", "--verify-each"
    )
    assert result.stdout == CLEAN
    for part in ("// ----- after eliminate-dead\n" + CLEAN, "seconds", "eliminate-dead: 1 eliminate-dead"):
        assert part in result.stderr


def test_several_graphs_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "several.qir"
    path.write_text(f"// RUN: eliminate-dead\n{TEXT}// -----\n{TEXT}")
    assert succeed(path, "--split-input", "-p", "eliminate-dead").stdout == f"{CLEAN}// -----\n{CLEAN}"
    assert "several.qir:9" in fail(path)
    path.write_text(f"{TEXT}// -----\n{TEXT.replace('Relu(%x)', 'Relu(%z)')}")
    message = fail(path, "--split-input", "-p", "eliminate-dead")
    assert "several.qir:10:" in message
    assert fail(path, "--split-input", "-o", tmp_path / "out.qir", status=2)
    assert fail("sample:digits", "--split-input", status=2)


def test_list_passes_shows_passes_options_and_pipelines() -> None:
    listed = succeed("--list-passes").stdout
    for name, kind in PASSES.items():
        assert f"{name}\n    " in listed
        for option in options_of(kind).values():
            assert f"      {option}\n" in listed
    assert "  default: infer-types,fold-constants" in listed


def test_help_does_not_load_the_heavy_packages() -> None:
    code = (
        "import sys\nfrom qir.cli.opt import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(str(sorted({'onnx', 'onnxruntime', 'numba'} & set(sys.modules)) or 0))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr in ("", "0\n")
    assert "Usage:" in done.stdout


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
