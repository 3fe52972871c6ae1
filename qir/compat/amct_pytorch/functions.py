"""The functions of amct_pytorch that configure, calibrate and save."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from qir.backends.ascend.record import print_record
from qir.compat.amct_pytorch.calibrating import watching_module
from qir.compat.amct_pytorch.exporting import exported, report_float_layers
from qir.compat.common.arguments import check_config_arguments, check_type, one_of_spellings
from qir.compat.common.calibration_graph import PIPELINE, balancing_graph, calibration_graph
from qir.compat.common.errors import amct_errors
from qir.compat.common.outputs import check_distinct, make_folder, restrict, write_text
from qir.compat.common.saving import save_calibrated
from qir.compat.common.watching import unwatched
from qir.config.open import create_quant_config as new_config
from qir.frontends.torch import DynamicAxes, Example
from qir.models import save

MODEL_FILES = ("fake_quant_model", "deploy_model")
"""What save_model writes; that of other toolkits writes the quantization file too."""
_SPELLINGS = ("modfied_onnx_file", "modified_onnx_file", "modified_onnx_model")


def create_quant_config(
    config_file: str,
    model: nn.Module,
    input_data: Example,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: str | None = None,
) -> None:
    """Write the configuration of every layer of a module that can be quantized.

    `input_data` is what the module is called with: a tuple of tensors. With `config_defination`, a simplified
    `.cfg`, the three arguments before it are ignored. Layers that stay in float whatever the configuration
    says are logged. TypeError, ValueError and RuntimeError are AMCT's.
    """
    skipped = check_config_arguments(
        config_file, skip_layers, batch_num, activation_offset, config_defination
    )
    with amct_errors():
        graph = exported(model, input_data)
        report_float_layers(graph)
        config = new_config(
            graph, skipped, batch_num, activation_offset, config_defination, pipeline=PIPELINE
        )
        write_text(Path(config_file), config.text())


def quantize_preprocess(
    config_file: str, record_file: str, model: nn.Module, input_data: Example
) -> nn.Module:
    """A copy of a module that finds the factors of the DMQ balancer when it runs; the record file is emptied.

    To be called, and run, before quantize_model, when the configuration has a dmq_balancer_param; each
    forward writes the factors into the record file.
    """
    check_type("config_file", config_file, str)
    check_type("record_file", record_file, str)
    with amct_errors():
        check_distinct(config_file, record_file)
        graph = exported(model, input_data)
        made = balancing_graph(graph, config_file, os.path.abspath(record_file))
        module = watching_module(model, graph, made.graph)
        write_text(Path(record_file), print_record(made.drafts))
    return module


def quantize_model(
    config_file: str,
    modfied_onnx_file: str | None = None,
    record_file: str | None = None,
    model: nn.Module | None = None,
    input_data: Example | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
    *,
    modified_onnx_file: str | None = None,
    modified_onnx_model: str | None = None,
) -> nn.Module:
    """A copy of a module to be run batch_num times (at least) on calibration data.

    Its BatchNormalizations are fused and its weights rounded, as in the ONNX file that is written; the run
    completes the record file. Of the three spellings of one argument, which are those of AMCT's manuals, one
    must be given. Names and axes are as in torch.onnx.export.
    """
    modified = one_of_spellings(
        "quantize_model", _SPELLINGS, (modfied_onnx_file, modified_onnx_file, modified_onnx_model)
    )
    check_type("config_file", config_file, str)
    check_type("record_file", record_file, str)
    check_type("model", model, nn.Module)
    assert record_file is not None
    assert model is not None
    with amct_errors():
        check_distinct(config_file, modified, record_file)
        graph = exported(
            model, () if input_data is None else input_data, input_names, output_names, dynamic_axes
        )
        made = calibration_graph(graph, config_file, os.path.abspath(record_file))
        module = watching_module(model, graph, made.graph)
        make_folder(Path(modified))
        save(unwatched(made.graph), modified)
        restrict(Path(modified))
        write_text(Path(record_file), print_record(made.drafts))
    return module


def save_model(
    modfied_onnx_file: str | None = None,
    record_file: str | None = None,
    save_path: str | None = None,
    *,
    modified_onnx_file: str | None = None,
    modified_onnx_model: str | None = None,
) -> None:
    """Write fake-quant model and deploy model of a calibrated module.

    Files are `<save_path>_fake_quant_model.onnx` and `<save_path>_deploy_model.onnx`; a `save_path` that ends
    in `/` adds no name. RuntimeError when the record file is empty or a layer has no scale_d: the module has
    not run batch_num times.
    """
    modified = one_of_spellings(
        "save_model", _SPELLINGS, (modfied_onnx_file, modified_onnx_file, modified_onnx_model)
    )
    save_calibrated(modified, record_file, save_path, MODEL_FILES)
