"""Exports a module to ONNX by what torch has: the exporter that traces (TorchScript), else that of dynamo.

The traced form comes first: it keeps BatchNormalization, whole-model names and opset 13, which old compilers
read, and it is the one that AMCT's users know. Models that it cannot export go to torch.export.
"""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from qir.frontends.torch.kinds import kind_of
from qir.frontends.torch.marks import DOMAIN, marked
from qir.frontends.torch.surroundings import as_called, plain_attention, quiet
from qir.ir.errors import ModelError

DynamicAxes = Mapping[str, "Mapping[int, str] | Sequence[int]"]
_OPSETS = (13, 17)
"""Opsets of the traced form: one that every compiler reads, and one with more operators."""
_DYNAMO_OPSET = 18
_LONGEST = 300
"""Characters of an exporter's message that are shown."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """How a module is called: arguments by position and by name, and how inputs and outputs are named."""

    args: tuple[object, ...]
    kwargs: Mapping[str, object]
    input_names: Sequence[str] | None
    output_names: Sequence[str] | None
    dynamic_axes: DynamicAxes | None


def export(module: nn.Module, call: Call, path: Path) -> str:
    """Write a module as ONNX; the name of the exporter that did.

    ModelError, with what each exporter said, when none can.
    """
    said: list[str] = []
    for name, attempt in (("TorchScript", _traced), ("dynamo", _exported)):
        try:
            with warnings.catch_warnings(record=True) as caught, torch.no_grad(), quiet(module):
                warnings.simplefilter("always")
                attempt(module, call, path)
        except Exception as error:  # exporters raise whatever the model's own code raises
            if not said:
                _check_runs(module, call)
            said.append(f"the {name} exporter says: {_shortened(error)}")
            continue
        _report(caught)
        return name
    raise ModelError(
        f"{type(module).__name__} cannot be exported to ONNX: {'; '.join(said)}. Move what is not tensor "
        "code (decisions by values, NumPy, Python lists that grow) out of its forward, or export it yourself "
        "and give the .onnx file"
    )


def _check_runs(module: nn.Module, call: Call) -> None:
    """Run a module once: what its own code raises is clearer here than out of an exporter."""
    try:
        with torch.no_grad():
            module(*call.args, **call.kwargs)
    except Exception as error:  # whatever the user's code raises
        raise ModelError(
            f"{type(module).__name__} does not run on the example inputs: {_shortened(error)}"
        ) from error


def _traced(module: nn.Module, call: Call, path: Path) -> None:
    names = _in_order(call.kwargs, module)
    args = (*call.args, *(call.kwargs[name] for name in names))
    if isinstance(args[-1], dict):
        args = (*args, {})  # it would be taken for arguments by name
    layers = any(kind_of(child) for child in module.modules())
    for opset in _OPSETS:
        try:
            with marked(module), plain_attention(), as_called(module, len(call.args), names):
                _call_export(
                    module,
                    args,
                    str(path),
                    call,
                    {
                        "opset_version": opset,
                        "dynamo": False,
                        "training": torch.onnx.TrainingMode.PRESERVE,
                        "do_constant_folding": False,
                        "custom_opsets": {DOMAIN: 1} if layers else {},
                    },
                )
        except torch.onnx.errors.UnsupportedOperatorError:
            if opset == _OPSETS[-1]:
                raise
            continue
        return


def _in_order(names: Mapping[str, object], module: nn.Module) -> list[str]:
    """Names of arguments in the order in which the module's forward states them."""
    if not names:
        return []
    stated = list(inspect.signature(module.forward).parameters)
    return sorted(names, key=lambda name: stated.index(name) if name in stated else len(stated))


def _exported(module: nn.Module, call: Call, path: Path) -> None:
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise ModelError(f"torch {torch.__version__} has none; torch 2.5 has the first")
    options = {"opset_version": _DYNAMO_OPSET, "dynamo": True, "optimize": False, "verbose": False}
    _call_export(module, call.args, str(path), call, {**options, "kwargs": dict(call.kwargs)})


def _call_export(
    module: nn.Module, args: tuple[object, ...], path: str, call: Call, options: Mapping[str, object]
) -> None:
    """torch.onnx.export with the options that this version of torch has."""
    known = inspect.signature(torch.onnx.export).parameters
    named = {
        "input_names": None if call.input_names is None else list(call.input_names),
        "output_names": None if call.output_names is None else list(call.output_names),
        "dynamic_axes": None if call.dynamic_axes is None else dict(call.dynamic_axes),
    }
    chosen = {key: value for key, value in {**named, **options}.items() if key in known}
    torch.onnx.export(module, args, path, **chosen)


def _shortened(error: Exception) -> str:
    """What matters of an exporter's message: its first lines, up to a limit."""
    text = " ".join(_COLOURS.sub("", str(error)).split())
    named = text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"
    return named if len(named) <= _LONGEST else f"{named[:_LONGEST].rstrip()} …"


def _report(caught: Sequence[warnings.WarningMessage]) -> None:
    """Log what tracing has frozen: a result that holds for inputs like the example only."""
    frozen = [item for item in caught if issubclass(item.category, torch.jit.TracerWarning)]
    for item in frozen[:1]:
        more = f" ({len(frozen) - 1} more such places)" if len(frozen) > 1 else ""
        place = f"{Path(item.filename).name}:{item.lineno}"
        text = " ".join(str(item.message).split())[:_LONGEST]
        _log.warning("tracing has frozen a value at %s%s: %s", place, more, text)
