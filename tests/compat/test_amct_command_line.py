"""`qir amct`: AMCT's command line, its raw data and its evaluator scripts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import qir
from qir.cli.main import main
from qir.compat.amct_onnx.common.cmd_line_utils.arguments_handler import (
    process_data_shape,
    process_multi_data_path,
)
from qir.compat.amct_onnx.common.cmd_line_utils.data_handler import load_data
from qir.compat.common.raw_batches import parse_input_shape
from qir.samples import sample_named

DIGITS = sample_named("digits")
EVALUATOR = """
import numpy as np
import onnxruntime as ort
import qir.compat.amct_onnx as amct
from qir.compat.amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase
from qir.compat.amct_onnx.common.cmd_line_utils.arguments_handler import (
    process_data_shape,
    process_multi_data_path,
)
from qir.compat.amct_onnx.common.cmd_line_utils.data_handler import load_data


class CustomizeEvaluator(AutoCalibrationEvaluatorBase):
    def calibration(self, model_file):
        session = ort.InferenceSession(model_file, amct.AMCT_SO)
        for feeds in load_data({"input": (16, 1, 16, 16)}, ["data"], ["float32"], 2):
            session.run(None, feeds)


customize_evaluator = CustomizeEvaluator()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    images = np.load(DIGITS.calibration)["input"]
    for i in range(3):
        images[16 * i : 16 * i + 16].tofile(f"data/batch_{i}.bin")
    return tmp_path


def calibrate(*options: str) -> Result:
    arguments = ["amct", "calibration", "--model", str(DIGITS.model), "--save_path", "out/net", *options]
    return CliRunner().invoke(main, arguments)


RAW = ("--data_dir", "./data/", "--data_types", "float32", "--batch_num", "2")


def test_raw_data_and_an_evaluator_give_the_same_files() -> None:
    done = calibrate("--input_shape", "input:16,1,16,16", *RAW)
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["net_deploy_model.onnx", "net_fake_quant_model.onnx", "net_quant.json"]
    first = Path("out/net_deploy_model.onnx").read_bytes()
    # Without the size of a batch, which each file tells, and with the option's older name.
    done = calibrate("--input_shape", "input:-1,1,16,16", *RAW[:2], "--data_type", *RAW[3:])
    assert done.exit_code == 0, done.output
    assert Path("out/net_deploy_model.onnx").read_bytes() == first
    # AMCT's sample for ONNX inherits from nothing, that for Caffe does.
    for base in ("AutoCalibrationEvaluatorBase", "object"):
        Path("evaluator.py").write_text(EVALUATOR.replace("(AutoCalibrationEvaluatorBase)", f"({base})"))
        Path("out/net_deploy_model.onnx").unlink()
        done = calibrate("--evaluator", "evaluator.py", "--batch_num", "2")
        assert done.exit_code == 0, done.output
        assert Path("out/net_deploy_model.onnx").read_bytes() == first


def test_simplified_configuration() -> None:
    Path("net.cfg").write_text('batch_num: 3 skip_layers: "/f2/Gemm"')
    done = calibrate("--input_shape", "input:16,1,16,16", *RAW[:4], "--calibration_config", "net.cfg")
    assert done.exit_code == 0, done.output
    nodes = {node.name for node in qir.load("out/net_deploy_model.onnx").nodes}
    assert "/f1/Gemm.dequant" in nodes
    assert "/f2/Gemm.dequant" not in nodes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--input_shape", "input:16,1,16,16", *RAW[:4], "--batch_num", "9"), "has 3 .bin files"),
        (("--input_shape", "input:16,1,16,17", *RAW), "expected 17408 bytes"),
        (("--input_shape", "input:-1,-1", *RAW), "with one -1 at most"),
        (("--input_shape", "image:16,1,16,16", *RAW), "the model has no input 'image'"),
        (
            ("--input_shape", "input:16,1,16,16", *RAW[:2], "--data_types", "float", *RAW[4:]),
            "no type 'float'",
        ),
        (("--input_shape", "input:16,1,16,16", "--data_dir", "none", *RAW[2:]), "'none' is no folder"),
        (("--input_shape", "input:16,1,16,16", "--data_dir", "data;data", *RAW[2:]), "one entry for each"),
        (("--input_shape", "input:16,16,1,16", *RAW), "input 'input' has 16 along axis 1, the model takes 1"),
        (RAW, "'--input_shape' is required when '--evaluator' option is not given."),
        (
            ("--evaluator", "empty.py", *RAW[:2]),
            "'--data_dir' is not required when '--evaluator' option is given.",
        ),
        (("--evaluator", "empty.py", "--input_shape", "input:2"), "'--input_shape' is not required when"),
        (("--evaluator", "class.py"), "must be an object with a method calibration(model_file)"),
        (
            ("--input_shape", "input:16,1,16,16", "--data_dir", "nan", *RAW[2:4]),
            "The activation to be quantized has invalid value inf or nan! (layer /a/a.0/Conv, batch 1",
        ),
        (("--evaluator", "no.py"), "is no Python file"),
        (("--evaluator", "empty.py"), "AutoCalibrationEvaluatorBase; it has no such class"),
        (("--evaluator", "unmade.py"), "AutoCalibrationEvaluatorBase; add customize_evaluator = Mine(…)"),
        (("--evaluator", "broken.py"), "raised ZeroDivisionError"),
        (("--input_shape", "input:16,1,16,16", *RAW[:4], "--batch_num", "0"), "batch_num must be at least 1"),
        (("--input_shape", "input:16,1,16,16", *RAW[:4], "--calibration_config", "no.cfg"), "cannot be read"),
        (
            ("--input_shape", "input:16,1,16,16", *RAW, "--calibration_config", "net.cfg"),
            "batch num and calibration config are exclusive, only one can be configured.",
        ),
    ],
)
def test_bad_options(options: tuple[str, ...], message: str) -> None:
    Path("empty.py").write_text("x = 1\n")
    base = "from qir.compat.amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase as Base"
    Path("unmade.py").write_text(f"{base}\nclass Mine(Base): ...\n")
    Path("broken.py").write_text("1 / 0\n")
    Path("class.py").write_text(EVALUATOR.replace("= CustomizeEvaluator()", "= CustomizeEvaluator"))
    Path("net.cfg").write_text("batch_num: 1")
    Path("nan").mkdir()
    np.full((16, 1, 16, 16), np.nan, np.float32).tofile("nan/0.bin")
    done = calibrate(*options)
    assert done.exit_code == 1, done.output
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list(Path().rglob("*.onnx"))


def test_convert(folder: Path) -> None:
    qir.quantize(DIGITS.model, DIGITS.calibration, output="qat", form="qdq", proof_samples=0)
    arguments = ["amct", "convert", "--model", "qat_fake_quant_model.onnx", "--save_path", "out/net"]
    done = CliRunner().invoke(main, [*arguments, "--record_file", "out/record.txt"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "net_deploy_model.onnx", "net_fake_quant_model.onnx", "record.txt"
    ]  # fmt: skip


def test_files_are_taken_in_the_order_of_their_names() -> None:
    for name in ("b.bin", "a10.bin", "a9.bin", "c.txt"):
        np.float32([ord(name[0]), ord(name[1])]).tofile(f"data/../{name}")
    found = list(load_data({"x": (2,), "y": (-1, 1)}, [".", "."], ["float32", "float32"], 3))
    assert [feeds["x"].tolist() for feeds in found] == [[97, 49], [97, 57], [98, 46]]
    assert found[0]["y"].shape == (2, 1)


def test_what_options_stand_for() -> None:
    assert process_data_shape("input:0:1,3,-1;b:2") == {"input:0": [1, 3, -1], "b": [2]}
    assert process_multi_data_path("data/a/;/b") == [str(Path("data/a").resolve()), "/b"]


def test_input_shapes() -> None:
    assert parse_input_shape("input:0:1,3,-1;b:2") == {"input:0": (1, 3, -1), "b": (2,)}
