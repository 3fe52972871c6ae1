"""The functions of amct_onnx that configure, calibrate and save."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from qir.backends.ascend.record import print_record
from qir.backends.files import output_paths
from qir.compat.common.arguments import check_config_arguments, check_type, one_of_spellings
from qir.compat.common.calibration_graph import (
    PIPELINE,
    CalibrationGraph,
    balancing_graph,
    calibration_graph,
)
from qir.compat.common.errors import amct_errors
from qir.compat.common.float_models import checked_float
from qir.compat.common.outputs import check_distinct, make_folder, restrict, write_text
from qir.compat.common.saving import MODEL_FILES, save_calibrated, write_converted
from qir.config.open import create_quant_config as new_config
from qir.ir.graph import Graph
from qir.models import load, save

_SPELLINGS = ("modified_onnx_file", "modfied_onnx_file", "modified_onnx_model")


def create_quant_config(
    config_file: str,
    model_file: str,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: str | None = None,
    updated_model: str | None = None,
) -> None:
    """Write the configuration of every layer of a float model that can be quantized.

    With `config_defination`, a simplified `.cfg`, the three arguments before it are ignored. `updated_model`
    is a file for the model with a name for every node: unnamed ones become `<op>_<index>`. TypeError,
    ValueError and RuntimeError are AMCT's.
    """
    skipped = check_config_arguments(
        config_file, skip_layers, batch_num, activation_offset, config_defination
    )
    check_type("model_file", model_file, str)
    check_type("updated_model", updated_model, str, optional=True)
    with amct_errors():
        check_distinct(model_file, config_file, updated_model)
        graph = checked_float(load(model_file))
        config = new_config(
            graph, skipped, batch_num, activation_offset, config_defination, pipeline=PIPELINE
        )
        write_text(Path(config_file), config.text())
        if updated_model is not None:
            save(graph, updated_model)
            restrict(Path(updated_model))


def quantize_model(
    config_file: str,
    model_file: str,
    modified_onnx_file: str | None = None,
    record_file: str | None = None,
    *,
    modfied_onnx_file: str | None = None,
    modified_onnx_model: str | None = None,
) -> None:
    """Write the calibration graph of a float model, and the record file that a run of it will complete.

    The graph is to be run batch_num times (at least) in a session with `AMCT_SO`. Of the three spellings of
    one argument, which are those of AMCT's manuals, one must be given.
    """
    modified = one_of_spellings(
        "quantize_model", _SPELLINGS, (modified_onnx_file, modfied_onnx_file, modified_onnx_model)
    )
    _write_calibration(calibration_graph, config_file, model_file, modified, record_file)


def quantize_preprocess(
    config_file: str,
    model_file: str,
    modified_onnx_file: str | None = None,
    record_file: str | None = None,
    *,
    modfied_onnx_file: str | None = None,
    modified_onnx_model: str | None = None,
) -> None:
    """Write the float model with ops that find the factors of the DMQ balancer, and an empty record file.

    To be called, and run in a session with `AMCT_SO`, before quantize_model, when the configuration has a
    dmq_balancer_param; each forward writes the factors into the record file.
    """
    modified = one_of_spellings(
        "quantize_preprocess", _SPELLINGS, (modified_onnx_file, modfied_onnx_file, modified_onnx_model)
    )
    _write_calibration(balancing_graph, config_file, model_file, modified, record_file)


def save_model(
    modified_onnx_file: str | None = None,
    record_file: str | None = None,
    save_path: str | None = None,
    *,
    modfied_onnx_file: str | None = None,
    modified_onnx_model: str | None = None,
) -> None:
    """Write fake-quant model, deploy model and quantization file of a calibrated graph.

    Files are `<save_path>_fake_quant_model.onnx`, `<save_path>_deploy_model.onnx`, `<save_path>_quant.json`;
    a `save_path` that ends in `/` adds no name. RuntimeError when the record file is empty or a layer has no
    scale_d: the calibration graph has not run batch_num times.
    """
    modified = one_of_spellings(
        "save_model", _SPELLINGS, (modified_onnx_file, modfied_onnx_file, modified_onnx_model)
    )
    save_calibrated(modified, record_file, save_path, MODEL_FILES, watched=True)


def convert_qat_model(model_file: str, save_path: str, record_file: str | None = None) -> None:
    """Write fake-quant and deploy model of a model that holds QuantizeLinear and DequantizeLinear.

    `record_file` is a file for the scales and zero points of its layers.
    """
    check_type("model_file", model_file, str)
    check_type("save_path", save_path, str)
    check_type("record_file", record_file, str, optional=True)
    with amct_errors():
        check_distinct(model_file, record_file, *map(str, output_paths(save_path)))
        write_converted(model_file, save_path, record_file)


def _write_calibration(
    make: Callable[[Graph, str, str], CalibrationGraph],
    config_file: str,
    model_file: str,
    modified: str,
    record_file: str | None,
) -> None:
    check_type("config_file", config_file, str)
    check_type("model_file", model_file, str)
    check_type("record_file", record_file, str)
    assert record_file is not None
    with amct_errors():
        check_distinct(model_file, config_file, modified, record_file)
        made = make(checked_float(load(model_file)), config_file, os.path.abspath(record_file))
        for path in (modified, record_file):
            make_folder(Path(path))
        save(made.graph, modified)
        restrict(Path(modified))
        write_text(Path(record_file), print_record(made.drafts))
