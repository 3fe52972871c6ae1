"""What `amct_onnx calibration` does: all steps of uniform quantization in one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qir.compat.amct_onnx.functions import create_quant_config, quantize_model, save_model
from qir.compat.common.errors import CompatValueError, amct_errors
from qir.compat.common.evaluator_script import evaluator_of
from qir.compat.common.evaluators import run_calibration
from qir.compat.common.outputs import make_folder
from qir.compat.common.raw_batches import load_data, parse_input_shape
from qir.compat.common.sessions import amct_so
from qir.config.open import read_definition
from qir.runtime.calibration_ops import run_batches


@dataclass(frozen=True)
class CalibrationOptions:
    """The options of the command. Data are either raw files, with shape and type, or an evaluator's."""

    model: str
    save_path: str
    input_shape: str | None = None
    data_dir: str | None = None
    data_types: str | None = None
    evaluator: str | None = None
    calibration_config: str | None = None
    batch_num: int = 1


def calibrate(options: CalibrationOptions) -> None:
    """Write `<save_path>_deploy_model.onnx` and `<save_path>_fake_quant_model.onnx` of a float model.

    A QirError of a built-in kind says what does not fit; nothing is written then.
    """
    with amct_errors():
        if options.batch_num < 1:
            raise CompatValueError(f"batch_num must be at least 1, not {options.batch_num}")
        run = _runner(options)
        make_folder(Path(options.save_path))
        with tempfile.TemporaryDirectory(prefix=".amct-", dir=Path(options.save_path).parent) as folder:
            config, modified, record = (str(Path(folder, n)) for n in ("config.json", "m.onnx", "record.txt"))
            create_quant_config(
                config, options.model, batch_num=options.batch_num,
                config_defination=options.calibration_config,
            )  # fmt: skip
            quantize_model(config, options.model, modified, record)
            run(modified)
            save_model(modified, record, options.save_path)


def _runner(options: CalibrationOptions) -> Callable[[str], object]:
    """What runs the calibration model; its arguments are checked first."""
    raw = (options.data_dir, options.input_shape, options.data_types)
    if options.evaluator is not None:
        if options.data_dir is not None:
            raise CompatValueError("give data_dir or an evaluator, not both")
        evaluator = evaluator_of(options.evaluator)
        return lambda model_file: run_calibration(evaluator, model_file)
    if None in raw:
        raise CompatValueError("give data_dir with input_shape and data_types, or an evaluator")
    data_dir, shape, types = (str(item) for item in raw)
    count = options.batch_num
    if options.calibration_config is not None:  # what it says of batches counts
        count = read_definition(Path(options.calibration_config)).batch_num
    batches = load_data(parse_input_shape(shape), data_dir.split(";"), types.split(";"), count)
    return lambda model_file: run_batches(model_file, amct_so(), batches)
