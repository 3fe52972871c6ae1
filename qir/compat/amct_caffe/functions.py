"""The functions of amct_caffe that configure, calibrate and save."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qir.backends.ascend.record import print_record
from qir.backends.files import output_paths
from qir.backends.targets import ASCEND
from qir.compat.amct_caffe.definitions import caffe_definition
from qir.compat.common.arguments import check_choice, check_config_arguments, check_strings, check_type
from qir.compat.common.calibration_graph import calibration_graph
from qir.compat.common.errors import CompatRuntimeError, amct_errors
from qir.compat.common.outputs import check_distinct, make_folder, restrict, write_text
from qir.compat.common.saving import MODEL_FILES, calibrated_records, quantized_graph, write_models
from qir.compat.common.sessions import runs
from qir.config.amct.create import create_config
from qir.config.layers import read_model
from qir.config.lowering import quantizing_passes
from qir.config.run import prepare
from qir.config.settings import QuantConfig
from qir.conversion import apply_record
from qir.frontends.onnx import save_model as write_onnx
from qir.ir.graph import Graph
from qir.models import load
from qir.passes.balance_channels import BalanceChannels
from qir.passes.context import Context
from qir.passes.pipeline import parse_pipeline

PIPELINE = "amct-caffe"
_SAVE_TYPES = {
    "Both": MODEL_FILES,
    "Fakequant": ("fake_quant_model", "quant_info"),
    "Deploy": ("deploy_model", "quant_info"),
}
"""What of each type is written."""
_log = logging.getLogger(__name__)


@dataclass
class CaffeGraph:
    """A net on its way through quantization, as `init` makes it: what belongs to it, and how far it is."""

    original: Graph
    config: QuantConfig
    record_file: str
    sources: tuple[str, ...]
    """The files that it was made of."""
    calibration: Graph | None = None
    """The calibration graph, once quantize_model has made it."""


def set_cpu_mode() -> None:
    """Weights are calibrated by the CPU, as they always are here."""


def set_gpu_mode() -> None:
    """As set_cpu_mode: weights are calibrated by the CPU, with the same numbers."""
    _log.info("weights are calibrated by the CPU")


def set_mode_cpu() -> None:
    """As pycaffe's: nets run on the CPU, as they always do here."""


def set_mode_gpu() -> None:
    """As set_mode_cpu: nets run on the CPU."""
    _log.info("nets run on the CPU")


def set_device(device: int) -> None:
    """As pycaffe's, without effect: nets run on the CPU."""
    check_type("device", device, int)


def create_quant_config(
    config_file: str,
    model_file: str,
    weights_file: str,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: str | None = None,
) -> None:
    """Write the configuration of every layer of a net that can be quantized.

    With `config_defination`, a simplified `.cfg` (its layer types are Caffe's), the three arguments before it
    are ignored. TypeError, ValueError and RuntimeError are AMCT's.
    """
    check_strings({"model_file": model_file, "weights_file": weights_file})
    skipped = check_config_arguments(
        config_file, skip_layers, batch_num, activation_offset, config_defination
    )
    with amct_errors():
        for source in (model_file, weights_file):
            check_distinct(source, config_file)
        definition = None if config_defination is None else caffe_definition(config_defination)
        passes = parse_pipeline(PIPELINE, named=ASCEND.pipelines)
        model = read_model(load(model_file, weights=weights_file), ASCEND, passes)
        config = create_config(model, skipped, batch_num, activation_offset, definition)
        write_text(Path(config_file), config.text())


def init(config_file: str, model_file: str, weights_file: str, scale_offset_record_file: str) -> CaffeGraph:
    """A net and its configuration, for quantize_model and save_model; the record file is emptied."""
    check_strings(
        {
            "config_file": config_file,
            "model_file": model_file,
            "weights_file": weights_file,
            "scale_offset_record_file": scale_offset_record_file,
        }
    )
    sources = (config_file, model_file, weights_file)
    with amct_errors():
        for source in sources:
            check_distinct(source, scale_offset_record_file)
        original = load(model_file, weights=weights_file)
        config = _configuration(original, config_file)
        write_text(Path(scale_offset_record_file), "")
    record_file = os.path.abspath(scale_offset_record_file)
    return CaffeGraph(original, config, record_file, tuple(map(os.path.abspath, sources)))


def quantize_model(graph: CaffeGraph, modified_model_file: str, modified_weights_file: str) -> None:
    """Write the calibration model of a net, to be run batch_num times (at least) in `amct_caffe.Net`.

    It is an ONNX model, whatever `modified_model_file` is called, and holds its weights: there is nothing to
    write to `modified_weights_file`. The run completes the record file.
    """
    check_type("graph", graph, CaffeGraph)
    check_strings(
        {"modified_model_file": modified_model_file, "modified_weights_file": modified_weights_file}
    )
    with amct_errors():
        for source in (*graph.sources, graph.record_file):
            check_distinct(source, modified_model_file)
        made = calibration_graph(graph.original, graph.config, graph.record_file, PIPELINE)
        make_folder(Path(modified_model_file))
        write_onnx(made.graph, Path(modified_model_file))
        restrict(Path(modified_model_file))
        write_text(Path(graph.record_file), print_record(made.drafts))
        graph.calibration = made.graph


def save_model(graph: CaffeGraph, save_type: str, save_path: str) -> None:
    """Write the models of a calibrated net: `Both`, or only `Fakequant` or `Deploy`.

    Files are `<save_path>_fake_quant_model.onnx`, `<save_path>_deploy_model.onnx`, `<save_path>_quant.json`;
    a `save_path` that ends in `/` adds no name. RuntimeError when the calibration model has not run batch_num
    times.
    """
    check_type("graph", graph, CaffeGraph)
    check_strings({"save_type": save_type, "save_path": save_path})
    with amct_errors():
        check_choice("save_type", save_type, tuple(_SAVE_TYPES))
        if graph.calibration is None:
            raise CompatRuntimeError("the graph is not quantized yet: call quantize_model, and run its model")
        _check_kept((*graph.sources, graph.record_file), save_path)
        records = calibrated_records(graph.record_file, runs().failure(graph.record_file))
        made = quantized_graph(graph.calibration, records, graph.original.name)
        write_models(made, save_path, _SAVE_TYPES[save_type])


def convert_model(model_file: str, weights_file: str, scale_offset_record_file: str, save_path: str) -> None:
    """Write both models of a net with the numbers of a record file, without calibration.

    BatchNorm and Scale behind a Convolution or Deconvolution are fused into it, unless its record says
    `skip_fusion`.
    """
    check_strings(
        {
            "model_file": model_file,
            "weights_file": weights_file,
            "scale_offset_record_file": scale_offset_record_file,
            "save_path": save_path,
        }
    )
    with amct_errors():
        _check_kept((model_file, weights_file, scale_offset_record_file), save_path)
        graph = load(model_file, weights=weights_file)
        write_models(apply_record(graph, Path(scale_offset_record_file), pipeline=PIPELINE), save_path)


def _configuration(original: Graph, config_file: str) -> QuantConfig:
    """The configuration in a file; QirErrors for what does not fit the net, or is not there for Caffe."""
    base = parse_pipeline(PIPELINE, named=ASCEND.pipelines)
    _, config, model = prepare(original, config_file, ASCEND, base, Context(rules=ASCEND.rules))
    if any(isinstance(item, BalanceChannels) for item in quantizing_passes(config, model, base)):
        raise CompatRuntimeError(
            f"'{config_file}' has a dmq_balancer_param, which amct_caffe cannot calibrate; delete it, or "
            "quantize the net by qir.quantize"
        )
    return config


def _check_kept(sources: Sequence[str], save_path: str) -> None:
    """CompatValueError when a model would be written over a file that is read."""
    paths = output_paths(save_path)
    for source in sources:
        check_distinct(source, *(str(getattr(paths, kind)) for kind in MODEL_FILES))
