"""Opens and writes models by what they are: ONNX, IR text, a PyTorch module, a Caffe net, or a sample."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from qir.frontends.caffe import read_caffe
from qir.frontends.onnx import read_model, save_model
from qir.ir.errors import ConfigError, ModelError
from qir.ir.files import load_graph, save_graph
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.samples import PREFIX, sample_named

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from qir.frontends.torch import DynamicAxes, Example

ONNX_SUFFIXES = (".onnx", ".pb")
TEXT_SUFFIX = ".qir"
CAFFE_SUFFIX = ".prototxt"
WEIGHTS_SUFFIX = ".caffemodel"

FilePath = str | os.PathLike[str]
CaffeFiles = tuple[FilePath, FilePath]
"""A Caffe net: its prototxt and its caffemodel."""
ModelSource: TypeAlias = "FilePath | bytes | onnx.ModelProto | CaffeFiles"
"""What can be opened as a model."""


def load(
    source: ModelSource | nn.Module,
    example_inputs: Example | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
    *,
    weights: FilePath | None = None,
) -> Graph:
    """The graph of a `.onnx` or `.qir` file, of ONNX as bytes or protobuf, or of `sample:NAME`.

    A PyTorch module in evaluation mode comes with `example_inputs`: a tensor, a tuple of arguments, or a dict
    of them by name; names and dynamic axes are as in torch.onnx.export. Its layers are named by module paths.
    A Caffe net is its `.prototxt` with `weights`, its `.caffemodel`; wherever a model is asked for, the pair
    (prototxt, caffemodel) will do. ModelError for everything else.
    """
    if not _is_module(source):
        if (example_inputs, input_names, output_names, dynamic_axes) != (None,) * 4:
            raise ModelError("example inputs, names and dynamic axes go with a torch.nn.Module only")
        return _read_files(source, weights)
    if example_inputs is None or weights is not None:
        raise ModelError(
            f"{type(source).__name__} is a PyTorch module: qir.load(module, example_inputs) needs inputs to "
            "trace it with, and nothing but names beside them"
        )
    from qir.frontends.torch import read_torch  # noqa: PLC0415  (torch is an extra)

    return read_torch(source, example_inputs, input_names, output_names, dynamic_axes)


def _is_module(source: object) -> TypeGuard[nn.Module]:
    """True for a module of PyTorch, which is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.nn.Module)


def _read_files(source: ModelSource, weights: FilePath | None) -> Graph:
    if isinstance(source, tuple):
        if len(source) != 2 or weights is not None:
            raise ModelError("a Caffe net is a pair: its prototxt and its caffemodel")
        source, weights = source
        return read_caffe(source, weights)
    if not isinstance(source, (str, os.PathLike)):
        return read_model(source)
    text = os.fspath(source)
    if text.startswith(PREFIX):
        return read_model(sample_named(text).model)
    path = Path(text)
    if path.suffix == CAFFE_SUFFIX:
        return read_caffe(path, weights)
    if weights is not None:
        raise ModelError(f"weights '{os.fspath(weights)}' go with the .prototxt of a Caffe net, not '{path}'")
    if path.suffix == WEIGHTS_SUFFIX:
        raise ModelError(f"'{path}' holds weights only; give the .prototxt first, then the .caffemodel")
    if not path.is_file():
        what = "is a folder, not a model file" if path.is_dir() else "does not exist"
        raise ModelError(f"'{path}' {what}; give a .onnx or .qir file, or a .prototxt with its .caffemodel")
    if path.suffix == TEXT_SUFFIX:
        return load_graph(path)
    if path.suffix in ONNX_SUFFIXES:
        return read_model(path)
    raise ModelError(
        f"'{path}' has an unknown extension '{path.suffix}'; qir reads .onnx and .qir, and .prototxt with "
        ".caffemodel"
    )


def save(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a graph as `.onnx` (a float or lowered graph) or `.qir` (any graph), whole or not at all.

    ConfigError for another extension, and for a place that cannot be written.
    """
    target = Path(path)
    if target.suffix == TEXT_SUFFIX:
        save_graph(graph, target)
    elif target.suffix in ONNX_SUFFIXES:
        save_model(graph, target)
    else:
        raise ConfigError(f"'{target}' has an unknown extension '{target.suffix}'; qir writes .onnx and .qir")


def parse(text: str) -> Graph:
    """The graph of IR text whose constants all stand in it; ParseError points at the place."""
    return parse_graph(text, None)
