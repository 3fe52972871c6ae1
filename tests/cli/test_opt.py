"""`qir-opt`: what it reads and writes, what goes to stderr, and how it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from opt_command import CLEAN, TEXT, fail, succeed

from qir.cli.pass_list import describe_pass
from qir.models import load
from qir.passes.options import options_of
from qir.passes.registry import PASSES

DATA = Path(__file__).parents[2] / "qir" / "samples" / "digits_calibration.npz"


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


def test_a_pass_is_described_with_options_and_mathematics() -> None:
    said = succeed("--describe", "equalize-inputs").stdout
    assert said.startswith("equalize-inputs\n\nEven out the ranges of input channels")
    for part in (
        "\noptions:\n      strength: a number = 0.5\n",
        "f[c] = a[c]^m / w[c]^(1-m)",
        "Nagel et al. 2019",
    ):
        assert part in said


def test_every_pass_can_be_described() -> None:
    for name in PASSES:
        assert describe_pass(name).count("\n\n") > 2
    assert "there is no pass 'equalise-inputs'; did you mean 'equalize-inputs'" in fail(
        "--describe", "equalise-inputs"
    )


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
