"""`qir run`, `compare` and `check` as a user types them, on the files of the packaged sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner, Result
from planted import FAULTS, ILLEGAL, LAYER, change_attribute, planted

from qir.cli.main import main
from qir.samples import sample_named

SAMPLE = sample_named("digits")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a quantized sample."""
    prefix = tmp_path_factory.mktemp("quantized") / "digits"
    result = run("quantize", "sample:digits", "-o", prefix)
    assert result.exit_code == 0, result.output
    for part in (
        "[dynamic-shape]",
        "proof: deploy and fake-quant graph agree on 2 samples",
        "equal to the bit",
    ):
        assert part in result.stdout
    return prefix


def deploy(files: Path) -> Path:
    return Path(f"{files}_deploy_model.onnx")


def fake_quant(files: Path) -> Path:
    return Path(f"{files}_fake_quant_model.onnx")


def compared(a: Path | str, b: Path, *words: str) -> Result:
    return run("compare", a, b, "--data", SAMPLE.calibration, "--samples", "3", *words)


def test_fake_quant_and_deploy_graph_agree(files: Path) -> None:
    result = compared(fake_quant(files), deploy(files))
    assert result.exit_code == 0, result.output
    assert "9 of 9 common layers are equal to the bit" in result.stdout
    assert "0 integers differ" in result.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_compare_finds_and_names_planted_faults(fault: str, files: Path, tmp_path: Path) -> None:
    bad = planted(deploy(files), FAULTS[fault], tmp_path / "bad.onnx")
    result = compared(fake_quant(files), bad)
    assert result.exit_code == 1
    assert f"the first layer that differs is '{LAYER}' (Conv)" in result.stdout
    assert "error: " in result.stderr


@pytest.mark.parametrize("fault", ILLEGAL)
def test_check_and_compare_name_illegal_attributes(fault: str, files: Path, tmp_path: Path) -> None:
    bad = planted(deploy(files), ILLEGAL[fault], tmp_path / "bad.onnx")
    result = run("check", bad)
    assert result.exit_code == 1
    assert f"error [attribute] '{LAYER}." in result.stdout
    result = compared(fake_quant(files), bad)
    assert result.exit_code == 1
    assert f"'{LAYER}." in result.stderr
    assert "must be of type" in result.stderr


def test_check_of_a_good_graph(files: Path) -> None:
    result = run("check", deploy(files))
    assert result.exit_code == 0
    assert "0 errors, 1 warning, 0 info" in result.stdout
    assert "atc --input_shape" in result.stdout
    assert run("check", deploy(files), "--strict").exit_code == 1


def test_check_of_a_float_model() -> None:
    result = run("check", SAMPLE.model)
    assert result.exit_code == 1
    assert "it is no deploy graph" in result.stdout


def test_tolerances(files: Path) -> None:
    exact = compared(SAMPLE.model, deploy(files))
    assert exact.exit_code == 1
    assert "error: output 'output' differs by up to" in exact.stderr
    assert "the first layer that differs is '/a/a.0/Conv'" in exact.stdout
    assert compared(SAMPLE.model, deploy(files), "--cosine", "0.999", "--sqnr", "25").exit_code == 0
    assert compared(SAMPLE.model, deploy(files), "--max-abs", "2").exit_code == 0
    result = compared(SAMPLE.model, deploy(files), "--cosine", "0.99999999")
    assert result.exit_code == 1
    assert "required 1" in result.stderr


def test_mismatches_may_be_allowed(files: Path, tmp_path: Path) -> None:
    bad = planted(deploy(files), FAULTS["one bias"], tmp_path / "bad.onnx")
    assert compared(fake_quant(files), bad, "--max-abs", "9", "--mismatches", "1").exit_code == 1
    assert compared(fake_quant(files), bad, "--max-abs", "9", "--mismatches", "99999").exit_code == 0


def outputs(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


def test_run_of_float_fake_quant_and_deploy(files: Path, tmp_path: Path) -> None:
    found = {}
    for kind, model in (("float", SAMPLE.model), ("fake", fake_quant(files)), ("deploy", deploy(files))):
        result = run("run", model, "--data", SAMPLE.calibration, "-o", tmp_path / f"{kind}.npz")
        assert result.exit_code == 0, result.output
        assert "output: float32[" in result.stdout
        found[kind] = outputs(tmp_path / f"{kind}.npz")["output"]
    with np.load(SAMPLE.calibration) as data:
        session = ort.InferenceSession(str(SAMPLE.model), providers=["CPUExecutionProvider"])
        expected = session.run(None, {"input": data["input"]})[0]
    assert np.allclose(found["float"], expected, atol=1e-4)
    assert np.array_equal(found["fake"], found["deploy"])
    assert 0 < np.abs(found["float"] - found["deploy"]).max() < 1


def test_run_of_a_sample_needs_no_data(tmp_path: Path) -> None:
    assert run("run", "sample:digits", "-o", tmp_path / "out.npz", "--quiet").output == ""
    assert set(outputs(tmp_path / "out.npz")) == {"output"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("run", SAMPLE.model, "-o", "out.npz"), ("--data",)),
        (("run", SAMPLE.model, "--data", SAMPLE.calibration, "-o", "out.txt"), (".npz",)),
        (("run", SAMPLE.model, "--data", SAMPLE.calibration, "-o", "no/such/out.npz"), ("no/such",)),
        (
            ("run", "none.onnx", "--data", SAMPLE.calibration, "-o", "out.npz"),
            ("none.onnx", "does not exist"),
        ),
        (("check", "none.onnx"), ("does not exist",)),
        (("compare", SAMPLE.model, SAMPLE.model), ("--data",)),
        (("convert", SAMPLE.model, "-o", "out"), ("QuantizeLinear",)),
        (("convert", SAMPLE.model, "--record", "none.txt", "-o", "out"), ("none.txt",)),
        (("convert", SAMPLE.model, "--pipeline", "amct", "-o", "out"), ("--record",)),
        (("quantize", "sample:digits", "-o", "no/such/out"), ("does not exist",)),
    ],
)
def test_errors(
    words: tuple[str | Path, ...], parts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    for part in parts:
        assert part in result.stderr, result.stderr


def test_run_never_overwrites_an_input(tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    data.write_bytes(SAMPLE.calibration.read_bytes())
    (tmp_path / "same").symlink_to(tmp_path)
    for output in (data, tmp_path / "same" / "data.npz"):
        result = run("run", SAMPLE.model, "--data", data, "-o", output)
        assert result.exit_code == 1
        assert "which the input is read from; an input is never overwritten" in result.stderr
    assert data.read_bytes() == SAMPLE.calibration.read_bytes()


def test_models_of_other_inputs_cannot_be_compared(files: Path, tmp_path: Path) -> None:
    model = onnx.load(SAMPLE.model)
    for node in model.graph.node:
        node.input[:] = ["inptu" if name == "input" else name for name in node.input]
    model.graph.input[0].name = "inptu"
    onnx.save(model, tmp_path / "renamed.onnx")
    result = compared(SAMPLE.model, tmp_path / "renamed.onnx")
    assert result.exit_code == 1
    assert "'renamed.onnx' takes 'inptu'" in result.stderr


def test_a_deploy_graph_with_an_unknown_attribute_does_not_run(files: Path, tmp_path: Path) -> None:
    fault = change_attribute(f"{LAYER}.quant", "dst_type", lambda _: "INT9")
    bad = planted(deploy(files), fault, tmp_path / "bad.onnx")
    result = run("run", bad, "--data", SAMPLE.calibration, "-o", tmp_path / "out.npz")
    assert result.exit_code == 1
    assert f"'{LAYER}.quant'" in result.stderr
    assert not (tmp_path / "out.npz").exists()


def test_convert_repeats_a_record(files: Path, tmp_path: Path) -> None:
    """The record that was written, applied to the float model, gives the same deploy graph."""
    record = Path(f"{files}_record.txt")
    words = ("convert", SAMPLE.model, "--record", record, "--pipeline", "default", "-o", tmp_path / "again")
    result = run(*words, "--data", SAMPLE.calibration)
    assert result.exit_code == 0, result.output
    assert "proof: deploy and fake-quant graph agree on 2 samples" in result.stdout
    assert "8 of 8 layers run in integers" in result.stdout
    assert compared(deploy(files), tmp_path / "again_deploy_model.onnx").exit_code == 0


def test_convert_of_a_qdq_model(tmp_path: Path) -> None:
    words = ("quantize", "sample:digits", "-o", tmp_path / "first", "--form", "qdq", "--quiet")
    assert run(*words).exit_code == 0
    qdq = tmp_path / "first_fake_quant_model.onnx"
    result = run("convert", qdq, "-o", tmp_path / "second")
    assert result.exit_code == 0, result.output
    assert "[dynamic-shape]" in result.stdout
    assert "proof:" not in result.stdout
    agreed = compared(tmp_path / "first_deploy_model.onnx", tmp_path / "second_deploy_model.onnx")
    assert agreed.exit_code == 0, agreed.output


def test_qdq_and_deploy_graph_read_the_same_integers(tmp_path: Path) -> None:
    words = ("quantize", "sample:digits", "-o", tmp_path / "q", "--form", "qdq", "--quiet")
    assert run(*words).exit_code == 0
    result = compared(
        tmp_path / "q_fake_quant_model.onnx", tmp_path / "q_deploy_model.onnx", "--cosine", "0.9999",
        "--mismatches", "50", "--all-layers",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "equal" in result.stdout
