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
from qir.compat.common.sessions import amct_so, explaining_failures
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
    batch_num: int | None = None


def calibrate(options: CalibrationOptions) -> None:
    """Write `<save_path>_deploy_model.onnx` and `<save_path>_fake_quant_model.onnx` of a float model.

    A QirError of a built-in kind says what does not fit; nothing is written then.
    """
    with amct_errors():
        count = _batch_num(options)
        run = _runner(options, count)
        make_folder(Path(options.save_path))
        with tempfile.TemporaryDirectory(prefix=".amct-", dir=Path(options.save_path).parent) as folder:
            config, modified, record = (str(Path(folder, n)) for n in ("config.json", "m.onnx", "record.txt"))
            create_quant_config(
                config, options.model, batch_num=count,
                config_defination=options.calibration_config,
            )  # fmt: skip
            quantize_model(config, options.model, modified, record)
            with explaining_failures(record):
                run(modified)
            save_model(modified, record, options.save_path)


def _batch_num(options: CalibrationOptions) -> int:
    """How many batches calibrate; what a simplified configuration says counts."""
    if options.calibration_config is not None:
        if options.batch_num is not None:
            raise CompatValueError(
                "batch num and calibration config are exclusive, only one can be configured. (The "
                "configuration has a field batch_num)"
            )
        return read_definition(Path(options.calibration_config)).batch_num
    count = 1 if options.batch_num is None else options.batch_num
    if count < 1:
        raise CompatValueError(f"batch_num must be at least 1, not {count}")
    return count


def _runner(options: CalibrationOptions, count: int) -> Callable[[str], object]:
    """What runs the calibration model; its arguments are checked first."""
    raw = {
        "input_shape": options.input_shape,
        "data_dir": options.data_dir,
        "data_types": options.data_types,
    }
    if options.evaluator is not None:
        for name, given in raw.items():
            if given is not None:
                raise CompatValueError(f"'--{name}' is not required when '--evaluator' option is given.")
        evaluator = evaluator_of(options.evaluator)
        return lambda model_file: run_calibration(evaluator, model_file)
    for name, given in raw.items():
        if given is None:
            raise CompatValueError(f"'--{name}' is required when '--evaluator' option is not given.")
    shape, data_dir, types = map(str, raw.values())
    batches = load_data(parse_input_shape(shape), data_dir.split(";"), types.split(";"), count)
    return lambda model_file: run_batches(model_file, amct_so(), batches)
