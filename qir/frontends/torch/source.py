"""Reads a torch module as a graph: checks it, exports it, names its layers, and says what is odd about it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import onnx
import torch
from torch import nn

from qir.frontends.onnx import read_model
from qir.frontends.torch.export import Call, DynamicAxes, export
from qir.frontends.torch.kinds import kind_of, parameter_owners
from qir.frontends.torch.naming import MODULE, RUNS, name_layers
from qir.ir.errors import ModelError
from qir.ir.graph import Graph

Example: TypeAlias = "torch.Tensor | Sequence[object] | Mapping[str, object]"
"""What a module is called with: a tensor, arguments by position, or arguments by name."""
EXPORTER = "torch.exporter"
"""Metadata of the graph: which exporter of torch made it."""
_SHOWN = 3
_log = logging.getLogger(__name__)


def read_torch(
    module: nn.Module,
    example_inputs: Example,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
) -> Graph:
    """The graph of a module in evaluation mode, which is left as it is; layers are named by module paths.

    Names and dynamic axes are as in torch.onnx.export. A module that runs several times has a node a run:
    `path`, `path_1`, …; this, and weights that modules share, is logged. ModelError for a module in training
    mode, and for one that torch cannot export.
    """
    _check_mode(module)
    args, kwargs = arguments(example_inputs)
    call = Call(args, kwargs, input_names, output_names, dynamic_axes)
    with tempfile.TemporaryDirectory(prefix="qir-torch-") as folder:
        path = Path(folder, "model.onnx")
        exporter = export(module, call, path)
        model = onnx.load(path, load_external_data=False)
        name_layers(model, {name: kind for name, m in module.named_modules() if (kind := kind_of(m))})
        graph = read_model(model, folder=folder)
    graph.metadata[EXPORTER] = exporter
    _log.info("%s was exported by the %s exporter of torch", type(module).__name__, exporter)
    _report_reuse(module, graph)
    return graph


def arguments(example: Example) -> tuple[tuple[object, ...], dict[str, object]]:
    """Arguments by position and by name of an example; ModelError when it is none."""
    if isinstance(example, torch.Tensor):
        return (example,), {}
    if isinstance(example, Mapping) and example:
        return (), dict(example)
    if isinstance(example, Sequence) and not isinstance(example, str) and len(example):
        return tuple(example), {}
    raise ModelError(
        "example_inputs must be a tensor, a tuple of arguments, or a dict of arguments by name, not "
        f"{type(example).__name__}"
    )


def _check_mode(module: nn.Module) -> None:
    training = [path or "the module itself" for path, child in module.named_modules() if child.training]
    if training:
        more = f" and {len(training) - _SHOWN} more" if len(training) > _SHOWN else ""
        raise ModelError(
            f"{type(module).__name__} is in training mode ({', '.join(training[:_SHOWN])}{more}); call its "
            "eval() first"
        )


def _report_reuse(module: nn.Module, graph: Graph) -> None:
    reused = {n.metadata[MODULE]: n.metadata[RUNS] for n in graph.nodes if RUNS in n.metadata}
    for path, count in reused.items():
        _log.warning("module '%s' has %s layers of the graph: it runs several times", path, count)
    for owners in parameter_owners(module).values():
        if len(owners) > 1:
            _log.warning("modules %s share a weight", ", ".join(f"'{owner}'" for owner in owners))
